#include "host_driver/state_machine/kcs/state_machine.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "host_driver/state_machine/kcs/trace.h"
#include "host_driver/state_machine/test_bmc.h"

namespace bmcpair::state_machine::kcs {
namespace {

namespace reg = registers::kcs;
using registers::InterfaceKind;
using std::chrono::milliseconds;
using std::chrono::seconds;

const Profile& linux61() { return *find_profile("linux-6.1"); }
const Bytes kRequest = {0x18, 0x01};

constexpr uint8_t kIdleStatus = 0x00, kReadStatus = 0x40, kWriteStatus = 0x80, kErrorStatus = 0xc0;

class Kcs : public ::testing::TestWithParam<const Profile*> {};
INSTANTIATE_TEST_SUITE_P(Profiles, Kcs, ::testing::Values(&hardened(), &linux61()), [](const auto& i) {
  return i.param == &hardened() ? std::string("hardened") : std::string("linux");
});

TEST_P(Kcs, CarriesARequestAndItsAnswer) {
  TestBmc bmc(InterfaceKind::kKcs, false);
  KcsStateMachine machine(bmc, *GetParam(), nullptr);
  ASSERT_TRUE(machine.detect());
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(machine.start_transaction(kRequest), 0);
    EXPECT_FALSE(machine.idle());
    ASSERT_EQ(drive(machine), Verdict::kTransactionComplete);
    EXPECT_EQ(to_hex(machine.get_result()), "1c 01 00 20 01 02 03 02 bf 57 01 00 34 12 00 00 00 00");
    EXPECT_FALSE(machine.result_failure());
    EXPECT_TRUE(machine.idle());
  }
  EXPECT_EQ(bmc.requests().back(), kRequest);
}

TEST_P(Kcs, CarriesTheLongestMessages) {
  TestBmc bmc(InterfaceKind::kKcs, false);
  const Bytes longest(ipmi::kMessageBytesMax - 2, 0x5a);
  bmc.on_request([&](const Bytes&) { return longest; });
  KcsStateMachine machine(bmc, *GetParam(), nullptr);
  Bytes request(ipmi::kMessageBytesMax, 0x11);
  ASSERT_EQ(machine.start_transaction(request), 0);
  ASSERT_EQ(drive(machine), Verdict::kTransactionComplete);
  EXPECT_EQ(machine.get_result().size(), ipmi::kMessageBytesMax);
  EXPECT_FALSE(machine.result_failure());
  EXPECT_EQ(bmc.requests().back(), request);
}

TEST_P(Kcs, RefusesWhatItCannotSend) {
  ScriptPort port(InterfaceKind::kKcs);
  KcsStateMachine machine(port, *GetParam(), nullptr);
  EXPECT_EQ(machine.start_transaction(Bytes{0x18}), 0xc7);
  EXPECT_EQ(machine.start_transaction(Bytes(ipmi::kMessageBytesMax + 1)), 0xc8);
  EXPECT_EQ(machine.start_transaction(kRequest), 0);
  EXPECT_EQ(machine.start_transaction(kRequest), 0xd5);
  EXPECT_TRUE(port.writes.empty());
}

TEST_P(Kcs, AnAnswerTooShortForACompletionCodeIsOurs) {
  // IDLE at the first look for a byte: nothing was read.
  ScriptPort port(InterfaceKind::kKcs);
  KcsStateMachine scripted(port, *GetParam(), nullptr);
  ASSERT_EQ(scripted.start_transaction(kRequest), 0);
  port.now_reads(reg::kStatus, {kIdleStatus, kWriteStatus, kWriteStatus, kWriteStatus, kIdleStatus});
  ASSERT_EQ(drive(scripted), Verdict::kTransactionComplete);
  EXPECT_EQ(to_hex(scripted.get_result()), "1c 01 ff");
  EXPECT_EQ(scripted.result_failure(), ErrorCode::kProtocol);
}

TEST_P(Kcs, AnAnswerTooLongIsTruncatedAndSaysSo) {
  TestBmc bmc(InterfaceKind::kKcs, false);
  bmc.on_request([](const Bytes&) { return Bytes(ipmi::kMessageBytesMax, 0); });
  KcsStateMachine machine(bmc, *GetParam(), nullptr);
  ASSERT_EQ(machine.start_transaction(kRequest), 0);
  ASSERT_EQ(drive(machine), Verdict::kTransactionComplete);
  const Bytes result = machine.get_result();
  EXPECT_EQ(result.size(), ipmi::kMessageBytesMax);
  EXPECT_EQ(result[2], 0xc6);
  EXPECT_EQ(machine.result_failure(), ErrorCode::kProtocol);
}

TEST_P(Kcs, AfterAnErrorTheSameRequestIsSentAgain) {
  TestBmc bmc(InterfaceKind::kKcs, false);
  bmc.change([](auto& f) { f.wrong_state = 2; });
  KcsStateMachine machine(bmc, *GetParam(), nullptr);
  ASSERT_EQ(machine.start_transaction(kRequest), 0);
  ASSERT_EQ(drive(machine), Verdict::kTransactionComplete);
  EXPECT_EQ(machine.get_result()[2], 0);
  EXPECT_EQ(bmc.requests(), (std::vector<Bytes>{kRequest, kRequest, kRequest}));
  // Only a new transaction clears the count (A.3).
  EXPECT_EQ(machine.error_retries(), 2u);
}

TEST_P(Kcs, AttentionShowsWhileIdle) {
  ScriptPort port(InterfaceKind::kKcs);
  KcsStateMachine machine(port, *GetParam(), nullptr);
  port.now_reads(reg::kStatus, {reg::kSmsAtn});
  EXPECT_EQ(machine.event({}), Verdict::kAttention);
  port.now_reads(reg::kStatus, {reg::kObf});
  EXPECT_EQ(machine.event({}), Verdict::kIdle);
  EXPECT_EQ(port.reads.back(), reg::kData);  // the interrupt's source is taken away
}

TEST_P(Kcs, DetectsNothingWhereStatusReadsFf) {
  ScriptPort port(InterfaceKind::kKcs);
  KcsStateMachine machine(port, *GetParam(), nullptr);
  port.now_reads(reg::kStatus, {0xff});
  EXPECT_FALSE(machine.detect());
  port.now_reads(reg::kStatus, {0});
  EXPECT_TRUE(machine.detect());
}

TEST_P(Kcs, NothingBelowFiveSecondsIsATimeout) {
  ScriptPort port(InterfaceKind::kKcs);
  KcsStateMachine machine(port, *GetParam(), nullptr);
  ASSERT_EQ(machine.start_transaction(kRequest), 0);
  port.now_reads(reg::kStatus, {reg::kIbf});
  EXPECT_EQ(machine.event(milliseconds(4999)), Verdict::kCallWithDelay);
  EXPECT_EQ(machine.error_retries(), 0u);
  machine.event(milliseconds(2));
  EXPECT_EQ(machine.error_retries(), 1u);
}

// A.2: 11 x 5 s for Linux.
TEST(KcsDead, IsHosedAfterItsRetries) {
  for (const Profile* profile : {&hardened(), &linux61()}) {
    TestBmc bmc(InterfaceKind::kKcs, false);
    bmc.change([](auto& f) { f.deaf = true; });
    KcsStateMachine machine(bmc, *profile, nullptr);
    ASSERT_EQ(machine.start_transaction(kRequest), 0);
    Duration credited{};
    EXPECT_EQ(drive(machine, milliseconds(100), seconds(300), &credited), Verdict::kHosed);
    EXPECT_GE(credited, seconds(5) * (profile->kcs_error_retries_max + 1));
    EXPECT_LE(credited, seconds(6) * (profile->kcs_error_retries_max + 1));
    EXPECT_TRUE(machine.idle());
  }
}

KcsStateMachine in_wait_read(ScriptPort& port, const Profile& profile) {
  KcsStateMachine machine(port, profile, nullptr);
  EXPECT_EQ(machine.start_transaction(kRequest), 0);
  port.now_reads(reg::kStatus, {kIdleStatus, kWriteStatus, kWriteStatus, kWriteStatus, kReadStatus});
  for (int i = 0; i < 4; ++i) EXPECT_EQ(machine.event({}), Verdict::kCallWithoutDelay);
  EXPECT_EQ(machine.state(), State::kWaitRead);
  port.reads.clear();
  port.writes.clear();
  return machine;
}

// A.6-1.
TEST(KcsHazard, AnOutputTimeoutReadsNoStaleByte) {
  for (const Profile* profile : {&hardened(), &linux61()}) {
    ScriptPort port(InterfaceKind::kKcs);
    KcsStateMachine machine = in_wait_read(port, *profile);
    machine.event(seconds(6));
    EXPECT_EQ(machine.error_retries(), 1u);
    EXPECT_EQ(port.wrote(reg::kData, reg::kRead), profile != &hardened());
    EXPECT_EQ(machine.state(), State::kError0);
  }
}

// A.6-2.
TEST(KcsHazard, HosedIsNotLostInTheAbort) {
  for (const Profile* profile : {&hardened(), &linux61()}) {
    ScriptPort port(InterfaceKind::kKcs);
    KcsStateMachine machine = in_wait_read(port, *profile);
    // Abort after abort fails in ERROR2, until one more error is the last.
    port.now_reads(reg::kStatus, {kWriteStatus});
    while (machine.error_retries() < profile->kcs_error_retries_max || machine.state() != State::kError2) {
      machine.event({});
    }
    // That one is a byte that does not come.
    port.now_reads(reg::kStatus, {kReadStatus});
    machine.event(seconds(6));
    EXPECT_EQ(machine.error_retries(), profile->kcs_error_retries_max + 1);
    if (profile == &hardened()) {
      EXPECT_EQ(machine.event({}), Verdict::kHosed);
    } else {
      EXPECT_EQ(machine.state(), State::kError3);
      port.now_reads(reg::kStatus, {kIdleStatus | reg::kObf});
      machine.event({});
      EXPECT_EQ(machine.state(), State::kWaitWriteStart);  // off again, as if nothing had been
    }
  }
}

// A.6-3.
TEST(KcsHazard, NoAbortIsWrittenOverAByteThatTheBmcHasNotTaken) {
  for (const Profile* profile : {&hardened(), &linux61()}) {
    ScriptPort port(InterfaceKind::kKcs);
    KcsStateMachine machine = in_wait_read(port, *profile);
    port.now_reads(reg::kStatus, {kReadStatus | reg::kIbf});
    machine.event(seconds(6));
    EXPECT_EQ(machine.error_retries(), 1u);
    EXPECT_EQ(port.wrote(reg::kCommand, reg::kGetStatusAbort), profile != &hardened());
    // It is written once IBF has gone.
    port.now_reads(reg::kStatus, {kReadStatus});
    machine.event({});
    EXPECT_TRUE(port.wrote(reg::kCommand, reg::kGetStatusAbort) || profile != &hardened());
  }
}

// A.6-4.
TEST(KcsHazard, NoByteIsReadAtTheWritesStartUnlessThereIsOne) {
  for (const Profile* profile : {&hardened(), &linux61()}) {
    ScriptPort port(InterfaceKind::kKcs);
    KcsStateMachine machine(port, *profile, nullptr);
    ASSERT_EQ(machine.start_transaction(kRequest), 0);
    port.now_reads(reg::kStatus, {kIdleStatus, kWriteStatus});
    machine.event({});
    port.reads.clear();
    machine.event({});
    EXPECT_EQ(port.reads.size(), profile == &hardened() ? 1u : 2u);
  }
}

// A.6-5, G-07.
TEST(KcsHazard, TheAbortHasABudgetOfItsOwn) {
  for (const Profile* profile : {&hardened(), &linux61()}) {
    ScriptPort port(InterfaceKind::kKcs);
    KcsStateMachine machine = in_wait_read(port, *profile);
    EXPECT_EQ(machine.event(seconds(4)), Verdict::kCallWithDelay);  // 1 s of OBF budget left
    port.now_reads(reg::kStatus, {kWriteStatus});
    machine.event({});  // not in read state: ERROR0
    ASSERT_EQ(machine.state(), State::kError0);
    port.now_reads(reg::kStatus, {kReadStatus});
    machine.event({});
    machine.event({});
    ASSERT_EQ(machine.state(), State::kError2);
    machine.event(seconds(2));
    EXPECT_EQ(machine.error_retries(), profile == &hardened() ? 1u : 2u);
  }
}

// D.11 W3.
TEST(KcsHazard, AnInputBufferStuckWhileIdleStartsNothingBehindOurBack) {
  for (const Profile* profile : {&hardened(), &linux61()}) {
    ScriptPort port(InterfaceKind::kKcs);
    KcsStateMachine machine(port, *profile, nullptr);
    port.now_reads(reg::kStatus, {reg::kIbf});
    for (int i = 0; i < 7; ++i) machine.event(seconds(1));
    EXPECT_EQ(machine.idle(), profile == &hardened());
    EXPECT_EQ(machine.start_transaction(kRequest), profile == &hardened() ? 0 : 0xd5);
  }
}

// G-60: status reads ERROR for ever; each abort fails at once.
TEST(KcsHazard, ABmcThatFailsEveryAbortCostsADelayAnError) {
  for (const Profile* profile : {&hardened(), &linux61()}) {
    ScriptPort port(InterfaceKind::kKcs);
    KcsStateMachine machine(port, *profile, nullptr);
    ASSERT_EQ(machine.start_transaction(kRequest), 0);
    port.now_reads(reg::kStatus, {kErrorStatus});
    unsigned delays = 0;
    Verdict v;
    do {
      v = machine.event({});
      if (v == Verdict::kCallWithTickDelay) ++delays;
    } while (v != Verdict::kHosed);
    EXPECT_EQ(delays, profile == &hardened() ? profile->kcs_error_retries_max : 0u);
  }
}

Profile hardened_but(bool ProfileFlags::*flag) {
  Profile p;
  p.*flag = !(p.*flag);
  return p;
}

// D.11 W5: whoever sends before the abort has ended is refused.
TEST(KcsAsItWas, AfterHosedTheMachineIsNotIdle) {
  const Profile old = hardened_but(&ProfileFlags::kcs_parks_in_error0);
  for (const Profile* profile : {&hardened(), &old}) {
    ScriptPort port(InterfaceKind::kKcs);
    KcsStateMachine machine(port, *profile, nullptr);
    ASSERT_EQ(machine.start_transaction(kRequest), 0);
    port.now_reads(reg::kStatus, {kErrorStatus});
    while (machine.event({}) != Verdict::kHosed) {
    }
    EXPECT_EQ(machine.idle(), profile == &hardened());
    EXPECT_EQ(machine.start_transaction(kRequest), profile == &hardened() ? 0 : 0xd5);
  }
  // Once the BMC is well the abort ends, and the machine with it.
  TestBmc bmc(InterfaceKind::kKcs, false);
  KcsStateMachine machine(bmc, old, nullptr);
  bmc.change([](auto& f) { f.error_state = true; });
  ASSERT_EQ(machine.start_transaction(kRequest), 0);
  ASSERT_EQ(drive(machine), Verdict::kHosed);
  bmc.change([](auto& f) { f.error_state = false; });
  ASSERT_EQ(drive(machine), Verdict::kTransactionComplete);
  ASSERT_EQ(machine.start_transaction(kRequest), 0);
  ASSERT_EQ(drive(machine), Verdict::kTransactionComplete);
  EXPECT_EQ(machine.get_result()[2], 0);
}

// illumos-gate#26.
TEST(KcsAsItWas, AByteThatDoesNotComeIsWaitedForForEver) {
  const Profile old = hardened_but(&ProfileFlags::kcs_ignores_timeouts);
  for (const Profile* profile : {&hardened(), &old}) {
    ScriptPort port(InterfaceKind::kKcs);
    KcsStateMachine machine = in_wait_read(port, *profile);
    for (int i = 0; i < 1000; ++i) machine.event(seconds(1));
    EXPECT_EQ(machine.state() == State::kWaitRead, profile == &old);
  }
}

// edk2#12577.
TEST(KcsAsItWas, TheLastDummyByteStays) {
  const Profile old = hardened_but(&ProfileFlags::kcs_leaves_dummy_byte);
  for (const Profile* profile : {&hardened(), &old}) {
    ScriptPort port(InterfaceKind::kKcs);
    KcsStateMachine machine = in_wait_read(port, *profile);
    port.now_reads(reg::kStatus, {kIdleStatus | reg::kObf});
    EXPECT_EQ(machine.event({}), Verdict::kTransactionComplete);
    EXPECT_EQ(machine.event({}), Verdict::kIdle);
    EXPECT_EQ(std::count(port.reads.begin(), port.reads.end(), reg::kData), profile == &old ? 0 : 2);
  }
}

// G-06.
TEST(KcsAsItWas, ABmcThatTakesTwoSecondsIsAnError) {
  Profile old;
  old.kcs_budget_seconds = 1;
  for (const Profile* profile : {&hardened(), static_cast<const Profile*>(&old)}) {
    ScriptPort port(InterfaceKind::kKcs);
    KcsStateMachine machine = in_wait_read(port, *profile);
    machine.event(seconds(2));
    EXPECT_EQ(machine.error_retries(), profile == &old ? 1u : 0u);
  }
}

TEST(KcsError0, WaitsTwoSecondsForTheOutputBufferToEmpty) {
  ScriptPort port(InterfaceKind::kKcs);
  KcsStateMachine machine = in_wait_read(port, hardened());
  port.now_reads(reg::kStatus, {kErrorStatus | reg::kObf});
  machine.event({});
  ASSERT_EQ(machine.state(), State::kError0);
  EXPECT_EQ(machine.event(seconds(1)), Verdict::kCallWithTickDelay);
  EXPECT_FALSE(port.wrote(reg::kCommand, reg::kGetStatusAbort));
  EXPECT_EQ(machine.event(seconds(1)), Verdict::kCallWithoutDelay);
  EXPECT_TRUE(port.wrote(reg::kCommand, reg::kGetStatusAbort));
}

TEST(KcsTrace, IsOneDenseLineAStep) {
  EXPECT_EQ(trace_line(State::kWaitRead, kReadStatus | reg::kObf | reg::kSmsAtn, seconds(5), milliseconds(4)),
            "KCS: WAIT_READ [ READ SMS_ATN OBF ] TO=5000000 - 4000");
}

}  // namespace
}  // namespace bmcpair::state_machine::kcs
