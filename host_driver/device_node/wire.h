// What the preloaded library and the server say to each other, on a SOCK_SEQPACKET unix socket; codec only. No allocation,
// no exception and no C++ runtime: the library uses it. Integers are little-endian.
//
//   library                                       server
//   connects; Hello                          ->
//                                            <-   HelloReply: 0 and the connection is an open file; or an errno, and the end
//   Request, with descriptors: one end of a
//   socket pair, and for kReceive this very
//   connection's end too                     ->
//                                            <-   Reply, on the pair
//   after a kReceive that was answered 0:
//   Verdict, on the pair                     ->
//                                            <-   Reply without more, on the pair: done
//                                            <-   on the connection: one packet of one byte whenever messages begin to wait
//
// The connection itself carries nothing else to the library, so its being readable means what it means on Linux: a message
// waits. The server takes the byte away itself when none waits any more, through the end that comes with kReceive: so
// neither a second reader nor one that is killed can leave it wrong. Who shares a descriptor (threads, forks, whoever it was
// passed to) never shares a pair, so answers cannot be mixed up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "host_driver/device_node/abi.h"

namespace bmcpair::device_node {

// Changed whenever either side would misread the other. Hello and HelloReply stay as they are for ever, but may grow.
constexpr uint16_t kProtocolVersion = 1;
constexpr size_t kPacketMax = 512;
constexpr size_t kTextMax = 400;

struct Hello {
  uint16_t version = kProtocolVersion;
  uint16_t device = 0;
  bool operator==(const Hello&) const = default;
};

struct HelloReply {
  uint16_t version = kProtocolVersion;
  uint16_t error = 0;  // 0 or an errno
  uint16_t text_size = 0;
  char text[kTextMax] = {};  // why, for the program's user

  void set_text(const char* s, size_t size);
};

enum class Operation : uint8_t {
  kReceive = 1,
  kSend = 2,
  kRegister = 3,  // netfn, cmd, channels
  kUnregister = 4,
  kSetGetsEvents = 5,       // value
  kSetMyAddress = 6,        // channel, value
  kGetMyAddress = 7,        // channel
  kSetMyLun = 8,            // channel, value
  kGetMyLun = 9,            // channel
  kSetTiming = 10,          // retries, retry_time_ms
  kGetTiming = 11,
  kSetMaintenanceMode = 12,  // value
  kGetMaintenanceMode = 13,
};
constexpr Operation kOperationLast = Operation::kGetMaintenanceMode;

// What is wrong with a request's data is said only after its address has been looked at, as Linux does.
enum class DataState : uint8_t { kGood = 0, kTooLong = 1, kFault = 2 };

struct Request {
  Operation operation = Operation::kReceive;
  uint8_t netfn = 0;
  uint8_t cmd = 0;
  DataState data_state = DataState::kGood;
  bool timed = false;  // kSend: with retries and retry_time_ms instead of the file's
  uint16_t channel = 0;
  uint32_t value = 0;
  uint32_t channels = 0;
  int32_t retries = 0;
  uint32_t retry_time_ms = 0;
  int64_t msgid = 0;
  uint16_t address_size = 0;
  uint16_t data_size = 0;
  uint8_t address[kAddressMax] = {};
  uint8_t data[kMessageDataMax] = {};
};

struct Reply {
  uint16_t error = 0;  // 0 or an errno
  uint8_t recv_type = 0;
  uint8_t netfn = 0;
  uint8_t cmd = 0;
  uint32_t value = 0;  // of the get operations
  int32_t retries = 0;
  uint32_t retry_time_ms = 0;
  int64_t msgid = 0;
  uint16_t address_size = 0;
  uint16_t data_size = 0;
  uint8_t address[kAddressMax] = {};
  uint8_t data[kMessageDataMax] = {};
};

enum class Verdict : uint8_t {
  kTaken = 1,  // the program has the message
  kLeft = 2,   // it stays where it was, at the head
};

// The size of the packet. `out` has kPacketMax bytes; counts beyond their bounds are cut to them.
size_t encode(const Hello& hello, std::span<uint8_t, kPacketMax> out);
size_t encode(const HelloReply& reply, std::span<uint8_t, kPacketMax> out);
size_t encode(const Request& request, std::span<uint8_t, kPacketMax> out);
size_t encode(const Reply& reply, std::span<uint8_t, kPacketMax> out);
size_t encode(Verdict verdict, std::span<uint8_t, kPacketMax> out);

// False: not such a packet.
bool decode(std::span<const uint8_t> packet, Hello& hello);
bool decode(std::span<const uint8_t> packet, HelloReply& reply);
bool decode(std::span<const uint8_t> packet, Request& request);
bool decode(std::span<const uint8_t> packet, Reply& reply);
bool decode(std::span<const uint8_t> packet, Verdict& verdict);

}  // namespace bmcpair::device_node
