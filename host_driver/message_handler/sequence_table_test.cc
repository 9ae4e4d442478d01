#include "host_driver/message_handler/sequence_table.h"

#include <gtest/gtest.h>

#include "host_driver/message_handler/interface.h"

namespace bmcpair::host::inline BMCPAIR_RT::detail {
namespace {

std::unique_ptr<Pending> pending(uint8_t cmd = 1, Address to = IpmbAddress{0, 0x72, 0, false}) {
  auto p = std::make_unique<Pending>();
  p->address = to;
  p->netfn = 6;
  p->cmd = cmd;
  return p;
}

SequenceTable::Ticket put(SequenceTable& t, uint8_t cmd = 1, Duration retry = kRetryDefault, int retries = 4) {
  auto ticket = t.reserve().value();
  t.fill(ticket, pending(cmd), Bytes{1, 2, 3}, retry, retries, false);
  return ticket;
}

// G-03: what is stored is what is taken out, for every slot and at the ends of the 26 bits.
TEST(SequenceTable, SlotAndSequenceIdSurviveTheWire) {
  for (unsigned slot = 0; slot < 64; ++slot) {
    for (uint32_t id : {0u, 1u, (1u << 22) - 1, 1u << 22, (1u << 22) + 1, (1u << 26) - 1}) {
      const uint64_t m = wire_msgid(slot, id);
      EXPECT_EQ(msgid_slot(m), slot);
      EXPECT_EQ(msgid_seqid(m), id);
      EXPECT_LT(m, uint64_t{1} << 32);
    }
  }
}

TEST(SequenceTable, GoesRoundAllSixtyFourAndWrapsTheId) {
  SequenceTable t((1u << 26) - 2);
  for (unsigned i = 0; i < 64; ++i) {
    auto ticket = put(t);
    EXPECT_EQ(ticket.slot, i);
    EXPECT_EQ(msgid_seqid(ticket.msgid), (1u << 26) - 1);
  }
  EXPECT_FALSE(t.reserve());
  EXPECT_EQ(t.in_use(), 64u);
  EXPECT_TRUE(t.fail(wire_msgid(10, (1u << 26) - 1)));
  auto again = put(t);
  EXPECT_EQ(again.slot, 10u);
  EXPECT_EQ(msgid_seqid(again.msgid), 0u);
  EXPECT_TRUE(t.start_timer(again.msgid));
}

TEST(SequenceTable, AStaleMessageIdTouchesNothing) {
  SequenceTable t;
  auto first = put(t);
  EXPECT_TRUE(t.match(0, 0, 6, 1, IpmbAddress{0, 0x72, 0, false}));
  for (unsigned i = 1; i < 64; ++i) put(t);
  auto reuse = put(t);
  ASSERT_EQ(reuse.slot, first.slot);
  EXPECT_FALSE(t.start_timer(first.msgid));
  EXPECT_FALSE(t.fail(first.msgid));
  EXPECT_FALSE(t.start_timer(~uint64_t{0}));
  EXPECT_FALSE(t.fail(uint64_t{64} << kSeqidBits));
  EXPECT_TRUE(t.start_timer(reuse.msgid));
  EXPECT_FALSE(t.match(200, 0, 6, 1, IpmbAddress{0, 0x72, 0, false}));
}

TEST(SequenceTable, ANumberGivenBackIsFree) {
  SequenceTable t;
  auto ticket = t.reserve().value();
  EXPECT_FALSE(t.fail(ticket.msgid));  // nobody behind it yet
  t.give_back(ticket);
  EXPECT_EQ(t.in_use(), 0u);
}

// G-17
TEST(SequenceTable, TimeNeverRunsBelowZero) {
  SequenceTable t;
  auto ticket = put(t, 1, std::chrono::milliseconds(500), 1);
  ASSERT_TRUE(t.start_timer(ticket.msgid));
  std::vector<SequenceTable::Expired> expired;
  std::vector<SequenceTable::Retransmission> again;
  t.age(std::chrono::seconds(1), expired, again);
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(again[0].msgid, ticket.msgid);
  EXPECT_EQ(again[0].wire, (Bytes{1, 2, 3}));
  EXPECT_TRUE(expired.empty());
  t.age(std::chrono::seconds(59), expired, again);
  EXPECT_TRUE(expired.empty());
  t.age(std::chrono::hours(1), expired, again);
  EXPECT_EQ(expired.size(), 1u);
  EXPECT_EQ(t.in_use(), 0u);
}

TEST(SequenceTable, AllOfOneUserCanBeTakenAtOnce) {
  SequenceTable t;
  put(t);
  put(t);
  EXPECT_EQ(t.take(nullptr).size(), 2u);
  EXPECT_EQ(t.in_use(), 0u);
  EXPECT_TRUE(t.take(nullptr).empty());
}

TEST(SequenceTable, ThePanicPathFindsANumberNobodyWaitsWith) {
  SequenceTable t;
  for (int i = 0; i < 3; ++i) put(t);
  EXPECT_EQ(t.free_sequence(0), 3);
  EXPECT_EQ(t.free_sequence(63), 63);
  EXPECT_EQ(t.free_sequence(64 + 1), 3);
  for (int i = 3; i < 64; ++i) put(t);
  EXPECT_LT(t.free_sequence(200), 64);
}

}  // namespace
}  // namespace bmcpair::host::inline BMCPAIR_RT::detail
