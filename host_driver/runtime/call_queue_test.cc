// Reference H.1: the invariants H3-1 to H3-6 and the stories S3-A to S3-C, step by step and in a storm of threads.
#include "host_driver/runtime/call_queue.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

#include "host_driver/runtime/runtime.h"

namespace bmcpair::rt {
namespace {

using detail::CallQueue;
using detail::CallVariant;
using detail::CpuMask;

CpuMask mask_of(std::initializer_list<unsigned> cpus) {
  CpuMask mask;
  for (unsigned cpu : cpus) mask.set(cpu);
  return mask;
}

void count_up(void* argument) { ++*static_cast<int*>(argument); }

void post(CallQueue& queue, CallQueue::Element& e, int& counter, std::initializer_list<unsigned> cpus) {
  ASSERT_TRUE(queue.try_acquire(e));
  queue.post(e, count_up, &counter, [&] { return mask_of(cpus); });
}

// CPU 0 posted E0 to {1,2,3}; 2 and 3 ran it; CPU 3 posted E3, another E4 to 2. CPU 2 stands on E0 while CPU 1 finishes it and
// CPU 0 uses it again for {1,3}. Whether CPU 2 runs E4 before its handler returns:
bool story_a(CallVariant::Insertion insertion) {
  CallVariant variant;
  variant.insertion = insertion;
  CallQueue queue(variant);
  CallQueue::Element e0, e3, e4;
  int n0 = 0, n3 = 0, n4 = 0, again = 0;
  post(queue, e0, n0, {1, 2, 3});
  queue.receive(2);
  queue.receive(3);
  post(queue, e3, n3, {0, 1});
  post(queue, e4, n4, {2});
  CallQueue::Walk cpu2(queue, 2);
  // With tail insertion E0 is what CPU 2 meets first; with head insertion it walks up to it, and runs E4 on its way.
  while (cpu2.at() != &e0) {
    cpu2.visit();
    cpu2.advance();
  }
  queue.receive(1);  // E0's last receiver, and E3's first
  EXPECT_FALSE(e0.busy.load(std::memory_order_acquire));
  post(queue, e0, again, {1, 3});
  for (; !cpu2.done(); cpu2.advance()) cpu2.visit();
  EXPECT_EQ(n0, 3);
  const bool reached = n4 == 1;
  queue.receive(0);
  queue.receive(1);
  queue.receive(2);
  queue.receive(3);
  EXPECT_EQ(again, 2);
  EXPECT_EQ(n3, 2);
  EXPECT_EQ(n4, 1);
  return reached;
}

TEST(CrossCallQueue, TailInsertionLosesWhatWasBehindTheReusedElement) {
  EXPECT_FALSE(story_a(CallVariant::Insertion::kTail));
}

TEST(CrossCallQueue, HeadInsertionKeepsEveryElementInReach) { EXPECT_TRUE(story_a(CallVariant::Insertion::kHead)); }

// S3-B: the receiver meets elements twice and runs each once.
TEST(CrossCallQueue, ARepeatedVisitDoesNotRunAnElementTwice) {
  CallQueue queue;
  CallQueue::Element e0, e3;
  int n0 = 0, n3 = 0, again = 0;
  post(queue, e0, n0, {1});
  post(queue, e3, n3, {1, 2});
  CallQueue::Walk cpu2(queue, 2);
  cpu2.visit();  // E3
  cpu2.advance();
  ASSERT_EQ(cpu2.at(), &e0);
  queue.receive(1);  // E3 and E0 are through
  post(queue, e3, again, {2, 1});
  post(queue, e0, again, {2, 1});
  unsigned visits = 0;
  for (; !cpu2.done(); cpu2.advance(), ++visits) cpu2.visit();
  EXPECT_EQ(visits, 2u);
  EXPECT_EQ(n3, 2);
  EXPECT_EQ(again, 2);  // both, once each, in the same pass
  queue.receive(2);
  queue.receive(1);
  EXPECT_EQ(again, 4);
}

// S3-C: removed and queued again twice, with others in between.
TEST(CrossCallQueue, AnElementQueuedAgainTwiceStillLeadsToTheOldRest) {
  CallQueue queue;
  CallQueue::Element old, e0, between;
  int n_old = 0, n0 = 0, n_between = 0;
  post(queue, old, n_old, {2});
  post(queue, e0, n0, {1});
  CallQueue::Walk cpu2(queue, 2);
  ASSERT_EQ(cpu2.at(), &e0);
  for (int i = 0; i < 2; ++i) {
    queue.receive(1);
    post(queue, between, n_between, {1});
    post(queue, e0, n0, {1});
  }
  for (; !cpu2.done(); cpu2.advance()) cpu2.visit();
  EXPECT_EQ(n_old, 1);
  queue.receive(1);
  EXPECT_EQ(n0, 3);
  EXPECT_EQ(n_between, 2);
}

TEST(CrossCallQueue, AnElementInUseIsNotAcquired) {
  CallQueue queue;
  CallQueue::Element e;
  int n = 0;
  post(queue, e, n, {1});
  EXPECT_FALSE(queue.try_acquire(e));
  queue.receive(1);
  EXPECT_TRUE(queue.try_acquire(e));
}

TEST(CrossCallQueue, APostToNobodyReleasesItsElement) {
  CallQueue queue;
  CallQueue::Element e;
  int n = 0;
  post(queue, e, n, {});
  EXPECT_TRUE(queue.try_acquire(e));
}

TEST(CrossCallQueue, AReceiverStandingOnAnElementRunsItsNextLifeAtMostOnce) {
  CallQueue queue;
  CallQueue::Element e;
  int n = 0;
  post(queue, e, n, {1});
  CallQueue::Walk cpu2(queue, 2);
  queue.receive(1);
  post(queue, e, n, {2});
  cpu2.visit();
  EXPECT_EQ(n, 2);
  EXPECT_FALSE(e.busy.load(std::memory_order_acquire));
  cpu2.visit();
  queue.receive(2);
  EXPECT_EQ(n, 2);
}

TEST(CrossCallQueue, ARevokedRequestDoesNotRun) {
  CallQueue queue;
  CallQueue::Element e;
  int n = 0;
  post(queue, e, n, {1, 2});
  EXPECT_TRUE(queue.revoke(e, 2));
  EXPECT_FALSE(queue.revoke(e, 2));
  queue.receive(2);
  queue.receive(1);
  EXPECT_EQ(n, 1);
  EXPECT_FALSE(e.busy.load(std::memory_order_acquire));
}

// What each rule is there for: without it, this happens.
TEST(CrossCallQueue, WithoutTheBusyFlagAnElementIsTakenAgainUnderItsReceivers) {
  CallVariant variant;
  variant.heeds_busy = false;
  CallQueue queue(variant);
  CallQueue::Element e;
  int n = 0;
  post(queue, e, n, {1});
  EXPECT_TRUE(queue.try_acquire(e));
}

TEST(CrossCallQueue, AReceiverThatKeepsItsBitRunsTwiceAndReleasesTheElementForAnother) {
  CallVariant variant;
  variant.clears_own_bit = false;
  CallQueue queue(variant);
  CallQueue::Element e;
  int n = 0;
  post(queue, e, n, {1, 2});
  queue.receive(2);
  queue.receive(2);
  EXPECT_EQ(n, 2);
  EXPECT_TRUE(queue.try_acquire(e));
}

TEST(CrossCallQueue, AnElementInUseIsNotAcquiredWithoutABarrierEither) {
  CallVariant variant;
  variant.acquires = false;
  CallQueue queue(variant);
  CallQueue::Element e;
  int n = 0;
  post(queue, e, n, {1});
  EXPECT_FALSE(queue.try_acquire(e));
  queue.receive(1);
  EXPECT_TRUE(queue.try_acquire(e));
}

// Originators that reuse their elements as fast as they can, receivers that walk all the time: every request is run exactly
// once by each of its targets, with the payload it was posted with. (A data race on the payload is ThreadSanitizer's to find.)
TEST(CrossCallQueue, InAStormEveryTargetRunsEveryRequestOnce) {
  constexpr unsigned kOriginators = 2, kReceivers = 3, kPosts = 200;
  CallQueue queue;
  CallQueue::Element elements[kOriginators];
  struct Payload {
    Atomic<unsigned> runs;
  };
  std::vector<std::unique_ptr<Payload[]>> payloads;
  for (unsigned o = 0; o < kOriginators; ++o) payloads.push_back(std::make_unique<Payload[]>(kPosts));
  Atomic<bool> stop(false);
  Thread originators[kOriginators], receivers[kReceivers];
  for (unsigned r = 0; r < kReceivers; ++r) {
    receivers[r].start("receiver", [&, r] {
      while (!stop.load(std::memory_order_acquire)) {
        queue.receive(r);
        std::this_thread::yield();
      }
      queue.receive(r);
    });
  }
  for (unsigned o = 0; o < kOriginators; ++o) {
    originators[o].start("originator", [&, o] {
      for (unsigned i = 0; i < kPosts; ++i) {
        while (!queue.try_acquire(elements[o])) std::this_thread::yield();
        queue.post(
            elements[o],
            [](void* p) { static_cast<Payload*>(p)->runs.fetch_add(1, std::memory_order_relaxed); },
            &payloads[o][i], [] { return mask_of({0, 1, 2}); });
      }
      while (elements[o].busy.load(std::memory_order_acquire)) std::this_thread::yield();
    });
  }
  for (Thread& t : originators) t.join();
  stop.store(true, std::memory_order_release);
  for (Thread& t : receivers) t.join();
  for (unsigned o = 0; o < kOriginators; ++o) {
    for (unsigned i = 0; i < kPosts; ++i) {
      EXPECT_EQ(payloads[o][i].runs.load(std::memory_order_relaxed), kReceivers);
    }
  }
}

}  // namespace
}  // namespace bmcpair::rt
