#include "integration/lab/strategy.h"

#include <algorithm>
#include <cstdio>
#include <tuple>

#include "proto/base/log2.h"

namespace bmcpair::lab {

std::string_view to_string(Choice kind) {
  switch (kind) {
    case Choice::kTask: return "task";
    case Choice::kDuration: return "duration";
    case Choice::kLoad: return "load";
    case Choice::kData: return "data";
  }
  return "unknown";
}

void SiteSet::merge(const SiteSet& other) {
  for (uint32_t hash : other.slots_) {
    if (hash != 0) add(hash);
  }
}

void RecordingDirector::start_log() {
  log_.entries.clear();
  account_.hash = rt::ChoiceBook::kHashStart;
  account_.choices = 0;
  account_.by_kind = {};
  account_.tame = {};
  account_.tame_tasks = 0;
  last_ = 0;
}

namespace {

// How many of a kTask choice's values pick a task; the rest are stalls.
uint32_t picks_of(uint32_t n, std::span<const TaskId> tasks) {
  return tasks.empty() ? n : std::min<uint32_t>(n, static_cast<uint32_t>(tasks.size()));
}

// Only who runs can stall: it is alone where nobody else could be picked.
bool is_alone(uint32_t n, std::span<const TaskId> tasks) { return tasks.size() == 1 && n > 1; }

}  // namespace

uint32_t RecordingDirector::choose(Choice kind, uint32_t n, const Site& site, std::span<const TaskId> tasks) {
  if (n < 2) return 0;
  if (!account_.has_seen(site.hash)) {
    sites_.add(site.hash);
    account_.see(site.hash);
  }
  const bool tame = kind == Choice::kTask ? account_.take_tame_task(is_alone(n, tasks)) : account_.take_tame(kind);
  uint32_t value = tame ? 0 : decide(kind, n, site, tasks);
  if (value >= n) value = n - 1;
  if (log_.entries.size() >= kLoggedChoicesMax) value = 0;
  const uint64_t at = account_.choices;
  account_.add(kind, n, site.hash);
  if (value != 0) {
    log_.entries.push_back(
        LoggedChoice{static_cast<uint32_t>(at - last_), value, n, site.hash, prefix_of(account_.hash), kind});
    last_ = at + 1;
  }
  return value;
}

constexpr uint32_t kAlways = 1u << 16;
constexpr uint64_t kChoicesLeast = 8;
constexpr uint64_t kTameAfterRuns = 8;
constexpr uint64_t kTameAfterMore = 1000;

uint32_t Strategy::few(uint64_t times, Choice kind) const {
  if (times == 0) return 0;
  return static_cast<uint32_t>(std::clamp<uint64_t>(kAlways * times / calibration_.of(kind), 1, kAlways));
}

void Strategy::rate(size_t slot, size_t event, uint32_t rate) {
  Event& e = events_[slot][event];
  e.never = rate == 0;
  if (e.never) return;
  e.divisor = rate >= kAlways ? 0 : (uint64_t{16} << 32) - log2_fixed(kAlways - rate, 32);
  draw(e);
}

// The gaps of independent chances are geometric: log(u) / log(1 - chance), u uniform in (0, 1].
void Strategy::draw(Event& event) {
  event.before = 0;
  if (event.divisor != 0) event.before = ((uint64_t{32} << 32) - log2_fixed((random_.next() >> 32) + 1, 32)) / event.divisor;
}

bool Strategy::comes(size_t slot, size_t event, bool possible) {
  Event& e = events_[slot][event];
  if (e.never) return false;
  if (e.before != 0) {
    --e.before;
    return false;
  }
  if (!possible) return false;
  draw(e);
  return true;
}

void Strategy::give(size_t slot) {
  uint64_t tame = kForever;
  for (const Event& e : events_[slot]) {
    if (!e.never) tame = std::min(tame, e.before);
  }
  given_[slot] = account().tame[slot] = tame;
}

void Strategy::begin(uint64_t seed, const Calibration& calibration) {
  random_ = Random(seed);
  calibration_ = calibration;
  // Where the tamest run made none of a kind, another may make some.
  for (uint64_t& count : calibration_.by_kind) count = std::max<uint64_t>(count, kChoicesLeast);
  uint64_t usual = 0;
  for (uint64_t count : calibration.by_kind) usual += count;
  tame_from_ = kTameAfterRuns * usual + kTameAfterMore;
  start_log();
  events_ = {};
  plan();
  for (size_t slot = 0; slot < kSlots; ++slot) give(slot);
  account().tame_tasks = tame_tasks(0);
}

uint32_t Strategy::decide(Choice kind, uint32_t n, const Site&, std::span<const TaskId> tasks) {
  if (position() >= tame_from_) {
    account().tame.fill(kForever);
    account().tame_tasks = kForever;
    return 0;
  }
  const bool task = kind == Choice::kTask;
  const size_t slot = task && is_alone(n, tasks) ? kAlone : static_cast<size_t>(kind);
  const uint64_t passed = given_[slot] - account().tame[slot];
  for (Event& e : events_[slot]) {
    if (!e.never) e.before -= passed;
  }
  const uint32_t value = task ? unusual_task(slot, n, tasks) : unusual_other(slot, n);
  give(slot);
  if (task) account().tame_tasks = tame_tasks(account().by_kind[kTaskSlot] + 1);
  return value;
}

namespace {

// Every run draws its own rates from such a list: some bugs need much of one thing and none of another; and where
// everything is unusual at once, all that happens is that nothing comes about.
template <class T, size_t N>
T one_of(Random& random, const T (&values)[N]) {
  return values[random.below(N)];
}

class Tame final : public Strategy {
 public:
  std::string_view name() const override { return "tame"; }

