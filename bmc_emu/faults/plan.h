// The rules of one interface at work: what happens is shown to them, and they say which of them fire. Rules count by
// themselves on each interface. Pure; not thread safe.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bmc_emu/faults/message.h"
#include "bmc_emu/faults/rule.h"
#include "proto/base/chooser.h"
#include "proto/base/time.h"

namespace bmcpair::faults {

// One rule that fired, for whoever does what it says.
struct Firing {
  uint32_t id = 0;
  std::shared_ptr<const Rule> rule;
  Instant at{};
  // Of what lasts: kNever where only taking the rule away ends it.
  Instant until = kNever;
};
using Firings = std::vector<Firing>;

// How a rule stands.
struct Standing {
  uint32_t id = 0;
  std::shared_ptr<const Rule> rule;
  uint64_t matched = 0;  // times that everything but skip, nth, every and probability held
  uint64_t fired = 0;
  std::optional<uint64_t> remaining;  // nothing: no bound
  bool over = false;                  // it cannot fire any more
};

class Plan {
 public:
  // The chooser must outlive the plan.
  Plan(std::string interface, registers::InterfaceKind kind, Chooser& chooser)
      : interface_(std::move(interface)), kind_(kind), chooser_(chooser) {}

  // False, and nothing added, when the interface cannot meet the rule. Of equal moments rules fire in the order of
  // adding.
  bool add(uint32_t id, std::shared_ptr<const Rule> rule, Instant now);
  bool remove(uint32_t id);  // false: there is none
  bool empty() const { return rules_.empty(); }
  std::vector<Standing> list(Instant now) const;

  // What happens. Those that fire are appended.
  void on_request(const Request& request, Instant now, Firings& out);
  void on_access(const AccessPoint& point, Instant now, Firings& out);
  // The line is about to rise; point: phase and request only.
  void on_interrupt(const AccessPoint& point, Instant now, Firings& out);
  // What is due by the clock.
  Instant next_due() const { return next_due_; }
  void on_clock(Instant now, Firings& out);

  // For rules that give an earlier answer again.
  void note_answer(ByteView answer) { previous_.assign(answer.begin(), answer.end()); }
  ByteView previous_answer() const { return previous_; }

 private:
  struct Entry {
    uint32_t id;
    std::shared_ptr<const Rule> rule;
    Moment moment;
    std::optional<uint32_t> count;
    std::string site;
    Instant from;
    Instant until;
    Instant clock_due = kNever;
    uint64_t matched = 0;
    uint64_t fired = 0;
    bool over(Instant now) const { return now >= until || spent(); }
    bool spent() const { return (count && fired >= *count) || (rule->trigger.nth != 0 && fired > 0); }
  };

  bool has_part(ActionKind action, bool by_registers) const;
  bool fires(Entry& entry, Instant now, Firings& out);
  void find_next_due();

  const std::string interface_;
  const registers::InterfaceKind kind_;
  Chooser& chooser_;
  std::vector<Entry> rules_;
  Instant next_due_ = kNever;
  Bytes previous_;
};

}  // namespace bmcpair::faults
