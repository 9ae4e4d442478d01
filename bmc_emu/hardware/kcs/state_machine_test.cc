#include "bmc_emu/hardware/kcs/state_machine.h"

#include <gtest/gtest.h>

#include "bmc_emu/hardware/test_rig.h"

namespace bmcpair::hardware::kcs {
namespace {

using namespace registers::kcs;

constexpr uint8_t kErrorBits = 0xc0;
constexpr uint8_t kWriteBits = 0x80;
constexpr uint8_t kReadBits = 0x40;

// A host that does what the specification's flow charts say (§9.15, figures 9-6 and 9-7).
class KcsTest : public testing::Test {
 protected:
  KcsTest() : rig(options_of(registers::InterfaceKind::kKcs)) {}

  uint8_t flags() const { return rig.interface->peek_flags(); }
  State state() const { return state_of(flags()); }

  // Writes, waits for IBF to drop.
  void put(uint16_t offset, uint8_t value) {
    rig.write(offset, value);
    ASSERT_TRUE(rig.step_until(kIbf, 0));
  }
  void drain() {
    if ((rig.read(kStatus) & kObf) != 0) rig.read(kData);
  }
  void send(const Bytes& request) {
    put(kCommand, kWriteStart);
    drain();
    for (size_t i = 0; i < request.size(); ++i) {
      ASSERT_EQ(state(), State::kWrite) << "before byte " << i;
      if (i + 1 == request.size()) {
        put(kCommand, kWriteEnd);
        ASSERT_EQ(state(), State::kWrite);
        drain();
      }
      put(kData, request[i]);
      drain();
    }
  }
  Bytes receive() {
    Bytes out;
    while (rig.step_until(kObf, kObf)) {
      const uint8_t status = rig.read(kStatus);
      const uint8_t byte = rig.read(kData);
      if (state_of(status) == State::kIdle) return out;  // the dummy byte
      if (state_of(status) != State::kRead) {
        ADD_FAILURE() << "status " << int(status);
        return out;
      }
      out.push_back(byte);
      put(kData, kRead);
    }
    ADD_FAILURE() << "no byte came";
    return out;
  }
  // GET_STATUS/ABORT by the book; the error code that the BMC gave.
  int get_status() {
    put(kCommand, kGetStatusAbort);
    EXPECT_EQ(state(), State::kWrite);
    drain();
    put(kData, 0x00);
    EXPECT_EQ(state(), State::kRead);
    if (!rig.step_until(kObf, kObf)) return -1;
    const int code = rig.read(kData);
    put(kData, kRead);
    EXPECT_EQ(state(), State::kIdle);
    if (!rig.step_until(kObf, kObf)) return -1;
    rig.read(kData);
    EXPECT_TRUE(rig.settle());
    EXPECT_EQ(flags() & (kObf | kIbf | kStateMask), 0);
    return code;
  }
  // Any state at all into IDLE.
  Bytes transact(const Bytes& request, const Bytes& response) {
    send(request);
    EXPECT_TRUE(rig.settle());
    TakenRequest taken = rig.take();
    EXPECT_EQ(taken.message, request);
    EXPECT_TRUE(rig.respond(taken.token, response));
    Bytes got = receive();
    EXPECT_TRUE(rig.settle());
    return got;
  }

