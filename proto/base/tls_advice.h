// gRPC's words for a connection that did not come up name the symptom; this adds what to do about it. Pure.
#pragma once

#include <string>

namespace bmcpair {

// What a client was told to use; empty: not said. The options' names are those of its command line.
struct TlsChoice {
  std::string ca;
  std::string certificate;
  std::string key;
  std::string certificate_option = "--tls-certificate";
};

// Begins with "; "; empty where nothing about TLS is to be suspected. `reason` is a gRPC status message, `target` the address
// of the daemon as canonical_address() has it.
std::string tls_advice(const std::string& reason, const std::string& target, const TlsChoice& choice);

}  // namespace bmcpair
