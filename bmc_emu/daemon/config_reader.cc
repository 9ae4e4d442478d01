#include "bmc_emu/daemon/config_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>

namespace bmcpair::daemon {
namespace {

// Text of a peer's file in a message of ours: nothing that a terminal would obey.
std::string printable(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return text;
}

std::string quoted(std::string_view text) {
  return "'" + std::string(text.substr(0, 60)) + (text.size() > 60 ? "...'" : "'");
}

// "a BMC", "an interface", "the file".
std::string with_article(std::string_view name) {
  if (name == "file" || name == "daemon") return "the " + std::string(name);
  bool vowel = std::string_view("aeiouFI").find(name.front()) != std::string_view::npos || name.substr(0, 3) == "SDR" ||
               name.substr(0, 3) == "SEL";
  return (vowel ? "an " : "a ") + std::string(name);
}

std::string describe(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull: return "nothing";
    case YamlNode::Kind::kScalar: return quoted(node.scalar);
    case YamlNode::Kind::kList: return "a list";
    case YamlNode::Kind::kMap: return "a mapping";
  }
  return "something else";
}

std::string plain_number(double value) {
  char text[40];
  auto end = std::to_chars(text, text + sizeof text, value);
  return std::string(text, end.ptr);
}

std::string range_text(const Key& key, const std::string& unit = "") {
  return plain_number(key.min) + " to " + plain_number(key.max) + unit;
}

enum class IntegerFault { kNone, kMalformed, kLeadingZero };

std::optional<int64_t> parse_integer(const YamlNode& node, IntegerFault* fault) {
  *fault = IntegerFault::kMalformed;
  if (node.kind != YamlNode::Kind::kScalar || node.quoted) return std::nullopt;
  std::string_view text = node.scalar;
  bool negative = !text.empty() && text[0] == '-';
  if (negative) text.remove_prefix(1);
  int base = 10;
  if (text.size() > 2 && text[0] == '0' && text[1] == 'x') {
    base = 16;
    text.remove_prefix(2);
  } else if (text.size() > 1 && text[0] == '0' && text.find_first_not_of("0123456789") == std::string_view::npos) {
    *fault = IntegerFault::kLeadingZero;
    return std::nullopt;
  }
  int64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  *fault = IntegerFault::kNone;
  return negative ? -value : value;
}

std::string names_text(const NamedValues& names) {
  std::string out;
  size_t n = 0;
  for (const NamedValue& named : names) {
    if (++n > 12) return out + "... (" + std::to_string(names.size()) + " names; see the schema)";
    out += (out.empty() ? "" : ", ") + std::string(named.name);
  }
  return out;
}

bool is_name(std::string_view text) {
  // Letters, digits, '.', '_', '-', and {n} or {n:02}.
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '{') {
      std::string_view rest = text.substr(i);
      if (rest.substr(0, 3) == "{n}") {
        i += 2;
        continue;
      }
      if (rest.size() >= 6 && rest.substr(0, 4) == "{n:0" && rest[4] >= '1' && rest[4] <= '9' && rest[5] == '}') {
        i += 5;
        continue;
      }
      return false;
    }
    bool fine =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
    if (!fine) return false;
  }
  return !text.empty();
}

std::string suggestion(std::string_view word, const std::vector<std::string_view>& candidates) {
  std::string_view near = nearest(word, candidates);
  return near.empty() ? "" : "; did you mean '" + std::string(near) + "'?";
}

// Scalars by themselves, for keys and for elements of lists.
std::optional<int64_t> read_integer(ReadContext& context, const Key& key, const YamlNode& node,
                                    const std::string& path) {
  IntegerFault fault;
  auto value = parse_integer(node, &fault);
  if (value && static_cast<double>(*value) >= key.min && static_cast<double>(*value) <= key.max) return value;
  std::string what = "expected an integer, " + range_text(key) + ", found " + describe(node);
  if (fault == IntegerFault::kLeadingZero) what += " (a leading zero is ambiguous: write it without, or with 0x)";
  if (node.quoted) what += " in quotes, which is text";
  context.mistake(node.place, path, what);
  return std::nullopt;
}

