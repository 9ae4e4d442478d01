// Serves one system interface of a BMC to a machine that models the registers itself and speaks the OpenIPMI VM serial
// protocol: QEMU with -device ipmi-bmc-extern (proto/vm_protocol, reference qemu_and_vm_protocol.md §1).
//
// One host at a time, and only while nobody is at the interface's registers: whoever is there first has it. A further
// connection is closed, with the reason in the log and told to those who watch.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "bmc_emu/board/board.h"
#include "proto/base/result.h"

namespace bmcpair::transport {

struct VmServerOptions {
  std::string listen;  // "unix:PATH" or "tcp:HOST:PORT"; port 0: any
  std::string interface;
  std::function<void(std::string_view)> log;  // any thread; empty: silent
};

// "unix:PATH" or "tcp:HOST:PORT". Errors: kInvalidArgument, says what was expected.
Status check_vm_address(std::string_view listen);

class VmServer {
 public:
  // Listens. Errors: kInvalidArgument (address), kNotFound (interface), kBusy (somebody serves that socket), kIo.
  static Result<std::unique_ptr<VmServer>> start(VmServerOptions options, std::shared_ptr<board::Board> board);
  ~VmServer();  // stops

  // Nobody is accepted any more, who is there is cut off. Idempotent.
  void stop();
  // Where it listens, with the port that it was given.
  const std::string& address() const;

 private:
  class Impl;
  explicit VmServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace bmcpair::transport
