#include "bmc_emu/firmware/watchdog.h"

#include "bmc_emu/firmware/testing.h"

namespace bmcpair::firmware::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class Watchdog : public FirmwareTest {
 protected:
  BmcConfig config() const override {
    BmcConfig c;
    SensorConfig sensor;
    sensor.name = "Watchdog";
    sensor.number = 0x2d;
    sensor.threshold = false;
    sensor.sensor_type = 0x23;
    c.sensors.push_back(sensor);
    return c;
  }
  // Sensor type, number, event type and the three data bytes of each watchdog entry in the SEL.
  std::vector<std::string> logged() const {
    std::vector<std::string> out;
    for (const auto& view : bmc->sel(now)) {
      if (view.record.size() == 16 && view.record[10] == 0x23) out.push_back(to_hex(ByteView(view.record).subspan(10)));
    }
    return out;
  }
};

TEST_F(Watchdog, ResetBeforeSetSaysSo) {
  EXPECT_EQ(ask("06 22"), "80");
  EXPECT_EQ(ask("06 22 00"), "c7");
  EXPECT_EQ(bmc->next_due() < now + hours(1), false);
}

TEST_F(Watchdog, SetIsReadBackStopped) {
  EXPECT_EQ(ask("06 25"), "00 00 00 00 00 00 00 00 00");
  EXPECT_EQ(ask("06 24 84 31 05 00 2c 01"), "00");
  EXPECT_EQ(ask("06 25"), "00 84 31 05 00 2c 01 2c 01");
}

TEST_F(Watchdog, BadFieldsAndLengthsAreRefusedAndChangeNothing) {
  EXPECT_EQ(ask("06 24 04 01 00 00 64 00"), "00");
  for (std::string_view bad : {"06 24 00 01 00 00 0a 00", "06 24 06 01 00 00 0a 00", "06 24 07 01 00 00 0a 00",
                               "06 24 0c 01 00 00 0a 00", "06 24 04 04 00 00 0a 00", "06 24 04 41 00 00 0a 00",
                               "06 24 04 81 00 00 0a 00", "06 24 04 09 00 00 0a 00"}) {
    EXPECT_EQ(ask(bad), "cc") << bad;
  }
  EXPECT_EQ(ask("06 24 04 01 00 00 0a"), "c7");
  EXPECT_EQ(ask("06 24 04 01 00 00 0a 00 00"), "c7");
  EXPECT_EQ(ask("06 25 00"), "c7");
  EXPECT_EQ(ask("06 25"), "00 04 01 00 00 64 00 64 00");
}

TEST_F(Watchdog, CountsDownInTenthsOfASecondAndStartsAnewOnReset) {
  ask("06 24 04 00 00 00 64 00");
  EXPECT_EQ(ask("06 22"), "00");
  EXPECT_EQ(ask("06 25"), "00 44 00 00 00 64 00 64 00");
  pass(milliseconds(3050));
  EXPECT_EQ(ask("06 25"), "00 44 00 00 00 64 00 46 00") << "69.5 tenths are left, the begun one counts";
  EXPECT_EQ(ask("06 22"), "00");
  EXPECT_EQ(ask("06 25"), "00 44 00 00 00 64 00 64 00");
  EXPECT_EQ(bmc->next_due(), now + seconds(10));
}

TEST_F(Watchdog, ExpiryWithoutActionSetsItsFlagAndLogs) {
  ask("06 24 02 00 00 00 0a 00");
  ask("06 22");
  pass(milliseconds(999));
  EXPECT_THAT(logged(), IsEmpty());
  pass(milliseconds(1));
  EXPECT_EQ(ask("06 25"), "00 02 00 00 04 0a 00 00 00");
  EXPECT_THAT(logged(), ElementsAre("23 2d 6f c0 02 ff"));
  EXPECT_THAT(recorder.values(Change::Kind::kPower), IsEmpty());
  EXPECT_THAT(recorder.texts(Change::Kind::kWatchdog), ElementsAre("armed", "expired none"));
}

