// Where all chance comes from (design.md §4 "One chooser"): who must decide something that is not determined asks for
// a number, and says for what. A live daemon draws from a seed; a laboratory searches, replays and shrinks.
#pragma once

#include <cstdint>
#include <string_view>

#include "proto/base/random.h"

namespace bmcpair {

class Chooser {
 public:
  virtual ~Chooser() = default;
  // One of 0..n-1; n is at least 1. 0 is the tamest choice: nothing unusual happens. `site` names the decision, the
  // same in every run.
  virtual uint32_t pick(uint32_t n, std::string_view site) = 0;
};

class SeededChooser final : public Chooser {
 public:
  explicit SeededChooser(uint64_t seed) : random_(seed) {}
  uint32_t pick(uint32_t n, std::string_view) override { return static_cast<uint32_t>(random_.below(n)); }

 private:
  Random random_;
};

}  // namespace bmcpair
