// Any text as fault rules: an answer, never a crash; and a rule that is accepted says the same in its short form.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "bmc_emu/daemon/fault_rules.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace bmcpair;
  daemon::ConfigLimits limits;
  limits.text_bytes_max = 64u << 10;
  limits.nodes_max = 20'000;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  auto rules = daemon::parse_faults(text, "fuzz", limits);
  if (!rules) {
    if (rules.error().message.empty()) std::abort();
    return 0;
  }
  if (rules->empty()) std::abort();
  for (const faults::Rule& rule : *rules) {
    if (!faults::check(rule).ok()) std::abort();
    if (rule.name.find_first_of(" \t#=") != std::string::npos) continue;  // the short form has no quotes
    auto again = daemon::parse_faults(faults::to_text(rule), "again", limits);
    if (!again || again->size() != 1 || !(again->front() == rule)) std::abort();
  }
  return 0;
}
