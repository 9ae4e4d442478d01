// bmcpair_bench: every figure beside a floor measured in the same run; docs/benchmarks.md says what they mean.
#include <grpc/support/log.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string_view>
#include <vector>

#include "integration/bench/benches.h"
#include "integration/bench/measure.h"
#include "integration/bench/table.h"

namespace bmcpair::bench {

void add(const std::string& name, std::function<void(benchmark::State&)> run) {
  benchmark::RegisterBenchmark(name.c_str(), [run](benchmark::State& state) {
    for (auto _ : state) {
      try {
        run(state);
      } catch (const std::exception& e) {
        state.SkipWithError(e.what());
        break;
      }
    }
  })->Iterations(1)->UseManualTime();
}

namespace {

void usage() {
  std::fputs(
      "usage: bmcpair_bench [--quick] [Google Benchmark's options]\n"
      "  --quick                      short slices: a look, not a measurement\n"
      "  --benchmark_filter=REGEX     only these (names: --benchmark_list_tests)\n"
      "  --benchmark_out=FILE         everything as JSON\n",
      stdout);
}

int main_of(int argc, char** argv) {
  std::vector<char*> rest;
  const char* child = nullptr;
  unsigned n = 0;
  for (int i = 0; i < argc; ++i) {
    std::string_view argument = argv[i];
    if (i > 0 && argument == "--quick") {
      settings().quick = true;
    } else if (i > 0 && argument == "--child" && i + 2 < argc) {
      child = argv[i + 1];
      n = static_cast<unsigned>(std::strtoul(argv[i + 2], nullptr, 10));
      i += 2;
    } else if (i > 0 && (argument == "--help" || argument == "-h")) {
      usage();
      return 0;
    } else {
      rest.push_back(argv[i]);
    }
  }
  gpr_set_log_verbosity(GPR_LOG_SEVERITY_ERROR);
  register_registers();
  register_transactions();
  register_interfaces();
  register_boards();
  register_sel();
  if (child) return be_child(child, n);

  int count = static_cast<int>(rest.size());
  benchmark::Initialize(&count, rest.data());
  if (benchmark::ReportUnrecognizedArguments(count, rest.data())) {
    usage();
    return 2;
  }
  TableReporter table;
  size_t ran = benchmark::RunSpecifiedBenchmarks(&table);
  benchmark::Shutdown();
  return ran == 0 || table.failed() ? 1 : 0;
}

}  // namespace
}  // namespace bmcpair::bench

int main(int argc, char** argv) { return bmcpair::bench::main_of(argc, argv); }
