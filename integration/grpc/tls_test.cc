// TLS and mutual TLS with certificates made here, and where a server listens.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstdlib>
#include <fstream>
#include <thread>

#include "bmc_emu/transport/grpc/listen.h"
#include "integration/grpc/testing.h"
#include "integration/system/certificates.h"

namespace bmcpair {
namespace {

using integration::has;
using testing::open;
using transport::GrpcServer;
using transport::GrpcServerOptions;

class Tls : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto made = integration::make_certificates(directory_.path(), "IP:127.0.0.1,DNS:localhost");
    ASSERT_EQ(made.status, 0) << made.err;
    device_ = devices_.add("one/bt");
  }
  std::string pem(const std::string& name) { return directory_.path() + "/" + name; }

  std::unique_ptr<GrpcServer> start(bool mutual) {
    GrpcServerOptions options;
    options.listen = {":0"};
    options.tls_certificate = pem("server.pem");
    options.tls_key = pem("server.key");
    if (mutual) options.tls_client_ca = pem("ca.pem");
    auto server = GrpcServer::start_register_bus(options, devices_);
    EXPECT_TRUE(server.ok()) << (server.ok() ? "" : server.error().message);
    return server.ok() ? *std::move(server) : nullptr;
  }
  bus::OpenOptions client(const std::string& ca, const std::string& certificate = "") {
    bus::OpenOptions options;
    options.tls_ca = pem(ca);
    if (!certificate.empty()) {
      options.tls_certificate = pem(certificate + ".pem");
      options.tls_key = pem(certificate + ".key");
    }
    return options;
  }

  testing::TemporaryDirectory directory_;
  testing::Devices devices_;
  std::shared_ptr<testing::Device> device_;
};

TEST_F(Tls, AClientThatTrustsTheCaIsServedAndOneThatDoesNotIsNot) {
  auto server = start(false);
  std::string address = server->addresses()[0];
  EXPECT_TRUE(address.starts_with("127.0.0.1:")) << address;
  auto port = open(address, "one/bt", "t", client("ca.pem"));
  ASSERT_TRUE(port.ok()) << port.error().message;
  (*port)->write(0, 7);
  EXPECT_EQ((*port)->read(0), 7);
  port->reset();
  auto distrustful = open(address, "one/bt", "t", client("other.pem"));
  ASSERT_FALSE(distrustful.ok());
  EXPECT_EQ(distrustful.error().code, ErrorCode::kUnavailable);
  EXPECT_FALSE(open(address, "one/bt").ok()) << "plain text was served";
}

TEST_F(Tls, MutualTlsRefusesClientsWithoutACertificateOfTheCa) {
  auto server = start(true);
  std::string address = server->addresses()[0];
  EXPECT_TRUE(open(address, "one/bt", "t", client("ca.pem", "client")).ok());
  EXPECT_FALSE(open(address, "one/bt", "t", client("ca.pem")).ok());
  EXPECT_FALSE(open(address, "one/bt", "t", client("ca.pem", "stranger")).ok());
}

TEST_F(Tls, FilesThatAreMissingOrNoPemAreNamed) {
  GrpcServerOptions options;
  options.listen = {":0"};
  options.tls_certificate = pem("server.pem");
  auto server = GrpcServer::start_register_bus(options, devices_);
  ASSERT_FALSE(server.ok());
  EXPECT_TRUE(has(server.error().message, "one is missing")) << server.error().message;
  options.tls_key = pem("nothing");
  server = GrpcServer::start_register_bus(options, devices_);
  ASSERT_FALSE(server.ok());
  EXPECT_TRUE(has(server.error().message, "/nothing")) << server.error().message;
  options.tls_key = pem("san");
  server = GrpcServer::start_register_bus(options, devices_);
  ASSERT_FALSE(server.ok());
  EXPECT_TRUE(has(server.error().message, "no PEM file")) << server.error().message;
  auto port = open("127.0.0.1:1", "one/bt", "t", client("nothing"));
  ASSERT_FALSE(port.ok());
  EXPECT_EQ(port.error().code, ErrorCode::kPermission);
}

TEST_F(Tls, APairThatIsNoneIsAnErrorAtOnceAndNobodyIsAsked) {
  bus::OpenOptions options = client("ca.pem", "client");
  options.tls_key = pem("stranger.key");
  auto port = open("127.0.0.1:1", "one/bt", "t", options);
  ASSERT_FALSE(port.ok());
  EXPECT_EQ(port.error().code, ErrorCode::kInvalidArgument);
  EXPECT_TRUE(has(port.error().message, "client.pem") && has(port.error().message, "stranger.key")) << port.error().message;
}

class Listen : public ::testing::Test {
 protected:
  Result<std::unique_ptr<GrpcServer>> start(const std::string& address) {
    GrpcServerOptions options;
    options.listen = {address};
    return GrpcServer::start_register_bus(options, devices_);
  }
  // Somebody's socket; live if it listens.
  int socket_at(const std::string& path, bool listening) {
    int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    if (listening) {
      EXPECT_EQ(::listen(fd, 1), 0);
    }
    return fd;
  }

