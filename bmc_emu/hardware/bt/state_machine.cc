#include "bmc_emu/hardware/bt/state_machine.h"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "proto/registers/away.h"

namespace bmcpair::hardware::bt {

using namespace registers::bt;

namespace {
constexpr uint8_t kRequestLengthMin = 3;  // NetFn/LUN, Seq, Cmd (§11.3)
}

TransferPhase StateMachine::transfer_phase() const {
  const uint8_t flags = registers_.flags();
  if ((flags & kH2bAtn) != 0 || (phase_ > Phase::kIdle && phase_ <= Phase::kClearBusy)) return TransferPhase::kWrite;
  if (phase_ != Phase::kIdle || (flags & (kB2hAtn | kHBusy)) != 0) return TransferPhase::kRead;
  return awaits_answer() ? TransferPhase::kExecute : TransferPhase::kIdle;
}

// BT has no state that says so: the request is gone, and the host finds out by its time limit. B_BUSY and H2B_ATN, where
// they are still to be cleared, are.
void StateMachine::fail_transfer() {
  forget_request();
  if (phase_ >= Phase::kRewindWrite) phase_ = Phase::kIdle;
  if (phase_ == Phase::kReadLength || phase_ == Phase::kReadBytes || phase_ == Phase::kRewindRead) {
    phase_ = Phase::kClearBusy;
  }
  input_.clear();
}

// Reads BT_CTRL and decides what to begin.
void StateMachine::look(Instant now) {
  const uint8_t ctrl = bmc_read(kCtrl, now);
  if ((ctrl & kH2bAtn) != 0) {
    forget_request();
    // A toggle: only when it differs.
    phase_ = (ctrl & kBBusy) != 0 ? Phase::kClearH2b : Phase::kSetBusy;
  } else if (reply_waits() && (ctrl & (kHBusy | kB2hAtn)) == 0) {
    phase_ = Phase::kRewindWrite;
  }
}

// The frame after its length byte: NetFn/LUN, Seq, Cmd, CC, data (§11.4).
uint8_t StateMachine::reply_byte(size_t index) const {
  if (index == 0) return output_[0];
  return index == 1 ? static_cast<uint8_t>(seq_ + reply_fault_.sequence_add) : output_[index - 1];
}

// A frame, out of the buffer or into it.
size_t StateMachine::run_on(size_t max, Instant now, Duration apart) {
  std::array<uint8_t, kFrameBytesMax> run;
  size_t n = 0;
  const bool writes = phase_ == Phase::kWriteLength || phase_ == Phase::kWriteBytes;
  while (n < max && in_run()) {
    uint8_t& byte = run[n++];
    switch (phase_) {
      case Phase::kReadLength:
        length_ = byte = registers_.bmc_read(kBuffer);
        input_.clear();
        input_.reserve(length_);
        phase_ = length_ >= kRequestLengthMin && registers_.host_bytes_written() == length_ + size_t{1}
                     ? Phase::kReadBytes
                     : Phase::kClearBusy;
        break;
      case Phase::kReadBytes:
        byte = registers_.bmc_read(kBuffer);
        input_.push_back(byte);
        if (input_.size() == length_) phase_ = Phase::kClearBusy;
        break;
      case Phase::kWriteLength:
        byte = reply_fault_.lies ? reply_fault_.length_byte : static_cast<uint8_t>(output_.size() + 1);
        registers_.bmc_write(kBuffer, byte);
        sent_ = 0;
        phase_ = Phase::kWriteBytes;
        break;
      default:
        byte = reply_byte(sent_);
        registers_.bmc_write(kBuffer, byte);
        if (++sent_ == output_.size() + 1) phase_ = Phase::kSetB2h;
        break;
    }
  }
  trace_run(Face::kBmc, writes, kBuffer, ByteView(run).first(n), now, apart);
  return n;
}

std::optional<TakenRequest> StateMachine::work(Instant now) {
  switch (phase_) {
    case Phase::kIdle: look(now); break;
    case Phase::kSetBusy:
      bmc_write(kCtrl, kBBusy, now);
      phase_ = Phase::kClearH2b;
      break;
    case Phase::kClearH2b:
      bmc_write(kCtrl, kH2bAtn, now);
      phase_ = Phase::kRewindRead;
      break;
    case Phase::kRewindRead:
      bmc_write(kCtrl, kClrRdPtr, now);
      phase_ = Phase::kReadLength;
      break;
    case Phase::kReadLength:
    case Phase::kReadBytes:
    case Phase::kWriteLength:
    case Phase::kWriteBytes: run_on(1, now, Duration(0)); break;
    case Phase::kClearBusy: {
      bmc_write(kCtrl, kBBusy, now);
      phase_ = Phase::kIdle;
      Bytes message = std::exchange(input_, {});
      if (message.size() < kRequestLengthMin) break;
      seq_ = message[1];
      message.erase(message.begin() + 1);
      return take(std::move(message), now);
    }
    case Phase::kRewindWrite:
      bmc_write(kCtrl, kClrWrPtr, now);
      phase_ = Phase::kWriteLength;
      break;
    case Phase::kSetB2h:
      bmc_write(kCtrl, kB2hAtn, now);
      phase_ = Phase::kIdle;
      if (!repeat_reply(now)) forget_request();
      break;
  }
  return std::nullopt;
}

void StateMachine::carry_side_band(Instant now) {
  const uint8_t bits = side_band();
  attention_raise_ = false;
  if (bits != 0) bmc_write(kCtrl, bits, now);
}

bool StateMachine::take_hardware_reset_request() {
  if (!registers_.hardware_reset_requested()) return false;
  registers_.bmc_write(kIntMask, kBmcHwRst);
  return true;
}

void StateMachine::enter_offline(Instant now) {
  phase_ = Phase::kIdle;
  input_ = Bytes();
  registers_.reset();
  bmc_write(kCtrl, registers::away_flags(kind()), now);
}

void StateMachine::leave_offline(Instant now) { bmc_write(kCtrl, kBBusy, now); }

void StateMachine::load_state(Reader& in) {
  visit(in);
  const bool sends = phase_ >= Phase::kRewindWrite;
  const bool reads = phase_ == Phase::kReadBytes;
  if (input_.size() > 255 || (sends && output_.empty()) || (phase_ == Phase::kWriteBytes && sent_ > output_.size()) ||
      (reads && input_.size() >= length_)) {
    in.fail();
  }
}

}  // namespace bmcpair::hardware::bt
