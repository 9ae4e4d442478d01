// Schedules until the first find, by strategy, for every scenario: docs/strategies.md is written by this test with
// BMCPAIR_WRITE_TABLES=FOLDER set. Otherwise every scenario must be on the page, and one cell of each row is run again and
// compared: which one is decided by the row's name. BMCPAIR_FULL_TABLES=1 compares all of them (scripts/soak --tables).
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "host_driver/runtime/modelled/instrumented.h"
#include "integration/lab/measure.h"
#include "integration/scenarios/registry.h"

namespace bmcpair::scenarios {
namespace {

constexpr unsigned kSeeds = 40;
// What a search may cost, in scheduling points: where a run is long, it has fewer of them.
constexpr uint64_t kStepsMax = 400'000;
constexpr uint64_t kRunsMin = 20, kRunsMax = 1000;

bool writes() { return std::getenv("BMCPAIR_WRITE_TABLES") != nullptr; }
bool compares_all() {
  const char* full = std::getenv("BMCPAIR_FULL_TABLES");
  return full && std::string(full) == "1";
}

struct Row {
  const Exhibit* exhibit;
  const Expectation* expected;
  std::string label() const { return "| " + std::string(exhibit->name()) + " | `" + expected->profile + "` |"; }
};

std::vector<Row> rows() {
  std::vector<Row> out;
  for (const Exhibit* e : exhibits()) {
    for (const Expectation& x : e->expectations()) {
      if (!x.oracle.empty()) out.push_back({e, &x});
    }
  }
  return out;
}

std::vector<std::string> columns() {
  std::vector<std::string> out = {"portfolio"};
  for (const lab::StrategyInfo& s : lab::strategies()) {
    if (s.share > 0) out.emplace_back(s.name);
  }
  out.emplace_back("exhaustive");
  return out;
}

uint64_t runs_of(const Row& row) {
  lab::ExploreOptions tame;
  tame.profile = row.expected->profile;
  tame.runs = tame.jobs = 1;
  const auto r = lab::explore(*row.exhibit, tame);
  EXPECT_TRUE(r) << row.label();
  const uint64_t steps = r && r->steps ? r->steps / (1 + r->run_twice) : 1;
  return std::clamp(kStepsMax / std::max<uint64_t>(steps, 1), kRunsMin, kRunsMax);
}

// The median, and how many of the seeds found something where not all did.
std::string cell(const lab::MeasureRow& row, uint64_t runs) {
  std::string out = row.median ? std::to_string(*row.median) : "> " + std::to_string(runs);
  if (row.found != 0 && row.found < row.seeds) {
    out += " (" + std::to_string(row.found) + " of " + std::to_string(row.seeds) + ')';
  }
  return out;
}

std::vector<std::string> measured(const Row& row, const std::vector<std::string>& strategies) {
  lab::MeasureOptions o;
  o.profile = row.expected->profile;
  o.seeds = kSeeds;
  o.runs = runs_of(row);
  o.strategies = strategies;
  const auto found = lab::measure(*row.exhibit, o);
  EXPECT_TRUE(found) << row.label() << ' ' << found.error().message;
  std::vector<std::string> out;
  if (found) {
    for (const lab::MeasureRow& r : *found) out.push_back(cell(r, o.runs));
  }
  out.resize(strategies.size());
  return out;
}

std::string head() {
  std::ostringstream out;
  out << "# Schedules until the first find\n\n"
         "For every scenario and every old profile of it: how many schedules each strategy ran until something was violated, as the\n"
         "median over "
      << kSeeds << " seeds. `> 300`: not within so many, which is as far as was looked (" << kStepsMax / 1000
      << " thousand scheduling points a search); `(3 of\n"
         "40)`: not all of the seeds found something. 1 is the tame run: nothing unusual is needed. The exhaustive search knows no seed.\n"
         "Of one scenario, and with other bounds: `bmc_lab measure NAME`. Written by `integration/scenarios/strategies_test.cc`, which compares a cell of each row in every run\n"
         "of the suite; `scripts/soak --tables` compares all of them. How long it takes is in [benchmarks.md](benchmarks.md).\n\n"
         "| scenario | profile |";
  for (const std::string& c : columns()) out << ' ' << c << " |";
  out << "\n|---|---|";
  for (size_t i = 0; i < columns().size(); ++i) out << "---|";
  out << '\n';
  return out.str();
}

std::string page() {
  std::ifstream in(std::string(BMCPAIR_SOURCE_DIR) + "/docs/strategies.md");
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<std::string> cells_of(const std::string& line) {
  std::vector<std::string> out;
  std::istringstream in(line);
  std::string part;
  std::getline(in, part, '|');
  while (std::getline(in, part, '|')) {
    const size_t a = part.find_first_not_of(' '), b = part.find_last_not_of(' ');
    out.push_back(a == std::string::npos ? "" : part.substr(a, b - a + 1));
  }
  return out;
}

uint32_t hash_of(const std::string& text) {
  uint32_t hash = 2166136261u;
  for (char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return hash;
}

TEST(StrategiesPage, IsWritten) {
  if (!writes()) return;
  std::string text = head();
  for (const Row& row : rows()) {
    text += row.label();
    for (const std::string& c : measured(row, columns())) text += ' ' + c + " |";
    text += '\n';
  }
  std::ofstream out(std::string(std::getenv("BMCPAIR_WRITE_TABLES")) + "/strategies.md");
  out << text;
  EXPECT_TRUE(out.good());
}

TEST(StrategiesPage, HasARowForEveryOldProfileOfEveryScenario) {
  if (writes()) return;
  const std::string text = page();
  EXPECT_EQ(text.substr(0, head().size()), head());
  std::istringstream in(text.substr(std::min(text.size(), head().size())));
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  const std::vector<Row> wanted = rows();
  ASSERT_EQ(lines.size(), wanted.size()) << "docs/strategies.md is not current: BMCPAIR_WRITE_TABLES=docs integration_scenarios_test";
  for (size_t i = 0; i < wanted.size(); ++i) {
    EXPECT_EQ(lines[i].substr(0, wanted[i].label().size()), wanted[i].label());
    EXPECT_EQ(cells_of(lines[i]).size(), 2 + columns().size()) << lines[i];
  }
}

class Strategies : public ::testing::TestWithParam<Row> {};

TEST_P(Strategies, NeedAsManySchedulesAsThePageSays) {
  // An instrumented build looks at memory; what a search finds is the same in all builds.
  if (writes() || BMCPAIR_ASAN) return;
  const Row& row = GetParam();
  const std::string text = page();
  const size_t at = text.find('\n' + row.label());
  ASSERT_NE(at, std::string::npos) << "not on the page: " << row.label();
  const std::vector<std::string> said = cells_of(text.substr(at + 1, text.find('\n', at + 1) - at - 1));
  const std::vector<std::string> all = columns();
  ASSERT_EQ(said.size(), 2 + all.size());
  const size_t chosen = hash_of(row.label()) % all.size();
  for (size_t i = 0; i < all.size(); ++i) {
    if (i != chosen && !compares_all()) continue;
    EXPECT_EQ(measured(row, {all[i]}).front(), said[2 + i])
        << row.label() << ' ' << all[i] << ": docs/strategies.md is not current: BMCPAIR_WRITE_TABLES=docs integration_scenarios_test";
  }
}

INSTANTIATE_TEST_SUITE_P(Scenarios, Strategies, ::testing::ValuesIn(rows()), [](const auto& row) {
  std::string name = std::string(row.param.exhibit->name()) + "_" + std::to_string(row.index);
  for (char& c : name) c = c == '-' ? '_' : c;
  return name;
});

}  // namespace
}  // namespace bmcpair::scenarios
