// How things are measured here: a figure and its floor by turns, so that noise hits both alike, and medians of it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "proto/base/time.h"

namespace bmcpair::bench {

struct Settings {
  bool quick = false;
  // How long one pair of figure and floor is measured, both together.
  std::chrono::duration<double> budget() const { return std::chrono::duration<double>(quick ? 0.3 : 3.0); }
  // Before idleness is measured. Workers of the driver that found nothing to do leave after two seconds (rt::kWorkerIdle).
  std::chrono::milliseconds settle() const { return std::chrono::milliseconds(quick ? 300 : 2500); }
  std::chrono::milliseconds idle() const { return std::chrono::milliseconds(quick ? 500 : 2000); }
};
Settings& settings();

double median(std::vector<double> values);
double now_seconds();  // monotonic

struct Interleaved {
  double figure = 0;  // median of the batches, ns an operation
  double floor = 0;
  double ratio = 0;   // median of the ratios of neighbouring batches
  double spread = 0;  // half of them lie within ratio * (1 +- spread / 2)
  size_t batches = 0;
};
// Batches of `batch` operations, figure and floor by turns (who begins changes each time), until the budget is spent.
Interleaved interleave(size_t batch, const std::function<void()>& figure, const std::function<void()>& floor);

struct Rates {
  double figure = 0;  // a second, median of the slices
  double floor = 0;
  double ratio = 0;
  double spread = 0;
};
// Slices of the same length, by turns; each function works for about so many seconds and says how many it did.
using Slice = std::function<double(double seconds)>;
Rates interleave_rates(const Slice& figure, const Slice& floor);

double process_cpu_seconds();  // user and system, all threads
uint64_t resident_bytes();
uint64_t context_switches();
unsigned threads_now();

// A clean process for what must be measured in one: this program again, as "--child NAME N". What it printed as
// "key value" lines. Throws std::runtime_error when it failed.
using Figures = std::map<std::string, double>;
Figures run_child(const std::string& name, unsigned n);
using Child = std::function<Figures(unsigned n)>;
void add_child(const std::string& name, Child child);
// Exit status.
int be_child(const std::string& name, unsigned n);

// CPU seconds and context switches of this process while the caller does nothing.
Figures idle_figures();

}  // namespace bmcpair::bench
