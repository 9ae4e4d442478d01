#include "vfio_bridge/pci_device.h"

#include <string>

namespace bmcpair::vfio_bridge {
namespace {

// Type 0 configuration header (PCI Local Bus 3.0, ch. 6).
constexpr size_t kVendorId = 0x00;
constexpr size_t kDeviceId = 0x02;
constexpr size_t kCommand = 0x04;
constexpr size_t kStatus = 0x06;
constexpr size_t kRevision = 0x08;
constexpr size_t kClass = 0x09;  // programming interface, subclass, base class
constexpr size_t kCacheLine = 0x0c;
constexpr size_t kLatencyTimer = 0x0d;
constexpr size_t kBar0 = 0x10;
constexpr size_t kSubsystemVendorId = 0x2c;
constexpr size_t kSubsystemId = 0x2e;
constexpr size_t kInterruptLine = 0x3c;
constexpr size_t kInterruptPin = 0x3d;

// I/O, memory, bus master, parity response, SERR, INTx disable.
constexpr uint16_t kCommandWritable = 0x0547;
constexpr uint16_t kCommandIntxDisable = 0x0400;
constexpr uint8_t kStatusInterrupt = 0x08;
constexpr uint8_t kBarIo = 0x01;
constexpr uint32_t kMemoryBarBytes = 4096;

void put16(std::array<uint8_t, kConfigBytes>& to, size_t at, uint16_t value) {
  to[at] = static_cast<uint8_t>(value);
  to[at + 1] = static_cast<uint8_t>(value >> 8);
}

void put32(std::array<uint8_t, kConfigBytes>& to, size_t at, uint32_t value) {
  put16(to, at, static_cast<uint16_t>(value));
  put16(to, at + 2, static_cast<uint16_t>(value >> 16));
}

uint8_t programming_interface(registers::InterfaceKind kind) {
  switch (kind) {
    case registers::InterfaceKind::kSmic: return 0x00;
    case registers::InterfaceKind::kKcs: return 0x01;
    case registers::InterfaceKind::kBt: return 0x02;
  }
  return 0x01;
}

}  // namespace

Status check(const PciOptions& options) {
  if (options.spacing != 1 && options.spacing != 4 && options.spacing != 16) {
    return Error{ErrorCode::kInvalidArgument,
                 "register spacing " + std::to_string(options.spacing) + " is not one of 1, 4, 16"};
  }
  if (options.vendor_id == 0xffff || options.vendor_id == 0) {
    return Error{
        ErrorCode::kInvalidArgument,
        "PCI vendor id 0x" +
            to_hex(Bytes{static_cast<uint8_t>(options.vendor_id >> 8), static_cast<uint8_t>(options.vendor_id)}, "") +
            " means that there is no device"};
  }
  return {};
}

PciDevice::PciDevice(const PciOptions& options) : options_(options) {
  put16(writable_, kCommand, kCommandWritable);
  writable_[kCacheLine] = 0xff;
  writable_[kLatencyTimer] = 0xff;
  writable_[kInterruptLine] = 0xff;
  put32(writable_, kBar0, ~(bar0_size() - 1));
  reset();
}

uint32_t PciDevice::bar0_size() const {
  if (options_.bar == BarKind::kMemory) return kMemoryBarBytes;
  return options_.spacing == 16 ? 64 : options_.spacing == 4 ? 16 : 8;
}

std::optional<uint16_t> PciDevice::register_at(uint64_t offset) const {
  if (offset % options_.spacing != 0) return std::nullopt;
  uint64_t index = offset / options_.spacing;
  if (index >= registers::register_count(options_.kind)) return std::nullopt;
  return static_cast<uint16_t>(index);
}

void PciDevice::read_config(size_t offset, std::span<uint8_t> out, bool line) const {
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = config_[offset + i];
    if (offset + i == kStatus && line) out[i] |= kStatusInterrupt;
  }
}

void PciDevice::write_config(size_t offset, ByteView in) {
  for (size_t i = 0; i < in.size(); ++i) {
    uint8_t mask = writable_[offset + i];
    uint8_t& byte = config_[offset + i];
    byte = static_cast<uint8_t>((byte & ~mask) | (in[i] & mask));
  }
}

bool PciDevice::intx_disabled() const { return (config_[kCommand + 1] & (kCommandIntxDisable >> 8)) != 0; }

void PciDevice::reset() {
  config_.fill(0);
  put16(config_, kVendorId, options_.vendor_id);
  put16(config_, kDeviceId, options_.device_id);
  config_[kRevision] = options_.revision;
  config_[kClass] = programming_interface(options_.kind);
  config_[kClass + 1] = 0x07;
  config_[kClass + 2] = 0x0c;
  config_[kBar0] = options_.bar == BarKind::kIo ? kBarIo : 0;
  put16(config_, kSubsystemVendorId, options_.subsystem_vendor_id);
  put16(config_, kSubsystemId, options_.subsystem_id);
  config_[kInterruptPin] = options_.intx ? 1 : 0;
}

}  // namespace bmcpair::vfio_bridge
