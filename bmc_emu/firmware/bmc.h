// The firmware of one BMC: a request in, a response out, and what time brings. Pure: it owns no clock, and
// storage is behind Store. Not thread safe: the board serialises.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bmc_emu/firmware/config.h"
#include "bmc_emu/firmware/observer.h"
#include "bmc_emu/firmware/store.h"
#include "proto/base/result.h"
#include "proto/base/time.h"
#include "proto/ipmi/message.h"
#include "proto/registers/register_port.h"

namespace bmcpair::firmware {

constexpr uint8_t kChannelPrimaryIpmb = 0x00;
constexpr uint8_t kChannelPresent = 0x0e;
constexpr uint8_t kChannelSystemInterface = 0x0f;

enum class Privilege : uint8_t { kNone = 0, kCallback = 1, kUser = 2, kOperator = 3, kAdministrator = 4, kOem = 5 };

// Where a request came from.
struct RequestContext {
  uint8_t channel = kChannelSystemInterface;
  Privilege privilege = Privilege::kAdministrator;  // system interfaces have no sessions (§6.3)
  registers::InterfaceKind interface_kind = registers::InterfaceKind::kKcs;
  size_t request_bytes_max = 255;   // of the interface, NetFn and Cmd included
  size_t response_bytes_max = 255;
  // On an IPMB only: who asks (Platform Event Message takes its generator id from here, §29.3).
  uint8_t requester_address = 0x20;
  uint8_t requester_lun = 0;
};

// What a person wants to know of a sensor.
struct SensorView {
  uint8_t number = 0;
  uint8_t lun = 0;
  std::string name;
  bool threshold = true;
  uint8_t sensor_type = 0;
  uint8_t unit = 0;
  uint8_t raw = 0;
  double value = 0;          // threshold sensors
  uint16_t states = 0;       // discrete: asserted offsets; threshold: comparison status bits (§35.14)
  bool scanning = true;
};

struct SelRecordView {
  uint16_t id = 0;
  Bytes record;  // 16 bytes
};

struct State;  // everything a Bmc holds; its parts are in state.h, for command groups

class Bmc {
 public:
  // Loads what was kept. Errors: kIo, kCorrupt from the store; kInvalidArgument from the configuration.
  static Result<std::unique_ptr<Bmc>> create(BmcConfig config, std::shared_ptr<Store> store, Observer* observer,
                                             Instant now);
  ~Bmc();

  // One request to its response. Every input has an answer; nothing throws for a peer's byte.
  ipmi::Response execute(const ipmi::Request& request, const RequestContext& context, Instant now);

  // What time brings: watchdog, wave forms, satellite answers, the end of a reset's offline window.
  Instant next_due() const;
  void run(Instant now);

  // Wanted state of SMS_ATN: a message flag that the system software must see is set (§22.4, §22.8).
  bool attention() const;
  uint8_t global_enables() const;
  const BmcConfig& config() const;

  // The hand on the machine, out of band.
  std::vector<SensorView> sensors(Instant now) const;
  Result<SensorView> sensor(std::string_view name_or_number, Instant now) const;
  // Stops the sensor's wave form and pins it; value in the sensor's units. Crossings raise events at once.
  Status set_sensor_value(std::string_view name_or_number, double value, Instant now);
  Status set_sensor_states(std::string_view name_or_number, uint16_t states, Instant now);
  Status release_sensor(std::string_view name_or_number, Instant now);  // back to its wave form
  std::vector<SelRecordView> sel(Instant now) const;
  // 16 bytes; the record id is replaced, and the time stamp of a record below type E0h. Durable on return.
  Result<uint16_t> sel_add(ByteView record, Instant now);
  Status sel_clear(Instant now);
  bool power_on() const;
  Status power(PowerAction action, Instant now);
  void reset(bool cold, Instant now);  // as Cold/Warm Reset do
  // Clears what the host's reset clears (message flags, enables, watchdog use is kept).
  void host_was_reset(Instant now);
  // The same, of a restart that nobody here asked for: its cause is not known (§28.11).
  void host_restarted(Instant now);
  uint8_t identify() const;
  void set_identify(uint8_t mode, Duration interval, Instant now);

  State& state();

 private:
  explicit Bmc(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace bmcpair::firmware
