// Who decides in the modelled runtime: the chooser, told what kind of decision it is (design.md §4 "One chooser").
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "proto/base/chooser.h"

namespace bmcpair::rt::inline modelled {

using TaskId = uint16_t;

// Names a place where something is decided: the same in every run and in every build of one source, wherever it lies.
struct Site {
  // FNV-1a.
  static constexpr uint32_t hash_of(std::string_view text, uint32_t h = 2166136261u) {
    for (char c : text) h = (h ^ static_cast<uint8_t>(c)) * 16777619u;
    return h;
  }
  // The text outlives the run.
  constexpr explicit Site(std::string_view text) : name(text), hash(hash_of(text)) {}
  constexpr Site(std::string_view file, uint32_t line_) : name(file), line(line_), hash(hash_of(file) ^ line_ * 2654435761u) {}

  std::string text() const { return line ? std::string(name) + ':' + std::to_string(line) : std::string(name); }

  std::string_view name;  // or the file's, without its folder
  uint32_t line = 0;
  uint32_t hash;
};

// A call's own place, as a default argument.
struct Here : Site {
  consteval Here(const char* file = __builtin_FILE(), unsigned line_ = __builtin_LINE()) : Site(base_of(file), line_) {}
  explicit constexpr Here(const Site& site) : Site(site) {}

 private:
  static consteval std::string_view base_of(std::string_view path) { return path.substr(path.rfind('/') + 1); }
};

enum class Choice : uint8_t {
  kTask,      // who goes on: tasks[i]; tasks[0] is the one that would by itself. From tasks.size() on: tasks[0] stalls, the
              // longer the greater i is
  kDuration,  // how long something takes: 0 the usual, then the unusual ones
  kLoad,      // which store an atomic load reads: 0 the newest, then older and older
  kData,      // anything else: whether a fault fires, a byte
};

// How many lengths of a stall there are (World::stall_until).
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
