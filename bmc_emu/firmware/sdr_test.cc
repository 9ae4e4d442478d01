#include "bmc_emu/firmware/sdr.h"

#include "bmc_emu/firmware/testing.h"
#include "proto/ipmi/sdr.h"

namespace bmcpair::firmware::testing {
namespace {

using ::testing::HasSubstr;

constexpr std::string_view kTempRecord =
    "01 00 51 01 33 20 00 30 03 01 ff 68 01 01 85 3a 85 7a 3b 3b 00 01 00 00 01 00 00 00 00 00 01 28 00 00 ff 00 "
    "5f 5a 50 00 05 0a 02 01 00 00 00 c8 43 50 55 20 54 65 6d 70";
constexpr std::string_view kPsuRecord =
    "02 00 51 02 1e 20 00 40 0a 02 e7 40 08 6f 0f 00 0f 00 ff 7f c0 00 00 01 00 00 00 00 00 00 00 c3 50 53 55";
constexpr std::string_view kFruRecord = "03 00 51 11 10 20 00 80 00 00 10 00 07 01 00 c5 62 6f 61 72 64";
constexpr std::string_view kBmcRecord = "04 00 51 12 0e 20 00 00 bf 00 00 00 06 01 00 c3 42 4d 43";
constexpr std::string_view kSatelliteRecord = "05 00 51 12 11 82 00 00 3f 00 00 00 06 02 00 c6 4d 43 20 38 32 68";
// An OEM record to add: its id is whatever.
constexpr std::string_view kOem = "99 99 51 c0 05 01 02 03 04 05";

class SdrRepository : public FirmwareTest {
 protected:
  BmcConfig config() const override {
    BmcConfig c;
    c.unix_seconds_at_zero = 0x60000000 - 1000;
    c.sdr_bytes_max = 256;
    c.cold_reset_offline = Duration(0);
    SensorConfig temp;
    temp.name = "CPU Temp";
    temp.number = 0x30;
    temp.entity_id = 3;
    temp.initial = 40;
    temp.thresholds = {{}, 5, 10, 80, 90, 95, 2, 1};
    SensorConfig psu;
    psu.name = "PSU";
    psu.number = 0x40;
    psu.entity_id = 0x0a;
    psu.entity_instance = 2;
    psu.threshold = false;
    psu.sensor_type = 0x08;
    psu.event_mask = 0x0f;
    c.sensors = {temp, psu};
    FruConfig fru;
    fru.name = "board";
    c.frus = {fru};
    SatelliteConfig satellite;
    satellite.identity.additional_device_support = 0x3f;
    c.satellites = {satellite};
    c.sdr_dump = dump;
    return c;
  }
  std::string reserve() { return ask("0a 22").substr(3); }
  std::string get(uint16_t id, std::string_view offset_count = "00 ff", std::string_view reservation = "00 00") {
    Bytes bytes{static_cast<uint8_t>(id), static_cast<uint8_t>(id >> 8)};
    return ask("0a 23 " + std::string(reservation) + " " + to_hex(bytes) + " " + std::string(offset_count));
  }
  std::string add(std::string_view record = kOem) { return ask("0a 24 " + std::string(record)); }
  Bytes dump;
};

std::string ok_next(std::string_view next, std::string_view record) {
  return "00 " + std::string(next) + " " + std::string(record);
}

TEST_F(SdrRepository, InfoCountsRecordsAndFreeBytes) {
  // 56 + 35 + 21 + 19 + 22 = 153 bytes of 256.
  EXPECT_EQ(ask("0a 20"), "00 51 05 00 67 00 00 00 00 60 ff ff ff ff 2f");
  EXPECT_EQ(ask("0a 21"), "00 10 00 10 00 06 00 06 00 11");
}

TEST_F(SdrRepository, RecordsOfTheConfigurationByteForByte) {
  EXPECT_EQ(get(0), ok_next("02 00", kTempRecord));
  EXPECT_EQ(get(1), ok_next("02 00", kTempRecord));
  EXPECT_EQ(get(2), ok_next("03 00", kPsuRecord));
  EXPECT_EQ(get(3), ok_next("04 00", kFruRecord));
  EXPECT_EQ(get(4), ok_next("05 00", kBmcRecord));
  EXPECT_EQ(get(5), ok_next("ff ff", kSatelliteRecord));
  EXPECT_EQ(get(0xffff), ok_next("ff ff", kSatelliteRecord));
  EXPECT_EQ(get(6), "cb");
}

TEST_F(SdrRepository, EveryRecordDecodesToWhatWasConfigured) {
  auto record = ipmi::decode_sdr(*from_hex(kTempRecord));
  ASSERT_TRUE(record.ok());
  const auto& sensor = std::get<ipmi::SdrSensor>(*record);
  EXPECT_EQ(sensor.name, "CPU Temp");
  EXPECT_EQ(ipmi::sdr_convert(sensor, sensor.thresholds[ipmi::kUc]), 90);
  EXPECT_EQ(ipmi::sdr_unit_text(sensor), "degrees C");
}

TEST_F(SdrRepository, EveryCommandRefusesOtherLengths) {
  for (std::string_view bad :
       {"0a 20 00", "0a 21 00", "0a 22 00", "0a 23 00 00 00 00 00", "0a 23 00 00 00 00 00 ff 00", "0a 24 00 00 51 c0",
        "0a 24 00 00 51 c0 02 01", "0a 24 00 00 51 c0 00 01", "0a 25 00 00 00 00 00 00", "0a 26 00 00 00",
        "0a 26 00 00 00 00 00", "0a 27 00 00 43 4c 52", "0a 27 00 00 43 4c 52 aa 00", "0a 28 00", "0a 29 00 00 00",
        "0a 29 00 00 00 00 00", "0a 2c", "0a 2c 00 00", "04 20 00 00", "04 21 00 00 00 00 00", "04 22 00"}) {
    EXPECT_EQ(ask(bad), "c7") << bad;
  }
  EXPECT_EQ(ask("0a 2a"), "c1") << "not a modal repository";
  EXPECT_EQ(ask("0a 2b"), "c1");
}

TEST_F(SdrRepository, PartsNeedAReservationAndStayWithinTheRecord) {
  EXPECT_EQ(get(4, "00 05"), "00 05 00 04 00 51 12 0e");
  EXPECT_EQ(get(4, "05 02"), "c5");
  std::string r = reserve();
  EXPECT_EQ(get(4, "05 02", r), "00 05 00 20 00");
  EXPECT_EQ(get(4, "10 ff", r), "00 05 00 42 4d 43");
  EXPECT_EQ(get(4, "12 01", r), "00 05 00 43");
  EXPECT_EQ(get(4, "13 01", r), "c9");
  EXPECT_EQ(get(4, "12 02", r), "ca");
  EXPECT_EQ(get(4, "00 ff", "34 12"), "c5");
  std::string next = reserve();
  EXPECT_EQ(get(4, "05 02", r), "c5");
  EXPECT_EQ(get(4, "05 02", next), "00 05 00 20 00");
  bmc->reset(true, now);
  EXPECT_EQ(get(4, "05 02", next), "c5");
}

TEST_F(SdrRepository, ARecordThatDoesNotFitTheInterfaceIsRefusedAsSuch) {
  context.response_bytes_max = 40;
  EXPECT_EQ(get(1), "ca");
  EXPECT_EQ(get(1, "00 24"), "ca");
  EXPECT_EQ(get(1, "00 23").substr(0, 8), "00 02 00");
}

TEST_F(SdrRepository, AnAddedRecordGetsItsIdAndSurvives) {
  now += seconds(3);
  EXPECT_EQ(add(), "00 00 40");
  EXPECT_EQ(add(), "00 01 40");
  EXPECT_EQ(get(5).substr(3, 5), "00 40");
  EXPECT_EQ(get(0x4000), "00 01 40 00 40 51 c0 05 01 02 03 04 05");
  EXPECT_EQ(ask("0a 20").substr(0, 29), "00 51 07 00 53 00 03 00 00 60");
  boot();
  EXPECT_EQ(get(0xffff), "00 ff ff 01 40 51 c0 05 01 02 03 04 05");
  EXPECT_EQ(add(), "00 02 40");
  EXPECT_EQ(ask("0a 24 00 00 51 00 00"), "cc") << "there is no record type 00h";
}

TEST_F(SdrRepository, AFullRepositoryRefusesAndShowsIt) {
  std::string record = "00 00 51 c0 60" + std::string(to_hex(Bytes(0x60, 1))).insert(0, " ");
  EXPECT_EQ(add(record), "00 00 40");
  EXPECT_EQ(add(), "c4");
  EXPECT_EQ(ask("0a 20").substr(42), "af");
  EXPECT_EQ(ask("0a 20").substr(12, 5), "02 00");
}

TEST_F(SdrRepository, ADeletedRecordStaysDeleted) {
  EXPECT_EQ(ask("0a 26 00 00 02 00"), "c5");
  EXPECT_EQ(ask("0a 26 " + reserve() + " 09 00"), "cb");
  std::string r = reserve();
  now += seconds(7);
  EXPECT_EQ(ask("0a 26 " + r + " 02 00"), "00 02 00");
  EXPECT_EQ(get(4, "05 02", r), "c5");
  EXPECT_EQ(get(2), "cb");
  EXPECT_EQ(get(1).substr(3, 5), "03 00");
  EXPECT_EQ(ask("0a 20").substr(0, 17), "00 51 04 00 8a 00");
  EXPECT_EQ(ask("0a 20").substr(30, 11), "07 00 00 60");
  add();
  EXPECT_EQ(ask("0a 26 " + reserve() + " ff ff"), "00 00 40");
  boot();
  EXPECT_EQ(get(2), "cb");
  EXPECT_EQ(get(0x4000), "cb");
  EXPECT_EQ(ask("0a 20").substr(3, 8), "51 04 00");
}

TEST_F(SdrRepository, ADeletionIsForTheRecordAsItWas) {
  EXPECT_EQ(ask("0a 26 " + reserve() + " 02 00"), "00 02 00");
  BmcConfig changed = config();
  changed.sensors[1].name = "PSU 2";
  auto made = Bmc::create(changed, store, nullptr, now);
  ASSERT_TRUE(made.ok());
  EXPECT_EQ((*made)->execute({0x0a, 0, 0x23, {0, 0, 2, 0, 0, 5}}, context, now).cc, ipmi::CompletionCode::kOk);
}

TEST_F(SdrRepository, ClearTakesEverythingAndForGood) {
  add();
  std::string r = reserve();
  EXPECT_EQ(ask("0a 27 " + r + " 43 4c 53 aa"), "cc");
  EXPECT_EQ(ask("0a 27 " + r + " 43 4c 52 01"), "cc");
  EXPECT_EQ(ask("0a 27 00 00 43 4c 52 aa"), "c5");
  EXPECT_EQ(ask("0a 27 " + r + " 43 4c 52 aa"), "00 01");
  EXPECT_EQ(ask("0a 27 " + r + " 43 4c 52 00"), "00 01");
  EXPECT_EQ(get(0), "cb");
  boot();
  EXPECT_EQ(get(0), "cb");
  EXPECT_EQ(ask("0a 20").substr(0, 17), "00 51 00 00 00 01");
  EXPECT_EQ(add(), "00 00 40");
  EXPECT_EQ(get(0).substr(3, 5), "ff ff");
}

TEST_F(SdrRepository, PartialAddPutsARecordTogether) {
  EXPECT_EQ(ask("0a 25 00 00 00 00 00 00 01"), "c5");
  std::string r = reserve();
  EXPECT_EQ(ask("0a 25 " + r + " 00 00 00 02 01"), "cc");
  EXPECT_EQ(ask("0a 25 " + r + " 00 00 01 00 01"), "c9");
  EXPECT_EQ(ask("0a 25 " + r + " 05 00 01 00 01"), "cb");
  EXPECT_EQ(ask("0a 25 " + r + " 00 00 00 00 00 00 51 c0 05 01"), "00 00 40");
  EXPECT_EQ(ask("0a 25 " + r + " 00 40 07 00 03"), "c9") << "a gap";
  EXPECT_EQ(ask("0a 25 " + r + " 00 40 06 00 02 03"), "00 00 40");
  EXPECT_EQ(ask("0a 25 " + r + " 00 40 06 00 02 03"), "00 00 40") << "a piece sent again";
  EXPECT_EQ(ask("0a 25 " + r + " 00 40 08 01 04 05"), "00 00 40");
  EXPECT_EQ(get(0x4000), "00 ff ff 00 40 51 c0 05 01 02 03 04 05");
  EXPECT_EQ(ask("0a 25 " + r + " 00 00 00 01 00 00 51 c0 05 01"), "80") << "shorter than its header says";
  EXPECT_EQ(ask("0a 25 " + r + " 00 00 00 01 00 00 51 c0 01 01 02"), "80") << "longer";
  EXPECT_EQ(ask("0a 25 " + r + " 00 00 00 01 00 00 51 c0 01 01"), "00 01 40");
}

TEST_F(SdrRepository, ABrokenDiskIsNoAcknowledgement) {
  store->broken = true;
  EXPECT_EQ(add(), "ff");
  EXPECT_EQ(ask("0a 26 " + reserve() + " 01 00"), "ff");
  EXPECT_EQ(ask("0a 27 " + reserve() + " 43 4c 52 aa"), "ff");
  EXPECT_EQ(ask("0a 29 00 00 00 00"), "ff");
  EXPECT_EQ(ask("0a 20"), "00 51 05 00 67 00 00 00 00 60 ff ff ff ff 2f");
}

TEST_F(SdrRepository, TheClockCanBeSet) {
  EXPECT_EQ(ask("0a 29 01 02 03 04"), "00");
  EXPECT_EQ(ask("0a 28"), "00 01 02 03 04");
}

TEST_F(SdrRepository, TheInitializationAgentBringsTheSensorsBackToTheirRecords) {
  EXPECT_EQ(ask("0a 2c 00"), "00 01");
  EXPECT_EQ(ask("0a 2c 02"), "cc");
  EXPECT_EQ(ask("04 26 30 08 00 00 00 20 00 00"), "00");
  EXPECT_EQ(ask("04 27 30"), "00 3b 0a 05 00 20 5a 5f");
  EXPECT_EQ(ask("0a 2c 01"), "00 01");
  EXPECT_EQ(ask("04 27 30"), "00 3b 0a 05 00 50 5a 5f");
}

TEST_F(SdrRepository, ADumpOfARealMachineJoinsWhatIsConfigured) {
  // Its BMC locator and its record of a sensor that is configured replace, and give way to, ours.
  for (std::string_view record : {kOem, std::string_view("07 00 51 12 0e 20 00 00 01 00 00 00 06 01 00 c3 4f 4c 44"),
                                  kPsuRecord}) {
    Bytes bytes = *from_hex(record);
    dump.insert(dump.end(), bytes.begin(), bytes.end());
  }
  boot();
  EXPECT_EQ(ask("0a 20").substr(3, 8), "51 06 00");
  EXPECT_EQ(get(2), ok_next("03 00", kPsuRecord));
  EXPECT_EQ(get(4).substr(0, 26), "00 05 00 04 00 51 12 11 82");
  EXPECT_EQ(get(5), "00 06 00 05 00 51 c0 05 01 02 03 04 05");
  EXPECT_EQ(get(6), "00 ff ff 06 00 51 12 0e 20 00 00 01 00 00 00 06 01 00 c3 4f 4c 44");
}

TEST_F(SdrRepository, ABadDumpAndTooManyBytesAreRefusedWithWhereAndWhy) {
  auto create = [&](const BmcConfig& c) { return Bmc::create(c, nullptr, nullptr, now); };
  BmcConfig bad = config();
  bad.sdr_dump = *from_hex(std::string(kOem) + " 00 00 51 c0 09 01");
  auto refused = create(bad);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(refused.error().message, HasSubstr("byte 10 (record 2)"));
  BmcConfig small = config();
  small.sdr_bytes_max = 100;
  refused = create(small);
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.error().message, HasSubstr("153"));
}

TEST_F(SdrRepository, StoredNonsenseIsCorruptNotRead) {
  for (auto [table, key, value] : std::vector<std::tuple<std::string, uint32_t, Bytes>>{
           {"sdr", 0x4000, Bytes(4, 1)}, {"sdr", 0x4000, Bytes(9, 1)}, {"sdr", 1, *from_hex(kOem)},
           {"sdr", 0xffff, *from_hex(kOem)}, {"sdr_meta", 0, Bytes(2, 0)}}) {
    auto other = std::make_shared<MemoryStore>();
    Batch batch;
    batch.put.push_back({table, key, value});
    ASSERT_TRUE(other->commit(batch).ok());
    auto made = Bmc::create(config(), other, nullptr, now);
    ASSERT_FALSE(made.ok()) << table << " " << key;
    EXPECT_EQ(made.error().code, ErrorCode::kCorrupt);
  }
}

TEST_F(SdrRepository, DeviceSdrsAreThoseOfTheSensors) {
  EXPECT_EQ(ask("04 20"), "00 02 01");
  EXPECT_EQ(ask("04 20 00"), "00 02 01");
  EXPECT_EQ(ask("04 20 01"), "00 02 01");
  EXPECT_EQ(ask("04 20 02"), "cc");
  EXPECT_EQ(ask("04 20", 1), "00 00 01") << "no sensors on LUN 1";
  EXPECT_EQ(ask("04 20", 2), "c2");
  EXPECT_EQ(ask("04 21 00 00 00 00 00 ff"), ok_next("02 00", kTempRecord));
  EXPECT_EQ(ask("04 21 00 00 02 00 00 ff"), ok_next("ff ff", kPsuRecord));
  EXPECT_EQ(ask("04 21 00 00 ff ff 00 ff"), ok_next("ff ff", kPsuRecord));
  EXPECT_EQ(ask("04 21 00 00 03 00 00 ff"), "cb");
  EXPECT_EQ(ask("04 21 00 00 01 00 05 02"), "c5");
  std::string r = ask("04 22").substr(3);
  EXPECT_EQ(ask("04 21 " + r + " 01 00 05 02"), "00 02 00 20 00");
  EXPECT_EQ(ask("04 21 " + r + " 01 00 38 01"), "c9");
  EXPECT_EQ(ask("04 21 " + r + " 01 00 37 02"), "ca");
}

TEST_F(SdrRepository, ABmcThatProvidesNoDeviceSdrsHasNoSuchCommands) {
  BmcConfig without = config();
  without.identity.provides_device_sdrs = false;
  auto made = Bmc::create(without, nullptr, nullptr, now);
  ASSERT_TRUE(made.ok());
  for (uint8_t cmd : {0x20, 0x22}) {
    EXPECT_EQ((*made)->execute({0x04, 0, cmd, {}}, context, now).cc, ipmi::CompletionCode::kInvalidCommand);
  }
  EXPECT_EQ((*made)->execute({0x04, 0, 0x21, Bytes(6, 0)}, context, now).cc, ipmi::CompletionCode::kInvalidCommand);
}

}  // namespace
}  // namespace bmcpair::firmware::testing
