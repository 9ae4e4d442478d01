#include "host_driver/cli/cli.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "host_driver/bus/tls_files.h"
#include "host_driver/cli/commands.h"
#include "host_driver/cli/run.h"
#include "host_driver/cli/serve.h"
#include "host_driver/cli/session.h"
#include "host_driver/device_node/names.h"
#include "host_driver/runtime/runtime.h"
#include "proto/ipmi/sensor_names.h"

namespace bmcpair::cli {

using nlohmann::ordered_json;

namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;
constexpr int kExitUnreachable = 3;

constexpr const char* kFooter =
    "Bus specs:\n"
    "  grpc:TARGET#bmc/interface            registers of a bmc_emu, e.g. grpc:unix:/run/bmcpair/bmc_emu.sock#demo/bt\n"
    "  vfio-user:SOCKET[?spacing=4]         a PCI IPMI device served by bmc_emu, vfio_bridge or somebody else\n"
    "  qtest:SOCKET@0xe4[?kind=bt]          a QEMU machine's own device, through its qtest port\n"
    "  in-process:CONFIG.yaml#bmc/interface a BMC in this process\n"
    "What follows '#' may be left out, whole or in part, where there is only one.\n"
    "\n"
    "Exit status: 0 done; 1 failed; 2 usage; 3 a bus or its BMC cannot be reached or does not come up;\n"
    "4 raw: the BMC answered a completion code other than 0. run: the program's own, 128 + n when signal n ended it;\n"
    "125 run itself failed; 126 the program cannot be executed; 127 it is not found.";

struct Options {
  std::string bus;
  std::string profile = "hardened";
  bool trace = false;
  RecordingOptions recording;
  bool json = false;
  bool verbose = false;
  bool no_interrupt = false;
  double timeout_seconds = 10;
  std::string tls_ca, tls_certificate, tls_key;
  std::string target;
  unsigned channel = 0;
};

struct Problem {
  int exit_status;
  std::string message;
};

[[noreturn]] void usage(std::string message) { throw Problem{kExitUsage, std::move(message)}; }

void print_error(const std::string& message) { std::fputs(("host_driver: " + message + "\n").c_str(), stderr); }

uint8_t byte_of(const std::string& what, const std::string& text, uint64_t max = 0xff) {
  // As ipmitool takes them: 0x2e or 46; a bare hexadecimal pair such as "d5" is no number.
  auto value = parse_number(text, max);
  if (!value) usage(what + ": '" + text + "' is not a number from 0 to " + std::to_string(max) + " (46 or 0x2e)");
  return static_cast<uint8_t>(*value);
}

SessionOptions session_options(const Options& options) {
  SessionOptions out;
  static state_machine::Profile profile;  // outlives every session
  auto wanted = state_machine::profile_with(options.profile);
  if (!wanted) usage("--profile: " + wanted.error().message);
  profile = *std::move(wanted);
  out.profile = &profile;
  if (!(options.timeout_seconds > 0 && options.timeout_seconds <= 86400)) usage("--timeout: more than 0 and at most 86400 seconds");
  out.trace = options.trace;
  out.log = options.verbose;
  out.use_interrupt = !options.no_interrupt;
  out.timeout = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(options.timeout_seconds));
  out.open.who = "host_driver[" + std::to_string(::getpid()) + "]";
  out.open.tls_ca = options.tls_ca;
  out.open.tls_certificate = options.tls_certificate;
  out.open.tls_key = options.tls_key;
  if (!options.target.empty()) {
    host::IpmbAddress address;
    address.slave = byte_of("--target", options.target);
    if (options.channel > 14) usage("--channel: 0 to 14");
    address.channel = static_cast<uint8_t>(options.channel);
    out.target = address;
  }
  return out;
}

// Before anything is started: a file that is wrong does not get better by trying again.
void check_tls_files(const SessionOptions& session, int exit_status) {
  if (auto files = bus::read_tls_files(session.open); !files.ok()) throw Problem{exit_status, files.error().message};
}

// Null where no file is wanted.
std::shared_ptr<Recording> start_recording(const Options& options) {
  if (!options.recording.outputs.any()) return nullptr;
  auto recording = Recording::create(options.recording, "host_driver, " + options.profile + ": " + options.bus);
  if (recording.ok()) return *recording;
  if (recording.error().code == ErrorCode::kInvalidArgument) usage(recording.error().message);
  throw Problem{kExitFailed, recording.error().message};
}

