// The oracle of the registers: who owns the buffer, and which side may change which flag which way (IPMI 2.0 ch. 9 to 11).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "bmc_emu/hardware/interface.h"
#include "proto/registers/bt.h"
#include "proto/registers/register_port.h"

namespace bmcpair::lab {

class RegisterJudge {
 public:
  explicit RegisterJudge(registers::InterfaceKind kind);

  // After each access, with the flags before it: whether there is nothing to say about it, as about most. If not, judge().
  bool passes(const hardware::Access& access, uint8_t flags_before) {
    const bool changes = access.flags_after != flags_before;
    if (access.fault != 0 || (changes && !disturbed_ && wrong_bits(access, flags_before) != 0)) return false;
    if (access.face == hardware::Access::Face::kBmc) return access.offset != hardware::kNoRegister;
    return kind_ == registers::InterfaceKind::kBt && bt_passes(access);
  }
  // What was wrong with it, or nullopt. Of the host's accesses nothing is said any more once a fault has changed one: who is lied
  // to may do anything. Nor of flags, once anything has disturbed them.
  std::optional<std::string> judge(const hardware::Access& access, uint8_t flags_before);
  // The BMC resets, a fault holds a flag.
  void disturbed() { disturbed_ = true; }
  // Another host, or another BMC behind the registers.
  void forget() { *this = RegisterJudge(kind_); }

 private:
  std::optional<std::string> bt(const hardware::Access& access);
  std::optional<std::string> kcs(const hardware::Access& access);
  std::optional<std::string> smic(const hardware::Access& access);
  // BT_CTRL, which is always the host's to access, and the rest of a frame.
  bool bt_passes(const hardware::Access& a) {
    if (a.offset == registers::bt::kBuffer) return a.is_write ? frame_open_ : (a.flags_after & registers::bt::kHBusy) != 0;
    if (a.offset != registers::bt::kCtrl) return false;
    if (!a.is_write) {
      flags_read_ = a.value;
      return true;
    }
    if (a.value & registers::bt::kB2hAtn) resets_ = 0;  // it answers
    if (a.value & registers::bt::kH2bAtn) {
      frame_open_ = recovering_ = false;
      requested_ = true;
      flags_read_.reset();
    }
    return true;
  }
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
