#include "bmc_emu/firmware/sel.h"

#include "bmc_emu/firmware/testing.h"

namespace bmcpair::firmware::testing {
namespace {

using ::testing::HasSubstr;

constexpr std::string_view kEvent = "00 00 02 00 00 00 00 41 00 04 01 30 01 57 55 50";

class Sel : public FirmwareTest {
 protected:
  BmcConfig config() const override {
    BmcConfig c;
    c.sel_entries_max = 4;
    c.unix_seconds_at_zero = 0x60000000 - 1000;  // the SEL's clock starts at 60000000h
    c.sel_preload = preload;
    c.cold_reset_offline = Duration(0);
    return c;
  }
  std::string add(std::string_view record = kEvent) { return ask("0a 44 " + std::string(record)); }
  std::string reserve() {  // the two bytes, as a request carries them
    return ask("0a 42").substr(3);
  }
  std::string get(uint16_t id, std::string_view offset_count = "00 ff", std::string_view reservation = "00 00") {
    Bytes bytes{static_cast<uint8_t>(id), static_cast<uint8_t>(id >> 8)};
    return ask("0a 43 " + std::string(reservation) + " " + to_hex(bytes) + " " + std::string(offset_count));
  }
  std::vector<Bytes> preload;
};

TEST_F(Sel, InfoOfAnEmptyLogSaysNothingWasEverAddedOrErased) {
  EXPECT_EQ(ask("0a 40"), "00 51 00 00 40 00 ff ff ff ff ff ff ff ff 0f");
  EXPECT_EQ(ask("0a 41"), "00 04 00 10 00 04 00 04 00 01");
  EXPECT_EQ(get(0), "cb");
  EXPECT_EQ(get(0xffff), "cb");
}

TEST_F(Sel, EveryCommandRefusesOtherLengths) {
  for (std::string_view bad :
       {"0a 40 00", "0a 41 00", "0a 42 00", "0a 43 00 00 00 00 00", "0a 43 00 00 00 00 00 ff 00", "0a 44",
        "0a 44 00 00 02 00 00 00 00 41 00 04 01 30 01 57 55", "0a 44 00 00 02 00 00 00 00 41 00 04 01 30 01 57 55 50 00",
        "0a 45 00 00 00 00 00 00", "0a 46 00 00 00", "0a 46 00 00 00 00 00", "0a 47 00 00 43 4c 52",
        "0a 47 00 00 43 4c 52 aa 00", "0a 48 00", "0a 49 00 00 00", "0a 49 00 00 00 00 00", "0a 5c 00", "0a 5d 00",
        "0a 5d 00 00 00"}) {
    EXPECT_EQ(ask(bad), "c7") << bad;
  }
  EXPECT_EQ(ask("0a 40", 1), "c2");
}

TEST_F(Sel, AnAddedEventGetsItsIdAndTheTime) {
  EXPECT_EQ(add(), "00 01 00");
  now += seconds(5);
  EXPECT_EQ(add(), "00 02 00");
  EXPECT_EQ(get(0), "00 02 00 01 00 02 00 00 00 60 41 00 04 01 30 01 57 55 50");
  EXPECT_EQ(get(1), get(0));
  EXPECT_EQ(get(2), "00 ff ff 02 00 02 05 00 00 60 41 00 04 01 30 01 57 55 50");
  EXPECT_EQ(get(0xffff), get(2));
  EXPECT_EQ(get(3), "cb");
  EXPECT_EQ(ask("0a 40"), "00 51 02 00 20 00 05 00 00 60 ff ff ff ff 0f");
  EXPECT_EQ(recorder.values(Change::Kind::kSelAdded), (std::vector<uint32_t>{1, 2}));
}

TEST_F(Sel, OemRecordsKeepWhatIsTheirs) {
  EXPECT_EQ(add("00 00 c0 11 22 33 44 01 02 03 0a 0b 0c 0d 0e 0f"), "00 01 00");
  EXPECT_EQ(get(1), "00 ff ff 01 00 c0 00 00 00 60 01 02 03 0a 0b 0c 0d 0e 0f");
  EXPECT_EQ(add("00 00 f0 11 22 33 44 01 02 03 0a 0b 0c 0d 0e 0f"), "00 02 00");
  EXPECT_EQ(get(2), "00 ff ff 02 00 f0 11 22 33 44 01 02 03 0a 0b 0c 0d 0e 0f");
  for (std::string_view type : {"00", "01", "03", "bf"}) {
    EXPECT_EQ(add("00 00 " + std::string(type) + " 00 00 00 00 41 00 04 01 30 01 57 55 50"), "80") << type;
  }
}

TEST_F(Sel, PartsOfARecordNeedAReservation) {
  add();
  EXPECT_EQ(get(1, "07 02"), "c5");
  EXPECT_EQ(get(1, "00 03"), "00 ff ff 01 00 02");
  std::string reservation = reserve();
  EXPECT_EQ(get(1, "07 02", reservation), "00 ff ff 41 00");
  EXPECT_EQ(get(1, "07 ff", reservation), "00 ff ff 41 00 04 01 30 01 57 55 50");
  EXPECT_EQ(get(1, "0f 01", reservation), "00 ff ff 50");
  EXPECT_EQ(get(1, "10 01", reservation), "c9");
  EXPECT_EQ(get(1, "0f 02", reservation), "ca");
  EXPECT_EQ(get(1, "00 11"), "ca");
  EXPECT_EQ(get(1, "00 ff", "34 12"), "c5");
}

TEST_F(Sel, AReservationEndsWithTheNextOneAnAddADeleteAClearAndAReset) {
  add();
  std::string first = reserve();
  std::string second = reserve();
  EXPECT_NE(first, second);
  EXPECT_EQ(get(1, "01 01", first), "c5");
  EXPECT_EQ(get(1, "01 01", second), "00 ff ff 00");
  add();
  EXPECT_EQ(get(1, "01 01", second), "c5");
  std::string third = reserve();
  EXPECT_EQ(ask("0a 46 " + third + " 02 00"), "00 02 00");
  EXPECT_EQ(get(1, "01 01", third), "c5");
  std::string fourth = reserve();
  bmc->reset(true, now);
  EXPECT_EQ(get(1, "01 01", fourth), "c5");
  std::string fifth = reserve();
  EXPECT_EQ(ask("0a 47 " + fifth + " 43 4c 52 aa"), "00 01");
  EXPECT_EQ(ask("0a 47 " + fifth + " 43 4c 52 aa"), "c5");
}

TEST_F(Sel, DeleteTakesOneAndLeavesTheIdsOfTheOthers) {
  add(), add(), add();
  EXPECT_EQ(ask("0a 46 00 00 02 00"), "c5");
  EXPECT_EQ(ask("0a 46 " + reserve() + " 09 00"), "cb");
  now += seconds(9);
  EXPECT_EQ(ask("0a 46 " + reserve() + " 02 00"), "00 02 00");
  EXPECT_EQ(get(1).substr(3, 5), "03 00");
  EXPECT_EQ(get(2), "cb");
  EXPECT_EQ(ask("0a 40"), "00 51 02 00 20 00 00 00 00 60 09 00 00 60 0f");
  EXPECT_EQ(ask("0a 46 " + reserve() + " ff ff"), "00 03 00");
  EXPECT_EQ(ask("0a 46 " + reserve() + " 00 00"), "00 01 00");
  EXPECT_EQ(get(0), "cb");
  EXPECT_EQ(add(), "00 04 00") << "ids of the deleted are not given again at once";
}

TEST_F(Sel, ClearWantsItsWordItsActionAndAReservation) {
  add();
  std::string reservation = reserve();
  EXPECT_EQ(ask("0a 47 " + reservation + " 43 4c 53 aa"), "cc");
  EXPECT_EQ(ask("0a 47 " + reservation + " 63 6c 72 aa"), "cc");
  EXPECT_EQ(ask("0a 47 " + reservation + " 43 4c 52 55"), "cc");
  EXPECT_EQ(ask("0a 47 00 00 43 4c 52 aa"), "c5");
  EXPECT_EQ(bmc->sel(now).size(), 1u);
  EXPECT_EQ(ask("0a 47 " + reservation + " 43 4c 52 aa"), "00 01");
  EXPECT_EQ(ask("0a 47 " + reservation + " 43 4c 52 00"), "00 01") << "the erasure has ended the reservation";
  EXPECT_EQ(ask("0a 40"), "00 51 00 00 40 00 00 00 00 60 00 00 00 60 0f");
  EXPECT_EQ(recorder.of(Change::Kind::kSelCleared).size(), 1u);
}

TEST_F(Sel, AFullLogRefusesAndShowsTheOverflowUntilCleared) {
  for (int i = 0; i < 4; ++i) EXPECT_EQ(add().substr(0, 2), "00");
  EXPECT_EQ(ask("0a 40").substr(42), "0f");
  EXPECT_EQ(add(), "c4");
  EXPECT_EQ(ask("0a 40"), "00 51 04 00 00 00 00 00 00 60 ff ff ff ff 8f");
  EXPECT_EQ(ask("0a 41"), "00 04 00 10 00 00 00 00 00 01");
  boot();
  EXPECT_EQ(ask("0a 40").substr(42), "8f");
  EXPECT_EQ(ask("0a 47 " + reserve() + " 43 4c 52 aa"), "00 01");
  EXPECT_EQ(ask("0a 40").substr(42), "0f");
}

TEST_F(Sel, PartialAddPutsARecordTogether) {
  EXPECT_EQ(ask("0a 45 00 00 00 00 00 00 00"), "c5");
  std::string r = reserve();
  EXPECT_EQ(ask("0a 45 " + r + " 00 00 01 00 00"), "c9");
  EXPECT_EQ(ask("0a 45 " + r + " 07 00 01 00 00"), "cb");
  EXPECT_EQ(ask("0a 45 " + r + " 00 00 00 02 00"), "cc");
  EXPECT_EQ(ask("0a 45 " + r + " 00 00 00 00 00 00 02 00 00 00 00 41"), "00 01 00");
  EXPECT_TRUE(bmc->sel(now).empty());
  EXPECT_EQ(ask("0a 45 " + r + " 01 00 09 00 30"), "c9") << "a gap";
  EXPECT_EQ(ask("0a 45 " + r + " 01 00 08 01 00 04 01 30 01 57 55 50"), "00 01 00");
  EXPECT_EQ(get(1), "00 ff ff 01 00 02 00 00 00 60 41 00 04 01 30 01 57 55 50");
  r = reserve();
  EXPECT_EQ(ask("0a 45 " + r + " 00 00 00 01 00 00 02 00 00 00 00 41"), "80") << "half a record is none";
  EXPECT_EQ(ask("0a 45 " + r + " 00 00 00 00 00 00 02 00 00 00 00 41 00 04 01 30 01 57 55 50"), "00 02 00");
  EXPECT_EQ(ask("0a 45 " + r + " 02 00 10 01 00"), "80") << "longer than a record";
  EXPECT_EQ(ask("0a 45 " + r + " 02 00 10 01 00"), "cb") << "what was begun is gone";
  EXPECT_EQ(bmc->sel(now).size(), 1u);
}

TEST_F(Sel, TheClockRunsFromWhatItWasSetTo) {
  EXPECT_EQ(ask("0a 48"), "00 00 00 00 60");
  EXPECT_EQ(ask("0a 49 00 00 00 30"), "00");
  now += seconds(61);
  EXPECT_EQ(ask("0a 48"), "00 3d 00 00 30");
  EXPECT_EQ(ask("0a 28"), "00 3d 00 00 30") << "the SDR repository's clock is the same";
  boot();
  EXPECT_EQ(ask("0a 48"), "00 3d 00 00 30");
  add();
  EXPECT_EQ(get(1).substr(9 + 9, 11), "3d 00 00 30");
}

TEST_F(Sel, TheUtcOffsetIsKeptAndBounded) {
  EXPECT_EQ(ask("0a 5c"), "00 ff 07");
  EXPECT_EQ(ask("0a 5d c4 ff"), "00");  // -60 minutes
  EXPECT_EQ(ask("0a 5d a1 05"), "c9");  // 1441
  EXPECT_EQ(ask("0a 5d 5f fa"), "c9");  // -1441
  boot();
  EXPECT_EQ(ask("0a 5c"), "00 c4 ff");
  EXPECT_EQ(ask("0a 5d a0 05"), "00");
  EXPECT_EQ(ask("0a 5d 60 fa"), "00");
  EXPECT_EQ(ask("0a 5d ff 07"), "00");
  EXPECT_EQ(ask("0a 48"), "00 00 00 00 60") << "the offset does not move the clock";
}

TEST_F(Sel, WhatWasAcknowledgedSurvivesARestart) {
  add();
  add();
  std::string first = get(1);
  boot();
  EXPECT_EQ(get(1), first);
  EXPECT_EQ(add(), "00 03 00");
  EXPECT_EQ(ask("0a 46 " + reserve() + " 01 00"), "00 01 00");
  boot();
  EXPECT_EQ(get(1), "cb");
  EXPECT_EQ(get(0).substr(9, 5), "02 00");
}

TEST_F(Sel, ABrokenDiskIsNoAcknowledgement) {
  add();
  store->broken = true;
  EXPECT_EQ(add(), "ff");
  EXPECT_EQ(ask("0a 46 " + reserve() + " 01 00"), "ff");
  EXPECT_EQ(ask("0a 47 " + reserve() + " 43 4c 52 aa"), "ff");
  EXPECT_EQ(ask("0a 49 00 00 00 30"), "ff");
  EXPECT_EQ(ask("0a 5d 00 00"), "ff");
  EXPECT_EQ(bmc->sel(now).size(), 1u);
  EXPECT_EQ(ask("0a 48"), "00 00 00 00 60");
  store->broken = false;
  EXPECT_EQ(add(), "00 02 00");
}

TEST_F(Sel, IdsWrapAroundWithoutTheReservedOnesAndWithoutThoseInUse) {
  add();
  // Settings as they are after 65532 more entries, all deleted since.
  Batch batch;
  batch.put.push_back({"sel_meta", 0, {0, 0, 0, 0, 0x60, 0xff, 0xff, 0xff, 0xff, 0xfd, 0xff, 1}});
  ASSERT_TRUE(store->commit(batch).ok());
  boot();
  EXPECT_EQ(add(), "00 fe ff");
  EXPECT_EQ(add(), "00 02 00") << "0000h and FFFFh are none, 0001h is in use";
  EXPECT_EQ(get(1).substr(3, 5), "fe ff");
  EXPECT_EQ(get(0xfffe).substr(3, 5), "02 00");
  EXPECT_EQ(get(2).substr(3, 5), "ff ff");
  boot();
  EXPECT_EQ(get(0xfffe).substr(3, 5), "02 00") << "the order survives too";
}

TEST_F(Sel, ThePreloadIsAddedOnceAndKeepsItsTimes) {
  preload = {*from_hex("77 00 02 11 22 33 44 20 00 04 01 30 01 57 55 50"),
             *from_hex("78 00 02 00 00 00 00 20 00 04 01 30 01 57 55 50")};
  boot();
  EXPECT_EQ(get(1), "00 02 00 01 00 02 11 22 33 44 20 00 04 01 30 01 57 55 50");
  EXPECT_EQ(get(2), "00 ff ff 02 00 02 00 00 00 60 20 00 04 01 30 01 57 55 50");
  boot();
  EXPECT_EQ(bmc->sel(now).size(), 2u);
  ASSERT_TRUE(bmc->sel_clear(now).ok());
  boot();
  EXPECT_TRUE(bmc->sel(now).empty()) << "a cleared log stays clear";
}

TEST_F(Sel, AnImpossiblePreloadIsRefusedByIndex) {
  preload = {Bytes(16, 2), Bytes(15, 2)};
  auto made = Bmc::create(config(), std::make_shared<MemoryStore>(), nullptr, now);
  ASSERT_FALSE(made.ok());
  EXPECT_THAT(made.error().message, HasSubstr("sel_preload[1]"));
  preload.assign(5, Bytes(16, 2));
  made = Bmc::create(config(), std::make_shared<MemoryStore>(), nullptr, now);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code, ErrorCode::kInvalidArgument);
}

TEST_F(Sel, StoredNonsenseIsCorruptNotRead) {
  for (auto [table, value] : std::vector<std::pair<std::string, Bytes>>{
           {"sel", Bytes(15, 1)}, {"sel", Bytes(16, 0)}, {"sel", Bytes(16, 0xff)}, {"sel_meta", Bytes(3, 1)}}) {
    auto other = std::make_shared<MemoryStore>();
    Batch batch;
    batch.put.push_back({table, 0, value});
    ASSERT_TRUE(other->commit(batch).ok());
    auto made = Bmc::create(config(), other, nullptr, now);
    ASSERT_FALSE(made.ok()) << table;
    EXPECT_EQ(made.error().code, ErrorCode::kCorrupt);
  }
}

TEST_F(Sel, TheHandOnTheMachineAddsAnyRecordOf16Bytes) {
  EXPECT_EQ(*bmc->sel_add(*from_hex(kEvent), now), 1);
  auto refused = bmc->sel_add(Bytes(15, 0), now);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(bmc->sel(now).at(0).id, 1);
}

}  // namespace
}  // namespace bmcpair::firmware::testing
