#include "host_driver/runtime/native/cross_call.h"

#include <bit>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "host_driver/runtime/native/cpu.h"
#include "host_driver/runtime/native/runtime.h"

namespace bmcpair::rt::inline native {

namespace detail {

void SpinLock::lock() {
  for (unsigned spins = 0; held_.exchange(true, std::memory_order_acquire); ++spins) {
    if (spins > 100) std::this_thread::yield();
  }
}

unsigned CpuMask::count() const {
  unsigned n = 0;
  for (uint64_t w : words) n += static_cast<unsigned>(std::popcount(w));
  return n;
}

void CallQueue::link(Element& e, void (*function)(void*), void* argument, const CpuMask& mask) {
  e.lock.lock();
  e.function = function;
  e.argument = argument;
  e.wanted = mask;
  e.refs = mask.count();
  if (e.refs == 0) {
    e.lock.unlock();
    e.busy.store(false, std::memory_order_release);
    return;
  }
  if (insertion_ == Insertion::kHead) {
    e.next.store(head_.load(std::memory_order_relaxed), std::memory_order_release);
    head_.store(&e, std::memory_order_release);
  } else {
    e.next.store(nullptr, std::memory_order_release);
    std::atomic<Element*>* link = &head_;
    while (Element* at = link->load(std::memory_order_relaxed)) link = &at->next;
    link->store(&e, std::memory_order_release);
  }
  e.lock.unlock();
}

void CallQueue::run(Element& e, unsigned cpu) {
  e.lock.lock();
  if (!e.wanted.test(cpu)) {
    e.lock.unlock();
    return;
  }
  e.wanted.clear(cpu);
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
  std::atomic<Element*>* link = &head_;
  while (link->load(std::memory_order_relaxed) != &e) link = &link->load(std::memory_order_relaxed)->next;
  link->store(e.next.load(std::memory_order_relaxed), std::memory_order_release);
  list_lock_.unlock();
  e.busy.store(false, std::memory_order_release);
}

}  // namespace detail

namespace {

constexpr uint32_t kPending = 1;  // has cross-calls to look at
constexpr uint32_t kDormant = 2;  // blocked in rt
constexpr uint32_t kOnline = 4;

struct Slot {
  std::atomic<bool> taken{false};
  std::atomic<uint32_t> word{0};
  detail::CallQueue::Element element;
};

struct Machine {
  Slot slots[kCpusMax];
  detail::CallQueue queue;
  std::atomic<bool> panicking{false};
  std::mutex park_mutex;
  std::condition_variable park;
};
Machine& machine() {
  static Machine& m = *new Machine;
  return m;
}

thread_local int current = -1;
thread_local bool panics_here = false;

void park_if_panicking() {
  Machine& m = machine();
  if (panics_here || !m.panicking.load(std::memory_order_acquire)) return;
  Slot* slot = current >= 0 ? &m.slots[current] : nullptr;
  if (slot) slot->word.fetch_or(kDormant, std::memory_order_acq_rel);
  {
    std::unique_lock lock(m.park_mutex);
    m.park.wait(lock, [&] { return !m.panicking.load(std::memory_order_acquire); });
  }
  if (slot) slot->word.fetch_and(~kDormant, std::memory_order_acq_rel);
}

void interrupt(Slot& slot) {
  slot.word.fetch_and(~kPending, std::memory_order_acq_rel);
  machine().queue.receive(static_cast<unsigned>(current));
  park_if_panicking();
}

void nothing(void*) {}

}  // namespace

namespace detail {

Dormant::Dormant() {
  if (current < 0) return;
  Slot& slot = machine().slots[current];
  if (slot.word.load(std::memory_order_relaxed) & kDormant) return;
  entered_ = true;
  while (slot.word.fetch_or(kDormant, std::memory_order_acq_rel) & kPending) {
    slot.word.fetch_and(~kDormant, std::memory_order_acq_rel);
    interrupt(slot);
  }
}

Dormant::~Dormant() {
  if (entered_) {
    Slot& slot = machine().slots[current];
    while (slot.word.fetch_and(~kDormant, std::memory_order_acq_rel) & kPending) interrupt(slot);
  }
  park_if_panicking();
}

}  // namespace detail

Cpu::Cpu() {
  if (current >= 0) return;
  Machine& m = machine();
  for (unsigned i = 0; i < kCpusMax; ++i) {
    if (m.slots[i].taken.load(std::memory_order_relaxed) ||
        m.slots[i].taken.exchange(true, std::memory_order_acq_rel)) {
      continue;
    }
    slot_ = current = static_cast<int>(i);
    m.queue.exclusive([&] { m.slots[i].word.store(kOnline, std::memory_order_release); });
    return;
  }
}

Cpu::~Cpu() {
  if (slot_ < 0) return;
  Slot& slot = machine().slots[slot_];
  // Nobody addresses it from here on; what already does still runs.
  machine().queue.exclusive([&] { slot.word.fetch_and(~kOnline, std::memory_order_acq_rel); });
  interrupt(slot);
  current = -1;
  slot.taken.store(false, std::memory_order_release);
}

bool Cpu::present() const { return current >= 0; }

void Cpu::poll() {
  if (current < 0) {
    if (panicking()) park_if_panicking();
    return;
  }
  Slot& slot = machine().slots[current];
  if (slot.word.load(std::memory_order_relaxed) & kPending) interrupt(slot);
  if (panicking()) park_if_panicking();
}

bool cross_call(void (*function)(void*), void* argument, CrossCall mode, Duration limit) {
  Cpu cpu;  // an originator needs an element; a thread that is no Cpu becomes one for the moment
  if (current < 0) return false;
  Machine& m = machine();
  detail::CallQueue::Element& e = m.slots[current].element;
  const Instant deadline = now() + limit;
  while (!detail::CallQueue::try_acquire(e)) {
    // Two originators may wait for each other: each goes on answering.
    Cpu::poll();
    if (now() >= deadline) return false;
    std::this_thread::yield();
  }
  const detail::CpuMask targets = m.queue.post(e, function, argument, [&] {
    detail::CpuMask mask;
    for (unsigned i = 0; i < kCpusMax; ++i) {
      if (static_cast<int>(i) != current && m.slots[i].word.load(std::memory_order_acquire) & kOnline) mask.set(i);
    }
    return mask;
  });
  for (unsigned i = 0; i < kCpusMax; ++i) {
    if (targets.test(i)) m.slots[i].word.fetch_or(kPending, std::memory_order_acq_rel);
  }
  if (mode == CrossCall::kNoWait) return true;
  while (e.busy.load(std::memory_order_acquire)) {
    const bool late = now() >= deadline;
    for (unsigned i = 0; i < kCpusMax; ++i) {
      if (!targets.test(i)) continue;
      if (late || m.slots[i].word.load(std::memory_order_acquire) & kDormant) m.queue.revoke(e, i);
    }
    if (late) return !e.busy.load(std::memory_order_acquire);
    Cpu::poll();
    std::this_thread::yield();
  }
  return true;
}

bool panicking() { return machine().panicking.load(std::memory_order_relaxed); }
bool in_panic_context() { return panics_here; }

bool begin_panic() {
  Machine& m = machine();
  if (panics_here) return false;
  if (m.panicking.exchange(true, std::memory_order_acq_rel)) {
    park_if_panicking();
    return false;
  }
  panics_here = true;
  // Whoever runs stops at its next interrupt point, whoever blocks before it goes on.
  cross_call(nothing, nullptr, CrossCall::kWait);
  return true;
}

void end_panic_for_test() {
  Machine& m = machine();
  {
    std::lock_guard lock(m.park_mutex);
    m.panicking.store(false, std::memory_order_release);
  }
  panics_here = false;
  m.park.notify_all();
}

}  // namespace bmcpair::rt::inline native
