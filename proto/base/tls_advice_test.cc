#include "proto/base/tls_advice.h"

#include <gtest/gtest.h>

namespace bmcpair {
namespace {

// As gRPC 1.51 says them.
constexpr char kVerify[] =
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.77.0.1:7080: Ssl handshake failed: SSL_ERROR_SSL: "
    "error:0A000086:SSL routines::certificate verify failed";
constexpr char kClosed[] = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Socket closed";

TEST(TlsAdvice, NothingIsSaidWhereTlsIsNotTheMatter) {
  EXPECT_EQ(tls_advice("failed to connect to all addresses; last error: UNKNOWN: Connection refused", "localhost:1", {}), "");
  EXPECT_EQ(tls_advice(kClosed, "unix:/run/x.sock", {}), "") << "nobody speaks TLS on a unix socket";
  EXPECT_EQ(tls_advice("Connection refused", "localhost:1", {"ca.pem", "", "", "--tls-cert"}), "");
}

TEST(TlsAdvice, EachSymptomNamesTheFileAndTheOptionToLookAt) {
  auto has = [](const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; };
  EXPECT_TRUE(has(tls_advice(kClosed, "localhost:1", {}), "--tls-ca FILE"));
  const TlsChoice one_sided{"ca.pem", "", "", "--tls-cert"};
  EXPECT_TRUE(has(tls_advice(kVerify, "localhost:1", one_sided), "not signed by --tls-ca ca.pem"));
  EXPECT_TRUE(has(tls_advice(kClosed, "localhost:1", one_sided), "give --tls-cert FILE and --tls-key FILE"));
  EXPECT_TRUE(has(tls_advice("empty address list: ", "localhost:1", one_sided), "--tls-ca ca.pem is no certificate"));
  EXPECT_TRUE(has(tls_advice("Peer name x is not in peer certificate", "x:1", one_sided), "subjectAltName"));
  EXPECT_TRUE(has(tls_advice("wrong version number", "x:1", one_sided), "speaks no TLS"));
  const TlsChoice mutual{"", "me.pem", "me.key"};
  EXPECT_TRUE(has(tls_advice(kClosed, "localhost:1", mutual), "may not trust --tls-certificate me.pem"));
  EXPECT_TRUE(has(tls_advice("empty address list: ", "localhost:1", mutual), "--tls-certificate me.pem and --tls-key me.key are not a pair"));
  EXPECT_TRUE(has(tls_advice(kVerify, "localhost:1", mutual), "the system's CAs"));
}

}  // namespace
}  // namespace bmcpair
