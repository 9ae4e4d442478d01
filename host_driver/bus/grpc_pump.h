// One completion queue for all gRPC ports of the process, and who turns its crank.
//
// A thread that waits for its own answer polls the queue itself ("leads"): between its request and its answer there is
// then no other thread to wake, which halves the round trip of gRPC's callback interface here. Threads that find a
// leader wait beside it and are woken by it. While nobody waits, one background thread leads, blocked in the queue and
// costing nothing; it steps aside when threads begin to wait and comes back when they have stopped. It is also where
// posted writes that nothing followed are flushed, where handlers are called, and where timers run.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include <grpcpp/completion_queue.h>

#include "proto/base/time.h"

namespace bmcpair::bus {

class Pump {
 public:
  // A tag in the queue. complete() is called by one thread at a time in the whole process; it must not block.
  class Event {
   public:
    virtual ~Event() = default;
    virtual void complete(bool ok) = 0;

    // What gRPC gets, each time. That what was done before this happens before complete() is gRPC's doing already; it
    // is said once more here for ThreadSanitizer, which cannot see into gRPC.
    void* tag() {
      given_.fetch_add(1, std::memory_order_release);
      return this;
    }

   private:
    friend class Pump;
    static void dispatch(void* tag, bool ok) {
      Event* event = static_cast<Event*>(tag);
      (void)event->given_.load(std::memory_order_acquire);
      event->complete(ok);
    }
    std::atomic<uint32_t> given_{0};
  };

  // What a thread waits for. signal() once.
  class Waiter {
   public:
    bool done() const { return done_.load(std::memory_order_acquire); }

   private:
    friend class Pump;
    std::atomic<bool> done_{false};
    std::condition_variable changed_;
  };

  // Something whose posted writes can be sent now.
  class Flushable {
   public:
    virtual ~Flushable() = default;
    virtual void flush() = 0;
  };

  static Pump& instance();  // made at first use, never destroyed

  grpc::CompletionQueue* queue() { return &queue_; }
  // Monotonic.
  static Instant now();

  // False when the time was up first. Then the waiter must be made unreachable before it goes.
  bool wait(Waiter& waiter, Instant until);
  // The waiter itself may be the one that is blocked in the queue: only from complete(), or with an event to come.
  void signal(Waiter& waiter);

  // False: send it now yourself, the background thread is blocked in the queue and would not see it.
  bool cork(const std::shared_ptr<Flushable>& flushable);

  // On the background thread, in order. Bounded by its callers.
  void call(std::function<void()> f);
  // On the background thread at `when`; returns an id for cancel().
  uint64_t at(Instant when, std::function<void()> f);
  // It does not run afterwards, unless it is running.
  void cancel(uint64_t timer);
  bool on_background_thread() const;

 private:
  Pump();
  void background();
  // With the lock held and no leader: leads until the waiter is done or the time is up.
  void lead(std::unique_lock<std::mutex>& lock, const Waiter* waiter, Instant until);
  void hand_over();
  void kick();

  grpc::CompletionQueue queue_;
  std::mutex mutex_;
  bool led_ = false;             // somebody is polling or completing
  bool background_leads_ = false;
  std::list<Waiter*> followers_;
  std::vector<std::shared_ptr<Flushable>> corked_;
  std::deque<std::function<void()>> calls_;
  std::map<std::pair<Instant, uint64_t>, std::function<void()>> timers_;
  uint64_t next_timer_ = 1;
  uint64_t activity_ = 0;        // waits and corks
  std::condition_variable background_;
};

}  // namespace bmcpair::bus
