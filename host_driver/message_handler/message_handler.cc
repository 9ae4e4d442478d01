#include "host_driver/message_handler/message_handler.h"

#include <algorithm>
#include <string>
#include <utility>

#include "host_driver/message_handler/interface.h"
#include "proto/ipmi/message.h"

namespace bmcpair::host::inline BMCPAIR_RT {

using detail::Interface;
using detail::UserState;

namespace detail {

Error shutdown_error(int number) {
  return Error{ErrorCode::kShutdown,
               "interface " + std::to_string(number) + " is gone or going, or its user has ended"};
}

Interface::Interface(std::shared_ptr<MessageHandler::Core> core_, std::shared_ptr<SmiHandlers> smi_)
    : Tracked("interface"),
      core(std::move(core_)),
      smi(std::move(smi_)),
      receive_work([this] { run_receive(); }),
      sequences(0, core->profile.mh_retry_time_underflows) {
  for (auto& a : own_address) a.store(0x20, std::memory_order_relaxed);
  for (auto& l : own_lun) l.store(2, std::memory_order_relaxed);
}

Interface::~Interface() = default;

const state_machine::Profile& Interface::profile() const { return core->profile; }

void Interface::log(const std::string& line) const {
  if (core->options.log) core->options.log("interface " + std::to_string(reserved_number) + ": " + line);
}

}  // namespace detail

// ---- Core: the list
// --------------------------------------------------------------------------------------------------

MessageHandler::Core::Core(MessageHandlerOptions options_)
    : options(std::move(options_)),
      profile(options.profile ? *options.profile : state_machine::hardened()),
      // Who sees the number sees all that was stored before it (I0-4).
      number_load(profile.mh_publish_number_first || profile.mh_number_without_barriers ? std::memory_order_relaxed
                                                                                        : std::memory_order_acquire),
      number_store(profile.mh_publish_number_first || profile.mh_number_without_barriers ? std::memory_order_relaxed
                                                                                         : std::memory_order_release),
      timer([this] { on_timer(); }) {}

std::shared_ptr<Interface> MessageHandler::Core::find(int number) {
  if (number < 0) return nullptr;
  rt::RcuReader reader(interfaces_rcu);
  for (Interface* i = interfaces.first(); i; i = interfaces.after(i)) {
    if (i->number.load(number_load) == number) return i->shared_from_this();
  }
  return nullptr;
}

void MessageHandler::Core::unlink(Interface& interface) {
  {
    rt::LockGuard lock(interfaces_mutex);
    interface.number.store(-1, std::memory_order_release);
    interfaces.unlink(&interface);
  }
  interfaces_rcu.synchronize();
  // Only now may the last reference go.
  rt::LockGuard lock(interfaces_mutex);
  std::erase_if(owned, [&](const auto& i) { return i.get() == &interface; });
}

Result<int> MessageHandler::Core::register_smi(std::shared_ptr<SmiHandlers> smi) {
  if (!smi) return Error{ErrorCode::kInvalidArgument, "register: no system interface was given"};
  if (rt::fault_point("mh.allocate.interface")) {
    return Error{ErrorCode::kUnavailable, "register: no memory for an interface"};
  }
  auto interface = std::make_shared<Interface>(shared_from_this(), std::move(smi));
  int number = 0;
  {
    // On the list before it can be used, so that the timer ages the requests of its discovery; in the order of numbers
    // at the first hole; with number -1, so that nobody else sees it (I.1). The lock is not kept while the BMC is
    // asked.
    rt::LockGuard lock(interfaces_mutex);
    Interface* position = interfaces.first();
    while (position && position->reserved_number == number) {
      ++number;
      position = interfaces.after(position);
    }
    interface->reserved_number = number;
    owned.push_back(interface);
    interfaces.insert_before(position, interface.get());
  }
  if (Status started = interface->smi->start_processing(*interface); !started) {
    interface->in_shutdown.store(true, std::memory_order_release);
    unlink(*interface);
    interface->down_rcu.synchronize();
    interface->receive_work.cancel_and_wait();
    if (profile.mh_failed_registration_cleans_twice) {
      rt::LockGuard lock(interfaces_mutex);
      ended.push_back(interface);
    }
    return started.error();
  }
  const auto fill = [&] {
    const SmiInfo& info = interface->info.write() = interface->smi->info();
    if (info.slave_address != 0) interface->own_address[0].store(info.slave_address, std::memory_order_relaxed);
  };
  if (!profile.mh_publish_number_first) fill();
  if (Status known = interface->discover_and_wait(true); !known) {
    if (profile.mh_failed_registration_cleans_twice) {
      // The layer below still runs, and is told nothing.
      interface->end_discovery();
      unlink(*interface);
      interface->ended = true;
      rt::LockGuard lock(interfaces_mutex);
      ended.push_back(interface);
    } else {
      // This is the only cleaner: the caller drops what it gave us and nothing else (I.2).
      tear_down(interface);
    }
    return Error{known.error().code, "register: " + known.error().to_string()};
  }
  interface->number.store(number, number_store);
  if (profile.mh_publish_number_first) {
    rt::fault_point("mh.published");
    fill();
  }
  announce(interface, number);
  return number;
}

Status MessageHandler::Core::unregister_smi(int number, bool even_if_in_use) {
  std::shared_ptr<Interface> interface;
  {
    // Of two that come at once only one finds it.
    rt::LockGuard lock(interfaces_mutex);
    for (Interface* i = interfaces.first(); i && number >= 0; i = interfaces.after(i)) {
      if (i->number.load(std::memory_order_acquire) == number) interface = i->shared_from_this();
    }
    if (!interface) {
      return Error{ErrorCode::kNotFound, "unregister: there is no interface " + std::to_string(number)};
    }
    const int users = interface->user_count.load(std::memory_order_acquire);
    if (!even_if_in_use && users > 0) {
      return Error{ErrorCode::kBusy,
                   "unregister: interface " + std::to_string(number) + " has " + std::to_string(users) + " users"};
    }
    interface->number.store(-1, std::memory_order_release);
  }
  tear_down(interface);
  return {};
}

void MessageHandler::Core::unregister_failed(const SmiHandlers& smi) {
  rt::LockGuard lock(interfaces_mutex);
  for (const auto& i : ended) {
    if (i->smi.get() == &smi) rt::fatal("message handler: an interface is unlinked twice, and freed in between (I2-1)");
  }
}

void MessageHandler::Core::end_users(Interface& i) {
  retract(i, i.reserved_number);
  i.drop_all_receivers();
  for (;;) {
    std::shared_ptr<UserState> user;
    {
      rt::LockGuard lock(i.users_mutex);
      if (UserState* u = i.users.first()) user = u->shared_from_this();
    }
    if (!user) break;
    user->end(/*keep_queue=*/true);
  }
}

// The order of 6.16 and later (E.12): the layer below goes first, so that what it still held is answered before the
// rest is failed; and in_shutdown is set before that, so that nothing deferred sends through it (G-73).
void MessageHandler::Core::tear_down(const std::shared_ptr<Interface>& interface) {
  Interface& i = *interface;
  const auto mark = [&i] {
    i.in_shutdown.store(true, std::memory_order_release);
    i.down_rcu.synchronize();  // no call below is running or will be made
    i.end_discovery();
  };
  if (!profile.mh_shutdown_marked_late) mark();
  if (profile.mh_answers_dead_users) end_users(i);
  i.smi->shutdown();
  i.below_ended = true;
  if (profile.mh_shutdown_marked_late) {
    rt::fault_point("mh.shutdown.unmarked");  // a grace period takes its time, and what was deferred is still alive
    mark();
  }
  i.receive_work.flush();  // delivers what came back

  // What will never be answered now. Nobody else touches the queues any more.
  std::vector<SmiMessage*> failed;
  SmiMessage* kept = nullptr;
  {
    rt::LockGuard lock(i.transmit_mutex);
    kept = std::exchange(i.current, nullptr);
    while (SmiMessage* m = i.queue_high.pop()) failed.push_back(m);
    while (SmiMessage* m = i.queue_normal.pop()) failed.push_back(m);
  }
  auto fail = [&](SmiMessage* m) {
    auto* out = detail::ours(*m);
    if (!out || !out->pending) return;
    i.deliver_error(std::move(out->pending), static_cast<uint8_t>(ipmi::CompletionCode::kUnspecified),
                    ErrorCode::kShutdown);
  };
  if (kept) {
    // A lower layer that kept a message broke the seam's contract: its owner hears, its memory is given up.
    fail(kept);
    i.log("the system interface did not give back its message at shutdown");
  }
  for (SmiMessage* m : failed) {
    fail(m);
    i.retire(m);
  }
  std::vector<std::unique_ptr<detail::Pending>> waiting;
  {
    rt::LockGuard lock(i.sequence_mutex);
    waiting = i.sequences.take(nullptr);
  }
  if (!waiting.empty()) i.remove_watch(detail::WatchKind::kMessages, static_cast<unsigned>(waiting.size()));
  for (auto& p : waiting) {
    i.deliver_error(std::move(p), static_cast<uint8_t>(ipmi::CompletionCode::kUnspecified), ErrorCode::kShutdown);
  }
  {
    // An answer that was put back for want of memory; those of a panic that this process outlived.
    rt::LockGuard lock(i.receive_mutex);
    failed.clear();
    while (SmiMessage* m = i.received.pop()) failed.push_back(m);
    while (SmiMessage* m = i.abandoned.pop()) failed.push_back(m);
  }
  for (SmiMessage* m : failed) {
    fail(m);
    i.retire(m);
  }

  end_users(i);
  // The number is free again only now: whoever gets it next is announced after this one was retracted.
  unlink(i);
  i.receive_work.cancel_and_wait();
}

// ---- Core: watchers
// --------------------------------------------------------------------------------------------------

void MessageHandler::Core::announce(const std::shared_ptr<Interface>& interface, int number) {
  rt::LockGuard lock(watchers_mutex);
  if (interface->announced || interface->shutting_down()) return;
  interface->announced = true;
  for (auto& [id, w] : watchers) {
    if (w.new_smi) w.new_smi(number);
  }
}

void MessageHandler::Core::retract(Interface& interface, int number) {
  rt::LockGuard lock(watchers_mutex);
  if (!std::exchange(interface.announced, false)) return;
  for (auto& [id, w] : watchers) {
    if (w.smi_gone) w.smi_gone(number);
  }
}

// ---- Core: shared BMCs
// -------------------------------------------------------------------------------------------------

std::shared_ptr<detail::BmcDevice> MessageHandler::Core::bmc_for(const DeviceId& id,
                                                                 const std::optional<std::array<uint8_t, 16>>& guid) {
  if (rt::fault_point("mh.bmc.register")) return nullptr;
  rt::LockGuard lock(bmcs_mutex);
  // A reference that is just being dropped is not taken up again: lock() is "get unless zero".
  std::erase_if(bmcs, [](const auto& weak) { return weak.expired(); });
  std::vector<int> numbers;
  for (auto& weak : bmcs) {
    auto bmc = weak.lock();
    if (!bmc) continue;
    const bool same =
        guid ? bmc->guid == guid : !bmc->guid && bmc->product_id == id.product_id && bmc->device_id == id.device_id;
    if (same) return bmc;
    numbers.push_back(bmc->number);
  }
  auto bmc = std::make_shared<detail::BmcDevice>();
  std::sort(numbers.begin(), numbers.end());
  for (int n : numbers) {
    if (n == bmc->number) ++bmc->number;
  }
  bmc->guid = guid;
  bmc->product_id = id.product_id;
  bmc->device_id = id.device_id;
  bmcs.push_back(bmc);
  return bmc;
}

// ---- Core: the tick
// ----------------------------------------------------------------------------------------------------

// "Wanted" and "armed" change under one lock: who finds it armed finds a timer whose end has not looked yet (G-08).
void MessageHandler::Core::want_tick() {
  rt::LockGuard lock(timer_mutex);
  tick_wanted = true;
  if (!options.own_timer || timer_armed || stopped) return;
  timer_armed = true;
  timer.arm(rt::now() + options.tick);
}

bool MessageHandler::Core::tick(Duration elapsed) {
  {
    rt::LockGuard lock(timer_mutex);
    tick_wanted = false;
  }
  bool more = false;
  {
    rt::RcuReader reader(interfaces_rcu);
    // Those with number -1 too: their discovery must be able to time out (I0-6).
    for (Interface* i = interfaces.first(); i; i = interfaces.after(i)) more |= i->tick(elapsed);
  }
  if (more) want_tick();
  rt::LockGuard lock(timer_mutex);
  return tick_wanted;
}

void MessageHandler::Core::on_timer() {
  tick(options.tick);
  rt::LockGuard lock(timer_mutex);
  timer_armed = tick_wanted && !stopped;
  if (timer_armed) timer.arm(rt::now() + options.tick);
}

void MessageHandler::Core::stop_timer() {
  {
    rt::LockGuard lock(timer_mutex);
    stopped = true;
  }
  timer.cancel();
}

// ---- MessageHandler
// ----------------------------------------------------------------------------------------------------

MessageHandler::MessageHandler(MessageHandlerOptions options) : core_(std::make_shared<Core>(std::move(options))) {}

MessageHandler::~MessageHandler() {
  for (int number : interfaces()) (void)core_->unregister_smi(number, true);
  core_->stop_timer();
}

Result<int> MessageHandler::register_smi(std::shared_ptr<SmiHandlers> smi) {
  return core_->register_smi(std::move(smi));
}

void MessageHandler::unregister_failed(const SmiHandlers& smi) { core_->unregister_failed(smi); }

Status MessageHandler::unregister_smi(int number, bool even_if_in_use) {
  return core_->unregister_smi(number, even_if_in_use);
}

Result<std::unique_ptr<User>> MessageHandler::create_user(int number, UserHandlers handlers) {
  const Error absent{ErrorCode::kNotFound, "create user: there is no interface " + std::to_string(number)};
  auto interface = core_->find(number);
  if (!interface) return absent;  // nothing was counted yet (G-54)
  Interface& i = *interface;
  rt::RcuReader below(i.down_rcu);
  if (i.shutting_down()) return absent;
  if (i.user_count.fetch_add(1, std::memory_order_acq_rel) >= core_->options.users_max) {
    i.user_count.fetch_sub(1, std::memory_order_acq_rel);
    return Error{ErrorCode::kBusy, "create user: interface " + std::to_string(number) + " has " +
                                       std::to_string(core_->options.users_max) + " users already"};
  }
  if (rt::fault_point("mh.allocate.user")) {
    i.user_count.fetch_sub(1, std::memory_order_acq_rel);
    return Error{ErrorCode::kUnavailable, "create user: no memory for one"};
  }
  const bool watchdog = static_cast<bool>(handlers.watchdog_pretimeout);
  auto user = std::make_shared<UserState>(interface, number, std::move(handlers));
  // Inside the section: tear_down waits for it, and then ends this user with the others (H4-2).
  {
    rt::LockGuard lock(i.users_mutex);
    i.users.push_back(user.get());
  }
  if (watchdog) i.add_watch(detail::WatchKind::kWatchdog);
  return std::unique_ptr<User>(new User(std::move(user)));
}

std::vector<int> MessageHandler::interfaces() const {
  std::vector<int> out;
  rt::RcuReader reader(core_->interfaces_rcu);
  for (Interface* i = core_->interfaces.first(); i; i = core_->interfaces.after(i)) {
    const int number = i->number.load(core_->number_load);
    if (number >= 0) out.push_back(number);
  }
  return out;
}

namespace {

Error no_interface(int number) {
  return Error{ErrorCode::kNotFound, "there is no interface " + std::to_string(number)};
}

}  // namespace

Result<InterfaceDescription> MessageHandler::describe(int number) const {
  auto i = core_->find(number);
  if (!i) return no_interface(number);
  InterfaceDescription out;
  out.number = number;
  out.smi = i->info.read();
  out.users = i->user_count.load(std::memory_order_acquire);
  out.maintenance = i->maintenance_state.load(std::memory_order_acquire);
  return out;
}

Result<Statistics> MessageHandler::statistics(int number) const {
  auto i = core_->find(number);
  if (!i) return no_interface(number);
  Statistics out{};
  for (size_t s = 0; s < kStatistics; ++s) out[s] = i->counted(static_cast<Statistic>(s));
  return out;
}

Result<Identity> MessageHandler::identity(int number) {
  auto i = core_->find(number);
  if (!i) return no_interface(number);
  return i->identity();
}

Result<std::array<Channel, kChannelsMax>> MessageHandler::channels(int number) const {
  auto i = core_->find(number);
  if (!i) return no_interface(number);
  rt::LockGuard lock(i->discovery_mutex);
  return i->discovery.channels;
}

uint64_t MessageHandler::register_watcher(Watcher watcher) {
  rt::LockGuard lock(core_->watchers_mutex);
  const uint64_t id = ++core_->watcher_ids;
  // Those announced, and only those: an interface published but not yet announced comes to this watcher with all
  // others.
  std::vector<int> present;
  {
    rt::RcuReader reader(core_->interfaces_rcu);
    for (Interface* i = core_->interfaces.first(); i; i = core_->interfaces.after(i)) {
      if (i->announced) present.push_back(i->reserved_number);
    }
  }
  if (watcher.new_smi) {
    for (int number : present) watcher.new_smi(number);
  }
  core_->watchers.emplace_back(id, std::move(watcher));
  return id;
}

void MessageHandler::unregister_watcher(uint64_t id) {
  rt::LockGuard lock(core_->watchers_mutex);
  std::erase_if(core_->watchers, [&](const auto& w) { return w.first == id; });
}

bool MessageHandler::tick(Duration elapsed) { return core_->tick(elapsed); }

bool MessageHandler::tick_wanted() const {
  rt::LockGuard lock(core_->timer_mutex);
  return core_->tick_wanted;
}

// ---- User
// --------------------------------------------------------------------------------------------------------------

User::User(std::shared_ptr<UserState> state) : state_(std::move(state)) {}

User::~User() { state_->end(/*keep_queue=*/false); }

int User::interface_number() const { return state_->number; }

Status User::request(const Address& address, int64_t msgid, const ipmi::Request& request,
                     const RequestOptions& options) {
  return state_->interface->request(state_, address, msgid, request, options, nullptr);
}

Status User::set_gets_events(bool on) { return state_->interface->set_gets_events(*state_, on); }

Status User::register_for_cmd(uint8_t netfn, uint8_t cmd, uint32_t channels) {
  return state_->interface->register_for_cmd(state_, netfn, cmd, channels);
}

Status User::unregister_for_cmd(uint8_t netfn, uint8_t cmd, uint32_t channels) {
  return state_->interface->unregister_for_cmd(*state_, netfn, cmd, channels);
}

namespace {

Status check_channel(const UserState& user, uint8_t channel) {
  if (!user.alive.load(std::memory_order_acquire)) return detail::shutdown_error(user.number);
  if (channel >= kChannelsMax) {
    return Error{ErrorCode::kInvalidArgument, "channel " + std::to_string(channel) + " is not in 0..15"};
  }
  return {};
}

}  // namespace

Status User::set_my_address(uint8_t channel, uint8_t address) {
  if (Status s = check_channel(*state_, channel); !s) return s;
  state_->interface->own_address[channel].store(address, std::memory_order_relaxed);
  return {};
}

Result<uint8_t> User::my_address(uint8_t channel) const {
  if (Status s = check_channel(*state_, channel); !s) return s.error();
  return state_->interface->own_address[channel].load(std::memory_order_relaxed);
}

Status User::set_my_lun(uint8_t channel, uint8_t lun) {
  if (Status s = check_channel(*state_, channel); !s) return s;
  state_->interface->own_lun[channel].store(lun & 3, std::memory_order_relaxed);
  return {};
}

Result<uint8_t> User::my_lun(uint8_t channel) const {
  if (Status s = check_channel(*state_, channel); !s) return s.error();
  return state_->interface->own_lun[channel].load(std::memory_order_relaxed);
}

Status User::set_maintenance_mode(MaintenanceMode mode) {
  if (!state_->alive.load(std::memory_order_acquire)) return detail::shutdown_error(state_->number);
  return state_->interface->set_maintenance_mode(mode);
}

Result<MaintenanceMode> User::maintenance_mode() const {
  if (!state_->alive.load(std::memory_order_acquire)) return detail::shutdown_error(state_->number);
  rt::LockGuard lock(state_->interface->maintenance_mutex);
  return state_->interface->maintenance_mode;
}

Result<IpmiVersion> User::version() {
  if (!state_->alive.load(std::memory_order_acquire)) return detail::shutdown_error(state_->number);
  auto identity = state_->interface->identity();
  if (!identity) return identity.error();
  return identity->id.ipmi_version;
}

int User::outstanding_messages() const { return state_->messages.load(std::memory_order_acquire); }

Result<RecvMessage> call(User& user, const Address& address, const ipmi::Request& request, Instant deadline,
                         const RequestOptions& options) {
  auto sync = std::make_shared<detail::SyncCall>();
  const auto& state = user.state();
  if (Status s = state->interface->request(state, address, 0, request, options, sync); !s) return s.error();
  rt::UniqueLock lock(sync->mutex);
  if (!sync->changed.wait_until(lock, deadline, [&] { return sync->done; })) {
    sync->abandoned = true;
    return Error{ErrorCode::kTimeout, "no answer to NetFn " + std::to_string(request.netfn) + " command " +
                                          std::to_string(request.cmd) + " from " + to_string(address)};
  }
  if (!sync->answer) return detail::shutdown_error(user.interface_number());
  RecvMessage answer = std::move(*sync->answer);
  sync->answer.reset();
  if (answer.failed) {
    return Error{answer.failure, "NetFn " + std::to_string(request.netfn) + " command " + std::to_string(request.cmd) +
                                     " to " + to_string(address) + ": " + std::string(to_string(answer.failure))};
  }
  return answer;
}

// ---- statistics
// --------------------------------------------------------------------------------------------------------

std::string_view to_string(Statistic statistic) {
  static constexpr std::array<std::string_view, kStatistics> kNames = {
      "sent_invalid_commands",
      "sent_local_commands",
      "handled_local_responses",
      "unhandled_local_responses",
      "sent_ipmb_commands",
      "sent_ipmb_command_errs",
      "retransmitted_ipmb_commands",
      "timed_out_ipmb_commands",
      "timed_out_ipmb_broadcasts",
      "sent_ipmb_responses",
      "handled_ipmb_responses",
      "invalid_ipmb_responses",
      "unhandled_ipmb_responses",
      "sent_lan_commands",
      "sent_lan_command_errs",
      "retransmitted_lan_commands",
      "timed_out_lan_commands",
      "sent_lan_responses",
      "handled_lan_responses",
      "invalid_lan_responses",
      "unhandled_lan_responses",
      "handled_commands",
      "invalid_commands",
      "unhandled_commands",
      "invalid_events",
      "events",
      "dropped_rexmit_ipmb_commands",
      "dropped_rexmit_lan_commands",
      "dropped_events",
      "mismatched_responses",
      "failed_messages",
      "panic_events_sent",
      "panic_events_lost",
  };
  const auto at = static_cast<size_t>(statistic);
  return at < kNames.size() ? kNames[at] : "unknown";
}

}  // namespace bmcpair::host::inline BMCPAIR_RT
