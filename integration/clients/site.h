// A machine as the clients find it: a bmc_emu, and `host_driver serve` on some of its interfaces.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "integration/system/process.h"

namespace bmcpair::integration {

class Site {
 public:
  // paths: "demo/bt"... become /dev/ipmi0, /dev/ipmi1, ... Both programs are ready when it returns.
  Site(const std::string& config_path, std::vector<std::string> paths, std::vector<std::string> serve_arguments = {});
  // What a program is started with.
  std::vector<std::string> environment() const { return environment_of(socket_); }
  static std::vector<std::string> environment_of(const std::string& socket);
  Finished run(std::vector<std::string> argv) const;
  std::unique_ptr<Process> start(std::vector<std::string> argv) const;
  void serve();  // again, after it ended

  Daemon& daemon() { return *daemon_; }
  Process& server() { return *server_; }
  const std::string& socket() const { return socket_; }
  const TemporaryFolder& folder() const { return folder_; }

 private:
  TemporaryFolder folder_;
  std::string socket_ = folder_ / "ipmi.sock";
  std::vector<std::string> argv_;
  std::unique_ptr<Daemon> daemon_;
  std::unique_ptr<Process> server_;
};

// The lines of "name<separator>value", both without blanks around; a name that comes twice has its first value.
std::map<std::string, std::string> fields(const std::string& text, char separator);
// Cells of "a | b | c".
std::vector<std::string> cells(const std::string& line, char separator = '|');
std::vector<std::string> lines(const std::string& text);
// The number a text begins with.
std::optional<double> number(const std::string& text);

}  // namespace bmcpair::integration
