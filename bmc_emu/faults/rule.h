// One fault rule: where, when, what, how often, and until when (design.md §4 "Faults are data").
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "bmc_emu/faults/action.h"
#include "bmc_emu/faults/trigger.h"
#include "proto/base/result.h"

namespace bmcpair::faults {

struct Rule {
  std::string name;  // for people; may be empty
  Trigger trigger;
  Action action;
  // Fires at most so often on each interface; nothing: no bound.
  std::optional<uint32_t> count;
  bool operator==(const Rule&) const = default;
};

// What the rule waits for: the request where it names one, the access where it names one (the request is then the one
// in flight); else what its action needs, and the clock for what the BMC does by itself.
Moment moment_of(const Rule& rule);

// How often it fires where the rule does not say: what happens to each message, access or interrupt has no bound, nor
// has what has a period; what else begins something happens once.
std::optional<uint32_t> count_of(const Rule& rule);

// A rule that cannot mean anything: kInvalidArgument, saying what contradicts what.
Status check(const Rule& rule);

// Whether an interface of this name and kind can meet the rule, by its registers or by messages.
bool applies(const Rule& rule, std::string_view interface, registers::InterfaceKind kind);

// The rule in its short form, "cc=d5 netfn=0x06 cmd=0x01 count=2", from which a parser makes the same rule again.
std::string to_text(const Rule& rule);
// What it does, for traces: "cc=d5".
std::string action_text(const Action& action);

// The words of the rule format.
template <class T>
using Named = std::pair<std::string_view, T>;
inline constexpr std::array<Named<Flag>, 10> kFlagNames{{{"b_busy", Flag::kBBusy},
                                                         {"h_busy", Flag::kHBusy},
                                                         {"h2b_atn", Flag::kH2bAtn},
                                                         {"b2h_atn", Flag::kB2hAtn},
                                                         {"sms_atn", Flag::kSmsAtn},
                                                         {"ibf", Flag::kIbf},
                                                         {"obf", Flag::kObf},
                                                         {"busy", Flag::kBusy},
                                                         {"rx_data_rdy", Flag::kRxDataReady},
                                                         {"tx_data_rdy", Flag::kTxDataReady}}};
inline constexpr std::array<Named<Register>, 8> kRegisterNames{{{"ctrl", Register::kCtrl},
                                                                {"buffer", Register::kBuffer},
                                                                {"intmask", Register::kIntMask},
                                                                {"data", Register::kData},
                                                                {"status", Register::kStatus},
                                                                {"command", Register::kCommand},
                                                                {"control", Register::kControl},
                                                                {"flags", Register::kFlags}}};
inline constexpr std::array<Named<TransferPhase>, 5> kPhaseNames{{{"idle", TransferPhase::kIdle},
                                                                  {"write", TransferPhase::kWrite},
                                                                  {"execute", TransferPhase::kExecute},
                                                                  {"read", TransferPhase::kRead},
                                                                  {"error", TransferPhase::kError}}};
inline constexpr std::array<Named<AccessKind>, 2> kAccessNames{
    {{"read", AccessKind::kRead}, {"write", AccessKind::kWrite}}};
inline constexpr std::array<Named<ActionKind>, 2> kDropNames{
    {{"request", ActionKind::kDropRequest}, {"answer", ActionKind::kDropAnswer}}};
inline constexpr std::array<Named<ActionKind>, 4> kBmcNames{{{"stall", ActionKind::kStall},
                                                             {"error", ActionKind::kError},
                                                             {"warm_reset", ActionKind::kWarmReset},
                                                             {"cold_reset", ActionKind::kColdReset}}};
inline constexpr std::array<Named<ActionKind>, 3> kInterruptNames{{{"lose", ActionKind::kLoseInterrupt},
                                                                   {"spurious", ActionKind::kSpuriousInterrupt},
                                                                   {"storm", ActionKind::kInterruptStorm}}};

}  // namespace bmcpair::faults
