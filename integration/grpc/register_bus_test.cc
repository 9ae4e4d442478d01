// The host's bus and the daemon's RegisterBus, end to end.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <set>
#include <thread>
#include <vector>

#include "integration/grpc/testing.h"

namespace bmcpair {
namespace {

using namespace std::chrono_literals;
using registers::InterfaceKind;
using registers::LinkState;
using registers::RegisterPort;
using testing::Condition;
using testing::open;
using transport::GrpcServer;

class RegisterBus : public ::testing::Test {
 protected:
  RegisterBus() { start(); }

  void start() {
    transport::GrpcServerOptions options;
    options.listen = {socket_};
    auto server = GrpcServer::start_register_bus(options, devices_);
    ASSERT_TRUE(server.ok()) << server.error().message;
    server_ = *std::move(server);
  }

  std::vector<std::string> log() {
    return bt_->condition.with([&] { return bt_->log; });
  }
  std::string holder() {
    return bt_->condition.with([&] { return bt_->holder; });
  }
  static std::vector<std::string> list(std::initializer_list<const char*> l) { return {l.begin(), l.end()}; }

  testing::TemporaryDirectory directory_;
  std::string socket_ = "unix:" + directory_.path() + "/s";
  testing::Devices devices_;
  std::shared_ptr<testing::Device> bt_ = devices_.add("one/bt");
  std::shared_ptr<testing::Device> kcs_ = devices_.add("one/kcs", InterfaceKind::kKcs);
  std::unique_ptr<GrpcServer> server_;
};

TEST_F(RegisterBus, AnAttachedPortSaysWhatItIs) {
  auto port = open(socket_, "one/bt", "host_driver[7]");
  ASSERT_TRUE(port.ok()) << port.error().message;
  EXPECT_EQ((*port)->kind(), InterfaceKind::kBt);
  EXPECT_TRUE((*port)->has_interrupt());
  EXPECT_TRUE((*port)->link().up);
  EXPECT_EQ((*port)->link().generation, 1u);
  EXPECT_EQ((*port)->endpoint(), bt_->condition.with([&] { return bt_->endpoint; }));
  EXPECT_EQ(holder(), "host_driver[7]");
  auto kcs = open(socket_, "one/kcs");
  ASSERT_TRUE(kcs.ok()) << kcs.error().message;
  EXPECT_EQ((*kcs)->kind(), InterfaceKind::kKcs);
}

TEST_F(RegisterBus, AccessesArriveInTheOrderTheyWereMade) {
  auto port = *open(socket_, "one/bt");
  port->write(0, 0x01);
  const uint8_t burst[] = {3, 0x18, 5};
  port->write_burst(1, burst);
  port->write(0, 0x04);
  EXPECT_EQ(port->read(0), 0x04);
  EXPECT_EQ(log(), list({"w0=1", "w1=3", "w1=24", "w1=5", "w0=4", "r0"}));
}

TEST_F(RegisterBus, PostedWritesTravelWithTheNextReadInOneRoundTrip) {
  auto port = *open(socket_, "one/bt");
  constexpr int kRounds = 201;
  std::vector<uint64_t> messages;
  for (int i = 0; i < kRounds; ++i) {
    const uint64_t before = server_->statistics().messages;
    port->write(0, 1);
    port->write(1, 2);
    EXPECT_EQ(port->read(0), 1);
    messages.push_back(server_->statistics().messages - before);
  }
  EXPECT_EQ(server_->statistics().ops, 3u * kRounds);
  // Writes that lay too long, as they may on a busy machine, go before the read; not each by itself.
  std::sort(messages.begin(), messages.end());
  EXPECT_EQ(messages.front(), 1u);
  EXPECT_LE(messages[kRounds / 2], 2u);
}

TEST_F(RegisterBus, APostedWriteThatNothingFollowsArrivesByItself) {
  auto port = *open(socket_, "one/bt");
  for (uint8_t i = 1; i <= 20; ++i) {
    port->write(2, i);
    EXPECT_TRUE(bt_->condition.wait([&] { return bt_->value[2] == i; })) << int{i};
    if (i % 3 == 0) port->read(0);
  }
}

TEST_F(RegisterBus, ABurstLargerThanAMessageArrivesWhole) {
  auto port = *open(socket_, "one/bt");
  std::vector<uint8_t> in(20000);
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<uint8_t>(i * 7);
  port->write_burst(1, in);
  port->read(0);
  std::vector<std::string> expected;
  for (uint8_t b : in) expected.push_back("w1=" + std::to_string(b));
  expected.push_back("r0");
  EXPECT_EQ(log(), expected);
  bt_->condition.change([&] { bt_->fifo.assign(in.begin(), in.end()); });
  std::vector<uint8_t> out(in.size());
  port->read_burst(1, out);
  EXPECT_EQ(out, in);
}

TEST_F(RegisterBus, ACountedReadTakesTheCountAndAsManyBytesInOneRoundTrip) {
  auto port = *open(socket_, "one/bt");
  bt_->condition.change([&] { bt_->fifo = {4, 0x1c, 0, 1, 0, 99}; });
  uint64_t messages = server_->statistics().messages;
  std::vector<uint8_t> out(256);
  EXPECT_EQ(port->read_counted(1, out), 5u);
  EXPECT_EQ(server_->statistics().messages - messages, 1u);
  EXPECT_EQ(std::vector<uint8_t>(out.begin(), out.begin() + 5), (std::vector<uint8_t>{4, 0x1c, 0, 1, 0}));
  EXPECT_EQ(port->read(1), 99);
}

TEST_F(RegisterBus, ACountedReadOfMoreThanFitsStopsWhereTheBufferEnds) {
  auto port = *open(socket_, "one/bt");
  bt_->condition.change([&] { bt_->fifo = {200, 1, 2, 3, 4}; });
  std::vector<uint8_t> out(3);
  EXPECT_EQ(port->read_counted(1, out), 3u);
  EXPECT_EQ(out, (std::vector<uint8_t>{200, 1, 2}));
  EXPECT_EQ(port->read_counted(1, {}), 0u);
}

TEST_F(RegisterBus, RegistersThatDoNotExistReadFFAndAreNotSent) {
  auto port = *open(socket_, "one/bt");
  EXPECT_EQ(port->read(3), 0xff);
  port->write(7, 1);
  std::vector<uint8_t> out(4);
  port->read_burst(3, out);
  EXPECT_EQ(out, std::vector<uint8_t>(4, 0xff));
  EXPECT_EQ(port->read(0), 0);
  EXPECT_EQ(log(), list({"r0"}));
}

TEST_F(RegisterBus, ASecondHostIsRefusedAndToldWhoHoldsTheInterface) {
  auto first = *open(socket_, "one/bt", "first");
  auto second = open(socket_, "one/bt", "second");
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, ErrorCode::kBusy);
  EXPECT_NE(second.error().message.find("held by first"), std::string::npos) << second.error().message;
  first->write(0, 5);
  EXPECT_EQ(first->read(0), 5);
}

TEST_F(RegisterBus, DestroyingThePortDetachesBeforeItReturns) {
  for (int i = 0; i < 20; ++i) {
    auto port = open(socket_, "one/bt", "round " + std::to_string(i));
    ASSERT_TRUE(port.ok()) << port.error().message;
    (*port)->write(0, static_cast<uint8_t>(i));
  }
  EXPECT_EQ(holder(), "");
  EXPECT_EQ(log().size(), 20u);  // and what was posted last still arrives
}

TEST_F(RegisterBus, AnUnknownPathIsNotFound) {
  auto port = open(socket_, "one/smic");
  ASSERT_FALSE(port.ok());
  EXPECT_EQ(port.error().code, ErrorCode::kNotFound);
  EXPECT_NE(port.error().message.find("no interface 'one/smic'"), std::string::npos) << port.error().message;
}

TEST_F(RegisterBus, NobodyListeningIsUnavailableAndSaysWhere) {
  auto port = open("unix:" + directory_.path() + "/nobody", "one/bt");
  ASSERT_FALSE(port.ok());
  EXPECT_EQ(port.error().code, ErrorCode::kUnavailable);
  EXPECT_NE(port.error().message.find("/nobody"), std::string::npos) << port.error().message;
}

TEST_F(RegisterBus, InterruptsArePushedWithTheNewestLevel) {
  auto port = *open(socket_, "one/bt");
  Condition seen;
  std::vector<bool> levels;
  port->set_interrupt_handler([&](bool level) { seen.change([&] { levels.push_back(level); }); });
  bt_->raise(true);
  ASSERT_TRUE(seen.wait([&] { return !levels.empty() && levels.back(); }));
  bt_->raise(false);
  EXPECT_TRUE(seen.wait([&] { return !levels.back(); }));
  for (int i = 0; i < 1001; ++i) bt_->raise(i % 2 == 0);
  EXPECT_TRUE(seen.wait([&] { return levels.back(); }));
  port->set_interrupt_handler({});
  size_t told = levels.size();
  bt_->raise(false);
  EXPECT_EQ(port->read(0), 0);
  EXPECT_EQ(levels.size(), told);
}

TEST_F(RegisterBus, AnInterruptThatRoseBeforeTheHostListenedIsToldToIt) {
  bt_->raise_at_once = true;
  auto port = *open(socket_, "one/bt");
  EXPECT_EQ(port->read(0), 0);  // by now it has been pushed
  Condition seen;
  bool level = false;
  port->set_interrupt_handler([&](bool l) { seen.change([&] { level = l; }); });
  EXPECT_TRUE(seen.wait([&] { return level; }));
}

TEST_F(RegisterBus, AnInterruptHandlerRunsOutsideTheThreadsThatRead) {
  auto port = *open(socket_, "one/bt");
  Condition seen;
  std::set<std::thread::id> threads;
  int count = 0;
  port->set_interrupt_handler([&](bool) {
    seen.change([&] {
      threads.insert(std::this_thread::get_id());
      ++count;
    });
  });
  for (int i = 0; i < 100; ++i) {
    bt_->raise(i % 2 == 0);
    port->read(0);
  }
  EXPECT_TRUE(seen.wait([&] { return count > 0; }));
  port->set_interrupt_handler({});
  EXPECT_EQ(threads.count(std::this_thread::get_id()), 0u);
}

TEST_F(RegisterBus, AStoppedServerTakesTheLinkDownAndAReturningOneBringsItUp) {
  auto port = *open(socket_, "one/bt");
  Condition seen;
  std::vector<LinkState> states;
  port->set_link_handler([&](const LinkState& s) { seen.change([&] { states.push_back(s); }); });
  port->write(0, 9);
  EXPECT_EQ(port->read(0), 9);
  for (uint64_t round = 1; round <= 3; ++round) {
    server_->stop();
    EXPECT_TRUE(seen.wait([&] { return !states.empty() && !states.back().up; }));
    EXPECT_FALSE(port->link().up);
    EXPECT_NE(port->link().reason, "");
    EXPECT_EQ(port->read(0), 0xff);
    std::vector<uint8_t> out(3, 0);
    port->read_burst(1, out);
    EXPECT_EQ(out, std::vector<uint8_t>(3, 0xff));
    port->write(0, 1);  // forgotten
    EXPECT_TRUE(bt_->wait_free());
    start();
    EXPECT_TRUE(seen.wait([&] { return states.back().up; }));
    EXPECT_EQ(port->link().generation, round + 1);
    EXPECT_EQ(port->link().reason, "");
    EXPECT_EQ(port->read(0), 9);
  }
}

TEST_F(RegisterBus, AForcedDetachIsALostLinkWithItsReasonAndThePortComesBack) {
  auto port = *open(socket_, "one/bt");
  Condition seen;
  std::vector<LinkState> states;
  port->set_link_handler([&](const LinkState& s) { seen.change([&] { states.push_back(s); }); });
  bt_->cut("by the operator");
  EXPECT_TRUE(seen.wait([&] { return states.size() >= 2 && states.back().up; }));
  EXPECT_FALSE(states[0].up);
  EXPECT_NE(states[0].reason.find("by the operator"), std::string::npos) << states[0].reason;
  EXPECT_EQ(states.back().generation, 2u);
  EXPECT_EQ(port->read(0), 0);
}

TEST_F(RegisterBus, AnInterfaceThatAnotherTookMeanwhileIsSaidInTheReason) {
  auto port = *open(socket_, "one/bt", "loser");
  server_->stop();
  EXPECT_TRUE(bt_->wait_free());
  auto thief = *devices_.attach("one/bt", "thief");
  start();
  auto deadline = std::chrono::steady_clock::now() + testing::kLong;
  while (port->link().reason.find("held by thief") == std::string::npos && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(1ms);
  EXPECT_NE(port->link().reason.find("held by thief"), std::string::npos) << port->link().reason;
  EXPECT_FALSE(port->link().up);
  Condition seen;
  bool up = false;
  port->set_link_handler([&](const LinkState& s) { seen.change([&] { up = s.up; }); });
  thief.reset();
  EXPECT_TRUE(seen.wait([&] { return up; }));
}

TEST_F(RegisterBus, APortOfAKnownKindComesBackAtOnceAndAttachesWhenItCan) {
  server_->stop();
  bus::OpenOptions options;
  options.kind = InterfaceKind::kBt;
  auto opened = bus::open_bus(*bus::parse_bus_spec("grpc:" + socket_ + "#one/bt"), options);
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  RegisterPort& port = **opened;
  EXPECT_FALSE(port.link().up);
  EXPECT_EQ(port.link().generation, 0u);
  EXPECT_EQ(port.kind(), InterfaceKind::kBt);
  EXPECT_EQ(port.read(0), 0xff);
  port.write(0, 9);  // forgotten
  Condition seen;
  LinkState state{false, 0, {}};
  port.set_link_handler([&](const LinkState& s) { seen.change([&] { state = s; }); });
  // It may have been said before anybody listened.
  if (port.link().reason.empty()) {
    EXPECT_TRUE(seen.wait([&] { return !state.reason.empty(); })) << "what is in the way is said";
  }
  start();
  EXPECT_TRUE(seen.wait([&] { return state.up; }));
  EXPECT_EQ(port.read(0), 0);
}

TEST_F(RegisterBus, AnInterfaceOfAnotherKindThanTheKnownOneIsNotTaken) {
  bus::OpenOptions options;
  options.kind = InterfaceKind::kKcs;
  auto port = *bus::open_bus(*bus::parse_bus_spec("grpc:" + socket_ + "#one/bt"), options);
  Condition seen;
  std::string reason;
  bool up = false;
  port->set_link_handler([&](const LinkState& s) {
    seen.change([&] {
      reason = s.reason;
      up = up || s.up;
    });
  });
  auto deadline = std::chrono::steady_clock::now() + testing::kLong;
  while (port->link().reason.find("bt interface where a kcs one") == std::string::npos &&
         std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(1ms);
  EXPECT_NE(port->link().reason.find("bt interface where a kcs one"), std::string::npos) << port->link().reason;
  EXPECT_FALSE(seen.with([&] { return up; }));
}

TEST_F(RegisterBus, OneAttachmentOnceLostStaysDown) {
  bus::OpenOptions options;
  options.one_attachment = true;
  auto port = *bus::open_bus(*bus::parse_bus_spec("grpc:" + socket_ + "#one/bt"), options);
  Condition seen;
  bool down = false;
  port->set_link_handler([&](const LinkState& s) { seen.change([&] { down = !s.up; }); });
  server_->stop();
  EXPECT_TRUE(seen.wait([&] { return down; }));
  start();
  // Whoever tries again would be quicker than this one, which is made anew.
  for (int i = 0; i < 3; ++i) {
    auto other = open(socket_, "one/bt");
    ASSERT_TRUE(other.ok()) << other.error().message;
  }
  EXPECT_FALSE(port->link().up);
  EXPECT_EQ(port->link().generation, 1u);
  EXPECT_EQ(bt_->condition.with([&] { return bt_->attaches; }), 4u);
}

TEST_F(RegisterBus, WhatWasSentToAServerThatStalledDoesNotArriveAfterTheNextAttachment) {
  bus::OpenOptions options;
  options.one_attachment = true;
  options.answer_timeout = 50ms;
  auto port = *bus::open_bus(*bus::parse_bus_spec("grpc:" + socket_ + "#one/bt"), options);
  // The device hangs, and with it the server's stream. Nothing is read before it does: on a busy machine an answer
  // may take longer than the 50 ms.
  Condition stall;
  bool stalled = false, go_on = false;
  std::thread device([&] {
    bt_->condition.with([&] {
      stall.change([&] { stalled = true; });
      stall.wait([&] { return go_on; });
      return 0;
    });
  });
  ASSERT_TRUE(stall.wait([&] { return stalled; }));
  port->write(0, 9);
  EXPECT_EQ(port->read(0), 0xff);
  EXPECT_FALSE(port->link().up);
  EXPECT_NE(port->link().reason.find("no answer in 50 ms"), std::string::npos) << port->link().reason;
  port->write(0, 8);
  port.reset();
  stall.change([&] { go_on = true; });
  device.join();
  Result<std::unique_ptr<RegisterPort>> next = Error{ErrorCode::kInternal, "never tried"};
  auto deadline = std::chrono::steady_clock::now() + testing::kLong;
  while (!(next = open(socket_, "one/bt")).ok() && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(1ms);
  ASSERT_TRUE(next.ok()) << next.error().message;
  (*next)->write(0, 1);
  EXPECT_EQ((*next)->read(0), 1);
  auto all = log();
  ASSERT_GE(all.size(), 2u);
  EXPECT_EQ(all[all.size() - 2], "w0=1");
  EXPECT_EQ(std::count(all.begin(), all.end(), "w0=8"), 0);
}

TEST_F(RegisterBus, AKilledClientIsNoticedAndItsInterfaceIsFree) {
  // A client in a process of its own: this program again (main_test.cc).
  pid_t child = ::fork();
  if (child == 0) {
    ::execl("/proc/self/exe", "client", "--attach", socket_.c_str(), "one/bt", nullptr);
    ::_exit(127);
  }
  EXPECT_TRUE(bt_->wait_held());
  EXPECT_TRUE(bt_->condition.wait([&] { return bt_->value[2] == 0x77; }));
  ASSERT_GT(child, 0);
  ::kill(child, SIGKILL);
  EXPECT_TRUE(bt_->wait_free());
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(open(socket_, "one/bt").ok());
}

TEST_F(RegisterBus, ManyThreadsOnOnePortEachGetTheirOwnAnswers) {
  auto port = *open(socket_, "one/bt");
  port->write(0, 0x11);
  port->write(1, 0x22);
  port->write(2, 0x33);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t)
    threads.emplace_back([&, t] {
      uint16_t offset = static_cast<uint16_t>(t % 3);
      for (int i = 0; i < 200; ++i)
        if (port->read(offset) != 0x11 * (offset + 1)) ++wrong;
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(wrong, 0);
}

TEST_F(RegisterBus, AThousandPortsLiveInOneProcessWithoutAThreadEach) {
  constexpr int kPorts = 1000;
  auto threads = [] {
    int n = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) n += entry.exists();
    return n;
  };
  std::vector<std::shared_ptr<testing::Device>> devices;
  server_->stop();
  for (int i = 0; i < kPorts; ++i) devices.push_back(devices_.add("many/" + std::to_string(i)));
  start();
  auto one = *open(socket_, "one/bt");
  int before = threads();
  std::vector<std::unique_ptr<RegisterPort>> ports;
  for (int i = 0; i < kPorts; ++i) {
    auto port = open(socket_, "many/" + std::to_string(i));
    ASSERT_TRUE(port.ok()) << i << ": " << port.error().message;
    ports.push_back(*std::move(port));
  }
  EXPECT_LT(threads() - before, 20);
  Condition seen;
  std::set<int> raised;
  for (int i = 0; i < kPorts; ++i) {
    auto& port = *ports[static_cast<size_t>(i)];
    port.set_interrupt_handler([&, i](bool) { seen.change([&] { raised.insert(i); }); });
    port.write(0, static_cast<uint8_t>(i));
    port.write(1, static_cast<uint8_t>(i >> 8));
  }
  for (int i = 0; i < kPorts; ++i) {
    auto& port = *ports[static_cast<size_t>(i)];
    ASSERT_EQ(port.read(0), static_cast<uint8_t>(i));
    ASSERT_EQ(port.read(1), static_cast<uint8_t>(i >> 8));
  }
  for (auto& d : devices) d->raise(true);
  EXPECT_TRUE(seen.wait([&] { return raised.size() == kPorts; }));
  EXPECT_EQ(server_->statistics().streams, kPorts + 1u);
  ports.clear();
  for (auto& d : devices) EXPECT_EQ(d->condition.with([&] { return d->holder; }), "");
}

TEST_F(RegisterBus, OptionsInASpecAreRefused) {
  auto spec = *bus::parse_bus_spec("grpc:" + socket_ + "#one/bt?spacing=4");
  auto port = bus::open_bus(spec, {});
  ASSERT_FALSE(port.ok());
  EXPECT_EQ(port.error().code, ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace bmcpair
