// One driver, four buses, devices of ours and of QEMU's: the same bytes everywhere for the same BMC.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "integration/system/process.h"

namespace bmcpair::integration {
namespace {

using nlohmann::json;

// One BMC with both interfaces, each also a PCI device; its own GUID and product, so that answers can be told apart.
constexpr const char* kConfig = R"(bmcs:
  - name: one
    identity: {device_id: 0x2a, firmware: "3.07", manufacturer_id: 0x2b79, product_id: 0x1234, aux_firmware: "0a 0b 0c 0d"}
    interfaces:
      - kind: bt
        vfio_user: {socket: "${RUN}/bt.sock", bar: io, spacing: 4}
      - kind: kcs
        vfio_user: {socket: "${RUN}/kcs.sock", bar: memory}
    sensors:
      - {name: Temp, type: temperature, initial: 30, thresholds: {upper_critical: 80}}
)";
constexpr const char* kDeviceId = "1c 01 00 2a 81 03 07 02 bf 79 2b 00 34 12 0a 0b 0c 0d\n";

std::string config_file(const TemporaryFolder& folder) {
  write_file(folder / "one.yaml", kConfig);
  return folder / "one.yaml";
}

void expect_device_id(const std::string& bus) {
  auto raw = host_driver({"--bus", bus, "raw", "6", "1"});
  EXPECT_EQ(raw.status, 0) << bus << ": " << raw.err;
  EXPECT_EQ(raw.out, kDeviceId) << bus;
  auto probe = host_driver({"--bus", bus, "--json", "probe"});
  ASSERT_EQ(probe.status, 0) << bus << ": " << probe.err;
  json interface = json::parse(probe.out).at(0);
  EXPECT_EQ(interface.at("state"), "up") << bus;
  EXPECT_EQ(interface.at("device_id"), 0x2a) << bus;
  EXPECT_TRUE(interface.at("interrupts")) << bus;
}

}  // namespace

TEST(Buses, RawDeviceIdIsTheSameBytesInProcessOverGrpcAndOverVfioUserForBtAndKcs) {
  TemporaryFolder folder;
  std::string config = config_file(folder);
  expect_device_id("in-process:" + config + "#one/bt");
  expect_device_id("in-process:" + config + "#one/kcs");
  Daemon daemon(folder, config);
  expect_device_id(daemon.bus("one/bt"));
  expect_device_id(daemon.bus("one/kcs"));
  expect_device_id("vfio-user:" + (folder / "bt.sock"));
  expect_device_id("vfio-user:" + (folder / "kcs.sock"));
  EXPECT_EQ(daemon.stop(), 0) << daemon.process().err();
}

TEST(Buses, AVfioBridgeServesARemoteBmcAsTheSameDevice) {
  TemporaryFolder folder;
  Daemon daemon(folder, config_file(folder));
  for (std::string interface : {"bt", "kcs"}) {
    std::string socket = folder / ("bridge-" + interface + ".sock");
    // A daemon that a busy machine holds up is not one that is away.
    Process bridge({program("vfio_bridge"), "--bus", daemon.bus("one/" + interface), "--socket", socket, "--answer-ms", "4000"});
    ASSERT_TRUE(bridge.wait_for_output("serving")) << bridge.out() << bridge.err();
    expect_device_id("vfio-user:" + socket);
    bridge.signal(SIGTERM);
    EXPECT_EQ(bridge.wait(), 0) << bridge.err();
  }
}

