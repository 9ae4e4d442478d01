// One client's vfio-user conversation after VERSION: messages in, replies out. No socket and no thread; what it calls
// is the register port, on the spot, so it takes as long as the port's own access does and never waits for a BMC.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "proto/registers/register_port.h"
#include "proto/vfio_user/message.h"
#include "vfio_bridge/capabilities.h"
#include "vfio_bridge/dma_table.h"
#include "vfio_bridge/intx.h"
#include "vfio_bridge/pci_device.h"
#include "vfio_bridge/unique_fd.h"

namespace bmcpair::vfio_bridge {

// A message's descriptors. What nobody takes out is closed.
using Descriptors = std::vector<UniqueFd>;

struct Counters {
  std::atomic<uint64_t> connections{0};
  std::atomic<uint64_t> connections_refused{0};
  std::atomic<uint64_t> messages{0};
  std::atomic<uint64_t> error_replies{0};
  std::atomic<uint64_t> stray_replies{0};
  std::atomic<uint64_t> register_reads{0};
  std::atomic<uint64_t> register_writes{0};
};

class Session {
 public:
  using Log = std::function<void(std::string_view)>;

  // All must outlive the session. log may be empty.
  Session(PciDevice& device, registers::RegisterPort& port, Intx& intx, Counters& counters, const Agreement& agreement,
          Log log);

  // Takes one message and appends its reply, if it has one, to `out`. Single-byte accesses to one register in a row are
  // gathered into a burst: the caller calls flush() when no whole message is left to hand in, before it sends `out`.
  void handle(const vfio_user::Message& message, Descriptors descriptors, Bytes& out);
  void flush(Bytes& out);

 private:
  using Header = vfio_user::Header;

  void reply(const Header& header, ByteView payload, Bytes& out, ByteView data = {});
  void reply_error(const Header& header, int error_no, std::string_view why, Bytes& out);

  void dma_map(const Header& header, ByteView payload, const Descriptors& descriptors, Bytes& out);
  void dma_unmap(const Header& header, ByteView payload, Bytes& out);
  void get_info(const Header& header, ByteView payload, Bytes& out);
  void get_region_info(const Header& header, ByteView payload, Bytes& out);
  void get_region_io_fds(const Header& header, ByteView payload, Bytes& out);
  void get_irq_info(const Header& header, ByteView payload, Bytes& out);
  void set_irqs(const Header& header, ByteView payload, Descriptors& descriptors, Bytes& out);
  void region_read(const Header& header, ByteView payload, Bytes& out);
  void region_write(const Header& header, ByteView payload, Bytes& out);
  void write_multi(const Header& header, ByteView payload, Bytes& out);
  void reset(const Header& header, ByteView payload, Bytes& out);

  uint64_t region_size(uint32_t region) const;
  uint32_t irq_count(uint32_t index) const;
  // Null when the access lies within its region and the limits, else what is wrong with it.
  const char* access_fault(const vfio_user::RegionAccess& access) const;
  void read_bar0(uint64_t offset, std::span<uint8_t> out);
  void write_bar0(uint64_t offset, ByteView in);
  void write_region(const vfio_user::RegionAccess& access, ByteView data);

  // The gathered accesses: `register_` of BAR0, one byte each, in order.
  struct Run {
    enum class Kind : uint8_t { kNone, kRead, kWrite } kind = Kind::kNone;
    uint16_t register_offset = 0;
    uint64_t bar_offset = 0;
    std::vector<Header> headers;  // who is to be answered; empty entries (id only) never occur
    Bytes values;
  };
  bool gather(Run::Kind kind, const Header& header, const vfio_user::RegionAccess& access, uint8_t value, Bytes& out);

  PciDevice& device_;
  registers::RegisterPort& port_;
  Intx& intx_;
  Counters& counters_;
  Agreement agreement_;
  Log log_;
  DmaTable dma_;
  UniqueFd error_eventfd_;  // VFIO_PCI_ERR: held for the client, never signalled
  Run run_;
  Bytes scratch_;
};

}  // namespace bmcpair::vfio_bridge
