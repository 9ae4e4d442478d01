#include "proto/base/hex.h"

#include <gtest/gtest.h>

namespace bmcpair {

TEST(Hex, PrintsPairsWithASeparator) {
  EXPECT_EQ(to_hex(Bytes{0x18, 0x01, 0xd5}), "18 01 d5");
  EXPECT_EQ(to_hex(Bytes{0xab}, ":"), "ab");
  EXPECT_EQ(to_hex({}), "");
}

TEST(Hex, ReadsWhatItPrintsAndRefusesTheRest) {
  EXPECT_EQ(from_hex("18 01 D5"), (Bytes{0x18, 0x01, 0xd5}));
  EXPECT_EQ(from_hex("18:01-d5"), (Bytes{0x18, 0x01, 0xd5}));
  EXPECT_EQ(from_hex(""), Bytes{});
  EXPECT_EQ(from_hex("1"), std::nullopt);
  EXPECT_EQ(from_hex("1 8"), std::nullopt);
  EXPECT_EQ(from_hex("zz"), std::nullopt);
}

TEST(Number, TakesDecimalAndHexWithinItsBound) {
  EXPECT_EQ(parse_number("255", 255), 255u);
  EXPECT_EQ(parse_number("0xFf", 255), 255u);
  EXPECT_EQ(parse_number("256", 255), std::nullopt);
  EXPECT_EQ(parse_number("-1", 255), std::nullopt);
  EXPECT_EQ(parse_number("0x", 255), std::nullopt);
  EXPECT_EQ(parse_number("12a", 255), std::nullopt);
  EXPECT_EQ(parse_number("", 255), std::nullopt);
}

}  // namespace bmcpair
