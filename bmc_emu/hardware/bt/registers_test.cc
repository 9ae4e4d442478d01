#include "bmc_emu/hardware/bt/registers.h"

#include <gtest/gtest.h>

namespace bmcpair::hardware::bt {
namespace {

using namespace registers::bt;

struct State {
  uint8_t ctrl = 0;  // bits 2..7
  bool enable = false;
  bool pending = false;  // only with enable
  bool reset_asked = false;
};

// Reached by accesses alone.
Registers make(const State& s) {
  Registers r;
  // The flags first, so that only the enabling can raise the interrupt.
  r.host_write(kCtrl, static_cast<uint8_t>(s.ctrl & 0x44));
  r.bmc_write(kCtrl, static_cast<uint8_t>(s.ctrl & 0xb8));
  if (s.reset_asked) r.host_write(kIntMask, 0x80);
  if (s.enable) r.host_write(kIntMask, 0x01);
  if (!s.pending && r.interrupt()) r.host_write(kIntMask, 0x03);
  if (s.pending && !r.interrupt()) {
    // Neither flag is set: pending stays when the flag that raised it goes.
    r.bmc_write(kCtrl, kB2hAtn);
    r.host_write(kCtrl, kB2hAtn);
  }
  EXPECT_EQ(r.flags(), s.ctrl);
  EXPECT_EQ(r.interrupt(), s.pending);
  EXPECT_EQ(r.hardware_reset_requested(), s.reset_asked);
  return r;
}

template <class F>
void for_every_prior_state(F f) {
  for (int ctrl = 0; ctrl < 256; ctrl += 4) {
    for (int irq = 0; irq < 3; ++irq) {
      for (bool asked : {false, true}) f(State{static_cast<uint8_t>(ctrl), irq > 0, irq == 2, asked});
    }
  }
}

// One bit of BT_CTRL after a write, from table 11-2's prose, one case a bit.
bool ctrl_bit_after(bool by_host, int bit, bool before, bool one) {
  switch (bit) {
    case 0:
    case 1: return false;
    case 2: return by_host ? before || one : before && !one;
    case 3:
    case 4: return by_host ? before && !one : before || one;
    case 5: return by_host ? before : before != one;
    case 6: return by_host ? before != one : before;
    default: return by_host ? before : before != one;
  }
}

TEST(BtRegistersTest, EveryByteWrittenToCtrlByEitherFaceOverEveryPriorStateDoesWhatEachBitSays) {
  for_every_prior_state([](const State& s) {
    const Registers before = make(s);
    for (bool by_host : {true, false}) {
      for (int value = 0; value < 256; ++value) {
        Registers r = before;
        if (by_host) {
          r.host_write(kCtrl, static_cast<uint8_t>(value));
        } else {
          r.bmc_write(kCtrl, static_cast<uint8_t>(value));
        }
        int expected = 0;
        for (int bit = 0; bit < 8; ++bit) {
          if (ctrl_bit_after(by_host, bit, (s.ctrl >> bit & 1) != 0, (value >> bit & 1) != 0)) expected |= 1 << bit;
        }
        ASSERT_EQ(r.flags(), expected) << by_host << " " << int(s.ctrl) << " " << value;
        ASSERT_EQ(r.host_read(kCtrl), expected);
        ASSERT_EQ(r.bmc_read(kCtrl), expected);
        const bool b2h_rises = (expected & 0x08) != 0 && (s.ctrl & 0x08) == 0;
        const bool sms_rises = (expected & 0x10) != 0 && (s.ctrl & 0x10) == 0;
        ASSERT_EQ(r.interrupt(), s.pending || (s.enable && (b2h_rises || sms_rises)));
        ASSERT_EQ(r.hardware_reset_requested(), s.reset_asked);
        ASSERT_EQ(r.host_read(kIntMask) & 0x01, s.enable ? 1 : 0);
      }
    }
  });
}

TEST(BtRegistersTest, EveryByteWrittenToIntMaskByEitherFaceOverEveryPriorState) {
  for_every_prior_state([](const State& s) {
    const Registers before = make(s);
    for (int value = 0; value < 256; ++value) {
      Registers r = before;
      r.host_write(kIntMask, static_cast<uint8_t>(value));
      const bool enable = (value & 0x01) != 0;
      bool pending = s.pending;
      if ((value & 0x02) != 0) pending = false;
      if (!enable) pending = false;
      if (enable && !s.enable && (s.ctrl & 0x18) != 0) pending = true;
      const bool asked = s.reset_asked || (value & 0x80) != 0;
      ASSERT_EQ(r.host_read(kIntMask), (enable ? 1 : 0) | (pending ? 2 : 0)) << int(s.ctrl) << " " << value;
      ASSERT_EQ(r.bmc_read(kIntMask), (enable ? 1 : 0) | (pending ? 2 : 0) | (asked ? 0x80 : 0));
      ASSERT_EQ(r.interrupt(), pending);
      ASSERT_EQ(r.flags(), s.ctrl);

      r = before;
      r.bmc_write(kIntMask, static_cast<uint8_t>(value));
      ASSERT_EQ(r.host_read(kIntMask), (s.enable ? 1 : 0) | (s.pending ? 2 : 0)) << "the host's bits";
      ASSERT_EQ(r.hardware_reset_requested(), s.reset_asked && (value & 0x80) == 0);
      ASSERT_EQ(r.flags(), s.ctrl);
    }
  });
}

TEST(BtRegistersTest, ReadingChangesNoFlag) {
  for_every_prior_state([](const State& s) {
    Registers r = make(s);
    for (uint16_t offset : {0, 1, 2}) {
      r.host_read(offset);
      r.bmc_read(offset);
    }
    EXPECT_EQ(r.flags(), s.ctrl);
    EXPECT_EQ(r.interrupt(), s.pending);
    EXPECT_EQ(r.hardware_reset_requested(), s.reset_asked);
  });
}

TEST(BtRegistersTest, EachDirectionHasItsOwnBytesAndEachFaceRewindsItsOwnPointersOnly) {
  Registers r;
  for (uint8_t b : {1, 2, 3}) r.host_write(kBuffer, b);
  for (uint8_t b : {11, 12, 13}) r.bmc_write(kBuffer, b);
  EXPECT_EQ(r.bmc_read(kBuffer), 1);
  EXPECT_EQ(r.host_read(kBuffer), 11);
  EXPECT_EQ(r.bmc_read(kBuffer), 2);
  EXPECT_EQ(r.host_read(kBuffer), 12);

  r.host_write(kCtrl, kClrRdPtr);
  EXPECT_EQ(r.host_read(kBuffer), 11);
  EXPECT_EQ(r.bmc_read(kBuffer), 3) << "the BMC's read pointer is its own";
  r.bmc_write(kCtrl, kClrRdPtr);
  EXPECT_EQ(r.bmc_read(kBuffer), 1);
  EXPECT_EQ(r.host_read(kBuffer), 12);

  r.host_write(kCtrl, kClrWrPtr);
  EXPECT_EQ(r.host_bytes_written(), 0u);
  EXPECT_EQ(r.bmc_read(kBuffer), 0xff);
  EXPECT_EQ(r.host_read(kBuffer), 13) << "the BMC's write pointer is its own";
  r.host_write(kBuffer, 21);
  r.bmc_write(kCtrl, kClrRdPtr);
  EXPECT_EQ(r.bmc_read(kBuffer), 21);

  r.bmc_write(kCtrl, kClrWrPtr);
  r.bmc_write(kBuffer, 31);
  r.host_write(kCtrl, kClrRdPtr);
  EXPECT_EQ(r.host_read(kBuffer), 31);
  EXPECT_EQ(r.host_read(kBuffer), 0xff);
}

TEST(BtRegistersTest, ReadingPastTheEndIsFfAndWritingPastTheEndIsLost) {
  for (bool to_bmc : {true, false}) {
    Registers r;
    auto write = [&](uint16_t o, uint8_t v) { to_bmc ? r.host_write(o, v) : r.bmc_write(o, v); };
    auto read = [&](uint16_t o) { return to_bmc ? r.bmc_read(o) : r.host_read(o); };
    EXPECT_EQ(read(kBuffer), 0xff);
    for (int i = 0; i < 300; ++i) write(kBuffer, static_cast<uint8_t>(i ^ 0x80));
    for (int i = 0; i < 256; ++i) ASSERT_EQ(read(kBuffer), (i ^ 0x80) & 0xff) << i;
    for (int i = 0; i < 300; ++i) ASSERT_EQ(read(kBuffer), 0xff);
    EXPECT_TRUE(r.valid());
  }
}

TEST(BtRegistersTest, AByteWrittenAfterAnEmptyReadIsNotSkipped) {
  Registers r;
  EXPECT_EQ(r.bmc_read(kBuffer), 0xff);
  r.host_write(kBuffer, 7);
  EXPECT_EQ(r.bmc_read(kBuffer), 7);
}

TEST(BtRegistersTest, OffsetsThatDoNotExistReadFfAndForgetWritesOnBothFaces) {
  Registers r = make({0x5c, true, true, true});
  for (uint16_t offset : {3, 4, 0x100, 0xffff}) {
    EXPECT_EQ(r.host_read(offset), 0xff);
    EXPECT_EQ(r.bmc_read(offset), 0xff);
    r.host_write(offset, 0xff);
    r.bmc_write(offset, 0xff);
  }
  EXPECT_EQ(r.flags(), 0x5c);
  EXPECT_TRUE(r.interrupt());
}

// What Linux's interrupt handler does first, and what its reset of the flags does (B.1, B.5).
TEST(BtRegistersTest, TheHandlersWriteOf03AcknowledgesAndStaysEnabledAndTheResetWriteOf80Disables) {
  Registers r;
  r.host_write(kIntMask, 0x01);
  r.bmc_write(kCtrl, kB2hAtn);
  EXPECT_TRUE(r.interrupt());
  r.host_write(kIntMask, 0x03);
  EXPECT_FALSE(r.interrupt());
  EXPECT_EQ(r.host_read(kIntMask), 0x01);
  r.bmc_write(kCtrl, kB2hAtn);
  EXPECT_FALSE(r.interrupt()) << "already set: no edge";
  r.bmc_write(kCtrl, kSmsAtn);
  EXPECT_TRUE(r.interrupt());
  r.host_write(kIntMask, 0x80);
  EXPECT_FALSE(r.interrupt());
  EXPECT_EQ(r.host_read(kIntMask), 0x00);
  EXPECT_TRUE(r.hardware_reset_requested());
  r.host_write(kIntMask, 0x01);
  EXPECT_TRUE(r.interrupt()) << "both flags are still set";
}

TEST(BtRegistersTest, TheRuleTablesNameEachBitOnce) {
  for (const BitTable* table : {&ctrl_rules(), &int_mask_rules()}) {
    int bits = 0;
    for (const BitRule& rule : *table) {
      EXPECT_EQ(bits & rule.bit, 0) << rule.name;
      bits |= rule.bit;
    }
    EXPECT_EQ(bits, 0xff);
  }
}

}  // namespace
}  // namespace bmcpair::hardware::bt
