#include "bmc_emu/daemon/config.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <tuple>

#include "bmc_emu/daemon/config_build.h"
#include "bmc_emu/daemon/config_reader.h"
#include "bmc_emu/daemon/fault_rules.h"
#include "bmc_emu/daemon/sensor_scale.h"
#include "bmc_emu/transport/vm_protocol/server.h"
#include "proto/base/address.h"
#include "proto/ipmi/fru.h"
#include "proto/ipmi/sdr.h"
#include "proto/ipmi/sel.h"

namespace bmcpair::daemon {
namespace {

// Which one of a counted BMC is being made.
struct Instance {
  uint64_t n = 0;
  std::string name;
};

// {n}, {n:02} and {name} become what they stand for.
std::string expand(const std::string& text, const Instance& instance) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    std::string_view rest = std::string_view(text).substr(i);
    if (rest.substr(0, 3) == "{n}") {
      out += std::to_string(instance.n);
      i += 2;
    } else if (rest.size() >= 6 && rest.substr(0, 4) == "{n:0" && rest[4] >= '1' && rest[4] <= '9' && rest[5] == '}') {
      std::string digits = std::to_string(instance.n);
      size_t width = static_cast<size_t>(rest[4] - '0');
      out += std::string(width > digits.size() ? width - digits.size() : 0, '0') + digits;
      i += 5;
    } else if (rest.substr(0, 6) == "{name}") {
      out += instance.name;
      i += 5;
    } else {
      out += text[i];
    }
  }
  return out;
}

bool counts(std::string_view text) {
  return text.find("{n}") != std::string_view::npos || text.find("{n:0") != std::string_view::npos ||
         text.find("{name}") != std::string_view::npos;
}

// Made from a name: the same name is the same machine on every start. 64-bit FNV-1a, then mixed twice (SplitMix64),
// with version and variant bits as RFC 4122 wants of name-based ones, stored least significant byte first (§20.8).
firmware::Guid guid_of(std::string_view kind, std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (std::string_view part : {kind, std::string_view("/"), name}) {
    for (unsigned char c : part) hash = (hash ^ c) * 0x100000001b3u;
  }
  hardware::Random random(hash);
  firmware::Guid guid{};
  for (size_t half = 0; half < 2; ++half) {
    uint64_t word = random.next();
    for (size_t i = 0; i < 8; ++i) guid[half * 8 + i] = static_cast<uint8_t>(word >> (8 * i));
  }
  guid[9] = static_cast<uint8_t>(0x50 | (guid[9] & 0x0f));  // time_hi_and_version
  guid[7] = static_cast<uint8_t>(0x80 | (guid[7] & 0x3f));  // clock_seq_hi_and_reserved
  return guid;
}

// RFC 4122 text, most significant first, to the specification's order, least significant first (§20.8, table 20-10).
std::optional<firmware::Guid> parse_guid(std::string_view text) {
  if (text.size() != 36) return std::nullopt;
  std::string digits;
  for (size_t i = 0; i < text.size(); ++i) {
    bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash != (text[i] == '-')) return std::nullopt;
    if (!dash) digits += text[i];
  }
  auto bytes = from_hex(digits);
  if (!bytes || bytes->size() != 16) return std::nullopt;
  firmware::Guid guid{};
  std::reverse_copy(bytes->begin(), bytes->end(), guid.begin());
  return guid;
}

