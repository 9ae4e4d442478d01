// What the BMC does to the machine, and the machine's watchdog on the BMC.
#include <nlohmann/json.hpp>

#include "integration/qemu/testing.h"

namespace bmcpair::integration {
namespace {

using testing::HasSubstr;

class Power : public GuestTest, public testing::WithParamInterface<const char*> {
 protected:
  void boot_on_vm_protocol(bool reboots) {
    const std::string kind = GetParam();
    start_bmc({"{kind: " + kind + ", vm: {listen: \"unix:${RUN}/ipmi.sock\"}}"});
    GuestOptions options;
    options.devices = {GuestDevice::vm(kind, socket("ipmi"))};
    options.reboots = reboots;
    boot(options);
  }
  std::string system_power() { return guest().must_run("ipmitool chassis power status"); }
};

TEST_P(Power, ResetNmiSoftShutdownFromTheHostReachTheGuest) {
  boot_on_vm_protocol(true);
  ctl({"power", "one", "diag"});
  wait_in_guest("the NMI", "dmesg | grep -q 'NMI received for unknown reason'");
  ctl({"power", "one", "reset"});
  nlohmann::json data;
  ASSERT_TRUE(guest().wait_event("RESET", &data));
  guest().wait_ready();
  expect_identity();
  ctl({"power", "one", "soft"});
  ASSERT_TRUE(guest().wait_event("POWERDOWN"));
  ASSERT_TRUE(guest().wait_event("SHUTDOWN", &data));
  EXPECT_EQ(data.value("reason", ""), "guest-shutdown");
  EXPECT_EQ(guest().wait_end(), 0);
  EXPECT_THAT(guest().console(), HasSubstr("reboot: Power down"));
}

TEST_P(Power, PowerOffFromTheHostEndsTheMachine) {
  boot_on_vm_protocol(false);
  ctl({"power", "one", "off"});
  ASSERT_TRUE(guest().wait_event("SHUTDOWN"));
  EXPECT_EQ(guest().wait_end(), 0);
}

TEST_P(Power, TheGuestsOwnChassisControlActsOnItsMachine) {
  boot_on_vm_protocol(true);
  guest().must_run("(sleep 1; ipmitool chassis power reset) >/dev/null 2>&1 &");  // its own answer goes first
  ASSERT_TRUE(guest().wait_event("RESET"));
  guest().wait_ready();
  EXPECT_EQ(system_power(), "Chassis Power is on\n");
  guest().must_run("(sleep 1; ipmitool chassis power off) >/dev/null 2>&1 &");
  ASSERT_TRUE(guest().wait_event("SHUTDOWN"));
  EXPECT_EQ(guest().wait_end(), 0);
}

TEST_P(Power, AWatchdogThatIsNotFedInterruptsFirstAndThenResetsTheMachine) {
  boot_on_vm_protocol(true);
  // ipmi_watchdog: 1 s before the end it says so to who reads /dev/watchdog.
  guest().must_run(
      "modprobe ipmi_watchdog timeout=4 pretimeout=2 preaction=pre_int preop=preop_give_data action=reset start_now=0");
  guest().must_run(
      "(exec 3<>/dev/watchdog; echo x >&3; head -c 1 <&3 >/tmp/pretimeout; sync; sleep 60) >/tmp/dog 2>&1 &");
  wait_in_guest("the pretimeout", "[ -s /tmp/pretimeout ]");
  EXPECT_EQ(guest().counters().at("watchdog_pretimeouts"), 1);
  nlohmann::json data;
  ASSERT_TRUE(guest().wait_event("RESET", &data));
  EXPECT_EQ(data.value("reason", ""), "guest-reset");
  guest().wait_ready();
  const std::string sel = guest().must_run("ipmitool sel elist");
  EXPECT_THAT(sel, HasSubstr("Watchdog2 | Timer interrupt | Asserted"));
  EXPECT_THAT(sel, HasSubstr("Watchdog2 | Hard reset | Asserted"));
  EXPECT_THAT(guest().must_run("ipmitool chassis restart_cause"), HasSubstr("watchdog"));
  EXPECT_THAT(guest().must_run("ipmitool mc watchdog get"), HasSubstr("Watchdog Timer Is:      Stopped"));
}

INSTANTIATE_TEST_SUITE_P(VmProtocol, Power, testing::Values("bt", "kcs"),
                         [](const auto& kind) { return std::string(kind.param); });

}  // namespace
}  // namespace bmcpair::integration
