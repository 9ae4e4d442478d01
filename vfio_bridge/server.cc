#include "vfio_bridge/server.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <list>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>

#include "vfio_bridge/acceptor.h"
#include "vfio_bridge/session.h"
#include "vfio_bridge/stream.h"

namespace bmcpair::vfio_bridge {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kClientsMax = 16;  // connected or being refused, of one server
// More than a port needs to let go: an access that nobody answers, and a goodbye.
constexpr auto kLeaveWait = std::chrono::seconds(20);

int to_errno(ErrorCode code) {
  switch (code) {
    case ErrorCode::kBusy: return EBUSY;
    case ErrorCode::kNotFound: return ENODEV;
    case ErrorCode::kUnavailable: return EHOSTUNREACH;
    case ErrorCode::kTimeout: return ETIMEDOUT;
    case ErrorCode::kShutdown: return ESHUTDOWN;
    case ErrorCode::kPermission: return EACCES;
    case ErrorCode::kNotSupported: return ENOTSUP;
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kProtocol: return EINVAL;
    default: return EIO;
  }
}

std::string peer_name(int fd) {
  ucred cred{};
  socklen_t size = sizeof cred;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) != 0) return "vfio-user client";
  return "vfio-user client (pid " + std::to_string(cred.pid) + ")";
}

Error path_error(const std::string& path, const std::string& what, int error) {
  ErrorCode code = error == EACCES || error == EPERM     ? ErrorCode::kPermission
                   : error == ENOENT || error == ENOTDIR ? ErrorCode::kNotFound
                   : error == EADDRINUSE                 ? ErrorCode::kAlreadyExists
                                                         : ErrorCode::kIo;
  return Error{code, path + ": " + what + ": " + std::strerror(error)};
}

// Makes way for a new socket file: a socket that nobody serves is removed, anything else is refused.
Status make_way(const std::string& path, const sockaddr_un& address) {
  struct stat st {};
  if (::lstat(path.c_str(), &st) != 0) {
    if (errno == ENOENT) return {};
    return path_error(path, "cannot be looked at", errno);
  }
  if (!S_ISSOCK(st.st_mode)) {
    return Error{ErrorCode::kAlreadyExists, path + ": exists and is not a socket; it is left alone"};
  }
  UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe) return path_error(path, "socket", errno);
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 || errno == EAGAIN) {
    return Error{ErrorCode::kAlreadyExists, path + ": is served by a running process"};
  }
  if (errno != ECONNREFUSED)
    return path_error(path, "a socket is there that cannot be asked whether it is served", errno);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return path_error(path, "stale socket cannot be removed", errno);
  return {};
}

}  // namespace

class Server::Impl {
 public:
  Impl(Options options, registers::PortProvider& provider) : options_(std::move(options)), provider_(provider) {}

  Status start();
  void begin_stop();
  void stop();
  Statistics statistics() const;
  const Options& options() const { return options_; }

 private:
  struct Client {
    UniqueFd fd;
    std::thread thread;
    bool busy = false;  // between taking a request and having answered it
    bool done = false;
    std::optional<Clock::time_point> left;  // since when it is known to have gone
  };

  void log(const std::string& text) const {
    if (options_.log) options_.log(options_.socket_path + ": " + text);
  }
  void accepted(UniqueFd fd);
  void reap();  // mutex_ held
  void serve(Client& client);
  // The first message. Fills `agreement` and `hello` (its header), or has refused the client.
  bool greet(Stream& stream, const std::string& who, Agreement& agreement, vfio_user::Header& hello);
  bool refuse(Stream& stream, const std::string& who, const vfio_user::Header& header, int error_no,
              const std::string& why);
  bool claim(Client& client);
  void leave(Client& client);
  void release();
  void converse(Client& client, Stream& stream, Session& session, Intx& intx, const std::string& who);
  bool wait_for_input(Client& client, Intx& intx);

  const Options options_;
  registers::PortProvider& provider_;
  std::shared_ptr<Acceptor> acceptor_;
  uint64_t listener_id_ = 0;
  UniqueFd listening_;
  dev_t device_number_ = 0;
  ino_t inode_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::list<Client> clients_;
  bool quieting_ = false;
  bool stopping_ = false;
  Client* holder_ = nullptr;
  Intx* intx_ = nullptr;  // of the client that holds the port
  Intx::Counts past_;     // of those before

  std::optional<PciDevice> device_;  // made at the first attachment, kept from client to client; the holder's
  Counters counters_;
};

