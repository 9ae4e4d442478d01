// Who the BMC is and which channels it has (reference E.10).
#include <algorithm>
#include <string>
#include <utility>

#include "host_driver/message_handler/interface.h"
#include "proto/ipmi/cursor.h"
#include "proto/ipmi/message.h"

namespace bmcpair::host::inline BMCPAIR_RT {

Result<DeviceId> parse_device_id(ByteView data) {
  if (data.size() < 7) {
    return Error{ErrorCode::kProtocol, "device id: " + std::to_string(data.size()) + " bytes, at least 7 are due"};
  }
  ipmi::Reader r(data.subspan(1));
  DeviceId id;
  id.device_id = r.u8();
  id.device_revision = r.u8();
  id.firmware_major = r.u8();
  id.firmware_minor_bcd = r.u8();
  const uint8_t version = r.u8();
  id.ipmi_version = IpmiVersion{static_cast<uint8_t>(version & 0x0f), static_cast<uint8_t>(version >> 4)};
  id.additional_support = r.u8();
  if (data.size() >= 12) {
    id.manufacturer_id = r.u24() & 0xfffff;
    id.product_id = r.u16();
  }
  if (data.size() >= 16) {
    auto aux = r.take(4);
    id.aux_firmware.emplace();
    std::copy(aux.begin(), aux.end(), id.aux_firmware->begin());
  }
  return id;
}

}  // namespace bmcpair::host::inline BMCPAIR_RT

