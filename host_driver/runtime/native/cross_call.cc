#include <condition_variable>
#include <mutex>

#include "host_driver/runtime/call_queue.h"
#include "host_driver/runtime/native/cpu.h"
#include "host_driver/runtime/native/runtime.h"

namespace bmcpair::rt::inline native {

namespace {

static_assert(kCpusMax <= detail::kMaskCpus);

void park_if_panicking();

thread_local int current = -1;
thread_local bool panics_here = false;
thread_local unsigned interrupts_disabled = 0;

struct Machine {
  detail::CrossCalls calls{kCpusMax, [](detail::CrossCalls&, unsigned) {
                             Cpu::poll();
                             std::this_thread::yield();
                           }};
  std::atomic<bool> panicking{false};
  std::mutex park_mutex;
  std::condition_variable park;
};
Machine& machine() {
  static Machine& m = *new Machine;
  return m;
}

void park_if_panicking() {
  Machine& m = machine();
  if (panics_here || interrupts_disabled != 0 || !m.panicking.load(std::memory_order_acquire)) return;
  const bool slept = current >= 0 && m.calls.fall_asleep(static_cast<unsigned>(current));
  {
    std::unique_lock lock(m.park_mutex);
    m.park.wait(lock, [&] { return !m.panicking.load(std::memory_order_acquire); });
  }
  if (slept) m.calls.wake_up(static_cast<unsigned>(current));
}

void nothing(void*) {}

}  // namespace

namespace detail {

Dormant::Dormant() {
  if (current >= 0 && interrupts_disabled == 0) entered_ = machine().calls.fall_asleep(static_cast<unsigned>(current));
}

Dormant::~Dormant() {
  if (entered_) machine().calls.wake_up(static_cast<unsigned>(current));
  park_if_panicking();
}

}  // namespace detail

Cpu::Cpu() {
  if (current < 0) slot_ = current = machine().calls.arrive();
}

Cpu::~Cpu() {
  if (slot_ < 0) return;
  machine().calls.withdraw(static_cast<unsigned>(slot_));
  park_if_panicking();
  current = -1;
  machine().calls.give_back(static_cast<unsigned>(slot_));
}

bool Cpu::present() const { return current >= 0; }

void Cpu::poll() {
  if (interrupts_disabled != 0) return;
  if (current >= 0) machine().calls.poll(static_cast<unsigned>(current));
  if (panicking()) park_if_panicking();
}

bool cross_call(void (*function)(void*), void* argument, CrossCall mode, Duration limit) {
  Cpu cpu;  // an originator needs an element; a thread that is no Cpu becomes one for the moment
  return current >= 0 && machine().calls.call(static_cast<unsigned>(current), function, argument, mode, limit);
}

void disable_interrupts() { ++interrupts_disabled; }

void enable_interrupts() {
  if (--interrupts_disabled == 0) Cpu::poll();
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
