// Where a transfer stands, in words that fit every system interface.
#pragma once

#include <cstdint>
#include <string_view>

namespace bmcpair::registers {

enum class TransferPhase : uint8_t {
  kIdle,
  kWrite,    // the request is on its way into the BMC: KCS and SMIC write phases, BT from H2B_ATN until B_BUSY falls
  kExecute,  // the BMC has the whole request and no answer is out yet
  kRead,     // the answer is on its way: KCS and SMIC read phases, BT from the BMC's copy until the host lets go
  kError,    // KCS only: ERROR and the abort sequence
};

constexpr std::string_view to_string(TransferPhase phase) {
  switch (phase) {
    case TransferPhase::kIdle: return "idle";
    case TransferPhase::kWrite: return "write";
    case TransferPhase::kExecute: return "execute";
    case TransferPhase::kRead: return "read";
    case TransferPhase::kError: return "error";
  }
  return "unknown";
}

}  // namespace bmcpair::registers
