#include "host_driver/port_io/ports.h"

#include <gtest/gtest.h>

namespace bmcpair::port_io {

TEST(Ports, SayWhereEachInterfaceIs) {
  auto ranges = parse_ports("kcs=0xca2,bt=228,demo2/kcs=0xca8/4");
  ASSERT_TRUE(ranges.ok()) << ranges.error().message;
  ASSERT_EQ(ranges->size(), 3u);
  EXPECT_EQ((*ranges)[0].interface, "kcs");
  EXPECT_EQ((*ranges)[0].base, 0xca2);
  EXPECT_EQ((*ranges)[1].base, 0xe4);
  EXPECT_EQ((*ranges)[2].interface, "demo2/kcs");
  EXPECT_EQ((*ranges)[2].spacing, 4);
}

TEST(Ports, NoneIsNone) {
  auto ranges = parse_ports("none");
  ASSERT_TRUE(ranges.ok());
  EXPECT_TRUE(ranges->empty());
}

TEST(Ports, TheUsualOnesDoNotOverlap) {
  std::string text;
  for (const PortRange& r : usual_ports()) text += (text.empty() ? "" : ",") + r.interface + "=" + std::to_string(r.base);
  EXPECT_TRUE(parse_ports(text).ok()) << text;
}

TEST(Ports, WhatMakesNoSenseIsRefusedAndNamed) {
  for (const char* text : {"", "kcs", "kcs=", "=0xca2", "kcs=x", "kcs=0x10000", "kcs=0xffff", "uart=0x3f8", "kcs=0xca2,", "kcs=0xca2/0",
                           "kcs=0xca2/257", "kcs=0xca2,bt=0xca3", "kcs=0xca2,a/b=0xca1"}) {
    auto ranges = parse_ports(text);
    ASSERT_FALSE(ranges.ok()) << text;
    EXPECT_EQ(ranges.error().code, ErrorCode::kInvalidArgument) << text;
    EXPECT_NE(ranges.error().message.find("expected"), std::string::npos) << ranges.error().message;
  }
}

}  // namespace bmcpair::port_io
