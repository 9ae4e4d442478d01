#include "vfio_bridge/acceptor.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace bmcpair::vfio_bridge {
namespace {

Error io_error(const char* what, int error) {
  return Error{ErrorCode::kIo, std::string(what) + ": " + std::strerror(error)};
}

}  // namespace

Result<std::shared_ptr<Acceptor>> Acceptor::shared() {
  static std::mutex mutex;
  static std::weak_ptr<Acceptor> existing;
  std::lock_guard lock(mutex);
  if (auto a = existing.lock()) return a;
  std::shared_ptr<Acceptor> made(new Acceptor);
  if (auto s = made->init(); !s) return s.error();
  existing = made;
  return made;
}

Status Acceptor::init() {
  epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_) return io_error("epoll_create1", errno);
  wake_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_) return io_error("eventfd", errno);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = 0;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) != 0) return io_error("epoll_ctl", errno);
  try {
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error& e) {
    return Error{ErrorCode::kLimit, std::string("no thread to accept clients: ") + e.what()};
  }
  return {};
}

Acceptor::~Acceptor() {
  ending_ = true;
  if (thread_.joinable()) {
    const uint64_t one = 1;
    [[maybe_unused]] ssize_t n = ::write(wake_.get(), &one, sizeof one);
    thread_.join();
  }
}

Result<uint64_t> Acceptor::add(int listening, Accepted accepted) {
  std::lock_guard lock(mutex_);
  uint64_t id = next_id_++;
  listeners_.emplace(id, Listener{listening, std::move(accepted)});
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = id;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, listening, &event) != 0) {
    listeners_.erase(id);
    return io_error("epoll_ctl", errno);
  }
  return id;
}

void Acceptor::remove(uint64_t id) {
  std::lock_guard lock(mutex_);
  auto it = listeners_.find(id);
  if (it == listeners_.end()) return;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, it->second.fd, nullptr);
  listeners_.erase(it);
}

void Acceptor::run() {
  std::array<epoll_event, 64> events;
  while (!ending_) {
    int n = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), -1);
    bool out_of_descriptors = false;
    for (int i = 0; i < n; ++i) {
      std::lock_guard lock(mutex_);
      // A copy: epoll_event is packed, and its member may not be where a reference may point.
      const uint64_t id = events[static_cast<size_t>(i)].data.u64;
      auto it = listeners_.find(id);
      if (it == listeners_.end()) continue;
      UniqueFd client(::accept4(it->second.fd, nullptr, nullptr, SOCK_CLOEXEC));
      if (client) {
        it->second.accepted(std::move(client));
      } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
        out_of_descriptors = true;
      }
    }
    // The client stays in the queue; ask again in a while rather than at once.
    if (out_of_descriptors) {
      pollfd p{wake_.get(), POLLIN, 0};
      ::poll(&p, 1, 50);
    }
  }
}

}  // namespace bmcpair::vfio_bridge
