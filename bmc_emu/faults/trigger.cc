#include "bmc_emu/faults/trigger.h"

#include <algorithm>

#include "proto/registers/bt.h"
#include "proto/registers/kcs.h"
#include "proto/registers/smic.h"

namespace bmcpair::faults {

std::optional<uint16_t> register_offset(registers::InterfaceKind kind, Register name) {
  namespace bt = registers::bt;
  namespace kcs = registers::kcs;
  namespace smic = registers::smic;
  switch (kind) {
    case registers::InterfaceKind::kBt:
      if (name == Register::kCtrl) return bt::kCtrl;
      if (name == Register::kBuffer) return bt::kBuffer;
      if (name == Register::kIntMask) return bt::kIntMask;
      return std::nullopt;
    case registers::InterfaceKind::kKcs:
      if (name == Register::kData) return kcs::kData;
      if (name == Register::kStatus) return kcs::kStatus;
      if (name == Register::kCommand) return kcs::kCommand;
      return std::nullopt;
    case registers::InterfaceKind::kSmic:
      if (name == Register::kData) return smic::kData;
      if (name == Register::kControl) return smic::kControl;
      if (name == Register::kStatus) return smic::kStatus;
      if (name == Register::kFlags) return smic::kFlags;
      return std::nullopt;
  }
  return std::nullopt;
}

bool holds(const Trigger& trigger, const Request& request) {
  if (trigger.netfn && ((request.netfn ^ *trigger.netfn) & trigger.netfn_mask) != 0) return false;
  if (trigger.cmd && ((request.cmd ^ *trigger.cmd) & trigger.cmd_mask) != 0) return false;
  return request.data.size() >= trigger.data.size() &&
         std::equal(trigger.data.begin(), trigger.data.end(), request.data.begin());
}

bool holds(const Trigger& trigger, const AccessPoint& point, registers::InterfaceKind kind) {
  if (trigger.access == AccessKind::kRead && point.is_write) return false;
  if (trigger.access == AccessKind::kWrite && !point.is_write) return false;
  if (trigger.offset && *trigger.offset != point.offset) return false;
  if (trigger.register_name) {
    if (register_offset(kind, *trigger.register_name) != point.offset) return false;
    // One offset, two registers: KCS's command is what is written there, status what is read.
    if (*trigger.register_name == Register::kCommand || *trigger.register_name == Register::kControl) {
      if (!point.is_write) return false;
    }
    if (*trigger.register_name == Register::kStatus && point.is_write) return false;
  }
  if (trigger.value && *trigger.value != point.value) return false;
  if (trigger.phase && *trigger.phase != point.phase) return false;
  if (trigger.names_request()) return point.request && holds(trigger, *point.request);
  return true;
}

}  // namespace bmcpair::faults
