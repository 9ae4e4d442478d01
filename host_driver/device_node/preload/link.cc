#include "host_driver/device_node/preload/link.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "host_driver/device_node/names.h"

namespace bmcpair::device_node::preload {
namespace {

// The server answers at once, but an open may bring a whole interface up first.
constexpr int64_t kAnswerMs = 60'000;
constexpr int64_t kOpenMs = 180'000;
constexpr int kConnectSeconds = 20;

// An open file is known by the name its socket was bound to: it stays with it through dup, fork, exec and chroot.
constexpr char kNamePrefix[] = "\0bmcpair-ipmi/";
constexpr size_t kNamePrefixSize = sizeof kNamePrefix - 1;
constexpr size_t kNameSize = kNamePrefixSize + 16;

// System calls as such: no cancellation points, nobody else's wrappers.
int close_fd(int fd) { return static_cast<int>(::syscall(SYS_close, fd)); }

int64_t now_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1'000'000;
}

// 0, or ETIMEDOUT, or an errno.
int wait_for(int fd, short events, int64_t deadline_ms) {
  for (;;) {
    const int64_t left = deadline_ms - now_ms();
    if (left <= 0) return ETIMEDOUT;
    pollfd wanted{fd, events, 0};
    struct {
      long seconds, nanoseconds;
    } wait{static_cast<long>(left / 1000), static_cast<long>(left % 1000 * 1'000'000)};
    const long ready = ::syscall(SYS_ppoll, &wanted, 1, &wait, nullptr, 0);
    if (ready > 0) return wanted.revents & POLLNVAL ? EBADF : 0;
    if (ready < 0 && errno != EINTR) return errno;
  }
}

// Bytes, 0 when the other side has closed, or an errno below 0.
long receive(int fd, uint8_t* into, size_t size, int64_t deadline_ms) {
  for (bool reset = false;;) {
    const long got = ::syscall(SYS_recvfrom, fd, into, size, MSG_DONTWAIT, nullptr, nullptr);
    if (got >= 0) return got;
    if (errno == EINTR) continue;
    // Whoever closed without having read what we sent: what it said first comes after the error.
    if (errno == ECONNRESET && !reset) {
      reset = true;
      continue;
    }
    if (errno != EAGAIN) return -errno;
    if (int error = wait_for(fd, POLLIN, deadline_ms)) return -error;
  }
}

int send_with(int fd, const uint8_t* packet, size_t size, const int* fds, size_t fd_count, int64_t deadline_ms) {
  alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))] = {};
  iovec iov{const_cast<uint8_t*>(packet), size};
  msghdr message{};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  if (fd_count > 0) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
    cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
    std::memcpy(CMSG_DATA(c), fds, fd_count * sizeof(int));
  }
  for (;;) {
    if (::syscall(SYS_sendmsg, fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return 0;
    switch (errno) {
      case EINTR: break;
      case EAGAIN:
        if (int error = wait_for(fd, POLLOUT, deadline_ms)) return error;
        break;
      case EPIPE:
      case ECONNRESET:
      case ENOTCONN: return ENODEV;  // the server has ended
      case ETOOMANYREFS: return ENOMEM;
      default: return errno;
    }
  }
}

// Through a pipe, where a sandbox forbids the direct way.
bool copy_through_pipe(const void* from, void* to, size_t size) {
  int ends[2];
  if (::syscall(SYS_pipe2, ends, O_CLOEXEC) != 0) return false;
  bool good = true;
  const auto* source = static_cast<const uint8_t*>(from);
  auto* target = static_cast<uint8_t*>(to);
  constexpr size_t kStep = 4096;  // PIPE_BUF: never blocks
  for (size_t at = 0; good && at < size; at += kStep) {
    const size_t step = size - at < kStep ? size - at : kStep;
    good = ::syscall(SYS_write, ends[1], source + at, step) == static_cast<long>(step) &&
           ::syscall(SYS_read, ends[0], target + at, step) == static_cast<long>(step);
  }
  close_fd(ends[0]);
  close_fd(ends[1]);
  return good;
}

void* pointer(uint64_t address) { return reinterpret_cast<void*>(static_cast<uintptr_t>(address)); }

class Line {
 public:
  explicit Line(OpenFailure& failure) : failure_(failure) {}
  Line& operator<<(const char* s) { return add(s, std::strlen(s)); }
  Line& operator<<(unsigned n) {
    char digits[12];
    size_t at = sizeof digits;
    do {
      digits[--at] = static_cast<char>('0' + n % 10);
      n /= 10;
    } while (n);
    return add(digits + at, sizeof digits - at);
  }
  Line& add(const char* s, size_t size) {
    for (size_t i = 0; i < size && size_ + 1 < sizeof failure_.text; ++i) failure_.text[size_++] = s[i] == '\n' ? ' ' : s[i];
    failure_.text[size_] = 0;
    failure_.worth_saying = true;
    return *this;
  }

 private:
  OpenFailure& failure_;
  size_t size_ = 0;
};

const char* why(int error) {
  switch (error) {
    case ENOENT: return "there is no such socket: start `host_driver serve`, or correct the variable";
    case ENOTDIR: return "no such folder: correct the variable";
    case ECONNREFUSED: return "nobody serves this socket any more: start `host_driver serve` again";
    case EACCES:
    case EPERM: return "permission denied: the server belongs to another user (see `host_driver serve --mode`)";
    case EPROTOTYPE:
    case ENOTSOCK: return "this is not the socket of `host_driver serve`";
    case EAGAIN: return "the server does not answer";
    default: return std::strerror(error);
  }
}

// Binds the socket to a name of its own, by which is_device() knows it.
int name_socket(int fd) {
  for (unsigned attempt = 0;; ++attempt) {
    uint64_t random = 0;
    if (::syscall(SYS_getrandom, &random, sizeof random, 0) != static_cast<long>(sizeof random)) {
      timespec now{};
      ::clock_gettime(CLOCK_MONOTONIC, &now);
      random = static_cast<uint64_t>(now.tv_nsec) << 32 ^ static_cast<uint64_t>(::syscall(SYS_gettid)) ^ attempt;
    }
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    std::memcpy(name.sun_path, kNamePrefix, kNamePrefixSize);
    for (size_t i = 0; i < 16; ++i, random >>= 4) name.sun_path[kNamePrefixSize + i] = "0123456789abcdef"[random & 15];
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + kNameSize);
    if (::syscall(SYS_bind, fd, &name, size) == 0) return 0;
    if (errno != EADDRINUSE || attempt > 16) return errno;
  }
}

