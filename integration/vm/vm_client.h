// Plays QEMU's side of the VM serial protocol: what ipmi-bmc-extern would send, and whatever it would not.
#pragma once

#include <chrono>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "proto/base/hex.h"
#include "proto/vm_protocol/frame.h"

namespace bmcpair::integration {

class VmClient {
 public:
  // Only bounds how long a failing test takes.
  static constexpr std::chrono::seconds kPatience{30};

  // address: "unix:PATH" or "tcp:HOST:PORT", numeric. Throws std::runtime_error when nobody listens.
  explicit VmClient(const std::string& address);
  ~VmClient() { close(); }
  VmClient(const VmClient&) = delete;
  VmClient& operator=(const VmClient&) = delete;

  // As QEMU on x86: version 1, and its capabilities.
  void hello(uint8_t capabilities = 0x3f);
  void send(ByteView raw);
  void send(std::string_view hex);
  // Returns the sequence number that it went out with.
  uint8_t send_request(std::string_view hex);
  // The response to the newest request: Cmd, CC, data in hexadecimal. What comes before it goes into controls().
  // Anything else than that response, or none, is a std::runtime_error.
  std::string response();
  // "1c 01 00 ..." -> "01 00 ...": one request and its response, without NetFn/LUN.
  std::string ask(std::string_view hex);

  // The next frame of any kind; nullopt at the end of the connection. Throws when nothing comes.
  std::optional<vm_protocol::Frame> next();
  // Whether a message comes so soon; it is the next to be read then. For those who ask again.
  bool message_within(std::chrono::milliseconds time);
  // response(), if it comes so soon; late answers to older requests are passed over.
  std::optional<std::string> response_within(std::chrono::milliseconds time);
  // Reads on until this control has come (or has come already); forgets it and those before it.
  bool wait_for(vm_protocol::Control control);
  // The codes of the controls that came since the last call, "ff 01" being "ff".
  std::string controls();
  // True when the other end closed, whatever it said before.
  bool wait_for_end();

  // Ends the connection; hard: with a reset rather than an orderly end, on TCP.
  void close(bool hard = false);
  int fd() const { return fd_; }

 private:
  // nullopt: nothing whole came within `time`, or the connection ended.
  std::optional<vm_protocol::Frame> read_one(std::chrono::milliseconds time, bool& ended);

  int fd_ = -1;
  uint8_t sequence_ = 0xff;
  vm_protocol::Decoder decoder_{vm_protocol::kResponseBodyBytesMin};
  Bytes buffer_;
  std::deque<uint8_t> controls_;
  std::optional<vm_protocol::Frame> ahead_;
};

}  // namespace bmcpair::integration
