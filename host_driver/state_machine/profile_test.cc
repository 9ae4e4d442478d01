#include <gtest/gtest.h>

#include "host_driver/state_machine/state_machine.h"

namespace bmcpair::state_machine {
namespace {

TEST(Profiles, AreFoundByName) {
  EXPECT_EQ(find_profile("hardened"), &hardened());
  for (std::string_view name : profile_names()) {
    ASSERT_NE(find_profile(name), nullptr) << name;
    EXPECT_EQ(find_profile(name)->name, name);
  }
  EXPECT_EQ(profile_names().front(), "hardened");
  EXPECT_EQ(find_profile("linux-2.4"), nullptr);
}

TEST(Profiles, OnlyTheOldestHidesItsCapabilityFetch) {
  EXPECT_FALSE(hardened().bt_hidden_capability_fetch);
  EXPECT_FALSE(find_profile("linux-6.1")->bt_hidden_capability_fetch);
  EXPECT_TRUE(find_profile("linux-4.18")->bt_hidden_capability_fetch);
}

}  // namespace
}  // namespace bmcpair::state_machine
