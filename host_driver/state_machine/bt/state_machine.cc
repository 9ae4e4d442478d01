#include "host_driver/state_machine/bt/state_machine.h"

#include <algorithm>

#include "host_driver/state_machine/bt/trace.h"

namespace bmcpair::state_machine::bt {

namespace reg = registers::bt;

namespace {

constexpr uint8_t kTimeoutCc = 0xc3;
constexpr uint8_t kBusyCc = 0xc0;
constexpr uint8_t kUnspecifiedCc = 0xff;
constexpr uint8_t kTruncatedCc = 0xc6;

// Get BT Interface Capabilities (IPMI 2.0 §22.10).
constexpr uint8_t kGetCapabilities[] = {0x18, 0x36};
// App, LUN 0, sequence 42, Warm Reset (§20.3).
constexpr uint8_t kWarmReset[] = {3, 0x18, 42, 0x03};

}  // namespace

BtStateMachine::BtStateMachine(registers::RegisterPort& port, const Profile& profile, Trace* trace)
    : port_(port), profile_(profile), trace_(trace) {}

void BtStateMachine::initialise() {
  // B.6-4: the capabilities belong to the BMC, not to the transaction that found it busy. Nor does the
  // sequence start again: an answer still under way must not match the next request (B.6-10).
  if (!profile_.bt_keep_capabilities) {
    request_to_response_ = kDefaultBudget;
    retries_max_ = kDefaultRetries;
    seq_ = 0;
  }
  outstanding_ = 0;
  state_ = complete_ = State::kIdle;
  read_size_ = write_size_ = 0;
  error_retries_ = 0;
  resets_ = 0;
  answered_ = false;
  truncated_ = false;
  seen_status_ = 0;
  budget_ = request_to_response_;
}

std::string_view BtStateMachine::state_name() const { return to_string(state_); }

uint8_t BtStateMachine::start_transaction(ByteView request) {
  if (request.size() < 2) return 0xc7;
  if (request.size() > ipmi::kMessageBytesMax) return 0xc8;
  // B.2: the length byte counts Seq too. Linux lets it wrap, and the frame is then misread.
  if (profile_.bt_frame_limit && request.size() > reg::kFrameBytesMax - 2) return 0xc8;
  if (state_ == State::kLongBusy) return kBusyCc;
  if (state_ != State::kIdle) return 0xd5;
  write_[0] = static_cast<uint8_t>(request.size() + 1);
  write_[1] = request[0];
  write_[2] = seq_++;
  std::copy(request.begin() + 1, request.end(), write_.begin() + 3);
  write_size_ = request.size() + 2;
  error_retries_ = 0;
  seen_status_ = 0;
  truncated_ = false;
  failure_.reset();
  budget_ = request_to_response_;
  state_ = State::kXactionStart;
  return 0;
}

size_t BtStateMachine::take_result(std::span<uint8_t, ipmi::kMessageBytesMax> out) {
  // Stored: Length, NetFn/LUN, Seq, Cmd, CC, data. Given: without Length and Seq.
  size_t size = read_size_ < 2 ? 0 : read_size_ - 2;
  if (size < 3) {
    force_result(kUnspecifiedCc, failure_.value_or(ErrorCode::kProtocol));
    size = 3;
  }
  out[0] = read_[1];
  std::copy_n(read_.begin() + 3, size - 1, out.begin() + 1);
  if (truncated_) {
    out[2] = kTruncatedCc;
    failure_ = ErrorCode::kProtocol;
  }
  return size;
}

void BtStateMachine::force_result(uint8_t cc, ErrorCode why) {
  read_[0] = 4;
  read_[1] = static_cast<uint8_t>(write_[1] | 4);
  read_[2] = write_[2];
  read_[3] = write_[3];
  read_[4] = cc;
  read_size_ = 5;
  failure_ = why;
}

void BtStateMachine::set_interrupt_enable(bool on) {
  interrupt_enable_ = on;
  port_.write(reg::kIntMask, on ? reg::kB2hIrqEnable : 0);
}

void BtStateMachine::acknowledge_interrupt() {
  const bool enable = interrupt_enable_ || !profile_.bt_keep_interrupt_enable;
  port_.write(reg::kIntMask, static_cast<uint8_t>(reg::kB2hIrq | (enable ? reg::kB2hIrqEnable : 0)));
}

void BtStateMachine::reset_flags() {
  const uint8_t status = control();
  if (trace_ && trace_->wanted()) trace_->line("IPMI BT: flag reset " + flags(status));
  if (status & reg::kHBusy) write_control(reg::kHBusy);
  write_control(reg::kClrWrPtr);
  write_control(reg::kSmsAtn);
  // A reset of the BMC belongs to recovery, not to a host that comes to look (bt_gentle_detect).
  const bool reset_bmc = !profile_.bt_gentle_detect || state_ == State::kReset1;
  port_.write(reg::kIntMask, reset_bmc ? reg::kBmcHwRst : reg::kB2hIrq);
  // B.6-5: either write assigned the enable bit 0, and the SI layer would not look at it for a while.
  if (profile_.bt_keep_interrupt_enable && interrupt_enable_) port_.write(reg::kIntMask, reg::kB2hIrqEnable);
}

void BtStateMachine::drain(uint8_t status) {
  if (!profile_.bt_safe_drain) {
    // As Linux does it (B.5). B.6-1: with H_BUSY set already the first toggle clears it and the last leaves it set.
    if (!(control() & reg::kB2hAtn)) return;
    write_control(reg::kHBusy);
    write_control(reg::kB2hAtn);
    control();
    write_control(reg::kB2hAtn);
    write_control(reg::kClrRdPtr);
    std::array<uint8_t, reg::kFrameBytesMax> scrap;
    scrap[0] = port_.read(reg::kBuffer);
    port_.read_burst(reg::kBuffer, std::span(scrap).first(std::min<size_t>(scrap[0], scrap.size())));
    write_control(reg::kHBusy);
    return;
  }
  if (!(status & reg::kB2hAtn)) return;
  if (!(status & reg::kHBusy)) write_control(reg::kHBusy);
  write_control(reg::kB2hAtn);
  write_control(reg::kClrRdPtr);
  std::array<uint8_t, reg::kFrameBytesMax> scrap;
  port_.read_counted(reg::kBuffer, scrap);
  write_control(reg::kHBusy);
}

void BtStateMachine::write_frame(std::span<const uint8_t> frame) {
  write_control(reg::kClrWrPtr);
  port_.write_burst(reg::kBuffer, frame);
  write_control(reg::kH2bAtn);
}

bool BtStateMachine::frame_matches() const {
  // B.2: NetFn modulo the response bit, Seq and Cmd; not the LUN.
  if (profile_.bt_accepts_any_answer) return read_size_ >= 4;
  return read_size_ >= 4 && (read_[1] & 0xf8) == (write_[1] & 0xf8) && read_[2] == write_[2] && read_[3] == write_[3];
}

bool BtStateMachine::read_frame() {
  if (profile_.bt_safe_drain) {
    // B.6-9: whatever its length says, all of it is read, so the next frame starts clean.
    read_size_ = port_.read_counted(reg::kBuffer, read_);
  } else {
    read_[0] = port_.read(reg::kBuffer);
    read_size_ = 1;
    if (read_[0] >= 4) {
      port_.read_burst(reg::kBuffer, std::span(read_).subspan(1, read_[0]));
      read_size_ = read_[0] + 1u;
    }
  }
  if (read_[0] < 4) {
    // Too short to say whose it is: ours, but truncated.
    force_result(kTruncatedCc, ErrorCode::kProtocol);
    truncated_ = true;
    return true;
  }
  return frame_matches();
}

Verdict BtStateMachine::recover(uint8_t status, uint8_t cc) {
  const bool wanted = trace_ && trace_->wanted();
  budget_ = request_to_response_;
  ++error_retries_;
  if (wanted) {
    trace_->line("BT: error in " + std::string(to_string(state_)) + " " + flags(status) + " " +
                 std::to_string(error_retries_) + " of " + std::to_string(retries_max_));
  }
  if (error_retries_ < retries_max_) {
    state_ = State::kRestart;
    return Verdict::kCallWithoutDelay;
  }
  bool reset = false;
  if (!seen_status_) {
    if (wanted) trace_->line("BT: stuck, try power cycle");
  } else if (profile_.bt_bounded_resets) {
    // B.6-6, B.6-7, G-83: one reset for a BMC that has not answered since we came, whatever the sequence number says.
    reset = !answered_ && resets_ == 0;
  } else {
    reset = seq_ <= (retries_max_ & 0xff);
  }
  if (reset) {
    ++resets_;
    state_ = State::kReset1;
    return Verdict::kCallWithoutDelay;
  }
  state_ = State::kIdle;
  ErrorCode why = cc == kTimeoutCc ? ErrorCode::kTimeout : ErrorCode::kProtocol;
  if (cc == kTimeoutCc && (status & reg::kBBusy)) {
    if (wanted) trace_->line("BT: long busy");
    cc = kBusyCc;
    why = ErrorCode::kUnavailable;
    state_ = State::kLongBusy;
  }
  force_result(cc, why);
  if (complete_ != State::kIdle) {
    // The hidden fetch failed: nobody above waits for it.
    if (state_ == State::kIdle) state_ = complete_;
    complete_ = State::kIdle;
    return Verdict::kCallWithoutDelay;
  }
  return Verdict::kTransactionComplete;
}

Verdict BtStateMachine::event(Duration elapsed) {
  uint8_t status = control();
  seen_status_ |= status;
  trace(status, elapsed);
  if ((state_ == State::kIdle || state_ == State::kXactionStart) && (status & reg::kB2hAtn)) {
    // An answer that came too late for its request (B.6-10). A B2H_ATN that never goes away costs the request
    // its time like any other obstacle; Linux drains for ever.
    if (state_ == State::kXactionStart && profile_.bt_safe_drain) {
      budget_ -= elapsed;
      if (budget_ < Duration::zero()) return recover(status, kTimeoutCc);
    }
    drain(status);
    return Verdict::kCallWithDelay;
  }
  if (state_ != State::kIdle && state_ < State::kCapabilitiesBegin) {
    budget_ -= elapsed;
    if (budget_ < Duration::zero() && state_ >= State::kXactionStart && state_ <= State::kReadBytes) {
      return recover(status, kTimeoutCc);
    }
  }
  Verdict verdict = step(status);
  // A state that needs nothing newer goes on with the CTRL value of this step: over a network each read is a
  // round trip. WRITE_CONSUME and CLEAR_B2H wait for what the step before asked for, so they sample again.
  while (profile_.bt_carry_control && verdict == Verdict::kCallWithoutDelay &&
         (state_ == State::kWriteBytes || state_ == State::kReadWait || state_ == State::kReadBytes)) {
    trace(status, Duration::zero());
    verdict = step(status);
  }
  return verdict;
}

void BtStateMachine::trace(uint8_t status, Duration elapsed) const {
  if (trace_ && trace_->wanted()) trace_->line(trace_line(state_, status, budget_, elapsed));
}

Verdict BtStateMachine::step(uint8_t status) {
  switch (state_) {
    case State::kIdle:
      if (status & reg::kSmsAtn) {
        write_control(reg::kSmsAtn);
        return Verdict::kAttention;
      }
      if (status & reg::kHBusy) write_control(reg::kHBusy);
      if (profile_.bt_hidden_capability_fetch && outstanding_ == 0) {
        budget_ = request_to_response_;  // G-19
        state_ = State::kCapabilitiesBegin;
        return Verdict::kCallWithoutDelay;
      }
      return Verdict::kIdle;

    case State::kXactionStart:
      if ((status & (reg::kBBusy | reg::kH2bAtn)) && !seen_free_) return Verdict::kCallWithDelay;
      seen_free_ = profile_.bt_caches_b_busy;
      if (!profile_.bt_carry_control && (control() & reg::kHBusy)) write_control(reg::kHBusy);
      state_ = State::kWriteBytes;
      return Verdict::kCallWithoutDelay;

    case State::kWriteBytes:
      if (status & reg::kHBusy) write_control(reg::kHBusy);
      write_frame(std::span(write_).first(write_size_));
      state_ = State::kWriteConsume;
      return Verdict::kCallWithoutDelay;

    case State::kWriteConsume:
      if (status & (reg::kBBusy | reg::kH2bAtn)) return Verdict::kCallWithDelay;
      state_ = State::kReadWait;
      return Verdict::kCallWithoutDelay;

    case State::kReadWait:
      if (!(status & reg::kB2hAtn)) return Verdict::kCallWithDelay;
      // B.6-2: a toggle is only a set when the bit was clear.
      if (!profile_.bt_safe_drain || !(status & reg::kHBusy)) write_control(reg::kHBusy);
      write_control(reg::kB2hAtn);
      state_ = State::kClearB2h;
      return Verdict::kCallWithoutDelay;

    case State::kClearB2h:
      if (status & reg::kB2hAtn) {
        write_control(reg::kB2hAtn);
        return Verdict::kCallWithDelay;
      }
      state_ = State::kReadBytes;
      return Verdict::kCallWithoutDelay;

    case State::kReadBytes: {
      if (!(status & reg::kHBusy)) write_control(reg::kHBusy);
      write_control(reg::kClrRdPtr);
      failure_.reset();
      const bool mine = read_frame();
      write_control(reg::kHBusy);
      if (!mine) {
        if (trace_ && trace_->wanted()) {
          trace_->line("BT: not mine: " + to_hex(std::span(read_).first(read_size_)));
        }
        state_ = State::kReadWait;
        return profile_.bt_carry_control ? Verdict::kCallWithDelay : Verdict::kCallWithoutDelay;
      }
      answered_ = true;
      resets_ = 0;
      state_ = complete_;
      complete_ = State::kIdle;
      return state_ == State::kIdle ? Verdict::kTransactionComplete : Verdict::kCallWithoutDelay;
    }

    case State::kReset1:
      reset_flags();
      drain(profile_.bt_safe_drain ? control() : status);
      state_ = State::kReset2;
      return Verdict::kCallWithDelay;

    case State::kReset2:
      write_frame(kWarmReset);
      budget_ = kResetBudget;
      state_ = State::kReset3;
      return Verdict::kCallWithDelay;

    case State::kReset3:
      if (budget_ > Duration::zero()) return Verdict::kCallWithDelay;
      drain(status);
      state_ = State::kRestart;
      return Verdict::kCallWithoutDelay;

    case State::kRestart:
      read_size_ = 0;
      seen_status_ = 0;
      budget_ = request_to_response_;
      state_ = State::kXactionStart;
      return Verdict::kCallWithDelay;

    case State::kLongBusy:
      if (status & reg::kBBusy) return Verdict::kCallWithDelay;
      reset_flags();
      initialise();
      return Verdict::kCallWithoutDelay;

    case State::kCapabilitiesBegin:
      // Nobody above is told that a transaction runs (B.9: two owners of one machine).
      outstanding_ = 1;
      state_ = State::kIdle;
      start_transaction(kGetCapabilities);
      complete_ = State::kCapabilitiesEnd;
      return Verdict::kCallWithDelay;

    case State::kCapabilitiesEnd: {
      std::array<uint8_t, ipmi::kMessageBytesMax> answer;
      const size_t n = take_result(answer);
      const std::optional<ErrorCode> failed = failure_;
      initialise();
      outstanding_ = 1;
      if (n == 8 && answer[2] == 0 && !failed) {
        outstanding_ = std::max<unsigned>(answer[3], 1);
        adopt(answer[6], answer[7]);
      }
      budget_ = request_to_response_;
      return Verdict::kCallWithoutDelay;
    }
  }
  return recover(status, kUnspecifiedCc);
}

bool BtStateMachine::detect() {
  if (control() == 0xff && port_.read(reg::kIntMask) == 0xff) return false;
  initialise();
  reset_flags();
  return true;
}

void BtStateMachine::adopt(uint8_t seconds, uint8_t retries) {
  request_to_response_ = std::chrono::seconds(seconds);
  retries_max_ = retries;
  if (!profile_.bt_floor_timings) return;
  // B.6-3: with 0 s the first step that credits any time would be a timeout; and a BMC does not get to hang its host.
  if (seconds == 0) request_to_response_ = kDefaultBudget;
  request_to_response_ = std::min(request_to_response_, kBudgetMax);
  retries_max_ = std::min(retries_max_, kRetriesMax);
}

bool BtStateMachine::adopt_capabilities(ByteView answer) {
  request_to_response_ = kDefaultBudget;
  retries_max_ = kDefaultRetries;
  // Linux forgets the fetch altogether: sequence 0 again, and the first-transactions rule with it.
  if (!profile_.bt_keep_capabilities) seq_ = 0;
  // CC, outstanding, input size, output size, seconds, retries.
  if (answer.size() < 6 || answer[0] != 0) return false;
  adopt(answer[4], answer[5]);
  return true;
}

}  // namespace bmcpair::state_machine::bt
