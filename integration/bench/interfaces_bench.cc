// Many interfaces in one driver process, over the in-process bus; each number in a process of its own.
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "host_driver/message_handler/message_handler.h"
#include "host_driver/system_interface/driver.h"
#include "integration/bench/benches.h"
#include "integration/bench/measure.h"
#include "integration/bench/rig.h"
#include "integration/bench/table.h"
#include "proto/registers/bt.h"

namespace bmcpair::bench {
namespace {

using registers::bt::kB2hIrq;
using registers::bt::kB2hIrqEnable;
using registers::bt::kIntMask;

constexpr double kIdleCpuGoal = 1000;

// Every interface always has one Get Device ID under way, each answer sends the next.
class ClosedLoop {
 public:
  ClosedLoop(host::MessageHandler& handler, const std::vector<int>& numbers) {
    users_.resize(numbers.size());
    for (size_t i = 0; i < numbers.size(); ++i) {
      host::UserHandlers handlers;
      handlers.receive = [this, i](host::RecvMessage message) {
        // Its charge goes before the next request is made.
        bool right = !message.failed && message.data.size() >= 12 && message.data[0] == 0;
        message.charge.release();
        if (right) {
          done_.fetch_add(1, std::memory_order_relaxed);
        } else {
          wrong_.fetch_add(1, std::memory_order_relaxed);
        }
        if (!right || !running_.load(std::memory_order_acquire) || !send(i)) under_way_.fetch_sub(1, std::memory_order_release);
      };
      users_[i] = need(handler.create_user(numbers[i], std::move(handlers)));
    }
  }

  double work(double seconds) {
    uint64_t before = done_.load(std::memory_order_relaxed);
    running_.store(true, std::memory_order_release);
    under_way_.store(users_.size(), std::memory_order_release);
    for (size_t i = 0; i < users_.size(); ++i) {
      if (!send(i)) throw std::runtime_error("a request was refused");
    }
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    running_.store(false, std::memory_order_release);
    const double end = now_seconds() + 60;
    while (under_way_.load(std::memory_order_acquire) > 0) {
      if (now_seconds() > end) throw std::runtime_error("a request was not answered");
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    if (wrong_.load(std::memory_order_relaxed) > 0) throw std::runtime_error("a request failed");
    return static_cast<double>(done_.load(std::memory_order_relaxed) - before);
  }

 private:
  bool send(size_t i) { return users_[i]->request(host::SystemInterfaceAddress{}, 1, {ipmi::kNetFnApp, 0, 0x01, {}}).ok(); }

  std::vector<std::unique_ptr<host::User>> users_;
  std::atomic<uint64_t> done_{0}, wrong_{0};
  std::atomic<size_t> under_way_{0};
  std::atomic<bool> running_{false};
};

// The same transactions by one thread at the registers of as many BMCs, told by their interrupts: no driver.
class ByHand {
 public:
  explicit ByHand(unsigned n) : fleet_(fleet_of(boards(n, registers::InterfaceKind::kBt))) {
    for (unsigned i = 0; i < n; ++i) {
      ports_.push_back(need(fleet_->attach("b" + std::to_string(i), "bench")));
      ports_.back()->set_interrupt_handler([this, i](bool level) {
        if (!level) return;
        std::lock_guard lock(mutex_);
        answered_.push_back(i);
        changed_.notify_one();
      });
      ports_.back()->write(kIntMask, kB2hIrqEnable);
    }
  }
  ~ByHand() {
    for (auto& port : ports_) port->set_interrupt_handler({});
  }

  double work(double seconds) {
    const double end = now_seconds() + seconds;
    for (auto& port : ports_) bt_ask(*port);
    size_t under_way = ports_.size();
    double done = 0;
    std::vector<unsigned> now;
    while (under_way > 0) {
      {
        std::unique_lock lock(mutex_);
        if (!changed_.wait_for(lock, std::chrono::seconds(60), [&] { return !answered_.empty(); })) {
          throw std::runtime_error("no interrupt at the registers");
        }
        now.swap(answered_);
      }
      for (unsigned i : now) {
        registers::RegisterPort& port = *ports_[i];
        port.write(kIntMask, kB2hIrq | kB2hIrqEnable);
        if (!bt_answered(port)) throw std::runtime_error("an interrupt without an answer");
        bt_take(port);
        ++done;
        if (now_seconds() < end) {
          bt_ask(port);
        } else {
          --under_way;
        }
      }
      now.clear();
    }
    return done;
  }

