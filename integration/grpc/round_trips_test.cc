// What a transaction of the whole driver costs on a wire, counted: time is not measured here (integration/bench does).
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "bmc_emu/board/fleet.h"
#include "host_driver/message_handler/message_handler.h"
#include "host_driver/system_interface/driver.h"
#include "integration/grpc/testing.h"
#include "integration/pair/counting_port.h"

namespace bmcpair {
namespace {

using registers::InterfaceKind;

Instant patience() { return rt::now() + std::chrono::seconds(60); }

struct Transaction {
  pair::AccessCounts accesses;
  uint64_t messages = 0;  // as the server counts them
};

// Get Device ID `n` times through a driver whose bus is gRPC.
std::vector<Transaction> transactions(InterfaceKind kind, int n) {
  std::vector<Transaction> out;
  board::BoardConfig config;
  config.firmware.name = "b";
  board::InterfaceConfig interface;
  interface.name = "si";
  interface.kind = kind;
  config.interfaces.push_back(std::move(interface));
  std::vector<board::BoardConfig> boards;
  boards.push_back(std::move(config));
  auto fleet = board::Fleet::create(std::move(boards), {});
  EXPECT_TRUE(fleet.ok());
  testing::TemporaryDirectory directory;
  const std::string socket = "unix:" + directory.path() + "/s";
  transport::GrpcServerOptions server_options;
  server_options.listen = {socket};
  auto server = transport::GrpcServer::start(server_options, **fleet);
  EXPECT_TRUE(server.ok());

  auto counter = std::make_shared<pair::AccessCounter>();
  host::MessageHandler handler;
  host::Driver driver(handler);
  int id = driver.add_interface([&]() -> Result<std::unique_ptr<registers::RegisterPort>> {
    auto port = testing::open(socket, "b/si", "round_trips_test");
    if (!port.ok()) return port.error();
    return std::unique_ptr<registers::RegisterPort>(std::make_unique<pair::CountingPort>(*std::move(port), counter));
  });
  auto number = driver.wait_until_up(id, patience());
  EXPECT_TRUE(number.ok()) << (number.ok() ? "" : number.error().message);
  if (!number.ok()) return out;
  auto user = handler.create_user(*number, {});
  EXPECT_TRUE(user.ok());
  for (int i = 0; i < n; ++i) {
    pair::AccessCounts before = counter->now();
    uint64_t messages = (*server)->statistics().messages;
    auto answer = host::call(**user, host::SystemInterfaceAddress{}, {ipmi::kNetFnApp, 0, 0x01, {}}, patience());
    EXPECT_TRUE(answer.ok()) << (answer.ok() ? "" : answer.error().message);
    out.push_back({counter->now() - before, (*server)->statistics().messages - messages});
  }
  return out;
}

template <class F>
uint64_t median(const std::vector<Transaction>& all, F of) {
  std::vector<uint64_t> values;
  for (const Transaction& t : all) values.push_back(of(t));
  std::sort(values.begin(), values.end());
  return values.empty() ? UINT64_MAX : values[values.size() / 2];
}

}  // namespace

// The middle one of many: on a machine that is busy enough a single one may look once more after its timer.
TEST(RoundTrips, ABtTransactionWithInterruptsTakesAtMostTenOverGrpc) {
  auto all = transactions(InterfaceKind::kBt, 41);
  ASSERT_EQ(all.size(), 41u);
  uint64_t trips = median(all, [](const Transaction& t) { return t.accesses.round_trips; });
  uint64_t messages = median(all, [](const Transaction& t) { return t.messages; });
  RecordProperty("round_trips", static_cast<int>(trips));
  RecordProperty("messages", static_cast<int>(messages));
  EXPECT_LE(trips, 10u);
  EXPECT_GE(trips, 2u) << "a status and an answer have to be read at least";
}

TEST(RoundTrips, WritesOfABtTransactionTravelWithItsReads) {
  auto all = transactions(InterfaceKind::kBt, 41);
  ASSERT_EQ(all.size(), 41u);
  // Posted writes that no read follows at once go by themselves; there are not more of them than that.
  uint64_t messages = median(all, [](const Transaction& t) { return t.messages; });
  uint64_t calls = median(all, [](const Transaction& t) { return t.accesses.reads + t.accesses.writes; });
  EXPECT_LT(messages, calls);
}

}  // namespace bmcpair
