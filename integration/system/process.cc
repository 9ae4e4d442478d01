#include "integration/system/process.h"

#include <fcntl.h>
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
#include <stdexcept>

extern char** environ;

namespace bmcpair::integration {

namespace {
std::string environment_or(const char* name, const char* other) {
  const char* value = std::getenv(name);
  return value ? value : other;
}
}  // namespace

Process::Process(std::vector<std::string> argv, std::vector<std::string> extra_environment, size_t keep_max)
    : keep_max_(keep_max) {
  int out[2], err[2];
  if (::pipe2(out, O_CLOEXEC) != 0 || ::pipe2(err, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  posix_spawn_file_actions_adddup2(&actions, err[1], 2);
  std::vector<char*> args, environment;
  for (std::string& a : argv) args.push_back(a.data());
  args.push_back(nullptr);
  for (std::string& e : extra_environment) environment.push_back(e.data());
  for (char** e = environ; *e; ++e) environment.push_back(*e);
  environment.push_back(nullptr);
  int error = ::posix_spawnp(&pid_, args[0], &actions, nullptr, args.data(), environment.data());
  posix_spawn_file_actions_destroy(&actions);
  ::close(out[1]);
  ::close(err[1]);
  if (error != 0) {
    ::close(out[0]);
    ::close(err[0]);
    throw std::runtime_error("cannot start " + argv[0] + ": " + std::strerror(error));
  }
  out_reader_ = std::thread([this, fd = out[0]] { collect(fd, &out_); });
  err_reader_ = std::thread([this, fd = err[0]] { collect(fd, &err_); });
}

Process::~Process() {
  if (!reaped_) {
    ::kill(pid_, SIGKILL);
    reap(true);
  }
  out_reader_.join();
  err_reader_.join();
}

void Process::collect(int fd, std::string* into) {
  char buffer[4096];
  for (;;) {
    ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    std::lock_guard lock(mutex_);
    if (n <= 0) {
      --open_streams_;
      changed_.notify_all();
      break;
    }
    into->append(buffer, std::min(static_cast<size_t>(n), keep_max_ - into->size()));
    changed_.notify_all();
  }
  ::close(fd);
}

void Process::reap(bool block) {
  if (reaped_) return;
  int status = 0;
  pid_t done;
  do {
    done = ::waitpid(pid_, &status, block ? 0 : WNOHANG);
  } while (done < 0 && errno == EINTR);
  if (done != pid_) return;
  reaped_ = true;
  status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void Process::signal(int number) {
  if (reaped_ || ::kill(pid_, number) != 0 || number != SIGSTOP) return;
  // Its threads stop one after the other, and until the last has, one may still answer.
  siginfo_t info{};
  while (::waitid(P_PID, static_cast<id_t>(pid_), &info, WSTOPPED | WEXITED | WNOWAIT) < 0 && errno == EINTR) {
  }
}

bool Process::running() {
  reap(false);
  return !reaped_;
}

int Process::wait(std::chrono::seconds patience) {
  // Both streams end when the program ends; then it can be reaped at once.
  {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, patience, [&] { return open_streams_ == 0; })) return -1;
  }
  reap(true);
  return status_;
}

bool Process::wait_for_output(const std::string& text, std::chrono::seconds patience) {
  std::unique_lock lock(mutex_);
  auto seen = [&] { return out_.find(text) != std::string::npos || err_.find(text) != std::string::npos; };
  changed_.wait_for(lock, patience, [&] { return seen() || open_streams_ == 0; });
  return seen();
}

std::string Process::out() const {
  std::lock_guard lock(mutex_);
  return out_;
}

std::string Process::err() const {
  std::lock_guard lock(mutex_);
  return err_;
}

Finished run(std::vector<std::string> argv, std::vector<std::string> extra_environment) {
  Process process(std::move(argv), std::move(extra_environment));
  int status = process.wait();
  return {status, process.out(), process.err()};
}

TemporaryFolder::TemporaryFolder() {
  std::string pattern = environment_or("TMPDIR", "/tmp") + "/bmcpair-test.XXXXXX";
  if (!::mkdtemp(pattern.data())) throw std::runtime_error("cannot make a folder " + pattern);
  path_ = pattern;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string program(const std::string& name) { return std::string(BMCPAIR_BIN_DIR) + "/" + name; }
std::string source_file(const std::string& name) { return std::string(BMCPAIR_SOURCE_DIR) + "/" + name; }

void write_file(const std::string& path, const std::string& content) {
  std::ofstream out(path, std::ios::binary);
  out << content;
  if (!out.flush()) throw std::runtime_error("cannot write " + path);
}

Daemon::Daemon(const TemporaryFolder& folder, const std::string& config_path, std::vector<std::string> more_arguments)
    : folder_(folder.path()) {
  argv_ = {program("bmc_emu"), config_path, "--listen", address(), "--run-dir", folder_};
  argv_.insert(argv_.end(), more_arguments.begin(), more_arguments.end());
  start();
}

void Daemon::start() {
  process_.reset();
  process_ = std::make_unique<Process>(argv_);
  if (!process_->wait_for_output("ready")) {
    throw std::runtime_error("bmc_emu did not become ready: " + process_->out() + process_->err());
  }
}

int Daemon::stop() {
  process_->signal(SIGTERM);
  return process_->wait();
}

Finished Daemon::ctl(std::vector<std::string> arguments) {
  // As patient as the rest: a starved daemon is not what these tests look for.
  std::vector<std::string> argv{program("bmcctl"), "--address", address(), "--timeout", std::to_string(kPatience.count())};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  return run(argv);
}

Finished host_driver(std::vector<std::string> arguments) {
  std::vector<std::string> argv{program("host_driver")};
  // As patient as the rest; who wants it shorter says so.
  if (std::find(arguments.begin(), arguments.end(), "--timeout") == arguments.end()) {
    argv.insert(argv.end(), {"--timeout", std::to_string(kPatience.count())});
  }
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  return run(argv);
}

}  // namespace bmcpair::integration
