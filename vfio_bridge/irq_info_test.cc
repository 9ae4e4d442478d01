// VFIO_USER_DEVICE_GET_IRQ_INFO against the bytes.
#include <cerrno>

#include "vfio_bridge/protocol_fixture.h"

namespace bmcpair::vfio_bridge::testing {
namespace {

constexpr uint32_t kEinval = EINVAL;

Bytes info(uint32_t index, uint32_t argsz = 16, uint32_t flags = 0, uint32_t count = 0) {
  return Payload().u32(argsz).u32(flags).u32(index).u32(count);
}

class IrqInfoTest : public ProtocolTest {};

TEST_F(IrqInfoTest, OneIntxThatIsAutomaskedAndOneErrAndNoMsi) {
  start();
  Client c = greeted();
  const uint32_t counts[5] = {1, 0, 0, 1, 0};
  const uint32_t flags[5] = {1 | 2 | 4, 0, 0, 1 | 8, 0};
  for (uint32_t index = 0; index < 5; ++index) {
    Bytes p = c.ok(kGetIrqInfoCmd, info(index));
    ASSERT_EQ(p.size(), 16u);
    EXPECT_EQ(at<uint32_t>(p, 0), 16u);
    EXPECT_EQ(at<uint32_t>(p, 4), flags[index]) << index;
    EXPECT_EQ(at<uint32_t>(p, 8), index);
    EXPECT_EQ(at<uint32_t>(p, 12), counts[index]) << index;
  }
}

TEST_F(IrqInfoTest, WithoutAnInterruptPinThereIsNoIntx) {
  options_.pci.intx = false;
  start();
  Client c = greeted();
  EXPECT_EQ(at<uint32_t>(c.ok(kGetIrqInfoCmd, info(0)), 12), 0u);
  EXPECT_EQ(c.read_region(7, 0x3d, 1), Bytes{0});
}

TEST_F(IrqInfoTest, BadIndexSizeArgszAndFieldsAreRefused) {
  start();
  Client c = greeted();
  EXPECT_EQ(c.fails(kGetIrqInfoCmd, info(5)), kEinval);
  EXPECT_EQ(c.fails(kGetIrqInfoCmd, info(0xffffffff)), kEinval);
  EXPECT_EQ(c.fails(kGetIrqInfoCmd, info(0, 15)), kEinval);
  EXPECT_EQ(c.fails(kGetIrqInfoCmd, info(0, 16, 1)), kEinval);
  EXPECT_EQ(c.fails(kGetIrqInfoCmd, info(0, 16, 0, 1)), kEinval);
  for (size_t n : {0, 15, 17}) {
    Bytes p = info(0);
    p.resize(n);
    EXPECT_EQ(c.fails(kGetIrqInfoCmd, p), kEinval) << n;
  }
  Event e;
  EXPECT_EQ(c.fails(kGetIrqInfoCmd, info(0), {e.fd()}), kEinval);
}

}  // namespace
}  // namespace bmcpair::vfio_bridge::testing
