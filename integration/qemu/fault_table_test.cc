// What Linux does when a BMC misbehaves: one fault at a time, live, under a guest whose own driver drives our registers. The outcomes
// are the cells of docs/guest_faults.md, which these tests read, and write when BMCPAIR_WRITE_TABLES names a folder.
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <regex>
#include <set>
#include <sstream>

#include "integration/qemu/fault_rows.h"
#include "integration/qemu/testing.h"

namespace bmcpair::integration {
namespace {

using nlohmann::json;
using std::chrono::seconds;

// Get Self Test Results: nothing that ipmitool or the driver would ask by itself.
constexpr const char* kAsk = "ipmitool raw 6 4";
constexpr const char* kAnswer = " 55 00";
constexpr const char* kPage = "docs/guest_faults.md";

struct Column {
  const char* name;
  const char* title;
  GuestKernel kernel;
  FaultTarget target;
};
const Column kColumns[] = {
    {"debian12_bt", "BT, Debian 12", GuestKernel::kDebian12, kOnBt},
    {"newest_bt", "BT, newest", GuestKernel::kNewest, kOnBt},
    {"debian12_kcs", "KCS, Debian 12", GuestKernel::kDebian12, kOnKcs},
    {"newest_kcs", "KCS, newest", GuestKernel::kNewest, kOnKcs},
    {"debian12_vm_bt", "VM BT, Debian 12", GuestKernel::kDebian12, kOnVmBt},
    {"newest_vm_bt", "VM BT, newest", GuestKernel::kNewest, kOnVmBt},
    {"debian12_vm_kcs", "VM KCS, Debian 12", GuestKernel::kDebian12, kOnVmKcs},
    {"newest_vm_kcs", "VM KCS, newest", GuestKernel::kNewest, kOnVmKcs},
};

std::optional<std::string> folder_to_write() {
  const char* folder = std::getenv("BMCPAIR_WRITE_TABLES");
  return folder && *folder ? std::optional<std::string>(folder) : std::nullopt;
}

std::string read_file(const std::string& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

std::string trimmed(const std::string& text) {
  size_t begin = text.find_first_not_of(' ');
  return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(' ') + 1 - begin);
}

// The page's first table: fault, column title, cell.
std::map<std::string, std::map<std::string, std::string>> page_cells() {
  std::map<std::string, std::map<std::string, std::string>> cells;
  std::istringstream lines(read_file(source_file(kPage)));
  std::vector<std::string> titles;
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("| ", 0) != 0) {
      if (!cells.empty()) break;
      continue;
    }
    std::vector<std::string> fields;
    std::istringstream parts(line.substr(1));
    for (std::string part; std::getline(parts, part, '|');) fields.push_back(trimmed(part));
    if (titles.empty()) {
      titles = fields;
      continue;
    }
    for (size_t i = 1; i < fields.size() && i < titles.size(); ++i) cells[fields[0]][titles[i]] = fields[i];
  }
  return cells;
}

class FaultTable : public GuestTest, public testing::WithParamInterface<Column> {
 protected:
  // What the guest's ipmitool makes of one request.
  std::string ask() {
    Ran ran = guest().run(std::string(kAsk) + " 2>&1 | tr '\\n' ' '; exit 0", seconds(60));
    std::smatch m;
    if (std::regex_search(ran.out, m, std::regex("rsp=0x([0-9a-f]{2})"))) return m[1].str();
    if (trimmed(ran.out) == trimmed(kAnswer)) return "answered";
    if (std::regex_search(ran.out, std::regex("^( [0-9a-f]{2})+ *$"))) return "wrong data";
    return "nothing";
  }

  // What Linux does while it probes.
  void load_driver_anew() { guest().run("modprobe -r ipmi_si; modprobe ipmi_si; sleep 1", seconds(120)); }

  // The driver's own words in the log since it was `before`, without what differs from run to run, each once.
  std::vector<std::string> said_since(const std::string& before) {
    std::string log = guest().dmesg();
    if (log.compare(0, before.size(), before) == 0) log.erase(0, before.size());
    // What it says whenever it is loaded.
    static const std::regex usual(
        "IPMI System Interface driver|probing via|regsize|Adding PCI|Adding SMBIOS|Adding ACPI|Trying |Using irq|req2rsp|Found new BMC|"
        "interface initialized|ipmi device interface|Command line|command line|IPMI message: version|SPMI|dmi-ipmi|SMBIOS-specified|"
        "ACPI-specified|duplicate");
    static const std::regex time("^\\[ *[0-9.]+\\] "), device("^(ipmi_si|ipmi_platform|ipmi_pci)[ :][^ ]+: ");
    std::vector<std::string> said;
    std::istringstream lines(log);
    for (std::string line; std::getline(lines, line);) {
      if (!std::regex_search(line, std::regex("ipmi", std::regex::icase)) || std::regex_search(line, usual)) continue;
      line = std::regex_replace(std::regex_replace(line, time, ""), device, "");
      if (std::find(said.begin(), said.end(), line) == said.end()) said.push_back(trimmed(line));
    }
    return said;
  }
};