TEST(Buses, QemusOwnBtAndKcsDevicesComeUpThroughQtest) {
  TemporaryFolder folder;
  std::string socket = folder / "qtest.sock";
  Process qemu({"qemu-system-x86_64", "-accel", "tcg", "-S", "-M", "pc", "-nodefaults", "-display", "none", "-qtest",
                "unix:" + socket + ",server=on,wait=off", "-qtest-log", "/dev/null", "-device",
                "ipmi-bmc-sim,id=bmc0,mfg_id=0x2b79,product_id=0x1234,guid=00010203-0405-0607-0809-0a0b0c0d0e0f",
                "-device", "isa-ipmi-bt,bmc=bmc0,irq=5", "-device", "ipmi-bmc-sim,id=bmc1,product_id=0x4321", "-device",
                "isa-ipmi-kcs,bmc=bmc1,irq=10"});
  // QEMU makes its socket when it is ready, and says nothing; the driver itself retries until its time-out.
  auto both = host_driver({"--timeout", "60", "--bus", "qtest:" + socket + "@0xe4,qtest:" + socket + "@0xca2?irq=10", "--json", "probe"});
  ASSERT_EQ(both.status, 0) << both.err << qemu.err();
  json interfaces = json::parse(both.out);
  ASSERT_EQ(interfaces.size(), 2u);
  EXPECT_EQ(interfaces[0].at("kind"), "bt");
  EXPECT_EQ(interfaces[0].at("product_id"), 0x1234);
  // QEMU puts the first byte of its property first on the wire, where the specification wants the last (§20.8).
  EXPECT_EQ(interfaces[0].at("guid"), "0f0e0d0c-0b0a-0908-0706-050403020100");
  EXPECT_EQ(interfaces[1].at("kind"), "kcs");
  EXPECT_EQ(interfaces[1].at("product_id"), 0x4321);
  for (std::string base : {"0xe4", "0xca2?irq=10"}) {
    std::string bus = "qtest:" + socket + "@" + base;
    auto raw = host_driver({"--bus", bus, "raw", "6", "1"});
    EXPECT_EQ(raw.status, 0) << raw.err;
    EXPECT_NE(raw.out.find(base == "0xe4" ? "34 12" : "21 43"), std::string::npos) << raw.out;
    auto sel = host_driver({"--bus", bus, "sel", "add", "00 00 02 00 00 00 00 20 00 04 01 01 01 57 00 00"});
    EXPECT_EQ(sel.status, 0) << sel.err;
    auto list = host_driver({"--bus", bus, "--json", "sel"});
    ASSERT_EQ(list.status, 0) << list.err;
    EXPECT_EQ(json::parse(list.out).at(0).at("entries").size(), 1u) << list.out;
  }
}

TEST(Buses, AnEventReachesAWatcherOverEveryBusThatHasTheDaemonBehindIt) {
  TemporaryFolder folder;
  Daemon daemon(folder, config_file(folder));
  for (std::string bus : {daemon.bus("one/bt"), daemon.bus("one/kcs"), "vfio-user:" + (folder / "bt.sock"), "vfio-user:" + (folder / "kcs.sock")}) {
    Process watcher({program("host_driver"), "--bus", bus, "watch", "--count", "1", "--seconds", "50"});
    ASSERT_TRUE(watcher.wait_for_output("watching")) << bus << watcher.out() << watcher.err();
    auto set = daemon.ctl({"sensor", "set", "one", "Temp", "90"});
    ASSERT_EQ(set.status, 0) << set.err;
    EXPECT_EQ(watcher.wait(), 0) << bus << watcher.err();
    EXPECT_NE(watcher.out().find("upper critical going high"), std::string::npos) << bus << ": " << watcher.out();
    EXPECT_NE(watcher.out().find("Temp"), std::string::npos) << bus << ": " << watcher.out();
    // Back, with nobody watching: the event stays in the BMC's buffer, and the next host clears it when it comes up.
    ASSERT_EQ(daemon.ctl({"sensor", "release", "one", "Temp"}).status, 0);
  }
}

TEST(Buses, ASecondHostOnABusyInterfaceIsToldWhoHoldsIt) {
  TemporaryFolder folder;
  Daemon daemon(folder, config_file(folder));
  Process holder({program("host_driver"), "--bus", daemon.bus("one/bt"), "watch"});
  ASSERT_TRUE(holder.wait_for_output("watching")) << holder.err();
  auto second = host_driver({"--timeout", "5", "--bus", daemon.bus("one/bt"), "raw", "6", "1"});
  EXPECT_EQ(second.status, 3);
  EXPECT_NE(second.err.find("host_driver[" + std::to_string(holder.pid()) + "]"), std::string::npos) << second.err;
  auto other = host_driver({"--bus", daemon.bus("one/kcs"), "raw", "6", "1"});
  EXPECT_EQ(other.out, kDeviceId) << other.err;
  holder.signal(SIGINT);
  EXPECT_EQ(holder.wait(), 0) << holder.err();
  auto after = host_driver({"--bus", daemon.bus("one/bt"), "raw", "6", "1"});
  EXPECT_EQ(after.out, kDeviceId) << after.err;
}

}  // namespace bmcpair::integration
