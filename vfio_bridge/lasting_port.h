// Registers that outlive their BMC. QEMU never reconnects a vfio-user device (reference vfio_user_qemu.md §5), so the
// guest keeps this port while the BMC behind it is stopped, killed, stalled, upgraded and started again.
//
// While the BMC is away every access is answered here and at once, with what a rebooting BMC shows
// (proto/registers/away.h). A loss costs one access, as long as the inner port's own answer timeout.
//
// Nothing that was written before or during a loss reaches the BMC after it, and nothing that a BMC said before it is
// taken for an answer to what is asked after it:
//   KCS   a host in the middle of a transfer finds ERROR, "the transfer has been aborted" (IPMI 2.0 rev 1.1 table 9-2),
//         until it writes WRITE_START or GET_STATUS/ABORT; what else it writes until then goes nowhere. Otherwise the
//         fresh BMC's IDLE would look to it like the end of its answer.
//   BT    the rest of a frame that was begun before goes nowhere, its H2B_ATN included. A response is fetched whole
//         when its first byte is read, so that a loss cannot leave a half of it behind a good header. What the host
//         alone owns is carried over: H_BUSY, and INTMASK's enable bit, which Linux writes only when it looks at its
//         enables.
//   SMIC  a step whose data or control code was written before is not started.
//
// Threads: one of its own, which finds the BMC again. Accesses come from one thread or many.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "proto/base/hex.h"
#include "proto/registers/away.h"
#include "proto/registers/register_port.h"

namespace bmcpair::vfio_bridge {

struct LastingPortOptions {
  registers::InterfaceKind kind = registers::InterfaceKind::kKcs;
  bool has_interrupt = true;
  // Makes one attachment: a port that is up, or that comes up later and tells its link handler so. Once it has gone
  // down it is let go and another is opened. Called from the port's own thread; what it waits for, the end of the
  // LastingPort waits for.
  std::function<Result<std::unique_ptr<registers::RegisterPort>>()> open;
  // Between two openings that failed.
  std::chrono::milliseconds retry_wait{200};
  std::function<void(std::string_view)> log;  // any thread; empty: silent
};

class LastingPort : public registers::RegisterPort {
 public:
  // `first`: an attachment that is there already, or null.
  LastingPort(LastingPortOptions options, std::unique_ptr<registers::RegisterPort> first);
  ~LastingPort() override;

  uint8_t read(uint16_t offset) override;
  void write(uint16_t offset, uint8_t value) override;
  void read_burst(uint16_t offset, std::span<uint8_t> out) override;
  void write_burst(uint16_t offset, std::span<const uint8_t> in) override;

  registers::InterfaceKind kind() const override { return options_.kind; }
  bool has_interrupt() const override { return options_.has_interrupt; }
  void set_interrupt_handler(InterruptHandler handler) override;

  // Whether the registers are the BMC's.
  bool present() const;

 private:
  using Port = std::unique_ptr<registers::RegisterPort>;

  void run();
  void wake();
  void adopt(Port port);
  void come_back(uint64_t generation);
  void go_away(const std::string& reason);
  bool still_there();
  void set_line_open(bool open);
  void say(const std::string& text) const;

  // All with mutex_ held.
  uint8_t host_reads(uint16_t offset, uint8_t value);
  void read_buffer(std::span<uint8_t> out);
  // What of a write goes through to the BMC; the rest goes nowhere.
  bool lets_through(uint16_t offset, uint8_t& value);
  void host_writes(uint16_t offset, uint8_t value);

  const LastingPortOptions options_;

  mutable std::mutex mutex_;  // held over an access
  Port inner_;
  bool present_ = false;
  bool lost_ = false;  // inner_ was there and is of no more use
  uint64_t generation_ = 0;
  registers::AwayRegisters away_;
  std::string said_;          // the last reason that was logged
  std::string first_reason_;  // what inner_ said before it had tried
  std::chrono::steady_clock::time_point since_;

  // KCS: something was written since the status last said idle with IBF clear. SMIC: data or control code since BUSY
  // was last set. BT: buffer bytes since the frame's beginning or end.
  bool in_transfer_ = false;
  bool cut_ = false;  // the transfer that was going on when the BMC came back is still the host's
  // BT.
  bool h_busy_ = false;
  bool irq_enable_ = false;
  bool answer_there_ = false;  // B2H_ATN was seen since the last request
  bool rewound_ = false;       // CLR_RD_PTR since the last answer was fetched
  Bytes answer_;
  size_t answer_read_ = 0;

  std::mutex handler_mutex_;  // taken after mutex_
  InterruptHandler handler_;
  bool level_ = false;  // the inner port's
  bool line_open_ = false;

  std::mutex event_mutex_;  // taken last
  std::condition_variable event_changed_;
  bool event_ = true;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace bmcpair::vfio_bridge