  Rig rig;
};

TEST_F(KcsTest, AMessageGoesThereAndItsAnswerComesBack) {
  const Bytes answer{0x1c, 0x01, 0x00, 0x20, 0x01};
  EXPECT_EQ(transact({0x18, 0x01}, answer), answer);
  EXPECT_EQ(flags() & (kStateMask | kObf | kIbf), 0);
}

TEST_F(KcsTest, TheLongestMessagesGoBothWays) {
  Bytes request(rig.interface->request_bytes_max(), 0x5a);
  request[0] = 0x18;
  Bytes answer(rig.interface->response_bytes_max(), 0xa5);
  answer[0] = 0x1c;
  EXPECT_EQ(transact(request, answer), answer);
}

TEST_F(KcsTest, NothingMovesInsideTheHostsWrite) {
  rig.write(kCommand, kWriteStart);
  ASSERT_EQ(rig.accesses.size(), 1u);
  EXPECT_EQ(flags(), kIbf | kCd);
  EXPECT_GT(rig.interface->next_due(), rig.now);
  EXPECT_FALSE(rig.interface->step(rig.now).has_value());
  EXPECT_EQ(rig.accesses.size(), 1u) << "not due yet";
}

// The whole order of A.4: what the BMC touches, and what the host could see after each of it.
TEST_F(KcsTest, StateAndDummyByteAreInPlaceBeforeIbfDrops) {
  rig.write(kCommand, kWriteStart);
  rig.accesses.clear();
  ASSERT_TRUE(rig.settle());
  ASSERT_EQ(rig.accesses.size(), 4u);
  const struct {
    bool is_write;
    uint16_t offset;
    uint8_t flags;
  } expected[] = {
      {false, kStatus, kIbf | kCd},
      {true, kStatus, kWriteBits | kIbf | kCd},
      {true, kData, kWriteBits | kIbf | kCd | kObf},
      {false, kData, kWriteBits | kCd | kObf},
  };
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(rig.accesses[i].face, Face::kBmc);
    EXPECT_EQ(rig.accesses[i].is_write, expected[i].is_write) << i;
    EXPECT_EQ(rig.accesses[i].offset, expected[i].offset) << i;
    EXPECT_EQ(rig.accesses[i].flags_after, expected[i].flags) << i;
  }
}

TEST_F(KcsTest, StateIsIdleBeforeTheFinalReadOfInput) {
  send({0x18, 0x01});
  ASSERT_TRUE(rig.settle());
  ASSERT_TRUE(rig.respond(rig.take().token, {0x1c, 0x01, 0x00}));
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(rig.step_until(kObf, kObf));
    rig.read(kData);
    ASSERT_EQ(state(), State::kRead);
    rig.write(kData, kRead);
    if (i < 2) {
      ASSERT_TRUE(rig.step_until(kIbf, 0));
    }
  }
  bool seen_with_ibf = false;
  while ((flags() & kIbf) != 0) {
    seen_with_ibf = seen_with_ibf || state() == State::kIdle;
    ASSERT_TRUE(rig.step());
  }
  EXPECT_TRUE(seen_with_ibf);
  EXPECT_EQ(flags() & kObf, 0) << "the dummy byte comes after IBF has dropped";
  ASSERT_TRUE(rig.step_until(kObf, kObf));
  EXPECT_EQ(rig.read(kData), 0);
}

TEST_F(KcsTest, AnIllegalControlCodeIsError02AndRecovers) {
  // What Linux's register spacing probe writes; it takes the first spacing whose status is not 0 then.
  put(kCommand, 0x10);
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(flags() & (kStateMask | kObf | kIbf), kErrorBits | kObf);
  drain();
  EXPECT_EQ(get_status(), 0x02);
  EXPECT_EQ(transact({0x18, 0x01}, {0x1c, 0x01, 0x00}), (Bytes{0x1c, 0x01, 0x00}));
}

TEST_F(KcsTest, EveryControlCodeButThreeIsIllegal) {
  for (int code = 0; code < 256; ++code) {
    if (code >= kGetStatusAbort && code <= kWriteEnd) continue;
    put(kCommand, kWriteStart);  // forgets the error before
    put(kCommand, static_cast<uint8_t>(code));
    ASSERT_TRUE(rig.settle());
    ASSERT_EQ(state(), State::kError) << code;
    drain();
    ASSERT_EQ(get_status(), 0x02) << code;
  }
}

TEST_F(KcsTest, AnAbortOutOfIdleIsError01) { EXPECT_EQ(get_status(), 0x01); }

TEST_F(KcsTest, AnErrorCodeStaysUntilTheNextWriteStart) {
  put(kCommand, 0x33);
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(get_status(), 0x02);
  EXPECT_EQ(get_status(), 0x02);
  transact({0x18, 0x01}, {0x1c, 0x01, 0x00});
  EXPECT_EQ(get_status(), 0x01);
}

TEST_F(KcsTest, AnOverlongRequestIsError06) {
  put(kCommand, kWriteStart);
  drain();
  for (size_t i = 0; i < rig.interface->request_bytes_max() - 1; ++i) {
    put(kData, 0x11);
    ASSERT_EQ(state(), State::kWrite) << i;
    drain();
  }
  put(kData, 0x11);
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(state(), State::kError);
  drain();
  EXPECT_EQ(get_status(), 0x06);
  EXPECT_TRUE(rig.taken.empty());
}

TEST_F(KcsTest, AWriteEndWithNothingWrittenIsAnErrorAndNoRequest) {
  put(kCommand, kWriteStart);
  put(kCommand, kWriteEnd);
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(state(), State::kError);
  EXPECT_TRUE(rig.taken.empty());
  EXPECT_EQ(get_status(), 0x01);
}

TEST_F(KcsTest, DataOutOfPlaceIsAnError) {
  put(kData, 0x68);  // idle
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(state(), State::kError);
  put(kData, 0x00);  // in the error state
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(state(), State::kError);
  EXPECT_EQ(get_status(), 0x01);
  send({0x18, 0x01});
  ASSERT_TRUE(rig.settle());
  const TakenRequest taken = rig.take();
  put(kData, 0x68);  // while the firmware works
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(state(), State::kError);
  EXPECT_FALSE(rig.respond(taken.token, {0x1c, 0x01, 0x00}));
}

