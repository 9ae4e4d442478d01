#include "integration/lab/explore.h"

#include <gtest/gtest.h>

#include <sstream>

#include "integration/lab/measure.h"
#include "integration/lab/shrink.h"
#include "integration/lab/testing.h"

namespace bmcpair::lab {
namespace {

using testing::toys;

ExploreResult explored(const Experiment& experiment, ExploreOptions options) {
  if (options.profile.empty()) options.profile = experiment.profiles().front();
  Result<ExploreResult> result = explore(experiment, options);
  EXPECT_TRUE(result.ok()) << result.error().message;
  return std::move(*result);
}

ExploreOptions runs_of(uint64_t runs, unsigned jobs = 1) {
  ExploreOptions options;
  options.runs = runs;
  options.jobs = jobs;
  return options;
}

// The run that the strategy first finds the violation in.
std::optional<uint64_t> first_find(const Experiment& experiment, const std::string& strategy, uint64_t runs) {
  ExploreOptions options = runs_of(runs);
  options.strategy = strategy;
  const ExploreResult result = explored(experiment, options);
  if (result.findings.empty()) return std::nullopt;
  EXPECT_EQ(result.findings[0].strategy, strategy);
  EXPECT_EQ(result.ended, Ended::kViolation);
  return result.findings[0].run;
}

TEST(Explore, EachStrategyFindsWhatItIsFor) {
  EXPECT_TRUE(first_find(testing::late_answer(), "time", 200));
  EXPECT_TRUE(first_find(testing::starved(), "starve", 2000));
  EXPECT_TRUE(first_find(testing::lost_update(), "random", 100));
  EXPECT_TRUE(first_find(testing::lost_update(), "pct", 500));
  EXPECT_TRUE(first_find(testing::old_load(), "loads", 50));
  EXPECT_FALSE(first_find(testing::old_load(), "time", 500)) << "no duration makes a load old";
}

TEST(Explore, ThePortfolioFindsEachAndNothingWhereThereIsNothing) {
  for (const Experiment* toy : toys()) {
    if (toy->name() == "changed" || toy->name() == "moody") continue;
    const ExploreResult found = explored(*toy, runs_of(20000));
    EXPECT_EQ(found.findings.size(), 1u) << toy->name();
    ExploreOptions options = runs_of(1000);
    options.profile = "hardened";
    const ExploreResult nothing = explored(*toy, options);
    EXPECT_TRUE(nothing.findings.empty()) << toy->name();
    EXPECT_EQ(nothing.ended, Ended::kBound);
    EXPECT_EQ(nothing.runs, 1000u);
    EXPECT_GT(nothing.sites, 0u);
    EXPECT_GT(nothing.steps, 0u);
  }
}

TEST(Explore, WhatItFindsIsAWholeTokenThatReplays) {
  const ExploreResult result = explored(testing::needle(), runs_of(20000));
  ASSERT_EQ(result.findings.size(), 1u);
  const Finding& finding = result.findings[0];
  EXPECT_EQ(finding.token.experiment, "needle");
  EXPECT_EQ(finding.token.profile, "hay");
  EXPECT_EQ(finding.token.oracle, "needle");
  const Token token = *parse_token(to_text(finding.token));
  const ReplayResult again = replay(testing::needle(), token.profile, token.log);
  EXPECT_FALSE(again.divergence);
  EXPECT_EQ(again.outcome.end_hash, token.end_hash);
  EXPECT_EQ(again.outcome.sentence, finding.outcome.sentence);
}

TEST(Explore, TheSameSeedAndRunsAreTheSameWhateverTheJobs) {
  for (const Experiment* toy : toys()) {
    if (toy->name() == "moody") continue;
    for (bool keep_going : {false, true}) {
      std::optional<ExploreResult> first;
      for (unsigned jobs : {1u, 2u, 7u}) {
        ExploreOptions options = runs_of(400, jobs);
        options.seed = 11;
        options.keep_going = keep_going;
        ExploreResult result = explored(*toy, options);
        if (!first) {
          first = std::move(result);
          continue;
        }
        EXPECT_EQ(result.runs, first->runs) << toy->name();
        EXPECT_EQ(result.violations, first->violations);
        if (keep_going) {
          EXPECT_EQ(result.steps, first->steps);
          EXPECT_EQ(result.sites, first->sites);
        }
        ASSERT_EQ(result.findings.size(), first->findings.size());
        for (size_t i = 0; i < result.findings.size(); ++i) {
          EXPECT_EQ(result.findings[i].run, first->findings[i].run);
          EXPECT_EQ(result.findings[i].times, first->findings[i].times);
          EXPECT_EQ(result.findings[i].token, first->findings[i].token);
        }
        for (const auto& [name, count] : first->by_strategy) {
          EXPECT_EQ(result.by_strategy[name].runs, count.runs) << name;
          EXPECT_EQ(result.by_strategy[name].violations, count.violations) << name;
        }
      }
    }
  }
}

TEST(Explore, AnotherSeedIsAnotherSetOfRuns) {
  ExploreOptions options = runs_of(20000);
  const uint64_t one = explored(testing::late_answer(), options).findings.at(0).run;
  bool other = false;
  for (options.seed = 2; options.seed < 6; ++options.seed) other |= explored(testing::late_answer(), options).findings.at(0).run != one;
  EXPECT_TRUE(other);
}

TEST(Explore, KeepsGoingAndCountsDistinctSentences) {
  const testing::ToyExperiment two("two", "two ways to be wrong", {"both", "hardened"}, [](testing::Toy& toy) {
    const uint32_t value = toy.choose(Choice::kDuration, 4, "toy.latency");
    if (value == 1 || value == 2) toy.violate("late", "by " + std::to_string(value));
    if (value == 3) toy.violate("lost", "altogether");
  });
  ExploreOptions options = runs_of(1000, 2);
  options.keep_going = true;
  const ExploreResult result = explored(two, options);
  EXPECT_EQ(result.ended, Ended::kBound);
  EXPECT_EQ(result.runs, 1000u);
  ASSERT_EQ(result.findings.size(), 3u);
  uint64_t times = 0;
  for (const Finding& finding : result.findings) times += finding.times;
  EXPECT_EQ(times, result.violations);
  EXPECT_LT(result.findings[0].run, result.findings[1].run);
  EXPECT_LT(result.findings[1].run, result.findings[2].run);
}

TEST(Explore, OfOneOracleOnlyIsWhatWasAskedFor) {
  const testing::ToyExperiment two("two", "two ways to be wrong", {"both", "hardened"}, [](testing::Toy& toy) {
    const uint32_t value = toy.choose(Choice::kDuration, 100, "toy.latency");
    if (value > 0 && value < 90) toy.violate("late", "by " + std::to_string(value));
    if (value >= 90) toy.violate("lost", "altogether");
  });
  ExploreOptions options = runs_of(20000);
  EXPECT_EQ(explored(two, options).findings.at(0).outcome.oracle, "late");
  options.oracle = "lost";
  const ExploreResult lost = explored(two, options);
  ASSERT_EQ(lost.findings.size(), 1u);
  EXPECT_EQ(lost.findings[0].outcome.oracle, "lost");
  EXPECT_EQ(lost.violations, 1u);
  EXPECT_GT(lost.runs, 1u);
  options.keep_going = true;
  options.runs = 1000;
  for (const Finding& finding : explored(two, options).findings) EXPECT_EQ(finding.outcome.oracle, "lost");
  options.oracle = "nothing of the sort";
  const ExploreResult none = explored(two, options);
  EXPECT_TRUE(none.findings.empty());
  EXPECT_EQ(none.violations, 0u);
  EXPECT_EQ(none.runs, 1000u);
}

TEST(Explore, ARunThatIsNotTheSameTwiceIsAnErrorWithBothHashes) {
  const ExploreResult result = explored(testing::moody(), runs_of(100));
  EXPECT_EQ(result.ended, Ended::kNondeterminism);
  ASSERT_TRUE(result.nondeterminism);
  EXPECT_NE(result.nondeterminism->first_end_hash, result.nondeterminism->second_end_hash);
  char hash[24];
  for (uint64_t value : {result.nondeterminism->first_end_hash, result.nondeterminism->second_end_hash}) {
    std::snprintf(hash, sizeof hash, "%016llx", static_cast<unsigned long long>(value));
    EXPECT_NE(result.nondeterminism->sentence().find(hash), std::string::npos);
  }
}

TEST(Explore, EverySixtyFourthRunIsMadeTwice) {
  ExploreOptions options = runs_of(129, 2);
  options.profile = "hardened";
  EXPECT_EQ(explored(testing::needle(), options).run_twice, 3u);
}

TEST(Explore, WhenStoppedItSaysWhatItHasSoFar) {
  std::atomic<bool> stop{false};
  ExploreOptions options;
  options.profile = "hardened";
  options.jobs = 2;
  options.stop = &stop;
  options.progress_every = std::chrono::milliseconds(1);
  uint64_t last = 0;
  options.on_progress = [&](const Progress& progress) {
    EXPECT_GE(progress.runs, last);
    EXPECT_FALSE(progress.seconds_left);
    last = progress.runs;
    if (last > 100) stop = true;
  };
  const ExploreResult result = explored(testing::late_answer(), options);
  EXPECT_EQ(result.ended, Ended::kStopped);
  EXPECT_GT(result.runs, 100u);
  EXPECT_GE(result.runs, last);
}

TEST(Explore, EndsAfterItsSeconds) {
  ExploreOptions options;
  options.profile = "hardened";
  options.seconds = 0.05;
  options.jobs = 2;
  bool told = false;
  options.on_progress = [&](const Progress& progress) { told |= progress.seconds_left.has_value(); };
  const ExploreResult result = explored(testing::late_answer(), options);
  EXPECT_EQ(result.ended, Ended::kBound);
  EXPECT_GE(result.seconds, 0.05);
  EXPECT_TRUE(told);
}

TEST(Explore, ErrorsNameWhatThereIs) {
  ExploreOptions options = runs_of(1);
  options.profile = "linux-0.99";
  EXPECT_EQ(explore(testing::needle(), options).error().message, "needle has no profile \"linux-0.99\"; it has hay hardened");
  options.profile = "hay";
  options.strategy = "luck";
  EXPECT_EQ(explore(testing::needle(), options).error().message,
            "there is no strategy \"luck\"; there are tame time starve random pct loads");
  ProveOptions how;
  how.profile = "x";
  EXPECT_FALSE(prove(testing::needle(), how).ok());
  MeasureOptions measuring;
  measuring.profile = "x";
  EXPECT_FALSE(measure(testing::needle(), measuring).ok());
}

TEST(Explore, WhatAnExperimentThrowsComesOutWhereItWasStarted) {
  const testing::ToyExperiment broken("broken", "throws", {"hardened"}, [](testing::Toy& toy) {
    if (toy.choose(Choice::kDuration, 2, "toy.latency") == 1) throw std::logic_error("our own mistake");
  });
  EXPECT_THROW((void)explored(broken, runs_of(1000, 3)), std::logic_error);
}

ProveResult proved(const Experiment& experiment, const std::string& profile, Bounds bounds, unsigned jobs = 1) {
  ProveOptions options;
  options.profile = profile;
  options.bounds = bounds;
  options.jobs = jobs;
  Result<ProveResult> result = prove(experiment, options);
  EXPECT_TRUE(result.ok());
  return std::move(*result);
}

TEST(Prove, IsCompleteWithTheCountsKnownByHandWhateverTheJobs) {
  for (unsigned jobs : {1u, 3u}) {
    for (const auto& [experiment, bounds, schedules] :
         std::vector<std::tuple<const Experiment*, Bounds, uint64_t>>{
             {&testing::lost_update(), {0, 0, 0, false, UINT32_MAX}, 2},
             {&testing::lost_update(), {1, 0, 0, false, UINT32_MAX}, 4},
             {&testing::lost_update(), {2, 1, 0, false, UINT32_MAX}, 6},
             {&testing::lost_update(), {2, 0, 0, true, UINT32_MAX}, 5},
             {&testing::late_answer(), {2, 1, 0, false, UINT32_MAX}, 141},
             {&testing::late_answer(), {2, 2, 0, false, UINT32_MAX}, 9451},
             {&testing::moving(), {0, 2, 0, false, UINT32_MAX}, 680}}) {
      const ProveResult result = proved(*experiment, "hardened", bounds, jobs);
      EXPECT_TRUE(result.complete) << experiment->name();
      EXPECT_FALSE(result.finding);
      EXPECT_EQ(result.nondeterminism, "");
      EXPECT_EQ(result.schedules, schedules) << experiment->name();
      EXPECT_GE(result.runs, schedules);
      EXPECT_GT(result.sites, 0u);
    }
  }
}

TEST(Prove, FindsTheSimplestViolationFirstWhateverTheJobs) {
  for (unsigned jobs : {1u, 3u}) {
    const ProveResult result = proved(testing::lost_update(), "racy", {2, 1, 0, false, UINT32_MAX}, jobs);
    EXPECT_FALSE(result.complete);
    ASSERT_TRUE(result.finding);
    EXPECT_EQ(result.finding->token.oracle, "lost-update");
    ASSERT_EQ(result.finding->token.log.entries.size(), 1u) << "one preemption is enough";
    EXPECT_EQ(result.finding->token.log.entries[0].gap, 1u);
    if (jobs == 1) continue;
    const ProveResult needle = proved(testing::needle(), "hay", {2, 2, 0, false, UINT32_MAX}, jobs);
    ASSERT_TRUE(needle.finding);
    ASSERT_EQ(needle.finding->token.log.entries.size(), 2u);
    EXPECT_EQ(needle.finding->token.log.entries[1].gap, 39u);
  }
  EXPECT_FALSE(proved(testing::needle(), "hay", {2, 1, 0, false, UINT32_MAX}).finding);
}

TEST(Prove, WithABoundOfRunsItIsNotComplete) {
  ProveOptions options;
  options.profile = "hardened";
  options.bounds = {0, 2, 0, false, UINT32_MAX};
  options.runs = 500;
  options.jobs = 2;
  const Result<ProveResult> result = prove(testing::late_answer(), options);
  EXPECT_FALSE(result->complete);
  EXPECT_FALSE(result->finding);
  EXPECT_GT(result->schedules, 100u);
  EXPECT_LT(result->runs, 520u);
}

TEST(Prove, ARunThatIsNotTheSameTwiceIsTold) {
  EXPECT_NE(proved(testing::moody(), "moody", {0, 1, 0, false, UINT32_MAX}).nondeterminism.find("end hashes"), std::string::npos);
}

Token found(const Experiment& experiment, uint64_t seed) {
  ExploreOptions options = runs_of(50000);
  options.seed = seed;
  const ExploreResult result = explored(experiment, options);
  EXPECT_EQ(result.findings.size(), 1u);
  return result.findings.at(0).token;
}

TEST(Shrink, ComesDownToTheMinimalKnownStory) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    const Result<ShrinkResult> needle = shrink(testing::needle(), found(testing::needle(), seed), {});
    ASSERT_TRUE(needle.ok()) << needle.error().message;
    EXPECT_TRUE(needle->finished);
    ASSERT_EQ(needle->token.log.entries.size(), 2u);
    EXPECT_EQ(needle->token.log.entries[0].gap, 10u);
    EXPECT_EQ(needle->token.log.entries[0].value, 2u);
    EXPECT_EQ(needle->token.log.entries[1].gap, 39u);
    EXPECT_EQ(needle->token.log.entries[1].value, 1u);

