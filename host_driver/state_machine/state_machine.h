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

#include "proto/base/hex.h"
#include "proto/base/result.h"
#include "proto/base/time.h"
#include "proto/ipmi/message.h"
#include "proto/registers/register_port.h"

namespace bmcpair::state_machine {

// Historical behaviour as data, not as #if (design.md "Profiles").
struct Profile {
  std::string_view name;
  // KCS
  unsigned kcs_error_retries_max;
  bool kcs_stop_after_timeout;          // fixes A.6-1/2/3: a recorded error ends the step; HOSED is never lost
  bool kcs_check_obf_at_write_start;    // fixes A.6-4
  bool kcs_rearm_budget_in_recovery;    // fixes A.6-5
  bool kcs_idle_ibf_is_not_error;       // fixes D.11 W3: IBF stuck while idle starts no abort behind the SI's back
  bool kcs_delay_after_error;           // fixes G-60: at least one delay an error
  // BT
  bool bt_hidden_capability_fetch;      // <= 4.18: the fetch runs inside the machine (B.9)
  bool bt_bounded_resets;               // fixes B.6-6/7: probe resets are bounded and do not return with the sequence wrap
  bool bt_keep_capabilities;            // fixes B.6-4
  bool bt_safe_drain;                   // fixes B.6-1/2/9: H_BUSY read before toggled; a bad frame is drained
  bool bt_floor_timings;                // fixes B.6-3: 0 s request-to-response is taken as the default; both are capped
  bool bt_keep_interrupt_enable;        // fixes B.6-5: resetting the flags does not leave the interrupt disabled
  bool bt_gentle_detect;                // no BMC hardware reset (INTMASK 80h) merely because a host attaches
  bool bt_frame_limit;                  // a request that a length byte cannot count is refused (B.2)
  bool bt_carry_control;                // a state that follows at once uses CTRL as it was sampled for the one before
  // SMIC
  bool smic_count_long_steps;           // fixes the wart of C.1: a step of >= 2 s counts
  // System interface
  bool si_hosed_backoff;                // 6.18+: SI_HOSED, 0x82, one-second probe (D.9)
  bool si_gate_on_machine;              // fixes D.11 W1-W4/W7: the gate asks the machine, refused starts wait
  bool si_bounded_fetches;              // G-70
  bool si_bounded_event_steps;          // G-60, G-115
  // Message handler
  bool mh_retry_identity_on_any_cc;     // B.9 "remaining hole"
  bool mh_bounded_identity_waits;       // G-42
  bool mh_clear_current_on_panic;       // E.13
};

// "hardened" (the default), "linux-6.1", "linux-4.18". nullptr when unknown.
const Profile* find_profile(std::string_view name);
const Profile& hardened();
std::vector<std::string_view> profile_names();

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
  virtual void line(std::string text) = 0;
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
