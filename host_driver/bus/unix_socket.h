// What the two buses over a unix socket share.
#pragma once

#include <unistd.h>

#include <chrono>
#include <string>
#include <utility>

#include "proto/base/result.h"

namespace bmcpair::bus {

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

// A connected stream socket whose sends and receives give up after `wait`. Errors name the path: kInvalidArgument (its
// length), kNotFound, kUnavailable (nobody listens), kPermission, kIo.
Result<Fd> connect_unix(const std::string& path, std::chrono::milliseconds wait);

// A non-blocking eventfd, and what is done with one.
Result<Fd> make_eventfd();
void signal_eventfd(int fd);
bool drain_eventfd(int fd);  // whether it was signalled

}  // namespace bmcpair::bus
