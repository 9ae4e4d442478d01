// The daemon's log: lines on standard error for people, or JSON on standard output.
#pragma once

#include <string>
#include <string_view>

namespace bmcpair::daemon {

// level: trace, debug, info, warning, error.
void start_log(std::string_view level, bool json);

// What whoever started the daemon waits for, whatever the level: on standard output, as "bmc_emu: LINE" or in JSON.
void announce(std::string_view line);

// text as the inside of a JSON string.
std::string json_escaped(std::string_view text);

}  // namespace bmcpair::daemon
