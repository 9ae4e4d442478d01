// The bus over gRPC: bmcpair.v1.RegisterBus of a bmc_emu, as a register port.
//
//   grpc:unix:/run/bmcpair/bmc_emu.sock#bmc/interface     grpc:/run/...sock#bmc     grpc:localhost:5123#bmc/bt
//
// Writes are posted: they are joined to the next message, which the next read sends, or the flusher some 50 us later.
// Reads, bursts and counted reads are one round trip, and carry the writes before them: write, write, read is one
// message. All ports of one target share one channel (one connection); there is no thread per port.
//
// A lost stream takes the link down: reads give 0xFF at once, writes are forgotten, and the port attaches again by
// itself with bounded back-off (10 ms doubling to 1 s); each time it comes up, link().generation goes up by one. An
// interface that another host holds meanwhile is said in link().reason.
//
// Interrupt and link handlers are called from gRPC's own threads: they must not block (the driver's only schedule
// work), or every port of the process waits.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "host_driver/bus/bus.h"
#include "proto/base/result.h"
#include "proto/registers/register_port.h"

namespace bmcpair::bus {

// Waits for the first attachment, at most some seconds. Errors: kInvalidArgument, kNotFound, kBusy (says who holds
// it), kUnavailable, kProtocol (the server speaks another version), kPermission (TLS files).
Result<std::unique_ptr<registers::RegisterPort>> open_grpc(const BusSpec& spec, const OpenOptions& options);

struct RemoteInterface {
  std::string path;  // "bmc/interface"
  registers::InterfaceKind kind = registers::InterfaceKind::kKcs;
};

// Asks the daemon once which interfaces it has, in its configuration's order; what stands after '#' in the spec chooses among
// them ("bmc", "bmc/interface"). Errors: kNotFound (says which there are), kUnavailable, kTimeout, and as above.
Result<std::vector<RemoteInterface>> list_grpc(const BusSpec& spec, const OpenOptions& options, Duration wait);

}  // namespace bmcpair::bus
