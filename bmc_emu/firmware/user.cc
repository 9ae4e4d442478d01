#include "bmc_emu/firmware/user.h"

#include <algorithm>

#include "bmc_emu/firmware/channel.h"
#include "bmc_emu/firmware/dispatcher.h"
#include "bmc_emu/firmware/state.h"

namespace bmcpair::firmware {

using ipmi::CompletionCode;

namespace {

constexpr std::string_view kTable = "user";
constexpr uint8_t kNullUser = 1;            // always the empty name (§22.28)
constexpr uint8_t kFixedNames = 1;
constexpr uint8_t kNoAccess = 0x0f;
constexpr uint8_t kMessagingEnabled = 0x10;
constexpr uint8_t kLinkAuthentication = 0x20;
constexpr uint8_t kStoredVersion = 1;
constexpr size_t kStoredBytes = 1 + 16 + 20 + 1 + 1 + 16 + 16;

enum PasswordOperation : uint8_t { kDisable = 0, kEnable = 1, kSet = 2, kTest = 3 };

Bytes to_stored(const UserPart::User& user) {
  ipmi::Writer out;
  out.u8(kStoredVersion).bytes(user.name).bytes(user.password).u8(user.password_bytes).u8(user.enabled);
  out.bytes(user.access).bytes(user.session_limit);
  return out.finish();
}

bool from_stored(ByteView bytes, UserPart::User& user) {
  if (bytes.size() != kStoredBytes) return false;
  ipmi::Reader in(bytes);
  if (in.u8() != kStoredVersion) return false;
  auto fill = [&](auto& array) {
    ByteView from = in.take(array.size());
    std::copy(from.begin(), from.end(), array.begin());
  };
  fill(user.name);
  fill(user.password);
  user.password_bytes = in.u8();
  user.enabled = in.u8();
  fill(user.access);
  fill(user.session_limit);
  return in.done() && (user.password_bytes == 16 || user.password_bytes == 20) && user.enabled <= 2;
}

bool is_user(Call& call, uint8_t id) { return id >= 1 && id <= call.state.user->users_max(); }

ipmi::Response keep(Call& call, uint8_t id, const UserPart::User& user) {
  return call.state.user->set(call.state, id, user) ? ok() : fail(CompletionCode::kUnspecified);
}

ipmi::Response set_user_access(Call& call) {
  uint8_t bits = call.in.u8();
  uint8_t id = call.in.u8();
  uint8_t limit = call.in.u8();
  bool has_session_limit = call.in.remaining() != 0;
  uint8_t sessions = has_session_limit ? call.in.u8() : 0;
  if ((id & 0xc0) != 0 || !is_user(call, id)) return fail(CompletionCode::kInvalidDataField);
  if ((limit & 0xf0) != 0 || limit == 0 || (limit > 5 && limit != kNoAccess) || (sessions & 0xf0) != 0) {
    return fail(CompletionCode::kInvalidDataField);
  }
  auto channel = ChannelPart::find(call.state, bits & 0x0f, call.context);
  if (!channel) return fail(CompletionCode::kInvalidDataField);
  UserPart::User user = call.state.user->get(id);
  uint8_t& access = user.access[channel->number];
  uint8_t flags = (bits & 0x80) != 0 ? bits & 0x70 : access & 0x70;
  access = static_cast<uint8_t>(flags | limit);
  if (has_session_limit) user.session_limit[channel->number] = sessions;
  return keep(call, id, user);
}

ipmi::Response get_user_access(Call& call) {
  uint8_t number = call.in.u8();
  uint8_t id = call.in.u8();
  if ((number & 0xf0) != 0 || (id & 0xc0) != 0 || !is_user(call, id)) return fail(CompletionCode::kInvalidDataField);
  auto channel = ChannelPart::find(call.state, number, call.context);
  if (!channel) return fail(CompletionCode::kInvalidDataField);
  const UserPart& users = *call.state.user;
  UserPart::User user = users.get(id);
  return ok({users.users_max(), static_cast<uint8_t>(user.enabled << 6 | users.enabled_count()), kFixedNames,
             user.access[channel->number]});
}

ipmi::Response set_user_name(Call& call) {
  uint8_t id = call.in.u8();
  ByteView name = call.in.take(UserPart::kNameBytes);
  if ((id & 0xc0) != 0 || !is_user(call, id) || id == kNullUser) return fail(CompletionCode::kInvalidDataField);
  UserPart::User user = call.state.user->get(id);
  std::copy(name.begin(), name.end(), user.name.begin());
  return keep(call, id, user);
}

ipmi::Response get_user_name(Call& call) {
  uint8_t id = call.in.u8();
  if ((id & 0xc0) != 0 || !is_user(call, id)) return fail(CompletionCode::kInvalidDataField);
  UserPart::User user = call.state.user->get(id);
  return ok(Bytes(user.name.begin(), user.name.end()));
}

// In time that does not depend on where the first difference is.
bool same_password(const std::array<uint8_t, 20>& a, const std::array<uint8_t, 20>& b) {
  uint8_t difference = 0;
  for (size_t i = 0; i < a.size(); ++i) difference = static_cast<uint8_t>(difference | (a[i] ^ b[i]));
  return difference == 0;
}

ipmi::Response set_user_password(Call& call) {
  uint8_t head = call.in.u8();
  uint8_t operation = call.in.u8();
  uint8_t id = head & 0x3f;
  uint8_t size = (head & 0x80) != 0 ? 20 : 16;
  if ((head & 0x40) != 0 || (operation & 0xfc) != 0 || !is_user(call, id)) {
    return fail(CompletionCode::kInvalidDataField);
  }
  // Enabling and disabling takes no password, or ignores one.
  bool password_wanted = operation == kSet || operation == kTest;
  if (call.in.remaining() != size && (password_wanted || call.in.remaining() != 0)) {
    return fail(CompletionCode::kRequestLengthInvalid);
  }
  std::array<uint8_t, 20> password{};
  ByteView given = call.in.rest();
  std::copy(given.begin(), given.end(), password.begin());
  UserPart::User user = call.state.user->get(id);
  switch (operation) {
    case kDisable: user.enabled = 2; break;
    case kEnable: user.enabled = 1; break;
    case kSet:
      user.password = password;
      user.password_bytes = size;
      break;
    default:
      if (size != user.password_bytes) return fail(0x81);
      return same_password(password, user.password) ? ok() : fail(0x80);
  }
  return keep(call, id, user);
}

}  // namespace

Status UserPart::load(State& state, Instant) {
  for (const UserConfig& from : state.config.users) {
    if (from.id < 1 || from.id > kUsersMax || from.name.size() > kNameBytes || from.password.size() > 20 ||
        from.privilege > kNoAccess) {
      return Error{ErrorCode::kInvalidArgument, "user " + std::to_string(from.id) +
                                                    ": id 1..63, name at most 16 and password at most 20 characters"};
    }
    users_max_ = std::max(users_max_, from.id);
    User user;
    std::copy(from.name.begin(), from.name.end(), user.name.begin());
    std::copy(from.password.begin(), from.password.end(), user.password.begin());
    user.password_bytes = from.password.size() > 16 ? 20 : 16;
    user.enabled = from.enabled ? 1 : 2;
    user.access.fill(static_cast<uint8_t>(kMessagingEnabled | kLinkAuthentication | from.privilege));
    users_[from.id] = user;
  }
  auto rows = state.store->load(kTable);
  if (!rows) return rows.error();
  for (const auto& [key, value] : *rows) {
    User user;
    if (key < 1 || key > kUsersMax || !from_stored(value, user)) {
      return Error{ErrorCode::kCorrupt, "stored user " + std::to_string(key) + " is malformed"};
    }
    users_max_ = std::max(users_max_, static_cast<uint8_t>(key));
    users_[static_cast<uint8_t>(key)] = user;
  }
  return {};
}

UserPart::User UserPart::get(uint8_t id) const {
  auto found = users_.find(id);
  return found == users_.end() ? User{} : found->second;
}

Status UserPart::set(State& state, uint8_t id, const User& user) {
  Batch batch;
  batch.put.push_back({std::string(kTable), id, to_stored(user)});
  if (auto kept = state.store->commit(batch); !kept) return kept;
  users_[id] = user;
  return {};
}

uint8_t UserPart::enabled_count() const {
  auto enabled = std::count_if(users_.begin(), users_.end(), [](const auto& u) { return u.second.enabled == 1; });
  return static_cast<uint8_t>(enabled);
}

std::vector<Command> user_commands() {
  using P = Privilege;
  constexpr uint8_t kApp = ipmi::kNetFnApp;
  return {
      {kApp, 0x43, "Set User Access", P::kAdministrator, 3, 4, kLun0, set_user_access},
      {kApp, 0x44, "Get User Access", P::kOperator, 2, 2, kLun0, get_user_access},
      {kApp, 0x45, "Set User Name", P::kAdministrator, 17, 17, kLun0, set_user_name},
      {kApp, 0x46, "Get User Name", P::kOperator, 1, 1, kLun0, get_user_name},
      {kApp, 0x47, "Set User Password", P::kAdministrator, 2, 22, kLun0, set_user_password},
  };
}

}  // namespace bmcpair::firmware
