#include "host_driver/state_machine/bt/state_machine.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "host_driver/state_machine/bt/trace.h"
#include "host_driver/state_machine/test_bmc.h"

namespace bmcpair::state_machine::bt {
namespace {

namespace reg = registers::bt;
using registers::InterfaceKind;
using std::chrono::milliseconds;
using std::chrono::seconds;

const Profile& linux61() { return *find_profile("linux-6.1"); }
const Profile& linux418() { return *find_profile("linux-4.18"); }
const Bytes kRequest = {0x18, 0x01};

class Bt : public ::testing::TestWithParam<const Profile*> {};
INSTANTIATE_TEST_SUITE_P(Profiles, Bt, ::testing::Values(&hardened(), &linux61(), &linux418()), [](const auto& i) {
  return i.param == &hardened() ? std::string("hardened") : i.param == &linux61() ? "linux61" : "linux418";
});

TEST_P(Bt, CarriesRequestsAndTheirAnswers) {
  TestBmc bmc(InterfaceKind::kBt, false);
  BtStateMachine machine(bmc, *GetParam(), nullptr);
  ASSERT_TRUE(machine.detect());
  for (int i = 0; i < 300; ++i) {  // past the wrap of the sequence number
    ASSERT_EQ(machine.start_transaction(kRequest), 0);
    ASSERT_EQ(drive(machine), Verdict::kTransactionComplete);
    EXPECT_EQ(to_hex(machine.get_result()), "1c 01 00 20 01 02 03 02 bf 57 01 00 34 12 00 00 00 00");
    EXPECT_FALSE(machine.result_failure());
  }
  EXPECT_TRUE(machine.idle());
}

TEST_P(Bt, RefusesWhatItCannotSend) {
  ScriptPort port(InterfaceKind::kBt);
  BtStateMachine machine(port, *GetParam(), nullptr);
  EXPECT_EQ(machine.start_transaction(Bytes{0x18}), 0xc7);
  EXPECT_EQ(machine.start_transaction(Bytes(ipmi::kMessageBytesMax + 1)), 0xc8);
  // B.2: 255 bytes after the length byte, the sequence number among them.
  EXPECT_EQ(machine.start_transaction(Bytes(255)), GetParam() == &hardened() ? 0xc8 : 0);
  if (GetParam() == &hardened()) {
    EXPECT_EQ(machine.start_transaction(Bytes(254)), 0);
  }
  EXPECT_EQ(machine.start_transaction(kRequest), 0xd5);
}

TEST_P(Bt, AnAnswerToAnotherRequestIsNotOurs) {
  TestBmc bmc(InterfaceKind::kBt, false);
  BtStateMachine machine(bmc, *GetParam(), nullptr);
  bmc.change([](auto& f) { f.wrong_sequence = 1; });
  machine.adopt_capabilities(Bytes{0, 1, 255, 255, 5, 2});
  ASSERT_EQ(machine.start_transaction(kRequest), 0);
  // The first attempt waits its five seconds out, the second is answered.
  ASSERT_EQ(drive(machine, milliseconds(100)), Verdict::kTransactionComplete);
  EXPECT_EQ(machine.get_result()[2], 0);
  EXPECT_EQ(bmc.requests().size(), 2u);
}

TEST_P(Bt, ASilentBmcMeansTimedOutAndItIsSaidToBeOurs) {
  TestBmc bmc(InterfaceKind::kBt, false);
  BtStateMachine machine(bmc, *GetParam(), nullptr);
  for (int i = 0; i < 3; ++i) {  // past the first-transactions rule of the old profiles
    ASSERT_EQ(machine.start_transaction(kRequest), 0);
    ASSERT_EQ(drive(machine), Verdict::kTransactionComplete);
  }
  bmc.change([](auto& f) { f.mute = true; });
  ASSERT_EQ(machine.start_transaction(kRequest), 0);
  Duration credited{};
  ASSERT_EQ(drive(machine, milliseconds(100), seconds(300), &credited), Verdict::kTransactionComplete);
  EXPECT_EQ(to_hex(machine.get_result()), "1c 01 c3");
  EXPECT_EQ(machine.result_failure(), ErrorCode::kTimeout);
  EXPECT_GE(credited, seconds(10));
  EXPECT_LE(credited, seconds(11));
}

TEST_P(Bt, ABusyBmcIsUnavailableUntilItIsNot) {
  TestBmc bmc(InterfaceKind::kBt, false);
  BtStateMachine machine(bmc, *GetParam(), nullptr);
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(machine.start_transaction(kRequest), 0);
    ASSERT_EQ(drive(machine), Verdict::kTransactionComplete);
  }
  bmc.change([](auto& f) { f.b_busy = true; });
  ASSERT_EQ(machine.start_transaction(kRequest), 0);
  ASSERT_EQ(drive(machine, milliseconds(100)), Verdict::kTransactionComplete);
  EXPECT_EQ(machine.get_result()[2], 0xc0);
  EXPECT_EQ(machine.result_failure(), ErrorCode::kUnavailable);
  EXPECT_TRUE(machine.unavailable());
  EXPECT_EQ(machine.start_transaction(kRequest), 0xc0);
  EXPECT_EQ(machine.event(seconds(1000)), Verdict::kCallWithDelay);  // no timeout
  bmc.change([](auto& f) { f.b_busy = false; });
  EXPECT_EQ(machine.event({}), Verdict::kCallWithoutDelay);
  EXPECT_TRUE(machine.idle());
}

TEST_P(Bt, ALateAnswerIsDrainedAndNotTakenForTheNextRequests) {
  TestBmc bmc(InterfaceKind::kBt, false);
  BtStateMachine machine(bmc, *GetParam(), nullptr);
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(machine.start_transaction(kRequest), 0);
    ASSERT_EQ(drive(machine), Verdict::kTransactionComplete);
  }
  bmc.change([](auto& f) { f.deaf = true; });
  ASSERT_EQ(machine.start_transaction(Bytes{0x18, 0x37}), 0);
  ASSERT_EQ(drive(machine, milliseconds(100)), Verdict::kTransactionComplete);
  EXPECT_EQ(machine.get_result()[2], 0xc3);
  bmc.change([](auto& f) { f.deaf = false; });
  ASSERT_EQ(machine.start_transaction(kRequest), 0);
  ASSERT_EQ(drive(machine, milliseconds(10)), Verdict::kTransactionComplete);
  EXPECT_EQ(machine.get_result()[1], 0x01);
  EXPECT_EQ(machine.get_result()[2], 0x00);
}

