// Headers and the stream itself: cut, joined, oversize, truncated and out of order.
#include <cerrno>

#include "vfio_bridge/protocol_fixture.h"

namespace bmcpair::vfio_bridge::testing {
namespace {

constexpr uint32_t kEinval = EINVAL;

Bytes get_info() { return Payload().u32(16).u32(0).u32(0).u32(0); }

class StreamTest : public ProtocolTest {};

TEST_F(StreamTest, MessagesMayComeByteByByte) {
  start();
  Client c = connect();
  Bytes all = Client::message(1, kVersionCmd, Client::version());
  Bytes more = Client::message(2, kRegionWriteCmd, Client::region(0, 0, 1, {0x42}));
  all.insert(all.end(), more.begin(), more.end());
  for (uint8_t b : all) ASSERT_TRUE(c.send_raw({b}));
  EXPECT_EQ(c.receive().id, 1);
  EXPECT_EQ(c.receive().id, 2);
  EXPECT_EQ(registers().value(0), 0x42);
}

TEST_F(StreamTest, ManyMessagesMayComeInOnePacketWithTheVersion) {
  start();
  Client c = connect();
  Bytes all = Client::message(1, kVersionCmd, Client::version());
  for (uint16_t id = 2; id < 300; ++id) {
    Bytes m = Client::message(id, kGetInfoCmd, get_info());
    all.insert(all.end(), m.begin(), m.end());
  }
  ASSERT_TRUE(c.send_raw(all));
  for (uint16_t id = 1; id < 300; ++id) {
    Reply r = c.receive();
    ASSERT_FALSE(r.end);
    EXPECT_EQ(r.id, id);
    EXPECT_EQ(r.flags, 1u);
  }
}

TEST_F(StreamTest, ADescriptorComesWithAMessageThatIsCutInTwo) {
  start();
  Client c = greeted();
  Event e;
  Bytes m = Client::message(9, kSetIrqsCmd, Client::irqs(4 | 32, 0, 0, 1));
  ASSERT_TRUE(c.send_raw(Bytes(m.begin(), m.begin() + 10), {e.fd()}));
  ASSERT_TRUE(c.send_raw(Bytes(m.begin() + 10, m.end())));
  EXPECT_EQ(c.receive().flags, 1u);
  registers().set_line(true);
  EXPECT_EQ(e.take(), 1u);
}

TEST_F(StreamTest, ADescriptorBelongsToItsMessageAndNotToTheOneBefore) {
  start();
  Client c = greeted();
  Event e;
  for (int i = 0; i < 50; ++i) {
    c.send(kGetInfoCmd, get_info());
    c.send(kSetIrqsCmd, Client::irqs(4 | 32, 0, 0, 1), {e.fd()});
    c.send(kGetInfoCmd, get_info());
  }
  for (int i = 0; i < 150; ++i) ASSERT_EQ(c.receive().flags, 1u) << i;
}

TEST_F(StreamTest, DescriptorsOfOneMessageMayComeInPieces) {
  start();
  Client c = greeted();
  c.expect_silence_then_alive();
  Event e;
  size_t before = open_descriptors();
  Bytes m = Client::message(9, kSetIrqsCmd, Client::irqs(4 | 32, 0, 0, 1));
  for (uint8_t b : m) ASSERT_TRUE(c.send_raw({b}, {e.fd(), e.fd()}));
  Reply r = c.receive();
  EXPECT_EQ(r.flags, 0x21u);
  EXPECT_EQ(r.error, kEinval);
  EXPECT_EQ(open_descriptors(), before) << "all closed, however many";
}

TEST_F(StreamTest, ASizeBelowTheHeaderIsAnsweredAndEndsTheConnection) {
  for (uint32_t size : {0u, 1u, 15u}) {
    start();
    Client c = greeted();
    ASSERT_TRUE(c.send_raw(Payload().u16(7).u16(kGetInfoCmd).u32(size).u32(0).u32(0)));
    Reply r = c.receive();
    EXPECT_EQ(r.id, 7);
    EXPECT_EQ(r.flags, 0x21u);
    EXPECT_EQ(r.error, kEinval);
    EXPECT_TRUE(c.ended());
    c.close();
    server_.reset();
  }
}

TEST_F(StreamTest, AnOversizeMessageIsAnsweredAndEndsTheConnectionBeforeItsBytesAreTaken) {
  start();
  for (uint32_t size : {128u * 1024, 0x7fffffffu, 0xffffffffu}) {
    Client c = greeted();
    ASSERT_TRUE(c.send_raw(Payload().u16(7).u16(kRegionWriteCmd).u32(size).u32(0).u32(0)));
    Reply r = c.receive();
    EXPECT_EQ(r.flags, 0x21u);
    EXPECT_EQ(r.error, static_cast<uint32_t>(E2BIG));
    EXPECT_TRUE(c.ended());
    c.close();
    server_.reset();
    start();
  }
}

TEST_F(StreamTest, AnOversizeFirstMessageIsAnsweredAndEndsTheConnection) {
  start();
  Client c = connect();
  ASSERT_TRUE(c.send_raw(Payload().u16(7).u16(kVersionCmd).u32(0x10000000).u32(0).u32(0)));
  EXPECT_EQ(c.receive().error, static_cast<uint32_t>(E2BIG));
  EXPECT_TRUE(c.ended());
}

TEST_F(StreamTest, TheLargestMessageIsTaken) {
  start();
  Client c = greeted();
  Bytes big = Client::message(7, kGetInfoCmd, Bytes(64 * 1024 + 16, 0xab));
  ASSERT_TRUE(c.send_raw(big));
  EXPECT_EQ(c.receive().error, kEinval) << "wrong for its command, but whole";
  c.expect_silence_then_alive();
}

TEST_F(StreamTest, AMessageCutShortByTheEndDoesNoHarm) {
  start();
  for (size_t n : {1, 15, 16, 20}) {
    Client c = greeted();
    Bytes m = Client::message(7, kRegionWriteCmd, Client::region(0, 0, 1, {0xee}));
    m.resize(n);
    Event e;
    ASSERT_TRUE(c.send_raw(m, {e.fd()}));
  }
  Client c = greeted();
  c.expect_silence_then_alive();
  EXPECT_TRUE(registers().accesses().empty());
}

TEST_F(StreamTest, AReplyIsIgnoredSinceNothingWasAsked) {
  start();
  Client c = greeted();
  ASSERT_TRUE(c.send_raw(Client::message(5, kGetInfoCmd, get_info(), 1)));
  ASSERT_TRUE(c.send_raw(Client::message(6, 11, Bytes(16, 0), 1)));
  ASSERT_TRUE(c.send_raw(Client::message(6, 11, Bytes(), 0x21)));
  c.expect_silence_then_alive();
  EXPECT_EQ(server_->statistics().stray_replies, 3u);
}

TEST_F(StreamTest, FlagsThatNoCommandHasAreRefused) {
  start();
  Client c = greeted();
  for (uint32_t flags : {2u, 0xfu, 0x20u, 0x40u, 0x80000000u}) {
    ASSERT_TRUE(c.send_raw(Client::message(7, kGetInfoCmd, get_info(), flags)));
    Reply r = c.receive();
    EXPECT_EQ(r.flags, 0x21u) << flags;
    EXPECT_EQ(r.error, kEinval) << flags;
  }
  c.expect_silence_then_alive();
}

TEST_F(StreamTest, TheErrorFieldOfACommandIsNotLookedAt) {
  start();
  Client c = greeted();
  ASSERT_TRUE(c.send_raw(Payload().u16(7).u16(kGetInfoCmd).u32(32).u32(0).u32(99).raw(get_info())));
  EXPECT_EQ(c.receive().flags, 1u);
}

TEST_F(StreamTest, IdsAreEchoedAndMayRepeat) {
  start();
  Client c = greeted();
  for (uint16_t id : {0, 0, 0xffff, 7, 7}) {
    ASSERT_TRUE(c.send_raw(Client::message(id, kGetInfoCmd, get_info())));
    EXPECT_EQ(c.receive().id, id);
  }
}

TEST_F(StreamTest, GarbageEndsOneConnectionAndNothingElse) {
  start();
  uint32_t seed = 12345;
  for (int round = 0; round < 40; ++round) {
    Client c = round % 2 ? greeted() : connect();
    Bytes garbage(1 + round * 13);
    for (uint8_t& b : garbage) b = static_cast<uint8_t>((seed = seed * 1664525 + 1013904223) >> 24);
    c.send_raw(garbage);
    c.close();
  }
  Client c = greeted();
  c.expect_silence_then_alive();
}

}  // namespace
}  // namespace bmcpair::vfio_bridge::testing
