// The hand on the daemon: the program bmcctl, as a function.
#pragma once

#include <iosfwd>

namespace bmcpair::daemon {

enum BmcctlExit : int {
  kBmcctlOk = 0,
  kBmcctlFailed = 1,       // the daemon refused, or a file cannot be written: one line on stderr says why
  kBmcctlUsage = 2,        // the command line is wrong
  kBmcctlUnreachable = 3,  // nobody answers at the address
};

// `terminal`: out is one, so colours are welcome. The environment is read ($BMCPAIR_ADDRESS, $XDG_RUNTIME_DIR,
// $NO_COLOR).
int run_bmcctl(int argc, const char* const* argv, std::ostream& out, std::ostream& err, bool terminal);

}  // namespace bmcpair::daemon
