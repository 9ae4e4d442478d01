// A trace as a ladder for people: host and BMC as two life lines, accesses and messages as arrows between them, notes beside
// their side, faults marked. One SVG picture, no fonts or scripts from elsewhere.
#pragma once

#include <string>

#include "proto/trace/trace.h"

namespace bmcpair::trace {

struct SvgOptions {
  size_t rows_max = 2000;  // the last ones are drawn, and how many are missing is said
};

// Equal accesses in a row (a host that polls), and bytes in a row to one FIFO, are one arrow.
std::string svg(const Trace& trace, const SvgOptions& options = {});

}  // namespace bmcpair::trace
