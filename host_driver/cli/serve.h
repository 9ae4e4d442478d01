// host_driver serve: the buses as /dev/ipmi0, /dev/ipmi1, ... of programs that preload the library.
#pragma once

#include <string>
#include <vector>

#include "host_driver/bus/bus.h"
#include "host_driver/cli/session.h"
#include "proto/base/result.h"

namespace bmcpair::cli {

struct ServeOptions {
  std::string socket;  // empty: default_device_socket()
  unsigned mode = 0600;
};

// $XDG_RUNTIME_DIR/bmcpair/ipmi.sock, or where bmc_emu's would be without that variable.
std::string default_device_socket();

// Until SIGINT or SIGTERM, which it handles itself. Errors are of the start.
Status serve(std::vector<bus::BusSpec> specs, SessionOptions session_options, const ServeOptions& options);

}  // namespace bmcpair::cli
