// The house's rules that a compiler does not check (design.md §3): which way the arrows point between rooms, and
// which words a pure room does not know. Reads the sources as they are.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace bmcpair::tidy {
namespace {

namespace fs = std::filesystem;

struct Source {
  std::string path;  // from the root, with '/'
  std::vector<std::string> lines;
};

bool ends_with(const std::string& s, std::string_view end) {
  return s.size() >= end.size() && s.compare(s.size() - end.size(), end.size(), end) == 0;
}
bool starts_with(const std::string& s, std::string_view start) { return s.compare(0, start.size(), start) == 0; }

const std::vector<Source>& sources() {
  static const std::vector<Source> all = [] {
    std::vector<Source> out;
    for (const char* room : {"proto", "bmc_emu", "host_driver", "vfio_bridge", "integration"}) {
      for (const auto& entry : fs::recursive_directory_iterator(fs::path(BMCPAIR_SOURCE_DIR) / room)) {
        std::string path = fs::relative(entry.path(), BMCPAIR_SOURCE_DIR).generic_string();
        if (!ends_with(path, ".h") && !ends_with(path, ".cc")) continue;
        Source source{path, {}};
        std::ifstream in(entry.path());
        for (std::string line; std::getline(in, line);) source.lines.push_back(line);
        out.push_back(std::move(source));
      }
    }
    std::sort(out.begin(), out.end(), [](const Source& a, const Source& b) { return a.path < b.path; });
    return out;
  }();
  return all;
}

// Tests, and what only tests include.
bool is_test(const Source& source) {
  std::string name = source.path.substr(source.path.rfind('/') + 1);
  return ends_with(name, "_test.cc") || name == "testing.h" || starts_with(name, "test_") || ends_with(name, "_fixture.h");
}

// The code of a line: no comment, no string contents.
std::string code_of(const std::string& line) {
  std::string out;
  bool in_string = false;
  for (size_t i = 0; i < line.size(); ++i) {
    char c = line[i];
    if (in_string) {
      if (c == '\\') ++i;
      else if (c == '"') in_string = false;
      continue;
    }
    if (c == '"') { in_string = true; continue; }
    if (c == '/' && i + 1 < line.size() && line[i + 1] == '/') break;
    out += c;
  }
  return out;
}

struct Include {
  std::string target;
  bool ours;  // "..." rather than <...>
  size_t line;
};

std::vector<Include> includes_of(const Source& source) {
  static const std::regex pattern(R"(^\s*#\s*include\s*([<"])([^>"]+)[>"])");
  std::vector<Include> out;
  for (size_t i = 0; i < source.lines.size(); ++i) {
    std::smatch m;
    if (std::regex_search(source.lines[i], m, pattern)) out.push_back({m[2], m[1] == "\"", i + 1});
  }
  return out;
}

struct Room {
  std::string folder;
  std::vector<std::string> may_include;  // other rooms, besides itself
  bool pure;                             // no clock, thread, socket, file, log
  bool outside_libraries;                // Boost, gRPC, yaml-cpp, spdlog, SQLite...
};

// design.md §3, drawn as data. The longest matching folder is a file's room.
const std::vector<Room>& rooms() {
  static const std::vector<Room> table = {
      {"proto", {}, true, false},
      {"bmc_emu/hardware", {"proto"}, true, false},
      {"bmc_emu/firmware", {"proto"}, true, false},
      {"bmc_emu/faults", {"proto"}, true, false},
      {"bmc_emu/storage", {"proto", "bmc_emu/firmware"}, false, true},
      {"bmc_emu/board",
       {"proto", "bmc_emu/hardware", "bmc_emu/faults", "bmc_emu/firmware", "bmc_emu/storage"},
       false, false},
      {"bmc_emu/transport",
       {"proto", "bmc_emu/board", "bmc_emu/faults", "bmc_emu/firmware", "bmc_emu/hardware"},
       false, true},
      {"bmc_emu/daemon",
       {"proto", "bmc_emu/hardware", "bmc_emu/faults", "bmc_emu/firmware", "bmc_emu/storage", "bmc_emu/board",
        "bmc_emu/transport", "vfio_bridge"},
       false, true},
      {"host_driver/runtime", {"proto", "host_driver/runtime/modelled"}, false, false},
      // Boost.Context.
      {"host_driver/runtime/modelled", {"proto", "host_driver/runtime"}, false, true},
      {"host_driver/state_machine", {"proto"}, true, false},
      // Of the state machines only which historical behaviour is wanted.
      {"host_driver/message_handler",
       {"proto", "host_driver/runtime", "host_driver/state_machine/profile.h"},
       false, false},
      {"host_driver/system_interface",
       {"proto", "host_driver/runtime", "host_driver/state_machine", "host_driver/message_handler"},
       false, false},
      {"host_driver/device_node", {"proto", "host_driver/runtime", "host_driver/message_handler"}, false, false},
      {"host_driver/port_io", {"proto", "host_driver/device_node/packet_socket.h"}, false, false},
      {"host_driver/bus", {"proto"}, false, true},
      {"host_driver/cli",
       {"proto", "host_driver/runtime", "host_driver/state_machine", "host_driver/message_handler",
        "host_driver/system_interface", "host_driver/bus", "host_driver/device_node", "host_driver/port_io"},
       false, true},
      {"vfio_bridge", {"proto"}, false, true},
      {"integration",
       {"proto", "bmc_emu", "host_driver", "vfio_bridge"},
       false, true},
  };
  return table;
}

