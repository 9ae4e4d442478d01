#include "integration/scenarios/story.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <utility>

#include "bmc_emu/daemon/fault_rules.h"
#include "host_driver/state_machine/profile.h"
#include "integration/lab/arena.h"
#include "integration/lab/rig.h"

namespace bmcpair::scenarios {

using lab::HostOptions;
using lab::LabBmc;
using lab::LabHost;
using lab::LabUser;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

namespace {

// ---- reading -------------------------------------------------------------------------------------------------------

// Where `ends_within` says when a run has no end, this bounds what turns without letting time pass.
constexpr uint64_t kStepsWhereTimeJudges = 5'000'000;

struct Mistake {
  int line;
  std::string what;
};

[[noreturn]] void wrong(const YAML::Node& node, std::string what) { throw Mistake{node.Mark().line + 1, std::move(what)}; }

std::string text_of(const YAML::Node& node, const char* what) {
  if (!node || !node.IsScalar()) wrong(node, std::string(what) + ": expected a text");
  return node.Scalar();
}

int64_t number_of(const YAML::Node& node, const char* what, int64_t max) {
  const auto n = parse_number(text_of(node, what), static_cast<uint64_t>(max));
  if (!n) wrong(node, std::string(what) + ": expected a number up to " + std::to_string(max));
  return static_cast<int64_t>(*n);
}

bool bool_of(const YAML::Node& node, const char* what) {
  const std::string t = text_of(node, what);
  if (t != "true" && t != "false") wrong(node, std::string(what) + ": expected true or false");
  return t == "true";
}

Duration duration_of(const YAML::Node& node, const char* what) {
  const std::string t = text_of(node, what);
  const size_t digits = t.find_first_not_of("0123456789");
  static constexpr std::pair<std::string_view, Duration> kUnits[] = {
      {"us", std::chrono::microseconds(1)}, {"ms", milliseconds(1)}, {"s", seconds(1)}, {"min", minutes(1)},
      {"h", std::chrono::hours(1)}};
  if (digits != 0 && digits != std::string::npos && digits < 10) {
    for (const auto& [unit, length] : kUnits) {
      if (t.substr(digits) == unit) return std::stol(t.substr(0, digits)) * length;
    }
  }
  wrong(node, std::string(what) + ": expected a duration, as 250us, 10ms, 3s, 5min or 1h");
}

std::vector<faults::Rule> rules_of(const YAML::Node& node) {
  auto rules = daemon::parse_faults(node.IsScalar() ? node.Scalar() : YAML::Dump(node), "fault");
  if (!rules) wrong(node, rules.error().message);
  return *std::move(rules);
}

std::vector<Step> steps_of(const YAML::Node& node);

void known_keys(const YAML::Node& node, std::initializer_list<std::string_view> keys) {
  for (const auto& entry : node) {
    const std::string key = entry.first.Scalar();
    if (std::find(keys.begin(), keys.end(), key) != keys.end()) continue;
    std::string all;
    for (std::string_view k : keys) all += (all.empty() ? "" : ", ") + std::string(k);
    wrong(entry.first, "'" + key + "' is not known here; there is " + all);
  }
}

// "3", or {user: 0, times: 3}; null: once.
void who_and_how_often(const YAML::Node& node, const char* what, Step& step) {
  step.number = 1;
  if (node.IsMap()) {
    if (node["user"]) step.user = static_cast<int>(number_of(node["user"], "user", 31));
    if (node["times"]) step.number = number_of(node["times"], "times", 10000);
  } else if (!node.IsNull()) {
    step.number = number_of(node, what, 10000);
  }
}

// A required key of a mapping.
YAML::Node needed(const YAML::Node& node, const char* key, const char* what) {
  if (!node.IsMap() || !node[key]) wrong(node, std::string(what) + ": expected a mapping with " + key);
  return node[key];
}

Step step_of(const YAML::Node& node) {
  using Kind = Step::Kind;
  Step s;
  std::string word;
  YAML::Node value;  // null: none
  if (node.IsScalar()) {
    word = node.Scalar();
  } else if (node.IsMap() && node.size() == 1) {
    word = node.begin()->first.Scalar();
    value = node.begin()->second;
  } else {
    wrong(node, "expected a step: a word, or one key with its value");
  }
  auto only_word = [&] {
    if (!value.IsNull()) wrong(value, word + " takes no value");
  };
  auto needs_value = [&] {
    if (value.IsNull()) wrong(node, word + " needs a value");
  };
  if (word == "bring_up" || word == "identity") {
    s.kind = word == "identity" ? Kind::kIdentity : Kind::kBringUp;
    if (!value.IsNull()) {
      if (text_of(value, word.c_str()) != "may_fail") wrong(value, word + ": expected nothing, or may_fail");
      s.flag = true;
    }
  } else if (word == "users") {
    needs_value();
    s.kind = Kind::kUsers;
    s.number = number_of(value, "users", 16);
  } else if (word == "send") {
    s.kind = Kind::kSend;
    s.target = 8;
    if (value.IsMap()) {
      known_keys(value, {"user", "times", "bytes"});
      if (value["bytes"]) s.target = std::max<int64_t>(number_of(value["bytes"], "bytes", 270), 8);
    }
    who_and_how_often(value, "send", s);
  } else if (word == "send_ipmb") {
    s.kind = Kind::kSendIpmb;
    s.target = lab::kSatelliteAddress;
    if (value.IsMap()) {
      known_keys(value, {"user", "times", "to", "retry", "retries"});
      if (value["to"]) s.target = number_of(value["to"], "to", 0xfe);
      if (value["retry"]) s.duration = duration_of(value["retry"], "retry");
      if (value["retries"]) s.retries = static_cast<int>(number_of(value["retries"], "retries", 10));
    }
    who_and_how_often(value, "send_ipmb", s);
  } else if (word == "reset_command") {
    needs_value();
    s.kind = Kind::kResetCommand;
    const std::string t = text_of(value, "reset_command");
    if (t != "cold" && t != "warm") wrong(value, "reset_command: expected cold or warm");
    s.flag = t == "cold";
  } else if (word == "commands" || word == "expect_commands") {
    s.kind = word == "commands" ? Kind::kCommands : Kind::kExpectCommands;
    who_and_how_often(value, word.c_str(), s);
    if (value.IsMap()) known_keys(value, {"user", "times"});
  } else if (word == "update_firmware" || word == "expect_channel") {
    needs_value();
    s.kind = word == "update_firmware" ? Kind::kUpdateFirmware : Kind::kExpectChannel;
    s.number = number_of(needed(value, "channel", word.c_str()), "channel", 11);
    s.target = number_of(needed(value, "medium", word.c_str()), "medium", 0x7f);
    known_keys(value, {"channel", "medium"});
  } else if (word == "expect_accesses") {
    needs_value();
    s.kind = Kind::kExpectAccesses;
    s.number = number_of(value, "expect_accesses", 1'000'000);
  } else if (word == "attention_served") {
    only_word();
    s.kind = Kind::kAttentionServed;
  } else if (word == "expect_watch") {
    needs_value();
    s.kind = Kind::kExpectWatch;
    s.number = number_of(value, "expect_watch", 7);
  } else if (word == "settle") {
    s.kind = Kind::kSettle;
    s.duration = !value.IsNull() ? duration_of(value, "settle") : minutes(10);
  } else if (word == "parallel") {
    needs_value();
    s.kind = Kind::kParallel;
    if (!value.IsSequence() || value.size() < 2 || value.size() > 8) wrong(value, "parallel: expected 2 to 8 lists of steps");
    for (const auto& branch : value) s.branches.push_back(steps_of(branch));
  } else if (word == "sleep") {
    needs_value();
    s.kind = Kind::kSleep;
    s.duration = duration_of(value, "sleep");
  } else if (word == "fault") {
    needs_value();
    s.kind = Kind::kFault;
    s.rules = rules_of(value);
  } else if (word == "clear_faults") {
    only_word();
    s.kind = Kind::kClearFaults;
  } else if (word == "fault_point") {
    needs_value();
    s.kind = Kind::kFaultPoint;
    if (value.IsMap()) {
      known_keys(value, {"name", "times", "hold"});
      s.text = text_of(needed(value, "name", "fault_point"), "name");
      s.number = value["times"] ? number_of(value["times"], "times", 1000) : 1;
      if (value["hold"]) s.duration = duration_of(value["hold"], "hold");
    } else {
      s.text = text_of(value, "fault_point");
      s.number = 1;
    }
  } else if (word == "events") {
    s.kind = Kind::kEvents;
    s.number = !value.IsNull() ? number_of(value, "events", 1000) : 1;
  } else if (word == "gets_events") {
    s.kind = Kind::kGetsEvents;
    s.flag = !value.IsNull() ? bool_of(value, "gets_events") : true;
  } else if (word == "expect_events") {
    needs_value();
    s.kind = Kind::kExpectEvents;
    s.number = number_of(value, "expect_events", 1000);
  } else if (word == "unregister") {
    only_word();
    s.kind = Kind::kUnregister;
  } else if (word == "end_users") {
    only_word();
    s.kind = Kind::kEndUsers;
  } else if (word == "panic") {
    s.kind = Kind::kPanic;
    s.text = "Oops: a panic";
    if (value.IsMap()) {
      known_keys(value, {"reason", "may_be_lost", "stop"});
      if (value["reason"]) s.text = text_of(value["reason"], "reason");
      if (value["may_be_lost"]) s.flag = bool_of(value["may_be_lost"], "may_be_lost");
      if (value["stop"]) {
        if (text_of(value["stop"], "stop") != "at_once") wrong(value["stop"], "stop: expected at_once");
        s.at_once = true;
      }
    } else if (!value.IsNull()) {
      s.text = text_of(value, "panic");
    }
  } else if (word == "reset") {
    needs_value();
    s.kind = Kind::kReset;
    const std::string t = text_of(value, "reset");
    if (t != "cold" && t != "warm") wrong(value, "reset: expected cold or warm");
    s.flag = t == "cold";
  } else if (word == "unplug") {
    only_word();
    s.kind = Kind::kUnplug;
  } else if (word == "plug_in") {
    only_word();
    s.kind = Kind::kPlugIn;
  } else if (word == "recovers") {
    s.kind = Kind::kRecovers;
    s.duration = !value.IsNull() ? duration_of(value, "recovers") : minutes(2);
  } else if (word == "expect_good") {
    needs_value();
    s.kind = Kind::kExpectGood;
    s.number = number_of(value, "expect_good", 10000);
  } else if (word == "receive_commands") {
    s.kind = Kind::kReceiveCommands;
    s.target = 1;  // channel 0, the primary IPMB
    if (!value.IsNull()) {
      if (!value.IsMap()) wrong(value, "receive_commands: expected nothing, or user and channels");
      known_keys(value, {"user", "channels"});
      if (value["user"]) s.user = static_cast<int>(number_of(value["user"], "user", 31));
      if (const YAML::Node channels = value["channels"]) {
        if (!channels.IsSequence() || channels.size() == 0) wrong(channels, "channels: expected a list of numbers");
        s.target = 0;
        for (const auto& c : channels) s.target |= int64_t{1} << number_of(c, "channels", 15);
      }
    }
  } else {
    wrong(node, "'" + word +
                    "' is no step; there is bring_up, users, send, settle, parallel, sleep, fault, clear_faults, "
                    "fault_point, events, gets_events, expect_events, identity, unregister, end_users, panic, reset, "
                    "unplug, plug_in, recovers, expect_good, receive_commands, send_ipmb, reset_command, commands, "
                    "expect_commands, update_firmware, expect_channel, expect_watch, expect_accesses, attention_served");
  }
  return s;
}

std::vector<Step> steps_of(const YAML::Node& node) {
  if (!node || !node.IsSequence()) wrong(node, "expected a list of steps");
  std::vector<Step> out;
  for (const auto& n : node) out.push_back(step_of(n));
  return out;
}

StoryData read(const YAML::Node& root) {
  if (!root.IsMap()) wrong(root, "expected a mapping");
  known_keys(root, {"name", "title", "source", "was", "interface", "interrupts", "steady", "tolerate_refusals", "bt", "satellite", "faults", "do",
                    "profiles", "budget", "prove", "ends_within", "steps_max", "endless_events"});
  StoryData d;
  d.name = text_of(root["name"], "name");
  d.title = text_of(root["title"], "title");
  d.source = text_of(root["source"], "source");
  d.was = text_of(root["was"], "was");
  const std::string kind = text_of(root["interface"], "interface");
  if (kind == "bt") {
    d.interface = registers::InterfaceKind::kBt;
  } else if (kind == "kcs") {
    d.interface = registers::InterfaceKind::kKcs;
  } else if (kind == "smic") {
    d.interface = registers::InterfaceKind::kSmic;
  } else {
    wrong(root["interface"], "interface: expected bt, kcs or smic");
  }
  if (root["interrupts"]) d.interrupts = bool_of(root["interrupts"], "interrupts");
  if (root["steady"]) d.steady = bool_of(root["steady"], "steady");
  if (root["tolerate_refusals"]) d.tolerate_refusals = bool_of(root["tolerate_refusals"], "tolerate_refusals");
  if (root["endless_events"]) d.endless_events = bool_of(root["endless_events"], "endless_events");
  if (const YAML::Node satellite = root["satellite"]) {
    if (satellite.IsMap()) {
      known_keys(satellite, {"latency"});
      d.satellite_latency = duration_of(needed(satellite, "latency", "satellite"), "latency");
    } else if (bool_of(satellite, "satellite")) {
      d.satellite_latency = firmware::SatelliteConfig{}.latency;
    }
  }
  if (root["ends_within"]) {
    d.time_max = duration_of(root["ends_within"], "ends_within");
    d.steps_max = kStepsWhereTimeJudges;
  }
  if (const YAML::Node bt = root["bt"]) {
    known_keys(bt, {"response_seconds", "retries"});
    if (bt["response_seconds"]) d.bt_response_seconds = static_cast<unsigned>(number_of(bt["response_seconds"], "response_seconds", 255));
    if (bt["retries"]) d.bt_retries = static_cast<unsigned>(number_of(bt["retries"], "retries", 255));
  }
  if (root["faults"]) d.faults = rules_of(root["faults"]);
  d.steps = steps_of(root["do"]);
  const YAML::Node profiles = root["profiles"];
  if (!profiles || !profiles.IsMap()) wrong(root, "profiles: expected a mapping of profile to what is found");
  for (const auto& entry : profiles) {
    Expectation e;
    e.profile = entry.first.Scalar();
    if (auto p = state_machine::profile_with(e.profile); !p) wrong(entry.first, p.error().message);
    if (entry.second.IsMap()) {
      known_keys(entry.second, {"oracle", "says"});
      e.oracle = text_of(entry.second["oracle"], "oracle");
      if (entry.second["says"]) e.says = text_of(entry.second["says"], "says");
    } else if (text_of(entry.second, "profile") != "survives") {
      e.oracle = entry.second.Scalar();
    }
    d.expectations.push_back(std::move(e));
  }
  if (d.expectations.empty() || d.expectations.back().profile != "hardened") {
    wrong(profiles, "profiles: the last must be hardened");
  }
  if (root["budget"]) d.budget = static_cast<uint64_t>(number_of(root["budget"], "budget", 1'000'000));
  if (root["steps_max"]) d.steps_max = static_cast<uint64_t>(number_of(root["steps_max"], "steps_max", 100'000'000));
  if (root["prove"]) d.prove_preemptions = static_cast<int>(number_of(root["prove"], "prove", 5));
  return d;
}

// ---- running -------------------------------------------------------------------------------------------------------

// Longer than the panic's own bound and a step of any wait in it (E.13).
constexpr Duration kPanicMax = seconds(12);
// The slowest BMC answers after a minute, and stalls are half a minute; there may be a few things to fetch.
constexpr Duration kAttentionMax = minutes(5);

class Player {
 public:
  Player(Run& run, const StoryData& data, const state_machine::Profile& profile)
      : run_(run), data_(data), hardened_(lab::is_hardened(profile)), disturbed_(!data.faults.empty()) {
    lab::BmcOptions b;
    b.kind = data.interface;
    b.interrupt = data.interrupts;
    b.steady = data.steady;
    b.faults = data.faults;
    b.endless_events = data.endless_events;
    if (data.bt_response_seconds) b.firmware.bt_response_seconds = static_cast<uint8_t>(*data.bt_response_seconds);
    if (data.bt_retries) b.firmware.bt_retries = static_cast<uint8_t>(*data.bt_retries);
    if (data.satellite_latency) {
      firmware::SatelliteConfig& satellite = b.firmware.satellites.emplace_back();
      satellite.address = lab::kSatelliteAddress;
      satellite.identity.device_id = lab::kSatelliteDeviceId;
      satellite.latency = *data.satellite_latency;
    }
    bmc_ = std::make_unique<LabBmc>(run, std::move(b));
    HostOptions h;
    h.profile = &profile;
    h.interface.use_interrupt = data.interrupts;
    h.tolerate_refusals = data.tolerate_refusals;
    host_ = std::make_unique<LabHost>(run, std::move(h));
  }

