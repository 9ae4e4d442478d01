// What the BMC sides of all interfaces share: when they are due, the request in flight, tracing, saving.
//
// Three things can be due, each with an instant of its own: work (the protocol), side band (SMS_ATN and OEM bits,
// another context of a BMC) and the reply that the firmware has given. The earliest goes first; of equals, in the
// order named. A sequence of accesses that has begun is not broken into by a reply, only by the side band.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "bmc_emu/hardware/archive.h"
#include "bmc_emu/hardware/fault_state.h"
#include "bmc_emu/hardware/interface.h"
#include "proto/ipmi/message.h"

namespace bmcpair::hardware {

// Saturates below kNever: what is due at all stays due.
constexpr Instant after(Instant now, Duration d) {
  const Instant last = kNever - Duration(1);
  return d >= last - now ? last : now + d;
}

// Kind's version of saved states; the kind itself follows it.
constexpr uint32_t kSavedMagic = 0x32574842;  // "BHW2"

// Until an answer comes again: the host has found the end of the first by then.
constexpr Duration kRepeatPause = std::chrono::milliseconds(1);

void save_plan(Writer& out, const LatencyPlan& plan);
void load_plan(Reader& in, LatencyPlan& plan);

using Face = Access::Face;

// R: host_read, host_write, bmc_read, bmc_update, flags, interrupt, visit, valid. Self: the interface's own machine, derived
// from this. It has
//   optional<TakenRequest> work(Instant now)   one protocol step; at most one BMC access
//   void begin_reply(Instant now)              the reply's first access; output_ holds the message
//   bool in_sequence() const                   whether accesses are decided but not yet made; has_work() is then true
//   bool has_work() const                      whether the protocol has something to do right now, by what a BMC's own
//                                              interrupt lines tell: the flags, besides what the BMC itself is at
//   bool side_band_differs() const, void carry_side_band(Instant now)
//   size_t run_on(size_t max, Instant now, Duration apart)   where in_run() may be true: so many of the run's accesses at once
//   void enter_offline(Instant now), void leave_offline(Instant now)
//   void save_state(Writer&), void load_state(Reader&)
// and, where it differs, what is protected below. Bound when compiled: a laboratory makes a hundred million steps a minute.
template <class R, class Self>
class Actor : public Interface {
 public:
  explicit Actor(const InterfaceOptions& options) : plan_(options.latency), random_(options.seed) {}
  Actor(const Actor&) = delete;
  Actor& operator=(const Actor&) = delete;

  uint8_t host_read(uint16_t offset, Instant now) final {
    if (faults_) return faulty_read(offset, now);
    const uint8_t before = registers_.flags();
    const uint8_t value = registers_.host_read(offset);
    trace(Face::kHost, false, offset, value, now);
    if (registers_.flags() != before) notice(now);
    return value;
  }
  void host_write(uint16_t offset, uint8_t value, Instant now) final {
    if (faults_) return faulty_write(offset, value, now);
    const uint8_t before = registers_.flags();
    registers_.host_write(offset, value);
    trace(Face::kHost, true, offset, value, now);
    if (registers_.flags() != before) notice(now);
  }
  void host_read_burst(uint16_t offset, std::span<uint8_t> out, Instant now, Duration apart) final {
    if (!faults_ && R::changes_no_flag(offset)) {
      for (uint8_t& b : out) b = registers_.host_read(offset);
      trace_run(Face::kHost, false, offset, out, now, apart);
      return;
    }
    for (uint8_t& b : out) {
      b = host_read(offset, now);
      now += apart;
    }
  }
  void host_write_burst(uint16_t offset, std::span<const uint8_t> in, Instant now, Duration apart) final {
    if (!faults_ && R::changes_no_flag(offset)) {
      for (uint8_t b : in) registers_.host_write(offset, b);
      trace_run(Face::kHost, true, offset, in, now, apart);
      return;
    }
    for (uint8_t b : in) {
      host_write(offset, b, now);
      now += apart;
    }
  }
  bool interrupt_line() const final {
    if (!faults_) return registers_.interrupt();
    const bool hidden = (faults_->withheld() & R::kRaisesInterrupt) != 0 || (faults_->held() & R::kHoldsInterrupt) != 0;
    return (registers_.interrupt() && !hidden) || faults_->line_forced();
  }
  uint8_t peek_flags() const final { return faults_ ? faults_->seen(registers_.flags()) : registers_.flags(); }

