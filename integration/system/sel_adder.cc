// sel_adder BUS ROUND: adds SEL entries through a host driver, one after another, and prints "acknowledged ROUND N" for each that
// the BMC acknowledged. Ends with the first that was not.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "host_driver/bus/bus.h"
#include "host_driver/cli/inventory.h"
#include "host_driver/cli/session.h"

int main(int argc, char** argv) {
  using namespace bmcpair;
  if (argc != 3) return 2;
  auto specs = bus::parse_bus_specs(argv[1]);
  if (!specs.ok()) return 2;
  const auto round = static_cast<uint8_t>(std::atoi(argv[2]));
  cli::SessionOptions options;
  options.timeout = std::chrono::seconds(60);
  options.open.who = "sel_adder";
  cli::Session session(std::move(*specs), options);
  if (auto opened = session.open(0); !opened.ok()) {
    std::fprintf(stderr, "%s\n", opened.error().message.c_str());
    return 3;
  }
  auto send = session.request_function(0);
  for (unsigned n = 0; n < 65536; ++n) {
    Bytes record{0, 0, 2, 0, 0, 0, 0, 0x20, 0, 4, 1, 1, 1, round, static_cast<uint8_t>(n), static_cast<uint8_t>(n >> 8)};
    auto added = cli::add_sel(send, record);
    if (!added.ok()) {
      std::fprintf(stderr, "%s\n", added.error().message.c_str());
      return 1;
    }
    std::printf("acknowledged %u %u\n", round, n);
    std::fflush(stdout);
  }
  return 0;
}
