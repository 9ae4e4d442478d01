// The message handler as it was: one flag of the profile at a time, and what it does to those above and below. What
// only a schedule shows, and what would hang this process, is in integration/scenarios.
#include <gtest/gtest.h>

#include <algorithm>

#include "host_driver/message_handler/fake_smi.h"
#include "host_driver/message_handler/interface.h"

namespace bmcpair::host::inline BMCPAIR_RT {
namespace {

using Held = std::optional<Bytes>;

const Address kSatellite = IpmbAddress{0, 0x72, 0, false};

// Hardened first, then with the flag.
std::vector<MessageHandlerOptions> both(bool Flags::*flag) { return {manual(), manual_but({flag})}; }
bool old(const MessageHandlerOptions& options) { return options.profile != nullptr; }

// G-02.
TEST(AsItWas, ANumberThatComesFirstShowsAnEmptyInterface) {
  for (auto& options : both(&Flags::mh_publish_number_first)) {
    MessageHandler handler(options);
    auto smi = std::make_shared<FakeSmi>();
    smi->smi_info.description = "the bus";
    bool seen = false;
    {
      TestHook hook([&](std::string_view name) {
        if (name != "mh.published") return false;
        seen = true;
        EXPECT_EQ(handler.describe(0).value().smi.description, "");
        return false;
      });
      ASSERT_EQ(handler.register_smi(smi).value(), 0);
    }
    EXPECT_EQ(seen, old(options));
    EXPECT_EQ(handler.describe(0).value().smi.description, "the bus");
  }
}

// G-17: 500 ms under a tick of 1 s.
TEST(AsItWas, UnsignedTimeNeverExpires) {
  for (bool unsigned_time : {false, true}) {
    detail::SequenceTable table(0, unsigned_time);
    auto ticket = table.reserve().value();
    auto pending = std::make_unique<detail::Pending>();
    pending->address = kSatellite;
    table.fill(ticket, std::move(pending), Bytes{1}, std::chrono::milliseconds(500), 0, false);
    ASSERT_TRUE(table.start_timer(ticket.msgid));
    std::vector<detail::SequenceTable::Expired> expired;
    std::vector<detail::SequenceTable::Retransmission> again;
    for (int i = 0; i < 100; ++i) table.age(kSecond, expired, again);
    EXPECT_EQ(expired.size(), unsigned_time ? 0u : 1u);
  }
}

// G-40.
TEST(AsItWas, DiscoveryWaitsForTheAnswerToWhatWasRefused) {
  for (auto& options : both(&Flags::mh_waits_though_send_failed)) {
    MessageHandler handler(options);
    auto smi = std::make_shared<FakeSmi>();
    smi->refuse = [](ByteView r) { return r[1] == 0x01 ? Status(Error{ErrorCode::kIo, "no"}) : Status(); };
    Registering registering(handler, smi);
    for (uint8_t cmd : {0x08, 0x01}) {
      while (smi->sent_matching(0x18, cmd) < 1) rt::cpu_relax(std::chrono::microseconds(50));
    }
    // Only the bound of the wait, which kernels do not have, ends it.
    if (old(options)) {
      for (int i = 0; i < 61; ++i) handler.tick(kSecond);
    }
    const Result<int> result = registering.wait();
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, old(options) ? ErrorCode::kTimeout : ErrorCode::kIo);
  }
}

// G-41: the GUID that was given up arrives in the next round, and everybody after it is one late.
TEST(AsItWas, ALateAnswerShiftsAllThatFollow) {
  for (auto& options : both(&Flags::mh_takes_stale_identity)) {
    options.identity_max_age = Duration::zero();
    Rig rig(options);
    rt::Atomic<int> asked{0};
    rig.smi->let_answer([&asked](ByteView r) -> Held {
      if (r[1] != 0x08) return FakeSmi::usual(r);
      if (asked.fetch_add(1, std::memory_order_relaxed) == 0) return std::nullopt;
      Bytes guid(17, 0xb0);
      guid[0] = 0;
      return guid;
    });
    rt::Thread first;
    first.start("first", [&] { EXPECT_FALSE(rig.handler.identity(0)->fresh); });
    ASSERT_TRUE(rig.smi->wait_held(0x18, 0x08));
    for (int i = 0; i < 61; ++i) rig.handler.tick(kSecond);
    first.join();
    rt::Thread second;
    Result<Identity> identity = Error{};
    rt::Atomic<bool> queued{false};
    TestHook hook([&queued](std::string_view name) {
      if (name == "mh.send.locked") queued.store(true, std::memory_order_release);
      return false;
    });
    second.start("second", [&] { identity = rig.handler.identity(0); });
    // What comes up from here on finds the second round's first request in the queue.
    while (!queued.load(std::memory_order_acquire)) rt::cpu_relax(std::chrono::microseconds(50));
    Bytes late(17, 0xa0);
    late[0] = 0;
    rig.smi->answer(late);
    second.join();
    ASSERT_TRUE(identity);
    EXPECT_EQ(identity->id.device_id, old(options) ? 0xb0 : 0x20);
  }
}

// G-49.
TEST(AsItWas, TheBmcsTakenGoesOnAsIfItWereTheAnswer) {
  for (auto& options : both(&Flags::mh_delivers_send_message_answer)) {
    Rig rig(options);
    Inbox inbox;
    auto user = rig.open(inbox);
    ASSERT_TRUE(user->request(kSatellite, 7, request_of(6, 1)));
    rig.settle();
    if (old(options)) {
      ASSERT_TRUE(inbox.wait_received(1));
    }
    EXPECT_EQ(inbox.received(), old(options) ? 1u : 0u);
  }
}

// G-57.
TEST(AsItWas, AFailedFanOutGivesBackTwice) {
  for (auto& options : both(&Flags::mh_event_rollback_twice)) {
    Rig rig(options);
    Inbox one, two;
    auto first = rig.open(one);
    auto second = rig.open(two);
    ASSERT_TRUE(first->set_gets_events(true));
    ASSERT_TRUE(second->set_gets_events(true));
    {
      int copies = 0;
      rt::Atomic<bool> failed{false};
      TestHook hook([&](std::string_view name) {
        if (name != "mh.event.copy" || ++copies != 2) return false;
        failed.store(true, std::memory_order_release);
        return true;
      });
      rig.smi->bring_event(0x44);
      // What comes up from here on makes the retry; what was there already would wait for a tick with it.
      while (!failed.load(std::memory_order_acquire)) rt::cpu_relax(std::chrono::microseconds(50));
      rig.settle();
    }
    ASSERT_TRUE(one.wait_received(1));
    ASSERT_TRUE(two.wait_received(1));
    // One of the two came first in the list and was copied before the failure.
    const int all = first->outstanding_messages() + second->outstanding_messages();
    EXPECT_EQ(all, old(options) ? 1 : 2);
  }
}

// G-61.
TEST(AsItWas, NobodyLetsTheTimeOfAResetPass) {
  for (auto& options : both(&Flags::mh_maintenance_without_tick)) {
    Rig rig(options);
    Inbox inbox;
    auto user = rig.open(inbox);
    while (rig.handler.tick(Duration::zero())) rt::cpu_relax(std::chrono::microseconds(50));
    ASSERT_TRUE(user->request(SystemInterfaceAddress{}, 1, request_of(6, 2)));
    EXPECT_EQ(user->request(SystemInterfaceAddress{}, 2, request_of(6, 0x3a)).error().code, ErrorCode::kBusy);
    EXPECT_EQ(rig.handler.tick_wanted(), !old(options));
  }
}

// G-67.
TEST(AsItWas, AfterARefusalNothingIsSentAnyMore) {
  for (auto& options : both(&Flags::mh_sender_error_keeps_current)) {
    Rig rig(options);
    Inbox inbox;
    auto user = rig.open(inbox);
    rig.smi->refuse = [](ByteView) { return Status(Error{ErrorCode::kHosed, "hosed"}); };
    ASSERT_TRUE(user->request(SystemInterfaceAddress{}, 1, request_of(6, 0x50)));
    auto refused = inbox.next();
    ASSERT_TRUE(refused);
    EXPECT_EQ(refused->failure, ErrorCode::kHosed);
    rig.smi->refuse = nullptr;
    ASSERT_TRUE(user->request(SystemInterfaceAddress{}, 2, request_of(6, 0x51)));
    ASSERT_TRUE(rig.handler.unregister_smi(0));
    auto second = inbox.next();
    ASSERT_TRUE(second);
    EXPECT_EQ(rig.smi->sent_matching(0x18, 0x51), old(options) ? 0u : 1u);
    if (old(options)) {
      EXPECT_EQ(second->failure, ErrorCode::kShutdown);
    }
  }
}

Held updated(ByteView r) {
  if (r[0] == 0x18 && r[1] == 0x01) return device_id_reply(0, 1, 0x11);
  if (r[1] == 0x42) return r[2] == 6 ? Bytes{0, 6, 1, 1} : Bytes{0xcc};
  return FakeSmi::usual(r);
}

// G-69.
TEST(AsItWas, NewFirmwareKeepsTheOldChannels) {
  for (auto& options : both(&Flags::mh_channels_never_rescanned)) {
    options.identity_max_age = Duration::zero();
    Rig rig(options);
    rig.smi->let_answer(&updated);
    EXPECT_EQ(rig.handler.identity(0)->id.firmware_major, 0x11);
    const auto channels = rig.handler.channels(0).value();
    EXPECT_EQ(channels[6].medium, old(options) ? 0 : kMediumIpmb);
    EXPECT_EQ(channels[0].medium, old(options) ? kMediumIpmb : 0);
  }
}

// G-68.
TEST(AsItWas, ARescanIsReadyWithItsFirstAnswer) {
  auto options = manual_but({&Flags::mh_channels_ready_early});
  options.identity_max_age = Duration::zero();
  Rig rig(options);
  rig.smi->let_answer([](ByteView r) -> Held {
    if (r[1] == 0x42 && r[2] == 3) return std::nullopt;  // the waiter is not waited for
    return updated(r);
  });
  EXPECT_EQ(rig.handler.identity(0)->id.firmware_major, 0x11);
  const auto channels = rig.handler.channels(0).value();
  EXPECT_TRUE(std::all_of(channels.begin(), channels.end(), [](const Channel& c) { return c.medium == 0; }));
}

// G-74, E.12.
TEST(AsItWas, AUserHearsAfterItsEnd) {
  for (auto& options : both(&Flags::mh_answers_dead_users)) {
    Rig rig(options);
    Inbox inbox;
    auto user = rig.open(inbox);
    rt::Atomic<int> ended_before{-1};
    inbox.on_receive = [&](const RecvMessage&) {
      ended_before.store(inbox.shutdowns(), std::memory_order_relaxed);
    };
    rig.smi->let_answer([](ByteView) -> Held { return std::nullopt; });
    ASSERT_TRUE(user->request(SystemInterfaceAddress{}, 1, request_of(6, 0x50)));
    ASSERT_TRUE(rig.smi->wait_held(0x18, 0x50));
    ASSERT_TRUE(rig.handler.unregister_smi(0));
    ASSERT_TRUE(inbox.wait_received(1));
    EXPECT_EQ(inbox.shutdowns(), 1);
    EXPECT_EQ(ended_before.load(std::memory_order_relaxed), old(options) ? 1 : 0);
  }
}

// G-82.
TEST(AsItWas, TheEndOfAUserLeavesItsCommandWatch) {
  for (auto& options : both(&Flags::mh_user_end_keeps_command_watch)) {
    Rig rig(options);
    Inbox inbox;
    auto user = rig.open(inbox);
    ASSERT_TRUE(user->register_for_cmd(0x2e, 1));
    EXPECT_EQ(rig.smi->last_watch(), 4u);
    user.reset();
    EXPECT_EQ(rig.smi->last_watch(), old(options) ? 4u : 0u);
  }
}

// skiboot#6.
TEST(AsItWas, AnAnswerThatDoesNotFitIsBelieved) {
  for (auto& options : both(&Flags::mh_believes_any_answer)) {
    Rig rig(options);
    Inbox inbox;
    auto user = rig.open(inbox);
    rig.smi->rewrite = [](SmiMessage& m) { m.rsp[0] = m.data[0]; };
    ASSERT_TRUE(user->request(SystemInterfaceAddress{}, 1, request_of(6, 0x50)));
    auto answer = inbox.next();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->netfn, old(options) ? 6 : 7);
    EXPECT_EQ(answer->failed, !old(options));
  }
}

