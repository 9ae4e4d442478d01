// Every oracle sees the defect that it is for, planted; and says nothing of the same run without it.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <new>
#include <set>
#include <string>
#include <utility>

#include "host_driver/message_handler/rcu_list.h"
#include "host_driver/state_machine/profile.h"
#include "integration/lab/register_judge.h"
#include "integration/lab/rig.h"
#include "integration/scenarios/story.h"
#include "proto/registers/bt.h"
#include "proto/registers/kcs.h"
#include "proto/registers/smic.h"

namespace bmcpair::scenarios {
namespace {

using lab::LabBmc;
using lab::LabHost;
using lab::LabUser;
using lab::RegisterJudge;
using registers::InterfaceKind;
using std::chrono::milliseconds;
using std::chrono::minutes;

class Tame final : public rt::Director {
 public:
  uint32_t choose(rt::Choice, uint32_t, const rt::Site&, std::span<const rt::TaskId>) override { return 0; }
};

Outcome in_a_world(const std::function<void(Run&)>& body) {
  Tame director;
  rt::WorldOptions world;
  world.steps_max = 2'000'000;
  return lab::run_world(director, {}, world, body);
}

// ---- between the system interface and the message handler ----------------------------------------------------------

// Does what the layer below does, but for what is planted.
class Tamper : public host::SmiHandlers, protected host::SmiUpcalls {
 public:
  explicit Tamper(std::shared_ptr<host::SmiHandlers> below) : below_(std::move(below)) {}
  Status start_processing(host::SmiUpcalls& upcalls) override {
    up_ = &upcalls;
    return below_->start_processing(*this);
  }
  host::SmiInfo info() const override { return below_->info(); }
  Status sender(host::SmiMessage* message) override { return below_->sender(message); }
  void request_events() override { below_->request_events(); }
  void set_need_watch(unsigned mask) override { below_->set_need_watch(mask); }
  void set_maintenance_mode(bool enable) override { below_->set_maintenance_mode(enable); }
  void set_run_to_completion(bool on) override { below_->set_run_to_completion(on); }
  void poll() override { below_->poll(); }
  void flush_messages() override { below_->flush_messages(); }
  bool holds_message() const override { return below_->holds_message(); }
  void shutdown() override {
    below_->shutdown();
    if (after_shutdown) after_shutdown(*up_);
  }

  // What becomes of an answer to an echo, and of an event.
  std::function<void(host::SmiMessage*, host::SmiUpcalls&)> echo;
  std::function<void(host::SmiMessage*, host::SmiUpcalls&)> event;
  std::function<void(host::SmiUpcalls&)> after_shutdown;

 protected:
  void message_received(host::SmiMessage* m) override {
    if (echo && m->rsp_size >= 2 && m->rsp[0] >> 2 == (lab::kEchoNetFn | 1)) return echo(m, *up_);
    if (event && m->rsp_size > 3 && m->rsp[0] == 0x1c && m->rsp[1] == 0x35) return event(m, *up_);
    up_->message_received(m);
  }
  void watchdog_pretimeout() override { up_->watchdog_pretimeout(); }

