#include "bmc_emu/faults/plan.h"

#include <gtest/gtest.h>

#include <map>

#include "bmc_emu/faults/testing.h"

namespace bmcpair::faults {
namespace {

using namespace std::chrono_literals;
using registers::InterfaceKind;

constexpr Instant at(Duration d) { return Instant(d); }

Rule d5() {
  Rule rule;
  rule.action = {ActionKind::kCompletionCode, 0xd5, 0xff, {}, {}};
  return rule;
}
Rule get_device_id_d5() {
  Rule rule = d5();
  rule.trigger.netfn = 0x06;
  rule.trigger.cmd = 0x01;
  return rule;
}

class PlanTest : public testing::Test {
 protected:
  // How often the rule fires for so many equal requests, and at which of them.
  std::vector<int> fired_at(Rule rule, int requests, Duration each = Duration(0)) {
    Plan own("bt", InterfaceKind::kBt, chooser);
    EXPECT_TRUE(own.add(1, share(std::move(rule)), at(0s)));
    std::vector<int> out;
    for (int i = 1; i <= requests; ++i) {
      Firings firings;
      own.on_request({0x06, 0x01, {}}, at(each * i), firings);
      if (!firings.empty()) out.push_back(i);
    }
    return out;
  }
  size_t fires(Plan& of, uint8_t netfn, uint8_t cmd, ByteView data = {}, Instant now = {}) {
    Firings firings;
    of.on_request({netfn, cmd, data}, now, firings);
    return firings.size();
  }

