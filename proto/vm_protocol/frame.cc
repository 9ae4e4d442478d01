#include "proto/vm_protocol/frame.h"

#include <utility>

#include "proto/ipmi/message.h"

namespace bmcpair::vm_protocol {
namespace {

void append(Bytes& out, uint8_t byte) {
  if (byte == kEndOfMessage || byte == kEndOfControl || byte == kEscape) {
    out.push_back(kEscape);
    byte |= kEscapedBit;
  }
  out.push_back(byte);
}

}  // namespace

bool is_known(uint8_t control) { return control <= 0x0b || control == 0xff; }

std::string_view to_string(Control control) {
  switch (control) {
    case Control::kClearAttention: return "clear attention";
    case Control::kAttention: return "attention";
    case Control::kAttentionInterrupt: return "attention with interrupt";
    case Control::kPowerOff: return "power off";
    case Control::kReset: return "reset";
    case Control::kAllowInterrupts: return "allow interrupts";
    case Control::kForbidInterrupts: return "forbid interrupts";
    case Control::kNmi: return "NMI";
    case Control::kCapabilities: return "capabilities";
    case Control::kGracefulShutdown: return "graceful shutdown";
    case Control::kDisableInterface: return "disable interface";
    case Control::kEnableInterface: return "enable interface";
    case Control::kProtocolVersion: return "protocol version";
  }
  return "unknown control";
}

std::string describe_capabilities(uint8_t capabilities) {
  static constexpr std::pair<uint8_t, std::string_view> kNames[] = {
      {kCanPowerOff, "power off"},         {kCanReset, "reset"},
      {kCanInterrupt, "interrupts"},       {kCanNmi, "NMI"},
      {kCanAttention, "attention"},        {kCanGracefulShutdown, "graceful shutdown"},
      {kCanDisableInterface, "disable interface"}};
  std::string out;
  for (const auto& [bit, name] : kNames) {
    if ((capabilities & bit) == 0) continue;
    if (!out.empty()) out += ", ";
    out += name;
  }
  return out.empty() ? "none" : out;
}

std::string_view to_string(Frame::Fault fault) {
  switch (fault) {
    case Frame::Fault::kNone: return "none";
    case Frame::Fault::kTooLong: return "too long";
    case Frame::Fault::kTooShort: return "too short";
    case Frame::Fault::kChecksum: return "wrong checksum";
    case Frame::Fault::kEscapedEnd: return "ends in an escape";
  }
  return "unknown";
}

std::optional<Frame> Decoder::next(ByteView& bytes) {
  for (size_t i = 0; i < bytes.size(); ++i) {
    uint8_t byte = bytes[i];
    if (byte == kEndOfMessage || byte == kEndOfControl) {
      if (!partial()) continue;
      bytes = bytes.subspan(i + 1);
      return finish(byte == kEndOfMessage);
    }
    if (byte == kEscape) {
      escaped_ = true;
      continue;
    }
    if (std::exchange(escaped_, false)) byte &= static_cast<uint8_t>(~kEscapedBit);
    ++body_bytes_;
    if (body_.size() < kBodyBytesMax) body_.push_back(byte);
  }
  bytes = {};
  return std::nullopt;
}

void Decoder::reset() {
  body_.clear();
  body_bytes_ = 0;
  escaped_ = false;
}

Frame Decoder::finish(bool message) {
  Frame frame;
  frame.body_bytes = body_bytes_;
  Bytes body = std::move(body_);
  bool escaped = escaped_;
  reset();
  if (frame.body_bytes > body.size()) {
    frame.fault = Frame::Fault::kTooLong;
  } else if (escaped) {
    frame.fault = Frame::Fault::kEscapedEnd;
  } else if (!message) {
    frame.kind = Frame::Kind::kControl;
    frame.control = body[0];
    frame.data.assign(body.begin() + 1, body.end());
  } else if (body.size() < message_body_bytes_min_) {
    frame.fault = Frame::Fault::kTooShort;
  } else if (ipmi::checksum(body) != 0) {
    frame.fault = Frame::Fault::kChecksum;
  } else {
    frame.kind = Frame::Kind::kMessage;
    frame.sequence = body[0];
    frame.data.assign(body.begin() + 1, body.end() - 1);
  }
  return frame;
}

Bytes encode_message(uint8_t sequence, ByteView message, uint8_t checksum_add) {
  Bytes out;
  out.reserve(message.size() + 8);
  append(out, sequence);
  for (uint8_t byte : message) append(out, byte);
  append(out, static_cast<uint8_t>(ipmi::checksum(message) - sequence + checksum_add));
  out.push_back(kEndOfMessage);
  return out;
}

Bytes encode_control(Control control) { return {static_cast<uint8_t>(control), kEndOfControl}; }

Bytes encode_control(Control control, uint8_t data) {
  Bytes out{static_cast<uint8_t>(control)};
  append(out, data);
  out.push_back(kEndOfControl);
  return out;
}

}  // namespace bmcpair::vm_protocol
