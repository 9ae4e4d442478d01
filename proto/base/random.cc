#include "proto/base/random.h"

namespace bmcpair {

// SplitMix64 (Steele, Lea, Flood 2014).
uint64_t Random::next() {
  state_ += 0x9e3779b97f4a7c15;
  uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

uint64_t Random::below(uint64_t n) {
  if (n == 0) return 0;
  // Numbers below 2^64 mod n would make the small results likelier.
  const uint64_t unfair = (0 - n) % n;
  uint64_t x = next();
  while (x < unfair) x = next();
  return x % n;
}

}  // namespace bmcpair
