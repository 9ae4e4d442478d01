#include "host_driver/cli/recording.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <utility>

#include "host_driver/runtime/runtime.h"

namespace bmcpair::cli {
namespace {

Status write_file(const std::string& path, std::string_view content, std::ios::openmode mode) {
  errno = 0;
  std::ofstream file(path, std::ios::binary | mode);
  file.write(content.data(), static_cast<std::streamsize>(content.size()));
  file.close();
  if (!file) return Error{ErrorCode::kIo, "cannot write " + path + ": " + (errno ? std::strerror(errno) : "I/O error")};
  return {};
}

int64_t wall_clock_at_zero() {
  const auto wall = std::chrono::duration_cast<Duration>(std::chrono::system_clock::now().time_since_epoch());
  return (wall - rt::now().time_since_epoch()).count();
}

sigset_t ending_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (int number : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, number);
  return signals;
}

}  // namespace

class RecordedPort final : public bus::PortListener {
 public:
  RecordedPort(std::shared_ptr<Recording> recording, trace::InterfaceId interface)
      : recording_(std::move(recording)), interface_(interface) {}
  void on_access(const trace::Access& access) override { recording_->add(interface_, access); }
  void on_interrupt(bool level) override { recording_->add(interface_, trace::InterruptLine{level}); }
  void on_link(const registers::LinkState& state) override {
    recording_->add(interface_, trace::Text{trace::Text::Kind::kNote, trace::Side::kBoth,
                                            state.up ? "the link is up" : "the link is down: " + state.reason, 0});
  }

 private:
  const std::shared_ptr<Recording> recording_;
  const trace::InterfaceId interface_;
};

class RecordedMachine final : public state_machine::Trace {
 public:
  RecordedMachine(std::shared_ptr<Recording> recording, trace::InterfaceId interface,
                  std::shared_ptr<state_machine::Trace> steps_too)
      : recording_(std::move(recording)), interface_(interface), steps_too_(std::move(steps_too)) {}
  bool wanted() const override { return true; }
  void line(std::string text) override {
    recording_->add(interface_, trace::Text{trace::Text::Kind::kStep, trace::Side::kHost, text, 0});
    if (steps_too_ && steps_too_->wanted()) steps_too_->line(std::move(text));
  }
  // Whoever drives the machine calls these, one at a time.
  void request(ByteView message) override {
    asked_ = rt::now();
    add(trace::Message::Direction::kToBmc, message, Duration(0));
  }
  void response(ByteView message) override { add(trace::Message::Direction::kToHost, message, rt::now() - asked_); }
  void no_response(ErrorCode why, uint8_t cc) override {
    recording_->add(interface_, trace::Text{trace::Text::Kind::kNote, trace::Side::kHost,
                                            "no response: " + std::string(to_string(why)) + " (completion code " +
                                                to_hex(ByteView(&cc, 1)) + " is the driver's own)",
                                            0});
  }

 private:
  void add(trace::Message::Direction direction, ByteView message, Duration took) {
    recording_->add(interface_, trace::Message{direction, Bytes(message.begin(), message.end()), took});
  }

  const std::shared_ptr<Recording> recording_;
  const trace::InterfaceId interface_;
  const std::shared_ptr<state_machine::Trace> steps_too_;
  Instant asked_{};
};

Recording::Recording(RecordingOptions options, std::string title)
    : options_(std::move(options)), title_(std::move(title)), unix_epoch_ns_(wall_clock_at_zero()), recorder_(options_.events_max) {}

Result<std::shared_ptr<Recording>> Recording::create(RecordingOptions options, std::string title) {
  if (Status fine = trace::check(options.outputs); !fine) return fine.error();
  const trace::Outputs& o = options.outputs;
  // Now rather than after an hour; what is in them stays until there is something better.
  for (const std::string* path : {&o.vcd, &o.pcap, &o.trace_json, &o.svg}) {
    if (path->empty()) continue;
    if (Status writable = write_file(*path, "", std::ios::app); !writable) return writable.error();
  }
  return std::shared_ptr<Recording>(new Recording(std::move(options), std::move(title)));
}

trace::InterfaceId Recording::interface(const std::string& name) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto known = std::find(names_.begin(), names_.end(), name);
  if (known != names_.end()) return static_cast<trace::InterfaceId>(known - names_.begin());
  const trace::InterfaceId id = recorder_.add_interface(name, registers::InterfaceKind::kKcs);
  if (id != trace::kNoInterface) names_.push_back(name);
  return id;
}

template <class What>
void Recording::add(trace::InterfaceId interface, What what) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!written_) recorder_.add({rt::now(), interface, "", std::move(what)});
}

std::unique_ptr<registers::RegisterPort> Recording::record(std::string name, std::unique_ptr<registers::RegisterPort> port) {
  const trace::InterfaceId id = interface(name);
  set_kind(id, port->kind());
  return bus::recording_port(std::move(port), std::make_shared<RecordedPort>(shared_from_this(), id));
}

std::shared_ptr<state_machine::Trace> Recording::record(std::string name, std::shared_ptr<state_machine::Trace> steps_too) {
  return std::make_shared<RecordedMachine>(shared_from_this(), interface(name), std::move(steps_too));
}

void Recording::set_kind(trace::InterfaceId id, registers::InterfaceKind kind) {
  std::lock_guard<std::mutex> lock(mutex_);
  recorder_.set_kind(id, kind);
}

Status Recording::write() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!written_) {
    written_ = true;
    result_ = trace::write_outputs(recorder_.trace(title_, unix_epoch_ns_), options_.outputs,
                                   [](const std::string& path, std::string_view content) {
                                     return write_file(path, content, std::ios::trunc);
                                   });
  }
  return result_;
}

uint64_t Recording::left_out() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return recorder_.left_out();
}

WriteOnSignal::WriteOnSignal(std::shared_ptr<Recording> recording) {
  if (!recording) return;
  const sigset_t signals = ending_signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal_fd_ = ::signalfd(-1, &signals, SFD_CLOEXEC);
  stop_fd_ = ::eventfd(0, EFD_CLOEXEC);
  thread_ = std::thread([this, recording = std::move(recording)] {
    pollfd fds[2] = {{signal_fd_, POLLIN, 0}, {stop_fd_, POLLIN, 0}};
    while (::poll(fds, 2, -1) < 0) {
      if (errno != EINTR) return;
    }
    signalfd_siginfo info{};
    if ((fds[0].revents & POLLIN) == 0 || ::read(signal_fd_, &info, sizeof info) != sizeof info) return;
    Status written = recording->write();
    const std::string line = written ? "host_driver: interrupted; what was recorded until now is written\n"
                                     : "host_driver: interrupted; " + written.error().message + "\n";
    std::fputs(line.c_str(), stderr);
    std::fflush(nullptr);
    // The driver's threads are in the middle of things; nothing of theirs outlives the process.
    ::_exit(128 + static_cast<int>(info.ssi_signo));
  });
}

WriteOnSignal::~WriteOnSignal() {
  if (!thread_.joinable()) return;
  const uint64_t one = 1;
  (void)!::write(stop_fd_, &one, sizeof one);
  thread_.join();
  ::close(signal_fd_);
  ::close(stop_fd_);
}

}  // namespace bmcpair::cli
