// Serves one register interface as a vfio-user PCI device on a unix socket, for QEMU's -device vfio-user-pci or any
// other client of the protocol.
//
// Threads: all servers of a process share one thread that accepts; each connected client has a thread of its own, so
// that a port whose accesses block (one over gRPC) holds up its own client and nobody else, and a register access costs
// one receive and one send. A listening server without a client costs a descriptor.
//
// The port is attached when a client has said VERSION and let go when the client is gone. A busy interface, and a
// second client, are refused with an error reply to VERSION (EBUSY).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "proto/base/result.h"
#include "proto/registers/register_port.h"
#include "vfio_bridge/pci_device.h"

namespace bmcpair::vfio_bridge {

struct ServerOptions {
  std::string socket_path;  // at most 107 bytes; mode 0600
  std::string port_path;    // what the provider is asked for, "bmc/interface"
  PciOptions pci;           // its kind is the port's, whatever is set here
  // How long a new client waits for the one before it to go away. One that has gone, and whose port is still letting go,
  // is waited for longer.
  std::chrono::milliseconds claim_wait{500};
  // How long a client has for its VERSION, and for taking its replies.
  std::chrono::milliseconds client_wait{10'000};
  // How long a stop waits for a client to close its end.
  std::chrono::milliseconds drain_wait{1'000};
  // How long a stop waits for the guest to take the interrupt that it has been signalled.
  std::chrono::milliseconds quiet_wait{200};
  std::function<void(std::string_view)> log;  // any thread; empty: silent
};

struct Statistics {
  uint64_t connections = 0;  // that got as far as an attached port
  uint64_t connections_refused = 0;
  uint64_t messages = 0;
  uint64_t error_replies = 0;
  uint64_t stray_replies = 0;
  uint64_t register_reads = 0;
  uint64_t register_writes = 0;
  uint64_t interrupts = 0;
  uint64_t unmasks = 0;
  bool connected = false;
};

class Server {
 public:
  using Options = ServerOptions;

  // Listens. A socket file that nobody serves is replaced. Errors: kInvalidArgument (options, path), kAlreadyExists
  // (somebody serves that socket, or it is something else than a socket), kPermission, kIo. The provider must outlive
  // the server.
  static Result<std::unique_ptr<Server>> start(Options options, registers::PortProvider& provider);
  ~Server();  // stops

  // Graceful, as QEMU needs it (reference vfio_user_qemu.md §5): answer what was asked, say goodbye (shutdown), read on
  // until the client has closed or drain_wait is over, close. Then the socket file is removed.
  void stop();
  // The first half: no new clients, goodbye is said. For stopping many at once; stop() must follow.
  void begin_stop();

  Statistics statistics() const;
  const Options& options() const;

 private:
  class Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace bmcpair::vfio_bridge
