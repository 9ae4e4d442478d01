// RegisterBus: arbitrary bytes as a message of a stream, against the validator and executor of the server.
#include <cstdint>
#include <cstdlib>

#include <google/protobuf/stubs/logging.h>

#include "bmc_emu/hardware/interface.h"
#include "bmc_emu/transport/grpc/ops.h"
#include "proto/rpc/register_bus.pb.h"

namespace {

using namespace bmcpair;

// A real interface's host face; a step of its BMC after every access.
class HardwarePort : public registers::RegisterPort {
 public:
  explicit HardwarePort(registers::InterfaceKind kind) : kind_(kind) {
    hardware::InterfaceOptions options;
    options.kind = kind;
    hardware_ = hardware::make_interface(options);
  }
  uint8_t read(uint16_t offset) override {
    if (offset >= registers::register_count(kind_)) std::abort();  // the validator let it through
    uint8_t v = hardware_->host_read(offset, now_);
    tick();
    return v;
  }
  void write(uint16_t offset, uint8_t value) override {
    if (offset >= registers::register_count(kind_)) std::abort();
    hardware_->host_write(offset, value, now_);
    tick();
  }
  registers::InterfaceKind kind() const override { return kind_; }
  bool has_interrupt() const override { return true; }
  void set_interrupt_handler(InterruptHandler) override {}

 private:
  void tick() {
    now_ += std::chrono::milliseconds(1);
    hardware_->step(now_);
  }
  const registers::InterfaceKind kind_;
  std::unique_ptr<hardware::Interface> hardware_;
  Instant now_{};
};

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  google::protobuf::SetLogHandler(nullptr);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  HardwarePort port(static_cast<registers::InterfaceKind>(data[0] % 3));
  v1::AttachRequest request;
  if (!request.ParseFromArray(data + 1, static_cast<int>(size - 1))) return 0;
  if (request.has_hello()) (void)transport::check_hello(request.hello()).ok();
  if (!request.has_ops()) return 0;
  v1::Results results;
  transport::OpCounts counts;
  bool ok = transport::execute_ops(request.ops(), port, results, counts).ok();
  if (!ok && (results.results_size() != 0 || counts.executed != 0)) std::abort();
  size_t bytes = 0;
  for (const auto& r : results.results()) {
    bytes += r.data().size();
    for (const auto& b : r.batch()) bytes += b.data().size();
  }
  if (bytes > v1::LIMITS_BYTES_PER_MESSAGE || results.results_size() > v1::LIMITS_OPS_PER_MESSAGE) std::abort();
  return 0;
}
