#include "bmc_emu/firmware/dispatcher.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace bmcpair::firmware {

using ipmi::CompletionCode;

namespace {

bool before(const Command& a, const Command& b) {
  return a.netfn != b.netfn ? a.netfn < b.netfn : a.cmd < b.cmd;
}

constexpr size_t kRequestHeaderBytes = 2;   // NetFn/LUN, Cmd
constexpr size_t kResponseHeaderBytes = 3;  // and the completion code

}  // namespace

const Dispatcher& Dispatcher::instance() {
  static const Dispatcher dispatcher;
  return dispatcher;
}

Dispatcher::Dispatcher() {
  for (auto* group : {app_commands, watchdog_commands, messaging_commands, channel_commands, user_commands,
                      chassis_commands, sensor_commands, event_commands, sdr_commands, sel_commands, fru_commands}) {
    auto commands = group();
    commands_.insert(commands_.end(), commands.begin(), commands.end());
  }
  std::sort(commands_.begin(), commands_.end(), before);
  for (size_t i = 0; i < commands_.size(); ++i) {
    const Command& command = commands_[i];
    bool twice = i > 0 && !before(commands_[i - 1], command);
    if (twice || command.netfn % 2 != 0 || command.data_min > command.data_max || command.handler == nullptr) {
      throw std::logic_error("bad command table entry: " + std::string(command.name));
    }
  }
}

const Command* Dispatcher::find(uint8_t netfn, uint8_t cmd) const {
  Command key{netfn, cmd, {}, Privilege::kNone, 0, 0, 0, nullptr};
  auto found = std::lower_bound(commands_.begin(), commands_.end(), key, before);
  return found != commands_.end() && found->netfn == netfn && found->cmd == cmd ? &*found : nullptr;
}

bool Dispatcher::has_netfn(uint8_t netfn) const {
  return std::any_of(commands_.begin(), commands_.end(), [&](const Command& c) { return c.netfn == netfn; });
}

ipmi::Response Dispatcher::dispatch(State& state, const ipmi::Request& request, const RequestContext& context,
                                    Instant now) const {
  const Command* command = find(request.netfn, request.cmd);
  if (command == nullptr) return fail(CompletionCode::kInvalidCommand);
  if (request.lun > 3 || (command->luns >> request.lun & 1) == 0) return fail(CompletionCode::kInvalidCommandForLun);
  if (context.privilege < command->privilege) return fail(CompletionCode::kInsufficientPrivilege);
  size_t size = request.data.size();
  if (size + kRequestHeaderBytes > context.request_bytes_max) {
    return fail(CompletionCode::kRequestLengthLimitExceeded);
  }
  if (size < command->data_min || size > command->data_max) return fail(CompletionCode::kRequestLengthInvalid);
  Call call{state, request, context, now, ipmi::Reader(request.data)};
  ipmi::Response response = command->handler(call);
  if (response.data.size() + kResponseHeaderBytes > context.response_bytes_max) {
    return fail(CompletionCode::kCannotReturnRequestedLength);
  }
  return response;
}

}  // namespace bmcpair::firmware
