#include "host_driver/state_machine/smic/trace.h"

namespace bmcpair::state_machine::smic {

std::string_view to_string(State state) {
  switch (state) {
    case State::kIdle: return "IDLE";
    case State::kStartOp: return "START_OP";
    case State::kOpOk: return "OP_OK";
    case State::kWriteStart: return "WRITE_START";
    case State::kWriteNext: return "WRITE_NEXT";
    case State::kWriteEnd: return "WRITE_END";
    case State::kWriteToRead: return "WRITE2READ";
    case State::kReadStart: return "READ_START";
    case State::kReadNext: return "READ_NEXT";
    case State::kReadEnd: return "READ_END";
    case State::kHosed: return "HOSED";
  }
  return "?";
}

std::string trace_line(State state, uint8_t flags, uint8_t status, Duration budget, Duration elapsed) {
  namespace reg = registers::smic;
  std::string out = "SMIC: " + std::string(to_string(state)) + " [ ";
  if (flags & reg::kRxDataReady) out += "RX ";
  if (flags & reg::kTxDataReady) out += "TX ";
  if (flags & reg::kSmi) out += "SMI ";
  if (flags & reg::kEvtAtn) out += "EVT ";
  if (flags & reg::kSmsAtn) out += "SMS ";
  if (flags & reg::kBusy) out += "BUSY ";
  out += "] ST=" + to_hex(std::span(&status, 1));
  return out + " TO=" + std::to_string(to_us(budget)) + " - " + std::to_string(to_us(elapsed));
}

}  // namespace bmcpair::state_machine::smic
