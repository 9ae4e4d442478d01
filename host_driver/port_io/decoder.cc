#include "host_driver/port_io/decoder.h"

namespace bmcpair::port_io {

Decoded decode(const uint8_t* code, size_t size, CodeMode mode, PortInstruction* out) {
  PortInstruction instruction;
  bool operand_16 = false, address_other = false, rex_w = false;
  size_t at = 0;
  uint8_t opcode = 0;
  // Legacy prefixes in any order; the last of a group counts. REX counts only right before the opcode (SDM volume 2, 2.2.1).
  for (;; ++at) {
    if (at == kInstructionBytesMax) return Decoded::kOther;
    if (at == size) return Decoded::kTooShort;
    opcode = code[at];
    if (mode == CodeMode::kBits64 && (opcode & 0xf0) == 0x40) {
      rex_w = (opcode & 8) != 0;
      continue;
    }
    bool prefix = true;
    switch (opcode) {
      case 0x66: operand_16 = true; break;
      case 0x67: address_other = true; break;
      case 0xf2:
      case 0xf3: instruction.repeat = true; break;
      // In 64-bit code the segments of old are ignored, and so is what they would replace.
      case 0x26: if (mode == CodeMode::kBits32) instruction.segment = Segment::kEs; break;
      case 0x2e: if (mode == CodeMode::kBits32) instruction.segment = Segment::kCs; break;
      case 0x36: if (mode == CodeMode::kBits32) instruction.segment = Segment::kSs; break;
      case 0x3e: if (mode == CodeMode::kBits32) instruction.segment = Segment::kDs; break;
      case 0x64: instruction.segment = Segment::kFs; break;
      case 0x65: instruction.segment = Segment::kGs; break;
      default: prefix = false; break;
    }
    if (!prefix) break;
    rex_w = false;
  }
  ++at;
  switch (opcode) {
    case 0x6c: case 0x6d: case 0x6e: case 0x6f:
      instruction.string = true;
      instruction.write = (opcode & 2) != 0;
      break;
    case 0xe4: case 0xe5: case 0xe6: case 0xe7:
      instruction.immediate = true;
      instruction.write = (opcode & 2) != 0;
      break;
    case 0xec: case 0xed: case 0xee: case 0xef:
      instruction.write = (opcode & 2) != 0;
      break;
    default: return Decoded::kOther;
  }
  if (instruction.immediate) {
    if (at == kInstructionBytesMax) return Decoded::kOther;
    if (at == size) return Decoded::kTooShort;
    instruction.immediate_port = code[at++];
  }
  if (!instruction.string) instruction.repeat = false;
  if (!instruction.string || !instruction.write) instruction.segment = Segment::kDefault;
  // There is no port access of 64 bits: REX.W only takes 66's effect away.
  instruction.width = (opcode & 1) == 0 ? 1 : operand_16 && !rex_w ? 2 : 4;
  if (instruction.string) {
    instruction.address_bytes = mode == CodeMode::kBits64 ? (address_other ? 4 : 8) : (address_other ? 2 : 4);
  }
  instruction.length = static_cast<uint8_t>(at);
  *out = instruction;
  return Decoded::kPortInstruction;
}

}  // namespace bmcpair::port_io
