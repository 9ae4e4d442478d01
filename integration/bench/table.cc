#include "integration/bench/table.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <thread>

namespace bmcpair::bench {
namespace {

std::vector<Row>& rows() {
  static std::vector<Row> all;
  return all;
}

std::string number(double value, const char* unit) {
  char text[64];
  int digits = value == 0 || std::abs(value) >= 100 ? 0 : std::abs(value) >= 10 ? 1 : 2;
  std::snprintf(text, sizeof text, "%.*f%s%s", digits, value, *unit ? " " : "", unit);
  return text;
}

std::string load_average() {
  std::ifstream in("/proc/loadavg");
  std::string one, five, fifteen;
  in >> one >> five >> fifteen;
  return one + " " + five + " " + fifteen;
}

// Characters, not bytes: the micro sign has two.
size_t width(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string padded(const std::string& text, size_t to, bool left) {
  std::string blanks(to > width(text) ? to - width(text) : 0, ' ');
  return left ? text + blanks : blanks + text;
}

std::string note_of(const Row& row) {
  std::string note = row.note;
  auto missed = [&](const std::string& what) { note += (note.empty() ? "" : "; ") + std::string("MISSED: ") + what; };
  if (row.ratio_goal && row.ratio && *row.ratio > *row.ratio_goal) missed("goal " + number(*row.ratio_goal, "") + " x floor");
  if (row.figure_goal && row.figure > *row.figure_goal) missed("goal " + format(*row.figure_goal, row.unit));
  return note;
}

}  // namespace

std::string format(double value, Unit unit) {
  switch (unit) {
    case Unit::kNanoseconds:
      if (value >= 1e6) return number(value / 1e6, "ms");
      if (value >= 1e3) return number(value / 1e3, "us");
      return number(value, "ns");
    case Unit::kSeconds: return value >= 1 ? number(value, "s") : number(value * 1e3, "ms");
    case Unit::kPerSecond: return value >= 1e5 ? number(value / 1e3, "k/s") : number(value, "/s");
    case Unit::kBytes: return value >= 1024 * 1024 ? number(value / (1024 * 1024), "MiB") : number(value / 1024, "KiB");
    case Unit::kCpuMicrosecondsPerSecond: return number(value, "us/s");
  }
  return {};
}

void report_more(Row row) {
  if (!row.ratio && row.floor && *row.floor > 0) row.ratio = row.figure / *row.floor;
  rows().push_back(std::move(row));
}

void report(benchmark::State& state, Row row) {
  if (!row.ratio && row.floor && *row.floor > 0) row.ratio = row.figure / *row.floor;
  state.counters["figure"] = row.figure;
  if (row.floor) state.counters["floor"] = *row.floor;
  if (row.ratio) state.counters["ratio"] = *row.ratio;
  state.SetLabel(note_of(row));
  if (row.unit == Unit::kNanoseconds) {
    state.SetIterationTime(row.figure * 1e-9);
  } else if (row.unit == Unit::kSeconds) {
    state.SetIterationTime(row.figure);
  }
  report_more(std::move(row));
}

bool TableReporter::ReportContext(const Context&) {
  load_before_ = load_average();
  utsname system{};
  ::uname(&system);
  GetOutputStream() << "bmcpair_bench: " << std::thread::hardware_concurrency() << " cores, " << system.sysname << " "
                    << system.release << ", load " << load_before_ << std::endl;
  return true;
}

void TableReporter::ReportRuns(const std::vector<Run>& runs) {
  for (const Run& run : runs) {
    if (run.error_occurred) {
      failed_ = true;
      errors_.push_back(run.benchmark_name() + ": " + run.error_message);
      GetErrorStream() << run.benchmark_name() << ": " << run.error_message << std::endl;
    } else {
      GetOutputStream() << "measured " << run.benchmark_name() << std::endl;
    }
  }
}

void TableReporter::Finalize() {
  using Cells = std::array<std::string, 5>;
  std::vector<Cells> cells{Cells{"name", "figure", "floor", "ratio", "note"}};
  for (const Row& row : rows()) {
    cells.push_back(Cells{row.name, format(row.figure, row.unit), row.floor ? format(*row.floor, row.unit) : "-",
                     row.ratio ? number(*row.ratio, "") : "-", note_of(row)});
  }
  std::array<size_t, 4> widths{};
  for (const auto& row : cells) {
    for (size_t i = 0; i < widths.size(); ++i) widths[i] = std::max(widths[i], width(row[i]));
  }
  std::ostream& out = GetOutputStream();
  out << "\n";
  for (size_t n = 0; n < cells.size(); ++n) {
    for (size_t i = 0; i < widths.size(); ++i) out << padded(cells[n][i], widths[i], i == 0) << " | ";
    out << cells[n][4] << "\n";
    if (n > 0) continue;
    for (size_t w : widths) out << std::string(w, '-') << "-|-";
    out << "----\n";
  }
  out << "\nload before " << load_before_ << ", after " << load_average() << "\n";
  for (const std::string& error : errors_) out << "failed: " << error << "\n";
  out.flush();
}

}  // namespace bmcpair::bench
