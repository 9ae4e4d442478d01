// For tests of the driver only: registers that answer from a script, and a small BMC behind KCS or BT registers with
// faults that can be switched on. The real thing is bmc_emu, which this side of the house never includes.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "host_driver/state_machine/state_machine.h"
#include "proto/base/hex.h"
#include "proto/registers/bt.h"
#include "proto/registers/kcs.h"
#include "proto/registers/register_port.h"

namespace bmcpair::state_machine {

// Each register reads what was queued for it, the last value for ever; writes are kept.
class ScriptPort final : public registers::RegisterPort {
 public:
  explicit ScriptPort(registers::InterfaceKind kind) : kind_(kind) {}
  uint8_t read(uint16_t offset) override {
    reads.push_back(offset);
    auto& queue = values[offset];
    if (queue.empty()) return 0;
    const uint8_t v = queue.front();
    if (queue.size() > 1) queue.pop_front();
    return v;
  }
  void write(uint16_t offset, uint8_t value) override { writes.emplace_back(offset, value); }
  registers::InterfaceKind kind() const override { return kind_; }
  bool has_interrupt() const override { return false; }
  void set_interrupt_handler(InterruptHandler) override {}

  void now_reads(uint16_t offset, std::initializer_list<uint8_t> list) { values[offset].assign(list); }
  bool wrote(uint16_t offset, uint8_t value) const {
    for (const auto& w : writes) {
      if (w == std::pair{offset, value}) return true;
    }
    return false;
  }

  std::array<std::deque<uint8_t>, 3> values;
  std::vector<uint16_t> reads;
  std::vector<std::pair<uint16_t, uint8_t>> writes;

 private:
  registers::InterfaceKind kind_;
};

class LineTrace final : public Trace {
 public:
  bool wanted() const override { return true; }
  void line(std::string text) override { lines.push_back(std::move(text)); }
  std::vector<std::string> lines;
};

// Takes a step when its status is read: what the host wrote is first seen to be pending, then done.
class TestBmc final : public registers::RegisterPort {
 public:
  struct Faults {
    bool deaf = false;           // takes nothing: IBF, H2B_ATN stay
    bool mute = false;           // takes requests and never answers
    bool b_busy = false;         // BT
    bool withhold_obf = false;   // KCS: bytes of an answer never show OBF
    bool error_state = false;    // KCS: status reads ERROR for ever
    int wrong_sequence = 0;      // BT: so many answers carry a wrong sequence number
    int wrong_state = 0;         // KCS: so many requests end in ERROR state
    bool attention_stuck = false;
    bool absent = false;         // registers read FF
  };

  TestBmc(registers::InterfaceKind kind, bool interrupt) : kind_(kind), interrupt_(interrupt) {}

  // ---- the host's side
  uint8_t read(uint16_t offset) override {
    Level level(*this);
    ++round_trips_;
    return read_one(offset);
  }
  void write(uint16_t offset, uint8_t value) override {
    Level level(*this);
    write_one(offset, value);
  }
  void read_burst(uint16_t offset, std::span<uint8_t> out) override {
    Level level(*this);
    ++round_trips_;
    for (uint8_t& b : out) b = read_one(offset);
  }
  size_t read_counted(uint16_t offset, std::span<uint8_t> out) override {
    Level level(*this);
    ++round_trips_;
    out[0] = read_one(offset);
    const size_t n = std::min<size_t>(out[0], out.size() - 1);
    for (size_t i = 0; i < n; ++i) out[i + 1] = read_one(offset);
    return n + 1;
  }
  void write_burst(uint16_t offset, std::span<const uint8_t> in) override {
    Level level(*this);
    for (uint8_t b : in) write_one(offset, b);
  }
  registers::InterfaceKind kind() const override { return kind_; }
  bool has_interrupt() const override { return interrupt_; }
  void set_interrupt_handler(InterruptHandler handler) override {
    std::lock_guard lock(handler_m_);
    handler_ = std::move(handler);
  }
  registers::LinkState link() const override {
    std::lock_guard lock(m_);
    return link_;
  }
  void set_link_handler(LinkHandler handler) override {
    std::lock_guard lock(handler_m_);
    link_handler_ = std::move(handler);
  }

