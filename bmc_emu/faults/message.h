// What the rules that fired for one request do to its answer. For every face of a BMC: registers take sequence, length
// byte, delay and copies from here, a message protocol all of it.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "bmc_emu/faults/action.h"
#include "proto/base/hex.h"

namespace bmcpair::faults {

struct MessageFault {
  std::vector<uint32_t> fired;  // ids of the rules, in their order; also of those that do nothing to the message

  bool drop_request = false;
  bool drop_answer = false;
  bool previous_answer = false;
  bool bad_checksum = false;
  std::optional<uint8_t> completion_code;
  Duration delay{0};
  std::optional<Duration> answer_at;  // after the request was taken
  uint8_t sequence_add = 0;
  std::optional<uint8_t> length_byte;
  uint8_t duplicates = 0;
  std::optional<uint8_t> answer_netfn;
  std::optional<uint8_t> answer_cmd;
  std::optional<uint16_t> truncate;
  uint16_t extend = 0;
  std::vector<std::pair<uint16_t, uint8_t>> corrupt;

  bool executes() const { return !drop_request && !completion_code; }
  bool drops() const { return drop_request || drop_answer; }
  // The bytes of the answer are not the firmware's: they must not be made right again on their way.
  bool changes_bytes() const {
    return previous_answer || answer_netfn || answer_cmd || truncate || extend != 0 || !corrupt.empty();
  }
};

constexpr uint8_t kFillByte = 0xa5;  // of answers that are extended

void add(MessageFault& fault, const Action& action);

// answer: NetFn/LUN, Cmd, completion code, data. previous: the answer given before, for previous_answer. At least one
// byte comes out, and at most bytes_max.
Bytes disturb(const MessageFault& fault, Bytes answer, ByteView previous, size_t bytes_max);

}  // namespace bmcpair::faults
