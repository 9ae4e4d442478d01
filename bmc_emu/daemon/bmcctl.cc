#include "bmc_emu/daemon/bmcctl.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <ostream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <grpc/support/log.h>
#include <grpcpp/grpcpp.h>
#include <nlohmann/json.hpp>

#include "bmc_emu/daemon/bmcctl_json.h"
#include "bmc_emu/daemon/bmcctl_trace.h"
#include "proto/base/address.h"
#include "proto/base/hex.h"
#include "proto/base/tls_advice.h"
#include "proto/ipmi/sel.h"
#include "proto/ipmi/sensor_names.h"
#include "proto/registers/bt.h"
#include "proto/registers/kcs.h"
#include "proto/registers/smic.h"
#include "proto/rpc/control.grpc.pb.h"
#include "proto/trace/outputs.h"

namespace bmcpair::daemon {
namespace {

constexpr int kReplyBytesMax = 16 * 1024 * 1024;
constexpr size_t kRulesBytesMax = 1024 * 1024;
constexpr uint32_t kNoRegister = 0xffff;  // of a trace's entry that is no access: a fault that fired

struct Usage {
  std::string what;
};

std::string hex_byte(uint32_t v) {
  char text[8];
  std::snprintf(text, sizeof text, "%02x", v & 0xffu);
  return text;
}

std::string bytes_text(const std::string& bytes) {
  return to_hex({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
}

// "12.345 s" since the daemon started.
std::string seconds_text(uint64_t us) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3f", static_cast<double>(us) / 1e6);
  return text;
}

std::string number_text(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", v);
  return text;
}

// A peer's text on our terminal: control characters do nothing there.
std::string clean(const std::string& text) {
  std::string out;
  for (char c : text) {
    auto u = static_cast<unsigned char>(c);
    if (u < 0x20 || u == 0x7f) {
      out += "\\x" + hex_byte(u);
    } else {
      out += c;
    }
  }
  return out;
}

const char* kind_text(v1::InterfaceKind kind) {
  switch (kind) {
    case v1::INTERFACE_KIND_KCS: return "kcs";
    case v1::INTERFACE_KIND_BT: return "bt";
    case v1::INTERFACE_KIND_SMIC: return "smic";
    default: return "?";
  }
}

std::string flags_text(v1::InterfaceKind kind, uint8_t f) {
  std::string out;
  auto bit = [&](uint8_t mask, const char* name) {
    if (f & mask) out += (out.empty() ? "" : " ") + std::string(name);
  };
  switch (kind) {
    case v1::INTERFACE_KIND_BT: {
      namespace bt = registers::bt;
      bit(bt::kBBusy, "B_BUSY"), bit(bt::kHBusy, "H_BUSY"), bit(bt::kOem0, "OEM0"), bit(bt::kSmsAtn, "SMS");
      bit(bt::kB2hAtn, "B2H"), bit(bt::kH2bAtn, "H2B");
      break;
    }
    case v1::INTERFACE_KIND_KCS: {
      namespace kcs = registers::kcs;
      static constexpr const char* kStates[] = {"IDLE", "READ", "WRITE", "ERROR"};
      out = kStates[f >> kcs::kStateShift];
      bit(kcs::kOem2, "OEM2"), bit(kcs::kOem1, "OEM1"), bit(kcs::kCd, "C/D"), bit(kcs::kSmsAtn, "SMS");
      bit(kcs::kIbf, "IBF"), bit(kcs::kObf, "OBF");
      break;
    }
    case v1::INTERFACE_KIND_SMIC: {
      namespace smic = registers::smic;
      bit(smic::kRxDataReady, "RX_RDY"), bit(smic::kTxDataReady, "TX_RDY"), bit(smic::kSmi, "SMI");
      bit(smic::kEvtAtn, "EVT"), bit(smic::kSmsAtn, "SMS"), bit(smic::kBusy, "BUSY");
      break;
    }
    default: break;
  }
  return out.empty() ? "-" : out;
}

std::string register_text(v1::InterfaceKind kind, uint32_t offset, bool write) {
  static constexpr const char* kBt[] = {"CTRL", "BUF", "INTMASK"};
  static constexpr const char* kSmic[] = {"DATA", "CONTROL", "FLAGS"};
  if (kind == v1::INTERFACE_KIND_KCS && offset < 2) return offset == 0 ? "DATA" : write ? "CMD" : "STATUS";
  if (kind == v1::INTERFACE_KIND_BT && offset < 3) return kBt[offset];
  if (kind == v1::INTERFACE_KIND_SMIC && offset < 3) return kSmic[offset];
  return std::to_string(offset);
}

class Table {
 public:
  explicit Table(std::vector<std::string> head) { rows_.push_back(std::move(head)); }
  void row(std::vector<std::string> cells) {
    for (std::string& c : cells) c = c.empty() ? "-" : clean(c);
    rows_.push_back(std::move(cells));
  }
  void print(std::ostream& out, bool colour) const {
    std::vector<size_t> width;
    for (const auto& row : rows_)
      for (size_t i = 0; i < row.size(); ++i) {
        if (width.size() <= i) width.push_back(0);
        width[i] = std::max(width[i], row[i].size());
      }
    for (size_t r = 0; r < rows_.size(); ++r) {
      std::string line;
      for (size_t i = 0; i < rows_[r].size(); ++i) {
        line += rows_[r][i];
        if (i + 1 < rows_[r].size()) line.append(width[i] - rows_[r][i].size() + 2, ' ');
      }
      out << (colour && r == 0 ? "\033[1m" + line + "\033[0m" : line) << '\n';
    }
  }

 private:
  std::vector<std::vector<std::string>> rows_;
};

struct Failure {
  int exit;
  std::string message;
};

class Ctl {
 public:
  Ctl(std::ostream& out, std::ostream& err, bool terminal) : out_(out), err_(err), terminal_(terminal) {}

  int run(int argc, const char* const* argv) {
    define();
    try {
      app_.parse(argc, argv);
    } catch (const CLI::ParseError& e) {
      if (e.get_exit_code() == 0) {
        app_.exit(e, out_, err_);  // --help
        return kBmcctlOk;
      }
      std::string what = e.what();
      // CLI11 misses the command before it minds the word that is there in its place.
      if (dynamic_cast<const CLI::RequiredError*>(&e) && !app_.remaining().empty())
        what = "there is no command '" + app_.remaining().front() + "'";
      std::replace(what.begin(), what.end(), '\n', ' ');
      err_ << "bmcctl: " << clean(what) << "; see bmcctl --help\n";
      return kBmcctlUsage;
    }
    colour_ = terminal_ && !json_ && !std::getenv("NO_COLOR");
    try {
      connect();
      action_();
      return kBmcctlOk;
    } catch (const Usage& u) {
      err_ << "bmcctl: " << u.what << "; see bmcctl --help\n";
      return kBmcctlUsage;
    } catch (const Failure& f) {
      std::istringstream lines(f.message);  // a file's mistakes are a line each
      for (std::string line; std::getline(lines, line);) err_ << "bmcctl: " << clean(line) << '\n';
      return f.exit;
    }
  }

 private:
  using Words = std::vector<std::string>;

  CLI::App* command(CLI::App& parent, const char* name, const char* help, std::function<void()> action) {
    CLI::App* sub = parent.add_subcommand(name, help);
    sub->callback([this, action = std::move(action)] { action_ = action; });
    return sub;
  }
  CLI::App* command(const char* name, const char* help, std::function<void()> action) {
    return command(app_, name, help, std::move(action));
  }
  void words(CLI::App* sub, const char* form, size_t min, size_t max) {
    sub->add_option("words", words_, form)
        ->option_text(form)
        ->expected(static_cast<int>(min), static_cast<int>(max))
        ->required(min > 0);
  }

  void define() {
    app_.description("Controls a running bmc_emu. BMC may be left out when there is only one.");
    app_.footer(
        "Exit codes: 0 done, 1 the daemon refused or a file cannot be written, 2 the command line is wrong, 3 nobody answers at the address.\n"
        "Without --address: $BMCPAIR_ADDRESS, else $XDG_RUNTIME_DIR/bmcpair/bmc_emu.sock, else\n"
        "/run/bmcpair/bmc_emu.sock for root, /tmp/bmcpair-UID/bmc_emu.sock for others.");
    app_.require_subcommand(1);
    app_.fallthrough();
    app_.add_option("--address", address_, "unix:PATH, /path or HOST:PORT of the daemon");
    app_.add_flag("--json", json_, "JSON instead of tables (watch: one object a line)");
    app_.add_option("--timeout", timeout_s_, "seconds to wait for an answer")
        ->check(CLI::Range(0.001, 86400.0))
        ->capture_default_str();
    app_.add_option("--tls-ca", tls_ca_, "PEM file of the CA that signed the daemon's certificate; switches TLS on");
    app_.add_option("--tls-cert", tls_certificate_, "PEM file of our own certificate (mutual TLS)");
    app_.add_option("--tls-key", tls_key_, "PEM file of its key");

    command("list", "all BMCs", [this] { list(); });
    words(command("describe", "everything about a BMC", [this] { describe(); }), "[BMC]", 0, 1);
    words(command("power", "the host's power: on, off, cycle, reset, diag, soft", [this] { power(); }),
          "[BMC] on|off|cycle|reset|diag|soft", 1, 2);
    words(command("reset", "resets the BMC itself", [this] { reset(); }), "[BMC] cold|warm", 1, 2);
    words(command("identify", "the identify light: for SECONDS (15), on until told otherwise, or off",
                  [this] { identify(); }),
          "[BMC] [SECONDS|on|off]", 0, 2);

    CLI::App* sensor = app_.add_subcommand("sensor", "sensors");
    sensor->require_subcommand(1);
    words(command(*sensor, "list", "all sensors", [this] { sensor_list(); }), "[BMC]", 0, 1);
    words(command(*sensor, "get", "one sensor, by name or number", [this] { sensor_get(); }), "[BMC] SENSOR", 1, 2);
    CLI::App* set = command(*sensor, "set", "pins a sensor's value, in its unit; or its states", [this] { sensor_set(); });
    words(set, "[BMC] SENSOR VALUE", 2, 3);
    set->add_flag("--states", states_, "VALUE is a mask of asserted states, for discrete sensors");
    words(command(*sensor, "release", "lets a sensor go back to its wave form", [this] { sensor_release(); }),
          "[BMC] SENSOR", 1, 2);

    CLI::App* sel = app_.add_subcommand("sel", "the system event log");
    sel->require_subcommand(1);
    words(command(*sel, "list", "all records", [this] { sel_list(); }), "[BMC]", 0, 1);
    words(command(*sel, "add", "adds a record of 16 bytes; its id, and mostly its time, are the BMC's",
                  [this] { sel_add(); }),
          "[BMC] HEX...", 1, 17);
    words(command(*sel, "clear", "deletes all records", [this] { sel_clear(); }), "[BMC]", 0, 1);

    CLI::App* watch = command("watch", "what changes, as it happens", [this] { this->watch(); });
    words(watch, "[BMC]", 0, 1);
    watch->add_flag("--messages", messages_, "every IPMI message too");
    watch->add_option("--count", count_, "end after so many events")->check(CLI::PositiveNumber);

    words(command("stats", "statistics of interfaces and server", [this] { stats(); }), "[BMC]", 0, 1);

    CLI::App* trace = app_.add_subcommand("trace", "register and message traces");
    trace->require_subcommand(1);
    words(command(*trace, "on", "begins to trace", [this] { trace_set(true); }), "[BMC]", 0, 1);
    words(command(*trace, "off", "ends it", [this] { trace_set(false); }), "[BMC]", 0, 1);
    CLI::App* show = command(*trace, "show", "the last accesses and messages", [this] { trace_show(); });
    words(show, "[BMC]", 0, 1);
    show->add_option("--interface", interface_, "of this interface only");
    CLI::App* save = command(*trace, "save", "the same as pictures, a file each: docs/seeing_it.md", [this] { trace_save(); });
    words(save, "[BMC]", 0, 1);
    save->add_option("--interface", interface_, "of this interface only");
    save->add_option("--vcd", outputs_.vcd, "a waveform of every flag, FIFO pointer and interrupt line, for GTKWave");
    save->add_option("--pcap", outputs_.pcap, "the IPMI messages and faults as a capture, for Wireshark and tshark");
    save->add_option("--trace-json", outputs_.trace_json, "both as trace events, for Perfetto and chrome://tracing");
    save->add_option("--svg", outputs_.svg, "the ladder of host and BMC, for a browser");

    CLI::App* fault = app_.add_subcommand("fault", "faults on demand: docs/faults.md");
    fault->require_subcommand(1);
    words(command(*fault, "add", "adds rules: of a file, of standard input (-), or KEY=VALUE as cc=d5 cmd=get_device_id",
                  [this] { fault_add(); }),
          "[BMC] FILE|-|RULE...", 1, 64);
    words(command(*fault, "list", "the rules in force, and how often they fired", [this] { fault_list(); }), "[BMC]", 0,
          1);
    words(command(*fault, "clear", "takes rules away, by their ids, or all of them", [this] { fault_clear(); }),
          "[BMC] [ID...|all]", 0, 64);

    words(command("endpoints", "attached hosts", [this] { endpoints(); }), "[BMC]", 0, 1);
    CLI::App* detach = command("detach", "takes an attached host off, by its endpoint id", [this] { this->detach(); });
    words(detach, "[BMC] ID", 1, 2);
    detach->add_option("--reason", reason_, "what the host is told");
    command("version", "of daemon and protocol", [this] { version(); });
    CLI::App* health = command("health", "whether the daemon answers: exit code 0", [this] { this->health(); });
    health->add_option("--wait", wait_s_, "seconds to wait for a daemon that is not there yet")
        ->check(CLI::Range(0.0, 86400.0))
        ->capture_default_str();
  }

  void connect() {
    if (!std::getenv("GRPC_VERBOSITY"))
      gpr_set_log_verbosity(static_cast<gpr_log_severity>(GPR_LOG_SEVERITY_ERROR + 1));
    if (address_.empty())
      address_ = default_address(std::getenv("BMCPAIR_ADDRESS"), std::getenv("XDG_RUNTIME_DIR"), ::getuid());
    address_ = canonical_address(address_);
    std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
    if (!tls_ca_.empty() || !tls_certificate_.empty() || !tls_key_.empty()) {
      if (tls_certificate_.empty() != tls_key_.empty()) throw Usage{"--tls-cert and --tls-key belong together"};
      grpc::SslCredentialsOptions ssl;
      if (!tls_ca_.empty()) ssl.pem_root_certs = file("--tls-ca", tls_ca_);
      if (!tls_certificate_.empty()) {
        ssl.pem_cert_chain = file("--tls-cert", tls_certificate_);
        ssl.pem_private_key = file("--tls-key", tls_key_);
      }
      credentials = grpc::SslCredentials(ssl);
    }
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(kReplyBytesMax);
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    // `health --wait` tries again so often; everything else tries once.
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 8000);  // also what one try to connect may take, if nobody refuses it
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 500);
    stub_ = v1::Control::NewStub(grpc::CreateCustomChannel(address_, credentials, arguments));
  }

