// Fault rules on a board: where they are, what hosts get, who is told, and that nothing is left afterwards.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bmc_emu/board/testing.h"

namespace bmcpair::board {
namespace {

using namespace std::chrono_literals;
using namespace testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace bt = registers::bt;
namespace kcs = registers::kcs;
using faults::ActionKind;

faults::Rule rule(ActionKind kind, uint32_t value = 0) {
  faults::Rule out;
  out.action.kind = kind;
  out.action.value = value;
  return out;
}
faults::Rule on_get_device_id(faults::Rule out) {
  out.trigger.netfn = 0x06;
  out.trigger.cmd = 0x01;
  return out;
}

}  // namespace

TEST(BoardFaults, ACompletionCodeIsGivenSoOftenAndTheCommandIsNotExecuted) {
  Bench bench;
  bench.board->set_trace(true);
  auto port = bench.attach("bt");
  faults::Rule d5 = rule(ActionKind::kCompletionCode, 0xd5);
  d5.trigger.netfn = 0x06;
  d5.trigger.cmd = 0x2e;  // Set BMC Global Enables
  d5.count = 2;
  auto id = bench.board->add_fault(d5);
  ASSERT_TRUE(id.ok());
  const Bytes set_enables{0x18, 0x2e, 0x09};
  uint8_t enables = 0;
  auto read_enables = [&] {
    bench.board->with_firmware([&](firmware::Bmc& bmc, Instant) { enables = bmc.global_enables(); });
    return enables;
  };
  const uint8_t before = read_enables();
  ASSERT_NE(before, 0x09);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(bench.bt(*port, set_enables), (Bytes{0x1c, 0x2e, 0xd5}));
  EXPECT_EQ(read_enables(), before);
  EXPECT_EQ(bench.bt(*port, set_enables), (Bytes{0x1c, 0x2e, 0x00}));
  EXPECT_EQ(read_enables(), 0x09);
  auto views = bench.board->faults();
  ASSERT_EQ(views.size(), 1u);
  EXPECT_EQ(views[0].id, *id);
  EXPECT_EQ(views[0].fired, 2u);
  EXPECT_FALSE(views[0].over) << "over where it is over everywhere";
  EXPECT_THAT(views[0].interfaces, ElementsAre("bt", "kcs"));
  EXPECT_EQ(views[0].remaining, 2u) << "each interface counts by itself, and kcs has met nobody";
  auto messages = bench.board->message_trace();
  ASSERT_EQ(messages.size(), 3u);
  EXPECT_THAT(messages[0].faults, ElementsAre(*id));
  EXPECT_TRUE(messages[2].faults.empty());
  EXPECT_EQ(bench.board->statistics("bt").faults, 2u);
}

TEST(BoardFaults, ALostRequestIsNotExecutedALostAnswerIs) {
  for (bool executed : {false, true}) {
    Bench bench;
    auto port = bench.attach("bt");
    faults::Rule lost = rule(executed ? ActionKind::kDropAnswer : ActionKind::kDropRequest);
    lost.count = 1;
    lost.trigger.cmd = 0x2e;
    ASSERT_TRUE(bench.board->add_fault(lost).ok());
    bt_send(*port, Bytes{0x18, 0x2e, 0x09});
    bench.run_for(5s);
    EXPECT_EQ(port->read(bt::kCtrl) & bt::kB2hAtn, 0);
    uint8_t enables = 0;
    bench.board->with_firmware([&](firmware::Bmc& bmc, Instant) { enables = bmc.global_enables(); });
    EXPECT_EQ(enables == 0x09, executed);
    EXPECT_EQ(bench.bt(*port, kGetDeviceId)[2], 0) << "the next one is answered";
  }
}

TEST(BoardFaults, ALateAnswerIsLateAndThatOfAnOlderRequestIsDropped) {
  Bench bench;
  auto port = bench.attach("bt");
  faults::Rule late = on_get_device_id(rule(ActionKind::kDelay));
  late.action.duration = 3s;
  late.count = 1;
  ASSERT_TRUE(bench.board->add_fault(late).ok());
  bt_send(*port, kGetDeviceId, 1);
  bench.run_for(2900ms);
  EXPECT_EQ(port->read(bt::kCtrl) & bt::kB2hAtn, 0);
  bench.run_for(200ms);
  EXPECT_NE(port->read(bt::kCtrl) & bt::kB2hAtn, 0);
}

TEST(BoardFaults, ARuleOfOneInterfaceLeavesTheOthersAlone) {
  Bench bench;
  auto port = bench.attach("bt");
  faults::Rule d5 = on_get_device_id(rule(ActionKind::kCompletionCode, 0xd5));
  d5.trigger.interface = "kcs";
  ASSERT_TRUE(bench.board->add_fault(d5).ok());
  EXPECT_EQ(bench.bt(*port, kGetDeviceId)[2], 0x00);
  EXPECT_EQ(bench.board->faults()[0].matched, 0u);
}

TEST(BoardFaults, WhatNoInterfaceCanMeetOrContradictsItselfIsRefused) {
  BoardConfig config = board_config();
  config.interfaces.resize(1);  // bt
  Bench bench(config);
  faults::Rule ibf = rule(ActionKind::kHold);
  ibf.action.flag = faults::Flag::kIbf;
  auto refused = bench.board->add_fault(ibf);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(refused.error().message, HasSubstr("hold=ibf"));
  faults::Rule odd = rule(ActionKind::kCompletionCode, 0xd5);
  odd.trigger.phase = faults::TransferPhase::kRead;
  refused = bench.board->add_fault(odd);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(bench.board->clear_fault(1).error().code, ErrorCode::kNotFound);
  EXPECT_TRUE(bench.board->faults().empty());
}

TEST(BoardFaults, ThereIsABoundToRules) {
  Bench bench;
  for (size_t i = 0; i < kFaultsMax; ++i) ASSERT_TRUE(bench.board->add_fault(rule(ActionKind::kDropAnswer)).ok());
  EXPECT_EQ(bench.board->add_fault(rule(ActionKind::kDropAnswer)).error().code, ErrorCode::kLimit);
  EXPECT_EQ(bench.board->clear_faults(), kFaultsMax);
  EXPECT_TRUE(bench.board->add_fault(rule(ActionKind::kDropAnswer)).ok());
}

TEST(BoardFaults, ClearingARuleEndsWhatItHasImposed) {
  Bench bench;
  auto port = bench.attach("bt");
  faults::Rule hold = rule(ActionKind::kHold);
  hold.action.flag = faults::Flag::kBBusy;
  auto id = bench.board->add_fault(hold);
  ASSERT_TRUE(id.ok());
  EXPECT_NE(port->read(bt::kCtrl) & bt::kBBusy, 0) << "from the start, by the clock";
  EXPECT_TRUE(bench.board->clear_fault(*id).ok());
  EXPECT_EQ(port->read(bt::kCtrl) & bt::kBBusy, 0);
  EXPECT_EQ(bench.board->statistics("bt").faults, 1u) << "what fired is not forgotten with its rule";
  EXPECT_EQ(bench.bt(*port, kGetDeviceId)[2], 0);
}

TEST(BoardFaults, ASpuriousInterruptReachesTheHostsHandler) {
  Bench bench;
  auto port = bench.attach("kcs");
  std::vector<bool> levels;
  port->set_interrupt_handler([&](bool level) { levels.push_back(level); });
  faults::Rule spurious = rule(ActionKind::kSpuriousInterrupt);
  spurious.trigger.from = 1s;
  ASSERT_TRUE(bench.board->add_fault(spurious).ok());
  bench.run_for(900ms);
  EXPECT_TRUE(levels.empty());
  bench.run_for(200ms);
  EXPECT_THAT(levels, ElementsAre(true));
  port->read(kcs::kStatus);
  bench.run_for(1ms);
  EXPECT_THAT(levels, ElementsAre(true, false));
  port->set_interrupt_handler({});
}

TEST(BoardFaults, ALostInterruptIsOneTheHandlerNeverSees) {
  Bench bench;
  auto port = bench.attach("bt");
  int rises = 0;
  port->set_interrupt_handler([&](bool level) { rises += level; });
  port->write(bt::kIntMask, bt::kB2hIrqEnable);
  faults::Rule lose = rule(ActionKind::kLoseInterrupt);
  lose.count = 1;
  ASSERT_TRUE(bench.board->add_fault(lose).ok());
  EXPECT_EQ(bench.bt(*port, kGetDeviceId)[2], 0) << "whoever polls finds the answer";
  bench.run_for(1ms);
  EXPECT_EQ(rises, 0);
  EXPECT_EQ(bench.bt(*port, kGetDeviceId)[2], 0);
  bench.run_for(1ms);
  EXPECT_EQ(rises, 1);
  port->set_interrupt_handler({});
}

TEST(BoardFaults, AResetInTheMiddleOfATransferIsTheWholeBmcs) {
  BoardConfig config = board_config();
  config.firmware.cold_reset_offline = 500ms;
  Bench bench(config);
  auto port = bench.attach("bt");
  auto other = bench.attach("kcs");
  std::vector<std::string> kinds;
  bench.board->set_event_function([&](const BoardEvent& event) { kinds.push_back(event.kind); });
  faults::Rule reset = rule(ActionKind::kColdReset);
  reset.trigger.access = faults::AccessKind::kWrite;
  reset.trigger.register_name = faults::Register::kBuffer;
  reset.trigger.nth = 3;
  ASSERT_TRUE(bench.board->add_fault(reset).ok());
  bt_send(*port, kGetDeviceId);
  EXPECT_NE(port->read(bt::kCtrl) & bt::kBBusy, 0);
  bench.run_for(100ms);
  EXPECT_NE(port->read(bt::kCtrl) & bt::kBBusy, 0);
  EXPECT_EQ(kcs::state_of(other->read(kcs::kStatus)), kcs::State::kError) << "the other interface is away too";
  EXPECT_THAT(kinds, ::testing::IsSupersetOf({"fault", "reset"}));
  bench.run_for(600ms);
  EXPECT_EQ(bench.bt(*port, kGetDeviceId)[2], 0);
  bench.board->set_event_function({});
}

TEST(BoardFaults, AResetByARequestAnswersNothingAndComesBack) {
  Bench bench;
  auto port = bench.attach("bt");
  faults::Rule reset = on_get_device_id(rule(ActionKind::kWarmReset));
  ASSERT_TRUE(bench.board->add_fault(reset).ok());
  bt_send(*port, kGetDeviceId);
  bench.run_for(10ms);
  EXPECT_NE(port->read(bt::kCtrl) & bt::kBBusy, 0);
  bench.run_for(1s);
  EXPECT_EQ(bench.bt(*port, kGetDeviceId)[2], 0);
}

TEST(BoardFaults, FiredFaultsAreInTheAccessTraceAndAmongTheEvents) {
  Bench bench;
  bench.board->set_trace(true);
  auto port = bench.attach("bt");
  std::vector<BoardEvent> events;
  bench.board->set_event_function([&](const BoardEvent& event) {
    if (event.kind == "fault") events.push_back(event);
  });
  faults::Rule ff = rule(ActionKind::kReadValue, 0xff);
  ff.name = "gone";
  ff.count = 1;
  auto id = bench.board->add_fault(ff);
  ASSERT_TRUE(id.ok());
  EXPECT_EQ(port->read(bt::kCtrl), 0xff);
  EXPECT_EQ(port->read(bt::kCtrl), 0x00);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].change.value, *id);
  EXPECT_EQ(events[0].interface, "bt");
  EXPECT_THAT(events[0].change.text, HasSubstr("gone: read_value=ff, at read of register 0, phase idle"));
  auto trace = bench.board->access_trace("bt");
  ASSERT_EQ(trace.size(), 3u);
  EXPECT_EQ(trace[0].offset, hardware::kNoRegister);
  EXPECT_EQ(trace[0].fault, *id);
  EXPECT_EQ(trace[1].value, 0xff);
  EXPECT_EQ(trace[1].fault, *id);
  EXPECT_EQ(trace[2].fault, 0u);
  bench.board->set_event_function({});
}

