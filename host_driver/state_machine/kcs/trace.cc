#include "host_driver/state_machine/kcs/trace.h"

namespace bmcpair::state_machine::kcs {

std::string_view to_string(State state) {
  switch (state) {
    case State::kIdle: return "IDLE";
    case State::kStartOp: return "START_OP";
    case State::kWaitWriteStart: return "WAIT_WRITE_START";
    case State::kWaitWrite: return "WAIT_WRITE";
    case State::kWaitWriteEnd: return "WAIT_WRITE_END";
    case State::kWaitRead: return "WAIT_READ";
    case State::kError0: return "ERROR0";
    case State::kError1: return "ERROR1";
    case State::kError2: return "ERROR2";
    case State::kError3: return "ERROR3";
    case State::kHosed: return "HOSED";
  }
  return "?";
}

std::string trace_line(State state, uint8_t status, Duration budget, Duration elapsed) {
  namespace reg = registers::kcs;
  static constexpr std::string_view kStates[] = {"IDLE", "READ", "WRITE", "ERROR"};
  std::string out = "KCS: ";
  out += to_string(state);
  out += " [ ";
  out += kStates[status >> reg::kStateShift];
  out += ' ';
  if (status & reg::kSmsAtn) out += "SMS_ATN ";
  if (status & reg::kIbf) out += "IBF ";
  if (status & reg::kObf) out += "OBF ";
  out += "] TO=" + std::to_string(to_us(budget)) + " - " + std::to_string(to_us(elapsed));
  return out;
}

}  // namespace bmcpair::state_machine::kcs
