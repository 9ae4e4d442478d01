// BMCs, transports and drivers as the benchmarks want them. Everything here throws std::runtime_error when it fails.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "bmc_emu/board/fleet.h"
#include "bmc_emu/transport/grpc/server.h"
#include "integration/system/process.h"
#include "proto/registers/register_port.h"
#include "vfio_bridge/server.h"

namespace bmcpair::bench {

template <class T>
T need(Result<T> result) {
  if (!result.ok()) throw std::runtime_error(result.error().to_string());
  return *std::move(result);
}
inline void need(Status status) {
  if (!status.ok()) throw std::runtime_error(status.error().to_string());
}

// One interface "si", two sensors; as many as asked for, named b0, b1...
std::vector<board::BoardConfig> boards(unsigned n, registers::InterfaceKind kind);
std::unique_ptr<board::Fleet> fleet_of(std::vector<board::BoardConfig> configs, board::FleetOptions options = {});

enum class Transport { kInProcess, kGrpc, kVfioUser };
const char* to_string(Transport transport);

// One BMC behind a transport, real sockets and servers included.
class Rig {
 public:
  // response: how long the BMC's work on a request takes; 0: as a configuration that says nothing has it.
  Rig(Transport transport, registers::InterfaceKind kind, Duration response = {});

  std::unique_ptr<registers::RegisterPort> open();
  board::Board& board() { return *board_; }
  const std::string& folder() const { return folder_.path(); }
  // What a counted read takes on this bus.
  unsigned counted_read_trips() const { return transport_ == Transport::kVfioUser ? 2 : 1; }

 private:
  const Transport transport_;
  integration::TemporaryFolder folder_;
  std::unique_ptr<board::Fleet> fleet_;
  std::shared_ptr<board::Board> board_;
  std::unique_ptr<transport::GrpcServer> grpc_;
  std::unique_ptr<vfio_bridge::Server> vfio_;
};

// A Get Device ID by hand at BT registers, in two halves; the answer's frame stays readable after kClrRdPtr.
void bt_ask(registers::RegisterPort& port);
bool bt_answered(registers::RegisterPort& port);
// Bytes of the frame, its length byte included.
size_t bt_take(registers::RegisterPort& port);

}  // namespace bmcpair::bench
