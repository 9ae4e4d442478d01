#include "host_driver/port_io/server.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <optional>
#include <thread>

#include "host_driver/port_io/wire.h"
#include "proto/base/hex.h"

namespace bmcpair::port_io {
namespace {

// Remembers what was done to it, and reads as offset, then one more each time.
struct Device {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::pair<uint16_t, uint8_t>> writes;
  std::vector<uint16_t> reads;
  unsigned bursts = 0;
  int attached = 0;
  int attaches = 0;
  uint8_t next = 0x10;
};

class DevicePort final : public registers::RegisterPort {
 public:
  DevicePort(Device& device, registers::InterfaceKind kind) : device_(device), kind_(kind) {
    std::lock_guard lock(device_.mutex);
    ++device_.attached;
    ++device_.attaches;
  }
  ~DevicePort() override {
    std::lock_guard lock(device_.mutex);
    --device_.attached;
    device_.changed.notify_all();
  }
  uint8_t read(uint16_t offset) override {
    std::lock_guard lock(device_.mutex);
    device_.reads.push_back(offset);
    return device_.next++;
  }
  void write(uint16_t offset, uint8_t value) override {
    std::lock_guard lock(device_.mutex);
    device_.writes.emplace_back(offset, value);
  }
  void read_burst(uint16_t offset, std::span<uint8_t> out) override {
    std::lock_guard lock(device_.mutex);
    for (uint8_t& b : out) {
      device_.reads.push_back(offset);
      b = device_.next++;
    }
    ++device_.bursts;
  }
  registers::InterfaceKind kind() const override { return kind_; }
  bool has_interrupt() const override { return false; }
  void set_interrupt_handler(InterruptHandler) override {}

 private:
  Device& device_;
  const registers::InterfaceKind kind_;
};

class Program {
 public:
  explicit Program(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, path.c_str());
    connected_ = ::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  ~Program() { ::close(fd_); }
  bool connected() const { return connected_; }
  // Nothing: the server has hung up.
  std::optional<Bytes> ask(const Request& request, const Bytes& data = {}) {
    Bytes packet(sizeof request);
    std::memcpy(packet.data(), &request, sizeof request);
    packet.insert(packet.end(), data.begin(), data.end());
    return ask_raw(packet);
  }
  std::optional<Bytes> ask_raw(const Bytes& packet) {
    if (::send(fd_, packet.data(), packet.size(), MSG_NOSIGNAL) < 0) return std::nullopt;
    Bytes answer(4096);
    const ssize_t got = ::recv(fd_, answer.data(), answer.size(), 0);
    if (got < static_cast<ssize_t>(sizeof(Answer))) return std::nullopt;
    return Bytes(answer.begin() + sizeof(Answer), answer.begin() + got);
  }
  bool hello(uint32_t version = kWireVersion) { return ask({Operation::kHello, 0, 0, version}).has_value(); }
  std::optional<Bytes> in(uint16_t port, uint8_t width = 1, uint32_t count = 1) { return ask({Operation::kIn, width, port, count}); }
  bool out(uint16_t port, const Bytes& data, uint8_t width = 1) {
    return ask({Operation::kOut, width, port, static_cast<uint32_t>(data.size() / width)}, data).has_value();
  }

