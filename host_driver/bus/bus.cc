#include "host_driver/bus/bus.h"

#include <algorithm>
#include <map>
#include <mutex>

#include "host_driver/bus/grpc.h"
#include "host_driver/bus/qtest.h"
#include "host_driver/bus/vfio_user.h"
#include "proto/base/hex.h"

namespace bmcpair::bus {
namespace {

constexpr size_t kSpecBytesMax = 4096;
constexpr size_t kSpecsMax = 4096;
constexpr size_t kOptionsMax = 16;

constexpr std::string_view kForms =
    "forms: in-process:CONFIG.yaml#bmc/interface, grpc:TARGET#bmc/interface, vfio-user:SOCKET[?spacing=4], "
    "qtest:SOCKET@0xe4[?kind=bt]";

struct Schemes {
  std::mutex mutex;
  std::map<std::string, OpenFunction, std::less<>> open;
};

Schemes& schemes() {
  static auto* s = [] {
    auto* made = new Schemes;  // never destroyed: a program may open a bus from anywhere
    made->open.emplace("grpc", open_grpc);
    made->open.emplace("qtest", open_qtest);
    made->open.emplace("vfio-user", open_vfio_user);
    return made;
  }();
  return *s;
}

std::string known_schemes() {
  std::lock_guard lock(schemes().mutex);
  std::string out;
  for (const auto& [name, open] : schemes().open) out += (out.empty() ? "" : ", ") + name;
  return out;
}

bool is_built_in(std::string_view scheme) {
  return scheme == "in-process" || scheme == "grpc" || scheme == "vfio-user" || scheme == "qtest";
}

bool is_registered(std::string_view scheme) {
  std::lock_guard lock(schemes().mutex);
  return schemes().open.find(scheme) != schemes().open.end();
}

bool is_word(std::string_view s) {
  return !s.empty() && std::all_of(s.begin(), s.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
}

// What the user typed, fit to stand in one line of an error.
std::string quoted(std::string_view text) {
  constexpr size_t kShown = 120;
  std::string out = "'";
  for (char c : text.substr(0, kShown)) {
    auto u = static_cast<unsigned char>(c);
    if (u < 0x20 || u == 0x7f) {
      const uint8_t byte[1] = {u};
      out += "\\x" + to_hex(byte);
    } else {
      out += c;
    }
  }
  if (text.size() > kShown) out += "...";
  return out + "'";
}

Error bad(std::string_view text, const std::string& what) {
  return {ErrorCode::kInvalidArgument, "bus spec " + quoted(text) + ": " + what + "; " + std::string(kForms)};
}

Status parse_options(std::string_view text, std::string_view options, BusSpec& spec) {
  while (true) {
    size_t end = options.find('&');
    std::string_view one = options.substr(0, end);
    size_t equals = one.find('=');
    if (equals == std::string_view::npos)
      return bad(text, "option " + quoted(one) + " has no value, expected NAME=VALUE after '?' or '&'");
    std::string_view key = one.substr(0, equals);
    std::string_view value = one.substr(equals + 1);
    if (!is_word(key)) return bad(text, "option name " + quoted(key) + " is not made of a-z, 0-9, '-', '_'");
    if (value.empty()) return bad(text, "option " + quoted(key) + " is empty");
    for (const auto& [k, v] : spec.options)
      if (k == key) return bad(text, "option " + quoted(key) + " is there twice");
    if (spec.options.size() == kOptionsMax)
      return bad(text, "more than " + std::to_string(kOptionsMax) + " options");
    spec.options.emplace_back(key, value);
    if (end == std::string_view::npos) return {};
    options.remove_prefix(end + 1);
  }
}

}  // namespace

Result<BusSpec> parse_bus_spec(std::string_view text) {
  if (text.empty()) return bad(text, "is empty");
  if (text.size() > kSpecBytesMax) return bad(text, "is longer than " + std::to_string(kSpecBytesMax) + " bytes");
  for (char c : text) {
    auto u = static_cast<unsigned char>(c);
    if (u < 0x20 || u == 0x7f) return bad(text, "has a control character in it");
  }
  BusSpec spec;
  spec.text = text;

  size_t colon = text.find(':');
  if (colon == std::string_view::npos) return bad(text, "has no scheme, expected SCHEME:TARGET");
  spec.scheme = text.substr(0, colon);
  if (!is_word(spec.scheme)) return bad(text, "scheme " + quoted(spec.scheme) + " is not made of a-z, 0-9, '-', '_'");
  if (!is_built_in(spec.scheme) && !is_registered(spec.scheme))
    return bad(text, "scheme " + quoted(spec.scheme) + " is unknown");
  std::string_view rest = text.substr(colon + 1);

  if (size_t question = rest.find('?'); question != std::string_view::npos) {
    std::string_view options = rest.substr(question + 1);
    if (options.find('#') != std::string_view::npos)
      return bad(text, "the path after '#' comes before the options after '?'");
    if (Status s = parse_options(text, options, spec); !s.ok()) return s.error();
    rest = rest.substr(0, question);
  }

  if (size_t hash = rest.find('#'); hash != std::string_view::npos) {
    if (spec.scheme == "vfio-user" || spec.scheme == "qtest")
      return bad(text, spec.scheme + " reaches one interface, there is no path after '#' to choose another");
    spec.path = rest.substr(hash + 1);
    if (std::count(spec.path.begin(), spec.path.end(), '/') > 1 || spec.path.find('#') != std::string::npos)
      return bad(text, "path " + quoted(spec.path) + " is not bmc/interface");
    rest = rest.substr(0, hash);
  }

  if (spec.scheme == "qtest") {
    if (size_t at = rest.rfind('@'); at != std::string_view::npos) {
      std::string_view base = rest.substr(at + 1);
      auto number = parse_number(base, 0xffff);
      if (!number)
        return bad(text, "base " + quoted(base) + " after '@' is not an I/O port, expected 0 to 0xffff such as 0xe4");
      spec.base = static_cast<uint16_t>(*number);
      rest = rest.substr(0, at);
    }
  }

  if (rest.empty()) return bad(text, "has no target after '" + spec.scheme + ":'");
  spec.target = rest;
  return spec;
}

Result<std::vector<BusSpec>> parse_bus_specs(std::string_view text) {
  std::vector<BusSpec> specs;
  while (true) {
    size_t comma = text.find(',');
    auto spec = parse_bus_spec(text.substr(0, comma));
    if (!spec.ok()) {
      if (specs.empty() && comma == std::string_view::npos) return spec.error();
      return Error{spec.error().code, "bus " + std::to_string(specs.size() + 1) + " of the list: " + spec.error().message};
    }
    if (specs.size() == kSpecsMax)
      return Error{ErrorCode::kLimit, "more than " + std::to_string(kSpecsMax) + " bus specs in one list"};
    specs.push_back(*std::move(spec));
    if (comma == std::string_view::npos) return specs;
    text.remove_prefix(comma + 1);
  }
}

void register_scheme(std::string scheme, OpenFunction open) {
  std::lock_guard lock(schemes().mutex);
  schemes().open.insert_or_assign(std::move(scheme), std::move(open));
}

Result<std::unique_ptr<registers::RegisterPort>> open_bus(const BusSpec& spec, const OpenOptions& options) {
  OpenFunction open;
  {
    std::lock_guard lock(schemes().mutex);
    auto it = schemes().open.find(spec.scheme);
    if (it != schemes().open.end()) open = it->second;
  }
  if (!open) {
    return bad(spec.text, (is_built_in(spec.scheme) ? "this program has no bus " : "unknown bus ") +
                              quoted(spec.scheme) + ", it has: " + known_schemes());
  }
  return open(spec, options);
}

}  // namespace bmcpair::bus
