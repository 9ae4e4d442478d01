#include "bmc_emu/firmware/channel.h"

#include <string>

#include "bmc_emu/firmware/dispatcher.h"
#include "bmc_emu/firmware/state.h"

namespace bmcpair::firmware {

using ipmi::CompletionCode;

namespace {

constexpr std::string_view kTable = "channel";

constexpr uint8_t kMediumIpmb = 0x01;
constexpr uint8_t kMediumSystemInterface = 0x0c;
constexpr uint8_t kProtocolIpmb = 0x01;
constexpr uint8_t kNotSupportedForChannel = 0x82;  // the channel has no sessions
constexpr uint8_t kAccessBits = 0x3f;              // alerting, authentication, access mode
constexpr uint8_t kModeMask = 0x07;
constexpr uint8_t kModeLast = 0x03;                // disabled, pre-boot only, always, shared

uint8_t protocol_of(registers::InterfaceKind kind) {
  switch (kind) {
    case registers::InterfaceKind::kKcs: return 0x05;
    case registers::InterfaceKind::kSmic: return 0x06;
    case registers::InterfaceKind::kBt: return 0x08;  // BT of IPMI 1.5 and later
  }
  return 0x05;
}

// 802.3, asynchronous serial, other LAN and PCI SMBus... : only the first three open sessions (§6.5, table 6-3).
bool has_sessions(uint8_t medium) { return medium == 0x04 || medium == 0x05 || medium == 0x06; }

ipmi::Response get_channel_info(Call& call) {
  uint8_t number = call.in.u8();
  if ((number & 0xf0) != 0) return fail(CompletionCode::kInvalidDataField);
  auto channel = ChannelPart::find(call.state, number, call.context);
  if (!channel) return fail(CompletionCode::kInvalidDataField);
  ipmi::Writer out;
  out.u8(channel->number).u8(channel->medium).u8(channel->protocol);
  out.u8(channel->sessions ? 0x80 : 0x00);  // multi-session, none active
  out.u24(0x001bf2);                        // the protocols are IPMI's own (§22.24)
  bool system = channel->number == kChannelSystemInterface;
  out.u16(system ? 0xffff : 0x0000);  // interrupts of SMS and event buffer: unspecified
  return ok(out.finish());
}

std::optional<ChannelPart::Info> session_channel(Call& call, uint8_t number, ipmi::Response& error) {
  if ((number & 0xf0) != 0) {
    error = fail(CompletionCode::kInvalidDataField);
    return std::nullopt;
  }
  auto channel = ChannelPart::find(call.state, number, call.context);
  if (!channel) error = fail(CompletionCode::kInvalidDataField);
  if (channel && !channel->sessions) {
    error = fail(kNotSupportedForChannel);
    return std::nullopt;
  }
  return channel;
}

ipmi::Response set_channel_access(Call& call) {
  ipmi::Response error;
  auto channel = session_channel(call, call.in.u8(), error);
  if (!channel) return error;
  uint8_t access = call.in.u8();
  uint8_t privilege = call.in.u8();
  uint8_t set_access = access >> 6;
  uint8_t set_privilege = privilege >> 6;
  if (set_access == 3 || set_privilege == 3 || (privilege & 0x30) != 0) return fail(CompletionCode::kInvalidDataField);
  if (set_access != 0 && (access & kModeMask) > kModeLast) return fail(0x83);
  uint8_t limit = privilege & 0x0f;
  if (set_privilege != 0 && (limit < 1 || limit > 5)) return fail(CompletionCode::kInvalidDataField);
  ChannelPart& part = *call.state.channel;
  for (bool non_volatile : {true, false}) {
    uint8_t which = non_volatile ? 1 : 2;
    if (set_access != which && set_privilege != which) continue;
    ChannelPart::Access value = part.access(channel->number, non_volatile);
    if (set_access == which) value.mode = access & kAccessBits;
    if (set_privilege == which) value.privilege = limit;
    if (!part.set_access(call.state, channel->number, non_volatile, value)) return fail(CompletionCode::kUnspecified);
  }
  return ok();
}

ipmi::Response get_channel_access(Call& call) {
  ipmi::Response error;
  auto channel = session_channel(call, call.in.u8(), error);
  if (!channel) return error;
  uint8_t which = call.in.u8();
  if ((which & 0x3f) != 0 || (which >> 6 != 1 && which >> 6 != 2)) return fail(CompletionCode::kInvalidDataField);
  ChannelPart::Access access = call.state.channel->access(channel->number, which >> 6 == 1);
  return ok({access.mode, access.privilege});
}

}  // namespace

Status ChannelPart::load(State& state, Instant) {
  for (const ChannelConfig& channel : state.config.channels) {
    kept_[channel.number] = {0x02, static_cast<uint8_t>(channel.privilege_limit & 0x0f)};
  }
  auto rows = state.store->load(kTable);
  if (!rows) return rows.error();
  for (const auto& [key, value] : *rows) {
    if (key > 0x0f || value.size() != 2) {
      return Error{ErrorCode::kCorrupt, "stored access of channel " + std::to_string(key) + " is malformed"};
    }
    kept_[static_cast<uint8_t>(key)] = {value[0], value[1]};
  }
  present_ = kept_;
  return {};
}

void ChannelPart::on_reset(State&, bool, Instant) { present_ = kept_; }

std::optional<ChannelPart::Info> ChannelPart::find(const State& state, uint8_t number, const RequestContext& context) {
  if (number == kChannelPresent) number = context.channel;
  if (number == kChannelPrimaryIpmb) return Info{number, kMediumIpmb, kProtocolIpmb, false};
  if (number == kChannelSystemInterface) {
    return Info{number, kMediumSystemInterface, protocol_of(context.interface_kind), false};
  }
  for (const ChannelConfig& channel : state.config.channels) {
    if (channel.number == number) return Info{number, channel.medium, channel.protocol, has_sessions(channel.medium)};
  }
  return std::nullopt;
}

ChannelPart::Access ChannelPart::access(uint8_t channel, bool non_volatile) const {
  const auto& from = non_volatile ? kept_ : present_;
  auto found = from.find(channel);
  return found == from.end() ? Access{} : found->second;
}

Status ChannelPart::set_access(State& state, uint8_t channel, bool non_volatile, const Access& access) {
  if (!non_volatile) {
    present_[channel] = access;
    return {};
  }
  Batch batch;
  batch.put.push_back({std::string(kTable), channel, {access.mode, access.privilege}});
  if (auto kept = state.store->commit(batch); !kept) return kept;
  kept_[channel] = access;
  return {};
}

std::vector<Command> channel_commands() {
  using P = Privilege;
  constexpr uint8_t kApp = ipmi::kNetFnApp;
  return {
      {kApp, 0x40, "Set Channel Access", P::kAdministrator, 3, 3, kLun0, set_channel_access},
      {kApp, 0x41, "Get Channel Access", P::kUser, 2, 2, kLun0, get_channel_access},
      {kApp, 0x42, "Get Channel Info", P::kUser, 1, 1, kLun0, get_channel_info},
  };
}

}  // namespace bmcpair::firmware