std::optional<std::string> read_text(ReadContext& context, const Key& key, const YamlNode& node,
                                     const std::string& path) {
  if (node.kind != YamlNode::Kind::kScalar) {
    context.mistake(node.place, path, "expected text, found " + describe(node));
    return std::nullopt;
  }
  const std::string& text = node.scalar;
  for (unsigned char c : text) {
    if (c < 0x20 || c == 0x7f) {
      context.mistake(node.place, path, "has a control character");
      return std::nullopt;
    }
  }
  bool is_path = key.type == KeyType::kFile || key.element == KeyType::kFile;
  if (is_path && text.empty()) {
    context.mistake(node.place, path, "expected the path of a file, found nothing");
    return std::nullopt;
  }
  if (key.type == KeyType::kVersion) {
    size_t dot = text.find('.');
    bool fine = dot != std::string::npos && dot >= 1 && dot <= 3 && text.size() - dot - 1 >= 1 &&
                text.size() - dot - 1 <= 2 && text.find_first_not_of("0123456789.") == std::string::npos &&
                text.find('.', dot + 1) == std::string::npos;
    if (!fine) {
      context.mistake(node.place, path, "expected a version as \"MAJOR.MINOR\", found " + describe(node));
      return std::nullopt;
    }
    return text;
  }
  if (key.max > 0 && (static_cast<double>(text.size()) > key.max || static_cast<double>(text.size()) < key.min)) {
    context.mistake(node.place, path, "expected " + range_text(key, " characters") + ", found " +
                                          std::to_string(text.size()));
    return std::nullopt;
  }
  if (key.type == KeyType::kName && !is_name(text)) {
    context.mistake(
        node.place, path,
        "expected a name of letters, digits, '.', '_' and '-' ({n} or {n:02} for the number of a counted BMC), "
        "found " +
            describe(node));
    return std::nullopt;
  }
  return text;
}

std::optional<Duration> read_duration(ReadContext& context, const Key& key, const YamlNode& node,
                                      const std::string& path) {
  auto value = node.kind == YamlNode::Kind::kScalar ? parse_duration(node.scalar) : std::nullopt;
  if (!value) {
    context.mistake(node.place, path,
                    "expected a duration with its unit, as 50us, 1.5ms, 2s, 1min, found " + describe(node));
    return std::nullopt;
  }
  double seconds = std::chrono::duration<double>(*value).count();
  if (seconds < key.min || seconds > key.max) {
    context.mistake(node.place, path, "expected a duration of " + range_text(key, " s") + ", found " + describe(node));
    return std::nullopt;
  }
  return value;
}

}  // namespace

std::optional<Duration> parse_duration(std::string_view text) {
  size_t digits = text.find_first_not_of("0123456789.");
  if (digits == 0 || digits == std::string_view::npos || digits > 18 || text[0] == '.' || text[digits - 1] == '.')
    return std::nullopt;
  double value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + digits, value, std::chars_format::fixed);
  if (error != std::errc() || end != text.data() + digits) return std::nullopt;
  std::string_view unit = text.substr(digits);
  double nanoseconds = 0;
  if (unit == "ns") nanoseconds = 1;
  else if (unit == "us") nanoseconds = 1e3;
  else if (unit == "ms") nanoseconds = 1e6;
  else if (unit == "s") nanoseconds = 1e9;
  else if (unit == "min") nanoseconds = 60e9;
  else if (unit == "h") nanoseconds = 3600e9;
  else return std::nullopt;
  double total = value * nanoseconds;
  if (total > 9e17) return std::nullopt;
  return Duration(std::llround(total));
}

void ReadContext::mistake(YamlPlace place, const std::string& path, const std::string& what) {
  ++count_;
  // The first of the file are kept; the rest is counted, so that a hostile file costs no memory.
  mistakes_.emplace(std::tuple(place.line, place.column, printable(what)), printable(path));
  if (mistakes_.size() > 4 * limits.mistakes_max) mistakes_.erase(std::prev(mistakes_.end()));
}