TEST_P(Bt, AttentionShowsOnceAndIsCleared) {
  ScriptPort port(InterfaceKind::kBt);
  BtStateMachine machine(port, *GetParam(), nullptr);
  port.now_reads(reg::kCtrl, {reg::kSmsAtn});
  EXPECT_EQ(machine.event({}), Verdict::kAttention);
  EXPECT_TRUE(port.wrote(reg::kCtrl, reg::kSmsAtn));
}

TEST_P(Bt, DetectsNothingWhereBothRegistersReadFf) {
  ScriptPort port(InterfaceKind::kBt);
  BtStateMachine machine(port, *GetParam(), nullptr);
  port.now_reads(reg::kCtrl, {0xff});
  port.now_reads(reg::kIntMask, {0xff});
  EXPECT_FALSE(machine.detect());
  port.now_reads(reg::kIntMask, {0});
  EXPECT_TRUE(machine.detect());
}

TEST(BtDetect, DoesNotResetTheBmc) {
  for (const Profile* profile : {&hardened(), &linux61()}) {
    ScriptPort port(InterfaceKind::kBt);
    BtStateMachine machine(port, *profile, nullptr);
    ASSERT_TRUE(machine.detect());
    EXPECT_EQ(port.wrote(reg::kIntMask, reg::kBmcHwRst), profile != &hardened());
  }
}

