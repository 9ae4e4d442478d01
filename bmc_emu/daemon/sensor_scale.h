// Which M, B and exponents express a range of readings (IPMI 2.0 §36.3).
#pragma once

#include <cstdint>
#include <optional>

namespace bmcpair::daemon {

// reading = (m x raw + b x 10^b_exponent) x 10^r_exponent
struct SensorScale {
  int16_t m = 1;
  int16_t b = 0;
  int8_t b_exponent = 0;
  int8_t r_exponent = 0;
  bool is_signed = false;

  double least() const;
  double greatest() const;
  double step() const;
};

// The finest scale of 256 steps from at most `min` to at least `max`; among nearly equal ones the roundest. Nothing
// when min is not below max, or the factors cannot express it.
std::optional<SensorScale> choose_scale(double min, double max);

}  // namespace bmcpair::daemon