TEST_F(KcsTest, AnythingButReadInTheReadPhaseIsAnError) {
  send({0x18, 0x01});
  ASSERT_TRUE(rig.settle());
  ASSERT_TRUE(rig.respond(rig.take().token, {0x1c, 0x01, 0x00}));
  ASSERT_TRUE(rig.step_until(kObf, kObf));
  EXPECT_EQ(rig.read(kData), 0x1c);
  put(kData, 0x69);
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(flags() & (kStateMask | kObf), kErrorBits | kObf);
  EXPECT_EQ(rig.read(kData), 0);
  EXPECT_EQ(get_status(), 0x01);
}

TEST_F(KcsTest, AnAbortInEveryPhaseLeadsBackToIdleAndMakesTheRequestStale) {
  const Bytes request{0x18, 0x01, 0x02};
  const Bytes answer{0x1c, 0x01, 0x00, 0x55};
  // How many host writes of a transaction happen before the abort: 1 start, 2 data, 1 end, 1 data, 4 reads.
  for (int writes = 0; writes <= 9; ++writes) {
    SCOPED_TRACE(writes);
    uint32_t token = 0;
    for (int i = 0; i < writes; ++i) {
      if (i == 0) put(kCommand, kWriteStart);
      if (i == 1 || i == 2) put(kData, request[static_cast<size_t>(i - 1)]);
      if (i == 3) put(kCommand, kWriteEnd);
      if (i == 4) {
        put(kData, request[2]);
        ASSERT_TRUE(rig.settle());
        token = rig.take().token;
        ASSERT_NE(token, 0u);
        if (writes > 5) {
          ASSERT_TRUE(rig.respond(token, answer));
        }
      }
      if (i > 4) {
        ASSERT_TRUE(rig.step_until(kObf, kObf));
        rig.read(kData);
        put(kData, kRead);
      }
    }
    if (writes == 5) {
      EXPECT_TRUE(rig.interface->next_due() == kNever) << "the firmware is at work";
    }
    EXPECT_EQ(get_status(), 0x01);
    EXPECT_FALSE(rig.respond(token, answer));
    EXPECT_EQ(transact({0x18, 0x08}, {0x1c, 0x08, 0x00}), (Bytes{0x1c, 0x08, 0x00}));
  }
}

TEST_F(KcsTest, ANewWriteStartReplacesARequestInFlight) {
  send({0x18, 0x01});
  ASSERT_TRUE(rig.settle());
  const TakenRequest old = rig.take();
  send({0x18, 0x08});
  ASSERT_TRUE(rig.settle());
  const TakenRequest fresh = rig.take();
  EXPECT_NE(old.token, fresh.token);
  EXPECT_FALSE(rig.respond(old.token, {0x1c, 0x01, 0x00}));
  EXPECT_TRUE(rig.respond(fresh.token, {0x1c, 0x08, 0x00}));
  EXPECT_EQ(receive(), (Bytes{0x1c, 0x08, 0x00}));
}

TEST_F(KcsTest, AnAbortWrittenOverAByteThatTheBmcHasNotTakenIsTheOneThatCounts) {
  put(kCommand, kWriteStart);
  rig.write(kData, 0x18);
  rig.write(kCommand, kGetStatusAbort);
  ASSERT_TRUE(rig.step_until(kIbf, 0));
  drain();
  put(kData, 0);
  EXPECT_EQ(state(), State::kRead);
  ASSERT_TRUE(rig.step_until(kObf, kObf));
  EXPECT_EQ(rig.read(kData), 0x01);
}

TEST_F(KcsTest, AnAnswerTooLongBecomesCaAndOneTooShortBecomesFf) {
  EXPECT_EQ(transact({0x19, 0x01}, Bytes(rig.interface->response_bytes_max() + 1, 0x77)), (Bytes{0x1d, 0x01, 0xca}));
  EXPECT_EQ(transact({0x18, 0x01}, {0x1c, 0x01}), (Bytes{0x1c, 0x01, 0xff}));
}

TEST_F(KcsTest, ATokenAnswersOnce) {
  send({0x18, 0x01});
  ASSERT_TRUE(rig.settle());
  const TakenRequest taken = rig.take();
  EXPECT_FALSE(rig.respond(0, {0x1c, 0x01, 0x00}));
  EXPECT_FALSE(rig.respond(taken.token + 1, {0x1c, 0x01, 0x00}));
  EXPECT_TRUE(rig.respond(taken.token, {0x1c, 0x01, 0x00}));
  EXPECT_FALSE(rig.respond(taken.token, {0x1c, 0x01, 0x00}));
}