// B.4: what the capabilities say, when they say anything (BT-3).
TEST(BtCapabilities, AreAdoptedOnlyWhenWhole) {
  ScriptPort port(InterfaceKind::kBt);
  BtStateMachine machine(port, hardened(), nullptr);
  EXPECT_TRUE(machine.adopt_capabilities(Bytes{0, 1, 63, 63, 20, 3}));
  EXPECT_EQ(machine.budget(), seconds(20));
  EXPECT_EQ(machine.retries_max(), 3u);
  for (const Bytes& bad : {Bytes{}, Bytes{0, 1, 63, 63, 20}, Bytes{0xc1, 1, 63, 63, 20, 3}}) {
    EXPECT_FALSE(machine.adopt_capabilities(bad));
    EXPECT_EQ(machine.budget(), seconds(5));
    EXPECT_EQ(machine.retries_max(), 2u);
  }
}

// B.6-3.
TEST(BtHazard, NoTimeAtAllIsTakenForTheDefault) {
  for (const Profile* profile : {&hardened(), &linux61()}) {
    ScriptPort port(InterfaceKind::kBt);
    BtStateMachine machine(port, *profile, nullptr);
    EXPECT_TRUE(machine.adopt_capabilities(Bytes{0, 1, 63, 63, 0, 255}));
    EXPECT_EQ(machine.budget(), profile == &hardened() ? seconds(5) : seconds(0));
    EXPECT_EQ(machine.retries_max(), profile == &hardened() ? kRetriesMax : 255u);
  }
}

// B.6-4.
TEST(BtHazard, ABusySpellDoesNotMakeTheHostForgetTheCapabilities) {
  for (const Profile* profile : {&hardened(), &linux61()}) {
    TestBmc bmc(InterfaceKind::kBt, false);
    BtStateMachine machine(bmc, *profile, nullptr);
    machine.adopt_capabilities(Bytes{0, 1, 63, 63, 20, 1});
    for (int i = 0; i < 3; ++i) {
      ASSERT_EQ(machine.start_transaction(kRequest), 0);
      ASSERT_EQ(drive(machine), Verdict::kTransactionComplete);
    }
    bmc.change([](auto& f) { f.b_busy = true; });
    ASSERT_EQ(machine.start_transaction(kRequest), 0);
    ASSERT_EQ(drive(machine, milliseconds(100)), Verdict::kTransactionComplete);
    bmc.change([](auto& f) { f.b_busy = false; });
    machine.event({});
    ASSERT_TRUE(machine.idle());
    EXPECT_EQ(machine.budget(), profile == &hardened() ? seconds(20) : seconds(5));
  }
}

// B.6-5.
TEST(BtHazard, ABusySpellDoesNotSwitchTheInterruptOff) {
  for (const Profile* profile : {&hardened(), &linux61()}) {
    TestBmc bmc(InterfaceKind::kBt, true);
    BtStateMachine machine(bmc, *profile, nullptr);
    machine.set_interrupt_enable(true);
    for (int i = 0; i < 3; ++i) {
      ASSERT_EQ(machine.start_transaction(kRequest), 0);
      ASSERT_EQ(drive(machine), Verdict::kTransactionComplete);
    }
    bmc.change([](auto& f) { f.b_busy = true; });
    ASSERT_EQ(machine.start_transaction(kRequest), 0);
    ASSERT_EQ(drive(machine, milliseconds(100)), Verdict::kTransactionComplete);
    bmc.change([](auto& f) { f.b_busy = false; });
    machine.event({});
    EXPECT_EQ(bmc.int_mask() & reg::kB2hIrqEnable, profile == &hardened() ? reg::kB2hIrqEnable : 0);
  }
}

