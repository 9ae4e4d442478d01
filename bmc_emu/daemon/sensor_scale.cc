#include "bmc_emu/daemon/sensor_scale.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace bmcpair::daemon {
namespace {

double at(const SensorScale& scale, int raw) {
  return (scale.m * raw + scale.b * std::pow(10.0, scale.b_exponent)) * std::pow(10.0, scale.r_exponent);
}

}  // namespace

double SensorScale::least() const {
  return std::min(at(*this, is_signed ? -128 : 0), at(*this, is_signed ? 127 : 255));
}
double SensorScale::greatest() const {
  return std::max(at(*this, is_signed ? -128 : 0), at(*this, is_signed ? 127 : 255));
}
double SensorScale::step() const { return std::abs(m) * std::pow(10.0, r_exponent); }

std::optional<SensorScale> choose_scale(double min, double max) {
  if (!(min < max) || !std::isfinite(min) || !std::isfinite(max)) return std::nullopt;
  std::optional<SensorScale> best;
  double best_cost = 0;
  double slack = (max - min) * 1e-9;
  for (int r = -8; r <= 7; ++r) {
    double unit = std::pow(10.0, r);
    double exact_m = (max - min) / 255.0 / unit;
    if (exact_m > 511.0) continue;
    for (int b_exponent = -8; b_exponent <= 7; ++b_exponent) {
      double exact_b = min / unit / std::pow(10.0, b_exponent);
      if (std::abs(exact_b) > 511.0) continue;
      // B is rounded down so that min is covered; M then must reach max from there.
      int b = static_cast<int>(std::floor(exact_b + 1e-9));
      if (b < -512) continue;
      double start = b * std::pow(10.0, b_exponent) * unit;
      int m = std::max(1, static_cast<int>(std::ceil((max - start - slack) / 255.0 / unit - 1e-9)));
      if (m > 511) continue;
      SensorScale scale{static_cast<int16_t>(m), static_cast<int16_t>(b), static_cast<int8_t>(b_exponent),
                        static_cast<int8_t>(r), false};
      if (scale.least() > min + slack || scale.greatest() < max - slack) continue;
      // What is wasted of the 256 steps, and a little for every factor that is not plain.
      double waste = (scale.greatest() - scale.least()) / (max - min) - 1.0;
      double cost = waste + 1e-3 * (std::abs(r) + std::abs(b_exponent)) + (m % 10 == 0 ? 1e-3 : 0);
      if (!best || cost < best_cost) {
        best = scale;
        best_cost = cost;
      }
    }
  }
  return best;
}

}  // namespace bmcpair::daemon
