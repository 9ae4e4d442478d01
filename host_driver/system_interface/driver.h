// The thing a program holds: register ports in, interfaces of the message handler out. A device that is not there, or does
// not come up, is tried again with a bounded back-off and comes up when it can; one that was up recovers by itself.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "host_driver/message_handler/message_handler.h"
#include "host_driver/runtime/runtime.h"
#include "host_driver/system_interface/system_interface.h"
#include "proto/base/result.h"
#include "proto/registers/register_port.h"

namespace bmcpair::host::inline BMCPAIR_RT {

struct DriverOptions {
  Duration retry_first = std::chrono::milliseconds(100);
  Duration retry_max = std::chrono::seconds(5);
  // Attempts at a time: a worker is held while the message handler asks who a BMC is.
  unsigned attempts_at_once_max = 16;
};

struct DriverInterface {
  int id = 0;
  int number = -1;  // the message handler's; -1 while it is not up for the first time
  InterfaceStatus status;
  unsigned attempts = 0;
  SiStatistics statistics{};
  SmiInfo info;
};

// Thread safe. Interfaces keep coming up in the background; nobody waits unless asked to.
class Driver {
 public:
  using OpenPort = std::function<Result<std::unique_ptr<registers::RegisterPort>>()>;

  explicit Driver(MessageHandler& message_handler, DriverOptions options = {});
  ~Driver();  // removes every interface
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

  // The id to ask for it by. Never an error: what is wrong with the device is in its status.
  int add_interface(std::unique_ptr<registers::RegisterPort> port, SystemInterfaceOptions options = {});
  // With a port that may not be there yet. open() may block; it is called again after each error.
  int add_interface(OpenPort open, SystemInterfaceOptions options = {});

  // The message handler's number. Errors: kNotFound, kShutdown (removed meanwhile); at the deadline the reason why it is not
  // up, under kTimeout.
  Result<int> wait_until_up(int id, Instant deadline);
  Status remove(int id);
  Result<DriverInterface> describe(int id) const;
  std::vector<int> interfaces() const;  // ids, ascending

 private:
  struct Core;
  std::shared_ptr<Core> core_;
};

}  // namespace bmcpair::host::inline BMCPAIR_RT
