// bmc_lab's command line, apart from the process it runs in.
#pragma once

#include <atomic>
#include <ostream>
#include <string>
#include <vector>

#include "integration/lab/experiment.h"

namespace bmcpair::lab {

constexpr int kNothingFound = 0;
constexpr int kFailed = 1;  // usage, or an error of our own
constexpr int kViolationFound = 2;

struct Environment {
  const std::vector<const Experiment*>& experiments;
  std::ostream& out;
  std::ostream& err;
  bool out_is_terminal = false;  // colours
  bool err_is_terminal = false;  // progress
  unsigned width = 120;
  const std::atomic<bool>* stop = nullptr;  // ctrl-C
};

// arguments: without the program's name. The exit status.
int run_cli(const std::vector<std::string>& arguments, const Environment& environment);

}  // namespace bmcpair::lab
