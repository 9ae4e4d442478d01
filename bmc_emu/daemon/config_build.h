// parse_config, and which keys of the table the loader looked at on the way: the test that the two agree.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "bmc_emu/daemon/config.h"
#include "bmc_emu/daemon/config_keys.h"

namespace bmcpair::daemon {

Result<DaemonConfig> parse_config_asking(std::string_view text, const std::string& file_name,
                                         const ConfigLimits& limits, std::set<const Key*>* asked);

}  // namespace bmcpair::daemon
