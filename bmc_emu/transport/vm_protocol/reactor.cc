#include "bmc_emu/transport/vm_protocol/reactor.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>

namespace bmcpair::transport {
namespace {

constexpr int kPauseMs = 50;

Error io_error(const char* what, int error) {
  return Error{ErrorCode::kIo, std::string(what) + ": " + std::strerror(error)};
}

}  // namespace

void FileDescriptor::reset(int fd) {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

Result<std::shared_ptr<Reactor>> Reactor::shared() {
  static std::mutex mutex;
  static std::weak_ptr<Reactor> existing;
  std::lock_guard<std::mutex> lock(mutex);
  if (auto reactor = existing.lock()) return reactor;
  std::shared_ptr<Reactor> made(new Reactor);
  if (Status s = made->init(); !s) return s.error();
  existing = made;
  return made;
}

Status Reactor::init() {
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
    return Error{ErrorCode::kLimit, std::string("no thread to serve VM sockets: ") + e.what()};
  }
  return {};
}

Reactor::~Reactor() {
  ending_ = true;
  if (thread_.joinable()) {
    const uint64_t one = 1;
    [[maybe_unused]] ssize_t n = ::write(wake_.get(), &one, sizeof one);
    thread_.join();
  }
}

Result<uint64_t> Reactor::add(int fd, uint32_t epoll_events, Ready ready) {
  std::lock_guard<std::recursive_mutex> lock(mutex_);
  uint64_t id = next_id_++;
  entries_.emplace(id, std::make_shared<Entry>(Entry{fd, std::move(ready)}));
  epoll_event event{};
  event.events = epoll_events;
  event.data.u64 = id;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    int error = errno;
    entries_.erase(id);
    return io_error("epoll_ctl", error);
  }
  return id;
}

void Reactor::watch(uint64_t id, int fd, uint32_t epoll_events) {
  epoll_event event{};
  event.events = epoll_events;
  event.data.u64 = id;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
}

void Reactor::remove(uint64_t id) {
  std::lock_guard<std::recursive_mutex> lock(mutex_);
  auto it = entries_.find(id);
  if (it == entries_.end()) return;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, it->second->fd, nullptr);
  entries_.erase(it);
}

void Reactor::exclusively(const std::function<void()>& f) {
  std::lock_guard<std::recursive_mutex> lock(mutex_);
  f();
}

void Reactor::run() {
  std::array<epoll_event, 64> events;
  while (!ending_) {
    int n = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), -1);
    bool pause = false;
    for (int i = 0; i < n; ++i) {
      const epoll_event& event = events[static_cast<size_t>(i)];
      // A copy: epoll_event is packed, and its member may not be where a reference may point.
      const uint64_t id = event.data.u64;
      std::lock_guard<std::recursive_mutex> lock(mutex_);
      auto it = entries_.find(id);
      if (it == entries_.end()) continue;  // the wake, or removed by one before it in this round
      std::shared_ptr<Entry> entry = it->second;  // it may remove itself
      entry->ready(event.events);
      pause = pause || std::exchange(pause_, false);
    }
    // Who waits in a queue stays there; looking again at once would only spin.
    if (pause) {
      pollfd p{wake_.get(), POLLIN, 0};
      ::poll(&p, 1, kPauseMs);
    }
  }
}

}  // namespace bmcpair::transport
