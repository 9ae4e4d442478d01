// What the laboratory runs: an experiment is a world to be built, something to be done in it, and oracles. One run is one
// path through its decisions.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "host_driver/runtime/modelled/director.h"
#include "proto/base/time.h"

namespace bmcpair::trace {
class Recorder;
}

namespace bmcpair::lab {

using rt::Choice;
using rt::Director;
using rt::Site;
using rt::TaskId;

// One line of a run's story.
struct StoryLine {
  enum class Side : uint8_t { kHost, kBmc, kBoth };
  Instant at{};     // virtual time; a run begins at 0
  uint64_t step = 0;
  Side side = Side::kHost;
  std::string who;   // the task
  std::string text;
};

struct RunOptions {
  bool story = false;  // otherwise no line is made
  std::function<void(const StoryLine&)> on_line;  // with story; may be empty: the lines are in the outcome
  // Null, or where register accesses, the interrupt line, messages and faults go (bmc_lab --vcd, --pcap...). The story's lines
  // are added by who asked.
  trace::Recorder* recorder = nullptr;
};

struct Outcome {
  std::string oracle;    // which one was violated, "exactly-once", "deadlock"...; empty: none
  std::string sentence;  // what it says
  uint64_t steps = 0;    // scheduling points
  uint64_t bring_ups = 0;  // complete ones in this run
  Duration virtual_time{0};
  uint64_t end_hash = 0;  // of everything that was decided and done
  std::vector<StoryLine> story;
  bool violated() const { return !oracle.empty(); }
};

// Immutable, and safe for runs in several threads at once (each run stays in its thread).
class Experiment {
 public:
  virtual ~Experiment() = default;
  virtual std::string_view name() const = 0;   // "bt-cap-begin"
  virtual std::string_view title() const = 0;  // one line
  // The profiles that it knows, the one that shows the bug first and "hardened" last.
  virtual std::vector<std::string_view> profiles() const = 0;
  // profile is one of profiles(). Never throws for what happens in the run.
  virtual Outcome run(std::string_view profile, Director& director, const RunOptions& options) const = 0;
};

// All there are, by name. Filled by integration/scenarios.
const std::vector<const Experiment*>& experiments();
const Experiment* find_experiment(std::string_view name);

}  // namespace bmcpair::lab
