// Bytes as text, as tools of the field print them: "18 01 d5".
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace bmcpair {

using Bytes = std::vector<uint8_t>;
using ByteView = std::span<const uint8_t>;

std::string to_hex(ByteView bytes, std::string_view separator = " ");

// Hexadecimal digits in pairs, separated by nothing, blanks, ':' or '-'; nothing else. nullopt when malformed.
std::optional<Bytes> from_hex(std::string_view text);

// One number as people type it: decimal, or hexadecimal after 0x. nullopt when malformed or above max.
std::optional<uint64_t> parse_number(std::string_view text, uint64_t max);

}  // namespace bmcpair
