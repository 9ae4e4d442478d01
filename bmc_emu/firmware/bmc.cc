#include "bmc_emu/firmware/bmc.h"

#include <algorithm>

#include "bmc_emu/firmware/app.h"
#include "bmc_emu/firmware/chassis.h"
#include "bmc_emu/firmware/dispatcher.h"
#include "bmc_emu/firmware/messaging.h"
#include "bmc_emu/firmware/sel.h"
#include "bmc_emu/firmware/sensor.h"
#include "bmc_emu/firmware/state.h"

namespace bmcpair::firmware {

Result<std::unique_ptr<Bmc>> Bmc::create(BmcConfig config, std::shared_ptr<Store> store, Observer* observer,
                                         Instant now) {
  auto state = std::make_unique<State>();
  state->config = std::move(config);
  state->store = store ? std::move(store) : std::make_shared<MemoryStore>();
  for (Part* part : state->parts()) {
    if (auto loaded = part->load(*state, now); !loaded) {
      return Error{loaded.error().code, state->config.name + ": " + loaded.error().message};
    }
  }
  state->observer = observer;  // only now: loading is no change
  return std::unique_ptr<Bmc>(new Bmc(std::move(state)));
}

Bmc::Bmc(std::unique_ptr<State> state) : state_(std::move(state)) {}

Bmc::~Bmc() = default;

ipmi::Response Bmc::execute(const ipmi::Request& request, const RequestContext& context, Instant now) {
  run(now);
  if (state_->app->offline(now)) return fail(ipmi::CompletionCode::kBmcInitialising);
  return Dispatcher::instance().dispatch(*state_, request, context, now);
}

Instant Bmc::next_due() const {
  Instant due = kNever;
  for (const Part* part : state_->parts()) due = std::min(due, part->next_due(*state_));
  return due;
}

void Bmc::run(Instant now) {
  for (Part* part : state_->parts()) {
    if (part->next_due(*state_) <= now) part->run(*state_, now);
  }
}

bool Bmc::attention() const { return state_->messaging->attention(); }

uint8_t Bmc::global_enables() const { return state_->messaging->global_enables(); }

const BmcConfig& Bmc::config() const { return state_->config; }

std::vector<SensorView> Bmc::sensors(Instant now) const { return state_->sensor->views(*state_, now); }

Result<SensorView> Bmc::sensor(std::string_view name_or_number, Instant now) const {
  auto views = sensors(now);
  auto number = parse_number(name_or_number, 0xff);
  for (bool by_name : {true, false}) {  // a name that looks like a number is still a name
    for (auto& view : views) {
      if (by_name ? view.name == name_or_number : number && view.number == *number) return std::move(view);
    }
  }
  return Error{ErrorCode::kNotFound, state_->config.name + " has no sensor '" + std::string(name_or_number) + "'"};
}

Status Bmc::set_sensor_value(std::string_view name_or_number, double value, Instant now) {
  return state_->sensor->set_value(*state_, name_or_number, value, now);
}

Status Bmc::set_sensor_states(std::string_view name_or_number, uint16_t states, Instant now) {
  return state_->sensor->set_states(*state_, name_or_number, states, now);
}

Status Bmc::release_sensor(std::string_view name_or_number, Instant now) {
  return state_->sensor->release(*state_, name_or_number, now);
}

std::vector<SelRecordView> Bmc::sel(Instant) const { return state_->sel->records(); }

Result<uint16_t> Bmc::sel_add(ByteView record, Instant now) { return state_->sel->add(*state_, record, now); }

Status Bmc::sel_clear(Instant now) { return state_->sel->clear(*state_, now); }

bool Bmc::power_on() const { return state_->chassis->power_on(); }

Status Bmc::power(PowerAction action, Instant now) {
  auto cause = action == PowerAction::kHardReset ? RestartCause::kResetButton : RestartCause::kPowerButton;
  if (!state_->chassis->power(*state_, action, cause, kChannelPrimaryIpmb, now)) {
    return Error{ErrorCode::kInvalidArgument, state_->config.name + ": the power action needs power, and it is off"};
  }
  return {};
}

void Bmc::reset(bool cold, Instant now) { reset_bmc(*state_, cold, now); }

void Bmc::host_was_reset(Instant now) { reset_host(*state_, now); }

void Bmc::host_restarted(Instant now) {
  state_->chassis->forget_restart_cause();
  reset_host(*state_, now);
}

uint8_t Bmc::identify() const { return state_->chassis->identify(); }

void Bmc::set_identify(uint8_t mode, Duration interval, Instant now) {
  state_->chassis->set_identify(*state_, mode, interval, now);
}

State& Bmc::state() { return *state_; }

}  // namespace bmcpair::firmware
