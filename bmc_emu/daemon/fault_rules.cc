#include "bmc_emu/daemon/fault_rules.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>

#include "bmc_emu/daemon/config_reader.h"
#include "bmc_emu/firmware/dispatcher.h"

namespace bmcpair::daemon {
namespace {

using faults::ActionKind;

// "Re-arm Sensor Events" is re_arm_sensor_events.
std::string snake_case(std::string_view name) {
  std::string out;
  for (char c : name) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    const bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (word) out += c;
    else if (!out.empty() && out.back() != '_') out += '_';
  }
  while (!out.empty() && out.back() == '_') out.pop_back();
  return out;
}

// The one action of a rule. More than one, or none, is a mistake.
class ActionReader {
 public:
  explicit ActionReader(ObjectReader& in) : in_(in) {}

  faults::Action read() {
    if (auto v = in_.hex("cc")) take("cc", ActionKind::kCompletionCode, (*v)[0]);
    if (auto v = in_.named("drop")) take("drop", static_cast<ActionKind>(*v));
    if (auto v = in_.duration("delay")) take_for("delay", ActionKind::kDelay, *v);
    if (auto v = in_.duration("answer_at")) take_for("answer_at", ActionKind::kAnswerAt, *v);
    if (auto v = in_.integer("sequence")) take("sequence", ActionKind::kSequence, *v);
    if (auto v = in_.integer("answer_netfn")) take("answer_netfn", ActionKind::kAnswerNetFn, *v);
    if (auto v = in_.integer("answer_cmd")) take("answer_cmd", ActionKind::kAnswerCmd, *v);
    if (auto v = in_.integer("truncate")) take("truncate", ActionKind::kTruncate, *v);
    if (auto v = in_.integer("extend")) take("extend", ActionKind::kExtend, *v);
    if (auto v = in_.integer("length_byte")) take("length_byte", ActionKind::kLengthByte, *v);
    if (auto v = in_.integer("corrupt")) take("corrupt", ActionKind::kCorrupt, *v);
    take_if_true("bad_checksum", ActionKind::kBadChecksum);
    if (auto v = in_.integer("duplicate")) take("duplicate", ActionKind::kDuplicate, *v);
    take_if_true("previous_answer", ActionKind::kPreviousAnswer);
    if (auto v = in_.named("hold")) take_flag("hold", ActionKind::kHold, *v);
    if (auto v = in_.named("withhold")) take_flag("withhold", ActionKind::kWithhold, *v);
    if (auto v = in_.hex("read_value")) take("read_value", ActionKind::kReadValue, (*v)[0]);
    if (auto v = in_.hex("read_xor")) {
      take("read_xor", ActionKind::kReadXor);
      action_.mask = (*v)[0];
      if (action_.mask == 0) in_.mistake("read_xor", "00 changes nothing");
    }
    take_if_true("lose_write", ActionKind::kLoseWrite);
    if (auto v = in_.named("bmc")) take("bmc", static_cast<ActionKind>(*v));
    if (auto v = in_.named("interrupt")) take("interrupt", static_cast<ActionKind>(*v));
    if (auto v = in_.named("attention")) take("attention", static_cast<ActionKind>(*v));
    if (auto v = in_.hex("xor")) {
      if (action_.kind != ActionKind::kCorrupt) in_.mistake("xor", "belongs to 'corrupt'");
      action_.mask = (*v)[0];
      if (action_.mask == 0) in_.mistake("xor", "00 changes nothing");
    }
    if (auto v = in_.duration("duration")) {
      if (action_.kind == ActionKind::kDelay || action_.kind == ActionKind::kAnswerAt) {
        in_.mistake("duration", "is for what lasts; a delay has its length already");
      } else {
        action_.duration = *v;
      }
    }
    return action_;
  }
  bool found() const { return !key_.empty(); }

 private:
  bool first(const char* key) {
    if (key_.empty()) {
      key_ = key;
      return true;
    }
    in_.mistake(key, "the rule does '" + key_ + "' already; a rule does one thing");
    return false;
  }
  void take(const char* key, ActionKind kind, int64_t value = 0) {
    if (!first(key)) return;
    action_.kind = kind;
    action_.value = static_cast<uint32_t>(value);
  }
  void take_for(const char* key, ActionKind kind, Duration duration) {
    if (!first(key)) return;
    action_.kind = kind;
    action_.duration = duration;
  }
  void take_flag(const char* key, ActionKind kind, int64_t flag) {
    if (!first(key)) return;
    action_.kind = kind;
    action_.flag = static_cast<faults::Flag>(flag);
  }
  void take_if_true(const char* key, ActionKind kind) {
    auto v = in_.boolean(key);
    if (!v) return;
    if (!*v) in_.mistake(key, "leave it out rather than false");
    take(key, kind);
  }

