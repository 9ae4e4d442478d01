#include "proto/ipmi/type_length.h"

namespace bmcpair::ipmi {
namespace {

constexpr std::string_view kBcdPlus = "0123456789 -.:,_";

void append_utf8(std::string& out, uint32_t code) {
  if (code < 0x80) {
    out.push_back(static_cast<char>(code));
  } else if (code < 0x800) {
    out.push_back(static_cast<char>(0xc0 | code >> 6));
    out.push_back(static_cast<char>(0x80 | (code & 0x3f)));
  } else {
    out.push_back(static_cast<char>(0xe0 | code >> 12));
    out.push_back(static_cast<char>(0x80 | (code >> 6 & 0x3f)));
    out.push_back(static_cast<char>(0x80 | (code & 0x3f)));
  }
}

// UTF-8 whose characters all fit into Latin-1.
std::optional<Bytes> to_latin1(std::string_view text) {
  Bytes out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    auto c = static_cast<uint8_t>(text[i]);
    if (c < 0x80) {
      out.push_back(c);
      continue;
    }
    // C2 and C3 lead the two-byte sequences of 80h..FFh.
    if ((c != 0xc2 && c != 0xc3) || i + 1 >= text.size()) return std::nullopt;
    auto next = static_cast<uint8_t>(text[++i]);
    if ((next & 0xc0) != 0x80) return std::nullopt;
    out.push_back(static_cast<uint8_t>((c & 3) << 6 | (next & 0x3f)));
  }
  return out;
}

}  // namespace

std::string decode_string(StringCoding coding, ByteView bytes) {
  std::string out;
  switch (coding) {
    case StringCoding::kBinary:
      return to_hex(bytes, "");
    case StringCoding::kBcdPlus:
      for (uint8_t b : bytes) {
        out.push_back(kBcdPlus[b >> 4]);
        out.push_back(kBcdPlus[b & 15]);
      }
      return out;
    case StringCoding::kSixBit: {
      uint32_t held = 0;
      unsigned bits = 0;
      for (uint8_t b : bytes) {
        held |= static_cast<uint32_t>(b) << bits;
        bits += 8;
        while (bits >= 6) {
          out.push_back(static_cast<char>(0x20 + (held & 0x3f)));
          held >>= 6;
          bits -= 6;
        }
      }
      // Four characters fill three bytes: after other counts the packing leaves blanks nobody wrote.
      while (!out.empty() && out.back() == ' ') out.pop_back();
      return out;
    }
    case StringCoding::kEightBit:
      for (uint8_t b : bytes) append_utf8(out, b);
      return out;
  }
  return out;
}

std::string decode_ucs2(ByteView bytes) {
  std::string out;
  for (size_t i = 0; i + 1 < bytes.size(); i += 2) {
    uint32_t code = static_cast<uint32_t>(bytes[i] | bytes[i + 1] << 8);
    append_utf8(out, code >= 0xd800 && code <= 0xdfff ? 0xfffd : code);  // UCS-2 has no surrogates
  }
  return out;
}

std::optional<Bytes> encode_string(StringCoding coding, std::string_view text) {
  Bytes out;
  switch (coding) {
    case StringCoding::kBinary:
      return from_hex(text);
    case StringCoding::kBcdPlus: {
      for (size_t i = 0; i < text.size(); i += 2) {
        size_t high = kBcdPlus.find(text[i]);
        size_t low = i + 1 < text.size() ? kBcdPlus.find(text[i + 1]) : kBcdPlus.find(' ');
        if (high == kBcdPlus.npos || low == kBcdPlus.npos) return std::nullopt;
        out.push_back(static_cast<uint8_t>(high << 4 | low));
      }
      return out;
    }
    case StringCoding::kSixBit: {
      uint32_t held = 0;
      unsigned bits = 0;
      for (char c : text) {
        if (c < 0x20 || c > 0x5f) return std::nullopt;
        held |= static_cast<uint32_t>(c - 0x20) << bits;
        bits += 6;
        while (bits >= 8) {
          out.push_back(static_cast<uint8_t>(held));
          held >>= 8;
          bits -= 8;
        }
      }
      if (bits > 0) out.push_back(static_cast<uint8_t>(held));
      return out;
    }
    case StringCoding::kEightBit:
      return to_latin1(text);
  }
  return std::nullopt;
}

}  // namespace bmcpair::ipmi
