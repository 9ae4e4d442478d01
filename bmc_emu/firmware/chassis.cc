#include "bmc_emu/firmware/chassis.h"

#include <algorithm>
#include <string>
#include <utility>

#include "bmc_emu/firmware/app.h"
#include "bmc_emu/firmware/dispatcher.h"
#include "bmc_emu/firmware/state.h"

namespace bmcpair::firmware {

using ipmi::CompletionCode;

namespace {

constexpr std::string_view kTable = "chassis";
constexpr uint32_t kKey = 0;
constexpr uint8_t kStoredVersion = 1;
constexpr size_t kStoredBytes = 1 + 4 + 5 + 1 + 8;

constexpr uint8_t kPolicyPrevious = 1;  // 0: stays off
constexpr uint8_t kPolicyAlwaysOn = 2;
constexpr uint8_t kPolicyNoChange = 3;
constexpr uint8_t kLastEventOnByCommand = 0x10;

constexpr Duration kIdentifyDefault = std::chrono::seconds(15);     // §28.5
constexpr Duration kBootFlagsTimeout = std::chrono::seconds(60);    // table 28-14, parameter 3
constexpr Duration kStoreInterval = std::chrono::hours(1);
constexpr uint8_t kMinutesPerCount = 60;

// Boot options (table 28-14).
constexpr uint8_t kBootLast = 7;
constexpr uint8_t kBootFlagsValid = 0x80;
constexpr uint8_t kKeepValidOnTimeout = 0x08;
constexpr uint8_t kKeepValidOnWatchdog = 0x04;
constexpr uint8_t kKeepValidOnResetButton = 0x02;
constexpr uint8_t kKeepValidOnPowerButton = 0x01;
constexpr size_t kMailboxBlockBytes = 16;
constexpr uint8_t kParameterVersion = 0x01;

Bytes to_stored(const ChassisPart::Kept& kept) {
  ipmi::Writer out;
  out.u8(kStoredVersion).u8(kept.policy).u8(kept.power_on).u8(kept.last_power_event).u8(kept.capabilities);
  out.bytes(kept.addresses).u8(kept.power_cycle_interval_s);
  out.u32(static_cast<uint32_t>(kept.on_seconds)).u32(static_cast<uint32_t>(kept.on_seconds >> 32));
  return out.finish();
}

bool from_stored(ByteView bytes, ChassisPart::Kept& kept) {
  if (bytes.size() != kStoredBytes) return false;
  ipmi::Reader in(bytes);
  if (in.u8() != kStoredVersion) return false;
  kept.policy = in.u8();
  kept.power_on = in.u8();
  kept.last_power_event = in.u8();
  kept.capabilities = in.u8();
  ByteView addresses = in.take(kept.addresses.size());
  std::copy(addresses.begin(), addresses.end(), kept.addresses.begin());
  kept.power_cycle_interval_s = in.u8();
  kept.on_seconds = in.u32();
  kept.on_seconds |= static_cast<uint64_t>(in.u32()) << 32;
  return in.done() && kept.policy <= kPolicyAlwaysOn && kept.power_on <= 1;
}

ipmi::Response get_capabilities(Call& call) {
  const auto& kept = call.state.chassis->kept();
  Bytes out{kept.capabilities};
  out.insert(out.end(), kept.addresses.begin(), kept.addresses.end());
  return ok(std::move(out));
}

ipmi::Response get_status(Call& call) {
  const ChassisPart& chassis = *call.state.chassis;
  uint8_t disabled = chassis.front_panel_disabled();
  bool locked_out = (disabled & 0x03) == 0x03;  // power off and reset buttons
  return ok({static_cast<uint8_t>(chassis.kept().policy << 5 | (chassis.power_on() ? 1 : 0)),
             chassis.kept().last_power_event,
             static_cast<uint8_t>(0x40 | chassis.identify() << 4 | (locked_out ? 0x02 : 0x00)),
             static_cast<uint8_t>(0xf0 | disabled)});
}

ipmi::Response control(Call& call) {
  static constexpr PowerAction kActions[] = {PowerAction::kOff,       PowerAction::kOn,
                                             PowerAction::kCycle,     PowerAction::kHardReset,
                                             PowerAction::kDiagnosticInterrupt, PowerAction::kSoftShutdown};
  uint8_t action = call.in.u8();
  if (action >= std::size(kActions)) return fail(CompletionCode::kInvalidDataField);
  ChassisPart& chassis = *call.state.chassis;
  chassis.restart_boot_timeout(call.now);
  bool done =
      chassis.power(call.state, kActions[action], RestartCause::kChassisControl, call.context.channel, call.now);
  return done ? ok() : fail(CompletionCode::kNotSupportedInState);
}

ipmi::Response identify(Call& call) {
  Duration interval = kIdentifyDefault;
  uint8_t force = 0;
  if (call.in.remaining() > 0) interval = std::chrono::seconds(call.in.u8());
  if (call.in.remaining() > 0) force = call.in.u8();
  if ((force & 0xfe) != 0) return fail(CompletionCode::kInvalidDataField);
  uint8_t mode = force != 0 ? 2 : interval > Duration(0) ? 1 : 0;
  call.state.chassis->set_identify(call.state, mode, interval, call.now);
  return ok();
}

ipmi::Response set_capabilities(Call& call) {
  uint8_t flags = call.in.u8();
  ByteView addresses = call.in.rest();
  if ((flags & 0xfc) != 0) return fail(CompletionCode::kInvalidDataField);
  if (std::any_of(addresses.begin(), addresses.end(), [](uint8_t address) { return (address & 1) != 0; })) {
    return fail(CompletionCode::kInvalidDataField);
  }
  ChassisPart::Kept kept = call.state.chassis->kept();
  kept.capabilities = static_cast<uint8_t>((kept.capabilities & 0xfc) | flags);
  std::copy(addresses.begin(), addresses.end(), kept.addresses.begin());
  return call.state.chassis->keep(call.state, kept) ? ok() : fail(CompletionCode::kUnspecified);
}

ipmi::Response set_restore_policy(Call& call) {
  uint8_t policy = call.in.u8();
  if (policy > kPolicyNoChange) return fail(CompletionCode::kInvalidDataField);
  if (policy != kPolicyNoChange) {
    ChassisPart::Kept kept = call.state.chassis->kept();
    kept.policy = policy;
    if (!call.state.chassis->keep(call.state, kept)) return fail(CompletionCode::kUnspecified);
  }
  return ok({0x07});  // all three are supported
}

ipmi::Response get_restart_cause(Call& call) {
  return ok({static_cast<uint8_t>(call.state.chassis->restart_cause()), call.state.chassis->restart_channel()});
}

// Takes exactly the parameter's bytes.
template <size_t N>
bool take_exactly(ipmi::Reader& in, std::array<uint8_t, N>& out) {
  ByteView data = in.rest();
  if (data.size() != N) return false;
  std::copy(data.begin(), data.end(), out.begin());
  return true;
}

ipmi::Response write_boot_parameter(Call& call, uint8_t parameter) {
  ChassisPart& chassis = *call.state.chassis;
  auto& boot = chassis.boot();
  std::array<uint8_t, 1> one{};
  std::array<uint8_t, 2> two{};
  switch (parameter) {
    case 0:
      if (!take_exactly(call.in, one)) return fail(CompletionCode::kRequestLengthInvalid);
      if (one[0] > 1) return fail(CompletionCode::kInvalidDataField);  // there is no rollback to commit
      if (one[0] == 1 && boot.in_progress == 1) return fail(0x81);
      boot.in_progress = one[0];
      return ok();
    case 1:
      if (!take_exactly(call.in, one)) return fail(CompletionCode::kRequestLengthInvalid);
      boot.service_partition = one[0];
      return ok();
    case 2:
      if (!take_exactly(call.in, one)) return fail(CompletionCode::kRequestLengthInvalid);
      if ((one[0] & 0xfc) != 0) return fail(CompletionCode::kInvalidDataField);
      boot.service_scan = one[0];
      return ok();
    case 3:
      if (!take_exactly(call.in, one)) return fail(CompletionCode::kRequestLengthInvalid);
      if ((one[0] & 0xe0) != 0) return fail(CompletionCode::kInvalidDataField);
      boot.valid_clearing = one[0];
      return ok();
    case 4:  // write mask, data
      if (!take_exactly(call.in, two)) return fail(CompletionCode::kRequestLengthInvalid);
      boot.acknowledge = static_cast<uint8_t>((boot.acknowledge & ~two[0]) | (two[1] & two[0]));
      return ok();
    case 5: {
      std::array<uint8_t, 5> flags{};
      if (!take_exactly(call.in, flags)) return fail(CompletionCode::kRequestLengthInvalid);
      if ((flags[0] & 0x1f) != 0) return fail(CompletionCode::kInvalidDataField);
      boot.flags = flags;
      chassis.boot_flags_written(call.now);
      return ok();
    }
    case 6: {
      std::array<uint8_t, 9> initiator{};
      if (!take_exactly(call.in, initiator)) return fail(CompletionCode::kRequestLengthInvalid);
      if ((initiator[0] & 0xf0) != 0) return fail(CompletionCode::kInvalidDataField);
      boot.initiator = initiator;
      return ok();
    }
    default: {
      uint8_t block = call.in.u8();
      ByteView data = call.in.rest();
      if (data.empty()) return fail(CompletionCode::kRequestLengthInvalid);
      if (block >= ChassisPart::kMailboxBlocks) return fail(CompletionCode::kParameterOutOfRange);
      std::copy(data.begin(), data.end(), boot.mailbox[block].begin());
      return ok();
    }
  }
}

ipmi::Response set_boot_options(Call& call) {
  uint8_t head = call.in.u8();
  uint8_t parameter = head & 0x7f;
  if (parameter > kBootLast) return fail(0x80);
  if (call.in.remaining() > 0) {
    ipmi::Response written = write_boot_parameter(call, parameter);
    if (written.cc != CompletionCode::kOk) return written;
  }
  // No data at all: only the mark changes (§28.12 byte 1).
  auto bit = static_cast<uint8_t>(1u << parameter);
  uint8_t& invalid = call.state.chassis->boot().invalid;
  invalid = static_cast<uint8_t>((head & 0x80) != 0 ? invalid | bit : invalid & ~bit);
  return ok();
}

ipmi::Response get_boot_options(Call& call) {
  uint8_t parameter = call.in.u8();
  uint8_t set = call.in.u8();
  uint8_t block = call.in.u8();
  if ((parameter & 0x80) != 0 || block != 0) return fail(CompletionCode::kInvalidDataField);
  if (parameter > kBootLast) return fail(0x80);
  if (parameter != 7 && set != 0) return fail(CompletionCode::kInvalidDataField);
  if (parameter == 7 && set >= ChassisPart::kMailboxBlocks) return fail(CompletionCode::kParameterOutOfRange);
  const auto& boot = std::as_const(*call.state.chassis).boot();
  ipmi::Writer out;
  out.u8(kParameterVersion);
  out.u8(static_cast<uint8_t>((boot.invalid >> parameter & 1) << 7 | parameter));
  switch (parameter) {
    case 0: out.u8(boot.in_progress); break;
    case 1: out.u8(boot.service_partition); break;
    case 2: out.u8(boot.service_scan); break;
    case 3: out.u8(boot.valid_clearing); break;
    case 4: out.u8(0x00).u8(boot.acknowledge); break;  // the mask reads as 0
    case 5: out.bytes(boot.flags); break;
    case 6: out.bytes(boot.initiator); break;
    default: {
      auto found = boot.mailbox.find(set);
      std::array<uint8_t, kMailboxBlockBytes> empty{};
      out.u8(set).bytes(found == boot.mailbox.end() ? empty : found->second);
      break;
    }
  }
  return ok(out.finish());
}

ipmi::Response set_front_panel_enables(Call& call) {
  uint8_t disabled = call.in.u8();
  if ((disabled & 0xf0) != 0) return fail(CompletionCode::kInvalidDataField);
  call.state.chassis->set_front_panel_disabled(disabled);
  return ok();
}

ipmi::Response set_power_cycle_interval(Call& call) {
  ChassisPart::Kept kept = call.state.chassis->kept();
  kept.power_cycle_interval_s = call.in.u8();
  return call.state.chassis->keep(call.state, kept) ? ok() : fail(CompletionCode::kUnspecified);
}

ipmi::Response get_poh_counter(Call& call) {
  ipmi::Writer out;
  out.u8(kMinutesPerCount);
  out.u32(static_cast<uint32_t>(call.state.chassis->on_seconds(call.now) / (kMinutesPerCount * 60)));
  return ok(out.finish());
}

}  // namespace

Status ChassisPart::load(State& state, Instant now) {
  auto rows = state.store->load(kTable);
  if (!rows) return rows.error();
  power_on_ = state.config.power_on;
  for (const auto& [key, value] : *rows) {
    if (key != kKey || !from_stored(value, kept_)) {
      return Error{ErrorCode::kCorrupt, "stored chassis state " + std::to_string(key) + " is malformed"};
    }
    // The daemon's start is mains power coming back: the restore policy decides (§28.8).
    power_on_ = kept_.policy == kPolicyAlwaysOn || (kept_.policy == kPolicyPrevious && kept_.power_on != 0);
    bool always = kept_.policy == kPolicyAlwaysOn;
    if (power_on_) cause_ = always ? RestartCause::kAlwaysRestore : RestartCause::kRestorePrevious;
  }
  kept_.power_on = power_on_ ? 1 : 0;
  since_ = now;
  hour_at_ = power_on_ ? now + kStoreInterval : kNever;
  state.app->set_system_acpi(power_on_ ? 0x00 : 0x05);  // S0/G0, S5/G2
  return {};
}

Instant ChassisPart::next_due(const State&) const {
  return std::min({identify_until_, power_back_at_, boot_timeout_at_, hour_at_});
}

void ChassisPart::run(State& state, Instant now) {
  if (identify_until_ <= now) set_identify(state, 0, Duration(0), now);
  if (boot_timeout_at_ <= now) {
    boot_timeout_at_ = kNever;
    if ((boot_.valid_clearing & kKeepValidOnTimeout) == 0) clear_boot_valid();
  }
  if (power_back_at_ <= now) {
    switch_power(state, true, now);
    state.notify({Change::Kind::kPower, static_cast<uint32_t>(PowerAction::kOn), Duration(0), {}});
  }
  if (hour_at_ <= now) store_power(state, now);
}

void ChassisPart::on_reset(State& state, bool cold, Instant now) {
  set_identify(state, 0, Duration(0), now);
  boot_.in_progress = 0;
  if (!cold) return;
  boot_ = {};
  boot_timeout_at_ = kNever;
  front_panel_ = 0;
}

void ChassisPart::on_host_reset(State&, Instant) { boot_.in_progress = 0; }  // table 28-14, parameter 0

bool ChassisPart::power(State& state, PowerAction action, RestartCause cause, uint8_t channel, Instant now) {
  bool cycling = power_back_at_ != kNever;
  uint8_t keep_valid = cause == RestartCause::kWatchdog       ? kKeepValidOnWatchdog
                       : cause == RestartCause::kResetButton  ? kKeepValidOnResetButton
                       : cause == RestartCause::kPowerButton  ? kKeepValidOnPowerButton
                                                              : uint8_t{0xff};  // a command never clears it
  bool clears_valid = (boot_.valid_clearing & keep_valid) == 0 && keep_valid != 0xff;
  auto restarted = [&] {
    cause_ = cause;
    cause_channel_ = channel;
    if (clears_valid) clear_boot_valid();
  };
  switch (action) {
    case PowerAction::kOff:
      power_back_at_ = kNever;
      if (!power_on_) {
        if (cycling) store_power(state, now);
        return true;
      }
      switch_power(state, false, now);
      break;
    case PowerAction::kOn:
      if (power_on_) return true;
      kept_.last_power_event = cause == RestartCause::kChassisControl ? kLastEventOnByCommand : 0;
      restarted();
      switch_power(state, true, now);
      break;
    case PowerAction::kCycle:
      if (!power_on_) return false;
      kept_.last_power_event = cause == RestartCause::kChassisControl ? kLastEventOnByCommand : 0;
      restarted();
      power_back_at_ = now + std::chrono::seconds(kept_.power_cycle_interval_s);
      switch_power(state, false, now);
      break;
    case PowerAction::kHardReset:
      if (!power_on_) return false;
      restarted();
      reset_host(state, now);
      break;
    case PowerAction::kDiagnosticInterrupt:
    case PowerAction::kSoftShutdown:  // the host's own software decides what follows
      if (!power_on_) return false;
      break;
  }
  state.notify({Change::Kind::kPower, static_cast<uint32_t>(action), Duration(0), {}});
  return true;
}

void ChassisPart::set_identify(State& state, uint8_t mode, Duration interval, Instant now) {
  bool told = mode != identify_ || mode == 1;
  identify_ = mode;
  identify_until_ = mode == 1 ? now + interval : kNever;
  if (told) state.notify({Change::Kind::kIdentify, mode, mode == 1 ? interval : Duration(0), {}});
}

Status ChassisPart::keep(State& state, const Kept& kept) {
  Batch batch;
  batch.put.push_back({std::string(kTable), kKey, to_stored(kept)});
  if (auto stored = state.store->commit(batch); !stored) return stored;
  kept_ = kept;
  return {};
}

uint64_t ChassisPart::on_seconds(Instant now) const {
  if (!power_on_ || now <= since_) return kept_.on_seconds;
  return kept_.on_seconds + static_cast<uint64_t>((now - since_) / std::chrono::seconds(1));
}

void ChassisPart::boot_flags_written(Instant now) {
  boot_timeout_at_ = (boot_.flags[0] & kBootFlagsValid) != 0 ? now + kBootFlagsTimeout : kNever;
}

void ChassisPart::restart_boot_timeout(Instant now) {
  if (boot_timeout_at_ != kNever) boot_timeout_at_ = now + kBootFlagsTimeout;
}

void ChassisPart::store_power(State& state, Instant now) {
  Kept kept = kept_;
  kept.on_seconds = on_seconds(now);
  since_ += std::chrono::seconds(kept.on_seconds - kept_.on_seconds);
  if (!power_on_) since_ = now;
  // In the middle of a power cycle the power is on its way back, and so it is after a restart.
  kept.power_on = power_on_ || power_back_at_ != kNever ? 1 : 0;
  hour_at_ = power_on_ ? now + kStoreInterval : kNever;
  // Power has changed whatever the disk says; what could not be stored is stored with the next change.
  if (!keep(state, kept)) kept_ = kept;
}

void ChassisPart::switch_power(State& state, bool on, Instant now) {
  if (on) power_back_at_ = kNever;
  if (power_on_) {
    uint64_t total = on_seconds(now);
    kept_.on_seconds = total;
  }
  since_ = now;
  power_on_ = on;
  store_power(state, now);
  reset_host(state, now);
}

void ChassisPart::clear_boot_valid() {
  boot_.flags[0] &= static_cast<uint8_t>(~kBootFlagsValid);
  boot_timeout_at_ = kNever;
}

std::vector<Command> chassis_commands() {
  using P = Privilege;
  constexpr uint8_t kChassis = ipmi::kNetFnChassis;
  return {
      {kChassis, 0x00, "Get Chassis Capabilities", P::kUser, 0, 0, kLun0, get_capabilities},
      {kChassis, 0x01, "Get Chassis Status", P::kUser, 0, 0, kLun0, get_status},
      {kChassis, 0x02, "Chassis Control", P::kOperator, 1, 1, kLun0, control},
      {kChassis, 0x04, "Chassis Identify", P::kOperator, 0, 2, kLun0, identify},
      {kChassis, 0x05, "Set Chassis Capabilities", P::kAdministrator, 5, 6, kLun0, set_capabilities},
      {kChassis, 0x06, "Set Power Restore Policy", P::kOperator, 1, 1, kLun0, set_restore_policy},
      {kChassis, 0x07, "Get System Restart Cause", P::kUser, 0, 0, kLun0, get_restart_cause},
      {kChassis, 0x08, "Set System Boot Options", P::kOperator, 1, 18, kLun0, set_boot_options},
      {kChassis, 0x09, "Get System Boot Options", P::kOperator, 3, 3, kLun0, get_boot_options},
      {kChassis, 0x0a, "Set Front Panel Button Enables", P::kAdministrator, 1, 1, kLun0, set_front_panel_enables},
      {kChassis, 0x0b, "Set Power Cycle Interval", P::kAdministrator, 1, 1, kLun0, set_power_cycle_interval},
      {kChassis, 0x0f, "Get POH Counter", P::kUser, 0, 0, kLun0, get_poh_counter},
  };
}

}  // namespace bmcpair::firmware
