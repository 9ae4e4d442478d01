// The command line of bmc_emu.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace bmcpair::daemon {

enum ExitCode : int {
  kExitOk = 0,
  kExitInternal = 1,       // a failure of our own
  kExitUsage = 2,          // the command line is wrong
  kExitConfiguration = 3,  // the configuration is wrong: every mistake is on stderr with file, line and column
  kExitStart = 4,          // an address, a socket, a directory or the stored state cannot be used
};

struct Options {
  std::string config;
  std::vector<std::string> listen;
  std::optional<std::string> state;
  std::string run_directory;  // empty: the default one
  bool only_run_directory = false;  // neither addresses nor sockets nor state of the configuration
  bool check = false;
  bool schema = false;
  std::string log_level;      // empty: the configuration's
  bool json = false;          // announcements and log as JSON on standard output
  bool stop_with_stdin = false;
  unsigned threads = 0;
  std::string tls_certificate;
  std::string tls_key;
  std::string tls_client_ca;
};

// The options, or, when the program is to end at once, its exit code; text for the user has been printed.
struct ParsedOptions {
  Options options;
  std::optional<int> exit_code;
};
ParsedOptions parse_options(int argc, const char* const* argv);

}  // namespace bmcpair::daemon
