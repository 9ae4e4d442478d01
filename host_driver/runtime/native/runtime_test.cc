#include "host_driver/runtime/runtime.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace bmcpair::rt {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// A counter that can be waited for, with a deadline that only a failure meets.
class Count {
 public:
  void add() {
    LockGuard lock(m_);
    ++n_;
    changed_.wake_all();
  }
  int value() {
    LockGuard lock(m_);
    return n_;
  }
  bool reaches(int n) {
    UniqueLock lock(m_);
    return changed_.wait_until(lock, now() + seconds(30), [&] { return n_ >= n; });
  }

 private:
  Mutex m_;
  WaitQueue changed_;
  int n_ = 0;
};

TEST(WaitQueue, GivesTheValueOfThePredicateWhenTheDeadlinePasses) {
  Mutex m;
  WaitQueue queue;
  UniqueLock lock(m);
  EXPECT_FALSE(queue.wait_until(lock, now() - seconds(1), [] { return false; }));
  EXPECT_TRUE(queue.wait_until(lock, now() - seconds(1), [] { return true; }));
}

TEST(Timer, RunsItsCallbackOnceAnArming) {
  Count count;
  Timer timer([&] { count.add(); });
  timer.arm(now());
  ASSERT_TRUE(count.reaches(1));
  timer.cancel();
  EXPECT_EQ(count.value(), 1);
  EXPECT_FALSE(timer.armed());
}

TEST(Timer, ALaterArmingReplacesAnEarlierOne) {
  Count count;
  Timer timer([&] { count.add(); });
  timer.arm(now() + seconds(3600));
  EXPECT_TRUE(timer.armed());
  timer.arm(now());
  ASSERT_TRUE(count.reaches(1));
  EXPECT_FALSE(timer.armed());
}

TEST(Timer, CancelTakesADeadlineAwayAndSaysSo) {
  Timer timer([] { FAIL() << "was cancelled"; });
  timer.arm(now() + seconds(3600));
  EXPECT_TRUE(timer.cancel());
  EXPECT_FALSE(timer.cancel());
  EXPECT_FALSE(timer.cancel_nowait());
}

TEST(Timer, CancelWaitsForTheRunningCallbackEvenWhenThatArmsAgain) {
  Count started;
  Mutex gate;
  gate.lock();
  Atomic<bool> over(false);
  std::unique_ptr<Timer> timer;
  timer = std::make_unique<Timer>([&] {
    started.add();
    LockGuard wait(gate);
    timer->arm(now());
    over.store(true, std::memory_order_relaxed);
  });
  timer->arm(now());
  ASSERT_TRUE(started.reaches(1));
  Thread canceller;
  canceller.start("canceller", [&] {
    timer->cancel();
    EXPECT_TRUE(over.load(std::memory_order_relaxed));
  });
  gate.unlock();
  canceller.join();
  EXPECT_FALSE(timer->armed());
}

TEST(Timer, ItsCallbackMayArmItCancelItAndDestroyIt) {
  Count count;
  Timer* timer = nullptr;
  timer = new Timer([&] {
    count.add();
    if (count.value() < 3) {
      timer->arm(now());
      EXPECT_TRUE(timer->cancel());
      timer->arm(now());
    } else {
      Count& alive = count;
      delete timer;
      alive.add();
    }
  });
  timer->arm(now());
  EXPECT_TRUE(count.reaches(4));
}

TEST(Timer, OneThatBlocksDoesNotHoldUpTheOthers) {
  Mutex gate;
  gate.lock();
  Count blocked, free;
  std::vector<std::unique_ptr<Timer>> slow;
  for (int i = 0; i < 20; ++i) {
    slow.push_back(std::make_unique<Timer>([&] {
      blocked.add();
      LockGuard wait(gate);
    }));
    slow.back()->arm(now());
  }
  ASSERT_TRUE(blocked.reaches(20));
  Timer quick([&] { free.add(); });
  quick.arm(now());
  EXPECT_TRUE(free.reaches(1));
  gate.unlock();
}

TEST(Timer, AThousandRunOnABoundedNumberOfThreads) {
  Count count;
  std::vector<std::unique_ptr<Timer>> timers;
  for (int i = 0; i < 1000; ++i) {
    timers.push_back(std::make_unique<Timer>([&] { count.add(); }));
    timers.back()->arm(now() + milliseconds(i % 7));
  }
  EXPECT_TRUE(count.reaches(1000));
  EXPECT_LE(pool_statistics().workers_peak, kWorkersMax);
}

TEST(Work, CoalescesWhilePendingAndRunsOnceMoreWhenScheduledWhileRunning) {
  Mutex gate;
  gate.lock();
  Count begun, ended;
  Work work([&] {
    begun.add();
    LockGuard wait(gate);
    ended.add();
  });
  EXPECT_TRUE(work.schedule());
  ASSERT_TRUE(begun.reaches(1));
  EXPECT_TRUE(work.schedule());
  EXPECT_FALSE(work.schedule());
  EXPECT_FALSE(work.schedule());
  EXPECT_EQ(ended.value(), 0);
  gate.unlock();
  work.flush();
  EXPECT_EQ(ended.value(), 2);
}

TEST(Work, NeverRunsTwiceAtATime) {
  Atomic<int> inside(0);
  Count runs;
  Work work([&] {
    EXPECT_EQ(inside.fetch_add(1, std::memory_order_relaxed), 0);
    runs.add();
    inside.fetch_sub(1, std::memory_order_relaxed);
  });
  Thread threads[4];
  for (Thread& t : threads) {
    t.start("scheduler", [&] {
      for (int i = 0; i < 500; ++i) work.schedule();
    });
  }
  for (Thread& t : threads) t.join();
  work.flush();
  EXPECT_GE(runs.value(), 1);
}

