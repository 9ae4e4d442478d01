#include "host_driver/cli/inventory.h"

#include <algorithm>
#include <cstdio>

#include "proto/ipmi/cursor.h"

namespace bmcpair::cli {

using ipmi::CompletionCode;
using ipmi::Reader;
using ipmi::Request;
using ipmi::Response;
using ipmi::Writer;

namespace {

Error refused(std::string_view what, CompletionCode cc) {
  char code[8];
  std::snprintf(code, sizeof code, "%02xh", static_cast<unsigned>(cc));
  return {ErrorCode::kProtocol,
          std::string(what) + ": the BMC answered completion code " + code + " (" + std::string(to_string(cc)) + ")"};
}

Error too_short(std::string_view what, size_t got, size_t wanted) {
  return {ErrorCode::kProtocol, std::string(what) + ": the answer has " + std::to_string(got) + " data bytes, at least " +
                                    std::to_string(wanted) + " are needed"};
}

}  // namespace

Result<Bytes> request_ok(const RequestFunction& send, std::string_view what, const Request& request) {
  auto response = send(request);
  if (!response.ok()) return Error{response.error().code, std::string(what) + ": " + response.error().to_string()};
  if (response->cc != CompletionCode::kOk) return refused(what, response->cc);
  return std::move(response->data);
}

std::string DeviceId::firmware_text() const {
  char text[16];
  std::snprintf(text, sizeof text, "%u.%02x", firmware_major, firmware_minor_bcd);
  return text;
}

std::string DeviceId::ipmi_text() const {
  char text[16];
  std::snprintf(text, sizeof text, "%u.%u", ipmi_version_bcd & 0x0fu, ipmi_version_bcd >> 4u);
  return text;
}

Result<DeviceId> get_device_id(const RequestFunction& send) {
  auto data = request_ok(send, "Get Device ID", {ipmi::kNetFnApp, 0, 0x01, {}});
  if (!data.ok()) return data.error();
  if (data->size() < 11) return too_short("Get Device ID", data->size(), 11);
  Reader in(*data);
  DeviceId id;
  id.device_id = in.u8();
  uint8_t revision = in.u8();
  id.device_revision = revision & 0x0f;
  id.provides_sdrs = revision & 0x80;
  uint8_t firmware = in.u8();
  id.available = !(firmware & 0x80);
  id.firmware_major = firmware & 0x7f;
  id.firmware_minor_bcd = in.u8();
  id.ipmi_version_bcd = in.u8();
  id.additional_support = in.u8();
  id.manufacturer_id = in.u24() & 0xfffff;
  id.product_id = in.u16();
  if (in.remaining() >= 4) {
    auto aux = in.take(4);
    id.aux_firmware.emplace();
    std::copy(aux.begin(), aux.end(), id.aux_firmware->begin());
  }
  return id;
}

Result<std::optional<std::array<uint8_t, 16>>> get_guid(const RequestFunction& send, bool system) {
  auto response = send({ipmi::kNetFnApp, 0, static_cast<uint8_t>(system ? 0x37 : 0x08), {}});
  if (!response.ok()) return response.error();
  if (response->cc != CompletionCode::kOk || response->data.size() < 16) return std::optional<std::array<uint8_t, 16>>();
  std::array<uint8_t, 16> guid;
  std::copy_n(response->data.begin(), 16, guid.begin());
  return std::optional(guid);
}

std::string guid_text(const std::array<uint8_t, 16>& guid) {
  // §20.8: least significant byte first on the wire, so the whole GUID reads backwards.
  std::string out;
  for (size_t i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) out += '-';
    uint8_t byte = guid[15 - i];
    out += to_hex(ByteView(&byte, 1));
  }
  return out;
}

namespace {

constexpr uint8_t kChunkMax = 0x80;
constexpr uint8_t kChunkMin = 8;
constexpr uint8_t kSdrHeaderBytes = 5;

// The answer to a partial read that is too long for the interface differs between BMCs.
bool asks_for_less(CompletionCode cc) {
  return cc == CompletionCode::kCannotReturnRequestedLength || cc == CompletionCode::kRequestLengthLimitExceeded ||
         cc == CompletionCode::kRequestTruncated || cc == CompletionCode::kUnspecified;
}

}  // namespace

