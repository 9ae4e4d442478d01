#include "host_driver/cli/run.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "host_driver/bus/grpc.h"
#include "host_driver/cli/child.h"
#include "host_driver/cli/hosted.h"
#include "host_driver/cli/program.h"
#include "host_driver/device_node/preload_library.h"
#include "host_driver/port_io/names.h"
#include "proto/base/address.h"

extern char** environ;

namespace bmcpair::cli {
namespace {

constexpr std::chrono::seconds kProgressAfter{3};
constexpr std::chrono::seconds kDaemonStartMax{300};  // a rack of thousands, on a machine that is busy
constexpr std::chrono::seconds kDaemonStopMax{5};
constexpr std::chrono::milliseconds kAskEach{1000};   // one question to a daemon that may not be there yet
constexpr std::chrono::milliseconds kAskPause{100};
constexpr size_t kDaemonErrorsKept = 16384;

using Clock = std::chrono::steady_clock;

void say(const std::string& line) { std::fputs(("host_driver: " + line + "\n").c_str(), stderr); }

// Ends run_program with this status; the message has not been said yet.
struct Ended {
  int exit_status;
  std::string message;
};
[[noreturn]] void fail(std::string message) { throw Ended{kExitRunFailed, std::move(message)}; }

int status_of(int wait_status) {
  return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

std::string how_ended(int wait_status) {
  return WIFSIGNALED(wait_status) ? "killed by signal " + std::to_string(WTERMSIG(wait_status))
                                  : "exit status " + std::to_string(WEXITSTATUS(wait_status));
}

// One end of a pipe, and what has come out of it so far.
class Lines {
 public:
  ~Lines() { close(); }
  // The end for the one who writes; the caller closes it.
  int open() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) fail(std::string("pipe: ") + std::strerror(errno));
    fd_ = ends[0];
    ::fcntl(fd_, F_SETFL, O_NONBLOCK);
    return ends[1];
  }
  int fd() const { return fd_; }
  // What can be read now; false at the end.
  bool read(bool show) {
    char buffer[4096];
    for (;;) {
      const ssize_t got = ::read(fd_, buffer, sizeof buffer);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0 && errno == EAGAIN) return true;
      if (got <= 0) {
        close();
        return false;
      }
      if (show) std::fwrite(buffer, 1, static_cast<size_t>(got), stderr);
      const size_t room = kDaemonErrorsKept - std::min(kDaemonErrorsKept, text_.size());
      text_.append(buffer, std::min(static_cast<size_t>(got), room));
    }
  }
  const std::string& text() const { return text_; }

 private:
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  int fd_ = -1;
  std::string text_;
};

// A bmc_emu of our own, on a socket in our folder and on nothing else.
class PrivateDaemon {
 public:
  // Returns before it is ready.
  PrivateDaemon(const RunOptions& options, const std::string& folder, const Signals& signals, bool verbose)
      : folder_(folder), verbose_(verbose) {
    std::error_code error;
    const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
    const std::string path = (self.parent_path() / "bmc_emu").string();
    if (error || ::access(path.c_str(), X_OK) != 0) {
      fail("bmc_emu is not where it is expected, " + path + ": install it there, or use one that runs with --bus");
    }
    StartOptions start;
    start.path = path;
    start.argv = {path, options.config, "--private", "--run-dir", folder, "--log-format", "text"};
    if (!options.state.empty()) start.argv.insert(start.argv.end(), {"--state", options.state});
    // Its options are these, not those that the environment has for other daemons.
    for (char** e = environ; *e; ++e) {
      if (std::strncmp(*e, "BMCPAIR_", 8) != 0) start.environment.push_back(*e);
    }
    start.apart = true;
    start.death_signal = SIGKILL;
    start.out = out_.open();
    start.err = err_.open();
    auto pid = start_program(start, signals);
    ::close(start.out);
    ::close(start.err);
    if (!pid.ok()) fail("bmc_emu: " + pid.error().message);
    pid_ = *pid;
  }
  ~PrivateDaemon() { stop(); }
  PrivateDaemon(const PrivateDaemon&) = delete;
  PrivateDaemon& operator=(const PrivateDaemon&) = delete;

