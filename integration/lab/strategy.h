// Who decides, by which plan (models_to_learn_from.md "Determinism"). Every plan is a Director that keeps what it decided
// as a ChoiceLog; all chance is our own Random's, from one seed a run. What is tame for some choices to come, the world counts
// off by itself (rt::ChoiceBook); what is left of choose() allocates nothing once warm, and makes no text.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "integration/lab/choice_log.h"
#include "proto/base/random.h"

namespace bmcpair::lab {

// Which sites were ever seen, by hash; of at most kMax.
class SiteSet {
 public:
  static constexpr uint32_t kMax = 4096;
  void add(uint32_t hash) {
    for (uint32_t i = hash & kMask;; i = (i + 1) & kMask) {
      if (slots_[i] == hash) return;
      if (slots_[i] == 0) {
        insert(i, hash);
        return;
      }
    }
  }
  uint32_t size() const { return size_; }
  void merge(const SiteSet& other);

 private:
  static constexpr uint32_t kMask = 2 * kMax - 1;
  void insert(uint32_t slot, uint32_t hash) {
    if (size_ == kMax) return;  // half of the slots stay free: every search ends
    slots_[slot] = hash;
    ++size_;
  }
  std::array<uint32_t, 2 * kMax> slots_{};
  uint32_t size_ = 0;
};

// How many choices a run makes, as a rule: as many as its tamest one.
struct Calibration {
  std::array<uint64_t, 4> by_kind{};  // by Choice
  uint64_t of(Choice kind) const { return by_kind[static_cast<size_t>(kind)]; }
};

// The base of all: asks decide(), and keeps the log.
class RecordingDirector : public Director {
 public:
  RecordingDirector() { book_ = &account_; }
  RecordingDirector(const RecordingDirector&) = delete;
  RecordingDirector& operator=(const RecordingDirector&) = delete;
  uint32_t choose(Choice kind, uint32_t n, const Site& site, std::span<const TaskId> tasks) final;

  const ChoiceLog& log() const {
    log_.choices = account_.choices;
    log_.hash = account_.hash;
    return log_;
  }
  Calibration calibration_of_run() const { return {account_.by_kind}; }
  const SiteSet& sites() const { return sites_; }  // of all runs

 protected:
  void start_log();
  // The choice being decided, from 0.
  uint64_t position() const { return account_.choices; }
  // Those that nobody has to be asked about are set here.
  rt::ChoiceBook& account() { return account_; }
  // One of 0..n-1. n is at least 2.
  virtual uint32_t decide(Choice kind, uint32_t n, const Site& site, std::span<const TaskId> tasks) = 0;

 private:
  rt::ChoiceBook account_;
  mutable ChoiceLog log_;  // choices and hash: of account_, whenever somebody looks
  uint64_t last_ = 0;      // position after the latest logged choice
  SiteSet sites_;
};

// A plan that needs nothing but a seed. After many times the usual length it is tame: who asks whether a run ever ends must let it.
class Strategy : public RecordingDirector {
 public:
  virtual std::string_view name() const = 0;
  void begin(uint64_t seed, const Calibration& calibration);

 protected:
  // Where something unusual may be, with chances of its own: a kind of choice, or rt::ChoiceBook::kAlone.
  static constexpr size_t kSlots = rt::ChoiceBook::kKinds + 1;
  static constexpr size_t kTaskSlot = static_cast<size_t>(Choice::kTask);
  static constexpr size_t kDurationSlot = static_cast<size_t>(Choice::kDuration);
  static constexpr size_t kLoadSlot = static_cast<size_t>(Choice::kLoad);
  static constexpr size_t kDataSlot = static_cast<size_t>(Choice::kData);
  static constexpr size_t kAlone = rt::ChoiceBook::kAlone;

