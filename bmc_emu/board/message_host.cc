// A host that brings whole messages.
#include <algorithm>
#include <utility>

#include "bmc_emu/board/slot.h"

namespace bmcpair::board {
namespace {

// A run on a host's own thread that took longer (the disk) leaves so many more to the workers.
constexpr Duration kLongRun = std::chrono::microseconds(500);
constexpr unsigned kLeftToWorkers = 64;

class MessageEnd : public MessagePort {
 public:
  MessageEnd(Reference<Slot> slot, Reference<Endpoint> endpoint)
      : slot_(std::move(slot)), endpoint_(std::move(endpoint)) {}
  ~MessageEnd() override { let_go(*slot_, *endpoint_); }

  uint64_t endpoint() const override { return endpoint_->id(); }

  void set_signal_handler(SignalHandler handler) override {
    slot_->host_is_quiet(
        *endpoint_, [&] { endpoint_->on_signal = std::move(handler); },
        [&](bool) { endpoint_->wants_signals = true; });
    tell(*slot_, *endpoint_);
  }

  void submit(uint32_t tag, Bytes message) override { take(tag, std::move(message), false); }

  void submit_and_run(uint32_t tag, Bytes message) override {
    if (left_to_workers_ > 0) {
      --left_to_workers_;
      return take(tag, std::move(message), false);
    }
    Instant begin = slot_->hooks->now();
    take(tag, std::move(message), true);
    if (slot_->hooks->now() - begin > kLongRun) left_to_workers_ = kLeftToWorkers;
  }

  void host_was_reset() override {
    act([](Slot& slot, Instant) { slot.add_pending({Pending::What::kHostReset, {}, slot.face, {}}); });
  }
  void host_is_running() override {
    act([](Slot& slot, Instant) { slot.add_pending({Pending::What::kHostRunning, {}, slot.face, {}}); });
  }

 private:
  void take(uint32_t tag, Bytes message, bool here) {
    act([&](Slot& slot, Instant now) {
      auto taken = slot.face->take(tag, std::move(message), now);
      if (!taken) return;
      // What was still on its way to an older request is stale now; what was to follow it is not.
      auto& outbox = endpoint_->outbox;
      auto stale = [](const HostSignal& s) { return s.kind == HostSignal::Kind::kResponse; };
      outbox.erase(std::remove_if(outbox.begin(), outbox.end(), stale), outbox.end());
      slot.release_after_reply();
      slot.add_pending({Pending::What::kRequest, std::move(*taken), slot.face, {}});
    }, here);
  }

  template <class F>
  void act(F f, bool here = false) {
    Waker waker(*slot_->hooks);
    {
      Slot::LockGuard lock(slot_->mutex());
      if (!endpoint_->up() || !slot_->face) return;
      Instant now = slot_->at(slot_->hooks->now());
      f(*slot_, now);
      if (slot_->publish(now)) waker.ask();
    }
    waker.run(here);
  }

  Reference<Slot> slot_;
  Reference<Endpoint> endpoint_;
  unsigned left_to_workers_ = 0;  // of the host's thread, as submitting is
};

}  // namespace

std::unique_ptr<MessagePort> make_message_port(Reference<Slot> slot, Reference<Endpoint> endpoint) {
  return std::make_unique<MessageEnd>(std::move(slot), std::move(endpoint));
}

}  // namespace bmcpair::board
