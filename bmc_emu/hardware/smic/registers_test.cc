#include "bmc_emu/hardware/smic/registers.h"

#include <gtest/gtest.h>

namespace bmcpair::hardware::smic {
namespace {

using namespace registers::smic;

constexpr uint8_t kUsed = 0xdd;  // all but the reserved bits 1 and 5

Registers make(uint8_t flags, bool interrupt) {
  Registers r;
  r.bmc_write(kFlags, static_cast<uint8_t>(flags & ~kBusy));
  r.host_read(kFlags);
  if (interrupt) {  // BUSY's fall
    r.host_write(kFlags, kBusy);
    r.bmc_update(kFlags, kBusy, 0);
  }
  if ((flags & kBusy) != 0) r.host_write(kFlags, kBusy);
  EXPECT_EQ(r.flags(), flags);
  EXPECT_EQ(r.interrupt(), interrupt);
  return r;
}

template <class F>
void for_every_prior_state(F f) {
  for (int flags = 0; flags < 256; ++flags) {
    if ((flags & ~kUsed) != 0) continue;
    for (bool interrupt : {false, true}) f(static_cast<uint8_t>(flags), interrupt);
  }
}

TEST(SmicRegistersTest, TheHostsWriteOfFlagsCanOnlySetBusy) {
  for_every_prior_state([](uint8_t flags, bool interrupt) {
    const Registers before = make(flags, interrupt);
    for (int value = 0; value < 256; ++value) {
      Registers r = before;
      r.host_write(kFlags, static_cast<uint8_t>(value));
      ASSERT_EQ(r.flags(), flags | (value & 0x01));
      ASSERT_EQ(r.interrupt(), interrupt);
    }
  });
}

TEST(SmicRegistersTest, TheBmcsWriteOfFlagsAssignsItsOwnAndCanOnlyClearBusy) {
  for_every_prior_state([](uint8_t flags, bool interrupt) {
    const Registers before = make(flags, interrupt);
    for (int value = 0; value < 256; ++value) {
      for (int mask : {0x01, 0x04, 0x40, 0x80, 0xc1, 0x22, 0xff}) {
        Registers r = before;
        r.bmc_update(kFlags, static_cast<uint8_t>(mask), static_cast<uint8_t>(value));
        int expected = 0;
        for (int bit = 0; bit < 8; ++bit) {
          const int b = 1 << bit;
          bool now = (flags & b) != 0;
          if ((mask & b) != 0) {
            if (bit == 0) now = now && (value & b) != 0;
            if (bit == 2 || bit == 3 || bit == 4 || bit == 6 || bit == 7) now = (value & b) != 0;
          }
          if (now) expected |= b;
        }
        ASSERT_EQ(r.flags(), expected);
        const bool event = ((expected & ~flags) & 0x84) != 0 || ((flags & ~expected) & 0x01) != 0;
        ASSERT_EQ(r.interrupt(), interrupt || event);
      }
    }
  });
}

TEST(SmicRegistersTest, TheHostsReadOfFlagsLowersTheLineAndChangesNoFlag) {
  for_every_prior_state([](uint8_t flags, bool interrupt) {
    Registers r = make(flags, interrupt);
    r.host_read(kData);
    r.host_read(kStatus);
    r.bmc_read(kFlags);
    EXPECT_EQ(r.interrupt(), interrupt);
    EXPECT_EQ(r.host_read(kFlags), flags);
    EXPECT_EQ(r.flags(), flags);
    EXPECT_FALSE(r.interrupt());
  });
}

TEST(SmicRegistersTest, ControlAndStatusShareAnOffsetAndDataIsOneByteForBoth) {
  Registers r;
  r.host_write(kControl, 0x41);
  r.bmc_write(kStatus, 0xc1);
  EXPECT_EQ(r.host_read(kStatus), 0xc1);
  EXPECT_EQ(r.bmc_read(kControl), 0x41);
  r.host_write(kData, 0x18);
  EXPECT_EQ(r.bmc_read(kData), 0x18);
  EXPECT_EQ(r.host_read(kData), 0x18);
  r.bmc_write(kData, 0x1c);
  EXPECT_EQ(r.host_read(kData), 0x1c);
  EXPECT_EQ(r.flags(), 0);
}

TEST(SmicRegistersTest, OffsetsThatDoNotExistReadFfAndForgetWritesOnBothFaces) {
  Registers r = make(0x45, true);
  for (uint16_t offset : {3, 0x100, 0xffff}) {
    EXPECT_EQ(r.host_read(offset), 0xff);
    EXPECT_EQ(r.bmc_read(offset), 0xff);
    r.host_write(offset, 0xff);
    r.bmc_write(offset, 0x00);
  }
  EXPECT_EQ(r.flags(), 0x45);
  EXPECT_TRUE(r.interrupt());
}

}  // namespace
}  // namespace bmcpair::hardware::smic