 private:
  std::unique_ptr<board::Fleet> fleet_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<unsigned> answered_;
  std::vector<std::unique_ptr<registers::RegisterPort>> ports_;
};

Figures child(unsigned n) {
  Figures out;
  auto fleet = fleet_of(boards(n, registers::InterfaceKind::kBt));
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  host::MessageHandler handler;
  host::Driver driver(handler);
  uint64_t before = resident_bytes();
  double begin = now_seconds();
  std::vector<int> ids, numbers;
  for (unsigned i = 0; i < n; ++i) {
    ids.push_back(driver.add_interface([&fleet, i] { return fleet->attach("b" + std::to_string(i), "bench"); }));
  }
  for (int id : ids) numbers.push_back(need(driver.wait_until_up(id, rt::now() + std::chrono::seconds(300))));
  out["up_s"] = now_seconds() - begin;
  out["bytes"] = static_cast<double>(resident_bytes() - before) / n;
  {
    ClosedLoop loop(handler, numbers);
    out.merge(idle_figures());
    out["threads"] = threads_now();
    ByHand hand(n);
    Rates rates = interleave_rates([&](double seconds) { return loop.work(seconds); },
                                   [&](double seconds) { return hand.work(seconds); });
    out["rate"] = rates.figure;
    out["floor_rate"] = rates.floor;
    out["ratio"] = rates.ratio;
    out["spread"] = rates.spread;
  }
  return out;
}

void run(benchmark::State& state, unsigned n) {
  Figures got = run_child("interfaces", n);
  Figures floor = run_child("sleeper", 0);
  const std::string name = std::to_string(n) + " interface" + (n == 1 ? "" : "s");
  report(state, {.name = name + ": bring-up", .unit = Unit::kSeconds, .figure = got["up_s"], .floor = {}, .ratio = {},
                 .note = format(got["up_s"] / n, Unit::kSeconds) + " each", .ratio_goal = {}, .figure_goal = {}});
  state.counters["transactions_per_s"] = got["rate"];
  state.counters["bytes_each"] = got["bytes"];
  state.counters["idle_cpu_us_per_s"] = got["idle_cpu_us_per_s"];
  report_more({.name = name + ": transactions", .unit = Unit::kPerSecond, .figure = got["rate"], .floor = got["floor_rate"],
               .ratio = got["ratio"],
               .note = "floor: one thread at the registers; spread " + std::to_string(static_cast<int>(got["spread"] * 100)) + " %",
               .ratio_goal = {}, .figure_goal = {}});
  report_more({.name = name + ": memory each", .unit = Unit::kBytes, .figure = got["bytes"], .floor = {}, .ratio = {},
               .note = n == 1 ? "threads and all that interfaces share are in it" : "", .ratio_goal = {}, .figure_goal = {}});
  report_more({.name = name + ": idle CPU", .unit = Unit::kCpuMicrosecondsPerSecond, .figure = got["idle_cpu_us_per_s"],
               .floor = floor["idle_cpu_us_per_s"], .ratio = {},
               .note = std::to_string(static_cast<int>(got["threads"])) + " threads, " +
                       std::to_string(static_cast<int>(got["idle_switches_per_s"])) + " switches/s; their BMCs' included",
               .ratio_goal = {}, .figure_goal = kIdleCpuGoal});
}

}  // namespace

void register_interfaces() {
  add_child("interfaces", child);
  for (unsigned n : {1u, 10u, 100u, 1000u}) {
    add("interfaces/" + std::to_string(n), [n](benchmark::State& state) { run(state, n); });
  }
}

}  // namespace bmcpair::bench
