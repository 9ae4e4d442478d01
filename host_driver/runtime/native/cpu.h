// Inside the native runtime: what a thread that blocks does about cross-calls.
#pragma once

namespace bmcpair::rt::inline native::detail {

// This thread blocks for as long as one lives, and so counts as stopped. What was asked of it meanwhile runs in the
// destructor, before it goes on.
class Dormant {
 public:
  Dormant();
  ~Dormant();
  Dormant(const Dormant&) = delete;
  Dormant& operator=(const Dormant&) = delete;

 private:
  bool entered_ = false;
};

}  // namespace bmcpair::rt::inline native::detail
