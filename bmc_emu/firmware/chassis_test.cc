#include "bmc_emu/firmware/chassis.h"

#include "bmc_emu/firmware/testing.h"

namespace bmcpair::firmware::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint32_t kOff = static_cast<uint32_t>(PowerAction::kOff);
constexpr uint32_t kOn = static_cast<uint32_t>(PowerAction::kOn);
constexpr uint32_t kCycle = static_cast<uint32_t>(PowerAction::kCycle);
constexpr uint32_t kHardReset = static_cast<uint32_t>(PowerAction::kHardReset);
constexpr uint32_t kNmi = static_cast<uint32_t>(PowerAction::kDiagnosticInterrupt);
constexpr uint32_t kSoft = static_cast<uint32_t>(PowerAction::kSoftShutdown);

class Chassis : public FirmwareTest {
 protected:
  std::vector<uint32_t> power() const { return recorder.values(Change::Kind::kPower); }
};

TEST_F(Chassis, CapabilitiesAreReadSetAndKept) {
  EXPECT_EQ(ask("00 00"), "00 06 20 20 20 20 20");
  EXPECT_EQ(ask("00 05 03 22 24 26 28"), "00");
  EXPECT_EQ(ask("00 00"), "00 07 22 24 26 28 20") << "without its byte the bridge stays";
  EXPECT_EQ(ask("00 05 00 22 24 26 28 2a"), "00");
  boot();
  EXPECT_EQ(ask("00 00"), "00 04 22 24 26 28 2a");
  EXPECT_EQ(ask("00 05 04 20 20 20 20"), "cc") << "reserved bits";
  EXPECT_EQ(ask("00 05 00 20 21 20 20"), "cc") << "an odd slave address";
  EXPECT_EQ(ask("00 05 00 20 20 20"), "c7");
  EXPECT_EQ(ask("00 05 00 20 20 20 20 20 20"), "c7");
  EXPECT_EQ(ask("00 00 00"), "c7");
}

TEST_F(Chassis, StatusTellsPowerPolicyAndIdentify) {
  EXPECT_EQ(ask("00 01"), "00 21 00 40 f0");
  EXPECT_EQ(ask("00 01 00"), "c7");
  EXPECT_EQ(ask("00 02 00"), "00");
  EXPECT_EQ(ask("00 01"), "00 20 00 40 f0");
  EXPECT_EQ(ask("00 02 01"), "00");
  EXPECT_EQ(ask("00 01"), "00 21 10 40 f0") << "switched on by command";
  ask("00 06 02");
  ask("00 04 05");
  EXPECT_EQ(ask("00 01"), "00 41 10 50 f0");
  ask("00 04 00 01");
  EXPECT_EQ(ask("00 01"), "00 41 10 60 f0");
}

TEST_F(Chassis, ControlTellsTheBoardWhatToDo) {
  for (std::string_view action : {"00 02 03", "00 02 04", "00 02 05", "00 02 00", "00 02 01"}) {
    EXPECT_EQ(ask(action), "00") << action;
  }
  EXPECT_THAT(power(), ElementsAre(kHardReset, kNmi, kSoft, kOff, kOn));
  EXPECT_TRUE(bmc->power_on());
}

TEST_F(Chassis, ControlDoesNothingTwice) {
  EXPECT_EQ(ask("00 02 01"), "00");
  EXPECT_THAT(power(), IsEmpty());
  EXPECT_EQ(ask("00 02 00"), "00");
  EXPECT_EQ(ask("00 02 00"), "00");
  EXPECT_THAT(power(), ElementsAre(kOff));
}

TEST_F(Chassis, WhatNeedsPowerIsRefusedWithoutIt) {
  ask("00 02 00");
  recorder.changes.clear();
  for (std::string_view action : {"00 02 02", "00 02 03", "00 02 04", "00 02 05"}) {
    EXPECT_EQ(ask(action), "d5") << action;
  }
  EXPECT_FALSE(bmc->power(PowerAction::kHardReset, now).ok());
  EXPECT_THAT(power(), IsEmpty());
}

