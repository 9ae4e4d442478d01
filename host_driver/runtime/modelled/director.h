// Who decides in the modelled runtime: the chooser, told what kind of decision it is (design.md §4 "One chooser").
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "proto/base/chooser.h"

namespace bmcpair::rt::inline modelled {

using TaskId = uint16_t;

// Names a place where something is decided. The same text in every run and every build; the text outlives the run.
struct Site {
  // FNV-1a of the text.
  static constexpr uint32_t hash_of(std::string_view text) {
    uint32_t h = 2166136261u;
    for (char c : text) h = (h ^ static_cast<uint8_t>(c)) * 16777619u;
    return h;
  }
  constexpr explicit Site(std::string_view text) : name(text), hash(hash_of(text)) {}
  std::string_view name;
  uint32_t hash;
};

enum class Choice : uint8_t {
  kTask,      // who goes on: tasks[i]; tasks[0] is the one that would by itself. From tasks.size() on: the one that runs
              // stalls, for stall_of(i - tasks.size())
  kDuration,  // how long something takes: 0 the usual, then the unusual ones
  kLoad,      // which store an atomic load reads: 0 the newest, then older and older
  kData,      // anything else: whether a fault fires, a byte
};

// Between the deadlines and latencies of the stack: 50 us, 1 ms, 20 ms, 300 ms, 3 s, 30 s, and then as long as the earliest deadline that
// anybody waits for, so that what is stalled comes right after it.
constexpr uint32_t kStalls = 7;

class Director : public Chooser {
 public:
  // One of 0..n-1, n at least 2; 0 is the tamest. tasks: of kTask only.
  virtual uint32_t choose(Choice kind, uint32_t n, const Site& site, std::span<const TaskId> tasks) = 0;

  uint32_t pick(uint32_t n, std::string_view site) final {
    return n < 2 ? 0 : choose(Choice::kData, n, Site(site), {});
  }
};

}  // namespace bmcpair::rt::inline modelled
