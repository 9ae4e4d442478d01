#include <gtest/gtest.h>

#include "bmc_emu/hardware/bt/trace.h"
#include "bmc_emu/hardware/kcs/trace.h"
#include "bmc_emu/hardware/smic/trace.h"

namespace bmcpair::hardware {
namespace {

using Face = Access::Face;

TEST(TraceTest, AnAccessIsOneDenseLine) {
  EXPECT_EQ(kcs::describe({{}, Face::kHost, true, 1, 0x61, 0x0a, false}), "host W command  61 | IDLE IBF C/D");
  EXPECT_EQ(kcs::describe({{}, Face::kBmc, false, 0, 0x61, 0x89, true}), "bmc  R data_in  61 | WRITE OBF C/D irq");
  EXPECT_EQ(kcs::describe({{}, Face::kBmc, true, 0, 0x00, 0x89, true}), "bmc  W data_out 00 | WRITE OBF C/D irq");
  EXPECT_EQ(kcs::describe({{}, Face::kHost, false, 1, 0xc0, 0xc0, false}), "host R status   c0 | ERROR");
  EXPECT_EQ(bt::describe({{}, Face::kHost, true, 0, 0x04, 0x04, false}), "host W ctrl     04 | H2B_ATN <- H2B_ATN");
  EXPECT_EQ(bt::describe({{}, Face::kBmc, false, 1, 0x18, 0x80, false}), "bmc  R to_bmc   18 | B_BUSY");
  EXPECT_EQ(bt::describe({{}, Face::kHost, false, 1, 0x1c, 0x00, false}), "host R to_host  1c | -");
  EXPECT_EQ(bt::describe({{}, Face::kHost, true, 2, 0x03, 0x18, true}), "host W intmask  03 | B2H_ATN SMS_ATN irq");
  EXPECT_EQ(smic::describe({{}, Face::kHost, true, 1, 0x41, 0x41, false}), "host W control  41 | BUSY TX_DATA_RDY");
  EXPECT_EQ(smic::describe({{}, Face::kBmc, true, 1, 0xc1, 0x01, false}), "bmc  W status   c1 | BUSY");
  EXPECT_EQ(smic::describe({{}, Face::kHost, false, 2, 0x00, 0x00, false}), "host R flags    00 | -");
}

TEST(TraceTest, AnOffsetThatDoesNotExistIsShownAsSuch) {
  const Access access{{}, Face::kHost, false, 7, 0xff, 0x00, false};
  EXPECT_EQ(kcs::describe(access), "host R ?        ff | IDLE");
  EXPECT_EQ(bt::describe(access), "host R ?        ff | -");
  EXPECT_EQ(describe(registers::InterfaceKind::kKcs, access), kcs::describe(access));
  EXPECT_EQ(describe(registers::InterfaceKind::kBt, access), bt::describe(access));
  EXPECT_EQ(describe(registers::InterfaceKind::kSmic, access), smic::describe(access));
  EXPECT_EQ(smic::describe(access), "host R ?        ff | -");
}

TEST(TraceTest, EveryFlagsByteHasAText) {
  for (int flags = 0; flags < 256; ++flags) {
    EXPECT_FALSE(kcs::describe_flags(static_cast<uint8_t>(flags)).empty());
    EXPECT_FALSE(bt::describe_flags(static_cast<uint8_t>(flags)).empty());
    EXPECT_FALSE(smic::describe_flags(static_cast<uint8_t>(flags)).empty());
  }
}

}  // namespace
}  // namespace bmcpair::hardware
