// What the traces of all interfaces have in common.
#pragma once

#include <string>
#include <string_view>

#include "bmc_emu/hardware/register_rule.h"

namespace bmcpair::hardware {

// " NAME NAME" for the bits that are set, in the table's order.
inline std::string bit_names(const BitTable& table, uint8_t bits) {
  std::string out;
  for (const BitRule& rule : table) {
    if ((bits & rule.bit) != 0) out += " " + std::string(rule.name);
  }
  return out;
}

inline std::string trace_line(const Access& access, std::string_view name, std::string_view flags) {
  std::string out = access.face == Face::kHost ? "host " : "bmc  ";
  out += access.is_write ? "W " : "R ";
  out += name;
  out.append(name.size() < 8 ? 8 - name.size() : 0, ' ');
  out += " " + to_hex(ByteView(&access.value, 1)) + " | ";
  out += flags;
  if (access.interrupt_after) out += " irq";
  return out;
}

}  // namespace bmcpair::hardware
