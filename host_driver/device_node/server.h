// /dev/ipmiN without a kernel: the server's half (reference F). It offers interfaces of the message handler on a unix
// socket; the preloaded library (preload/) turns a program's open, ioctl, poll and close into what is spoken there
// (wire.h). Each open file is one user of the message handler.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "host_driver/device_node/names.h"
#include "host_driver/message_handler/message_handler.h"
#include "proto/base/result.h"
#include "proto/base/time.h"

namespace bmcpair::device_node {

// Where a device's interface is. The message handler outlives the server.
struct Attached {
  host::MessageHandler* message_handler = nullptr;
  int number = -1;
};

struct ServerOptions {
  // 107 bytes at most. Its folder is made (0700) when it is missing; a stale socket is replaced, a live one is an error.
  std::string socket_path;
  unsigned socket_mode = 0600;
  // /dev/ipmi0 to /dev/ipmi<devices - 1>. Others do not exist (ENOENT).
  unsigned devices = 1;
  // Finds the interface of a device, at each open of it: on a thread of its own, one call at a time for each device. It may
  // first bring up what is needed, which nothing else does, and block for that until the deadline. An error becomes the
  // open's: kBusy EBUSY, kPermission EACCES, kLimit ENOMEM, every other ENODEV; its message is what the program's user reads.
  std::function<Result<Attached>(unsigned device, Instant deadline)> attach;
  Duration open_wait = std::chrono::seconds(15);  // the deadline
  // How long a caller may take to say what became of a message it was handed. Only who was stopped or killed takes long.
  Duration verdict_wait = std::chrono::seconds(10);
  unsigned opens_max = 1024;                      // files open at a time, all devices together
  std::function<void(std::string)> log;           // optional, one line without its end; any thread
};

struct ServerStatistics {
  uint64_t opens = 0;
  uint64_t opens_failed = 0;
  uint64_t requests = 0;
  uint64_t messages_delivered = 0;
  uint64_t messages_dropped = 0;  // an opener that reads nothing, beyond the queue's bound
  uint64_t protocol_errors = 0;
  unsigned open_now = 0;
};

// Thread safe.
class Server {
 public:
  // Listens when it returns. Errors: kInvalidArgument (the path, no attach), kAlreadyExists (somebody serves this socket),
  // kPermission, kNotFound (a folder), kIo.
  static Result<std::unique_ptr<Server>> create(ServerOptions options);
  // Every file open here fails with ENODEV from now on; their users end. Waits for a running attach().
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  const std::string& socket_path() const;
  ServerStatistics statistics() const;

 private:
  struct Core;
  explicit Server(std::unique_ptr<Core> core);
  std::unique_ptr<Core> core_;
};

}  // namespace bmcpair::device_node
