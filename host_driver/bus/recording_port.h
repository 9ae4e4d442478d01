// A register port that tells what goes through it, whichever bus it is.
#pragma once

#include <memory>
#include <string>

#include "proto/registers/register_port.h"
#include "proto/trace/trace.h"

namespace bmcpair::bus {

// Thread safe. Writes are told before they are made and reads when their value is known, so that what they cause comes after
// them. Bursts are told byte by byte.
class PortListener {
 public:
  virtual ~PortListener() = default;
  virtual void on_access(const trace::Access& access) = 0;
  virtual void on_interrupt(bool level) = 0;
  virtual void on_link(const registers::LinkState& state) = 0;
};

// flags_after is what a read of the flags register has just said; a host sees no flag otherwise.
std::unique_ptr<registers::RegisterPort> recording_port(std::unique_ptr<registers::RegisterPort> port,
                                                        std::shared_ptr<PortListener> listener);

}  // namespace bmcpair::bus
