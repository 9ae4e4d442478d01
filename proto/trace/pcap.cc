#include "proto/trace/pcap.h"

#include <algorithm>
#include <string_view>

#include "proto/trace/names.h"
#include "proto/trace/timeline.h"

namespace bmcpair::trace {
namespace {

// The pcapng draft of the IETF's opsawg: section header, interface description and enhanced packet blocks.
constexpr uint32_t kSectionHeader = 0x0a0d0d0a;
constexpr uint32_t kByteOrderMagic = 0x1a2b3c4d;
constexpr uint32_t kInterfaceDescription = 1;
constexpr uint32_t kEnhancedPacket = 6;
constexpr uint16_t kOptionEnd = 0;
constexpr uint16_t kOptionComment = 1;
constexpr uint16_t kOptionInterfaceName = 2;
constexpr uint16_t kOptionInterfaceDescription = 3;
constexpr uint16_t kOptionUserApplication = 4;
constexpr uint16_t kOptionTimeResolution = 9;
constexpr uint8_t kNanoseconds = 9;  // 10^-9 s
constexpr uint16_t kLinkTypeIpmiHpm2 = 260;
constexpr size_t kOptionBytesMax = 4096;

// HPM.2 table 3-20.
constexpr uint8_t kPacketData = 0;
constexpr uint8_t kAsciiMessage = 2;
constexpr uint8_t kProtocolNone = 0;
constexpr uint8_t kProtocolKcs = 5;  // IPMI 2.0 table 6-2
constexpr uint16_t kToController = 0x80;
constexpr unsigned kSystemInterfaceChannel = 0x0f;
constexpr unsigned kChannels = 16;

class Buffer {
 public:
  void u8(unsigned v) { out_ += static_cast<char>(v & 0xff); }
  void u16(unsigned v) { u8(v), u8(v >> 8); }
  void u32(uint32_t v) { u16(v & 0xffff), u16(v >> 16); }
  void bytes(std::string_view v) { out_ += v; }
  void pad() { out_.append((4 - out_.size() % 4) % 4, '\0'); }
  void option(uint16_t code, std::string_view value) {
    value = value.substr(0, kOptionBytesMax);
    u16(code), u16(static_cast<unsigned>(value.size()));
    bytes(value);
    pad();
  }
  void end_of_options() { u16(kOptionEnd), u16(0); }
  const std::string& str() const { return out_; }

 private:
  std::string out_;
};

void block(std::string& out, uint32_t type, const Buffer& body) {
  const auto size = static_cast<uint32_t>(body.str().size() + 12);
  Buffer head;
  head.u32(type), head.u32(size);
  Buffer tail;
  tail.u32(size);
  out += head.str() + body.str() + tail.str();
}

std::string ascii(std::string_view text) {
  std::string out;
  for (char c : text) {
    const auto u = static_cast<unsigned char>(c);
    out += u >= 0x20 && u < 0x7f ? c : u == '\n' || u == '\t' ? ' ' : '?';
  }
  return out;
}

std::string micros(Duration took) {
  const auto ns = static_cast<uint64_t>(std::max<Duration::rep>(took.count(), 0));
  std::string fraction = std::to_string(ns % 1000);
  fraction.insert(0, 3 - fraction.size(), '0');
  return std::to_string(ns / 1000) + "." + fraction + " us";
}

class Writer {
 public:
  explicit Writer(const Trace& trace) : trace_(trace), line_(timeline(trace)) {
    // Without a wall clock a trace's own zero is 1970; what lies before zero begins there.
    const int64_t begin = line_.begin.time_since_epoch().count();
    base_ = static_cast<uint64_t>(trace.unix_epoch_ns) + static_cast<uint64_t>(begin);
    if (static_cast<int64_t>(base_) < 0) base_ = 0;
  }

  std::string write() {
    section();
    for (const InterfaceInfo& interface : trace_.interfaces) description(interface.name, to_string(interface.kind));
    description("trace", "texts of no interface");
    if (trace_.left_out > 0) {
      text(kNoInterface, base_, "the recording's bound was met: " + std::to_string(trace_.left_out) + " older events are missing");
    }
    for (const TimedEvent& timed : line_.events) {
      const uint64_t at = base_ + timed.ns < base_ ? UINT64_MAX : base_ + timed.ns;
      std::visit([&](const auto& what) { event(*timed.event, at, what); }, timed.event->what);
    }
    return std::move(out_);
  }

