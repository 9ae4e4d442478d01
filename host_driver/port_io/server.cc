#include "host_driver/port_io/server.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <list>
#include <mutex>
#include <set>
#include <thread>

#include "host_driver/device_node/packet_socket.h"
#include "host_driver/port_io/wire.h"

namespace bmcpair::port_io {
namespace {

using device_node::Fd;

constexpr unsigned kPorts = 65536;
constexpr uint8_t kEmptyBus = 0xff;

// One interface, and who uses it.
class Socketed {
 public:
  Socketed(const Mapping& mapping, const ServerOptions& options, const std::atomic<bool>& stopping)
      : mapping_(mapping), options_(options), stopping_(stopping) {}

  // Null: nothing is there now.
  std::shared_ptr<registers::RegisterPort> use(uint64_t client) {
    std::unique_lock lock(mutex_);
    // One attaches, the others wait for what comes of it.
    changed_.wait(lock, [&] { return !attaching_; });
    users_.insert(client);
    if (port_) return port_;
    const auto now = std::chrono::steady_clock::now();
    if (failed_ && now < try_again_) return nullptr;
    attaching_ = true;
    // Who was not gone by then is not leaving.
    const Duration busy_wait = failed_ ? Duration(0) : options_.busy_wait;
    lock.unlock();
    auto attached = mapping_.attach();
    const auto until = now + busy_wait;
    while (!attached.ok() && attached.error().code == ErrorCode::kBusy && std::chrono::steady_clock::now() < until && !stopping_) {
      std::this_thread::sleep_for(kBusyPause);
      attached = mapping_.attach();
    }
    lock.lock();
    attaching_ = false;
    changed_.notify_all();
    failed_ = !attached.ok();
    if (failed_) {
      try_again_ = std::chrono::steady_clock::now() + options_.retry_wait;
      const std::string why = attached.error().to_string();
      if (why != said_ && options_.error) options_.error(mapping_.name + ": " + why);
      said_ = why;
      return nullptr;
    }
    said_.clear();
    port_ = std::move(*attached);
    if (options_.log) options_.log(mapping_.name + ": attached");
    return port_;
  }

  void leave(uint64_t client) {
    std::shared_ptr<registers::RegisterPort> last;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return !attaching_; });
      if (users_.erase(client) == 0 || !users_.empty()) return;
      last = std::move(port_);
      port_.reset();
      failed_ = false;
      said_.clear();
      // Nobody attaches anew before this one has gone.
      attaching_ = true;
    }
    const bool was_attached = last != nullptr;
    last.reset();
    {
      std::lock_guard lock(mutex_);
      attaching_ = false;
      changed_.notify_all();
    }
    if (was_attached && options_.log) options_.log(mapping_.name + ": let go");
  }

  bool attached() const {
    std::lock_guard lock(mutex_);
    return port_ != nullptr;
  }
  const Mapping& mapping() const { return mapping_; }

 private:
  static constexpr auto kBusyPause = std::chrono::milliseconds(20);

  const Mapping& mapping_;
  const ServerOptions& options_;
  const std::atomic<bool>& stopping_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool attaching_ = false;
  bool failed_ = false;
  std::chrono::steady_clock::time_point try_again_{};
  std::string said_;
  std::set<uint64_t> users_;
  std::shared_ptr<registers::RegisterPort> port_;
};

}  // namespace

struct Server::Core {
  explicit Core(ServerOptions o) : options(std::move(o)) {
    for (const Mapping& mapping : options.mappings) interfaces.push_back(std::make_unique<Socketed>(mapping, options, stopping));
  }

  struct Client {
    uint64_t id = 0;
    Fd fd;
    std::thread thread;
    std::atomic<bool> over{false};
  };

  struct Found {
    Socketed* interface = nullptr;
    uint16_t offset = 0;
  };
  Found find(unsigned port) const {
    for (const auto& interface : interfaces) {
      const Mapping& m = interface->mapping();
      if (port < m.base) continue;
      const unsigned distance = port - m.base;
      if (distance % m.spacing == 0 && distance / m.spacing < m.registers) {
        return {interface.get(), static_cast<uint16_t>(distance / m.spacing)};
      }
    }
    return {};
  }

  void read(uint64_t client, const Request& request, uint8_t* out) {
    // The whole repetition is one burst where it is of bytes.
    const unsigned lanes = request.width;
    const size_t at_once = lanes == 1 ? request.count : 1;
    for (size_t element = 0; element < request.count; element += at_once) {
      for (unsigned lane = 0; lane < lanes; ++lane) {
        uint8_t* into = out + element * lanes + lane;
        const Found found = request.port + lane < kPorts ? find(request.port + lane) : Found{};
        auto port = found.interface ? found.interface->use(client) : nullptr;
        if (!port || found.offset >= registers::register_count(port->kind())) {
          std::memset(into, kEmptyBus, at_once);
          unclaimed += at_once;
        } else if (at_once == 1) {
          *into = port->read(found.offset);
          ++reads;
        } else {
          port->read_burst(found.offset, {into, at_once});
          reads += at_once;
        }
      }
    }
  }

  void write(uint64_t client, const Request& request, const uint8_t* in) {
    const unsigned lanes = request.width;
    const size_t at_once = lanes == 1 ? request.count : 1;
    for (size_t element = 0; element < request.count; element += at_once) {
      for (unsigned lane = 0; lane < lanes; ++lane) {
        const uint8_t* from = in + element * lanes + lane;
        const Found found = request.port + lane < kPorts ? find(request.port + lane) : Found{};
        auto port = found.interface ? found.interface->use(client) : nullptr;
        if (!port || found.offset >= registers::register_count(port->kind())) {
          unclaimed += at_once;
        } else if (at_once == 1) {
          port->write(found.offset, *from);
          ++writes;
        } else {
          port->write_burst(found.offset, {from, at_once});
          writes += at_once;
        }
      }
    }
  }

