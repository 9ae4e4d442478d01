// What a VirtualBmc stands on: a fleet in this process, or a daemon. Errors are one line each.
#pragma once

#include <bmcpair/testing/virtual_bmc.h>

#include <memory>
#include <string>
#include <vector>

#include "proto/base/hex.h"
#include "proto/base/result.h"

namespace bmcpair::testing {

struct Traffic {
  std::vector<Exchange> kept;  // oldest first
  uint64_t left_out = 0;       // older ones, since the start
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string address() const = 0;
  virtual std::string bus(const std::string& interface) const = 0;
  virtual const std::string& name() const = 0;
  virtual std::vector<std::string> interfaces() const = 0;

  virtual Result<std::vector<uint32_t>> add_faults(const std::string& rules, const std::string& file) = 0;
  virtual Result<std::vector<Fault>> faults() = 0;
  virtual Status clear_fault(uint32_t id) = 0;
  virtual Status clear_faults() = 0;

  virtual Result<std::vector<Sensor>> sensors() = 0;
  virtual Result<Sensor> sensor(const std::string& sensor) = 0;
  virtual Status set_sensor(const std::string& sensor, double value) = 0;
  virtual Status set_sensor_states(const std::string& sensor, uint16_t states) = 0;
  virtual Status release_sensor(const std::string& sensor) = 0;

  virtual Result<std::vector<SelEntry>> sel() = 0;
  virtual Result<uint16_t> add_sel(const Bytes& record) = 0;
  virtual Status clear_sel() = 0;

  virtual Result<bool> power_on() = 0;
  virtual Status power(Power action) = 0;
  virtual Status reset(Reset kind) = 0;

  virtual Result<Traffic> traffic() = 0;
};

// path: the configuration's, or empty where it is no file but `text`.
Result<std::unique_ptr<Backend>> start_in_process(const std::string& text, const std::string& path,
                                                  const VirtualBmcOptions& options);
Result<std::unique_ptr<Backend>> start_daemon(const std::string& text, const std::string& path,
                                              const VirtualBmcOptions& options);

// request: NetFn<<2|LUN, Cmd, data; response: the same with the completion code third, or empty.
Exchange make_exchange(std::string interface, ByteView request, ByteView response);
SelEntry make_sel_entry(uint16_t id, ByteView record);

}  // namespace bmcpair::testing
