// A host without hardware: a BMC, `host_driver serve` on it, and real programs that take it for /dev/ipmi0.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "integration/system/process.h"

namespace bmcpair::integration::clients {

// Some sensors that stand still, so that clients' output can be compared with it; one BMC, "one", on KCS and BT.
extern const char kConfig[];

struct ServeOptions {
  std::string bus;
  std::string socket;
  std::vector<std::string> arguments = {};  // of host_driver
  std::vector<std::string> prefix = {};     // what the program is started through, e.g. a namespace
};

// `host_driver serve`, ready to be used.
class Served {
 public:
  explicit Served(ServeOptions options);
  // What a program needs to be served: LD_PRELOAD and the socket.
  std::vector<std::string> environment() const;
  Process& process() { return *process_; }
  // SIGTERM, and the exit status.
  int stop();

 private:
  std::string socket_;
  std::unique_ptr<Process> process_;
};

// All of it in one folder.
class VirtualHost {
 public:
  explicit VirtualHost(const std::string& config = kConfig, const std::string& interface = "kcs");
  // Runs a program to its end, with the folder as HOME.
  Finished run(std::vector<std::string> argv);
  std::unique_ptr<Process> start(std::vector<std::string> argv);
  std::vector<std::string> environment() const;
  Finished ctl(std::vector<std::string> arguments) { return daemon_.ctl(std::move(arguments)); }
  // bmcctl watch, which sees what happens to the BMC from now on.
  std::unique_ptr<Process> watch();
  const TemporaryFolder& folder() const { return folder_; }
  Daemon& daemon() { return daemon_; }
  Served& served() { return served_; }

 private:
  TemporaryFolder folder_;
  Daemon daemon_;
  Served served_;
};

}  // namespace bmcpair::integration::clients