// 0 or an errno, with its text.
int connect_and_greet(int fd, const char* socket_path, uint16_t device, OpenFailure& failure) {
  Line line(failure);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const size_t path_size = std::strlen(socket_path);
  if (path_size >= sizeof address.sun_path) {
    line << kSocketVariable << "=" << socket_path << ": longer than a socket's path may be";
    return ENXIO;
  }
  std::memcpy(address.sun_path, socket_path, path_size);
  timeval limit{kConnectSeconds, 0};
  ::syscall(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  int error = name_socket(fd);
  if (error == 0) {
    while (::syscall(SYS_connect, fd, &address, sizeof address) != 0) {
      error = errno;
      if (error != EINTR) break;
      error = 0;
    }
  }
  limit = {};
  ::syscall(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (error) {
    line << kSocketVariable << "=" << socket_path << ": " << why(error);
    return error == EACCES || error == EPERM ? EACCES : ENXIO;
  }
  const int64_t deadline = now_ms() + kOpenMs;
  uint8_t packet[kPacketMax];
  Hello hello;
  hello.device = device;
  error = send_with(fd, packet, encode(hello, packet), nullptr, 0, deadline);
  // One that has closed already may have said why.
  const long got = error && error != ENODEV ? -error : preload::receive(fd, packet, sizeof packet, deadline);
  if (got <= 0) {
    line << socket_path << ": the server ended, or does not answer";
    return ENXIO;
  }
  HelloReply reply;
  if (!decode({packet, static_cast<size_t>(got)}, reply)) {
    line << socket_path << ": this is not the socket of `host_driver serve`";
    return ENXIO;
  }
  if (reply.version != kProtocolVersion) {
    line << socket_path << ": the server speaks protocol " << unsigned{reply.version} << ", " << kPreloadLibrary << " speaks "
         << unsigned{kProtocolVersion} << ": use host_driver and library of one version";
    return ENXIO;
  }
  if (reply.error == 0) return 0;
  // A device that is not there is what programs look for to find out how many there are.
  if (reply.error != ENOENT) line.add(reply.text, reply.text_size);
  return reply.error;
}

}  // namespace

bool OwnMemory::copy_from(void* to, uint64_t from, size_t size) {
  if (size == 0) return true;
  iovec local{to, size}, remote{pointer(from), size};
  const long n = ::syscall(SYS_process_vm_readv, ::getpid(), &local, 1, &remote, 1, 0);
  if (n >= 0) return n == static_cast<long>(size);
  return errno != EFAULT && copy_through_pipe(pointer(from), to, size);
}

bool OwnMemory::copy_to(uint64_t to, const void* from, size_t size) {
  if (size == 0) return true;
  iovec local{const_cast<void*>(from), size}, remote{pointer(to), size};
  const long n = ::syscall(SYS_process_vm_writev, ::getpid(), &local, 1, &remote, 1, 0);
  if (n >= 0) return n == static_cast<long>(size);
  return errno != EFAULT && copy_through_pipe(from, pointer(to), size);
}

Link::~Link() {
  if (pair_ >= 0) close_fd(pair_);
}

int Link::send(const Request& request) {
  int ends[2];
  if (::syscall(SYS_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return errno;
  pair_ = ends[0];
  uint8_t packet[kPacketMax];
  const int fds[2] = {ends[1], fd_};
  const int error = send_with(fd_, packet, encode(request, packet), fds, request.operation == Operation::kReceive ? 2 : 1,
                              now_ms() + kAnswerMs);
  close_fd(ends[1]);
  return error;
}

int Link::answer(Reply& reply) {
  uint8_t packet[kPacketMax];
  const long got = preload::receive(pair_, packet, sizeof packet, now_ms() + kAnswerMs);
  if (got == 0 || got == -ECONNRESET) return ENODEV;  // the server has ended
  if (got < 0) return static_cast<int>(-got);
  return decode({packet, static_cast<size_t>(got)}, reply) ? 0 : EIO;
}

int Link::transact(const Request& request, Reply& reply) {
  const int error = send(request);
  return error ? error : answer(reply);
}

int Link::receive(Reply& reply) { return transact(Request{}, reply); }

int Link::finish(Verdict verdict) {
  uint8_t packet[kPacketMax];
  const int error = send_with(pair_, packet, encode(verdict, packet), nullptr, 0, now_ms() + kAnswerMs);
  // Who took too long for the server finds its last word there, and nobody to talk to.
  if (error && error != ENODEV) return error;
  Reply done;
  return answer(done);
}

bool is_device(int fd) {
  sockaddr_un name{};
  socklen_t size = sizeof name;
  if (::syscall(SYS_getsockname, fd, &name, &size) != 0) return false;
  return name.sun_family == AF_UNIX && size == offsetof(sockaddr_un, sun_path) + kNameSize &&
         std::memcmp(name.sun_path, kNamePrefix, kNamePrefixSize) == 0;
}

int open_device(const char* socket_path, uint16_t device, int flags, OpenFailure& failure) {
  const int type = SOCK_SEQPACKET | (flags & O_CLOEXEC ? SOCK_CLOEXEC : 0);
  const int fd = static_cast<int>(::syscall(SYS_socket, AF_UNIX, type, 0));
  if (fd < 0) return -errno;
  const int error = connect_and_greet(fd, socket_path, device, failure);
  if (error) {
    close_fd(fd);
    return -error;
  }
  if (flags & O_NONBLOCK) ::fcntl(fd, F_SETFL, O_NONBLOCK);
  return fd;
}

}  // namespace bmcpair::device_node::preload
