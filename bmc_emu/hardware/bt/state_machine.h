// The BMC's side of BT (IPMI 2.0 rev 1.1, §11.4..11.7), one register access a step.
//
// One request is in flight. B_BUSY covers the copy out of the buffer, not the firmware's work. A frame whose length
// byte and size disagree, or that has no command, is dropped with B_BUSY clear again: the host's timeout finds a BMC
// that works (G-110). A new request makes the one before stale: its answer is dropped, unless its copy into the
// buffer has begun, in which case it is finished first and the host tells it by its Seq.
#pragma once

#include "bmc_emu/hardware/actor.h"
#include "bmc_emu/hardware/bt/registers.h"

namespace bmcpair::hardware::bt {

// The access that comes next.
enum class Phase : uint8_t {
  kIdle,
  kSetBusy,       // CTRL B_BUSY
  kClearH2b,      // CTRL H2B_ATN
  kRewindRead,    // CTRL CLR_RD_PTR
  kReadLength,    // buffer
  kReadBytes,     // buffer
  kClearBusy,     // CTRL B_BUSY; the request is whole
  kRewindWrite,   // CTRL CLR_WR_PTR
  kWriteLength,   // buffer
  kWriteBytes,    // buffer
  kSetB2h,        // CTRL B2H_ATN
};

class StateMachine final : public Actor<Registers, StateMachine> {
 public:
  using Actor::Actor;

  registers::InterfaceKind kind() const override { return registers::InterfaceKind::kBt; }
  // Length is one byte and counts Seq besides the message.
  size_t request_bytes_max() const override { return registers::bt::kFrameBytesMax - 2; }
  size_t response_bytes_max() const override { return registers::bt::kFrameBytesMax - 2; }
  bool take_hardware_reset_request() override;
  TransferPhase transfer_phase() const override;

 private:
  friend class Actor<Registers, StateMachine>;
  std::optional<TakenRequest> work(Instant now);
  void begin_reply(Instant now) { look(now); }
  void fail_transfer();
  bool in_sequence() const { return phase_ != Phase::kIdle; }
  bool in_run() const {
    return phase_ == Phase::kReadLength || phase_ == Phase::kReadBytes || phase_ == Phase::kWriteLength ||
           phase_ == Phase::kWriteBytes;
  }
  size_t run_on(size_t max, Instant now, Duration apart);
  bool has_work() const {
    return phase_ != Phase::kIdle || (registers_.flags() & registers::bt::kH2bAtn) != 0 ||
           (reply_waits() && host_takes_reply());
  }
  bool side_band_differs() const { return side_band() != 0; }
  void carry_side_band(Instant now);
  void attention_changed() { attention_raise_ = attention_wanted_; }
  void enter_offline(Instant now);
  void leave_offline(Instant now);
  void save_state(Writer& out) { visit(out); }
  void load_state(Reader& in);
  template <class A>
  void visit(A& a) {
    a.enumeration(phase_, Phase::kSetB2h);
    a(attention_raise_, seq_, length_, sent_, input_);
  }

  void look(Instant now);
  bool host_takes_reply() const { return (bmc_flags() & (registers::bt::kHBusy | registers::bt::kB2hAtn)) == 0; }
  // The bits to write to BT_CTRL: SMS_ATN sets, OEM0 toggles.
  uint8_t side_band() const {
    const auto oem = static_cast<uint8_t>((registers_.flags() ^ oem_wanted_) & registers::bt::kOem0);
    return static_cast<uint8_t>(oem | (attention_raise_ ? registers::bt::kSmsAtn : 0));
  }
  uint8_t reply_byte(size_t index) const;

  Phase phase_ = Phase::kIdle;
  bool attention_raise_ = false;  // wanted, and not yet told; the host's clear of SMS_ATN is not undone
  uint8_t seq_ = 0;
  uint8_t length_ = 0;  // the request's length byte
  uint8_t sent_ = 0;    // bytes of the answer's frame after its length byte
  Bytes input_;         // NetFn/LUN, Seq, Cmd, data
};

}  // namespace bmcpair::hardware::bt
