// What configs/demo.yaml says of its first BMC, for comparing what clients print. Readings are within the wave and the step
// of the sensor's raw byte.
#pragma once

namespace bmcpair::integration::demo {

struct Reading {
  const char* name;
  double low, high;
};
inline constexpr Reading kReadings[] = {
    {"CPU Temp", 41, 51}, {"Inlet Temp", 23, 24}, {"Fan 1", 6800, 7600},
    {"Fan 2", 7040, 7160}, {"12V", 11.9, 12.2},   {"PSU 1 Power", 238, 242},
};
inline constexpr const char* kDiscrete[] = {"PSU 1", "Chassis Intru", "SEL"};

}  // namespace bmcpair::integration::demo
