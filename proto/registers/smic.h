// SMIC registers (IPMI 2.0 rev 1.1, ch. 10).
#pragma once

#include <cstdint>

namespace bmcpair::registers::smic {

constexpr uint16_t kData = 0;
constexpr uint16_t kControl = 1;  // host writes control codes
constexpr uint16_t kStatus = 1;   // host reads status codes
constexpr uint16_t kFlags = 2;

// Flags register (§10.5, table 10-2).
constexpr uint8_t kBusy = 0x01;  // host sets, BMC clears
constexpr uint8_t kSmsAtn = 0x04;
constexpr uint8_t kEvtAtn = 0x08;
constexpr uint8_t kSmi = 0x10;
constexpr uint8_t kTxDataReady = 0x40;
constexpr uint8_t kRxDataReady = 0x80;

// Control codes; the status code that answers each is control | 0x80 (§10.7, table 10-3).
constexpr uint8_t kGetStatus = 0x40;
constexpr uint8_t kWriteStart = 0x41;
constexpr uint8_t kWriteNext = 0x42;
constexpr uint8_t kWriteEnd = 0x43;
constexpr uint8_t kReadStart = 0x44;
constexpr uint8_t kReadNext = 0x45;
constexpr uint8_t kReadEnd = 0x46;
constexpr uint8_t kStatusBit = 0x80;
constexpr uint8_t kReady = 0xc0;

// Error codes left in the data register (§10.9).
enum class ErrorCode : uint8_t {
  kOk = 0x00,
  kAborted = 0x01,
  kIllegalControl = 0x02,
  kNoResponse = 0x03,
  kIllegalCommand = 0x04,
  kBufferFull = 0x05,
};

constexpr unsigned kMessageBytesMax = 80;

}  // namespace bmcpair::registers::smic
