#include "proto/ipmi/message.h"

namespace bmcpair::ipmi {

std::string_view to_string(CompletionCode code) {
  switch (code) {
    case CompletionCode::kOk: return "completed normally";
    case CompletionCode::kWatchdogNotInitialised: return "command-specific 80h";
    case CompletionCode::kLostArbitration: return "lost arbitration";
    case CompletionCode::kBusError: return "bus error";
    case CompletionCode::kNakOnWrite: return "NAK on write";
    case CompletionCode::kTruncatedRead: return "truncated read";
    case CompletionCode::kNodeBusy: return "node busy";
    case CompletionCode::kInvalidCommand: return "invalid command";
    case CompletionCode::kInvalidCommandForLun: return "command invalid for LUN";
    case CompletionCode::kTimeout: return "timeout";
    case CompletionCode::kOutOfSpace: return "out of space";
    case CompletionCode::kReservationCancelled: return "reservation cancelled or invalid";
    case CompletionCode::kRequestTruncated: return "request data truncated";
    case CompletionCode::kRequestLengthInvalid: return "request data length invalid";
    case CompletionCode::kRequestLengthLimitExceeded: return "request data field length limit exceeded";
    case CompletionCode::kParameterOutOfRange: return "parameter out of range";
    case CompletionCode::kCannotReturnRequestedLength: return "cannot return number of requested data bytes";
    case CompletionCode::kNotPresent: return "requested sensor, data or record not present";
    case CompletionCode::kInvalidDataField: return "invalid data field in request";
    case CompletionCode::kIllegalForSensorOrRecord: return "command illegal for sensor or record type";
    case CompletionCode::kResponseNotProvided: return "response could not be provided";
    case CompletionCode::kDuplicateRequest: return "cannot execute duplicated request";
    case CompletionCode::kSdrInUpdate: return "SDR repository in update mode";
    case CompletionCode::kFirmwareUpdateMode: return "device in firmware update mode";
    case CompletionCode::kBmcInitialising: return "BMC initialisation in progress";
    case CompletionCode::kDestinationUnavailable: return "destination unavailable";
    case CompletionCode::kInsufficientPrivilege: return "insufficient privilege";
    case CompletionCode::kNotSupportedInState: return "not supported in present state";
    case CompletionCode::kSubFunctionDisabled: return "sub-function disabled or unavailable";
    case CompletionCode::kUnspecified: return "unspecified error";
  }
  auto value = static_cast<uint8_t>(code);
  if (value >= 0x01 && value <= 0x7e) return "OEM code";
  if (value >= 0x80 && value <= 0xbe) return "command-specific code";
  return "reserved code";
}

namespace {
// In one allocation.
Bytes joined(std::initializer_list<uint8_t> head, const Bytes& data) {
  Bytes out;
  out.reserve(head.size() + data.size());
  out.insert(out.end(), head.begin(), head.end());
  out.insert(out.end(), data.begin(), data.end());
  return out;
}
}  // namespace

Bytes encode(const Request& request) {
  return joined({netfn_lun(request.netfn, request.lun), request.cmd}, request.data);
}

Bytes encode(const Request& request, const Response& response) {
  return joined({netfn_lun(static_cast<uint8_t>(request.netfn | 1), request.lun), request.cmd,
                 static_cast<uint8_t>(response.cc)},
                response.data);
}

std::optional<Request> decode_request(ByteView wire) {
  if (wire.size() < 2) return std::nullopt;
  return Request{static_cast<uint8_t>(wire[0] >> 2), static_cast<uint8_t>(wire[0] & 3), wire[1],
                 Bytes(wire.begin() + 2, wire.end())};
}

uint8_t checksum(ByteView bytes) {
  uint8_t sum = 0;
  for (uint8_t b : bytes) sum = static_cast<uint8_t>(sum + b);
  return static_cast<uint8_t>(-sum);
}

}  // namespace bmcpair::ipmi
