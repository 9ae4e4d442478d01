#include "bmc_emu/hardware/bt/trace.h"

#include "bmc_emu/hardware/bt/registers.h"
#include "bmc_emu/hardware/trace_line.h"

namespace bmcpair::hardware::bt {

using namespace registers::bt;

std::string describe_flags(uint8_t flags) {
  std::string names = bit_names(ctrl_rules(), flags);
  return names.empty() ? "-" : names.substr(1);
}

std::string describe(const Access& access) {
  std::string_view name = "?";
  if (access.offset == kCtrl) name = "ctrl";
  if (access.offset == kBuffer) name = access.is_write == (access.face == Face::kHost) ? "to_bmc" : "to_host";
  if (access.offset == kIntMask) name = "intmask";
  std::string line = trace_line(access, name, describe_flags(access.flags_after));
  // What a write to BT_CTRL asks for is not what the flags are afterwards.
  if (access.offset == kCtrl && access.is_write) line += " <-" + bit_names(ctrl_rules(), access.value);
  return line;
}

}  // namespace bmcpair::hardware::bt