TEST_F(KcsTest, AttentionIsCarriedByOneAccessAndDisturbsNoTransfer) {
  put(kCommand, kWriteStart);
  rig.interface->set_attention(true, rig.now);
  EXPECT_EQ(flags() & kSmsAtn, 0) << "it is an access of its own, later";
  ASSERT_TRUE(rig.step_until(kSmsAtn, kSmsAtn));
  EXPECT_EQ(state(), State::kWrite);
  EXPECT_TRUE(rig.interface->interrupt_line());
  for (uint8_t byte : {0x18, 0x01}) {
    if (byte == 0x01) put(kCommand, kWriteEnd);
    put(kData, byte);
  }
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(rig.take().message, (Bytes{0x18, 0x01}));
  EXPECT_EQ(flags() & (kStateMask | kSmsAtn), kReadBits | kSmsAtn);
  rig.interface->set_attention(false, rig.now);
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(flags() & (kStateMask | kSmsAtn), kReadBits);
}

// G-95: the two contexts of a BMC that change its status register, at every distance from each other.
TEST_F(KcsTest, NeitherStateNorAttentionIsLostWhereverTheyMeet) {
  for (int distance = 0; distance < 6; ++distance) {
    Rig other(options_of(registers::InterfaceKind::kKcs));
    other.write(kCommand, kWriteStart);
    for (int i = 0; i < distance; ++i) other.step();
    other.interface->set_attention(true, other.now);
    other.interface->set_oem_bits(0x30, other.now);
    ASSERT_TRUE(other.settle());
    EXPECT_EQ(other.interface->peek_flags(), kWriteBits | kOem1 | kOem2 | kCd | kSmsAtn | kObf) << distance;
    uint8_t side_band = 0;
    for (const Access& access : other.accesses) {
      EXPECT_EQ(access.flags_after & side_band, side_band) << "lost, if only for a while, at distance " << distance;
      side_band = access.flags_after & (kOem1 | kOem2 | kSmsAtn);
    }
  }
}

TEST_F(KcsTest, OnlyTheTwoOemBitsCanBeDriven) {
  rig.interface->set_oem_bits(0xff, rig.now);
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(flags(), kOem1 | kOem2);
  rig.interface->set_oem_bits(0xdf, rig.now);
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(flags(), kOem1);
}

TEST_F(KcsTest, ABmcThatIsAwayShowsErrorAndHoldsIbf) {
  rig.interface->go_offline(rig.now);
  EXPECT_FALSE(rig.interface->online());
  EXPECT_EQ(flags(), kErrorBits);
  rig.write(kCommand, kGetStatusAbort);
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(flags(), kErrorBits | kIbf | kCd);
  EXPECT_TRUE(rig.interface->next_due() == kNever);
  rig.interface->come_online(rig.now);
  ASSERT_TRUE(rig.step_until(kIbf, 0));  // what waited is taken now
  EXPECT_EQ(state(), State::kWrite);
}

TEST_F(KcsTest, AResetBetweenTransfersComesBackIdleAndOneInTheMiddleComesBackAsAnError) {
  rig.interface->go_offline(rig.now);
  rig.interface->come_online(rig.now);
  EXPECT_EQ(flags(), 0);
  send({0x18, 0x01});
  ASSERT_TRUE(rig.settle());
  const TakenRequest taken = rig.take();
  rig.interface->go_offline(rig.now);
  EXPECT_FALSE(rig.respond(taken.token, {0x1c, 0x01, 0x00}));
  rig.interface->come_online(rig.now);
  EXPECT_EQ(state(), State::kError);
  EXPECT_FALSE(rig.respond(taken.token, {0x1c, 0x01, 0x00}));
  EXPECT_EQ(get_status(), 0x01);
  EXPECT_EQ(transact({0x18, 0x01}, {0x1c, 0x01, 0x00}), (Bytes{0x1c, 0x01, 0x00}));
}

TEST_F(KcsTest, AttentionAndOemBitsComeBackAfterAReset) {
  rig.interface->set_attention(true, rig.now);
  rig.interface->set_oem_bits(0x20, rig.now);
  ASSERT_TRUE(rig.settle());
  rig.interface->go_offline(rig.now);
  EXPECT_EQ(flags(), kErrorBits);
  EXPECT_FALSE(rig.interface->interrupt_line());
  rig.interface->come_online(rig.now);
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(flags(), kOem2 | kSmsAtn);
  EXPECT_TRUE(rig.interface->interrupt_line());
}

}  // namespace
}  // namespace bmcpair::hardware::kcs
