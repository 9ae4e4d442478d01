// The panic path (reference E.13 and the seed discussion behind it). One context is left; the others have stopped
// wherever they were, some with a lock in hand. Nothing here takes a lock, allocates, frees, or calls a user but for
// its panic handler, and every wait is bounded by time and by steps.
//
// Windows of the send path in which the other context may have stopped:
//   (1) current := message        (2) the layer below stores it as waiting     (3) as current     (4) it is on the wire
//   (5) its answer is here, current := none
// Between (1) and (2), between (3) and (4), and after (5) before current is cleared, `current` names a message that
// nobody will ever answer; queued behind it a panic request would wait for ever. So current is forced to none
// whenever the layer below holds nothing. Between (2) and (3) and between (4) and (5) the flush completes it.
#include <algorithm>
#include <cstring>

#include "host_driver/message_handler/interface.h"
#include "proto/ipmi/message.h"

namespace bmcpair::host::inline BMCPAIR_RT::detail {

namespace {

constexpr size_t kCharactersPerRecord = 11;

}  // namespace

void Interface::panic_prepare() {
  if (profile().mh_panic_takes_locks) {
    rt::LockGuard transmit(transmit_mutex);
    rt::LockGuard receive(receive_mutex);
  }
  // A list whose lock is held may be half linked: its messages are given up (G-12).
  if (transmit_mutex.try_lock()) {
    transmit_mutex.unlock();
  } else {
    queue_normal.forget();
    queue_high.forget();
  }
  // Answers that nobody has looked at belong to users, who are not called any more (G-13, G-36). They are put by, so
  // that a process that lives on after all can give them back.
  if (receive_mutex.try_lock()) {
    while (SmiMessage* m = received.pop()) abandoned.push_back(m);
    receive_mutex.unlock();
  } else {
    received.forget();
  }
  run_to_completion.store(true, std::memory_order_release);
  panic_deadline = rt::now() + core->options.panic_budget;
  panic_polls = 0;
  smi->set_run_to_completion(true);
  panic_settle();
  for (UserState* u = users.first(); u; u = users.after(u)) {
    if (u->handlers.panic && u->alive.load(std::memory_order_acquire)) u->handlers.panic();
  }
}

// Upward, in the panic: only notes what has come back. Nothing is freed or given back.
void Interface::panic_received(SmiMessage* message) {
  if (message == current) current = nullptr;
  if (message != &panic_slot.message) {
    OutMessage* out = profile().mh_panic_calls_users ? ours(*message) : nullptr;
    if (out && out->pending && out->pending->user && message->rsp_size >= 3) {
      RecvMessage answer = response_to(*out->pending, ByteView(message->rsp + 2, message->rsp_size - 2u));
      if (const auto& receive = out->pending->user->handlers.receive) receive(std::move(answer));
    }
    abandoned.push_back(message);
    return;
  }
  panic_slot.in_flight = false;
  panic_slot.answered = true;
}

bool Interface::panic_expired() {
  if (profile().mh_unbounded_panic_waits) return false;
  return ++panic_polls > core->options.panic_polls_max || rt::now() >= panic_deadline;
}

// Until nothing is current. False: the bound was met.
bool Interface::panic_settle() {
  for (;;) {
    smi->flush_messages();
    if (!current) return true;
    if ((profile().mh_clear_current_on_panic || profile().mh_panic_resends) && !smi->holds_message()) {
      if (profile().mh_panic_resends && current != &panic_slot.message && current->resend_on_panic) {
        abandoned.remove(current);
        queue_high.push_front(current);
      }
      current = nullptr;
      return true;
    }
    if (panic_expired()) return false;
    smi->poll();
  }
}

// Sends panic_slot.message and waits for its answer. Once false for want of an answer, false for ever: the message
// below may not be written again.
bool Interface::panic_transact() {
  const bool reuse = profile().mh_reuses_panic_message;
  if ((!reuse && (panic_dead || panic_slot.in_flight)) || (!panic_settle() && !reuse)) {
    panic_dead = true;
    return false;
  }
  panic_slot.answered = false;
  panic_slot.in_flight = true;
  current = &panic_slot.message;
  if (!smi->sender(&panic_slot.message)) {
    current = nullptr;
    panic_slot.in_flight = false;
    return false;
  }
  for (;;) {
    smi->flush_messages();
    if (panic_slot.answered) return !panic_slot.message.failed;
    if (!smi->holds_message() || panic_expired()) {
      panic_dead = true;
      return false;
    }
    smi->poll();
  }
}

bool Interface::panic_request(uint8_t netfn_lun_byte, uint8_t cmd, ByteView data) {
  SmiMessage& m = panic_slot.message;
  const bool busy = panic_slot.in_flight && !profile().mh_reuses_panic_message;
  if (busy || data.size() + kLocalOverhead > sizeof m.data) return false;
  m.type = SmiMessageType::kNormal;  // whatever the slot was used for before (G-46)
  m.msgid = 0;
  m.failed = false;
  m.rsp_size = 0;
  m.user_data = const_cast<char*>(&kPanicTag);
  m.done = nullptr;
  m.data[0] = netfn_lun_byte;
  m.data[1] = cmd;
  std::copy(data.begin(), data.end(), m.data + 2);
  m.data_size = static_cast<uint16_t>(data.size() + 2);
  return panic_transact();
}

// Counts as sent when our BMC has put it on the bus: the answer from beyond it is not waited for.
bool Interface::panic_request_ipmb(uint8_t slave, uint8_t lun, uint8_t netfn, uint8_t cmd, ByteView data) {
  SmiMessage& m = panic_slot.message;
  if (panic_slot.in_flight || data.size() + kIpmbOverhead > sizeof m.data) return false;
  Routed routed;
  routed.netfn = netfn;
  routed.cmd = cmd;
  routed.data = data;
  routed.source_address = own_address[0].load(std::memory_order_relaxed);
  routed.source_lun = own_lun[0].load(std::memory_order_relaxed);
  routed.sequence = sequences.free_sequence(panic_sequence++);
  m.msgid = 0;
  m.failed = false;
  m.rsp_size = 0;
  m.user_data = const_cast<char*>(&kPanicTag);
  m.done = nullptr;
  format_ipmb(m, IpmbAddress{0, slave, lun, false}, routed);
  return panic_transact();
}

void Interface::panic_events(std::string_view reason, PanicReport* report) {
  if (core->options.panic_events == PanicEvents::kNone) return;
  auto result = [&](bool ok) {
    count(ok ? Statistic::kPanicEventsSent : Statistic::kPanicEventsLost);
    ++(ok ? report->sent : report->lost);
    return ok;
  };
  auto character = [&](size_t i) { return i < reason.size() ? static_cast<uint8_t>(reason[i]) : uint8_t{0}; };

  // Platform Event: generator 41h, event message revision 03h, sensor type 20h (OS critical stop), type 6Fh, offset 1
  // with the string's first characters as number, data 2 and data 3 (IPMI 2.0 §29.3).
  const uint8_t event[8] = {0x41, 0x03, 0x20, character(0), 0x6f, 0xa1, character(1), character(2)};
  if (!result(panic_request(ipmi::netfn_lun(ipmi::kNetFnSensorEvent, 0), kCmdPlatformEvent, event))) {
    if (panic_dead && !profile().mh_reuses_panic_message) return;
  }
  if (core->options.panic_events != PanicEvents::kString || reason.empty()) return;

  // Where does a SEL entry go? To the event receiver, or to our own SEL.
  const SmiMessage& m = panic_slot.message;
  if (!panic_request(ipmi::netfn_lun(ipmi::kNetFnApp, 0), kCmdGetDeviceId, {}) || m.rsp_size < 9 || m.rsp[2] != 0) {
    result(false);
    return;
  }
  const bool sel_device = m.rsp[8] & 0x04;
  const bool event_generator = m.rsp[8] & 0x20;
  uint8_t receiver = 0;
  uint8_t receiver_lun = 0;
  if (event_generator && panic_request(ipmi::netfn_lun(ipmi::kNetFnSensorEvent, 0), kCmdGetEventReceiver, {}) &&
      m.rsp_size >= 5 && m.rsp[2] == 0) {
    receiver = m.rsp[3];
    receiver_lun = m.rsp[4] & 3;
  }
  const uint8_t own = own_address[0].load(std::memory_order_relaxed);
  const bool over_ipmb = receiver != 0 && !(receiver & 1) && receiver != own;
  if (!over_ipmb && !sel_device) return;

  for (unsigned n = 0; n < kPanicRecordsMax && n * kCharactersPerRecord < reason.size(); ++n) {
    const std::string_view part = reason.substr(n * kCharactersPerRecord, kCharactersPerRecord);
    uint8_t record[16] = {0, 0, 0xf0, own, static_cast<uint8_t>(n)};  // F0h: OEM record without time stamp
    std::memcpy(record + 5, part.data(), part.size());
    const bool ok = over_ipmb ? panic_request_ipmb(receiver, receiver_lun, ipmi::kNetFnStorage, kCmdAddSelEntry, record)
                              : panic_request(ipmi::netfn_lun(ipmi::kNetFnStorage, 0), kCmdAddSelEntry, record);
    result(ok);
    if (panic_dead) return;
  }
}

// What users had queued goes out after the panic's own messages, as far as the time left allows.
void Interface::panic_drain() {
  while (!panic_dead && !panic_slot.in_flight) {
    if (!panic_settle()) return;
    SmiMessage* next = queue_high.pop();
    if (!next) next = queue_normal.pop();
    if (!next) return;
    current = next;
    if (!smi->sender(next)) current = nullptr;
  }
}

}  // namespace bmcpair::host::inline BMCPAIR_RT::detail

