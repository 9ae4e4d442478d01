// A BMC in a bmc_emu of its own, on a unix socket in a private folder.
#include <fcntl.h>
#include <grpc/support/log.h>
#include <grpcpp/grpcpp.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>
#include <utility>

#include "integration/testing/backend.h"
#include "proto/rpc/control.grpc.pb.h"

extern char** environ;

namespace bmcpair::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr int kReplyBytesMax = 64 << 20;
constexpr milliseconds kAskAgain{5};
constexpr milliseconds kStopPatience{5000};  // a bmc_emu stops within a second

// The shell ends the daemon when its own standard input ends: however this process ends, its daemon does, too.
constexpr char kKeeper[] = R"(exec 3<&0
"$@" </dev/null 3<&- &
daemon=$!
( read -r _ <&3; kill "$daemon" 2>/dev/null ) &
watcher=$!
wait "$daemon"
status=$?
kill "$watcher" 2>/dev/null
exit $status
)";

Error io_error(const std::string& what) { return {ErrorCode::kIo, what + ": " + std::strerror(errno)}; }

std::string text_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

class Child {
 public:
  // Standard output and error go to the file `log`.
  static Result<std::unique_ptr<Child>> start(const std::vector<std::string>& command, const std::string& log) {
    int in[2];
    if (::pipe2(in, O_CLOEXEC) != 0) return io_error("pipe");
    std::vector<std::string> argv = {"/bin/sh", "-c", kKeeper, "bmc_emu"};
    argv.insert(argv.end(), command.begin(), command.end());
    std::vector<char*> args;
    for (std::string& a : argv) args.push_back(a.data());
    args.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    // What a test blocks or ignores is not the daemon's.
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    pid_t pid = -1;
    const int error = ::posix_spawn(&pid, args[0], &actions, &attributes, args.data(), environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    ::close(in[0]);
    if (error != 0) {
      ::close(in[1]);
      errno = error;
      return io_error("cannot start /bin/sh");
    }
    return std::unique_ptr<Child>(new Child(pid, in[1]));
  }
  ~Child() {
    if (input_ >= 0) ::close(input_);
    const auto deadline = steady_clock::now() + kStopPatience;
    while (running()) {
      if (steady_clock::now() >= deadline) {
        ::kill(-pid_, SIGKILL);  // the group: shell and daemon
        int status;
        while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
        }
        break;
      }
      std::this_thread::sleep_for(kAskAgain);
    }
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  bool running() {
    if (ended_) return false;
    int status = 0;
    const pid_t done = ::waitpid(pid_, &status, WNOHANG);
    ended_ = done == pid_ || (done < 0 && errno != EINTR);
    return !ended_;
  }

 private:
  Child(pid_t pid, int input) : pid_(pid), input_(input) {}
  pid_t pid_;
  int input_;
  bool ended_ = false;
};

class Folder {
 public:
  static Result<std::unique_ptr<Folder>> make() {
    const char* below = std::getenv("TMPDIR");
    std::string pattern = std::string(below && below[0] ? below : "/tmp") + "/bmcpair-virtual.XXXXXX";
    if (!::mkdtemp(pattern.data())) return io_error("cannot make a folder " + pattern);
    return std::unique_ptr<Folder>(new Folder(std::move(pattern)));
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const std::string path;

 private:
  explicit Folder(std::string p) : path(std::move(p)) {}
};

ErrorCode code_of(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::INVALID_ARGUMENT: return ErrorCode::kInvalidArgument;
    case grpc::StatusCode::NOT_FOUND: return ErrorCode::kNotFound;
    case grpc::StatusCode::RESOURCE_EXHAUSTED: return ErrorCode::kLimit;
    case grpc::StatusCode::DEADLINE_EXCEEDED: return ErrorCode::kTimeout;
    case grpc::StatusCode::UNAVAILABLE: return ErrorCode::kUnavailable;
    default: return ErrorCode::kInternal;
  }
}

Bytes bytes_of(const std::string& text) { return {text.begin(), text.end()}; }

Sensor make_sensor(const v1::Sensor& s) {
  return {static_cast<uint8_t>(s.number()), static_cast<uint8_t>(s.lun()), s.name(), s.threshold(),
          static_cast<uint8_t>(s.raw()), s.value(), static_cast<uint16_t>(s.states())};
}

class Daemon final : public Backend {
 public:
  Daemon(std::unique_ptr<Folder> folder, std::unique_ptr<Child> child, std::string address, milliseconds patience)
      : folder_(std::move(folder)), child_(std::move(child)), address_(std::move(address)), patience_(patience) {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(kReplyBytesMax);
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 8000);  // also what one try to connect may take, if nobody refuses it
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 20);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 200);
    stub_ = v1::Control::NewStub(grpc::CreateCustomChannel(address_, grpc::InsecureChannelCredentials(), arguments));
  }
  ~Daemon() override { stub_.reset(); }

  // Until it answers and its BMC is known.
  Status wait_until_ready(const std::string& bmc) {
    const auto deadline = steady_clock::now() + patience_;
    for (;;) {
      if (!child_->running()) {
        std::string said = text_of(log_path());
        while (!said.empty() && said.back() == '\n') said.pop_back();
        return Error{ErrorCode::kUnavailable, said.empty() ? "bmc_emu ended at once and said nothing" : said};
      }
      grpc::ClientContext context;
      context.set_deadline(std::chrono::system_clock::now() + milliseconds(100));
      context.set_wait_for_ready(true);
      v1::ListReply reply;
      if (stub_->List(&context, v1::ListRequest(), &reply).ok()) return choose(reply, bmc);
      if (steady_clock::now() >= deadline)
        return Error{ErrorCode::kTimeout, "bmc_emu did not become ready in " + std::to_string(patience_.count()) + " ms"};
      std::this_thread::sleep_for(kAskAgain);
    }
  }

  std::string address() const override { return address_; }
  std::string bus(const std::string& interface) const override {
    return "grpc:" + address_ + "#" + name_ + "/" + interface;
  }
  const std::string& name() const override { return name_; }
  std::vector<std::string> interfaces() const override { return interfaces_; }

  Result<std::vector<uint32_t>> add_faults(const std::string& rules, const std::string& file) override {
    v1::AddFaultRequest request;
    request.set_bmc(name_);
    request.set_rules(rules);
    request.set_file_name(file);
    v1::AddFaultReply reply;
    if (Status s = call(&v1::Control::Stub::AddFault, request, &reply); !s) return s.error();
    std::vector<uint32_t> ids;
    for (const v1::Fault& fault : reply.faults()) ids.push_back(fault.id());
    return ids;
  }
  Result<std::vector<Fault>> faults() override {
    v1::ListFaultsReply reply;
    if (Status s = call(&v1::Control::Stub::ListFaults, about<v1::ListFaultsRequest>(), &reply); !s) return s.error();
    std::vector<Fault> out;
    for (const v1::Fault& f : reply.faults()) {
      Fault fault{f.id(), f.name(), f.rule(), {f.interfaces().begin(), f.interfaces().end()}, f.matched(), f.fired(), {},
                  f.over()};
      if (f.bounded()) fault.remaining = f.remaining();
      out.push_back(std::move(fault));
    }
    return out;
  }
  Status clear_fault(uint32_t id) override {
    auto request = about<v1::ClearFaultsRequest>();
    request.add_ids(id);
    v1::ClearFaultsReply reply;
    return call(&v1::Control::Stub::ClearFaults, request, &reply);
  }
  Status clear_faults() override {
    v1::ClearFaultsReply reply;
    return call(&v1::Control::Stub::ClearFaults, about<v1::ClearFaultsRequest>(), &reply);
  }

  Result<std::vector<Sensor>> sensors() override {
    v1::ListSensorsReply reply;
    if (Status s = call(&v1::Control::Stub::ListSensors, about<v1::ListSensorsRequest>(), &reply); !s) return s.error();
    std::vector<Sensor> out;
    for (const v1::Sensor& sensor : reply.sensors()) out.push_back(make_sensor(sensor));
    return out;
  }
  Result<Sensor> sensor(const std::string& sensor) override {
    auto request = about<v1::GetSensorRequest>();
    request.set_sensor(sensor);
    v1::Sensor reply;
    if (Status s = call(&v1::Control::Stub::GetSensor, request, &reply); !s) return s.error();
    return make_sensor(reply);
  }
  Status set_sensor(const std::string& sensor, double value) override {
    auto request = about<v1::SetSensorRequest>();
    request.set_sensor(sensor);
    request.set_value(value);
    v1::Sensor reply;
    return call(&v1::Control::Stub::SetSensor, request, &reply);
  }
  Status set_sensor_states(const std::string& sensor, uint16_t states) override {
    auto request = about<v1::SetSensorRequest>();
    request.set_sensor(sensor);
    request.set_states(states);
    v1::Sensor reply;
    return call(&v1::Control::Stub::SetSensor, request, &reply);
  }
  Status release_sensor(const std::string& sensor) override {
    auto request = about<v1::ReleaseSensorRequest>();
    request.set_sensor(sensor);
    v1::Sensor reply;
    return call(&v1::Control::Stub::ReleaseSensor, request, &reply);
  }

  Result<std::vector<SelEntry>> sel() override {
    v1::SelListReply reply;
    if (Status s = call(&v1::Control::Stub::SelList, about<v1::SelListRequest>(), &reply); !s) return s.error();
    std::vector<SelEntry> out;
    for (const v1::SelRecord& record : reply.records())
      out.push_back(make_sel_entry(static_cast<uint16_t>(record.id()), bytes_of(record.record())));
    return out;
  }
  Result<uint16_t> add_sel(const Bytes& record) override {
    auto request = about<v1::SelAddRequest>();
    request.set_record(std::string(record.begin(), record.end()));
    v1::SelAddReply reply;
    if (Status s = call(&v1::Control::Stub::SelAdd, request, &reply); !s) return s.error();
    return static_cast<uint16_t>(reply.id());
  }
  Status clear_sel() override {
    v1::SelClearReply reply;
    return call(&v1::Control::Stub::SelClear, about<v1::SelClearRequest>(), &reply);
  }

  Result<bool> power_on() override {
    v1::DescribeReply reply;
    if (Status s = call(&v1::Control::Stub::Describe, about<v1::DescribeRequest>(), &reply); !s) return s.error();
    return reply.summary().power_on();
  }
  Status power(Power action) override {
    static constexpr v1::PowerAction kActions[] = {
        v1::POWER_ACTION_OFF,        v1::POWER_ACTION_ON,
        v1::POWER_ACTION_CYCLE,      v1::POWER_ACTION_HARD_RESET,
        v1::POWER_ACTION_DIAGNOSTIC_INTERRUPT, v1::POWER_ACTION_SOFT_SHUTDOWN};
    auto request = about<v1::PowerRequest>();
    request.set_action(kActions[static_cast<size_t>(action)]);
    v1::PowerReply reply;
    return call(&v1::Control::Stub::Power, request, &reply);
  }
  Status reset(Reset kind) override {
    auto request = about<v1::ResetRequest>();
    request.set_kind(kind == Reset::kCold ? v1::RESET_KIND_COLD : v1::RESET_KIND_WARM);
    v1::ResetReply reply;
    return call(&v1::Control::Stub::Reset, request, &reply);
  }

  Result<Traffic> traffic() override {
    v1::GetTraceReply reply;
    if (Status s = call(&v1::Control::Stub::GetTrace, about<v1::GetTraceRequest>(), &reply); !s) return s.error();
    Traffic out;
    out.left_out = reply.messages_left_out();
    for (const v1::TracedMessage& message : reply.messages()) {
      Exchange e = make_exchange(message.interface(), bytes_of(message.request()), bytes_of(message.response()));
      e.faults.assign(message.faults().begin(), message.faults().end());
      e.at = std::chrono::nanoseconds(message.at_ns());
      e.took = std::chrono::nanoseconds(message.took_ns());
      out.kept.push_back(std::move(e));
    }
    return out;
  }

 private:
  std::string log_path() const { return folder_->path + "/bmc_emu.log"; }

  Status choose(const v1::ListReply& reply, const std::string& bmc) {
    std::string names;
    for (const v1::BmcSummary& one : reply.bmcs()) {
      if (bmc.empty() || one.name() == bmc) {
        name_ = one.name();
        for (const v1::InterfaceSummary& interface : one.interfaces()) interfaces_.push_back(interface.name());
        auto request = about<v1::SetTraceRequest>();
        request.set_on(true);
        v1::SetTraceReply traced;
        return call(&v1::Control::Stub::SetTrace, request, &traced);
      }
      if (names.size() < 200) names += (names.empty() ? "" : ", ") + one.name();
    }
    return Error{ErrorCode::kNotFound, "no BMC '" + bmc + "'; there is: " + names};
  }

  template <class Request>
  Request about() const {
    Request request;
    request.set_bmc(name_);
    return request;
  }

  template <class Request, class Reply>
  Status call(grpc::Status (v1::Control::Stub::*method)(grpc::ClientContext*, const Request&, Reply*),
              const Request& request, Reply* reply) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + patience_);
    const grpc::Status status = (stub_.get()->*method)(&context, request, reply);
    if (status.ok()) return {};
    if (status.error_code() == grpc::StatusCode::UNAVAILABLE)
      return Error{ErrorCode::kUnavailable, "the BMC's bmc_emu does not answer any more (" + status.error_message() + ")"};
    return Error{code_of(status.error_code()), status.error_message()};
  }

  // In this order they are made, in the other one they end.
  std::unique_ptr<Folder> folder_;
  std::unique_ptr<Child> child_;
  const std::string address_;
  const milliseconds patience_;
  std::unique_ptr<v1::Control::Stub> stub_;
  std::string name_;
  std::vector<std::string> interfaces_;
};

