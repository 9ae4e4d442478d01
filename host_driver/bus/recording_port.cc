#include "host_driver/bus/recording_port.h"

#include <utility>

#include "proto/registers/forwarding_port.h"
#include "proto/trace/names.h"

namespace bmcpair::bus {
namespace {

class RecordingPort final : public registers::ForwardingPort {
 public:
  RecordingPort(std::unique_ptr<registers::RegisterPort> port, std::shared_ptr<PortListener> listener)
      : ForwardingPort(std::move(port)), listener_(std::move(listener)), flags_offset_(trace::flags_offset(kind())) {}
  // Its handlers end before what they tell.
  ~RecordingPort() override { let_port_go(); }

  uint8_t read(uint16_t offset) override {
    const uint8_t value = ForwardingPort::read(offset);
    tell(false, offset, value);
    return value;
  }
  void write(uint16_t offset, uint8_t value) override {
    tell(true, offset, value);
    ForwardingPort::write(offset, value);
  }
  void read_burst(uint16_t offset, std::span<uint8_t> out) override {
    ForwardingPort::read_burst(offset, out);
    for (uint8_t value : out) tell(false, offset, value);
  }
  void write_burst(uint16_t offset, std::span<const uint8_t> in) override {
    for (uint8_t value : in) tell(true, offset, value);
    ForwardingPort::write_burst(offset, in);
  }
  size_t read_counted(uint16_t offset, std::span<uint8_t> out) override {
    const size_t n = ForwardingPort::read_counted(offset, out);
    for (uint8_t value : out.first(n)) tell(false, offset, value);
    return n;
  }
  void set_interrupt_handler(InterruptHandler handler) override {
    if (!handler) return ForwardingPort::set_interrupt_handler({});
    ForwardingPort::set_interrupt_handler([listener = listener_, handler = std::move(handler)](bool level) {
      listener->on_interrupt(level);
      handler(level);
    });
  }
  void set_link_handler(LinkHandler handler) override {
    if (!handler) return ForwardingPort::set_link_handler({});
    ForwardingPort::set_link_handler([listener = listener_, handler = std::move(handler)](const registers::LinkState& state) {
      listener->on_link(state);
      handler(state);
    });
  }

 private:
  void tell(bool is_write, uint16_t offset, uint8_t value) {
    trace::Access access;
    access.is_write = is_write;
    access.offset = offset;
    access.value = value;
    if (!is_write && offset == flags_offset_) access.flags_after = value;
    listener_->on_access(access);
  }

  const std::shared_ptr<PortListener> listener_;
  const uint16_t flags_offset_;
};

}  // namespace

std::unique_ptr<registers::RegisterPort> recording_port(std::unique_ptr<registers::RegisterPort> port,
                                                        std::shared_ptr<PortListener> listener) {
  return std::make_unique<RecordingPort>(std::move(port), std::move(listener));
}

}  // namespace bmcpair::bus
