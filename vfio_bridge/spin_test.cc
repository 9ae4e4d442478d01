#include "vfio_bridge/spin.h"

#include <gtest/gtest.h>

namespace bmcpair::vfio_bridge {
namespace {

using std::chrono::microseconds;
constexpr auto kNone = std::chrono::nanoseconds(0);

Spin hot() {
  Spin spin(false);
  for (unsigned i = 0; i < Spin::kHotRun; ++i) spin.came_after(microseconds(5));
  return spin;
}

TEST(Spin, ANewClientIsWaitedForAsleep) { EXPECT_EQ(Spin(false).budget(), kNone); }

TEST(Spin, AfterARunOfShortGapsTheNextIsWaitedForAwake) {
  Spin spin(false);
  for (unsigned i = 0; i < Spin::kHotRun; ++i) {
    EXPECT_EQ(spin.budget(), kNone);
    spin.came_after(microseconds(5));
  }
  EXPECT_EQ(spin.budget(), Spin::kSpinMax);
}

TEST(Spin, OneLongGapEndsIt) {
  Spin spin = hot();
  spin.came_after(Spin::kSpinMax + std::chrono::nanoseconds(1));
  EXPECT_EQ(spin.budget(), kNone);
}

TEST(Spin, AGapOfExactlyTheBudgetIsShort) {
  Spin spin = hot();
  spin.came_after(Spin::kSpinMax);
  EXPECT_EQ(spin.budget(), Spin::kSpinMax);
}

TEST(Spin, WithOneProcessorNobodySpins) {
  Spin spin(true);
  for (int i = 0; i < 100; ++i) spin.came_after(microseconds(1));
  EXPECT_EQ(spin.budget(), kNone);
}

}  // namespace
}  // namespace bmcpair::vfio_bridge
