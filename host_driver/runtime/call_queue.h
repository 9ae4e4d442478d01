// The queue below rt::cross_call: one element an originator, receivers that walk without a lock (reference H.1). One
// source for both runtimes.
//
// H3-1  try_acquire() before the payload is written: an element still in use is not touched.
// H3-2  try_acquire() is a read-modify-write with acquire order, so the payload's stores cannot move before it, whether
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
#include <memory>

#include "host_driver/runtime/runtime.h"

namespace bmcpair::rt::inline BMCPAIR_RT::detail {

// What the discussion of 2009 proposed, criticised or took for granted. The default is ours; each other value gives up one
// of the rules above, so that the laboratory can show what it is there for. Nothing else sets them.
struct CallVariant {
  enum class Insertion : uint8_t { kHead, kTail };
  Insertion insertion = Insertion::kHead;  // kTail: S3-A, S3-C
  bool heeds_busy = true;                  // H3-1; false: an element is used again whenever its originator likes
  bool acquires = true;                    // H3-2; false: "while (busy) relax; busy = true" without a barrier
  bool releases = true;                    // H3-3
  bool clears_own_bit = true;              // H3-4; false: whoever visits twice runs twice (S3-B)
  bool links_under_lock = true;            // false: the payload first, the list afterwards
};

class SpinLock {
 public:
  void lock() {
    for (unsigned turn = 0; held_.exchange(true, std::memory_order_acquire); ++turn) spin_pause(this, turn);
  }
  void unlock() {
    held_.store(false, std::memory_order_release);
    spin_end(this);
  }

 private:
  Atomic<bool> held_{false};
};

struct CpuMask {
  std::array<uint64_t, 4> words{};
  void set(unsigned cpu) { words[cpu / 64] |= uint64_t{1} << cpu % 64; }
  void clear(unsigned cpu) { words[cpu / 64] &= ~(uint64_t{1} << cpu % 64); }
  bool test(unsigned cpu) const { return words[cpu / 64] >> cpu % 64 & 1; }
  unsigned count() const;
};
constexpr unsigned kMaskCpus = 256;

class CallQueue {
 public:
  struct Element {
    Atomic<bool> busy{false};
    Atomic<Element*> next{nullptr};
    SpinLock lock;
    // Under lock:
    CpuMask wanted;   // has not begun
    unsigned refs = 0;  // has not finished
    void (*function)(void*) = nullptr;
    void* argument = nullptr;
  };

  explicit CallQueue(const CallVariant& variant = {}) : variant_(variant) {}
  CallQueue(const CallQueue&) = delete;
  CallQueue& operator=(const CallQueue&) = delete;

  // The "csd lock". False when the element is still in use.
  bool try_acquire(Element& e) {
    if (variant_.acquires && variant_.heeds_busy) return !e.busy.exchange(true, std::memory_order_acq_rel);
    if (variant_.heeds_busy && e.busy.load(std::memory_order_relaxed)) return false;
    e.busy.store(true, std::memory_order_relaxed);
    return true;
  }
  // Of an acquired element. targets() is called under the list's lock; no targets releases the element at once.
  template <class Targets>
  CpuMask post(Element& e, void (*function)(void*), void* argument, Targets targets) {
    list_lock_.lock();
    const CpuMask mask = targets();
    enter(e, function, argument, mask);
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
  void enter(Element& e, void (*function)(void*), void* argument, const CpuMask& mask);
  void link(Element& e);
  void run(Element& e, unsigned cpu);
  void finished_one(Element& e);

  const CallVariant variant_;
  Atomic<Element*> head_{nullptr};
  SpinLock list_lock_;  // before any element's lock
};

// Cpus that call each other over one queue. A Cpu is a number here; whose it is, is the runtime's business.
class CrossCalls {
 public:
  // One turn of a wait, on Cpu `self`, of somebody whom others may wait for: it goes on answering.
  using Pause = void (*)(CrossCalls&, unsigned self);

  // cpus: at most kMaskCpus.
  CrossCalls(unsigned cpus, Pause pause, const CallVariant& variant = {})
      : cpus_(cpus), pause_(pause), queue_(variant), slots_(std::make_unique<Slot[]>(cpus)) {}

  // A free number, which others address from now on; -1: all are taken.
  int arrive();
  // Nobody addresses it from here on; what already did has run when this returns. The number stays taken.
  void withdraw(unsigned cpu);
  void give_back(unsigned cpu) { slots_[cpu].taken.store(false, std::memory_order_release); }

  // An interrupt point: runs what was asked of this Cpu. True when there may have been something.
  bool poll(unsigned cpu) {
    if (!(slots_[cpu].word.load(std::memory_order_relaxed) & kPending)) return false;
    interrupt(cpu);
    return true;
  }

  // The Cpu blocks: nobody waits for it, and what is asked of it runs in wake_up(). False: it did already.
  bool fall_asleep(unsigned cpu);
  void wake_up(unsigned cpu);

  // Runs function(argument) on every other Cpu; see rt::cross_call.
  bool call(unsigned self, void (*function)(void*), void* argument, CrossCall mode, Duration limit);

 private:
  static constexpr uint32_t kPending = 1;  // has cross-calls to look at
  static constexpr uint32_t kDormant = 2;  // blocked in rt
  static constexpr uint32_t kOnline = 4;

  struct Slot {
    Atomic<bool> taken{false};
    Atomic<uint32_t> word{0};
    CallQueue::Element element;
  };

  void interrupt(unsigned cpu) {
    slots_[cpu].word.fetch_and(~kPending, std::memory_order_acq_rel);
    queue_.receive(cpu);
  }

  const unsigned cpus_;
  const Pause pause_;
  CallQueue queue_;
  const std::unique_ptr<Slot[]> slots_;
};

}  // namespace bmcpair::rt::inline BMCPAIR_RT::detail
