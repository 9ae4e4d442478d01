#include "bmc_emu/daemon/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <map>
#include <sstream>
#include <stdexcept>

namespace bmcpair::daemon {
namespace {

struct Refused {
  YamlMistake mistake;
};

YamlPlace place_of(const YAML::Mark& mark) { return {mark.line + 1, mark.column + 1}; }

class Builder : public YAML::EventHandler {
 public:
  explicit Builder(const ConfigLimits& limits) : limits_(limits) {}

  YamlNode::Pointer root;

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    auto node = make(YamlNode::Kind::kNull, mark);
    add(std::move(node), anchor);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    auto found = anchors_.find(anchor);
    if (found == anchors_.end()) throw Refused{{place_of(mark), "an alias inside of what it names"}};
    add_value(found->second, place_of(mark));
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    auto node = make(YamlNode::Kind::kScalar, mark);
    check_tag(tag, mark);
    node->scalar = value;
    node->quoted = tag == "!";
    if (!node->quoted && (value == "~" || value == "null")) node->kind = YamlNode::Kind::kNull;
    add(std::move(node), anchor);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    check_tag(tag, mark);
    open(YamlNode::Kind::kList, mark, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    check_tag(tag, mark);
    open(YamlNode::Kind::kMap, mark, anchor);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Open {
    std::shared_ptr<YamlNode> node;
    YAML::anchor_t anchor;
    bool has_key = false;
    std::string key;
    YamlPlace key_place;
  };

  void check_tag(const std::string& tag, const YAML::Mark& mark) {
    if (tag.empty() || tag == "?" || tag == "!") return;
    throw Refused{{place_of(mark), "tags (here " + tag.substr(0, 40) + ") are not used here: leave it out"}};
  }

  std::shared_ptr<YamlNode> make(YamlNode::Kind kind, const YAML::Mark& mark) {
    auto node = std::make_shared<YamlNode>();
    node->kind = kind;
    node->place = place_of(mark);
    return node;
  }

  void open(YamlNode::Kind kind, const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (open_.size() >= limits_.depth_max) {
      throw Refused{{place_of(mark), "nested deeper than " + std::to_string(limits_.depth_max) + " levels"}};
    }
    open_.push_back({make(kind, mark), anchor, false, {}, {}});
  }

  void close() {
    Open done = std::move(open_.back());
    open_.pop_back();
    add(std::move(done.node), done.anchor);
  }

  void add(std::shared_ptr<YamlNode> node, YAML::anchor_t anchor) {
    if (anchor) anchors_[anchor] = node;
    YamlPlace place = node->place;
    add_value(std::move(node), place);
  }

  void add_value(YamlNode::Pointer node, YamlPlace place) {
    if (open_.empty()) {
      root = std::move(node);
      return;
    }
    Open& parent = open_.back();
    if (parent.node->kind == YamlNode::Kind::kMap && !parent.has_key) {
      if (node->kind == YamlNode::Kind::kList || node->kind == YamlNode::Kind::kMap) {
        throw Refused{{place, "a key must be a plain word"}};
      }
      if (node->scalar == "<<" && !node->quoted) {
        throw Refused{{place, "merge keys (<<) are not supported; use 'template:' for what several BMCs share"}};
      }
      parent.has_key = true;
      parent.key = node->kind == YamlNode::Kind::kNull ? std::string("null") : node->scalar;
      parent.key_place = place;
      return;
    }
    parent.node->weight += node->weight;
    if (parent.node->weight > limits_.nodes_max) {
      throw Refused{{place, "with its aliases expanded the file has more than " + std::to_string(limits_.nodes_max) +
                                " values"}};
    }
    if (parent.node->kind == YamlNode::Kind::kList) {
      parent.node->items.push_back(std::move(node));
    } else {
      parent.has_key = false;
      parent.node->members.push_back({std::move(parent.key), parent.key_place, std::move(node)});
    }
  }

  const ConfigLimits& limits_;
  std::vector<Open> open_;
  std::map<YAML::anchor_t, YamlNode::Pointer> anchors_;
};

}  // namespace

YamlNode::Pointer parse_yaml(std::string_view text, const ConfigLimits& limits, YamlMistake* mistake) {
  *mistake = {};
  if (text.size() > limits.text_bytes_max) {
    mistake->what = "the file has " + std::to_string(text.size()) + " bytes; at most " +
                    std::to_string(limits.text_bytes_max) + " are read";
    return nullptr;
  }
  if (size_t zero = text.find('\0'); zero != std::string_view::npos) {
    mistake->what = "not a text file: byte " + std::to_string(zero) + " is 0";
    return nullptr;
  }
  try {
    std::istringstream in{std::string(text)};
    YAML::Parser parser(in);
    Builder builder(limits);
    if (!parser.HandleNextDocument(builder)) return nullptr;
    Builder second(limits);
    if (parser.HandleNextDocument(second) && second.root) {
      *mistake = {second.root->place, "a second document; one file is one document"};
      return nullptr;
    }
    return builder.root;
  } catch (const Refused& refused) {
    *mistake = refused.mistake;
  } catch (const YAML::Exception& error) {
    *mistake = {place_of(error.mark), error.msg};
    if (error.mark.is_null()) mistake->place = {};
  } catch (const std::exception& error) {
    *mistake = {{}, std::string("not YAML: ") + error.what()};
  }
  if (mistake->what.empty()) mistake->what = "not YAML";
  return nullptr;
}

}  // namespace bmcpair::daemon
