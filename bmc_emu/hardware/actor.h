// What the BMC sides of all interfaces share: when they are due, the request in flight, tracing, saving.
//
// Three things can be due, each with an instant of its own: work (the protocol), side band (SMS_ATN and OEM bits,
// another context of a BMC) and the reply that the firmware has given. The earliest goes first; of equals, in the
// order named. A sequence of accesses that has begun is not broken into by a reply, only by the side band.
#pragma once

#include <algorithm>
#include <optional>
#include <utility>

#include "bmc_emu/hardware/archive.h"
#include "bmc_emu/hardware/interface.h"
#include "proto/ipmi/message.h"

namespace bmcpair::hardware {

// Saturates below kNever: what is due at all stays due.
constexpr Instant after(Instant now, Duration d) {
  const Instant last = kNever - Duration(1);
  return d >= last - now ? last : now + d;
}

// Kind's version of saved states; the kind itself follows it.
constexpr uint32_t kSavedMagic = 0x31574842;  // "BHW1"

void save_plan(Writer& out, const LatencyPlan& plan);
void load_plan(Reader& in, LatencyPlan& plan);

using Face = Access::Face;

// R: host_read, host_write, bmc_read, bmc_update, flags, interrupt, visit, valid.
template <class R>
class Actor : public Interface {
 public:
  explicit Actor(const InterfaceOptions& options) : plan_(options.latency), random_(options.seed) {}
  Actor(const Actor&) = delete;
  Actor& operator=(const Actor&) = delete;

  uint8_t host_read(uint16_t offset, Instant now) final {
    const uint8_t value = registers_.host_read(offset);
    trace(Face::kHost, false, offset, value, now);
    notice(now);
    return value;
  }
  void host_write(uint16_t offset, uint8_t value, Instant now) final {
    registers_.host_write(offset, value);
    trace(Face::kHost, true, offset, value, now);
    notice(now);
  }
  bool interrupt_line() const final { return registers_.interrupt(); }
  uint8_t peek_flags() const final { return registers_.flags(); }

  Instant next_due() const final {
    const Instant due = std::min(work_due_, side_due_);
    return in_sequence() ? due : std::min(due, reply_due_);
  }

  std::optional<TakenRequest> step(Instant now) final {
    const Instant due = next_due();
    if (due == kNever || due > now) return std::nullopt;
    std::optional<TakenRequest> taken;
    if (due == work_due_) {
      work_due_ = kNever;
      taken = work(now);
    } else if (due == side_due_) {
      side_due_ = kNever;
      carry_side_band(now);
    } else {
      reply_due_ = kNever;
      begin_reply(now);
    }
    notice(now);
    return taken;
  }

  bool respond(uint32_t token, ByteView message, Instant now) final {
    if (token == 0 || token != token_ || answered_) return false;
    answered_ = true;
    const uint8_t head[] = {static_cast<uint8_t>(request_netfn_lun_ | 4), request_cmd_};
    if (message.size() > response_bytes_max()) {
      output_ = {head[0], head[1], static_cast<uint8_t>(ipmi::CompletionCode::kCannotReturnRequestedLength)};
    } else if (message.size() < 3) {  // no completion code: no interface can carry that
      output_ = {head[0], head[1], static_cast<uint8_t>(ipmi::CompletionCode::kUnspecified)};
    } else {
      output_.assign(message.begin(), message.end());
    }
    reply_due_ = std::max(after(now, draw_access()), reply_not_before_);
    return true;
  }

  void set_attention(bool wanted, Instant now) final {
    if (wanted == attention_wanted_) return;
    attention_wanted_ = wanted;
    attention_changed();
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
    enter_offline(now);
  }
  void come_online(Instant now) final {
    if (online_) return;
    online_ = true;
    leave_offline(now);
    attention_changed();
    notice(now);
  }
  bool online() const final { return online_; }
  void forget_host(Instant now) final {
    const bool stays_away = !online_;
    online_ = true;
    go_offline(now);
    forget_cut();
    if (!stays_away) come_online(now);
  }
  void set_trace(TraceSink* sink) final { trace_ = sink; }