TEST(Work, AfterCancelAndWaitItDoesNotRun) {
  for (int i = 0; i < 200; ++i) {
    Atomic<bool> cancelled(false);
    Work work([&] { EXPECT_FALSE(cancelled.load(std::memory_order_relaxed)); });
    work.schedule();
    work.cancel_and_wait();
    cancelled.store(true, std::memory_order_relaxed);
  }
}

TEST(Rcu, SynchronizeWaitsForASectionThatBeganBeforeIt) {
  Rcu rcu;
  Count inside, synchronized;
  Mutex gate;
  gate.lock();
  Thread reader, writer;
  Atomic<bool> left(false);
  reader.start("reader", [&] {
    RcuReader section(rcu);
    inside.add();
    LockGuard wait(gate);
    left.store(true, std::memory_order_relaxed);
  });
  ASSERT_TRUE(inside.reaches(1));
  writer.start("writer", [&] {
    rcu.synchronize();
    EXPECT_TRUE(left.load(std::memory_order_relaxed));
    synchronized.add();
  });
  gate.unlock();
  EXPECT_TRUE(synchronized.reaches(1));
  reader.join();
  writer.join();
}

TEST(Rcu, SynchronizeDoesNotWaitForASectionThatBeganAfterIt) {
  Rcu rcu;
  Count old_inside, new_inside, synchronized;
  Mutex old_gate, new_gate;
  old_gate.lock();
  new_gate.lock();
  Thread old_reader, new_reader, writer;
  old_reader.start("old", [&] {
    RcuReader section(rcu);
    old_inside.add();
    LockGuard wait(old_gate);
  });
  ASSERT_TRUE(old_inside.reaches(1));
  writer.start("writer", [&] {
    rcu.synchronize();
    synchronized.add();
  });
  // New sections until one is on the new side of the turn; every one of them may stay.
  std::vector<std::unique_ptr<Thread>> readers;
  new_reader.start("new", [&] {
    // Short sections do not keep a waiting synchronize() from ending, however many there are.
    for (int i = 0; i < 2000; ++i) RcuReader section(rcu);
    new_inside.add();
    LockGuard wait(new_gate);
  });
  ASSERT_TRUE(new_inside.reaches(1));
  EXPECT_EQ(synchronized.value(), 0);
  old_gate.unlock();
  EXPECT_TRUE(synchronized.reaches(1));
  new_gate.unlock();
  old_reader.join();
  new_reader.join();
  writer.join();
}

TEST(Rcu, SectionsNestAlsoAcrossASynchronizeOfAnotherThread) {
  Rcu rcu, other;
  Count synchronized;
  Thread writer;
  {
    RcuReader outer(rcu);
    writer.start("writer", [&] {
      rcu.synchronize();
      synchronized.add();
    });
    {
      RcuReader inner(rcu);
      RcuReader elsewhere(other);
    }
    EXPECT_EQ(synchronized.value(), 0);
  }
  EXPECT_TRUE(synchronized.reaches(1));
  writer.join();
}

TEST(Rcu, DomainsDoNotWaitForEachOther) {
  Rcu mine, other;
  RcuReader section(other);
  mine.synchronize();
}

TEST(RcuDeathTest, SynchronizeInsideASectionOfTheSameDomainIsOurOwnMistake) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Rcu rcu;
  EXPECT_DEATH(
      {
        RcuReader section(rcu);
        rcu.synchronize();
      },
      "inside a section of the same domain");
}

// The use that the driver makes of it: unlink, synchronize, free; also of the domain itself.
TEST(Rcu, WhatIsFreedAfterSynchronizeIsReadByNobody) {
  struct Value {
    int a, b;
  };
  Rcu rcu;
  Atomic<Value*> shared(new Value{0, 0});
  Atomic<bool> stop(false);
  Thread readers[3];
  for (Thread& t : readers) {
    t.start("reader", [&] {
      while (!stop.load(std::memory_order_relaxed)) {
        RcuReader section(rcu);
        const Value* v = shared.load(std::memory_order_acquire);
        EXPECT_EQ(v->a, v->b);
      }
    });
  }
  for (int i = 1; i <= 300; ++i) {
    Value* old = shared.exchange(new Value{i, i}, std::memory_order_acq_rel);
    rcu.synchronize();
    old->a = -1;  // a reader still here is a data race, and a failure
    delete old;
  }
  stop.store(true, std::memory_order_relaxed);
  for (Thread& t : readers) t.join();
  delete shared.load(std::memory_order_relaxed);
}

TEST(Rcu, TheDomainMayGoAsSoonAsSynchronizeReturns) {
  for (int i = 0; i < 300; ++i) {
    auto rcu = std::make_unique<Rcu>();
    Count inside;
    Thread reader;
    reader.start("reader", [&] {
      RcuReader section(*rcu);
      inside.add();
    });
    ASSERT_TRUE(inside.reaches(1));
    rcu->synchronize();
    rcu.reset();
    reader.join();
  }
}

TEST(FaultPoint, IsFalseUntilAHookAsksForIt) {
  EXPECT_FALSE(fault_point("allocation"));
  struct Hook : FaultHook {
    bool fires(std::string_view name) override { return name == "allocation"; }
  } hook;
  set_fault_hook(&hook);
  EXPECT_TRUE(fault_point("allocation"));
  EXPECT_FALSE(fault_point("other"));
  set_fault_hook(nullptr);
  EXPECT_FALSE(fault_point("allocation"));
}

}  // namespace
}  // namespace bmcpair::rt
