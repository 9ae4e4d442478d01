// host_driver run: an unmodified program on a host whose /dev/ipmi0, /dev/ipmi1, ... and I/O ports are the buses.
#pragma once

#include <string>
#include <vector>

#include "host_driver/bus/bus.h"
#include "host_driver/cli/session.h"

namespace bmcpair::cli {

struct RunOptions {
  std::string config;   // not empty: a private bmc_emu serves it, and its interfaces are the buses
  std::string state;    // of that daemon; empty: nothing is kept
  std::string ports;    // as port_io::parse_ports has it; empty: the usual ones
  std::vector<std::string> program;  // and its arguments
};

// What run itself fails with, as env and timeout have it; a program may end with it, too.
constexpr int kExitRunFailed = 125;

// The exit status: the program's own, 128 + n when signal n ended it; 126 and 127 as shells have it; kExitRunFailed with one line
// on standard error. Takes the process's signals and children while it runs: for a program's main thread, before the first
// other one.
int run_program(std::vector<bus::BusSpec> specs, SessionOptions session_options, const RunOptions& options);

}  // namespace bmcpair::cli
