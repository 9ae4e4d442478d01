// What faults do at the registers of every kind, and that nothing of it is left when they are lifted.
#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "bmc_emu/hardware/test_rig.h"
#include "proto/registers/bt.h"
#include "proto/registers/kcs.h"
#include "proto/registers/smic.h"

namespace bmcpair::hardware {
namespace {

using namespace std::chrono_literals;
using registers::InterfaceKind;
namespace bt = registers::bt;
namespace kcs = registers::kcs;
namespace smic = registers::smic;
using Kind = Effect::Kind;

// Does what a test tells it, once each.
class TestInjector : public Injector {
 public:
  void on_access(const Approach& approach, Instant, Effects& out) override {
    approaches.push_back(approach);
    if (when && !when(approach)) return;
    if (access) out.push_back(*access);
    if (!keep) access.reset();
  }
  void on_interrupt(const Approach& approach, Instant, Effects& out) override {
    rises.push_back(approach);
    if (interrupt) out.push_back(*interrupt);
    interrupt.reset();
  }
  Instant next_due() const override { return clock ? clock_due : kNever; }
  void on_clock(Instant, Effects& out) override {
    out.push_back(*clock);
    clock.reset();
  }
  std::function<bool(const Approach&)> when;
  std::optional<Effect> access, interrupt, clock;
  Instant clock_due{};
  bool keep = false;
  std::vector<Approach> approaches, rises;
};

Effect effect(Kind kind, uint8_t bits = 0, Instant until = kNever, Duration period = 1ms) {
  return {kind, 5, bits, until, period};
}

struct FaultRig : Rig {
  explicit FaultRig(InterfaceKind kind) : Rig(options_of(kind)) { interface->set_injector(&injector, now); }
  ~FaultRig() { interface->set_injector(nullptr, now); }

  void wait_until(Instant t) {
    while (interface->next_due() <= t) step();
    now = std::max(now, t);
  }

  // A whole transaction by the book, with the answer given at once. Empty where it does not come.
  Bytes transact() {
    switch (interface->kind()) {
      case InterfaceKind::kBt: return transact_bt();
      case InterfaceKind::kKcs: return transact_kcs();
      case InterfaceKind::kSmic: return transact_smic();
    }
    return {};
  }
  void send_bt(uint8_t seq = 9) {
    write(0, bt::kClrWrPtr);
    for (uint8_t b : {uint8_t{3}, uint8_t{0x18}, seq, uint8_t{1}}) write(1, b);
    write(0, bt::kH2bAtn);
  }
  Bytes receive_bt() {
    write(0, bt::kHBusy);
    write(0, bt::kB2hAtn);
    write(0, bt::kClrRdPtr);
    Bytes frame(read(1));
    for (uint8_t& b : frame) b = read(1);
    write(0, bt::kHBusy);
    return frame;
  }
  bool answer() {
    settle();
    if (taken.empty()) return false;
    const uint32_t token = take().token;
    const bool given = respond(token, kAnswer);
    settle();
    return given;
  }
  Bytes transact_bt() {
    if ((read(0) & (bt::kBBusy | bt::kH2bAtn)) != 0) return {};
    send_bt();
    if (!answer() || (read(0) & bt::kB2hAtn) == 0) return {};
    Bytes frame = receive_bt();
    if (frame.size() > 1) frame.erase(frame.begin() + 1);
    return frame;
  }
  bool kcs_is(kcs::State state) {
    settle();
    const uint8_t status = read(1);
    return (status & kcs::kIbf) == 0 && kcs::state_of(status) == state;
  }
  Bytes transact_kcs() {
    if (!kcs_is(kcs::State::kIdle)) return {};
    read(0);
    write(1, kcs::kWriteStart);
    if (!kcs_is(kcs::State::kWrite)) return {};
    read(0);
    write(0, 0x18);
    if (!kcs_is(kcs::State::kWrite)) return {};
    read(0);
    write(1, kcs::kWriteEnd);
    if (!kcs_is(kcs::State::kWrite)) return {};
    read(0);
    write(0, 0x01);
    if (!answer()) return {};
    Bytes out;
    while (kcs_is(kcs::State::kRead) && out.size() < 300) {
      if ((read(1) & kcs::kObf) == 0) return {};
      out.push_back(read(0));
      write(0, kcs::kRead);
    }
    if (!kcs_is(kcs::State::kIdle)) return {};
    read(0);
    return out;
  }
  bool smic_step(uint8_t control, uint8_t wanted) {
    write(1, control);
    write(2, static_cast<uint8_t>(read(2) | smic::kBusy));
    settle();
    return (read(2) & smic::kBusy) == 0 && read(1) == wanted;
  }
  Bytes transact_smic() {
    settle();
    if ((read(2) & smic::kBusy) != 0) return {};
    write(0, 0x18);
    if (!smic_step(smic::kWriteStart, smic::kWriteStart | smic::kStatusBit)) return {};
    write(0, 0x01);
    if (!smic_step(smic::kWriteEnd, smic::kWriteEnd | smic::kStatusBit)) return {};
    if (!answer() || (read(2) & smic::kRxDataReady) == 0) return {};
    if (!smic_step(smic::kReadStart, smic::kReadStart | smic::kStatusBit)) return {};
    Bytes out{read(0)};
    while (smic_step(smic::kReadNext, smic::kReadNext | smic::kStatusBit) && out.size() < 90) out.push_back(read(0));
    if (read(1) != (smic::kReadEnd | smic::kStatusBit)) return {};
    out.push_back(read(0));
    if (!smic_step(smic::kReadEnd, smic::kReady)) return {};
    return out;
  }

