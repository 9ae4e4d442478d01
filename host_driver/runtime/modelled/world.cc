#include "host_driver/runtime/modelled/world.h"

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cstdlib>
#include <exception>
#include <utility>

namespace bmcpair::rt::inline modelled {

namespace {

constexpr uint32_t kUnseen = UINT32_MAX;
constexpr size_t kClocksPerBlock = 64;
constexpr size_t kHistoriesPerBlock = 16;

std::atomic<uint64_t> runs{0};

std::string text_of(Duration d) {
  const int64_t us = to_us(d);
  if (us % 1000 != 0 || us == 0) return std::to_string(us) + " us";
  return std::to_string(us / 1000) + " ms";
}

}  // namespace

constinit thread_local World* World::current_ = nullptr;
ChoiceBook World::no_book_;

World::World(Director& director, WorldOptions options, StoryFunction story)
    : director_(director),
      book_(director.book() ? director.book() : &no_book_),
      options_(options),
      stalls_(options.stalls ? kStalls : 0),
      story_(std::move(story)),
      run_id_(++runs) {
  ready_.reserve(kTasksMax);
  ids_.reserve(kTasksMax);
}

World::~World() {
  assert(current_ != this);
}

// ---- running -------------------------------------------------------------------------------------------------------

void World::run(std::function<void()> main) {
  assert(!current_ && tasks_.empty());
  sc_ = new_clocks();
  Task& first = start_task("main", std::move(main), Kind::kThread);
  ready_.clear();
  current_ = this;
  running_ = &first;
  Fiber::switch_to(root_, first.fiber);
  current_ = nullptr;
  for (auto& t : tasks_) t->fiber.discard();
}

void World::task_main(void* argument) {
  Task& t = *static_cast<Task*>(argument);
  World& w = *current_;
  if (w.calls_) w.run_calls();
  // Told from outside of the handler: who ends the run never comes back.
  std::string escaped;
  try {
    t.function();
  } catch (const std::exception& e) {
    escaped = e.what();
  }
  if (!escaped.empty()) w.violate("exception", t.name + " ends with an exception that nobody caught: " + escaped);
  t.function = nullptr;
  if (t.id == 0) {
    w.check_end();
    w.finish();
  }
  if (w.calls_) w.fall_asleep(t);
  t.end = w.release();
  t.state = Task::State::kDone;
  w.wake_all(&t);
  w.switch_away(Site("end of a task"));
  std::abort();
}

Task& World::start_task(std::string name, std::function<void()> function, Kind kind) {
  if (tasks_.size() == kTasksMax) violate("bound", "more than " + std::to_string(kTasksMax) + " tasks");
  tasks_.push_back(std::make_unique<Task>());
  Task& t = *tasks_.back();
  t.id = static_cast<TaskId>(tasks_.size() - 1);
  t.name = std::move(name);
  t.function = std::move(function);
  t.daemon = kind != Kind::kThread;
  t.device = kind == Kind::kDevice;
  t.known = new_clocks();
  if (running_) {
    const Stamp stamp = release();
    combine(t.known, stamp);
  }
  t.fiber.create(&World::task_main, &t);
  if (calls_) enlist(t);
  make_ready(t);
  return t;
}

void World::join(Task& task, const Site& site) {
  point(site);
  while (task.state != Task::State::kDone) block(&task, "end of", site, kNever);
  acquire(task.end);
}

void World::finish() {
  over_ = true;
  Fiber::switch_to(running_->fiber, root_);
  std::abort();
}

void World::violate(std::string_view oracle, std::string sentence) {
  if (oracle_.empty()) {
    oracle_ = oracle;
    sentence_ = std::move(sentence);
  }
  if (!running_ || current_ != this) std::abort();  // outside of a run
  finish();
}

void World::tell(Side side, std::string text) {
  if (story_) story_(now_, steps_, side, running_ ? std::string_view(running_->name) : std::string_view("world"), std::move(text));
}

// ---- scheduling ----------------------------------------------------------------------------------------------------

void World::point(const Site& site) {
  if (quiet_) return;
  if (++steps_ > options_.steps_max) no_end();
  const uint32_t n = static_cast<uint32_t>(ready_.size()) + 1 + stalls_;
  // Who is alone, and nothing is to come, does not stall: nothing would be different.
  const bool alone = ready_.empty();
  if (n > 1 && !(alone && next_wake_ == kNever) && !book_->passes_task(alone, n, site)) decide(site);
  if (calls_) run_calls();
}

uint32_t World::ask_director(Choice kind, uint32_t n, const Site& site) {
  const uint32_t picked = director_.choose(kind, n, site, {});
  note(picked);
  return picked;
}

Instant World::stall_until(uint32_t index) const {
  using std::chrono::microseconds;
  using std::chrono::milliseconds;
  static constexpr Duration kLengths[kStalls - 1] = {microseconds(50), milliseconds(1),   milliseconds(20),
                                                     milliseconds(300), milliseconds(3000), milliseconds(30000)};
  if (index < kStalls - 1) return now_ + kLengths[index];
  // Deadlines of hours are nobody's that matters here.
  constexpr Duration kNearest = std::chrono::minutes(1);
  return (next_wake_ == kNever || next_wake_ - now_ > kNearest ? now_ : next_wake_) + microseconds(1);
}

void World::decide(const Site& site) {
  ids_.clear();
  ids_.push_back(running_->id);
  for (Task* t : ready_) ids_.push_back(t->id);
  const auto tasks = static_cast<uint32_t>(ids_.size());
  const uint32_t picked = director_.choose(Choice::kTask, tasks + stalls_, site, ids_);
  if (picked == 0) return;
  note(site.hash + picked);
  if (picked < tasks) {
    Task* next = ready_[picked - 1];
    ready_.erase(ready_.begin() + (picked - 1));
    ready_.push_back(running_);
    run_task(*next);
    return;
  }
  if (story_) {
    tell(Side::kBoth, running_->name + " stalls at " + site.text() + " for " +
                          text_of(stall_until(picked - tasks) - now_));
  }
  block(nullptr, "stall", site, stall_until(picked - tasks));
}

// Which of the first n that are ready goes on.
uint32_t World::pick_ready(uint32_t n, const Site& site) {
  if (n < 2 || book_->passes_task(false, n, site)) return 0;
  ids_.clear();
  for (uint32_t i = 0; i < n; ++i) ids_.push_back(ready_[i]->id);
  return director_.choose(Choice::kTask, n, site, ids_);
}

void World::switch_away(const Site& site) {
  for (;;) {
    if (++steps_ > options_.steps_max) no_end();
    if (ready_.empty()) {
      if (next_wake_ == kNever) deadlock();
      if (next_wake_ > now_) now_ = next_wake_;
      if (now_.time_since_epoch() > options_.time_max) no_end();
      wake_due();
      continue;
    }
    const uint32_t picked = pick_ready(static_cast<uint32_t>(ready_.size()), site);
    Task* next = ready_[picked];
    ready_.erase(ready_.begin() + picked);
    note(site.hash + picked);
    run_task(*next);
    return;
  }
}

void World::run_task(Task& next) {
  if (&next == running_) return;
  Task& from = *running_;
  running_ = &next;
  note(next.id);
  const bool quiet = std::exchange(quiet_, false);
  Fiber::switch_to(from.fiber, next.fiber);
  quiet_ = quiet;
}

void World::make_ready(Task& task) {
  if (task.state == Task::State::kBlocked) --waiters_[slot_of(task.waits_on)];
  task.state = Task::State::kReady;
  task.wake_at = kNever;
  if (!task.frozen) ready_.push_back(&task);
}

void World::find_next_wake() {
  next_wake_ = kNever;
  for (auto& t : tasks_) {
    if (t->state == Task::State::kBlocked && !t->frozen && t->wake_at < next_wake_) next_wake_ = t->wake_at;
  }
}

void World::wake_due() {
  // In the order of their deadlines; of equals the older task first.
  for (;;) {
    Task* first = nullptr;
    for (auto& t : tasks_) {
      if (t->state != Task::State::kBlocked || t->frozen || t->wake_at > now_) continue;
      if (!first || t->wake_at < first->wake_at) first = t.get();
    }
    if (!first) break;
    first->timed_out = true;
    make_ready(*first);
  }
  find_next_wake();
}

void World::yield(const Site& site) {
  if (++steps_ > options_.steps_max) no_end();
  if (ready_.empty()) {
    // Who spins spins for a while, whatever comes.
    if (next_wake_ != kNever) block(nullptr, "yield", site, std::min(next_wake_, now_ + std::chrono::milliseconds(1)));
    return;
  }
  ready_.push_back(running_);
  // Not to itself: it has nothing to do.
  const uint32_t picked = pick_ready(static_cast<uint32_t>(ready_.size() - 1), site);
  Task* next = ready_[picked];
  ready_.erase(ready_.begin() + picked);
  note(site.hash + picked);
  run_task(*next);
  if (calls_) run_calls();
}

void World::sleep_until(Instant deadline, const Site& site) {
  if (deadline <= now_) {
    point(site);
    return;
  }
  block(nullptr, "sleep", site, deadline);
}

bool World::block(const void* on, std::string_view what, const Site& site, Instant deadline) {
  Task& t = *running_;
  // The same as below, where nobody else can go on before the deadline: a device between two of its accesses.
  if (ready_.empty() && deadline < next_wake_ && !calls_ && steps_ + 2 <= options_.steps_max &&
      deadline.time_since_epoch() <= options_.time_max) {
    steps_ += deadline > now_ ? 2 : 1;
    now_ = std::max(now_, deadline);
    note(site.hash);
    return false;
  }
  const bool answers = calls_ && !t.in_calls;  // otherwise it stands inside of a cross-call, at a spin lock
  if (answers) fall_asleep(t);
  t.state = Task::State::kBlocked;
  ++waiters_[slot_of(on)];
  t.waits_on = on;
  t.waits_for = what;
  t.waits_at = site;
  t.wake_at = deadline;
  t.timed_out = false;
  if (deadline < next_wake_) next_wake_ = deadline;
  if (now_ >= next_wake_) wake_due();
  switch_away(site);
  t.waits_on = nullptr;
  const bool woken = !t.timed_out;
  if (calls_ && !t.in_calls) wake_up(t);
  return woken;
}

void World::wake_waiters(const void* on) {
  bool first = false;
  for (auto& t : tasks_) {
    if (t->state != Task::State::kBlocked || t->waits_on != on || !on) continue;
    first = first || t->wake_at == next_wake_;
    make_ready(*t);
  }
  if (first) find_next_wake();
}

void World::wake_one(const void* on) {
  ids_.clear();
  for (auto& t : tasks_) {
    if (t->state == Task::State::kBlocked && t->waits_on == on && !t->frozen) ids_.push_back(t->id);
  }
  if (ids_.empty()) return;
  uint32_t picked = 0;
  if (ids_.size() > 1) picked = choose(Choice::kData, static_cast<uint32_t>(ids_.size()), Site("who is woken"));
  wake(*tasks_[ids_[picked]], on);
}

void World::wake(Task& task, const void* on) {
  if (task.state != Task::State::kBlocked || task.waits_on != on) return;
  const bool first = task.wake_at == next_wake_;
  make_ready(task);
  if (first) find_next_wake();
}

bool World::put_off(Task& task, const void* on, Instant deadline) {
  if (task.state != Task::State::kBlocked || task.waits_on != on) return false;
  const bool first = task.wake_at == next_wake_;
  task.wake_at = deadline;
  if (first) {
    find_next_wake();
  } else if (!task.frozen) {
    next_wake_ = std::min(next_wake_, deadline);
  }
  return true;
}

bool World::anybody_waits(const void* on) const {
  return std::any_of(tasks_.begin(), tasks_.end(), [&](const auto& t) {
    return t->state == Task::State::kBlocked && t->waits_on == on;
  });
}

void World::freeze_others() {
  for (auto& t : tasks_) {
    if (t.get() != running_ && !t->device) t->frozen = true;
  }
  std::erase_if(ready_, [](Task* t) { return t->frozen; });
  find_next_wake();
}

void World::thaw() {
  for (auto& t : tasks_) {
    if (!t->frozen) continue;
    t->frozen = false;
    if (t->state == Task::State::kReady && t.get() != running_) ready_.push_back(t.get());
  }
  find_next_wake();
}

// ---- how a run ends ------------------------------------------------------------------------------------------------

std::string World::who_waits() const {
  std::string out;
  for (auto& t : tasks_) {
    if (t->state != Task::State::kBlocked || t->frozen || t->daemon) continue;
    if (!out.empty()) out += "; ";
    out += t->name + " waits for " + std::string(t->waits_for) + " at " + t->waits_at.text();
  }
  return out;
}

void World::no_end() {
  if (oracle_.empty()) {
    oracle_ = "no-end";
    sentence_ = "no end after " + std::to_string(steps_ - 1) + " steps and " + text_of(now_.time_since_epoch()) +
                " of virtual time; " + running_->name + " runs";
    if (const std::string w = who_waits(); !w.empty()) sentence_ += "; " + w;
  }
  finish();
}

void World::deadlock() {
  quiet_ = true;
  for (auto& t : tasks_) {
    if (t->state != Task::State::kBlocked || t->frozen || !t->condition || !(*t->condition)()) continue;
    quiet_ = false;
    violate("lost-wakeup", t->name + " waits at " + t->waits_at.text() + " for what has come already: nobody woke it");
  }
  quiet_ = false;
  violate("deadlock", "nothing can go on: " + who_waits());
}

void World::check_end() {
  for (auto& t : tasks_) {
    if (t->id != 0 && !t->daemon && t->state != Task::State::kDone) {
      violate("left-behind", t->name + " has not ended when everything is over");
    }
  }
  if (!tracked_.empty()) {
    violate("leak", std::to_string(tracked_.size()) + " object(s) are left when everything is over, the first a " +
                        std::string(tracked_.front().kind));
  }
}

// ---- memory --------------------------------------------------------------------------------------------------------

Clocks* World::new_clocks(const Clocks& as) {
  if (clocks_used_ % kClocksPerBlock == 0) clock_blocks_.push_back(std::unique_ptr<Clocks[]>(new Clocks[kClocksPerBlock]));
  Clocks* clocks = &clock_blocks_.back()[clocks_used_++ % kClocksPerBlock];
  *clocks = as;
  return clocks;
}

History* World::new_history() {
  if (histories_used_ % kHistoriesPerBlock == 0) {
    history_blocks_.push_back(std::unique_ptr<History[]>(new History[kHistoriesPerBlock]));
  }
  return &history_blocks_.back()[histories_used_++ % kHistoriesPerBlock];
}

Clocks* World::own_known(Task& task) {
  if (task.known_shared) {
    task.known = new_clocks(*task.known);
    task.known_shared = false;
  }
  return task.known;
}

void World::combine(Clocks* into, const Stamp& stamp) {
  const size_t n = tasks_.size();
  for (size_t i = 0; i < n; ++i) into->at[i] = std::max(into->at[i], stamp.known->at[i]);
  into->at[stamp.task] = std::max(into->at[stamp.task], stamp.epoch);
}

void World::fence(std::memory_order order) {
  Task& t = *running_;
  if (acquires(order) && t.seen) {
    Clocks* mine = own_known(t);
    for (size_t i = 0; i < tasks_.size(); ++i) mine->at[i] = std::max(mine->at[i], t.seen->at[i]);
  }
  if (order == std::memory_order_seq_cst) {
    Clocks* mine = own_known(t);
    for (size_t i = 0; i < tasks_.size(); ++i) mine->at[i] = std::max(mine->at[i], sc_->at[i]);
    combine(sc_, release());
  }
  if (releases(order)) t.fence = release();
}

void World::remember(const Stamp& stamp) {
  Task& t = *running_;
  if (!t.seen) t.seen = new_clocks();
  combine(t.seen, stamp);
}

Location::Location(uint64_t value) {
  newest_.value = value;
  enter_run();
}

History& Location::history() const {
  if (history_) return *history_;
  history_ = World::current()->new_history();
  History& h = *history_;
  h.newest = 0;
  h.kept = 0;
  auto put = [&](const Plain& plain, Instant seen_by_all) {
    Store& s = h.at(h.newest += h.kept);
    ++h.kept;
    s.value = plain.value;
    s.release = plain.release;
    s.writer = plain.writer;
    s.seq_cst = plain.seq_cst;
    s.seen_by_all = seen_by_all;
    s.seen.fill(kUnseen);
    s.seen[plain.writer] = plain.epoch;
  };
  if (previous_.there) put(previous_, kNever);  // where it is not the newest, that one decides
  put(newest_, newest_.seen_by_all);
  return h;
}

uint64_t Location::load(std::memory_order order, const Site& site) const {
  World* w = enter_run();
  if (!w) return newest_.value;
  w->point(site);
  if (history_ || !ordered(*w)) return load_any(*w, order, site);
  take(*w, order, newest_.release);
  return newest_.value;
}

uint64_t Location::load_any(World& w, std::memory_order order, const Site& site) const {
  Task& t = w.self();
  History& h = history();
  const uint32_t picked = h.kept > 1 && h.at(h.newest).seen[t.id] == kUnseen ? pick_store(h, order, site) : 0;
  Store& s = h.at(h.newest - picked);
  if (s.seen[t.id] == kUnseen) s.seen[t.id] = t.epoch;
  take(w, order, s.release);
  return s.value;
}

// How many stores before the newest.
uint32_t Location::pick_store(History& h, std::memory_order order, const Site& site) {
  World& w = *World::current();
  const Task& t = w.self();
  const bool seq_cst = order == std::memory_order_seq_cst;
  const size_t tasks = w.tasks_.size();
  auto last = [&](const Store& s) {
    if (s.seen[t.id] != kUnseen || (seq_cst && s.seq_cst) || s.seen_by_all <= w.now()) return true;
    for (size_t i = 0; i < tasks; ++i) {
      if (t.known->at[i] >= s.seen[i]) return true;
    }
    return false;
  };
  uint32_t readable = 1;
  while (readable < h.kept && !last(h.at(h.newest - (readable - 1)))) ++readable;
  const uint32_t picked = readable > 1 ? w.choose(Choice::kLoad, readable, site) : 0;
  if (picked != 0 && w.wants_story()) {
    w.tell(World::Side::kHost, t.name + " reads an older value at " + site.text());
  }
  return picked;
}

void Location::store(uint64_t value, std::memory_order order, const Site& site) {
  if (World* w = enter_run()) w->point(site);
  put(value, order, false);
}

// The newest value: a read-modify-write reads no other.
uint64_t Location::begin_update(std::memory_order order, const Site& site) {
  if (World* w = enter_run()) {
    w->point(site);
    acquire_newest(*w, order);
  }
  return newest_.value;
}

void Location::acquire_newest(World& w, std::memory_order order) {
  if (!history_ && ordered(w)) {
    take(w, order, newest_.release);
    return;
  }
  Task& t = w.self();
  Store& s = history().at(history_->newest);
  if (s.seen[t.id] == kUnseen) s.seen[t.id] = t.epoch;
  take(w, order, s.release);
}

void Location::put(uint64_t value, std::memory_order order, bool update) {
  World* const w = World::current();
  if (!w) {
    newest_.value = value;
    return;
  }
  Task& t = w->self();
  if (!history_ && !ordered(*w)) history();
  const uint32_t epoch = t.epoch;
  Stamp stamp = releases(order) ? w->release() : t.fence;
  if (update) {
    // A read-modify-write goes on with the release sequence.
    const Stamp& before = history_ ? history_->at(history_->newest).release : newest_.release;
    if (before.known) {
      if (!stamp.known) {
        stamp = before;
      } else if (before.task != stamp.task && stamp.known->at[before.task] < before.epoch) {
        Clocks* both = w->new_clocks(*stamp.known);
        w->combine(both, before);
        stamp.known = both;
      }
    }
  }
  const bool seq_cst = order == std::memory_order_seq_cst;
  const Instant seen_by_all = w->now() + kSeenWithin;
  if (!history_) {
    previous_ = newest_;
    newest_ = {value, stamp, seen_by_all, epoch, t.id, seq_cst, true};
    return;
  }
  newest_.value = value;
  History& h = *history_;
  ++h.newest;
  if (h.kept < kStoresKept) ++h.kept;
  Store& s = h.at(h.newest);
  s.value = value;
  s.release = stamp;
  s.writer = t.id;
  s.seq_cst = seq_cst;
  s.seen_by_all = seen_by_all;
  s.seen.fill(kUnseen);
  s.seen[t.id] = epoch;
}

bool Location::compare_exchange(uint64_t& expected, uint64_t desired, std::memory_order success,
                                std::memory_order failure, const Site& site) {
  World* w = enter_run();
  if (w) w->point(site);
  const bool equal = newest_.value == expected;
  if (w) acquire_newest(*w, equal ? success : failure);
  if (!equal) {
    expected = newest_.value;
    return false;
  }
  put(desired, success, true);
  return true;
}

// ---- races ---------------------------------------------------------------------------------------------------------

World* Guarded::enter_run() const {
  World* w = World::current();
  if (w && run_ != w->run_id()) {
    run_ = w->run_id();
    write_epoch_ = 0;
    reads_.clear();
  }
  return w;
}

void Guarded::race(const char* what, const Site& site) {
  World& w = *World::current();
  w.violate("race", w.self().name + ' ' + what + " at " + site.text());
}

void Guarded::read(const Site& site) const {
  World* w = enter_run();
  if (!w) return;
  if (write_epoch_ != 0 && !w->knows(writer_, write_epoch_)) {
    race("reads what another task wrote without anything between them that orders it,", site);
  }
  const TaskId self = w->self_id();
  for (auto& [task, epoch] : reads_) {
    if (task != self) continue;
    epoch = w->self().epoch;
    return;
  }
  reads_.emplace_back(self, w->self().epoch);
}

void Guarded::write(const Site& site) {
  World* w = enter_run();
  if (!w) return;
  if (write_epoch_ != 0 && !w->knows(writer_, write_epoch_)) {
    race("writes what another task wrote without anything between them that orders it,", site);
  }
  for (const auto& [task, epoch] : reads_) {
    if (!w->knows(task, epoch)) {
      race("writes what another task reads without anything between them that orders it,", site);
    }
  }
  reads_.clear();
  writer_ = w->self_id();
  write_epoch_ = w->self().epoch;
}

// ---- locks and objects ---------------------------------------------------------------------------------------------

uint16_t World::new_lock(const Site& first_use) {
  locks_.push_back({first_use, {}});
  return static_cast<uint16_t>(locks_.size() - 1);
}

bool World::lock_leads_to(uint16_t from, uint16_t to) const {
  std::vector<uint16_t> open{from};
  std::vector<bool> seen(locks_.size());
  while (!open.empty()) {
    const uint16_t at = open.back();
    open.pop_back();
    if (at == to) return true;
    if (seen[at]) continue;
    seen[at] = true;
    open.insert(open.end(), locks_[at].after.begin(), locks_[at].after.end());
  }
  return false;
}

void World::check_order(uint16_t lock, const Site& site) {
  for (uint16_t h : running_->locks) {
    auto& after = locks_[h].after;
    if (locks_[h].last_after == lock) continue;
    locks_[h].last_after = lock;
    if (std::find(after.begin(), after.end(), lock) != after.end()) continue;
    if (lock_leads_to(lock, h)) {
      violate("lock-order", running_->name + " takes the lock of " + locks_[lock].first_use.text() + " at " +
                                site.text() + " while it holds that of " + locks_[h].first_use.text() +
                                "; elsewhere they are taken the other way round");
    }
    after.push_back(lock);
  }
}

uint32_t World::track(std::string_view kind) {
  tracked_.push_back({++tracked_ids_, kind});
  return tracked_ids_;
}

void World::untrack(uint32_t id, std::string_view kind, const void* object) {
  if (options_.keep) options_.keep(object);
  for (size_t i = tracked_.size(); i-- > 0;) {
    if (tracked_[i].id != id) continue;
    tracked_[i] = tracked_.back();
    tracked_.pop_back();
    return;
  }
  violate("double-free", "a " + std::string(kind) + " ends twice");
}

void World::allow_fault(std::string name, unsigned times, Duration hold) {
  for (FaultPoint& point : faults_) {
    if (point.name != name) continue;
    point.times = times;
    point.hold = hold;
    return;
  }
  faults_.push_back({std::move(name), times, hold});
}

void World::mark(std::string name) { marks_.emplace_back(std::move(name), 0); }

unsigned World::passed(std::string_view name) const {
  for (const auto& [marked, times] : marks_) {
    if (marked == name) return times;
  }
  return 0;
}

bool World::at_fault_point(std::string_view name) {
  for (auto& [marked, times] : marks_) {
    if (marked != name) continue;
    ++times;
    point(Site(name));
    break;
  }
  for (FaultPoint& point : faults_) {
    if (point.name != name || point.times == 0) continue;
    if (choose(Choice::kData, 2, Site(name)) == 0) return false;
    --point.times;
    const Duration hold = point.hold;
    if (story_) tell(Side::kHost, "FAULT " + std::string(name) + (hold > Duration(0) ? ": held for " + text_of(hold) : ""));
    if (hold > Duration(0)) block(nullptr, "what holds it", Site(name), now_ + hold);
    return true;
  }
  return false;
}

}  // namespace bmcpair::rt::inline modelled
