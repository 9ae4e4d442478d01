// A run for people: the dense trace, and the host and the BMC side by side with what was unusual in between.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "integration/lab/explore.h"

namespace bmcpair::lab {

struct Style {
  bool color = false;
  unsigned width = 120;  // of a line, at least kWidthMin
  bool full = false;     // every line; otherwise those near what was unusual, the first and the last
};
constexpr unsigned kWidthMin = 60;

// "12.345 ms"
std::string time_text(Duration time);
std::string hash_text(uint64_t hash);
// "task 2 goes on instead of task 1, at bt.write"
std::string decision_text(const Replay::Decision& decision);

// One line a step. Columns: step, virtual time in us, side (host, bmc, both), task, what. A line that begins with '*' is a choice other than
// the tamest; it came before the next line.
void print_trace(std::ostream& out, const std::vector<StoryLine>& story, std::span<const Replay::Decision> decisions,
                 const Style& style);
// Two columns, host and BMC; then the oracle's sentence.
void print_story(std::ostream& out, const ReplayResult& run, const Style& style);

nlohmann::ordered_json to_json(const StoryLine& line);
nlohmann::ordered_json to_json(const Replay::Decision& decision);
// Without the story.
nlohmann::ordered_json to_json(const Outcome& outcome);

}  // namespace bmcpair::lab
