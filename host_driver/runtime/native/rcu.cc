#include <cstdio>
#include <cstdlib>

#include "host_driver/runtime/native/cpu.h"
#include "host_driver/runtime/native/runtime.h"

namespace bmcpair::rt::inline native {

namespace {

// Top bit of a counter: somebody waits for it to become empty.
constexpr uint32_t kWaited = 1u << 31;

// Where synchronize() sleeps. Not in the Rcu itself: the domain may be gone as soon as the last reader's decrement is
// seen, so after it the reader touches only these.
struct Parking {
  std::mutex m;
  std::condition_variable cv;
};
Parking& parking_of(const void* address) {
  static auto* places = new Parking[16];
  return places[reinterpret_cast<uintptr_t>(address) / sizeof(uint32_t) % 16];
}

thread_local RcuReader* innermost = nullptr;

}  // namespace

RcuReader::RcuReader(Rcu& rcu) : rcu_(rcu), index_(rcu.index_.load(std::memory_order_relaxed)), outer_(innermost) {
  // A stale index is harmless: synchronize() waits for both counters in turn.
  rcu_.readers_[index_].fetch_add(1, std::memory_order_acq_rel);
  innermost = this;
}

RcuReader::~RcuReader() {
  innermost = outer_;
  std::atomic<uint32_t>& counter = rcu_.readers_[index_];
  Parking& parking = parking_of(&counter);
  if (counter.fetch_sub(1, std::memory_order_acq_rel) == (kWaited | 1)) {
    { std::lock_guard lock(parking.m); }
    parking.cv.notify_all();
  }
}

void Rcu::drain(unsigned index) {
  std::atomic<uint32_t>& counter = readers_[index];
  // This read-modify-write is the dividing line: who increments after it sees all that was published before.
  if (counter.fetch_or(kWaited, std::memory_order_acq_rel) != 0) {
    Parking& parking = parking_of(&counter);
    detail::Dormant dormant;
    std::unique_lock lock(parking.m);
    parking.cv.wait(lock, [&] { return (counter.load(std::memory_order_acquire) & ~kWaited) == 0; });
  }
  counter.fetch_and(~kWaited, std::memory_order_acq_rel);
}

void Rcu::synchronize() {
  for (RcuReader* r = innermost; r; r = r->outer_) {
    if (&r->rcu_ != this) continue;
    std::fputs("bmcpair: Rcu::synchronize() inside a section of the same domain\n", stderr);
    std::abort();
  }
  std::unique_lock lock(synchronizing_, std::try_to_lock);
  if (!lock.owns_lock()) {
    detail::Dormant dormant;
    lock.lock();
  }
  const uint32_t old = index_.load(std::memory_order_relaxed);
  drain(old ^ 1);
  index_.store(old ^ 1, std::memory_order_relaxed);
  drain(old);
}

}  // namespace bmcpair::rt::inline native
