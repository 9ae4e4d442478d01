#include "vfio_bridge/stream.h"

#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>
#include <cstring>

namespace bmcpair::vfio_bridge {
namespace {

constexpr size_t kReceiveBytes = 16 * 1024;
constexpr size_t kScmMax = 253;  // what Linux passes in one message at most

// Always takes the descriptors over; keeps at most `room` of them.
void take_descriptors(msghdr& msg, Descriptors& to, size_t room) {
  for (cmsghdr* c = CMSG_FIRSTHDR(&msg); c != nullptr; c = CMSG_NXTHDR(&msg, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < n; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
      UniqueFd owned(fd);
      if (to.size() < room) to.push_back(std::move(owned));
    }
  }
}

timeval to_timeval(std::chrono::milliseconds t) {
  return timeval{static_cast<time_t>(t.count() / 1000), static_cast<suseconds_t>(t.count() % 1000 * 1000)};
}

bool one_processor() {
  cpu_set_t set;
  return ::sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) < 2;
}

}  // namespace

Stream::Stream(int fd) : fd_(fd), buffer_(kMessageBytesMax), spin_(one_processor()) {}

Stream::Receive Stream::receive() {
  alignas(cmsghdr) char control[CMSG_SPACE(kScmMax * sizeof(int))];
  iovec iov{buffer_.space(kReceiveBytes), kReceiveBytes};
  msghdr msg{};
  msg.msg_iov = &iov;
  msg.msg_iovlen = 1;
  msg.msg_control = control;
  msg.msg_controllen = sizeof control;
  const auto begin = std::chrono::steady_clock::now();
  auto waited = [&] { return std::chrono::steady_clock::now() - begin; };
  ssize_t n = -1;
  errno = EAGAIN;
  for (const auto budget = spin_.budget(); n < 0 && errno == EAGAIN && waited() < budget;) {
    n = ::recvmsg(fd_, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) {
      // Who waits for this processor may be the client itself.
      ::sched_yield();
      errno = EAGAIN;
    }
  }
  if (n < 0) {
    do {
      n = ::recvmsg(fd_, &msg, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
  }
  spin_.came_after(waited());
  if (n < 0) return errno == EAGAIN || errno == EWOULDBLOCK ? Receive::kTimeout : Receive::kError;
  if (n == 0) return Receive::kEnd;
  buffer_.commit(static_cast<size_t>(n));
  if (msg.msg_controllen > 0) {
    // One above the limit is kept, so that it is seen that there were too many.
    Descriptors came;
    take_descriptors(msg, came, kDescriptorsMax + 1);
    if (!came.empty()) {
      uint64_t owner = buffer_.descriptor_owner();
      if (owner != owner_) {
        pending_.clear();
        owner_ = owner;
      }
      for (UniqueFd& fd : came) {
        if (pending_.size() <= kDescriptorsMax) pending_.push_back(std::move(fd));
      }
    }
  }
  return Receive::kData;
}

Result<std::optional<vfio_user::Message>> Stream::next(Descriptors& descriptors) {
  descriptors.clear();
  auto m = buffer_.next();
  if (m && *m && !pending_.empty() && (*m)->start == owner_) descriptors.swap(pending_);
  return m;
}

bool Stream::send(ByteView bytes) {
  while (!bytes.empty()) {
    ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EINTR) continue;
      return false;
    }
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return true;
}

void Stream::set_receive_timeout(std::chrono::milliseconds timeout) {
  timeval tv = to_timeval(timeout);
  ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
}

void Stream::set_send_timeout(std::chrono::milliseconds timeout) {
  timeval tv = to_timeval(timeout);
  ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
}

void Stream::finish(std::chrono::milliseconds at_most) {
  pending_.clear();
  ::shutdown(fd_, SHUT_WR);
  const auto deadline = std::chrono::steady_clock::now() + at_most;
  for (;;) {
    auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return;
    pollfd p{fd_, POLLIN, 0};
    int ready = ::poll(&p, 1, static_cast<int>(left.count()));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return;
    alignas(cmsghdr) char control[CMSG_SPACE(kScmMax * sizeof(int))];
    char thrown_away[4096];
    iovec iov{thrown_away, sizeof thrown_away};
    msghdr msg{};
    msg.msg_iov = &iov;
    msg.msg_iovlen = 1;
    msg.msg_control = control;
    msg.msg_controllen = sizeof control;
    ssize_t n = ::recvmsg(fd_, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (n > 0 && msg.msg_controllen > 0) {
      Descriptors none;
      take_descriptors(msg, none, 0);
    }
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) return;
  }
}

}  // namespace bmcpair::vfio_bridge
