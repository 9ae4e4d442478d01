#include "proto/trace/trace_json.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include "proto/registers/kcs.h"
#include "proto/trace/names.h"
#include "proto/trace/text.h"
#include "proto/trace/timeline.h"

namespace bmcpair::trace {
namespace {

using registers::InterfaceKind;

// Process and thread numbers are ours to choose; Perfetto shows them in this order.
constexpr unsigned kStoryProcess = 1;
constexpr unsigned kFirstInterfaceProcess = 2;
constexpr unsigned kHostThread = 1;
constexpr unsigned kBmcThread = 2;
constexpr unsigned kMessageThread = 3;
constexpr unsigned kFirstTaskThread = 10;
constexpr size_t kTasksMax = 1024;

// Microseconds, the format's unit, to the nanosecond.
std::string micros(uint64_t ns) {
  std::string fraction = std::to_string(ns % 1000);
  fraction.insert(0, 3 - fraction.size(), '0');
  return std::to_string(ns / 1000) + "." + fraction;
}

class Writer {
 public:
  explicit Writer(const Trace& trace) : trace_(trace), line_(timeline(trace)), state_(trace.interfaces.size()) {}

  std::string write() {
    process(kStoryProcess, trace_.title.empty() ? "bmcpair" : trace_.title);
    thread(kStoryProcess, kHostThread, "host");
    thread(kStoryProcess, kBmcThread, "BMC");
    for (size_t i = 0; i < trace_.interfaces.size(); ++i) {
      const unsigned pid = kFirstInterfaceProcess + static_cast<unsigned>(i);
      process(pid, trace_.interfaces[i].name + " (" + std::string(to_string(trace_.interfaces[i].kind)) + ")");
      thread(pid, kHostThread, "host accesses");
      thread(pid, kBmcThread, "BMC accesses");
      thread(pid, kMessageThread, "messages");
    }
    if (trace_.left_out > 0) {
      instant(kStoryProcess, kHostThread, 0, "the recording's bound was met",
              "\"older_events_missing\":" + std::to_string(trace_.left_out));
    }
    for (const TimedEvent& timed : line_.events) {
      std::visit([&](const auto& what) { event(*timed.event, timed.ns, what); }, timed.event->what);
    }
    for (size_t i = 0; i < state_.size(); ++i) unanswered(i);
    std::string out = "{\"displayTimeUnit\":\"ns\",\"otherData\":{\"title\":" + json_string(trace_.title) +
                      ",\"begin_ns\":" + std::to_string(line_.begin.time_since_epoch().count()) +
                      ",\"unix_epoch_ns\":" + std::to_string(trace_.unix_epoch_ns) +
                      ",\"left_out\":" + std::to_string(trace_.left_out) + "},\n\"traceEvents\":[\n";
    return out + events_ + "\n]}\n";
  }

 private:
  struct InterfaceState {
    std::optional<uint8_t> flags;
    std::optional<bool> interrupt;
    std::optional<std::pair<uint64_t, const Event*>> asked;
  };

  void add(const std::string& object) {
    if (!events_.empty()) events_ += ",\n";
    events_ += "{" + object + "}";
  }
  static std::string place(unsigned pid, unsigned tid) {
    return ",\"pid\":" + std::to_string(pid) + ",\"tid\":" + std::to_string(tid);
  }
  void process(unsigned pid, std::string_view name) {
    add("\"ph\":\"M\",\"name\":\"process_name\"" + place(pid, 0) + ",\"args\":{\"name\":" + json_string(name) + "}");
    add("\"ph\":\"M\",\"name\":\"process_sort_index\"" + place(pid, 0) + ",\"args\":{\"sort_index\":" + std::to_string(pid) + "}");
  }
  void thread(unsigned pid, unsigned tid, std::string_view name) {
    add("\"ph\":\"M\",\"name\":\"thread_name\"" + place(pid, tid) + ",\"args\":{\"name\":" + json_string(name) + "}");
    add("\"ph\":\"M\",\"name\":\"thread_sort_index\"" + place(pid, tid) + ",\"args\":{\"sort_index\":" + std::to_string(tid) + "}");
  }
  void instant(unsigned pid, unsigned tid, uint64_t ns, std::string_view name, const std::string& args) {
    add("\"ph\":\"i\",\"s\":\"t\",\"name\":" + json_string(name) + ",\"ts\":" + micros(ns) + place(pid, tid) + ",\"args\":{" +
        args + "}");
  }
  void slice(unsigned pid, unsigned tid, uint64_t ns, uint64_t took, std::string_view name, const std::string& args) {
    add("\"ph\":\"X\",\"name\":" + json_string(name) + ",\"ts\":" + micros(ns) + ",\"dur\":" + micros(took) + place(pid, tid) +
        ",\"args\":{" + args + "}");
  }
  void counter(unsigned pid, uint64_t ns, std::string_view name, unsigned value) {
    add("\"ph\":\"C\",\"name\":" + json_string(name) + ",\"ts\":" + micros(ns) + place(pid, 0) + ",\"args\":{\"value\":" +
        std::to_string(value) + "}");
  }
  unsigned process_of(const Event& e) const {
    return interface_of(trace_, e) ? kFirstInterfaceProcess + e.interface : kStoryProcess;
  }
  // A task's own track.
  unsigned task_thread(unsigned pid, const std::string& who) {
    auto known = tasks_.find({pid, who});
    if (known != tasks_.end()) return known->second;
    if (tasks_.size() >= kTasksMax) return kHostThread;
    const unsigned tid = kFirstTaskThread + static_cast<unsigned>(tasks_.size());
    tasks_[{pid, who}] = tid;
    thread(pid, tid, who);
    return tid;
  }
  unsigned thread_of(unsigned pid, const Event& e, Side side) {
    if (!e.who.empty()) return task_thread(pid, e.who);
    return side == Side::kBmc ? kBmcThread : kHostThread;
  }