  void play() {
    play(data_.steps);
    // Whatever the BMC wanted attention for has been fetched, or will be soon: where nothing is in the way, by itself.
    if (hardened_ && data_.interrupts && !disturbed_ && !data_.endless_events && number_ >= 0) attention_served();
    for (auto& u : users_) u->check_charges();
    // Everything in its order; what is left then is a leak.
    users_.clear();
    if (number_ >= 0) (void)host_->unregister(number_);
    host_.reset();
    bmc_.reset();
  }

 private:
  void play(const std::vector<Step>& steps) {
    for (const Step& s : steps) {
      if (run_.options.story) run_.tell("-- " + name_of(s));
      play(s);
    }
  }

  static std::string name_of(const Step& s) {
    static constexpr std::array kNames = {
        "bring_up",       "users",       "send",          "settle",           "parallel",        "sleep",
        "fault",          "clear_faults", "fault_point",  "events",           "gets_events",     "expect_events",
        "identity",       "unregister",  "end_users",     "panic",            "reset",           "unplug",
        "plug_in",        "recovers",    "expect_good",   "receive_commands", "send_ipmb",       "reset_command",
        "commands",       "expect_commands", "update_firmware", "expect_channel", "expect_watch",     "expect_accesses",
        "attention_served"};
    static_assert(kNames.size() == static_cast<size_t>(Step::Kind::kCount));
    return kNames[static_cast<size_t>(s.kind)];
  }