    const Result<ShrinkResult> moving = shrink(testing::moving(), found(testing::moving(), seed), {});
    ASSERT_TRUE(moving.ok());
    ASSERT_EQ(moving->token.log.entries.size(), 1u) << "the retries before it are left out";
    EXPECT_EQ(moving->token.log.entries[0].gap, 10u);
    EXPECT_EQ(moving->token.log.entries[0].value, 3u);

    const Result<ShrinkResult> lost = shrink(testing::lost_update(), found(testing::lost_update(), seed), {});
    ASSERT_TRUE(lost.ok());
    EXPECT_EQ(lost->token.log.entries.size(), 1u);
    const Result<ShrinkResult> late = shrink(testing::late_answer(), found(testing::late_answer(), seed), {});
    ASSERT_EQ(late->token.log.entries.size(), 1u);
    EXPECT_EQ(late->token.log.entries[0].gap, 3u);
    EXPECT_EQ(late->token.log.entries[0].value, 7u);
    const Result<ShrinkResult> old = shrink(testing::old_load(), found(testing::old_load(), seed), {});
    ASSERT_EQ(old->token.log.entries.size(), 1u);
    EXPECT_EQ(old->token.log.entries[0].gap, 5u) << "the earliest that does it: the third time";
  }
}

TEST(Shrink, WhatComesOutIsAnotherTokenOfTheSameOracle) {
  const Token token = found(testing::needle(), 3);
  std::vector<ShrinkProgress> progress;
  ShrinkOptions options;
  options.on_progress = [&](const ShrinkProgress& p) { progress.push_back(p); };
  const Result<ShrinkResult> result = shrink(testing::needle(), token, options);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->token.oracle, token.oracle);
  EXPECT_EQ(result->choices_at_first, token.log.entries.size());
  const ReplayResult again = replay(testing::needle(), "hay", result->token.log);
  EXPECT_FALSE(again.divergence);
  EXPECT_EQ(again.outcome.end_hash, result->token.end_hash);
  ASSERT_FALSE(progress.empty());
  EXPECT_EQ(progress.back().choices, 2u);
  EXPECT_EQ(progress.back().choices_at_first, token.log.entries.size());
}

