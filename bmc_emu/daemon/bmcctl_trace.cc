#include "bmc_emu/daemon/bmcctl_trace.h"

#include <algorithm>
#include <set>
#include <utility>

#include "proto/rpc/control.pb.h"

namespace bmcpair::daemon {
namespace {

constexpr uint32_t kNoRegister = 0xffff;  // a fault that fired

Instant instant(uint64_t ns) {
  return Instant(Duration(static_cast<Duration::rep>(std::min<uint64_t>(ns, INT64_MAX))));
}
Bytes bytes(const std::string& text) { return {text.begin(), text.end()}; }

registers::InterfaceKind kind_of(v1::InterfaceKind kind) {
  switch (kind) {
    case v1::INTERFACE_KIND_BT: return registers::InterfaceKind::kBt;
    case v1::INTERFACE_KIND_SMIC: return registers::InterfaceKind::kSmic;
    default: return registers::InterfaceKind::kKcs;
  }
}

}  // namespace

trace::Trace to_trace(const v1::GetTraceReply& reply, const std::map<uint32_t, std::string>& rules) {
  trace::Trace out;
  out.title = "bmc_emu: " + reply.bmc();
  out.left_out = reply.accesses_left_out() + reply.messages_left_out();
  out.unix_epoch_ns = reply.unix_epoch_ns();
  std::map<std::string, trace::InterfaceId> ids;
  for (const v1::TracedInterface& interface : reply.interfaces()) {
    if (out.interfaces.size() >= trace::kInterfacesMax) break;
    ids[interface.name()] = static_cast<trace::InterfaceId>(out.interfaces.size());
    out.interfaces.push_back({reply.bmc() + "/" + interface.name(), kind_of(interface.kind())});
  }
  auto id_of = [&](const std::string& name) {
    auto it = ids.find(name);
    return it == ids.end() ? trace::kNoInterface : it->second;
  };
  auto rule = [&](uint32_t id) {
    auto it = rules.find(id);
    return it == rules.end() ? std::string("fires") : it->second;
  };
  std::set<std::pair<std::string, uint32_t>> at_registers;
  for (const v1::RegisterAccess& a : reply.accesses()) {
    trace::Event event{instant(a.at_ns()), id_of(a.interface()), "", {}};
    if (a.offset() == kNoRegister) {
      at_registers.emplace(a.interface(), a.fault());
      event.what = trace::Text{trace::Text::Kind::kFault, trace::Side::kBmc, rule(a.fault()), a.fault()};
    } else {
      event.what = trace::Access{a.face() == v1::RegisterAccess::FACE_BMC ? trace::Side::kBmc : trace::Side::kHost,
                                 a.is_write(),
                                 static_cast<uint16_t>(a.offset()),
                                 static_cast<uint8_t>(a.value()),
                                 static_cast<uint8_t>(a.flags_after()),
                                 a.interrupt_after(),
                                 a.fault()};
    }
    out.events.push_back(std::move(event));
  }
  for (const v1::TracedMessage& m : reply.messages()) {
    const trace::InterfaceId interface = id_of(m.interface());
    const Instant begin = instant(m.at_ns());
    const Instant end = instant(m.at_ns() + std::min(m.took_ns(), UINT64_MAX - m.at_ns()));
    out.events.push_back({begin, interface, "", trace::Message{trace::Message::Direction::kToBmc, bytes(m.request()), Duration(0)}});
    // A host by messages has no registers whose trace would tell.
    for (uint32_t fault : m.faults()) {
      if (at_registers.contains({m.interface(), fault})) continue;
      out.events.push_back({end, interface, "", trace::Text{trace::Text::Kind::kFault, trace::Side::kBmc, rule(fault), fault}});
    }
    if (m.response().empty()) {
      out.events.push_back({end, interface, "", trace::Text{trace::Text::Kind::kNote, trace::Side::kBmc, "no response", 0}});
    } else {
      out.events.push_back(
          {end, interface, "", trace::Message{trace::Message::Direction::kToHost, bytes(m.response()), end - begin}});
    }
  }
  return out;
}

}  // namespace bmcpair::daemon
