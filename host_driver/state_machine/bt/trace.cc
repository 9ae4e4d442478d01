#include "host_driver/state_machine/bt/trace.h"

namespace bmcpair::state_machine::bt {

std::string_view to_string(State state) {
  switch (state) {
    case State::kIdle: return "IDLE";
    case State::kXactionStart: return "XACTION";
    case State::kWriteBytes: return "WR_BYTES";
    case State::kWriteConsume: return "WR_CONSUME";
    case State::kReadWait: return "RD_WAIT";
    case State::kClearB2h: return "CLEAR_B2H";
    case State::kReadBytes: return "RD_BYTES";
    case State::kReset1: return "RESET1";
    case State::kReset2: return "RESET2";
    case State::kReset3: return "RESET3";
    case State::kRestart: return "RESTART";
    case State::kCapabilitiesBegin: return "CAP_BEGIN";
    case State::kCapabilitiesEnd: return "CAP_END";
    case State::kLongBusy: return "LONG_BUSY";
  }
  return "?";
}

std::string flags(uint8_t control) {
  namespace reg = registers::bt;
  std::string out = "[ ";
  if (control & reg::kBBusy) out += "B_BUSY ";
  if (control & reg::kHBusy) out += "H_BUSY ";
  if (control & reg::kOem0) out += "OEM0 ";
  if (control & reg::kSmsAtn) out += "SMS ";
  if (control & reg::kB2hAtn) out += "B2H ";
  if (control & reg::kH2bAtn) out += "H2B ";
  return out + "]";
}

std::string trace_line(State state, uint8_t control, Duration budget, Duration elapsed) {
  return "BT: " + std::string(to_string(state)) + " " + flags(control) + " TO=" + std::to_string(to_us(budget)) +
         " - " + std::to_string(to_us(elapsed));
}

}  // namespace bmcpair::state_machine::bt
