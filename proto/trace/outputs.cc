#include "proto/trace/outputs.h"

#include <utility>

#include "proto/trace/pcap.h"
#include "proto/trace/svg.h"
#include "proto/trace/trace_json.h"
#include "proto/trace/vcd.h"

namespace bmcpair::trace {

Status check(const Outputs& outputs) {
  const std::pair<const std::string*, std::string_view> all[] = {
      {&outputs.vcd, "VCD"}, {&outputs.pcap, "capture"}, {&outputs.trace_json, "trace JSON"}, {&outputs.svg, "SVG"}};
  for (const auto& a : all) {
    for (const auto& b : all) {
      if (&a < &b && !a.first->empty() && *a.first == *b.first) {
        return Error{ErrorCode::kInvalidArgument,
                     "the " + std::string(a.second) + " and the " + std::string(b.second) + " are one file, " + *a.first};
      }
    }
  }
  return {};
}

Status write_outputs(const Trace& trace, const Outputs& outputs, const WriteFunction& write) {
  Status first;
  auto one = [&](const std::string& path, auto make) {
    if (path.empty()) return;
    Status done = write(path, make());
    if (!done && first) first = done;
  };
  one(outputs.vcd, [&] { return vcd(trace); });
  one(outputs.pcap, [&] { return pcap(trace); });
  one(outputs.trace_json, [&] { return trace_json(trace); });
  one(outputs.svg, [&] { return svg(trace); });
  return first;
}

}  // namespace bmcpair::trace
