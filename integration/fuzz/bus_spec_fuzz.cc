// Bus specs as anybody may type them: taken apart or refused with a reason.
#include <cstdlib>
#include <string_view>

#include "host_driver/bus/bus.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace bmcpair;
  auto specs = bus::parse_bus_specs(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!specs.ok() && specs.error().message.empty()) std::abort();
  if (specs.ok() && specs->empty()) std::abort();
  return 0;
}
