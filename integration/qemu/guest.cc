#include "integration/qemu/guest.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <stdexcept>

namespace bmcpair::integration {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

// The agent's line is read by a shell from a serial port: kept below what the kernel buffers.
constexpr size_t kCommandMax = 2000;
constexpr size_t kAnswerMax = size_t{4} << 20;
constexpr size_t kQmpLineMax = size_t{1} << 20;
constexpr size_t kQemuLogMax = size_t{256} << 10;  // a dead vfio-user server costs a line an access
constexpr size_t kEventsMax = 4096;

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

std::string end_of(const std::string& text, size_t bytes) {
  return text.size() <= bytes ? text : "..." + text.substr(text.size() - bytes);
}

std::string base64(const std::string& in) {
  static const char* kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < in.size(); i += 3) {
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k) group = group << 8 | (i + k < in.size() ? static_cast<uint8_t>(in[i + k]) : 0u);
    for (size_t k = 0; k < 4; ++k) {
      out += i + k > in.size() ? '=' : kAlphabet[group >> (18 - 6 * k) & 0x3f];
    }
  }
  return out;
}

class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

Fd listen_on(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) throw std::runtime_error("the socket's path is too long: " + path);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  ::unlink(path.c_str());
  if (fd.get() < 0 || ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(fd.get(), 1) != 0) {
    throw std::runtime_error("cannot listen on " + path + ": " + std::strerror(errno));
  }
  return fd;
}

