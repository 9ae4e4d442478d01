#include "host_driver/message_handler/wire.h"

#include <algorithm>

#include "proto/ipmi/message.h"

namespace bmcpair::host::inline BMCPAIR_RT::detail {

using ipmi::netfn_lun;

namespace {

size_t put(SmiMessage& m, size_t at, ByteView data) {
  std::copy(data.begin(), data.end(), m.data + at);
  return at + data.size();
}

uint8_t sum(const SmiMessage& m, size_t from, size_t to) { return ipmi::checksum(ByteView(m.data + from, to - from)); }

}  // namespace

void format_ipmb(SmiMessage& m, const IpmbAddress& to, const Routed& routed) {
  m.type = SmiMessageType::kNormal;
  size_t i = 0;
  m.data[i++] = netfn_lun(ipmi::kNetFnApp, 0);
  m.data[i++] = kCmdSendMessage;
  m.data[i++] = to.channel;
  if (to.broadcast) m.data[i++] = 0;
  const size_t target = i;
  m.data[i++] = to.slave;
  m.data[i++] = netfn_lun(routed.netfn, to.lun);
  m.data[i] = sum(m, target, i);
  const size_t source = ++i;
  m.data[i++] = routed.source_address;
  m.data[i++] = static_cast<uint8_t>(routed.sequence << 2 | (routed.source_lun & 3));
  m.data[i++] = routed.cmd;
  i = put(m, i, routed.data);
  m.data[i] = sum(m, source, i);
  m.data_size = static_cast<uint16_t>(i + 1);
}

void format_lan(SmiMessage& m, const LanAddress& to, const Routed& routed) {
  m.type = SmiMessageType::kNormal;
  size_t i = 0;
  m.data[i++] = netfn_lun(ipmi::kNetFnApp, 0);
  m.data[i++] = kCmdSendMessage;
  m.data[i++] = to.channel;
  m.data[i++] = to.session_handle;
  const size_t target = i;
  m.data[i++] = to.remote_swid;
  m.data[i++] = netfn_lun(routed.netfn, to.lun);
  m.data[i] = sum(m, target, i);
  const size_t source = ++i;
  m.data[i++] = to.local_swid;
  m.data[i++] = static_cast<uint8_t>(routed.sequence << 2 | (routed.source_lun & 3));
  m.data[i++] = routed.cmd;
  i = put(m, i, routed.data);
  m.data[i] = sum(m, source, i);
  m.data_size = static_cast<uint16_t>(i + 1);
}

void format_direct(SmiMessage& m, const IpmbDirectAddress& to, const Routed& routed) {
  const bool response = routed.netfn & 1;
  m.type = SmiMessageType::kIpmbDirect;
  // The LUN beside the NetFn is that of the controller addressed: the responder's in a request, the requester's in a
  // response.
  m.data[0] = netfn_lun(routed.netfn, response ? to.rq_lun : to.rs_lun);
  m.data[1] = to.slave;
  m.data[2] = static_cast<uint8_t>(routed.sequence << 2 | (response ? to.rs_lun : to.rq_lun));
  m.data[3] = routed.cmd;
  m.data_size = static_cast<uint16_t>(put(m, 4, routed.data));
}

bool looks_like_response(const SmiMessage& m, Form form) {
  const size_t at = form == Form::kIpmb ? 4 : form == Form::kLan ? 6 : 0;
  return m.rsp_size > at && (m.rsp[at] & 0x04);
}

bool parse_incoming(const SmiMessage& m, Form form, Incoming* out) {
  const bool response = looks_like_response(m, form);
  const uint8_t* r = m.rsp;
  const size_t size = m.rsp_size;
  size_t data_at = 0;
  size_t data_end = size;
  switch (form) {
    case Form::kIpmb:
      if (size < (response ? 11u : 10u)) return false;
      out->channel = r[3] & 0x0f;
      out->netfn = r[4] >> 2;
      out->lun = r[4] & 3;
      out->sequence = r[7] >> 2;
      out->cmd = r[8];
      out->from = IpmbAddress{out->channel, r[6], static_cast<uint8_t>(r[7] & 3), false};
      data_at = 9;
      data_end = size - 1;
      break;
    case Form::kLan:
      if (size < (response ? 13u : 12u)) return false;
      out->channel = r[3] & 0x0f;
      out->netfn = r[6] >> 2;
      out->lun = r[6] & 3;
      out->sequence = r[9] >> 2;
      out->cmd = r[10];
      out->from =
          LanAddress{out->channel, static_cast<uint8_t>(r[3] >> 4), r[4], r[8], r[5], static_cast<uint8_t>(r[9] & 3)};
      data_at = 11;
      data_end = size - 1;
      break;
    case Form::kDirect:
      if (size < (response ? 5u : 4u)) return false;
      out->channel = 0;
      out->netfn = r[0] >> 2;
      out->lun = r[0] & 3;
      out->sequence = r[2] >> 2;
      out->cmd = r[3];
      out->from = response ? IpmbDirectAddress{r[1], static_cast<uint8_t>(r[2] & 3), static_cast<uint8_t>(r[0] & 3)}
                           : IpmbDirectAddress{r[1], static_cast<uint8_t>(r[0] & 3), static_cast<uint8_t>(r[2] & 3)};
      data_at = 4;
      break;
  }
  out->data = ByteView(r + data_at, data_end - data_at);
  return true;
}

void make_error_reply(SmiMessage& m, Form form, uint8_t cc, uint8_t own_address) {
  Incoming in;
  if (!parse_incoming(m, form, &in)) return;
  const uint8_t data[1] = {cc};
  Routed reply;
  reply.netfn = static_cast<uint8_t>(in.netfn | 1);
  reply.cmd = in.cmd;
  reply.data = data;
  reply.source_address = own_address;
  reply.source_lun = in.lun;
  reply.sequence = in.sequence;
  // Only the channel goes back, not the rest of the byte: there its upper bits ask for tracking (§22.7).
  switch (form) {
    case Form::kIpmb:
      format_ipmb(m, std::get<IpmbAddress>(in.from), reply);
      break;
    case Form::kLan:
      format_lan(m, std::get<LanAddress>(in.from), reply);
      break;
    case Form::kDirect:
      format_direct(m, std::get<IpmbDirectAddress>(in.from), reply);
      break;
  }
}

void make_local_response(SmiMessage& m, uint8_t cc) {
  if (m.type == SmiMessageType::kIpmbDirect) {
    m.rsp[0] = static_cast<uint8_t>((m.data[0] & 0xfc) | 0x04 | (m.data[2] & 3));
    m.rsp[1] = m.data[1];
    m.rsp[2] = static_cast<uint8_t>((m.data[2] & 0xfc) | (m.data[0] & 3));
    m.rsp[3] = m.data[3];
    m.rsp[4] = cc;
    m.rsp_size = 5;
    return;
  }
  m.rsp[0] = m.data[0] | 0x04;
  m.rsp[1] = m.data[1];
  m.rsp[2] = cc;
  m.rsp_size = 3;
}

}  // namespace bmcpair::host::inline BMCPAIR_RT::detail
