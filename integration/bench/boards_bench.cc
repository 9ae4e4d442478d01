// Many BMCs in one daemon: a fleet with its gRPC server, each number in a process of its own.
#include <thread>

#include "integration/bench/benches.h"
#include "integration/bench/measure.h"
#include "integration/bench/rig.h"
#include "integration/bench/table.h"

namespace bmcpair::bench {
namespace {

constexpr double kBytesGoal = 64 * 1024;
// "None measurable": what a process that only sleeps uses is in the floor; this is a thousandth of a core.
constexpr double kIdleCpuGoal = 1000;

Figures child(unsigned n) {
  Figures out;
  uint64_t before = resident_bytes();
  auto configs = boards(n, registers::InterfaceKind::kBt);
  out["config_bytes"] = static_cast<double>(resident_bytes() - before) / n;
  double begin = now_seconds();
  auto fleet = fleet_of(std::move(configs));
  out["start_s"] = now_seconds() - begin;
  // The first run of every board is over, and what it needs is there.
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  out["bytes"] = static_cast<double>(resident_bytes() - before) / n;
  integration::TemporaryFolder folder;
  transport::GrpcServerOptions options;
  options.listen = {"unix:" + (folder / "grpc")};
  auto server = need(transport::GrpcServer::start(options, *fleet));
  out["resident"] = static_cast<double>(resident_bytes());
  out["threads"] = threads_now();
  out.merge(idle_figures());
  return out;
}

// The floor of doing nothing.
Figures sleeper(unsigned) { return idle_figures(); }

void run(benchmark::State& state, unsigned n) {
  Figures got = run_child("boards", n);
  Figures floor = run_child("sleeper", 0);
  const std::string name = std::to_string(n) + " BMC" + (n == 1 ? "" : "s");
  report(state, {.name = name + ": start-up", .unit = Unit::kSeconds, .figure = got["start_s"], .floor = {}, .ratio = {},
                 .note = format(got["start_s"] / n, Unit::kSeconds) + " each", .ratio_goal = {}, .figure_goal = {}});
  state.counters["bytes_each"] = got["bytes"];
  state.counters["idle_cpu_us_per_s"] = got["idle_cpu_us_per_s"];
  report_more({.name = name + ": memory each", .unit = Unit::kBytes, .figure = got["bytes"], .floor = got["config_bytes"], .ratio = {},
               .note = "floor: its configuration alone; process " + format(got["resident"], Unit::kBytes) + " with gRPC" +
                       (n == 1 ? "; what all share is in it" : ""),
               .ratio_goal = {}, .figure_goal = n == 1 ? std::nullopt : std::optional<double>(kBytesGoal)});
  report_more({.name = name + ": idle CPU", .unit = Unit::kCpuMicrosecondsPerSecond, .figure = got["idle_cpu_us_per_s"],
               .floor = floor["idle_cpu_us_per_s"], .ratio = {},
               .note = std::to_string(static_cast<int>(got["threads"])) + " threads, " +
                       std::to_string(static_cast<int>(got["idle_switches_per_s"])) + " switches/s; floor: a process that sleeps",
               .ratio_goal = {}, .figure_goal = kIdleCpuGoal});
}

}  // namespace

void register_boards() {
  add_child("boards", child);
  add_child("sleeper", sleeper);
  for (unsigned n : {1u, 100u, 1000u, 10000u}) {
    add("bmcs/" + std::to_string(n), [n](benchmark::State& state) { run(state, n); });
  }
}

}  // namespace bmcpair::bench
