#include "bmc_emu/transport/grpc/server.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <mutex>
#include <sstream>
#include <utility>

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>
#include <grpcpp/ext/channelz_service_plugin.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include "bmc_emu/transport/grpc/control.h"
#include "bmc_emu/transport/grpc/counters.h"
#include "bmc_emu/transport/grpc/listen.h"
#include "bmc_emu/transport/grpc/register_bus.h"
#include "proto/rpc/register_bus.pb.h"

namespace bmcpair::transport {
namespace {

constexpr int kRequestBytesMax = 64 * 1024;
constexpr int kReplyBytesMax = 16 * 1024 * 1024;  // GetTrace
constexpr size_t kPemBytesMax = 1024 * 1024;
constexpr auto kStopGrace = std::chrono::milliseconds(500);

Result<std::string> read_pem(const char* option, const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  if (in) text << in.rdbuf();
  if (!in || text.str().empty())
    return Error{ErrorCode::kIo, std::string(option) + " " + path + ": cannot be read, or is empty"};
  std::string pem = text.str();
  if (pem.size() > kPemBytesMax || pem.find("-----BEGIN ") == std::string::npos)
    return Error{ErrorCode::kInvalidArgument, std::string(option) + " " + path + ": no PEM file"};
  return pem;
}

Result<std::shared_ptr<grpc::ServerCredentials>> tcp_credentials(const GrpcServerOptions& options) {
  if (options.tls_certificate.empty() && options.tls_key.empty()) {
    if (!options.tls_client_ca.empty())
      return Error{ErrorCode::kInvalidArgument, "TLS: client_ca without certificate and key"};
    return grpc::InsecureServerCredentials();
  }
  if (options.tls_certificate.empty() || options.tls_key.empty())
    return Error{ErrorCode::kInvalidArgument, "TLS: certificate and key belong together, one is missing"};
  auto certificate = read_pem("TLS certificate", options.tls_certificate);
  if (!certificate.ok()) return certificate.error();
  auto key = read_pem("TLS key", options.tls_key);
  if (!key.ok()) return key.error();
  grpc::SslServerCredentialsOptions ssl(options.tls_client_ca.empty()
                                            ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                                            : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  if (!options.tls_client_ca.empty()) {
    auto ca = read_pem("TLS client CA", options.tls_client_ca);
    if (!ca.ok()) return ca.error();
    ssl.pem_root_certs = *ca;
  }
  ssl.pem_key_cert_pairs.push_back({*key, *certificate});
  auto credentials = grpc::SslServerCredentials(ssl);
  if (!credentials) return Error{ErrorCode::kInvalidArgument, "TLS: certificate and key are not accepted"};
  return credentials;
}

// gRPC says only that it could not. What stands in the way of a socket of our own there, or else TLS.
std::string why_not(const ListenAddress& address, bool tls) {
  addrinfo wanted{}, *found = nullptr;
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = AI_PASSIVE;
  if (int error = ::getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &wanted, &found); error != 0) {
    return ::gai_strerror(error);
  }
  int error = 0;
  for (const addrinfo* a = found; a && error == 0; a = a->ai_next) {
    const int fd = ::socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    if (fd >= 0) ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || ::bind(fd, a->ai_addr, a->ai_addrlen) != 0) error = errno;
    if (fd >= 0) ::close(fd);
  }
  ::freeaddrinfo(found);
  if (error == EADDRINUSE) return "the port is in use; choose another, or end who has it";
  if (error != 0) return std::strerror(error);
  return tls ? "gRPC does not accept the TLS files; does the key belong to the certificate?" : "the port was in use a moment ago";
}

class Server : public GrpcServer {
 public:
  ~Server() override { stop(); }

