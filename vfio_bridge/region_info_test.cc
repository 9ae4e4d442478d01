// VFIO_USER_DEVICE_GET_REGION_INFO and VFIO_USER_DEVICE_GET_REGION_IO_FDS against the bytes.
#include <cerrno>

#include "vfio_bridge/protocol_fixture.h"

namespace bmcpair::vfio_bridge::testing {
namespace {

constexpr uint32_t kEinval = EINVAL;

Bytes info(uint32_t index, uint32_t argsz = 32, uint32_t flags = 0, uint32_t cap = 0, uint64_t size = 0,
           uint64_t offset = 0) {
  return Payload().u32(argsz).u32(flags).u32(index).u32(cap).u64(size).u64(offset);
}

class RegionInfoTest : public ProtocolTest {
 protected:
  uint64_t bar0_size() {
    Client c = greeted();
    return at<uint64_t>(c.ok(kGetRegionInfoCmd, info(0)), 16);
  }
};

TEST_F(RegionInfoTest, Bar0AndConfigurationSpaceAreThereAndNothingElse) {
  start();
  Client c = greeted();
  for (uint32_t index = 0; index < 9; ++index) {
    Bytes p = c.ok(kGetRegionInfoCmd, info(index));
    ASSERT_EQ(p.size(), 32u);
    EXPECT_EQ(at<uint32_t>(p, 0), 32u);
    EXPECT_EQ(at<uint32_t>(p, 4), index == 0 || index == 7 ? 3u : 0u) << index;
    EXPECT_EQ(at<uint32_t>(p, 8), index);
    EXPECT_EQ(at<uint32_t>(p, 12), 0u);
    EXPECT_EQ(at<uint64_t>(p, 16), index == 0 ? 8u : index == 7 ? 256u : 0u) << index;
  }
}

TEST_F(RegionInfoTest, IoBarGrowsWithTheSpacing) {
  for (auto [spacing, size] : {std::pair<unsigned, uint64_t>{1, 8}, {4, 16}, {16, 64}}) {
    options_.pci.spacing = spacing;
    start();
    EXPECT_EQ(bar0_size(), size);
    server_.reset();
  }
}

TEST_F(RegionInfoTest, MemoryBarHasAPage) {
  options_.pci.bar = BarKind::kMemory;
  start();
  EXPECT_EQ(bar0_size(), 4096u);
}

TEST_F(RegionInfoTest, ARegionThatIsNotThereIsRefused) {
  start();
  Client c = greeted();
  for (uint32_t index : {9u, 10u, 0x80000000u, 0xffffffffu})
    EXPECT_EQ(c.fails(kGetRegionInfoCmd, info(index)), kEinval);
}

TEST_F(RegionInfoTest, BadSizesAndArgszAndFieldsAreRefused) {
  start();
  Client c = greeted();
  for (size_t n : {0, 1, 31, 33, 40}) {
    Bytes p = info(0);
    p.resize(n);
    EXPECT_EQ(c.fails(kGetRegionInfoCmd, p), kEinval) << n;
  }
  EXPECT_EQ(c.fails(kGetRegionInfoCmd, info(0, 31)), kEinval);
  EXPECT_EQ(c.fails(kGetRegionInfoCmd, info(0, 32, 1)), kEinval);
  EXPECT_EQ(c.fails(kGetRegionInfoCmd, info(0, 32, 0, 1)), kEinval);
  EXPECT_EQ(c.fails(kGetRegionInfoCmd, info(0, 32, 0, 0, 1)), kEinval);
  EXPECT_EQ(c.fails(kGetRegionInfoCmd, info(0, 32, 0, 0, 0, 1)), kEinval);
  EXPECT_EQ(at<uint32_t>(c.ok(kGetRegionInfoCmd, info(0, 1000)), 0), 32u);
}

TEST_F(RegionInfoTest, NoRegionIsOfferedThroughDescriptors) {
  start();
  Client c = greeted();
  EXPECT_EQ(c.fails(kGetRegionIoFdsCmd, Payload().u32(16).u32(0).u32(0).u32(0)), static_cast<uint32_t>(ENOTSUP));
  EXPECT_EQ(c.fails(kGetRegionIoFdsCmd, Payload().u32(16).u32(0).u32(9).u32(0)), kEinval);
  EXPECT_EQ(c.fails(kGetRegionIoFdsCmd, Payload().u32(15).u32(0).u32(0).u32(0)), kEinval);
  EXPECT_EQ(c.fails(kGetRegionIoFdsCmd, Payload().u32(16).u32(1).u32(0).u32(0)), kEinval);
  EXPECT_EQ(c.fails(kGetRegionIoFdsCmd, Payload().u32(16).u32(0).u32(0)), kEinval);
}

}  // namespace
}  // namespace bmcpair::vfio_bridge::testing