const Room* room_of(const std::string& path) {
  const Room* best = nullptr;
  for (const Room& room : rooms()) {
    if (starts_with(path, room.folder + "/") && (!best || room.folder.size() > best->folder.size())) best = &room;
  }
  return best;
}

// Programs may link both sides: the two main files that open buses.
const std::map<std::string, std::vector<std::string>>& program_exceptions() {
  static const std::map<std::string, std::vector<std::string>> table = {
      {"host_driver/cli/main.cc", {"integration/pair"}},
      {"vfio_bridge/main.cc", {"host_driver/bus"}},
  };
  return table;
}

bool outside_library(const std::string& target) {
  for (const char* prefix : {"boost/", "grpc", "google/protobuf", "yaml-cpp/", "spdlog/", "fmt/", "sqlite3", "nlohmann/", "CLI/"}) {
    if (starts_with(target, prefix)) return true;
  }
  return false;
}

}  // namespace

TEST(Tidy, EveryFileHasARoom) {
  ASSERT_GT(sources().size(), 50u) << "the sources were not found below " << BMCPAIR_SOURCE_DIR;
  for (const Source& source : sources()) EXPECT_NE(room_of(source.path), nullptr) << source.path;
}

TEST(Tidy, ArrowsBetweenRoomsNeverTurnRound) {
  for (const Source& source : sources()) {
    const Room* room = room_of(source.path);
    if (!room) continue;
    for (const Include& include : includes_of(source)) {
      const Room* target = room_of(include.target);
      if (!target) {
        EXPECT_FALSE(include.ours && include.target.find('/') != std::string::npos &&
                     !starts_with(include.target, "proto/rpc/"))
            << source.path << ":" << include.line << ": \"" << include.target << "\" is in no room";
        continue;
      }
      if (target == room) continue;
      bool allowed = std::any_of(room->may_include.begin(), room->may_include.end(), [&](const std::string& r) {
        return include.target == r || starts_with(include.target, r + "/");
      });
      auto exception = program_exceptions().find(source.path);
      if (exception != program_exceptions().end()) {
        for (const std::string& r : exception->second) allowed |= starts_with(include.target, r + "/");
      }
      EXPECT_TRUE(allowed) << source.path << ":" << include.line << ": " << room->folder << " must not include "
                           << include.target;
    }
  }
}

TEST(Tidy, LibrariesFromOutsideStayInTheirRooms) {
  for (const Source& source : sources()) {
    const Room* room = room_of(source.path);
    if (!room || room->outside_libraries) continue;
    for (const Include& include : includes_of(source)) {
      EXPECT_FALSE(outside_library(include.target))
          << source.path << ":" << include.line << ": " << room->folder << " must not know " << include.target;
    }
  }
}

