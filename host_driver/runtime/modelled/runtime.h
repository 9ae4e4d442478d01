// The modelled build of host_driver/runtime/runtime.h: fibers under a director, virtual time, the C++ memory model
// (world.h). The same contract as native/runtime.h; what differs:
//  - Everything that may wait or be seen by others is a scheduling point.
//  - Each Timer and each Work has a task of its own.
//  - A panic stops the other tasks where they stand. What they hold stays held.
//  - Outside of a world the types are what a single thread needs of them, so that objects may be made there.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "host_driver/runtime/modelled/world.h"
#include "proto/base/time.h"

namespace bmcpair::rt::inline modelled {

Instant now();
void sleep_for(Duration d, Here at = {});
// The caller's processor is busy for d; everybody else goes on.
void cpu_relax(Duration d, Here at = {});
// Nothing to do until another has done something.
void yield(Here at = {});
// Nobody turns in circles here: who waits for a spin lock waits until somebody has let it go.
void spin_pause(const void* what, unsigned turn, Here at = {});
void spin_end(const void* what);
void fence(std::memory_order order);
// A mistake of ours. Ends the run: oracle "invariant".
[[noreturn]] void fatal(std::string_view what);

template <class T>
class Atomic {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);

 public:
  Atomic() : location_(bits(T{})) {}
  explicit Atomic(T v) : location_(bits(v)) {}
  Atomic(const Atomic&) = delete;
  Atomic& operator=(const Atomic&) = delete;

  T load(std::memory_order order, Here at = {}) const { return value(location_.load(order, at)); }
  void store(T v, std::memory_order order, Here at = {}) { location_.store(bits(v), order, at); }
  T exchange(T v, std::memory_order order, Here at = {}) {
    return value(location_.update(order, at, [&](uint64_t) { return bits(v); }));
  }
  bool compare_exchange(T& expected, T desired, std::memory_order success, std::memory_order failure, Here at = {}) {
    uint64_t e = bits(expected);
    const bool done = location_.compare_exchange(e, bits(desired), success, failure, at);
    if (!done) expected = value(e);
    return done;
  }
  T fetch_add(T v, std::memory_order order, Here at = {}) {
    return value(location_.update(order, at, [&](uint64_t old) { return bits(static_cast<T>(value(old) + v)); }));
  }
  T fetch_sub(T v, std::memory_order order, Here at = {}) {
    return value(location_.update(order, at, [&](uint64_t old) { return bits(static_cast<T>(value(old) - v)); }));
  }
  T fetch_or(T v, std::memory_order order, Here at = {}) {
    return value(location_.update(order, at, [&](uint64_t old) { return bits(static_cast<T>(value(old) | v)); }));
  }
  T fetch_and(T v, std::memory_order order, Here at = {}) {
    return value(location_.update(order, at, [&](uint64_t old) { return bits(static_cast<T>(value(old) & v)); }));
  }
  // For what is only shown, or what only the caller stores: no scheduling point, always the newest.
  T peek() const { return value(location_.newest()); }

 private:
  static uint64_t bits(T v) {
    uint64_t b = 0;
    std::memcpy(&b, &v, sizeof v);
    return b;
  }
  static T value(uint64_t b) {
    T v;
    std::memcpy(&v, &b, sizeof v);
    return v;
  }
  Location location_;
};

// What is only counted and shown: no scheduling point.
class Counter {
 public:
  void add(uint64_t n = 1) { value_ += n; }
  uint64_t value() const { return value_; }

 private:
  uint64_t value_ = 0;
};

// Plain data that more than one task touches, ordered by something else. Two accesses, one of them a write, that
// nothing orders end the run: oracle "race".
template <class T>
class Shared {
 public:
  Shared() = default;
  explicit Shared(T v) : value_(std::move(v)) {}
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  const T& read(Here at = {}) const {
    guard_.read(at);
    return value_;
  }
  T& write(Here at = {}) {
    guard_.write(at);
    return value_;
  }

 private:
  T value_{};
  Guarded guard_;
};

// An object whose end the laboratory watches: touched after it, ended twice, or never ended, it ends the run. Its memory is
// not used again within the run.
class Tracked {
 public:
  explicit Tracked(std::string_view kind) : kind_(kind), id_(begin(kind)) {}
  Tracked(const Tracked&) : Tracked(std::string_view("copy")) {}
  ~Tracked() { end(); }
  void touch() const {
    if (id_ == kEnded) ended();
  }

 private:
  static constexpr uint32_t kEnded = 0xdeadbea7;
  static uint32_t begin(std::string_view kind);
  void end();
  [[noreturn]] void ended() const;
  std::string_view kind_;
  uint32_t id_;
};

class Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;
  void lock(Here at = {});
  bool try_lock(Here at = {});
  void unlock();

 private:
  friend class WaitQueue;
  void enter();
  uint64_t run_ = 0;
  uint16_t id_ = 0;
  bool held_ = false;
  bool contended_ = false;
  TaskId owner_ = 0;
  Stamp released_;
};

class [[nodiscard]] LockGuard {
 public:
  explicit LockGuard(Mutex& m, Here at = {}) : m_(m) { m_.lock(at); }
  ~LockGuard() { m_.unlock(); }
  LockGuard(const LockGuard&) = delete;
  LockGuard& operator=(const LockGuard&) = delete;

 private:
  Mutex& m_;
};

struct DeferLock {};

