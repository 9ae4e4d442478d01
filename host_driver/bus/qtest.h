// The bus to a QEMU machine's own ISA IPMI device through QEMU's qtest protocol, as a register port.
//
//   qtest:SOCKET@0xe4[?kind=bt&irq=5]
//
// QEMU runs with -accel tcg -S -qtest unix:SOCKET,server=on,wait=off -qtest-log /dev/null: the guest's CPU never
// starts, this end does its port I/O. Text, one line a command ("inb 0xe4", "outb 0xe4 0x01"), one line a reply ("OK
// 0x00c0"), replies in order; lines "IRQ raise 5", "IRQ lower 5" come in between once the interrupt controller's inputs
// are intercepted.
//
// A machine has one qtest socket and takes one client on it: all ports of one socket in this process share the
// connection and its thread. A read is one round trip; writes are posted; a burst is one send with all its lines in
// flight. A lost machine takes the link of all its ports down: reads give 0xFF, and it is connected to again with
// bounded back-off.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "host_driver/bus/bus.h"
#include "proto/base/result.h"
#include "proto/registers/register_port.h"

namespace bmcpair::bus {

struct QtestOptions {
  uint16_t base = 0xe4;
  // Left out: from the base QEMU gives each (0xca2 KCS, 0xe4 BT), else it must be said.
  std::optional<registers::InterfaceKind> kind;
  // The ISA interrupt that the device was given (irq=, 5 unless said); 0: none. Devices must not share one.
  unsigned irq = 5;
  // Of the first to open the socket:
  std::chrono::milliseconds reply_wait{5'000};
  std::chrono::milliseconds backoff_first{10};
  std::chrono::milliseconds backoff_most{1'000};
};

// Errors: kInvalidArgument, kNotFound (no such socket), kUnavailable (QEMU is gone), kTimeout (somebody else is its
// client, or it hangs), kProtocol (not qtest, or a machine without I/O APIC).
Result<std::unique_ptr<registers::RegisterPort>> connect_qtest(const std::string& socket, const QtestOptions& options);

// For the table of schemes.
Result<std::unique_ptr<registers::RegisterPort>> open_qtest(const BusSpec& spec, const OpenOptions& options);

}  // namespace bmcpair::bus
