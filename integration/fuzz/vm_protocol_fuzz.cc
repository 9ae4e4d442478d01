// A host of any kind on a VM socket, without the socket: bytes into the decoder in any pieces, what is whole into the
// message face and a firmware, and every answer back through the other end's decoder.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <vector>

#include "bmc_emu/firmware/bmc.h"
#include "bmc_emu/hardware/message_face.h"
#include "proto/ipmi/message.h"
#include "proto/vm_protocol/frame.h"

namespace {

using namespace bmcpair;
using vm_protocol::Decoder;
using vm_protocol::Frame;

void require(bool holds) {
  if (!holds) std::abort();
}

std::unique_ptr<firmware::Bmc> make_bmc() {
  firmware::BmcConfig config;
  config.frus.push_back({});
  config.i2c_devices.push_back({});
  auto bmc = firmware::Bmc::create(std::move(config), std::make_shared<firmware::MemoryStore>(), nullptr, Instant{});
  require(bmc.ok());
  return std::move(*bmc);
}

std::vector<Frame> decode(ByteView in, size_t piece) {
  Decoder decoder(vm_protocol::kRequestBodyBytesMin);
  std::vector<Frame> out;
  while (!in.empty()) {
    ByteView some = in.first(std::min(piece, in.size()));
    in = in.subspan(some.size());
    while (auto frame = decoder.next(some)) out.push_back(std::move(*frame));
    require(some.empty());
  }
  return out;
}

void answer(const Frame& frame) {
  static std::unique_ptr<firmware::Bmc> bmc = make_bmc();
  static hardware::MessageFace face({}, 1, {vm_protocol::kHostMessageBytesMax, vm_protocol::kHostMessageBytesMax});
  static Instant now{};
  now += std::chrono::milliseconds(1);
  auto taken = face.take(frame.sequence, frame.data, now);
  require(taken.has_value());
  auto request = ipmi::decode_request(taken->message);
  require(request.has_value());
  firmware::RequestContext context;
  context.request_bytes_max = face.limits().request_bytes_max;
  context.response_bytes_max = face.limits().response_bytes_max;
  Bytes response = ipmi::encode(*request, bmc->execute(*request, context, now));
  require(face.respond(taken->token, response, now));
  auto reply = face.step(now + std::chrono::seconds(1));
  require(reply && reply->tag == frame.sequence && reply->message.size() <= vm_protocol::kHostMessageBytesMax);
  Decoder host(vm_protocol::kResponseBodyBytesMin);
  Bytes wire = vm_protocol::encode_message(frame.sequence, reply->message);
  ByteView bytes(wire);
  auto back = host.next(bytes);
  require(back && bytes.empty() && back->kind == Frame::Kind::kMessage && back->sequence == frame.sequence &&
          back->data == reply->message);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  ByteView wire(data + 1, size - 1);
  std::vector<Frame> frames = decode(wire, wire.size() + 1);
  require(decode(wire, data[0] + 1u) == frames);
  for (const Frame& frame : frames) {
    require(frame.data.size() <= vm_protocol::kBodyBytesMax);
    switch (frame.kind) {
      case Frame::Kind::kMessage:
        require(decode(vm_protocol::encode_message(frame.sequence, frame.data), 1) == std::vector<Frame>{frame});
        answer(frame);
        break;
      case Frame::Kind::kControl: require(frame.fault == Frame::Fault::kNone); break;
      case Frame::Kind::kBad: require(frame.fault != Frame::Fault::kNone && frame.data.empty()); break;
    }
  }
  return 0;
}
