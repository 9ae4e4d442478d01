// Registers over a wire, each access beside an echo that carries as much and does nothing.
#include <algorithm>
#include <array>
#include <utility>

#include "integration/bench/benches.h"
#include "integration/bench/floors.h"
#include "integration/bench/measure.h"
#include "integration/bench/rig.h"
#include "integration/bench/table.h"
#include "proto/registers/bt.h"
#include "proto/rpc/register_bus.pb.h"
#include "proto/vfio_user/message.h"

namespace bmcpair::bench {
namespace {

using namespace registers::bt;
using registers::RegisterPort;

constexpr size_t kBurst = 20;
constexpr double kGoal = 1.2;

// An id as it is after some minutes: its length on the wire is part of the floor.
constexpr uint64_t kId = 1u << 20;

void add_write(v1::Ops& ops, uint32_t offset, uint32_t value) {
  auto* write = ops.add_ops()->mutable_write();
  write->set_offset(offset);
  write->set_value(value);
}
void add_read(v1::Ops& ops) {
  auto* op = ops.add_ops();
  op->set_id(kId);
  op->mutable_read()->set_offset(0);
}

struct Access {
  const char* name;
  std::function<void(RegisterPort&)> run;
  // Bytes of one message there and one back; where they differ the floor carries the larger.
  std::function<void(v1::Ops&, v1::Result&)> grpc;
  // Bytes there and back of each round trip over vfio-user; what is posted before it belongs to it.
  std::vector<std::pair<size_t, size_t>> vfio;
};

// vfio-user: header 16, region access 16 (offset, region, count), data. Reads are answered with the data, writes are posted.
constexpr size_t kVfioHeader = 16, kVfioRead = kVfioHeader + 16, kVfioData = kVfioRead + 1, kVfioWrite = kVfioRead + 1;
size_t vfio_burst() { return kVfioHeader + vfio_user::encode_write_multi(std::vector<vfio_user::MultiWrite>(kBurst)).size(); }

std::vector<Access> accesses(size_t frame) {
  static std::array<uint8_t, kBurst> burst{};
  burst[0] = kBurst - 1;
  return {
      {"read", [](RegisterPort& port) { port.read(kCtrl); },
       [](v1::Ops& ops, v1::Result& result) {
         add_read(ops);
         result.set_data(std::string(1, 'x'));
       },
       {{kVfioRead, kVfioData}}},
      // A posted write is over when the next read is: alone it would only measure a queue.
      {"write, read",
       [](RegisterPort& port) {
         port.write(kCtrl, 0);  // in BT_CTRL a 0 changes nothing
         port.read(kCtrl);
       },
       [](v1::Ops& ops, v1::Result& result) {
         add_write(ops, kCtrl, 0);
         add_read(ops);
         result.set_data(std::string(1, 'x'));
       },
       {{kVfioWrite + kVfioRead, kVfioData}}},
      {"pointer, burst of 20, read",
       [](RegisterPort& port) {
         port.write(kCtrl, kClrWrPtr);
         port.write_burst(kBuffer, burst);
         port.read(kCtrl);
       },
       [](v1::Ops& ops, v1::Result& result) {
         add_write(ops, kCtrl, kClrWrPtr);
         auto* write = ops.add_ops()->mutable_burst_write();
         write->set_offset(kBuffer);
         write->set_data(burst.data(), burst.size());
         add_read(ops);
         result.set_data(std::string(1, 'x'));
       },
       {{kVfioWrite + vfio_burst() + kVfioRead, kVfioData}}},
      {"pointer, counted read",
       [frame](RegisterPort& port) {
         std::array<uint8_t, 256> out{};
         port.write(kCtrl, kClrRdPtr);
         if (port.read_counted(kBuffer, out) != frame) throw std::runtime_error("a counted read came back short");
       },
       [frame](v1::Ops& ops, v1::Result& result) {
         add_write(ops, kCtrl, kClrRdPtr);
         auto* op = ops.add_ops();
         op->set_id(kId);
         op->mutable_counted_read()->set_offset(kBuffer);
         op->mutable_counted_read()->set_max_bytes(256);
         result.set_data(std::string(frame, 'x'));
       },
       {{kVfioWrite + kVfioRead, kVfioData}, {kVfioRead * (frame - 1), kVfioData * (frame - 1)}}},
  };
}

// Puts an answer into the BMC-to-host buffer, for counted reads to read again and again.
size_t make_frame(RegisterPort& port) {
  bt_ask(port);
  double end = now_seconds() + 30;
  while (!bt_answered(port)) {
    if (now_seconds() > end) throw std::runtime_error("no answer at the registers");
  }
  return bt_take(port);
}

size_t grpc_bytes(const Access& access) {
  v1::AttachRequest request;
  v1::AttachReply reply;
  v1::Result& result = *reply.mutable_results()->add_results();
  result.set_id(kId);
  access.grpc(*request.mutable_ops(), result);
  // The echo's own frame around its payload is two bytes at these sizes.
  return std::max(request.ByteSizeLong(), reply.ByteSizeLong()) - 2;
}

void run(benchmark::State& state, Transport transport, size_t which) {
  Rig rig(transport, registers::InterfaceKind::kBt);
  auto port = rig.open();
  const Access access = accesses(make_frame(*port)).at(which);
  std::vector<std::unique_ptr<Echo>> echoes;
  std::vector<Bytes> payloads;
  size_t bytes = 0;
  if (transport == Transport::kGrpc) {
    bytes = grpc_bytes(access);
    echoes.push_back(make_grpc_echo(rig.folder() + "/echo"));
    payloads.emplace_back(bytes, uint8_t{'x'});
  } else {
    for (auto [there, back] : access.vfio) {
      bytes += there;
      echoes.push_back(make_socket_echo(there, back));
      payloads.emplace_back(there, uint8_t{'x'});
    }
  }
  Interleaved measured = interleave(
      50, [&] { access.run(*port); },
      [&] {
        for (size_t i = 0; i < echoes.size(); ++i) echoes[i]->round_trip(payloads[i]);
      });
  report(state, {.name = std::string(to_string(transport)) + ": " + access.name,
                 .unit = Unit::kNanoseconds,
                 .figure = measured.figure,
                 .floor = measured.floor,
                 .ratio = measured.ratio,
                 .note = std::to_string(echoes.size()) + " round trip" + (echoes.size() == 1 ? "" : "s") + ", " + std::to_string(bytes) +
                         " bytes there, spread " + std::to_string(static_cast<int>(measured.spread * 100)) + " %",
                 .ratio_goal = kGoal,
                 .figure_goal = {}});
}

// What the registers themselves cost: part of every figure above, of no floor.
void run_in_process(benchmark::State& state) {
  Rig rig(Transport::kInProcess, registers::InterfaceKind::kBt);
  auto port = rig.open();
  Interleaved measured = interleave(1000, [&] { port->read(kCtrl); }, [] {});
  report(state, {.name = "in-process: read", .unit = Unit::kNanoseconds, .figure = measured.figure, .floor = {}, .ratio = {},
                 .note = "the register itself", .ratio_goal = {}, .figure_goal = {}});
}

}  // namespace

void register_registers() {
  add("registers/in-process/read", run_in_process);
  for (Transport transport : {Transport::kGrpc, Transport::kVfioUser}) {
    const auto all = accesses(2);
    for (size_t i = 0; i < all.size(); ++i) {
      add(std::string("registers/") + to_string(transport) + "/" + all[i].name,
          [transport, i](benchmark::State& state) { run(state, transport, i); });
    }
  }
}

}  // namespace bmcpair::bench