  template <class F>
  void each_user(const Step& s, F f) {
    for (size_t i = 0; i < users_.size(); ++i) {
      if (s.user < 0 || static_cast<size_t>(s.user) == i) f(*users_[i]);
    }
  }

  void add_user() {
    auto u = std::make_unique<LabUser>(run_, *host_, bmc_.get(), number_, static_cast<uint32_t>(users_.size() + 1));
    if (!u->ok()) run_.fail("setup", "no user can be made");
    users_.push_back(std::move(u));
  }

  void play(const Step& s) {
    using Kind = Step::Kind;
    switch (s.kind) {
      case Kind::kBringUp: {
        if (number_ >= 0) return;
        auto number = host_->bring_up(*bmc_);
        if (number) {
          number_ = *number;
        } else if (!s.flag) {
          run_.fail("registration", "the interface does not come up: " + number.error().to_string());
        }
        return;
      }
      case Kind::kUsers:
        for (int64_t i = 0; i < s.number && number_ >= 0; ++i) add_user();
        return;
      case Kind::kSend:
        for (int64_t i = 0; i < s.number; ++i) {
          each_user(s, [&](LabUser& u) { u.send(static_cast<size_t>(s.target)); });
        }
        return;
      case Kind::kSettle:
        each_user(s, [&](LabUser& u) {
          u.settle(s.duration);
          u.check_charges();
        });
        return;
      case Kind::kParallel: {
        std::deque<rt::Thread> threads(s.branches.size());
        for (size_t i = 0; i < s.branches.size(); ++i) {
          threads[i].start("branch " + std::to_string(i + 1), [this, &s, i] { play(s.branches[i]); });
        }
        for (auto& t : threads) t.join();
        return;
      }
      case Kind::kSleep: rt::sleep_for(s.duration); return;
      case Kind::kFault:
        disturbed_ = true;
        for (const faults::Rule& rule : s.rules) {
          if (Status added = bmc_->add_fault(rule); !added) run_.fail("setup", added.error().to_string());
        }
        return;
      case Kind::kClearFaults: bmc_->clear_faults(); return;
      case Kind::kFaultPoint:
        disturbed_ = true;
        rt::World::current()->allow_fault(s.text, static_cast<unsigned>(s.number), s.duration);
        return;
      case Kind::kEvents:
        for (int64_t i = 0; i < s.number; ++i) bmc_->raise_event(static_cast<uint8_t>(++events_));
        return;
      case Kind::kGetsEvents:
        each_user(s, [&](LabUser& u) {
          if (Status st = u.user().set_gets_events(s.flag); !st) run_.fail("setup", st.error().to_string());
        });
        return;
      case Kind::kExpectEvents: each_user(s, [&](LabUser& u) { u.expect_events(static_cast<unsigned>(s.number)); }); return;
      case Kind::kIdentity: {
        auto id = host_->handler().identity(number_);
        if (!id && !s.flag) run_.fail("identity", "the BMC's identity cannot be had: " + id.error().to_string());
        const uint8_t is = bmc_->firmware().config().identity.device_id;
        if (id && id->id.device_id != is) {
          run_.fail("identity", "the BMC's device id is " + to_hex(Bytes{is}) + ", and is taken to be " +
                                    to_hex(Bytes{id->id.device_id}));
        }
        return;
      }
      case Kind::kUnregister:
        if (number_ >= 0) (void)host_->unregister(std::exchange(number_, -1));
        return;
      case Kind::kEndUsers: users_.clear(); return;
      case Kind::kPanic: panic(s); return;
      case Kind::kReset:
        bmc_->firmware().reset(s.flag, rt::now());
        bmc_->poke();
        return;
      case Kind::kUnplug:
        disturbed_ = true;
        bmc_->unplug();
        return;
      case Kind::kExpectAccesses: {
        const uint64_t before = std::exchange(accesses_, bmc_->host_accesses());
        if (accesses_ - before > static_cast<uint64_t>(s.number)) {
          run_.fail("accesses", "the host accessed the registers " + std::to_string(accesses_ - before) + " times since it was "
                                    "last asked; " + std::to_string(s.number) + " are enough");
        }
        return;
      }
      case Kind::kAttentionServed: attention_served(); return;
      case Kind::kPlugIn: bmc_->plug_in(); return;
      case Kind::kRecovers: recovers(s); return;
      case Kind::kExpectGood:
        each_user(s, [&](LabUser& u) {
          if (u.good() < static_cast<unsigned>(s.number)) {
            run_.fail("answers", "only " + std::to_string(u.good()) + " of a user's requests were answered well");
          }
        });
        return;
      case Kind::kReceiveCommands:
        each_user(s, [&](LabUser& u) {
          if (Status st = u.receive_commands(static_cast<uint32_t>(s.target)); !st) run_.fail("setup", st.error().to_string());
        });
        return;
      case Kind::kSendIpmb: {
        host::RequestOptions o;
        o.retry_time = s.duration;
        o.retries = s.retries;
        for (int64_t i = 0; i < s.number; ++i) {
          each_user(s, [&](LabUser& u) { u.send_ipmb(static_cast<uint8_t>(s.target), o); });
        }
        return;
      }
      case Kind::kResetCommand: each_user(s, [&](LabUser& u) { u.send_reset(s.flag); }); return;
      case Kind::kCommands:
        for (int64_t i = 0; i < s.number; ++i) bmc_->raise_command(static_cast<uint8_t>(++commands_));
        return;
      case Kind::kExpectCommands:
        each_user(s, [&](LabUser& u) { u.expect_commands(static_cast<unsigned>(s.number)); });
        return;
      case Kind::kUpdateFirmware:
        bmc_->update_firmware(static_cast<uint8_t>(s.number), static_cast<uint8_t>(s.target));
        return;
      case Kind::kExpectChannel: {
        const auto channels = host_->handler().channels(number_);
        const int medium = channels ? (*channels)[static_cast<size_t>(s.number)].medium : -1;
        if (medium != s.target) {
          run_.fail("channels", "channel " + std::to_string(s.number) + " is of medium " + std::to_string(medium) +
                                    ", and the BMC says " + std::to_string(s.target));
        }
        return;
      }
      case Kind::kExpectWatch:
        if (host_->smi() && host_->smi()->watched_for() != static_cast<unsigned>(s.number)) {
          run_.fail("watch", "the system interface still has to watch for " + std::to_string(host_->smi()->watched_for()) +
                                 " (E.9), where nobody wants but " + std::to_string(s.number));
        }
        return;
      case Kind::kCount: return;
    }
  }