  testing::TemporaryDirectory directory_;
  testing::Devices devices_;
  std::shared_ptr<testing::Device> device_ = devices_.add("one/bt");
  std::string path_ = directory_.path() + "/sub/s";
};

TEST_F(Listen, AUnixSocketIsOursAloneAndGoesWithTheServer) {
  auto server = start("unix:" + path_);
  ASSERT_TRUE(server.ok()) << server.error().message;
  struct stat st;
  ASSERT_EQ(::lstat(path_.c_str(), &st), 0);
  EXPECT_TRUE(S_ISSOCK(st.st_mode));
  EXPECT_EQ(st.st_mode & 07777, 0600u);
  ASSERT_EQ(::stat((directory_.path() + "/sub").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0700u);
  EXPECT_TRUE(open("unix:" + path_, "one/bt").ok());
  EXPECT_TRUE(open(path_, "one/bt").ok()) << "the short form";
  server->reset();
  EXPECT_TRUE(std::filesystem::is_empty(directory_.path() + "/sub"));
}

TEST_F(Listen, ADeadServersSocketIsReplacedAndALiveOneRefused) {
  std::filesystem::create_directory(directory_.path() + "/sub");
  ::close(socket_at(path_, true));  // its listener has gone
  {
    auto server = start(path_);
    ASSERT_TRUE(server.ok()) << server.error().message;
    auto second = start(path_);
    ASSERT_FALSE(second.ok());
    EXPECT_EQ(second.error().code, ErrorCode::kBusy);
    EXPECT_TRUE(has(second.error().message, "another server listens")) << second.error().message;
    EXPECT_TRUE(open(path_, "one/bt").ok()) << "the first server has suffered";
  }
  int fd = socket_at(path_, true);
  EXPECT_FALSE(start(path_).ok());
  ::close(fd);
  EXPECT_TRUE(start(path_).ok());
}

TEST_F(Listen, WhatIsNoSocketIsNotReplaced) {
  std::filesystem::create_directory(directory_.path() + "/sub");
  std::ofstream(path_) << "precious";
  auto server = start(path_);
  ASSERT_FALSE(server.ok());
  EXPECT_TRUE(has(server.error().message, "no socket")) << server.error().message;
  EXPECT_EQ(std::filesystem::file_size(path_), 8u);
}

TEST_F(Listen, APortWithoutAHostIsLoopbackAndOneInUseIsRefused) {
  auto server = start(":0");
  ASSERT_TRUE(server.ok()) << server.error().message;
  std::string address = (*server)->addresses()[0];
  EXPECT_TRUE(address.starts_with("127.0.0.1:")) << address;
  EXPECT_TRUE(open(address, "one/bt").ok());
  auto second = start(address);
  ASSERT_FALSE(second.ok());
  EXPECT_TRUE(has(second.error().message, address)) << second.error().message;
}

TEST_F(Listen, AddressesThatMakeNoSenseAreRefused) {
  for (const char* wrong : {"", "unix:", "unix:/dir/", "localhost", "localhost:", "localhost:x", "localhost:65536",
                            "::1:5123", "[]:1", "a b:1"}) {
    auto address = transport::parse_listen_address(wrong);
    ASSERT_FALSE(address.ok()) << wrong;
    EXPECT_EQ(address.error().code, ErrorCode::kInvalidArgument);
    EXPECT_TRUE(has(address.error().message, "expected unix:PATH")) << address.error().message;
  }
  EXPECT_FALSE(transport::parse_listen_address("unix:/" + std::string(200, 'x')).ok());
  EXPECT_EQ(transport::parse_listen_address("[::1]:5")->to_string(), "[::1]:5");
  EXPECT_EQ(transport::parse_listen_address("unix:///a/b")->path, "/a/b");
  EXPECT_EQ(transport::parse_listen_address("0.0.0.0:5")->host, "0.0.0.0");
}

TEST_F(Listen, NoDescriptorIsLeftByServersAndClientsThatCameAndWent) {
  auto count = [] {
    int n = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) n += entry.is_symlink();
    return n;
  };
  auto round = [&] {
    auto server = start(path_);
    ASSERT_TRUE(server.ok());
    auto port = open(path_, "one/bt");
    ASSERT_TRUE(port.ok());
    EXPECT_EQ((*port)->read(0), 0);
  };
  for (int i = 0; i < 3; ++i) round();  // what gRPC keeps for itself
  int before = count();
  for (int i = 0; i < 5; ++i) round();
  auto deadline = std::chrono::steady_clock::now() + testing::kLong;  // a connection closes after its channel
  while (count() > before && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  EXPECT_LE(count(), before);
}

}  // namespace
}  // namespace bmcpair
