// What a run decided, kept small: only the choices that were not the tamest, each with how many tame ones came before it,
// and one hash over where every choice was made. A run is its log: the same log, given again, is the same run.
#pragma once

#include <cstdint>
#include <vector>

#include "integration/lab/experiment.h"

namespace bmcpair::lab {

// A run decides at most this often other than tamely; afterwards it is tame.
constexpr uint32_t kLoggedChoicesMax = 1u << 20;

// One choice other than 0.
struct LoggedChoice {
  uint32_t gap = 0;    // choices of 0 since the one before, or since the beginning
  uint32_t value = 0;  // 1..n-1
  uint32_t n = 0;
  uint32_t site = 0;    // Site::hash
  uint16_t prefix = 0;  // of ChoiceLog::hash as it was with this choice in it: what came before was the same
  Choice kind = Choice::kTask;
  bool operator==(const LoggedChoice&) const = default;
};

struct ChoiceLog {
  std::vector<LoggedChoice> entries;
  uint64_t choices = 0;         // all, the tame ones too
  uint64_t hash = rt::ChoiceBook::kHashStart;  // over kind, site and n of each
  bool operator==(const ChoiceLog&) const = default;
};

constexpr uint16_t prefix_of(uint64_t hash) { return static_cast<uint16_t>(hash >> 24); }

std::string_view to_string(Choice kind);

}  // namespace bmcpair::lab
