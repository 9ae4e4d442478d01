#include "host_driver/cli/child.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>

namespace bmcpair::cli {
namespace {

constexpr int kTaken[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGUSR1, SIGUSR2, SIGCONT, SIGCHLD};
// Of a unix socket's name, what our folder may use.
constexpr size_t kFolderBytesMax = 85;

void retry_close(int& fd) {
  if (fd >= 0) ::close(fd);
  fd = -1;
}

// The keeper: lives until its pipe ends, that is until nobody of us is left, then clears up. Never returns.
[[noreturn]] void keep(const std::string& folder, int pipe_fd) {
  ::setsid();
  sigset_t all;
  sigfillset(&all);
  ::sigprocmask(SIG_BLOCK, &all, nullptr);
  const int null = ::open("/dev/null", O_RDWR);
  for (int fd : {0, 1, 2}) ::dup2(null, fd);
  ::dup2(pipe_fd, 3);
  ::close_range(4, ~0u, 0);
  (void)!::chdir("/");
  char byte;
  while (::read(3, &byte, 1) < 0 && errno == EINTR) {
  }
  // The daemon may be making a file at this moment; it dies with us.
  for (int attempt = 0; attempt < 20 && ::access(folder.c_str(), F_OK) == 0; ++attempt) {
    if (attempt > 0) ::poll(nullptr, 0, 50);
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
  }
  ::_exit(0);
}

}  // namespace

Signals::Signals() {
  sigset_t taken;
  sigemptyset(&taken);
  for (int number : kTaken) sigaddset(&taken, number);
  pthread_sigmask(SIG_BLOCK, &taken, &before_);
  // Ignored, children would vanish without a word.
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  ::sigaction(SIGCHLD, &standard, &child_before_);
  fd_ = ::signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
}

Signals::~Signals() {
  retry_close(fd_);
  ::sigaction(SIGCHLD, &child_before_, nullptr);
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

std::optional<Signals::Signal> Signals::next() {
  signalfd_siginfo info{};
  ssize_t got;
  do {
    got = ::read(fd_, &info, sizeof info);
  } while (got < 0 && errno == EINTR);
  if (got != sizeof info) return std::nullopt;
  return Signal{static_cast<int>(info.ssi_signo), info.ssi_code <= 0, static_cast<pid_t>(info.ssi_pid)};
}

int Signals::ending() {
  while (auto signal = next()) {
    for (int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) {
      if (signal->number == number) return number;
    }
  }
  return 0;
}

void Signals::restore_in_child() const {
  ::sigaction(SIGCHLD, &child_before_, nullptr);
  ::sigprocmask(SIG_SETMASK, &before_, nullptr);
}

Result<pid_t> start_program(const StartOptions& options, const Signals& signals) {
  std::vector<char*> argv, environment;
  for (const std::string& a : options.argv) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  for (const std::string& e : options.environment) environment.push_back(const_cast<char*>(e.c_str()));
  environment.push_back(nullptr);
  int report[2];
  if (::pipe2(report, O_CLOEXEC) != 0) return Error{ErrorCode::kLimit, std::string("pipe: ") + std::strerror(errno)};
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) {
    const int error = errno;
    ::close(report[0]);
    ::close(report[1]);
    return Error{ErrorCode::kLimit, std::string("fork: ") + std::strerror(error)};
  }
  if (child == 0) {
    // Other threads may have held any lock: system calls only.
    if (options.death_signal != 0) {
      ::prctl(PR_SET_PDEATHSIG, options.death_signal);
      if (::getppid() != parent) ::_exit(127);
    }
    if (options.apart) {
      ::setsid();
      const int null = ::open("/dev/null", O_RDONLY);
      if (null > 0) ::dup2(null, 0);
    }
    if (options.out >= 0) ::dup2(options.out, 1);
    if (options.err >= 0) ::dup2(options.err, 2);
    signals.restore_in_child();
    ::execve(options.path.c_str(), argv.data(), environment.data());
    const int error = errno;
    (void)!::write(report[1], &error, sizeof error);
    ::_exit(126);
  }
  ::close(report[1]);
  int error = 0;
  ssize_t got;
  do {
    got = ::read(report[0], &error, sizeof error);
  } while (got < 0 && errno == EINTR);
  ::close(report[0]);
  if (got != sizeof error) return child;
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  // Of a script, what is missing is its interpreter.
  return Error{error == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo,
               options.path + ": " + (error == ENOENT ? "the interpreter or loader that it names is missing" : std::strerror(error))};
}

Result<ScratchFolder> ScratchFolder::make() {
  ScratchFolder out;
  std::string tried;
  for (const char* base : {static_cast<const char*>(std::getenv("TMPDIR")), "/tmp",
                           static_cast<const char*>(std::getenv("XDG_RUNTIME_DIR")), "/dev/shm"}) {
    if (!base || base[0] != '/') continue;
    std::string pattern = std::string(base) + "/bmcpair-run.XXXXXX";
    if (pattern.size() > kFolderBytesMax) {
      tried += (tried.empty() ? "" : ", ") + std::string(base) + " (too long for a socket's name)";
    } else if (!::mkdtemp(pattern.data())) {
      tried += (tried.empty() ? "" : ", ") + std::string(base) + " (" + std::strerror(errno) + ")";
    } else {
      out.path_ = pattern;
      break;
    }
  }
  if (out.path_.empty()) {
    return Error{ErrorCode::kIo, "no place for a private folder: tried " + tried + "; set TMPDIR to a folder that can be written"};
  }
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return Error{ErrorCode::kLimit, std::string("pipe: ") + std::strerror(errno)};
  out.keeper_ = ::fork();
  if (out.keeper_ == 0) {
    ::close(ends[1]);
    keep(out.path_, ends[0]);
  }
  ::close(ends[0]);
  out.alive_fd_ = ends[1];
  return out;
}

ScratchFolder::ScratchFolder(ScratchFolder&& other) noexcept
    : path_(std::exchange(other.path_, "")), alive_fd_(std::exchange(other.alive_fd_, -1)), keeper_(std::exchange(other.keeper_, -1)) {}

ScratchFolder::~ScratchFolder() {
  if (!path_.empty()) {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  retry_close(alive_fd_);
  // Whoever takes all children has taken this one, too, or it is still there.
  if (keeper_ > 0) {
    while (::waitpid(keeper_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
}

}  // namespace bmcpair::cli
