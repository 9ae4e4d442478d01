// Reads YAML nodes by the key table, and collects every mistake with its place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "bmc_emu/daemon/config.h"
#include "bmc_emu/daemon/config_keys.h"
#include "bmc_emu/daemon/yaml_tree.h"
#include "bmc_emu/hardware/latency.h"
#include "proto/base/hex.h"

namespace bmcpair::daemon {

struct ReadContext {
  ConfigLimits limits{};
  std::string file_name;
  std::string folder;  // of the configuration, with '/' at its end; empty: the current one

  // One line each; the same mistake of one template is told once.
  void mistake(YamlPlace place, const std::string& path, const std::string& what);
  bool failed() const { return count_ > 0; }
  // All of them, in the file's order.
  std::string report() const;

  // A file that the configuration names. Nothing when it cannot be read: the mistake is noted.
  std::optional<Bytes> read_file(const YamlNode& node, const std::string& path);
  std::string resolve(const std::string& file) const;

  // Keys that were looked at: the table holds none that the loader does not know (a test).
  std::set<const Key*> asked;

 private:
  size_t count_ = 0;
  std::map<std::tuple<int, int, std::string>, std::string> mistakes_;  // to its path
  std::map<std::string, Bytes> files_;
};

struct ListItem {
  YamlNode::Pointer node;
  std::string path;
};

// One mapping. Unknown, doubled, empty and missing keys are mistakes as soon as it is made.
class ObjectReader {
 public:
  ObjectReader(ReadContext& context, YamlNode::Pointer node, const KeyObject& keys, std::string path);

  bool has(std::string_view key) const { return node_->find(key) != nullptr; }
  const YamlNode& node() const { return *node_; }
  const std::string& path() const { return path_; }
  std::string path_of(std::string_view key) const {
    return path_.empty() ? std::string(key) : path_ + "." + std::string(key);
  }
  YamlPlace place(std::string_view key) const;  // of its value; of the object when it is not there
  void mistake(std::string_view key, const std::string& what);  // of this key's value

  // Nothing when the key is not there or its value is wrong: then the mistake is noted.
  std::optional<std::string> text(std::string_view key);  // kText, kName, kVersion, kFile
  std::optional<int64_t> integer(std::string_view key);
  std::optional<double> number(std::string_view key);
  std::optional<bool> boolean(std::string_view key);
  std::optional<Duration> duration(std::string_view key);
  std::optional<Bytes> hex(std::string_view key);
  std::optional<int64_t> named(std::string_view key);  // kChoice, kNamedInteger
  std::optional<hardware::Latency> latency(std::string_view key);
  std::optional<Bytes> file(std::string_view key);
  std::optional<std::vector<int64_t>> integers(std::string_view key);
  std::optional<std::vector<std::string>> texts(std::string_view key);
  std::vector<ListItem> list(std::string_view key);  // of objects and SEL records
  std::vector<ListItem> map(std::string_view key);   // path is the name
  YamlNode::Pointer object(std::string_view key);    // null when not there

 private:
  const Key& key_of(std::string_view key);
  const YamlNode* value(std::string_view key);  // a scalar's node; null when absent

  ReadContext& context_;
  YamlNode::Pointer node_;
  const KeyObject& keys_;
  std::string path_;
};

// "50us" to a duration; nothing when malformed.
std::optional<Duration> parse_duration(std::string_view text);

}  // namespace bmcpair::daemon
