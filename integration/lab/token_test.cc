#include "integration/lab/token.h"

#include <gtest/gtest.h>

#include <functional>

#include "proto/base/random.h"

namespace bmcpair::lab {
namespace {

Token example() {
  Token token;
  token.experiment = "bt-cap-begin";
  token.profile = "linux-4.18";
  token.oracle = "registration";
  token.end_hash = 0x0123456789abcdef;
  token.log.choices = 412;
  token.log.hash = 0xfedcba9876543210;
  token.log.entries = {{3, 1, 9, 0x11223344, 0xabcd, Choice::kTask},
                       {300, 7, 8, 0x55667788, 0x0102, Choice::kDuration},
                       {0, 2, 3, 0x11223344, 0xffff, Choice::kLoad},
                       {10, 255, 256, 0x99aabbcc, 0, Choice::kData}};
  return token;
}

TEST(Token, IsTextThatIsReadBackAsItWas) {
  const Token token = example();
  const std::string text = to_text(token);
  EXPECT_EQ(text.substr(0, 28), "bl1/bt-cap-begin/linux-4.18/");
  const Result<Token> back = parse_token(text);
  ASSERT_TRUE(back.ok()) << back.error().message;
  EXPECT_EQ(*back, token);
  EXPECT_EQ(*parse_token(to_text(Token{"a", "b", "", 0, {}})), (Token{"a", "b", "", 0, {}}));
}

TEST(Token, OfThisVersionIsReadableForEver) {
  const std::string text = to_text(example());
  EXPECT_EQ(text, "bl1/bt-cap-begin/linux-4.18/"
                  "SAxyZWdpc3RyYXRpb27vzauJZ0UjARAyVHaYutz-nAMDRDMiEYh3ZlXMu6qZBAMECQDNq6wCHQgBAgEACgMA__8K_weAAgIAAAcni7Y");
}

TEST(Token, SurvivesTheBlanksAndLineEndsOfATerminal) {
  const std::string text = to_text(example());
  EXPECT_EQ(*parse_token("  " + text.substr(0, 40) + "\r\n  " + text.substr(40) + "\n"), example());
}

TEST(Token, CutAnywhereIsRefused) {
  const std::string text = to_text(example());
  for (size_t size = 0; size < text.size(); ++size) {
    const Result<Token> parsed = parse_token(std::string_view(text).substr(0, size));
    ASSERT_FALSE(parsed.ok()) << size;
    if (size > 28) {
      EXPECT_EQ(parsed.error().code, ErrorCode::kCorrupt);
      EXPECT_NE(parsed.error().message.find("cut short"), std::string::npos) << size << ": " << parsed.error().message;
    }
  }
}

TEST(Token, WithAnyCharacterChangedIsRefused) {
  const std::string text = to_text(example());
  for (size_t i = 0; i < text.size(); ++i) {
    for (char c : {'A', 'z', '0', '_', '/', '!'}) {
      std::string changed = text;
      if (changed[i] == c) continue;
      changed[i] = c;
      EXPECT_FALSE(parse_token(changed).ok()) << i << " " << c;
    }
  }
  EXPECT_FALSE(parse_token(text + "AAAA").ok());
}

TEST(Token, ErrorsSayWhatIsWrong) {
  const auto message = [](std::string_view text) {
    const Result<Token> parsed = parse_token(text);
    return parsed.ok() ? std::string("no error") : parsed.error().message;
  };
  const std::string text = to_text(example());
  EXPECT_EQ(message(""), "token: it is empty");
  EXPECT_EQ(message("hello"), "token: this is not one: it would begin with \"bl1/\"");
  EXPECT_EQ(message("bl2" + text.substr(3)), "token: its version is \"bl2\"; this program reads bl1");
  EXPECT_EQ(message("bl1/bt-cap-begin"), "token: it is cut short: it has 2 of the 4 parts version/experiment/profile/log");
  std::string other = text;
  other[5] = 'u';  // bu-cap-begin
  EXPECT_EQ(message(other), "token: its check sum is wrong: something was changed on its way");
  other = text;
  other[40] = '*';
  EXPECT_EQ(message(other), "token: character 13 of its log is no base64url digit");
  EXPECT_EQ(message("bl1/a b/p/x").substr(0, 7), "token: ");
  EXPECT_EQ(message("bl1//p/x"), "token: \"\" cannot name an experiment");
  EXPECT_NE(message(std::string(kTokenCharactersMax + 1, 'A')).find("characters are more than"), std::string::npos);
}

TEST(Token, ThatSomebodyMadeUpWithARightCheckSumIsRefused) {
  const auto refused = [](const std::function<void(Token&)>& change) {
    Token token = example();
    change(token);
    return !parse_token(to_text(token)).ok();
  };
  EXPECT_FALSE(refused([](Token&) {}));
  EXPECT_TRUE(refused([](Token& t) { t.log.entries[0].value = 9; })) << "not among its options";
  EXPECT_TRUE(refused([](Token& t) { t.log.entries[0].value = 0; })) << "the tamest is not logged";
  EXPECT_TRUE(refused([](Token& t) { t.log.entries[0].n = 1; }));
  EXPECT_TRUE(refused([](Token& t) { t.log.choices = 316; })) << "more choices than there were";
  EXPECT_TRUE(refused([](Token& t) { t.oracle = std::string(1000, 'x'); }));
  EXPECT_TRUE(refused([](Token& t) { t.experiment = "../etc"; }));
}

TEST(Token, NoTextOfAnybodysMakingIsMoreThanAnError) {
  Random random(4);
  const std::string text = to_text(example());
  for (int i = 0; i < 20000; ++i) {
    std::string changed = text;
    for (uint64_t j = 1 + random.below(4); j > 0; --j) {
      const size_t at = static_cast<size_t>(random.below(changed.size()));
      if (random.below(2) == 0) changed[at] = static_cast<char>(random.below(256));
      else changed.erase(at, static_cast<size_t>(random.below(20)));
    }
    const Result<Token> parsed = parse_token(changed);
    if (parsed.ok()) {
      EXPECT_EQ(*parsed, example());
    }
  }
}

}  // namespace
}  // namespace bmcpair::lab
