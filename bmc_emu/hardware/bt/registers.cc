#include "bmc_emu/hardware/bt/registers.h"

namespace bmcpair::hardware::bt {
namespace {

using namespace registers::bt;
using enum WriteRule;

// §11.6.1, table 11-2. OEM0 is left to the platform: here the BMC drives it, by toggling as with its busy bit, since
// that is the only way to both set and clear under "a 0 changes nothing".
constexpr BitTable kCtrlRules{{
    {kClrWrPtr, "CLR_WR_PTR", kPulse, kPulse, false, false},
    {kClrRdPtr, "CLR_RD_PTR", kPulse, kPulse, false, false},
    {kH2bAtn, "H2B_ATN", kSetByOne, kClearByOne},
    {kB2hAtn, "B2H_ATN", kClearByOne, kSetByOne},
    {kSmsAtn, "SMS_ATN", kClearByOne, kSetByOne},
    {kOem0, "OEM0", kIgnored, kToggleByOne},
    {kHBusy, "H_BUSY", kToggleByOne, kIgnored},
    {kBBusy, "B_BUSY", kIgnored, kToggleByOne},
}};
constexpr Rules kCtrlMasks(kCtrlRules);

// §11.6.3, table 11-4. The BMC finds a reset request in BMC_HWRST and takes it away with a 1; the host reads 0.
constexpr BitTable kIntMaskRules{{
    {kB2hIrqEnable, "B2H_IRQ_EN", kAssign, kIgnored},
    {kB2hIrq, "B2H_IRQ", kClearByOne, kIgnored},
    {0x04, "reserved", kIgnored, kIgnored, false, false},
    {0x08, "reserved", kIgnored, kIgnored, false, false},
    {0x10, "reserved", kIgnored, kIgnored, false, false},
    {0x20, "reserved", kIgnored, kIgnored, false, false},
    {0x40, "reserved", kIgnored, kIgnored, false, false},
    {kBmcHwRst, "BMC_HWRST", kSetByOne, kClearByOne, false, true},
}};
constexpr Rules kIntMaskMasks(kIntMaskRules);

// What raises the interrupt.
constexpr uint8_t kAttention = kB2hAtn | kSmsAtn;

}  // namespace

const BitTable& ctrl_rules() { return kCtrlRules; }
const BitTable& int_mask_rules() { return kIntMaskRules; }

uint8_t Registers::read(Face face, uint16_t offset) const {
  switch (offset) {
    case kCtrl: return static_cast<uint8_t>(ctrl_ & kCtrlMasks.of(face).seen);
    case kIntMask: return static_cast<uint8_t>(int_mask_ & kIntMaskMasks.of(face).seen);
    default: return 0xff;
  }
}

void Registers::write(Face face, uint16_t offset, uint8_t value) {
  switch (offset) {
    case kCtrl: return write_ctrl(face, value);
    case kIntMask: return write_int_mask(face, value);
    default: return;
  }
}

void Registers::write_ctrl(Face face, uint8_t value) {
  const Written written = write_bits(kCtrlMasks.of(face), ctrl_, value);
  // Each face writes one FIFO and reads the other.
  if ((written.pulses & kClrWrPtr) != 0) (face == Face::kHost ? to_bmc_ : to_host_).rewind_write();
  if ((written.pulses & kClrRdPtr) != 0) (face == Face::kHost ? to_host_ : to_bmc_).rewind_read();
  const bool rises = (written.value & ~ctrl_ & kAttention) != 0;
  ctrl_ = written.value;
  if (rises && (int_mask_ & kB2hIrqEnable) != 0) int_mask_ |= kB2hIrq;
}

void Registers::write_int_mask(Face face, uint8_t value) {
  const uint8_t before = int_mask_;
  int_mask_ = write_bits(kIntMaskMasks.of(face), before, value).value;
  const bool enabled = (int_mask_ & kB2hIrqEnable) != 0;
  // The clear in the same write counts first: an attention that nobody has seen yet is not lost with it.
  if (enabled && (before & kB2hIrqEnable) == 0 && (ctrl_ & kAttention) != 0) int_mask_ |= kB2hIrq;
  if (!enabled) int_mask_ = static_cast<uint8_t>(int_mask_ & ~kB2hIrq);
}

bool Registers::valid() const {
  return to_bmc_.valid() && to_host_.valid() && (ctrl_ & (kClrWrPtr | kClrRdPtr)) == 0 &&
         (int_mask_ & ~(kB2hIrqEnable | kB2hIrq | kBmcHwRst)) == 0 &&
         (int_mask_ & (kB2hIrqEnable | kB2hIrq)) != kB2hIrq;
}

}  // namespace bmcpair::hardware::bt
