// The bus to a vfio-user PCI IPMI device (bmc_emu, vfio_bridge, or anybody's server), as a register port.
//
//   vfio-user:SOCKET[?spacing=1|4|16]
//
// Comes up as a host does: VERSION, device, region and interrupt information, configuration space (the class tells KCS,
// BT or SMIC), an eventfd for INTx, then the Command register to enable the BAR. A read is one round trip; writes are
// posted (No_reply) and go out at once; a burst is one send with all its messages in flight.
//
// INTx is a level to the handler: true when the device signals, false when it is unmasked, which is done with the first
// access after the interrupt, as QEMU does it; a line that is still high then signals again.
//
// A lost server takes the link down: reads give 0xFF at once, writes are forgotten, and a thread of the port's own
// connects again with bounded back-off (10 ms doubling to 1 s).
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "host_driver/bus/bus.h"
#include "proto/base/result.h"
#include "proto/registers/register_port.h"

namespace bmcpair::bus {

struct VfioUserOptions {
  // Bytes between registers. 0: from BAR0's size for I/O (8, 16, 64 bytes: 1, 4, 16), 1 for memory.
  unsigned spacing = 0;
  std::chrono::milliseconds reply_wait{5'000};  // after which the server counts as lost
  std::chrono::milliseconds backoff_first{10};
  std::chrono::milliseconds backoff_most{1'000};
};

// Errors: kInvalidArgument, kNotFound (no such socket), kUnavailable (nobody serves it), kBusy (another client or
// host), kProtocol (not a vfio-user IPMI device), kTimeout, kPermission.
Result<std::unique_ptr<registers::RegisterPort>> connect_vfio_user(const std::string& socket,
                                                                   const VfioUserOptions& options = {});

// For the table of schemes.
Result<std::unique_ptr<registers::RegisterPort>> open_vfio_user(const BusSpec& spec, const OpenOptions& options);

}  // namespace bmcpair::bus
