// The SMIC register file seen from both faces (IPMI 2.0 rev 1.1, §10.5..10.7). Each call is one access. No time, no
// protocol: who writes what and when is the host's and the actor's business.
#pragma once

#include <cstdint>

#include "bmc_emu/hardware/register_rule.h"
#include "proto/registers/smic.h"

namespace bmcpair::hardware::smic {

// The rules, for tests and traces.
const BitTable& flags_rules();

class Registers {
 public:
  // For faults: where the flags are, which of them are the host's own, which raise the line, what it acknowledges with.
  static constexpr uint16_t kFlagsOffset = registers::smic::kFlags;
  static constexpr uint8_t kHostFlags = 0;
  static constexpr uint8_t kRaisesInterrupt = registers::smic::kRxDataReady | registers::smic::kSmsAtn;
  static constexpr uint8_t kHoldsInterrupt = registers::smic::kBusy;
  static constexpr uint8_t kAttentionFlag = registers::smic::kSmsAtn;
  static constexpr bool kHostClearsAttention = false;
  static constexpr bool acknowledges(bool is_write, uint16_t offset) {
    return !is_write && offset == registers::smic::kFlags;
  }
  // What an access there does is seen in no flag and on no line.
  static constexpr bool changes_no_flag(uint16_t) { return false; }

  // Host face: offset 0 data, offset 1 reads the status code and writes the control code, offset 2 flags. Elsewhere
  // nobody answers: reads are FF.
  uint8_t host_read(uint16_t offset);
  void host_write(uint16_t offset, uint8_t value);
  // BMC face: offset 0 data, offset 1 reads the control code and writes the status code, offset 2 flags.
  uint8_t bmc_read(uint16_t offset);
  void bmc_write(uint16_t offset, uint8_t value) { bmc_update(offset, 0xff, value); }
  // The bits of mask only, in one access. On offsets 0 and 1 the mask does not count.
  void bmc_update(uint16_t offset, uint8_t mask, uint8_t value);

  // No side effects.
  uint8_t flags() const { return flags_; }
  // Rises when BUSY falls, when RX_DATA_READY rises and when SMS_ATN rises; falls when the host reads the flags.
  bool interrupt() const { return interrupt_; }
  // The edge is lost: nothing of it is left.
  void drop_interrupt() { interrupt_ = false; }

  // Power-on, with these flags: everything else 0.
  void reset(uint8_t flags) {
    *this = Registers();
    flags_ = flags;
  }

  template <class A>
  void visit(A& a) {
    a(data_, control_, status_, flags_, interrupt_);
  }
  bool valid() const { return true; }

 private:
  uint8_t data_ = 0;  // one byte for both directions
  uint8_t control_ = 0;
  uint8_t status_ = 0;
  uint8_t flags_ = 0;
  bool interrupt_ = false;
};

}  // namespace bmcpair::hardware::smic
