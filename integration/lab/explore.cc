#include "integration/lab/explore.h"

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstdio>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "integration/lab/arena.h"

namespace bmcpair::lab {

namespace {

using SteadyClock = std::chrono::steady_clock;

// What a run must not depend on: where its objects lie, and what their memory held before.
constexpr ArenaLayout kOtherLayout{.offset = 1 << 16 | 48, .reuse = false, .fill = 0xa5};

class ElsewhereInMemory {
 public:
  ElsewhereInMemory() : before_(arena_layout()) { set_arena_layout(kOtherLayout); }
  ~ElsewhereInMemory() { set_arena_layout(before_); }
  ElsewhereInMemory(const ElsewhereInMemory&) = delete;
  ElsewhereInMemory& operator=(const ElsewhereInMemory&) = delete;

 private:
  const ArenaLayout before_;
};

double seconds_since(SteadyClock::time_point begun) {
  return std::chrono::duration<double>(SteadyClock::now() - begun).count();
}

constexpr size_t kStrategiesMax = 16;

unsigned jobs_of(unsigned asked) {
  const unsigned jobs = asked != 0 ? asked : std::thread::hardware_concurrency();
  return std::clamp(jobs, 1u, kJobsMax);
}

// What the workers count while they work.
struct alignas(64) Counters {
  std::atomic<uint64_t> runs{0}, run_twice{0}, steps{0}, bring_ups{0}, violations{0};

  void count(const Outcome& outcome, bool counts_as_violation) {
    runs.fetch_add(1, std::memory_order_relaxed);
    steps.fetch_add(outcome.steps, std::memory_order_relaxed);
    bring_ups.fetch_add(outcome.bring_ups, std::memory_order_relaxed);
    if (counts_as_violation) violations.fetch_add(1, std::memory_order_relaxed);
  }
};

class Sites {
 public:
  void merge(const SiteSet& sites) {
    std::lock_guard lock(mutex_);
    sites_.merge(sites);
  }
  uint32_t size() const {
    std::lock_guard lock(mutex_);
    return sites_.size();
  }

 private:
  mutable std::mutex mutex_;
  SiteSet sites_;
};

// When to stop, and how far it is.
class Watch {
 public:
  Watch(double seconds, uint64_t runs, const std::atomic<bool>* stop) : seconds_(seconds), runs_(runs), stop_(stop) {}

  bool over() {
    if (over_.load(std::memory_order_relaxed)) return true;
    if (stop_ && stop_->load(std::memory_order_relaxed)) {
      stopped_ = true;
      over_ = true;
    }
    return over_.load(std::memory_order_relaxed);
  }
  void end() { over_ = true; }
  void look_at_clock() {
    if (seconds_ > 0 && seconds() >= seconds_) over_ = true;
  }
  SteadyClock::time_point wake_before(std::chrono::milliseconds interval) const {
    auto next = SteadyClock::now() + interval;
    if (seconds_ > 0) {
      next = std::min(next, begun_ + std::chrono::duration_cast<SteadyClock::duration>(std::chrono::duration<double>(
                                         std::min(seconds_, 1e8))));
    }
    return next;
  }
  double seconds() const { return seconds_since(begun_); }
  bool stopped() const { return stopped_; }

  Progress progress(const std::vector<Counters>& counters, uint32_t sites) const {
    Progress progress;
    for (const Counters& counter : counters) {
      progress.runs += counter.runs.load(std::memory_order_relaxed);
      progress.steps += counter.steps.load(std::memory_order_relaxed);
      progress.violations += counter.violations.load(std::memory_order_relaxed);
    }
    progress.sites = sites;
    progress.seconds = seconds();
    if (seconds_ > 0) progress.seconds_left = std::max(0.0, seconds_ - progress.seconds);
    if (runs_ > 0 && progress.runs > 0) {
      const uint64_t left = runs_ > progress.runs ? runs_ - progress.runs : 0;
      const double by_runs = static_cast<double>(left) * progress.seconds / static_cast<double>(progress.runs);
      progress.seconds_left = progress.seconds_left ? std::min(*progress.seconds_left, by_runs) : by_runs;
    }
    return progress;
  }

