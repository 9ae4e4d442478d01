#include <pthread.h>

#include <cstdio>
#include <set>
#include <system_error>
#include <utility>

#include "host_driver/runtime/native/cpu.h"
#include "host_driver/runtime/native/runtime.h"

namespace bmcpair::rt::inline native {

namespace detail {

// What a Timer and a Work have in common. All but function under the pool's mutex.
struct Job {
  explicit Job(std::function<void()> f) : function(std::move(f)) {}
  const std::function<void()> function;
  bool pending = false;   // wants to run: in the run queue, or again once the present run is over
  bool queued = false;    // in the run queue
  bool running = false;
  bool orphan = false;    // its owner is gone; the worker that runs it frees it
  bool timed = false;     // has a deadline, at `deadline` under `order`
  Instant deadline{};
  uint64_t order = 0;
  uint64_t runs_begun = 0;
  Job* previous = nullptr;
  Job* next = nullptr;
};

}  // namespace detail

namespace {

using detail::Job;
using Steady = std::chrono::steady_clock;

thread_local Job* running_here = nullptr;

class Pool {
 public:
  static Pool& get() {
    static Pool& pool = *new Pool;
    return pool;
  }

  bool schedule(Job& job) {
    std::unique_lock lock(m_);
    if (job.pending) return false;
    job.pending = true;
    if (!job.running) enqueue(job);
    return true;
  }

  void arm(Job& job, Instant deadline) {
    std::unique_lock lock(m_);
    take_away(job);  // an expiry that has not begun yet is replaced too
    job.timed = true;
    job.deadline = deadline;
    job.order = ++orders_;
    deadlines_.insert({{deadline, job.order}, &job});
    if (!timer_thread_) {
      start("rt-timer", &Pool::time);
      timer_thread_ = true;
    }
    if (deadline < timer_sleeps_until_) timer_cv_.notify_one();
  }

  bool cancel(Job& job, bool wait) {
    std::unique_lock lock(m_);
    const bool was = take_away(job);
    if (!wait || running_here == &job) return was;
    wait_not_running(lock, job);
    return was;
  }

  bool armed(const Job& job) {
    std::unique_lock lock(m_);
    return job.timed || job.pending;
  }

  void flush(Job& job) {
    std::unique_lock lock(m_);
    if (running_here == &job || (!job.pending && !job.running)) return;
    const uint64_t want = job.runs_begun + (job.pending ? 1 : 0);
    detail::Dormant dormant;
    ++waiters_;
    done_cv_.wait(lock, [&] {
      return job.runs_begun > want || (job.runs_begun == want && !job.running) || (!job.pending && !job.running);
    });
    --waiters_;
  }

  void destroy(Job* job) {
    std::unique_lock lock(m_);
    take_away(*job);
    if (running_here == job) {
      job->orphan = true;
      return;
    }
    wait_not_running(lock, *job);
    lock.unlock();
    delete job;
  }

  PoolStatistics statistics() {
    std::unique_lock lock(m_);
    return statistics_;
  }

 private:
  // A deadline and a tie breaker, so that equal deadlines run in the order they were armed.
  using Key = std::pair<Instant, uint64_t>;

  void start(const char* name, void (Pool::*body)()) {
    std::thread([this, name, body] {
      pthread_setname_np(pthread_self(), name);
      (this->*body)();
    }).detach();
  }

  void drop_deadline(Job& job) {
    if (!job.timed) return;
    deadlines_.erase({{job.deadline, job.order}, &job});
    job.timed = false;
  }

  bool take_away(Job& job) {
    const bool was = job.timed || job.pending;
    drop_deadline(job);
    job.pending = false;
    if (job.queued) {
      (job.previous ? job.previous->next : first_) = job.next;
      (job.next ? job.next->previous : last_) = job.previous;
      job.queued = false;
      --queued_;
    }
    return was;
  }

  // A callback may arm itself again while it is waited for; then that goes too.
  void wait_not_running(std::unique_lock<std::mutex>& lock, Job& job) {
    if (!job.running) return;
    detail::Dormant dormant;
    ++waiters_;
    while (job.running) {
      done_cv_.wait(lock);
      take_away(job);
    }
    --waiters_;
  }

