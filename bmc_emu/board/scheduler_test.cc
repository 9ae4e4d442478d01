#include "bmc_emu/board/scheduler.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <functional>
#include <mutex>

namespace bmcpair::board {
namespace {

using namespace std::chrono_literals;

// A task whose due instant is set from outside and which counts what it did.
class Probe : public Scheduler::Task {
 public:
  explicit Probe(std::function<Instant(Probe&, Instant)> on_run = {}) : on_run_(std::move(on_run)) {}

  Instant run(Instant now) override {
    EXPECT_EQ(inside_.fetch_add(1), 0) << "a task ran on two workers at once";
    due.store(kNever);
    Instant next = on_run_ ? on_run_(*this, now) : kNever;
    if (next != kNever) due.store(next);
    inside_.fetch_sub(1);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      ++runs_;
      last_ = now;
    }
    changed_.notify_all();
    return due.load();
  }
  Instant next_due() const override { return due.load(); }

  bool wait_for_runs(uint64_t n) {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, 20s, [&] { return runs_ >= n; });
  }
  uint64_t runs() {
    std::lock_guard<std::mutex> lock(mutex_);
    return runs_;
  }
  Instant last() {
    std::lock_guard<std::mutex> lock(mutex_);
    return last_;
  }

  std::atomic<Instant> due{kNever};

 private:
  std::function<Instant(Probe&, Instant)> on_run_;
  std::atomic<int> inside_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t runs_ = 0;
  Instant last_{};
};

struct Rig {
  explicit Rig(std::vector<std::unique_ptr<Scheduler::Task>> tasks, unsigned threads = 2) {
    scheduler.start(std::move(tasks), threads);
  }
  ~Rig() { scheduler.stop(); }
  Scheduler scheduler;
};

template <class... P>
std::vector<std::unique_ptr<Scheduler::Task>> tasks_of(P... probes) {
  std::vector<std::unique_ptr<Scheduler::Task>> out;
  (out.push_back(std::move(probes)), ...);
  return out;
}

TEST(Scheduler, RunsATaskThatIsDueAtStart) {
  auto probe = std::make_unique<Probe>();
  Probe* p = probe.get();
  p->due = Instant{};
  Rig rig(tasks_of(std::move(probe)));
  EXPECT_TRUE(p->wait_for_runs(1));
}

TEST(Scheduler, NeverRunsATaskBeforeItIsDue) {
  auto probe = std::make_unique<Probe>();
  Probe* p = probe.get();
  p->due = Instant{} + 30ms;
  Rig rig(tasks_of(std::move(probe)));
  ASSERT_TRUE(p->wait_for_runs(1));
  EXPECT_GE(p->last(), Instant{} + 30ms);
}

TEST(Scheduler, AWakeMakesAnIdleSchedulerRun) {
  auto probe = std::make_unique<Probe>();
  Probe* p = probe.get();
  Rig rig(tasks_of(std::move(probe)));
  for (uint64_t i = 1; i <= 200; ++i) {
    p->due = rig.scheduler.now();
    rig.scheduler.wake(0);
    ASSERT_TRUE(p->wait_for_runs(i)) << "wake " << i << " was lost";
  }
}

TEST(Scheduler, AWakeDuringARunIsNotLost) {
  // The task publishes work for itself while it runs, and the wake for it comes from inside.
  Scheduler* scheduler = nullptr;
  auto probe = std::make_unique<Probe>([&](Probe& self, Instant now) {
    if (self.runs() < 50) {
      self.due = now;
      scheduler->wake(0);
      return now;
    }
    return kNever;
  });
  Probe* p = probe.get();
  Rig rig(tasks_of(std::move(probe)));
  scheduler = &rig.scheduler;
  p->due = rig.scheduler.now();
  rig.scheduler.wake(0);
  EXPECT_TRUE(p->wait_for_runs(50));
}

