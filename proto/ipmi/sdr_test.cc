#include "proto/ipmi/sdr.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "proto/ipmi/sensor_names.h"
#include "proto/ipmi/type_length.h"

namespace bmcpair::ipmi {
namespace {

using ::testing::HasSubstr;

Bytes hex(std::string_view text) { return *from_hex(text); }

SdrSensor full() {
  SdrSensor s;
  s.record_id = 0x1234;
  s.owner_lun = 1;
  s.number = 0x30;
  s.entity_id = 3;
  s.entity_instance = 1;
  s.initialization = 0x7f;
  s.capabilities = 0x68;
  s.sensor_type = 1;
  s.event_reading_type = 1;
  s.assertion_mask = 0x3a85;
  s.deassertion_mask = 0x7a85;
  s.reading_mask = 0x3b3b;
  s.units1 = 0x80;
  s.base_unit = 1;
  s.factors = {0, -2, 511, -3, 7, 5, 1000, 2, 1};
  s.analog_flags = 7;
  s.nominal = 0x28;
  s.normal_max = 0x50;
  s.normal_min = 0x0a;
  s.sensor_max = 0x7f;
  s.sensor_min = 0x80;
  s.thresholds = {1, 2, 3, 4, 5, 6};
  s.positive_hysteresis = 2;
  s.negative_hysteresis = 1;
  s.oem = 9;
  s.name = "CPU Temp";
  return s;
}

TEST(Sdr, AFullRecordByteForByteAndBack) {
  Bytes bytes = encode(full());
  EXPECT_EQ(to_hex(bytes),
            "34 12 51 01 33 20 01 30 03 01 7f 68 01 01 85 3a 85 7a 3b 3b 80 01 00 00 fe c5 ff 68 f9 7d 07 28 50 0a "
            "7f 80 06 05 04 03 02 01 02 01 00 00 09 c8 43 50 55 20 54 65 6d 70");
  auto decoded = decode_sdr(bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.error().message;
  EXPECT_EQ(std::get<SdrSensor>(*decoded), full());
}

TEST(Sdr, CompactEventOnlyAndLocatorRecordsRoundTrip) {
  SdrSensor compact;
  compact.record_type = kSdrCompact;
  compact.number = 0x40;
  compact.event_reading_type = 0x6f;
  compact.sharing = 0x8142;
  compact.reading_mask = 0x7fff;
  compact.positive_hysteresis = 3;
  compact.oem = 7;
  compact.name = "PSU";
  EXPECT_EQ(encode(compact).size(), 5u + 27 + 3);
  EXPECT_EQ(std::get<SdrSensor>(*decode_sdr(encode(compact))), compact);
  SdrSensor event_only;
  event_only.record_type = kSdrEventOnly;
  event_only.number = 0x41;
  event_only.sensor_type = 0x12;
  event_only.event_reading_type = 0x6f;
  event_only.sharing = 1;
  event_only.name = "Boot";
  EXPECT_EQ(encode(event_only).size(), 5u + 12 + 4);
  EXPECT_EQ(std::get<SdrSensor>(*decode_sdr(encode(event_only))), event_only);
  SdrFruLocator fru{7, 0x20, 3, 0x80, 0x10, 0x10, 1, 7, 2, 5, "board"};
  EXPECT_EQ(std::get<SdrFruLocator>(*decode_sdr(encode(fru))), fru);
  EXPECT_TRUE(fru.logical());
  SdrMcLocator mc{8, 0x82, 7, 0x0f, 0x3f, 6, 1, 2, "satellite"};
  EXPECT_EQ(std::get<SdrMcLocator>(*decode_sdr(encode(mc))), mc);
  auto other = decode_sdr(hex("05 00 51 c0 03 01 02 03"));
  ASSERT_TRUE(other.ok());
  EXPECT_EQ(std::get<SdrOther>(*other), (SdrOther{5, 0xc0, {1, 2, 3}}));
}

TEST(Sdr, ALongNameIsCutAndAForeignOneSaidAsFarAsItGoes) {
  SdrMcLocator mc;
  mc.name = "a name of far more than sixteen";
  EXPECT_EQ(std::get<SdrMcLocator>(*decode_sdr(encode(mc))).name, "a name of far mo");
  mc.name = "K\xc3\xbchler";  // Latin-1 in UTF-8
  EXPECT_EQ(std::get<SdrMcLocator>(*decode_sdr(encode(mc))).name, "K\xc3\xbchler");
  EXPECT_EQ(encode(mc).back(), 'r');
  EXPECT_EQ(encode(mc).size(), 5u + 11 + 6);
  mc.name = "\xe6\xb8\xa9";
  EXPECT_EQ(std::get<SdrMcLocator>(*decode_sdr(encode(mc))).name, "???");
}

TEST(Sdr, EveryTruncationIsAnErrorThatSaysWhere) {
  for (const Bytes& whole : {encode(full()), encode(SdrFruLocator{}), encode(SdrMcLocator{})}) {
    size_t needed = whole.size();
    for (size_t size = 0; size < needed; ++size) {
      Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
      EXPECT_FALSE(decode_sdr(cut).ok()) << size;
      if (size < 5) continue;
      cut[4] = static_cast<uint8_t>(size - 5);  // a header that agrees does not help
      auto decoded = decode_sdr(cut);
      ASSERT_FALSE(decoded.ok()) << size;
      EXPECT_EQ(decoded.error().code, ErrorCode::kProtocol);
      EXPECT_THAT(decoded.error().message, HasSubstr("byte "));
    }
  }
  EXPECT_THAT(decode_sdr(hex("00 00 51 12 02 20 00 00")).error().message, HasSubstr("2 bytes follow, 3 do"));
}

TEST(Sdr, ADumpIsSplitIntoRecordsAndItsMistakesHaveOffsets) {
  Bytes dump = encode(full());
  Bytes mc = encode(SdrMcLocator{});
  dump.insert(dump.end(), mc.begin(), mc.end());
  auto records = parse_sdr_dump(dump);
  ASSERT_TRUE(records.ok());
  ASSERT_EQ(records->size(), 2u);
  EXPECT_EQ((*records)[0], encode(full()));
  EXPECT_EQ((*records)[1], mc);
  EXPECT_TRUE(parse_sdr_dump({})->empty());
  auto message = [](const Bytes& bytes) { return parse_sdr_dump(bytes).error().message; };
  Bytes tail = dump;
  tail.push_back(0x51);
  EXPECT_THAT(message(tail), HasSubstr("byte " + std::to_string(dump.size()) + " (record 3): a record header"));
  Bytes cut(dump.begin(), dump.end() - 1);
  EXPECT_THAT(message(cut), HasSubstr("byte 56 (record 2): the record says 16 bytes, 15 are left"));
  EXPECT_THAT(message(hex("00 00 51 00 00")), HasSubstr("record type 00h"));
  EXPECT_THAT(message(hex("00 00 51 01 01 20")), HasSubstr("too short"));
  EXPECT_EQ(parse_sdr_dump(cut).error().code, ErrorCode::kCorrupt);
  Bytes many;
  for (int i = 0; i < 65536; ++i) many.insert(many.end(), {0, 0, 0x51, 0xc0, 0});
  EXPECT_EQ(parse_sdr_dump(many).error().code, ErrorCode::kLimit);
}

TEST(Sdr, AnyBytesAreARecordOrAnError) {
  // A fixed sequence of mutations: nothing may be read past the end (sanitizers watch).
  uint32_t seed = 1;
  auto next = [&seed] { return seed = seed * 1664525 + 1013904223; };
  for (int i = 0; i < 4000; ++i) {
    Bytes bytes = i % 3 == 0 ? encode(full()) : i % 3 == 1 ? encode(SdrMcLocator{}) : encode(SdrFruLocator{});
    for (uint32_t n = next() >> 24 & 7; n > 0; --n) {
      uint32_t at = next();
      bytes[(at >> 8) % bytes.size()] = static_cast<uint8_t>(at >> 24);
    }
    bytes.resize((next() >> 16) % (bytes.size() + 8));
    auto decoded = decode_sdr(bytes);
    if (!decoded) {
      EXPECT_FALSE(decoded.error().message.empty());
    }
    (void)parse_sdr_dump(bytes);
  }
}

TEST(Sdr, RawReadingsAreSignedAsTheFormatSays) {
  EXPECT_EQ(sdr_raw_to_int(AnalogFormat::kUnsigned, 0xff), 255);
  EXPECT_EQ(sdr_raw_to_int(AnalogFormat::kTwosComplement, 0xff), -1);
  EXPECT_EQ(sdr_raw_to_int(AnalogFormat::kTwosComplement, 0x80), -128);
  EXPECT_EQ(sdr_raw_to_int(AnalogFormat::kOnesComplement, 0xfe), -1);
  EXPECT_EQ(sdr_raw_to_int(AnalogFormat::kOnesComplement, 0x80), -127);
  EXPECT_EQ(sdr_raw_to_int(AnalogFormat::kOnesComplement, 0xff), 0);
  for (auto format : {AnalogFormat::kUnsigned, AnalogFormat::kOnesComplement, AnalogFormat::kTwosComplement}) {
    for (int value = sdr_raw_min(format); value <= sdr_raw_max(format); ++value) {
      EXPECT_EQ(sdr_raw_to_int(format, sdr_int_to_raw(format, value)), value);
    }
    EXPECT_EQ(sdr_raw_to_int(format, sdr_int_to_raw(format, 1000)), sdr_raw_max(format));
    EXPECT_EQ(sdr_raw_to_int(format, sdr_int_to_raw(format, -1000)), sdr_raw_min(format));
  }
}

TEST(Sdr, ConversionIsMxPlusBWithBothExponents) {
  SdrFactors f;
  f.m = 2;
  f.b = 1;
  f.b_exponent = 2;
  f.r_exponent = -2;
  EXPECT_NEAR(*sdr_convert(f, AnalogFormat::kUnsigned, 10), 1.2, 1e-12);
  EXPECT_NEAR(*sdr_convert(f, AnalogFormat::kTwosComplement, 0xff), 0.98, 1e-12);
  EXPECT_NEAR(sdr_convert_counts(f, 3), 0.06, 1e-12);
  for (auto format : {AnalogFormat::kUnsigned, AnalogFormat::kTwosComplement}) {
    for (int16_t m : {2, -3, 511}) {
      f.m = m;
      for (unsigned raw = 0; raw < 256; ++raw) {
        double value = *sdr_convert(f, format, static_cast<uint8_t>(raw));
        EXPECT_EQ(sdr_unconvert(f, format, value), raw);
      }
    }
  }
  f.m = 2;
  EXPECT_EQ(sdr_unconvert(f, AnalogFormat::kUnsigned, 1e300), 255);
  EXPECT_EQ(sdr_unconvert(f, AnalogFormat::kUnsigned, -1e300), 0);
  EXPECT_EQ(sdr_unconvert(f, AnalogFormat::kTwosComplement, std::nan("")), 0x80);
}

TEST(Sdr, EveryLinearizationHasItsFormulaOrNoValue) {
  auto value = [](uint8_t linearization, uint8_t raw) {
    SdrFactors f;
    f.linearization = linearization;
    return sdr_convert(f, AnalogFormat::kTwosComplement, raw);
  };
  EXPECT_DOUBLE_EQ(*value(0x00, 8), 8);
  EXPECT_DOUBLE_EQ(*value(0x01, 8), std::log(8));
  EXPECT_DOUBLE_EQ(*value(0x02, 100), 2);
  EXPECT_DOUBLE_EQ(*value(0x03, 8), 3);
  EXPECT_DOUBLE_EQ(*value(0x04, 1), std::exp(1));
  EXPECT_DOUBLE_EQ(*value(0x05, 3), 1000);
  EXPECT_DOUBLE_EQ(*value(0x06, 8), 256);
  EXPECT_DOUBLE_EQ(*value(0x07, 8), 0.125);
  EXPECT_DOUBLE_EQ(*value(0x08, 8), 64);
  EXPECT_DOUBLE_EQ(*value(0x09, 8), 512);
  EXPECT_DOUBLE_EQ(*value(0x0a, 64), 8);
  EXPECT_DOUBLE_EQ(*value(0x0b, 27), 3);
  EXPECT_DOUBLE_EQ(*value(0x0b, 0xf8), -2);
  EXPECT_FALSE(value(0x01, 0));
  EXPECT_FALSE(value(0x03, 0xff));
  EXPECT_FALSE(value(0x07, 0));
  EXPECT_FALSE(value(0x0a, 0xff));
  EXPECT_FALSE(value(0x0c, 1));
  EXPECT_FALSE(value(0x70, 1));
  SdrSensor none = full();
  none.units1 = 0xc0;
  EXPECT_FALSE(sdr_convert(none, 1)) << "a sensor without an analog reading";
}

TEST(Sdr, FactorsAtTheirLimitsSurviveSixBytes) {
  for (int16_t wide : {-512, -1, 0, 1, 511}) {
    for (int8_t narrow : {-8, -1, 0, 7}) {
      SdrFactors f{0x05, wide, static_cast<int16_t>(-wide == 512 ? 511 : -wide), narrow, narrow, 63, 1023, 3, 2};
      EXPECT_EQ(decode_factors(0x05, encode_factors(f)), f);
    }
  }
  EXPECT_EQ(decode_factors(3, Bytes(5, 0)).m, 1) << "too short: the defaults";
}

TEST(Sdr, UnitsAndValuesAsText) {
  SdrSensor s = full();
  EXPECT_EQ(sdr_unit_text(s), "degrees C");
  s.units1 = 0x01;
  s.base_unit = 0;
  EXPECT_EQ(sdr_unit_text(s), "%");
  s.units1 = 3 << 3;
  s.base_unit = 70;
  EXPECT_EQ(sdr_unit_text(s), "byte/s");
  s.units1 = 1 << 1;
  s.base_unit = 36;
  s.modifier_unit = 23;
  EXPECT_EQ(sdr_unit_text(s), "cu m/minute");
  s.units1 = 2 << 1;
  s.base_unit = 16;
  s.modifier_unit = 34;
  EXPECT_EQ(sdr_unit_text(s), "Newton*m");
  SdrFactors f;
  EXPECT_EQ(sdr_value_text(f, 41), "41");
  f.r_exponent = -2;
  EXPECT_EQ(sdr_value_text(f, 1.2), "1.20");
  f.r_exponent = 2;
  EXPECT_EQ(sdr_value_text(f, 4200), "4200");
}

TEST(SensorNames, AreTheSpecificationsAndNeverOutOfBounds) {
  EXPECT_EQ(sensor_type_name(0x01), "Temperature");
  EXPECT_EQ(sensor_type_name(0x23), "Watchdog 2");
  EXPECT_EQ(sensor_type_name(0x2c), "FRU State");
  EXPECT_EQ(sensor_type_name(0x2d), "reserved");
  EXPECT_EQ(sensor_type_name(0xc0), "OEM");
  EXPECT_EQ(unit_name(1), "degrees C");
  EXPECT_EQ(unit_name(4), "Volts");
  EXPECT_EQ(unit_name(18), "RPM");
  EXPECT_EQ(unit_name(58), "PPM");
  EXPECT_EQ(unit_name(92), "grams");
  EXPECT_EQ(unit_name(93), "");
  EXPECT_EQ(entity_name(0x03), "processor");
  EXPECT_EQ(entity_name(0x1d), "fan");
  EXPECT_EQ(entity_name(0x37), "air inlet");
  EXPECT_EQ(entity_name(0x42), "baseboard");
  EXPECT_EQ(entity_name(0xff), "entity");
  EXPECT_EQ(threshold_name(kUc), "upper critical");
  EXPECT_EQ(threshold_name(6), "");
  EXPECT_EQ(offset_name(0x01, 0x01, 9), "upper critical going high");
  EXPECT_EQ(offset_name(0x01, 0x01, 12), "");
  EXPECT_EQ(offset_name(0x03, 0x08, 1), "state asserted");
  EXPECT_EQ(offset_name(0x6f, 0x08, 1), "power supply failure detected");
  EXPECT_EQ(offset_name(0xef, 0x23, 8), "timer interrupt");
  EXPECT_EQ(offset_name(0x6f, 0xc0, 0), "");
  EXPECT_EQ(threshold_status_name(0xc0), "ok");
  EXPECT_EQ(threshold_status_name(0xc8), "nc");
  EXPECT_EQ(threshold_status_name(0xd8), "cr");
  EXPECT_EQ(threshold_status_name(0xc7), "nr");
  EXPECT_EQ(states_text(0x6f, 0x08, 0x4003), "presence detected, power supply failure detected, state 14");
  EXPECT_EQ(states_text(0x6f, 0x08, 0), "");
  for (unsigned type = 0; type < 256; ++type) {
    for (unsigned n = 0; n < 256; ++n) {
      (void)offset_name(static_cast<uint8_t>(type), static_cast<uint8_t>(n), static_cast<uint8_t>(n));
    }
    EXPECT_FALSE(sensor_type_name(static_cast<uint8_t>(type)).empty());
  }
}

TEST(TypeLength, EveryCodingDecodesAndEncodes) {
  EXPECT_EQ(decode_string(StringCoding::kBinary, hex("01 ab")), "01ab");
  EXPECT_EQ(decode_string(StringCoding::kBcdPlus, hex("12 3a bc")), "123 -.");
  EXPECT_EQ(*encode_string(StringCoding::kBcdPlus, "123 -."), hex("12 3a bc"));
  EXPECT_EQ(decode_string(StringCoding::kSixBit, hex("29 dc a6")), "IPMI") << "the specification's own example";
  EXPECT_EQ(*encode_string(StringCoding::kSixBit, "IPMI"), hex("29 dc a6"));
  EXPECT_EQ(decode_string(StringCoding::kSixBit, *encode_string(StringCoding::kSixBit, "AB 12")), "AB 12");
  EXPECT_EQ(decode_string(StringCoding::kEightBit, hex("4b fc")), "K\xc3\xbc");
  EXPECT_EQ(*encode_string(StringCoding::kEightBit, "K\xc3\xbc"), hex("4b fc"));
  EXPECT_EQ(decode_ucs2(hex("4b 00 29 6e 00 d8 77")), "K\xe6\xb8\xa9\xef\xbf\xbd");
  EXPECT_FALSE(encode_string(StringCoding::kSixBit, "abc"));
  EXPECT_FALSE(encode_string(StringCoding::kBcdPlus, "12a"));
  EXPECT_FALSE(encode_string(StringCoding::kEightBit, "\xe6\xb8\xa9"));
  EXPECT_FALSE(encode_string(StringCoding::kEightBit, "\xc3"));
  EXPECT_FALSE(encode_string(StringCoding::kEightBit, "\xc3z"));
}

}  // namespace
}  // namespace bmcpair::ipmi
