// The fault rules of one interface, and what they do at its registers: the seam between faults, which know rules, and
// hardware, which knows effects. Under its slot's mutex.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bmc_emu/faults/plan.h"
#include "bmc_emu/hardware/injector.h"
#include "proto/base/chooser.h"

namespace bmcpair::board {

class InterfaceFaults final : public hardware::Injector {
 public:
  // One rule that fired, for those who watch.
  struct Fired {
    uint32_t id = 0;
    Instant at{};
    std::string text;
  };

  InterfaceFaults(std::string interface, registers::InterfaceKind kind, std::shared_ptr<Chooser> chooser)
      : kind_(kind), chooser_(std::move(chooser)), plan_(std::move(interface), kind, *chooser_) {}

  faults::Plan& plan() { return plan_; }
  const faults::Plan& plan() const { return plan_; }

  // A request has been taken. What is to be done to it and its answer; effects for the registers are appended.
  faults::MessageFault on_request(ByteView message, bool by_registers, Instant now, hardware::Effects& out);

  void on_access(const hardware::Approach& approach, Instant now, hardware::Effects& out) override;
  void on_interrupt(const hardware::Approach& approach, Instant now, hardware::Effects& out) override;
  Instant next_due() const override { return plan_.next_due(); }
  void on_clock(Instant now, hardware::Effects& out) override;

  // Since the last call, oldest first; beyond a bound only counted.
  std::vector<Fired> take_fired() { return std::exchange(fired_, {}); }
  bool has_fired() const { return !fired_.empty(); }
  uint64_t fired() const { return count_; }

 private:
  void note(const faults::Firing& firing, const std::string& at_what);
  void carry_out(const faults::Firings& firings, const std::string& at_what, hardware::Effects& out);

  const registers::InterfaceKind kind_;
  const std::shared_ptr<Chooser> chooser_;
  faults::Plan plan_;
  faults::Firings firings_;
  std::vector<Fired> fired_;
  uint64_t count_ = 0;
};

// What hardware or a message protocol must do about the answer itself.
hardware::ReplyFault reply_fault(const faults::MessageFault& fault);

}  // namespace bmcpair::board
