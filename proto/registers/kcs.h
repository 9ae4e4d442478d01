// KCS registers (IPMI 2.0 rev 1.1, ch. 9).
#pragma once

#include <cstdint>

namespace bmcpair::registers::kcs {

// Register indices. Data: reads Data_Out (clears OBF), writes Data_In (sets IBF, C/D = 0).
// Status: reads the status byte, writes the command register (sets IBF, C/D = 1). (§9.4)
constexpr uint16_t kData = 0;
constexpr uint16_t kStatus = 1;
constexpr uint16_t kCommand = 1;

// Status bits (§9.5, table 9-1).
constexpr uint8_t kObf = 0x01;
constexpr uint8_t kIbf = 0x02;
constexpr uint8_t kSmsAtn = 0x04;
constexpr uint8_t kCd = 0x08;
constexpr uint8_t kOem1 = 0x10;
constexpr uint8_t kOem2 = 0x20;
constexpr uint8_t kStateMask = 0xc0;
constexpr unsigned kStateShift = 6;

// Interface states (§9.7, table 9-2).
enum class State : uint8_t { kIdle = 0, kRead = 1, kWrite = 2, kError = 3 };
constexpr State state_of(uint8_t status) { return static_cast<State>(status >> kStateShift); }

// Control codes (§9.10, table 9-3).
constexpr uint8_t kGetStatusAbort = 0x60;
constexpr uint8_t kWriteStart = 0x61;
constexpr uint8_t kWriteEnd = 0x62;
constexpr uint8_t kRead = 0x68;  // written to Data_In

// Interface status codes, read out through GET_STATUS/ABORT (§9.12, table 9-4).
enum class ErrorStatus : uint8_t {
  kNone = 0x00,
  kAborted = 0x01,
  kIllegalControlCode = 0x02,
  kLength = 0x06,
  kUnspecified = 0xff,
};

}  // namespace bmcpair::registers::kcs