  Instant next_due() const final {
    if (!faults_) return own_due();
    return std::min(faults_->stalled() ? kNever : own_due(), faults_->next_due());
  }

  std::optional<TakenRequest> step(Instant now) final {
    if (faults_) {
      const Instant fault_due = faults_->next_due();
      if (fault_due <= now && (faults_->stalled() || fault_due <= own_due())) {
        fault_step(now);
        return std::nullopt;
      }
      if (faults_->stalled()) return std::nullopt;
    }
    const Instant due = own_due();
    if (due == kNever || due > now) return std::nullopt;
    if (due == work_due_) {
      work_due_ = kNever;
      std::optional<TakenRequest> taken = self().work(now);
      after_step(now);
      return taken;
    }
    if (due == side_due_) {
      side_due_ = kNever;
      self().carry_side_band(now);
    } else {
      reply_due_ = kNever;
      self().begin_reply(now);
    }
    after_step(now);
    return std::nullopt;
  }

  bool in_burst() const final { return self().in_run(); }
  void go_on_in_burst(Instant until) final {
    const Duration apart = plan_.access.min;
    if (faults_ || plan_.access.shape != Latency::Shape::kFixed || apart <= Duration(0)) {
      for (Instant due; self().in_run() && (due = next_due()) != kNever && due <= until;) step(due);
      return;
    }
    // The lines that notice() looks at change with the flags, and these accesses change none: what is due is the next of them.
    const Instant last = std::min(until, side_due_);
    if (!self().in_run() || work_due_ > last) return;
    const size_t made = self().run_on(static_cast<size_t>((last - work_due_) / apart) + 1, work_due_, apart);
    work_due_ = after(work_due_, apart * static_cast<int64_t>(made));
  }

  bool respond(uint32_t token, ByteView message, Instant now) final {
    return respond_faulty(token, message, now, ReplyFault{});
  }
  bool respond_faulty(uint32_t token, ByteView message, Instant now, const ReplyFault& fault) final {
    if (token == 0 || token != token_ || answered_) return false;
    answered_ = true;
    reply_fault_ = fault;
    const uint8_t head[] = {static_cast<uint8_t>(request_netfn_lun_ | 4), request_cmd_};
    if (fault.raw && !message.empty()) {
      const auto size = static_cast<std::ptrdiff_t>(std::min(message.size(), self().response_bytes_max()));
      output_.assign(message.begin(), message.begin() + size);
    } else if (message.size() > self().response_bytes_max()) {
      output_ = {head[0], head[1], static_cast<uint8_t>(ipmi::CompletionCode::kCannotReturnRequestedLength)};
    } else if (message.size() < 3) {  // no completion code: no interface can carry that
      output_ = {head[0], head[1], static_cast<uint8_t>(ipmi::CompletionCode::kUnspecified)};
    } else {
      output_.assign(message.begin(), message.end());
    }
    const Instant not_before = fault.has_answer_at ? after(taken_at_, fault.answer_at) : reply_not_before_;
    reply_due_ = after(std::max(after(now, draw_access()), not_before), fault.delay);
    return true;
  }

  void set_attention(bool wanted, Instant now) final {
    if (wanted == attention_wanted_) return;
    attention_wanted_ = wanted;
    self().attention_changed();
    notice(now);
  }
  void set_oem_bits(uint8_t bits, Instant now) final {
    oem_wanted_ = bits;
    notice(now);
  }

  void go_offline(Instant now) final {
    if (!online_) return;
    forget_request();
    work_due_ = side_due_ = kNever;
    online_ = false;
    self().enter_offline(now);
    if (faults_) watch_line(now);
  }
  void come_online(Instant now) final {
    if (online_) return;
    online_ = true;
    self().leave_offline(now);
    self().attention_changed();
    notice(now);
  }
  bool online() const final { return online_; }
  void forget_host(Instant now) final {
    const bool stays_away = !online_;
    online_ = true;
    go_offline(now);
    self().forget_cut();
    if (!stays_away) come_online(now);
  }
  void set_trace(TraceSink* sink) final { trace_ = sink; }

