// vfio_bridge: serves an interface of a remote BMC to a local QEMU as a PCI IPMI device.
#include <signal.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <mutex>
#include <string>

#include "host_driver/bus/bus.h"
#include "vfio_bridge/server.h"

namespace {

using namespace bmcpair;

constexpr int kExitCannotServe = 1;
constexpr int kExitUsage = 2;

// Attaches anew for each client, so that the interface is free when no QEMU is there.
class BusProvider : public registers::PortProvider {
 public:
  BusProvider(bus::BusSpec spec, bus::OpenOptions options) : spec_(std::move(spec)), options_(std::move(options)) {}

  Result<std::unique_ptr<registers::RegisterPort>> attach(std::string_view, std::string_view who) override {
    bus::OpenOptions options = options_;
    options.who = "vfio_bridge for " + std::string(who);
    return bus::open_bus(spec_, options);
  }

 private:
  const bus::BusSpec spec_;
  const bus::OpenOptions options_;
};

void say(std::string_view text) {
  static std::mutex mutex;
  std::lock_guard lock(mutex);
  std::fprintf(stderr, "vfio_bridge: %.*s\n", static_cast<int>(text.size()), text.data());
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "Serves an interface of a BMC that is reached over a bus to a local QEMU, as a PCI IPMI device over vfio-user.\n"
      "QEMU (10.1 or later): -device "
      "'{\"driver\":\"vfio-user-pci\",\"socket\":{\"type\":\"unix\",\"path\":\"PATH\"}}'\n"
      "Exit status: 0 stopped by SIGTERM or SIGINT, 1 cannot serve, 2 wrong options."};
  std::string bus_text;
  vfio_bridge::Server::Options options;
  bus::OpenOptions open;
  std::string bar = "io";
  uint64_t vendor_id = options.pci.vendor_id;
  uint64_t device_id = options.pci.device_id;
  bool no_interrupt = false;
  bool quiet = false;
  app.add_option("--bus", bus_text, "where the BMC is: grpc:TARGET#bmc/interface")->required();
  app.add_option("--socket", options.socket_path, "the unix socket to serve, made with mode 0600")->required();
  app.add_option("--bar", bar, "BAR0: io or memory")->check(CLI::IsMember({"io", "memory"}))->capture_default_str();
  app.add_option("--spacing", options.pci.spacing,
                 "bytes from register to register; Linux takes 4 and 16 on an I/O BAR only")
      ->check(CLI::IsMember({1u, 4u, 16u}))
      ->capture_default_str();
  app.add_option("--vendor-id", vendor_id, "PCI vendor id")->check(CLI::Range(uint64_t{1}, uint64_t{0xfffe}));
  app.add_option("--device-id", device_id, "PCI device id")->check(CLI::Range(uint64_t{0}, uint64_t{0xffff}));
  app.add_flag("--no-interrupt", no_interrupt, "no interrupt pin: the guest polls");
  app.add_option("--tls-ca", open.tls_ca, "PEM file of the authorities that the BMC's certificate may come from");
  app.add_option("--tls-certificate", open.tls_certificate, "PEM file of our certificate");
  app.add_option("--tls-key", open.tls_key, "PEM file of its key");
  app.add_flag("--quiet", quiet, "say only what stops us");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : kExitUsage;
  }
  auto spec = bus::parse_bus_spec(bus_text);
  if (!spec) {
    say(spec.error().message);
    return kExitUsage;
  }
  options.pci.bar = bar == "io" ? vfio_bridge::BarKind::kIo : vfio_bridge::BarKind::kMemory;
  options.pci.intx = !no_interrupt;
  options.pci.vendor_id = static_cast<uint16_t>(vendor_id);
  options.pci.device_id = static_cast<uint16_t>(device_id);
  options.port_path = spec->path;
  if (!quiet) options.log = say;

  // Before any thread is made, so that the signals come to sigwait alone.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);

  BusProvider provider(*spec, open);
  // A mistake in the spec is better said now than to QEMU. A BMC that is not there yet is none.
  if (auto port = provider.attach({}, "a look at the start"); port) {
    if (!quiet) say(spec->text + " is there, " + std::string(to_string((*port)->kind())));
  } else if (port.error().code == ErrorCode::kInvalidArgument) {
    say(port.error().to_string());
    return kExitUsage;
  } else if (!quiet) {
    say(port.error().to_string() + "; this is tried again when a client comes");
  }

  auto server = vfio_bridge::Server::start(options, provider);
  if (!server) {
    say(server.error().to_string());
    return server.error().code == ErrorCode::kInvalidArgument ? kExitUsage : kExitCannotServe;
  }
  if (!quiet) say("serving " + spec->text + " on " + options.socket_path);
  int number = 0;
  sigwait(&signals, &number);
  if (!quiet) say("stopping");
  (*server)->stop();
  return 0;
}