  ScriptedChooser chooser;
  Plan plan{"bt", InterfaceKind::kBt, chooser};
};

}  // namespace

TEST_F(PlanTest, ARuleFiresForTheRequestItNamesAndForNoOther) {
  ASSERT_TRUE(plan.add(7, share(get_device_id_d5()), {}));
  EXPECT_EQ(fires(plan, 0x06, 0x01), 1u);
  EXPECT_EQ(fires(plan, 0x06, 0x02), 0u);
  EXPECT_EQ(fires(plan, 0x04, 0x01), 0u);
  Standing standing = plan.list({})[0];
  EXPECT_EQ(standing.id, 7u);
  EXPECT_EQ(standing.matched, 1u);
  EXPECT_EQ(standing.fired, 1u);
  EXPECT_FALSE(standing.remaining) << "no bound";
}

TEST_F(PlanTest, MasksAndDataNarrowAndWiden) {
  Rule masked = d5();
  masked.trigger.netfn = 0x0a;
  masked.trigger.cmd = 0x40;
  masked.trigger.cmd_mask = 0xf0;
  masked.trigger.data = {0xaa, 0xbb};
  ASSERT_TRUE(plan.add(1, share(masked), {}));
  const Bytes fits{0xaa, 0xbb, 0xcc}, differs{0xaa, 0xbc}, is_short{0xaa};
  EXPECT_EQ(fires(plan, 0x0a, 0x43, fits), 1u);
  EXPECT_EQ(fires(plan, 0x0a, 0x53, fits), 0u);
  EXPECT_EQ(fires(plan, 0x0a, 0x43, differs), 0u);
  EXPECT_EQ(fires(plan, 0x0a, 0x43, is_short), 0u);
}

TEST_F(PlanTest, CountNthEveryAndSkipSayWhichTimes) {
  Rule rule = d5();
  rule.count = 2;
  EXPECT_EQ(fired_at(rule, 5), (std::vector<int>{1, 2}));
  rule.trigger.skip = 2;
  EXPECT_EQ(fired_at(rule, 6), (std::vector<int>{3, 4}));
  rule.trigger.every = 2;
  EXPECT_EQ(fired_at(rule, 9), (std::vector<int>{4, 6}));
  Rule nth = d5();
  nth.trigger.nth = 3;
  EXPECT_EQ(fired_at(nth, 9), (std::vector<int>{3}));
  nth.trigger.skip = 1;
  EXPECT_EQ(fired_at(nth, 9), (std::vector<int>{4}));
}

TEST_F(PlanTest, OutsideItsWindowARuleNeitherFiresNorCounts) {
  Rule rule = d5();
  rule.trigger.from = 2s;
  rule.trigger.until = 5s;
  EXPECT_EQ(fired_at(rule, 9, 1s), (std::vector<int>{2, 3, 4})) << "from is inside, until is not";
  ASSERT_TRUE(plan.add(1, share(rule), at(10s)));
  EXPECT_EQ(fires(plan, 6, 1, {}, at(11s)), 0u) << "since it was added";
  EXPECT_EQ(plan.list(at(11s))[0].matched, 0u);
  EXPECT_FALSE(plan.list(at(11s))[0].over);
  EXPECT_TRUE(plan.list(at(15s))[0].over);
}

TEST_F(PlanTest, ProbabilityIsTheChoosersInLowestTermsAndZeroIsTame) {
  Rule rule = d5();
  rule.name = "half";
  rule.trigger.probability = 750'000;
  chooser.script = {0, 1, 2, 3};
  EXPECT_EQ(fired_at(rule, 4), (std::vector<int>{2, 3, 4})) << "three of four";
  ASSERT_EQ(chooser.asked.size(), 4u);
  EXPECT_EQ(chooser.asked[0], (std::pair<uint32_t, std::string>(4, "fault half")));
  rule.trigger.probability = 1'000'000;
  fired_at(rule, 4);
  EXPECT_EQ(chooser.asked.size(), 4u) << "nobody is asked for what is certain";
}

TEST_F(PlanTest, ProbabilityIsAskedOnlyWhenAllElseHoldsAndARefusalDoesNotSpendTheCount) {
  Rule rule = d5();
  rule.count = 1;
  rule.trigger.probability = 500'000;
  rule.trigger.skip = 1;
  chooser.script = {0, 0, 1, 1};
  EXPECT_EQ(fired_at(rule, 6), (std::vector<int>{4}));
  EXPECT_EQ(chooser.asked.size(), 3u);
}

TEST_F(PlanTest, SeededChanceIsTheSameForTheSameSeedAndKeepsItsShare) {
  Rule rule = d5();
  rule.trigger.probability = 250'000;
  auto run = [&](uint64_t seed) {
    SeededChooser seeded(seed);
    Plan one("bt", InterfaceKind::kBt, seeded);
    one.add(1, share(rule), {});
    std::vector<int> out;
    for (int i = 0; i < 1000; ++i) {
      if (fires(one, 6, 1) != 0) out.push_back(i);
    }
    return out;
  };
  EXPECT_EQ(run(1), run(1));
  EXPECT_NE(run(1), run(2));
  EXPECT_NEAR(static_cast<double>(run(3).size()), 250, 60);
}

TEST_F(PlanTest, RulesOfAnotherInterfaceOrKindAreNotTaken) {
  Rule rule = d5();
  rule.trigger.interface = "kcs";
  EXPECT_FALSE(plan.add(1, share(rule), {}));
  rule.trigger.interface = "bt";
  EXPECT_TRUE(plan.add(1, share(rule), {}));
  Plan named("front", InterfaceKind::kBt, chooser);
  EXPECT_TRUE(named.add(1, share(rule), {})) << "a kind is as good as a name";
  rule.trigger.interface = "front";
  EXPECT_TRUE(named.add(2, share(rule), {}));
  EXPECT_FALSE(plan.add(2, share(rule), {}));
  Rule ibf;
  ibf.action = {ActionKind::kHold, 0, 0xff, Flag::kIbf, {}};
  EXPECT_FALSE(plan.add(3, share(ibf), {})) << "BT has no IBF";
  Rule status;
  status.action.kind = ActionKind::kReadValue;
  status.trigger.register_name = Register::kStatus;
  EXPECT_FALSE(plan.add(4, share(status), {})) << "BT has no status register";
}

TEST_F(PlanTest, AnAccessIsMatchedByItsKindRegisterValuePhaseAndRequestInFlight) {
  Rule rule;
  rule.action.kind = ActionKind::kColdReset;
  rule.count = 100;
  rule.trigger.access = AccessKind::kRead;
  rule.trigger.register_name = Register::kBuffer;
  rule.trigger.phase = TransferPhase::kRead;
  rule.trigger.cmd = 0x01;
  rule.trigger.netfn = 0x06;
  ASSERT_EQ(moment_of(rule), Moment::kAccess);
  ASSERT_TRUE(plan.add(1, share(rule), {}));
  auto hits = [&](AccessPoint point) {
    Firings firings;
    plan.on_access(point, {}, firings);
    return !firings.empty();
  };
  const AccessPoint fits{false, 1, 0, TransferPhase::kRead, Request{0x06, 0x01, {}}};
  EXPECT_TRUE(hits(fits));
  AccessPoint other = fits;
  other.is_write = true;
  EXPECT_FALSE(hits(other));
  other = fits;
  other.offset = 0;
  EXPECT_FALSE(hits(other));
  other = fits;
  other.phase = TransferPhase::kExecute;
  EXPECT_FALSE(hits(other));
  other = fits;
  other.request->cmd = 2;
  EXPECT_FALSE(hits(other));
  other.request.reset();
  EXPECT_FALSE(hits(other)) << "which request it is must be known";
}

TEST_F(PlanTest, KcsCommandIsWhatIsWrittenAndStatusWhatIsReadAtOneOffset) {
  Plan kcs("kcs", InterfaceKind::kKcs, chooser);
  Rule command;
  command.action.kind = ActionKind::kLoseWrite;
  command.trigger.register_name = Register::kCommand;
  command.trigger.value = 0x61;
  Rule status;
  status.action.kind = ActionKind::kReadValue;
  status.trigger.register_name = Register::kStatus;
  ASSERT_TRUE(kcs.add(1, share(command), {}));
  ASSERT_TRUE(kcs.add(2, share(status), {}));
  auto who = [&](bool is_write, uint8_t value) {
    Firings firings;
    kcs.on_access({is_write, 1, value, TransferPhase::kIdle, {}}, {}, firings);
    return firings.empty() ? 0u : firings[0].id;
  };
  EXPECT_EQ(who(true, 0x61), 1u);
  EXPECT_EQ(who(true, 0x62), 0u);
  EXPECT_EQ(who(false, 0x61), 2u);
}

TEST_F(PlanTest, WhatLastsEndsWithItsDurationOrItsWindowWhicheverIsFirst) {
  Rule rule;
  rule.action = {ActionKind::kHold, 0, 0xff, Flag::kBBusy, Duration(3s)};
  rule.trigger.until = 4s;
  rule.trigger.phase = TransferPhase::kIdle;
  rule.count = 2;
  ASSERT_TRUE(plan.add(1, share(rule), at(0s)));
  Firings firings;
  plan.on_access({}, at(0s), firings);
  plan.on_access({}, at(2s), firings);
  ASSERT_EQ(firings.size(), 2u);
  EXPECT_EQ(firings[0].until, at(3s));
  EXPECT_EQ(firings[1].until, at(4s));
  Rule forever;
  forever.action = {ActionKind::kHold, 0, 0xff, Flag::kBBusy, {}};
  ASSERT_TRUE(plan.add(2, share(forever), at(0s)));
  firings.clear();
  plan.on_clock(at(0s), firings);
  ASSERT_EQ(firings.size(), 1u);
  EXPECT_EQ(firings[0].until, kNever);
}

TEST_F(PlanTest, TheClockFiresAtTheWindowsBeginThenEveryPeriodAndNeverCatchesUp) {
  Rule rule;
  rule.action.kind = ActionKind::kSpuriousInterrupt;
  rule.trigger.from = 1s;
  rule.trigger.period = 2s;
  rule.count = 3;
  ASSERT_EQ(moment_of(rule), Moment::kClock);
  ASSERT_TRUE(plan.add(1, share(rule), at(0s)));
  Firings firings;
  EXPECT_EQ(plan.next_due(), at(1s));
  plan.on_clock(at(1s), firings);
  EXPECT_EQ(plan.next_due(), at(3s));
  plan.on_clock(at(100s), firings);
  EXPECT_EQ(firings.size(), 2u) << "one, however late";
  EXPECT_EQ(plan.next_due(), at(102s));
  plan.on_clock(at(102s), firings);
  EXPECT_EQ(firings.size(), 3u);
  EXPECT_EQ(plan.next_due(), kNever) << "its count is spent";
  EXPECT_TRUE(plan.list(at(102s))[0].over);
  EXPECT_EQ(plan.list(at(102s))[0].remaining, 0u);
}

TEST_F(PlanTest, RemovingARuleTakesItAndItsClockAway) {
  Rule rule;
  rule.action.kind = ActionKind::kSpuriousInterrupt;
  ASSERT_TRUE(plan.add(1, share(rule), at(5s)));
  ASSERT_TRUE(plan.add(2, share(d5()), at(5s)));
  EXPECT_EQ(plan.next_due(), at(5s));
  EXPECT_TRUE(plan.remove(1));
  EXPECT_FALSE(plan.remove(1));
  EXPECT_EQ(plan.next_due(), kNever);
  EXPECT_EQ(fires(plan, 6, 1, {}, at(6s)), 1u);
  EXPECT_TRUE(plan.remove(2));
  EXPECT_TRUE(plan.empty());
}

TEST_F(PlanTest, RulesFireInTheOrderTheyWereAdded) {
  for (uint32_t id : {3u, 1u, 2u}) ASSERT_TRUE(plan.add(id, share(d5()), {}));
  Firings firings;
  plan.on_request({6, 1, {}}, {}, firings);
  ASSERT_EQ(firings.size(), 3u);
  EXPECT_EQ(firings[0].id, 3u);
  EXPECT_EQ(firings[2].id, 2u);
}

TEST_F(PlanTest, WhatAnAnswerDoesNotHaveCannotBeWrongAboutIt) {
  auto fires_on = [&](InterfaceKind kind, ActionKind action, bool by_registers) {
    Plan one("x", kind, chooser);
    Rule rule;
    rule.action = {action, 1, 0xff, {}, {}};
    if (!one.add(1, share(rule), {})) return false;
    Firings firings;
    one.on_request({6, 1, {}, by_registers}, {}, firings);
    return !firings.empty();
  };
  EXPECT_TRUE(fires_on(InterfaceKind::kBt, ActionKind::kSequence, true));
  EXPECT_FALSE(fires_on(InterfaceKind::kKcs, ActionKind::kSequence, true));
  EXPECT_TRUE(fires_on(InterfaceKind::kKcs, ActionKind::kSequence, false)) << "the VM protocol has one";
  EXPECT_TRUE(fires_on(InterfaceKind::kBt, ActionKind::kLengthByte, true));
  EXPECT_FALSE(fires_on(InterfaceKind::kBt, ActionKind::kLengthByte, false));
  EXPECT_FALSE(fires_on(InterfaceKind::kKcs, ActionKind::kLengthByte, true));
  EXPECT_FALSE(fires_on(InterfaceKind::kBt, ActionKind::kBadChecksum, true));
  EXPECT_TRUE(fires_on(InterfaceKind::kBt, ActionKind::kBadChecksum, false));
  EXPECT_FALSE(fires_on(InterfaceKind::kBt, ActionKind::kPreviousAnswer, true)) << "there was none before";
}

TEST(MessageFaultTest, EachActionDoesToTheBytesWhatItSays) {
  const Bytes answer{0x1c, 0x01, 0x00, 0x20, 0x81};
  const Bytes previous{0x14, 0x2d, 0x00};
  auto after = [&](Action action) {
    MessageFault fault;
    add(fault, action);
    return disturb(fault, answer, previous, 254);
  };
  EXPECT_EQ(after({ActionKind::kCompletionCode, 0xd5, 0xff, {}, {}}), (Bytes{0x1c, 0x01, 0xd5}));
  EXPECT_EQ(after({ActionKind::kAnswerNetFn, 0x05, 0xff, {}, {}}), (Bytes{0x14, 0x01, 0x00, 0x20, 0x81}));
  EXPECT_EQ(after({ActionKind::kAnswerCmd, 0x02, 0xff, {}, {}}), (Bytes{0x1c, 0x02, 0x00, 0x20, 0x81}));
  EXPECT_EQ(after({ActionKind::kTruncate, 2, 0xff, {}, {}}), (Bytes{0x1c, 0x01}));
  EXPECT_EQ(after({ActionKind::kTruncate, 9, 0xff, {}, {}}), answer);
  EXPECT_EQ(after({ActionKind::kExtend, 2, 0xff, {}, {}}), (Bytes{0x1c, 0x01, 0x00, 0x20, 0x81, 0xa5, 0xa5}));
  EXPECT_EQ(after({ActionKind::kExtend, 271, 0xff, {}, {}}).size(), 254u) << "the face's bound";
  EXPECT_EQ(after({ActionKind::kCorrupt, 3, 0x0f, {}, {}}), (Bytes{0x1c, 0x01, 0x00, 0x2f, 0x81}));
  EXPECT_EQ(after({ActionKind::kCorrupt, 9, 0x0f, {}, {}}), answer);
  EXPECT_EQ(after({ActionKind::kPreviousAnswer, 0, 0xff, {}, {}}), previous);
  EXPECT_EQ(after({ActionKind::kDelay, 0, 0xff, {}, Duration(1s)}), answer);
}

TEST(MessageFaultTest, SeveralRulesOfOneRequestAddUp) {
  MessageFault fault;
  add(fault, {ActionKind::kDelay, 0, 0xff, {}, Duration(1s)});
  add(fault, {ActionKind::kDelay, 0, 0xff, {}, Duration(2s)});
  add(fault, {ActionKind::kSequence, 250, 0xff, {}, {}});
  add(fault, {ActionKind::kSequence, 10, 0xff, {}, {}});
  EXPECT_EQ(fault.delay, Duration(3s));
  EXPECT_EQ(fault.sequence_add, 4);
  EXPECT_TRUE(fault.executes());
  EXPECT_FALSE(fault.drops());
  EXPECT_FALSE(fault.changes_bytes());
  add(fault, {ActionKind::kDropRequest, 0, 0xff, {}, {}});
  EXPECT_FALSE(fault.executes());
  EXPECT_TRUE(fault.drops());
}

TEST(RuleTest, WhatContradictsItselfIsRefusedAndSaysHow) {
  auto refused = [](Rule rule, std::string_view why) {
    Status status = check(rule);
    ASSERT_FALSE(status.ok()) << to_text(rule);
    EXPECT_NE(status.error().message.find(why), std::string::npos) << status.error().message;
  };
  Rule rule = d5();
  EXPECT_TRUE(check(rule).ok());
  rule.trigger.phase = TransferPhase::kRead;
  refused(rule, "waits for its request");
  rule = d5();
  rule.trigger.nth = 2;
  rule.trigger.every = 2;
  refused(rule, "contradict");
  rule.trigger.every = 1;
  rule.count = 2;
  refused(rule, "nth fires once");
  rule = d5();
  rule.trigger.from = 2s;
  rule.trigger.until = 1s;
  refused(rule, "until must be later");
  rule = d5();
  rule.trigger.period = 1s;
  refused(rule, "period is for");
  Rule lost;
  lost.action.kind = ActionKind::kLoseInterrupt;
  lost.trigger.offset = 1;
  refused(lost, "waits for the interrupt");
  Rule spurious;
  spurious.action.kind = ActionKind::kSpuriousInterrupt;
  EXPECT_TRUE(check(spurious).ok());
  spurious.count = 5;
  refused(spurious, "needs a period");
  spurious.trigger.period = 1s;
  EXPECT_TRUE(check(spurious).ok());
  Rule hold;
  hold.action = {ActionKind::kHold, 0, 0xff, Flag::kBBusy, {}};
  hold.trigger.access = AccessKind::kRead;
  hold.count = 2;
  refused(hold, "without a duration");
  Rule write;
  write.action.kind = ActionKind::kLoseWrite;
  write.trigger.access = AccessKind::kRead;
  refused(write, "lost write");
  Rule data;
  data.action.kind = ActionKind::kReadValue;
  data.trigger.data = {1};
  refused(data, "only when the request is taken");
}

TEST(RuleTest, WhatARuleWaitsForFollowsFromWhatItNames) {
  Rule hold;
  hold.action = {ActionKind::kHold, 0, 0xff, Flag::kBBusy, {}};
  EXPECT_EQ(moment_of(hold), Moment::kClock);
  EXPECT_EQ(count_of(hold), 1u);
  hold.trigger.cmd = 1;
  EXPECT_EQ(moment_of(hold), Moment::kRequest);
  hold.trigger.phase = TransferPhase::kExecute;
  EXPECT_EQ(moment_of(hold), Moment::kAccess);
  EXPECT_EQ(moment_of(d5()), Moment::kRequest);
  EXPECT_EQ(count_of(d5()), std::nullopt);
  Rule spurious;
  spurious.action.kind = ActionKind::kSpuriousInterrupt;
  EXPECT_EQ(count_of(spurious), 1u);
  spurious.trigger.period = 5ms;
  spurious.trigger.until = 3s;
  EXPECT_EQ(count_of(spurious), std::nullopt) << "again and again, until its window ends";
  spurious.action.kind = ActionKind::kInterruptStorm;
  EXPECT_EQ(count_of(spurious), 1u) << "the period is the storm's";
}

}  // namespace bmcpair::faults
