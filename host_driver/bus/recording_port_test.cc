#include "host_driver/bus/recording_port.h"

#include <gtest/gtest.h>

#include <vector>

#include "proto/registers/bt.h"

namespace bmcpair::bus {
namespace {

namespace bt = registers::bt;

// A port that answers what it is given, and a listener that keeps what it is told, in one list.
struct Log {
  std::vector<std::string> lines;
};

class GivenPort final : public registers::RegisterPort {
 public:
  explicit GivenPort(Log& log) : log_(log) {}
  uint8_t read(uint16_t offset) override {
    log_.lines.push_back("read " + std::to_string(offset));
    return offset == bt::kCtrl ? bt::kBBusy : 2;
  }
  void write(uint16_t offset, uint8_t value) override {
    log_.lines.push_back("write " + std::to_string(offset) + " " + std::to_string(value));
    if (interrupt) interrupt(true);
  }
  void read_burst(uint16_t offset, std::span<uint8_t> out) override {
    log_.lines.push_back("burst of " + std::to_string(out.size()) + " from " + std::to_string(offset));
    for (uint8_t& b : out) b = 7;
  }
  registers::InterfaceKind kind() const override { return registers::InterfaceKind::kBt; }
  bool has_interrupt() const override { return true; }
  void set_interrupt_handler(InterruptHandler handler) override { interrupt = std::move(handler); }
  void set_link_handler(LinkHandler handler) override { link_handler = std::move(handler); }
  uint64_t endpoint() const override { return 5; }

  InterruptHandler interrupt;
  LinkHandler link_handler;

 private:
  Log& log_;
};

class Listener final : public PortListener {
 public:
  explicit Listener(Log& log) : log_(log) {}
  void on_access(const trace::Access& a) override {
    log_.lines.push_back(std::string("told ") + (a.is_write ? "W " : "R ") + std::to_string(a.offset) + " " + std::to_string(a.value) +
                         (a.flags_after ? " flags " + std::to_string(*a.flags_after) : ""));
    EXPECT_EQ(a.face, trace::Side::kHost);
    EXPECT_FALSE(a.interrupt_after);
  }
  void on_interrupt(bool level) override { log_.lines.push_back(level ? "told rise" : "told fall"); }
  void on_link(const registers::LinkState& state) override { log_.lines.push_back("told link " + state.reason); }

 private:
  Log& log_;
};

struct Rig {
  Log log;
  GivenPort* given = nullptr;
  std::unique_ptr<registers::RegisterPort> port;
  Rig() {
    auto made = std::make_unique<GivenPort>(log);
    given = made.get();
    port = recording_port(std::move(made), std::make_shared<Listener>(log));
  }
};

}  // namespace

TEST(RecordingPort, ReadsAreToldWhenTheirValueIsKnownAndWritesBeforeTheyAreMade) {
  Rig rig;
  EXPECT_EQ(rig.port->read(bt::kCtrl), bt::kBBusy);
  rig.port->write(bt::kIntMask, 1);
  EXPECT_EQ(rig.log.lines, (std::vector<std::string>{"read 0", "told R 0 128 flags 128", "told W 2 1", "write 2 1"}));
}

TEST(RecordingPort, ABurstStaysOneAndIsToldByteByByte) {
  Rig rig;
  std::vector<uint8_t> bytes(3);
  rig.port->read_burst(bt::kBuffer, bytes);
  EXPECT_EQ(bytes, (std::vector<uint8_t>{7, 7, 7}));
  EXPECT_EQ(rig.log.lines, (std::vector<std::string>{"burst of 3 from 1", "told R 1 7", "told R 1 7", "told R 1 7"}));
  rig.log.lines.clear();
  bytes.assign(8, 0);
  EXPECT_EQ(rig.port->read_counted(bt::kBuffer, bytes), 3u);
  EXPECT_EQ(rig.log.lines, (std::vector<std::string>{"read 1", "burst of 2 from 1", "told R 1 2", "told R 1 7", "told R 1 7"}));
}

TEST(RecordingPort, InterruptsAndLinksAreToldBeforeTheirHandlersRunAndAfterTheAccessThatCausedThem) {
  Rig rig;
  rig.port->set_interrupt_handler([&](bool) { rig.log.lines.push_back("handled"); });
  rig.port->write(bt::kCtrl, bt::kH2bAtn);
  EXPECT_EQ(rig.log.lines, (std::vector<std::string>{"told W 0 4", "write 0 4", "told rise", "handled"}));
  rig.log.lines.clear();
  rig.port->set_link_handler([&](const registers::LinkState&) { rig.log.lines.push_back("handled"); });
  rig.given->link_handler({false, 1, "gone"});
  EXPECT_EQ(rig.log.lines, (std::vector<std::string>{"told link gone", "handled"}));
  rig.port->set_interrupt_handler({});
  rig.port->set_link_handler({});
  EXPECT_FALSE(rig.given->interrupt);
  EXPECT_FALSE(rig.given->link_handler);
}

TEST(RecordingPort, IsOtherwiseThePortThatItWraps) {
  Rig rig;
  EXPECT_EQ(rig.port->kind(), registers::InterfaceKind::kBt);
  EXPECT_TRUE(rig.port->has_interrupt());
  EXPECT_EQ(rig.port->endpoint(), 5u);
  EXPECT_TRUE(rig.port->link().up);
}

}  // namespace bmcpair::bus
