#include "host_driver/device_node/packet_socket.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace bmcpair::device_node {
namespace {

Error error_of(int error, const std::string& what) {
  ErrorCode code = ErrorCode::kIo;
  switch (error) {
    case EACCES:
    case EPERM:
    case EROFS: code = ErrorCode::kPermission; break;
    case ENOENT:
    case ENOTDIR: code = ErrorCode::kNotFound; break;
    case EMFILE:
    case ENFILE: code = ErrorCode::kLimit; break;
    default: break;
  }
  return Error{code, what + ": " + std::strerror(error)};
}

// Each missing folder of the path, for its owner only.
Status make_folder(const std::filesystem::path& folder) {
  struct stat seen;
  if (folder.empty() || ::stat(folder.c_str(), &seen) == 0) return {};
  if (Status parent = make_folder(folder.parent_path()); !parent) return parent;
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return error_of(errno, folder.string() + ": cannot be made");
  return {};
}

// Takes away what a server that has ended left behind. An error when somebody serves it, or it is something else.
Status make_room(const std::string& path, const sockaddr_un& address) {
  struct stat seen;
  if (::lstat(path.c_str(), &seen) != 0) return errno == ENOENT ? Status() : error_of(errno, path);
  if (!S_ISSOCK(seen.st_mode)) return Error{ErrorCode::kAlreadyExists, path + ": is there, and is no socket; choose another path"};
  Fd probe(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe) return error_of(errno, path + ": socket");
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno == EACCES || errno == EPERM) return error_of(errno, path + ": somebody else's socket");
    if (errno == ECONNREFUSED) {
      if (::unlink(path.c_str()) != 0 && errno != ENOENT) return error_of(errno, path + ": cannot be replaced");
      return {};
    }
    if (errno == ENOENT) return {};
  }
  return Error{ErrorCode::kAlreadyExists, path + ": somebody serves this socket; end it or choose another path"};
}

}  // namespace

ReceivedPacket receive_packet(int fd, std::span<uint8_t> into) {
  ReceivedPacket out;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kFdsMax)];
  iovec iov{into.data(), into.size()};
  msghdr message{};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  do {
    out.size = ::recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (out.size < 0 && errno == EINTR);
  if (out.size < 0) return out;
  out.whole = !(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC));
  size_t taken = 0;
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int passed;
      std::memcpy(&passed, CMSG_DATA(c) + i * sizeof(int), sizeof passed);
      Fd owned(passed);
      if (taken < kFdsMax) out.fds[taken++] = std::move(owned);
    }
  }
  return out;
}

bool send_packet(int fd, std::span<const uint8_t> packet) {
  ssize_t sent;
  do {
    sent = ::send(fd, packet.data(), packet.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent == static_cast<ssize_t>(packet.size());
}

void Listener::remove() {
  struct stat seen;
  if (fd && ::lstat(path.c_str(), &seen) == 0 && seen.st_dev == device && seen.st_ino == inode) ::unlink(path.c_str());
}

Result<Listener> listen_on(const std::string& path, unsigned mode) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path || path.find('\0') != std::string::npos) {
    return Error{ErrorCode::kInvalidArgument, "socket path '" + path + "' has " + std::to_string(path.size()) + " bytes, 1 to " +
                                                  std::to_string(sizeof address.sun_path - 1) + " expected"};
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  if (Status made = make_folder(folder); !made) return made.error();
  // Two servers that start at once look one after the other.
  Fd folder_fd(::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder_fd) return error_of(errno, folder.string());
  while (::flock(folder_fd.get(), LOCK_EX) != 0) {
    if (errno != EINTR) return error_of(errno, folder.string() + ": cannot be locked");
  }
  if (Status room = make_room(path, address); !room) return room.error();
  Listener out;
  out.path = path;
  out.fd.reset(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!out.fd) return error_of(errno, path + ": socket");
  // The socket is born with this mode, less what the umask takes; so it is never open to more than it shall be.
  ::fchmod(out.fd.get(), mode);
  if (::bind(out.fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return error_of(errno, path + ": cannot be bound");
  }
  struct stat made;
  if (::chmod(path.c_str(), mode) != 0 || ::lstat(path.c_str(), &made) != 0) {
    const Error error = error_of(errno, path);
    ::unlink(path.c_str());
    return error;
  }
  out.device = made.st_dev;
  out.inode = made.st_ino;
  if (::listen(out.fd.get(), 128) != 0) {
    const Error error = error_of(errno, path + ": cannot listen");
    out.remove();
    return error;
  }
  return out;
}

}  // namespace bmcpair::device_node
