// The VM-protocol server in this process: sockets, threads, bounds.
#include "bmc_emu/transport/vm_protocol/server.h"

#include <dirent.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <atomic>
#include <fstream>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "bmc_emu/board/fleet.h"
#include "integration/system/process.h"
#include "integration/vm/vm_client.h"

namespace bmcpair::integration {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using transport::VmServer;
using vm_protocol::Control;

board::BoardConfig board_config(const std::string& name) {
  board::BoardConfig config;
  config.firmware.name = name;
  config.firmware.warm_reset_offline = std::chrono::milliseconds(1);
  firmware::SensorConfig sensor;
  sensor.name = "Temp";
  sensor.number = 1;
  sensor.initial = 30;
  sensor.thresholds.upper_critical = 80;
  config.firmware.sensors.push_back(sensor);
  firmware::I2cDeviceConfig device;
  device.address = 0x50;
  device.content = Bytes(256, 0x11);
  config.firmware.i2c_devices.push_back(device);
  board::InterfaceConfig bt;
  bt.name = "bt";
  bt.kind = registers::InterfaceKind::kBt;
  config.interfaces.push_back(bt);
  return config;
}

class VmServerTest : public ::testing::Test {
 protected:
  void start_fleet(int boards = 1) {
    std::vector<board::BoardConfig> configs;
    for (int i = 0; i < boards; ++i) configs.push_back(board_config("b" + std::to_string(i)));
    auto made = board::Fleet::create(std::move(configs), {});
    ASSERT_TRUE(made) << made.error().message;
    fleet_ = std::move(*made);
  }
  Result<std::unique_ptr<VmServer>> serve(const std::string& listen, const std::string& bmc = "b0") {
    transport::VmServerOptions options;
    options.listen = listen;
    options.interface = "bt";
    options.log = [this](std::string_view line) {
      std::lock_guard<std::mutex> lock(mutex_);
      log_ += std::string(line) + "\n";
    };
    return VmServer::start(std::move(options), *fleet_->find(bmc));
  }
  std::string log() {
    std::lock_guard<std::mutex> lock(mutex_);
    return log_;
  }
  template <class F>
  bool eventually(F condition) {
    const auto deadline = std::chrono::steady_clock::now() + VmClient::kPatience;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
  }
  // A connection that was taken, not refused.
  std::unique_ptr<VmClient> connect(const std::string& address) {
    std::unique_ptr<VmClient> client;
    EXPECT_TRUE(eventually([&] {
      client = std::make_unique<VmClient>(address);
      return client->next().has_value();
    }));
    return client;
  }

  TemporaryFolder folder_;
  std::mutex mutex_;
  std::string log_;
  std::unique_ptr<board::Fleet> fleet_;
};

size_t threads() {
  size_t n = 0;
  DIR* tasks = ::opendir("/proc/self/task");
  while (dirent* entry = ::readdir(tasks)) n += entry->d_name[0] != '.' ? 1 : 0;
  ::closedir(tasks);
  return n;
}

}  // namespace

TEST_F(VmServerTest, TheSocketIsPrivateAndGoesWithTheServer) {
  start_fleet();
  std::string path = folder_ / "bt.vm";
  {
    auto server = serve("unix:" + path);
    ASSERT_TRUE(server) << server.error().message;
    EXPECT_EQ((*server)->address(), "unix:" + path);
    struct stat st {};
    ASSERT_EQ(::lstat(path.c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 0777, 0600u);
    EXPECT_EQ((*fleet_->find("b0"))->message_service("bt")->address(), "unix:" + path);
    auto second = serve("unix:" + path);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, ErrorCode::kBusy);
    EXPECT_THAT(connect("unix:" + path)->ask("18 01"), StartsWith("01 00")) << "the first does not mind";
  }
  struct stat st {};
  EXPECT_NE(::lstat(path.c_str(), &st), 0);
  EXPECT_EQ((*fleet_->find("b0"))->message_service("bt")->address(), "");
  EXPECT_TRUE(serve("unix:" + path)) << "and again";
}