 private:
  uint32_t unusual_task(size_t, uint32_t, std::span<const TaskId>) override { return 0; }
};

// The events of a kTask choice.
constexpr size_t kStall = 0;
constexpr size_t kSwitch = 1;

// Uniformly random order; seldom anything else.
class SeededRandom final : public Strategy {
 public:
  std::string_view name() const override { return "random"; }

 private:
  void plan() override {
    rate(kTaskSlot, kSwitch, one_of(random(), {kAlways, kAlways / 2, kAlways / 8, kAlways / 32}));
    const uint32_t stalls = few(one_of(random(), {0, 0, 1}), Choice::kTask);
    rate(kTaskSlot, kStall, stalls);
    rate(kAlone, kStall, stalls);
    rate(kDurationSlot, kDeviate, few(one_of(random(), {0, 1, 4}), Choice::kDuration));
    rate(kDataSlot, kDeviate, one_of(random(), {0u, few(1, Choice::kData), few(2, Choice::kData), kAlways / 8}));
    rate(kLoadSlot, kDeviate, few(one_of(random(), {0, 1, 8}), Choice::kLoad));
  }

  uint32_t unusual_task(size_t slot, uint32_t n, std::span<const TaskId> tasks) override {
    const uint32_t picks = picks_of(n, tasks);
    const bool stalls = comes(slot, kStall, picks < n);
    const bool switches = comes(slot, kSwitch);
    if (stalls) return picks + static_cast<uint32_t>(random().below(n - picks));
    return switches ? static_cast<uint32_t>(random().below(picks)) : 0;
  }
};

// How long things take: a late answer is found by no order of the tasks.
class TimePerturbation final : public Strategy {
 public:
  std::string_view name() const override { return "time"; }

 private:
  void plan() override {
    // Few in half of the runs: a stack in which everything is late only times out.
    rate(kDurationSlot, kDeviate,
         random().below(2) == 0 ? few(one_of(random(), {1, 2, 4, 8}), Choice::kDuration)
                                : one_of(random(), {kAlways, kAlways / 2, kAlways / 8, kAlways / 32}));
    const uint32_t stalls = few(one_of(random(), {0, 1, 2, 4, 8}), Choice::kTask);
    rate(kTaskSlot, kStall, stalls);
    rate(kAlone, kStall, stalls);
    rate(kTaskSlot, kSwitch, one_of(random(), {0u, few(1, Choice::kTask), few(8, Choice::kTask), kAlways / 16}));
    rate(kDataSlot, kDeviate, one_of(random(), {0u, 0u, few(1, Choice::kData), few(2, Choice::kData), kAlways / 8}));
  }

