#include "integration/bench/rig.h"

#include <array>

#include "host_driver/bus/bus.h"
#include "proto/ipmi/message.h"
#include "proto/registers/bt.h"

namespace bmcpair::bench {

std::vector<board::BoardConfig> boards(unsigned n, registers::InterfaceKind kind) {
  std::vector<board::BoardConfig> out;
  out.reserve(n);
  for (unsigned i = 0; i < n; ++i) {
    board::BoardConfig config;
    config.firmware.name = "b" + std::to_string(i);
    config.firmware.identity.manufacturer_id = 0x157;
    config.firmware.identity.product_id = static_cast<uint16_t>(i);
    for (size_t byte = 0; byte < 4; ++byte) {
      config.firmware.identity.device_guid[byte] = static_cast<uint8_t>((i + 1) >> (8 * byte));
    }
    firmware::SensorConfig temperature;
    temperature.name = "Temp";
    temperature.number = 1;
    temperature.initial = 40;
    temperature.thresholds.upper_non_critical = 80;
    temperature.thresholds.upper_critical = 90;
    config.firmware.sensors.push_back(temperature);
    firmware::SensorConfig supply;
    supply.name = "PSU";
    supply.number = 2;
    supply.threshold = false;
    supply.sensor_type = 0x08;
    supply.initial_state = 1;
    config.firmware.sensors.push_back(supply);
    board::InterfaceConfig interface;
    interface.name = "si";
    interface.kind = kind;
    interface.seed = i + 1;
    config.interfaces.push_back(std::move(interface));
    out.push_back(std::move(config));
  }
  return out;
}

std::unique_ptr<board::Fleet> fleet_of(std::vector<board::BoardConfig> configs, board::FleetOptions options) {
  return need(board::Fleet::create(std::move(configs), std::move(options)));
}

const char* to_string(Transport transport) {
  switch (transport) {
    case Transport::kInProcess: return "in-process";
    case Transport::kGrpc: return "gRPC";
    case Transport::kVfioUser: return "vfio-user";
  }
  return "?";
}

Rig::Rig(Transport transport, registers::InterfaceKind kind, Duration response) : transport_(transport) {
  auto configs = boards(1, kind);
  if (response > Duration{}) configs[0].interfaces[0].latency.response = {hardware::Latency::Shape::kFixed, response, response};
  fleet_ = fleet_of(std::move(configs));
  board_ = need(fleet_->find("b0"));
  if (transport == Transport::kGrpc) {
    transport::GrpcServerOptions options;
    options.listen = {"unix:" + (folder_ / "grpc")};
    grpc_ = need(transport::GrpcServer::start(options, *fleet_));
  } else if (transport == Transport::kVfioUser) {
    vfio_bridge::ServerOptions options;
    options.socket_path = folder_ / "vfio";
    options.port_path = "b0/si";
    options.pci.kind = kind;
    vfio_ = need(vfio_bridge::Server::start(std::move(options), *fleet_));
  }
}

std::unique_ptr<registers::RegisterPort> Rig::open() {
  if (transport_ == Transport::kInProcess) return need(fleet_->attach("b0/si", "bench"));
  std::string text = transport_ == Transport::kGrpc ? "grpc:unix:" + (folder_ / "grpc") + "#b0/si" : "vfio-user:" + (folder_ / "vfio");
  bus::OpenOptions options;
  options.who = "bench";
  return need(bus::open_bus(need(bus::parse_bus_spec(text)), options));
}

void bt_ask(registers::RegisterPort& port) {
  using namespace registers::bt;
  static constexpr std::array<uint8_t, 4> kGetDeviceId{3, ipmi::kNetFnApp << 2, 7, 0x01};
  port.write(kCtrl, kClrWrPtr);
  port.write_burst(kBuffer, kGetDeviceId);
  port.write(kCtrl, kH2bAtn);
}

bool bt_answered(registers::RegisterPort& port) {
  return (port.read(registers::bt::kCtrl) & registers::bt::kB2hAtn) != 0;
}

size_t bt_take(registers::RegisterPort& port) {
  using namespace registers::bt;
  port.write(kCtrl, kHBusy);
  port.write(kCtrl, kB2hAtn);
  port.write(kCtrl, kClrRdPtr);
  std::array<uint8_t, 256> frame{};
  size_t n = port.read_counted(kBuffer, frame);
  port.write(kCtrl, kHBusy);
  return n;
}

}  // namespace bmcpair::bench