// Days since 1970-01-01 of a date of the Gregorian calendar.
int64_t days_of(int64_t year, int64_t month, int64_t day) {
  year -= month <= 2;
  int64_t era = (year >= 0 ? year : year - 399) / 400;
  int64_t of_era = year - era * 400;
  int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

// "2024-05-01 12:00" or "2024-05-01 12:00:00" or "2024-05-01", UTC, to seconds since 1970.
std::optional<int64_t> parse_time(std::string_view text) {
  static constexpr std::string_view kShape = "dddd-dd-dd dd:dd:dd";
  if (text.size() != 10 && text.size() != 16 && text.size() != 19) return std::nullopt;
  int64_t part[6] = {0, 0, 0, 0, 0, 0};
  size_t n = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    bool digit = text[i] >= '0' && text[i] <= '9';
    if (kShape[i] == 'd') {
      if (!digit) return std::nullopt;
      part[n] = part[n] * 10 + (text[i] - '0');
    } else {
      if (text[i] != kShape[i] && !(kShape[i] == ' ' && text[i] == 'T')) return std::nullopt;
      ++n;
    }
  }
  static constexpr int64_t kDays[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  if (part[0] < 1970 || part[0] > 2105 || part[1] < 1 || part[1] > 12 || part[2] < 1 || part[2] > kDays[part[1] - 1] ||
      part[3] > 23 || part[4] > 59 || part[5] > 59) {
    return std::nullopt;
  }
  bool leap = (part[0] % 4 == 0 && part[0] % 100 != 0) || part[0] % 400 == 0;
  if (part[1] == 2 && part[2] == 29 && !leap) return std::nullopt;
  return days_of(part[0], part[1], part[2]) * 86400 + part[3] * 3600 + part[4] * 60 + part[5];
}

// A socket or directory: absolute, or in the run directory, so that it means the same wherever the daemon starts.
bool is_anchored(std::string_view path) {
  return (path.size() > 1 && path[0] == '/') || (path.size() > 7 && path.substr(0, 7) == "${RUN}/");
}

std::string number_text(double value) {
  std::ostringstream out;
  out.precision(10);
  out << value;
  return out.str();
}

class Loader {
 public:
  explicit Loader(ReadContext& context) : context_(context) {}

  DaemonConfig load(YamlNode::Pointer root) {
    DaemonConfig out;
    ObjectReader file(context_, std::move(root), file_keys(), "");
    if (auto node = file.object("daemon")) read_daemon(node, out);
    read_templates(file);
    for (const ListItem& item : file.list("bmcs")) read_bmc(item, out);
    if (file.has("bmcs") && out.boards.empty() && !context_.failed()) file.mistake("bmcs", "expected at least one BMC");
    return out;
  }

 private:
  void read_daemon(YamlNode::Pointer node, DaemonConfig& out) {
    ObjectReader in(context_, std::move(node), daemon_keys(), "daemon");
    if (auto listen = in.texts("listen")) {
      std::set<std::string> seen;
      for (const std::string& text : *listen) {
        std::string address = canonical_address(text);
        if (!seen.insert(address).second) in.mistake("listen", "'" + address + "' is here twice");
        if (address.rfind("unix:", 0) == 0) {
          if (!is_anchored(address.substr(5))) {
            in.mistake("listen", "the path of '" + text + "' must be absolute or begin with ${RUN}/");
          }
        } else {
          size_t colon = address.rfind(':');
          auto port = colon == std::string::npos ? std::nullopt : parse_number(address.substr(colon + 1), 65535);
          if (!port || colon == 0) in.mistake("listen", "expected unix:PATH or HOST:PORT, found '" + text + "'");
        }
        out.listen.push_back(address);
      }
    }
    if (auto tls = in.object("tls")) {
      ObjectReader files(context_, tls, tls_keys(), in.path_of("tls"));
      for (auto [key, to] : {std::pair("certificate", &out.tls.certificate), std::pair("key", &out.tls.key),
                             std::pair("client_ca", &out.tls.client_ca)}) {
        if (files.file(key)) *to = context_.resolve(files.text(key).value_or(""));
      }
    }
    if (auto state = in.text("state")) {
      out.state_directory = *state;
      if (!is_anchored(*state)) in.mistake("state", "the directory must be absolute or begin with ${RUN}/");
    }
    if (auto threads = in.integer("threads")) out.threads = static_cast<unsigned>(*threads);
    if (auto level = in.named("log_level")) {
      static constexpr const char* kLevels[] = {"trace", "debug", "info", "warning", "error"};
      out.log_level = kLevels[*level];
    }
  }

  void read_templates(ObjectReader& file) {
    for (const ListItem& item : file.map("templates")) {
      std::string path = "templates." + item.path;
      if (item.node->kind != YamlNode::Kind::kMap) {
        context_.mistake(item.node->place, path, "expected a mapping (key: value), as a BMC");
        continue;
      }
      for (const char* own : {"name", "count", "first", "template"}) {
        if (const auto* member = item.node->find(own)) {
          context_.mistake(member->place, path, "'" + std::string(own) + "' belongs to the BMC that uses the template");
        }
      }
      // Also a template that nobody uses is checked, as a BMC of that name; what it makes is forgotten.
      if (!context_.failed()) {
        ObjectReader in(context_, item.node, bmc_keys(), path);
        Built built;
        build(in, {0, "template"}, built);
      }
      templates_[item.path] = item.node;
    }
  }

  struct Built {
    board::BoardConfig board;
    std::vector<VfioUserConfig> vfio_user;
    std::vector<VmConfig> vm;
  };

  void read_bmc(const ListItem& item, DaemonConfig& out) {
    YamlNode::Pointer node = item.node;
    if (node->kind == YamlNode::Kind::kMap) {
      if (const auto* use = node->find("template")) {
        auto found = templates_.find(use->value->scalar);
        if (found == templates_.end()) {
          std::vector<std::string_view> names;
          for (const auto& [name, unused] : templates_) names.push_back(name);
          std::string near(nearest(use->value->scalar, names));
          context_.mistake(use->value->place, item.path + ".template",
                           "there is no template '" + use->value->scalar.substr(0, 60) + "'" +
                               (near.empty() ? "" : "; did you mean '" + near + "'?"));
          return;
        }
        auto merged = std::make_shared<YamlNode>(*node);
        if (found->second->kind == YamlNode::Kind::kMap) {
          for (const auto& member : found->second->members) {
            if (!node->find(member.key)) merged->members.push_back(member);
          }
        }
        node = merged;
      }
    }
    ObjectReader in(context_, node, bmc_keys(), item.path);
    in.text("template");
    std::string name = in.text("name").value_or("");
    if (!in.has("name")) in.mistake("name", "a BMC needs the key 'name'");
    auto count = static_cast<uint64_t>(in.integer("count").value_or(1));
    auto first = static_cast<uint64_t>(in.integer("first").value_or(0));
    bool counted = counts(name);
    if (count > 1 && !name.empty() && !counted) {
      in.mistake("name", "with a count the name must hold {n} or {n:02}: all " + std::to_string(count) + " would be '" +
                             name + "'");
      return;
    }
    if (out.boards.size() + count > context_.limits.boards_max) {
      in.mistake("count", "more than " + std::to_string(context_.limits.boards_max) + " BMCs in all");
      return;
    }
    Instance instance{first, ""};
    instance.name = expand(name, instance);
    Built prototype;
    build(in, instance, prototype);
    check_several(in, count);
    for (uint64_t i = 0; i < count; ++i) {
      Instance each{first + i, ""};
      each.name = expand(name, each);
      if (each.name.size() > 64) {
        in.mistake("name", "'" + each.name + "' is longer than 64 characters");
        return;
      }
      if (!each.name.empty() && !names_.insert(each.name).second) {
        in.mistake("name", "there is already a BMC named '" + each.name + "'");
        return;
      }
      Built built = i + 1 < count ? prototype : std::move(prototype);
      if (!context_.failed()) personalise(in, each, i, built);
      if (context_.failed()) {
        if (out.boards.empty()) out.boards.emplace_back();  // something was there
        continue;
      }
      out.boards.push_back(std::move(built.board));
      for (VfioUserConfig& socket : built.vfio_user) {
        if (!sockets_.insert(socket.socket).second) {
          in.mistake("interfaces", "the vfio-user socket '" + socket.socket + "' is used twice");
        }
        out.vfio_user.push_back(std::move(socket));
      }
      for (VmConfig& socket : built.vm) {
        // A path is one socket, whoever listens there; port 0 is always another.
        bool is_unix = socket.listen.rfind("unix:", 0) == 0;
        bool any_port = !is_unix && socket.listen.size() > 2 && socket.listen.substr(socket.listen.size() - 2) == ":0";
        if (counted && !context_.failed()) {
          if (Status good = transport::check_vm_address(socket.listen); !good) {
            in.mistake("interfaces", good.error().message);
          }
        }
        if (!any_port && !sockets_.insert(is_unix ? socket.listen.substr(5) : socket.listen).second) {
          in.mistake("interfaces", "the VM socket '" + socket.listen + "' is used twice");
        }
        out.vm.push_back(std::move(socket));
      }
    }
  }

  // What must differ between machines that are otherwise one description.
  void check_several(ObjectReader& in, uint64_t count) {
    if (count <= 1) return;
    if (auto identity = in.object("identity")) {
      for (const char* key : {"device_guid", "system_guid"}) {
        if (const auto* member = identity->find(key)) {
          context_.mistake(
              member->place, in.path_of("identity") + "." + key,
              "all " + std::to_string(count) + " would have this GUID; leave it out, it is made from the name");
        }
      }
    }
    for (const ListItem& item : in.list("interfaces")) {
      const auto* vfio = item.node->find("vfio_user");
      const auto* socket = vfio ? vfio->value->find("socket") : nullptr;
      if (socket && !counts(socket->value->scalar)) {
        context_.mistake(socket->value->place, item.path + ".vfio_user.socket",
                         "with a count it must hold {n}, {n:02} or {name}");
      }
      const auto* vm = item.node->find("vm");
      const auto* listen = vm ? vm->value->find("listen") : nullptr;
      if (listen && !counts(listen->value->scalar)) {
        context_.mistake(listen->value->place, item.path + ".vm.listen",
                         "with a count it must hold {n}, {n:02} or {name}");
      }
    }
  }

  void personalise(ObjectReader& in, const Instance& instance, uint64_t i, Built& built) {
    firmware::BmcConfig& bmc = built.board.firmware;
    bmc.name = instance.name;
    if (!guid_given(in, "device_guid")) bmc.identity.device_guid = guid_of("device", instance.name);
    if (!guid_given(in, "system_guid")) bmc.identity.system_guid = guid_of("system", instance.name);
    if (i > 0) {
      bmc.frus.clear();
      build_frus(in, instance, bmc);
      for (board::InterfaceConfig& interface : built.board.interfaces) interface.seed += i;
    }
    for (VfioUserConfig& socket : built.vfio_user) {
      socket.bmc = instance.name;
      socket.socket = expand(socket.socket, instance);
    }
    for (VmConfig& socket : built.vm) {
      socket.bmc = instance.name;
      socket.listen = expand(socket.listen, instance);
    }
  }

  bool guid_given(ObjectReader& in, const char* key) {
    auto identity = in.object("identity");
    return identity && identity->find(key);
  }

  void build(ObjectReader& in, const Instance& instance, Built& built) {
    firmware::BmcConfig& bmc = built.board.firmware;
    bmc.name = instance.name;
    if (auto node = in.object("identity")) build_identity(node, in.path_of("identity"), bmc.identity);
    if (auto on = in.boolean("power_on")) bmc.power_on = *on;
    build_interfaces(in, built);
    build_faults(in, built);
    build_sensors(in, bmc);
    build_frus(in, instance, bmc);
    if (auto node = in.object("sdr")) build_sdr(node, in.path_of("sdr"), bmc);
    if (auto node = in.object("sel")) build_sel(node, in.path_of("sel"), bmc);
    build_satellites(in, bmc);
    build_i2c(in, bmc);
    build_users(in, bmc);
    build_channels(in, bmc);
    if (auto node = in.object("reset")) {
      ObjectReader reset(context_, node, reset_keys(), in.path_of("reset"));
      if (auto d = reset.duration("cold_offline")) bmc.cold_reset_offline = *d;
      if (auto d = reset.duration("warm_offline")) bmc.warm_reset_offline = *d;
    }
    if (auto node = in.object("bt")) {
      ObjectReader bt(context_, node, bt_keys(), in.path_of("bt"));
      if (auto v = bt.integer("requests_outstanding")) bmc.max_requests_outstanding = static_cast<uint8_t>(*v);
      if (auto v = bt.integer("response_seconds")) bmc.bt_response_seconds = static_cast<uint8_t>(*v);
      if (auto v = bt.integer("retries")) bmc.bt_retries = static_cast<uint8_t>(*v);
    }
  }

  void build_identity(YamlNode::Pointer node, const std::string& path, firmware::Identity& out) {
    ObjectReader in(context_, std::move(node), identity_keys(), path);
    if (auto v = in.integer("device_id")) out.device_id = static_cast<uint8_t>(*v);
    if (auto v = in.integer("device_revision")) out.device_revision = static_cast<uint8_t>(*v);
    if (auto v = in.boolean("provides_device_sdrs")) out.provides_device_sdrs = *v;
    if (auto v = in.text("firmware")) {
      size_t dot = v->find('.');
      unsigned major = static_cast<unsigned>(std::stoul(v->substr(0, dot)));
      if (major > 127) in.mistake("firmware", "the major revision has 7 bits: at most 127");
      if (v->size() - dot - 1 != 2) in.mistake("firmware", "the minor revision has two digits, as in \"1.02\"");
      out.firmware_major = static_cast<uint8_t>(major & 0x7f);
      if (v->size() - dot - 1 == 2)
        out.firmware_minor_bcd = static_cast<uint8_t>(((*v)[dot + 1] - '0') << 4 | ((*v)[dot + 2] - '0'));
    }
    if (auto v = in.text("ipmi_version")) {
      if (v->size() != 3 || (*v)[1] != '.') {
        in.mistake("ipmi_version", "expected one digit on each side, as in \"2.0\"");
      } else {
        out.ipmi_version_bcd = static_cast<uint8_t>(((*v)[2] - '0') << 4 | ((*v)[0] - '0'));
      }
    }
    if (auto v = in.integer("additional_device_support")) out.additional_device_support = static_cast<uint8_t>(*v);
    if (auto v = in.integer("manufacturer_id")) out.manufacturer_id = static_cast<uint32_t>(*v);
    if (auto v = in.integer("product_id")) out.product_id = static_cast<uint16_t>(*v);
    if (auto v = in.hex("aux_firmware")) std::copy(v->begin(), v->end(), out.aux_firmware.begin());
    for (auto [key, to] : {std::pair("device_guid", &out.device_guid), std::pair("system_guid", &out.system_guid)}) {
      auto v = in.text(key);
      if (!v) continue;
      if (auto guid = parse_guid(*v)) *to = *guid;
      else in.mistake(key, "expected a GUID as 12345678-1234-1234-1234-123456789abc, found '" + *v + "'");
    }
    if (auto v = slave_address(in, "ipmb_address")) out.ipmb_address = *v;
  }

  // 8-bit slave addresses are even (I2C's read/write bit is 0).
  std::optional<uint8_t> slave_address(ObjectReader& in, const char* key) {
    auto v = in.integer(key);
    if (!v) return std::nullopt;
    if (*v % 2) {
      in.mistake(key, "an 8-bit slave address is even, found " + std::to_string(*v));
      return std::nullopt;
    }
    return static_cast<uint8_t>(*v);
  }

  void build_faults(ObjectReader& bmc, Built& built) {
    for (const ListItem& item : bmc.list("faults")) {
      ObjectReader in(context_, item.node, fault_keys(), item.path);
      faults::Rule rule = read_fault(in);
      const auto& interfaces = built.board.interfaces;
      if (!context_.failed() && std::none_of(interfaces.begin(), interfaces.end(), [&](const auto& interface) {
            return faults::applies(rule, interface.name, interface.kind);
          })) {
        in.mistake("name", "no interface of this BMC can meet the rule");
      }
      built.board.faults.push_back(std::move(rule));
    }
  }

  void build_interfaces(ObjectReader& bmc, Built& built) {
    std::set<std::string> names;
    for (const ListItem& item : bmc.list("interfaces")) {
      ObjectReader in(context_, item.node, interface_keys(), item.path);
      board::InterfaceConfig interface;
      if (auto kind = in.named("kind")) interface.kind = static_cast<registers::InterfaceKind>(*kind);
      interface.name = in.text("name").value_or(std::string(registers::to_string(interface.kind)));
      if (interface.name.find('{') != std::string::npos) in.mistake("name", "an interface's name holds no {n}");
      if (!names.insert(interface.name).second) {
        in.mistake("name", "there is already an interface named '" + interface.name + "' in this BMC");
      }
      if (auto v = in.boolean("interrupt")) interface.interrupt = *v;
      if (auto v = in.boolean("hardware_reset")) {
        interface.hardware_reset = *v;
        if (*v && interface.kind != registers::InterfaceKind::kBt)
          in.mistake("hardware_reset", "only a BT interface has BMC_HWRST");
      }
      if (auto v = in.integer("seed")) interface.seed = static_cast<uint64_t>(*v);
      if (auto node = in.object("latency")) build_latencies(node, in.path_of("latency"), interface.latency);
      if (auto node = in.object("vfio_user")) {
        ObjectReader vfio(context_, node, vfio_user_keys(), in.path_of("vfio_user"));
        VfioUserConfig socket;
        socket.bmc = built.board.firmware.name;
        socket.interface = interface.name;
        socket.socket = vfio.text("socket").value_or("");
        if (vfio.has("socket") && !is_anchored(socket.socket)) {
          vfio.mistake("socket", "the path must be absolute or begin with ${RUN}/, found '" + socket.socket + "'");
        }
        if (auto bar = vfio.named("bar")) socket.bar = static_cast<BarKind>(*bar);
        if (auto spacing = vfio.named("spacing")) {
          socket.spacing = static_cast<uint16_t>(*spacing);
          if (*spacing != 1 && *spacing != 4 && *spacing != 16) vfio.mistake("spacing", "expected 1, 4 or 16");
        }
        built.vfio_user.push_back(std::move(socket));
      }
      if (auto node = in.object("vm")) {
        ObjectReader vm(context_, node, vm_keys(), in.path_of("vm"));
        VmConfig socket{built.board.firmware.name, interface.name, vm.text("listen").value_or("")};
        if (vm.has("listen")) {
          bool is_unix = socket.listen.rfind("unix:", 0) == 0;
          if (is_unix && !is_anchored(socket.listen.substr(5))) {
            vm.mistake("listen", "the path must be absolute or begin with ${RUN}/, found '" + socket.listen + "'");
          } else if (!counts(socket.listen)) {
            if (Status good = transport::check_vm_address(socket.listen); !good) {
              vm.mistake("listen", good.error().message);
            }
          }
        }
        built.vm.push_back(std::move(socket));
      }
      built.board.interfaces.push_back(std::move(interface));
    }
  }

  void build_latencies(YamlNode::Pointer node, const std::string& path, hardware::LatencyPlan& plan) {
    ObjectReader in(context_, std::move(node), latencies_keys(), path);
    if (auto v = in.latency("access")) plan.access = *v;
    if (auto v = in.latency("response")) plan.response = *v;
    for (const ListItem& item : in.list("commands")) {
      ObjectReader command(context_, item.node, command_latency_keys(), item.path);
      auto netfn = command.named("netfn");
      auto cmd = command.integer("cmd");
      auto latency = command.latency("response");
      if (!netfn || !cmd || !latency) continue;
      if (*netfn % 2) {
        command.mistake("netfn", "requests have even NetFns");
        continue;
      }
      if (!plan.by_command.emplace(std::pair(static_cast<uint8_t>(*netfn), static_cast<uint8_t>(*cmd)), *latency)
               .second) {
        command.mistake("cmd", "this NetFn and command is here a second time");
      }
    }
  }

  void build_sensors(ObjectReader& bmc, firmware::BmcConfig& out) {
    std::set<std::pair<int64_t, int64_t>> numbers;
    std::set<std::string> names;
    std::vector<ListItem> items = bmc.list("sensors");
    // Numbers that are given go first, so that those chosen here never meet them.
    for (const ListItem& item : items) {
      if (item.node->kind != YamlNode::Kind::kMap || !item.node->find("number")) continue;
      ObjectReader in(context_, item.node, sensor_keys(), item.path);
      auto number = in.integer("number");
      auto lun = in.integer("lun").value_or(0);
      if (number && !numbers.insert({lun, *number}).second) {
        in.mistake("number", "there is already a sensor " + std::to_string(*number) + " on LUN " + std::to_string(lun));
      }
    }
    for (const ListItem& item : items) {
      ObjectReader in(context_, item.node, sensor_keys(), item.path);
      firmware::SensorConfig sensor;
      sensor.name = in.text("name").value_or("");
      if (!sensor.name.empty() && !names.insert(sensor.name).second) {
        in.mistake("name", "there is already a sensor named '" + sensor.name + "' in this BMC");
      }
      sensor.owner_lun = static_cast<uint8_t>(in.integer("lun").value_or(0));
      if (auto number = in.integer("number")) {
        sensor.number = static_cast<uint8_t>(*number);
      } else {
        int64_t free = 1;
        while (numbers.count({sensor.owner_lun, free})) ++free;
        if (free > 254) in.mistake("name", "there is no sensor number left on LUN " + std::to_string(sensor.owner_lun));
        numbers.insert({sensor.owner_lun, free});
        sensor.number = static_cast<uint8_t>(free);
      }
      sensor.sensor_type = static_cast<uint8_t>(in.named("type").value_or(1));
      sensor.entity_id = static_cast<uint8_t>(in.named("entity").value_or(7));
      sensor.entity_instance = static_cast<uint8_t>(in.integer("entity_instance").value_or(1));
      sensor.settable = in.boolean("settable").value_or(true);
      static constexpr const char* kThreshold[] = {"unit", "min", "max", "m", "b", "b_exponent", "r_exponent", "signed",
                                                   "initial", "nominal", "wave", "thresholds"};
      static constexpr const char* kDiscrete[] = {"reading_type", "events", "states"};
      sensor.threshold = sensor.sensor_type >= 1 && sensor.sensor_type <= 4;
      for (const char* key : kDiscrete) sensor.threshold = sensor.threshold && !in.has(key);
      for (const char* key : kThreshold) sensor.threshold = sensor.threshold || in.has(key);
      if (auto kind = in.named("kind")) sensor.threshold = *kind == 1;
      if (sensor.threshold) {
        for (const char* key : kDiscrete) {
          if (in.has(key)) in.mistake(key, "is of discrete sensors, and this is a threshold sensor");
        }
        build_threshold(in, sensor);
      } else {
        for (const char* key : kThreshold) {
          if (in.has(key)) in.mistake(key, "is of threshold sensors, and this is a discrete sensor");
        }
        build_discrete(in, sensor);
      }
      out.sensors.push_back(std::move(sensor));
    }
  }

  void build_discrete(ObjectReader& in, firmware::SensorConfig& sensor) {
    sensor.event_reading_type = static_cast<uint8_t>(in.named("reading_type").value_or(0x6f));
    auto mask = [](const std::vector<int64_t>& offsets) {
      uint16_t bits = 0;
      for (int64_t offset : offsets) bits = static_cast<uint16_t>(bits | 1u << offset);
      return bits;
    };
    if (auto events = in.integers("events")) sensor.event_mask = mask(*events);
    if (auto states = in.integers("states")) sensor.initial_state = mask(*states);
  }

  void build_threshold(ObjectReader& in, firmware::SensorConfig& sensor) {
    sensor.event_reading_type = 0x01;
    static constexpr uint8_t kUsualUnit[] = {0, 1, 4, 5, 18};  // by sensor type 0..4
    sensor.unit = sensor.sensor_type < 5 ? kUsualUnit[sensor.sensor_type] : uint8_t{0};
    if (auto unit = in.named("unit")) sensor.unit = static_cast<uint8_t>(*unit);

    // Every value that the sensor must be able to express, with its place.
    std::vector<std::tuple<double, std::string, YamlPlace>> values;
    auto value = [&](ObjectReader& from, const char* key, std::optional<double>& to) {
      to = from.number(key);
      if (to) values.emplace_back(*to, from.path_of(key), from.place(key));
    };
    std::optional<double> initial, nominal;
    value(in, "initial", initial);
    value(in, "nominal", nominal);
    if (auto node = in.object("wave")) {
      ObjectReader wave(context_, node, wave_keys(), in.path_of("wave"));
      if (auto shape = wave.named("shape")) sensor.wave.shape = static_cast<firmware::Wave::Shape>(*shape);
      sensor.wave.amplitude = wave.number("amplitude").value_or(0);
      if (auto period = wave.duration("period")) sensor.wave.period = *period;
    }
    firmware::Thresholds& t = sensor.thresholds;
    if (auto node = in.object("thresholds")) {
      ObjectReader thresholds(context_, node, thresholds_keys(), in.path_of("thresholds"));
      value(thresholds, "lower_non_recoverable", t.lower_non_recoverable);
      value(thresholds, "lower_critical", t.lower_critical);
      value(thresholds, "lower_non_critical", t.lower_non_critical);
      value(thresholds, "upper_non_critical", t.upper_non_critical);
      value(thresholds, "upper_critical", t.upper_critical);
      value(thresholds, "upper_non_recoverable", t.upper_non_recoverable);
      double both = thresholds.number("hysteresis").value_or(0);
      t.positive_hysteresis = thresholds.number("positive_hysteresis").value_or(both);
      t.negative_hysteresis = thresholds.number("negative_hysteresis").value_or(both);
      const std::pair<const char*, std::optional<double>*> rising[] = {
          {"lower_non_recoverable", &t.lower_non_recoverable}, {"lower_critical", &t.lower_critical},
          {"lower_non_critical", &t.lower_non_critical},       {"upper_non_critical", &t.upper_non_critical},
          {"upper_critical", &t.upper_critical},               {"upper_non_recoverable", &t.upper_non_recoverable}};
      const char* below = nullptr;
      double least = 0;
      for (const auto& [key, threshold] : rising) {
        if (!*threshold) continue;
        if (below && **threshold < least) {
          thresholds.mistake(key, number_text(**threshold) + " is below " + below + ", " + number_text(least));
        }
        below = key;
        least = **threshold;
      }
    }
    sensor.initial = initial.value_or(0);
    sensor.nominal = nominal.value_or(sensor.initial);

    SensorScale scale;
    bool factors = in.has("m") || in.has("b") || in.has("b_exponent") || in.has("r_exponent") || in.has("signed");
    auto min = in.number("min");
    auto max = in.number("max");
    scale.m = static_cast<int16_t>(in.integer("m").value_or(1));
    scale.b = static_cast<int16_t>(in.integer("b").value_or(0));
    scale.b_exponent = static_cast<int8_t>(in.integer("b_exponent").value_or(0));
    scale.r_exponent = static_cast<int8_t>(in.integer("r_exponent").value_or(0));
    scale.is_signed = in.boolean("signed").value_or(false);
    if (scale.m == 0) in.mistake("m", "0 gives every raw value the same reading");
    if (in.has("min") || in.has("max")) {
      if (factors) {
        in.mistake(in.has("min") ? "min" : "max", "give either min and max, or m, b and exponents");
      } else if (!in.has("min") || !in.has("max")) {
        in.mistake(in.has("min") ? "min" : "max", "min and max go together");
      } else if (min && max) {
        if (auto chosen = choose_scale(*min, *max)) scale = *chosen;
        else in.mistake("max", "no factors express " + number_text(*min) + " to " + number_text(*max) +
                                   (*min < *max ? "" : ": max must be above min"));
      }
    } else if (!factors && !values.empty()) {
      // Neither: plain counts where they express what is used, else a range with some air above.
      double low = std::min(0.0, sensor.initial - sensor.wave.amplitude);
      double high = sensor.initial + sensor.wave.amplitude;
      bool whole = true;
      for (const auto& [v, path, place] : values) {
        low = std::min(low, v);
        high = std::max(high, v);
        whole = whole && v == std::floor(v);
      }
      if (low < 0 || high > 255 || !whole || high < 8) {
        if (auto chosen = choose_scale(low * 1.25, high * 1.25 + (high <= low ? 1 : 0))) scale = *chosen;
      }
    }
    double slack = scale.step() / 2;
    for (const auto& [v, path, place] : values) {
      if (v < scale.least() - slack || v > scale.greatest() + slack) {
        context_.mistake(place, path, number_text(v) + " is outside of what the sensor expresses, " +
                                          number_text(scale.least()) + " to " + number_text(scale.greatest()));
      }
    }
    sensor.m = scale.m;
    sensor.b = scale.b;
    sensor.b_exponent = scale.b_exponent;
    sensor.r_exponent = scale.r_exponent;
    sensor.is_signed = scale.is_signed;
  }

  void build_frus(ObjectReader& bmc, const Instance& instance, firmware::BmcConfig& out) {
    std::set<int64_t> ids;
    std::vector<ListItem> items = bmc.list("frus");
    for (const ListItem& item : items) {
      if (item.node->kind != YamlNode::Kind::kMap || !item.node->find("id")) continue;
      ObjectReader in(context_, item.node, fru_keys(), item.path);
      auto id = in.integer("id");
      if (id && !ids.insert(*id).second) in.mistake("id", "there is already a FRU " + std::to_string(*id));
    }
    for (const ListItem& item : items) {
      ObjectReader in(context_, item.node, fru_keys(), item.path);
      firmware::FruConfig fru;
      if (auto id = in.integer("id")) {
        fru.id = static_cast<uint8_t>(*id);
      } else {
        int64_t free = 0;
        while (ids.count(free)) ++free;
        if (free > 254) in.mistake("name", "there is no FRU id left");
        ids.insert(free);
        fru.id = static_cast<uint8_t>(free);
      }
      if (auto name = in.text("name")) fru.name = *name;
      auto size = in.integer("size");
      if (size) fru.size = static_cast<uint16_t>(*size);
      ipmi::FruInventory inventory;
      bool areas = false;
      auto text = [&](ObjectReader& from, const char* key) { return expand(from.text(key).value_or(""), instance); };
      auto texts = [&](ObjectReader& from) {
        std::vector<std::string> all = from.texts("extra").value_or(std::vector<std::string>{});
        for (std::string& one : all) one = expand(one, instance);
        return all;
      };
      if (auto node = in.object("chassis")) {
        areas = true;
        ObjectReader from(context_, node, fru_chassis_keys(), in.path_of("chassis"));
        inventory.chassis.emplace();
        inventory.chassis->type = static_cast<uint8_t>(from.named("type").value_or(0x17));
        inventory.chassis->part_number = text(from, "part_number");
        inventory.chassis->serial = text(from, "serial");
        inventory.chassis->custom = texts(from);
      }
      if (auto node = in.object("board")) {
        areas = true;
        ObjectReader from(context_, node, fru_board_keys(), in.path_of("board"));
        inventory.board.emplace();
        if (auto when = from.text("manufactured")) {
          static const int64_t kFirst = days_of(1996, 1, 1) * 86400;
          auto seconds = parse_time(*when);
          if (!seconds || *seconds < kFirst || (*seconds - kFirst) / 60 > 0xffffff) {
            from.mistake("manufactured",
                         "expected a date and time from 1996 to 2027, as \"2024-05-01 12:00\", found '" + *when + "'");
          } else {
            inventory.board->manufactured = static_cast<uint32_t>((*seconds - kFirst) / 60);
          }
        }
        inventory.board->manufacturer = text(from, "manufacturer");
        inventory.board->product = text(from, "product");
        inventory.board->serial = text(from, "serial");
        inventory.board->part_number = text(from, "part_number");
        inventory.board->fru_file_id = text(from, "fru_file_id");
        inventory.board->custom = texts(from);
      }
      if (auto node = in.object("product")) {
        areas = true;
        ObjectReader from(context_, node, fru_product_keys(), in.path_of("product"));
        inventory.product.emplace();
        inventory.product->manufacturer = text(from, "manufacturer");
        inventory.product->name = text(from, "name");
        inventory.product->part_number = text(from, "part_number");
        inventory.product->version = text(from, "version");
        inventory.product->serial = text(from, "serial");
        inventory.product->asset_tag = text(from, "asset_tag");
        inventory.product->fru_file_id = text(from, "fru_file_id");
        inventory.product->custom = texts(from);
      }
      if (auto content = in.file("file")) {
        if (areas) in.mistake("file", "give either a file, or chassis, board and product");
        if (content->size() > 65535) in.mistake("file", "a FRU inventory has at most 65535 bytes, the file has more");
        else if (!size) fru.size = static_cast<uint16_t>(std::max<size_t>(content->size(), 8));
        if (content->size() > fru.size) {
          in.mistake("size", "the file has " + std::to_string(content->size()) + " bytes, more than " +
                                 std::to_string(fru.size));
        }
        fru.content = std::move(*content);
      } else if (areas && !context_.failed()) {
        auto built = ipmi::build_fru(inventory, fru.size);
        if (!built) context_.mistake(item.node->place, item.path, built.error().message);
        else fru.content = std::move(*built);
      }
      out.frus.push_back(std::move(fru));
    }
  }

  void build_sdr(YamlNode::Pointer node, const std::string& path, firmware::BmcConfig& out) {
    ObjectReader in(context_, std::move(node), sdr_keys(), path);
    if (auto v = in.integer("size_max")) out.sdr_bytes_max = static_cast<uint16_t>(*v);
    if (auto dump = in.file("file")) {
      auto records = ipmi::parse_sdr_dump(*dump);
      if (!records) in.mistake("file", "not a dump of SDRs: " + records.error().message);
      if (dump->size() > out.sdr_bytes_max) {
        in.mistake("file", "has " + std::to_string(dump->size()) + " bytes, more than size_max, " +
                               std::to_string(out.sdr_bytes_max));
      }
      out.sdr_dump = std::move(*dump);
    }
  }

  void build_sel(YamlNode::Pointer node, const std::string& path, firmware::BmcConfig& out) {
    ObjectReader in(context_, std::move(node), sel_keys(), path);
    if (auto v = in.integer("entries_max")) out.sel_entries_max = static_cast<uint16_t>(*v);
    std::vector<ListItem> items = in.list("preload");
    if (items.size() > out.sel_entries_max) {
      in.mistake("preload", std::to_string(items.size()) + " records, more than entries_max, " +
                                std::to_string(out.sel_entries_max));
    }
    for (const ListItem& item : items) {
      if (item.node->kind != YamlNode::Kind::kScalar) {
        out.sel_preload.push_back(build_sel_record(item, out));
        continue;
      }
      auto bytes = from_hex(item.node->scalar);
      if (!bytes || bytes->size() != ipmi::kSelRecordBytes) {
        context_.mistake(item.node->place, item.path, "expected 16 bytes in hexadecimal, or a mapping");
      } else if (auto record = ipmi::decode_sel_record(*bytes); !record) {
        context_.mistake(item.node->place, item.path, record.error().message);
      } else {
        out.sel_preload.push_back(std::move(*bytes));
      }
    }
  }

  Bytes build_sel_record(const ListItem& item, const firmware::BmcConfig& bmc) {
    ObjectReader in(context_, item.node, sel_record_keys(), item.path);
    ipmi::SelRecord record;
    if (auto time = in.text("time")) {
      auto seconds = parse_time(*time);
      if (!seconds) {
        if (auto number = parse_number(*time, UINT32_MAX)) seconds = static_cast<int64_t>(*number);
      }
      if (!seconds || *seconds > UINT32_MAX)
        in.mistake("time", "expected a time as \"2024-05-01 12:00:00\", found '" + *time + "'");
      else record.timestamp = static_cast<uint32_t>(*seconds);
    }
    int64_t generator = in.integer("generator").value_or(0x20);
    record.generator_low = static_cast<uint8_t>(generator);
    record.generator_high = static_cast<uint8_t>(generator >> 8);
    uint8_t event_type = 0x6f;
    if (auto name = in.text("sensor")) {
      auto found = std::find_if(bmc.sensors.begin(), bmc.sensors.end(), [&](const auto& s) { return s.name == *name; });
      if (found != bmc.sensors.end()) {
        record.sensor_number = found->number;
        record.sensor_type = found->sensor_type;
        event_type = found->threshold ? 0x01 : found->event_reading_type;
      } else if (auto number = parse_number(*name, 255)) {
        record.sensor_number = static_cast<uint8_t>(*number);
      } else {
        std::vector<std::string_view> names;
        for (const auto& sensor : bmc.sensors) names.push_back(sensor.name);
        std::string near(nearest(*name, names));
        in.mistake("sensor", "there is no sensor '" + *name + "' in this BMC" +
                                 (near.empty() ? "" : "; did you mean '" + near + "'?"));
      }
    }
    if (auto v = in.named("sensor_type")) record.sensor_type = static_cast<uint8_t>(*v);
    if (auto v = in.named("event_type")) event_type = static_cast<uint8_t>(*v);
    record.event_dir_type =
        static_cast<uint8_t>((in.boolean("deasserted").value_or(false) ? 0x80 : 0) | (event_type & 0x7f));
    if (auto data = in.hex("data")) std::copy(data->begin(), data->end(), record.data.begin());
    return ipmi::encode(record);
  }

  void build_satellites(ObjectReader& bmc, firmware::BmcConfig& out) {
    std::set<uint8_t> addresses{out.identity.ipmb_address};
    for (const ListItem& item : bmc.list("satellites")) {
      ObjectReader in(context_, item.node, satellite_keys(), item.path);
      firmware::SatelliteConfig satellite;
      if (auto v = slave_address(in, "address")) {
        satellite.address = *v;
        if (!addresses.insert(*v).second) in.mistake("address", "is already that of the BMC or of another satellite");
      }
      satellite.identity.ipmb_address = satellite.address;
      if (auto node = in.object("identity")) {
        build_identity(node, in.path_of("identity"), satellite.identity);
        if (node->find("ipmb_address")) {
          context_.mistake(node->find("ipmb_address")->place, in.path_of("identity"),
                           "a satellite's address is its 'address'");
        }
      }
      if (auto v = in.boolean("answers")) satellite.answers = *v;
      if (auto v = in.duration("latency")) satellite.latency = *v;
      out.satellites.push_back(std::move(satellite));
    }
  }

  void build_i2c(ObjectReader& bmc, firmware::BmcConfig& out) {
    std::set<std::pair<uint8_t, uint8_t>> addresses;
    for (const ListItem& item : bmc.list("i2c_devices")) {
      ObjectReader in(context_, item.node, i2c_keys(), item.path);
      firmware::I2cDeviceConfig device;
      device.bus = static_cast<uint8_t>(in.integer("bus").value_or(0));
      if (auto v = slave_address(in, "address")) {
        device.address = *v;
        if (!addresses.emplace(device.bus, *v).second)
          in.mistake("address", "there is already a device at this address of this bus");
      }
      if (auto v = in.hex("content")) device.content = std::move(*v);
      if (auto v = in.file("file")) {
        if (in.has("content")) in.mistake("file", "give either content or a file");
        if (v->size() > 256)
          in.mistake("file", "has " + std::to_string(v->size()) + " bytes; a device here has at most 256");
        device.content = std::move(*v);
      }
      if (auto v = in.boolean("writable")) device.writable = *v;
      out.i2c_devices.push_back(std::move(device));
    }
  }

  void build_users(ObjectReader& bmc, firmware::BmcConfig& out) {
    std::set<uint8_t> ids;
    std::set<std::string> names;
    for (const ListItem& item : bmc.list("users")) {
      ObjectReader in(context_, item.node, user_keys(), item.path);
      firmware::UserConfig user;
      user.id = static_cast<uint8_t>(in.integer("id").value_or(2));
      if (in.has("id") && !ids.insert(user.id).second)
        in.mistake("id", "there is already a user " + std::to_string(user.id));
      user.name = in.text("name").value_or("");
      if (!user.name.empty() && !names.insert(user.name).second)
        in.mistake("name", "there is already a user of this name");
      if (user.id == 1 && !user.name.empty()) in.mistake("name", "user 1 is the nameless user (§6.9)");
      user.password = in.text("password").value_or("");
      user.privilege = static_cast<uint8_t>(in.named("privilege").value_or(4));
      if (auto v = in.boolean("enabled")) user.enabled = *v;
      out.users.push_back(std::move(user));
    }
  }

  void build_channels(ObjectReader& bmc, firmware::BmcConfig& out) {
    std::set<uint8_t> numbers;
    for (const ListItem& item : bmc.list("channels")) {
      ObjectReader in(context_, item.node, channel_keys(), item.path);
      firmware::ChannelConfig channel;
      channel.number = static_cast<uint8_t>(in.integer("number").value_or(1));
      if (in.has("number") && !numbers.insert(channel.number).second) {
        in.mistake("number", "there is already a channel " + std::to_string(channel.number));
      }
      channel.medium = static_cast<uint8_t>(in.named("medium").value_or(4));
      channel.protocol = static_cast<uint8_t>(in.named("protocol").value_or(1));
      channel.privilege_limit = static_cast<uint8_t>(in.named("privilege_limit").value_or(4));
      out.channels.push_back(channel);
    }
  }

  ReadContext& context_;
  std::map<std::string, YamlNode::Pointer> templates_;
  std::set<std::string> names_;
  std::set<std::string> sockets_;
};

}  // namespace

