// "KCS: WAIT_READ [ READ OBF ] TO=5000000 - 4000": state, status, budget that counts in it, time credited (both µs).
#pragma once

#include "host_driver/state_machine/kcs/state_machine.h"

namespace bmcpair::state_machine::kcs {

std::string_view to_string(State state);
std::string trace_line(State state, uint8_t status, Duration budget, Duration elapsed);

}  // namespace bmcpair::state_machine::kcs