  void enqueue(Job& job) {
    job.queued = true;
    job.next = nullptr;
    job.previous = last_;
    (last_ ? last_->next : first_) = &job;
    last_ = &job;
    ++queued_;
    if (queued_ <= idle_) {
      work_cv_.notify_one();
      return;
    }
    if (statistics_.workers == kWorkersMax) return;  // the next worker that is free takes it
    try {
      start("rt-worker", &Pool::work);
    } catch (const std::system_error& e) {
      // Those that exist go on; without any, nothing of the driver could run.
      if (statistics_.workers == 0) throw;
      std::fprintf(stderr, "bmcpair: no further worker thread: %s\n", e.what());
      return;
    }
    ++statistics_.workers;
    ++idle_;
    if (statistics_.workers > statistics_.workers_peak) statistics_.workers_peak = statistics_.workers;
  }

  // A new worker is counted idle from before it exists, so a burst makes no more workers than it has jobs.
  void work() {
    Cpu cpu;
    std::unique_lock lock(m_);
    for (;;) {
      if (!first_) {
        detail::Dormant dormant;
        if (!work_cv_.wait_for(lock, kWorkerIdle, [&] { return first_ != nullptr; })) break;
      }
      Job* job = first_;
      take_away(*job);
      --idle_;
      run(lock, job);
      ++idle_;
    }
    --idle_;
    --statistics_.workers;
  }

  void run(std::unique_lock<std::mutex>& lock, Job* job) {
    job->running = true;
    ++job->runs_begun;
    ++statistics_.jobs_run;
    lock.unlock();
    Cpu::poll();
    running_here = job;
    job->function();
    running_here = nullptr;
    if (job->orphan) {  // set by this thread only
      delete job;
      lock.lock();
      return;
    }
    lock.lock();
    job->running = false;
    if (job->pending && !job->queued) enqueue(*job);
    if (waiters_) done_cv_.notify_all();
  }

  void time() {
    std::unique_lock lock(m_);
    for (;;) {
      const Instant t = now();
      while (!deadlines_.empty() && deadlines_.begin()->first.first <= t) {
        Job& job = *deadlines_.begin()->second;
        drop_deadline(job);
        if (job.pending) continue;
        job.pending = true;
        if (!job.running) enqueue(job);
      }
      timer_sleeps_until_ = deadlines_.empty() ? kNever : deadlines_.begin()->first.first;
      if (timer_sleeps_until_ == kNever) {
        timer_cv_.wait(lock);
      } else {
        timer_cv_.wait_until(lock, Steady::time_point(timer_sleeps_until_.time_since_epoch()));
      }
      timer_sleeps_until_ = Instant::min();  // awake: no need to wake it
      ++statistics_.timer_wakeups;
    }
  }

  std::mutex m_;
  std::condition_variable work_cv_;
  std::condition_variable timer_cv_;
  std::condition_variable done_cv_;
  std::set<std::pair<Key, Job*>> deadlines_;
  uint64_t orders_ = 0;
  bool timer_thread_ = false;
  Instant timer_sleeps_until_ = Instant::min();
  Job* first_ = nullptr;
  Job* last_ = nullptr;
  unsigned queued_ = 0;
  unsigned idle_ = 0;
  unsigned waiters_ = 0;
  PoolStatistics statistics_;
};

}  // namespace

Timer::Timer(std::function<void()> callback) : job_(new Job(std::move(callback))) {}
Timer::~Timer() { Pool::get().destroy(job_); }
void Timer::arm(Instant deadline) { Pool::get().arm(*job_, deadline); }
bool Timer::cancel() { return Pool::get().cancel(*job_, true); }
bool Timer::cancel_nowait() { return Pool::get().cancel(*job_, false); }
bool Timer::armed() const { return Pool::get().armed(*job_); }

Work::Work(std::function<void()> call) : job_(new Job(std::move(call))) {}
Work::~Work() { Pool::get().destroy(job_); }
bool Work::schedule() { return Pool::get().schedule(*job_); }
bool Work::cancel_and_wait() { return Pool::get().cancel(*job_, true); }
void Work::flush() { Pool::get().flush(*job_); }

PoolStatistics pool_statistics() { return Pool::get().statistics(); }

}  // namespace bmcpair::rt::inline native
