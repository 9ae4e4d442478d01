#include "host_driver/bus/grpc_pump.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include <grpc/support/time.h>
#include <grpcpp/alarm.h>
#include <sys/prctl.h>

namespace bmcpair::bus {
namespace {

// How long the background thread leaves the queue alone after it saw somebody wait, and how long a posted write may
// lie before it is sent by itself.
constexpr Duration kStepAside = std::chrono::microseconds(60);
// Longest look-away while one thread waits long.
constexpr Duration kStepAsideMax = std::chrono::milliseconds(1);

gpr_timespec deadline(Instant until) {
  if (until == kNever) return gpr_inf_future(GPR_CLOCK_MONOTONIC);
  int64_t left = std::max<int64_t>(0, (until - Pump::now()).count());
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_nanos(left, GPR_TIMESPAN));
}

std::chrono::steady_clock::time_point steady(Instant t) {
  return std::chrono::steady_clock::time_point(
      std::chrono::duration_cast<std::chrono::steady_clock::duration>(t.time_since_epoch()));
}

thread_local bool is_background = false;

}  // namespace

Pump& Pump::instance() {
  static Pump* pump = new Pump;
  return *pump;
}

Instant Pump::now() { return Instant(std::chrono::steady_clock::now().time_since_epoch()); }

Pump::Pump() {
  std::thread([this] { background(); }).detach();
}

bool Pump::on_background_thread() const { return is_background; }

bool Pump::wait(Waiter& waiter, Instant until) {
  std::unique_lock lock(mutex_);
  ++activity_;
  while (!waiter.done()) {
    if (!led_) {
      lead(lock, &waiter, until);
    } else {
      followers_.push_back(&waiter);
      auto self = std::prev(followers_.end());
      if (until == kNever) {
        waiter.changed_.wait(lock);
      } else {
        waiter.changed_.wait_until(lock, steady(until));
      }
      followers_.erase(self);
    }
    if (!waiter.done() && now() >= until) break;
  }
  if (!led_) hand_over();
  return waiter.done();
}

void Pump::lead(std::unique_lock<std::mutex>& lock, const Waiter* waiter, Instant until) {
  led_ = true;
  lock.unlock();
  while (!waiter->done()) {
    void* tag = nullptr;
    bool ok = false;
    auto status = queue_.AsyncNext(&tag, &ok, deadline(until));
    if (status != grpc::CompletionQueue::GOT_EVENT) break;
    Event::dispatch(tag, ok);
  }
  lock.lock();
  led_ = false;
}

// With the lock held and nobody leading: the next of those who wait, if any. The background thread sees for itself.
void Pump::hand_over() {
  if (!followers_.empty()) followers_.front()->changed_.notify_one();
}

void Pump::signal(Waiter& waiter) {
  std::lock_guard lock(mutex_);
  waiter.done_.store(true, std::memory_order_release);
  waiter.changed_.notify_one();
}

bool Pump::cork(const std::shared_ptr<Flushable>& flushable) {
  std::lock_guard lock(mutex_);
  ++activity_;
  if (background_leads_) return false;
  if (std::find(corked_.begin(), corked_.end(), flushable) == corked_.end()) corked_.push_back(flushable);
  return true;
}

// With the lock held: has the background thread look again.
void Pump::kick() {
  if (background_leads_) {
    // It is blocked in the queue; an alarm is the queue's own way to wake it.
    class Wake : public Event {
     public:
      explicit Wake(grpc::CompletionQueue* queue) { alarm_.Set(queue, gpr_now(GPR_CLOCK_MONOTONIC), tag()); }
      void complete(bool) override { delete this; }

     private:
      grpc::Alarm alarm_;
    };
    new Wake(&queue_);
  } else {
    background_.notify_one();
  }
}

void Pump::call(std::function<void()> f) {
  std::lock_guard lock(mutex_);
  calls_.push_back(std::move(f));
  if (!is_background) kick();
}

uint64_t Pump::at(Instant when, std::function<void()> f) {
  std::lock_guard lock(mutex_);
  uint64_t id = next_timer_++;
  timers_.emplace(std::pair(when, id), std::move(f));
  if (!is_background) kick();
  return id;
}

void Pump::cancel(uint64_t timer) {
  std::function<void()> dropped;  // destroyed outside the lock
  std::lock_guard lock(mutex_);
  for (auto it = timers_.begin(); it != timers_.end(); ++it) {
    if (it->first.second != timer) continue;
    dropped = std::move(it->second);
    timers_.erase(it);
    return;
  }
}

void Pump::background() {
  is_background = true;
  prctl(PR_SET_NAME, "grpc-bus");
  // The default slack of 50 us would double the time that a posted write lies.
  prctl(PR_SET_TIMERSLACK, 1000);
  std::unique_lock lock(mutex_);
  uint64_t seen = activity_;
  Duration look_away = kStepAside;
  while (true) {
    while (!calls_.empty()) {
      auto f = std::move(calls_.front());
      calls_.pop_front();
      lock.unlock();
      f();
      f = nullptr;
      lock.lock();
    }
    if (!timers_.empty() && timers_.begin()->first.first <= now()) {
      auto f = std::move(timers_.begin()->second);
      timers_.erase(timers_.begin());
      lock.unlock();
      f();
      f = nullptr;
      lock.lock();
      continue;
    }
    if (!corked_.empty()) {
      auto corked = std::move(corked_);
      corked_.clear();
      lock.unlock();
      for (auto& c : corked) c->flush();
      corked.clear();
      lock.lock();
      continue;
    }
    if (led_ || activity_ != seen) {
      look_away = activity_ != seen ? kStepAside : std::min(look_away * 2, kStepAsideMax);
      seen = activity_;
      background_.wait_for(lock, look_away);
      continue;
    }
    led_ = background_leads_ = true;
    Instant until = timers_.empty() ? kNever : timers_.begin()->first.first;
    lock.unlock();
    void* tag = nullptr;
    bool ok = false;
    auto status = queue_.AsyncNext(&tag, &ok, deadline(until));
    if (status == grpc::CompletionQueue::GOT_EVENT) Event::dispatch(tag, ok);
    lock.lock();
    led_ = background_leads_ = false;
    hand_over();
  }
}

}  // namespace bmcpair::bus
