// Every exhibit: under its old profile it fails, within its budget and for the stated reason; under hardened it survives ten
// times as many runs, and is proved where it is small.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

#include "host_driver/runtime/modelled/instrumented.h"
#include "integration/lab/explore.h"
#include "integration/lab/shrink.h"
#include "integration/lab/story.h"
#include "proto/base/random.h"
#include "integration/scenarios/registry.h"
#include "integration/scenarios/story.h"

namespace bmcpair::scenarios {
namespace {

// docs/museum.md is written with BMCPAIR_WRITE_TABLES=FOLDER set, by one run of all tests here; otherwise it is compared.
const char* folder_to_write() { return std::getenv("BMCPAIR_WRITE_TABLES"); }

std::string page_head() {
  std::ostringstream out;
  out << "# The museum\n\n"
         "Every experiment of the laboratory, with the public report that it comes from: what fails, under which profile, and the\n"
         "shrunk story of it. Written by `integration/scenarios/museum_test.cc` and compared with it in every run of the suite.\n"
         "Try one: `bmc_lab explore NAME --profile PROFILE`.\n\n"
         "| experiment | what goes wrong | fails under |\n|---|---|---|\n";
  for (const Exhibit* e : exhibits()) {
    out << "| [" << e->name() << "](#" << e->name() << ") | " << e->title() << " | ";
    bool first = true;
    for (const Expectation& x : e->expectations()) {
      if (x.oracle.empty()) continue;
      out << (first ? "" : ", ") << '`' << x.profile << "`: " << x.oracle;
      first = false;
    }
    out << (first ? "nothing: what must hold" : "") << " |\n";
  }
  return out.str();
}

std::map<std::string, std::string>& sections() {
  static std::map<std::string, std::string> all;
  return all;
}

std::string page() {
  std::ifstream in(std::string(BMCPAIR_SOURCE_DIR) + "/docs/museum.md");
  return {std::istreambuf_iterator<char>(in), {}};
}

// From its heading to the next.
std::string section_of(const std::string& text, std::string_view name) {
  const std::string heading = "\n## " + std::string(name) + "\n";
  const size_t begin = text.find(heading);
  if (begin == std::string::npos) return {};
  const size_t end = text.find("\n## ", begin + heading.size());
  return text.substr(begin, end == std::string::npos ? end : end - begin);
}

std::string section_head(const Exhibit& e) {
  return "\n## " + std::string(e.name()) + "\n\n" + std::string(e.title()) + ".\n\nSource: " + std::string(e.source()) +
         "\n\n" + std::string(e.was()) + "\n";
}

// The end of the shrunk story: what was unusual, and the lines that it led to.
std::string story_of(const Exhibit& e, const lab::Finding& found) {
  constexpr size_t kLines = 28;
  lab::ShrinkOptions o;
  o.runs = 300;
  auto shrunk = lab::shrink(e, found.token, o);
  EXPECT_TRUE(shrunk) << shrunk.error().message;
  if (!shrunk) return {};
  const lab::ReplayResult run = lab::replay(e, found.token.profile, shrunk->token.log);
  EXPECT_FALSE(run.divergence);
  EXPECT_EQ(run.outcome.oracle, found.outcome.oracle);
  std::ostringstream out;
  lab::print_story(out, run, {});
  std::vector<std::string> lines;
  std::istringstream in(out.str());
  for (std::string line; std::getline(in, line);) {
    while (!line.empty() && line.back() == ' ') line.pop_back();
    if (line.rfind("bmc_lab replay", 0) != 0) lines.push_back(line);
  }
  while (!lines.empty() && lines.back().empty()) lines.pop_back();
  std::string text = "\nUnder `" + found.token.profile + "`, with " + std::to_string(run.decisions.size()) +
                     " choice(s) that are not the tamest:\n\n```\n";
  for (size_t i = lines.size() > kLines ? lines.size() - kLines : 0; i < lines.size(); ++i) text += lines[i] + '\n';
  return text + "```\n";
}

constexpr bool kInstrumented = BMCPAIR_ASAN;
// An instrumented build looks at memory, not at schedules.
constexpr uint64_t kInstrumentedRuns = 3;

class Museum : public ::testing::TestWithParam<const Exhibit*> {};

TEST_P(Museum, FailsAsItWasAndSurvivesAsItIs) {
  const Exhibit& e = *GetParam();
  std::string section = section_head(e);
  for (const Expectation& expected : e.expectations()) {
    lab::ExploreOptions o;
    o.profile = expected.profile;
    o.runs = expected.oracle.empty() ? 10 * e.budget() : e.budget();
    o.jobs = 1;
    // What an old driver fails by besides is another story.
    o.oracle = expected.oracle;
    if (kInstrumented) o.runs = std::min(o.runs, kInstrumentedRuns);
    auto result = lab::explore(e, o);
    ASSERT_TRUE(result) << result.error().message;
    ASSERT_FALSE(result->nondeterminism) << result->nondeterminism->sentence();
    if (expected.oracle.empty()) {
      EXPECT_TRUE(result->findings.empty())
          << expected.profile << ": " << result->findings[0].outcome.oracle << ": " << result->findings[0].outcome.sentence
          << "\nbmc_lab replay " << lab::to_text(result->findings[0].token);
      EXPECT_EQ(result->runs, o.runs);
    } else if (result->findings.empty()) {
      if (kInstrumented) continue;
      ADD_FAILURE() << expected.profile << ": nothing found in " << o.runs << " runs; expected " << expected.oracle;
    } else {
      const lab::Finding& f = result->findings[0];
      EXPECT_NE(f.outcome.sentence.find(expected.says), std::string::npos) << f.outcome.sentence;
      const lab::ReplayResult again = lab::replay(e, expected.profile, f.token.log);
      EXPECT_FALSE(again.divergence);
      EXPECT_EQ(again.outcome.end_hash, f.outcome.end_hash);
      EXPECT_EQ(again.outcome.oracle, f.outcome.oracle);
      if (!kInstrumented) section += story_of(e, f);
    }
  }
  if (folder_to_write()) {
    sections()[std::string(e.name())] = section;
  } else if (!kInstrumented) {
    EXPECT_EQ(section_of(page(), e.name()) + (section_of(page(), e.name()).ends_with('\n') ? "" : "\n"), section)
        << "docs/museum.md is not current: BMCPAIR_WRITE_TABLES=docs integration_scenarios_test";
  }
  if (e.prove_preemptions() >= 0 && !kInstrumented) {
    lab::ProveOptions o;
    o.profile = "hardened";
    o.bounds.preemptions = static_cast<unsigned>(e.prove_preemptions());
    o.jobs = 1;
    auto proof = lab::prove(e, o);
    ASSERT_TRUE(proof) << proof.error().message;
    EXPECT_FALSE(proof->finding) << proof->finding->outcome.sentence;
    EXPECT_TRUE(proof->complete) << proof->schedules << " schedules";
  }
}

INSTANTIATE_TEST_SUITE_P(Exhibits, Museum, ::testing::ValuesIn(exhibits()), [](const auto& exhibit) {
  std::string name(exhibit.param->name());
  for (char& c : name) c = c == '-' ? '_' : c;
  return name;
});

// Mostly tame: another task here and there, a stall, and a BMC that is slow now and then.
class Restless final : public rt::Director {
 public:
  explicit Restless(uint64_t seed) : random_(seed) {}
  uint32_t choose(rt::Choice kind, uint32_t n, const rt::Site&, std::span<const rt::TaskId> tasks) override {
    if (random_.below(kind == rt::Choice::kTask ? 60 : 200) != 0) return 0;
    // Stalls up to 20 ms.
    return static_cast<uint32_t>(random_.below(std::min<uint64_t>(n, tasks.empty() ? n : tasks.size() + 3)));
  }