  uint32_t unusual_task(size_t slot, uint32_t n, std::span<const TaskId> tasks) override {
    const uint32_t picks = picks_of(n, tasks);
    const bool stalls = comes(slot, kStall, picks < n);
    const bool switches = comes(slot, kSwitch);
    // The last is as long as the earliest deadline: half of them.
    if (stalls) return chance(kAlways / 2) ? n - 1 : picks + static_cast<uint32_t>(random().below(n - picks));
    return switches && picks > 1 ? any_but_tame(picks) : 0;
  }
  uint32_t unusual_other(size_t slot, uint32_t n) override {
    if (slot != kDurationSlot) return Strategy::unusual_other(slot, n);
    return comes(slot, kDeviate) ? static_cast<uint32_t>(random().below(n)) : 0;
  }
};

// A task, or whoever it is that would go on, does not for a while.
class Starvation final : public Strategy {
 public:
  std::string_view name() const override { return "starve"; }

 private:
  static constexpr size_t kWindowsMax = 3;
  struct Window {
    uint64_t from = 0, to = 0;  // in kTask choices
    bool any = false;
    bool stalls = false;  // otherwise it goes on when it is alone
    bool stalled = false;
    std::optional<TaskId> victim;
  };

  void plan() override {
    const uint64_t length = calibration().of(Choice::kTask);
    count_ = 1 + random().below(kWindowsMax);
    unsigned bits = 0;
    while (bits < 63 && (length >> bits) != 0) ++bits;
    for (size_t i = 0; i < count_; ++i) {
      Window& window = windows_[i];
      window = Window{};
      window.from = random().below(length);
      // Log-uniform, of up to the whole run.
      const unsigned magnitude = static_cast<unsigned>(random().below(bits + 1));
      window.to = window.from + 1 + random().below(uint64_t{1} << magnitude);
      window.any = random().below(4) == 0;
      window.stalls = random().below(2) == 0;
    }
    rate(kDurationSlot, kDeviate, few(one_of(random(), {0, 1, 4}), Choice::kDuration));
    rate(kDataSlot, kDeviate, few(one_of(random(), {0, 0, 1, 2}), Choice::kData));
    rate(kLoadSlot, kDeviate, few(one_of(random(), {0, 0, 4}), Choice::kLoad));
  }

  uint64_t tame_tasks(uint64_t next) override {
    uint64_t first = kForever;
    for (size_t i = 0; i < count_; ++i) {
      const Window& window = windows_[i];
      if (next < window.to) first = std::min(first, std::max(next, window.from));
    }
    return first == kForever ? kForever : first - next;
  }

  uint32_t unusual_task(size_t, uint32_t n, std::span<const TaskId> tasks) override {
    const uint64_t now = account().by_kind[kTaskSlot];
    const uint32_t picks = picks_of(n, tasks);
    for (size_t i = 0; i < count_; ++i) {
      Window& window = windows_[i];
      if (now < window.from || now >= window.to) continue;
      // Without names only the first can be told from the others.
      if (tasks.empty()) return picks < 2 ? 0 : any_but_tame(picks);
      if (window.any) {
        if (picks > 1 && chance(kAlways / 2)) return any_but_tame(picks);
      } else {
        if (!window.victim) window.victim = tasks[random().below(picks)];
        if (tasks[0] != *window.victim) continue;
        if (picks > 1) return any_but_tame(picks);
      }
      if (window.stalls && !window.stalled && picks < n) {
        window.stalled = true;
        return chance(kAlways / 2) ? n - 1 : picks + static_cast<uint32_t>(random().below(n - picks));
      }
    }
    return 0;
  }

  std::array<Window, kWindowsMax> windows_;
  size_t count_ = 0;
};

// Burckhardt, Kothari, Musuvathi, Nagarakatte: "A randomized scheduler with probabilistic guarantees of finding bugs", 2010.
class Pct final : public Strategy {
 public:
  std::string_view name() const override { return "pct"; }

