#include "host_driver/message_handler/address.h"

#include <cstdio>
#include <cstring>

namespace bmcpair::host::inline BMCPAIR_RT {

namespace {

template <class... Fs>
struct Overload : Fs... {
  using Fs::operator()...;
};
template <class... Fs>
Overload(Fs...) -> Overload<Fs...>;

Error invalid(std::string what) { return Error{ErrorCode::kInvalidArgument, std::move(what)}; }

std::string hex2(unsigned v) {
  char text[8];
  std::snprintf(text, sizeof text, "0x%02x", v);
  return text;
}

Status check_lun(const char* name, uint8_t lun) {
  if (lun > 3) return invalid(std::string("address: ") + name + " " + std::to_string(lun) + " is above 3");
  return {};
}

// 15 is the system interface and 16 and up do not exist.
Status check_channel(uint8_t channel) {
  if (channel >= kBmcChannel) {
    return invalid("address: channel " + std::to_string(channel) + " of a routed address is not in 0..14");
  }
  return {};
}

}  // namespace

AddressType type_of(const Address& address) {
  return std::visit(
      Overload{
          [](const SystemInterfaceAddress&) { return AddressType::kSystemInterface; },
          [](const IpmbAddress& a) { return a.broadcast ? AddressType::kIpmbBroadcast : AddressType::kIpmb; },
          [](const IpmbDirectAddress&) { return AddressType::kIpmbDirect; },
          [](const LanAddress&) { return AddressType::kLan; },
      },
      address);
}

uint8_t channel_of(const Address& address) {
  return std::visit(Overload{
                        [](const SystemInterfaceAddress&) { return kBmcChannel; },
                        [](const IpmbAddress& a) { return a.channel; },
                        [](const IpmbDirectAddress&) { return uint8_t{0}; },
                        [](const LanAddress& a) { return a.channel; },
                    },
                    address);
}

bool same_peer(const Address& a, const Address& b) {
  if (a.index() != b.index()) return false;
  if (const auto* lan = std::get_if<LanAddress>(&a)) {
    const auto& other = std::get<LanAddress>(b);
    return lan->channel == other.channel && lan->remote_swid == other.remote_swid &&
           lan->local_swid == other.local_swid && lan->session_handle == other.session_handle && lan->lun == other.lun;
  }
  return a == b;
}

Status validate(const Address& address) {
  return std::visit(Overload{
                        [](const SystemInterfaceAddress& a) { return check_lun("LUN", a.lun); },
                        [](const IpmbAddress& a) -> Status {
                          if (Status s = check_channel(a.channel); !s) return s;
                          return check_lun("LUN", a.lun);
                        },
                        [](const IpmbDirectAddress& a) -> Status {
                          if (a.slave & 1) return invalid("address: direct IPMB address " + hex2(a.slave) + " is odd");
                          if (Status s = check_lun("responder LUN", a.rs_lun); !s) return s;
                          return check_lun("requester LUN", a.rq_lun);
                        },
                        [](const LanAddress& a) -> Status {
                          if (Status s = check_channel(a.channel); !s) return s;
                          return check_lun("LUN", a.lun);
                        },
                    },
                    address);
}

std::string to_string(const Address& address) {
  return std::visit(
      Overload{
          [](const SystemInterfaceAddress& a) { return "system interface, LUN " + std::to_string(a.lun); },
          [](const IpmbAddress& a) {
            return std::string(a.broadcast ? "IPMB broadcast " : "IPMB ") + hex2(a.slave) + ", channel " +
                   std::to_string(a.channel) + ", LUN " + std::to_string(a.lun);
          },
          [](const IpmbDirectAddress& a) {
            return "direct IPMB " + hex2(a.slave) + ", LUN " + std::to_string(a.rs_lun);
          },
          [](const LanAddress& a) {
            return "LAN channel " + std::to_string(a.channel) + ", session " + hex2(a.session_handle) + ", software " +
                   hex2(a.remote_swid) + ", LUN " + std::to_string(a.lun);
          },
      },
      address);
}

Result<Address> decode_linux_address(ByteView bytes) {
  if (bytes.size() < 8) {
    return invalid("address: " + std::to_string(bytes.size()) + " bytes, the shortest has 8");
  }
  int32_t type = 0;
  int16_t channel = 0;
  std::memcpy(&type, bytes.data(), 4);
  std::memcpy(&channel, bytes.data() + 4, 2);
  const uint8_t* field = bytes.data() + 6;
  if (static_cast<AddressType>(type) == AddressType::kSystemInterface) {
    if (channel != kBmcChannel) {
      return invalid("address: the system interface's channel is 15, not " + std::to_string(channel));
    }
    Address address = SystemInterfaceAddress{field[0]};
    if (Status s = validate(address); !s) return s.error();
    return address;
  }
  if (channel < 0 || channel >= kBmcChannel) {
    return invalid("address: channel " + std::to_string(channel) + " of a routed address is not in 0..14");
  }
  const auto routed_channel = static_cast<uint8_t>(channel);
  Address address;
  switch (static_cast<AddressType>(type)) {
    case AddressType::kIpmb:
    case AddressType::kIpmbBroadcast:
      address = IpmbAddress{routed_channel, field[0], field[1],
                            static_cast<AddressType>(type) == AddressType::kIpmbBroadcast};
      break;
    case AddressType::kIpmbDirect:
      if (bytes.size() < 12) return invalid("address: a direct IPMB address has 12 bytes");
      if (channel != 0) return invalid("address: a direct IPMB address is on channel 0");
      address = IpmbDirectAddress{field[0], field[1], field[2]};
      break;
    case AddressType::kLan:
      if (bytes.size() < 12) return invalid("address: a LAN address has 12 bytes");
      address = LanAddress{routed_channel, field[0], field[1], field[2], field[3], field[4]};
      break;
    default:
      return invalid("address: type " + std::to_string(type) + " is unknown");
  }
  if (Status s = validate(address); !s) return s.error();
  return address;
}

Bytes encode_linux_address(const Address& address) {
  Bytes out(8, 0);
  const auto type = static_cast<int32_t>(type_of(address));
  const auto channel = static_cast<int16_t>(channel_of(address));
  std::memcpy(out.data(), &type, 4);
  std::memcpy(out.data() + 4, &channel, 2);
  std::visit(Overload{
                 [&](const SystemInterfaceAddress& a) { out[6] = a.lun; },
                 [&](const IpmbAddress& a) {
                   out[6] = a.slave;
                   out[7] = a.lun;
                 },
                 [&](const IpmbDirectAddress& a) {
                   out.resize(12);
                   out[6] = a.slave;
                   out[7] = a.rs_lun;
                   out[8] = a.rq_lun;
                 },
                 [&](const LanAddress& a) {
                   out.resize(12);
                   out[6] = a.privilege;
                   out[7] = a.session_handle;
                   out[8] = a.remote_swid;
                   out[9] = a.local_swid;
                   out[10] = a.lun;
                 },
             },
             address);
  return out;
}

}  // namespace bmcpair::host::inline BMCPAIR_RT
