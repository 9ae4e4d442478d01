#include "bmc_emu/hardware/bt/state_machine.h"

#include <gtest/gtest.h>

#include "bmc_emu/hardware/test_rig.h"

namespace bmcpair::hardware::bt {
namespace {

using namespace registers::bt;

class BtTest : public testing::Test {
 protected:
  BtTest() : rig(options_of(registers::InterfaceKind::kBt)) {}

  uint8_t flags() const { return rig.interface->peek_flags(); }

  void push(const Bytes& frame) {
    rig.write(kCtrl, kClrWrPtr);
    for (uint8_t b : frame) rig.write(kBuffer, b);
    rig.write(kCtrl, kH2bAtn);
  }
  // message: NetFn/LUN, Cmd, data.
  void send(const Bytes& message, uint8_t seq) {
    Bytes frame{static_cast<uint8_t>(message.size() + 1), message[0], seq};
    frame.insert(frame.end(), message.begin() + 1, message.end());
    push(frame);
  }
  // The frame without its length byte; empty when none is there.
  Bytes receive() {
    if (!rig.step_until(kB2hAtn, kB2hAtn)) return {};
    rig.write(kCtrl, kHBusy);
    rig.write(kCtrl, kB2hAtn);
    rig.write(kCtrl, kClrRdPtr);
    Bytes out(rig.read(kBuffer));
    for (uint8_t& b : out) b = rig.read(kBuffer);
    rig.write(kCtrl, kHBusy);
    return out;
  }
  TakenRequest settle_and_take() {
    EXPECT_TRUE(rig.settle());
    return rig.take();
  }