// False when `deadline` passes first.
bool wait_readable(int fd, Clock::time_point deadline) {
  for (;;) {
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left < 0) left = 0;
    pollfd wanted{fd, POLLIN, 0};
    int n = ::poll(&wanted, 1, static_cast<int>(std::min<long long>(left, 60'000)));
    if (n > 0) return true;
    if (n < 0 && errno != EINTR) throw std::runtime_error(std::string("poll: ") + std::strerror(errno));
    if (Clock::now() >= deadline) return false;
  }
}

// A stream that is read by lines and by lengths.
class Stream {
 public:
  enum class Got { kYes, kTimeout, kEnd };

  void attach(Fd fd) { fd_ = std::move(fd); }
  bool send(const std::string& text) {
    for (size_t done = 0; done < text.size();) {
      ssize_t n = ::send(fd_.get(), text.data() + done, text.size() - done, MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return false;
      done += static_cast<size_t>(n);
    }
    return true;
  }
  // Without its end. A line longer than `max` is cut into such.
  Got line(std::string* out, Clock::time_point deadline, size_t max) {
    for (size_t from = 0;;) {
      size_t end = buffer_.find('\n', from);
      if (end != std::string::npos || buffer_.size() >= max) {
        *out = buffer_.substr(0, end);
        buffer_.erase(0, end == std::string::npos ? buffer_.size() : end + 1);
        return Got::kYes;
      }
      from = buffer_.size();
      if (Got got = more(deadline); got != Got::kYes) return got;
    }
  }
  Got bytes(std::string* out, size_t n, Clock::time_point deadline) {
    while (buffer_.size() < n) {
      if (Got got = more(deadline); got != Got::kYes) return got;
    }
    *out = buffer_.substr(0, n);
    buffer_.erase(0, n);
    return Got::kYes;
  }

 private:
  Got more(Clock::time_point deadline) {
    if (!wait_readable(fd_.get(), deadline)) return Got::kTimeout;
    char chunk[8192];
    ssize_t n = ::recv(fd_.get(), chunk, sizeof chunk, 0);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) return Got::kYes;
    if (n <= 0) return Got::kEnd;
    buffer_.append(chunk, static_cast<size_t>(n));
    return Got::kYes;
  }

  Fd fd_;
  std::string buffer_;
};

std::string cache_folder() {
  if (const char* chosen = std::getenv("BMCPAIR_GUEST_CACHE"); chosen && *chosen) return chosen;
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  return (cache && *cache ? std::string(cache) : std::string(home ? home : "/root") + "/.cache") + "/bmcpair/guest";
}

// QEMU 9.2 gave the option its milliseconds, a later one took the seconds away.
bool counts_in_milliseconds(const std::string& qemu) {
  static std::mutex mutex;
  static std::map<std::string, bool> known;
  std::lock_guard lock(mutex);
  auto found = known.find(qemu);
  if (found == known.end()) {
    std::string text = integration::run({qemu, "--version"}).out;
    int major = 0, minor = 0;
    if (size_t at = text.find("version "); at != std::string::npos)
      std::sscanf(text.c_str() + at, "version %d.%d", &major, &minor);
    if (major == 0) throw std::runtime_error(qemu + " --version says no version: '" + text + "'");
    found = known.emplace(qemu, major > 9 || (major == 9 && minor >= 2)).first;
  }
  return found->second;
}

std::string chardev_socket(const std::string& id, const GuestDevice& device, const std::string& qemu) {
  std::string out = "socket,id=" + id;
  if (!device.address.empty() && device.address[0] == '/') {
    out += ",path=" + device.address;
  } else {
    size_t colon = device.address.rfind(':');
    if (colon == std::string::npos) {
      throw std::runtime_error("the VM protocol's address '" + device.address +
                               "' is neither an absolute path nor HOST:PORT");
    }
    out += ",host=" + device.address.substr(0, colon) + ",port=" + device.address.substr(colon + 1) + ",nodelay=on";
  }
  if (device.reconnect_s > 0) {
    out += counts_in_milliseconds(qemu) ? ",reconnect-ms=" + std::to_string(device.reconnect_s * 1000)
                                        : ",reconnect=" + std::to_string(device.reconnect_s);
  }
  return out;
}

std::string device_id(const GuestDevice& device, size_t index) {
  return device.id.empty() ? "ipmi" + std::to_string(index) : device.id;
}

json vfio_user_arguments(const GuestDevice& device, const std::string& id, int msg_timeout_ms) {
  return {{"driver", "vfio-user-pci"},
          {"id", id},
          {"x-msg-timeout", msg_timeout_ms},
          {"socket", {{"type", "unix"}, {"path", device.address}}}};
}

void append_entry(std::ofstream& out, const std::string& name, uint32_t mode, const std::string& content) {
  static const std::string kZeros(4, '\0');
  static uint32_t inode = 0x10000;
  char header[111];
  auto pad = [](size_t n) { return (4 - n % 4) % 4; };
  std::snprintf(header, sizeof header, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", ++inode, mode, 0u,
                0u, 1u, 0u, static_cast<uint32_t>(content.size()), 0u, 0u, 0u, 0u,
                static_cast<uint32_t>(name.size() + 1), 0u);
  out << header << name << '\0' << kZeros.substr(0, pad(110 + name.size() + 1));
  out << content << kZeros.substr(0, pad(content.size()));
}

}  // namespace

GuestAssets guest_assets(GuestKernel kernel) {
  const std::string folder = cache_folder();
  const std::string remedy = "; run scripts/guest-assets, which fetches it (the folder is $BMCPAIR_GUEST_CACHE's)";
  std::ifstream list(folder + "/assets");
  if (!list) throw std::runtime_error("what a guest needs is not in " + folder + remedy);
  std::map<std::string, std::string> values;
  for (std::string line; std::getline(list, line);) {
    if (size_t equals = line.find('='); equals != std::string::npos)
      values[line.substr(0, equals)] = line.substr(equals + 1);
  }
  const std::string prefix = kernel == GuestKernel::kNewest ? "new_" : "";
  auto file = [&](const std::string& key) {
    std::string path = folder + "/" + values[key];
    if (values[key].empty() || !std::filesystem::exists(path))
      throw std::runtime_error("there is no " + key + " in " + folder + remedy);
    return path;
  };
  return {file("qemu"), file(prefix + "kernel"), file(prefix + "initramfs"), values[prefix + "kernel_release"]};
}

GuestDevice GuestDevice::vfio_user(std::string socket) {
  GuestDevice out;
  out.address = std::move(socket);
  return out;
}

GuestDevice GuestDevice::vm(std::string kind, std::string address, int irq) {
  GuestDevice out;
  out.face = Face::kVmProtocol;
  out.kind = std::move(kind);
  out.address = std::move(address);
  out.irq = irq;
  return out;
}

GuestDevice GuestDevice::qemu_own(std::string kind, int irq) {
  GuestDevice out = vm(std::move(kind), "", irq);
  out.face = Face::kQemuOwn;
  return out;
}

std::vector<std::string> guest_command_line(const GuestOptions& options, const GuestAssets& assets,
                                            const std::string& initramfs) {
  const std::string qemu = options.qemu.empty() ? assets.qemu : options.qemu;
  std::vector<std::string> out{qemu,
                               "-accel",
                               "tcg",
                               "-machine",
                               options.machine,
                               "-m",
                               std::to_string(options.memory_mb),
                               "-smp",
                               std::to_string(options.cpus),
                               "-nodefaults",
                               "-display",
                               "none",
                               "-kernel",
                               assets.kernel,
                               "-initrd",
                               initramfs};
  // no_timer_check: on a busy machine the guest would count too few ticks and panic ("IO-APIC + timer doesn't work").
  std::string append =
      "console=ttyS0 quiet panic=-1 mitigations=off cryptomgr.notests no_timer_check bmcpair.modules=" +
      options.modules;
  if (!options.append.empty()) append += " " + options.append;
  out.insert(out.end(), {"-append", append});
  if (!options.reboots) out.push_back("-no-reboot");
  for (size_t i = 0; i < options.devices.size(); ++i) {
    const GuestDevice& device = options.devices[i];
    const std::string id = device_id(device, i);
    if (device.face == GuestDevice::Face::kVfioUser) {
      out.insert(out.end(), {"-device", vfio_user_arguments(device, id, options.msg_timeout_ms).dump()});
      continue;
    }
    if (device.kind != "bt" && device.kind != "kcs") throw std::runtime_error("QEMU has no isa-ipmi-" + device.kind);
    if (device.face == GuestDevice::Face::kVmProtocol) {
      out.insert(out.end(), {"-chardev", chardev_socket(id + "-bmc", device, qemu)});
      out.insert(out.end(), {"-device", "ipmi-bmc-extern,chardev=" + id + "-bmc,id=bmc-" + id});
    } else {
      out.insert(out.end(), {"-device", "ipmi-bmc-sim,id=bmc-" + id});
    }
    out.insert(out.end(), {"-device", "isa-ipmi-" + device.kind + ",id=" + id + ",bmc=bmc-" + id +
                                          ",irq=" + std::to_string(device.irq)});
  }
  out.insert(out.end(), options.qemu_arguments.begin(), options.qemu_arguments.end());
  return out;
}

void make_initramfs(const std::string& base, const std::vector<std::pair<std::string, std::string>>& files,
                    const std::string& to) {
  std::filesystem::copy_file(base, to, std::filesystem::copy_options::overwrite_existing);
  std::ofstream out(to, std::ios::binary | std::ios::app);
  std::set<std::string> folders;
  for (const auto& [there, here] : files) {
    std::string name = there.substr(there.find_first_not_of('/'));
    for (size_t slash = name.find('/'); slash != std::string::npos; slash = name.find('/', slash + 1)) {
      if (folders.insert(name.substr(0, slash)).second) append_entry(out, name.substr(0, slash), S_IFDIR | 0755, "");
    }
    struct stat about {};
    if (::stat(here.c_str(), &about) != 0) throw std::runtime_error("cannot read " + here + " for the guest");
    append_entry(out, name, S_IFREG | (about.st_mode & 0777), read_file(here));
  }
  append_entry(out, "TRAILER!!!", 0, "");
  if (!out.flush()) throw std::runtime_error("cannot write " + to);
}

class Guest::Impl {
 public:
  Impl(std::string folder, GuestOptions options) : folder_(std::move(folder)), options_(std::move(options)) {
    assets_ = guest_assets(options_.kernel);
    std::string initramfs = assets_.initramfs;
    if (!options_.files.empty()) {
      initramfs = folder_ + "/initramfs.cpio";
      make_initramfs(assets_.initramfs, options_.files, initramfs);
    }
    // QEMU connects to us: nothing has to be polled for.
    const std::string command_path = folder_ + "/command.sock", qmp_path = folder_ + "/qmp.sock";
    Fd command = listen_on(command_path), qmp = listen_on(qmp_path);
    argv_ = guest_command_line(options_, assets_, initramfs);
    argv_.insert(argv_.end(),
                 {"-chardev", "file,id=console,path=" + console_path(), "-serial", "chardev:console", "-chardev",
                  "socket,id=command,path=" + command_path, "-serial", "chardev:command", "-qmp", "unix:" + qmp_path});
    // Whatever becomes of us, QEMU does not stay.
    std::vector<std::string> mortal{"setpriv", "--pdeathsig", "KILL", "--"};
    mortal.insert(mortal.end(), argv_.begin(), argv_.end());
    qemu_ = std::make_unique<Process>(mortal, std::vector<std::string>{}, kQemuLogMax);
    auto deadline = Clock::now() + kPatience;
    command_.attach(accept(command, deadline));
    qmp_.attach(accept(qmp, deadline));
    ::unlink(command_path.c_str());
    ::unlink(qmp_path.c_str());
    std::string greeting;
    if (qmp_.line(&greeting, deadline, kQmpLineMax) != Stream::Got::kYes) fail("QEMU did not greet on its QMP socket");
    qmp_execute("qmp_capabilities", json::object(), deadline);
    if (options_.wait_ready) wait_ready(options_.boot_limit);
  }

  std::string console_path() const { return folder_ + "/console.log"; }

  Ran run(const std::string& text, std::chrono::seconds limit) {
    if (text.size() > kCommandMax)
      throw std::runtime_error("a command for the guest has more than " + std::to_string(kCommandMax) + " bytes");
    std::lock_guard lock(command_mutex_);
    const std::string id = std::to_string(++last_command_);
    if (!command_.send("run " + id + " " + std::to_string(limit.count()) + " " + base64(text) + "\n"))
      ended("running '" + text + "'");
    // The guest ends the command; here only a guest that is not alive any more is given up.
    auto deadline = Clock::now() + limit + std::chrono::seconds(30);
    for (;;) {
      std::string line;
      require(command_.line(&line, deadline, kAnswerMax), "running '" + text + "'");
      std::istringstream words(line);
      std::string mark, verb, whose;
      Ran out;
      size_t out_bytes = 0, err_bytes = 0;
      words >> mark >> verb;
      if (mark == "@bmcpair" && verb == "ready")
        throw std::runtime_error("the guest rebooted while it ran '" + text + "'");
      if (mark != "@bmcpair" || verb != "done") continue;
      words >> whose >> out.status >> out_bytes >> err_bytes;
      if (!words || out_bytes > kAnswerMax || err_bytes > kAnswerMax) fail("the guest answered '" + line + "'");
      require(command_.bytes(&out.out, out_bytes, deadline), "reading the output of '" + text + "'");
      require(command_.bytes(&out.err, err_bytes, deadline), "reading the errors of '" + text + "'");
      if (whose == id) return out;
    }
  }

  void wait_ready(std::chrono::seconds limit) {
    std::lock_guard lock(command_mutex_);
    auto deadline = Clock::now() + limit;
    std::string line;
    do {
      require(command_.line(&line, deadline, kAnswerMax), "waiting for the guest to boot");
      // What went before a reset may have no end of line.
    } while (line.find("@bmcpair ready ") == std::string::npos);
  }

  json qmp(const std::string& command, const json& arguments) {
    return qmp_execute(command, arguments, Clock::now() + kPatience);
  }

  bool wait_event(const std::string& name, json* data, Clock::time_point deadline,
                  const std::function<bool(const json&)>& matches = {}) {
    std::lock_guard lock(qmp_mutex_);
    for (size_t next = 0;;) {
      for (; next < events_.size(); ++next) {
        const json& event = events_[next];
        if (event.value("event", "") != name || (matches && !matches(event.value("data", json::object())))) continue;
        if (data) *data = event.value("data", json::object());
        events_.erase(events_.begin() + static_cast<ptrdiff_t>(next));
        return true;
      }
      std::string line;
      if (qmp_.line(&line, deadline, kQmpLineMax) != Stream::Got::kYes) return false;
      keep_event(json::parse(line, nullptr, false));
    }
  }

  [[noreturn]] void fail(const std::string& what) { throw std::runtime_error(what + "\n" + logs()); }

  std::string logs() {
    return "--- QEMU" +
           (qemu_->running() ? std::string(" (running)") : ", ended with " + std::to_string(qemu_->wait())) + ":\n" +
           end_of(qemu_->out() + qemu_->err(), 2000) + "\n--- the guest's console:\n" +
           end_of(read_file(console_path()), 4000);
  }

  std::string folder_;
  GuestOptions options_;
  GuestAssets assets_;
  std::vector<std::string> argv_;
  std::unique_ptr<Process> qemu_;

 private:
  Fd accept(const Fd& listener, Clock::time_point deadline) {
    while (Clock::now() < deadline) {
      if (wait_readable(listener.get(), Clock::now() + std::chrono::milliseconds(100))) {
        int fd = ::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC);
        if (fd >= 0) return Fd(fd);
      }
      if (!qemu_->running()) fail("QEMU ended at once");
    }
    fail("QEMU did not start within a minute");
  }

  [[noreturn]] void ended(const std::string& doing) {
    qemu_->wait();
    fail("QEMU ended while " + doing);
  }

  void require(Stream::Got got, const std::string& doing) {
    if (got == Stream::Got::kEnd) ended(doing);
    if (got == Stream::Got::kTimeout) fail("the time limit passed while " + doing);
  }

  void keep_event(json message) {
    if (message.is_object() && message.contains("event") && events_.size() < kEventsMax)
      events_.push_back(std::move(message));
  }

  json qmp_execute(const std::string& command, const json& arguments, Clock::time_point deadline) {
    std::lock_guard lock(qmp_mutex_);
    const int id = ++last_qmp_;
    json request{{"execute", command}, {"id", id}};
    if (!arguments.is_null() && !arguments.empty()) request["arguments"] = arguments;
    if (!qmp_.send(request.dump() + "\n")) ended("asking for " + command);
    for (;;) {
      std::string line;
      require(qmp_.line(&line, deadline, kQmpLineMax), "waiting for QMP's answer to " + command);
      json message = json::parse(line, nullptr, false);
      if (!message.is_object() || message.value("id", 0) != id) {
        keep_event(std::move(message));
        continue;
      }
      if (message.contains("error"))
        throw std::runtime_error("QMP " + command + ": " + message["error"].value("desc", line));
      return message["return"];
    }
  }

  std::mutex command_mutex_;
  Stream command_;
  uint64_t last_command_ = 0;

  std::mutex qmp_mutex_;
  Stream qmp_;
  int last_qmp_ = 0;
  std::deque<json> events_;
};

