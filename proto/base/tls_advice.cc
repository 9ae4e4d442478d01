#include "proto/base/tls_advice.h"

namespace bmcpair {

std::string tls_advice(const std::string& reason, const std::string& target, const TlsChoice& choice) {
  auto says = [&](const char* part) { return reason.find(part) != std::string::npos; };
  const bool tls = !(choice.ca.empty() && choice.certificate.empty() && choice.key.empty());
  const std::string ca = choice.ca.empty() ? "the system's CAs" : "--tls-ca " + choice.ca;
  const std::string certificate = choice.certificate_option + " " + choice.certificate;
  const bool closed = says("failed to connect") && (says("Socket closed") || says("Connection reset"));
  if (!tls) {
    if (!closed || target.starts_with("unix:")) return {};
    return "; the peer wants no plain text: a bmc_emu with TLS is reached with --tls-ca FILE";
  }
  if (says("empty address list")) {  // gRPC's word for credentials that it could not use
    return choice.certificate.empty()
               ? "; " + ca + " is no certificate that can be used"
               : "; " + certificate + " and --tls-key " + choice.key + " are not a pair, or one of the files is damaged";
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
  return choice.certificate.empty()
             ? "; the daemon may ask for a client's certificate: give " + choice.certificate_option + " FILE and --tls-key FILE"
             : "; the daemon may not trust " + certificate + ": it must be signed by the CA that the daemon has as --tls-client-ca";
}

}  // namespace bmcpair
