// host_driver's qtest bus against a real QEMU with its own BT and KCS devices, driven register by register.
#include "host_driver/bus/qtest.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <thread>

#include "proto/base/hex.h"
#include "proto/registers/bt.h"
#include "proto/registers/kcs.h"

namespace bmcpair {
namespace {

namespace bt = registers::bt;
namespace kcs = registers::kcs;
using registers::InterfaceKind;

template <class F>
bool eventually(F condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

class Qemu {
 public:
  explicit Qemu(const std::string& socket) {
    const std::string qtest = "unix:" + socket + ",server=on,wait=off";
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::execlp("qemu-system-x86_64", "qemu-system-x86_64", "-accel", "tcg", "-S", "-M", "pc", "-m", "16", "-nodefaults",
               "-display", "none", "-qtest", qtest.c_str(), "-qtest-log", "/dev/null", "-device",
               "ipmi-bmc-sim,id=bmc0", "-device", "isa-ipmi-bt,bmc=bmc0,irq=5", "-device", "ipmi-bmc-sim,id=bmc1",
               "-device", "isa-ipmi-kcs,bmc=bmc1,irq=10", static_cast<char*>(nullptr));
      ::_exit(127);
    }
  }
  ~Qemu() { kill(); }
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  pid_t pid_ = -1;
};

class QtestBusTest : public ::testing::Test {
 protected:
  QtestBusTest() {
    char name[] = "/tmp/bmcpair-qtest-XXXXXX";
    directory_ = ::mkdtemp(name);
    socket_ = directory_ + "/q";
    qemu_ = std::make_unique<Qemu>(socket_);
  }
  ~QtestBusTest() override {
    qemu_.reset();
    std::filesystem::remove_all(directory_);
  }
  std::unique_ptr<registers::RegisterPort> open(uint16_t base, unsigned irq) {
    bus::QtestOptions o;
    o.base = base;
    o.irq = irq;
    o.reply_wait = std::chrono::seconds(60);
    o.backoff_most = std::chrono::milliseconds(50);
    std::unique_ptr<registers::RegisterPort> port;
    std::string last = "never tried";
    // QEMU takes a moment to make its socket.
    eventually([&] {
      auto p = bus::connect_qtest(socket_, o);
      if (!p) {
        last = p.error().message;
        return false;
      }
      port = *std::move(p);
      return true;
    });
    EXPECT_TRUE(port) << last;
    return port;
  }

