// The table at the end: every figure beside its floor.
#pragma once

#include <benchmark/benchmark.h>

#include <optional>
#include <string>
#include <vector>

namespace bmcpair::bench {

enum class Unit { kNanoseconds, kPerSecond, kBytes, kSeconds, kCpuMicrosecondsPerSecond };

struct Row {
  std::string name;
  Unit unit = Unit::kNanoseconds;
  double figure = 0;
  std::optional<double> floor;
  std::optional<double> ratio;     // figure / floor unless it was measured better
  std::string note;
  std::optional<double> ratio_goal;   // at most
  std::optional<double> figure_goal;  // at most
};

std::string format(double value, Unit unit);

// Into the table, and as counters (figure, floor, ratio) into Google Benchmark's own output.
void report(benchmark::State& state, Row row);
// A row of a benchmark that has more than one; not in Google Benchmark's counters.
void report_more(Row row);

class TableReporter : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context& context) override;
  void ReportRuns(const std::vector<Run>& runs) override;
  void Finalize() override;
  bool failed() const { return failed_; }

 private:
  std::vector<std::string> errors_;
  std::string load_before_;
  bool failed_ = false;
};

}  // namespace bmcpair::bench
