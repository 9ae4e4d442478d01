// Sensors (IPMI 2.0 ch. 35): readings from wave forms, from a person's hand or from Set Sensor Reading; thresholds with
// hysteresis; and the events that crossings raise.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "bmc_emu/firmware/part.h"

namespace bmcpair::ipmi {
struct SdrSensor;
}

namespace bmcpair::firmware {

class SensorPart : public Part {
 public:
  // Order of thresholds in every command and mask (§35.8): LNC, LC, LNR, UNC, UC, UNR.
  static constexpr size_t kThresholds = 6;
  // How often a moving sensor that can raise events is looked at.
  static constexpr Duration kScanInterval = std::chrono::milliseconds(250);

  // What one sensor holds besides its configuration (config.sensors[i]).
  struct Sensor {
    std::array<uint8_t, kThresholds> thresholds{};
    uint8_t threshold_mask = 0;         // which there are: bits as in Get Sensor Thresholds
    uint8_t positive_hysteresis = 0;
    uint8_t negative_hysteresis = 0;
    uint8_t sensor_type = 0;
    uint8_t event_reading_type = 0;
    bool events_enabled = true;
    bool scanning_enabled = true;
    bool pinned = false;                // stays at raw / states until released
    uint8_t raw = 0;                    // as last scanned or pinned
    uint16_t states = 0;                // discrete
    uint16_t assertion_enabled = 0;
    uint16_t deassertion_enabled = 0;
    uint16_t asserted = 0;              // event conditions that hold, after hysteresis
    uint16_t deasserted = 0;            // ... that held, and no longer do, since the last re-arm
    bool watched = false;               // time alone can bring an event
  };

  Status load(State& state, Instant now) override;
  Instant next_due(const State& state) const override;
  void run(State& state, Instant now) override;
  void on_reset(State& state, bool cold, Instant now) override;

  std::vector<SensorView> views(const State& state, Instant now) const;
  // By name, or by number ("0x30", "48") on any LUN. Errors: kNotFound; kInvalidArgument (not a threshold / discrete
  // sensor; a value that the sensor cannot express, with the range it can).
  Status set_value(State& state, std::string_view name_or_number, double value, Instant now);
  Status set_states(State& state, std::string_view name_or_number, uint16_t states, Instant now);
  Status release(State& state, std::string_view name_or_number, Instant now);

  // For the commands.
  static constexpr size_t kNone = static_cast<size_t>(-1);
  size_t find(const State& state, uint8_t lun, uint8_t number) const;  // kNone when there is none
  size_t size() const { return sensors_.size(); }
  Sensor& at(size_t index) { return sensors_[index]; }
  const Sensor& at(size_t index) const { return sensors_[index]; }
  // Raw reading at `now`, whether scanned or not.
  uint8_t reading(const State& state, size_t index, Instant now) const;
  // Threshold comparison status bits (§35.14 byte 3), or the discrete states.
  uint16_t status(const State& state, size_t index, Instant now) const;
  // Looks at one sensor and raises what has happened. `data` replaces the event data bytes (Set Sensor Reading).
  struct EventData {
    std::array<uint8_t, 3> bytes{0xff, 0xff, 0xff};
    bool own_offset = false;            // bytes[0] bits 3:0 are used as given
  };
  void scan(State& state, size_t index, Instant now, const EventData* data = nullptr);
  // Forgets event status; conditions that hold raise their events again (§35.12).
  void rearm(State& state, size_t index, uint16_t assertion, uint16_t deassertion, Instant now);
  void rearm_all(State& state, Instant now);
  // Thresholds, hysteresis, types and enables as the SDRs say (§33.6).
  void initialise(State& state, Instant now);
  void settings_changed(const State& state, size_t index);
  // All events that a sensor can raise.
  uint16_t supported_events(const State& state, size_t index) const;

 private:
  void reset_sensor(const State& state, size_t index, Instant now);
  uint16_t conditions(const State& state, size_t index, uint8_t raw, uint16_t states, uint16_t held) const;
  void raise(State& state, size_t index, uint8_t offset, bool deassertion, const EventData* data, Instant now);
  Result<size_t> by_name(const State& state, std::string_view name_or_number) const;
  SensorView view(const State& state, size_t index, Instant now) const;
  Instant due(const SensorConfig& config, Instant now) const;

  std::vector<Sensor> sensors_;  // by index in config.sensors
  Instant last_run_{};
};

// One sensor's SDR as its configuration has it; record id 0. Threshold sensors are full records (01h), discrete ones
// compact records (02h).
ipmi::SdrSensor sensor_sdr(const SensorConfig& sensor, uint8_t owner_address);
// Every mistake that makes a sensor impossible; the message names the sensor and the field.
Status validate_sensor(const SensorConfig& sensor);
// In the sensor's units at `now`, before it is turned into a raw reading.
double wave_value(const SensorConfig& sensor, Instant now);

}  // namespace bmcpair::firmware
