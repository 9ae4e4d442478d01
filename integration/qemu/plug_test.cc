// Devices that come and go while Linux runs, and machines that are reset.
#include <nlohmann/json.hpp>

#include "integration/qemu/testing.h"

namespace bmcpair::integration {
namespace {

const char* kBtAndKcs[] = {"{kind: bt, vfio_user: {socket: \"${RUN}/bt.sock\"}}",
                           "{kind: kcs, vfio_user: {socket: \"${RUN}/kcs.sock\"}}"};

class Plug : public GuestTest, public testing::WithParamInterface<GuestKernel> {};

TEST_P(Plug, ADeviceIsAddedTakenAwayAndAddedAgainWhileTheGuestRuns) {
  start_bmc({kBtAndKcs[0], kBtAndKcs[1]});
  GuestOptions options;
  options.kernel = GetParam();
  options.append = "ipmi_si.unload_when_empty=0";
  boot(options);
  EXPECT_EQ(guest().must_run("ls /sys/class/ipmi"), "");
  for (std::string kind : {"bt", "kcs", "bt"}) {
    SCOPED_TRACE(kind);
    GuestDevice device = GuestDevice::vfio_user(socket(kind));
    device.id = "plugged-" + kind;
    guest().add_device(device);
    wait_in_guest("a device node", "[ -c /dev/ipmi0 ]");
    EXPECT_EQ(guest().must_run("cat /sys/class/ipmi/ipmi0/device/type"), kind + "\n");
    expect_identity();
    expect_sound_counters(true);
    guest().remove_device(device.id);
    wait_in_guest("the device node's end", "[ ! -e /dev/ipmi0 ]");
  }
  // While it is in use, too: the driver answers what is open, and lets go.
  GuestDevice device = GuestDevice::vfio_user(socket("kcs"));
  device.id = "in-use";
  guest().add_device(device);
  wait_in_guest("a device node", "[ -c /dev/ipmi0 ]");
  guest().must_run("(while [ -c /dev/ipmi0 ]; do ipmitool raw 6 1; done) >/tmp/loop 2>&1 &");
  wait_in_guest("answers", "grep -q '2a 83 03 07' /tmp/loop");
  guest().remove_device(device.id);
  wait_in_guest("the device node's end", "[ ! -e /dev/ipmi0 ]");
  guest().add_device(device);
  wait_in_guest("a device node", "[ -c /dev/ipmi0 ]");
  expect_identity();
}

TEST_P(Plug, ASystemResetAndARebootFindTheDevicesAgain) {
  start_bmc({kBtAndKcs[0], kBtAndKcs[1]});
  GuestOptions options;
  options.kernel = GetParam();
  options.reboots = true;
  options.devices = {GuestDevice::vfio_user(socket("bt")), GuestDevice::vfio_user(socket("kcs"))};
  boot(options);
  expect_identity(0);
  expect_identity(1);
  // In the middle of the driver's work.
  guest().must_run(
      "(while true; do ipmitool -d 0 raw 6 1; done) >/tmp/loop0 2>&1 & (while true; do ipmitool -d 1 raw 6 1; done) "
      ">/tmp/loop1 2>&1 &");
  wait_in_guest("answers", "grep -q '2a 83 03 07' /tmp/loop0 && grep -q '2a 83 03 07' /tmp/loop1");
  guest().qmp("system_reset");
  EXPECT_TRUE(guest().wait_event("RESET"));
  guest().wait_ready();
  for (int number : {0, 1}) expect_identity(number);
  guest().must_run("(sleep 1; reboot -f) >/dev/null 2>&1 &");  // its own answer goes first
  nlohmann::json data;
  EXPECT_TRUE(guest().wait_event("RESET", &data));
  EXPECT_EQ(data.value("reason", ""), "guest-reset");
  guest().wait_ready();
  for (int number : {0, 1}) {
    expect_identity(number);
    expect_sound_counters(true, number);
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, Plug, testing::Values(GuestKernel::kDebian12, GuestKernel::kNewest),
                         [](const auto& kernel) {
                           return kernel.param == GuestKernel::kDebian12 ? "Debian12" : "Newest";
                         });

}  // namespace
}  // namespace bmcpair::integration