TEST(BoardFaults, RulesOfTheConfigurationAreInForceFromTheFirstAccess) {
  BoardConfig config = board_config();
  faults::Rule d5 = on_get_device_id(rule(ActionKind::kCompletionCode, 0xd5));
  d5.count = 1;
  config.faults = {d5};
  Bench bench(config);
  auto port = bench.attach("bt");
  EXPECT_EQ(bench.bt(*port, kGetDeviceId)[2], 0xd5);
  EXPECT_EQ(bench.bt(*port, kGetDeviceId)[2], 0x00);
}

TEST(BoardFaults, AHostByMessagesMeetsThemToo) {
  Bench bench;
  auto made = bench.board->attach_messages("bt", "qemu", {256, 256});
  ASSERT_TRUE(made.ok()) << made.error().message;
  auto port = std::move(*made);
  std::vector<HostSignal> answers;
  port->set_signal_handler([&](const HostSignal& signal) {
    if (signal.kind == HostSignal::Kind::kResponse) answers.push_back(signal);
  });
  faults::Rule wrong = on_get_device_id(rule(ActionKind::kSequence, 3));
  faults::Rule bad = on_get_device_id(rule(ActionKind::kBadChecksum));
  faults::Rule twice = on_get_device_id(rule(ActionKind::kDuplicate, 1));
  faults::Rule late = on_get_device_id(rule(ActionKind::kDelay));
  late.action.duration = 1s;
  faults::Rule d5 = on_get_device_id(rule(ActionKind::kCompletionCode, 0xd5));
  for (faults::Rule* each : {&wrong, &bad, &twice, &late, &d5}) {
    each->count = 1;
    ASSERT_TRUE(bench.board->add_fault(*each).ok());
  }
  port->submit(7, kGetDeviceId);
  bench.run_for(900ms);
  EXPECT_TRUE(answers.empty());
  bench.run_for(200ms);
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers[0].message, (Bytes{0x1c, 0x01, 0xd5}));
  EXPECT_EQ(answers[0].fault.sequence_add, 3);
  EXPECT_TRUE(answers[0].fault.bad_checksum);
  EXPECT_EQ(answers[0].fault.duplicates, 1);
  port->submit(8, kGetDeviceId);
  bench.run_for(10ms);
  ASSERT_EQ(answers.size(), 2u);
  EXPECT_EQ(answers[1].message.at(2), 0x00);
  EXPECT_EQ(answers[1].fault.sequence_add, 0);
}

TEST(BoardFaults, AShutDownBoardTakesNoMoreRules) {
  Bench bench;
  ASSERT_TRUE(bench.board->add_fault(rule(ActionKind::kDropAnswer)).ok());
  bench.board->shutdown();
  EXPECT_EQ(bench.board->add_fault(rule(ActionKind::kDropAnswer)).error().code, ErrorCode::kShutdown);
}

}  // namespace bmcpair::board
