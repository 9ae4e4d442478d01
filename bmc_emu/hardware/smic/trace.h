// SMIC accesses as text, one line each: "host W control  41 | BUSY irq". For traces that people read.
#pragma once

#include <string>

#include "bmc_emu/hardware/interface.h"

namespace bmcpair::hardware::smic {

std::string describe_flags(uint8_t flags);
std::string describe(const Access& access);

}  // namespace bmcpair::hardware::smic