  void attention_served() {
    const Instant deadline = rt::now() + kAttentionMax;
    while (bmc_->wants_attention()) {
      if (rt::now() >= deadline) {
        run_.fail("attention-lost", "the BMC has wanted attention for " + std::to_string(kAttentionMax / seconds(1)) +
                                        " s, and nobody comes");
      }
      rt::sleep_for(milliseconds(100));
    }
  }

  // Once faults have stopped, a request is answered well within the time.
  void recovers(const Step& s) {
    if (users_.empty()) {
      if (number_ < 0) run_.fail("no-recovery", "there is no interface");
      add_user();
    }
    LabUser& u = *users_.front();
    const Instant deadline = rt::now() + s.duration;
    const unsigned before = u.good();
    while (u.good() == before) {
      if (rt::now() >= deadline) {
        run_.fail("no-recovery", "no request is answered well " + std::to_string(s.duration / seconds(1)) +
                                     " s after the faults have stopped");
      }
      if (u.send()) u.settle(s.duration);
      if (u.good() == before) rt::sleep_for(milliseconds(500));
    }
  }

  void panic(const Step& s) {
    const Instant begun = rt::now();
    const unsigned before = bmc_->executions(0x04, 0x02);
    if (s.at_once && !rt::panicking()) rt::World::current()->begin_panic(true);
    const auto report = host_->handler().panic(s.text);
    if (!rt::in_panic_context()) return;  // another was first
    const Duration took = rt::now() - begun;
    if (took > kPanicMax) {
      run_.fail("panic-unbounded", "the panic path took " + std::to_string(took / milliseconds(1)) + " ms");
    }
    const unsigned told = bmc_->executions(0x04, 0x02) - before;
    // A BMC that is slow enough is asked again by the state machines themselves (A.2, B.3).
    if (told > 1 && data_.steady) run_.fail("executed-twice", "the BMC executed the panic's Platform Event " + std::to_string(told) + " times");
    if (told == 0 && number_ >= 0 && !s.flag) {
      run_.fail("panic-lost", "the panic's Platform Event never reached the BMC: " + std::to_string(report.sent) +
                                  " sent, " + std::to_string(report.lost) + " lost");
    }
    for (auto& u : users_) {
      if (data_.steady) u->check_executed_once();
    }
    rt::World::current()->stop();  // what has stopped stays stopped
  }

