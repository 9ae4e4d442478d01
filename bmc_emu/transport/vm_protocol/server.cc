#include "bmc_emu/transport/vm_protocol/server.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <utility>

#include "bmc_emu/transport/grpc/listen.h"
#include "bmc_emu/transport/vm_protocol/connection.h"
#include "bmc_emu/transport/vm_protocol/reactor.h"

namespace bmcpair::transport {
namespace {

constexpr int kBacklog = 16;
constexpr int kAcceptsMax = 16;  // at one go

std::string why() { return std::strerror(errno); }

Result<ListenAddress> parse(std::string_view listen) {
  if (listen.starts_with("unix:")) return parse_listen_address(listen);
  if (listen.starts_with("tcp:")) {
    auto address = parse_listen_address(listen.substr(4));
    if (!address || !address->is_unix) return address;
  }
  return Error{ErrorCode::kInvalidArgument, "VM address '" + std::string(listen.substr(0, 200)) +
                                                "': expected unix:PATH or tcp:HOST:PORT"};
}

Result<FileDescriptor> bind_tcp(ListenAddress& address) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  int error = ::getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found);
  if (error != 0) return Error{ErrorCode::kIo, "tcp:" + address.to_string() + ": " + ::gai_strerror(error)};
  std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);
  FileDescriptor fd(::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int on = 1;
  if (!fd || ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      ::bind(fd.get(), found->ai_addr, found->ai_addrlen) != 0) {
    ErrorCode code = errno == EADDRINUSE ? ErrorCode::kBusy : ErrorCode::kIo;
    return Error{code, "tcp:" + address.to_string() + ": " + why()};
  }
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  if (::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&bound), &size) == 0) {
    address.port = ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(bound).sin6_port
                                                      : reinterpret_cast<const sockaddr_in&>(bound).sin_port);
  }
  return fd;
}

Result<FileDescriptor> bind_unix(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return Error{ErrorCode::kInvalidArgument, path + ": too long"};
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  FileDescriptor fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd || ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return Error{ErrorCode::kIo, "unix:" + path + ": " + why()};
  }
  return fd;
}

std::string numeric_peer(const sockaddr_storage& peer, socklen_t size) {
  std::array<char, NI_MAXHOST> host{};
  std::array<char, NI_MAXSERV> port{};
  if (::getnameinfo(reinterpret_cast<const sockaddr*>(&peer), size, host.data(), host.size(), port.data(), port.size(),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "TCP";
  }
  return std::string(host.data()) + " port " + port.data();
}

std::string name_of(int fd, bool is_unix) {
  if (is_unix) {
    ucred credentials{};
    socklen_t size = sizeof credentials;
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) return "VM host";
    return "VM host (pid " + std::to_string(credentials.pid) + ")";
  }
  sockaddr_storage peer{};
  socklen_t size = sizeof peer;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) != 0) return "VM host";
  return "VM host (" + numeric_peer(peer, size) + ")";
}

// A machine that vanished without a word (its own machine crashed) is found out within about a minute.
void tune_tcp(int fd) {
  const int on = 1, idle_s = 30, interval_s = 10, probes = 3;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
  ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

}  // namespace

Status check_vm_address(std::string_view listen) {
  auto address = parse(listen);
  if (!address) return address.error();
  return {};
}

// Everything but start and stop happens on the reactor's thread.
class VmServer::Impl {
 public:
  Impl(VmServerOptions options, std::shared_ptr<board::Board> board)
      : options_(std::move(options)), board_(std::move(board)) {}

