#include "bmc_emu/hardware/kcs/registers.h"

#include <gtest/gtest.h>

namespace bmcpair::hardware::kcs {
namespace {

using namespace registers::kcs;

// Puts a file into any reachable state by accesses alone: status bits, and both latches.
Registers make(uint8_t status, bool data_latch, bool attention_latch, uint8_t in = 0, uint8_t out = 0) {
  Registers r;
  r.bmc_write(kData, out);               // OBF, data latch
  if (!data_latch || (status & kObf) == 0) r.host_read(kData);
  if ((status & kObf) != 0 && !data_latch) {
    ADD_FAILURE() << "OBF without its latch cannot be reached";
  }
  r.host_write((status & kCd) != 0 ? kCommand : kData, in);
  if ((status & kIbf) == 0) r.bmc_read(kData);
  r.bmc_write(kStatus, static_cast<uint8_t>(status & (kStateMask | kOem1 | kOem2 | kSmsAtn)));
  if (!attention_latch) r.host_read(kStatus);
  EXPECT_EQ(r.flags(), status);
  EXPECT_EQ(r.interrupt(), data_latch || (attention_latch && (status & kSmsAtn) != 0));
  return r;
}

// OBF and its latch go together; SMS_ATN may have been seen or not.
template <class F>
void for_every_prior_state(F f) {
  for (int status = 0; status < 256; ++status) {
    const auto s = static_cast<uint8_t>(status);
    for (bool seen : {false, true}) {
      if ((s & kSmsAtn) == 0 && seen) continue;
      f(s, (s & kObf) != 0, (s & kSmsAtn) != 0 && !seen);
    }
  }
}

TEST(KcsRegistersTest, EveryPriorStateCanBeReached) {
  for_every_prior_state([](uint8_t s, bool data, bool attention) { make(s, data, attention); });
}

TEST(KcsRegistersTest, TheHostsReadOfDataClearsObfAndItsLatchOnly) {
  for_every_prior_state([](uint8_t s, bool data, bool attention) {
    Registers r = make(s, data, attention, 0x11, 0x22);
    EXPECT_EQ(r.host_read(kData), 0x22);
    EXPECT_EQ(r.flags(), s & ~kObf);
    EXPECT_EQ(r.interrupt(), attention);
    EXPECT_EQ(r.host_read(kData), 0x22) << "the latch keeps its byte";
  });
}

TEST(KcsRegistersTest, TheHostsReadOfStatusClearsTheAttentionLatchOnly) {
  for_every_prior_state([](uint8_t s, bool data, bool attention) {
    Registers r = make(s, data, attention);
    EXPECT_EQ(r.host_read(kStatus), s);
    EXPECT_EQ(r.flags(), s);
    EXPECT_EQ(r.interrupt(), data);
  });
}

TEST(KcsRegistersTest, EveryHostWriteSetsIbfAndSaysWhichItWas) {
  for_every_prior_state([](uint8_t s, bool data, bool attention) {
    const Registers before = make(s, data, attention, 0x99);
    for (int value = 0; value < 256; value += 5) {
      Registers r = before;
      r.host_write(kData, static_cast<uint8_t>(value));
      EXPECT_EQ(r.flags(), (s | kIbf) & ~kCd);
      EXPECT_EQ(r.interrupt(), data || attention);
      EXPECT_EQ(r.bmc_read(kData), value);
      r.host_write(kCommand, static_cast<uint8_t>(value));
      EXPECT_EQ(r.flags(), s | kIbf | kCd);
      EXPECT_EQ(r.bmc_read(kData), value);
    }
  });
}

TEST(KcsRegistersTest, AWriteOverAFullInputBufferReplacesTheByteThatTheBmcHasNotTaken) {
  Registers r;
  r.host_write(kData, 0x01);
  r.host_write(kCommand, kGetStatusAbort);
  EXPECT_EQ(r.bmc_read(kStatus) & (kIbf | kCd), kIbf | kCd);
  EXPECT_EQ(r.bmc_read(kData), kGetStatusAbort);
  EXPECT_EQ(r.flags() & kIbf, 0);
}

TEST(KcsRegistersTest, TheBmcsReadOfInputClearsIbfAndKeepsCd) {
  for_every_prior_state([](uint8_t s, bool data, bool attention) {
    Registers r = make(s, data, attention, 0x42);
    EXPECT_EQ(r.bmc_read(kData), 0x42);
    EXPECT_EQ(r.flags(), s & ~kIbf);
    EXPECT_EQ(r.interrupt(), data || attention);
    EXPECT_EQ(r.bmc_read(kStatus), s & ~kIbf);
  });
}

TEST(KcsRegistersTest, TheBmcsWriteOfOutputSetsObfAndItsLatch) {
  for_every_prior_state([](uint8_t s, bool data, bool attention) {
    const Registers before = make(s, data, attention);
    for (int value = 0; value < 256; value += 5) {
      Registers r = before;
      r.bmc_write(kData, static_cast<uint8_t>(value));
      EXPECT_EQ(r.flags(), s | kObf);
      EXPECT_TRUE(r.interrupt());
      EXPECT_EQ(r.host_read(kData), value);
    }
  });
}

// Every bit of STR, every value written, every mask of one bit and of all, every prior state.
TEST(KcsRegistersTest, TheBmcsWriteOfStatusChangesItsOwnBitsAndNoOthers) {
  constexpr uint8_t kBmcs = 0xf4;  // S1 S0 OEM2 OEM1, SMS_ATN
  for_every_prior_state([](uint8_t s, bool data, bool attention) {
    const Registers before = make(s, data, attention);
    for (int value = 0; value < 256; ++value) {
      for (int mask : {0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xc0, 0x34, 0xff}) {
        Registers r = before;
        r.bmc_update(kStatus, static_cast<uint8_t>(mask), static_cast<uint8_t>(value));
        const int own = mask & kBmcs;
        const int after = (s & ~own) | (value & own);
        const bool rises = (after & 0x04) != 0 && (s & 0x04) == 0;
        const bool gone = (after & 0x04) == 0;
        const bool line = data || rises || (attention && !gone);
        // A million cases: the macro only for those that fail.
        if (r.flags() == after && r.interrupt() == line) continue;
        FAIL() << int(s) << " " << value << " " << mask << ": " << int(r.flags()) << " " << r.interrupt();
      }
    }
  });
}

TEST(KcsRegistersTest, OffsetsThatDoNotExistReadFfAndForgetWritesOnBothFaces) {
  for_every_prior_state([](uint8_t s, bool data, bool attention) {
    Registers r = make(s, data, attention, 0x31, 0x32);
    for (uint16_t offset : {2, 3, 0x100, 0xffff}) {
      EXPECT_EQ(r.host_read(offset), 0xff);
      EXPECT_EQ(r.bmc_read(offset), 0xff);
      r.host_write(offset, 0xff);
      r.bmc_write(offset, 0xff);
    }
    EXPECT_EQ(r.flags(), s);
    EXPECT_EQ(r.interrupt(), data || attention);
    EXPECT_EQ(r.host_read(kData), 0x32);
    EXPECT_EQ(r.bmc_read(kData), 0x31);
  });
}

TEST(KcsRegistersTest, ANewByteRaisesTheLineAgainAfterTheOldOneWasRead) {
  Registers r;
  r.bmc_write(kData, 1);
  EXPECT_TRUE(r.interrupt());
  r.host_read(kData);
  EXPECT_FALSE(r.interrupt());
  r.bmc_write(kData, 2);
  EXPECT_TRUE(r.interrupt());
}

TEST(KcsRegistersTest, AnAttentionThatStaysSetInterruptsOnce) {
  Registers r;
  r.bmc_update(kStatus, kSmsAtn, kSmsAtn);
  r.host_read(kStatus);
  r.bmc_update(kStatus, kSmsAtn, kSmsAtn);
  EXPECT_FALSE(r.interrupt());
  r.bmc_update(kStatus, kSmsAtn, 0);
  r.bmc_update(kStatus, kSmsAtn, kSmsAtn);
  EXPECT_TRUE(r.interrupt());
}

TEST(KcsRegistersTest, TheRuleTableNamesEachBitOnce) {
  int bits = 0;
  for (const BitRule& rule : status_rules()) {
    EXPECT_EQ(bits & rule.bit, 0) << rule.name;
    bits |= rule.bit;
    EXPECT_EQ(rule.host, WriteRule::kIgnored) << rule.name;
  }
  EXPECT_EQ(bits, 0xff);
}

}  // namespace
}  // namespace bmcpair::hardware::kcs
