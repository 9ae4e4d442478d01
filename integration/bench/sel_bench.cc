// SEL entries that are on the disk when Add SEL Entry is answered, beside bare writes that are.
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <thread>

#include "bmc_emu/firmware/bmc.h"
#include "integration/bench/benches.h"
#include "integration/bench/measure.h"
#include "integration/bench/rig.h"
#include "integration/bench/table.h"

namespace bmcpair::bench {
namespace {

constexpr size_t kRecord = 16;
// Written before, so that a write changes no size: nothing but the data is to be made durable.
constexpr size_t kFileBytes = 1 << 20;

class DurableFile {
 public:
  explicit DurableFile(const std::string& path) : fd_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    const Bytes zeros(kFileBytes);
    if (fd_ < 0 || ::pwrite(fd_, zeros.data(), zeros.size(), 0) != static_cast<ssize_t>(zeros.size()) || ::fsync(fd_) != 0) {
      throw std::runtime_error(path + ": " + std::strerror(errno));
    }
  }
  ~DurableFile() { ::close(fd_); }
  DurableFile(const DurableFile&) = delete;
  DurableFile& operator=(const DurableFile&) = delete;

  // So many records with one sync.
  void write(size_t n) {
    const Bytes records(n * kRecord, uint8_t{1});
    if (::pwrite(fd_, records.data(), records.size(), static_cast<off_t>(at_)) != static_cast<ssize_t>(records.size()) ||
        ::fdatasync(fd_) != 0) {
      throw std::runtime_error(std::string("fdatasync: ") + std::strerror(errno));
    }
    at_ = (at_ + records.size()) % kFileBytes;
  }

 private:
  int fd_;
  size_t at_ = 0;
};

// f(i) again and again in n threads, for so long; how often in all.
double in_threads(unsigned n, double seconds, const std::function<void(unsigned)>& f) {
  const double end = now_seconds() + seconds;
  std::atomic<uint64_t> done{0};
  std::vector<std::string> failures(n);
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < n; ++i) {
    threads.emplace_back([&, i] {
      try {
        while (now_seconds() < end) {
          f(i);
          done.fetch_add(1, std::memory_order_relaxed);
        }
      } catch (const std::exception& e) {
        failures[i] = e.what();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  for (const std::string& failure : failures) {
    if (!failure.empty()) throw std::runtime_error(failure);
  }
  return static_cast<double>(done.load());
}

void run(benchmark::State& state, unsigned n) {
  integration::TemporaryFolder folder;
  auto configs = boards(n, registers::InterfaceKind::kBt);
  for (auto& config : configs) config.firmware.sel_entries_max = 60000;
  board::FleetOptions options;
  options.state_directory = folder.path();
  auto fleet = fleet_of(std::move(configs), options);
  std::vector<std::shared_ptr<board::Board>> all;
  DurableFile file(folder / "floor");
  for (unsigned i = 0; i < n; ++i) all.push_back(need(fleet->find("b" + std::to_string(i))));
  const ipmi::Request add_entry{ipmi::kNetFnStorage, 0, 0x44, {0, 0, 2, 0, 0, 0, 0, 0x20, 0, 4, 1, 1, 1, 0, 0xff, 0xff}};
  auto add_one = [&](unsigned i) {
    ipmi::Response response;
    all[i]->with_firmware([&](firmware::Bmc& bmc, Instant now) { response = bmc.execute(add_entry, {}, now); });
    if (response.cc != ipmi::CompletionCode::kOk) throw std::runtime_error("Add SEL Entry was refused");
  };
  Rates rates = interleave_rates([&](double seconds) { return in_threads(n, seconds, add_one); },
                                 [&](double seconds) { return n * in_threads(1, seconds, [&](unsigned) { file.write(n); }); });
  report(state, {.name = "SEL adds durable, " + std::to_string(n) + " BMC" + (n == 1 ? "" : "s at once"), .unit = Unit::kPerSecond,
                 .figure = rates.figure, .floor = rates.floor, .ratio = rates.ratio,
                 .note = "floor: one fdatasync for " + std::to_string(n * kRecord) + " bytes, over and over; spread " + std::to_string(static_cast<int>(rates.spread * 100)) + " %",
                 .ratio_goal = {}, .figure_goal = {}});
}

}  // namespace

void register_sel() {
  for (unsigned n : {1u, 8u}) {
    add("sel/" + std::to_string(n), [n](benchmark::State& state) { run(state, n); });
  }
}

}  // namespace bmcpair::bench
