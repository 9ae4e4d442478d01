// IPMI messages in their interface-neutral form (IPMI 2.0 rev 1.1, ch. 5).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "proto/base/hex.h"

namespace bmcpair::ipmi {

// Requests have even NetFns, responses the odd one above (§5.1, table 5-1).
enum NetFn : uint8_t {
  kNetFnChassis = 0x00,
  kNetFnBridge = 0x02,
  kNetFnSensorEvent = 0x04,
  kNetFnApp = 0x06,
  kNetFnFirmware = 0x08,
  kNetFnStorage = 0x0a,
  kNetFnTransport = 0x0c,
  kNetFnGroup = 0x2c,
  kNetFnOemGroup = 0x2e,
};

// Largest message, either direction, that Linux's system interfaces carry: NetFn/LUN, Cmd (, CC), data.
constexpr size_t kMessageBytesMax = 272;

// Completion codes (§5.2, table 5-2). Values outside the table are legal on the wire.
enum class CompletionCode : uint8_t {
  kOk = 0x00,
  kWatchdogNotInitialised = 0x80,  // Reset Watchdog Timer
  kLostArbitration = 0x81,         // Send Message
  kBusError = 0x82,
  kNakOnWrite = 0x83,
  kTruncatedRead = 0x84,
  kNodeBusy = 0xc0,
  kInvalidCommand = 0xc1,
  kInvalidCommandForLun = 0xc2,
  kTimeout = 0xc3,
  kOutOfSpace = 0xc4,
  kReservationCancelled = 0xc5,
  kRequestTruncated = 0xc6,
  kRequestLengthInvalid = 0xc7,
  kRequestLengthLimitExceeded = 0xc8,
  kParameterOutOfRange = 0xc9,
  kCannotReturnRequestedLength = 0xca,
  kNotPresent = 0xcb,
  kInvalidDataField = 0xcc,
  kIllegalForSensorOrRecord = 0xcd,
  kResponseNotProvided = 0xce,
  kDuplicateRequest = 0xcf,
  kSdrInUpdate = 0xd0,
  kFirmwareUpdateMode = 0xd1,
  kBmcInitialising = 0xd2,
  kDestinationUnavailable = 0xd3,
  kInsufficientPrivilege = 0xd4,
  kNotSupportedInState = 0xd5,
  kSubFunctionDisabled = 0xd6,
  kUnspecified = 0xff,
};

std::string_view to_string(CompletionCode code);

// A request without its addressing: netfn even, lun 0..3.
struct Request {
  uint8_t netfn = 0;
  uint8_t lun = 0;
  uint8_t cmd = 0;
  Bytes data;
  bool operator==(const Request&) const = default;
};

struct Response {
  CompletionCode cc = CompletionCode::kOk;
  Bytes data;  // after the completion code
  bool operator==(const Response&) const = default;
};

constexpr uint8_t netfn_lun(uint8_t netfn, uint8_t lun) { return static_cast<uint8_t>(netfn << 2 | (lun & 3)); }

// The form every system interface carries: NetFn<<2|LUN, Cmd, data; a response has the completion code third.
Bytes encode(const Request& request);
Bytes encode(const Request& request, const Response& response);
// nullopt below two bytes.
std::optional<Request> decode_request(ByteView wire);

// Two's-complement checksum: the sum of all bytes and the checksum is 0 modulo 256 (§13.8).
uint8_t checksum(ByteView bytes);

}  // namespace bmcpair::ipmi
