// The modelled runtime's world: tasks (fibers) under a Director, virtual time, the C++ memory model, and the oracles that
// every program has (deadlock, lost wake-up, lock order, race, use after free, leak, no end).
//
// One OS thread runs a world from its first task to its end; tasks change only at scheduling points. So code of the
// world's own needs no lock, and a run is determined by the director's answers alone.
//
// Memory. Each location keeps its last stores. A store carries what its thread had released; a load may read any store
// that coherence and happens-before leave to it, the newest first (Choice::kLoad). Modification order is the
// order of execution. seq_cst loads read no older than the last seq_cst store. A store is seen by everybody in the end: what
// has stood for kSeenWithin hides what was before it (C++20 [intro.progress] 18).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "host_driver/runtime/modelled/director.h"
#include "host_driver/runtime/modelled/fiber.h"
#include "proto/base/time.h"

namespace bmcpair::rt::inline modelled {

namespace detail {
class CrossCalls;
}

constexpr unsigned kTasksMax = 64;
constexpr unsigned kStoresKept = 6;  // of one location
constexpr unsigned kStoreSlots = 8;
constexpr Duration kSeenWithin = std::chrono::seconds(1);

// A vector clock; immutable once anybody else has a pointer to it. Lives until the run is over.
struct Clocks {
  std::array<uint32_t, kTasksMax> at;
};

// What a release hands over.
struct Stamp {
  const Clocks* known = nullptr;  // null: nothing
  TaskId task = 0;
  uint32_t epoch = 0;
};

// ---- tasks ---------------------------------------------------------------------------------------------------------

struct Task {
  enum class State : uint8_t { kReady, kBlocked, kDone };

  TaskId id = 0;
  State state = State::kReady;
  bool daemon = false;  // may wait for ever: nobody misses it at the end
  bool device = false;  // not of the host: a panic does not stop it
  bool frozen = false;  // stopped by a panic
  std::string name;
  Fiber fiber;
  std::function<void()> function;

  Instant wake_at = kNever;
  bool timed_out = false;
  const void* waits_on = nullptr;
  std::string_view waits_for;  // "mutex", "wait queue"...
  Site waits_at{std::string_view()};
  const std::function<bool()>* condition = nullptr;  // of a wait queue

  // Memory.
  uint32_t epoch = 1;
  Clocks* known = nullptr;
  bool known_shared = false;
  Stamp fence;            // of the last release fence
  Clocks* seen = nullptr;  // what relaxed loads would have acquired, for the next acquire fence

  std::vector<uint16_t> locks;  // held, in order
  Stamp end;
  unsigned rcu_sections = 0;
  int cpu = -1;  // its number among those that cross-call; -1: nobody has yet
  bool in_calls = false;
  unsigned interrupts_disabled = 0;
  bool in_panic = false;
};

// ---- memory --------------------------------------------------------------------------------------------------------

constexpr bool acquires(std::memory_order order) {
  return order == std::memory_order_acquire || order == std::memory_order_consume ||
         order == std::memory_order_acq_rel || order == std::memory_order_seq_cst;
}
constexpr bool releases(std::memory_order order) {
  return order == std::memory_order_release || order == std::memory_order_acq_rel ||
         order == std::memory_order_seq_cst;
}

struct Store {
  uint64_t value = 0;
  Stamp release;
  TaskId writer = 0;
  bool seq_cst = false;
  Instant seen_by_all{};
  // Of each task, its epoch when it first saw this store. A task that knows of such an epoch reads nothing older.
  std::array<uint32_t, kTasksMax> seen;
};

struct History {
  std::array<Store, kStoreSlots> ring;
  uint64_t newest = 0;  // counts up
  unsigned kept = 0;
  Store& at(uint64_t n) { return ring[n % kStoreSlots]; }
};

// An atomic variable. As long as every access is ordered after the newest store, it needs no history: only that store and the
// one before, for the first access that is not.
class World;
class Location {
 public:
  explicit Location(uint64_t value);
  Location(const Location&) = delete;
  Location& operator=(const Location&) = delete;