Status Server::Impl::start() {
  if (auto s = check(options_.pci); !s) return s;
  const std::string& path = options_.socket_path;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path || path.find('\0') != std::string::npos) {
    return Error{ErrorCode::kInvalidArgument, "socket path '" + path + "' has " + std::to_string(path.size()) +
                                                  " bytes, 1 to " + std::to_string(sizeof address.sun_path - 1) +
                                                  " expected"};
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  if (auto s = make_way(path, address); !s) return s;

  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return path_error(path, "socket", errno);
  // Before bind, so that the file never exists with a wider mode.
  if (::fchmod(fd.get(), 0600) != 0) return path_error(path, "fchmod", errno);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return path_error(path, "bind", errno);
  }
  struct stat st {};
  if (::lstat(path.c_str(), &st) == 0) {
    device_number_ = st.st_dev;
    inode_ = st.st_ino;
  }
  if (::chmod(path.c_str(), 0600) != 0 || ::listen(fd.get(), 8) != 0) {
    int error = errno;
    ::unlink(path.c_str());
    return path_error(path, "listen", error);
  }
  auto acceptor = Acceptor::shared();
  if (!acceptor) {
    ::unlink(path.c_str());
    return acceptor.error();
  }
  acceptor_ = *acceptor;
  listening_ = std::move(fd);
  auto id = acceptor_->add(listening_.get(), [this](UniqueFd client) { accepted(std::move(client)); });
  if (!id) {
    ::unlink(path.c_str());
    return id.error();
  }
  listener_id_ = *id;
  return {};
}

void Server::Impl::reap() {
  for (auto it = clients_.begin(); it != clients_.end();) {
    if (it->done) {
      it->thread.join();
      it = clients_.erase(it);
    } else {
      ++it;
    }
  }
}

void Server::Impl::accepted(UniqueFd fd) {
  std::lock_guard lock(mutex_);
  reap();
  if (stopping_ || clients_.size() >= kClientsMax) {
    ++counters_.connections_refused;
    return;
  }
  Client& client = clients_.emplace_back();
  client.fd = std::move(fd);
  try {
    client.thread = std::thread([this, &client] { serve(client); });
  } catch (const std::system_error& e) {
    clients_.pop_back();
    ++counters_.connections_refused;
    log(std::string("a client is closed, there is no thread for it: ") + e.what());
  }
}

bool Server::Impl::claim(Client& client) {
  std::unique_lock lock(mutex_);
  const auto patience = Clock::now() + options_.claim_wait;
  for (;;) {
    if (stopping_) return false;
    if (!holder_) break;
    const auto now = Clock::now();
    if (!holder_->left && now >= patience) {
      // Its thread may be at the registers, or wait for a processor, and not know yet.
      pollfd p{holder_->fd.get(), 0, 0};
      if (::poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLERR)) != 0) holder_->left = now;
    }
    const auto until = holder_->left ? *holder_->left + kLeaveWait : patience;
    if (now >= until) return false;
    changed_.wait_until(lock, until);
  }
  holder_ = &client;
  return true;
}

void Server::Impl::leave(Client& client) {
  std::lock_guard lock(mutex_);
  client.left = Clock::now();
  changed_.notify_all();
}

void Server::Impl::release() {
  std::lock_guard lock(mutex_);
  holder_ = nullptr;
  changed_.notify_all();
}

bool Server::Impl::refuse(Stream& stream, const std::string& who, const vfio_user::Header& header, int error_no,
                          const std::string& why) {
  ++counters_.connections_refused;
  log(who + " is refused: " + why);
  if (!header.is_reply() && !header.no_reply()) {
    Bytes out;
    vfio_user::append_error_reply(out, header.id, header.command, static_cast<uint32_t>(error_no));
    ++counters_.error_replies;
    stream.send(out);
  }
  return false;
}

