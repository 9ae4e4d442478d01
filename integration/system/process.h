// Programs under test: started, listened to, ended. Only by their own process id.
#pragma once

#include <sys/types.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace bmcpair::integration {

// Generous: it only bounds how long a failing test takes.
constexpr std::chrono::seconds kPatience{60};
constexpr size_t kKeepMax = size_t{64} << 20;

class Process {
 public:
  // argv[0] is looked up in PATH unless it has a '/'. Standard output and standard error are collected, the first
  // `keep_max` bytes of each; what comes after is read and thrown away. Throws std::runtime_error when it cannot be
  // started.
  explicit Process(std::vector<std::string> argv, std::vector<std::string> extra_environment = {},
                   size_t keep_max = kKeepMax);
  // Kills and reaps what still runs.
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  // After SIGSTOP it has stopped, with all its threads, when this returns.
  void signal(int number);
  // Exit status, or 128 + signal number. -1 when it still runs after `patience`.
  int wait(std::chrono::seconds patience = kPatience);
  bool running();
  // True when `text` appears in standard output or standard error before the end and within `patience`.
  bool wait_for_output(const std::string& text, std::chrono::seconds patience = kPatience);
  std::string out() const;
  std::string err() const;

 private:
  void collect(int fd, std::string* into);
  void reap(bool block);

  pid_t pid_ = -1;
  int status_ = -1;
  bool reaped_ = false;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::string out_, err_;
  size_t keep_max_;
  int open_streams_ = 2;
  std::thread out_reader_, err_reader_;
};

struct Finished {
  int status;
  std::string out;
  std::string err;
};
// Runs a program to its end.
Finished run(std::vector<std::string> argv, std::vector<std::string> extra_environment = {});

// A folder of its own, removed with all it holds.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

std::string program(const std::string& name);      // in the build's bin folder
std::string source_file(const std::string& name);  // below the repository's root
void write_file(const std::string& path, const std::string& content);

inline bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
inline long lines_of(const std::string& text) { return std::count(text.begin(), text.end(), '\n'); }

// A bmc_emu that listens on a unix socket in `folder` and is ready to be used.
class Daemon {
 public:
  Daemon(const TemporaryFolder& folder, const std::string& config_path, std::vector<std::string> more_arguments = {});
  std::string address() const { return "unix:" + folder_ + "/bmc_emu.sock"; }
  std::string bus(const std::string& path) const { return "grpc:" + address() + (path.empty() ? "" : "#" + path); }
  std::string folder() const { return folder_; }
  Process& process() { return *process_; }
  void start();  // again, after it ended; with the same arguments
  // SIGTERM, and the exit status.
  int stop();
  // bmcctl against this daemon.
  Finished ctl(std::vector<std::string> arguments);

 private:
  std::string folder_;
  std::vector<std::string> argv_;
  std::unique_ptr<Process> process_;
};

Finished host_driver(std::vector<std::string> arguments);

}  // namespace bmcpair::integration
