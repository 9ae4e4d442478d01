#include "host_driver/cli/serve.h"

#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "host_driver/device_node/preload_library.h"
#include "host_driver/device_node/server.h"
#include "proto/base/address.h"

namespace bmcpair::cli {

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
  signalfd_siginfo info;
  while (::read(signal_fd, &info, sizeof info) < 0 && errno == EINTR) {
  }
  server->reset();
  ::close(signal_fd);
  return {};
}

}  // namespace bmcpair::cli
