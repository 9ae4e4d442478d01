// The wire forms of routed messages: Send Message and what Get Message brings (IPMI 2.0 §6.13, §22.7; reference E.3,
// E.5).
#pragma once

#include <cstdint>

#include "host_driver/message_handler/address.h"
#include "host_driver/message_handler/smi.h"
#include "proto/base/hex.h"

namespace bmcpair::host::inline BMCPAIR_RT::detail {

constexpr uint8_t kCmdGetDeviceId = 0x01;
constexpr uint8_t kCmdColdReset = 0x02;
constexpr uint8_t kCmdWarmReset = 0x03;
constexpr uint8_t kCmdGetDeviceGuid = 0x08;
constexpr uint8_t kCmdGetMessage = 0x33;
constexpr uint8_t kCmdSendMessage = 0x34;
constexpr uint8_t kCmdReadEventBuffer = 0x35;
constexpr uint8_t kCmdGetChannelInfo = 0x42;
constexpr uint8_t kCmdPlatformEvent = 0x02;     // Sensor/Event
constexpr uint8_t kCmdGetEventReceiver = 0x01;  // Sensor/Event
constexpr uint8_t kCmdAddSelEntry = 0x44;       // Storage

// Bytes around the data, as E.3 counts them against kMessageBytesMax.
constexpr size_t kLocalOverhead = 2;
constexpr size_t kIpmbOverhead = 10;
constexpr size_t kLanOverhead = 12;
constexpr size_t kDirectOverhead = 4;

// What a routed message says, whichever bus it goes over. lun is the target's.
struct Routed {
  uint8_t netfn = 0;
  uint8_t cmd = 0;
  ByteView data;
  uint8_t source_address = 0;
  uint8_t source_lun = 0;
  uint8_t sequence = 0;  // 6 bits
};

// Each fills message.data and data_size; the lengths have been checked.
void format_ipmb(SmiMessage& message, const IpmbAddress& to, const Routed& routed);
void format_lan(SmiMessage& message, const LanAddress& to, const Routed& routed);
void format_direct(SmiMessage& message, const IpmbDirectAddress& to, const Routed& routed);

// A Get Message answer, or a direct message, taken apart. `data` is without the trailing checksum, which is never
// verified: the BMC did (E.5).
struct Incoming {
  Address from;
  uint8_t channel = 0;
  uint8_t netfn = 0;
  uint8_t cmd = 0;
  uint8_t lun = 0;  // of the sender's NetFn byte
  uint8_t sequence = 0;
  ByteView data;
  bool is_response() const { return netfn & 1; }
};
enum class Form { kIpmb, kLan, kDirect };
// false: too short for its form (IPMB response 11, command 10; LAN 13, 12; direct 5, 4).
bool parse_incoming(const SmiMessage& message, Form form, Incoming* out);
bool looks_like_response(const SmiMessage& message, Form form);

// Turns a received command into the response to it with nothing but `cc`, in the same buffer.
void make_error_reply(SmiMessage& message, Form form, uint8_t cc, uint8_t own_address);

// Makes message.rsp the answer "cc" to message.data.
void make_local_response(SmiMessage& message, uint8_t cc);

}  // namespace bmcpair::host::inline BMCPAIR_RT::detail