std::string ReadContext::report() const {
  std::string out;
  size_t n = 0;
  for (const auto& [mistake_, path] : mistakes_) {
    const auto& [line, column, what] = mistake_;
    if (++n > limits.mistakes_max) {
      out += "\n" + file_name + ": there are more mistakes; these are the first " + std::to_string(limits.mistakes_max);
      break;
    }
    out += (out.empty() ? "" : "\n") + file_name + ":" + std::to_string(line) + ":" + std::to_string(column) + ": " +
           (path.empty() ? "" : path + ": ") + what;
  }
  return out;
}

std::string ReadContext::resolve(const std::string& file) const { return file[0] == '/' ? file : folder + file; }

std::optional<Bytes> ReadContext::read_file(const YamlNode& node, const std::string& path) {
  std::string name = resolve(node.scalar);
  if (auto found = files_.find(name); found != files_.end()) return found->second;
  auto refuse = [&](const std::string& why) {
    mistake(node.place, path, "cannot read file " + quoted(name) + ": " + why);
    return std::nullopt;
  };
  // Without O_NONBLOCK a named pipe would hold us up before it can be refused.
  int fd = ::open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return refuse(std::strerror(errno));
  struct stat info {};
  Bytes content;
  std::string why;
  if (::fstat(fd, &info) != 0) {
    why = std::strerror(errno);
  } else if (!S_ISREG(info.st_mode)) {
    why = "not a regular file";
  } else {
    content.resize(limits.file_bytes_max + 1);
    size_t size = 0;
    while (size < content.size()) {
      ssize_t got = ::read(fd, content.data() + size, content.size() - size);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) why = std::strerror(errno);
      if (got <= 0) break;
      size += static_cast<size_t>(got);
    }
    content.resize(size);
    content.shrink_to_fit();
    if (why.empty() && size > limits.file_bytes_max)
      why = "longer than " + std::to_string(limits.file_bytes_max) + " bytes";
  }
  ::close(fd);
  if (!why.empty()) return refuse(why);
  return files_.emplace(std::move(name), std::move(content)).first->second;
}

ObjectReader::ObjectReader(ReadContext& context, YamlNode::Pointer node, const KeyObject& keys, std::string path)
    : context_(context), node_(std::move(node)), keys_(keys), path_(std::move(path)) {
  if (node_->kind != YamlNode::Kind::kMap) {
    context_.mistake(node_->place, path_,
                     "expected a mapping (key: value) for " + with_article(keys_.name) + ", found " + describe(*node_));
    node_ = std::make_shared<YamlNode>();
    return;
  }
  std::set<std::string_view> seen;
  std::vector<std::string_view> known;
  for (const Key& key : keys_.keys) known.push_back(key.name);
  for (const YamlNode::Member& member : node_->members) {
    std::string at = path_of(std::string_view(member.key).substr(0, 60));
    if (!keys_.find(member.key)) {
      context_.mistake(
          member.place, at,
          "unknown key " + quoted(member.key) + " in " + with_article(keys_.name) + suggestion(member.key, known));
    } else if (!seen.insert(member.key).second) {
      context_.mistake(member.place, at, "the key is here a second time");
    } else if (member.value->kind == YamlNode::Kind::kNull) {
      context_.mistake(member.place, at, "has no value; leave the key out, or give it one");
    }
  }
  for (const Key& key : keys_.keys) {
    if (key.required && !seen.count(key.name)) {
      context_.mistake(node_->place, path_,
                       with_article(keys_.name) + " needs the key '" + std::string(key.name) + "'");
    }
  }
}

const Key& ObjectReader::key_of(std::string_view key) {
  const Key* found = keys_.find(key);
  assert(found && "the loader asks for a key that the table does not have");
  context_.asked.insert(found);
  return *found;
}

const YamlNode* ObjectReader::value(std::string_view key) {
  key_of(key);
  const YamlNode::Member* member = node_->find(key);
  return member && member->value->kind != YamlNode::Kind::kNull ? member->value.get() : nullptr;
}

YamlPlace ObjectReader::place(std::string_view key) const {
  const YamlNode::Member* member = node_->find(key);
  return member ? member->value->place : node_->place;
}

void ObjectReader::mistake(std::string_view key, const std::string& what) {
  context_.mistake(place(key), path_of(key), what);
}

std::optional<std::string> ObjectReader::text(std::string_view key) {
  const YamlNode* node = value(key);
  if (!node) return std::nullopt;
  return read_text(context_, key_of(key), *node, path_of(key));
}

