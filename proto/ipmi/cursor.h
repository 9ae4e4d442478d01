// A bounds-checked reader with a sticky error: read everything, then ask ok() once.
#pragma once

#include <cstdint>
#include <span>

#include "proto/base/hex.h"

namespace bmcpair::ipmi {

// Little-endian, as all multi-byte IPMI fields are (§1.6 "least significant byte first").
class Reader {
 public:
  explicit Reader(ByteView bytes) : rest_(bytes) {}

  uint8_t u8() {
    auto b = take(1);
    return b.empty() ? 0 : b[0];
  }
  uint16_t u16() {
    auto b = take(2);
    return b.empty() ? 0 : static_cast<uint16_t>(b[0] | b[1] << 8);
  }
  uint32_t u24() {
    auto b = take(3);
    return b.empty() ? 0 : static_cast<uint32_t>(b[0] | b[1] << 8 | b[2] << 16);
  }
  uint32_t u32() {
    uint32_t low = u16();
    return low | static_cast<uint32_t>(u16()) << 16;
  }
  // Exactly n bytes, or an empty view and a failed reader.
  ByteView take(size_t n) {
    if (n > rest_.size()) {
      failed_ = true;
      rest_ = {};
      return {};
    }
    auto out = rest_.first(n);
    rest_ = rest_.subspan(n);
    return out;
  }
  ByteView rest() {
    auto out = rest_;
    rest_ = {};
    return out;
  }
  size_t remaining() const { return rest_.size(); }
  // Nothing was read past the end.
  bool ok() const { return !failed_; }
  // ... and nothing is left over.
  bool done() const { return !failed_ && rest_.empty(); }

 private:
  ByteView rest_;
  bool failed_ = false;
};

class Writer {
 public:
  Writer& u8(uint8_t v) {
    out_.push_back(v);
    return *this;
  }
  Writer& u16(uint16_t v) { return u8(static_cast<uint8_t>(v)).u8(static_cast<uint8_t>(v >> 8)); }
  Writer& u24(uint32_t v) { return u16(static_cast<uint16_t>(v)).u8(static_cast<uint8_t>(v >> 16)); }
  Writer& u32(uint32_t v) { return u16(static_cast<uint16_t>(v)).u16(static_cast<uint16_t>(v >> 16)); }
  Writer& bytes(ByteView v) {
    out_.insert(out_.end(), v.begin(), v.end());
    return *this;
  }
  Bytes finish() { return std::move(out_); }

 private:
  Bytes out_;
};

}  // namespace bmcpair::ipmi
