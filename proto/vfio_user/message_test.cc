#include "proto/vfio_user/message.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>

namespace bmcpair::vfio_user {
namespace {

template <class Array>
Bytes bytes_of(const Array& a) {
  return Bytes(a.begin(), a.end());
}

template <class T>
Status dropped(const Result<T>& r) {
  return r ? Status() : Status(r.error());
}

struct Layout {
  const char* name;
  Bytes exact;
  std::function<Status(ByteView)> decode;
};

void PrintTo(const Layout& l, std::ostream* out) { *out << l.name; }

std::vector<Layout> layouts() {
  MultiWrite w;
  w.count = 8;
  Bytes access = bytes_of(encode(RegionAccess{1, 7, 3}));
  Bytes access_data = access;
  access_data.insert(access_data.end(), {9, 8, 7});
  return {
      {"header", bytes_of(encode_header(Header{1, 2, 16, 0, 0})), [](ByteView b) { return dropped(decode_header(b)); }},
      {"dma_map", bytes_of(encode(DmaMap{})), [](ByteView b) { return dropped(decode_dma_map(b)); }},
      {"dma_unmap", bytes_of(encode(DmaUnmap{})), [](ByteView b) { return dropped(decode_dma_unmap(b)); }},
      {"device_info", bytes_of(encode(DeviceInfo{})), [](ByteView b) { return dropped(decode_device_info(b)); }},
      {"region_info", bytes_of(encode(RegionInfo{})), [](ByteView b) { return dropped(decode_region_info(b)); }},
      {"region_info_reply", bytes_of(encode(RegionInfo{})),
       [](ByteView b) { return dropped(decode_region_info_reply(b)); }},
      {"region_io_fds", bytes_of(encode(RegionIoFds{})), [](ByteView b) { return dropped(decode_region_io_fds(b)); }},
      {"irq_info", bytes_of(encode(IrqInfo{})), [](ByteView b) { return dropped(decode_irq_info(b)); }},
      {"irq_set", encode_irq_set(IrqSet{0, kIrqDataNone | kIrqActionUnmask, 0, 0, 1, {}}),
       [](ByteView b) { return dropped(decode_irq_set(b)); }},
      {"irq_set_bool", encode_irq_set(IrqSet{0, kIrqDataBool | kIrqActionTrigger, 0, 0, 2, {1, 0}}),
       [](ByteView b) { return dropped(decode_irq_set(b)); }},
      {"region_read", access, [](ByteView b) { return dropped(decode_region_read(b)); }},
      {"region_read_reply", access_data, [](ByteView b) { return dropped(decode_region_read_reply(b)); }},
      {"region_write", access_data, [](ByteView b) { return dropped(decode_region_write(b)); }},
      {"region_write_reply", access, [](ByteView b) { return dropped(decode_region_write_reply(b)); }},
      {"write_multi", encode_write_multi({w, w}), [](ByteView b) { return dropped(decode_write_multi(b)); }},
      {"write_multi_reply", bytes_of(encode_write_multi_reply(2)),
       [](ByteView b) { return dropped(decode_write_multi_reply(b)); }},
      {"device_reset", Bytes(), [](ByteView b) { return decode_nothing(b, Command::kDeviceReset); }},
  };
}

class EveryLayout : public ::testing::TestWithParam<Layout> {};

TEST_P(EveryLayout, IsAcceptedWithExactlyItsBytes) {
  Status s = GetParam().decode(GetParam().exact);
  EXPECT_TRUE(s.ok()) << s.error().message;
}

TEST_P(EveryLayout, IsRefusedWithAnySmallerNumberOfBytes) {
  const Bytes& exact = GetParam().exact;
  for (size_t n = 0; n < exact.size(); ++n) {
    Status s = GetParam().decode(ByteView(exact).first(n));
    ASSERT_FALSE(s.ok()) << n;
    EXPECT_EQ(s.error().code, ErrorCode::kProtocol);
    EXPECT_FALSE(s.error().message.empty());
  }
}

TEST_P(EveryLayout, IsRefusedWithMoreBytes) {
  for (size_t more : {1u, 8u, 24u}) {
    Bytes longer = GetParam().exact;
    longer.resize(longer.size() + more, 0x01);
    EXPECT_FALSE(GetParam().decode(longer).ok()) << more;
  }
}

INSTANTIATE_TEST_SUITE_P(Message, EveryLayout, ::testing::ValuesIn(layouts()),
                         [](const auto& i) { return std::string(i.param.name); });

TEST(MessageBytes, HeaderHasTheFieldsWhereTheSpecificationPutsThem) {
  Bytes out;
  append_message(out, Header{0x1234, 9, 0, kFlagNoReply, 0}, Bytes{0xaa, 0xbb}, Bytes{0xcc});
  EXPECT_EQ(to_hex(out), "34 12 09 00 13 00 00 00 10 00 00 00 00 00 00 00 aa bb cc");
}

TEST(MessageBytes, ErrorReplyIsAHeaderAlone) {
  Bytes out;
  append_error_reply(out, 7, 8, 22);
  EXPECT_EQ(to_hex(out), "07 00 08 00 10 00 00 00 21 00 00 00 16 00 00 00");
}

TEST(MessageBytes, RegionWriteMatchesTheSpecificationsOffsets) {
  EXPECT_EQ(to_hex(encode(RegionAccess{0x0807060504030201, 0x0c0b0a09, 0x100f0e0d})),
            "01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 10");
}

TEST(MessageBytes, EveryPayloadComesBackAsItWent) {
  DmaMap map{32, 3, 0x1000, 0x2000, 0x3000};
  EXPECT_EQ(*decode_dma_map(encode(map)), map);
  DmaUnmap unmap{24, 0, 0x2000, 0x3000};
  EXPECT_EQ(*decode_dma_unmap(encode(unmap)), unmap);
  DeviceInfo device{16, 3, 9, 5};
  EXPECT_EQ(*decode_device_info(encode(device)), device);
  RegionInfo region{32, 3, 7, 0, 256, 0};
  EXPECT_EQ(*decode_region_info(encode(region)), region);
  RegionIoFds fds{16, 0, 2, 0};
  EXPECT_EQ(*decode_region_io_fds(encode(fds)), fds);
  IrqInfo irq{16, 7, 0, 1};
  EXPECT_EQ(*decode_irq_info(encode(irq)), irq);
  IrqSet set{22, kIrqDataBool | kIrqActionMask, 1, 2, 2, {1, 0}};
  EXPECT_EQ(*decode_irq_set(encode_irq_set(set)), set);
  MultiWrite w{4, 0, 2, {1, 2}};
  EXPECT_EQ(*decode_write_multi(encode_write_multi({w, w, w})), (std::vector<MultiWrite>{w, w, w}));
}

TEST(MessageBytes, VersionCarriesItsJsonWithATerminatingNul) {
  Version v{0, 1, "{}"};
  EXPECT_EQ(to_hex(encode_version(v)), "00 00 01 00 7b 7d 00");
  EXPECT_EQ(*decode_version(encode_version(v)), v);
}

TEST(MessageBytes, VersionWithoutVersionDataIsAccepted) {
  auto v = decode_version(Bytes{0, 0, 3, 0});
  ASSERT_TRUE(v.ok());
  EXPECT_EQ(v->minor, 3);
  EXPECT_FALSE(v->json.has_value());
}

TEST(MessageBytes, VersionIsRefusedWhenShortOrNotTerminatedOrWithANulInside) {
  EXPECT_FALSE(decode_version(Bytes{}).ok());
  EXPECT_FALSE(decode_version(Bytes{0, 0, 0}).ok());
  EXPECT_FALSE(decode_version(Bytes{0, 0, 0, 0, '{', '}'}).ok());
  EXPECT_FALSE(decode_version(Bytes{0, 0, 0, 0, '{', 0, '}', 0}).ok());
}

TEST(MessageBytes, SetIrqsIsRefusedUnlessOneDataAndOneActionFlagAreSet) {
  for (uint32_t flags = 0; flags < 0x80; ++flags) {
    Bytes b = encode_irq_set(IrqSet{0, flags, 0, 0, (flags & kIrqDataBool) ? 1u : 0u, {}});
    if (flags & kIrqDataBool) b = encode_irq_set(IrqSet{0, flags, 0, 0, 1, {1}});
    uint32_t data = flags & kIrqDataFlags;
    uint32_t action = flags & kIrqActionFlags;
    bool legal = (data == 1 || data == 2 || data == 4) && (action == 8 || action == 16 || action == 32) && flags < 0x40;
    EXPECT_EQ(decode_irq_set(b).ok(), legal) << flags;
  }
}

TEST(MessageBytes, SetIrqsIsRefusedWhenArgszIsNotThePayload) {
  Bytes b = encode_irq_set(IrqSet{0, kIrqDataNone | kIrqActionMask, 0, 0, 1, {}});
  b[0] = 21;
  EXPECT_FALSE(decode_irq_set(b).ok());
  b[0] = 19;
  EXPECT_FALSE(decode_irq_set(b).ok());
}

TEST(MessageBytes, SetIrqsWithACountNearTheTopOfTheRangeDoesNotWrap) {
  EXPECT_FALSE(decode_irq_set(encode_irq_set(IrqSet{0, kIrqDataBool | kIrqActionMask, 0, 0, 0xffffffff, {1}})).ok());
}

TEST(MessageBytes, WriteMultiIsRefusedWhenACountIsAboveEightOrWrCntIsNotWhatCame) {
  MultiWrite w;
  w.count = 9;
  EXPECT_FALSE(decode_write_multi(encode_write_multi({w})).ok());
  w.count = 8;
  Bytes b = encode_write_multi({w});
  b[0] = 2;
  EXPECT_FALSE(decode_write_multi(b).ok());
  std::memset(b.data(), 0xff, 8);
  EXPECT_FALSE(decode_write_multi(b).ok());
  EXPECT_TRUE(decode_write_multi(encode_write_multi({})).ok());
}

TEST(MessageBytes, RegionInfoReplyMayCarryCapabilitiesOnlyWhenItSaysSo) {
  Bytes b = bytes_of(encode(RegionInfo{48, kRegionFlagCaps, 0, 32, 0, 0}));
  b.resize(48);
  EXPECT_TRUE(decode_region_info_reply(b).ok());
  b[4] = 0;
  EXPECT_FALSE(decode_region_info_reply(b).ok());
}

// ---- the stream

void feed(MessageBuffer& buffer, ByteView bytes) {
  if (bytes.empty()) return;
  std::memcpy(buffer.space(bytes.size()), bytes.data(), bytes.size());
  buffer.commit(bytes.size());
}

Bytes message(uint16_t id, Command command, size_t payload) {
  Bytes out;
  append_message(out, Header{id, static_cast<uint16_t>(command), 0, 0, 0}, Bytes(payload, static_cast<uint8_t>(id)));
  return out;
}

TEST(MessageBuffer, GivesTheSameMessagesHoweverTheStreamWasCut) {
  Bytes stream;
  for (uint16_t i = 0; i < 5; ++i) {
    Bytes m = message(i, Command::kRegionRead, i * 7u);
    stream.insert(stream.end(), m.begin(), m.end());
  }
  for (size_t step = 1; step <= stream.size(); ++step) {
    MessageBuffer buffer(4096);
    uint16_t seen = 0;
    uint64_t start = 0;
    for (size_t at = 0; at < stream.size(); at += step) {
      feed(buffer, ByteView(stream).subspan(at, std::min(step, stream.size() - at)));
      for (;;) {
        auto m = buffer.next();
        ASSERT_TRUE(m.ok());
        if (!*m) break;
        EXPECT_EQ((*m)->header.id, seen);
        EXPECT_EQ((*m)->payload.size(), seen * 7u);
        EXPECT_EQ((*m)->start, start);
        start += (*m)->header.size;
        ++seen;
      }
    }
    EXPECT_EQ(seen, 5) << "step " << step;
    EXPECT_EQ(buffer.buffered(), 0u);
  }
}

TEST(MessageBuffer, RefusesASizeBelowTheHeaderOrAboveTheMaximum) {
  for (uint32_t size : {0u, 15u, 101u, 0xffffffffu}) {
    MessageBuffer buffer(100);
    feed(buffer, encode_header(Header{3, 9, size, 0, 0}));
    auto m = buffer.next();
    ASSERT_FALSE(m.ok()) << size;
    EXPECT_EQ(m.error().code, size < 16 ? ErrorCode::kProtocol : ErrorCode::kLimit);
    EXPECT_EQ(buffer.front()->id, 3);
  }
  MessageBuffer buffer(100);
  feed(buffer, message(1, Command::kVersion, 84));
  EXPECT_TRUE((*buffer.next()).has_value());
}

TEST(MessageBuffer, GivesDescriptorsToTheLastMessageThatBegins) {
  MessageBuffer buffer(4096);
  feed(buffer, message(1, Command::kRegionRead, 16));
  feed(buffer, ByteView(message(2, Command::kDeviceSetIrqs, 20)).first(20));
  EXPECT_EQ(buffer.descriptor_owner(), 32u);
  ASSERT_TRUE((*buffer.next()).has_value());
  EXPECT_EQ(buffer.descriptor_owner(), 32u);
}

TEST(MessageBuffer, GivesDescriptorsToAMessageOfWhichOnlyAByteIsThere) {
  MessageBuffer buffer(4096);
  feed(buffer, message(1, Command::kDmaMap, 32));
  feed(buffer, Bytes{2});
  EXPECT_EQ(buffer.descriptor_owner(), 48u);
}

TEST(MessageBuffer, GivesDescriptorsOfACoalescedWriteToTheMessageThatMayCarryThem) {
  MessageBuffer buffer(4096);
  feed(buffer, message(1, Command::kDeviceSetIrqs, 20));
  feed(buffer, message(2, Command::kRegionRead, 16));
  EXPECT_EQ(buffer.descriptor_owner(), 0u);
}

TEST(MessageBuffer, OwnerIsFoundInFrontOfAnImpossibleSize) {
  MessageBuffer buffer(4096);
  feed(buffer, encode_header(Header{3, 9, 2, 0, 0}));
  EXPECT_EQ(buffer.descriptor_owner(), 0u);
}

}  // namespace
}  // namespace bmcpair::vfio_user
