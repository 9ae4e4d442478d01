// Users, their names, passwords and access by channel (IPMI 2.0 §22.26-22.30). Passwords never leave this part but
// into the store.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>

#include "bmc_emu/firmware/part.h"

namespace bmcpair::firmware {

class UserPart : public Part {
 public:
  static constexpr uint8_t kUsersMax = 63;
  static constexpr uint8_t kNameBytes = 16;

  struct User {
    std::array<uint8_t, 16> name{};
    std::array<uint8_t, 20> password{};
    uint8_t password_bytes = 16;               // 16 or 20: the size it was set with
    uint8_t enabled = 0;                       // 0 never said, 1 enabled, 2 disabled (§22.27 byte 3)
    std::array<uint8_t, 16> access{};          // by channel: bits 6:4 flags, 3:0 privilege limit
    std::array<uint8_t, 16> session_limit{};
    User() { access.fill(0x0f); }
    bool operator==(const User&) const = default;
  };

  Status load(State& state, Instant now) override;

  uint8_t users_max() const { return users_max_; }
  // A user never written has the defaults.
  User get(uint8_t id) const;
  Status set(State& state, uint8_t id, const User& user);  // durable on return
  uint8_t enabled_count() const;

 private:
  uint8_t users_max_ = 15;
  std::map<uint8_t, User> users_;
};

}  // namespace bmcpair::firmware
