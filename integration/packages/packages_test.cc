// What people install and how they use it: the CMake package with the example project, the Debian packages in a clean root, manual
// pages and completion beside the programs' own help, the service's unit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "integration/system/process.h"

namespace bmcpair::integration {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

constexpr std::chrono::seconds kLong{840};
const char* const kPrograms[] = {"bmc_emu", "bmcctl", "host_driver", "vfio_bridge", "bmc_lab"};

Finished run_long(std::vector<std::string> argv, std::vector<std::string> environment = {}) {
  Process process(std::move(argv), std::move(environment));
  const int status = process.wait(kLong);
  return {status, process.out(), process.err()};
}

std::string said(const Finished& f) { return f.out + f.err; }

std::string file_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

std::string page(const std::string& name) { return std::string(BMCPAIR_BUILD_DIR) + "/packaging/pages/" + name; }

struct Helped {
  std::string command;  // "bmcctl sensor set"
  std::vector<std::string> path;
  std::set<std::string> options;
};

// Every --help of a program, its subcommands' included, read independently of packaging/pages.py.
void read_help(const std::string& name, std::vector<std::string> path, std::vector<Helped>* out) {
  std::vector<std::string> argv{program(name)};
  argv.insert(argv.end(), path.begin(), path.end());
  argv.push_back("--help");
  const Finished help = run(argv);
  ASSERT_EQ(help.status, 0) << name << ": " << said(help);
  Helped here{name, path, {}};
  static const std::regex option("--?[A-Za-z0-9][A-Za-z0-9-]*"), command_line("^  ([a-z][a-z0-9_-]*)( |$)");
  for (const std::string& word : path) here.command += " " + word;
  std::istringstream lines(help.out);
  std::vector<std::string> commands;
  bool in_commands = false;
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty() && line[0] != ' ') in_commands = line == "Subcommands:";
    std::smatch m;
    if (in_commands && std::regex_search(line, m, command_line)) commands.push_back(m[1]);
    if (line.rfind("  -", 0) == 0) {
      const std::string names = line.substr(0, line.find(' ', 2)).substr(2);
      for (std::sregex_iterator i(names.begin(), names.end(), option), end; i != end; ++i) here.options.insert(i->str());
    }
  }
  out->push_back(here);
  for (const std::string& command : commands) {
    path.push_back(command);
    read_help(name, path, out);
    path.pop_back();
  }
}

std::vector<Helped> help_of(const std::string& name) {
  std::vector<Helped> out;
  read_help(name, {}, &out);
  return out;
}

}  // namespace

TEST(Packages, AManualPageNamesEveryCommandAndEveryOptionOfItsProgram) {
  for (const char* name : kPrograms) {
    const Finished shown = run({"sh", "-c", "man --warnings -E UTF-8 -P cat -l \"$1\" | col -bx", "sh", page(std::string(name) + ".1.gz")},
                               {"MANWIDTH=250", "LC_ALL=C.UTF-8"});
    ASSERT_EQ(shown.status, 0) << said(shown);
    EXPECT_EQ(shown.err, "") << name;
    for (const char* section : {"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES", "SEE ALSO"})
      EXPECT_THAT(shown.out, HasSubstr(std::string("\n") + section + "\n")) << name;
    const auto all = help_of(name);
    size_t options = 0;
    for (const Helped& help : all) {
      EXPECT_THAT(shown.out, HasSubstr(help.command)) << name;
      for (const std::string& option : help.options) EXPECT_THAT(shown.out, HasSubstr(option)) << help.command;
      options += help.options.size();
    }
    EXPECT_GT(options, 3u) << name;
  }
}

TEST(Packages, CompletionOffersEveryCommandAndEveryOptionWhereItsProgramTakesThem) {
  // complete WORD...: what bash would offer for the last word.
  const char* script = R"(
. "$1"
shift
function=$(complete -p "$1" | sed -n 's/.* -F \([^ ]*\) .*/\1/p')
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
"$function"
printf '%s\n' "${COMPREPLY[@]}"
)";
  auto offered = [&](const std::string& name, std::vector<std::string> words) {
    std::vector<std::string> argv{"bash", "-c", script, "bash", page(name + ".bash"), name};
    argv.insert(argv.end(), words.begin(), words.end());
    const Finished done = run(argv);
    EXPECT_EQ(done.status, 0) << said(done);
    EXPECT_EQ(done.err, "");
    std::set<std::string> out;
    std::istringstream lines(done.out);
    for (std::string line; std::getline(lines, line);) out.insert(line);
    return out;
  };
  for (const char* name : kPrograms) {
    for (const Helped& help : help_of(name)) {
      std::vector<std::string> words = help.path;
      words.push_back("-");
      const auto options = offered(name, words);
      for (const std::string& option : help.options) EXPECT_TRUE(options.count(option)) << help.command << ": " << option;
      if (help.path.empty()) continue;
      std::vector<std::string> before(help.path.begin(), help.path.end() - 1);
      before.push_back(help.path.back().substr(0, 2));
      EXPECT_TRUE(offered(name, before).count(help.path.back())) << help.command;
    }
  }
  EXPECT_EQ(offered("bmc_emu", {"--log-level", "de"}), std::set<std::string>{"debug"});
  EXPECT_TRUE(offered("bmcctl", {"--address", "unix:/x", "--timeout", "3", "fault", "l"}).count("list"));
}

