// What happened between a host and its BMCs, as one list: what the laboratory, the daemon and the host driver all record and
// what every writer here (vcd, pcap, trace_json, svg) draws. Pure: instants are handed in, files are the caller's business.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "proto/base/hex.h"
#include "proto/base/time.h"
#include "proto/registers/register_port.h"

namespace bmcpair::trace {

using InterfaceId = uint16_t;  // index into Trace::interfaces
constexpr InterfaceId kNoInterface = 0xffff;

enum class Side : uint8_t { kHost, kBmc, kBoth };

struct InterfaceInfo {
  std::string name;  // "demo/bt"
  registers::InterfaceKind kind = registers::InterfaceKind::kKcs;
};

// One register access of either face.
struct Access {
  Side face = Side::kHost;  // never kBoth
  bool is_write = false;
  uint16_t offset = 0;
  uint8_t value = 0;
  // KCS status, BT_CTRL or SMIC flags after it, as the host would read them; nothing where the recorder cannot know.
  std::optional<uint8_t> flags_after;
  std::optional<bool> interrupt_after;
  uint32_t fault = 0;  // the rule that changed this access; 0: none
};

// The interrupt line, seen apart from any access.
struct InterruptLine {
  bool level = false;
};

// A whole message. One to the host is the answer to the last one to the BMC on its interface.
struct Message {
  enum class Direction : uint8_t { kToBmc, kToHost };
  Direction direction = Direction::kToBmc;
  Bytes bytes;         // NetFn<<2|LUN, Cmd, (CC,) data
  Duration took{0};    // kToHost: since its request, where that is known; 0: not known
};

// A line for people.
struct Text {
  enum class Kind : uint8_t {
    kNote,   // what somebody says
    kStep,   // of a state machine or a scheduler
    kFault,  // a fault fired
    kError,  // what is wrong: an oracle's sentence
  };
  Kind kind = Kind::kNote;
  Side side = Side::kHost;
  std::string text;
  uint32_t fault = 0;  // kFault: the rule
};

// A task was at work, from the event's instant on.
struct Activity {
  Side side = Side::kHost;
  std::string what;
  Duration took{0};
};

struct Event {
  Instant at{};
  InterfaceId interface = kNoInterface;
  std::string who;  // the task; may be empty
  std::variant<Access, InterruptLine, Message, Text, Activity> what;
};

struct Trace {
  std::string title;
  std::vector<InterfaceInfo> interfaces;
  std::vector<Event> events;  // in any order; those of one instant stay in theirs
  uint64_t left_out = 0;      // older events that a bound has cost
  int64_t unix_epoch_ns = 0;  // wall clock at Instant{}; 0: the trace has its own time (pcap, trace_json)
};

constexpr size_t kEventsMax = 1'000'000;
constexpr size_t kInterfacesMax = 4096;

// Keeps the newest events up to a bound. Not thread safe.
class Recorder {
 public:
  explicit Recorder(size_t events_max = kEventsMax) : events_max_(events_max ? events_max : 1) {}

  // Beyond kInterfacesMax: kNoInterface.
  InterfaceId add_interface(std::string name, registers::InterfaceKind kind) {
    if (interfaces_.size() >= kInterfacesMax) return kNoInterface;
    interfaces_.push_back({std::move(name), kind});
    return static_cast<InterfaceId>(interfaces_.size() - 1);
  }
  // Of an interface that was added before it was known what it is.
  void set_kind(InterfaceId id, registers::InterfaceKind kind) {
    if (id < interfaces_.size()) interfaces_[id].kind = kind;
  }
  void add(Event event) {
    if (events_.size() >= events_max_) {
      events_.pop_front();
      ++left_out_;
    }
    events_.push_back(std::move(event));
  }
  size_t size() const { return events_.size(); }
  size_t events_max() const { return events_max_; }
  uint64_t left_out() const { return left_out_; }
  Trace trace(std::string title, int64_t unix_epoch_ns = 0) const {
    return {std::move(title), interfaces_, std::vector<Event>(events_.begin(), events_.end()), left_out_, unix_epoch_ns};
  }

 private:
  size_t events_max_;
  std::vector<InterfaceInfo> interfaces_;
  std::deque<Event> events_;
  uint64_t left_out_ = 0;
};

}  // namespace bmcpair::trace
