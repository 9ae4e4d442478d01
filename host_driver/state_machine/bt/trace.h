// "BT: WR_CONSUME [ H2B ] TO=5000000 - 4000": state, CTRL, budget before this step, time credited (both µs).
#pragma once

#include "host_driver/state_machine/bt/state_machine.h"

namespace bmcpair::state_machine::bt {

std::string_view to_string(State state);
std::string flags(uint8_t control);
std::string trace_line(State state, uint8_t control, Duration budget, Duration elapsed);

}  // namespace bmcpair::state_machine::bt