  void set_injector(Injector* injector, Instant now) final {
    if (injector == nullptr) {
      faults_.reset();
    } else if (faults_) {
      faults_->set_injector(*injector);
    } else {
      faults_ = std::make_unique<FaultState>(*injector);
      faults_->line = registers_.interrupt();
    }
    notice(now);
  }
  void inject(const Effect& effect, Instant now) final {
    if (!faults_) return;
    trace_fault(effect.fault, now);
    apply(effect, now);
    watch_line(now);
    notice(now);
  }
  void lift(uint32_t fault, Instant now) final {
    if (!faults_) return;
    faults_->lift(fault);
    notice(now);
  }
  std::optional<bool> take_reset_request() final { return std::exchange(reset_request_, std::nullopt); }

  Bytes save() const final {
    Writer out;
    out(kSavedMagic, static_cast<uint8_t>(self().kind()), random_.state());
    save_plan(out, plan_);
    // visit() lists members for both directions; writing changes none of them.
    auto& writable = const_cast<Actor&>(*this);
    writable.registers_.visit(out);
    writable.visit_common(out);
    writable.self().save_state(out);
    return out.take();
  }
  // The rest of `in`, after magic and kind.
  void load(Reader& in) {
    uint64_t seed = 0;
    in(seed);
    random_ = Random(seed);
    load_plan(in, plan_);
    registers_.visit(in);
    visit_common(in);
    self().load_state(in);
    if (!registers_.valid() || output_.size() > self().response_bytes_max() || answered_ == output_.empty() ||
        (token_ == 0 && answered_) || (!answered_ && reply_due_ != kNever)) {
      in.fail();
    }
  }

 protected:
  // Whether the next step goes on with a run of accesses to the buffer.
  static bool in_run() { return false; }
  static size_t run_on(size_t, Instant, Duration) { return 0; }
  void attention_changed() {}
  // A transfer of which nothing is left; KCS says so in its state.
  void fail_transfer() { forget_request(); }
  // Nobody is there any more to whom a transfer that was cut off must look like one.
  void forget_cut() {}

  uint8_t bmc_read(uint16_t offset, Instant now) {
    uint8_t value = registers_.bmc_read(offset);
    if (faults_ && offset == R::kFlagsOffset) value = as_bmc_sees(value);
    trace(Face::kBmc, false, offset, value, now);
    return value;
  }
  // The flags as the BMC sees them: what faults do to the host's own flags, they do in the register.
  uint8_t bmc_flags() const { return faults_ ? as_bmc_sees(registers_.flags()) : registers_.flags(); }
  void bmc_write(uint16_t offset, uint8_t value, Instant now) { bmc_update(offset, 0xff, value, now); }
  void bmc_update(uint16_t offset, uint8_t mask, uint8_t value, Instant now) {
    registers_.bmc_update(offset, mask, value);
    trace(Face::kBmc, true, offset, static_cast<uint8_t>(value & mask), now);
  }

  void trace_run(Face face, bool is_write, uint16_t offset, ByteView values, Instant now, Duration apart) {
    if (trace_ == nullptr) return;
    trace_->on_run({now, face, is_write, offset, 0, peek_flags(), interrupt_line(), 0}, values, apart);
  }

  // A whole request has come out of the registers: any earlier one is stale from here on. message has at least
  // NetFn/LUN and Cmd.
  TakenRequest take(Bytes message, Instant now) {
    forget_request();
    if (++last_token_ == 0) ++last_token_;  // 0 means none
    token_ = last_token_;
    request_netfn_lun_ = message[0];
    request_cmd_ = message[1];
    auto special = plan_.by_command.find({static_cast<uint8_t>(message[0] >> 2), message[1]});
    const Latency& latency = special != plan_.by_command.end() ? special->second : plan_.response;
    taken_at_ = now;
    reply_not_before_ = after(now, latency.draw(random_));
    return TakenRequest{token_, std::move(message)};
  }
  // Its token is stale from here on, its answer, given or not, is dropped.
  void forget_request() {
    token_ = 0;
    answered_ = false;
    reply_due_ = kNever;
    reply_fault_ = {};
    output_.clear();
  }
  // The answer is out. True where a fault wants it to come again.
  bool repeat_reply(Instant now) {
    if (!answered_ || reply_fault_.duplicates == 0) return false;
    --reply_fault_.duplicates;
    reply_due_ = after(now, kRepeatPause);
    return true;
  }
  bool awaits_answer() const { return token_ != 0; }
  bool reply_waits() const { return answered_ && reply_due_ == kNever; }
  R registers_;
  Bytes output_;  // the answer's message
  ReplyFault reply_fault_;
  bool attention_wanted_ = false;
  uint8_t oem_wanted_ = 0;

