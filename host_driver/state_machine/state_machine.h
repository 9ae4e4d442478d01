// The state machines of the system interfaces: registers and elapsed time in, verdict out. Pure: no clock, no
// lock, no log. reference A.2-A.3, B.3-B.5, C.1 and 0.3.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "host_driver/state_machine/profile.h"
#include "proto/base/hex.h"
#include "proto/base/result.h"
#include "proto/base/time.h"
#include "proto/ipmi/message.h"
#include "proto/registers/register_port.h"

namespace bmcpair::state_machine {

enum class Verdict : uint8_t {
  kCallWithoutDelay,
  kCallWithDelay,
  kCallWithTickDelay,
  kTransactionComplete,
  kIdle,
  kHosed,
  kAttention,  // idle, and the hardware asks for attention
};
std::string_view to_string(Verdict verdict);

// One dense line a step, in the shape kernel people know: "BT: WR_CONSUME [ H2B ] TO=5000000 - 4000".
class Trace {
 public:
  virtual ~Trace() = default;
  virtual bool wanted() const = 0;
  [[gnu::cold]] virtual void line(std::string text) = 0;
  // What goes through the machine whole, whether or not steps are wanted: a request that it has taken; the BMC's answer, or
  // why there is none, with the completion code that is the driver's own.
  virtual void request(ByteView) {}
  virtual void response(ByteView) {}
  virtual void no_response(ErrorCode, uint8_t) {}
};

class StateMachine {
 public:
  virtual ~StateMachine() = default;
  virtual registers::InterfaceKind kind() const = 0;

  // 0, or a completion code: C7 below 2 bytes, C8 too long, D5 not idle, C0 in LONG_BUSY. request: NetFn<<2|LUN, Cmd, data.
  virtual uint8_t start_transaction(ByteView request) = 0;
  // After kTransactionComplete: NetFn<<2|LUN, Cmd, CC, data; the 3..272 bytes stored. Allocates nothing.
  virtual size_t take_result(std::span<uint8_t, ipmi::kMessageBytesMax> out) = 0;
  Bytes get_result();
  // Why the result's completion code is the machine's own and not the BMC's; nullopt when the BMC sent it.
  virtual std::optional<ErrorCode> result_failure() const = 0;
  // One step with `elapsed` credited.
  virtual Verdict event(Duration elapsed) = 0;
  // Whether plausible hardware is there; brings its flags to rest. BT: the system interface then fetches the capabilities as
  // an ordinary transaction, before anybody else may send, and hands them to adopt_capabilities (B.4, B.9).
  virtual bool detect() = 0;
  // The machine could take a request now. (D.11: NORMAL and no current message imply this.)
  virtual bool idle() const = 0;
  // In a declared state of being unavailable (BT LONG_BUSY): start_transaction answers C0.
  virtual bool unavailable() const { return false; }
  virtual std::string_view state_name() const = 0;
  // BT only: whether INTMASK's interrupt enable is to be on, and what the capability fetch found.
  virtual void set_interrupt_enable(bool) {}
  virtual bool wants_capabilities() const { return false; }
  // Adopts a Get BT Interface Capabilities answer (CC, data); false, and the defaults, when it was missing, short or an error.
  virtual bool adopt_capabilities(ByteView) { return false; }
  // Acknowledge an interrupt at the device before the event pass (BT: INTMASK := 03).
  virtual void acknowledge_interrupt() {}
};

// The port must outlive the machine. trace may be null.
std::unique_ptr<StateMachine> make_state_machine(registers::RegisterPort& port, const Profile& profile, Trace* trace);

}  // namespace bmcpair::state_machine