  // What a host does about an interface that it does not find idle.
  bool recover() {
    if (interface->kind() == InterfaceKind::kBt) {
      if ((read(0) & bt::kB2hAtn) != 0) write(0, bt::kB2hAtn);
      if ((read(0) & bt::kHBusy) != 0) write(0, bt::kHBusy);
    }
    if (interface->kind() != InterfaceKind::kKcs || kcs_is(kcs::State::kIdle)) return true;
    write(1, kcs::kGetStatusAbort);
    settle();
    read(0);
    write(0, 0);
    if (!kcs_is(kcs::State::kRead)) return false;
    read(0);
    write(0, kcs::kRead);
    return kcs_is(kcs::State::kIdle);
  }

  TestInjector injector;
  const Bytes kAnswer{0x1c, 0x01, 0x00, 0x20};
};

class FaultTest : public testing::TestWithParam<InterfaceKind> {};

uint16_t flags_offset(InterfaceKind kind) { return kind == InterfaceKind::kBt ? 0 : kind == InterfaceKind::kKcs ? 1 : 2; }

}  // namespace

TEST_P(FaultTest, AnInjectorThatDoesNothingChangesNoAccess) {
  FaultRig rig(GetParam());
  EXPECT_EQ(rig.transact(), rig.kAnswer);
  EXPECT_GT(rig.injector.approaches.size(), 5u);
  for (const Access& access : rig.accesses) EXPECT_EQ(access.fault, 0u);
}

TEST_P(FaultTest, TheInjectorIsToldThePhaseAndFromTheTakingOnTheRequest) {
  FaultRig rig(GetParam());
  ASSERT_EQ(rig.transact(), rig.kAnswer);
  std::set<TransferPhase> phases;
  for (const Approach& approach : rig.injector.approaches) {
    phases.insert(approach.phase);
    const bool known = approach.phase == TransferPhase::kExecute || approach.phase == TransferPhase::kRead;
    ASSERT_EQ(approach.request.has_value(), known);
    if (known) {
      EXPECT_EQ(*approach.request, std::pair(uint8_t{0x06}, uint8_t{0x01}));
    }
  }
  EXPECT_TRUE(phases.count(TransferPhase::kIdle));
  EXPECT_TRUE(phases.count(TransferPhase::kRead));
  EXPECT_EQ(rig.interface->transfer_phase(), TransferPhase::kIdle);
}

TEST_P(FaultTest, AReadThatTheBusAnswersDoesNotReachTheRegister) {
  FaultRig rig(GetParam());
  rig.injector.access = effect(Kind::kReadValue, 0xff);
  rig.injector.keep = true;
  for (uint16_t offset = 0; offset < registers::register_count(GetParam()); ++offset) EXPECT_EQ(rig.read(offset), 0xff);
  EXPECT_TRUE(rig.transact().empty());
  rig.injector.access.reset();
  FaultRig again(GetParam());
  EXPECT_EQ(again.transact(), again.kAnswer);
  again.injector.when = [](const Approach& a) { return !a.is_write; };
  again.injector.access = effect(Kind::kReadXor, 0x20);
  const uint8_t before = again.interface->peek_flags();
  EXPECT_EQ(again.read(flags_offset(GetParam())), before ^ 0x20);
  EXPECT_EQ(again.accesses.back().fault, 5u) << "the access it changed";
  EXPECT_EQ(again.accesses[again.accesses.size() - 2].offset, kNoRegister) << "and that it fired";
  EXPECT_EQ(again.read(flags_offset(GetParam())), before) << "once";
}

TEST_P(FaultTest, AWriteThatIsLostChangesNothing) {
  FaultRig rig(GetParam());
  rig.settle();
  const Bytes before = rig.interface->save();
  rig.injector.access = effect(Kind::kLoseWrite);
  rig.injector.keep = true;
  for (uint16_t offset = 0; offset < registers::register_count(GetParam()); ++offset) rig.write(offset, 0xff);
  EXPECT_EQ(rig.interface->save(), before);
  EXPECT_EQ(rig.interface->next_due(), kNever);
}

TEST_P(FaultTest, AStalledBmcMakesNoAccessAndGoesOnWhereItWas) {
  FaultRig rig(GetParam());
  rig.interface->inject(effect(Kind::kStall, 0, rig.now + 2s), rig.now);
  switch (GetParam()) {
    case InterfaceKind::kBt: rig.send_bt(); break;
    case InterfaceKind::kKcs: rig.write(1, kcs::kWriteStart); break;
    case InterfaceKind::kSmic: rig.write(1, smic::kGetStatus); rig.write(2, smic::kBusy); break;
  }
  const size_t made = rig.accesses.size();
  rig.wait_until(rig.now + 2s - 1us);
  EXPECT_EQ(rig.accesses.size(), made) << "not one access";
  EXPECT_EQ(rig.interface->next_due(), Instant(2s));
  ASSERT_TRUE(rig.settle());
  EXPECT_GT(rig.accesses.size(), made);
  const uint8_t waiting = GetParam() == InterfaceKind::kBt ? bt::kH2bAtn : GetParam() == InterfaceKind::kKcs ? kcs::kIbf : smic::kBusy;
  EXPECT_EQ(rig.interface->peek_flags() & waiting, 0);
}

TEST_P(FaultTest, AHeldFlagIsSeenUntilItsTimeAndOnlyByTheHost) {
  const uint8_t bits = GetParam() == InterfaceKind::kBt ? bt::kBBusy : GetParam() == InterfaceKind::kKcs ? kcs::kIbf : smic::kBusy;
  FaultRig rig(GetParam());
  rig.injector.clock = effect(Kind::kHold, bits, Instant(3s));
  rig.injector.clock_due = Instant(1s);
  rig.wait_until(Instant(999ms));
  EXPECT_EQ(rig.read(flags_offset(GetParam())) & bits, 0);
  rig.wait_until(Instant(1s));
  EXPECT_EQ(rig.read(flags_offset(GetParam())) & bits, bits);
  rig.wait_until(Instant(3s) - 1us);
  EXPECT_EQ(rig.read(flags_offset(GetParam())) & bits, bits);
  rig.wait_until(Instant(3s));
  EXPECT_EQ(rig.read(flags_offset(GetParam())) & bits, 0);
  EXPECT_EQ(rig.transact(), rig.kAnswer);
  rig.interface->inject(effect(Kind::kHold, bits), rig.now);
  EXPECT_TRUE(rig.transact().empty());
}

TEST_P(FaultTest, LiftingEndsWhatAFaultHasImposedAndNothingElse) {
  const uint16_t flags = flags_offset(GetParam());
  FaultRig rig(GetParam());
  rig.settle();
  const uint8_t before = rig.read(flags);
  Effect one = effect(Kind::kHold, 0x10);
  Effect other = effect(Kind::kHold, 0x20);
  other.fault = 6;
  rig.interface->inject(one, rig.now);
  rig.interface->inject(other, rig.now);
  EXPECT_EQ(rig.read(flags), before | 0x30);
  rig.interface->lift(5, rig.now);
  EXPECT_EQ(rig.read(flags), before | 0x20);
  rig.interface->lift(0, rig.now);
  EXPECT_EQ(rig.read(flags), before);
  EXPECT_EQ(rig.transact(), rig.kAnswer);
  const uint8_t idle = rig.read(flags);
  rig.interface->inject(one, rig.now);
  EXPECT_EQ(rig.read(flags), idle | 0x10);
  rig.interface->set_injector(nullptr, rig.now);
  EXPECT_EQ(rig.read(flags), idle) << "without an injector nothing is imposed";
  rig.interface->set_injector(&rig.injector, rig.now);
}

TEST_P(FaultTest, AWithheldAnswerComesWithItsInterruptWhenItIsLetGo) {
  if (GetParam() == InterfaceKind::kSmic) return;  // its flag is RX_DATA_RDY, its interrupt BUSY's fall; below
  const uint8_t bit = GetParam() == InterfaceKind::kBt ? bt::kB2hAtn : kcs::kObf;
  const uint16_t flags = flags_offset(GetParam());
  FaultRig rig(GetParam());
  rig.interface->inject(effect(Kind::kWithhold, bit, Instant(4s)), rig.now);
  if (GetParam() == InterfaceKind::kBt) {
    rig.write(bt::kIntMask, bt::kB2hIrqEnable);
    rig.send_bt();
    ASSERT_TRUE(rig.answer());  // settles, and with it time goes to the end of the fault
  } else {
    rig.write(1, kcs::kWriteStart);
    rig.wait_until(rig.now + 1ms);
  }
  if (GetParam() == InterfaceKind::kKcs) {
    EXPECT_EQ(rig.read(flags) & bit, 0);
    EXPECT_FALSE(rig.interface->interrupt_line());
    rig.wait_until(Instant(4s));
  }
  for (const Access& access : rig.accesses) {
    if (access.at < Instant(4s)) {
      EXPECT_EQ(access.flags_after & bit, 0);
      EXPECT_FALSE(access.interrupt_after);
    }
  }
  EXPECT_TRUE(rig.interface->interrupt_line());
  EXPECT_EQ(rig.interface->peek_flags() & bit, bit);
}

TEST(SmicFaultTest, ABusyThatIsHeldHoldsItsInterruptToo) {
  FaultRig rig(InterfaceKind::kSmic);
  rig.read(2);
  rig.interface->inject(effect(Kind::kHold, smic::kBusy, Instant(1s)), rig.now);
  rig.write(1, smic::kGetStatus);
  rig.write(2, smic::kBusy);
  rig.wait_until(Instant(1s) - 1us);
  EXPECT_FALSE(rig.interface->interrupt_line());
  rig.wait_until(Instant(1s));
  EXPECT_TRUE(rig.interface->interrupt_line());
}

TEST_P(FaultTest, ALostInterruptLeavesTheNextOneItsEdge) {
  FaultRig rig(GetParam());
  if (GetParam() == InterfaceKind::kBt) rig.write(bt::kIntMask, bt::kB2hIrqEnable);
  rig.injector.interrupt = effect(Kind::kLoseInterrupt);
  rig.interface->set_attention(true, rig.now);
  ASSERT_TRUE(rig.settle());
  const uint8_t attention = GetParam() == InterfaceKind::kBt ? bt::kSmsAtn : kcs::kSmsAtn;
  static_assert(kcs::kSmsAtn == smic::kSmsAtn);
  EXPECT_EQ(rig.interface->peek_flags() & attention, attention) << "only the interrupt is lost";
  EXPECT_FALSE(rig.interface->interrupt_line());
  for (const Access& access : rig.accesses) EXPECT_FALSE(access.interrupt_after && access.face == Access::Face::kHost);
  rig.interface->set_attention(false, rig.now);
  rig.settle();
  if (GetParam() == InterfaceKind::kBt) rig.write(0, bt::kSmsAtn);
  rig.interface->set_attention(true, rig.now);
  ASSERT_TRUE(rig.settle());
  EXPECT_TRUE(rig.interface->interrupt_line());
  EXPECT_EQ(rig.injector.rises.size(), 2u);
}

TEST_P(FaultTest, ASpuriousInterruptStaysUntilItIsAcknowledgedAndHasNoCause) {
  FaultRig rig(GetParam());
  rig.settle();
  rig.read(flags_offset(GetParam()));
  const uint8_t before = rig.interface->peek_flags();
  rig.injector.clock = effect(Kind::kSpuriousInterrupt);
  rig.injector.clock_due = Instant(1s);
  EXPECT_EQ(rig.interface->next_due(), Instant(1s));
  rig.wait_until(Instant(1s));
  EXPECT_TRUE(rig.interface->interrupt_line());
  EXPECT_EQ(rig.interface->peek_flags(), before);
  rig.wait_until(Instant(100s));
  EXPECT_TRUE(rig.interface->interrupt_line());
  if (GetParam() == InterfaceKind::kBt) {
    rig.read(0);
    EXPECT_TRUE(rig.interface->interrupt_line());
    rig.write(bt::kIntMask, 0x03);
  } else {
    rig.read(flags_offset(GetParam()));
  }
  EXPECT_FALSE(rig.interface->interrupt_line());
  EXPECT_EQ(rig.interface->next_due(), kNever);
}

TEST_P(FaultTest, AnInterruptStormGoesOnAfterEachAcknowledgementUntilItsEnd) {
  FaultRig rig(GetParam());
  rig.settle();
  rig.interface->inject(effect(Kind::kInterruptStorm, 0, Instant(100ms), 10ms), rig.now);
  auto acknowledge = [&] {
    if (GetParam() == InterfaceKind::kBt) rig.write(bt::kIntMask, 0x03);
    else rig.read(flags_offset(GetParam()));
  };
  int rises = 0;
  while (rig.now < Instant(200ms)) {
    if (rig.interface->interrupt_line()) {
      ++rises;
      acknowledge();
      EXPECT_FALSE(rig.interface->interrupt_line());
    }
    rig.wait_until(rig.now + 1ms);
  }
  EXPECT_EQ(rises, 10);
  EXPECT_EQ(rig.transact(), rig.kAnswer);
}

TEST_P(FaultTest, AnAttentionStormRaisesSmsAtnAgainAndLeavesItAsTheBmcWantsIt) {
  const uint8_t bit = GetParam() == InterfaceKind::kBt ? bt::kSmsAtn : kcs::kSmsAtn;
  FaultRig rig(GetParam());
  if (GetParam() == InterfaceKind::kBt) rig.write(bt::kIntMask, bt::kB2hIrqEnable);
  rig.settle();
  rig.interface->inject(effect(Kind::kAttentionStorm, 0, Instant(100ms), 10ms), rig.now);
  int edges = 0;
  while (rig.now < Instant(200ms)) {
    rig.wait_until(rig.now + 1ms);
    if (!rig.interface->interrupt_line()) continue;
    ++edges;
    if (GetParam() == InterfaceKind::kBt) rig.write(bt::kIntMask, 0x03);
    EXPECT_EQ(rig.read(flags_offset(GetParam())) & bit, bit);
    if (GetParam() == InterfaceKind::kBt) rig.write(0, bt::kSmsAtn);
  }
  EXPECT_GE(edges, 8);
  EXPECT_LE(edges, 11);
  rig.settle();
  EXPECT_EQ(rig.interface->peek_flags() & bit, 0);
  EXPECT_EQ(rig.transact(), rig.kAnswer);
  EXPECT_EQ(rig.interface->next_due(), kNever) << "nothing of the storm is left";
}

TEST_P(FaultTest, AResetAtAnyAccessOfATransferLeavesAnInterfaceThatWorksWhenItIsBack) {
  for (bool cold : {false, true}) {
    for (size_t at = 0; at < 40; ++at) {
      FaultRig rig(GetParam());
      size_t n = 0;
      rig.injector.when = [&](const Approach&) { return n++ == at; };
      rig.injector.access = effect(cold ? Kind::kColdReset : Kind::kWarmReset);
      rig.injector.keep = true;
      const Bytes cut = rig.transact();
      if (n <= at) break;  // the transaction is shorter
      EXPECT_EQ(rig.interface->take_reset_request(), cold);
      EXPECT_EQ(rig.interface->take_reset_request(), std::nullopt) << "told once";
      EXPECT_FALSE(rig.interface->online());
      rig.injector.access.reset();
      rig.interface->come_online(rig.now);
      ASSERT_TRUE(rig.settle());  // what the host wrote meanwhile is taken now
      ASSERT_TRUE(rig.recover()) << at;
      rig.taken.clear();
      EXPECT_EQ(rig.transact(), rig.kAnswer) << "reset at access " << at;
    }
  }
}

TEST_P(FaultTest, AnErrorAtAnyAccessOfATransferIsNoEndOfIt) {
  for (size_t at = 0; at < 40; ++at) {
    FaultRig rig(GetParam());
    size_t n = 0;
    rig.injector.when = [&](const Approach&) { return n++ == at; };
    rig.injector.access = effect(Kind::kError);
    rig.injector.keep = true;
    rig.transact();
    if (n <= at) break;
    rig.injector.access.reset();
    ASSERT_TRUE(rig.settle());
    ASSERT_TRUE(rig.recover()) << at;
    rig.taken.clear();
    EXPECT_EQ(rig.transact(), rig.kAnswer) << "error at access " << at;
  }
}

TEST(KcsFaultTest, AnErrorShowsInTheStateAndInTheErrorCode) {
  FaultRig rig(InterfaceKind::kKcs);
  rig.write(1, kcs::kWriteStart);
  rig.settle();
  rig.interface->inject(effect(Kind::kError), rig.now);
  EXPECT_EQ(rig.interface->transfer_phase(), TransferPhase::kError);
  rig.settle();
  EXPECT_EQ(kcs::state_of(rig.read(1)), kcs::State::kError);
  rig.write(1, kcs::kGetStatusAbort);
  rig.settle();
  rig.read(0);
  rig.write(0, 0);
  rig.settle();
  EXPECT_EQ(rig.read(0), 0xff) << "unspecified error";
}

TEST_P(FaultTest, ALateAnswerIsLateByWhatWasAskedAndAnAbsoluteOneReplacesTheLatency) {
  auto given_after = [&](ReplyFault fault) {
    FaultRig rig(GetParam());
    rig.interface->set_injector(nullptr, rig.now);
    switch (GetParam()) {
      case InterfaceKind::kBt: rig.send_bt(); break;
      case InterfaceKind::kKcs:
        rig.write(1, kcs::kWriteStart), rig.settle(), rig.write(0, 0x18), rig.settle();
        rig.write(1, kcs::kWriteEnd), rig.settle(), rig.write(0, 0x01);
        break;
      case InterfaceKind::kSmic:
        rig.write(0, 0x18), rig.smic_step(smic::kWriteStart, 0xc1), rig.write(0, 1), rig.smic_step(smic::kWriteEnd, 0xc3);
        break;
    }
    rig.settle();
    const Instant taken_at = rig.taken_at;
    EXPECT_TRUE(rig.interface->respond_faulty(rig.take().token, rig.kAnswer, rig.now, fault));
    rig.interface->set_injector(&rig.injector, rig.now);
    return rig.interface->next_due() - taken_at;
  };
  const Duration plain = given_after({});
  ReplyFault late;
  late.delay = 3s;
  EXPECT_EQ(given_after(late), plain + 3s);
  ReplyFault absolute;
  absolute.has_answer_at = true;
  absolute.answer_at = 2s;
  EXPECT_EQ(given_after(absolute), Duration(2s));
}

TEST(BtFaultTest, SequenceAndLengthByteLieOnTheWayOut) {
  FaultRig rig(InterfaceKind::kBt);
  rig.send_bt(9);
  rig.settle();
  ReplyFault fault;
  fault.sequence_add = 250;
  ASSERT_TRUE(rig.interface->respond_faulty(rig.take().token, rig.kAnswer, rig.now, fault));
  rig.settle();
  EXPECT_EQ(rig.receive_bt(), (Bytes{0x1c, 3, 0x01, 0x00, 0x20})) << "9 + 250 modulo 256";
  rig.send_bt(10);
  rig.settle();
  fault = {};
  fault.lies = true;
  fault.length_byte = 2;
  ASSERT_TRUE(rig.interface->respond_faulty(rig.take().token, rig.kAnswer, rig.now, fault));
  rig.settle();
  EXPECT_EQ(rig.receive_bt(), (Bytes{0x1c, 10}));
  EXPECT_EQ(rig.transact(), rig.kAnswer) << "of the next answer both are right again";
}

TEST(BtFaultTest, ARawAnswerIsCarriedAsItIsDownToOneByte) {
  for (size_t size : {size_t{1}, size_t{2}, size_t{3}, size_t{300}}) {
    FaultRig rig(InterfaceKind::kBt);
    Bytes raw(size, 0x1d);
    const size_t carried = std::min(size, rig.interface->response_bytes_max());
    rig.send_bt();
    rig.settle();
    ReplyFault fault;
    fault.raw = true;
    ASSERT_TRUE(rig.interface->respond_faulty(rig.take().token, raw, rig.now, fault));
    ASSERT_TRUE(rig.settle());
    EXPECT_EQ(rig.receive_bt().size(), carried + 1);
  }
}

TEST(BtFaultTest, ADuplicateComesWhenTheHostHasTakenTheFirstAndIsForgottenForTheNextRequest) {
  FaultRig rig(InterfaceKind::kBt);
  rig.send_bt(9);
  rig.settle();
  ReplyFault fault;
  fault.duplicates = 2;
  ASSERT_TRUE(rig.interface->respond_faulty(rig.take().token, rig.kAnswer, rig.now, fault));
  rig.settle();
  const Bytes first = rig.receive_bt();
  rig.settle();
  ASSERT_EQ(rig.read(0) & bt::kB2hAtn, bt::kB2hAtn) << "again";
  EXPECT_EQ(rig.receive_bt(), first);
  rig.send_bt(10);
  ASSERT_TRUE(rig.settle());
  EXPECT_EQ(rig.read(0) & bt::kB2hAtn, 0) << "a new request makes what is left stale";
  ASSERT_TRUE(rig.respond(rig.take().token, rig.kAnswer));
  rig.settle();
  EXPECT_EQ(rig.receive_bt()[1], 10);
  rig.settle();
  EXPECT_EQ(rig.read(0), 0);
}

TEST(KcsFaultTest, ADuplicateIsAnAnswerThatNobodyAskedFor) {
  FaultRig rig(InterfaceKind::kKcs);
  rig.write(1, kcs::kWriteStart), rig.settle(), rig.write(0, 0x18), rig.settle();
  rig.write(1, kcs::kWriteEnd), rig.settle(), rig.write(0, 0x01), rig.settle();
  ReplyFault fault;
  fault.duplicates = 1;
  ASSERT_TRUE(rig.interface->respond_faulty(rig.take().token, rig.kAnswer, rig.now, fault));
  for (int turn = 0; turn < 2; ++turn) {
    Bytes got;
    while (got.size() < rig.kAnswer.size()) {
      ASSERT_TRUE(rig.kcs_is(kcs::State::kRead)) << turn;
      got.push_back(rig.read(0));
      rig.write(0, kcs::kRead);
    }
    EXPECT_EQ(got, rig.kAnswer) << turn;
    // A host that is slow to see the end of the first sees it nevertheless.
    rig.settle();
    rig.now += 20ms;
    ASSERT_TRUE(rig.kcs_is(kcs::State::kIdle)) << turn;
    rig.read(0);  // the dummy byte
  }
  ASSERT_TRUE(rig.kcs_is(kcs::State::kIdle)) << "and not a third time";
  EXPECT_EQ(rig.transact(), rig.kAnswer);
}

TEST(BtFaultTest, AStuckHBusyKeepsTheBmcFromAnsweringToo) {
  FaultRig rig(InterfaceKind::kBt);
  rig.send_bt();
  rig.settle();
  rig.interface->inject(effect(Kind::kHold, bt::kHBusy, Instant(1s)), rig.now);
  ASSERT_TRUE(rig.respond(rig.take().token, rig.kAnswer));
  rig.wait_until(Instant(1s) - 1us);
  EXPECT_EQ(rig.read(0), bt::kHBusy) << "no B2H_ATN";
  rig.wait_until(Instant(1s));
  rig.settle();
  EXPECT_EQ(rig.read(0), bt::kB2hAtn);
}

INSTANTIATE_TEST_SUITE_P(AllKinds, FaultTest,
                         testing::Values(InterfaceKind::kKcs, InterfaceKind::kBt, InterfaceKind::kSmic),
                         [](const auto& tested) { return std::string(registers::to_string(tested.param)); });

}  // namespace bmcpair::hardware
