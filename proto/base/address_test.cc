#include "proto/base/address.h"

#include <gtest/gtest.h>

namespace bmcpair {
namespace {

TEST(Address, TheDefaultSocketFollowsTheRuntimeDirectoryThenTheUser) {
  EXPECT_EQ(default_socket_path("/run/user/1000", 1000), "/run/user/1000/bmcpair/bmc_emu.sock");
  EXPECT_EQ(default_socket_path("/run/user/0", 0), "/run/user/0/bmcpair/bmc_emu.sock");
  EXPECT_EQ(default_socket_path(nullptr, 0), "/run/bmcpair/bmc_emu.sock");
  EXPECT_EQ(default_socket_path("", 1000), "/tmp/bmcpair-1000/bmc_emu.sock");
}

TEST(Address, ARelativeRuntimeDirectoryIsIgnored) {
  EXPECT_EQ(default_socket_path("run", 7), "/tmp/bmcpair-7/bmc_emu.sock");
}

TEST(Address, TheEnvironmentOverridesTheDefaultAddress) {
  EXPECT_EQ(default_address("localhost:5123", "/run/user/1", 1), "localhost:5123");
  EXPECT_EQ(default_address("", nullptr, 0), "unix:/run/bmcpair/bmc_emu.sock");
  EXPECT_EQ(default_address(nullptr, "/r", 3), "unix:/r/bmcpair/bmc_emu.sock");
}

TEST(Address, ShortFormsBecomeWhatGrpcWants) {
  EXPECT_EQ(canonical_address("/run/x.sock"), "unix:/run/x.sock");
  EXPECT_EQ(canonical_address("./x.sock"), "unix:./x.sock");
  EXPECT_EQ(canonical_address("../x.sock"), "unix:../x.sock");
  EXPECT_EQ(canonical_address(":5123"), "127.0.0.1:5123");
  EXPECT_EQ(canonical_address("unix:/x"), "unix:/x");
  EXPECT_EQ(canonical_address("[::1]:5123"), "[::1]:5123");
}

}  // namespace
}  // namespace bmcpair
