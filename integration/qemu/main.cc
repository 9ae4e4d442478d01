// bmc_guest: a bmc_emu, a Linux guest on its registers, and commands or a shell in that guest. scripts/guest builds and
// runs it.
#include <spawn.h>
#include <sys/wait.h>
#include <yaml-cpp/yaml.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "integration/qemu/guest.h"

extern char** environ;

namespace {

using namespace bmcpair::integration;
using namespace std::chrono_literals;

constexpr int kExitFailed = 125;
constexpr int kExitUsage = 2;
constexpr int kExitTimeLimit = 124;

struct Options {
  std::string config = source_file("configs/demo.yaml");
  std::string bmc;
  std::string face = "vfio-user";
  std::string interface = "bt";
  std::string bar = "io";
  int spacing = 1;
  bool no_interrupt = false;
  bool bridge = false;
  std::string machine = "pc";
  int cpus = 1;
  int memory_mb = 256;
  std::string kernel = "debian12";
  std::string qemu;
  std::string append;
  std::string modules;
  int limit_s = 300;
  bool shell = false;
  bool keep_logs = false;
  std::vector<std::string> lines;
};

volatile std::sig_atomic_t stop_signal = 0;
void on_signal(int number) { stop_signal = number; }

class WrongUse : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

void say(const std::string& text) { std::fprintf(stderr, "bmc_guest: %s\n", text.c_str()); }

std::string quoted(const std::string& word) {
  if (!word.empty() &&
      word.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%") ==
          std::string::npos) {
    return word;
  }
  std::string out = "'";
  for (char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::vector<std::string> kinds_of(const Options& options) {
  if (options.interface == "both") return {"bt", "kcs"};
  return {options.interface};
}

// The configuration's BMC with the interfaces that were asked for, in place of its own.
std::string configuration(const Options& options, std::string* bmc) {
  YAML::Node root;
  try {
    root = YAML::LoadFile(options.config);
  } catch (const std::exception& error) {
    throw WrongUse("cannot read " + options.config + ": " + error.what());
  }
  YAML::Node chosen;
  if (root["bmcs"] && root["bmcs"].IsSequence()) {
    for (const YAML::Node& one : root["bmcs"]) {
      if (!one.IsMap() || !one["name"]) continue;
      if (options.bmc.empty() || one["name"].as<std::string>() == options.bmc) {
        chosen.reset(one);
        break;
      }
    }
  }
  if (!chosen.IsMap()) {
    throw WrongUse(options.config + " has no BMC" +
                   (options.bmc.empty() ? std::string() : " named '" + options.bmc + "'"));
  }
  *bmc = chosen["name"].as<std::string>();
  YAML::Node interfaces(YAML::NodeType::Sequence);
  for (const std::string& kind : kinds_of(options)) {
    YAML::Node interface;
    interface["kind"] = kind;
    if (chosen["interfaces"] && chosen["interfaces"].IsSequence()) {
      for (const YAML::Node& one : chosen["interfaces"]) {
        if (one.IsMap() && one["kind"] && one["kind"].as<std::string>() == kind && one["latency"])
          interface["latency"] = one["latency"];
      }
    }
    interface["interrupt"] = !options.no_interrupt;
    if (options.face == "vm") {
      interface["vm"]["listen"] = "unix:${RUN}/" + kind + ".sock";
    } else if (!options.bridge) {
      interface["vfio_user"]["socket"] = "${RUN}/" + kind + ".sock";
      interface["vfio_user"]["bar"] = options.bar;
      interface["vfio_user"]["spacing"] = options.spacing;
    }
    interfaces.push_back(interface);
  }
  chosen["interfaces"] = interfaces;
  YAML::Node bmcs(YAML::NodeType::Sequence);
  bmcs.push_back(chosen);
  root["bmcs"] = bmcs;
  YAML::Emitter out;
  out << root;
  return out.c_str();
}

// Ends QEMU when the time is over or a signal comes, and says from time to time that the guest still boots.
class Watch {
 public:
  explicit Watch(int limit_s) : limit_s_(limit_s), thread_([this] { watch(); }) {}
  ~Watch() { stop(); }
  void stop() {
    done_ = true;
    if (thread_.joinable()) thread_.join();
  }
  void qemu(pid_t pid) { pid_ = pid; }
  void booted() { booting_ = false; }
  bool time_is_over() const { return over_; }

 private:
  void watch() {
    auto began = std::chrono::steady_clock::now();
    int said = 0;
    while (!done_) {
      std::this_thread::sleep_for(100ms);
      int seconds = static_cast<int>((std::chrono::steady_clock::now() - began) / 1s);
      if (booting_ && seconds / 5 > said) {
        said = seconds / 5;
        say("still booting, " + std::to_string(seconds) + " s");
      }
      if (limit_s_ > 0 && seconds >= limit_s_) over_ = true;
      pid_t pid = pid_;
      if ((over_ || stop_signal != 0) && pid > 0) {
        ::kill(pid, SIGKILL);
        return;
      }
    }
  }

  int limit_s_;
  std::atomic<bool> done_{false}, over_{false}, booting_{true};
  std::atomic<pid_t> pid_{-1};
  std::thread thread_;
};

// QEMU with this terminal as the guest's console, to its end.
int run_shell(const GuestOptions& options, Watch& watch) {
  GuestAssets assets = guest_assets(options.kernel);
  std::vector<std::string> argv{"setpriv", "--pdeathsig", "KILL", "--"};
  for (std::string& word : guest_command_line(options, assets, assets.initramfs)) argv.push_back(std::move(word));
  argv.insert(argv.end(), {"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"});
  std::vector<char*> args;
  for (std::string& a : argv) args.push_back(a.data());
  args.push_back(nullptr);
  pid_t pid = -1;
  if (int error = ::posix_spawnp(&pid, args[0], nullptr, nullptr, args.data(), environ); error != 0) {
    throw std::runtime_error("cannot start " + argv[0] + ": " + std::strerror(error));
  }
  watch.qemu(pid);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  watch.qemu(-1);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string kept_folder() {
  const char* chosen = std::getenv("TMPDIR");
  std::string pattern = std::string(chosen && *chosen ? chosen : "/tmp") + "/bmcpair-guest-logs.XXXXXX";
  return ::mkdtemp(pattern.data()) ? pattern : std::string();
}

int run(const Options& options) {
  guest_assets(options.kernel == "newest" ? GuestKernel::kNewest
                                          : GuestKernel::kDebian12);  // before anything is started
  TemporaryFolder folder;
  std::string bmc;
  write_file(folder / "guest.yaml", configuration(options, &bmc));
  std::optional<Daemon> daemon;
  std::vector<std::unique_ptr<Process>> bridges;
  std::unique_ptr<Guest> guest;
  Watch watch(options.limit_s);
  int status = 0;
  std::string failure;
  try {
    daemon.emplace(folder, folder / "guest.yaml");
    GuestOptions want;
    int irq = 5;
    for (const std::string& kind : kinds_of(options)) {
      std::string socket = folder / (kind + ".sock");
      if (options.bridge) {
        std::vector<std::string> argv{program("vfio_bridge"),
                                      "--bus",
                                      daemon->bus(bmc + "/" + kind),
                                      "--socket",
                                      socket,
                                      "--bar",
                                      options.bar,
                                      "--spacing",
                                      std::to_string(options.spacing)};
        bridges.push_back(std::make_unique<Process>(argv));
        if (!bridges.back()->wait_for_output("serving"))
          throw std::runtime_error("vfio_bridge did not start: " + bridges.back()->err());
      }
      want.devices.push_back(options.face == "vm" ? GuestDevice::vm(kind, socket, options.no_interrupt ? 0 : irq)
                                                  : GuestDevice::vfio_user(socket));
      irq = 10;
    }
    want.machine = options.machine;
    want.cpus = options.cpus;
    want.memory_mb = options.memory_mb;
    want.kernel = options.kernel == "newest" ? GuestKernel::kNewest : GuestKernel::kDebian12;
    want.qemu = options.qemu;
    want.append = options.append;
    if (!options.modules.empty()) want.modules = options.modules;
    say("the BMC '" + bmc + "' runs; bmcctl --address " + daemon->address());
    say("booting Linux " + guest_assets(want.kernel).release + " on " + options.machine + ", " +
        std::to_string(options.cpus) + (options.cpus == 1 ? " CPU" : " CPUs") + ", with " + options.interface +
        " over " +
        (options.face == "vm" ? std::string("the VM protocol")
         : options.bridge     ? "vfio-user and vfio_bridge"
                              : "vfio-user"));
    if (options.shell) {
      want.append += " bmcpair.shell";
      watch.booted();
      status = run_shell(want, watch);
    } else {
      want.wait_ready = false;
      guest = std::make_unique<Guest>(folder, want);
      watch.qemu(guest->qemu().pid());
      guest->wait_ready(std::chrono::seconds(options.limit_s > 0 ? options.limit_s + 5 : 600));
      watch.booted();
      for (const std::string& line : options.lines) {
        if (options.lines.size() > 1) say("$ " + line);
        Ran ran = guest->run(line, std::chrono::seconds(options.limit_s > 0 ? options.limit_s + 5 : 86'400));
        std::fwrite(ran.out.data(), 1, ran.out.size(), stdout);
        std::fflush(stdout);
        std::fwrite(ran.err.data(), 1, ran.err.size(), stderr);
        status = ran.status;
        if (status != 0) break;
      }
    }
  } catch (const WrongUse&) {
    throw;
  } catch (const std::exception& error) {
    failure = error.what();
    status = kExitFailed;
  }
  watch.stop();
  if (watch.time_is_over()) {
    failure = "the time limit of " + std::to_string(options.limit_s) + " s passed\n" + failure;
    status = kExitTimeLimit;
  } else if (stop_signal != 0) {
    failure.clear();
    status = 128 + stop_signal;
  }
  std::string console = guest ? guest->console() : "",
              qemu_log = guest ? guest->qemu().out() + guest->qemu().err() : "";
  guest.reset();
  bridges.clear();
  if (daemon) daemon->stop();
  if (!failure.empty()) say(failure);
  if (!failure.empty() || options.keep_logs) {
    if (std::string kept = kept_folder(); !kept.empty()) {
      write_file(kept + "/console.log", console);
      write_file(kept + "/qemu.log", qemu_log);
      write_file(kept + "/bmc_emu.log", daemon ? daemon->process().out() + daemon->process().err() : "");
      std::filesystem::copy_file(folder / "guest.yaml", kept + "/guest.yaml");
      say("logs are kept in " + kept);
    }
  }
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  std::vector<std::string> words;
  CLI::App app{
      "Boots a Linux guest whose own IPMI driver drives the registers of a virtual BMC, and runs commands in it.",
      "scripts/guest"};
  app.footer(
      "A single argument after -- is a line of shell; several are the words of one command. Exit status: the last "
      "command's;\n"
      "2 usage, 124 the time limit passed, 125 the guest could not be started or ended before its time.\n\n"
      "  scripts/guest --face vfio-user --interface bt -- ipmitool mc info\n"
      "  scripts/guest --interface both --smp 2 --run 'ipmitool -d 0 sdr' --run 'ipmitool -d 1 sel list'\n"
      "  scripts/guest --face vm --interface kcs --shell");
  app.add_option("--face", options.face,
                 "How the registers get into QEMU: vfio-user (a PCI device), vm (QEMU's own ISA devices)")
      ->check(CLI::IsMember({"vfio-user", "vm"}))
      ->capture_default_str();
  app.add_option("--interface", options.interface, "bt, kcs or both")
      ->check(CLI::IsMember({"bt", "kcs", "both"}))
      ->capture_default_str();
  app.add_option("--bar", options.bar, "vfio-user: io or memory")
      ->check(CLI::IsMember({"io", "memory"}))
      ->capture_default_str();
  app.add_option("--spacing", options.spacing, "vfio-user: bytes from a register to the next")
      ->check(CLI::IsMember({1, 4, 16}))
      ->capture_default_str();
  app.add_flag("--no-interrupt", options.no_interrupt, "The guest has to poll");
  app.add_flag("--bridge", options.bridge, "vfio-user: a vfio_bridge between QEMU and bmc_emu");
  app.add_option("--machine", options.machine, "pc or q35")->check(CLI::IsMember({"pc", "q35"}))->capture_default_str();
  app.add_option("--smp", options.cpus, "CPUs of the guest")->check(CLI::Range(1, 16))->capture_default_str();
  app.add_option("--memory", options.memory_mb, "MB of the guest")
      ->check(CLI::Range(128, 65536))
      ->capture_default_str();
  app.add_option("--kernel", options.kernel, "debian12, or newest: of trixie-backports")
      ->check(CLI::IsMember({"debian12", "newest"}))
      ->capture_default_str();
  app.add_option("--qemu", options.qemu, "Another QEMU than the fetched one; vfio-user needs 10.1 or later");
  app.add_option("--append", options.append, "More of the kernel's command line, e.g. ipmi_si.unload_when_empty=0");
  app.add_option("--modules", options.modules,
                 "Modules to load, by commas; none: nothing (default ipmi_msghandler,ipmi_devintf,ipmi_si)");
  app.add_option("--config", options.config,
                 "Configuration whose BMC is served; its interfaces are replaced by those asked for here");
  app.add_option("--bmc", options.bmc, "Which BMC of the configuration (default: the first)");
  app.add_option("--run", options.lines,
                 "A line of shell to run in the guest; may be given again. Before what comes after --");
  app.add_flag("--shell", options.shell, "A shell on the guest's console; exit ends the guest");
  app.add_option("--time-limit", options.limit_s, "Seconds for all of it, 0: none (default 300; none with --shell)")
      ->check(CLI::Range(0, 86'400));
  app.add_flag("--keep-logs", options.keep_logs, "Keep the logs though nothing failed");
  app.add_option("command", words, "After --: the command");
  CLI11_PARSE(app, argc, argv);
  if (options.shell && app.count("--time-limit") == 0) options.limit_s = 0;
  if (words.size() == 1) options.lines.push_back(words[0]);
  if (words.size() > 1) {
    std::string line;
    for (const std::string& word : words) line += (line.empty() ? "" : " ") + quoted(word);
    options.lines.push_back(line);
  }
  for (int number : {SIGINT, SIGTERM, SIGHUP}) std::signal(number, on_signal);
  try {
    if (options.shell != options.lines.empty())
      throw WrongUse(options.shell ? "--shell and commands exclude each other"
                                   : "there is nothing to do: a command after --, --run LINE, or --shell");
    if (options.face == "vm" && (options.bridge || app.count("--bar") || app.count("--spacing"))) {
      throw WrongUse("--bridge, --bar and --spacing are of the vfio-user face; the VM protocol's devices are QEMU's");
    }
    return run(options);
  } catch (const WrongUse& error) {
    say(error.what());
    say("--help says more");
    return kExitUsage;
  } catch (const std::exception& error) {
    say(error.what());
    return kExitFailed;
  }
}
