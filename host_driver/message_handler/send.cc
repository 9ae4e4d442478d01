// From a user's request to the layer below (reference E.3), and the passing of time (E.4, E.7).
#include <algorithm>
#include <string>
#include <utility>

#include "host_driver/message_handler/interface.h"
#include "proto/ipmi/message.h"

namespace bmcpair::host::inline BMCPAIR_RT::detail {

using ipmi::CompletionCode;

namespace {

Error invalid(std::string what) { return Error{ErrorCode::kInvalidArgument, std::move(what)}; }

Error no_memory() { return Error{ErrorCode::kUnavailable, "request: no memory for a message"}; }

Error too_long(size_t size, size_t overhead) {
  return Error{ErrorCode::kLimit, "request: " + std::to_string(size) + " data bytes, " +
                                      std::to_string(ipmi::kMessageBytesMax - overhead) + " fit"};
}

// These would let a user into the message handler's own traffic (E.3).
bool reserved_command(const ipmi::Request& r) {
  return r.netfn == ipmi::kNetFnApp &&
         (r.cmd == kCmdSendMessage || r.cmd == kCmdGetMessage || r.cmd == kCmdReadEventBuffer);
}

bool maintenance_command(const ipmi::Request& r) {
  return (r.netfn == ipmi::kNetFnApp && (r.cmd == kCmdColdReset || r.cmd == kCmdWarmReset)) ||
         r.netfn == ipmi::kNetFnFirmware;
}

}  // namespace

Status Interface::request(const std::shared_ptr<UserState>& user, const Address& address, int64_t msgid,
                          const ipmi::Request& request, const RequestOptions& options, std::shared_ptr<SyncCall> sync) {
  rt::RcuReader below(down_rcu);
  if (shutting_down() || run_to_completion.load(std::memory_order_acquire) ||
      !user->alive.load(std::memory_order_acquire)) {
    return shutdown_error(user->number);
  }
  if (maintenance_state.load(std::memory_order_acquire) == MaintenanceState::kReset) {
    return Error{ErrorCode::kBusy, "interface " + std::to_string(user->number) + ": the BMC is being reset"};
  }
  Status bad = validate(address);
  const uint8_t lun = std::visit(
      [](const auto& a) -> uint8_t {
        if constexpr (requires { a.lun; }) {
          return a.lun;
        } else {
          return a.rs_lun;
        }
      },
      address);
  if (bad && request.netfn > 0x3f) bad = invalid("request: NetFn " + std::to_string(request.netfn) + " is above 63");
  if (bad && request.lun != 0 && request.lun != lun) {
    bad = invalid("request: LUN " + std::to_string(request.lun) + " contradicts the address's LUN " +
                  std::to_string(lun));
  }
  if (!bad) {
    count(Statistic::kSentInvalidCommands);
    return bad;
  }

  auto charge = user->charge();
  if (!charge) {
    return Error{ErrorCode::kBusy, "user: " + std::to_string(core->options.messages_per_user_max) +
                                       " messages are outstanding or unread, no more may be sent"};
  }
  auto pending = std::make_unique<Pending>();
  pending->user = user;
  pending->charge = std::move(*charge);
  pending->sync = std::move(sync);
  pending->address = address;
  pending->msgid = msgid;
  pending->netfn = request.netfn;
  pending->cmd = request.cmd;

  if (const auto* to = std::get_if<SystemInterfaceAddress>(&address)) {
    return request_local(std::move(pending), *to, request, options.priority);
  }
  if (const auto* to = std::get_if<IpmbDirectAddress>(&address)) {
    return request_direct(std::move(pending), *to, request, options.priority);
  }
  return request_routed(std::move(pending), request, options);
}

Status Interface::request_local(std::unique_ptr<Pending> pending, const SystemInterfaceAddress& to,
                                const ipmi::Request& request, int priority) {
  Status bad;
  if (request.netfn & 1) {
    bad = invalid("request: NetFn " + std::to_string(request.netfn) + " is a response's; a BMC takes requests");
  } else if (reserved_command(request)) {
    bad = invalid("request: Send Message, Get Message and Read Event Message Buffer belong to the message handler");
  } else if (request.data.size() + kLocalOverhead > ipmi::kMessageBytesMax) {
    bad = too_long(request.data.size(), kLocalOverhead);
  }
  if (!bad) {
    count(Statistic::kSentInvalidCommands);
    return bad;
  }
  if (maintenance_command(request)) note_maintenance_command(request.netfn);

  if (rt::fault_point("mh.allocate.message")) return no_memory();
  auto message = std::make_unique<OutMessage>();
  message->kind = OutKind::kLocal;
  message->msgid = static_cast<uint64_t>(pending->msgid);
  message->data[0] = ipmi::netfn_lun(request.netfn, to.lun);
  message->data[1] = request.cmd;
  std::copy(request.data.begin(), request.data.end(), message->data + 2);
  message->data_size = static_cast<uint16_t>(request.data.size() + 2);
  message->pending = std::move(pending);
  count(Statistic::kSentLocalCommands);
  send(message.release(), priority);
  return {};
}

Status Interface::request_direct(std::unique_ptr<Pending> pending, const IpmbDirectAddress& to,
                                 const ipmi::Request& request, int priority) {
  const bool response = request.netfn & 1;
  Status bad;
  if (!info.read().ipmb_direct) {
    bad = Error{ErrorCode::kNotSupported,
                "interface " + std::to_string(pending->user->number) + " is not on an IPMB: no direct messages"};
  } else if (response && request.data.empty()) {
    bad = invalid("request: a response needs its completion code");
  } else if (request.data.size() + kDirectOverhead > ipmi::kMessageBytesMax) {
    bad = too_long(request.data.size(), kDirectOverhead);
  }
  if (!bad) {
    count(Statistic::kSentInvalidCommands);
    return bad;
  }
  if (rt::fault_point("mh.allocate.message")) return no_memory();
  auto message = std::make_unique<OutMessage>();
  message->kind = response ? OutKind::kResponse : OutKind::kLocal;
  message->msgid = static_cast<uint64_t>(pending->msgid);
  Routed routed;
  routed.netfn = request.netfn;
  routed.cmd = request.cmd;
  routed.data = request.data;
  routed.sequence = static_cast<uint8_t>(pending->msgid & 0x3f);
  format_direct(*message, to, routed);
  count(response ? Statistic::kSentIpmbResponses : Statistic::kSentIpmbCommands);
  message->pending = std::move(pending);
  send(message.release(), priority);
  return {};
}

Status Interface::request_routed(std::unique_ptr<Pending> pending, const ipmi::Request& request,
                                 const RequestOptions& options) {
  auto* ipmb = std::get_if<IpmbAddress>(&pending->address);
  const auto* lan = std::get_if<LanAddress>(&pending->address);
  const uint8_t channel = channel_of(pending->address);
  const bool broadcast = ipmb && ipmb->broadcast;
  const bool response = request.netfn & 1;
  uint8_t medium = 0;
  {
    // The old map serves until a rescan has found the new one.
    rt::LockGuard lock(discovery_mutex);
    medium = discovery.channels[channel].medium;
  }
  const size_t overhead = lan ? kLanOverhead : kIpmbOverhead + (broadcast ? 1 : 0);
  Status bad;
  if (ipmb && medium != kMediumIpmb) {
    bad = invalid("request: channel " + std::to_string(channel) + " is not an IPMB");
  } else if (lan && medium != kMediumLan && medium != kMediumAsync) {
    bad = invalid("request: channel " + std::to_string(channel) + " is neither LAN nor serial");
  } else if (request.data.size() + overhead > ipmi::kMessageBytesMax) {
    bad = too_long(request.data.size(), overhead);
  }
  if (!bad) {
    count(Statistic::kSentInvalidCommands);
    return bad;
  }
  // The answer comes from one controller, at its plain address.
  const Address to = pending->address;
  if (ipmb) ipmb->broadcast = false;

  Routed routed;
  routed.netfn = request.netfn;
  routed.cmd = request.cmd;
  routed.data = request.data;
  routed.source_address = options.source_address.value_or(own_address[channel].load(std::memory_order_relaxed));
  routed.source_lun = options.source_lun.value_or(own_lun[channel].load(std::memory_order_relaxed));
  if (rt::fault_point("mh.allocate.message")) return no_memory();
  auto message = std::make_unique<OutMessage>();
  auto format = [&] {
    if (lan) {
      format_lan(*message, *lan, routed);
    } else {
      format_ipmb(*message, std::get<IpmbAddress>(to), routed);
    }
  };

  if (response) {
    // The requester's number, and no entry: nothing will answer but the local BMC.
    routed.sequence = static_cast<uint8_t>(pending->msgid & 0x3f);
    format();
    message->kind = OutKind::kResponse;
    message->pending = std::move(pending);
    count(lan ? Statistic::kSentLanResponses : Statistic::kSentIpmbResponses);
    send(message.release(), options.priority);
    return {};
  }

  // Before the entry exists, so that the mask is never behind the table (E.9).
  add_watch(WatchKind::kMessages);
  message->kind = OutKind::kRouted;
  Status status;
  {
    rt::LockGuard lock(sequence_mutex);
    if (ipmb && maintenance_command(request)) ipmb_maintenance = core->options.maintenance_time;
    Duration retry_time = options.retry_time;
    if (retry_time <= Duration::zero()) {
      retry_time = ipmb && ipmb_maintenance > Duration::zero() ? kRetryMaintenance : kRetryDefault;
    }
    const int retries = broadcast ? 0 : options.retries < 0 ? kRetriesDefault : options.retries;
    // Under the lock that the user's end sweeps the table with: no entry for a user that has ended (H4-2).
    if (!pending->user->alive.load(std::memory_order_acquire)) {
      status = shutdown_error(pending->user->number);
    } else if (auto ticket = sequences.reserve()) {
      routed.sequence = static_cast<uint8_t>(ticket->slot);
      format();
      message->msgid = ticket->msgid;
      sequences.fill(*ticket, std::move(pending), Bytes(message->data, message->data + message->data_size), retry_time,
                     retries, broadcast);
    } else {
      status = Error{ErrorCode::kUnavailable, "request: all 64 sequence numbers are in use"};
    }
  }
  if (!status) {
    remove_watch(WatchKind::kMessages);
    return status;
  }
  count(lan ? Statistic::kSentLanCommands : Statistic::kSentIpmbCommands);
  core->want_tick();
  send(message.release(), options.priority);
  return {};
}

void Interface::send(SmiMessage* message, int priority) {
  message->resend_on_panic = true;
  {
    rt::LockGuard lock(transmit_mutex);
    rt::fault_point("mh.send.locked");
    // Behind those that wait, also in the moment between an answer and the worker's pick (Linux lets it overtake
    // there). Whoever cleared `current` schedules that pick.
    if (current || !queue_high.empty() || !queue_normal.empty()) {
      (priority > 0 ? queue_high : queue_normal).push_back(message);
      return;
    }
    current = message;
    rt::fault_point("mh.send.current");  // seed 1, (1)
  }
  hand_down(message);
}

// The message is `current`. A refusal becomes its answer, once, by the same way as any other (G-67).
void Interface::hand_down(SmiMessage* message) {
  if (below_ended) rt::fatal("message handler: a message for a system interface that has been shut down (I2-2)");
  Status status = smi->sender(message);
  if (status) return;
  OutMessage* out = ours(*message);
  if (profile().mh_waits_though_send_failed && out && out->pending && out->pending->discovery) {
    {
      rt::LockGuard lock(transmit_mutex);
      if (message == current) current = nullptr;
    }
    retire(message);
    receive_work.schedule();
    return;
  }
  message->failed = true;
  message->failure = status.error().code;
  make_local_response(*message,
                      static_cast<uint8_t>(message->failure == ErrorCode::kHosed ? CompletionCode::kBusError
                                                                                 : CompletionCode::kUnspecified));
  if (profile().mh_sender_error_keeps_current) {
    {
      rt::LockGuard lock(transmit_mutex);
      current = &refused;
    }
    {
      rt::LockGuard lock(receive_mutex);
      received.push_back(message);
    }
    receive_work.schedule();
    return;
  }
  message_received(message);
}

void Interface::send_next() {
  rt::RcuReader below(down_rcu);
  if (shutting_down()) return;
  SmiMessage* next = nullptr;
  {
    rt::LockGuard lock(transmit_mutex);
    if (current) return;
    next = queue_high.pop();
    if (!next) next = queue_normal.pop();
    if (!next) return;
    current = next;
  }
  hand_down(next);
}

bool Interface::tick(Duration elapsed) {
  rt::RcuReader below(down_rcu);
  if (shutting_down() || run_to_completion.load(std::memory_order_acquire)) return false;
  bool more = tick_sequences(elapsed);
  more |= tick_maintenance(elapsed);
  more |= tick_discovery(elapsed);
  if (event_users.load(std::memory_order_acquire) > 0) {
    more = true;
    if (maintenance_state.load(std::memory_order_acquire) == MaintenanceState::kOff) smi->request_events();
  }
  bool waiting = false;
  {
    rt::LockGuard lock(receive_mutex);
    waiting = !received.empty();
  }
  if (waiting) {
    more = true;
    receive_work.schedule();
  }
  return more;
}

bool Interface::tick_sequences(Duration elapsed) {
  std::vector<SequenceTable::Expired> expired;
  std::vector<SequenceTable::Retransmission> again;
  bool more = false;
  {
    rt::LockGuard lock(sequence_mutex);
    sequences.age(elapsed, expired, again);
    ipmb_maintenance = ipmb_maintenance > elapsed ? ipmb_maintenance - elapsed : Duration::zero();
    more = sequences.in_use() > 0 || ipmb_maintenance > Duration::zero();
  }
  for (auto& e : expired) {
    const bool lan = std::holds_alternative<LanAddress>(e.pending->address);
    count(e.broadcast ? Statistic::kTimedOutIpmbBroadcasts
          : lan       ? Statistic::kTimedOutLanCommands
                      : Statistic::kTimedOutIpmbCommands);
    deliver_error(std::move(e.pending), static_cast<uint8_t>(CompletionCode::kTimeout), ErrorCode::kTimeout);
  }
  if (!expired.empty()) remove_watch(WatchKind::kMessages, static_cast<unsigned>(expired.size()));
  for (auto& r : again) {
    // As without memory for it: the entry waits for its next expiry.
    if (rt::fault_point("mh.retransmit")) {
      count(r.lan ? Statistic::kDroppedRexmitLanCommands : Statistic::kDroppedRexmitIpmbCommands);
      continue;
    }
    auto message = std::make_unique<OutMessage>();
    message->kind = OutKind::kRouted;
    message->msgid = r.msgid;
    std::copy(r.wire.begin(), r.wire.end(), message->data);
    message->data_size = static_cast<uint16_t>(r.wire.size());
    count(r.lan ? Statistic::kRetransmittedLanCommands : Statistic::kRetransmittedIpmbCommands);
    send(message.release(), 0);
  }
  return more;
}

}  // namespace bmcpair::host::inline BMCPAIR_RT::detail
