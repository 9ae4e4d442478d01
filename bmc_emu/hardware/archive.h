// State to bytes and back. A class lists its members once, in `template <class A> void visit(A& a)`, and both
// directions follow from it. Little-endian, no padding.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "proto/base/hex.h"
#include "proto/base/time.h"

namespace bmcpair::hardware {

class Writer {
 public:
  static constexpr bool kLoading = false;

  template <class... T>
  void operator()(const T&... values) {
    (put(values), ...);
  }
  template <class E>
  void enumeration(const E& value, E /*last*/) {
    put(static_cast<uint8_t>(value));
  }
  Bytes take() { return std::move(out_); }

 private:
  template <class T>
  void put(const T& value) {
    static_assert(std::is_integral_v<T>);
    auto rest = static_cast<uint64_t>(value);
    for (size_t i = 0; i < sizeof(T); ++i, rest >>= 8) out_.push_back(static_cast<uint8_t>(rest));
  }
  void put(const Duration& value) { put(static_cast<int64_t>(value.count())); }
  void put(const Instant& value) { put(value.time_since_epoch()); }
  void put(const Bytes& value) {
    put(static_cast<uint32_t>(value.size()));
    out_.insert(out_.end(), value.begin(), value.end());
  }

  Bytes out_;
};

// Reads what Writer wrote. After the first thing that does not fit every value is left as it is and ok() is false.
class Reader {
 public:
  static constexpr bool kLoading = true;

  explicit Reader(ByteView in) : in_(in) {}

  template <class... T>
  void operator()(T&... values) {
    (get(values), ...);
  }
  template <class E>
  void enumeration(E& value, E last) {
    uint8_t raw = 0;
    get(raw);
    if (raw > static_cast<uint8_t>(last)) fail();
    if (ok_) value = static_cast<E>(raw);
  }
  void fail() { ok_ = false; }
  bool ok() const { return ok_; }
  bool at_end() const { return position_ == in_.size(); }
  size_t position() const { return position_; }

 private:
  template <class T>
  void get(T& value) {
    static_assert(std::is_integral_v<T>);
    if (!ok_ || in_.size() - position_ < sizeof(T)) return fail();
    uint64_t raw = 0;
    for (size_t i = 0; i < sizeof(T); ++i) raw |= uint64_t{in_[position_ + i]} << (8 * i);
    if constexpr (std::is_same_v<T, bool>) {
      if (raw > 1) return fail();
    }
    position_ += sizeof(T);
    value = static_cast<T>(raw);
  }
  void get(Duration& value) {
    int64_t count = 0;
    get(count);
    if (ok_) value = Duration(count);
  }
  void get(Instant& value) {
    Duration since{0};
    get(since);
    if (ok_) value = Instant(since);
  }
  void get(Bytes& value) {
    uint32_t size = 0;
    get(size);
    if (!ok_ || in_.size() - position_ < size) return fail();
    value.assign(in_.begin() + static_cast<std::ptrdiff_t>(position_),
                 in_.begin() + static_cast<std::ptrdiff_t>(position_ + size));
    position_ += size;
  }

  ByteView in_;
  size_t position_ = 0;
  bool ok_ = true;
};

}  // namespace bmcpair::hardware
