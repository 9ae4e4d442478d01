#include "host_driver/runtime/modelled/runtime.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace bmcpair::rt::inline modelled {

Instant now() {
  World* w = World::current();
  return w ? w->now() : Instant{};
}

void sleep_for(Duration d, Here at) {
  if (World* w = World::current()) w->sleep_until(w->now() + d, at);
}

void cpu_relax(Duration d, Here at) { sleep_for(d, at); }

void yield(Here at) {
  if (World* w = World::current()) w->yield(at);
}

void spin_pause(const void* what, unsigned, Here at) {
  if (World* w = World::current()) w->block(what, "a spin lock", at, kNever);
}

void spin_end(const void* what) {
  if (World* w = World::current()) w->wake_all(what);
}

void fence(std::memory_order order) {
  if (World* w = World::current()) w->fence(order);
}

void fatal(std::string_view what) {
  if (World* w = World::current()) w->violate("invariant", std::string(what));
  std::fprintf(stderr, "bmcpair: %.*s\n", static_cast<int>(what.size()), what.data());
  std::abort();
}

// ---- tracked objects -----------------------------------------------------------------------------------------------

uint32_t Tracked::begin(std::string_view kind) {
  World* w = World::current();
  return w ? w->track(kind) : 0;
}

void Tracked::end() {
  if (id_ == kEnded) {
    if (World* w = World::current()) w->violate("double-free", "a " + std::string(kind_) + " ends twice");
    return;
  }
  if (World* w = World::current(); w && id_ != 0) w->untrack(id_, kind_, this);
  id_ = kEnded;
}

void Tracked::ended() const {
  if (World* w = World::current()) {
    w->violate("use-after-free", w->self().name + " touches a " + std::string(kind_) + " that has ended");
  }
  std::abort();
}

// ---- locks ---------------------------------------------------------------------------------------------------------

void Mutex::enter() {
  World& w = *World::current();
  if (run_ == w.run_id()) return;
  run_ = w.run_id();
  held_ = contended_ = false;
  released_ = {};
  id_ = 0xffff;
}

void Mutex::lock(Here at) {
  World* w = World::current();
  if (!w) return;
  enter();
  w->point(at);
  if (id_ == 0xffff) id_ = w->new_lock(at);
  while (held_) {
    if (owner_ == w->self_id()) {
      w->violate("deadlock", w->self().name + " takes a lock at " + at.text() + " that it holds");
    }
    if (w->self().in_panic) {
      w->violate("panic-lock", "the panic path waits at " + at.text() + " for a lock that a stopped task holds");
    }
    contended_ = true;
    w->block(this, "a lock", at, kNever);
  }
  held_ = true;
  owner_ = w->self_id();
  w->acquire(released_);
  w->locked(id_, at);
}

bool Mutex::try_lock(Here at) {
  World* w = World::current();
  if (!w) return true;
  enter();
  w->point(at);
  if (held_) return false;
  if (id_ == 0xffff) id_ = w->new_lock(at);
  held_ = true;
  owner_ = w->self_id();
  w->acquire(released_);
  // Nobody waits here, so no order is broken; but what is taken under it has one.
  w->self().locks.push_back(id_);
  return true;
}

void Mutex::unlock() {
  World* w = World::current();
  if (!w) return;
  enter();
  if (!held_ || owner_ != w->self_id()) w->violate("invariant", w->self().name + " unlocks what it has not locked");
  released_ = w->release();
  held_ = false;
  w->unlocked(id_);
  if (contended_) {
    contended_ = false;
    w->wake_all(this);
  }
}

bool WaitQueue::wait_once(UniqueLock& lock, Instant deadline, const std::function<bool()>& condition, const Site& at) {
  World* w = World::current();
  if (!w) fatal("a wait outside of a world");
  if (w->self().in_panic) w->violate("panic-wait", "the panic path waits at " + at.text());
  if (deadline <= w->now()) {
    lock.m_->unlock();
    w->point(at);
    lock.m_->lock(Here(at));
    return false;
  }
  lock.m_->unlock();
  w->self().condition = &condition;
  const bool in_time = w->block(this, "a wait queue", at, deadline);
  w->self().condition = nullptr;
  lock.m_->lock(Here(at));
  return in_time;
}

void WaitQueue::wake_one(Here at) {
  World* w = World::current();
  if (!w) return;
  w->point(at);
  w->wake_one(this);
}

void WaitQueue::wake_all(Here at) {
  World* w = World::current();
  if (!w) return;
  w->point(at);
  w->wake_all(this);
}

// ---- threads -------------------------------------------------------------------------------------------------------

Thread::~Thread() {
  if (joinable() && World::current()) fatal("an rt::Thread was destroyed before it was joined");
}

void Thread::start(std::string name, std::function<void()> function, Here at) {
  World* w = World::current();
  if (!w) fatal("a thread outside of a world");
  w->point(at);
  task_ = &w->start_task(std::move(name), std::move(function), World::Kind::kThread);
}

void Thread::join(Here at) {
  World::current()->join(*task_, at);
  task_ = nullptr;
}

// ---- timers and works ----------------------------------------------------------------------------------------------

