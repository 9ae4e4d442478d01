// What the preloaded library and the server say to each other: one datagram of a SOCK_SEQPACKET socket a request, one an
// answer, strictly in turn. No code but arithmetic: the library has no C++ runtime.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bmcpair::port_io {

constexpr uint32_t kWireVersion = 1;
constexpr size_t kDataBytesMax = 1024;  // of one request

enum class Operation : uint8_t {
  kHello = 1,  // the first; count is kWireVersion. Answer: kDone, or none and the end of the connection
  kIn = 2,     // count elements of `width` bytes from `port`. Answer: so many bytes
  kOut = 3,    // the same the other way: the bytes follow. Answer: none of its own data
};

struct Request {
  Operation operation = Operation::kHello;
  uint8_t width = 0;
  uint16_t port = 0;
  uint32_t count = 0;
};
static_assert(sizeof(Request) == 8);

constexpr uint32_t kDone = 0x656e6f64;

// Before an answer's data.
struct Answer {
  uint32_t done = kDone;
};

}  // namespace bmcpair::port_io
