// The watchdog timer (IPMI 2.0 ch. 27), running on the instants it is handed.
#pragma once

#include <cstdint>

#include "bmc_emu/firmware/part.h"

namespace bmcpair::firmware {

class WatchdogPart : public Part {
 public:
  struct Settings {
    uint8_t use = 0;            // bit 7 don't log, bits 2:0 timer use
    uint8_t actions = 0;        // bits 6:4 pre-timeout interrupt, bits 2:0 timeout action
    uint8_t pretimeout_s = 0;
    uint16_t countdown_100ms = 0;
  };

  Instant next_due(const State& state) const override;
  void run(State& state, Instant now) override;
  void on_reset(State& state, bool cold, Instant now) override;
  void on_host_reset(State& state, Instant now) override;

  bool initialised() const { return initialised_; }
  bool running() const { return running_; }
  const Settings& settings() const { return settings_; }
  uint8_t expiration_flags() const { return expiration_flags_; }
  uint16_t present_countdown(Instant now) const;  // in 100 ms

  void set(State& state, const Settings& settings, bool dont_stop, uint8_t clear_flags, Instant now);
  // Starts or restarts; not once the pre-timeout interval has been reached (§27.5).
  void restart(State& state, Instant now);

 private:
  void start(State& state, Instant now);
  void stop(State& state);
  void pretimeout(State& state, Instant now);
  void expire(State& state, Instant now);
  void log(State& state, uint8_t offset, Instant now);

  Settings settings_;
  uint8_t expiration_flags_ = 0;
  bool initialised_ = false;
  bool running_ = false;
  bool pretimeout_reached_ = false;
  Instant pretimeout_at_ = kNever;
  Instant expires_at_ = kNever;
};

}  // namespace bmcpair::firmware
