#include "host_driver/state_machine/state_machine.h"

#include "host_driver/state_machine/bt/state_machine.h"
#include "host_driver/state_machine/kcs/state_machine.h"
#include "host_driver/state_machine/smic/state_machine.h"

namespace bmcpair::state_machine {

std::string_view to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::kCallWithoutDelay: return "call without delay";
    case Verdict::kCallWithDelay: return "call with delay";
    case Verdict::kCallWithTickDelay: return "call with tick delay";
    case Verdict::kTransactionComplete: return "transaction complete";
    case Verdict::kIdle: return "idle";
    case Verdict::kHosed: return "hosed";
    case Verdict::kAttention: return "attention";
  }
  return "unknown";
}

Bytes StateMachine::get_result() {
  Bytes out(ipmi::kMessageBytesMax);
  out.resize(take_result(std::span<uint8_t, ipmi::kMessageBytesMax>(out)));
  return out;
}

std::unique_ptr<StateMachine> make_state_machine(registers::RegisterPort& port, const Profile& profile, Trace* trace) {
  switch (port.kind()) {
    case registers::InterfaceKind::kKcs: return std::make_unique<kcs::KcsStateMachine>(port, profile, trace);
    case registers::InterfaceKind::kBt: return std::make_unique<bt::BtStateMachine>(port, profile, trace);
    case registers::InterfaceKind::kSmic: return std::make_unique<smic::SmicStateMachine>(port, profile, trace);
  }
  return nullptr;
}

}  // namespace bmcpair::state_machine
