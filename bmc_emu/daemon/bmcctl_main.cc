#include <unistd.h>

#include <csignal>
#include <iostream>

#include "bmc_emu/daemon/bmcctl.h"

int main(int argc, char** argv) {
  // `bmcctl watch | head` ends when its reader does.
  std::signal(SIGPIPE, SIG_DFL);
  int code = bmcpair::daemon::run_bmcctl(argc, argv, std::cout, std::cerr, ::isatty(STDOUT_FILENO) != 0);
  std::cout.flush();
  return std::cout ? code : bmcpair::daemon::kBmcctlFailed;
}