  Run& run_;
  const StoryData& data_;
  const bool hardened_;
  bool disturbed_;  // by a fault, or the wire
  uint64_t accesses_ = 0;  // when they were last looked at
  std::unique_ptr<LabBmc> bmc_;
  std::unique_ptr<LabHost> host_;
  int number_ = -1;
  unsigned events_ = 0;
  unsigned commands_ = 0;
  std::vector<std::unique_ptr<LabUser>> users_;
};

class Story final : public Exhibit {
 public:
  explicit Story(StoryData data) : data_(std::move(data)) {
    for (const Expectation& e : data_.expectations) profiles_.push_back(*state_machine::profile_with(e.profile));
  }
  std::string_view name() const override { return data_.name; }
  std::string_view title() const override { return data_.title; }
  std::string_view source() const override { return data_.source; }
  std::string_view was() const override { return data_.was; }
  const std::vector<Expectation>& expectations() const override { return data_.expectations; }
  uint64_t budget() const override { return data_.budget; }
  int prove_preemptions() const override { return data_.prove_preemptions; }

  Outcome run(std::string_view profile, Director& director, const RunOptions& options) const override {
    size_t i = 0;
    while (data_.expectations[i].profile != profile) ++i;
    rt::WorldOptions world;
    world.stalls = !data_.steady;
    world.steps_max = data_.steps_max;
    world.time_max = data_.time_max;
    return lab::run_world(director, options, world, [&](Run& run) { Player(run, data_, profiles_[i]).play(); });
  }

 private:
  const StoryData data_;
  std::vector<state_machine::Profile> profiles_;
};

}  // namespace

Result<StoryData> parse_story(std::string_view text, const std::string& file) {
  try {
    return read(YAML::Load(std::string(text)));
  } catch (const Mistake& m) {
    return Error{ErrorCode::kInvalidArgument, file + ':' + std::to_string(m.line) + ": " + m.what};
  } catch (const YAML::Exception& e) {
    return Error{ErrorCode::kInvalidArgument, file + ':' + std::to_string(e.mark.line + 1) + ": " + e.msg};
  }
}

std::unique_ptr<Exhibit> make_exhibit(StoryData data) { return std::make_unique<Story>(std::move(data)); }

Exhibits stories() {
  Exhibits out;
  for (const StoryText& t : story_texts()) {
    auto data = parse_story(t.text, std::string(t.file));
    if (!data) {
      std::fprintf(stderr, "bmcpair: %s\n", data.error().message.c_str());
      std::abort();
    }
    out.push_back(make_exhibit(*std::move(data)));
  }
  return out;
}

}  // namespace bmcpair::scenarios
