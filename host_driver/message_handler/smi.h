// The seam between the message handler and a system interface below it (Linux's ipmi_smi.h, reference 0.3).
#pragma once

#include <cstdint>
#include <string>

#include "host_driver/runtime/runtime.h"
#include "proto/base/hex.h"
#include "proto/base/result.h"
#include "proto/registers/register_port.h"
#include "proto/ipmi/message.h"

namespace bmcpair::host::inline BMCPAIR_RT {

enum class SmiMessageType : uint8_t { kNormal, kIpmbDirect };

// One message on its way down and its answer on its way up. Owned by exactly one layer at a time: sender() hands it
// down, message_received() hands it back, once. Fixed buffers: the panic path allocates nothing.
struct SmiMessage {
  SmiMessageType type = SmiMessageType::kNormal;
  uint64_t msgid = 0;  // slot << 26 | sequence id where it has a sequence table entry (E.4)
  uint16_t data_size = 0;
  uint16_t rsp_size = 0;
  uint8_t data[ipmi::kMessageBytesMax];  // NetFn<<2|LUN, Cmd, data
  uint8_t rsp[ipmi::kMessageBytesMax];   // NetFn<<2|LUN, Cmd, CC, data
  // Set when rsp was made by the driver, not by the BMC: why, and rsp's completion code is then what Linux would show.
  bool failed = false;
  ErrorCode failure = ErrorCode::kInternal;
  bool resend_on_panic = false;         // proposed-2015: not started yet
  void* user_data = nullptr;            // the message handler's
  SmiMessage* next = nullptr;           // queue link of whoever owns it
  void (*done)(SmiMessage*) = nullptr;  // gives it back to its allocator
};

// What the message handler offers to the layer below. May be called with locks of that layer held, from any
// context but inside sender(); therefore never calls back into the layer synchronously (G-33).
class SmiUpcalls {
 public:
  virtual ~SmiUpcalls() = default;
  virtual void message_received(SmiMessage* message) = 0;
  virtual void watchdog_pretimeout() = 0;
};

struct SmiInfo {
  std::string address_source = "bus";  // as Linux: "ACPI", "PCI"... ours: the bus spec's scheme
  std::string description;             // the bus spec as written
  registers::InterfaceKind kind = registers::InterfaceKind::kKcs;
  bool interrupts = false;
  uint8_t slave_address = 0x20;
  bool ipmb_direct = false;  // takes SmiMessageType::kIpmbDirect
  std::string profile;
};

// A system interface, as the message handler sees it.
class SmiHandlers {
 public:
  virtual ~SmiHandlers() = default;
  // From here on upcalls may be used. After an error the message handler calls nothing more.
  virtual Status start_processing(SmiUpcalls& upcalls) = 0;
  virtual SmiInfo info() const = 0;
  // Takes the message, or refuses it with an Error and leaves it with the caller (6.18+). At most one message is
  // below at a time. Never blocks for the BMC.
  virtual Status sender(SmiMessage* message) = 0;
  virtual void request_events() = 0;
  virtual void set_need_watch(unsigned mask) = 0;
  virtual void set_maintenance_mode(bool enable) = 0;
  // Panic path: no locks, no allocation; flush drives the hardware until idle or hosed, within a bound. Messages that
  // go up meanwhile are given back (done) only at shutdown.
  virtual void set_run_to_completion(bool on) = 0;
  virtual void poll() = 0;
  virtual void flush_messages() = 0;
  // Panic path: true while the layer holds a message it will still answer (E.13, windows 2-5).
  virtual bool holds_message() const = 0;
  // When it returns nothing of this layer calls up or touches the port again; every message it held was handed back.
  // Idempotent.
  virtual void shutdown() = 0;
};

}  // namespace bmcpair::host::inline BMCPAIR_RT
