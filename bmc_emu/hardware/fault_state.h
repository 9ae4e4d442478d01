// What faults have imposed on one interface and not lifted yet.
#pragma once

#include <algorithm>
#include <vector>

#include "bmc_emu/hardware/injector.h"

namespace bmcpair::hardware {

class FaultState {
 public:
  explicit FaultState(Injector& injector) : injector_(&injector) {}

  Injector& injector() { return *injector_; }
  void set_injector(Injector& injector) { injector_ = &injector; }

  uint8_t held() const { return held_; }
  uint8_t withheld() const { return withheld_; }
  uint8_t seen(uint8_t flags) const { return static_cast<uint8_t>((flags | held_) & ~withheld_); }
  bool stalled() const { return stalled_; }
  bool line_forced() const { return line_forced_; }
  bool attention_storm() const { return attention_storm_; }

  // Of a fault there is one effect of a kind: again means longer.
  void impose(const Effect& effect, Instant now) {
    auto same = [&](const Condition& c) { return c.effect.fault == effect.fault && c.effect.kind == effect.kind; };
    auto found = std::find_if(conditions_.begin(), conditions_.end(), same);
    if (found == conditions_.end()) found = conditions_.insert(found, Condition{});
    *found = {effect, true, effect.kind == Effect::Kind::kAttentionStorm ? now : kNever};
    sum_up();
  }
  // 0: all of them.
  void lift(uint32_t fault) {
    std::erase_if(conditions_, [fault](const Condition& c) { return fault == 0 || c.effect.fault == fault; });
    sum_up();
  }
  // What has lasted long enough, and lines whose pause is over.
  void expire(Instant now) {
    std::erase_if(conditions_, [now](const Condition& c) { return c.effect.until <= now; });
    for (Condition& c : conditions_) {
      if (c.effect.kind == Effect::Kind::kInterruptStorm && c.next <= now) {
        c.raised = true;
        c.next = kNever;
      }
    }
    sum_up();
  }
  // The host has seen to its interrupt.
  void acknowledge(Instant now) {
    if (!line_forced_) return;
    std::erase_if(conditions_, [](const Condition& c) { return c.effect.kind == Effect::Kind::kSpuriousInterrupt; });
    for (Condition& c : conditions_) {
      if (c.effect.kind != Effect::Kind::kInterruptStorm || !c.raised) continue;
      c.raised = false;
      c.next = now + c.effect.period;
    }
    sum_up();
  }
  // An attention storm's next turn is over; true: one was due.
  bool take_attention_turn(Instant now) {
    bool due = false;
    for (Condition& c : conditions_) {
      if (c.effect.kind != Effect::Kind::kAttentionStorm || c.next > now) continue;
      c.next = kNever;
      due = true;
    }
    sum_up();
    return due;
  }
  // SMS_ATN was seen or cleared: its storm goes on after its period, or after `pause` where that is given.
  void plan_attention(Instant now, Duration pause = Duration(-1)) {
    for (Condition& c : conditions_) {
      if (c.effect.kind != Effect::Kind::kAttentionStorm || c.next != kNever) continue;
      c.next = now + (pause < Duration(0) ? c.effect.period : pause);
    }
    sum_up();
  }

  // Of what is imposed, and of the injector.
  Instant next_due() const { return std::min(next_due_, injector_->next_due()); }

  // The line as it was last, without what is forced.
  bool line = false;
  Effects scratch;

 private:
  struct Condition {
    Effect effect;
    bool raised = true;     // storms: the line is up
    Instant next = kNever;  // storms: goes on then
  };

  void sum_up() {
    using Kind = Effect::Kind;
    held_ = withheld_ = 0;
    stalled_ = line_forced_ = attention_storm_ = false;
    next_due_ = kNever;
    for (const Condition& c : conditions_) {
      next_due_ = std::min({next_due_, c.effect.until, c.next});
      switch (c.effect.kind) {
        case Kind::kHold: held_ = static_cast<uint8_t>(held_ | c.effect.bits); break;
        case Kind::kWithhold: withheld_ = static_cast<uint8_t>(withheld_ | c.effect.bits); break;
        case Kind::kStall: stalled_ = true; break;
        case Kind::kAttentionStorm: attention_storm_ = true; break;
        case Kind::kSpuriousInterrupt:
        case Kind::kInterruptStorm: line_forced_ = line_forced_ || c.raised; break;
        default: break;
      }
    }
  }

  Injector* injector_;
  std::vector<Condition> conditions_;  // at most one a rule and kind
  uint8_t held_ = 0;
  uint8_t withheld_ = 0;
  bool stalled_ = false;
  bool line_forced_ = false;
  bool attention_storm_ = false;
  Instant next_due_ = kNever;
};

}  // namespace bmcpair::hardware
