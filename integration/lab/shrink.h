// Fewer and tamer choices that still violate the same oracle: a story of its few decisive steps. The log is edited, not
// the input (models_to_learn_from.md, Hypothesis); what an edited log no longer fits is left out, and what the run then
// did is the next log.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "integration/lab/token.h"

namespace bmcpair::lab {

struct ShrinkProgress {
  uint64_t runs = 0;
  uint64_t runs_max = 0;
  size_t choices = 0;  // other than 0, that are left
  size_t choices_at_first = 0;
};

struct ShrinkOptions {
  uint64_t runs = 3000;
  double seconds = 0;  // 0: no bound
  const std::atomic<bool>* stop = nullptr;
  std::function<void(const ShrinkProgress&)> on_progress;  // at each gain, and every so many runs
};

struct ShrinkResult {
  Token token;
  Outcome outcome;  // of the new token, without a story
  uint64_t runs = 0;
  size_t choices_at_first = 0;
  bool finished = false;  // otherwise a bound was met, or it was stopped
};

// kInvalidArgument: the token violates nothing, or no longer does; it says where it ceased to fit. kInternal: what was
// found does not replay.
Result<ShrinkResult> shrink(const Experiment& experiment, const Token& token, const ShrinkOptions& options);

}  // namespace bmcpair::lab
