// The PEM files of a TLS connection, looked at before anything is tried with them: what is wrong with a file does not get
// better by waiting.
#pragma once

#include <string>

#include "host_driver/bus/bus.h"
#include "proto/base/result.h"

namespace bmcpair::bus {

struct TlsFiles {
  std::string ca;           // their content; empty where no such file was named
  std::string certificate;
  std::string key;
};

// Errors, each naming file and option: kPermission (cannot be read), kInvalidArgument (not what it should be, one without the
// other, not a pair).
Result<TlsFiles> read_tls_files(const OpenOptions& options);

}  // namespace bmcpair::bus
