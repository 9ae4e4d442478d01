#include "host_driver/bus/tls_advice.h"

#include "proto/base/address.h"

namespace bmcpair::bus {

std::string tls_advice(const std::string& reason, const std::string& target, const OpenOptions& options) {
  auto says = [&](const char* part) { return reason.find(part) != std::string::npos; };
  const bool tls = !(options.tls_ca.empty() && options.tls_certificate.empty() && options.tls_key.empty());
  const std::string ca = options.tls_ca.empty() ? "the system's CAs" : "--tls-ca " + options.tls_ca;
  const bool closed = says("failed to connect") && (says("Socket closed") || says("Connection reset"));
  if (!tls) {
    if (!closed || canonical_address(target).starts_with("unix:")) return {};
    return "; the peer wants no plain text: a bmc_emu with TLS is reached with --tls-ca FILE";
  }
  if (says("empty address list")) {  // gRPC's word for credentials that it could not use
    return options.tls_certificate.empty()
               ? "; " + ca + " is no certificate that can be used"
               : "; --tls-certificate " + options.tls_certificate + " and --tls-key " + options.tls_key +
                     " are not a pair, or one of the files is damaged";
  }
  if (says("certificate verify failed")) {
    return "; the daemon's certificate is not signed by " + ca + ", or is out of date: give the CA that signed it";
  }
  if (says("not in peer certificate") || says("Hostname Verification Check failed")) {
    return "; the daemon's certificate is for another name: reach it by a name in its subjectAltName";
  }
  if (says("wrong version number") || says("WRONG_VERSION_NUMBER")) {
    return "; the daemon speaks no TLS here: leave out --tls-ca, or start it with --tls-cert and --tls-key";
  }
  if (!closed && !says("alert")) return {};
  return options.tls_certificate.empty()
             ? "; the daemon may ask for a client's certificate: give --tls-certificate FILE and --tls-key FILE"
             : "; the daemon may not trust --tls-certificate " + options.tls_certificate +
                   ": it must be signed by the CA that the daemon has as --tls-client-ca";
}

}  // namespace bmcpair::bus