  static std::string file(const char* option, const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    std::ostringstream text;
    if (in) text << in.rdbuf();
    if (text.str().find("-----BEGIN ") == std::string::npos)
      throw Usage{std::string(option) + " " + path + ": no PEM file that can be read"};
    return text.str();
  }

  [[noreturn]] void fail(const grpc::Status& status) const {
    switch (status.error_code()) {
      case grpc::StatusCode::UNAVAILABLE: {
        const std::string advice =
            tls_advice(status.error_message(), address_, {tls_ca_, tls_certificate_, tls_key_, "--tls-cert"});
        throw Failure{kBmcctlUnreachable,
                      "nobody answers at " + address_ + " (" + status.error_message() + ")" +
                          (advice.empty() ? "; start bmc_emu, or say where it is with --address" : advice)};
      }
      case grpc::StatusCode::DEADLINE_EXCEEDED:
        throw Failure{kBmcctlUnreachable, "no answer from " + address_ + " in " + number_text(timeout_s_) +
                                              " s; is it a bmc_emu? see --timeout"};
      case grpc::StatusCode::UNIMPLEMENTED:
        throw Failure{kBmcctlFailed, address_ + " does not know this call; is it a bmc_emu of another version?"};
      default: throw Failure{kBmcctlFailed, status.error_message()};
    }
  }

