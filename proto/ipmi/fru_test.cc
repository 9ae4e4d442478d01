#include "proto/ipmi/fru.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/ipmi/message.h"

namespace bmcpair::ipmi {
namespace {

using ::testing::HasSubstr;

FruInventory all() {
  FruInventory f;
  f.chassis = FruChassis{0x17, "CH-1", "0001", {"blue"}};
  f.board = FruBoard{0, 14727000, "ACME", "Board One", "B0001", "BP-77", "fru.bin", {"rev A", "asset 9"}};
  f.product = FruProduct{25, "ACME", "Server One", "PP-1", "1.0", "S0001", "", "", {}};
  return f;
}

void fix(Bytes& fru, size_t start) {  // the checksum of the area at `start`
  size_t size = fru[start + 1] * size_t{8};
  fru[start + size - 1] = 0;
  fru[start + size - 1] = checksum(ByteView(fru).subspan(start, size));
}

TEST(Fru, ABoardAreaByteForByte) {
  FruInventory f;
  f.board = FruBoard{0, 0x010203, "AB", "CD", "EF", "GH", "", {}};
  auto built = build_fru(f, 256);
  ASSERT_TRUE(built.ok());
  EXPECT_EQ(to_hex(*built),
            "01 00 00 01 00 00 00 fe "
            "01 03 00 03 02 01 c2 41 42 c2 43 44 c2 45 46 c2 47 48 c0 c1 00 00 00 49");
}

TEST(Fru, WhatWasBuiltParsesBack) {
  auto built = build_fru(all(), 2048);
  ASSERT_TRUE(built.ok()) << built.error().message;
  EXPECT_EQ(built->size() % 8, 0u);
  auto parsed = parse_fru(*built);
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(*parsed, all());
  built->resize(2048, 0xff);  // as it lies in its area
  EXPECT_EQ(*parse_fru(*built), all());
  auto empty = build_fru({}, 8);
  ASSERT_TRUE(empty.ok());
  EXPECT_EQ(to_hex(*empty), "01 00 00 00 00 00 00 ff");
  EXPECT_EQ(*parse_fru(*empty), FruInventory{});
}

TEST(Fru, OneCharacterIsMadeTwoBecauseItsCodeEndsTheFields) {
  FruInventory f;
  f.product = FruProduct{};
  f.product->name = "X";
  f.product->serial = "9";
  auto parsed = parse_fru(*build_fru(f, 256));
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->product->name, "X ");
  EXPECT_EQ(parsed->product->serial, "9 ");
}

TEST(Fru, WhatCannotBeBuiltIsNamed) {
  FruInventory f = all();
  f.board->serial = std::string(63, 'x');
  EXPECT_THAT(build_fru(f, 2048).error().message, HasSubstr("board serial: 63 characters, at most 62"));
  f = all();
  f.product->name = "\xe6\xb8\xa9";
  EXPECT_THAT(build_fru(f, 2048).error().message, HasSubstr("product name"));
  f = all();
  f.chassis->custom.assign(33, "x");
  EXPECT_EQ(build_fru(f, 2048).error().code, ErrorCode::kInvalidArgument);
  f = all();
  f.board.reset();
  f.product.reset();
  f.chassis->custom.assign(32, std::string(62, 'x'));
  EXPECT_TRUE(build_fru(f, 9999).ok()) << "just below an area's 2040 bytes";
  f.chassis->part_number = std::string(62, 'x');
  EXPECT_THAT(build_fru(f, 9999).error().message, HasSubstr("an area has at most 2040"));
  f = all();
  f.board->manufactured = 0x1000000;
  EXPECT_THAT(build_fru(f, 2048).error().message, HasSubstr("manufactured"));
  auto small = build_fru(all(), 64);
  ASSERT_FALSE(small.ok());
  EXPECT_EQ(small.error().code, ErrorCode::kLimit);
  f = all();
  f.chassis->custom.assign(31, std::string(62, 'x'));
  f.board->custom.assign(31, std::string(62, 'x'));
  EXPECT_THAT(build_fru(f, 9999).error().message, HasSubstr("beyond byte 2040"));
}

TEST(Fru, OtherCodingsAndLanguagesAreRead) {
  FruInventory f;
  f.product = FruProduct{};
  f.product->manufacturer = "ABCD";
  f.product->name = "EFG";
  Bytes fru = *build_fru(f, 256);
  // Product area at 8: version, length, language, then manufacturer at 11.
  fru[11] = 0x84;  // 6-bit, and its first three bytes are "IPMI"
  fru[12] = 0x29, fru[13] = 0xdc, fru[14] = 0xa6, fru[15] = 0;
  fru[16] = 0x43;  // BCD plus
  fru[17] = 0x12, fru[18] = 0x3a, fru[19] = 0xbc;
  fix(fru, 8);
  auto parsed = parse_fru(fru);
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(parsed->product->manufacturer, "IPMI");
  EXPECT_EQ(parsed->product->name, "123 -.");
  fru[10] = 9;  // not English: two bytes a character
  fru[11] = 0xc4;
  fru[12] = 'K', fru[13] = 0, fru[14] = 0x29, fru[15] = 0x6e;
  fru[16] = 0x03;  // binary
  fix(fru, 8);
  parsed = parse_fru(fru);
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->product->manufacturer, "K\xe6\xb8\xa9");
  EXPECT_EQ(parsed->product->name, "123abc");
}

