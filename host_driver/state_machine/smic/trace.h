// "SMIC: READ_NEXT [ RX BUSY ] ST=c5 TO=2000000 - 4000": state, flags, status code, budget, time credited (both µs).
#pragma once

#include "host_driver/state_machine/smic/state_machine.h"

namespace bmcpair::state_machine::smic {

std::string_view to_string(State state);
std::string trace_line(State state, uint8_t flags, uint8_t status, Duration budget, Duration elapsed);

}  // namespace bmcpair::state_machine::smic
