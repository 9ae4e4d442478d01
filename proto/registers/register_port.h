// The only thing that crosses between host and BMC: byte registers and an interrupt line (design.md §4).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "proto/base/result.h"

namespace bmcpair::registers {

enum class InterfaceKind : uint8_t { kKcs, kBt, kSmic };

constexpr std::string_view to_string(InterfaceKind kind) {
  switch (kind) {
    case InterfaceKind::kKcs: return "kcs";
    case InterfaceKind::kBt: return "bt";
    case InterfaceKind::kSmic: return "smic";
  }
  return "unknown";
}

// Bytes of register space: KCS 2, BT 3, SMIC 3.
constexpr uint16_t register_count(InterfaceKind kind) { return kind == InterfaceKind::kKcs ? 2 : 3; }

// Whether the wire to the registers is there. A port that is down reads 0xFF and forgets writes, as an
// empty bus does; who must tell "the BMC says FF" from "nobody is there" asks link().
struct LinkState {
  bool up = true;
  uint64_t generation = 0;  // goes up by one each time the link comes up
  std::string reason;       // why it is down; empty when up
};

// One attached interface, as its host sees it. Offsets are register indices (0, 1, 2), whatever the
// spacing on a real bus. Each access is one step at the device. Reads return when the value is known and
// order after every earlier write of the same port; writes may be posted. Thread safe.
class RegisterPort {
 public:
  // Called with the new level of the interrupt line whenever it changes, from a context of the port's own:
  // the handler must not block and must not call back into the port.
  using InterruptHandler = std::function<void(bool level)>;
  using LinkHandler = std::function<void(const LinkState&)>;

  virtual ~RegisterPort() = default;

  virtual uint8_t read(uint16_t offset) = 0;
  virtual void write(uint16_t offset, uint8_t value) = 0;

  // The same for a burst to one offset: as many steps, one round trip.
  virtual void read_burst(uint16_t offset, std::span<uint8_t> out) {
    for (uint8_t& b : out) b = read(offset);
  }
  virtual void write_burst(uint16_t offset, std::span<const uint8_t> in) {
    for (uint8_t b : in) write(offset, b);
  }
  // Reads a byte n and then n more (at most out.size() - 1) from one offset: the shape of a BT message.
  // Returns the bytes stored, the count byte included.
  virtual size_t read_counted(uint16_t offset, std::span<uint8_t> out) {
    if (out.empty()) return 0;
    out[0] = read(offset);
    size_t n = out[0] < out.size() - 1 ? out[0] : out.size() - 1;
    read_burst(offset, out.subspan(1, n));
    return n + 1;
  }

  virtual InterfaceKind kind() const = 0;
  // False where no interrupt can ever arrive, so the host must poll.
  virtual bool has_interrupt() const = 0;
  // Handlers are set before the first access; an empty handler takes it away, and when the call returns no
  // earlier handler is running or will run. Must not be called from inside a handler.
  virtual void set_interrupt_handler(InterruptHandler handler) = 0;
  virtual LinkState link() const { return {}; }
  // Whether it is up, and has not gone since.
  virtual bool is_up(uint64_t generation) const {
    const LinkState state = link();
    return state.up && state.generation == generation;
  }
  virtual void set_link_handler(LinkHandler) {}
  // The id of the endpoint that this port is (design.md "Attachment"); 0 where there is none.
  virtual uint64_t endpoint() const { return 0; }
};

// Where ports come from. path is "bmc/interface", or less where it is unambiguous; who names the host for
// the errors of others. Errors: kNotFound, kBusy (another host is attached), kUnavailable, kShutdown.
// Destroying the port detaches.
class PortProvider {
 public:
  virtual ~PortProvider() = default;
  virtual Result<std::unique_ptr<RegisterPort>> attach(std::string_view path, std::string_view who) = 0;
};

}  // namespace bmcpair::registers