namespace bmcpair::host::inline BMCPAIR_RT::detail {

using ipmi::CompletionCode;
using Stage = Discovery::Stage;

namespace {

// No BMC will answer better for being asked again at once.
bool final_failure(const RecvMessage& m) {
  if (!m.failed) return false;
  switch (m.failure) {
    case ErrorCode::kShutdown:
    case ErrorCode::kHosed:
    case ErrorCode::kUnavailable:
    case ErrorCode::kTimeout:
    case ErrorCode::kIo:
      return true;
    default:
      return false;
  }
}

Error failed_to(const char* what, const RecvMessage& m) {
  if (m.failed) return Error{m.failure, std::string(what) + ": " + std::string(to_string(m.failure))};
  const auto cc = m.completion_code();
  if (!cc) return Error{ErrorCode::kProtocol, std::string(what) + ": the answer is empty"};
  const auto code = static_cast<uint8_t>(*cc);
  return Error{ErrorCode::kIo, std::string(what) + ": completion code 0x" + to_hex(ByteView(&code, 1)) + " (" +
                                   std::string(ipmi::to_string(*cc)) + ")"};
}

bool has_channel_info(const IpmiVersion& v) { return v.major > 1 || (v.major == 1 && v.minor >= 5); }

}  // namespace

// Everything up to send_ask is called with discovery_mutex; the request that comes out of it is sent without.

Interface::Ask Interface::next_ask(Stage stage) {
  Discovery& d = discovery;
  d.stage = stage;
  d.retry_at_tick = false;
  d.remaining = profile().mh_bounded_identity_waits ? core->options.identity_wait : Duration::max();
  Ask ask;
  ask.generation = ++d.generation;
  ask.request.netfn = ipmi::kNetFnApp;
  switch (stage) {
    case Stage::kGuid:
      ask.request.cmd = kCmdGetDeviceGuid;
      break;
    case Stage::kDeviceId:
      ask.request.cmd = kCmdGetDeviceId;
      break;
    case Stage::kChannels:
      ask.request.cmd = kCmdGetChannelInfo;
      ask.request.data = {static_cast<uint8_t>(d.channel)};
      break;
    case Stage::kIdle:
      return {};
  }
  return ask;
}

Interface::Ask Interface::begin_round() {
  discovery.fetched_guid.reset();
  discovery.retries = 0;
  return next_ask(Stage::kGuid);
}

void Interface::finish_round(Status status) {
  Discovery& d = discovery;
  // A scan that did not end leaves the map that was there, and is done again.
  d.scan_wanted = d.stage == Stage::kChannels && !status && d.channels_scanned;
  if (d.scan_wanted) {
    d.channels_ready = true;
    d.register_again = true;
  }
  d.stage = Stage::kIdle;
  d.retry_at_tick = false;
  ++d.generation;
  ++d.rounds;
  d.result = std::move(status);
  if (!d.result) d.fresh = false;
  discovery_changed.wake_all();
}

Interface::Ask Interface::answer_guid(const RecvMessage& m) {
  if (m.failed && m.failure == ErrorCode::kShutdown) {
    finish_round(failed_to("Get Device GUID", m));
    return {};
  }
  // Not having one is no error.
  if (!m.failed && m.completion_code() == CompletionCode::kOk && m.data.size() >= 17) {
    discovery.fetched_guid.emplace();
    std::copy_n(m.data.begin() + 1, 16, discovery.fetched_guid->begin());
  }
  return next_ask(Stage::kDeviceId);
}

Interface::Ask Interface::answer_device_id(const RecvMessage& m) {
  Discovery& d = discovery;
  if (!m.failed && m.completion_code() == CompletionCode::kOk) {
    if (auto id = parse_device_id(m.data)) return identified(*id);
  }
  // A BMC that is busy, starting or updating says so in many ways: any code but 0 is worth asking again, a bounded
  // number of times (G-43, G-44).
  if (profile().mh_retry_identity_on_any_cc && !final_failure(m) && d.retries < kDeviceIdRetriesMax) {
    ++d.retries;
    ++d.generation;
    d.retry_at_tick = true;
    return {};
  }
  if (!m.failed && m.completion_code() == CompletionCode::kOk) {
    finish_round(parse_device_id(m.data).error());
  } else {
    finish_round(failed_to("Get Device ID", m));
  }
  return {};
}

Interface::Ask Interface::identified(const DeviceId& id) {
  Discovery& d = discovery;
  const bool guid_new = d.fetched_guid && d.fetched_guid != d.guid;
  const bool other = !d.bmc || guid_new || id.device_id != d.id.device_id ||
                     id.manufacturer_id != d.id.manufacturer_id || id.product_id != d.id.product_id;
  const bool changed = d.known && !(id == d.id);
  if (other) {
    const auto guid = d.fetched_guid ? d.fetched_guid : d.known && !changed ? d.guid : std::nullopt;
    auto bmc = core->bmc_for(id, guid);
    if (!bmc) {
      d.register_again = true;
      finish_round(Error{ErrorCode::kInternal, "the BMC cannot be registered now"});
      return {};
    }
    d.bmc = std::move(bmc);
    d.guid = guid;
  }
  d.register_again = false;
  d.id = id;
  d.known = true;
  d.fresh = true;
  d.fetched_at = rt::now();
  if (!d.scan_wanted && d.channels_ready && !changed && !other) {
    finish_round({});
    return {};
  }
  if (profile().mh_channels_never_rescanned && d.channels_scanned) {
    finish_round({});
    return {};
  }
  // Not ready from here until all are scanned (G-68, G-69).
  d.channels_ready = false;
  d.scanning = {};
  d.channel = 0;
  if (has_channel_info(id.ipmi_version)) return next_ask(Stage::kChannels);
  d.scanning[0] = Channel{kMediumIpmb, 1};
  publish_channels();
  return {};
}

void Interface::publish_channels() {
  discovery.channels = discovery.scanning;
  discovery.channels_scanned = true;
  discovery.channels_ready = true;
  finish_round({});
}

Interface::Ask Interface::answer_channel(const RecvMessage& m) {
  Discovery& d = discovery;
  if (final_failure(m)) {
    finish_round(failed_to("Get Channel Info", m));
    return {};
  }
  const auto cc = m.completion_code();
  if (!m.failed && cc == CompletionCode::kInvalidCommand) {
    // Legal: such a controller has one IPMB, at channel 0.
    d.scanning[0] = Channel{kMediumIpmb, 1};
    publish_channels();
    return {};
  }
  if (!m.failed && cc == CompletionCode::kOk && m.data.size() >= 4) {
    d.scanning[d.channel] = Channel{static_cast<uint8_t>(m.data[2] & 0x7f), static_cast<uint8_t>(m.data[3] & 0x1f)};
  }
  if (++d.channel == kChannelsMax) {
    publish_channels();
    return {};
  }
  if (profile().mh_channels_ready_early && d.channels_scanned && !d.channels_ready) {
    d.channels_ready = true;
    discovery_changed.wake_all();
  }
  return next_ask(Stage::kChannels);
}

void Interface::send_ask(Ask ask) {
  if (!ask.generation) return;
  rt::RcuReader below(down_rcu);
  if (shutting_down()) return;  // end_discovery() tells who waits (G-40)
  if (rt::fault_point("mh.allocate.message")) {
    rt::LockGuard lock(discovery_mutex);
    if (discovery.generation == ask.generation) {
      finish_round(Error{ErrorCode::kUnavailable, "no memory to ask the BMC who it is"});
    }
    return;
  }
  auto message = std::make_unique<OutMessage>();
  message->pending = std::make_unique<Pending>();
  message->pending->discovery = ask.generation;
  message->pending->address = SystemInterfaceAddress{};
  message->pending->netfn = ask.request.netfn;
  message->pending->cmd = ask.request.cmd;
  const Bytes wire = ipmi::encode(ask.request);
  std::copy(wire.begin(), wire.end(), message->data);
  message->data_size = static_cast<uint16_t>(wire.size());
  count(Statistic::kSentLocalCommands);
  send(message.release(), 0);
}

void Interface::discovery_answer(uint64_t generation, const RecvMessage& m) {
  Ask ask;
  bool tick = false;
  {
    rt::LockGuard lock(discovery_mutex);
    Discovery& d = discovery;
    const bool stale = generation != d.generation && !profile().mh_takes_stale_identity;
    if (d.ended || stale) return;  // its asker gave up (G-41)
    switch (d.stage) {
      case Stage::kIdle:
        return;
      case Stage::kGuid:
        ask = answer_guid(m);
        break;
      case Stage::kDeviceId:
        ask = answer_device_id(m);
        break;
      case Stage::kChannels:
        ask = answer_channel(m);
        break;
    }
    tick = d.retry_at_tick || d.register_again;
  }
  if (tick) core->want_tick();
  send_ask(std::move(ask));
}

Status Interface::discover_and_wait(bool scan) {
  rt::UniqueLock lock(discovery_mutex);
  Discovery& d = discovery;
  if (d.ended) return shutdown_error(number.load(std::memory_order_relaxed));
  if (scan) d.scan_wanted = true;
  const uint64_t target = d.rounds + 1;
  if (d.stage == Stage::kIdle) {
    Ask ask = begin_round();
    lock.unlock();
    core->want_tick();  // for its limits; a tick that finds a round under way wants the next
    send_ask(std::move(ask));
    lock.lock();
  }
  const auto early = [&] {
    return profile().mh_channels_ready_early && d.stage == Stage::kChannels && d.channels_ready;
  };
  discovery_changed.wait(lock, [&] { return d.ended || d.rounds >= target || early(); });
  if (!d.ended && early()) publish_channels();
  if (d.ended) return Error{ErrorCode::kShutdown, "the interface is going away"};
  return d.result;
}

bool Interface::tick_discovery(Duration elapsed) {
  Ask ask;
  bool more = false;
  {
    rt::LockGuard lock(discovery_mutex);
    Discovery& d = discovery;
    if (d.ended) return false;
    if (d.stage == Stage::kIdle) {
      if (std::exchange(d.register_again, false)) ask = begin_round();
    } else if (d.retry_at_tick) {
      ask = next_ask(Stage::kDeviceId);
    } else if (d.remaining == Duration::max()) {
      // as long as it takes
    } else if (d.remaining > elapsed) {
      d.remaining -= elapsed;
    } else {
      finish_round(Error{ErrorCode::kTimeout, "the BMC did not answer while it was asked who it is"});
    }
    more = d.stage != Stage::kIdle || d.register_again;
  }
  send_ask(std::move(ask));
  return more;
}

void Interface::end_discovery() {
  {
    rt::LockGuard lock(discovery_mutex);
    discovery.ended = true;
    discovery.channels_ready = false;
    discovery.bmc.reset();
  }
  discovery_changed.wake_all();
}

Result<Identity> Interface::identity() {
  auto known = [&](bool fresh) {
    const Discovery& d = discovery;
    Identity out;
    out.id = d.id;
    out.guid = d.guid;
    out.bmc = d.bmc ? d.bmc->number : 0;
    out.fresh = fresh;
    return out;
  };
  {
    rt::LockGuard lock(discovery_mutex);
    const Discovery& d = discovery;
    if (d.ended) return Error{ErrorCode::kShutdown, "the interface is going away"};
    if (d.known && d.fresh && rt::now() - d.fetched_at < core->options.identity_max_age) return known(true);
  }
  if (maintenance_state.load(std::memory_order_acquire) != MaintenanceState::kOff) {
    return Error{ErrorCode::kBusy, "the BMC is in maintenance"};
  }
  Status status = discover_and_wait(false);
  rt::LockGuard lock(discovery_mutex);
  if (discovery.ended) return Error{ErrorCode::kShutdown, "the interface is going away"};
  if (!discovery.known) return status.error();
  return known(status.ok());
}

}  // namespace bmcpair::host::inline BMCPAIR_RT::detail
