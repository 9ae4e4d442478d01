#include "host_driver/bus/qtest.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "host_driver/bus/unix_socket.h"
#include "proto/base/hex.h"

namespace bmcpair::bus {
namespace {

using registers::InterfaceKind;
using registers::LinkState;

constexpr size_t kLineBytesMax = 4096;
constexpr size_t kInFlightMax = 512;  // commands that have no reply yet
constexpr unsigned kIrqMax = 23;      // inputs of an I/O APIC

std::string hex(uint64_t v) {
  char text[24] = "0x";
  auto r = std::to_chars(text + 2, text + sizeof text, v, 16);
  return std::string(text, r.ptr);
}

// "OK" with a number or without. nullopt for anything else.
struct Answer {
  bool ok = false;
  uint64_t value = 0;
};

Answer parse_answer(std::string_view line) {
  if (line == "OK") return {true, 0};
  if (line.substr(0, 5) != "OK 0x") return {};
  line.remove_prefix(5);
  Answer a;
  auto r = std::from_chars(line.data(), line.data() + line.size(), a.value, 16);
  a.ok = r.ec == std::errc() && r.ptr == line.data() + line.size();
  return a;
}

// Cuts what comes into lines.
class Lines {
 public:
  void add(std::string_view bytes) { text_.append(bytes); }
  // False when there is none; the line without its end.
  bool next(std::string& line) {
    size_t end = text_.find('\n');
    if (end == std::string::npos) return false;
    line.assign(text_, 0, end);
    if (!line.empty() && line.back() == '\r') line.pop_back();
    text_.erase(0, end + 1);
    return true;
  }
  bool too_long() const { return text_.size() > kLineBytesMax && text_.find('\n') == std::string::npos; }
  void clear() { text_.clear(); }

 private:
  std::string text_;
};

class QtestPort;

// One QEMU machine: the connection, its reader, and the ports upon it.
class Machine {
 public:
  static Result<std::shared_ptr<Machine>> of(const std::string& path, const QtestOptions& options);
  ~Machine();

  // Sends n commands (their lines in `text`) and waits for their answers; false when the machine is lost.
  bool ask(const std::string& text, size_t n, std::vector<uint64_t>& values);
  // Sends them and does not wait.
  void post(const std::string& text, size_t n);

  void add(QtestPort* port);
  void remove(QtestPort* port);
  LinkState link() const;
  void wake() { signal_eventfd(wake_.get()); }
  std::mutex& handler_mutex() { return handler_mutex_; }

 private:
  struct Batch {
    size_t left = 0;
    bool wanted = false;
    bool failed = false;
    std::vector<uint64_t> values;
  };

  Machine(std::string path, const QtestOptions& options) : path_(std::move(path)), options_(options) {}
  Status start();
  Result<Fd> establish();
  std::shared_ptr<Batch> submit(const std::string& text, size_t n, bool wanted);
  void lose(const std::string& why);  // mutex_ held
  void work();
  void read_lines();
  void line(const std::string& text);
  void report_all();
  void report_link();

  const std::string path_;
  const QtestOptions options_;
  Fd wake_;
  std::atomic<bool> ending_{false};

  std::mutex send_mutex_;  // commands go out in the order of the queue; taken before mutex_
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Fd socket_;
  bool lost_ = false;  // the reader has still to close the socket
  std::deque<std::shared_ptr<Batch>> queue_;
  size_t in_flight_ = 0;
  LinkState link_;
  int establishing_ = -1;
  Lines lines_;  // the reader's

  std::mutex handler_mutex_;  // ports, their handlers, and the levels
  std::vector<QtestPort*> ports_;
  std::array<bool, kIrqMax + 1> levels_{};

  std::thread reader_;
};

class QtestPort : public registers::RegisterPort {
 public:
  QtestPort(std::shared_ptr<Machine> machine, const QtestOptions& options, InterfaceKind kind)
      : machine_(std::move(machine)), base_(options.base), irq_(options.irq), kind_(kind) {
    machine_->add(this);
  }
  ~QtestPort() override { machine_->remove(this); }

  uint8_t read(uint16_t offset) override {
    uint8_t value = 0xff;
    read_burst(offset, {&value, 1});
    return value;
  }

  void read_burst(uint16_t offset, std::span<uint8_t> out) override {
    std::fill(out.begin(), out.end(), uint8_t{0xff});
    if (offset >= registers::register_count(kind_)) return;
    const std::string command = "inb " + hex(base_ + offset) + "\n";
    while (!out.empty()) {
      auto part = out.first(std::min(out.size(), kInFlightMax / 2));
      out = out.subspan(part.size());
      std::string text;
      for (size_t i = 0; i < part.size(); ++i) text += command;
      std::vector<uint64_t> values;
      if (!machine_->ask(text, part.size(), values)) return;
      for (size_t i = 0; i < part.size(); ++i) part[i] = static_cast<uint8_t>(values[i]);
    }
  }

