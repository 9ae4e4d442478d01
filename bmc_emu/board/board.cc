#include "bmc_emu/board/board.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "bmc_emu/board/interface_faults.h"
#include "proto/ipmi/message.h"

namespace bmcpair::board {
namespace {

constexpr size_t kAccessTraceMax = 4096;
constexpr size_t kMessageTraceMax = 512;
constexpr size_t kPendingMax = 8;
constexpr size_t kSignalsMax = 256;  // on their way to one host
// A run on a host's own thread that took longer (the disk) leaves so many more to the workers.
constexpr Duration kLongRun = std::chrono::microseconds(500);
constexpr unsigned kLeftToWorkers = 64;
// Steps of the BMC's actor that one visit may catch up with; what is left stays due.
constexpr int kStepsMax = 1024;
// How long the host gets to fetch the answer to its reset command before the registers go away, beyond the latencies.
constexpr Duration kResetGrace = std::chrono::milliseconds(5);

constexpr int64_t rep(Instant t) { return t.time_since_epoch().count(); }
constexpr Instant instant(int64_t r) { return Instant(Duration(r)); }
constexpr Instant later(Instant t, Duration d) { return d > kNever - t ? kNever : t + d; }

std::string seconds_text(Duration d) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f s", std::chrono::duration<double>(d).count());
  return text;
}

// Events leave in the order they happened, one at a time, with no lock of a board held. Whoever finds a delivery going
// on leaves its events to it.
class EventQueue {
 public:
  bool wanted() const { return wanted_.load(std::memory_order_relaxed); }

  void set(Board::EventFunction f) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (deliverer_ != std::this_thread::get_id()) {
      idle_.wait(lock, [this] { return deliverer_ == std::thread::id(); });
    }
    wanted_ = static_cast<bool>(f);
    function_ = std::make_shared<Board::EventFunction>(std::move(f));
    if (!wanted_) events_.clear();
  }

  void send(std::vector<BoardEvent> events) {
    if (events.empty()) return;
    std::unique_lock<std::mutex> lock(mutex_);
    if (!wanted()) return;
    for (BoardEvent& event : events) events_.push_back(std::move(event));
    if (deliverer_ != std::thread::id()) return;
    deliverer_ = std::this_thread::get_id();
    while (!events_.empty()) {
      BoardEvent event = std::move(events_.front());
      events_.pop_front();
      auto function = function_;
      lock.unlock();
      if (function && *function) (*function)(event);
      lock.lock();
    }
    deliverer_ = std::thread::id();
    idle_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable idle_;
  std::deque<BoardEvent> events_;
  std::thread::id deliverer_;
  std::shared_ptr<Board::EventFunction> function_;
  std::atomic<bool> wanted_{false};
};

// What the board was given, kept alive by every port: a port may outlive its board.
struct Hooks {
  Board::NowFunction now;
  Board::WakeFunction wake;
  std::function<void()> run_here;  // does what is due on the caller's thread, and wakes for the rest
  std::atomic<int> calls_out{0};   // wakes and runs in progress; counted up only under the lock of a slot that is up
  EventQueue events;
};

BoardEvent attachment_event(const std::string& bmc, const std::string& interface, Instant at, const char* kind,
                            std::string who) {
  BoardEvent event;
  event.bmc = bmc;
  event.interface = interface;
  event.at = at;
  event.kind = kind;
  event.change.kind = firmware::Change::Kind::kEvent;
  event.change.text = std::move(who);
  return event;
}

BoardEvent fault_event(const std::string& bmc, const std::string& interface, const InterfaceFaults::Fired& fired) {
  BoardEvent event = attachment_event(bmc, interface, fired.at, "fault", fired.text);
  event.change.value = fired.id;
  return event;
}

// The last accesses of one interface, oldest first when read.
class AccessRing : public hardware::TraceSink {
 public:
  void on_access(const hardware::Access& access) override {
    if (ring_.size() < kAccessTraceMax) {
      ring_.push_back(access);
    } else {
      ring_[next_] = access;
      next_ = (next_ + 1) % kAccessTraceMax;
    }
  }
  std::vector<hardware::Access> read() const {
    std::vector<hardware::Access> out(ring_.begin() + static_cast<std::ptrdiff_t>(next_), ring_.end());
    out.insert(out.end(), ring_.begin(), ring_.begin() + static_cast<std::ptrdiff_t>(next_));
    return out;
  }
  void clear() {
    ring_.clear();
    next_ = 0;
  }

 private:
  std::vector<hardware::Access> ring_;
  size_t next_ = 0;
};

// What waits for the firmware.
struct Pending {
  enum class What : uint8_t { kRequest, kHostReset, kHostRunning };
  What what = What::kRequest;
  hardware::TakenRequest request;
  std::shared_ptr<hardware::MessageFace> face;  // that the request came by; null: the registers
};

// One attached host. Its fields but the handlers are guarded by its slot's mutex; the handlers and what they were told
// by deliver_mutex, which is never taken with the slot's mutex held (the other way round is the rule).
struct Endpoint {
  uint64_t id = 0;
  std::string who;
  Instant since{};
  bool up = true;
  std::string reason;
  bool wants_interrupt = false;  // a handler is set
  bool wants_signals = false;    // the same, of a host by messages
  std::deque<HostSignal> outbox;

  std::mutex deliver_mutex;
  registers::RegisterPort::InterruptHandler on_interrupt;
  registers::RegisterPort::LinkHandler on_link;
  MessagePort::SignalHandler on_signal;
  bool told_level = false;
  uint64_t told_rises = 0;
  bool told_down = false;
};

// One interface with its attachment: the manager of reference H.2. The mutex is held for a register access or for
// actor steps only.
struct Slot {
  std::string bmc;
  InterfaceConfig config;
  std::shared_ptr<Hooks> hooks;

  std::mutex mutex;
  std::unique_ptr<hardware::Interface> hardware;
  Instant last{};  // instants handed to the hardware never go back
  bool closing = false;
  std::shared_ptr<Endpoint> endpoint;
  std::deque<Pending> pending;
  InterfaceStatistics statistics;
  const std::shared_ptr<MessageService> message_service = std::make_shared<MessageService>();
  // While the host is one by messages; the hardware is then idle.
  std::shared_ptr<hardware::MessageFace> face;
  std::vector<HostSignal> after_reply;  // to follow the open request's response
  bool attention = false;               // as the firmware has it
  uint8_t global_enables = 0;
  bool line = false;
  bool wants_hardware_reset = false;
  std::unique_ptr<InterfaceFaults> faults;  // null: no rule is here
  std::optional<bool> fault_reset;          // a fault has reset the BMC: cold?
  bool deliver = false;
  std::unique_ptr<AccessRing> trace;

