#include "bmc_emu/hardware/latency.h"

#include <algorithm>
#include <array>

#include "proto/base/log2.h"

namespace bmcpair::hardware {
namespace {

// Logarithms are Q16.
constexpr unsigned kFraction = 16;

constexpr uint64_t integer_sqrt(uint64_t x) {
  uint64_t root = 0;
  for (uint64_t bit = uint64_t{1} << 31; bit != 0; bit >>= 1) {
    uint64_t next = root | bit;
    if (next * next <= x) root = next;
  }
  return root;
}

// kRoots[i] is 2^(2^(i-16)) in Q31, so that the bits of a fraction name its factors.
constexpr std::array<uint64_t, kFraction> make_roots() {
  std::array<uint64_t, kFraction> roots{};
  uint64_t root = uint64_t{1} << 32;  // 2 in Q31
  for (unsigned i = kFraction; i-- > 0;) {
    root = integer_sqrt(root << 31);
    roots[i] = root;
  }
  return roots;
}
constexpr std::array<uint64_t, kFraction> kRoots = make_roots();

uint64_t exp2_q16(uint64_t exponent) {
  uint64_t mantissa = uint64_t{1} << 31;
  for (unsigned i = 0; i < kFraction; ++i) {
    if (exponent >> i & 1) mantissa = (mantissa * kRoots[i]) >> 31;
  }
  auto whole = static_cast<unsigned>(exponent >> kFraction);
  return whole >= 31 ? mantissa << (whole - 31) : mantissa >> (31 - whole);
}

}  // namespace

Duration Latency::draw_from_range(Random& random) const {
  const int64_t low = std::max<int64_t>(min.count(), 0);
  const int64_t high = std::max(max.count(), low);
  if (low == high) return Duration(low);
  if (shape == Shape::kUniform) {
    return Duration(low + static_cast<int64_t>(random.below(static_cast<uint64_t>(high - low) + 1)));
  }
  // Zero has no logarithm: the lower end is one nanosecond then.
  const uint64_t from = log2_fixed(static_cast<uint64_t>(std::max<int64_t>(low, 1)), kFraction);
  const uint64_t to = log2_fixed(static_cast<uint64_t>(high), kFraction);
  const auto drawn = static_cast<int64_t>(exp2_q16(from + random.below(to - from + 1)));
  return Duration(std::clamp(drawn, low, high));
}

}  // namespace bmcpair::hardware
