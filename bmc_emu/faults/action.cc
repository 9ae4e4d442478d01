#include "bmc_emu/faults/action.h"

#include "proto/registers/bt.h"
#include "proto/registers/kcs.h"
#include "proto/registers/smic.h"

namespace bmcpair::faults {

std::optional<uint8_t> flag_bit(registers::InterfaceKind kind, Flag flag) {
  namespace bt = registers::bt;
  namespace kcs = registers::kcs;
  namespace smic = registers::smic;
  switch (kind) {
    case registers::InterfaceKind::kBt:
      switch (flag) {
        case Flag::kBBusy: return bt::kBBusy;
        case Flag::kHBusy: return bt::kHBusy;
        case Flag::kH2bAtn: return bt::kH2bAtn;
        case Flag::kB2hAtn: return bt::kB2hAtn;
        case Flag::kSmsAtn: return bt::kSmsAtn;
        default: return std::nullopt;
      }
    case registers::InterfaceKind::kKcs:
      switch (flag) {
        case Flag::kIbf: return kcs::kIbf;
        case Flag::kObf: return kcs::kObf;
        case Flag::kSmsAtn: return kcs::kSmsAtn;
        default: return std::nullopt;
      }
    case registers::InterfaceKind::kSmic:
      switch (flag) {
        case Flag::kBusy: return smic::kBusy;
        case Flag::kRxDataReady: return smic::kRxDataReady;
        case Flag::kTxDataReady: return smic::kTxDataReady;
        case Flag::kSmsAtn: return smic::kSmsAtn;
        default: return std::nullopt;
      }
  }
  return std::nullopt;
}

}  // namespace bmcpair::faults
