// The driver against the BMC, in one process, with nothing between them but registers.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>

#include "bmc_emu/board/fleet.h"
#include "host_driver/cli/commands.h"
#include "host_driver/cli/inventory.h"
#include "host_driver/message_handler/message_handler.h"
#include "host_driver/system_interface/driver.h"
#include "proto/ipmi/sdr.h"
#include "proto/ipmi/sel.h"

namespace bmcpair::pair {
namespace {

using registers::InterfaceKind;

// Only bounds how long a failing test takes.
Instant patience() { return rt::now() + std::chrono::seconds(60); }

board::BoardConfig board_of(InterfaceKind kind, bool interrupt = true) {
  board::BoardConfig config;
  config.firmware.name = "b";
  config.firmware.identity.manufacturer_id = 0x157;
  config.firmware.identity.product_id = 0x4711;
  config.firmware.identity.device_guid = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
  firmware::SensorConfig temperature;
  temperature.name = "Temp";
  temperature.number = 1;
  temperature.initial = 40;
  temperature.thresholds.upper_non_critical = 80;
  temperature.thresholds.upper_critical = 90;
  config.firmware.sensors.push_back(temperature);
  firmware::SensorConfig power;
  power.name = "PSU";
  power.number = 2;
  power.threshold = false;
  power.sensor_type = 0x08;
  power.initial_state = 1;
  config.firmware.sensors.push_back(power);
  config.firmware.frus.push_back({0, "Board", 512, Bytes(512, 0x5a)});
  firmware::SatelliteConfig satellite;
  satellite.identity.device_id = 0x33;
  config.firmware.satellites.push_back(satellite);
  config.firmware.warm_reset_offline = std::chrono::milliseconds(100);
  config.interfaces.push_back({"si", kind, {}, interrupt, 1});
  return config;
}

// One BMC and one driver, joined by a port.
struct Pair {
  explicit Pair(board::BoardConfig config, const char* profile = "hardened") {
    std::vector<board::BoardConfig> boards;
    boards.push_back(std::move(config));
    auto made = board::Fleet::create(std::move(boards), {});
    EXPECT_TRUE(made.ok()) << (made.ok() ? "" : made.error().message);
    fleet = std::move(*made);
    board = *fleet->find("");
    handler = std::make_unique<host::MessageHandler>();
    driver = std::make_unique<host::Driver>(*handler);
    host::SystemInterfaceOptions options;
    options.profile = state_machine::find_profile(profile);
    id = driver->add_interface([this] { return fleet->attach("", "pair_test"); }, options);
  }
  ~Pair() {
    user.reset();
    driver.reset();
    handler.reset();
  }
  void up(host::UserHandlers handlers = {}) {
    auto up_number = driver->wait_until_up(id, patience());
    ASSERT_TRUE(up_number.ok()) << up_number.error().message;
    number = *up_number;
    auto made = handler->create_user(number, std::move(handlers));
    ASSERT_TRUE(made.ok()) << made.error().message;
    user = std::move(*made);
  }
  Result<Bytes> ask(uint8_t netfn, uint8_t cmd, Bytes data = {}, host::Address address = host::SystemInterfaceAddress{}) {
    auto answer = host::call(*user, address, {netfn, 0, cmd, std::move(data)}, patience());
    if (!answer.ok()) return answer.error();
    return answer->data;
  }
  cli::RequestFunction send() {
    return [this](const ipmi::Request& request) -> Result<ipmi::Response> {
      auto answer = host::call(*user, host::SystemInterfaceAddress{request.lun}, request, patience());
      if (!answer.ok()) return answer.error();
      return ipmi::Response{static_cast<ipmi::CompletionCode>(answer->data.at(0)), Bytes(answer->data.begin() + 1, answer->data.end())};
    };
  }
  host::SiStatistics statistics() { return driver->describe(id)->statistics; }