Result<DaemonConfig> parse_config_asking(std::string_view text, const std::string& file_name,
                                         const ConfigLimits& limits, std::set<const Key*>* asked) {
  ReadContext context;
  context.limits = limits;
  context.file_name = file_name;
  if (size_t slash = file_name.rfind('/'); slash != std::string::npos) context.folder = file_name.substr(0, slash + 1);
  YamlMistake mistake;
  YamlNode::Pointer root = parse_yaml(text, limits, &mistake);
  if (!root || root->kind == YamlNode::Kind::kNull) {
    context.mistake(mistake.place, "",
                    mistake.what.empty() ? "the file is empty; expected at least 'bmcs:'" : mistake.what);
    return Error{ErrorCode::kInvalidArgument, context.report()};
  }
  DaemonConfig config = Loader(context).load(root);
  if (asked) *asked = context.asked;
  if (context.failed()) return Error{ErrorCode::kInvalidArgument, context.report()};
  return config;
}

Result<DaemonConfig> parse_config(std::string_view text, const std::string& file_name, const ConfigLimits& limits) {
  return parse_config_asking(text, file_name, limits, nullptr);
}

Result<DaemonConfig> load_config(const std::string& path, const ConfigLimits& limits) {
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    ErrorCode code = errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo;
    return Error{code, path + ": cannot open it: " + std::strerror(errno)};
  }
  std::string text;
  text.resize(limits.text_bytes_max + 1);
  errno = 0;
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad() || (in.gcount() == 0 && errno != 0))
    return Error{ErrorCode::kIo, path + ": cannot read it: " + std::strerror(errno)};
  text.resize(static_cast<size_t>(in.gcount()));
  return parse_config(text, path, limits);
}

std::string expand_run_directory(std::string path, const std::string& run_directory) {
  static constexpr std::string_view kRun = "${RUN}";
  for (size_t at = path.find(kRun); at != std::string::npos; at = path.find(kRun, at + run_directory.size())) {
    path.replace(at, kRun.size(), run_directory);
  }
  return path;
}

}  // namespace bmcpair::daemon
