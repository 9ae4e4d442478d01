// The Prometheus IPMI exporter on our BMC: it runs FreeIPMI's programs, and what they read becomes metrics.
#include <gtest/gtest.h>

#include <map>
#include <sstream>

#include "integration/clients/virtual_host.h"

namespace bmcpair::integration::clients {
namespace {

// Metric with labels -> value, as the exposition format has them.
using Metrics = std::map<std::string, double>;

Metrics parse(const std::string& text) {
  Metrics out;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    size_t blank = line.rfind(' ');
    if (line.starts_with("ipmi_") && blank != std::string::npos)
      out[line.substr(0, blank)] = std::stod(line.substr(blank + 1));
  }
  return out;
}

class Exporter : public testing::Test {
 protected:
  void SetUp() override {
    // A cache of sensors of its own: FreeIPMI's usual place is one for all BMCs that this machine ever was.
    write_file(host_.folder() / "exporter.yaml",
               "modules:\n  default:\n    collectors: [bmc, ipmi, chassis, sel, dcmi]\n"
               "    custom_args: {ipmi: [\"--sdr-cache-directory=" + host_.folder().path() + "\"]}\n");
    exporter_ = host_.start({"prometheus-ipmi-exporter", "--config.file=" + (host_.folder() / "exporter.yaml"),
                             "--web.listen-address=127.0.0.1:0"});
    ASSERT_TRUE(exporter_->wait_for_output("TLS is disabled")) << exporter_->err();
    const std::string log = exporter_->err();
    size_t at = log.find("address=127.0.0.1:");
    ASSERT_NE(at, std::string::npos) << log;
    address_ = log.substr(at + 8, log.find_first_of(" \n", at) - at - 8);
  }

  Metrics scrape() {
    auto got = integration::run({"/usr/bin/python3", "-c",
                                 "import sys, urllib.request as u\n"
                                 "u.install_opener(u.build_opener(u.ProxyHandler({})))\n"
                                 "print(u.urlopen(sys.argv[1], timeout=60).read().decode())\n",
                                 "http://" + address_ + "/metrics"});
    EXPECT_EQ(got.status, 0) << got.err << exporter_->err();
    return parse(got.out);
  }

  VirtualHost host_;
  std::unique_ptr<Process> exporter_;
  std::string address_;
};

}  // namespace

TEST_F(Exporter, MetricsAreWhatTheConfigurationSaysAndFollowTheSensor) {
  Metrics metrics = scrape();
  auto value = [&](const std::string& name) { return metrics.contains(name) ? metrics[name] : -1e9; };
  for (std::string collector : {"bmc", "ipmi", "chassis", "sel"})
    EXPECT_EQ(value("ipmi_up{collector=\"" + collector + "\"}"), 1) << exporter_->err();
  EXPECT_EQ(value("ipmi_temperature_celsius{id=\"1\",name=\"CPU Temp\"}"), 46);
  EXPECT_EQ(value("ipmi_temperature_state{id=\"1\",name=\"CPU Temp\"}"), 0);
  EXPECT_EQ(value("ipmi_fan_speed_rpm{id=\"2\",name=\"Fan 1\"}"), 7200);
  EXPECT_EQ(value("ipmi_voltage_volts{id=\"3\",name=\"12V\"}"), 12);
  EXPECT_EQ(value("ipmi_power_watts{id=\"4\",name=\"PSU 1 Power\"}"), 240);
  EXPECT_EQ(value("ipmi_sensor_state{id=\"5\",name=\"PSU 1\",type=\"Power Supply\"}"), 0);
  EXPECT_EQ(value("ipmi_chassis_power_state"), 1);
  EXPECT_EQ(value("ipmi_sel_logs_count"), 1);
  EXPECT_EQ(value("ipmi_bmc_info{firmware_revision=\"3.07\",manufacturer_id=\"Google, Inc. "
                  "(11129)\",system_firmware_version=\"\"}"),
            1);
  // It has none, says so, and the rest is not harmed.
  EXPECT_EQ(value("ipmi_up{collector=\"dcmi\"}"), 0);

  ASSERT_EQ(host_.ctl({"sensor", "set", "one", "CPU Temp", "96"}).status, 0);
  ASSERT_EQ(host_.ctl({"power", "one", "off"}).status, 0);
  metrics = scrape();
  EXPECT_EQ(value("ipmi_temperature_celsius{id=\"1\",name=\"CPU Temp\"}"), 96);
  EXPECT_EQ(value("ipmi_temperature_state{id=\"1\",name=\"CPU Temp\"}"), 2) << "critical";
  EXPECT_EQ(value("ipmi_chassis_power_state"), 0);
}

TEST_F(Exporter, ABmcThatIsAwayIsDownAndThenUpAgain) {
  Metrics before = scrape();
  EXPECT_EQ(before["ipmi_up{collector=\"ipmi\"}"], 1) << exporter_->err();
  Daemon& daemon = host_.daemon();
  daemon.process().signal(SIGKILL);
  ASSERT_EQ(daemon.process().wait(), 128 + SIGKILL);
  Metrics metrics = scrape();
  EXPECT_EQ(metrics["ipmi_up{collector=\"bmc\"}"], 0);
  EXPECT_EQ(metrics["ipmi_up{collector=\"ipmi\"}"], 0);
  daemon.start();
  const auto end = std::chrono::steady_clock::now() + kPatience;
  do metrics = scrape();
  while (metrics["ipmi_up{collector=\"bmc\"}"] != 1 && std::chrono::steady_clock::now() < end);
  EXPECT_EQ(metrics["ipmi_up{collector=\"bmc\"}"], 1) << exporter_->err();
}

}  // namespace bmcpair::integration::clients