  // Written under the mutex, read without it.
  std::atomic<int64_t> due{rep(kNever)};  // of the actor, and of telling the host about its interrupt line
  std::atomic<bool> work{false};          // something waits for the firmware

  std::string path() const { return bmc + "/" + config.name; }

  Instant at(Instant now) {
    last = std::max(last, now);
    return last;
  }

  // The actor does what was due until now, each step at its own instant: whoever comes late, a host's access or
  // a worker, finds the registers as they would be.
  void advance(Instant now) {
    for (int i = 0; i < kStepsMax && hardware->next_due() <= now; ++i) {
      if (auto request = hardware->step(at(hardware->next_due()))) {
        add_pending({Pending::What::kRequest, std::move(*request), nullptr});
      }
      note_line();
    }
    if (!face) return;
    if (auto reply = face->step(at(now))) {
      signal({HostSignal::Kind::kResponse, reply->tag, false, std::move(reply->message), {}, reply->fault});
      release_after_reply();
    }
  }

  void add_pending(Pending what) {
    if (what.what == Pending::What::kRequest) ++statistics.requests;
    if (pending.size() >= kPendingMax) {
      pending.pop_front();
      ++statistics.responses_dropped;
    }
    pending.push_back(std::move(what));
  }

  // To the host by messages, if there is one.
  void signal(HostSignal what) {
    if (!endpoint || !face) return;
    // Handlers do not block, so this is never met but by a host that has none yet.
    if (endpoint->outbox.size() >= kSignalsMax) return;
    endpoint->outbox.push_back(std::move(what));
    if (endpoint->wants_signals) deliver = true;
  }
  void release_after_reply() {
    for (HostSignal& what : std::exchange(after_reply, {})) signal(std::move(what));
  }

  void note_line() {
    bool level = hardware->interrupt_line();
    if (level == line) return;
    line = level;
    if (level) ++statistics.interrupts;
    if (endpoint && endpoint->wants_interrupt) deliver = true;
  }

  // True when something became due earlier than anybody who waits for it knows.
  bool publish(Instant now) {
    Instant next = deliver ? now : hardware->next_due();
    if (face) next = std::min(next, face->next_due());
    if (faults) {
      if (auto cold = hardware->take_reset_request()) fault_reset = cold;
    }
    bool has_work = !pending.empty() || wants_hardware_reset || fault_reset;
    bool earlier =
        rep(next) < due.load(std::memory_order_relaxed) || (has_work && !work.load(std::memory_order_relaxed));
    due.store(rep(next));
    work.store(has_work);
    return earlier;
  }

  // Faults that fired since the last call, for those who watch. Under the mutex; sent when it is released.
  void take_fired(std::vector<BoardEvent>& out) {
    if (!faults || !faults->has_fired()) return;
    const bool wanted = hooks->events.wanted();
    for (const InterfaceFaults::Fired& fired : faults->take_fired()) {
      if (wanted) out.push_back(fault_event(bmc, config.name, fired));
    }
  }

  // A host that went away, as a reset of its side: nothing of its conversation is left to the next one.
  void forget_conversation() {
    statistics.responses_dropped += pending.size();
    pending.clear();
    wants_hardware_reset = false;
    face.reset();
    after_reply.clear();
    hardware->forget_host(at(hooks->now()));
    note_line();
  }
};

// Calls the board's wake function with no lock held, counted so that a shutdown can wait for it.
class Waker {
 public:
  explicit Waker(Hooks& hooks) : hooks_(hooks) {}
  // Under the mutex of a slot that is up.
  void ask() {
    if (asked_) return;
    asked_ = true;
    hooks_.calls_out.fetch_add(1);
  }
  // No lock held. here: the board's work is done instead.
  void run(bool here = false) {
    if (!asked_) return;
    here ? hooks_.run_here() : hooks_.wake();
    hooks_.calls_out.fetch_sub(1);
    asked_ = false;
  }

 private:
  Hooks& hooks_;
  bool asked_ = false;
};

// Tells an endpoint what changed of line and link, in order, each once. No lock held.
void tell(Slot& slot, const std::shared_ptr<Endpoint>& endpoint) {
  std::lock_guard<std::mutex> one_at_a_time(endpoint->deliver_mutex);
  for (;;) {
    bool level = false;
    uint64_t rises = 0;
    registers::LinkState link;
    std::deque<HostSignal> signals;
    {
      std::lock_guard<std::mutex> lock(slot.mutex);
      link = {endpoint->up, 1, endpoint->reason};
      if (endpoint->wants_signals) signals.swap(endpoint->outbox);
      level = endpoint->up && slot.endpoint == endpoint && slot.line;
      rises = slot.statistics.interrupts;
      if (slot.endpoint == endpoint) slot.deliver = false;
    }
    bool pulse = level && endpoint->told_level && rises != endpoint->told_rises;  // fell and rose since
    bool level_changed = level != endpoint->told_level || pulse;
    // Nobody to tell yet: whoever sets a handler later is told then.
    bool link_changed = !link.up && !endpoint->told_down && (endpoint->on_link || endpoint->on_signal);
    if (!level_changed && !link_changed && signals.empty()) break;
    for (const HostSignal& what : signals) {
      if (endpoint->on_signal) endpoint->on_signal(what);
    }
    endpoint->told_rises = rises;
    endpoint->told_level = pulse ? false : level;
    if (level_changed && endpoint->on_interrupt) endpoint->on_interrupt(endpoint->told_level);
    if (link_changed) {
      endpoint->told_down = true;
      if (endpoint->on_link) endpoint->on_link(link);
      if (endpoint->on_signal) endpoint->on_signal({HostSignal::Kind::kLinkDown, 0, false, {}, link.reason});
    }
  }
}

// No lock held. A host leaves its interface, unless it was made to before.
void let_go(Slot& slot, const std::shared_ptr<Endpoint>& endpoint) {
  {
    // First the handlers: after this none is running.
    std::lock_guard<std::mutex> deliver(endpoint->deliver_mutex);
    endpoint->on_interrupt = nullptr;
    endpoint->on_link = nullptr;
    endpoint->on_signal = nullptr;
  }
  Waker waker(*slot.hooks);
  bool was_attached = false;
  {
    std::lock_guard<std::mutex> lock(slot.mutex);
    if (slot.endpoint == endpoint) {
      was_attached = true;
      slot.endpoint.reset();
      endpoint->up = false;
      endpoint->wants_interrupt = false;
      endpoint->wants_signals = false;
      slot.deliver = false;
      if (!slot.closing) {
        slot.forget_conversation();
        if (slot.publish(slot.last)) waker.ask();
      }
    }
  }
  waker.run();
  if (was_attached && slot.hooks->events.wanted()) {
    slot.hooks->events.send({attachment_event(slot.bmc, slot.config.name, slot.last, "detached", endpoint->who)});
  }
}

// A host's hold on an interface. Keeps slot and endpoint alive by itself; the board may go first.
class Port : public registers::RegisterPort {
 public:
  Port(std::shared_ptr<Slot> slot, std::shared_ptr<Endpoint> endpoint)
      : slot_(std::move(slot)), endpoint_(std::move(endpoint)) {}