std::optional<int64_t> ObjectReader::integer(std::string_view key) {
  const YamlNode* node = value(key);
  if (!node) return std::nullopt;
  return read_integer(context_, key_of(key), *node, path_of(key));
}

std::optional<double> ObjectReader::number(std::string_view key) {
  const YamlNode* node = value(key);
  if (!node) return std::nullopt;
  const Key& k = key_of(key);
  if (node->kind == YamlNode::Kind::kScalar && !node->quoted) {
    std::string_view text = node->scalar;
    double v = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
    if (error == std::errc() && end == text.data() + text.size() && std::isfinite(v) && v >= k.min && v <= k.max)
      return v;
  }
  mistake(key, "expected a number, " + range_text(k) + ", found " + describe(*node) +
                   (node->quoted ? " in quotes, which is text" : ""));
  return std::nullopt;
}

std::optional<bool> ObjectReader::boolean(std::string_view key) {
  const YamlNode* node = value(key);
  if (!node) return std::nullopt;
  if (node->kind == YamlNode::Kind::kScalar && !node->quoted) {
    if (node->scalar == "true") return true;
    if (node->scalar == "false") return false;
  }
  mistake(key, "expected true or false, found " + describe(*node));
  return std::nullopt;
}

std::optional<Duration> ObjectReader::duration(std::string_view key) {
  const YamlNode* node = value(key);
  if (!node) return std::nullopt;
  return read_duration(context_, key_of(key), *node, path_of(key));
}

std::optional<Bytes> ObjectReader::hex(std::string_view key) {
  const YamlNode* node = value(key);
  if (!node) return std::nullopt;
  const Key& k = key_of(key);
  std::string_view digits = node->scalar;
  if (digits.starts_with("0x")) digits.remove_prefix(2);
  auto bytes = node->kind == YamlNode::Kind::kScalar ? from_hex(digits) : std::nullopt;
  if (!bytes) {
    mistake(key, "expected hexadecimal bytes, as \"18 01 d5\", found " + describe(*node));
    return std::nullopt;
  }
  if (static_cast<double>(bytes->size()) < k.min || static_cast<double>(bytes->size()) > k.max) {
    std::string wanted = k.min == k.max ? plain_number(k.min) : range_text(k);
    mistake(key, "expected " + wanted + " bytes, found " + std::to_string(bytes->size()));
    return std::nullopt;
  }
  return bytes;
}

std::optional<int64_t> ObjectReader::named(std::string_view key) {
  const YamlNode* node = value(key);
  if (!node) return std::nullopt;
  const Key& k = key_of(key);
  IntegerFault fault = IntegerFault::kMalformed;
  if (node->kind == YamlNode::Kind::kScalar) {
    for (const NamedValue& named : *k.names) {
      if (named.name == node->scalar) return named.value;
    }
    if (k.type == KeyType::kNamedInteger) {
      auto v = parse_integer(*node, &fault);
      if (v && static_cast<double>(*v) >= k.min && static_cast<double>(*v) <= k.max) return v;
    }
  }
  std::string what = "expected one of: " + names_text(*k.names);
  if (k.type == KeyType::kNamedInteger) what += "; or an integer, " + range_text(k);
  what += "; found " + describe(*node);
  if (node->kind == YamlNode::Kind::kScalar) {
    std::vector<std::string_view> candidates;
    for (const NamedValue& named : *k.names) candidates.push_back(named.name);
    what += suggestion(node->scalar, candidates);
  }
  mistake(key, what);
  return std::nullopt;
}

