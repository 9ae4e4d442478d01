// What each command of host_driver shows of one BMC, as text for people and as JSON for scripts. Everything here works
// on a RequestFunction: it neither knows a bus nor a driver.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "host_driver/cli/inventory.h"
#include "proto/ipmi/sdr.h"

namespace bmcpair::cli {

// A command's outcome: `json` always, `text` what people read (ends with a newline unless empty).
struct Report {
  Report();
  ~Report();
  Report(Report&&) noexcept;
  Report& operator=(Report&&) noexcept;
  std::string text;
  std::unique_ptr<nlohmann::ordered_json> json;
  int exit_status = 0;
};

Result<Report> report_info(const RequestFunction& send);
// bytes: NetFn, Cmd, data. LUN apart. A completion code other than 0 is shown and gives exit_status 4.
Result<Report> report_raw(const RequestFunction& send, uint8_t netfn, uint8_t lun, uint8_t cmd, const Bytes& data);
Result<Report> report_sdr(const RequestFunction& send);
Result<Report> report_sensors(const RequestFunction& send);
Result<Report> report_sel_list(const RequestFunction& send);
Result<Report> report_sel_clear(const RequestFunction& send);
Result<Report> report_sel_add(const RequestFunction& send, const Bytes& record16);
// id: one FRU; nullopt: all that the SDR repository names, and 0.
Result<Report> report_fru(const RequestFunction& send, std::optional<uint8_t> id);

// The sensors of a repository, for turning events into text. Records that do not decode are left out.
std::vector<ipmi::SdrSensor> sensors_of(const std::vector<Bytes>& records);
const ipmi::SdrSensor* find_sensor(const std::vector<ipmi::SdrSensor>& sensors, uint8_t number, uint8_t owner);

Report report_event(ByteView record16, const std::vector<ipmi::SdrSensor>& sensors);

}  // namespace bmcpair::cli