// B.6-1.
TEST(BtHazard, DrainingLeavesHostBusyClear) {
  for (const Profile* profile : {&hardened(), &linux61()}) {
    TestBmc bmc(InterfaceKind::kBt, false);
    BtStateMachine machine(bmc, *profile, nullptr);
    // An answer nobody waits for, and H_BUSY left over from a host that died.
    for (uint8_t b : {0x04, 0x18, 0x01, 0x37}) bmc.write(reg::kBuffer, b);
    bmc.write(reg::kCtrl, reg::kH2bAtn);
    bmc.read(reg::kCtrl);
    ASSERT_TRUE(bmc.read(reg::kCtrl) & reg::kB2hAtn);
    bmc.write(reg::kCtrl, reg::kHBusy);
    EXPECT_EQ(machine.event({}), Verdict::kCallWithDelay);
    EXPECT_EQ(bmc.read(reg::kCtrl) & reg::kHBusy, profile == &hardened() ? 0 : reg::kHBusy);
  }
}

// B.6-2.
TEST(BtHazard, AnnouncingAReadSetsHostBusyWhateverItWas) {
  for (const Profile* profile : {&hardened(), &linux61()}) {
    ScriptPort port(InterfaceKind::kBt);
    BtStateMachine machine(port, *profile, nullptr);
    ASSERT_EQ(machine.start_transaction(kRequest), 0);
    port.now_reads(reg::kCtrl, {0});
    for (int i = 0; i < 10 && machine.state() != State::kReadWait; ++i) machine.event({});
    ASSERT_EQ(machine.state(), State::kReadWait);
    port.writes.clear();
    port.now_reads(reg::kCtrl, {reg::kB2hAtn | reg::kHBusy});
    machine.event({});
    EXPECT_EQ(port.wrote(reg::kCtrl, reg::kHBusy), profile != &hardened());
  }
}

// B.6-6, G-83.
TEST(BtHazard, ABmcThatNeverTakesARequestIsGivenUp) {
  for (const Profile* profile : {&hardened(), &linux61()}) {
    TestBmc bmc(InterfaceKind::kBt, false);
    bmc.change([](auto& f) { f.deaf = true; });
    BtStateMachine machine(bmc, *profile, nullptr);
    ASSERT_EQ(machine.start_transaction(kRequest), 0);
    Duration credited{};
    const Verdict v = drive(machine, milliseconds(100), seconds(600), &credited);
    if (profile == &hardened()) {
      EXPECT_EQ(v, Verdict::kTransactionComplete);
      EXPECT_EQ(machine.get_result()[2], 0xc3);
      EXPECT_LE(credited, seconds(30));
    } else {
      EXPECT_EQ(v, Verdict::kCallWithDelay);  // still resetting after ten minutes
    }
  }
}

// B.6-7.
TEST(BtHazard, ResetsDoNotComeBackWithTheSequenceNumbersWrap) {
  for (const Profile* profile : {&hardened(), &linux61()}) {
    TestBmc bmc(InterfaceKind::kBt, false);
    BtStateMachine machine(bmc, *profile, nullptr);
    for (int i = 0; i < 256; ++i) {
      ASSERT_EQ(machine.start_transaction(kRequest), 0);
      ASSERT_EQ(drive(machine), Verdict::kTransactionComplete);
    }
    bmc.change([](auto& f) { f.mute = true; });
    ASSERT_EQ(machine.start_transaction(kRequest), 0);
    drive(machine, milliseconds(100), seconds(60));
    const auto requests = bmc.requests();
    const bool reset = std::find(requests.begin(), requests.end(), Bytes{0x18, 0x03}) != requests.end();
    EXPECT_EQ(reset, profile != &hardened());
  }
}

// B.6-9.
TEST(BtHazard, AFrameOfImpossibleLengthIsReadToItsEnd) {
  for (const Profile* profile : {&hardened(), &linux61()}) {
    ScriptPort port(InterfaceKind::kBt);
    BtStateMachine machine(port, *profile, nullptr);
    ASSERT_EQ(machine.start_transaction(kRequest), 0);
    port.now_reads(reg::kCtrl, {0});
    for (int i = 0; i < 10 && machine.state() != State::kReadWait; ++i) machine.event({});
    port.now_reads(reg::kCtrl, {reg::kB2hAtn, 0});
    port.now_reads(reg::kBuffer, {2, 0x1c, 0x00, 0xff});
    port.reads.clear();
    ASSERT_EQ(drive(machine), Verdict::kTransactionComplete);
    EXPECT_EQ(std::count(port.reads.begin(), port.reads.end(), reg::kBuffer), profile == &hardened() ? 3 : 1);
    EXPECT_EQ(to_hex(machine.get_result()), "1c 01 c6");
    EXPECT_EQ(machine.result_failure(), ErrorCode::kProtocol);
  }
}