Result<std::vector<Bytes>> read_sdr_repository(const RequestFunction& send, const std::function<void(size_t)>& progress) {
  uint8_t chunk = kChunkMax;
  for (unsigned attempt = 0; attempt <= kReservationRetriesMax; ++attempt) {
    auto reserved = request_ok(send, "Reserve SDR Repository", {ipmi::kNetFnStorage, 0, 0x22, {}});
    if (!reserved.ok()) return reserved.error();
    if (reserved->size() < 2) return too_short("Reserve SDR Repository", reserved->size(), 2);
    const uint16_t reservation = Reader(*reserved).u16();

    std::vector<Bytes> records;
    bool lost = false;
    uint16_t id = 0x0000;
    while (!lost && id != 0xffff) {
      uint16_t next = 0xffff;
      Bytes record;
      size_t wanted = kSdrHeaderBytes;
      while (record.size() < wanted) {
        uint8_t count = static_cast<uint8_t>(std::min<size_t>(wanted - record.size(), chunk));
        auto response = send({ipmi::kNetFnStorage, 0, 0x23,
                              Writer().u16(reservation).u16(id).u8(static_cast<uint8_t>(record.size())).u8(count).finish()});
        if (!response.ok()) return response.error();
        if (response->cc == CompletionCode::kReservationCancelled) {
          lost = true;
          break;
        }
        if (asks_for_less(response->cc) && chunk > kChunkMin) {
          chunk = static_cast<uint8_t>(chunk / 2);
          continue;
        }
        // An empty repository has no first record (§33.12).
        if (response->cc == CompletionCode::kNotPresent && id == 0 && records.empty()) return records;
        if (response->cc != CompletionCode::kOk) return refused("Get SDR", response->cc);
        if (response->data.size() < 3u || response->data.size() > 2u + count) {
          return Error{ErrorCode::kProtocol, "Get SDR: " + std::to_string(count) + " bytes were asked for and " +
                                                 std::to_string(response->data.size()) + " came"};
        }
        Reader in(response->data);
        next = in.u16();
        auto part = in.rest();
        record.insert(record.end(), part.begin(), part.end());
        if (wanted == kSdrHeaderBytes && record.size() >= kSdrHeaderBytes) wanted = kSdrHeaderBytes + record[4];
      }
      if (lost) break;
      records.push_back(std::move(record));
      if (progress) progress(records.size());
      if (records.size() > kRecordsMax) return Error{ErrorCode::kProtocol, "Get SDR: the repository has no end"};
      id = next;
    }
    if (!lost) return records;
  }
  return Error{ErrorCode::kBusy, "reading the SDR repository: the reservation was cancelled " +
                                     std::to_string(kReservationRetriesMax + 1) + " times; somebody keeps changing it"};
}

Result<SelInfo> get_sel_info(const RequestFunction& send) {
  auto data = request_ok(send, "Get SEL Info", {ipmi::kNetFnStorage, 0, 0x40, {}});
  if (!data.ok()) return data.error();
  if (data->size() < 14) return too_short("Get SEL Info", data->size(), 14);
  Reader in(*data);
  SelInfo info;
  info.version = in.u8();
  info.entries = in.u16();
  info.free_bytes = in.u16();
  info.last_add = in.u32();
  info.last_erase = in.u32();
  info.overflow = in.u8() & 0x80;
  return info;
}

Result<std::vector<Bytes>> read_sel(const RequestFunction& send) {
  std::vector<Bytes> records;
  uint16_t id = 0x0000;
  while (id != 0xffff) {
    // Whole entries need no reservation (§31.5).
    auto response = send({ipmi::kNetFnStorage, 0, 0x43, Writer().u16(0).u16(id).u8(0).u8(0xff).finish()});
    if (!response.ok()) return response.error();
    if (response->cc == CompletionCode::kNotPresent) return records;
    if (response->cc != CompletionCode::kOk) return refused("Get SEL Entry", response->cc);
    if (response->data.size() < 18) return too_short("Get SEL Entry", response->data.size(), 18);
    Reader in(response->data);
    uint16_t next = in.u16();
    auto record = in.take(16);
    records.emplace_back(record.begin(), record.end());
    if (records.size() > kRecordsMax) return Error{ErrorCode::kProtocol, "Get SEL Entry: the log has no end"};
    id = next;
  }
  return records;
}