bool Server::Impl::greet(Stream& stream, const std::string& who, Agreement& agreement, vfio_user::Header& hello) {
  stream.set_send_timeout(options_.client_wait);
  stream.set_receive_timeout(options_.client_wait);
  Descriptors descriptors;
  for (;;) {
    auto m = stream.next(descriptors);
    if (!m) {
      return refuse(stream, who, stream.front().value_or(vfio_user::Header{}),
                    m.error().code == ErrorCode::kLimit ? E2BIG : EINVAL, m.error().message);
    }
    if (*m) {
      hello = (*m)->header;
      ++counters_.messages;
      if (hello.command != static_cast<uint16_t>(vfio_user::Command::kVersion)) {
        return refuse(stream, who, hello, EINVAL, "its first message is not VERSION");
      }
      if (hello.type() != vfio_user::kTypeCommand || (hello.flags & ~vfio_user::kFlagsKnown) != 0 || hello.is_error()) {
        return refuse(stream, who, hello, EINVAL, "VERSION has flags that are none of a command");
      }
      if (!descriptors.empty()) return refuse(stream, who, hello, EINVAL, "descriptors came with VERSION");
      auto version = vfio_user::decode_version((*m)->payload);
      if (!version) return refuse(stream, who, hello, EINVAL, version.error().message);
      auto agreed = negotiate(*version);
      if (!agreed) return refuse(stream, who, hello, to_errno(agreed.error().code), agreed.error().message);
      agreement = *std::move(agreed);
      stream.set_receive_timeout(std::chrono::milliseconds(0));
      return true;
    }
    switch (stream.receive()) {
      case Stream::Receive::kData: break;
      case Stream::Receive::kTimeout:
        ++counters_.connections_refused;
        log(who + " did not send VERSION in time");
        return false;
      case Stream::Receive::kEnd:
      case Stream::Receive::kError:
        if (stream.partial()) log(who + " went away in the middle of its first message");
        return false;
    }
    std::lock_guard lock(mutex_);
    if (stopping_) return false;
  }
}

void Server::Impl::serve(Client& client) {
  const std::string who = peer_name(client.fd.get());
  {
    Stream stream(client.fd.get());
    Agreement agreement;
    vfio_user::Header hello;
    if (greet(stream, who, agreement, hello)) {
      if (!claim(client)) {
        refuse(stream, who, hello, EBUSY, "another client is connected");
      } else {
        auto port = provider_.attach(options_.port_path, who + " on " + options_.socket_path);
        if (!port) {
          leave(client);
          refuse(stream, who, hello, to_errno(port.error().code), port.error().to_string());
        } else {
          registers::RegisterPort& registers = **port;
          if (!device_ || device_->options().kind != registers.kind()) {
            PciOptions pci = options_.pci;
            pci.kind = registers.kind();
            pci.intx = pci.intx && registers.has_interrupt();
            device_.emplace(pci);
          }
          ++counters_.connections;
          Intx intx;
          intx.set_disabled(device_->intx_disabled());
          {
            std::lock_guard lock(mutex_);
            intx_ = &intx;
          }
          registers.set_interrupt_handler([&intx](bool level) { intx.set_level(level); });
          Session session(*device_, registers, intx, counters_, agreement,
                          [this](std::string_view text) { log(std::string(text)); });
          log(who + " is connected, " + std::string(to_string(registers.kind())));
          Bytes out;
          if (!hello.no_reply()) {
            vfio_user::append_message(out, vfio_user::Header{hello.id, hello.command, 0, vfio_user::kTypeReply, 0},
                                      vfio_user::encode_version(agreement.reply));
          }
          if (stream.send(out)) converse(client, stream, session, intx, who);
          leave(client);
          registers.set_interrupt_handler({});
          std::lock_guard lock(mutex_);
          intx_ = nullptr;
          past_.fired += intx.counts().fired;
          past_.unmasked += intx.counts().unmasked;
        }
        // The port is let go before the next client may have it, and before this one sees its end.
        port = Error{ErrorCode::kShutdown, {}};
        release();
      }
    }
    stream.finish(options_.drain_wait);
  }
  std::lock_guard lock(mutex_);
  client.fd.reset();
  client.done = true;
  changed_.notify_all();
}

// Where the client has given a descriptor to unmask with, both are waited for.
bool Server::Impl::wait_for_input(Client& client, Intx& intx) {
  while (intx.unmask_fd() >= 0) {
    pollfd p[2] = {{client.fd.get(), POLLIN, 0}, {intx.unmask_fd(), POLLIN, 0}};
    int n = ::poll(p, 2, -1);
    if (n < 0 && errno != EINTR) return false;
    if (n <= 0) continue;
    if (p[1].revents & POLLIN) {
      uint64_t count;
      if (::read(intx.unmask_fd(), &count, sizeof count) > 0) intx.unmask();
    } else if (p[1].revents != 0) {
      intx.assign_unmask({});
    }
    if (p[0].revents != 0) return true;
  }
  return true;
}

