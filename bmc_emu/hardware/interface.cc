#include "bmc_emu/hardware/interface.h"

#include "bmc_emu/hardware/actor.h"
#include "bmc_emu/hardware/bt/state_machine.h"
#include "bmc_emu/hardware/bt/trace.h"
#include "bmc_emu/hardware/kcs/state_machine.h"
#include "bmc_emu/hardware/kcs/trace.h"
#include "bmc_emu/hardware/smic/state_machine.h"
#include "bmc_emu/hardware/smic/trace.h"

namespace bmcpair::hardware {
namespace {

using registers::InterfaceKind;

constexpr uint32_t kPlanEntriesMax = 256 * 64;  // every command of every NetFn

template <class A>
void visit_latency(A& a, Latency& latency) {
  a.enumeration(latency.shape, Latency::Shape::kLogUniform);
  a(latency.min, latency.max);
}

template <class Machine>
Result<std::unique_ptr<Interface>> load(Reader& in) {
  auto machine = std::make_unique<Machine>(InterfaceOptions{});
  machine->load(in);
  if (!in.ok() || !in.at_end()) {
    return Error{ErrorCode::kCorrupt, "saved interface: what is before byte " + std::to_string(in.position()) +
                                          " does not hold together"};
  }
  return std::unique_ptr<Interface>(std::move(machine));
}

}  // namespace

void save_plan(Writer& out, const LatencyPlan& plan) {
  Latency access = plan.access;
  Latency response = plan.response;
  visit_latency(out, access);
  visit_latency(out, response);
  out(static_cast<uint32_t>(plan.by_command.size()));
  for (const auto& [command, latency] : plan.by_command) {
    out(command.first, command.second);
    Latency copy = latency;
    visit_latency(out, copy);
  }
}

void load_plan(Reader& in, LatencyPlan& plan) {
  visit_latency(in, plan.access);
  visit_latency(in, plan.response);
  uint32_t entries = 0;
  in(entries);
  if (entries > kPlanEntriesMax) in.fail();
  plan.by_command.clear();
  for (uint32_t i = 0; in.ok() && i < entries; ++i) {
    std::pair<uint8_t, uint8_t> command;
    in(command.first, command.second);
    visit_latency(in, plan.by_command[command]);
  }
}

std::string describe(InterfaceKind kind, const Access& access) {
  const std::string fault = access.fault == 0 ? "" : "fault " + std::to_string(access.fault);
  if (access.offset == kNoRegister) return fault;
  std::string line;
  switch (kind) {
    case InterfaceKind::kKcs: line = kcs::describe(access); break;
    case InterfaceKind::kBt: line = bt::describe(access); break;
    case InterfaceKind::kSmic: line = smic::describe(access); break;
  }
  return fault.empty() ? line : line + " (" + fault + ")";
}

std::unique_ptr<Interface> make_interface(const InterfaceOptions& options) {
  switch (options.kind) {
    case InterfaceKind::kKcs: return std::make_unique<kcs::StateMachine>(options);
    case InterfaceKind::kBt: return std::make_unique<bt::StateMachine>(options);
    case InterfaceKind::kSmic: return std::make_unique<smic::StateMachine>(options);
  }
  return nullptr;
}

Result<std::unique_ptr<Interface>> load_interface(ByteView saved) {
  Reader in(saved);
  uint32_t magic = 0;
  InterfaceKind kind = InterfaceKind::kKcs;
  in(magic);
  in.enumeration(kind, InterfaceKind::kSmic);
  if (!in.ok() || magic != kSavedMagic) return Error{ErrorCode::kCorrupt, "not a saved interface: wrong first bytes"};
  switch (kind) {
    case InterfaceKind::kKcs: return load<kcs::StateMachine>(in);
    case InterfaceKind::kBt: return load<bt::StateMachine>(in);
    case InterfaceKind::kSmic: return load<smic::StateMachine>(in);
  }
  return Error{ErrorCode::kInternal, "no such interface kind"};
}

}  // namespace bmcpair::hardware