  // ---- the test's side
  void change(const std::function<void(Faults&)>& edit) {
    Level level(*this);
    edit(faults_);
  }
  // Answers instead of the built-in firmware where it returns something: CC and data. An empty answer is none at all.
  void on_request(std::function<std::optional<Bytes>(const Bytes&)> hook) {
    std::lock_guard lock(m_);
    hook_ = std::move(hook);
  }
  void post_event(const Bytes& record) {
    Level level(*this);
    events_.push_back(record);
  }
  void post_message(const Bytes& message) {
    Level level(*this);
    messages_.push_back(message);
  }
  void post_pretimeout() {
    Level level(*this);
    pretimeout_ = true;
  }
  void set_link(bool up) {
    registers::LinkState state;
    {
      std::lock_guard lock(m_);
      link_.up = up;
      link_.reason = up ? "" : "cable pulled";
      if (up) {
        ++link_.generation;
        reset_registers();
        enables_ = 0;
      }
      state = link_;
    }
    std::lock_guard lock(handler_m_);
    if (link_handler_) link_handler_(state);
  }
  // Edges that mean nothing.
  void spurious_interrupt() {
    std::lock_guard lock(handler_m_);
    if (handler_) {
      handler_(true);
      handler_(false);
    }
  }
  std::vector<Bytes> requests() const {
    std::lock_guard lock(m_);
    return requests_;
  }
  uint8_t enables() const {
    std::lock_guard lock(m_);
    return enables_;
  }
  uint8_t int_mask() const {
    std::lock_guard lock(m_);
    return int_mask_;
  }
  unsigned round_trips() const {
    std::lock_guard lock(m_);
    return round_trips_;
  }

 private:
  // Holds the registers for one access and tells the interrupt handler of a new level afterwards.
  class Level {
   public:
    explicit Level(TestBmc& bmc) : bmc_(bmc), lock_(bmc.m_) {}
    ~Level() {
      if (bmc_.kind_ == registers::InterfaceKind::kBt && bmc_.link_.up) bmc_.bt_attention();
      const bool level = bmc_.line();
      const bool changed = level != bmc_.last_level_;
      bmc_.last_level_ = level;
      lock_.unlock();
      if (!changed) return;
      std::lock_guard lock(bmc_.handler_m_);
      if (bmc_.handler_) bmc_.handler_(level);
    }

   private:
    TestBmc& bmc_;
    std::unique_lock<std::mutex> lock_;
  };

  bool attention() const {
    return faults_.attention_stuck || pretimeout_ || !events_.empty() || !messages_.empty();
  }
  bool line() const {
    if (!interrupt_ || !link_.up) return false;
    if (kind_ == registers::InterfaceKind::kBt) return int_mask_ == 3;
    return enables_ & 1 && (status_ & registers::kcs::kObf || attention());
  }
  void reset_registers() {
    status_ = 0;
    phase_ = Phase::kIdle;
    pending_ = false;
    control_ = int_mask_ = 0;
    attention_seen_ = false;
    to_bmc_.clear();
    to_host_.clear();
    read_pos_ = 0;
  }

  uint8_t read_one(uint16_t offset) {
    if (!link_.up || faults_.absent) return 0xff;
    return kind_ == registers::InterfaceKind::kBt ? bt_read(offset) : kcs_read(offset);
  }
  void write_one(uint16_t offset, uint8_t value) {
    if (!link_.up || faults_.absent) return;
    if (kind_ == registers::InterfaceKind::kBt) {
      bt_write(offset, value);
    } else {
      kcs_write(offset, value);
    }
  }

