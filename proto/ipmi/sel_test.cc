#include "proto/ipmi/sel.h"

#include <gtest/gtest.h>

namespace bmcpair::ipmi {
namespace {

SelRecord decode(std::string_view text) {
  auto record = decode_sel_record(*from_hex(text));
  EXPECT_TRUE(record.ok());
  return record.ok() ? *record : SelRecord{};
}

SdrSensor volts() {
  SdrSensor s;
  s.event_reading_type = 1;
  s.base_unit = 4;
  s.factors.m = 2;
  s.factors.r_exponent = -2;
  s.name = "Vcore";
  return s;
}

TEST(SelRecord, EveryKindRoundTrips) {
  for (std::string_view text : {"07 00 02 11 22 33 44 20 03 04 02 31 81 59 4b 46",
                                "08 00 c1 11 22 33 44 01 02 03 0a 0b 0c 0d 0e 0f",
                                "09 00 f0 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d"}) {
    EXPECT_EQ(to_hex(encode(decode(text))), text);
  }
  SelRecord event = decode("07 00 02 11 22 33 44 20 03 04 02 31 81 59 4b 46");
  EXPECT_EQ(event.id, 7);
  EXPECT_EQ(event.timestamp, 0x44332211u);
  EXPECT_EQ(event.generator_high, 3);
  EXPECT_EQ(event.sensor_type, 2);
  EXPECT_EQ(event.sensor_number, 0x31);
  EXPECT_TRUE(event.deassertion());
  EXPECT_EQ(event.event_type(), 1);
  EXPECT_EQ(event.offset(), 9);
  EXPECT_EQ(decode("08 00 c1 11 22 33 44 01 02 03 0a 0b 0c 0d 0e 0f").manufacturer_id, 0x030201u);
  EXPECT_FALSE(decode("09 00 f0 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d").timestamped());
}

TEST(SelRecord, OnlySixteenBytesAreARecord) {
  for (size_t size : {0, 1, 15, 17}) {
    auto record = decode_sel_record(Bytes(size, 2));
    ASSERT_FALSE(record.ok()) << size;
    EXPECT_EQ(record.error().code, ErrorCode::kProtocol);
  }
}

TEST(SelRecord, AThresholdEventSaysReadingAndThreshold) {
  SdrSensor sensor = volts();
  SelRecord event = decode("07 00 02 00 00 00 60 20 00 04 02 31 01 59 4b 46");
  EXPECT_EQ(sel_event_text(event, &sensor), "upper critical going high, reading 1.50 (threshold 1.40) Volts");
  EXPECT_EQ(sel_event_text(event, nullptr), "upper critical going high, reading raw 75 (threshold raw 70)");
  event.data = {0x09, 0xff, 0xff};
  EXPECT_EQ(sel_event_text(event, &sensor), "upper critical going high");
  EXPECT_EQ(sel_line(event, &sensor),
            "   7 | 2021-01-14 08:25:36 | Voltage Vcore | upper critical going high | asserted");
}

TEST(SelRecord, OtherEventsSayWhatIsKnownOfThem) {
  EXPECT_EQ(sel_line(decode("01 00 02 10 00 00 00 20 00 04 08 40 ef 01 ff ff"), nullptr),
            "   1 | since initialization 16 s | Power Supply #40 | power supply failure detected | deasserted");
  EXPECT_EQ(sel_event_text(decode("01 00 02 00 00 00 60 20 00 04 0f 40 6f c2 04 07"), nullptr),
            "system firmware progress (04 07)");
  EXPECT_EQ(sel_event_text(decode("01 00 02 00 00 00 60 20 00 04 c8 40 6f 05 ff ff"), nullptr), "offset 5");
  EXPECT_EQ(sel_event_text(decode("01 00 02 00 00 00 60 20 00 04 01 40 72 05 06 07"), nullptr), "OEM event 05 06 07");
  EXPECT_EQ(sel_line(decode("08 00 c1 00 00 00 60 01 00 00 0a 0b 0c 0d 0e 0f"), nullptr),
            "   8 | 2021-01-14 08:25:36 | OEM record of manufacturer 1: 0a 0b 0c 0d 0e 0f");
  EXPECT_EQ(sel_line(decode("09 00 f0 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d"), nullptr),
            "   9 | no time | OEM record 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d");
}

TEST(SelTime, IsACalendarDateInUtc) {
  EXPECT_EQ(sel_time_text(0x60000000), "2021-01-14 08:25:36");
  EXPECT_EQ(sel_time_text(951782399), "2000-02-28 23:59:59");
  EXPECT_EQ(sel_time_text(951782400), "2000-02-29 00:00:00");
  EXPECT_EQ(sel_time_text(951868800), "2000-03-01 00:00:00");
  EXPECT_EQ(sel_time_text(1704067199), "2023-12-31 23:59:59");
  EXPECT_EQ(sel_time_text(1709164800), "2024-02-29 00:00:00");
  EXPECT_EQ(sel_time_text(0xfffffffe), "2106-02-07 06:28:14");
  EXPECT_EQ(sel_time_text(0xffffffff), "unspecified time");
  EXPECT_EQ(sel_time_text(0x20000000), "since initialization 536870912 s");
}

}  // namespace
}  // namespace bmcpair::ipmi
