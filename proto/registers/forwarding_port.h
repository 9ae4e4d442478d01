// A register port in front of another: what a port that adds something to one, or shares it, derives from.
#pragma once

#include <memory>
#include <span>
#include <utility>

#include "proto/registers/register_port.h"

namespace bmcpair::registers {

class ForwardingPort : public RegisterPort {
 public:
  uint8_t read(uint16_t offset) override { return port_->read(offset); }
  void write(uint16_t offset, uint8_t value) override { port_->write(offset, value); }
  void read_burst(uint16_t offset, std::span<uint8_t> out) override { port_->read_burst(offset, out); }
  void write_burst(uint16_t offset, std::span<const uint8_t> in) override { port_->write_burst(offset, in); }
  size_t read_counted(uint16_t offset, std::span<uint8_t> out) override { return port_->read_counted(offset, out); }
  InterfaceKind kind() const override { return port_->kind(); }
  bool has_interrupt() const override { return port_->has_interrupt(); }
  void set_interrupt_handler(InterruptHandler handler) override { port_->set_interrupt_handler(std::move(handler)); }
  LinkState link() const override { return port_->link(); }
  bool is_up(uint64_t generation) const override { return port_->is_up(generation); }
  void set_link_handler(LinkHandler handler) override { port_->set_link_handler(std::move(handler)); }
  uint64_t endpoint() const override { return port_->endpoint(); }

 protected:
  // port: not null; its own, or shared with who outlives this.
  explicit ForwardingPort(std::shared_ptr<RegisterPort> port) : port_(std::move(port)) {}
  // For who has something to do once it is gone.
  void let_port_go() { port_.reset(); }

 private:
  std::shared_ptr<RegisterPort> port_;
};

}  // namespace bmcpair::registers
