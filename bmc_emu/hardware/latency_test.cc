#include "bmc_emu/hardware/latency.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

namespace bmcpair::hardware {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

TEST(RandomTest, ASeedMeansTheSameNumbersEverywhere) {
  // SplitMix64's published sequence for seed 1234567.
  Random random(1234567);
  EXPECT_EQ(random.next(), 6457827717110365317u);
  EXPECT_EQ(random.next(), 3203168211198807973u);
  EXPECT_EQ(random.next(), 9817491932198370423u);
  EXPECT_EQ(random.next(), 4593380528125082431u);
}

TEST(RandomTest, BelowStaysBelowAndReachesBothEnds) {
  Random random(1);
  std::array<int, 7> seen{};
  for (int i = 0; i < 7000; ++i) seen.at(random.below(7))++;
  for (int n : seen) EXPECT_GT(n, 700);
  EXPECT_EQ(random.below(0), 0u);
  EXPECT_EQ(random.below(1), 0u);
}

TEST(RandomTest, ASavedStateContinues) {
  Random a(99);
  a.next();
  Random b(a.state());
  EXPECT_EQ(a.next(), b.next());
}

TEST(LatencyTest, FixedIsItsMinimumAndDrawsNothing) {
  Random random(5);
  const uint64_t before = random.state();
  EXPECT_EQ((Latency{Latency::Shape::kFixed, microseconds(3), milliseconds(9)}.draw(random)), microseconds(3));
  EXPECT_EQ(random.state(), before);
}

TEST(LatencyTest, UniformFillsItsRangeEvenly) {
  Random random(5);
  const Latency latency{Latency::Shape::kUniform, Duration(100), Duration(199)};
  std::array<int, 10> tenths{};
  for (int i = 0; i < 10000; ++i) {
    const int64_t n = latency.draw(random).count();
    ASSERT_GE(n, 100);
    ASSERT_LE(n, 199);
    tenths.at(static_cast<size_t>(n - 100) / 10)++;
  }
  for (int n : tenths) EXPECT_NEAR(n, 1000, 150);
}

TEST(LatencyTest, LogUniformGivesEveryDecadeTheSameShare) {
  Random random(5);
  const Latency latency{Latency::Shape::kLogUniform, microseconds(1), milliseconds(1000)};
  std::array<int, 6> decades{};
  for (int i = 0; i < 12000; ++i) {
    const auto n = static_cast<double>(latency.draw(random).count());
    ASSERT_GE(n, 1e3);
    ASSERT_LE(n, 1e9);
    decades.at(std::min<size_t>(5, static_cast<size_t>(std::log10(n) - 3)))++;
  }
  for (int n : decades) EXPECT_NEAR(n, 2000, 200);
}

TEST(LatencyTest, LogUniformReachesBothEndsOfASmallRange) {
  Random random(5);
  const Latency latency{Latency::Shape::kLogUniform, Duration(0), Duration(4)};
  std::array<int, 5> seen{};
  for (int i = 0; i < 100000; ++i) seen.at(static_cast<size_t>(latency.draw(random).count()))++;
  EXPECT_EQ(seen[0], 0);  // zero has no logarithm
  EXPECT_GT(seen[1], 0);
  EXPECT_GT(seen[2], 0);
  EXPECT_GT(seen[3], 0);
}

TEST(LatencyTest, NonsenseIsClampedNotDrawn) {
  Random random(5);
  for (auto shape : {Latency::Shape::kFixed, Latency::Shape::kUniform, Latency::Shape::kLogUniform}) {
    EXPECT_EQ((Latency{shape, Duration(-5), Duration(-1)}.draw(random)), Duration(0));
    EXPECT_EQ((Latency{shape, Duration(50), Duration(10)}.draw(random)), Duration(50));
    EXPECT_GE((Latency{shape, Duration(0), Duration::max()}.draw(random)), Duration(0));
    EXPECT_GE((Latency{shape, Duration::min(), Duration::max()}.draw(random)), Duration(0));
  }
}

TEST(LatencyTest, SameSeedSameDraws) {
  Random a(77), b(77);
  const Latency latency{Latency::Shape::kLogUniform, microseconds(1), milliseconds(100)};
  for (int i = 0; i < 100; ++i) EXPECT_EQ(latency.draw(a), latency.draw(b));
}

}  // namespace
}  // namespace bmcpair::hardware
