// Who decides in the modelled runtime: the chooser, told what kind of decision it is (design.md §4 "One chooser").
#pragma once

#include <array>
#include <cstddef>
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

constexpr uint64_t add_to_hash(uint64_t hash, Choice kind, uint32_t n, uint32_t site) {
  hash ^= (static_cast<uint64_t>(kind) << 62) ^ (static_cast<uint64_t>(n) << 32) ^ site;
  hash *= 0x9e3779b97f4a7c15u;
  return hash ^ (hash >> 29);
}

// The account of a run's choices, and how many of the next ones are tame already: those the world keeps account of by itself,
// and asks nobody. Most choices of most runs are so, and a call a choice would cost more than what is chosen about.
struct ChoiceBook {
  static constexpr uint64_t kHashStart = 0xcbf29ce484222325u;
  static constexpr size_t kKinds = 4;
  static constexpr size_t kAlone = kKinds;  // kTask where only tasks[0] could go on: it goes on, or stalls
  static constexpr uint32_t kSeenSlots = 4096;

  uint64_t hash = kHashStart;  // over kind, site and n of each
  uint64_t choices = 0;
  std::array<uint64_t, kKinds> by_kind{};    // by Choice
  std::array<uint64_t, kKinds + 1> tame{};   // by Choice, and kAlone
  uint64_t tame_tasks = 0;                   // of kTask, alone or not: as many are tame as this and theirs above allow
  std::array<uint32_t, kSeenSlots> seen{};   // sites, each where its hash says; about others the director is asked

  void add(Choice kind, uint32_t n, uint32_t site) {
    hash = add_to_hash(hash, kind, n, site);
    ++choices;
    ++by_kind[static_cast<size_t>(kind)];
  }
  bool has_seen(uint32_t site) const { return seen[site % kSeenSlots] == site; }
  void see(uint32_t site) { seen[site % kSeenSlots] = site; }
  // Counts one off, if the next choice is one of those that are tame already.
  bool take_tame(Choice kind) {
    if (tame[static_cast<size_t>(kind)] == 0) return false;
    --tame[static_cast<size_t>(kind)];
    return true;
  }
  bool take_tame_task(bool alone) {
    uint64_t& left = tame[alone ? kAlone : static_cast<size_t>(Choice::kTask)];
    if (left == 0 || tame_tasks == 0) return false;
    --left;
    --tame_tasks;
    return true;
  }
  // Whether this choice is made with that; it is in the account then.
  bool passes(Choice kind, uint32_t n, const Site& site) {
    if (!has_seen(site.hash) || !take_tame(kind)) return false;
    add(kind, n, site.hash);
    return true;
  }
  bool passes_task(bool alone, uint32_t n, const Site& site) {
    if (!has_seen(site.hash) || !take_tame_task(alone)) return false;
    add(Choice::kTask, n, site.hash);
    return true;
  }
};

class Director : public Chooser {
 public:
  // One of 0..n-1, n at least 2; 0 is the tamest. tasks: of kTask only.
  virtual uint32_t choose(Choice kind, uint32_t n, const Site& site, std::span<const TaskId> tasks) = 0;

  uint32_t pick(uint32_t n, std::string_view site) final {
    return n < 2 ? 0 : choose(Choice::kData, n, Site(site), {});
  }
  // Null: every choice is to be asked for.
  ChoiceBook* book() const { return book_; }

 protected:
  ChoiceBook* book_ = nullptr;  // outlives the director's use
};

}  // namespace bmcpair::rt::inline modelled
