#include "host_driver/port_io/decoder.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <span>
#include <vector>

namespace bmcpair::port_io {
namespace {

using Code = std::vector<uint8_t>;

PortInstruction decoded(const Code& code, CodeMode mode = CodeMode::kBits64) {
  PortInstruction out;
  EXPECT_EQ(decode(code.data(), code.size(), mode, &out), Decoded::kPortInstruction);
  return out;
}

Decoded kind_of(const Code& code, CodeMode mode = CodeMode::kBits64) {
  PortInstruction out;
  return decode(code.data(), code.size(), mode, &out);
}

}  // namespace

TEST(Decoder, EachOpcodeHasItsDirectionWidthAndPort) {
  struct Row {
    Code code;
    unsigned length, width;
    bool write, string, immediate;
  };
  const std::vector<Row> rows = {
      {{0xe4, 0x70}, 2, 1, false, false, true},       {{0xe5, 0x70}, 2, 4, false, false, true},
      {{0xe6, 0x70}, 2, 1, true, false, true},        {{0xe7, 0x70}, 2, 4, true, false, true},
      {{0xec}, 1, 1, false, false, false},            {{0xed}, 1, 4, false, false, false},
      {{0xee}, 1, 1, true, false, false},             {{0xef}, 1, 4, true, false, false},
      {{0x66, 0xed}, 2, 2, false, false, false},      {{0x66, 0xef}, 2, 2, true, false, false},
      {{0x66, 0xe5, 0x70}, 3, 2, false, false, true}, {{0x6c}, 1, 1, false, true, false},
      {{0x6d}, 1, 4, false, true, false},             {{0x66, 0x6d}, 2, 2, false, true, false},
      {{0x6e}, 1, 1, true, true, false},              {{0x6f}, 1, 4, true, true, false},
      {{0x66, 0x6f}, 2, 2, true, true, false},        {{0x66, 0xec}, 2, 1, false, false, false},
  };
  for (CodeMode mode : {CodeMode::kBits32, CodeMode::kBits64}) {
    for (const Row& row : rows) {
      SCOPED_TRACE(testing::PrintToString(row.code));
      const PortInstruction i = decoded(row.code, mode);
      EXPECT_EQ(i.length, row.length);
      EXPECT_EQ(i.width, row.width);
      EXPECT_EQ(i.write, row.write);
      EXPECT_EQ(i.string, row.string);
      EXPECT_EQ(i.immediate, row.immediate);
      EXPECT_FALSE(i.repeat);
      EXPECT_EQ(i.immediate_port, row.immediate ? 0x70 : 0);
    }
  }
}

TEST(Decoder, RepeatsOnlyStrings) {
  for (uint8_t prefix : {0xf2, 0xf3}) {
    EXPECT_TRUE(decoded({prefix, 0x6c}).repeat);
    EXPECT_TRUE(decoded({prefix, 0x6f}).repeat);
    EXPECT_FALSE(decoded({prefix, 0xec}).repeat);
    EXPECT_EQ(decoded({prefix, 0xec}).length, 2);
  }
}

TEST(Decoder, RexIsAPrefixInLongModeAloneAndOnlyRightBeforeTheOpcode) {
  EXPECT_EQ(decoded({0x48, 0xed}).length, 2);
  EXPECT_EQ(decoded({0x48, 0xed}).width, 4) << "no port access has 64 bits";
  EXPECT_EQ(decoded({0x66, 0x48, 0xed}).width, 4) << "REX.W outdoes 66";
  EXPECT_EQ(decoded({0x48, 0x66, 0xed}).width, 2) << "a REX before another prefix is ignored";
  EXPECT_EQ(decoded({0x66, 0x41, 0xed}).width, 2);
  EXPECT_EQ(kind_of({0x48, 0xed}, CodeMode::kBits32), Decoded::kOther) << "dec %eax";
}

TEST(Decoder, AddressSizeFollowsModeAndPrefix) {
  EXPECT_EQ(decoded({0x6c}).address_bytes, 8);
  EXPECT_EQ(decoded({0x67, 0x6c}).address_bytes, 4);
  EXPECT_EQ(decoded({0x6c}, CodeMode::kBits32).address_bytes, 4);
  EXPECT_EQ(decoded({0x67, 0x6c}, CodeMode::kBits32).address_bytes, 2);
}

TEST(Decoder, ASegmentIsOfOutsSourceOnly) {
  EXPECT_EQ(decoded({0x64, 0x6e}).segment, Segment::kFs);
  EXPECT_EQ(decoded({0x64, 0x65, 0x6e}).segment, Segment::kGs);
  EXPECT_EQ(decoded({0x64, 0x6c}).segment, Segment::kDefault);
  EXPECT_EQ(decoded({0x64, 0xee}).segment, Segment::kDefault);
  EXPECT_EQ(decoded({0x2e, 0x6e}).segment, Segment::kDefault);
  EXPECT_EQ(decoded({0x64, 0x2e, 0x6e}).segment, Segment::kFs) << "64-bit code ignores the other segments";
  EXPECT_EQ(decoded({0x2e, 0x6e}, CodeMode::kBits32).segment, Segment::kCs);
  EXPECT_EQ(decoded({0x36, 0x6e}, CodeMode::kBits32).segment, Segment::kSs);
}

TEST(Decoder, WhatIsNoPortInstructionIsSaidToBeAnother) {
  for (const Code& code : std::vector<Code>{{0x90}, {0x0f, 0x0b}, {0xcc}, {0xf4}, {0xf0, 0xec}, {0x0f, 0xec}, {0xc5, 0xec}}) {
    EXPECT_EQ(kind_of(code), Decoded::kOther) << testing::PrintToString(code);
  }
  EXPECT_EQ(kind_of(Code(15, 0x66)), Decoded::kOther) << "no instruction has more than 15 bytes";
  Code longest(14, 0x66);
  longest.push_back(0xed);
  EXPECT_EQ(decoded(longest).length, 15);
  longest.back() = 0xe5;
  longest.push_back(0x70);
  EXPECT_EQ(kind_of(longest), Decoded::kOther) << "its port would be the sixteenth byte";
}

TEST(Decoder, AnInstructionThatIsCutOffIsSaidToBeTooShort) {
  for (const Code& code : std::vector<Code>{{}, {0x66}, {0xf3}, {0xe4}, {0x66, 0xe7}, {0x48}}) {
    EXPECT_EQ(kind_of(code), Decoded::kTooShort) << testing::PrintToString(code);
  }
}

TEST(Decoder, NeverReadsPastWhatItWasGiven) {
  const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  auto* memory = static_cast<uint8_t*>(::mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(memory, MAP_FAILED);
  ASSERT_EQ(::mprotect(memory + page, page, PROT_NONE), 0);
  std::mt19937 random(1);
  const uint8_t likely[] = {0x66, 0x67, 0xf3, 0x48, 0x64, 0xec, 0xe4, 0x6c, 0x6f};
  for (int run = 0; run < 200'000; ++run) {
    const size_t size = random() % 17;
    uint8_t* code = memory + page - size;
    for (size_t i = 0; i < size; ++i) code[i] = random() % 4 ? likely[random() % sizeof likely] : static_cast<uint8_t>(random());
    for (CodeMode mode : {CodeMode::kBits32, CodeMode::kBits64}) {
      PortInstruction out;
      if (decode(code, size, mode, &out) != Decoded::kPortInstruction) continue;
      ASSERT_LE(out.length, size);
      ASSERT_TRUE(out.width == 1 || out.width == 2 || out.width == 4);
      // The instruction alone says the same as with what stood behind it.
      PortInstruction alone;
      ASSERT_EQ(decode(code, out.length, mode, &alone), Decoded::kPortInstruction);
      ASSERT_EQ(decode(code, out.length - 1u, mode, &alone), Decoded::kTooShort);
    }
  }
  ::munmap(memory, 2 * page);
}

#ifdef __x86_64__
// What the assembler makes of the instructions, each between two labels.
#define BMCPAIR_CODE(name, text)                                                                 \
  asm(".pushsection .rodata\n.globl bmcpair_code_" #name "\nbmcpair_code_" #name ":\n" text "\n" \
      ".globl bmcpair_code_" #name "_end\nbmcpair_code_" #name "_end:\n.popsection");            \
  extern "C" __attribute__((visibility("hidden"))) const uint8_t bmcpair_code_##name[], bmcpair_code_##name##_end[]

BMCPAIR_CODE(inb_dx, "in (%dx), %al");
BMCPAIR_CODE(inw_dx, "in (%dx), %ax");
BMCPAIR_CODE(inl_dx, "in (%dx), %eax");
BMCPAIR_CODE(outb_dx, "out %al, (%dx)");
BMCPAIR_CODE(outw_dx, "out %ax, (%dx)");
BMCPAIR_CODE(outl_dx, "out %eax, (%dx)");
BMCPAIR_CODE(inb_imm, "in $0xe4, %al");
BMCPAIR_CODE(outw_imm, "out %ax, $0xe5");
BMCPAIR_CODE(rep_insb, "rep insb");
BMCPAIR_CODE(rep_insw, "rep insw");
BMCPAIR_CODE(rep_outsl, "rep outsl");
BMCPAIR_CODE(rep_insb_32, "addr32 rep insb");
BMCPAIR_CODE(outsb_gs, "outsb %gs:(%rsi), (%dx)");

TEST(Decoder, UnderstandsWhatTheAssemblerMakes) {
  auto of = [](const uint8_t* begin, const uint8_t* end) {
    const PortInstruction i = decoded(Code(begin, end));
    EXPECT_EQ(i.length, end - begin);
    return i;
  };
#define BMCPAIR_DECODED(name) of(bmcpair_code_##name, bmcpair_code_##name##_end)
  EXPECT_EQ(BMCPAIR_DECODED(inb_dx).width, 1);
  EXPECT_EQ(BMCPAIR_DECODED(inw_dx).width, 2);
  EXPECT_EQ(BMCPAIR_DECODED(inl_dx).width, 4);
  EXPECT_FALSE(BMCPAIR_DECODED(inl_dx).write);
  EXPECT_EQ(BMCPAIR_DECODED(outb_dx).width, 1);
  EXPECT_EQ(BMCPAIR_DECODED(outw_dx).width, 2);
  EXPECT_EQ(BMCPAIR_DECODED(outl_dx).width, 4);
  EXPECT_TRUE(BMCPAIR_DECODED(outl_dx).write);
  EXPECT_EQ(BMCPAIR_DECODED(inb_imm).immediate_port, 0xe4);
  EXPECT_EQ(BMCPAIR_DECODED(outw_imm).immediate_port, 0xe5);
  EXPECT_EQ(BMCPAIR_DECODED(outw_imm).width, 2);
  EXPECT_TRUE(BMCPAIR_DECODED(rep_insb).repeat);
  EXPECT_EQ(BMCPAIR_DECODED(rep_insw).width, 2);
  EXPECT_TRUE(BMCPAIR_DECODED(rep_outsl).repeat && BMCPAIR_DECODED(rep_outsl).write);
  EXPECT_EQ(BMCPAIR_DECODED(rep_insb_32).address_bytes, 4);
  EXPECT_EQ(BMCPAIR_DECODED(outsb_gs).segment, Segment::kGs);
}
#endif

}  // namespace bmcpair::port_io
