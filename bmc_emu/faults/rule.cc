#include "bmc_emu/faults/rule.h"

namespace bmcpair::faults {
namespace {

using Kind = ActionKind;

Error refuse(std::string what) { return {ErrorCode::kInvalidArgument, std::move(what)}; }

template <class T, size_t N>
std::string name_of(const std::array<Named<T>, N>& names, T value) {
  for (const auto& [name, named] : names) {
    if (named == value) return std::string(name);
  }
  return "?";
}

std::string byte_text(uint32_t value) {
  const auto byte = static_cast<uint8_t>(value);
  return to_hex(ByteView(&byte, 1));
}

// In the greatest unit that leaves a whole number.
std::string duration_text(Duration d) {
  struct Unit {
    int64_t ns;
    const char* name;
  };
  for (const Unit& unit : {Unit{1'000'000'000, "s"}, Unit{1'000'000, "ms"}, Unit{1'000, "us"}}) {
    if (d.count() % unit.ns == 0) return std::to_string(d.count() / unit.ns) + unit.name;
  }
  return std::to_string(d.count()) + "ns";
}

std::string probability_text(uint32_t millionths) {
  std::string digits = std::to_string(millionths);
  std::string text = "0." + std::string(digits.size() < 6 ? 6 - digits.size() : 0, '0') + digits;
  while (text.back() == '0') text.pop_back();
  return text;
}

void append(std::string& out, std::string_view key, const std::string& value) {
  if (!out.empty()) out += ' ';
  out += key;
  out += '=';
  out += value;
}

bool begins_something(Kind kind) {
  return lasts(kind) || kind == Kind::kError || kind == Kind::kWarmReset || kind == Kind::kColdReset ||
         kind == Kind::kSpuriousInterrupt;
}

bool is_storm(Kind kind) { return kind == Kind::kInterruptStorm || kind == Kind::kAttentionStorm; }
bool changes_access(Kind kind) {
  return kind == Kind::kReadValue || kind == Kind::kReadXor || kind == Kind::kLoseWrite;
}

}  // namespace

Moment moment_of(const Rule& rule) {
  const Kind kind = rule.action.kind;
  if (concerns_message(kind)) return Moment::kRequest;
  if (kind == Kind::kLoseInterrupt) return Moment::kInterrupt;
  if (changes_access(kind) || rule.trigger.names_access()) return Moment::kAccess;
  return rule.trigger.names_request() ? Moment::kRequest : Moment::kClock;
}

std::optional<uint32_t> count_of(const Rule& rule) {
  if (rule.count) return rule.count;
  const bool repeats = rule.trigger.period && moment_of(rule) == Moment::kClock && !is_storm(rule.action.kind);
  if (rule.trigger.nth != 0 || (begins_something(rule.action.kind) && !repeats)) return 1;
  return std::nullopt;
}

Status check(const Rule& rule) {
  const Trigger& t = rule.trigger;
  const Kind kind = rule.action.kind;
  const Moment moment = moment_of(rule);
  if (concerns_message(kind) && t.names_access()) {
    return refuse("what is done to an answer waits for its request: access, register, offset, value and phase do not apply");
  }
  if (moment == Moment::kInterrupt && (t.access != AccessKind::kAny || t.register_name || t.offset || t.value)) {
    return refuse("a lost interrupt waits for the interrupt: access, register, offset and value do not apply");
  }
  if (!t.data.empty() && moment != Moment::kRequest) {
    return refuse("data is known only when the request is taken: it goes with what is done to requests and answers");
  }
  if (t.register_name && t.offset) return refuse("give a register by its name or by its offset, not both");
  if (t.nth != 0 && t.every > 1) return refuse("nth and every contradict each other");
  if (t.nth != 0 && rule.count) return refuse("nth fires once by itself: leave count out");
  if (kind == Kind::kLoseWrite && t.access == AccessKind::kRead) return refuse("a read cannot be a lost write");
  if ((kind == Kind::kReadValue || kind == Kind::kReadXor) && t.access == AccessKind::kWrite) {
    return refuse("a write has no value to be read");
  }
  if (t.until && *t.until <= t.from) return refuse("the window is empty: until must be later than from");
  if (rule.action.duration && !lasts(kind) && kind != Kind::kDelay && kind != Kind::kAnswerAt) {
    return refuse("duration is for what lasts: hold, withhold, bmc: stall, and storms");
  }
  const bool clocked = moment == Moment::kClock && !is_storm(kind);
  if (t.period && !clocked && !is_storm(kind)) {
    return refuse("period is for storms, and for what the BMC does by itself, without netfn, cmd, access or phase");
  }
  if (clocked && !t.period && (count_of(rule).value_or(1) > 1 || t.skip > 0 || t.nth > 1 || t.every > 1)) {
    return refuse("to happen more than once by itself the rule needs a period");
  }
  if (is_storm(kind) && moment == Moment::kClock && (rule.count.value_or(1) > 1 || t.skip > 0 || t.nth > 1 || t.every > 1)) {
    return refuse("a storm that begins by itself begins once: leave count, skip, nth and every out");
  }
  if (lasts(kind) && !rule.action.duration && (rule.count.value_or(1) > 1 || (t.period && clocked))) {
    return refuse("without a duration it lasts until the rule is taken away: it cannot happen more than once");
  }
  return {};
}

bool applies(const Rule& rule, std::string_view interface, registers::InterfaceKind kind) {
  const Trigger& t = rule.trigger;
  if (!t.interface.empty() && t.interface != interface && t.interface != registers::to_string(kind)) return false;
  switch (rule.action.kind) {
    case Kind::kLengthByte:
      if (kind != registers::InterfaceKind::kBt) return false;
      break;
    case Kind::kHold:
    case Kind::kWithhold:
      if (!flag_bit(kind, rule.action.flag)) return false;
      break;
    case Kind::kError:
      if (kind == registers::InterfaceKind::kBt) return false;
      break;
    default: break;
  }
  if (t.register_name && !register_offset(kind, *t.register_name)) return false;
  if (t.offset && *t.offset >= registers::register_count(kind)) return false;
  return t.phase != TransferPhase::kError || kind == registers::InterfaceKind::kKcs;
}

std::string action_text(const Action& action) {
  std::string out;
  const std::string number = std::to_string(action.value);
  switch (action.kind) {
    case Kind::kCompletionCode: append(out, "cc", byte_text(action.value)); break;
    case Kind::kDropRequest:
    case Kind::kDropAnswer: append(out, "drop", name_of(kDropNames, action.kind)); break;
    case Kind::kDelay: append(out, "delay", duration_text(action.duration.value_or(Duration(0)))); break;
    case Kind::kAnswerAt: append(out, "answer_at", duration_text(action.duration.value_or(Duration(0)))); break;
    case Kind::kSequence: append(out, "sequence", number); break;
    case Kind::kAnswerNetFn: append(out, "answer_netfn", "0x" + byte_text(action.value)); break;
    case Kind::kAnswerCmd: append(out, "answer_cmd", "0x" + byte_text(action.value)); break;
    case Kind::kTruncate: append(out, "truncate", number); break;
    case Kind::kExtend: append(out, "extend", number); break;
    case Kind::kLengthByte: append(out, "length_byte", number); break;
    case Kind::kCorrupt:
      append(out, "corrupt", number);
      append(out, "xor", byte_text(action.mask));
      break;
    case Kind::kBadChecksum: append(out, "bad_checksum", "true"); break;
    case Kind::kDuplicate: append(out, "duplicate", number); break;
    case Kind::kPreviousAnswer: append(out, "previous_answer", "true"); break;
    case Kind::kHold: append(out, "hold", name_of(kFlagNames, action.flag)); break;
    case Kind::kWithhold: append(out, "withhold", name_of(kFlagNames, action.flag)); break;
    case Kind::kReadValue: append(out, "read_value", byte_text(action.value)); break;
    case Kind::kReadXor: append(out, "read_xor", byte_text(action.mask)); break;
    case Kind::kLoseWrite: append(out, "lose_write", "true"); break;
    case Kind::kStall:
    case Kind::kError:
    case Kind::kWarmReset:
    case Kind::kColdReset: append(out, "bmc", name_of(kBmcNames, action.kind)); break;
    case Kind::kLoseInterrupt:
    case Kind::kSpuriousInterrupt:
    case Kind::kInterruptStorm: append(out, "interrupt", name_of(kInterruptNames, action.kind)); break;
    case Kind::kAttentionStorm: append(out, "attention", "storm"); break;
  }
  if (lasts(action.kind) && action.duration) append(out, "duration", duration_text(*action.duration));
  return out;
}

std::string to_text(const Rule& rule) {
  static const Trigger kPlain;
  const Trigger& t = rule.trigger;
  std::string out = action_text(rule.action);
  if (!t.interface.empty()) append(out, "interface", t.interface);
  if (t.netfn) append(out, "netfn", "0x" + byte_text(*t.netfn));
  if (t.netfn_mask != kPlain.netfn_mask) append(out, "netfn_mask", "0x" + byte_text(t.netfn_mask));
  if (t.cmd) append(out, "cmd", "0x" + byte_text(*t.cmd));
  if (t.cmd_mask != kPlain.cmd_mask) append(out, "cmd_mask", "0x" + byte_text(t.cmd_mask));
  if (!t.data.empty()) append(out, "data", to_hex(t.data, ""));
  if (t.access != AccessKind::kAny) append(out, "access", name_of(kAccessNames, t.access));
  if (t.register_name) append(out, "register", name_of(kRegisterNames, *t.register_name));
  if (t.offset) append(out, "offset", std::to_string(*t.offset));
  if (t.value) append(out, "value", byte_text(*t.value));
  if (t.phase) append(out, "phase", std::string(registers::to_string(*t.phase)));
  if (t.skip != 0) append(out, "skip", std::to_string(t.skip));
  if (t.nth != 0) append(out, "nth", std::to_string(t.nth));
  if (t.every != 1) append(out, "every", std::to_string(t.every));
  if (t.probability != kPlain.probability) append(out, "probability", probability_text(t.probability));
  if (t.from != Duration(0)) append(out, "from", duration_text(t.from));
  if (t.until) append(out, "until", duration_text(*t.until));
  if (t.period) append(out, "period", duration_text(*t.period));
  if (rule.count) append(out, "count", std::to_string(*rule.count));
  if (!rule.name.empty()) append(out, "name", rule.name);
  return out;
}

}  // namespace bmcpair::faults
