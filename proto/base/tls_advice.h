// gRPC's words for a connection that did not come up name the symptom; this adds what to do about it.
#pragma once

#include <string>

#include "host_driver/bus/bus.h"

namespace bmcpair::bus {

// Begins with "; "; empty where nothing about TLS is to be suspected. `reason` is a gRPC status message.
std::string tls_advice(const std::string& reason, const std::string& target, const OpenOptions& options);

}  // namespace bmcpair::bus