// What is built a second time on fibers must be determined by its choices (models_to_learn_from.md "Determinism").
TEST(Tidy, TheDriverStandsOnItsRuntimeAlone) {
  static const std::regex banned(
      R"(std::(mutex|shared_mutex|condition_variable|thread|jthread|this_thread|atomic<|atomic_|future|random_device|mt19937|unordered_|chrono::(steady|system)_clock)|\b(rand|srand|thread_local)\b)");
  for (const Source& source : sources()) {
    if (!starts_with(source.path, "host_driver/message_handler/") &&
        !starts_with(source.path, "host_driver/system_interface/")) {
      continue;
    }
    if (is_test(source)) continue;
    for (size_t i = 0; i < source.lines.size(); ++i) {
      EXPECT_FALSE(std::regex_search(code_of(source.lines[i]), banned))
          << source.path << ":" << i + 1 << ": " << source.lines[i];
    }
  }
}

TEST(Tidy, PureRoomsKnowNoClockThreadSocketFileOrChance) {
  static const std::set<std::string> banned_headers = {
      "thread", "mutex", "shared_mutex", "condition_variable", "future", "semaphore", "atomic", "random", "fstream",
      "iostream", "filesystem", "ctime", "time.h", "unordered_map", "unordered_set", "unistd.h",
      "sys/socket.h", "sys/types.h", "poll.h", "signal.h", "csignal", "pthread.h"};
  static const std::regex banned_words(
      R"(\b(steady_clock|system_clock|high_resolution_clock|this_thread|rand|srand|time\s*\(\s*(nullptr|NULL|0)\s*\)|sleep_for|unordered_\w+|f?printf|fputs|puts|fopen|std::cout|std::cerr|thread_local)\b)");
  for (const Source& source : sources()) {
    const Room* room = room_of(source.path);
    if (!room || !room->pure || is_test(source)) continue;
    for (const Include& include : includes_of(source)) {
      EXPECT_FALSE(!include.ours && banned_headers.count(include.target))
          << source.path << ":" << include.line << ": a pure room must not include <" << include.target << ">";
    }
    for (size_t i = 0; i < source.lines.size(); ++i) {
      EXPECT_FALSE(std::regex_search(code_of(source.lines[i]), banned_words))
          << source.path << ":" << i + 1 << ": " << source.lines[i];
    }
  }
}

TEST(Tidy, TheDriverUsesNoLockAtomicThreadOrClockButTheRuntimes) {
  static const std::regex banned(
      R"(\b(std::(mutex|atomic|thread|condition_variable|shared_mutex|lock_guard|unique_lock|call_once|this_thread)|steady_clock|system_clock|thread_local|unordered_\w+)\b)");
  for (const Source& source : sources()) {
    if (is_test(source)) continue;
    if (!starts_with(source.path, "host_driver/message_handler/") &&
        !starts_with(source.path, "host_driver/system_interface/")) {
      continue;
    }
    for (size_t i = 0; i < source.lines.size(); ++i) {
      EXPECT_FALSE(std::regex_search(code_of(source.lines[i]), banned))
          << source.path << ":" << i + 1 << ": " << source.lines[i];
    }
  }
}

TEST(Tidy, NothingIsLeftForLaterAndNoTestIsSwitchedOff) {
  const std::regex banned(std::string("\\b(TO") + "DO|FIX" + "ME|HA" + "CK)\\b|GTEST_" + "SKIP|DIS" + "ABLED_");
  for (const Source& source : sources()) {
    for (size_t i = 0; i < source.lines.size(); ++i) {
      EXPECT_FALSE(std::regex_search(source.lines[i], banned)) << source.path << ":" << i + 1 << ": " << source.lines[i];
    }
  }
}

TEST(Tidy, EveryHeaderGuardsItself) {
  for (const Source& source : sources()) {
    if (!ends_with(source.path, ".h")) continue;
    bool guarded = std::any_of(source.lines.begin(), source.lines.end(),
                               [](const std::string& line) { return line == "#pragma once"; });
    EXPECT_TRUE(guarded) << source.path;
  }
}

TEST(Tidy, TestsSitBesideTheCodeTheyTest) {
  std::set<std::string> paths;
  for (const Source& source : sources()) paths.insert(source.path);
  for (const Source& source : sources()) {
    if (!ends_with(source.path, "_test.cc") || starts_with(source.path, "integration/")) continue;
    std::string folder = source.path.substr(0, source.path.rfind('/') + 1);
    bool beside = std::any_of(paths.begin(), paths.end(), [&](const std::string& p) {
      return starts_with(p, folder) && p.find('/', folder.size()) == std::string::npos && !ends_with(p, "_test.cc");
    });
    EXPECT_TRUE(beside) << source.path;
  }
}

}  // namespace bmcpair::tidy
