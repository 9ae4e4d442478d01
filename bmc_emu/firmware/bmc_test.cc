#include "bmc_emu/firmware/bmc.h"

#include "bmc_emu/firmware/testing.h"

namespace bmcpair::firmware::testing {
namespace {

using ::testing::ElementsAre;

class WholeBmc : public FirmwareTest {
 protected:
  BmcConfig config() const override {
    BmcConfig c;
    c.name = "rack-7";
    SensorConfig sensor;
    sensor.name = "CPU Temp";
    sensor.number = 0x11;
    sensor.initial = 40;
    sensor.thresholds.upper_critical = 90;
    c.sensors.push_back(sensor);
    sensor.name = "17";  // a name that looks like the number 0x11
    sensor.number = 0x12;
    sensor.initial = 30;
    c.sensors.push_back(sensor);
    return c;
  }
};

TEST_F(WholeBmc, NothingIsDueSoonWhenNothingHappens) {
  EXPECT_GE(bmc->next_due(), now + std::chrono::minutes(59)) << "an idle BMC uses no processor";
}

TEST_F(WholeBmc, SensorsAreFoundByNameThenByNumber) {
  ASSERT_EQ(bmc->sensors(now).size(), 2u);
  auto by_name = bmc->sensor("CPU Temp", now);
  ASSERT_TRUE(by_name.ok());
  EXPECT_EQ(by_name->number, 0x11);
  EXPECT_DOUBLE_EQ(by_name->value, 40);
  auto by_number = bmc->sensor("0x11", now);
  ASSERT_TRUE(by_number.ok());
  EXPECT_EQ(by_number->name, "CPU Temp");
  auto named_like_a_number = bmc->sensor("17", now);
  ASSERT_TRUE(named_like_a_number.ok());
  EXPECT_EQ(named_like_a_number->number, 0x12);
  auto nobody = bmc->sensor("Fan 9", now);
  ASSERT_FALSE(nobody.ok());
  EXPECT_EQ(nobody.error().code, ErrorCode::kNotFound);
  EXPECT_NE(nobody.error().message.find("rack-7"), std::string::npos);
  EXPECT_NE(nobody.error().message.find("Fan 9"), std::string::npos);
}

TEST_F(WholeBmc, ASensorPushedOverItsThresholdArrivesAsEventAttentionAndSelRecord) {
  EXPECT_EQ(ask("06 2e 0f"), "00");
  ASSERT_TRUE(bmc->set_sensor_value("CPU Temp", 95, now).ok());
  EXPECT_TRUE(bmc->attention());
  EXPECT_EQ(ask("06 31"), "00 02");
  auto sel = bmc->sel(now);
  ASSERT_EQ(sel.size(), 1u);
  EXPECT_EQ(sel[0].record[11], 0x11);
  EXPECT_EQ(ask("06 35"), "00 " + to_hex(sel[0].record));
  EXPECT_FALSE(bmc->attention());
  EXPECT_THAT(recorder.values(Change::Kind::kAttention), ElementsAre(1, 0));
}

TEST_F(WholeBmc, SelIsAddedToAndClearedOutOfBand) {
  Bytes record(16, 0);
  record[2] = 0x02;
  auto id = bmc->sel_add(record, now);
  ASSERT_TRUE(id.ok()) << id.error().to_string();
  ASSERT_EQ(bmc->sel(now).size(), 1u);
  EXPECT_EQ(bmc->sel(now)[0].id, *id);
  EXPECT_TRUE(bmc->sel_clear(now).ok());
  EXPECT_TRUE(bmc->sel(now).empty());
}

TEST_F(WholeBmc, ARequestSeesWhatTimeHasBroughtUpToIt) {
  ask("06 24 04 02 00 00 0a 00");
  ask("06 22");
  now += seconds(2);  // and nobody called run
  EXPECT_EQ(ask("00 01").substr(0, 5), "00 20") << "the watchdog has switched the power off";
}

TEST_F(WholeBmc, PowerActionsThatMakeNoSenseSayWhere) {
  ASSERT_TRUE(bmc->power(PowerAction::kOff, now).ok());
  auto refused = bmc->power(PowerAction::kCycle, now);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(refused.error().message.find("rack-7"), std::string::npos);
}

TEST_F(WholeBmc, ABmcWithoutStoreOrObserverWorks) {
  auto alone = Bmc::create(config(), nullptr, nullptr, now);
  ASSERT_TRUE(alone.ok());
  EXPECT_EQ((*alone)->execute({0x06, 0, 0x2e, {0x0f}}, context, now).cc, ipmi::CompletionCode::kOk);
  (*alone)->reset(true, now);
  EXPECT_EQ((*alone)->config().name, "rack-7");
}

TEST(MemoryStoreTest, ABatchClearsThenErasesThenPuts) {
  MemoryStore store;
  Batch first;
  first.put = {{"a", 2, {2}}, {"a", 1, {1}}, {"b", 1, {9}}};
  ASSERT_TRUE(store.commit(first).ok());
  auto rows = store.load("a");
  ASSERT_TRUE(rows.ok());
  ASSERT_EQ(rows->size(), 2u);
  EXPECT_EQ((*rows)[0].first, 1u) << "keys ascend";
  Batch second;
  second.clear_tables = {"a"};
  second.erase = {{"b", 1}, {"nowhere", 5}};
  second.put = {{"a", 3, {3}}};
  ASSERT_TRUE(store.commit(second).ok());
  EXPECT_EQ(store.load("a")->size(), 1u);
  EXPECT_EQ(store.load("b")->size(), 0u);
  EXPECT_EQ(store.load("c")->size(), 0u);
}

}  // namespace
}  // namespace bmcpair::firmware::testing
