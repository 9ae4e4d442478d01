// The OpenIPMI VM serial protocol, which QEMU's ipmi-bmc-extern speaks: framing, checksum, controls. Codec only.
//
// A body and one terminator: A0 after an IPMI message, A1 after a control. A body's A0, A1 and AA are sent as AA and the
// byte with bit 4 set. A message is: sequence, NetFn<<2|LUN, Cmd (, CC), data, checksum; the checksum makes the sum of
// all of them 0 modulo 256. A control is its code and, for two of them, one byte. Nothing is acknowledged, nothing marks
// a beginning; an empty body is nothing at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "proto/base/hex.h"

namespace bmcpair::vm_protocol {

constexpr uint8_t kEndOfMessage = 0xa0;
constexpr uint8_t kEndOfControl = 0xa1;
constexpr uint8_t kEscape = 0xaa;
constexpr uint8_t kEscapedBit = 0x10;

constexpr uint8_t kVersion = 1;

// QEMU's MAX_IPMI_MSG_SIZE: NetFn/LUN, Cmd and what follows them.
constexpr size_t kMessageBytesMax = 300;
constexpr size_t kBodyBytesMax = kMessageBytesMax + 2;  // and sequence, checksum
// Least bodies: a request has sequence, NetFn/LUN, Cmd, checksum; a response the completion code too. QEMU drops
// shorter responses.
constexpr size_t kRequestBodyBytesMin = 4;
constexpr size_t kResponseBodyBytesMin = 5;

// What the host's registers can carry: NetFn/LUN, Cmd (, CC), data. QEMU's BT puts the message's length and one, for the
// sequence number, into a length byte without looking: 255 bytes of message wrap it to 0, and a longer one reaches the
// guest cut short and with completion code 00. KCS has no length byte and could carry 300, but which of the two is at
// the other end is not said by the protocol.
constexpr size_t kHostMessageBytesMax = 254;

enum class Control : uint8_t {
  kClearAttention = 0x00,         // to the host: SMS_ATN off
  kAttention = 0x01,              // to the host: SMS_ATN on
  kAttentionInterrupt = 0x02,     // to the host: SMS_ATN on, with an interrupt
  kPowerOff = 0x03,               // to the host
  kReset = 0x04,                  // to the host: reset the system; from the host: the system was reset
  kAllowInterrupts = 0x05,        // to the host
  kForbidInterrupts = 0x06,       // to the host; QEMU begins so
  kNmi = 0x07,                    // to the host
  kCapabilities = 0x08,           // from the host, one byte of Capability
  kGracefulShutdown = 0x09,       // to the host
  kDisableInterface = 0x0a,       // to the host
  kEnableInterface = 0x0b,        // to the host
  kProtocolVersion = 0xff,        // both ways, one byte; first on a connection
};
bool is_known(uint8_t control);
std::string_view to_string(Control control);

enum Capability : uint8_t {
  kCanPowerOff = 0x01,
  kCanReset = 0x02,
  kCanInterrupt = 0x04,  // allow and forbid message interrupts
  kCanNmi = 0x08,
  kCanAttention = 0x10,
  kCanGracefulShutdown = 0x20,
  kCanDisableInterface = 0x40,
};
// "power off, reset, attention"; "none".
std::string describe_capabilities(uint8_t capabilities);

struct Frame {
  enum class Kind : uint8_t { kMessage, kControl, kBad };
  enum class Fault : uint8_t {
    kNone,
    kTooLong,      // the body did not fit; it was thrown away up to its terminator
    kTooShort,     // a message below the least
    kChecksum,
    kEscapedEnd,   // an escape, and then a terminator
  };
  Kind kind = Kind::kBad;
  Fault fault = Fault::kNone;
  uint8_t sequence = 0;  // of a message
  uint8_t control = 0;   // of a control: any value
  Bytes data;            // a message from NetFn/LUN on, without the checksum; what followed a control's code
  size_t body_bytes = 0;  // unescaped; of one that was too long: as many as there were
  bool operator==(const Frame&) const = default;
};
std::string_view to_string(Frame::Fault fault);

// Bytes in, frames out. Holds at most one body of kBodyBytesMax; every input leads on to the next terminator.
class Decoder {
 public:
  // kRequestBodyBytesMin at the BMC's end, kResponseBodyBytesMin at the host's.
  explicit Decoder(size_t message_body_bytes_min) : message_body_bytes_min_(message_body_bytes_min) {}

  // Takes bytes off the front of `bytes` until a frame is whole. nullopt: all are taken, and no frame is whole.
  std::optional<Frame> next(ByteView& bytes);
  // Whether a frame has begun and not ended.
  bool partial() const { return body_bytes_ != 0 || escaped_; }
  // A new connection begins.
  void reset();

 private:
  Frame finish(bool message);

  size_t message_body_bytes_min_;
  Bytes body_;
  size_t body_bytes_ = 0;
  bool escaped_ = false;
};

// message: from NetFn/LUN on, without a checksum; at most kMessageBytesMax.
// checksum_add: what is wrong about the checksum, for a sender with a fault.
Bytes encode_message(uint8_t sequence, ByteView message, uint8_t checksum_add = 0);
Bytes encode_control(Control control);
Bytes encode_control(Control control, uint8_t data);

}  // namespace bmcpair::vm_protocol
