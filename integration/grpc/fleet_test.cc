// The host's bus against real BMCs: board::Fleet behind the daemon's server.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "bmc_emu/board/fleet.h"
#include "integration/grpc/testing.h"
#include "proto/registers/bt.h"

namespace bmcpair {
namespace {

namespace bt = registers::bt;
using testing::Condition;
using testing::open;

class FleetBus : public ::testing::Test {
 protected:
  FleetBus() {
    board::BoardConfig config;
    config.firmware.name = "one";
    config.firmware.identity.product_id = 0x1234;
    board::InterfaceConfig interface;
    interface.name = "bt";
    interface.kind = registers::InterfaceKind::kBt;
    config.interfaces.push_back(interface);
    std::vector<board::BoardConfig> boards;
    boards.push_back(std::move(config));
    auto fleet = board::Fleet::create(std::move(boards), {});
    EXPECT_TRUE(fleet.ok());
    fleet_ = *std::move(fleet);
    transport::GrpcServerOptions options;
    options.listen = {socket_};
    auto server = transport::GrpcServer::start(options, *fleet_);
    EXPECT_TRUE(server.ok());
    server_ = *std::move(server);
  }

  testing::TemporaryDirectory directory_;
  std::string socket_ = "unix:" + directory_.path() + "/s";
  std::unique_ptr<board::Fleet> fleet_;
  std::unique_ptr<transport::GrpcServer> server_;
};

// Get Device ID, step by step as a driver does it with the interrupt (§11.7), and what it costs: the middle one of many,
// since a posted write that lies too long goes by itself, and on a busy machine any of them may.
TEST_F(FleetBus, ABtTransactionWithItsInterruptTakesAtMostTenMessages) {
  std::vector<uint64_t> messages;
  for (int round = 0; round < 21; ++round) {
    Condition seen;
    int rises = 0;
    auto port = *open(socket_, "");
    port->set_interrupt_handler([&](bool level) { seen.change([&] { rises += level; }); });
    port->write(bt::kIntMask, bt::kB2hIrqEnable);
    ASSERT_EQ(port->read(bt::kCtrl) & (bt::kBBusy | bt::kH2bAtn | bt::kB2hAtn), 0);
    const transport::GrpcServerStatistics before = server_->statistics();

    ASSERT_EQ(port->read(bt::kCtrl) & (bt::kBBusy | bt::kH2bAtn), 0);
    port->write(bt::kCtrl, bt::kClrWrPtr);
    const uint8_t request[] = {3, 0x18, 0x42, 0x01};
    port->write_burst(bt::kBuffer, request);
    port->write(bt::kCtrl, bt::kH2bAtn);
    port->read(bt::kCtrl);
    ASSERT_TRUE(seen.wait([&] { return rises > 0; }));
    ASSERT_EQ(port->read(bt::kCtrl) & bt::kB2hAtn, bt::kB2hAtn);
    port->write(bt::kIntMask, bt::kB2hIrqEnable | bt::kB2hIrq);
    port->write(bt::kCtrl, bt::kHBusy);
    port->write(bt::kCtrl, bt::kB2hAtn);
    port->write(bt::kCtrl, bt::kClrRdPtr);
    std::vector<uint8_t> response(256);
    size_t n = port->read_counted(bt::kBuffer, response);
    port->write(bt::kCtrl, bt::kHBusy);
    EXPECT_EQ(port->read(bt::kCtrl) & (bt::kHBusy | bt::kB2hAtn), 0);

    ASSERT_EQ(n, 20u);
    EXPECT_EQ(response[0], 19);
    EXPECT_EQ(response[1], 0x1c);
    EXPECT_EQ(response[2], 0x42);
    EXPECT_EQ(response[3], 0x01);
    EXPECT_EQ(response[4], 0x00);
    EXPECT_EQ(response[14] | response[15] << 8, 0x1234);
    const transport::GrpcServerStatistics after = server_->statistics();
    messages.push_back(after.messages - before.messages);
    EXPECT_EQ(after.ops - before.ops, 13u);
  }
  // Five of them are round trips; a posted write that lay too long adds a message, not a wait.
  std::sort(messages.begin(), messages.end());
  EXPECT_LE(messages[messages.size() / 2], 10u);
}

TEST_F(FleetBus, AForcedDetachIsAnsweredByAttachingAgain) {
  auto port = *open(socket_, "one/bt", "host");
  Condition seen;
  std::vector<registers::LinkState> states;
  port->set_link_handler([&](const registers::LinkState& s) { seen.change([&] { states.push_back(s); }); });
  auto board = *fleet_->find("one");
  ASSERT_EQ(board->endpoints().size(), 1u);
  EXPECT_EQ(board->endpoints()[0].id, port->endpoint());
  EXPECT_EQ(board->endpoints()[0].who, "host");
  uint64_t first = port->endpoint();
  ASSERT_TRUE(board->detach(first, "by the test").ok());
  EXPECT_TRUE(seen.wait([&] { return states.size() == 2; }));
  EXPECT_FALSE(states[0].up);
  EXPECT_NE(states[0].reason.find("by the test"), std::string::npos) << states[0].reason;
  EXPECT_TRUE(states[1].up);
  EXPECT_NE(port->endpoint(), first);
}

TEST_F(FleetBus, BusyAndUnknownAreSaidByTheFleet) {
  auto port = *open(socket_, "one/bt", "host[1]");
  auto second = open(socket_, "", "host[2]");
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, ErrorCode::kBusy);
  EXPECT_NE(second.error().message.find("host[1]"), std::string::npos) << second.error().message;
  auto unknown = open(socket_, "two/bt");
  ASSERT_FALSE(unknown.ok());
  EXPECT_EQ(unknown.error().code, ErrorCode::kNotFound);
  EXPECT_NE(unknown.error().message.find("one"), std::string::npos) << unknown.error().message;
}

TEST_F(FleetBus, AFleetThatShutsDownTakesTheLinkDown) {
  auto port = *open(socket_, "one/bt");
  Condition seen;
  bool down = false;
  port->set_link_handler([&](const registers::LinkState& s) { seen.change([&] { down = !s.up; }); });
  fleet_->shutdown();
  EXPECT_TRUE(seen.wait([&] { return down; }));
  EXPECT_EQ(port->read(0), 0xff);
}

}  // namespace
}  // namespace bmcpair
