// Strings behind a type/length byte, as SDRs (IPMI 2.0 §43.15) and FRU inventories (Platform Management FRU
// Information Storage Definition v1.0 rev 1.3 §13) carry them. Text on our side is UTF-8.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "proto/base/hex.h"

namespace bmcpair::ipmi {

enum class StringCoding : uint8_t {
  kBinary = 0,    // FRU; in an SDR this is Unicode
  kBcdPlus = 1,   // 0-9, space, '-', '.'
  kSixBit = 2,    // 20h..5Fh, packed
  kEightBit = 3,  // ASCII and Latin-1
};

// The bytes after the type/length byte, as text. Binary becomes hexadecimal.
std::string decode_string(StringCoding coding, ByteView bytes);
// Two-byte little-endian Unicode, as FRU areas in other languages than English have it.
std::string decode_ucs2(ByteView bytes);
// nullopt when the text has a character that the coding cannot carry, or is not UTF-8.
std::optional<Bytes> encode_string(StringCoding coding, std::string_view text);

}  // namespace bmcpair::ipmi
