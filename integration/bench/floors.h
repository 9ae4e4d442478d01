// What the transports would cost if they did nothing: the floors of the benchmark table.
#pragma once

#include <memory>
#include <string>

#include "proto/base/hex.h"

namespace bmcpair::bench {

class Echo {
 public:
  virtual ~Echo() = default;
  // Sends the payload and waits for what comes back.
  virtual void round_trip(const Bytes& payload) = 0;
};

// A bare bidirectional gRPC stream over a unix socket at `path`.
std::unique_ptr<Echo> make_grpc_echo(const std::string& path);
// A bare unix stream socket pair with a thread that takes so many bytes and sends so many back. round_trip()'s payload must be
// as long as `there`.
std::unique_ptr<Echo> make_socket_echo(size_t there, size_t back);

}  // namespace bmcpair::bench
