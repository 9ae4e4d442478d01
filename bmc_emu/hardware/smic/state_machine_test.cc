#include "bmc_emu/hardware/smic/state_machine.h"

#include <gtest/gtest.h>

#include "bmc_emu/hardware/test_rig.h"

namespace bmcpair::hardware::smic {
namespace {

using namespace registers::smic;

class SmicTest : public testing::Test {
 protected:
  SmicTest() : rig(options_of(registers::InterfaceKind::kSmic)) {}

  uint8_t flags() const { return rig.interface->peek_flags(); }

  // Status code and data byte that answer a control code.
  std::pair<int, int> control(uint8_t code, int data = -1) {
    if (data >= 0) rig.write(kData, static_cast<uint8_t>(data));
    rig.write(kControl, code);
    rig.write(kFlags, static_cast<uint8_t>(rig.read(kFlags) | kBusy));
    EXPECT_TRUE(rig.step_until(kBusy, 0));
    return {rig.read(kStatus), rig.read(kData)};
  }
  void send(const Bytes& request) {
    EXPECT_EQ(control(kGetStatus).first, 0xc0);
    for (size_t i = 0; i < request.size(); ++i) {
      const bool last = i + 1 == request.size();
      const uint8_t code = i == 0 ? kWriteStart : last ? kWriteEnd : kWriteNext;
      const auto got = control(code, request[i]);
      ASSERT_EQ(got.first, code | 0x80) << i;
      if (last) {
        ASSERT_EQ(got.second, 0);
      } else {
        ASSERT_NE(flags() & kTxDataReady, 0) << i;
      }
    }
  }
  Bytes receive() {
    Bytes out;
    if (!rig.step_until(kRxDataReady, kRxDataReady)) return out;
    auto got = control(kReadStart);
    if (got.first != 0xc4) return out;
    out.push_back(static_cast<uint8_t>(got.second));
    do {
      EXPECT_NE(flags() & kRxDataReady, 0);
      got = control(kReadNext);
      if (got.first != 0xc5 && got.first != 0xc6) return {};
      out.push_back(static_cast<uint8_t>(got.second));
    } while (got.first == 0xc5);
    EXPECT_EQ(control(kReadEnd), (std::pair<int, int>(0xc0, 0)));
    return out;
  }
  Bytes transact(const Bytes& request, const Bytes& answer) {
    send(request);
    EXPECT_TRUE(rig.settle());
    const TakenRequest taken = rig.take();
    EXPECT_EQ(taken.message, request);
    EXPECT_TRUE(rig.respond(taken.token, answer));
    return receive();
  }