  // ---- KCS (IPMI 2.0 §9.15)
  enum class Phase : uint8_t { kIdle, kWrite, kWriteEnd, kRead, kAbort1, kAbort2, kError };
  void kcs_state(registers::kcs::State s) {
    status_ = static_cast<uint8_t>((status_ & ~registers::kcs::kStateMask) |
                                   static_cast<unsigned>(s) << registers::kcs::kStateShift);
  }
  void kcs_out(uint8_t value) {
    data_out_ = value;
    if (!faults_.withhold_obf) status_ |= registers::kcs::kObf;
  }
  uint8_t kcs_read(uint16_t offset) {
    namespace reg = registers::kcs;
    if (offset == reg::kData) {
      status_ = static_cast<uint8_t>(status_ & ~reg::kObf);
      return data_out_;
    }
    if (faults_.error_state) return static_cast<uint8_t>(0xc0 | (attention() ? reg::kSmsAtn : 0));
    const uint8_t seen = static_cast<uint8_t>(status_ | (attention() ? reg::kSmsAtn : 0));
    if (pending_ && !faults_.deaf) kcs_step();
    return seen;
  }
  void kcs_write(uint16_t offset, uint8_t value) {
    pending_ = true;
    command_ = offset == registers::kcs::kCommand;
    data_in_ = value;
    status_ |= registers::kcs::kIbf;
  }
  void kcs_step() {
    namespace reg = registers::kcs;
    pending_ = false;
    status_ = static_cast<uint8_t>(status_ & ~reg::kIbf);
    if (command_) {
      if (data_in_ == reg::kWriteStart) {
        to_bmc_.clear();
        phase_ = Phase::kWrite;
        kcs_state(reg::State::kWrite);
      } else if (data_in_ == reg::kWriteEnd) {
        phase_ = Phase::kWriteEnd;
        kcs_state(reg::State::kWrite);
      } else {
        phase_ = Phase::kAbort1;
        kcs_state(reg::State::kWrite);
      }
      kcs_out(0);
      return;
    }
    switch (phase_) {
      case Phase::kWrite:
        to_bmc_.push_back(data_in_);
        kcs_out(0);
        return;
      case Phase::kWriteEnd: {
        to_bmc_.push_back(data_in_);
        if (faults_.wrong_state > 0) {
          --faults_.wrong_state;
          requests_.push_back(to_bmc_);
          break;
        }
        kcs_state(reg::State::kRead);
        phase_ = Phase::kRead;
        to_host_ = answer(to_bmc_);
        read_pos_ = 0;
        if (!to_host_.empty()) kcs_out(to_host_[read_pos_++]);
        return;
      }
      case Phase::kRead:
        if (read_pos_ < to_host_.size()) {
          kcs_out(to_host_[read_pos_++]);
        } else {
          kcs_state(reg::State::kIdle);
          phase_ = Phase::kIdle;
          kcs_out(0);
        }
        return;
      case Phase::kAbort1:
        kcs_state(reg::State::kRead);
        phase_ = Phase::kAbort2;
        kcs_out(1);
        return;
      case Phase::kAbort2:
        kcs_state(reg::State::kIdle);
        phase_ = Phase::kIdle;
        kcs_out(0);
        return;
      case Phase::kIdle:
      case Phase::kError: break;
    }
    phase_ = Phase::kError;
    kcs_state(reg::State::kError);
    kcs_out(0);
  }

  // ---- BT (IPMI 2.0 §11.6)
  void bt_interrupt() {
    if (int_mask_ & registers::bt::kB2hIrqEnable) int_mask_ |= registers::bt::kB2hIrq;
  }
  uint8_t bt_control() const {
    namespace reg = registers::bt;
    return static_cast<uint8_t>((control_ & ~reg::kBBusy) | (faults_.b_busy ? reg::kBBusy : 0));
  }
  void bt_attention() {
    if (attention() && !attention_seen_) {
      control_ |= registers::bt::kSmsAtn;
      bt_interrupt();
    }
    attention_seen_ = attention();
  }
  uint8_t bt_read(uint16_t offset) {
    namespace reg = registers::bt;
    bt_attention();
    if (offset == reg::kBuffer) return read_pos_ < to_host_.size() ? to_host_[read_pos_++] : 0xff;
    if (offset == reg::kIntMask) return int_mask_;
    const uint8_t seen = bt_control();
    if (control_ & reg::kH2bAtn && !faults_.deaf && !faults_.b_busy) bt_step();
    return seen;
  }
  void bt_write(uint16_t offset, uint8_t value) {
    namespace reg = registers::bt;
    if (offset == reg::kBuffer) {
      to_bmc_.push_back(value);
      return;
    }
    if (offset == reg::kIntMask) {
      const bool pending = int_mask_ & reg::kB2hIrq && !(value & reg::kB2hIrq);
      int_mask_ = static_cast<uint8_t>((value & reg::kB2hIrqEnable) | (pending ? reg::kB2hIrq : 0));
      return;
    }
    if (value & reg::kClrWrPtr) to_bmc_.clear();
    if (value & reg::kClrRdPtr) read_pos_ = 0;
    if (value & reg::kHBusy) control_ ^= reg::kHBusy;
    control_ |= value & reg::kH2bAtn;
    control_ = static_cast<uint8_t>(control_ & ~(value & (reg::kB2hAtn | reg::kSmsAtn)));
    if (value & reg::kSmsAtn) attention_seen_ = attention() && !faults_.attention_stuck;
  }
  void bt_step() {
    namespace reg = registers::bt;
    control_ = static_cast<uint8_t>(control_ & ~reg::kH2bAtn);
    if (to_bmc_.size() < 4) return;
    Bytes request = {to_bmc_[1]};
    request.insert(request.end(), to_bmc_.begin() + 3, to_bmc_.end());
    const uint8_t seq = to_bmc_[2];
    const Bytes response = answer(request);
    if (response.empty()) return;
    to_host_ = {static_cast<uint8_t>(response.size() + 1), response[0],
                static_cast<uint8_t>(faults_.wrong_sequence > 0 ? seq + 77 : seq)};
    if (faults_.wrong_sequence > 0) --faults_.wrong_sequence;
    to_host_.insert(to_host_.end(), response.begin() + 1, response.end());
    read_pos_ = 0;
    control_ |= reg::kB2hAtn;
    bt_interrupt();
  }

