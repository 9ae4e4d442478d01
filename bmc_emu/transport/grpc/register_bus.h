// The RegisterBus service: each stream is one attached host.
#pragma once

#include <memory>
#include <string>

#include <grpcpp/impl/codegen/service_type.h>

#include "bmc_emu/transport/grpc/counters.h"
#include "proto/registers/register_port.h"

namespace bmcpair::transport {

class RegisterBusService {
 public:
  static std::unique_ptr<RegisterBusService> create(registers::PortProvider& ports, Counters& counters);
  virtual ~RegisterBusService() = default;
  virtual grpc::Service& service() = 0;
  // Ends every stream with UNAVAILABLE and refuses new ones.
  virtual void stop(const std::string& why) = 0;
};

}  // namespace bmcpair::transport
