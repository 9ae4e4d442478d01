#include "proto/ipmi/sensor_names.h"

#include <array>
#include <iterator>

namespace bmcpair::ipmi {
namespace {

// Table 42-3, first column.
constexpr std::string_view kSensorTypes[] = {
    "reserved", "Temperature", "Voltage", "Current", "Fan", "Physical Security", "Platform Security", "Processor",
    "Power Supply", "Power Unit", "Cooling Device", "Other Units-based Sensor", "Memory", "Drive Slot",
    "POST Memory Resize", "System Firmware Progress", "Event Logging Disabled", "Watchdog 1", "System Event",
    "Critical Interrupt", "Button / Switch", "Module / Board", "Microcontroller / Coprocessor", "Add-in Card",
    "Chassis", "Chip Set", "Other FRU", "Cable / Interconnect", "Terminator", "System Boot / Restart Initiated",
    "Boot Error", "OS Boot", "OS Stop / Shutdown", "Slot / Connector", "System ACPI Power State", "Watchdog 2",
    "Platform Alert", "Entity Presence", "Monitor ASIC / IC", "LAN", "Management Subsystem Health", "Battery",
    "Session Audit", "Version Change", "FRU State",
};

// Table 43-15.
constexpr std::string_view kUnits[] = {
    "", "degrees C", "degrees F", "degrees K", "Volts", "Amps", "Watts", "Joules", "Coulombs", "VA", "Nits", "lumen",
    "lux", "Candela", "kPa", "PSI", "Newton", "CFM", "RPM", "Hz", "microsecond", "millisecond", "second", "minute",
    "hour", "day", "week", "mil", "inches", "feet", "cu in", "cu feet", "mm", "cm", "m", "cu cm", "cu m", "liters",
    "fluid ounce", "radians", "steradians", "revolutions", "cycles", "gravities", "ounce", "pound", "ft-lb", "oz-in",
    "gauss", "gilberts", "henry", "millihenry", "farad", "microfarad", "ohms", "siemens", "mole", "becquerel", "PPM",
    "reserved", "Decibels", "DbA", "DbC", "gray", "sievert", "color temp deg K", "bit", "kilobit", "megabit",
    "gigabit", "byte", "kilobyte", "megabyte", "gigabyte", "word", "dword", "qword", "line", "hit", "miss", "retry",
    "reset", "overrun / overflow", "underrun", "collision", "packets", "messages", "characters", "error",
    "correctable error", "uncorrectable error", "fatal error", "grams",
};

// Table 43-13.
constexpr std::string_view kEntities[] = {
    "unspecified", "other", "unknown", "processor", "disk", "peripheral bay", "system management module",
    "system board", "memory module", "processor module", "power supply", "add-in card", "front panel board",
    "back panel board", "power system board", "drive backplane", "system internal expansion board",
    "other system board", "processor board", "power unit", "power module", "power management board",
    "chassis back panel board", "system chassis", "sub-chassis", "other chassis board", "disk drive bay",
    "peripheral bay", "device bay", "fan", "cooling unit", "cable / interconnect", "memory device",
    "system management software", "system firmware", "operating system", "system bus", "group",
    "remote management communication device", "external environment", "battery", "processing blade",
    "connectivity switch", "processor / memory module", "I/O module", "processor / I/O module",
    "management controller firmware", "IPMI channel", "PCI bus", "PCI Express bus", "SCSI bus", "SATA / SAS bus",
    "processor / front-side bus", "real-time clock", "reserved", "air inlet", "reserved", "reserved", "reserved",
    "reserved", "reserved", "reserved", "reserved", "reserved", "air inlet", "processor", "baseboard",
};

constexpr std::string_view kThresholds[] = {"lower non-critical", "lower critical",     "lower non-recoverable",
                                            "upper non-critical", "upper critical",     "upper non-recoverable"};

constexpr std::string_view kThresholdEvents[] = {
    "lower non-critical going low",    "lower non-critical going high",   "lower critical going low",
    "lower critical going high",       "lower non-recoverable going low", "lower non-recoverable going high",
    "upper non-critical going low",    "upper non-critical going high",   "upper critical going low",
    "upper critical going high",       "upper non-recoverable going low", "upper non-recoverable going high",
};

struct Offset {
  uint8_t type;
  uint8_t offset;
  std::string_view text;
};

// Table 42-2, event/reading types 02h..0Ch.
constexpr Offset kGeneric[] = {
    {0x02, 0, "transition to idle"}, {0x02, 1, "transition to active"}, {0x02, 2, "transition to busy"},
    {0x03, 0, "state deasserted"}, {0x03, 1, "state asserted"},
    {0x04, 0, "predictive failure deasserted"}, {0x04, 1, "predictive failure asserted"},
    {0x05, 0, "limit not exceeded"}, {0x05, 1, "limit exceeded"},
    {0x06, 0, "performance met"}, {0x06, 1, "performance lags"},
    {0x07, 0, "transition to OK"}, {0x07, 1, "transition to non-critical from OK"},
    {0x07, 2, "transition to critical from less severe"}, {0x07, 3, "transition to non-recoverable from less severe"},
    {0x07, 4, "transition to non-critical from more severe"}, {0x07, 5, "transition to critical from non-recoverable"},
    {0x07, 6, "transition to non-recoverable"}, {0x07, 7, "monitor"}, {0x07, 8, "informational"},
    {0x08, 0, "device removed / absent"}, {0x08, 1, "device inserted / present"},
    {0x09, 0, "device disabled"}, {0x09, 1, "device enabled"},
    {0x0a, 0, "transition to running"}, {0x0a, 1, "transition to in test"}, {0x0a, 2, "transition to power off"},
    {0x0a, 3, "transition to on line"}, {0x0a, 4, "transition to off line"}, {0x0a, 5, "transition to off duty"},
    {0x0a, 6, "transition to degraded"}, {0x0a, 7, "transition to power save"}, {0x0a, 8, "install error"},
    {0x0b, 0, "fully redundant"}, {0x0b, 1, "redundancy lost"}, {0x0b, 2, "redundancy degraded"},
    {0x0b, 3, "non-redundant: sufficient resources from redundant"},
    {0x0b, 4, "non-redundant: sufficient resources from insufficient"}, {0x0b, 5, "non-redundant: insufficient resources"},
    {0x0b, 6, "redundancy degraded from fully redundant"}, {0x0b, 7, "redundancy degraded from non-redundant"},
    {0x0c, 0, "D0 power state"}, {0x0c, 1, "D1 power state"}, {0x0c, 2, "D2 power state"}, {0x0c, 3, "D3 power state"},
};

// Table 42-3, sensor-specific offsets (event/reading type 6Fh).
constexpr Offset kSpecific[] = {
    {0x05, 0, "general chassis intrusion"}, {0x05, 1, "drive bay intrusion"}, {0x05, 2, "I/O card area intrusion"},
    {0x05, 3, "processor area intrusion"}, {0x05, 4, "system unplugged from LAN"}, {0x05, 5, "unauthorized dock"},
    {0x05, 6, "fan area intrusion"},
    {0x06, 0, "front panel lockout violation attempt"}, {0x06, 1, "pre-boot password violation: user"},
    {0x06, 2, "pre-boot password violation: setup"}, {0x06, 3, "pre-boot password violation: network boot"},
    {0x06, 4, "other pre-boot password violation"}, {0x06, 5, "out-of-band access password violation"},
    {0x07, 0, "IERR"}, {0x07, 1, "thermal trip"}, {0x07, 2, "FRB1 / BIST failure"}, {0x07, 3, "FRB2 / hang in POST"},
    {0x07, 4, "FRB3 / processor startup failure"}, {0x07, 5, "configuration error"},
    {0x07, 6, "uncorrectable CPU-complex error"}, {0x07, 7, "presence detected"}, {0x07, 8, "disabled"},
    {0x07, 9, "terminator presence detected"}, {0x07, 10, "automatically throttled"},
    {0x07, 11, "uncorrectable machine check exception"}, {0x07, 12, "correctable machine check error"},
    {0x08, 0, "presence detected"}, {0x08, 1, "power supply failure detected"}, {0x08, 2, "predictive failure"},
    {0x08, 3, "input lost (AC/DC)"}, {0x08, 4, "input lost or out of range"}, {0x08, 5, "input out of range, but present"},
    {0x08, 6, "configuration error"}, {0x08, 7, "inactive (standby)"},
    {0x09, 0, "power off / down"}, {0x09, 1, "power cycle"}, {0x09, 2, "240 VA power down"},
    {0x09, 3, "interlock power down"}, {0x09, 4, "AC lost / input lost"}, {0x09, 5, "soft power control failure"},
    {0x09, 6, "power unit failure detected"}, {0x09, 7, "predictive failure"},
    {0x0c, 0, "correctable ECC"}, {0x0c, 1, "uncorrectable ECC"}, {0x0c, 2, "parity"}, {0x0c, 3, "memory scrub failed"},
    {0x0c, 4, "memory device disabled"}, {0x0c, 5, "correctable ECC logging limit reached"},
    {0x0c, 6, "presence detected"}, {0x0c, 7, "configuration error"}, {0x0c, 8, "spare"},
    {0x0c, 9, "automatically throttled"}, {0x0c, 10, "critical overtemperature"},
    {0x0d, 0, "drive present"}, {0x0d, 1, "drive fault"}, {0x0d, 2, "predictive failure"}, {0x0d, 3, "hot spare"},
    {0x0d, 4, "consistency check in progress"}, {0x0d, 5, "in critical array"}, {0x0d, 6, "in failed array"},
    {0x0d, 7, "rebuild in progress"}, {0x0d, 8, "rebuild aborted"},
    {0x0f, 0, "system firmware error"}, {0x0f, 1, "system firmware hang"}, {0x0f, 2, "system firmware progress"},
    {0x10, 0, "correctable memory error logging disabled"}, {0x10, 1, "event type logging disabled"},
    {0x10, 2, "log area reset / cleared"}, {0x10, 3, "all event logging disabled"}, {0x10, 4, "SEL full"},
    {0x10, 5, "SEL almost full"}, {0x10, 6, "correctable machine check error logging disabled"},
    {0x11, 0, "BIOS watchdog reset"}, {0x11, 1, "OS watchdog reset"}, {0x11, 2, "OS watchdog shutdown"},
    {0x11, 3, "OS watchdog power down"}, {0x11, 4, "OS watchdog power cycle"}, {0x11, 5, "OS watchdog NMI"},
    {0x11, 6, "OS watchdog expired, status only"}, {0x11, 7, "OS watchdog pre-timeout interrupt"},
    {0x12, 0, "system reconfigured"}, {0x12, 1, "OEM system boot event"}, {0x12, 2, "undetermined hardware failure"},
    {0x12, 3, "entry added to auxiliary log"}, {0x12, 4, "PEF action"}, {0x12, 5, "timestamp clock synchronization"},
    {0x13, 0, "front panel NMI / diagnostic interrupt"}, {0x13, 1, "bus timeout"}, {0x13, 2, "I/O channel check NMI"},
    {0x13, 3, "software NMI"}, {0x13, 4, "PCI PERR"}, {0x13, 5, "PCI SERR"}, {0x13, 6, "EISA fail-safe timeout"},
    {0x13, 7, "bus correctable error"}, {0x13, 8, "bus uncorrectable error"}, {0x13, 9, "fatal NMI"},
    {0x13, 10, "bus fatal error"}, {0x13, 11, "bus degraded"},
    {0x14, 0, "power button pressed"}, {0x14, 1, "sleep button pressed"}, {0x14, 2, "reset button pressed"},
    {0x14, 3, "FRU latch open"}, {0x14, 4, "FRU service request button"},
    {0x19, 0, "soft power control failure"}, {0x19, 1, "thermal trip"},
    {0x1b, 0, "connected"}, {0x1b, 1, "configuration error: incorrect cable"},
    {0x1d, 0, "initiated by power up"}, {0x1d, 1, "initiated by hard reset"}, {0x1d, 2, "initiated by warm reset"},
    {0x1d, 3, "user requested PXE boot"}, {0x1d, 4, "automatic boot to diagnostic"},
    {0x1d, 5, "OS initiated hard reset"}, {0x1d, 6, "OS initiated warm reset"}, {0x1d, 7, "system restart"},
    {0x1e, 0, "no bootable media"}, {0x1e, 1, "non-bootable diskette in drive"}, {0x1e, 2, "PXE server not found"},
    {0x1e, 3, "invalid boot sector"}, {0x1e, 4, "timeout waiting for selection of boot source"},
    {0x1f, 0, "A: boot completed"}, {0x1f, 1, "C: boot completed"}, {0x1f, 2, "PXE boot completed"},
    {0x1f, 3, "diagnostic boot completed"}, {0x1f, 4, "CD-ROM boot completed"}, {0x1f, 5, "ROM boot completed"},
    {0x1f, 6, "boot completed"}, {0x1f, 7, "OS installation started"}, {0x1f, 8, "OS installation completed"},
    {0x1f, 9, "OS installation aborted"}, {0x1f, 10, "OS installation failed"},
    {0x20, 0, "stop during OS load"}, {0x20, 1, "run-time stop"}, {0x20, 2, "OS graceful stop"},
    {0x20, 3, "OS graceful shutdown"}, {0x20, 4, "PEF initiated soft shutdown"}, {0x20, 5, "agent not responding"},
    {0x21, 0, "fault status asserted"}, {0x21, 1, "identify status asserted"}, {0x21, 2, "device installed"},
    {0x21, 3, "ready for device installation"}, {0x21, 4, "ready for device removal"}, {0x21, 5, "slot power is off"},
    {0x21, 6, "device removal request"}, {0x21, 7, "interlock asserted"}, {0x21, 8, "slot is disabled"},
    {0x21, 9, "slot holds spare device"},
    {0x22, 0, "S0/G0: working"}, {0x22, 1, "S1: sleeping, context maintained"},
    {0x22, 2, "S2: sleeping, processor context lost"}, {0x22, 3, "S3: sleeping, memory retained"},
    {0x22, 4, "S4: suspend to disk"}, {0x22, 5, "S5/G2: soft off"}, {0x22, 6, "S4/S5: soft off"},
    {0x22, 7, "G3: mechanical off"}, {0x22, 8, "sleeping in S1, S2 or S3"}, {0x22, 9, "G1: sleeping"},
    {0x22, 10, "S5 entered by override"}, {0x22, 11, "legacy on"}, {0x22, 12, "legacy off"}, {0x22, 14, "unknown"},
    {0x23, 0, "timer expired, status only"}, {0x23, 1, "hard reset"}, {0x23, 2, "power down"}, {0x23, 3, "power cycle"},
    {0x23, 8, "timer interrupt"},
    {0x24, 0, "platform generated page"}, {0x24, 1, "platform generated LAN alert"},
    {0x24, 2, "platform event trap generated"}, {0x24, 3, "platform generated SNMP trap"},
    {0x25, 0, "entity present"}, {0x25, 1, "entity absent"}, {0x25, 2, "entity disabled"},
    {0x27, 0, "LAN heartbeat lost"}, {0x27, 1, "LAN heartbeat"},
    {0x28, 0, "sensor access degraded or unavailable"}, {0x28, 1, "controller access degraded or unavailable"},
    {0x28, 2, "management controller off-line"}, {0x28, 3, "management controller unavailable"},
    {0x28, 4, "sensor failure"}, {0x28, 5, "FRU failure"},
    {0x29, 0, "battery low"}, {0x29, 1, "battery failed"}, {0x29, 2, "battery presence detected"},
    {0x2a, 0, "session activated"}, {0x2a, 1, "session deactivated"}, {0x2a, 2, "invalid username or password"},
    {0x2a, 3, "invalid password disable"},
    {0x2b, 0, "hardware change detected"}, {0x2b, 1, "firmware or software change detected"},
    {0x2b, 2, "hardware incompatibility detected"}, {0x2b, 3, "firmware or software incompatibility detected"},
    {0x2b, 4, "unsupported hardware version"}, {0x2b, 5, "unsupported firmware or software version"},
    {0x2b, 6, "hardware change successful"}, {0x2b, 7, "firmware or software change successful"},
    {0x2c, 0, "not installed"}, {0x2c, 1, "inactive"}, {0x2c, 2, "activation requested"},
    {0x2c, 3, "activation in progress"}, {0x2c, 4, "active"}, {0x2c, 5, "deactivation requested"},
    {0x2c, 6, "deactivation in progress"}, {0x2c, 7, "communication lost"},
};

template <size_t N>
std::string_view look_up(const Offset (&table)[N], uint8_t type, uint8_t offset) {
  for (const Offset& entry : table) {
    if (entry.type == type && entry.offset == offset) return entry.text;
  }
  return {};
}

}  // namespace

std::string_view sensor_type_name(uint8_t type) {
  if (type >= 0xc0) return "OEM";
  return type < std::size(kSensorTypes) ? kSensorTypes[type] : "reserved";
}

std::string_view unit_name(uint8_t unit) { return unit < std::size(kUnits) ? kUnits[unit] : std::string_view(); }

std::string_view entity_name(uint8_t id) {
  auto name = id < std::size(kEntities) ? kEntities[id] : std::string_view("reserved");
  return name == "reserved" ? "entity" : name;
}

std::string_view threshold_name(uint8_t threshold) {
  return threshold < std::size(kThresholds) ? kThresholds[threshold] : std::string_view();
}

std::string_view offset_name(uint8_t event_reading_type, uint8_t sensor_type, uint8_t offset) {
  event_reading_type &= 0x7f;
  if (event_reading_type == 0x01) {
    return offset < std::size(kThresholdEvents) ? kThresholdEvents[offset] : std::string_view();
  }
  if (event_reading_type == 0x6f) return look_up(kSpecific, sensor_type, offset);
  return look_up(kGeneric, event_reading_type, offset);
}

std::string_view threshold_status_name(uint8_t bits) {
  if (bits & 0x24) return "nr";  // UNR, LNR
  if (bits & 0x12) return "cr";  // UC, LC
  if (bits & 0x09) return "nc";  // UNC, LNC
  return "ok";
}

std::string states_text(uint8_t event_reading_type, uint8_t sensor_type, uint16_t states) {
  std::string text;
  for (uint8_t offset = 0; offset < 15; ++offset) {
    if ((states >> offset & 1) == 0) continue;
    if (!text.empty()) text += ", ";
    auto name = offset_name(event_reading_type, sensor_type, offset);
    text += name.empty() ? "state " + std::to_string(offset) : std::string(name);
  }
  return text;
}

}  // namespace bmcpair::ipmi