// After the session's end. The exit status.
int finish_recording(const std::shared_ptr<Recording>& recording, int exit_status) {
  if (!recording) return exit_status;
  Status written = recording->write();
  if (!written) print_error(written.error().message);
  if (recording->left_out() > 0) {
    print_error("the trace's bound of " + std::to_string(recording->events_max()) + " events was met: " +
                std::to_string(recording->left_out()) + " older ones are missing; see --trace-events");
  }
  return written.ok() ? exit_status : std::max(exit_status, kExitFailed);
}

std::vector<bus::BusSpec> bus_specs(const Options& options) {
  if (options.bus.empty()) usage("--bus is required: a bus spec such as grpc:unix:/run/bmcpair/bmc_emu.sock#demo/bt, see --help");
  auto specs = bus::parse_bus_specs(options.bus);
  if (!specs.ok()) usage("--bus: " + specs.error().message);
  return std::move(*specs);
}

using Command = std::function<Result<Report>(Session&, size_t)>;

// Runs a command on every bus. One bus that fails does not stop the others; the worst exit status counts.
int on_every_bus_of(std::vector<bus::BusSpec> specs, SessionOptions session_options, const Options& options, const Command& command) {
  Session session(std::move(specs), std::move(session_options));
  const bool several = session.size() > 1;
  auto all = ordered_json::array();
  int exit_status = 0;
  for (size_t i = 0; i < session.size(); ++i) {
    ordered_json entry{{"bus", session.bus_text(i)}};
    if (several && !options.json) std::printf("%s%s\n", i ? "\n" : "", session.bus_text(i).c_str());
    Status opened = session.open(i);
    Result<Report> report = opened.ok() ? command(session, i) : Result<Report>(opened.error());
    if (report.ok()) {
      entry.update(*report->json);
      if (!options.json) std::fputs(report->text.c_str(), stdout);
      exit_status = std::max(exit_status, report->exit_status);
    } else {
      entry["error"] = report.error().message;
      entry["error_kind"] = std::string(to_string(report.error().code));
      print_error((several ? session.bus_text(i) + ": " : "") + report.error().to_string());
      exit_status = std::max(exit_status, opened.ok() ? kExitFailed : kExitUnreachable);
    }
    std::fflush(stdout);
    all.push_back(std::move(entry));
  }
  if (options.json) std::printf("%s\n", all.dump(2).c_str());
  return exit_status;
}

int on_every_bus(const Options& options, const Command& command) {
  auto specs = bus_specs(options);
  SessionOptions session = session_options(options);
  check_tls_files(session, kExitUnreachable);
  session.recording = start_recording(options);
  WriteOnSignal write_on_signal(session.recording);
  return finish_recording(session.recording, on_every_bus_of(std::move(specs), session, options, command));
}

std::string medium_name(uint8_t medium) {
  switch (medium) {  // IPMI 2.0 table 6-3
    case 0: return "";
    case 1: return "IPMB";
    case 2: return "ICMB 1.0";
    case 3: return "ICMB 0.9";
    case 4: return "802.3 LAN";
    case 5: return "serial";
    case 6: return "other LAN";
    case 7: return "PCI SMBus";
    case 8: return "SMBus 1.x";
    case 9: return "SMBus 2.0";
    case 0x0c: return "system interface";
    default: return medium >= host::kMediumOemFirst && medium <= host::kMediumOemLast ? "OEM" : "reserved";
  }
}