  ~Port() override { let_go(*slot_, endpoint_); }

  uint8_t read(uint16_t offset) override {
    uint8_t value = 0xff;
    access([&](Slot& slot, Instant now) {
      ++slot.statistics.host_reads;
      value = slot.hardware->host_read(offset, now);
    }, 1);
    return value;
  }

  void write(uint16_t offset, uint8_t value) override {
    access([&](Slot& slot, Instant now) {
      ++slot.statistics.host_writes;
      slot.hardware->host_write(offset, value, now);
    }, 1);
  }

  void read_burst(uint16_t offset, std::span<uint8_t> out) override {
    std::fill(out.begin(), out.end(), static_cast<uint8_t>(0xff));
    size_t i = 0;
    access([&](Slot& slot, Instant now) {
      ++slot.statistics.host_reads;
      out[i++] = slot.hardware->host_read(offset, now);
    }, out.size());
  }

  void write_burst(uint16_t offset, std::span<const uint8_t> in) override {
    size_t i = 0;
    access([&](Slot& slot, Instant now) {
      ++slot.statistics.host_writes;
      slot.hardware->host_write(offset, in[i++], now);
    }, in.size());
  }

  registers::InterfaceKind kind() const override { return slot_->config.kind; }
  bool has_interrupt() const override { return slot_->config.interrupt; }
  uint64_t endpoint() const override { return endpoint_->id; }

  void set_interrupt_handler(InterruptHandler handler) override {
    bool wanted = handler && slot_->config.interrupt;
    {
      std::lock_guard<std::mutex> deliver(endpoint_->deliver_mutex);
      endpoint_->on_interrupt = wanted ? std::move(handler) : nullptr;
      endpoint_->told_level = false;
    }
    Waker waker(*slot_->hooks);
    {
      std::lock_guard<std::mutex> lock(slot_->mutex);
      endpoint_->wants_interrupt = wanted;
      if (slot_->endpoint == endpoint_ && endpoint_->up) {
        slot_->deliver = wanted && slot_->line;  // an interrupt that was already pending is told too
        if (slot_->publish(slot_->last)) waker.ask();
      }
    }
    waker.run();
  }

  registers::LinkState link() const override {
    std::lock_guard<std::mutex> lock(slot_->mutex);
    return {endpoint_->up, 1, endpoint_->reason};
  }

  void set_link_handler(LinkHandler handler) override {
    {
      std::lock_guard<std::mutex> deliver(endpoint_->deliver_mutex);
      endpoint_->on_link = std::move(handler);
    }
    bool down = false;
    {
      std::lock_guard<std::mutex> lock(slot_->mutex);
      down = !endpoint_->up;
    }
    if (down) tell(*slot_, endpoint_);
  }

 private:
  // `one` is done n times, each a step of its own at the device, under one hold of the lock.
  template <class One>
  void access(One one, size_t n) {
    Waker waker(*slot_->hooks);
    std::vector<BoardEvent> fired;
    {
      std::lock_guard<std::mutex> lock(slot_->mutex);
      if (!endpoint_->up) return;
      Instant now = slot_->hooks->now();
      for (size_t i = 0; i < n; ++i) {
        slot_->advance(now);
        one(*slot_, slot_->at(now));
        slot_->note_line();
      }
      if (slot_->hardware->take_hardware_reset_request() && slot_->config.hardware_reset) {
        slot_->wants_hardware_reset = true;
      }
      if (slot_->publish(now)) waker.ask();
      slot_->take_fired(fired);
    }
    waker.run();
    slot_->hooks->events.send(std::move(fired));
  }

  std::shared_ptr<Slot> slot_;
  std::shared_ptr<Endpoint> endpoint_;
};

class MessageEnd : public MessagePort {
 public:
  MessageEnd(std::shared_ptr<Slot> slot, std::shared_ptr<Endpoint> endpoint)
      : slot_(std::move(slot)), endpoint_(std::move(endpoint)) {}
  ~MessageEnd() override { let_go(*slot_, endpoint_); }

  uint64_t endpoint() const override { return endpoint_->id; }

  void set_signal_handler(SignalHandler handler) override {
    {
      std::lock_guard<std::mutex> deliver(endpoint_->deliver_mutex);
      endpoint_->on_signal = std::move(handler);
    }
    {
      std::lock_guard<std::mutex> lock(slot_->mutex);
      endpoint_->wants_signals = true;
    }
    tell(*slot_, endpoint_);
  }

  void submit(uint32_t tag, Bytes message) override { take(tag, std::move(message), false); }

  void submit_and_run(uint32_t tag, Bytes message) override {
    if (left_to_workers_ > 0) {
      --left_to_workers_;
      return take(tag, std::move(message), false);
    }
    Instant begin = slot_->hooks->now();
    take(tag, std::move(message), true);
    if (slot_->hooks->now() - begin > kLongRun) left_to_workers_ = kLeftToWorkers;
  }

  void host_was_reset() override {
    act([](Slot& slot, Instant) { slot.add_pending({Pending::What::kHostReset, {}, slot.face}); });
  }
  void host_is_running() override {
    act([](Slot& slot, Instant) { slot.add_pending({Pending::What::kHostRunning, {}, slot.face}); });
  }