  uint64_t load(std::memory_order order, const Site& site) const;
  void store(uint64_t value, std::memory_order order, const Site& site);
  // f(old) is stored.
  template <class F>
  uint64_t update(std::memory_order order, const Site& site, F f) {
    const uint64_t old = begin_update(order, site);
    put(f(old), order, true);
    return old;
  }
  bool compare_exchange(uint64_t& expected, uint64_t desired, std::memory_order success, std::memory_order failure,
                        const Site& site);
  uint64_t newest() const { return newest_.value; }

 private:
  struct Plain {
    uint64_t value = 0;
    Stamp release;
    Instant seen_by_all{};
    uint32_t epoch = 0;
    TaskId writer = 0;
    bool seq_cst = false;
    bool there = true;
  };
  static uint32_t pick_store(History& h, std::memory_order order, const Site& site);
  World* enter_run() const;
  // Whether the running task knows of the newest store, so that nothing older is left to it.
  bool ordered(const World& w) const;
  uint64_t load_any(World& w, std::memory_order order, const Site& site) const;
  uint64_t begin_update(std::memory_order order, const Site& site);
  static void take(World& w, std::memory_order order, const Stamp& stamp);
  void acquire_newest(World& w, std::memory_order order);
  void put(uint64_t value, std::memory_order order, bool update);
  History& history() const;

  mutable Plain newest_;  // its value is right also where there is a history
  mutable Plain previous_;
  mutable History* history_ = nullptr;
  mutable uint64_t run_ = 0;  // that the rest belongs to
};

// Plain data that several tasks touch: the race detector's.
class Guarded {
 public:
  void read(const Site& site) const;
  void write(const Site& site);

 private:
  // Null outside of a world.
  World* enter_run() const;
  [[noreturn]] static void race(const char* what, const Site& site);
  mutable uint64_t run_ = 0;
  mutable TaskId writer_ = 0;
  mutable uint32_t write_epoch_ = 0;
  mutable std::vector<std::pair<TaskId, uint32_t>> reads_;
};

// ---- the world -----------------------------------------------------------------------------------------------------

struct WorldOptions {
  uint64_t steps_max = 200'000;
  Duration time_max = std::chrono::hours(2);
  bool story = false;
  bool stalls = true;  // whether a task may stall, for no reason
  // Told of each tracked object that ends: its memory must stay as it is until the run is over.
  void (*keep)(const void* object) = nullptr;
};

class World {
 public:
  enum class Side : uint8_t { kHost, kBmc, kBoth };
  using StoryFunction = std::function<void(Instant, uint64_t step, Side, std::string_view who, std::string text)>;

  World(Director& director, WorldOptions options, StoryFunction story = {});
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // Of the OS thread that runs it; null outside of a run.
  static World* current() { return current_; }

  // Runs main, and returns when it has returned or an oracle was violated. Once.
  void run(std::function<void()> main);
  const std::string& oracle() const { return oracle_; }
  const std::string& sentence() const { return sentence_; }
  uint64_t steps() const { return steps_; }
  uint64_t hash() const { return hash_; }
  Instant now() const { return now_; }
  uint64_t run_id() const { return run_id_; }

  // Ends the run. From a task.
  [[noreturn, gnu::cold]] void violate(std::string_view oracle, std::string sentence);
  // The same without a violation: there is nothing left to see. What is left unended is left on purpose.
  [[noreturn]] void stop() { finish(); }
  bool wants_story() const { return static_cast<bool>(story_); }
  [[gnu::cold]] void tell(Side side, std::string text);
  void note(uint64_t value) { hash_ = (hash_ ^ value) * 1099511628211ull; }

