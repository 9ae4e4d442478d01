// The in and out instructions of x86 as data (Intel SDM volume 2, "IN", "INS", "OUT", "OUTS"). Freestanding: the preloaded
// library, which has no C++ runtime, decodes with it inside a signal handler.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bmcpair::port_io {

enum class CodeMode : uint8_t { kBits32, kBits64 };
enum class Segment : uint8_t { kDefault, kCs, kSs, kDs, kEs, kFs, kGs };

constexpr size_t kInstructionBytesMax = 15;

struct PortInstruction {
  uint8_t length = 0;         // bytes, prefixes included
  uint8_t width = 0;          // of one access: 1, 2 or 4 bytes
  uint8_t address_bytes = 0;  // string forms: how much of the index and count registers is used: 2, 4 or 8
  uint8_t immediate_port = 0;
  bool write = false;      // out, outs
  bool string = false;     // ins, outs: memory instead of the accumulator
  bool repeat = false;     // string forms with rep: as often as the count register says
  bool immediate = false;  // the port is immediate_port, not DX
  Segment segment = Segment::kDefault;  // of outs' source; ins writes to ES, whatever prefix there is
};

enum class Decoded : uint8_t {
  kPortInstruction,
  kOther,    // another instruction, or none
  kTooShort  // the given bytes end before it can be told
};

// Reads at most `size` bytes, and never more than kInstructionBytesMax.
Decoded decode(const uint8_t* code, size_t size, CodeMode mode, PortInstruction* out);

}  // namespace bmcpair::port_io
