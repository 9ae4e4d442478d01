#include "proto/trace/names.h"

#include <algorithm>
#include <array>

#include "proto/ipmi/message.h"
#include "proto/registers/bt.h"
#include "proto/registers/kcs.h"
#include "proto/registers/smic.h"

namespace bmcpair::trace {
namespace {

using registers::InterfaceKind;
namespace kcs = registers::kcs;
namespace bt = registers::bt;
namespace smic = registers::smic;

constexpr FlagName kKcsFlags[] = {{kcs::kOem2, "OEM2"}, {kcs::kOem1, "OEM1"}, {kcs::kCd, "C/D"},
                                  {kcs::kSmsAtn, "SMS_ATN"}, {kcs::kIbf, "IBF"}, {kcs::kObf, "OBF"}};
constexpr FlagName kBtFlags[] = {{bt::kBBusy, "B_BUSY"}, {bt::kHBusy, "H_BUSY"}, {bt::kOem0, "OEM0"},
                                 {bt::kSmsAtn, "SMS_ATN"}, {bt::kB2hAtn, "B2H_ATN"}, {bt::kH2bAtn, "H2B_ATN"}};
constexpr FlagName kSmicFlags[] = {{smic::kRxDataReady, "RX_DATA_RDY"}, {smic::kTxDataReady, "TX_DATA_RDY"},
                                   {smic::kSmi, "SMI"}, {smic::kEvtAtn, "EVT_ATN"},
                                   {smic::kSmsAtn, "SMS_ATN"}, {smic::kBusy, "BUSY"}};

struct CommandName {
  uint8_t netfn;
  uint8_t cmd;
  std::string_view name;
};

// Appendix G, table G-1; ascending.
constexpr CommandName kCommands[] = {
    {0x00, 0x00, "Get Chassis Capabilities"},
    {0x00, 0x01, "Get Chassis Status"},
    {0x00, 0x02, "Chassis Control"},
    {0x00, 0x03, "Chassis Reset"},
    {0x00, 0x04, "Chassis Identify"},
    {0x00, 0x05, "Set Chassis Capabilities"},
    {0x00, 0x06, "Set Power Restore Policy"},
    {0x00, 0x07, "Get System Restart Cause"},
    {0x00, 0x08, "Set System Boot Options"},
    {0x00, 0x09, "Get System Boot Options"},
    {0x00, 0x0a, "Set Front Panel Button Enables"},
    {0x00, 0x0b, "Set Power Cycle Interval"},
    {0x00, 0x0f, "Get POH Counter"},
    {0x04, 0x00, "Set Event Receiver"},
    {0x04, 0x01, "Get Event Receiver"},
    {0x04, 0x02, "Platform Event Message"},
    {0x04, 0x10, "Get PEF Capabilities"},
    {0x04, 0x11, "Arm PEF Postpone Timer"},
    {0x04, 0x12, "Set PEF Configuration Parameters"},
    {0x04, 0x13, "Get PEF Configuration Parameters"},
    {0x04, 0x14, "Set Last Processed Event ID"},
    {0x04, 0x15, "Get Last Processed Event ID"},
    {0x04, 0x16, "Alert Immediate"},
    {0x04, 0x17, "PET Acknowledge"},
    {0x04, 0x20, "Get Device SDR Info"},
    {0x04, 0x21, "Get Device SDR"},
    {0x04, 0x22, "Reserve Device SDR Repository"},
    {0x04, 0x23, "Get Sensor Reading Factors"},
    {0x04, 0x24, "Set Sensor Hysteresis"},
    {0x04, 0x25, "Get Sensor Hysteresis"},
    {0x04, 0x26, "Set Sensor Thresholds"},
    {0x04, 0x27, "Get Sensor Thresholds"},
    {0x04, 0x28, "Set Sensor Event Enable"},
    {0x04, 0x29, "Get Sensor Event Enable"},
    {0x04, 0x2a, "Re-arm Sensor Events"},
    {0x04, 0x2b, "Get Sensor Event Status"},
    {0x04, 0x2d, "Get Sensor Reading"},
    {0x04, 0x2e, "Set Sensor Type"},
    {0x04, 0x2f, "Get Sensor Type"},
    {0x04, 0x30, "Set Sensor Reading And Event Status"},
    {0x06, 0x01, "Get Device ID"},
    {0x06, 0x02, "Cold Reset"},
    {0x06, 0x03, "Warm Reset"},
    {0x06, 0x04, "Get Self Test Results"},
    {0x06, 0x05, "Manufacturing Test On"},
    {0x06, 0x06, "Set ACPI Power State"},
    {0x06, 0x07, "Get ACPI Power State"},
    {0x06, 0x08, "Get Device GUID"},
    {0x06, 0x09, "Get NetFn Support"},
    {0x06, 0x0a, "Get Command Support"},
    {0x06, 0x22, "Reset Watchdog Timer"},
    {0x06, 0x24, "Set Watchdog Timer"},
    {0x06, 0x25, "Get Watchdog Timer"},
    {0x06, 0x2e, "Set BMC Global Enables"},
    {0x06, 0x2f, "Get BMC Global Enables"},
    {0x06, 0x30, "Clear Message Flags"},
    {0x06, 0x31, "Get Message Flags"},
    {0x06, 0x32, "Enable Message Channel Receive"},
    {0x06, 0x33, "Get Message"},
    {0x06, 0x34, "Send Message"},
    {0x06, 0x35, "Read Event Message Buffer"},
    {0x06, 0x36, "Get BT Interface Capabilities"},
    {0x06, 0x37, "Get System GUID"},
    {0x06, 0x38, "Get Channel Authentication Capabilities"},
    {0x06, 0x39, "Get Session Challenge"},
    {0x06, 0x3a, "Activate Session"},
    {0x06, 0x3b, "Set Session Privilege Level"},
    {0x06, 0x3c, "Close Session"},
    {0x06, 0x3d, "Get Session Info"},
    {0x06, 0x40, "Set Channel Access"},
    {0x06, 0x41, "Get Channel Access"},
    {0x06, 0x42, "Get Channel Info"},
    {0x06, 0x43, "Set User Access"},
    {0x06, 0x44, "Get User Access"},
    {0x06, 0x45, "Set User Name"},
    {0x06, 0x46, "Get User Name"},
    {0x06, 0x47, "Set User Password"},
    {0x06, 0x52, "Master Write-Read"},
    {0x06, 0x54, "Get Channel Cipher Suites"},
    {0x06, 0x57, "Get System Interface Capabilities"},
    {0x06, 0x58, "Set System Info Parameters"},
    {0x06, 0x59, "Get System Info Parameters"},
    {0x0a, 0x10, "Get FRU Inventory Area Info"},
    {0x0a, 0x11, "Read FRU Data"},
    {0x0a, 0x12, "Write FRU Data"},
    {0x0a, 0x20, "Get SDR Repository Info"},
    {0x0a, 0x21, "Get SDR Repository Allocation Info"},
    {0x0a, 0x22, "Reserve SDR Repository"},
    {0x0a, 0x23, "Get SDR"},
    {0x0a, 0x24, "Add SDR"},
    {0x0a, 0x25, "Partial Add SDR"},
    {0x0a, 0x26, "Delete SDR"},
    {0x0a, 0x27, "Clear SDR Repository"},
    {0x0a, 0x28, "Get SDR Repository Time"},
    {0x0a, 0x29, "Set SDR Repository Time"},
    {0x0a, 0x2a, "Enter SDR Repository Update Mode"},
    {0x0a, 0x2b, "Exit SDR Repository Update Mode"},
    {0x0a, 0x2c, "Run Initialization Agent"},
    {0x0a, 0x40, "Get SEL Info"},
    {0x0a, 0x41, "Get SEL Allocation Info"},
    {0x0a, 0x42, "Reserve SEL"},
    {0x0a, 0x43, "Get SEL Entry"},
    {0x0a, 0x44, "Add SEL Entry"},
    {0x0a, 0x45, "Partial Add SEL Entry"},
    {0x0a, 0x46, "Delete SEL Entry"},
    {0x0a, 0x47, "Clear SEL"},
    {0x0a, 0x48, "Get SEL Time"},
    {0x0a, 0x49, "Set SEL Time"},
    {0x0a, 0x5c, "Get SEL Time UTC Offset"},
    {0x0a, 0x5d, "Set SEL Time UTC Offset"},
    {0x0c, 0x01, "Set LAN Configuration Parameters"},
    {0x0c, 0x02, "Get LAN Configuration Parameters"},
    {0x0c, 0x03, "Suspend BMC ARPs"},
    {0x0c, 0x04, "Get IP/UDP/RMCP Statistics"},
};

std::string hex_byte(uint8_t value) { return to_hex(ByteView(&value, 1)); }

std::string names_of(std::span<const FlagName> names, uint8_t bits) {
  std::string out;
  for (const FlagName& flag : names) {
    if ((bits & flag.bit) != 0) out += (out.empty() ? "" : " ") + std::string(flag.name);
  }
  return out;
}

std::string_view kcs_control_name(uint8_t code) {
  switch (code) {
    case kcs::kGetStatusAbort: return "GET_STATUS/ABORT";
    case kcs::kWriteStart: return "WRITE_START";
    case kcs::kWriteEnd: return "WRITE_END";
    default: return "";
  }
}

std::string_view smic_code_name(uint8_t code) {
  switch (code) {
    case smic::kGetStatus: return "GET_STATUS";
    case smic::kWriteStart: return "WR_START";
    case smic::kWriteNext: return "WR_NEXT";
    case smic::kWriteEnd: return "WR_END";
    case smic::kReadStart: return "RD_START";
    case smic::kReadNext: return "RD_NEXT";
    case smic::kReadEnd: return "RD_END";
    default: return "";
  }
}

}  // namespace

std::span<const FlagName> flag_names(InterfaceKind kind) {
  switch (kind) {
    case InterfaceKind::kKcs: return kKcsFlags;
    case InterfaceKind::kBt: return kBtFlags;
    case InterfaceKind::kSmic: return kSmicFlags;
  }
  return {};
}

std::string_view kcs_state_name(uint8_t status) {
  static constexpr std::string_view kStates[] = {"IDLE", "READ", "WRITE", "ERROR"};
  return kStates[status >> kcs::kStateShift];
}

std::string flags_text(InterfaceKind kind, uint8_t flags) {
  std::string out = names_of(flag_names(kind), flags);
  if (kind == InterfaceKind::kKcs) return std::string(kcs_state_name(flags)) + (out.empty() ? "" : " " + out);
  return out.empty() ? "-" : out;
}

uint16_t flags_offset(InterfaceKind kind) {
  switch (kind) {
    case InterfaceKind::kKcs: return kcs::kStatus;
    case InterfaceKind::kBt: return bt::kCtrl;
    case InterfaceKind::kSmic: return smic::kFlags;
  }
  return 0;
}

std::string register_name(InterfaceKind kind, const Access& access) {
  // A byte goes to the BMC where the host writes or the BMC reads.
  const bool to_bmc = access.is_write == (access.face == Side::kHost);
  switch (kind) {
    case InterfaceKind::kKcs:
      if (access.offset == kcs::kData) return to_bmc ? "DATA_IN" : "DATA_OUT";
      if (access.offset == kcs::kStatus) return access.is_write && access.face == Side::kHost ? "COMMAND" : "STATUS";
      break;
    case InterfaceKind::kBt:
      if (access.offset == bt::kCtrl) return "CTRL";
      if (access.offset == bt::kBuffer) return to_bmc ? "HOST2BMC" : "BMC2HOST";
      if (access.offset == bt::kIntMask) return "INTMASK";
      break;
    case InterfaceKind::kSmic:
      if (access.offset == smic::kData) return "DATA";
      if (access.offset == smic::kControl) return to_bmc ? "CONTROL" : "STATUS";
      if (access.offset == smic::kFlags) return "FLAGS";
      break;
  }
  return "register " + std::to_string(access.offset);
}

bool is_buffer(InterfaceKind kind, uint16_t offset) { return kind == InterfaceKind::kBt && offset == bt::kBuffer; }

std::string value_text(InterfaceKind kind, const Access& access) {
  const uint8_t value = access.value;
  switch (kind) {
    case InterfaceKind::kKcs:
      if (access.offset == kcs::kStatus && access.is_write && access.face == Side::kHost) {
        return std::string(kcs_control_name(value));
      }
      if (access.offset == kcs::kStatus) return flags_text(kind, value);
      break;
    case InterfaceKind::kBt: {
      if (access.offset == bt::kCtrl) {
        std::string out = names_of(kBtFlags, value);
        if ((value & bt::kClrWrPtr) != 0) out += (out.empty() ? "" : " ") + std::string("CLR_WR_PTR");
        if ((value & bt::kClrRdPtr) != 0) out += (out.empty() ? "" : " ") + std::string("CLR_RD_PTR");
        return out.empty() ? "-" : out;
      }
      if (access.offset == bt::kIntMask) {
        static constexpr FlagName kIntMask[] = {
            {bt::kBmcHwRst, "BMC_HWRST"}, {bt::kB2hIrq, "B2H_IRQ"}, {bt::kB2hIrqEnable, "B2H_IRQ_EN"}};
        std::string out = names_of(kIntMask, value);
        return out.empty() ? "-" : out;
      }
      break;
    }
    case InterfaceKind::kSmic:
      if (access.offset == smic::kControl) return std::string(smic_code_name(value & ~smic::kStatusBit));
      if (access.offset == smic::kFlags) return flags_text(kind, value);
      break;
  }
  return "";
}

std::string command_name(uint8_t netfn, uint8_t cmd) {
  netfn &= 0x3e;
  const CommandName* found = std::lower_bound(
      std::begin(kCommands), std::end(kCommands), std::pair(netfn, cmd),
      [](const CommandName& c, const std::pair<uint8_t, uint8_t>& key) { return std::pair(c.netfn, c.cmd) < key; });
  if (found != std::end(kCommands) && found->netfn == netfn && found->cmd == cmd) return std::string(found->name);
  return "NetFn " + hex_byte(netfn) + " Cmd " + hex_byte(cmd);
}

std::string message_name(const Message& message) {
  const Bytes& bytes = message.bytes;
  if (bytes.size() < 2) return "message of " + std::to_string(bytes.size()) + (bytes.empty() ? " bytes" : " byte");
  std::string out = command_name(bytes[0] >> 2, bytes[1]);
  if (message.direction == Message::Direction::kToHost) {
    out += " -> " + (bytes.size() > 2 ? hex_byte(bytes[2]) : std::string("no completion code"));
  }
  return out;
}

}  // namespace bmcpair::trace
