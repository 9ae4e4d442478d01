// For the protocol tests: a Server on a real socket in front of a plain array of registers, and a client that writes
// and reads bytes. Messages are built from the specification's offsets here, not with the codec, so that one mistake
// cannot hide another.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <deque>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "proto/base/hex.h"
#include "proto/registers/register_port.h"
#include "vfio_bridge/server.h"
#include "vfio_bridge/unique_fd.h"

namespace bmcpair::vfio_bridge::testing {

// Registers that remember what was written, and one that counts up with each read (so that order and number are seen).
class ArrayRegisters {
 public:
  struct Access {
    char what;  // 'r', 'w', 'R' (burst), 'W'
    uint16_t offset;
    Bytes values;
    bool operator==(const Access&) const = default;
  };

  uint8_t read(uint16_t offset) {
    std::lock_guard lock(mutex_);
    uint8_t v = take(offset);
    accesses_.push_back({'r', offset, {v}});
    return v;
  }
  void write(uint16_t offset, uint8_t value) {
    std::lock_guard lock(mutex_);
    values_.at(offset) = value;
    accesses_.push_back({'w', offset, {value}});
  }
  void read_burst(uint16_t offset, std::span<uint8_t> out) {
    std::lock_guard lock(mutex_);
    for (uint8_t& b : out) b = take(offset);
    accesses_.push_back({'R', offset, Bytes(out.begin(), out.end())});
  }
  void write_burst(uint16_t offset, std::span<const uint8_t> in) {
    std::lock_guard lock(mutex_);
    for (uint8_t b : in) values_.at(offset) = b;
    accesses_.push_back({'W', offset, Bytes(in.begin(), in.end())});
  }
  void set(uint16_t offset, uint8_t value) {
    std::lock_guard lock(mutex_);
    values_.at(offset) = value;
  }
  // What reads of this offset give, one after the other, before the plain value.
  void queue(uint16_t offset, Bytes values) {
    std::lock_guard lock(mutex_);
    queues_.at(offset).insert(queues_.at(offset).end(), values.begin(), values.end());
  }
  uint8_t value(uint16_t offset) const {
    std::lock_guard lock(mutex_);
    return values_.at(offset);
  }
  std::vector<Access> accesses() const {
    std::lock_guard lock(mutex_);
    return accesses_;
  }
  // The line, as the port's own context would move it.
  void set_line(bool level) {
    std::lock_guard lock(handler_mutex_);
    if (handler_) handler_(level);
  }
  void set_handler(registers::RegisterPort::InterruptHandler handler) {
    std::lock_guard lock(handler_mutex_);
    handler_ = std::move(handler);
  }
  bool has_handler() const {
    std::lock_guard lock(handler_mutex_);
    return static_cast<bool>(handler_);
  }

 private:
  uint8_t take(uint16_t offset) {
    auto& q = queues_.at(offset);
    if (q.empty()) return values_.at(offset);
    uint8_t v = q.front();
    q.pop_front();
    return v;
  }
  mutable std::mutex mutex_;
  std::array<uint8_t, 3> values_{};
  std::array<std::deque<uint8_t>, 3> queues_;
  std::vector<Access> accesses_;
  mutable std::mutex handler_mutex_;
  registers::RegisterPort::InterruptHandler handler_;
};

class ArrayProvider : public registers::PortProvider {
 public:
  explicit ArrayProvider(registers::InterfaceKind kind) : kind_(kind) {}

  Result<std::unique_ptr<registers::RegisterPort>> attach(std::string_view path, std::string_view) override {
    std::lock_guard lock(mutex_);
    last_path_ = path;
    if (refusal_) return *refusal_;
    ++attached_;
    return std::unique_ptr<registers::RegisterPort>(new Port(*this));
  }
  void refuse_with(std::optional<Error> error) {
    std::lock_guard lock(mutex_);
    refusal_ = std::move(error);
  }
  std::string last_path() const {
    std::lock_guard lock(mutex_);
    return last_path_;
  }
  int attached() const { return attached_; }

  ArrayRegisters registers;

 private:
  class Port : public registers::RegisterPort {
   public:
    explicit Port(ArrayProvider& owner) : owner_(owner) {}
    ~Port() override { --owner_.attached_; }
    uint8_t read(uint16_t offset) override { return owner_.registers.read(offset); }
    void write(uint16_t offset, uint8_t value) override { owner_.registers.write(offset, value); }
    void read_burst(uint16_t offset, std::span<uint8_t> out) override { owner_.registers.read_burst(offset, out); }
    void write_burst(uint16_t offset, std::span<const uint8_t> in) override {
      owner_.registers.write_burst(offset, in);
    }
    registers::InterfaceKind kind() const override { return owner_.kind_; }
    bool has_interrupt() const override { return true; }
    void set_interrupt_handler(InterruptHandler handler) override { owner_.registers.set_handler(std::move(handler)); }

   private:
    ArrayProvider& owner_;
  };

