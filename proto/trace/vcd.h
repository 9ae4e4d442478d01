// A trace as a waveform (Value Change Dump, IEEE 1364-2005 §18): opens in GTKWave.
#pragma once

#include <string>

#include "proto/trace/trace.h"

namespace bmcpair::trace {

struct VcdOptions {
  bool microseconds = false;  // the time scale; otherwise 1 ns
};

// A scope an interface: every flag by its name, KCS's state, BT's FIFO pointers and interrupt enable, the interrupt line, the
// last byte and offset of each face, the last message and fault as text. What is not known is x: a FIFO pointer until its owner
// rewinds it, a flag until it has been seen. Time begins at the first event; of two events of one instant, or out of the time
// scale's resolution, the later one is one unit later, so that no change is lost.
std::string vcd(const Trace& trace, const VcdOptions& options = {});

}  // namespace bmcpair::trace
