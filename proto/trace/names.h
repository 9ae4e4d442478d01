// What registers, flags and commands are called, for traces that people read.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "proto/base/hex.h"
#include "proto/registers/register_port.h"
#include "proto/trace/trace.h"

namespace bmcpair::trace {

struct FlagName {
  uint8_t bit;
  std::string_view name;
};

// The single bits of the flags register, highest first; KCS's two state bits are not among them.
std::span<const FlagName> flag_names(registers::InterfaceKind kind);
// "H2B_ATN B_BUSY", "WRITE IBF C/D"; "-" where nothing is set.
std::string flags_text(registers::InterfaceKind kind, uint8_t flags);
// IDLE, READ, WRITE, ERROR.
std::string_view kcs_state_name(uint8_t status);
// The index of the flags register: KCS status, BT_CTRL, SMIC flags.
uint16_t flags_offset(registers::InterfaceKind kind);
// "CTRL", "DATA_IN", "COMMAND"; a number where there is no such register.
std::string register_name(registers::InterfaceKind kind, const Access& access);
// A FIFO that holds a message: consecutive accesses to it are one transfer.
bool is_buffer(registers::InterfaceKind kind, uint16_t offset);

// What a write to the register, or the byte read from it, says: flag names for BT_CTRL, KCS control codes; empty otherwise.
std::string value_text(registers::InterfaceKind kind, const Access& access);

// "Get Device ID" (IPMI 2.0 appendix G); "NetFn 30 Cmd 01" for what has no name. netfn may be odd.
std::string command_name(uint8_t netfn, uint8_t cmd);
// Of a whole message: "Get Device ID", "Get Device ID -> 00".
std::string message_name(const Message& message);

}  // namespace bmcpair::trace
