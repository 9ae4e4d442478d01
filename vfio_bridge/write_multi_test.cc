// VFIO_USER_REGION_WRITE_MULTI against the bytes.
#include <cerrno>

#include "vfio_bridge/protocol_fixture.h"

namespace bmcpair::vfio_bridge::testing {
namespace {

constexpr uint32_t kEinval = EINVAL;
using Access = ArrayRegisters::Access;

Bytes one(uint64_t offset, uint32_t region, uint32_t count, uint64_t data) {
  return Payload().u64(offset).u32(region).u32(count).u64(data);
}

Bytes many(uint64_t wr_cnt, const std::vector<Bytes>& writes) {
  Payload p;
  p.u64(wr_cnt);
  for (const Bytes& w : writes) p.raw(w);
  return p;
}

class WriteMultiTest : public ProtocolTest {};

TEST_F(WriteMultiTest, WritesAreDoneInOrderAndCounted) {
  start(registers::InterfaceKind::kBt);
  Client c = greeted();
  Bytes p =
      c.ok(kWriteMultiCmd, many(4, {one(0, 0, 1, 1), one(1, 0, 1, 0x10), one(1, 0, 1, 0x11), one(0, 0, 3, 0x050403)}));
  EXPECT_EQ(p, Bytes(Payload().u64(4)));
  EXPECT_EQ(registers().accesses(),
            (std::vector<Access>{{'w', 0, {1}}, {'W', 1, {0x10, 0x11}}, {'w', 0, {3}}, {'w', 1, {4}}, {'w', 2, {5}}}));
}

TEST_F(WriteMultiTest, NoWritesAtAllAreCountedAsNone) {
  start();
  Client c = greeted();
  EXPECT_EQ(c.ok(kWriteMultiCmd, many(0, {})), Bytes(Payload().u64(0)));
}

TEST_F(WriteMultiTest, ConfigurationSpaceCanBeWrittenToo) {
  start();
  Client c = greeted();
  c.ok(kWriteMultiCmd, many(1, {one(0x3c, 7, 1, 0x0b)}));
  EXPECT_EQ(c.read_region(7, 0x3c, 1), Bytes{0x0b});
}

TEST_F(WriteMultiTest, OneBadWriteRefusesAllOfThem) {
  start();
  Client c = greeted();
  for (const Bytes& bad :
       {one(8, 0, 1, 0), one(0, 9, 1, 0), one(0, 0, 9, 0), one(UINT64_MAX, 0, 1, 0), one(1, 0, 8, 0)}) {
    EXPECT_EQ(c.fails(kWriteMultiCmd, many(2, {one(0, 0, 1, 0x77), bad})), kEinval);
  }
  EXPECT_TRUE(registers().accesses().empty());
}

TEST_F(WriteMultiTest, ACountThatIsNotWhatCameIsRefused) {
  start();
  Client c = greeted();
  Bytes w = one(0, 0, 1, 1);
  for (uint64_t n : {uint64_t{0}, uint64_t{2}, UINT64_MAX, uint64_t{1} << 61})
    EXPECT_EQ(c.fails(kWriteMultiCmd, many(n, {w})), kEinval);
  for (size_t n : {size_t{0}, size_t{7}, size_t{9}, size_t{31}, size_t{33}}) {
    Bytes p = many(1, {w});
    p.resize(n);
    EXPECT_EQ(c.fails(kWriteMultiCmd, p), kEinval) << n;
  }
  EXPECT_TRUE(registers().accesses().empty());
}

TEST_F(WriteMultiTest, WithoutAgreementItIsNotSupported) {
  start();
  Client c = connect();
  c.ok(kVersionCmd, Client::version("{}"));
  EXPECT_EQ(c.fails(kWriteMultiCmd, many(1, {one(0, 0, 1, 1)})), static_cast<uint32_t>(ENOTSUP));
  EXPECT_TRUE(registers().accesses().empty());
}

TEST_F(WriteMultiTest, NoReplyIsNotAnswered) {
  start();
  Client c = greeted();
  c.send(kWriteMultiCmd, many(1, {one(0, 0, 1, 5)}), {}, 0x10);
  c.expect_silence_then_alive();
  EXPECT_EQ(registers().value(0), 5);
}

}  // namespace
}  // namespace bmcpair::vfio_bridge::testing
