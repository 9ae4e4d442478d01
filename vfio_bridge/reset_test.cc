// VFIO_USER_DEVICE_RESET against the bytes, and the commands that are none of this device's.
#include <cerrno>

#include "vfio_bridge/protocol_fixture.h"

namespace bmcpair::vfio_bridge::testing {
namespace {

constexpr uint32_t kEinval = EINVAL;
class ResetTest : public ProtocolTest {};

TEST_F(ResetTest, TheFunctionIsAsItBeganAndTheRegistersAreLeftAlone) {
  start();
  Client c = greeted();
  c.write_region(7, 4, {0x03, 0x04});
  c.write_region(7, 0x10, {0x01, 0xc0, 0, 0});
  c.write_region(7, 0x3c, {11});
  EXPECT_TRUE(c.ok(kResetCmd).empty());
  EXPECT_EQ(c.read_region(7, 4, 2), (Bytes{0, 0}));
  EXPECT_EQ(at<uint32_t>(c.read_region(7, 0x10, 4), 0), 1u);
  EXPECT_EQ(c.read_region(7, 0x3c, 1), Bytes{0});
  EXPECT_TRUE(registers().accesses().empty());
}

TEST_F(ResetTest, EventfdsStayAndIntxDisableIsLifted) {
  start();
  Client c = greeted();
  Event e;
  c.ok(kSetIrqsCmd, Client::irqs(4 | 32, 0, 0, 1), {e.fd()});
  c.write_region(7, 4, {0x01, 0x04});
  registers().set_line(true);
  EXPECT_EQ(e.take(), 0u);
  c.ok(kResetCmd);
  EXPECT_EQ(e.take(), 1u);
}

TEST_F(ResetTest, QemusSequenceAroundAResetWorks) {
  start();
  Client c = greeted();
  for (int i = 0; i < 3; ++i) {
    Event e;
    c.ok(kSetIrqsCmd, Client::irqs(1 | 32, 0, 0, 0));
    c.read_region(7, 4, 2);
    c.write_region(7, 4, {0, 0});
    c.ok(kResetCmd);
    EXPECT_EQ(c.read_region(7, 0x3d, 1), Bytes{1});
    c.ok(kSetIrqsCmd, Client::irqs(4 | 32, 0, 0, 1), {e.fd()});
    for (uint64_t bar = 0x10; bar < 0x28; bar += 4) c.write_region(7, bar, {0, 0, 0, 0});
    registers().set_line(true);
    EXPECT_EQ(e.take(), 1u);
    registers().set_line(false);
  }
}

TEST_F(ResetTest, APayloadOrADescriptorIsRefused) {
  start();
  Client c = greeted();
  c.write_region(7, 0x3c, {11});
  EXPECT_EQ(c.fails(kResetCmd, Bytes{0}), kEinval);
  Event e;
  EXPECT_EQ(c.fails(kResetCmd, {}, {e.fd()}), kEinval);
  EXPECT_EQ(c.read_region(7, 0x3c, 1), Bytes{11});
}

TEST_F(ResetTest, CommandsThatAreNotSupportedOrNotKnownSaySo) {
  start();
  Client c = greeted();
  for (uint16_t command : {16, 17, 18, 0, 14, 19, 255, 0xffff}) {
    EXPECT_EQ(c.fails(command, Bytes(8, 0)), static_cast<uint32_t>(ENOTSUP)) << command;
  }
  EXPECT_EQ(c.fails(11, Bytes(16, 0)), kEinval) << "DMA_READ goes the other way";
  EXPECT_EQ(c.fails(12, Bytes(16, 0)), kEinval) << "DMA_WRITE goes the other way";
}

}  // namespace
}  // namespace bmcpair::vfio_bridge::testing
