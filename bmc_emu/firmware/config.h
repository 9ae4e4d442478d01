// What one BMC is, as plain values. daemon/config fills it from YAML; tests fill it by hand.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "proto/base/hex.h"
#include "proto/base/time.h"

namespace bmcpair::firmware {

using Guid = std::array<uint8_t, 16>;  // as on the wire of Get Device GUID

// Get Device ID (§20.1).
struct Identity {
  uint8_t device_id = 0x20;
  uint8_t device_revision = 1;        // 4 bits
  bool provides_device_sdrs = true;
  uint8_t firmware_major = 1;         // 7 bits
  uint8_t firmware_minor_bcd = 0x00;
  uint8_t ipmi_version_bcd = 0x02;    // 2.0; low nibble is the major version (§20.1 byte 5)
  uint8_t additional_device_support = 0xbf;  // chassis, event generator/receiver, FRU, SEL, SDR, sensor
  uint32_t manufacturer_id = 0;       // 20 bits
  uint16_t product_id = 0;
  std::array<uint8_t, 4> aux_firmware{};
  Guid device_guid{};
  Guid system_guid{};
  uint8_t ipmb_address = 0x20;
};

// A simple wave form for a threshold sensor, in the sensor's units.
struct Wave {
  enum class Shape : uint8_t { kConstant, kSine, kTriangle, kSquare, kStep };
  Shape shape = Shape::kConstant;
  double amplitude = 0;
  Duration period = std::chrono::seconds(60);
};

struct Thresholds {  // in the sensor's units; absent means not supported
  std::optional<double> lower_non_recoverable, lower_critical, lower_non_critical;
  std::optional<double> upper_non_critical, upper_critical, upper_non_recoverable;
  double positive_hysteresis = 0;
  double negative_hysteresis = 0;
};

struct SensorConfig {
  std::string name;                   // at most 16 characters (SDR ID string)
  uint8_t number = 0;
  uint8_t owner_lun = 0;
  uint8_t sensor_type = 0x01;         // table 42-3
  uint8_t entity_id = 0x07;           // table 43-13
  uint8_t entity_instance = 1;
  bool threshold = true;              // else discrete
  // Threshold sensors: reading = (M x raw + B x 10^b_exponent) x 10^r_exponent (§36.3).
  uint8_t unit = 1;                   // table 43-15: 1 degrees C, 4 volts, 18 RPM...
  int16_t m = 1;                      // 10 bits signed
  int16_t b = 0;                      // 10 bits signed
  int8_t b_exponent = 0;              // 4 bits signed
  int8_t r_exponent = 0;              // 4 bits signed
  bool is_signed = false;             // analog data format: two's complement
  double initial = 0;
  double nominal = 0;
  Wave wave;
  Thresholds thresholds;
  // Discrete sensors.
  uint8_t event_reading_type = 0x6f;  // table 42-1
  uint16_t event_mask = 0x7fff;       // offsets that raise events
  uint16_t initial_state = 0;
  bool settable = true;               // Set Sensor Reading And Event Status
};

struct FruConfig {
  uint8_t id = 0;
  std::string name = "FRU";
  uint16_t size = 2048;               // bytes of the inventory area
  Bytes content;                      // at most size; the rest reads as FF (made by proto/ipmi/fru or read from a file)
};

// A management controller on the IPMB behind this BMC, reached through Send Message.
struct SatelliteConfig {
  uint8_t address = 0x82;             // 8-bit slave address, even
  Identity identity;
  bool answers = true;                // false: NAKs (completion code 83h)
  Duration latency = std::chrono::milliseconds(1);
};

// A device on a private or public bus, for Master Write-Read (§22.11).
struct I2cDeviceConfig {
  uint8_t bus = 0;                    // byte 1 of the request, channel included
  uint8_t address = 0xa0;             // 8-bit slave address, even
  Bytes content;                      // up to 256 bytes; the first written byte is the offset
  bool writable = true;
};

struct UserConfig {
  uint8_t id = 2;                     // 1..63
  std::string name;                   // at most 16
  std::string password;               // at most 20
  uint8_t privilege = 4;              // 1 callback .. 4 administrator
  bool enabled = true;
};

struct ChannelConfig {
  uint8_t number = 1;                 // 1..0x0b; 0 (primary IPMB) and 0x0f (system interface) are always there
  uint8_t medium = 4;                 // table 6-3: 4 = 802.3 LAN
  uint8_t protocol = 1;               // table 6-2: 1 = IPMB-1.0
  uint8_t privilege_limit = 4;
};

struct BmcConfig {
  std::string name = "bmc";
  Identity identity;
  std::vector<SensorConfig> sensors;
  std::vector<FruConfig> frus;
  Bytes sdr_dump;                     // records as `ipmitool sdr dump` writes them; joined to those made from sensors
  uint16_t sdr_bytes_max = 32768;
  std::vector<Bytes> sel_preload;     // 16-byte records, added once, to an empty SEL
  uint16_t sel_entries_max = 1024;
  std::vector<SatelliteConfig> satellites;
  std::vector<I2cDeviceConfig> i2c_devices;
  std::vector<UserConfig> users;
  std::vector<ChannelConfig> channels;
  Duration cold_reset_offline = std::chrono::seconds(2);
  Duration warm_reset_offline = std::chrono::milliseconds(200);
  bool power_on = true;
  uint8_t max_requests_outstanding = 1;  // Get BT Interface Capabilities (§22.9)
  uint8_t bt_response_seconds = 5;
  uint8_t bt_retries = 2;
  // Seconds since 1970-01-01 UTC at Instant{}: what SEL and SDR clocks start from.
  int64_t unix_seconds_at_zero = 0;
};

}  // namespace bmcpair::firmware