 private:
  const int fd_;
  bool connected_ = false;
};

class PortServer : public ::testing::Test {
 protected:
  PortServer() {
    std::string pattern = "/tmp/bmcpair-ports.XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
    options_.socket_path = folder_ + "/ports.sock";
    options_.error = [this](std::string line) {
      std::lock_guard lock(mutex_);
      errors_.push_back(std::move(line));
    };
    add("bt", bt_, 0xe4, 1, registers::InterfaceKind::kBt);
    add("kcs", kcs_, 0xca2, 4, registers::InterfaceKind::kKcs);
  }
  ~PortServer() override {
    server_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  void add(const std::string& name, Device& device, uint16_t base, uint16_t spacing, registers::InterfaceKind kind) {
    options_.mappings.push_back({name, base, spacing, registers::register_count(kind),
                                 [this, &device, kind]() -> Result<std::unique_ptr<registers::RegisterPort>> {
                                   if (busy_ > 0) {
                                     --busy_;
                                     return Error{ErrorCode::kBusy, "held by somebody"};
                                   }
                                   return std::unique_ptr<registers::RegisterPort>(new DevicePort(device, kind));
                                 }});
  }
  void start() {
    auto server = Server::create(options_);
    ASSERT_TRUE(server.ok()) << server.error().message;
    server_ = std::move(*server);
  }
  void wait_detached(Device& device) {
    std::unique_lock lock(device.mutex);
    EXPECT_TRUE(device.changed.wait_for(lock, std::chrono::seconds(60), [&] { return device.attached == 0; }));
  }

  Device bt_, kcs_;  // outlive the server
  std::atomic<int> busy_{0};
  std::mutex mutex_;
  std::vector<std::string> errors_;
  std::string folder_;
  ServerOptions options_;
  std::unique_ptr<Server> server_;
};

}  // namespace

TEST_F(PortServer, APortOfNobodyReadsFfAndSwallowsWrites) {
  start();
  Program program(options_.socket_path);
  ASSERT_TRUE(program.hello());
  EXPECT_EQ(program.in(0x80), Bytes{0xff});
  EXPECT_EQ(program.in(0xffff, 4), (Bytes{0xff, 0xff, 0xff, 0xff})) << "no port follows the last";
  EXPECT_TRUE(program.out(0x80, {1, 2, 3}));
  EXPECT_EQ(bt_.attaches + kcs_.attaches, 0) << "nobody's port attaches nothing";
  EXPECT_EQ(server_->statistics().unclaimed, 8u);
}

TEST_F(PortServer, AnInterfaceIsAttachedAtItsFirstAccessAndLetGoWithTheLastProgram) {
  start();
  auto first = std::make_unique<Program>(options_.socket_path);
  auto second = std::make_unique<Program>(options_.socket_path);
  ASSERT_TRUE(first->hello() && second->hello());
  EXPECT_FALSE(server_->attached(0));
  EXPECT_EQ(first->in(0xe4), Bytes{0x10});
  EXPECT_EQ(second->in(0xe6), Bytes{0x11});
  EXPECT_TRUE(server_->attached(0));
  EXPECT_FALSE(server_->attached(1));
  first.reset();
  EXPECT_EQ(second->in(0xe4), Bytes{0x12});
  EXPECT_EQ(bt_.attaches, 1);
  second.reset();
  wait_detached(bt_);
  Program third(options_.socket_path);
  ASSERT_TRUE(third.hello());
  EXPECT_EQ(third.in(0xe4), Bytes{0x13});
  EXPECT_EQ(bt_.attaches, 2);
}

TEST_F(PortServer, RegistersLieAsFarApartAsTheMappingSays) {
  start();
  Program program(options_.socket_path);
  ASSERT_TRUE(program.hello());
  EXPECT_TRUE(program.out(0xca2, {1}));
  EXPECT_TRUE(program.out(0xca6, {2}));
  EXPECT_TRUE(program.out(0xca3, {3}));
  EXPECT_TRUE(program.out(0xcaa, {4})) << "KCS has two registers";
  EXPECT_EQ(kcs_.writes, (std::vector<std::pair<uint16_t, uint8_t>>{{0, 1}, {1, 2}}));
}

TEST_F(PortServer, AWideAccessIsOneCycleAByteAndARepetitionOfBytesOneBurst) {
  start();
  Program program(options_.socket_path);
  ASSERT_TRUE(program.hello());
  EXPECT_EQ(program.in(0xe4, 2), (Bytes{0x10, 0x11}));
  EXPECT_EQ(bt_.reads, (std::vector<uint16_t>{0, 1}));
  EXPECT_TRUE(program.out(0xe5, {1, 2, 3, 4}, 4));
  EXPECT_EQ(bt_.writes, (std::vector<std::pair<uint16_t, uint8_t>>{{1, 1}, {2, 2}})) << "two of four are nobody's";
  EXPECT_EQ(program.in(0xe5, 1, 3), (Bytes{0x12, 0x13, 0x14}));
  EXPECT_EQ(bt_.bursts, 1u);
  EXPECT_EQ(program.in(0xe5, 1, kDataBytesMax)->size(), kDataBytesMax);
}

TEST_F(PortServer, ABusyInterfaceIsAnEmptyBusAndOneLineSaysWhy) {
  options_.busy_wait = {};
  options_.retry_wait = std::chrono::hours(1);
  busy_ = 1'000'000;
  start();
  auto program = std::make_unique<Program>(options_.socket_path);
  ASSERT_TRUE(program->hello());
  for (int i = 0; i < 10; ++i) EXPECT_EQ(program->in(0xe4), Bytes{0xff});
  {
    std::lock_guard lock(mutex_);
    ASSERT_EQ(errors_.size(), 1u);
    EXPECT_EQ(errors_[0], "bt: held by somebody");
  }
  EXPECT_EQ(busy_, 1'000'000 - 1) << "one that failed is not tried at every access";
}

TEST_F(PortServer, WhoIsStillLeavingIsWaitedFor) {
  options_.busy_wait = std::chrono::hours(1);
  busy_ = 3;
  start();
  Program program(options_.socket_path);
  ASSERT_TRUE(program.hello());
  EXPECT_EQ(program.in(0xe4), Bytes{0x10});
  std::lock_guard lock(mutex_);
  EXPECT_TRUE(errors_.empty());
}

TEST_F(PortServer, WhoeverDoesNotSpeakItsLanguageIsHungUpOn) {
  start();
  const auto first = [&](const Bytes& packet) {
    Program program(options_.socket_path);
    return program.ask_raw(packet).has_value();
  };
  EXPECT_FALSE(first({1}));
  EXPECT_FALSE(first(Bytes(8, 0)));
  EXPECT_FALSE(first(Bytes(3000, 0xee)));
  {
    Program program(options_.socket_path);
    EXPECT_FALSE(program.in(0xe4).has_value()) << "no greeting";
  }
  {
    Program program(options_.socket_path);
    EXPECT_FALSE(program.hello(kWireVersion + 1));
  }
  const std::vector<std::pair<Request, Bytes>> wrong = {
      {{Operation::kIn, 3, 0xe4, 1}, {}},          {{Operation::kIn, 1, 0xe4, 0}, {}},
      {{Operation::kIn, 1, 0xe4, 1025}, {}},       {{Operation::kIn, 4, 0xe4, 0x40000001}, {}},
      {{Operation::kIn, 1, 0xe4, 1}, {1}},         {{Operation::kOut, 1, 0xe4, 2}, {1}},
      {{static_cast<Operation>(9), 1, 0xe4, 1}, {}}, {{Operation::kHello, 0, 0, kWireVersion}, {}},
  };
  for (const auto& [request, data] : wrong) {
    Program program(options_.socket_path);
    ASSERT_TRUE(program.hello());
    EXPECT_FALSE(program.ask(request, data).has_value()) << static_cast<int>(request.operation) << " " << request.count;
  }
  EXPECT_EQ(bt_.attaches, 0);
}

TEST_F(PortServer, TheSocketIsOursAloneAndGoesWithTheServer) {
  start();
  struct stat info {};
  ASSERT_EQ(::stat(options_.socket_path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  Program program(options_.socket_path);
  ASSERT_TRUE(program.hello());
  EXPECT_EQ(program.in(0xe4), Bytes{0x10});
  server_.reset();
  EXPECT_NE(::stat(options_.socket_path.c_str(), &info), 0);
  EXPECT_EQ(bt_.attached, 0);
  EXPECT_FALSE(program.in(0xe4).has_value());
}

TEST_F(PortServer, MoreProgramsThanItsBoundAreTurnedAway) {
  options_.clients_max = 2;
  start();
  Program one(options_.socket_path), two(options_.socket_path);
  ASSERT_TRUE(one.hello() && two.hello());
  Program three(options_.socket_path);
  EXPECT_FALSE(three.hello());
  EXPECT_EQ(one.in(0xe4), Bytes{0x10});
}

TEST_F(PortServer, ManyProgramsAtOnceEachGetTheirAnswers) {
  start();
  std::vector<std::thread> threads;
  std::atomic<int> bad{0};
  for (int t = 0; t < 10; ++t) {
    threads.emplace_back([&, t] {
      for (int life = 0; life < 5; ++life) {
        Program program(options_.socket_path);
        if (!program.hello()) ++bad;
        for (int i = 0; i < 20; ++i) {
          auto bytes = program.in(t % 2 ? 0xe4 : 0xca2, 1, static_cast<uint32_t>(1 + t));
          if (!bytes || bytes->size() != static_cast<size_t>(1 + t)) ++bad;
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(bad, 0);
  wait_detached(bt_);
  wait_detached(kcs_);
}

}  // namespace bmcpair::port_io
