#include "host_driver/cli/serve.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <numeric>

#include "host_driver/device_node/preload_library.h"
#include "host_driver/device_node/server.h"
#include "host_driver/runtime/runtime.h"
#include "proto/base/address.h"

namespace bmcpair::cli {
namespace {

// How long an interface may take before it is said that it does.
constexpr Duration kNotUpYet = std::chrono::seconds(3);
constexpr int kLookEachMs = 50;

// Says of each interface when it is up for the first time, and why one is not where that takes its time. Returns when all were
// said to be up, or when a signal has come.
void report_until_all_are_up(Session& session, int signal_fd) {
  const Instant begin = rt::now();
  std::vector<size_t> awaited(session.size());
  std::iota(awaited.begin(), awaited.end(), size_t{0});
  bool late_ones_said = false;
  while (!awaited.empty()) {
    const bool late = !late_ones_said && rt::now() - begin >= kNotUpYet;
    std::erase_if(awaited, [&](size_t i) {
      const auto described = session.describe(i);
      if (described.ok() && described->number >= 0) {
        std::printf("/dev/ipmi%zu is up\n", i);
        std::fflush(stdout);
        return true;
      }
      if (late) {
        const std::string why = described.ok() ? described->status.reason : described.error().message;
        std::fprintf(stderr, "host_driver: /dev/ipmi%zu is not up yet%s%s; it is tried again until it is\n", i, why.empty() ? "" : ": ",
                     why.c_str());
      }
      return false;
    });
    late_ones_said = late_ones_said || late;
    pollfd signal{signal_fd, POLLIN, 0};
    if (!awaited.empty() && ::poll(&signal, 1, kLookEachMs) != 0) return;
  }
}

}  // namespace

std::string default_device_socket() {
  const std::filesystem::path daemon = default_socket_path(std::getenv("XDG_RUNTIME_DIR"), ::getuid());
  return (daemon.parent_path() / "ipmi.sock").string();
}

Status serve(std::vector<bus::BusSpec> specs, SessionOptions session_options, const ServeOptions& options) {
  // Blocked before the first thread is made, so that only the read below sees them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  const int signal_fd = ::signalfd(-1, &signals, SFD_CLOEXEC);

  const Duration open_wait = session_options.timeout;
  const bool log = session_options.log;
  Session session(std::move(specs), std::move(session_options));
  device_node::ServerOptions server_options;
  server_options.socket_path = options.socket.empty() ? default_device_socket() : options.socket;
  server_options.socket_mode = options.mode;
  server_options.devices = static_cast<unsigned>(session.size());
  server_options.open_wait = open_wait;
  if (log) server_options.log = [](std::string line) { std::fputs((line + "\n").c_str(), stderr); };
  server_options.attach = [&session](unsigned device, Instant deadline) -> Result<device_node::Attached> {
    auto number = session.registered_number(device, deadline);
    if (!number) return Error{number.error().code, session.bus_text(device) + ": " + number.error().to_string()};
    return device_node::Attached{&session.message_handler(), *number};
  };
  auto server = device_node::Server::create(std::move(server_options));
  if (!server) {
    ::close(signal_fd);
    return server.error();
  }
  for (size_t i = 0; i < session.size(); ++i) std::printf("/dev/ipmi%zu is %s\n", i, session.bus_text(i).c_str());
  std::printf("for programs started with\n");
  if (auto preload = device_node::preload_value()) {
    std::printf("  LD_PRELOAD='%s' %s=%s\n", preload->c_str(), device_node::kSocketVariable, (*server)->socket_path().c_str());
  } else {
    std::printf("  LD_PRELOAD=%s %s=%s\n", device_node::kPreloadLibrary, device_node::kSocketVariable,
                (*server)->socket_path().c_str());
    std::fputs(("host_driver: " + preload.error().message + "\n").c_str(), stderr);
  }
  std::printf("serving\n");
  std::fflush(stdout);
  report_until_all_are_up(session, signal_fd);
  signalfd_siginfo info;
  while (::read(signal_fd, &info, sizeof info) < 0 && errno == EINTR) {
  }
  server->reset();
  ::close(signal_fd);
  return {};
}

}  // namespace bmcpair::cli
