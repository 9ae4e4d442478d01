#include "host_driver/state_machine/profile.h"

#include <gtest/gtest.h>

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

TEST(Profiles, OnlyTheOldHideTheirCapabilityFetch) {
  EXPECT_FALSE(hardened().bt_hidden_capability_fetch);
  EXPECT_FALSE(find_profile("linux-6.1")->bt_hidden_capability_fetch);
  EXPECT_TRUE(find_profile("linux-4.18")->bt_hidden_capability_fetch);
  EXPECT_TRUE(find_profile("linux-2.6.20")->bt_hidden_capability_fetch);
}

TEST(Profiles, AllButHardenedDifferFromIt) {
  for (std::string_view name : profile_names()) {
    unsigned different = 0;
    for (const ProfileFlag& f : profile_flags()) different += find_profile(name)->*f.member != hardened().*f.member;
    EXPECT_EQ(different == 0, name == "hardened") << name;
  }
}

TEST(Profiles, ChangeOneFlagAtATime) {
  for (const ProfileFlag& flag : profile_flags()) {
    const bool was = hardened().*flag.member;
    const std::string text = std::string("hardened") + (was ? "-" : "+") + std::string(flag.name);
    const Result<Profile> p = profile_with(text);
    ASSERT_TRUE(p) << p.error().to_string();
    EXPECT_EQ(p->name, text);
    for (const ProfileFlag& other : profile_flags()) {
      const bool changed = p.value().*other.member != hardened().*other.member;
      EXPECT_EQ(changed, other.name == flag.name) << text << ' ' << other.name;
    }
  }
}

TEST(Profiles, AreReadFromAText) {
  EXPECT_EQ(profile_with("linux-6.1").value().name, "linux-6.1");
  const Profile p = profile_with("linux-2.6.20-mh_panic_calls_users+bt_caches_b_busy+kcs_budget_seconds=7").value();
  EXPECT_FALSE(p.mh_panic_calls_users);
  EXPECT_TRUE(p.bt_caches_b_busy);
  EXPECT_EQ(p.kcs_budget_seconds, 7u);
  EXPECT_TRUE(p.mh_panic_takes_locks);
  EXPECT_EQ(profile_with("hardened+kcs_error_retries_max=0").value().kcs_error_retries_max, 0u);
}

TEST(Profiles, SayWhatIsWrongWithATextAndWhatThereIs) {
  auto message = [](std::string_view text) {
    const Result<Profile> p = profile_with(text);
    EXPECT_FALSE(p) << text;
    if (p) return std::string();
    EXPECT_EQ(p.error().code, ErrorCode::kInvalidArgument);
    return p.error().message;
  };
  EXPECT_EQ(message("linux-9"),
            "profile \"linux-9\": it begins with none of hardened, linux-6.18, linux-6.12, linux-6.1, linux-4.18, "
            "linux-4.2, proposed-2015, linux-2.6.20");
  EXPECT_NE(message("").find("none of"), std::string::npos);
  EXPECT_NE(message("linux-6.1x").find("none of"), std::string::npos);
  EXPECT_NE(message("hardened+mh_everything").find("no flag \"mh_everything\"; there are kcs_stop_after_timeout, "),
            std::string::npos);
  for (const char* text :
       {"hardened+", "hardened++bt_safe_drain", "hardened+ bt_safe_drain", "hardened-bt_safe_drain-"}) {
    EXPECT_NE(message(text).find("no flag \""), std::string::npos) << text;
  }
  EXPECT_NE(message("hardened+kcs_minutes=1").find("no number \"kcs_minutes\""), std::string::npos);
  for (const char* text :
       {"hardened+kcs_budget_seconds=", "hardened+kcs_budget_seconds=x", "hardened-kcs_budget_seconds=1",
        "hardened+kcs_budget_seconds=1001", "hardened+kcs_budget_seconds=99999999999"}) {
    EXPECT_NE(message(text).find("N from 0 to 1000"), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace bmcpair::state_machine
