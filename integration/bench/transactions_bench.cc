// A Get Device ID through the whole driver (message handler, system interface, state machine, bus), and what it asks of the bus.
#include <algorithm>
#include <cstdio>

#include "host_driver/message_handler/message_handler.h"
#include "host_driver/system_interface/driver.h"
#include "integration/bench/benches.h"
#include "integration/bench/floors.h"
#include "integration/bench/measure.h"
#include "integration/bench/rig.h"
#include "integration/bench/table.h"
#include "integration/pair/counting_port.h"

namespace bmcpair::bench {
namespace {

using registers::InterfaceKind;

constexpr int kCounted = 101;
constexpr double kBtTripsGoal = 10;

// The BMC's own time in a transaction as it is configured: its register accesses and its work. In process, where there is no
// wire, it is what no driver can be faster than.
double bmc_latency_ns(Rig& rig, const std::function<void()>& transaction) {
  rig.board().set_trace(true);
  transaction();
  size_t accesses = 0;
  for (const auto& access : rig.board().access_trace("si")) accesses += access.face == hardware::Access::Face::kBmc;
  rig.board().set_trace(false);
  const hardware::LatencyPlan plan = rig.board().config().interfaces.at(0).latency;
  return static_cast<double>((plan.access.min * static_cast<int64_t>(accesses) + plan.response.min).count());
}

constexpr Duration kSlow = std::chrono::milliseconds(2);

// response 0: the usual BMC, which answers while the driver still looks. Else a slow one, for which the driver waits for the
// interrupt: what remains without the BMC's own time is what the driver and its bus add.
void run(benchmark::State& state, Transport transport, InterfaceKind kind, Duration response) {
  Rig rig(transport, kind, response);
  auto counter = std::make_shared<pair::AccessCounter>();
  host::MessageHandler handler;
  host::Driver driver(handler);
  int id = driver.add_interface(std::make_unique<pair::CountingPort>(rig.open(), counter, rig.counted_read_trips()));
  int number = need(driver.wait_until_up(id, rt::now() + std::chrono::seconds(60)));
  auto user = need(handler.create_user(number, {}));
  auto transaction = [&] {
    auto answer = need(host::call(*user, host::SystemInterfaceAddress{}, {ipmi::kNetFnApp, 0, 0x01, {}},
                                  rt::now() + std::chrono::seconds(60)));
    if (answer.data.size() < 12 || answer.data[0] != 0) throw std::runtime_error("Get Device ID was answered wrongly");
  };

  std::vector<double> reads, writes, trips;
  for (int i = 0; i < kCounted; ++i) {
    pair::AccessCounts before = counter->now();
    transaction();
    pair::AccessCounts used = counter->now() - before;
    reads.push_back(static_cast<double>(used.reads));
    writes.push_back(static_cast<double>(used.writes));
    trips.push_back(static_cast<double>(used.round_trips));
  }
  const double trips_usual = median(trips);
  const double bmc_ns = bmc_latency_ns(rig, transaction);
  const double not_ours = response > Duration{} ? bmc_ns : 0;

  const bool wire = transport != Transport::kInProcess;
  std::function<void()> floor = [] {};
  std::unique_ptr<Echo> echo;
  // A read's message: at most 16 bytes either way over gRPC, 32 there and 33 back over vfio-user.
  const Bytes payload(transport == Transport::kGrpc ? 14 : 32, uint8_t{'x'});
  if (wire) {
    echo = transport == Transport::kGrpc ? make_grpc_echo(rig.folder() + "/echo") : make_socket_echo(payload.size(), payload.size() + 1);
    floor = [&] {
      for (double i = 0; i < trips_usual; ++i) echo->round_trip(payload);
    };
  }
  Interleaved measured = interleave(10, transaction, floor);

  char note[240];
  int length = std::snprintf(note, sizeof note, "%.0f reads, %.0f writes", median(reads), median(writes));
  auto add_note = [&](const char* form, auto... values) {
    length += std::snprintf(note + length, sizeof note - static_cast<size_t>(length), form, values...);
  };
  if (wire) add_note(", %.0f round trips (most %.0f)", trips_usual, *std::max_element(trips.begin(), trips.end()));
  if (not_ours == 0) add_note("; the BMC's own time %.0f us%s", bmc_ns / 1000, wire ? "" : " is the floor");
  add_note("; spread %.0f %%", measured.spread * 100);
  if (transport == Transport::kGrpc && kind == InterfaceKind::kBt && trips_usual > kBtTripsGoal) {
    add_note("; MISSED: goal %.0f round trips", kBtTripsGoal);
  }
  Row row;
  row.name = std::string(to_string(transport)) + ": Get Device ID, " + std::string(registers::to_string(kind)) +
             (not_ours > 0 ? ", beyond a BMC's 2 ms" : "");
  row.unit = Unit::kNanoseconds;
  row.figure = measured.figure - not_ours;
  if (wire) {
    row.floor = measured.floor;
  } else if (not_ours == 0) {
    row.floor = bmc_ns;
  }
  row.note = note;
  report(state, std::move(row));
  state.counters["round_trips"] = trips_usual;
  state.counters["reads"] = median(reads);
  state.counters["writes"] = median(writes);
}

}  // namespace

void register_transactions() {
  for (Transport transport : {Transport::kInProcess, Transport::kGrpc, Transport::kVfioUser}) {
    for (InterfaceKind kind : {InterfaceKind::kBt, InterfaceKind::kKcs}) {
      add(std::string("transaction/") + to_string(transport) + "/" + std::string(registers::to_string(kind)),
          [transport, kind](benchmark::State& state) { run(state, transport, kind, Duration{}); });
    }
    add(std::string("transaction/") + to_string(transport) + "/slow-bt",
        [transport](benchmark::State& state) { run(state, transport, InterfaceKind::kBt, kSlow); });
  }
}

}  // namespace bmcpair::bench
