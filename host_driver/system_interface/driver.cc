#include "host_driver/system_interface/driver.h"

#include <algorithm>
#include <deque>
#include <map>
#include <utility>

namespace bmcpair::host::inline BMCPAIR_RT {

namespace {

// One device: opened, brought up, registered; on an error the whole of it again, later.
struct Entry {
  int id = 0;
  Driver::OpenPort open;
  SystemInterfaceOptions options;
  // Of its own work only.
  std::shared_ptr<registers::RegisterPort> port;
  Duration backoff{};

  // Under the core's mutex.
  std::shared_ptr<SystemInterface> interface;
  std::optional<Status> brought_up;
  int number = -1;
  unsigned attempts = 0;
  std::string reason = "not tried yet";
  bool link_down = false;
  bool removed = false;
  bool queued = false;

  std::unique_ptr<rt::Work> work;
  std::unique_ptr<rt::Timer> retry;
};

}  // namespace

struct Driver::Core : std::enable_shared_from_this<Driver::Core> {
  Core(MessageHandler& mh, DriverOptions o) : message_handler(mh), options(o) {}

  int add(std::shared_ptr<registers::RegisterPort> port, OpenPort open, SystemInterfaceOptions entry_options);
  void attempt(const std::shared_ptr<Entry>& entry);
  void open_and_bring_up(const std::shared_ptr<Entry>& entry);
  void register_interface(const std::shared_ptr<Entry>& entry);
  void failed(const std::shared_ptr<Entry>& entry, const Error& error);
  Status remove(int id);
  std::shared_ptr<Entry> find(int id) const;