 private:
  Self& self() { return static_cast<Self&>(*this); }
  const Self& self() const { return static_cast<const Self&>(*this); }
  Instant own_due() const {
    const Instant due = std::min(work_due_, side_due_);
    return self().in_sequence() ? due : std::min(due, reply_due_);
  }
  // Looks at the lines that interrupt a BMC, not at its registers, and makes due what must run.
  void notice(Instant now) {
    if (!online_) return;
    if (faults_ && faults_->attention_storm()) {
      watch_attention(now);
      if (work_due_ == kNever && self().has_work()) work_due_ = after(now, draw_access());
      return;  // the side band would put right what the storm does
    }
    if (work_due_ == kNever && self().has_work()) work_due_ = after(now, draw_access());
    if (side_due_ == kNever && self().side_band_differs()) side_due_ = after(now, draw_access());
  }
  void after_step(Instant now) {
    if (faults_) watch_line(now);
    notice(now);
  }
  void trace(Face face, bool is_write, uint16_t offset, uint8_t value, Instant now, uint32_t fault = 0) {
    if (trace_ == nullptr) return;
    trace_->on_access({now, face, is_write, offset, value, peek_flags(), interrupt_line(), fault});
  }
  void trace_fault(uint32_t fault, Instant now) { trace(Face::kBmc, false, kNoRegister, 0, now, fault); }

  // What follows is only for interfaces with an injector.

  uint8_t as_bmc_sees(uint8_t flags) const {
    return static_cast<uint8_t>((flags | (faults_->held() & R::kHostFlags)) & ~(faults_->withheld() & R::kHostFlags));
  }
  Approach approach(bool is_write, uint16_t offset, uint8_t value) const {
    Approach out{is_write, offset, value, self().transfer_phase(), std::nullopt};
    if (out.phase == TransferPhase::kExecute || out.phase == TransferPhase::kRead) {
      out.request = std::pair(static_cast<uint8_t>(request_netfn_lun_ >> 2), request_cmd_);
    }
    return out;
  }

  // What faults make of one access of the host.
  struct Disturbed {
    std::optional<uint8_t> value;  // read instead
    uint8_t flips = 0;
    bool lost = false;
    uint32_t fault = 0;
  };
  Disturbed disturb(bool is_write, uint16_t offset, uint8_t value, Instant now) {
    Disturbed out;
    Effects effects = std::move(faults_->scratch);
    effects.clear();
    faults_->injector().on_access(approach(is_write, offset, value), now, effects);
    for (const Effect& effect : effects) {
      trace_fault(effect.fault, now);
      switch (effect.kind) {
        case Effect::Kind::kReadValue: out.value = effect.bits; break;
        case Effect::Kind::kReadXor: out.flips = static_cast<uint8_t>(out.flips ^ effect.bits); break;
        case Effect::Kind::kLoseWrite: out.lost = true; break;
        default: apply(effect, now); continue;
      }
      out.fault = effect.fault;
    }
    faults_->scratch = std::move(effects);
    return out;
  }
  uint8_t faulty_read(uint16_t offset, Instant now) {
    const Disturbed disturbed = disturb(false, offset, peek_flags(), now);
    uint8_t value = 0;
    if (disturbed.value) {
      value = *disturbed.value;
    } else {
      value = registers_.host_read(offset);
      if (offset == R::kFlagsOffset) value = faults_->seen(value);
      if (R::acknowledges(false, offset)) faults_->acknowledge(now);
    }
    value = static_cast<uint8_t>(value ^ disturbed.flips);
    trace(Face::kHost, false, offset, value, now, disturbed.fault);
    watch_line(now);
    notice(now);
    return value;
  }
  void faulty_write(uint16_t offset, uint8_t value, Instant now) {
    const Disturbed disturbed = disturb(true, offset, value, now);
    if (!disturbed.lost) {
      registers_.host_write(offset, value);
      if (R::acknowledges(true, offset)) faults_->acknowledge(now);
    }
    trace(Face::kHost, true, offset, value, now, disturbed.fault);
    watch_line(now);
    notice(now);
  }

