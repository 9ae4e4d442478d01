// /dev/ipmiN as Linux's programs know it: ioctl numbers and structures (reference F.2, F.3), for programs of 64 and of 32
// bits. No code and no C++ runtime: the preloaded library uses it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bmcpair::device_node {

constexpr uint32_t kIpmiMagic = 'i';
constexpr size_t kAddressMax = 40;         // struct ipmi_addr
constexpr size_t kMessageDataMax = 272;    // IPMI_MAX_MSG_LENGTH
constexpr uint32_t kEveryChannel = ~0u;

// A program's pointers and longs.
struct Abi64 {
  using Pointer = uint64_t;
  using Long = int64_t;
};
struct Abi32 {
  using Pointer = uint32_t;
  using Long = int32_t;
};

// struct ipmi_msg
template <class Abi>
struct MessageOf {
  uint8_t netfn;
  uint8_t cmd;
  uint16_t data_len;
  alignas(sizeof(typename Abi::Pointer)) typename Abi::Pointer data;
};

// struct ipmi_req
template <class Abi>
struct RequestOf {
  alignas(sizeof(typename Abi::Pointer)) typename Abi::Pointer addr;
  uint32_t addr_len;
  alignas(sizeof(typename Abi::Long)) typename Abi::Long msgid;
  MessageOf<Abi> msg;
};

// struct ipmi_req_settime
template <class Abi>
struct TimedRequestOf {
  RequestOf<Abi> req;
  int32_t retries;
  uint32_t retry_time_ms;
};

// struct ipmi_recv
template <class Abi>
struct ReceivedOf {
  int32_t recv_type;
  alignas(sizeof(typename Abi::Pointer)) typename Abi::Pointer addr;
  uint32_t addr_len;
  alignas(sizeof(typename Abi::Long)) typename Abi::Long msgid;
  MessageOf<Abi> msg;
};

// struct ipmi_cmdspec
struct CommandSpec {
  uint8_t netfn;
  uint8_t cmd;
};

// struct ipmi_cmdspec_chans
struct CommandSpecChannels {
  uint32_t netfn;
  uint32_t cmd;
  uint32_t channels;
};

// struct ipmi_channel_lun_address_set
struct ChannelValue {
  uint16_t channel;
  uint8_t value;
  uint8_t padding;
};

// struct ipmi_timing_parms
struct TimingParameters {
  int32_t retries;
  uint32_t retry_time_ms;
};

// Linux's _IOC on x86 and most others. Directions are as Linux has them, which is not always as they should be.
enum class Direction : uint32_t { kWrite = 1, kRead = 2, kBoth = 3 };
constexpr uint32_t ioctl_number(Direction direction, uint32_t number, size_t size) {
  return static_cast<uint32_t>(direction) << 30 | static_cast<uint32_t>(size) << 16 | kIpmiMagic << 8 | number;
}
// Whether it is worth asking what the descriptor is.
constexpr bool maybe_ipmi(unsigned long request) { return (request >> 8 & 0xff) == kIpmiMagic; }

template <class Abi>
struct IoctlOf {
  static constexpr uint32_t kReceiveTruncated = ioctl_number(Direction::kBoth, 11, sizeof(ReceivedOf<Abi>));
  static constexpr uint32_t kReceive = ioctl_number(Direction::kBoth, 12, sizeof(ReceivedOf<Abi>));
  static constexpr uint32_t kSend = ioctl_number(Direction::kRead, 13, sizeof(RequestOf<Abi>));
  static constexpr uint32_t kRegister = ioctl_number(Direction::kRead, 14, sizeof(CommandSpec));
  static constexpr uint32_t kUnregister = ioctl_number(Direction::kRead, 15, sizeof(CommandSpec));
  static constexpr uint32_t kSetGetsEvents = ioctl_number(Direction::kRead, 16, sizeof(int32_t));
  static constexpr uint32_t kSetMyAddress = ioctl_number(Direction::kRead, 17, sizeof(uint32_t));
  static constexpr uint32_t kGetMyAddress = ioctl_number(Direction::kRead, 18, sizeof(uint32_t));
  static constexpr uint32_t kSetMyLun = ioctl_number(Direction::kRead, 19, sizeof(uint32_t));
  static constexpr uint32_t kGetMyLun = ioctl_number(Direction::kRead, 20, sizeof(uint32_t));
  static constexpr uint32_t kSendTimed = ioctl_number(Direction::kRead, 21, sizeof(TimedRequestOf<Abi>));
  static constexpr uint32_t kSetTiming = ioctl_number(Direction::kRead, 22, sizeof(TimingParameters));
  static constexpr uint32_t kGetTiming = ioctl_number(Direction::kRead, 23, sizeof(TimingParameters));
  static constexpr uint32_t kSetMyChannelAddress = ioctl_number(Direction::kRead, 24, sizeof(ChannelValue));
  static constexpr uint32_t kGetMyChannelAddress = ioctl_number(Direction::kRead, 25, sizeof(ChannelValue));
  static constexpr uint32_t kSetMyChannelLun = ioctl_number(Direction::kRead, 26, sizeof(ChannelValue));
  static constexpr uint32_t kGetMyChannelLun = ioctl_number(Direction::kRead, 27, sizeof(ChannelValue));
  static constexpr uint32_t kRegisterChannels = ioctl_number(Direction::kRead, 28, sizeof(CommandSpecChannels));
  static constexpr uint32_t kUnregisterChannels = ioctl_number(Direction::kRead, 29, sizeof(CommandSpecChannels));
  static constexpr uint32_t kGetMaintenanceMode = ioctl_number(Direction::kRead, 30, sizeof(int32_t));
  static constexpr uint32_t kSetMaintenanceMode = ioctl_number(Direction::kWrite, 31, sizeof(int32_t));
};