  MessageHandler& message_handler;
  const DriverOptions options;
  mutable rt::Mutex m;
  rt::WaitQueue changed;
  std::map<int, std::shared_ptr<Entry>> entries;
  int next_id = 0;
  unsigned attempting = 0;
  std::deque<std::weak_ptr<Entry>> queue;
};

int Driver::Core::add(std::shared_ptr<registers::RegisterPort> port, OpenPort open,
                      SystemInterfaceOptions entry_options) {
  auto entry = std::make_shared<Entry>();
  entry->open = std::move(open);
  entry->port = std::move(port);
  entry->options = std::move(entry_options);
  std::weak_ptr<Core> core = weak_from_this();
  std::weak_ptr<Entry> weak = entry;
  entry->work = std::make_unique<rt::Work>([core, weak] {
    auto c = core.lock();
    auto e = weak.lock();
    if (c && e) c->attempt(e);
  });
  entry->retry = std::make_unique<rt::Timer>([weak] {
    if (auto e = weak.lock()) e->work->schedule();
  });
  {
    rt::LockGuard lock(m);
    entry->id = next_id++;
    entries.emplace(entry->id, entry);
  }
  entry->work->schedule();
  return entry->id;
}

std::shared_ptr<Entry> Driver::Core::find(int id) const {
  rt::LockGuard lock(m);
  auto it = entries.find(id);
  return it == entries.end() ? nullptr : it->second;
}

// Opening and registering may block, so only so many do at a time: the workers are there for those that are up.
void Driver::Core::attempt(const std::shared_ptr<Entry>& entry) {
  bool registering = false;
  {
    rt::LockGuard lock(m);
    entry->queued = false;
    if (entry->removed || entry->number >= 0) return;
    if (entry->interface && !entry->brought_up) return;  // its bring-up will call
    if (attempting >= options.attempts_at_once_max) {
      queue.push_back(entry);
      entry->queued = true;
      return;
    }
    ++attempting;
    registering = entry->interface != nullptr;
  }
  if (registering) {
    register_interface(entry);
  } else {
    open_and_bring_up(entry);
  }
  std::shared_ptr<Entry> next;
  {
    rt::LockGuard lock(m);
    --attempting;
    while (!next && !queue.empty()) {
      next = queue.front().lock();
      queue.pop_front();
    }
    changed.wake_all();
  }
  if (next) next->work->schedule();
}

void Driver::Core::open_and_bring_up(const std::shared_ptr<Entry>& entry) {
  {
    rt::LockGuard lock(m);
    ++entry->attempts;
  }
  if (!entry->port) {
    auto opened = entry->open();
    if (!opened) {
      failed(entry, opened.error());
      return;
    }
    entry->port = std::move(*opened);
  }
  auto interface = std::make_shared<SystemInterface>(entry->port, entry->options);
  {
    rt::LockGuard lock(m);
    if (entry->removed) return;
    entry->interface = interface;
    entry->brought_up.reset();
  }
  std::weak_ptr<Core> core = weak_from_this();
  std::weak_ptr<Entry> weak = entry;
  interface->start_bring_up([core, weak](Status status) {
    auto c = core.lock();
    auto e = weak.lock();
    if (!c || !e) return;
    rt::LockGuard lock(c->m);
    e->brought_up = std::move(status);
    if (!e->removed) e->work->schedule();
  });
}

void Driver::Core::register_interface(const std::shared_ptr<Entry>& entry) {
  std::shared_ptr<SystemInterface> interface;
  Status status;
  {
    rt::LockGuard lock(m);
    interface = entry->interface;
    status = *entry->brought_up;
  }
  if (status) {
    // After an error it has been shut down there, once (I.2).
    Result<int> number = message_handler.register_smi(interface);
    if (number) {
      rt::LockGuard lock(m);
      entry->number = *number;
      entry->reason.clear();
      entry->backoff = {};
      return;
    }
    status = number.error();
    const auto* profile = entry->options.profile;
    if (profile && profile->mh_failed_registration_cleans_twice) {
      message_handler.unregister_failed(*interface);
      interface->shutdown();
    }
  } else {
    interface->shutdown();
  }
  {
    rt::LockGuard lock(m);
    entry->interface.reset();
    entry->brought_up.reset();
  }
  failed(entry, status.error());
}

void Driver::Core::failed(const std::shared_ptr<Entry>& entry, const Error& error) {
  rt::LockGuard lock(m);
  entry->reason = error.to_string();
  entry->link_down = entry->port && !entry->port->link().up;
  entry->backoff = std::clamp(entry->backoff * 2, options.retry_first, options.retry_max);
  if (!entry->removed) entry->retry->arm(rt::now() + entry->backoff);
}

Status Driver::Core::remove(int id) {
  std::shared_ptr<Entry> entry;
  std::shared_ptr<SystemInterface> interface;
  {
    rt::LockGuard lock(m);
    auto it = entries.find(id);
    if (it == entries.end()) return Error{ErrorCode::kNotFound, "no interface " + std::to_string(id)};
    entry = it->second;
    entries.erase(it);
    entry->removed = true;
    if (entry->number < 0) interface = entry->interface;
    changed.wake_all();
  }
  entry->retry->cancel();
  // Before it is published, shutting it down is what ends a bring-up or a registration under way.
  if (interface) interface->shutdown();
  entry->work->cancel_and_wait();
  entry->retry->cancel();
  int number;
  {
    rt::LockGuard lock(m);
    number = entry->number;
    interface = std::exchange(entry->interface, nullptr);
  }
  if (number >= 0) {
    // Somebody else may have unregistered it; then it is shut down already.
    (void)message_handler.unregister_smi(number, true);
  }
  if (interface) interface->shutdown();
  return {};
}

Driver::Driver(MessageHandler& message_handler, DriverOptions options)
    : core_(std::make_shared<Core>(message_handler, options)) {}

Driver::~Driver() {
  for (int id : interfaces()) (void)remove(id);
}

int Driver::add_interface(std::unique_ptr<registers::RegisterPort> port, SystemInterfaceOptions options) {
  return core_->add(std::move(port), nullptr, std::move(options));
}

int Driver::add_interface(OpenPort open, SystemInterfaceOptions options) {
  return core_->add(nullptr, std::move(open), std::move(options));
}

Result<int> Driver::wait_until_up(int id, Instant deadline) {
  auto entry = core_->find(id);
  if (!entry) return Error{ErrorCode::kNotFound, "no interface " + std::to_string(id)};
  std::shared_ptr<SystemInterface> interface;
  int number = -1;
  {
    rt::UniqueLock lock(core_->m);
    core_->changed.wait_until(lock, deadline, [&] { return entry->number >= 0 || entry->removed; });
    if (entry->removed) return Error{ErrorCode::kShutdown, "the interface was removed"};
    if (entry->number < 0) return Error{ErrorCode::kTimeout, "not up: " + entry->reason};
    number = entry->number;
    interface = entry->interface;
  }
  const auto up = [](const InterfaceStatus& s) {
    return s.state == InterfaceState::kUp || s.state == InterfaceState::kStopped;
  };
  if (!interface->wait_for_status(deadline, up)) {
    const InterfaceStatus status = interface->status();
    return Error{ErrorCode::kTimeout, "not up: " + std::string(to_string(status.state)) +
                                          (status.reason.empty() ? "" : ": " + status.reason)};
  }
  if (interface->status().state == InterfaceState::kStopped) {
    return Error{ErrorCode::kShutdown, "the interface was removed"};
  }
  return number;
}

Status Driver::remove(int id) { return core_->remove(id); }

Result<DriverInterface> Driver::describe(int id) const {
  auto entry = core_->find(id);
  if (!entry) return Error{ErrorCode::kNotFound, "no interface " + std::to_string(id)};
  DriverInterface out;
  out.id = id;
  std::shared_ptr<SystemInterface> interface;
  {
    rt::LockGuard lock(core_->m);
    out.number = entry->number;
    out.attempts = entry->attempts;
    interface = entry->interface;
    out.status.state = entry->link_down ? InterfaceState::kLinkDown : InterfaceState::kStarting;
    out.status.reason = entry->reason;
  }
  if (interface) {
    if (out.number >= 0) out.status = interface->status();
    out.statistics = interface->statistics();
    out.info = interface->info();
  }
  return out;
}

std::vector<int> Driver::interfaces() const {
  rt::LockGuard lock(core_->m);
  std::vector<int> ids;
  for (const auto& [id, entry] : core_->entries) ids.push_back(id);
  return ids;
}

}  // namespace bmcpair::host::inline BMCPAIR_RT
