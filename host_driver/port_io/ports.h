// Which I/O ports a program's host has its IPMI interfaces at: `--ports kcs=0xca2,bt=0xe4`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "proto/base/result.h"
#include "proto/registers/register_port.h"

namespace bmcpair::port_io {

struct PortRange {
  std::string interface;  // a kind ("kcs", "bt", "smic": the first interface of it), or "bmc/interface"
  uint16_t base = 0;
  uint16_t spacing = 1;  // ports from one register to the next
};

// Where each is on a PC when nothing else is said (IPMI 2.0 ch. 9 to 11).
std::vector<PortRange> usual_ports();

// INTERFACE=BASE[/SPACING], comma separated; "none" is none. Errors: kInvalidArgument, naming the part that is wrong.
Result<std::vector<PortRange>> parse_ports(std::string_view text);

// The kind that `interface` names, if it is one.
bool is_kind(std::string_view interface, registers::InterfaceKind* kind);

}  // namespace bmcpair::port_io
