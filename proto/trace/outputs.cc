#include "proto/trace/outputs.h"

#include "proto/trace/pcap.h"
#include "proto/trace/svg.h"
#include "proto/trace/trace_json.h"
#include "proto/trace/vcd.h"

namespace bmcpair::trace {

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
