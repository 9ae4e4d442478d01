#include "bmc_emu/hardware/kcs/trace.h"

#include "bmc_emu/hardware/kcs/registers.h"
#include "bmc_emu/hardware/trace_line.h"

namespace bmcpair::hardware::kcs {

using namespace registers::kcs;

std::string describe_flags(uint8_t status) {
  static constexpr const char* kStates[] = {"IDLE", "READ", "WRITE", "ERROR"};
  return kStates[status >> kStateShift] + bit_names(status_rules(), static_cast<uint8_t>(status & ~kStateMask));
}

std::string describe(const Access& access) {
  std::string_view name = "?";
  if (access.offset == kData) name = access.is_write == (access.face == Face::kHost) ? "data_in" : "data_out";
  if (access.offset == kStatus) name = access.is_write && access.face == Face::kHost ? "command" : "status";
  return trace_line(access, name, describe_flags(access.flags_after));
}

}  // namespace bmcpair::hardware::kcs
