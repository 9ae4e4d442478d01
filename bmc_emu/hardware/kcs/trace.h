// KCS accesses as text, one line each: "bmc  W status   80 | WRITE IBF OBF C/D irq". For traces that people read.
#pragma once

#include <string>

#include "bmc_emu/hardware/interface.h"

namespace bmcpair::hardware::kcs {

std::string describe_flags(uint8_t status);
std::string describe(const Access& access);

}  // namespace bmcpair::hardware::kcs
