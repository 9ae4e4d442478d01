// What a host finds in the registers while the BMC behind them is away: it reboots, or the process that plays it is
// gone. The hardware room shows this in a reset's offline window, and vfio_bridge while it has lost its BMC.
#pragma once

#include <array>
#include <cstdint>

#include "proto/registers/bt.h"
#include "proto/registers/kcs.h"
#include "proto/registers/register_port.h"
#include "proto/registers/smic.h"

namespace bmcpair::registers {

struct Away {
  uint16_t flags_offset;            // KCS status, BT_CTRL, SMIC flags
  std::array<uint8_t, 3> reads;     // by register
};

constexpr uint8_t kNobodyAnswers = 0xff;

// KCS: ERROR, whose second meaning is "the transfer has been aborted" (§9.7, table 9-2). BT: B_BUSY and nothing of the
// BMC's besides; the buffer is empty. SMIC: BUSY.
constexpr Away away(InterfaceKind kind) {
  switch (kind) {
    case InterfaceKind::kKcs:
      return {kcs::kStatus, {0, static_cast<uint8_t>(static_cast<unsigned>(kcs::State::kError) << kcs::kStateShift),
                             kNobodyAnswers}};
    case InterfaceKind::kBt: return {bt::kCtrl, {bt::kBBusy, kNobodyAnswers, 0}};
    case InterfaceKind::kSmic: return {smic::kFlags, {0, 0, smic::kBusy}};
  }
  return {0, {kNobodyAnswers, kNobodyAnswers, kNobodyAnswers}};
}
constexpr uint8_t away_flags(InterfaceKind kind) { return away(kind).reads[away(kind).flags_offset]; }

// The registers of a BMC that is away, one host access at a time. What the host owns moves as always, what it writes
// for the BMC to take stays where it is: IBF and C/D, H2B_ATN, H_BUSY, INTMASK's enable bit, SMIC's data.
class AwayRegisters {
 public:
  explicit AwayRegisters(InterfaceKind kind) : kind_(kind), reads_(away(kind).reads) {}

  uint8_t read(uint16_t offset) const { return offset < register_count(kind_) ? reads_[offset] : kNobodyAnswers; }

  void write(uint16_t offset, uint8_t value) {
    switch (kind_) {
      case InterfaceKind::kKcs: {
        if (offset > kcs::kCommand) return;
        auto status = static_cast<uint8_t>(reads_[kcs::kStatus] & ~kcs::kCd);
        reads_[kcs::kStatus] = static_cast<uint8_t>(status | kcs::kIbf | (offset == kcs::kCommand ? kcs::kCd : 0));
        return;
      }
      case InterfaceKind::kBt:
        if (offset == bt::kCtrl) {
          uint8_t& ctrl = reads_[bt::kCtrl];
          ctrl = static_cast<uint8_t>((ctrl | (value & bt::kH2bAtn)) ^ (value & bt::kHBusy));
        } else if (offset == bt::kIntMask) {
          reads_[bt::kIntMask] = value & bt::kB2hIrqEnable;
        }
        return;
      case InterfaceKind::kSmic:
        if (offset == smic::kData) reads_[smic::kData] = value;
        return;
    }
  }

 private:
  InterfaceKind kind_;
  std::array<uint8_t, 3> reads_;
};

}  // namespace bmcpair::registers
