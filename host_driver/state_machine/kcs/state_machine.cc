#include "host_driver/state_machine/kcs/state_machine.h"

#include <algorithm>

#include "host_driver/state_machine/kcs/trace.h"

namespace bmcpair::state_machine::kcs {

namespace reg = registers::kcs;

KcsStateMachine::KcsStateMachine(registers::RegisterPort& port, const Profile& profile, Trace* trace)
    : port_(port), profile_(profile), trace_(trace) {
  initialise();
}

void KcsStateMachine::initialise() {
  state_ = State::kIdle;
  write_pos_ = write_left_ = request_size_ = read_size_ = 0;
  truncated_ = false;
  error_retries_ = 0;
  ibf_budget_ = io_budget();
  obf_budget_ = io_budget();
}

std::string_view KcsStateMachine::state_name() const { return to_string(state_); }

bool KcsStateMachine::detect() {
  // Nobody drives all bits high in a real status register at rest (A.3).
  return port_.read(reg::kStatus) != 0xff;
}

uint8_t KcsStateMachine::start_transaction(ByteView request) {
  if (request.size() < 2) return 0xc7;
  if (request.size() > write_.size()) return 0xc8;
  if (!idle()) return 0xd5;
  std::copy(request.begin(), request.end(), write_.begin());
  request_size_ = write_left_ = request.size();
  write_pos_ = read_size_ = 0;
  error_retries_ = 0;
  truncated_ = false;
  failure_.reset();
  ibf_budget_ = io_budget();
  obf_budget_ = io_budget();
  state_ = State::kStartOp;
  return 0;
}

size_t KcsStateMachine::take_result(std::span<uint8_t, ipmi::kMessageBytesMax> out) {
  std::copy_n(read_.begin(), read_size_, out.begin());
  size_t size = read_size_;
  failure_.reset();
  if (size < 3) {
    // Too short to hold a completion code: make it a response of its own, FF.
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

void KcsStateMachine::read_data() { port_.read(reg::kData); }

void KcsStateMachine::drain(uint8_t status) {
  if (status & reg::kObf) read_data();
}

// Between transactions.
void KcsStateMachine::drain_rest(uint8_t status) {
  if (!profile_.kcs_leaves_dummy_byte) drain(status);
}

Verdict KcsStateMachine::give_up() {
  initialise();
  if (profile_.kcs_parks_in_error0) {
    state_ = State::kError0;
    error0_budget_ = kError0Budget;
  }
  return Verdict::kHosed;
}

void KcsStateMachine::write_next_byte() {
  port_.write(reg::kData, write_[write_pos_++]);
  --write_left_;
}

void KcsStateMachine::read_next_byte() {
  const uint8_t value = port_.read(reg::kData);
  if (read_size_ < read_.size()) {
    read_[read_size_++] = value;
  } else {
    truncated_ = true;
  }
  port_.write(reg::kData, reg::kRead);
}

void KcsStateMachine::restart() {
  write_pos_ = read_size_ = 0;
  write_left_ = request_size_;
  truncated_ = false;
  ibf_budget_ = io_budget();
  obf_budget_ = io_budget();
  state_ = State::kWaitWriteStart;
  port_.write(reg::kCommand, reg::kWriteStart);
}

Verdict KcsStateMachine::error(std::string_view why) {
  ++error_retries_;
  const bool last = error_retries_ > profile_.kcs_error_retries_max;
  state_ = last ? State::kHosed : State::kError0;
  error0_budget_ = kError0Budget;
  // A.6-5, G-07: the abort handshake is not to run on what the interrupted phase left over.
  if (profile_.kcs_rearm_budget_in_recovery) {
    ibf_budget_ = io_budget();
    obf_budget_ = io_budget();
  }
  if (trace_ && trace_->wanted()) trace_->line("KCS: " + std::string(why));
  // G-60: a BMC that fails each abort at once must not be answered eleven times without a pause.
  return profile_.kcs_delay_after_error && !last ? Verdict::kCallWithTickDelay : Verdict::kCallWithoutDelay;
}

bool KcsStateMachine::input_free(uint8_t status, Duration elapsed) {
  if (!(status & reg::kIbf)) {
    ibf_budget_ = io_budget();
    return true;
  }
  ibf_budget_ -= elapsed;
  if (ibf_budget_ >= Duration::zero() || profile_.kcs_ignores_timeouts) return false;
  error("IBF not ready in time");
  timed_out_ = true;
  ibf_budget_ = io_budget();
  return true;
}

bool KcsStateMachine::output_there(uint8_t status, Duration elapsed) {
  if (status & reg::kObf) {
    obf_budget_ = io_budget();
    return true;
  }
  obf_budget_ -= elapsed;
  if (obf_budget_ >= Duration::zero() || profile_.kcs_ignores_timeouts) return false;
  obf_budget_ = io_budget();
  error("OBF not ready in time");
  timed_out_ = true;
  return true;
}

Verdict KcsStateMachine::event(Duration elapsed) {
  if (state_ == State::kHosed && profile_.kcs_stop_after_timeout) {
    // Whatever the registers say: A.6-2, HOSED is never lost.
    return give_up();
  }
  const uint8_t status = port_.read(reg::kStatus);
  const reg::State bmc = reg::state_of(status);
  timed_out_ = false;
  if (trace_ && trace_->wanted()) {
    const bool output = !(status & reg::kIbf) &&
                        (state_ == State::kWaitRead || state_ == State::kError2 || state_ == State::kError3);
    trace_->line(trace_line(state_, status, output ? obf_budget_ : ibf_budget_, elapsed));
  }

  if (state_ == State::kIdle && (status & reg::kIbf) && profile_.kcs_idle_ibf_is_not_error) {
    // D.11 W3: nobody waits for this byte. What counts is whether it goes away once there is a request.
    return Verdict::kIdle;
  }
  if (!input_free(status, elapsed)) return Verdict::kCallWithDelay;
  if (timed_out_ && profile_.kcs_stop_after_timeout) {
    // A.6-3: with IBF still set an abort would overwrite the byte that the BMC has not taken.
    return state_ == State::kHosed ? Verdict::kCallWithoutDelay : Verdict::kCallWithTickDelay;
  }

  switch (state_) {
    case State::kIdle:
      drain_rest(status);
      return status & reg::kSmsAtn ? Verdict::kAttention : Verdict::kIdle;

    case State::kStartOp:
      if (bmc != reg::State::kIdle) return error("state machine not idle at start");
      drain_rest(status);
      port_.write(reg::kCommand, reg::kWriteStart);
      state_ = State::kWaitWriteStart;
      break;

    case State::kWaitWriteStart:
      if (bmc != reg::State::kWrite) return error("not in write state at write start");
      // A.6-4: Linux reads whether or not there is a byte.
      if (profile_.kcs_check_obf_at_write_start) {
        drain(status);
      } else {
        read_data();
      }
      if (write_left_ == 1) {
        port_.write(reg::kCommand, reg::kWriteEnd);
        state_ = State::kWaitWriteEnd;
      } else {
        write_next_byte();
        state_ = State::kWaitWrite;
      }
      break;

    case State::kWaitWrite:
      if (bmc != reg::State::kWrite) return error("not in write state for write");
      drain(status);
      if (write_left_ == 1) {
        port_.write(reg::kCommand, reg::kWriteEnd);
        state_ = State::kWaitWriteEnd;
      } else {
        write_next_byte();
      }
      break;

    case State::kWaitWriteEnd:
      if (bmc != reg::State::kWrite) return error("not in write state for write end");
      drain(status);
      write_next_byte();
      state_ = State::kWaitRead;
      break;

    case State::kWaitRead:
      if (bmc != reg::State::kRead && bmc != reg::State::kIdle) return error("not in read or idle in read state");
      if (bmc == reg::State::kRead) {
        if (!output_there(status, elapsed)) return Verdict::kCallWithDelay;
        // A.6-1: Linux goes on to read a stale byte and acknowledges it.
        if (timed_out_ && profile_.kcs_stop_after_timeout) break;
        read_next_byte();
      } else {
        // The last dummy byte may not have come yet; IDLE's drain takes it (A.3).
        drain_rest(status);
        request_size_ = 0;
        state_ = State::kIdle;
        return Verdict::kTransactionComplete;
      }
      break;

    case State::kError0:
      drain(status);
      if (status & reg::kObf) {
        const uint8_t again = port_.read(reg::kStatus);
        if (again & reg::kObf) {
          error0_budget_ -= elapsed;
          if (error0_budget_ > Duration::zero()) return Verdict::kCallWithTickDelay;
        }
      }
      port_.write(reg::kCommand, reg::kGetStatusAbort);
      state_ = State::kError1;
      break;

    case State::kError1:
      drain(status);
      port_.write(reg::kData, 0);
      state_ = State::kError2;
      break;

    case State::kError2:
      if (bmc != reg::State::kRead) return error("not in read state for error2");
      if (!output_there(status, elapsed)) return Verdict::kCallWithDelay;
      // A.6-2: Linux goes on and overwrites the state that the error just set.
      if (timed_out_ && profile_.kcs_stop_after_timeout) break;
      read_data();
      port_.write(reg::kData, reg::kRead);
      state_ = State::kError3;
      break;

    case State::kError3:
      if (bmc != reg::State::kIdle) return error("not in idle state for error3");
      if (!output_there(status, elapsed)) return Verdict::kCallWithDelay;
      if (timed_out_ && profile_.kcs_stop_after_timeout) break;
      drain(status);
      if (request_size_) {
        restart();
      } else {
        state_ = State::kIdle;
        return Verdict::kTransactionComplete;
      }
      break;

    case State::kHosed:
      return give_up();
  }
  return Verdict::kCallWithoutDelay;
}

}  // namespace bmcpair::state_machine::kcs
