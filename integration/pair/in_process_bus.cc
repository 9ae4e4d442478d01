#include "integration/pair/in_process_bus.h"

#include <filesystem>
#include <iterator>
#include <map>
#include <mutex>
#include <system_error>
#include <utility>

#include "bmc_emu/daemon/config.h"
#include "host_driver/bus/bus.h"
#include "proto/registers/forwarding_port.h"

namespace bmcpair::pair {
namespace {

// A port that keeps its fleet alive.
class OwningPort final : public registers::ForwardingPort {
 public:
  OwningPort(std::shared_ptr<board::Fleet> fleet, std::unique_ptr<registers::RegisterPort> port)
      : ForwardingPort(std::move(port)), fleet_(std::move(fleet)) {}
  ~OwningPort() override { let_port_go(); }  // before its fleet

 private:
  std::shared_ptr<board::Fleet> fleet_;
};

struct Fleets {
  std::mutex mutex;
  std::map<std::string, std::weak_ptr<board::Fleet>> by_path;
};
Fleets& fleets() {
  static Fleets all;
  return all;
}

Result<std::unique_ptr<registers::RegisterPort>> open(const bus::BusSpec& spec, const bus::OpenOptions& options) {
  if (spec.target.empty()) {
    return Error{ErrorCode::kInvalidArgument,
                 "in-process: needs a configuration file: in-process:CONFIG.yaml#bmc/interface"};
  }
  if (!spec.options.empty()) {
    return Error{ErrorCode::kInvalidArgument, "in-process: has no option '" + spec.options.front().first + "'"};
  }
  auto fleet = in_process_fleet(spec.target);
  if (!fleet) return fleet.error();
  auto port = (*fleet)->attach(spec.path, options.who);
  if (!port) return port.error();
  return std::unique_ptr<registers::RegisterPort>(std::make_unique<OwningPort>(std::move(*fleet), std::move(*port)));
}

}  // namespace

Result<std::shared_ptr<board::Fleet>> in_process_fleet(const std::string& config_path) {
  std::error_code error;
  std::filesystem::path canonical = std::filesystem::canonical(config_path, error);
  std::string key = error ? config_path : canonical.string();
  std::lock_guard<std::mutex> lock(fleets().mutex);
  auto& known = fleets().by_path[key];
  if (auto fleet = known.lock()) return fleet;
  auto config = daemon::load_config(config_path);
  if (!config) return config.error();
  auto fleet = board::Fleet::create(std::move(config->boards), {});
  if (!fleet) return fleet.error();
  std::shared_ptr<board::Fleet> shared = std::move(*fleet);
  known = shared;
  return shared;
}

void share_fleet(const std::string& name, const std::shared_ptr<board::Fleet>& fleet) {
  std::lock_guard<std::mutex> lock(fleets().mutex);
  auto& all = fleets().by_path;
  for (auto i = all.begin(); i != all.end();) i = i->second.expired() ? all.erase(i) : std::next(i);
  all[name] = fleet;
}

void register_in_process_bus() {
  static std::once_flag once;
  std::call_once(once, [] { bus::register_scheme("in-process", open); });
}

}  // namespace bmcpair::pair