 private:
  const SteadyClock::time_point begun_ = SteadyClock::now();
  const double seconds_;
  const uint64_t runs_;
  const std::atomic<bool>* stop_;
  std::atomic<bool> over_{false}, stopped_{false};
};

// Runs body(worker) in that many threads, and tick() here meanwhile. What a body throws is thrown here.
void in_threads(unsigned jobs, Watch& watch, std::chrono::milliseconds interval,
                const std::function<void(unsigned)>& body, const std::function<void()>& tick) {
  std::mutex mutex;
  std::condition_variable ended;
  unsigned running = 0;
  std::exception_ptr thrown;
  std::vector<std::thread> threads;
  const auto work = [&](unsigned worker) {
    std::exception_ptr mine;
    try {
      body(worker);
    } catch (...) {
      mine = std::current_exception();
      watch.end();
    }
    std::lock_guard lock(mutex);
    if (mine && !thrown) thrown = mine;
    --running;
    ended.notify_all();
  };
  try {
    for (unsigned worker = 0; worker < jobs; ++worker) {
      {
        std::lock_guard lock(mutex);
        ++running;
      }
      try {
        threads.emplace_back(work, worker);
      } catch (...) {
        std::lock_guard lock(mutex);
        --running;
        throw;
      }
    }
  } catch (const std::system_error&) {
    // Fewer threads than asked for do the same runs.
    if (threads.empty()) throw;
  }
  std::unique_lock lock(mutex);
  while (running > 0) {
    ended.wait_until(lock, watch.wake_before(interval), [&] { return running == 0; });
    watch.look_at_clock();
    lock.unlock();
    if (tick) tick();
    lock.lock();
  }
  lock.unlock();
  for (std::thread& thread : threads) thread.join();
  if (thrown) std::rethrow_exception(thrown);
}

Token token_of(const Experiment& experiment, const std::string& profile, const Outcome& outcome, const ChoiceLog& log) {
  return Token{std::string(experiment.name()), profile, outcome.oracle, outcome.end_hash, log};
}

void lower(std::atomic<uint64_t>& limit, uint64_t to) {
  uint64_t now = limit.load();
  while (to < now && !limit.compare_exchange_weak(now, to)) {
  }
}

using FindingKey = std::pair<std::string, std::string>;  // oracle, sentence
using Findings = std::map<FindingKey, Finding>;

class Exploration {
 public:
  Exploration(const Experiment& experiment, const ExploreOptions& options)
      : experiment_(experiment),
        options_(options),
        jobs_(jobs_of(options.jobs)),
        watch_(options.seconds, options.runs, options.stop),
        limit_(options.runs == 0 ? UINT64_MAX : options.runs),
        counters_(jobs_) {
    for (unsigned i = 0; i < jobs_; ++i) workers_.push_back(std::make_unique<Worker>());
    while (own_slot_ + 1 < strategies().size() && strategies()[own_slot_].name != options.strategy) ++own_slot_;
  }

  ExploreResult explore() {
    one_run(0, 0);
    calibration_ = workers_[0]->strategies[0]->calibration_of_run();
    const auto tick = [this] {
      if (options_.on_progress) options_.on_progress(watch_.progress(counters_, sites_.size()));
    };
    if (limit_ > 1 && !watch_.over()) {
      in_threads(jobs_, watch_, options_.progress_every, [this](unsigned worker) { work(worker); }, tick);
    } else {
      tick();
    }
    return result();
  }

 private:
  struct Worker {
    std::array<std::unique_ptr<Strategy>, kStrategiesMax> strategies;
    std::array<uint32_t, kStrategiesMax> merged{};
    Findings findings;
    std::optional<Nondeterminism> nondeterminism;
  };

  size_t slot_of(uint64_t run) const {
    return run == 0 || options_.strategy.empty() ? portfolio_slot(run) : own_slot_;
  }

  void work(unsigned worker) {
    while (!watch_.over()) {
      const uint64_t run = next_.fetch_add(1, std::memory_order_relaxed);
      if (run >= limit_.load()) return;
      one_run(worker, run);
    }
  }

