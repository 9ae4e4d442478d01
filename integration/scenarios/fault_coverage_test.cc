// Fault x interface x phase of the transaction x profile: what becomes of the request that meets it, and whether the interface
// works again. docs/fault_coverage.md is written by this test (BMCPAIR_WRITE_TABLES=FOLDER) and compared with it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "bmc_emu/daemon/fault_rules.h"
#include "host_driver/runtime/modelled/instrumented.h"
#include "integration/scenarios/story.h"
#include "proto/base/random.h"

namespace bmcpair::scenarios {
namespace {

using registers::InterfaceKind;

enum : unsigned { kBt = 1, kKcs = 2, kSmic = 4, kAll = 7 };

struct Row {
  const char* name;
  const char* rule;  // of the short form
  unsigned kinds = kAll;
  bool by_phase = false;  // once in each phase of a transaction
};

constexpr Row kRows[] = {
    {"completion code D5", "cc=d5 netfn=0x30 count=1"},
    {"completion code C0", "cc=c0 netfn=0x30 count=1"},
    {"completion code FF", "cc=ff netfn=0x30 count=1"},
    {"request lost", "drop=request netfn=0x30 count=1"},
    {"answer lost", "drop=answer netfn=0x30 count=1"},
    {"answer 1 s late", "delay=1s netfn=0x30 count=1"},
    {"answer 7 s late", "delay=7s netfn=0x30 count=1"},
    {"answer with another sequence number", "sequence=1 netfn=0x30 count=1", kBt},
    {"answer with another NetFn", "answer_netfn=0x0b netfn=0x30 count=1"},
    {"answer with another command", "answer_cmd=2 netfn=0x30 count=1"},
    {"answer without a completion code", "truncate=2 netfn=0x30 count=1"},
    {"length byte 2", "length_byte=2 netfn=0x30 count=1", kBt},
    {"length byte FF", "length_byte=255 netfn=0x30 count=1", kBt},
    {"completion code corrupted", "corrupt=2 xor=40 netfn=0x30 count=1"},
    {"answered twice", "duplicate=1 netfn=0x30 count=1"},
    {"B_BUSY held 3 s", "hold=b_busy duration=3s count=1", kBt, true},
    {"B_BUSY held 12 s", "hold=b_busy duration=12s count=1", kBt, true},
    {"H2B_ATN held 3 s", "hold=h2b_atn duration=3s count=1", kBt, true},
    {"H_BUSY held 3 s", "hold=h_busy duration=3s count=1", kBt, true},
    {"B2H_ATN withheld 3 s", "withhold=b2h_atn duration=3s count=1", kBt, true},
    {"IBF held 3 s", "hold=ibf duration=3s count=1", kKcs, true},
    {"IBF held 6 s", "hold=ibf duration=6s count=1", kKcs, true},
    {"OBF held 3 s", "hold=obf duration=3s count=1", kKcs, true},
    {"OBF withheld 3 s", "withhold=obf duration=3s count=1", kKcs, true},
    {"BUSY held 3 s", "hold=busy duration=3s count=1", kSmic, true},
    {"RX_DATA_RDY withheld 3 s", "withhold=rx_data_rdy duration=3s count=1", kSmic, true},
    {"BMC stalls 700 ms", "bmc=stall duration=700ms count=1", kAll, true},
    {"BMC stalls 7 s", "bmc=stall duration=7s count=1", kAll, true},
    {"transfer fails", "bmc=error count=1", kKcs | kSmic, true},
    {"warm reset", "bmc=warm_reset count=1", kAll, true},
    {"cold reset", "bmc=cold_reset count=1", kAll, true},
    {"20 reads give FF", "read_value=ff access=read count=20", kAll, true},
    {"a bit of the flags flips in 3 reads", "read_xor=08 access=read count=3", kAll, true},
    {"a write lost", "lose_write=true access=write count=1", kAll, true},
    {"3 interrupts lost", "interrupt=lose count=3", kBt | kKcs},
    {"spurious interrupts", "interrupt=spurious period=5ms count=100", kBt | kKcs},
    {"interrupt storm, 2 s", "interrupt=storm duration=2s", kBt | kKcs},
    {"SMS_ATN storm, 2 s", "attention=storm duration=2s"},
};
constexpr const char* kPhases[] = {"write", "execute", "read"};
constexpr std::pair<InterfaceKind, unsigned> kKinds[] = {
    {InterfaceKind::kBt, kBt}, {InterfaceKind::kKcs, kKcs}, {InterfaceKind::kSmic, kSmic}};
constexpr const char* kProfiles[] = {"linux-6.1", "hardened"};

// Mostly tame, another task or a slow BMC here and there.
class Restless final : public rt::Director {
 public:
  explicit Restless(uint64_t seed) : tame_(seed == 0), random_(seed) {}
  uint32_t choose(rt::Choice kind, uint32_t n, const rt::Site&, std::span<const rt::TaskId> tasks) override {
    if (tame_ || random_.below(50) != 0) return 0;
    return static_cast<uint32_t>(random_.below(kind == rt::Choice::kTask ? tasks.size() : n));
  }

