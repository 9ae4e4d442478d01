// How faults reach an interface. An injector is asked before every access of the host and every rise of the line, and by
// the clock; what it wants done comes back as effects. Without an injector an interface pays one null pointer.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "proto/base/time.h"
#include "proto/registers/transfer_phase.h"

namespace bmcpair::hardware {

using registers::TransferPhase;

struct Effect {
  enum class Kind : uint8_t {
    // Of the access that is about to happen.
    kReadValue,  // the host reads `bits`; the access does not reach the registers
    kReadXor,    // `bits` of what it reads flip
    kLoseWrite,  // it does not reach the registers
    // Of the line that is about to rise.
    kLoseInterrupt,
    // What lasts until `until`, or lift().
    kHold,            // `bits` of the flags register read as 1
    kWithhold,        // ... as 0
    kStall,           // the BMC makes no access
    kInterruptStorm,  // the line rises again `period` after each acknowledgement
    kAttentionStorm,  // SMS_ATN rises again `period` after it was seen
    // At once.
    kSpuriousInterrupt,  // the line is up until the host acknowledges
    kError,              // the transfer fails: KCS goes to ERROR; others forget it
    kWarmReset,          // the interface goes offline; take_reset_request() tells whoever brings it back
    kColdReset,
  };
  Kind kind = Kind::kReadValue;
  uint32_t fault = 0;  // which one it is, for traces and for lift()
  uint8_t bits = 0;
  Instant until = kNever;
  Duration period{0};
};
using Effects = std::vector<Effect>;

// What is about to happen, as far as it is known: of a line's rise only phase and request.
struct Approach {
  bool is_write = false;
  uint16_t offset = 0;
  uint8_t value = 0;  // written; of a read: the flags as the host would read them
  TransferPhase phase = TransferPhase::kIdle;
  std::optional<std::pair<uint8_t, uint8_t>> request;  // NetFn and Cmd in flight, in the phases execute and read
};

class Injector {
 public:
  virtual ~Injector() = default;
  // Effects are appended.
  virtual void on_access(const Approach& approach, Instant now, Effects& out) = 0;
  virtual void on_interrupt(const Approach& approach, Instant now, Effects& out) = 0;
  virtual Instant next_due() const = 0;
  virtual void on_clock(Instant now, Effects& out) = 0;
};

// What happens to one answer on its way through the registers.
struct ReplyFault {
  bool raw = false;          // the bytes are meant as they are, too short or wrong though they be
  uint8_t sequence_add = 0;  // BT, message protocols
  bool lies = false;         // BT: length_byte instead of the frame's own
  uint8_t length_byte = 0;
  bool bad_checksum = false;  // message protocols
  uint8_t duplicates = 0;    // it comes again so often
  Duration delay{0};
  bool has_answer_at = false;  // answer_at after the request instead of what the latency plan draws
  Duration answer_at{0};
};

}  // namespace bmcpair::hardware
