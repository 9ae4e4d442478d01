// What programs and the device node's server say to each other: any packet is taken apart or refused, and what was taken apart
// says the same when it is put together again. The server's peers are other people's processes, the library's a socket that
// somebody named.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "host_driver/device_node/wire.h"

namespace {

using namespace bmcpair::device_node;

// A packet of `message`, decoded again, gives the same packet.
template <class Message>
void same_again(const Message& message) {
  uint8_t first[kPacketMax], second[kPacketMax];
  const size_t size = encode(message, first);
  Message again{};
  if (size > kPacketMax || !decode({first, size}, again) || encode(again, second) != size || std::memcmp(first, second, size) != 0) {
    std::abort();
  }
}

template <class Message>
bool take(std::span<const uint8_t> packet) {
  Message message{};
  if (!decode(packet, message)) return false;
  if constexpr (requires { message.address_size; }) {
    if (message.address_size > kAddressMax || message.data_size > kMessageDataMax) std::abort();
  }
  if constexpr (requires { message.text_size; }) {
    if (message.text_size > kTextMax) std::abort();
  }
  if constexpr (requires { message.operation; }) {
    if (message.operation < Operation::kReceive || message.operation > kOperationLast) std::abort();
  }
  same_again(message);
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // One that is exactly as long as it says: what is behind it belongs to nobody.
  const std::span<const uint8_t> packet(data, size);
  take<Hello>(packet);
  take<HelloReply>(packet);
  take<Request>(packet);
  take<Reply>(packet);
  take<Verdict>(packet);
  return 0;
}