  std::unique_ptr<board::Fleet> fleet;
  std::shared_ptr<board::Board> board;
  std::unique_ptr<host::MessageHandler> handler;
  std::unique_ptr<host::Driver> driver;
  int id = 0;
  int number = -1;
  std::unique_ptr<host::User> user;
};

struct Case {
  InterfaceKind kind;
  bool interrupt;
  const char* profile;
};

class PairOf : public testing::TestWithParam<Case> {};

// Collects events and lets a test wait for them.
struct Events {
  rt::Mutex mutex;
  rt::WaitQueue changed;
  std::vector<Bytes> records;
  host::UserHandlers handlers() {
    host::UserHandlers out;
    out.receive = [this](host::RecvMessage message) {
      if (message.type != host::RecvType::kAsyncEvent) return;
      rt::LockGuard lock(mutex);
      records.push_back(message.data);
      changed.wake_all();
    };
    return out;
  }
  bool wait_for(size_t n) {
    rt::UniqueLock lock(mutex);
    return changed.wait_until(lock, patience(), [&] { return records.size() >= n; });
  }
};

}  // namespace

TEST_P(PairOf, ComesUpAndReadsIdentitySensorsSelAndFru) {
  Pair pair(board_of(GetParam().kind, GetParam().interrupt), GetParam().profile);
  pair.up();
  auto id = cli::get_device_id(pair.send());
  ASSERT_TRUE(id.ok()) << id.error().message;
  EXPECT_EQ(id->manufacturer_id, 0x157u);
  EXPECT_EQ(id->product_id, 0x4711);
  auto records = cli::read_sdr_repository(pair.send(), {});
  ASSERT_TRUE(records.ok()) << records.error().message;
  auto sensors = cli::sensors_of(*records);
  ASSERT_EQ(sensors.size(), 2u);
  EXPECT_EQ(sensors[0].name, "Temp");
  auto reading = cli::get_sensor_reading(pair.send(), 1, 0);
  ASSERT_TRUE(reading.ok() && reading->has_value());
  EXPECT_EQ(ipmi::sdr_convert(sensors[0], (*reading)->raw), 40);
  auto fru = cli::read_fru(pair.send(), 0);
  ASSERT_TRUE(fru.ok()) << fru.error().message;
  EXPECT_EQ(*fru, Bytes(512, 0x5a));
  auto added = cli::add_sel(pair.send(), Bytes{0, 0, 2, 0, 0, 0, 0, 0x20, 0, 4, 1, 1, 1, 9, 0xff, 0xff});
  ASSERT_TRUE(added.ok()) << added.error().message;
  auto sel = cli::read_sel(pair.send());
  ASSERT_TRUE(sel.ok());
  EXPECT_EQ(ipmi::decode_sel_record(sel->back())->id, *added);
  EXPECT_EQ(pair.statistics()[static_cast<size_t>(host::SiStatistic::kHosedCount)], 0u);
}

TEST_P(PairOf, AThresholdCrossingArrivesAsOneEventThroughSmsAttention) {
  Pair pair(board_of(GetParam().kind, GetParam().interrupt), GetParam().profile);
  Events events;
  pair.up(events.handlers());
  ASSERT_TRUE(pair.user->set_gets_events(true).ok());
  pair.board->with_firmware([](firmware::Bmc& bmc, Instant now) { ASSERT_TRUE(bmc.set_sensor_value("Temp", 85, now).ok()); });
  ASSERT_TRUE(events.wait_for(1));
  auto record = ipmi::decode_sel_record(events.records[0]);
  ASSERT_TRUE(record.ok());
  EXPECT_EQ(record->sensor_number, 1);
  EXPECT_EQ(record->offset(), 7) << "upper non-critical going high";
  EXPECT_FALSE(record->deassertion());
  pair.board->with_firmware([](firmware::Bmc& bmc, Instant now) { ASSERT_TRUE(bmc.set_sensor_value("Temp", 40, now).ok()); });
  ASSERT_TRUE(events.wait_for(2));
  EXPECT_TRUE(ipmi::decode_sel_record(events.records[1])->deassertion());
  pair.user.reset();
  EXPECT_EQ(events.records.size(), 2u) << "each event once";
  EXPECT_GE(pair.statistics()[static_cast<size_t>(host::SiStatistic::kEvents)], 2u);
}

TEST_P(PairOf, ASatelliteAnswersThroughSendMessage) {
  Pair pair(board_of(GetParam().kind, GetParam().interrupt), GetParam().profile);
  pair.up();
  host::IpmbAddress satellite;
  satellite.slave = 0x82;
  for (int i = 0; i < 5; ++i) {
    auto answer = pair.ask(ipmi::kNetFnApp, 0x01, {}, satellite);
    ASSERT_TRUE(answer.ok()) << answer.error().message;
    ASSERT_GE(answer->size(), 2u);
    EXPECT_EQ((*answer)[0], 0);
    EXPECT_EQ((*answer)[1], 0x33);
  }
}

TEST_P(PairOf, ManyUsersAtOnceEachGetTheirOwnAnswers) {
  Pair pair(board_of(GetParam().kind, GetParam().interrupt), GetParam().profile);
  pair.up();
  constexpr int kThreads = 4, kEach = 20;
  std::vector<std::unique_ptr<rt::Thread>> threads;
  rt::Atomic<int> right{0};
  for (int t = 0; t < kThreads; ++t) {
    threads.push_back(std::make_unique<rt::Thread>());
    threads.back()->start("user", [&, t] {
      auto user = pair.handler->create_user(pair.number, {});
      if (!user.ok()) return;
      for (int i = 0; i < kEach; ++i) {
        // Read FRU Data of t + 1 bytes: the answer says whose it is by its length.
        auto answer = host::call(**user, host::SystemInterfaceAddress{}, {ipmi::kNetFnStorage, 0, 0x11, {0, static_cast<uint8_t>(i), 0, static_cast<uint8_t>(t + 1)}},
                                 patience());
        if (answer.ok() && answer->data.size() == static_cast<size_t>(t) + 3 && answer->data[0] == 0) {
          right.fetch_add(1, std::memory_order_relaxed);
        }
      }
    });
  }
  for (auto& thread : threads) thread->join();
  EXPECT_EQ(right.load(std::memory_order_relaxed), kThreads * kEach);
}

TEST_P(PairOf, AWarmResetIsSurvivedAndTheAnswersAfterItAreRight) {
  Pair pair(board_of(GetParam().kind, GetParam().interrupt), GetParam().profile);
  pair.up();
  pair.board->with_firmware([](firmware::Bmc& bmc, Instant now) { bmc.reset(false, now); });
  // While it reboots requests may fail, with an Error or with the BMC's own code, never with another's answer.
  Instant end = patience();
  for (;;) {
    auto answer = pair.ask(ipmi::kNetFnApp, 0x01);
    if (answer.ok() && answer->at(0) == 0) {
      ASSERT_GE(answer->size(), 12u);
      EXPECT_EQ((*answer)[1], 0x20);
      break;
    }
    ASSERT_LT(rt::now(), end) << "not back after the reset";
  }
}

INSTANTIATE_TEST_SUITE_P(
    Pairs, PairOf,
    testing::Values(Case{InterfaceKind::kBt, true, "hardened"}, Case{InterfaceKind::kKcs, true, "hardened"},
                    Case{InterfaceKind::kSmic, true, "hardened"}, Case{InterfaceKind::kBt, false, "hardened"},
                    Case{InterfaceKind::kKcs, false, "hardened"}, Case{InterfaceKind::kKcs, true, "linux-6.1"},
                    Case{InterfaceKind::kBt, true, "linux-6.1"}),
    [](const testing::TestParamInfo<Case>& tested) {
      std::string name = std::string(to_string(tested.param.kind)) + (tested.param.interrupt ? "_irq_" : "_poll_") + tested.param.profile;
      std::replace_if(name.begin(), name.end(), [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); }, '_');
      return name;
    });