 private:
  void take(uint32_t tag, Bytes message, bool here) {
    act([&](Slot& slot, Instant now) {
      auto taken = slot.face->take(tag, std::move(message), now);
      if (!taken) return;
      // What was still on its way to an older request is stale now; what was to follow it is not.
      auto& outbox = endpoint_->outbox;
      auto stale = [](const HostSignal& s) { return s.kind == HostSignal::Kind::kResponse; };
      outbox.erase(std::remove_if(outbox.begin(), outbox.end(), stale), outbox.end());
      slot.release_after_reply();
      slot.add_pending({Pending::What::kRequest, std::move(*taken), slot.face});
    }, here);
  }

  template <class F>
  void act(F f, bool here = false) {
    Waker waker(*slot_->hooks);
    {
      std::lock_guard<std::mutex> lock(slot_->mutex);
      if (!endpoint_->up || !slot_->face) return;
      Instant now = slot_->at(slot_->hooks->now());
      f(*slot_, now);
      if (slot_->publish(now)) waker.ask();
    }
    waker.run(here);
  }

  std::shared_ptr<Slot> slot_;
  std::shared_ptr<Endpoint> endpoint_;
  unsigned left_to_workers_ = 0;  // of the host's thread, as submitting is
};

std::string kind_of(firmware::Change::Kind kind) {
  using Kind = firmware::Change::Kind;
  switch (kind) {
    case Kind::kAttention: return "attention";
    case Kind::kReset: return "reset";
    case Kind::kPower: return "power";
    case Kind::kGlobalEnables: return "global-enables";
    case Kind::kSensor: return "sensor";
    case Kind::kSelAdded: return "sel";
    case Kind::kSelCleared: return "sel-cleared";
    case Kind::kEvent: return "event";
    case Kind::kWatchdog: return "watchdog";
    case Kind::kIdentify: return "identify";
  }
  return "unknown";
}

// The longest that an answer may take to reach the host's registers.
Duration longest(const hardware::Latency& latency) {
  return latency.shape == hardware::Latency::Shape::kFixed ? latency.min : std::max(latency.min, latency.max);
}

class BoardImpl final : public Board, private firmware::Observer {
 public:
  BoardImpl(BoardConfig config, std::shared_ptr<Hooks> hooks) : config_(std::move(config)), hooks_(std::move(hooks)) {}

  Status start(std::shared_ptr<firmware::Store> store) {
    // Called only while a slot is up, and shutdown() waits for it.
    hooks_->run_here = [this] {
      if (run(hooks_->now()) != kNever) hooks_->wake();
    };
    Instant now = hooks_->now();
    for (const InterfaceConfig& interface : config_.interfaces) {
      auto slot = std::make_shared<Slot>();
      slot->bmc = config_.firmware.name;
      slot->config = interface;
      slot->hooks = hooks_;
      slot->last = now;
      slot->hardware = hardware::make_interface({interface.kind, interface.latency, interface.seed});
      slots_.push_back(std::move(slot));
    }
    auto bmc = firmware::Bmc::create(config_.firmware, std::move(store), this, now);
    if (!bmc) return bmc.error();
    bmc_ = std::move(*bmc);
    for (const auto& slot : slots_) slot->global_enables = bmc_->global_enables();
    for (const faults::Rule& rule : config_.faults) {
      if (auto added = add_fault(rule); !added) return added.error();
    }
    Turn turn;
    settle(now, nullptr, turn);
    publish_firmware_due();
    return {};
  }

  ~BoardImpl() override {
    shutdown();
    hooks_->events.set({});
  }

  const std::string& name() const override { return config_.firmware.name; }
  const BoardConfig& config() const override { return config_; }

  Instant next_due() const override {
    int64_t due = rep(kNever);
    bool work = false;
    for (const auto& slot : slots_) {
      due = std::min(due, slot->due.load());
      work = work || slot->work.load();
    }
    // While somebody else holds the firmware, whoever releases it wakes us: asking again at once would only spin.
    if (!firmware_wanted_.load()) {
      if (work) return Instant::min();
      due = std::min(due, firmware_due_.load());
    }
    return instant(due);
  }

  Instant run(Instant now) override {
    // Firmware work makes registers due and the other way round; what is left after a few rounds is simply still due.
    for (int round = 0; round < 3; ++round) {
      bool work = false;
      for (const auto& slot : slots_) {
        std::shared_ptr<Endpoint> to_tell;
        std::vector<BoardEvent> fired;
        {
          std::lock_guard<std::mutex> lock(slot->mutex);
          if (slot->closing) continue;
          slot->advance(now);
          slot->take_fired(fired);
          if (slot->deliver) to_tell = slot->endpoint;
          slot->deliver = false;
          slot->publish(now);
          work = work || slot->work.load();
        }
        if (to_tell) tell(*slot, to_tell);
        hooks_->events.send(std::move(fired));
      }
      if (!work && firmware_due_.load() > rep(now)) break;
      std::unique_lock<std::mutex> lock(firmware_mutex_, std::try_to_lock);
      if (!lock.owns_lock()) {
        firmware_wanted_ = true;
        if (!lock.try_lock()) break;
      }
      firmware_wanted_ = false;
      Turn turn;
      firmware_turn(now, turn);
      lock.unlock();
      finish(turn, false);  // our caller gets to know what is due
      now = std::max(now, hooks_->now());
    }
    return next_due();
  }

  Result<std::unique_ptr<registers::RegisterPort>> attach(std::string_view interface, std::string who) override {
    auto taken = occupy(interface, std::move(who), nullptr);
    if (!taken) return taken.error();
    return std::unique_ptr<registers::RegisterPort>(std::make_unique<Port>(taken->slot, taken->endpoint));
  }

  Result<std::unique_ptr<MessagePort>> attach_messages(std::string_view interface, std::string who,
                                                       hardware::MessageFace::Limits limits) override {
    auto taken = occupy(interface, std::move(who), &limits);
    if (!taken) return taken.error();
    return std::unique_ptr<MessagePort>(std::make_unique<MessageEnd>(taken->slot, taken->endpoint));
  }

  std::shared_ptr<MessageService> message_service(std::string_view interface) const override {
    auto slot = find_slot(interface);
    return slot ? (*slot)->message_service : nullptr;
  }

