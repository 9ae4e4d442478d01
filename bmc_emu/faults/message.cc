#include "bmc_emu/faults/message.h"

#include <algorithm>

namespace bmcpair::faults {

void add(MessageFault& fault, const Action& action) {
  const auto byte = static_cast<uint8_t>(action.value);
  switch (action.kind) {
    case ActionKind::kCompletionCode: fault.completion_code = byte; break;
    case ActionKind::kDropRequest: fault.drop_request = true; break;
    case ActionKind::kDropAnswer: fault.drop_answer = true; break;
    case ActionKind::kDelay: fault.delay += action.duration.value_or(Duration(0)); break;
    case ActionKind::kAnswerAt: fault.answer_at = action.duration.value_or(Duration(0)); break;
    case ActionKind::kSequence: fault.sequence_add = static_cast<uint8_t>(fault.sequence_add + byte); break;
    case ActionKind::kAnswerNetFn: fault.answer_netfn = byte; break;
    case ActionKind::kAnswerCmd: fault.answer_cmd = byte; break;
    case ActionKind::kTruncate: fault.truncate = static_cast<uint16_t>(action.value); break;
    case ActionKind::kExtend: fault.extend = static_cast<uint16_t>(action.value); break;
    case ActionKind::kLengthByte: fault.length_byte = byte; break;
    case ActionKind::kCorrupt: fault.corrupt.emplace_back(static_cast<uint16_t>(action.value), action.mask); break;
    case ActionKind::kBadChecksum: fault.bad_checksum = true; break;
    case ActionKind::kDuplicate: fault.duplicates = std::max(fault.duplicates, byte); break;
    case ActionKind::kPreviousAnswer: fault.previous_answer = true; break;
    // Whoever resets does not answer.
    case ActionKind::kWarmReset:
    case ActionKind::kColdReset: fault.drop_request = true; break;
    default: break;
  }
}

Bytes disturb(const MessageFault& fault, Bytes answer, ByteView previous, size_t bytes_max) {
  if (fault.previous_answer && !previous.empty()) answer.assign(previous.begin(), previous.end());
  if (fault.completion_code) {
    answer.resize(2);
    answer.push_back(*fault.completion_code);
  }
  if (fault.answer_netfn && !answer.empty()) {
    answer[0] = static_cast<uint8_t>(*fault.answer_netfn << 2 | (answer[0] & 3));
  }
  if (fault.answer_cmd && answer.size() > 1) answer[1] = *fault.answer_cmd;
  if (fault.truncate && answer.size() > *fault.truncate) answer.resize(std::max<size_t>(*fault.truncate, 1));
  answer.insert(answer.end(), fault.extend, kFillByte);
  for (const auto& [index, mask] : fault.corrupt) {
    if (index < answer.size()) answer[index] = static_cast<uint8_t>(answer[index] ^ mask);
  }
  if (answer.size() > bytes_max) answer.resize(bytes_max);
  return answer;
}

}  // namespace bmcpair::faults
