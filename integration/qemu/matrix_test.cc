// Every way in which Linux can meet our registers: an unmodified kernel finds them, its tools print what the
// configuration says, and the kernel's own counters agree.
#include "integration/qemu/testing.h"

namespace bmcpair::integration {
namespace {

using testing::HasSubstr;

struct Cell {
  const char* name;
  GuestKernel kernel;
  std::vector<std::string> kinds;  // of the guest's devices, in their order
  bool vm = false;                 // QEMU's own devices on our VM protocol; else vfio-user
  bool interrupts = true;
  const char* machine = "pc";
  int cpus = 1;
  const char* bar = "io";
  std::vector<int> spacings = {1, 1};
};

void PrintTo(const Cell& cell, std::ostream* out) { *out << cell.name; }

constexpr GuestKernel kOld = GuestKernel::kDebian12;
constexpr GuestKernel kNew = GuestKernel::kNewest;

class Matrix : public GuestTest, public testing::WithParamInterface<Cell> {
 protected:
  void start_cell() {
    const Cell& cell = GetParam();
    std::vector<std::string> interfaces;
    GuestOptions options;
    for (size_t i = 0; i < cell.kinds.size(); ++i) {
      const std::string name = cell.kinds[i] + std::to_string(i);
      std::string item =
          "{kind: " + cell.kinds[i] + ", name: " + name + ", interrupt: " + (cell.interrupts ? "true" : "false");
      if (cell.vm) {
        item += ", vm: {listen: \"unix:${RUN}/" + name + ".sock\"}}";
        options.devices.push_back(
            GuestDevice::vm(cell.kinds[i], socket(name), cell.interrupts ? 5 + 5 * static_cast<int>(i) : 0));
      } else {
        item += ", vfio_user: {socket: \"${RUN}/" + name + ".sock\", bar: " + cell.bar +
                ", spacing: " + std::to_string(cell.spacings[i]) + "}}";
        options.devices.push_back(GuestDevice::vfio_user(socket(name)));
      }
      interfaces.push_back(item);
    }
    options.kernel = cell.kernel;
    options.machine = cell.machine;
    options.cpus = cell.cpus;
    start_bmc(interfaces);
    boot(options);
  }
};

TEST_P(Matrix, AnUnmodifiedKernelAndItsToolsSayWhatTheConfigurationSays) {
  const Cell& cell = GetParam();
  start_cell();
  RecordProperty("kernel", guest().release());
  EXPECT_EQ(guest().must_run("uname -r"), guest().release() + "\n");
  EXPECT_EQ(guest().must_run("nproc"), std::to_string(cell.cpus) + "\n");
  const std::string dmesg = guest().dmesg();
  for (size_t i = 0; i < cell.kinds.size(); ++i) {
    const int number = static_cast<int>(i);
    const std::string sysfs = "/sys/class/ipmi/ipmi" + std::to_string(number) + "/device/";
    EXPECT_EQ(guest().must_run("cat " + sysfs + "type"), cell.kinds[i] + "\n");
    std::string parameters = guest().must_run("cat " + sysfs + "params");
    EXPECT_THAT(parameters, HasSubstr(cell.kinds[i] + (std::string(cell.bar) == "io" ? ",i/o," : ",mem,")));
    EXPECT_THAT(parameters, HasSubstr(",rsp=" + std::to_string(cell.spacings[i]) + ","));
    EXPECT_EQ(parameters.find("irq=0,") == std::string::npos, cell.interrupts) << parameters;
    expect_configured_values(number);
    expect_sound_counters(cell.interrupts, number);
  }
  // One BMC, however many its interfaces: the kernel compares identity and GUID.
  EXPECT_THAT(dmesg, HasSubstr("Found new BMC (man_id: 0x002b79, prod_id: 0x1234, dev_id: 0x2a)"));
  if (cell.kinds.size() > 1) {
    EXPECT_THAT(dmesg, HasSubstr("interfacing existing BMC"));
  }

  // The host's side of it: a sensor crosses its threshold, and the guest's driver is told by SMS_ATN. Without an
  // interrupt and without a listener the driver looks only when it has something to do.
  auto before = guest().counters();
  ctl({"sensor", "set", "one", "Temp", "90"});
  int64_t attentions = 0, events = 0;
  wait_in_guest("the event's arrival",
                std::string(cell.interrupts ? "" : "ipmitool raw 6 1 && ") +
                    "[ $(cat /sys/class/ipmi/ipmi*/device/events | awk '{s += $1} END {print s}') -gt 0 ]");
  for (size_t i = 0; i < cell.kinds.size(); ++i) {
    auto now = guest().counters(static_cast<int>(i));
    attentions += now.at("attentions");
    events += now.at("events");
    EXPECT_EQ(now.at("hosed_count"), 0);
  }
  EXPECT_GE(attentions, before.at("attentions") + 1);
  EXPECT_GE(events, 1);
  std::string sel = guest().must_run("ipmitool sel elist");
  EXPECT_THAT(sel, HasSubstr("Temperature Temp | Upper Critical going high | Asserted | Reading 89.8"));
  EXPECT_THAT(guest().must_run("ipmitool sdr get Temp"), HasSubstr("Upper Critical"));
}

INSTANTIATE_TEST_SUITE_P(
    Cells, Matrix,
    testing::Values(
        Cell{"VfioUserBt", kOld, {"bt"}}, Cell{"VfioUserKcs", kOld, {"kcs"}},
        Cell{"VfioUserBtNewestKernel", kNew, {"bt"}}, Cell{"VfioUserKcsNewestKernel", kNew, {"kcs"}},
        Cell{"VfioUserBtAndKcsPolled", kOld, {"bt", "kcs"}, false, false},
        Cell{"VfioUserBtAndKcsPolledNewestKernel", kNew, {"bt", "kcs"}, false, false},
        Cell{"VfioUserBtAndKcsOnQ35WithTwoCpus", kOld, {"bt", "kcs"}, false, true, "q35", 2},
        Cell{"VfioUserBtAndKcsOnQ35WithTwoCpusNewestKernel", kNew, {"bt", "kcs"}, false, true, "q35", 2},
        Cell{"VfioUserKcsAndBtOnPcWithTwoCpus", kOld, {"kcs", "bt"}, false, true, "pc", 2},
        Cell{"VfioUserKcsWithSpacing4And16", kOld, {"kcs", "kcs"}, false, true, "pc", 1, "io", {4, 16}},
        Cell{"VfioUserKcsWithSpacing4And16NewestKernel", kNew, {"kcs", "kcs"}, false, true, "pc", 1, "io", {4, 16}},
        Cell{"VfioUserBtAndKcsInMemory", kOld, {"bt", "kcs"}, false, true, "pc", 1, "memory"},
        Cell{"VfioUserBtAndKcsInMemoryNewestKernel", kNew, {"bt", "kcs"}, false, true, "pc", 1, "memory"},
        Cell{"VmProtocolBt", kOld, {"bt"}, true}, Cell{"VmProtocolKcs", kOld, {"kcs"}, true},
        Cell{"VmProtocolBtNewestKernel", kNew, {"bt"}, true}, Cell{"VmProtocolKcsNewestKernel", kNew, {"kcs"}, true},
        Cell{"VmProtocolBtPolled", kOld, {"bt"}, true, false}, Cell{"VmProtocolKcsPolled", kOld, {"kcs"}, true, false}),
    [](const auto& cell) { return std::string(cell.param.name); });

}  // namespace
}  // namespace bmcpair::integration
