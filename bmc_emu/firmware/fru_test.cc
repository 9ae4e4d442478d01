#include "bmc_emu/firmware/fru.h"

#include "bmc_emu/firmware/testing.h"

namespace bmcpair::firmware::testing {
namespace {

using ::testing::HasSubstr;

class Fru : public FirmwareTest {
 protected:
  BmcConfig config() const override {
    BmcConfig c;
    FruConfig board;
    board.id = 0;
    board.size = 600;
    board.content = {0x01, 0x02, 0x03, 0x04};
    FruConfig psu;
    psu.id = 5;
    psu.size = 8;
    c.frus = {board, psu};
    return c;
  }
};

TEST_F(Fru, AreaInfoGivesTheSizeInBytes) {
  EXPECT_EQ(ask("0a 10 00"), "00 58 02 00");
  EXPECT_EQ(ask("0a 10 05"), "00 08 00 00");
  EXPECT_EQ(ask("0a 10 01"), "cb");
  EXPECT_EQ(ask("0a 10"), "c7");
  EXPECT_EQ(ask("0a 10 00 00"), "c7");
}

TEST_F(Fru, ReadGivesContentThenFillAndSaysHowMuch) {
  EXPECT_EQ(ask("0a 11 00 00 00 06"), "00 06 01 02 03 04 ff ff");
  EXPECT_EQ(ask("0a 11 00 02 00 01"), "00 01 03");
  EXPECT_EQ(ask("0a 11 05 06 00 08"), "00 02 ff ff") << "less at the end of the area";
  EXPECT_EQ(ask("0a 11 05 08 00 01"), "c9");
  EXPECT_EQ(ask("0a 11 00 ff ff 01"), "c9");
  EXPECT_EQ(ask("0a 11 07 00 00 01"), "cb");
  EXPECT_EQ(ask("0a 11 00 00 00 00"), "cc");
  EXPECT_EQ(ask("0a 11 00 00 00"), "c7");
  EXPECT_EQ(ask("0a 11 00 00 00 01 00"), "c7");
}

TEST_F(Fru, AReadThatDoesNotFitTheInterfaceIsRefusedAsSuch) {
  context.response_bytes_max = 32;
  EXPECT_EQ(ask("0a 11 00 00 00 1d"), "ca");
  EXPECT_EQ(ask("0a 11 00 00 00 1c").substr(0, 5), "00 1c");
}

TEST_F(Fru, AWriteIsReadBackAndSurvives) {
  EXPECT_EQ(ask("0a 12 00 fe 00 aa bb cc dd"), "00 04") << "over a page's end";
  EXPECT_EQ(ask("0a 11 00 fd 00 06"), "00 06 ff aa bb cc dd ff");
  EXPECT_EQ(ask("0a 12 00 00 00 77"), "00 01");
  boot();
  EXPECT_EQ(ask("0a 11 00 fd 00 06"), "00 06 ff aa bb cc dd ff");
  EXPECT_EQ(ask("0a 11 00 00 00 04"), "00 04 77 02 03 04");
  EXPECT_EQ(ask("0a 11 05 00 00 08"), "00 08 ff ff ff ff ff ff ff ff");
}

TEST_F(Fru, AWriteOutsideTheAreaWritesNothing) {
  EXPECT_EQ(ask("0a 12 05 07 00 01 02"), "c9");
  EXPECT_EQ(ask("0a 12 05 08 00 01"), "c9");
  EXPECT_EQ(ask("0a 12 09 00 00 01"), "cb");
  EXPECT_EQ(ask("0a 12 05 00 00"), "c7");
  EXPECT_EQ(ask("0a 12 05 07 00 01"), "00 01");
  EXPECT_EQ(ask("0a 11 05 00 00 08"), "00 08 ff ff ff ff ff ff ff 01");
}

TEST_F(Fru, ABrokenDiskIsNoAcknowledgement) {
  store->broken = true;
  EXPECT_EQ(ask("0a 12 00 00 00 77"), "ff");
  EXPECT_EQ(ask("0a 11 00 00 00 01"), "00 01 01");
}

TEST_F(Fru, ImpossibleConfigurationsAndStoredNonsenseAreRefused) {
  auto create = [&](const BmcConfig& c, std::shared_ptr<Store> s) { return Bmc::create(c, std::move(s), nullptr, now); };
  BmcConfig twice = config();
  twice.frus[1].id = 0;
  EXPECT_THAT(create(twice, nullptr).error().message, HasSubstr("twice"));
  BmcConfig too_long = config();
  too_long.frus[1].content.assign(9, 0);
  EXPECT_THAT(create(too_long, nullptr).error().message, HasSubstr("FRU 5"));
  auto bad = std::make_shared<MemoryStore>();
  Batch batch;
  batch.put.push_back({"fru", 0, Bytes(257, 1)});
  ASSERT_TRUE(bad->commit(batch).ok());
  EXPECT_EQ(create(config(), bad).error().code, ErrorCode::kCorrupt);
}

TEST_F(Fru, PagesOfAFruThatTheConfigurationNoLongerHasWait) {
  ask("0a 12 00 00 02 11 22");  // page 2
  BmcConfig smaller = config();
  smaller.frus[0].size = 513;
  auto made = Bmc::create(smaller, store, nullptr, now);
  ASSERT_TRUE(made.ok());
  EXPECT_EQ((*made)->config().frus[0].content.size(), 513u);
  boot();
  EXPECT_EQ(ask("0a 11 00 00 02 02"), "00 02 11 22");
}

}  // namespace
}  // namespace bmcpair::firmware::testing