  // An interrupt that has just risen may be lost: its latch with it.
  void watch_line(Instant now) {
    const bool rises = registers_.interrupt() && !faults_->line;
    faults_->line = registers_.interrupt();
    if (!rises) return;
    Effects effects = std::move(faults_->scratch);
    effects.clear();
    faults_->injector().on_interrupt(approach(false, kNoRegister, 0), now, effects);
    for (const Effect& effect : effects) {
      if (effect.kind != Effect::Kind::kLoseInterrupt) continue;
      registers_.drop_interrupt();
      faults_->line = false;
      trace_fault(effect.fault, now);
    }
    faults_->scratch = std::move(effects);
  }

  // A storm goes on when the host has seen to it: where SMS_ATN is the host's to clear, when it has; else when it has
  // acknowledged the interrupt.
  void watch_attention(Instant now) {
    const bool set = (registers_.flags() & R::kAttentionFlag) != 0;
    if (!set || (!R::kHostClearsAttention && !registers_.interrupt())) faults_->plan_attention(now);
  }
  void attention_turn(Instant now) {
    if ((registers_.flags() & R::kAttentionFlag) == 0) {
      bmc_update(R::kFlagsOffset, R::kAttentionFlag, R::kAttentionFlag, now);
    } else if (!R::kHostClearsAttention) {
      // Down, and up again with the next access: an edge for the latch.
      bmc_update(R::kFlagsOffset, R::kAttentionFlag, 0, now);
      faults_->plan_attention(now, draw_access());
    }
  }

  void fault_step(Instant now) {
    faults_->expire(now);
    if (faults_->injector().next_due() <= now) {
      Effects effects = std::move(faults_->scratch);
      effects.clear();
      faults_->injector().on_clock(now, effects);
      for (const Effect& effect : effects) {
        trace_fault(effect.fault, now);
        apply(effect, now);
      }
      faults_->scratch = std::move(effects);
    } else if (faults_->take_attention_turn(now) && online_) {
      attention_turn(now);
    }
    watch_line(now);
    notice(now);
  }

  void apply(const Effect& effect, Instant now) {
    using Kind = Effect::Kind;
    switch (effect.kind) {
      case Kind::kReadValue:
      case Kind::kReadXor:
      case Kind::kLoseWrite:
      case Kind::kLoseInterrupt: return;
      case Kind::kHold:
      case Kind::kWithhold:
      case Kind::kStall:
      case Kind::kInterruptStorm:
      case Kind::kAttentionStorm:
      case Kind::kSpuriousInterrupt: faults_->impose(effect, now); return;
      case Kind::kError:
        if (online_) self().fail_transfer();
        return;
      case Kind::kWarmReset:
      case Kind::kColdReset:
        go_offline(now);
        reset_request_ = effect.kind == Kind::kColdReset;
        return;
    }
  }
  Duration draw_access() { return plan_.access.draw(random_); }

  template <class A>
  void visit_common(A& a) {
    a(output_, attention_wanted_, oem_wanted_, online_, work_due_, side_due_, reply_due_, reply_not_before_, token_,
      last_token_, answered_, request_netfn_lun_, request_cmd_, taken_at_, reply_fault_.sequence_add,
      reply_fault_.lies, reply_fault_.length_byte, reply_fault_.duplicates);
  }

  LatencyPlan plan_;
  Random random_;
  TraceSink* trace_ = nullptr;
  Instant work_due_ = kNever;
  Instant side_due_ = kNever;
  Instant reply_due_ = kNever;
  Instant reply_not_before_{};
  Instant taken_at_{};
  uint32_t token_ = 0;  // of the request whose answer is awaited; 0: none
  uint32_t last_token_ = 0;
  bool online_ = true;
  bool answered_ = false;
  uint8_t request_netfn_lun_ = 0;
  uint8_t request_cmd_ = 0;
  std::unique_ptr<FaultState> faults_;  // null: no injector
  std::optional<bool> reset_request_;
};

}  // namespace bmcpair::hardware
