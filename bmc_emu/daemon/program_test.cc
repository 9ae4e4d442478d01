// The real bmc_emu: what it says, what it serves, how it ends.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "bmc_emu/daemon/bmcctl.h"
#include "bmc_emu/daemon/config.h"
#include "bmc_emu/daemon/log.h"
#include "bmc_emu/daemon/options.h"
#include "bmc_emu/daemon/run_directory.h"

extern char** environ;

namespace bmcpair::daemon {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

class Folder {
 public:
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "bmcpair-daemon.XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  std::string write(const std::string& name, const std::string& content) const {
    std::ofstream(*this / name, std::ios::binary) << content;
    return *this / name;
  }

 private:
  std::string path_;
};

// A bmc_emu under test, its output in files of the folder.
class Program {
 public:
  Program(const Folder& folder, std::vector<std::string> arguments, std::vector<std::string> environment = {}, int in = -1)
      : out_(folder / "stdout"), err_(folder / "stderr") {
    arguments.insert(arguments.begin(), std::string(BMCPAIR_BIN_DIR) + "/bmc_emu");
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    if (in >= 0) {
      posix_spawn_file_actions_adddup2(&actions, in, 0);
    } else {
      posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    }
    posix_spawn_file_actions_addopen(&actions, 1, out_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_addopen(&actions, 2, err_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    std::vector<char*> variables;
    for (std::string& variable : environment) variables.push_back(variable.data());
    for (char** variable = environ; *variable; ++variable) variables.push_back(*variable);
    variables.push_back(nullptr);
    int failed = ::posix_spawn(&pid_, argv[0], &actions, nullptr, argv.data(), variables.data());
    posix_spawn_file_actions_destroy(&actions);
    if (failed) {
      pid_ = -1;
      ADD_FAILURE() << "cannot start " << arguments[0];
    }
  }
  ~Program() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
  }
  std::string out() const { return slurp(out_); }
  std::string err() const { return slurp(err_); }
  void signal(int number) { ::kill(pid_, number); }

  // Exit code; minus the signal that ended it.
  int wait() {
    int status = 0;
    auto end = std::chrono::steady_clock::now() + 60s;
    while (::waitpid(pid_, &status, WNOHANG) == 0) {
      if (std::chrono::steady_clock::now() > end) {
        ADD_FAILURE() << "it does not end; it said:\n" << out() << err();
        return -1000;
      }
      ::poll(nullptr, 0, 5);
    }
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  bool wait_until_ready() {
    return wait_until([this] { return out().find("bmc_emu: ready\n") != std::string::npos; });
  }
  template <class Condition>
  bool wait_until(Condition condition) {
    auto end = std::chrono::steady_clock::now() + 60s;
    while (!condition()) {
      int status = 0;
      if (std::chrono::steady_clock::now() > end || ::waitpid(pid_, &status, WNOHANG) == pid_) {
        ADD_FAILURE() << "it is not ready; it said:\n" << out() << err();
        return false;
      }
      ::poll(nullptr, 0, 5);
    }
    return true;
  }

 private:
  static std::string slurp(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
  }
  std::string out_, err_;
  pid_t pid_ = -1;
};

const char* const kSmall =
    "bmcs:\n  - name: a\n    interfaces:\n      - {kind: kcs, vfio_user: {socket: \"${RUN}/a.sock\"}}\n      - {kind: "
    "bt}\n";

TEST(Program, RefusesAWrongConfigurationWithPlaceAndExitCode3) {
  Folder folder;
  std::string file = folder.write(
      "bad.yaml", "bmcs:\n  - name: a\n    interfaces:\n      - kind: bt\n        latnecy: {}\n  - name: a\n");
  for (bool check : {false, true}) {
    Program program(folder, check ? std::vector<std::string>{file, "--check"} : std::vector<std::string>{file});
    EXPECT_EQ(program.wait(), kExitConfiguration);
    EXPECT_THAT(
        program.err(),
        HasSubstr(
            file +
            ":5:9: bmcs[0].interfaces[0].latnecy: unknown key 'latnecy' in an interface; did you mean 'latency'?"));
    EXPECT_THAT(program.err(), HasSubstr("already a BMC named 'a'"));
    EXPECT_EQ(program.out(), "");
  }
}

TEST(Program, AFileThatIsNotThereIsExitCode3) {
  Folder folder;
  Program program(folder, {folder / "none.yaml"});
  EXPECT_EQ(program.wait(), kExitConfiguration);
  EXPECT_THAT(program.err(), HasSubstr("none.yaml: cannot open it: No such file or directory"));
}

TEST(Program, AWrongCommandLineIsExitCode2) {
  Folder folder;
  std::string file = folder.write("a.yaml", kSmall);
  for (std::vector<std::string> arguments : {std::vector<std::string>{},
                                             {file, "--nonsense"},
                                             {file, "--threads", "0"},
                                             {file, "--log-level", "loud"},
                                             {file, "--tls-cert", "x"},
                                             {file, "second"}}) {
    Program program(folder, arguments);
    EXPECT_EQ(program.wait(), kExitUsage);
    EXPECT_FALSE(program.err().empty());
  }
}

TEST(Program, HelpDocumentsTheExitCodes) {
  Folder folder;
  Program program(folder, {"--help"});
  EXPECT_EQ(program.wait(), kExitOk);
  for (const char* part :
       {"Exit codes: 0", "2 wrong command line", "3 wrong configuration", "--listen", "--run-dir", "--tls-client-ca"}) {
    EXPECT_THAT(program.out(), HasSubstr(part));
  }
}

TEST(Program, CheckSaysWhatIsThereAndServesNothing) {
  Folder folder;
  std::string file = folder.write("a.yaml", kSmall);
  Program program(folder, {file, "--check", "--run-dir", folder / "run"});
  EXPECT_EQ(program.wait(), kExitOk);
  EXPECT_THAT(program.out(), HasSubstr("no mistake: 1 BMC, 2 interfaces"));
  EXPECT_FALSE(std::filesystem::exists(folder / "run"));
}

TEST(Program, TakesFaultsWhileItRunsAndTellsTheirMistakesAsAConfigurations) {
  Folder folder;
  std::string file = folder.write("a.yaml", std::string(kSmall) + "    faults: [{cc: d5, cmd: get_device_id}]\n");
  Program program(folder, {file, "--run-dir", folder / "run"});
  ASSERT_TRUE(program.wait_until_ready());
  auto bmcctl = [&](std::vector<std::string> words, std::string* out, std::string* err) {
    words.insert(words.begin(), {"bmcctl", "--address", folder / "run/bmc_emu.sock"});
    std::vector<const char*> argv;
    for (const auto& w : words) argv.push_back(w.c_str());
    std::ostringstream o, e;
    int code = run_bmcctl(static_cast<int>(argv.size()), argv.data(), o, e, false);
    *out = o.str();
    *err = e.str();
    return code;
  };
  std::string out, err;
  EXPECT_EQ(bmcctl({"fault", "add", "a", "interrupt=storm duration=1s"}, &out, &err), 0) << err;
  EXPECT_EQ(bmcctl({"fault", "list"}, &out, &err), 0) << err;
  EXPECT_THAT(out, HasSubstr("cc=d5 netfn=0x06 cmd=0x01"));
  EXPECT_THAT(out, HasSubstr("interrupt=storm duration=1s"));
  std::string rules = folder.write("rules.yaml", "faults:\n  - cc: d5\n    cuont: 2\n  - drop: all\n");
  EXPECT_EQ(bmcctl({"fault", "add", "a", rules}, &out, &err), kBmcctlFailed);
  EXPECT_THAT(err, HasSubstr("bmcctl: " + rules + ":3:5: faults[0].cuont: unknown key 'cuont'"));
  EXPECT_THAT(err, HasSubstr("bmcctl: " + rules + ":4:11: faults[1].drop: expected one of: request, answer"));
  program.signal(SIGTERM);
  EXPECT_EQ(program.wait(), kExitOk);
}

TEST(Program, PrintsTheSchema) {
  Folder folder;
  Program program(folder, {"--schema"});
  EXPECT_EQ(program.wait(), kExitOk);
  EXPECT_EQ(program.out(), config_schema_json());
}

TEST(Program, ListensOnPrivateSocketsAndStopsCleanly) {
  Folder folder;
  std::string file = folder.write("a.yaml", kSmall);
  for (int signal : {SIGTERM, SIGINT}) {
    Program program(folder, {file, "--run-dir", folder / "run", "--state", folder / "state"});
    ASSERT_TRUE(program.wait_until_ready());
    EXPECT_THAT(program.out(), HasSubstr("gRPC on unix:" + (folder / "run/bmc_emu.sock") + " (this user only)"));
    EXPECT_THAT(program.out(), HasSubstr("vfio-user of a/kcs on " + (folder / "run/a.sock")));
    struct stat info {};
    ASSERT_EQ(::stat((folder / "run").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0700u);
    for (const char* socket : {"run/bmc_emu.sock", "run/a.sock"}) {
      ASSERT_EQ(::stat((folder / socket).c_str(), &info), 0) << socket;
      EXPECT_EQ(info.st_mode & 0777, 0600u) << socket;
    }
    program.signal(signal);
    EXPECT_EQ(program.wait(), kExitOk) << program.err();
    EXPECT_FALSE(std::filesystem::exists(folder / "run/bmc_emu.sock"));
    EXPECT_FALSE(std::filesystem::exists(folder / "run/a.sock"));
  }
}

TEST(Program, SaysClearlyWhenItListensOnTcp) {
  Folder folder;
  std::string file = folder.write("a.yaml", "bmcs: [{name: a}]\n");
  Program program(folder, {file, "--listen", ":0", "--listen", folder / "s.sock"});
  ASSERT_TRUE(program.wait_until_ready());
  EXPECT_THAT(program.out(), HasSubstr("gRPC on 127.0.0.1:"));
  EXPECT_THAT(program.out(), HasSubstr("(TCP, plain text: whoever reaches it controls these BMCs)"));
  program.signal(SIGTERM);
  EXPECT_EQ(program.wait(), kExitOk);
}

TEST(Program, ASecondDaemonOnTheSameSocketIsRefusedAndTheFirstGoesOn) {
  Folder folder;
  Folder second_folder;
  std::string file = folder.write("a.yaml", "bmcs: [{name: a}]\n");
  Program first(folder, {file, "--listen", folder / "s.sock"});
  ASSERT_TRUE(first.wait_until_ready());
  {
    Program second(second_folder, {file, "--listen", folder / "s.sock"});
    EXPECT_EQ(second.wait(), kExitStart);
    EXPECT_THAT(second.err(), HasSubstr("s.sock"));
  }
  EXPECT_TRUE(std::filesystem::exists(folder / "s.sock"));
  first.signal(SIGTERM);
  EXPECT_EQ(first.wait(), kExitOk);
}

TEST(Program, ASecondDaemonOnTheSameStateIsRefused) {
  Folder folder;
  Folder second_folder;
  std::string file = folder.write("a.yaml", "bmcs: [{name: a}]\n");
  Program first(folder, {file, "--listen", folder / "1.sock", "--state", folder / "state"});
  ASSERT_TRUE(first.wait_until_ready());
  Program second(second_folder, {file, "--listen", folder / "2.sock", "--state", folder / "state"});
  EXPECT_EQ(second.wait(), kExitStart);
  EXPECT_THAT(second.err(), HasSubstr(folder / "state"));
}

TEST(Program, ARunDirectoryThatOthersMayWriteToIsRefused) {
  Folder folder;
  std::string file = folder.write("a.yaml", kSmall);
  std::filesystem::create_directory(folder / "run");
  std::filesystem::permissions(folder / "run", std::filesystem::perms::all);
  Program program(folder, {file, "--run-dir", folder / "run"});
  EXPECT_EQ(program.wait(), kExitStart);
  EXPECT_THAT(program.err(), HasSubstr("must be private"));
}

// The messages of a log in JSON, in order; every line must be such an object.
std::vector<std::string> messages_of(const std::string& log) {
  std::vector<std::string> out;
  std::istringstream lines(log);
  for (std::string line; std::getline(lines, line);) {
    auto parsed = nlohmann::json::parse(line, nullptr, false);
    if (!parsed.is_object() || !parsed.contains("time") || !parsed.contains("level") || !parsed.contains("message")) {
      ADD_FAILURE() << line;
      continue;
    }
    out.push_back(parsed["message"]);
  }
  return out;
}

TEST(Program, InJsonAllThatItSaysIsOnStandardOutputAndParses) {
  Folder folder;
  std::string file = folder.write("a.yaml", "bmcs: [{name: a}]\n");
  Program program(folder, {file, "--listen", folder / "s.sock", "--log-format", "json", "--log-level", "error"});
  ASSERT_TRUE(program.wait_until([&] { return program.out().find("\"ready\"") != std::string::npos; }));
  program.signal(SIGTERM);
  EXPECT_EQ(program.wait(), kExitOk);
  EXPECT_EQ(program.err(), "");
  auto quiet = messages_of(program.out());
  EXPECT_THAT(quiet, ::testing::Contains(HasSubstr("gRPC on unix:")));
  EXPECT_THAT(quiet, ::testing::Not(::testing::Contains("stopped"))) << "what is announced has no level, the log has";
  Program second(folder, {file, "--listen", folder / "s.sock", "--log-format", "json", "--log-level", "info"});
  ASSERT_TRUE(second.wait_until([&] { return second.out().find("\"ready\"") != std::string::npos; }));
  second.signal(SIGTERM);
  EXPECT_EQ(second.wait(), kExitOk);
  EXPECT_THAT(messages_of(second.out()), ::testing::Contains("stopped"));
}

TEST(Program, ReadsItsOptionsFromTheEnvironmentAndTheCommandLineGoesFirst) {
  Folder folder;
  std::string file = folder.write("a.yaml", "bmcs: [{name: a}]\n");
  std::vector<std::string> environment = {"BMCPAIR_CONFIG=" + file,
                                          "BMCPAIR_LISTEN=unix:${RUN}/1.sock,127.0.0.1:0",
                                          "BMCPAIR_RUN_DIR=" + (folder / "run"),
                                          "BMCPAIR_STATE=" + (folder / "state"),
                                          "BMCPAIR_LOG_FORMAT=json",
                                          "BMCPAIR_LOG_LEVEL="};
  {
    Program program(folder, {}, environment);
    ASSERT_TRUE(program.wait_until([&] { return program.out().find("\"ready\"") != std::string::npos; }));
    auto said = messages_of(program.out());
    EXPECT_THAT(said, ::testing::Contains(HasSubstr("gRPC on unix:" + (folder / "run/1.sock"))));
    EXPECT_THAT(said, ::testing::Contains(HasSubstr("gRPC on 127.0.0.1:")));
    EXPECT_THAT(said, ::testing::Contains("state is kept in " + (folder / "state")));
    program.signal(SIGTERM);
    EXPECT_EQ(program.wait(), kExitOk);
  }
  {
    Program program(folder, {"--listen", folder / "2.sock", "--log-format", "text"}, environment);
    ASSERT_TRUE(program.wait_until_ready());
    EXPECT_THAT(program.out(), HasSubstr("gRPC on unix:" + (folder / "2.sock")));
    EXPECT_THAT(program.out(), ::testing::Not(HasSubstr("127.0.0.1")));
    program.signal(SIGTERM);
    EXPECT_EQ(program.wait(), kExitOk);
  }
  environment.push_back("BMCPAIR_THREADS=many");
  Program program(folder, {}, environment);
  EXPECT_EQ(program.wait(), kExitUsage);
  EXPECT_THAT(program.err(), HasSubstr("--threads"));
}

TEST(Program, StopsWithItsStandardInputWhereThatWasAskedFor) {
  Folder folder;
  std::string file = folder.write("a.yaml", "bmcs: [{name: a}]\n");
  int pipe[2];
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  Program program(folder, {file, "--listen", folder / "s.sock", "--stop-with-stdin"}, {}, pipe[0]);
  ::close(pipe[0]);
  ASSERT_TRUE(program.wait_until_ready());
  ASSERT_EQ(::write(pipe[1], "what is written does nothing\n", 29), 29);
  ::close(pipe[1]);
  EXPECT_EQ(program.wait(), kExitOk);
  EXPECT_FALSE(std::filesystem::exists(folder / "s.sock"));
}

TEST(Log, EscapesWhatJsonMustNotHold) { EXPECT_EQ(json_escaped("a\"b\\c\n\x01"), "a\\\"b\\\\c\\u000a\\u0001"); }

TEST(RunDirectory, IsMadeWithItsParents) {
  Folder folder;
  ASSERT_TRUE(make_private_directory(folder / "a/b/c"));
  ASSERT_TRUE(make_private_directory(folder / "a/b/c")) << "again";
  struct stat info {};
  ASSERT_EQ(::stat((folder / "a/b/c").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
}

TEST(RunDirectory, AFileInItsPlaceIsRefused) {
  Folder folder;
  folder.write("file", "");
  EXPECT_FALSE(make_private_directory(folder / "file"));
  EXPECT_FALSE(make_private_directory(folder / "file/sub"));
}

}  // namespace
}  // namespace bmcpair::daemon