  // ---- for rt
  // A scheduling point.
  void point(const Site& site);
  // Others go first, if there are any, and time passes if there are none.
  void yield(const Site& site);
  void sleep_until(Instant deadline, const Site& site);
  void advance(Duration d) {
    now_ += d;
    if (now_ >= next_wake_) wake_due();
  }
  // Until woken; false when the deadline has passed first.
  bool block(const void* on, std::string_view what, const Site& site, Instant deadline);
  // Those blocked on it, or the first of them, become ready.
  void wake_all(const void* on) {
    if (waiters_[slot_of(on)] != 0) wake_waiters(on);
  }
  void wake_one(const void* on);
  // Of those blocked on it, this one.
  void wake(Task& task, const void* on);
  // If it is blocked on it, it goes on being so until then, and nobody needs to wake it for that. In the future.
  bool put_off(Task& task, const void* on, Instant deadline);
  bool anybody_waits(const void* on) const;
  uint32_t choose(Choice kind, uint32_t n, const Site& site) {
    if (n < 2 || quiet_) return 0;
    if (kind != Choice::kTask && book_->passes(kind, n, site)) {
      note(0);
      return 0;
    }
    return ask_director(kind, n, site);
  }
  // Until when a stall begun now lasts.
  Instant stall_until(uint32_t index) const;

  enum class Kind : uint8_t { kThread, kDaemon, kDevice };
  Task& start_task(std::string name, std::function<void()> function, Kind kind);
  // Until it has ended.
  void join(Task& task, const Site& site);
  Task& self() { return *running_; }
  TaskId self_id() const { return running_->id; }

  // Memory.
  Stamp release() {
    Task& t = *running_;
    t.known_shared = true;
    return {t.known, t.id, t.epoch++};
  }
  void acquire(const Stamp& stamp) {
    if (stamp.known && !knows(stamp.task, stamp.epoch)) combine(own_known(*running_), stamp);
  }
  // For the running task's next acquire fence.
  void remember(const Stamp& stamp);
  void fence(std::memory_order order);
  // Whether the running task knows of the epoch.
  bool knows(TaskId task, uint32_t epoch) const {
    return task == running_->id || running_->known->at[task] >= epoch;
  }
  History* new_history();

  // Locks, for their order.
  uint16_t new_lock(const Site& first_use);
  void locked(uint16_t lock, const Site& site) {
    auto& held = running_->locks;
    if (!held.empty()) check_order(lock, site);
    held.push_back(lock);
  }
  void unlocked(uint16_t lock) {
    auto& held = running_->locks;
    if (!held.empty() && held.back() == lock) {
      held.pop_back();
    } else {
      std::erase(held, lock);
    }
  }

  // Tracked objects.
  uint32_t track(std::string_view kind);
  void untrack(uint32_t id, std::string_view kind, const void* object);
  size_t tracked() const { return tracked_.size(); }

  // Fault points that may fire, each at most so often. Who comes by when one fires is held there for so long.
  void allow_fault(std::string name, unsigned times, Duration hold = {});
  bool fault(std::string_view name) { return (!faults_.empty() || !marks_.empty()) && at_fault_point(name); }
  // The fault point is a scheduling point from now on, also where it does not fire; how often it was passed since.
  void mark(std::string name);
  unsigned passed(std::string_view name) const;

  // Cross-calls and panic (cross_call.cc).
  bool cross_call(void (*function)(void*), void* argument, bool wait, Duration limit);
  void answer_calls() {
    if (calls_) run_calls();
  }
  // at_once: by an interrupt that nobody masks, so also who drives a machine is stopped in the middle of it.
  bool begin_panic(bool at_once = false);
  void end_panic();
  bool panicking() const { return panic_.begun; }

 private:
  friend class Location;

