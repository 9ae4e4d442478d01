// Seed 1: a context dies somewhere in the send path, and the panic's own messages must still go out (reference E.13).
#include <gtest/gtest.h>

#include <algorithm>

#include "host_driver/message_handler/fake_smi.h"

namespace bmcpair::host::inline BMCPAIR_RT {
namespace {

enum class Window { kNone, kBeforeStored, kStored, kTaken, kStarted, kReceived, kSendLocked, kReceiveLocked };

// A place where a thread stops for as long as the test likes.
class Park {
 public:
  void stop_here() {
    rt::UniqueLock lock(m_);
    arrived_ = true;
    changed_.wake_all();
    changed_.wait(lock, [&] { return released_; });
  }
  bool wait_arrived() {
    rt::UniqueLock lock(m_);
    return changed_.wait_until(lock, soon(), [&] { return arrived_; });
  }
  void release() {
    rt::LockGuard lock(m_);
    released_ = true;
    changed_.wake_all();
  }

 private:
  rt::Mutex m_;
  rt::WaitQueue changed_;
  bool arrived_ = false;
  bool released_ = false;
};

// The lower layer of the discussion: a waiting slot, a current slot, a machine; each store a place to die.
class WindowSmi : public FakeSmi {
 public:
  Window window = Window::kNone;
  Park park;
  bool mute = false;  // in the panic: the BMC says nothing any more
  bool refuse_all = false;
  unsigned panic_sends = 0;
  std::vector<SmiMessage*> given;  // to us, and not back yet, wherever the panic has left it

  Status sender(SmiMessage* message) override {
    if (run_to_completion) {
      // As in the panic: only stored, the flush does the rest.
      ++panic_sends;
      if (refuse_all) return Error{ErrorCode::kHosed, "hosed"};
      sent.emplace_back(message->data, message->data + message->data_size);
      given.push_back(message);
      lower_waiting_ = message;
      return {};
    }
    if (window == Window::kNone || window >= Window::kReceived) return FakeSmi::sender(message);
    given.push_back(message);
    sent.emplace_back(message->data, message->data + message->data_size);
    if (window == Window::kBeforeStored) park.stop_here();
    lower_waiting_ = message;
    if (window == Window::kStored) park.stop_here();
    lower_current_ = std::exchange(lower_waiting_, nullptr);
    if (window == Window::kTaken) park.stop_here();
    started_ = true;
    park.stop_here();
    return {};
  }
  bool holds_message() const override { return lower_waiting_ || (lower_current_ && started_); }
  void flush_messages() override {
    ++flushes;
    if (lower_current_ && !started_) lower_current_ = nullptr;  // the next idle pass discards it
    if (!lower_current_ && lower_waiting_) {
      lower_current_ = std::exchange(lower_waiting_, nullptr);
      started_ = true;
    }
    if (!lower_current_ || mute) return;
    SmiMessage* m = std::exchange(lower_current_, nullptr);
    started_ = false;
    std::erase(given, m);
    give(m, *reply(ByteView(m->data, m->data_size)));
  }
  void shutdown() override {
    for (SmiMessage* m : std::exchange(given, {})) give(m, {0xff});
    FakeSmi::shutdown();
  }
  void poll() override { ++polls; }
  unsigned flushes = 0;

 private:
  SmiMessage* lower_waiting_ = nullptr;
  SmiMessage* lower_current_ = nullptr;
  bool started_ = false;
};

struct PanicRig {
  explicit PanicRig(MessageHandlerOptions options = bounded()) : handler(std::move(options)) {
    smi = std::make_shared<WindowSmi>();
    number = handler.register_smi(smi).value();
    handler.tick(Duration::zero());
    user = handler.create_user(number, inbox.handlers()).value();
    smi->sent.clear();
  }
  ~PanicRig() { finish(); }
  static MessageHandlerOptions bounded() {
    auto o = manual();
    o.panic_polls_max = 200;
    return o;
  }
  // Panics, in this thread. Afterwards the runtime's workers go on, for the sake of the test; who is parked stays so.
  PanicReport panic(std::string_view reason = "out of cheese") {
    rt::Cpu cpu;
    const PanicReport report = handler.panic(reason);
    rt::end_panic_for_test();
    return report;
  }
  // Lets the stopped go on, as if there had been no panic; they must do no harm.
  void finish() {
    smi->park.release();
    if (thread.joinable()) thread.join();
  }
  size_t platform_events() const {
    return static_cast<size_t>(
        std::count_if(smi->sent.begin(), smi->sent.end(), [](const Bytes& b) { return b[0] == 0x10 && b[1] == 0x02; }));
  }

