// Any request bytes to a whole firmware: there is always an answer, and it fits.
#include <cstdlib>
#include <memory>

#include "bmc_emu/firmware/bmc.h"
#include "proto/ipmi/message.h"

namespace {

using namespace bmcpair;

std::unique_ptr<firmware::Bmc> make_bmc() {
  firmware::BmcConfig config;
  firmware::SensorConfig sensor;
  sensor.name = "Temp";
  sensor.number = 1;
  sensor.initial = 40;
  sensor.thresholds.upper_critical = 90;
  config.sensors.push_back(sensor);
  config.frus.push_back({});
  config.satellites.push_back({});
  config.i2c_devices.push_back({});
  auto bmc = firmware::Bmc::create(std::move(config), std::make_shared<firmware::MemoryStore>(), nullptr, Instant{});
  if (!bmc.ok()) std::abort();
  return std::move(*bmc);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static std::unique_ptr<firmware::Bmc> bmc = make_bmc();
  static Instant now{};
  // Frames of a length byte and that many bytes, so that one input can hold a conversation.
  while (size > 0) {
    size_t n = data[0] < size - 1 ? data[0] : size - 1;
    auto request = ipmi::decode_request(ByteView(data + 1, n));
    data += n + 1;
    size -= n + 1;
    now += std::chrono::milliseconds(n);
    if (!request) continue;
    firmware::RequestContext context;
    auto response = bmc->execute(*request, context, now);
    if (response.data.size() + 3 > context.response_bytes_max) std::abort();
    bmc->run(now);
  }
  return 0;
}
