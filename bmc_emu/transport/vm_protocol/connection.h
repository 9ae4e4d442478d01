// One connected host: the BMC's end of the VM serial protocol.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "bmc_emu/board/board.h"
#include "bmc_emu/transport/vm_protocol/reactor.h"
#include "proto/vm_protocol/frame.h"

namespace bmcpair::transport {

class VmConnection {
 public:
  using Say = std::function<void(const std::string&)>;

  VmConnection(FileDescriptor fd, std::unique_ptr<board::MessagePort> port,
               std::shared_ptr<board::MessageService> service, std::shared_ptr<Reactor> reactor, Say say);
  ~VmConnection();

  // Version, interrupts, attention; from here on `ready` is called. All three are called on the reactor's thread and
  // are false when the connection has ended.
  bool begin(Reactor::Ready ready);
  bool read();
  bool flush();
  // Why it ended.
  std::string end() const;

 private:
  enum class Interrupts : uint8_t { kUnknown, kAllowed, kForbidden };

  void take(const vm_protocol::Frame& frame);
  void take_control(const vm_protocol::Frame& frame);
  void count_bad(const std::string& what);
  void on_signal(const board::HostSignal& signal);
  void on_power(firmware::PowerAction action);
  bool able(uint8_t capability) const;
  void send_control(vm_protocol::Control control);
  // Any thread.
  void send(ByteView bytes);
  // out_mutex_ held.
  void write(ByteView bytes);
  void fail(std::string why);

  FileDescriptor fd_;
  std::shared_ptr<board::MessageService> service_;
  std::shared_ptr<Reactor> reactor_;
  Say say_;
  std::atomic<uint64_t> id_{0};
  vm_protocol::Decoder decoder_{vm_protocol::kRequestBodyBytesMin};
  uint64_t bad_ = 0;

  // What the host said it can do; -1 until it did.
  std::atomic<int> capabilities_{-1};
  std::atomic<bool> reset_sent_{false};

  // Of the signal handler, which runs once at a time.
  Interrupts interrupts_ = Interrupts::kUnknown;
  bool interrupts_wanted_ = false;

  mutable std::mutex out_mutex_;
  Bytes out_;  // not yet taken by the socket
  bool failed_ = false;
  std::string end_;
  uint32_t tag_ = 0;      // of the newest request
  uint8_t sequence_ = 0;  // its sequence number

  std::unique_ptr<board::MessagePort> port_;  // last: gone before what its handler uses
};

}  // namespace bmcpair::transport