  void one_run(unsigned number, uint64_t run) {
    Worker& worker = *workers_[number];
    const size_t slot = slot_of(run);
    std::unique_ptr<Strategy>& strategy = worker.strategies[slot];
    if (!strategy) strategy = make_strategy(strategies()[slot].name);
    const uint64_t seed = seed_of_run(options_.seed, run);
    strategy->begin(seed, calibration_);
    Outcome outcome = experiment_.run(options_.profile, *strategy, {});
    const bool counts = outcome.violated() && (options_.oracle.empty() || outcome.oracle == options_.oracle);
    counters_[number].count(outcome, counts);
    if (strategy->sites().size() != worker.merged[slot]) {
      worker.merged[slot] = strategy->sites().size();
      sites_.merge(strategy->sites());
    }
    const FindingKey key{outcome.oracle, outcome.sentence};
    const auto known = counts ? worker.findings.find(key) : worker.findings.end();
    const bool is_new = counts && known == worker.findings.end() && worker.findings.size() < kFindingsMax;
    if (known != worker.findings.end()) ++known->second.times;
    const uint64_t end_hash = outcome.end_hash;
    if (is_new) {
      Finding finding;
      finding.token = token_of(experiment_, options_.profile, outcome, strategy->log());
      finding.outcome = std::move(outcome);
      finding.strategy = strategy->name();
      finding.run = run;
      worker.findings.emplace(key, std::move(finding));
    }
    if (counts && !options_.keep_going) lower(limit_, run);
    if (run % kRunTwiceEvery == 0 || is_new) {
      const uint64_t choices_hash = strategy->log().hash;
      strategy->begin(seed, calibration_);
      const ElsewhereInMemory elsewhere;
      const Outcome again = experiment_.run(options_.profile, *strategy, {});
      counters_[number].run_twice.fetch_add(1, std::memory_order_relaxed);
      if (again.end_hash != end_hash || strategy->log().hash != choices_hash || again.oracle != key.first) {
        if (!worker.nondeterminism) {
          worker.nondeterminism = Nondeterminism{run,      std::string(strategy->name()), seed, end_hash, again.end_hash,
                                                 choices_hash, strategy->log().hash};
        }
        lower(limit_, run);
      }
    }
  }

  ExploreResult result() {
    ExploreResult result;
    for (const Counters& counters : counters_) {
      result.runs += counters.runs;
      result.run_twice += counters.run_twice;
      result.steps += counters.steps;
      result.bring_ups += counters.bring_ups;
      result.violations += counters.violations;
    }
    Findings all;
    for (auto& worker : workers_) {
      if (worker->nondeterminism &&
          (!result.nondeterminism || worker->nondeterminism->run < result.nondeterminism->run)) {
        result.nondeterminism = worker->nondeterminism;
      }
      for (auto& [key, finding] : worker->findings) {
        auto [at, fresh] = all.try_emplace(key, finding);
        if (fresh) continue;
        const uint64_t times = at->second.times + finding.times;
        if (finding.run < at->second.run) at->second = std::move(finding);
        at->second.times = times;
      }
    }
    for (auto& [key, finding] : all) result.findings.push_back(std::move(finding));
    std::sort(result.findings.begin(), result.findings.end(),
              [](const Finding& a, const Finding& b) { return a.run < b.run; });
    if (!options_.keep_going && !result.findings.empty()) {
      // Other threads were ahead: what they did after the first violation is not part of the answer.
      result.findings.resize(1);
      result.findings[0].times = 1;
      result.runs = result.findings[0].run + 1;
      result.violations = 1;
    }
    std::array<uint64_t, kStrategiesMax> runs_by_slot{};
    for (uint64_t run = 0; run < result.runs; ++run) ++runs_by_slot[slot_of(run)];
    for (size_t i = 0; i < strategies().size(); ++i) {
      if (runs_by_slot[i] > 0) result.by_strategy[std::string(strategies()[i].name)].runs = runs_by_slot[i];
    }
    for (const Finding& finding : result.findings) result.by_strategy[finding.strategy].violations += finding.times;
    result.sites = sites_.size();
    result.seconds = watch_.seconds();
    if (result.nondeterminism) {
      result.ended = Ended::kNondeterminism;
    } else if (!options_.keep_going && !result.findings.empty()) {
      result.ended = Ended::kViolation;
    } else if (watch_.stopped()) {
      result.ended = Ended::kStopped;
    }
    return result;
  }

  const Experiment& experiment_;
  const ExploreOptions& options_;
  const unsigned jobs_;
  size_t own_slot_ = 0;  // of options_.strategy
  Watch watch_;
  std::atomic<uint64_t> next_{1};
  std::atomic<uint64_t> limit_;  // runs from here on are not wanted
  std::vector<Counters> counters_;
  Sites sites_;
  Calibration calibration_;
  std::vector<std::unique_ptr<Worker>> workers_;
};

class Proof {
 public:
  Proof(const Experiment& experiment, const ProveOptions& options)
      : experiment_(experiment),
        options_(options),
        jobs_(jobs_of(options.jobs)),
        watch_(options.seconds, options.runs, options.stop),
        counters_(jobs_) {}

