// What comes up from the layer below: classification, and delivery to who waits for it (reference E.5, E.6, E.7).
#include <cstddef>
#include <new>
#include <string>
#include <utility>

#include "host_driver/message_handler/interface.h"
#include "proto/ipmi/message.h"

namespace bmcpair::host::inline BMCPAIR_RT::detail {

using ipmi::CompletionCode;

const char kAutoReplyTag = 'a';
const char kPanicTag = 'p';

namespace {

constexpr uint8_t kAppResponse = ipmi::kNetFnApp | 1;
constexpr size_t kEventRecordBytes = 16;
// A worker is given back after so many messages.
constexpr unsigned kReceiveBatch = 64;

// The BMC was not reached, or answered something else: what Linux shows is FF.
void make_malformed(SmiMessage& m) {
  make_local_response(m, static_cast<uint8_t>(CompletionCode::kUnspecified));
  m.failed = true;
  m.failure = ErrorCode::kProtocol;
}

// From the local BMC's answer to Send Message: these mean "try again later", and the retry timer does (E.4).
bool retryable(uint8_t cc) {
  switch (static_cast<CompletionCode>(cc)) {
    case CompletionCode::kOk:
    case CompletionCode::kNodeBusy:
    case CompletionCode::kLostArbitration:
    case CompletionCode::kBusError:
    case CompletionCode::kNakOnWrite:
      return true;
    default:
      return false;
  }
}

bool power_of_two(uint64_t n) { return n && !(n & (n - 1)); }

}  // namespace

OutMessage* ours(SmiMessage& m) {
  if (!m.user_data || m.user_data == &kAutoReplyTag || m.user_data == &kPanicTag) return nullptr;
  return static_cast<OutMessage*>(m.user_data);
}

OutMessage::OutMessage() : Tracked("message") {
  user_data = this;
  done = [](SmiMessage* m) { delete static_cast<OutMessage*>(m); };
}

void MessageQueue::push_back(SmiMessage* m) {
  m->next = nullptr;
  (first_ ? last_->next : first_) = m;
  last_ = m;
}

void MessageQueue::remove(const SmiMessage* m) {
  SmiMessage* before = nullptr;
  for (SmiMessage* at = first_; at; before = at, at = at->next) {
    if (at != m) continue;
    (before ? before->next : first_) = at->next;
    if (last_ == at) last_ = before;
    return;
  }
}

void MessageQueue::push_front(SmiMessage* m) {
  m->next = first_;
  if (!first_) last_ = m;
  first_ = m;
}

SmiMessage* MessageQueue::pop() {
  SmiMessage* m = first_;
  if (!m) return nullptr;
  first_ = m->next;
  if (!first_) last_ = nullptr;
  m->next = nullptr;
  return m;
}

void SyncCall::complete(std::optional<RecvMessage> message) {
  {
    rt::LockGuard lock(mutex);
    if (done) return;
    done = true;
    if (!abandoned) answer = std::move(message);
  }
  changed.wake_all();
}

Pending::~Pending() {
  if (sync) sync->complete(std::nullopt);
}

RecvMessage response_to(const Pending& pending, ByteView data) {
  RecvMessage m;
  m.type = RecvType::kResponse;
  m.address = pending.address;
  m.msgid = pending.msgid;
  m.netfn = pending.netfn | 1;
  m.cmd = pending.cmd;
  m.data.assign(data.begin(), data.end());
  return m;
}

void Interface::retire(SmiMessage* message) {
  if (message->user_data == &kAutoReplyTag) message->user_data = nullptr;
  if (message->done) message->done(message);
}

// Called with the lower layer's locks: queues, and takes no lock that is ever held around a call down (G-33).
void Interface::message_received(SmiMessage* message) {
  touch();
  if (run_to_completion.load(std::memory_order_acquire)) {
    panic_received(message);
    return;
  }
  if (ended) rt::fatal("message handler: called by a system interface whose registration had failed (I2-2)");
  if (profile().mh_classifies_in_upcall && !shutting_down()) {
    OutMessage* out = ours(*message);
    if (out && out->kind == OutKind::kRouted && message->rsp_size >= 3) {
      {
        rt::LockGuard lock(transmit_mutex);
        if (message == current) current = nullptr;
      }
      handle_routed_local_response(*message);
      retire(message);
      receive_work.schedule();
      return;
    }
  }
  {
    rt::LockGuard lock(receive_mutex);
    rt::fault_point("mh.received.locked");
    received.push_back(message);
  }
  rt::fault_point("mh.received.queued");  // seed 1: after (5), the upper current message still set
  {
    rt::LockGuard lock(transmit_mutex);
    if (message == current) current = nullptr;
    rt::fault_point("mh.received.cleared");
  }
  receive_work.schedule();
}

void Interface::watchdog_pretimeout() {
  if (run_to_completion.load(std::memory_order_acquire)) return;
  {
    rt::LockGuard lock(receive_mutex);
    pretimeout_seen = true;
  }
  receive_work.schedule();
}

void Interface::run_receive() {
  bool more = true;
  bool pretimeout = false;
  for (unsigned n = 0; n < kReceiveBatch && more; ++n) {
    // First, so that the BMC is busy while the last answer is looked at.
    send_next();
    SmiMessage* message = nullptr;
    {
      rt::LockGuard lock(receive_mutex);
      pretimeout |= std::exchange(pretimeout_seen, false);
      message = received.pop();  // unlinked before it is looked at: it may go down again as a reply (G-16)
      more = !received.empty();  // what comes from here on schedules this again
    }
    if (!message) break;
    switch (handle(*message)) {
      case Disposition::kFree:
        retire(message);
        break;
      case Disposition::kConsumed:
        break;
      case Disposition::kRetry: {
        {
          rt::LockGuard lock(receive_mutex);
          received.push_front(message);
        }
        core->want_tick();
        more = false;
        break;
      }
    }
  }
  if (pretimeout) {
    rt::RcuReader reader(users_rcu);
    for (UserState* u = users.first(); u; u = users.after(u)) {
      u->touch();
      u->enqueue_pretimeout();
    }
  }
  if (more) receive_work.schedule();
}

// In the order of E.5.
Interface::Disposition Interface::handle(SmiMessage& m) {
  OutMessage* out = ours(m);
  if (m.failed) count(Statistic::kFailedMessages);
  if (m.user_data == &kAutoReplyTag) return Disposition::kFree;  // nobody asks how our C1 was taken

  // 1. An answer to one of ours has a completion code, or is none.
  const size_t shortest = out ? 3 : 2;
  if (m.rsp_size > sizeof m.rsp || (m.rsp_size < shortest && m.type == SmiMessageType::kNormal)) make_malformed(m);

  if (m.type == SmiMessageType::kIpmbDirect) {
    // 2. Bounds before anything is read (G-46, G-47).
    if (!out && m.rsp_size < 4) {
      count(Statistic::kInvalidCommands);
      return Disposition::kFree;
    }
    if (out && (m.rsp_size < 5 || !looks_like_response(m, Form::kDirect))) {
      count(Statistic::kInvalidIpmbResponses);
      make_malformed(m);
    }
    // 5. Commands come in messages that the system interface made, answers in ours.
    if (out) {
      deliver_response(*out);
      return Disposition::kFree;
    }
    if (looks_like_response(m, Form::kDirect)) {
      count(Statistic::kUnhandledIpmbResponses);
      return Disposition::kFree;
    }
    return handle_command(m, Form::kDirect);
  }

  // 3. The BMC took, or refused, a request for somebody beyond it.
  if (out && out->kind == OutKind::kRouted) {
    if (!shutting_down()) handle_routed_local_response(m);
    return Disposition::kFree;
  }

  // 4. Not even marginally the answer to what was asked.
  if (!profile().mh_believes_any_answer && (m.rsp[0] >> 2 != (m.data[0] >> 2 | 1) || m.rsp[1] != m.data[1])) {
    count(Statistic::kMismatchedResponses);
    const uint64_t n = counted(Statistic::kMismatchedResponses);
    if (power_of_two(n)) {  // rate limited without a clock (G-78)
      const uint8_t want[2] = {static_cast<uint8_t>(m.data[0] >> 2 | 1), m.data[1]};
      const uint8_t got[2] = {static_cast<uint8_t>(m.rsp[0] >> 2), m.rsp[1]};
      log("answer with NetFn and command " + to_hex(got) + " where " + to_hex(want) + " was due (" + std::to_string(n) +
          " so far)");
    }
    make_malformed(m);
  }

  // 6, 9.
  if (out) {
    deliver_response(*out);
    return Disposition::kFree;
  }
  // 7, 8.
  if (m.rsp[0] >> 2 == kAppResponse && m.rsp[1] == kCmdGetMessage) return handle_get_message(m);
  if (m.rsp[0] >> 2 == kAppResponse && m.rsp[1] == kCmdReadEventBuffer) return handle_event(m);
  count(Statistic::kUnhandledLocalResponses);
  log("answer that nobody asked for: " + to_hex(ByteView(m.rsp, m.rsp_size < 4 ? m.rsp_size : 4)));
  return Disposition::kFree;
}

void Interface::handle_routed_local_response(const SmiMessage& m) {
  const uint8_t cc = m.rsp[2];
  // A code that the driver made says nothing about the bus: that request is over.
  if (retryable(cc) && !m.failed) {
    std::shared_ptr<UserState> user;
    std::optional<RecvMessage> answer;
    {
      rt::LockGuard lock(sequence_mutex);
      sequences.start_timer(m.msgid);
      const Pending* asked = profile().mh_delivers_send_message_answer ? sequences.find(m.msgid) : nullptr;
      if (asked) {
        user = asked->user;
        answer = response_to(*asked, ByteView(&cc, 1));
      }
    }
    if (user) user->enqueue(std::move(*answer));
    return;
  }
  std::unique_ptr<Pending> pending;
  {
    rt::LockGuard lock(sequence_mutex);
    pending = sequences.fail(m.msgid);
  }
  if (!pending) return;
  count(std::holds_alternative<LanAddress>(pending->address) ? Statistic::kSentLanCommandErrs
                                                             : Statistic::kSentIpmbCommandErrs);
  remove_watch(WatchKind::kMessages);
  RecvMessage answer = response_to(*pending, ByteView(&cc, 1));
  answer.failed = m.failed;
  answer.failure = m.failure;
  deliver(std::move(pending), std::move(answer));
}

void Interface::deliver_response(OutMessage& m) {
  if (!m.pending) return;
  auto pending = std::move(m.pending);
  const bool direct = m.type == SmiMessageType::kIpmbDirect;
  RecvMessage answer;
  if (m.kind == OutKind::kResponse) {
    answer = response_to(*pending, ByteView(m.rsp + (direct ? 4 : 2), 1));
    answer.type = RecvType::kResponseResponse;
    answer.netfn = pending->netfn;
  } else if (Incoming in; direct && parse_incoming(m, Form::kDirect, &in)) {
    answer = response_to(*pending, in.data);
    answer.address = in.from;
    answer.netfn = in.netfn;
    answer.lun = in.lun;
    answer.cmd = in.cmd;
  } else {
    answer = response_to(*pending, ByteView(m.rsp + 2, m.rsp_size - 2u));
    answer.address = SystemInterfaceAddress{static_cast<uint8_t>(m.rsp[0] & 3)};
    answer.netfn = m.rsp[0] >> 2;
    answer.lun = m.rsp[0] & 3;
    answer.cmd = m.rsp[1];
  }
  answer.failed = m.failed;
  answer.failure = m.failure;
  const bool delivered = deliver(std::move(pending), std::move(answer));
  if (direct) {
    count(delivered ? Statistic::kHandledIpmbResponses : Statistic::kUnhandledIpmbResponses);
  } else {
    count(delivered ? Statistic::kHandledLocalResponses : Statistic::kUnhandledLocalResponses);
  }
}

Interface::Disposition Interface::handle_get_message(SmiMessage& m) {
  if (m.rsp_size >= 3 && m.rsp[2] != 0) return Disposition::kFree;
  if (m.rsp_size < 4) {
    count(Statistic::kInvalidCommands);
    return Disposition::kFree;
  }
  const uint8_t channel = m.rsp[3] & 0x0f;
  uint8_t medium = 0;
  {
    rt::LockGuard lock(discovery_mutex);
    if (!discovery.channels_ready) return Disposition::kFree;
    medium = discovery.channels[channel].medium;
  }
  Form form;
  if (medium == kMediumIpmb) {
    form = Form::kIpmb;
  } else if (medium == kMediumLan || medium == kMediumAsync) {
    form = Form::kLan;
  } else if (medium >= kMediumOemFirst && medium <= kMediumOemLast) {
    return handle_oem(m);
  } else {
    return Disposition::kFree;
  }
  return looks_like_response(m, form) ? handle_routed_response(m, form) : handle_command(m, form);
}

Interface::Disposition Interface::handle_routed_response(const SmiMessage& m, Form form) {
  const bool lan = form == Form::kLan;
  Incoming in;
  if (!parse_incoming(m, form, &in)) {
    count(lan ? Statistic::kInvalidLanResponses : Statistic::kInvalidIpmbResponses);
    return Disposition::kFree;
  }
  std::unique_ptr<Pending> pending;
  {
    rt::LockGuard lock(sequence_mutex);
    pending = sequences.match(in.sequence, in.channel, static_cast<uint8_t>(in.netfn & ~1), in.cmd, in.from);
  }
  if (!pending) {
    count(lan ? Statistic::kUnhandledLanResponses : Statistic::kUnhandledIpmbResponses);
    return Disposition::kFree;
  }
  remove_watch(WatchKind::kMessages);
  RecvMessage answer = response_to(*pending, in.data);
  answer.netfn = in.netfn;
  answer.lun = in.lun;
  const bool delivered = deliver(std::move(pending), std::move(answer));
  if (lan) {
    count(delivered ? Statistic::kHandledLanResponses : Statistic::kUnhandledLanResponses);
  } else {
    count(delivered ? Statistic::kHandledIpmbResponses : Statistic::kUnhandledIpmbResponses);
  }
  return Disposition::kFree;
}

std::shared_ptr<UserState> Interface::find_receiver(uint8_t netfn, uint8_t cmd, uint8_t channel) {
  rt::RcuReader reader(receivers_rcu);
  CommandReceiver* r = receivers.first();
  rt::fault_point("mh.receivers.walked");
  for (; r; r = receivers.after(r)) {
    r->touch();
    if (r->netfn == netfn && r->cmd == cmd && (r->channels.load(std::memory_order_acquire) >> channel & 1)) {
      return r->user;
    }
  }
  return nullptr;
}

Interface::Disposition Interface::handle_command(SmiMessage& m, Form form) {
  Incoming in;
  if (!parse_incoming(m, form, &in)) {
    count(Statistic::kInvalidCommands);
    return Disposition::kFree;
  }
  auto user = find_receiver(in.netfn, in.cmd, in.channel);
  auto cc = CompletionCode::kInvalidCommand;
  if (user) {
    // As without memory for the copy.
    if (rt::fault_point("mh.command.copy")) return Disposition::kRetry;
    // A receiver that does not read must not hold up everybody's messages: the requester hears "busy".
    auto charge = user->charge();
    cc = CompletionCode::kNodeBusy;
    if (charge) {
      RecvMessage command;
      command.type = RecvType::kCommand;
      command.address = in.from;
      command.msgid = in.sequence;
      command.netfn = in.netfn;
      command.lun = in.lun;
      command.cmd = in.cmd;
      command.data.assign(in.data.begin(), in.data.end());
      command.charge = std::move(*charge);
      if (user->enqueue(std::move(command))) {
        count(Statistic::kHandledCommands);
        return Disposition::kFree;
      }
      cc = CompletionCode::kInvalidCommand;
    }
  }
  count(Statistic::kUnhandledCommands);
  rt::RcuReader below(down_rcu);
  if (shutting_down()) return Disposition::kFree;
  make_error_reply(m, form, static_cast<uint8_t>(cc), own_address[in.channel].load(std::memory_order_relaxed));
  m.user_data = const_cast<char*>(&kAutoReplyTag);
  m.msgid = 0;
  m.rsp_size = 0;
  m.failed = false;
  send(&m, 0);
  return Disposition::kConsumed;
}

Interface::Disposition Interface::handle_oem(const SmiMessage& m) {
  auto user = find_receiver(m.rsp[0] >> 2, m.rsp[1], m.rsp[3] & 0x0f);
  auto charge = user ? user->charge() : std::nullopt;
  if (!charge) {
    count(Statistic::kUnhandledCommands);
    return Disposition::kFree;
  }
  RecvMessage message;
  message.type = RecvType::kOem;
  message.lun = m.rsp[0] & 3;
  message.address = SystemInterfaceAddress{message.lun};
  message.netfn = m.rsp[0] >> 2;
  message.cmd = m.rsp[1];
  message.data.assign(m.rsp + 4, m.rsp + m.rsp_size);
  message.charge = std::move(*charge);
  count(user->enqueue(std::move(message)) ? Statistic::kHandledCommands : Statistic::kUnhandledCommands);
  return Disposition::kFree;
}

Interface::Disposition Interface::handle_event(const SmiMessage& m) {
  if (m.rsp_size >= 3 && m.rsp[2] != 0) return Disposition::kFree;
  if (m.rsp_size < 3 + kEventRecordBytes) {
    count(Statistic::kInvalidEvents);
    return Disposition::kFree;
  }
  const uint8_t lun = m.rsp[0] & 3;
  const ByteView record(m.rsp + 3, kEventRecordBytes);
  std::vector<std::pair<std::shared_ptr<UserState>, RecvMessage>> copies;
  rt::LockGuard lock(events_mutex);
  bool anybody = false;
  try {
    rt::RcuReader reader(users_rcu);
    for (UserState* u = users.first(); u; u = users.after(u)) {
      u->touch();
      if (!u->gets_events.load(std::memory_order_relaxed) || !u->alive.load(std::memory_order_acquire)) continue;
      anybody = true;
      // Each copy owns its charge and its reference, so that leaving here gives back exactly those made (G-57).
      if (rt::fault_point("mh.event.copy")) {
        if (profile().mh_event_rollback_twice) {
          for (auto& [user, event] : copies) user->messages.fetch_sub(1, std::memory_order_acq_rel);
        }
        return Disposition::kRetry;
      }
      auto charge = u->charge();
      if (!charge) {
        count(Statistic::kDroppedEvents);  // this user does not read; the others do
        continue;
      }
      RecvMessage event;
      event.type = RecvType::kAsyncEvent;
      event.address = SystemInterfaceAddress{lun};
      event.netfn = m.rsp[0] >> 2;
      event.lun = lun;
      event.cmd = m.rsp[1];
      event.data.assign(record.begin(), record.end());
      event.charge = std::move(*charge);
      u->touch();
      copies.emplace_back(u->shared_from_this(), std::move(event));
    }
    if (!anybody && waiting_events.size() < kEventQueueMax) {
      waiting_events.emplace_back(lun, Bytes(record.begin(), record.end()));
    } else if (!anybody) {
      count(Statistic::kDroppedEvents);
      if (!std::exchange(events_overflowed, true)) log("nobody reads events and the queue is full: dropping them");
    }
  } catch (const std::bad_alloc&) {
    return Disposition::kRetry;
  }
  count(Statistic::kEvents);
  for (auto& [user, event] : copies) user->enqueue(std::move(event));
  return Disposition::kFree;
}

bool Interface::deliver(std::unique_ptr<Pending> pending, RecvMessage message) {
  if (pending->discovery) {
    discovery_answer(pending->discovery, message);
    return true;
  }
  message.charge = std::move(pending->charge);
  if (pending->sync) {
    pending->sync->complete(std::move(message));
    return true;
  }
  return pending->user && pending->user->enqueue(std::move(message));
}

bool Interface::deliver_error(std::unique_ptr<Pending> pending, uint8_t cc, ErrorCode failure) {
  RecvMessage answer = response_to(*pending, ByteView(&cc, 1));
  answer.failed = true;
  answer.failure = failure;
  return deliver(std::move(pending), std::move(answer));
}

}  // namespace bmcpair::host::inline BMCPAIR_RT::detail