TEST(Packages, AnInstalledBmcpairIsFoundByAUsersProjectWhoseTestPasses) {
  TemporaryFolder folder;
  const std::string prefix = folder / "prefix", build = folder / "build", project = folder / "gtest";
  const Finished installed = run_long({"cmake", "--install", BMCPAIR_BUILD_DIR, "--component", "dev", "--prefix", prefix});
  ASSERT_EQ(installed.status, 0) << said(installed);
  // A copy, so that nothing of the repository is beside it.
  fs::copy(source_file("examples/gtest"), project, fs::copy_options::recursive);
  const Finished configured =
      run_long({"cmake", "-S", project, "-B", build, "-G", "Ninja", "-DCMAKE_PREFIX_PATH=" + prefix, "-DCMAKE_CXX_STANDARD=17",
                "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Wpedantic -Wshadow -Werror", "-DCMAKE_FIND_USE_PACKAGE_REGISTRY=OFF"});
  ASSERT_EQ(configured.status, 0) << said(configured);
  const Finished built = run_long({"cmake", "--build", build});
  ASSERT_EQ(built.status, 0) << said(built);
  const Finished tested = run_long({"ctest", "--test-dir", build, "--output-on-failure", "--no-tests=error"});
  EXPECT_EQ(tested.status, 0) << said(tested);
  EXPECT_THAT(tested.out, HasSubstr("100% tests passed, 0 tests failed out of 3"));

  static const std::regex include(R"(^\s*#\s*include\s*[<"]([^>"]+))");
  // Nothing of this repository or of gRPC shows in what a user includes.
  for (const auto& entry : fs::recursive_directory_iterator(prefix + "/include")) {
    if (!entry.is_regular_file()) continue;
    std::istringstream lines(file_text(entry.path()));
    for (std::string line; std::getline(lines, line);) {
      std::smatch m;
      if (!std::regex_search(line, m, include)) continue;
      const std::string target = m[1];
      EXPECT_TRUE(target.find('/') == std::string::npos || target.rfind("bmcpair/", 0) == 0 || target.rfind("gtest/", 0) == 0 ||
                  target.rfind("gmock/", 0) == 0)
          << entry.path() << " includes " << target;
    }
  }
  // A component that is not there is named.
  std::ofstream(project + "/CMakeLists.txt") << "cmake_minimum_required(VERSION 3.20)\nproject(x LANGUAGES CXX)\n"
                                                "find_package(bmcpair 0.1 REQUIRED COMPONENTS kernel)\n";
  const Finished wrong = run_long({"cmake", "-S", project, "-B", folder / "wrong", "-DCMAKE_PREFIX_PATH=" + prefix});
  EXPECT_NE(wrong.status, 0);
  EXPECT_THAT(wrong.err, HasSubstr("no component 'kernel'"));
}

TEST(Packages, TheServiceIsSoundAndCanDoLittleElse) {
  TemporaryFolder folder;
  // The unit names the installed program, which need not be on this machine.
  std::string unit = file_text(source_file("packaging/bmc_emu.service"));
  ASSERT_NE(unit.find("/usr/bin/bmc_emu"), std::string::npos);
  unit.replace(unit.find("/usr/bin/bmc_emu"), 16, program("bmc_emu"));
  const std::string file = folder / "bmc_emu.service";
  write_file(file, unit);
  const Finished sound = run({"systemd-analyze", "verify", "--man=no", file});
  EXPECT_EQ(sound.status, 0) << said(sound);
  EXPECT_THAT(said(sound), Not(HasSubstr("bmc_emu.service")));
  const Finished exposed = run({"systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", file});
  EXPECT_EQ(exposed.status, 0) << said(exposed);
}

TEST(Packages, InACleanRootTheyInstallServeAndLeaveNothingBehind) {
  TemporaryFolder folder;
  const Finished packaged =
      run_long({source_file("scripts/package"), "--build", BMCPAIR_BUILD_DIR, "--output", folder / "packages"});
  ASSERT_EQ(packaged.status, 0) << said(packaged);
  const Finished done = run_long({source_file("integration/packages/clean_root"), folder / "packages"});
  EXPECT_EQ(done.status, 0) << said(done);
  EXPECT_THAT(done.out, HasSubstr("clean_root: all is well")) << said(done);
}

}  // namespace bmcpair::integration
