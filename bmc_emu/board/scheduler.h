// Runs boards when they are due, on a few threads: one heap of instants, no timer and no thread per board. A board
// runs on one worker at a time. With nothing due, every worker sleeps without a timeout.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "proto/base/time.h"

namespace bmcpair::board {

class Scheduler {
 public:
  // What is run. next_due() takes no lock and never blocks; due at or before now means "at once".
  class Task {
   public:
    virtual ~Task() = default;
    virtual Instant run(Instant now) = 0;
    virtual Instant next_due() const = 0;
  };

  Scheduler();
  ~Scheduler();  // stop() came before, or start() never did

  // Monotonic, zero at construction.
  Instant now() const;

  // Once.
  void start(std::vector<std::unique_ptr<Task>> tasks, unsigned threads);
  // Task i may be due earlier than it was. Any thread, no lock of the task's held; also before start and after stop
  // (no effect then).
  void wake(size_t i);
  // Waits for what is running. Idempotent; not from a worker.
  void stop();

  // How often a worker woke up or looked for work: stands still when all is idle.
  uint64_t turns() const { return turns_.load(std::memory_order_relaxed); }

 private:
  struct Entry;

  void work();
  void run_top(std::unique_lock<std::mutex>& lock, Instant at);
  // The heap of queued entries by due instant; all under mutex_.
  void queue(uint32_t i, Instant due);
  uint32_t pop();
  void sift_up(size_t position);
  void sift_down(size_t position);
  void place(size_t position, uint32_t i);
  Instant top_due() const;

  const std::chrono::steady_clock::time_point zero_;
  std::vector<std::unique_ptr<Task>> tasks_;
  std::unique_ptr<Entry[]> entries_;
  std::atomic<bool> started_{false};
  std::atomic<uint64_t> turns_{0};

  std::mutex mutex_;
  std::vector<uint32_t> heap_;
  bool stopping_ = false;
  bool leader_ = false;   // one worker watches the clock for the earliest entry
  bool deputy_ = false;   // one more looks after it in case that the leader is busy by then
  unsigned sleepers_ = 0;  // workers on idle_
  std::condition_variable timer_;  // the leader
  std::condition_variable idle_;   // the others
  std::atomic<uint64_t> earlier_{0};  // goes up when the earliest entry changed: a leader that spins looks again

  std::mutex stop_mutex_;
  std::vector<std::thread> threads_;
};

}  // namespace bmcpair::board