  Rig rig;
};

TEST_F(BtTest, AMessageGoesThereAndItsAnswerComesBackWithItsSeq) {
  for (int seq : {0, 1, 0x7f, 0xff}) {
    send({0x18, 0x01}, static_cast<uint8_t>(seq));
    const TakenRequest taken = settle_and_take();
    EXPECT_EQ(taken.message, (Bytes{0x18, 0x01}));
    ASSERT_TRUE(rig.respond(taken.token, {0x1c, 0x01, 0x00, 0x20}));
    EXPECT_EQ(receive(), (Bytes{0x1c, static_cast<uint8_t>(seq), 0x01, 0x00, 0x20}));
    EXPECT_TRUE(rig.settle());
    EXPECT_EQ(flags(), 0);
  }
}

TEST_F(BtTest, TheLongestMessagesGoBothWays) {
  ASSERT_EQ(rig.interface->request_bytes_max(), 254u);
  Bytes request(254, 0x5a);
  request[0] = 0x18;
  send(request, 9);
  const TakenRequest taken = settle_and_take();
  EXPECT_EQ(taken.message, request);
  Bytes answer(rig.interface->response_bytes_max(), 0xa5);
  answer[0] = 0x1c;
  ASSERT_TRUE(rig.respond(taken.token, answer));
  Bytes expected = answer;
  expected.insert(expected.begin() + 1, 9);
  EXPECT_EQ(receive(), expected);
}

// QEMU's length byte wraps here and the guest gets a truncated answer that says it is whole.
TEST_F(BtTest, AnAnswerTooLongBecomesCaAndTheLengthByteNeverWraps) {
  for (size_t size : {255u, 256u, 266u, 1000u}) {
    send({0x18, 0x01}, 3);
    const TakenRequest taken = settle_and_take();
    ASSERT_TRUE(rig.respond(taken.token, Bytes(size, 0x1c)));
    EXPECT_EQ(receive(), (Bytes{0x1c, 3, 0x01, 0xca})) << size;
  }
}

// The copy by the book, and what a host could see after each access of it (B.7).
TEST_F(BtTest, BusyCoversTheCopyAndNothingElse) {
  send({0x18, 0x01}, 5);
  EXPECT_EQ(flags(), kH2bAtn);
  rig.accesses.clear();
  const TakenRequest taken = settle_and_take();
  const struct {
    bool is_write;
    uint16_t offset;
    uint8_t value;
    uint8_t flags;
  } copy[] = {
      {false, kCtrl, kH2bAtn, kH2bAtn},
      {true, kCtrl, kBBusy, kBBusy | kH2bAtn},
      {true, kCtrl, kH2bAtn, kBBusy},
      {true, kCtrl, kClrRdPtr, kBBusy},
      {false, kBuffer, 3, kBBusy},
      {false, kBuffer, 0x18, kBBusy},
      {false, kBuffer, 5, kBBusy},
      {false, kBuffer, 0x01, kBBusy},
      {true, kCtrl, kBBusy, 0},
  };
  ASSERT_EQ(rig.accesses.size(), std::size(copy));
  for (size_t i = 0; i < std::size(copy); ++i) {
    EXPECT_EQ(rig.accesses[i].face, Face::kBmc);
    EXPECT_EQ(rig.accesses[i].is_write, copy[i].is_write) << i;
    EXPECT_EQ(rig.accesses[i].offset, copy[i].offset) << i;
    EXPECT_EQ(rig.accesses[i].value, copy[i].value) << i;
    EXPECT_EQ(rig.accesses[i].flags_after, copy[i].flags) << i;
  }
  EXPECT_TRUE(rig.interface->next_due() == kNever) << "the firmware is at work, the BMC not busy";

  rig.accesses.clear();
  ASSERT_TRUE(rig.respond(taken.token, {0x1c, 0x01, 0x00}));
  ASSERT_TRUE(rig.settle());
  const Bytes values{0, kClrWrPtr, 4, 0x1c, 5, 0x01, 0x00, kB2hAtn};
  ASSERT_EQ(rig.accesses.size(), values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(rig.accesses[i].value, values[i]) << i;
    EXPECT_EQ(rig.accesses[i].flags_after, i + 1 == values.size() ? kB2hAtn : 0) << i;
  }
}

TEST_F(BtTest, NothingMovesInsideTheHostsWrite) {
  send({0x18, 0x01}, 5);
  EXPECT_EQ(flags(), kH2bAtn);
  EXPECT_GT(rig.interface->next_due(), rig.now);
  const size_t before = rig.accesses.size();
  EXPECT_FALSE(rig.interface->step(rig.now).has_value());
  EXPECT_EQ(rig.accesses.size(), before);
}

// G-110: QEMU leaves B_BUSY set for ever here.
TEST_F(BtTest, AMalformedFrameIsDroppedAndTheBmcIsReadyForTheNext) {
  const Bytes frames[] = {
      {},                              // nothing at all
      {0},                             // an empty frame
      {1, 0x18},                       // no Seq
      {2, 0x18, 1},                    // no Cmd
      {0, 0x18, 1, 0x01},              // length too small
      {2, 0x18, 1, 0x01},              //
      {4, 0x18, 1, 0x01},              // length too large
      {255, 0x18, 1, 0x01},            //
      {3, 0x18, 1, 0x01, 0x00},        // more than the length says
      Bytes(256, 0xfe),                // full, and one short of its length byte's word
      Bytes(400, 0xff) /* the FIFO keeps 256: a whole frame of FFs */,
  };
  for (size_t i = 0; i < std::size(frames); ++i) {
    SCOPED_TRACE(i);
    push(frames[i]);
    ASSERT_TRUE(rig.settle());
    EXPECT_EQ(flags(), 0);
    const TakenRequest taken = rig.take();
    EXPECT_EQ(taken.message.empty(), i + 1 != std::size(frames));
    send({0x18, 0x01}, 7);
    const TakenRequest good = settle_and_take();
    EXPECT_EQ(good.message, (Bytes{0x18, 0x01}));
    ASSERT_TRUE(rig.respond(good.token, {0x1c, 0x01, 0x00}));
    EXPECT_EQ(receive(), (Bytes{0x1c, 7, 0x01, 0x00}));
    ASSERT_TRUE(rig.settle());
  }
}

TEST_F(BtTest, AHostThatRewindsUnderTheCopyGetsNoRequestOutOfBytesItDidNotWrite) {
  send({0x18, 0x01}, 7);
  ASSERT_TRUE(rig.step());  // the BMC has seen H2B_ATN
  rig.write(kCtrl, kClrWrPtr);
  ASSERT_TRUE(rig.settle());
  EXPECT_TRUE(rig.taken.empty());
  EXPECT_EQ(flags(), 0);
}

TEST_F(BtTest, AnAnswerWaitsUntilTheHostIsNeitherBusyNorHasOneUnread) {
  for (uint8_t held : {kHBusy, kB2hAtn}) {
    SCOPED_TRACE(int(held));
    if (held == kB2hAtn) {
      send({0x18, 0x08}, 1);
      const TakenRequest first = settle_and_take();
      ASSERT_TRUE(rig.respond(first.token, {0x1c, 0x08, 0x00}));
      ASSERT_TRUE(rig.settle());
    } else {
      rig.write(kCtrl, kHBusy);
    }
    EXPECT_EQ(flags(), held);
    send({0x18, 0x01}, 2);
    const TakenRequest taken = settle_and_take();
    ASSERT_TRUE(rig.respond(taken.token, {0x1c, 0x01, 0x00}));
    rig.accesses.clear();
    ASSERT_TRUE(rig.settle());
    EXPECT_EQ(rig.accesses.size(), 1u) << "it looks once and waits for the host";
    EXPECT_EQ(flags(), held);
    if (held == kB2hAtn) {
      EXPECT_EQ(receive(), (Bytes{0x1c, 1, 0x08, 0x00}));
    } else {
      rig.write(kCtrl, kHBusy);
    }
    EXPECT_EQ(receive(), (Bytes{0x1c, 2, 0x01, 0x00}));
    ASSERT_TRUE(rig.settle());
    EXPECT_EQ(flags(), 0);
  }
}

TEST_F(BtTest, ANewRequestMakesTheOneBeforeStale) {
  send({0x18, 0x01}, 1);
  const TakenRequest old = settle_and_take();
  send({0x18, 0x08}, 2);
  const TakenRequest fresh = settle_and_take();
  EXPECT_EQ(fresh.message, (Bytes{0x18, 0x08}));
  EXPECT_FALSE(rig.respond(old.token, {0x1c, 0x01, 0x00}));
  ASSERT_TRUE(rig.respond(fresh.token, {0x1c, 0x08, 0x00}));
  EXPECT_EQ(receive(), (Bytes{0x1c, 2, 0x08, 0x00}));
}

// G-104, G-105: a new request at every point of the old answer's way. It is never lost; the old answer is either
// dropped, or finished when its copy had begun.
TEST_F(BtTest, ANewRequestIsNeverLostWhereverItMeetsTheOldAnswer) {
  for (int steps = 0; steps <= 8; ++steps) {
    SCOPED_TRACE(steps);
    Rig other(options_of(registers::InterfaceKind::kBt));
    std::swap(rig.interface, other.interface);
    rig.interface->set_trace(&rig);
    rig.taken.clear();
    send({0x18, 0x01}, 1);
    const TakenRequest old = settle_and_take();
    ASSERT_TRUE(rig.respond(old.token, {0x1c, 0x01, 0x00}));
    for (int i = 0; i < steps; ++i) ASSERT_TRUE(rig.step());
    send({0x18, 0x08}, 2);
    const TakenRequest fresh = settle_and_take();
    EXPECT_EQ(fresh.message, (Bytes{0x18, 0x08}));
    EXPECT_EQ(flags(), steps == 0 ? 0 : kB2hAtn);
    if (steps != 0) {
      EXPECT_EQ(receive(), (Bytes{0x1c, 1, 0x01, 0x00}));
    }
    ASSERT_TRUE(rig.respond(fresh.token, {0x1c, 0x08, 0x00}));
    EXPECT_EQ(receive(), (Bytes{0x1c, 2, 0x08, 0x00}));
  }
}

TEST_F(BtTest, TheInterruptRisesWithTheAnswerAndFallsWhenAcknowledged) {
  rig.write(kIntMask, 0x01);
  send({0x18, 0x01}, 1);
  const TakenRequest taken = settle_and_take();
  EXPECT_FALSE(rig.interface->interrupt_line());
  ASSERT_TRUE(rig.respond(taken.token, {0x1c, 0x01, 0x00}));
  ASSERT_TRUE(rig.settle());
  EXPECT_TRUE(rig.interface->interrupt_line());
  rig.write(kIntMask, 0x03);
  EXPECT_FALSE(rig.interface->interrupt_line());
}

TEST_F(BtTest, AttentionIsToldOnceAndTheHostsClearStandsUntilItIsWantedAnew) {
  rig.interface->set_attention(true, rig.now);
  EXPECT_EQ(flags(), 0) << "it is an access of its own, later";
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(flags(), kSmsAtn);
  rig.write(kCtrl, kSmsAtn);
  rig.interface->set_attention(true, rig.now);
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(flags(), 0);
  rig.interface->set_attention(false, rig.now);
  rig.interface->set_attention(true, rig.now);
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(flags(), kSmsAtn);
  rig.interface->set_attention(false, rig.now);
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(flags(), kSmsAtn) << "only the host clears it";
}

TEST_F(BtTest, AttentionWithdrawnBeforeItWasToldIsNotTold) {
  rig.interface->set_attention(true, rig.now);
  rig.interface->set_attention(false, rig.now);
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(flags(), 0);
}

TEST_F(BtTest, AttentionAndOemDisturbNoCopyWhereverTheyMeetIt) {
  for (int distance = 0; distance < 10; ++distance) {
    Rig other(options_of(registers::InterfaceKind::kBt));
    std::swap(rig.interface, other.interface);
    rig.interface->set_trace(&rig);
    send({0x18, 0x01}, 4);
    for (int i = 0; i < distance; ++i) rig.step();
    rig.interface->set_attention(true, rig.now);
    rig.interface->set_oem_bits(0xff, rig.now);
    const TakenRequest taken = settle_and_take();
    EXPECT_EQ(taken.message, (Bytes{0x18, 0x01}));
    EXPECT_EQ(flags(), kSmsAtn | kOem0);
    rig.interface->set_oem_bits(0x00, rig.now);
    ASSERT_TRUE(rig.settle());
    EXPECT_EQ(flags(), kSmsAtn);
  }
}

TEST_F(BtTest, AHardwareResetRequestIsTakenOnce) {
  EXPECT_FALSE(rig.interface->take_hardware_reset_request());
  rig.write(kIntMask, 0x80);
  EXPECT_EQ(rig.read(kIntMask), 0);
  EXPECT_TRUE(rig.interface->take_hardware_reset_request());
  EXPECT_FALSE(rig.interface->take_hardware_reset_request());
}

TEST_F(BtTest, ABmcThatIsAwayIsBusyAndTakesWhatWaitsWhenItIsBack) {
  rig.write(kIntMask, 0x01);
  send({0x18, 0x01}, 1);
  const TakenRequest old = settle_and_take();
  rig.interface->go_offline(rig.now);
  rig.interface->go_offline(rig.now);
  EXPECT_EQ(flags(), kBBusy);
  EXPECT_FALSE(rig.respond(old.token, {0x1c, 0x01, 0x00}));
  send({0x18, 0x08}, 2);
  rig.interface->set_attention(true, rig.now);
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(flags(), kBBusy | kH2bAtn);
  EXPECT_TRUE(rig.taken.empty());
  rig.interface->come_online(rig.now);
  rig.interface->come_online(rig.now);
  EXPECT_EQ(flags() & kBBusy, 0);
  const TakenRequest fresh = settle_and_take();
  EXPECT_EQ(fresh.message, (Bytes{0x18, 0x08}));
  EXPECT_EQ(flags(), kSmsAtn);
  ASSERT_TRUE(rig.respond(fresh.token, {0x1c, 0x08, 0x00}));
  EXPECT_EQ(receive(), (Bytes{0x1c, 2, 0x08, 0x00}));
}

TEST_F(BtTest, AResetInTheMiddleOfAnyCopyLeavesNothingBehind) {
  for (int steps = 0; steps < 20; ++steps) {
    send({0x18, 0x01}, 1);
    for (int i = 0; i < steps; ++i) rig.step();
    const uint32_t token = rig.take().token;
    if (token != 0) {
      ASSERT_TRUE(rig.respond(token, {0x1c, 0x01, 0x00}));
      for (int i = 0; i < steps - 10; ++i) rig.step();
    }
    rig.interface->go_offline(rig.now);
    EXPECT_EQ(flags(), kBBusy) << steps;
    rig.interface->come_online(rig.now);
    ASSERT_TRUE(rig.settle());
    EXPECT_EQ(flags(), 0) << steps;
    EXPECT_TRUE(rig.taken.empty()) << steps;
    EXPECT_FALSE(rig.respond(token, {0x1c, 0x01, 0x00})) << steps;
    EXPECT_EQ(rig.read(kBuffer), 0xff) << "the old answer's bytes are gone";
  }
}

}  // namespace
}  // namespace bmcpair::hardware::bt
