#include "bmc_emu/hardware/kcs/registers.h"

namespace bmcpair::hardware::kcs {
namespace {

using namespace registers::kcs;
using enum WriteRule;

// §9.5, table 9-1. IBF, OBF and C/D belong to the hardware: neither face writes them.
constexpr BitTable kStatusRules{{
    {kObf, "OBF", kIgnored, kIgnored},
    {kIbf, "IBF", kIgnored, kIgnored},
    {kSmsAtn, "SMS_ATN", kIgnored, kAssign},
    {kCd, "C/D", kIgnored, kIgnored},
    {kOem1, "OEM1", kIgnored, kAssign},
    {kOem2, "OEM2", kIgnored, kAssign},
    {0x40, "S0", kIgnored, kAssign},
    {0x80, "S1", kIgnored, kAssign},
}};
constexpr Rules kStatusMasks(kStatusRules);

//  face         write  offset    sets         clears  latch sets   latch clears
constexpr AccessRule kAccessRules[] = {
    {Face::kHost, false, kData, 0, kObf, 0, kDataLatch},
    {Face::kHost, false, kStatus, 0, 0, 0, kAttentionLatch},
    {Face::kHost, true, kData, kIbf, kCd, 0, 0},
    {Face::kHost, true, kCommand, kIbf | kCd, 0, 0, 0},
    {Face::kBmc, false, kData, 0, kIbf, 0, 0},
    {Face::kBmc, true, kData, kObf, 0, kDataLatch, 0},
};

}  // namespace

const BitTable& status_rules() { return kStatusRules; }
std::span<const AccessRule> access_rules() { return kAccessRules; }

void Registers::side_effects(Face face, bool is_write, uint16_t offset) {
  for (const AccessRule& rule : kAccessRules) {
    if (rule.face != face || rule.is_write != is_write || rule.offset != offset) continue;
    status_ = change_bits(status_, rule.sets, rule.clears);
    latches_ = change_bits(latches_, rule.latches_sets, rule.latches_clears);
  }
}

uint8_t Registers::host_read(uint16_t offset) {
  if (offset > kStatus) return 0xff;
  const uint8_t value = offset == kData ? output_ : status_;
  side_effects(Face::kHost, false, offset);
  return value;
}

void Registers::host_write(uint16_t offset, uint8_t value) {
  if (offset > kCommand) return;
  input_ = value;
  side_effects(Face::kHost, true, offset);
}

uint8_t Registers::bmc_read(uint16_t offset) {
  if (offset > kStatus) return 0xff;
  const uint8_t value = offset == kData ? input_ : status_;
  side_effects(Face::kBmc, false, offset);
  return value;
}

void Registers::bmc_update(uint16_t offset, uint8_t mask, uint8_t value) {
  if (offset == kData) {
    output_ = value;
  } else if (offset == kStatus) {
    const uint8_t before = status_;
    status_ = write_bits(kStatusMasks.bmc, before, value, mask).value;
    if ((status_ & ~before & kSmsAtn) != 0) latches_ |= kAttentionLatch;
    // Nothing is left to tell once the BMC has withdrawn it.
    if ((before & ~status_ & kSmsAtn) != 0) latches_ = static_cast<uint8_t>(latches_ & ~kAttentionLatch);
  }
  side_effects(Face::kBmc, true, offset);
}

}  // namespace bmcpair::hardware::kcs
