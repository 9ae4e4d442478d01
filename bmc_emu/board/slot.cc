#include "bmc_emu/board/slot.h"

#include <utility>

namespace bmcpair::board {

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

namespace {

constexpr size_t kPendingMax = 8;
// Steps of the BMC's actor that one visit may catch up with; what is left stays due.
constexpr int kStepsMax = 1024;

BoardEvent fault_event(const std::string& bmc, const std::string& interface, const InterfaceFaults::Fired& fired) {
  BoardEvent event = attachment_event(bmc, interface, fired.at, "fault", fired.text);
  event.change.value = fired.id;
  return event;
}

}  // namespace

void Slot::advance(Instant now) {
  for (int i = 0; i < kStepsMax && hardware->next_due() <= now; ++i) {
    if (auto request = hardware->step(at(hardware->next_due()))) {
      add_pending({Pending::What::kRequest, std::move(*request), nullptr, {}});
    }
    note_line();
  }
  if (!face) return;
  if (auto reply = face->step(at(now))) {
    signal({HostSignal::Kind::kResponse, reply->tag, false, std::move(reply->message), {}, reply->fault});
    release_after_reply();
  }
}

void Slot::add_pending(Pending what) {
  if (what.what == Pending::What::kRequest) ++statistics.requests;
  what.operation = begin();
  if (pending.size() >= kPendingMax) {
    finish(pending.front().operation);
    pending.pop_front();
    ++statistics.responses_dropped;
  }
  pending.push_back(std::move(what));
}

void Slot::forget_pending() {
  statistics.responses_dropped += pending.size();
  pending.clear();
  wants_hardware_reset = false;
  abort_in_flight();
}

void Slot::signal(HostSignal what) {
  Endpoint* endpoint = attached();
  if (!endpoint || !face) return;
  // Handlers do not block, so this is never met but by a host that has none yet.
  if (endpoint->outbox.size() >= kSignalsMax) return;
  endpoint->outbox.push_back(std::move(what));
  if (endpoint->wants_signals) deliver = true;
}

void Slot::note_line() {
  bool level = hardware->interrupt_line();
  if (level == line) return;
  line = level;
  if (level) ++statistics.interrupts;
  if (attached() && attached()->wants_interrupt) deliver = true;
}

bool Slot::publish(Instant now) {
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

void Slot::take_fired(std::vector<BoardEvent>& out) {
  if (!faults || !faults->has_fired()) return;
  const bool wanted = hooks->events.wanted();
  for (const InterfaceFaults::Fired& fired : faults->take_fired()) {
    if (wanted) out.push_back(fault_event(bmc, config.name, fired));
  }
}

void Slot::forget_conversation() {
  deliver = false;
  forget_pending();
  face.reset();
  after_reply.clear();
  hardware->forget_host(at(hooks->now()));
  note_line();
}

void tell(Slot& slot, Endpoint& endpoint) {
  Slot::UniqueLock lock(slot.mutex());
  if (!slot.enter_handlers(endpoint)) return;
  for (;;) {
    const registers::LinkState link{endpoint.up(), 1, endpoint.reason()};
    std::deque<HostSignal> signals;
    if (endpoint.wants_signals) signals.swap(endpoint.outbox);
    const bool level = endpoint.up() && slot.line;
    const uint64_t rises = slot.statistics.interrupts;
    if (slot.attached() == &endpoint) slot.deliver = false;
    const bool pulse = level && endpoint.told_level && rises != endpoint.told_rises;  // fell and rose since
    const bool level_changed = level != endpoint.told_level || pulse;
    // Nobody to tell yet: whoever sets a handler later is told then.
    const bool link_changed = !link.up && !endpoint.told_down && (endpoint.on_link || endpoint.on_signal);
    if (!level_changed && !link_changed && signals.empty()) break;
    lock.unlock();
    for (const HostSignal& what : signals) {
      if (endpoint.on_signal) endpoint.on_signal(what);
    }
    endpoint.told_rises = rises;
    endpoint.told_level = pulse ? false : level;
    if (level_changed && endpoint.on_interrupt) endpoint.on_interrupt(endpoint.told_level);
    if (link_changed) {
      endpoint.told_down = true;
      if (endpoint.on_link) endpoint.on_link(link);
      if (endpoint.on_signal) endpoint.on_signal({HostSignal::Kind::kLinkDown, 0, false, {}, link.reason});
    }
    lock.lock();
  }
  slot.leave_handlers(endpoint);
}

void let_go(Slot& slot, Endpoint& endpoint) {
  // First the handlers: after this none is running.
  slot.host_is_quiet(
      endpoint,
      [&] {
        endpoint.on_interrupt = nullptr;
        endpoint.on_link = nullptr;
        endpoint.on_signal = nullptr;
      },
      [](bool) {});
  Waker waker(*slot.hooks);
  Instant now{};
  const bool was_attached = slot.detach(endpoint, {}, [&](Endpoint& e) {
    e.wants_interrupt = false;
    e.wants_signals = false;
    slot.forget_conversation();
    if (slot.publish(slot.last)) waker.ask();
    now = slot.last;
  });
  waker.run();
  if (was_attached && slot.hooks->events.wanted()) {
    slot.hooks->events.send({attachment_event(slot.bmc, slot.config.name, now, "detached", endpoint.who)});
  }
}

}  // namespace bmcpair::board
