// vfio_bridge: serves an interface of a remote BMC to a local QEMU as a PCI IPMI device.
#include <signal.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <mutex>
#include <optional>
#include <string>

#include "host_driver/bus/bus.h"
#include "vfio_bridge/lasting_port.h"
#include "vfio_bridge/server.h"

namespace {

using namespace bmcpair;

constexpr int kExitCannotServe = 1;
constexpr int kExitUsage = 2;

void say(std::string_view text) {
  static std::mutex mutex;
  std::lock_guard lock(mutex);
  std::fprintf(stderr, "vfio_bridge: %.*s\n", static_cast<int>(text.size()), text.data());
}

// Attaches anew for each client, so that the interface is free when no QEMU is there. A client that is served keeps its
// registers, whatever becomes of the BMC.
class BusProvider : public registers::PortProvider {
 public:
  BusProvider(bus::BusSpec spec, bus::OpenOptions options, std::optional<registers::InterfaceKind> kind, bool quiet)
      : spec_(std::move(spec)), options_(std::move(options)), asked_for_(kind), seen_(kind), quiet_(quiet) {}

  Result<std::unique_ptr<registers::RegisterPort>> attach(std::string_view, std::string_view who) override {
    vfio_bridge::LastingPortOptions lasting;
    auto first = open_first(who, lasting.kind);
    if (!first) return first.error();
    if (*first) lasting.has_interrupt = (*first)->has_interrupt();
    bus::OpenOptions options = options_;
    options.who = name_of(who);
    options.one_attachment = true;
    options.kind = lasting.kind;
    lasting.open = [this, options] { return bus::open_bus(spec_, options); };
    if (!quiet_) lasting.log = say;
    return std::unique_ptr<registers::RegisterPort>(
        std::make_unique<vfio_bridge::LastingPort>(std::move(lasting), *std::move(first)));
  }

  // The interface as it is now, which is asked for its kind. Null: nobody is there, and the kind is known without.
  // Errors: what a client is to be refused with.
  Result<std::unique_ptr<registers::RegisterPort>> open_first(std::string_view who, registers::InterfaceKind& kind) {
    std::lock_guard lock(mutex_);
    bus::OpenOptions options = options_;
    options.who = name_of(who);
    // Whoever can be served without the BMC does not wait long for it.
    if (seen_) options.attach_timeout = kPresenceWait;
    options.one_attachment = true;
    auto port = bus::open_bus(spec_, options);
    if (port) {
      kind = (*port)->kind();
      if (asked_for_ && *asked_for_ != kind) {
        return Error{ErrorCode::kInvalidArgument, spec_.text + " is a " + std::string(to_string(kind)) +
                                                      " interface, not " + std::string(to_string(*asked_for_))};
      }
      seen_ = kind;
      return port;
    }
    ErrorCode code = port.error().code;
    bool away = code == ErrorCode::kUnavailable || code == ErrorCode::kTimeout || code == ErrorCode::kShutdown;
    if (!away) return port;
    if (!seen_) {
      return Error{code, port.error().message + "; with --kind its registers would be served all the same"};
    }
    kind = *seen_;
    return std::unique_ptr<registers::RegisterPort>();
  }

 private:
  static constexpr Duration kPresenceWait = std::chrono::seconds(1);

  static std::string name_of(std::string_view who) { return "vfio_bridge for " + std::string(who); }

  const bus::BusSpec spec_;
  const bus::OpenOptions options_;
  std::mutex mutex_;
  const std::optional<registers::InterfaceKind> asked_for_;
  std::optional<registers::InterfaceKind> seen_;  // at first what was asked for
  const bool quiet_;
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "Serves an interface of a BMC that is reached over a bus to a local QEMU, as a PCI IPMI device over vfio-user.\n"
      "The BMC may be stopped, killed and started again meanwhile: the guest sees a BMC that reboots.\n"
      "QEMU (10.1 or later): -device "
      "'{\"driver\":\"vfio-user-pci\",\"socket\":{\"type\":\"unix\",\"path\":\"PATH\"}}'\n"
      "Exit status: 0 stopped by SIGTERM or SIGINT, 1 cannot serve, 2 wrong options."};
  std::string bus_text;
  vfio_bridge::Server::Options options;
  bus::OpenOptions open;
  std::string bar = "io";
  uint64_t vendor_id = options.pci.vendor_id;
  uint64_t device_id = options.pci.device_id;
  std::string kind_text;
  unsigned answer_ms = 100;
  bool no_interrupt = false;
  bool quiet = false;
  app.add_option("--bus", bus_text, "where the BMC is: grpc:TARGET#bmc/interface")->required();
  app.add_option("--socket", options.socket_path, "the unix socket to serve, made with mode 0600")->required();
  app.add_option("--kind", kind_text,
                 "kcs, bt or smic: serve its registers, as a rebooting BMC's, before the BMC was ever there")
      ->check(CLI::IsMember({"kcs", "bt", "smic"}));
  app.add_option("--answer-ms", answer_ms,
                 "how long one register access may wait for the BMC's daemon, before it counts as lost")
      ->check(CLI::Range(10u, 4000u))
      ->capture_default_str();
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

  std::optional<registers::InterfaceKind> kind;
  for (auto k : {registers::InterfaceKind::kKcs, registers::InterfaceKind::kBt, registers::InterfaceKind::kSmic}) {
    if (to_string(k) == kind_text) kind = k;
  }
  open.answer_timeout = std::chrono::milliseconds(answer_ms);
  BusProvider provider(*spec, open, kind, quiet);
  // A mistake in the spec is better said now than to QEMU. A BMC that is not there yet is none.
  registers::InterfaceKind found{};
  if (auto port = provider.open_first("a look at the start", found); port) {
    if (!quiet) say(spec->text + " is " + (*port ? "there, " : "not there yet, ") + std::string(to_string(found)));
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
