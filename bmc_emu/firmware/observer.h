// What the firmware tells the outside, as it happens. The board listens and does what must be done to
// registers and watchers; a Bmc without an observer works.
#pragma once

#include <cstdint>
#include <string>

#include "proto/base/time.h"

namespace bmcpair::firmware {

struct Change {
  enum class Kind : uint8_t {
    kAttention,      // value: 1 wanted, 0 not (SMS_ATN follows it)
    kReset,          // value: 1 cold, 0 warm; duration: how long the BMC is away
    kPower,          // value: PowerAction
    kGlobalEnables,  // value: the byte; told by each Set BMC Global Enables, before its response goes out
    kSensor,         // value: sensor number; text: its name
    kSelAdded,       // value: record id
    kSelCleared,
    kEvent,          // value: sensor number; text: what happened, for people
    kWatchdog,       // text: armed, pretimeout, expired <action>, stopped
    kIdentify,       // value: 0 off, 1 on, 2 forced on
  };
  Kind kind{};
  uint32_t value = 0;
  Duration duration{0};
  std::string text;
};

enum class PowerAction : uint32_t { kOff = 0, kOn = 1, kCycle = 2, kHardReset = 3, kDiagnosticInterrupt = 4, kSoftShutdown = 5 };

class Observer {
 public:
  virtual ~Observer() = default;
  virtual void on_change(const Change& change) = 0;  // must not call back into the Bmc
};

}  // namespace bmcpair::firmware