// I.2: the layer below is told nothing, and then cleans up what is gone.
TEST(AsItWas, AFailedRegistrationIsCleanedUpByBoth) {
  MessageHandler handler(
      manual_but({&Flags::mh_failed_registration_cleans_twice, &Flags::mh_retry_identity_on_any_cc}));
  auto smi = std::make_shared<FakeSmi>();
  smi->reply = [](ByteView r) -> Held { return r[1] == 0x01 ? Bytes{0xd5} : *FakeSmi::usual(r); };
  EXPECT_EQ(handler.register_smi(smi).error().code, ErrorCode::kIo);
  EXPECT_EQ(smi->shutdowns, 0);
  EXPECT_DEATH(handler.unregister_failed(*smi), "unlinked twice");
  EXPECT_DEATH(smi->bring_event(1), "whose registration had failed");
}

// G-21, as it is: nothing to clean.
TEST(AsItIs, AFailedRegistrationLeavesNothingToCleanUp) {
  MessageHandler handler(manual_but({&Flags::mh_retry_identity_on_any_cc}));
  auto smi = std::make_shared<FakeSmi>();
  smi->reply = [](ByteView r) -> Held { return r[1] == 0x01 ? Bytes{0xd5} : *FakeSmi::usual(r); };
  EXPECT_EQ(handler.register_smi(smi).error().code, ErrorCode::kIo);
  EXPECT_EQ(smi->shutdowns, 1);
  handler.unregister_failed(*smi);
}

