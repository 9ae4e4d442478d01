// The daemon's log: lines on stderr, for people or as JSON.
#pragma once

#include <string>
#include <string_view>

namespace bmcpair::daemon {

// level: trace, debug, info, warning, error.
void start_log(std::string_view level, bool json);

// text as the inside of a JSON string.
std::string json_escaped(std::string_view text);

}  // namespace bmcpair::daemon
