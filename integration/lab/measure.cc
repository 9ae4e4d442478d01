#include "integration/lab/measure.h"

#include <algorithm>
#include <exception>
#include <map>
#include <mutex>
#include <thread>

namespace bmcpair::lab {

namespace {

constexpr std::string_view kPortfolio = "portfolio";
constexpr std::string_view kExhaustive = "exhaustive";

struct Sample {
  std::optional<uint64_t> runs;
  std::string oracle;
  std::string problem;
};

MeasureRow row_of(std::string strategy, const std::vector<Sample>& samples) {
  MeasureRow row;
  row.strategy = std::move(strategy);
  row.seeds = static_cast<unsigned>(samples.size());
  std::vector<std::optional<uint64_t>> figures;
  std::map<std::string, unsigned> oracles;
  for (const Sample& sample : samples) {
    figures.push_back(sample.runs);
    if (!sample.runs) continue;
    ++row.found;
    ++oracles[sample.oracle];
  }
  std::sort(figures.begin(), figures.end(), [](const auto& a, const auto& b) {
    return a && (!b || *a < *b);  // none is more than any
  });
  row.least = figures.front();
  // The lower of the two in the middle.
  row.median = figures[(figures.size() - 1) / 2];
  row.most = figures.back();
  unsigned most_often = 0;
  for (const auto& [oracle, times] : oracles) {
    if (times > most_often) row.oracle = oracle, most_often = times;
  }
  return row;
}

}  // namespace

Result<std::vector<MeasureRow>> measure(const Experiment& experiment, const MeasureOptions& options) {
  if (Status known = check_profile(experiment, options.profile); !known.ok()) return known.error();
  if (options.seeds == 0 || options.runs == 0) {
    return Error{ErrorCode::kInvalidArgument, "measure: seeds and runs must be at least 1"};
  }
  std::vector<std::string> names = options.strategies;
  if (names.empty()) {
    names.emplace_back(kPortfolio);
    for (const StrategyInfo& info : strategies()) {
      if (info.share > 0) names.emplace_back(info.name);
    }
    names.emplace_back(kExhaustive);
  }
  std::vector<std::vector<Sample>> samples;
  std::vector<std::pair<size_t, size_t>> jobs;  // strategy, seed
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i] != kPortfolio && names[i] != kExhaustive && !make_strategy(names[i])) {
      return Error{ErrorCode::kInvalidArgument, "measure: there is no strategy '" + names[i] + "'"};
    }
    samples.emplace_back(names[i] == kExhaustive ? 1 : options.seeds);
    for (size_t seed = 0; seed < samples[i].size(); ++seed) jobs.emplace_back(i, seed);
  }
  // Run 0 of every search is the tame one, whatever the strategy and the seed.
  ExploreOptions tame;
  tame.profile = options.profile;
  tame.runs = tame.jobs = 1;
  const Result<ExploreResult> first = explore(experiment, tame);
  if (first->nondeterminism) return Error{ErrorCode::kInternal, first->nondeterminism->sentence()};
  if (!first->findings.empty()) {
    const Sample at_once{1, first->findings[0].token.oracle, {}};
    std::vector<MeasureRow> rows;
    for (size_t i = 0; i < names.size(); ++i) {
      rows.push_back(row_of(names[i], std::vector<Sample>(samples[i].size(), at_once)));
    }
    return rows;
  }
  std::atomic<size_t> next{0};
  std::mutex mutex;
  std::exception_ptr thrown;
  const auto stopped = [&] { return options.stop && options.stop->load(std::memory_order_relaxed); };
  const auto work = [&] {
    try {
      for (size_t job = next.fetch_add(1); job < jobs.size() && !stopped(); job = next.fetch_add(1)) {
        const auto [strategy, seed] = jobs[job];
        Sample& sample = samples[strategy][seed];
        if (names[strategy] == kExhaustive) {
          ProveOptions how;
          how.profile = options.profile;
          how.runs = options.runs;
          how.jobs = 1;
          how.stop = options.stop;
          const Result<ProveResult> result = prove(experiment, how);
          if (result->finding) sample = {result->runs, result->finding->token.oracle, {}};
          sample.problem = result->nondeterminism;
          continue;
        }
        ExploreOptions how;
        how.profile = options.profile;
        if (names[strategy] != kPortfolio) how.strategy = names[strategy];
        how.seed = options.first_seed + seed;
        how.runs = options.runs;
        how.jobs = 1;
        how.stop = options.stop;
        const Result<ExploreResult> result = explore(experiment, how);
        if (!result->findings.empty()) sample = {result->runs, result->findings[0].token.oracle, {}};
        if (result->nondeterminism) sample.problem = result->nondeterminism->sentence();
      }
    } catch (...) {
      std::lock_guard lock(mutex);
      if (!thrown) thrown = std::current_exception();
    }
  };
  const unsigned cores = std::max(1u, std::thread::hardware_concurrency());
  // Each search has a thread of its own beside the one that waits for it.
  const size_t count = std::min<size_t>({options.jobs == 0 ? cores : options.jobs, jobs.size(), kJobsMax / 2});
  std::vector<std::thread> threads;
  for (size_t i = 1; i < count; ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
  if (thrown) std::rethrow_exception(thrown);
  if (stopped()) return Error{ErrorCode::kShutdown, "measure: stopped before it was done"};

  std::vector<MeasureRow> rows;
  for (size_t i = 0; i < names.size(); ++i) {
    for (const Sample& sample : samples[i]) {
      if (!sample.problem.empty()) return Error{ErrorCode::kInternal, sample.problem};
    }
    rows.push_back(row_of(names[i], samples[i]));
  }
  return rows;
}

void write_strategies_table(std::ostream& out, const std::vector<MeasureRow>& rows, uint64_t runs_max) {
  const std::string more = "> " + std::to_string(runs_max);
  const auto figure = [&](const std::optional<uint64_t>& value) { return value ? std::to_string(*value) : more; };
  out << "| strategy | found | least | median | most | oracle |\n|---|---|---|---|---|---|\n";
  for (const MeasureRow& row : rows) {
    out << "| " << row.strategy << " | " << row.found << " of " << row.seeds << " | " << figure(row.least) << " | "
        << figure(row.median) << " | " << figure(row.most) << " | " << (row.oracle.empty() ? "-" : row.oracle) << " |\n";
  }
}

}  // namespace bmcpair::lab
