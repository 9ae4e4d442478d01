// How long the BMC side takes: fixed, uniform or log-uniform, per command if wanted.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>

#include "proto/base/random.h"
#include "proto/base/time.h"

namespace bmcpair::hardware {

using bmcpair::Random;

struct Latency {
  enum class Shape : uint8_t { kFixed, kUniform, kLogUniform };
  Shape shape = Shape::kFixed;
  Duration min{0};
  Duration max{0};  // ignored by kFixed
  Duration draw(Random& random) const {
    return shape == Shape::kFixed ? std::max(min, Duration(0)) : draw_from_range(random);
  }
  bool operator==(const Latency&) const = default;

 private:
  Duration draw_from_range(Random& random) const;
};

// Two kinds of waiting: between two accesses of the BMC to its own registers, and between a whole request
// and its response (the firmware's work), the latter by (NetFn, Cmd) where one is set apart.
struct LatencyPlan {
  Latency access{Latency::Shape::kFixed, std::chrono::microseconds(2), std::chrono::microseconds(2)};
  Latency response{Latency::Shape::kFixed, std::chrono::microseconds(50), std::chrono::microseconds(50)};
  std::map<std::pair<uint8_t, uint8_t>, Latency> by_command;
};

}  // namespace bmcpair::hardware