  void report(std::string_view interface, std::string kind, std::string text) override {
    if (!hooks_->events.wanted()) return;
    hooks_->events.send({attachment_event(name(), std::string(interface), hooks_->now(), kind.c_str(), std::move(text))});
  }

  struct Taken {
    std::shared_ptr<Slot> slot;
    std::shared_ptr<Endpoint> endpoint;
  };
  // limits: of a host by messages; null for one at the registers.
  Result<Taken> occupy(std::string_view interface, std::string who, const hardware::MessageFace::Limits* limits) {
    Result<std::shared_ptr<Slot>> found = find_slot(interface);
    if (!found) return found.error();
    std::shared_ptr<Slot> slot = *found;
    // The endpoint is whole, and held by us, before the slot publishes its id (H4-4).
    auto endpoint = std::make_shared<Endpoint>();
    endpoint->who = who.empty() ? "unnamed host" : std::move(who);
    {
      std::lock_guard<std::mutex> lock(slot->mutex);
      if (slot->closing) return Error{ErrorCode::kShutdown, "BMC " + name() + " is shutting down"};
      Instant now = slot->at(hooks_->now());
      if (slot->endpoint) {
        return Error{ErrorCode::kBusy, "interface " + slot->path() + " is in use by " + slot->endpoint->who +
                                           " since " + seconds_text(now - slot->endpoint->since)};
      }
      endpoint->since = now;
      endpoint->id = next_endpoint_id_.fetch_add(1);
      endpoint->told_rises = slot->statistics.interrupts;
      slot->endpoint = endpoint;
      if (limits) {
        slot->face = std::make_shared<hardware::MessageFace>(slot->config.latency, slot->config.seed, *limits);
        if (!slot->hardware->online()) slot->face->go_offline();
        slot->signal({HostSignal::Kind::kGlobalEnables, slot->global_enables, true, {}, {}});
        slot->signal({HostSignal::Kind::kAttention, slot->attention ? 1u : 0u, true, {}, {}});
      }
    }
    if (hooks_->events.wanted()) {
      hooks_->events.send({attachment_event(name(), slot->config.name, endpoint->since, "attached", endpoint->who)});
    }
    return Taken{std::move(slot), std::move(endpoint)};
  }

  std::vector<EndpointView> endpoints() const override {
    std::vector<EndpointView> out;
    for (const auto& slot : slots_) {
      std::lock_guard<std::mutex> lock(slot->mutex);
      if (!slot->endpoint) continue;
      out.push_back({slot->endpoint->id, slot->config.name, slot->endpoint->who, slot->endpoint->since});
    }
    return out;
  }

  Status detach(uint64_t id, std::string_view reason) override {
    for (const auto& slot : slots_) {
      std::shared_ptr<Endpoint> endpoint;
      Instant now{};
      Waker waker(*hooks_);
      {
        std::lock_guard<std::mutex> lock(slot->mutex);
        if (!slot->endpoint || slot->endpoint->id != id) continue;
        endpoint = take_down(*slot, reason);
        if (!slot->closing) {
          slot->forget_conversation();
          if (slot->publish(slot->last)) waker.ask();
        }
        now = slot->last;
      }
      waker.run();
      tell(*slot, endpoint);
      if (hooks_->events.wanted()) {
        hooks_->events.send({attachment_event(name(), slot->config.name, now, "detached", endpoint->who)});
      }
      return {};
    }
    return Error{ErrorCode::kNotFound, "BMC " + name() + " has no endpoint " + std::to_string(id)};
  }

  void with_firmware(const std::function<void(firmware::Bmc&, Instant now)>& f) override {
    Turn turn;
    {
      std::unique_lock<std::mutex> lock(firmware_mutex_);
      Instant now = hooks_->now();
      f(*bmc_, now);
      settle(now, nullptr, turn);
      publish_firmware_due();
    }
    finish(turn, true);
  }

  Result<uint32_t> add_fault(faults::Rule rule) override {
    if (Status sane = faults::check(rule); !sane) return sane.error();
    auto shared = std::make_shared<const faults::Rule>(std::move(rule));
    uint32_t id = 0;
    bool wake = false;
    {
      std::lock_guard<std::mutex> one_at_a_time(faults_mutex_);
      if (fault_ids_.size() >= kFaultsMax) {
        return Error{ErrorCode::kLimit, "BMC " + name() + " has " + std::to_string(kFaultsMax) + " fault rules already"};
      }
      for (const auto& slot : slots_) {
        if (!faults::applies(*shared, slot->config.name, slot->config.kind)) continue;
        std::lock_guard<std::mutex> lock(slot->mutex);
        if (slot->closing) return Error{ErrorCode::kShutdown, "BMC " + name() + " is shutting down"};
        if (id == 0) id = ++last_fault_id_;
        Instant now = slot->at(hooks_->now());
        if (!slot->faults) {
          auto chooser = config_.chooser ? config_.chooser : std::make_shared<SeededChooser>(slot->config.seed);
          slot->faults = std::make_unique<InterfaceFaults>(slot->config.name, slot->config.kind, std::move(chooser));
          slot->hardware->set_injector(slot->faults.get(), now);
        }
        slot->faults->plan().add(id, shared, now);
        wake = slot->publish(now) || wake;
      }
      if (id == 0) {
        return Error{ErrorCode::kNotFound,
                     "BMC " + name() + " has no interface that can meet this rule: " + faults::to_text(*shared)};
      }
      fault_ids_.insert(id);
    }
    if (wake) wake_if_open();
    return id;
  }

  Status clear_fault(uint32_t id) override {
    bool wake = false;
    {
      std::lock_guard<std::mutex> one_at_a_time(faults_mutex_);
      if (fault_ids_.erase(id) == 0) {
        return Error{ErrorCode::kNotFound, "BMC " + name() + " has no fault rule " + std::to_string(id)};
      }
      wake = remove_fault(id);
    }
    if (wake) wake_if_open();
    return {};
  }
  size_t clear_faults() override {
    std::set<uint32_t> ids;
    bool wake = false;
    {
      std::lock_guard<std::mutex> one_at_a_time(faults_mutex_);
      ids.swap(fault_ids_);
      for (uint32_t id : ids) wake = remove_fault(id) || wake;
    }
    if (wake) wake_if_open();
    return ids.size();
  }

