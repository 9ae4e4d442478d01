// All layers without a guest's kernel: host_driver at the registers of a real QEMU's isa-ipmi-bt and isa-ipmi-kcs,
// which carry whole messages to the daemon over the VM protocol.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "integration/system/process.h"

namespace bmcpair::integration {
namespace {

using ::testing::HasSubstr;

constexpr const char* kConfig = R"(bmcs:
  - name: one
    identity: {device_id: 0x2a, product_id: 0x1234, manufacturer_id: 0x5678}
    interfaces:
      - {kind: bt, vm: {listen: "unix:${RUN}/bt.vm"}}
      - {kind: kcs, vm: {listen: "tcp:127.0.0.1:PORT"}}
    sensors:
      - {name: Temp, type: temperature, initial: 30, thresholds: {upper_critical: 80}}
    frus:
      - {name: Board, board: {manufacturer: Somebody, product: Something}}
    i2c_devices:
      - {address: 0x50, content: "CONTENT"}
)";
constexpr const char* kDeviceId = "1c 01 00 2a 81 01 00 02 bf 78 56 00 34 12 00 00 00 00\n";

std::string replaced(std::string text, const std::string& what, const std::string& with) {
  return text.replace(text.find(what), what.size(), with);
}

class QemuVm : public ::testing::Test {
 protected:
  void write_config(const std::string& port) {
    std::string content;
    for (int i = 0; i < 256; ++i) content += "a0";
    write_file(folder_ / "one.yaml", replaced(replaced(kConfig, "PORT", port), "CONTENT", content));
  }
  // The daemon, with a port for KCS that it keeps over its restarts.
  void start_daemon() {
    write_config("0");
    {
      Daemon first(folder_, folder_ / "one.yaml");
      std::string out = first.process().out();
      const std::string before = "VM protocol of one/kcs on tcp:127.0.0.1:";
      size_t at = out.find(before) + before.size();
      port_ = out.substr(at, out.find('\n', at) - at);
    }
    write_config(port_);
    daemon_ = std::make_unique<Daemon>(folder_, folder_ / "one.yaml");
  }
  void start_qemu() {
    launch_qemu();
    wait_for_hosts();
    while (!std::filesystem::exists(folder_ / "qtest")) ASSERT_TRUE(qemu_->running()) << qemu_->err();
  }
  void launch_qemu() {
    qemu_ = std::make_unique<Process>(std::vector<std::string>{
        "qemu-system-x86_64", "-accel", "tcg", "-S", "-M", "pc", "-m", "16", "-nodefaults", "-display", "none", "-qtest",
        "unix:" + (folder_ / "qtest") + ",server=on,wait=off", "-qtest-log", "/dev/null",
        "-chardev", "socket,id=c0,reconnect=1,path=" + (folder_ / "bt.vm"),
        "-device", "ipmi-bmc-extern,id=bmc0,chardev=c0", "-device", "isa-ipmi-bt,bmc=bmc0,irq=5",
        "-chardev", "socket,id=c1,reconnect=1,host=127.0.0.1,port=" + port_,
        "-device", "ipmi-bmc-extern,id=bmc1,chardev=c1", "-device", "isa-ipmi-kcs,bmc=bmc1,irq=10"});
  }
  // Both of QEMU's ends have said what they can do.
  void wait_for_hosts() {
    ASSERT_TRUE(daemon_->process().wait_for_output("one/bt: VM host (pid")) << qemu_->err();
    ASSERT_TRUE(daemon_->process().wait_for_output("one/kcs: VM host (127.0.0.1")) << qemu_->err();
    for (;;) {
      auto interfaces = nlohmann::json::parse(ctl({"--json", "stats"}))["interfaces"];
      if (interfaces[0]["vm_frames_in"] >= 2 && interfaces[1]["vm_frames_in"] >= 2) return;
      ASSERT_TRUE(qemu_->running()) << qemu_->err();
    }
  }
  std::string bus(const std::string& at) { return "qtest:" + (folder_ / "qtest") + at; }
  Finished drive(const std::string& at, std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--timeout", "60", "--bus", bus(at)});
    return host_driver(std::move(arguments));
  }
  std::string ctl(std::vector<std::string> arguments) {
    Finished done = daemon_->ctl(std::move(arguments));
    EXPECT_EQ(done.status, 0) << done.out << done.err;
    return done.out;
  }

  static constexpr const char* kBt = "@0xe4?irq=5";
  static constexpr const char* kKcs = "@0xca2?irq=10";

  TemporaryFolder folder_;
  std::string port_;
  std::unique_ptr<Daemon> daemon_;
  std::unique_ptr<Process> qemu_;
};

}  // namespace

