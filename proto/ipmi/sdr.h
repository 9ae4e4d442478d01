// Sensor Data Records (IPMI 2.0 ch. 43), and how a raw reading becomes a value (§36.3).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "proto/base/hex.h"
#include "proto/base/result.h"

namespace bmcpair::ipmi {

constexpr uint8_t kSdrVersion = 0x51;
constexpr size_t kSdrHeaderBytes = 5;
constexpr size_t kSdrBytesMax = kSdrHeaderBytes + 255;
constexpr size_t kSdrNameMax = 16;  // of an ID string
constexpr uint8_t kSdrFull = 0x01;
constexpr uint8_t kSdrCompact = 0x02;
constexpr uint8_t kSdrEventOnly = 0x03;
constexpr uint8_t kSdrFruLocator = 0x11;
constexpr uint8_t kSdrMcLocator = 0x12;

struct SdrHeader {
  uint16_t id = 0;
  uint8_t version = kSdrVersion;
  uint8_t type = 0;
  uint8_t length = 0;  // of what follows the header
};
// Errors: kProtocol below five bytes.
Result<SdrHeader> decode_sdr_header(ByteView record);

// Analog data format (§43.1 byte 21 bits 7:6).
enum class AnalogFormat : uint8_t { kUnsigned = 0, kOnesComplement = 1, kTwosComplement = 2, kNone = 3 };

// Reading = L[(M x raw + B x 10^b_exponent) x 10^r_exponent].
struct SdrFactors {
  uint8_t linearization = 0;  // 0 linear .. 0Bh cube root; 70h.. non-linear: ask Get Sensor Reading Factors
  int16_t m = 1;              // 10 bits
  int16_t b = 0;              // 10 bits
  int8_t b_exponent = 0;      // 4 bits
  int8_t r_exponent = 0;      // 4 bits
  uint8_t tolerance = 0;      // 6 bits, in half raw counts
  uint16_t accuracy = 0;      // 10 bits, in 1/100 percent
  uint8_t accuracy_exponent = 0;  // 2 bits
  uint8_t direction = 0;          // 2 bits: 0 unspecified, 1 input, 2 output
  bool operator==(const SdrFactors&) const = default;
};

// The order of thresholds in every mask and command (§35.8).
enum Threshold : uint8_t { kLnc = 0, kLc = 1, kLnr = 2, kUnc = 3, kUc = 4, kUnr = 5 };

// Full (01h), compact (02h) and event-only (03h) sensor records; what a type has not stays as it is here.
struct SdrSensor {
  uint16_t record_id = 0;
  uint8_t record_type = kSdrFull;
  uint8_t owner_id = 0x20;
  uint8_t owner_lun = 0;  // bits 7:4 channel, 1:0 LUN
  uint8_t number = 0;
  uint8_t entity_id = 0;
  uint8_t entity_instance = 0;
  uint8_t initialization = 0;
  uint8_t capabilities = 0;
  uint8_t sensor_type = 0;
  uint8_t event_reading_type = 0;
  uint16_t assertion_mask = 0;    // threshold sensors: bits 14:12 lower comparisons returned
  uint16_t deassertion_mask = 0;  // threshold sensors: bits 14:12 upper comparisons returned
  uint16_t reading_mask = 0;      // threshold sensors: low byte readable, high byte settable
  uint8_t units1 = 0;             // 7:6 analog format, 5:3 rate, 2:1 modifier use, 0 percentage
  uint8_t base_unit = 0;
  uint8_t modifier_unit = 0;
  // Full records.
  SdrFactors factors;
  uint8_t analog_flags = 0;  // 2 normal minimum, 1 normal maximum, 0 nominal are specified
  uint8_t nominal = 0;
  uint8_t normal_max = 0;
  uint8_t normal_min = 0;
  uint8_t sensor_max = 0xff;
  uint8_t sensor_min = 0;
  std::array<uint8_t, 6> thresholds{};  // by Threshold
  // Full and compact records.
  uint8_t positive_hysteresis = 0;
  uint8_t negative_hysteresis = 0;
  // Compact and event-only records.
  uint16_t sharing = 0;
  uint8_t oem = 0;
  std::string name;