  std::string directory_;
  std::string socket_;
  std::unique_ptr<Qemu> qemu_;
};

// One BT transaction by hand (IPMI 2.0 rev 1.1 §11.4). Request: NetFn/LUN, Cmd, data; response likewise with CC.
Bytes bt_transaction(registers::RegisterPort& port, const Bytes& request, uint8_t seq = 0x5a) {
  if (!eventually([&] { return (port.read(bt::kCtrl) & (bt::kH2bAtn | bt::kBBusy)) == 0; })) return {};
  port.write(bt::kCtrl, bt::kClrWrPtr);
  Bytes frame{static_cast<uint8_t>(request.size() + 1), request[0], seq};
  frame.insert(frame.end(), request.begin() + 1, request.end());
  port.write_burst(bt::kBuffer, frame);
  port.write(bt::kCtrl, bt::kH2bAtn);
  if (!eventually([&] { return (port.read(bt::kCtrl) & bt::kB2hAtn) != 0; })) return {};
  port.write(bt::kCtrl, bt::kHBusy);
  port.write(bt::kCtrl, bt::kB2hAtn);
  port.write(bt::kCtrl, bt::kClrRdPtr);
  Bytes answer(bt::kFrameBytesMax);
  answer.resize(port.read_counted(bt::kBuffer, answer));
  port.write(bt::kCtrl, bt::kHBusy);
  if (answer.size() < 5 || answer[2] != seq) return {};
  Bytes response{answer[1]};
  response.insert(response.end(), answer.begin() + 3, answer.end());
  return response;
}

// One KCS transaction by hand (§9.15).
Bytes kcs_transaction(registers::RegisterPort& port, const Bytes& request) {
  auto ibf_clear = [&] { return eventually([&] { return (port.read(kcs::kStatus) & kcs::kIbf) == 0; }); };
  auto obf_set = [&] { return eventually([&] { return (port.read(kcs::kStatus) & kcs::kObf) != 0; }); };
  auto state = [&] { return kcs::state_of(port.read(kcs::kStatus)); };
  auto drop_obf = [&] {
    if (port.read(kcs::kStatus) & kcs::kObf) port.read(kcs::kData);
  };
  if (!ibf_clear()) return {};
  drop_obf();
  port.write(kcs::kCommand, kcs::kWriteStart);
  for (size_t i = 0; i < request.size(); ++i) {
    if (!ibf_clear() || state() != kcs::State::kWrite) return {};
    drop_obf();
    if (i + 1 == request.size()) {
      port.write(kcs::kCommand, kcs::kWriteEnd);
      if (!ibf_clear() || state() != kcs::State::kWrite) return {};
      drop_obf();
    }
    port.write(kcs::kData, request[i]);
  }
  Bytes response;
  for (;;) {
    if (!ibf_clear()) return {};
    kcs::State s = state();
    if (s == kcs::State::kIdle) {
      if (!obf_set()) return {};
      port.read(kcs::kData);
      return response;
    }
    if (s != kcs::State::kRead || !obf_set() || response.size() > 300) return {};
    response.push_back(port.read(kcs::kData));
    port.write(kcs::kData, kcs::kRead);
  }
}

const Bytes kGetDeviceId{0x06 << 2, 0x01};

void expect_device_id(const Bytes& response) {
  ASSERT_GE(response.size(), 3u + 11u) << to_hex(response);
  EXPECT_EQ(response[0], 0x07 << 2);
  EXPECT_EQ(response[1], 0x01);
  EXPECT_EQ(response[2], 0x00) << "completion code";
  EXPECT_EQ(response[7] & 0x0f, 0x02) << "IPMI 2.0";
}

TEST_F(QtestBusTest, GetDeviceIdThroughQemusBtRegisters) {
  auto port = open(0xe4, 5);
  ASSERT_TRUE(port);
  EXPECT_EQ(port->kind(), InterfaceKind::kBt);
  for (int i = 0; i < 20; ++i) expect_device_id(bt_transaction(*port, kGetDeviceId, static_cast<uint8_t>(i)));
}

TEST_F(QtestBusTest, GetDeviceIdThroughQemusKcsRegisters) {
  auto port = open(0xca2, 10);
  ASSERT_TRUE(port);
  EXPECT_EQ(port->kind(), InterfaceKind::kKcs);
  for (int i = 0; i < 20; ++i) expect_device_id(kcs_transaction(*port, kGetDeviceId));
}

TEST_F(QtestBusTest, BothDevicesOfOneMachineAreDrivenAtOnceOverItsOneSocket) {
  auto b = open(0xe4, 5);
  auto k = open(0xca2, 10);
  ASSERT_TRUE(b && k);
  std::thread other([&] {
    for (int i = 0; i < 30; ++i) expect_device_id(kcs_transaction(*k, kGetDeviceId));
  });
  for (int i = 0; i < 30; ++i) expect_device_id(bt_transaction(*b, kGetDeviceId));
  other.join();
}

TEST_F(QtestBusTest, TheInterruptOfEachDeviceReachesItsOwnHandler) {
  auto b = open(0xe4, 5);
  auto k = open(0xca2, 10);
  ASSERT_TRUE(b && k);
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<bool> bt_levels;
  std::vector<bool> kcs_levels;
  auto into = [&](std::vector<bool>& to) {
    return [&](bool level) {
      std::lock_guard lock(mutex);
      to.push_back(level);
      changed.notify_all();
    };
  };
  auto wait = [&](auto condition) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, std::chrono::seconds(60), condition);
  };
  // A copy of what the port's own thread may change meanwhile.
  auto copy = [&](const std::vector<bool>& of) {
    std::lock_guard lock(mutex);
    return of;
  };
  b->set_interrupt_handler(into(bt_levels));
  k->set_interrupt_handler(into(kcs_levels));

  // QEMU forbids message interrupts until Set BMC Global Enables (App 2Eh) allows them.
  bt_transaction(*b, {0x06 << 2, 0x2e, 0x01});
  b->write(bt::kIntMask, bt::kB2hIrqEnable);
  expect_device_id(bt_transaction(*b, kGetDeviceId));
  ASSERT_TRUE(wait([&] { return !bt_levels.empty(); }));
  EXPECT_TRUE(copy(bt_levels)[0]);
  b->write(bt::kIntMask, bt::kB2hIrqEnable | bt::kB2hIrq);
  ASSERT_TRUE(wait([&] { return bt_levels.size() == 2; }));
  EXPECT_FALSE(copy(bt_levels)[1]);
  EXPECT_TRUE(copy(kcs_levels).empty());

  kcs_transaction(*k, {0x06 << 2, 0x2e, 0x01});
  expect_device_id(kcs_transaction(*k, kGetDeviceId));
  ASSERT_TRUE(wait([&] { return kcs_levels.size() >= 2; }));
  EXPECT_TRUE(copy(kcs_levels)[0]);
  EXPECT_FALSE(copy(kcs_levels)[1]) << "reading the data register clears OBF";
  b->set_interrupt_handler({});
  k->set_interrupt_handler({});
}

