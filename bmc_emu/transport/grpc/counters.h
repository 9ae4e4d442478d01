#pragma once

#include <atomic>
#include <cstdint>

namespace bmcpair::transport {

struct Counters {
  std::atomic<uint64_t> attaches{0};
  std::atomic<uint64_t> attaches_refused{0};
  std::atomic<uint64_t> streams{0};
  std::atomic<uint64_t> messages{0};
  std::atomic<uint64_t> ops{0};
  std::atomic<uint64_t> ops_refused{0};
  std::atomic<uint64_t> interrupts_pushed{0};
  std::atomic<uint64_t> watchers{0};
  std::atomic<uint64_t> events_dropped{0};
};

}  // namespace bmcpair::transport