  std::string address() const { return "unix:" + folder_ + "/bmc_emu.sock"; }
  pid_t pid() const { return pid_; }

  void wait_until_ready(Signals& signals) {
    const auto begin = Clock::now();
    bool progress = false;
    for (;;) {
      if (out_.text().find("bmc_emu: ready\n") != std::string::npos) return;
      if (out_.fd() < 0) refused();
      const auto now = Clock::now();
      if (!progress && now - begin >= kProgressAfter) {
        progress = true;
        say("starting bmc_emu takes its time...");
      }
      if (now - begin >= kDaemonStartMax) fail("bmc_emu was not ready after " + std::to_string(kDaemonStartMax.count()) + " s");
      poll_once(signals, 1000);
      if (int signal = signals.ending()) throw Ended{128 + signal, ""};
    }
  }
  void poll_once(const Signals& signals, int timeout_ms) {
    pollfd fds[3] = {{signals.fd(), POLLIN, 0}, {out_.fd(), POLLIN, 0}, {err_.fd(), POLLIN, 0}};
    ::poll(fds, 3, timeout_ms);
    if (fds[1].revents) out_.read(false);
    if (fds[2].revents) err_.read(verbose_);
  }
  // It has been waited for by somebody else.
  void reaped(int wait_status) {
    pid_ = -1;
    err_.read(verbose_);
    std::string last = err_.text();
    while (!last.empty() && last.back() == '\n') last.pop_back();
    if (const size_t line = last.rfind('\n'); line != std::string::npos) last = last.substr(line + 1);
    say("the private bmc_emu has ended (" + how_ended(wait_status) + "): its interfaces answer no more" +
        (last.empty() || verbose_ ? "" : "; it said last: " + last));
  }

 private:
  // It ended before it was ready; what it says of that is better than anything of ours.
  [[noreturn]] void refused() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    if (err_.fd() >= 0) err_.read(verbose_);
    if (!verbose_ && !err_.text().empty()) {
      std::fputs(err_.text().c_str(), stderr);
      throw Ended{kExitRunFailed, ""};
    }
    if (verbose_ && !err_.text().empty()) throw Ended{kExitRunFailed, ""};
    fail("bmc_emu ended before it was ready: " + how_ended(status));
  }

  void stop() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGTERM);
    const auto until = Clock::now() + kDaemonStopMax;
    pid_t gone = 0;
    while ((gone = ::waitpid(pid_, nullptr, WNOHANG)) == 0 || (gone < 0 && errno == EINTR)) {
      if (Clock::now() >= until) {
        ::kill(pid_, SIGKILL);
        while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
        }
        break;
      }
      // Its pipes must not fill; their end is its end.
      pollfd fds[2] = {{out_.fd(), POLLIN, 0}, {err_.fd(), POLLIN, 0}};
      ::poll(fds, 2, out_.fd() >= 0 || err_.fd() >= 0 ? 50 : 1);
      if (fds[0].revents) out_.read(false);
      if (fds[1].revents) err_.read(verbose_);
    }
    pid_ = -1;
  }

  const std::string folder_;
  const bool verbose_;
  Lines out_, err_;
  pid_t pid_ = -1;
};

// What the daemon of a spec has; waits for a daemon that is not there yet.
std::vector<HostedBus> interfaces_of(const bus::BusSpec& spec, const SessionOptions& options, Signals& signals) {
  const auto begin = Clock::now();
  bool progress = false;
  for (;;) {
    auto listed = bus::list_grpc(spec, options.open, std::min<Duration>(kAskEach, options.timeout));
    if (listed.ok()) {
      std::vector<HostedBus> out;
      for (bus::RemoteInterface& interface : *listed) {
        HostedBus bus{spec, interface.kind};
        bus.spec.path = interface.path;
        bus.spec.text = spec.scheme + ":" + spec.target + "#" + interface.path;
        out.push_back(std::move(bus));
      }
      return out;
    }
    const Error& error = listed.error();
    if (error.code != ErrorCode::kUnavailable && error.code != ErrorCode::kTimeout) fail(error.to_string());
    if (int signal = signals.ending()) throw Ended{128 + signal, ""};
    const auto now = Clock::now();
    if (now - begin >= options.timeout) {
      fail(error.to_string() + "; is bmc_emu running there? (--config FILE starts a private one)");
    }
    if (!progress && now - begin >= kProgressAfter) {
      progress = true;
      say("waiting for " + spec.target + "...");
    }
    pollfd fd{signals.fd(), POLLIN, 0};
    ::poll(&fd, 1, static_cast<int>(kAskPause.count()));
  }
}

