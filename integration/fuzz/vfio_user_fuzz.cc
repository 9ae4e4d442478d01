// A vfio-user client of any kind, without sockets: bytes into the stream cutter, every payload decoder, VERSION's JSON,
// and a session in front of an array of registers.
#include <algorithm>
#include <cstring>

#include "proto/vfio_user/message.h"
#include "vfio_bridge/capabilities.h"
#include "vfio_bridge/session.h"

namespace {

using namespace bmcpair;

class ArrayPort : public registers::RegisterPort {
 public:
  explicit ArrayPort(registers::InterfaceKind kind) : kind_(kind) {}
  uint8_t read(uint16_t offset) override { return registers_.at(offset); }
  void write(uint16_t offset, uint8_t value) override { registers_.at(offset) = value; }
  registers::InterfaceKind kind() const override { return kind_; }
  bool has_interrupt() const override { return true; }
  void set_interrupt_handler(InterruptHandler) override {}

 private:
  registers::InterfaceKind kind_;
  std::array<uint8_t, 3> registers_{};
};

void require(bool holds) {
  if (!holds) __builtin_trap();
}

// Whatever comes in, what goes out is whole messages, each a reply.
void check_replies(const Bytes& out) {
  ByteView left(out);
  while (!left.empty()) {
    require(left.size() >= vfio_user::kHeaderBytes);
    auto header = *vfio_user::decode_header(left.first(vfio_user::kHeaderBytes));
    require(header.is_reply() && header.size >= vfio_user::kHeaderBytes && header.size <= left.size());
    require(!header.is_error() || header.size == vfio_user::kHeaderBytes);
    left = left.subspan(header.size);
  }
}

void decode_all(ByteView payload) {
  (void)vfio_user::decode_version(payload);
  (void)vfio_user::decode_dma_map(payload);
  (void)vfio_user::decode_dma_unmap(payload);
  (void)vfio_user::decode_device_info(payload);
  (void)vfio_user::decode_region_info(payload);
  (void)vfio_user::decode_region_info_reply(payload);
  (void)vfio_user::decode_region_io_fds(payload);
  (void)vfio_user::decode_irq_info(payload);
  if (auto set = vfio_user::decode_irq_set(payload)) {
    Bytes again = vfio_user::encode_irq_set(*set);
    require(std::equal(again.begin(), again.end(), payload.begin(), payload.end()));
  }
  (void)vfio_user::decode_region_read(payload);
  (void)vfio_user::decode_region_read_reply(payload);
  (void)vfio_user::decode_region_write(payload);
  (void)vfio_user::decode_region_write_reply(payload);
  if (auto writes = vfio_user::decode_write_multi(payload)) {
    Bytes again = vfio_user::encode_write_multi(*writes);
    require(std::equal(again.begin(), again.end(), payload.begin(), payload.end()));
  }
  (void)vfio_user::decode_write_multi_reply(payload);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  // The first byte chooses the device, the second how the stream is cut.
  vfio_bridge::PciOptions pci;
  pci.kind = static_cast<registers::InterfaceKind>(data[0] % 3);
  pci.bar = data[0] & 0x10 ? vfio_bridge::BarKind::kMemory : vfio_bridge::BarKind::kIo;
  pci.spacing = data[0] & 0x20 ? 16 : data[0] & 0x40 ? 4 : 1;
  pci.intx = !(data[0] & 0x80);
  const size_t step = data[1] == 0 ? size : data[1];
  ByteView input(data + 2, size - 2);

  decode_all(input);
  if (auto version = vfio_user::decode_version(input)) (void)vfio_bridge::negotiate(*version);

  vfio_bridge::PciDevice device(pci);
  ArrayPort port(pci.kind);
  vfio_bridge::Intx intx;
  vfio_bridge::Counters counters;
  vfio_bridge::Agreement agreement;
  agreement.write_multiple = true;
  agreement.dma_maps_max = 16;
  vfio_bridge::Session session(device, port, intx, counters, agreement, {});
  vfio_user::MessageBuffer buffer(vfio_bridge::kMessageBytesMax);
  for (size_t at = 0; at < input.size(); at += step) {
    const size_t n = std::min(step, input.size() - at);
    std::memcpy(buffer.space(n), input.data() + at, n);
    buffer.commit(n);
    (void)buffer.descriptor_owner();
    Bytes out;
    bool broken = false;
    for (;;) {
      auto message = buffer.next();
      if (!message) broken = true;
      if (!message || !*message) break;
      session.handle(**message, {}, out);
    }
    session.flush(out);
    check_replies(out);
    intx.set_level(out.size() & 1);
    if (broken) break;
  }
  return 0;
}
