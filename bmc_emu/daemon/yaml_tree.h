// A YAML document as a tree that knows where everything stands, with bounds on everything: size, depth, and what
// aliases blow up to.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bmc_emu/daemon/config.h"
#include "proto/base/result.h"

namespace bmcpair::daemon {

struct YamlPlace {
  int line = 1;    // from 1
  int column = 1;  // from 1
};

struct YamlNode {
  enum class Kind { kNull, kScalar, kList, kMap };
  using Pointer = std::shared_ptr<const YamlNode>;
  struct Member {
    std::string key;
    YamlPlace place;  // of the key
    Pointer value;
  };

  Kind kind = Kind::kNull;
  YamlPlace place;
  std::string scalar;
  bool quoted = false;          // "1" in quotes is text, 1 is a number
  std::vector<Pointer> items;   // of a list
  std::vector<Member> members;  // of a map, in the file's order; doubles are kept, for whoever reports them
  size_t weight = 1;            // nodes below and including this, aliases expanded

  const Member* find(std::string_view key) const {
    for (const Member& member : members) {
      if (member.key == key) return &member;
    }
    return nullptr;
  }
};

struct YamlMistake {
  YamlPlace place;
  std::string what;
};

// One document, at most one in the text; null when the text holds none. `mistake` says what is wrong when the result
// is null and the text was not simply empty.
YamlNode::Pointer parse_yaml(std::string_view text, const ConfigLimits& limits, YamlMistake* mistake);

}  // namespace bmcpair::daemon
