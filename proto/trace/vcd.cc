#include "proto/trace/vcd.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include "proto/ipmi/message.h"
#include "proto/registers/bt.h"
#include "proto/registers/kcs.h"
#include "proto/trace/names.h"
#include "proto/trace/timeline.h"

namespace bmcpair::trace {
namespace {

using registers::InterfaceKind;
namespace bt = registers::bt;
namespace kcs = registers::kcs;

constexpr size_t kTextBytesMax = 200;  // of one value of a text signal
constexpr size_t kTasksMax = 1024;
constexpr uint8_t kSetBmcGlobalEnables = 0x2e;
constexpr uint8_t kGetBmcGlobalEnables = 0x2f;

// A name in a scope: a reader may split at anything else.
std::string identifier(std::string_view text, std::string_view otherwise) {
  std::string out;
  for (char c : text) {
    const bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
    out += good ? c : '_';
    if (out.size() == 64) break;
  }
  return out.empty() ? std::string(otherwise) : out;
}

// Of a comment: nothing that would end it.
std::string comment(std::string_view text) {
  std::string out;
  for (char c : text) out += c == '$' || static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  return out;
}

// GTKWave's text values: no blanks, what is not plain as \ooo.
std::string text_value(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size() && i < kTextBytesMax; ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c > 0x20 && c < 0x7f && c != '\\') {
      out += static_cast<char>(c);
    } else {
      out += '\\';
      out += static_cast<char>('0' + (c >> 6));
      out += static_cast<char>('0' + ((c >> 3) & 7));
      out += static_cast<char>('0' + (c & 7));
    }
  }
  return out;
}

using SignalId = size_t;

class Writer {
 public:
  SignalId wire(std::string_view name, unsigned width = 1) { return declare("wire", width, name); }
  SignalId text(std::string_view name) { return declare("string", 1, name); }
  SignalId pulse(std::string_view name) { return declare("event", 1, name); }
  void scope(std::string_view name) { declarations_ += "$scope module " + std::string(name) + " $end\n"; }
  void end_scope() { declarations_ += "$upscope $end\n"; }

  // Values are set between at() and the next at().
  void at(uint64_t time) { time_ = time; }
  void set(SignalId id, unsigned value) {
    std::string digits;
    for (unsigned bit = signals_[id].width; bit-- > 0;) digits += (value >> bit & 1) != 0 ? '1' : '0';
    change(id, std::move(digits));
  }
  void set_unknown(SignalId id) { change(id, std::string(signals_[id].width, 'x')); }
  void set_text(SignalId id, std::string_view value) { change(id, text_value(value)); }
  void trigger(SignalId id) {
    stamp();
    changes_ += "1" + signals_[id].code + "\n";
  }

  std::string finish(const std::string& head, uint64_t end) {
    std::string out = head + declarations_ + "$enddefinitions $end\n#0\n$dumpvars\n";
    for (const Signal& signal : signals_) {
      if (signal.type == "wire") out += line(signal, std::string(signal.width, 'x'));
      if (signal.type == "string") out += line(signal, "");
    }
    out += "$end\n" + changes_;
    if (end > stamped_) out += "#" + std::to_string(end) + "\n";
    return out;
  }

 private:
  struct Signal {
    std::string type;
    unsigned width;
    std::string code;
    std::string value;
  };

  SignalId declare(const char* type, unsigned width, std::string_view name) {
    std::string code;
    for (size_t n = signals_.size() + 1; n > 0; n = (n - 1) / 94) code += static_cast<char>('!' + (n - 1) % 94);
    declarations_ += "$var " + std::string(type) + " " + std::to_string(width) + " " + code + " " + std::string(name);
    if (width > 1) declarations_ += " [" + std::to_string(width - 1) + ":0]";
    declarations_ += " $end\n";
    const std::string first = std::string_view(type) == "wire" ? std::string(width, 'x') : std::string();
    signals_.push_back({type, width, std::move(code), first});
    return signals_.size() - 1;
  }
  static std::string line(const Signal& signal, const std::string& value) {
    if (signal.type == "string") return "s" + value + " " + signal.code + "\n";
    if (signal.width == 1) return value + signal.code + "\n";
    return "b" + value + " " + signal.code + "\n";
  }
  void stamp() {
    if (time_ == stamped_) return;
    stamped_ = time_;
    changes_ += "#" + std::to_string(time_) + "\n";
  }
  void change(SignalId id, std::string value) {
    Signal& signal = signals_[id];
    if (signal.value == value) return;
    stamp();
    signal.value = std::move(value);
    changes_ += line(signal, signal.value);
  }