  ProveResult prove() {
    const uint64_t most = uint64_t{options_.bounds.preemptions} + options_.bounds.deviations + options_.bounds.stalls;
    const uint32_t total_max = static_cast<uint32_t>(std::min<uint64_t>({most, options_.bounds.total, UINT32_MAX}));
    ProveResult result;
    for (uint32_t total = 0;; ++total) {
      const bool whole = round(total);
      result.schedules = std::max(result.schedules, schedules_.load());
      if (finding_ || !nondeterminism_.empty() || !whole) break;
      // Only a bound that was in the way of nothing, or the last one, has shown all.
      if (total == total_max || !cut_by_total_) {
        result.complete = true;
        break;
      }
    }
    for (const Counters& counters : counters_) {
      result.runs += counters.runs;
      result.steps += counters.steps;
    }
    result.sites = sites_.size();
    result.finding = std::move(finding_);
    result.nondeterminism = nondeterminism_;
    result.seconds = watch_.seconds();
    return result;
  }

 private:
  struct Subtree {
    size_t position;
    uint32_t value;
  };

  // Every schedule of at most that cost. False: it ended before.
  bool round(uint32_t total) {
    Bounds bounds = options_.bounds;
    bounds.total = total;
    schedules_ = 0;
    cut_by_total_ = false;
    limit_ = UINT64_MAX;
    next_ = 0;
    Exhaustive root(bounds);
    one_run(0, root, UINT64_MAX - 1, true);
    if (finding_ || !nondeterminism_.empty() || enough()) return false;
    std::vector<Subtree> subtrees;
    for (size_t i = 0; i < root.points().size(); ++i) {
      Exhaustive::Point point = root.points()[i];
      while (std::optional<uint32_t> value = root.next_value(point)) {
        subtrees.push_back({i, *value});
        point.value = *value;
      }
    }
    if (root.cut_by_total()) cut_by_total_ = true;
    sites_.merge(root.sites());
    const auto tick = [this] {
      if (options_.on_progress) options_.on_progress(watch_.progress(counters_, sites_.size()));
    };
    // First what is unusual in one place only; then what is below each.
    for (const bool below : {false, true}) {
      next_ = 0;
      const auto body = [&](unsigned worker) {
        Exhaustive director(bounds);
        for (;;) {
          const uint64_t index = next_.fetch_add(1);
          if (index >= subtrees.size() || index >= limit_.load() || enough()) break;
          const Subtree& subtree = subtrees[static_cast<size_t>(index)];
          std::vector<Exhaustive::Point> prefix(root.points().begin(),
                                                root.points().begin() + static_cast<ptrdiff_t>(subtree.position) + 1);
          prefix.back().value = subtree.value;
          director.set_prefix(prefix);
          if (!one_run(worker, director, index, !below) || !below) continue;
          while (director.next()) {
            if (index >= limit_.load() || enough()) {
              cut_short_ = true;
              break;
            }
            if (!one_run(worker, director, index, true)) break;
          }
        }
        sites_.merge(director.sites());
        if (director.cut_by_total()) cut_by_total_ = true;
      };
      if (!subtrees.empty()) in_threads(jobs_, watch_, options_.progress_every, body, tick);
      if (cut_short_ || next_ < subtrees.size() || finding_ || !nondeterminism_.empty()) return false;
    }
    return true;
  }

  bool enough() {
    if (!watch_.over() && options_.runs != 0 && started_.load(std::memory_order_relaxed) >= options_.runs) watch_.end();
    if (watch_.over()) cut_short_ = true;
    return watch_.over();
  }

