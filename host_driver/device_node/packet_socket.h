// Unix sockets that carry packets and descriptors: what the server needs of them.
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "proto/base/result.h"

namespace bmcpair::device_node {

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void reset(int fd = -1) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }

 private:
  int fd_ = -1;
};

constexpr size_t kFdsMax = 2;

struct ReceivedPacket {
  ssize_t size = -1;  // 0: the other side has closed; -1: errno
  bool whole = true;  // false: longer than the room for it, or more descriptors than kFdsMax
  std::array<Fd, kFdsMax> fds;
};

// Neither blocks.
ReceivedPacket receive_packet(int fd, std::span<uint8_t> into);
bool send_packet(int fd, std::span<const uint8_t> packet);

struct Listener {
  Fd fd;
  std::string path;
  dev_t device = 0;
  ino_t inode = 0;

  // Takes the socket's name away if it is still this one's.
  void remove();
};

// Makes the folder where it is missing (0700), replaces a socket nobody serves. Errors as Server::create.
Result<Listener> listen_on(const std::string& path, unsigned mode);

}  // namespace bmcpair::device_node