  std::string declarations_;
  std::string changes_;
  std::vector<Signal> signals_;
  uint64_t time_ = 0;
  uint64_t stamped_ = 0;
};

// One direction of BT's buffer: as many bytes as its owner's pointer says, once it has been seen to rewind.
struct Fifo {
  std::optional<unsigned> write;
  std::optional<unsigned> read;
};

// One interface: its signals, and what is known of it so far.
class Scope {
 public:
  Scope(Writer& out, InterfaceKind kind, std::string_view name) : out_(out), kind_(kind) {
    out.scope(name);
    for (const FlagName& flag : flag_names(kind)) flags_.push_back({flag.bit, out.wire(identifier(flag.name, "flag"))});
    if (kind == InterfaceKind::kKcs) {
      state_ = out.wire("state", 2);
      state_name_ = out.text("state_name");
    }
    if (kind == InterfaceKind::kBt) {
      irq_enable_ = out.wire("B2H_IRQ_EN");
      for (size_t i = 0; i < kPointers.size(); ++i) pointers_[i] = out.wire(kPointers[i], 9);
    }
    irq_ = out.wire("IRQ");
    // What the host has asked for by Set BMC Global Enables; KCS and SMIC have no enable of their own (§9, §10).
    enables_ = out.wire("global_enables", 8);
    for (size_t face = 0; face < 2; ++face) {
      const std::string side = face == 0 ? "host" : "bmc";
      faces_[face].pulse = out.pulse(side + "_strobe");
      faces_[face].text = out.text(side + "_access");
      faces_[face].offset = out.wire(side + "_offset", 16);
      faces_[face].byte = out.wire(side + "_byte", 8);
    }
    request_ = out.text("request");
    response_ = out.text("response");
    fault_ = out.wire("fault", 32);
    fault_pulse_ = out.pulse("fault_strobe");
    note_ = out.text("note");
    out.end_scope();
  }

  void apply(const Access& access) {
    Lane& lane = faces_[access.face == Side::kBmc ? 1 : 0];
    out_.trigger(lane.pulse);
    out_.set_text(lane.text, (access.is_write ? "W " : "R ") + register_name(kind_, access) + " " +
                                 to_hex(ByteView(&access.value, 1)));
    out_.set(lane.offset, access.offset);
    out_.set(lane.byte, access.value);
    if (access.flags_after) {
      for (const auto& [bit, signal] : flags_) out_.set(signal, (*access.flags_after & bit) != 0);
      if (kind_ == InterfaceKind::kKcs) {
        out_.set(state_, static_cast<unsigned>(*access.flags_after >> kcs::kStateShift));
        out_.set_text(state_name_, kcs_state_name(*access.flags_after));
      }
    }
    if (access.interrupt_after) out_.set(irq_, *access.interrupt_after);
    if (kind_ == InterfaceKind::kBt) bt_access(access);
    if (access.fault != 0) fault(access.fault);
  }
  void apply(const InterruptLine& line) { out_.set(irq_, line.level); }
  void apply(const Message& message) {
    const Bytes& bytes = message.bytes;
    const std::string text = message_name(message) + ": " + to_hex(bytes);
    if (message.direction == Message::Direction::kToBmc) {
      out_.set_text(request_, text);
      asked_ = bytes;
      return;
    }
    out_.set_text(response_, text);
    const bool app = asked_.size() >= 2 && asked_[0] >> 2 == ipmi::kNetFnApp && bytes.size() >= 3 && bytes[2] == 0;
    if (app && asked_[1] == kSetBmcGlobalEnables && asked_.size() >= 3) out_.set(enables_, asked_[2]);
    if (app && asked_[1] == kGetBmcGlobalEnables && bytes.size() >= 4) out_.set(enables_, bytes[3]);
    asked_.clear();
  }
  void apply(const Text& text) {
    if (text.kind == Text::Kind::kFault) fault(text.fault);
    out_.set_text(note_, text.text);
  }
  void apply(const Activity& activity) { out_.set_text(note_, activity.what); }

