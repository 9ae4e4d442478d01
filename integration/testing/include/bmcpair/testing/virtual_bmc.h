// A virtual BMC for tests: in this process, or as a daemon of its own. Faults, sensors, SEL and power are the test's to set, and
// what the BMC was asked is the test's to read. Matchers for GoogleMock are in matchers.h.
//
//   VirtualBmc bmc;                                         // one BMC with a KCS interface, in this process
//   bmc.add_faults("drop=answer cmd=get_device_id count=1");
//   EXPECT_TRUE(bmc.host().request(0x06, 0x01).ok());       // the driver asks again
//   EXPECT_THAT(bmc.traffic(), Contains(Request(0x06, 0x01).unanswered()));
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <bmcpair/host.h>

namespace bmcpair::testing {

// A configuration or a rule with a mistake in it, a BMC that cannot be started, a sensor that is not there: what() says what and
// where.
class VirtualBmcError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// One request as the BMC got it, and its answer.
struct Exchange {
  std::string interface;
  uint8_t netfn = 0;
  uint8_t lun = 0;
  uint8_t cmd = 0;
  Bytes data;
  std::optional<uint8_t> completion_code;  // nothing: there was no answer
  Bytes answer;                            // what followed the completion code
  std::vector<uint32_t> faults;            // rules that fired for it, by their ids
  std::chrono::nanoseconds at{0};          // on the BMC's clock
  std::chrono::nanoseconds took{0};        // to execute it
};
// "kcs: 18 01 -> 00 20 81...", as bmcctl prints it.
std::string to_string(const Exchange& exchange);
std::ostream& operator<<(std::ostream& out, const Exchange& exchange);

// A fault rule in force (docs/faults.md).
struct Fault {
  uint32_t id = 0;
  std::string name;                     // may be empty
  std::string rule;                     // in the short form
  std::vector<std::string> interfaces;  // where it is; the counts are of all of them together
  uint64_t matched = 0;                 // times that its conditions held, counts and probability aside
  uint64_t fired = 0;
  std::optional<uint64_t> remaining;  // times that it may still fire; nothing: no bound
  bool over = false;                  // it will not fire any more
};
std::ostream& operator<<(std::ostream& out, const Fault& fault);

struct Sensor {
  uint8_t number = 0;
  uint8_t lun = 0;
  std::string name;
  bool threshold = true;  // else discrete
  uint8_t raw = 0;
  double value = 0;     // threshold sensors, in the sensor's unit
  uint16_t states = 0;  // discrete: asserted offsets; threshold: comparison status bits (IPMI 2.0 section 35.14)
};

struct SelEntry {
  uint16_t id = 0;
  Bytes record;      // 16 bytes (IPMI 2.0 chapter 32)
  std::string text;  // for people
};
std::ostream& operator<<(std::ostream& out, const SelEntry& entry);

enum class Power : uint8_t { kOff, kOn, kCycle, kHardReset, kDiagnosticInterrupt, kSoftShutdown };
enum class Reset : uint8_t { kCold, kWarm };

struct VirtualBmcOptions {
  enum class Where : uint8_t {
    kInProcess,  // no daemon, no socket, no file
    kDaemon,     // a bmc_emu of its own on a private unix socket; ends with the object, and with this process however that ends
  };
  Where where = Where::kInProcess;
  std::string bmc;      // which, where the configuration has several; empty: the first
  std::string program;  // kDaemon: the bmc_emu; empty: $BMCPAIR_BMC_EMU, else the one in PATH
  std::string state;    // a folder where SEL, FRU writes and settings survive; empty: the configuration's, if any
  std::chrono::milliseconds patience = std::chrono::seconds(60);  // of a daemon's start, and of each call
  HostOptions host;     // of host()
};

// Thread safe, but for moves. What is wrong with a call is thrown as VirtualBmcError.
class VirtualBmc {
 public:
  using Options = VirtualBmcOptions;

  // The built-in configuration: a BMC "one" with the interface "kcs", a sensor "Temp" (30, critical above 80), a FRU.
  explicit VirtualBmc(const Options& options = {});
  // A configuration as bmc_emu reads it (docs/configuration.md).
  static VirtualBmc from_file(const std::string& path, const Options& options = {});
  static VirtualBmc from_yaml(const std::string& text, const Options& options = {});

  VirtualBmc(VirtualBmc&&) noexcept;
  VirtualBmc& operator=(VirtualBmc&&) noexcept;
  ~VirtualBmc();

  // ---- where it is
  const std::string& name() const;
  std::vector<std::string> interfaces() const;
  // Bus spec of an interface (empty: the first), for Host::connect and, where it is a daemon, for every program of bmcpair.
  std::string bus(const std::string& interface = {}) const;
  // Of a daemon, "unix:/..." as $BMCPAIR_ADDRESS takes it; empty in this process.
  std::string address() const;

  // ---- the host's side
  // The driver on the first interface, brought up at the first call; the same one from then on.
  Host& host();
  // Another one, on an interface that nobody has.
  Host connect(const std::string& interface, const HostOptions& options = {});
  // Ends host(); the next call of it brings a new one up.
  void disconnect();

  // ---- faults
  // Rules in YAML or in the short form, as `bmcctl fault add` takes them. In force when it returns; their ids.
  std::vector<uint32_t> add_faults(const std::string& rules);
  std::vector<uint32_t> add_faults_file(const std::string& path);
  std::vector<Fault> faults() const;
  // How often it fired, all interfaces together: by its name (of several rules of that name: the sum), or by its id.
  uint64_t fired(const std::string& name) const;
  uint64_t fired(uint32_t id) const;
  // What it has imposed ends.
  void clear_fault(uint32_t id);
  void clear_faults();

  // ---- the machine
  std::vector<Sensor> sensors() const;
  // By name or number, as everywhere here.
  Sensor sensor(const std::string& sensor) const;
  // Pins it until release_sensor(); a threshold that is crossed raises its event at once.
  void set_sensor(const std::string& sensor, double value);
  void set_sensor_states(const std::string& sensor, uint16_t states);
  void release_sensor(const std::string& sensor);

  std::vector<SelEntry> sel() const;  // oldest first
  // 16 bytes; the record id is replaced, and the time stamp of a record below type E0h. The id.
  uint16_t add_sel(const Bytes& record);
  void clear_sel();

  bool power_on() const;
  void power(Power action);
  // Of the BMC itself, as the commands Cold Reset and Warm Reset do.
  void reset(Reset kind);

  // ---- what it was asked
  // Every request since the start, or since clear_traffic(), oldest first: the driver's own as well. The newest 2048 are kept.
  std::vector<Exchange> traffic() const;
  void clear_traffic();
  // Older ones that this bound has cost since then.
  uint64_t traffic_left_out() const;

  // Waits until `predicate` is true; false when it is not within the time. It is asked again and again, on this thread.
  bool wait_for(const std::function<bool()>& predicate,
                std::chrono::milliseconds within = std::chrono::seconds(30)) const;

 private:
  struct Impl;
  explicit VirtualBmc(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace bmcpair::testing
