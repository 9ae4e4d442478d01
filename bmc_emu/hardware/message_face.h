// The face of an interface towards a host that models the registers itself and hands over whole messages (QEMU's
// ipmi-bmc-extern). One request is open at a time; a newer one makes the older stale, as at the registers. Its answer
// leaves when the latency that the plan draws has passed. Pure; not thread safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "bmc_emu/hardware/interface.h"
#include "bmc_emu/hardware/latency.h"

namespace bmcpair::hardware {

class MessageFace {
 public:
  struct Limits {  // NetFn and Cmd included
    size_t request_bytes_max = 0;
    size_t response_bytes_max = 0;
  };
  struct Reply {
    uint32_t tag = 0;
    Bytes message;  // NetFn<<2|LUN (odd NetFn), Cmd, CC, data
    ReplyFault fault{};  // sequence_add, bad_checksum and duplicates are for whoever frames it
  };

  MessageFace(const LatencyPlan& plan, uint64_t seed, Limits limits)
      : plan_(plan), random_(seed), limits_(limits) {}

  const Limits& limits() const { return limits_; }

  // A request of at least NetFn/LUN and Cmd. nullopt while the BMC is away: it is not answered.
  std::optional<TakenRequest> take(uint32_t tag, Bytes message, Instant now);
  // False: the token is stale. Longer than the limit becomes completion code CA.
  bool respond(uint32_t token, ByteView message, Instant now, const ReplyFault& fault = {});
  Instant next_due() const { return due_; }
  // The reply, once it is due.
  std::optional<Reply> step(Instant now);
  // Whether an answer is owed.
  bool open() const { return token_ != 0; }

  void go_offline();
  void come_online() { online_ = true; }
  bool online() const { return online_; }

 private:
  void forget();

  LatencyPlan plan_;
  Random random_;
  Limits limits_;
  bool online_ = true;
  uint32_t last_token_ = 0;
  uint32_t token_ = 0;  // of the open request; 0: none
  uint32_t tag_ = 0;
  uint8_t netfn_lun_ = 0;
  uint8_t cmd_ = 0;
  Instant taken_at_{};
  Instant not_before_{};
  Instant due_ = kNever;
  Bytes reply_;
  ReplyFault fault_;
};

}  // namespace bmcpair::hardware
