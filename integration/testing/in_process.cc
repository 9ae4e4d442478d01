// A BMC in this process: a fleet of one daemon's configuration, without the daemon.
#include <unistd.h>

#include <atomic>
#include <set>
#include <utility>

#include "bmc_emu/board/fleet.h"
#include "bmc_emu/daemon/config.h"
#include "bmc_emu/daemon/fault_rules.h"
#include "integration/pair/in_process_bus.h"
#include "integration/testing/backend.h"

namespace bmcpair::testing {
namespace {

Sensor make_sensor(const firmware::SensorView& view) {
  return {view.number, view.lun, view.name, view.threshold, view.raw, view.value, view.states};
}

class InProcess final : public Backend {
 public:
  InProcess(std::shared_ptr<board::Fleet> fleet, std::shared_ptr<board::Board> board, std::string key)
      : fleet_(std::move(fleet)), board_(std::move(board)), key_(std::move(key)) {
    board_->set_trace(true);
  }

  std::string address() const override { return {}; }
  std::string bus(const std::string& interface) const override {
    return "in-process:" + key_ + "#" + name() + "/" + interface;
  }
  const std::string& name() const override { return board_->name(); }
  std::vector<std::string> interfaces() const override {
    std::vector<std::string> out;
    for (const board::InterfaceConfig& interface : board_->config().interfaces) out.push_back(interface.name);
    return out;
  }

  Result<std::vector<uint32_t>> add_faults(const std::string& rules, const std::string& file) override {
    auto parsed = daemon::parse_faults(rules, file);
    if (!parsed) return parsed.error();
    std::vector<uint32_t> ids;
    for (faults::Rule& rule : *parsed) {
      auto id = board_->add_fault(std::move(rule));
      if (!id) {
        for (uint32_t earlier : ids) (void)board_->clear_fault(earlier);
        return id.error();
      }
      ids.push_back(*id);
    }
    return ids;
  }
  Result<std::vector<Fault>> faults() override {
    std::vector<Fault> out;
    for (const board::FaultView& view : board_->faults()) {
      out.push_back({view.id, view.rule.name, faults::to_text(view.rule), view.interfaces, view.matched, view.fired,
                     view.remaining, view.over});
    }
    return out;
  }
  Status clear_fault(uint32_t id) override { return board_->clear_fault(id); }
  Status clear_faults() override {
    (void)board_->clear_faults();
    return {};
  }

  Result<std::vector<Sensor>> sensors() override {
    std::vector<Sensor> out;
    board_->with_firmware([&](firmware::Bmc& bmc, Instant now) {
      for (const firmware::SensorView& view : bmc.sensors(now)) out.push_back(make_sensor(view));
    });
    return out;
  }
  Result<Sensor> sensor(const std::string& sensor) override {
    Result<Sensor> out = Sensor();
    board_->with_firmware([&](firmware::Bmc& bmc, Instant now) {
      auto view = bmc.sensor(sensor, now);
      if (view) out = make_sensor(*view);
      else out = view.error();
    });
    return out;
  }
  Status set_sensor(const std::string& sensor, double value) override {
    return on([&](firmware::Bmc& bmc, Instant now) { return bmc.set_sensor_value(sensor, value, now); });
  }
  Status set_sensor_states(const std::string& sensor, uint16_t states) override {
    return on([&](firmware::Bmc& bmc, Instant now) { return bmc.set_sensor_states(sensor, states, now); });
  }
  Status release_sensor(const std::string& sensor) override {
    return on([&](firmware::Bmc& bmc, Instant now) { return bmc.release_sensor(sensor, now); });
  }

  Result<std::vector<SelEntry>> sel() override {
    std::vector<SelEntry> out;
    board_->with_firmware([&](firmware::Bmc& bmc, Instant now) {
      for (const firmware::SelRecordView& view : bmc.sel(now)) out.push_back(make_sel_entry(view.id, view.record));
    });
    return out;
  }
  Result<uint16_t> add_sel(const Bytes& record) override {
    Result<uint16_t> id = uint16_t{0};
    board_->with_firmware([&](firmware::Bmc& bmc, Instant now) { id = bmc.sel_add(record, now); });
    return id;
  }
  Status clear_sel() override {
    return on([](firmware::Bmc& bmc, Instant now) { return bmc.sel_clear(now); });
  }

  Result<bool> power_on() override {
    bool on = false;
    board_->with_firmware([&](firmware::Bmc& bmc, Instant) { on = bmc.power_on(); });
    return on;
  }
  Status power(Power action) override {
    static constexpr firmware::PowerAction kActions[] = {
        firmware::PowerAction::kOff,       firmware::PowerAction::kOn,
        firmware::PowerAction::kCycle,     firmware::PowerAction::kHardReset,
        firmware::PowerAction::kDiagnosticInterrupt, firmware::PowerAction::kSoftShutdown};
    return on([&](firmware::Bmc& bmc, Instant now) { return bmc.power(kActions[static_cast<size_t>(action)], now); });
  }
  Status reset(Reset kind) override {
    return on([&](firmware::Bmc& bmc, Instant now) {
      bmc.reset(kind == Reset::kCold, now);
      return Status();
    });
  }

  Result<Traffic> traffic() override {
    Traffic out;
    std::vector<board::MessageTrace> messages;
    do {  // the number belongs to the list
      out.left_out = board_->messages_left_out();
      messages = board_->message_trace();
    } while (out.left_out != board_->messages_left_out());
    for (const board::MessageTrace& message : messages) {
      Exchange e = make_exchange(message.interface, message.request, message.response);
      e.faults = message.faults;
      e.at = message.at.time_since_epoch();
      e.took = message.took;
      out.kept.push_back(std::move(e));
    }
    return out;
  }

 private:
  template <class F>
  Status on(F f) {
    Status out;
    board_->with_firmware([&](firmware::Bmc& bmc, Instant now) { out = f(bmc, now); });
    return out;
  }

  std::shared_ptr<board::Fleet> fleet_;
  std::shared_ptr<board::Board> board_;
  std::string key_;
};

}  // namespace

Result<std::unique_ptr<Backend>> start_in_process(const std::string& text, const std::string& path,
                                                  const VirtualBmcOptions& options) {
  auto config = daemon::parse_config(text, path.empty() ? "configuration" : path);
  if (!config) return config.error();
  board::FleetOptions fleet_options;
  // A run directory is a daemon's.
  const bool of_a_run = config->state_directory.find("${RUN}") != std::string::npos;
  fleet_options.state_directory = options.state.empty() && !of_a_run ? config->state_directory : options.state;
  auto created = board::Fleet::create(std::move(config->boards), fleet_options);
  if (!created) return created.error();
  std::shared_ptr<board::Fleet> fleet = *std::move(created);
  auto board = fleet->find(options.bmc.empty() ? fleet->names().front() : options.bmc);
  if (!board) return board.error();
  static std::atomic<unsigned> number{0};
  const std::string key = "virtual-bmc-" + std::to_string(::getpid()) + "-" + std::to_string(++number);
  pair::register_in_process_bus();
  pair::share_fleet(key, fleet);
  return std::unique_ptr<Backend>(std::make_unique<InProcess>(std::move(fleet), *std::move(board), key));
}

}  // namespace bmcpair::testing
