// The ports of a PC, as programs with the preloaded library (preload/) see them: a unix socket in front of register ports.
// A port that belongs to no interface reads 0xFF and swallows writes. Accesses wider than a byte are one cycle a byte at
// consecutive ports, as an eight bit device on the bus gets them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "proto/base/result.h"
#include "proto/base/time.h"
#include "proto/registers/register_port.h"

namespace bmcpair::port_io {

struct Mapping {
  std::string name;  // for people
  uint16_t base = 0;
  uint16_t spacing = 1;
  uint16_t registers = 3;  // ports that are decoded
  // Called at the first access of a program, and then not again until the last program that has made one is gone. It may
  // block. kBusy is tried again for a moment, since who has just let go may still be leaving.
  std::function<Result<std::unique_ptr<registers::RegisterPort>>()> attach;
};

struct ServerOptions {
  std::string socket_path;  // its folder is private
  unsigned socket_mode = 0600;
  std::vector<Mapping> mappings;
  size_t clients_max = 256;
  // Of the first attach; one that was busy to its end is not waited for again.
  Duration busy_wait = std::chrono::seconds(5);
  // After an attach that failed the ports are those of an empty bus for so long.
  Duration retry_wait = std::chrono::seconds(1);
  std::function<void(std::string)> error;  // an interface cannot be attached: one line, not again while it stays the same
  std::function<void(std::string)> log;    // optional: what happens otherwise
};

struct ServerStatistics {
  uint64_t clients = 0;  // that ever came
  uint64_t reads = 0;    // bytes at interfaces
  uint64_t writes = 0;
  uint64_t unclaimed = 0;  // bytes at ports of nobody
};

class Server {
 public:
  // Listens when it returns. Errors: as device_node::listen_on, kInvalidArgument.
  static Result<std::unique_ptr<Server>> create(ServerOptions options);
  // Programs see an empty bus from now on. Waits for accesses and attaches that are under way.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Whether the mapping is attached now.
  bool attached(size_t mapping) const;
  ServerStatistics statistics() const;

 private:
  struct Core;
  explicit Server(std::unique_ptr<Core> core);
  std::unique_ptr<Core> core_;
};

}  // namespace bmcpair::port_io
