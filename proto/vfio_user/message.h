// vfio-user messages: header, payloads and the cutting of a byte stream into messages. Codec only: no socket, no
// descriptor, no JSON (VERSION carries its JSON as text).
//
// Source: the vfio-user protocol specification as QEMU publishes it (docs/interop/vfio-user). All fields are in the
// byte order of the host, as the specification has it. Names of fields are the specification's.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/base/hex.h"
#include "proto/base/result.h"

namespace bmcpair::vfio_user {

constexpr uint16_t kVersionMajor = 0;
constexpr uint16_t kVersionMinor = 0;

enum class Command : uint16_t {
  kVersion = 1,
  kDmaMap = 2,
  kDmaUnmap = 3,
  kDeviceGetInfo = 4,
  kDeviceGetRegionInfo = 5,
  kDeviceGetRegionIoFds = 6,
  kDeviceGetIrqInfo = 7,
  kDeviceSetIrqs = 8,
  kRegionRead = 9,
  kRegionWrite = 10,
  kDmaRead = 11,   // server to client
  kDmaWrite = 12,  // server to client
  kDeviceReset = 13,
  kRegionWriteMulti = 15,
  kDeviceFeature = 16,
  kMigDataRead = 17,
  kMigDataWrite = 18,
};

std::string_view to_string(Command command);

// Header: id u16, command u16, size u32 (header included), flags u32, error u32.
constexpr size_t kHeaderBytes = 16;
constexpr uint32_t kTypeMask = 0x0f;
constexpr uint32_t kTypeCommand = 0;
constexpr uint32_t kTypeReply = 1;
constexpr uint32_t kFlagNoReply = 0x10;
constexpr uint32_t kFlagError = 0x20;
constexpr uint32_t kFlagsKnown = kTypeMask | kFlagNoReply | kFlagError;

struct Header {
  uint16_t id = 0;
  uint16_t command = 0;
  uint32_t size = kHeaderBytes;
  uint32_t flags = kTypeCommand;
  uint32_t error_no = 0;

