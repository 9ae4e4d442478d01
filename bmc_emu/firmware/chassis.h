// The chassis (IPMI 2.0 ch. 28): power, identify, restore policy, restart cause, boot options, power-on hours.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>

#include "bmc_emu/firmware/part.h"

namespace bmcpair::firmware {

// Get System Restart Cause (§28.11).
enum class RestartCause : uint8_t {
  kUnknown = 0,
  kChassisControl = 1,
  kResetButton = 2,
  kPowerButton = 3,
  kWatchdog = 4,
  kAlwaysRestore = 6,
  kRestorePrevious = 7,
};

class ChassisPart : public Part {
 public:
  static constexpr size_t kMailboxBlocks = 5;  // 80 bytes (table 28-14 parameter 7)

  Status load(State& state, Instant now) override;
  Instant next_due(const State& state) const override;
  void run(State& state, Instant now) override;
  void on_reset(State& state, bool cold, Instant now) override;
  void on_host_reset(State& state, Instant now) override;

  bool power_on() const { return power_on_; }
  // False when the action makes no sense in the present power state. `channel` is for Get System Restart Cause.
  bool power(State& state, PowerAction action, RestartCause cause, uint8_t channel, Instant now);

  uint8_t identify() const { return identify_; }  // 0 off, 1 for a time, 2 until told otherwise
  void set_identify(State& state, uint8_t mode, Duration interval, Instant now);

  struct Kept {
    uint8_t policy = 1;                 // power restore policy: 0 off, 1 previous, 2 always on
    uint8_t power_on = 0;
    uint8_t last_power_event = 0;
    uint8_t capabilities = 0x06;        // front panel lockout, diagnostic interrupt
    std::array<uint8_t, 5> addresses{0x20, 0x20, 0x20, 0x20, 0x20};  // FRU, SDR, SEL, system management, bridge
    uint8_t power_cycle_interval_s = 1;
    uint64_t on_seconds = 0;            // power-on time up to since_
    bool operator==(const Kept&) const = default;
  };
  const Kept& kept() const { return kept_; }
  Status keep(State& state, const Kept& kept);  // durable on return

  uint8_t front_panel_disabled() const { return front_panel_; }
  void set_front_panel_disabled(uint8_t bits) { front_panel_ = bits; }
  RestartCause restart_cause() const { return cause_; }
  uint8_t restart_channel() const { return cause_channel_; }
  void forget_restart_cause() {
    cause_ = RestartCause::kUnknown;
    cause_channel_ = 0;
  }
  uint64_t on_seconds(Instant now) const;

  // Parameters 0..7 (table 28-14); the mailbox by block. All are volatile or semi-volatile: a cold reset clears them.
  struct BootOptions {
    uint8_t in_progress = 0;
    uint8_t invalid = 0;                // bit n: parameter n is marked invalid
    uint8_t service_partition = 0;
    uint8_t service_scan = 0;
    uint8_t valid_clearing = 0;
    uint8_t acknowledge = 0;
    std::array<uint8_t, 5> flags{};
    std::array<uint8_t, 9> initiator{};
    std::map<uint8_t, std::array<uint8_t, 16>> mailbox;
    bool operator==(const BootOptions&) const = default;
  };
  const BootOptions& boot() const { return boot_; }
  BootOptions& boot() { return boot_; }
  // The boot flags were written: while they are valid, a Chassis Control command is waited for (parameter 3).
  void boot_flags_written(Instant now);
  // A Chassis Control command came: the 60 s start again.
  void restart_boot_timeout(Instant now);

 private:
  // Counts the power-on time up to now, and stores it with what else is kept.
  void store_power(State& state, Instant now);
  void switch_power(State& state, bool on, Instant now);
  void clear_boot_valid();

  Kept kept_;
  BootOptions boot_;
  bool power_on_ = false;
  uint8_t front_panel_ = 0;
  RestartCause cause_ = RestartCause::kUnknown;
  uint8_t cause_channel_ = 0;
  uint8_t identify_ = 0;
  Instant identify_until_ = kNever;
  Instant power_back_at_ = kNever;      // the end of a power cycle's off time
  Instant boot_timeout_at_ = kNever;
  Instant since_{};                     // power-on time counted up to here
  Instant hour_at_ = kNever;            // when the power-on time is stored next
};

}  // namespace bmcpair::firmware
