// The BMC's end of the wire is an array of registers that notes what reaches it and can be cut at any access; the real
// ones are in integration/vfio.
#include "vfio_bridge/lasting_port.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <deque>
#include <thread>
#include <vector>

namespace bmcpair::vfio_bridge {
namespace {

using registers::InterfaceKind;
using registers::LinkState;
using registers::RegisterPort;
namespace bt = registers::bt;
namespace kcs = registers::kcs;
namespace smic = registers::smic;

using Writes = std::vector<std::pair<uint16_t, uint8_t>>;

// One attachment's BMC.
class Bmc {
 public:
  void come_up() {
    RegisterPort::LinkHandler tell;
    {
      std::lock_guard lock(mutex);
      link = {true, 1, {}};
      tell = on_link;
    }
    if (tell) tell({true, 1, {}});
  }
  void go_down() {
    RegisterPort::LinkHandler tell;
    {
      std::lock_guard lock(mutex);
      link = {false, link.generation, "cut"};
      tell = on_link;
    }
    if (tell) tell({false, 1, "cut"});
  }
  void interrupt(bool level) {
    std::lock_guard lock(handlers);
    if (on_interrupt) on_interrupt(level);
  }
  void set(uint16_t offset, uint8_t value) {
    std::lock_guard lock(mutex);
    values[offset] = value;
  }
  void cut_at_access(int n) {
    std::lock_guard lock(mutex);
    accesses_left = n;
  }
  Writes written() {
    std::lock_guard lock(mutex);
    return std::exchange(writes, {});
  }
  // With the mutex held.
  bool there() {
    if (accesses_left > 0 && --accesses_left == 0) link = {false, 1, "cut"};
    return link.up;
  }

  std::mutex mutex;
  std::mutex handlers;
  LinkState link{false, 0, "not tried yet"};
  std::array<uint8_t, 3> values{};
  std::deque<uint8_t> fifo;  // BT's buffer
  Writes writes;
  int reads = 0;
  int accesses_left = 0;  // the access that finds 1 here is the one that is lost
  RegisterPort::LinkHandler on_link;
  RegisterPort::InterruptHandler on_interrupt;
};

class Wire : public RegisterPort {
 public:
  Wire(InterfaceKind kind, std::shared_ptr<Bmc> bmc) : kind_(kind), bmc_(std::move(bmc)) {}
  ~Wire() override {
    set_interrupt_handler({});
    set_link_handler({});
    std::lock_guard lock(bmc_->mutex);
    bmc_->link.up = false;
  }
  uint8_t read(uint16_t offset) override {
    std::lock_guard lock(bmc_->mutex);
    if (!bmc_->there()) return 0xff;
    ++bmc_->reads;
    return one(offset);
  }
  size_t read_counted(uint16_t offset, std::span<uint8_t> out) override {
    std::lock_guard lock(bmc_->mutex);
    std::fill(out.begin(), out.end(), uint8_t{0xff});
    if (!bmc_->there()) return out.size();
    ++bmc_->reads;
    out[0] = one(offset);
    size_t n = std::min<size_t>(out[0] + size_t{1}, out.size());
    for (size_t i = 1; i < n; ++i) out[i] = one(offset);
    return n;
  }
  void write(uint16_t offset, uint8_t value) override {
    std::lock_guard lock(bmc_->mutex);
    if (bmc_->there()) bmc_->writes.emplace_back(offset, value);
  }
  InterfaceKind kind() const override { return kind_; }
  bool has_interrupt() const override { return true; }
  void set_interrupt_handler(InterruptHandler handler) override {
    std::lock_guard lock(bmc_->handlers);
    bmc_->on_interrupt = std::move(handler);
  }
  void set_link_handler(LinkHandler handler) override {
    std::lock_guard lock(bmc_->mutex);
    bmc_->on_link = std::move(handler);
  }
  LinkState link() const override {
    std::lock_guard lock(bmc_->mutex);
    return bmc_->link;
  }

