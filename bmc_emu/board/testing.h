// What tests of boards share: a board on a clock that they turn, and a host at its registers.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "bmc_emu/board/board.h"
#include "proto/registers/bt.h"
#include "proto/registers/kcs.h"

namespace bmcpair::board::testing {

inline BoardConfig board_config(std::string name = "demo") {
  BoardConfig config;
  config.firmware.name = std::move(name);
  config.firmware.identity.product_id = 0x1234;
  InterfaceConfig bt;
  bt.name = "bt";
  bt.kind = registers::InterfaceKind::kBt;
  InterfaceConfig kcs;
  kcs.name = "kcs";
  kcs.kind = registers::InterfaceKind::kKcs;
  config.interfaces = {bt, kcs};
  return config;
}

// A request as BT carries it, without its length byte. seq is any.
inline void bt_send(registers::RegisterPort& port, ByteView netfn_cmd_data, uint8_t seq = 7) {
  using namespace registers::bt;
  Bytes frame{static_cast<uint8_t>(netfn_cmd_data.size() + 1), netfn_cmd_data[0], seq};
  frame.insert(frame.end(), netfn_cmd_data.begin() + 1, netfn_cmd_data.end());
  port.write(kCtrl, kClrWrPtr);
  port.write_burst(kBuffer, frame);
  port.write(kCtrl, kH2bAtn);
}

// The answer, B2H_ATN being set: NetFn/LUN, Cmd, CC, data.
inline Bytes bt_receive(registers::RegisterPort& port) {
  using namespace registers::bt;
  port.write(kCtrl, kHBusy);
  port.write(kCtrl, kB2hAtn);
  port.write(kCtrl, kClrRdPtr);
  std::array<uint8_t, 256> frame{};
  size_t n = port.read_counted(kBuffer, frame);
  port.write(kCtrl, kHBusy);
  Bytes out(frame.begin() + 1, frame.begin() + static_cast<std::ptrdiff_t>(n));
  if (out.size() >= 2) out.erase(out.begin() + 1);  // the sequence number
  return out;
}

// A board whose clock stands still until it is turned.
struct Bench {
  explicit Bench(BoardConfig config = board_config(), std::shared_ptr<firmware::Store> store = nullptr) {
    auto made = Board::create(
        std::move(config), std::move(store), [this] { return Instant(Duration(now_ns.load())); }, [this] { ++wakes; });
    if (!made) throw std::runtime_error(made.error().message);
    board = std::move(*made);
  }

  Instant now() const { return Instant(Duration(now_ns.load())); }

  // Turns the clock to every due instant until `done`, at most `limit` further. False when it was never so.
  bool run_until(const std::function<bool()>& done, Duration limit = std::chrono::seconds(10)) {
    Instant end = now() + limit;
    while (!done()) {
      Instant due = board->next_due();
      if (due > end) return false;
      if (due > now()) now_ns = due.time_since_epoch().count();
      board->run(now());
    }
    return true;
  }
  void run_for(Duration d) {
    Instant end = now() + d;
    run_until([&] { return board->next_due() > end; }, d);
    now_ns = end.time_since_epoch().count();
    board->run(now());
  }

  std::unique_ptr<registers::RegisterPort> attach(std::string_view interface, std::string who = "test[1]") {
    auto port = board->attach(interface, std::move(who));
    if (!port) throw std::runtime_error(port.error().message);
    return std::move(*port);
  }

  // Through `port`, a BT one.
  Bytes bt(registers::RegisterPort& port, ByteView request) {
    bt_send(port, request);
    bool answered = run_until([&] { return (port.read(registers::bt::kCtrl) & registers::bt::kB2hAtn) != 0; });
    EXPECT_TRUE(answered) << "no answer came";
    return answered ? bt_receive(port) : Bytes{};
  }

  std::atomic<int64_t> now_ns{1'000'000};
  std::atomic<int> wakes{0};
  std::unique_ptr<Board> board;
};

inline const Bytes kGetDeviceId{0x18, 0x01};

}  // namespace bmcpair::board::testing