class [[nodiscard]] UniqueLock {
 public:
  explicit UniqueLock(Mutex& m, Here at = {}) : m_(&m) { lock(at); }
  UniqueLock(Mutex& m, DeferLock) : m_(&m) {}
  ~UniqueLock() {
    if (owns_) m_->unlock();
  }
  UniqueLock(const UniqueLock&) = delete;
  UniqueLock& operator=(const UniqueLock&) = delete;
  void lock(Here at = {}) {
    m_->lock(at);
    owns_ = true;
  }
  bool try_lock(Here at = {}) { return owns_ = m_->try_lock(at); }
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
  void wait(UniqueLock& lock, Pred pred, Here at = {}) {
    const std::function<bool()> condition = [&pred] { return static_cast<bool>(pred()); };
    while (!pred()) wait_once(lock, kNever, condition, at);
  }
  template <class Pred>
  bool wait_until(UniqueLock& lock, Instant deadline, Pred pred, Here at = {}) {
    const std::function<bool()> condition = [&pred] { return static_cast<bool>(pred()); };
    while (!pred()) {
      if (!wait_once(lock, deadline, condition, at)) return pred();
    }
    return true;
  }
  void wake_one(Here at = {});
  void wake_all(Here at = {});

 private:
  bool wait_once(UniqueLock& lock, Instant deadline, const std::function<bool()>& condition, const Site& at);
};

class Thread {
 public:
  Thread() = default;
  ~Thread();
  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;
  void start(std::string name, std::function<void()> function, Here at = {});
  void join(Here at = {});
  bool joinable() const { return task_ != nullptr; }

 private:
  Task* task_ = nullptr;
};

namespace detail {

// What a Timer and a Work have in common.
struct Job {
  Job(std::function<void()> f, const char* kind_, const Site& site) : function(std::move(f)), kind(kind_), made_at(site) {}
  std::function<void()> function;
  const char* kind;
  Site made_at;
  Task* task = nullptr;
  bool pending = false;
  bool running = false;
  bool orphan = false;
  bool ended = false;
  Instant deadline = kNever;
  uint64_t runs_begun = 0;
  Stamp asked;  // of who asked last
  Stamp done;   // of the last run
  TaskId runner = 0;
};
using JobPointer = std::shared_ptr<Job>;

void ask(const JobPointer& job, Instant deadline);  // Instant{} at once
bool take_away(Job& job);
bool cancel(const JobPointer& job, bool wait, const Site& site);
void flush(const JobPointer& job, const Site& site);
void destroy(const JobPointer& job, const Site& site);

}  // namespace detail

class Timer {
 public:
  explicit Timer(std::function<void()> callback, Here at = {})
      : job_(std::make_shared<detail::Job>(std::move(callback), "timer", at)) {}
  ~Timer() { detail::destroy(job_, Site("end of a timer")); }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  void arm(Instant deadline, Here at = {});
  bool cancel(Here at = {}) { return detail::cancel(job_, true, at); }
  bool cancel_nowait(Here at = {}) { return detail::cancel(job_, false, at); }
  bool armed() const { return job_->pending || job_->deadline != kNever; }

 private:
  detail::JobPointer job_;
};

class Work {
 public:
  explicit Work(std::function<void()> call, Here at = {})
      : job_(std::make_shared<detail::Job>(std::move(call), "work", at)) {}
  ~Work() { detail::destroy(job_, Site("end of a work")); }
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;
  bool schedule(Here at = {});
  bool cancel_and_wait(Here at = {}) { return detail::cancel(job_, true, at); }
  void flush(Here at = {}) { detail::flush(job_, at); }

 private:
  detail::JobPointer job_;
};

// A section that began before synchronize() is waited for; one that begins after it sees all that was done before it.
class Rcu {
 public:
  Rcu() = default;
  Rcu(const Rcu&) = delete;
  Rcu& operator=(const Rcu&) = delete;
  void synchronize(Here at = {});

 private:
  friend class RcuReader;
  uint64_t run_ = 0;
  uint64_t begun_ = 0;
  std::vector<uint64_t> inside_;  // sections, by number, in the order they began
  std::vector<Stamp> left_;       // of sections that ended, of each task the last
  Stamp grace_;                   // of the last synchronize() that began
  void enter_run();
};

class [[nodiscard]] RcuReader {
 public:
  explicit RcuReader(Rcu& rcu, Here at = {});
  ~RcuReader();
  RcuReader(const RcuReader&) = delete;
  RcuReader& operator=(const RcuReader&) = delete;

 private:
  Rcu& rcu_;
  uint64_t number_ = 0;
};

// Every task is a Cpu.
class Cpu {
 public:
  Cpu() = default;
  ~Cpu() = default;
  Cpu(const Cpu&) = delete;
  Cpu& operator=(const Cpu&) = delete;
  bool present() const { return true; }
  static void poll() {}
};
constexpr unsigned kCpusMax = kTasksMax;

enum class CrossCall { kWait, kNoWait };
bool cross_call(void (*function)(void*), void* argument, CrossCall mode, Duration limit = std::chrono::seconds(1));

// Until as many calls of enable_interrupts() this thread answers no cross-call and is not stopped by a panic: who stops the
// others waits for it, within the cross-call's limit. For short work that must not be left half done.
void disable_interrupts();
void enable_interrupts();

bool begin_panic();
bool panicking();
bool in_panic_context();
void end_panic_for_test();

// Fires only where the experiment allows it, and the director says so.
bool fault_point(std::string_view name);

}  // namespace bmcpair::rt::inline modelled
