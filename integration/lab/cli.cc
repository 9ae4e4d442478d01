#include "integration/lab/cli.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "integration/lab/explore.h"
#include "integration/lab/measure.h"
#include "integration/lab/pictures.h"
#include "integration/lab/shrink.h"
#include "integration/lab/story.h"

namespace bmcpair::lab {

namespace {

using Json = nlohmann::ordered_json;

// Of `explore` and `prove` when no bound is given.
constexpr double kSecondsUsual = 30;
// And of shrinking.
constexpr double kShrinkSecondsUsual = 30;
// Linux takes 128 KiB.
constexpr size_t kArgumentMax = 120'000;
// Distinct oracles that --keep-going shrinks, each to a token.
constexpr size_t kShrunkMax = 10;

std::string rounded(double value, int digits = 1) {
  char text[48];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string count_text(uint64_t count, std::string_view one, std::string_view more) {
  return std::to_string(count) + " " + std::string(count == 1 ? one : more);
}

struct Options {
  bool json = false;
  std::string experiment, profile, strategy, token;
  uint64_t seed = 1;
  bool seed_given = false;
  uint64_t runs = 0;
  double seconds = 0;
  unsigned jobs = 0;
  std::string oracle;
  bool keep_going = false, no_shrink = false, full = false, dense = false;
  uint64_t shrink_runs = 3000;
  double shrink_seconds = kShrinkSecondsUsual;
  Bounds bounds;
  unsigned seeds = 40;
  trace::Outputs pictures;
};

class Program {
 public:
  explicit Program(const Environment& environment) : environment_(environment) {}

  int run(const std::vector<std::string>& arguments);

 private:
  const Experiment* find(const std::string& name) const {
    for (const Experiment* experiment : environment_.experiments) {
      if (experiment->name() == name) return experiment;
    }
    return nullptr;
  }

  int fail(const std::string& message) {
    environment_.err << "bmc_lab: " << message << '\n';
    if (options_.json) environment_.out << Json{{"error", message}}.dump(2) << '\n';
    return kFailed;
  }
  int fail(const Error& error) { return fail(error.to_string()); }

  // The experiment that was named, and its profile; otherwise why not.
  Result<const Experiment*> chosen() {
    const Experiment* experiment = find(options_.experiment);
    if (!experiment) {
      std::string message = "unknown experiment \"" + options_.experiment + "\"";
      std::string close;
      for (const Experiment* other : environment_.experiments) {
        if (other->name().find(options_.experiment) != std::string_view::npos) close += " " + std::string(other->name());
      }
      return Error{ErrorCode::kNotFound, message + (close.empty() ? "; bmc_lab list shows those there are" : "; did you mean:" + close)};
    }
    if (options_.profile.empty()) {
      const auto profiles = experiment->profiles();
      if (profiles.empty()) return Error{ErrorCode::kInternal, options_.experiment + " has no profile"};
      options_.profile = profiles.front();
    }
    if (Status known = check_profile(*experiment, options_.profile); !known.ok()) return known.error();
    return experiment;
  }

  struct FromToken {
    Token token;
    const Experiment* experiment;
  };
  Result<FromToken> token() {
    std::string text = options_.token;
    if (text == "-" || (!text.empty() && text[0] == '@')) {
      std::ifstream file;
      if (text != "-") file.open(text.substr(1), std::ios::binary);
      std::istream& in = text == "-" ? std::cin : file;
      std::string content;
      char part[4096];
      while (content.size() <= kTokenCharactersMax && (in.read(part, sizeof part) || in.gcount() > 0)) {
        content.append(part, static_cast<size_t>(in.gcount()));
      }
      if (content.empty()) return Error{ErrorCode::kNotFound, "token: " + (text == "-" ? "standard input" : text.substr(1)) + ": nothing can be read"};
      text = content;
    }
    Result<Token> parsed = parse_token(text);
    if (!parsed.ok()) return parsed.error();
    options_.experiment = parsed->experiment;
    options_.profile = parsed->profile;
    Result<const Experiment*> experiment = chosen();
    if (!experiment.ok()) return Error{experiment.error().code, "token: " + experiment.error().message};
    return FromToken{std::move(*parsed), *experiment};
  }

  Style style() const { return {environment_.out_is_terminal, environment_.width, options_.full}; }

  void clear_progress() {
    if (progress_shown_) environment_.err << "\r\x1b[K" << std::flush;
    progress_shown_ = false;
  }
  void show_progress(const std::string& text) {
    environment_.err << "\r\x1b[K" << text.substr(0, environment_.width > 1 ? environment_.width - 1 : 1) << std::flush;
    progress_shown_ = true;
  }
  std::function<void(const Progress&)> on_progress() {
    if (!environment_.err_is_terminal) return nullptr;
    return [this](const Progress& progress) {
      const double seconds = std::max(progress.seconds, 1e-9);
      std::string text = count_text(progress.runs, "run", "runs") + ", " +
                         rounded(static_cast<double>(progress.runs) / seconds, 0) + "/s, " +
                         rounded(static_cast<double>(progress.steps) / seconds / 1e6, 2) + " M steps/s, " +
                         count_text(progress.sites, "site", "sites");
      if (progress.violations > 0) text += ", " + count_text(progress.violations, "violation", "violations");
      if (progress.seconds_left) text += ", " + rounded(*progress.seconds_left, 0) + " s left";
      show_progress(text);
    };
  }

  static std::string command_of(const Token& token) {
    const std::string text = to_text(token);
    return (text.size() > kArgumentMax ? "the token is too long for a command line; save it, and: bmc_lab replay @FILE\n" : "bmc_lab replay ") + text;
  }

  int list();
  int run_one();
  int explore_many();
  int prove_all();
  int replay_token();
  int shrink_token();
  int measure_strategies();

  Result<ShrinkResult> shrunk(const Experiment& experiment, const Token& token) {
    ShrinkOptions how;
    how.runs = options_.shrink_runs;
    how.seconds = options_.shrink_seconds;
    how.stop = environment_.stop;
    if (environment_.err_is_terminal) {
      how.on_progress = [this](const ShrinkProgress& progress) {
        show_progress("shrinking: " + std::to_string(progress.choices) + " of " + std::to_string(progress.choices_at_first) +
                      " unusual choices left, " + std::to_string(progress.runs) + " of at most " +
                      std::to_string(progress.runs_max) + " runs");
      };
    }
    Result<ShrinkResult> result = shrink(experiment, token, how);
    clear_progress();
    return result;
  }

  void say_shrunk(const ShrinkResult& result) {
    environment_.out << "shrunk from " << count_text(result.choices_at_first, "unusual choice", "unusual choices") << " to "
                     << result.token.log.entries.size() << " in " << count_text(result.runs, "run", "runs")
                     << (result.finished ? "" : ", not to the end") << '\n';
  }

  Json describe(const ReplayResult& run, const Token& of_run) {
    Json json{{"experiment", of_run.experiment}, {"profile", of_run.profile}};
    json.update(to_json(run.outcome));
    json["choices"] = run.log.choices;
    json["decisions"] = Json::array();
    for (const Replay::Decision& decision : run.decisions) json["decisions"].push_back(to_json(decision));
    json["story"] = Json::array();
    for (const StoryLine& line : run.outcome.story) json["story"].push_back(to_json(line));
    json["token"] = to_text(of_run);
    return json;
  }

  // A finding's story and what to copy. The status of its check.
  int tell(const Experiment& experiment, const Token& of_run) {
    const ReplayResult run = replay(experiment, of_run.profile, of_run.log);
    if (Status fits = same(run, of_run); !fits.ok()) return fail(fits.error());
    if (options_.json) {
      json_["finding"] = describe(run, of_run);
    } else {
      environment_.out << '\n';
      print_story(environment_.out, run, style());
      environment_.out << '\n' << command_of(of_run) << '\n';
    }
    return kViolationFound;
  }

  static Status same(const ReplayResult& run, const Token& of_run) {
    if (run.divergence) return Error{ErrorCode::kInternal, "the run does not fit its token: " + run.divergence->sentence};
    if (run.outcome.end_hash != of_run.end_hash || run.outcome.oracle != of_run.oracle) {
      return Error{ErrorCode::kInternal, "the run does not end as its token says: end hash " +
                                             hash_text(run.outcome.end_hash) + ", not " + hash_text(of_run.end_hash)};
    }
    return {};
  }

  const Environment& environment_;
  Options options_;
  Json json_ = Json::object();
  bool progress_shown_ = false;
};

int Program::list() {
  Json all = Json::array();
  size_t width = 0;
  for (const Experiment* experiment : environment_.experiments) width = std::max(width, experiment->name().size());
  for (const Experiment* experiment : environment_.experiments) {
    std::string profiles;
    for (std::string_view profile : experiment->profiles()) profiles += (profiles.empty() ? "" : ", ") + std::string(profile);
    all.push_back({{"name", experiment->name()}, {"title", experiment->title()}, {"profiles", experiment->profiles()}});
    if (options_.json) continue;
    environment_.out << experiment->name() << std::string(width - experiment->name().size() + 2, ' ') << experiment->title()
                     << "  [" << profiles << "]\n";
  }
  if (options_.json) environment_.out << Json{{"experiments", all}}.dump(2) << '\n';
  if (environment_.experiments.empty() && !options_.json) environment_.out << "there are no experiments in this build\n";
  return kNothingFound;
}

int Program::run_one() {
  Result<const Experiment*> experiment = chosen();
  if (!experiment.ok()) return fail(experiment.error());
  const std::string name = !options_.strategy.empty() ? options_.strategy : options_.seed_given ? "random" : "tame";
  const std::unique_ptr<Strategy> tame = make_strategy("tame");
  std::unique_ptr<Strategy> strategy = make_strategy(name);
  if (!strategy) return fail("there is no strategy \"" + name + "\"; bmc_lab explore --help names them");
  tame->begin(0, {});
  Outcome outcome = (*experiment)->run(options_.profile, *tame, {});
  const ChoiceLog* log = &tame->log();
  if (name != "tame") {
    strategy->begin(seed_of_run(options_.seed, 0), tame->calibration_of_run());
    outcome = (*experiment)->run(options_.profile, *strategy, {});
    log = &strategy->log();
  }
  // Again, with its story: a run is its choice log.
  const Token of_run{options_.experiment, options_.profile, outcome.oracle, outcome.end_hash, *log};
  const ReplayResult again = replay(**experiment, options_.profile, *log, options_.pictures.any());
  if (Status fits = same(again, of_run); !fits.ok()) return fail(fits.error());
  if (options_.json) {
    environment_.out << describe(again, of_run).dump(2) << '\n';
  } else {
    print_trace(environment_.out, again.outcome.story, again.decisions, style());
    if (outcome.violated()) {
      environment_.out << '\n';
      print_story(environment_.out, again, style());
    }
    environment_.out << '\n'
                     << (outcome.violated() ? "" : "nothing is violated: ")
                     << count_text(outcome.steps, "step", "steps") << ", "
                     << count_text(again.decisions.size(), "unusual choice", "unusual choices") << " of " << again.log.choices
                     << ", virtual time " << time_text(outcome.virtual_time) << ", end hash " << hash_text(outcome.end_hash)
                     << '\n'
                     << command_of(of_run) << '\n';
  }
  if (Status drawn = draw(again, options_.experiment + " " + options_.profile, options_.pictures); !drawn.ok()) return fail(drawn.error());
  return outcome.violated() ? kViolationFound : kNothingFound;
}

int Program::explore_many() {
  Result<const Experiment*> experiment = chosen();
  if (!experiment.ok()) return fail(experiment.error());
  ExploreOptions how;
  how.profile = options_.profile;
  how.strategy = options_.strategy;
  how.seed = options_.seed;
  how.runs = options_.runs;
  how.seconds = options_.seconds > 0 ? options_.seconds : options_.runs == 0 ? kSecondsUsual : 0;
  how.jobs = options_.jobs != 0 ? options_.jobs : std::max(1u, std::thread::hardware_concurrency());
  how.keep_going = options_.keep_going;
  how.oracle = options_.oracle;
  how.stop = environment_.stop;
  how.on_progress = on_progress();
  std::string plan;
  if (how.strategy.empty()) {
    for (const StrategyInfo& info : strategies()) {
      if (info.share > 0) plan += (plan.empty() ? "" : ", ") + std::string(info.name) + " " + std::to_string(info.share) + "%";
    }
  } else {
    plan = how.strategy;
  }
  if (!options_.json) {
    environment_.out << options_.experiment << " --profile " << options_.profile << ": " << plan << "; seed " << how.seed << ", "
                     << count_text(how.jobs, "job", "jobs");
    if (how.runs > 0) environment_.out << ", at most " << count_text(how.runs, "run", "runs");
    if (how.seconds > 0) environment_.out << ", at most " << rounded(how.seconds, 0) << " s";
    environment_.out << std::endl;
  }
  Result<ExploreResult> explored = explore(**experiment, how);
  clear_progress();
  if (!explored.ok()) return fail(explored.error());
  const ExploreResult& result = *explored;
  if (result.nondeterminism) return fail(result.nondeterminism->sentence());

  const double seconds = std::max(result.seconds, 1e-9);
  static constexpr std::string_view kEnded[] = {"bound", "violation", "stopped", "nondeterminism"};
  json_ = Json{{"experiment", options_.experiment},
               {"profile", options_.profile},
               {"strategy", how.strategy.empty() ? "portfolio" : how.strategy},
               {"seed", how.seed},
               {"jobs", how.jobs},
               {"ended", kEnded[static_cast<size_t>(result.ended)]},
               {"runs", result.runs},
               {"run_twice", result.run_twice},
               {"steps", result.steps},
               {"bring_ups", result.bring_ups},
               {"violations", result.violations},
               {"sites", result.sites},
               {"seconds", result.seconds},
               {"by_strategy", Json::object()},
               {"findings", Json::array()}};
  for (const auto& [name, count] : result.by_strategy) {
    json_["by_strategy"][name] = {{"runs", count.runs}, {"violations", count.violations}};
  }
  if (!options_.json) {
    if (result.ended == Ended::kStopped) environment_.out << "stopped; so far:\n";
    if (result.findings.empty()) {
      environment_.out << "nothing found";
    } else if (options_.keep_going) {
      environment_.out << count_text(result.violations, "violation", "violations") << ", "
                       << count_text(result.findings.size(), "distinct one", "distinct ones");
    } else {
      environment_.out << "a violation in run " << result.findings[0].run << ", by " << result.findings[0].strategy;
    }
    environment_.out << ": " << count_text(result.runs, "run", "runs") << " in " << rounded(seconds) << " s ("
                     << rounded(static_cast<double>(result.runs) / seconds, 0) << "/s; " << result.steps << " steps, "
                     << rounded(static_cast<double>(result.steps) / seconds / 1e6, 2) << " M/s";
    if (result.bring_ups > 0) {
      environment_.out << "; " << result.bring_ups << " bring-ups, "
                       << rounded(static_cast<double>(result.bring_ups) / seconds, 0) << "/s";
    }
    environment_.out << "), " << count_text(result.sites, "scheduling site", "scheduling sites") << ", " << result.run_twice
                     << " made twice and the same\n";
  }
  std::set<std::string> shrunk_oracles;
  std::optional<Token> told;
  for (const Finding& finding : result.findings) {
    Token token = finding.token;
    std::optional<ShrinkResult> smaller;
    if (!options_.no_shrink && shrunk_oracles.size() < kShrunkMax && shrunk_oracles.insert(token.oracle).second) {
      Result<ShrinkResult> shrinking = shrunk(**experiment, token);
      if (!shrinking.ok()) return fail(shrinking.error());
      token = shrinking->token;
      smaller = std::move(*shrinking);
    }
    if (!told) told = token;
    Json json = to_json(finding.outcome);
    json["strategy"] = finding.strategy;
    json["run"] = finding.run;
    json["times"] = finding.times;
    json["found_token"] = to_text(finding.token);
    json["token"] = to_text(token);
    if (smaller) {
      json["shrunk"] = {{"from", smaller->choices_at_first},
                        {"to", token.log.entries.size()},
                        {"runs", smaller->runs},
                        {"finished", smaller->finished}};
    }
    json_["findings"].push_back(std::move(json));
    if (options_.json) continue;
    if (options_.keep_going) {
      environment_.out << "\n" << finding.times << " times, first in run " << finding.run << " by " << finding.strategy << ": "
                       << finding.outcome.oracle << ": " << finding.outcome.sentence << '\n';
    }
    if (smaller) say_shrunk(*smaller);
    if (options_.keep_going) environment_.out << command_of(token) << '\n';
  }
  int status = kNothingFound;
  if (told) status = tell(**experiment, *told);
  if (options_.json && status != kFailed) environment_.out << json_.dump(2) << '\n';
  return status;
}

int Program::prove_all() {
  Result<const Experiment*> experiment = chosen();
  if (!experiment.ok()) return fail(experiment.error());
  ProveOptions how;
  how.profile = options_.profile;
  how.bounds = options_.bounds;
  how.runs = options_.runs;
  how.seconds = options_.seconds;
  how.jobs = options_.jobs;
  how.stop = environment_.stop;
  how.on_progress = on_progress();
  Result<ProveResult> proved = prove(**experiment, how);
  clear_progress();
  if (!proved.ok()) return fail(proved.error());
  if (!proved->nondeterminism.empty()) return fail(proved->nondeterminism);
  const std::string within = std::string(how.bounds.delays ? "delays " : "preemptions ") +
                             std::to_string(how.bounds.preemptions) + ", deviations " +
                             std::to_string(how.bounds.deviations) + ", stalls " + std::to_string(how.bounds.stalls);
  json_ = Json{{"experiment", options_.experiment},
               {"profile", options_.profile},
               {"preemptions", how.bounds.preemptions},
               {"deviations", how.bounds.deviations},
               {"stalls", how.bounds.stalls},
               {"delays", how.bounds.delays},
               {"complete", proved->complete},
               {"schedules", proved->schedules},
               {"runs", proved->runs},
               {"steps", proved->steps},
               {"sites", proved->sites},
               {"seconds", proved->seconds}};
  const std::string schedules = count_text(proved->schedules, "schedule", "schedules");
  const std::string seconds = rounded(proved->seconds);
  int status = kNothingFound;
  if (proved->finding) {
    if (!options_.json) {
      environment_.out << "a violation after " << count_text(proved->runs, "run", "runs") << " in " << seconds << " s (" << within << ")\n";
    }
    Token token = proved->finding->token;
    if (!options_.no_shrink) {
      Result<ShrinkResult> shrinking = shrunk(**experiment, token);
      if (!shrinking.ok()) return fail(shrinking.error());
      token = shrinking->token;
      if (!options_.json) say_shrunk(*shrinking);
    }
    status = tell(**experiment, token);
  } else if (!options_.json) {
    if (proved->complete) {
      environment_.out << "complete: " << schedules << " (" << within << "; " << proved->runs << " runs in " << seconds << " s, "
                       << count_text(proved->sites, "scheduling site", "scheduling sites") << ")\n";
    } else {
      environment_.out << "not complete: " << schedules << " in " << seconds << " s (" << within << ")\n";
    }
  }
  if (options_.json && status != kFailed) environment_.out << json_.dump(2) << '\n';
  return status;
}

int Program::replay_token() {
  Result<FromToken> from = token();
  if (!from.ok()) return fail(from.error());
  const Token& wanted = from->token;
  const ReplayResult run = replay(*from->experiment, wanted.profile, wanted.log, options_.pictures.any());
  const bool same_end = !run.divergence && run.outcome.end_hash == wanted.end_hash && run.outcome.oracle == wanted.oracle;
  if (options_.json) {
    Json json = describe(run, wanted);
    json["same_end_hash"] = run.outcome.end_hash == wanted.end_hash;
    json["expected_end_hash"] = hash_text(wanted.end_hash);
    json["expected_oracle"] = wanted.oracle;
    json["fits"] = !run.divergence;
    if (run.divergence) {
      json["divergence"] = {{"choice", run.divergence->choice},
                            {"step", run.divergence->step},
                            {"sentence", run.divergence->sentence}};
    }
    environment_.out << json.dump(2) << '\n';
  } else {
    if (options_.dense) {
      print_trace(environment_.out, run.outcome.story, run.decisions, style());
      environment_.out << '\n';
    }
    if (!options_.dense || run.outcome.violated()) print_story(environment_.out, run, style());
    environment_.out << '\n'
                     << (same_end ? "the same run as when it was found: end hash " + hash_text(run.outcome.end_hash)
                                  : "NOT the run that the token was made of: end hash " + hash_text(run.outcome.end_hash) + ", expected " +
                                        hash_text(wanted.end_hash))
                     << '\n';
    if (same_end) environment_.out << command_of(wanted) << '\n';
  }
  if (Status drawn = draw(run, wanted.experiment + " " + wanted.profile, options_.pictures); !drawn.ok()) return fail(drawn.error());
  if (!same_end) {
    environment_.err << "bmc_lab: the token no longer fits"
                     << (run.divergence ? ": " + run.divergence->sentence
                         : run.outcome.oracle != wanted.oracle
                             ? ": it violated \"" + wanted.oracle + "\", and now \"" + run.outcome.oracle + "\""
                             : std::string(": every choice is where it was, but the run ends otherwise"))
                     << '\n';
    return kFailed;
  }
  return run.outcome.violated() ? kViolationFound : kNothingFound;
}

int Program::shrink_token() {
  Result<FromToken> from = token();
  if (!from.ok()) return fail(from.error());
  Result<ShrinkResult> result = shrunk(*from->experiment, from->token);
  if (!result.ok()) return fail(result.error());
  json_ = Json{{"experiment", from->token.experiment},
               {"profile", from->token.profile},
               {"from", result->choices_at_first},
               {"to", result->token.log.entries.size()},
               {"runs", result->runs},
               {"finished", result->finished},
               {"token", to_text(result->token)}};
  if (!options_.json) say_shrunk(*result);
  const int status = tell(*from->experiment, result->token);
  if (options_.json && status != kFailed) environment_.out << json_.dump(2) << '\n';
  return status;
}

int Program::measure_strategies() {
  Result<const Experiment*> experiment = chosen();
  if (!experiment.ok()) return fail(experiment.error());
  MeasureOptions how;
  how.profile = options_.profile;
  how.first_seed = options_.seed;
  how.seeds = options_.seeds;
  if (options_.runs != 0) how.runs = options_.runs;
  how.jobs = options_.jobs;
  how.stop = environment_.stop;
  Result<std::vector<MeasureRow>> rows = measure(**experiment, how);
  if (!rows.ok()) return fail(rows.error());
  if (options_.json) {
    const auto figure = [](const std::optional<uint64_t>& value) { return value ? Json(*value) : Json(nullptr); };
    Json all = Json::array();
    for (const MeasureRow& row : *rows) {
      all.push_back({{"strategy", row.strategy}, {"seeds", row.seeds}, {"found", row.found}, {"least", figure(row.least)},
                     {"median", figure(row.median)}, {"most", figure(row.most)}, {"oracle", row.oracle}});
    }
    environment_.out << Json{{"experiment", options_.experiment}, {"profile", options_.profile}, {"first_seed", how.first_seed},
                             {"runs_max", how.runs}, {"strategies", all}}.dump(2)
                     << '\n';
  } else {
    environment_.out << options_.experiment << " --profile " << options_.profile << ": schedules until the first find, "
                     << count_text(how.seeds, "seed", "seeds") << " from " << how.first_seed << "\n\n";
    write_strategies_table(environment_.out, *rows, how.runs);
  }
  const bool found = std::any_of(rows->begin(), rows->end(), [](const MeasureRow& row) { return row.found > 0; });
  return found ? kViolationFound : kNothingFound;
}

int Program::run(const std::vector<std::string>& arguments) {
  CLI::App app{
      "The deterministic laboratory: runs a host driver and a BMC on fibers and virtual time, and decides everything that\n"
      "is not determined: who goes on, how long it takes, which value a load sees, which fault fires.\n"
      "Exit status: 0 nothing found; 2 a violation found; 1 usage, or an error of our own.",
      "bmc_lab"};
  app.require_subcommand(1);
  Options& o = options_;
  std::string names;
  for (const StrategyInfo& info : strategies()) {
    names += "\n  " + std::string(info.name) + std::string(8 - info.name.size(), ' ') + std::string(info.summary);
    if (info.share > 0) names += " (" + std::to_string(info.share) + "% of the portfolio)";
  }
  const auto json = [&](CLI::App* command) { command->add_flag("--json", o.json, "One JSON object instead of text"); };
  const auto experiment = [&](CLI::App* command) {
    command->add_option("NAME", o.experiment, "The experiment; bmc_lab list shows them")->required();
    command->add_option("--profile", o.profile, "How the driver behaves; the experiment's first unless said");
  };
  const auto bounds = [&](CLI::App* command, const char* runs) {
    command->add_option("--runs", o.runs, runs)->check(CLI::PositiveNumber);
    command->add_option("--seconds", o.seconds, "Stop after so many")->check(CLI::PositiveNumber);
    command->add_option("--jobs", o.jobs, "Threads; one a core unless said. The runs are the same whatever the jobs")
        ->check(CLI::Range(1u, kJobsMax));
  };
  const auto shrinking = [&](CLI::App* command) {
    command->add_flag("--no-shrink", o.no_shrink, "Show the run as it was found");
    command->add_option("--shrink-runs", o.shrink_runs, "Runs that shrinking may take")->capture_default_str()->check(CLI::PositiveNumber);
    command->add_option("--shrink-seconds", o.shrink_seconds, "Seconds that it may take")->capture_default_str()->check(CLI::PositiveNumber);
    command->add_flag("--full", o.full, "Every line of the story");
  };
  const auto pictures = [&](CLI::App* command) {
    command->add_option("--vcd", o.pictures.vcd, "Write a waveform, for GTKWave");
    command->add_option("--pcap", o.pictures.pcap, "Write the IPMI traffic, for Wireshark and tshark");
    command->add_option("--trace-json", o.pictures.trace_json, "Write a trace, for Perfetto and chrome://tracing");
    command->add_option("--svg", o.pictures.svg, "Write the host/BMC ladder");
  };

  CLI::App* list_command = app.add_subcommand("list", "The experiments, and the profiles of each");
  json(list_command);

  CLI::App* run_command = app.add_subcommand("run", "One run, with its dense trace: the tamest, or one of a seed");
  experiment(run_command);
  CLI::Option* run_seed = run_command->add_option("--seed", o.seed, "Decide by chance from this seed");
  run_command->add_option("--strategy", o.strategy, "How to decide; random unless said:" + names);
  run_command->add_flag("--full", o.full, "Every line of a violation's story");
  pictures(run_command);
  json(run_command);

  CLI::App* explore_command = app.add_subcommand(
      "explore", "Many runs, until something is violated; then its story, shrunk, and a token to replay it");
  experiment(explore_command);
  explore_command->add_option("--strategy", o.strategy, "One instead of the portfolio:" + names);
  explore_command->add_option("--seed", o.seed, "Of the first run; the others follow from it")->capture_default_str();
  bounds(explore_command, "Stop after so many; 30 seconds when neither is given");
  explore_command->add_flag("--keep-going", o.keep_going, "Do not stop at a violation; count the distinct ones");
  explore_command->add_option("--oracle", o.oracle, "Only violations of this oracle are any (deadlock, unanswered...)");
  shrinking(explore_command);
  json(explore_command);

  CLI::App* prove_command = app.add_subcommand(
      "prove", "Every schedule within bounds, each once: the simplest violation, or \"complete\"");
  experiment(prove_command);
  prove_command->add_option("--preemptions", o.bounds.preemptions, "Times that a task may be stopped although it could go on")
      ->capture_default_str();
  prove_command->add_option("--deviations", o.bounds.deviations, "Unusual durations, old loads, faults and other data, together")
      ->capture_default_str();
  prove_command->add_option("--stalls", o.bounds.stalls, "Stalls of a task")->capture_default_str();
  prove_command->add_flag("--delays", o.bounds.delays, "Count it as a preemption, too, when another than the first goes on after a task has blocked: "
                                                        "fewer schedules, a weaker proof");
  bounds(prove_command, "Stop after so many, not complete");
  shrinking(prove_command);
  json(prove_command);

  CLI::App* replay_command = app.add_subcommand("replay", "A run again, from its token: its story, and whether it ends the same");
  replay_command->add_option("TOKEN", o.token, "What explore printed; @FILE: it is in there; -: from standard input")->required();
  replay_command->add_flag("--trace", o.dense, "The dense trace");
  replay_command->add_flag("--full", o.full, "Every line of the story");
  pictures(replay_command);
  json(replay_command);

  CLI::App* shrink_command = app.add_subcommand("shrink", "Fewer and tamer choices that violate the same oracle");
  shrink_command->add_option("TOKEN", o.token, "What explore printed; @FILE: it is in there; -: from standard input")->required();
  shrink_command->add_option("--runs", o.shrink_runs, "At most so many")->capture_default_str()->check(CLI::PositiveNumber);
  shrink_command->add_option("--seconds", o.shrink_seconds, "At most so many")->capture_default_str()->check(CLI::PositiveNumber);
  shrink_command->add_flag("--full", o.full, "Every line of the story");
  json(shrink_command);

  CLI::App* measure_command = app.add_subcommand("measure", "Schedules until the first find, by strategy, over many seeds");
  experiment(measure_command);
  measure_command->add_option("--seeds", o.seeds, "How many")->capture_default_str()->check(CLI::Range(1u, 100000u));
  measure_command->add_option("--seed", o.seed, "The first")->capture_default_str();
  measure_command->add_option("--runs", o.runs, "A seed and strategy at most; 20000 unless said")->check(CLI::PositiveNumber);
  measure_command->add_option("--jobs", o.jobs, "Threads; one a core unless said")->check(CLI::Range(1u, kJobsMax));
  json(measure_command);

  try {
    // CLI11 takes them last first.
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    app.parse(reversed);
  } catch (const CLI::ParseError& error) {
    // 0: help, which is no error.
    return app.exit(error, environment_.out, environment_.err) == 0 ? kNothingFound : kFailed;
  }
  o.seed_given = run_seed->count() > 0;
  try {
    if (list_command->parsed()) return list();
    if (run_command->parsed()) return run_one();
    if (explore_command->parsed()) return explore_many();
    if (prove_command->parsed()) return prove_all();
    if (replay_command->parsed()) return replay_token();
    if (shrink_command->parsed()) return shrink_token();
    return measure_strategies();
  } catch (const std::exception& error) {
    clear_progress();
    return fail(std::string("internal error: ") + error.what());
  }
}

}  // namespace

int run_cli(const std::vector<std::string>& arguments, const Environment& environment) {
  return Program(environment).run(arguments);
}

}  // namespace bmcpair::lab
