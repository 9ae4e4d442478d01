#include "bmc_emu/firmware/user.h"

#include "bmc_emu/firmware/testing.h"

namespace bmcpair::firmware::testing {
namespace {

class User : public FirmwareTest {
 protected:
  BmcConfig config() const override {
    BmcConfig c;
    c.channels.push_back({1, 4, 1, 4});
    c.users.push_back({2, "admin", "secret", 4, true});
    c.users.push_back({3, "guest", "seventeen letters", 2, false});
    return c;
  }
  static std::string padded(std::string_view text, size_t size) {
    Bytes out(text.begin(), text.end());
    out.resize(size, 0);
    return to_hex(out);
  }
};

TEST_F(User, AccessCountsAndShowsWhatWasConfigured) {
  EXPECT_EQ(ask("06 44 01 02"), "00 0f 41 01 34");
  EXPECT_EQ(ask("06 44 01 03"), "00 0f 81 01 32");
  EXPECT_EQ(ask("06 44 01 04"), "00 0f 01 01 0f") << "never said anything about";
  EXPECT_EQ(ask("06 44 0e 02"), "00 0f 41 01 34");
}

TEST_F(User, AccessIsSetByChannel) {
  EXPECT_EQ(ask("06 43 91 04 03"), "00");
  EXPECT_EQ(ask("06 44 01 04").substr(12), "13");
  EXPECT_EQ(ask("06 44 0f 04").substr(12), "0f") << "the other channel is untouched";
  EXPECT_EQ(ask("06 43 61 04 02"), "00") << "without bit 7 the flags stay";
  EXPECT_EQ(ask("06 44 01 04").substr(12), "12");
  EXPECT_EQ(ask("06 43 81 04 0f 05"), "00");
  EXPECT_EQ(ask("06 44 01 04").substr(12), "0f");
  EXPECT_EQ(bmc->state().user->get(4).session_limit[1], 5);
}

TEST_F(User, AccessRefusesBadFields) {
  EXPECT_EQ(ask("06 43 91 00 04"), "cc") << "user 0";
  EXPECT_EQ(ask("06 43 91 10 04"), "cc") << "more than there are";
  EXPECT_EQ(ask("06 43 91 42 04"), "cc");
  EXPECT_EQ(ask("06 43 91 02 00"), "cc");
  EXPECT_EQ(ask("06 43 91 02 06"), "cc");
  EXPECT_EQ(ask("06 43 91 02 14"), "cc");
  EXPECT_EQ(ask("06 43 91 02 04 10"), "cc");
  EXPECT_EQ(ask("06 43 92 02 04"), "cc") << "no such channel";
  EXPECT_EQ(ask("06 43 91 02"), "c7");
  EXPECT_EQ(ask("06 43 91 02 04 00 00"), "c7");
  EXPECT_EQ(ask("06 44 01 00"), "cc");
  EXPECT_EQ(ask("06 44 01 10"), "cc");
  EXPECT_EQ(ask("06 44 11 02"), "cc");
  EXPECT_EQ(ask("06 44 02 02"), "cc");
  EXPECT_EQ(ask("06 44 01"), "c7");
  EXPECT_EQ(ask("06 44 01 02 00"), "c7");
  EXPECT_EQ(ask("06 44 01 02"), "00 0f 41 01 34");
}

TEST_F(User, NamesAreSixteenBytesAndTheFirstUserHasNone) {
  EXPECT_EQ(ask("06 46 02"), "00 " + padded("admin", 16));
  EXPECT_EQ(ask("06 45 05 " + padded("sixteen letters!", 16)), "00");
  EXPECT_EQ(ask("06 46 05"), "00 " + padded("sixteen letters!", 16));
  EXPECT_EQ(ask("06 46 01"), "00 " + padded("", 16));
  EXPECT_EQ(ask("06 45 01 " + padded("root", 16)), "cc");
  EXPECT_EQ(ask("06 45 00 " + padded("root", 16)), "cc");
  EXPECT_EQ(ask("06 45 45 " + padded("root", 16)), "cc");
  EXPECT_EQ(ask("06 45 05 " + padded("root", 15)), "c7");
  EXPECT_EQ(ask("06 45 05 " + padded("root", 17)), "c7");
  EXPECT_EQ(ask("06 46 00"), "cc");
  EXPECT_EQ(ask("06 46 10"), "cc");
  EXPECT_EQ(ask("06 46"), "c7");
  EXPECT_EQ(ask("06 46 02 00"), "c7");
}

TEST_F(User, PasswordsAreTestedBySizeAndContent) {
  EXPECT_EQ(ask("06 47 02 03 " + padded("secret", 16)), "00");
  EXPECT_EQ(ask("06 47 02 03 " + padded("secreT", 16)), "80");
  EXPECT_EQ(ask("06 47 82 03 " + padded("secret", 20)), "81") << "set as 16 bytes";
  EXPECT_EQ(ask("06 47 83 03 " + padded("seventeen letters", 20)), "00");
  EXPECT_EQ(ask("06 47 03 03 " + padded("seventeen letter", 16)), "81");
}

TEST_F(User, PasswordsAreSet) {
  EXPECT_EQ(ask("06 47 82 02 " + padded("a much longer secret", 20)), "00");
  EXPECT_EQ(ask("06 47 82 03 " + padded("a much longer secret", 20)), "00");
  EXPECT_EQ(ask("06 47 82 03 " + padded("a much longer secreT", 20)), "80") << "the last byte counts";
  EXPECT_EQ(ask("06 47 02 02 " + padded("short", 16)), "00");
  EXPECT_EQ(ask("06 47 02 03 " + padded("short", 16)), "00");
}

TEST_F(User, EnablingAndDisablingTakesAPasswordOrNone) {
  EXPECT_EQ(ask("06 47 03 01"), "00");
  EXPECT_EQ(ask("06 44 01 03"), "00 0f 42 01 32");
  EXPECT_EQ(ask("06 47 03 00 " + padded("", 16)), "00");
  EXPECT_EQ(ask("06 44 01 03"), "00 0f 81 01 32");
  EXPECT_EQ(ask("06 47 83 01 " + padded("", 20)), "00");
  EXPECT_EQ(ask("06 47 83 03 " + padded("seventeen letters", 20)), "00") << "the password stays";
  EXPECT_EQ(ask("06 47 03 01 00"), "c7");
}

TEST_F(User, PasswordCommandRefusesBadFieldsAndLengths) {
  EXPECT_EQ(ask("06 47 00 03 " + padded("", 16)), "cc");
  EXPECT_EQ(ask("06 47 10 03 " + padded("", 16)), "cc");
  EXPECT_EQ(ask("06 47 42 03 " + padded("", 16)), "cc");
  EXPECT_EQ(ask("06 47 02 04 " + padded("", 16)), "cc");
  EXPECT_EQ(ask("06 47 02 02 " + padded("", 20)), "c7") << "a 20 byte password is announced as one";
  EXPECT_EQ(ask("06 47 82 02 " + padded("", 16)), "c7");
  EXPECT_EQ(ask("06 47 02 02"), "c7");
  EXPECT_EQ(ask("06 47 02"), "c7");
  EXPECT_EQ(ask("06 47 82 02 " + padded("", 21)), "c7");
  EXPECT_EQ(ask("06 47 02 03 " + padded("secret", 16)), "00");
}

TEST_F(User, UsersSurviveARestartAndAColdReset) {
  ask("06 45 05 " + padded("kept", 16));
  ask("06 47 05 02 " + padded("pw", 16));
  ask("06 47 05 01");
  ask("06 43 91 05 03");
  bmc->reset(true, now);
  pass(seconds(2));
  EXPECT_EQ(ask("06 46 05"), "00 " + padded("kept", 16));
  boot();
  EXPECT_EQ(ask("06 46 05"), "00 " + padded("kept", 16));
  EXPECT_EQ(ask("06 47 05 03 " + padded("pw", 16)), "00");
  EXPECT_EQ(ask("06 44 01 05"), "00 0f 42 01 13");
}

TEST_F(User, WhatCouldNotBeStoredIsNotAcknowledgedAndNotInForce) {
  store->broken = true;
  EXPECT_EQ(ask("06 47 02 02 " + padded("other", 16)), "ff");
  EXPECT_EQ(ask("06 47 02 03 " + padded("secret", 16)), "00");
  EXPECT_EQ(ask("06 45 02 " + padded("other", 16)), "ff");
  EXPECT_EQ(ask("06 46 02"), "00 " + padded("admin", 16));
}

TEST_F(User, CommandsNeedTheirPrivilege) {
  context.privilege = Privilege::kUser;
  EXPECT_EQ(ask("06 44 01 02"), "d4");
  EXPECT_EQ(ask("06 46 02"), "d4");
  context.privilege = Privilege::kOperator;
  EXPECT_EQ(ask("06 47 02 03 " + padded("secret", 16)), "d4");
}

TEST(UserConfiguration, UsersThatCannotBeAreRefusedWithoutTheirPassword) {
  for (int what = 0; what < 3; ++what) {
    BmcConfig config;
    UserConfig user{2, "name", "do not print me, now", 4, true};
    if (what == 0) user.id = 64;
    if (what == 1) user.name = "seventeen letters";
    if (what == 2) user.password += "!";
    config.users.push_back(user);
    auto made = Bmc::create(config, nullptr, nullptr, Instant{});
    ASSERT_FALSE(made.ok());
    EXPECT_EQ(made.error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(made.error().message.find("print me"), std::string::npos);
  }
}

TEST(UserConfiguration, AStoredUserThatDoesNotHoldTogetherIsCorrupt) {
  auto store = std::make_shared<MemoryStore>();
  Batch batch;
  batch.put.push_back({"user", 2, Bytes{1, 2, 3}});
  ASSERT_TRUE(store->commit(batch).ok());
  auto made = Bmc::create({}, store, nullptr, Instant{});
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code, ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace bmcpair::firmware::testing
