#include "vfio_bridge/session.h"

#include <fcntl.h>

#include <cerrno>
#include <cstring>
#include <string>

namespace bmcpair::vfio_bridge {

using vfio_user::Command;
using vfio_user::DmaMap;
using vfio_user::DmaUnmap;
using vfio_user::IrqSet;
using vfio_user::RegionAccess;

namespace {

constexpr size_t kRunMax = 256;

// An eventfd is the only thing a client may hand over to be signalled. Where /proc is not there to ask, anything is
// taken.
bool is_eventfd(int fd) {
  char target[64];
  std::string path = "/proc/self/fd/" + std::to_string(fd);
  ssize_t n = ::readlink(path.c_str(), target, sizeof target);
  if (n < 0) return true;
  return std::string_view(target, static_cast<size_t>(n)) == "anon_inode:[eventfd]";
}

// Interrupts are signalled from contexts that must not block, and a client may leave its counter full.
bool make_nonblocking(int fd) {
  int flags = ::fcntl(fd, F_GETFL);
  return flags >= 0 && ((flags & O_NONBLOCK) != 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0);
}

}  // namespace

Session::Session(PciDevice& device, registers::RegisterPort& port, Intx& intx, Counters& counters,
                 const Agreement& agreement, Log log)
    : device_(device),
      port_(port),
      intx_(intx),
      counters_(counters),
      agreement_(agreement),
      log_(std::move(log)),
      dma_(agreement.dma_maps_max) {}

void Session::reply(const Header& header, ByteView payload, Bytes& out, ByteView data) {
  if (header.no_reply()) return;
  vfio_user::append_message(out, Header{header.id, header.command, 0, vfio_user::kTypeReply, 0}, payload, data);
}

void Session::reply_error(const Header& header, int error_no, std::string_view why, Bytes& out) {
  ++counters_.error_replies;
  if (log_) {
    log_(std::string(to_string(static_cast<Command>(header.command))) + " (command " + std::to_string(header.command) +
         ", id " + std::to_string(header.id) + ") refused with " + std::strerror(error_no) + ": " + std::string(why));
  }
  if (header.no_reply()) return;
  vfio_user::append_error_reply(out, header.id, header.command, static_cast<uint32_t>(error_no));
}

void Session::handle(const vfio_user::Message& message, Descriptors descriptors, Bytes& out) {
  const Header& header = message.header;
  ByteView payload = message.payload;
  ++counters_.messages;
  if (header.is_reply()) {
    // Nothing was asked of the client, and a reply is never answered.
    ++counters_.stray_replies;
    return;
  }
  auto command = static_cast<Command>(header.command);
  if (command != Command::kRegionRead && command != Command::kRegionWrite) flush(out);
  if (header.type() != vfio_user::kTypeCommand || (header.flags & ~vfio_user::kFlagsKnown) != 0 || header.is_error()) {
    flush(out);
    return reply_error(header, EINVAL, "flags " + std::to_string(header.flags) + " are none of a command", out);
  }
  if (!descriptors.empty() && command != Command::kDmaMap && command != Command::kDeviceSetIrqs) {
    flush(out);
    return reply_error(header, EINVAL, std::to_string(descriptors.size()) + " descriptors came, none are expected",
                       out);
  }
  switch (command) {
    case Command::kVersion: return reply_error(header, EINVAL, "the version was agreed upon before", out);
    case Command::kDmaMap: return dma_map(header, payload, descriptors, out);
    case Command::kDmaUnmap: return dma_unmap(header, payload, out);
    case Command::kDeviceGetInfo: return get_info(header, payload, out);
    case Command::kDeviceGetRegionInfo: return get_region_info(header, payload, out);
    case Command::kDeviceGetRegionIoFds: return get_region_io_fds(header, payload, out);
    case Command::kDeviceGetIrqInfo: return get_irq_info(header, payload, out);
    case Command::kDeviceSetIrqs: return set_irqs(header, payload, descriptors, out);
    case Command::kRegionRead: return region_read(header, payload, out);
    case Command::kRegionWrite: return region_write(header, payload, out);
    case Command::kDmaRead:
    case Command::kDmaWrite: return reply_error(header, EINVAL, "this command goes from server to client", out);
    case Command::kDeviceReset: return reset(header, payload, out);
    case Command::kRegionWriteMulti: return write_multi(header, payload, out);
    case Command::kDeviceFeature:
    case Command::kMigDataRead:
    case Command::kMigDataWrite: return reply_error(header, ENOTSUP, "the device has no features of this kind", out);
  }
  reply_error(header, ENOTSUP, "unknown command", out);
}

void Session::dma_map(const Header& header, ByteView payload, const Descriptors& descriptors, Bytes& out) {
  auto map = vfio_user::decode_dma_map(payload);
  if (!map) return reply_error(header, EINVAL, map.error().message, out);
  if (map->argsz != vfio_user::kDmaMapBytes) return reply_error(header, EINVAL, "argsz is not 32", out);
  constexpr uint32_t kKnown = vfio_user::kDmaReadable | vfio_user::kDmaWriteable;
  if (map->flags == 0 || (map->flags & ~kKnown) != 0) {
    return reply_error(header, EINVAL, "flags are neither readable nor writeable, or something else besides", out);
  }
  if (descriptors.size() > 1) return reply_error(header, EINVAL, "more than one descriptor for one window", out);
  if (int error = dma_.map(map->address, map->size))
    return reply_error(header, error, "the window cannot be mapped", out);
  reply(header, {}, out);  // the descriptor is closed: this device does no DMA
}

void Session::dma_unmap(const Header& header, ByteView payload, Bytes& out) {
  auto unmap = vfio_user::decode_dma_unmap(payload);
  if (!unmap) return reply_error(header, EINVAL, unmap.error().message, out);
  if (unmap->argsz < vfio_user::kDmaUnmapBytes) return reply_error(header, EINVAL, "argsz is below 24", out);
  if (unmap->flags == vfio_user::kDmaUnmapAll) {
    if (unmap->address != 0 || unmap->size != 0) {
      return reply_error(header, EINVAL, "unmapping everything wants address and size 0", out);
    }
    dma_.clear();
  } else if (unmap->flags != 0) {
    return reply_error(header, EINVAL, "flags are not 0", out);
  } else if (int error = dma_.unmap(unmap->address, unmap->size)) {
    return reply_error(header, error, "no window was mapped with this address and size", out);
  }
  reply(header, payload, out);  // "the original DMA entry in the request"
}

void Session::get_info(const Header& header, ByteView payload, Bytes& out) {
  auto info = vfio_user::decode_device_info(payload);
  if (!info) return reply_error(header, EINVAL, info.error().message, out);
  if (info->argsz < vfio_user::kDeviceInfoBytes) return reply_error(header, EINVAL, "argsz is below 16", out);
  if (info->flags != 0 || info->num_regions != 0 || info->num_irqs != 0) {
    return reply_error(header, EINVAL, "a field besides argsz is not 0", out);
  }
  reply(
      header,
      encode(vfio_user::DeviceInfo{vfio_user::kDeviceInfoBytes, vfio_user::kDeviceFlagReset | vfio_user::kDeviceFlagPci,
                                   vfio_user::kRegionCount, vfio_user::kIrqCount}),
      out);
}

uint64_t Session::region_size(uint32_t region) const {
  if (region == vfio_user::kRegionBar0) return device_.bar0_size();
  if (region == vfio_user::kRegionConfig) return kConfigBytes;
  return 0;
}

void Session::get_region_info(const Header& header, ByteView payload, Bytes& out) {
  auto info = vfio_user::decode_region_info(payload);
  if (!info) return reply_error(header, EINVAL, info.error().message, out);
  if (info->argsz < vfio_user::kRegionInfoBytes) return reply_error(header, EINVAL, "argsz is below 32", out);
  if (info->flags != 0 || info->cap_offset != 0 || info->size != 0 || info->offset != 0) {
    return reply_error(header, EINVAL, "a field besides argsz and index is not 0", out);
  }
  if (info->index >= vfio_user::kRegionCount) return reply_error(header, EINVAL, "there is no such region", out);
  uint64_t size = region_size(info->index);
  uint32_t flags = size ? vfio_user::kRegionFlagRead | vfio_user::kRegionFlagWrite : 0;
  reply(header, encode(vfio_user::RegionInfo{vfio_user::kRegionInfoBytes, flags, info->index, 0, size, 0}), out);
}

void Session::get_region_io_fds(const Header& header, ByteView payload, Bytes& out) {
  auto fds = vfio_user::decode_region_io_fds(payload);
  if (!fds) return reply_error(header, EINVAL, fds.error().message, out);
  if (fds->argsz < vfio_user::kRegionIoFdsBytes) return reply_error(header, EINVAL, "argsz is below 16", out);
  if (fds->flags != 0 || fds->count != 0)
    return reply_error(header, EINVAL, "a field besides argsz and index is not 0", out);
  if (fds->index >= vfio_user::kRegionCount) return reply_error(header, EINVAL, "there is no such region", out);
  reply_error(header, ENOTSUP, "registers have side effects: no region is offered through descriptors", out);
}

uint32_t Session::irq_count(uint32_t index) const {
  if (index == vfio_user::kIrqIntx) return device_.options().intx ? 1 : 0;
  // One ERR interrupt, which never comes: QEMU warns about a device without.
  return index == vfio_user::kIrqErr ? 1 : 0;
}

void Session::get_irq_info(const Header& header, ByteView payload, Bytes& out) {
  auto info = vfio_user::decode_irq_info(payload);
  if (!info) return reply_error(header, EINVAL, info.error().message, out);
  if (info->argsz < vfio_user::kIrqInfoBytes) return reply_error(header, EINVAL, "argsz is below 16", out);
  if (info->flags != 0 || info->count != 0)
    return reply_error(header, EINVAL, "a field besides argsz and index is not 0", out);
  if (info->index >= vfio_user::kIrqCount) return reply_error(header, EINVAL, "there is no such interrupt type", out);
  uint32_t count = irq_count(info->index);
  uint32_t flags = 0;
  if (count != 0) {
    flags = info->index == vfio_user::kIrqIntx
                ? vfio_user::kIrqInfoEventfd | vfio_user::kIrqInfoMaskable | vfio_user::kIrqInfoAutomasked
                : vfio_user::kIrqInfoEventfd | vfio_user::kIrqInfoNoresize;
  }
  reply(header, encode(vfio_user::IrqInfo{vfio_user::kIrqInfoBytes, flags, info->index, count}), out);
}

void Session::set_irqs(const Header& header, ByteView payload, Descriptors& descriptors, Bytes& out) {
  auto decoded = vfio_user::decode_irq_set(payload);
  if (!decoded) return reply_error(header, EINVAL, decoded.error().message, out);
  const IrqSet& set = *decoded;
  if (set.index >= vfio_user::kIrqCount) return reply_error(header, EINVAL, "there is no such interrupt type", out);
  const bool eventfd = (set.flags & vfio_user::kIrqDataEventfd) != 0;
  if (!eventfd && !descriptors.empty()) {
    return reply_error(header, EINVAL, "descriptors came with a request that takes none", out);
  }
  const bool is_intx = set.index == vfio_user::kIrqIntx;
  if (set.count == 0) {
    // "a count (and start) of 0, with data flags of VFIO_IRQ_SET_DATA_NONE disables all interrupts of the index"
    if (set.start != 0 || set.flags != (vfio_user::kIrqDataNone | vfio_user::kIrqActionTrigger)) {
      return reply_error(header, EINVAL, "a count of 0 is for start 0, DATA_NONE and ACTION_TRIGGER alone", out);
    }
    if (is_intx) {
      intx_.disable();
    } else if (set.index == vfio_user::kIrqErr) {
      error_eventfd_.reset();
    }
    return reply(header, {}, out);
  }
  uint64_t end = uint64_t{set.start} + set.count;
  if (end > irq_count(set.index)) {
    return reply_error(header, EINVAL,
                       "interrupts " + std::to_string(set.start) + " to " + std::to_string(end - 1) +
                           " are not there, the type has " + std::to_string(irq_count(set.index)),
                       out);
  }
  // From here on it is the one interrupt of INTx or ERR.
  if (eventfd) {
    if (!descriptors.empty() && descriptors.size() != set.count) {
      return reply_error(
          header, EINVAL,
          std::to_string(descriptors.size()) + " descriptors came for " + std::to_string(set.count) + " interrupts",
          out);
    }
    UniqueFd fd;  // none: de-assigns
    if (!descriptors.empty()) {
      fd = std::move(descriptors.front());
      if (!is_eventfd(fd.get())) return reply_error(header, EINVAL, "the descriptor is not an eventfd", out);
      if (!make_nonblocking(fd.get()))
        return reply_error(header, EINVAL, "the eventfd cannot be made non-blocking", out);
    }
    if (set.flags & vfio_user::kIrqActionTrigger) {
      if (is_intx) {
        intx_.assign(std::move(fd));
      } else {
        error_eventfd_ = std::move(fd);
      }
    } else if (is_intx && (set.flags & vfio_user::kIrqActionUnmask)) {
      intx_.assign_unmask(std::move(fd));
    } else {
      return reply_error(header, EINVAL, "an eventfd is not supported for this action", out);
    }
    return reply(header, {}, out);
  }
  bool wanted = (set.flags & vfio_user::kIrqDataNone) != 0 || set.data.front() != 0;
  if (!is_intx) {
    // ERR cannot be masked, and asking for it is asking for nothing.
    if (!(set.flags & vfio_user::kIrqActionTrigger)) {
      return reply_error(header, EINVAL, "this interrupt type cannot be masked", out);
    }
  } else if (wanted) {
    if (set.flags & vfio_user::kIrqActionTrigger) intx_.trigger();
    if (set.flags & vfio_user::kIrqActionMask) intx_.mask();
    if (set.flags & vfio_user::kIrqActionUnmask) intx_.unmask();
  }
  reply(header, {}, out);
}

const char* Session::access_fault(const RegionAccess& access) const {
  if (access.region >= vfio_user::kRegionCount) return "there is no such region";
  if (access.count > agreement_.data_bytes_max) return "count is above the agreed max_data_xfer_size";
  uint64_t size = region_size(access.region);
  if (access.offset > size || access.count > size - access.offset) return "the access goes past the end of its region";
  return nullptr;
}

void Session::region_read(const Header& header, ByteView payload, Bytes& out) {
  auto access = vfio_user::decode_region_read(payload);
  const char* fault = access ? access_fault(*access) : nullptr;
  if (!access || fault) {
    flush(out);
    return reply_error(header, EINVAL, fault ? fault : access.error().message, out);
  }
  if (gather(Run::Kind::kRead, header, *access, 0, out)) return;
  flush(out);
  scratch_.assign(access->count, 0);
  if (access->region == vfio_user::kRegionConfig) {
    device_.read_config(access->offset, scratch_, intx_.level());
  } else if (access->region == vfio_user::kRegionBar0) {
    read_bar0(access->offset, scratch_);
  }
  reply(header, encode(*access), out, scratch_);
}

void Session::region_write(const Header& header, ByteView payload, Bytes& out) {
  auto write = vfio_user::decode_region_write(payload);
  const char* fault = write ? access_fault(write->access) : nullptr;
  if (!write || fault) {
    flush(out);
    return reply_error(header, EINVAL, fault ? fault : write.error().message, out);
  }
  if (gather(Run::Kind::kWrite, header, write->access, write->data.empty() ? 0 : write->data[0], out)) return;
  flush(out);
  write_region(write->access, write->data);
  reply(header, encode(write->access), out);
}

void Session::write_multi(const Header& header, ByteView payload, Bytes& out) {
  if (!agreement_.write_multiple) return reply_error(header, ENOTSUP, "write_multiple was not agreed upon", out);
  auto writes = vfio_user::decode_write_multi(payload);
  if (!writes) return reply_error(header, EINVAL, writes.error().message, out);
  for (const auto& w : *writes) {
    if (const char* fault = access_fault(RegionAccess{w.offset, w.region, w.count})) {
      return reply_error(header, EINVAL, fault, out);  // and none is done
    }
  }
  Header silent = header;
  silent.flags |= vfio_user::kFlagNoReply;
  for (const auto& w : *writes) {
    RegionAccess access{w.offset, w.region, w.count};
    if (gather(Run::Kind::kWrite, silent, access, w.data[0], out)) continue;
    flush(out);
    write_region(access, ByteView(w.data).first(w.count));
  }
  flush(out);
  reply(header, vfio_user::encode_write_multi_reply(writes->size()), out);
}

void Session::write_region(const RegionAccess& access, ByteView data) {
  if (access.region == vfio_user::kRegionConfig) {
    device_.write_config(access.offset, data);
    intx_.set_disabled(device_.intx_disabled());
  } else if (access.region == vfio_user::kRegionBar0) {
    write_bar0(access.offset, data);
  }
}

void Session::reset(const Header& header, ByteView payload, Bytes& out) {
  if (auto s = vfio_user::decode_nothing(payload, Command::kDeviceReset); !s) {
    return reply_error(header, EINVAL, s.error().message, out);
  }
  // A reset of the function, not of the BMC behind it: the registers stay as they are, and so do eventfds and masks, as
  // they do for a VFIO device of the kernel's.
  device_.reset();
  intx_.set_disabled(device_.intx_disabled());
  reply(header, {}, out);
}

// A bus access of several bytes is as many register accesses, in ascending order.
void Session::read_bar0(uint64_t offset, std::span<uint8_t> out) {
  for (size_t i = 0; i < out.size(); ++i) {
    if (auto reg = device_.register_at(offset + i)) {
      ++counters_.register_reads;
      out[i] = port_.read(*reg);
    } else {
      out[i] = 0;
    }
  }
}

void Session::write_bar0(uint64_t offset, ByteView in) {
  for (size_t i = 0; i < in.size(); ++i) {
    if (auto reg = device_.register_at(offset + i)) {
      ++counters_.register_writes;
      port_.write(*reg, in[i]);
    }
  }
}

bool Session::gather(Run::Kind kind, const Header& header, const RegionAccess& access, uint8_t value, Bytes& out) {
  if (access.region != vfio_user::kRegionBar0 || access.count != 1) return false;
  auto reg = device_.register_at(access.offset);
  if (!reg) return false;
  if (run_.kind != kind || run_.register_offset != *reg || run_.headers.size() >= kRunMax) flush(out);
  run_.kind = kind;
  run_.register_offset = *reg;
  run_.bar_offset = access.offset;
  run_.headers.push_back(header);
  run_.values.push_back(value);
  return true;
}

void Session::flush(Bytes& out) {
  if (run_.kind == Run::Kind::kNone) return;
  const size_t n = run_.headers.size();
  if (run_.kind == Run::Kind::kRead) {
    counters_.register_reads += n;
    if (n == 1) {
      run_.values[0] = port_.read(run_.register_offset);
    } else {
      port_.read_burst(run_.register_offset, run_.values);
    }
  } else {
    counters_.register_writes += n;
    if (n == 1) {
      port_.write(run_.register_offset, run_.values[0]);
    } else {
      port_.write_burst(run_.register_offset, run_.values);
    }
  }
  const auto access = encode(RegionAccess{run_.bar_offset, vfio_user::kRegionBar0, 1});
  for (size_t i = 0; i < n; ++i) {
    if (run_.kind == Run::Kind::kRead) {
      reply(run_.headers[i], access, out, ByteView(run_.values).subspan(i, 1));
    } else {
      reply(run_.headers[i], access, out);
    }
  }
  run_.kind = Run::Kind::kNone;
  run_.headers.clear();
  run_.values.clear();
}

}  // namespace bmcpair::vfio_bridge
