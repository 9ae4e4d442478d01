// The server around the protocol: sockets, clients one after the other, and the end.
#include "vfio_bridge/server.h"

#include <cerrno>
#include <condition_variable>
#include <fstream>
#include <thread>

#include "vfio_bridge/protocol_fixture.h"

namespace bmcpair::vfio_bridge::testing {
namespace {

class ServerTest : public ProtocolTest {
 protected:
  Error start_error() {
    ArrayProvider provider(registers::InterfaceKind::kKcs);
    auto s = Server::start(options_, provider);
    return s ? Error{ErrorCode::kInternal, "it started"} : s.error();
  }
};

TEST_F(ServerTest, TheSocketIsForItsOwnerAlone) {
  mode_t old = ::umask(0);
  start();
  ::umask(old);
  struct stat st {};
  ASSERT_EQ(::stat(options_.socket_path.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
}

TEST_F(ServerTest, AStaleSocketIsReplaced) {
  {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, options_.socket_path.c_str(), sizeof address.sun_path - 1);
    ASSERT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  ASSERT_TRUE(std::filesystem::exists(options_.socket_path));
  start();
  greeted().expect_silence_then_alive();
}

TEST_F(ServerTest, ALiveSocketIsRefusedAndStaysAlive) {
  start();
  Error e = start_error();
  EXPECT_EQ(e.code, ErrorCode::kAlreadyExists);
  EXPECT_NE(e.message.find(options_.socket_path), std::string::npos);
  EXPECT_NE(e.message.find("running"), std::string::npos);
  greeted().expect_silence_then_alive();
}

TEST_F(ServerTest, AFileThatIsNoSocketIsLeftAlone) {
  std::ofstream(options_.socket_path) << "precious";
  EXPECT_EQ(start_error().code, ErrorCode::kAlreadyExists);
  EXPECT_TRUE(std::filesystem::exists(options_.socket_path));
}

TEST_F(ServerTest, BadPathsAndOptionsAreRefusedWithTheirNames) {
  options_.pci.spacing = 2;
  EXPECT_EQ(start_error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(start_error().message.find("spacing"), std::string::npos);
  options_.pci.spacing = 1;
  options_.pci.vendor_id = 0xffff;
  EXPECT_EQ(start_error().code, ErrorCode::kInvalidArgument);
  options_.pci.vendor_id = 0x1234;
  options_.socket_path = "";
  EXPECT_EQ(start_error().code, ErrorCode::kInvalidArgument);
  options_.socket_path = directory_ + "/" + std::string(100, 'x');
  EXPECT_EQ(start_error().code, ErrorCode::kInvalidArgument);
  options_.socket_path = directory_ + "/none/s";
  EXPECT_EQ(start_error().code, ErrorCode::kNotFound);
}

TEST_F(ServerTest, ASecondClientIsRefusedWithEbusyAndTheFirstDoesNotNotice) {
  options_.claim_wait = std::chrono::milliseconds(20);
  start();
  Client first = greeted();
  Client second = connect();
  EXPECT_EQ(second.fails(kVersionCmd, Client::version()), static_cast<uint32_t>(EBUSY));
  EXPECT_TRUE(second.ended());
  first.expect_silence_then_alive();
  EXPECT_EQ(server_->statistics().connections_refused, 1u);
}

TEST_F(ServerTest, TheNextClientIsServedWhenTheFirstHasGoneAndTheDeviceKeepsItsState) {
  start();
  for (uint8_t round = 1; round < 20; ++round) {
    Client c = greeted();
    EXPECT_EQ(c.read_region(7, 0x3c, 1), Bytes{static_cast<uint8_t>(round - 1)});
    c.write_region(7, 0x3c, {round});
    c.write_region(0, 0, {round});
  }
  EXPECT_EQ(registers().value(0), 19);
}

TEST_F(ServerTest, AClientThatComesBeforeTheOtherHasGoneGetsItsTurn) {
  start();
  Client first = greeted();
  Client second = connect();
  uint16_t id = second.send(kVersionCmd, Client::version());
  first.expect_silence_then_alive();
  first.close();
  Reply r = second.receive();
  EXPECT_EQ(r.id, id);
  EXPECT_EQ(r.flags, 1u);
}

TEST_F(ServerTest, AClientThatHasGoneIsWaitedForWhileItsPortLetsGo) {
  struct Slow : registers::PortProvider {
    struct Port : registers::RegisterPort {
      explicit Port(Slow& s) : slow(s) {}
      ~Port() override { slow.pass(); }
      uint8_t read(uint16_t) override {
        slow.pass();
        return 0x77;
      }
      void write(uint16_t, uint8_t) override {}
      registers::InterfaceKind kind() const override { return registers::InterfaceKind::kBt; }
      bool has_interrupt() const override { return false; }
      void set_interrupt_handler(InterruptHandler) override {}
      Slow& slow;
    };
    Result<std::unique_ptr<registers::RegisterPort>> attach(std::string_view, std::string_view) override {
      return std::unique_ptr<registers::RegisterPort>(new Port(*this));
    }
    void pass() {
      std::unique_lock lock(mutex);
      changed.wait(lock, [this] { return open; });
    }
    void set_open(bool to) {
      std::lock_guard lock(mutex);
      open = to;
      changed.notify_all();
    }
    std::mutex mutex;
    std::condition_variable changed;
    bool open = true;
  } slow;
  options_.claim_wait = std::chrono::milliseconds(0);
  auto server = Server::start(options_, slow);
  ASSERT_TRUE(server.ok()) << server.error().message;
  // At the registers, whose answer it does not live to see; and with a port that only has to let go.
  for (bool reads : {true, false}) {
    Client first = connect();
    first.hello();
    slow.set_open(false);
    if (reads) first.send(kRegionReadCmd, Client::region(0, 0, 1));
    first.close();
    Client second = connect();
    second.send(kVersionCmd, Client::version());
    pollfd refusal{second.fd(), POLLIN, 0};
    EXPECT_EQ(::poll(&refusal, 1, 50), 0) << "nothing is said to it yet";
    slow.set_open(true);
    EXPECT_EQ(second.receive().flags, 1u) << "it is served";
    second.close();
    // Until the server knows.
    while ((*server)->statistics().connected) std::this_thread::yield();
  }
  (*server)->stop();
}

TEST_F(ServerTest, ABusyInterfaceIsRefusedAndServedLater) {
  start();
  provider_->refuse_with(Error{ErrorCode::kBusy, "bmc/interface: another host is attached"});
  Client c = connect();
  EXPECT_EQ(c.fails(kVersionCmd, Client::version()), static_cast<uint32_t>(EBUSY));
  EXPECT_TRUE(c.ended());
  provider_->refuse_with(Error{ErrorCode::kNotFound, "no such bmc"});
  EXPECT_EQ(connect().fails(kVersionCmd, Client::version()), static_cast<uint32_t>(ENODEV));
  provider_->refuse_with(std::nullopt);
  greeted().expect_silence_then_alive();
}

TEST_F(ServerTest, ThePortIsLetGoAndItsHandlerTakenAwayWhenTheClientIsGone) {
  start();
  {
    Client c = greeted();
    EXPECT_EQ(provider_->attached(), 1);
    EXPECT_TRUE(registers().has_handler());
    c.close();
  }
  server_->stop();
  EXPECT_EQ(provider_->attached(), 0);
  EXPECT_FALSE(registers().has_handler());
}

TEST_F(ServerTest, AStopAnswersSaysGoodbyeAndWaitsForTheClient) {
  start();
  Client c = greeted();
  c.expect_silence_then_alive();
  std::thread stopper([this] { server_->stop(); });
  EXPECT_TRUE(c.ended()) << "an orderly end, no reset";
  // Requests on the way are read and thrown away, never answered by a reset.
  c.send_raw(Client::message(9, kRegionReadCmd, Client::region(0, 0, 1)));
  c.close();
  stopper.join();
  EXPECT_FALSE(std::filesystem::exists(options_.socket_path));
  EXPECT_FALSE(Client(options_.socket_path).connected());
}

TEST_F(ServerTest, AStopDoesNotWaitForEverForAClientThatStays) {
  options_.drain_wait = std::chrono::milliseconds(50);
  start();
  Client silent = connect();
  Client c = greeted();  // clients are accepted in their order, so both are
  server_->stop();
  EXPECT_TRUE(c.ended());
  EXPECT_TRUE(silent.ended());
}

TEST_F(ServerTest, AStopWaitsUntilTheInterruptThatItSignalledIsTakenAndSignalsNoMore) {
  options_.quiet_wait = std::chrono::seconds(30);
  start();
  Client c = greeted();
  Event e;
  c.ok(kSetIrqsCmd, Client::irqs(4 | 32, 0, 0, 1), {e.fd()});
  registers().set_line(true);
  EXPECT_EQ(e.take(), 1u);
  std::thread stopper([this] { server_->stop(); });
  // PCI Status bit 3: the line.
  while ((c.read_region(7, 6, 1).at(0) & 0x08) != 0) std::this_thread::yield();
  c.read_region(0, 0, 1);
  c.ok(kSetIrqsCmd, Client::irqs(1 | 16, 0, 0, 1));
  EXPECT_TRUE(c.ended());
  EXPECT_EQ(e.take(), 0u) << "the line is still high";
  c.close();
  stopper.join();
}

TEST_F(ServerTest, AStopLeavesAnothersSocketFileAlone) {
  start();
  std::filesystem::remove(options_.socket_path);
  std::ofstream(options_.socket_path) << "someone else's";
  server_->stop();
  EXPECT_TRUE(std::filesystem::exists(options_.socket_path));
}

TEST_F(ServerTest, AStoppedServerCanBeStartedAgain) {
  for (int i = 0; i < 5; ++i) {
    start();
    greeted().expect_silence_then_alive();
    server_.reset();
  }
}

TEST_F(ServerTest, AClientThatTakesNoRepliesIsClosed) {
  options_.client_wait = std::chrono::seconds(3);  // the greeting, too, has to be done by then
  options_.drain_wait = std::chrono::milliseconds(50);
  start();
  Client c = greeted();
  Bytes reads;
  for (int i = 0; i < 100; ++i) {
    Bytes m = Client::message(1, kRegionReadCmd, Client::region(0, 7, 256));
    reads.insert(reads.end(), m.begin(), m.end());
  }
  timeval tv{30, 0};
  ::setsockopt(c.fd(), SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
  bool accepted = true;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (accepted && std::chrono::steady_clock::now() < deadline) accepted = c.send_raw(reads);
  EXPECT_FALSE(accepted) << "the server hangs up";
}

TEST_F(ServerTest, NoDescriptorIsLeftAfterManyClientsAndAStop) {
  size_t before = open_descriptors();
  start();
  for (int i = 0; i < 30; ++i) {
    Client c = greeted();
    Event e;
    c.ok(kSetIrqsCmd, Client::irqs(4 | 32, 0, 0, 1), {e.fd()});
    c.ok(kDmaMapCmd, Payload().u32(32).u32(3).u64(0).u64(0).u64(0x1000), {e.fd()});
  }
  server_.reset();
  EXPECT_EQ(open_descriptors(), before);
}

TEST_F(ServerTest, HundredsOfServersShareOneProcessAndOneOfThemBlockingHoldsUpNoOther) {
  // A port that does not come back until it is let: the shape of one over a network that hangs.
  class Blocking : public registers::PortProvider {
   public:
    Result<std::unique_ptr<registers::RegisterPort>> attach(std::string_view, std::string_view) override {
      class Port : public registers::RegisterPort {
       public:
        explicit Port(Blocking& b) : blocking_(b) {}
        uint8_t read(uint16_t) override {
          std::unique_lock lock(blocking_.mutex);
          blocking_.changed.wait(lock, [this] { return blocking_.open; });
          return 0x77;
        }
        void write(uint16_t, uint8_t) override {}
        registers::InterfaceKind kind() const override { return registers::InterfaceKind::kBt; }
        bool has_interrupt() const override { return false; }
        void set_interrupt_handler(InterruptHandler) override {}

       private:
        Blocking& blocking_;
      };
      return std::unique_ptr<registers::RegisterPort>(new Port(*this));
    }
    std::mutex mutex;
    std::condition_variable changed;
    bool open = false;
  } blocking;

  ArrayProvider quick(registers::InterfaceKind::kKcs);
  std::vector<std::unique_ptr<Server>> servers;
  for (int i = 0; i < 200; ++i) {
    Server::Options o = options_;
    o.socket_path = directory_ + "/" + std::to_string(i);
    auto s = Server::start(o, i == 0 ? static_cast<registers::PortProvider&>(blocking) : quick);
    ASSERT_TRUE(s.ok()) << s.error().message;
    servers.push_back(*std::move(s));
  }
  Client stuck(servers[0]->options().socket_path);
  stuck.hello();
  stuck.send(kRegionReadCmd, Client::region(0, 0, 1));
  for (int i = 1; i < 200; ++i) {
    Client c(servers[static_cast<size_t>(i)]->options().socket_path);
    ASSERT_TRUE(c.connected());
    c.hello();
    c.expect_silence_then_alive();
  }
  {
    std::lock_guard lock(blocking.mutex);
    blocking.open = true;
  }
  blocking.changed.notify_all();
  EXPECT_EQ(stuck.receive().payload.back(), 0x77);
  stuck.close();
  for (auto& s : servers) s->begin_stop();
}

TEST_F(ServerTest, StatisticsCountWhatHappened) {
  start();
  Client c = greeted();
  c.read_region(0, 0, 1);
  c.write_region(0, 0, {1});
  c.fails(99);
  Statistics s = server_->statistics();
  EXPECT_EQ(s.connections, 1u);
  EXPECT_TRUE(s.connected);
  EXPECT_EQ(s.messages, 4u);
  EXPECT_EQ(s.register_reads, 1u);
  EXPECT_EQ(s.register_writes, 1u);
  EXPECT_EQ(s.error_replies, 1u);
}

}  // namespace
}  // namespace bmcpair::vfio_bridge::testing
