#include "bmc_emu/board/fleet.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <thread>

#include "bmc_emu/board/testing.h"

namespace bmcpair::board {
namespace {

using namespace std::chrono_literals;
using namespace testing;
namespace bt = registers::bt;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const Bytes kAddSelEntry{0x28, 0x44, 0, 0, 2, 0, 0, 0, 0, 0x20, 0, 4, 1, 1, 1, 0x59, 1, 2};

std::unique_ptr<Fleet> fleet_of(std::vector<std::string> names, FleetOptions options = {}) {
  std::vector<BoardConfig> configs;
  for (auto& name : names) configs.push_back(board_config(name));
  auto fleet = Fleet::create(std::move(configs), options);
  if (!fleet) throw std::runtime_error(fleet.error().message);
  return std::move(*fleet);
}

// A whole transaction against the fleet's own threads, as a driver polls.
Bytes transact(registers::RegisterPort& port, ByteView request) {
  bt_send(port, request);
  auto end = std::chrono::steady_clock::now() + 20s;
  while ((port.read(bt::kCtrl) & bt::kB2hAtn) == 0) {
    if (std::chrono::steady_clock::now() > end) {
      ADD_FAILURE() << "no answer came";
      return {};
    }
    std::this_thread::yield();
  }
  return bt_receive(port);
}

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "bmcpair-fleet.XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(Fleet, AnswersOnItsOwnThreads) {
  auto fleet = fleet_of({"a"});
  auto port = fleet->attach("a/bt", "test[1]");
  ASSERT_TRUE(port);
  for (int i = 0; i < 50; ++i) {
    Bytes answer = transact(**port, kGetDeviceId);
    ASSERT_GE(answer.size(), 3u);
    EXPECT_EQ(answer[2], 0);
  }
}

TEST(Fleet, AnInterruptComesWithoutAnyPolling) {
  auto fleet = fleet_of({"a"});
  auto port = fleet->attach("a/bt", "test[1]");
  ASSERT_TRUE(port);
  std::mutex mutex;
  std::condition_variable changed;
  int rises = 0;
  (*port)->set_interrupt_handler([&](bool level) {
    std::lock_guard<std::mutex> lock(mutex);
    rises += level;
    changed.notify_all();
  });
  (*port)->write(bt::kIntMask, bt::kB2hIrqEnable);
  for (int i = 1; i <= 50; ++i) {
    bt_send(**port, kGetDeviceId);
    {
      std::unique_lock<std::mutex> lock(mutex);
      ASSERT_TRUE(changed.wait_for(lock, 20s, [&] { return rises >= i; })) << "interrupt " << i << " was lost";
    }
    (*port)->write(bt::kIntMask, bt::kB2hIrqEnable | bt::kB2hIrq);
    EXPECT_EQ(bt_receive(**port)[2], 0);
  }
}

TEST(Fleet, ManyHostsOnManyBoardsAllGetTheirOwnAnswers) {
  std::vector<std::string> names;
  for (int i = 0; i < 8; ++i) names.push_back("n" + std::to_string(i));
  auto fleet = fleet_of(names, {3, ""});
  std::vector<std::thread> hosts;
  for (int i = 0; i < 8; ++i) {
    hosts.emplace_back([&, i] {
      auto port = fleet->attach(names[static_cast<size_t>(i)] + "/bt", "host");
      ASSERT_TRUE(port);
      for (int n = 0; n < 30; ++n) {
        // Set/Get ACPI power state: what one BMC was told must come back from it and from no other.
        Bytes set{0x18, 0x06, static_cast<uint8_t>(0x80 | (i & 3)), 0};
        ASSERT_EQ(transact(**port, set)[2], 0);
        Bytes get = transact(**port, Bytes{0x18, 0x07});
        ASSERT_EQ(get.size(), 5u);
        EXPECT_EQ(get[3], i & 3);
      }
    });
  }
  for (auto& host : hosts) host.join();
}

TEST(Fleet, TwoBoardsOfOneNameAreRefused) {
  std::vector<BoardConfig> configs{board_config("a"), board_config("b"), board_config("a")};
  auto fleet = Fleet::create(configs, {});
  ASSERT_FALSE(fleet);
  EXPECT_EQ(fleet.error().code, ErrorCode::kAlreadyExists);
  EXPECT_THAT(fleet.error().message, HasSubstr("a"));
}

TEST(Fleet, NoBoardAtAllIsRefused) { EXPECT_EQ(Fleet::create({}, {}).error().code, ErrorCode::kInvalidArgument); }

TEST(Fleet, ANameWithASlashIsRefused) {
  EXPECT_EQ(Fleet::create({board_config("a/b")}, {}).error().code, ErrorCode::kInvalidArgument);
}

TEST(Fleet, PathsMayBeShortWhereTheyAreUnambiguous) {
  auto one = fleet_of({"only"});
  EXPECT_TRUE(one->attach("/bt", "x"));
  EXPECT_TRUE(one->attach("only/kcs", "x"));
  EXPECT_EQ(one->attach("", "x").error().code, ErrorCode::kNotFound);  // two interfaces
  BoardConfig single = board_config("s");
  single.interfaces.resize(1);
  auto fleet = Fleet::create({single}, {});
  ASSERT_TRUE(fleet);
  EXPECT_TRUE((*fleet)->attach("", "x"));
  EXPECT_TRUE((*fleet)->attach("s", "x"));
}

TEST(Fleet, AnUnknownNameIsRefusedWithThoseThereAre) {
  auto fleet = fleet_of({"a", "b", "c", "d", "e", "f", "g"});
  EXPECT_THAT(fleet->names(), ElementsAre("a", "b", "c", "d", "e", "f", "g"));
  auto missing = fleet->find("z");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(missing.error().message, HasSubstr("a, b, c, d, e... (7 in all)"));
  EXPECT_EQ(fleet->find("").error().code, ErrorCode::kNotFound);
  EXPECT_TRUE(fleet->find("g"));
}

TEST(Fleet, ASubscriberSeesTheEventsOfEveryBoardUntilItGoes) {
  auto fleet = fleet_of({"a", "b"});
  std::mutex mutex;
  std::vector<std::string> seen;
  auto handle = fleet->subscribe([&](const BoardEvent& event) {
    std::lock_guard<std::mutex> lock(mutex);
    seen.push_back(event.bmc + " " + event.kind);
  });
  { ASSERT_TRUE(fleet->attach("a/bt", "x")); }
  { ASSERT_TRUE(fleet->attach("b/bt", "x")); }
  handle.reset();
  { ASSERT_TRUE(fleet->attach("a/bt", "x")); }
  EXPECT_THAT(seen, ElementsAre("a attached", "a detached", "b attached", "b detached"));
}

TEST(Fleet, ASubscriberMayGoFromInsideItsOwnFunction) {
  auto fleet = fleet_of({"a"});
  std::shared_ptr<void> handle;
  int calls = 0;
  handle = fleet->subscribe([&](const BoardEvent&) {
    ++calls;
    handle.reset();
  });
  { ASSERT_TRUE(fleet->attach("a/bt", "x")); }
  EXPECT_EQ(calls, 1);
}

TEST(Fleet, ASubscriptionMayOutliveItsFleet) {
  auto fleet = fleet_of({"a"});
  auto handle = fleet->subscribe([](const BoardEvent&) {});
  fleet.reset();
  handle.reset();
}

TEST(Fleet, ABoardMayOutliveItsFleet) {
  auto fleet = fleet_of({"a"});
  auto board = fleet->find("a");
  ASSERT_TRUE(board);
  auto port = fleet->attach("a/bt", "x");
  ASSERT_TRUE(port);
  fleet.reset();
  EXPECT_FALSE((*port)->link().up);
  EXPECT_EQ((*board)->attach("bt", "x").error().code, ErrorCode::kShutdown);
  (*board)->with_firmware([](firmware::Bmc& bmc, Instant now) { (void)bmc.sensors(now); });
}

TEST(Fleet, ShutdownIsIdempotentAndTakesLinksDown) {
  auto fleet = fleet_of({"a"});
  auto port = fleet->attach("a/bt", "x");
  ASSERT_TRUE(port);
  fleet->shutdown();
  fleet->shutdown();
  EXPECT_FALSE((*port)->link().up);
  EXPECT_THAT((*port)->link().reason, HasSubstr("shutting down"));
}

TEST(Fleet, TheSelSurvivesInTheStateDirectory) {
  TemporaryFolder folder;
  std::string state = folder.path() + "/made/by/it";
  for (int round = 1; round <= 2; ++round) {
    auto fleet = fleet_of({"a", "b"}, {2, state});
    auto port = fleet->attach("a/bt", "x");
    ASSERT_TRUE(port);
    EXPECT_EQ(transact(**port, kAddSelEntry)[2], 0);
    size_t a = 0, b = 0;
    (*fleet->find("a"))->with_firmware([&](firmware::Bmc& bmc, Instant now) { a = bmc.sel(now).size(); });
    (*fleet->find("b"))->with_firmware([&](firmware::Bmc& bmc, Instant now) { b = bmc.sel(now).size(); });
    EXPECT_EQ(a, static_cast<size_t>(round));
    EXPECT_EQ(b, 0u);
  }
  EXPECT_EQ(std::filesystem::status(state).permissions(), std::filesystem::perms::owner_all);
}

TEST(Fleet, AStateDirectoryThatCannotBeMadeIsRefused) {
  TemporaryFolder folder;
  std::string file = folder.path() + "/file";
  { std::unique_ptr<FILE, int (*)(FILE*)> made(std::fopen(file.c_str(), "w"), std::fclose); }
  auto fleet = Fleet::create({board_config("a")}, {1, file + "/state"});
  ASSERT_FALSE(fleet);
  EXPECT_THAT(fleet.error().message, HasSubstr(file));
}

TEST(Fleet, TheClockOfItsBmcsIsTheSystems) {
  auto fleet = fleet_of({"a"});
  auto port = fleet->attach("a/bt", "x");
  ASSERT_TRUE(port);
  Bytes answer = transact(**port, Bytes{0x28, 0x48});  // Get SEL Time
  ASSERT_EQ(answer.size(), 7u);
  uint32_t seconds =
      static_cast<uint32_t>(answer[3] | answer[4] << 8 | answer[5] << 16) | static_cast<uint32_t>(answer[6]) << 24;
  auto now =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  EXPECT_NEAR(static_cast<double>(seconds), static_cast<double>(now), 60.0);
}

}  // namespace
}  // namespace bmcpair::board