 private:
  struct Lane {
    SignalId pulse, text, offset, byte;
  };
  static constexpr std::array<std::string_view, 4> kPointers = {"h2b_wr_ptr", "h2b_rd_ptr", "b2h_wr_ptr", "b2h_rd_ptr"};

  void fault(uint32_t id) {
    out_.set(fault_, static_cast<unsigned>(id));
    out_.trigger(fault_pulse_);
  }

  // §11.5, §11.6: a face rewinds its own pointers by BT_CTRL, and each byte through the buffer moves one of them. A fault
  // changed what the access did, so afterwards nobody knows.
  void bt_access(const Access& access) {
    const bool host = access.face == Side::kHost;
    Fifo& written = host ? h2b_ : b2h_;
    Fifo& read = host ? b2h_ : h2b_;
    const bool sure = access.fault == 0;
    if (access.offset == bt::kCtrl && access.is_write) {
      if ((access.value & bt::kClrWrPtr) != 0) written.write = sure ? std::optional(0u) : std::nullopt;
      if ((access.value & bt::kClrRdPtr) != 0) read.read = sure ? std::optional(0u) : std::nullopt;
    } else if (access.offset == bt::kBuffer && access.is_write) {
      if (!sure) written.write.reset();
      if (written.write && *written.write < bt::kFrameBytesMax) ++*written.write;
    } else if (access.offset == bt::kBuffer) {
      if (!sure) read.read.reset();
      if (read.read && *read.read < read.write.value_or(bt::kFrameBytesMax)) ++*read.read;
    } else if (access.offset == bt::kIntMask && host) {
      if (sure) {
        out_.set(irq_enable_, (access.value & bt::kB2hIrqEnable) != 0);
      } else {
        out_.set_unknown(irq_enable_);
      }
    }
    const std::optional<unsigned>* values[] = {&h2b_.write, &h2b_.read, &b2h_.write, &b2h_.read};
    for (size_t i = 0; i < pointers_.size(); ++i) {
      if (*values[i]) {
        out_.set(pointers_[i], **values[i]);
      } else {
        out_.set_unknown(pointers_[i]);
      }
    }
  }

  Writer& out_;
  const InterfaceKind kind_;
  std::vector<std::pair<uint8_t, SignalId>> flags_;
  SignalId state_ = 0, state_name_ = 0, irq_enable_ = 0, irq_ = 0, enables_ = 0;
  std::array<SignalId, 4> pointers_{};
  std::array<Lane, 2> faces_{};
  SignalId request_ = 0, response_ = 0, fault_ = 0, fault_pulse_ = 0, note_ = 0;
  Fifo h2b_, b2h_;
  Bytes asked_;
};

// Two of one name in one place would be one signal to a reader.
std::string unique(std::map<std::string, unsigned>& used, const std::string& name) {
  const unsigned n = ++used[name];
  if (n == 1) return name;
  return unique(used, name + "_" + std::to_string(n));
}

// "demo/bt" is a scope in a scope. The scopes in the interfaces' order.
std::vector<Scope> declare_interfaces(Writer& out, const Trace& trace) {
  std::map<std::string, std::vector<size_t>> by_bmc;
  std::vector<std::string> names(trace.interfaces.size());
  for (size_t i = 0; i < trace.interfaces.size() && i < kInterfacesMax; ++i) {
    const std::string& name = trace.interfaces[i].name;
    const size_t slash = name.find('/');
    const bool whole = slash == std::string::npos;
    names[i] = identifier(whole ? name : name.substr(slash + 1), "interface");
    by_bmc[whole ? "" : identifier(name.substr(0, slash), "bmc")].push_back(i);
  }
  std::vector<std::optional<Scope>> scopes(trace.interfaces.size());
  // The outermost names are those of BMCs and of interfaces without one.
  std::map<std::string, unsigned> outer;
  for (const auto& [bmc, members] : by_bmc) {
    std::map<std::string, unsigned> inner;
    if (!bmc.empty()) out.scope(unique(outer, bmc));
    for (size_t i : members) {
      scopes[i].emplace(out, trace.interfaces[i].kind, unique(bmc.empty() ? outer : inner, names[i]));
    }
    if (!bmc.empty()) out.end_scope();
  }
  std::vector<Scope> done;
  for (std::optional<Scope>& scope : scopes) {
    if (scope) done.push_back(std::move(*scope));
  }
  return done;
}

