#include "integration/guest_bench/bare_server.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "proto/vfio_user/message.h"

namespace bmcpair::guest_bench {
namespace {

using vfio_user::Command;
using vfio_user::Header;

constexpr uint32_t kConfigBytes = 256;
constexpr uint32_t kBarBytes = 8;
constexpr size_t kMessageBytesMax = 64 * 1024;

std::array<uint8_t, kConfigBytes> config_space() {
  std::array<uint8_t, kConfigBytes> c{};
  c[0x00] = 0x34, c[0x01] = 0x12;  // vendor 1234
  c[0x02] = 0xff, c[0x03] = 0x11;  // device 11ff
  c[0x0b] = 0xff;                  // class ff: unassigned
  c[0x10] = 0x01;                  // BAR0 is I/O
  return c;
}

uint32_t region_bytes(uint32_t index) {
  if (index == vfio_user::kRegionBar0) return kBarBytes;
  return index == vfio_user::kRegionConfig ? kConfigBytes : 0;
}

Error failed(const std::string& what) { return {ErrorCode::kUnavailable, what + ": " + std::strerror(errno)}; }

class Conversation {
 public:
  explicit Conversation(int fd) : fd_(fd), buffer_(kMessageBytesMax), config_(config_space()) {}

  Status run() {
    for (;;) {
      alignas(cmsghdr) char control[CMSG_SPACE(16 * sizeof(int))];
      iovec iov{buffer_.space(kMessageBytesMax), kMessageBytesMax};
      msghdr msg{};
      msg.msg_iov = &iov;
      msg.msg_iovlen = 1;
      msg.msg_control = control;
      msg.msg_controllen = sizeof control;
      ssize_t n = ::recvmsg(fd_, &msg, MSG_CMSG_CLOEXEC);
      if (n == 0) return {};
      if (n < 0) {
        if (errno == EINTR) continue;
        return failed("receiving");
      }
      for (cmsghdr* c = CMSG_FIRSTHDR(&msg); c != nullptr; c = CMSG_NXTHDR(&msg, c)) {
        size_t fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < fds; ++i) {
          int fd;
          std::memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
          ::close(fd);
        }
      }
      buffer_.commit(static_cast<size_t>(n));
      out_.clear();
      for (;;) {
        auto message = buffer_.next();
        if (!message.ok()) return message.error();
        if (!*message) break;
        answer((*message)->header, (*message)->payload);
      }
      for (ByteView left = out_; !left.empty();) {
        ssize_t sent = ::send(fd_, left.data(), left.size(), MSG_NOSIGNAL);
        if (sent < 0) return failed("sending");
        left = left.subspan(static_cast<size_t>(sent));
      }
    }
  }

 private:
  void reply(const Header& header, ByteView payload, ByteView data = {}) {
    if (header.no_reply()) return;
    vfio_user::append_message(out_, Header{header.id, header.command, 0, vfio_user::kTypeReply, 0}, payload, data);
  }

  void answer(const Header& header, ByteView payload) {
    switch (static_cast<Command>(header.command)) {
      case Command::kRegionRead:
        if (auto access = vfio_user::decode_region_read(payload); access.ok() && access->count <= kConfigBytes) {
          ByteView zeros{zeros_.data(), access->count};
          bool config = access->region == vfio_user::kRegionConfig && access->offset + access->count <= kConfigBytes;
          return reply(header, vfio_user::encode(*access), config ? ByteView(config_).subspan(access->offset, access->count) : zeros);
        }
        break;
      case Command::kRegionWrite:
        if (auto write = vfio_user::decode_region_write(payload); write.ok()) return reply(header, vfio_user::encode(write->access));
        break;
      case Command::kVersion: return reply(header, vfio_user::encode_version({}));
      case Command::kDeviceGetInfo:
        return reply(header, vfio_user::encode(vfio_user::DeviceInfo{16, vfio_user::kDeviceFlagReset | vfio_user::kDeviceFlagPci,
                                                                     vfio_user::kRegionCount, vfio_user::kIrqCount}));
      case Command::kDeviceGetRegionInfo:
        if (auto info = vfio_user::decode_region_info(payload); info.ok()) {
          info->argsz = vfio_user::kRegionInfoBytes;
          info->size = region_bytes(info->index);
          info->flags = info->size == 0 ? 0 : vfio_user::kRegionFlagRead | vfio_user::kRegionFlagWrite;
          return reply(header, vfio_user::encode(*info));
        }
        break;
      case Command::kDmaMap:
      case Command::kDeviceReset: return reply(header, {});
      case Command::kDmaUnmap: return reply(header, payload);
      default: break;
    }
    vfio_user::append_error_reply(out_, header.id, header.command, ENOTSUP);
  }

  int fd_;
  vfio_user::MessageBuffer buffer_;
  std::array<uint8_t, kConfigBytes> config_;
  std::array<uint8_t, kConfigBytes> zeros_{};
  Bytes out_;
};

}  // namespace

Status serve_bare(const std::string& socket_path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_path.size() >= sizeof address.sun_path) return Error{ErrorCode::kInvalidArgument, socket_path + ": too long for a socket"};
  std::memcpy(address.sun_path, socket_path.c_str(), socket_path.size() + 1);
  int listening = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listening < 0) return failed("socket");
  if (::bind(listening, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || ::listen(listening, 1) != 0) {
    Error error = failed(socket_path);
    ::close(listening);
    return error;
  }
  std::puts("ready");
  std::fflush(stdout);
  int fd = ::accept4(listening, nullptr, nullptr, SOCK_CLOEXEC);
  ::close(listening);
  if (fd < 0) return failed("accept");
  Status status = Conversation(fd).run();
  ::close(fd);
  return status;
}

}  // namespace bmcpair::guest_bench
