#include "bmc_emu/hardware/kcs/state_machine.h"

#include <utility>

#include "proto/registers/away.h"

namespace bmcpair::hardware::kcs {

using namespace registers::kcs;

namespace {
constexpr uint8_t kSideBand = kSmsAtn | kOem1 | kOem2;
}

uint8_t StateMachine::state_bits(State state) {
  return static_cast<uint8_t>(static_cast<unsigned>(state) << kStateShift);
}

void StateMachine::plan(std::initializer_list<Planned> operations) {
  for (const Planned& p : operations) planned_[planned_count_++] = p;
}

bool StateMachine::has_work() const {
  return planned_count_ != 0 || (registers_.flags() & kIbf) != 0 || repeat_may_begin();
}

// An answer that comes again waits until the host has taken the last byte of the first: before that it would look like
// more of it.
bool StateMachine::repeat_may_begin() const {
  return phase_ == Phase::kIdle && reply_waits() && (registers_.flags() & kObf) == 0;
}

std::optional<TakenRequest> StateMachine::work(Instant now) {
  if (planned_count_ == 0 && (registers_.flags() & kIbf) == 0) {
    if (repeat_may_begin()) begin_reply(now);
    return std::nullopt;
  }
  if (planned_count_ == 0) {  // the IBF interrupt
    on_status(bmc_read(kStatus, now));
    return std::nullopt;
  }
  const Planned next = planned_[0];
  std::move(planned_.begin() + 1, planned_.end(), planned_.begin());
  --planned_count_;
  switch (next.operation) {
    case Operation::kSetState: bmc_update(kStatus, kStateMask, next.value, now); break;
    case Operation::kWriteOutput: bmc_write(kData, next.value, now); break;
    case Operation::kReadCommand: on_command(bmc_read(kData, now)); break;
    case Operation::kReadData:
      // One byte of room is kept for the last one.
      input_.push_back(bmc_read(kData, now));
      if (input_.size() >= request_bytes_max()) {
        error_ = ErrorStatus::kLength;
        force_abort();
      }
      break;
    case Operation::kReadLast:
      input_.push_back(bmc_read(kData, now));
      phase_ = Phase::kWaitRead;
      return take(std::exchange(input_, {}), now);
    case Operation::kReadReadCode: on_read_code(bmc_read(kData, now), now); break;
    case Operation::kReadDiscard: bmc_read(kData, now); break;
  }
  return std::nullopt;
}

// What the interrupt handler decides before it takes the byte. State bits and the dummy byte in Data_Out come before
// the read of IDR: that read clears IBF, and the host may look from then on.
void StateMachine::on_status(uint8_t status) {
  if ((status & kIbf) == 0) return;
  if ((status & kCd) != 0) {
    plan({{Operation::kSetState, state_bits(State::kWrite)}, {Operation::kWriteOutput, 0}, {Operation::kReadCommand}});
    return;
  }
  switch (phase_) {
    case Phase::kWriteStart:
    case Phase::kWriteData:
      phase_ = Phase::kWriteData;
      plan({{Operation::kSetState, state_bits(State::kWrite)}, {Operation::kWriteOutput, 0}, {Operation::kReadData}});
      return;
    case Phase::kWriteEndCommand:
      plan({{Operation::kSetState, state_bits(State::kRead)}, {Operation::kReadLast}});
      return;
    case Phase::kRead:
      // All is sent: the host must find IDLE when IBF drops, or it would wait for another byte.
      if (sent_ == output_.size()) plan_state(State::kIdle);
      plan({{Operation::kReadReadCode}});
      return;
    case Phase::kAbortError1:
      phase_ = Phase::kAbortError2;
      plan({{Operation::kSetState, state_bits(State::kRead)},
            {Operation::kReadDiscard},
            {Operation::kWriteOutput, static_cast<uint8_t>(error_)}});
      return;
    case Phase::kAbortError2:
      phase_ = Phase::kIdle;
      plan({{Operation::kSetState, state_bits(State::kIdle)}, {Operation::kReadDiscard}, {Operation::kWriteOutput, 0}});
      return;
    case Phase::kIdle:
    case Phase::kWaitRead:
    case Phase::kError: force_abort(); return;
  }
}

void StateMachine::on_command(uint8_t code) {
  switch (code) {
    case kWriteStart:
      forget_transfer();
      phase_ = Phase::kWriteStart;
      error_ = ErrorStatus::kNone;
      return;
    case kWriteEnd:
      if (phase_ == Phase::kWriteData) {
        phase_ = Phase::kWriteEndCommand;
      } else {
        force_abort();
      }
      return;
    case kGetStatusAbort:
      forget_transfer();
      phase_ = Phase::kAbortError1;
      if (error_ == ErrorStatus::kNone) error_ = ErrorStatus::kAborted;
      return;
    default:
      error_ = ErrorStatus::kIllegalControlCode;
      force_abort();
      return;
  }
}

void StateMachine::on_read_code(uint8_t code, Instant now) {
  if (code != kRead) {
    // IDR is taken already: not force_abort, which would take another byte.
    forget_transfer();
    phase_ = Phase::kError;
    plan({{Operation::kSetState, state_bits(State::kError)}, {Operation::kWriteOutput, 0}});
  } else if (sent_ == output_.size()) {
    if (!repeat_reply(now)) forget_transfer();
    phase_ = Phase::kIdle;
    plan({{Operation::kWriteOutput, 0}});  // the final dummy byte (§9.8 figure 9-7)
  } else {
    plan({{Operation::kWriteOutput, output_[sent_++]}});
  }
}

// A transfer that cannot go on: whatever is in IDR goes with it.
void StateMachine::force_abort() {
  forget_transfer();
  phase_ = Phase::kError;
  plan({{Operation::kSetState, state_bits(State::kError)}, {Operation::kReadDiscard}, {Operation::kWriteOutput, 0}});
}

void StateMachine::fail_transfer() {
  planned_count_ = 0;
  error_ = ErrorStatus::kUnspecified;
  force_abort();
}

TransferPhase StateMachine::transfer_phase() const {
  switch (phase_) {
    case Phase::kIdle: return TransferPhase::kIdle;
    case Phase::kWriteStart:
    case Phase::kWriteData:
    case Phase::kWriteEndCommand: return TransferPhase::kWrite;
    case Phase::kWaitRead: return TransferPhase::kExecute;
    case Phase::kRead: return TransferPhase::kRead;
    case Phase::kAbortError1:
    case Phase::kAbortError2:
    case Phase::kError: return TransferPhase::kError;
  }
  return TransferPhase::kIdle;
}

void StateMachine::forget_transfer() {
  forget_request();
  input_ = Bytes();
  sent_ = 0;
}

void StateMachine::begin_reply(Instant now) {
  if (phase_ == Phase::kIdle && (registers_.flags() & kObf) != 0) return;
  phase_ = Phase::kRead;
  sent_ = 1;
  if (state_of(registers_.flags()) == State::kRead) {
    bmc_write(kData, output_[0], now);
  } else {  // an answer that comes again: the host has left READ
    plan({{Operation::kWriteOutput, output_[0]}});
    bmc_update(kStatus, kStateMask, state_bits(State::kRead), now);
  }
}

bool StateMachine::side_band_differs() const {
  const auto wanted = static_cast<uint8_t>((oem_wanted_ & (kOem1 | kOem2)) | (attention_wanted_ ? kSmsAtn : 0));
  return ((registers_.flags() ^ wanted) & kSideBand) != 0;
}

void StateMachine::carry_side_band(Instant now) {
  bmc_update(kStatus, kSideBand,
             static_cast<uint8_t>((oem_wanted_ & (kOem1 | kOem2)) | (attention_wanted_ ? kSmsAtn : 0)), now);
}

// A rebooting BMC takes nothing out of IDR, so IBF stays after the host's next write.
void StateMachine::enter_offline(Instant now) {
  cut_ = phase_ != Phase::kIdle;
  forget_transfer();
  planned_count_ = 0;
  error_ = ErrorStatus::kNone;
  phase_ = Phase::kError;
  registers_.reset();
  bmc_update(kStatus, kStateMask, registers::away_flags(kind()), now);
}

// "Or the transfer has been aborted" is ERROR's second meaning (§9.7, table 9-2). IDLE in its place would look to a
// host that waits for its answer like the end of one.
void StateMachine::leave_offline(Instant now) {
  if (cut_) return;
  phase_ = Phase::kIdle;
  bmc_update(kStatus, kStateMask, state_bits(State::kIdle), now);
}

template <class A>
void StateMachine::visit(A& a) {
  a.enumeration(phase_, Phase::kError);
  a.enumeration(error_, ErrorStatus::kUnspecified);
  a(cut_, sent_, input_, planned_count_);
  for (Planned& p : planned_) {
    a.enumeration(p.operation, Operation::kReadDiscard);
    a(p.value);
  }
}

void StateMachine::load_state(Reader& in) {
  visit(in);
  if (planned_count_ >= planned_.size()) return in.fail();
  // Reading IDR plans more, so nothing may be planned behind it.
  for (size_t i = 0; i + 1 < planned_count_; ++i) {
    const Operation o = planned_[i].operation;
    if (o != Operation::kSetState && o != Operation::kWriteOutput && o != Operation::kReadDiscard) in.fail();
  }
  if (input_.size() >= request_bytes_max() || sent_ > output_.size() ||
      (phase_ == Phase::kRead && output_.empty())) {
    in.fail();
  }
}

}  // namespace bmcpair::hardware::kcs
