// A host at an interface's registers.
#include <algorithm>
#include <utility>

#include "bmc_emu/board/slot.h"

namespace bmcpair::board {
namespace {

// A host's hold on an interface. Keeps slot and endpoint alive by itself; the board may go first.
class Port : public registers::RegisterPort {
 public:
  Port(Reference<Slot> slot, Reference<Endpoint> endpoint)
      : slot_(std::move(slot)), endpoint_(std::move(endpoint)) {}

  ~Port() override { let_go(*slot_, *endpoint_); }

  uint8_t read(uint16_t offset) override {
    uint8_t value = 0xff;
    access([&](Slot& slot, Instant now) {
      ++slot.statistics.host_reads;
      value = slot.hardware->host_read(offset, now);
    }, 1);
    return value;
  }

  void write(uint16_t offset, uint8_t value) override {
    access([&](Slot& slot, Instant now) {
      ++slot.statistics.host_writes;
      slot.hardware->host_write(offset, value, now);
    }, 1);
  }

  void read_burst(uint16_t offset, std::span<uint8_t> out) override {
    std::fill(out.begin(), out.end(), static_cast<uint8_t>(0xff));
    size_t i = 0;
    access([&](Slot& slot, Instant now) {
      ++slot.statistics.host_reads;
      out[i++] = slot.hardware->host_read(offset, now);
    }, out.size());
  }

  void write_burst(uint16_t offset, std::span<const uint8_t> in) override {
    size_t i = 0;
    access([&](Slot& slot, Instant now) {
      ++slot.statistics.host_writes;
      slot.hardware->host_write(offset, in[i++], now);
    }, in.size());
  }

  registers::InterfaceKind kind() const override { return slot_->config.kind; }
  bool has_interrupt() const override { return slot_->config.interrupt; }
  uint64_t endpoint() const override { return endpoint_->id(); }

  void set_interrupt_handler(InterruptHandler handler) override {
    const bool wanted = handler && slot_->config.interrupt;
    Waker waker(*slot_->hooks);
    slot_->host_is_quiet(
        *endpoint_,
        [&] {
          endpoint_->on_interrupt = wanted ? std::move(handler) : nullptr;
          endpoint_->told_level = false;
        },
        [&](bool turned_away) {
          endpoint_->wants_interrupt = wanted;
          if (!endpoint_->up()) return;
          // An interrupt that was already pending is told too.
          slot_->deliver = (wanted && slot_->line) || turned_away;
          if (slot_->publish(slot_->last)) waker.ask();
        });
    waker.run();
  }

  registers::LinkState link() const override {
    Slot::LockGuard lock(slot_->mutex());
    return {endpoint_->up(), 1, endpoint_->reason()};
  }

  void set_link_handler(LinkHandler handler) override {
    Waker waker(*slot_->hooks);
    bool down = false;
    slot_->host_is_quiet(
        *endpoint_, [&] { endpoint_->on_link = std::move(handler); },
        [&](bool turned_away) {
          down = !endpoint_->up();
          if (down || !turned_away) return;
          slot_->deliver = true;
          if (slot_->publish(slot_->last)) waker.ask();
        });
    waker.run();
    if (down) tell(*slot_, *endpoint_);
  }

 private:
  // `one` is done n times, each a step of its own at the device, under one hold of the lock.
  template <class One>
  void access(One one, size_t n) {
    Waker waker(*slot_->hooks);
    std::vector<BoardEvent> fired;
    {
      Slot::LockGuard lock(slot_->mutex());
      if (!endpoint_->up()) return;
      Instant now = slot_->hooks->now();
      for (size_t i = 0; i < n; ++i) {
        slot_->advance(now);
        one(*slot_, slot_->at(now));
        slot_->note_line();
      }
      if (slot_->hardware->take_hardware_reset_request() && slot_->config.hardware_reset) {
        slot_->wants_hardware_reset = true;
      }
      if (slot_->publish(now)) waker.ask();
      slot_->take_fired(fired);
    }
    waker.run();
    slot_->hooks->events.send(std::move(fired));
  }

  Reference<Slot> slot_;
  Reference<Endpoint> endpoint_;
};

}  // namespace

std::unique_ptr<registers::RegisterPort> make_register_port(Reference<Slot> slot, Reference<Endpoint> endpoint) {
  return std::make_unique<Port>(std::move(slot), std::move(endpoint));
}

}  // namespace bmcpair::board
