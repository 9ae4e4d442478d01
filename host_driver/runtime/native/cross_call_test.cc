// Cross-calls and panic between threads. The queue below them: call_queue_test.cc.
#include <gtest/gtest.h>

#include "host_driver/runtime/runtime.h"

namespace bmcpair::rt {
namespace {

using std::chrono::seconds;

// A thread that runs (does not block) until told to stop, and can be waited for to have begun.
class Runner {
 public:
  Runner() {
    thread_.start("runner", [this] {
      started_.store(true, std::memory_order_release);
      while (!stop_.load(std::memory_order_acquire)) {
        turns_.fetch_add(1, std::memory_order_relaxed);
        cpu_relax(std::chrono::microseconds(1));
      }
    });
    while (!started_.load(std::memory_order_acquire)) cpu_relax(std::chrono::microseconds(10));
  }
  ~Runner() {
    stop_.store(true, std::memory_order_release);
    thread_.join();
  }
  unsigned turns() const { return turns_.load(std::memory_order_relaxed); }

 private:
  Atomic<bool> started_{false}, stop_{false};
  Atomic<unsigned> turns_{0};
  Thread thread_;
};

TEST(CrossCall, RunsOnEveryOtherCpuAndNotOnTheCaller) {
  Runner runners[3];
  Cpu self;
  static Atomic<unsigned> runs(0);
  static thread_local bool caller = false;
  caller = true;
  EXPECT_TRUE(cross_call(
      [](void*) {
        EXPECT_FALSE(caller);
        runs.fetch_add(1, std::memory_order_relaxed);
      },
      nullptr, CrossCall::kWait, seconds(30)));
  EXPECT_GE(runs.load(std::memory_order_relaxed), 3u);
}

TEST(CrossCall, TwoThatCallEachOtherBothReturn) {
  static Atomic<unsigned> runs(0);
  Thread threads[2];
  for (Thread& t : threads) {
    t.start("caller", [] {
      for (int i = 0; i < 200; ++i) {
        EXPECT_TRUE(cross_call([](void*) { runs.fetch_add(1, std::memory_order_relaxed); }, nullptr,
                               CrossCall::kWait, seconds(30)));
      }
    });
  }
  for (Thread& t : threads) t.join();
}

TEST(CrossCall, DoesNotWaitForACpuThatBlocks) {
  Mutex gate;
  gate.lock();
  Thread blocked;
  Atomic<bool> there(false);
  blocked.start("blocked", [&] {
    there.store(true, std::memory_order_release);
    LockGuard wait(gate);
  });
  while (!there.load(std::memory_order_acquire)) cpu_relax(std::chrono::microseconds(10));
  EXPECT_TRUE(cross_call([](void*) {}, nullptr, CrossCall::kWait, seconds(30)));
  gate.unlock();
  blocked.join();
}

TEST(Panic, StopsTheOthersAndIsBegunOnce) {
  Runner runners[2];
  EXPECT_FALSE(panicking());
  ASSERT_TRUE(begin_panic());
  EXPECT_TRUE(panicking());
  EXPECT_TRUE(in_panic_context());
  EXPECT_FALSE(begin_panic());
  const unsigned before[] = {runners[0].turns(), runners[1].turns()};
  cpu_relax(std::chrono::milliseconds(2));
  EXPECT_EQ(runners[0].turns(), before[0]);
  EXPECT_EQ(runners[1].turns(), before[1]);
  end_panic_for_test();
  EXPECT_FALSE(panicking());
  EXPECT_FALSE(in_panic_context());
}

}  // namespace
}  // namespace bmcpair::rt