  std::vector<FaultView> faults() const override {
    std::map<uint32_t, FaultView> out;
    for (const auto& slot : slots_) {
      std::lock_guard<std::mutex> lock(slot->mutex);
      if (!slot->faults) continue;
      for (const faults::Standing& s : slot->faults->plan().list(std::max(slot->last, hooks_->now()))) {
        FaultView& view = out[s.id];
        const bool first = view.interfaces.empty();
        view.id = s.id;
        view.rule = *s.rule;
        view.interfaces.push_back(slot->config.name);
        view.matched += s.matched;
        view.fired += s.fired;
        if (s.remaining) view.remaining = view.remaining.value_or(0) + *s.remaining;
        view.over = (first || view.over) && s.over;
      }
    }
    std::vector<FaultView> views;
    for (auto& [id, view] : out) views.push_back(std::move(view));
    return views;
  }

  InterfaceStatistics statistics(std::string_view interface) const override {
    auto slot = find_slot(interface);
    if (!slot) return {};
    std::lock_guard<std::mutex> lock((*slot)->mutex);
    InterfaceStatistics out = (*slot)->statistics;
    if ((*slot)->faults) out.faults += (*slot)->faults->fired();
    return out;
  }

  void set_trace(bool on) override {
    {
      std::lock_guard<std::mutex> lock(trace_mutex_);
      if (on && !tracing_) messages_.clear();
      tracing_ = on;
    }
    for (const auto& slot : slots_) {
      std::lock_guard<std::mutex> lock(slot->mutex);
      if (on && !slot->trace) slot->trace = std::make_unique<AccessRing>();
      if (on) slot->trace->clear();
      slot->hardware->set_trace(on ? slot->trace.get() : nullptr);
    }
  }

  std::vector<hardware::Access> access_trace(std::string_view interface) const override {
    auto slot = find_slot(interface);
    if (!slot) return {};
    std::lock_guard<std::mutex> lock((*slot)->mutex);
    if (!(*slot)->trace) return {};
    return (*slot)->trace->read();
  }

  std::vector<MessageTrace> message_trace() const override {
    std::lock_guard<std::mutex> lock(trace_mutex_);
    return {messages_.begin(), messages_.end()};
  }

  void set_event_function(EventFunction f) override { hooks_->events.set(std::move(f)); }

  void shutdown() override {
    closed_ = true;
    for (const auto& slot : slots_) {
      std::shared_ptr<Endpoint> endpoint;
      {
        std::lock_guard<std::mutex> lock(slot->mutex);
        slot->closing = true;
        slot->statistics.responses_dropped += slot->pending.size();
        slot->pending.clear();
        slot->wants_hardware_reset = false;
        slot->face.reset();
        slot->after_reply.clear();
        slot->hardware->set_trace(nullptr);
        slot->hardware->set_injector(nullptr, slot->last);
        slot->faults.reset();
        slot->fault_reset.reset();
        if (slot->endpoint) endpoint = take_down(*slot, "BMC " + name() + " is shutting down");
        slot->due = rep(kNever);
        slot->work = false;
      }
      if (endpoint) tell(*slot, endpoint);
    }
    firmware_due_ = rep(kNever);
    // Nobody starts a wake any more; those that were on their way are short.
    while (hooks_->calls_out.load() != 0) std::this_thread::yield();
  }

 private:
  // What one turn of the firmware leaves to be done without its lock.
  struct Turn {
    std::vector<BoardEvent> events;
    bool wake = false;
  };

  void on_change(const firmware::Change& change) override { changes_.push_back(change); }

  // Under faults_mutex_. True when somebody must be woken.
  bool remove_fault(uint32_t id) {
    bool wake = false;
    for (const auto& slot : slots_) {
      std::lock_guard<std::mutex> lock(slot->mutex);
      if (slot->closing || !slot->faults) continue;
      Instant now = slot->at(hooks_->now());
      slot->faults->plan().remove(id);
      slot->hardware->lift(id, now);
      if (slot->faults->plan().empty()) {
        slot->statistics.faults += slot->faults->fired();
        slot->hardware->set_injector(nullptr, now);
        slot->faults.reset();
      }
      slot->note_line();
      wake = slot->publish(now) || slot->deliver || wake;
    }
    return wake;
  }

  // Under the slot's mutex.
  static std::shared_ptr<Endpoint> take_down(Slot& slot, std::string_view reason) {
    std::shared_ptr<Endpoint> endpoint = std::move(slot.endpoint);
    slot.endpoint.reset();
    slot.deliver = false;
    endpoint->up = false;
    endpoint->reason = std::string(reason);
    return endpoint;
  }

  Result<std::shared_ptr<Slot>> find_slot(std::string_view interface) const {
    if (interface.empty() && slots_.size() == 1) return slots_.front();
    for (const auto& slot : slots_) {
      if (slot->config.name == interface) return slot;
    }
    std::string names;
    for (const auto& slot : slots_) names += (names.empty() ? "" : ", ") + slot->config.name;
    if (slots_.empty()) return Error{ErrorCode::kNotFound, "BMC " + name() + " has no interface"};
    if (interface.empty())
      return Error{ErrorCode::kNotFound, "BMC " + name() + " has several interfaces, name one: " + names};
    return Error{ErrorCode::kNotFound,
                 "BMC " + name() + " has no interface '" + std::string(interface) + "'; it has: " + names};
  }

