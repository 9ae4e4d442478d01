#include "bmc_emu/firmware/event.h"

#include "bmc_emu/firmware/messaging.h"
#include "bmc_emu/firmware/testing.h"

namespace bmcpair::firmware::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Event : public FirmwareTest {
 protected:
  BmcConfig config() const override {
    BmcConfig c;
    c.unix_seconds_at_zero = 0x60000000 - 1000;
    c.sel_entries_max = 3;
    SensorConfig temp;
    temp.name = "CPU Temp";
    temp.number = 0x30;
    temp.initial = 40;
    temp.thresholds.upper_critical = 90;
    c.sensors.push_back(temp);
    c.satellites.push_back({});
    c.cold_reset_offline = Duration(0);
    return c;
  }
  std::string last() const {
    auto sel = bmc->sel(now);
    return sel.empty() ? "" : to_hex(sel.back().record);
  }
};

TEST_F(Event, ThePlatformEventOfSystemSoftwareNamesItsGenerator) {
  EXPECT_EQ(ask("04 02 41 03 0f 01 6f a1 02 03"), "00");
  EXPECT_EQ(last(), "01 00 02 00 00 00 60 41 00 03 0f 01 6f a1 02 03");
  EXPECT_EQ(ask("04 02 41 04 0f 01 6f 01"), "00") << "bytes 2 and 3 may be absent";
  EXPECT_EQ(last(), "02 00 02 00 00 00 60 41 00 04 0f 01 6f 01 ff ff");
  EXPECT_EQ(ask("04 02 41 04 0f 01 6f"), "c7");
  EXPECT_EQ(ask("04 02 41 04 0f 01 6f 01 02 03 04"), "c7");
  EXPECT_EQ(ask("04 02 41 02 0f 01 6f a1 02 03"), "cc") << "an event message revision that is none";
  EXPECT_EQ(bmc->sel(now).size(), 2u);
}

TEST_F(Event, OnTheIpmbTheRequesterIsTheGenerator) {
  context.channel = kChannelPrimaryIpmb;
  context.requester_address = 0x82;
  context.requester_lun = 1;
  EXPECT_EQ(ask("04 02 04 01 30 01 57 55 50"), "00");
  EXPECT_EQ(last(), "01 00 02 00 00 00 60 82 01 04 01 30 01 57 55 50");
  EXPECT_EQ(ask("04 02 04 01 30 01 57"), "00");
  EXPECT_EQ(ask("04 02 04 01 30 01"), "c7");
  EXPECT_EQ(ask("04 02 41 04 01 30 01 57 55 50"), "c7") << "eight bytes are the system interface's form";
}

TEST_F(Event, GoesToTheBufferAndSetsAttentionOnlyWhenEnabled) {
  ask("04 02 41 04 0f 01 6f a1 02 03");
  EXPECT_FALSE(bmc->attention());
  EXPECT_EQ(ask("06 2e 0c"), "00");
  ask("04 02 41 04 0f 01 6f a1 02 03");
  EXPECT_TRUE(bmc->attention());
  EXPECT_EQ(ask("06 35"), "00 02 00 02 00 00 00 60 41 00 04 0f 01 6f a1 02 03");
}

TEST_F(Event, IsNotLoggedWhenLoggingIsOff) {
  EXPECT_EQ(ask("06 2e 04"), "00");
  EXPECT_EQ(ask("04 02 41 04 0f 01 6f a1 02 03"), "00");
  EXPECT_TRUE(bmc->sel(now).empty());
  EXPECT_EQ(ask("06 35"), "00 00 00 02 00 00 00 60 41 00 04 0f 01 6f a1 02 03") << "record id 0: in no log";
}

TEST_F(Event, AFullLogIsTheOverflowFlagsBusinessABrokenDiskIsNot) {
  for (int i = 0; i < 4; ++i) EXPECT_EQ(ask("04 02 41 04 0f 01 6f a1 02 03"), "00");
  EXPECT_EQ(bmc->sel(now).size(), 3u);
  EXPECT_EQ(ask("0a 40").substr(42), "8f");
  ASSERT_TRUE(bmc->sel_clear(now).ok());
  store->broken = true;
  EXPECT_EQ(ask("04 02 41 04 0f 01 6f a1 02 03"), "ff");
}

TEST_F(Event, TheReceiverIsThisBmcUntilToldOtherwiseAndAfterAColdReset) {
  EXPECT_EQ(ask("04 01"), "00 20 00");
  EXPECT_EQ(ask("04 00 ff 00"), "00");
  EXPECT_EQ(ask("04 01"), "00 ff 00");
  EXPECT_EQ(ask("04 00 21 00"), "cc") << "an odd address is none";
  EXPECT_EQ(ask("04 00 20 04"), "cc");
  EXPECT_EQ(ask("04 00 20"), "c7");
  EXPECT_EQ(ask("04 00 20 00 00"), "c7");
  EXPECT_EQ(ask("04 01 00"), "c7");
  bmc->reset(true, now);
  EXPECT_EQ(ask("04 01"), "00 20 00");
}

TEST_F(Event, ADisabledReceiverSilencesTheSensorsAndSettingItTellsWhatHolds) {
  EXPECT_EQ(ask("04 00 ff 00"), "00");
  ASSERT_TRUE(bmc->set_sensor_value("CPU Temp", 95, now).ok());
  EXPECT_TRUE(bmc->sel(now).empty());
  EXPECT_EQ(ask("04 00 20 00"), "00");
  EXPECT_EQ(last(), "01 00 02 00 00 00 60 20 00 04 01 30 01 59 5f 5a");
}

TEST_F(Event, AReceiverOnTheIpmbGetsAMessageInsteadOfThisLog) {
  EXPECT_EQ(ask("04 00 82 00"), "00");
  ASSERT_TRUE(bmc->set_sensor_value("CPU Temp", 95, now).ok());
  EXPECT_TRUE(bmc->sel(now).empty());
  EXPECT_NE(bmc->next_due(), kNever) << "the satellite's answer is under way";
  pass(seconds(1));
  EXPECT_FALSE(bmc->attention()) << "the answer is the BMC's, not system software's";
}

TEST_F(Event, IsToldToPeopleWithNameAndValues) {
  ASSERT_TRUE(bmc->set_sensor_value("CPU Temp", 95, now).ok());
  EXPECT_THAT(recorder.texts(Change::Kind::kEvent),
              ElementsAre("CPU Temp: upper critical going high, reading 95 (threshold 90) degrees C, asserted"));
  EXPECT_THAT(recorder.values(Change::Kind::kEvent), ElementsAre(0x30));
}

}  // namespace
}  // namespace bmcpair::firmware::testing
