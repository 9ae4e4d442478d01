// host_driver run: an unmodified program, its signals, its exit status, and what is left behind (nothing).
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "integration/system/process.h"

namespace bmcpair::integration {
namespace {

namespace fs = std::filesystem;


// A run whose private folder lies in a folder of the test's.
class Run : public ::testing::Test {
 protected:
  std::vector<std::string> argv(std::vector<std::string> program_and_arguments, const std::string& config = "configs/demo.yaml") {
    std::vector<std::string> out{program("host_driver"), "run", "--timeout", "60", "--config", source_file(config), "--"};
    out.insert(out.end(), program_and_arguments.begin(), program_and_arguments.end());
    return out;
  }
  std::vector<std::string> environment() { return {"TMPDIR=" + folder_.path()}; }
  Finished run(std::vector<std::string> program_and_arguments, const std::string& config = "configs/demo.yaml") {
    return integration::run(argv(std::move(program_and_arguments), config), environment());
  }
  bool folder_is_empty() { return fs::is_empty(folder_.path()); }
  // What a killed run leaves is cleared by somebody else; that takes as long as it takes.
  bool becomes_empty() {
    for (int i = 0; i < 600 && !folder_is_empty(); ++i) ::usleep(100'000);
    return folder_is_empty();
  }
  static bool gone(pid_t pid) {
    for (int i = 0; i < 600; ++i) {
      std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
      std::string text((std::istreambuf_iterator<char>(stat)), {});
      const size_t end = text.rfind(')');
      if (end == std::string::npos || text.compare(end, 4, ") Z ") == 0) return true;
      ::usleep(100'000);
    }
    return false;
  }

  TemporaryFolder folder_;
};

std::string text_of(const std::string& path) {
  std::ifstream in(path);
  return {(std::istreambuf_iterator<char>(in)), {}};
}

}  // namespace

TEST_F(Run, IpmitoolPrintsTheSensorsOfAConfiguration) {
  const Finished done = run({"ipmitool", "sdr"});
  EXPECT_EQ(done.status, 0) << done.err;
  EXPECT_NE(done.out.find("CPU Temp"), std::string::npos) << done.out << done.err;
  EXPECT_EQ(done.err, "") << "nobody asked for more";
  EXPECT_TRUE(folder_is_empty());
}

TEST_F(Run, TheProgramsExitStatusIsOurs) {
  EXPECT_EQ(run({"true"}).status, 0);
  EXPECT_EQ(run({"sh", "-c", "exit 42"}).status, 42);
  EXPECT_EQ(run({"sh", "-c", "kill -KILL $$"}).status, 128 + SIGKILL);
  EXPECT_EQ(run({"sh", "-c", "kill -USR1 $$"}).status, 128 + SIGUSR1);
  EXPECT_TRUE(folder_is_empty());
}

TEST_F(Run, TheProgramHasItsOwnOptionsStandardInputAndEnvironment) {
  TemporaryFolder other;
  write_file(other / "in", "from the input\n");
  const Finished done = integration::run({"sh", "-c",
                                          "\"$0\" run --config \"$1\" -- sh -c 'cat; echo $LD_PRELOAD; echo \"$@\"' -- --bus -v -- --config <\"$2\"",
                                          program("host_driver"), source_file("configs/one-kcs.yaml"), other / "in"},
                                         {"LD_PRELOAD=", "TMPDIR=" + folder_.path()});
  EXPECT_EQ(done.status, 0) << done.err;
  EXPECT_EQ(done.out.find("from the input\n"), 0u) << done.out;
  EXPECT_NE(done.out.find("libbmcpair_ipmi.so"), std::string::npos) << done.out;
  EXPECT_NE(done.out.find("libbmcpair_ports.so"), std::string::npos) << done.out;
  EXPECT_NE(done.out.find("\n--bus -v -- --config\n"), std::string::npos) << done.out;
}

TEST_F(Run, WhatWasPreloadedBeforeStays) {
  const Finished done = integration::run(argv({"sh", "-c", "echo $LD_PRELOAD"}, "configs/one-kcs.yaml"),
                                         {"LD_PRELOAD=libm.so.6", "TMPDIR=" + folder_.path(),
                                          // An instrumented host_driver would rather come first itself.
                                          "ASAN_OPTIONS=verify_asan_link_order=0"});
  EXPECT_EQ(done.status, 0) << done.err;
  EXPECT_NE(done.out.find(":libm.so.6\n"), std::string::npos) << done.out;
}

TEST_F(Run, BmcctlInsideReachesThePrivateDaemonWhichListensNowhereElse) {
  write_file(folder_ / "loud.yaml",
             "daemon:\n  listen: [\"127.0.0.1:0\"]\n  state: " + folder_.path() + "/kept\nbmcs:\n  - name: loud\n    interfaces:\n"
             "      - {kind: bt, vm: {listen: \"tcp:127.0.0.1:0\"}}\n      - {kind: kcs, vfio_user: {socket: " + folder_.path() + "/loud.sock}}\n");
  const Finished done = integration::run({program("host_driver"), "run", "--config", folder_ / "loud.yaml", "--", "sh", "-c",
                                          "\"$0\" list && ls -ld \"${BMCPAIR_ADDRESS#unix:}\" \"$(dirname \"${BMCPAIR_ADDRESS#unix:}\")\" && ls \"$1\"",
                                          program("bmcctl"), folder_.path()},
                                         environment());
  EXPECT_EQ(done.status, 0) << done.err;
  EXPECT_NE(done.out.find("loud"), std::string::npos) << done.out;
  EXPECT_NE(done.out.find("srw-------"), std::string::npos) << done.out;
  EXPECT_NE(done.out.find("drwx------"), std::string::npos) << done.out;
  EXPECT_EQ(done.out.find("loud.sock"), std::string::npos) << done.out;
  EXPECT_EQ(done.out.find("kept"), std::string::npos) << done.out;
}

TEST_F(Run, SignalsReachTheProgramAndItsAnswerIsOurs) {
  for (int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1}) {
    Process process(argv({"sh", "-c", "trap 'echo got; exit 9' INT TERM HUP QUIT USR1; echo up; while :; do sleep 0.1; done"}), environment());
    ASSERT_TRUE(process.wait_for_output("up\n")) << process.err();
    process.signal(number);
    EXPECT_EQ(process.wait(), 9) << number;
    EXPECT_EQ(process.out(), "up\ngot\n") << number;
  }
  Process process(argv({"sh", "-c", "echo up; exec sleep 1000"}), environment());
  ASSERT_TRUE(process.wait_for_output("up\n")) << process.err();
  process.signal(SIGTERM);
  EXPECT_EQ(process.wait(), 128 + SIGTERM);
  EXPECT_TRUE(folder_is_empty());
}

TEST_F(Run, AKilledRunLeavesNothing) {
  TemporaryFolder other;
  Process process(argv({"sh", "-c", "echo $$ >\"$0\"; echo $PPID; echo up; exec sleep 1000", other / "pid"}), environment());
  ASSERT_TRUE(process.wait_for_output("up\n")) << process.err();
  EXPECT_FALSE(folder_is_empty());
  // Its children: the program and the daemon.
  const std::string children = text_of("/proc/" + std::to_string(process.pid()) + "/task/" + std::to_string(process.pid()) + "/children");
  process.signal(SIGKILL);
  process.wait();
  std::istringstream pids(children);
  int seen = 0;
  for (pid_t pid; pids >> pid; ++seen) EXPECT_TRUE(gone(pid)) << pid;
  EXPECT_GE(seen, 2) << children;
  EXPECT_TRUE(becomes_empty());
}

TEST_F(Run, AProgramThatCannotBeStartedIsSaidBeforeAnythingIs) {
  TemporaryFolder other;
  write_file(other / "plain", "no program\n");
  const struct {
    std::string program;
    int status;
    std::string says;
  } cases[] = {{"no-such-program-anywhere", 127, "PATH"},
               {other / "missing", 127, "no such file"},
               {other / "plain", 126, "not executable"},
               {other.path(), 126, "directory"}};
  for (const auto& c : cases) {
    const Finished done = run({c.program});
    EXPECT_EQ(done.status, c.status) << c.program << done.err;
    EXPECT_NE(done.err.find(c.says), std::string::npos) << done.err;
    EXPECT_EQ(lines_of(done.err), 1) << done.err;
  }
  write_file(other / "script", "#!/no/such/interpreter\n");
  ASSERT_EQ(::chmod((other / "script").c_str(), 0755), 0);
  const Finished done = run({other / "script"});
  EXPECT_EQ(done.status, 127) << done.err;
  EXPECT_NE(done.err.find("interpreter"), std::string::npos) << done.err;
}

TEST_F(Run, AStaticProgramIsToldThatItWillSeeNothingAndRuns) {
  const Finished done = run({program("static_client")});
  EXPECT_EQ(done.status, 0) << done.err;
  EXPECT_EQ(done.out, "static\n");
  EXPECT_NE(done.err.find("statically linked"), std::string::npos) << done.err;
  EXPECT_EQ(lines_of(done.err), 1) << done.err;
}

TEST_F(Run, WhatIsMissingOrWrongIsOneLine) {
  auto refused = [&](std::vector<std::string> arguments, int status, const std::string& says) {
    arguments.insert(arguments.begin(), {program("host_driver"), "run"});
    const Finished done = integration::run(arguments, environment());
    EXPECT_EQ(done.status, status) << done.err;
    EXPECT_NE(done.err.find(says), std::string::npos) << done.err;
    EXPECT_EQ(lines_of(done.err), 1) << done.err;
    EXPECT_TRUE(folder_is_empty());
  };
  const std::string config = source_file("configs/one-kcs.yaml");
  refused({"--config", "/nowhere/x.yaml", "--", "true"}, 125, "/nowhere/x.yaml");
  refused({"--bus", "grpc:unix:/nowhere/x.sock", "--timeout", "1", "--", "true"}, 125, "--config");
  refused({"--bus", "nonsense", "--", "true"}, 2, "forms:");
  refused({"--", "true"}, 2, "--config FILE or --bus");
  refused({"--config", config}, 2, "no program");
  refused({"--config", config, "--bus", "grpc:x", "--", "true"}, 2, "one of them");
  refused({"--bus", "in-process:" + config, "--state", "/tmp/x", "--", "true"}, 2, "--state");
  refused({"--config", config, "--profile", "linux-2.4", "--", "true"}, 2, "linux-6.1");
}

TEST_F(Run, AMissingBmcEmuIsOneLineThatSaysWhereItWasExpected) {
  fs::create_directories(folder_ / "install/bin");
  fs::create_directories(folder_ / "install/lib");
  fs::copy_file(program("host_driver"), folder_ / "install/bin/host_driver");
  fs::copy(fs::path(BMCPAIR_BIN_DIR).parent_path() / "lib/bmcpair", folder_ / "install/lib/bmcpair",
           fs::copy_options::recursive | fs::copy_options::copy_symlinks);
  const Finished done =
      integration::run({folder_ / "install/bin/host_driver", "run", "--config", source_file("configs/one-kcs.yaml"), "--", "true"}, environment());
  EXPECT_EQ(done.status, 125);
  EXPECT_NE(done.err.find(folder_ / "install/bin/bmc_emu"), std::string::npos) << done.err;
  EXPECT_EQ(lines_of(done.err), 1) << done.err;
}

TEST_F(Run, ADaemonThatDiesInTheMiddleIsSaid) {
  Process process(argv({"sh", "-c", "echo up; exec sleep 1000"}), environment());
  ASSERT_TRUE(process.wait_for_output("up\n")) << process.err();
  std::istringstream children(text_of("/proc/" + std::to_string(process.pid()) + "/task/" + std::to_string(process.pid()) + "/children"));
  for (pid_t pid; children >> pid;) {
    if (text_of("/proc/" + std::to_string(pid) + "/comm") == "bmc_emu\n") ::kill(pid, SIGKILL);
  }
  EXPECT_TRUE(process.wait_for_output("the private bmc_emu has ended (killed by signal 9)")) << process.err();
  process.signal(SIGTERM);
  EXPECT_EQ(process.wait(), 128 + SIGTERM);
}

TEST_F(Run, ABusThatIsBusyIsTheOpensErrorAndSaysWhoHasIt) {
  TemporaryFolder other;
  Daemon daemon(other, source_file("configs/one-kcs.yaml"));
  Process holder({program("host_driver"), "--bus", daemon.bus(""), "--timeout", "60", "watch"});
  ASSERT_TRUE(holder.wait_for_output("watching")) << holder.err();
  const Finished done = integration::run({program("host_driver"), "run", "--timeout", "5", "--bus", daemon.bus(""), "--", "ipmitool", "raw", "6", "1"},
                                         environment());
  EXPECT_EQ(done.status, 1);
  EXPECT_NE(done.err.find("host_driver["), std::string::npos) << done.err;
}

TEST_F(Run, TheInterfacesOfADaemonAreTheDevicesInItsOrder) {
  TemporaryFolder other;
  Daemon daemon(other, source_file("configs/demo.yaml"));
  for (const auto& [number, product] : {std::pair{"0", "0c 0b"}, {"2", ""}}) {
    const Finished done =
        integration::run({program("host_driver"), "run", "--timeout", "60", "--bus", daemon.bus(""), "--", "ipmitool", "-d", number, "raw", "6", "1"}, environment());
    EXPECT_EQ(done.status, 0) << done.err;
    EXPECT_NE(done.out.find(product), std::string::npos) << done.out;
  }
}

}  // namespace bmcpair::integration