// F.3
static_assert(sizeof(MessageOf<Abi64>) == 16 && offsetof(MessageOf<Abi64>, data) == 8);
static_assert(sizeof(RequestOf<Abi64>) == 40 && offsetof(RequestOf<Abi64>, addr_len) == 8 &&
              offsetof(RequestOf<Abi64>, msgid) == 16 && offsetof(RequestOf<Abi64>, msg) == 24);
static_assert(sizeof(TimedRequestOf<Abi64>) == 48 && offsetof(TimedRequestOf<Abi64>, retries) == 40 &&
              offsetof(TimedRequestOf<Abi64>, retry_time_ms) == 44);
static_assert(sizeof(ReceivedOf<Abi64>) == 48 && offsetof(ReceivedOf<Abi64>, addr) == 8 &&
              offsetof(ReceivedOf<Abi64>, addr_len) == 16 && offsetof(ReceivedOf<Abi64>, msgid) == 24 &&
              offsetof(ReceivedOf<Abi64>, msg) == 32);
static_assert(sizeof(MessageOf<Abi32>) == 8 && sizeof(RequestOf<Abi32>) == 20 && sizeof(TimedRequestOf<Abi32>) == 28 &&
              sizeof(ReceivedOf<Abi32>) == 24);
static_assert(sizeof(CommandSpec) == 2 && sizeof(CommandSpecChannels) == 12 && sizeof(ChannelValue) == 4 &&
              sizeof(TimingParameters) == 8);
// F.2
static_assert(IoctlOf<Abi64>::kReceiveTruncated == 0xC030690B && IoctlOf<Abi64>::kReceive == 0xC030690C);
static_assert(IoctlOf<Abi64>::kSend == 0x8028690D && IoctlOf<Abi64>::kSendTimed == 0x80306915);
static_assert(IoctlOf<Abi64>::kRegister == 0x8002690E && IoctlOf<Abi64>::kUnregister == 0x8002690F);
static_assert(IoctlOf<Abi64>::kSetGetsEvents == 0x80046910);
static_assert(IoctlOf<Abi64>::kSetMyAddress == 0x80046911 && IoctlOf<Abi64>::kGetMyAddress == 0x80046912);
static_assert(IoctlOf<Abi64>::kSetMyLun == 0x80046913 && IoctlOf<Abi64>::kGetMyLun == 0x80046914);
static_assert(IoctlOf<Abi64>::kSetTiming == 0x80086916 && IoctlOf<Abi64>::kGetTiming == 0x80086917);
static_assert(IoctlOf<Abi64>::kSetMyChannelAddress == 0x80046918 && IoctlOf<Abi64>::kGetMyChannelAddress == 0x80046919);
static_assert(IoctlOf<Abi64>::kSetMyChannelLun == 0x8004691A && IoctlOf<Abi64>::kGetMyChannelLun == 0x8004691B);
static_assert(IoctlOf<Abi64>::kRegisterChannels == 0x800C691C && IoctlOf<Abi64>::kUnregisterChannels == 0x800C691D);
static_assert(IoctlOf<Abi64>::kGetMaintenanceMode == 0x8004691E && IoctlOf<Abi64>::kSetMaintenanceMode == 0x4004691F);
static_assert(IoctlOf<Abi32>::kReceiveTruncated == 0xC018690B && IoctlOf<Abi32>::kReceive == 0xC018690C);
static_assert(IoctlOf<Abi32>::kSend == 0x8014690D && IoctlOf<Abi32>::kSendTimed == 0x801C6915);
static_assert(IoctlOf<Abi32>::kSetMaintenanceMode == IoctlOf<Abi64>::kSetMaintenanceMode);

}  // namespace bmcpair::device_node