  Bytes save() const final {
    Writer out;
    out(kSavedMagic, static_cast<uint8_t>(kind()), random_.state());
    save_plan(out, plan_);
    // visit() lists members for both directions; writing changes none of them.
    auto& self = const_cast<Actor&>(*this);
    self.registers_.visit(out);
    self.visit_common(out);
    self.save_state(out);
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
    load_state(in);
    if (!registers_.valid() || output_.size() > response_bytes_max() || answered_ == output_.empty() ||
        (token_ == 0 && answered_) || (!answered_ && reply_due_ != kNever)) {
      in.fail();
    }
  }

 protected:
  // One protocol step; at most one BMC access.
  virtual std::optional<TakenRequest> work(Instant now) = 0;
  // The reply's first access. output_ holds the message.
  virtual void begin_reply(Instant now) = 0;
  // Whether accesses are decided but not yet made. has_work() is then true.
  virtual bool in_sequence() const = 0;
  // Whether the protocol has something to do right now, by what a BMC's own interrupt lines tell.
  virtual bool has_work() const = 0;
  virtual bool side_band_differs() const = 0;
  virtual void carry_side_band(Instant now) = 0;
  virtual void attention_changed() {}
  virtual void enter_offline(Instant now) = 0;
  virtual void leave_offline(Instant now) = 0;
  // Nobody is there any more to whom a transfer that was cut off must look like one.
  virtual void forget_cut() {}
  virtual void save_state(Writer& out) = 0;
  virtual void load_state(Reader& in) = 0;

  uint8_t bmc_read(uint16_t offset, Instant now) {
    const uint8_t value = registers_.bmc_read(offset);
    trace(Face::kBmc, false, offset, value, now);
    return value;
  }
  void bmc_write(uint16_t offset, uint8_t value, Instant now) { bmc_update(offset, 0xff, value, now); }
  void bmc_update(uint16_t offset, uint8_t mask, uint8_t value, Instant now) {
    registers_.bmc_update(offset, mask, value);
    trace(Face::kBmc, true, offset, static_cast<uint8_t>(value & mask), now);
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
    reply_not_before_ = after(now, latency.draw(random_));
    return TakenRequest{token_, std::move(message)};
  }
  // Its token is stale from here on, its answer, given or not, is dropped.
  void forget_request() {
    token_ = 0;
    answered_ = false;
    reply_due_ = kNever;
    output_ = Bytes();
  }
  bool reply_waits() const { return answered_ && reply_due_ == kNever; }
  R registers_;
  Bytes output_;  // the answer's message
  bool attention_wanted_ = false;
  uint8_t oem_wanted_ = 0;

 private:
  // Looks at the lines that interrupt a BMC, not at its registers, and makes due what must run.
  void notice(Instant now) {
    if (!online_) return;
    if (work_due_ == kNever && has_work()) work_due_ = after(now, draw_access());
    if (side_due_ == kNever && side_band_differs()) side_due_ = after(now, draw_access());
  }
  void trace(Face face, bool is_write, uint16_t offset, uint8_t value, Instant now) {
    if (trace_ == nullptr) return;
    trace_->on_access({now, face, is_write, offset, value, registers_.flags(), registers_.interrupt()});
  }
  Duration draw_access() { return plan_.access.draw(random_); }

  template <class A>
  void visit_common(A& a) {
    a(output_, attention_wanted_, oem_wanted_, online_, work_due_, side_due_, reply_due_, reply_not_before_, token_,
      last_token_, answered_, request_netfn_lun_, request_cmd_);
  }

  LatencyPlan plan_;
  Random random_;
  TraceSink* trace_ = nullptr;
  Instant work_due_ = kNever;
  Instant side_due_ = kNever;
  Instant reply_due_ = kNever;
  Instant reply_not_before_{};
  uint32_t token_ = 0;  // of the request whose answer is awaited; 0: none
  uint32_t last_token_ = 0;
  bool online_ = true;
  bool answered_ = false;
  uint8_t request_netfn_lun_ = 0;
  uint8_t request_cmd_ = 0;
};

}  // namespace bmcpair::hardware