  void interrupt(size_t i, uint64_t ns, bool level) {
    InterfaceState& state = state_[i];
    if (state.interrupt == level) return;
    state.interrupt = level;
    counter(kFirstInterfaceProcess + static_cast<unsigned>(i), ns, "IRQ", level);
  }
  void flags(size_t i, uint64_t ns, uint8_t now) {
    InterfaceState& state = state_[i];
    const InterfaceKind kind = trace_.interfaces[i].kind;
    const auto pid = kFirstInterfaceProcess + static_cast<unsigned>(i);
    const uint8_t changed = state.flags ? *state.flags ^ now : 0xff;
    for (const FlagName& flag : flag_names(kind)) {
      if ((changed & flag.bit) != 0) counter(pid, ns, flag.name, (now & flag.bit) != 0);
    }
    if (kind == InterfaceKind::kKcs && (changed & registers::kcs::kStateMask) != 0) {
      counter(pid, ns, "state", now >> registers::kcs::kStateShift);
    }
    state.flags = now;
  }

  void event(const Event& e, uint64_t ns, const Access& access) {
    const InterfaceInfo* interface = interface_of(trace_, e);
    if (!interface) return;
    std::string args = "\"value\":\"" + to_hex(ByteView(&access.value, 1)) + "\"";
    if (const std::string means = value_text(interface->kind, access); !means.empty()) args += ",\"means\":" + json_string(means);
    if (access.flags_after) args += ",\"flags_after\":" + json_string(flags_text(interface->kind, *access.flags_after));
    if (access.interrupt_after) args += std::string(",\"interrupt_after\":") + (*access.interrupt_after ? "true" : "false");
    if (access.fault != 0) args += ",\"fault\":" + std::to_string(access.fault);
    if (!e.who.empty()) args += ",\"task\":" + json_string(e.who);
    instant(process_of(e), access.face == Side::kBmc ? kBmcThread : kHostThread, ns,
            (access.is_write ? "W " : "R ") + register_name(interface->kind, access) + (access.fault != 0 ? " (fault)" : ""), args);
    if (access.flags_after) flags(e.interface, ns, *access.flags_after);
    if (access.interrupt_after) interrupt(e.interface, ns, *access.interrupt_after);
  }
  void event(const Event& e, uint64_t ns, const InterruptLine& line) {
    if (interface_of(trace_, e)) interrupt(e.interface, ns, line.level);
  }
  void unanswered(size_t i) {
    auto& asked = state_[i].asked;
    if (!asked) return;
    const auto& message = std::get<Message>(asked->second->what);
    instant(kFirstInterfaceProcess + static_cast<unsigned>(i), kMessageThread, asked->first, message_name(message) + " (unanswered)",
            "\"request\":\"" + to_hex(message.bytes) + "\"");
    asked.reset();
  }
  void event(const Event& e, uint64_t ns, const Message& message) {
    if (!interface_of(trace_, e)) return;
    auto& asked = state_[e.interface].asked;
    if (message.direction == Message::Direction::kToBmc) {
      unanswered(e.interface);
      asked = {ns, &e};
      return;
    }
    std::string args;
    uint64_t begin = ns;
    if (asked) {
      args = "\"request\":\"" + to_hex(std::get<Message>(asked->second->what).bytes) + "\",";
      begin = asked->first;
    } else if (message.took > Duration::zero()) {
      begin = ns - std::min(ns, static_cast<uint64_t>(message.took.count()));
    }
    asked.reset();
    slice(process_of(e), kMessageThread, begin, ns - begin, message_name(message), args + "\"response\":\"" + to_hex(message.bytes) + "\"");
  }
  void event(const Event& e, uint64_t ns, const Text& text) {
    static constexpr std::string_view kKinds[] = {"note", "step", "fault", "error"};
    const std::string_view kind = kKinds[static_cast<size_t>(text.kind)];
    const unsigned pid = process_of(e);
    std::string name = text.text;
    if (text.kind == Text::Kind::kFault) name = "fault " + (text.fault ? std::to_string(text.fault) + ": " : std::string()) + name;
    if (text.kind == Text::Kind::kError) name = "ERROR: " + name;
    instant(pid, thread_of(pid, e, text.side), ns, name, "\"kind\":\"" + std::string(kind) + "\"");
  }
  void event(const Event& e, uint64_t ns, const Activity& activity) {
    const unsigned pid = process_of(e);
    slice(pid, thread_of(pid, e, activity.side), ns, static_cast<uint64_t>(std::max<Duration::rep>(activity.took.count(), 0)),
          activity.what, "");
  }

  const Trace& trace_;
  const Timeline line_;
  std::vector<InterfaceState> state_;
  std::map<std::pair<unsigned, std::string>, unsigned> tasks_;
  std::string events_;
};

}  // namespace

std::string trace_json(const Trace& trace) { return Writer(trace).write(); }

}  // namespace bmcpair::trace
