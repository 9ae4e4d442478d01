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

// A table's bits by rule, for one face: a register is written in one go.
struct RuleMasks {
  uint8_t assigned = 0, set_by_one = 0, cleared_by_one = 0, toggled_by_one = 0, cleared_by_zero = 0, pulsed = 0;
  uint8_t seen = 0;
};

constexpr RuleMasks masks_of(const BitTable& table, Face face) {
  RuleMasks out;
  for (const BitRule& rule : table) {
    uint8_t* mask = nullptr;
    switch (face == Face::kHost ? rule.host : rule.bmc) {
      case WriteRule::kIgnored: break;
      case WriteRule::kAssign: mask = &out.assigned; break;
      case WriteRule::kSetByOne: mask = &out.set_by_one; break;
      case WriteRule::kClearByOne: mask = &out.cleared_by_one; break;
      case WriteRule::kToggleByOne: mask = &out.toggled_by_one; break;
      case WriteRule::kClearByZero: mask = &out.cleared_by_zero; break;
      case WriteRule::kPulse: mask = &out.pulsed; break;
    }
    if (mask) *mask = static_cast<uint8_t>(*mask | rule.bit);
    if (face == Face::kHost ? rule.host_sees : rule.bmc_sees) out.seen = static_cast<uint8_t>(out.seen | rule.bit);
  }
  return out;
}

struct Rules {
  explicit constexpr Rules(const BitTable& table) : host(masks_of(table, Face::kHost)), bmc(masks_of(table, Face::kBmc)) {}
  constexpr const RuleMasks& of(Face face) const { return face == Face::kHost ? host : bmc; }
  RuleMasks host, bmc;
};

struct Written {
  uint8_t value = 0;   // the register afterwards
  uint8_t pulses = 0;  // kPulse bits that were written as 1
};

// Writes `written` to the bits of `mask`; the others keep their value. Mask and write are one access.
constexpr Written write_bits(const RuleMasks& rules, uint8_t before, uint8_t written, uint8_t mask = 0xff) {
  const auto ones = static_cast<uint8_t>(written & mask);
  const auto zeros = static_cast<uint8_t>(~written & mask);
  const auto sets = static_cast<uint8_t>(ones & (rules.assigned | rules.set_by_one));
  const auto clears = static_cast<uint8_t>((zeros & (rules.assigned | rules.cleared_by_zero)) | (ones & rules.cleared_by_one));
  const auto toggles = static_cast<uint8_t>(ones & rules.toggled_by_one);
  return {static_cast<uint8_t>(((before | sets) & ~clears) ^ toggles), static_cast<uint8_t>(ones & rules.pulsed)};
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