TEST(Fru, MultirecordsAreFoundAndChecked) {
  Bytes fru = *build_fru(all(), 2048);
  auto offset = fru.size();
  fru[5] = static_cast<uint8_t>(offset / 8);
  fru[7] = 0;
  fru[7] = checksum(ByteView(fru).first(8));
  auto record = [&](uint8_t type, bool last, const Bytes& data) {
    Bytes header{type, static_cast<uint8_t>(last ? 0x82 : 0x02), static_cast<uint8_t>(data.size()), checksum(data)};
    header.push_back(checksum(header));
    fru.insert(fru.end(), header.begin(), header.end());
    fru.insert(fru.end(), data.begin(), data.end());
  };
  record(0x00, false, {1, 2, 3});
  record(0xc0, true, {});
  auto parsed = parse_fru(fru);
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  auto at = static_cast<uint16_t>(offset);
  EXPECT_EQ(parsed->records, (std::vector<FruMultiRecord>{{0x00, static_cast<uint16_t>(at + 5), 3},
                                                          {0xc0, static_cast<uint16_t>(at + 13), 0}}));
  auto message = [&](size_t byte, uint8_t flip, bool fix_header) {
    Bytes bad = fru;
    bad[byte] ^= flip;
    if (fix_header) {
      bad[offset + 4] = 0;
      bad[offset + 4] = checksum(ByteView(bad).subspan(offset, 5));
    }
    auto result = parse_fru(bad);
    return result.ok() ? std::string("fine") : result.error().message;
  };
  EXPECT_THAT(message(offset, 1, false), HasSubstr("header checksum"));
  EXPECT_THAT(message(offset + 5, 1, false), HasSubstr("data checksum"));
  EXPECT_THAT(message(offset + 1, 1, true), HasSubstr("format 3"));
  EXPECT_THAT(message(offset + 2, 0x80, true), HasSubstr("runs over"));
  fru.resize(fru.size() - 5);
  EXPECT_THAT(parse_fru(fru).error().message, HasSubstr("byte " + std::to_string(offset + 8)));
}

TEST(Fru, MistakesSayAtWhichByte) {
  Bytes good = *build_fru(all(), 2048);
  auto message = [&](auto change) {
    Bytes bad = good;
    change(bad);
    auto result = parse_fru(bad);
    if (!result.ok()) {
      EXPECT_EQ(result.error().code, ErrorCode::kCorrupt);
    }
    return result.ok() ? std::string("fine") : result.error().message;
  };
  auto header = [](Bytes& b) { b[7] = 0, b[7] = checksum(ByteView(b).first(8)); };
  EXPECT_THAT(message([](Bytes& b) { b.resize(7); }), HasSubstr("8 bytes, here are 7"));
  EXPECT_THAT(message([](Bytes& b) { b[0] = 2; }), HasSubstr("byte 0: format version 2"));
  EXPECT_THAT(message([](Bytes& b) { b[1] ^= 1; }), HasSubstr("byte 7: common header checksum"));
  EXPECT_THAT(message([&](Bytes& b) { b[3] = 0xff, header(b); }), HasSubstr("byte 2040: board area starts beyond"));
  EXPECT_THAT(message([](Bytes& b) { b[8] = 0; }), HasSubstr("byte 8: chassis area format version 0"));
  EXPECT_THAT(message([](Bytes& b) { b[9] = 0; }), HasSubstr("byte 9: chassis area length is 0"));
  EXPECT_THAT(message([](Bytes& b) { b[9] = 0xff; }), HasSubstr("byte 9: chassis area says 2040 bytes"));
  EXPECT_THAT(message([](Bytes& b) { b[12] ^= 1; }), HasSubstr("chassis area checksum"));
  EXPECT_THAT(message([](Bytes& b) { b[11] = 0xff, fix(b, 8); }), HasSubstr("byte 11: chassis area a field of 63 bytes"));
  size_t board = good[3] * size_t{8};
  EXPECT_THAT(message([&](Bytes& b) { b.resize(board + 4); }), HasSubstr("byte " + std::to_string(board + 1)));
  EXPECT_THAT(message([](Bytes& b) {
                // All padding and the end mark become empty fields.
                for (size_t i = 11; i < 8 + b[9] * size_t{8}; ++i) b[i] = 0xc0;
                fix(b, 8);
              }),
              HasSubstr("has no end mark"));
}

TEST(Fru, AnyBytesAreAnInventoryOrAnError) {
  Bytes good = *build_fru(all(), 2048);
  uint32_t seed = 1;
  auto next = [&seed] { return seed = seed * 1664525 + 1013904223; };
  for (int i = 0; i < 4000; ++i) {
    Bytes bytes = good;
    for (uint32_t n = next() >> 24 & 7; n > 0; --n) {
      uint32_t at = next();
      bytes[(at >> 8) % bytes.size()] = static_cast<uint8_t>(at >> 24);
    }
    if (i % 4 == 0) bytes.resize((next() >> 16) % bytes.size());
    // Mend the checksums, so that the fields behind them are met too.
    if (bytes.size() >= 8) bytes[7] = 0, bytes[7] = checksum(ByteView(bytes).first(8));
    for (size_t area : {2, 3, 4}) {
      if (bytes.size() < 8) break;
      size_t start = bytes[area] * size_t{8};
      if (start >= 8 && start + 1 < bytes.size() && bytes[start + 1] != 0 &&
          start + bytes[start + 1] * size_t{8} <= bytes.size()) {
        fix(bytes, start);
      }
    }
    auto parsed = parse_fru(bytes);
    if (!parsed) {
      EXPECT_FALSE(parsed.error().message.empty());
    }
  }
}

TEST(Fru, DatesCountMinutesSince1996) {
  EXPECT_EQ(fru_date_text(0), "");
  EXPECT_EQ(fru_date_text(1), "1996-01-01 00:01");
  EXPECT_EQ(fru_date_text(14727000), "2024-01-01 02:00");
  EXPECT_EQ(fru_date_text(0xffffff), "2027-11-24 20:15");
}

}  // namespace
}  // namespace bmcpair::ipmi
