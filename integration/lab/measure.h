// How many schedules each strategy needs until it first finds something: over many seeds, as a table with medians.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "integration/lab/explore.h"

namespace bmcpair::lab {

struct MeasureOptions {
  std::string profile;
  uint64_t first_seed = 1;
  unsigned seeds = 40;
  uint64_t runs = 20000;  // a seed and a strategy at most
  unsigned jobs = 0;      // 0: one a core; each seed stays in one
  // "portfolio", "exhaustive", names of strategies(); empty: the portfolio first, then its strategies by share, then the
  // exhaustive search, which knows no seed.
  std::vector<std::string> strategies;
  const std::atomic<bool>* stop = nullptr;
};

struct MeasureRow {
  std::string strategy;  // "portfolio", "exhaustive", or one of strategies()
  unsigned seeds = 0;
  unsigned found = 0;  // of them
  // Schedules until the first find; a seed that found nothing counts as more than all others. None: more than `runs`.
  std::optional<uint64_t> least, median, most;
  std::string oracle;  // most often found first
};

// A row a strategy. The figures are the same on every machine and for any jobs. kInternal when a run, made twice, is not the
// same; kShutdown when it was stopped; kInvalidArgument: no such profile or strategy.
Result<std::vector<MeasureRow>> measure(const Experiment& experiment, const MeasureOptions& options);

// Markdown.
void write_strategies_table(std::ostream& out, const std::vector<MeasureRow>& rows, uint64_t runs_max);

}  // namespace bmcpair::lab
