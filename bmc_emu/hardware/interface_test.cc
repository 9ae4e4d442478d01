// What holds for every kind of interface.
#include "bmc_emu/hardware/interface.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cstdlib>
#include <ostream>

#include "bmc_emu/hardware/bt/state_machine.h"
#include "bmc_emu/hardware/kcs/state_machine.h"
#include "bmc_emu/hardware/smic/state_machine.h"
#include "bmc_emu/hardware/test_rig.h"
#include "proto/registers/away.h"

namespace bmcpair::hardware {
namespace {

using registers::InterfaceKind;
using std::chrono::microseconds;

// The same cases in every run; set RC_PARAMS to look further.
const bool kCasesFixed = setenv("RC_PARAMS", "seed=20260 max_success=300", 0) == 0;

constexpr InterfaceKind kKinds[] = {InterfaceKind::kKcs, InterfaceKind::kBt, InterfaceKind::kSmic};

class InterfaceTest : public testing::TestWithParam<InterfaceKind> {};

INSTANTIATE_TEST_SUITE_P(AllKinds, InterfaceTest, testing::ValuesIn(kKinds), [](const auto& kind) {
  return std::string(registers::to_string(kind.param));
});

// Writes Get Device ID as this kind's host does, until the BMC has it.
TakenRequest request(Rig& rig) {
  rig.taken.clear();
  switch (rig.interface->kind()) {
    case InterfaceKind::kKcs: {
      const std::pair<uint16_t, uint8_t> writes[] = {{1, 0x61}, {0, 0x18}, {1, 0x62}, {0, 0x01}};
      for (auto [offset, value] : writes) {
        rig.write(offset, value);
        rig.settle();
      }
      break;
    }
    case InterfaceKind::kBt:
      rig.write(0, 0x01);
      for (uint8_t b : {3, 0x18, 0, 0x01}) rig.write(1, b);
      rig.write(0, 0x04);
      rig.settle();
      break;
    case InterfaceKind::kSmic: {
      const std::pair<uint8_t, uint8_t> writes[] = {{0x41, 0x18}, {0x43, 0x01}};
      for (auto [code, value] : writes) {
        rig.write(0, value);
        rig.write(1, code);
        rig.write(2, 1);
        rig.settle();
      }
      break;
    }
  }
  return rig.take();
}

TEST_P(InterfaceTest, EveryStepMakesAtMostOneAccessAndOnlyWhenDue) {
  Rig rig(options_of(GetParam()));
  rig.interface->set_attention(true, rig.now);
  const TakenRequest taken = request(rig);
  ASSERT_EQ(taken.message, (Bytes{0x18, 0x01}));
  rig.accesses.clear();
  ASSERT_TRUE(rig.respond(taken.token, {0x1c, 0x01, 0x00}));
  EXPECT_TRUE(rig.accesses.empty()) << "the answer comes by steps";
  while (rig.interface->next_due() != kNever) {
    const size_t before = rig.accesses.size();
    rig.interface->step(rig.interface->next_due() - Duration(1));
    ASSERT_EQ(rig.accesses.size(), before);
    ASSERT_TRUE(rig.step());
    ASSERT_LE(rig.accesses.size(), before + 1);
  }
}

TEST_P(InterfaceTest, EachAccessOfTheBmcComesItsLatencyAfterTheOneBefore) {
  InterfaceOptions options = options_of(GetParam());
  options.latency.access = {Latency::Shape::kFixed, microseconds(7), microseconds(7)};
  Rig rig(options);
  request(rig);
  Instant last{};
  for (const Access& access : rig.accesses) {
    if (access.face == Face::kBmc) {
      EXPECT_EQ(to_us(access.at - last), 7);
    }
    last = access.at;
  }
}

TEST_P(InterfaceTest, AnAnswerWaitsForItsCommandsLatencyFromTheTakingOfTheRequest) {
  InterfaceOptions options = options_of(GetParam());
  options.latency.response = {Latency::Shape::kFixed, microseconds(1000), {}};
  options.latency.by_command[{0x06, 0x01}] = {Latency::Shape::kFixed, microseconds(300), {}};
  options.latency.by_command[{0x06, 0x02}] = {Latency::Shape::kFixed, microseconds(1), {}};
  for (Duration firmware : {microseconds(0), microseconds(200), microseconds(500)}) {
    Rig rig(options);
    const TakenRequest taken = request(rig);
    rig.now += firmware;
    ASSERT_TRUE(rig.respond(taken.token, {0x1c, 0x01, 0x00}));
    EXPECT_EQ(rig.interface->next_due(), std::max(rig.taken_at + microseconds(300), rig.now + microseconds(2)));
  }
  options.latency.by_command.erase({0x06, 0x01});
  Rig rig(options);
  const TakenRequest taken = request(rig);
  ASSERT_TRUE(rig.respond(taken.token, {0x1c, 0x01, 0x00}));
  EXPECT_EQ(to_us(rig.interface->next_due() - rig.taken_at), 1000);
}

TEST_P(InterfaceTest, PeekingHasNoSideEffects) {
  Rig rig(options_of(GetParam()));
  rig.interface->set_attention(true, rig.now);
  ASSERT_TRUE(rig.settle());
  const Bytes before = rig.interface->save();
  rig.interface->peek_flags();
  rig.interface->interrupt_line();
  EXPECT_EQ(rig.interface->save(), before);
}

TEST_P(InterfaceTest, TheTraceTellsFlagsAndInterruptAsTheyAreAfterEachAccess) {
  Rig rig(options_of(GetParam()));
  if (GetParam() == InterfaceKind::kBt) rig.write(2, 1);
  rig.interface->set_attention(true, rig.now);
  ASSERT_TRUE(rig.settle());
  ASSERT_FALSE(rig.accesses.empty());
  EXPECT_EQ(rig.accesses.back().flags_after, rig.interface->peek_flags());
  EXPECT_TRUE(rig.accesses.back().interrupt_after);
  EXPECT_TRUE(rig.accesses.back().is_write);
  EXPECT_EQ(rig.accesses.back().face, Face::kBmc);
  EXPECT_EQ(rig.accesses.back().at, rig.now);
  rig.interface->set_trace(nullptr);
  const size_t count = rig.accesses.size();
  rig.read(0);
  EXPECT_EQ(rig.accesses.size(), count);
}

TEST_P(InterfaceTest, AnIdleInterfaceIsSmall) {
  const size_t size = GetParam() == InterfaceKind::kKcs  ? sizeof(kcs::StateMachine)
                      : GetParam() == InterfaceKind::kBt ? sizeof(bt::StateMachine)
                                                         : sizeof(smic::StateMachine);
  RecordProperty("bytes", static_cast<int>(size));
  EXPECT_LE(size, 512u);  // 10000 BMCs in one process
}

// One thing done from outside.
struct Action {
  enum class What : int {
    kRead,
    kWrite,
    kBookish,  // a write that a protocol would make
    kStep,
    kSteps,
    kRespond,
    kAttention,
    kOem,
    kOffline,
    kOnline,
    kRequest,
    kLast = kRequest,
  };
  int what = 0;
  uint8_t a = 0;
  uint8_t b = 0;
};

std::ostream& operator<<(std::ostream& out, const Action& action) {
  return out << "{" << action.what << "," << int(action.a) << "," << int(action.b) << "}";
}

rc::Gen<std::vector<Action>> actions() {
  return rc::gen::container<std::vector<Action>>(
      rc::gen::build<Action>(
          rc::gen::set(&Action::what, rc::gen::inRange(0, static_cast<int>(Action::What::kLast) + 1)),
          rc::gen::set(&Action::a), rc::gen::set(&Action::b)));
}

// A response carries its own length, so that its size varies with the actions and nothing else.
void act(Rig& rig, const Action& action, std::vector<uint32_t>& tokens) {
  static constexpr uint8_t kBook[3][8] = {
      {0x60, 0x61, 0x62, 0x68, 0x00, 0x10, 0x18, 0x01},
      {0x01, 0x02, 0x04, 0x08, 0x10, 0x40, 0x05, 0x03},
      {0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x01},
  };
  switch (static_cast<Action::What>(action.what)) {
    case Action::What::kRead: rig.read(action.a % 4); break;
    case Action::What::kWrite: rig.write(action.a % 4, action.b); break;
    case Action::What::kBookish: {
      const uint8_t value = kBook[static_cast<int>(rig.interface->kind())][action.b % 8];
      rig.write(action.a % 3, value);
      if (rig.interface->kind() == InterfaceKind::kSmic) rig.write(2, 1);
      break;
    }
    case Action::What::kStep: rig.step(); break;
    case Action::What::kSteps:
      for (int i = 0; i < action.a % 16; ++i) rig.step();
      break;
    case Action::What::kRespond:
      if (!rig.taken.empty()) tokens.push_back(rig.taken.back().token);
      rig.respond(tokens.empty() ? action.a : tokens[action.a % tokens.size()],
                  Bytes(static_cast<size_t>(action.a) + action.b, action.b));
      break;
    case Action::What::kAttention: rig.interface->set_attention((action.a & 1) != 0, rig.now); break;
    case Action::What::kOem: rig.interface->set_oem_bits(action.a, rig.now); break;
    case Action::What::kOffline: rig.interface->go_offline(rig.now); break;
    case Action::What::kOnline: rig.interface->come_online(rig.now); break;
    case Action::What::kRequest: {
      const TakenRequest taken = request(rig);
      if (taken.token != 0) rig.taken.push_back(taken);
      break;
    }
  }
}

InterfaceOptions shaky(InterfaceKind kind, uint64_t seed) {
  InterfaceOptions options = options_of(kind);
  options.seed = seed;
  options.latency.access = {Latency::Shape::kLogUniform, Duration(0), microseconds(100)};
  options.latency.response = {Latency::Shape::kUniform, Duration(0), microseconds(100)};
  return options;
}

void check_invariants(const Rig& rig) {
  for (const TakenRequest& taken : rig.taken) {
    RC_ASSERT(taken.token != 0u);
    RC_ASSERT(taken.message.size() >= 2u);
    RC_ASSERT(taken.message.size() <= rig.interface->request_bytes_max());
  }
}

TEST_P(InterfaceTest, NoSequenceOfAccessesBreaksIt) {
  const InterfaceKind kind = GetParam();
  ASSERT_TRUE(kCasesFixed);
  const bool ok = rc::check([kind](uint64_t seed) {
    const std::vector<Action> todo = *actions();
    Rig rig(shaky(kind, seed));
    std::vector<uint32_t> tokens;
    for (const Action& action : todo) {
      act(rig, action, tokens);
      check_invariants(rig);
    }
    // The host is quiet from here on: the actor comes to rest, and would still take a request.
    rig.interface->come_online(rig.now);
    RC_ASSERT(rig.settle(2000));
    RC_ASSERT(rig.interface->next_due() == kNever);
    RC_ASSERT(rig.interface->online());
    switch (kind) {
      case InterfaceKind::kKcs: RC_ASSERT((rig.interface->peek_flags() & 0x02) == 0); break;
      case InterfaceKind::kBt: RC_ASSERT((rig.interface->peek_flags() & 0x84) == 0); break;
      case InterfaceKind::kSmic: RC_ASSERT((rig.interface->peek_flags() & 0x01) == 0); break;
    }
    const TakenRequest taken = request(rig);
    RC_ASSERT(taken.message == (Bytes{0x18, 0x01}));
    RC_ASSERT(rig.respond(taken.token, Bytes{0x1c, 0x01, 0x00}));
    RC_ASSERT(rig.settle(2000));
  });
  EXPECT_TRUE(ok);
}

// G-111: saved with a transfer in flight, lengths and all.
TEST_P(InterfaceTest, ASavedInterfaceGoesOnExactlyAsTheOneItCameFrom) {
  const InterfaceKind kind = GetParam();
  ASSERT_TRUE(kCasesFixed);
  const bool ok = rc::check([kind](uint64_t seed) {
    const std::vector<Action> before = *actions();
    const std::vector<Action> after_it = *actions();
    InterfaceOptions options = shaky(kind, seed);
    options.latency.by_command[{0x06, 0x01}] = {Latency::Shape::kLogUniform, Duration(5), Duration(5000)};
    Rig one(options);
    std::vector<uint32_t> tokens;
    for (const Action& action : before) act(one, action, tokens);
    const Bytes saved = one.interface->save();
    auto loaded = load_interface(saved);
    RC_ASSERT(loaded.ok());
    RC_ASSERT((*loaded)->kind() == kind);
    RC_ASSERT((*loaded)->save() == saved);
    Rig two(std::move(*loaded));
    two.now = one.now;
    two.taken = one.taken;
    one.accesses.clear();
    std::vector<uint32_t> tokens_two = tokens;
    for (const Action& action : after_it) {
      act(one, action, tokens);
      act(two, action, tokens_two);
    }
    one.settle();
    two.settle();
    RC_ASSERT(one.interface->save() == two.interface->save());
    RC_ASSERT(one.accesses.size() == two.accesses.size());
    for (size_t i = 0; i < one.accesses.size(); ++i) {
      RC_ASSERT(one.accesses[i].at == two.accesses[i].at);
      RC_ASSERT(one.accesses[i].offset == two.accesses[i].offset);
      RC_ASSERT(one.accesses[i].value == two.accesses[i].value);
      RC_ASSERT(one.accesses[i].flags_after == two.accesses[i].flags_after);
    }
  });
  EXPECT_TRUE(ok);
}

TEST_P(InterfaceTest, ADamagedSaveIsRefusedOrGivesAnInterfaceThatWorks) {
  const InterfaceKind kind = GetParam();
  ASSERT_TRUE(kCasesFixed);
  const bool ok = rc::check([kind](uint64_t seed) {
    Rig rig(shaky(kind, seed));
    std::vector<uint32_t> tokens;
    for (const Action& action : *actions()) act(rig, action, tokens);
    Bytes saved = rig.interface->save();
    for (const auto& [at, value] : *rc::gen::arbitrary<std::vector<std::pair<uint16_t, uint8_t>>>()) {
      saved[at % saved.size()] = value;
    }
    auto loaded = load_interface(saved);
    if (!loaded.ok()) {
      RC_ASSERT(loaded.error().code == ErrorCode::kCorrupt);
      return;
    }
    Rig damaged(std::move(*loaded));
    for (const Action& action : *actions()) act(damaged, action, tokens);
    damaged.settle();
  });
  EXPECT_TRUE(ok);
}

TEST_P(InterfaceTest, ASaveCutShortOrWithMoreBehindItIsRefused) {
  Rig rig(options_of(GetParam()));
  request(rig);
  Bytes saved = rig.interface->save();
  for (size_t size = 0; size < saved.size(); ++size) {
    EXPECT_FALSE(load_interface(ByteView(saved).first(size)).ok()) << size;
  }
  EXPECT_TRUE(load_interface(saved).ok());
  saved.push_back(0);
  EXPECT_FALSE(load_interface(saved).ok());
}

TEST_P(InterfaceTest, WhileItIsAwayItsHostFacesTheRegistersOfTheAwayTable) {
  const InterfaceKind kind = GetParam();
  ASSERT_TRUE(kCasesFixed);
  const bool ok = rc::check([kind](uint64_t seed) {
    Rig rig(shaky(kind, seed));
    std::vector<uint32_t> tokens;
    for (const Action& action : *actions()) act(rig, action, tokens);
    rig.interface->come_online(rig.now);
    rig.interface->go_offline(rig.now);
    registers::AwayRegisters away(kind);
    RC_ASSERT(rig.interface->peek_flags() == registers::away_flags(kind));
    for (const auto& [what, value] : *rc::gen::arbitrary<std::vector<std::pair<uint8_t, uint8_t>>>()) {
      const uint16_t offset = what % 4;
      if (what >= 128) {
        rig.write(offset, value);
        away.write(offset, value);
      }
      RC_ASSERT(rig.read(offset) == away.read(offset));
      rig.step();
      RC_ASSERT(!rig.interface->interrupt_line());
    }
  });
  EXPECT_TRUE(ok);
}

// Wherever a host stops, in the middle of a frame or of its answer.
TEST_P(InterfaceTest, AHostThatLeavesAtAnyAccessLeavesNothingToTheNext) {
  const std::vector<std::pair<uint16_t, uint8_t>> writes =
      GetParam() == InterfaceKind::kKcs ? std::vector<std::pair<uint16_t, uint8_t>>{{1, 0x61}, {0, 0x18}, {1, 0x62}, {0, 1}}
      : GetParam() == InterfaceKind::kBt
          ? std::vector<std::pair<uint16_t, uint8_t>>{{0, 1}, {1, 3}, {1, 0x18}, {1, 9}, {1, 1}, {0, 4}}
          : std::vector<std::pair<uint16_t, uint8_t>>{{0, 0x18}, {1, 0x41}, {2, 1}, {0, 1}, {1, 0x43}, {2, 1}};
  for (size_t written = 0; written <= writes.size(); ++written) {
    for (int steps = 0; steps < 24; ++steps) {
      for (bool rebooting : {false, true}) {
        Rig rig(options_of(GetParam()));
        for (size_t i = 0; i < written; ++i) {
          rig.write(writes[i].first, writes[i].second);
          if (i + 1 < written) rig.settle();
        }
        for (int i = 0; i < steps / 2; ++i) rig.step();
        const uint32_t token = rig.take().token;
        if (token != 0) {
          ASSERT_TRUE(rig.respond(token, {0x1c, 0x01, 0x00}));
        }
        for (int i = 0; i < steps - steps / 2; ++i) rig.step();
        rig.taken.clear();
        if (rebooting) rig.interface->go_offline(rig.now);
        rig.interface->forget_host(rig.now);
        EXPECT_EQ(rig.interface->online(), !rebooting);
        if (rebooting) {
          EXPECT_EQ(rig.interface->peek_flags(), registers::away_flags(GetParam()));
          rig.interface->come_online(rig.now);
        }
        ASSERT_TRUE(rig.settle());
        EXPECT_TRUE(rig.taken.empty());
        EXPECT_FALSE(rig.respond(token, {0x1c, 0x01, 0x00}));
        EXPECT_EQ(rig.interface->peek_flags(), GetParam() == InterfaceKind::kSmic ? 0x40 : 0)
            << written << " writes, " << steps << " steps";
        ASSERT_EQ(request(rig).message, (Bytes{0x18, 0x01}));
      }
    }
  }
}

TEST_P(InterfaceTest, TheSameSeedIsTheSameRunAndAnotherSeedIsNot) {
  auto end = [](uint64_t seed) {
    Rig rig(shaky(GetParam(), seed));
    for (int i = 0; i < 5; ++i) rig.respond(request(rig).token, {0x1c, 0x01, 0x00});
    return rig.now;
  };
  EXPECT_EQ(end(1), end(1));
  EXPECT_NE(end(1), end(2));
}

// Both sides' runs of accesses, by the one call that makes them and one by one.
std::vector<Access> conversation(const InterfaceOptions& options, bool in_bursts, Duration patience) {
  Rig rig(options);
  const auto settle = [&] {
    while (rig.step()) {
      while (in_bursts && rig.interface->in_burst()) {
        const size_t before = rig.accesses.size();
        rig.interface->go_on_in_burst(after(rig.now, patience));
        if (rig.accesses.size() == before) break;  // the next of them is due later
        rig.now = rig.accesses.back().at;
      }
    }
  };
  const auto write = [&](uint16_t offset, const Bytes& bytes) {
    if (in_bursts) {
      rig.interface->host_write_burst(offset, bytes, rig.now, microseconds(1));
      rig.now += microseconds(1) * bytes.size();
      return;
    }
    for (uint8_t b : bytes) {
      rig.write(offset, b);
      rig.now += microseconds(1);
    }
  };
  const auto read = [&](uint16_t offset, size_t n) {
    Bytes out(n);
    if (in_bursts) {
      rig.interface->host_read_burst(offset, out, rig.now, microseconds(1));
      rig.now += microseconds(1) * n;
      return;
    }
    for (uint8_t& b : out) {
      b = rig.read(offset);
      rig.now += microseconds(1);
    }
  };
  for (uint8_t seq = 0; seq < 4; ++seq) {
    if (seq == 2) rig.interface->set_attention(true, rig.now);
    if (options.kind == InterfaceKind::kBt) {
      write(0, {0x01});
      write(1, {6, 0x18, seq, 0x01, 1, 2, 3});
      write(0, {0x04});
      settle();
    } else {
      request(rig);
    }
    const TakenRequest taken = rig.take();
    if (taken.token != 0) rig.respond(taken.token, {0x1c, 0x01, 0x00, 1, 2, 3, 4, 5, 6, 7});
    settle();
    if (options.kind == InterfaceKind::kBt) write(0, {0x40, 0x08, 0x02});
    for (uint16_t offset : {1, 0, 2}) read(offset, 12);
    if (options.kind == InterfaceKind::kBt) write(0, {0x50});
    settle();
  }
  return rig.accesses;
}

TEST_P(InterfaceTest, ABurstIsTheSameAccessesAtTheSameInstantsAsOneByOne) {
  for (const InterfaceOptions& options : {options_of(GetParam()), shaky(GetParam(), 3)}) {
    const std::vector<Access> one_by_one = conversation(options, false, {});
    EXPECT_GT(one_by_one.size(), 100u);
    for (Duration patience : {Duration(microseconds(0)), Duration(microseconds(5)), Duration(std::chrono::hours(1))}) {
      const std::vector<Access> in_bursts = conversation(options, true, patience);
      ASSERT_EQ(in_bursts.size(), one_by_one.size());
      for (size_t i = 0; i < in_bursts.size(); ++i) {
        ASSERT_TRUE(in_bursts[i] == one_by_one[i]) << i << ": " << describe(GetParam(), in_bursts[i]) << " instead of "
                                                   << describe(GetParam(), one_by_one[i]);
      }
    }
  }
}

TEST_P(InterfaceTest, ALatencyBeyondTheEndOfTimeIsStillDueSomeTime) {
  InterfaceOptions options = options_of(GetParam());
  options.latency.access = {Latency::Shape::kFixed, Duration::max(), {}};
  Rig rig(options);
  rig.now += microseconds(1);
  rig.interface->set_attention(true, rig.now);
  EXPECT_NE(rig.interface->next_due(), kNever);
  EXPECT_TRUE(rig.settle());
}

}  // namespace
}  // namespace bmcpair::hardware