 private:
  const std::shared_ptr<host::SmiHandlers> below_;
  host::SmiUpcalls* up_ = nullptr;
};

struct Stage {
  Run& run;
  LabBmc& bmc;
  LabHost& host;
  LabUser& user;
  int number;
};

// The oracle of a run in which `plant` has made the tamper what it is. Two echoes, unless `body` says otherwise.
std::string planted(const std::function<void(Tamper&, LabBmc&)>& plant, const std::function<void(Stage&)>& body = {}) {
  const Outcome o = in_a_world([&](lab::Run& run) {
    lab::BmcOptions b;
    b.steady = true;
    LabBmc bmc(run, std::move(b));
    lab::HostOptions h;
    h.tamper = [&](std::shared_ptr<host::SmiHandlers> below) {
      auto tamper = std::make_shared<Tamper>(std::move(below));
      if (plant) plant(*tamper, bmc);
      return tamper;
    };
    LabHost host(run, std::move(h));
    const auto number = host.bring_up(bmc);
    if (!number) run.fail("setup", number.error().to_string());
    {
      LabUser user(run, host, &bmc, *number, 1);
      Stage stage{run, bmc, host, user, *number};
      if (body) {
        body(stage);
      } else {
        user.send();
        user.send();
        user.settle();
      }
    }
    (void)host.unregister(*number);
  });
  if (o.oracle == "setup") ADD_FAILURE() << o.sentence;
  return o.oracle;
}

TEST(Oracles, SayNothingOfADriverThatIsWell) {
  EXPECT_EQ(planted({}), "");
  EXPECT_EQ(planted({}, [](Stage& s) {
              ASSERT_TRUE(s.user.user().set_gets_events(true));
              s.bmc.raise_event(1);
              s.bmc.raise_event(2);
              s.user.expect_events(2);
              rt::sleep_for(milliseconds(100));
            }),
            "");
}

TEST(Oracles, SeeAnAnswerThatComesTwice) {
  EXPECT_EQ(planted([](Tamper& t, LabBmc&) {
              t.echo = [](host::SmiMessage* m, host::SmiUpcalls& up) {
                up.message_received(m);
                up.message_received(m);
              };
            }),
            "exactly-once");
}

TEST(Oracles, SeeAnAnswerThatNeverComes) {
  const auto swallow = [](Tamper& t, LabBmc&) { t.echo = [](host::SmiMessage*, host::SmiUpcalls&) {}; };
  EXPECT_EQ(planted(swallow), "unanswered");
  EXPECT_EQ(planted(swallow, [](Stage& s) {
              s.user.send();
              rt::sleep_for(milliseconds(100));
            }),
            "exactly-once");
}

TEST(Oracles, SeeAnAnswerThatIsAnothersOrNone) {
  EXPECT_EQ(planted([](Tamper& t, LabBmc&) {
              t.echo = [](host::SmiMessage* m, host::SmiUpcalls& up) {
                m->rsp[10] ^= 3;  // of the tag
                up.message_received(m);
              };
            }),
            "own-answer");
  EXPECT_EQ(planted([](Tamper& t, LabBmc&) {
              t.echo = [](host::SmiMessage* m, host::SmiUpcalls& up) {
                m->rsp[1] ^= 2;  // of the command
                up.message_received(m);
              };
            }),
            "own-answer");
}

TEST(Oracles, SeeAnAnswerBeyondItsBound) {
  EXPECT_EQ(planted([](Tamper& t, LabBmc&) {
              t.echo = [](host::SmiMessage* m, host::SmiUpcalls& up) {
                rt::sleep_for(minutes(4));
                up.message_received(m);
              };
            }),
            "late");
}

TEST(Oracles, SeeAD5ThatTheBmcNeverSaid) {
  EXPECT_EQ(planted([](Tamper& t, LabBmc&) {
              t.echo = [](host::SmiMessage* m, host::SmiUpcalls& up) {
                m->rsp[2] = 0xd5;
                m->rsp_size = 3;
                up.message_received(m);
              };
            }),
            "forged-d5");
}

TEST(Oracles, SeeAnEventThatComesTwiceOrNever) {
  const auto three = [](Stage& s) {
    ASSERT_TRUE(s.user.user().set_gets_events(true));
    for (uint8_t tag = 1; tag <= 3; ++tag) s.bmc.raise_event(tag);
    s.user.expect_events(3);
    rt::sleep_for(milliseconds(100));
  };
  EXPECT_EQ(planted({}, three), "");
  EXPECT_EQ(planted(
                [](Tamper& t, LabBmc&) {
                  t.event = [](host::SmiMessage* m, host::SmiUpcalls& up) {
                    auto* again = new host::SmiMessage(*m);
                    up.message_received(m);
                    up.message_received(again);
                  };
                },
                three),
            "event-twice");
  EXPECT_EQ(planted(
                [](Tamper& t, LabBmc&) {
                  t.event = [n = 0](host::SmiMessage* m, host::SmiUpcalls& up) mutable {
                    if (++n == 2) {
                      m->done(m);
                    } else {
                      up.message_received(m);
                    }
                  };
                },
                three),
            "event-lost");
}

TEST(Oracles, SeeWhatComesAfterTheShutdown) {
  host::SmiMessage late;
  late.rsp_size = 3;
  EXPECT_EQ(planted([&](Tamper& t, LabBmc&) {
              t.after_shutdown = [&](host::SmiUpcalls& up) {
                rt::sleep_for(milliseconds(1));
                up.message_received(&late);
              };
            },
                    [&](Stage& s) {
                      s.user.send();
                      s.user.settle();
                    }),
            "");  // still inside of shutdown()
  const Outcome o = in_a_world([&](lab::Run& run) {
    lab::BmcOptions b;
    b.steady = true;
    LabBmc bmc(run, std::move(b));
    auto port = bmc.port();
    LabHost host(run, {});
    const auto number = host.bring_up(bmc);
    (void)port->read(0);  // nobody minds yet
    (void)host.unregister(*number);
    (void)port->read(0);
  });
  EXPECT_EQ(o.oracle, "after-shutdown") << o.sentence;
}

// ---- numbers, objects -----------------------------------------------------------------------------------------------

TEST(Oracles, SeeANumberGivenTwiceOrNotTheLowest) {
  const auto oracle = [](const std::function<void(lab::NumberBook&)>& body) {
    return in_a_world([&](lab::Run& run) {
             lab::NumberBook book(run);
             body(book);
           })
        .oracle;
  };
  EXPECT_EQ(oracle([](lab::NumberBook& b) {
              b.given(0, b.begin());
              const uint64_t begun = b.begin();
              b.given(1, b.begin());
              b.going(0);
              b.given(2, begun);  // 0 became free only now
              b.given(0, b.begin());
            }),
            "");
  EXPECT_EQ(oracle([](lab::NumberBook& b) {
              b.given(0, b.begin());
              b.given(0, b.begin());
            }),
            "numbers");
  EXPECT_EQ(oracle([](lab::NumberBook& b) { b.given(1, b.begin()); }), "numbers");
  EXPECT_EQ(oracle([](lab::NumberBook& b) {
              b.given(0, b.begin());
              b.given(1, b.begin());
              b.going(0);
              b.given(2, b.begin());
            }),
            "numbers");
}

struct Element : host::detail::RcuNode, rt::Tracked {
  Element() : Tracked("element") {}
};

TEST(Oracles, SeeASecondUnlinkASecondEndAndNone) {
  EXPECT_EQ(in_a_world([](lab::Run&) {
              host::detail::RcuList<Element> list;
              Element e;
              list.push_back(&e);
              list.unlink(&e);
            }).oracle,
            "");
  EXPECT_EQ(in_a_world([](lab::Run&) {
              host::detail::RcuList<Element> list;
              Element e;
              list.push_back(&e);
              list.unlink(&e);
              list.unlink(&e);
            }).oracle,
            "invariant");
  EXPECT_EQ(in_a_world([](lab::Run&) {
              alignas(Element) unsigned char where[sizeof(Element)];
              auto* e = new (where) Element;
              e->~Element();
              e->~Element();
            }).oracle,
            "double-free");
  EXPECT_EQ(in_a_world([](lab::Run&) { (void)new Element; }).oracle, "leak");
  EXPECT_EQ(in_a_world([](lab::Run&) {
              auto* e = new Element;
              const Element* late = e;
              delete e;
              for (int i = 0; i < 100; ++i) (void)new char[sizeof(Element)];
              late->touch();
            }).oracle,
            "use-after-free");
}

// ---- registers ------------------------------------------------------------------------------------------------------

class Judged {
 public:
  explicit Judged(InterfaceKind kind) : judge_(kind) {}
  Judged& read(uint16_t offset, uint8_t value, uint8_t flags) { return access(hardware::Access::Face::kHost, false, offset, value, flags); }
  Judged& write(uint16_t offset, uint8_t value, uint8_t flags) { return access(hardware::Access::Face::kHost, true, offset, value, flags); }
  Judged& bmc(uint16_t offset, uint8_t value, uint8_t flags) { return access(hardware::Access::Face::kBmc, true, offset, value, flags); }
  Judged& lost(uint16_t offset, uint8_t value, uint8_t flags) {
    hardware::Access a;
    a.is_write = true;
    a.offset = offset;
    a.value = value;
    a.flags_after = flags;
    a.fault = 1;
    if (auto wrong = judge_.judge(a, flags_)) said_ = *wrong;
    flags_ = flags;
    return *this;
  }
  const std::string& said() const { return said_; }

