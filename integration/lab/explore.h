// Many runs of one experiment: until something is violated, or a bound is met, or somebody presses ctrl-C.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "integration/lab/strategy.h"
#include "integration/lab/token.h"
#include "proto/base/result.h"
#include "proto/trace/trace.h"

namespace bmcpair::lab {

// Every so many runs one is run twice, and must end the same.
constexpr uint64_t kRunTwiceEvery = 64;
// Threads; each has its own memory for runs (arena.h).
constexpr unsigned kJobsMax = 60;
// Distinct violations that are kept; more are only counted.
constexpr size_t kFindingsMax = 1000;

struct Progress {
  uint64_t runs = 0;
  uint64_t steps = 0;
  uint64_t violations = 0;
  uint32_t sites = 0;
  double seconds = 0;
  std::optional<double> seconds_left;
};

struct ExploreOptions {
  std::string profile;
  std::string strategy;  // empty: the portfolio
  uint64_t seed = 1;
  uint64_t runs = 0;   // 0: no bound
  double seconds = 0;  // 0: no bound
  unsigned jobs = 0;   // 0: one a core
  bool keep_going = false;
  std::string oracle;  // only its violations are any; empty: all are
  const std::atomic<bool>* stop = nullptr;          // looked at before each run
  std::function<void(const Progress&)> on_progress;  // from the calling thread
  std::chrono::milliseconds progress_every{200};
};

struct Finding {
  Token token;
  Outcome outcome;  // without a story
  std::string strategy;
  uint64_t run = 0;    // the first that found it
  uint64_t times = 1;  // keep_going: how many did
};

// The same run twice, and not the same.
struct Nondeterminism {
  uint64_t run = 0;
  std::string strategy;
  uint64_t seed = 0;
  uint64_t first_end_hash = 0, second_end_hash = 0;
  uint64_t first_choices_hash = 0, second_choices_hash = 0;
  std::string sentence() const;
};

enum class Ended : uint8_t { kBound, kViolation, kStopped, kNondeterminism };

struct StrategyCount {
  uint64_t runs = 0;
  uint64_t violations = 0;
};

struct ExploreResult {
  Ended ended = Ended::kBound;
  uint64_t runs = 0;       // not counting the second of two; with a violation: up to and with the first that had one
  uint64_t run_twice = 0;
  uint64_t steps = 0;      // of all runs that were made
  uint64_t bring_ups = 0;
  uint64_t violations = 0;
  uint32_t sites = 0;
  double seconds = 0;
  std::vector<Finding> findings;  // by run; without keep_going at most one
  std::map<std::string, StrategyCount> by_strategy;
  std::optional<Nondeterminism> nondeterminism;
};

// The same seed and number of runs are the same runs, and the same first violation, whatever the jobs.
// kInvalidArgument: no such profile or strategy.
Result<ExploreResult> explore(const Experiment& experiment, const ExploreOptions& options);

struct ProveOptions {
  std::string profile;
  Bounds bounds;
  uint64_t runs = 0;
  double seconds = 0;
  unsigned jobs = 0;
  const std::atomic<bool>* stop = nullptr;
  std::function<void(const Progress&)> on_progress;
  std::chrono::milliseconds progress_every{200};
};

struct ProveResult {
  bool complete = false;
  uint64_t schedules = 0;  // distinct ones that were run
  uint64_t runs = 0;       // of all rounds: bounds of 0, 1, 2... in turn, so that the simplest violation comes first
  uint64_t steps = 0;
  uint32_t sites = 0;
  double seconds = 0;
  std::optional<Finding> finding;
  std::string nondeterminism;  // a sentence, or empty
};

Result<ProveResult> prove(const Experiment& experiment, const ProveOptions& options);

// Runs a token's log strictly, telling its story. A log that does not fit is no error of ours: see divergence.
struct ReplayResult {
  Outcome outcome;  // with its story
  ChoiceLog log;
  std::vector<Replay::Decision> decisions;
  std::optional<Divergence> divergence;
  trace::Trace recorded;  // of the experiment's own recorder, when it was wanted
};
ReplayResult replay(const Experiment& experiment, const std::string& profile, const ChoiceLog& log, bool record = false);

// kInvalidArgument, naming those there are.
Status check_profile(const Experiment& experiment, const std::string& profile);

}  // namespace bmcpair::lab
