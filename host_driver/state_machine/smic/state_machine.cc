#include "host_driver/state_machine/smic/state_machine.h"

#include <algorithm>

#include "host_driver/state_machine/smic/trace.h"

namespace bmcpair::state_machine::smic {

namespace reg = registers::smic;

namespace {
constexpr uint8_t answer_to(uint8_t code) { return code | reg::kStatusBit; }
}  // namespace

SmicStateMachine::SmicStateMachine(registers::RegisterPort& port, const Profile& profile, Trace* trace)
    : port_(port), profile_(profile), trace_(trace) {}

void SmicStateMachine::initialise() {
  state_ = State::kIdle;
  request_size_ = write_pos_ = read_size_ = 0;
  truncated_ = false;
  error_retries_ = 0;
  budget_ = kBudget;
}

std::string_view SmicStateMachine::state_name() const { return to_string(state_); }

bool SmicStateMachine::detect() { return port_.read(reg::kFlags) != 0xff; }

uint8_t SmicStateMachine::start_transaction(ByteView request) {
  if (request.size() < 2) return 0xc7;
  if (request.size() > write_.size()) return 0xc8;
  if (!idle()) return 0xd5;
  std::copy(request.begin(), request.end(), write_.begin());
  request_size_ = request.size();
  write_pos_ = read_size_ = 0;
  truncated_ = false;
  error_retries_ = 0;
  failure_.reset();
  budget_ = kBudget;
  state_ = State::kStartOp;
  return 0;
}

size_t SmicStateMachine::take_result(std::span<uint8_t, ipmi::kMessageBytesMax> out) {
  std::copy_n(read_.begin(), read_size_, out.begin());
  size_t size = read_size_;
  failure_.reset();
  if (size < 3) {
    if (size < 1) out[0] = static_cast<uint8_t>(write_[0] | 4);
    if (size < 2) out[1] = write_[1];
    out[2] = 0xff;
    size = 3;
    failure_ = ErrorCode::kProtocol;
  }
  if (truncated_) {
    out[2] = 0xc6;
    failure_ = ErrorCode::kProtocol;
    truncated_ = false;
  }
  return size;
}

void SmicStateMachine::control(uint8_t code, uint8_t flags) {
  port_.write(reg::kControl, code);
  port_.write(reg::kFlags, flags | reg::kBusy);
}

void SmicStateMachine::write_next(uint8_t flags) {
  const bool last = write_pos_ + 1 == request_size_;
  const uint8_t code = write_pos_ == 0 ? reg::kWriteStart : last ? reg::kWriteEnd : reg::kWriteNext;
  port_.write(reg::kControl, code);
  port_.write(reg::kData, write_[write_pos_++]);
  port_.write(reg::kFlags, flags | reg::kBusy);
}

void SmicStateMachine::read_next() {
  const uint8_t value = port_.read(reg::kData);
  if (read_size_ < read_.size()) {
    read_[read_size_++] = value;
  } else {
    truncated_ = true;
  }
}

Verdict SmicStateMachine::error(std::string_view why) {
  if (trace_ && trace_->wanted()) trace_->line("SMIC: " + std::string(why));
  ++error_retries_;
  budget_ = kBudget;
  if (error_retries_ > kErrorRetriesMax) {
    state_ = State::kHosed;
    return Verdict::kCallWithoutDelay;
  }
  write_pos_ = read_size_ = 0;
  truncated_ = false;
  state_ = State::kStartOp;
  return Verdict::kCallWithDelay;
}

Verdict SmicStateMachine::event(Duration elapsed) {
  if (state_ == State::kHosed) {
    initialise();
    return Verdict::kHosed;
  }
  // C.1: Linux leaves a step of 2 s or more out of account altogether, and so never times out when it is called rarely.
  if (state_ != State::kIdle && (elapsed < kBudget || profile_.smic_count_long_steps)) {
    budget_ -= elapsed;
    if (budget_ < Duration::zero()) return error("timed out");
  }
  const uint8_t flags = port_.read(reg::kFlags);
  const bool wanted = trace_ && trace_->wanted();
  if (flags & reg::kBusy) {
    if (wanted) trace_->line(trace_line(state_, flags, 0, budget_, elapsed));
    // Idle and BUSY left over by somebody else: the next request will meet it.
    return state_ == State::kIdle ? Verdict::kIdle : Verdict::kCallWithDelay;
  }
  const uint8_t status = port_.read(reg::kStatus);
  if (wanted) trace_->line(trace_line(state_, flags, status, budget_, elapsed));
  const bool tx = flags & reg::kTxDataReady;
  const bool rx = flags & reg::kRxDataReady;

  switch (state_) {
    case State::kIdle:
      return flags & reg::kSmsAtn ? Verdict::kAttention : Verdict::kIdle;

    case State::kStartOp:
      control(reg::kGetStatus, flags);
      state_ = State::kOpOk;
      break;

    case State::kOpOk:
      if (status != reg::kReady) return error("not ready for an operation");
      write_next(flags);
      state_ = State::kWriteStart;
      break;

    case State::kWriteStart:
    case State::kWriteNext:
      if (status != answer_to(state_ == State::kWriteStart ? reg::kWriteStart : reg::kWriteNext)) {
        return error("write not acknowledged");
      }
      if (!tx) return Verdict::kCallWithDelay;
      write_next(flags);
      state_ = write_pos_ == request_size_ ? State::kWriteEnd : State::kWriteNext;
      break;

    case State::kWriteEnd:
      if (status != answer_to(reg::kWriteEnd)) return error("end of write not acknowledged");
      if (port_.read(reg::kData) != 0) return error("write refused");
      state_ = State::kWriteToRead;
      break;

    case State::kWriteToRead:
      if (!rx) return Verdict::kCallWithDelay;
      control(reg::kReadStart, flags);
      state_ = State::kReadStart;
      break;

    case State::kReadStart:
      if (status != answer_to(reg::kReadStart)) return error("start of read not acknowledged");
      if (!rx) return Verdict::kCallWithDelay;
      read_next();
      control(reg::kReadNext, flags);
      state_ = State::kReadNext;
      break;

    case State::kReadNext:
      if (status == answer_to(reg::kReadEnd)) {
        read_next();
        control(reg::kReadEnd, flags);
        state_ = State::kReadEnd;
      } else if (status == answer_to(reg::kReadNext)) {
        if (!rx) return Verdict::kCallWithDelay;
        read_next();
        control(reg::kReadNext, flags);
      } else {
        return error("read not acknowledged");
      }
      break;

    case State::kReadEnd:
      if (status != reg::kReady) return error("end of read not acknowledged");
      if (port_.read(reg::kData) != 0) return error("read refused");
      request_size_ = 0;
      state_ = State::kIdle;
      return Verdict::kTransactionComplete;

    case State::kHosed:
      break;
  }
  budget_ = kBudget;
  return Verdict::kCallWithoutDelay;
}

}  // namespace bmcpair::state_machine::smic
