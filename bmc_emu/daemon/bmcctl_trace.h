// The daemon's traces as the one list that waveforms, captures and ladders are made of.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "proto/trace/trace.h"

namespace bmcpair::v1 {
class GetTraceReply;
}

namespace bmcpair::daemon {

// rules: by id, what is known of fault rules, as text.
trace::Trace to_trace(const v1::GetTraceReply& reply, const std::map<uint32_t, std::string>& rules);

}  // namespace bmcpair::daemon