  uint32_t ask_director(Choice kind, uint32_t n, const Site& site);
  bool at_fault_point(std::string_view name);
  void decide(const Site& site);
  uint32_t pick_ready(uint32_t n, const Site& site);
  void wake_waiters(const void* on);
  static size_t slot_of(const void* on) {
    const auto at = reinterpret_cast<uintptr_t>(on);
    return (at >> 4 ^ at >> 10) % kWaiterSlots;
  }
  void switch_away(const Site& site);
  void run_task(Task& next);
  void make_ready(Task& task);
  void wake_due();
  void find_next_wake();
  // Everybody but the task that runs and the devices stops, until thaw().
  void freeze_others();
  void thaw();
  class InCalls;
  void start_calls();
  void enlist(Task& task);
  void fall_asleep(Task& task);
  void wake_up(Task& task);
  void park_if_panicking(Task& task);
  [[gnu::cold]] void run_calls();
  [[noreturn]] void finish();
  [[noreturn]] void no_end();
  [[noreturn]] void deadlock();
  void check_end();
  Clocks* new_clocks(const Clocks& as = {});
  Clocks* own_known(Task& task);
  void combine(Clocks* into, const Stamp& stamp);
  std::string who_waits() const;
  static void task_main(void* argument);

  static constinit thread_local World* current_;

  Director& director_;
  static ChoiceBook no_book_;  // of a director who wants to be asked always: nothing in it is tame, ever
  ChoiceBook* const book_;
  const WorldOptions options_;
  const uint32_t stalls_;
  const StoryFunction story_;
  const uint64_t run_id_;

  Fiber root_;
  std::vector<std::unique_ptr<Task>> tasks_;
  std::vector<Task*> ready_;  // in the order in which they became so; without the one that runs
  Task* running_ = nullptr;
  // How many tasks are blocked on what has that slot: mostly nobody waits for what somebody wakes.
  static constexpr size_t kWaiterSlots = 256;
  std::array<uint8_t, kWaiterSlots> waiters_{};
  Instant now_{};
  Instant next_wake_ = kNever;
  uint64_t steps_ = 0;
  uint64_t hash_ = 14695981039346656037ull;
  std::shared_ptr<detail::CrossCalls> calls_;  // null before the first
  struct Panic {
    bool begun = false;
    TaskId task = 0;
  };
  Panic panic_;
  bool over_ = false;
  bool quiet_ = false;  // of the task that runs: nothing is decided, and nobody else goes on unless it must wait
  std::string oracle_;
  std::string sentence_;
  std::vector<TaskId> ids_;

  std::vector<std::unique_ptr<Clocks[]>> clock_blocks_;
  size_t clocks_used_ = 0;
  std::vector<std::unique_ptr<History[]>> history_blocks_;
  size_t histories_used_ = 0;
  Clocks* sc_ = nullptr;

  struct Lock {
    Site first_use;
    std::vector<uint16_t> after;  // locks taken while this one was held
    uint16_t last_after = 0xffff;  // of them the one taken last
  };
  std::vector<Lock> locks_;
  bool lock_leads_to(uint16_t from, uint16_t to) const;
  void check_order(uint16_t lock, const Site& site);

  struct TrackedObject {
    uint32_t id;
    std::string_view kind;
  };
  std::vector<TrackedObject> tracked_;
  uint32_t tracked_ids_ = 0;
  struct FaultPoint {
    std::string name;
    unsigned times;
    Duration hold;
  };
  std::vector<FaultPoint> faults_;
  std::vector<std::pair<std::string, unsigned>> marks_;
};

// ---- inline: what a run does most ----------------------------------------------------------------------------------

inline World* Location::enter_run() const {
  World* w = World::current();
  if (w && run_ != w->run_id()) {
    run_ = w->run_id();
    history_ = nullptr;
    newest_ = {newest_.value, {}, w->now() + kSeenWithin, w->self().epoch, w->self_id(), false, true};
    previous_.there = false;
  }
  return w;
}

inline bool Location::ordered(const World& w) const { return w.knows(newest_.writer, newest_.epoch); }

// What a load with this order takes from the store that it reads.
inline void Location::take(World& w, std::memory_order order, const Stamp& stamp) {
  if (!stamp.known || w.knows(stamp.task, stamp.epoch)) return;
  if (acquires(order)) {
    w.acquire(stamp);
  } else {
    w.remember(stamp);
  }
}

}  // namespace bmcpair::rt::inline modelled