  // One packet in, one out. False: whoever this is does not speak our language.
  bool serve_one(Client& client, bool* greeted, std::array<uint8_t, sizeof(Request) + kDataBytesMax>& buffer) {
    ssize_t got;
    do {
      got = ::recv(client.fd.get(), buffer.data(), buffer.size(), MSG_TRUNC);
    } while (got < 0 && errno == EINTR);
    Request request;
    if (got < static_cast<ssize_t>(sizeof request) || got > static_cast<ssize_t>(buffer.size())) return false;
    std::memcpy(&request, buffer.data(), sizeof request);
    const size_t carried = static_cast<size_t>(got) - sizeof request;
    std::array<uint8_t, sizeof(Answer) + kDataBytesMax> answer;
    const Answer head;
    std::memcpy(answer.data(), &head, sizeof head);
    size_t answered = sizeof head;
    if (!*greeted) {
      if (request.operation != Operation::kHello || request.count != kWireVersion || carried != 0) return false;
      *greeted = true;
    } else {
      if (request.width != 1 && request.width != 2 && request.width != 4) return false;
      if (request.count == 0 || request.count > kDataBytesMax / request.width) return false;
      const size_t bytes = static_cast<size_t>(request.count) * request.width;
      if (request.operation == Operation::kIn && carried == 0) {
        read(client.id, request, answer.data() + sizeof head);
        answered += bytes;
      } else if (request.operation == Operation::kOut && carried == bytes) {
        write(client.id, request, buffer.data() + sizeof request);
      } else {
        return false;
      }
    }
    ssize_t sent;
    do {
      sent = ::send(client.fd.get(), answer.data(), answered, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent == static_cast<ssize_t>(answered);
  }

  void serve(Client& client) {
    bool greeted = false;
    std::array<uint8_t, sizeof(Request) + kDataBytesMax> buffer;
    while (!stopping && serve_one(client, &greeted, buffer)) {
    }
    // It may not wait for us to be asked for the next.
    ::shutdown(client.fd.get(), SHUT_RDWR);
    for (auto& interface : interfaces) interface->leave(client.id);
    client.over = true;
  }

  void accept_clients() {
    for (;;) {
      pollfd fds[2] = {{listener.fd.get(), POLLIN, 0}, {stop_fd.get(), POLLIN, 0}};
      if (::poll(fds, 2, -1) < 0 && errno != EINTR) return;
      if (stopping) return;
      Fd fd(::accept4(listener.fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!fd) {
        // No descriptor left: those that are there will go, this is no moment to spin.
        if (errno == EMFILE || errno == ENFILE) std::this_thread::sleep_for(std::chrono::milliseconds(20));
        continue;
      }
      std::lock_guard lock(mutex);
      for (auto it = clients.begin(); it != clients.end();) {
        if (it->over) {
          it->thread.join();
          it = clients.erase(it);
        } else {
          ++it;
        }
      }
      if (clients.size() >= options.clients_max) {
        if (options.error) options.error("more than " + std::to_string(options.clients_max) + " programs use ports at once");
        continue;
      }
      Client& client = clients.emplace_back();
      client.id = ++clients_ever;
      client.fd = std::move(fd);
      client.thread = std::thread([this, &client] { serve(client); });
    }
  }

  ServerOptions options;
  std::atomic<bool> stopping{false};
  std::vector<std::unique_ptr<Socketed>> interfaces;
  device_node::Listener listener;
  Fd stop_fd;
  std::thread accepter;
  std::mutex mutex;
  std::list<Client> clients;
  std::atomic<uint64_t> clients_ever{0}, reads{0}, writes{0}, unclaimed{0};
};

Server::Server(std::unique_ptr<Core> core) : core_(std::move(core)) {}

Result<std::unique_ptr<Server>> Server::create(ServerOptions options) {
  for (const Mapping& mapping : options.mappings) {
    if (!mapping.attach || mapping.spacing == 0 || mapping.registers == 0) {
      return Error{ErrorCode::kInvalidArgument, "ports of " + mapping.name + ": no way to attach, no spacing or no registers"};
    }
  }
  auto core = std::make_unique<Core>(std::move(options));
  auto listener = device_node::listen_on(core->options.socket_path, core->options.socket_mode);
  if (!listener.ok()) return listener.error();
  core->listener = std::move(*listener);
  core->stop_fd.reset(::eventfd(0, EFD_CLOEXEC));
  if (!core->stop_fd) {
    core->listener.remove();
    return Error{ErrorCode::kLimit, std::string("eventfd: ") + std::strerror(errno)};
  }
  core->accepter = std::thread([c = core.get()] { c->accept_clients(); });
  return std::unique_ptr<Server>(new Server(std::move(core)));
}

Server::~Server() {
  core_->stopping = true;
  core_->listener.remove();
  const uint64_t one = 1;
  (void)!::write(core_->stop_fd.get(), &one, sizeof one);
  core_->accepter.join();
  for (Core::Client& client : core_->clients) ::shutdown(client.fd.get(), SHUT_RDWR);
  for (Core::Client& client : core_->clients) client.thread.join();
}

bool Server::attached(size_t mapping) const { return core_->interfaces.at(mapping)->attached(); }

ServerStatistics Server::statistics() const {
  return {core_->clients_ever, core_->reads, core_->writes, core_->unclaimed};
}

}  // namespace bmcpair::port_io
