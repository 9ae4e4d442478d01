// The BMC's side of KCS: the phases of a BMC's KCS driver (IPMI 2.0 rev 1.1, §9.7..9.15), one register access a step.
#pragma once

#include <array>
#include <initializer_list>

#include "bmc_emu/hardware/actor.h"
#include "bmc_emu/hardware/kcs/registers.h"

namespace bmcpair::hardware::kcs {

enum class Phase : uint8_t {
  kIdle,
  kWriteStart,
  kWriteData,
  kWriteEndCommand,
  kWaitRead,  // the firmware is at work
  kRead,
  kAbortError1,
  kAbortError2,
  kError,
};

// One access that is decided but not yet made.
enum class Operation : uint8_t {
  kSetState,      // STR, state bits only
  kWriteOutput,   // ODR
  kReadCommand,   // IDR, then the control code decides
  kReadData,      // IDR, a byte of the request
  kReadLast,      // IDR, its last byte
  kReadReadCode,  // IDR, must be READ (68h)
  kReadDiscard,   // IDR, whatever it is
};

class StateMachine final : public Actor<Registers, StateMachine> {
 public:
  using Actor::Actor;

  registers::InterfaceKind kind() const override { return registers::InterfaceKind::kKcs; }
  size_t request_bytes_max() const override { return ipmi::kMessageBytesMax; }
  size_t response_bytes_max() const override { return ipmi::kMessageBytesMax; }
  TransferPhase transfer_phase() const override;

 private:
  friend class Actor<Registers, StateMachine>;
  struct Planned {
    Operation operation = Operation::kSetState;
    uint8_t value = 0;
  };

  std::optional<TakenRequest> work(Instant now);
  void begin_reply(Instant now);
  bool in_sequence() const { return planned_count_ != 0; }
  bool has_work() const;
  bool repeat_may_begin() const;
  bool side_band_differs() const;
  void carry_side_band(Instant now);
  void enter_offline(Instant now);
  void leave_offline(Instant now);
  void forget_cut() { cut_ = false; }
  void save_state(Writer& out) { visit(out); }
  void load_state(Reader& in);
  template <class A>
  void visit(A& a);

  void plan(std::initializer_list<Planned> operations);
  void plan_state(registers::kcs::State state) { plan({{Operation::kSetState, state_bits(state)}}); }
  static uint8_t state_bits(registers::kcs::State state);
  void on_status(uint8_t status);
  void on_command(uint8_t code);
  void on_read_code(uint8_t code, Instant now);
  void fail_transfer();
  void force_abort();
  void forget_transfer();

  Phase phase_ = Phase::kIdle;
  registers::kcs::ErrorStatus error_ = registers::kcs::ErrorStatus::kNone;
  bool cut_ = false;  // went offline in the middle of a transfer
  uint16_t sent_ = 0;  // bytes of output_ already in Data_Out
  Bytes input_;
  // At most three accesses are ever decided ahead.
  std::array<Planned, 4> planned_{};
  uint8_t planned_count_ = 0;
};

}  // namespace bmcpair::hardware::kcs