 private:
  Random random_;
};

// The report of 2018 printed its state machine: the window from IDLE and CAP_BEGIN to the second D5 is found again, in its
// order, in what the laboratory prints (reference B.9).
TEST(TheReportOf2018, IsWhatTheLaboratoryPrints) {
  const lab::Experiment* e = lab::find_experiment("bt-device-id-refused");
  ASSERT_NE(e, nullptr);
  const std::string_view window[] = {"BT: IDLE [ ]", "BT: CAP_BEGIN", "Send 18 08", "Recv 1c 08 d5", "Send 18 01",
                                     "Recv 1c 01 d5"};
  size_t best = 0;
  for (uint64_t seed = 1; seed <= 2000 && best < std::size(window); ++seed) {
    Restless director(seed);
    lab::RunOptions options;
    options.story = true;
    const lab::Outcome outcome = e->run("linux-4.18", director, options);
    // The last IDLE before what follows, as in the report: nothing else of the machine in between.
    size_t at = 0;
    for (const lab::StoryLine& line : outcome.story) {
      if (line.text.find(window[0]) != std::string::npos && at < 3) {
        at = 1;
      } else if (at < std::size(window) && line.text.find(window[at]) != std::string::npos) {
        ++at;
      }
    }
    best = std::max(best, at);
    if (at == std::size(window)) {
      // Registration has failed by then; what ends the run is the second half of the report, the double clean-up.
      EXPECT_EQ(outcome.oracle, "invariant");
      EXPECT_NE(outcome.sentence.find("unlinked twice"), std::string::npos) << outcome.sentence;
    }
  }
  EXPECT_EQ(best, std::size(window)) << "not found: " << window[best];
}

TEST(MuseumPage, ListsEveryExhibit) {
  if (folder_to_write()) return;  // see below
  EXPECT_EQ(page().substr(0, page_head().size()), page_head());
  size_t headings = 0;
  const std::string text = page();
  for (size_t at = 0; (at = text.find("\n## ", at)) != std::string::npos; ++at) ++headings;
  EXPECT_EQ(headings, exhibits().size());
  EXPECT_GE(exhibits().size(), 40u);
}

class PageWriter : public ::testing::Environment {
 public:
  void TearDown() override {
    if (!folder_to_write() || sections().size() != exhibits().size()) return;  // not by a part of the tests
    std::ofstream out(std::string(folder_to_write()) + "/museum.md");
    out << page_head();
    for (const auto& [name, section] : sections()) out << section;
    EXPECT_TRUE(out.good());
  }
};
const auto* const page_writer = ::testing::AddGlobalTestEnvironment(new PageWriter);

TEST(Stories, AFileIsNamedAsItsStory) {
  for (const StoryText& t : story_texts()) {
    auto data = parse_story(t.text, std::string(t.file));
    ASSERT_TRUE(data) << data.error().message;
    EXPECT_EQ(data->name + ".yaml", t.file);
  }
}

TEST(Stories, AMistakeIsSaidWithItsLine) {
  const std::string head = "name: a\ntitle: b\nsource: c\nwas: d\ninterface: bt\n";
  const std::pair<std::string, std::string> mistakes[] = {
      {head + "do: [bring_up]\nprofiles: {linux-9: x, hardened: survives}\n", "x:7: "},
      {head + "do: [fly]\nprofiles: {hardened: survives}\n", "x:6: 'fly' is no step"},
      {head + "do: [{sleep: 5}]\nprofiles: {hardened: survives}\n", "x:6: sleep: expected a duration"},
      {head + "do: [bring_up]\nprofiles: {linux-6.1: leak}\n", "x:7: profiles: the last must be hardened"},
      {head + "wings: 2\ndo: [bring_up]\nprofiles: {hardened: survives}\n", "x:6: 'wings' is not known here"},
      {head + "do: [{fault: 'cc=zz'}]\nprofiles: {hardened: survives}\n", "x:6: "},
      {"name: [a\n", "x:"},
  };
  for (const auto& [text, error] : mistakes) {
    auto data = parse_story(text, "x");
    ASSERT_FALSE(data) << text;
    EXPECT_EQ(data.error().message.rfind(error, 0), 0u) << data.error().message;
  }
}

}  // namespace
}  // namespace bmcpair::scenarios
