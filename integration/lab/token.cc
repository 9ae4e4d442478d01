#include "integration/lab/token.h"

#include <algorithm>
#include <array>
#include <map>

namespace bmcpair::lab {

namespace {

constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

int digit_of(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '-') return 62;
  if (c == '_') return 63;
  return -1;
}

// RFC 4648 section 5, without padding.
std::string to_base64url(const std::vector<uint8_t>& bytes) {
  std::string out;
  out.reserve((bytes.size() * 4 + 2) / 3);
  uint32_t bits = 0;
  int held = 0;
  for (uint8_t byte : bytes) {
    bits = bits << 8 | byte;
    for (held += 8; held >= 6; held -= 6) out += kDigits[bits >> (held - 6) & 63];
  }
  if (held > 0) out += kDigits[bits << (6 - held) & 63];
  return out;
}

uint32_t check_sum(uint32_t sum, const void* data, size_t size) {
  const auto* bytes = static_cast<const uint8_t*>(data);
  for (size_t i = 0; i < size; ++i) sum = (sum ^ bytes[i]) * 16777619u;
  return sum;
}
constexpr uint32_t kCheckSumStart = 2166136261u;

struct Writer {
  std::vector<uint8_t> bytes;
  void fixed(uint64_t value, int size) {
    for (int i = 0; i < size; ++i) bytes.push_back(static_cast<uint8_t>(value >> (8 * i)));
  }
  void number(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes.push_back(static_cast<uint8_t>(value | 0x80));
    bytes.push_back(static_cast<uint8_t>(value));
  }
};

struct Reader {
  const std::vector<uint8_t>& bytes;
  size_t at = 0;
  bool bad = false;
  uint64_t fixed(int size) {
    if (bytes.size() - at < static_cast<size_t>(size)) {
      bad = true;
      at = bytes.size();
      return 0;
    }
    uint64_t value = 0;
    for (int i = 0; i < size; ++i) value |= static_cast<uint64_t>(bytes[at++]) << (8 * i);
    return value;
  }
  uint64_t number() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (at == bytes.size()) break;
      const uint8_t byte = bytes[at++];
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (!(byte & 0x80)) return value;
    }
    bad = true;
    return 0;
  }
};

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= 128 && std::all_of(text.begin(), text.end(), [](char c) {
    return digit_of(c) >= 0 || c == '.' || c == '+';
  });
}

Error corrupt(std::string message) { return Error{ErrorCode::kCorrupt, "token: " + std::move(message)}; }
Error invalid(std::string message) { return Error{ErrorCode::kInvalidArgument, "token: " + std::move(message)}; }

}  // namespace

std::string to_text(const Token& token) {
  const std::string head =
      std::string(kTokenVersion) + "/" + token.experiment + "/" + token.profile + "/";
  Writer body;
  body.number(token.oracle.size());
  body.bytes.insert(body.bytes.end(), token.oracle.begin(), token.oracle.end());
  body.fixed(token.end_hash, 8);
  body.fixed(token.log.hash, 8);
  body.number(token.log.choices);
  std::map<uint32_t, uint32_t> index_of;
  std::vector<uint32_t> sites;
  for (const LoggedChoice& entry : token.log.entries) {
    if (index_of.try_emplace(entry.site, static_cast<uint32_t>(sites.size())).second) sites.push_back(entry.site);
  }
  body.number(sites.size());
  for (uint32_t site : sites) body.fixed(site, 4);
  body.number(token.log.entries.size());
  for (const LoggedChoice& entry : token.log.entries) {
    body.number(entry.gap);
    body.number(static_cast<uint64_t>(entry.value) << 2 | static_cast<uint64_t>(entry.kind));
    body.number(entry.n);
    body.number(index_of[entry.site]);
    body.fixed(entry.prefix, 2);
  }
  Writer whole;
  whole.number(body.bytes.size());
  uint32_t sum = check_sum(kCheckSumStart, head.data(), head.size());
  sum = check_sum(sum, body.bytes.data(), body.bytes.size());
  whole.bytes.insert(whole.bytes.end(), body.bytes.begin(), body.bytes.end());
  whole.fixed(sum, 4);
  return head + to_base64url(whole.bytes);
}

