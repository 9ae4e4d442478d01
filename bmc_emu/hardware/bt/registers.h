// The BT register file seen from both faces (IPMI 2.0 rev 1.1, §11.5, §11.6). Each call is one access. No time, no
// protocol: who writes what and when is the host's and the actor's business.
#pragma once

#include <cstdint>

#include "bmc_emu/hardware/register_rule.h"
#include "proto/registers/bt.h"

namespace bmcpair::hardware::bt {

// The rules, for tests and traces.
const BitTable& ctrl_rules();
const BitTable& int_mask_rules();

// One direction of the buffer. Writer and reader have a pointer each and rewind only their own. Beyond 256 bytes
// writes are lost; reads beyond what was written are FF and do not move the pointer.
class Fifo {
 public:
  void write(uint8_t value) {
    if (bytes_.size() < registers::bt::kFrameBytesMax) bytes_.push_back(value);
  }
  uint8_t read() { return read_ < bytes_.size() ? bytes_[read_++] : uint8_t{0xff}; }
  void rewind_write() { bytes_.clear(); }
  void rewind_read() { read_ = 0; }
  size_t written() const { return bytes_.size(); }

  template <class A>
  void visit(A& a) {
    a(bytes_, read_);
  }
  bool valid() const {
    return bytes_.size() <= registers::bt::kFrameBytesMax && read_ <= registers::bt::kFrameBytesMax;
  }

 private:
  Bytes bytes_;  // its size is the write pointer
  uint16_t read_ = 0;
};

// Both faces have the same three offsets: BT_CTRL, buffer, INTMASK. Elsewhere nobody answers: reads are FF.
class Registers {
 public:
  // For faults: where the flags are, which of them are the host's own, which raise the line, what it acknowledges with.
  static constexpr uint16_t kFlagsOffset = registers::bt::kCtrl;
  static constexpr uint8_t kHostFlags = registers::bt::kHBusy;
  static constexpr uint8_t kRaisesInterrupt = registers::bt::kB2hAtn | registers::bt::kSmsAtn;
  static constexpr uint8_t kHoldsInterrupt = 0;
  static constexpr uint8_t kAttentionFlag = registers::bt::kSmsAtn;
  static constexpr bool kHostClearsAttention = true;
  static constexpr bool acknowledges(bool is_write, uint16_t offset) {
    return is_write && offset == registers::bt::kIntMask;
  }
  // What an access there does is seen in no flag and on no line.
  static constexpr bool changes_no_flag(uint16_t offset) { return offset == registers::bt::kBuffer; }

  uint8_t host_read(uint16_t offset) {
    return offset == registers::bt::kBuffer ? to_host_.read() : read(Face::kHost, offset);
  }
  void host_write(uint16_t offset, uint8_t value) {
    offset == registers::bt::kBuffer ? to_bmc_.write(value) : write(Face::kHost, offset, value);
  }
  uint8_t bmc_read(uint16_t offset) {
    return offset == registers::bt::kBuffer ? to_bmc_.read() : read(Face::kBmc, offset);
  }
  void bmc_write(uint16_t offset, uint8_t value) {
    offset == registers::bt::kBuffer ? to_host_.write(value) : write(Face::kBmc, offset, value);
  }
  // A 0 bit never changes anything in BT_CTRL, so a mask is nothing new here.
  void bmc_update(uint16_t offset, uint8_t mask, uint8_t value) {
    bmc_write(offset, offset == registers::bt::kBuffer ? value : static_cast<uint8_t>(value & mask));
  }

  // No side effects.
  uint8_t flags() const { return ctrl_; }
  // The line is INTMASK's B2H_IRQ: it rises with B2H_ATN or SMS_ATN while enabled, and when enabling while one of them
  // is set; it falls when the host writes 1 to it or disables. Clearing the attention bits does not lower it.
  bool interrupt() const { return (int_mask_ & registers::bt::kB2hIrq) != 0; }
  // The edge is lost: nothing of it is left.
  void drop_interrupt() { int_mask_ = static_cast<uint8_t>(int_mask_ & ~registers::bt::kB2hIrq); }
  bool hardware_reset_requested() const { return (int_mask_ & registers::bt::kBmcHwRst) != 0; }
  // The FIFO's own count of what the host has written since it rewound.
  size_t host_bytes_written() const { return to_bmc_.written(); }

  // Power-on: everything 0 and empty.
  void reset() { *this = Registers(); }

  template <class A>
  void visit(A& a) {
    a(ctrl_, int_mask_);
    to_bmc_.visit(a);
    to_host_.visit(a);
  }
  bool valid() const;

 private:
  // Of the others.
  uint8_t read(Face face, uint16_t offset) const;
  void write(Face face, uint16_t offset, uint8_t value);
  void write_ctrl(Face face, uint8_t value);
  void write_int_mask(Face face, uint8_t value);

  uint8_t ctrl_ = 0;
  uint8_t int_mask_ = 0;
  Fifo to_bmc_;
  Fifo to_host_;
};

}  // namespace bmcpair::hardware::bt
