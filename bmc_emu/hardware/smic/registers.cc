#include "bmc_emu/hardware/smic/registers.h"

namespace bmcpair::hardware::smic {
namespace {

using namespace registers::smic;
using enum WriteRule;

// §10.5, table 10-2. The host may write back the flags that it has read: only BUSY is its own.
constexpr BitTable kFlagsRules{{
    {kBusy, "BUSY", kSetByOne, kClearByZero},
    {0x02, "reserved", kIgnored, kIgnored},
    {kSmsAtn, "SMS_ATN", kIgnored, kAssign},
    {kEvtAtn, "EVT_ATN", kIgnored, kAssign},
    {kSmi, "SMI", kIgnored, kAssign},
    {0x20, "reserved", kIgnored, kIgnored},
    {kTxDataReady, "TX_DATA_RDY", kIgnored, kAssign},
    {kRxDataReady, "RX_DATA_RDY", kIgnored, kAssign},
}};
constexpr Rules kFlagsMasks(kFlagsRules);

}  // namespace

const BitTable& flags_rules() { return kFlagsRules; }

uint8_t Registers::host_read(uint16_t offset) {
  switch (offset) {
    case kData: return data_;
    case kStatus: return status_;
    case kFlags: interrupt_ = false; return flags_;
    default: return 0xff;
  }
}

void Registers::host_write(uint16_t offset, uint8_t value) {
  switch (offset) {
    case kData: data_ = value; return;
    case kControl: control_ = value; return;
    case kFlags: flags_ = write_bits(kFlagsMasks.host, flags_, value).value; return;
    default: return;
  }
}

uint8_t Registers::bmc_read(uint16_t offset) {
  switch (offset) {
    case kData: return data_;
    case kControl: return control_;
    case kFlags: return flags_;
    default: return 0xff;
  }
}

void Registers::bmc_update(uint16_t offset, uint8_t mask, uint8_t value) {
  switch (offset) {
    case kData: data_ = value; return;
    case kStatus: status_ = value; return;
    case kFlags: {
      const uint8_t before = flags_;
      flags_ = write_bits(kFlagsMasks.bmc, before, value, mask).value;
      const bool rises = (flags_ & ~before & (kRxDataReady | kSmsAtn)) != 0;
      const bool done = (before & ~flags_ & kBusy) != 0;
      if (rises || done) interrupt_ = true;
      return;
    }
    default: return;
  }
}

}  // namespace bmcpair::hardware::smic
