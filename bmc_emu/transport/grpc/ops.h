// One message of RegisterBus: checked, then executed against a register port. No streams, no gRPC: what a fuzzer and
// the stream's reactor share.
#pragma once

#include <cstdint>
#include <string>

#include "proto/base/result.h"
#include "proto/registers/register_port.h"

namespace bmcpair::v1 {
class Hello;
class Op;
class Ops;
class Results;
}  // namespace bmcpair::v1

namespace bmcpair::transport {

constexpr uint32_t kProtocolVersion = 1;

struct OpCounts {
  uint64_t executed = 0;
  uint64_t refused = 0;
};

// Errors: kNotSupported (protocol version), kInvalidArgument, kLimit.
Status check_hello(const v1::Hello& hello);

// Executes ops in order and appends a result for each that has an id or failed. An op that is wrong by itself is
// refused alone, with an OpError; the others are executed. Errors end the stream and nothing was executed:
// kInvalidArgument (no ops), kLimit (a bound on the whole message was met).
Status execute_ops(const v1::Ops& ops, registers::RegisterPort& port, v1::Results& results, OpCounts& counts);

}  // namespace bmcpair::transport
