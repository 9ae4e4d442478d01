// BT registers (IPMI 2.0 rev 1.1, ch. 11).
#pragma once

#include <cstdint>

namespace bmcpair::registers::bt {

constexpr uint16_t kCtrl = 0;
constexpr uint16_t kBuffer = 1;  // host reads BMC2HOST, writes HOST2BMC
constexpr uint16_t kIntMask = 2;

// BT_CTRL (§11.6.1, table 11-2). A 0 bit written never changes anything.
constexpr uint8_t kClrWrPtr = 0x01;  // reads 0; rewinds the writer's own write pointer
constexpr uint8_t kClrRdPtr = 0x02;  // reads 0; rewinds the writer's own read pointer
constexpr uint8_t kH2bAtn = 0x04;    // host sets, BMC clears
constexpr uint8_t kB2hAtn = 0x08;    // BMC sets, host clears
constexpr uint8_t kSmsAtn = 0x10;    // BMC sets, host clears
constexpr uint8_t kOem0 = 0x20;
constexpr uint8_t kHBusy = 0x40;  // host toggles
constexpr uint8_t kBBusy = 0x80;  // BMC toggles

// INTMASK (§11.6.3, table 11-4).
constexpr uint8_t kB2hIrqEnable = 0x01;  // plain read/write
constexpr uint8_t kB2hIrq = 0x02;        // pending; write 1 to clear
constexpr uint8_t kBmcHwRst = 0x80;      // write 1 asks for a BMC hardware reset (optional)

// A frame: Length, NetFn/LUN, Seq, Cmd (, CC), data. Length counts the bytes after it (§11.3, §11.4).
constexpr unsigned kFrameBytesMax = 256;

}  // namespace bmcpair::registers::bt
