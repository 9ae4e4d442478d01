// A run as a line of text to copy: "bl1/<experiment>/<profile>/<log>". The log is the choice log itself with its sites,
// what the run ended with, and a check sum over all of it, in base64url.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "integration/lab/choice_log.h"
#include "proto/base/result.h"

namespace bmcpair::lab {

constexpr std::string_view kTokenVersion = "bl1";
constexpr size_t kTokenCharactersMax = size_t{16} << 20;

struct Token {
  std::string experiment;
  std::string profile;
  std::string oracle;     // which one the run violated; empty: none
  uint64_t end_hash = 0;  // Outcome's
  ChoiceLog log;
  bool operator==(const Token&) const = default;
};

std::string to_text(const Token& token);
// kInvalidArgument: not a token, or another version's; kCorrupt: cut short, or changed on its way. Whether there is such
// an experiment is not asked here. Blanks and line ends around and inside are ignored: terminals break long lines.
Result<Token> parse_token(std::string_view text);

}  // namespace bmcpair::lab
