// What host_driver records while a command runs, and the files that are made of it.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "host_driver/bus/recording_port.h"
#include "host_driver/state_machine/state_machine.h"
#include "proto/trace/outputs.h"

namespace bmcpair::cli {

struct RecordingOptions {
  trace::Outputs outputs;
  size_t events_max = 200'000;  // the newest are kept
};

// Thread safe.
class Recording : public std::enable_shared_from_this<Recording> {
 public:
  // Errors: kInvalidArgument (two outputs are one file), kIo (a file cannot be written: says which and why).
  static Result<std::shared_ptr<Recording>> create(RecordingOptions options, std::string title);

  // The port's accesses, interrupts and link go to the interface of this name.
  std::unique_ptr<registers::RegisterPort> record(std::string name, std::unique_ptr<registers::RegisterPort> port);
  // The machine's messages, and its steps as notes. steps_too: also gets the steps; may be null.
  std::shared_ptr<state_machine::Trace> record(std::string name, std::shared_ptr<state_machine::Trace> steps_too);

  // Makes the files of what there is, once: later calls do nothing and say what the first one said.
  Status write();
  // After write(): how many older events the bound has cost.
  uint64_t left_out() const;
  size_t events_max() const { return options_.events_max; }

 private:
  Recording(RecordingOptions options, std::string title);
  friend class RecordedPort;
  friend class RecordedMachine;
  trace::InterfaceId interface(const std::string& name);
  void set_kind(trace::InterfaceId id, registers::InterfaceKind kind);
  template <class What>
  void add(trace::InterfaceId interface, What what);

  const RecordingOptions options_;
  const std::string title_;
  const int64_t unix_epoch_ns_;
  mutable std::mutex mutex_;
  trace::Recorder recorder_;
  std::vector<std::string> names_;
  bool written_ = false;
  Status result_;
};

// While it lives, SIGINT, SIGTERM and SIGHUP write the recording's files before they end the process, as 128 + their number. Made before
// the first thread, which inherits what it blocks.
class WriteOnSignal {
 public:
  explicit WriteOnSignal(std::shared_ptr<Recording> recording);  // null: does nothing
  ~WriteOnSignal();
  WriteOnSignal(const WriteOnSignal&) = delete;
  WriteOnSignal& operator=(const WriteOnSignal&) = delete;

 private:
  int signal_fd_ = -1;
  int stop_fd_ = -1;
  std::thread thread_;
};

}  // namespace bmcpair::cli