  uint32_t type() const { return flags & kTypeMask; }
  bool is_reply() const { return type() == kTypeReply; }
  bool no_reply() const { return (flags & kFlagNoReply) != 0; }
  bool is_error() const { return (flags & kFlagError) != 0; }
  bool operator==(const Header&) const = default;
};

// bytes: exactly kHeaderBytes. The fields are not judged; that is the receiver's.
Result<Header> decode_header(ByteView bytes);
std::array<uint8_t, kHeaderBytes> encode_header(const Header& header);

// Appends header and payload; header.size is filled in.
void append_message(Bytes& out, Header header, ByteView payload = {}, ByteView data = {});
// An error reply is a header alone; the errno may be 0.
void append_error_reply(Bytes& out, uint16_t id, uint16_t command, uint32_t error_no);

// ---- payloads ------------------------------------------------------------------------------------------------
// Every decode_* takes the payload of one message (header taken off) and wants exactly its bytes; errors are kProtocol
// and say what was expected. Requests and replies have one layout unless two are given.

struct Version {
  uint16_t major = kVersionMajor;
  uint16_t minor = kVersionMinor;
  std::optional<std::string> json;  // without its terminating NUL; absent when no version data was sent
  bool operator==(const Version&) const = default;
};
constexpr size_t kVersionBytes = 4;
Result<Version> decode_version(ByteView payload);
Bytes encode_version(const Version& version);

struct DmaMap {
  uint32_t argsz = 32;
  uint32_t flags = 0;
  uint64_t offset = 0;
  uint64_t address = 0;
  uint64_t size = 0;
  bool operator==(const DmaMap&) const = default;
};
constexpr size_t kDmaMapBytes = 32;
constexpr uint32_t kDmaReadable = 0x1;
constexpr uint32_t kDmaWriteable = 0x2;
Result<DmaMap> decode_dma_map(ByteView payload);
std::array<uint8_t, kDmaMapBytes> encode(const DmaMap& map);

struct DmaUnmap {
  uint32_t argsz = 24;
  uint32_t flags = 0;
  uint64_t address = 0;
  uint64_t size = 0;
  bool operator==(const DmaUnmap&) const = default;
};
constexpr size_t kDmaUnmapBytes = 24;
constexpr uint32_t kDmaUnmapAll = 0x2;  // Linux's VFIO_DMA_UNMAP_FLAG_ALL, which QEMU passes through
Result<DmaUnmap> decode_dma_unmap(ByteView payload);
std::array<uint8_t, kDmaUnmapBytes> encode(const DmaUnmap& unmap);

struct DeviceInfo {
  uint32_t argsz = 16;
  uint32_t flags = 0;
  uint32_t num_regions = 0;
  uint32_t num_irqs = 0;
  bool operator==(const DeviceInfo&) const = default;
};
constexpr size_t kDeviceInfoBytes = 16;
constexpr uint32_t kDeviceFlagReset = 0x1;
constexpr uint32_t kDeviceFlagPci = 0x2;
Result<DeviceInfo> decode_device_info(ByteView payload);
std::array<uint8_t, kDeviceInfoBytes> encode(const DeviceInfo& info);

// PCI regions and interrupt types (linux/vfio.h).
constexpr uint32_t kRegionBar0 = 0;
constexpr uint32_t kRegionRom = 6;
constexpr uint32_t kRegionConfig = 7;
constexpr uint32_t kRegionCount = 9;
constexpr uint32_t kIrqIntx = 0;
constexpr uint32_t kIrqMsi = 1;
constexpr uint32_t kIrqMsix = 2;
constexpr uint32_t kIrqErr = 3;
constexpr uint32_t kIrqReq = 4;
constexpr uint32_t kIrqCount = 5;

struct RegionInfo {
  uint32_t argsz = 32;
  uint32_t flags = 0;
  uint32_t index = 0;
  uint32_t cap_offset = 0;
  uint64_t size = 0;
  uint64_t offset = 0;
  bool operator==(const RegionInfo&) const = default;
};
constexpr size_t kRegionInfoBytes = 32;
constexpr uint32_t kRegionFlagRead = 0x1;
constexpr uint32_t kRegionFlagWrite = 0x2;
constexpr uint32_t kRegionFlagMmap = 0x4;
constexpr uint32_t kRegionFlagCaps = 0x8;
Result<RegionInfo> decode_region_info(ByteView payload);
// A reply may be followed by capabilities (kRegionFlagCaps); a client that wants none ignores them.
Result<RegionInfo> decode_region_info_reply(ByteView payload);
std::array<uint8_t, kRegionInfoBytes> encode(const RegionInfo& info);

// GET_REGION_IO_FDS, request (the reply's sub-regions are not spoken here).
struct RegionIoFds {
  uint32_t argsz = 16;
  uint32_t flags = 0;
  uint32_t index = 0;
  uint32_t count = 0;
  bool operator==(const RegionIoFds&) const = default;
};
constexpr size_t kRegionIoFdsBytes = 16;
Result<RegionIoFds> decode_region_io_fds(ByteView payload);
std::array<uint8_t, kRegionIoFdsBytes> encode(const RegionIoFds& fds);

struct IrqInfo {
  uint32_t argsz = 16;
  uint32_t flags = 0;
  uint32_t index = 0;
  uint32_t count = 0;
  bool operator==(const IrqInfo&) const = default;
};
constexpr size_t kIrqInfoBytes = 16;
constexpr uint32_t kIrqInfoEventfd = 0x1;
constexpr uint32_t kIrqInfoMaskable = 0x2;
constexpr uint32_t kIrqInfoAutomasked = 0x4;
constexpr uint32_t kIrqInfoNoresize = 0x8;
Result<IrqInfo> decode_irq_info(ByteView payload);
std::array<uint8_t, kIrqInfoBytes> encode(const IrqInfo& info);

struct IrqSet {
  uint32_t argsz = 20;  // the payload's size, data included
  uint32_t flags = 0;
  uint32_t index = 0;
  uint32_t start = 0;
  uint32_t count = 0;
  Bytes data;  // one byte an interrupt with kIrqDataBool, else nothing
  bool operator==(const IrqSet&) const = default;
};
constexpr size_t kIrqSetBytes = 20;
constexpr uint32_t kIrqDataNone = 0x01;
constexpr uint32_t kIrqDataBool = 0x02;
constexpr uint32_t kIrqDataEventfd = 0x04;
constexpr uint32_t kIrqActionMask = 0x08;
constexpr uint32_t kIrqActionUnmask = 0x10;
constexpr uint32_t kIrqActionTrigger = 0x20;
constexpr uint32_t kIrqDataFlags = kIrqDataNone | kIrqDataBool | kIrqDataEventfd;
constexpr uint32_t kIrqActionFlags = kIrqActionMask | kIrqActionUnmask | kIrqActionTrigger;
// Also checks that argsz is the payload's size, that exactly one data and one action flag is set and nothing else, and
// that data has as many bytes as its kind wants.
Result<IrqSet> decode_irq_set(ByteView payload);
Bytes encode_irq_set(const IrqSet& set);  // argsz is filled in

struct RegionAccess {
  uint64_t offset = 0;
  uint32_t region = 0;
  uint32_t count = 0;
  bool operator==(const RegionAccess&) const = default;
};
constexpr size_t kRegionAccessBytes = 16;
std::array<uint8_t, kRegionAccessBytes> encode(const RegionAccess& access);

struct RegionData {
  RegionAccess access;
  ByteView data;  // a view into the payload; access.count bytes
};
Result<RegionAccess> decode_region_read(ByteView payload);      // request: no data
Result<RegionData> decode_region_read_reply(ByteView payload);  // count bytes of data
Result<RegionData> decode_region_write(ByteView payload);       // request: count bytes of data
Result<RegionAccess> decode_region_write_reply(ByteView payload);

struct MultiWrite {
  uint64_t offset = 0;
  uint32_t region = 0;
  uint32_t count = 0;  // at most 8
  std::array<uint8_t, 8> data{};
  bool operator==(const MultiWrite&) const = default;
};
constexpr size_t kMultiWriteBytes = 24;
// wr_cnt must be exactly as many as there are, and each count at most 8.
Result<std::vector<MultiWrite>> decode_write_multi(ByteView payload);
Bytes encode_write_multi(const std::vector<MultiWrite>& writes);
Result<uint64_t> decode_write_multi_reply(ByteView payload);
std::array<uint8_t, 8> encode_write_multi_reply(uint64_t completed);

// DEVICE_RESET and the replies of DMA_MAP and SET_IRQS: no payload.
Status decode_nothing(ByteView payload, Command command);

// ---- stream --------------------------------------------------------------------------------------------------

struct Message {
  Header header;
  ByteView payload;    // into the buffer: until the next space()
  uint64_t start = 0;  // where in the stream the message began, in bytes
};

// Cuts a byte stream into messages. Never holds more than one message of message_bytes_max and one space().
class MessageBuffer {
 public:
  explicit MessageBuffer(size_t message_bytes_max) : message_bytes_max_(message_bytes_max) {}

  // Room for at least `bytes` more, behind what is there; then say how many came.
  uint8_t* space(size_t bytes);
  void commit(size_t bytes);

  // The next whole message; nullopt: more bytes are wanted. An error (kProtocol: a size below the header's; kLimit:
  // above the maximum) is final: where the next message would begin cannot be known.
  Result<std::optional<Message>> next();
  // The header of the message that next() could not give whole, or refused, if that much is there.
  std::optional<Header> front() const;

  // Where the last message begins of those that are (wholly or partly) in the buffer. Descriptors that came with
  // the last bytes belong to it: a stream socket ends a read after the write that carried descriptors. If that message
  // can carry none, but one before it in the buffer can, a client has sent several messages in one write, and it is
  // that one.
  uint64_t descriptor_owner() const;

  size_t buffered() const { return end_ - begin_; }

 private:
  Bytes bytes_;
  size_t begin_ = 0;
  size_t end_ = 0;
  uint64_t consumed_ = 0;  // stream position of begin_
  size_t message_bytes_max_;
};

}  // namespace bmcpair::vfio_user
