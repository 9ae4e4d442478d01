#include "proto/vm_protocol/frame.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <vector>

namespace bmcpair::vm_protocol {
namespace {

using ::testing::ElementsAre;
using Kind = Frame::Kind;
using Fault = Frame::Fault;

Bytes bytes(std::string_view text) {
  auto parsed = from_hex(text);
  EXPECT_TRUE(parsed) << text;
  return parsed.value_or(Bytes{});
}

std::vector<Frame> decode_all(Decoder& decoder, ByteView in) {
  std::vector<Frame> out;
  while (auto frame = decoder.next(in)) out.push_back(std::move(*frame));
  EXPECT_TRUE(in.empty());
  return out;
}
std::vector<Frame> decode_all(std::string_view text, size_t least = kRequestBodyBytesMin) {
  Decoder decoder(least);
  return decode_all(decoder, bytes(text));
}

Frame message(uint8_t sequence, Bytes data, size_t body_bytes) {
  return {Kind::kMessage, Fault::kNone, sequence, 0, std::move(data), body_bytes};
}
Frame control(uint8_t code, Bytes data, size_t body_bytes) {
  return {Kind::kControl, Fault::kNone, 0, code, std::move(data), body_bytes};
}
Frame bad(Fault fault, size_t body_bytes) { return {Kind::kBad, fault, 0, 0, {}, body_bytes}; }

// reference qemu_and_vm_protocol.md §1.
TEST(VmFrame, TheReferencesGetDeviceIdIsRead) {
  EXPECT_THAT(decode_all("00 18 01 e7 a0"), ElementsAre(message(0, {0x18, 0x01}, 4)));
  EXPECT_EQ(encode_message(0, Bytes{0x18, 0x01}), bytes("00 18 01 e7 a0"));
}

TEST(VmFrame, WhatQemuSendsOnConnectIsTwoControls) {
  EXPECT_THAT(decode_all("ff 01 a1 08 3f a1"), ElementsAre(control(0xff, {1}, 2), control(0x08, {0x3f}, 2)));
}

TEST(VmFrame, EveryControlIsWrittenAsItIsRead) {
  const std::pair<Control, std::string_view> without[] = {
      {Control::kClearAttention, "00 a1"},  {Control::kAttention, "01 a1"},
      {Control::kAttentionInterrupt, "02 a1"}, {Control::kPowerOff, "03 a1"},
      {Control::kReset, "04 a1"},           {Control::kAllowInterrupts, "05 a1"},
      {Control::kForbidInterrupts, "06 a1"}, {Control::kNmi, "07 a1"},
      {Control::kGracefulShutdown, "09 a1"}, {Control::kDisableInterface, "0a a1"},
      {Control::kEnableInterface, "0b a1"}};
  for (const auto& [code, wire] : without) {
    EXPECT_EQ(encode_control(code), bytes(wire));
    EXPECT_THAT(decode_all(wire), ElementsAre(control(static_cast<uint8_t>(code), {}, 1)));
    EXPECT_TRUE(is_known(static_cast<uint8_t>(code)));
    EXPECT_NE(to_string(code), "unknown control");
  }
  EXPECT_EQ(encode_control(Control::kProtocolVersion, 1), bytes("ff 01 a1"));
  EXPECT_EQ(encode_control(Control::kCapabilities, 0x3f), bytes("08 3f a1"));
  EXPECT_EQ(encode_control(Control::kCapabilities, 0xa0), bytes("08 aa b0 a1"));
  for (unsigned code = 0; code <= 0xff; ++code) {
    auto c = static_cast<uint8_t>(code);
    EXPECT_EQ(is_known(c), to_string(static_cast<Control>(c)) != "unknown control") << code;
  }
}

TEST(VmFrame, EveryByteOfABodyIsEscapedOrNot) {
  for (unsigned value = 0; value <= 0xff; ++value) {
    auto b = static_cast<uint8_t>(value);
    Bytes wire = encode_message(b, Bytes{0x18, b, b});
    bool escaped = b == 0xa0 || b == 0xa1 || b == 0xaa;
    uint8_t sum = static_cast<uint8_t>(0x18 + 3 * b);
    auto cksum = static_cast<uint8_t>(-sum);
    bool cksum_escaped = cksum == 0xa0 || cksum == 0xa1 || cksum == 0xaa;
    EXPECT_EQ(wire.size(), 6 + (escaped ? 3u : 0u) + (cksum_escaped ? 1u : 0u)) << value;
    EXPECT_EQ(std::count(wire.begin(), wire.end(), kEndOfMessage), 1) << value;
    EXPECT_EQ(std::count(wire.begin(), wire.end(), kEndOfControl), 0) << value;
    Decoder decoder(kRequestBodyBytesMin);
    EXPECT_THAT(decode_all(decoder, wire), ElementsAre(message(b, {0x18, b, b}, 5))) << value;
  }
  EXPECT_EQ(encode_message(0xa0, Bytes{0xa1, 0xaa, 0x15}), bytes("aa b0 aa b1 aa ba 15 00 a0"));
  EXPECT_EQ(encode_message(0x00, Bytes{0x18, 0x48}), bytes("00 18 48 aa b0 a0")) << "the checksum too";
}

TEST(VmFrame, TheReceiverClearsBit4OfWhateverFollowsAnEscape) {
  EXPECT_THAT(decode_all("08 aa 01 a1"), ElementsAre(control(0x08, {0x01}, 2)));
  EXPECT_THAT(decode_all("08 aa 11 a1"), ElementsAre(control(0x08, {0x01}, 2)));
  EXPECT_THAT(decode_all("08 aa aa b0 a1"), ElementsAre(control(0x08, {0xa0}, 2))) << "an escape twice is one";
}

TEST(VmFrame, AnEmptyBodyIsNothing) {
  EXPECT_TRUE(decode_all("a0 a1 a0 a0 a1").empty());
  EXPECT_THAT(decode_all("a1 a0 04 a1 a1"), ElementsAre(control(0x04, {}, 1)));
}

TEST(VmFrame, AMessageBelowTheLeastIsTooShortAtEachEnd) {
  EXPECT_THAT(decode_all("00 a0"), ElementsAre(bad(Fault::kTooShort, 1)));
  EXPECT_THAT(decode_all("00 18 e8 a0"), ElementsAre(bad(Fault::kTooShort, 3)));
  EXPECT_THAT(decode_all("00 18 01 e7 a0", kResponseBodyBytesMin), ElementsAre(bad(Fault::kTooShort, 4)));
  EXPECT_THAT(decode_all("00 1c 01 00 e3 a0", kResponseBodyBytesMin), ElementsAre(message(0, {0x1c, 0x01, 0}, 5)));
}

TEST(VmFrame, AWrongChecksumIsSeenWhicheverBitIsWrong) {
  const Bytes good = bytes("07 18 01 02 03 db a0");
  Decoder decoder(kRequestBodyBytesMin);
  ASSERT_THAT(decode_all(decoder, good), ElementsAre(message(7, {0x18, 1, 2, 3}, 6)));
  for (size_t i = 0; i + 1 < good.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      Bytes wire = good;
      wire[i] = static_cast<uint8_t>(wire[i] ^ (1 << bit));
      if (wire[i] == 0xa0 || wire[i] == 0xa1 || wire[i] == 0xaa) continue;  // another frame altogether
      EXPECT_THAT(decode_all(decoder, wire), ElementsAre(bad(Fault::kChecksum, 6))) << i << " " << bit;
    }
  }
}

TEST(VmFrame, ATerminatorInsideAnEscapeEndsAWrongFrameAndTheNextIsGood) {
  EXPECT_THAT(decode_all("00 18 01 e7 aa a0 00 18 01 e7 a0"),
              ElementsAre(bad(Fault::kEscapedEnd, 4), message(0, {0x18, 0x01}, 4)));
  EXPECT_THAT(decode_all("aa a1 04 a1"), ElementsAre(bad(Fault::kEscapedEnd, 0), control(0x04, {}, 1)));
}

TEST(VmFrame, TheLongestMessageFitsAndOneByteMoreIsThrownAwayToItsEnd) {
  Bytes longest(kMessageBytesMax, 0xa0);
  Decoder decoder(kRequestBodyBytesMin);
  EXPECT_THAT(decode_all(decoder, encode_message(0xaa, longest)), ElementsAre(message(0xaa, longest, kBodyBytesMax)));
  Bytes wire = encode_message(1, Bytes(kMessageBytesMax + 1, 0x55));
  for (uint8_t b : encode_message(2, Bytes{0x18, 0x01})) wire.push_back(b);
  EXPECT_THAT(decode_all(decoder, wire),
              ElementsAre(bad(Fault::kTooLong, kBodyBytesMax + 1), message(2, {0x18, 0x01}, 4)));
  Bytes control_wire(100'000, 0x08);
  control_wire.push_back(kEndOfControl);
  EXPECT_THAT(decode_all(decoder, control_wire), ElementsAre(bad(Fault::kTooLong, 100'000)));
}

TEST(VmFrame, GarbageBetweenFramesCostsNoMoreThanTheFrameItRunsInto) {
  EXPECT_THAT(decode_all("de ad be ef a0 00 18 01 e7 a0 12 34 ff 01 a1 08 3f a1"),
              ElementsAre(bad(Fault::kChecksum, 4), message(0, {0x18, 0x01}, 4), control(0x12, {0x34, 0xff, 0x01}, 4),
                          control(0x08, {0x3f}, 2)));
}

TEST(VmFrame, AFrameMayComeInAnyPieces) {
  const Bytes wire = bytes("ff 01 a1 aa b0 18 aa ba aa b1 fd a0 08 3f a1");
  Decoder whole(kRequestBodyBytesMin);
  const auto expected = decode_all(whole, wire);
  ASSERT_EQ(expected.size(), 3u);
  ASSERT_EQ(expected[1].kind, Kind::kMessage);
  for (size_t cut = 0; cut <= wire.size(); ++cut) {
    Decoder decoder(kRequestBodyBytesMin);
    auto out = decode_all(decoder, ByteView(wire).first(cut));
    for (Frame& frame : decode_all(decoder, ByteView(wire).subspan(cut))) out.push_back(std::move(frame));
    EXPECT_EQ(out, expected) << cut;
    EXPECT_FALSE(decoder.partial());
  }
}

TEST(VmFrame, AResetForgetsWhatHadBegun) {
  Decoder decoder(kRequestBodyBytesMin);
  EXPECT_TRUE(decode_all(decoder, bytes("01 02 03 aa")).empty());
  EXPECT_TRUE(decoder.partial());
  decoder.reset();
  EXPECT_FALSE(decoder.partial());
  EXPECT_THAT(decode_all(decoder, bytes("00 18 01 e7 a0")), ElementsAre(message(0, {0x18, 0x01}, 4)));
}

TEST(VmFrame, CapabilitiesReadAsText) {
  EXPECT_EQ(describe_capabilities(0), "none");
  EXPECT_EQ(describe_capabilities(0x3f), "power off, reset, interrupts, NMI, attention, graceful shutdown");
  EXPECT_EQ(describe_capabilities(0x40), "disable interface");
  for (Fault fault : {Fault::kNone, Fault::kTooLong, Fault::kTooShort, Fault::kChecksum, Fault::kEscapedEnd}) {
    EXPECT_NE(to_string(fault), "unknown");
  }
}

TEST(VmFrame, WhatIsEncodedIsDecodedInAnyPiecesWithAnythingBefore) {
  EXPECT_TRUE(rc::check([](uint8_t sequence, Bytes garbage) {
    Bytes data = *rc::gen::resize(kMessageBytesMax, rc::gen::container<Bytes>(rc::gen::weightedOneOf<uint8_t>(
                                                        {{3, rc::gen::arbitrary<uint8_t>()},
                                                         {1, rc::gen::element<uint8_t>(0xa0, 0xa1, 0xaa, 0xb0)}})));
    RC_PRE(data.size() >= 2 && data.size() <= kMessageBytesMax);
    Bytes wire = garbage;
    wire.push_back(kEndOfMessage);
    Bytes encoded = encode_message(sequence, data);
    wire.insert(wire.end(), encoded.begin(), encoded.end());
    Decoder decoder(kRequestBodyBytesMin);
    std::vector<Frame> out;
    while (!wire.empty()) {
      size_t n = *rc::gen::inRange<size_t>(1, wire.size() + 1);
      for (Frame& frame : decode_all(decoder, ByteView(wire).first(n))) out.push_back(std::move(frame));
      wire.erase(wire.begin(), wire.begin() + static_cast<std::ptrdiff_t>(n));
    }
    RC_ASSERT(!out.empty());
    RC_ASSERT(out.back() == message(sequence, data, data.size() + 2));
    RC_ASSERT(!decoder.partial());
  }));
}

TEST(VmFrame, ControlsSurviveAnyDataByte) {
  for (unsigned value = 0; value <= 0xff; ++value) {
    Decoder decoder(kRequestBodyBytesMin);
    auto b = static_cast<uint8_t>(value);
    EXPECT_THAT(decode_all(decoder, encode_control(Control::kCapabilities, b)), ElementsAre(control(0x08, {b}, 2)));
  }
}

}  // namespace
}  // namespace bmcpair::vm_protocol
