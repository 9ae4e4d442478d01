// A panic at every scheduling point of a send (reference E.13): in which of the discussion's windows it falls, and what
// becomes of the panic's event and of the request that was under way. docs/panic_windows.md is written by this test
// (BMCPAIR_WRITE_TABLES=FOLDER) and compared with it.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>
#include <string>
#include <string_view>
#include <tuple>

#include "host_driver/runtime/modelled/instrumented.h"
#include "host_driver/state_machine/profile.h"
#include "integration/lab/rig.h"

namespace bmcpair::scenarios {
namespace {

using lab::Run;
using registers::InterfaceKind;
using std::chrono::milliseconds;
using std::chrono::seconds;

// The driver's fault points are the stores of the discussion; here they are scheduling points, too.
enum class Window : size_t {
  kBeforeOne,
  kSendLocked,
  kOneTwo,
  kTwoThree,
  kThreeFour,
  kFourFive,
  kReceiveLocked,
  kAfterFive,
  kOver,
};
constexpr size_t kWindows = 9;
constexpr std::array<const char*, kWindows> kNames = {
    "before (1): the request is being made",
    "before (1), the transmit lock held",
    "(1) to (2): current above, nothing below",
    "(2) to (3): waiting below",
    "(3) to (4): taken, not started",
    "(4) to (5): on the wire",
    "after (5), the receive lock held",
    "after (5): answered below, current above",
    "over: current cleared",
};

Window window_of(const rt::World& w, const std::map<std::string, unsigned>& before) {
  const auto passed = [&](const char* name) { return w.passed(name) > before.at(name); };
  if (passed("mh.received.cleared")) return Window::kOver;
  if (passed("mh.received.locked") && !passed("mh.received.queued")) return Window::kReceiveLocked;
  if (passed("si.complete.done")) return Window::kAfterFive;
  if (passed("si.start.started")) return Window::kFourFive;
  if (passed("si.start.taken")) return Window::kThreeFour;
  if (passed("si.sender.waiting")) return Window::kTwoThree;
  if (passed("mh.send.current")) return Window::kOneTwo;
  if (passed("mh.send.locked")) return Window::kSendLocked;
  return Window::kBeforeOne;
}
constexpr const char* kMarks[] = {"mh.send.locked",   "mh.send.current",   "si.sender.waiting",  "si.start.taken",
                                  "si.start.current", "si.start.started",  "si.complete.done",   "mh.received.locked",
                                  "mh.received.queued", "mh.received.cleared"};

// Tame, but for the one choice at which the panic comes. The panicking task is otherwise the last to be picked.
class AtPoint final : public rt::Director {
 public:
  explicit AtPoint(uint64_t at) : at_(at) {}
  uint32_t choose(rt::Choice kind, uint32_t, const rt::Site&, std::span<const rt::TaskId> tasks) override {
    if (kind != rt::Choice::kTask || !armed) return 0;
    uint32_t panic = UINT32_MAX;
    for (uint32_t i = 0; i < tasks.size(); ++i) {
      if (tasks[i] == panic_task) panic = i;
    }
    if (fire || panic == UINT32_MAX) return 0;
    if (at_-- == 0) {
      fire = true;
      return panic;
    }
    return panic == 0 ? 1 : 0;
  }
  bool armed = false;
  bool fire = false;
  rt::TaskId panic_task = 0;

