// One run: a world of the modelled runtime, in an arena, from its main task to its end.
#pragma once

#include <functional>

#include "host_driver/runtime/runtime.h"
#include "integration/lab/experiment.h"

namespace bmcpair::lab {

struct Run {
  Director& director;
  const RunOptions& options;
  uint64_t bring_ups = 0;  // for main to count

  // Ends the run: what the experiment expected does not hold. `oracle` is a short name.
  [[noreturn, gnu::cold]] void fail(std::string_view oracle, std::string sentence) {
    rt::World::current()->violate(oracle, std::move(sentence));
  }
  void expect(bool holds, std::string_view oracle, std::string_view sentence) {
    if (!holds) fail(oracle, std::string(sentence));
  }
  [[gnu::cold]] void tell(std::string text) {
    if (options.story) rt::World::current()->tell(rt::World::Side::kHost, std::move(text));
  }
};

// main runs as the world's first task; what it leaves unended is found (oracles "leak", "left-behind").
Outcome run_world(Director& director, const RunOptions& options, const rt::WorldOptions& world,
                  const std::function<void(Run&)>& main);

}  // namespace bmcpair::lab