TEST_P(FaultTable, TheGuestSurvivesEachFaultAndItsInterfaceIsUsableAfterwards) {
  const Column& column = GetParam();
  const bool vm = (column.target & kOnVm) != 0;
  const std::string kind = (column.target & (kOnBt | kOnVmBt)) != 0 ? "bt" : "kcs";
  GuestOptions options;
  options.kernel = column.kernel;
  // Linux waits for an answer on BT as long as Get BT Interface Capabilities says.
  start_bmc({"{kind: " + kind + (vm ? ", vm: {listen: \"unix:${RUN}/one.sock\"}}" : ", vfio_user: {socket: \"${RUN}/one.sock\"}}") +
             "\n    bt: {response_seconds: 2}"});
  options.devices = {vm ? GuestDevice::vm(kind, socket("one")) : GuestDevice::vfio_user(socket("one"))};
  boot(options);
  ASSERT_EQ(ask(), "answered") << guest().logs();

  auto expected = page_cells();
  json rows = json::array();
  for (const FaultRow& row : kFaultRows) {
    if ((row.targets & column.target) == 0) continue;
    SCOPED_TRACE(std::string(row.name) + ": " + row.rule);
    const std::string before = guest().dmesg();
    std::vector<std::string> add{"fault", "add", "one"};
    std::istringstream words(row.rule);
    for (std::string word; words >> word;) add.push_back(word);
    ctl(add);
    if (row.probe) load_driver_anew();
    const std::string outcome = ask();

    // The fault was there, or this is a test of nothing.
    Finished list = daemon().ctl({"--json", "fault", "list", "one"});
    ASSERT_EQ(list.status, 0) << list.err;
    for (const json& rule : json::parse(list.out).at("faults")) EXPECT_GE(rule.at("fired").get<uint64_t>(), 1u) << rule;
    ctl({"fault", "clear", "one"});

    if (row.probe && outcome != "answered") load_driver_anew();
    std::string after;
    const bool dead = (row.dead & column.target) != 0, may_die = (row.may_die & column.target) != 0;
    const auto deadline = std::chrono::steady_clock::now() + seconds(dead ? 20 : 60);
    do {
      after = ask();
    } while (after != "answered" && std::chrono::steady_clock::now() < deadline);
    if (dead) {
      EXPECT_NE(after, "answered") << "it does recover: " << row.why;
    } else if (!may_die) {
      std::ostringstream counters;
      if (after != "answered")
        for (const auto& [name, value] : guest().counters()) counters << name << ' ' << value << '\n';
      ASSERT_EQ(after, "answered") << outcome << " first\n"
                                   << counters.str() << guest().dmesg() << daemon().ctl({"stats", "one"}).out << guest().logs();
    }
    const std::string suffix = dead ? ", dead" : may_die ? " or dead" : "";
    rows.push_back({{"fault", row.name}, {"outcome", outcome + suffix}, {"said", said_since(before)}});
    ASSERT_TRUE(guest().qemu().running()) << guest().logs();
    if (after == "answered" || dead) {
      if (!folder_to_write()) {
        EXPECT_EQ(outcome + suffix, expected[row.name][column.title]) << "in " << kPage;
      }
    } else {
      // Not to be written down: it is the rarer end of the two.
      ASSERT_FALSE(folder_to_write()) << row.name << ": it died; once more, please";
    }
    // A dead device stays so until its machine ends.
    if (after != "answered") boot(options);
  }
  for (const char* bad : {"BUG:", "Oops", "Call Trace", "soft lockup", "blocked for more than"})
    EXPECT_THAT(guest().console() + guest().dmesg(), testing::Not(testing::HasSubstr(bad)));
  if (auto folder = folder_to_write())
    write_file(*folder + "/" + column.name + ".json", json{{"kernel", guest().release()}, {"rows", rows}}.dump(1) + "\n");
}

INSTANTIATE_TEST_SUITE_P(Guests, FaultTable, testing::ValuesIn(kColumns),
                         [](const auto& column) { return std::string(column.param.name); });

