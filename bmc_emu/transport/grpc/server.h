// The daemon's gRPC face: RegisterBus and Control, with reflection, health and channelz.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bmc_emu/board/fleet.h"
#include "proto/base/result.h"
#include "proto/registers/register_port.h"

namespace bmcpair::transport {

struct GrpcServerOptions {
  // "unix:PATH" or "/path": mode 0600; the socket of a dead server is replaced, a live one is refused.
  // "HOST:PORT"; ":PORT" is 127.0.0.1; "0.0.0.0:PORT" must be asked for. Port 0: any, see addresses().
  std::vector<std::string> listen;
  // PEM files, for the HOST:PORT addresses. A client_ca makes it mutual: clients without its certificate are refused.
  std::string tls_certificate;
  std::string tls_key;
  std::string tls_client_ca;
  std::string version = "0.1.0";  // what Control.Version answers
  // Reads what AddFault is given, "FILE:LINE: ..." in its errors; none: fault rules are refused.
  std::function<Result<std::vector<faults::Rule>>(std::string_view text, const std::string& file_name)> parse_faults{};
};

struct GrpcServerStatistics {
  uint64_t attaches = 0;
  uint64_t attaches_refused = 0;
  uint64_t streams = 0;  // now
  uint64_t messages = 0;
  uint64_t ops = 0;
  uint64_t ops_refused = 0;
  uint64_t interrupts_pushed = 0;
  uint64_t watchers = 0;  // now
  uint64_t events_dropped = 0;
};

class GrpcServer {
 public:
  // The fleet must outlive the server. Errors: kInvalidArgument (an address or a TLS option: which), kBusy (somebody
  // listens there), kIo (a file or socket: which and why).
  static Result<std::unique_ptr<GrpcServer>> start(const GrpcServerOptions& options, board::Fleet& fleet);
  // RegisterBus alone, for whatever else has register ports.
  static Result<std::unique_ptr<GrpcServer>> start_register_bus(const GrpcServerOptions& options,
                                                                registers::PortProvider& ports);
  virtual ~GrpcServer() = default;  // stops

  // What it listens on, ports filled in, in the order of `listen`; fit for a client.
  virtual const std::vector<std::string>& addresses() const = 0;
  virtual GrpcServerStatistics statistics() const = 0;
  // Ends every stream with UNAVAILABLE, detaches, closes. Takes less than a second. Idempotent.
  virtual void stop() = 0;
};

}  // namespace bmcpair::transport
