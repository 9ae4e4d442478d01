// Every exhibit: under its old profile it fails, within its budget and for the stated reason; under hardened it survives ten
// times as many runs, and is proved where it is small.
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "integration/lab/explore.h"
#include "integration/scenarios/registry.h"
#include "integration/scenarios/story.h"

namespace bmcpair::scenarios {
namespace {

class Museum : public ::testing::TestWithParam<const Exhibit*> {};

TEST_P(Museum, FailsAsItWasAndSurvivesAsItIs) {
  const Exhibit& e = *GetParam();
  for (const Expectation& expected : e.expectations()) {
    lab::ExploreOptions o;
    o.profile = expected.profile;
    o.runs = expected.oracle.empty() ? 10 * e.budget() : e.budget();
    o.jobs = 1;
    auto result = lab::explore(e, o);
    ASSERT_TRUE(result) << result.error().message;
    ASSERT_FALSE(result->nondeterminism) << result->nondeterminism->sentence();
    if (expected.oracle.empty()) {
      EXPECT_TRUE(result->findings.empty())
          << expected.profile << ": " << result->findings[0].outcome.oracle << ": " << result->findings[0].outcome.sentence
          << "\nbmc_lab replay " << lab::to_text(result->findings[0].token);
      EXPECT_EQ(result->runs, o.runs);
    } else if (result->findings.empty()) {
      ADD_FAILURE() << expected.profile << ": nothing found in " << o.runs << " runs; expected " << expected.oracle;
    } else {
      const lab::Finding& f = result->findings[0];
      EXPECT_EQ(f.outcome.oracle, expected.oracle) << expected.profile << ": " << f.outcome.sentence << "\nbmc_lab replay "
                                                   << lab::to_text(f.token);
      EXPECT_NE(f.outcome.sentence.find(expected.says), std::string::npos) << f.outcome.sentence;
      const lab::ReplayResult again = lab::replay(e, expected.profile, f.token.log);
      EXPECT_FALSE(again.divergence);
      EXPECT_EQ(again.outcome.end_hash, f.outcome.end_hash);
      EXPECT_EQ(again.outcome.oracle, f.outcome.oracle);
    }
  }
  if (e.prove_preemptions() >= 0) {
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