TEST(BtHazard, ABmcToHostAttentionThatStaysCostsARequestItsTime) {
  TestBmc bmc(InterfaceKind::kBt, false);
  ScriptPort port(InterfaceKind::kBt);
  BtStateMachine machine(port, hardened(), nullptr);
  ASSERT_EQ(machine.start_transaction(kRequest), 0);
  port.now_reads(reg::kCtrl, {reg::kB2hAtn});
  Duration credited{};
  EXPECT_EQ(drive(machine, milliseconds(100), seconds(100), &credited), Verdict::kTransactionComplete);
  EXPECT_LE(credited, seconds(30));
}

// ipmitool#82, #399; B.6-10.
TEST(BtAsItWas, AnAnswerToAnotherRequestIsTaken) {
  Profile old;
  old.bt_accepts_any_answer = true;
  for (const Profile* profile : {&hardened(), static_cast<const Profile*>(&old)}) {
    TestBmc bmc(InterfaceKind::kBt, false);
    bmc.change([](auto& f) { f.wrong_sequence = 1; });
    BtStateMachine machine(bmc, *profile, nullptr);
    ASSERT_EQ(machine.start_transaction(kRequest), 0);
    ASSERT_EQ(drive(machine, milliseconds(100)), Verdict::kTransactionComplete);
    EXPECT_EQ(bmc.requests().size(), profile == &old ? 1u : 2u);
  }
}

// op-build#207.
TEST(BtAsItWas, ABusyBmcIsWrittenTo) {
  Profile old;
  old.bt_caches_b_busy = true;
  for (const Profile* profile : {&hardened(), static_cast<const Profile*>(&old)}) {
    TestBmc bmc(InterfaceKind::kBt, false);
    BtStateMachine machine(bmc, *profile, nullptr);
    ASSERT_EQ(machine.start_transaction(kRequest), 0);
    ASSERT_EQ(drive(machine), Verdict::kTransactionComplete);
    ScriptPort busy(InterfaceKind::kBt);
    busy.now_reads(reg::kCtrl, {0});
    BtStateMachine second(busy, *profile, nullptr);
    ASSERT_EQ(second.start_transaction(kRequest), 0);
    for (int i = 0; i < 20 && second.state() != State::kReadWait; ++i) second.event({});
    busy.now_reads(reg::kCtrl, {reg::kB2hAtn, 0});
    busy.now_reads(reg::kBuffer, {4, 0x1c, 0x00, 0x01, 0x00});
    ASSERT_EQ(drive(second), Verdict::kTransactionComplete);
    // It reboots between two requests.
    busy.now_reads(reg::kCtrl, {reg::kBBusy});
    busy.writes.clear();
    ASSERT_EQ(second.start_transaction(kRequest), 0);
    for (int i = 0; i < 20; ++i) second.event({});
    EXPECT_EQ(busy.wrote(reg::kCtrl, reg::kH2bAtn), profile == &old);
  }
}

