// One small generator of our own (SplitMix64), so that a seed means the same on every machine.
#pragma once

#include <cstdint>

namespace bmcpair {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next();
  // Uniform in [0, n); 0 when n is 0.
  uint64_t below(uint64_t n);
  // What the next numbers follow from: a saved state continues where it was.
  uint64_t state() const { return state_; }

 private:
  uint64_t state_;
};

}  // namespace bmcpair
