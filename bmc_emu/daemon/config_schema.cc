// The key table as a JSON schema, for editors.
#include <nlohmann/json.hpp>
#include <set>

#include "bmc_emu/daemon/config.h"
#include "bmc_emu/daemon/config_keys.h"

namespace bmcpair::daemon {
namespace {

using Json = nlohmann::ordered_json;

std::string definition_name(const KeyObject& object) {
  std::string out;
  for (char c : object.name) out += c == ' ' ? '_' : c;
  return out;
}

Json number_of(double value) {
  auto whole = static_cast<int64_t>(value);
  if (static_cast<double>(whole) == value) return whole;
  return value;
}

class Writer {
 public:
  Json write() {
    Json out;
    out["$schema"] = "https://json-schema.org/draft/2020-12/schema";
    out["title"] = "bmcpair: what a bmc_emu daemon serves";
    Json root = object_schema(file_keys());
    for (auto& [key, value] : root.items()) out[key] = value;
    out["$defs"] = definitions_;
    return out;
  }

 private:
  Json reference(const KeyObject& object) {
    std::string name = definition_name(object);
    if (done_.insert(name).second) {
      definitions_[name] = Json::object();  // holds the place: objects may refer to each other
      definitions_[name] = object_schema(object);
    }
    return {{"$ref", "#/$defs/" + name}};
  }

  Json object_schema(const KeyObject& object) {
    Json out;
    out["type"] = "object";
    out["additionalProperties"] = false;
    Json properties = Json::object();
    Json required = Json::array();
    for (const Key& key : object.keys) {
      Json schema = key_schema(key, key.type);
      schema["description"] = std::string(key.about);
      properties[std::string(key.name)] = std::move(schema);
      if (key.required) required.push_back(std::string(key.name));
    }
    out["properties"] = std::move(properties);
    if (!required.empty()) out["required"] = std::move(required);
    return out;
  }

  Json names_schema(const Key& key) {
    Json names = Json::array();
    for (const NamedValue& named : *key.names) names.push_back(std::string(named.name));
    return {{"enum", std::move(names)}};
  }

  Json key_schema(const Key& key, KeyType type) {
    switch (type) {
      case KeyType::kText:
        // An unquoted word that looks like a number is text here too: serial: 12345.
        return {{"type", {"string", "number", "boolean"}},
                {"minLength", number_of(key.min)}, {"maxLength", number_of(key.max)}};
      case KeyType::kName:
        return {{"type", {"string", "number"}}, {"minLength", number_of(key.min)}, {"maxLength", number_of(key.max)},
                {"pattern", std::string(kNamePattern)}};
      case KeyType::kInteger:
        return {{"type", "integer"}, {"minimum", number_of(key.min)}, {"maximum", number_of(key.max)}};
      case KeyType::kNumber:
        return {{"type", "number"}, {"minimum", number_of(key.min)}, {"maximum", number_of(key.max)}};
      case KeyType::kBoolean:
        return {{"type", "boolean"}};
      case KeyType::kDuration:
        return {{"type", "string"}, {"pattern", std::string(kDurationPattern)}};
      case KeyType::kHex:
        return {{"type", {"string", "number"}}, {"pattern", std::string(kHexPattern)}};
      case KeyType::kChoice:
        return names_schema(key);
      case KeyType::kNamedInteger:
        return {{"anyOf", {names_schema(key),
                           {{"type", "integer"}, {"minimum", number_of(key.min)}, {"maximum", number_of(key.max)}}}}};
      case KeyType::kVersion:
        return {{"type", {"string", "number"}}, {"pattern", std::string(kVersionPattern)}};
      case KeyType::kFile:
        return {{"type", "string"}, {"minLength", 1}};
      case KeyType::kLatency:
        return {{"anyOf",
                 {Json{{"type", "string"}, {"pattern", std::string(kDurationPattern)}}, reference(latency_keys())}}};
      case KeyType::kObject:
        return reference(*key.object);
      case KeyType::kSelRecord:
        return {{"anyOf", {Json{{"type", "string"}, {"pattern", std::string(kHexPattern)}}, reference(*key.object)}}};
      case KeyType::kList:
        return {{"type", "array"}, {"maxItems", key.items_max}, {"items", key_schema(key, key.element)}};
      case KeyType::kMap:
        return {{"type", "object"}, {"maxProperties", key.items_max}, {"additionalProperties", reference(*key.object)}};
    }
    return Json::object();
  }

  Json definitions_ = Json::object();
  std::set<std::string> done_;
};

}  // namespace

std::string config_schema_json() { return Writer().write().dump(2) + "\n"; }

}  // namespace bmcpair::daemon
