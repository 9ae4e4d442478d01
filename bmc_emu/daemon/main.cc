// bmc_emu: a configuration's BMCs, served over gRPC, vfio-user and QEMU's VM protocol until a signal says stop.
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "bmc_emu/board/fleet.h"
#include "bmc_emu/daemon/config.h"
#include "bmc_emu/daemon/fault_rules.h"
#include "bmc_emu/daemon/log.h"
#include "bmc_emu/daemon/options.h"
#include "bmc_emu/daemon/run_directory.h"
#include "bmc_emu/transport/grpc/server.h"
#include "bmc_emu/transport/vm_protocol/server.h"
#include "proto/base/address.h"
#include "vfio_bridge/server.h"

namespace bmcpair::daemon {
namespace {

int refuse(int code, const std::string& message) {
  std::fprintf(stderr, "bmc_emu: %s\n", message.c_str());
  return code;
}

void say(const std::string& line) { announce(line); }

// A pipe whose other end is gone, a file at its end, a terminal's ctrl-D: this process gets SIGTERM. What is read is nobody's.
void stop_with_stdin() {
  std::thread([] {
    char ignored[256];
    ssize_t n;
    do {
      n = ::read(STDIN_FILENO, ignored, sizeof ignored);
    } while (n > 0 || (n < 0 && errno == EINTR));
    ::kill(::getpid(), SIGTERM);
  }).detach();
}

size_t interfaces_of(const DaemonConfig& config) {
  size_t n = 0;
  for (const auto& board : config.boards) n += board.interfaces.size();
  return n;
}

std::string counted(size_t n, const char* what) { return std::to_string(n) + " " + what + (n == 1 ? "" : "s"); }

// Few: they sleep, or wait for the disk, far more than they compute.
unsigned default_threads() { return std::clamp(std::thread::hardware_concurrency(), 4u, 16u); }

int run(const Options& options) {
  auto loaded = load_config(options.config);
  if (!loaded) {
    std::fprintf(stderr, "%s\n", loaded.error().message.c_str());
    return kExitConfiguration;
  }
  DaemonConfig config = std::move(*loaded);
  std::string inventory = counted(config.boards.size(), "BMC") + ", " + counted(interfaces_of(config), "interface");
  if (options.check) {
    say(options.config + ": no mistake: " + inventory);
    return kExitOk;
  }
  start_log(options.log_level.empty() ? config.log_level : options.log_level, options.json);

  // Blocked in every thread from here on: they come to sigwait below, and to nobody else.
  sigset_t stop_signals;
  sigemptyset(&stop_signals);
  for (int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&stop_signals, signal);
  pthread_sigmask(SIG_BLOCK, &stop_signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a limit of a file's size is an error of the write

  if (options.only_run_directory) {
    config.listen.clear();
    config.vfio_user.clear();
    config.vm.clear();
    config.state_directory.clear();
  }
  const std::string run_directory = options.run_directory.empty() ? default_run_directory() : options.run_directory;
  std::vector<std::string> listen = options.listen.empty() ? config.listen : options.listen;
  if (listen.empty()) listen.push_back("unix:" + run_directory + "/bmc_emu.sock");
  bool needs_run_directory = options.listen.empty() && config.listen.empty();
  for (std::string& address : listen) {
    needs_run_directory = needs_run_directory || address.find("${RUN}") != std::string::npos;
    address = expand_run_directory(canonical_address(address), run_directory);
  }
  for (VfioUserConfig& socket : config.vfio_user) {
    needs_run_directory = needs_run_directory || socket.socket.find("${RUN}") != std::string::npos;
    socket.socket = expand_run_directory(socket.socket, run_directory);
  }
  for (VmConfig& socket : config.vm) {
    needs_run_directory = needs_run_directory || socket.listen.find("${RUN}") != std::string::npos;
    socket.listen = expand_run_directory(socket.listen, run_directory);
  }
  if (needs_run_directory || !options.run_directory.empty()) {
    if (Status made = make_private_directory(run_directory); !made) return refuse(kExitStart, made.error().message);
  }

  board::FleetOptions fleet_options;
  fleet_options.threads = options.threads ? options.threads : config.threads ? config.threads : default_threads();
  fleet_options.state_directory = expand_run_directory(options.state.value_or(config.state_directory), run_directory);
  fleet_options.state_failed = [folder = fleet_options.state_directory](const std::string& why) {
    if (why.empty()) {
      spdlog::info("state is kept again in {}", folder);
    } else {
      spdlog::error("state cannot be kept in {}: {}; commands that change it are refused until there is room and access", folder, why);
    }
  };
  auto begin = std::chrono::steady_clock::now();
  auto fleet = board::Fleet::create(std::move(config.boards), fleet_options);
  if (!fleet) return refuse(kExitStart, fleet.error().to_string());
  say(inventory + ", started in " +
      std::to_string(
          std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin).count()) +
      " ms");
  say(fleet_options.state_directory.empty() ? std::string("nothing survives a restart (no --state)")
                                            : "state is kept in " + fleet_options.state_directory);

  transport::GrpcServerOptions grpc_options;
  grpc_options.listen = listen;
  grpc_options.tls_certificate = options.tls_certificate.empty() ? config.tls.certificate : options.tls_certificate;
  grpc_options.tls_key = options.tls_key.empty() ? config.tls.key : options.tls_key;
  grpc_options.tls_client_ca = options.tls_client_ca.empty() ? config.tls.client_ca : options.tls_client_ca;
  grpc_options.parse_faults = [](std::string_view text, const std::string& file) { return parse_faults(text, file); };
  auto grpc = transport::GrpcServer::start(grpc_options, **fleet);
  if (!grpc) return refuse(kExitStart, grpc.error().to_string());
  for (const std::string& address : (*grpc)->addresses()) {
    bool unix_socket = address.rfind("unix:", 0) == 0;
    std::string how = unix_socket                    ? " (this user only)"
                      : grpc_options.tls_key.empty() ? " (TCP, plain text: whoever reaches it controls these BMCs)"
                      : grpc_options.tls_client_ca.empty() ? " (TCP, TLS, any client)"
                                                           : " (TCP, mutual TLS)";
    say("gRPC on " + address + how);
  }

  std::vector<std::unique_ptr<vfio_bridge::Server>> vfio;
  for (const VfioUserConfig& socket : config.vfio_user) {
    vfio_bridge::ServerOptions server;
    server.socket_path = socket.socket;
    server.port_path = socket.bmc + "/" + socket.interface;
    auto board = (*fleet)->find(socket.bmc);
    if (!board) return refuse(kExitStart, board.error().message);
    for (const auto& interface : (*board)->config().interfaces) {
      if (interface.name == socket.interface) {
        server.pci.kind = interface.kind;
        server.pci.intx = interface.interrupt;
      }
    }
    server.pci.bar = socket.bar == BarKind::kIo ? vfio_bridge::BarKind::kIo : vfio_bridge::BarKind::kMemory;
    server.pci.spacing = socket.spacing;
    server.drain_wait = std::chrono::milliseconds(500);  // a stop takes less than a second in all
    server.log = [path = server.port_path](std::string_view line) { spdlog::info("vfio-user {}: {}", path, line); };
    auto started = vfio_bridge::Server::start(std::move(server), **fleet);
    if (!started)
      return refuse(kExitStart,
                    "vfio-user socket of " + socket.bmc + "/" + socket.interface + ": " + started.error().to_string());
    vfio.push_back(std::move(*started));
    if (vfio.size() <= 16) say("vfio-user of " + socket.bmc + "/" + socket.interface + " on " + socket.socket);
  }
  if (vfio.size() > 16) say("... and " + std::to_string(vfio.size() - 16) + " more vfio-user sockets");

  std::vector<std::unique_ptr<transport::VmServer>> vm;
  for (const VmConfig& socket : config.vm) {
    auto board = (*fleet)->find(socket.bmc);
    if (!board) return refuse(kExitStart, board.error().message);
    transport::VmServerOptions server;
    server.listen = socket.listen;
    server.interface = socket.interface;
    const std::string path = socket.bmc + "/" + socket.interface;
    server.log = [path](std::string_view line) { spdlog::info("VM {}: {}", path, line); };
    auto started = transport::VmServer::start(std::move(server), *board);
    if (!started) return refuse(kExitStart, "VM socket of " + path + ": " + started.error().to_string());
    vm.push_back(std::move(*started));
    if (vm.size() <= 16) say("VM protocol of " + path + " on " + vm.back()->address());
  }
  if (vm.size() > 16) say("... and " + std::to_string(vm.size() - 16) + " more VM sockets");
  say("ready");
  if (options.stop_with_stdin) stop_with_stdin();

  int signal = 0;
  sigwait(&stop_signals, &signal);
  spdlog::info("signal {}: stopping", signal);
  // A second signal ends it as it would any program.
  pthread_sigmask(SIG_UNBLOCK, &stop_signals, nullptr);
  for (auto& server : vfio) server->begin_stop();
  (*grpc)->stop();
  for (auto& server : vm) server->stop();
  for (auto& server : vfio) server->stop();
  (*fleet)->shutdown();
  vfio.clear();
  vm.clear();
  spdlog::info("stopped");
  spdlog::shutdown();
  return kExitOk;
}

}  // namespace
}  // namespace bmcpair::daemon

int main(int argc, char** argv) {
  using namespace bmcpair::daemon;
  try {
    ParsedOptions parsed = parse_options(argc, argv);
    if (parsed.exit_code) return *parsed.exit_code;
    if (parsed.options.schema) {
      std::fputs(config_schema_json().c_str(), stdout);
      return kExitOk;
    }
    return run(parsed.options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bmc_emu: internal failure: %s\n", error.what());
    return kExitInternal;
  }
}
