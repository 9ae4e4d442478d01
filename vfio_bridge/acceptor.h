// One thread for all listening sockets of the process.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "proto/base/result.h"
#include "vfio_bridge/unique_fd.h"

namespace bmcpair::vfio_bridge {

class Acceptor {
 public:
  using Accepted = std::function<void(UniqueFd)>;

  // The process's own; it ends with its last user.
  static Result<std::shared_ptr<Acceptor>> shared();
  ~Acceptor();

  // The socket must be non-blocking. `accepted` is called from the acceptor's thread, must be quick and must not come
  // back here.
  Result<uint64_t> add(int listening, Accepted accepted);
  // When it returns, the callback is not running and will not run.
  void remove(uint64_t id);

 private:
  Acceptor() = default;
  Status init();
  void run();

  struct Listener {
    int fd;
    Accepted accepted;
  };
  UniqueFd epoll_;
  UniqueFd wake_;
  std::mutex mutex_;
  std::map<uint64_t, Listener> listeners_;
  uint64_t next_id_ = 1;  // 0 is the wake descriptor
  std::atomic<bool> ending_{false};
  std::thread thread_;
};

}  // namespace bmcpair::vfio_bridge