  // Under the firmware's lock: everything due there.
  void firmware_turn(Instant now, Turn& turn) {
    reset_turn(now, turn);
    for (const auto& slot : slots_) {
      for (;;) {
        Pending next;
        firmware::RequestContext context;
        bool hardware_reset = false;
        std::optional<bool> fault_reset;
        faults::MessageFault fault;
        {
          std::lock_guard<std::mutex> lock(slot->mutex);
          hardware_reset = std::exchange(slot->wants_hardware_reset, false);
          fault_reset = std::exchange(slot->fault_reset, std::nullopt);
          if (!hardware_reset && !fault_reset) {
            if (slot->pending.empty()) break;
            next = std::move(slot->pending.front());
            slot->pending.pop_front();
            context.interface_kind = slot->config.kind;
            context.request_bytes_max =
                next.face ? next.face->limits().request_bytes_max : slot->hardware->request_bytes_max();
            context.response_bytes_max =
                next.face ? next.face->limits().response_bytes_max : slot->hardware->response_bytes_max();
            if (slot->faults && next.what == Pending::What::kRequest) fault = show_to_faults(*slot, next, turn);
          }
        }
        if (hardware_reset || fault_reset) {
          // BT's BMC_HWRST (§11.6.3): optional in the specification; here it is a warm reset. A fault's may be cold.
          bmc_->reset(fault_reset.value_or(false), now);
          settle(now, nullptr, turn);
          continue;
        }
        if (next.what == Pending::What::kRequest) {
          execute(slot, next, context, fault, turn);
        } else {
          if (next.what == Pending::What::kHostReset) {
            bmc_->host_restarted(now);
          } else if (!bmc_->power_on()) {
            // Its power button, for all we know; an answer of no is impossible, and would change nothing here.
            (void)bmc_->power(firmware::PowerAction::kOn, now);
          }
          settle(now, nullptr, turn);
        }
      }
    }
    if (bmc_->next_due() <= now) bmc_->run(now);
    settle(now, nullptr, turn);
    publish_firmware_due();
  }

  // Under the slot's mutex. A request that the BMC has taken, shown to the rules.
  faults::MessageFault show_to_faults(Slot& slot, const Pending& pending, Turn& turn) {
    Instant now = slot.at(hooks_->now());
    hardware::Effects effects;
    faults::MessageFault fault =
        slot.faults->on_request(pending.request.message, pending.face == nullptr, now, effects);
    for (const hardware::Effect& effect : effects) slot.hardware->inject(effect, now);
    if (!effects.empty()) {
      slot.note_line();
      slot.publish(now);
      turn.wake = true;
    }
    slot.take_fired(turn.events);
    return fault;
  }

  void execute(const std::shared_ptr<Slot>& slot, const Pending& pending, const firmware::RequestContext& context,
               const faults::MessageFault& fault, Turn& turn) {
    const hardware::TakenRequest& taken = pending.request;
    Instant start = hooks_->now();
    Bytes answer;
    if (!fault.executes()) {
      if (fault.completion_code && taken.message.size() >= 2) {
        answer = {static_cast<uint8_t>(taken.message[0] | 4), taken.message[1], *fault.completion_code};
      }
    } else if (auto request = ipmi::decode_request(taken.message)) {
      answer = ipmi::encode(*request, bmc_->execute(*request, context, start));
    } else {
      // Below NetFn and Cmd there is nothing to answer to; an error is still better than a silence.
      uint8_t netfn_lun = taken.message.empty() ? 0 : taken.message[0];
      answer = {static_cast<uint8_t>(netfn_lun | 4), 0,
                static_cast<uint8_t>(ipmi::CompletionCode::kRequestLengthInvalid)};
    }
    Instant end = std::max(start, hooks_->now());
    // Before the answer is in the registers: what it changed (enables, attention) must be there first.
    settle(end, slot.get(), turn);
    {
      std::lock_guard<std::mutex> lock(slot->mutex);
      bool given = !slot->closing && pending.face == slot->face;
      if (slot->faults && given) {
        const Bytes genuine = answer;
        if (!fault.fired.empty()) {
          answer = faults::disturb(fault, std::move(answer), slot->faults->plan().previous_answer(),
                                   context.response_bytes_max);
        }
        if (fault.executes()) slot->faults->plan().note_answer(genuine);
      }
      if (fault.drops()) {
        answer.clear();
        given = false;
      } else if (given && fault.fired.empty()) {
        given = pending.face ? pending.face->respond(taken.token, answer, slot->at(end))
                             : slot->hardware->respond(taken.token, answer, slot->at(end));
      } else if (given) {
        const hardware::ReplyFault how = reply_fault(fault);
        given = pending.face ? pending.face->respond(taken.token, answer, slot->at(end), how)
                             : slot->hardware->respond_faulty(taken.token, answer, slot->at(end), how);
      }
      if (!given) {
        ++slot->statistics.responses_dropped;
        slot->release_after_reply();
      } else {
        ++slot->statistics.responses;
      }
      slot->note_line();
      if (!slot->closing) slot->publish(end);
    }
    turn.wake = true;
    if (hooks_->events.wanted()) {
      BoardEvent event;
      event.bmc = name();
      event.interface = slot->config.name;
      event.at = end;
      event.kind = "message";
      event.change.kind = firmware::Change::Kind::kEvent;
      event.change.text = to_hex(taken.message) + " -> " + (answer.empty() ? "nothing" : to_hex(answer));
      turn.events.push_back(std::move(event));
    }
    std::lock_guard<std::mutex> lock(trace_mutex_);
    if (!tracing_) return;
    if (messages_.size() >= kMessageTraceMax) messages_.pop_front();
    messages_.push_back({start, end - start, slot->config.name, taken.message, std::move(answer), fault.fired});
  }

  // Under the firmware's lock: carries what the firmware changed into the registers and into events. `asker` is the
  // interface whose command is being answered, if one is.
  void settle(Instant now, Slot* asker, Turn& turn) {
    for (size_t i = 0; i < changes_.size(); ++i) {
      firmware::Change change = std::move(changes_[i]);
      if (change.kind == firmware::Change::Kind::kReset) plan_reset(change.duration, now, asker, turn);
      if (change.kind == firmware::Change::Kind::kGlobalEnables) {
        signal_all({HostSignal::Kind::kGlobalEnables, change.value, false, {}, {}}, nullptr, now);
        turn.wake = true;
      }
      if (change.kind == firmware::Change::Kind::kPower) {
        signal_all({HostSignal::Kind::kPower, change.value, false, {}, {}}, asker, now);
        turn.wake = true;
      }
      if (hooks_->events.wanted() && change.kind != firmware::Change::Kind::kAttention) {
        BoardEvent event;
        event.bmc = name();
        event.at = now;
        event.kind = kind_of(change.kind);
        event.change = std::move(change);
        turn.events.push_back(std::move(event));
      }
    }
    changes_.clear();
    bool attention = bmc_->attention();
    if (attention != attention_) {
      attention_ = attention;
      for (const auto& slot : slots_) set_attention(*slot, now);
      turn.wake = true;
    }
  }

