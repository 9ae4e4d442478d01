#include "host_driver/bus/unix_socket.h"

#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

namespace bmcpair::bus {
namespace {

ErrorCode code_of(int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR: return ErrorCode::kNotFound;
    case ECONNREFUSED:
    case EAGAIN: return ErrorCode::kUnavailable;
    case EACCES:
    case EPERM: return ErrorCode::kPermission;
    default: return ErrorCode::kIo;
  }
}

}  // namespace

Result<Fd> connect_unix(const std::string& path, std::chrono::milliseconds wait) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path || path.find('\0') != std::string::npos) {
    return Error{ErrorCode::kInvalidArgument, "socket path '" + path + "' has " + std::to_string(path.size()) +
                                                  " bytes, 1 to " + std::to_string(sizeof address.sun_path - 1) +
                                                  " expected"};
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return Error{ErrorCode::kIo, path + ": socket: " + std::strerror(errno)};
  timeval tv{static_cast<time_t>(wait.count() / 1000), static_cast<suseconds_t>(wait.count() % 1000 * 1000)};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    int error = errno;
    return Error{code_of(error),
                 path + ": " + (error == ECONNREFUSED ? "nobody serves this socket" : std::strerror(error))};
  }
  return fd;
}

Result<Fd> make_eventfd() {
  Fd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd) return Error{ErrorCode::kLimit, std::string("eventfd: ") + std::strerror(errno)};
  return fd;
}

void signal_eventfd(int fd) {
  const uint64_t one = 1;
  [[maybe_unused]] ssize_t n = ::write(fd, &one, sizeof one);
}

bool drain_eventfd(int fd) {
  uint64_t n;
  return ::read(fd, &n, sizeof n) == sizeof n;
}

}  // namespace bmcpair::bus
