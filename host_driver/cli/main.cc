#include "host_driver/cli/cli.h"
#include "integration/pair/in_process_bus.h"

int main(int argc, char** argv) {
  bmcpair::pair::register_in_process_bus();
  return bmcpair::cli::run(argc, argv);
}