TEST_F(Chassis, ControlRefusesBadFields) {
  EXPECT_EQ(ask("00 02 06"), "cc");
  EXPECT_EQ(ask("00 02 13"), "cc");
  EXPECT_EQ(ask("00 02"), "c7");
  EXPECT_EQ(ask("00 02 03 00"), "c7");
  context.privilege = Privilege::kUser;
  EXPECT_EQ(ask("00 02 03"), "d4");
  EXPECT_THAT(power(), IsEmpty());
}

TEST_F(Chassis, APowerCycleIsOffForItsInterval) {
  EXPECT_EQ(ask("00 0b 03"), "00");
  EXPECT_EQ(ask("00 02 02"), "00");
  EXPECT_FALSE(bmc->power_on());
  pass(milliseconds(2999));
  EXPECT_FALSE(bmc->power_on());
  pass(milliseconds(1));
  EXPECT_TRUE(bmc->power_on());
  EXPECT_THAT(power(), ElementsAre(kCycle, kOn));
  EXPECT_EQ(ask("00 07"), "00 01 0f");
  EXPECT_EQ(ask("00 0b"), "c7");
  EXPECT_EQ(ask("00 0b 01 00"), "c7");
}

TEST_F(Chassis, APowerCycleCanBeEndedEarlyAndCalledOff) {
  ask("00 0b 0a");
  ask("00 02 02");
  EXPECT_EQ(ask("00 02 01"), "00");
  EXPECT_TRUE(bmc->power_on());
  pass(seconds(20));
  EXPECT_THAT(power(), ElementsAre(kCycle, kOn));
  ask("00 02 02");
  EXPECT_EQ(ask("00 02 00"), "00");
  pass(seconds(20));
  EXPECT_FALSE(bmc->power_on());
}

TEST_F(Chassis, RestartCauseTellsWhoAndOverWhichChannel) {
  EXPECT_EQ(ask("00 07"), "00 00 00");
  EXPECT_EQ(ask("00 07 00"), "c7");
  ask("00 02 03");
  EXPECT_EQ(ask("00 07"), "00 01 0f");
  ASSERT_TRUE(bmc->power(PowerAction::kHardReset, now).ok());
  EXPECT_EQ(ask("00 07"), "00 02 00");
  ASSERT_TRUE(bmc->power(PowerAction::kOff, now).ok());
  EXPECT_EQ(ask("00 07"), "00 02 00") << "switching off restarts nothing";
  ASSERT_TRUE(bmc->power(PowerAction::kOn, now).ok());
  EXPECT_EQ(ask("00 07"), "00 03 00");
}

TEST_F(Chassis, ARestartThatNobodyAskedForHasAnUnknownCauseAndIsAResetOtherwise) {
  ask("00 02 03");
  EXPECT_EQ(ask("00 07"), "00 01 0f");
  ask("06 2e 0f");
  ask("06 24 04 01 00 00 0a 00");
  ask("06 22");
  bmc->host_restarted(now);
  EXPECT_EQ(ask("00 07"), "00 00 00");
  EXPECT_EQ(ask("06 2f"), "00 08");
  EXPECT_EQ(ask("06 22"), "80");
  EXPECT_THAT(power(), ElementsAre(kHardReset)) << "it is not done to the host once more";
}

TEST_F(Chassis, IdentifyBlinksForItsIntervalAndForEverWhenForced) {
  EXPECT_EQ(ask("00 04"), "00");
  EXPECT_EQ(bmc->identify(), 1);
  pass(milliseconds(14999));
  EXPECT_EQ(bmc->identify(), 1);
  pass(milliseconds(1));
  EXPECT_EQ(bmc->identify(), 0);
  EXPECT_EQ(ask("00 04 ff"), "00");
  pass(seconds(254));
  EXPECT_EQ(bmc->identify(), 1);
  EXPECT_EQ(ask("00 04 00"), "00");
  EXPECT_EQ(bmc->identify(), 0);
  EXPECT_EQ(ask("00 04 05 01"), "00");
  pass(hours(2));
  EXPECT_EQ(bmc->identify(), 2);
  EXPECT_EQ(ask("00 04 00 00"), "00");
  EXPECT_EQ(bmc->identify(), 0);
  EXPECT_THAT(recorder.values(Change::Kind::kIdentify), ElementsAre(1, 0, 1, 0, 2, 0));
  EXPECT_EQ(ask("00 04 05 02"), "cc");
  EXPECT_EQ(ask("00 04 05 00 00"), "c7");
}