std::vector<HostedBus> all_interfaces(const std::vector<bus::BusSpec>& specs, const SessionOptions& options, Signals& signals) {
  std::vector<HostedBus> out;
  for (const bus::BusSpec& spec : specs) {
    if (spec.scheme == "grpc") {
      auto more = interfaces_of(spec, options, signals);
      out.insert(out.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
    } else {
      out.push_back({spec, std::nullopt});
    }
  }
  return out;
}

class Environment {
 public:
  Environment() {
    for (char** e = environ; *e; ++e) {
      const char* entry = *e;
      const char* equals = std::strchr(entry, '=');
      if (equals) values_[std::string(entry, equals)] = equals + 1;
    }
  }
  void set(const std::string& name, std::string value) { values_[name] = std::move(value); }
  std::string get(const std::string& name) const {
    auto it = values_.find(name);
    return it == values_.end() ? "" : it->second;
  }
  std::vector<std::string> all() const {
    std::vector<std::string> out;
    for (const auto& [name, value] : values_) out.push_back(name + "=" + value);
    return out;
  }

 private:
  std::map<std::string, std::string> values_;
};

// The program in the foreground, until it ends: its status as wait() has it.
int see_through(pid_t child, Signals& signals, PrivateDaemon* daemon) {
  const bool at_terminal = ::isatty(STDIN_FILENO) == 1;
  for (;;) {
    if (daemon) {
      daemon->poll_once(signals, -1);
    } else {
      pollfd fd{signals.fd(), POLLIN, 0};
      ::poll(&fd, 1, -1);
    }
    bool children = false;
    while (auto signal = signals.next()) {
      if (signal->number == SIGCHLD) {
        children = true;
        continue;
      }
      // What a terminal sends, it has sent to the program as well, which is of our process group. What the program sent to its
      // whole group is not given back to it.
      // A terminal that hangs up tells nobody but its session's first process.
      const bool ours_alone = signal->number == SIGHUP && !signal->by_process && ::getsid(0) == ::getpid();
      if (ours_alone || (signal->by_process && signal->sender != child)) ::kill(child, signal->number);
    }
    // All there are: as the first process of a container we inherit those that others leave behind.
    while (children) {
      siginfo_t info{};
      if (::waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) break;
      const pid_t pid = info.si_pid;
      int status = 0;
      if (::waitpid(pid, &status, WNOHANG | WUNTRACED) != pid) continue;
      if (WIFSTOPPED(status)) {
        // A shell in its own process group that suspends itself means us, too: the shell that started us takes over. Programs of
        // our group have been stopped with us.
        if (pid == child && at_terminal && ::getpgid(child) != ::getpgrp()) {
          ::kill(::getpid(), SIGSTOP);
          ::kill(child, SIGCONT);
        }
        continue;
      }
      if (pid == child) return status;
      if (daemon && pid == daemon->pid()) daemon->reaped(status);
    }
  }
}

int run_checked(std::vector<bus::BusSpec> specs, const SessionOptions& session_options, const RunOptions& options, Signals& signals) {
  const bool verbose = session_options.log;
  auto devices_library = device_node::preload_value();
  if (!devices_library.ok()) fail(devices_library.error().to_string());
  const Program program = find_program(options.program.front(), std::getenv("PATH"), devices_library->find("$LIB") != std::string::npos);
  if (program.exit_status != 0) throw Ended{program.exit_status, program.why};
  if (!program.deaf.empty()) say(program.path + " " + program.deaf + ": it will find neither /dev/ipmi0 nor ports");

  std::vector<port_io::PortRange> ranges = port_io::usual_ports();
  if (!options.ports.empty()) {
    auto parsed = port_io::parse_ports(options.ports);
    if (!parsed.ok()) fail("--ports: " + parsed.error().message);
    ranges = *std::move(parsed);
  }
  std::string preload = *devices_library;
  if (auto library = device_node::find_library(port_io::kPreloadLibrary); library.ok()) {
    preload += ":" + *library;
  } else if (!options.ports.empty() && !ranges.empty()) {
    fail("--ports: " + library.error().to_string());
  } else {
    ranges.clear();
  }

  // Processes first, threads later.
  auto folder = ScratchFolder::make();
  if (!folder.ok()) fail(folder.error().message);
  std::optional<PrivateDaemon> daemon;
  Environment environment;
  if (!options.config.empty()) {
    daemon.emplace(options, folder->path(), signals, verbose);
    daemon->wait_until_ready(signals);
    auto spec = bus::parse_bus_spec("grpc:" + daemon->address());
    if (!spec.ok()) fail(spec.error().message);
    specs = {*std::move(spec)};
    environment.set("BMCPAIR_ADDRESS", daemon->address());
  } else {
    for (const bus::BusSpec& spec : specs) {
      if (spec.scheme != "grpc") continue;
      environment.set("BMCPAIR_ADDRESS", canonical_address(spec.target));
      break;
    }
  }

  std::vector<HostedBus> buses = all_interfaces(specs, session_options, signals);
  Hosted hosted(std::move(buses), session_options);

  device_node::ServerOptions devices;
  devices.socket_path = folder->path() + "/ipmi.sock";
  devices.devices = static_cast<unsigned>(hosted.size());
  devices.open_wait = session_options.timeout;
  devices.attach = [&hosted](unsigned device, Instant deadline) { return hosted.open_device(device, deadline); };
  if (verbose) devices.log = [](std::string line) { say(line); };
  auto devices_server = device_node::Server::create(devices);
  if (!devices_server.ok()) fail(devices_server.error().to_string());

  std::unique_ptr<port_io::Server> ports_server;
  auto mappings = hosted.mappings(ranges, !options.ports.empty());
  if (!mappings.ok()) fail(mappings.error().message);
  if (!ranges.empty()) {
    port_io::ServerOptions ports;
    ports.socket_path = folder->path() + "/ports.sock";
    ports.mappings = *std::move(mappings);
    ports.error = [](std::string line) { say("ports of " + line); };
    if (verbose) ports.log = [](std::string line) { say("ports of " + line); };
    auto server = port_io::Server::create(std::move(ports));
    if (!server.ok()) fail(server.error().to_string());
    ports_server = *std::move(server);
    environment.set(port_io::kSocketVariable, folder->path() + "/ports.sock");
  }
  if (verbose) {
    for (size_t i = 0; i < hosted.size(); ++i) say("/dev/ipmi" + std::to_string(i) + " is " + hosted.bus_text(i));
  }

  environment.set(device_node::kSocketVariable, devices.socket_path);
  const std::string preloaded = environment.get("LD_PRELOAD");
  environment.set("LD_PRELOAD", preloaded.empty() ? preload : preload + ":" + preloaded);
  StartOptions start;
  start.path = program.path;
  start.argv = options.program;
  start.environment = environment.all();
  start.death_signal = SIGTERM;
  if (int signal = signals.ending()) throw Ended{128 + signal, ""};
  auto child = start_program(start, signals);
  if (!child.ok()) throw Ended{child.error().code == ErrorCode::kNotFound ? 127 : 126, child.error().message};
  return status_of(see_through(*child, signals, daemon ? &*daemon : nullptr));
}

}  // namespace

int run_program(std::vector<bus::BusSpec> specs, SessionOptions session_options, const RunOptions& options) {
  Signals signals;
  try {
    return run_checked(std::move(specs), session_options, options, signals);
  } catch (const Ended& ended) {
    if (!ended.message.empty()) say(ended.message);
    return ended.exit_status;
  }
}

}  // namespace bmcpair::cli
