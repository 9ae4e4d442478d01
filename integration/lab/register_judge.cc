#include "integration/lab/register_judge.h"

#include "proto/base/hex.h"
#include "proto/registers/bt.h"
#include "proto/registers/kcs.h"
#include "proto/registers/smic.h"

namespace bmcpair::lab {

using hardware::Access;
using registers::InterfaceKind;

namespace {

namespace bt = registers::bt;
namespace kcs = registers::kcs;
namespace smic = registers::smic;

// A BMC that never answers is given up after a few; each of them costs everybody else behind it, too.
constexpr unsigned kBtResetsMax = 4;

std::string text_of(uint8_t flags) { return to_hex(Bytes{flags}); }

}  // namespace

RegisterJudge::RegisterJudge(InterfaceKind kind)
    : kind_(kind), host_(rights(kind, Access::Face::kHost)), bmc_(rights(kind, Access::Face::kBmc)) {}

RegisterJudge::Rights RegisterJudge::rights(InterfaceKind kind, Access::Face face) {
  const bool host = face == Access::Face::kHost;
  switch (kind) {
    case InterfaceKind::kBt:
      if (!host) return {bt::kB2hAtn | bt::kSmsAtn | bt::kBBusy | bt::kOem0, bt::kH2bAtn | bt::kBBusy | bt::kOem0};
      return {bt::kH2bAtn | bt::kHBusy, bt::kB2hAtn | bt::kSmsAtn | bt::kHBusy};
    case InterfaceKind::kKcs: {
      constexpr uint8_t kOfTheBmc = kcs::kSmsAtn | kcs::kOem1 | kcs::kOem2 | kcs::kStateMask;
      if (!host) return {kcs::kObf | kOfTheBmc, kcs::kIbf | kOfTheBmc};
      return {kcs::kIbf | kcs::kCd, kcs::kObf | kcs::kCd};
    }
    case InterfaceKind::kSmic:
      // TX_DATA_RDY and RX_DATA_RDY go with the accesses to the data, whoever makes them.
      if (!host) return {static_cast<uint8_t>(~smic::kBusy), 0xff};
      return {smic::kBusy, static_cast<uint8_t>(~smic::kBusy)};
  }
  return {0xff, 0xff};
}

std::optional<std::string> RegisterJudge::judge(const Access& access, uint8_t flags_before) {
  if (access.offset == hardware::kNoRegister) {
    disturbed_ = disturbed_ || access.fault != 0;
    return std::nullopt;
  }
  if (access.fault != 0) lied_to_ = disturbed_ = true;
  if (!disturbed_ && wrong_bits(access, flags_before) != 0) {
    return std::string(access.face == Access::Face::kHost ? "the host" : "the BMC") +
           " changes flags that are not its to change so: " + text_of(flags_before) + " becomes " + text_of(access.flags_after);
  }
  if (access.face == Access::Face::kBmc) return std::nullopt;
  std::optional<std::string> wrong;
  switch (kind_) {
    case InterfaceKind::kBt: wrong = bt(access); break;
    case InterfaceKind::kKcs: wrong = kcs(access); break;
    case InterfaceKind::kSmic: wrong = smic(access); break;
  }
  return lied_to_ ? std::nullopt : wrong;
}

std::optional<std::string> RegisterJudge::bt(const Access& a) {
  if (bt_passes(a)) return std::nullopt;
  switch (a.offset) {
    case bt::kBuffer:
      if (a.is_write) {
        frame_open_ = true;
        if (recovering_ || (flags_read_ && !(*flags_read_ & (bt::kBBusy | bt::kH2bAtn)))) return std::nullopt;
        return "the host writes a frame where " +
               (flags_read_ ? "the flags that it read, " + text_of(*flags_read_) + ", say that the buffer is the BMC's"
                            : std::string("it has not looked whose the buffer is"));
      }
      return "the host reads the buffer while H_BUSY does not say so";
    case bt::kIntMask:
      if (!a.is_write || !(a.value & bt::kBmcHwRst)) return std::nullopt;
      recovering_ = true;
      if (!requested_) return "the host resets a BMC that it has asked nothing yet";
      if (++resets_ > kBtResetsMax) return "the host resets the BMC for the " + std::to_string(resets_) + "th time, and never had an answer";
      return std::nullopt;
    default: return std::nullopt;
  }
}

std::optional<std::string> RegisterJudge::kcs(const Access& a) {
  if (!a.is_write && a.offset == kcs::kStatus) {
    flags_read_ = a.value;
    return std::nullopt;
  }
  if (!a.is_write) {
    const bool there = flags_read_ && (*flags_read_ & kcs::kObf);
    if (flags_read_) *flags_read_ = static_cast<uint8_t>(*flags_read_ & ~kcs::kObf);
    if (!there) return "the host reads a byte that it has not seen there (OBF)";
    return std::nullopt;
  }
  const std::optional<uint8_t> seen = flags_read_;
  flags_read_.reset();
  if (!seen || (*seen & kcs::kIbf)) return "the host writes " + text_of(a.value) + " over a byte that the BMC has not taken (IBF)";
  if (a.offset == kcs::kCommand && a.value == kcs::kWriteStart && (*seen & kcs::kObf)) {
    return "the host starts a request on top of a byte that it has not read (OBF)";
  }
  return std::nullopt;
}

std::optional<std::string> RegisterJudge::smic(const Access& a) {
  if (!a.is_write) {
    if (a.offset == smic::kFlags) flags_read_ = a.value;
    return std::nullopt;
  }
  const std::optional<uint8_t> seen = flags_read_;
  if (a.offset == smic::kFlags && (a.value & smic::kBusy)) flags_read_.reset();
  if (!seen || (*seen & smic::kBusy)) return "the host writes " + text_of(a.value) + " while the registers are the BMC's (BUSY)";
  return std::nullopt;
}

}  // namespace bmcpair::lab
