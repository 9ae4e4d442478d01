// The modelled runtime against what the C++ memory model and its own contract say: small programs, every schedule and
// every readable value of them.
#include "host_driver/runtime/modelled/world.h"

#include <gtest/gtest.h>

#include <array>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "host_driver/runtime/runtime.h"

namespace bmcpair::rt {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Depth first through all choices that are not the tamest at most `unusual_max` times; stalls left out, they change the
// time only.
class Every final : public Director {
 public:
  explicit Every(unsigned unusual_max) : unusual_max_(unusual_max) {}
  uint32_t choose(Choice kind, uint32_t n, const Site&, std::span<const TaskId> tasks) override {
    if (kind == Choice::kTask) n = static_cast<uint32_t>(tasks.size());
    if (at_ == path_.size()) path_.push_back({0, unusual_ < unusual_max_ ? n : 1});
    const auto [picked, of] = path_[at_++];
    if (of > 1) {
      EXPECT_EQ(of, n) << "the run is not determined by its choices";
    }
    if (picked != 0) ++unusual_;
    return picked;
  }
  // False: there are no more.
  bool next() {
    at_ = 0;
    unusual_ = 0;
    while (!path_.empty() && path_.back().first + 1 == path_.back().second) path_.pop_back();
    if (path_.empty()) return false;
    ++path_.back().first;
    return true;
  }

