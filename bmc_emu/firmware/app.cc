#include "bmc_emu/firmware/app.h"

#include <algorithm>

#include "bmc_emu/firmware/chassis.h"
#include "bmc_emu/firmware/dispatcher.h"
#include "bmc_emu/firmware/state.h"

namespace bmcpair::firmware {

using ipmi::CompletionCode;

namespace {

constexpr std::string_view kInfoTable = "settings.info";
constexpr std::string_view kBusTable = "settings.i2c";

constexpr uint8_t kAcpiWorking = 0x00;       // S0/G0
constexpr uint8_t kAcpiSoftOff = 0x05;       // S5/G2
constexpr uint8_t kAcpiUnknown = 0x2a;
constexpr uint8_t kAcpiNoChange = 0x7f;

// §22.14b, table 22-16c.
constexpr uint8_t kInfoSetInProgress = 0;
constexpr uint8_t kInfoOsName = 4;
constexpr uint8_t kInfoOsVersion = 5;
constexpr uint8_t kInfoLast = 7;
constexpr uint8_t kInfoSetMax = 16;          // 2 bytes of heading and at most 255 of text, in blocks of 16
constexpr size_t kInfoBlockBytes = 16;
constexpr uint8_t kParameterRevision = 0x11;

// Names of the running system are gone when it is (table 22-16c: "volatile").
bool is_volatile(uint8_t parameter) { return parameter == kInfoOsName || parameter == kInfoOsVersion; }

uint32_t info_key(uint8_t parameter, uint8_t set) { return static_cast<uint32_t>(parameter << 8 | set); }

ipmi::Response get_device_id(Call& call) { return ok(device_id_bytes(call.state.config.identity)); }

ipmi::Response reset(Call& call, bool cold) {
  reset_bmc(call.state, cold, call.now);
  return ok();
}

ipmi::Response cold_reset(Call& call) { return reset(call, true); }
ipmi::Response warm_reset(Call& call) { return reset(call, false); }

ipmi::Response get_self_test_results(Call&) { return ok({0x55, 0x00}); }  // all passed (§20.4)

bool is_system_acpi(uint8_t value) {
  return value <= 0x0a || value == 0x20 || value == 0x21 || value == kAcpiUnknown || value == kAcpiNoChange;
}

bool is_device_acpi(uint8_t value) { return value <= 0x03 || value == kAcpiUnknown || value == kAcpiNoChange; }

ipmi::Response set_acpi_power_state(Call& call) {
  uint8_t system = call.in.u8();
  uint8_t device = call.in.u8();
  auto sets = [](uint8_t byte) { return (byte & 0x80) != 0; };
  uint8_t system_value = system & 0x7f;
  uint8_t device_value = device & 0x7f;
  if ((sets(system) && !is_system_acpi(system_value)) || (sets(device) && !is_device_acpi(device_value))) {
    return fail(CompletionCode::kInvalidDataField);
  }
  if (sets(system) && system_value != kAcpiNoChange) call.state.app->set_system_acpi(system_value);
  if (sets(device) && device_value != kAcpiNoChange) call.state.app->set_device_acpi(device_value);
  return ok();
}

ipmi::Response get_acpi_power_state(Call& call) {
  return ok({call.state.app->system_acpi(), call.state.app->device_acpi()});
}

ipmi::Response get_device_guid(Call& call) {
  const Guid& guid = call.state.config.identity.device_guid;
  return ok(Bytes(guid.begin(), guid.end()));
}

ipmi::Response get_system_guid(Call& call) {
  const Guid& guid = call.state.config.identity.system_guid;
  return ok(Bytes(guid.begin(), guid.end()));
}

// §22.10. The sizes are what the length byte may say, which counts the sequence byte too.
ipmi::Response get_bt_interface_capabilities(Call& call) {
  auto length = [](size_t message) { return static_cast<uint8_t>(std::min<size_t>(255, message + 1)); };
  const BmcConfig& config = call.state.config;
  return ok({config.max_requests_outstanding, length(call.context.request_bytes_max),
             length(call.context.response_bytes_max), config.bt_response_seconds, config.bt_retries});
}

// §22.9: 0 SSIF, 1 KCS, 2 SMIC; BT has its own command.
ipmi::Response get_system_interface_capabilities(Call& call) {
  uint8_t type = call.in.u8();
  if (type != 1 && type != 2) return fail(CompletionCode::kInvalidDataField);
  auto size = static_cast<uint8_t>(std::min<size_t>(255, call.context.request_bytes_max));
  return ok({0x00, 0x00, size});
}

ipmi::Response set_system_info(Call& call) {
  uint8_t parameter = call.in.u8();
  AppPart& app = *call.state.app;
  if (parameter > kInfoLast) return fail(0x80);
  if (parameter == kInfoSetInProgress) {
    if (call.in.remaining() != 1) return fail(CompletionCode::kRequestLengthInvalid);
    uint8_t value = call.in.u8();
    if (value > 1) return fail(CompletionCode::kInvalidDataField);  // there is no rollback to commit
    if (value == 1 && app.info_in_progress() == 1) return fail(0x81);
    app.set_info_in_progress(value);
    return ok();
  }
  if (call.in.remaining() < 2 || call.in.remaining() > 1 + kInfoBlockBytes) {
    return fail(CompletionCode::kRequestLengthInvalid);
  }
  uint8_t set = call.in.u8();
  ByteView given = call.in.rest();
  if (set > kInfoSetMax) return fail(CompletionCode::kParameterOutOfRange);
  // The first block is headed by the encoding (ASCII and Latin-1, UTF-8, Unicode) and the length of the text.
  if (set == 0 && given[0] > 2) return fail(CompletionCode::kInvalidDataField);
  Bytes block(given.begin(), given.end());
  block.resize(kInfoBlockBytes, 0);
  if (!app.set_info_block(call.state, parameter, set, std::move(block))) return fail(CompletionCode::kUnspecified);
  return ok();
}

ipmi::Response get_system_info(Call& call) {
  uint8_t flags = call.in.u8();
  uint8_t parameter = call.in.u8();
  uint8_t set = call.in.u8();
  uint8_t block_selector = call.in.u8();
  if ((flags & 0x7f) != 0 || block_selector != 0) return fail(CompletionCode::kInvalidDataField);
  if (parameter > kInfoLast) return fail(0x80);
  if ((flags & 0x80) != 0) return ok({kParameterRevision});
  const AppPart& app = *call.state.app;
  if (parameter == kInfoSetInProgress) {
    if (set != 0) return fail(CompletionCode::kInvalidDataField);
    return ok({kParameterRevision, app.info_in_progress()});
  }
  if (set > kInfoSetMax) return fail(CompletionCode::kParameterOutOfRange);
  Bytes out{kParameterRevision, set};
  const Bytes* block = app.info_block(parameter, set);
  if (block != nullptr) {
    out.insert(out.end(), block->begin(), block->end());
  } else {
    out.resize(out.size() + kInfoBlockBytes, 0);
  }
  return ok(std::move(out));
}

// §22.11. The devices are memories: the first byte written is the offset, reading goes on from it.
ipmi::Response master_write_read(Call& call) {
  uint8_t bus = call.in.u8();
  uint8_t address = call.in.u8();
  uint8_t count = call.in.u8();
  ByteView written = call.in.rest();
  if ((address & 1) != 0) return fail(CompletionCode::kInvalidDataField);
  if (size_t{count} + 3 > call.context.response_bytes_max) return fail(CompletionCode::kCannotReturnRequestedLength);
  auto& devices = call.state.config.i2c_devices;
  if (std::none_of(devices.begin(), devices.end(), [&](const auto& d) { return d.bus == bus; })) {
    return fail(CompletionCode::kBusError);  // no such bus
  }
  auto device = std::find_if(devices.begin(), devices.end(),
                             [&](const auto& d) { return d.bus == bus && d.address == address; });
  if (device == devices.end()) return fail(CompletionCode::kNakOnWrite);  // the address itself is not acknowledged
  uint8_t& pointer = call.state.app->bus_pointer(bus, address);
  if (!written.empty()) {
    size_t offset = written[0];
    ByteView data = written.subspan(1);
    if (!data.empty() && (!device->writable || offset + data.size() > device->content.size())) {
      return fail(CompletionCode::kNakOnWrite);
    }
    if (!data.empty() && !call.state.app->write_bus_device(call.state, *device, offset, data)) {
      return fail(CompletionCode::kBusError);
    }
    pointer = static_cast<uint8_t>(offset + data.size());
  }
  // Past the end of a device that is smaller than its address byte the line floats; the spec's code for
  // it carries what was read so far.
  ipmi::Response response = ok();
  size_t start = std::min<size_t>(pointer, device->content.size());
  size_t here = std::min<size_t>(count, device->content.size() - start);
  auto from = device->content.begin() + static_cast<std::ptrdiff_t>(start);
  response.data.assign(from, from + static_cast<std::ptrdiff_t>(here));
  if (here < count) response.cc = CompletionCode::kTruncatedRead;
  pointer = static_cast<uint8_t>(pointer + here);
  return response;
}

}  // namespace

Bytes device_id_bytes(const Identity& id) {
  ipmi::Writer out;
  out.u8(id.device_id);
  out.u8(static_cast<uint8_t>((id.provides_device_sdrs ? 0x80 : 0x00) | (id.device_revision & 0x0f)));
  out.u8(id.firmware_major & 0x7f);  // bit 7 clear: normal operation
  out.u8(id.firmware_minor_bcd);
  out.u8(id.ipmi_version_bcd);
  out.u8(id.additional_device_support);
  out.u24(id.manufacturer_id & 0xfffff);
  out.u16(id.product_id);
  out.bytes(id.aux_firmware);
  return out.finish();
}

void reset_bmc(State& state, bool cold, Instant now) {
  Duration away = cold ? state.config.cold_reset_offline : state.config.warm_reset_offline;
  for (Part* part : state.parts()) part->on_reset(state, cold, now);
  state.app->go_offline(now + away);
  state.notify({Change::Kind::kReset, cold ? 1u : 0u, away, {}});
}

void reset_host(State& state, Instant now) {
  for (Part* part : state.parts()) part->on_host_reset(state, now);
}

Status AppPart::load(State& state, Instant) {
  // The chassis, loaded later, corrects this when its power was kept otherwise.
  system_acpi_ = state.config.power_on ? kAcpiWorking : kAcpiSoftOff;
  auto rows = state.store->load(kInfoTable);
  if (!rows) return rows.error();
  for (auto& [key, block] : *rows) {
    if (key >> 8 == 0 || key >> 8 > kInfoLast || (key & 0xff) > kInfoSetMax || block.size() != kInfoBlockBytes) {
      return Error{ErrorCode::kCorrupt, "stored system info block " + std::to_string(key) + " is malformed"};
    }
    info_[{static_cast<uint8_t>(key >> 8), static_cast<uint8_t>(key)}] = std::move(block);
  }
  if (state.config.i2c_devices.empty()) return {};
  auto devices = state.store->load(kBusTable);
  if (!devices) return devices.error();
  for (auto& [key, content] : *devices) {
    for (auto& device : state.config.i2c_devices) {
      if (info_key(device.bus, device.address) != key) continue;
      content.resize(device.content.size(), 0xff);  // the configuration says how large it is today
      device.content = std::move(content);
      break;
    }
  }
  return {};
}

Instant AppPart::next_due(const State&) const {
  return offline_until_ == Instant::min() ? kNever : offline_until_;
}

void AppPart::run(State&, Instant now) {
  if (offline_until_ <= now) offline_until_ = Instant::min();
}

void AppPart::on_reset(State& state, bool cold, Instant) {
  info_in_progress_ = 0;
  bus_pointers_.clear();
  if (!cold) return;
  device_acpi_ = kAcpiWorking;
  system_acpi_ = state.chassis->power_on() ? kAcpiWorking : kAcpiSoftOff;
  std::erase_if(info_, [](const auto& entry) { return is_volatile(entry.first.first); });
}

void AppPart::on_host_reset(State& state, Instant) {
  system_acpi_ = state.chassis->power_on() ? kAcpiWorking : kAcpiSoftOff;
  info_in_progress_ = 0;  // table 22-16c, parameter 0
  std::erase_if(info_, [](const auto& entry) { return is_volatile(entry.first.first); });
}

const Bytes* AppPart::info_block(uint8_t parameter, uint8_t set) const {
  auto found = info_.find({parameter, set});
  return found == info_.end() ? nullptr : &found->second;
}

Status AppPart::set_info_block(State& state, uint8_t parameter, uint8_t set, Bytes block) {
  if (!is_volatile(parameter)) {
    Batch batch;
    batch.put.push_back({std::string(kInfoTable), info_key(parameter, set), block});
    if (auto kept = state.store->commit(batch); !kept) return kept;
  }
  info_[{parameter, set}] = std::move(block);
  return {};
}

Status AppPart::write_bus_device(State& state, I2cDeviceConfig& device, size_t offset, ByteView data) {
  Bytes content = device.content;
  std::copy(data.begin(), data.end(), content.begin() + static_cast<std::ptrdiff_t>(offset));
  Batch batch;
  batch.put.push_back({std::string(kBusTable), info_key(device.bus, device.address), content});
  if (auto kept = state.store->commit(batch); !kept) return kept;
  device.content = std::move(content);
  return {};
}

std::vector<Command> app_commands() {
  using P = Privilege;
  constexpr uint8_t kApp = ipmi::kNetFnApp;
  return {
      {kApp, 0x01, "Get Device ID", P::kUser, 0, 0, kLun0, get_device_id},
      {kApp, 0x02, "Cold Reset", P::kAdministrator, 0, 0, kLun0, cold_reset},
      {kApp, 0x03, "Warm Reset", P::kAdministrator, 0, 0, kLun0, warm_reset},
      {kApp, 0x04, "Get Self Test Results", P::kUser, 0, 0, kLun0, get_self_test_results},
      {kApp, 0x06, "Set ACPI Power State", P::kAdministrator, 2, 2, kLun0, set_acpi_power_state},
      {kApp, 0x07, "Get ACPI Power State", P::kUser, 0, 0, kLun0, get_acpi_power_state},
      {kApp, 0x08, "Get Device GUID", P::kUser, 0, 0, kLun0, get_device_guid},
      {kApp, 0x36, "Get BT Interface Capabilities", P::kUser, 0, 0, kLun0, get_bt_interface_capabilities},
      {kApp, 0x37, "Get System GUID", P::kNone, 0, 0, kLun0, get_system_guid},
      {kApp, 0x52, "Master Write-Read", P::kOperator, 3, 255, kLun0, master_write_read},
      {kApp, 0x57, "Get System Interface Capabilities", P::kUser, 1, 1, kLun0, get_system_interface_capabilities},
      {kApp, 0x58, "Set System Info Parameters", P::kAdministrator, 2, 18, kLun0, set_system_info},
      {kApp, 0x59, "Get System Info Parameters", P::kUser, 4, 4, kLun0, get_system_info},
  };
}

}  // namespace bmcpair::firmware
