// The interfaces of `host_driver run`: each is the driver's, a program's own through its ports, or nobody's. Nobody's until
// it is first wanted, so that a program that talks to none attaches to none.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "host_driver/cli/session.h"
#include "host_driver/device_node/server.h"
#include "host_driver/port_io/ports.h"
#include "host_driver/port_io/server.h"

namespace bmcpair::cli {

struct HostedBus {
  bus::BusSpec spec;
  std::optional<registers::InterfaceKind> kind;  // unknown: until it has been attached to
};

// Thread safe. Servers and ports made of it must be gone before it is.
class Hosted {
 public:
  Hosted(std::vector<HostedBus> buses, SessionOptions options);

  size_t size() const { return session_.size(); }
  const std::string& bus_text(size_t i) const { return session_.bus_text(i); }
  // For device_node::ServerOptions.
  Result<device_node::Attached> open_device(size_t i, Instant deadline);
  // For port_io::ServerOptions. Errors: kNotFound, where ranges that were asked for have no interface.
  Result<std::vector<port_io::Mapping>> mappings(const std::vector<port_io::PortRange>& ranges, bool asked_for);

 private:
  class OwnedPort;
  struct Slot {
    std::mutex mutex;
    bool has_ports = false;  // a program has the registers
    std::optional<registers::InterfaceKind> kind;
    std::string path;
  };
  Result<std::unique_ptr<registers::RegisterPort>> open_ports(size_t i);
  Result<std::unique_ptr<registers::RegisterPort>> open_ports_of(registers::InterfaceKind kind);

  std::vector<std::unique_ptr<Slot>> slots_;
  Session session_;
};

}  // namespace bmcpair::cli
