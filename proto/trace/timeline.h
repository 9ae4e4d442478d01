// What all writers do first: events in the order of time, on a scale that begins where the trace does.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "proto/trace/trace.h"

namespace bmcpair::trace {

struct TimedEvent {
  uint64_t ns = 0;  // since the first event
  const Event* event = nullptr;
};

struct Timeline {
  Instant begin{};  // of the first event
  std::vector<TimedEvent> events;
};

// Modulo 2^64: any two instants are that far apart at most, however huge they are.
inline uint64_t ns_between(Instant from, Instant to) {
  return static_cast<uint64_t>(to.time_since_epoch().count()) - static_cast<uint64_t>(from.time_since_epoch().count());
}

inline Timeline timeline(const Trace& trace) {
  Timeline out;
  out.events.reserve(trace.events.size());
  for (const Event& event : trace.events) out.events.push_back({0, &event});
  std::stable_sort(out.events.begin(), out.events.end(),
                   [](const TimedEvent& a, const TimedEvent& b) { return a.event->at < b.event->at; });
  if (out.events.empty()) return out;
  out.begin = out.events.front().event->at;
  for (TimedEvent& event : out.events) event.ns = ns_between(out.begin, event.event->at);
  return out;
}

// Null where the event concerns none, or one that the trace does not know.
inline const InterfaceInfo* interface_of(const Trace& trace, const Event& event) {
  return event.interface < trace.interfaces.size() ? &trace.interfaces[event.interface] : nullptr;
}

}  // namespace bmcpair::trace