TEST(Pair, AnInterfaceThatIsTakenComesUpWhenItIsFree) {
  Pair pair(board_of(InterfaceKind::kBt));
  pair.up();
  host::MessageHandler other_handler;
  host::Driver other(other_handler);
  int id = other.add_interface([&] { return pair.fleet->attach("", "second"); }, {});
  // Until the driver has tried: then it says who is in the way.
  const Instant end = patience();
  std::string reason;
  while (reason.find("in use by pair_test") == std::string::npos && rt::now() < end) {
    auto refused = other.wait_until_up(id, rt::now() + std::chrono::milliseconds(20));
    ASSERT_FALSE(refused.ok());
    reason = refused.error().message;
  }
  EXPECT_NE(reason.find("in use by pair_test"), std::string::npos) << reason;
  pair.user.reset();
  ASSERT_TRUE(pair.driver->remove(pair.id).ok());
  auto up = other.wait_until_up(id, patience());
  EXPECT_TRUE(up.ok()) << up.error().message;
}

TEST(Pair, APortThatIsTakenAwayIsAnErrorToCallersAtOnce) {
  Pair pair(board_of(InterfaceKind::kBt));
  pair.up();
  auto endpoints = pair.board->endpoints();
  ASSERT_EQ(endpoints.size(), 1u);
  ASSERT_TRUE(pair.board->detach(endpoints[0].id, "test").ok());
  auto answer = pair.ask(ipmi::kNetFnApp, 0x01);
  ASSERT_FALSE(answer.ok()) << "a port that was taken away cannot answer";
  EXPECT_EQ(answer.error().code, ErrorCode::kUnavailable) << answer.error().message;
}

TEST(Pair, AHundredInterfacesOfOneDriverComeUpSideBySide) {
  std::vector<board::BoardConfig> boards;
  for (int i = 0; i < 100; ++i) {
    boards.push_back(board_of(i % 2 ? InterfaceKind::kBt : InterfaceKind::kKcs));
    boards.back().firmware.name = "b" + std::to_string(i);
    boards.back().firmware.identity.device_guid[0] = static_cast<uint8_t>(i);
  }
  auto fleet = board::Fleet::create(std::move(boards), {});
  ASSERT_TRUE(fleet.ok());
  host::MessageHandler handler;
  host::Driver driver(handler);
  std::vector<int> ids;
  for (int i = 0; i < 100; ++i) {
    ids.push_back(driver.add_interface([&fleet = *fleet, i] { return fleet->attach("b" + std::to_string(i), "t"); }, {}));
  }
  std::vector<int> numbers;
  for (int id : ids) {
    auto number = driver.wait_until_up(id, patience());
    ASSERT_TRUE(number.ok()) << number.error().message;
    numbers.push_back(*number);
  }
  std::sort(numbers.begin(), numbers.end());
  for (int i = 0; i < 100; ++i) EXPECT_EQ(numbers[static_cast<size_t>(i)], i) << "unique, lowest first";
}

}  // namespace bmcpair::pair
