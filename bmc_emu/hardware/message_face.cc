#include "bmc_emu/hardware/message_face.h"

#include <algorithm>
#include <utility>

#include "bmc_emu/hardware/actor.h"
#include "proto/ipmi/message.h"

namespace bmcpair::hardware {

std::optional<TakenRequest> MessageFace::take(uint32_t tag, Bytes message, Instant now) {
  if (!online_ || message.size() < 2) return std::nullopt;
  forget();
  if (++last_token_ == 0) ++last_token_;
  token_ = last_token_;
  tag_ = tag;
  netfn_lun_ = message[0];
  cmd_ = message[1];
  auto special = plan_.by_command.find({static_cast<uint8_t>(netfn_lun_ >> 2), cmd_});
  const Latency& latency = special != plan_.by_command.end() ? special->second : plan_.response;
  taken_at_ = now;
  not_before_ = after(now, latency.draw(random_));
  return TakenRequest{token_, std::move(message)};
}

bool MessageFace::respond(uint32_t token, ByteView message, Instant now, const ReplyFault& fault) {
  if (token == 0 || token != token_ || due_ != kNever) return false;
  const uint8_t head[] = {static_cast<uint8_t>(netfn_lun_ | 4), cmd_};
  fault_ = fault;
  if (fault.raw && !message.empty()) {
    const auto size = static_cast<std::ptrdiff_t>(std::min(message.size(), limits_.response_bytes_max));
    reply_.assign(message.begin(), message.begin() + size);
  } else if (message.size() > limits_.response_bytes_max) {
    reply_ = {head[0], head[1], static_cast<uint8_t>(ipmi::CompletionCode::kCannotReturnRequestedLength)};
  } else if (message.size() < 3) {
    reply_ = {head[0], head[1], static_cast<uint8_t>(ipmi::CompletionCode::kUnspecified)};
  } else {
    reply_.assign(message.begin(), message.end());
  }
  const Instant not_before = fault.has_answer_at ? after(taken_at_, fault.answer_at) : not_before_;
  due_ = after(std::max(now, not_before), fault.delay);
  return true;
}

std::optional<MessageFace::Reply> MessageFace::step(Instant now) {
  if (due_ == kNever || due_ > now) return std::nullopt;
  Reply reply{tag_, std::move(reply_), fault_};
  forget();
  return reply;
}

void MessageFace::go_offline() {
  forget();
  online_ = false;
}

void MessageFace::forget() {
  token_ = 0;
  due_ = kNever;
  reply_.clear();
  fault_ = {};
}

}  // namespace bmcpair::hardware