  // False: this subtree is done with.
  bool one_run(unsigned worker, Exhaustive& director, uint64_t subtree, bool is_new) {
    const uint64_t number = started_.fetch_add(1, std::memory_order_relaxed);
    director.begin();
    Outcome outcome = experiment_.run(options_.profile, director, {});
    counters_[worker].count(outcome, outcome.violated());
    if (is_new) schedules_.fetch_add(1, std::memory_order_relaxed);
    std::string nondeterminism = director.divergence();
    if (nondeterminism.empty() && (number % kRunTwiceEvery == 0 || outcome.violated())) {
      Replay again(director.log());
      again.begin();
      const ElsewhereInMemory elsewhere;
      const Outcome second = experiment_.run(options_.profile, again, {});
      const std::optional<Divergence> divergence = again.divergence();
      if (divergence) {
        nondeterminism = divergence->sentence;
      } else if (second.end_hash != outcome.end_hash || second.oracle != outcome.oracle) {
        char text[96];
        std::snprintf(text, sizeof text, "end hashes %016llx and %016llx",
                      static_cast<unsigned long long>(outcome.end_hash),
                      static_cast<unsigned long long>(second.end_hash));
        nondeterminism = text;
      }
    }
    if (nondeterminism.empty() && !outcome.violated()) return true;
    std::lock_guard lock(mutex_);
    if (subtree < limit_.load() || subtree == UINT64_MAX - 1) {
      limit_ = subtree;
      if (!nondeterminism.empty()) {
        nondeterminism_ = "the same schedule, run twice, is not the same run: " + nondeterminism;
      } else {
        Finding finding;
        finding.token = token_of(experiment_, options_.profile, outcome, director.log());
        finding.outcome = std::move(outcome);
        finding.strategy = "exhaustive";
        finding.run = number;
        finding_ = std::move(finding);
      }
    }
    return false;
  }

  const Experiment& experiment_;
  const ProveOptions& options_;
  const unsigned jobs_;
  Watch watch_;
  std::vector<Counters> counters_;
  Sites sites_;
  std::atomic<uint64_t> next_{0}, limit_{UINT64_MAX}, schedules_{0}, started_{0};
  std::atomic<bool> cut_by_total_{false}, cut_short_{false};
  std::mutex mutex_;
  std::optional<Finding> finding_;
  std::string nondeterminism_;
};

}  // namespace

std::string Nondeterminism::sentence() const {
  char text[320];
  std::snprintf(text, sizeof text,
                "run %llu (strategy %s, seed %016llx), made twice, is not the same run: end hashes %016llx and %016llx, hashes of "
                "its choices %016llx and %016llx",
                static_cast<unsigned long long>(run), strategy.c_str(), static_cast<unsigned long long>(seed),
                static_cast<unsigned long long>(first_end_hash), static_cast<unsigned long long>(second_end_hash),
                static_cast<unsigned long long>(first_choices_hash),
                static_cast<unsigned long long>(second_choices_hash));
  return text;
}

Status check_profile(const Experiment& experiment, const std::string& profile) {
  const std::vector<std::string_view> profiles = experiment.profiles();
  if (std::find(profiles.begin(), profiles.end(), profile) != profiles.end()) return {};
  std::string message = std::string(experiment.name()) + " has no profile \"" + profile + "\"; it has";
  for (std::string_view name : profiles) message += " " + std::string(name);
  return Error{ErrorCode::kInvalidArgument, message};
}

Result<ExploreResult> explore(const Experiment& experiment, const ExploreOptions& options) {
  if (Status known = check_profile(experiment, options.profile); !known.ok()) return known.error();
  if (!options.strategy.empty() && !make_strategy(options.strategy)) {
    std::string message = "there is no strategy \"" + options.strategy + "\"; there are";
    for (const StrategyInfo& info : strategies()) message += " " + std::string(info.name);
    return Error{ErrorCode::kInvalidArgument, message};
  }
  return Exploration(experiment, options).explore();
}

Result<ProveResult> prove(const Experiment& experiment, const ProveOptions& options) {
  if (Status known = check_profile(experiment, options.profile); !known.ok()) return known.error();
  return Proof(experiment, options).prove();
}

ReplayResult replay(const Experiment& experiment, const std::string& profile, const ChoiceLog& log, bool record) {
  ReplayResult result;
  std::vector<StoryLine> lines;
  uint64_t step = 0;
  size_t count = 0;
  Replay director(log);
  director.set_story_position(&step, &count);
  director.begin();
  RunOptions options;
  options.story = true;
  options.on_line = [&](const StoryLine& line) {
    step = line.step;
    ++count;
    lines.push_back(line);
  };
  trace::Recorder recorder;
  if (record) options.recorder = &recorder;
  result.outcome = experiment.run(profile, director, options);
  if (record) result.recorded = recorder.trace("");
  if (result.outcome.story.empty()) result.outcome.story = std::move(lines);
  result.log = director.log();
  result.decisions = director.decisions();
  result.divergence = director.divergence();
  return result;
}

}  // namespace bmcpair::lab
