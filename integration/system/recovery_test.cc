// A lost bus is an error to callers, not a hang, and comes back by itself.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "host_driver/bus/bus.h"
#include "host_driver/cli/inventory.h"
#include "host_driver/cli/session.h"
#include "integration/system/process.h"

namespace bmcpair::integration {
namespace {

constexpr const char* kConfig = R"(bmcs:
  - name: one
    identity: {device_id: 0x2a}
    interfaces:
      - kind: bt
        vfio_user: {socket: "${RUN}/bt.sock"}
      - kind: kcs
        vfio_user: {socket: "${RUN}/kcs.sock"}
)";

struct Case {
  const char* name;
  std::string (*bus)(Daemon&);
};

class Recovery : public testing::TestWithParam<Case> {};

}  // namespace

TEST_P(Recovery, TheSameSessionWorksAgainAfterTheDaemonWasKilledAndStarted) {
  TemporaryFolder folder;
  write_file(folder / "one.yaml", kConfig);
  Daemon daemon(folder, folder / "one.yaml");
  cli::SessionOptions options;
  options.timeout = std::chrono::seconds(60);
  options.open.who = "recovery_test";
  auto specs = bus::parse_bus_specs(GetParam().bus(daemon));
  ASSERT_TRUE(specs.ok()) << specs.error().message;
  cli::Session session(std::move(*specs), options);
  auto opened = session.open(0);
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  auto send = session.request_function(0);
  for (int round = 0; round < 3; ++round) {
    auto before = cli::get_device_id(send);
    ASSERT_TRUE(before.ok()) << before.error().message;
    daemon.process().signal(SIGKILL);
    ASSERT_EQ(daemon.process().wait(), 128 + SIGKILL);
    // The loss is noticed and told; how soon is the transport's business, but never as a hang.
    for (auto answer = cli::get_device_id(send); answer.ok(); answer = cli::get_device_id(send)) {
      FAIL() << "a dead BMC answered";
    }
    daemon.start();
    const Instant end = rt::now() + std::chrono::seconds(60);
    for (;;) {
      auto again = cli::get_device_id(send);
      if (again.ok()) {
        EXPECT_EQ(again->device_id, 0x2a);
        break;
      }
      ASSERT_NE(again.error().code, ErrorCode::kTimeout) << "a lost bus is told at once, not by time-out: " << again.error().message;
      ASSERT_LT(rt::now(), end) << again.error().message;
      rt::sleep_for(std::chrono::milliseconds(10));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Buses, Recovery,
                         testing::Values(Case{"grpc_bt", [](Daemon& d) { return d.bus("one/bt"); }},
                                         Case{"grpc_kcs", [](Daemon& d) { return d.bus("one/kcs"); }},
                                         Case{"vfio_bt", [](Daemon& d) { return "vfio-user:" + d.folder() + "/bt.sock"; }},
                                         Case{"vfio_kcs", [](Daemon& d) { return "vfio-user:" + d.folder() + "/kcs.sock"; }}),
                         [](const testing::TestParamInfo<Case>& tested) { return std::string(tested.param.name); });

TEST(Recovery, ADriverStartedBeforeItsDaemonComesUpWhenTheDaemonDoes) {
  TemporaryFolder folder;
  write_file(folder / "one.yaml", kConfig);
  Process early({program("host_driver"), "--timeout", "60", "--bus", "grpc:unix:" + (folder / "bmc_emu.sock") + "#one/bt", "raw", "6", "1"});
  Daemon daemon(folder, folder / "one.yaml");
  EXPECT_EQ(early.wait(), 0) << early.err();
  EXPECT_EQ(early.out().substr(0, 11), "1c 01 00 2a");
}

TEST(Recovery, AClientThatIsKilledFreesItsInterface) {
  TemporaryFolder folder;
  write_file(folder / "one.yaml", kConfig);
  Daemon daemon(folder, folder / "one.yaml");
  for (std::string bus : {daemon.bus("one/bt"), "vfio-user:" + (folder / "kcs.sock")}) {
    Process holder({program("host_driver"), "--bus", bus, "watch"});
    ASSERT_TRUE(holder.wait_for_output("watching")) << holder.err();
    holder.signal(SIGKILL);
    ASSERT_EQ(holder.wait(), 128 + SIGKILL);
    auto next = host_driver({"--timeout", "60", "--bus", bus, "raw", "6", "1"});
    EXPECT_EQ(next.status, 0) << next.err;
  }
}

}  // namespace bmcpair::integration