  ObjectReader& in_;
  faults::Action action_;
  std::string key_;
};

// "cc=d5 netfn=6" as the mapping that YAML would make of it. Values are as typed; a value with blanks does not exist.
YamlNode::Pointer short_form(std::string_view line, int line_number, YamlMistake* mistake) {
  auto rule = std::make_shared<YamlNode>();
  rule->kind = YamlNode::Kind::kMap;
  rule->place = {line_number, 1};
  size_t at = 0;
  while ((at = line.find_first_not_of(" \t\r", at)) != std::string_view::npos) {
    if (line[at] == '#') break;
    size_t end = std::min(line.find_first_of(" \t\r", at), line.size());
    std::string_view word = line.substr(at, end - at);
    size_t equals = word.find('=');
    YamlPlace place{line_number, static_cast<int>(at) + 1};
    if (equals == 0 || equals == std::string_view::npos || equals + 1 == word.size()) {
      *mistake = {place, "expected KEY=VALUE, found '" + std::string(word.substr(0, 60)) + "'"};
      return nullptr;
    }
    auto value = std::make_shared<YamlNode>();
    value->kind = YamlNode::Kind::kScalar;
    value->place = {line_number, static_cast<int>(at + equals) + 2};
    value->scalar = std::string(word.substr(equals + 1));
    rule->members.push_back({std::string(word.substr(0, equals)), place, value});
    at = end;
  }
  return rule;
}

// The short form begins with KEY=; in YAML no line of rules can.
bool is_short_form(std::string_view text) {
  while (true) {
    size_t at = text.find_first_not_of(" \t\r\n");
    if (at == std::string_view::npos) return false;
    if (text[at] != '#') {
      text.remove_prefix(at);
      break;
    }
    size_t end = text.find('\n', at);
    if (end == std::string_view::npos) return false;
    text.remove_prefix(end);
  }
  size_t word = text.find_first_not_of("abcdefghijklmnopqrstuvwxyz_");
  return word != 0 && word != std::string_view::npos && text[word] == '=';
}

YamlNode::Pointer short_forms(std::string_view text, const ConfigLimits& limits, YamlMistake* mistake) {
  *mistake = {};
  if (text.size() > limits.text_bytes_max) {
    mistake->what = "longer than " + std::to_string(limits.text_bytes_max) + " bytes";
    return nullptr;
  }
  auto list = std::make_shared<YamlNode>();
  list->kind = YamlNode::Kind::kList;
  for (int line_number = 1; !text.empty(); ++line_number) {
    size_t end = std::min(text.find('\n'), text.size());
    auto rule = short_form(text.substr(0, end), line_number, mistake);
    if (!rule) return nullptr;
    if (!rule->members.empty()) list->items.push_back(rule);
    if (list->items.size() > board::kFaultsMax) break;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return list;
}

}  // namespace

const std::vector<CommandName>& command_names() {
  static const std::vector<CommandName> names = [] {
    std::vector<CommandName> out;
    for (const firmware::Command& c : firmware::Dispatcher::instance().commands()) {
      std::string name = snake_case(c.name);
      // Of two of one name the first keeps it; the other has its number.
      auto same = [&](const CommandName& known) { return known.name == name; };
      if (std::find_if(out.begin(), out.end(), same) == out.end()) out.push_back({std::move(name), c.netfn, c.cmd});
    }
    return out;
  }();
  return names;
}

faults::Rule read_fault(ObjectReader& in) {
  faults::Rule rule;
  rule.name = in.text("name").value_or("");
  ActionReader action(in);
  rule.action = action.read();
  faults::Trigger& t = rule.trigger;
  t.interface = in.text("interface").value_or("");
  if (auto v = in.named("netfn")) {
    t.netfn = static_cast<uint8_t>(*v);
    if (*v % 2) in.mistake("netfn", "a request's NetFn is even, found " + std::to_string(*v));
  }
  if (auto v = in.integer("netfn_mask")) t.netfn_mask = static_cast<uint8_t>(*v);
  if (auto v = in.named("cmd")) {
    t.cmd = static_cast<uint8_t>(*v);
    if (*v > 0xff) {  // a name brings its NetFn along
      const auto netfn = static_cast<uint8_t>(*v >> 8 & 0x3f);
      if (t.netfn && *t.netfn != netfn) {
        in.mistake("netfn", "the command named is of NetFn " + std::to_string(netfn) + "; leave netfn out");
      }
      t.netfn = netfn;
    }
  }
  if (auto v = in.integer("cmd_mask")) t.cmd_mask = static_cast<uint8_t>(*v);
  if (!t.netfn && in.has("netfn_mask")) in.mistake("netfn_mask", "needs netfn");
  if (!t.cmd && in.has("cmd_mask")) in.mistake("cmd_mask", "needs cmd");
  if (auto v = in.hex("data")) t.data = std::move(*v);
  if (auto v = in.named("access")) t.access = static_cast<faults::AccessKind>(*v);
  if (auto v = in.named("register")) t.register_name = static_cast<faults::Register>(*v);
  if (auto v = in.integer("offset")) t.offset = static_cast<uint16_t>(*v);
  if (auto v = in.hex("value")) t.value = (*v)[0];
  if (auto v = in.named("phase")) t.phase = static_cast<faults::TransferPhase>(*v);
  if (auto v = in.integer("skip")) t.skip = static_cast<uint32_t>(*v);
  if (auto v = in.integer("nth")) t.nth = static_cast<uint32_t>(*v);
  if (auto v = in.integer("every")) t.every = static_cast<uint32_t>(*v);
  if (auto v = in.number("probability")) t.probability = static_cast<uint32_t>(std::lround(*v * 1e6));
  if (auto v = in.duration("from")) t.from = *v;
  if (auto v = in.duration("until")) t.until = *v;
  if (auto v = in.duration("period")) t.period = *v;
  if (auto v = in.integer("count")) rule.count = static_cast<uint32_t>(*v);
  if (!action.found()) {
    static constexpr const char* kActions[] = {
        "cc", "drop", "delay", "answer_at", "sequence", "answer_netfn", "answer_cmd", "truncate", "extend",
        "length_byte", "corrupt", "bad_checksum", "duplicate", "previous_answer", "hold", "withhold", "read_value",
        "read_xor", "lose_write", "bmc", "interrupt", "attention"};
    std::string names;
    bool tried = false;  // one whose value is wrong: that is told already
    for (const char* action_key : kActions) {
      names += (names.empty() ? "" : ", ") + std::string(action_key);
      tried = tried || in.has(action_key);
    }
    if (!tried) in.mistake("name", "the rule does nothing: give it one of " + names);
  } else if (Status sane = faults::check(rule); !sane) {
    in.mistake("name", sane.error().message);
  }
  return rule;
}

Result<std::vector<faults::Rule>> parse_faults(std::string_view text, const std::string& file_name,
                                               const ConfigLimits& limits) {
  ReadContext context;
  context.limits = limits;
  context.file_name = file_name;
  YamlMistake mistake;
  YamlNode::Pointer root =
      is_short_form(text) ? short_forms(text, limits, &mistake) : parse_yaml(text, limits, &mistake);
  if (!root || root->kind == YamlNode::Kind::kNull) {
    context.mistake(mistake.place, "", mistake.what.empty() ? "no rule is here; expected 'faults:'" : mistake.what);
    return Error{ErrorCode::kInvalidArgument, context.report()};
  }
  // All shapes become the mapping with the list 'faults:'.
  std::vector<faults::Rule> rules;
  const bool wrapped = root->kind == YamlNode::Kind::kMap && root->find("faults");
  if (!wrapped && root->kind == YamlNode::Kind::kMap) {
    ObjectReader in(context, root, fault_keys(), "");
    rules.push_back(read_fault(in));
  } else {
    if (!wrapped) {
      auto outer = std::make_shared<YamlNode>();
      outer->kind = YamlNode::Kind::kMap;
      outer->place = root->place;
      outer->members.push_back({"faults", root->place, root});
      root = outer;
    }
    ObjectReader file(context, root, fault_file_keys(), "");
    for (const ListItem& item : file.list("faults")) {
      ObjectReader in(context, item.node, fault_keys(), item.path);
      rules.push_back(read_fault(in));
    }
    if (rules.empty() && !context.failed()) file.mistake("faults", "expected at least one rule");
  }
  if (context.failed()) return Error{ErrorCode::kInvalidArgument, context.report()};
  return rules;
}

Result<std::vector<faults::Rule>> load_faults(const std::string& path, const ConfigLimits& limits) {
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    ErrorCode code = errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo;
    return Error{code, path + ": cannot open it: " + std::strerror(errno)};
  }
  std::string text(limits.file_bytes_max + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad()) return Error{ErrorCode::kIo, path + ": cannot read it"};
  text.resize(static_cast<size_t>(in.gcount()));
  if (text.size() > limits.file_bytes_max) {
    return Error{ErrorCode::kInvalidArgument,
                 path + ": longer than " + std::to_string(limits.file_bytes_max) + " bytes"};
  }
  return parse_faults(text, path, limits);
}

}  // namespace bmcpair::daemon