Result<uint16_t> add_sel(const RequestFunction& send, ByteView record16) {
  auto data = request_ok(send, "Add SEL Entry", {ipmi::kNetFnStorage, 0, 0x44, Bytes(record16.begin(), record16.end())});
  if (!data.ok()) return data.error();
  if (data->size() < 2) return too_short("Add SEL Entry", data->size(), 2);
  return Reader(*data).u16();
}

Status clear_sel(const RequestFunction& send, unsigned polls_max) {
  auto reserved = request_ok(send, "Reserve SEL", {ipmi::kNetFnStorage, 0, 0x42, {}});
  if (!reserved.ok()) return reserved.error();
  if (reserved->size() < 2) return too_short("Reserve SEL", reserved->size(), 2);
  const uint16_t reservation = Reader(*reserved).u16();
  for (unsigned poll = 0; poll <= polls_max; ++poll) {
    const uint8_t operation = poll == 0 ? 0xaa : 0x00;  // initiate erase, then get erasure status (§31.9)
    auto data = request_ok(send, "Clear SEL",
                           {ipmi::kNetFnStorage, 0, 0x47, Writer().u16(reservation).u8('C').u8('L').u8('R').u8(operation).finish()});
    if (!data.ok()) return data.error();
    if (data->empty()) return too_short("Clear SEL", 0, 1);
    if (((*data)[0] & 0x0f) == 1) return {};
  }
  return Error{ErrorCode::kTimeout, "Clear SEL: the erasure has not ended after " + std::to_string(polls_max) + " questions"};
}

Result<Bytes> read_fru(const RequestFunction& send, uint8_t fru_id) {
  auto info = request_ok(send, "Get FRU Inventory Area Info", {ipmi::kNetFnStorage, 0, 0x10, {fru_id}});
  if (!info.ok()) return info.error();
  if (info->size() < 3) return too_short("Get FRU Inventory Area Info", info->size(), 3);
  Reader in(*info);
  const size_t size = in.u16();
  const unsigned unit = in.u8() & 1 ? 2 : 1;  // by words or by bytes (§34.1)
  Bytes out;
  uint8_t chunk = kChunkMax;
  while (out.size() < size) {
    size_t want = std::min<size_t>(size - out.size(), chunk);
    auto count = static_cast<uint8_t>(unit == 2 ? std::max<size_t>(want / 2, 1) : want);
    auto response = send({ipmi::kNetFnStorage, 0, 0x11,
                          Writer().u8(fru_id).u16(static_cast<uint16_t>(out.size() / unit)).u8(count).finish()});
    if (!response.ok()) return response.error();
    if (asks_for_less(response->cc) && chunk > kChunkMin) {
      chunk = static_cast<uint8_t>(chunk / 2);
      continue;
    }
    if (response->cc != CompletionCode::kOk) return refused("Read FRU Data", response->cc);
    if (response->data.empty()) return too_short("Read FRU Data", 0, 1);
    size_t got = response->data.size() - 1;
    if (got == 0 || got > static_cast<size_t>(count) * unit || response->data[0] * unit != got) {
      return Error{ErrorCode::kProtocol, "Read FRU Data: at offset " + std::to_string(out.size()) + " the answer counts " +
                                             std::to_string(response->data[0]) + " and carries " + std::to_string(got) + " bytes"};
    }
    out.insert(out.end(), response->data.begin() + 1, response->data.end());
  }
  out.resize(size);
  return out;
}

Result<std::optional<Reading>> get_sensor_reading(const RequestFunction& send, uint8_t number, uint8_t lun) {
  auto response = send({ipmi::kNetFnSensorEvent, lun, 0x2d, {number}});
  if (!response.ok()) return response.error();
  if (response->cc == CompletionCode::kNotPresent || response->cc == CompletionCode::kIllegalForSensorOrRecord) {
    return std::optional<Reading>();
  }
  if (response->cc != CompletionCode::kOk) return refused("Get Sensor Reading", response->cc);
  if (response->data.size() < 2) return too_short("Get Sensor Reading", response->data.size(), 2);
  Reader in(response->data);
  Reading reading;
  reading.raw = in.u8();
  uint8_t flags = in.u8();
  reading.available = (flags & 0x40) && !(flags & 0x20);  // scanning enabled, reading available (§35.14)
  if (in.remaining() >= 1) reading.states = in.u8();
  if (in.remaining() >= 1) reading.states = static_cast<uint16_t>(reading.states | (in.u8() & 0x7f) << 8);
  return std::optional(reading);
}

}  // namespace bmcpair::cli