TEST_F(VmServerTest, AddressesThatCannotBeServedAreRefused) {
  start_fleet();
  EXPECT_EQ(serve("bt.vm").error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(serve("tcp:127.0.0.1").error().code, ErrorCode::kInvalidArgument);
  write_file(folder_ / "file", "kept");
  EXPECT_EQ(serve("unix:" + (folder_ / "file")).error().code, ErrorCode::kBusy);
  auto first = serve("tcp:127.0.0.1:0");
  ASSERT_TRUE(first);
  EXPECT_EQ(serve((*first)->address()).error().code, ErrorCode::kBusy);
  transport::VmServerOptions options;
  options.listen = "tcp:127.0.0.1:0";
  options.interface = "nonsense";
  EXPECT_EQ(VmServer::start(options, *fleet_->find("b0")).error().code, ErrorCode::kNotFound);
}

TEST_F(VmServerTest, AHundredIdleHostsHaveOneThread) {
  start_fleet(100);
  auto first = serve("unix:" + (folder_ / "0"));
  ASSERT_TRUE(first);
  size_t before = threads();
  std::vector<std::unique_ptr<VmServer>> servers;
  std::vector<std::unique_ptr<VmClient>> clients;
  for (int i = 1; i < 100; ++i) {
    auto server = serve("unix:" + (folder_ / std::to_string(i)), "b" + std::to_string(i));
    ASSERT_TRUE(server) << server.error().message;
    clients.push_back(connect((*server)->address()));
    servers.push_back(std::move(*server));
  }
  for (auto& client : clients) ASSERT_THAT(client->ask("18 01"), StartsWith("01 00"));
  EXPECT_EQ(threads(), before);
}

TEST_F(VmServerTest, AHostThatLeavesWhatItIsToldUnreadIsCutOff) {
  start_fleet();
  auto server = serve("unix:" + (folder_ / "bt.vm"));
  ASSERT_TRUE(server);
  auto service = (*fleet_->find("b0"))->message_service("bt");
  auto client = connect((*server)->address());
  // Answers of some 500 bytes, one after the other, none of them read.
  bool gone = false;
  for (int i = 0; i < 20'000 && !gone; ++i) {
    uint64_t before = service->frames_out;
    try {
      client->send_request("18 52 00 50 fb 00");
    } catch (const std::exception&) {
      gone = true;
    }
    ASSERT_TRUE(eventually([&] {
      gone = gone || log().find("leaves what it is told unread") != std::string::npos;
      return gone || service->frames_out > before;
    }));
  }
  EXPECT_TRUE(eventually([&] { return log().find("is gone: it leaves what it is told unread") != std::string::npos; }))
      << log();
  EXPECT_THAT(connect((*server)->address())->ask("18 01"), StartsWith("01 00"));
}

TEST_F(VmServerTest, AHostThatReadsLateGetsEverythingInOrder) {
  start_fleet();
  auto server = serve("unix:" + (folder_ / "bt.vm"));
  ASSERT_TRUE(server);
  auto service = (*fleet_->find("b0"))->message_service("bt");
  auto client = connect((*server)->address());
  // The rest of the greeting, interrupts and attention: what goes out from here on are responses.
  ASSERT_TRUE(client->next());
  ASSERT_TRUE(client->next());
  const int bytes = 4096;
  ASSERT_EQ(::setsockopt(client->fd(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes), 0);
  std::vector<uint8_t> sent;
  for (int i = 0; i < 150; ++i) {
    uint64_t before = service->frames_out;
    sent.push_back(client->send_request("18 52 00 50 fb 00"));
    ASSERT_TRUE(eventually([&] { return service->frames_out > before; }));
  }
  std::vector<uint8_t> answered;
  while (answered.size() < sent.size()) {
    auto frame = client->next();
    ASSERT_TRUE(frame);
    if (frame->kind == vm_protocol::Frame::Kind::kMessage) answered.push_back(frame->sequence);
  }
  EXPECT_EQ(answered, sent);
}

TEST_F(VmServerTest, HostsComeAndGoWhileEverythingHappensAtOnce) {
  start_fleet();
  auto board = *fleet_->find("b0");
  auto watch = fleet_->subscribe([](const board::BoardEvent&) {});
  auto server = serve("unix:" + (folder_ / "bt.vm"));
  ASSERT_TRUE(server);
  std::string address = (*server)->address();
  std::atomic<bool> end{false};
  std::thread operator_hand([&] {
    for (int i = 0; !end; ++i) {
      board->with_firmware([&](firmware::Bmc& bmc, Instant now) {
        (void)bmc.set_sensor_value("Temp", i % 2 ? 90 : 20, now);
        (void)bmc.power(i % 3 ? firmware::PowerAction::kDiagnosticInterrupt : firmware::PowerAction::kHardReset, now);
        if (i % 512 == 0) bmc.reset(false, now);
      });
      for (const auto& endpoint : board->endpoints()) {
        if (i % 256 == 0) (void)board->detach(endpoint.id, "test");
      }
      (void)board->statistics("bt");
      std::this_thread::yield();
    }
  });
  std::vector<std::thread> hosts;
  std::atomic<int> answers{0};
  for (int h = 0; h < 3; ++h) {
    hosts.emplace_back([&, h] {
      for (int i = 0; i < 60; ++i) {
        try {
          VmClient client(address);
          client.hello();
          for (int j = 0; j < 5; ++j) {
            client.send_request(j % 2 ? "18 01" : "18 2e 0f");
            if (client.message_within(std::chrono::milliseconds(20))) {
              if (client.next()) ++answers;
            }
          }
          if (i % 3 == h) client.send("04 a1 00 18 aa");
          client.close(i % 2 == 0);
        } catch (const std::exception&) {
          // Refused, detached or cut off in between: it comes again.
        }
      }
    });
  }
  for (std::thread& host : hosts) host.join();
  end = true;
  operator_hand.join();
  EXPECT_GT(answers, 0);
  std::string identity;
  ASSERT_TRUE(eventually([&] {
    auto client = connect(address);
    client->send_request("18 01");
    if (client->message_within(std::chrono::milliseconds(50))) identity = client->response();
    return identity.rfind("01 00", 0) == 0;
  })) << identity;
}

TEST_F(VmServerTest, AFleetThatShutsDownCutsItsHostsOff) {
  start_fleet();
  auto server = serve("tcp:127.0.0.1:0");
  ASSERT_TRUE(server);
  auto client = connect((*server)->address());
  fleet_->shutdown();
  EXPECT_TRUE(client->wait_for_end());
  EXPECT_TRUE(eventually([&] { return log().find("BMC b0 is shutting down") != std::string::npos; })) << log();
  VmClient late((*server)->address());
  EXPECT_TRUE(late.wait_for_end());
  (*server)->stop();
  (*server)->stop();
  EXPECT_THROW(VmClient((*server)->address()), std::runtime_error);
}

TEST_F(VmServerTest, ReportsReachThoseWhoWatch) {
  start_fleet();
  std::mutex mutex;
  std::string seen;
  auto watch = fleet_->subscribe([&](const board::BoardEvent& event) {
    std::lock_guard<std::mutex> lock(mutex);
    seen += event.interface + " " + event.kind + ": " + event.change.text + "\n";
  });
  auto server = serve("unix:" + (folder_ / "bt.vm"));
  ASSERT_TRUE(server);
  auto client = connect((*server)->address());
  client->send("00 18 01 ff a0");
  VmClient second((*server)->address());
  EXPECT_TRUE(second.wait_for_end());
  for (const char* what : {"bt attached: VM host (pid ", "wrong frame 1: a frame of 4 bytes: wrong checksum",
                           "refused: interface b0/bt is in use by VM host"}) {
    EXPECT_TRUE(eventually([&] {
      std::lock_guard<std::mutex> lock(mutex);
      return seen.find(what) != std::string::npos;
    })) << what << "\n" << seen;
  }
}

}  // namespace bmcpair::integration
