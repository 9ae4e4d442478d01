// A run as files: waveform, packet capture, trace, ladder (proto/trace).
#pragma once

#include <string>

#include "integration/lab/explore.h"
#include "proto/trace/outputs.h"

namespace bmcpair::lab {

// What the experiment recorded, and beside it the story's lines, what was unusual, and the oracle's sentence.
trace::Trace trace_of(const ReplayResult& run, std::string title);
// Writes the files that are wanted. kIo: one cannot be written.
Status draw(const ReplayResult& run, const std::string& title, const trace::Outputs& outputs);

}  // namespace bmcpair::lab
