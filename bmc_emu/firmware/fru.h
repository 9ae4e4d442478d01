// FRU inventories (IPMI 2.0 ch. 34): areas of bytes; what they mean is proto/ipmi/fru.h's business.
#pragma once

#include <cstdint>

#include "bmc_emu/firmware/part.h"

namespace bmcpair::firmware {

class FruPart : public Part {
 public:
  // What one write puts into the store at least.
  static constexpr size_t kPageBytes = 256;

  Status load(State& state, Instant now) override;

  // Null when there is no such FRU. Bytes after the content, up to its size, read as FFh.
  const FruConfig* find(const State& state, uint8_t id) const;
  static Bytes read(const FruConfig& fru, size_t offset, size_t count);
  // Durable on return. Errors: kNotFound, kInvalidArgument (outside the area), kIo, kCorrupt.
  Status write(State& state, uint8_t id, size_t offset, ByteView data);
};

}  // namespace bmcpair::firmware
