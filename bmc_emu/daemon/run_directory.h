// Where a daemon's sockets are.
#pragma once

#include <string>

#include "proto/base/result.h"

namespace bmcpair::daemon {

// The folder of default_socket_path() of this user and environment.
std::string default_run_directory();

// Makes the directory with mode 0700, its parents too where they are missing. One that is there must belong to us (or
// to root), and nobody else may write to it: else a stranger could put his socket in place of ours.
Status make_private_directory(const std::string& path);

}  // namespace bmcpair::daemon