TEST(Shrink, EndsAfterItsRunsWithWhatItHas) {
  const Token token = found(testing::needle(), 1);
  ASSERT_GT(token.log.entries.size(), 8u);
  ShrinkOptions options;
  options.runs = 4;
  const Result<ShrinkResult> result = shrink(testing::needle(), token, options);
  ASSERT_TRUE(result.ok());
  EXPECT_FALSE(result->finished);
  EXPECT_EQ(result->runs, 4u);
  EXPECT_EQ(result->token.oracle, "needle");
}

TEST(Shrink, RefusesWhatViolatesNothingOrNoLonger) {
  Token token = found(testing::needle(), 1);
  token.profile = "hardened";
  const Result<ShrinkResult> fixed = shrink(testing::needle(), token, {});
  ASSERT_FALSE(fixed.ok());
  EXPECT_EQ(fixed.error().message, "shrink: the token's run violated \"needle\", and now nothing");
  token.oracle.clear();
  EXPECT_EQ(shrink(testing::needle(), token, {}).error().message, "shrink: the token's run violated nothing");
}

TEST(Measure, CountsSchedulesUntilTheFirstFindBySeed) {
  MeasureOptions options;
  options.profile = "impatient";
  options.seeds = 9;
  options.runs = 300;
  options.jobs = 2;
  const Result<std::vector<MeasureRow>> rows = measure(testing::late_answer(), options);
  ASSERT_TRUE(rows.ok());
  ASSERT_EQ(rows->size(), 7u);
  EXPECT_EQ((*rows)[0].strategy, "portfolio");
  EXPECT_EQ((*rows)[1].strategy, "time");
  EXPECT_EQ((*rows)[1].found, 9u);
  EXPECT_EQ((*rows)[1].oracle, "exactly-once");
  EXPECT_LE(*(*rows)[1].least, *(*rows)[1].median);
  EXPECT_LE(*(*rows)[1].median, *(*rows)[1].most);
  EXPECT_EQ(rows->back().strategy, "exhaustive");
  EXPECT_EQ(rows->back().seeds, 1u);
  // All tame; then 3 * 7 that are not it, and then it; before that, one for the bound of none.
  EXPECT_EQ(rows->back().median, 1u + 1u + 21u + 7u);
  options.jobs = 1;
  const Result<std::vector<MeasureRow>> again = measure(testing::late_answer(), options);
  for (size_t i = 0; i < rows->size(); ++i) EXPECT_EQ((*rows)[i].median, (*again)[i].median);
}

TEST(Measure, WhereNothingIsFoundTheFigureIsMoreThanTheBound) {
  MeasureOptions options;
  options.profile = "hardened";
  options.seeds = 2;
  options.runs = 10;
  const Result<std::vector<MeasureRow>> rows = measure(testing::late_answer(), options);
  ASSERT_TRUE(rows.ok());
  EXPECT_FALSE((*rows)[0].median);
  std::ostringstream out;
  write_strategies_table(out, *rows, options.runs);
  EXPECT_NE(out.str().find("| strategy | found | least | median | most | oracle |\n|---|---|---|---|---|---|\n"
                           "| portfolio | 0 of 2 | > 10 | > 10 | > 10 | - |\n"),
            std::string::npos)
      << out.str();
}

}  // namespace
}  // namespace bmcpair::lab
