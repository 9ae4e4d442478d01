// The Control service. Its calls may wait for a BMC's firmware, which may wait for the disk, so they run on a few
// threads of their own: gRPC's threads carry the registers and never wait for BMC work.
#pragma once

#include <memory>
#include <string>

#include <grpcpp/impl/codegen/service_type.h>

#include "bmc_emu/board/fleet.h"
#include "bmc_emu/transport/grpc/counters.h"

namespace bmcpair::transport {

class ControlService {
 public:
  static std::unique_ptr<ControlService> create(board::Fleet& fleet, Counters& counters, std::string version);
  virtual ~ControlService() = default;
  virtual grpc::Service& service() = 0;
  // Ends every watch, refuses new calls and waits for those that run.
  virtual void stop(const std::string& why) = 0;
};

}  // namespace bmcpair::transport
