// When a fault fires, as data.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "proto/base/hex.h"
#include "proto/base/time.h"
#include "proto/registers/register_port.h"
#include "proto/registers/transfer_phase.h"

namespace bmcpair::faults {

using registers::TransferPhase;

// What a rule waits for.
enum class Moment : uint8_t {
  kRequest,    // the BMC has taken a whole request
  kAccess,     // the host is about to access a register
  kInterrupt,  // the interrupt line is about to rise
  kClock,      // its time has come
};

enum class AccessKind : uint8_t { kAny, kRead, kWrite };

// Registers by name; which offset that is depends on the interface.
enum class Register : uint8_t { kCtrl, kBuffer, kIntMask, kData, kStatus, kCommand, kControl, kFlags };

// Nothing where the interface has no such register.
std::optional<uint16_t> register_offset(registers::InterfaceKind kind, Register name);

struct Trigger {
  std::string interface;  // its name or its kind; empty: every one

  // The request: the one taken, or for an access the one in flight from then on.
  std::optional<uint8_t> netfn;
  uint8_t netfn_mask = 0x3f;
  std::optional<uint8_t> cmd;
  uint8_t cmd_mask = 0xff;
  Bytes data;  // what the request's data begins with

  // The access.
  AccessKind access = AccessKind::kAny;
  std::optional<Register> register_name;
  std::optional<uint16_t> offset;
  std::optional<uint8_t> value;  // written, or in the register before a read of the flags
  std::optional<TransferPhase> phase;

  // Of the times that all this holds: none of the first `skip`, then the nth only, or every nth.
  uint32_t skip = 0;
  uint32_t nth = 0;    // 0: not asked
  uint32_t every = 1;
  // Of those: with this probability, in millionths.
  uint32_t probability = 1'000'000;

  // The window, since the rule was added.
  Duration from{0};
  std::optional<Duration> until;
  // kClock: again after so long; storms: between two of them.
  std::optional<Duration> period;

  bool operator==(const Trigger&) const = default;

  bool names_request() const { return netfn || cmd || !data.empty(); }
  bool names_access() const { return access != AccessKind::kAny || register_name || offset || value || phase; }
};

// What happens, for a trigger to look at.
struct Request {
  uint8_t netfn = 0;
  uint8_t cmd = 0;
  ByteView data;
  bool by_registers = true;  // else by messages: a host that models the registers itself
};
struct AccessPoint {
  bool is_write = false;
  uint16_t offset = 0;
  uint8_t value = 0;  // written; of a read: the flags as they are
  TransferPhase phase = TransferPhase::kIdle;
  // The request in flight, known in the phases execute and read.
  std::optional<Request> request;
};

bool holds(const Trigger& trigger, const Request& request);
// `kind`: of the interface accessed.
bool holds(const Trigger& trigger, const AccessPoint& point, registers::InterfaceKind kind);

}  // namespace bmcpair::faults
