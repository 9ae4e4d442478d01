#include "host_driver/cli/inventory.h"

#include <gtest/gtest.h>

#include <deque>

#include "proto/ipmi/cursor.h"

namespace bmcpair::cli {
namespace {

using ipmi::CompletionCode;
using ipmi::Request;
using ipmi::Response;

// A peer that says what a test makes it say, whatever was asked; the test looks at what was asked.
struct Scripted {
  std::deque<Response> answers;
  std::vector<Request> asked;
  RequestFunction function() {
    return [this](const Request& request) -> Result<Response> {
      asked.push_back(request);
      if (answers.empty()) return Error{ErrorCode::kTimeout, "no answer"};
      Response answer = answers.front();
      answers.pop_front();
      return answer;
    };
  }
};

Response good(Bytes data) { return {CompletionCode::kOk, std::move(data)}; }
Response bad(CompletionCode cc) { return {cc, {}}; }

}  // namespace

TEST(Inventory, DeviceIdIsReadByItsFields) {
  Scripted bmc{{good({0x20, 0x81, 0x85, 0x34, 0x02, 0xbf, 0x57, 0x01, 0x00, 0x34, 0x12, 1, 2, 3, 4})}, {}};
  auto id = get_device_id(bmc.function());
  ASSERT_TRUE(id.ok());
  EXPECT_EQ(id->device_id, 0x20);
  EXPECT_EQ(id->device_revision, 1);
  EXPECT_TRUE(id->provides_sdrs);
  EXPECT_FALSE(id->available);
  EXPECT_EQ(id->firmware_text(), "5.34");
  EXPECT_EQ(id->ipmi_text(), "2.0");
  EXPECT_EQ(id->manufacturer_id, 0x157u);
  EXPECT_EQ(id->product_id, 0x1234);
  ASSERT_TRUE(id->aux_firmware.has_value());
}

TEST(Inventory, AShortDeviceIdIsAnErrorThatSaysHowShort) {
  Scripted bmc{{good({0x20, 0x81})}, {}};
  auto id = get_device_id(bmc.function());
  ASSERT_FALSE(id.ok());
  EXPECT_NE(id.error().message.find("2 data bytes, at least 11"), std::string::npos) << id.error().message;
}

TEST(Inventory, ACompletionCodeIsNamedInTheError) {
  Scripted bmc{{bad(CompletionCode::kNotSupportedInState)}, {}};
  auto id = get_device_id(bmc.function());
  ASSERT_FALSE(id.ok());
  EXPECT_NE(id.error().message.find("d5h (not supported in present state)"), std::string::npos) << id.error().message;
}

TEST(Inventory, GuidsReadMostSignificantByteFirst) {
  std::array<uint8_t, 16> wire;
  for (uint8_t i = 0; i < 16; ++i) wire[i] = i;
  EXPECT_EQ(guid_text(wire), "0f0e0d0c-0b0a-0908-0706-050403020100");
}

TEST(Inventory, SdrReadsShortenWhenTheInterfaceCannotCarryThem) {
  Bytes record{0x01, 0x00, 0x51, 0xc0, 20};
  for (uint8_t i = 0; i < 20; ++i) record.push_back(i);
  auto part = [&](size_t offset, size_t count) {
    Bytes data{0xff, 0xff};
    data.insert(data.end(), record.begin() + static_cast<long>(offset), record.begin() + static_cast<long>(offset + count));
    return good(data);
  };
  Scripted bmc{{good({0x34, 0x12}), part(0, 5), bad(CompletionCode::kCannotReturnRequestedLength),
                bad(CompletionCode::kCannotReturnRequestedLength), bad(CompletionCode::kCannotReturnRequestedLength),
                part(5, 16), part(21, 4)},
               {}};
  auto records = read_sdr_repository(bmc.function(), {});
  ASSERT_TRUE(records.ok()) << records.error().message;
  ASSERT_EQ(records->size(), 1u);
  EXPECT_EQ(records->front(), record);
  EXPECT_EQ(bmc.asked[1].data, (Bytes{0x34, 0x12, 0, 0, 0, 5}));
  EXPECT_EQ(bmc.asked.back().data, (Bytes{0x34, 0x12, 0, 0, 21, 4}));
}

TEST(Inventory, ALostReservationStartsOverAndIsBounded) {
  Scripted bmc;
  for (unsigned i = 0; i <= kReservationRetriesMax; ++i) {
    bmc.answers.push_back(good({1, 0}));
    bmc.answers.push_back(bad(CompletionCode::kReservationCancelled));
  }
  auto records = read_sdr_repository(bmc.function(), {});
  ASSERT_FALSE(records.ok());
  EXPECT_EQ(records.error().code, ErrorCode::kBusy);
  EXPECT_EQ(bmc.asked.size(), 2u * (kReservationRetriesMax + 1));
}

TEST(Inventory, ARepositoryThatPointsAtItselfForeverEnds) {
  size_t asked = 0;
  auto records = read_sdr_repository(
      [&](const Request& request) -> Result<Response> {
        ++asked;
        if (request.cmd == 0x22) return good({1, 0});
        return good({0x01, 0x00, 0x01, 0x00, 0x51, 0xc0, 0x00});
      },
      {});
  ASSERT_FALSE(records.ok());
  EXPECT_NE(records.error().message.find("no end"), std::string::npos);
  EXPECT_LE(asked, kRecordsMax + 2u);
}

TEST(Inventory, AnEmptySelIsNoError) {
  Scripted bmc{{bad(CompletionCode::kNotPresent)}, {}};
  auto records = read_sel(bmc.function());
  ASSERT_TRUE(records.ok());
  EXPECT_TRUE(records->empty());
}

TEST(Inventory, ClearingTheSelWaitsForTheErasureToEnd) {
  Scripted bmc{{good({7, 0}), good({0}), good({0}), good({1})}, {}};
  EXPECT_TRUE(clear_sel(bmc.function()).ok());
  ASSERT_EQ(bmc.asked.size(), 4u);
  EXPECT_EQ(bmc.asked[1].data, (Bytes{7, 0, 'C', 'L', 'R', 0xaa}));
  EXPECT_EQ(bmc.asked[2].data, (Bytes{7, 0, 'C', 'L', 'R', 0x00}));
}

TEST(Inventory, AFruAnswerThatCountsWronglyIsRefused) {
  Scripted bmc{{good({16, 0, 0}), good({5, 1, 2, 3})}, {}};
  auto fru = read_fru(bmc.function(), 0);
  ASSERT_FALSE(fru.ok());
  EXPECT_NE(fru.error().message.find("counts 5 and carries 3"), std::string::npos) << fru.error().message;
}

TEST(Inventory, FruIsReadWholeInPieces) {
  Bytes area(300, 0x5a);
  auto fru = read_fru(
      [&](const Request& request) -> Result<Response> {
        if (request.cmd == 0x10) return good({static_cast<uint8_t>(area.size()), static_cast<uint8_t>(area.size() >> 8), 0});
        if (request.data[3] > 32) return bad(CompletionCode::kCannotReturnRequestedLength);
        Bytes out{request.data[3]};
        out.insert(out.end(), request.data[3], 0x5a);
        return good(out);
      },
      3);
  ASSERT_TRUE(fru.ok()) << fru.error().message;
  EXPECT_EQ(*fru, area);
}

TEST(Inventory, AnAbsentSensorIsNotAnError) {
  Scripted bmc{{bad(CompletionCode::kNotPresent), good({0x40, 0xe0, 0x00}), good({0x40, 0xc0, 0x09})}, {}};
  auto absent = get_sensor_reading(bmc.function(), 1, 0);
  ASSERT_TRUE(absent.ok());
  EXPECT_FALSE(absent->has_value());
  auto unavailable = get_sensor_reading(bmc.function(), 1, 0);
  EXPECT_FALSE((*unavailable)->available);
  auto reading = get_sensor_reading(bmc.function(), 1, 2);
  EXPECT_TRUE((*reading)->available);
  EXPECT_EQ((*reading)->raw, 0x40);
  EXPECT_EQ((*reading)->states, 0x09);
  EXPECT_EQ(bmc.asked.back().lun, 2);
}

}  // namespace bmcpair::cli
