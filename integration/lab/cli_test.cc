#include "integration/lab/cli.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "integration/lab/pictures.h"
#include "integration/lab/story.h"
#include "integration/lab/testing.h"

namespace bmcpair::lab {
namespace {

using Json = nlohmann::json;

struct Ran {
  int status = -1;
  std::string out, err;
  bool says(std::string_view text) const { return out.find(text) != std::string::npos; }
  bool complains(std::string_view text) const { return err.find(text) != std::string::npos; }
  Json json() const { return Json::parse(out); }
  // What is behind "bmc_lab replay".
  std::string token() const {
    const size_t at = out.rfind("bmc_lab replay ");
    return at == std::string::npos ? "" : out.substr(at + 15, out.find('\n', at) - at - 15);
  }
};

Ran lab(const std::vector<std::string>& arguments, bool terminal = false, const std::atomic<bool>* stop = nullptr) {
  std::ostringstream out, err;
  Ran ran;
  ran.status = run_cli(arguments, {testing::toys(), out, err, terminal, terminal, 100, stop});
  ran.out = out.str();
  ran.err = err.str();
  return ran;
}

TEST(Cli, WithoutACommandOrWithAWrongOneItEndsWith1AndHelpWith0) {
  EXPECT_EQ(lab({}).status, kFailed);
  EXPECT_EQ(lab({"dance"}).status, kFailed);
  EXPECT_EQ(lab({"explore"}).status, kFailed);
  EXPECT_EQ(lab({"explore", "needle", "--jobs", "0"}).status, kFailed);
  EXPECT_EQ(lab({"explore", "needle", "--seconds", "-1"}).status, kFailed);
  const Ran help = lab({"explore", "--help"});
  EXPECT_EQ(help.status, kNothingFound);
  EXPECT_TRUE(help.says("starve  a task, or any, does not go on for a while (25% of the portfolio)"));
  EXPECT_TRUE(lab({"--help"}).says("Exit status: 0 nothing found; 2 a violation found; 1 usage"));
}

TEST(Cli, ListNamesExperimentsTitlesAndProfiles) {
  const Ran text = lab({"list"});
  EXPECT_EQ(text.status, kNothingFound);
  EXPECT_TRUE(text.says("needle       two choices of a hundred  [hay, hardened]\n"));
  const Json json = lab({"list", "--json"}).json();
  EXPECT_EQ(json["experiments"].size(), testing::toys().size());
  EXPECT_EQ(json["experiments"][0]["name"], "lost-update");
  EXPECT_EQ(json["experiments"][0]["profiles"], Json({"racy", "hardened"}));
}

TEST(Cli, ExploreShrinksTellsAndPrintsALineToCopyThatReplays) {
  const Ran explored = lab({"explore", "needle", "--profile", "hay", "--runs", "50000"});
  EXPECT_EQ(explored.status, kViolationFound);
  EXPECT_TRUE(explored.says("needle --profile hay: time 30%, starve 25%, random 15%, pct 15%, loads 15%; seed 1, "));
  EXPECT_TRUE(explored.says("a violation in run "));
  EXPECT_TRUE(explored.says("unusual choices to 2 in "));
  EXPECT_TRUE(explored.says("violated: needle\n  both were pricked\n"));
  EXPECT_TRUE(explored.says("* choice 2 of 0..3, at toy.data\n"));
  EXPECT_EQ(explored.err, "");
  const Ran replayed = lab({"replay", explored.token()});
  EXPECT_EQ(replayed.status, kViolationFound) << explored.token() << replayed.err;
  EXPECT_TRUE(replayed.says("the same run as when it was found: end hash "));
  EXPECT_EQ(replayed.token(), explored.token());
}

TEST(Cli, ExploreWithNothingFoundEndsWith0) {
  const Ran explored = lab({"explore", "needle", "--profile", "hardened", "--runs", "500", "--jobs", "2"});
  EXPECT_EQ(explored.status, kNothingFound);
  EXPECT_TRUE(explored.says("nothing found: 500 runs in "));
  EXPECT_TRUE(explored.says("1 scheduling site, 8 made twice and the same\n"));
  const Json json = lab({"explore", "needle", "--profile", "hardened", "--runs", "500", "--strategy", "time", "--json"}).json();
  EXPECT_EQ(json["runs"], 500);
  EXPECT_EQ(json["strategy"], "time");
  EXPECT_EQ(json["findings"], Json::array());
  EXPECT_EQ(json["by_strategy"]["time"]["runs"], 499);
  EXPECT_EQ(json["ended"], "bound");
}

TEST(Cli, ExploreAsJsonIsOneObjectWithFindingTokenAndStory) {
  const Ran explored = lab({"explore", "needle", "--runs", "50000", "--json"});
  EXPECT_EQ(explored.status, kViolationFound);
  const Json json = explored.json();
  EXPECT_EQ(json["profile"], "hay");
  EXPECT_EQ(json["findings"].size(), 1u);
  EXPECT_EQ(json["findings"][0]["oracle"], "needle");
  EXPECT_EQ(json["findings"][0]["shrunk"]["to"], 2);
  EXPECT_EQ(json["findings"][0]["token"], json["finding"]["token"]);
  EXPECT_EQ(json["finding"]["story"].size(), 100u);
  EXPECT_EQ(json["finding"]["decisions"].size(), 2u);
  EXPECT_EQ(json["finding"]["decisions"][0]["site"], "toy.data");
  const Json found = lab({"replay", json["findings"][0]["found_token"], "--json"}).json();
  EXPECT_EQ(found["fits"], true);
  EXPECT_EQ(found["same_end_hash"], true);
}

TEST(Cli, KeepGoingListsTheDistinctOnesWithATokenEach) {
  const Ran explored = lab({"explore", "starved", "--profile", "naive", "--runs", "3000", "--keep-going"});
  EXPECT_EQ(explored.status, kViolationFound);
  EXPECT_TRUE(explored.says("distinct one"));
  EXPECT_TRUE(explored.says("liveness: task 0 waited for 2"));
  EXPECT_TRUE(explored.says(": 3000 runs in "));
}

TEST(Cli, NoShrinkShowsTheRunAsItWasFound) {
  const Json json = lab({"explore", "needle", "--runs", "50000", "--json", "--no-shrink"}).json();
  EXPECT_EQ(json["findings"][0]["token"], json["findings"][0]["found_token"]);
  EXPECT_FALSE(json["findings"][0].contains("shrunk"));
}

TEST(Cli, ProveSaysCompleteOrTheViolationOrNotComplete) {
  const Ran complete = lab({"prove", "lost-update", "--profile", "hardened", "--preemptions", "2"});
  EXPECT_EQ(complete.status, kNothingFound);
  EXPECT_EQ(complete.out.substr(0, 62), "complete: 6 schedules (preemptions 2, deviations 1, stalls 0; ") << complete.out;
  const Ran violated = lab({"prove", "lost-update", "--profile", "racy"});
  EXPECT_EQ(violated.status, kViolationFound);
  EXPECT_TRUE(violated.says("violated: lost-update\n"));
  EXPECT_EQ(lab({"replay", violated.token()}).status, kViolationFound);
  const Ran cut = lab({"prove", "late-answer", "--profile", "hardened", "--deviations", "2", "--runs", "300"});
  EXPECT_EQ(cut.status, kNothingFound);
  EXPECT_EQ(cut.out.substr(0, 14), "not complete: ");
  const Json json = lab({"prove", "late-answer", "--profile", "hardened", "--json"}).json();
  EXPECT_EQ(json["complete"], true);
  EXPECT_EQ(json["schedules"], 141);
  const Json found = lab({"prove", "late-answer", "--profile", "impatient", "--json"}).json();
  EXPECT_EQ(found["finding"]["oracle"], "exactly-once");
}

TEST(Cli, RunPrintsTheDenseTraceAndATokenOfAnyRun) {
  const Ran tame = lab({"run", "late-answer", "--profile", "hardened"});
  EXPECT_EQ(tame.status, kNothingFound);
  EXPECT_TRUE(tame.says("     1         10.000 bmc  bmc  answers after 0\n"));
  EXPECT_TRUE(tame.says("nothing is violated: 20 steps, 0 unusual choices of 20, virtual time 200.000 us, end hash "));
  EXPECT_EQ(lab({"replay", tame.token()}).status, kNothingFound);
  const Ran seeded = lab({"run", "late-answer", "--seed", "5", "--strategy", "time"});
  EXPECT_TRUE(seeded.says("* choice "));
  EXPECT_EQ(lab({"run", "late-answer", "--seed", "5", "--strategy", "time"}).out, seeded.out);
  EXPECT_EQ(lab({"run", "late-answer", "--strategy", "luck"}).status, kFailed);
  const Ran violated = lab({"run", "recorded"});
  EXPECT_EQ(violated.status, kViolationFound);
  EXPECT_TRUE(violated.says("violated: always\n"));
  const Json json = lab({"run", "recorded", "--json"}).json();
  EXPECT_EQ(json["violated"], true);
  EXPECT_EQ(json["story"].size(), 1u);
}

TEST(Cli, RunAndReplayDrawPictures) {
  std::string folder = "/tmp/bmcpair-lab-XXXXXX";
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  const Ran run = lab({"run", "recorded"});
  const auto content = [&](const std::string& name) {
    std::ifstream in(folder + "/" + name, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  EXPECT_EQ(lab({"run", "recorded", "--vcd", folder + "/a.vcd", "--trace-json", folder + "/a.json"}).status, kViolationFound);
  EXPECT_EQ(lab({"replay", run.token(), "--pcap", folder + "/a.pcap", "--svg", folder + "/a.svg"}).status, kViolationFound);
  EXPECT_NE(content("a.vcd").find("$enddefinitions"), std::string::npos);
  EXPECT_NE(content("a.json").find("writes H2B_ATN"), std::string::npos);
  EXPECT_NE(content("a.svg").find("it always happens"), std::string::npos);
  EXPECT_NE(content("a.pcap").find("it always happens"), std::string::npos);
  const Ran nowhere = lab({"run", "recorded", "--svg", folder + "/no/such.svg"});
  EXPECT_EQ(nowhere.status, kFailed);
  EXPECT_TRUE(nowhere.complains("no/such.svg: cannot be written"));
  std::filesystem::remove_all(folder);
}

TEST(Cli, ReplayOfATokenThatNoLongerFitsSaysWhereAndEndsWith1) {
  Token token;
  token.experiment = "changed";
  token.profile = "before";
  const ReplayResult tame = replay(testing::changed(), "before", {});
  token.log = tame.log;
  token.end_hash = tame.outcome.end_hash;
  EXPECT_EQ(lab({"replay", to_text(token)}).status, kNothingFound);
  token.profile = "after";
  const Ran longer = lab({"replay", to_text(token)});
  EXPECT_EQ(longer.status, kFailed);
  EXPECT_TRUE(longer.complains("the token no longer fits: at choice 6, after step 3: the run is over, but the token's run ended after 5")) << longer.err;
  EXPECT_TRUE(longer.says("NOT the run that the token was made of"));
  const Json json = lab({"replay", to_text(token), "--json"}).json();
  EXPECT_EQ(json["fits"], false);
  EXPECT_EQ(json["divergence"]["step"], 3);
  token.profile = "before";
  token.end_hash ^= 1;
  const Ran other = lab({"replay", to_text(token)});
  EXPECT_EQ(other.status, kFailed);
  EXPECT_TRUE(other.complains("every choice is where it was, but the run ends otherwise"));
}

TEST(Cli, TokensOfUnknownExperimentsAndProfilesAndBrokenOnesAreRefused) {
  Token token;
  token.experiment = "unheard-of";
  token.profile = "hardened";
  EXPECT_TRUE(lab({"replay", to_text(token)}).complains("bmc_lab: token: unknown experiment \"unheard-of\"; bmc_lab list shows those there are"));
  token.experiment = "needle";
  token.profile = "linux-9";
  EXPECT_TRUE(lab({"replay", to_text(token)}).complains("token: needle has no profile \"linux-9\"; it has hay hardened"));
  EXPECT_TRUE(lab({"shrink", "bl1/needle/hay/AAAA"}).complains("cut short"));
  EXPECT_EQ(lab({"shrink", "nonsense"}).status, kFailed);
  const Ran json = lab({"replay", "nonsense", "--json"});
  EXPECT_EQ(json.status, kFailed);
  EXPECT_EQ(json.json()["error"], "token: this is not one: it would begin with \"bl1/\"");
}

TEST(Cli, ATokenMayComeFromAFile) {
  std::string folder = "/tmp/bmcpair-lab-XXXXXX";
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  std::ofstream(folder + "/token") << lab({"run", "recorded"}).token() << "\n";
  EXPECT_EQ(lab({"replay", "@" + folder + "/token"}).status, kViolationFound);
  EXPECT_TRUE(lab({"replay", "@" + folder + "/none"}).complains("/none: nothing can be read"));
  std::filesystem::remove_all(folder);
}

TEST(Cli, UnknownExperimentsAndProfilesAreToldWhatThereIs) {
  EXPECT_TRUE(lab({"explore", "update"}).complains("unknown experiment \"update\"; did you mean: lost-update"));
  EXPECT_TRUE(lab({"run", "needle", "--profile", "x"}).complains("needle has no profile \"x\"; it has hay hardened"));
  EXPECT_TRUE(lab({"explore", "needle", "--strategy", "luck"}).complains("there is no strategy \"luck\""));
}

TEST(Cli, ShrinkMakesASmallerToken) {
  const Json found = lab({"explore", "needle", "--runs", "50000", "--json", "--no-shrink"}).json();
  const Ran shrunk = lab({"shrink", found["findings"][0]["token"]});
  EXPECT_EQ(shrunk.status, kViolationFound);
  EXPECT_TRUE(shrunk.says(" to 2 in "));
  EXPECT_LT(shrunk.token().size(), std::string(found["findings"][0]["token"]).size());
  const Json again = lab({"shrink", shrunk.token(), "--json"}).json();
  EXPECT_EQ(again["token"], shrunk.token());
  EXPECT_EQ(again["from"], 2);
}

TEST(Cli, MeasurePrintsATableOrJson) {
  const Ran text = lab({"measure", "late-answer", "--seeds", "3", "--runs", "200"});
  EXPECT_EQ(text.status, kViolationFound);
  EXPECT_TRUE(text.says("| time | 3 of 3 | "));
  EXPECT_TRUE(text.says("| exhaustive | 1 of 1 | 30 | 30 | 30 | exactly-once |"));
  const Ran nothing = lab({"measure", "late-answer", "--profile", "hardened", "--seeds", "1", "--runs", "20", "--json"});
  EXPECT_EQ(nothing.status, kNothingFound);
  EXPECT_EQ(nothing.json()["strategies"][0]["median"], nullptr);
}

TEST(Cli, NondeterminismIsAnErrorOfOurOwn) {
  const Ran explored = lab({"explore", "moody", "--runs", "100"});
  EXPECT_EQ(explored.status, kFailed);
  EXPECT_TRUE(explored.complains("made twice, is not the same run: end hashes "));
  EXPECT_EQ(lab({"prove", "moody"}).status, kFailed);
  EXPECT_EQ(lab({"run", "moody"}).status, kFailed);
}

TEST(Cli, ColoursAndProgressAreForTerminalsOnly) {
  const Ran plain = lab({"explore", "needle", "--runs", "50000"});
  EXPECT_EQ(plain.out.find('\x1b'), std::string::npos);
  EXPECT_EQ(plain.err, "");
  const Ran terminal = lab({"explore", "needle", "--runs", "50000"}, true);
  EXPECT_TRUE(terminal.says("\x1b[1;31mviolated: needle\x1b[0m"));
  EXPECT_TRUE(terminal.complains(" unusual choices left, "));
  EXPECT_EQ(terminal.token(), plain.token());
  EXPECT_EQ(terminal.err.substr(terminal.err.size() - 4), "\r\x1b[K") << "the progress line is cleared in the end";
}

TEST(Cli, StoppedItReportsWhatWasFoundSoFar) {
  const std::atomic<bool> stop{true};
  const Ran explored = lab({"explore", "needle", "--profile", "hardened"}, false, &stop);
  EXPECT_EQ(explored.status, kNothingFound);
  EXPECT_TRUE(explored.says("stopped; so far:\nnothing found: 1 run in "));
}

TEST(Story, PutsHostAndBmcSideBySideWithWhatWasUnusualInBetween) {
  Token token;
  const Json found = lab({"prove", "lost-update", "--profile", "racy", "--json"}).json();
  const Token of_run = *parse_token(std::string(found["finding"]["token"]));
  std::ostringstream out;
  print_story(out, replay(testing::lost_update(), "racy", of_run.log), {false, 70, false});
  EXPECT_EQ(out.str(),
            "  step       time us  host                   | BMC\n"
            "---------------------------------------------+-----------------------\n"
            "     1        10.000  task: reads 0          |\n"
            "* task 1 goes on instead of task 0, at toy.step\n"
            "     2        20.000                         | task: reads 0\n"
            "     3        30.000                         | writes 1\n"
            "     4        40.000  writes 1               |\n"
            "---------------------------------------------+-----------------------\n"
            "violated: lost-update\n"
            "  two additions of one made 1\n");
}

TEST(Story, LeavesOutWhatIsFarFromAnythingUnusualUnlessAllIsWanted) {
  ReplayResult run;
  for (uint64_t i = 0; i < 300; ++i) {
    run.outcome.story.push_back({Instant(std::chrono::microseconds(i)), i, StoryLine::Side::kHost, "t", "line " + std::to_string(i)});
  }
  Replay::Decision decision;
  decision.kind = Choice::kLoad;
  decision.value = 2;
  decision.n = 3;
  decision.site = "x.cc:7";
  decision.line = 150;
  run.decisions.push_back(decision);
  std::ostringstream some, all;
  print_story(some, run, {false, 100, false});
  print_story(all, run, {false, 100, true});
  EXPECT_NE(some.str().find("... 139 steps ..."), std::string::npos) << some.str();
  EXPECT_NE(some.str().find("* the load reads a store 2 older than the newest, at x.cc:7\n   150 "), std::string::npos);
  EXPECT_EQ(some.str().find("line 100 "), std::string::npos);
  EXPECT_NE(all.str().find("line 100 "), std::string::npos);
  EXPECT_EQ(all.str().find("steps ..."), std::string::npos);
}

TEST(Story, SaysOnceWhatIsSaidManyTimesInARow) {
  ReplayResult run;
  for (uint64_t i = 0; i < 9; ++i) run.outcome.story.push_back({Instant{}, i, StoryLine::Side::kHost, "t", i < 8 ? "polls" : "ends"});
  std::ostringstream out;
  print_story(out, run, {false, 80, false});
  EXPECT_NE(out.str().find("t: polls (8 times)"), std::string::npos) << out.str();
  Replay::Decision decision;
  decision.site = "x";
  decision.line = 3;
  run.decisions.push_back(decision);
  std::ostringstream split;
  print_story(split, run, {false, 80, false});
  EXPECT_NE(split.str().find("t: polls (3 times)"), std::string::npos) << split.str();
  EXPECT_NE(split.str().find(" polls (5 times)"), std::string::npos) << split.str();
}

TEST(Story, WrapsLongLinesAndEscapesWhatNoTerminalShouldSee) {
  ReplayResult run;
  run.outcome.story.push_back({Instant{}, 1, StoryLine::Side::kBmc, "bmc", std::string(80, 'x') + " \x1b[31m red"});
  run.outcome.oracle = "o";
  run.outcome.sentence = "s";
  std::ostringstream out;
  print_story(out, run, {false, 0, false});
  std::istringstream lines(out.str());
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), kWidthMin) << line;
  EXPECT_EQ(out.str().find('\x1b'), std::string::npos);
  EXPECT_NE(out.str().find("\\x1b[31m"), std::string::npos);
  EXPECT_NO_THROW(to_json(run.outcome.story[0]).dump());
}

TEST(Story, DecisionsReadAsSentences) {
  Replay::Decision stall;
  stall.kind = Choice::kTask;
  stall.tasks = 2;
  stall.value = 2 + rt::kStalls - 1;
  stall.n = 2 + rt::kStalls;
  stall.task = TaskId{4};
  stall.site = "bt.cc:12";
  EXPECT_EQ(decision_text(stall), "task 4 stalls until just after the nearest deadline, at bt.cc:12");
  Replay::Decision duration;
  duration.kind = Choice::kDuration;
  duration.value = 7;
  duration.n = 8;
  duration.site = "bmc.latency";
  EXPECT_EQ(decision_text(duration), "takes unusually long or short: choice 7 of 0..7, at bmc.latency");
}

}  // namespace
}  // namespace bmcpair::lab
