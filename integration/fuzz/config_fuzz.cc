// Any text as a configuration: an answer, with bounded time and memory, and never a crash.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "bmc_emu/daemon/config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  bmcpair::daemon::ConfigLimits limits;
  limits.text_bytes_max = 64u << 10;
  limits.nodes_max = 20'000;
  limits.boards_max = 16;
  limits.file_bytes_max = 4096;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  auto config = bmcpair::daemon::parse_config(text, "fuzz.yaml", limits);
  if (config) {
    if (config->boards.empty() || config->boards.size() > limits.boards_max) std::abort();
  } else if (config.error().message.empty()) {
    std::abort();
  }
  return 0;
}
