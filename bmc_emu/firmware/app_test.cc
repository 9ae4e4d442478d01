#include "bmc_emu/firmware/app.h"

#include "bmc_emu/firmware/testing.h"

namespace bmcpair::firmware::testing {
namespace {

class App : public FirmwareTest {
 protected:
  BmcConfig config() const override {
    BmcConfig c;
    c.identity.device_id = 0x31;
    c.identity.device_revision = 3;
    c.identity.firmware_major = 2;
    c.identity.firmware_minor_bcd = 0x47;
    c.identity.manufacturer_id = 0x0123cd;
    c.identity.product_id = 0xbeef;
    c.identity.aux_firmware = {1, 2, 3, 4};
    for (uint8_t i = 0; i < 16; ++i) {
      c.identity.device_guid[i] = i;
      c.identity.system_guid[i] = static_cast<uint8_t>(0x10 + i);
    }
    c.i2c_devices.push_back({0x02, 0xa0, Bytes{10, 11, 12, 13, 14, 15, 16, 17}, true});
    c.i2c_devices.push_back({0x02, 0xa2, Bytes{1, 2}, false});
    return c;
  }
};

TEST_F(App, GetDeviceIdGivesFifteenBytesInTheOrderOfTheTable) {
  EXPECT_EQ(ask("06 01"), "00 31 83 02 47 02 bf cd 23 01 ef be 01 02 03 04");
  EXPECT_EQ(ask("06 01 00"), "c7");
}

TEST_F(App, GetDeviceIdTellsWhenThereAreNoDeviceSdrs) {
  bmc->state().config.identity.provides_device_sdrs = false;
  EXPECT_EQ(ask("06 01").substr(0, 8), "00 31 03");
}

TEST_F(App, GuidsAreSixteenBytesAndDifferent) {
  EXPECT_EQ(ask("06 08"), "00 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f");
  EXPECT_EQ(ask("06 37"), "00 10 11 12 13 14 15 16 17 18 19 1a 1b 1c 1d 1e 1f");
  EXPECT_EQ(ask("06 37 00"), "c7");
  context.privilege = Privilege::kNone;
  EXPECT_EQ(ask("06 37").substr(0, 2), "00") << "Get System GUID needs no privilege";
  EXPECT_EQ(ask("06 08"), "d4");
}

TEST_F(App, SelfTestPasses) {
  EXPECT_EQ(ask("06 04"), "00 55 00");
  EXPECT_EQ(ask("06 04 00"), "c7");
}

TEST_F(App, AcpiPowerStatesAreSetOneByOneAndReadBack) {
  EXPECT_EQ(ask("06 07"), "00 00 00");
  EXPECT_EQ(ask("06 06 83 00"), "00");
  EXPECT_EQ(ask("06 07"), "00 03 00");
  EXPECT_EQ(ask("06 06 05 82"), "00") << "without bit 7 the value does not count";
  EXPECT_EQ(ask("06 07"), "00 03 02");
  EXPECT_EQ(ask("06 06 ff ff"), "00") << "7Fh: no change";
  EXPECT_EQ(ask("06 07"), "00 03 02");
  EXPECT_EQ(ask("06 06 aa aa"), "00");
  EXPECT_EQ(ask("06 07"), "00 2a 2a");
}

TEST_F(App, AcpiPowerStatesOutsideTheTableAreRefusedWhole) {
  EXPECT_EQ(ask("06 06 8b 80"), "cc");
  EXPECT_EQ(ask("06 06 83 84"), "cc");
  EXPECT_EQ(ask("06 07"), "00 00 00");
  EXPECT_EQ(ask("06 06 80"), "c7");
  EXPECT_EQ(ask("06 06 80 80 80"), "c7");
}

TEST_F(App, AcpiFollowsThePower) {
  ASSERT_TRUE(bmc->power(PowerAction::kOff, now).ok());
  EXPECT_EQ(ask("06 07"), "00 05 00");
  ASSERT_TRUE(bmc->power(PowerAction::kOn, now).ok());
  EXPECT_EQ(ask("06 07"), "00 00 00");
}

TEST_F(App, ColdResetAnswersTellsTheBoardAndIsAwayForItsTime) {
  EXPECT_EQ(ask("06 02 00"), "c7");
  EXPECT_EQ(ask("06 02"), "00");
  auto resets = recorder.of(Change::Kind::kReset);
  ASSERT_EQ(resets.size(), 1u);
  EXPECT_EQ(resets[0].value, 1u);
  EXPECT_EQ(resets[0].duration, seconds(2));
  EXPECT_EQ(ask("06 01"), "d2");
  EXPECT_EQ(bmc->next_due(), now + seconds(2));
  pass(seconds(2));
  EXPECT_EQ(ask("06 01").substr(0, 2), "00");
}

TEST_F(App, WarmResetIsShorterAndKeepsTheEnables) {
  EXPECT_EQ(ask("06 2e 0f"), "00");
  EXPECT_EQ(ask("06 03"), "00");
  auto resets = recorder.of(Change::Kind::kReset);
  ASSERT_EQ(resets.size(), 1u);
  EXPECT_EQ(resets[0].value, 0u);
  EXPECT_EQ(resets[0].duration, milliseconds(200));
  pass(milliseconds(200));
  EXPECT_EQ(ask("06 2f"), "00 0f");
  bmc->reset(true, now);
  pass(seconds(2));
  EXPECT_EQ(ask("06 2f"), "00 08");
}

TEST_F(App, ResetsNeedAnAdministrator) {
  context.privilege = Privilege::kOperator;
  EXPECT_EQ(ask("06 02"), "d4");
  EXPECT_EQ(ask("06 03"), "d4");
  EXPECT_TRUE(recorder.of(Change::Kind::kReset).empty());
}

TEST_F(App, BtCapabilitiesCountTheSequenceByteButNeverPassOneByte) {
  context.interface_kind = registers::InterfaceKind::kBt;
  context.request_bytes_max = 63;
  context.response_bytes_max = 70;
  EXPECT_EQ(ask("06 36"), "00 01 40 47 05 02");
  context.request_bytes_max = 272;
  EXPECT_EQ(ask("06 36"), "00 01 ff 47 05 02");
  EXPECT_EQ(ask("06 36 00"), "c7");
}

TEST_F(App, SystemInterfaceCapabilitiesAreOfKcsAndSmic) {
  context.request_bytes_max = 255;
  EXPECT_EQ(ask("06 57 01"), "00 00 00 ff");
  EXPECT_EQ(ask("06 57 02"), "00 00 00 ff");
  EXPECT_EQ(ask("06 57 00"), "cc");
  EXPECT_EQ(ask("06 57 03"), "cc");
  EXPECT_EQ(ask("06 57"), "c7");
  EXPECT_EQ(ask("06 57 01 00"), "c7");
}

constexpr std::string_view kZeros = " 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00";

TEST_F(App, SystemInfoBlocksReadBackAndAreZeroBefore) {
  EXPECT_EQ(ask("06 59 00 02 00 00"), "00 11 00" + std::string(kZeros));
  EXPECT_EQ(ask("06 58 02 00 00 05 68 6f 73 74 31"), "00");
  EXPECT_EQ(ask("06 59 00 02 00 00"), "00 11 00 00 05 68 6f 73 74 31 00 00 00 00 00 00 00 00 00");
  EXPECT_EQ(ask("06 58 02 01 61 62"), "00");
  EXPECT_EQ(ask("06 59 00 02 01 00").substr(0, 14), "00 11 01 61 62");
  EXPECT_EQ(ask("06 59 80 02 00 00"), "00 11") << "revision only";
}

TEST_F(App, SystemInfoRefusesWhatItDoesNotKnow) {
  EXPECT_EQ(ask("06 59 00 08 00 00"), "80");
  EXPECT_EQ(ask("06 58 08 00 00"), "80");
  EXPECT_EQ(ask("06 59 01 02 00 00"), "cc") << "reserved bits";
  EXPECT_EQ(ask("06 59 00 02 00 01"), "cc") << "block selector";
  EXPECT_EQ(ask("06 59 00 00 01 00"), "cc") << "set in progress has no sets";
  EXPECT_EQ(ask("06 59 00 02 11 00"), "c9");
  EXPECT_EQ(ask("06 58 02 11 00"), "c9");
  EXPECT_EQ(ask("06 58 02 00 03 00"), "cc") << "encoding";
  EXPECT_EQ(ask("06 58 02 00"), "c7") << "no data";
  EXPECT_EQ(ask("06 58 02"), "c7");
  EXPECT_EQ(ask("06 58 02 00 00 11 22 33 44 55 66 77 88 99 aa bb cc dd ee ff 00"), "c7");
  EXPECT_EQ(ask("06 59 00 02 00"), "c7");
  EXPECT_EQ(ask("06 59 00 02 00 00 00"), "c7");
}

TEST_F(App, SystemInfoSetInProgressIsNotTakenTwice) {
  EXPECT_EQ(ask("06 59 00 00 00 00"), "00 11 00");
  EXPECT_EQ(ask("06 58 00 01"), "00");
  EXPECT_EQ(ask("06 58 00 01"), "81");
  EXPECT_EQ(ask("06 59 00 00 00 00"), "00 11 01");
  EXPECT_EQ(ask("06 58 00 02"), "cc") << "no rollback, no commit";
  EXPECT_EQ(ask("06 58 00 00 00"), "c7");
  bmc->host_was_reset(now);
  EXPECT_EQ(ask("06 59 00 00 00 00"), "00 11 00") << "a system reset completes it";
}

TEST_F(App, SystemNameSurvivesARestartAndTheRunningSystemsNameAHostResetDoesNot) {
  EXPECT_EQ(ask("06 58 02 00 00 01 41"), "00");
  EXPECT_EQ(ask("06 58 04 00 00 01 42"), "00");
  bmc->host_was_reset(now);
  EXPECT_EQ(ask("06 59 00 02 00 00").substr(0, 17), "00 11 00 00 01 41");
  EXPECT_EQ(ask("06 59 00 04 00 00"), "00 11 00" + std::string(kZeros));
  boot();
  EXPECT_EQ(ask("06 59 00 02 00 00").substr(0, 17), "00 11 00 00 01 41");
}

TEST_F(App, WhatCouldNotBeStoredIsNotAcknowledgedAndNotShown) {
  store->broken = true;
  EXPECT_EQ(ask("06 58 02 00 00 01 41"), "ff");
  EXPECT_EQ(ask("06 59 00 02 00 00"), "00 11 00" + std::string(kZeros));
  EXPECT_EQ(ask("06 58 04 00 00 01 42"), "00") << "volatile: nothing to store";
  EXPECT_EQ(ask("06 52 02 a0 00 00 ff"), "82");
  EXPECT_EQ(ask("06 52 02 a0 01 00"), "00 0a");
}

TEST_F(App, MasterWriteReadSetsTheOffsetAndReadsOn) {
  EXPECT_EQ(ask("06 52 02 a0 03 02"), "00 0c 0d 0e");
  EXPECT_EQ(ask("06 52 02 a0 02"), "00 0f 10") << "reading goes on where it stopped";
  EXPECT_EQ(ask("06 52 02 a0 00 01 ee"), "00");
  EXPECT_EQ(ask("06 52 02 a0 03 00"), "00 0a ee 0c");
  boot();
  EXPECT_EQ(ask("06 52 02 a0 03 00"), "00 0a ee 0c") << "a memory keeps what is written";
}

TEST_F(App, MasterWriteReadSaysWhatWentWrongOnTheBus) {
  EXPECT_EQ(ask("06 52 04 a0 01"), "82") << "no such bus";
  EXPECT_EQ(ask("06 52 02 a4 01"), "83") << "no such device";
  EXPECT_EQ(ask("06 52 02 a2 00 00 07"), "83") << "write protected";
  EXPECT_EQ(ask("06 52 02 a2 02 00"), "00 01 02");
  EXPECT_EQ(ask("06 52 02 a0 04 06"), "84 10 11") << "past the end";
  EXPECT_EQ(ask("06 52 02 a0 00 07 01 02"), "83") << "writing past the end";
  EXPECT_EQ(ask("06 52 02 a0 01 07"), "00 11") << "a refused write changes nothing";
  EXPECT_EQ(ask("06 52 02 a1 01"), "cc");
  EXPECT_EQ(ask("06 52 02 a0"), "c7");
  context.response_bytes_max = 6;
  EXPECT_EQ(ask("06 52 02 a0 04 00"), "ca");
  EXPECT_EQ(ask("06 52 02 a0 03 00"), "00 0a 0b 0c");
}

TEST(AppStore, AStoreThatCannotBeReadOrIsMalformedStopsTheBmcWithAReason) {
  auto store = std::make_shared<BreakableStore>();
  store->broken = true;
  auto unreadable = Bmc::create({}, store, nullptr, Instant{});
  ASSERT_FALSE(unreadable.ok());
  EXPECT_EQ(unreadable.error().code, ErrorCode::kIo);
  store->broken = false;
  Batch batch;
  batch.put.push_back({"settings.info", 0x0200, Bytes{1, 2, 3}});
  ASSERT_TRUE(store->commit(batch).ok());
  auto corrupt = Bmc::create({}, store, nullptr, Instant{});
  ASSERT_FALSE(corrupt.ok());
  EXPECT_EQ(corrupt.error().code, ErrorCode::kCorrupt);
  EXPECT_NE(corrupt.error().message.find("512"), std::string::npos);
}

}  // namespace
}  // namespace bmcpair::firmware::testing