  registers::InterfaceKind kind_;
  mutable std::mutex mutex_;
  std::optional<Error> refusal_;
  std::string last_path_;
  std::atomic<int> attached_{0};
};

// Bytes, little by little.
class Payload {
 public:
  Payload& u8(uint8_t v) { return put(&v, sizeof v); }
  Payload& u16(uint16_t v) { return put(&v, sizeof v); }
  Payload& u32(uint32_t v) { return put(&v, sizeof v); }
  Payload& u64(uint64_t v) { return put(&v, sizeof v); }
  Payload& text(const std::string& s) { return put(s.data(), s.size()); }
  Payload& raw(const Bytes& b) { return put(b.data(), b.size()); }
  operator Bytes() const { return bytes_; }

 private:
  Payload& put(const void* p, size_t n) {
    auto b = static_cast<const uint8_t*>(p);
    bytes_.insert(bytes_.end(), b, b + n);
    return *this;
  }
  Bytes bytes_;
};

template <class T>
T at(const Bytes& bytes, size_t offset) {
  T v{};
  if (offset + sizeof v > bytes.size()) {
    ADD_FAILURE() << "only " << bytes.size() << " bytes, wanted " << sizeof v << " at " << offset;
    return v;
  }
  std::memcpy(&v, bytes.data() + offset, sizeof v);
  return v;
}

struct Reply {
  bool end = false;  // the server closed instead
  uint16_t id = 0;
  uint16_t command = 0;
  uint32_t flags = 0;
  uint32_t error = 0;
  Bytes payload;
};

// Only bounds how long a failing test takes.
constexpr std::chrono::milliseconds kPatience{60'000};

constexpr uint16_t kVersionCmd = 1, kDmaMapCmd = 2, kDmaUnmapCmd = 3, kGetInfoCmd = 4, kGetRegionInfoCmd = 5,
                   kGetRegionIoFdsCmd = 6, kGetIrqInfoCmd = 7, kSetIrqsCmd = 8, kRegionReadCmd = 9,
                   kRegionWriteCmd = 10, kResetCmd = 13, kWriteMultiCmd = 15;

class Client {
 public:
  explicit Client(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    connected_ = ::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  bool connected() const { return connected_; }
  int fd() const { return fd_.get(); }
  void close() { fd_.reset(); }

  static Bytes message(uint16_t id, uint16_t command, const Bytes& payload = {}, uint32_t flags = 0) {
    return Payload()
        .u16(id)
        .u16(command)
        .u32(static_cast<uint32_t>(16 + payload.size()))
        .u32(flags)
        .u32(0)
        .raw(payload);
  }

  bool send_raw(const Bytes& bytes, const std::vector<int>& fds = {}) {
    iovec iov{const_cast<uint8_t*>(bytes.data()), bytes.size()};
    std::vector<char> control(CMSG_SPACE(fds.size() * sizeof(int)));
    msghdr msg{};
    msg.msg_iov = &iov;
    msg.msg_iovlen = 1;
    if (!fds.empty()) {
      msg.msg_control = control.data();
      msg.msg_controllen = control.size();
      cmsghdr* c = CMSG_FIRSTHDR(&msg);
      c->cmsg_level = SOL_SOCKET;
      c->cmsg_type = SCM_RIGHTS;
      c->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
      std::memcpy(CMSG_DATA(c), fds.data(), fds.size() * sizeof(int));
    }
    return ::sendmsg(fd_.get(), &msg, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
  }

  uint16_t send(uint16_t command, const Bytes& payload = {}, const std::vector<int>& fds = {}, uint32_t flags = 0) {
    EXPECT_TRUE(send_raw(message(next_id_, command, payload, flags), fds));
    return next_id_++;
  }

  // One reply; fails the test when none comes.
  Reply receive() {
    Reply r;
    Bytes header;
    if (!read_exactly(header, 16)) {
      r.end = true;
      return r;
    }
    r.id = at<uint16_t>(header, 0);
    r.command = at<uint16_t>(header, 2);
    r.flags = at<uint32_t>(header, 8);
    r.error = at<uint32_t>(header, 12);
    uint32_t size = at<uint32_t>(header, 4);
    EXPECT_GE(size, 16u);
    EXPECT_LE(size, 1u << 20);
    if (size > 16 && !read_exactly(r.payload, size - 16)) ADD_FAILURE() << "a reply ends in its middle";
    return r;
  }

  Reply call(uint16_t command, const Bytes& payload = {}, const std::vector<int>& fds = {}) {
    uint16_t id = send(command, payload, fds);
    Reply r = receive();
    EXPECT_FALSE(r.end);
    EXPECT_EQ(r.id, id);
    EXPECT_EQ(r.command, command);
    EXPECT_EQ(r.flags & 0xf, 1u) << "type is Reply";
    return r;
  }
  // The call succeeds; its payload.
  Bytes ok(uint16_t command, const Bytes& payload = {}, const std::vector<int>& fds = {}) {
    Reply r = call(command, payload, fds);
    EXPECT_EQ(r.flags, 1u) << "errno " << r.error;
    EXPECT_EQ(r.error, 0u);
    return r.payload;
  }
  // The call fails; its errno. An error reply is a header alone.
  uint32_t fails(uint16_t command, const Bytes& payload = {}, const std::vector<int>& fds = {}) {
    Reply r = call(command, payload, fds);
    EXPECT_EQ(r.flags, 0x21u);
    EXPECT_TRUE(r.payload.empty());
    return r.error;
  }

  static Bytes version(const std::string& json = R"({"capabilities":{"max_msg_fds":16,"write_multiple":true}})") {
    return Payload().u16(0).u16(0).text(json).u8(0);
  }
  Client& hello() {
    ok(kVersionCmd, version());
    return *this;
  }

  // Waits for the server's goodbye: true at the end of the stream, false when something else came or nothing.
  bool ended() {
    pollfd p{fd_.get(), POLLIN, 0};
    if (::poll(&p, 1, kPatience.count()) != 1) return false;
    uint8_t byte;
    return ::recv(fd_.get(), &byte, 1, MSG_DONTWAIT) == 0;
  }
  // Proves that nothing is on the way: a call after it is answered first.
  void expect_silence_then_alive() {
    Bytes p = ok(kGetInfoCmd, Payload().u32(16).u32(0).u32(0).u32(0));
    EXPECT_EQ(p.size(), 16u);
  }

  static Bytes region(uint64_t offset, uint32_t index, uint32_t count, const Bytes& data = {}) {
    return Payload().u64(offset).u32(index).u32(count).raw(data);
  }
  Bytes read_region(uint32_t index, uint64_t offset, uint32_t count) {
    Bytes p = ok(kRegionReadCmd, region(offset, index, count));
    EXPECT_EQ(p.size(), 16u + count);
    if (p.size() < 16) return {};
    return Bytes(p.begin() + 16, p.end());
  }
  void write_region(uint32_t index, uint64_t offset, const Bytes& data) {
    ok(kRegionWriteCmd, region(offset, index, static_cast<uint32_t>(data.size()), data));
  }
  static Bytes irqs(uint32_t flags, uint32_t index, uint32_t start, uint32_t count, const Bytes& data = {}) {
    return Payload().u32(static_cast<uint32_t>(20 + data.size())).u32(flags).u32(index).u32(start).u32(count).raw(data);
  }

 private:
  bool read_exactly(Bytes& to, size_t n) {
    size_t have = 0;
    to.resize(n);
    while (have < n) {
      pollfd p{fd_.get(), POLLIN, 0};
      if (::poll(&p, 1, kPatience.count()) != 1) {
        ADD_FAILURE() << "no reply";
        return false;
      }
      ssize_t got = ::recv(fd_.get(), to.data() + have, n - have, 0);
      if (got <= 0) return false;
      have += static_cast<size_t>(got);
    }
    return true;
  }
  UniqueFd fd_;
  bool connected_ = false;
  uint16_t next_id_ = 1;
};

// An eventfd of the test's, and how often it was signalled since last asked.
class Event {
 public:
  Event() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  int fd() const { return fd_.get(); }
  uint64_t take() {
    uint64_t n = 0;
    return ::read(fd_.get(), &n, sizeof n) == sizeof n ? n : 0;
  }
  void signal() {
    uint64_t one = 1;
    EXPECT_EQ(::write(fd_.get(), &one, sizeof one), 8);
  }
  // Waits for a signal.
  bool wait() {
    pollfd p{fd_.get(), POLLIN, 0};
    return ::poll(&p, 1, kPatience.count()) == 1 && take() > 0;
  }

 private:
  UniqueFd fd_;
};

inline size_t open_descriptors() {
  size_t n = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++n;
  return n;
}

class ProtocolTest : public ::testing::Test {
 protected:
  ProtocolTest() {
    char name[] = "/tmp/bmcpair-vfio-XXXXXX";
    directory_ = ::mkdtemp(name);
    options_.socket_path = directory_ + "/s";
    options_.port_path = "bmc/interface";
    // The server notices as late as it likes that the client before has gone.
    options_.claim_wait = kPatience;
  }
  ~ProtocolTest() override {
    server_.reset();
    std::filesystem::remove_all(directory_);
  }
  void start(registers::InterfaceKind kind = registers::InterfaceKind::kKcs) {
    provider_ = std::make_unique<ArrayProvider>(kind);
    auto s = Server::start(options_, *provider_);
    ASSERT_TRUE(s.ok()) << s.error().message;
    server_ = *std::move(s);
  }
  Client connect() {
    Client c(options_.socket_path);
    EXPECT_TRUE(c.connected());
    return c;
  }
  Client greeted() {
    Client c = connect();
    c.hello();
    return c;
  }
  ArrayRegisters& registers() { return provider_->registers; }

  std::string directory_;
  Server::Options options_;
  std::unique_ptr<ArrayProvider> provider_;
  std::unique_ptr<Server> server_;
};

}  // namespace bmcpair::vfio_bridge::testing
