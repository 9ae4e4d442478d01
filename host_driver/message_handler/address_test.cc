#include "host_driver/message_handler/address.h"

#include <gtest/gtest.h>

#include "proto/base/hex.h"

namespace bmcpair::host::inline BMCPAIR_RT {
namespace {

TEST(Address, EachKindSurvivesItsLinuxForm) {
  const std::pair<Address, size_t> cases[] = {
      {SystemInterfaceAddress{2}, 8},
      {IpmbAddress{3, 0x72, 1, false}, 8},
      {IpmbAddress{0, 0x72, 0, true}, 8},
      {IpmbDirectAddress{0x72, 3, 2}, 12},
      {LanAddress{1, 4, 0x33, 0x81, 0x20, 2}, 12},
  };
  for (const auto& [address, size] : cases) {
    SCOPED_TRACE(to_string(address));
    const Bytes bytes = encode_linux_address(address);
    EXPECT_EQ(bytes.size(), size);
    auto back = decode_linux_address(bytes);
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(*back, address);
    for (size_t n = 0; n < size; ++n) EXPECT_FALSE(decode_linux_address(ByteView(bytes.data(), n))) << n;
  }
}

TEST(Address, WhatE2RejectsIsRejected) {
  auto ok = [](int32_t type, int16_t channel, Bytes fields) {
    Bytes b(6);
    std::copy_n(reinterpret_cast<const uint8_t*>(&type), 4, b.begin());
    std::copy_n(reinterpret_cast<const uint8_t*>(&channel), 2, b.begin() + 4);
    b.insert(b.end(), fields.begin(), fields.end());
    return decode_linux_address(b).ok();
  };
  EXPECT_TRUE(ok(0x0c, 15, {0, 0}));
  EXPECT_FALSE(ok(0x0c, 0, {0, 0}));
  EXPECT_FALSE(ok(0x0c, 15, {4, 0}));
  EXPECT_FALSE(ok(0x0c, 15, {0}));
  EXPECT_TRUE(ok(0x01, 14, {0x72, 0}));
  EXPECT_FALSE(ok(0x01, 15, {0x72, 0}));
  EXPECT_FALSE(ok(0x01, 16, {0x72, 0}));
  EXPECT_FALSE(ok(0x01, -1, {0x72, 0}));
  EXPECT_FALSE(ok(0x01, 0, {0x72, 4}));
  EXPECT_TRUE(ok(0x41, 0, {0x72, 0}));
  EXPECT_TRUE(ok(0x81, 0, {0x72, 3, 3, 0, 0, 0}));
  EXPECT_FALSE(ok(0x81, 0, {0x73, 0, 0, 0, 0, 0}));
  EXPECT_FALSE(ok(0x81, 0, {0x72, 4, 0, 0, 0, 0}));
  EXPECT_FALSE(ok(0x81, 0, {0x72, 0, 4, 0, 0, 0}));
  EXPECT_FALSE(ok(0x81, 1, {0x72, 0, 0, 0, 0, 0}));
  EXPECT_FALSE(ok(0x81, 0, {0x72, 0}));
  EXPECT_TRUE(ok(0x04, 1, {4, 1, 0x81, 0x20, 0, 0}));
  EXPECT_FALSE(ok(0x04, 1, {4, 1, 0x81, 0x20, 4, 0}));
  EXPECT_FALSE(ok(0x04, 1, {4, 1}));
  EXPECT_FALSE(ok(0x05, 1, {4, 1, 0, 0, 0, 0}));
  EXPECT_FALSE(ok(0, 0, {0, 0}));
}

TEST(Address, OnlyPrivilegeIsLeftOutOfTheComparison) {
  const LanAddress lan{1, 4, 0x33, 0x81, 0x20, 0};
  LanAddress other = lan;
  other.privilege = 2;
  EXPECT_TRUE(same_peer(lan, other));
  for (auto field : {&LanAddress::channel, &LanAddress::session_handle, &LanAddress::remote_swid,
                     &LanAddress::local_swid, &LanAddress::lun}) {
    LanAddress differs = lan;
    ++(differs.*field);
    EXPECT_FALSE(same_peer(lan, differs));
  }
  EXPECT_FALSE(same_peer(IpmbAddress{0, 0x72, 0, false}, IpmbAddress{0, 0x72, 1, false}));
  EXPECT_FALSE(same_peer(IpmbAddress{0, 0x72, 0, false}, SystemInterfaceAddress{0}));
  EXPECT_FALSE(same_peer(IpmbDirectAddress{0x72, 0, 1}, IpmbDirectAddress{0x72, 0, 2}));
}

}  // namespace
}  // namespace bmcpair::host::inline BMCPAIR_RT