  Strategy() : random_(0) {}
  // After the log was emptied and random() and calibration() were set: says the rates. What is not said is never.
  virtual void plan() {}
  // As decide(), for as long as the run is unusual. Of a task: kTaskSlot or kAlone.
  virtual uint32_t unusual_task(size_t slot, uint32_t n, std::span<const TaskId> tasks) = 0;
  virtual uint32_t unusual_other(size_t slot, uint32_t n) { return comes(slot, kDeviate) ? any_but_tame(n) : 0; }
  // How many kTask choices are tame from the next one on, whatever the rates say; it is the run's `next`th, from 0.
  virtual uint64_t tame_tasks(uint64_t next) {
    (void)next;
    return kForever;
  }

  static constexpr uint64_t kForever = UINT64_MAX;
  static constexpr size_t kEventsPerSlot = 2;
  static constexpr size_t kDeviate = 0;  // of all slots but those of tasks
  // A rate is of 2^16: how often an event comes to a choice of the slot. The choices up to the next one are drawn at once.
  void rate(size_t slot, size_t event, uint32_t rate);
  // Whether it comes to the choice being decided; what is not possible here comes to the next one. To be asked exactly once a
  // choice, of each event of the slot that has a rate.
  bool comes(size_t slot, size_t event, bool possible = true);
  const Calibration& calibration() const { return calibration_; }
  Random& random() { return random_; }
  // Of 2^16.
  bool chance(uint32_t part) { return (random_.next() >> 48) < part; }
  // The rate that makes so many unusual choices of a kind in a run.
  uint32_t few(uint64_t times, Choice kind) const;
  // 1..n-1.
  uint32_t any_but_tame(uint32_t n) { return 1 + static_cast<uint32_t>(random_.below(n - 1)); }

 private:
  // Comes to a choice with some chance, and how many choices come before that.
  struct Event {
    uint64_t divisor = 0;  // -log2(1 - chance), Q32; 0: always
    uint64_t before = kForever;
    bool never = true;
  };

  uint32_t decide(Choice kind, uint32_t n, const Site& site, std::span<const TaskId> tasks) final;
  void draw(Event& event);
  void give(size_t slot);

  Random random_;
  Calibration calibration_;
  uint64_t tame_from_ = 0;
  std::array<std::array<Event, kEventsPerSlot>, kSlots> events_{};
  std::array<uint64_t, kSlots> given_{};  // as many tame choices as the account was given last
};

struct StrategyInfo {
  std::string_view name;
  std::string_view summary;
  uint32_t share;  // of the portfolio, in percent; 0: not part of it
};

// tame, time, starve, random, pct, loads.
std::span<const StrategyInfo> strategies();
// nullptr: there is none of that name.
std::unique_ptr<Strategy> make_strategy(std::string_view name);
// Which of strategies() the portfolio takes for a run; run 0 is the tame one.
size_t portfolio_slot(uint64_t run);
// The seed of one run of many.
uint64_t seed_of_run(uint64_t seed, uint64_t run);

// Every schedule within bounds, each once, depth first.
struct Bounds {
  uint32_t preemptions = 2;  // another task is picked although the one that runs could go on
  uint32_t deviations = 1;   // kDuration, kLoad and kData other than 0
  uint32_t stalls = 0;       // kTask from tasks.size() on
  bool delays = false;       // every kTask pick but 0 counts as a preemption, also where the one that ran has blocked
  uint32_t total = UINT32_MAX;  // of the three together
};

class Exhaustive final : public RecordingDirector {
 public:
  // One decision of the schedule under way.
  struct Point {
    uint32_t site;
    uint32_t n;
    uint32_t value;
    uint32_t tasks;  // kTask: how many can be picked
    uint32_t preemptions, deviations, stalls;  // spent before it
    Choice kind;
    bool free;  // another task may go on at no cost
  };

  explicit Exhaustive(const Bounds& bounds) : bounds_(bounds) {}
  // From here only what begins like `prefix`.
  void set_prefix(std::span<const Point> prefix);
  void begin();  // before each run
  // After each run: the next schedule; false: there is none left.
  bool next();
  // What the latest run decided. Together with every alternative of each: all that is below the first schedule.
  std::span<const Point> points() const { return points_; }
  // The next value of a point after the one it has, within the bounds.
  std::optional<uint32_t> next_value(const Point& point);
  // Something was left out only because of Bounds::total.
  bool cut_by_total() const { return cut_by_total_; }
  // Empty, or how the latest run did not repeat what had been run before: it is not deterministic.
  const std::string& divergence() const { return divergence_; }