// What was asked for, or the one in PATH; where there is none, what to do.
Result<std::string> find_program(const std::string& asked) {
  std::string program = asked;
  if (program.empty()) {
    const char* environment = std::getenv("BMCPAIR_BMC_EMU");
    program = environment && environment[0] ? environment : "bmc_emu";
  }
  if (program.find('/') != std::string::npos) {
    if (::access(program.c_str(), X_OK) == 0) return program;
    return Error{ErrorCode::kNotFound, program + ": no program that can be run"};
  }
  const char* path = std::getenv("PATH");
  std::istringstream folders(path ? path : "/usr/bin:/bin");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string candidate = (folder.empty() ? "." : folder) + "/" + program;
    std::error_code ignored;
    if (::access(candidate.c_str(), X_OK) == 0 && std::filesystem::is_regular_file(candidate, ignored)) return candidate;
  }
  return Error{ErrorCode::kNotFound, "there is no " + program +
                                         " in PATH; install the package bmcpair-bmc-emu, or say where it is with "
                                         "$BMCPAIR_BMC_EMU or VirtualBmcOptions::program"};
}

}  // namespace

Result<std::unique_ptr<Backend>> start_daemon(const std::string& text, const std::string& path,
                                              const VirtualBmcOptions& options) {
  auto program = find_program(options.program);
  if (!program) return program.error();
  auto folder = Folder::make();
  if (!folder) return folder.error();
  std::string config = path;
  if (config.empty()) {
    config = (*folder)->path + "/configuration.yaml";
    std::ofstream out(config, std::ios::binary);
    out << text;
    if (!out.flush()) return io_error("cannot write " + config);
  }
  if (!std::getenv("GRPC_VERBOSITY")) gpr_set_log_verbosity(static_cast<gpr_log_severity>(GPR_LOG_SEVERITY_ERROR + 1));
  const std::string address = "unix:" + (*folder)->path + "/bmc_emu.sock";
  std::vector<std::string> command = {*program, config, "--listen", address, "--run-dir", (*folder)->path};
  if (!options.state.empty()) command.insert(command.end(), {"--state", options.state});
  auto child = Child::start(command, (*folder)->path + "/bmc_emu.log");
  if (!child) return child.error();
  auto daemon = std::make_unique<Daemon>(*std::move(folder), *std::move(child), address, options.patience);
  if (Status ready = daemon->wait_until_ready(options.bmc); !ready) return ready.error();
  return std::unique_ptr<Backend>(std::move(daemon));
}

}  // namespace bmcpair::testing
