// The KCS register file seen from both faces (IPMI 2.0 rev 1.1, §9.3..9.5). Each call is one access. No time, no
// protocol: who writes what and when is the host's and the actor's business.
#pragma once

#include <cstdint>
#include <span>

#include "bmc_emu/hardware/register_rule.h"
#include "proto/registers/kcs.h"

namespace bmcpair::hardware::kcs {

// Interrupt latches; the line is their OR. Data: ODR was written. Attention: SMS_ATN went 0 -> 1.
constexpr uint8_t kDataLatch = 0x01;
constexpr uint8_t kAttentionLatch = 0x02;

// The rules, for tests and traces. The status bits have no host rule: a host's write there is a command.
const BitTable& status_rules();
std::span<const AccessRule> access_rules();

class Registers {
 public:
  // For faults: where the flags are, which of them are the host's own, which raise the line, what it acknowledges with.
  static constexpr uint16_t kFlagsOffset = registers::kcs::kStatus;
  static constexpr uint8_t kHostFlags = 0;
  static constexpr uint8_t kRaisesInterrupt = registers::kcs::kObf | registers::kcs::kSmsAtn;
  static constexpr uint8_t kHoldsInterrupt = 0;
  static constexpr uint8_t kAttentionFlag = registers::kcs::kSmsAtn;
  static constexpr bool kHostClearsAttention = false;
  static constexpr bool acknowledges(bool is_write, uint16_t) { return !is_write; }
  // What an access there does is seen in no flag and on no line.
  static constexpr bool changes_no_flag(uint16_t) { return false; }

  // Host face: offset 0 reads Data_Out, writes Data_In; offset 1 reads status, writes the command register. Elsewhere
  // nobody answers: reads are FF. A write while IBF is 1 overwrites what the BMC has not taken: Data_In and the
  // command register are one latch, and C/D says what came last (§9.5). The earlier byte is lost.
  uint8_t host_read(uint16_t offset);
  void host_write(uint16_t offset, uint8_t value);

  // BMC face: offset 0 reads the input latch (IDR), writes Data_Out (ODR); offset 1 is the status register (STR).
  uint8_t bmc_read(uint16_t offset);
  void bmc_write(uint16_t offset, uint8_t value) { bmc_update(offset, 0xff, value); }
  // The bits of mask only, in one access: state and SMS_ATN are changed from two contexts of a BMC, and
  // read-modify-write would lose one of them. On offset 0 the mask does not count.
  void bmc_update(uint16_t offset, uint8_t mask, uint8_t value);

  // No side effects.
  uint8_t flags() const { return status_; }
  bool interrupt() const { return latches_ != 0; }
  // The edge is lost: nothing of it is left.
  void drop_interrupt() { latches_ = 0; }

  // Power-on: everything 0.
  void reset() { *this = Registers(); }

  template <class A>
  void visit(A& a) {
    a(input_, output_, status_, latches_);
  }
  bool valid() const { return true; }

 private:
  void side_effects(Face face, bool is_write, uint16_t offset);

  uint8_t input_ = 0;
  uint8_t output_ = 0;
  uint8_t status_ = 0;
  uint8_t latches_ = 0;
};

}  // namespace bmcpair::hardware::kcs
