// The library's way to the server, and to its caller's memory. System calls only: no allocation, no lock, nothing that is
// shared between threads or left over in a fork, so it may be used wherever an ioctl may.
#pragma once

#include <cstddef>
#include <cstdint>

#include "host_driver/device_node/wire.h"

namespace bmcpair::device_node::preload {

// Of this process. A pointer that leads nowhere is an answer, not a crash.
class OwnMemory {
 public:
  bool copy_from(void* to, uint64_t from, size_t size);
  bool copy_to(uint64_t to, const void* from, size_t size);
};

// One ioctl on an open file. caller.h says what is expected of it.
class Link {
 public:
  explicit Link(int fd) : fd_(fd) {}
  ~Link();
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;
  int transact(const Request& request, Reply& reply);
  int receive(Reply& reply);
  int finish(Verdict verdict);

 private:
  int send(const Request& request);
  int answer(Reply& reply);
  int fd_;
  int pair_ = -1;
};

// Whether `fd` came from open_device(), in this process or in one it was inherited from.
bool is_device(int fd);

struct OpenFailure {
  bool worth_saying = false;
  char text[kTextMax + 200] = {};  // a line without its end
};

// A descriptor, or an errno below 0. `flags` are open()'s.
int open_device(const char* socket_path, uint16_t device, int flags, OpenFailure& failure);

}  // namespace bmcpair::device_node::preload
