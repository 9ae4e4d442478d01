// What a system's management software reads of a BMC, as sequences of standard commands over any way to send one
// (IPMI 2.0 rev 1.1, ch. 20, 31, 33, 34). Nothing here knows how a request travels.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "proto/base/hex.h"
#include "proto/base/result.h"
#include "proto/ipmi/message.h"

namespace bmcpair::cli {

// Sends one request and waits for its answer. An Error is ours (bus lost, no answer in time); a completion code is the BMC's.
using RequestFunction = std::function<Result<ipmi::Response>(const ipmi::Request&)>;

// The answer's data, or an Error that names the command and its completion code.
Result<Bytes> request_ok(const RequestFunction& send, std::string_view what, const ipmi::Request& request);

struct DeviceId {
  uint8_t device_id = 0;
  uint8_t device_revision = 0;
  bool provides_sdrs = false;
  bool available = true;           // false: firmware or SDR update, or initialisation, under way
  uint8_t firmware_major = 0;
  uint8_t firmware_minor_bcd = 0;
  uint8_t ipmi_version_bcd = 0;    // low nibble major
  uint8_t additional_support = 0;
  uint32_t manufacturer_id = 0;
  uint16_t product_id = 0;
  std::optional<std::array<uint8_t, 4>> aux_firmware;

  std::string firmware_text() const;
  std::string ipmi_text() const;
};
Result<DeviceId> get_device_id(const RequestFunction& send);
// The 16 bytes as on the wire; nullopt when the BMC has none.
Result<std::optional<std::array<uint8_t, 16>>> get_guid(const RequestFunction& send, bool system);
// In the order people read: time-low first, as in SMBIOS (little-endian fields first three), lower case.
std::string guid_text(const std::array<uint8_t, 16>& guid);

// Whole records, header included, in the repository's order. Starts over when the reservation is lost, at most
// kReservationRetriesMax times; shortens its reads when the BMC answers CA. progress(done) may be empty.
Result<std::vector<Bytes>> read_sdr_repository(const RequestFunction& send, const std::function<void(size_t)>& progress);
constexpr unsigned kReservationRetriesMax = 5;
constexpr unsigned kRecordsMax = 65535;

struct SelInfo {
  uint8_t version = 0;
  uint16_t entries = 0;
  uint16_t free_bytes = 0;
  uint32_t last_add = 0;
  uint32_t last_erase = 0;
  bool overflow = false;
};
Result<SelInfo> get_sel_info(const RequestFunction& send);
// 16-byte records, oldest first. One that is deleted while we read ends the list at worst early, never wrongly.
Result<std::vector<Bytes>> read_sel(const RequestFunction& send);
Result<uint16_t> add_sel(const RequestFunction& send, ByteView record16);
// Erases and waits for the erasure to end, at most polls_max questions.
Status clear_sel(const RequestFunction& send, unsigned polls_max = 100);

// The whole inventory area of one FRU device.
Result<Bytes> read_fru(const RequestFunction& send, uint8_t fru_id);

struct Reading {
  uint8_t raw = 0;
  bool available = false;  // false: scanning off or reading not available
  uint16_t states = 0;     // threshold: comparison bits; discrete: asserted offsets
};
// nullopt when the sensor is not present (CB).
Result<std::optional<Reading>> get_sensor_reading(const RequestFunction& send, uint8_t number, uint8_t lun);

}  // namespace bmcpair::cli
