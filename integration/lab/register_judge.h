// The oracle of the registers: who owns the buffer, and which side may change which flag which way (IPMI 2.0 ch. 9 to 11).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "bmc_emu/hardware/interface.h"
#include "proto/registers/register_port.h"

namespace bmcpair::lab {

class RegisterJudge {
 public:
  explicit RegisterJudge(registers::InterfaceKind kind);

  // After each access, with the flags before it. What was wrong with it, or nullopt. Of the host's accesses nothing is said any
  // more once a fault has changed one: who is lied to may do anything. Nor of flags, once anything has disturbed them.
  std::optional<std::string> judge(const hardware::Access& access, uint8_t flags_before);
  // Of most accesses of the BMC there is nothing to say.
  bool is_plain(const hardware::Access& access, uint8_t flags_before) const {
    return access.face == hardware::Access::Face::kBmc && access.fault == 0 && access.offset != hardware::kNoRegister &&
           (disturbed_ || wrong_bits(access, flags_before) == 0);
  }
  // The BMC resets, a fault holds a flag.
  void disturbed() { disturbed_ = true; }
  // Another host, or another BMC behind the registers.
  void forget() { *this = RegisterJudge(kind_); }

 private:
  std::optional<std::string> bt(const hardware::Access& access);
  std::optional<std::string> kcs(const hardware::Access& access);
  std::optional<std::string> smic(const hardware::Access& access);
  // Which flags a side may set and which it may clear.
  struct Rights {
    uint8_t sets;
    uint8_t clears;
  };
  static Rights rights(registers::InterfaceKind kind, hardware::Access::Face face);
  uint8_t wrong_bits(const hardware::Access& access, uint8_t before) const {
    const Rights& r = access.face == hardware::Access::Face::kHost ? host_ : bmc_;
    const uint8_t after = access.flags_after;
    return static_cast<uint8_t>((after & ~before & ~r.sets) | (before & ~after & ~r.clears));
  }

  registers::InterfaceKind kind_;
  Rights host_, bmc_;
  bool lied_to_ = false;
  bool disturbed_ = false;
  std::optional<uint8_t> flags_read_;  // by the host; none since it last gave the BMC something to do
  bool frame_open_ = false;            // BT: the host writes a frame
  bool requested_ = false;             // BT: the host has ever sent one
  bool recovering_ = false;            // BT: the BMC was reset; until the next frame is sent
  unsigned resets_ = 0;                // BT: of the BMC, since it last answered
};

}  // namespace bmcpair::lab