  // ---- firmware
  Bytes answer(const Bytes& request) {
    requests_.push_back(request);
    if (faults_.mute) return {};
    Bytes tail;
    std::optional<Bytes> hooked = hook_ ? hook_(request) : std::nullopt;
    tail = hooked ? *hooked : firmware(request);
    if (tail.empty()) return {};
    Bytes response = {static_cast<uint8_t>(request[0] | 4), request[1]};
    response.insert(response.end(), tail.begin(), tail.end());
    return response;
  }
  Bytes firmware(const Bytes& request) {
    if (request[0] != 0x18) return {0xc1};
    switch (request[1]) {
      case 0x01: return {0, 0x20, 0x01, 0x02, 0x03, 0x02, 0xbf, 0x57, 0x01, 0x00, 0x34, 0x12, 0, 0, 0, 0};
      case 0x2e: enables_ = request.size() > 2 ? request[2] : 0; return {0};
      case 0x2f: return {0, enables_};
      case 0x30:
        if (request.size() > 2 && request[2] & 8) pretimeout_ = false;
        return {0};
      case 0x31:
        return {0, static_cast<uint8_t>((messages_.empty() ? 0 : 1) | (events_.empty() ? 0 : 2) | (pretimeout_ ? 8 : 0))};
      case 0x33: return pop(messages_);
      case 0x35: return pop(events_);
      case 0x36: return {0, 1, 255, 255, 5, 2};
      default: return {0xc1};
    }
  }
  Bytes pop(std::deque<Bytes>& queue) {
    if (queue.empty()) return {0x80};
    Bytes out = {0};
    out.insert(out.end(), queue.front().begin(), queue.front().end());
    queue.pop_front();
    attention_seen_ = false;
    return out;
  }

  const registers::InterfaceKind kind_;
  const bool interrupt_;
  mutable std::mutex m_;
  mutable std::mutex handler_m_;
  InterruptHandler handler_;
  LinkHandler link_handler_;
  registers::LinkState link_;
  Faults faults_;
  bool last_level_ = false;
  unsigned round_trips_ = 0;

  uint8_t status_ = 0;
  uint8_t data_out_ = 0;
  uint8_t data_in_ = 0;
  bool pending_ = false;
  bool command_ = false;
  Phase phase_ = Phase::kIdle;
  uint8_t control_ = 0;
  uint8_t int_mask_ = 0;
  bool attention_seen_ = false;
  Bytes to_bmc_;
  Bytes to_host_;
  size_t read_pos_ = 0;

  std::function<std::optional<Bytes>(const Bytes&)> hook_;
  std::vector<Bytes> requests_;
  uint8_t enables_ = 0;
  bool pretimeout_ = false;
  std::deque<Bytes> events_;
  std::deque<Bytes> messages_;
};

// Drives a machine by hand until it says something that is neither "without delay" nor "with delay", crediting `step` at each
// delay, at most `limit` in all.
inline Verdict drive(StateMachine& machine, Duration step = std::chrono::milliseconds(1),
                     Duration limit = std::chrono::seconds(300), Duration* credited = nullptr) {
  Duration total{};
  Duration credit{};
  for (unsigned n = 0; n < 1000000; ++n) {
    const Verdict v = machine.event(credit);
    credit = Duration::zero();
    if (v == Verdict::kCallWithDelay || v == Verdict::kCallWithTickDelay) {
      if (total >= limit) return v;
      credit = step;
      total += step;
    } else if (v != Verdict::kCallWithoutDelay) {
      if (credited) *credited = total;
      return v;
    }
  }
  return Verdict::kCallWithoutDelay;
}

}  // namespace bmcpair::state_machine
