// Programs that host_driver starts, the signals it gets meanwhile, and the folder that is theirs for as long.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "proto/base/result.h"
#include "proto/base/time.h"

namespace bmcpair::cli {

// From its making on, the signals that others send come out of it, in order, and reach no thread: made before the first.
class Signals {
 public:
  Signals();
  ~Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  int fd() const { return fd_; }
  struct Signal {
    int number = 0;
    bool by_process = false;  // kill(), not a terminal or the kernel
    pid_t sender = 0;
  };
  std::optional<Signal> next();
  // The first of those that ask a program to end, if one has come: SIGCHLD and the like are dropped on the way.
  int ending();
  // Of a child before exec: as it was before us.
  void restore_in_child() const;

 private:
  int fd_ = -1;
  sigset_t before_{};
  struct sigaction child_before_ {};
};

struct StartOptions {
  std::string path;
  std::vector<std::string> argv;
  std::vector<std::string> environment;  // NAME=VALUE
  bool apart = false;     // a session of its own: what the terminal sends is not for it; standard input is /dev/null
  int out = -1, err = -1;  // descriptors; -1: ours
  int death_signal = 0;   // what it gets when we die, however
};

// From the main thread, which lives as long as we do. An error says why it cannot be executed.
Result<pid_t> start_program(const StartOptions& options, const Signals& signals);

// A private folder (0700) in the first of TMPDIR, /tmp, XDG_RUNTIME_DIR and /dev/shm that takes one, removed with all it holds
// when this object goes, and by a process of its own when we are killed. Made before the first thread.
class ScratchFolder {
 public:
  static Result<ScratchFolder> make();
  ~ScratchFolder();
  ScratchFolder(ScratchFolder&& other) noexcept;
  ScratchFolder& operator=(ScratchFolder&&) = delete;
  const std::string& path() const { return path_; }

 private:
  ScratchFolder() = default;
  std::string path_;
  int alive_fd_ = -1;
  pid_t keeper_ = -1;
};

}  // namespace bmcpair::cli