// Over a network each read is a round trip: at most 10 a transaction.
TEST(BtRoundTrips, ATransactionStaysWithinTen) {
  TestBmc bmc(InterfaceKind::kBt, true);
  BtStateMachine machine(bmc, hardened(), nullptr);
  ASSERT_TRUE(machine.detect());
  machine.set_interrupt_enable(true);
  ASSERT_EQ(machine.start_transaction(kRequest), 0);
  const unsigned before = bmc.round_trips();
  // The first pass ends where the BMC has not answered; the interrupt's pass does the rest, and then finds it idle.
  Verdict v;
  while ((v = machine.event({})) == Verdict::kCallWithoutDelay) {
  }
  ASSERT_EQ(v, Verdict::kCallWithDelay);
  machine.acknowledge_interrupt();
  while ((v = machine.event({})) == Verdict::kCallWithoutDelay) {
  }
  ASSERT_EQ(v, Verdict::kTransactionComplete);
  EXPECT_EQ(machine.event({}), Verdict::kIdle);
  EXPECT_LE(bmc.round_trips() - before, 7u);
}

// B.9: the fetch that nobody above knows of.
TEST(BtHiddenFetch, RefusesAMessageThatTheBooksSayIsWelcome) {
  TestBmc bmc(InterfaceKind::kBt, false);
  BtStateMachine machine(bmc, linux418(), nullptr);
  ASSERT_TRUE(machine.detect());
  EXPECT_FALSE(machine.wants_capabilities());
  EXPECT_EQ(machine.event({}), Verdict::kCallWithoutDelay);  // IDLE notices that there are no capabilities
  EXPECT_EQ(machine.event({}), Verdict::kCallWithDelay);     // CAP_BEGIN
  EXPECT_EQ(machine.start_transaction(kRequest), 0xd5);      // what the GUID and Device ID of seed 2 got
  ASSERT_EQ(drive(machine), Verdict::kIdle);
  EXPECT_EQ(bmc.requests().back(), (Bytes{0x18, 0x36}));
  EXPECT_EQ(machine.budget(), seconds(5));
  EXPECT_EQ(machine.start_transaction(kRequest), 0);
}

TEST(BtHiddenFetch, ThatFailsIsNotRepeatedAndLeavesTheDefaults) {
  TestBmc bmc(InterfaceKind::kBt, false);
  bmc.on_request([](const Bytes& r) -> std::optional<Bytes> {
    if (r[1] == 0x36) return Bytes{0xc1};
    return std::nullopt;
  });
  BtStateMachine machine(bmc, linux418(), nullptr);
  ASSERT_TRUE(machine.detect());
  ASSERT_EQ(drive(machine), Verdict::kIdle);
  ASSERT_EQ(drive(machine), Verdict::kIdle);
  EXPECT_EQ(bmc.requests().size(), 1u);
  EXPECT_EQ(machine.budget(), kDefaultBudget);
}

TEST(BtTrace, LooksAsKernelPeopleKnowIt) {
  EXPECT_EQ(trace_line(State::kWriteConsume, reg::kH2bAtn, seconds(5), milliseconds(4)),
            "BT: WR_CONSUME [ H2B ] TO=5000000 - 4000");
  EXPECT_EQ(trace_line(State::kReadWait, 0, milliseconds(4996), {}), "BT: RD_WAIT [ ] TO=4996000 - 0");
  TestBmc bmc(InterfaceKind::kBt, false);
  LineTrace trace;
  BtStateMachine machine(bmc, hardened(), &trace);
  ASSERT_TRUE(machine.detect());
  ASSERT_EQ(machine.start_transaction(kRequest), 0);
  ASSERT_EQ(drive(machine, milliseconds(4)), Verdict::kTransactionComplete);
  const std::vector<std::string> expected = {
      "IPMI BT: flag reset [ ]",
      "BT: XACTION [ ] TO=5000000 - 0",
      "BT: WR_BYTES [ ] TO=5000000 - 0",
      "BT: WR_CONSUME [ H2B ] TO=5000000 - 0",
      "BT: WR_CONSUME [ B2H ] TO=5000000 - 4000",
      "BT: RD_WAIT [ B2H ] TO=4996000 - 0",
      "BT: CLEAR_B2H [ H_BUSY ] TO=4996000 - 0",
      "BT: RD_BYTES [ H_BUSY ] TO=4996000 - 0",
  };
  EXPECT_EQ(trace.lines, expected);
}

}  // namespace
}  // namespace bmcpair::state_machine::bt
