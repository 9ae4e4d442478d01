// Events: the one way an event is raised, and where event messages go (IPMI 2.0 ch. 29).
#pragma once

#include <cstdint>

#include "bmc_emu/firmware/part.h"

namespace bmcpair::firmware {

// Bytes 8..16 of a SEL event record (table 32-1).
struct PlatformEvent {
  uint8_t generator_id_low = 0x20;
  uint8_t generator_id_high = 0;
  uint8_t evm_rev = 0x04;
  uint8_t sensor_type = 0;
  uint8_t sensor_number = 0;
  uint8_t event_dir_type = 0;
  uint8_t data1 = 0xff;
  uint8_t data2 = 0xff;
  uint8_t data3 = 0xff;
  bool operator==(const PlatformEvent&) const = default;
};

class EventPart : public Part {
 public:
  static constexpr uint8_t kReceiverDisabled = 0xff;

  Status load(State& state, Instant now) override;
  void on_reset(State& state, bool cold, Instant now) override;

  // This BMC as event receiver: into the SEL when Global Enables say so, and to the Event Message Buffer. Errors are
  // those of the store; a full SEL is none (its overflow flag tells).
  Status deliver(State& state, const PlatformEvent& event, Instant now);
  // ... for those who have nobody to tell.
  void raise(State& state, const PlatformEvent& event, Instant now);
  // From one of this BMC's own sensors: to the event receiver, which is usually this BMC (§29.1).
  void generate(State& state, const PlatformEvent& event, Instant now);

  uint8_t receiver_address() const { return receiver_address_; }
  uint8_t receiver_lun() const { return receiver_lun_; }
  void set_receiver(uint8_t address, uint8_t lun);
  bool generation_enabled() const { return receiver_address_ != kReceiverDisabled; }

 private:
  uint8_t receiver_address_ = 0x20;
  uint8_t receiver_lun_ = 0;
  uint8_t sequence_ = 0;  // rqSeq of event messages on the IPMB, 6 bits
};

}  // namespace bmcpair::firmware
