// VFIO_USER_DEVICE_GET_INFO against the bytes.
#include <cerrno>

#include "vfio_bridge/protocol_fixture.h"

namespace bmcpair::vfio_bridge::testing {
namespace {

constexpr uint32_t kEinval = EINVAL;
class DeviceInfoTest : public ProtocolTest {};

TEST_F(DeviceInfoTest, APciDeviceThatCanBeResetWithNineRegionsAndFiveInterruptTypes) {
  start();
  Client c = greeted();
  Bytes p = c.ok(kGetInfoCmd, Payload().u32(16).u32(0).u32(0).u32(0));
  ASSERT_EQ(p.size(), 16u);
  EXPECT_EQ(at<uint32_t>(p, 0), 16u);
  EXPECT_EQ(at<uint32_t>(p, 4), 3u);
  EXPECT_EQ(at<uint32_t>(p, 8), 9u);
  EXPECT_EQ(at<uint32_t>(p, 12), 5u);
}

TEST_F(DeviceInfoTest, AnArgszAboveWhatIsNeededIsFineAndOneBelowIsRefused) {
  start();
  Client c = greeted();
  EXPECT_EQ(at<uint32_t>(c.ok(kGetInfoCmd, Payload().u32(4096).u32(0).u32(0).u32(0)), 0), 16u);
  EXPECT_EQ(c.fails(kGetInfoCmd, Payload().u32(15).u32(0).u32(0).u32(0)), kEinval);
  EXPECT_EQ(c.fails(kGetInfoCmd, Payload().u32(0).u32(0).u32(0).u32(0)), kEinval);
}

TEST_F(DeviceInfoTest, FieldsThatMustBeZeroMustBeZero) {
  start();
  Client c = greeted();
  EXPECT_EQ(c.fails(kGetInfoCmd, Payload().u32(16).u32(1).u32(0).u32(0)), kEinval);
  EXPECT_EQ(c.fails(kGetInfoCmd, Payload().u32(16).u32(0).u32(1).u32(0)), kEinval);
  EXPECT_EQ(c.fails(kGetInfoCmd, Payload().u32(16).u32(0).u32(0).u32(1)), kEinval);
}

TEST_F(DeviceInfoTest, BadSizesAreRefused) {
  start();
  Client c = greeted();
  for (size_t n : {0, 1, 15, 17, 24}) {
    Bytes p = Payload().u32(16).u32(0).u32(0).u32(0);
    p.resize(n);
    EXPECT_EQ(c.fails(kGetInfoCmd, p), kEinval) << n;
  }
}

TEST_F(DeviceInfoTest, ADescriptorIsRefused) {
  start();
  Client c = greeted();
  Event e;
  EXPECT_EQ(c.fails(kGetInfoCmd, Payload().u32(16).u32(0).u32(0).u32(0), {e.fd()}), kEinval);
}

}  // namespace
}  // namespace bmcpair::vfio_bridge::testing