  void write(uint16_t offset, uint8_t value) override { write_burst(offset, {&value, 1}); }

  void write_burst(uint16_t offset, std::span<const uint8_t> in) override {
    if (offset >= registers::register_count(kind_)) return;
    const std::string command = "outb " + hex(base_ + offset) + " ";
    while (!in.empty()) {
      auto part = in.first(std::min(in.size(), kInFlightMax / 2));
      in = in.subspan(part.size());
      std::string text;
      for (uint8_t v : part) text += command + hex(v) + "\n";
      machine_->post(text, part.size());
    }
  }

  InterfaceKind kind() const override { return kind_; }
  bool has_interrupt() const override { return irq_ != 0; }

  void set_interrupt_handler(InterruptHandler handler) override {
    {
      std::lock_guard lock(machine_->handler_mutex());
      handler_ = std::move(handler);
      reported_ = false;
    }
    machine_->wake();  // a line that is high is told to the new one
  }
  LinkState link() const override { return machine_->link(); }
  void set_link_handler(LinkHandler handler) override {
    std::lock_guard lock(machine_->handler_mutex());
    link_handler_ = std::move(handler);
  }

  // From the machine's reader, under handler_mutex.
  unsigned irq() const { return irq_; }
  void report(bool level) {
    if (irq_ == 0 || reported_ == level) return;
    reported_ = level;
    if (handler_) handler_(level);
  }
  void report_link(const LinkState& state) {
    if (link_handler_) link_handler_(state);
  }

 private:
  std::shared_ptr<Machine> machine_;
  const uint16_t base_;
  const unsigned irq_;
  const InterfaceKind kind_;
  InterruptHandler handler_;
  LinkHandler link_handler_;
  bool reported_ = false;
};

Result<std::shared_ptr<Machine>> Machine::of(const std::string& path, const QtestOptions& options) {
  static std::mutex mutex;
  static auto* machines = new std::map<std::string, std::weak_ptr<Machine>>;  // never destroyed
  std::lock_guard lock(mutex);
  for (auto it = machines->begin(); it != machines->end();) {
    it = it->second.expired() ? machines->erase(it) : std::next(it);
  }
  if (auto it = machines->find(path); it != machines->end()) {
    if (auto m = it->second.lock()) return m;
  }
  std::shared_ptr<Machine> m(new Machine(path, options));
  if (auto s = m->start(); !s) return s.error();
  (*machines)[path] = m;
  return m;
}

Status Machine::start() {
  auto wake = make_eventfd();
  if (!wake) return wake.error();
  wake_ = *std::move(wake);
  auto fd = establish();
  if (!fd) return fd.error();
  socket_ = *std::move(fd);
  link_.generation = 1;
  reader_ = std::thread([this] { work(); });
  return {};
}

Machine::~Machine() {
  ending_ = true;
  if (!reader_.joinable()) return;
  {
    std::lock_guard lock(mutex_);
    if (establishing_ >= 0) ::shutdown(establishing_, SHUT_RDWR);
  }
  signal_eventfd(wake_.get());
  reader_.join();
}

// Connects and has the interrupt controller's inputs intercepted.
Result<Fd> Machine::establish() {
  auto fd = connect_unix(path_, options_.reply_wait);
  if (!fd) return fd.error();
  {
    std::lock_guard lock(mutex_);
    if (ending_) return Error{ErrorCode::kShutdown, path_ + ": the port is going away"};
    establishing_ = fd->get();
  }
  lines_.clear();
  auto handshake = [&]() -> Status {
    constexpr std::string_view kIntercept = "irq_intercept_in ioapic\n";
    if (::send(fd->get(), kIntercept.data(), kIntercept.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(kIntercept.size())) {
      return Error{ErrorCode::kUnavailable, path_ + ": send: " + std::strerror(errno)};
    }
    for (std::string text;;) {
      while (lines_.next(text)) {
        if (text.substr(0, 4) == "IRQ ") {
          line(text);
        } else if (parse_answer(text).ok) {
          return {};
        } else {
          return Error{ErrorCode::kProtocol,
                       path_ + ": QEMU answers irq_intercept_in with '" + text.substr(0, 100) + "'"};
        }
      }
      char bytes[1024];
      ssize_t n = ::recv(fd->get(), bytes, sizeof bytes, 0);
      if (n > 0) {
        lines_.add({bytes, static_cast<size_t>(n)});
        if (lines_.too_long()) return Error{ErrorCode::kProtocol, path_ + ": what answers is not qtest"};
      } else if (n == 0) {
        return Error{ErrorCode::kUnavailable, path_ + ": QEMU has closed the connection"};
      } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        return Error{ErrorCode::kTimeout, path_ + ": no answer in " + std::to_string(options_.reply_wait.count()) +
                                              " ms; has QEMU another client on its qtest socket?"};
      } else if (errno != EINTR) {
        return Error{ErrorCode::kUnavailable, path_ + ": receive: " + std::strerror(errno)};
      }
    }
  };
  Status s = handshake();
  {
    std::lock_guard lock(mutex_);
    establishing_ = -1;
  }
  if (!s) return s.error();
  return *std::move(fd);
}

std::shared_ptr<Machine::Batch> Machine::submit(const std::string& text, size_t n, bool wanted) {
  std::lock_guard send_lock(send_mutex_);
  auto batch = std::make_shared<Batch>();
  batch->left = n;
  batch->wanted = wanted;
  int fd;
  {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, options_.reply_wait, [&] { return !link_.up || in_flight_ + n <= kInFlightMax; })) {
      lose("no answers in " + std::to_string(options_.reply_wait.count()) + " ms");
    }
    if (!link_.up) return nullptr;
    queue_.push_back(batch);
    in_flight_ += n;
    fd = socket_.get();
  }
  // The reader closes the socket only under send_mutex_.
  std::string_view left = text;
  while (!left.empty()) {
    ssize_t sent = ::send(fd, left.data(), left.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) {
      std::string why = std::strerror(errno);
      std::lock_guard lock(mutex_);
      lose("send: " + why);
      return nullptr;
    }
    left.remove_prefix(static_cast<size_t>(sent));
  }
  return batch;
}