Result<Report> probe(Session& session, size_t i) {
  auto described = session.describe(i);
  if (!described.ok()) return described.error();
  auto identity = session.message_handler().identity(session.number(i));
  if (!identity.ok()) return identity.error();
  auto channels = session.message_handler().channels(session.number(i));
  if (!channels.ok()) return channels.error();
  const host::DeviceId& id = identity->id;
  Report report;
  auto& json = *report.json;
  json["interface"] = "ipmi" + std::to_string(session.number(i));
  json["kind"] = std::string(to_string(described->info.kind));
  json["interrupts"] = described->info.interrupts;
  json["state"] = std::string(to_string(described->status.state));
  json["profile"] = described->info.profile;
  json["attempts"] = described->attempts;
  json["device_id"] = id.device_id;
  json["manufacturer_id"] = id.manufacturer_id;
  json["product_id"] = id.product_id;
  char firmware[16], ipmi_version[16], line[256];
  std::snprintf(firmware, sizeof firmware, "%u.%02x", id.firmware_major & 0x7fu, id.firmware_minor_bcd);
  std::snprintf(ipmi_version, sizeof ipmi_version, "%u.%u", id.ipmi_version.major, id.ipmi_version.minor);
  json["firmware"] = firmware;
  json["ipmi_version"] = ipmi_version;
  json["bmc"] = identity->bmc;
  if (identity->guid) json["guid"] = guid_text(*identity->guid);
  std::snprintf(line, sizeof line, "ipmi%d: %s%s, %s, profile %s\n", session.number(i), std::string(to_string(described->info.kind)).c_str(),
                described->info.interrupts ? " with interrupts" : " by polling", std::string(to_string(described->status.state)).c_str(),
                described->info.profile.c_str());
  report.text += line;
  std::snprintf(line, sizeof line, "  BMC %d: device 0x%02x, manufacturer 0x%06x, product 0x%04x, firmware %s, IPMI %s\n", identity->bmc,
                id.device_id, id.manufacturer_id, id.product_id, firmware, ipmi_version);
  report.text += line;
  if (identity->guid) report.text += "  GUID " + guid_text(*identity->guid) + "\n";
  auto list = ordered_json::array();
  std::string text;
  for (unsigned channel = 0; channel < channels->size(); ++channel) {
    const host::Channel& c = (*channels)[channel];
    if (c.medium == 0) continue;
    list.push_back({{"channel", channel}, {"medium", medium_name(c.medium)}, {"protocol", c.protocol}});
    text += (text.empty() ? "" : ", ") + std::to_string(channel) + " " + medium_name(c.medium);
  }
  json["channels"] = std::move(list);
  if (!text.empty()) report.text += "  channels " + text + "\n";
  return report;
}

Result<Report> stats(Session& session, size_t i) {
  auto described = session.describe(i);
  if (!described.ok()) return described.error();
  auto handler = session.message_handler().statistics(session.number(i));
  if (!handler.ok()) return handler.error();
  Report report;
  auto& json = *report.json;
  char line[128];
  auto row = [&](ordered_json& into, std::string_view name, uint64_t value) {
    into[std::string(name)] = value;
    std::snprintf(line, sizeof line, "  %-32s %12llu\n", std::string(name).c_str(), static_cast<unsigned long long>(value));
    report.text += line;
  };
  report.text += "system interface\n";
  for (size_t n = 0; n < host::kSiStatistics; ++n) {
    row(json["system_interface"], to_string(static_cast<host::SiStatistic>(n)), described->statistics[n]);
  }
  report.text += "message handler\n";
  for (size_t n = 0; n < host::kStatistics; ++n) {
    row(json["message_handler"], to_string(static_cast<host::Statistic>(n)), (*handler)[n]);
  }
  return report;
}

// ---- watch -------------------------------------------------------------------------------------------------------------

struct WatchOptions {
  unsigned count = 0;
  double seconds = 0;
};

