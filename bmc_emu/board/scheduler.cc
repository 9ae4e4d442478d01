#include "bmc_emu/board/scheduler.h"

#include <sys/prctl.h>

#include <algorithm>
#include <cassert>

namespace bmcpair::board {
namespace {

// What is due within this time is waited for without sleeping: a sleep's own inaccuracy is as long.
constexpr Duration kSpin = std::chrono::microseconds(50);
// A wait shorter than this ends kSpin early, so that the register timing of a conversation under way is kept; a longer
// one has no conversation waiting and may end a little late.
constexpr Duration kPreciseWait = std::chrono::milliseconds(1);
// How late a due entry may be before another worker looks after it.
constexpr Duration kDeputyDelay = std::chrono::milliseconds(2);
constexpr uint32_t kNotQueued = UINT32_MAX;

constexpr int64_t rep(Instant t) { return t.time_since_epoch().count(); }

inline void pause_cpu() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

// `running` and `scheduled` let wake() return without the lock. Whoever wakes has published the earlier due instant
// before; a worker clears `running` before it reads next_due(). Both in one total order, so one of them sees the other.
struct Scheduler::Entry {
  std::atomic<int64_t> scheduled{rep(kNever)};  // where it is queued; never while it is running
  std::atomic<bool> running{false};
  uint32_t position = kNotQueued;  // in the heap
};

Scheduler::Scheduler() : zero_(std::chrono::steady_clock::now()) {}

Scheduler::~Scheduler() {
  stop();
}

Instant Scheduler::now() const {
  return Instant(std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now() - zero_));
}

void Scheduler::start(std::vector<std::unique_ptr<Task>> tasks, unsigned threads) {
  std::lock_guard<std::mutex> one(stop_mutex_);
  assert(!started_.load() && threads_.empty());
  {
    std::lock_guard<std::mutex> lock(mutex_);
    tasks_ = std::move(tasks);
    entries_ = std::make_unique<Entry[]>(tasks_.size());
    heap_.reserve(tasks_.size());
    started_ = true;
    for (size_t i = 0; i < tasks_.size(); ++i) queue(static_cast<uint32_t>(i), tasks_[i]->next_due());
  }
  for (unsigned i = 0; i < std::max(1u, threads); ++i) threads_.emplace_back([this] { work(); });
}

void Scheduler::wake(size_t i) {
  if (!started_.load()) return;
  Entry& entry = entries_[i];
  if (entry.running.load()) return;
  auto next_due = [&] { return std::max(tasks_[i]->next_due(), Instant{}); };
  Instant due = next_due();
  if (rep(due) >= entry.scheduled.load()) return;
  bool to_leader = false;
  bool to_idle = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (stopping_ || entry.running.load()) return;
    due = next_due();
    if (rep(due) >= entry.scheduled.load()) return;
    queue(static_cast<uint32_t>(i), due);
    if (heap_.front() == i) {
      earlier_.fetch_add(1);
      to_leader = leader_;
      to_idle = !leader_ && sleepers_ > 0;
    }
  }
  if (to_leader) timer_.notify_one();
  if (to_idle) idle_.notify_one();
}

void Scheduler::stop() {
  std::lock_guard<std::mutex> one(stop_mutex_);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    earlier_.fetch_add(1);
  }
  timer_.notify_all();
  idle_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void Scheduler::work() {
  // The default slack of a timed sleep is 50 us; asked for here, it is the kernel's own accuracy.
  ::prctl(PR_SET_TIMERSLACK, 1000UL, 0, 0, 0);
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stopping_) {
    turns_.fetch_add(1, std::memory_order_relaxed);
    if (heap_.empty()) {
      ++sleepers_;
      idle_.wait(lock);
      --sleepers_;
      continue;
    }
    Instant due = top_due();
    Instant at = now();
    if (due <= at) {
      run_top(lock, at);
      continue;
    }
    if (leader_) {
      ++sleepers_;
      if (deputy_) {
        idle_.wait(lock);
      } else {
        deputy_ = true;
        idle_.wait_until(lock, zero_ + (due - Instant{}) + kDeputyDelay);
        deputy_ = false;
      }
      --sleepers_;
      continue;
    }
    leader_ = true;
    if (due - at <= kSpin) {
      uint64_t seen = earlier_.load();
      lock.unlock();
      while (now() < due && earlier_.load(std::memory_order_relaxed) == seen) pause_cpu();
      lock.lock();
    } else {
      timer_.wait_until(lock, zero_ + (due - Instant{}) - (due - at < kPreciseWait ? kSpin : Duration(0)));
    }
    leader_ = false;
  }
}

void Scheduler::run_top(std::unique_lock<std::mutex>& lock, Instant at) {
  uint32_t i = pop();
  Entry& entry = entries_[i];
  entry.scheduled = rep(kNever);
  entry.running = true;
  bool more = !heap_.empty() && top_due() <= at && sleepers_ > 0;
  lock.unlock();
  if (more) idle_.notify_one();
  tasks_[i]->run(at);
  lock.lock();
  entry.running = false;
  queue(i, tasks_[i]->next_due());
}

Instant Scheduler::top_due() const {
  return Instant(Duration(entries_[heap_.front()].scheduled.load(std::memory_order_relaxed)));
}

void Scheduler::place(size_t position, uint32_t i) {
  heap_[position] = i;
  entries_[i].position = static_cast<uint32_t>(position);
}

void Scheduler::queue(uint32_t i, Instant due) {
  // Beyond a century nothing is due; it also keeps the sums with steady_clock in range.
  if (due > Instant(std::chrono::hours(24 * 36525))) return;
  due = std::max(due, Instant{});
  Entry& entry = entries_[i];
  entry.scheduled = rep(due);
  if (entry.position == kNotQueued) {
    heap_.push_back(i);
    place(heap_.size() - 1, i);
  }
  sift_up(entry.position);
  sift_down(entry.position);
}

uint32_t Scheduler::pop() {
  uint32_t first = heap_.front();
  entries_[first].position = kNotQueued;
  uint32_t last = heap_.back();
  heap_.pop_back();
  if (!heap_.empty()) {
    place(0, last);
    sift_down(0);
  }
  return first;
}

void Scheduler::sift_up(size_t position) {
  uint32_t i = heap_[position];
  int64_t key = entries_[i].scheduled.load(std::memory_order_relaxed);
  while (position > 0) {
    size_t parent = (position - 1) / 2;
    if (entries_[heap_[parent]].scheduled.load(std::memory_order_relaxed) <= key) break;
    place(position, heap_[parent]);
    position = parent;
  }
  place(position, i);
}

void Scheduler::sift_down(size_t position) {
  uint32_t i = heap_[position];
  int64_t key = entries_[i].scheduled.load(std::memory_order_relaxed);
  for (;;) {
    size_t child = 2 * position + 1;
    if (child >= heap_.size()) break;
    auto key_of = [&](size_t c) { return entries_[heap_[c]].scheduled.load(std::memory_order_relaxed); };
    if (child + 1 < heap_.size() && key_of(child + 1) < key_of(child)) ++child;
    if (key_of(child) >= key) break;
    place(position, heap_[child]);
    position = child;
  }
  place(position, i);
}

}  // namespace bmcpair::board
