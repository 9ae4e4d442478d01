// The BMC's side of SMIC (IPMI 2.0 rev 1.1, §10.7..10.10), one register access a step: BUSY starts it, and the write
// that clears BUSY is its last, so the host finds data and status code in place.
#pragma once

#include "bmc_emu/hardware/actor.h"
#include "bmc_emu/hardware/smic/registers.h"

namespace bmcpair::hardware::smic {

// Not bmcpair::ErrorCode, which is for our own failures.
using ErrorCode = registers::smic::ErrorCode;

enum class Phase : uint8_t {
  kIdle,
  kWriting,
  kWaiting,  // the firmware is at work
  kReady,    // RX_DATA_RDY says that there is an answer
  kReading,
};

// The access that comes next while a control code is being handled.
enum class Operation : uint8_t { kNone, kReadData, kWriteData, kWriteStatus, kFinish };

class StateMachine final : public Actor<Registers, StateMachine> {
 public:
  using Actor::Actor;

  registers::InterfaceKind kind() const override { return registers::InterfaceKind::kSmic; }
  size_t request_bytes_max() const override { return registers::smic::kMessageBytesMax; }
  size_t response_bytes_max() const override { return registers::smic::kMessageBytesMax; }
  TransferPhase transfer_phase() const override;

 private:
  friend class Actor<Registers, StateMachine>;
  std::optional<TakenRequest> work(Instant now);
  void begin_reply(Instant now);
  bool in_sequence() const { return operation_ != Operation::kNone; }
  bool has_work() const;
  bool side_band_differs() const;
  void carry_side_band(Instant now);
  void enter_offline(Instant now);
  void leave_offline(Instant now);
  void save_state(Writer& out) { visit(out); }
  void load_state(Reader& in);
  template <class A>
  void visit(A& a) {
    a.enumeration(phase_, Phase::kReading);
    a.enumeration(operation_, Operation::kFinish);
    a(control_, answer_status_, answer_data_, sent_, input_);
  }

  void on_control(uint8_t code, Instant now);
  std::optional<TakenRequest> on_data(uint8_t byte, Instant now);
  void answer(uint8_t status, uint8_t data);
  void refuse(registers::smic::ErrorCode code);
  void send_next(uint8_t status);
  void forget_transfer();
  void fail_transfer();
  uint8_t ready_flags() const;

  Phase phase_ = Phase::kIdle;
  Operation operation_ = Operation::kNone;
  uint8_t control_ = 0;
  uint8_t answer_status_ = 0;
  uint8_t answer_data_ = 0;
  uint16_t sent_ = 0;
  Bytes input_;
};

}  // namespace bmcpair::hardware::smic