namespace bmcpair::host::inline BMCPAIR_RT {

bool User::request_in_panic(uint8_t netfn, uint8_t cmd, ByteView data) {
  detail::Interface& i = *state_->interface;
  if (!rt::in_panic_context() || !i.run_to_completion.load(std::memory_order_acquire)) return false;
  if (!i.panic_request(ipmi::netfn_lun(netfn, 0), cmd, data)) return false;
  const SmiMessage& m = i.panic_slot.message;
  return m.rsp_size >= 3 && m.rsp[2] == 0;
}

PanicReport MessageHandler::panic(std::string_view reason) {
  PanicReport report;
  if (!rt::panicking() && !rt::begin_panic()) return report;
  if (core_->panicked.exchange(true, std::memory_order_acq_rel)) return report;
  // Without a section: no writer is left. Any state in which one stopped leads to the head.
  auto each = [&](auto&& what) {
    for (detail::Interface* i = core_->interfaces.first(); i; i = core_->interfaces.after(i)) {
      if (i->number.load(std::memory_order_acquire) >= 0) what(*i);
    }
  };
  each([&](detail::Interface& i) {
    ++report.interfaces;
    i.panic_prepare();
  });
  each([&](detail::Interface& i) {
    i.panic_deadline = rt::now() + core_->options.panic_budget;
    i.panic_events(reason, &report);
  });
  each([&](detail::Interface& i) { i.panic_drain(); });
  return report;
}

}  // namespace bmcpair::host::inline BMCPAIR_RT