 private:
  static constexpr size_t kChangesMax = 4;
  // A poller of the highest priority would go on for ever: after so many times the usual length everybody has a turn.
  static constexpr uint64_t kFairAfterRuns = 2;
  static constexpr uint64_t kFairAfterMore = 256;
  static constexpr size_t kAsked = 0;  // whoever can be picked has a priority

  void plan() override {
    const uint64_t length = calibration().of(Choice::kTask);
    changes_ = random().below(kChangesMax + 1);
    for (size_t i = 0; i < changes_; ++i) change_at_[i] = random().below(length);
    std::sort(change_at_.begin(), change_at_.begin() + static_cast<ptrdiff_t>(changes_));
    base_ = random().next();
    for (uint64_t& priority : priorities_) priority = 0;
    stall_rate_ = one_of(random(), {0u, 0u, kAlways / 4, kAlways / 2});
    rate(kTaskSlot, kAsked, kAlways);
    rate(kDurationSlot, kDeviate, few(one_of(random(), {0, 1, 4}), Choice::kDuration));
    rate(kDataSlot, kDeviate, few(one_of(random(), {0, 0, 1, 2}), Choice::kData));
    rate(kLoadSlot, kDeviate, few(one_of(random(), {0, 0, 4}), Choice::kLoad));
    fair_from_ = kFairAfterRuns * length + kFairAfterMore;
    next_change_ = 0;
  }

  uint64_t tame_tasks(uint64_t next) override {
    if (next_change_ == changes_) return kForever;
    return change_at_[next_change_] <= next ? 0 : change_at_[next_change_] - next;
  }

  // Above all that a change point gives; the same for a task whenever it comes.
  uint64_t& priority_of(TaskId task) {
    if (task >= priorities_.size()) priorities_.resize(size_t{task} + 1, 0);
    uint64_t& priority = priorities_[task];
    if (priority == 0) priority = Random(base_ + task).next() | (uint64_t{1} << 63);
    return priority;
  }

  uint32_t highest(std::span<const TaskId> tasks) {
    uint32_t best = 0;
    uint64_t best_priority = 0;
    for (uint32_t i = 0; i < tasks.size(); ++i) {
      const uint64_t priority = priority_of(tasks[i]);
      if (priority > best_priority) best = i, best_priority = priority;
    }
    return best;
  }

  uint32_t unusual_task(size_t, uint32_t n, std::span<const TaskId> tasks) override {
    const uint64_t now = account().by_kind[kTaskSlot];
    const uint32_t picks = picks_of(n, tasks);
    if (tasks.empty()) return static_cast<uint32_t>(random().below(picks));
    tasks = tasks.first(picks);
    if (now >= fair_from_) return static_cast<uint32_t>(random().below(picks));
    uint32_t best = highest(tasks);
    while (next_change_ < changes_ && change_at_[next_change_] <= now) {
      ++next_change_;
      priority_of(tasks[best]) = kChangesMax + 1 - next_change_;
      const uint32_t other = highest(tasks);
      // Alone, it would go on all the same; and what is lowered is often what should be late.
      if (best == 0 && picks < n && chance(stall_rate_)) {
        return chance(kAlways / 2) ? n - 1 : picks + static_cast<uint32_t>(random().below(n - picks));
      }
      best = other;
    }
    return best;
  }

  std::array<uint64_t, kChangesMax> change_at_{};
  std::vector<uint64_t> priorities_;  // by TaskId; 0: none yet
  size_t changes_ = 0, next_change_ = 0;
  uint64_t base_ = 0, fair_from_ = 0;
  uint32_t stall_rate_ = 0;
};

// Memory order: what others wrote is seen late.
class Loads final : public Strategy {
 public:
  std::string_view name() const override { return "loads"; }

