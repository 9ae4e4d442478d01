// One thread that waits for all of the process's VM-protocol sockets. An idle socket costs a descriptor.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "proto/base/result.h"

namespace bmcpair::transport {

// Owns a descriptor.
class FileDescriptor {
 public:
  explicit FileDescriptor(int fd = -1) : fd_(fd) {}
  ~FileDescriptor() { reset(); }
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(other.release()) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  int get() const { return fd_; }
  int release() {
    int fd = fd_;
    fd_ = -1;
    return fd;
  }
  void reset(int fd = -1);
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_;
};

class Reactor {
 public:
  // Called from the reactor's thread; must be quick, may come back here.
  using Ready = std::function<void(uint32_t epoll_events)>;

  // The process's own; it ends with its last user.
  static Result<std::shared_ptr<Reactor>> shared();
  ~Reactor();

  // Level-triggered. The descriptor must be non-blocking, and open until it is removed.
  Result<uint64_t> add(int fd, uint32_t epoll_events, Ready ready);
  // Any thread, no lock taken: also from within what `ready` waits for.
  void watch(uint64_t id, int fd, uint32_t epoll_events);
  // When it returns, `ready` is not running (unless it is what calls) and will not run.
  void remove(uint64_t id);
  // f runs while no `ready` does, and the other way round.
  void exclusively(const std::function<void()>& f);
  // Nothing is looked at for a while: descriptors have run out.
  void pause_for_descriptors() { pause_ = true; }

 private:
  Reactor() = default;
  Status init();
  void run();

  struct Entry {
    int fd;
    Ready ready;
  };
  FileDescriptor epoll_;
  FileDescriptor wake_;
  std::recursive_mutex mutex_;
  std::map<uint64_t, std::shared_ptr<Entry>> entries_;
  uint64_t next_id_ = 1;  // 0 is the wake descriptor
  bool pause_ = false;
  std::atomic<bool> ending_{false};
  std::thread thread_;
};

}  // namespace bmcpair::transport
