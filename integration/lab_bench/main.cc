// What a run of the laboratory costs: bring-ups and steps a second, beside the bare switch of a fiber in the same process.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
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

void row(const char* experiment, const char* strategy, unsigned jobs, double seconds, double floor_ns) {
  const lab::Experiment* e = lab::find_experiment(experiment);
  if (!e) {
    std::fprintf(stderr, "bmcpair_lab_bench: no experiment %s\n", experiment);
    std::exit(1);
  }
  lab::ExploreOptions o;
  o.profile = "hardened";
  o.strategy = strategy;
  o.seconds = seconds;
  o.jobs = jobs;
  const auto r = lab::explore(*e, o);
  if (!r || r->nondeterminism || !r->findings.empty()) {
    std::fprintf(stderr, "bmcpair_lab_bench: %s: the search did not end as it should\n", experiment);
    std::exit(1);
  }
  const double steps = static_cast<double>(r->steps) / r->seconds;
  const double runs = static_cast<double>(r->runs + r->run_twice);
  std::printf("%-18s %-9s %4u | %9.0f | %10.0f | %8.2f M | %7.0f ns | %5.1f\n", experiment, *strategy ? strategy : "portfolio",
              jobs, runs / r->seconds, static_cast<double>(r->bring_ups) / r->seconds, steps / 1e6, 1e9 * jobs / steps,
              1e9 * jobs / steps / floor_ns);
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 5;
  if (seconds <= 0 || argc > 2) {
    std::fprintf(stderr, "usage: bmcpair_lab_bench [SECONDS A ROW]\n");
    return 1;
  }
  const double floor_ns = fiber_switch();
  std::printf("a fiber's bare switch: %.1f ns\n\n", floor_ns);
  std::printf("experiment         strategy  jobs |    runs/s | bring-ups/s |  steps/s   | a step    | in switches\n");
  std::printf("---------------------------------|-----------|------------|------------|-----------|------\n");
  for (unsigned jobs : {1u, 2u}) {
    row("bt-cap-begin", "tame", jobs, seconds, floor_ns);
    row("bt-cap-begin", "random", jobs, seconds, floor_ns);
    row("bt-cap-begin", "", jobs, seconds, floor_ns);
    row("list-private-head", "", jobs, seconds, floor_ns);
  }
}