TEST_F(Watchdog, ExpirationFlagsGatherAndAreClearedByTheirBits) {
  for (std::string_view set : {"06 24 01 00 00 00 01 00", "06 24 03 00 00 00 01 00", "06 24 05 00 00 00 01 00"}) {
    ask(set);
    ask("06 22");
    pass(seconds(1));
  }
  EXPECT_EQ(ask("06 25"), "00 05 00 00 2a 01 00 00 00");
  ask("06 24 05 00 00 0a 01 00");
  EXPECT_EQ(ask("06 25"), "00 05 00 00 20 01 00 01 00");
}

TEST_F(Watchdog, ActionsReachTheChassisWithTheWatchdogAsCause) {
  const std::pair<std::string_view, PowerAction> cases[] = {{"06 24 04 01 00 00 01 00", PowerAction::kHardReset},
                                                            {"06 24 04 03 00 00 01 00", PowerAction::kCycle},
                                                            {"06 24 04 02 00 00 01 00", PowerAction::kOff}};
  std::vector<std::string> expected;
  for (const auto& [set, action] : cases) {
    recorder.changes.clear();
    EXPECT_EQ(ask(set), "00");
    EXPECT_EQ(ask("06 22"), "00");
    pass(milliseconds(100));
    ASSERT_FALSE(recorder.values(Change::Kind::kPower).empty());
    EXPECT_EQ(recorder.values(Change::Kind::kPower)[0], static_cast<uint32_t>(action));
    if (action != PowerAction::kOff) {
      EXPECT_EQ(ask("00 07"), "00 04 00");
    }
    EXPECT_EQ(ask("06 22"), "80") << "after a reset of the system the timer must be set again";
    pass(seconds(5));
  }
  EXPECT_FALSE(bmc->power_on());
  EXPECT_THAT(logged(), ElementsAre("23 2d 6f c1 04 ff", "23 2d 6f c3 04 ff", "23 2d 6f c2 04 ff"));
}

TEST_F(Watchdog, DontLogHoldsForOneExpiry) {
  ask("06 24 84 00 00 00 01 00");
  ask("06 22");
  pass(seconds(1));
  EXPECT_THAT(logged(), IsEmpty());
  EXPECT_EQ(ask("06 25"), "00 04 00 00 10 01 00 00 00") << "logging is on again";
  ask("06 22");
  pass(seconds(1));
  EXPECT_THAT(logged(), ElementsAre("23 2d 6f c0 04 ff"));
}

TEST_F(Watchdog, PretimeoutMessagingInterruptRaisesItsFlagAndAttention) {
  ask("06 24 04 30 02 00 32 00");  // 5 s, 2 s before
  ask("06 22");
  pass(milliseconds(2999));
  EXPECT_EQ(ask("06 31"), "00 00");
  EXPECT_FALSE(bmc->attention());
  pass(milliseconds(1));
  EXPECT_EQ(ask("06 31"), "00 08");
  EXPECT_TRUE(bmc->attention());
  EXPECT_THAT(recorder.values(Change::Kind::kAttention), ElementsAre(1));
  EXPECT_THAT(logged(), ElementsAre("23 2d 6f c8 34 ff"));
  EXPECT_EQ(ask("06 30 08"), "00");
  EXPECT_FALSE(bmc->attention());
  EXPECT_THAT(recorder.values(Change::Kind::kAttention), ElementsAre(1, 0));
  pass(seconds(2));
  EXPECT_THAT(recorder.texts(Change::Kind::kWatchdog), ElementsAre("armed", "pretimeout", "expired none"));
}

TEST_F(Watchdog, OncePretimeoutIsReachedOnlySetStopsTheTimer) {
  ask("06 24 04 30 02 00 32 00");
  ask("06 22");
  pass(seconds(4));
  EXPECT_EQ(ask("06 22"), "00");
  EXPECT_EQ(ask("06 25"), "00 44 30 02 00 32 00 0a 00") << "not restarted";
  EXPECT_EQ(ask("06 24 04 30 02 00 32 00"), "00");
  EXPECT_EQ(ask("06 31"), "00 00") << "Set clears the pre-timeout flag";
  EXPECT_EQ(ask("06 25"), "00 04 30 02 00 32 00 32 00");
  pass(seconds(10));
  EXPECT_EQ(ask("06 25"), "00 04 30 02 00 32 00 32 00");
}