 private:
  Judged& access(hardware::Access::Face face, bool is_write, uint16_t offset, uint8_t value, uint8_t flags) {
    hardware::Access a;
    a.face = face;
    a.is_write = is_write;
    a.offset = offset;
    a.value = value;
    a.flags_after = flags;
    if (auto wrong = judge_.judge(a, flags_); wrong && said_.empty()) said_ = *wrong;
    flags_ = flags;
    return *this;
  }
  RegisterJudge judge_;
  uint8_t flags_ = 0;
  std::string said_;
};

TEST(RegisterJudge, KnowsWhoOwnsTheBufferOfBt) {
  namespace r = registers::bt;
  const auto request = [] {
    Judged j(InterfaceKind::kBt);
    j.read(r::kCtrl, 0, 0).write(r::kCtrl, r::kClrWrPtr, 0).write(r::kBuffer, 3, 0).write(r::kBuffer, 0x18, 0);
    return std::move(j.write(r::kCtrl, r::kH2bAtn, r::kH2bAtn).bmc(r::kCtrl, r::kBBusy, r::kH2bAtn | r::kBBusy));
  };
  Judged whole = request();
  whole.bmc(r::kCtrl, r::kH2bAtn, r::kBBusy).bmc(r::kCtrl, r::kBBusy, 0).bmc(r::kCtrl, r::kB2hAtn, r::kB2hAtn);
  whole.read(r::kCtrl, r::kB2hAtn, r::kB2hAtn).write(r::kCtrl, r::kHBusy, r::kB2hAtn | r::kHBusy);
  whole.write(r::kCtrl, r::kB2hAtn, r::kHBusy).read(r::kBuffer, 4, r::kHBusy).write(r::kCtrl, r::kHBusy, 0);
  EXPECT_EQ(whole.said(), "");
  EXPECT_NE(Judged(InterfaceKind::kBt).write(r::kBuffer, 3, 0).said().find("has not looked"), std::string::npos);
  Judged busy = request();
  busy.read(r::kCtrl, r::kH2bAtn | r::kBBusy, r::kH2bAtn | r::kBBusy).write(r::kBuffer, 3, r::kH2bAtn | r::kBBusy);
  EXPECT_NE(busy.said().find("is the BMC's"), std::string::npos);
  EXPECT_NE(Judged(InterfaceKind::kBt).read(r::kBuffer, 4, 0).said().find("H_BUSY"), std::string::npos);
  EXPECT_NE(Judged(InterfaceKind::kBt).write(r::kIntMask, r::kBmcHwRst, 0).said().find("asked nothing yet"), std::string::npos);
  Judged hammered = request();
  for (int i = 0; i < 5; ++i) hammered.write(r::kIntMask, r::kBmcHwRst, r::kH2bAtn | r::kBBusy);
  EXPECT_NE(hammered.said().find("never had an answer"), std::string::npos);
}

TEST(RegisterJudge, KnowsWhatKcsMayReadAndWrite) {
  namespace r = registers::kcs;
  EXPECT_EQ(Judged(InterfaceKind::kKcs)
                .read(r::kStatus, 0, 0)
                .write(r::kCommand, r::kWriteStart, r::kIbf | r::kCd)
                .bmc(r::kStatus, 0x80, 0x80 | r::kCd)
                .bmc(r::kData, 0, 0x80 | r::kCd | r::kObf)
                .read(r::kStatus, 0x80 | r::kCd | r::kObf, 0x80 | r::kCd | r::kObf)
                .read(r::kData, 0, 0x80 | r::kCd)
                .write(r::kData, 0x18, 0x80 | r::kIbf)
                .said(),
            "");
  const std::pair<Judged, const char*> wrong[] = {
      {Judged(InterfaceKind::kKcs).write(r::kCommand, r::kWriteStart, r::kIbf | r::kCd), "(IBF)"},
      {Judged(InterfaceKind::kKcs).read(r::kStatus, 0, 0).read(r::kData, 0, 0), "(OBF)"},
      {Judged(InterfaceKind::kKcs).bmc(r::kData, 0, r::kObf).read(r::kStatus, r::kObf, r::kObf).write(r::kCommand, r::kWriteStart,
                                                                                                    r::kObf | r::kIbf | r::kCd),
       "on top of a byte"},
  };
  for (const auto& [j, part] : wrong) EXPECT_NE(j.said().find(part), std::string::npos) << j.said();
}

TEST(RegisterJudge, KnowsWhoseSmicsRegistersAre) {
  namespace r = registers::smic;
  EXPECT_EQ(Judged(InterfaceKind::kSmic)
                .read(r::kFlags, 0, 0)
                .write(r::kControl, r::kGetStatus, 0)
                .write(r::kFlags, r::kBusy, r::kBusy)
                .bmc(r::kFlags, 0, 0)
                .read(r::kFlags, 0, 0)
                .write(r::kControl, r::kWriteStart, 0)
                .said(),
            "");
  EXPECT_NE(Judged(InterfaceKind::kSmic)
                .read(r::kFlags, 0, 0)
                .write(r::kFlags, r::kBusy, r::kBusy)
                .write(r::kControl, r::kGetStatus, r::kBusy)
                .said()
                .find("(BUSY)"),
            std::string::npos);
}

TEST(RegisterJudge, KnowsWhichSideMayChangeWhichFlagWhichWay) {
  namespace bt = registers::bt;
  namespace kcs = registers::kcs;
  namespace smic = registers::smic;
  const auto said = [](Judged j) { return j.said().find("not its to change") != std::string::npos; };
  EXPECT_TRUE(said(Judged(InterfaceKind::kBt).write(bt::kCtrl, bt::kBBusy, bt::kBBusy)));
  EXPECT_TRUE(said(Judged(InterfaceKind::kBt).write(bt::kCtrl, bt::kB2hAtn, bt::kB2hAtn)));
  EXPECT_TRUE(said(Judged(InterfaceKind::kBt).bmc(bt::kCtrl, bt::kHBusy, bt::kHBusy)));
  EXPECT_TRUE(said(Judged(InterfaceKind::kBt).bmc(bt::kCtrl, bt::kH2bAtn, bt::kH2bAtn)));
  EXPECT_FALSE(said(Judged(InterfaceKind::kBt).bmc(bt::kCtrl, bt::kSmsAtn, bt::kSmsAtn).write(bt::kCtrl, bt::kSmsAtn, 0)));
  EXPECT_TRUE(said(Judged(InterfaceKind::kKcs).bmc(kcs::kStatus, kcs::kIbf, kcs::kIbf)));
  EXPECT_TRUE(said(Judged(InterfaceKind::kKcs).read(kcs::kStatus, 0, 0).write(kcs::kCommand, 0x61, 0x40 | kcs::kIbf)));
  EXPECT_TRUE(said(Judged(InterfaceKind::kSmic).bmc(smic::kFlags, smic::kBusy, smic::kBusy)));
  // Who was lied to may do anything.
  EXPECT_FALSE(said(Judged(InterfaceKind::kBt).lost(bt::kCtrl, bt::kH2bAtn, 0).write(bt::kCtrl, bt::kBBusy, bt::kBBusy)));
}

// ---- what a story can see -------------------------------------------------------------------------------------------

std::string told(const std::string& interface, const std::string& steps, const std::string& profile = "hardened") {
  const std::string text = "name: a\ntitle: b\nsource: c\nwas: d\nsteady: true\ninterface: " + interface + "\ndo: " + steps +
                           "\nprofiles: {" + profile + (profile == "hardened" ? "" : ": leak, hardened") + ": survives}\n";
  auto data = parse_story(text, "story");
  EXPECT_TRUE(data) << (data ? "" : data.error().message);
  if (!data) return "?";
  Tame director;
  return make_exhibit(*std::move(data))->run(profile, director, {}).oracle;
}

TEST(Oracles, SeeAttentionThatNobodyServes) {
  EXPECT_EQ(told("bt", "[bring_up, {users: 1}, receive_commands, {commands: 1}, attention_served]"), "");
  EXPECT_EQ(told("bt", "[bring_up, {users: 1}, receive_commands, {fault: 'interrupt=lose'}, {commands: 1}, attention_served]"),
            "attention-lost");
}

TEST(Oracles, SeeAMachineThatIsNotIdleWhereItShouldBe) {
  const std::string w3 = "[bring_up, {users: 1}, receive_commands, {fault: 'hold=ibf duration=7s'}, {sleep: 6s}, send, settle]";
  EXPECT_EQ(told("kcs\ninterrupts: false", w3), "");
  EXPECT_EQ(told("kcs\ninterrupts: false", w3, "hardened-kcs_idle_ibf_is_not_error"), "invariant");
}

TEST(Oracles, SeeAnInterfaceThatDoesNotRecover) {
  EXPECT_EQ(told("bt", "[bring_up, {fault: 'cc=c0 netfn=0x30 count=5'}, {recovers: 60s}]"), "");
  EXPECT_EQ(told("bt", "[bring_up, {fault: 'cc=c0 netfn=0x30'}, {recovers: 60s}]"), "no-recovery");
}

TEST(Oracles, SeeAPanicThatIsNotToldOrHasNoEnd) {
  EXPECT_EQ(told("bt", "[bring_up, panic]"), "");
  EXPECT_EQ(told("bt\nends_within: 10min", "[bring_up, {fault: 'drop=request netfn=4'}, panic]"), "panic-lost");
  EXPECT_EQ(told("bt\nends_within: 10min", "[bring_up, {fault: 'hold=b_busy'}, {panic: {may_be_lost: true}}]"), "");
  EXPECT_EQ(told("bt\nends_within: 10min", "[bring_up, {fault: 'hold=b_busy'}, {panic: {may_be_lost: true}}]", "hardened+mh_unbounded_panic_waits"),
            "panic-unbounded");
}

// ---- every flag ------------------------------------------------------------------------------------------------------

// A flag without a story is behaviour that nobody has shown to be wrong.
TEST(Flags, EachIsShownByAnExhibitThatFailsForIt) {
  std::set<std::string> shown;
  for (const Exhibit* e : exhibits()) {
    for (const Expectation& x : e->expectations()) {
      if (x.oracle.empty()) continue;
      const auto profile = state_machine::profile_with(x.profile);
      if (!profile) continue;  // the end points' variants
      for (const state_machine::ProfileFlag& f : state_machine::profile_flags()) {
        const std::string name(f.name);
        for (const char* sign : {"+", "-"}) {
          const size_t at = x.profile.find(sign + name);
          const size_t end = at + 1 + name.size();
          const bool whole = at != std::string::npos && (end == x.profile.size() || std::string_view("+-").find(x.profile[end]) != std::string_view::npos);
          if (whole && (*profile).*f.member != state_machine::hardened().*f.member) shown.insert(name);
        }
      }
    }
  }
  // These fail together with others only: the patch of 2015 as it was proposed, and a machine that two contexts drive.
  for (const char* together : {"si_waiting_cleared_after_start", "mh_panic_resends", "si_panic_ignores_owner"}) {
    shown.insert(together);
  }
  for (const state_machine::ProfileFlag& f : state_machine::profile_flags()) {
    EXPECT_TRUE(shown.contains(std::string(f.name))) << f.name << ": no story fails under a profile that names it";
  }
}

}  // namespace
}  // namespace bmcpair::scenarios