  bool threshold() const { return event_reading_type == 0x01; }
  AnalogFormat format() const { return static_cast<AnalogFormat>(units1 >> 6); }
  // A full record with an analog reading that can be converted.
  bool has_value() const {
    return record_type == kSdrFull && format() != AnalogFormat::kNone && factors.linearization <= 0x0b;
  }
  bool operator==(const SdrSensor&) const = default;
};

struct SdrFruLocator {  // type 11h
  uint16_t record_id = 0;
  uint8_t access_address = 0x20;
  uint8_t fru_id = 0;
  uint8_t access = 0x80;  // 7 logical device, 4:3 LUN, 2:0 private bus
  uint8_t channel = 0;    // bits 7:4
  uint8_t device_type = 0x10;
  uint8_t device_type_modifier = 0;
  uint8_t entity_id = 0;
  uint8_t entity_instance = 0;
  uint8_t oem = 0;
  std::string name;
  bool logical() const { return (access & 0x80) != 0; }
  bool operator==(const SdrFruLocator&) const = default;
};

struct SdrMcLocator {  // type 12h
  uint16_t record_id = 0;
  uint8_t address = 0x20;
  uint8_t channel = 0;        // bits 3:0
  uint8_t notification = 0;   // power state notification, global initialization
  uint8_t capabilities = 0;   // 7 chassis, 6 bridge, 5 event generator, 4 event receiver, 3 FRU, 2 SEL, 1 SDR, 0 sensor
  uint8_t entity_id = 0;
  uint8_t entity_instance = 0;
  uint8_t oem = 0;
  std::string name;
  bool operator==(const SdrMcLocator&) const = default;
};

struct SdrOther {  // a type we keep as bytes: entity association, OEM...
  uint16_t record_id = 0;
  uint8_t record_type = 0;
  Bytes body;
  bool operator==(const SdrOther&) const = default;
};

using SdrRecord = std::variant<SdrSensor, SdrFruLocator, SdrMcLocator, SdrOther>;

// Names longer than kSdrNameMax are cut. Never more than kSdrBytesMax bytes.
Bytes encode(const SdrSensor& sensor);
Bytes encode(const SdrFruLocator& locator);
Bytes encode(const SdrMcLocator& locator);
// Errors: kProtocol, with what was wrong and at which byte (from 0) of the record. Bytes after the ID string are
// tolerated: machines pad.
Result<SdrRecord> decode_sdr(ByteView record);

// Whole records one after another, as `ipmitool sdr dump` writes them. Errors: kCorrupt with the offset in the dump;
// kLimit above 65535 records.
Result<std::vector<Bytes>> parse_sdr_dump(ByteView dump);

// nullopt when the linearization has no value there (logarithm of a negative number, 1/0), or is not a formula.
std::optional<double> sdr_convert(const SdrFactors& factors, AnalogFormat format, uint8_t raw);
std::optional<double> sdr_convert(const SdrSensor& sensor, uint8_t raw);
// Hysteresis, tolerance: a number of counts, without B.
double sdr_convert_counts(const SdrFactors& factors, double counts);
// Nearest raw value of a linear sensor, bounded to what the format can express; factors.m must not be 0.
uint8_t sdr_unconvert(const SdrFactors& factors, AnalogFormat format, double value);
// A raw reading as a number on the sensor's own scale: what thresholds are compared by.
int sdr_raw_to_int(AnalogFormat format, uint8_t raw);
uint8_t sdr_int_to_raw(AnalogFormat format, int value);
constexpr int sdr_raw_min(AnalogFormat format) {
  return format == AnalogFormat::kTwosComplement ? -128 : format == AnalogFormat::kOnesComplement ? -127 : 0;
}
constexpr int sdr_raw_max(AnalogFormat format) {
  return format == AnalogFormat::kTwosComplement || format == AnalogFormat::kOnesComplement ? 127 : 255;
}

// "degrees C", "RPM", "% ", "W/s" ...: base unit, rate, modifier and percentage together.
std::string sdr_unit_text(const SdrSensor& sensor);
// 41.5 with as many digits as the factors can tell apart.
std::string sdr_value_text(const SdrFactors& factors, double value);

// The reading factors as Get Sensor Reading Factors and full records carry them: M.. exponents, 6 bytes (§35.5).
std::array<uint8_t, 6> encode_factors(const SdrFactors& factors);
SdrFactors decode_factors(uint8_t linearization, ByteView six_bytes);

}  // namespace bmcpair::ipmi