  Status start() {
    service_ = board_->message_service(options_.interface);
    if (!service_) {
      return Error{ErrorCode::kNotFound, "BMC " + board_->name() + " has no interface '" + options_.interface + "'"};
    }
    auto parsed = parse(options_.listen);
    if (!parsed) return parsed.error();
    ListenAddress address = *parsed;
    is_unix_ = address.is_unix;
    if (is_unix_) {
      auto place = SocketPlace::prepare(address.path);
      if (!place) return place.error();
      place_ = std::move(*place);
    }
    auto fd = is_unix_ ? bind_unix(place_->bind_path()) : bind_tcp(address);
    if (!fd) return fd.error();
    listening_ = std::move(*fd);
    address_ = (is_unix_ ? "" : "tcp:") + address.to_string();
    if (::listen(listening_.get(), kBacklog) != 0) return Error{ErrorCode::kIo, address_ + ": " + why()};
    auto reactor = Reactor::shared();
    if (!reactor) return reactor.error();
    reactor_ = *reactor;
    auto id = reactor_->add(listening_.get(), EPOLLIN, [this](uint32_t) { accept(); });
    if (!id) return id.error();
    listener_id_ = *id;
    if (place_) {
      if (Status published = place_->publish(); !published) {
        stop();
        return published;
      }
    }
    service_->set_address(address_);
    return {};
  }

  void stop() {
    if (!reactor_) return;
    reactor_->exclusively([this] {
      if (std::exchange(stopped_, true)) return;
      reactor_->remove(listener_id_);
      close_connection("the daemon stops");
      service_->set_address({});
    });
    place_.reset();
    listening_.reset();
  }

  const std::string& address() const { return address_; }

 private:
  void say(const std::string& text) {
    if (options_.log) options_.log(text);
    board_->report(options_.interface, "vm", text);
  }

  void accept() {
    for (int i = 0; i < kAcceptsMax; ++i) {
      FileDescriptor fd(::accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (!fd) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
          reactor_->pause_for_descriptors();
        }
        return;
      }
      greet(std::move(fd));
    }
  }

  void greet(FileDescriptor fd) {
    std::string who = name_of(fd.get(), is_unix_);
    // The one before may have gone already, and its end is what the reactor looks at next.
    if (connection_ && !connection_->read()) close_connection(connection_->end());
    auto port = board_->attach_messages(
        options_.interface, who, {vm_protocol::kHostMessageBytesMax, vm_protocol::kHostMessageBytesMax});
    if (!port) {
      uint64_t refused = ++service_->connections_refused;
      // One that asks again every second is told of less and less often.
      if ((refused & (refused - 1)) == 0) {
        say(who + " refused: " + port.error().message + " (" + std::to_string(refused) + " refused so far)");
      }
      return;
    }
    ++service_->connections;
    if (!is_unix_) tune_tcp(fd.get());
    connection_ = std::make_unique<VmConnection>(std::move(fd), std::move(*port), service_, reactor_,
                                                 [this, who](const std::string& text) { say(who + ": " + text); });
    who_ = who;
    say(who + " is connected");
    if (!connection_->begin([this](uint32_t events) { ready(events); })) close_connection(connection_->end());
  }

  void ready(uint32_t events) {
    if (!connection_) return;
    bool up = true;
    if ((events & EPOLLOUT) != 0) up = connection_->flush();
    if (up && (events & ~static_cast<uint32_t>(EPOLLOUT)) != 0) up = connection_->read();
    if (!up) close_connection(connection_->end());
  }

  void close_connection(const std::string& reason) {
    if (!connection_) return;
    // Detached first: what is told from now on is of an interface that is free.
    std::unique_ptr<VmConnection> gone = std::move(connection_);
    gone.reset();
    say(std::exchange(who_, {}) + " is gone: " + reason);
  }

  const VmServerOptions options_;
  const std::shared_ptr<board::Board> board_;
  std::shared_ptr<board::MessageService> service_;
  std::shared_ptr<Reactor> reactor_;
  std::unique_ptr<SocketPlace> place_;
  FileDescriptor listening_;
  bool is_unix_ = false;
  bool stopped_ = false;
  uint64_t listener_id_ = 0;
  std::string address_;
  std::unique_ptr<VmConnection> connection_;
  std::string who_;
};

VmServer::VmServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

VmServer::~VmServer() { stop(); }

Result<std::unique_ptr<VmServer>> VmServer::start(VmServerOptions options, std::shared_ptr<board::Board> board) {
  auto impl = std::make_unique<Impl>(std::move(options), std::move(board));
  if (Status started = impl->start(); !started) return started.error();
  return std::unique_ptr<VmServer>(new VmServer(std::move(impl)));
}

void VmServer::stop() { impl_->stop(); }

const std::string& VmServer::address() const { return impl_->address(); }

}  // namespace bmcpair::transport