  MessageHandler handler;
  std::shared_ptr<WindowSmi> smi;
  int number = 0;
  Inbox inbox;
  std::unique_ptr<User> user;
  rt::Thread thread;
};

TEST(PanicEvents, SayWhatHappenedAndThenTheWholeString) {
  PanicRig rig;
  const PanicReport report = rig.panic("Fatal exception in interrupt");  // 28 characters: 3 records
  EXPECT_EQ(report.interfaces, 1u);
  EXPECT_EQ(report.sent, 4u);
  EXPECT_EQ(report.lost, 0u);
  ASSERT_EQ(rig.smi->sent.size(), 6u);
  EXPECT_EQ(rig.smi->sent[0], (Bytes{0x10, 0x02, 0x41, 0x03, 0x20, 'F', 0x6f, 0xa1, 'a', 't'}));
  EXPECT_EQ(rig.smi->sent[1], (Bytes{0x18, 0x01}));
  EXPECT_EQ(rig.smi->sent[2], (Bytes{0x10, 0x01}));
  EXPECT_EQ(rig.smi->sent[3],
            (Bytes{0x28, 0x44, 0, 0, 0xf0, 0x20, 0, 'F', 'a', 't', 'a', 'l', ' ', 'e', 'x', 'c', 'e', 'p'}));
  EXPECT_EQ(rig.smi->sent[5], (Bytes{0x28, 0x44, 0, 0, 0xf0, 0x20, 2, 'e', 'r', 'r', 'u', 'p', 't', 0, 0, 0, 0, 0}));
  EXPECT_TRUE(rig.smi->run_to_completion);
}

TEST(PanicEvents, GoToTheEventReceiverWhereThereIsOne) {
  PanicRig rig;
  rig.smi->reply = [](ByteView r) -> std::optional<Bytes> {
    if (r[0] == 0x10 && r[1] == 0x01) return Bytes{0, 0x72, 0x01};
    return FakeSmi::usual(r);
  };
  EXPECT_EQ(rig.panic("abc").sent, 2u);
  const Bytes& send = rig.smi->sent.back();
  EXPECT_EQ(Bytes(send.begin(), send.begin() + 5), (Bytes{0x18, 0x34, 0x00, 0x72, 0x29}));
  EXPECT_EQ(send[8], 0x44);
  EXPECT_EQ(send[14], 'a');
}

TEST(PanicEvents, AreFewerWhenAskedFor) {
  auto options = PanicRig::bounded();
  options.panic_events = PanicEvents::kNone;
  {
    PanicRig rig(options);
    EXPECT_EQ(rig.panic().sent, 0u);
    EXPECT_TRUE(rig.smi->sent.empty());
  }
  options.panic_events = PanicEvents::kEvent;
  PanicRig rig(options);
  EXPECT_EQ(rig.panic().sent, 1u);
  EXPECT_EQ(rig.smi->sent.size(), 1u);
}

TEST(PanicEvents, AreSentOnce) {
  PanicRig rig;
  EXPECT_EQ(rig.panic().interfaces, 1u);
  EXPECT_EQ(rig.panic("again").interfaces, 0u);
  EXPECT_EQ(rig.platform_events(), 1u);
}

TEST(PanicEvents, AVeryLongStringIsCutAtItsBound) {
  PanicRig rig;
  EXPECT_EQ(rig.panic(std::string(5000, 'x')).sent, 1u + kPanicRecordsMax);
}

// Windows (1)..(5) and beyond: the event goes out, once; nobody's callback runs; the waits are few.
class PanicWindows : public testing::TestWithParam<Window> {};

TEST_P(PanicWindows, ThePanicEventGoesOutWhereverTheOtherContextStopped) {
  const Window window = GetParam();
  PanicRig rig;
  WindowSmi& smi = *rig.smi;
  std::unique_ptr<TestHook> hook;
  const char* at = window == Window::kReceived        ? "mh.received.queued"
                   : window == Window::kReceiveLocked ? "mh.received.locked"
                   : window == Window::kSendLocked    ? "mh.send.locked"
                                                      : nullptr;
  rt::Atomic<bool> once{false};
  if (at) {
    hook = std::make_unique<TestHook>([&, at](std::string_view name) {
      if (name == at && !once.exchange(true, std::memory_order_acq_rel)) smi.park.stop_here();
      return false;
    });
  }
  smi.window = window;
  rig.thread.start("victim", [&] { (void)rig.user->request(SystemInterfaceAddress{}, 1, request_of(6, 0x50)); });
  ASSERT_TRUE(smi.park.wait_arrived());
  const PanicReport report = rig.panic();
  EXPECT_EQ(report.sent, 3u);
  EXPECT_EQ(report.lost, 0u);
  EXPECT_EQ(rig.platform_events(), 1u);
  EXPECT_LE(std::count_if(smi.sent.begin(), smi.sent.end(), [](const Bytes& b) { return b[1] == 0x50; }), 1);
  EXPECT_EQ(rig.inbox.received(), 0u);
  EXPECT_EQ(smi.polls, 0u);
  rig.finish();
}

INSTANTIATE_TEST_SUITE_P(All, PanicWindows,
                         testing::Values(Window::kBeforeStored, Window::kStored, Window::kTaken, Window::kStarted,
                                         Window::kReceived, Window::kSendLocked, Window::kReceiveLocked));

// G-11: what 6.1 does, but with a bound: the event is queued behind a message that nobody has.
TEST(Panic, InTheOldProfileAMessageNobodyHasBlocksTheEvents) {
  auto options = PanicRig::bounded();
  options.profile = hardened_but({&Flags::mh_clear_current_on_panic});
  PanicRig rig(options);
  rig.smi->window = Window::kBeforeStored;
  rig.thread.start("victim", [&] { (void)rig.user->request(SystemInterfaceAddress{}, 1, request_of(6, 0x50)); });
  ASSERT_TRUE(rig.smi->park.wait_arrived());
  const PanicReport report = rig.panic();
  EXPECT_EQ(report.sent, 0u);
  EXPECT_EQ(report.lost, 1u);
  EXPECT_EQ(rig.platform_events(), 0u);
  EXPECT_LE(rig.smi->polls, 202u);
}

// G-80: the message that the layer below still has is not written again.
TEST(Panic, ASilentBmcEndsTheWaitWithinItsBoundAndTheMessageIsNotReused) {
  PanicRig rig;
  rig.smi->mute = true;
  const PanicReport report = rig.panic();
  EXPECT_EQ(report.sent, 0u);
  EXPECT_EQ(report.lost, 1u);
  EXPECT_EQ(rig.smi->panic_sends, 1u);
  EXPECT_LE(rig.smi->polls, 202u);
}

TEST(Panic, ATransactionThatDoesNotEndIsWaitedForWithinTheBound) {
  PanicRig rig;
  rig.smi->window = Window::kStarted;
  rig.smi->mute = true;
  rig.thread.start("victim", [&] { (void)rig.user->request(SystemInterfaceAddress{}, 1, request_of(6, 0x50)); });
  ASSERT_TRUE(rig.smi->park.wait_arrived());
  EXPECT_EQ(rig.panic().lost, 1u);
  EXPECT_EQ(rig.smi->panic_sends, 0u);
  EXPECT_LE(rig.smi->polls, 202u);
}

TEST(Panic, AnInterfaceThatRefusesIsNotAskedForEver) {
  PanicRig rig;
  rig.smi->refuse_all = true;
  const PanicReport report = rig.panic();
  EXPECT_EQ(report.sent, 0u);
  EXPECT_GE(report.lost, 1u);
  EXPECT_LE(rig.smi->panic_sends, 2u);
}

// G-35, G-36: answers of users are dropped, not delivered and not freed; what they had queued goes out afterwards.
TEST(Panic, QueuedRequestsFollowThePanicsOwn) {
  PanicRig rig;
  rig.smi->let_answer([](ByteView) -> std::optional<Bytes> { return std::nullopt; });
  ASSERT_TRUE(rig.user->request(SystemInterfaceAddress{}, 1, request_of(6, 0x50)));
  ASSERT_TRUE(rig.user->request(SystemInterfaceAddress{}, 2, request_of(6, 0x51)));
  ASSERT_TRUE(rig.smi->wait_held(0x18, 0x50));
  rig.smi->let_answer(&FakeSmi::usual);
  // The first is lost with the context that drove it: WindowSmi holds nothing of it in its panic slots.
  const PanicReport report = rig.panic("x");
  EXPECT_EQ(report.sent, 2u);
  ASSERT_FALSE(rig.smi->sent.empty());
  EXPECT_EQ(rig.smi->sent.back(), (Bytes{0x18, 0x51}));
  EXPECT_EQ(rig.inbox.received(), 0u);
}

size_t sent_of(const WindowSmi& smi, uint8_t cmd) {
  return static_cast<size_t>(
      std::count_if(smi.sent.begin(), smi.sent.end(), [cmd](const Bytes& b) { return b[1] == cmd; }));
}

// E.13, window (5): answered, and not yet cleared above. The answer is not waited for again, nor the request sent again.
TEST(Panic, WhatWasAnsweredBeforeCurrentWasClearedIsNotSentAgain) {
  auto options = PanicRig::bounded();
  PanicRig rig(options);
  rt::Atomic<bool> once{false};
  TestHook hook([&](std::string_view name) {
    if (name == "mh.received.queued" && !once.exchange(true, std::memory_order_acq_rel)) rig.smi->park.stop_here();
    return false;
  });
  ASSERT_TRUE(rig.user->request(SystemInterfaceAddress{}, 1, request_of(6, 0x50)));
  ASSERT_TRUE(rig.smi->park.wait_arrived());
  EXPECT_EQ(rig.panic().lost, 0u);
  EXPECT_EQ(sent_of(*rig.smi, 0x50), 1u);
  rig.finish();
}

// G-13.
TEST(Panic, InTheOldProfileAnAnswerRunsItsUsersCallback) {
  for (bool old : {false, true}) {
    auto options = PanicRig::bounded();
    if (old) options.profile = hardened_but({&Flags::mh_panic_calls_users});
    PanicRig rig(options);
    rig.smi->window = Window::kStarted;
    rig.thread.start("victim", [&] { (void)rig.user->request(SystemInterfaceAddress{}, 1, request_of(6, 0x50)); });
    ASSERT_TRUE(rig.smi->park.wait_arrived());
    rig.panic();
    EXPECT_EQ(rig.inbox.received(), old ? 1u : 0u);
    rig.finish();
  }
}

// G-80, as it was: one message, written again while the layer below still has it.
TEST(Panic, InTheOldProfileAMessageThatIsStillBelowIsWrittenAgain) {
  auto options = PanicRig::bounded();
  options.profile = hardened_but({&Flags::mh_reuses_panic_message});
  PanicRig rig(options);
  rig.smi->mute = true;
  rig.panic();
  EXPECT_GT(rig.smi->panic_sends, 1u);
}

TEST(Panic, UsersHandlersRunAndMayTellTheBmcSomething) {
  PanicRig rig;
  bool told = false;
  std::unique_ptr<User> watchdog;
  auto h = UserHandlers{};
  const Bytes set_timer{0x04, 0x03, 0, 0, 0xff, 0x0f};
  h.panic = [&] { told = watchdog->request_in_panic(6, 0x24, set_timer); };
  watchdog = rig.handler.create_user(rig.number, h).value();
  EXPECT_FALSE(watchdog->request_in_panic(6, 0x24, set_timer));  // not yet
  rig.panic();
  EXPECT_TRUE(told);
  EXPECT_EQ(rig.smi->sent.at(0), (Bytes{0x18, 0x24, 0x04, 0x03, 0, 0, 0xff, 0x0f}));
  EXPECT_EQ(rig.platform_events(), 1u);
  // Ordinary requests are over.
  EXPECT_EQ(rig.user->request(SystemInterfaceAddress{}, 1, request_of(6, 1)).error().code, ErrorCode::kShutdown);
}

// I0-6
TEST(Panic, AnInterfaceThatIsNotPublishedIsLeftAlone) {
  MessageHandler handler(PanicRig::bounded());
  auto smi = std::make_shared<WindowSmi>();
  smi->reply = [](ByteView r) -> std::optional<Bytes> {
    if (r[1] == 0x01) return std::nullopt;
    return FakeSmi::usual(r);
  };
  Registering registering(handler, smi);
  ASSERT_TRUE(smi->wait_held(0x18, 0x01));
  {
    rt::Cpu cpu;
    EXPECT_EQ(handler.panic("x").interfaces, 0u);
  }
  rt::end_panic_for_test();
  EXPECT_FALSE(smi->run_to_completion);
  smi->let_answer(&FakeSmi::usual);
  smi->answer(device_id_reply());
  EXPECT_TRUE(registering.wait());
}

}  // namespace
}  // namespace bmcpair::host::inline BMCPAIR_RT
