#include "bmc_emu/board/interface_faults.h"

#include <utility>

#include "proto/base/hex.h"

namespace bmcpair::board {
namespace {

constexpr size_t kFiredMax = 256;  // kept for watchers between two looks

using hardware::Effect;

// Nothing where the action is not one for registers.
std::optional<Effect> effect_of(const faults::Firing& firing, registers::InterfaceKind kind) {
  const faults::Action& action = firing.rule->action;
  Effect effect;
  effect.fault = firing.id;
  effect.until = firing.until;
  effect.period = firing.rule->trigger.period.value_or(std::chrono::milliseconds(1));
  switch (action.kind) {
    case faults::ActionKind::kHold:
    case faults::ActionKind::kWithhold:
      effect.kind = action.kind == faults::ActionKind::kHold ? Effect::Kind::kHold : Effect::Kind::kWithhold;
      effect.bits = faults::flag_bit(kind, action.flag).value_or(0);
      return effect;
    case faults::ActionKind::kReadValue:
      effect.kind = Effect::Kind::kReadValue;
      effect.bits = static_cast<uint8_t>(action.value);
      return effect;
    case faults::ActionKind::kReadXor:
      effect.kind = Effect::Kind::kReadXor;
      effect.bits = action.mask;
      return effect;
    case faults::ActionKind::kLoseWrite: effect.kind = Effect::Kind::kLoseWrite; return effect;
    case faults::ActionKind::kStall: effect.kind = Effect::Kind::kStall; return effect;
    case faults::ActionKind::kError: effect.kind = Effect::Kind::kError; return effect;
    case faults::ActionKind::kWarmReset: effect.kind = Effect::Kind::kWarmReset; return effect;
    case faults::ActionKind::kColdReset: effect.kind = Effect::Kind::kColdReset; return effect;
    case faults::ActionKind::kLoseInterrupt: effect.kind = Effect::Kind::kLoseInterrupt; return effect;
    case faults::ActionKind::kSpuriousInterrupt: effect.kind = Effect::Kind::kSpuriousInterrupt; return effect;
    case faults::ActionKind::kInterruptStorm: effect.kind = Effect::Kind::kInterruptStorm; return effect;
    case faults::ActionKind::kAttentionStorm: effect.kind = Effect::Kind::kAttentionStorm; return effect;
    default: return std::nullopt;
  }
}

faults::AccessPoint point_of(const hardware::Approach& approach) {
  faults::AccessPoint point{approach.is_write, approach.offset, approach.value, approach.phase, std::nullopt};
  if (approach.request) point.request = faults::Request{approach.request->first, approach.request->second, {}, true};
  return point;
}

std::string where(const hardware::Approach& approach) {
  const uint8_t value = approach.value;
  return std::string(approach.is_write ? "write of " + to_hex(ByteView(&value, 1)) + " to" : "read of") + " register " +
         std::to_string(approach.offset) + ", phase " + std::string(registers::to_string(approach.phase));
}

}  // namespace

void InterfaceFaults::note(const faults::Firing& firing, const std::string& at_what) {
  ++count_;
  if (fired_.size() >= kFiredMax) return;
  const std::string& name = firing.rule->name;
  fired_.push_back({firing.id, firing.at,
                    (name.empty() ? "" : name + ": ") + faults::action_text(firing.rule->action) + ", at " + at_what});
}

void InterfaceFaults::carry_out(const faults::Firings& firings, const std::string& at_what, hardware::Effects& out) {
  for (const faults::Firing& firing : firings) {
    note(firing, at_what);
    if (auto effect = effect_of(firing, kind_)) out.push_back(*effect);
  }
}

faults::MessageFault InterfaceFaults::on_request(ByteView message, bool by_registers, Instant now,
                                                 hardware::Effects& out) {
  faults::MessageFault fault;
  if (message.size() < 2) return fault;
  firings_.clear();
  plan_.on_request({static_cast<uint8_t>(message[0] >> 2), message[1], message.subspan(2), by_registers}, now, firings_);
  if (firings_.empty()) return fault;
  for (const faults::Firing& firing : firings_) {
    fault.fired.push_back(firing.id);
    faults::add(fault, firing.rule->action);
  }
  carry_out(firings_, "request " + to_hex(message.first(std::min<size_t>(message.size(), 16))), out);
  return fault;
}

void InterfaceFaults::on_access(const hardware::Approach& approach, Instant now, hardware::Effects& out) {
  firings_.clear();
  plan_.on_access(point_of(approach), now, firings_);
  if (!firings_.empty()) carry_out(firings_, where(approach), out);
}

void InterfaceFaults::on_interrupt(const hardware::Approach& approach, Instant now, hardware::Effects& out) {
  firings_.clear();
  plan_.on_interrupt(point_of(approach), now, firings_);
  if (!firings_.empty()) {
    carry_out(firings_, "an interrupt, phase " + std::string(registers::to_string(approach.phase)), out);
  }
}

void InterfaceFaults::on_clock(Instant now, hardware::Effects& out) {
  firings_.clear();
  plan_.on_clock(now, firings_);
  if (!firings_.empty()) carry_out(firings_, "its time", out);
}

hardware::ReplyFault reply_fault(const faults::MessageFault& fault) {
  hardware::ReplyFault out;
  out.raw = fault.changes_bytes();
  out.sequence_add = fault.sequence_add;
  out.lies = fault.length_byte.has_value();
  out.length_byte = fault.length_byte.value_or(0);
  out.bad_checksum = fault.bad_checksum;
  out.duplicates = fault.duplicates;
  out.delay = fault.delay;
  out.has_answer_at = fault.answer_at.has_value();
  out.answer_at = fault.answer_at.value_or(Duration(0));
  return out;
}

}  // namespace bmcpair::board
