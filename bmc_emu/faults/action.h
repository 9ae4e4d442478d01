// What a fault does, as data.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "proto/base/time.h"
#include "proto/registers/register_port.h"

namespace bmcpair::faults {

enum class ActionKind : uint8_t {
  // To a request and its answer.
  kCompletionCode,   // value: the code; the command is not executed
  kDropRequest,      // the firmware never sees it
  kDropAnswer,       // executed, and nothing is said
  kDelay,            // duration: longer than without
  kAnswerAt,         // duration: after the request was taken, whatever the configured latency
  kSequence,         // value: added to the answer's sequence number
  kAnswerNetFn,      // value: the answer's NetFn
  kAnswerCmd,        // value: the answer's Cmd
  kTruncate,         // value: bytes left of the answer, NetFn/LUN, Cmd and completion code included
  kExtend,           // value: bytes of A5 added to it
  kLengthByte,       // value: what BT's length byte says
  kCorrupt,          // value: index into the answer; mask: its bits that flip
  kBadChecksum,      // where the answer carries one
  kDuplicate,        // value: how often it comes again
  kPreviousAnswer,   // the answer given before this one is given again
  // To what the host sees of the registers.
  kHold,       // flag reads as 1, until duration has passed
  kWithhold,   // flag reads as 0
  kReadValue,  // value: what the host reads instead; the access does not reach the BMC
  kReadXor,    // mask: bits that flip on their way
  kLoseWrite,  // it does not reach the BMC
  // To the BMC.
  kStall,      // it does nothing until duration has passed
  kError,      // the transfer fails: KCS goes to ERROR, SMIC forgets it
  kWarmReset,
  kColdReset,
  // To the lines.
  kLoseInterrupt,
  kSpuriousInterrupt,  // raised without a cause
  kInterruptStorm,     // raised again a period after each acknowledgement, until duration has passed
  kAttentionStorm,     // the same with SMS_ATN
};

// Flags by name; which bit that is depends on the interface.
enum class Flag : uint8_t { kBBusy, kHBusy, kH2bAtn, kB2hAtn, kSmsAtn, kIbf, kObf, kBusy, kRxDataReady, kTxDataReady };

// Nothing where the interface has no such flag.
std::optional<uint8_t> flag_bit(registers::InterfaceKind kind, Flag flag);

struct Action {
  ActionKind kind = ActionKind::kCompletionCode;
  uint32_t value = 0;
  uint8_t mask = 0xff;
  Flag flag = Flag::kBBusy;
  // Of what lasts: nothing is "until the rule is taken away".
  std::optional<Duration> duration;
  bool operator==(const Action&) const = default;
};

// To a request and its answer: what every face of a BMC can do, also one without registers.
constexpr bool concerns_message(ActionKind kind) { return kind <= ActionKind::kPreviousAnswer; }
// It goes on after it has fired.
constexpr bool lasts(ActionKind kind) {
  return kind == ActionKind::kHold || kind == ActionKind::kWithhold || kind == ActionKind::kStall ||
         kind == ActionKind::kInterruptStorm || kind == ActionKind::kAttentionStorm;
}

}  // namespace bmcpair::faults
