// The PCI function that a guest sees: configuration space and BAR0. Knows registers and PCI, not IPMI, sockets or time.
//
// Class 0x0C07 (IPMI): programming interface 00 SMIC, 01 KCS, 02 BT (PCI Code and ID Assignment; IPMI 2.0 rev 1.1
// §C1-3).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "proto/base/hex.h"
#include "proto/base/result.h"
#include "proto/registers/register_port.h"

namespace bmcpair::vfio_bridge {

enum class BarKind : uint8_t { kIo, kMemory };

struct PciOptions {
  registers::InterfaceKind kind = registers::InterfaceKind::kKcs;
  BarKind bar = BarKind::kIo;
  // Bytes from one register to the next: 1, 4 or 16. Linux finds it out on I/O BARs only; on memory BARs it takes 1.
  unsigned spacing = 1;
  bool intx = true;  // false: interrupt pin 0, so that the guest polls
  // QEMU's own pci-ipmi devices use these, so guests are known to bind to them by class.
  uint16_t vendor_id = 0x1234;
  uint16_t device_id = 0x1112;
  uint16_t subsystem_vendor_id = 0x1af4;
  uint16_t subsystem_id = 0x1100;
  uint8_t revision = 0;
};

constexpr size_t kConfigBytes = 256;

// kInvalidArgument, naming the option.
Status check(const PciOptions& options);

class PciDevice {
 public:
  explicit PciDevice(const PciOptions& options);

  const PciOptions& options() const { return options_; }

  // I/O: 8, 16 or 64 bytes for spacing 1, 4, 16. Memory: 4096.
  uint32_t bar0_size() const;
  // Which register a byte of BAR0 is; nullopt between registers and behind the last, where reads give 0 and writes do
  // nothing (Linux tells the spacing from that).
  std::optional<uint16_t> register_at(uint64_t offset) const;

  // offset + size must lie within kConfigBytes. line: whether the function asserts its interrupt (Status bit 3).
  void read_config(size_t offset, std::span<uint8_t> out, bool line) const;
  // Bytes that are read-only keep their value, BARs keep their size's zero bits.
  void write_config(size_t offset, ByteView in);
  // Command bit 10: the function must not assert INTx.
  bool intx_disabled() const;
  void reset();

 private:
  PciOptions options_;
  std::array<uint8_t, kConfigBytes> config_{};
  std::array<uint8_t, kConfigBytes> writable_{};
};

}  // namespace bmcpair::vfio_bridge