bool Machine::ask(const std::string& text, size_t n, std::vector<uint64_t>& values) {
  auto batch = submit(text, n, true);
  if (!batch) return false;
  std::unique_lock lock(mutex_);
  if (!changed_.wait_for(lock, options_.reply_wait, [&] { return batch->left == 0 || batch->failed; })) {
    lose("no answer in " + std::to_string(options_.reply_wait.count()) + " ms");
  }
  if (batch->failed) return false;
  values = std::move(batch->values);
  return true;
}

void Machine::post(const std::string& text, size_t n) { submit(text, n, false); }

void Machine::lose(const std::string& why) {
  if (!link_.up) return;
  link_.up = false;
  link_.reason = path_ + ": " + why;
  lost_ = true;
  ::shutdown(socket_.get(), SHUT_RDWR);
  for (auto& batch : queue_) batch->failed = true;
  queue_.clear();
  in_flight_ = 0;
  changed_.notify_all();
  signal_eventfd(wake_.get());
}

void Machine::add(QtestPort* port) {
  std::lock_guard lock(handler_mutex_);
  ports_.push_back(port);
}

void Machine::remove(QtestPort* port) {
  std::lock_guard lock(handler_mutex_);
  ports_.erase(std::find(ports_.begin(), ports_.end(), port));
}

LinkState Machine::link() const {
  std::lock_guard lock(mutex_);
  return link_;
}

void Machine::report_all() {
  std::lock_guard lock(handler_mutex_);
  for (QtestPort* p : ports_) p->report(levels_[p->irq()]);
}

void Machine::report_link() {
  LinkState state = link();
  std::lock_guard lock(handler_mutex_);
  for (QtestPort* p : ports_) p->report_link(state);
}

// One line of QEMU's: an interrupt, or the answer to the oldest command.
void Machine::line(const std::string& text) {
  constexpr std::string_view kRaise = "IRQ raise ";
  constexpr std::string_view kLower = "IRQ lower ";
  const bool raise = text.compare(0, kRaise.size(), kRaise) == 0;
  if (raise || text.compare(0, kLower.size(), kLower) == 0) {
    auto irq = parse_number(std::string_view(text).substr(kRaise.size()), kIrqMax);
    if (!irq) return;  // an input that no port can have asked for
    std::lock_guard lock(handler_mutex_);
    levels_[*irq] = raise;
    for (QtestPort* p : ports_) {
      if (p->irq() == *irq) p->report(raise);
    }
    return;
  }
  std::lock_guard lock(mutex_);
  Answer a = parse_answer(text);
  if (queue_.empty() || !a.ok) {
    lose("QEMU says '" + text.substr(0, 100) + "'" + (queue_.empty() ? " unasked" : ""));
    return;
  }
  Batch& batch = *queue_.front();
  if (batch.wanted) batch.values.push_back(a.value);
  --in_flight_;
  if (--batch.left == 0) queue_.pop_front();
  changed_.notify_all();
}