 private:
  const bool tame_;
  Random random_;
};

std::unique_ptr<Exhibit> cell(const Row& row, const char* phase, InterfaceKind kind) {
  StoryData d;
  d.name = "cell";
  d.title = row.name;
  d.interface = kind;
  d.steady = true;
  d.steps_max = 5'000'000;  // minutes of polling
  std::string rule = row.rule;
  if (phase) rule += std::string(" phase=") + phase;
  auto rules = daemon::parse_faults(rule, "row");
  EXPECT_TRUE(rules) << rule << ": " << rules.error().message;
  using Kind = Step::Kind;
  auto step = [&](Kind k, int64_t number = 0) -> Step& {
    d.steps.emplace_back();
    d.steps.back().kind = k;
    d.steps.back().number = number;
    return d.steps.back();
  };
  step(Kind::kBringUp);
  step(Kind::kUsers, 1);
  step(Kind::kSend, 1);  // so that there is an answer before
  step(Kind::kSettle).duration = std::chrono::minutes(1);
  step(Kind::kFault).rules = rules.ok() ? *std::move(rules) : std::vector<faults::Rule>{};
  step(Kind::kSend, 2);
  step(Kind::kSettle).duration = std::chrono::minutes(5);
  step(Kind::kClearFaults);
  step(Kind::kRecovers).duration = std::chrono::minutes(2);
  for (const char* p : kProfiles) d.expectations.push_back({p, "", ""});
  return make_exhibit(std::move(d));
}

// How the first request that the fault could meet ended, or which oracle was violated.
std::string outcome_of(const Exhibit& e, const char* profile) {
  class Tame final : public rt::Director {
    uint32_t choose(rt::Choice, uint32_t, const rt::Site&, std::span<const rt::TaskId>) override { return 0; }
  } tame;
  lab::RunOptions options;
  options.story = true;
  const Outcome o = e.run(profile, tame, options);
  if (o.violated()) return "**" + o.oracle + "**";
  constexpr std::string_view kEnd = "user 1's request 2 ends with ";
  for (const auto& line : o.story) {
    if (line.text.rfind(kEnd, 0) != 0) continue;
    const std::string cc = line.text.substr(kEnd.size(), 2);
    if (line.text.find("the driver's own") != std::string::npos) return "driver says " + cc;
    return cc == "00" ? "answered" : "code " + cc;
  }
  return "refused";
}

std::string table() {
  std::ostringstream out;
  out << "# What becomes of a request that meets a fault\n\n"
         "Every fault, in every phase of a transaction where it can strike, on each interface, under two profiles; run in the\n"
         "laboratory by `integration/scenarios/fault_coverage_test.cc`, which compares this page with what it finds. Two requests are\n"
         "sent with the fault in force; the cell says how the first ended: `answered` with its own data (if need be at a second try of\n"
         "the state machine's), with a `code` of the BMC's, or\n"
         "`driver says` when the driver gave up and made the code itself (82: hosed or reset, C3: no answer in time, C0: long busy, FF:\n"
         "no proper answer). Afterwards the fault is cleared and a request must be answered well within two minutes of virtual time.\n"
         "**Bold** is the oracle that was violated. `hardened` violates none, neither in the tame run nor in five others.\n\n"
         "| fault | phase |";
  for (const auto& [kind, bit] : kKinds) {
    for (const char* p : kProfiles) out << ' ' << registers::to_string(kind) << ' ' << p << " |";
  }
  out << "\n|---|---|---|---|---|---|---|---|\n";
  for (const Row& row : kRows) {
    for (size_t i = 0; i < (row.by_phase ? std::size(kPhases) : 1); ++i) {
      const char* phase = row.by_phase ? kPhases[i] : nullptr;
      out << "| " << row.name << " | " << (phase ? phase : "") << " |";
      for (const auto& [kind, bit] : kKinds) {
        for (const char* p : kProfiles) {
          out << ' ' << (row.kinds & bit ? outcome_of(*cell(row, phase, kind), p) : "–") << " |";
        }
      }
      out << '\n';
    }
  }
  return out.str();
}

constexpr bool kCompare = !BMCPAIR_ASAN;  // an instrumented build looks at memory
constexpr uint64_t kSeeds = BMCPAIR_ASAN ? 1 : 5;

TEST(FaultCoverage, ThePageSaysWhatHappens) {
  if (!kCompare) return;
  const std::string now = table();
  if (const char* folder = std::getenv("BMCPAIR_WRITE_TABLES")) {
    std::ofstream out(std::string(folder) + "/fault_coverage.md");
    out << now;
    EXPECT_TRUE(out.good());
    return;
  }
  std::ifstream in(std::string(BMCPAIR_SOURCE_DIR) + "/docs/fault_coverage.md");
  const std::string page{std::istreambuf_iterator<char>(in), {}};
  EXPECT_EQ(page, now) << "docs/fault_coverage.md is not current: BMCPAIR_WRITE_TABLES=docs integration_scenarios_test";
}

class Coverage : public ::testing::TestWithParam<size_t> {};

TEST_P(Coverage, HardenedPassesInEveryPhaseOnEveryInterface) {
  const Row& row = kRows[GetParam()];
  for (size_t i = 0; i < (row.by_phase ? std::size(kPhases) : 1); ++i) {
    const char* phase = row.by_phase ? kPhases[i] : nullptr;
    for (const auto& [kind, bit] : kKinds) {
      if (!(row.kinds & bit)) continue;
      const auto e = cell(row, phase, kind);
      for (uint64_t seed = 0; seed <= kSeeds; ++seed) {
        Restless director(seed);
        const Outcome o = e->run("hardened", director, {});
        EXPECT_FALSE(o.violated()) << row.name << ' ' << (phase ? phase : "") << ' ' << registers::to_string(kind) << " seed "
                                   << seed << ": " << o.oracle << ": " << o.sentence;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Faults, Coverage, ::testing::Range(size_t{0}, std::size(kRows)));

}  // namespace
}  // namespace bmcpair::scenarios
