// host_driver's command line.
#pragma once

namespace bmcpair::cli {

// 0 done; 1 failed; 2 usage; 3 a bus or its BMC cannot be reached or does not come up; 4 raw: the BMC answered a
// completion code other than 0.
int run(int argc, const char* const* argv);

}  // namespace bmcpair::cli
