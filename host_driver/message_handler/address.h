// Where a message goes or came from: Linux's struct ipmi_addr and its kinds (reference E.2).
#pragma once

#include <cstdint>
#include <string>
#include <variant>

#include "host_driver/runtime/runtime.h"
#include "proto/base/hex.h"
#include "proto/base/result.h"

namespace bmcpair::host::inline BMCPAIR_RT {

constexpr unsigned kChannelsMax = 16;
constexpr uint8_t kBmcChannel = 15;  // the system interface itself

// The BMC behind the system interface.
struct SystemInterfaceAddress {
  uint8_t lun = 0;
  bool operator==(const SystemInterfaceAddress&) const = default;
};

// A controller on an IPMB, reached by the BMC with Send Message.
struct IpmbAddress {
  uint8_t channel = 0;  // 0..14
  uint8_t slave = 0;    // 8-bit form
  uint8_t lun = 0;
  bool broadcast = false;  // answers come from the plain address
  bool operator==(const IpmbAddress&) const = default;
};

// A controller on an IPMB that the system interface itself sits on. Channel 0.
struct IpmbDirectAddress {
  uint8_t slave = 0;  // even
  uint8_t rs_lun = 0;
  uint8_t rq_lun = 0;
  bool operator==(const IpmbDirectAddress&) const = default;
};

// Remote software behind a LAN or serial channel.
struct LanAddress {
  uint8_t channel = 0;  // 0..14
  uint8_t privilege = 0;
  uint8_t session_handle = 0;
  uint8_t remote_swid = 0;
  uint8_t local_swid = 0;
  uint8_t lun = 0;
  // Everything; the match of a response with its request leaves privilege out: same_peer().
  bool operator==(const LanAddress&) const = default;
};

using Address = std::variant<SystemInterfaceAddress, IpmbAddress, IpmbDirectAddress, LanAddress>;

// Linux's address types (F.3).
enum class AddressType : int32_t {
  kIpmb = 0x01,
  kLan = 0x04,
  kSystemInterface = 0x0c,
  kIpmbBroadcast = 0x41,
  kIpmbDirect = 0x81,
};

AddressType type_of(const Address& address);
uint8_t channel_of(const Address& address);  // kBmcChannel for the system interface
// As E.2 compares a response's sender with the request's target.
bool same_peer(const Address& a, const Address& b);
// kInvalidArgument naming the field.
Status validate(const Address& address);
std::string to_string(const Address& address);

// struct ipmi_addr as the /dev/ipmiN ABI carries it: int type, short channel (both in the machine's order), then the
// fields of the kind (F.3). Sizes are those of Linux: 8, 8, 12, 12.
Result<Address> decode_linux_address(ByteView bytes);
Bytes encode_linux_address(const Address& address);

}  // namespace bmcpair::host::inline BMCPAIR_RT