TEST_F(Chassis, TheRestorePolicyDecidesAfterARestart) {
  EXPECT_EQ(ask("00 06 03"), "00 07") << "no change, only what is supported";
  EXPECT_EQ(ask("00 06 04"), "cc");
  EXPECT_EQ(ask("00 06"), "c7");
  EXPECT_EQ(ask("00 06 01 00"), "c7");

  EXPECT_EQ(ask("00 06 00"), "00 07");
  boot();
  EXPECT_FALSE(bmc->power_on()) << "stays off";
  EXPECT_EQ(ask("06 07"), "00 05 00");

  EXPECT_EQ(ask("00 06 02"), "00 07");
  boot();
  EXPECT_TRUE(bmc->power_on()) << "always on";
  EXPECT_EQ(ask("00 07"), "00 06 00");

  EXPECT_EQ(ask("00 06 01"), "00 07");
  boot();
  EXPECT_TRUE(bmc->power_on()) << "as it was: on";
  EXPECT_EQ(ask("00 07"), "00 07 00");
  ask("00 02 00");
  boot();
  EXPECT_FALSE(bmc->power_on()) << "as it was: off";
}

TEST_F(Chassis, APolicyThatCouldNotBeStoredIsNotAcknowledged) {
  store->broken = true;
  EXPECT_EQ(ask("00 06 02"), "ff");
  EXPECT_EQ(ask("00 0b 09"), "ff");
  EXPECT_EQ(ask("00 05 00 20 20 20 20"), "ff");
  EXPECT_EQ(ask("00 01").substr(0, 5), "00 21");
  EXPECT_EQ(ask("00 02 00"), "00") << "power does not wait for the disk";
  EXPECT_FALSE(bmc->power_on());
  store->broken = false;
  ask("00 02 01");
  ask("00 02 00");
  boot();
  EXPECT_FALSE(bmc->power_on());
}

TEST_F(Chassis, PowerOnHoursCountWhilePoweredAndSurvive) {
  EXPECT_EQ(ask("00 0f"), "00 3c 00 00 00 00");
  EXPECT_EQ(ask("00 0f 00"), "c7");
  pass(hours(3) + std::chrono::minutes(59));
  EXPECT_EQ(ask("00 0f"), "00 3c 03 00 00 00");
  ask("00 02 00");
  pass(hours(5));
  EXPECT_EQ(ask("00 0f"), "00 3c 03 00 00 00");
  ask("00 02 01");
  pass(std::chrono::minutes(1));
  EXPECT_EQ(ask("00 0f"), "00 3c 04 00 00 00");
  boot();
  EXPECT_EQ(ask("00 0f"), "00 3c 03 00 00 00") << "at most an hour is lost";
  pass(hours(300));
  EXPECT_EQ(ask("00 0f").substr(0, 11), "00 3c 2f 01");
}

TEST_F(Chassis, PowerOnTimeIsStoredOnceAnHourAndNotWhileOff) {
  int before = store->commits;
  pass(hours(10));
  EXPECT_EQ(store->commits - before, 10);
  ask("00 02 00");
  before = store->commits;
  pass(hours(10));
  EXPECT_EQ(store->commits, before);
}

TEST_F(Chassis, FrontPanelButtonsAreDisabledAndTheLockoutShows) {
  EXPECT_EQ(ask("00 0a 05"), "00");
  EXPECT_EQ(ask("00 01").substr(9), "40 f5");
  EXPECT_EQ(ask("00 0a 03"), "00");
  EXPECT_EQ(ask("00 01").substr(9), "42 f3");
  EXPECT_EQ(ask("00 0a 10"), "cc");
  EXPECT_EQ(ask("00 0a"), "c7");
  EXPECT_EQ(ask("00 0a 00 00"), "c7");
}