int watch_of(std::vector<bus::BusSpec> specs, SessionOptions session_options, const Options& options, const WatchOptions& limits) {
  // Blocked before the first thread is made, so that only the poll below sees them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  const int signal_fd = ::signalfd(-1, &signals, SFD_CLOEXEC);
  const int wake_fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

  struct Shared {
    rt::Mutex mutex;
    std::vector<std::pair<size_t, Bytes>> events;
  } shared;
  Session session(std::move(specs), std::move(session_options));
  std::vector<std::vector<ipmi::SdrSensor>> sensors(session.size());
  int exit_status = 0;
  size_t watching = 0;
  for (size_t i = 0; i < session.size(); ++i) {
    host::UserHandlers handlers;
    handlers.receive = [&, i](host::RecvMessage message) {
      if (message.type != host::RecvType::kAsyncEvent) return;
      rt::LockGuard lock(shared.mutex);
      shared.events.emplace_back(i, std::move(message.data));
      uint64_t one = 1;
      (void)!::write(wake_fd, &one, sizeof one);
    };
    Status opened = session.open(i, std::move(handlers));
    if (opened.ok()) {
      // Names first, so that the first event already has them; a BMC without a repository is watched all the same.
      if (auto records = read_sdr_repository(session.request_function(i), {}); records.ok()) sensors[i] = sensors_of(*records);
      opened = session.user(i).set_gets_events(true);
    }
    if (!opened.ok()) {
      print_error(session.bus_text(i) + ": " + opened.error().to_string());
      exit_status = kExitUnreachable;
      continue;
    }
    ++watching;
  }
  if (watching > 0 && !options.json) {
    std::printf("watching %zu interface%s for events\n", watching, watching == 1 ? "" : "s");
    std::fflush(stdout);
  }
  const bool bounded = limits.seconds > 0;
  const Instant end = rt::now() + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(limits.seconds));
  unsigned seen = 0;
  bool interrupted = false;
  while (watching > 0 && !interrupted && (limits.count == 0 || seen < limits.count)) {
    int timeout_ms = -1;
    if (bounded) {
      auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - rt::now()).count();
      if (left <= 0) break;
      timeout_ms = static_cast<int>(std::min<int64_t>(left + 1, 1 << 30));
    }
    pollfd fds[2] = {{wake_fd, POLLIN, 0}, {signal_fd, POLLIN, 0}};
    if (::poll(fds, 2, timeout_ms) < 0 && errno != EINTR) break;
    if (fds[1].revents) interrupted = true;
    uint64_t ignored;
    (void)!::read(wake_fd, &ignored, sizeof ignored);
    std::vector<std::pair<size_t, Bytes>> events;
    {
      rt::LockGuard lock(shared.mutex);
      events.swap(shared.events);
    }
    for (auto& [i, record] : events) {
      if (limits.count != 0 && seen == limits.count) break;
      ++seen;
      Report report = report_event(record, sensors[i]);
      if (options.json) {
        ordered_json entry{{"bus", session.bus_text(i)}};
        entry.update(*report.json);
        std::printf("%s\n", entry.dump().c_str());
      } else {
        std::printf("%s%s", session.size() > 1 ? (session.bus_text(i) + " ").c_str() : "", report.text.c_str());
      }
    }
    std::fflush(stdout);
  }
  if (exit_status == 0 && limits.count != 0 && seen < limits.count && !interrupted) {
    print_error("watch: " + std::to_string(seen) + " of " + std::to_string(limits.count) + " events came in time");
    exit_status = kExitFailed;
  }
  // Users end before the descriptors their callbacks write to.
  for (size_t i = 0; i < session.size(); ++i) session.close(i);
  ::close(wake_fd);
  ::close(signal_fd);
  return exit_status;
}

int watch(const Options& options, const WatchOptions& limits) {
  auto specs = bus_specs(options);
  SessionOptions session = session_options(options);
  check_tls_files(session, kExitUnreachable);
  session.recording = start_recording(options);
  return finish_recording(session.recording, watch_of(std::move(specs), session, options, limits));
}

int serve_command(const Options& options, const ServeOptions& serve_options) {
  auto specs = bus_specs(options);
  SessionOptions session = session_options(options);
  check_tls_files(session, kExitUnreachable);
  session.recording = start_recording(options);
  int exit_status = 0;
  if (Status served = serve(std::move(specs), session, serve_options); !served) {
    print_error("serve: " + served.error().to_string());
    exit_status = kExitFailed;
  }
  return finish_recording(session.recording, exit_status);
}

// Of `run`, what follows the first `--` is the program's.
struct SplitArguments {
  std::vector<std::string> ours;     // as CLI11 takes them: in reverse
  std::vector<std::string> program;
};
SplitArguments split_arguments(int argc, const char* const* argv) {
  SplitArguments out;
  bool run = false, program = false;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    run = run || argument == "run";
    if (!program && run && argument == "--") {
      program = true;
    } else {
      (program ? out.program : out.ours).push_back(argument);
    }
  }
  std::reverse(out.ours.begin(), out.ours.end());
  return out;
}

int run_command(const Options& options, const RunOptions& run_options) {
  const char* from_environment = std::getenv("BMCPAIR_BUS");
  const bool bus_given = !options.bus.empty() && !(from_environment && options.bus == from_environment);
  if (run_options.program.empty()) usage("run: no program; e.g. host_driver run --config configs/demo.yaml -- ipmitool sdr");
  if (!run_options.config.empty() && bus_given) usage("run: --config starts a private daemon, --bus uses one that runs: give one of them");
  if (run_options.config.empty() && options.bus.empty()) usage("run: --config FILE or --bus SPEC says whose interfaces they are");
  if (!run_options.state.empty() && run_options.config.empty()) usage("run: --state is of the private daemon, which --config starts");
  if (!options.target.empty()) usage("run: --target is of commands that ask; a program says itself whom it asks");
  auto specs = run_options.config.empty() ? bus_specs(options) : std::vector<bus::BusSpec>();
  SessionOptions session = session_options(options);
  check_tls_files(session, kExitRunFailed);
  session.recording = start_recording(options);
  return finish_recording(session.recording, run_program(std::move(specs), session, run_options));
}