TEST_F(QtestBusTest, AMachineThatDiesIsSeenByAllItsPortsAndOneThatReplacesItIsTaken) {
  auto b = open(0xe4, 5);
  auto k = open(0xca2, 10);
  ASSERT_TRUE(b && k);
  expect_device_id(bt_transaction(*b, kGetDeviceId));
  qemu_->kill();
  ASSERT_TRUE(eventually([&] { return !b->link().up && !k->link().up; }));
  EXPECT_EQ(b->read(0), 0xff);
  Bytes burst(10, 0);
  k->read_burst(0, burst);
  EXPECT_EQ(burst, Bytes(10, 0xff));
  k->write(0, 1);
  EXPECT_NE(b->link().reason.find(socket_), std::string::npos);

  std::filesystem::remove(socket_);
  qemu_ = std::make_unique<Qemu>(socket_);
  ASSERT_TRUE(eventually([&] { return b->link().up && k->link().up; })) << b->link().reason;
  EXPECT_EQ(b->link().generation, 2u);
  expect_device_id(bt_transaction(*b, kGetDeviceId));
  expect_device_id(kcs_transaction(*k, kGetDeviceId));
}

TEST_F(QtestBusTest, WhenTheLastPortHasGoneTheSocketCanBeOpenedAnew) {
  for (int i = 0; i < 3; ++i) {
    auto b = open(0xe4, 5);
    ASSERT_TRUE(b);
    expect_device_id(bt_transaction(*b, kGetDeviceId));
  }
}

TEST_F(QtestBusTest, BusSpecsAreOpenedAndMistakesAreNamed) {
  ASSERT_TRUE(open(0xe4, 5));
  auto open_spec = [&](const std::string& rest) {
    auto spec = bus::parse_bus_spec("qtest:" + socket_ + rest);
    if (!spec) return Result<std::unique_ptr<registers::RegisterPort>>(spec.error());
    return bus::open_bus(*spec, {});
  };
  auto port = open_spec("@0xca2?irq=10");
  ASSERT_TRUE(port.ok()) << port.error().message;
  expect_device_id(kcs_transaction(**port, kGetDeviceId));
  for (const char* bad :
       {"", "@0x300", "@0xe4?kind=ssif", "@0xe4?irq=24", "@0xe4?irq=x", "@0xe4?speed=9", "@0xffff?kind=kcs"}) {
    auto p = open_spec(bad);
    ASSERT_FALSE(p.ok()) << bad;
    EXPECT_EQ(p.error().code, ErrorCode::kInvalidArgument) << p.error().message;
  }
}

// A peer that is not QEMU: what it says is given, then the end.
class WrongPeer {
 public:
  WrongPeer(const std::string& path, std::string says)
      : says_(std::move(says)), listening_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    EXPECT_EQ(::bind(listening_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(listening_, 1), 0);
    thread_ = std::thread([this] {
      int fd = ::accept(listening_, nullptr, nullptr);
      [[maybe_unused]] ssize_t n = ::send(fd, says_.data(), says_.size(), MSG_NOSIGNAL);
      char bytes[256];
      while (::recv(fd, bytes, sizeof bytes, 0) > 0) continue;
      ::close(fd);
    });
  }
  ~WrongPeer() {
    thread_.join();
    ::close(listening_);
  }

 private:
  std::string says_;
  int listening_;
  std::thread thread_;
};

TEST(QtestBusErrors, WhatIsNotQtestIsRefused) {
  char name[] = "/tmp/bmcpair-qtest-XXXXXX";
  const std::string directory = ::mkdtemp(name);
  EXPECT_EQ(bus::connect_qtest(directory + "/none", {}).error().code, ErrorCode::kNotFound);
  int i = 0;
  for (auto [says, code] : {std::pair<std::string, ErrorCode>{"", ErrorCode::kTimeout},
                            {"FAIL Unknown command 'irq_intercept_in'\n", ErrorCode::kProtocol},
                            {"HTTP/1.1 400 Bad Request\r\n\r\n", ErrorCode::kProtocol},
                            {"OK 0xzz\n", ErrorCode::kProtocol},
                            {std::string(10'000, 'A'), ErrorCode::kProtocol}}) {
    const std::string path = directory + "/" + std::to_string(i++);
    WrongPeer peer(path, says);
    bus::QtestOptions o;
    if (says.empty()) o.reply_wait = std::chrono::milliseconds(50);  // who does answer is given its time
    auto port = bus::connect_qtest(path, o);
    ASSERT_FALSE(port.ok()) << says;
    EXPECT_EQ(port.error().code, code) << port.error().message;
  }
  std::filesystem::remove_all(directory);
}

TEST(QtestBusErrors, AnAnswerNobodyAskedForTakesTheLinkDown) {
  char name[] = "/tmp/bmcpair-qtest-XXXXXX";
  const std::string directory = ::mkdtemp(name);
  {
    WrongPeer peer(directory + "/q", "OK\nIRQ raise 5\nIRQ raise 99\nIRQ sideways\nOK 0x0001\n");
    bus::QtestOptions o;
    auto port = bus::connect_qtest(directory + "/q", o);
    ASSERT_TRUE(port.ok()) << port.error().message;
    EXPECT_TRUE(eventually([&] { return !(*port)->link().up; }));
    EXPECT_EQ((*port)->read(0), 0xff);
  }
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace bmcpair
