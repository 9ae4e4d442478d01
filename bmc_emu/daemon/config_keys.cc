#include "bmc_emu/daemon/config_keys.h"

#include <algorithm>

#include "bmc_emu/daemon/fault_rules.h"

namespace bmcpair::daemon {
namespace {

// Sensor types (IPMI 2.0 table 42-3).
const NamedValues kSensorTypes = {
    {"temperature", 0x01}, {"voltage", 0x02}, {"current", 0x03}, {"fan", 0x04}, {"physical security", 0x05},
    {"platform security", 0x06}, {"processor", 0x07}, {"power supply", 0x08}, {"power unit", 0x09},
    {"cooling device", 0x0a}, {"other units", 0x0b}, {"memory", 0x0c}, {"drive slot", 0x0d},
    {"post memory resize", 0x0e}, {"system firmware progress", 0x0f}, {"event logging disabled", 0x10},
    {"watchdog 1", 0x11}, {"system event", 0x12}, {"critical interrupt", 0x13}, {"button", 0x14}, {"module", 0x15},
    {"microcontroller", 0x16}, {"add-in card", 0x17}, {"chassis", 0x18}, {"chip set", 0x19}, {"other fru", 0x1a},
    {"cable", 0x1b}, {"terminator", 0x1c}, {"system boot initiated", 0x1d}, {"boot error", 0x1e},
    {"os boot", 0x1f}, {"os stop", 0x20}, {"slot", 0x21}, {"system acpi power state", 0x22}, {"watchdog 2", 0x23},
    {"platform alert", 0x24}, {"entity presence", 0x25}, {"monitor asic", 0x26}, {"lan", 0x27},
    {"management subsystem health", 0x28}, {"battery", 0x29}, {"session audit", 0x2a}, {"version change", 0x2b},
    {"fru state", 0x2c}};

// Units (table 43-15).
const NamedValues kUnits = {
    {"unspecified", 0}, {"degrees C", 1}, {"degrees F", 2}, {"degrees K", 3}, {"volts", 4}, {"amps", 5}, {"watts", 6},
    {"joules", 7}, {"coulombs", 8}, {"VA", 9}, {"nits", 10}, {"lumen", 11}, {"lux", 12}, {"candela", 13}, {"kPa", 14},
    {"PSI", 15}, {"newton", 16}, {"CFM", 17}, {"RPM", 18}, {"hertz", 19}, {"microsecond", 20}, {"millisecond", 21},
    {"second", 22}, {"minute", 23}, {"hour", 24}, {"day", 25}, {"week", 26}, {"mil", 27}, {"inches", 28}, {"feet", 29},
    {"mm", 32}, {"cm", 33}, {"m", 34}, {"liter", 37}, {"radians", 39}, {"revolutions", 41}, {"cycles", 42},
    {"gravities", 43}, {"ounce", 44}, {"pound", 45}, {"gauss", 48}, {"gilberts", 49}, {"henry", 50},
    {"millihenry", 51}, {"farad", 52}, {"microfarad", 53}, {"ohms", 54}, {"siemens", 55}, {"mole", 56},
    {"becquerel", 57}, {"decibels", 60}, {"dBA", 61}, {"dBC", 62}, {"gray", 63}, {"sievert", 64}, {"bit", 66},
    {"kilobit", 67}, {"megabit", 68}, {"gigabit", 69}, {"byte", 70}, {"kilobyte", 71}, {"megabyte", 72},
    {"gigabyte", 73}, {"word", 74}, {"dword", 75}, {"qword", 76}, {"hit", 78}, {"miss", 79}, {"retry", 80},
    {"reset", 81}, {"overflow", 82}, {"underrun", 83}, {"collision", 84}, {"packets", 85}, {"messages", 86},
    {"characters", 87}, {"error", 88}, {"correctable error", 89}, {"uncorrectable error", 90}, {"fatal error", 91},
    {"grams", 92}};

// Entities (table 43-13).
const NamedValues kEntities = {
    {"unspecified", 0x00}, {"other", 0x01}, {"processor", 0x03}, {"disk", 0x04}, {"peripheral bay", 0x05},
    {"system management module", 0x06}, {"system board", 0x07}, {"memory module", 0x08}, {"processor module", 0x09},
    {"power supply", 0x0a}, {"add-in card", 0x0b}, {"front panel board", 0x0c}, {"back panel board", 0x0d},
    {"power system board", 0x0e}, {"drive backplane", 0x0f}, {"expansion board", 0x10}, {"processor board", 0x12},
    {"power unit", 0x13}, {"power module", 0x14}, {"power distribution board", 0x15},
    {"chassis back panel board", 0x16}, {"system chassis", 0x17}, {"subchassis", 0x18},
    {"disk drive bay", 0x1a}, {"device bay", 0x1c}, {"fan", 0x1d}, {"cooling unit", 0x1e}, {"cable", 0x1f},
    {"memory device", 0x20}, {"system management software", 0x21}, {"system firmware", 0x22},
    {"operating system", 0x23}, {"system bus", 0x24}, {"group", 0x25}, {"external environment", 0x27},
    {"battery", 0x28}, {"processing blade", 0x29}, {"i/o module", 0x2c}, {"management controller", 0x2e},
    {"air inlet", 0x37}, {"cpu", 0x41}, {"baseboard", 0x42}};

// Event/reading types (tables 42-1, 42-2) of discrete sensors.
const NamedValues kReadingTypes = {
    {"transition", 0x02}, {"asserted", 0x03}, {"predictive failure", 0x04}, {"limit", 0x05}, {"performance", 0x06},
    {"severity", 0x07}, {"presence", 0x08}, {"enabled", 0x09}, {"availability", 0x0a}, {"redundancy", 0x0b},
    {"acpi power state", 0x0c}, {"sensor specific", 0x6f}};

const NamedValues kSensorKinds = {{"threshold", 1}, {"discrete", 0}};
const NamedValues kWaveShapes = {{"constant", 0}, {"sine", 1}, {"triangle", 2}, {"square", 3}, {"step", 4}};
const NamedValues kInterfaceKinds = {{"kcs", 0}, {"bt", 1}, {"smic", 2}};
const NamedValues kBarKinds = {{"io", 0}, {"memory", 1}};
const NamedValues kSpacings = {{"1", 1}, {"4", 4}, {"16", 16}};
const NamedValues kPrivileges = {{"callback", 1}, {"user", 2}, {"operator", 3}, {"administrator", 4}};
const NamedValues kMedia = {
    {"ipmb", 1}, {"icmb 1.0", 2}, {"icmb 0.9", 3}, {"lan", 4}, {"serial", 5}, {"other lan", 6}, {"pci smbus", 7},
    {"smbus 1", 8}, {"smbus 2", 9}, {"usb 1", 10}, {"usb 2", 11}, {"system interface", 12}};
const NamedValues kProtocols = {{"ipmb", 1}, {"icmb", 2}, {"smbus", 4}, {"kcs", 5}, {"smic", 6},
                                {"bt 1.0", 7}, {"bt 1.5", 8}, {"tmode", 9}};
const NamedValues kLogLevels = {{"trace", 0}, {"debug", 1}, {"info", 2}, {"warning", 3}, {"error", 4}};
const NamedValues kNetFns = {{"chassis", 0x00}, {"bridge", 0x02}, {"sensor", 0x04}, {"app", 0x06}, {"firmware", 0x08},
                             {"storage", 0x0a}, {"transport", 0x0c}, {"group", 0x2c}, {"oem group", 0x2e}};
// Chassis types (SMBIOS 3.x table 17, as the FRU specification §10 refers to).
const NamedValues kChassisTypes = {
    {"other", 1}, {"unknown", 2}, {"desktop", 3}, {"low profile desktop", 4}, {"pizza box", 5}, {"mini tower", 6},
    {"tower", 7}, {"portable", 8}, {"laptop", 9}, {"notebook", 10}, {"hand held", 11}, {"docking station", 12},
    {"all in one", 13}, {"sub notebook", 14}, {"space-saving", 15}, {"lunch box", 16}, {"main server chassis", 17},
    {"expansion chassis", 18}, {"sub chassis", 19}, {"bus expansion chassis", 20}, {"peripheral chassis", 21},
    {"raid chassis", 22}, {"rack mount chassis", 23}, {"sealed-case pc", 24}, {"multi-system chassis", 25},
    {"compact pci", 26}, {"advanced tca", 27}, {"blade", 28}, {"blade enclosure", 29}};

using T = KeyType;

Key text(std::string_view name, double max, std::string_view about, double min = 0) {
  return {.name = name, .type = T::kText, .about = about, .min = min, .max = max};
}
Key name_key(std::string_view name, double max, std::string_view about) {
  return {.name = name, .type = T::kName, .about = about, .min = 1, .max = max};
}
Key integer(std::string_view name, double min, double max, std::string_view about) {
  return {.name = name, .type = T::kInteger, .about = about, .min = min, .max = max};
}
Key number(std::string_view name, std::string_view about, double min = -1e9, double max = 1e9) {
  return {.name = name, .type = T::kNumber, .about = about, .min = min, .max = max};
}
Key boolean(std::string_view name, std::string_view about) {
  return {.name = name, .type = T::kBoolean, .about = about};
}
Key duration(std::string_view name, double max_seconds, std::string_view about, double min_seconds = 0) {
  return {.name = name, .type = T::kDuration, .about = about, .min = min_seconds, .max = max_seconds};
}
Key hex(std::string_view name, double min, double max, std::string_view about) {
  return {.name = name, .type = T::kHex, .about = about, .min = min, .max = max};
}
Key choice(std::string_view name, const NamedValues& names, std::string_view about) {
  return {.name = name, .type = T::kChoice, .about = about, .names = &names};
}
Key named(std::string_view name, const NamedValues& names, double min, double max, std::string_view about) {
  return {.name = name, .type = T::kNamedInteger, .about = about, .min = min, .max = max, .names = &names};
}
Key of_type(std::string_view name, KeyType type, std::string_view about) {
  return {.name = name, .type = type, .about = about, .max = 4096};
}
Key object(std::string_view name, const KeyObject& keys, std::string_view about) {
  return {.name = name, .type = T::kObject, .about = about, .object = &keys};
}
Key objects(std::string_view name, const KeyObject& keys, size_t items_max, std::string_view about) {
  return {.name = name, .type = T::kList, .about = about, .object = &keys, .element = T::kObject,
          .items_max = items_max};
}
Key required(Key key) {
  key.required = true;
  return key;
}
Key list(Key element, size_t items_max) {
  element.element = element.type;
  element.type = T::kList;
  element.items_max = items_max;
  return element;
}

}  // namespace

const Key* KeyObject::find(std::string_view key) const {
  auto found = std::find_if(keys.begin(), keys.end(), [&](const Key& k) { return k.name == key; });
  return found == keys.end() ? nullptr : &*found;
}

const KeyObject& latency_keys() {
  static const KeyObject keys = {
      "latency",
      {duration("fixed", 60, "Always this long."),
       list(duration("uniform", 60, "[least, most]: every length as likely as the other."), 2),
       list(duration("log_uniform", 60, "[least, most]: every order of magnitude as likely as the other."), 2)}};
  return keys;
}

const KeyObject& command_latency_keys() {
  static const KeyObject keys = {
      "command latency",
      {required(named("netfn", kNetFns, 0, 0x3e, "The request's NetFn, by name or as an even number.")),
       required(integer("cmd", 0, 255, "The command.")),
       required(of_type("response", T::kLatency, "From the whole request to the first byte of its answer."))}};
  return keys;
}

const KeyObject& latencies_keys() {
  static const KeyObject keys = {
      "latencies",
      {of_type("access", T::kLatency, "Between two accesses of the BMC to its own registers. Default 2us."),
       of_type("response", T::kLatency, "From the whole request to the first byte of its answer. Default 50us."),
       objects("commands", command_latency_keys(), 256, "Commands that take another time than the rest.")}};
  return keys;
}

const KeyObject& vfio_user_keys() {
  static const KeyObject keys = {
      "vfio-user socket",
      {required(text("socket", 200, "Path of the socket for QEMU's vfio-user-pci; ${RUN} is the run directory.", 1)),
       choice("bar", kBarKinds, "BAR 0 as I/O ports or as memory. Default io."),
       named("spacing", kSpacings, 1, 16, "Bytes between registers: 1, 4 or 16. Default 1.")}};
  return keys;
}

const KeyObject& vm_keys() {
  static const KeyObject keys = {
      "VM socket",
      {required(text("listen", 200,
                     "unix:PATH (${RUN} is the run directory) or tcp:HOST:PORT, for the chardev of QEMU's "
                     "ipmi-bmc-extern.",
                     1))}};
  return keys;
}

const KeyObject& interface_keys() {
  static const KeyObject keys = {
      "interface",
      {required(choice("kind", kInterfaceKinds, "Which registers: kcs (ch. 9), smic (ch. 10) or bt (ch. 11).")),
       name_key("name", 32, "Its name on a bus spec, '#bmc/NAME'. Default: its kind."),
       boolean("interrupt", "Whether the interrupt line is wired; without, the host must poll. Default true."),
       boolean("hardware_reset",
               "BT: whether INTMASK's BMC_HWRST resets the BMC (warm). Linux writes it at every start. Default false."),
       integer("seed", 0, 4294967295.0, "For latencies that are drawn. Default 1."),
       object("latency", latencies_keys(), "How long the BMC takes."),
       object("vfio_user", vfio_user_keys(), "Serve this interface to QEMU as a PCI device."),
       object("vm", vm_keys(), "Serve this interface to QEMU's own ISA devices, over the OpenIPMI VM protocol.")}};
  return keys;
}

const KeyObject& identity_keys() {
  static const KeyObject keys = {
      "identity",
      {integer("device_id", 0, 255, "Get Device ID byte 2. Default 0x20."),
       integer("device_revision", 0, 15, "Get Device ID byte 3. Default 1."),
       boolean("provides_device_sdrs", "Default true."),
       of_type("firmware", T::kVersion, "Firmware revision as \"MAJOR.MINOR\", minor two digits. Default \"1.00\"."),
       of_type("ipmi_version", T::kVersion, "IPMI version as \"MAJOR.MINOR\". Default \"2.0\"."),
       integer("additional_device_support", 0, 255, "Get Device ID byte 7. Default 0xbf."),
       integer("manufacturer_id", 0, 0xfffff, "IANA enterprise number. Default 0."),
       integer("product_id", 0, 0xffff, "Default 0."),
       hex("aux_firmware", 4, 4, "Auxiliary firmware revision, 4 bytes. Default zeros."),
       text("device_guid", 36, "As 8-4-4-4-12 hexadecimal digits. Default: made from the BMC's name."),
       text("system_guid", 36, "As 8-4-4-4-12 hexadecimal digits. Default: made from the BMC's name."),
       integer("ipmb_address", 0x02, 0xfe, "8-bit slave address, even. Default 0x20.")}};
  return keys;
}

const KeyObject& wave_keys() {
  static const KeyObject keys = {
      "wave",
      {required(choice("shape", kWaveShapes, "What the reading does around its initial value.")),
       number("amplitude", "In the sensor's units. Default 0.", 0, 1e9),
       duration("period", 86400, "Default 60s.", 0.001)}};
  return keys;
}

const KeyObject& thresholds_keys() {
  static const KeyObject keys = {
      "thresholds",
      {number("lower_non_recoverable", "In the sensor's units."), number("lower_critical", "In the sensor's units."),
       number("lower_non_critical", "In the sensor's units."), number("upper_non_critical", "In the sensor's units."),
       number("upper_critical", "In the sensor's units."), number("upper_non_recoverable", "In the sensor's units."),
       number("hysteresis", "Both ways, in the sensor's units. Default 0.", 0),
       number("positive_hysteresis", "In the sensor's units. Default: hysteresis.", 0),
       number("negative_hysteresis", "In the sensor's units. Default: hysteresis.", 0)}};
  return keys;
}

const KeyObject& sensor_keys() {
  static const KeyObject keys = {
      "sensor",
      {required(text("name", 16, "SDR ID string, at most 16 characters.", 1)),
       integer("number", 1, 254, "Default: the lowest that is free."),
       integer("lun", 0, 3, "Default 0."),
       required(named("type", kSensorTypes, 0, 255, "Sensor type (table 42-3).")),
       choice("kind", kSensorKinds,
              "Default: threshold for a temperature, voltage, current or fan and where a threshold key is used, else "
              "discrete."),
       named("entity", kEntities, 0, 255, "What it measures (table 43-13). Default system board."),
       integer("entity_instance", 0, 127, "Default 1."),
       boolean("settable", "Whether Set Sensor Reading may change it. Default true."),
       named("unit", kUnits, 0, 255, "Of a threshold sensor (table 43-15). Default: what its type usually has."),
       number("min",
              "Threshold: least reading; with max, M, B and exponents are chosen. Without any of these they are chosen "
              "from "
              "the values used."),
       number("max", "Threshold: greatest reading."),
       integer("m", -512, 511, "Threshold: reading = (m x raw + b x 10^b_exponent) x 10^r_exponent. Default 1."),
       integer("b", -512, 511, "Default 0."),
       integer("b_exponent", -8, 7, "Default 0."),
       integer("r_exponent", -8, 7, "Default 0."),
       boolean("signed", "Threshold: raw values are two's complement. Default: false."),
       number("initial", "Threshold: the reading at start, in units."),
       number("nominal", "Threshold: what it should be, in units. Default: initial."),
       object("wave", wave_keys(), "Threshold: how the reading moves by itself."),
       object("thresholds", thresholds_keys(),
              "Threshold: where events are raised; what is left out is not supported."),
       named("reading_type", kReadingTypes, 2, 0x7f,
             "Discrete: event/reading type (table 42-1). Default sensor specific."),
       list(integer("events", 0, 14, "Discrete: offsets that raise events. Default: all."), 15),
       list(integer("states", 0, 14, "Discrete: offsets asserted at start. Default: none."), 15)}};
  return keys;
}

const KeyObject& fru_chassis_keys() {
  static const KeyObject keys = {
      "FRU chassis area",
      {named("type", kChassisTypes, 0, 255, "Chassis type. Default rack mount chassis."),
       text("part_number", 62, "Text."), text("serial", 62, "Text; may hold {n} and {name}."),
       list(text("extra", 62, "Further fields."), 16)}};
  return keys;
}

const KeyObject& fru_board_keys() {
  static const KeyObject keys = {
      "FRU board area",
      {text("manufactured", 16, "Date and time, \"2024-05-01 12:00\". Default: unspecified."),
       text("manufacturer", 62, "Text."), text("product", 62, "Text."),
       text("serial", 62, "Text; may hold {n} and {name}."), text("part_number", 62, "Text."),
       text("fru_file_id", 62, "Text."), list(text("extra", 62, "Further fields."), 16)}};
  return keys;
}

const KeyObject& fru_product_keys() {
  static const KeyObject keys = {
      "FRU product area",
      {text("manufacturer", 62, "Text."), text("name", 62, "Text."), text("part_number", 62, "Text."),
       text("version", 62, "Text."), text("serial", 62, "Text; may hold {n} and {name}."),
       text("asset_tag", 62, "Text; may hold {n} and {name}."), text("fru_file_id", 62, "Text."),
       list(text("extra", 62, "Further fields."), 16)}};
  return keys;
}

const KeyObject& fru_keys() {
  static const KeyObject keys = {
      "FRU",
      {integer("id", 0, 254, "FRU device id. Default: the lowest that is free."),
       text("name", 16, "SDR ID string. Default FRU.", 1),
       integer("size", 8, 65535, "Bytes of the inventory area. Default 2048, or the file's size."),
       of_type("file", T::kFile, "The area's bytes from a file; instead of the areas below."),
       object("chassis", fru_chassis_keys(), "Chassis info area."),
       object("board", fru_board_keys(), "Board info area."),
       object("product", fru_product_keys(), "Product info area.")}};
  return keys;
}

const KeyObject& sdr_keys() {
  static const KeyObject keys = {
      "SDR repository",
      {of_type("file", T::kFile, "Records as `ipmitool sdr dump FILE` writes them; joined to those of the sensors."),
       integer("size_max", 1024, 65535, "Bytes. Default 32768.")}};
  return keys;
}

const KeyObject& sel_record_keys() {
  static const KeyObject keys = {
      "SEL record",
      {text("time", 20, "\"2024-05-01 12:00:00\" (UTC), or seconds since 1970. Default 0."),
       integer("generator", 0, 0xffff, "Generator id. Default 0x20: this BMC."),
       text("sensor", 16, "Name of a sensor here, which gives number and types; or its number."),
       named("sensor_type", kSensorTypes, 0, 255, "Default: the named sensor's."),
       named("event_type", kReadingTypes, 0, 0x7f, "Event/reading type. Default: the named sensor's."),
       boolean("deasserted", "Default false."),
       hex("data", 1, 3, "Event data 1 to 3; what is missing is FF.")}};
  return keys;
}

const KeyObject& sel_keys() {
  static const KeyObject keys = {
      "SEL",
      {integer("entries_max", 1, 65534, "Default 1024."),
       {.name = "preload", .type = T::kList, .about = "Records added once, to an empty SEL: 16 bytes or fields each.",
        .object = &sel_record_keys(), .element = T::kSelRecord, .items_max = 4096}}};
  return keys;
}

const KeyObject& satellite_keys() {
  static const KeyObject keys = {
      "satellite",
      {required(integer("address", 0x02, 0xfe, "8-bit slave address on the IPMB, even.")),
       object("identity", identity_keys(), "What it says of itself."),
       boolean("answers", "False: it does not acknowledge. Default true."),
       duration("latency", 60, "Until its answer. Default 1ms.")}};
  return keys;
}

const KeyObject& i2c_keys() {
  static const KeyObject keys = {
      "I2C device",
      {integer("bus", 0, 255, "Byte 1 of Master Write-Read, channel included. Default 0."),
       required(integer("address", 0x02, 0xfe, "8-bit slave address, even.")),
       hex("content", 0, 256, "Its bytes; the first byte written is the offset."),
       of_type("file", T::kFile, "Its bytes from a file, instead of content."),
       boolean("writable", "Default true.")}};
  return keys;
}

const KeyObject& user_keys() {
  static const KeyObject keys = {
      "user",
      {required(integer("id", 1, 63, "1 is the nameless user.")),
       text("name", 16, "At most 16 characters."), text("password", 20, "At most 20 characters."),
       named("privilege", kPrivileges, 1, 4, "Default administrator."), boolean("enabled", "Default true.")}};
  return keys;
}

const KeyObject& channel_keys() {
  static const KeyObject keys = {
      "channel",
      {required(integer("number", 1, 0x0b, "0 (IPMB) and 15 (system interface) are always there.")),
       named("medium", kMedia, 1, 0x7f, "Table 6-3. Default lan."),
       named("protocol", kProtocols, 1, 0x1f, "Table 6-2. Default ipmb."),
       named("privilege_limit", kPrivileges, 1, 4, "Default administrator.")}};
  return keys;
}

const KeyObject& reset_keys() {
  static const KeyObject keys = {
      "reset",
      {duration("cold_offline", 3600, "How long the BMC is away after a cold reset. Default 2s."),
       duration("warm_offline", 3600, "... after a warm reset. Default 200ms.")}};
  return keys;
}

const KeyObject& bt_keys() {
  static const KeyObject keys = {
      "BT capabilities",
      {integer("requests_outstanding", 1, 255, "Get BT Interface Capabilities byte 2. Default 1."),
       integer("response_seconds", 1, 255, "Byte 5. Default 5."), integer("retries", 0, 255, "Byte 6. Default 2.")}};
  return keys;
}

namespace {

template <class T, size_t N>
NamedValues named_values(const std::array<faults::Named<T>, N>& names) {
  NamedValues out;
  for (const auto& [name, value] : names) out.push_back({name, static_cast<int64_t>(value)});
  return out;
}

const NamedValues kDrops = named_values(faults::kDropNames);
const NamedValues kFlags = named_values(faults::kFlagNames);
const NamedValues kBmcFaults = named_values(faults::kBmcNames);
const NamedValues kInterruptFaults = named_values(faults::kInterruptNames);
const NamedValues kAttentionFaults = {{"storm", static_cast<int64_t>(faults::ActionKind::kAttentionStorm)}};
const NamedValues kAccesses = named_values(faults::kAccessNames);
const NamedValues kRegisters = named_values(faults::kRegisterNames);
const NamedValues kPhases = named_values(faults::kPhaseNames);

// A name stands for NetFn and Cmd, above every Cmd by itself.
const NamedValues& command_values() {
  static const NamedValues values = [] {
    NamedValues out;
    for (const CommandName& c : command_names()) out.push_back({c.name, 0x10000 | c.netfn << 8 | c.cmd});
    return out;
  }();
  return values;
}

}  // namespace

const KeyObject& fault_keys() {
  static const KeyObject keys = {
      "fault rule",
      {text("name", 64, "For people: in lists, traces and events.", 1),
       // What, for a request and its answer.
       hex("cc", 1, 1, "Answer with this completion code, as d5; the command is not executed."),
       choice("drop", kDrops, "Lose the request before it is executed, or its answer afterwards."),
       duration("delay", 3600, "Answer so much later."),
       duration("answer_at", 3600, "Answer so long after the request, whatever the latency is."),
       integer("sequence", 1, 255, "Added to the answer's sequence number (BT, VM protocol)."),
       integer("answer_netfn", 0, 63, "The answer's NetFn."),
       integer("answer_cmd", 0, 255, "The answer's Cmd."),
       integer("truncate", 1, 271, "Bytes left of the answer, NetFn, Cmd and completion code included."),
       integer("extend", 1, 271, "Bytes of A5 added to the answer."),
       integer("length_byte", 0, 255, "What BT's length byte says, whatever follows."),
       integer("corrupt", 0, 271, "Index of the answer's byte that is wrong: 0 NetFn/LUN, 1 Cmd, 2 completion code."),
       hex("xor", 1, 1, "The bits of that byte that flip. Default ff."),
       boolean("bad_checksum", "Of the VM protocol's frame."),
       integer("duplicate", 1, 8, "The answer comes again so often."),
       boolean("previous_answer", "Answer with the answer given before this one."),
       // What, for the registers, the BMC and the lines.
       choice("hold", kFlags, "The host reads this flag as 1."),
       choice("withhold", kFlags, "The host reads this flag as 0."),
       hex("read_value", 1, 1, "The host reads this; its access does not reach the BMC."),
       hex("read_xor", 1, 1, "These bits of what the host reads flip."),
       boolean("lose_write", "The host's write does not reach the BMC."),
       choice("bmc", kBmcFaults, "It stalls, fails the transfer (KCS: ERROR), or resets."),
       choice("interrupt", kInterruptFaults, "It is lost, comes without a cause, or comes again and again."),
       choice("attention", kAttentionFaults, "SMS_ATN rises again and again."),
       duration("duration", 86400, "How long it lasts. Default: until the rule is cleared.", 1e-6),
       // When.
       name_key("interface", 32, "Of this name or kind only. Default: every interface."),
       named("netfn", kNetFns, 0, 0x3e, "The request's NetFn."),
       integer("netfn_mask", 1, 0x3f, "Bits of NetFn that are compared. Default 0x3f."),
       named("cmd", command_values(), 0, 255, "The request's command, by name (which brings its NetFn) or number."),
       integer("cmd_mask", 1, 255, "Bits of Cmd that are compared. Default 0xff."),
       hex("data", 0, 32, "What the request's data begins with."),
       choice("access", kAccesses, "The host reads, or writes. Default: either."),
       choice("register", kRegisters, "Which register: BT ctrl, buffer, intmask; KCS data, status, command; SMIC data, "
                                      "control, status, flags."),
       integer("offset", 0, 2, "The register by its offset."),
       hex("value", 1, 1, "What is written; for a read, the flags as they are."),
       choice("phase", kPhases, "Where the transfer stands."),
       integer("skip", 0, 1e9, "Not the first so many times. Default 0."),
       integer("nth", 1, 1e9, "Only the nth time (after skip)."),
       integer("every", 1, 1e9, "Every nth time (after skip). Default 1."),
       number("probability", "Of those times. Default 1.", 1e-6, 1),
       duration("from", 86400, "Not before so long after the rule was added. Default 0s."),
       duration("until", 86400, "Not later than so long after it was added.", 1e-6),
       duration("period", 86400, "Again after so long: of what the BMC does by itself, and of storms (default 1ms).", 1e-5),
       integer("count", 1, 1e9, "Fires so often on each interface. Default: without bound for what happens to a message, "
                                "access or interrupt, and with a period; once for what else begins something.")}};
  return keys;
}

const KeyObject& fault_file_keys() {
  static const KeyObject keys = {"file", {required(objects("faults", fault_keys(), board::kFaultsMax, "Fault rules."))}};
  return keys;
}

const KeyObject& bmc_keys() {
  static const KeyObject keys = {
      "BMC",
      {name_key("name", 64, "Unique. With count, {n} or {n:02} stands for the number."),
       integer("count", 1, 20000, "So many of it, numbered by {n} in name, serials and socket paths. Default 1."),
       integer("first", 0, 1000000, "The first number of a count. Default 0."),
       name_key("template", 64, "Takes every key that is not here from this entry of 'templates'."),
       boolean("power_on", "Whether the chassis is on at the very first start. Default true."),
       object("identity", identity_keys(), "Get Device ID and GUIDs."),
       objects("interfaces", interface_keys(), 16, "System interfaces."),
       objects("sensors", sensor_keys(), 1016, "Sensors, each with its SDR."),
       objects("frus", fru_keys(), 255, "FRU inventories."),
       object("sdr", sdr_keys(), "SDR repository."),
       object("sel", sel_keys(), "System event log."),
       objects("satellites", satellite_keys(), 126, "Controllers on the IPMB, reached through Send Message."),
       objects("i2c_devices", i2c_keys(), 256, "Devices for Master Write-Read."),
       objects("users", user_keys(), 63, "Users there are before software adds any."),
       objects("channels", channel_keys(), 11, "Channels besides 0 and 15."),
       object("reset", reset_keys(), "What a reset of the BMC looks like."),
       object("bt", bt_keys(), "Get BT Interface Capabilities."),
       objects("faults", fault_keys(), board::kFaultsMax, "Fault rules in force from the start (docs/faults.md).")}};
  return keys;
}

const KeyObject& tls_keys() {
  static const KeyObject keys = {
      "TLS",
      {required(of_type("certificate", T::kFile, "PEM file: the daemon's certificate chain.")),
       required(of_type("key", T::kFile, "PEM file: its private key.")),
       of_type("client_ca", T::kFile, "PEM file: who signs clients' certificates; with it they must have one.")}};
  return keys;
}

const KeyObject& daemon_keys() {
  static const KeyObject keys = {
      "daemon",
      {list(text("listen", 200, "gRPC addresses: unix:PATH (may hold ${RUN}) or HOST:PORT. Default: a unix socket.", 1),
            16),
       object("tls", tls_keys(), "For TCP addresses."),
       text("state", 400,
            "Directory (absolute, or in ${RUN}) where SEL, FRU writes, settings and clocks survive. Default: they do "
            "not.",
            1),
       integer("threads", 1, 64, "Workers. Default: chosen from the machine."),
       choice("log_level", kLogLevels, "Default info.")}};
  return keys;
}

const KeyObject& file_keys() {
  static const KeyObject keys = {
      "file",
      {object("daemon", daemon_keys(), "Where the daemon listens and what it keeps."),
       {.name = "templates", .type = T::kMap, .about = "What several BMCs share, by name.", .object = &bmc_keys(),
        .items_max = 64},
       required(objects("bmcs", bmc_keys(), 20000, "The BMCs."))}};
  return keys;
}

std::string_view nearest(std::string_view word, const std::vector<std::string_view>& candidates) {
  if (word.size() > 64) return {};
  std::string_view best;
  size_t best_distance = word.size() / 3 + 1;  // one in three letters may be wrong, and one more
  for (std::string_view candidate : candidates) {
    // Levenshtein, with letters of either case alike and '-', '_', ' ' alike.
    auto plain = [](char c) {
      if (c >= 'A' && c <= 'Z') return static_cast<char>(c - 'A' + 'a');
      return c == '-' || c == ' ' ? '_' : c;
    };
    std::vector<size_t> row(candidate.size() + 1);
    for (size_t j = 0; j < row.size(); ++j) row[j] = j;
    for (size_t i = 1; i <= word.size(); ++i) {
      size_t diagonal = row[0];
      row[0] = i;
      for (size_t j = 1; j < row.size(); ++j) {
        size_t change = diagonal + (plain(word[i - 1]) == plain(candidate[j - 1]) ? 0 : 1);
        diagonal = row[j];
        row[j] = std::min({change, row[j] + 1, row[j - 1] + 1});
      }
    }
    if (row.back() < best_distance || (row.back() == best_distance && best.empty() && best_distance <= 2)) {
      best_distance = row.back();
      best = candidate;
    }
  }
  return best;
}

}  // namespace bmcpair::daemon