  template <class Request, class Reply>
  Reply call(grpc::Status (v1::Control::Stub::*method)(grpc::ClientContext*, const Request&, Reply*),
             const Request& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::duration<double>(timeout_s_)));
    Reply reply;
    if (grpc::Status s = (stub_.get()->*method)(&context, request, &reply); !s.ok()) fail(s);
    return reply;
  }

  // True when the reply has been printed.
  bool as_json(const google::protobuf::Message& reply) {
    if (json_) out_ << to_json(reply).dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << '\n';
    return json_;
  }
  void done(const google::protobuf::Message& reply, const std::string& text) {
    if (!as_json(reply)) out_ << clean(text) << '\n';
  }
  std::string coloured(const char* code, const std::string& text) const {
    return colour_ ? "\033[" + std::string(code) + "m" + text + "\033[0m" : text;
  }

  std::string bmc_before(size_t rest) const { return words_.size() > rest ? words_[0] : ""; }
  template <class Request>
  Request about(const std::string& bmc) {
    Request request;
    request.set_bmc(bmc);
    return request;
  }

  void list() {
    auto reply = call(&v1::Control::Stub::List, v1::ListRequest());
    if (as_json(reply)) return;
    Table table({"BMC", "POWER", "IDENTIFY", "SENSORS", "SEL", "INTERFACES"});
    for (const auto& b : reply.bmcs())
      table.row({b.name(), b.power_on() ? "on" : "off", identify_text(b.identify()), std::to_string(b.sensors()),
                 std::to_string(b.sel_entries()), interfaces_text(b)});
    table.print(out_, colour_);
  }

  static std::string identify_text(uint32_t mode) { return mode == 0 ? "off" : mode == 1 ? "on" : "forced"; }
  static std::string interfaces_text(const v1::BmcSummary& b) {
    std::string text;
    for (const auto& i : b.interfaces()) {
      text += (text.empty() ? "" : ", ") + i.name();
      if (i.name() != kind_text(i.kind())) text += std::string("(") + kind_text(i.kind()) + ")";
      if (!i.vm_address().empty()) text += " at " + i.vm_address();
      if (!i.held_by().empty()) text += " <- " + i.held_by();
    }
    return text;
  }

  void describe() {
    auto reply = call(&v1::Control::Stub::Describe, about<v1::DescribeRequest>(bmc_before(0)));
    if (as_json(reply)) return;
    const auto& id = reply.identity();
    auto line = [&](const char* name, const std::string& value) {
      char text[32];
      std::snprintf(text, sizeof text, "%-16s", name);
      out_ << coloured("1", text) << ' ' << clean(value.empty() ? "-" : value) << '\n';
    };
    line("BMC", reply.summary().name());
    line("power", reply.summary().power_on() ? "on" : "off");
    line("identify", identify_text(reply.summary().identify()));
    line("device id", "0x" + hex_byte(id.device_id()) + ", revision " + std::to_string(id.device_revision()));
    line("firmware", id.firmware());
    line("IPMI", id.ipmi_version());
    line("manufacturer", std::to_string(id.manufacturer_id()) + ", product " + std::to_string(id.product_id()));
    line("device GUID", bytes_text(id.device_guid()));
    line("system GUID", bytes_text(id.system_guid()));
    line("IPMB address", "0x" + hex_byte(id.ipmb_address()));
    line("enables", "0x" + hex_byte(reply.global_enables()) + (reply.attention() ? ", wants attention" : ""));
    line("sensors", std::to_string(reply.summary().sensors()));
    line("SEL", std::to_string(reply.summary().sel_entries()) + " of " + std::to_string(reply.sel_entries_max()));
    for (const auto& i : reply.summary().interfaces())
      line("interface", i.name() + ": " + kind_text(i.kind()) + (i.has_interrupt() ? ", interrupt" : ", polled") +
                            (i.vm_address().empty() ? "" : ", VM protocol on " + i.vm_address()) +
                            (i.held_by().empty() ? ", free" : ", held by " + i.held_by()));
    for (const auto& s : reply.satellites())
      line("satellite", "0x" + hex_byte(s.address()) + (s.answers() ? "" : ", does not answer"));
    for (const auto& f : reply.frus())
      line("FRU", std::to_string(f.id()) + ": " + f.name() + ", " + std::to_string(f.size()) + " bytes");
    for (const auto& u : reply.users())
      line("user", std::to_string(u.id()) + ": " + u.name() + ", privilege " + std::to_string(u.privilege()) +
                       (u.enabled() ? "" : ", disabled"));
    for (const auto& e : reply.endpoints())
      line("endpoint", std::to_string(e.id()) + ": " + e.interface() + ", " + e.who());
  }

  void power() {
    static const std::pair<const char*, v1::PowerAction> kActions[] = {
        {"on", v1::POWER_ACTION_ON},           {"off", v1::POWER_ACTION_OFF},
        {"cycle", v1::POWER_ACTION_CYCLE},     {"reset", v1::POWER_ACTION_HARD_RESET},
        {"diag", v1::POWER_ACTION_DIAGNOSTIC_INTERRUPT}, {"soft", v1::POWER_ACTION_SOFT_SHUTDOWN}};
    auto request = about<v1::PowerRequest>(bmc_before(1));
    for (const auto& [name, action] : kActions)
      if (words_.back() == name) request.set_action(action);
    if (request.action() == v1::POWER_ACTION_UNSPECIFIED)
      throw Usage{"power '" + words_.back() + "': expected on, off, cycle, reset, diag or soft"};
    auto reply = call(&v1::Control::Stub::Power, request);
    done(reply, std::string("power is ") + (reply.power_on() ? "on" : "off"));
  }

  void reset() {
    auto request = about<v1::ResetRequest>(bmc_before(1));
    if (words_.back() != "cold" && words_.back() != "warm")
      throw Usage{"reset '" + words_.back() + "': expected cold or warm"};
    request.set_kind(words_.back() == "cold" ? v1::RESET_KIND_COLD : v1::RESET_KIND_WARM);
    done(call(&v1::Control::Stub::Reset, request), "the BMC is resetting");
  }

  void identify() {
    std::string bmc = words_.size() == 2 ? words_[0] : "";
    std::string how = words_.size() == 2 ? words_[1] : "";
    if (words_.size() == 1) {
      bool is_how = words_[0] == "on" || words_[0] == "off" || parse_number(words_[0], UINT32_MAX);
      (is_how ? how : bmc) = words_[0];
    }
    auto request = about<v1::IdentifyRequest>(bmc);
    if (how == "off") {
      request.set_mode(v1::IdentifyRequest::MODE_OFF);
    } else if (how == "on") {
      request.set_mode(v1::IdentifyRequest::MODE_FORCED);
    } else {
      auto seconds = how.empty() ? 15 : parse_number(how, 255);  // 15 s is Chassis Identify's default (§28.5)
      if (!seconds || *seconds == 0) throw Usage{"identify '" + how + "': expected 1 to 255 seconds, on or off"};
      request.set_mode(v1::IdentifyRequest::MODE_TIMED);
      request.set_seconds(static_cast<uint32_t>(*seconds));
    }
    auto reply = call(&v1::Control::Stub::Identify, request);
    done(reply, "identify is " + identify_text(reply.identify()));
  }

  static std::string reading(const v1::Sensor& s) {
    if (!s.scanning()) return "not scanning";
    if (!s.threshold()) {
      std::string text =
          ipmi::states_text(0x6f, static_cast<uint8_t>(s.sensor_type()), static_cast<uint16_t>(s.states()));
      return text.empty() ? "0x0" : text;
    }
    std::string unit(ipmi::unit_name(static_cast<uint8_t>(s.unit())));
    return number_text(s.value()) + (unit.empty() ? "" : " " + unit);
  }
  static std::string state(const v1::Sensor& s) {
    if (s.threshold())
      return std::string(ipmi::threshold_status_name(static_cast<uint8_t>(s.states())));
    char text[16];
    std::snprintf(text, sizeof text, "0x%04x", s.states());
    return text;
  }
  void print(const std::vector<v1::Sensor>& sensors) {
    Table table({"NUMBER", "NAME", "TYPE", "READING", "STATE", "RAW"});
    for (const auto& s : sensors)
      table.row({"0x" + hex_byte(s.number()), s.name(),
                 std::string(ipmi::sensor_type_name(static_cast<uint8_t>(s.sensor_type()))), reading(s), state(s),
                 s.threshold() ? "0x" + hex_byte(s.raw()) : ""});
    table.print(out_, colour_);
  }

  void sensor_list() {
    auto reply = call(&v1::Control::Stub::ListSensors, about<v1::ListSensorsRequest>(bmc_before(0)));
    if (!as_json(reply)) print({reply.sensors().begin(), reply.sensors().end()});
  }
  void sensor_get() {
    auto request = about<v1::GetSensorRequest>(bmc_before(1));
    request.set_sensor(words_.back());
    auto reply = call(&v1::Control::Stub::GetSensor, request);
    if (!as_json(reply)) print({reply});
  }
  void sensor_set() {
    auto request = about<v1::SetSensorRequest>(bmc_before(2));
    request.set_sensor(words_[words_.size() - 2]);
    const std::string& text = words_.back();
    if (states_) {
      auto mask = parse_number(text, 0x7fff);
      if (!mask) throw Usage{"states '" + text + "': expected a mask of 15 bits such as 0x0001"};
      request.set_states(static_cast<uint32_t>(*mask));
    } else {
      char* end = nullptr;
      double value = std::strtod(text.c_str(), &end);
      if (text.empty() || *end || !std::isfinite(value)) throw Usage{"value '" + text + "': expected a number"};
      request.set_value(value);
    }
    auto reply = call(&v1::Control::Stub::SetSensor, request);
    if (!as_json(reply)) print({reply});
  }
  void sensor_release() {
    auto request = about<v1::ReleaseSensorRequest>(bmc_before(1));
    request.set_sensor(words_.back());
    auto reply = call(&v1::Control::Stub::ReleaseSensor, request);
    if (!as_json(reply)) print({reply});
  }

  void sel_list() {
    auto reply = call(&v1::Control::Stub::SelList, about<v1::SelListRequest>(bmc_before(0)));
    if (as_json(reply)) return;
    for (const auto& r : reply.records()) {
      auto record =
          ipmi::decode_sel_record({reinterpret_cast<const uint8_t*>(r.record().data()), r.record().size()});
      out_ << clean(record.ok() ? ipmi::sel_line(*record, nullptr) : bytes_text(r.record())) << '\n';
    }
    if (reply.records().empty()) out_ << "empty, room for " << reply.entries_max() << '\n';
  }
  void sel_add() {
    auto bytes_of = [](Words::const_iterator from, Words::const_iterator to) -> std::optional<Bytes> {
      std::string joined;
      for (; from != to; ++from) joined += (joined.empty() ? "" : " ") + *from;
      return from_hex(joined);
    };
    auto record = bytes_of(words_.begin(), words_.end());
    v1::SelAddRequest request;
    if (!record || record->size() != 16) {
      request.set_bmc(words_[0]);
      record = bytes_of(words_.begin() + 1, words_.end());
    }
    if (!record || record->size() != 16) throw Usage{"sel add: expected 16 bytes in hexadecimal"};
    request.set_record(record->data(), record->size());
    auto reply = call(&v1::Control::Stub::SelAdd, request);
    done(reply, "record " + std::to_string(reply.id()));
  }
  void sel_clear() {
    done(call(&v1::Control::Stub::SelClear, about<v1::SelClearRequest>(bmc_before(0))), "cleared");
  }

  void watch() {
    auto request = about<v1::WatchRequest>(bmc_before(0));
    request.set_messages(messages_);
    grpc::ClientContext context;
    auto reader = stub_->Watch(&context, request);
    v1::WatchEvent event;
    uint64_t shown = 0;
    while (reader->Read(&event)) {
      if (json_) {
        out_ << to_json(event).dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << std::endl;
      } else {
        std::string where = event.bmc() + (event.interface().empty() ? "" : "/" + event.interface());
        std::string text = event.text().empty() ? std::to_string(event.value()) : event.text();
        if (event.kind() == "watching") text = event.text();
        out_ << seconds_text(event.at_us()) << "  " << clean(where.empty() ? "*" : where) << "  "
             << coloured(event.kind() == "dropped" ? "31" : "36", clean(event.kind())) << "  " << clean(text)
             << std::endl;
      }
      if (event.kind() != "watching" && count_ > 0 && ++shown >= count_) {
        context.TryCancel();
        reader->Finish();
        return;
      }
    }
    if (grpc::Status s = reader->Finish(); !s.ok()) fail(s);
  }

  void stats() {
    auto reply = call(&v1::Control::Stub::Statistics, about<v1::StatisticsRequest>(bmc_before(0)));
    if (as_json(reply)) return;
    Table table({"INTERFACE", "KIND", "READS", "WRITES", "REQUESTS", "RESPONSES", "DROPPED", "INTERRUPTS", "FAULTS"});
    for (const auto& i : reply.interfaces())
      table.row({i.bmc() + "/" + i.interface(), kind_text(i.kind()), std::to_string(i.host_reads()),
                 std::to_string(i.host_writes()), std::to_string(i.requests()), std::to_string(i.responses()),
                 std::to_string(i.responses_dropped()), std::to_string(i.interrupts()), std::to_string(i.faults())});
    table.print(out_, colour_);
    for (const auto& i : reply.interfaces()) {
      if (i.vm_connections() + i.vm_connections_refused() == 0) continue;
      out_ << "VM " << i.bmc() << "/" << i.interface() << ": " << i.vm_connections() << " connections, "
           << i.vm_connections_refused() << " refused, " << i.vm_frames_in() << " frames in, " << i.vm_frames_out()
           << " out, " << i.vm_frames_bad() << " wrong\n";
    }
    const auto& s = reply.server();
    out_ << "gRPC: " << s.streams() << " streams, " << s.attaches() << " attached, " << s.attaches_refused()
         << " refused, " << s.messages() << " messages, " << s.ops() << " ops, " << s.ops_refused()
         << " ops refused, " << s.interrupts_pushed() << " interrupts, " << s.watchers() << " watchers, "
         << s.events_dropped() << " events dropped\n";
  }

  void trace_set(bool on) {
    auto request = about<v1::SetTraceRequest>(bmc_before(0));
    request.set_on(on);
    done(call(&v1::Control::Stub::SetTrace, request), std::string("trace is ") + (on ? "on" : "off"));
  }
  void trace_show() {
    auto request = about<v1::GetTraceRequest>(bmc_before(0));
    request.set_interface(interface_);
    auto reply = call(&v1::Control::Stub::GetTrace, request);
    if (as_json(reply)) return;
    for (const auto& a : reply.accesses()) {
      char at[32];
      std::snprintf(at, sizeof at, "%.6f", static_cast<double>(a.at_ns()) / 1e9);
      const std::string fault = a.fault() == 0 ? "" : "fault " + std::to_string(a.fault());
      if (a.offset() == kNoRegister) {
        out_ << at << "  " << clean(a.interface()) << "  " << coloured("31", fault) << " fires\n";
        continue;
      }
      out_ << at << "  " << clean(a.interface()) << "  " << (a.face() == v1::RegisterAccess::FACE_HOST ? "host" : "bmc ")
           << (a.is_write() ? " W " : " R ") << register_text(a.kind(), a.offset(), a.is_write()) << '='
           << hex_byte(a.value()) << "  [ " << flags_text(a.kind(), static_cast<uint8_t>(a.flags_after())) << " ]"
           << (a.interrupt_after() ? " IRQ" : "") << (fault.empty() ? "" : "  " + fault) << '\n';
    }
    for (const auto& m : reply.messages()) {
      char at[64];
      std::snprintf(at, sizeof at, "%.6f +%.0f us", static_cast<double>(m.at_ns()) / 1e9,
                    static_cast<double>(m.took_ns()) / 1e3);
      out_ << at << "  " << clean(m.interface()) << "  " << bytes_text(m.request()) << " -> "
           << (m.response().empty() ? "nothing" : bytes_text(m.response()));
      for (uint32_t fault : m.faults()) out_ << "  fault " << fault;
      out_ << '\n';
    }
    if (reply.accesses().empty() && reply.messages().empty()) out_ << "nothing traced; see bmcctl trace on\n";
  }

  static void write_file(const std::string& path, std::string_view content, std::ios::openmode mode) {
    errno = 0;
    std::ofstream file(path, std::ios::binary | mode);
    file.write(content.data(), static_cast<std::streamsize>(content.size()));
    file.close();
    if (!file) {
      throw Failure{kBmcctlFailed, "trace save: cannot write " + path + ": " + (errno ? std::strerror(errno) : "I/O error")};
    }
  }
  void trace_save() {
    if (!outputs_.any()) throw Usage{"trace save: expected --vcd, --pcap, --trace-json or --svg, and a file"};
    if (Status fine = trace::check(outputs_); !fine) throw Usage{"trace save: " + fine.error().message};
    // Before the trace is fetched, and without touching what is in them.
    for (const std::string* path : {&outputs_.vcd, &outputs_.pcap, &outputs_.trace_json, &outputs_.svg}) {
      if (!path->empty()) write_file(*path, "", std::ios::app);
    }
    auto request = about<v1::GetTraceRequest>(bmc_before(0));
    request.set_interface(interface_);
    auto reply = call(&v1::Control::Stub::GetTrace, request);
    std::map<uint32_t, std::string> rules;
    auto in_force = call(&v1::Control::Stub::ListFaults, about<v1::ListFaultsRequest>(reply.bmc()));
    for (const auto& f : in_force.faults()) rules[f.id()] = f.rule();
    const trace::Trace made = to_trace(reply, rules);
    Status written = trace::write_outputs(made, outputs_, [](const std::string& path, std::string_view content) -> Status {
      write_file(path, content, std::ios::trunc);
      return {};
    });
    if (!written) throw Failure{kBmcctlFailed, "trace save: " + written.error().message};
    if (json_) {
      out_ << nlohmann::ordered_json{{"bmc", reply.bmc()},
                                     {"accesses", reply.accesses_size()},
                                     {"messages", reply.messages_size()},
                                     {"left_out", made.left_out}}
                  .dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace)
           << '\n';
      return;
    }
    out_ << reply.accesses_size() << " accesses and " << reply.messages_size() << " messages of " << clean(reply.bmc()) << '\n';
    if (made.left_out > 0) {
      out_ << "the trace's bounds were met: " << reply.accesses_left_out() << " older accesses and "
           << reply.messages_left_out() << " older messages are missing\n";
    }
    if (reply.accesses_size() + reply.messages_size() == 0) out_ << "nothing traced; see bmcctl trace on\n";
  }

  void print_faults(const google::protobuf::RepeatedPtrField<v1::Fault>& faults) {
    if (faults.empty()) {
      out_ << "no fault rule\n";
      return;
    }
    Table table({"ID", "BMC", "INTERFACES", "MATCHED", "FIRED", "LEFT", "RULE"});
    for (const auto& f : faults) {
      std::string interfaces;
      for (const auto& i : f.interfaces()) interfaces += (interfaces.empty() ? "" : ",") + i;
      table.row({std::to_string(f.id()), f.bmc(), interfaces, std::to_string(f.matched()), std::to_string(f.fired()),
                 f.over() ? "over" : f.bounded() ? std::to_string(f.remaining()) : "unbounded", f.rule()});
    }
    table.print(out_, colour_);
  }
  static std::string text_of_file(const std::string& path) {
    std::ostringstream text;
    if (path == "-") {
      text << std::cin.rdbuf();
    } else {
      std::ifstream in(path, std::ios::binary);
      if (!in || std::filesystem::is_directory(path)) throw Usage{"fault add: cannot read " + path};
      text << in.rdbuf();
    }
    if (text.str().size() > kRulesBytesMax) throw Usage{"fault add: more than " + std::to_string(kRulesBytesMax) + " bytes"};
    return text.str();
  }
  void fault_add() {
    // Words with '=' are rules in the short form. One that holds blanks is a whole rule; else all together are one.
    Words rules;
    Words others;
    bool whole = false;
    for (const std::string& word : words_) {
      const bool is_rule = word.find('=') != std::string::npos && word.find('/') == std::string::npos;
      (is_rule ? rules : others).push_back(word);
      whole = whole || (is_rule && word.find(' ') != std::string::npos);
    }
    if (others.size() > (rules.empty() ? 2u : 1u)) throw Usage{"fault add '" + others[1] + "': expected KEY=VALUE"};
    if (rules.empty() && others.empty()) throw Usage{"fault add: expected a file or KEY=VALUE"};
    v1::AddFaultRequest request;
    if (rules.empty()) {
      if (others.size() == 2) request.set_bmc(others[0]);
      request.set_file_name(others.back() == "-" ? "stdin" : others.back());
      request.set_rules(text_of_file(others.back()));
    } else {
      if (!others.empty()) request.set_bmc(others[0]);
      request.set_file_name("rule");
      std::string text;
      for (const std::string& rule : rules) text += (text.empty() ? "" : whole ? "\n" : " ") + rule;
      request.set_rules(text);
    }
    auto reply = call(&v1::Control::Stub::AddFault, request);
    if (!as_json(reply)) print_faults(reply.faults());
  }
  void fault_list() {
    auto reply = call(&v1::Control::Stub::ListFaults, about<v1::ListFaultsRequest>(bmc_before(0)));
    if (!as_json(reply)) print_faults(reply.faults());
  }
  void fault_clear() {
    v1::ClearFaultsRequest request;
    bool all = false;
    for (size_t i = 0; i < words_.size(); ++i) {
      auto id = parse_number(words_[i], UINT32_MAX);
      if (id) request.add_ids(static_cast<uint32_t>(*id));
      else if (words_[i] == "all") all = true;
      else if (i == 0) request.set_bmc(words_[i]);
      else throw Usage{"fault clear '" + words_[i] + "': expected ids as bmcctl fault list shows them, or all"};
    }
    if (all && !request.ids().empty()) throw Usage{"fault clear: expected ids, or all"};
    auto reply = call(&v1::Control::Stub::ClearFaults, request);
    done(reply, "cleared " + std::to_string(reply.cleared()) + (reply.cleared() == 1 ? " rule" : " rules"));
  }

  void endpoints() {
    auto reply = call(&v1::Control::Stub::Endpoints, about<v1::EndpointsRequest>(bmc_before(0)));
    if (as_json(reply)) return;
    Table table({"ID", "INTERFACE", "WHO", "SINCE"});
    for (const auto& e : reply.endpoints())
      table.row({std::to_string(e.id()), e.bmc() + "/" + e.interface(), e.who(), seconds_text(e.since_us()) + " s"});
    table.print(out_, colour_);
  }
  void detach() {
    auto request = about<v1::DetachRequest>(bmc_before(1));
    auto id = parse_number(words_.back(), UINT64_MAX);
    if (!id || *id == 0) throw Usage{"detach '" + words_.back() + "': expected an id as bmcctl endpoints shows it"};
    request.set_endpoint(*id);
    request.set_reason(reason_);
    done(call(&v1::Control::Stub::Detach, request), "detached");
  }

  void version() {
    auto reply = call(&v1::Control::Stub::Version, v1::VersionRequest());
    done(reply, "bmc_emu " + reply.version() + ", RegisterBus protocol " + std::to_string(reply.protocol_version()) +
                    ", " + std::to_string(reply.bmcs()) + " BMCs, up " + seconds_text(reply.uptime_us()) + " s");
  }

  void health() {
    grpc::ClientContext context;
    context.set_wait_for_ready(wait_s_ > 0);
    const double limit = wait_s_ > 0 ? wait_s_ : timeout_s_;
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::duration<double>(limit)));
    v1::VersionReply reply;
    grpc::Status status = stub_->Version(&context, v1::VersionRequest(), &reply);
    if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED)
      throw Failure{kBmcctlUnreachable, "nobody answers at " + address_ + " within " + number_text(limit) + " s"};
    if (!status.ok()) fail(status);
    done(reply, "ok: bmc_emu " + reply.version() + ", " + std::to_string(reply.bmcs()) + " BMCs, up " +
                    seconds_text(reply.uptime_us()) + " s");
  }

  std::ostream& out_;
  std::ostream& err_;
  const bool terminal_;
  CLI::App app_{"", "bmcctl"};
  std::function<void()> action_;
  std::unique_ptr<v1::Control::Stub> stub_;
  bool colour_ = false;

  std::string address_;
  bool json_ = false;
  double timeout_s_ = 10;
  double wait_s_ = 0;
  std::string tls_ca_, tls_certificate_, tls_key_;
  Words words_;
  bool states_ = false;
  bool messages_ = false;
  uint64_t count_ = 0;
  std::string interface_;
  trace::Outputs outputs_;
  std::string reason_;
};

}  // namespace

int run_bmcctl(int argc, const char* const* argv, std::ostream& out, std::ostream& err, bool terminal) {
  return Ctl(out, err, terminal).run(argc, argv);
}

}  // namespace bmcpair::daemon
