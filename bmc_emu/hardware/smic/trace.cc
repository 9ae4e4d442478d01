#include "bmc_emu/hardware/smic/trace.h"

#include "bmc_emu/hardware/smic/registers.h"
#include "bmc_emu/hardware/trace_line.h"

namespace bmcpair::hardware::smic {

using namespace registers::smic;

std::string describe_flags(uint8_t flags) {
  std::string names = bit_names(flags_rules(), flags);
  return names.empty() ? "-" : names.substr(1);
}

std::string describe(const Access& access) {
  std::string_view name = "?";
  if (access.offset == kData) name = "data";
  if (access.offset == kControl) name = access.is_write == (access.face == Face::kHost) ? "control" : "status";
  if (access.offset == kFlags) name = "flags";
  return trace_line(access, name, describe_flags(access.flags_after));
}

}  // namespace bmcpair::hardware::smic