TEST_F(QemuVm, TheConfiguredBmcIsBehindQemusRegisters) {
  start_daemon();
  start_qemu();
  for (const char* at : {kBt, kKcs}) {
    EXPECT_EQ(drive(at, {"raw", "6", "1"}).out, kDeviceId) << at;
    auto sensors = drive(at, {"sensors"});
    EXPECT_THAT(sensors.out, HasSubstr("Temp")) << at << sensors.err;
    EXPECT_THAT(sensors.out, HasSubstr("30")) << at;
    EXPECT_THAT(drive(at, {"fru"}).out, HasSubstr("Something")) << at;
    EXPECT_THAT(drive(at, {"raw", "0xa", "0x44", "0", "0", "2", "0", "0", "0", "0", "0x20", "0", "4", "1", "1", "1", "0x59",
                           "90", "80"}).out,
                HasSubstr("2c 44 00"))
        << at;
    EXPECT_THAT(drive(at, {"sel"}).out, HasSubstr("upper critical going high")) << at;
  }
  EXPECT_THAT(ctl({"sel", "list"}), HasSubstr("upper critical going high"));
  const auto statistics = nlohmann::json::parse(ctl({"--json", "stats"}));
  for (const auto& interface : statistics["interfaces"]) {
    EXPECT_EQ(interface["vm_frames_bad"], 0);
    EXPECT_GT(interface["vm_frames_in"], 10);
    EXPECT_EQ(interface["host_reads"], 0) << "the registers are QEMU's";
  }
}

// QEMU's BT would wrap its length byte and give a truncated answer with completion code 00.
TEST_F(QemuVm, TheLongestAnswerComesWholeAndALongerOneIsCa) {
  start_daemon();
  start_qemu();
  for (const char* at : {kBt, kKcs}) {
    auto longest = drive(at, {"raw", "6", "0x52", "0", "0x50", "251", "0"});
    EXPECT_EQ(longest.out.size(), 254 * 3u) << at << longest.err;
    EXPECT_EQ(longest.out.substr(0, 12), "1c 52 00 a0 ") << at;
    for (const char* count : {"252", "255"}) {
      auto longer = drive(at, {"raw", "6", "0x52", "0", "0x50", count, "0"});
      EXPECT_THAT(longer.out, ::testing::StartsWith("1c 52 ca\n")) << at << longer.err;
    }
    EXPECT_EQ(drive(at, {"raw", "6", "1"}).out, kDeviceId) << at;
  }
}

TEST_F(QemuVm, AnEventReachesTheDriverThroughAttention) {
  start_daemon();
  start_qemu();
  for (const char* at : {kBt, kKcs}) {
    Process watcher({program("host_driver"), "--bus", bus(at), "watch", "--count", "1", "--seconds", "50"});
    ASSERT_TRUE(watcher.wait_for_output("watching")) << at << watcher.out() << watcher.err();
    ctl({"sensor", "set", "one", "Temp", "90"});
    EXPECT_EQ(watcher.wait(), 0) << at << watcher.err();
    EXPECT_THAT(watcher.out(), HasSubstr("upper critical going high")) << at;
    ctl({"sensor", "release", "one", "Temp"});
  }
}

TEST_F(QemuVm, ADaemonThatIsKilledAndStartedAgainIsFoundByTheSameMachine) {
  start_daemon();
  start_qemu();
  for (int how : {SIGTERM, SIGKILL}) {
    daemon_->process().signal(how);
    daemon_->process().wait();
    for (const char* at : {kBt, kKcs}) {
      auto gone = host_driver({"--timeout", "1", "--bus", bus(at), "raw", "6", "1"});
      EXPECT_NE(gone.out, kDeviceId);
    }
    daemon_->start();
    wait_for_hosts();
    for (const char* at : {kBt, kKcs}) EXPECT_EQ(drive(at, {"raw", "6", "1"}).out, kDeviceId) << at;
    EXPECT_TRUE(qemu_->running());
  }
}

TEST_F(QemuVm, ADaemonThatStartsAfterTheMachineIsFound) {
  start_daemon();
  ASSERT_EQ(daemon_->stop(), 0);
  launch_qemu();
  // The machine is there and has nobody to ask: it answers for its BMC that this is starting.
  while (!std::filesystem::exists(folder_ / "qtest")) ASSERT_TRUE(qemu_->running()) << qemu_->err();
  auto alone = host_driver({"--timeout", "1", "--bus", bus(kBt), "raw", "6", "1"});
  EXPECT_NE(alone.out, kDeviceId);
  daemon_->start();
  wait_for_hosts();
  for (const char* at : {kBt, kKcs}) EXPECT_EQ(drive(at, {"raw", "6", "1"}).out, kDeviceId) << at;
}

TEST_F(QemuVm, PowerOffEndsTheMachineAndAResetDoesNot) {
  start_daemon();
  start_qemu();
  for (const char* action : {"reset", "diag", "soft"}) {
    ctl({"power", "one", action});
    EXPECT_EQ(drive(kBt, {"raw", "6", "1"}).out, kDeviceId) << action;
    EXPECT_TRUE(qemu_->running()) << action;
  }
  ctl({"power", "one", "off"});
  EXPECT_EQ(qemu_->wait(), 0) << qemu_->err();
}

}  // namespace bmcpair::integration
