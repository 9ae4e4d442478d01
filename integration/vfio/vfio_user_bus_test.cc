// host_driver's vfio-user bus against vfio_bridge's server. What is behind the server is a plain array of registers.
#include "host_driver/bus/vfio_user.h"

#include <condition_variable>
#include <thread>

#include "vfio_bridge/protocol_fixture.h"

namespace bmcpair {
namespace {

using registers::InterfaceKind;
using vfio_bridge::testing::ArrayRegisters;
using Access = ArrayRegisters::Access;

// Waits for a condition that another thread makes true; its bound is for ever here.
class Gate {
 public:
  template <class F>
  void change(F f) {
    std::lock_guard lock(mutex_);
    f();
    changed_.notify_all();
  }
  template <class F>
  bool wait(F until) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, vfio_bridge::testing::kPatience, until);
  }
  // A copy of what another thread may change meanwhile.
  template <class T>
  T copy(const T& of) {
    std::lock_guard lock(mutex_);
    return of;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
};

class VfioUserBusTest : public vfio_bridge::testing::ProtocolTest {
 protected:
  VfioUserBusTest() { bus_options_.backoff_most = std::chrono::milliseconds(20); }
  std::unique_ptr<registers::RegisterPort> open() {
    auto port = bus::connect_vfio_user(options_.socket_path, bus_options_);
    EXPECT_TRUE(port.ok()) << (port ? "" : port.error().message);
    return port ? *std::move(port) : nullptr;
  }
  Error open_error() {
    auto port = bus::connect_vfio_user(options_.socket_path, bus_options_);
    return port ? Error{ErrorCode::kInternal, "it opened"} : port.error();
  }
  bus::VfioUserOptions bus_options_;
};

TEST_F(VfioUserBusTest, TheKindComesFromThePciClass) {
  for (InterfaceKind kind : {InterfaceKind::kKcs, InterfaceKind::kBt, InterfaceKind::kSmic}) {
    start(kind);
    auto port = open();
    ASSERT_TRUE(port);
    EXPECT_EQ(port->kind(), kind);
    EXPECT_TRUE(port->has_interrupt());
    EXPECT_TRUE(port->link().up);
    port.reset();
    server_.reset();
  }
}

TEST_F(VfioUserBusTest, RegistersAreReachedAtEverySpacingOfAnIoBar) {
  for (unsigned spacing : {1u, 4u, 16u}) {
    options_.pci.spacing = spacing;
    start(InterfaceKind::kBt);
    auto port = open();
    ASSERT_TRUE(port);
    registers().set(2, 0x42);
    EXPECT_EQ(port->read(2), 0x42) << spacing;
    port->write(1, 0x17);
    EXPECT_EQ(port->read(1), 0x17);
    port.reset();
    server_.reset();
  }
}

TEST_F(VfioUserBusTest, AMemoryBarTakesTheSpacingItIsTold) {
  options_.pci.bar = vfio_bridge::BarKind::kMemory;
  options_.pci.spacing = 4;
  bus_options_.spacing = 4;
  start(InterfaceKind::kBt);
  auto port = open();
  ASSERT_TRUE(port);
  registers().set(2, 0x42);
  EXPECT_EQ(port->read(2), 0x42);
}

TEST_F(VfioUserBusTest, TheBarIsEnabledAndIntxAllowed) {
  start();
  auto port = open();
  ASSERT_TRUE(port);
  port.reset();
  auto c = greeted();
  EXPECT_EQ(c.read_region(7, 4, 2), (Bytes{0x01, 0x00}));
}

TEST_F(VfioUserBusTest, ReadsComeAfterEveryEarlierWrite) {
  start(InterfaceKind::kBt);
  auto port = open();
  ASSERT_TRUE(port);
  for (int i = 0; i < 500; ++i) {
    port->write(0, static_cast<uint8_t>(i));
    EXPECT_EQ(port->read(0), static_cast<uint8_t>(i));
  }
}

TEST_F(VfioUserBusTest, BurstsKeepTheirOrderAndNumber) {
  start(InterfaceKind::kBt);
  auto port = open();
  ASSERT_TRUE(port);
  Bytes sent;
  for (int i = 0; i < 1000; ++i) sent.push_back(static_cast<uint8_t>(i * 7));
  port->write_burst(1, sent);
  port->read(0);
  Bytes seen;
  for (const Access& a : registers().accesses()) {
    if (a.what == 'w' || a.what == 'W') seen.insert(seen.end(), a.values.begin(), a.values.end());
  }
  EXPECT_EQ(seen, sent);

  registers().queue(1, sent);
  Bytes got(1000);
  port->read_burst(1, got);
  EXPECT_EQ(got, sent);
}

TEST_F(VfioUserBusTest, ACountedReadTakesAsManyAsItsFirstByteSays) {
  start(InterfaceKind::kBt);
  auto port = open();
  ASSERT_TRUE(port);
  registers().queue(1, {3, 0x1c, 0x05, 0x01, 0xee});
  Bytes got(256);
  EXPECT_EQ(port->read_counted(1, got), 4u);
  got.resize(4);
  EXPECT_EQ(got, (Bytes{3, 0x1c, 0x05, 0x01}));
}

TEST_F(VfioUserBusTest, ManyThreadsShareOnePort) {
  start(InterfaceKind::kBt);
  auto port = open();
  ASSERT_TRUE(port);
  registers().set(2, 0x5a);
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        port->write(1, 1);
        if (port->read(2) != 0x5a) ++wrong;
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(wrong, 0);
}

TEST_F(VfioUserBusTest, TheInterruptRisesFallsWithAnAccessAndRisesAgainWhileTheLineIsHigh) {
  start();
  auto port = open();
  ASSERT_TRUE(port);
  Gate gate;
  std::vector<bool> levels;
  port->set_interrupt_handler([&](bool level) { gate.change([&] { levels.push_back(level); }); });
  registers().set_line(true);
  ASSERT_TRUE(gate.wait([&] { return levels.size() == 1; }));
  EXPECT_TRUE(gate.copy(levels)[0]);
  port->read(1);  // the line is still high
  ASSERT_TRUE(gate.wait([&] { return levels.size() == 3; }));
  EXPECT_EQ(gate.copy(levels), (std::vector<bool>{true, false, true}));
  registers().set_line(false);
  port->write(1, 0);
  ASSERT_TRUE(gate.wait([&] { return levels.size() == 4; }));
  EXPECT_FALSE(gate.copy(levels)[3]);
  registers().set_line(true);
  ASSERT_TRUE(gate.wait([&] { return levels.size() == 5; }));
  EXPECT_TRUE(gate.copy(levels)[4]);
  port->set_interrupt_handler({});
}

TEST_F(VfioUserBusTest, AHandlerThatComesLateIsToldOfALineThatIsHigh) {
  start();
  auto port = open();
  ASSERT_TRUE(port);
  Gate gate;
  int first = 0;
  port->set_interrupt_handler([&](bool level) { gate.change([&] { first += level; }); });
  registers().set_line(true);
  ASSERT_TRUE(gate.wait([&] { return first == 1; }));
  int second = 0;
  port->set_interrupt_handler([&](bool level) { gate.change([&] { second += level; }); });
  EXPECT_TRUE(gate.wait([&] { return second == 1; }));
  port->set_interrupt_handler({});
}

TEST_F(VfioUserBusTest, ALostServerIsSeenAtOnceAndComesBackByItself) {
  start(InterfaceKind::kBt);
  auto port = open();
  ASSERT_TRUE(port);
  Gate gate;
  std::vector<registers::LinkState> states;
  port->set_link_handler([&](const registers::LinkState& s) { gate.change([&] { states.push_back(s); }); });
  EXPECT_EQ(port->link().generation, 1u);

  server_->stop();
  ASSERT_TRUE(gate.wait([&] { return states.size() == 1; }));
  EXPECT_FALSE(gate.copy(states)[0].up);
  EXPECT_NE(gate.copy(states)[0].reason.find(options_.socket_path), std::string::npos);
  EXPECT_EQ(port->read(0), 0xff);
  Bytes burst(5, 0);
  port->read_burst(1, burst);
  EXPECT_EQ(burst, Bytes(5, 0xff));
  port->write(0, 1);

  start(InterfaceKind::kBt);
  ASSERT_TRUE(gate.wait([&] { return states.size() == 2; }));
  EXPECT_TRUE(gate.copy(states)[1].up);
  EXPECT_EQ(gate.copy(states)[1].generation, 2u);
  registers().set(0, 0x33);
  EXPECT_EQ(port->read(0), 0x33);
  Gate interrupts;
  bool level = false;
  port->set_interrupt_handler([&](bool l) { interrupts.change([&] { level = l; }); });
  registers().set_line(true);
  EXPECT_TRUE(interrupts.wait([&] { return level; })) << "with a new eventfd";
  port->set_interrupt_handler({});
  port->set_link_handler({});
}

TEST_F(VfioUserBusTest, AServerThatNowServesAnotherKindIsNotTaken) {
  start(InterfaceKind::kBt);
  auto port = open();
  ASSERT_TRUE(port);
  server_->stop();
  server_.reset();
  start(InterfaceKind::kKcs);
  const auto deadline = std::chrono::steady_clock::now() + vfio_bridge::testing::kPatience;
  while (port->link().reason.find("it was bt") == std::string::npos && std::chrono::steady_clock::now() < deadline)
    std::this_thread::yield();
  EXPECT_NE(port->link().reason.find("it was bt"), std::string::npos) << port->link().reason;
  EXPECT_FALSE(port->link().up);
}

TEST_F(VfioUserBusTest, ErrorsSayWhatIsWrong) {
  EXPECT_EQ(open_error().code, ErrorCode::kNotFound);
  start();
  provider_->refuse_with(Error{ErrorCode::kBusy, "in use"});
  Error busy = open_error();
  EXPECT_EQ(busy.code, ErrorCode::kBusy);
  EXPECT_NE(busy.message.find(options_.socket_path), std::string::npos);
  provider_->refuse_with(Error{ErrorCode::kNotFound, "no such bmc"});
  EXPECT_EQ(open_error().code, ErrorCode::kNotFound);
  bus_options_.spacing = 3;
  EXPECT_EQ(open_error().code, ErrorCode::kInvalidArgument);
}

TEST_F(VfioUserBusTest, BusSpecOptionsAreRead) {
  options_.pci.bar = vfio_bridge::BarKind::kMemory;
  options_.pci.spacing = 16;
  start(InterfaceKind::kBt);
  registers().set(2, 0x61);
  auto spec = bus::parse_bus_spec("vfio-user:" + options_.socket_path + "?spacing=16");
  ASSERT_TRUE(spec.ok()) << spec.error().message;
  auto port = bus::open_bus(*spec, {});
  ASSERT_TRUE(port.ok()) << port.error().message;
  EXPECT_EQ((*port)->read(2), 0x61);
  for (const char* bad : {"?spacing=2", "?spacing=x", "?colour=red"}) {
    auto s = bus::parse_bus_spec("vfio-user:" + options_.socket_path + bad);
    ASSERT_TRUE(s.ok());
    auto p = bus::open_bus(*s, {});
    ASSERT_FALSE(p.ok());
    EXPECT_EQ(p.error().code, ErrorCode::kInvalidArgument);
  }
}

TEST_F(VfioUserBusTest, ASilentServerIsGivenUp) {
  vfio_bridge::UniqueFd listening(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, options_.socket_path.c_str(), sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(listening.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listening.get(), 1), 0);
  bus_options_.reply_wait = std::chrono::milliseconds(30);
  EXPECT_EQ(open_error().code, ErrorCode::kTimeout);
}

}  // namespace
}  // namespace bmcpair
