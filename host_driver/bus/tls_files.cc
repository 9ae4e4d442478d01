#include "host_driver/bus/tls_files.h"

#include <fstream>
#include <memory>
#include <sstream>
#include <tuple>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

namespace bmcpair::bus {
namespace {

constexpr size_t kPemBytesMax = 1024 * 1024;

template <auto Free>
struct Freed {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Source = std::unique_ptr<BIO, Freed<BIO_free>>;
using Certificate = std::unique_ptr<X509, Freed<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;

// Nobody is asked for the password of a key: there may be no terminal.
int no_password(char*, int, int, void*) { return 0; }

Source source_of(const std::string& pem) { return Source(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))); }
Certificate certificate_of(const std::string& pem) {
  return Certificate(PEM_read_bio_X509(source_of(pem).get(), nullptr, no_password, nullptr));
}

Result<std::string> read_pem(const char* option, const std::string& path) {
  const std::string name = std::string(option) + " " + path;
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  if (in) text << in.rdbuf();
  std::string pem = text.str();
  if (!in || pem.empty()) return Error{ErrorCode::kPermission, name + ": cannot be read"};
  if (pem.size() > kPemBytesMax || pem.find("-----BEGIN ") == std::string::npos) {
    return Error{ErrorCode::kInvalidArgument, name + ": no PEM file"};
  }
  return pem;
}

}  // namespace

Result<TlsFiles> read_tls_files(const OpenOptions& options) {
  TlsFiles out;
  for (auto [option, path, to] : {std::tuple<const char*, const std::string*, std::string*>{"--tls-ca", &options.tls_ca, &out.ca},
                                  {"--tls-certificate", &options.tls_certificate, &out.certificate},
                                  {"--tls-key", &options.tls_key, &out.key}}) {
    if (path->empty()) continue;
    auto pem = read_pem(option, *path);
    if (!pem.ok()) return pem.error();
    *to = *std::move(pem);
  }
  if (out.certificate.empty() != out.key.empty()) {
    return Error{ErrorCode::kInvalidArgument, std::string("TLS certificate and key belong together: --tls-") +
                                                  (out.key.empty() ? "key" : "certificate") + " is missing"};
  }
  auto no_certificate = [](const char* option, const std::string& path) {
    return Error{ErrorCode::kInvalidArgument, std::string(option) + " " + path + ": holds no certificate that can be read"};
  };
  ERR_clear_error();
  Result<TlsFiles> result = [&]() -> Result<TlsFiles> {
    if (!out.ca.empty() && !certificate_of(out.ca)) return no_certificate("--tls-ca", options.tls_ca);
    if (out.certificate.empty()) return out;
    const Certificate certificate = certificate_of(out.certificate);
    if (!certificate) return no_certificate("--tls-certificate", options.tls_certificate);
    const Key key(PEM_read_bio_PrivateKey(source_of(out.key).get(), nullptr, no_password, nullptr));
    if (!key) {
      return Error{ErrorCode::kInvalidArgument,
                   "--tls-key " + options.tls_key + ": holds no private key that can be read (one with a password cannot)"};
    }
    if (X509_check_private_key(certificate.get(), key.get()) != 1) {
      return Error{ErrorCode::kInvalidArgument, "--tls-certificate " + options.tls_certificate + " and --tls-key " + options.tls_key +
                                                    " are not a pair: the key is another certificate's"};
    }
    return out;
  }();
  ERR_clear_error();
  return result;
}

}  // namespace bmcpair::bus