TEST_F(Watchdog, NmiPretimeoutIsADiagnosticInterruptAndSmiIsSilent) {
  ask("06 24 84 20 01 00 14 00");
  ask("06 22");
  pass(seconds(1));
  EXPECT_THAT(recorder.values(Change::Kind::kPower),
              ElementsAre(static_cast<uint32_t>(PowerAction::kDiagnosticInterrupt)));
  EXPECT_EQ(ask("06 31"), "00 00");
  recorder.changes.clear();
  ask("06 24 84 10 01 00 14 00");
  ask("06 22");
  pass(seconds(1));
  EXPECT_THAT(recorder.values(Change::Kind::kPower), IsEmpty());
  EXPECT_EQ(ask("06 31"), "00 00");
  EXPECT_THAT(logged(), IsEmpty());
}

TEST_F(Watchdog, WithoutAnInterruptThePretimeoutIntervalMeansNothing) {
  ask("06 24 04 00 05 00 64 00");
  ask("06 22");
  pass(seconds(6));
  EXPECT_EQ(ask("06 22"), "00");
  EXPECT_EQ(ask("06 25"), "00 44 00 05 00 64 00 64 00");
  EXPECT_THAT(logged(), IsEmpty());
}

TEST_F(Watchdog, AnIntervalLongerThanTheCountdownIsReachedAtOnce) {
  ask("06 24 04 30 ff 00 32 00");
  ask("06 22");
  EXPECT_EQ(ask("06 31"), "00 08");
  EXPECT_EQ(ask("06 25"), "00 44 30 ff 00 32 00 32 00");
}

TEST_F(Watchdog, ACountdownOfNothingExpiresAtOnce) {
  ask("06 24 04 02 00 00 00 00");
  EXPECT_EQ(ask("06 22"), "00");
  EXPECT_FALSE(bmc->power_on());
}

TEST_F(Watchdog, SetStopsARunningTimerUnlessToldNotTo) {
  ask("06 24 04 00 00 00 64 00");
  ask("06 22");
  pass(seconds(1));
  ask("06 24 44 00 00 00 c8 00");
  EXPECT_EQ(ask("06 25"), "00 44 00 00 00 c8 00 c8 00") << "don't stop: it goes on from the new value";
  ask("06 24 04 00 00 00 64 00");
  EXPECT_EQ(ask("06 25"), "00 04 00 00 00 64 00 64 00");
  ask("06 24 44 00 00 00 c8 00");
  EXPECT_EQ(ask("06 25"), "00 04 00 00 00 c8 00 c8 00") << "don't stop does not start";
  EXPECT_THAT(recorder.texts(Change::Kind::kWatchdog), ElementsAre("armed", "stopped"));
}

TEST_F(Watchdog, ResetsStopItAndItMustBeSetAgain) {
  for (int how = 0; how < 3; ++how) {
    ask("06 24 04 01 00 00 0a 00");
    EXPECT_EQ(ask("06 22"), "00");
    recorder.changes.clear();
    if (how == 0) bmc->host_was_reset(now);
    if (how == 1) bmc->reset(false, now);
    if (how == 2) bmc->reset(true, now);
    pass(seconds(3));
    EXPECT_THAT(recorder.texts(Change::Kind::kWatchdog), ElementsAre("stopped")) << how;
    EXPECT_EQ(ask("06 22"), "80") << how;
  }
  EXPECT_EQ(ask("06 25"), "00 00 00 00 00 00 00 00 00") << "a cold reset forgets the settings";
}

TEST_F(Watchdog, ExpirationFlagsOutliveTheHostsReset) {
  ask("06 24 04 01 00 00 01 00");
  ask("06 22");
  pass(seconds(1));
  EXPECT_EQ(ask("06 25").substr(12, 2), "10");
}

TEST_F(Watchdog, CommandsNeedTheirPrivilege) {
  context.privilege = Privilege::kUser;
  EXPECT_EQ(ask("06 22"), "d4");
  EXPECT_EQ(ask("06 24 04 00 00 00 0a 00"), "d4");
  EXPECT_EQ(ask("06 25").substr(0, 2), "00");
}

}  // namespace
}  // namespace bmcpair::firmware::testing