 private:
  uint8_t one(uint16_t offset) {
    if (kind_ != InterfaceKind::kBt || offset != bt::kBuffer) return bmc_->values[offset];
    if (bmc_->fifo.empty()) return 0xff;
    uint8_t value = bmc_->fifo.front();
    bmc_->fifo.pop_front();
    return value;
  }
  const InterfaceKind kind_;
  const std::shared_ptr<Bmc> bmc_;
};

template <class F>
bool eventually(F condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

class LastingPortTest : public ::testing::Test {
 protected:
  // The port of a BMC that is there.
  void start(InterfaceKind kind) {
    start_away(kind);
    next_bmc();
  }
  void start_away(InterfaceKind kind) {
    LastingPortOptions options;
    options.kind = kind;
    options.retry_wait = std::chrono::milliseconds(1);
    options.log = [this](std::string_view line) {
      std::lock_guard lock(mutex_);
      log_.emplace_back(line);
    };
    options.open = [this, kind]() -> Result<std::unique_ptr<RegisterPort>> {
      std::lock_guard lock(mutex_);
      ++opened_;
      if (refusals_ > 0) {
        --refusals_;
        return Error{ErrorCode::kUnavailable, "nobody at home"};
      }
      waiting_ = std::make_shared<Bmc>();
      return std::unique_ptr<RegisterPort>(std::make_unique<Wire>(kind, waiting_));
    };
    port_ = std::make_unique<LastingPort>(std::move(options), nullptr);
  }
  // The BMC that the port waits for comes.
  void next_bmc() {
    ASSERT_TRUE(eventually([&] {
      std::lock_guard lock(mutex_);
      return waiting_ != nullptr;
    }));
    {
      std::lock_guard lock(mutex_);
      bmc_ = std::exchange(waiting_, nullptr);
    }
    bmc_->come_up();
    ASSERT_TRUE(eventually([&] { return port_->present(); }));
  }
  void lose_bmc() {
    bmc_->go_down();
    ASSERT_TRUE(eventually([&] { return !port_->present(); }));
  }
  std::vector<std::string> log() {
    std::lock_guard lock(mutex_);
    return log_;
  }

  std::mutex mutex_;
  std::vector<std::string> log_;
  int opened_ = 0;
  int refusals_ = 0;
  std::shared_ptr<Bmc> waiting_;
  std::shared_ptr<Bmc> bmc_;
  std::unique_ptr<LastingPort> port_;
};

TEST_F(LastingPortTest, BeforeTheBmcWasEverThereItsRegistersAreThoseOfOneThatIsAway) {
  for (auto kind : {InterfaceKind::kKcs, InterfaceKind::kBt, InterfaceKind::kSmic}) {
    start_away(kind);
    for (uint16_t offset = 0; offset < 4; ++offset) {
      EXPECT_EQ(port_->read(offset), registers::AwayRegisters(kind).read(offset)) << to_string(kind) << offset;
    }
    next_bmc();
    for (uint16_t offset = 0; offset < registers::register_count(kind); ++offset) {
      bmc_->set(offset, static_cast<uint8_t>(0x20 + offset));
      if (kind == InterfaceKind::kBt && offset == bt::kBuffer) continue;
      EXPECT_EQ(port_->read(offset), 0x20 + offset);
    }
    port_.reset();
  }
}

TEST_F(LastingPortTest, TheAccessWithWhichTheBmcIsLostIsAnsweredHere) {
  start(InterfaceKind::kKcs);
  bmc_->set(kcs::kStatus, 0x01);
  EXPECT_EQ(port_->read(kcs::kStatus), 0x01);
  bmc_->cut_at_access(1);
  EXPECT_EQ(port_->read(kcs::kStatus), 0xc0) << "not FF";
  EXPECT_FALSE(port_->present());
  std::array<uint8_t, 3> burst{};
  port_->read_burst(kcs::kStatus, burst);
  EXPECT_EQ(burst, (std::array<uint8_t, 3>{0xc0, 0xc0, 0xc0}));
  next_bmc();
  bmc_->cut_at_access(1);
  port_->write(kcs::kCommand, kcs::kWriteStart);
  EXPECT_EQ(port_->read(kcs::kStatus), 0xc0 | kcs::kIbf | kcs::kCd) << "nobody has taken it";
}

TEST_F(LastingPortTest, AKcsHostThatIsIdleFindsTheNextBmcsRegisters) {
  start(InterfaceKind::kKcs);
  port_->write(kcs::kCommand, kcs::kWriteStart);
  bmc_->set(kcs::kStatus, 0x00);
  EXPECT_EQ(port_->read(kcs::kStatus), 0x00);  // its transfer is over
  lose_bmc();
  EXPECT_EQ(port_->read(kcs::kStatus), 0xc0);
  next_bmc();
  bmc_->set(kcs::kStatus, kcs::kSmsAtn);
  EXPECT_EQ(port_->read(kcs::kStatus), kcs::kSmsAtn);
  port_->write(kcs::kCommand, kcs::kWriteStart);
  EXPECT_EQ(bmc_->written(), (Writes{{kcs::kCommand, kcs::kWriteStart}}));
}

TEST_F(LastingPortTest, AKcsTransferThatWasCutOffIsAnErrorUntilTheHostBeginsAnew) {
  for (uint8_t anew : {kcs::kGetStatusAbort, kcs::kWriteStart}) {
    start(InterfaceKind::kKcs);
    port_->write(kcs::kCommand, kcs::kWriteStart);
    bmc_->set(kcs::kStatus, 0x80);
    EXPECT_EQ(port_->read(kcs::kStatus), 0x80);
    lose_bmc();
    port_->write(kcs::kData, 0x18);
    next_bmc();
    // Its IDLE would be the end of an answer to a host that reads one.
    bmc_->set(kcs::kStatus, kcs::kSmsAtn);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(port_->read(kcs::kStatus), 0xc0 | kcs::kSmsAtn);
    port_->write(kcs::kData, 0x18);
    port_->write(kcs::kCommand, kcs::kWriteEnd);
    port_->write(kcs::kData, kcs::kRead);
    port_->write_burst(kcs::kData, std::array<uint8_t, 2>{1, 2});
    EXPECT_TRUE(bmc_->written().empty());
    EXPECT_EQ(port_->read(kcs::kStatus), 0xc0 | kcs::kSmsAtn);
    port_->write(kcs::kCommand, anew);
    port_->write(kcs::kData, 0x00);
    EXPECT_EQ(bmc_->written(), (Writes{{kcs::kCommand, anew}, {kcs::kData, 0x00}}));
    EXPECT_EQ(port_->read(kcs::kStatus), kcs::kSmsAtn);
    port_.reset();
  }
}

TEST_F(LastingPortTest, WhatAKcsHostWritesWhileNobodyIsThereStaysInItsLatchAndGoesNowhere) {
  start_away(InterfaceKind::kKcs);
  port_->write(kcs::kCommand, kcs::kGetStatusAbort);
  EXPECT_EQ(port_->read(kcs::kStatus), 0xc0 | kcs::kIbf | kcs::kCd);
  port_->write(kcs::kData, 0);
  EXPECT_EQ(port_->read(kcs::kStatus), 0xc0 | kcs::kIbf);
  next_bmc();
  EXPECT_EQ(port_->read(kcs::kStatus), 0xc0);
  EXPECT_TRUE(bmc_->written().empty());
}

TEST_F(LastingPortTest, TheRestOfABtFrameThatWasBegunBeforeGoesNowhere) {
  for (bool burst : {false, true}) {
    start(InterfaceKind::kBt);
    port_->write(bt::kCtrl, bt::kClrWrPtr);
    port_->write(bt::kBuffer, 5);
    lose_bmc();
    next_bmc();
    const Bytes rest{3, 0x00, 1, 0x02};  // would be a frame of its own: Chassis Control
    if (burst) {
      port_->write_burst(bt::kBuffer, rest);
    } else {
      for (uint8_t b : rest) port_->write(bt::kBuffer, b);
    }
    port_->write(bt::kCtrl, bt::kH2bAtn);
    EXPECT_TRUE(bmc_->written().empty());
    port_->write(bt::kCtrl, bt::kClrWrPtr);
    port_->write_burst(bt::kBuffer, Bytes{3, 0x18});
    port_->write(bt::kCtrl, bt::kH2bAtn);
    EXPECT_EQ(bmc_->written(), (Writes{{0, bt::kClrWrPtr}, {1, 3}, {1, 0x18}, {0, bt::kH2bAtn}}));
    port_.reset();
  }
}

TEST_F(LastingPortTest, ABtFrameWrittenWhileNobodyIsThereIsNotSentLater) {
  start_away(InterfaceKind::kBt);
  port_->write(bt::kCtrl, bt::kClrWrPtr);
  port_->write_burst(bt::kBuffer, Bytes{3, 0x18, 1, 1});
  port_->write(bt::kCtrl, bt::kH2bAtn);
  EXPECT_EQ(port_->read(bt::kCtrl), bt::kBBusy | bt::kH2bAtn);
  next_bmc();
  EXPECT_EQ(port_->read(bt::kCtrl), 0);
  EXPECT_TRUE(bmc_->written().empty());
}

TEST_F(LastingPortTest, ABtAnswerIsFetchedWholeAndOutlivesTheBmcThatGaveIt) {
  start(InterfaceKind::kBt);
  bmc_->set(bt::kCtrl, bt::kB2hAtn);
  EXPECT_EQ(port_->read(bt::kCtrl), bt::kB2hAtn);
  port_->write(bt::kCtrl, bt::kHBusy);
  port_->write(bt::kCtrl, bt::kB2hAtn);
  port_->write(bt::kCtrl, bt::kClrRdPtr);
  {
    std::lock_guard lock(bmc_->mutex);
    bmc_->fifo = {4, 0x1c, 7, 0x01, 0x00, 0xee};
    bmc_->reads = 0;
  }
  EXPECT_EQ(port_->read(bt::kBuffer), 4);
  EXPECT_EQ(bmc_->reads, 1) << "one round trip for all of it";
  EXPECT_EQ(port_->read(bt::kBuffer), 0x1c);
  lose_bmc();
  EXPECT_EQ(port_->read(bt::kBuffer), 7);
  EXPECT_EQ(port_->read(bt::kCtrl), bt::kBBusy | bt::kHBusy);
  next_bmc();
  std::array<uint8_t, 3> rest{};
  port_->read_burst(bt::kBuffer, rest);
  EXPECT_EQ(rest, (std::array<uint8_t, 3>{0x01, 0x00, 0xff})) << "the last is the new BMC's empty buffer";
  EXPECT_EQ(port_->read(bt::kBuffer), 0xff);
}

TEST_F(LastingPortTest, ABtAnswerThatCannotBeFetchedIsNoneAtAll) {
  start(InterfaceKind::kBt);
  bmc_->set(bt::kCtrl, bt::kB2hAtn);
  EXPECT_EQ(port_->read(bt::kCtrl), bt::kB2hAtn);
  port_->write(bt::kCtrl, bt::kClrRdPtr);
  {
    std::lock_guard lock(bmc_->mutex);
    bmc_->fifo = {4, 0x1c, 7, 0x01, 0x00};
  }
  bmc_->cut_at_access(1);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(port_->read(bt::kBuffer), 0xff);
}

TEST_F(LastingPortTest, ABtAnswerIsNotShownAgainAfterTheNextRequestOrRewind) {
  for (uint8_t end : {bt::kClrRdPtr, bt::kH2bAtn}) {
    start(InterfaceKind::kBt);
    bmc_->set(bt::kCtrl, bt::kB2hAtn);
    EXPECT_EQ(port_->read(bt::kCtrl), bt::kB2hAtn);
    port_->write(bt::kCtrl, bt::kClrRdPtr);
    {
      std::lock_guard lock(bmc_->mutex);
      bmc_->fifo = {4, 0x1c, 7, 0x01, 0x00, 2, 0x99, 0x98};
    }
    EXPECT_EQ(port_->read(bt::kBuffer), 4);
    port_->write(bt::kCtrl, end);
    EXPECT_EQ(port_->read(bt::kBuffer), 2) << int{end};
    port_.reset();
  }
}

TEST_F(LastingPortTest, WhatTheBtHostOwnsIsCarriedOverAndAResetRequestIsNot) {
  start(InterfaceKind::kBt);
  port_->write(bt::kIntMask, bt::kB2hIrqEnable);
  port_->write(bt::kCtrl, bt::kHBusy);
  lose_bmc();
  EXPECT_EQ(port_->read(bt::kIntMask), bt::kB2hIrqEnable);
  EXPECT_EQ(port_->read(bt::kCtrl), bt::kBBusy | bt::kHBusy);
  next_bmc();
  EXPECT_EQ(bmc_->written(), (Writes{{bt::kCtrl, bt::kHBusy}, {bt::kIntMask, bt::kB2hIrqEnable}}));
  lose_bmc();
  port_->write(bt::kCtrl, bt::kHBusy);
  port_->write(bt::kIntMask, bt::kBmcHwRst);
  EXPECT_EQ(port_->read(bt::kCtrl), bt::kBBusy);
  EXPECT_EQ(port_->read(bt::kIntMask), 0);
  next_bmc();
  EXPECT_TRUE(bmc_->written().empty());
}

TEST_F(LastingPortTest, TheToggleWithWhichTheBmcIsLostCountsOnce) {
  start(InterfaceKind::kBt);
  bmc_->cut_at_access(1);
  port_->write(bt::kCtrl, bt::kHBusy);
  EXPECT_EQ(port_->read(bt::kCtrl), bt::kBBusy | bt::kHBusy);
  next_bmc();
  EXPECT_EQ(bmc_->written(), (Writes{{bt::kCtrl, bt::kHBusy}}));
}

TEST_F(LastingPortTest, ASmicStepThatWasBegunBeforeIsNotStarted) {
  start(InterfaceKind::kSmic);
  port_->write(smic::kData, 0x18);
  lose_bmc();
  next_bmc();
  port_->write(smic::kControl, smic::kWriteStart);
  port_->write(smic::kFlags, smic::kBusy);
  EXPECT_EQ(bmc_->written(), (Writes{{smic::kControl, smic::kWriteStart}}));
  port_->write(smic::kData, 0x18);
  port_->write(smic::kControl, smic::kWriteStart);
  port_->write(smic::kFlags, smic::kBusy);
  EXPECT_EQ(bmc_->written(),
            (Writes{{smic::kData, 0x18}, {smic::kControl, smic::kWriteStart}, {smic::kFlags, smic::kBusy}}));
}

TEST_F(LastingPortTest, TheInterruptLineFallsWithTheBmcAndIsTheNextOnesAfterwards) {
  start(InterfaceKind::kKcs);
  std::atomic<int> level{-1};
  port_->set_interrupt_handler([&](bool l) { level = l; });
  EXPECT_EQ(level, -1);
  bmc_->interrupt(true);
  EXPECT_EQ(level, 1);
  lose_bmc();
  EXPECT_TRUE(eventually([&] { return level == 0; }));
  std::shared_ptr<Bmc> old = bmc_;
  // Raised before the port has looked: it must not be lost.
  ASSERT_TRUE(eventually([&] {
    std::lock_guard lock(mutex_);
    return waiting_ != nullptr;
  }));
  ASSERT_TRUE(eventually([&] {
    std::lock_guard lock(waiting_->handlers);
    return waiting_->on_interrupt != nullptr;
  }));
  waiting_->interrupt(true);
  EXPECT_EQ(level, 0);
  old->interrupt(true);
  EXPECT_EQ(level, 0);
  next_bmc();
  EXPECT_TRUE(eventually([&] { return level == 1; }));
  port_->set_interrupt_handler({});
  bmc_->interrupt(false);
  EXPECT_EQ(level, 1) << "the handler was taken away";
}

TEST_F(LastingPortTest, WhatCannotBeOpenedIsTriedAgainAndSaidOnce) {
  {
    std::lock_guard lock(mutex_);
    refusals_ = 20;
  }
  start_away(InterfaceKind::kBt);
  EXPECT_EQ(port_->read(bt::kCtrl), bt::kBBusy);
  next_bmc();
  int said = 0;
  for (const std::string& line : log()) said += line.find("nobody at home") != std::string::npos;
  EXPECT_EQ(said, 1);
  std::lock_guard lock(mutex_);
  EXPECT_EQ(opened_, 21);
}

TEST_F(LastingPortTest, AnAttachmentThatCameAndWentUnseenIsReplaced) {
  start_away(InterfaceKind::kBt);
  ASSERT_TRUE(eventually([&] {
    std::lock_guard lock(mutex_);
    return waiting_ != nullptr;
  }));
  std::shared_ptr<Bmc> brief;
  {
    std::lock_guard lock(mutex_);
    brief = std::exchange(waiting_, nullptr);
    std::lock_guard its(brief->mutex);
    brief->link = {false, 1, "cut"};
  }
  brief->go_down();
  next_bmc();
  EXPECT_EQ(port_->read(bt::kCtrl), 0);
}

TEST_F(LastingPortTest, ManyThreadsMayUseItWhileTheBmcComesAndGoes) {
  start(InterfaceKind::kBt);
  std::atomic<bool> stop{false};
  std::atomic<int> levels{0};
  port_->set_interrupt_handler([&](bool) { ++levels; });
  std::vector<std::thread> hosts;
  for (int t = 0; t < 3; ++t) {
    hosts.emplace_back([&] {
      while (!stop) {
        port_->write(bt::kCtrl, bt::kClrWrPtr);
        port_->write_burst(bt::kBuffer, Bytes{3, 0x18, 1, 1});
        port_->write(bt::kCtrl, bt::kH2bAtn);
        port_->read(bt::kCtrl);
        port_->write(bt::kCtrl, bt::kClrRdPtr);
        std::array<uint8_t, 8> frame{};
        port_->read_counted(bt::kBuffer, frame);
      }
    });
  }
  for (int i = 0; i < 20; ++i) {
    bmc_->set(bt::kCtrl, bt::kB2hAtn);
    bmc_->interrupt(true);
    lose_bmc();
    next_bmc();
  }
  stop = true;
  for (auto& host : hosts) host.join();
}

}  // namespace
}  // namespace bmcpair::vfio_bridge
