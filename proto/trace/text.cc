#include "proto/trace/text.h"

#include <cstdint>

namespace bmcpair::trace {
namespace {

bool continues(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

// Bytes of the character at `i`, 0 where none is well-formed (RFC 3629 §4) or it is a control or no character.
size_t character_at(std::string_view text, size_t i) {
  const auto c = static_cast<unsigned char>(text[i]);
  if (c < 0x80) return c >= 0x20 && c != 0x7f ? 1 : 0;
  const size_t n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
  if (c < 0xc2 || c > 0xf4 || i + n > text.size()) return 0;
  uint32_t code = c & (0xffu >> (n + 1));
  for (size_t k = 1; k < n; ++k) {
    if (!continues(text[i + k])) return 0;
    code = code << 6 | (static_cast<unsigned char>(text[i + k]) & 0x3f);
  }
  if ((n == 3 && code < 0x800) || (n == 4 && (code < 0x10000 || code > 0x10ffff))) return 0;
  if (code < 0xa0 || (code >= 0xd800 && code <= 0xdfff) || (code & 0xfffe) == 0xfffe) return 0;
  return n;
}

}  // namespace

std::string clean_utf8(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const size_t n = character_at(text, i);
    if (n == 0) {
      out += text[i] == '\n' || text[i] == '\t' ? ' ' : '?';
      ++i;
    } else {
      out += text.substr(i, n);
      i += n;
    }
  }
  return out;
}

std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (char c : clean_utf8(text)) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

std::string xml_text(std::string_view text) {
  std::string out;
  for (char c : clean_utf8(text)) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
  return out;
}

size_t characters_of(std::string_view clean) {
  size_t n = 0;
  for (char c : clean) n += continues(c) ? 0 : 1;
  return n;
}

std::string shortened(std::string_view clean, size_t characters_max) {
  if (characters_of(clean) <= characters_max) return std::string(clean);
  size_t end = 0;
  for (size_t n = 0; end < clean.size(); ++end) {
    if (continues(clean[end])) continue;
    if (++n == characters_max) break;
  }
  return std::string(clean.substr(0, end)) + "\u2026";
}

}  // namespace bmcpair::trace