struct Step {
  uint64_t ns;
  const Event* event;
  bool ends;  // the end of an activity
};

std::string task_of(const Event& event) {
  if (!event.who.empty()) return event.who;
  const auto* activity = std::get_if<Activity>(&event.what);
  return activity ? activity->what : std::string();
}

}  // namespace

std::string vcd(const Trace& trace, const VcdOptions& options) {
  const Timeline line = timeline(trace);
  Writer out;
  out.scope("bmcpair");
  std::vector<Scope> scopes = declare_interfaces(out, trace);
  std::map<std::string, SignalId> tasks;
  for (const TimedEvent& timed : line.events) {
    if (std::holds_alternative<Activity>(timed.event->what) && tasks.size() < kTasksMax) tasks[task_of(*timed.event)] = 0;
  }
  std::map<std::string, unsigned> used;
  if (!tasks.empty()) {
    out.scope("tasks");
    for (auto& [name, signal] : tasks) signal = out.wire(unique(used, identifier(name, "task")));
    out.end_scope();
  }
  // Always there: a waveform without any signal opens nowhere.
  static constexpr std::string_view kTexts[] = {"note", "step", "fault", "error"};
  SignalId story[4] = {};
  out.scope("story");
  for (size_t i = 0; i < 4; ++i) story[i] = out.text(kTexts[i]);
  out.end_scope();
  out.end_scope();

  std::vector<Step> steps;
  steps.reserve(line.events.size());
  for (const TimedEvent& timed : line.events) {
    steps.push_back({timed.ns, timed.event, false});
    if (const auto* activity = std::get_if<Activity>(&timed.event->what)) {
      const auto took = static_cast<uint64_t>(std::max<Duration::rep>(activity->took.count(), 0));
      steps.push_back({timed.ns > UINT64_MAX - took ? UINT64_MAX : timed.ns + took, timed.event, true});
    }
  }
  std::stable_sort(steps.begin(), steps.end(), [](const Step& a, const Step& b) { return a.ns < b.ns; });

  uint64_t now = 0;
  uint64_t homeless = 0;
  for (const Step& step : steps) {
    const uint64_t wanted = options.microseconds ? step.ns / 1000 : step.ns;
    now = wanted > now ? wanted : now < UINT64_MAX ? now + 1 : now;
    out.at(now);
    const Event& event = *step.event;
    if (std::holds_alternative<Activity>(event.what)) {
      auto task = tasks.find(task_of(event));
      if (task != tasks.end()) out.set(task->second, !step.ends);
      if (step.ends) continue;
    }
    if (event.interface < scopes.size()) {
      std::visit([&](const auto& what) { scopes[event.interface].apply(what); }, event.what);
    } else if (const auto* text = std::get_if<Text>(&event.what)) {
      out.set_text(story[static_cast<size_t>(text->kind)], (event.who.empty() ? "" : event.who + ": ") + text->text);
    } else if (!std::holds_alternative<Activity>(event.what)) {
      ++homeless;
    }
  }

  std::string head = "$version bmcpair $end\n$timescale " + std::string(options.microseconds ? "1 us" : "1 ns") + " $end\n";
  if (!trace.title.empty()) head += "$comment " + comment(trace.title) + " $end\n";
  if (trace.left_out > 0) {
    head += "$comment the recording's bound was met: " + std::to_string(trace.left_out) + " older events are missing $end\n";
  }
  if (homeless > 0) head += "$comment " + std::to_string(homeless) + " events of no known interface are not shown $end\n";
  return out.finish(head, now < UINT64_MAX ? now + 1 : now);
}

}  // namespace bmcpair::trace
