// A trace in Chrome's trace event format: opens in Perfetto and chrome://tracing.
#pragma once

#include <string>

#include "proto/trace/trace.h"

namespace bmcpair::trace {

// Every interface is a process with tracks for host, BMC and messages (a slice from a request to its response) and a counter a
// flag; every task is a track. JSON of UTF-8, whatever the texts hold.
std::string trace_json(const Trace& trace);

}  // namespace bmcpair::trace
