// Two hosts of their own on one cable: network namespaces and a veth pair, gone with the object. Needs root and
// iproute2.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "integration/system/process.h"

namespace bmcpair::integration::clients {

class Network {
 public:
  enum Host { kBmc = 0, kClient = 1 };
  static constexpr const char* kBmcAddress = "10.77.0.1";  // of namespaces that nobody else sees

  // Throws std::runtime_error when it cannot be made.
  Network();
  // What a program is started through, to be in that host.
  std::vector<std::string> in(Host host) const;
  std::vector<std::string> in(Host host, const std::vector<std::string>& argv) const;

  // The client's plug is pulled: both sides see the carrier go.
  void unplug();
  void plug();
  // Whatever the client sends is lost on the way, and nobody is told.
  void swallow();
  void pass();

 private:
  void ip(Host host, std::vector<std::string> arguments);

  std::array<std::unique_ptr<Process>, 2> hosts_;
};

}  // namespace bmcpair::integration::clients
