// The ABI as a plain program sees it: device_client.cc, for 64 and for 32 bits.
#include <gtest/gtest.h>

#include "integration/clients/site.h"

namespace bmcpair::integration {
namespace {

void expect_every_row(const std::string& path) {
  // One interface at a time: two of one BMC share its receive message queue, and would take each other's bridged answers.
  Site site(source_file("configs/demo.yaml"), {path}, {"--verbose"});
  for (const char* client : {"device_client", "device_client_32"}) {
    const Finished walked = site.run({program(client), "walk", "/dev/ipmi0"});
    EXPECT_EQ(walked.status, 0) << client << ": " << walked.err << "serve " << (site.server().running() ? "runs" : "has ended") << ", and said\n"
                                << site.server().err();
    EXPECT_EQ(walked.out, "walked\n") << client;
    EXPECT_EQ(walked.err, "") << client;
  }
}

TEST(DeviceClient, EveryRowOfTheAbiHoldsFor64And32BitsOnBt) { expect_every_row("demo/bt"); }
TEST(DeviceClient, EveryRowOfTheAbiHoldsFor64And32BitsOnKcs) { expect_every_row("demo/kcs"); }

TEST(DeviceClient, ThirtyOpensOfAnInterfaceAreTheLimitAndTheyEndWithTheirProgram) {
  Site site(source_file("configs/one-kcs.yaml"), {""});
  for (int round = 0; round < 3; ++round) {
    const Finished busy = site.run({program("device_client"), "busy", "/dev/ipmi0"});
    EXPECT_EQ(busy.status, 0) << busy.err;
    EXPECT_EQ(busy.out, "30 opens, then EBUSY\n");
    EXPECT_NE(busy.err.find("users already"), std::string::npos) << busy.err;
  }
}

}  // namespace
}  // namespace bmcpair::integration
