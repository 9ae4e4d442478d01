// The four pictures of a trace, by the names that every program's command line gives them.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/base/result.h"
#include "proto/trace/trace.h"

namespace bmcpair::trace {

// Paths; empty: not wanted.
struct Outputs {
  std::string vcd;         // GTKWave
  std::string pcap;        // Wireshark, tshark
  std::string trace_json;  // Perfetto, chrome://tracing
  std::string svg;         // any browser

  bool any() const { return !vcd.empty() || !pcap.empty() || !trace_json.empty() || !svg.empty(); }
};

// kInvalidArgument: two of them are one file.
Status check(const Outputs& outputs);

using WriteFunction = std::function<Status(const std::string& path, std::string_view content)>;

// Makes what is wanted and hands it to `write`, one whole file after the other; goes on after an error and returns the first.
Status write_outputs(const Trace& trace, const Outputs& outputs, const WriteFunction& write);

}  // namespace bmcpair::trace
