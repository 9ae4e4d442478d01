// The floor of a register access over vfio-user: a server that says what a client must hear to accept a device, and
// then answers each access with zeros at once. No registers, no checks, no locks.
#pragma once

#include <string>

#include "proto/base/result.h"

namespace bmcpair::guest_bench {

// Serves one client at `socket_path` until it closes; prints "ready" when it listens. BAR0 has 8 I/O ports, the class is
// none that a guest's IPMI driver would take.
Status serve_bare(const std::string& socket_path);

}  // namespace bmcpair::guest_bench