std::string page_of(const std::map<std::string, json>& columns) {
  std::ostringstream out;
  auto release = [&](GuestKernel kernel) {
    for (const Column& c : kColumns)
      if (c.kernel == kernel) return columns.at(c.name).at("kernel").get<std::string>();
    return std::string();
  };
  auto row_of = [&](const Column& column, const FaultRow& row) -> const json* {
    for (const json& r : columns.at(column.name).at("rows"))
      if (r.at("fault") == row.name) return &r;
    return nullptr;
  };
  out << "# What Linux does when a BMC misbehaves\n"
         "One fault at a time, live, under a guest whose own `ipmi_si` drives the interface; the guest then asks for the self test results with\n"
         "`ipmitool raw 6 4`. Written by the tests that also check it (`integration/qemu/fault_table_test.cc`):\n\n"
         "```\nBMCPAIR_WRITE_TABLES=FOLDER build/release/bin/integration_guest_test --gtest_filter='*FaultTable*:FaultPage*'\n```\n\n"
         "Kernels: Debian 12 is Linux "
      << release(GuestKernel::kDebian12) << ", newest is Linux " << release(GuestKernel::kNewest)
      << " (Debian's backports; its message handler is the one rewritten in 6.16).\n"
         "BT and KCS are our registers over vfio-user; VM BT and VM KCS are QEMU's registers with our BMC behind them.\n"
         "A cell is what the caller got: *answered*; a completion code, the BMC's or one that the driver or QEMU made up; *wrong data*; *nothing*\n"
         "(an error without an answer). After each fault the interface was used again with success, but where it says *dead*; *or dead*: it is seldom.\n"
         "Get BT Interface Capabilities grants 2 s, which is how long BT waits for an answer here; KCS waits 5 s, QEMU's VM client 4 s.\n\n";
  out << "| fault |";
  for (const Column& c : kColumns) out << ' ' << c.title << " |";
  out << "\n|---|";
  for (size_t i = 0; i < std::size(kColumns); ++i) out << "---|";
  out << '\n';
  for (const FaultRow& row : kFaultRows) {
    out << "| " << row.name << " |";
    for (const Column& c : kColumns) {
      const json* r = row_of(c, row);
      out << ' ' << (r ? r->at("outcome").get<std::string>() : "–") << " |";
    }
    out << '\n';
  }
  out << "\n## Why some are dead\n";
  std::map<std::string, std::string> faults_by_why;
  for (const FaultRow& row : kFaultRows) {
    if (!row.dead && !row.may_die) continue;
    std::string& faults = faults_by_why[row.why];
    faults += (faults.empty() ? "*" : ", *") + std::string(row.name) + "*";
  }
  for (const auto& [why, faults] : faults_by_why) out << "- " << faults << ": " << why << ".\n";
  out << "\n## The rules, and what the kernels said\n| fault | rule | in the kernel's log |\n|---|---|---|\n";
  for (const FaultRow& row : kFaultRows) {
    std::vector<std::pair<std::string, std::string>> said;  // line, columns
    for (const Column& c : kColumns) {
      const json* r = row_of(c, row);
      if (!r) continue;
      for (const json& line : r->at("said")) {
        std::string text = std::regex_replace(line.get<std::string>(), std::regex("\\|"), "/");
        auto found = std::find_if(said.begin(), said.end(), [&](const auto& s) { return s.first == text; });
        if (found == said.end()) {
          said.emplace_back(text, c.title);
        } else {
          found->second += std::string("; ") + c.title;
        }
      }
    }
    out << "| " << row.name << " | `" << row.rule << "` | ";
    for (size_t i = 0; i < said.size(); ++i) out << (i ? "<br>" : "") << '`' << said[i].first << "` (" << said[i].second << ')';
    out << " |\n";
  }
  return out.str();
}

TEST(FaultPage, HasACellForEveryFaultAndEveryDeviceThatCanMeetIt) {
  if (auto folder = folder_to_write()) {
    std::map<std::string, json> columns;
    for (const Column& c : kColumns) {
      std::string text = read_file(*folder + "/" + c.name + ".json");
      ASSERT_FALSE(text.empty()) << *folder << ": no " << c.name << ".json";
      columns[c.name] = json::parse(text);
    }
    write_file(source_file(kPage), page_of(columns));
  }
  auto cells = page_cells();
  std::set<std::string> named;
  for (const FaultRow& row : kFaultRows) {
    EXPECT_TRUE(named.insert(row.name).second) << "twice: " << row.name;
    for (const Column& c : kColumns) {
      std::string cell = cells[row.name][c.title];
      if (row.targets & c.target) {
        EXPECT_THAT(cell, testing::MatchesRegex("(answered|wrong data|nothing|[0-9a-f][0-9a-f])(, dead| or dead)?")) << row.name << ", " << c.title;
      } else {
        EXPECT_EQ(cell, "–") << row.name << ", " << c.title;
      }
    }
  }
  for (const auto& [fault, unused] : cells) EXPECT_TRUE(named.count(fault) || fault.rfind("--", 0) == 0) << "nobody tests: " << fault;
}

}  // namespace
}  // namespace bmcpair::integration
