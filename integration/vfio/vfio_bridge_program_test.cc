// The programs as they ship: bmc_emu, vfio_bridge in front of it, and the host's vfio-user bus in front of that.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "host_driver/bus/vfio_user.h"
#include "proto/base/hex.h"
#include "proto/registers/bt.h"

namespace bmcpair {
namespace {

namespace bt = registers::bt;

template <class F>
bool eventually(F condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

class Program {
 public:
  explicit Program(std::vector<std::string> args) {
    args.front() = std::string(BMCPAIR_BIN_DIR) + "/" + args.front();
    std::vector<char*> argv;
    for (std::string& a : args) argv.push_back(a.data());
    argv.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      int null = ::open("/dev/null", O_RDWR);
      ::dup2(null, 1);
      ::dup2(null, 2);
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
  }
  ~Program() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
  }
  int stop() {
    ::kill(pid_, SIGTERM);
    return wait();
  }
  int wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  pid_t pid_ = -1;
};

class VfioBridgeProgramTest : public ::testing::Test {
 protected:
  VfioBridgeProgramTest() {
    char name[] = "/tmp/bmcpair-bridge-XXXXXX";
    directory_ = ::mkdtemp(name);
  }
  ~VfioBridgeProgramTest() override { std::filesystem::remove_all(directory_); }
  std::string in(const std::string& name) const { return directory_ + "/" + name; }
  std::unique_ptr<Program> daemon() {
    return std::make_unique<Program>(
        std::vector<std::string>{"bmc_emu", std::string(BMCPAIR_SOURCE_DIR) + "/configs/one-bt.yaml", "--listen",
                                 "unix:" + in("g"), "--run-dir", in("run"), "--state", in("state")});
  }
  std::unique_ptr<Program> bridge() {
    // A daemon that an instrumented build makes slow is not a daemon that is away.
    return std::make_unique<Program>(std::vector<std::string>{"vfio_bridge", "--bus", "grpc:unix:" + in("g"), "--socket",
                                                              in("v"), "--answer-ms", "4000"});
  }
  Result<std::unique_ptr<registers::RegisterPort>> open() {
    Result<std::unique_ptr<registers::RegisterPort>> port = Error{ErrorCode::kInternal, "never tried"};
    eventually([&] {
      bus::VfioUserOptions patient;
      patient.reply_wait = std::chrono::seconds(30);  // until a bridge whose daemon is not ready yet has refused, too
      port = bus::connect_vfio_user(in("v"), patient);
      return port.ok() || port.error().code == ErrorCode::kBusy;
    });
    return port;
  }
  std::string directory_;
};

// Get Device ID by hand (IPMI 2.0 rev 1.1 §11.4, §20.1); empty when something does not come.
Bytes device_id(registers::RegisterPort& port) {
  if (!eventually([&] { return (port.read(bt::kCtrl) & (bt::kH2bAtn | bt::kBBusy)) == 0; })) return {};
  port.write(bt::kCtrl, bt::kClrWrPtr);
  port.write_burst(bt::kBuffer, Bytes{3, 0x06 << 2, 0x77, 0x01});
  port.write(bt::kCtrl, bt::kH2bAtn);
  if (!eventually([&] { return (port.read(bt::kCtrl) & bt::kB2hAtn) != 0; })) return {};
  port.write(bt::kCtrl, bt::kHBusy);
  port.write(bt::kCtrl, bt::kB2hAtn);
  port.write(bt::kCtrl, bt::kClrRdPtr);
  Bytes answer(bt::kFrameBytesMax);
  answer.resize(port.read_counted(bt::kBuffer, answer));
  port.write(bt::kCtrl, bt::kHBusy);
  return answer;
}

TEST_F(VfioBridgeProgramTest, ARemoteBmcIsReachedThroughTheBridgeAndAStopIsOrderly) {
  auto emu = daemon();
  auto front = bridge();
  auto port = open();
  ASSERT_TRUE(port.ok()) << port.error().message;
  EXPECT_EQ((*port)->kind(), registers::InterfaceKind::kBt);
  Bytes answer = device_id(**port);
  ASSERT_GE(answer.size(), 16u);
  EXPECT_EQ(answer[1], 0x07 << 2);
  EXPECT_EQ(answer[2], 0x77);
  EXPECT_EQ(answer[4], 0x00);

  struct stat st {};
  ASSERT_EQ(::stat(in("v").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);

  auto second = open();
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, ErrorCode::kBusy);

  EXPECT_EQ(front->stop(), 0);
  EXPECT_TRUE(eventually([&] { return !(*port)->link().up; }));
  EXPECT_FALSE(std::filesystem::exists(in("v")));

  front = bridge();
  EXPECT_TRUE(eventually([&] { return (*port)->link().up; })) << (*port)->link().reason;
  EXPECT_GE(device_id(**port).size(), 16u);
  port->reset();
  EXPECT_EQ(front->stop(), 0);
  EXPECT_EQ(emu->stop(), 0);
}

TEST_F(VfioBridgeProgramTest, WrongOptionsAreStatusTwoAndATakenSocketIsStatusOne) {
  EXPECT_EQ(Program({"vfio_bridge"}).wait(), 2);
  EXPECT_EQ(Program({"vfio_bridge", "--bus", "nonsense", "--socket", in("v")}).wait(), 2);
  EXPECT_EQ(Program({"vfio_bridge", "--bus", "grpc:unix:" + in("g"), "--socket", in("v"), "--spacing", "2"}).wait(), 2);
  EXPECT_EQ(Program({"vfio_bridge", "--bus", "grpc:unix:" + in("g"), "--socket", std::string(200, 'x')}).wait(), 2);
  auto emu = daemon();
  ASSERT_TRUE(eventually([&] { return std::filesystem::exists(in("g")); }));
  std::ofstream(in("file")) << "not a socket";
  EXPECT_EQ(Program({"vfio_bridge", "--bus", "grpc:unix:" + in("g"), "--socket", in("file")}).wait(), 1);
}

}  // namespace
}  // namespace bmcpair
