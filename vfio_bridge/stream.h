// A client's socket as a stream of messages with their descriptors.
#pragma once

#include <chrono>
#include <optional>

#include "proto/base/result.h"
#include "proto/vfio_user/message.h"
#include "vfio_bridge/session.h"
#include "vfio_bridge/spin.h"
#include "vfio_bridge/unique_fd.h"

namespace bmcpair::vfio_bridge {

class Stream {
 public:
  enum class Receive : uint8_t { kData, kEnd, kTimeout, kError };

  explicit Stream(int fd);

  // Waits for more bytes, as long as set_receive_timeout says (zero: for ever); awake for a moment where that pays.
  Receive receive();
  // The next whole message of those that have been received, and the descriptors that came with it.
  Result<std::optional<vfio_user::Message>> next(Descriptors& descriptors);
  std::optional<vfio_user::Header> front() const { return buffer_.front(); }
  bool partial() const { return buffer_.buffered() != 0; }

  // All of it, or false: the client is gone or does not take its replies in time.
  bool send(ByteView bytes);
  void set_receive_timeout(std::chrono::milliseconds timeout);
  void set_send_timeout(std::chrono::milliseconds timeout);

  // The end of a conversation: nothing more will be said (shutdown); what still comes is read and thrown away until the
  // client has closed or the time is over. Closing with unread bytes would reset the connection, which makes QEMU abort
  // (reference vfio_user_qemu.md §5).
  void finish(std::chrono::milliseconds at_most);

 private:
  int fd_;
  vfio_user::MessageBuffer buffer_;
  // Descriptors whose message is not whole yet. All that is whole is taken out between two receives, so there is one
  // owner.
  uint64_t owner_ = 0;
  Descriptors pending_;
  Spin spin_;
};

}  // namespace bmcpair::vfio_bridge
