#include "proto/vfio_user/message.h"

#include <bit>
#include <cstring>

namespace bmcpair::vfio_user {
namespace {

template <class T>
T load(ByteView bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

template <class T>
void store(uint8_t* to, size_t at, T value) {
  std::memcpy(to + at, &value, sizeof value);
}

void append(Bytes& out, ByteView bytes) {
  if (!bytes.empty()) out.insert(out.end(), bytes.begin(), bytes.end());
}

Error wrong_size(std::string_view what, size_t got, std::string_view expected) {
  return Error{ErrorCode::kProtocol, std::string(what) + ": " + std::to_string(got) + " bytes of payload, " +
                                         std::string(expected) + " expected"};
}

Error wrong_size(std::string_view what, size_t got, size_t expected) {
  return wrong_size(what, got, std::to_string(expected));
}

RegionAccess load_access(ByteView payload) {
  return RegionAccess{load<uint64_t>(payload, 0), load<uint32_t>(payload, 8), load<uint32_t>(payload, 12)};
}

Result<RegionData> decode_access_with_data(ByteView payload, std::string_view what) {
  if (payload.size() < kRegionAccessBytes) return wrong_size(what, payload.size(), "at least 16");
  RegionData d{load_access(payload), payload.subspan(kRegionAccessBytes)};
  if (d.data.size() != d.access.count) {
    return Error{ErrorCode::kProtocol, std::string(what) + ": count says " + std::to_string(d.access.count) +
                                           " bytes, " + std::to_string(d.data.size()) + " came"};
  }
  return d;
}

Result<RegionAccess> decode_access(ByteView payload, std::string_view what) {
  if (payload.size() != kRegionAccessBytes) return wrong_size(what, payload.size(), kRegionAccessBytes);
  return load_access(payload);
}

}  // namespace

std::string_view to_string(Command command) {
  switch (command) {
    case Command::kVersion: return "VERSION";
    case Command::kDmaMap: return "DMA_MAP";
    case Command::kDmaUnmap: return "DMA_UNMAP";
    case Command::kDeviceGetInfo: return "DEVICE_GET_INFO";
    case Command::kDeviceGetRegionInfo: return "DEVICE_GET_REGION_INFO";
    case Command::kDeviceGetRegionIoFds: return "DEVICE_GET_REGION_IO_FDS";
    case Command::kDeviceGetIrqInfo: return "DEVICE_GET_IRQ_INFO";
    case Command::kDeviceSetIrqs: return "DEVICE_SET_IRQS";
    case Command::kRegionRead: return "REGION_READ";
    case Command::kRegionWrite: return "REGION_WRITE";
    case Command::kDmaRead: return "DMA_READ";
    case Command::kDmaWrite: return "DMA_WRITE";
    case Command::kDeviceReset: return "DEVICE_RESET";
    case Command::kRegionWriteMulti: return "REGION_WRITE_MULTI";
    case Command::kDeviceFeature: return "DEVICE_FEATURE";
    case Command::kMigDataRead: return "MIG_DATA_READ";
    case Command::kMigDataWrite: return "MIG_DATA_WRITE";
  }
  return "unknown command";
}

Result<Header> decode_header(ByteView bytes) {
  if (bytes.size() != kHeaderBytes) {
    return Error{ErrorCode::kProtocol, "header: " + std::to_string(bytes.size()) + " bytes, 16 expected"};
  }
  return Header{load<uint16_t>(bytes, 0), load<uint16_t>(bytes, 2), load<uint32_t>(bytes, 4), load<uint32_t>(bytes, 8),
                load<uint32_t>(bytes, 12)};
}

std::array<uint8_t, kHeaderBytes> encode_header(const Header& header) {
  std::array<uint8_t, kHeaderBytes> out{};
  store(out.data(), 0, header.id);
  store(out.data(), 2, header.command);
  store(out.data(), 4, header.size);
  store(out.data(), 8, header.flags);
  store(out.data(), 12, header.error_no);
  return out;
}

void append_message(Bytes& out, Header header, ByteView payload, ByteView data) {
  header.size = static_cast<uint32_t>(kHeaderBytes + payload.size() + data.size());
  append(out, encode_header(header));
  append(out, payload);
  append(out, data);
}

void append_error_reply(Bytes& out, uint16_t id, uint16_t command, uint32_t error_no) {
  append_message(out, Header{id, command, 0, kTypeReply | kFlagError, error_no});
}

Result<Version> decode_version(ByteView payload) {
  if (payload.size() < kVersionBytes) return wrong_size("VERSION", payload.size(), "at least 4");
  Version v{load<uint16_t>(payload, 0), load<uint16_t>(payload, 2), std::nullopt};
  ByteView data = payload.subspan(kVersionBytes);
  if (data.empty()) return v;
  if (data.back() != 0) return Error{ErrorCode::kProtocol, "VERSION: version data does not end with NUL"};
  std::string json(data.begin(), data.end() - 1);
  if (json.find('\0') != std::string::npos) return Error{ErrorCode::kProtocol, "VERSION: NUL inside the version data"};
  v.json = std::move(json);
  return v;
}

Bytes encode_version(const Version& version) {
  Bytes out(kVersionBytes);
  store(out.data(), 0, version.major);
  store(out.data(), 2, version.minor);
  if (version.json) {
    out.insert(out.end(), version.json->begin(), version.json->end());
    out.push_back(0);
  }
  return out;
}

Result<DmaMap> decode_dma_map(ByteView p) {
  if (p.size() != kDmaMapBytes) return wrong_size("DMA_MAP", p.size(), kDmaMapBytes);
  return DmaMap{load<uint32_t>(p, 0), load<uint32_t>(p, 4), load<uint64_t>(p, 8), load<uint64_t>(p, 16),
                load<uint64_t>(p, 24)};
}

std::array<uint8_t, kDmaMapBytes> encode(const DmaMap& map) {
  std::array<uint8_t, kDmaMapBytes> out{};
  store(out.data(), 0, map.argsz);
  store(out.data(), 4, map.flags);
  store(out.data(), 8, map.offset);
  store(out.data(), 16, map.address);
  store(out.data(), 24, map.size);
  return out;
}

Result<DmaUnmap> decode_dma_unmap(ByteView p) {
  if (p.size() != kDmaUnmapBytes) return wrong_size("DMA_UNMAP", p.size(), kDmaUnmapBytes);
  return DmaUnmap{load<uint32_t>(p, 0), load<uint32_t>(p, 4), load<uint64_t>(p, 8), load<uint64_t>(p, 16)};
}

std::array<uint8_t, kDmaUnmapBytes> encode(const DmaUnmap& unmap) {
  std::array<uint8_t, kDmaUnmapBytes> out{};
  store(out.data(), 0, unmap.argsz);
  store(out.data(), 4, unmap.flags);
  store(out.data(), 8, unmap.address);
  store(out.data(), 16, unmap.size);
  return out;
}

Result<DeviceInfo> decode_device_info(ByteView p) {
  if (p.size() != kDeviceInfoBytes) return wrong_size("DEVICE_GET_INFO", p.size(), kDeviceInfoBytes);
  return DeviceInfo{load<uint32_t>(p, 0), load<uint32_t>(p, 4), load<uint32_t>(p, 8), load<uint32_t>(p, 12)};
}

std::array<uint8_t, kDeviceInfoBytes> encode(const DeviceInfo& info) {
  std::array<uint8_t, kDeviceInfoBytes> out{};
  store(out.data(), 0, info.argsz);
  store(out.data(), 4, info.flags);
  store(out.data(), 8, info.num_regions);
  store(out.data(), 12, info.num_irqs);
  return out;
}

Result<RegionInfo> decode_region_info(ByteView p) {
  if (p.size() != kRegionInfoBytes) return wrong_size("DEVICE_GET_REGION_INFO", p.size(), kRegionInfoBytes);
  return RegionInfo{load<uint32_t>(p, 0),  load<uint32_t>(p, 4),  load<uint32_t>(p, 8),
                    load<uint32_t>(p, 12), load<uint64_t>(p, 16), load<uint64_t>(p, 24)};
}

Result<RegionInfo> decode_region_info_reply(ByteView p) {
  if (p.size() < kRegionInfoBytes) return wrong_size("DEVICE_GET_REGION_INFO reply", p.size(), "at least 32");
  auto info = decode_region_info(p.first(kRegionInfoBytes));
  if (info && p.size() > kRegionInfoBytes && !(info->flags & kRegionFlagCaps)) {
    return wrong_size("DEVICE_GET_REGION_INFO reply without capabilities", p.size(), kRegionInfoBytes);
  }
  return info;
}

std::array<uint8_t, kRegionInfoBytes> encode(const RegionInfo& info) {
  std::array<uint8_t, kRegionInfoBytes> out{};
  store(out.data(), 0, info.argsz);
  store(out.data(), 4, info.flags);
  store(out.data(), 8, info.index);
  store(out.data(), 12, info.cap_offset);
  store(out.data(), 16, info.size);
  store(out.data(), 24, info.offset);
  return out;
}

Result<RegionIoFds> decode_region_io_fds(ByteView p) {
  if (p.size() != kRegionIoFdsBytes) return wrong_size("DEVICE_GET_REGION_IO_FDS", p.size(), kRegionIoFdsBytes);
  return RegionIoFds{load<uint32_t>(p, 0), load<uint32_t>(p, 4), load<uint32_t>(p, 8), load<uint32_t>(p, 12)};
}

std::array<uint8_t, kRegionIoFdsBytes> encode(const RegionIoFds& fds) {
  std::array<uint8_t, kRegionIoFdsBytes> out{};
  store(out.data(), 0, fds.argsz);
  store(out.data(), 4, fds.flags);
  store(out.data(), 8, fds.index);
  store(out.data(), 12, fds.count);
  return out;
}

Result<IrqInfo> decode_irq_info(ByteView p) {
  if (p.size() != kIrqInfoBytes) return wrong_size("DEVICE_GET_IRQ_INFO", p.size(), kIrqInfoBytes);
  return IrqInfo{load<uint32_t>(p, 0), load<uint32_t>(p, 4), load<uint32_t>(p, 8), load<uint32_t>(p, 12)};
}

std::array<uint8_t, kIrqInfoBytes> encode(const IrqInfo& info) {
  std::array<uint8_t, kIrqInfoBytes> out{};
  store(out.data(), 0, info.argsz);
  store(out.data(), 4, info.flags);
  store(out.data(), 8, info.index);
  store(out.data(), 12, info.count);
  return out;
}

Result<IrqSet> decode_irq_set(ByteView p) {
  if (p.size() < kIrqSetBytes) return wrong_size("DEVICE_SET_IRQS", p.size(), "at least 20");
  IrqSet set{load<uint32_t>(p, 0),  load<uint32_t>(p, 4),  load<uint32_t>(p, 8),
             load<uint32_t>(p, 12), load<uint32_t>(p, 16), {}};
  ByteView data = p.subspan(kIrqSetBytes);
  if (set.argsz != p.size()) {
    return Error{ErrorCode::kProtocol, "DEVICE_SET_IRQS: argsz is " + std::to_string(set.argsz) + ", the payload has " +
                                           std::to_string(p.size()) + " bytes"};
  }
  if ((set.flags & ~(kIrqDataFlags | kIrqActionFlags)) != 0 || std::popcount(set.flags & kIrqDataFlags) != 1 ||
      std::popcount(set.flags & kIrqActionFlags) != 1) {
    return Error{ErrorCode::kProtocol,
                 "DEVICE_SET_IRQS: flags " + std::to_string(set.flags) + " are not one kind of data with one action"};
  }
  uint64_t wanted = (set.flags & kIrqDataBool) ? set.count : 0;
  if (data.size() != wanted) {
    return wrong_size("DEVICE_SET_IRQS", p.size(), std::to_string(kIrqSetBytes + wanted));
  }
  set.data.assign(data.begin(), data.end());
  return set;
}

Bytes encode_irq_set(const IrqSet& set) {
  Bytes out(kIrqSetBytes);
  store(out.data(), 0, static_cast<uint32_t>(kIrqSetBytes + set.data.size()));
  store(out.data(), 4, set.flags);
  store(out.data(), 8, set.index);
  store(out.data(), 12, set.start);
  store(out.data(), 16, set.count);
  append(out, set.data);
  return out;
}

std::array<uint8_t, kRegionAccessBytes> encode(const RegionAccess& access) {
  std::array<uint8_t, kRegionAccessBytes> out{};
  store(out.data(), 0, access.offset);
  store(out.data(), 8, access.region);
  store(out.data(), 12, access.count);
  return out;
}

Result<RegionAccess> decode_region_read(ByteView payload) { return decode_access(payload, "REGION_READ"); }

Result<RegionData> decode_region_read_reply(ByteView payload) {
  return decode_access_with_data(payload, "REGION_READ reply");
}

Result<RegionData> decode_region_write(ByteView payload) { return decode_access_with_data(payload, "REGION_WRITE"); }

Result<RegionAccess> decode_region_write_reply(ByteView payload) {
  return decode_access(payload, "REGION_WRITE reply");
}

Result<std::vector<MultiWrite>> decode_write_multi(ByteView p) {
  if (p.size() < 8) return wrong_size("REGION_WRITE_MULTI", p.size(), "at least 8");
  uint64_t count = load<uint64_t>(p, 0);
  ByteView rest = p.subspan(8);
  if (rest.size() % kMultiWriteBytes != 0 || rest.size() / kMultiWriteBytes != count) {
    return Error{ErrorCode::kProtocol, "REGION_WRITE_MULTI: wr_cnt is " + std::to_string(count) + ", " +
                                           std::to_string(rest.size()) + " bytes of writes came, 24 each"};
  }
  std::vector<MultiWrite> writes(rest.size() / kMultiWriteBytes);
  for (size_t i = 0; i < writes.size(); ++i) {
    ByteView w = rest.subspan(i * kMultiWriteBytes, kMultiWriteBytes);
    writes[i].offset = load<uint64_t>(w, 0);
    writes[i].region = load<uint32_t>(w, 8);
    writes[i].count = load<uint32_t>(w, 12);
    std::memcpy(writes[i].data.data(), w.data() + 16, 8);
    if (writes[i].count > 8) {
      return Error{ErrorCode::kProtocol, "REGION_WRITE_MULTI: write " + std::to_string(i) + " has a count of " +
                                             std::to_string(writes[i].count) + ", at most 8 allowed"};
    }
  }
  return writes;
}

Bytes encode_write_multi(const std::vector<MultiWrite>& writes) {
  Bytes out(8 + writes.size() * kMultiWriteBytes);
  store(out.data(), 0, static_cast<uint64_t>(writes.size()));
  for (size_t i = 0; i < writes.size(); ++i) {
    uint8_t* to = out.data() + 8 + i * kMultiWriteBytes;
    store(to, 0, writes[i].offset);
    store(to, 8, writes[i].region);
    store(to, 12, writes[i].count);
    std::memcpy(to + 16, writes[i].data.data(), 8);
  }
  return out;
}

Result<uint64_t> decode_write_multi_reply(ByteView payload) {
  if (payload.size() != 8) return wrong_size("REGION_WRITE_MULTI reply", payload.size(), 8);
  return load<uint64_t>(payload, 0);
}

std::array<uint8_t, 8> encode_write_multi_reply(uint64_t completed) {
  std::array<uint8_t, 8> out{};
  store(out.data(), 0, completed);
  return out;
}

Status decode_nothing(ByteView payload, Command command) {
  if (!payload.empty()) return wrong_size(to_string(command), payload.size(), 0);
  return {};
}

// ---- MessageBuffer -------------------------------------------------------------------------------------------

uint8_t* MessageBuffer::space(size_t bytes) {
  if (begin_ != 0) {
    std::memmove(bytes_.data(), bytes_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (bytes_.size() < end_ + bytes) bytes_.resize(end_ + bytes);
  return bytes_.data() + end_;
}

void MessageBuffer::commit(size_t bytes) { end_ += bytes; }

std::optional<Header> MessageBuffer::front() const {
  if (buffered() < kHeaderBytes) return std::nullopt;
  return *decode_header(ByteView(bytes_).subspan(begin_, kHeaderBytes));
}

Result<std::optional<Message>> MessageBuffer::next() {
  auto header = front();
  if (!header) return std::optional<Message>();
  if (header->size < kHeaderBytes) {
    return Error{ErrorCode::kProtocol, "message size " + std::to_string(header->size) + " is below the header's 16"};
  }
  if (header->size > message_bytes_max_) {
    return Error{ErrorCode::kLimit, "message size " + std::to_string(header->size) + " is above the maximum of " +
                                        std::to_string(message_bytes_max_)};
  }
  if (buffered() < header->size) return std::optional<Message>();
  Message m{*header, ByteView(bytes_).subspan(begin_ + kHeaderBytes, header->size - kHeaderBytes), consumed_};
  begin_ += header->size;
  consumed_ += header->size;
  return std::optional<Message>(m);
}

uint64_t MessageBuffer::descriptor_owner() const {
  size_t at = begin_;
  std::optional<size_t> able;  // the last that may carry descriptors
  for (;;) {
    if (end_ - at < kHeaderBytes) return consumed_ + (at - begin_);  // its command is not known yet
    Header h = *decode_header(ByteView(bytes_).subspan(at, kHeaderBytes));
    if (h.command == static_cast<uint16_t>(Command::kDmaMap) ||
        h.command == static_cast<uint16_t>(Command::kDeviceSetIrqs)) {
      able = at;
    }
    if (h.size < kHeaderBytes || h.size >= end_ - at) break;
    at += h.size;
  }
  return consumed_ + (able.value_or(at) - begin_);
}

}  // namespace bmcpair::vfio_user