Guest::Guest(const TemporaryFolder& folder, GuestOptions options) : Guest(folder.path(), std::move(options)) {}
Guest::Guest(std::string folder, GuestOptions options)
    : impl_(std::make_unique<Impl>(std::move(folder), std::move(options))) {}
Guest::~Guest() = default;

Ran Guest::run(const std::string& command, std::chrono::seconds limit) { return impl_->run(command, limit); }

std::string Guest::must_run(const std::string& command, std::chrono::seconds limit) {
  Ran ran = impl_->run(command, limit);
  if (ran.status != 0) {
    throw std::runtime_error("in the guest, '" + command + "' ended with status " + std::to_string(ran.status) + ": " +
                             ran.out + ran.err);
  }
  return ran.out;
}

void Guest::wait_ready(std::chrono::seconds limit) { impl_->wait_ready(limit); }

std::map<std::string, int64_t> Guest::counters(int number) {
  const std::string folder = "/sys/class/ipmi/ipmi" + std::to_string(number) + "/device";
  std::istringstream lines(
      must_run("cd " + folder +
               " && grep . idles watchdog_pretimeouts complete_transactions events interrupts hosed_count "
               "long_timeouts flag_fetches attentions incoming_messages short_timeouts interrupts_enabled"));
  std::map<std::string, int64_t> out;
  for (std::string line; std::getline(lines, line);) {
    size_t colon = line.find(':');
    int64_t value = 0;
    if (colon == std::string::npos) continue;
    if (std::from_chars(line.data() + colon + 1, line.data() + line.size(), value).ec == std::errc{})
      out[line.substr(0, colon)] = value;
  }
  return out;
}

