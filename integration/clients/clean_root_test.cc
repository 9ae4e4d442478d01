// Stock clients as an unprivileged user, on machines without /dev/ipmi0, made of namespaces alone.
#include "integration/clients/clean_root.h"

#include <gtest/gtest.h>

#include <csignal>

#include "host_driver/device_node/names.h"
#include "integration/clients/virtual_host.h"

namespace bmcpair::integration::clients {
namespace {

// Three machines that have nothing in common but a folder: the BMC's, the driver's, the client's.
class CleanMachines : public testing::Test {
 protected:
  void SetUp() override {
    write_file(folder_ / "config.yaml", kConfig);
    bmc_ = std::make_unique<Process>(
        root_.in({"bmc_emu", "/shared/config.yaml", "--listen", "unix:/shared/bmc.sock", "--run-dir", "/tmp"}));
    ASSERT_TRUE(bmc_->wait_for_output("ready")) << bmc_->out() << bmc_->err();
    driver_ = std::make_unique<Process>(root_.in({"host_driver", "--bus", "grpc:unix:/shared/bmc.sock#one/bt", "serve",
                                                  "--socket", "/shared/ipmi.sock", "--mode", "0666"}));
    ASSERT_TRUE(driver_->wait_for_output("\nserving\n")) << driver_->out() << driver_->err();
  }
  Finished plain(const std::vector<std::string>& argv, unsigned uid = 1000) { return run(root_.in(argv, uid)); }
  Finished client(std::vector<std::string> argv, unsigned uid = 1000) {
    argv.insert(argv.begin(), {"env", std::string("LD_PRELOAD=") + CleanRoot::kLibrary,
                               std::string(device_node::kSocketVariable) + "=/shared/ipmi.sock"});
    return plain(argv, uid);
  }

  TemporaryFolder folder_;
  CleanRoot root_{folder_};
  std::unique_ptr<Process> bmc_, driver_;
};

}  // namespace

TEST_F(CleanMachines, TheClientIsNobodyWithNothing) {
  auto seen =
      plain({"sh", "-c",
             "id -u; id -g; grep -E '^(Cap|NoNewPrivs)' /proc/self/status | tr -d '\\t'; ls /dev | tr '\\n' ' '; echo; "
             "ls -d /dev/ipmi* /work /root 2>/dev/null; touch /usr/x /x; echo end"});
  EXPECT_EQ(seen.out,
            "1000\n1000\n"
            "CapInh:0000000000000000\nCapPrm:0000000000000000\nCapEff:0000000000000000\n"
            "CapBnd:0000000000000000\nCapAmb:0000000000000000\nNoNewPrivs:1\n"
            "full null urandom zero \nend\n")
      << seen.err;
  auto without = plain({"ipmitool", "-I", "open", "mc", "info"});
  EXPECT_NE(without.status, 0);
  EXPECT_TRUE(has(without.err, "Could not open device at /dev/ipmi0")) << without.err;
}

TEST_F(CleanMachines, IpmitoolAndFreeIpmiAreServedThere) {
  auto info = client({"ipmitool", "-I", "open", "mc", "info"});
  EXPECT_EQ(info.status, 0) << info.err;
  EXPECT_TRUE(has(info.out, "Device ID                 : 42\n")) << info.out;
  EXPECT_TRUE(has(info.out, "Firmware Revision         : 3.07\n")) << info.out;
  auto sdr = client({"ipmitool", "-I", "open", "sdr"});
  EXPECT_EQ(sdr.status, 0) << sdr.err;
  EXPECT_TRUE(has(sdr.out, "CPU Temp         | 46 degrees C")) << sdr.out;
  EXPECT_TRUE(has(sdr.out, "Fan 1            | 7200 RPM")) << sdr.out;
  auto fru = client({"ipmitool", "-I", "open", "fru"});
  EXPECT_TRUE(has(fru.out, "Product Serial        : TS0001")) << fru.out << fru.err;
  // FreeIPMI asks for user 0, and is content with one who may do nothing.
  auto sensors =
      client({"ipmi-sensors", "-D", "OPENIPMI", "--comma-separated-output", "--no-header-output", "--quiet-cache"}, 0);
  EXPECT_EQ(sensors.status, 0) << sensors.err;
  EXPECT_EQ(sensors.out,
            "1,CPU Temp,Temperature,46.00,C,'OK'\n"
            "2,Fan 1,Fan,7200.00,RPM,'OK'\n"
            "3,12V,Voltage,12.00,V,'OK'\n"
            "4,PSU 1 Power,Other Units Based Sensor,240.00,W,'OK'\n"
            "5,PSU 1,Power Supply,N/A,N/A,'Presence detected'\n")
      << sensors.err;
  auto sel =
      client({"ipmi-sel", "-D", "OPENIPMI", "--comma-separated-output", "--no-header-output", "--quiet-cache"}, 0);
  EXPECT_EQ(sel.status, 0) << sel.err;
  EXPECT_TRUE(sel.out.starts_with("1,May-01-2024,12:00:05,CPU Temp,Temperature,Upper Non-critical - going high"))
      << sel.out << sel.err;
}

TEST_F(CleanMachines, OneCommandIsEnoughWhereOnlyAConfigurationIsGiven) {
  auto one = plain({"host_driver", "run", "--config", "/shared/config.yaml", "--", "ipmitool", "-I", "open", "sdr"});
  EXPECT_EQ(one.status, 0) << one.err;
  EXPECT_TRUE(has(one.out, "CPU Temp         | 46 degrees C")) << one.out << one.err;
}

TEST_F(CleanMachines, WithoutADriverTheClientIsToldWhyThereIsNoDevice) {
  driver_->signal(SIGKILL);
  ASSERT_EQ(driver_->wait(), 128 + SIGKILL);
  auto alone = client({"ipmitool", "-I", "open", "mc", "info"});
  EXPECT_NE(alone.status, 0);
  EXPECT_TRUE(has(alone.err, "/shared/ipmi.sock")) << alone.err;
  EXPECT_TRUE(has(alone.err, "Could not open device at /dev/ipmi0")) << alone.err;
}

}  // namespace bmcpair::integration::clients
