#include "proto/ipmi/message.h"

#include <gtest/gtest.h>

#include "proto/ipmi/cursor.h"

namespace bmcpair::ipmi {

TEST(Message, GetDeviceIdHasTheBytesSeenOnTheWire) {
  Request request{kNetFnApp, 0, 0x01, {}};
  EXPECT_EQ(encode(request), (Bytes{0x18, 0x01}));
  EXPECT_EQ(encode(request, Response{CompletionCode::kNotSupportedInState, {}}), (Bytes{0x1c, 0x01, 0xd5}));
  EXPECT_EQ(decode_request(Bytes{0x18, 0x01}), request);
}

TEST(Message, ShorterThanTwoBytesIsNoRequest) {
  EXPECT_EQ(decode_request(Bytes{}), std::nullopt);
  EXPECT_EQ(decode_request(Bytes{0x18}), std::nullopt);
}

TEST(Message, ChecksumMakesTheSumZero) {
  EXPECT_EQ(checksum(Bytes{0x00, 0x18, 0x01}), 0xe7);
  EXPECT_EQ(checksum(Bytes{}), 0);
}

TEST(Cursor, ReadsLittleEndianAndSticksAtTheEnd) {
  Bytes bytes{1, 2, 3, 4, 5, 6, 7};
  Reader exact(bytes);
  EXPECT_EQ(exact.u16(), 0x0201);
  EXPECT_EQ(exact.u32(), 0x06050403u);
  EXPECT_EQ(exact.u8(), 7);
  EXPECT_TRUE(exact.done());
  Reader shorter(bytes);
  shorter.take(6);
  EXPECT_EQ(shorter.u16(), 0);
  EXPECT_FALSE(shorter.ok());
  EXPECT_EQ(shorter.u8(), 0) << "a failed reader gives nothing more, not even the byte that was there";
  Reader longer(bytes);
  longer.u8();
  EXPECT_TRUE(longer.ok());
  EXPECT_FALSE(longer.done());
}

}  // namespace bmcpair::ipmi
