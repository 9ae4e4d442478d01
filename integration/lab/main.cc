#include <sys/ioctl.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <exception>
#include <iostream>

#include "integration/lab/cli.h"

namespace {

std::atomic<bool> stop{false};
static_assert(std::atomic<bool>::is_always_lock_free);

// The first ctrl-C asks for what was found so far; the second one ends the program.
void on_interrupt(int number) {
  stop = true;
  std::signal(number, SIG_DFL);
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGINT, on_interrupt);
  std::signal(SIGTERM, on_interrupt);
  unsigned width = 120;
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col != 0) width = size.ws_col;
  try {
#if defined(BMCPAIR_LAB_SCENARIOS)
    const std::vector<const bmcpair::lab::Experiment*>& experiments = bmcpair::lab::experiments();
#else
    const std::vector<const bmcpair::lab::Experiment*> experiments;
#endif
    return bmcpair::lab::run_cli(std::vector<std::string>(argv + 1, argv + argc),
                                 {experiments, std::cout, std::cerr, isatty(STDOUT_FILENO) == 1,
                                  isatty(STDERR_FILENO) == 1, width, &stop});
  } catch (const std::exception& error) {
    std::cerr << "bmc_lab: " << error.what() << '\n';
    return bmcpair::lab::kFailed;
  }
}
