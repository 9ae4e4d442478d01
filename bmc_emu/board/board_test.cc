#include "bmc_emu/board/board.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>

#include "bmc_emu/board/testing.h"

namespace bmcpair::board {
namespace {

using namespace std::chrono_literals;
using namespace testing;
namespace bt = registers::bt;
namespace kcs = registers::kcs;
using ::testing::HasSubstr;

const Bytes kColdReset{0x18, 0x02};
const Bytes kWarmReset{0x18, 0x03};
const Bytes kSetGlobalEnables{0x18, 0x2e, 0x0f};
const Bytes kAddSelEntry{0x28, 0x44, 0, 0, 2, 0, 0, 0, 0, 0x20, 0, 4, 1, 1, 1, 0x59, 1, 2};

// A door that tests open.
class Gate {
 public:
  void open() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      open_ = true;
    }
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    entered_ = true;
    changed_.notify_all();
    changed_.wait(lock, [&] { return open_; });
  }
  bool wait_for_somebody() {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, 20s, [&] { return entered_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
  bool entered_ = false;
};

TEST(Board, AnswersARequestThroughItsRegisters) {
  Bench bench;
  auto port = bench.attach("bt");
  Bytes answer = bench.bt(*port, kGetDeviceId);
  ASSERT_GE(answer.size(), 14u);
  EXPECT_EQ(answer[0], 0x1c);
  EXPECT_EQ(answer[1], 0x01);
  EXPECT_EQ(answer[2], 0x00);
  EXPECT_EQ(answer[12], 0x34);  // product id
  EXPECT_EQ(answer[13], 0x12);
}

TEST(Board, TheAnswerTakesTheConfiguredTimeAndNoMore) {
  BoardConfig config = board_config();
  config.interfaces[0].latency.access = {hardware::Latency::Shape::kFixed, 2us, 2us};
  config.interfaces[0].latency.response = {hardware::Latency::Shape::kFixed, 700us, 700us};
  Bench bench(config);
  auto port = bench.attach("bt");
  Instant begin = bench.now();
  bench.bt(*port, kGetDeviceId);
  Duration took = bench.now() - begin;
  EXPECT_GE(took, 700us);
  EXPECT_LE(took, 700us + 100 * 2us);
}

TEST(Board, NothingOfTheAnswerIsInsideTheHostsWrite) {
  Bench bench;
  auto port = bench.attach("bt");
  bt_send(*port, kGetDeviceId);
  EXPECT_EQ(port->read(bt::kCtrl), bt::kH2bAtn);
}

TEST(Board, AHostThatComesLateFindsTheRegistersAsTheyAreByThen) {
  // No worker runs at all: the actor's steps up to the host's access are made by the access itself.
  Bench bench;
  auto port = bench.attach("bt");
  bt_send(*port, kGetDeviceId);
  bench.now_ns += 500'000;
  EXPECT_EQ(port->read(bt::kCtrl) & (bt::kH2bAtn | bt::kB2hAtn), 0)
      << "taken, but not answered: that is the firmware's work";
  EXPECT_LE(bench.board->next_due(), bench.now());
}

TEST(Board, AWakeIsAskedForWhenARequestIsThere) {
  Bench bench;
  auto port = bench.attach("bt");
  int before = bench.wakes;
  bt_send(*port, kGetDeviceId);
  EXPECT_GT(bench.wakes, before);
}

TEST(Board, IsNotDueForManyMinutesWhenIdle) {
  // What is left is the power-on hour counter of the chassis.
  Bench bench;
  auto port = bench.attach("bt");
  bench.bt(*port, kGetDeviceId);
  bench.run_for(1s);
  EXPECT_GT(bench.board->next_due(), bench.now() + 10min);
}

TEST(Board, KcsAndBtShowTheSameBmc) {
  Bench bench;
  auto port = bench.attach("bt");
  EXPECT_EQ(bench.bt(*port, kAddSelEntry)[2], 0);
  size_t records = 0;
  bench.board->with_firmware([&](firmware::Bmc& bmc, Instant now) { records = bmc.sel(now).size(); });
  EXPECT_EQ(records, 1u);
}

TEST(Board, StatisticsCountWhatHappened) {
  Bench bench;
  auto port = bench.attach("bt");
  bench.bt(*port, kGetDeviceId);
  InterfaceStatistics s = bench.board->statistics("bt");
  EXPECT_EQ(s.requests, 1u);
  EXPECT_EQ(s.responses, 1u);
  EXPECT_EQ(s.responses_dropped, 0u);
  EXPECT_GT(s.host_reads, 10u);
  EXPECT_GT(s.host_writes, 6u);
  EXPECT_EQ(bench.board->statistics("kcs").host_reads, 0u);
  EXPECT_EQ(bench.board->statistics("nobody").host_reads, 0u);
}

// ---- attachment (reference H.2)

TEST(Attachment, ASecondHostIsToldWhoHoldsTheInterfaceAndSinceWhen) {
  Bench bench;
  auto port = bench.attach("bt", "host_driver[123]");
  bench.now_ns += 4'200'000'000;
  auto second = bench.board->attach("bt", "host_driver[124]");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kBusy);
  EXPECT_EQ(second.error().message, "interface demo/bt is in use by host_driver[123] since 4.2 s");
  EXPECT_TRUE(bench.board->attach("kcs", "host_driver[124]"));
}

TEST(Attachment, AnInterfaceIsFreeWhenItsPortIsGone) {
  Bench bench;
  uint64_t first = 0;
  {
    auto port = bench.attach("bt");
    first = port->endpoint();
    ASSERT_EQ(bench.board->endpoints().size(), 1u);
    EXPECT_EQ(bench.board->endpoints()[0].id, first);
    EXPECT_EQ(bench.board->endpoints()[0].interface, "bt");
    EXPECT_EQ(bench.board->endpoints()[0].who, "test[1]");
  }
  EXPECT_TRUE(bench.board->endpoints().empty());
  auto again = bench.attach("bt");
  EXPECT_NE(again->endpoint(), first) << "ids are not used again";
}

TEST(Attachment, AnUnknownInterfaceIsRefusedWithThoseThereAre) {
  Bench bench;
  auto port = bench.board->attach("btt", "x");
  ASSERT_FALSE(port);
  EXPECT_EQ(port.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(port.error().message, HasSubstr("bt, kcs"));
  EXPECT_EQ(bench.board->attach("", "x").error().code, ErrorCode::kNotFound);
}

TEST(Attachment, TheNameMayBeLeftOutWhenThereIsOneInterface) {
  BoardConfig config = board_config();
  config.interfaces.resize(1);
  Bench bench(config);
  EXPECT_TRUE(bench.board->attach("", "x"));
}

TEST(Attachment, AForcedDetachTakesTheLinkDownAndSaysWhy) {
  Bench bench;
  auto port = bench.attach("bt");
  std::vector<registers::LinkState> told;
  port->set_link_handler([&](const registers::LinkState& link) { told.push_back(link); });
  ASSERT_TRUE(bench.board->detach(port->endpoint(), "maintenance"));
  EXPECT_FALSE(port->link().up);
  EXPECT_EQ(port->link().reason, "maintenance");
  ASSERT_EQ(told.size(), 1u);
  EXPECT_FALSE(told[0].up);
  EXPECT_EQ(port->read(bt::kCtrl), 0xff);
  port->write(bt::kCtrl, bt::kH2bAtn);
  auto other = bench.attach("bt");
  EXPECT_EQ(other->read(bt::kCtrl) & bt::kH2bAtn, 0) << "a detached host writes to nobody";
  EXPECT_EQ(bench.board->detach(port->endpoint(), "again").error().code, ErrorCode::kNotFound);
}

TEST(Attachment, S4A_NothingIsAttachedToABoardThatIsGoingAway) {
  for (int round = 0; round < 50; ++round) {
    Bench bench;
    std::vector<Result<std::unique_ptr<registers::RegisterPort>>> results;
    std::thread attacher([&] {
      for (int i = 0; i < 20; ++i) results.push_back(bench.board->attach(i % 2 ? "bt" : "kcs", "a"));
    });
    bench.board->shutdown();
    attacher.join();
    // Whatever order they came in: no endpoint is left that believes to be attached.
    EXPECT_TRUE(bench.board->endpoints().empty());
    for (auto& result : results) {
      if (result) {
        EXPECT_FALSE((*result)->link().up);
      } else {
        EXPECT_TRUE(result.error().code == ErrorCode::kShutdown || result.error().code == ErrorCode::kBusy);
      }
    }
  }
}

TEST(Attachment, S4B_TwoWhoDetachTheSameEndpointDoItOnce) {
  for (int round = 0; round < 100; ++round) {
    Bench bench;
    std::atomic<int> detached{0};
    bench.board->set_event_function([&](const BoardEvent& event) { detached += event.kind == "detached"; });
    auto port = bench.attach("bt");
    uint64_t id = port->endpoint();
    std::thread by_force([&] { (void)bench.board->detach(id, "by force"); });
    port.reset();
    by_force.join();
    EXPECT_EQ(detached, 1);
    EXPECT_TRUE(bench.board->attach("bt", "next"));
  }
}

TEST(Attachment, S4C_APortOutlivesItsBoardAsADeadBus) {
  std::unique_ptr<registers::RegisterPort> port;
  {
    Bench bench;
    port = bench.attach("bt");
    bt_send(*port, kGetDeviceId);
  }
  EXPECT_FALSE(port->link().up);
  EXPECT_EQ(port->read(bt::kCtrl), 0xff);
  std::array<uint8_t, 8> burst{};
  port->read_burst(bt::kBuffer, burst);
  EXPECT_EQ(burst[7], 0xff);
  port->write(bt::kCtrl, bt::kH2bAtn);
  port->write_burst(bt::kBuffer, burst);
  port->set_interrupt_handler([](bool) {});
  port->set_interrupt_handler({});
}

TEST(Attachment, S4C_APortThatIsUsedWhileItsBoardGoesIsSafe) {
  for (int round = 0; round < 20; ++round) {
    auto bench = std::make_unique<Bench>();
    auto port = bench->attach("bt");
    std::atomic<bool> down{false};
    std::thread host([&] {
      while (!down) {
        port->write(bt::kCtrl, bt::kClrWrPtr);
        bt_send(*port, kGetDeviceId);
        if (!port->link().up) down = true;
      }
    });
    for (int i = 0; i < 20; ++i) bench->run_for(50us);
    bench->board->shutdown();
    host.join();
    bench.reset();
    EXPECT_EQ(port->read(0), 0xff);
  }
}

TEST(Attachment, S4D_OfManyWhoAttachAtOnceOneGetsTheInterface) {
  Bench bench;
  std::vector<std::thread> hosts;
  std::mutex mutex;
  std::vector<std::unique_ptr<registers::RegisterPort>> ports;
  int busy = 0;
  for (int i = 0; i < 8; ++i) {
    hosts.emplace_back([&] {
      auto port = bench.board->attach("bt", "host");
      std::lock_guard<std::mutex> lock(mutex);
      if (port) ports.push_back(std::move(*port));
      else if (port.error().code == ErrorCode::kBusy) ++busy;
    });
  }
  for (auto& host : hosts) host.join();
  EXPECT_EQ(ports.size(), 1u);
  EXPECT_EQ(busy, 7);
}

TEST(Attachment, S4E_AHostThatLeavesInMidRequestTakesNobodyAlong) {
  Bench bench;
  auto port = bench.attach("bt");
  bt_send(*port, kGetDeviceId);
  ASSERT_TRUE(bench.run_until([&] { return bench.board->statistics("bt").responses == 1; }));
  port.reset();  // its answer was on its way
  auto next = bench.attach("bt");
  bench.run_for(1s);
  EXPECT_EQ(next->read(bt::kCtrl) & (bt::kB2hAtn | bt::kBBusy | bt::kH2bAtn), 0) << "the answer of somebody else";
  Bytes answer = bench.bt(*next, kSetGlobalEnables);
  ASSERT_EQ(answer.size(), 3u);
  EXPECT_EQ(answer[1], 0x2e);
}

// KCS has no sequence number: what is left of a transfer, the next host would take for its own.
TEST(Attachment, S4E_AKcsHostThatLeavesInMidTransferLeavesAnIdleInterface) {
  for (size_t writes = 0; writes <= 4; ++writes) {
    for (bool by_force : {false, true}) {
      Bench bench;
      auto port = bench.attach("kcs");
      const std::pair<uint16_t, uint8_t> book[] = {{1, 0x61}, {0, 0x18}, {1, 0x62}, {0, 0x01}};
      for (size_t i = 0; i < writes; ++i) {
        port->write(book[i].first, book[i].second);
        if (i + 1 < writes) bench.run_for(1ms);
      }
      if (writes == 4) {
        bench.run_for(1ms);
        ASSERT_EQ(port->read(kcs::kStatus), 0x40 | kcs::kObf) << "the answer's first byte";
      }
      if (by_force) {
        ASSERT_TRUE(bench.board->detach(port->endpoint(), "maintenance"));
        port->write(1, 0x61);
      } else {
        port.reset();
      }
      auto next = bench.attach("kcs");
      EXPECT_EQ(next->read(kcs::kStatus), 0) << writes;
      bench.run_for(1s);
      EXPECT_EQ(next->read(kcs::kStatus), 0) << writes;
    }
  }
}

TEST(Attachment, ARequestThatItsHostLeftBehindIsNotExecutedForTheNext) {
  Bench bench;
  auto port = bench.attach("bt");
  Gate gate;
  std::thread busy([&] { bench.board->with_firmware([&](firmware::Bmc&, Instant) { gate.wait(); }); });
  ASSERT_TRUE(gate.wait_for_somebody());
  bt_send(*port, kSetGlobalEnables);
  bench.now_ns += 1'000'000;
  bench.board->run(bench.now());
  EXPECT_EQ(bench.board->statistics("bt").requests, 1u);
  port.reset();
  gate.open();
  busy.join();
  bench.board->set_trace(true);
  bench.run_for(1s);
  EXPECT_TRUE(bench.board->message_trace().empty());
}

TEST(Attachment, S4E_LeavingDoesNotWaitForTheFirmware) {
  Bench bench;
  auto port = bench.attach("bt");
  Gate gate;
  std::thread busy([&] { bench.board->with_firmware([&](firmware::Bmc&, Instant) { gate.wait(); }); });
  ASSERT_TRUE(gate.wait_for_somebody());
  bt_send(*port, kGetDeviceId);
  bench.now_ns += 1'000'000;
  bench.board->run(bench.now());
  port.reset();
  auto next = bench.attach("bt");
  EXPECT_NE(next->read(bt::kCtrl), 0xff);
  gate.open();
  busy.join();
  bench.run_for(1s);
  EXPECT_EQ(bench.board->statistics("bt").responses, 0u);
  EXPECT_EQ(bench.board->statistics("bt").responses_dropped, 1u);
}

// ---- locks

TEST(Board, ARegisterAccessNeverWaitsForTheFirmware) {
  Bench bench;
  auto port = bench.attach("bt");
  Gate gate;
  std::thread busy([&] { bench.board->with_firmware([&](firmware::Bmc&, Instant) { gate.wait(); }); });
  ASSERT_TRUE(gate.wait_for_somebody());
  bt_send(*port, kGetDeviceId);
  bench.now_ns += 1'000'000;
  EXPECT_EQ(port->read(bt::kCtrl) & bt::kB2hAtn, 0);
  // Nor does the worker: the board is not due until the firmware is free again.
  bench.board->run(bench.now());
  EXPECT_GT(bench.board->next_due(), bench.now());
  int wakes = bench.wakes;
  gate.open();
  busy.join();
  EXPECT_GT(bench.wakes, wakes) << "who leaves the firmware wakes who waited";
  EXPECT_LE(bench.board->next_due(), bench.now());
  EXPECT_TRUE(bench.run_until([&] { return (port->read(bt::kCtrl) & bt::kB2hAtn) != 0; }));
}

// ---- interrupts

struct Levels {
  std::vector<bool> seen;
  registers::RegisterPort::InterruptHandler handler() {
    return [this](bool level) { seen.push_back(level); };
  }
};

void enable_bt_interrupt(registers::RegisterPort& port) { port.write(bt::kIntMask, bt::kB2hIrqEnable); }

TEST(Interrupt, RisesWithTheAnswerAndFallsWhenCleared) {
  Bench bench;
  auto port = bench.attach("bt");
  Levels levels;
  port->set_interrupt_handler(levels.handler());
  enable_bt_interrupt(*port);
  bt_send(*port, kGetDeviceId);
  ASSERT_TRUE(bench.run_until([&] { return !levels.seen.empty(); }));
  EXPECT_EQ(levels.seen, std::vector<bool>{true});
  port->write(bt::kIntMask, bt::kB2hIrqEnable | bt::kB2hIrq);
  EXPECT_EQ(levels.seen.size(), 1u) << "not from inside the host's own access";
  ASSERT_TRUE(bench.run_until([&] { return levels.seen.size() == 2; }));
  EXPECT_FALSE(levels.seen[1]);
  EXPECT_EQ(bench.board->statistics("bt").interrupts, 1u);
}

TEST(Interrupt, IsNotToldWhereItIsNotWired) {
  BoardConfig config = board_config();
  config.interfaces[0].interrupt = false;
  Bench bench(config);
  auto port = bench.attach("bt");
  EXPECT_FALSE(port->has_interrupt());
  Levels levels;
  port->set_interrupt_handler(levels.handler());
  enable_bt_interrupt(*port);
  bench.bt(*port, kGetDeviceId);
  bench.run_for(1s);
  EXPECT_TRUE(levels.seen.empty());
}

TEST(Interrupt, OnePendingBeforeTheHandlerIsToldToo) {
  Bench bench;
  auto port = bench.attach("bt");
  enable_bt_interrupt(*port);
  bench.bt(*port, kGetDeviceId);
  Levels levels;
  port->set_interrupt_handler(levels.handler());
  ASSERT_TRUE(bench.run_until([&] { return !levels.seen.empty(); }));
  EXPECT_TRUE(levels.seen[0]);
}

TEST(Interrupt, TakingTheHandlerAwayWaitsForTheOneThatRuns) {
  Bench bench;
  auto port = bench.attach("bt");
  Gate gate;
  std::atomic<bool> finished{false};
  port->set_interrupt_handler([&](bool) {
    gate.wait();
    finished = true;
  });
  enable_bt_interrupt(*port);
  bt_send(*port, kGetDeviceId);
  std::thread worker([&] { bench.run_until([&] { return finished.load(); }); });
  ASSERT_TRUE(gate.wait_for_somebody());
  std::thread opener([&] { gate.open(); });
  port->set_interrupt_handler({});
  EXPECT_TRUE(finished) << "it returned while the handler was running";
  opener.join();
  worker.join();
}

TEST(Interrupt, ALinkThatGoesDownTakesTheLineDown) {
  Bench bench;
  auto port = bench.attach("bt");
  Levels levels;
  port->set_interrupt_handler(levels.handler());
  enable_bt_interrupt(*port);
  bt_send(*port, kGetDeviceId);
  ASSERT_TRUE(bench.run_until([&] { return !levels.seen.empty(); }));
  bench.board->shutdown();
  EXPECT_EQ(levels.seen, (std::vector<bool>{true, false}));
}

// ---- reset

TEST(Reset, AColdResetIsAnsweredAndThenTheBmcIsAwayForItsWindow) {
  BoardConfig config = board_config();
  config.firmware.cold_reset_offline = 2s;
  Bench bench(config);
  auto port = bench.attach("bt");
  Instant begin = bench.now();
  Bytes answer = bench.bt(*port, kColdReset);
  ASSERT_EQ(answer.size(), 3u);
  EXPECT_EQ(answer[2], 0);
  ASSERT_TRUE(bench.run_until([&] { return (port->read(bt::kCtrl) & bt::kBBusy) != 0; }, 1s));
  bench.now_ns = (begin + 1900ms).time_since_epoch().count();
  bench.board->run(bench.now());
  EXPECT_NE(port->read(bt::kCtrl) & bt::kBBusy, 0);
  bench.run_for(200ms);
  EXPECT_EQ(port->read(bt::kCtrl) & bt::kBBusy, 0);
  EXPECT_TRUE(port->link().up) << "the host stays attached";
  EXPECT_EQ(bench.bt(*port, kGetDeviceId)[2], 0);
}

TEST(Reset, ARequestDuringTheWindowIsForgotten) {
  Bench bench;
  auto port = bench.attach("bt");
  bench.bt(*port, kWarmReset);
  ASSERT_TRUE(bench.run_until([&] { return (port->read(bt::kCtrl) & bt::kBBusy) != 0; }, 1s));
  uint64_t requests = bench.board->statistics("bt").requests;
  bt_send(*port, kGetDeviceId);
  bench.run_for(150ms);
  EXPECT_EQ(bench.board->statistics("bt").requests, requests);
}

TEST(Reset, FromOutsideTheRegistersGoAwayAtOnceOnEveryInterface) {
  Bench bench;
  auto bt_port = bench.attach("bt");
  auto kcs_port = bench.attach("kcs");
  bench.board->with_firmware([](firmware::Bmc& bmc, Instant now) { bmc.reset(false, now); });
  EXPECT_NE(bt_port->read(bt::kCtrl) & bt::kBBusy, 0);
  EXPECT_EQ(registers::kcs::state_of(kcs_port->read(registers::kcs::kStatus)), registers::kcs::State::kError);
  bench.run_for(300ms);
  EXPECT_EQ(bt_port->read(bt::kCtrl) & bt::kBBusy, 0);
}

TEST(Reset, BtsHardwareResetBitIsIgnoredUnlessWired) {
  Bench bench;
  auto port = bench.attach("bt");
  port->write(bt::kIntMask, bt::kBmcHwRst);
  EXPECT_EQ(bench.bt(*port, kGetDeviceId)[2], 0) << "the request right behind it is answered, not lost";
}

TEST(Reset, BtsHardwareResetBitIsAWarmResetWhereItIsWired) {
  BoardConfig config = board_config();
  for (InterfaceConfig& interface : config.interfaces)
    interface.hardware_reset = interface.kind == registers::InterfaceKind::kBt;
  Bench bench(config);
  auto port = bench.attach("bt");
  port->write(bt::kIntMask, bt::kBmcHwRst);
  ASSERT_TRUE(bench.run_until([&] { return (port->read(bt::kCtrl) & bt::kBBusy) != 0; }, 100ms));
  bench.run_for(300ms);
  EXPECT_EQ(port->read(bt::kCtrl) & bt::kBBusy, 0);
}

TEST(Reset, AWindowOfNothingStillComesBack) {
  BoardConfig config = board_config();
  config.firmware.cold_reset_offline = 0s;
  Bench bench(config);
  auto port = bench.attach("bt");
  EXPECT_EQ(bench.bt(*port, kColdReset)[2], 0);
  bench.run_for(1s);
  EXPECT_EQ(bench.bt(*port, kGetDeviceId)[2], 0);
}

// ---- traces and events

TEST(Trace, IsOffUntilSwitchedOnAndThenShowsAccessesAndMessages) {
  Bench bench;
  auto port = bench.attach("bt");
  bench.bt(*port, kGetDeviceId);
  EXPECT_TRUE(bench.board->access_trace("bt").empty());
  EXPECT_TRUE(bench.board->message_trace().empty());
  bench.board->set_trace(true);
  bench.bt(*port, kGetDeviceId);
  bench.board->set_trace(false);
  auto accesses = bench.board->access_trace("bt");
  EXPECT_GT(accesses.size(), 20u);
  for (size_t i = 1; i < accesses.size(); ++i) EXPECT_GE(accesses[i].at, accesses[i - 1].at);
  ASSERT_EQ(bench.board->message_trace().size(), 1u);
  EXPECT_EQ(bench.board->message_trace()[0].request, kGetDeviceId);
  EXPECT_EQ(bench.board->message_trace()[0].interface, "bt");
  EXPECT_EQ(bench.board->message_trace()[0].response[2], 0);
}

TEST(Trace, IsBoundedKeepsTheLastAndCountsTheOthers) {
  Bench bench;
  auto port = bench.attach("kcs");
  bench.board->set_trace(true);
  for (int i = 0; i < 20'000; ++i) port->read(registers::kcs::kStatus);
  port->read(registers::kcs::kData);
  auto accesses = bench.board->access_trace("kcs");
  EXPECT_EQ(accesses.size(), 16'384u);
  EXPECT_EQ(accesses.back().offset, registers::kcs::kData);
  EXPECT_EQ(bench.board->accesses_left_out("kcs"), 20'001u - 16'384u);
  EXPECT_EQ(bench.board->accesses_left_out("bt"), 0u);
  EXPECT_EQ(bench.board->accesses_left_out("nothing"), 0u);
  EXPECT_EQ(bench.board->messages_left_out(), 0u);
  bench.board->set_trace(true);
  EXPECT_EQ(bench.board->accesses_left_out("kcs"), 0u);
}

TEST(Events, ComeInTheOrderOfWhatHappened) {
  Bench bench;
  std::vector<std::string> kinds;
  bench.board->set_event_function([&](const BoardEvent& event) {
    EXPECT_EQ(event.bmc, "demo");
    kinds.push_back(event.kind);
  });
  {
    auto port = bench.attach("bt");
    bench.bt(*port, kAddSelEntry);
  }
  bench.board->set_event_function({});
  bench.attach("bt");
  EXPECT_EQ(kinds, (std::vector<std::string>{"attached", "sel", "message", "detached"}));
}

TEST(Events, TakingTheFunctionAwayWaitsForTheOneThatRuns) {
  Bench bench;
  Gate gate;
  std::atomic<bool> finished{false};
  bench.board->set_event_function([&](const BoardEvent&) {
    gate.wait();
    finished = true;
  });
  std::thread host([&] { bench.attach("bt"); });
  ASSERT_TRUE(gate.wait_for_somebody());
  std::thread opener([&] { gate.open(); });
  bench.board->set_event_function({});
  EXPECT_TRUE(finished);
  opener.join();
  host.join();
}

TEST(Board, IsRefusedWithTwoInterfacesOfOneName) {
  BoardConfig config = board_config();
  config.interfaces[1].name = "bt";
  auto board = Board::create(config, nullptr, [] { return Instant{}; }, [] {});
  ASSERT_FALSE(board);
  EXPECT_EQ(board.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(board.error().message, HasSubstr("bt"));
}

// Its store fails: the daemon must say so, not start half a BMC.
class BrokenStore : public firmware::Store {
 public:
  Result<std::vector<std::pair<uint32_t, Bytes>>> load(std::string_view) override {
    return Error{ErrorCode::kCorrupt, "the table is damaged"};
  }
  Status commit(const firmware::Batch&) override { return Error{ErrorCode::kIo, "disk full"}; }
};

TEST(Board, IsRefusedWithAStoreThatCannotBeRead) {
  auto board = Board::create(board_config(), std::make_shared<BrokenStore>(), [] { return Instant{}; }, [] {});
  ASSERT_FALSE(board);
  EXPECT_EQ(board.error().code, ErrorCode::kCorrupt);
  EXPECT_THAT(board.error().message, HasSubstr("damaged"));
}

}  // namespace
}  // namespace bmcpair::board