Result<Token> parse_token(std::string_view given) {
  if (given.size() > kTokenCharactersMax) {
    return invalid(std::to_string(given.size()) + " characters are more than " + std::to_string(kTokenCharactersMax));
  }
  std::string text;
  text.reserve(given.size());
  for (char c : given) {
    if (c != ' ' && c != '\t' && c != '\r' && c != '\n') text += c;
  }
  if (text.empty()) return invalid("it is empty");
  std::array<std::string_view, 4> parts;
  std::string_view rest = text;
  for (size_t i = 0; i < 3; ++i) {
    const size_t slash = rest.find('/');
    if (slash == std::string_view::npos) {
      if (i == 0) return invalid("this is not one: it would begin with \"" + std::string(kTokenVersion) + "/\"");
      return corrupt("it is cut short: it has " + std::to_string(i + 1) + " of the 4 parts "
                     "version/experiment/profile/log");
    }
    parts[i] = rest.substr(0, slash);
    rest = rest.substr(slash + 1);
    if (i == 0 && parts[0] != kTokenVersion) {
      return invalid("its version is \"" + std::string(parts[0].substr(0, 32)) + "\"; this program reads " +
                     std::string(kTokenVersion));
    }
  }
  parts[3] = rest;
  if (!is_name(parts[1])) return corrupt("\"" + std::string(parts[1].substr(0, 64)) + "\" cannot name an experiment");
  if (!is_name(parts[2])) return corrupt("\"" + std::string(parts[2].substr(0, 64)) + "\" cannot name a profile");

  std::vector<uint8_t> bytes;
  bytes.reserve(parts[3].size() * 3 / 4);
  uint32_t bits = 0;
  int held = 0;
  for (size_t i = 0; i < parts[3].size(); ++i) {
    const int digit = digit_of(parts[3][i]);
    if (digit < 0) {
      return corrupt("character " + std::to_string(i + 1) + " of its log is no base64url digit");
    }
    bits = bits << 6 | static_cast<uint32_t>(digit);
    held += 6;
    if (held >= 8) {
      held -= 8;
      bytes.push_back(static_cast<uint8_t>(bits >> held));
      bits &= (1u << held) - 1;
    }
  }
  if (held == 6 || (bits & ((1u << held) - 1)) != 0) return corrupt("it is cut short, or its last character was changed");
  Reader size_reader{bytes};
  const uint64_t size = size_reader.number();
  const size_t begin = size_reader.at;
  if (size_reader.bad || bytes.size() - begin < 4 || bytes.size() - begin - 4 < size) {
    return corrupt("it is cut short: its log has " + std::to_string(bytes.size()) + " bytes" +
                   (size_reader.bad ? std::string() : ", and should have " + std::to_string(begin + 4) + " and " +
                                                          std::to_string(size)));
  }
  if (bytes.size() - begin - 4 > size) return corrupt("there is something behind its end");
  const std::string_view head = std::string_view(text).substr(0, text.size() - parts[3].size());
  uint32_t sum = check_sum(kCheckSumStart, head.data(), head.size());
  sum = check_sum(sum, bytes.data() + begin, static_cast<size_t>(size));
  Reader sum_reader{bytes, static_cast<size_t>(begin + size)};
  if (sum_reader.fixed(4) != sum) return corrupt("its check sum is wrong: something was changed on its way");

  // What has the right check sum may still have been made up by somebody.
  bytes.resize(static_cast<size_t>(begin + size));
  Reader in{bytes, begin};
  Token token;
  token.experiment = parts[1];
  token.profile = parts[2];
  const uint64_t oracle_size = in.number();
  if (in.bad || oracle_size > 256 || oracle_size > bytes.size() - in.at) return corrupt("its oracle is malformed");
  token.oracle.assign(bytes.begin() + static_cast<ptrdiff_t>(in.at),
                      bytes.begin() + static_cast<ptrdiff_t>(in.at + oracle_size));
  in.at += static_cast<size_t>(oracle_size);
  token.end_hash = in.fixed(8);
  token.log.hash = in.fixed(8);
  token.log.choices = in.number();
  const uint64_t site_count = in.number();
  if (in.bad || site_count > (bytes.size() - in.at) / 4) return corrupt("its sites are malformed");
  std::vector<uint32_t> sites;
  for (uint64_t i = 0; i < site_count; ++i) sites.push_back(static_cast<uint32_t>(in.fixed(4)));
  const uint64_t entry_count = in.number();
  if (in.bad || entry_count > kLoggedChoicesMax || entry_count > (bytes.size() - in.at) / 6) {
    return corrupt("its choices are malformed");
  }
  uint64_t position = 0;
  for (uint64_t i = 0; i < entry_count; ++i) {
    const uint64_t gap = in.number(), value = in.number(), n = in.number(), site = in.number();
    const uint64_t prefix = in.fixed(2);
    position += gap + 1;
    if (in.bad || gap > UINT32_MAX || n < 2 || n > UINT32_MAX || (value >> 2) == 0 || (value >> 2) >= n ||
        site >= sites.size() || position > token.log.choices) {
      return corrupt("its choice " + std::to_string(i + 1) + " of " + std::to_string(entry_count) + " is malformed");
    }
    token.log.entries.push_back(LoggedChoice{static_cast<uint32_t>(gap), static_cast<uint32_t>(value >> 2),
                                             static_cast<uint32_t>(n), sites[static_cast<size_t>(site)],
                                             static_cast<uint16_t>(prefix), static_cast<Choice>(value & 3)});
  }
  if (in.at != bytes.size()) return corrupt("its log is longer than its choices");
  return token;
}

}  // namespace bmcpair::lab