TEST(Scheduler, AnEarlierInstantOvertakesTheOneWaitedFor) {
  auto slow = std::make_unique<Probe>();
  auto fast = std::make_unique<Probe>();
  Probe* s = slow.get();
  Probe* f = fast.get();
  s->due = Instant{} + 1h;
  Rig rig(tasks_of(std::move(slow), std::move(fast)));
  f->due = rig.scheduler.now() + 5ms;
  rig.scheduler.wake(1);
  EXPECT_TRUE(f->wait_for_runs(1));
  EXPECT_EQ(s->runs(), 0u);
}

TEST(Scheduler, ATaskThatBlocksHoldsNobodyElseUp) {
  std::mutex gate;
  std::condition_variable opened;
  bool open = false;
  auto blocked = std::make_unique<Probe>([&](Probe&, Instant) {
    std::unique_lock<std::mutex> lock(gate);
    opened.wait(lock, [&] { return open; });
    return kNever;
  });
  auto other = std::make_unique<Probe>([](Probe& self, Instant now) { return self.runs() < 20 ? now + 1ms : kNever; });
  Probe* b = blocked.get();
  Probe* o = other.get();
  b->due = Instant{};
  o->due = Instant{} + 3ms;  // later than the one that blocks: nobody tells the second worker
  Rig rig(tasks_of(std::move(blocked), std::move(other)), 2);
  EXPECT_TRUE(o->wait_for_runs(20));
  EXPECT_EQ(b->runs(), 0u);
  {
    std::lock_guard<std::mutex> lock(gate);
    open = true;
  }
  opened.notify_all();
  EXPECT_TRUE(b->wait_for_runs(1));
}

TEST(Scheduler, StandsStillWhenNothingIsDue) {
  std::vector<std::unique_ptr<Scheduler::Task>> tasks;
  std::vector<Probe*> probes;
  for (int i = 0; i < 100; ++i) {
    auto probe = std::make_unique<Probe>();
    probe->due = Instant{};
    probes.push_back(probe.get());
    tasks.push_back(std::move(probe));
  }
  Rig rig(std::move(tasks), 3);
  for (Probe* probe : probes) ASSERT_TRUE(probe->wait_for_runs(1));
  // The workers settle; from then on not one turn is taken, however long nobody wakes them.
  uint64_t before = rig.scheduler.turns();
  for (int i = 0; i < 100; ++i) {
    std::this_thread::sleep_for(10ms);
    uint64_t after = rig.scheduler.turns();
    if (after == before) return;
    before = after;
  }
  FAIL() << "workers keep looking for work that is not there";
}

TEST(Scheduler, ManyTasksWithManyWakersAllRun) {
  constexpr size_t kTasks = 64;
  constexpr uint64_t kWakes = 300;
  std::vector<std::unique_ptr<Scheduler::Task>> tasks;
  std::vector<Probe*> probes;
  for (size_t i = 0; i < kTasks; ++i) {
    auto probe = std::make_unique<Probe>();
    probes.push_back(probe.get());
    tasks.push_back(std::move(probe));
  }
  Rig rig(std::move(tasks), 4);
  std::vector<std::thread> wakers;
  for (size_t w = 0; w < 4; ++w) {
    wakers.emplace_back([&, w] {
      for (uint64_t n = 1; n <= kWakes; ++n) {
        size_t i = (w * 16) + n % 16;
        uint64_t runs = probes[i]->runs();
        probes[i]->due = rig.scheduler.now() + Duration(static_cast<int64_t>(n % 7) * 20'000);
        rig.scheduler.wake(i);
        ASSERT_TRUE(probes[i]->wait_for_runs(runs + 1));
      }
    });
  }
  for (std::thread& waker : wakers) waker.join();
}

TEST(Scheduler, WakesAfterTheStopDoNothing) {
  auto probe = std::make_unique<Probe>();
  Probe* p = probe.get();
  Scheduler scheduler;
  scheduler.wake(0);  // before the start
  scheduler.start(tasks_of(std::move(probe)), 1);
  scheduler.stop();
  p->due = Instant{};
  scheduler.wake(0);
  scheduler.stop();
  EXPECT_EQ(p->runs(), 0u);
}

}  // namespace
}  // namespace bmcpair::board
