// Binary logarithms in whole numbers: libm's last digit differs between machines, and a seed must not.
#pragma once

#include <bit>
#include <cstdint>

namespace bmcpair {

// Of x > 0, with so many bits after the point; at most 32, of which the last few are rough.
constexpr uint64_t log2_fixed(uint64_t x, unsigned fraction_bits) {
  const unsigned whole = 63 - static_cast<unsigned>(std::countl_zero(x));
  uint64_t mantissa = whole >= 31 ? x >> (whole - 31) : x << (31 - whole);
  uint64_t fraction = 0;
  for (unsigned i = fraction_bits; i-- > 0;) {
    mantissa = (mantissa * mantissa) >> 31;
    if (mantissa >= (uint64_t{1} << 32)) {
      mantissa >>= 1;
      fraction |= uint64_t{1} << i;
    }
  }
  return uint64_t{whole} << fraction_bits | fraction;
}

}  // namespace bmcpair