std::string Guest::dmesg() { return must_run("dmesg"); }

json Guest::qmp(const std::string& command) { return impl_->qmp(command, json::object()); }
json Guest::qmp(const std::string& command, const json& arguments) { return impl_->qmp(command, arguments); }

bool Guest::wait_event(const std::string& name, std::chrono::seconds limit) { return wait_event(name, nullptr, limit); }
bool Guest::wait_event(const std::string& name, json* data, std::chrono::seconds limit) {
  return impl_->wait_event(name, data, Clock::now() + limit);
}

void Guest::add_device(const GuestDevice& device) {
  if (device.face != GuestDevice::Face::kVfioUser)
    throw std::runtime_error("only a vfio-user device can be added to a running guest");
  if (device.id.empty()) throw std::runtime_error("a device that is added needs an id, to be removed by");
  impl_->qmp("device_add", vfio_user_arguments(device, device.id, impl_->options_.msg_timeout_ms));
}

void Guest::remove_device(const std::string& id, std::chrono::seconds limit) {
  impl_->qmp("device_del", {{"id", id}});
  if (!impl_->wait_event("DEVICE_DELETED", nullptr, Clock::now() + limit,
                         [&](const json& data) { return data.value("device", "") == id; })) {
    impl_->fail("the guest did not let go of the device " + id);
  }
}

Process& Guest::qemu() { return *impl_->qemu_; }
int Guest::wait_end(std::chrono::seconds limit) { return impl_->qemu_->wait(limit); }
std::string Guest::console() { return read_file(impl_->console_path()); }
std::string Guest::logs() { return impl_->logs(); }
const std::vector<std::string>& Guest::command_line() const { return impl_->argv_; }
std::string Guest::release() const { return impl_->assets_.release; }

}  // namespace bmcpair::integration
