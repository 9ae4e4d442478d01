// The native build of host_driver/runtime/runtime.h: threads, real atomics, the real clock.
//
// Timers and Works share one elastic pool: at most kWorkersMax threads, made when work waits and nobody is idle,
// leaving after kWorkerIdle without work, and one timer thread that sleeps until the earliest deadline, for ever
// when there is none. An idle process is woken by nothing here.
//
// The pool, the cross-call slots and the parking places of Rcu live as long as the process (reachable from statics, so no
// leak to a leak checker, and no destructor that could run under a thread still in use at exit). Who owns a
// Timer or a Work destroys it before main returns; destruction waits for its callback.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "proto/base/time.h"

namespace bmcpair::rt::inline native {

Instant now();
// Not in atomic context.
void sleep_for(Duration d);
// Spins for d; allowed anywhere, and bounded by d.
void cpu_relax(Duration d);
// One turn of a spin lock's wait, counted from 0. No interrupt point: its caller may hold other spin locks.
inline void spin_pause(const void*, unsigned turn) {
  if (turn > 100) std::this_thread::yield();
}
// What others spin for is there.
inline void spin_end(const void*) {}

inline void fence(std::memory_order order) { std::atomic_thread_fence(order); }
// A mistake of ours: says what, and ends the process.
[[noreturn]] void fatal(std::string_view what);

// Plain data that more than one thread touches, ordered by something else. The laboratory looks whether it is.
template <class T>
class Shared {
 public:
  Shared() = default;
  explicit Shared(T v) : value_(std::move(v)) {}
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  const T& read() const { return value_; }
  T& write() { return value_; }

 private:
  T value_{};
};

// An object whose end the laboratory watches.
class Tracked {
 public:
  explicit Tracked(std::string_view) {}
  void touch() const {}
};

template <class T>
class Atomic {
 public:
  constexpr Atomic() : value_{} {}
  constexpr explicit Atomic(T v) : value_(v) {}
  Atomic(const Atomic&) = delete;
  Atomic& operator=(const Atomic&) = delete;

  T load(std::memory_order order) const { return value_.load(order); }
  void store(T v, std::memory_order order) { value_.store(v, order); }
  T exchange(T v, std::memory_order order) { return value_.exchange(v, order); }
  bool compare_exchange(T& expected, T desired, std::memory_order success, std::memory_order failure) {
    return value_.compare_exchange_strong(expected, desired, success, failure);
  }
  T fetch_add(T v, std::memory_order order) { return value_.fetch_add(v, order); }
  T fetch_sub(T v, std::memory_order order) { return value_.fetch_sub(v, order); }
  T fetch_or(T v, std::memory_order order) { return value_.fetch_or(v, order); }
  T fetch_and(T v, std::memory_order order) { return value_.fetch_and(v, order); }
  // For what is only shown, or what only the caller stores: orders nothing, and a laboratory decides nothing at it.
  T peek() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<T> value_;
};

// What is only counted and shown: orders nothing, and a laboratory decides nothing at it.
class Counter {
 public:
  void add(uint64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

class Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;
  void lock() {
    if (!m_.try_lock()) lock_slow();
  }
  bool try_lock() { return m_.try_lock(); }
  void unlock() { m_.unlock(); }

 private:
  friend class WaitQueue;
  void lock_slow();
  std::mutex m_;
};

class [[nodiscard]] LockGuard {
 public:
  explicit LockGuard(Mutex& m) : m_(m) { m_.lock(); }
  ~LockGuard() { m_.unlock(); }
  LockGuard(const LockGuard&) = delete;
  LockGuard& operator=(const LockGuard&) = delete;

 private:
  Mutex& m_;
};

struct DeferLock {};

class [[nodiscard]] UniqueLock {
 public:
  explicit UniqueLock(Mutex& m) : m_(&m) { lock(); }
  UniqueLock(Mutex& m, DeferLock) : m_(&m) {}
  ~UniqueLock() {
    if (owns_) m_->unlock();
  }
  UniqueLock(const UniqueLock&) = delete;
  UniqueLock& operator=(const UniqueLock&) = delete;
  void lock() {
    m_->lock();
    owns_ = true;
  }
  bool try_lock() { return owns_ = m_->try_lock(); }
  void unlock() {
    owns_ = false;
    m_->unlock();
  }
  bool owns_lock() const { return owns_; }

 private:
  friend class WaitQueue;
  Mutex* m_;
  bool owns_ = false;
};

class WaitQueue {
 public:
  template <class Pred>
  void wait(UniqueLock& lock, Pred pred) {
    while (!pred()) wait_once(lock, kNever);
  }
  // The value of pred at the end: false means that the deadline passed first.
  template <class Pred>
  bool wait_until(UniqueLock& lock, Instant deadline, Pred pred) {
    while (!pred()) {
      if (!wait_once(lock, deadline)) return pred();
    }
    return true;
  }
  void wake_one() { cv_.notify_one(); }
  void wake_all() { cv_.notify_all(); }

 private:
  // false when the deadline has passed.
  bool wait_once(UniqueLock& lock, Instant deadline);
  std::condition_variable cv_;
};

class Thread {
 public:
  Thread() = default;
  ~Thread();  // aborts when not joined
  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;
  void start(std::string name, std::function<void()> function);
  void join();
  bool joinable() const { return thread_.joinable(); }