  // To every host by messages; to the asker's after the response that it is waiting for.
  void signal_all(const HostSignal& what, const Slot* asker, Instant now) {
    for (const auto& slot : slots_) {
      std::lock_guard<std::mutex> lock(slot->mutex);
      if (slot->closing) continue;
      if (what.kind == HostSignal::Kind::kGlobalEnables) slot->global_enables = static_cast<uint8_t>(what.value);
      if (slot.get() == asker && slot->face && slot->face->open()) {
        if (slot->after_reply.size() < kSignalsMax) slot->after_reply.push_back(what);
      } else {
        slot->signal(what);
      }
      slot->publish(now);
    }
  }

  void set_attention(Slot& slot, Instant now) {
    std::lock_guard<std::mutex> lock(slot.mutex);
    if (slot.closing) return;
    if (slot.attention != attention_) slot.signal({HostSignal::Kind::kAttention, attention_ ? 1u : 0u, false, {}, {}});
    slot.attention = attention_;
    slot.hardware->set_attention(attention_, slot.at(now));
    slot.note_line();
    slot.publish(now);
  }

  void publish_firmware_due() {
    Instant due = std::min({bmc_->next_due(), offline_at_, online_at_});
    firmware_due_ = closed_.load() ? rep(kNever) : rep(due);
  }

  // The BMC reboots. Asked for by a command, it first answers and goes away when the host had time to fetch the answer
  // (§20.2: the responder may return the completion code before it resets); otherwise it goes at once.
  void plan_reset(Duration away, Instant now, const Slot* asker, Turn& turn) {
    Duration answer_time{0};
    if (asker) {
      const hardware::LatencyPlan& plan = asker->config.latency;
      answer_time = longest(plan.response);
      for (const auto& [command, latency] : plan.by_command) answer_time = std::max(answer_time, longest(latency));
      answer_time += 64 * longest(plan.access) + kResetGrace;
      if (away > Duration(0)) answer_time = std::min(answer_time, away / 2);
    }
    Instant until = later(now, std::max(away, answer_time));
    online_at_ = online_at_ == kNever ? until : std::max(online_at_, until);
    offline_at_ = later(now, answer_time);
    if (!asker) reset_turn(now, turn);
  }

  void reset_turn(Instant now, Turn& turn) {
    if (offline_at_ <= now) {
      offline_at_ = kNever;
      for (const auto& slot : slots_) {
        std::lock_guard<std::mutex> lock(slot->mutex);
        if (slot->closing) continue;
        slot->statistics.responses_dropped += slot->pending.size();
        slot->pending.clear();
        slot->wants_hardware_reset = false;
        slot->hardware->go_offline(slot->at(now));
        if (slot->face) {
          slot->face->go_offline();
          slot->release_after_reply();
        }
        slot->note_line();
        slot->publish(now);
      }
      turn.wake = true;
    }
    if (online_at_ <= now && offline_at_ == kNever) {
      online_at_ = kNever;
      attention_ = bmc_->attention();
      for (const auto& slot : slots_) {
        {
          std::lock_guard<std::mutex> lock(slot->mutex);
          if (slot->closing) continue;
          slot->hardware->come_online(slot->at(now));
          if (slot->face) slot->face->come_online();
          slot->note_line();
          slot->publish(now);
        }
        set_attention(*slot, now);
      }
      turn.wake = true;
    }
  }

  // No lock of a slot or of the firmware held.
  void wake_if_open() {
    if (!enter()) return;
    hooks_->wake();
    hooks_->calls_out.fetch_sub(1);
  }

  // No lock held.
  void finish(Turn& turn, bool wake) {
    // Whoever wanted the firmware while it was held left its work to us.
    bool wanted = firmware_wanted_.exchange(false);
    if (wake && (wanted || turn.wake || firmware_due_.load() != rep(kNever))) wake_if_open();
    hooks_->events.send(std::move(turn.events));
  }

  // A wake may be started: the board is not shut down. Shutdown sets the flag first and then waits for the count.
  bool enter() {
    hooks_->calls_out.fetch_add(1);
    if (!closed_.load()) return true;
    hooks_->calls_out.fetch_sub(1);
    return false;
  }

  BoardConfig config_;
  std::shared_ptr<Hooks> hooks_;
  std::vector<std::shared_ptr<Slot>> slots_;
  std::atomic<uint64_t> next_endpoint_id_{1};

  // Rules come and go one at a time; taken before a slot's mutex.
  std::mutex faults_mutex_;
  std::set<uint32_t> fault_ids_;
  uint32_t last_fault_id_ = 0;

  // Guards the firmware and what follows; taken before a slot's mutex, never after.
  mutable std::mutex firmware_mutex_;
  std::unique_ptr<firmware::Bmc> bmc_;
  std::vector<firmware::Change> changes_;
  bool attention_ = false;
  Instant offline_at_ = kNever;
  Instant online_at_ = kNever;

  std::atomic<int64_t> firmware_due_{rep(kNever)};
  std::atomic<bool> firmware_wanted_{false};
  std::atomic<bool> closed_{false};

  mutable std::mutex trace_mutex_;
  bool tracing_ = false;
  std::deque<MessageTrace> messages_;
};

}  // namespace

Result<std::unique_ptr<Board>> Board::create(BoardConfig config, std::shared_ptr<firmware::Store> store,
                                             NowFunction now, WakeFunction wake) {
  const std::string& name = config.firmware.name;
  if (name.empty()) return Error{ErrorCode::kInvalidArgument, "a BMC has no name"};
  std::set<std::string> names;
  for (const InterfaceConfig& interface : config.interfaces) {
    if (interface.name.empty()) return Error{ErrorCode::kInvalidArgument, "BMC " + name + ": an interface has no name"};
    if (!names.insert(interface.name).second) {
      return Error{ErrorCode::kInvalidArgument, "BMC " + name + ": two interfaces are named " + interface.name};
    }
  }
  if (!store) store = std::make_shared<firmware::MemoryStore>();
  auto hooks = std::make_shared<Hooks>();
  hooks->now = std::move(now);
  hooks->wake = std::move(wake);
  auto board = std::make_unique<BoardImpl>(std::move(config), std::move(hooks));
  if (Status started = board->start(std::move(store)); !started) {
    return Error{started.error().code, "BMC " + board->name() + ": " + started.error().message};
  }
  return std::unique_ptr<Board>(std::move(board));
}

}  // namespace bmcpair::board