TEST_F(Chassis, BootOptionsReadBackByParameter) {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {"00", "00 01 00 00"},
      {"01", "00 01 01 00"},
      {"02", "00 01 02 00"},
      {"03", "00 01 03 00"},
      {"04", "00 01 04 00 00"},
      {"05", "00 01 05 00 00 00 00 00"},
      {"06", "00 01 06 00 00 00 00 00 00 00 00 00"},
      {"07", "00 01 07 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00"},
  };
  for (const auto& [parameter, answer] : cases) EXPECT_EQ(ask("00 09 " + std::string(parameter) + " 00 00"), answer);
  EXPECT_EQ(ask("00 08 01 42"), "00");
  EXPECT_EQ(ask("00 09 01 00 00"), "00 01 01 42");
  EXPECT_EQ(ask("00 08 02 03"), "00");
  EXPECT_EQ(ask("00 09 02 00 00"), "00 01 02 03");
  EXPECT_EQ(ask("00 08 03 1f"), "00");
  EXPECT_EQ(ask("00 09 03 00 00"), "00 01 03 1f");
  EXPECT_EQ(ask("00 08 04 0f ff"), "00");
  EXPECT_EQ(ask("00 08 04 01 00"), "00");
  EXPECT_EQ(ask("00 09 04 00 00"), "00 01 04 00 0e") << "only masked bits are written";
  EXPECT_EQ(ask("00 08 05 e0 04 08 00 00"), "00");
  EXPECT_EQ(ask("00 09 05 00 00"), "00 01 05 e0 04 08 00 00");
  EXPECT_EQ(ask("00 08 06 01 11 22 33 44 55 66 77 88"), "00");
  EXPECT_EQ(ask("00 09 06 00 00"), "00 01 06 01 11 22 33 44 55 66 77 88");
}

TEST_F(Chassis, TheMailboxHasFiveBlocks) {
  EXPECT_EQ(ask("00 08 07 04 aa bb"), "00");
  EXPECT_EQ(ask("00 09 07 04 00"), "00 01 07 04 aa bb 00 00 00 00 00 00 00 00 00 00 00 00 00 00");
  EXPECT_EQ(ask("00 08 07 04 cc"), "00") << "bytes not given stay";
  EXPECT_EQ(ask("00 09 07 04 00").substr(0, 17), "00 01 07 04 cc bb");
  EXPECT_EQ(ask("00 08 07 05 aa"), "c9");
  EXPECT_EQ(ask("00 09 07 05 00"), "c9");
  EXPECT_EQ(ask("00 08 07 00"), "c7");
  EXPECT_EQ(ask("00 08 07 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 10"), "00");
  EXPECT_EQ(ask("00 08 07 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 10 11"), "c7");
}

TEST_F(Chassis, BootOptionsRefuseWhatIsWrong) {
  EXPECT_EQ(ask("00 08 08 00"), "80");
  EXPECT_EQ(ask("00 08 60 00"), "80");
  EXPECT_EQ(ask("00 09 08 00 00"), "80");
  EXPECT_EQ(ask("00 09 85 00 00"), "cc");
  EXPECT_EQ(ask("00 09 05 01 00"), "cc");
  EXPECT_EQ(ask("00 09 05 00 01"), "cc");
  EXPECT_EQ(ask("00 09 05 00"), "c7");
  EXPECT_EQ(ask("00 09 05 00 00 00"), "c7");
  EXPECT_EQ(ask("00 08"), "c7");
  for (std::string_view bad : {"00 08 00 00 00", "00 08 01 00 00", "00 08 02 00 00", "00 08 03 00 00", "00 08 04 00",
                               "00 08 04 00 00 00", "00 08 05 00 00 00 00", "00 08 05 00 00 00 00 00 00",
                               "00 08 06 00 00 00 00 00 00 00 00", "00 08 06 00 00 00 00 00 00 00 00 00 00"}) {
    EXPECT_EQ(ask(bad), "c7") << bad;
  }
  for (std::string_view bad : {"00 08 00 02", "00 08 00 03", "00 08 02 04", "00 08 03 20", "00 08 05 01 00 00 00 00",
                               "00 08 06 10 00 00 00 00 00 00 00 00"}) {
    EXPECT_EQ(ask(bad), "cc") << bad;
  }
}