 private:
  std::thread thread_;
};

constexpr unsigned kWorkersMax = 64;
constexpr Duration kWorkerIdle = std::chrono::seconds(2);

namespace detail {
struct Job;
}

// One callback at a time per timer, on a worker; it may block, arm its own timer again, or destroy it.
class Timer {
 public:
  explicit Timer(std::function<void()> callback);
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  // Replaces an earlier deadline. A past deadline runs the callback as soon as a worker is free.
  void arm(Instant deadline);
  // When it returns the callback is not running and will not run unless armed again. From inside the callback it
  // only takes the deadline away. True when a deadline was pending.
  bool cancel();
  bool cancel_nowait();
  // Pending: the callback has not begun.
  bool armed() const;

 private:
  detail::Job* job_;
};

class Work {
 public:
  explicit Work(std::function<void()> call);
  ~Work();
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;
  // False when it was pending already: the pending run serves both. While the call runs it is not pending, so
  // what is scheduled then runs once more afterwards. May be called from anywhere but the panic path.
  bool schedule();
  // When it returns the call is not running and will not run unless scheduled again. From inside the call it only
  // takes a pending run away.
  bool cancel_and_wait();
  // Waits until a run that began after this call, or none, was needed for everything scheduled so far.
  void flush();

 private:
  detail::Job* job_;
};

// For tests and statistics.
struct PoolStatistics {
  unsigned workers = 0;
  unsigned workers_peak = 0;
  uint64_t jobs_run = 0;
  uint64_t timer_wakeups = 0;
};
PoolStatistics pool_statistics();

// A read-copy-update domain whose readers may block (the idea of SRCU): a pair of reader counters and the index
// that new readers take. synchronize() waits until the counter not in use is empty, turns the index, and waits until the
// one that was in use is empty, so it never waits for a section that began after it turned the index.
//
// Why no fence is needed: readers and synchronize() meet only in read-modify-writes of the same counter. A reader whose
// increment comes after synchronize()'s in the counter's modification order acquires what was published
// before it; one whose increment comes before is seen and waited for.
class Rcu {
 public:
  Rcu() = default;
  Rcu(const Rcu&) = delete;
  Rcu& operator=(const Rcu&) = delete;
  // Waits for every section of this domain that began before the call. Aborts inside one: it could never return.
  // Afterwards the domain may be destroyed if no new section can begin.
  void synchronize();

 private:
  friend class RcuReader;
  void drain(unsigned index);
  std::atomic<uint32_t> index_{0};
  std::atomic<uint32_t> readers_[2] = {};
  std::mutex synchronizing_;
};

// A read-side section, for as long as it lives. Nests, in any mixture of domains; stays in its thread.
class [[nodiscard]] RcuReader {
 public:
  explicit RcuReader(Rcu& rcu);
  ~RcuReader();
  RcuReader(const RcuReader&) = delete;
  RcuReader& operator=(const RcuReader&) = delete;

 private:
  friend class Rcu;
  Rcu& rcu_;
  unsigned index_;
  RcuReader* outer_;  // the thread's enclosing section
};

// A thread that takes part in cross-calls. It runs what others ask of it at its interrupt points: every rt operation that
// may wait, cpu_relax and poll(). A thread that blocks in rt counts as stopped: it runs what is pending before it goes on.
// Pool workers and rt::Threads are Cpus by themselves.
class Cpu {
 public:
  Cpu();  // nothing happens when the thread is one already, or when all kCpusMax are taken (present() is then false)
  ~Cpu();
  Cpu(const Cpu&) = delete;
  Cpu& operator=(const Cpu&) = delete;
  bool present() const;
  // An interrupt point.
  static void poll();

 private:
  int slot_ = -1;
};
constexpr unsigned kCpusMax = 256;

enum class CrossCall { kWait, kNoWait };
// Runs function(argument) on every other Cpu. No allocation, no mutex. With kWait it returns when each has run it
// or is blocked (and then runs it before it goes on), or when `limit` has passed. False: not all of them did.
bool cross_call(void (*function)(void*), void* argument, CrossCall mode, Duration limit = std::chrono::seconds(1));

// Until as many calls of enable_interrupts() this thread answers no cross-call and is not stopped by a panic: who stops the
// others waits for it, within the cross-call's limit. For short work that must not be left half done.
void disable_interrupts();
void enable_interrupts();

// Marks the process as panicking, once, and stops the other Cpus with a cross-call. True for the one caller that began
// it; others never return from here. Afterwards nothing but that thread may drive a machine (G-38).
bool begin_panic();
bool panicking();
// This thread is the one that panics.
bool in_panic_context();
// For tests: lets the stopped Cpus go on.
void end_panic_for_test();

// Where the driver can be made to fail on request.
class FaultHook {
 public:
  virtual ~FaultHook() = default;
  virtual bool fires(std::string_view name) = 0;
};
// When it returns, no earlier hook is being called. nullptr takes it away.
void set_fault_hook(FaultHook* hook);
bool fault_point(std::string_view name);

}  // namespace bmcpair::rt::inline native
