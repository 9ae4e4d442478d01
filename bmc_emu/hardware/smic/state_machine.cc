#include "bmc_emu/hardware/smic/state_machine.h"

#include <utility>

#include "proto/registers/away.h"

namespace bmcpair::hardware::smic {

using namespace registers::smic;

namespace {
constexpr uint8_t kSideBand = kSmsAtn;
}

bool StateMachine::has_work() const {
  return operation_ != Operation::kNone || (registers_.flags() & kBusy) != 0;
}

std::optional<TakenRequest> StateMachine::work(Instant now) {
  switch (operation_) {
    case Operation::kNone: on_control(bmc_read(kControl, now), now); break;
    case Operation::kReadData: return on_data(bmc_read(kData, now), now);
    case Operation::kWriteData:
      bmc_write(kData, answer_data_, now);
      operation_ = Operation::kWriteStatus;
      break;
    case Operation::kWriteStatus:
      bmc_write(kStatus, answer_status_, now);
      operation_ = Operation::kFinish;
      break;
    case Operation::kFinish:
      bmc_update(kFlags, kBusy | kTxDataReady | kRxDataReady, ready_flags(), now);
      operation_ = Operation::kNone;
      break;
  }
  return std::nullopt;
}

uint8_t StateMachine::ready_flags() const {
  switch (phase_) {
    case Phase::kIdle:
    case Phase::kWriting: return kTxDataReady;
    case Phase::kWaiting: return 0;
    case Phase::kReady:
    case Phase::kReading: return kRxDataReady;
  }
  return 0;
}

void StateMachine::answer(uint8_t status, uint8_t data) {
  answer_status_ = status;
  answer_data_ = data;
  operation_ = Operation::kWriteData;
}

// The status is READY, which no step of a transfer expects, and the code is in the data register (§10.9).
void StateMachine::refuse(ErrorCode code) { answer(kReady, static_cast<uint8_t>(code)); }

void StateMachine::fail_transfer() {
  forget_transfer();
  // The byte that was about to be taken belongs to nothing now.
  if (operation_ == Operation::kReadData) refuse(ErrorCode::kAborted);
}

void StateMachine::forget_transfer() {
  forget_request();
  input_ = Bytes();
  sent_ = 0;
  phase_ = Phase::kIdle;
}

// The status code says whether the byte in the data register is the last.
void StateMachine::send_next(uint8_t status) {
  answer(status, output_[sent_]);
  ++sent_;
}

TransferPhase StateMachine::transfer_phase() const {
  switch (phase_) {
    case Phase::kIdle: return TransferPhase::kIdle;
    case Phase::kWriting: return TransferPhase::kWrite;
    case Phase::kWaiting: return TransferPhase::kExecute;
    case Phase::kReady:
    case Phase::kReading: return TransferPhase::kRead;
  }
  return TransferPhase::kIdle;
}

void StateMachine::on_control(uint8_t code, Instant now) {
  control_ = code;
  switch (code) {
    case kGetStatus:  // looks only: a transfer goes on, an answer stays
      answer(kReady, static_cast<uint8_t>(ErrorCode::kOk));
      return;
    case kWriteStart:
      forget_transfer();
      phase_ = Phase::kWriting;
      operation_ = Operation::kReadData;
      return;
    case kWriteNext:
    case kWriteEnd:
      if (phase_ != Phase::kWriting) return refuse(ErrorCode::kIllegalCommand);
      operation_ = Operation::kReadData;
      return;
    case kReadStart:  // from the first byte, also a second time
      if (phase_ == Phase::kWaiting) return refuse(ErrorCode::kNoResponse);
      if (phase_ != Phase::kReady && phase_ != Phase::kReading) return refuse(ErrorCode::kIllegalCommand);
      phase_ = Phase::kReading;
      sent_ = 0;
      return send_next(kReadStart | kStatusBit);
    case kReadNext:
      if (phase_ != Phase::kReading || sent_ == output_.size()) return refuse(ErrorCode::kIllegalCommand);
      return send_next((sent_ + 1u == output_.size() ? kReadEnd : kReadNext) | kStatusBit);
    case kReadEnd:
      if (phase_ != Phase::kReading) return refuse(ErrorCode::kIllegalCommand);
      if (repeat_reply(now)) {
        phase_ = Phase::kIdle;
      } else {
        forget_transfer();
      }
      return answer(kReady, static_cast<uint8_t>(ErrorCode::kOk));
    default: return refuse(ErrorCode::kIllegalControl);
  }
}

std::optional<TakenRequest> StateMachine::on_data(uint8_t byte, Instant now) {
  if (input_.size() == request_bytes_max()) {
    forget_transfer();
    refuse(ErrorCode::kBufferFull);
    return std::nullopt;
  }
  input_.push_back(byte);
  answer(control_ | kStatusBit, static_cast<uint8_t>(ErrorCode::kOk));
  if (control_ != kWriteEnd) return std::nullopt;
  phase_ = Phase::kWaiting;
  return take(std::exchange(input_, {}), now);
}

void StateMachine::begin_reply(Instant now) {
  phase_ = Phase::kReady;
  bmc_update(kFlags, kRxDataReady | kTxDataReady, ready_flags(), now);
}

bool StateMachine::side_band_differs() const {
  return (registers_.flags() & kSideBand) != (attention_wanted_ ? kSmsAtn : 0);
}

void StateMachine::carry_side_band(Instant now) {
  bmc_update(kFlags, kSideBand, attention_wanted_ ? kSmsAtn : 0, now);
}

void StateMachine::enter_offline(Instant now) {
  forget_transfer();
  operation_ = Operation::kNone;
  registers_.reset(registers::away_flags(kind()));
  // Tells a trace where it happened: this clears what is clear.
  bmc_update(kFlags, kTxDataReady | kRxDataReady, 0, now);
}

// A control code from the time away is not answered: its host finds no status code to its liking and starts again.
void StateMachine::leave_offline(Instant now) {
  bmc_update(kFlags, kBusy | kTxDataReady | kRxDataReady, ready_flags(), now);
}

void StateMachine::load_state(Reader& in) {
  visit(in);
  const bool sends = phase_ == Phase::kReady || phase_ == Phase::kReading;
  if (input_.size() > request_bytes_max() || sent_ > output_.size() || (sends && output_.empty()) ||
      (operation_ == Operation::kReadData &&
       (phase_ != Phase::kWriting || (control_ == kWriteEnd && input_.empty())))) {
    in.fail();
  }
}

}  // namespace bmcpair::hardware::smic
