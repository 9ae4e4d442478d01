#include "bmc_emu/firmware/messaging.h"

#include <algorithm>
#include <optional>

#include "bmc_emu/firmware/app.h"
#include "bmc_emu/firmware/channel.h"
#include "bmc_emu/firmware/dispatcher.h"
#include "bmc_emu/firmware/state.h"

namespace bmcpair::firmware {

using ipmi::CompletionCode;

namespace {

constexpr size_t kIpmbRequestMin = 7;     // rsSA, NetFn/LUN, checksum, rqSA, Seq/LUN, Cmd, checksum
constexpr size_t kIpmbResponseOverhead = 8;  // and the completion code
constexpr uint8_t kBroadcast = 0x00;
constexpr Duration kOwnLatency = std::chrono::milliseconds(1);  // of this BMC when it is addressed over its own IPMB

bool from_system_interface(const Call& call) { return call.context.channel == kChannelSystemInterface; }

// An IPMB request as its target sees it. nullopt: it would not react to it (§2.11 of the IPMB specification: bad
// checksums and responses to nothing are dropped).
struct IpmbRequest {
  uint8_t target = 0;
  uint8_t requester = 0;
  uint8_t seq_lun = 0;
  ipmi::Request request;
};

std::optional<IpmbRequest> parse_ipmb(ByteView message) {
  if (message.size() < kIpmbRequestMin) return std::nullopt;
  if (ipmi::checksum(message.first(2)) != message[2]) return std::nullopt;
  if (ipmi::checksum(message.subspan(3, message.size() - 4)) != message.back()) return std::nullopt;
  ByteView data = message.subspan(6, message.size() - kIpmbRequestMin);
  return IpmbRequest{message[0], message[3], message[4],
                     {static_cast<uint8_t>(message[1] >> 2), static_cast<uint8_t>(message[1] & 3), message[5],
                      Bytes(data.begin(), data.end())}};
}

// What Get Message hands out: the message as it came over the IPMB, but for the address it came to, which the first
// checksum still covers (§22.6).
Bytes response_from(uint8_t own_address, uint8_t responder, const IpmbRequest& to, const ipmi::Response& response) {
  Bytes out{ipmi::netfn_lun(static_cast<uint8_t>(to.request.netfn | 1), to.seq_lun & 3)};
  out.push_back(ipmi::checksum(Bytes{own_address, out[0]}));
  size_t body = out.size();
  out.push_back(responder);
  out.push_back(static_cast<uint8_t>((to.seq_lun & 0xfc) | to.request.lun));
  out.push_back(to.request.cmd);
  out.push_back(static_cast<uint8_t>(response.cc));
  out.insert(out.end(), response.data.begin(), response.data.end());
  out.push_back(ipmi::checksum(ByteView(out).subspan(body)));
  return out;
}

// A satellite controller knows the mandatory application commands and its GUID, no more.
ipmi::Response satellite_execute(const SatelliteConfig& satellite, const ipmi::Request& request) {
  if (request.netfn != ipmi::kNetFnApp) return fail(CompletionCode::kInvalidCommand);
  const Guid& guid = satellite.identity.device_guid;
  ipmi::Response response;
  switch (request.cmd) {
    case 0x01: response = ok(device_id_bytes(satellite.identity)); break;
    case 0x02:
    case 0x03: response = ok(); break;
    case 0x04: response = ok({0x55, 0x00}); break;
    case 0x08: response = ok(Bytes(guid.begin(), guid.end())); break;
    default: return fail(CompletionCode::kInvalidCommand);
  }
  if (request.lun != 0) return fail(CompletionCode::kInvalidCommandForLun);
  if (!request.data.empty()) return fail(CompletionCode::kRequestLengthInvalid);
  return response;
}

const SatelliteConfig* find_satellite(const State& state, uint8_t address) {
  for (const SatelliteConfig& satellite : state.config.satellites) {
    if (satellite.address == address) return &satellite;
  }
  return nullptr;
}

ipmi::Response set_global_enables(Call& call) {
  if (!from_system_interface(call)) return fail(CompletionCode::kInsufficientPrivilege);
  uint8_t value = call.in.u8();
  if ((value & 0x10) != 0) return fail(CompletionCode::kInvalidDataField);
  // Told even when nothing changed: who carries interrupts for a host that came later may not know yet.
  bool same = value == call.state.messaging->global_enables();
  call.state.messaging->set_global_enables(call.state, value);
  if (same) call.state.notify({Change::Kind::kGlobalEnables, value, Duration(0), {}});
  return ok();
}

ipmi::Response get_global_enables(Call& call) { return ok({call.state.messaging->global_enables()}); }

ipmi::Response clear_message_flags(Call& call) {
  if (!from_system_interface(call)) return fail(CompletionCode::kInsufficientPrivilege);
  uint8_t mask = call.in.u8();
  if ((mask & 0x14) != 0) return fail(CompletionCode::kInvalidDataField);
  call.state.messaging->clear_flags(call.state, mask);
  return ok();
}

ipmi::Response get_message_flags(Call& call) {
  if (!from_system_interface(call)) return fail(CompletionCode::kInsufficientPrivilege);
  return ok({call.state.messaging->flags()});
}

// §22.5. Which channels may put messages into the Receive Message Queue.
ipmi::Response enable_message_channel_receive(Call& call) {
  if (!from_system_interface(call)) return fail(CompletionCode::kInsufficientPrivilege);
  uint8_t channel = call.in.u8();
  uint8_t action = call.in.u8();
  if ((channel & 0xf0) != 0 || action > 2) return fail(CompletionCode::kInvalidDataField);
  auto found = ChannelPart::find(call.state, channel, call.context);
  if (!found) return fail(CompletionCode::kInvalidDataField);
  MessagingPart& messaging = *call.state.messaging;
  if (action != 2) messaging.enable_receive(found->number, action == 1);
  return ok({found->number, static_cast<uint8_t>(messaging.receive_enabled(found->number) ? 1 : 0)});
}

ipmi::Response get_message(Call& call) {
  if (!from_system_interface(call)) return fail(CompletionCode::kInsufficientPrivilege);
  MessagingPart& messaging = *call.state.messaging;
  if (messaging.receive_queue_empty()) return fail(0x80);
  MessagingPart::Received message = messaging.take_received(call.state);
  Bytes out{message.channel};
  out.insert(out.end(), message.data.begin(), message.data.end());
  return ok(std::move(out));
}

// §22.7: [7:6] tracking, [5] encryption, [4] authentication, [3:0] channel.
ipmi::Response send_message(Call& call) {
  uint8_t head = call.in.u8();
  ByteView message = call.in.rest();
  uint8_t tracking = head >> 6;
  if (tracking > 1 || (head & 0x30) != 0) return fail(CompletionCode::kInvalidDataField);  // no raw mode, no sessions
  uint8_t channel = head & 0x0f;
  auto found = ChannelPart::find(call.state, channel, call.context);
  if (channel == kChannelPresent || !found) return fail(CompletionCode::kInvalidDataField);
  MessagingPart& messaging = *call.state.messaging;
  if (found->number == kChannelPrimaryIpmb) {
    return {messaging.send_ipmb(call.state, message, tracking == 1, call.now), {}};
  }
  if (found->number == kChannelSystemInterface) {
    if (message.empty()) return fail(CompletionCode::kRequestLengthInvalid);
    if (message.size() > MessagingPart::kIpmbBytesMax) return fail(CompletionCode::kRequestLengthLimitExceeded);
    if (!messaging.receive_enabled(kChannelSystemInterface)) return fail(CompletionCode::kDestinationUnavailable);
    if (messaging.receive_queue_full()) return fail(CompletionCode::kOutOfSpace);
    messaging.deliver_to_receive_queue(call.state, kChannelSystemInterface, message);
    return ok();
  }
  return fail(CompletionCode::kDestinationUnavailable);  // a channel with sessions, and there is none open
}

ipmi::Response read_event_message_buffer(Call& call) {
  if (!from_system_interface(call)) return fail(CompletionCode::kInsufficientPrivilege);
  MessagingPart::Event event{};
  if (!call.state.messaging->take_event(call.state, event)) return fail(0x80);
  return ok(Bytes(event.begin(), event.end()));
}

}  // namespace

Instant MessagingPart::next_due(const State&) const {
  Instant due = kNever;
  for (const InFlight& request : in_flight_) due = std::min(due, request.due);
  return due;
}

void MessagingPart::run(State& state, Instant now) {
  for (;;) {
    auto next = std::min_element(in_flight_.begin(), in_flight_.end(), [](const InFlight& a, const InFlight& b) {
      return a.due != b.due ? a.due < b.due : a.order < b.order;
    });
    if (next == in_flight_.end() || next->due > now) return;
    InFlight request = std::move(*next);
    in_flight_.erase(next);
    answer(state, request, now);
  }
}

void MessagingPart::on_reset(State& state, bool cold, Instant) {
  received_.clear();
  events_.clear();
  in_flight_.clear();
  other_flags_ = 0;
  receive_disabled_ = 0;
  if (cold) set_global_enables(state, kEnableSystemEventLog);  // a warm reset leaves the enables (§20.3)
  update_attention(state);
}

// The system's software that enabled interrupts and waited for messages is gone; logging goes on as it was (§22.1).
void MessagingPart::on_host_reset(State& state, Instant) {
  received_.clear();
  events_.clear();
  in_flight_.clear();
  other_flags_ = 0;
  receive_disabled_ = 0;
  set_global_enables(state, enables_ & kEnableSystemEventLog);
  update_attention(state);
}

uint8_t MessagingPart::flags() const {
  return static_cast<uint8_t>(other_flags_ | (received_.empty() ? 0 : kFlagReceiveMessage) |
                              (events_.empty() ? 0 : kFlagEventBufferFull));
}

void MessagingPart::set_flag(State& state, uint8_t flag) {
  other_flags_ |= flag & (kFlagWatchdogPretimeout | kFlagOem);
  update_attention(state);
}

void MessagingPart::clear_flags(State& state, uint8_t mask) {
  other_flags_ &= static_cast<uint8_t>(~mask);
  if ((mask & kFlagReceiveMessage) != 0) received_.clear();
  if ((mask & kFlagEventBufferFull) != 0) events_.clear();
  update_attention(state);
}

void MessagingPart::set_global_enables(State& state, uint8_t value) {
  bool changed = value != enables_;
  enables_ = value;
  if ((value & kEnableEventBuffer) == 0) events_.clear();  // its flag reads 0 while it is disabled (§22.4)
  if (changed) state.notify({Change::Kind::kGlobalEnables, value, Duration(0), {}});
  update_attention(state);
}

void MessagingPart::enable_receive(uint8_t channel, bool on) {
  auto bit = static_cast<uint16_t>(1u << (channel & 15));
  receive_disabled_ = static_cast<uint16_t>(on ? receive_disabled_ & ~bit : receive_disabled_ | bit);
}

bool MessagingPart::offer_event(State& state, ByteView record16) {
  Event event{};
  if ((enables_ & kEnableEventBuffer) == 0 || record16.size() != event.size() || events_.size() >= kEventsMax) {
    return false;
  }
  std::copy(record16.begin(), record16.end(), event.begin());
  events_.push_back(event);
  update_attention(state);
  return true;
}

bool MessagingPart::take_event(State& state, Event& out) {
  if (events_.empty()) return false;
  out = events_.front();
  events_.erase(events_.begin());
  update_attention(state);
  return true;
}

bool MessagingPart::deliver_to_receive_queue(State& state, uint8_t channel, ByteView data) {
  if (!receive_enabled(channel) || receive_queue_full()) return false;
  received_.push_back({channel, Bytes(data.begin(), data.end())});
  update_attention(state);
  return true;
}

MessagingPart::Received MessagingPart::take_received(State& state) {
  Received message = std::move(received_.front());
  received_.erase(received_.begin());
  update_attention(state);
  return message;
}

CompletionCode MessagingPart::send_ipmb(State& state, ByteView message, bool tracked, Instant now) {
  if (message.size() > kIpmbBytesMax + 1) return CompletionCode::kRequestLengthLimitExceeded;
  bool broadcast = !message.empty() && message[0] == kBroadcast;
  if (broadcast) message = message.subspan(1);
  if (message.size() < kIpmbRequestMin) return CompletionCode::kRequestLengthInvalid;
  if (message.size() > kIpmbBytesMax) return CompletionCode::kRequestLengthLimitExceeded;
  // Everybody acknowledges the general call address, so that a broadcast to nobody succeeds and stays unanswered.
  Duration latency = kOwnLatency;
  if (message[0] != state.config.identity.ipmb_address) {
    const SatelliteConfig* satellite = find_satellite(state, message[0]);
    if (satellite == nullptr || !satellite->answers) {
      return broadcast ? CompletionCode::kOk : CompletionCode::kNakOnWrite;
    }
    latency = satellite->latency;
  }
  auto request = parse_ipmb(message);
  // Only Get Device ID may be broadcast (§20.9); nobody answers anything else.
  bool wanted = request && (!broadcast || (request->request.netfn == ipmi::kNetFnApp && request->request.cmd == 0x01));
  if (!wanted) return CompletionCode::kOk;
  if (in_flight_.size() >= kInFlightMax) return CompletionCode::kNodeBusy;
  in_flight_.push_back({now + latency, next_order_++, tracked, Bytes(message.begin(), message.end())});
  return CompletionCode::kOk;
}

void MessagingPart::answer(State& state, const InFlight& in_flight, Instant now) {
  auto request = parse_ipmb(in_flight.message);
  if (!request) return;
  uint8_t own_address = state.config.identity.ipmb_address;
  bool to_us = request->target == own_address;
  if (to_us && request->request.lun == kLunSms) {  // for system software, request or response
    deliver_to_receive_queue(state, kChannelPrimaryIpmb, ByteView(in_flight.message).subspan(1));
    return;
  }
  if (request->request.netfn % 2 != 0) return;  // a response to something nobody asked
  ipmi::Response response;
  if (to_us) {
    RequestContext context;
    context.channel = kChannelPrimaryIpmb;
    context.request_bytes_max = kIpmbBytesMax - kIpmbRequestMin + 2;
    context.response_bytes_max = kIpmbBytesMax - kIpmbResponseOverhead + 3;
    context.requester_address = request->requester;
    context.requester_lun = request->seq_lun & 3;
    response = Dispatcher::instance().dispatch(state, request->request, context, now);
  } else {
    const SatelliteConfig* satellite = find_satellite(state, request->target);
    if (satellite == nullptr) return;
    response = satellite_execute(*satellite, request->request);
  }
  // The answer goes to the requester named in the request; only ours, and only to system software, is seen here. A
  // tracked request is the BMC's own to hand back (§22.7).
  bool for_system_software = request->requester == own_address && (request->seq_lun & 3) == kLunSms;
  if (!in_flight.tracked && !for_system_software) return;
  deliver_to_receive_queue(state, kChannelPrimaryIpmb,
                           response_from(own_address, request->target, *request, response));
}

void MessagingPart::update_attention(State& state) {
  if (attention() == attention_told_) return;
  attention_told_ = attention();
  state.notify({Change::Kind::kAttention, attention_told_ ? 1u : 0u, Duration(0), {}});
}

std::vector<Command> messaging_commands() {
  using P = Privilege;
  constexpr uint8_t kApp = ipmi::kNetFnApp;
  // Those of the system interface alone say D4 elsewhere, whatever the privilege (appendix G, "s").
  return {
      {kApp, 0x2e, "Set BMC Global Enables", P::kAdministrator, 1, 1, kLun0, set_global_enables},
      {kApp, 0x2f, "Get BMC Global Enables", P::kUser, 0, 0, kLun0, get_global_enables},
      {kApp, 0x30, "Clear Message Flags", P::kAdministrator, 1, 1, kLun0, clear_message_flags},
      {kApp, 0x31, "Get Message Flags", P::kAdministrator, 0, 0, kLun0, get_message_flags},
      {kApp, 0x32, "Enable Message Channel Receive", P::kAdministrator, 2, 2, kLun0, enable_message_channel_receive},
      {kApp, 0x33, "Get Message", P::kAdministrator, 0, 0, kLun0, get_message},
      {kApp, 0x34, "Send Message", P::kUser, 1, 255, kLun0, send_message},
      {kApp, 0x35, "Read Event Message Buffer", P::kAdministrator, 0, 0, kLun0, read_event_message_buffer},
  };
}

}  // namespace bmcpair::firmware
