// Cross-calls and panic of the modelled runtime: the queue that the native one uses (call_queue.h), with tasks as Cpus.
// A task answers at its scheduling points; one that blocks counts as stopped. Nothing of it costs anything before
// the first cross-call.
#include "host_driver/runtime/call_queue.h"
#include "host_driver/runtime/runtime.h"

namespace bmcpair::rt::inline modelled {

namespace {

void nothing(void*) {}

void pause(detail::CrossCalls& calls, unsigned self) {
  calls.poll(self);
  yield();
}

}  // namespace

// The queue's own steps are no scheduling points here; at its spin locks the task waits all the same.
class World::InCalls {
 public:
  explicit InCalls(World& world)
      : world_(world), task_(*world.running_), quiet_(world.quiet_), in_calls_(task_.in_calls) {
    world_.quiet_ = true;
    task_.in_calls = true;
  }
  ~InCalls() {
    world_.quiet_ = quiet_;
    task_.in_calls = in_calls_;
  }
  InCalls(const InCalls&) = delete;
  InCalls& operator=(const InCalls&) = delete;

 private:
  World& world_;
  Task& task_;
  const bool quiet_;
  const bool in_calls_;
};

void World::start_calls() {
  InCalls here(*this);
  calls_ = std::make_shared<detail::CrossCalls>(kTasksMax, &pause);
  for (auto& t : tasks_) enlist(*t);
}

void World::enlist(Task& task) {
  if (task.device || task.state == Task::State::kDone) return;
  InCalls here(*this);
  task.cpu = calls_->arrive();
  if (task.state == Task::State::kBlocked && task.interrupts_disabled == 0) calls_->fall_asleep(static_cast<unsigned>(task.cpu));
}

void World::fall_asleep(Task& task) {
  if (task.cpu < 0 || task.interrupts_disabled != 0) return;
  InCalls here(*this);
  calls_->fall_asleep(static_cast<unsigned>(task.cpu));
}

void World::wake_up(Task& task) {
  if (task.cpu < 0 || task.interrupts_disabled != 0) return;
  {
    InCalls here(*this);
    calls_->wake_up(static_cast<unsigned>(task.cpu));
  }
  park_if_panicking(task);
}

void World::park_if_panicking(Task& task) {
  if (!panic_.begun || task.in_panic || task.device || task.frozen || task.interrupts_disabled != 0) return;
  task.frozen = true;
  fall_asleep(task);
  switch_away(Site("stopped by a panic"));
  InCalls here(*this);
  calls_->wake_up(static_cast<unsigned>(task.cpu));
}

void World::run_calls() {
  Task& t = *running_;
  if (t.cpu < 0 || t.in_calls || t.interrupts_disabled != 0) return;
  t.in_calls = true;
  calls_->poll(static_cast<unsigned>(t.cpu));
  t.in_calls = false;
  park_if_panicking(t);
}

bool World::cross_call(void (*function)(void*), void* argument, bool wait, Duration limit) {
  if (!calls_) start_calls();
  Task& t = *running_;
  t.in_calls = true;
  const bool done = calls_->call(static_cast<unsigned>(t.cpu), function, argument,
                                 wait ? CrossCall::kWait : CrossCall::kNoWait, limit);
  t.in_calls = false;
  return done;
}

bool World::begin_panic(bool at_once) {
  Task& t = *running_;
  if (panic_.begun) return false;
  panic_.begun = true;
  panic_.task = t.id;
  t.in_panic = true;
  if (!at_once) cross_call(nothing, nullptr, true, std::chrono::seconds(1));
  freeze_others();
  for (auto& other : tasks_) {
    if (!other->frozen) continue;
    // Whoever has stopped, or sleeps, has said so with a release.
    other->known_shared = true;
    acquire({other->known, other->id, other->epoch++});
  }
  if (story_) tell(Side::kHost, "PANIC: every other task has stopped where it stands");
  return true;
}

void World::end_panic() {
  if (!panic_.begun) return;
  panic_.begun = false;
  running_->in_panic = false;
  thaw();
}

}  // namespace bmcpair::rt::inline modelled
