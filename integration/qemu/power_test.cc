// What the BMC does to the machine, and the machine's watchdog on the BMC.
#include <nlohmann/json.hpp>

#include "integration/qemu/testing.h"

namespace bmcpair::integration {
namespace {

using testing::HasSubstr;

class Power : public GuestTest, public testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    const std::string kind = GetParam();
    start_bmc({"{kind: " + kind + ", vm: {listen: \"unix:${RUN}/ipmi.sock\"}}"});
    GuestOptions options;
    options.devices = {GuestDevice::vm(kind, socket("ipmi"))};
    options.reboots = true;
    boot(options);
  }
  // In the guest, after its answer to this has gone.
  void start_in_guest(const std::string& line) { guest().must_run("(sleep 1; " + line + ") >/dev/null 2>&1 &"); }
  void expect_event(const std::string& event, const std::string& reason) {
    nlohmann::json data;
    ASSERT_TRUE(guest().wait_event(event, &data)) << event;
    EXPECT_EQ(data.value("reason", ""), reason) << event;
  }
};

TEST_P(Power, NmiResetAndSoftShutdownReachTheGuestWhoeverAsksForThem) {
  ctl({"power", "one", "diag"});
  wait_in_guest("the NMI", "dmesg | grep -q 'NMI received for unknown reason'");
  ctl({"power", "one", "reset"});
  expect_event("RESET", "guest-reset");
  guest().wait_ready();
  expect_identity();
  start_in_guest("ipmitool chassis power reset");
  expect_event("RESET", "guest-reset");
  guest().wait_ready();
  EXPECT_EQ(guest().must_run("ipmitool chassis power status"), "Chassis Power is on\n");
  ctl({"power", "one", "soft"});
  ASSERT_TRUE(guest().wait_event("POWERDOWN"));
  expect_event("SHUTDOWN", "guest-shutdown");
  EXPECT_EQ(guest().wait_end(), 0);
  EXPECT_THAT(guest().console(), HasSubstr("reboot: Power down"));
}

TEST_P(Power, AWatchdogThatIsNotFedInterruptsFirstAndThenResetsTheMachineWhichThenIsPoweredOff) {
  // ipmi_watchdog: before the end it says so to who reads /dev/watchdog. The end is far (the interval is
  // a byte, §27.6), so that there is time to look.
  guest().must_run(
      "modprobe ipmi_watchdog timeout=203 pretimeout=200 preaction=pre_int preop=preop_give_data action=reset "
      "start_now=0");
  guest().must_run("(exec 3<>/dev/watchdog; echo x >&3; head -c 1 <&3 >/tmp/pretimeout; sleep 600) >/tmp/dog 2>&1 &");
  wait_in_guest("the pretimeout", "[ -s /tmp/pretimeout ]");
  EXPECT_EQ(guest().counters().at("watchdog_pretimeouts"), 1);
  start_in_guest("cd /sys/module/ipmi_watchdog/parameters; echo 0 >pretimeout; echo 2 >timeout");
  expect_event("RESET", "guest-reset");
  guest().wait_ready();
  const std::string sel = guest().must_run("ipmitool sel elist");
  EXPECT_THAT(sel, HasSubstr("Watchdog2 | Timer interrupt | Asserted"));
  EXPECT_THAT(sel, HasSubstr("Watchdog2 | Hard reset | Asserted"));
  EXPECT_THAT(guest().must_run("ipmitool chassis restart_cause"), HasSubstr("watchdog expired"));
  EXPECT_THAT(guest().must_run("ipmitool mc watchdog get"), HasSubstr("Watchdog Timer Is:      Stopped"));
  // Power off by the host's hand, and by the guest's own.
  if (std::string(GetParam()) == "bt") {
    ctl({"power", "one", "off"});
  } else {
    start_in_guest("ipmitool chassis power off");
  }
  ASSERT_TRUE(guest().wait_event("SHUTDOWN"));
  EXPECT_EQ(guest().wait_end(), 0);
}

INSTANTIATE_TEST_SUITE_P(VmProtocol, Power, testing::Values("bt", "kcs"),
                         [](const auto& kind) { return std::string(kind.param); });

}  // namespace
}  // namespace bmcpair::integration
