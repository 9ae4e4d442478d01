// How long to look for a client's next message before sleeping until it comes.
//
// A guest's register accesses come microseconds apart, and then a sleep and its wake-up cost more than the access. Between bursts
// they come seconds apart, and then looking is waste. So the last gaps decide: while they are short, the next one is
// waited for awake, for at most kSpinMax; the first that is not ends that until kHotRun short ones have come in a row. An idle
// client costs one kSpinMax after its last access and nothing afterwards.
#pragma once

#include <chrono>

namespace bmcpair::vfio_bridge {

class Spin {
 public:
  static constexpr std::chrono::nanoseconds kSpinMax = std::chrono::microseconds(50);
  static constexpr unsigned kHotRun = 4;

  // alone: there is no second processor on which the client could go on meanwhile.
  explicit Spin(bool alone) : alone_(alone) {}

  // How long to look now; zero: sleep.
  std::chrono::nanoseconds budget() const { return !alone_ && run_ >= kHotRun ? kSpinMax : std::chrono::nanoseconds(0); }
  // What the wait came to, from the last reply to the next message.
  void came_after(std::chrono::nanoseconds gap) {
    if (gap > kSpinMax) {
      run_ = 0;
    } else if (run_ < kHotRun) {
      ++run_;
    }
  }

 private:
  bool alone_;
  unsigned run_ = 0;
};

}  // namespace bmcpair::vfio_bridge