// ---- no memory ----

TEST(WithoutMemory, EachCallerHearsOfIt) {
  Rig rig;
  Inbox inbox;
  auto user = rig.open(inbox);
  {
    TestHook hook([](std::string_view name) { return name.substr(0, 12) == "mh.allocate."; });
    EXPECT_EQ(user->request(SystemInterfaceAddress{}, 1, request_of(6, 1)).error().code, ErrorCode::kUnavailable);
    EXPECT_EQ(user->request(kSatellite, 1, request_of(6, 1)).error().code, ErrorCode::kUnavailable);
    EXPECT_EQ(user->register_for_cmd(0x2e, 1).error().code, ErrorCode::kUnavailable);
    EXPECT_EQ(rig.handler.create_user(0, {}).error().code, ErrorCode::kUnavailable);
    EXPECT_EQ(rig.handler.register_smi(std::make_shared<FakeSmi>()).error().code, ErrorCode::kUnavailable);
  }
  EXPECT_EQ(user->outstanding_messages(), 0);
  EXPECT_EQ(rig.handler.describe(0)->users, 1);
  EXPECT_EQ(rig.smi->last_watch(), 0u);
  ASSERT_TRUE(user->request(kSatellite, 1, request_of(6, 1)));
  ASSERT_TRUE(user->register_for_cmd(0x2e, 1));
  EXPECT_EQ(rig.handler.register_smi(std::make_shared<FakeSmi>()).value(), 1);
}

TEST(WithoutMemory, ARegistrationFailsAndCanBeDoneAgain) {
  for (int nth = 1; nth <= 3; ++nth) {
    MessageHandler handler(manual());
    auto smi = std::make_shared<FakeSmi>();
    {
      int n = 0;
      TestHook hook([&n, nth](std::string_view name) { return name == "mh.allocate.message" && ++n == nth; });
      EXPECT_EQ(handler.register_smi(smi).error().code, ErrorCode::kUnavailable);
    }
    EXPECT_EQ(smi->shutdowns, 1);
    EXPECT_EQ(smi->calls_after_shutdown, 0);
    EXPECT_EQ(handler.register_smi(std::make_shared<FakeSmi>()).value(), 0);
  }
}

}  // namespace
}  // namespace bmcpair::host::inline BMCPAIR_RT
