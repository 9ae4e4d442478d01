// A part of the firmware's state: what a command group keeps, what time brings to it, what is kept on disk.
#pragma once

#include "bmc_emu/firmware/bmc.h"

namespace bmcpair::firmware {

// Each group defines its part in its own header (sel.h: class Sel : public Part). State (state.h) holds one of
// each by value or unique_ptr, and calls these for all of them, in the order of their declaration.
class Part {
 public:
  virtual ~Part() = default;
  virtual Status load(State&, Instant) { return {}; }        // once, after all parts exist
  virtual Instant next_due(const State&) const { return kNever; }
  virtual void run(State&, Instant) {}
  virtual void on_reset(State&, bool /*cold*/, Instant) {}   // the BMC itself rebooted
  virtual void on_host_reset(State&, Instant) {}             // the host was reset or powered off
};

}  // namespace bmcpair::firmware
