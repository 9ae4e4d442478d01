#include "host_driver/port_io/ports.h"

#include <algorithm>

#include "proto/base/hex.h"

namespace bmcpair::port_io {
namespace {

constexpr size_t kRangesMax = 64;
constexpr uint64_t kSpacingMax = 256;
constexpr uint16_t kRegistersMost = 3;

Error bad(std::string_view part, const std::string& what) {
  return {ErrorCode::kInvalidArgument,
          "'" + std::string(part.substr(0, 80)) + "' " + what + "; expected e.g. kcs=0xca2,bt=0xe4, demo2/kcs=0xca8/4, or none"};
}

}  // namespace

std::vector<PortRange> usual_ports() { return {{"kcs", 0xca2, 1}, {"bt", 0xe4, 1}, {"smic", 0xca9, 1}}; }

bool is_kind(std::string_view interface, registers::InterfaceKind* kind) {
  for (auto k : {registers::InterfaceKind::kKcs, registers::InterfaceKind::kBt, registers::InterfaceKind::kSmic}) {
    if (interface != to_string(k)) continue;
    *kind = k;
    return true;
  }
  return false;
}

Result<std::vector<PortRange>> parse_ports(std::string_view text) {
  std::vector<PortRange> out;
  if (text == "none") return out;
  while (true) {
    const size_t comma = text.find(',');
    const std::string_view part = text.substr(0, comma);
    const size_t equals = part.find('=');
    if (equals == std::string_view::npos || equals == 0) return bad(part, "is not INTERFACE=PORT");
    PortRange range;
    range.interface = part.substr(0, equals);
    registers::InterfaceKind kind;
    if (!is_kind(range.interface, &kind) && range.interface.find('/') == std::string::npos) {
      return bad(part, "names neither a kind (kcs, bt, smic) nor a bmc/interface");
    }
    std::string_view base = part.substr(equals + 1), spacing = "1";
    if (const size_t slash = base.find('/'); slash != std::string_view::npos) {
      spacing = base.substr(slash + 1);
      base = base.substr(0, slash);
    }
    auto step = parse_number(spacing, kSpacingMax);
    if (!step || *step == 0) return bad(part, "has a spacing that is not 1 to 256");
    range.spacing = static_cast<uint16_t>(*step);
    auto number = parse_number(base, 0xffff - (kRegistersMost - 1) * *step);
    if (!number) return bad(part, "has a port that is no number or too high");
    range.base = static_cast<uint16_t>(*number);
    // Which of two answers is for nobody to guess. KCS has two registers: its third port is somebody else's.
    auto last_of = [](const PortRange& r) {
      registers::InterfaceKind k;
      const unsigned count = is_kind(r.interface, &k) ? registers::register_count(k) : kRegistersMost;
      return r.base + (count - 1u) * r.spacing;
    };
    for (const PortRange& other : out) {
      if (other.spacing == 1 && range.spacing == 1 && range.base <= last_of(other) && other.base <= last_of(range)) {
        return bad(part, "overlaps " + other.interface + "'s ports");
      }
    }
    if (out.size() == kRangesMax) return bad(part, "is more than " + std::to_string(kRangesMax) + " ranges");
    out.push_back(std::move(range));
    if (comma == std::string_view::npos) return out;
    text.remove_prefix(comma + 1);
  }
}

}  // namespace bmcpair::port_io
