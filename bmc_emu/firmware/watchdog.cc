#include "bmc_emu/firmware/watchdog.h"

#include <algorithm>

#include "bmc_emu/firmware/chassis.h"
#include "bmc_emu/firmware/dispatcher.h"
#include "bmc_emu/firmware/event.h"
#include "bmc_emu/firmware/messaging.h"
#include "bmc_emu/firmware/state.h"

namespace bmcpair::firmware {

using ipmi::CompletionCode;

namespace {

constexpr Duration kTick = std::chrono::milliseconds(100);
constexpr uint8_t kDontLog = 0x80;
constexpr uint8_t kDontStop = 0x40;
constexpr uint8_t kRunning = 0x40;  // the same bit in Get Watchdog Timer's response
constexpr uint8_t kUseMask = 0x07;

enum Interrupt : uint8_t { kInterruptNone = 0, kInterruptSmi = 1, kInterruptNmi = 2, kInterruptMessaging = 3 };
enum Action : uint8_t { kActionNone = 0, kActionHardReset = 1, kActionPowerDown = 2, kActionPowerCycle = 3 };

uint8_t interrupt_of(const WatchdogPart::Settings& s) { return s.actions >> 4 & 7; }
uint8_t action_of(const WatchdogPart::Settings& s) { return s.actions & 7; }

// Offsets of sensor type 23h, "Watchdog 2" (table 42-3): 0..3 as the actions, and the pre-timeout.
constexpr uint8_t kSensorTypeWatchdog2 = 0x23;
constexpr uint8_t kOffsetTimerInterrupt = 8;

ipmi::Response reset_watchdog(Call& call) {
  if (!call.state.watchdog->initialised()) return fail(CompletionCode::kWatchdogNotInitialised);
  call.state.watchdog->restart(call.state, call.now);
  return ok();
}

ipmi::Response set_watchdog(Call& call) {
  WatchdogPart::Settings settings;
  uint8_t use = call.in.u8();
  settings.use = use & (kDontLog | kUseMask);
  settings.actions = call.in.u8();
  settings.pretimeout_s = call.in.u8();
  uint8_t clear_flags = call.in.u8();
  settings.countdown_100ms = call.in.u16();
  uint8_t timer_use = use & kUseMask;
  bool fields_good = (use & 0x38) == 0 && timer_use >= 1 && timer_use <= 5 && (settings.actions & 0x88) == 0 &&
                     interrupt_of(settings) <= kInterruptMessaging && action_of(settings) <= kActionPowerCycle;
  if (!fields_good) return fail(CompletionCode::kInvalidDataField);
  call.state.watchdog->set(call.state, settings, (use & kDontStop) != 0, clear_flags, call.now);
  return ok();
}

ipmi::Response get_watchdog(Call& call) {
  const WatchdogPart& watchdog = *call.state.watchdog;
  const auto& settings = watchdog.settings();
  ipmi::Writer out;
  out.u8(static_cast<uint8_t>(settings.use | (watchdog.running() ? kRunning : 0)));
  out.u8(settings.actions).u8(settings.pretimeout_s).u8(watchdog.expiration_flags());
  out.u16(settings.countdown_100ms).u16(watchdog.present_countdown(call.now));
  return ok(out.finish());
}

}  // namespace

Instant WatchdogPart::next_due(const State&) const {
  if (!running_) return kNever;
  return pretimeout_reached_ ? expires_at_ : std::min(pretimeout_at_, expires_at_);
}

void WatchdogPart::run(State& state, Instant now) {
  if (!running_) return;
  if (!pretimeout_reached_ && pretimeout_at_ <= now) pretimeout(state, now);
  if (running_ && expires_at_ <= now) expire(state, now);
}

void WatchdogPart::on_reset(State& state, bool cold, Instant) {
  stop(state);
  // A warm reset leaves configurations alone (§20.3), but a timer needs to be set again after any reset (§27.5).
  initialised_ = false;
  if (cold) {
    settings_ = {};
    expiration_flags_ = 0;
  }
}

// The expiration flags are retained across system resets and power cycles (§27.6, byte 4).
void WatchdogPart::on_host_reset(State& state, Instant) {
  stop(state);
  initialised_ = false;
}

uint16_t WatchdogPart::present_countdown(Instant now) const {
  if (!running_) return initialised_ && expires_at_ == kNever ? settings_.countdown_100ms : 0;
  if (now >= expires_at_) return 0;
  auto ticks = (expires_at_ - now + kTick - Duration(1)) / kTick;  // what is left, begun ticks counted whole
  return static_cast<uint16_t>(std::min<int64_t>(ticks, 0xffff));
}

void WatchdogPart::set(State& state, const Settings& settings, bool dont_stop, uint8_t clear_flags, Instant now) {
  bool go_on = dont_stop && running_;
  settings_ = settings;
  initialised_ = true;
  expiration_flags_ &= static_cast<uint8_t>(~clear_flags);
  state.messaging->clear_flags(state, kFlagWatchdogPretimeout);
  if (go_on) {
    start(state, now);
  } else {
    stop(state);
    expires_at_ = kNever;  // the countdown reads as set until it is started
  }
}

void WatchdogPart::restart(State& state, Instant now) {
  if (running_ && pretimeout_reached_) return;
  start(state, now);
  Duration countdown = settings_.countdown_100ms * kTick;
  state.notify({Change::Kind::kWatchdog, settings_.use & uint32_t{kUseMask}, countdown, "armed"});
  run(state, now);  // a countdown of nothing expires at once
}

void WatchdogPart::start(State&, Instant now) {
  running_ = true;
  pretimeout_reached_ = false;
  Duration countdown = settings_.countdown_100ms * kTick;
  expires_at_ = now + countdown;
  Duration before = std::chrono::seconds(settings_.pretimeout_s);
  pretimeout_at_ = interrupt_of(settings_) == kInterruptNone ? kNever : now + std::max(countdown - before, Duration(0));
}

void WatchdogPart::stop(State& state) {
  if (!running_) return;
  running_ = false;
  pretimeout_reached_ = false;
  pretimeout_at_ = kNever;
  state.notify({Change::Kind::kWatchdog, settings_.use & uint32_t{kUseMask}, Duration(0), "stopped"});
}

void WatchdogPart::pretimeout(State& state, Instant now) {
  pretimeout_reached_ = true;
  state.notify({Change::Kind::kWatchdog, settings_.use & uint32_t{kUseMask}, Duration(0), "pretimeout"});
  log(state, kOffsetTimerInterrupt, now);
  switch (interrupt_of(settings_)) {
    case kInterruptMessaging:
      state.messaging->set_flag(state, kFlagWatchdogPretimeout);
      break;
    case kInterruptNmi:
      state.notify({Change::Kind::kPower, static_cast<uint32_t>(PowerAction::kDiagnosticInterrupt), Duration(0), {}});
      break;
    default:
      break;  // an SMI is between the BMC and the system's firmware; nothing of ours shows it
  }
}

void WatchdogPart::expire(State& state, Instant now) {
  static constexpr std::string_view kNames[] = {"expired none", "expired hard reset", "expired power down",
                                                "expired power cycle"};
  uint8_t action = action_of(settings_);
  running_ = false;
  pretimeout_at_ = kNever;
  pretimeout_reached_ = false;
  expiration_flags_ |= static_cast<uint8_t>(1 << (settings_.use & kUseMask));
  state.notify({Change::Kind::kWatchdog, settings_.use & uint32_t{kUseMask}, Duration(0), std::string(kNames[action])});
  log(state, action, now);
  settings_.use &= static_cast<uint8_t>(~kDontLog);  // logging comes back by itself at every expiration (§27.3)
  constexpr auto kCause = RestartCause::kWatchdog;
  uint8_t channel = kChannelPrimaryIpmb;
  if (action == kActionHardReset) state.chassis->power(state, PowerAction::kHardReset, kCause, channel, now);
  if (action == kActionPowerDown) state.chassis->power(state, PowerAction::kOff, kCause, channel, now);
  if (action == kActionPowerCycle) state.chassis->power(state, PowerAction::kCycle, kCause, channel, now);
}

void WatchdogPart::log(State& state, uint8_t offset, Instant now) {
  if ((settings_.use & kDontLog) != 0) return;
  PlatformEvent event;
  event.generator_id_low = state.config.identity.ipmb_address;
  event.sensor_type = kSensorTypeWatchdog2;
  event.sensor_number = 0;
  for (const SensorConfig& sensor : state.config.sensors) {
    if (sensor.sensor_type != kSensorTypeWatchdog2) continue;
    event.sensor_number = sensor.number;
    break;
  }
  event.event_dir_type = 0x6f;                              // assertion, sensor-specific
  event.data1 = static_cast<uint8_t>(0xc0 | offset);        // data 2 is the sensor's extension code (table 42-3)
  event.data2 = static_cast<uint8_t>(interrupt_of(settings_) << 4 | (settings_.use & kUseMask));
  event.data3 = 0xff;
  state.event->raise(state, event, now);
}

std::vector<Command> watchdog_commands() {
  using P = Privilege;
  constexpr uint8_t kApp = ipmi::kNetFnApp;
  return {
      {kApp, 0x22, "Reset Watchdog Timer", P::kOperator, 0, 0, kLun0, reset_watchdog},
      {kApp, 0x24, "Set Watchdog Timer", P::kOperator, 6, 6, kLun0, set_watchdog},
      {kApp, 0x25, "Get Watchdog Timer", P::kUser, 0, 0, kLun0, get_watchdog},
  };
}

}  // namespace bmcpair::firmware
