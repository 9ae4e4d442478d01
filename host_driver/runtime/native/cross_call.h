// The queue below rt::cross_call: one element an originator, receivers that walk without a lock (reference H.1).
//
// H3-1  acquire() before the payload is written: an element still in use is not touched.
// H3-2  acquire() is a read-modify-write with acquire order, so the payload's stores cannot move before it, whether
//       or not it had to wait.
// H3-3  the receiver that finishes last clears `busy` with release order, after every receiver counted itself out
//       under the element's lock.
// H3-4  a receiver tests and clears its own bit under the element's lock: at most one execution an enqueue.
// H3-5, H3-6  an element enters at the head and keeps its forward pointer when it leaves. A receiver that stands on an
//       element which leaves and comes back walks on from the new head, and so reaches whatever it would have reached.
// The payload is written and the element linked under both locks: a receiver still standing on the element from its
// last life cannot run it, and even take it off the list, before it is on the list.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace bmcpair::rt::inline native::detail {

class SpinLock {
 public:
  void lock();
  void unlock() { held_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool> held_{false};
};

struct CpuMask {
  std::array<uint64_t, 4> words{};
  void set(unsigned cpu) { words[cpu / 64] |= uint64_t{1} << cpu % 64; }
  void clear(unsigned cpu) { words[cpu / 64] &= ~(uint64_t{1} << cpu % 64); }
  bool test(unsigned cpu) const { return words[cpu / 64] >> cpu % 64 & 1; }
  unsigned count() const;
};

class CallQueue {
 public:
  enum class Insertion { kHead, kTail };  // kTail only to show what it breaks (S3-A)

  struct Element {
    std::atomic<bool> busy{false};
    std::atomic<Element*> next{nullptr};
    SpinLock lock;
    // Under lock:
    CpuMask wanted;   // has not begun
    unsigned refs = 0;  // has not finished
    void (*function)(void*) = nullptr;
    void* argument = nullptr;
  };

  explicit CallQueue(Insertion insertion = Insertion::kHead) : insertion_(insertion) {}

  // The "csd lock". False when the element is still in use.
  static bool try_acquire(Element& e) { return !e.busy.exchange(true, std::memory_order_acq_rel); }
  // Of an acquired element. targets() is called under the list's lock; no targets releases the element at once.
  template <class Targets>
  CpuMask post(Element& e, void (*function)(void*), void* argument, Targets targets) {
    list_lock_.lock();
    const CpuMask mask = targets();
    link(e, function, argument, mask);
    list_lock_.unlock();
    return mask;
  }
  // Takes the request back from a target that has not begun. False: it has.
  bool revoke(Element& e, unsigned cpu);
  // Runs change() under the list's lock: no post() is computing its targets meanwhile.
  template <class Change>
  void exclusive(Change change) {
    list_lock_.lock();
    change();
    list_lock_.unlock();
  }

  // One receiver's pass over the list.
  class Walk {
   public:
    Walk(CallQueue& queue, unsigned cpu)
        : queue_(queue), cpu_(cpu), at_(queue.head_.load(std::memory_order_acquire)) {}
    bool done() const { return !at_; }
    Element* at() const { return at_; }
    void visit() { queue_.run(*at_, cpu_); }
    void advance() { at_ = at_->next.load(std::memory_order_acquire); }

   private:
    CallQueue& queue_;
    unsigned cpu_;
    Element* at_;
  };

  void receive(unsigned cpu) {
    for (Walk w(*this, cpu); !w.done(); w.advance()) w.visit();
  }

 private:
  void link(Element& e, void (*function)(void*), void* argument, const CpuMask& mask);
  void run(Element& e, unsigned cpu);
  void finished_one(Element& e);

  const Insertion insertion_;
  std::atomic<Element*> head_{nullptr};
  SpinLock list_lock_;  // before any element's lock
};

}  // namespace bmcpair::rt::inline native::detail
