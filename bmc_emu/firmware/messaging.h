// Between the BMC and system software (IPMI 2.0 ch. 22): global enables, message flags, the Receive Message Queue, the
// Event Message Buffer, and the IPMB with its satellite controllers.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "bmc_emu/firmware/part.h"

namespace bmcpair::firmware {

// Message flags (§22.4).
constexpr uint8_t kFlagReceiveMessage = 0x01;
constexpr uint8_t kFlagEventBufferFull = 0x02;
constexpr uint8_t kFlagWatchdogPretimeout = 0x08;
constexpr uint8_t kFlagOem = 0xe0;

// BMC global enables (§22.1).
constexpr uint8_t kEnableReceiveInterrupt = 0x01;
constexpr uint8_t kEnableEventBufferInterrupt = 0x02;
constexpr uint8_t kEnableEventBuffer = 0x04;
constexpr uint8_t kEnableSystemEventLog = 0x08;
constexpr uint8_t kEnableOem = 0xe0;

// The BMC's LUN for system software: what arrives there goes to the Receive Message Queue (§7.2).
constexpr uint8_t kLunSms = 2;

class MessagingPart : public Part {
 public:
  static constexpr size_t kReceiveQueueMax = 16;
  static constexpr size_t kEventsMax = 16;
  static constexpr size_t kInFlightMax = 32;  // IPMB requests not answered yet
  static constexpr size_t kIpmbBytesMax = 32;  // a whole IPMB message, addresses and checksums included

  struct Received {
    uint8_t channel = 0;  // bits 7:4 inferred privilege
    Bytes data;
  };
  using Event = std::array<uint8_t, 16>;

  Instant next_due(const State& state) const override;
  void run(State& state, Instant now) override;
  void on_reset(State& state, bool cold, Instant now) override;
  void on_host_reset(State& state, Instant now) override;

  uint8_t flags() const;
  bool attention() const { return flags() != 0; }
  // kFlagWatchdogPretimeout and kFlagOem; the others follow their queues.
  void set_flag(State& state, uint8_t flag);
  void clear_flags(State& state, uint8_t mask);

  uint8_t global_enables() const { return enables_; }
  void set_global_enables(State& state, uint8_t value);

  bool receive_enabled(uint8_t channel) const { return (receive_disabled_ >> (channel & 15) & 1) == 0; }
  void enable_receive(uint8_t channel, bool on);

  // For EventPart: a 16-byte SEL event record. False when the buffer is disabled, or full (the event is then only in
  // the SEL).
  bool offer_event(State& state, ByteView record16);
  // The oldest event; false when there is none.
  bool take_event(State& state, Event& out);

  // data: as Get Message hands it out, from NetFn/LUN on for IPMB. False when the channel's receive is disabled or the
  // queue is full.
  bool deliver_to_receive_queue(State& state, uint8_t channel, ByteView data);
  bool receive_queue_full() const { return received_.size() >= kReceiveQueueMax; }
  bool receive_queue_empty() const { return received_.empty(); }
  Received take_received(State& state);

  // One IPMB message from this BMC: rsSA, NetFn/rsLUN, checksum, rqSA, rqSeq/rqLUN, Cmd, data, checksum.
  // tracked: the answer comes back to system software whatever rqLUN says.
  ipmi::CompletionCode send_ipmb(State& state, ByteView message, bool tracked, Instant now);

 private:
  struct InFlight {
    Instant due{};
    uint64_t order = 0;
    bool tracked = false;
    Bytes message;
  };

  void update_attention(State& state);
  void answer(State& state, const InFlight& request, Instant now);

  uint8_t enables_ = kEnableSystemEventLog;
  uint8_t other_flags_ = 0;
  uint16_t receive_disabled_ = 0;
  bool attention_told_ = false;
  uint64_t next_order_ = 0;
  std::vector<Received> received_;
  std::vector<Event> events_;
  std::vector<InFlight> in_flight_;
};

}  // namespace bmcpair::firmware
