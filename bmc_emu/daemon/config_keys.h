// Every key that a configuration file may hold, as data. The loader takes types, ranges, names and explanations from
// here, and so does the JSON schema for editors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bmcpair::daemon {

enum class KeyType : uint8_t {
  kText,          // min..max characters
  kName,          // text of letters, digits, '.', '_', '-' (and {n}, {n:02} where a BMC is counted)
  kInteger,       // min..max
  kNumber,        // min..max
  kBoolean,
  kDuration,      // "50us"; min..max in seconds
  kHex,           // bytes as hexadecimal digits; min..max bytes
  kChoice,        // one of names
  kNamedInteger,  // one of names, or an integer in min..max
  kVersion,       // "1.02"
  kFile,          // a path, relative to the configuration's folder
  kLatency,       // a duration, or {fixed}, {uniform: [a, b]}, {log_uniform: [a, b]}
  kObject,
  kList,          // of element
  kMap,           // of names to objects
  kSelRecord,     // 16 bytes in hexadecimal, or an object
};

struct NamedValue {
  std::string_view name;
  int64_t value;
};
using NamedValues = std::vector<NamedValue>;

struct KeyObject;

struct Key {
  std::string_view name;
  KeyType type = KeyType::kText;
  std::string_view about;
  double min = 0;
  double max = 0;
  bool required = false;
  const NamedValues* names = nullptr;
  const KeyObject* object = nullptr;      // of kObject, kMap, kSelRecord, and lists of these
  KeyType element = KeyType::kText;       // of kList; min..max then bound each element
  size_t items_max = 0;                   // of kList and kMap
};

struct KeyObject {
  std::string_view name;  // what a person calls it: "sensor"
  std::vector<Key> keys;
  const Key* find(std::string_view key) const;
};

// The whole file, from which everything else is reached.
const KeyObject& file_keys();

// Objects that the loader reads by themselves.
const KeyObject& daemon_keys();
const KeyObject& tls_keys();
const KeyObject& bmc_keys();
const KeyObject& identity_keys();
const KeyObject& interface_keys();
const KeyObject& latencies_keys();
const KeyObject& command_latency_keys();
const KeyObject& latency_keys();
const KeyObject& vfio_user_keys();
const KeyObject& vm_keys();
const KeyObject& sensor_keys();
const KeyObject& thresholds_keys();
const KeyObject& wave_keys();
const KeyObject& fru_keys();
const KeyObject& fru_chassis_keys();
const KeyObject& fru_board_keys();
const KeyObject& fru_product_keys();
const KeyObject& sdr_keys();
const KeyObject& sel_keys();
const KeyObject& sel_record_keys();
const KeyObject& satellite_keys();
const KeyObject& i2c_keys();
const KeyObject& user_keys();
const KeyObject& channel_keys();
const KeyObject& reset_keys();
const KeyObject& bt_keys();
const KeyObject& fault_keys();
// A file of fault rules by itself.
const KeyObject& fault_file_keys();

// Patterns shared by loader tests and schema.
constexpr std::string_view kDurationPattern = "^[0-9]+(\\.[0-9]+)?(ns|us|ms|s|min|h)$";
constexpr std::string_view kHexPattern = "^(0x)?([0-9A-Fa-f]{2}([ :-]?[0-9A-Fa-f]{2})*)?$";
constexpr std::string_view kNamePattern = "^([A-Za-z0-9._-]|\\{n(:0[1-9])?\\})+$";
constexpr std::string_view kVersionPattern = "^[0-9]{1,3}\\.[0-9]{1,2}$";

// The nearest of the candidates, when it is near enough to have been meant; empty otherwise.
std::string_view nearest(std::string_view word, const std::vector<std::string_view>& candidates);

}  // namespace bmcpair::daemon
