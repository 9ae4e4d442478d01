// What a run of the laboratory costs: bring-ups and steps a second, beside the bare switch of a fiber in the same process, with
// one worker and with two. With --finds: how long the portfolio needs to find each bug of the museum.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "host_driver/runtime/modelled/fiber.h"
#include "integration/lab/explore.h"
#include "integration/scenarios/registry.h"

namespace {

using namespace bmcpair;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); }

struct PingPong {
  rt::Fiber root, other;
  static void loop(void* self) {
    auto* p = static_cast<PingPong*>(self);
    for (;;) rt::Fiber::switch_to(p->other, p->root);
  }
};

// ns a switch.
double fiber_switch() {
  PingPong p;
  p.other.create(&PingPong::loop, &p);
  constexpr int kRounds = 2'000'000;
  double best = 1e9;
  for (int turn = 0; turn < 3; ++turn) {
    const auto t = Clock::now();
    for (int i = 0; i < kRounds; ++i) rt::Fiber::switch_to(p.root, p.other);
    best = std::min(best, seconds_since(t) * 1e9 / (2.0 * kRounds));
  }
  p.other.discard();
  return best;
}

// The same switch in so many threads at once: what two cores give at all.
double fiber_switches_a_second(unsigned threads) {
  std::vector<std::thread> all;
  std::vector<double> ns(threads);
  for (unsigned i = 0; i < threads; ++i) all.emplace_back([&, i] { ns[i] = fiber_switch(); });
  double out = 0;
  for (unsigned i = 0; i < threads; ++i) {
    all[i].join();
    out += 1e9 / ns[i];
  }
  return out;
}

// Of so many slices the fastest and the middle one: a machine that is shared takes from them, and never adds.
constexpr unsigned kSlices = 8;

// Steps a second, in the fastest slice.
double row(const char* experiment, const char* strategy, unsigned jobs, double seconds, double floor_ns) {
  const lab::Experiment* e = lab::find_experiment(experiment);
  if (!e) {
    std::fprintf(stderr, "bmcpair_lab_bench: no experiment %s\n", experiment);
    std::exit(1);
  }
  lab::ExploreOptions o;
  o.profile = "hardened";
  o.strategy = strategy;
  o.seconds = seconds / kSlices;
  o.jobs = jobs;
  struct Slice {
    double runs, bring_ups, steps;  // a second
  };
  std::vector<Slice> slices;
  for (unsigned slice = 0; slice < kSlices; ++slice) {  // the same runs in each
    const auto r = lab::explore(*e, o);
    if (!r || r->nondeterminism || !r->findings.empty()) {
      std::fprintf(stderr, "bmcpair_lab_bench: %s: the search did not end as it should\n", experiment);
      std::exit(1);
    }
    slices.push_back({static_cast<double>(r->runs + r->run_twice) / r->seconds, static_cast<double>(r->bring_ups) / r->seconds,
                      static_cast<double>(r->steps) / r->seconds});
  }
  std::sort(slices.begin(), slices.end(), [](const Slice& a, const Slice& b) { return a.steps > b.steps; });
  const Slice& best = slices.front();
  std::printf("%-18s %-9s %4u | %9.0f | %11.0f | %8.0f | %8.2f M | %5.0f ns | %11.1f\n", experiment,
              *strategy ? strategy : "portfolio", jobs, best.runs, best.bring_ups, slices[kSlices / 2].bring_ups, best.steps / 1e6,
              1e9 * jobs / best.steps, 1e9 * jobs / best.steps / floor_ns);
  return best.steps;
}

// Of every old profile of every scenario, by the default search with one worker: the middle of five seeds, and the longest.
// False: one was not found within the limit.
bool finds() {
  constexpr double kLimit = 60;
  constexpr unsigned kSeeds = 5;
  bool all = true;
  std::printf("%-36s %-60s | median s | worst s | schedules\n", "scenario", "profile");
  double longest = 0;
  for (const scenarios::Exhibit* e : scenarios::exhibits()) {
    for (const scenarios::Expectation& x : e->expectations()) {
      if (x.oracle.empty()) continue;
      std::vector<double> seconds;
      std::vector<uint64_t> runs;
      unsigned missed = 0;
      for (unsigned seed = 1; seed <= kSeeds; ++seed) {
        lab::ExploreOptions o;
        o.profile = x.profile;
        o.seed = seed;
        o.seconds = kLimit;
        o.jobs = 1;
        const auto r = lab::explore(*e, o);
        if (!r || r->nondeterminism) {
          std::fprintf(stderr, "bmcpair_lab_bench: %s: the search did not end as it should\n", std::string(e->name()).c_str());
          std::exit(1);
        }
        missed += r->findings.empty();
        seconds.push_back(r->seconds);
        runs.push_back(r->runs);
      }
      std::sort(seconds.begin(), seconds.end());
      std::sort(runs.begin(), runs.end());
      longest = std::max(longest, seconds.back());
      all &= missed == 0;
      std::printf("%-36s %-60s | %8.2f | %7.2f | %llu%s\n", std::string(e->name()).c_str(), x.profile.c_str(), seconds[kSeeds / 2],
                  seconds.back(), static_cast<unsigned long long>(runs[kSeeds / 2]),
                  missed ? (" (" + std::to_string(missed) + " of 5 not within a minute)").c_str() : seconds.back() > 10 ? " (over 10 s)" : "");
      std::fflush(stdout);
    }
  }
  std::printf("\nthe longest: %.1f s; expected: under 10 s\n", longest);
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::string(argv[1]) == "--finds") return finds() ? 0 : 1;
  const double seconds = argc > 1 ? std::atof(argv[1]) : 5;
  if (seconds <= 0 || argc > 2) {
    std::fprintf(stderr, "usage: bmcpair_lab_bench [SECONDS A ROW | --finds]\n");
    return 1;
  }
  const double floor_ns = fiber_switch();
  std::printf("a fiber's bare switch: %.1f ns\n\n", floor_ns);
  std::printf("the fastest of %u slices:\n", kSlices);
  std::printf("experiment         strategy  jobs |    runs/s | bring-ups/s | (middle) |    steps/s |   a step | in switches\n");
  std::printf("----------------------------------|-----------|-------------|----------|------------|----------|------------\n");
  struct {
    const char* experiment;
    const char* strategy;
    double steps[2] = {0, 0};
  } rows[] = {{"bt-cap-begin", "tame"}, {"bt-cap-begin", "random"}, {"bt-cap-begin", ""}, {"list-private-head", ""}};
  double floor[2] = {0, 0};
  // By turns, so that both meet the same machine.
  for (unsigned jobs : {1u, 2u}) floor[jobs - 1] = fiber_switches_a_second(jobs);
  for (auto& r : rows) {
    for (unsigned jobs : {1u, 2u}) r.steps[jobs - 1] = row(r.experiment, r.strategy, jobs, seconds, floor_ns);
  }
  std::printf("\n--jobs 2 against --jobs 1, in steps a second (the floor is the bare switch in one thread and in two):\n");
  std::printf("  %-18s %-9s %.2f x\n", "floor", "", floor[1] / floor[0]);
  for (const auto& r : rows) {
    std::printf("  %-18s %-9s %.2f x\n", r.experiment, *r.strategy ? r.strategy : "portfolio", r.steps[1] / r.steps[0]);
  }
}
