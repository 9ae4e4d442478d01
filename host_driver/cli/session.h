// The driver as the commands use it: every bus brought up side by side, one user on each interface.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "host_driver/bus/bus.h"
#include "host_driver/cli/inventory.h"
#include "host_driver/cli/recording.h"
#include "host_driver/message_handler/message_handler.h"
#include "host_driver/system_interface/driver.h"

namespace bmcpair::cli {

struct SessionOptions {
  const state_machine::Profile* profile = nullptr;
  bool trace = false;         // state machine steps to standard error
  std::shared_ptr<Recording> recording;  // may be null
  bool log = false;           // the driver's own log to standard error
  bool use_interrupt = true;
  Duration timeout = std::chrono::seconds(10);  // of bringing up, and of each request
  bus::OpenOptions open;
  host::Address target = host::SystemInterfaceAddress{};  // who answers requests
  bool on_demand = false;     // no bus is touched before start()
};

class Session {
 public:
  // Starts bringing up every bus, unless on demand; waits for none.
  Session(std::vector<bus::BusSpec> specs, SessionOptions options);
  ~Session();

  size_t size() const { return interfaces_.size(); }
  const std::string& bus_text(size_t i) const { return interfaces_[i].spec.text; }
  // On demand, one call at a time for each interface: start() brings it up in the background, stop() lets go of its bus.
  void start(size_t i);
  void stop(size_t i);
  bool started(size_t i) const { return interfaces_[i].id >= 0; }
  // The registers themselves, recorded as the driver's are. The driver must not have them.
  Result<std::unique_ptr<registers::RegisterPort>> open_port(size_t i);
  // Waits for one interface, and makes its user with `handlers`. The error says why it is not up.
  Status open(size_t i, host::UserHandlers handlers = {});
  // The message handler's number of an interface, as soon as it has been up once: what happens to it afterwards is its
  // users' to see. Waits for the first time. kBusy: somebody else has it.
  Result<int> registered_number(size_t i, Instant deadline);
  // Ends the user: none of its handlers runs afterwards.
  void close(size_t i) { interfaces_[i].user.reset(); }
  // Valid after open(i), until close(i).
  RequestFunction request_function(size_t i);
  host::User& user(size_t i) { return *interfaces_[i].user; }
  int number(size_t i) const { return interfaces_[i].number; }
  Result<host::DriverInterface> describe(size_t i) const;
  host::MessageHandler& message_handler() { return *message_handler_; }

 private:
  struct Interface {
    bus::BusSpec spec;
    int id = -1;
    int number = -1;
    std::string recorded_name;
    std::shared_ptr<std::atomic<bool>> busy;  // what came of opening its bus the last time
    std::unique_ptr<host::User> user;
  };
  SessionOptions options_;
  std::unique_ptr<host::MessageHandler> message_handler_;
  std::unique_ptr<host::Driver> driver_;
  std::vector<Interface> interfaces_;
};

}  // namespace bmcpair::cli
