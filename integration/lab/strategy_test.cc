#include "integration/lab/strategy.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "integration/lab/explore.h"
#include "integration/lab/testing.h"

namespace bmcpair::lab {
namespace {

using testing::toys;

std::set<std::string> own_names() {
  std::set<std::string> names;
  for (const StrategyInfo& info : strategies()) names.insert(std::string(info.name));
  return names;
}

Calibration calibration_of(const Experiment& experiment, std::string_view profile) {
  auto tame = make_strategy("tame");
  tame->begin(0, {});
  experiment.run(profile, *tame, {});
  return tame->calibration_of_run();
}

ChoiceLog log_of(const Experiment& experiment, const std::string& profile, std::vector<uint32_t> values) {
  class Recorded final : public RecordingDirector {
   public:
    explicit Recorded(std::vector<uint32_t> values) : fixed_(std::move(values)) { start_log(); }

   private:
    uint32_t decide(Choice kind, uint32_t n, const Site& site, std::span<const TaskId> tasks) override {
      return fixed_.choose(kind, n, site, tasks);
    }
    testing::Fixed fixed_;
  } director(std::move(values));
  experiment.run(profile, director, {});
  return director.log();
}

std::string divergence_of(const Experiment& experiment, const std::string& profile, const ChoiceLog& log) {
  const ReplayResult run = replay(experiment, profile, log);
  return run.divergence ? run.divergence->sentence : "";
}

// The number of schedules within the bounds, counted without a bound of the total and in one thread.
uint64_t schedules_of(const Experiment& experiment, std::string_view profile, const Bounds& bounds) {
  Exhaustive director(bounds);
  std::set<uint64_t> distinct;
  uint64_t count = 0;
  do {
    director.begin();
    const Outcome outcome = experiment.run(profile, director, {});
    EXPECT_EQ(director.divergence(), "");
    distinct.insert(outcome.end_hash);
    ++count;
  } while (director.next());
  EXPECT_EQ(distinct.size(), count) << "a schedule was run twice";
  return count;
}

TEST(Strategies, AreMadeByTheNamesThatAreListed) {
  uint32_t shares = 0;
  for (const StrategyInfo& info : strategies()) {
    auto strategy = make_strategy(info.name);
    ASSERT_NE(strategy, nullptr) << info.name;
    EXPECT_EQ(strategy->name(), info.name);
    shares += info.share;
  }
  EXPECT_EQ(shares, 100u);
  EXPECT_EQ(make_strategy("no-such"), nullptr);
  EXPECT_EQ(own_names().size(), strategies().size());
}

TEST(Strategies, ThePortfolioGivesEachItsShareOfAnyTwentyRunsInARow) {
  EXPECT_EQ(strategies()[portfolio_slot(0)].name, "tame");
  for (uint64_t from : {1, 7, 1000}) {
    std::map<size_t, uint32_t> runs;
    for (uint64_t run = from; run < from + 20; ++run) ++runs[portfolio_slot(run)];
    for (size_t i = 0; i < strategies().size(); ++i) EXPECT_EQ(runs[i] * 5, strategies()[i].share) << strategies()[i].name;
  }
}

TEST(Strategies, OneSeedIsOneRunAndAnotherSeedAnother) {
  for (const StrategyInfo& info : strategies()) {
    if (info.name == "tame") continue;
    auto strategy = make_strategy(info.name);
    for (const Experiment* toy : {toys()[2], toys()[3], toys()[4]}) {
      const Calibration calibration = calibration_of(*toy, "hardened");
      std::set<std::vector<uint64_t>> logs;
      for (uint64_t seed = 0; seed < 60; ++seed) {
        strategy->begin(seed, calibration);
        const uint64_t end_hash = toy->run("hardened", *strategy, {}).end_hash;
        const ChoiceLog log = strategy->log();
        auto other = make_strategy(info.name);
        other->begin(seed, calibration);
        EXPECT_EQ(toy->run("hardened", *other, {}).end_hash, end_hash);
        EXPECT_EQ(other->log(), log) << info.name << " on " << toy->name() << ", seed " << seed;
        std::vector<uint64_t> values;
        for (const LoggedChoice& entry : log.entries) values.insert(values.end(), {entry.gap, entry.value});
        logs.insert(values);
      }
      // Who only decides the order decides nothing in an experiment of data.
      if (toy->name() == "starved" && info.name != "tame") {
        EXPECT_GT(logs.size(), 5u) << info.name;
      }
    }
  }
}

TEST(Strategies, WhatIsAskedOutsideOfTheirBusinessStaysWithinItsOptions) {
  // Every kind, every n, tasks named or not, more tasks than options.
  const std::array<TaskId, 5> ids = {3, 900, 7, 65535, 0};
  for (const StrategyInfo& info : strategies()) {
    auto strategy = make_strategy(info.name);
    for (uint64_t seed = 0; seed < 50; ++seed) {
      strategy->begin(seed, {{5, 2, 2, 1}});
      for (uint32_t i = 0; i < 200; ++i) {
        const uint32_t n = 2 + i % 12;
        const auto kind = static_cast<Choice>(i % 4);
        const std::span<const TaskId> tasks = i % 3 == 0 ? std::span<const TaskId>{} : std::span(ids).first(1 + i % 5);
        ASSERT_LT(strategy->choose(kind, n, Site("any"), tasks), n) << info.name;
      }
      EXPECT_EQ(strategy->log().choices, 200u);
      EXPECT_EQ(strategy->choose(Choice::kData, 1, Site("one"), {}), 0u);
      EXPECT_EQ(strategy->log().choices, 200u) << "what has one option only is no choice";
    }
  }
}

TEST(Strategies, TheTameOneDecidesNothing) {
  auto tame = make_strategy("tame");
  for (const Experiment* toy : toys()) {
    tame->begin(1, {});
    toy->run(toy->profiles().front(), *tame, {});
    EXPECT_TRUE(tame->log().entries.empty());
    EXPECT_GT(tame->log().choices, 0u);
  }
}

TEST(Strategies, PctIsFairToAllInTheEnd) {
  auto pct = make_strategy("pct");
  const std::array<TaskId, 3> ids = {0, 1, 2};
  for (uint64_t seed = 0; seed < 20; ++seed) {
    pct->begin(seed, {{600, 0, 0, 0}});
    std::array<uint32_t, 3> last_part{};
    for (uint32_t i = 0; i < 3000; ++i) {
      const uint32_t value = pct->choose(Choice::kTask, 3, Site("poll"), ids);
      if (i >= 2000) ++last_part[value];
    }
    for (uint32_t count : last_part) EXPECT_GT(count, 200u) << "seed " << seed;
  }
}

TEST(Strategies, AreTameAfterManyTimesTheUsualLength) {
  const std::array<TaskId, 3> ids = {0, 1, 2};
  for (const StrategyInfo& info : strategies()) {
    auto strategy = make_strategy(info.name);
    for (uint64_t seed = 0; seed < 20; ++seed) {
      strategy->begin(seed, {{10, 5, 5, 0}});
      for (uint32_t i = 0; i < 1160; ++i) strategy->choose(static_cast<Choice>(i % 4), 3, Site("poll"), ids);
      for (uint32_t i = 0; i < 200; ++i) ASSERT_EQ(strategy->choose(static_cast<Choice>(i % 4), 3, Site("poll"), ids), 0u) << info.name;
    }
  }
}

TEST(Strategies, StarvationKeepsATaskFromRunningForAWhile) {
  auto starve = make_strategy("starve");
  const std::array<TaskId, 2> ids = {4, 9};
  uint32_t longest = 0;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    starve->begin(seed, {{100, 0, 0, 0}});
    uint32_t without = 0;
    for (uint32_t i = 0; i < 100; ++i) {
      without = starve->choose(Choice::kTask, 2, Site("step"), ids) == 0 ? 0 : without + 1;
      longest = std::max(longest, without);
    }
  }
  EXPECT_GT(longest, 30u);
}

TEST(SiteSet, CountsDistinctSitesAndIsBounded) {
  SiteSet sites;
  for (uint32_t i = 0; i < 3; ++i) {
    for (uint32_t hash = 1; hash <= 100; ++hash) sites.add(hash * 8192);  // all in one slot
  }
  EXPECT_EQ(sites.size(), 100u);
  SiteSet more;
  for (uint32_t hash = 1; hash <= 20000; ++hash) more.add(hash);
  EXPECT_EQ(more.size(), SiteSet::kMax);
  SiteSet both;
  both.merge(sites);
  both.merge(sites);
  EXPECT_EQ(both.size(), 100u);
}

TEST(Exhaustive, CountsOfTwoTasksOfTwoStepsAreThoseKnownByHand) {
  const auto schedules = [](uint32_t preemptions, bool delays) {
    return schedules_of(testing::lost_update(), "hardened", {preemptions, 0, 0, delays, UINT32_MAX});
  };
  // AABB BBAA; ABBA BAAB; ABAB BABA.
  EXPECT_EQ(schedules(0, false), 2u);
  EXPECT_EQ(schedules(1, false), 4u);
  EXPECT_EQ(schedules(2, false), 6u);
  EXPECT_EQ(schedules(9, false), 6u);
  // AABB; BBAA ABBA; BAAB ABAB; BABA.
  EXPECT_EQ(schedules(0, true), 1u);
  EXPECT_EQ(schedules(1, true), 3u);
  EXPECT_EQ(schedules(2, true), 5u);
  EXPECT_EQ(schedules(3, true), 6u);
}

TEST(Exhaustive, CountsOfDeviationsAreThoseKnownByHand) {
  EXPECT_EQ(schedules_of(testing::late_answer(), "hardened", {0, 0, 0, false, UINT32_MAX}), 1u);
  EXPECT_EQ(schedules_of(testing::late_answer(), "hardened", {0, 1, 0, false, UINT32_MAX}), 1u + 20 * 7);
  EXPECT_EQ(schedules_of(testing::late_answer(), "hardened", {0, 2, 0, false, UINT32_MAX}), 1u + 20 * 7 + 190 * 49);
  // Ten choices of 4 and one of 5; then pairs of them, and each of up to three retries of 3.
  EXPECT_EQ(schedules_of(testing::moving(), "hardened", {0, 1, 0, false, UINT32_MAX}), 1u + 34);
  EXPECT_EQ(schedules_of(testing::moving(), "hardened", {0, 2, 0, false, UINT32_MAX}), 1u + 34 + 45 * 9 + 10 * 3 * 4 + 10 * 6 * 2);
}

TEST(Exhaustive, StallsHaveTheirOwnBound) {
  const testing::ToyExperiment alone("alone", "one task of three steps", {"hardened"}, [](testing::Toy& toy) {
    testing::interleave(toy, {3}, true, [](TaskId, unsigned) {});
  });
  EXPECT_EQ(schedules_of(alone, "hardened", {9, 9, 0, false, UINT32_MAX}), 1u);
  EXPECT_EQ(schedules_of(alone, "hardened", {0, 0, 1, false, UINT32_MAX}), 1u + 2 * 7);
  EXPECT_EQ(schedules_of(alone, "hardened", {0, 0, 2, false, UINT32_MAX}), 1u + 2 * 7 + 49);
}

TEST(Exhaustive, TheTotalIsOverAllBoundsTogetherAndSaysWhenItWasInTheWay) {
  EXPECT_EQ(schedules_of(testing::moving(), "hardened", {5, 5, 5, false, 1}), 35u);
  Exhaustive loose({5, 5, 0, false, 20}), tight({5, 5, 0, false, 1});
  for (Exhaustive* director : {&loose, &tight}) {
    do {
      director->begin();
      testing::lost_update().run("hardened", *director, {});
    } while (director->next());
  }
  EXPECT_FALSE(loose.cut_by_total());
  EXPECT_TRUE(tight.cut_by_total());
}

TEST(Exhaustive, ARunThatDoesNotRepeatItselfIsTold) {
  unsigned runs = 0;
  const testing::ToyExperiment fickle("fickle", "another site each time", {"hardened"}, [&](testing::Toy& toy) {
    toy.choose(Choice::kData, 2, runs++ == 0 ? "toy.first" : "toy.second");
    toy.choose(Choice::kData, 2, "toy.third");
  });
  Exhaustive director({0, 1, 0, false, UINT32_MAX});
  director.begin();
  fickle.run("hardened", director, {});
  EXPECT_EQ(director.divergence(), "");
  ASSERT_TRUE(director.next());
  director.begin();
  fickle.run("hardened", director, {});
  EXPECT_NE(director.divergence().find("choice 0 was of kind data"), std::string::npos) << director.divergence();
}

TEST(Replay, GivesTheSameRunAgain) {
  for (const Experiment* toy : toys()) {
    if (toy->name() == "moody") continue;
    const std::string profile(toy->profiles().front());
    for (const StrategyInfo& info : strategies()) {
      auto strategy = make_strategy(info.name);
      for (uint64_t seed = 0; seed < 20; ++seed) {
        strategy->begin(seed, calibration_of(*toy, profile));
        const Outcome outcome = toy->run(profile, *strategy, {});
        const ReplayResult again = replay(*toy, profile, strategy->log());
        EXPECT_FALSE(again.divergence) << again.divergence->sentence;
        EXPECT_EQ(again.log, strategy->log());
        EXPECT_EQ(again.outcome.end_hash, outcome.end_hash);
        EXPECT_EQ(again.outcome.oracle, outcome.oracle);
        EXPECT_EQ(again.decisions.size(), strategy->log().entries.size());
        EXPECT_EQ(again.outcome.story.size(), outcome.steps);
      }
    }
  }
}

TEST(Replay, SaysAtWhichChoiceStepAndSiteALogNoLongerFits) {
  const ChoiceLog log = log_of(testing::changed(), "before", {0, 0, 2});
  ASSERT_EQ(log.entries.size(), 1u);
  EXPECT_EQ(log.choices, 5u);
  EXPECT_EQ(divergence_of(testing::changed(), "before", log), "");
  EXPECT_EQ(divergence_of(testing::changed(), "after", log),
            "at choice 2, after step 2: the token fits toy.same here, but a choice between 0 and this one was another than in the "
            "run it was made of");
  char hash[16];
  std::snprintf(hash, sizeof hash, "%08x", Site("toy.same").hash);
  EXPECT_EQ(divergence_of(testing::changed(), "renamed", log),
            "at choice 2, after step 2: the token decides data (2 of 3) at a site not met in this run (" + std::string(hash) +
                "), but the run asks for data (of 3) at toy.other");
}

TEST(Replay, NamesTheSiteThatItExpectedWhereItWasMetBefore) {
  // The token decides at the fifth choice of the shorter run, toy.same; in the other one that is its fourth.
  const ChoiceLog first = log_of(testing::changed(), "before", {1});
  ChoiceLog log = first;
  log.entries[0].gap = 1;  // toy.first, one choice too late
  EXPECT_EQ(divergence_of(testing::changed(), "before", log),
            "at choice 1, after step 2: the token decides data (1 of 2) at toy.first, but the run asks for data (of 3) at toy.same");
}

TEST(Replay, SaysWhenARunIsShorterOrLongerOrHasOtherTameChoices) {
  const ChoiceLog longer = log_of(testing::changed(), "after", {0, 0, 0, 0, 0, 1});
  EXPECT_NE(divergence_of(testing::changed(), "before", longer).find("the run is over, but the token decides 1 more, the next at choice 5"),
            std::string::npos);
  EXPECT_NE(divergence_of(testing::changed(), "after", log_of(testing::changed(), "before", {})).find("the token's run ended after 5 choices"),
            std::string::npos);
  EXPECT_NE(divergence_of(testing::changed(), "renamed", log_of(testing::changed(), "before", {})).find("a tame one"), std::string::npos);
}

TEST(Replay, AfterADivergenceTheRunGoesOnTamely) {
  const ChoiceLog log = log_of(testing::changed(), "before", {0, 0, 2, 2, 2});
  const ReplayResult run = replay(testing::changed(), "renamed", log);
  ASSERT_TRUE(run.divergence);
  EXPECT_EQ(run.divergence->choice, 2u);
  EXPECT_EQ(run.divergence->step, 2u);
  EXPECT_TRUE(run.log.entries.empty());
  EXPECT_EQ(run.log.choices, 5u);
}

Edited::Edit edit_of(uint64_t position, std::string_view site, uint32_t value, Choice kind) {
  Edited::Edit edit;
  edit.position = position;
  edit.site = Site(site).hash;
  edit.value = value;
  edit.kind = kind;
  return edit;
}

TEST(Edited, AppliesByPositionAndLowersWhatIsTooMuch) {
  Edited director;
  director.begin({edit_of(10, "x", 99, Choice::kTask), edit_of(50, "x", 1, Choice::kTask)}, Edited::Anchor::kPosition);
  const Outcome outcome = testing::needle().run("hay", director, {});
  EXPECT_FALSE(outcome.violated());
  ASSERT_EQ(director.done().size(), 2u);
  EXPECT_EQ(director.done()[0].value, 3u);
  EXPECT_EQ(director.done()[0].kind, Choice::kData);
  EXPECT_EQ(director.done()[1].occurrence, 50u);
}

TEST(Edited, FindsAChoiceAgainByItsOccurrence) {
  Edited director;
  director.begin({edit_of(13, "toy.last", 3, Choice::kData)}, Edited::Anchor::kOccurrence);
  EXPECT_EQ(testing::moving().run("naive", director, {}).oracle, "moved");
  ASSERT_EQ(director.done().size(), 1u);
  EXPECT_EQ(director.done()[0].position, 10u);
}

TEST(Edited, FindsATasksOwnChoiceAgainWhateverOthersDoAndPicksTheSameTask) {
  const std::array<TaskId, 3> first = {5, 6, 7}, second = {6, 7, 5};
  const auto both = [&](Edited& director, bool before) {
    const uint32_t stalls = rt::kStalls;
    if (before) director.choose(Choice::kTask, 3 + stalls, Site("step"), second);
    director.choose(Choice::kTask, 3 + stalls, Site("step"), first);
  };
  Edited director;
  director.begin({edit_of(0, "step", 2, Choice::kTask)}, Edited::Anchor::kPosition);
  both(director, false);
  ASSERT_EQ(director.done().size(), 1u);
  EXPECT_EQ(director.done()[0].running, 5u);
  EXPECT_EQ(director.done()[0].picked, 7u);
  const std::vector<Edited::Edit> done = director.done();
  director.begin(done, Edited::Anchor::kOccurrence);
  both(director, true);
  ASSERT_EQ(director.done().size(), 1u);
  EXPECT_EQ(director.done()[0].position, 1u) << "of task 5, not of task 6";
  EXPECT_EQ(director.done()[0].picked, 7u);
}

}  // namespace
}  // namespace bmcpair::lab
