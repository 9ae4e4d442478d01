// FRU inventory areas (Platform Management FRU Information Storage Definition v1.0 rev 1.3).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "proto/base/hex.h"
#include "proto/base/result.h"

namespace bmcpair::ipmi {

constexpr size_t kFruFieldBytesMax = 62;   // type/length has 6 bits; 63 of 8-bit text is not read by every tool
constexpr size_t kFruCustomFieldsMax = 32;
constexpr size_t kFruRecordsMax = 256;

struct FruChassis {
  uint8_t type = 0x17;  // SMBIOS chassis type: 17h rack mount chassis
  std::string part_number;
  std::string serial;
  std::vector<std::string> custom;
  bool operator==(const FruChassis&) const = default;
};

struct FruBoard {
  uint8_t language = 0;        // 0 and 25: English
  uint32_t manufactured = 0;   // minutes since 1996-01-01 00:00 UTC, 24 bits; 0: unspecified
  std::string manufacturer;
  std::string product;
  std::string serial;
  std::string part_number;
  std::string fru_file_id;
  std::vector<std::string> custom;
  bool operator==(const FruBoard&) const = default;
};

struct FruProduct {
  uint8_t language = 0;
  std::string manufacturer;
  std::string name;
  std::string part_number;
  std::string version;
  std::string serial;
  std::string asset_tag;
  std::string fru_file_id;
  std::vector<std::string> custom;
  bool operator==(const FruProduct&) const = default;
};

// A record of the MultiRecord area: not interpreted, but found and checked.
struct FruMultiRecord {
  uint8_t type = 0;
  uint16_t offset = 0;  // of its data in the inventory
  uint8_t size = 0;
  bool operator==(const FruMultiRecord&) const = default;
};

struct FruInventory {
  std::optional<FruChassis> chassis;
  std::optional<FruBoard> board;
  std::optional<FruProduct> product;
  bool internal_use = false;             // parse only
  std::vector<FruMultiRecord> records;   // parse only
  bool operator==(const FruInventory&) const = default;
};

// Errors: kInvalidArgument naming the field (too long, or a character that is not Latin-1); kLimit when the result is
// longer than size_max.
Result<Bytes> build_fru(const FruInventory& inventory, size_t size_max);

// Errors: kCorrupt, with the offset from the start of the inventory.
Result<FruInventory> parse_fru(ByteView inventory);

// "2024-01-31 12:00" ; empty for 0.
std::string fru_date_text(uint32_t minutes_since_1996);

}  // namespace bmcpair::ipmi
