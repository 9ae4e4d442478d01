// SEL records (IPMI 2.0 ch. 32) and their text.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "proto/base/hex.h"
#include "proto/base/result.h"
#include "proto/ipmi/sdr.h"

namespace bmcpair::ipmi {

constexpr size_t kSelRecordBytes = 16;
constexpr uint8_t kSelSystemEvent = 0x02;
constexpr uint8_t kSelOemTimestamped = 0xc0;     // ..DFh
constexpr uint8_t kSelOemUntimestamped = 0xe0;   // ..FFh

struct SelRecord {
  uint16_t id = 0;
  uint8_t type = kSelSystemEvent;
  uint32_t timestamp = 0;       // below type E0h
  // System events.
  uint8_t generator_low = 0x20;  // 7:1 address or software id, 0: 1 software id
  uint8_t generator_high = 0;    // 7:4 channel, 1:0 LUN
  uint8_t evm_rev = 0x04;
  uint8_t sensor_type = 0;
  uint8_t sensor_number = 0;
  uint8_t event_dir_type = 0;    // 7: deassertion
  std::array<uint8_t, 3> data{0xff, 0xff, 0xff};
  // OEM, time-stamped.
  uint32_t manufacturer_id = 0;
  // OEM: 6 bytes when time-stamped, else 13.
  Bytes oem;

  bool system_event() const { return type == kSelSystemEvent; }
  bool timestamped() const { return type < kSelOemUntimestamped; }
  bool deassertion() const { return (event_dir_type & 0x80) != 0; }
  uint8_t event_type() const { return event_dir_type & 0x7f; }
  uint8_t offset() const { return data[0] & 0x0f; }
  bool operator==(const SelRecord&) const = default;
};

// Errors: kProtocol unless there are exactly 16 bytes. Types that the specification reserves are read as system events.
Result<SelRecord> decode_sel_record(ByteView record);
Bytes encode(const SelRecord& record);

// "upper critical going high, reading 91 >= 90 degrees C"; `sensor` (null: unknown) turns raw bytes into values.
std::string sel_event_text(const SelRecord& record, const SdrSensor* sensor);
// One line: "   1 | 2024-01-31 12:00:00 | Temperature CPU | upper critical going high ... | asserted".
std::string sel_line(const SelRecord& record, const SdrSensor* sensor);
// Seconds since 1970 as "2024-01-31 12:00:00"; below 20000000h they count from the BMC's initialization (ch. 37).
std::string sel_time_text(uint32_t seconds);

}  // namespace bmcpair::ipmi
