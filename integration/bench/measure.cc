#include "integration/bench/measure.h"

#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "integration/system/process.h"

namespace bmcpair::bench {
namespace {

constexpr size_t kBatchesMin = 5;
constexpr int kWarmUps = 3;
constexpr int kSlices = 5;

std::map<std::string, Child>& children() {
  static std::map<std::string, Child> all;
  return all;
}

double spread_of(std::vector<double> values) {
  if (values.size() < 4) return 0;
  std::sort(values.begin(), values.end());
  double middle = values[values.size() / 2];
  return middle > 0 ? (values[values.size() * 3 / 4] - values[values.size() / 4]) / middle : 0;
}

double batch_ns(size_t batch, const std::function<void()>& f) {
  // The first after a pause pays for what slept meanwhile; neither side is measured on that.
  for (int i = 0; i < kWarmUps; ++i) f();
  auto begin = std::chrono::steady_clock::now();
  for (size_t i = 0; i < batch; ++i) f();
  std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - begin;
  return took.count() / static_cast<double>(batch);
}

}  // namespace

Settings& settings() {
  static Settings all;
  return all;
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double now_seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

Interleaved interleave(size_t batch, const std::function<void()>& figure, const std::function<void()>& floor) {
  std::vector<double> figures, floors, ratios;
  const double end = now_seconds() + settings().budget().count();
  while (figures.size() < kBatchesMin || now_seconds() < end) {
    double a = 0, b = 0;
    if (figures.size() % 2 == 0) {
      a = batch_ns(batch, figure);
      b = batch_ns(batch, floor);
    } else {
      b = batch_ns(batch, floor);
      a = batch_ns(batch, figure);
    }
    figures.push_back(a);
    floors.push_back(b);
    ratios.push_back(a / b);
  }
  return {median(figures), median(floors), median(ratios), spread_of(ratios), figures.size()};
}

Rates interleave_rates(const Slice& figure, const Slice& floor) {
  const double seconds = settings().budget().count() / (2 * kSlices);
  std::vector<double> figures, floors, ratios;
  auto rate = [seconds](const Slice& slice) {
    double begin = now_seconds();
    double done = slice(seconds);
    return done / (now_seconds() - begin);
  };
  for (int i = 0; i < kSlices; ++i) {
    double a = 0, b = 0;
    if (i % 2 == 0) {
      a = rate(figure);
      b = rate(floor);
    } else {
      b = rate(floor);
      a = rate(figure);
    }
    figures.push_back(a);
    floors.push_back(b);
    ratios.push_back(b > 0 ? a / b : 0);
  }
  return {median(figures), median(floors), median(ratios), spread_of(ratios)};
}

double process_cpu_seconds() {
  timespec t{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

uint64_t resident_bytes() {
  std::ifstream in("/proc/self/statm");
  uint64_t size = 0, resident = 0;
  in >> size >> resident;
  return resident * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

uint64_t context_switches() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_nvcsw);
}

unsigned threads_now() {
  unsigned n = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) n += entry.exists();
  return n;
}

Figures run_child(const std::string& name, unsigned n) {
  std::vector<std::string> argv{"/proc/self/exe", "--child", name, std::to_string(n)};
  if (settings().quick) argv.push_back("--quick");
  integration::Process process(argv);
  int status = process.wait(std::chrono::seconds(600));
  if (status != 0) {
    throw std::runtime_error("the process for " + name + " " + std::to_string(n) + " ended with " + std::to_string(status) +
                             ": " + process.err());
  }
  Figures out;
  std::istringstream lines(process.out());
  std::string key;
  double value = 0;
  while (lines >> key >> value) out[key] = value;
  return out;
}

void add_child(const std::string& name, Child child) { children()[name] = std::move(child); }

int be_child(const std::string& name, unsigned n) {
  auto it = children().find(name);
  if (it == children().end()) {
    std::fprintf(stderr, "bmcpair_bench: no child '%s'\n", name.c_str());
    return 2;
  }
  try {
    for (const auto& [key, value] : it->second(n)) std::printf("%s %.9g\n", key.c_str(), value);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
  return 0;
}

Figures idle_figures() {
  // What was begun comes to rest first, and what measures has been touched once.
  std::this_thread::sleep_for(settings().settle());
  context_switches();
  process_cpu_seconds();
  uint64_t switches = context_switches();
  double cpu = process_cpu_seconds();
  double begin = now_seconds();
  std::this_thread::sleep_for(settings().idle());
  cpu = process_cpu_seconds() - cpu;
  double seconds = now_seconds() - begin;
  return {{"idle_cpu_us_per_s", cpu / seconds * 1e6},
          {"idle_switches_per_s", static_cast<double>(context_switches() - switches) / seconds}};
}

}  // namespace bmcpair::bench