int run_checked(int argc, const char* const* argv) {
  CLI::App app{"Linux's IPMI stack in userspace: drives a BMC through its registers.", "host_driver"};
  app.footer(kFooter);
  app.require_subcommand(1);
  app.set_version_flag("--version", "host_driver (bmcpair) 0.1.0");
  app.fallthrough();
  Options options;
  app.add_option("-b,--bus", options.bus, "bus spec, or several with ',' between them")->envname("BMCPAIR_BUS");
  app.add_option("--profile", options.profile, "driver behaviour: hardened, linux-6.1, linux-4.18+FLAG...")->capture_default_str();
  app.add_flag("--trace", options.trace, "print each step of the state machine to standard error");
  trace::Outputs& outputs = options.recording.outputs;
  app.add_option("--trace-vcd", outputs.vcd, "write a waveform of the registers as this host saw them, for GTKWave");
  app.add_option("--trace-pcap", outputs.pcap, "write the IPMI messages as a capture, for Wireshark and tshark");
  app.add_option("--trace-json", outputs.trace_json, "write both as trace events, for Perfetto and chrome://tracing");
  app.add_option("--trace-svg", outputs.svg, "write the ladder of host and BMC, for a browser");
  app.add_option("--trace-events", options.recording.events_max, "of the files: how many events are kept, the newest ones")
      ->check(CLI::Range(size_t{1}, size_t{10'000'000}))
      ->capture_default_str();
  app.add_flag("--json", options.json, "print JSON: an array with one object a bus (watch: one object a line)");
  app.add_flag("-v,--verbose", options.verbose, "print the driver's log to standard error");
  app.add_flag("--no-interrupt", options.no_interrupt, "poll, even where the bus has an interrupt");
  app.add_option("--timeout", options.timeout_seconds, "seconds for bringing an interface up, and for each request")->capture_default_str();
  app.add_option("--tls-ca", options.tls_ca, "PEM file: verify the gRPC server against it (switches TLS on)");
  app.add_option("--tls-certificate", options.tls_certificate, "PEM file: this client's certificate, for mutual TLS");
  app.add_option("--tls-key", options.tls_key, "PEM file: its key");
  app.add_option("--target", options.target, "IPMB address of a controller behind the BMC that is to answer, e.g. 0x82");
  app.add_option("--channel", options.channel, "the IPMB channel of --target")->capture_default_str();

  app.add_subcommand("probe", "bring the interface up and say what is there");
  app.add_subcommand("info", "identity: device id, GUIDs, self test");
  auto* raw = app.add_subcommand("raw", "send one request: raw NETFN CMD [DATA...]");
  std::vector<std::string> raw_bytes;
  unsigned raw_lun = 0;
  raw->add_option("bytes", raw_bytes, "NetFn, command and data bytes, decimal or 0x..")->required();
  raw->add_option("--lun", raw_lun, "LUN, 0 to 3")->capture_default_str();
  app.add_subcommand("sdr", "the SDR repository");
  app.add_subcommand("sensors", "every sensor with its reading");
  auto* sel = app.add_subcommand("sel", "the system event log: sel [list | clear | add BYTES...]");
  sel->require_subcommand(0, 1);
  sel->add_subcommand("list", "show it (the default)");
  sel->add_subcommand("clear", "erase it");
  auto* sel_add = sel->add_subcommand("add", "add a record of 16 bytes");
  std::vector<std::string> sel_bytes;
  sel_add->add_option("bytes", sel_bytes, "16 bytes in hexadecimal, e.g. 00 00 02 ...")->required();
  auto* fru = app.add_subcommand("fru", "FRU inventories: fru [ID]");
  std::string fru_id;
  fru->add_option("id", fru_id, "only this FRU device");
  auto* watch_command = app.add_subcommand("watch", "print events as they come, until interrupted");
  WatchOptions limits;
  watch_command->add_option("--count", limits.count, "end after so many events (0: never)")->capture_default_str();
  watch_command->add_option("--seconds", limits.seconds, "end after so long (0: never)")->capture_default_str();
  auto* serve_app = app.add_subcommand("serve", "offer the buses as /dev/ipmi0, ... to programs that preload " +
                                                    std::string(device_node::kPreloadLibrary) + ", until interrupted");
  ServeOptions serve_options;
  std::string serve_mode = "0600";
  serve_app->add_option("--socket", serve_options.socket, "the unix socket; default " + default_device_socket());
  serve_app->add_option("--mode", serve_mode, "who may use it, as chmod says it in octal")->capture_default_str();
  auto* run_app = app.add_subcommand("run", "run a program that finds the buses as /dev/ipmi0, ... and at I/O ports: run --config FILE -- "
                                            "PROGRAM ARGS...");
  RunOptions run_options;
  run_app->add_option("--config", run_options.config, "start a private bmc_emu with this configuration; its interfaces, in its order, are the buses");
  run_app->add_option("--state", run_options.state, "folder where that one's SEL, FRU writes, users and settings survive");
  run_app->add_option("--ports", run_options.ports,
                      "which interface is at which I/O port, KIND or BMC/INTERFACE=PORT[/SPACING], comma separated, or none; default "
                      "kcs=0xca2,bt=0xe4,smic=0xca9, the first interface of each kind");
  run_app->add_option("program", run_options.program, "the program and its arguments, behind --");
  app.add_subcommand("stats", "counters of the system interface and the message handler");

  SplitArguments arguments = split_arguments(argc, argv);
  try {
    app.parse(arguments.ours);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }

  auto with = [&](auto report) {
    return on_every_bus(options, [report](Session& session, size_t i) { return report(session.request_function(i)); });
  };
  if (app.got_subcommand("probe")) return on_every_bus(options, probe);
  if (app.got_subcommand("stats")) return on_every_bus(options, stats);
  if (app.got_subcommand("info")) return with(report_info);
  if (app.got_subcommand("sdr")) return with(report_sdr);
  if (app.got_subcommand("sensors")) return with(report_sensors);
  if (app.got_subcommand("watch")) return watch(options, limits);
  if (run_app->parsed()) {
    run_options.program.insert(run_options.program.end(), arguments.program.begin(), arguments.program.end());
    return run_command(options, run_options);
  }
  if (serve_app->parsed()) {
    char* end = nullptr;
    const unsigned long mode = std::strtoul(serve_mode.c_str(), &end, 8);
    if (serve_mode.empty() || *end || mode > 0777) usage("serve: --mode: '" + serve_mode + "' is no octal number up to 0777");
    serve_options.mode = static_cast<unsigned>(mode);
    return serve_command(options, serve_options);
  }
  if (app.got_subcommand("raw")) {
    if (raw_bytes.size() < 2) usage("raw: NetFn and command are needed, e.g. raw 6 1");
    if (raw_lun > 3) usage("raw: --lun is 0 to 3");
    uint8_t netfn = byte_of("raw: NetFn", raw_bytes[0], 0x3f);
    if (netfn & 1) usage("raw: NetFn " + raw_bytes[0] + " is odd: odd ones are responses");
    uint8_t cmd = byte_of("raw: command", raw_bytes[1]);
    Bytes data;
    for (size_t n = 2; n < raw_bytes.size(); ++n) data.push_back(byte_of("raw: data byte " + std::to_string(n - 1), raw_bytes[n]));
    return with([=](const RequestFunction& send) { return report_raw(send, netfn, static_cast<uint8_t>(raw_lun), cmd, data); });
  }
  if (app.got_subcommand("sel")) {
    if (sel->got_subcommand("clear")) return with(report_sel_clear);
    if (sel->got_subcommand("add")) {
      std::string joined;
      for (const std::string& text : sel_bytes) joined += text + " ";
      auto record = from_hex(joined);
      if (!record || record->size() != 16) {
        usage("sel add: 16 bytes in hexadecimal are needed" + (record ? ", these are " + std::to_string(record->size()) : std::string()));
      }
      return with([=](const RequestFunction& send) { return report_sel_add(send, *record); });
    }
    return with(report_sel_list);
  }
  if (app.got_subcommand("fru")) {
    std::optional<uint8_t> id;
    if (!fru_id.empty()) id = byte_of("fru: id", fru_id, 0xfe);
    return with([=](const RequestFunction& send) { return report_fru(send, id); });
  }
  return kExitUsage;
}

}  // namespace

int run(int argc, const char* const* argv) {
  try {
    return run_checked(argc, argv);
  } catch (const Problem& problem) {
    print_error(problem.message);
    return problem.exit_status;
  }
}

}  // namespace bmcpair::cli