std::optional<hardware::Latency> ObjectReader::latency(std::string_view key) {
  const YamlNode* node = value(key);
  if (!node) return std::nullopt;
  using Shape = hardware::Latency::Shape;
  if (node->kind == YamlNode::Kind::kScalar) {
    const Key* fixed = latency_keys().find("fixed");
    auto length = read_duration(context_, *fixed, *node, path_of(key));
    if (!length) return std::nullopt;
    return hardware::Latency{Shape::kFixed, *length, *length};
  }
  ObjectReader in(context_, node_->find(key)->value, latency_keys(), path_of(key));
  if (in.node().members.size() != 1) {
    if (node->kind == YamlNode::Kind::kMap) mistake(key, "expected one of fixed, uniform, log_uniform");
    return std::nullopt;
  }
  auto fixed = in.duration("fixed");
  if (fixed) return hardware::Latency{Shape::kFixed, *fixed, *fixed};
  for (auto [name, shape] : {std::pair("uniform", Shape::kUniform), std::pair("log_uniform", Shape::kLogUniform)}) {
    const YamlNode* pair = in.value(name);
    if (!pair) continue;
    if (pair->kind != YamlNode::Kind::kList || pair->items.size() != 2) {
      in.mistake(name, "expected [least, most], found " + describe(*pair));
      return std::nullopt;
    }
    Duration ends[2]{};
    for (size_t i = 0; i < 2; ++i) {
      auto end = read_duration(context_, in.key_of(name), *pair->items[i], in.path_of(name));
      if (!end) return std::nullopt;
      ends[i] = *end;
    }
    if (ends[0] > ends[1]) {
      in.mistake(name, "expected [least, most], found the greater first");
      return std::nullopt;
    }
    if (shape == Shape::kLogUniform && ends[0] <= Duration(0)) {
      in.mistake(name, "the least must be above 0: a logarithm of 0 there is not");
      return std::nullopt;
    }
    return hardware::Latency{shape, ends[0], ends[1]};
  }
  return std::nullopt;
}

std::optional<Bytes> ObjectReader::file(std::string_view key) {
  const YamlNode* node = value(key);
  if (!node || !read_text(context_, key_of(key), *node, path_of(key))) return std::nullopt;
  return context_.read_file(*node, path_of(key));
}

std::optional<std::vector<int64_t>> ObjectReader::integers(std::string_view key) {
  if (!has(key)) {
    key_of(key);
    return std::nullopt;
  }
  const Key& k = key_of(key);
  std::vector<int64_t> out;
  for (const ListItem& item : list(key)) {
    if (auto v = read_integer(context_, k, *item.node, item.path)) out.push_back(*v);
  }
  return out;
}

std::optional<std::vector<std::string>> ObjectReader::texts(std::string_view key) {
  if (!has(key)) {
    key_of(key);
    return std::nullopt;
  }
  const Key& k = key_of(key);
  std::vector<std::string> out;
  for (const ListItem& item : list(key)) {
    if (auto v = read_text(context_, k, *item.node, item.path)) out.push_back(std::move(*v));
  }
  return out;
}

std::vector<ListItem> ObjectReader::list(std::string_view key) {
  const YamlNode* node = value(key);
  if (!node) return {};
  const Key& k = key_of(key);
  if (node->kind != YamlNode::Kind::kList) {
    mistake(key, "expected a list, found " + describe(*node));
    return {};
  }
  if (node->items.size() > k.items_max) {
    mistake(key, "expected at most " + std::to_string(k.items_max) + " entries, found " +
                     std::to_string(node->items.size()));
    return {};
  }
  std::vector<ListItem> out;
  for (size_t i = 0; i < node->items.size(); ++i) {
    out.push_back({node->items[i], path_of(key) + "[" + std::to_string(i) + "]"});
  }
  return out;
}

std::vector<ListItem> ObjectReader::map(std::string_view key) {
  const YamlNode* node = value(key);
  if (!node) return {};
  const Key& k = key_of(key);
  if (node->kind != YamlNode::Kind::kMap) {
    mistake(key, "expected a mapping of names, found " + describe(*node));
    return {};
  }
  if (node->members.size() > k.items_max) {
    mistake(key, "expected at most " + std::to_string(k.items_max) + " entries, found " +
                     std::to_string(node->members.size()));
    return {};
  }
  std::vector<ListItem> out;
  std::set<std::string_view> seen;
  for (const YamlNode::Member& member : node->members) {
    if (!seen.insert(member.key).second) {
      context_.mistake(member.place, path_of(key), "the name " + quoted(member.key) + " is here a second time");
      continue;
    }
    out.push_back({member.value, member.key});
  }
  return out;
}

YamlNode::Pointer ObjectReader::object(std::string_view key) { return value(key) ? node_->find(key)->value : nullptr; }

}  // namespace bmcpair::daemon
