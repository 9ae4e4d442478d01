#include "host_driver/cli/hosted.h"

#include <algorithm>
#include <utility>

#include "proto/registers/forwarding_port.h"

namespace bmcpair::cli {
namespace {

std::vector<bus::BusSpec> specs_of(const std::vector<HostedBus>& buses) {
  std::vector<bus::BusSpec> out;
  for (const HostedBus& bus : buses) out.push_back(bus.spec);
  return out;
}

SessionOptions on_demand(SessionOptions options) {
  options.on_demand = true;
  return options;
}

}  // namespace

// Gives the interface back when it goes.
class Hosted::OwnedPort final : public registers::ForwardingPort {
 public:
  OwnedPort(Slot& slot, std::unique_ptr<registers::RegisterPort> port) : ForwardingPort(std::move(port)), slot_(slot) {}
  ~OwnedPort() override {
    let_port_go();
    std::lock_guard lock(slot_.mutex);
    slot_.has_ports = false;
  }

 private:
  Slot& slot_;
};

Hosted::Hosted(std::vector<HostedBus> buses, SessionOptions options) : session_(specs_of(buses), on_demand(std::move(options))) {
  for (HostedBus& bus : buses) {
    slots_.push_back(std::make_unique<Slot>());
    slots_.back()->kind = bus.kind;
    slots_.back()->path = bus.spec.path;
  }
}

Result<device_node::Attached> Hosted::open_device(size_t i, Instant deadline) {
  Slot& slot = *slots_[i];
  std::lock_guard lock(slot.mutex);
  if (slot.has_ports) {
    return Error{ErrorCode::kBusy, bus_text(i) + ": a program drives its registers by port I/O; end that one first"};
  }
  if (!session_.started(i)) session_.start(i);
  auto number = session_.registered_number(i, deadline);
  if (!number.ok()) {
    // It is nobody's again, and the next open tries anew.
    session_.stop(i);
    return Error{number.error().code, bus_text(i) + ": " + number.error().to_string()};
  }
  return device_node::Attached{&session_.message_handler(), *number};
}

Result<std::unique_ptr<registers::RegisterPort>> Hosted::open_ports(size_t i) {
  Slot& slot = *slots_[i];
  std::lock_guard lock(slot.mutex);
  if (slot.has_ports) return Error{ErrorCode::kBusy, bus_text(i) + ": its registers are at other ports already"};
  if (session_.started(i)) {
    auto described = session_.describe(i);
    auto users = described.ok() && described->number >= 0 ? session_.message_handler().describe(described->number)
                                                          : Result<host::InterfaceDescription>(Error{});
    if (users.ok() && users->users > 0) {
      return Error{ErrorCode::kBusy, bus_text(i) + ": a program has it open as /dev/ipmi" + std::to_string(i) + "; end that one first"};
    }
    session_.stop(i);
  }
  auto port = session_.open_port(i);
  if (!port.ok()) return port.error();
  slot.kind = (*port)->kind();
  slot.has_ports = true;
  return std::unique_ptr<registers::RegisterPort>(new OwnedPort(slot, *std::move(port)));
}

Result<std::unique_ptr<registers::RegisterPort>> Hosted::open_ports_of(registers::InterfaceKind kind) {
  Error why{ErrorCode::kNotFound, "no bus has a " + std::string(to_string(kind)) + " interface"};
  for (size_t i = 0; i < slots_.size(); ++i) {
    std::optional<registers::InterfaceKind> known;
    {
      std::lock_guard lock(slots_[i]->mutex);
      known = slots_[i]->kind;
    }
    if (known && *known != kind) continue;
    auto port = open_ports(i);
    if (port.ok() && (*port)->kind() == kind) return port;
    if (known) return port;  // the first of its kind, and no other
    if (!port.ok()) why = port.error();
  }
  return why;
}

Result<std::vector<port_io::Mapping>> Hosted::mappings(const std::vector<port_io::PortRange>& ranges, bool asked_for) {
  std::vector<port_io::Mapping> out;
  for (const port_io::PortRange& range : ranges) {
    port_io::Mapping mapping;
    mapping.name = range.interface;
    mapping.base = range.base;
    mapping.spacing = range.spacing;
    registers::InterfaceKind kind;
    bool there = false;
    if (port_io::is_kind(range.interface, &kind)) {
      mapping.registers = registers::register_count(kind);
      mapping.attach = [this, kind] { return open_ports_of(kind); };
      there = std::any_of(slots_.begin(), slots_.end(), [&](const auto& slot) { return !slot->kind || *slot->kind == kind; });
    } else {
      for (size_t i = 0; i < slots_.size() && !there; ++i) {
        if (slots_[i]->path != range.interface) continue;
        there = true;
        if (slots_[i]->kind) mapping.registers = registers::register_count(*slots_[i]->kind);
        mapping.attach = [this, i] { return open_ports(i); };
      }
    }
    if (there) {
      out.push_back(std::move(mapping));
    } else if (asked_for) {
      std::string known;
      for (size_t i = 0; i < slots_.size() && i < 16; ++i) known += (known.empty() ? "" : ", ") + session_.bus_text(i);
      return Error{ErrorCode::kNotFound, "--ports: there is no '" + range.interface + "' among " + known};
    }
  }
  return out;
}

}  // namespace bmcpair::cli
