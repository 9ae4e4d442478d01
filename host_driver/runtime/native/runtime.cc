#include "host_driver/runtime/native/runtime.h"

#include <pthread.h>

#include <cstdio>
#include <cstdlib>

#include "host_driver/runtime/native/cpu.h"

namespace bmcpair::rt::inline native {

namespace {

using Steady = std::chrono::steady_clock;

Steady::time_point to_steady(Instant t) { return Steady::time_point(t.time_since_epoch()); }

Rcu& fault_rcu() {
  static Rcu& rcu = *new Rcu;
  return rcu;
}
std::atomic<FaultHook*> fault_hook{nullptr};

}  // namespace

Instant now() { return Instant(std::chrono::duration_cast<Duration>(Steady::now().time_since_epoch())); }

void sleep_for(Duration d) {
  if (d <= Duration::zero()) return;
  detail::Dormant dormant;
  std::this_thread::sleep_for(d);
}

void cpu_relax(Duration d) {
  const Instant end = now() + d;
  do {
    Cpu::poll();
  } while (now() < end);
}

void Mutex::lock_slow() {
  if (in_panic_context()) {
    std::fputs("bmcpair: the panic path waited for a lock that a stopped thread holds\n", stderr);
    std::abort();
  }
  detail::Dormant dormant;
  m_.lock();
}

bool WaitQueue::wait_once(UniqueLock& lock, Instant deadline) {
  detail::Dormant dormant;
  std::unique_lock<std::mutex> std_lock(lock.m_->m_, std::adopt_lock);
  bool in_time = true;
  if (deadline == kNever) {
    cv_.wait(std_lock);
  } else {
    in_time = cv_.wait_until(std_lock, to_steady(deadline)) == std::cv_status::no_timeout;
  }
  std_lock.release();
  return in_time;
}

Thread::~Thread() {
  if (!thread_.joinable()) return;
  std::fputs("bmcpair: an rt::Thread was destroyed before it was joined\n", stderr);
  std::abort();
}

void Thread::start(std::string name, std::function<void()> function) {
  thread_ = std::thread([name = std::move(name), function = std::move(function)] {
    pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
    Cpu cpu;
    function();
  });
}

void Thread::join() {
  detail::Dormant dormant;
  thread_.join();
}

void fatal(std::string_view what) {
  std::fprintf(stderr, "bmcpair: %.*s\n", static_cast<int>(what.size()), what.data());
  std::abort();
}

void set_fault_hook(FaultHook* hook) {
  fault_hook.store(hook, std::memory_order_release);
  fault_rcu().synchronize();
}

bool fault_point(std::string_view name) {
  if (!fault_hook.load(std::memory_order_relaxed)) return false;
  RcuReader reader(fault_rcu());
  FaultHook* hook = fault_hook.load(std::memory_order_acquire);
  return hook && hook->fires(name);
}

}  // namespace bmcpair::rt::inline native
