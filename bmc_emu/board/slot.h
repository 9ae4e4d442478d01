// One interface of a board as its hosts and its firmware share it: registers or messages, whoever is attached, and what waits for
// the firmware. Used by board.cc and by the two kinds of port only.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bmc_emu/board/attachment.h"
#include "bmc_emu/board/board.h"
#include "bmc_emu/board/event_queue.h"
#include "bmc_emu/board/interface_faults.h"
#include "bmc_emu/board/std_sync.h"

namespace bmcpair::board {

constexpr size_t kSignalsMax = 256;  // on their way to one host

constexpr int64_t rep(Instant t) { return t.time_since_epoch().count(); }
constexpr Instant instant(int64_t r) { return Instant(Duration(r)); }

// What the board was given, kept alive by every port: a port may outlive its board.
struct Hooks {
  Board::NowFunction now;
  Board::WakeFunction wake;
  std::function<void()> run_here;  // does what is due on the caller's thread, and wakes for the rest
  std::atomic<int> calls_out{0};   // wakes and runs in progress; counted up only under the lock of a slot that is up
  EventQueue events;
};

BoardEvent attachment_event(const std::string& bmc, const std::string& interface, Instant at, const char* kind,
                            std::string who);

constexpr size_t kAccessTraceMax = 16384;

// The last accesses of one interface, oldest first when read.
class AccessRing : public hardware::TraceSink {
 public:
  void on_access(const hardware::Access& access) override {
    if (ring_.size() < kAccessTraceMax) {
      ring_.push_back(access);
    } else {
      ring_[next_] = access;
      next_ = (next_ + 1) % kAccessTraceMax;
      ++left_out_;
    }
  }
  uint64_t left_out() const { return left_out_; }  // older ones, that the bound has cost
  std::vector<hardware::Access> read() const {
    std::vector<hardware::Access> out(ring_.begin() + static_cast<std::ptrdiff_t>(next_), ring_.end());
    out.insert(out.end(), ring_.begin(), ring_.begin() + static_cast<std::ptrdiff_t>(next_));
    return out;
  }
  void clear() {
    ring_.clear();
    next_ = 0;
    left_out_ = 0;
  }

 private:
  std::vector<hardware::Access> ring_;
  size_t next_ = 0;
  uint64_t left_out_ = 0;
};

// What the board keeps of an attached host, under its slot's mutex; but the handlers and what they were told are whoever's
// has entered them (attachment.h).
struct Host {
  std::string who;
  Instant since{};
  bool wants_interrupt = false;  // a handler is set
  bool wants_signals = false;    // the same, of a host by messages
  std::deque<HostSignal> outbox;

  registers::RegisterPort::InterruptHandler on_interrupt;
  registers::RegisterPort::LinkHandler on_link;
  MessagePort::SignalHandler on_signal;
  bool told_level = false;
  uint64_t told_rises = 0;
  bool told_down = false;
};

using Attachments = AttachmentManager<StdSync, Host>;
using Endpoint = Attachments::Endpoint;

// What waits for the firmware.
struct Pending {
  enum class What : uint8_t { kRequest, kHostReset, kHostRunning };
  What what = What::kRequest;
  hardware::TakenRequest request;
  std::shared_ptr<hardware::MessageFace> face;  // that the request came by; null: the registers
  Attachments::Operation operation{};
};

// One interface and what is attached to it. Its mutex, which guards what follows, is held for a register access or for
// actor steps only.
struct Slot final : Attachments {
  Slot() : Attachments({}, "slot") {}

  std::string bmc;
  InterfaceConfig config;
  std::shared_ptr<Hooks> hooks;

  std::unique_ptr<hardware::Interface> hardware;
  Instant last{};  // instants handed to the hardware never go back
  std::deque<Pending> pending;
  InterfaceStatistics statistics;
  const std::shared_ptr<MessageService> message_service = std::make_shared<MessageService>();
  // While the host is one by messages; the hardware is then idle.
  std::shared_ptr<hardware::MessageFace> face;
  std::vector<HostSignal> after_reply;  // to follow the open request's response
  bool attention = false;               // as the firmware has it
  uint8_t global_enables = 0;
  bool line = false;
  bool wants_hardware_reset = false;
  std::unique_ptr<InterfaceFaults> faults;  // null: no rule is here
  std::optional<bool> fault_reset;          // a fault has reset the BMC: cold?
  bool deliver = false;
  std::unique_ptr<AccessRing> trace;

  // Written under the mutex, read without it.
  std::atomic<int64_t> due{rep(kNever)};  // of the actor, and of telling the host about its interrupt line
  std::atomic<bool> work{false};          // something waits for the firmware

  std::string path() const { return bmc + "/" + config.name; }

  Instant at(Instant now) {
    last = std::max(last, now);
    return last;
  }

  // The actor does what was due until now, each step at its own instant: whoever comes late, a host's access or
  // a worker, finds the registers as they would be.
  void advance(Instant now);

  void add_pending(Pending what);
  // What waited is not done any more, and what is being done is not answered.
  void forget_pending();

  // To the host by messages, if there is one.
  void signal(HostSignal what);
  void release_after_reply() {
    for (HostSignal& what : std::exchange(after_reply, {})) signal(std::move(what));
  }

  void note_line();

  // True when something became due earlier than anybody who waits for it knows.
  bool publish(Instant now);

  // Faults that fired since the last call, for those who watch. Sent when the mutex is released.
  void take_fired(std::vector<BoardEvent>& out);

  // A host that went away, as a reset of its side: nothing of its conversation is left to the next one.
  void forget_conversation();
};

// Calls the board's wake function with no lock held, counted so that a shutdown can wait for it.
class Waker {
 public:
  explicit Waker(Hooks& hooks) : hooks_(hooks) {}
  // Under the mutex of a slot that is up.
  void ask() {
    if (asked_) return;
    asked_ = true;
    hooks_.calls_out.fetch_add(1);
  }
  // No lock held. here: the board's work is done instead.
  void run(bool here = false) {
    if (!asked_) return;
    here ? hooks_.run_here() : hooks_.wake();
    hooks_.calls_out.fetch_sub(1);
    asked_ = false;
  }

 private:
  Hooks& hooks_;
  bool asked_ = false;
};

// Tells a host what changed of line, link and messages, in order, each once. No lock held. Does not wait for a handler that
// is running: whoever runs it tells this too.
void tell(Slot& slot, Endpoint& endpoint);

// No lock held. A host leaves its interface, unless it was made to before; no handler of its is running afterwards. Not
// from one of them.
void let_go(Slot& slot, Endpoint& endpoint);

std::unique_ptr<registers::RegisterPort> make_register_port(Reference<Slot> slot, Reference<Endpoint> endpoint);
std::unique_ptr<MessagePort> make_message_port(Reference<Slot> slot, Reference<Endpoint> endpoint);

}  // namespace bmcpair::board
