// BT accesses as text, one line each: "host W ctrl     04 | H2B_ATN B_BUSY irq". For traces that people read.
#pragma once

#include <string>

#include "bmc_emu/hardware/interface.h"

namespace bmcpair::hardware::bt {

std::string describe_flags(uint8_t flags);
std::string describe(const Access& access);

}  // namespace bmcpair::hardware::bt