 private:
  void plan() override {
    rate(kLoadSlot, kDeviate,
         one_of(random(), {kAlways * 3 / 4, kAlways / 2, kAlways / 4, kAlways / 16, few(2, Choice::kLoad)}));
    rate(kTaskSlot, kSwitch, one_of(random(), {kAlways / 2, kAlways / 8, kAlways / 32}));
    oldest_ = random().below(2) == 0;
    rate(kDataSlot, kDeviate, few(one_of(random(), {0, 0, 1}), Choice::kData));
    rate(kDurationSlot, kDeviate, few(one_of(random(), {0, 1}), Choice::kDuration));
  }

  uint32_t unusual_task(size_t slot, uint32_t n, std::span<const TaskId> tasks) override {
    const uint32_t picks = picks_of(n, tasks);
    return comes(slot, kSwitch) && picks > 1 ? any_but_tame(picks) : 0;
  }
  uint32_t unusual_other(size_t slot, uint32_t n) override {
    if (!comes(slot, kDeviate)) return 0;
    return slot == kLoadSlot && oldest_ ? n - 1 : any_but_tame(n);
  }

  bool oldest_ = false;
};

constexpr StrategyInfo kStrategies[] = {
    {"tame", "nothing unusual at all: one run", 0},
    {"time", "how long things take, and stalls up to the nearest deadline", 30},
    {"starve", "a task, or any, does not go on for a while", 25},
    {"random", "uniformly random order, seldom anything else", 15},
    {"pct", "random priorities with a few change points", 15},
    {"loads", "atomic loads return old values", 15},
};

// 20 runs with the shares above, well mixed: of any few runs in a row each gets its part.
constexpr std::string_view kPattern = "tsrtsptslrtspltsrtpl";

constexpr uint32_t share_in_pattern(char c) {
  uint32_t count = 0;
  for (char other : kPattern) count += other == c ? 1 : 0;
  return count * 100 / static_cast<uint32_t>(kPattern.size());
}
static_assert(share_in_pattern('t') == kStrategies[1].share);
static_assert(share_in_pattern('s') == kStrategies[2].share);
static_assert(share_in_pattern('r') == kStrategies[3].share);
static_assert(share_in_pattern('p') == kStrategies[4].share);
static_assert(share_in_pattern('l') == kStrategies[5].share);

}  // namespace

std::span<const StrategyInfo> strategies() { return kStrategies; }

std::unique_ptr<Strategy> make_strategy(std::string_view name) {
  if (name == "tame") return std::make_unique<Tame>();
  if (name == "time") return std::make_unique<TimePerturbation>();
  if (name == "starve") return std::make_unique<Starvation>();
  if (name == "random") return std::make_unique<SeededRandom>();
  if (name == "pct") return std::make_unique<Pct>();
  if (name == "loads") return std::make_unique<Loads>();
  return nullptr;
}

size_t portfolio_slot(uint64_t run) {
  if (run == 0) return 0;
  switch (kPattern[(run - 1) % kPattern.size()]) {
    case 't': return 1;
    case 's': return 2;
    case 'r': return 3;
    case 'p': return 4;
    default: return 5;
  }
}

uint64_t seed_of_run(uint64_t seed, uint64_t run) {
  return Random(Random(seed).next() + run * 0xd1342543de82ef95u).next();
}

void Exhaustive::set_prefix(std::span<const Point> prefix) {
  points_.assign(prefix.begin(), prefix.end());
  fixed_ = forced_ = points_.size();
  divergence_.clear();
}

void Exhaustive::begin() {
  start_log();
  at_ = 0;
  preemptions_ = deviations_ = stalls_ = 0;
}

std::optional<uint32_t> Exhaustive::next_value(const Point& point) {
  for (uint32_t value = point.value + 1; value < point.n;) {
    const bool stall = point.kind == Choice::kTask && value >= point.tasks;
    const bool pick = point.kind == Choice::kTask && !stall;
    const uint32_t cost = pick && point.free ? 0 : 1;
    const uint32_t total = point.preemptions + point.deviations + point.stalls;
    const bool within = pick ? point.preemptions + cost <= bounds_.preemptions
                             : (stall ? point.stalls < bounds_.stalls : point.deviations < bounds_.deviations);
    if (within && total + cost <= bounds_.total) return value;
    if (within) cut_by_total_ = true;
    // The others of the same sort cost the same.
    if (!pick) return std::nullopt;
    value = point.tasks;
  }
  return std::nullopt;
}

bool Exhaustive::next() {
  while (points_.size() > fixed_) {
    Point& point = points_.back();
    if (std::optional<uint32_t> value = next_value(point)) {
      point.value = *value;
      forced_ = points_.size();
      return true;
    }
    points_.pop_back();
  }
  return false;
}

uint32_t Exhaustive::decide(Choice kind, uint32_t n, const Site& site, std::span<const TaskId> tasks) {
  const uint32_t picks = kind == Choice::kTask ? picks_of(n, tasks) : 0;
  // Only who runs can stall: where there are no stalls to choose from it has blocked, and somebody must go on.
  const bool free = kind == Choice::kTask && !bounds_.delays && !tasks.empty() && picks == n;
  Point point{site.hash, n, 0, picks, preemptions_, deviations_, stalls_, kind, free};
  if (at_ < forced_) {
    const Point& before = points_[at_];
    if (divergence_.empty() && (before.site != point.site || before.n != n || before.kind != kind)) {
      char text[200];
      std::snprintf(text, sizeof text,
                    "choice %zu was of kind %s with %u options at site %08x, and then of kind %s with %u at site %08x",
                    at_, std::string(to_string(before.kind)).c_str(), before.n, before.site,
                    std::string(to_string(kind)).c_str(), n, site.hash);
      divergence_ = text;
    }
    point.value = std::min(before.value, n - 1);
    points_[at_] = point;
  } else {
    // What an earlier schedule had from here on is over.
    if (points_.size() > at_) points_.resize(at_);
    points_.push_back(point);
  }
  ++at_;
  const uint32_t value = point.value;
  if (value != 0 && !point.free) ++(kind != Choice::kTask ? deviations_ : value < picks ? preemptions_ : stalls_);
  return value;
}

void Replay::begin() {
  start_log();
  next_ = 0;
  due_ = wanted_.entries.empty() ? UINT64_MAX : wanted_.entries[0].gap;
  hash_ = rt::ChoiceBook::kHashStart;
  divergence_.reset();
  decisions_.clear();
}

std::string Replay::site_name(uint32_t hash) const {
  auto found = names_.find(hash);
  char text[48];
  std::snprintf(text, sizeof text, "a site not met in this run (%08x)", hash);
  return found == names_.end() ? text : found->second;
}

void Replay::diverge(std::string what) {
  if (divergence_) return;
  Divergence divergence;
  divergence.choice = position();
  divergence.step = step_ ? *step_ : 0;
  divergence.sentence = "at choice " + std::to_string(divergence.choice);
  if (step_) divergence.sentence += ", after step " + std::to_string(divergence.step);
  divergence.sentence += ": " + what;
  divergence_ = std::move(divergence);
}

uint32_t Replay::decide(Choice kind, uint32_t n, const Site& site, std::span<const TaskId> tasks) {
  if (!names_.count(site.hash)) names_.emplace(site.hash, site.text());
  hash_ = rt::add_to_hash(hash_, kind, n, site.hash);
  if (divergence_ || position() != due_) return 0;
  const LoggedChoice& wanted = wanted_.entries[next_];
  if (wanted.site != site.hash || wanted.kind != kind || wanted.n != n) {
    diverge("the token decides " + std::string(to_string(wanted.kind)) + " (" + std::to_string(wanted.value) + " of " +
            std::to_string(wanted.n) + ") at " + site_name(wanted.site) + ", but the run asks for " +
            std::string(to_string(kind)) + " (of " + std::to_string(n) + ") at " + site.text());
    return 0;
  }
  if (wanted.prefix != prefix_of(hash_)) {
    const uint64_t from = position() - wanted.gap;
    diverge("the token fits " + site.text() + " here, but a choice between " + std::to_string(from) +
            " and this one was another than in the run it was made of");
    return 0;
  }
  Decision decision;
  decision.choice = position();
  decision.kind = kind;
  decision.value = wanted.value;
  decision.n = n;
  decision.site = site.text();
  if (kind == Choice::kTask && !tasks.empty()) {
    decision.tasks = picks_of(n, tasks);
    if (wanted.value < decision.tasks) {
      decision.task = tasks[wanted.value];
      decision.instead_of = tasks[0];
    } else {
      decision.task = tasks[0];
    }
  }
  decision.line = line_ ? *line_ : 0;
  decisions_.push_back(std::move(decision));
  ++next_;
  due_ = next_ < wanted_.entries.size() ? position() + 1 + wanted_.entries[next_].gap : UINT64_MAX;
  return wanted.value;
}

std::optional<Divergence> Replay::divergence() const {
  if (divergence_) return divergence_;
  Divergence end;
  end.choice = log().choices;
  end.step = step_ ? *step_ : 0;
  const std::string where = "at choice " + std::to_string(end.choice) +
                            (step_ ? ", after step " + std::to_string(end.step) : "") + ": ";
  if (next_ < wanted_.entries.size()) {
    end.sentence = where + "the run is over, but the token decides " + std::to_string(wanted_.entries.size() - next_) +
                   " more, the next at choice " + std::to_string(due_) + " at " +
                   site_name(wanted_.entries[next_].site);
    return end;
  }
  if (log().choices != wanted_.choices) {
    end.sentence = where + "the run is over, but the token's run ended after " + std::to_string(wanted_.choices) + " choices";
    return end;
  }
  if (log().hash != wanted_.hash) {
    end.sentence = where + "the run has as many choices as the token's, but a tame one after the last that the token "
                   "decides was another";
    return end;
  }
  return std::nullopt;
}

namespace {
bool by_occurrence(const Edited::Edit& a, const Edited::Edit& b) {
  return std::tie(a.site, a.kind, a.running, a.occurrence) < std::tie(b.site, b.kind, b.running, b.occurrence);
}
}  // namespace

void Edited::begin(std::vector<Edit> edits, Anchor anchor) {
  edits_ = std::move(edits);
  if (anchor == Anchor::kOccurrence) std::sort(edits_.begin(), edits_.end(), by_occurrence);
  anchor_ = anchor;
  done_.clear();
  next_ = 0;
  seen_.clear();
  running_ = kNoTask;
  start_log();
}

uint32_t Edited::decide(Choice kind, uint32_t n, const Site& site, std::span<const TaskId> tasks) {
  const uint32_t picks = kind == Choice::kTask ? picks_of(n, tasks) : 0;
  // Who could stall is the one that runs.
  if (kind == Choice::kTask && !tasks.empty() && picks < n) running_ = tasks[0];
  Edit done{position(), seen_[{site.hash, kind, running_}]++, site.hash, 0, kind, running_, kNoTask, 0};
  const Edit* edit = nullptr;
  if (anchor_ == Anchor::kPosition) {
    while (next_ < edits_.size() && edits_[next_].position < position()) ++next_;
    if (next_ < edits_.size() && edits_[next_].position == position()) edit = &edits_[next_++];
  } else {
    auto found = std::lower_bound(edits_.begin(), edits_.end(), done, by_occurrence);
    if (found != edits_.end() && !by_occurrence(done, *found)) edit = &*found;
  }
  if (edit) {
    done.value = edit->value;
    const bool by_task = anchor_ == Anchor::kOccurrence && !tasks.empty();
    if (by_task && edit->picked != kNoTask) {
      const auto at = std::find(tasks.begin(), tasks.end(), edit->picked);
      done.value = at == tasks.end() ? 0 : static_cast<uint32_t>(at - tasks.begin());
    } else if (by_task && edit->tasks != 0) {
      done.value = picks < n ? picks + (edit->value - edit->tasks) : 0;
    }
    done.value = std::min(done.value, n - 1);
  }
  if (kind == Choice::kTask && !tasks.empty()) {
    running_ = done.value < picks ? tasks[done.value] : kNoTask;
    if (done.value < picks) done.picked = tasks[done.value];
    else done.tasks = picks;
  }
  if (done.value != 0) done_.push_back(done);
  return done.value;
}

}  // namespace bmcpair::lab