void Server::Impl::converse(Client& client, Stream& stream, Session& session, Intx& intx, const std::string& who) {
  Bytes out;
  Descriptors descriptors;
  // VERSION may have had company in its packet: those messages are first.
  for (bool more = true;; more = stream.receive() == Stream::Receive::kData) {
    if (!more) {
      log(who + (stream.partial() ? " went away in the middle of a message" : " went away"));
      return;
    }
    {
      std::lock_guard lock(mutex_);
      if (stopping_) return;
      client.busy = true;
    }
    out.clear();
    bool end = false;
    for (;;) {
      auto m = stream.next(descriptors);
      if (!m) {
        session.flush(out);
        vfio_user::Header header = stream.front().value_or(vfio_user::Header{});
        log(who + " is closed: " + m.error().message);
        if (!header.is_reply() && !header.no_reply()) {
          ++counters_.error_replies;
          vfio_user::append_error_reply(out, header.id, header.command,
                                        m.error().code == ErrorCode::kLimit ? E2BIG : EINVAL);
        }
        end = true;
        break;
      }
      if (!*m) break;
      session.handle(**m, std::move(descriptors), out);
      descriptors.clear();
    }
    session.flush(out);
    bool sent = stream.send(out);
    {
      std::lock_guard lock(mutex_);
      client.busy = false;
      if (quieting_) changed_.notify_all();
      if (stopping_) {
        changed_.notify_all();
        return;
      }
    }
    if (!sent) log(who + " does not take its replies");
    if (end || !sent || !wait_for_input(client, intx)) return;
  }
}

void Server::Impl::begin_stop() {
  if (acceptor_) acceptor_->remove(listener_id_);
  std::unique_lock lock(mutex_);
  if (stopping_) return;
  // QEMU lowers its guest's line when the guest accesses the device, which it cannot once that is gone: a line left high
  // would interrupt the guest for ever.
  if (intx_ != nullptr) {
    quieting_ = true;
    intx_->quiet();
    changed_.wait_for(lock, options_.quiet_wait, [this] { return intx_ == nullptr || !intx_->pending(); });
  }
  if (stopping_) return;
  stopping_ = true;
  listening_.reset();
  struct stat st {};
  // Only our own file: somebody may have put another in its place.
  if (inode_ != 0 && ::lstat(options_.socket_path.c_str(), &st) == 0 && st.st_dev == device_number_ &&
      st.st_ino == inode_) {
    ::unlink(options_.socket_path.c_str());
  }
  changed_.notify_all();
  // A client whose request is being worked on gets its answer first; every other hears goodbye now.
  changed_.wait_for(lock, options_.drain_wait, [this] {
    for (const Client& c : clients_) {
      if (c.busy) return false;
    }
    return true;
  });
  for (Client& c : clients_) {
    if (c.fd) ::shutdown(c.fd.get(), SHUT_WR);
  }
}

void Server::Impl::stop() {
  begin_stop();
  {
    std::unique_lock lock(mutex_);
    auto all_done = [this] {
      for (const Client& c : clients_) {
        if (!c.done) return false;
      }
      return true;
    };
    if (!changed_.wait_for(lock, options_.drain_wait, all_done)) {
      for (Client& c : clients_) {
        if (c.fd) ::shutdown(c.fd.get(), SHUT_RDWR);
      }
      changed_.wait(lock, all_done);
    }
    reap();
  }
  acceptor_.reset();
}

Statistics Server::Impl::statistics() const {
  Statistics s;
  s.connections = counters_.connections;
  s.connections_refused = counters_.connections_refused;
  s.messages = counters_.messages;
  s.error_replies = counters_.error_replies;
  s.stray_replies = counters_.stray_replies;
  s.register_reads = counters_.register_reads;
  s.register_writes = counters_.register_writes;
  std::lock_guard lock(mutex_);
  Intx::Counts now = past_;
  if (intx_ != nullptr) {
    Intx::Counts current = intx_->counts();
    now.fired += current.fired;
    now.unmasked += current.unmasked;
  }
  s.interrupts = now.fired;
  s.unmasks = now.unmasked;
  s.connected = intx_ != nullptr;
  return s;
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Server::~Server() { impl_->stop(); }

Result<std::unique_ptr<Server>> Server::start(Options options, registers::PortProvider& provider) {
  auto impl = std::make_unique<Impl>(std::move(options), provider);
  if (auto s = impl->start(); !s) return s.error();
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

void Server::stop() { impl_->stop(); }
void Server::begin_stop() { impl_->begin_stop(); }
Statistics Server::statistics() const { return impl_->statistics(); }
const Server::Options& Server::options() const { return impl_->options(); }

}  // namespace bmcpair::vfio_bridge