 private:
  uint32_t decide(Choice kind, uint32_t n, const Site& site, std::span<const TaskId> tasks) override;

  Bounds bounds_;
  std::vector<Point> points_;
  size_t fixed_ = 0;   // points_ before it are never changed
  size_t forced_ = 0;  // points_ before it are repeated by the run under way
  size_t at_ = 0;
  uint32_t preemptions_ = 0, deviations_ = 0, stalls_ = 0;
  bool cut_by_total_ = false;
  std::string divergence_;
};

// Where a run left its log.
struct Divergence {
  uint64_t choice = 0;   // from 0
  uint64_t step = 0;     // of the story; 0 when there was none
  std::string sentence;  // "at choice 41, after step 132: ..."
};

// Gives a log again, exactly.
class Replay final : public RecordingDirector {
 public:
  // What was unusual, for people.
  struct Decision {
    uint64_t choice = 0;
    Choice kind = Choice::kTask;
    uint32_t value = 0;
    uint32_t n = 0;
    uint32_t tasks = 0;            // kTask: how many could be picked; value from there on is a stall
    std::optional<TaskId> task;    // kTask: who was picked, or stalled
    std::optional<TaskId> instead_of;  // kTask: who would have gone on
    std::string site;
    size_t line = 0;  // of the story, that comes next
  };

  explicit Replay(const ChoiceLog& log) : wanted_(log) {}
  // Where the story is; both may be null, and must outlive the run.
  void set_story_position(const uint64_t* step, const size_t* line) { step_ = step, line_ = line; }
  void begin();
  // After the run: also when it ended too early.
  std::optional<Divergence> divergence() const;
  const std::vector<Decision>& decisions() const { return decisions_; }

 private:
  uint32_t decide(Choice kind, uint32_t n, const Site& site, std::span<const TaskId> tasks) override;
  std::string site_name(uint32_t hash) const;
  void diverge(std::string what);

  ChoiceLog wanted_;
  size_t next_ = 0;
  uint64_t due_ = 0;
  uint64_t hash_ = rt::ChoiceBook::kHashStart;
  std::optional<Divergence> divergence_;
  std::map<uint32_t, std::string> names_;
  std::vector<Decision> decisions_;
  const uint64_t* step_ = nullptr;
  const size_t* line_ = nullptr;
};

// Gives an edited log, as far as it goes: shrinking.
class Edited final : public RecordingDirector {
 public:
  static constexpr uint32_t kNoTask = UINT32_MAX;
  // Found again by position, or as the nth choice of its kind that its task makes at its site: what others do meanwhile
  // does not count.
  enum class Anchor : uint8_t { kPosition, kOccurrence };
  struct Edit {
    uint64_t position = 0;
    uint32_t occurrence = 0;  // from 0
    uint32_t site = 0;
    uint32_t value = 0;  // lowered to n-1 where there are fewer
    Choice kind = Choice::kTask;
    uint32_t running = kNoTask;  // who makes it
    // kTask, by occurrence: who was picked, otherwise how many could be, and the rest of the value is which stall. Neither: the
    // value as it is.
    uint32_t picked = kNoTask;
    uint32_t tasks = 0;
  };

  // Sorted by position.
  void begin(std::vector<Edit> edits, Anchor anchor);
  // What the run did, to be edited further.
  const std::vector<Edit>& done() const { return done_; }

 private:
  uint32_t decide(Choice kind, uint32_t n, const Site& site, std::span<const TaskId> tasks) override;

  std::vector<Edit> edits_, done_;
  Anchor anchor_ = Anchor::kPosition;
  size_t next_ = 0;
  uint32_t running_ = kNoTask;
  std::map<std::tuple<uint32_t, Choice, uint32_t>, uint32_t> seen_;  // site, kind, task: how often
};

}  // namespace bmcpair::lab