 private:
  uint64_t at_;
};

struct Result {
  bool fired = false;
  Window window = Window::kBeforeOne;
  std::string oracle;  // of the run's end
  unsigned told = 0;      // how often the BMC executed the panic's event
  unsigned executed = 0;  // and the request
  Duration took{0};
  std::string text() const {
    if (oracle == "exactly-once") return "**done twice**";  // its second answer ends the run
    if (!oracle.empty()) return "**" + oracle + "**";
    std::string out = told == 1 ? "told" : told == 0 ? "**not told**" : "**told twice**";
    return out + (executed == 0 ? ", dropped" : executed == 1 ? ", done" : ", **done twice**");
  }
};

Result panic_at(uint64_t point, const state_machine::Profile& profile, InterfaceKind kind, bool at_once) {
  Result result;
  AtPoint director(point);
  rt::WorldOptions world;
  world.stalls = false;
  world.steps_max = 500'000;  // what a spoilt transaction and its recovery take
  const lab::RunOptions options;
  const lab::Outcome outcome = lab::run_world(director, options, world, [&](Run& run) {
    rt::World& w = *rt::World::current();
    for (const char* name : kMarks) w.mark(name);
    lab::BmcOptions b;
    b.kind = kind;
    b.interrupt = kind == InterfaceKind::kBt;
    b.steady = true;
    lab::LabBmc bmc(run, std::move(b));
    lab::HostOptions h;
    h.profile = &profile;
    lab::LabHost host(run, std::move(h));
    const auto number = host.bring_up(bmc);
    if (!number) run.fail("setup", number.error().to_string());
    auto user = std::make_unique<lab::LabUser>(run, host, &bmc, *number, 1);
    user->send();
    user->settle();
    rt::sleep_for(milliseconds(20));
    std::map<std::string, unsigned> before;
    for (const char* name : kMarks) before[name] = w.passed(name);
    constexpr uint64_t kTag = uint64_t{1} << 32 | 2;

    bool over = false;
    rt::Thread panicking;
    panicking.start("panicking", [&] {
      director.panic_task = w.self_id();
      while (!director.fire && !over) rt::yield();
      if (!director.fire) return;
      const Instant begun = rt::now();
      w.begin_panic(at_once);
      result.fired = true;
      result.window = window_of(w, before);
      host.handler().panic("Oops: a panic");
      result.took = rt::now() - begun;
      result.told = bmc.executions(0x04, 0x02);
      result.executed = bmc.executed(kTag);
      w.stop();
    });
    while (director.panic_task == 0) rt::yield();
    director.armed = true;
    user->send();
    user->settle();
    rt::sleep_for(milliseconds(1));
    director.armed = false;
    over = true;
    panicking.join();
    user.reset();
    (void)host.handler().unregister_smi(*number);
  });
  result.oracle = outcome.oracle;
  return result;
}

struct Profiled {
  const char* profile;
  bool at_once;
};
constexpr Profiled kProfiles[] = {{"linux-4.2", false}, {"linux-4.2", true},     {"proposed-2015", false},
                                  {"proposed-2015", true}, {"hardened", false}, {"hardened", true}};
constexpr InterfaceKind kKinds[] = {InterfaceKind::kBt, InterfaceKind::kKcs};

struct Cell {
  unsigned points = 0;
  std::map<std::string, unsigned> outcomes;
  Duration longest{0};
};
using Table = std::array<Cell, kWindows>;

// Every point of the send, until the panic comes after its end.
Table sweep(const Profiled& how, InterfaceKind kind) {
  // The capability fetch inside the machine is another story (bt-cap-begin).
  const std::string name = how.profile == std::string("hardened") ? how.profile : how.profile + std::string("-bt_hidden_capability_fetch");
  const state_machine::Profile profile = *state_machine::profile_with(name);
  Table table;
  const uint64_t stride = BMCPAIR_ASAN ? 23 : 1;
  for (uint64_t point = 0; point < 20'000; point += stride) {
    const Result r = panic_at(point, profile, kind, how.at_once);
    if (!r.fired) {
      EXPECT_EQ(r.oracle, "") << how.profile << " without a panic, at point " << point;
      return table;
    }
    Cell& cell = table[static_cast<size_t>(r.window)];
    ++cell.points;
    ++cell.outcomes[r.text()];
    cell.longest = std::max(cell.longest, r.took);
  }
  ADD_FAILURE() << "the send has no end";
  return table;
}

const Table& table_of(InterfaceKind kind, const Profiled& how) {
  static std::map<std::tuple<InterfaceKind, std::string, bool>, Table> all;
  const auto key = std::make_tuple(kind, std::string(how.profile), how.at_once);
  auto at = all.find(key);
  if (at == all.end()) at = all.emplace(key, sweep(how, kind)).first;
  return at->second;
}

std::string page() {
  std::ostringstream out;
  out << "# A panic at every point of a send\n\n"
         "The discussion of 2015 numbers the stores of a message on its way down and back (\"ipmi: Handle queued messages more\n"
         "certainly on panic\"; `host_driver/message_handler/panic.cc`). Here one request is sent, and the host panics at each scheduling\n"
         "point of it in turn: in which window that is, at how many points, and what comes of it. *told*: the BMC executed the panic's\n"
         "Platform Event; *done*, *dropped*: it executed the request that was under way, once, or not at all. **Bold** is what must not\n"
         "be: **no-end** is a panic that waits for ever, **done twice** a request that the BMC was made to execute again.\n\n"
         "The others are stopped by an interrupt, as a rule: who drives the registers has it masked, finishes its pass and stops then.\n"
         "*at once* is the interrupt that nobody masks, or a panic in the middle of the pass itself: then the registers are left as\n"
         "they are. Linux drives on from there (G-38); `hardened` waits a second for who holds the machine and then leaves that interface\n"
         "alone, because nobody knows which of its writes has been done. Our own runtime never stops anybody so.\n\n"
         "What `hardened` documents: before (2) the request is dropped, from (2) on it is done, once; the panic's event goes out in\n"
         "all of them. Written by `integration/scenarios/panic_windows_test.cc`, and compared in every run of the suite.\n";
  for (size_t k = 0; k < std::size(kKinds); ++k) {
    out << "\n## " << (kKinds[k] == InterfaceKind::kBt ? "BT with interrupts" : "KCS, polled") << "\n\n| window |";
    for (const Profiled& p : kProfiles) out << ' ' << p.profile << (p.at_once ? ", at once" : "") << " |";
    out << "\n|---|";
    for (size_t p = 0; p < std::size(kProfiles); ++p) out << "---|";
    out << '\n';
    for (size_t w = 0; w < kWindows; ++w) {
      out << "| " << kNames[w] << " |";
      for (size_t p = 0; p < std::size(kProfiles); ++p) {
        const Cell& cell = table_of(kKinds[k], kProfiles[p])[w];
        std::string text;
        for (const auto& [outcome, times] : cell.outcomes) {
          text += (text.empty() ? "" : "<br>") + outcome + " (" + std::to_string(times) + ')';
        }
        out << ' ' << (text.empty() ? "–" : text) << " |";
      }
      out << '\n';
    }
  }
  return out.str();
}

void the_page_says_what_happens() {
  if (const char* folder = std::getenv("BMCPAIR_WRITE_TABLES")) {
    std::ofstream out(std::string(folder) + "/panic_windows.md");
    out << page();
    EXPECT_TRUE(out.good());
    return;
  }
  std::ifstream in(std::string(BMCPAIR_SOURCE_DIR) + "/docs/panic_windows.md");
  const std::string now{std::istreambuf_iterator<char>(in), {}};
  EXPECT_EQ(now, page()) << "docs/panic_windows.md is not current: BMCPAIR_WRITE_TABLES=docs integration_scenarios_test";
}

const Cell& at(const Table& table, Window window) { return table[static_cast<size_t>(window)]; }
bool has(const Cell& cell, std::string_view outcome) {
  return std::any_of(cell.outcomes.begin(), cell.outcomes.end(),
                     [&](const auto& o) { return o.first.find(outcome) != std::string::npos; });
}

// A panic at once falls into every window.
void each_is_met(InterfaceKind kind) {
  for (const Profiled& p : kProfiles) {
    if (!p.at_once) continue;
    for (size_t w = 0; w < kWindows; ++w) EXPECT_GT(table_of(kind, p)[w].points, 0u) << p.profile << ": " << kNames[w];
  }
}

void hardened_tells_the_bmc_once_and_nothing_is_done_twice(InterfaceKind kind) {
  const Table& table = table_of(kind, {"hardened", false});
  for (size_t w = 0; w < kWindows; ++w) {
    for (const auto& [outcome, times] : table[w].outcomes) {
      EXPECT_EQ(outcome, static_cast<Window>(w) >= Window::kTwoThree ? "told, done" : "told, dropped") << kNames[w];
    }
    EXPECT_LT(table[w].longest, seconds(2)) << kNames[w];
  }
  // Stopped in the middle of a pass: it may stay untold, within its bound, and nothing is done twice.
  const Table& cut = table_of(kind, {"hardened", true});
  for (size_t w = 0; w < kWindows; ++w) {
    for (const auto& [outcome, times] : cut[w].outcomes) {
      EXPECT_EQ(outcome.find("twice"), std::string::npos) << kNames[w] << ": " << outcome;
      EXPECT_EQ(outcome.find("no-end"), std::string::npos) << kNames[w] << ": " << outcome;
    }
    EXPECT_LT(cut[w].longest, seconds(2)) << kNames[w];
  }
}

void in_42_a_message_that_nobody_holds_is_waited_for_for_ever(InterfaceKind kind) {
  const Table& table = table_of(kind, {"linux-4.2", true});
  for (Window w : {Window::kOneTwo, Window::kThreeFour, Window::kAfterFive}) EXPECT_TRUE(has(at(table, w), "no-end"));
  EXPECT_FALSE(has(at(table, Window::kTwoThree), "no-end"));
  EXPECT_TRUE(has(at(table_of(kind, {"linux-4.2", false}), Window::kOneTwo), "no-end"));
  // G-38: driven on from where it was stopped, KCS does what it had done once more.
  if (kind == InterfaceKind::kKcs) {
    EXPECT_TRUE(has(at(table, Window::kFourFive), "done twice"));
  }
}

// The proposal mends what it was for, and brings something of its own.
void as_proposed_in_2015_all_is_told_but_a_request_may_be_done_twice(InterfaceKind kind) {
  for (const Cell& cell : table_of(kind, {"proposed-2015", false})) {
    for (const auto& [outcome, times] : cell.outcomes) EXPECT_EQ(outcome.substr(0, 4), "told");
  }
  const Table& table = table_of(kind, {"proposed-2015", true});
  EXPECT_TRUE(has(at(table, Window::kFourFive), "done twice"));
}

// One test: what it looks at is run once.
TEST(PanicWindows, EachIsMetAtEveryPointOfASendAndHardenedTellsTheBmcInAllOfThem) {
  for (InterfaceKind kind : kKinds) {
    hardened_tells_the_bmc_once_and_nothing_is_done_twice(kind);
    if (BMCPAIR_ASAN) continue;  // an instrumented build looks at memory
    each_is_met(kind);
    in_42_a_message_that_nobody_holds_is_waited_for_for_ever(kind);
    as_proposed_in_2015_all_is_told_but_a_request_may_be_done_twice(kind);
  }
  if (!BMCPAIR_ASAN) the_page_says_what_happens();
}

}  // namespace
}  // namespace bmcpair::scenarios