 private:
  const unsigned unusual_max_;
  unsigned unusual_ = 0;
  size_t at_ = 0;
  std::vector<std::pair<uint32_t, uint32_t>> path_;
};

class Tame final : public Director {
 public:
  uint32_t choose(Choice, uint32_t, const Site&, std::span<const TaskId>) override { return 0; }
};

struct Ends {
  std::map<std::string, unsigned> oracles;
  unsigned schedules = 0;
};

template <class Program>
Ends every_schedule(Program program, unsigned unusual_max = 1000) {
  constexpr unsigned schedules_max = 200'000;
  Ends ends;
  Every director(unusual_max);
  do {
    World world(director, {});
    world.run([&] { program(); });
    ++ends.oracles[world.oracle()];
    ++ends.schedules;
  } while (director.next() && ends.schedules < schedules_max);
  EXPECT_LT(ends.schedules, schedules_max);
  return ends;
}

std::string tame(std::function<void()> program, std::string* sentence = nullptr) {
  Tame director;
  World world(director, {});
  world.run(std::move(program));
  if (sentence) *sentence = world.sentence();
  return world.oracle();
}

// ---- memory --------------------------------------------------------------------------------------------------------

// Threads a, b, c... that do this, from their start to their end.
template <class... F>
void together(F... functions) {
  std::array<Thread, sizeof...(F)> threads;
  size_t n = 0;
  ((threads[n].start(std::string(1, static_cast<char>('a' + n)), std::move(functions)), ++n), ...);
  for (Thread& thread : threads) thread.join();
}

std::set<std::pair<int, int>> message_passing(std::memory_order store, std::memory_order load) {
  std::set<std::pair<int, int>> seen;
  every_schedule([&] {
    Atomic<int> data(0), flag(0);
    int f = 0, d = 0;
    together(
        [&] {
          data.store(1, std::memory_order_relaxed);
          flag.store(1, store);
        },
        [&] {
          f = flag.load(load);
          d = data.load(std::memory_order_relaxed);
        });
    seen.insert({f, d});
  });
  return seen;
}

TEST(Memory, AReleaseThatIsAcquiredBringsWhatWasStoredBefore) {
  const auto seen = message_passing(std::memory_order_release, std::memory_order_acquire);
  EXPECT_TRUE(seen.contains({0, 0}));
  EXPECT_TRUE(seen.contains({0, 1}));
  EXPECT_TRUE(seen.contains({1, 1}));
  EXPECT_FALSE(seen.contains({1, 0}));
}

TEST(Memory, WithoutReleaseOrWithoutAcquireOldDataMayBeRead) {
  EXPECT_TRUE(message_passing(std::memory_order_relaxed, std::memory_order_acquire).contains({1, 0}));
  EXPECT_TRUE(message_passing(std::memory_order_release, std::memory_order_relaxed).contains({1, 0}));
}

TEST(Memory, AStoreIsSeenByEverybodyInTheEnd) {
  for (const bool later : {false, true}) {
    std::set<int> seen;
    every_schedule([&] {
      Atomic<int> data(0);
      int d = 0;
      together([&] { data.store(1, std::memory_order_relaxed); },
               [&] {
                 sleep_for(later ? kSeenWithin + milliseconds(1) : milliseconds(1));
                 d = data.load(std::memory_order_relaxed);
               });
      seen.insert(d);
    });
    EXPECT_EQ(seen, later ? (std::set<int>{1}) : (std::set<int>{0, 1}));
  }
}

TEST(Memory, FencesOrderWhatRelaxedAccessesDoNot) {
  std::set<std::pair<int, int>> seen;
  every_schedule([&] {
    Atomic<int> data(0), flag(0);
    int f = 0, d = 0;
    together(
        [&] {
          data.store(1, std::memory_order_relaxed);
          fence(std::memory_order_release);
          flag.store(1, std::memory_order_relaxed);
        },
        [&] {
          f = flag.load(std::memory_order_relaxed);
          fence(std::memory_order_acquire);
          d = data.load(std::memory_order_relaxed);
        });
    seen.insert({f, d});
  });
  EXPECT_TRUE(seen.contains({1, 1}));
  EXPECT_FALSE(seen.contains({1, 0}));
}

std::set<std::pair<int, int>> store_buffering(std::memory_order order) {
  std::set<std::pair<int, int>> seen;
  every_schedule([&] {
    Atomic<int> x(0), y(0);
    int rx = 0, ry = 0;
    const auto store = order == std::memory_order_seq_cst ? order : std::memory_order_release;
    const auto load = order == std::memory_order_seq_cst ? order : std::memory_order_acquire;
    together(
        [&] {
          x.store(1, store);
          ry = y.load(load);
        },
        [&] {
          y.store(1, store);
          rx = x.load(load);
        });
    seen.insert({rx, ry});
  });
  return seen;
}

TEST(Memory, OnlySequentialConsistencyForbidsThatBothMissTheOthersStore) {
  EXPECT_TRUE(store_buffering(std::memory_order_acq_rel).contains({0, 0}));
  EXPECT_FALSE(store_buffering(std::memory_order_seq_cst).contains({0, 0}));
}

TEST(Memory, SequentiallyConsistentFencesForbidItToo) {
  bool both = false;
  every_schedule([&] {
    Atomic<int> x(0), y(0);
    int rx = 0, ry = 0;
    together(
        [&] {
          x.store(1, std::memory_order_relaxed);
          fence(std::memory_order_seq_cst);
          ry = y.load(std::memory_order_relaxed);
        },
        [&] {
          y.store(1, std::memory_order_relaxed);
          fence(std::memory_order_seq_cst);
          rx = x.load(std::memory_order_relaxed);
        });
    both = both || (rx == 0 && ry == 0);
  });
  EXPECT_FALSE(both);
}

TEST(Memory, OneLocationIsNeverReadBackwards) {
  every_schedule([&] {
    Atomic<int> x(0);
    int first = 0, second = 0;
    together(
        [&] {
          x.store(1, std::memory_order_relaxed);
          x.store(2, std::memory_order_relaxed);
        },
        [&] {
          first = x.load(std::memory_order_relaxed);
          second = x.load(std::memory_order_relaxed);
        });
    EXPECT_LE(first, second);
  });
}

// What another has read and handed on is not read backwards either.
TEST(Memory, NorIsItByWhomItWasHandedOnTo) {
  every_schedule([&] {
    Atomic<int> x(0), flag(0);
    int first = 0, handed = 0, second = 0;
    together(
        [&] { x.store(1, std::memory_order_relaxed); },
        [&] {
          first = x.load(std::memory_order_relaxed);
          flag.store(1, std::memory_order_release);
        },
        [&] {
          handed = flag.load(std::memory_order_acquire);
          second = x.load(std::memory_order_relaxed);
        });
    if (handed == 1) {
      EXPECT_LE(first, second);
    }
  }, 5);
}

TEST(Memory, ReadModifyWritesLoseNothingAndGoOnWithTheReleaseSequence) {
  std::set<int> sums;
  bool stale = false;
  every_schedule([&] {
    Atomic<int> n(0), data(0);
    int saw = 0, d = 0;
    together(
        [&] {
          data.store(1, std::memory_order_relaxed);
          n.fetch_add(1, std::memory_order_release);
        },
        [&] { n.fetch_add(10, std::memory_order_relaxed); },
        [&] {
          saw = n.load(std::memory_order_acquire);
          d = data.load(std::memory_order_relaxed);
        });
    sums.insert(n.load(std::memory_order_relaxed));
    stale = stale || (saw % 10 == 1 && d == 0);
  }, 5);
  EXPECT_EQ(sums, std::set<int>{11});
  EXPECT_FALSE(stale);
}

TEST(Memory, AMutexOrdersWhatIsDoneUnderIt) {
  const Ends ends = every_schedule([&] {
    Mutex m;
    Shared<int> n(0);
    auto add = [&] {
      LockGuard lock(m);
      n.write() = n.read() + 1;
    };
    together(add, add);
    EXPECT_EQ(n.read(), 2);
  });
  EXPECT_EQ(ends.oracles.size(), 1u);
  EXPECT_TRUE(ends.oracles.contains(""));
  EXPECT_GT(ends.schedules, 1u);
}

// Who holds the lock sees what was stored under it, whoever looks without it may see that or less.
TEST(Memory, WhatIsStoredUnderALockByTurnsIsMissedOnlyByWhoDoesNotTakeIt) {
  std::set<std::pair<int, int>> seen;
  every_schedule([&] {
    Mutex m;
    Atomic<int> x(0);
    bool a_was_there = false;
    int first = 0, second = 0;
    together(
        [&] {
          LockGuard lock(m);
          x.store(1, std::memory_order_relaxed);
          a_was_there = true;
        },
        [&] {
          LockGuard lock(m);
          EXPECT_EQ(x.load(std::memory_order_relaxed), a_was_there ? 1 : 0);
          if (a_was_there) x.store(2, std::memory_order_relaxed);
        },
        [&] {
          first = x.load(std::memory_order_relaxed);
          second = x.load(std::memory_order_relaxed);
        });
    EXPECT_LE(first, second);
    seen.insert({first, second});
  }, 4);
  const std::set<std::pair<int, int>> all{{0, 0}, {0, 1}, {0, 2}, {1, 1}, {1, 2}, {2, 2}};
  EXPECT_EQ(seen, all);
}

TEST(Races, PlainDataWithoutOrderIsARaceInEverySchedule) {
  const Ends ends = every_schedule([&] {
    Shared<int> n(0);
    together([&] { n.write() = 1; }, [&] { n.read(); });
  });
  EXPECT_EQ(ends.oracles.size(), 1u);
  EXPECT_TRUE(ends.oracles.contains("race"));
}

TEST(Races, DataPublishedByARelaxedStoreIsARaceAndByAReleaseNot) {
  for (const bool release : {false, true}) {
    const Ends ends = every_schedule([&] {
      Shared<int> contents(0);
      Atomic<bool> there(false);
      together(
          [&] {
            contents.write() = 7;
            there.store(true, release ? std::memory_order_release : std::memory_order_relaxed);
          },
          [&] {
            if (there.load(std::memory_order_acquire)) {
              EXPECT_EQ(contents.read(), 7);
            }
          });
    });
    EXPECT_EQ(ends.oracles.contains("race"), !release);
  }
}

// ---- waiting -------------------------------------------------------------------------------------------------------

TEST(Waiting, AWakeThatComesBetweenTheLookAndTheWaitIsFound) {
  // The flag is set without the lock: the waiter has looked, and is not waiting yet.
  const Ends ends = every_schedule([&] {
    Mutex m;
    WaitQueue q;
    Atomic<bool> there(false);
    together(
        [&] {
          there.store(true, std::memory_order_release);
          q.wake_all();
        },
        [&] {
          UniqueLock lock(m);
          q.wait(lock, [&] { return there.load(std::memory_order_acquire); });
        });
  });
  EXPECT_TRUE(ends.oracles.contains("lost-wakeup"));
  EXPECT_TRUE(ends.oracles.contains(""));
}

TEST(Waiting, UnderTheLockNoWakeIsLost) {
  const Ends ends = every_schedule([&] {
    Mutex m;
    WaitQueue q;
    bool there = false;
    together(
        [&] {
          LockGuard lock(m);
          there = true;
          q.wake_all();
        },
        [&] {
          UniqueLock lock(m);
          q.wait(lock, [&] { return there; });
        });
  });
  EXPECT_EQ(ends.oracles.size(), 1u);
  EXPECT_TRUE(ends.oracles.contains(""));
}

TEST(Waiting, TwoLocksTakenBothWaysRoundAreADeadlockOrAtLeastAWrongOrder) {
  const Ends ends = every_schedule([&] {
    Mutex m, n;
    together(
        [&] {
          LockGuard a(m);
          LockGuard b(n);
        },
        [&] {
          LockGuard b(n);
          LockGuard a(m);
        });
  });
  EXPECT_TRUE(ends.oracles.contains("deadlock"));
  EXPECT_TRUE(ends.oracles.contains("lock-order"));
  EXPECT_FALSE(ends.oracles.contains(""));
}

TEST(Waiting, ALockTakenTwiceIsADeadlock) {
  EXPECT_EQ(tame([] {
              Mutex m;
              LockGuard a(m);
              LockGuard b(m);
            }),
            "deadlock");
}

TEST(Waiting, AnEndlessLoopHasAnEnd) {
  std::string sentence;
  EXPECT_EQ(tame([] {
              Atomic<bool> stop(false);
              while (!stop.load(std::memory_order_relaxed)) yield();
            },
                 &sentence),
            "no-end");
  EXPECT_NE(sentence.find("main"), std::string::npos);
}

// ---- time ----------------------------------------------------------------------------------------------------------

TEST(Time, JumpsToTheNextDeadline) {
  EXPECT_EQ(tame([] {
              const Instant t = now();
              std::vector<int> order;
              Timer late([&] { order.push_back(2); }), soon([&] { order.push_back(1); });
              late.arm(t + seconds(3));
              soon.arm(t + milliseconds(5));
              sleep_for(seconds(1));
              EXPECT_EQ(order, std::vector<int>{1});
              EXPECT_EQ(now() - t, seconds(1));
              sleep_for(seconds(10));
              EXPECT_EQ(order, (std::vector<int>{1, 2}));
            }),
            "");
}

TEST(Time, AWaitEndsAtItsDeadline) {
  EXPECT_EQ(tame([] {
              Mutex m;
              WaitQueue q;
              UniqueLock lock(m);
              const Instant t = now();
              EXPECT_FALSE(q.wait_until(lock, t + seconds(5), [] { return false; }));
              EXPECT_EQ(now(), t + seconds(5));
            }),
            "");
}

TEST(Time, ATimerRunsAtTheDeadlineThatItWasGivenLast) {
  const Ends ends = every_schedule([&] {
    const Instant t = now();
    std::vector<Instant> runs;
    Timer timer([&] { runs.push_back(now()); });
    timer.arm(t + seconds(1));
    sleep_for(milliseconds(100));
    timer.arm(t + seconds(3));  // later
    sleep_for(seconds(2));
    EXPECT_TRUE(runs.empty());
    timer.arm(t + milliseconds(2500));  // sooner
    sleep_for(milliseconds(600));
    EXPECT_EQ(runs, std::vector<Instant>{t + milliseconds(2500)});
    timer.arm(t + seconds(4));
    timer.cancel_nowait();
    sleep_for(seconds(5));
    EXPECT_EQ(runs.size(), 1u);
    timer.arm(t + seconds(9));  // after it was taken away
    sleep_for(seconds(9));
    EXPECT_EQ(runs, (std::vector<Instant>{t + milliseconds(2500), t + seconds(9)}));
  });
  EXPECT_EQ(ends.oracles.size(), 1u);
  EXPECT_TRUE(ends.oracles.contains(""));
}

TEST(Time, ATimerThatWasCancelledDoesNotRun) {
  const Ends ends = every_schedule([&] {
    unsigned runs = 0;
    bool cancelled = false;
    Timer t([&] {
      EXPECT_FALSE(cancelled);
      ++runs;
    });
    t.arm(now() + milliseconds(1));
    Thread other;
    other.start("other", [&] { sleep_for(milliseconds(1)); });
    sleep_for(milliseconds(1));
    t.cancel();
    cancelled = true;
    sleep_for(milliseconds(5));
    EXPECT_LE(runs, 1u);
    other.join();
  });
  EXPECT_EQ(ends.oracles.size(), 1u);
}

TEST(Time, AWorkRunsOnceForWhatWasAskedWhileItWasPending) {
  std::set<unsigned> runs_seen;
  every_schedule([&] {
    unsigned runs = 0;
    Work w([&] { ++runs; });
    w.schedule();
    w.schedule();
    w.flush();
    EXPECT_GE(runs, 1u);
    w.cancel_and_wait();
    runs_seen.insert(runs);
  });
  EXPECT_EQ(runs_seen, (std::set<unsigned>{1, 2}));
}

TEST(Time, AWorkMayEndItself) {
  EXPECT_EQ(tame([] {
              struct Owner {
                Owner() : work([this] { delete this; }) {}
                Work work;
              };
              auto* o = new Owner;
              o->work.schedule();
              sleep_for(milliseconds(1));
            }),
            "");
}

// ---- RCU -----------------------------------------------------------------------------------------------------------

TEST(RcuModel, NothingIsEndedUnderAReader) {
  for (const bool waits : {false, true}) {
    const Ends ends = every_schedule([&] {
      struct Node : Tracked {
        Node() : Tracked("node") {}
      };
      Rcu rcu;
      auto* first = new Node;
      Atomic<Node*> list(first);
      together(
          [&] {
            RcuReader section(rcu);
            if (Node* n = list.load(std::memory_order_acquire)) {
              yield();
              n->touch();
            }
          },
          [&] {
            list.store(nullptr, std::memory_order_release);
            if (waits) rcu.synchronize();
            first->~Node();
          });
      ::operator delete(first);
    });
    EXPECT_EQ(ends.oracles.contains("use-after-free"), !waits);
    EXPECT_TRUE(ends.oracles.contains(""));
  }
}

TEST(Objects, WhatIsNeverEndedIsALeakAndWhatEndsTwiceIsSaid) {
  struct Thing : Tracked {
    Thing() : Tracked("thing") {}
  };
  std::string sentence;
  std::unique_ptr<Thing> kept;
  EXPECT_EQ(tame([&] { kept = std::make_unique<Thing>(); }, &sentence), "leak");
  EXPECT_NE(sentence.find("thing"), std::string::npos);
  EXPECT_EQ(tame([&] {
              alignas(Thing) char memory[sizeof(Thing)];
              auto* t = new (memory) Thing;
              t->~Thing();
              t->~Thing();
            }),
            "double-free");
}

// ---- panic ---------------------------------------------------------------------------------------------------------

TEST(PanicModel, StopsTheOthersWhereverTheyStand) {
  std::set<int> values;
  every_schedule([&] {
    int n = 0;
    Thread t;
    t.start("t", [&] {
      for (int i = 0; i < 3; ++i) {
        ++n;
        yield();
      }
    });
    Atomic<int> dummy(0);
    dummy.store(1, std::memory_order_relaxed);
    EXPECT_TRUE(begin_panic());
    const int before = n;
    cpu_relax(milliseconds(50));
    EXPECT_EQ(n, before);
    values.insert(n);
    end_panic_for_test();
    t.join();
    EXPECT_EQ(n, 3);
  }, 3);
  EXPECT_TRUE(values.contains(0));
  EXPECT_TRUE(values.contains(1));
}

TEST(PanicModel, AWaitForAStoppedTasksLockIsSaid) {
  const Ends ends = every_schedule([&] {
    Mutex m;
    Thread t;
    t.start("t", [&] {
      LockGuard lock(m);
      yield();
    });
    yield();
    begin_panic();
    { LockGuard lock(m); }
    end_panic_for_test();
    t.join();
  }, 3);
  EXPECT_TRUE(ends.oracles.contains("panic-lock"));
}

TEST(FaultPoints, WhoComesByIsHeldWhereTheDirectorSaysSo) {
  std::set<Duration> took;
  const Ends ends = every_schedule([&] {
    World::current()->allow_fault("here", 1, milliseconds(5));
    const Instant begun = now();
    fault_point("here");
    fault_point("here");
    fault_point("elsewhere");
    took.insert(now() - begun);
  });
  EXPECT_EQ(took, (std::set<Duration>{Duration(0), milliseconds(5)}));
  EXPECT_EQ(ends.oracles.size(), 1u);
}

TEST(Exceptions, OneThatNobodyCaughtEndsTheRun) {
  std::string sentence;
  EXPECT_EQ(tame([] { throw std::runtime_error("the sky falls"); }, &sentence), "exception");
  EXPECT_NE(sentence.find("main ends with an exception that nobody caught: the sky falls"), std::string::npos) << sentence;
}

TEST(Determinism, TheSameChoicesGiveTheSameHash) {
  auto program = [] {
    Mutex m;
    int n = 0;
    auto add = [&] {
      for (int i = 0; i < 5; ++i) {
        LockGuard lock(m);
        ++n;
      }
    };
    together(add, add);
  };
  std::set<uint64_t> hashes;
  for (int i = 0; i < 2; ++i) {
    SeededChooser seeds(5);
    struct Random final : Director {
      explicit Random(Chooser& c) : chooser(c) {}
      uint32_t choose(Choice, uint32_t n, const Site& s, std::span<const TaskId>) override {
        return chooser.pick(n, s.name);
      }
      Chooser& chooser;
    } director(seeds);
    World world(director, {});
    world.run(program);
    hashes.insert(world.hash());
  }
  EXPECT_EQ(hashes.size(), 1u);
}

}  // namespace
}  // namespace bmcpair::rt
