// One system interface of a BMC: a two-sided register file and the BMC's own actor on its inner face.
//
// Host accesses and actor steps are separate: the actor never moves inside a host access, it is due some
// latency later, and each step() makes at most one access to the BMC's face. So IBF, H2B_ATN, B_BUSY and
// B2H_ATN are always observable in between. Pure: no clock, no thread, no log. Not thread safe.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bmc_emu/hardware/injector.h"
#include "bmc_emu/hardware/latency.h"
#include "proto/base/hex.h"
#include "proto/base/result.h"
#include "proto/base/time.h"
#include "proto/registers/register_port.h"

namespace bmcpair::hardware {

// The offset of what is in a trace and is no access: a fault that fired.
constexpr uint16_t kNoRegister = 0xffff;

// One access, for traces: which face, which register, what moved, and the status/control byte after it.
struct Access {
  enum class Face : uint8_t { kHost, kBmc };
  Instant at{};
  Face face = Face::kHost;
  bool is_write = false;
  uint16_t offset = 0;
  uint8_t value = 0;
  uint8_t flags_after = 0;  // KCS status, BT_CTRL or SMIC flags, as the host would read it
  bool interrupt_after = false;
  uint32_t fault = 0;  // the rule that fired (kNoRegister) or that changed this access; 0: none
  bool operator==(const Access&) const = default;
};

// One dense line, without the instant: "host W ctrl     04 | H2B_ATN B_BUSY irq <- H2B_ATN".
std::string describe(registers::InterfaceKind kind, const Access& access);

class TraceSink {
 public:
  virtual ~TraceSink() = default;
  virtual void on_access(const Access&) {}
  // As many accesses that only differ in when, each `apart` after the one before, and in what moved.
  virtual void on_run(Access access, ByteView values, Duration apart) {
    for (uint8_t value : values) {
      access.value = value;
      on_access(access);
      access.at += apart;
    }
  }
};

// A request that the actor has taken whole from its registers. `token` names it: an abort, a reset or a new
// request makes an older token stale, and a response with a stale token is dropped.
struct TakenRequest {
  uint32_t token = 0;
  Bytes message;  // NetFn<<2|LUN, Cmd, data
};

class Interface {
 public:
  virtual ~Interface() = default;

  virtual registers::InterfaceKind kind() const = 0;

  // Host face.
  virtual uint8_t host_read(uint16_t offset, Instant now) = 0;
  virtual void host_write(uint16_t offset, uint8_t value, Instant now) = 0;
  // As many accesses of one register, the first at `now`, the next `apart` later each, and nothing in between.
  virtual void host_read_burst(uint16_t offset, std::span<uint8_t> out, Instant now, Duration apart) = 0;
  virtual void host_write_burst(uint16_t offset, std::span<const uint8_t> in, Instant now, Duration apart) = 0;
  // The interrupt line as the host sees it now.
  virtual bool interrupt_line() const = 0;
  // What host_read of the status/control/flags register would give, without its side effects.
  virtual uint8_t peek_flags() const = 0;

  // BMC face. kNever when the actor has nothing to do.
  virtual Instant next_due() const = 0;
  // At most one access of the actor, if one is due at `now`. Returns a request when this step completed one.
  virtual std::optional<TakenRequest> step(Instant now) = 0;
  // Whether the actor's next access is one of a run to its buffer, which the host's flags do not tell apart.
  virtual bool in_burst() const = 0;
  // The steps of that run that are due until then, each at its own instant, as long as nothing else is due before them.
  virtual void go_on_in_burst(Instant until) = 0;
  // The firmware's answer: NetFn<<2|LUN (odd NetFn), Cmd, CC, data. It is put into the registers by later
  // steps, not before the response latency that the plan draws for (NetFn, Cmd) has passed since the request was
  // taken. False when the token is stale and the response was dropped. A response longer than the interface can
  // carry becomes completion code CA, never a truncated answer.
  virtual bool respond(uint32_t token, ByteView message, Instant now) = 0;
  // The same with something wrong about it.
  virtual bool respond_faulty(uint32_t token, ByteView message, Instant now, const ReplyFault& fault) = 0;
  // Whether the BMC wants the host's attention (SMS_ATN); the actor carries it into the register as an access.
  virtual void set_attention(bool wanted, Instant now) = 0;
  // Longest message, NetFn and Cmd included, that the interface takes from / gives to the host.
  virtual size_t request_bytes_max() const = 0;
  virtual size_t response_bytes_max() const = 0;

  // A rebooting BMC: everything in flight is forgotten; until come_online the registers are as a rebooting
  // BMC's are (proto/registers/away.h); nothing is answered.
  virtual void go_offline(Instant now) = 0;
  virtual void come_online(Instant now) = 0;
  virtual bool online() const = 0;
  // The host has gone, and another may come: nothing in flight or half done is left to it. Registers are as at power-on,
  // idle, or still away; what the BMC wants to tell (attention, OEM bits) is told anew.
  virtual void forget_host(Instant now) = 0;
  // BT's BMC_HWRST was written since the last call (always false elsewhere).
  virtual bool take_hardware_reset_request() { return false; }
  // OEM bits as the BMC drives them: KCS bits 5:4, BT bit 5. Others are ignored.
  virtual void set_oem_bits(uint8_t bits, Instant now) = 0;

  virtual void set_trace(TraceSink* sink) = 0;  // null: none; must outlive the interface

  virtual TransferPhase transfer_phase() const = 0;
  // Null: none, and whatever faults have imposed is lifted. Must outlive the interface otherwise.
  virtual void set_injector(Injector* injector, Instant now) = 0;
  // From outside of the injector's own calls; no effect without an injector. Effects of an access or a rise do nothing.
  virtual void inject(const Effect& effect, Instant now) = 0;
  // What this fault has imposed ends.
  virtual void lift(uint32_t fault, Instant now) = 0;
  // A fault has reset the BMC since the last call, and its interface is offline: true where it was a cold one.
  virtual std::optional<bool> take_reset_request() = 0;

  // Everything but the trace sink, the injector and what it has imposed, as a plain value: snapshot and replay come from it. load_interface() undoes it.
  virtual Bytes save() const = 0;
};

struct InterfaceOptions {
  registers::InterfaceKind kind = registers::InterfaceKind::kKcs;
  LatencyPlan latency;
  uint64_t seed = 1;
};

std::unique_ptr<Interface> make_interface(const InterfaceOptions& options);

// An interface that goes on exactly where save() was called, transfer in flight, latencies and all. Instants are as
// they were: the caller's clock must go on too. Error: kCorrupt (says at which byte).
Result<std::unique_ptr<Interface>> load_interface(ByteView saved);

}  // namespace bmcpair::hardware
