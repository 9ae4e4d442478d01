// What a bit of a two-sided register does when one face writes it, as data. Each interface has its table in its
// registers.cc and nowhere else.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "bmc_emu/hardware/interface.h"

namespace bmcpair::hardware {

using Face = Access::Face;

enum class WriteRule : uint8_t {
  kIgnored,      // this face cannot change the bit
  kAssign,       // the bit becomes what is written
  kSetByOne,     // 1 sets, 0 does nothing
  kClearByOne,   // 1 clears, 0 does nothing
  kToggleByOne,  // 1 inverts, 0 does nothing
  kClearByZero,  // 0 clears, 1 does nothing
  kPulse,        // 1 does something at once and is not kept; 0 does nothing
};

struct BitRule {
  uint8_t bit = 0;  // mask of one bit
  std::string_view name;
  WriteRule host = WriteRule::kIgnored;
  WriteRule bmc = WriteRule::kIgnored;
  bool host_sees = true;  // false: reads as 0 on this face
  bool bmc_sees = true;
};

using BitTable = std::array<BitRule, 8>;

struct Written {
  uint8_t value = 0;   // the register afterwards
  uint8_t pulses = 0;  // kPulse bits that were written as 1
};

// Writes `written` to the bits of `mask`; the others keep their value. Mask and write are one access.
constexpr Written write_bits(const BitTable& table, Face face, uint8_t before, uint8_t written, uint8_t mask = 0xff) {
  Written out{before, 0};
  for (const BitRule& rule : table) {
    if ((mask & rule.bit) == 0) continue;
    const bool one = (written & rule.bit) != 0;
    bool set = false;
    bool clear = false;
    switch (face == Face::kHost ? rule.host : rule.bmc) {
      case WriteRule::kIgnored: break;
      case WriteRule::kAssign: (one ? set : clear) = true; break;
      case WriteRule::kSetByOne: set = one; break;
      case WriteRule::kClearByOne: clear = one; break;
      case WriteRule::kToggleByOne: ((before & rule.bit) != 0 ? clear : set) = one; break;
      case WriteRule::kClearByZero: clear = !one; break;
      case WriteRule::kPulse:
        if (one) out.pulses = static_cast<uint8_t>(out.pulses | rule.bit);
        break;
    }
    if (set) out.value = static_cast<uint8_t>(out.value | rule.bit);
    if (clear) out.value = static_cast<uint8_t>(out.value & ~rule.bit);
  }
  return out;
}

constexpr uint8_t visible_bits(const BitTable& table, Face face) {
  uint8_t mask = 0;
  for (const BitRule& rule : table) {
    if (face == Face::kHost ? rule.host_sees : rule.bmc_sees) mask = static_cast<uint8_t>(mask | rule.bit);
  }
  return mask;
}

// What the hardware does to a flags register by itself when another register is accessed.
struct AccessRule {
  Face face = Face::kHost;
  bool is_write = false;
  uint16_t offset = 0;
  uint8_t sets = 0;
  uint8_t clears = 0;
  uint8_t latches_sets = 0;    // interrupt latches, in the interface's own bits
  uint8_t latches_clears = 0;
};

constexpr uint8_t change_bits(uint8_t before, uint8_t sets, uint8_t clears) {
  return static_cast<uint8_t>((before & ~clears) | sets);
}

}  // namespace bmcpair::hardware
