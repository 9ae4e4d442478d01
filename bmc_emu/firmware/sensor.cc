#include "bmc_emu/firmware/sensor.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numbers>
#include <optional>

#include "bmc_emu/firmware/dispatcher.h"
#include "bmc_emu/firmware/event.h"
#include "bmc_emu/firmware/state.h"
#include "proto/ipmi/sdr.h"
#include "proto/ipmi/sensor_names.h"
#include "proto/ipmi/type_length.h"

namespace bmcpair::firmware {

using ipmi::AnalogFormat;
using ipmi::CompletionCode;

namespace {

constexpr uint8_t kTypeThreshold = 0x01;
constexpr uint8_t kTypeSensorSpecific = 0x6f;
constexpr uint16_t kStates = 0x7fff;       // offsets 0..14
constexpr uint16_t kThresholdEvents = 0x0fff;
constexpr size_t kFirstUpper = 3;          // thresholds 0..2 are lower, 3..5 upper
constexpr uint8_t kNumberReserved = 0xff;  // §43.1 byte 8

ipmi::SdrFactors factors_of(const SensorConfig& config) {
  ipmi::SdrFactors f;
  f.m = config.m;
  f.b = config.b;
  f.b_exponent = config.b_exponent;
  f.r_exponent = config.r_exponent;
  return f;
}

AnalogFormat format_of(const SensorConfig& config) {
  return config.is_signed ? AnalogFormat::kTwosComplement : AnalogFormat::kUnsigned;
}

uint8_t to_raw(const SensorConfig& config, double value) {
  return ipmi::sdr_unconvert(factors_of(config), format_of(config), value);
}

double to_value(const SensorConfig& config, uint8_t raw) {
  return ipmi::sdr_convert(factors_of(config), format_of(config), raw).value_or(0);
}

// Raw readings in the order of the values they stand for: a negative M turns them round.
int ordered(const SensorConfig& config, uint8_t raw) {
  int value = ipmi::sdr_raw_to_int(format_of(config), raw);
  return config.m < 0 ? -value : value;
}

struct Range {
  double low;
  double high;
};

Range range_of(const SensorConfig& config) {
  double a = to_value(config, ipmi::sdr_int_to_raw(format_of(config), ipmi::sdr_raw_min(format_of(config))));
  double b = to_value(config, ipmi::sdr_int_to_raw(format_of(config), ipmi::sdr_raw_max(format_of(config))));
  return {std::min(a, b), std::max(a, b)};
}

std::string number_text(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

// Half a count of tolerance: what rounds to a raw reading can be expressed.
bool expressible(const SensorConfig& config, double value) {
  Range range = range_of(config);
  double half = ipmi::sdr_convert_counts(factors_of(config), 0.5);
  return std::isfinite(value) && value >= range.low - half && value <= range.high + half;
}

std::string range_text(const SensorConfig& config) {
  Range range = range_of(config);
  return number_text(range.low) + ".." + number_text(range.high);
}

std::array<std::optional<double>, SensorPart::kThresholds> thresholds_of(const SensorConfig& config) {
  const Thresholds& t = config.thresholds;
  return {t.lower_non_critical, t.lower_critical, t.lower_non_recoverable,
          t.upper_non_critical, t.upper_critical, t.upper_non_recoverable};
}

uint8_t threshold_mask_of(const SensorConfig& config) {
  uint8_t mask = 0;
  auto thresholds = thresholds_of(config);
  for (size_t t = 0; t < thresholds.size(); ++t) {
    if (thresholds[t]) mask |= static_cast<uint8_t>(1 << t);
  }
  return mask;
}

// Lower thresholds have "going low" events, upper ones "going high" (table 42-2): offset 2t or 2t + 1.
uint8_t offset_of(size_t threshold) {
  return static_cast<uint8_t>(2 * threshold + (threshold >= kFirstUpper ? 1 : 0));
}

uint16_t supported_of(const SensorConfig& config) {
  if (!config.threshold) return config.event_mask & kStates;
  uint16_t mask = 0;
  uint8_t present = threshold_mask_of(config);
  for (size_t t = 0; t < SensorPart::kThresholds; ++t) {
    if ((present >> t & 1) != 0) mask |= static_cast<uint16_t>(1 << offset_of(t));
  }
  return mask & config.event_mask & kThresholdEvents;
}

uint8_t counts_of(const SensorConfig& config, double hysteresis) {
  double one = ipmi::sdr_convert_counts(factors_of(config), 1);
  double counts = one > 0 ? std::round(hysteresis / one) : 0;
  return static_cast<uint8_t>(std::clamp(counts, 0.0, 255.0));
}

bool moves(const SensorConfig& config) {
  return config.threshold && config.wave.shape != Wave::Shape::kConstant && config.wave.amplitude != 0;
}

bool discrete_type(uint8_t type) { return (type >= 0x02 && type <= 0x0c) || (type >= kTypeSensorSpecific && type <= 0x7f); }

}  // namespace

Status validate_sensor(const SensorConfig& s) {
  auto refuse = [&](const std::string& field, const std::string& what) -> Status {
    return Error{ErrorCode::kInvalidArgument, "sensor '" + s.name + "': " + field + ": " + what};
  };
  auto name = ipmi::encode_string(ipmi::StringCoding::kEightBit, s.name);
  if (!name) return refuse("name", "a character is not in Latin-1");
  if (name->empty() || name->size() > ipmi::kSdrNameMax) return refuse("name", "1 to 16 characters");
  if (s.number == kNumberReserved) return refuse("number", "FFh is reserved");
  if (s.owner_lun > 3 || s.owner_lun == 2) return refuse("owner_lun", "0, 1 or 3 (2 is system software's)");
  if (!s.threshold) {
    if (!discrete_type(s.event_reading_type)) return refuse("event_reading_type", "02h..0Ch or 6Fh..7Fh");
    if ((s.initial_state & ~kStates) != 0) return refuse("initial_state", "there are 15 states");
    return {};
  }
  if (s.m == 0 || s.m < -512 || s.m > 511) return refuse("m", "-512..511 and not 0");
  if (s.b < -512 || s.b > 511) return refuse("b", "-512..511");
  if (s.b_exponent < -8 || s.b_exponent > 7) return refuse("b_exponent", "-8..7");
  if (s.r_exponent < -8 || s.r_exponent > 7) return refuse("r_exponent", "-8..7");
  auto check = [&](const std::string& field, double value) -> Status {
    if (expressible(s, value)) return {};
    return refuse(field, number_text(value) + " is outside what the factors can express: " + range_text(s));
  };
  if (auto done = check("initial", s.initial); !done) return done;
  auto thresholds = thresholds_of(s);
  for (size_t t = 0; t < thresholds.size(); ++t) {
    if (!thresholds[t]) continue;
    if (auto done = check(std::string(ipmi::threshold_name(static_cast<uint8_t>(t))), *thresholds[t]); !done) return done;
  }
  double hysteresis_max = ipmi::sdr_convert_counts(factors_of(s), 255);
  for (double h : {s.thresholds.positive_hysteresis, s.thresholds.negative_hysteresis}) {
    if (!(h >= 0 && h <= hysteresis_max)) return refuse("hysteresis", "0.." + number_text(hysteresis_max));
  }
  if (s.wave.shape != Wave::Shape::kConstant) {
    if (!std::isfinite(s.wave.amplitude)) return refuse("wave amplitude", "a finite number");
    if (s.wave.period <= Duration::zero()) return refuse("wave period", "longer than 0");
  }
  return {};
}

double wave_value(const SensorConfig& sensor, Instant now) {
  const Wave& wave = sensor.wave;
  if (!moves(sensor)) return sensor.initial;
  auto at = now.time_since_epoch();
  if (wave.shape == Wave::Shape::kStep) return sensor.initial + (at < wave.period ? 0 : wave.amplitude);
  auto into = at % wave.period;
  if (into < Duration::zero()) into += wave.period;
  double x = static_cast<double>(into.count()) / static_cast<double>(wave.period.count());
  double y = 0;
  switch (wave.shape) {
    case Wave::Shape::kSine: y = std::sin(2 * std::numbers::pi * x); break;
    case Wave::Shape::kTriangle: y = x < 0.25 ? 4 * x : x < 0.75 ? 2 - 4 * x : 4 * x - 4; break;
    case Wave::Shape::kSquare: y = x < 0.5 ? 1 : -1; break;
    case Wave::Shape::kStep:
    case Wave::Shape::kConstant: break;
  }
  return sensor.initial + wave.amplitude * y;
}

ipmi::SdrSensor sensor_sdr(const SensorConfig& config, uint8_t owner_address) {
  ipmi::SdrSensor s;
  s.owner_id = owner_address;
  s.owner_lun = config.owner_lun;
  s.number = config.number;
  s.entity_id = config.entity_id;
  s.entity_instance = config.entity_instance;
  s.sensor_type = config.sensor_type;
  s.name = config.name;
  uint16_t events = supported_of(config);
  auto settable = static_cast<uint8_t>(config.settable ? 0x80 : 0);
  // Auto re-arm; events by threshold or state, or none (§43.1 byte 12).
  auto event_control = static_cast<uint8_t>(0x40 | (events != 0 ? 0x00 : 0x03));
  s.assertion_mask = events;
  s.deassertion_mask = events;
  if (!config.threshold) {
    s.record_type = ipmi::kSdrCompact;
    s.initialization = settable | 0x67;  // scanning, events, type; both enabled at power-up
    s.capabilities = event_control;
    s.event_reading_type = config.event_reading_type;
    s.reading_mask = kStates;
    s.units1 = 0xc0;  // no analog reading
    s.sharing = 0x0001;  // one sensor
    return s;
  }
  uint8_t present = threshold_mask_of(config);
  s.record_type = ipmi::kSdrFull;
  s.initialization = settable | 0x7f;
  s.capabilities = static_cast<uint8_t>(event_control | (present != 0 ? 0x28 : 0x00));  // both readable and settable
  s.event_reading_type = kTypeThreshold;
  s.assertion_mask |= static_cast<uint16_t>((present & 0x07) << 12);
  s.deassertion_mask |= static_cast<uint16_t>((present >> 3 & 0x07) << 12);
  s.reading_mask = static_cast<uint16_t>(present | present << 8);
  s.units1 = static_cast<uint8_t>(static_cast<uint8_t>(format_of(config)) << 6);
  s.base_unit = config.unit;
  s.factors = factors_of(config);
  s.analog_flags = 0x01;  // a nominal reading
  s.nominal = to_raw(config, config.nominal != 0 ? config.nominal : config.initial);
  s.sensor_max = ipmi::sdr_int_to_raw(format_of(config), ipmi::sdr_raw_max(format_of(config)));
  s.sensor_min = ipmi::sdr_int_to_raw(format_of(config), ipmi::sdr_raw_min(format_of(config)));
  auto thresholds = thresholds_of(config);
  for (size_t t = 0; t < thresholds.size(); ++t) {
    if (thresholds[t]) s.thresholds[t] = to_raw(config, *thresholds[t]);
  }
  s.positive_hysteresis = counts_of(config, config.thresholds.positive_hysteresis);
  s.negative_hysteresis = counts_of(config, config.thresholds.negative_hysteresis);
  return s;
}

void SensorPart::reset_sensor(const State& state, size_t index, Instant now) {
  const SensorConfig& config = state.config.sensors[index];
  Sensor& s = sensors_[index];
  s.sensor_type = config.sensor_type;
  s.event_reading_type = config.threshold ? kTypeThreshold : config.event_reading_type;
  s.threshold_mask = config.threshold ? threshold_mask_of(config) : 0;
  s.thresholds = {};
  if (config.threshold) {
    auto thresholds = thresholds_of(config);
    for (size_t t = 0; t < thresholds.size(); ++t) {
      if (thresholds[t]) s.thresholds[t] = to_raw(config, *thresholds[t]);
    }
    s.positive_hysteresis = counts_of(config, config.thresholds.positive_hysteresis);
    s.negative_hysteresis = counts_of(config, config.thresholds.negative_hysteresis);
  }
  s.events_enabled = true;
  s.scanning_enabled = true;
  s.assertion_enabled = s.deassertion_enabled = supported_of(config);
  if (!s.pinned) {
    s.raw = config.threshold ? to_raw(config, wave_value(config, now)) : 0;
    s.states = config.threshold ? 0 : config.initial_state;
  }
}

Status SensorPart::load(State& state, Instant now) {
  const auto& configs = state.config.sensors;
  for (size_t i = 0; i < configs.size(); ++i) {
    if (auto done = validate_sensor(configs[i]); !done) return done;
    for (size_t j = 0; j < i; ++j) {
      if (configs[j].number == configs[i].number && configs[j].owner_lun == configs[i].owner_lun) {
        return Error{ErrorCode::kInvalidArgument, "sensor '" + configs[i].name + "': number " +
                                                      std::to_string(configs[i].number) + " is that of '" +
                                                      configs[j].name + "'"};
      }
      if (configs[j].name == configs[i].name) {
        return Error{ErrorCode::kInvalidArgument, "sensor '" + configs[i].name + "': the name is used twice"};
      }
    }
  }
  sensors_.assign(configs.size(), Sensor{});
  on_reset(state, true, now);
  return {};
}

// After a cold reset conditions that hold are known, not news: events come from changes, and from a re-arm.
void SensorPart::on_reset(State& state, bool cold, Instant now) {
  if (!cold) return;
  for (size_t i = 0; i < sensors_.size(); ++i) {
    reset_sensor(state, i, now);
    sensors_[i].asserted = conditions(state, i, sensors_[i].raw, sensors_[i].states, 0);
    sensors_[i].deasserted = 0;
    settings_changed(state, i);
  }
  last_run_ = now;
}

void SensorPart::initialise(State& state, Instant now) {
  for (size_t i = 0; i < sensors_.size(); ++i) reset_sensor(state, i, now);
  rearm_all(state, now);
}

uint16_t SensorPart::supported_events(const State& state, size_t index) const {
  return supported_of(state.config.sensors[index]);
}

size_t SensorPart::find(const State& state, uint8_t lun, uint8_t number) const {
  const auto& configs = state.config.sensors;
  for (size_t i = 0; i < sensors_.size(); ++i) {
    if (configs[i].number == number && configs[i].owner_lun == lun) return i;
  }
  return kNone;
}

Result<size_t> SensorPart::by_name(const State& state, std::string_view wanted) const {
  const auto& configs = state.config.sensors;
  for (size_t i = 0; i < sensors_.size(); ++i) {
    if (configs[i].name == wanted) return i;
  }
  if (auto number = parse_number(wanted, 0xff)) {
    for (size_t i = 0; i < sensors_.size(); ++i) {
      if (configs[i].number == *number) return i;
    }
  }
  return Error{ErrorCode::kNotFound, state.config.name + " has no sensor '" + std::string(wanted) + "'"};
}

uint8_t SensorPart::reading(const State& state, size_t index, Instant now) const {
  const Sensor& s = sensors_[index];
  const SensorConfig& config = state.config.sensors[index];
  if (s.pinned || !s.scanning_enabled || !config.threshold) return s.raw;
  return to_raw(config, wave_value(config, now));
}

uint16_t SensorPart::status(const State& state, size_t index, Instant now) const {
  const Sensor& s = sensors_[index];
  const SensorConfig& config = state.config.sensors[index];
  if (!config.threshold) return s.states;
  int value = ordered(config, reading(state, index, now));
  uint16_t bits = 0;
  for (size_t t = 0; t < kThresholds; ++t) {
    if ((s.threshold_mask >> t & 1) == 0) continue;
    int limit = ordered(config, s.thresholds[t]);
    if (t < kFirstUpper ? value <= limit : value >= limit) bits |= static_cast<uint16_t>(1 << t);
  }
  return bits;
}

// Event conditions at a reading. Those that hold go on holding until the re-arm point: the hysteresis' counts below an
// upper threshold, above a lower one (§43.1 bytes 43, 44).
uint16_t SensorPart::conditions(const State& state, size_t index, uint8_t raw, uint16_t states, uint16_t held) const {
  const Sensor& s = sensors_[index];
  const SensorConfig& config = state.config.sensors[index];
  if (!config.threshold) return states;
  int value = ordered(config, raw);
  uint16_t out = 0;
  for (size_t t = 0; t < kThresholds; ++t) {
    if ((s.threshold_mask >> t & 1) == 0) continue;
    auto bit = static_cast<uint16_t>(1 << offset_of(t));
    int limit = ordered(config, s.thresholds[t]);
    bool holds = t < kFirstUpper ? value <= limit + ((held & bit) != 0 ? s.negative_hysteresis : 0)
                                 : value >= limit - ((held & bit) != 0 ? s.positive_hysteresis : 0);
    if (holds) out |= bit;
  }
  return out;
}

void SensorPart::raise(State& state, size_t index, uint8_t offset, bool deassertion, const EventData* data,
                       Instant now) {
  const Sensor& s = sensors_[index];
  const SensorConfig& config = state.config.sensors[index];
  uint16_t enabled = deassertion ? s.deassertion_enabled : s.assertion_enabled;
  if (!s.events_enabled || (enabled >> offset & 1) == 0) return;
  PlatformEvent event;
  event.generator_id_low = state.config.identity.ipmb_address;
  event.generator_id_high = config.owner_lun;
  event.sensor_type = s.sensor_type;
  event.sensor_number = config.number;
  event.event_dir_type = static_cast<uint8_t>(s.event_reading_type | (deassertion ? 0x80 : 0));
  event.data1 = offset;
  if (data != nullptr) {
    event.data1 = data->own_offset ? data->bytes[0] : static_cast<uint8_t>((data->bytes[0] & 0xf0) | offset);
    event.data2 = data->bytes[1];
    event.data3 = data->bytes[2];
  } else if (config.threshold) {
    // Table 29-6: trigger reading in byte 2, trigger threshold in byte 3.
    event.data1 |= 0x50;
    event.data2 = s.raw;
    event.data3 = s.thresholds[offset / 2];
  }
  state.event->generate(state, event, now);
}

void SensorPart::scan(State& state, size_t index, Instant now, const EventData* data) {
  Sensor& s = sensors_[index];
  if (!s.scanning_enabled) return;
  s.raw = reading(state, index, now);
  uint16_t holds = conditions(state, index, s.raw, s.states, s.asserted);
  uint16_t up = holds & static_cast<uint16_t>(~s.asserted);
  uint16_t down = s.asserted & static_cast<uint16_t>(~holds);
  s.asserted = holds;
  s.deasserted = static_cast<uint16_t>((s.deasserted | down) & ~up);
  if ((up | down) != 0 || s.watched) settings_changed(state, index);
  // As a slow reading would have met them: out of the worst first, then from the mildest into the worst.
  for (uint8_t offset = 15; offset-- > 0;) {
    if ((down >> offset & 1) != 0) raise(state, index, offset, true, data, now);
  }
  for (uint8_t offset = 0; offset < 15; ++offset) {
    if ((up >> offset & 1) != 0) raise(state, index, offset, false, data, now);
  }
}

void SensorPart::rearm(State& state, size_t index, uint16_t assertion, uint16_t deassertion, Instant now) {
  Sensor& s = sensors_[index];
  s.asserted &= static_cast<uint16_t>(~assertion);
  s.deasserted &= static_cast<uint16_t>(~deassertion);
  settings_changed(state, index);
  scan(state, index, now);
}

void SensorPart::rearm_all(State& state, Instant now) {
  for (size_t i = 0; i < sensors_.size(); ++i) rearm(state, i, kStates, kStates, now);
}

// Is there an event that time alone can bring? A wave form that never comes near a threshold costs nothing.
void SensorPart::settings_changed(const State& state, size_t index) {
  Sensor& s = sensors_[index];
  const SensorConfig& config = state.config.sensors[index];
  s.watched = false;
  if (!moves(config) || s.pinned || !s.scanning_enabled || !s.events_enabled) return;
  double from = config.initial - (config.wave.shape == Wave::Shape::kStep ? 0 : config.wave.amplitude);
  double to = config.initial + config.wave.amplitude;
  int low = ordered(config, to_raw(config, from));
  int high = ordered(config, to_raw(config, to));
  if (low > high) std::swap(low, high);
  for (size_t t = 0; t < kThresholds; ++t) {
    auto bit = static_cast<uint16_t>(1 << offset_of(t));
    if ((s.threshold_mask >> t & 1) == 0 || ((s.assertion_enabled | s.deassertion_enabled) & bit) == 0) continue;
    bool held = (s.asserted & bit) != 0;
    int limit = ordered(config, s.thresholds[t]);
    bool changes = t < kFirstUpper ? (held ? high > limit + s.negative_hysteresis : low <= limit)
                                   : (held ? low < limit - s.positive_hysteresis : high >= limit);
    if (changes) s.watched = true;
  }
}

Instant SensorPart::due(const SensorConfig& config, Instant since) const {
  const Wave& wave = config.wave;
  auto at = since.time_since_epoch();
  switch (wave.shape) {
    case Wave::Shape::kConstant: return kNever;
    case Wave::Shape::kStep: return at < wave.period ? Instant(wave.period) : kNever;  // only once
    case Wave::Shape::kSquare:
      if (Duration half = wave.period / 2; half > kScanInterval) return Instant((at / half + 1) * half);
      return since + kScanInterval;
    case Wave::Shape::kSine:
    case Wave::Shape::kTriangle:
      return since + std::clamp<Duration>(wave.period / 64, std::chrono::milliseconds(20), kScanInterval);
  }
  return kNever;
}

Instant SensorPart::next_due(const State& state) const {
  Instant next = kNever;
  for (size_t i = 0; i < sensors_.size(); ++i) {
    if (sensors_[i].watched) next = std::min(next, due(state.config.sensors[i], last_run_));
  }
  return next;
}

void SensorPart::run(State& state, Instant now) {
  last_run_ = now;
  for (size_t i = 0; i < sensors_.size(); ++i) {
    if (sensors_[i].watched) scan(state, i, now);
  }
}

SensorView SensorPart::view(const State& state, size_t index, Instant now) const {
  const SensorConfig& config = state.config.sensors[index];
  const Sensor& s = sensors_[index];
  SensorView v;
  v.number = config.number;
  v.lun = config.owner_lun;
  v.name = config.name;
  v.threshold = config.threshold;
  v.sensor_type = s.sensor_type;
  v.unit = config.threshold ? config.unit : 0;
  v.raw = reading(state, index, now);
  v.value = config.threshold ? to_value(config, v.raw) : 0;
  v.states = status(state, index, now);
  v.scanning = s.scanning_enabled;
  return v;
}

std::vector<SensorView> SensorPart::views(const State& state, Instant now) const {
  std::vector<SensorView> out;
  out.reserve(sensors_.size());
  for (size_t i = 0; i < sensors_.size(); ++i) out.push_back(view(state, i, now));
  return out;
}

Status SensorPart::set_value(State& state, std::string_view name_or_number, double value, Instant now) {
  auto index = by_name(state, name_or_number);
  if (!index) return index.error();
  const SensorConfig& config = state.config.sensors[*index];
  if (!config.threshold) {
    return Error{ErrorCode::kInvalidArgument, "sensor '" + config.name + "' is discrete: it has states, not a value"};
  }
  if (!expressible(config, value)) {
    return Error{ErrorCode::kInvalidArgument,
                 "sensor '" + config.name + "': " + number_text(value) + " is outside " + range_text(config)};
  }
  sensors_[*index].pinned = true;
  sensors_[*index].raw = to_raw(config, value);
  settings_changed(state, *index);
  state.notify({Change::Kind::kSensor, config.number, Duration{0}, config.name});
  scan(state, *index, now);
  return {};
}

Status SensorPart::set_states(State& state, std::string_view name_or_number, uint16_t states, Instant now) {
  auto index = by_name(state, name_or_number);
  if (!index) return index.error();
  const SensorConfig& config = state.config.sensors[*index];
  if (config.threshold) {
    return Error{ErrorCode::kInvalidArgument, "sensor '" + config.name + "' has a value, not states"};
  }
  if ((states & ~kStates) != 0) {
    return Error{ErrorCode::kInvalidArgument, "sensor '" + config.name + "': there are 15 states, bits 0 to 14"};
  }
  sensors_[*index].pinned = true;
  sensors_[*index].states = states;
  state.notify({Change::Kind::kSensor, config.number, Duration{0}, config.name});
  scan(state, *index, now);
  return {};
}

Status SensorPart::release(State& state, std::string_view name_or_number, Instant now) {
  auto index = by_name(state, name_or_number);
  if (!index) return index.error();
  const SensorConfig& config = state.config.sensors[*index];
  sensors_[*index].pinned = false;
  if (!config.threshold) sensors_[*index].states = config.initial_state;
  settings_changed(state, *index);
  state.notify({Change::Kind::kSensor, config.number, Duration{0}, config.name});
  scan(state, *index, now);
  return {};
}

namespace {

// The sensor that a request's first byte names, on the LUN it came to.
struct Target {
  size_t index;
  const SensorConfig* config = nullptr;
  SensorPart::Sensor* sensor = nullptr;
};

std::optional<Target> target(Call& call) {
  SensorPart& part = *call.state.sensor;
  size_t index = part.find(call.state, call.request.lun, call.in.u8());
  if (index == SensorPart::kNone) return std::nullopt;
  return Target{index, &call.state.config.sensors[index], &part.at(index)};
}

uint8_t flags_of(const SensorPart::Sensor& s) {
  return static_cast<uint8_t>((s.events_enabled ? 0x80 : 0) | (s.scanning_enabled ? 0x40 : 0x20));
}

ipmi::Response get_reading_factors(Call& call) {  // §35.5
  auto t = target(call);
  if (!t) return fail(CompletionCode::kNotPresent);
  if (!t->config->threshold) return fail(CompletionCode::kIllegalForSensorOrRecord);
  auto six = ipmi::encode_factors(factors_of(*t->config));
  ipmi::Writer out;
  // One set of factors for all readings: there is no next one.
  out.u8(0xff).bytes(six);
  return ok(out.finish());
}

ipmi::Response set_hysteresis(Call& call) {  // §35.6
  auto t = target(call);
  if (!t) return fail(CompletionCode::kNotPresent);
  if (!t->config->threshold) return fail(CompletionCode::kIllegalForSensorOrRecord);
  if (call.in.u8() != 0xff) return fail(CompletionCode::kInvalidDataField);  // reserved for a mask
  t->sensor->positive_hysteresis = call.in.u8();
  t->sensor->negative_hysteresis = call.in.u8();
  call.state.sensor->settings_changed(call.state, t->index);
  call.state.sensor->scan(call.state, t->index, call.now);
  return ok();
}

ipmi::Response get_hysteresis(Call& call) {  // §35.7
  auto t = target(call);
  if (!t) return fail(CompletionCode::kNotPresent);
  if (!t->config->threshold) return fail(CompletionCode::kIllegalForSensorOrRecord);
  if (call.in.u8() != 0xff) return fail(CompletionCode::kInvalidDataField);
  return ok({t->sensor->positive_hysteresis, t->sensor->negative_hysteresis});
}

ipmi::Response set_thresholds(Call& call) {  // §35.8; their order is the requester's business
  auto t = target(call);
  if (!t) return fail(CompletionCode::kNotPresent);
  if (!t->config->threshold) return fail(CompletionCode::kIllegalForSensorOrRecord);
  uint8_t mask = call.in.u8();
  if ((mask & ~t->sensor->threshold_mask) != 0) return fail(CompletionCode::kInvalidDataField);
  for (size_t i = 0; i < SensorPart::kThresholds; ++i) {
    uint8_t value = call.in.u8();
    if ((mask >> i & 1) != 0) t->sensor->thresholds[i] = value;
  }
  call.state.sensor->settings_changed(call.state, t->index);
  call.state.sensor->scan(call.state, t->index, call.now);
  return ok();
}

ipmi::Response get_thresholds(Call& call) {  // §35.9
  auto t = target(call);
  if (!t) return fail(CompletionCode::kNotPresent);
  if (!t->config->threshold) return fail(CompletionCode::kIllegalForSensorOrRecord);
  ipmi::Writer out;
  out.u8(t->sensor->threshold_mask).bytes(t->sensor->thresholds);
  return ok(out.finish());
}

ipmi::Response set_event_enable(Call& call) {  // §35.10
  auto t = target(call);
  if (!t) return fail(CompletionCode::kNotPresent);
  uint8_t enable = call.in.u8();
  uint8_t operation = enable >> 4 & 3;
  if ((enable & 0x0f) != 0 || operation == 3) return fail(CompletionCode::kInvalidDataField);
  std::array<uint8_t, 4> bytes{};
  for (auto& b : bytes) {
    if (call.in.remaining() > 0) b = call.in.u8();  // absent: nothing is selected
  }
  uint16_t supported = call.state.sensor->supported_events(call.state, t->index);
  uint16_t assertion = static_cast<uint16_t>(bytes[0] | bytes[1] << 8) & supported;
  uint16_t deassertion = static_cast<uint16_t>(bytes[2] | bytes[3] << 8) & supported;
  SensorPart::Sensor& s = *t->sensor;
  s.events_enabled = (enable & 0x80) != 0;
  s.scanning_enabled = (enable & 0x40) != 0;
  if (operation == 1) {
    s.assertion_enabled |= assertion;
    s.deassertion_enabled |= deassertion;
  } else if (operation == 2) {
    s.assertion_enabled &= static_cast<uint16_t>(~assertion);
    s.deassertion_enabled &= static_cast<uint16_t>(~deassertion);
  }
  call.state.sensor->settings_changed(call.state, t->index);
  call.state.sensor->scan(call.state, t->index, call.now);
  return ok();
}

ipmi::Response get_event_enable(Call& call) {  // §35.11
  auto t = target(call);
  if (!t) return fail(CompletionCode::kNotPresent);
  ipmi::Writer out;
  out.u8(flags_of(*t->sensor) & 0xc0).u16(t->sensor->assertion_enabled).u16(t->sensor->deassertion_enabled);
  return ok(out.finish());
}

ipmi::Response rearm_events(Call& call) {  // §35.12
  auto t = target(call);
  if (!t) return fail(CompletionCode::kNotPresent);
  uint8_t selected = call.in.u8();
  if ((selected & 0x7f) != 0) return fail(CompletionCode::kInvalidDataField);
  uint16_t assertion = kStates;
  uint16_t deassertion = kStates;
  if ((selected & 0x80) != 0) {
    std::array<uint8_t, 4> bytes{};
    for (auto& b : bytes) {
      if (call.in.remaining() > 0) b = call.in.u8();
    }
    assertion = static_cast<uint16_t>(bytes[0] | bytes[1] << 8);
    deassertion = static_cast<uint16_t>(bytes[2] | bytes[3] << 8);
  }
  call.state.sensor->rearm(call.state, t->index, assertion, deassertion, call.now);
  return ok();
}

ipmi::Response get_event_status(Call& call) {  // §35.13
  auto t = target(call);
  if (!t) return fail(CompletionCode::kNotPresent);
  call.state.sensor->scan(call.state, t->index, call.now);
  ipmi::Writer out;
  out.u8(flags_of(*t->sensor)).u16(t->sensor->asserted).u16(t->sensor->deasserted);
  return ok(out.finish());
}

ipmi::Response get_reading(Call& call) {  // §35.14
  auto t = target(call);
  if (!t) return fail(CompletionCode::kNotPresent);
  SensorPart& part = *call.state.sensor;
  // What the reading shows has its event no later than the response.
  part.scan(call.state, t->index, call.now);
  uint16_t status = part.status(call.state, t->index, call.now);
  if (t->config->threshold) {
    return ok({part.reading(call.state, t->index, call.now), flags_of(*t->sensor), static_cast<uint8_t>(0xc0 | status)});
  }
  return ok({0x00, flags_of(*t->sensor), static_cast<uint8_t>(status), static_cast<uint8_t>(0x80 | status >> 8)});
}

ipmi::Response set_type(Call& call) {  // §35.15
  auto t = target(call);
  if (!t) return fail(CompletionCode::kNotPresent);
  uint8_t type = call.in.u8();
  uint8_t event_type = call.in.u8();
  // A sensor with a reading stays one.
  bool fits = t->config->threshold ? event_type == kTypeThreshold : discrete_type(event_type);
  if (!fits) return fail(CompletionCode::kInvalidDataField);
  t->sensor->sensor_type = type;
  t->sensor->event_reading_type = event_type;
  return ok();
}

ipmi::Response get_type(Call& call) {  // §35.16
  auto t = target(call);
  if (!t) return fail(CompletionCode::kNotPresent);
  return ok({t->sensor->sensor_type, t->sensor->event_reading_type});
}

// The bit operations of Set Sensor Reading And Event Status: 1 write, 2 set where 1, 3 clear where 0.
uint16_t apply(uint8_t operation, uint16_t bits, uint16_t given) {
  switch (operation) {
    case 1: return given;
    case 2: return bits | given;
    case 3: return bits & given;
    default: return bits;
  }
}

ipmi::Response set_reading(Call& call) {  // §35.17
  constexpr uint8_t kNotSettable = 0x80;
  constexpr uint8_t kOwnOffset = 1;
  constexpr uint8_t kBmcOffset = 2;
  size_t size = call.in.remaining();
  auto t = target(call);
  if (!t) return fail(CompletionCode::kNotPresent);
  uint8_t operation = call.in.u8();
  uint8_t event_data = operation >> 6;
  uint8_t assertion_op = operation >> 4 & 3;
  uint8_t deassertion_op = operation >> 2 & 3;
  uint8_t reading_op = operation & 3;
  if (event_data == 3 || reading_op > 1) return fail(CompletionCode::kInvalidDataField);
  // Bytes may be absent from the end on, but not those that the operation uses.
  bool short_of_bytes = (reading_op != 0 && size < 3) || (assertion_op != 0 && size < 5) ||
                        (deassertion_op != 0 && size < 7) || (event_data != 0 && size < 10);
  if (short_of_bytes) return fail(CompletionCode::kRequestLengthInvalid);
  // A threshold sensor's status follows from its reading, and a discrete one has no reading.
  bool settable = t->config->settable && (t->config->threshold ? assertion_op == 0 && deassertion_op == 0 : reading_op == 0);
  bool changes = (operation & 0x3f) != 0;
  if (changes && !settable) return fail(kNotSettable);

  std::array<uint8_t, 8> b{};
  for (auto& byte : b) {
    if (call.in.remaining() > 0) byte = call.in.u8();
  }
  auto assertion = static_cast<uint16_t>((b[1] | b[2] << 8) & kStates);
  auto deassertion = static_cast<uint16_t>((b[3] | b[4] << 8) & kStates);
  SensorPart::EventData data{{b[5], b[6], b[7]}, event_data == kOwnOffset};
  const SensorPart::EventData* own = event_data == kOwnOffset || event_data == kBmcOffset ? &data : nullptr;
  SensorPart& part = *call.state.sensor;
  SensorPart::Sensor& s = *t->sensor;
  if (!changes) return ok();
  s.pinned = true;
  if (reading_op == 1) s.raw = b[0];
  if (!t->config->threshold) {
    s.states = apply(assertion_op, s.states, assertion);
    // A state whose deassertion bit is set no longer holds.
    uint16_t now_deasserted = apply(deassertion_op, s.deasserted, deassertion);
    if (deassertion_op != 0) {
      s.states &= static_cast<uint16_t>(~(now_deasserted & ~s.deasserted));
      s.deasserted = now_deasserted & static_cast<uint16_t>(~s.states);
    }
  }
  part.settings_changed(call.state, t->index);
  call.state.notify({Change::Kind::kSensor, t->config->number, Duration{0}, t->config->name});
  part.scan(call.state, t->index, call.now, own);
  return ok();
}

}  // namespace

std::vector<Command> sensor_commands() {
  constexpr uint8_t kNetFn = ipmi::kNetFnSensorEvent;
  constexpr uint8_t kLuns = 0x0b;  // LUN 2 is system software's
  return {
      {kNetFn, 0x23, "Get Sensor Reading Factors", Privilege::kUser, 2, 2, kLuns, get_reading_factors},
      {kNetFn, 0x24, "Set Sensor Hysteresis", Privilege::kOperator, 4, 4, kLuns, set_hysteresis},
      {kNetFn, 0x25, "Get Sensor Hysteresis", Privilege::kUser, 2, 2, kLuns, get_hysteresis},
      {kNetFn, 0x26, "Set Sensor Thresholds", Privilege::kOperator, 8, 8, kLuns, set_thresholds},
      {kNetFn, 0x27, "Get Sensor Thresholds", Privilege::kUser, 1, 1, kLuns, get_thresholds},
      {kNetFn, 0x28, "Set Sensor Event Enable", Privilege::kOperator, 2, 6, kLuns, set_event_enable},
      {kNetFn, 0x29, "Get Sensor Event Enable", Privilege::kUser, 1, 1, kLuns, get_event_enable},
      {kNetFn, 0x2a, "Re-arm Sensor Events", Privilege::kOperator, 2, 6, kLuns, rearm_events},
      {kNetFn, 0x2b, "Get Sensor Event Status", Privilege::kUser, 1, 1, kLuns, get_event_status},
      {kNetFn, 0x2d, "Get Sensor Reading", Privilege::kUser, 1, 1, kLuns, get_reading},
      {kNetFn, 0x2e, "Set Sensor Type", Privilege::kOperator, 3, 3, kLuns, set_type},
      {kNetFn, 0x2f, "Get Sensor Type", Privilege::kUser, 1, 1, kLuns, get_type},
      {kNetFn, 0x30, "Set Sensor Reading And Event Status", Privilege::kOperator, 2, 10, kLuns, set_reading},
  };
}

}  // namespace bmcpair::firmware
