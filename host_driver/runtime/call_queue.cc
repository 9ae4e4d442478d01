#include "host_driver/runtime/call_queue.h"

#include <bit>

namespace bmcpair::rt::inline BMCPAIR_RT::detail {

unsigned CpuMask::count() const {
  unsigned n = 0;
  for (uint64_t w : words) n += static_cast<unsigned>(std::popcount(w));
  return n;
}

void CallQueue::enter(Element& e, void (*function)(void*), void* argument, const CpuMask& mask) {
  const unsigned refs = mask.count();
  if (!variant_.links_under_lock) list_lock_.unlock();
  e.lock.lock();
  e.function = function;
  e.argument = argument;
  e.wanted = mask;
  e.refs = refs;
  if (!variant_.links_under_lock) {
    e.lock.unlock();
    list_lock_.lock();
  }
  if (refs > 0) link(e);
  if (variant_.links_under_lock) e.lock.unlock();
  if (refs == 0) e.busy.store(false, std::memory_order_release);
}

void CallQueue::link(Element& e) {
  if (variant_.insertion == CallVariant::Insertion::kHead) {
    e.next.store(head_.load(std::memory_order_relaxed), std::memory_order_release);
    head_.store(&e, std::memory_order_release);
    return;
  }
  e.next.store(nullptr, std::memory_order_release);
  Atomic<Element*>* link = &head_;
  while (Element* at = link->load(std::memory_order_relaxed)) link = &at->next;
  link->store(&e, std::memory_order_release);
}

void CallQueue::run(Element& e, unsigned cpu) {
  e.lock.lock();
  if (!e.wanted.test(cpu)) {
    e.lock.unlock();
    return;
  }
  if (variant_.clears_own_bit) e.wanted.clear(cpu);
  auto* function = e.function;
  void* argument = e.argument;
  e.lock.unlock();
  function(argument);
  finished_one(e);
}

bool CallQueue::revoke(Element& e, unsigned cpu) {
  e.lock.lock();
  const bool pending = e.wanted.test(cpu);
  e.wanted.clear(cpu);
  e.lock.unlock();
  if (pending) finished_one(e);
  return pending;
}

void CallQueue::finished_one(Element& e) {
  e.lock.lock();
  const bool last = --e.refs == 0;
  e.lock.unlock();
  if (!last) return;
  // Nobody else touches it until busy is clear. Its own forward pointer stays for those who still stand on it.
  list_lock_.lock();
  Atomic<Element*>* link = &head_;
  Element* at = link->load(std::memory_order_relaxed);
  while (at && at != &e) {
    link = &at->next;
    at = link->load(std::memory_order_relaxed);
  }
  if (!at) fatal("cross-call: an element came to its end before it was on the list");
  link->store(e.next.load(std::memory_order_relaxed), std::memory_order_release);
  list_lock_.unlock();
  e.busy.store(false, variant_.releases ? std::memory_order_release : std::memory_order_relaxed);
}

int CrossCalls::arrive() {
  for (unsigned i = 0; i < cpus_; ++i) {
    Slot& slot = slots_[i];
    if (slot.taken.load(std::memory_order_relaxed) || slot.taken.exchange(true, std::memory_order_acq_rel)) continue;
    queue_.exclusive([&] { slot.word.store(kOnline, std::memory_order_release); });
    return static_cast<int>(i);
  }
  return -1;
}

void CrossCalls::withdraw(unsigned cpu) {
  queue_.exclusive([&] { slots_[cpu].word.fetch_and(~kOnline, std::memory_order_acq_rel); });
  interrupt(cpu);
}

bool CrossCalls::fall_asleep(unsigned cpu) {
  Slot& slot = slots_[cpu];
  if (slot.word.load(std::memory_order_relaxed) & kDormant) return false;
  while (slot.word.fetch_or(kDormant, std::memory_order_acq_rel) & kPending) {
    slot.word.fetch_and(~kDormant, std::memory_order_acq_rel);
    interrupt(cpu);
  }
  return true;
}

void CrossCalls::wake_up(unsigned cpu) {
  while (slots_[cpu].word.fetch_and(~kDormant, std::memory_order_acq_rel) & kPending) interrupt(cpu);
}

bool CrossCalls::call(unsigned self, void (*function)(void*), void* argument, CrossCall mode, Duration limit) {
  CallQueue::Element& e = slots_[self].element;
  const Instant deadline = now() + limit;
  while (!queue_.try_acquire(e)) {
    // Two originators may wait for each other: each goes on answering.
    if (now() >= deadline) return false;
    pause_(*this, self);
  }
  const CpuMask targets = queue_.post(e, function, argument, [&] {
    CpuMask mask;
    for (unsigned i = 0; i < cpus_; ++i) {
      if (i != self && slots_[i].word.load(std::memory_order_acquire) & kOnline) mask.set(i);
    }
    return mask;
  });
  for (unsigned i = 0; i < cpus_; ++i) {
    if (targets.test(i)) slots_[i].word.fetch_or(kPending, std::memory_order_acq_rel);
  }
  if (mode == CrossCall::kNoWait) return true;
  while (e.busy.load(std::memory_order_acquire)) {
    const bool late = now() >= deadline;
    for (unsigned i = 0; i < cpus_; ++i) {
      if (!targets.test(i)) continue;
      if (late || slots_[i].word.load(std::memory_order_acquire) & kDormant) queue_.revoke(e, i);
    }
    if (late) return !e.busy.load(std::memory_order_acquire);
    pause_(*this, self);
  }
  return true;
}

}  // namespace bmcpair::rt::inline BMCPAIR_RT::detail