 private:
  uint32_t place(InterfaceId interface) const {
    return static_cast<uint32_t>(std::min<size_t>(interface, trace_.interfaces.size()));
  }
  static unsigned channel(uint32_t place) { return kSystemInterfaceChannel - place % kChannels; }

  void section() {
    Buffer body;
    body.u32(kByteOrderMagic), body.u16(1), body.u16(0);
    body.u32(0xffffffff), body.u32(0xffffffff);  // the section's length is not told
    if (!trace_.title.empty()) body.option(kOptionComment, ascii(trace_.title));
    body.option(kOptionUserApplication, "bmcpair");
    body.end_of_options();
    block(out_, kSectionHeader, body);
  }
  void description(std::string_view name, std::string_view what) {
    Buffer body;
    body.u16(kLinkTypeIpmiHpm2), body.u16(0);
    body.u32(0);  // no snap length
    body.option(kOptionInterfaceName, ascii(name));
    body.option(kOptionInterfaceDescription, what);
    body.option(kOptionTimeResolution, std::string(1, static_cast<char>(kNanoseconds)));
    body.end_of_options();
    block(out_, kInterfaceDescription, body);
  }
  void packet(uint32_t where, uint64_t at, uint8_t block_type, uint8_t protocol, uint16_t protocol_data,
              std::string_view data, const std::string& comment) {
    const std::string_view kept = data.substr(0, kPcapBlockBytesMax);
    Buffer frame;
    frame.u8(static_cast<unsigned>(block_type << 4) | channel(where));
    frame.u32(static_cast<uint32_t>(at / 1'000'000'000));
    frame.u16(static_cast<unsigned>(at / 1'000'000 % 1000));
    frame.u8(protocol);
    frame.u16(protocol_data);
    frame.u8(static_cast<unsigned>(kept.size()));
    frame.bytes(kept);
    Buffer body;
    body.u32(where), body.u32(static_cast<uint32_t>(at >> 32)), body.u32(static_cast<uint32_t>(at));
    body.u32(static_cast<uint32_t>(frame.str().size()));
    body.u32(static_cast<uint32_t>(frame.str().size() + data.size() - kept.size()));
    body.bytes(frame.str());
    body.pad();
    if (!comment.empty()) {
      body.option(kOptionComment, comment);
      body.end_of_options();
    }
    block(out_, kEnhancedPacket, body);
  }
  void text(InterfaceId interface, uint64_t at, std::string_view words) {
    const std::string plain = ascii(words);
    // A block without a byte has nothing to show.
    for (size_t i = 0; i < plain.size(); i += kPcapBlockBytesMax) {
      packet(place(interface), at, kAsciiMessage, kProtocolNone, 0, std::string_view(plain).substr(i, kPcapBlockBytesMax), "");
    }
  }

  void event(const Event& e, uint64_t at, const Message& message) {
    const bool to_bmc = message.direction == Message::Direction::kToBmc;
    std::string comment = ascii(e.who);
    if (message.took > Duration::zero()) comment += (comment.empty() ? "" : ", ") + ("took " + micros(message.took));
    packet(place(e.interface), at, kPacketData, kProtocolKcs, to_bmc ? kToController : 0,
           {reinterpret_cast<const char*>(message.bytes.data()), message.bytes.size()}, comment);
  }
  void event(const Event& e, uint64_t at, const Text& what) {
    std::string words;
    switch (what.kind) {
      case Text::Kind::kNote: break;
      case Text::Kind::kStep: words = "step: "; break;
      case Text::Kind::kFault: words = "fault " + (what.fault ? std::to_string(what.fault) + ": " : std::string()); break;
      case Text::Kind::kError: words = "ERROR: "; break;
    }
    text(e.interface, at, words + (e.who.empty() ? "" : e.who + ": ") + what.text);
  }
  void event(const Event& e, uint64_t at, const Access& access) {
    const InterfaceInfo* interface = interface_of(trace_, e);
    if (access.fault == 0 || !interface) return;
    text(e.interface, at, "fault " + std::to_string(access.fault) + " changed: " +
                              (access.face == Side::kHost ? "host " : "bmc ") + (access.is_write ? "W " : "R ") +
                              register_name(interface->kind, access) + " " + to_hex(ByteView(&access.value, 1)));
  }
  void event(const Event&, uint64_t, const InterruptLine&) {}
  void event(const Event&, uint64_t, const Activity&) {}

  const Trace& trace_;
  const Timeline line_;
  uint64_t base_ = 0;
  std::string out_;
};

}  // namespace

std::string pcap(const Trace& trace) { return Writer(trace).write(); }

}  // namespace bmcpair::trace
