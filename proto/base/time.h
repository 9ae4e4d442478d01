// Time is an argument. Pure code is handed an Instant and never asks for one: Clock has no now().
#pragma once

#include <chrono>
#include <cstdint>

namespace bmcpair {

using Duration = std::chrono::nanoseconds;

struct Clock {
  using rep = Duration::rep;
  using period = Duration::period;
  using duration = Duration;
  using time_point = std::chrono::time_point<Clock, Duration>;
  static constexpr bool is_steady = true;
};

// A point on a monotonic scale with no meaning of its own; only differences count.
using Instant = Clock::time_point;

constexpr Instant kNever = Instant::max();

constexpr int64_t to_us(Duration d) {
  return std::chrono::duration_cast<std::chrono::microseconds>(d).count();
}

}  // namespace bmcpair
