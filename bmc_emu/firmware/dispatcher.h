// Commands by (NetFn, Cmd): each with its privilege, its length bounds and its handler; one table, no switch.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "bmc_emu/firmware/bmc.h"
#include "proto/ipmi/cursor.h"
#include "proto/ipmi/message.h"

namespace bmcpair::firmware {

// What a handler is given. `in` starts at the first data byte.
struct Call {
  State& state;
  const ipmi::Request& request;
  const RequestContext& context;
  Instant now;
  ipmi::Reader in;
};

inline ipmi::Response ok(Bytes data = {}) { return {ipmi::CompletionCode::kOk, std::move(data)}; }
inline ipmi::Response fail(ipmi::CompletionCode cc) { return {cc, {}}; }
inline ipmi::Response fail(uint8_t cc) { return {static_cast<ipmi::CompletionCode>(cc), {}}; }

struct Command {
  uint8_t netfn;
  uint8_t cmd;
  std::string_view name;  // the specification's
  Privilege privilege;    // least privilege (appendix G)
  uint16_t data_min;      // shorter: C7
  uint16_t data_max;      // longer: C7 (C8 where it is above what the interface can carry)
  uint8_t luns;           // bit n: LUN n accepted; elsewhere C2
  ipmi::Response (*handler)(Call&);
};

constexpr uint8_t kLun0 = 0x01;
constexpr uint8_t kAnyLun = 0x0f;

// Every command group contributes its commands; the tables are checked for doubles once, at start.
class Dispatcher {
 public:
  static const Dispatcher& instance();
  const Command* find(uint8_t netfn, uint8_t cmd) const;
  bool has_netfn(uint8_t netfn) const;
  const std::vector<Command>& commands() const { return commands_; }

  // Answers everything: C1 unknown command, C2 wrong LUN, D4 privilege, C7/C8 length, then the handler; a
  // response longer than the context's response_bytes_max becomes CA.
  ipmi::Response dispatch(State& state, const ipmi::Request& request, const RequestContext& context, Instant now) const;

 private:
  Dispatcher();
  std::vector<Command> commands_;  // sorted by (netfn, cmd)
};

// One file a group: app.cc, watchdog.cc, messaging.cc, channel.cc, user.cc, chassis.cc, sensor.cc, event.cc, sdr.cc,
// sel.cc, fru.cc.
std::vector<Command> app_commands();
std::vector<Command> watchdog_commands();
std::vector<Command> messaging_commands();
std::vector<Command> channel_commands();
std::vector<Command> user_commands();
std::vector<Command> chassis_commands();
std::vector<Command> sensor_commands();
std::vector<Command> event_commands();
std::vector<Command> sdr_commands();
std::vector<Command> sel_commands();
std::vector<Command> fru_commands();

}  // namespace bmcpair::firmware
