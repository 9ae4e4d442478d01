#include "bmc_emu/faults/plan.h"

#include <algorithm>
#include <numeric>

namespace bmcpair::faults {
namespace {

constexpr uint32_t kCertain = 1'000'000;

// Saturates at kNever.
Instant later(Instant t, Duration d) { return d >= kNever - t ? kNever : t + d; }

}  // namespace

bool Plan::add(uint32_t id, std::shared_ptr<const Rule> rule, Instant now) {
  if (!applies(*rule, interface_, kind_)) return false;
  Entry entry;
  entry.id = id;
  entry.moment = moment_of(*rule);
  entry.count = count_of(*rule);
  entry.site = "fault " + (rule->name.empty() ? action_text(rule->action) : rule->name);
  entry.from = later(now, rule->trigger.from);
  entry.until = rule->trigger.until ? later(now, *rule->trigger.until) : kNever;
  if (entry.moment == Moment::kClock) entry.clock_due = entry.from;
  entry.rule = std::move(rule);
  rules_.push_back(std::move(entry));
  find_next_due();
  return true;
}

bool Plan::remove(uint32_t id) {
  const bool found = std::erase_if(rules_, [id](const Entry& entry) { return entry.id == id; }) != 0;
  find_next_due();
  return found;
}

std::vector<Standing> Plan::list(Instant now) const {
  std::vector<Standing> out;
  for (const Entry& entry : rules_) {
    Standing standing{entry.id, entry.rule, entry.matched, entry.fired, std::nullopt, entry.over(now)};
    if (entry.count) standing.remaining = *entry.count - std::min<uint64_t>(*entry.count, entry.fired);
    out.push_back(std::move(standing));
  }
  return out;
}

// Whether what the action changes is part of an answer here: only BT and message protocols have sequence numbers, only
// BT has a length byte, only message protocols have a checksum.
bool Plan::has_part(ActionKind action, bool by_registers) const {
  const bool bt = kind_ == registers::InterfaceKind::kBt;
  switch (action) {
    case ActionKind::kSequence: return !by_registers || bt;
    case ActionKind::kLengthByte: return by_registers && bt;
    case ActionKind::kBadChecksum: return !by_registers;
    default: return by_registers || concerns_message(action) || action == ActionKind::kWarmReset ||
                    action == ActionKind::kColdReset;
  }
}

// All but the trigger's conditions, which hold.
bool Plan::fires(Entry& entry, Instant now, Firings& out) {
  if (entry.over(now) || now < entry.from) return false;
  const Trigger& t = entry.rule->trigger;
  ++entry.matched;
  if (entry.matched <= t.skip) return false;
  const uint64_t m = entry.matched - t.skip;
  if (t.nth != 0 ? m != t.nth : m % t.every != 0) return false;
  if (t.probability < kCertain) {
    // In lowest terms, so that a search has as few branches as the rule has meanings; 0 is "does not fire".
    const uint32_t common = std::gcd(t.probability, kCertain);
    const uint32_t of = kCertain / common;
    if (chooser_.pick(of, entry.site) < of - t.probability / common) return false;
  }
  ++entry.fired;
  Instant end = kNever;
  if (lasts(entry.rule->action.kind)) {
    if (entry.rule->action.duration) end = later(now, *entry.rule->action.duration);
    end = std::min(end, entry.until);
  }
  out.push_back({entry.id, entry.rule, now, end});
  return true;
}

void Plan::on_request(const Request& request, Instant now, Firings& out) {
  for (Entry& entry : rules_) {
    if (entry.moment != Moment::kRequest || !holds(entry.rule->trigger, request)) continue;
    const ActionKind action = entry.rule->action.kind;
    if (action == ActionKind::kPreviousAnswer && previous_.empty()) continue;
    if (!has_part(action, request.by_registers)) continue;
    fires(entry, now, out);
  }
}

void Plan::on_access(const AccessPoint& point, Instant now, Firings& out) {
  for (Entry& entry : rules_) {
    if (entry.moment != Moment::kAccess || entry.spent() || !holds(entry.rule->trigger, point, kind_)) continue;
    const ActionKind action = entry.rule->action.kind;
    if (action == ActionKind::kLoseWrite && !point.is_write) continue;
    if ((action == ActionKind::kReadValue || action == ActionKind::kReadXor) && point.is_write) continue;
    fires(entry, now, out);
  }
}

void Plan::on_interrupt(const AccessPoint& point, Instant now, Firings& out) {
  for (Entry& entry : rules_) {
    if (entry.moment == Moment::kInterrupt && holds(entry.rule->trigger, point, kind_)) fires(entry, now, out);
  }
}

void Plan::on_clock(Instant now, Firings& out) {
  for (Entry& entry : rules_) {
    if (entry.clock_due > now) continue;
    fires(entry, now, out);
    // From now, not from when it was due: whoever comes late does not catch up.
    const auto period = entry.rule->trigger.period;
    const bool again = period && entry.moment == Moment::kClock && !entry.over(now) &&
                       entry.rule->action.kind != ActionKind::kInterruptStorm &&
                       entry.rule->action.kind != ActionKind::kAttentionStorm;
    entry.clock_due = again ? later(now, *period) : kNever;
  }
  find_next_due();
}

void Plan::find_next_due() {
  next_due_ = kNever;
  for (const Entry& entry : rules_) next_due_ = std::min(next_due_, entry.clock_due);
}

}  // namespace bmcpair::faults
