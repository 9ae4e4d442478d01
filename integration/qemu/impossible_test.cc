// Registers that Linux cannot be made to find: what it says, and that it and QEMU bear it.
#include "integration/qemu/testing.h"

namespace bmcpair::integration {
namespace {

int count(const std::string& text, const std::string& what) {
  int n = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

class Impossible : public GuestTest, public testing::WithParamInterface<GuestKernel> {
 protected:
  void boot_with(std::vector<std::pair<std::string, std::string>> named, GuestOptions options = {}) {
    options.kernel = GetParam();
    std::vector<std::string> interfaces;
    for (const auto& [name, rest] : named) {
      interfaces.push_back("{name: " + name + ", " + rest.substr(0, rest.find(';')) +
                           ", vfio_user: {socket: \"${RUN}/" + name + ".sock\", " + rest.substr(rest.find(';') + 1) +
                           "}}");
      options.devices.push_back(GuestDevice::vfio_user(socket(name)));
    }
    start_bmc(interfaces);
    boot(options);
  }

  void expect_nothing_found(int devices) {
    const std::string dmesg = guest().dmesg();
    EXPECT_EQ(count(dmesg, "regsize 1 spacing 1 irq"), devices) << dmesg;
    EXPECT_EQ(count(dmesg, "There appears to be no BMC at this location"), devices) << dmesg;
    EXPECT_EQ(guest().must_run("ls /sys/class/ipmi"), "");
    // Neither QEMU nor the BMC is the worse for it.
    EXPECT_TRUE(guest().qemu().running());
    EXPECT_EQ(daemon().ctl({"describe", "one"}).status, 0);
  }
};

// The driver looks for the spacing of a KCS before it knows how large the region is: it maps nothing ("Could not setup
// I/O space") and takes 1 (vfio_user_qemu.md §3).
TEST_P(Impossible, KcsInMemoryWithSpacing4Or16IsLookedForWithSpacing1AndNotFound) {
  boot_with({{"wide", "kind: kcs;bar: memory, spacing: 4"}, {"wider", "kind: kcs;bar: memory, spacing: 16"}});
  const std::string dmesg = guest().dmesg();
  EXPECT_EQ(count(dmesg, "Could not setup I/O space"), 2) << dmesg;
  expect_nothing_found(2);
}

// A BT's spacing is not looked for at all: always 1. Its first three registers answer for one, so that the driver tries
// for minutes.
class ImpossibleBt : public Impossible {};

TEST_P(ImpossibleBt, BtWithSpacing4IsUsedWithSpacing1AndCalledStuck) {
  GuestOptions options;
  options.modules = "ipmi_msghandler,ipmi_devintf";
  boot_with({{"wide", "kind: bt;bar: io, spacing: 4"}}, options);
  guest().must_run("modprobe ipmi_si >/dev/null 2>&1 &");
  wait_in_guest("the driver's verdict", "dmesg | grep -q 'ipmi_si.*stuck, try power cycle'", 1200);
  EXPECT_EQ(guest().must_run("ls /sys/class/ipmi"), "");
  EXPECT_TRUE(guest().qemu().running());
  EXPECT_EQ(daemon().ctl({"describe", "one"}).status, 0);
}

INSTANTIATE_TEST_SUITE_P(Kernels, ImpossibleBt, testing::Values(GuestKernel::kDebian12),
                         [](const auto&) { return "Debian12"; });

INSTANTIATE_TEST_SUITE_P(Kernels, Impossible, testing::Values(GuestKernel::kDebian12, GuestKernel::kNewest),
                         [](const auto& kernel) {
                           return kernel.param == GuestKernel::kDebian12 ? "Debian12" : "Newest";
                         });

}  // namespace
}  // namespace bmcpair::integration
