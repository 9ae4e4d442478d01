#include "integration/clients/virtual_host.h"

#include <csignal>
#include <stdexcept>
#include <utility>

#include "host_driver/device_node/names.h"
#include "host_driver/device_node/preload_library.h"

namespace bmcpair::integration::clients {

const char kConfig[] = R"(bmcs:
  - name: one
    identity: {device_id: 0x2a, firmware: "3.07", manufacturer_id: 0x2b79, product_id: 0x1234}
    interfaces:
      - {kind: kcs}
      - {kind: bt}
    sensors:
      - {name: CPU Temp, type: temperature, entity: processor, min: 0, max: 255, initial: 46,
         thresholds: {upper_non_critical: 85, upper_critical: 95}}
      - {name: Fan 1, type: fan, entity: fan, min: 0, max: 25500, initial: 7200, thresholds: {lower_critical: 1500}}
      - {name: 12V, type: voltage, m: 60, r_exponent: -3, initial: 12}
      - {name: PSU 1 Power, type: other units, entity: power supply, unit: watts, min: 0, max: 1020, initial: 240}
      - {name: PSU 1, type: power supply, entity: power supply, states: [0]}
    frus:
      - product: {manufacturer: Example Works, name: Tested Server, part_number: TS-1, serial: "TS0001"}
    sel:
      preload:
        - {time: "2024-05-01 12:00:05", sensor: CPU Temp, data: "57 56 55"}
)";

namespace {
std::string written(const TemporaryFolder& folder, const std::string& config) {
  write_file(folder / "config.yaml", config);
  return folder / "config.yaml";
}
}  // namespace

Served::Served(ServeOptions options) : socket_(std::move(options.socket)) {
  std::vector<std::string> argv = std::move(options.prefix);
  argv.insert(argv.end(),
              {program("host_driver"), "--bus", options.bus, "--timeout", std::to_string(kPatience.count())});
  argv.insert(argv.end(), options.arguments.begin(), options.arguments.end());
  argv.insert(argv.end(), {"serve", "--socket", socket_});
  process_ = std::make_unique<Process>(std::move(argv));
  if (!process_->wait_for_output("\nserving\n")) {
    throw std::runtime_error("host_driver serve did not become ready: " + process_->out() + process_->err());
  }
}

std::vector<std::string> Served::environment() const {
  auto preload = device_node::preload_value();
  if (!preload) throw std::runtime_error(preload.error().message);
  return {"LD_PRELOAD=" + *preload, std::string(device_node::kSocketVariable) + "=" + socket_};
}

int Served::stop() {
  process_->signal(SIGTERM);
  return process_->wait();
}

VirtualHost::VirtualHost(const std::string& config, const std::string& interface)
    : daemon_(folder_, written(folder_, config)), served_({daemon_.bus("one/" + interface), folder_ / "ipmi.sock"}) {}

std::vector<std::string> VirtualHost::environment() const {
  std::vector<std::string> environment = served_.environment();
  environment.insert(environment.end(), {"HOME=" + folder_.path(), "TZ=UTC", "LC_ALL=C"});
  return environment;
}

Finished VirtualHost::run(std::vector<std::string> argv) { return integration::run(std::move(argv), environment()); }

std::unique_ptr<Process> VirtualHost::start(std::vector<std::string> argv) {
  return std::make_unique<Process>(std::move(argv), environment());
}

std::unique_ptr<Process> VirtualHost::watch() {
  auto watcher = std::make_unique<Process>(
      std::vector<std::string>{program("bmcctl"), "--address", daemon_.address(), "--json", "watch", "one"});
  if (!watcher->wait_for_output("\"watching\""))
    throw std::runtime_error("bmcctl watch: " + watcher->out() + watcher->err());
  return watcher;
}

}  // namespace bmcpair::integration::clients
