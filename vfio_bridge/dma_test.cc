// VFIO_USER_DMA_MAP and VFIO_USER_DMA_UNMAP against the bytes.
#include <cerrno>

#include "vfio_bridge/protocol_fixture.h"

namespace bmcpair::vfio_bridge::testing {
namespace {

constexpr uint32_t kEinval = EINVAL;

Bytes map(uint64_t address, uint64_t size, uint32_t flags = 3, uint32_t argsz = 32, uint64_t offset = 0) {
  return Payload().u32(argsz).u32(flags).u64(offset).u64(address).u64(size);
}

Bytes unmap(uint64_t address, uint64_t size, uint32_t flags = 0, uint32_t argsz = 24) {
  return Payload().u32(argsz).u32(flags).u64(address).u64(size);
}

class DmaTest : public ProtocolTest {};

TEST_F(DmaTest, AMapIsAcknowledgedWithoutPayload) {
  start();
  Client c = greeted();
  EXPECT_TRUE(c.ok(kDmaMapCmd, map(0, 0xa0000)).empty());
  EXPECT_TRUE(c.ok(kDmaMapCmd, map(0xc0000, 0x1000, 1)).empty()) << "ROM";
}

TEST_F(DmaTest, AnUnmapIsAnsweredWithItsOwnEntry) {
  start();
  Client c = greeted();
  c.ok(kDmaMapCmd, map(0x1000, 0x2000));
  EXPECT_EQ(c.ok(kDmaUnmapCmd, unmap(0x1000, 0x2000)), unmap(0x1000, 0x2000));
  EXPECT_TRUE(c.ok(kDmaMapCmd, map(0x1000, 0x2000)).empty()) << "it can be mapped again";
}

TEST_F(DmaTest, ADescriptorWithAMapIsClosed) {
  start();
  Client c = greeted();
  c.expect_silence_then_alive();
  Event e;
  size_t before = open_descriptors();
  for (uint64_t i = 0; i < 20; ++i) c.ok(kDmaMapCmd, map(i << 20, 0x1000, 3, 32, 0x1000), {e.fd()});
  EXPECT_EQ(open_descriptors(), before);
}

TEST_F(DmaTest, MoreThanOneDescriptorIsRefusedAndAllAreClosed) {
  start();
  Client c = greeted();
  c.expect_silence_then_alive();
  Event e;
  size_t before = open_descriptors();
  EXPECT_EQ(c.fails(kDmaMapCmd, map(0, 0x1000), {e.fd(), e.fd()}), kEinval);
  EXPECT_EQ(c.fails(kDmaMapCmd, map(0, 0x1000), std::vector<int>(200, e.fd())), kEinval);
  EXPECT_EQ(open_descriptors(), before);
  c.ok(kDmaMapCmd, map(0, 0x1000));
}

TEST_F(DmaTest, AMapOverAnExistingOneIsRefusedWithEexist) {
  start();
  Client c = greeted();
  c.ok(kDmaMapCmd, map(0x10000, 0x10000));
  for (auto [address, size] : {std::pair<uint64_t, uint64_t>{0x10000, 0x10000},
                               {0x10000, 1},
                               {0x1ffff, 1},
                               {0xffff, 2},
                               {0, 0x100000},
                               {0x14000, 0x1000}}) {
    EXPECT_EQ(c.fails(kDmaMapCmd, map(address, size)), static_cast<uint32_t>(EEXIST)) << address;
  }
  c.ok(kDmaMapCmd, map(0x20000, 0x1000));
  c.ok(kDmaMapCmd, map(0xf000, 0x1000));
}

TEST_F(DmaTest, AnUnmapThatIsNotExactlyAMapIsRefusedWithEnoent) {
  start();
  Client c = greeted();
  c.ok(kDmaMapCmd, map(0x10000, 0x10000));
  EXPECT_EQ(c.fails(kDmaUnmapCmd, unmap(0x10000, 0x8000)), static_cast<uint32_t>(ENOENT));
  EXPECT_EQ(c.fails(kDmaUnmapCmd, unmap(0x18000, 0x8000)), static_cast<uint32_t>(ENOENT));
  EXPECT_EQ(c.fails(kDmaUnmapCmd, unmap(0, 0)), static_cast<uint32_t>(ENOENT));
  c.ok(kDmaUnmapCmd, unmap(0x10000, 0x10000));
  EXPECT_EQ(c.fails(kDmaUnmapCmd, unmap(0x10000, 0x10000)), static_cast<uint32_t>(ENOENT));
}

TEST_F(DmaTest, EmptyAndWrappingMapsAreRefused) {
  start();
  Client c = greeted();
  EXPECT_EQ(c.fails(kDmaMapCmd, map(0x1000, 0)), kEinval);
  EXPECT_EQ(c.fails(kDmaMapCmd, map(UINT64_MAX, 2)), kEinval);
  EXPECT_EQ(c.fails(kDmaMapCmd, map(0x1000, UINT64_MAX)), kEinval);
  c.ok(kDmaMapCmd, map(UINT64_MAX - 0xfff, 0x1000));
}

TEST_F(DmaTest, BadSizesAreRefused) {
  start();
  Client c = greeted();
  Bytes m = map(0, 0x1000);
  Bytes u = unmap(0, 0x1000);
  for (size_t n : {size_t{0}, size_t{1}, m.size() - 1, m.size() + 1, m.size() + 4000}) {
    Bytes p = m;
    p.resize(n);
    EXPECT_EQ(c.fails(kDmaMapCmd, p), kEinval) << n;
  }
  for (size_t n : {size_t{0}, size_t{1}, u.size() - 1, u.size() + 1}) {
    Bytes p = u;
    p.resize(n);
    EXPECT_EQ(c.fails(kDmaUnmapCmd, p), kEinval) << n;
  }
  EXPECT_EQ(c.fails(kDmaMapCmd, map(0, 0x1000, 3, 31)), kEinval);
  EXPECT_EQ(c.fails(kDmaMapCmd, map(0, 0x1000, 3, 33)), kEinval);
  EXPECT_EQ(c.fails(kDmaUnmapCmd, unmap(0, 0x1000, 0, 23)), kEinval);
}

TEST_F(DmaTest, BadFlagsAreRefused) {
  start();
  Client c = greeted();
  for (uint32_t flags : {0u, 4u, 7u, 0x80000001u}) EXPECT_EQ(c.fails(kDmaMapCmd, map(0, 0x1000, flags)), kEinval);
  c.ok(kDmaMapCmd, map(0, 0x1000, 2));
  for (uint32_t flags : {1u, 4u, 0x80000000u}) EXPECT_EQ(c.fails(kDmaUnmapCmd, unmap(0, 0x1000, flags)), kEinval);
  Event e;
  EXPECT_EQ(c.fails(kDmaUnmapCmd, unmap(0, 0x1000), {e.fd()}), kEinval) << "a descriptor where none belongs";
}

TEST_F(DmaTest, UnmapAllUnmapsAll) {
  start();
  Client c = greeted();
  c.ok(kDmaMapCmd, map(0, 0x1000));
  c.ok(kDmaMapCmd, map(0x100000, 0x1000));
  EXPECT_EQ(c.fails(kDmaUnmapCmd, unmap(0, 0x1000, 2)), kEinval);
  c.ok(kDmaUnmapCmd, unmap(0, 0, 2));
  c.ok(kDmaMapCmd, map(0, 0x200000));
}

TEST_F(DmaTest, TheNumberOfMapsIsBoundedByWhatWasAgreed) {
  start();
  Client c = connect();
  c.ok(kVersionCmd, Client::version(R"({"capabilities":{"max_dma_maps":3}})"));
  for (uint64_t i = 0; i < 3; ++i) c.ok(kDmaMapCmd, map(i * 0x1000, 0x1000));
  EXPECT_EQ(c.fails(kDmaMapCmd, map(0x3000, 0x1000)), static_cast<uint32_t>(ENOSPC));
  c.ok(kDmaUnmapCmd, unmap(0, 0x1000));
  c.ok(kDmaMapCmd, map(0x3000, 0x1000));
}

TEST_F(DmaTest, MapsDoNotOutliveTheirClient) {
  start();
  {
    Client c = greeted();
    c.ok(kDmaMapCmd, map(0, 0x1000));
  }
  Client c = greeted();
  c.ok(kDmaMapCmd, map(0, 0x1000));
}

}  // namespace
}  // namespace bmcpair::vfio_bridge::testing