  Rig rig;
};

TEST_F(SmicTest, MessagesOfEverySizeGoBothWays) {
  for (size_t size = 3; size <= rig.interface->response_bytes_max(); ++size) {
    Bytes request(size - 1);
    Bytes answer(size);
    for (size_t i = 0; i < size; ++i) answer[i] = static_cast<uint8_t>(i * 3);
    for (size_t i = 0; i + 1 < size; ++i) request[i] = static_cast<uint8_t>(i * 5);
    ASSERT_EQ(transact(request, answer), answer) << size;
  }
}

TEST_F(SmicTest, BusyDropsLastSoThatStatusAndDataAreInPlace) {
  rig.write(kData, 0x18);
  rig.write(kControl, kWriteStart);
  EXPECT_TRUE(rig.interface->next_due() == kNever) << "only BUSY starts it";
  rig.write(kFlags, kBusy);
  rig.accesses.clear();
  ASSERT_TRUE(rig.settle());
  ASSERT_EQ(rig.accesses.size(), 5u);  // control, data; data, status, flags
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(rig.accesses[i].flags_after & kBusy, i < 4 ? kBusy : 0) << i;
  EXPECT_EQ(rig.accesses[4].offset, kFlags);
}

TEST_F(SmicTest, AnIllegalControlCodeIsError02) {
  for (int code = 0; code < 256; ++code) {
    if (code >= kGetStatus && code <= kReadEnd) continue;
    EXPECT_EQ(control(static_cast<uint8_t>(code)), (std::pair<int, int>(0xc0, 0x02))) << code;
  }
}

TEST_F(SmicTest, ACodeOutOfPlaceIsError04) {
  for (uint8_t code : {kWriteNext, kWriteEnd, kReadStart, kReadNext, kReadEnd}) {
    EXPECT_EQ(control(code, 0x55), (std::pair<int, int>(0xc0, 0x04))) << int(code);
  }
}

TEST_F(SmicTest, ReadingBeforeThereIsAnAnswerIsError03) {
  send({0x18, 0x01});
  EXPECT_EQ(control(kReadStart), (std::pair<int, int>(0xc0, 0x03)));
  EXPECT_EQ(flags() & kRxDataReady, 0);
  ASSERT_TRUE(rig.respond(rig.take().token, {0x1c, 0x01, 0x00}));
  EXPECT_EQ(receive(), (Bytes{0x1c, 0x01, 0x00}));
}

TEST_F(SmicTest, AnOverlongRequestIsError05AndTheNextOneWorks) {
  EXPECT_EQ(control(kWriteStart, 0x18).first, 0xc1);
  for (size_t i = 1; i < kMessageBytesMax; ++i) ASSERT_EQ(control(kWriteNext, 0x11).first, 0xc2) << i;
  EXPECT_EQ(control(kWriteNext, 0x11), (std::pair<int, int>(0xc0, 0x05)));
  EXPECT_TRUE(rig.taken.empty());
  EXPECT_EQ(transact({0x18, 0x01}, {0x1c, 0x01, 0x00}), (Bytes{0x1c, 0x01, 0x00}));
}

TEST_F(SmicTest, GetStatusLooksAndChangesNothing) {
  EXPECT_EQ(control(kWriteStart, 0x18).first, 0xc1);
  EXPECT_EQ(control(kGetStatus), (std::pair<int, int>(0xc0, 0x00)));
  EXPECT_EQ(control(kWriteEnd, 0x01), (std::pair<int, int>(0xc3, 0x00)));
  ASSERT_TRUE(rig.respond(rig.take().token, {0x1c, 0x01, 0x00}));
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(control(kGetStatus), (std::pair<int, int>(0xc0, 0x00)));
  EXPECT_EQ(receive(), (Bytes{0x1c, 0x01, 0x00}));
}

TEST_F(SmicTest, ANewWriteStartMakesTheRequestBeforeStale) {
  send({0x18, 0x01});
  const TakenRequest old = rig.take();
  EXPECT_EQ(control(kWriteStart, 0x18).first, 0xc1);
  EXPECT_FALSE(rig.respond(old.token, {0x1c, 0x01, 0x00}));
  EXPECT_EQ(control(kWriteEnd, 0x08).first, 0xc3);
  ASSERT_TRUE(rig.respond(rig.take().token, {0x1c, 0x08, 0x00}));
  EXPECT_EQ(receive(), (Bytes{0x1c, 0x08, 0x00}));
}

TEST_F(SmicTest, AnAnswerCanBeReadAgainFromItsFirstByte) {
  send({0x18, 0x01});
  ASSERT_TRUE(rig.respond(rig.take().token, {0x1c, 0x01, 0x00}));
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(control(kReadStart), (std::pair<int, int>(0xc4, 0x1c)));
  EXPECT_EQ(control(kReadNext), (std::pair<int, int>(0xc5, 0x01)));
  EXPECT_EQ(receive(), (Bytes{0x1c, 0x01, 0x00}));
  EXPECT_EQ(control(kReadNext), (std::pair<int, int>(0xc0, 0x04)));
}

TEST_F(SmicTest, AnAnswerTooLongBecomesCa) {
  EXPECT_EQ(transact({0x18, 0x01}, Bytes(kMessageBytesMax + 1, 0x77)), (Bytes{0x1c, 0x01, 0xca}));
}

TEST_F(SmicTest, AttentionFollowsTheFirmware) {
  rig.interface->set_attention(true, rig.now);
  EXPECT_EQ(flags() & kSmsAtn, 0);
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(flags() & kSmsAtn, kSmsAtn);
  EXPECT_TRUE(rig.interface->interrupt_line());
  EXPECT_EQ(transact({0x18, 0x01}, {0x1c, 0x01, 0x00}), (Bytes{0x1c, 0x01, 0x00}));
  EXPECT_EQ(flags() & kSmsAtn, kSmsAtn);
  rig.interface->set_attention(false, rig.now);
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(flags() & kSmsAtn, 0);
}

TEST_F(SmicTest, ABmcThatIsAwayIsBusyAndComesBackReady) {
  send({0x18, 0x01});
  const TakenRequest old = rig.take();
  rig.interface->go_offline(rig.now);
  rig.write(kControl, kGetStatus);
  rig.write(kFlags, kBusy);
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(flags(), kBusy);
  EXPECT_FALSE(rig.respond(old.token, {0x1c, 0x01, 0x00}));
  rig.interface->come_online(rig.now);
  EXPECT_EQ(flags(), kTxDataReady);
  EXPECT_EQ(transact({0x18, 0x01}, {0x1c, 0x01, 0x00}), (Bytes{0x1c, 0x01, 0x00}));
}

}  // namespace
}  // namespace bmcpair::hardware::smic
