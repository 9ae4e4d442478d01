#include "bmc_emu/firmware/state.h"

#include "bmc_emu/firmware/app.h"
#include "bmc_emu/firmware/channel.h"
#include "bmc_emu/firmware/chassis.h"
#include "bmc_emu/firmware/event.h"
#include "bmc_emu/firmware/fru.h"
#include "bmc_emu/firmware/messaging.h"
#include "bmc_emu/firmware/sdr.h"
#include "bmc_emu/firmware/sel.h"
#include "bmc_emu/firmware/sensor.h"
#include "bmc_emu/firmware/user.h"
#include "bmc_emu/firmware/watchdog.h"

namespace bmcpair::firmware {

State::State()
    : app(std::make_unique<AppPart>()),
      channel(std::make_unique<ChannelPart>()),
      user(std::make_unique<UserPart>()),
      messaging(std::make_unique<MessagingPart>()),
      sel(std::make_unique<SelPart>()),
      sdr(std::make_unique<SdrPart>()),
      fru(std::make_unique<FruPart>()),
      event(std::make_unique<EventPart>()),
      sensor(std::make_unique<SensorPart>()),
      watchdog(std::make_unique<WatchdogPart>()),
      chassis(std::make_unique<ChassisPart>()) {}

State::~State() = default;

std::array<Part*, 11> State::parts() const {
  return {app.get(), channel.get(), user.get(),   messaging.get(), sel.get(),    sdr.get(),
          fru.get(), event.get(),   sensor.get(), watchdog.get(),  chassis.get()};
}

}  // namespace bmcpair::firmware
