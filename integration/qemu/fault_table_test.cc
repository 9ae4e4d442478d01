// What Linux does when a BMC misbehaves: one fault at a time, live, under a guest whose own driver drives our registers. Each cell
// of docs/guest_faults.md is one of these; the page is written from kOutcomes, and a test holds the two together.
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>

#include "integration/qemu/fault_outcomes.h"
#include "integration/qemu/testing.h"

namespace bmcpair::integration {
namespace {

using nlohmann::json;

constexpr const char* kDeviceId = "2a 83 03 07 02 bf 79 2b 00 34 12 0a 0b 0c 0d";

struct Column {
  const char* name;
  GuestKernel kernel;
  bool vm;
  const char* kind;
};

class FaultTable : public GuestTest, public testing::WithParamInterface<Column> {
 protected:
  // What the guest's ipmitool makes of one Get Device ID: "answered", a completion code as "cc d5", "wrong answer", "no answer".
  std::string ask(std::chrono::seconds limit) {
    Ran ran = guest().run("ipmitool raw 6 1 2>&1 | tr '\\n' ' '; exit 0", limit);
    std::smatch m;
    if (std::regex_search(ran.out, m, std::regex("rsp=0x([0-9a-f]{2})"))) return "cc " + m[1].str();
    if (ran.out.find(kDeviceId) != std::string::npos) return "answered";
    if (std::regex_search(ran.out, std::regex("^( [0-9a-f]{2})+ *$"))) return "wrong answer";
    return "no answer";
  }

  // The driver's own words since `from` lines of the log, without what differs from run to run; each once.
  std::string said(const std::string& before) {
    std::string log = guest().dmesg();
    std::istringstream lines(log.size() > before.size() && log.compare(0, before.size(), before) == 0 ? log.substr(before.size()) : log);
    std::set<std::string> seen;
    std::string line, all;
    while (std::getline(lines, line)) {
      if (line.find("ipmi") == std::string::npos && line.find("IPMI") == std::string::npos) continue;
      line = std::regex_replace(line, std::regex("^\\[ *[0-9.]+\\] "), "");
      line = std::regex_replace(line, std::regex("^(ipmi_si|ipmi_ipmi_si|IPMI [a-z ]+)[ .][0-9a-zA-Z:._]+: "), "$1: ");
      if (seen.insert(line).second) all += (all.empty() ? "" : " / ") + line;
    }
    return all;
  }
};

TEST_P(FaultTable, TheGuestSurvivesEachFaultAndTheInterfaceIsUsableAfterwards) {
  const Column& column = GetParam();
  const std::string kind = column.kind;
  GuestOptions options;
  options.kernel = column.kernel;
  // One second of patience for BT: what Linux takes from Get BT Interface Capabilities.
  const std::string bt = "\n    bt: {response_time: 2s}";
  if (column.vm) {
    start_bmc({"{kind: " + kind + ", vm: {listen: \"unix:${RUN}/one.sock\"}}" + bt});
    options.devices = {GuestDevice::vm(kind, socket("one"))};
  } else {
    start_bmc({"{kind: " + kind + ", vfio_user: {socket: \"${RUN}/one.sock\"}}" + bt});
    options.devices = {GuestDevice::vfio_user(socket("one"))};
  }
  boot(options);
  ASSERT_EQ(ask(std::chrono::seconds(30)), "answered") << guest().logs();

  json rows = json::array();
  for (const FaultRow& row : kFaultRows) {
    if (!row.kinds.empty() && row.kinds != kind) continue;
    if (column.vm && row.registers) continue;
    SCOPED_TRACE(std::string(row.name) + ": " + row.rule);
    std::string before = guest().dmesg();
    auto counters = guest().counters();
    std::vector<std::string> add{"fault", "add", "one"};
    std::istringstream words(row.rule);
    for (std::string word; words >> word;) add.push_back(word);
    auto begin = std::chrono::steady_clock::now();
    ctl(add);
    if (row.prepare[0]) guest().run(row.prepare, std::chrono::seconds(60));
    std::string during = ask(std::chrono::seconds(60));
    auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    Finished list = daemon().ctl({"--json", "fault", "list", "one"});
    ctl({"fault", "clear", "one"});
    std::string after = "no answer";
    auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(90);
    int tries = 0;
    while (after != "answered" && std::chrono::steady_clock::now() < deadline) {
      after = ask(std::chrono::seconds(60));
      ++tries;
    }
    auto now = guest().counters();
    json delta;
    for (auto& [name, value] : now)
      if (value != counters[name] && (name == "hosed_count" || name == "long_timeouts" || name == "incoming_messages")) delta[name] = value - counters[name];
    rows.push_back({{"fault", row.name}, {"during", during}, {"after", after}, {"tries", tries}, {"s", seconds}, {"counters", delta}, {"said", said(before)}});
    std::cerr << rows.back().dump() << std::endl;
    (void)list;
  }
  std::ofstream(std::string("/tmp/w/faults-") + column.name + ".json") << rows.dump(1);
}

INSTANTIATE_TEST_SUITE_P(Guests, FaultTable,
                         testing::Values(Column{"debian12_vfio_user_bt", GuestKernel::kDebian12, false, "bt"},
                                         Column{"debian12_vfio_user_kcs", GuestKernel::kDebian12, false, "kcs"},
                                         Column{"debian12_vm_bt", GuestKernel::kDebian12, true, "bt"},
                                         Column{"debian12_vm_kcs", GuestKernel::kDebian12, true, "kcs"},
                                         Column{"newest_vfio_user_bt", GuestKernel::kNewest, false, "bt"},
                                         Column{"newest_vfio_user_kcs", GuestKernel::kNewest, false, "kcs"},
                                         Column{"newest_vm_bt", GuestKernel::kNewest, true, "bt"},
                                         Column{"newest_vm_kcs", GuestKernel::kNewest, true, "kcs"}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace bmcpair::integration