TEST_F(Chassis, SetInProgressIsNotTakenTwiceAndEndsWithAHostReset) {
  EXPECT_EQ(ask("00 08 00 01"), "00");
  EXPECT_EQ(ask("00 08 00 01"), "81");
  EXPECT_EQ(ask("00 09 00 00 00"), "00 01 00 01");
  EXPECT_EQ(ask("00 08 00 00"), "00");
  EXPECT_EQ(ask("00 08 00 01"), "00");
  ask("00 02 03");
  EXPECT_EQ(ask("00 09 00 00 00"), "00 01 00 00");
}

TEST_F(Chassis, AParameterIsMarkedInvalidWithAndWithoutData) {
  EXPECT_EQ(ask("00 08 81"), "00");
  EXPECT_EQ(ask("00 09 01 00 00"), "00 01 81 00");
  EXPECT_EQ(ask("00 08 81 07"), "00");
  EXPECT_EQ(ask("00 09 01 00 00"), "00 01 81 07");
  EXPECT_EQ(ask("00 08 01"), "00");
  EXPECT_EQ(ask("00 09 01 00 00"), "00 01 01 07");
}

TEST_F(Chassis, BootFlagsLoseTheirValidBitAfterSixtySecondsWithoutChassisControl) {
  ask("00 08 05 80 04 00 00 00");
  pass(milliseconds(59999));
  EXPECT_EQ(ask("00 09 05 00 00"), "00 01 05 80 04 00 00 00");
  EXPECT_EQ(ask("00 02 03"), "00") << "starts the time again";
  pass(milliseconds(59999));
  EXPECT_EQ(ask("00 09 05 00 00"), "00 01 05 80 04 00 00 00");
  pass(milliseconds(1));
  EXPECT_EQ(ask("00 09 05 00 00"), "00 01 05 00 04 00 00 00");
}

TEST_F(Chassis, TheClearingOfTheValidBitCanBeSwitchedOff) {
  ask("00 08 03 08");
  ask("00 08 05 80 04 00 00 00");
  pass(hours(1));
  EXPECT_EQ(ask("00 09 05 00 00"), "00 01 05 80 04 00 00 00");
  ASSERT_TRUE(bmc->power(PowerAction::kHardReset, now).ok());
  EXPECT_EQ(ask("00 09 05 00 00"), "00 01 05 00 04 00 00 00") << "a button's reset clears it";
  ask("00 08 03 0f");
  ask("00 08 05 80 04 00 00 00");
  ASSERT_TRUE(bmc->power(PowerAction::kHardReset, now).ok());
  ASSERT_TRUE(bmc->power(PowerAction::kOff, now).ok());
  ASSERT_TRUE(bmc->power(PowerAction::kOn, now).ok());
  EXPECT_EQ(ask("00 09 05 00 00"), "00 01 05 80 04 00 00 00");
}

TEST_F(Chassis, AWatchdogsResetClearsTheValidBitUnlessToldNotTo) {
  for (bool keeps : {false, true}) {
    ask(keeps ? "00 08 03 0c" : "00 08 03 08");
    ask("00 08 05 80 04 00 00 00");
    ask("06 24 04 01 00 00 01 00");
    ask("06 22");
    pass(seconds(1));
    EXPECT_EQ(ask("00 09 05 00 00").substr(9, 2), keeps ? "80" : "00");
  }
}

TEST_F(Chassis, BootOptionsOutliveAWarmResetAndNotAColdOne) {
  ask("00 08 05 e0 04 00 00 00");
  bmc->reset(false, now);
  pass(seconds(1));
  EXPECT_EQ(ask("00 09 05 00 00"), "00 01 05 e0 04 00 00 00");
  bmc->reset(true, now);
  pass(seconds(2));
  EXPECT_EQ(ask("00 09 05 00 00"), "00 01 05 00 00 00 00 00");
}

TEST_F(Chassis, ABmcResetLeavesThePowerAlone) {
  bmc->reset(true, now);
  pass(seconds(2));
  EXPECT_TRUE(bmc->power_on());
  EXPECT_THAT(power(), IsEmpty());
}

TEST(ChassisStore, MalformedStoredStateIsCorrupt) {
  auto store = std::make_shared<MemoryStore>();
  Batch batch;
  batch.put.push_back({"chassis", 0, Bytes{9, 9, 9}});
  ASSERT_TRUE(store->commit(batch).ok());
  auto made = Bmc::create({}, store, nullptr, Instant{});
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code, ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace bmcpair::firmware::testing
