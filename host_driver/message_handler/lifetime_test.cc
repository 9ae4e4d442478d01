// Coming, going, and everybody who holds on meanwhile: seeds 0, 2 and 4 (reference E.11, E.12, H.2, I.1, I.2).
#include <gtest/gtest.h>

#include <algorithm>

#include "host_driver/message_handler/fake_smi.h"

namespace bmcpair::host::inline BMCPAIR_RT {
namespace {

const Address kBmc = SystemInterfaceAddress{};
const Address kSatellite = IpmbAddress{0, 0x72, 0, false};

std::optional<Bytes> silent(ByteView) { return std::nullopt; }

// ---- registration
// ------------------------------------------------------------------------------------------------------

// I.2 schedule (a)
TEST(Registration, AfterAFailedStartNothingMoreIsCalled) {
  MessageHandler handler(manual());
  auto smi = std::make_shared<FakeSmi>();
  smi->start_status = Error{ErrorCode::kUnavailable, "nobody there"};
  auto result = handler.register_smi(smi);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error(), smi->start_status.error());
  EXPECT_EQ(smi->shutdowns, 0);
  EXPECT_EQ(smi->sent_count(), 0u);
  EXPECT_FALSE(handler.tick(kSecond));
  smi->start_status = {};
  EXPECT_EQ(handler.register_smi(smi).value(), 0);  // I2-3
  EXPECT_FALSE(handler.register_smi(nullptr));
}

// I0-5
TEST(Registration, TheLowestFreeNumberIsGivenAndTheListStaysSorted) {
  MessageHandler handler(manual());
  for (int i = 0; i < 5; ++i) EXPECT_EQ(handler.register_smi(std::make_shared<FakeSmi>()).value(), i);
  EXPECT_TRUE(handler.unregister_smi(1));
  EXPECT_TRUE(handler.unregister_smi(3));
  EXPECT_EQ(handler.interfaces(), (std::vector<int>{0, 2, 4}));
  EXPECT_EQ(handler.register_smi(std::make_shared<FakeSmi>()).value(), 1);
  EXPECT_EQ(handler.register_smi(std::make_shared<FakeSmi>()).value(), 3);
  EXPECT_EQ(handler.register_smi(std::make_shared<FakeSmi>()).value(), 5);
  EXPECT_EQ(handler.interfaces(), (std::vector<int>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(handler.unregister_smi(9).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(handler.unregister_smi(-1).error().code, ErrorCode::kNotFound);
}

// I0-6: invisible to everybody but the timer; a slow BMC holds up nobody else.
TEST(Registration, AnInterfaceBeingAskedIsInvisibleAndOthersComeUpMeanwhile) {
  MessageHandler handler(manual());
  auto slow = std::make_shared<FakeSmi>();
  slow->reply = [](ByteView r) { return r[1] == 0x01 ? std::nullopt : FakeSmi::usual(r); };
  std::vector<int> seen;
  handler.register_watcher({[&](int n) { seen.push_back(n); }, {}});
  Registering registering(handler, slow);
  ASSERT_TRUE(slow->wait_held(0x18, 0x01));
  EXPECT_TRUE(handler.interfaces().empty());
  EXPECT_EQ(handler.create_user(0, {}).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(handler.unregister_smi(0).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(handler.identity(0).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(handler.register_smi(std::make_shared<FakeSmi>()).value(), 1);
  EXPECT_EQ(handler.interfaces(), std::vector<int>{1});
  EXPECT_TRUE(handler.tick(kSecond));
  slow->let_answer(&FakeSmi::usual);
  slow->answer(device_id_reply());
  EXPECT_EQ(registering.wait().value(), 0);
  EXPECT_EQ(handler.interfaces(), (std::vector<int>{0, 1}));
  EXPECT_EQ(seen, (std::vector<int>{1, 0}));
}

TEST(Watchers, HearOfEachInterfaceOnceAndOfItsEnd) {
  MessageHandler handler(manual());
  ASSERT_TRUE(handler.register_smi(std::make_shared<FakeSmi>()));
  std::vector<std::string> heard;
  const uint64_t id = handler.register_watcher({[&](int n) { heard.push_back("+" + std::to_string(n)); },
                                                [&](int n) { heard.push_back("-" + std::to_string(n)); }});
  ASSERT_TRUE(handler.register_smi(std::make_shared<FakeSmi>()));
  ASSERT_TRUE(handler.unregister_smi(0));
  auto broken = std::make_shared<FakeSmi>();
  broken->refuse = [](ByteView) { return Status(Error{ErrorCode::kIo, "no"}); };
  EXPECT_FALSE(handler.register_smi(broken));
  handler.unregister_watcher(id);
  ASSERT_TRUE(handler.unregister_smi(1));
  EXPECT_EQ(heard, (std::vector<std::string>{"+0", "+1", "-0"}));
}

// A watcher opens what it is told of and closes what it is told has gone.
TEST(Watchers, MayOpenAndCloseUsers) {
  MessageHandler handler(manual());
  std::unique_ptr<User> user;
  Inbox inbox;
  handler.register_watcher(
      {[&](int n) { user = handler.create_user(n, inbox.handlers()).value(); }, [&](int) { user.reset(); }});
  ASSERT_TRUE(handler.register_smi(std::make_shared<FakeSmi>()));
  ASSERT_TRUE(user);
  ASSERT_TRUE(handler.unregister_smi(0));
  EXPECT_FALSE(user);
  EXPECT_EQ(inbox.shutdowns(), 1);
}

// ---- unregistration
// ----------------------------------------------------------------------------------------------------

// E.12, G-23, G-74: the layer below first, then what waits, then the users; nothing is left unanswered.
TEST(Unregistration, EverythingOutstandingIsAnsweredBeforeTheUserHearsOfTheEnd) {
  Rig rig;
  Inbox inbox;
  auto user = rig.open(inbox);
  ASSERT_TRUE(user->request(kSatellite, 10, request_of(6, 1)));
  rig.settle();
  rig.smi->let_answer(silent);
  ASSERT_TRUE(user->request(kBmc, 11, request_of(6, 0x50)));
  ASSERT_TRUE(user->request(kBmc, 12, request_of(6, 0x51)));
  ASSERT_TRUE(user->request(kSatellite, 13, request_of(6, 1)));
  ASSERT_TRUE(user->register_for_cmd(0x2e, 1));
  ASSERT_TRUE(user->set_gets_events(true));
  ASSERT_TRUE(rig.smi->wait_held(0x18, 0x50));
  ASSERT_TRUE(rig.handler.unregister_smi(0));
  std::vector<int64_t> ids;
  for (int i = 0; i < 4; ++i) {
    auto m = inbox.next();
    ASSERT_TRUE(m);
    ids.push_back(m->msgid);
    EXPECT_EQ(m->data, Bytes{0xff});
    EXPECT_TRUE(m->failed);
    EXPECT_EQ(m->failure, ErrorCode::kShutdown);
  }
  EXPECT_EQ(ids.front(), 11);  // what the layer below held comes first
  std::sort(ids.begin(), ids.end());
  EXPECT_EQ(ids, (std::vector<int64_t>{10, 11, 12, 13}));
  EXPECT_EQ(inbox.shutdowns(), 1);
  EXPECT_EQ(inbox.received(), 4u);
  EXPECT_EQ(rig.smi->shutdowns, 1);
  EXPECT_EQ(rig.smi->calls_after_shutdown, 0);
  // The user remains, and everything says so.
  EXPECT_EQ(user->outstanding_messages(), 0);
  EXPECT_EQ(user->request(kBmc, 0, request_of(6, 1)).error().code, ErrorCode::kShutdown);
  EXPECT_EQ(user->set_gets_events(true).error().code, ErrorCode::kShutdown);
  EXPECT_EQ(user->register_for_cmd(1, 1).error().code, ErrorCode::kShutdown);
  EXPECT_EQ(user->my_address(0).error().code, ErrorCode::kShutdown);
  EXPECT_EQ(user->maintenance_mode().error().code, ErrorCode::kShutdown);
  EXPECT_EQ(call(*user, kBmc, request_of(6, 1), soon()).error().code, ErrorCode::kShutdown);
  EXPECT_EQ(rig.handler.unregister_smi(0).error().code, ErrorCode::kNotFound);
  user.reset();
  EXPECT_EQ(inbox.shutdowns(), 1);
  EXPECT_FALSE(rig.handler.tick(kSecond));
}

// G-24
TEST(Unregistration, CanBeRefusedWhileThereAreUsers) {
  Rig rig;
  Inbox inbox;
  auto user = rig.open(inbox);
  EXPECT_EQ(rig.handler.unregister_smi(0, false).error().code, ErrorCode::kBusy);
  EXPECT_TRUE(call(*user, kBmc, request_of(6, 1), soon()));
  user.reset();
  EXPECT_TRUE(rig.handler.unregister_smi(0, false));
}

TEST(Unregistration, ALayerBelowThatKeepsItsMessageDoesNotKeepItsOwnerWaiting) {
  Rig rig;
  rig.smi->let_answer(silent);
  rig.smi->keep_at_shutdown = true;
  Inbox inbox;
  auto user = rig.open(inbox);
  ASSERT_TRUE(user->request(kBmc, 1, request_of(6, 0x50)));
  ASSERT_TRUE(rig.smi->wait_held(0x18, 0x50));
  SmiMessage* kept = rig.smi->held();
  ASSERT_TRUE(rig.handler.unregister_smi(0));
  auto m = inbox.next();
  ASSERT_TRUE(m);
  EXPECT_EQ(m->failure, ErrorCode::kShutdown);
  kept->done(kept);
}

// H4-6, S4-E: who waits for the peer hears at once.
TEST(Unregistration, EndsACallThatWaitsForThePeer) {
  for (const Address& to : {kBmc, kSatellite}) {
    Rig rig;
    if (to == kBmc) rig.smi->let_answer(silent);
    Inbox inbox;
    auto user = rig.open(inbox);
    rt::Thread waiter;
    waiter.start("waiter", [&] {
      auto answer = call(*user, to, request_of(6, 0x50), soon());
      EXPECT_FALSE(answer);
      EXPECT_EQ(answer.error().code, ErrorCode::kShutdown);
    });
    ASSERT_TRUE(rig.smi->wait_sent(rig.before + 1));
    ASSERT_TRUE(rig.handler.unregister_smi(0));
    waiter.join();
    EXPECT_EQ(user->outstanding_messages(), 0);
  }
}

TEST(Unregistration, OfTwoAtOnceOneDoesIt) {
  for (int round = 0; round < 20; ++round) {
    Rig rig;
    rt::Atomic<int> done{0};
    rt::Thread a, b;
    for (rt::Thread* t : {&a, &b}) {
      t->start("unregister", [&] {
        if (rig.handler.unregister_smi(0)) done.fetch_add(1, std::memory_order_relaxed);
      });
    }
    a.join();
    b.join();
    EXPECT_EQ(done.load(std::memory_order_relaxed), 1);
    EXPECT_EQ(rig.smi->shutdowns, 1);
  }
}

TEST(Unregistration, AUserMayDoItFromItsOwnCallback) {
  Rig rig;
  Inbox inbox;
  auto user = rig.open(inbox);
  inbox.on_receive = [&](const RecvMessage&) { EXPECT_TRUE(rig.handler.unregister_smi(0)); };
  ASSERT_TRUE(user->request(kBmc, 1, request_of(6, 1)));
  ASSERT_TRUE(inbox.wait_received(1));
  EXPECT_TRUE(rig.handler.interfaces().empty());
  user.reset();
  EXPECT_EQ(inbox.shutdowns(), 1);
}

TEST(Unregistration, UsersMayOutliveTheHandler) {
  Inbox inbox;
  std::unique_ptr<User> user;
  std::optional<RecvMessage> kept;
  {
    Rig rig;
    user = rig.open(inbox);
    ASSERT_TRUE(user->request(kBmc, 1, request_of(6, 1)));
    kept = inbox.next();
  }
  EXPECT_EQ(inbox.shutdowns(), 1);
  EXPECT_EQ(user->request(kBmc, 1, request_of(6, 1)).error().code, ErrorCode::kShutdown);
  EXPECT_EQ(user->outstanding_messages(), 1);
  user.reset();
  kept.reset();  // the last reference to the interface (G-25)
}

// ---- the end of a user
// -------------------------------------------------------------------------------------------------

// S4-F: no deadlock with itself; what is left of the user lives until its callback returns (G-26, G-31).
TEST(UserEnd, MayComeFromItsOwnCallback) {
  Rig rig;
  Inbox inbox;
  auto user = rig.open(inbox);
  inbox.on_receive = [&](const RecvMessage&) { user.reset(); };
  ASSERT_TRUE(user->request(kBmc, 1, request_of(6, 1)));
  ASSERT_TRUE(inbox.wait_received(1));
  while (inbox.shutdowns() == 0) rt::cpu_relax(std::chrono::microseconds(50));
  EXPECT_EQ(rig.handler.describe(0)->users, 0);
}

TEST(UserEnd, WaitsForItsRunningCallbackAndNoneFollows) {
  Rig rig;
  Inbox inbox;
  auto user = rig.open(inbox);
  rt::Mutex m;
  rt::WaitQueue changed;
  bool inside = false, go_on = false, ended = false;
  inbox.on_receive = [&](const RecvMessage&) {
    rt::UniqueLock lock(m);
    inside = true;
    changed.wake_all();
    changed.wait(lock, [&] { return go_on; });
    EXPECT_FALSE(ended);
  };
  ASSERT_TRUE(user->request(kBmc, 1, request_of(6, 1)));
  ASSERT_TRUE(user->request(kBmc, 2, request_of(6, 1)));
  {
    rt::UniqueLock lock(m);
    ASSERT_TRUE(changed.wait_until(lock, soon(), [&] { return inside; }));
  }
  rt::Thread ender;
  ender.start("ender", [&] {
    user.reset();
    rt::LockGuard lock(m);
    ended = true;
  });
  // Somebody else's messages are not held up by it (per-user delivery).
  rig.settle();
  while (rig.handler.describe(0)->users > 0) rt::cpu_relax(std::chrono::microseconds(50));
  {
    rt::LockGuard lock(m);
    go_on = true;
    changed.wake_all();
  }
  ender.join();
  EXPECT_EQ(inbox.received(), 1u);
  EXPECT_EQ(inbox.shutdowns(), 1);
}

// H4-6, G-74: its requests die with it, the answers find nobody, the slots are free again.
TEST(UserEnd, ForgetsItsRequestsAtOnce) {
  Rig rig;
  Inbox a, b;
  auto user = rig.open(a);
  auto other = rig.open(b);
  for (int i = 0; i < 64; ++i) ASSERT_TRUE(user->request(kSatellite, i, request_of(6, 1)));
  EXPECT_FALSE(other->request(kSatellite, 0, request_of(6, 1)));
  user.reset();
  for (int i = 0; i < 64; ++i) ASSERT_TRUE(other->request(kSatellite, i, request_of(6, 1)));
  rig.settle();
  EXPECT_EQ(a.received(), 0u);
  other.reset();
  EXPECT_EQ(rig.smi->last_watch(), 0u);
  rig.smi->let_answer(silent);
  auto third = rig.open(a);
  ASSERT_TRUE(third->request(kBmc, 0, request_of(6, 0x50)));
  ASSERT_TRUE(rig.smi->wait_held(0x18, 0x50));
  third.reset();
  rig.smi->let_answer(&FakeSmi::usual);
  rig.smi->answer({0});
  rig.settle();
  EXPECT_EQ(a.received(), 0u);
  EXPECT_EQ(rig.stat(Statistic::kUnhandledLocalResponses), 1u);
}

// S4-A, H4-1, H4-2: requests against the end of their user and of the interface. Whatever the order, each accepted
// request is answered or forgotten, and every count comes back.
TEST(Races, RequestsAgainstTheEndOfUserAndInterface) {
  for (int round = 0; round < 30; ++round) {
    Rig rig;
    Inbox inbox;
    auto user = rig.open(inbox);
    rt::Thread sender;
    sender.start("sender", [&] {
      for (;;) {
        Status s = user->request(kSatellite, 1, request_of(6, 1));
        if (!s && s.error().code == ErrorCode::kShutdown) return;
        s = user->request(kBmc, 2, request_of(6, 0x50));
        if (!s && s.error().code == ErrorCode::kShutdown) return;
      }
    });
    rt::cpu_relax(std::chrono::microseconds(20 * (round % 5)));
    ASSERT_TRUE(rig.handler.unregister_smi(0));
    sender.join();
    inbox.clear();
    EXPECT_EQ(user->outstanding_messages(), 0);
    EXPECT_EQ(rig.smi->calls_after_shutdown, 0);
    EXPECT_EQ(rig.smi->double_sends, 0);
    EXPECT_EQ(inbox.shutdowns(), 1);
  }
}

// S4-D: the same key asked for twice at once.
TEST(Races, OfTwoReceiversForOneCommandOneIsRegistered) {
  Rig rig;
  Inbox a, b;
  auto one = rig.open(a);
  auto two = rig.open(b);
  for (int round = 0; round < 50; ++round) {
    rt::Atomic<int> got{0};
    rt::Thread s, t;
    s.start("one", [&] { got.fetch_add(one->register_for_cmd(0x2e, 7, 0xff).ok(), std::memory_order_relaxed); });
    t.start("two", [&] { got.fetch_add(two->register_for_cmd(0x2e, 7, 0x80).ok(), std::memory_order_relaxed); });
    s.join();
    t.join();
    EXPECT_EQ(got.load(std::memory_order_relaxed), 1);
    EXPECT_NE(one->unregister_for_cmd(0x2e, 7).ok(), two->unregister_for_cmd(0x2e, 7).ok());
  }
  EXPECT_EQ(rig.smi->last_watch(), 0u);
}

// S4-B, S4-C: answer, timeout and the user's end all want the same entry; it is taken once, and its reference is its
// own.
TEST(Races, AnswerTimeoutAndEndOfUserTakeAnEntryOnce) {
  for (int round = 0; round < 30; ++round) {
    Rig rig;
    Inbox inbox;
    auto user = rig.open(inbox);
    RequestOptions once;
    once.retries = 0;
    for (int i = 0; i < 8; ++i) ASSERT_TRUE(user->request(kSatellite, i, request_of(6, 1), once));
    rig.settle();
    std::vector<Bytes> sends;
    for (const Bytes& s : rig.sent()) {
      if (s[1] == 0x34) sends.push_back(s);
    }
    rt::Thread answers, ticks;
    answers.start("answers", [&] {
      for (const Bytes& s : sends) {
        rig.smi->bring_message(
            {0x00, static_cast<uint8_t>(s[4] | 4), 0, 0x72, static_cast<uint8_t>(s[7] & 0xfc), s[8], 0, 0, 0});
      }
    });
    ticks.start("ticks", [&] { rig.handler.tick(3 * kSecond); });
    if (round % 2) user.reset();
    answers.join();
    ticks.join();
    rig.settle();
    if (user) {
      ASSERT_TRUE(inbox.wait_received(8));
    }
    inbox.clear();
    user.reset();
    EXPECT_LE(inbox.received(), 8u);
    EXPECT_EQ(rig.smi->last_watch(), 0u);
  }
}

// Seed 0: interfaces come and go while others open them, send, look and let time pass.
TEST(Races, InterfacesComeAndGoUnderTraversal) {
  auto options = manual();
  options.identity_max_age = Duration::zero();
  MessageHandler handler(options);
  rt::Atomic<bool> stop{false};
  rt::Atomic<int> watched{0};
  handler.register_watcher({[&](int) { watched.fetch_add(1, std::memory_order_relaxed); },
                            [&](int) { watched.fetch_sub(1, std::memory_order_relaxed); }});
  rt::Thread threads[5];
  for (int w = 0; w < 2; ++w) {
    threads[w].start("writer", [&] {
      for (int n = 0; n < 25; ++n) {
        auto smi = std::make_shared<FakeSmi>();
        auto number = handler.register_smi(smi);
        ASSERT_TRUE(number);
        ASSERT_TRUE(handler.unregister_smi(*number));
        EXPECT_EQ(smi->shutdowns, 1);
        EXPECT_EQ(smi->calls_after_shutdown, 0);
      }
    });
  }
  threads[2].start("opener", [&] {
    while (!stop.load(std::memory_order_acquire)) {
      for (int n : {0, 1}) {
        Inbox inbox;
        auto user = handler.create_user(n, inbox.handlers());
        if (!user) continue;
        auto answer = call(**user, kBmc, request_of(6, 0x50), soon());
        if (!answer) {
          EXPECT_EQ(answer.error().code, ErrorCode::kShutdown);
        }
        (void)(*user)->request(kSatellite, 0, request_of(6, 1));
        (void)(*user)->set_gets_events(true);
        (void)(*user)->register_for_cmd(0x2e, 1);
      }
    }
  });
  threads[3].start("looker", [&] {
    while (!stop.load(std::memory_order_acquire)) {
      auto numbers = handler.interfaces();
      EXPECT_TRUE(std::is_sorted(numbers.begin(), numbers.end()));
      EXPECT_TRUE(std::adjacent_find(numbers.begin(), numbers.end()) == numbers.end());
      for (int n : numbers) {
        if (auto d = handler.describe(n)) {
          EXPECT_EQ(d->smi.slave_address, 0x20);  // I0-4: never half made
        }
        (void)handler.statistics(n);
        (void)handler.channels(n);
      }
    }
  });
  threads[4].start("time", [&] {
    while (!stop.load(std::memory_order_acquire)) handler.tick(std::chrono::milliseconds(1));
  });
  threads[0].join();
  threads[1].join();
  stop.store(true, std::memory_order_release);
  for (int i = 2; i < 5; ++i) threads[i].join();
  EXPECT_TRUE(handler.interfaces().empty());
  EXPECT_EQ(watched.load(std::memory_order_relaxed), 0);
}

}  // namespace
}  // namespace bmcpair::host::inline BMCPAIR_RT