namespace detail {

namespace {

void run(const JobPointer& job) {
  World& w = *World::current();
  const Site idle("idle");
  for (;;) {
    while (!job->pending) {
      if (job->ended) return;
      if (job->deadline <= w.now()) {
        job->deadline = kNever;
        job->pending = true;
        break;
      }
      w.block(job.get(), "something to do", idle, job->deadline);
    }
    job->pending = false;
    job->running = true;
    ++job->runs_begun;
    job->runner = w.self_id();
    w.acquire(job->asked);
    w.point(idle);
    job->function();
    job->done = w.release();
    job->running = false;
    if (job->orphan) return;
    w.wake_all(&job->running);
  }
}

}  // namespace

void ask(const JobPointer& job, Instant deadline) {
  World& w = *World::current();
  job->asked = w.release();
  if (deadline <= w.now()) {
    job->deadline = kNever;
    job->pending = true;
  } else {
    job->pending = false;
    job->deadline = deadline;
  }
  if (!job->task) {
    std::string name = job->kind;
    name += '@';
    name += job->made_at.text();
    job->task = &w.start_task(std::move(name), [job] { run(job); }, World::Kind::kDaemon);
    return;
  }
  if (job->pending || !w.put_off(*job->task, job.get(), deadline)) w.wake(*job->task, job.get());
}

bool take_away(Job& job) {
  const bool was = job.pending || job.deadline != kNever;
  job.pending = false;
  job.deadline = kNever;
  return was;
}

bool cancel(const JobPointer& job, bool wait, const Site& site) {
  World* w = World::current();
  if (!w) return false;
  w->point(site);
  const bool was = take_away(*job);
  if (was && job->task) w->put_off(*job->task, job.get(), kNever);
  if (!wait || (job->running && job->runner == w->self_id())) return was;
  while (job->running) {
    w->block(&job->running, "a callback's end", site, kNever);
    take_away(*job);  // it may have armed itself again
  }
  w->acquire(job->done);
  return was;
}

void flush(const JobPointer& job, const Site& site) {
  World* w = World::current();
  w->point(site);
  if ((job->running && job->runner == w->self_id()) || (!job->pending && !job->running)) return;
  const uint64_t want = job->runs_begun + (job->pending ? 1 : 0);
  while (!(job->runs_begun > want || (job->runs_begun == want && !job->running) ||
           (!job->pending && !job->running))) {
    w->block(&job->running, "a callback's end", site, kNever);
  }
  w->acquire(job->done);
}

void destroy(const JobPointer& job, const Site& site) {
  World* w = World::current();
  if (!w || !job->task) {
    take_away(*job);
    job->ended = true;
    return;
  }
  take_away(*job);
  if (job->running && job->runner == w->self_id()) {
    job->orphan = true;
    job->ended = true;
    return;
  }
  cancel(job, true, site);
  job->ended = true;
  w->wake_all(job.get());
}

}  // namespace detail

void Timer::arm(Instant deadline, Here at) {
  World* w = World::current();
  if (!w) fatal("a timer outside of a world");
  w->point(at);
  detail::take_away(*job_);
  detail::ask(job_, deadline);
}

bool Work::schedule(Here at) {
  World* w = World::current();
  if (!w) fatal("a work outside of a world");
  w->point(at);
  if (job_->pending) {
    // The run that is pending serves this one too, and sees what was done before it.
    const Stamp before = job_->asked;
    w->acquire(before);
    job_->asked = w->release();
    return false;
  }
  detail::ask(job_, Instant{});
  return true;
}

// ---- RCU -----------------------------------------------------------------------------------------------------------

void Rcu::enter_run() {
  World& w = *World::current();
  if (run_ == w.run_id()) return;
  run_ = w.run_id();
  begun_ = 0;
  inside_.clear();
  left_.clear();
  grace_ = {};
}

void Rcu::synchronize(Here at) {
  World* w = World::current();
  if (!w) return;
  enter_run();
  w->point(at);
  if (w->self().rcu_sections != 0) w->violate("deadlock", w->self().name + " waits at " + at.text() + " for its own read-side section");
  w->acquire(grace_);
  grace_ = w->release();
  const uint64_t before = begun_;
  while (!inside_.empty() && inside_.front() <= before) w->block(this, "readers", at, kNever);
  for (const Stamp& s : left_) w->acquire(s);
}

RcuReader::RcuReader(Rcu& rcu, Here at) : rcu_(rcu) {
  World* w = World::current();
  if (!w) return;
  rcu_.enter_run();
  w->point(at);
  w->acquire(rcu_.grace_);
  number_ = ++rcu_.begun_;
  rcu_.inside_.push_back(number_);
  ++w->self().rcu_sections;
}

RcuReader::~RcuReader() {
  World* w = World::current();
  if (!w || number_ == 0) return;
  --w->self().rcu_sections;
  const Stamp stamp = w->release();
  auto last = std::find_if(rcu_.left_.begin(), rcu_.left_.end(), [&](const Stamp& s) { return s.task == stamp.task; });
  if (last == rcu_.left_.end()) {
    rcu_.left_.push_back(stamp);
  } else {
    *last = stamp;
  }
  std::erase(rcu_.inside_, number_);
  w->wake_all(&rcu_);
}

// ---- panic ---------------------------------------------------------------------------------------------------------

bool cross_call(void (*function)(void*), void* argument, CrossCall mode, Duration limit) {
  World* w = World::current();
  return w && w->cross_call(function, argument, mode == CrossCall::kWait, limit);
}

void disable_interrupts() {
  if (World* w = World::current()) ++w->self().interrupts_disabled;
}

void enable_interrupts() {
  World* w = World::current();
  if (w && --w->self().interrupts_disabled == 0) w->answer_calls();
}

bool panicking() {
  World* w = World::current();
  return w && w->panicking();
}

bool in_panic_context() {
  World* w = World::current();
  return w && w->self().in_panic;
}

bool begin_panic() {
  World* w = World::current();
  return w && w->begin_panic();
}

void end_panic_for_test() {
  if (World* w = World::current()) w->end_panic();
}

bool fault_point(std::string_view name) {
  World* w = World::current();
  return w && w->fault(name);
}

}  // namespace bmcpair::rt::inline modelled
