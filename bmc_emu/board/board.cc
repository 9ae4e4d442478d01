#include "bmc_emu/board/board.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "bmc_emu/board/interface_faults.h"
#include "bmc_emu/board/slot.h"
#include "proto/ipmi/message.h"

namespace bmcpair::board {
namespace {

constexpr size_t kMessageTraceMax = 2048;
// How long the host gets to fetch the answer to its reset command before the registers go away, beyond the latencies.
constexpr Duration kResetGrace = std::chrono::milliseconds(5);

constexpr Instant later(Instant t, Duration d) { return d > kNever - t ? kNever : t + d; }

std::string seconds_text(Duration d) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f s", std::chrono::duration<double>(d).count());
  return text;
}

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
      auto slot = Reference<Slot>::adopt(new Slot);
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
        Reference<Endpoint> to_tell;
        std::vector<BoardEvent> fired;
        {
          std::lock_guard<std::mutex> lock(slot->mutex());
          if (slot->going()) continue;
          slot->advance(now);
          slot->take_fired(fired);
          if (slot->deliver) to_tell = Reference<Endpoint>(slot->attached());
          slot->deliver = false;
          slot->publish(now);
          work = work || slot->work.load();
        }
        if (to_tell) tell(*slot, *to_tell);
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
    return make_register_port(std::move(taken->slot), std::move(taken->endpoint));
  }

  Result<std::unique_ptr<MessagePort>> attach_messages(std::string_view interface, std::string who,
                                                       hardware::MessageFace::Limits limits) override {
    auto taken = occupy(interface, std::move(who), &limits);
    if (!taken) return taken.error();
    return make_message_port(std::move(taken->slot), std::move(taken->endpoint));
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
    Reference<Slot> slot;
    Reference<Endpoint> endpoint;
  };
  // limits: of a host by messages; null for one at the registers.
  Result<Taken> occupy(std::string_view interface, std::string who, const hardware::MessageFace::Limits* limits) {
    Result<Reference<Slot>> found = find_slot(interface);
    if (!found) return found.error();
    Reference<Slot> slot = *found;
    Host host;
    host.who = who.empty() ? "unnamed host" : std::move(who);
    auto endpoint = Reference<Endpoint>::adopt(new Endpoint(std::move(host)));
    std::string held_by;
    const Attachments::Answer answer = slot->attach(*endpoint, endpoint_ids_, [&](Attachments::Answer given) {
      Instant now = slot->at(hooks_->now());
      if (given == Attachments::Answer::kBusy) {
        held_by = slot->attached()->who + " since " + seconds_text(now - slot->attached()->since);
      }
      if (given != Attachments::Answer::kAttached) return;
      endpoint->since = now;
      endpoint->told_rises = slot->statistics.interrupts;
      if (limits) {
        slot->face = std::make_shared<hardware::MessageFace>(slot->config.latency, slot->config.seed, *limits);
        if (!slot->hardware->online()) slot->face->go_offline();
        slot->signal({HostSignal::Kind::kGlobalEnables, slot->global_enables, true, {}, {}});
        slot->signal({HostSignal::Kind::kAttention, slot->attention ? 1u : 0u, true, {}, {}});
      }
    });
    if (answer == Attachments::Answer::kGoing) {
      return Error{ErrorCode::kShutdown, "BMC " + name() + " is shutting down"};
    }
    if (answer == Attachments::Answer::kBusy) {
      return Error{ErrorCode::kBusy, "interface " + slot->path() + " is in use by " + held_by};
    }
    if (hooks_->events.wanted()) {
      hooks_->events.send({attachment_event(name(), slot->config.name, endpoint->since, "attached", endpoint->who)});
    }
    return Taken{std::move(slot), std::move(endpoint)};
  }

  std::vector<EndpointView> endpoints() const override {
    std::vector<EndpointView> out;
    for (const auto& slot : slots_) {
      std::lock_guard<std::mutex> lock(slot->mutex());
      const Endpoint* endpoint = slot->attached();
      if (!endpoint) continue;
      out.push_back({endpoint->id(), slot->config.name, endpoint->who, endpoint->since});
    }
    return out;
  }

  Status detach(uint64_t id, std::string_view reason) override {
    for (const auto& slot : slots_) {
      Instant now{};
      Waker waker(*hooks_);
      auto endpoint = slot->detach(id, reason, [&](Endpoint&) {
        slot->forget_conversation();
        if (slot->publish(slot->last)) waker.ask();
        now = slot->last;
      });
      if (!endpoint) continue;
      waker.run();
      tell(*slot, *endpoint);
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
        std::lock_guard<std::mutex> lock(slot->mutex());
        if (slot->going()) return Error{ErrorCode::kShutdown, "BMC " + name() + " is shutting down"};
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
      std::lock_guard<std::mutex> lock(slot->mutex());
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
    std::lock_guard<std::mutex> lock((*slot)->mutex());
    InterfaceStatistics out = (*slot)->statistics;
    if ((*slot)->faults) out.faults += (*slot)->faults->fired();
    return out;
  }

  void set_trace(bool on) override {
    {
      std::lock_guard<std::mutex> lock(trace_mutex_);
      if (on && !tracing_) {
        messages_.clear();
        messages_left_out_ = 0;
      }
      tracing_ = on;
    }
    for (const auto& slot : slots_) {
      std::lock_guard<std::mutex> lock(slot->mutex());
      if (on && !slot->trace) slot->trace = std::make_unique<AccessRing>();
      if (on) slot->trace->clear();
      slot->hardware->set_trace(on ? slot->trace.get() : nullptr);
    }
  }

  std::vector<hardware::Access> access_trace(std::string_view interface) const override {
    auto slot = find_slot(interface);
    if (!slot) return {};
    std::lock_guard<std::mutex> lock((*slot)->mutex());
    if (!(*slot)->trace) return {};
    return (*slot)->trace->read();
  }

  std::vector<MessageTrace> message_trace() const override {
    std::lock_guard<std::mutex> lock(trace_mutex_);
    return {messages_.begin(), messages_.end()};
  }

  uint64_t accesses_left_out(std::string_view interface) const override {
    auto slot = find_slot(interface);
    if (!slot) return 0;
    std::lock_guard<std::mutex> lock((*slot)->mutex());
    return (*slot)->trace ? (*slot)->trace->left_out() : 0;
  }

  uint64_t messages_left_out() const override {
    std::lock_guard<std::mutex> lock(trace_mutex_);
    return messages_left_out_;
  }

  void set_event_function(EventFunction f) override { hooks_->events.set(std::move(f)); }

  void shutdown() override {
    closed_ = true;
    for (const auto& slot : slots_) {
      auto endpoint = slot->close("BMC " + name() + " is shutting down", [](Endpoint&) {});
      {
        std::lock_guard<std::mutex> lock(slot->mutex());
        slot->forget_pending();
        slot->face.reset();
        slot->after_reply.clear();
        slot->hardware->set_trace(nullptr);
        slot->hardware->set_injector(nullptr, slot->last);
        slot->faults.reset();
        slot->fault_reset.reset();
        slot->deliver = false;
        slot->due = rep(kNever);
        slot->work = false;
      }
      if (endpoint) tell(*slot, *endpoint);
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
      std::lock_guard<std::mutex> lock(slot->mutex());
      if (slot->going() || !slot->faults) continue;
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

  Result<Reference<Slot>> find_slot(std::string_view interface) const {
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
          std::lock_guard<std::mutex> lock(slot->mutex());
          hardware_reset = std::exchange(slot->wants_hardware_reset, false);
          fault_reset = std::exchange(slot->fault_reset, std::nullopt);
          if (!hardware_reset && !fault_reset) {
            if (slot->pending.empty()) break;
            next = std::move(slot->pending.front());
            slot->pending.pop_front();
            if (next.what != Pending::What::kRequest) slot->finish(next.operation);
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

  void execute(const Reference<Slot>& slot, const Pending& pending, const firmware::RequestContext& context,
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
      std::lock_guard<std::mutex> lock(slot->mutex());
      bool given = slot->finish(pending.operation);
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
      if (!slot->going()) slot->publish(end);
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
    if (messages_.size() >= kMessageTraceMax) {
      messages_.pop_front();
      ++messages_left_out_;
    }
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
      std::lock_guard<std::mutex> lock(slot->mutex());
      if (slot->going()) continue;
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
    std::lock_guard<std::mutex> lock(slot.mutex());
    if (slot.going()) return;
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
        std::lock_guard<std::mutex> lock(slot->mutex());
        if (slot->going()) continue;
        slot->forget_pending();
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
          std::lock_guard<std::mutex> lock(slot->mutex());
          if (slot->going()) continue;
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
  std::vector<Reference<Slot>> slots_;
  Attachments::Ids endpoint_ids_{1};

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
  uint64_t messages_left_out_ = 0;
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
