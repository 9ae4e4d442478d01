// Everything one BMC holds, part by part.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "bmc_emu/firmware/bmc.h"
#include "bmc_emu/firmware/part.h"

namespace bmcpair::firmware {

class AppPart;        // app.h: ACPI power state, system info parameters, self test, offline window
class WatchdogPart;   // watchdog.h
class MessagingPart;  // messaging.h: global enables, message flags, receive message queue, event message buffer, satellites
class ChannelPart;    // channel.h
class UserPart;       // user.h
class ChassisPart;    // chassis.h
class SensorPart;     // sensor.h
class EventPart;      // event.h: event receiver, and the one way an event is raised
class SdrPart;        // sdr.h
class SelPart;        // sel.h
class FruPart;        // fru.h

struct State {
  State();
  ~State();

  BmcConfig config;
  std::shared_ptr<Store> store;
  Observer* observer = nullptr;

  std::unique_ptr<AppPart> app;
  std::unique_ptr<ChannelPart> channel;
  std::unique_ptr<UserPart> user;
  std::unique_ptr<MessagingPart> messaging;
  std::unique_ptr<SelPart> sel;
  std::unique_ptr<SdrPart> sdr;
  std::unique_ptr<FruPart> fru;
  std::unique_ptr<EventPart> event;
  std::unique_ptr<SensorPart> sensor;
  std::unique_ptr<WatchdogPart> watchdog;
  std::unique_ptr<ChassisPart> chassis;

  std::array<Part*, 11> parts() const;  // in the order above

  void notify(Change change) {
    if (observer) observer->on_change(change);
  }
};

}  // namespace bmcpair::firmware