  Status start(const GrpcServerOptions& options, registers::PortProvider& ports, board::Fleet* fleet) {
    if (options.listen.empty()) return Error{ErrorCode::kInvalidArgument, "no address to listen on"};
    // Before any ServerBuilder of this process is used; both add themselves to every server built afterwards.
    static std::once_flag once;
    std::call_once(once, [] {
      // gRPC's own log is for who asks for it; what fails is in our errors.
      if (!std::getenv("GRPC_VERBOSITY"))
        gpr_set_log_verbosity(static_cast<gpr_log_severity>(GPR_LOG_SEVERITY_ERROR + 1));
      // Nor is our stderr for what peers send.
      google::protobuf::SetLogHandler(nullptr);
      grpc::EnableDefaultHealthCheckService(true);
      grpc::reflection::InitProtoReflectionServerBuilderPlugin();
      grpc::channelz::experimental::InitChannelzService();
    });

    bus_ = RegisterBusService::create(ports, counters_);
    if (fleet) control_ = ControlService::create(*fleet, counters_, options.version, options.parse_faults);

    grpc::ServerBuilder builder;
    builder.RegisterService(&bus_->service());
    if (control_) builder.RegisterService(&control_->service());
    builder.SetMaxReceiveMessageSize(kRequestBytesMax);
    builder.SetMaxSendMessageSize(kReplyBytesMax);
    // A client that vanished without a word (a cut cable, a stopped machine) is noticed in some ten seconds.
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 5000);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5000);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 0);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
    // And clients may ask as often themselves, no oftener.
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 2000);
    builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, 16 * 1024);
    // Two servers on one TCP port is a mistake, not a load balancer.
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    // Only reflection, health and channelz are served by the synchronous pool.
    builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::NUM_CQS, 1);
    builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MIN_POLLERS, 1);
    builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MAX_POLLERS, 2);
    grpc::ResourceQuota quota("bmc_emu");
    quota.SetMaxThreads(16);
    builder.SetResourceQuota(quota);

    std::vector<ListenAddress> listen;
    std::vector<int> ports_bound(options.listen.size(), 0);
    std::vector<std::string> binding;
    for (size_t i = 0; i < options.listen.size(); ++i) {
      auto address = parse_listen_address(options.listen[i]);
      if (!address.ok()) return address.error();
      if (address->is_unix) {
        auto place = SocketPlace::prepare(address->path);
        if (!place.ok()) return place.error();
        binding.push_back("unix:" + (*place)->bind_path());
        builder.AddListeningPort(binding.back(), grpc::InsecureServerCredentials(), &ports_bound[i]);
        places_.push_back(*std::move(place));
      } else {
        auto credentials = tcp_credentials(options);
        if (!credentials.ok()) return credentials.error();
        binding.push_back(address->to_string());
        builder.AddListeningPort(binding.back(), *credentials, &ports_bound[i]);
      }
      listen.push_back(*address);
    }

    server_ = builder.BuildAndStart();
    for (size_t i = 0; i < listen.size(); ++i) {
      if (server_ && ports_bound[i] != 0) {
        if (!listen[i].is_unix) listen[i].port = static_cast<uint16_t>(ports_bound[i]);
        addresses_.push_back(listen[i].to_string());
        continue;
      }
      if (!server_ && ports_bound[i] != 0) continue;
      return Error{listen[i].is_unix ? ErrorCode::kIo : ErrorCode::kBusy,
                   "cannot listen on " + listen[i].to_string() +
                       (listen[i].is_unix ? "" : ": " + why_not(listen[i], !options.tls_key.empty()))};
    }
    if (!server_) return Error{ErrorCode::kIo, "the gRPC server does not start"};
    for (auto& place : places_)
      if (Status s = place->publish(); !s.ok()) return s;
    if (auto* health = server_->GetHealthCheckService()) {
      health->SetServingStatus("bmcpair.v1.RegisterBus", true);
      if (control_) health->SetServingStatus("bmcpair.v1.Control", true);
    }
    return {};
  }

  const std::vector<std::string>& addresses() const override { return addresses_; }

  GrpcServerStatistics statistics() const override {
    GrpcServerStatistics s;
    s.attaches = counters_.attaches;
    s.attaches_refused = counters_.attaches_refused;
    s.streams = counters_.streams;
    s.messages = counters_.messages;
    s.ops = counters_.ops;
    s.ops_refused = counters_.ops_refused;
    s.interrupts_pushed = counters_.interrupts_pushed;
    s.watchers = counters_.watchers;
    s.events_dropped = counters_.events_dropped;
    return s;
  }

  void stop() override {
    std::lock_guard lock(stop_mutex_);
    if (stopped_) return;
    stopped_ = true;
    const std::string why = "bmc_emu is stopping";
    if (server_) {
      if (auto* health = server_->GetHealthCheckService()) health->Shutdown();
    }
    if (bus_) bus_->stop(why);
    if (control_) control_->stop(why);
    if (server_) {
      server_->Shutdown(std::chrono::system_clock::now() + kStopGrace);
      server_->Wait();
    }
    places_.clear();
    server_.reset();
  }

 private:
  Counters counters_;
  std::unique_ptr<RegisterBusService> bus_;
  std::unique_ptr<ControlService> control_;
  std::vector<std::unique_ptr<SocketPlace>> places_;
  std::unique_ptr<grpc::Server> server_;
  std::vector<std::string> addresses_;
  std::mutex stop_mutex_;
  bool stopped_ = false;
};

Result<std::unique_ptr<GrpcServer>> make(const GrpcServerOptions& options, registers::PortProvider& ports,
                                         board::Fleet* fleet) {
  auto server = std::make_unique<Server>();
  if (Status s = server->start(options, ports, fleet); !s.ok()) return s.error();
  return std::unique_ptr<GrpcServer>(std::move(server));
}

}  // namespace

Result<std::unique_ptr<GrpcServer>> GrpcServer::start(const GrpcServerOptions& options, board::Fleet& fleet) {
  return make(options, fleet, &fleet);
}

Result<std::unique_ptr<GrpcServer>> GrpcServer::start_register_bus(const GrpcServerOptions& options,
                                                                   registers::PortProvider& ports) {
  return make(options, ports, nullptr);
}

}  // namespace bmcpair::transport
