// For the tests of this room: an interface, its clock, every access it made, and what a host does by the book.
#pragma once

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "bmc_emu/hardware/interface.h"

namespace bmcpair::hardware {

class Rig : public TraceSink {
 public:
  explicit Rig(InterfaceOptions options) : Rig(make_interface(options)) {}
  explicit Rig(std::unique_ptr<Interface> made) : interface(std::move(made)) { interface->set_trace(this); }

  void on_access(const Access& access) override { accesses.push_back(access); }

  uint8_t read(uint16_t offset) { return interface->host_read(offset, now); }
  void write(uint16_t offset, uint8_t value) { interface->host_write(offset, value, now); }

  // One actor step at the instant it is due; false when there is none.
  bool step() {
    const Instant due = interface->next_due();
    if (due == kNever) return false;
    now = std::max(now, due);
    if (auto request = interface->step(now)) {
      taken.push_back(std::move(*request));
      taken_at = now;
    }
    return true;
  }
  // Steps until nothing is due. False when that does not happen within the bound.
  bool settle(int steps_max = 5000) {
    while (steps_max-- > 0) {
      if (!step()) return true;
    }
    return false;
  }
  // Steps until the flags, masked, are as wanted.
  bool step_until(uint8_t mask, uint8_t wanted, int steps_max = 5000) {
    while ((interface->peek_flags() & mask) != wanted) {
      if (steps_max-- == 0 || !step()) return false;
    }
    return true;
  }
  // The request that came last; empty when none has come since the last call.
  TakenRequest take() {
    if (taken.empty()) return {};
    TakenRequest last = taken.back();
    taken.clear();
    return last;
  }
  bool respond(uint32_t token, const Bytes& message) { return interface->respond(token, message, now); }

  std::unique_ptr<Interface> interface;
  Instant now{};
  Instant taken_at{};  // when the last request was taken
  std::vector<Access> accesses;
  std::vector<TakenRequest> taken;
};

inline InterfaceOptions options_of(registers::InterfaceKind kind) {
  InterfaceOptions options;
  options.kind = kind;
  return options;
}

}  // namespace bmcpair::hardware