void Machine::read_lines() {
  char bytes[16 * 1024];
  ssize_t n = ::recv(socket_.get(), bytes, sizeof bytes, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) {
    std::string why = n == 0 ? "QEMU has closed the connection" : std::string("receive: ") + std::strerror(errno);
    std::lock_guard lock(mutex_);
    return lose(why);
  }
  lines_.add({bytes, static_cast<size_t>(n)});
  for (std::string text; lines_.next(text);) line(text);
  if (lines_.too_long()) {
    std::lock_guard lock(mutex_);
    lose("a line of more than " + std::to_string(kLineBytesMax) + " bytes is not qtest");
  }
}

void Machine::work() {
  auto backoff = options_.backoff_first;
  while (!ending_) {
    bool gone;
    {
      std::lock_guard lock(mutex_);
      gone = lost_;
    }
    if (gone) {
      // A sender may still hold the descriptor. It waits for nothing any more: the link is down.
      std::lock_guard send_lock(send_mutex_);
      std::lock_guard lock(mutex_);
      lost_ = false;
      socket_.reset();
    }
    if (gone) {
      {
        std::lock_guard lock(handler_mutex_);
        levels_.fill(false);
      }
      report_all();
      report_link();
      backoff = options_.backoff_first;
    }
    if (socket_) {  // only this thread makes and ends it
      // What came with the answer to the handshake.
      for (std::string text; lines_.next(text);) line(text);
      pollfd p[2] = {{wake_.get(), POLLIN, 0}, {socket_.get(), POLLIN, 0}};
      if (::poll(p, 2, -1) < 0) continue;
      if (p[1].revents) read_lines();
      if (p[0].revents) {
        drain_eventfd(wake_.get());
        report_all();
      }
      continue;
    }
    pollfd p{wake_.get(), POLLIN, 0};
    ::poll(&p, 1, static_cast<int>(backoff.count()));
    if (ending_) return;
    if (p.revents) drain_eventfd(wake_.get());
    backoff = std::min(backoff * 2, options_.backoff_most);
    auto fd = establish();
    if (!fd) {
      std::lock_guard lock(mutex_);
      link_.reason = fd.error().to_string();
      continue;
    }
    {
      std::lock_guard send_lock(send_mutex_);
      std::lock_guard lock(mutex_);
      socket_ = *std::move(fd);
      link_.up = true;
      ++link_.generation;
      link_.reason.clear();
    }
    report_link();
    report_all();
  }
}

}  // namespace

Result<std::unique_ptr<registers::RegisterPort>> connect_qtest(const std::string& socket, const QtestOptions& options) {
  auto kind = options.kind;
  if (!kind) {
    if (options.base == 0xca2) {
      kind = InterfaceKind::kKcs;
    } else if (options.base == 0xe4) {
      kind = InterfaceKind::kBt;
    } else {
      return Error{ErrorCode::kInvalidArgument, "qtest:" + socket + ": what is at " + hex(options.base) +
                                                    "? say kind=kcs or kind=bt (0xca2 and 0xe4 are known)"};
    }
  }
  if (options.base > 0xffff - (registers::register_count(*kind) - 1)) {
    return Error{ErrorCode::kInvalidArgument,
                 "qtest:" + socket + ": registers at " + hex(options.base) + " go past I/O port 0xffff"};
  }
  if (options.irq > kIrqMax) {
    return Error{ErrorCode::kInvalidArgument,
                 "qtest:" + socket + ": irq " + std::to_string(options.irq) + " is above " + std::to_string(kIrqMax)};
  }
  auto machine = Machine::of(socket, options);
  if (!machine) return machine.error();
  return std::unique_ptr<registers::RegisterPort>(new QtestPort(*machine, options, *kind));
}

Result<std::unique_ptr<registers::RegisterPort>> open_qtest(const BusSpec& spec, const OpenOptions&) {
  QtestOptions options;
  if (!spec.base) {
    return Error{ErrorCode::kInvalidArgument,
                 spec.text + ": has no I/O port, expected qtest:SOCKET@0xe4 (BT) or @0xca2 (KCS)"};
  }
  options.base = *spec.base;
  for (const auto& [name, value] : spec.options) {
    if (name == "kind") {
      for (auto kind : {InterfaceKind::kKcs, InterfaceKind::kBt, InterfaceKind::kSmic}) {
        if (value == to_string(kind)) options.kind = kind;
      }
      if (!options.kind)
        return Error{ErrorCode::kInvalidArgument, spec.text + ": kind '" + value + "' is not one of kcs, bt, smic"};
    } else if (name == "irq") {
      auto irq = parse_number(value, kIrqMax);
      if (!irq)
        return Error{ErrorCode::kInvalidArgument, spec.text + ": irq '" + value + "' is not a number from 0 to 23"};
      options.irq = static_cast<unsigned>(*irq);
    } else {
      return Error{ErrorCode::kInvalidArgument, spec.text + ": unknown option '" + name + "', qtest has: kind, irq"};
    }
  }
  return connect_qtest(spec.target, options);
}

}  // namespace bmcpair::bus
