// The Control service. Its calls may wait for a BMC's firmware, which may wait for the disk, so they run on a few
// threads of their own: gRPC's threads carry the registers and never wait for BMC work.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <grpcpp/impl/codegen/service_type.h>

#include "bmc_emu/board/fleet.h"
#include "bmc_emu/transport/grpc/counters.h"

namespace bmcpair::transport {

// Rules as people write them; file_name is what errors call the text.
using FaultParser =
    std::function<Result<std::vector<faults::Rule>>(std::string_view text, const std::string& file_name)>;

class ControlService {
 public:
  // No parser: AddFault is refused.
  static std::unique_ptr<ControlService> create(board::Fleet& fleet, Counters& counters, std::string version,
                                                FaultParser parse_faults);
  virtual ~ControlService() = default;
  virtual grpc::Service& service() = 0;
  // Ends every watch, refuses new calls and waits for those that run.
  virtual void stop(const std::string& why) = 0;
};

}  // namespace bmcpair::transport
