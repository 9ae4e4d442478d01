// Users: limits, delivery, their end; events, command receivers, the watch mask, maintenance mode (reference E.1,
// E.7-E.9, E.12, E.14).
#include <string>
#include <utility>

#include "host_driver/message_handler/interface.h"
#include "proto/ipmi/message.h"

namespace bmcpair::host::inline BMCPAIR_RT {

MessageCharge& MessageCharge::operator=(MessageCharge&& other) noexcept {
  if (this != &other) {
    release();
    user_ = std::move(other.user_);
    other.user_.reset();
  }
  return *this;
}

MessageCharge::~MessageCharge() { release(); }

void MessageCharge::release() {
  if (auto user = std::exchange(user_, nullptr)) user->messages.fetch_sub(1, std::memory_order_acq_rel);
}

}  // namespace bmcpair::host::inline BMCPAIR_RT

namespace bmcpair::host::inline BMCPAIR_RT::detail {

// ---- users
// -----------------------------------------------------------------------------------------------------------

UserState::UserState(std::shared_ptr<Interface> interface_, int number_, UserHandlers handlers_)
    : Tracked("user"),
      interface(std::move(interface_)),
      number(number_),
      handlers(std::move(handlers_)),
      deliver_work([this] { run_deliver(); }) {}

std::optional<MessageCharge> UserState::charge() {
  if (messages.fetch_add(1, std::memory_order_acq_rel) >= interface->core->options.messages_per_user_max) {
    messages.fetch_sub(1, std::memory_order_acq_rel);
    return std::nullopt;
  }
  touch();
  return MessageCharge(shared_from_this());
}

bool UserState::enqueue(RecvMessage message) {
  {
    rt::LockGuard lock(queue_mutex);
    const bool dead = dropping || shutdown_wanted || !alive.load(std::memory_order_acquire);
    if ((dead && !interface->profile().mh_answers_dead_users) || !handlers.receive) return false;
    queue.push_back(std::move(message));
  }
  deliver_work.schedule();
  return true;
}

void UserState::enqueue_pretimeout() {
  if (!handlers.watchdog_pretimeout) return;
  {
    rt::LockGuard lock(queue_mutex);
    if (dropping || shutdown_wanted) return;
    ++pretimeouts;
  }
  deliver_work.schedule();
}

// One at a time by being a Work. A callback may end this user: the state lives until this returns.
void UserState::run_deliver() {
  const auto self = weak_from_this().lock();
  if (!self) return;
  for (;;) {
    std::optional<RecvMessage> message;
    bool pretimeout = false;
    {
      rt::LockGuard lock(queue_mutex);
      if (!dropping && pretimeouts) {
        --pretimeouts;
        pretimeout = true;
      } else if (!dropping && !queue.empty()) {
        message = std::move(queue.front());
        queue.pop_front();
      } else if (shutdown_wanted && !shutdown_done) {
        shutdown_done = true;
      } else {
        return;
      }
    }
    if (message) {
      handlers.receive(std::move(*message));
    } else if (pretimeout) {
      handlers.watchdog_pretimeout();
    } else if (handlers.shutdown) {
      handlers.shutdown();
    }
  }
}

void UserState::end(bool keep_queue) {
  std::deque<RecvMessage> unread;
  const bool first = alive.exchange(false, std::memory_order_acq_rel);
  if (!keep_queue) {
    rt::LockGuard lock(queue_mutex);
    dropping = true;
    unread.swap(queue);
  }
  unread.clear();
  if (first) {
    Interface& i = *interface;
    if (handlers.watchdog_pretimeout) i.remove_watch(WatchKind::kWatchdog);
    {
      rt::LockGuard lock(i.events_mutex);
      if (gets_events.exchange(false, std::memory_order_acq_rel)) i.event_users.fetch_sub(1, std::memory_order_acq_rel);
    }
    // Entries made before `alive` was cleared are in the table, later ones are refused under this lock (H4-1, H4-2).
    std::vector<std::unique_ptr<Pending>> forgotten;
    {
      rt::LockGuard lock(i.sequence_mutex);
      forgotten = i.sequences.take(this);
    }
    if (!forgotten.empty()) i.remove_watch(WatchKind::kMessages, static_cast<unsigned>(forgotten.size()));
    for (auto& p : forgotten) {
      // Nobody hears of them, but for who sits in call().
      if (p->sync) {
        i.deliver_error(std::move(p), static_cast<uint8_t>(ipmi::CompletionCode::kUnspecified), ErrorCode::kShutdown);
      }
    }
    forgotten.clear();
    i.drop_receivers(*this);
    {
      rt::LockGuard lock(i.users_mutex);
      i.users.unlink(this);
    }
    if (!i.profile().mh_user_end_skips_grace) i.users_rcu.synchronize();
    i.user_count.fetch_sub(1, std::memory_order_acq_rel);
    {
      rt::LockGuard lock(queue_mutex);
      shutdown_wanted = true;
    }
    deliver_work.schedule();
    ended.wake_all();
  } else {
    rt::UniqueLock lock(queue_mutex);
    ended.wait(lock, [this] { return shutdown_wanted; });
  }
  // Waits for the callbacks, unless this is one of them (S4-F).
  deliver_work.flush();
}

// ---- events
// ----------------------------------------------------------------------------------------------------------

Status Interface::set_gets_events(UserState& user, bool on) {
  rt::RcuReader below(down_rcu);
  if (shutting_down()) return shutdown_error(user.number);
  {
    rt::LockGuard lock(events_mutex);
    if (!user.alive.load(std::memory_order_acquire)) return shutdown_error(user.number);
    if (user.gets_events.exchange(on, std::memory_order_acq_rel) == on) return {};
    event_users.fetch_add(on ? 1 : -1, std::memory_order_acq_rel);
    if (!on) return {};
    // All of the queue goes to the first, in order and before anything newer: the lock is held throughout.
    while (!waiting_events.empty()) {
      auto [lun, record] = std::move(waiting_events.front());
      waiting_events.pop_front();
      auto charge = user.charge();
      if (!charge) {
        count(Statistic::kDroppedEvents);
        continue;
      }
      RecvMessage event;
      event.type = RecvType::kAsyncEvent;
      event.address = SystemInterfaceAddress{lun};
      event.netfn = ipmi::kNetFnApp | 1;
      event.lun = lun;
      event.cmd = kCmdReadEventBuffer;
      event.data = std::move(record);
      event.charge = std::move(*charge);
      user.enqueue(std::move(event));
    }
    events_overflowed = false;
  }
  core->want_tick();
  return {};
}

// ---- command receivers
// -----------------------------------------------------------------------------------------------

Status Interface::register_for_cmd(const std::shared_ptr<UserState>& user, uint8_t netfn, uint8_t cmd,
                                   uint32_t channels) {
  rt::RcuReader below(down_rcu);
  if (shutting_down()) return shutdown_error(user->number);
  {
    rt::LockGuard lock(receivers_mutex);
    if (!user->alive.load(std::memory_order_acquire)) return shutdown_error(user->number);
    for (CommandReceiver* r = receivers.first(); r; r = receivers.after(r)) {
      if (r->netfn == netfn && r->cmd == cmd && (r->channels.load(std::memory_order_relaxed) & channels)) {
        return Error{ErrorCode::kBusy, "command receiver: NetFn " + std::to_string(netfn) + " command " +
                                           std::to_string(cmd) + " has one on one of these channels"};
      }
    }
    if (rt::fault_point("mh.allocate.receiver")) {
      return Error{ErrorCode::kUnavailable, "command receiver: no memory for one"};
    }
    auto* r = new CommandReceiver;
    r->netfn = netfn;
    r->cmd = cmd;
    r->channels.store(channels, std::memory_order_relaxed);
    r->user = user;
    receivers.push_back(r);
  }
  add_watch(WatchKind::kCommands);
  return {};
}

Status Interface::unregister_for_cmd(UserState& user, uint8_t netfn, uint8_t cmd, uint32_t channels) {
  bool found = false;
  std::vector<CommandReceiver*> gone;
  {
    rt::LockGuard lock(receivers_mutex);
    for (CommandReceiver* r = receivers.first(); r;) {
      CommandReceiver* after = receivers.after(r);
      const uint32_t had = r->channels.load(std::memory_order_relaxed);
      if (r->user.get() == &user && r->netfn == netfn && r->cmd == cmd && (had & channels)) {
        found = true;
        r->channels.store(had & ~channels, std::memory_order_release);
        if ((had & ~channels) == 0) {
          receivers.unlink(r);
          gone.push_back(r);
        }
      }
      r = after;
    }
  }
  if (!found) {
    return Error{ErrorCode::kNotFound, "command receiver: this user has none for NetFn " + std::to_string(netfn) +
                                           " command " + std::to_string(cmd) + " on these channels"};
  }
  if (gone.empty()) return {};
  receivers_rcu.synchronize();
  for (CommandReceiver* r : gone) delete r;
  remove_watch(WatchKind::kCommands, static_cast<unsigned>(gone.size()));
  return {};
}

// Also gives the watch back, which Linux 6.1 forgets (G-82).
void Interface::drop_receivers(const UserState& user) {
  // The interface's own end took them all; so it thinks.
  if (profile().mh_splice_tests_destination && shutting_down()) return;
  std::vector<CommandReceiver*> gone;
  {
    rt::LockGuard lock(receivers_mutex);
    for (CommandReceiver* r = receivers.first(); r;) {
      CommandReceiver* after = receivers.after(r);
      if (r->user.get() == &user) {
        receivers.unlink(r);
        gone.push_back(r);
      }
      r = after;
    }
  }
  if (gone.empty()) return;
  receivers_rcu.synchronize();
  for (CommandReceiver* r : gone) delete r;
  if (!profile().mh_user_end_keeps_command_watch) {
    remove_watch(WatchKind::kCommands, static_cast<unsigned>(gone.size()));
  }
}

// One grace period for all of them.
void Interface::drop_all_receivers() {
  CommandReceiver* gone = nullptr;
  CommandReceiver private_head;
  {
    rt::LockGuard lock(receivers_mutex);
    gone = profile().mh_splice_to_private_head
               ? receivers.splice_to(&private_head, receivers_rcu)
               : receivers.splice_all(receivers_rcu, profile().mh_splice_tests_destination);
  }
  unsigned n = 0;
  while (gone) {
    CommandReceiver* after = RcuList<CommandReceiver>::next_spliced(gone);
    delete gone;
    gone = after;
    ++n;
  }
  if (n) remove_watch(WatchKind::kCommands, n);
}

// ---- the watch mask
// --------------------------------------------------------------------------------------------------

void Interface::add_watch(WatchKind kind, unsigned n) {
  rt::LockGuard lock(watch_mutex);
  watch_counts[static_cast<size_t>(kind)] += n;
  update_watch();
}

void Interface::remove_watch(WatchKind kind, unsigned n) {
  rt::LockGuard lock(watch_mutex);
  watch_counts[static_cast<size_t>(kind)] -= n;
  update_watch();
}

// The layer below hears of changes in the order in which they happen.
void Interface::update_watch() {
  unsigned mask = 0;
  for (size_t i = 0; i < watch_counts.size(); ++i) mask |= watch_counts[i] ? 1u << i : 0;
  if (mask == watch_mask) return;
  watch_mask = mask;
  rt::RcuReader below(down_rcu);
  if (!shutting_down()) smi->set_need_watch(mask);
}

// ---- maintenance mode
// ------------------------------------------------------------------------------------------------

// Under maintenance_mutex.
void Interface::set_maintenance_state(MaintenanceState state) {
  const MaintenanceState old = maintenance_state.exchange(state, std::memory_order_acq_rel);
  const bool was = old != MaintenanceState::kOff;
  const bool is = state != MaintenanceState::kOff;
  if (was == is) return;
  rt::RcuReader below(down_rcu);
  if (!shutting_down()) smi->set_maintenance_mode(is);
}

Status Interface::set_maintenance_mode(MaintenanceMode mode) {
  rt::LockGuard lock(maintenance_mutex);
  if (maintenance_mode == mode) return {};
  switch (mode) {
    case MaintenanceMode::kAuto:
      set_maintenance_state(maintenance_remaining > Duration::zero() ? MaintenanceState::kFirmware
                                                                     : MaintenanceState::kOff);
      break;
    case MaintenanceMode::kOff:
      set_maintenance_state(MaintenanceState::kOff);
      break;
    case MaintenanceMode::kOn:
      set_maintenance_state(MaintenanceState::kFirmware);
      break;
    default:
      return Error{ErrorCode::kInvalidArgument,
                   "maintenance mode " + std::to_string(static_cast<int>(mode)) + " is none of 0, 1, 2"};
  }
  maintenance_mode = mode;
  return {};
}

// A reset, or firmware commands: they start the time by themselves, and only ever lead upward (6.18, G-61).
void Interface::note_maintenance_command(uint8_t netfn) {
  const auto state = netfn == ipmi::kNetFnFirmware ? MaintenanceState::kFirmware : MaintenanceState::kReset;
  {
    rt::LockGuard lock(maintenance_mutex);
    if (maintenance_mode != MaintenanceMode::kAuto || maintenance_state.load(std::memory_order_relaxed) > state) return;
    maintenance_remaining = core->options.maintenance_time;
    set_maintenance_state(state);
  }
  if (profile().mh_maintenance_without_tick) return;
  core->want_tick();
}

bool Interface::tick_maintenance(Duration elapsed) {
  rt::LockGuard lock(maintenance_mutex);
  if (maintenance_remaining == Duration::zero()) return false;
  maintenance_remaining = maintenance_remaining > elapsed ? maintenance_remaining - elapsed : Duration::zero();
  if (maintenance_remaining > Duration::zero()) return true;
  if (maintenance_mode == MaintenanceMode::kAuto) set_maintenance_state(MaintenanceState::kOff);
  return false;
}

}  // namespace bmcpair::host::inline BMCPAIR_RT::detail
