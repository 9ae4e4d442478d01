#include "host_driver/system_interface/system_interface.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "host_driver/runtime/runtime.h"
#include "host_driver/state_machine/test_bmc.h"

namespace bmcpair::host {
namespace {

using registers::InterfaceKind;
using state_machine::TestBmc;
using std::chrono::milliseconds;
using std::chrono::seconds;

Instant soon() { return rt::now() + seconds(60); }

const Bytes kGetDeviceId = {0x18, 0x01};
const Bytes kEvent = {1, 0, 2, 0, 0, 0, 0, 0x20, 0, 4, 1, 0x30, 1, 0xff, 0xff, 0xff};

struct Received {
  Bytes request;
  Bytes response;
  bool failed;
  ErrorCode failure;
};

// The message handler's side, as far as these tests need one.
class Upper final : public SmiUpcalls {
 public:
  void message_received(SmiMessage* m) override {
    Received r{Bytes(m->data, m->data + m->data_size), Bytes(m->rsp, m->rsp + m->rsp_size), m->failed, m->failure};
    const bool own = !m->done;
    if (m->done) m->done(m);
    rt::LockGuard lock(m_);
    (own ? answers_ : unasked_).push_back(std::move(r));
    if (own) --below_;
    changed_.wake_all();
  }
  void watchdog_pretimeout() override {
    rt::LockGuard lock(m_);
    ++pretimeouts_;
    changed_.wake_all();
  }

  // One at a time, as the message handler does. The error of sender(), or none.
  Status send(SystemInterface& si, SmiMessage& m, const Bytes& request) {
    {
      rt::UniqueLock lock(m_);
      EXPECT_TRUE(changed_.wait_until(lock, soon(), [&] { return below_ == 0; }));
      ++below_;
    }
    m = SmiMessage{};
    std::copy(request.begin(), request.end(), m.data);
    m.data_size = static_cast<uint16_t>(request.size());
    Status status = si.sender(&m);
    if (!status) {
      rt::LockGuard lock(m_);
      --below_;
    }
    return status;
  }
  Received answer(size_t n) {
    rt::UniqueLock lock(m_);
    if (!changed_.wait_until(lock, soon(), [&] { return answers_.size() > n; })) {
      ADD_FAILURE() << "no answer " << n;
      return {};
    }
    return answers_[n];
  }
  size_t answers() {
    rt::LockGuard lock(m_);
    return answers_.size();
  }
  Received call(SystemInterface& si, const Bytes& request) {
    SmiMessage m;
    const size_t n = answers();
    const Status status = send(si, m, request);
    if (!status) return {request, {}, true, status.error().code};
    return answer(n);
  }
  bool unasked(size_t n, uint8_t cmd) {
    rt::UniqueLock lock(m_);
    return changed_.wait_until(lock, soon(), [&] {
      size_t have = 0;
      for (const Received& r : unasked_) have += r.request[1] == cmd;
      return have >= n;
    });
  }
  Received unasked_at(size_t n) {
    rt::UniqueLock lock(m_);
    if (!changed_.wait_until(lock, soon(), [&] { return unasked_.size() > n; })) {
      ADD_FAILURE() << "nothing came by itself";
      return {};
    }
    return unasked_[n];
  }
  bool pretimeouts(int n) {
    rt::UniqueLock lock(m_);
    return changed_.wait_until(lock, soon(), [&] { return pretimeouts_ >= n; });
  }

 private:
  rt::Mutex m_;
  rt::WaitQueue changed_;
  std::vector<Received> answers_, unasked_;
  int pretimeouts_ = 0;
  int below_ = 0;
};

struct Pair {
  explicit Pair(InterfaceKind kind, bool interrupt = true, std::string_view profile = "hardened")
      : bmc(std::make_shared<TestBmc>(kind, interrupt)), upper(std::make_unique<Upper>()) {
    options.profile = state_machine::find_profile(profile);
    options.shutdown_limit = milliseconds(200);
    make();
  }
  void make() { si = std::make_unique<SystemInterface>(bmc, options); }
  bool up() {
    const Status status = si->bring_up();
    EXPECT_TRUE(status) << (status ? "" : status.error().to_string());
    if (!status) return false;
    const Status started = si->start_processing(*upper);
    EXPECT_TRUE(started);
    return started.ok();
  }
  void never_answers(uint8_t cmd) {
    bmc->on_request([cmd](const Bytes& r) -> std::optional<Bytes> {
      if (r[1] == cmd) return Bytes{};
      return std::nullopt;
    });
  }
  bool reaches(InterfaceState state) {
    return si->wait_for_status(soon(), [&](const InterfaceStatus& s) { return s.state == state; });
  }
  bool asked(const Bytes& request, size_t times = 1) const {
    const auto all = bmc->requests();
    return static_cast<size_t>(std::count(all.begin(), all.end(), request)) >= times;
  }
  // Waits for it by looking: the device is not ours to be told by.
  bool asks(const Bytes& request, size_t times = 1) const {
    const Instant deadline = soon();
    while (!asked(request, times)) {
      if (rt::now() > deadline) return false;
      rt::sleep_for(milliseconds(1));
    }
    return true;
  }

  std::shared_ptr<TestBmc> bmc;
  std::unique_ptr<Upper> upper;
  SystemInterfaceOptions options;
  std::unique_ptr<SystemInterface> si;  // first to go
};

void expect_device_id(const Received& r) {
  EXPECT_FALSE(r.failed) << to_string(r.failure);
  EXPECT_EQ(to_hex(r.response), "1c 01 00 20 01 02 03 02 bf 57 01 00 34 12 00 00 00 00");
}

class Kinds : public ::testing::TestWithParam<std::tuple<InterfaceKind, bool, const char*>> {
 protected:
  InterfaceKind kind() const { return std::get<0>(GetParam()); }
  bool interrupt() const { return std::get<1>(GetParam()); }
  const char* profile() const { return std::get<2>(GetParam()); }
  bool hardened() const { return std::string_view(profile()) == "hardened"; }
};
INSTANTIATE_TEST_SUITE_P(All, Kinds,
                         ::testing::Combine(::testing::Values(InterfaceKind::kKcs, InterfaceKind::kBt),
                                            ::testing::Bool(), ::testing::Values("hardened", "linux-6.1")),
                         [](const auto& i) {
                           return std::string(to_string(std::get<0>(i.param))) +
                                  (std::get<1>(i.param) ? "_interrupt_" : "_polled_") +
                                  (std::string_view(std::get<2>(i.param)) == "hardened" ? "hardened" : "linux");
                         });

// D.7.
TEST_P(Kinds, ComeUpInTheOrderOfTheProbe) {
  Pair p(kind(), interrupt(), profile());
  ASSERT_TRUE(p.up());
  EXPECT_TRUE(p.reaches(InterfaceState::kUp));
  ASSERT_TRUE(p.asks({0x18, 0x30, 0x08}));
  std::vector<Bytes> expected;
  if (kind() == InterfaceKind::kBt) expected.push_back({0x18, 0x36});
  expected.push_back({0x18, 0x01});
  expected.push_back({0x18, 0x2f});
  if (interrupt()) {
    expected.push_back({0x18, 0x2f});
    expected.push_back({0x18, 0x2e, 0x01});
  }
  expected.push_back({0x18, 0x2f});
  expected.push_back({0x18, 0x2e, static_cast<uint8_t>(interrupt() ? 0x05 : 0x04)});
  expected.push_back({0x18, 0x30, 0x08});
  auto requests = p.bmc->requests();
  requests.resize(std::min(requests.size(), expected.size()));
  EXPECT_EQ(requests, expected);
  if (interrupt()) {
    // The enables are brought to what is wanted, event buffer interrupt included.
    EXPECT_TRUE(p.asks({0x18, 0x2e, 0x07}));
  }
  const SmiInfo info = p.si->info();
  EXPECT_EQ(info.interrupts, interrupt());
  EXPECT_EQ(info.profile, profile());
}

TEST_P(Kinds, AnswerMessages) {
  Pair p(kind(), interrupt(), profile());
  ASSERT_TRUE(p.up());
  for (int i = 0; i < 50; ++i) expect_device_id(p.upper->call(*p.si, kGetDeviceId));
  EXPECT_GE(p.si->statistics()[static_cast<size_t>(SiStatistic::kCompleteTransactions)], 50u);
}

// D.11 W6: what the BMC says is passed on as it is.
TEST_P(Kinds, PassACompletionCodeUntouched) {
  Pair p(kind(), interrupt(), profile());
  ASSERT_TRUE(p.up());
  p.bmc->on_request([](const Bytes& r) -> std::optional<Bytes> {
    if (r[0] == 0x00) return Bytes{0xd5};
    return std::nullopt;
  });
  const Received r = p.upper->call(*p.si, {0x00, 0x01});
  EXPECT_EQ(to_hex(r.response), "04 01 d5");
  EXPECT_FALSE(r.failed);
}

TEST_P(Kinds, BringEventsMessagesAndPretimeoutsUp) {
  Pair p(kind(), interrupt(), profile());
  ASSERT_TRUE(p.up());
  p.si->set_need_watch(7);
  p.bmc->post_event(kEvent);
  EXPECT_TRUE(p.upper->unasked(1, 0x35));
  p.bmc->post_message({0x0f, 0x20, 0x18, 0xc8, 0x81, 0x04, 0x01, 0x7a});
  EXPECT_TRUE(p.upper->unasked(1, 0x33));
  p.bmc->post_pretimeout();
  EXPECT_TRUE(p.upper->pretimeouts(1));
  EXPECT_TRUE(p.asks({0x18, 0x30, 0x08}, 2));
  for (int i = 0; i < 3; ++i) p.bmc->post_event(kEvent);
  EXPECT_TRUE(p.upper->unasked(4, 0x35));
  // linux-6.1 may lose this one on BT: a latched attention starts its flag fetch over it (D.11 W7).
  if (hardened()) expect_device_id(p.upper->call(*p.si, kGetDeviceId));
}

TEST_P(Kinds, RequestEventsOnDemand) {
  Pair p(kind(), interrupt(), profile());
  ASSERT_TRUE(p.up());
  ASSERT_TRUE(p.asks({0x18, 0x30, 0x08}));
  p.bmc->post_event(kEvent);
  p.si->request_events();
  EXPECT_TRUE(p.upper->unasked(1, 0x35));
}

// G-70: a BMC that always has one more.
TEST_P(Kinds, AnswerMessagesWhileEventsNeverEnd) {
  Pair p(kind(), interrupt(), profile());
  ASSERT_TRUE(p.up());
  p.si->set_need_watch(7);
  p.bmc->on_request([](const Bytes& r) -> std::optional<Bytes> {
    if (r[1] == 0x31) return Bytes{0, 0x02};
    if (r[1] == 0x35) {
      Bytes out = {0};
      out.insert(out.end(), kEvent.begin(), kEvent.end());
      return out;
    }
    return std::nullopt;
  });
  p.bmc->change([](auto& f) { f.attention_stuck = true; });
  EXPECT_TRUE(p.upper->unasked(20, 0x35));
  for (int i = 0; i < (hardened() ? 5 : 0); ++i) expect_device_id(p.upper->call(*p.si, kGetDeviceId));
  p.bmc->change([](auto& f) { f.attention_stuck = false; });
}

TEST_P(Kinds, EndInOrderAndOnce) {
  Pair p(kind(), interrupt(), profile());
  ASSERT_TRUE(p.up());
  expect_device_id(p.upper->call(*p.si, kGetDeviceId));
  p.si->shutdown();
  EXPECT_EQ(p.si->status().state, InterfaceState::kStopped);
  const size_t requests = p.bmc->requests().size();
  const unsigned trips = p.bmc->round_trips();
  p.si->shutdown();
  p.bmc->post_event(kEvent);
  p.bmc->spurious_interrupt();
  p.si->request_events();
  SmiMessage m;
  EXPECT_EQ(p.upper->send(*p.si, m, kGetDeviceId).error().code, ErrorCode::kShutdown);
  EXPECT_EQ(p.bmc->requests().size(), requests);
  EXPECT_EQ(p.bmc->round_trips(), trips);
  EXPECT_FALSE(p.si->holds_message());
}

// G-51, G-65: what is in flight is answered, however dead the BMC is.
TEST_P(Kinds, EndWithAMessageInFlight) {
  Pair p(kind(), interrupt(), profile());
  p.options.shutdown_limit = milliseconds(20);
  p.make();
  ASSERT_TRUE(p.up());
  p.never_answers(0x37);
  SmiMessage m;
  ASSERT_TRUE(p.upper->send(*p.si, m, {0x18, 0x37}));
  ASSERT_TRUE(p.asks({0x18, 0x37}));
  p.si->shutdown();
  const Received r = p.upper->answer(0);
  EXPECT_TRUE(r.failed);
  EXPECT_EQ(r.failure, ErrorCode::kShutdown);
  EXPECT_EQ(to_hex(r.response), "1c 37 ff");
}

TEST_P(Kinds, RefuseTheRequestsNobodyCanSend) {
  Pair p(kind(), interrupt(), profile());
  ASSERT_TRUE(p.up());
  SmiMessage m;
  EXPECT_EQ(p.upper->send(*p.si, m, {0x18}).error().code, ErrorCode::kInvalidArgument);
}

TEST(BtLimits, ARequestThatItsLengthByteCannotCountFailsAsOurs) {
  Pair p(InterfaceKind::kBt);
  ASSERT_TRUE(p.up());
  const Received r = p.upper->call(*p.si, Bytes(255, 0x18));
  EXPECT_EQ(r.response[2], 0xc8);
  EXPECT_TRUE(r.failed);
  EXPECT_EQ(r.failure, ErrorCode::kInvalidArgument);
  expect_device_id(p.upper->call(*p.si, kGetDeviceId));
}

// ---- bring-up that fails ---------------------------------------------------------------------------------------------

TEST(BringUp, SaysThatThereIsNoDevice) {
  for (InterfaceKind kind : {InterfaceKind::kKcs, InterfaceKind::kBt}) {
    Pair p(kind);
    p.bmc->change([](auto& f) { f.absent = true; });
    const Status status = p.si->bring_up();
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, ErrorCode::kUnavailable);
    EXPECT_EQ(p.si->start_processing(*p.upper).error().code, ErrorCode::kUnavailable);
    EXPECT_EQ(p.si->bring_up().error().code, ErrorCode::kShutdown);
  }
}

TEST(BringUp, SaysThatTheLinkIsDown) {
  Pair p(InterfaceKind::kKcs);
  p.bmc->set_link(false);
  const Status status = p.si->bring_up();
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(status.error().message, "cable pulled");
}

// G-43: D5 from a BMC that is still starting is asked again, six times in all.
TEST(BringUp, AsksForTheDeviceIdAgainABoundedNumberOfTimes) {
  for (int bad : {5, 6}) {
    Pair p(InterfaceKind::kBt);
    auto left = std::make_shared<int>(bad);
    p.bmc->on_request([left](const Bytes& r) -> std::optional<Bytes> {
      if (r == kGetDeviceId && (*left)-- > 0) return Bytes{0xd5};
      return std::nullopt;
    });
    const Status status = p.si->bring_up();
    EXPECT_EQ(status.ok(), bad == 5);
    if (!status) {
      EXPECT_EQ(status.error().code, ErrorCode::kProtocol);
      EXPECT_NE(status.error().message.find("1c 01 d5"), std::string::npos) << status.error().message;
    }
  }
}

TEST(BringUp, DoesNotTakeAShortAnswerForADeviceId) {
  Pair p(InterfaceKind::kKcs);
  p.bmc->on_request([](const Bytes& r) -> std::optional<Bytes> {
    if (r == kGetDeviceId) return Bytes{0, 0x20};
    return std::nullopt;
  });
  EXPECT_EQ(p.si->bring_up().error().code, ErrorCode::kProtocol);
}

TEST(BringUp, EndsAtItsLimit) {
  Pair p(InterfaceKind::kKcs);
  p.options.bring_up_limit = milliseconds(30);
  p.make();
  p.bmc->change([](auto& f) { f.mute = true; });
  EXPECT_EQ(p.si->bring_up().error().code, ErrorCode::kTimeout);
}

TEST(BringUp, EndsWhenTheInterfaceIsHosed) {
  Pair p(InterfaceKind::kKcs);
  p.bmc->change([](auto& f) { f.error_state = true; });
  EXPECT_EQ(p.si->bring_up().error().code, ErrorCode::kHosed);
}

TEST(BringUp, EndsWithAShutdown) {
  Pair p(InterfaceKind::kBt);
  p.bmc->change([](auto& f) { f.mute = true; });
  struct Result {
    rt::Mutex m;
    rt::WaitQueue changed;
    int calls = 0;
    ErrorCode code{};
  };
  auto result = std::make_shared<Result>();
  p.si->start_bring_up([result](Status status) {
    rt::LockGuard lock(result->m);
    ++result->calls;
    result->code = status.error().code;
    result->changed.wake_all();
  });
  ASSERT_TRUE(p.asks({0x18, 0x36}));
  p.si->shutdown();
  rt::LockGuard lock(result->m);
  EXPECT_EQ(result->calls, 1);
  EXPECT_EQ(result->code, ErrorCode::kShutdown);
}

// G-10: a BMC that does not let its interrupt enable be changed is not fought.
TEST(BringUp, RemembersWhatTheBmcCannotEnable) {
  Pair p(InterfaceKind::kKcs, true);
  p.bmc->on_request([](const Bytes& r) -> std::optional<Bytes> {
    if (r[1] == 0x2e && r.size() > 2 && r[2] & 3) return Bytes{0xcc};
    return std::nullopt;
  });
  ASSERT_TRUE(p.up());
  p.si->set_need_watch(1);
  expect_device_id(p.upper->call(*p.si, kGetDeviceId));
  p.si->request_events();
  ASSERT_TRUE(p.asks({0x18, 0x2f}, 4));
  expect_device_id(p.upper->call(*p.si, kGetDeviceId));
  // One attempt, by the probe.
  EXPECT_FALSE(p.asked({0x18, 0x2e, 0x07}));
}

// ---- seed 2 ----------------------------------------------------------------------------------------------------------

TEST(Seed2, TheOldProfileRefusesWithD5WhatTheHardenedAnswers) {
  {
    Pair p(InterfaceKind::kBt, true, "linux-4.18");
    p.bmc->on_request([](const Bytes& r) -> std::optional<Bytes> {
      if (r[1] == 0x36) return Bytes{};  // in flight for as long as we like
      return std::nullopt;
    });
    ASSERT_TRUE(p.up());
    ASSERT_TRUE(p.asks({0x18, 0x36}));
    const Received guid = p.upper->call(*p.si, {0x18, 0x08});
    EXPECT_EQ(to_hex(guid.response), "1c 08 d5");
    const Received id = p.upper->call(*p.si, kGetDeviceId);
    EXPECT_EQ(to_hex(id.response), "1c 01 d5");
    EXPECT_TRUE(id.failed);
    EXPECT_EQ(id.failure, ErrorCode::kBusy);
  }
  Pair p(InterfaceKind::kBt, true);
  ASSERT_TRUE(p.up());
  EXPECT_EQ(to_hex(p.upper->call(*p.si, {0x18, 0x08}).response), "1c 08 c1");
  expect_device_id(p.upper->call(*p.si, kGetDeviceId));
}

// ---- hosed (D.9) -----------------------------------------------------------------------------------------------------

TEST(Hosed, AnswersRefusesAndRecovers) {
  for (bool interrupt : {true, false}) {
    Pair p(InterfaceKind::kKcs, interrupt);
    ASSERT_TRUE(p.up());
    expect_device_id(p.upper->call(*p.si, kGetDeviceId));
    p.bmc->change([](auto& f) { f.error_state = true; });
    const Received r = p.upper->call(*p.si, kGetDeviceId);
    EXPECT_TRUE(r.failed);
    EXPECT_EQ(r.failure, ErrorCode::kHosed);
    ASSERT_TRUE(p.reaches(InterfaceState::kHosed));
    SmiMessage m;
    EXPECT_EQ(p.upper->send(*p.si, m, kGetDeviceId).error().code, ErrorCode::kHosed);
    p.si->request_events();
    p.bmc->spurious_interrupt();
    EXPECT_GE(p.si->statistics()[static_cast<size_t>(SiStatistic::kHosedCount)], 1u);
    p.bmc->change([](auto& f) { f.error_state = false; });
    ASSERT_TRUE(p.reaches(InterfaceState::kUp));
    expect_device_id(p.upper->call(*p.si, kGetDeviceId));
    // It may have restarted: its enables are looked at again.
    EXPECT_TRUE(p.asks({0x18, 0x2f}, 3));
  }
}

// G-115: with attention stuck as well there is no loop without a pause; G-65: and no shutdown that waits.
TEST(Hosed, WithAttentionStuckStaysQuietAndEnds) {
  Pair p(InterfaceKind::kKcs, false);
  ASSERT_TRUE(p.up());
  p.bmc->change([](auto& f) { f.error_state = f.attention_stuck = true; });
  p.si->set_need_watch(7);
  EXPECT_TRUE(p.upper->call(*p.si, kGetDeviceId).failed);
  ASSERT_TRUE(p.reaches(InterfaceState::kHosed));
  p.si->shutdown();
  EXPECT_EQ(p.si->status().state, InterfaceState::kStopped);
}

TEST(Hosed, InTheOldProfileAnswersFfAndGoesOn) {
  Pair p(InterfaceKind::kKcs, false, "linux-6.1");
  ASSERT_TRUE(p.up());
  p.bmc->change([](auto& f) { f.error_state = true; });
  const Received r = p.upper->call(*p.si, kGetDeviceId);
  EXPECT_EQ(to_hex(r.response), "1c 01 ff");
  EXPECT_TRUE(r.failed);
  p.bmc->change([](auto& f) { f.error_state = false; });
  expect_device_id(p.upper->call(*p.si, kGetDeviceId));
}

// ---- the link --------------------------------------------------------------------------------------------------------

TEST_P(Kinds, AnswerAtOnceWhenTheLinkGoesAndComeBackByThemselves) {
  Pair p(kind(), interrupt(), profile());
  ASSERT_TRUE(p.up());
  for (int round = 0; round < 2; ++round) {
    expect_device_id(p.upper->call(*p.si, kGetDeviceId));
    p.never_answers(0x37);
    SmiMessage in_flight;
    const size_t n = p.upper->answers();
    ASSERT_TRUE(p.upper->send(*p.si, in_flight, {0x18, 0x37}));
    ASSERT_TRUE(p.asks({0x18, 0x37}, static_cast<size_t>(round) + 1));
    p.bmc->set_link(false);
    const Received r = p.upper->answer(n);
    EXPECT_TRUE(r.failed);
    EXPECT_EQ(r.failure, ErrorCode::kUnavailable);
    ASSERT_TRUE(p.reaches(InterfaceState::kLinkDown));
    EXPECT_EQ(p.si->status().reason, "cable pulled");
    SmiMessage m;
    EXPECT_EQ(p.upper->send(*p.si, m, kGetDeviceId).error().code, ErrorCode::kUnavailable);
    p.bmc->set_link(true);
    ASSERT_TRUE(p.reaches(InterfaceState::kUp));
    expect_device_id(p.upper->call(*p.si, kGetDeviceId));
    // A new device: its event buffer and interrupts are set up again.
    EXPECT_TRUE(p.asks({0x18, 0x30, 0x08}, static_cast<size_t>(round) + 2));
    p.si->set_need_watch(7);
    p.bmc->post_event(kEvent);
    EXPECT_TRUE(p.upper->unasked(static_cast<size_t>(round) + 1, 0x35));
  }
}

TEST(Link, ThatBlinksWhileNothingRunsIsNoticedToo) {
  Pair p(InterfaceKind::kBt);
  ASSERT_TRUE(p.up());
  ASSERT_TRUE(p.asks({0x18, 0x30, 0x08}));
  p.bmc->set_link(false);
  p.bmc->set_link(true);
  ASSERT_TRUE(p.asks({0x18, 0x36}, 2));
  ASSERT_TRUE(p.reaches(InterfaceState::kUp));
  expect_device_id(p.upper->call(*p.si, kGetDeviceId));
}

TEST(Link, ThatComesBackWithADeadBmcIsTriedUntilItLives) {
  Pair p(InterfaceKind::kKcs);
  ASSERT_TRUE(p.up());
  p.bmc->set_link(false);
  ASSERT_TRUE(p.reaches(InterfaceState::kLinkDown));
  p.bmc->change([](auto& f) { f.absent = true; });
  p.bmc->set_link(true);
  ASSERT_TRUE(p.si->wait_for_status(soon(), [](const InterfaceStatus& s) {
    return s.reason.find("registers read FF") != std::string::npos;
  }));
  p.bmc->change([](auto& f) { f.absent = false; });
  ASSERT_TRUE(p.reaches(InterfaceState::kUp));
  expect_device_id(p.upper->call(*p.si, kGetDeviceId));
}

TEST(Link, ThatIsDownDoesNotHoldUpTheEnd) {
  Pair p(InterfaceKind::kKcs);
  ASSERT_TRUE(p.up());
  p.bmc->set_link(false);
  p.si->shutdown();
  EXPECT_EQ(p.si->status().state, InterfaceState::kStopped);
}

// ---- BT busy ---------------------------------------------------------------------------------------------------------

TEST(Interrupts, StormsAreSurvived) {
  for (InterfaceKind kind : {InterfaceKind::kKcs, InterfaceKind::kBt}) {
    Pair p(kind);
    ASSERT_TRUE(p.up());
    for (int i = 0; i < 5000; ++i) p.bmc->spurious_interrupt();
    for (int i = 0; i < 20; ++i) {
      p.bmc->spurious_interrupt();
      expect_device_id(p.upper->call(*p.si, kGetDeviceId));
    }
  }
}

// ---- memory pressure (D.6) -------------------------------------------------------------------------------------------

class NoMemory final : public rt::FaultHook {
 public:
  explicit NoMemory(int times) : left_(times) { rt::set_fault_hook(this); }
  ~NoMemory() override { rt::set_fault_hook(nullptr); }
  bool fires(std::string_view name) override {
    return name == "system_interface.allocate_message" && left_.fetch_sub(1, std::memory_order_relaxed) > 0;
  }

 private:
  rt::Atomic<int> left_;
};

TEST(MemoryPressure, SwitchesInterruptsOffAndBackOnAndLosesNothing) {
  for (InterfaceKind kind : {InterfaceKind::kKcs, InterfaceKind::kBt}) {
    Pair p(kind);
    ASSERT_TRUE(p.up());
    ASSERT_TRUE(p.asks({0x18, 0x2e, 0x07}));
    // No event is left from before.
    ASSERT_TRUE(p.asks({0x18, 0x35}));
    NoMemory hook(2);
    p.bmc->post_event(kEvent);
    EXPECT_TRUE(p.asks({0x18, 0x2e, 0x04}));
    for (int i = 0; i < 20; ++i) {
      const Received r = p.upper->call(*p.si, kGetDeviceId);
      expect_device_id(r);  // W4: never D5
    }
    EXPECT_TRUE(p.asks({0x18, 0x2e, 0x07}, 2));
    EXPECT_TRUE(p.upper->unasked(1, 0x35));
  }
}

TEST(MemoryPressure, WithoutInterruptsTriesAgain) {
  Pair p(InterfaceKind::kKcs, false);
  ASSERT_TRUE(p.up());
  p.si->set_need_watch(7);
  NoMemory hook(2);
  p.bmc->post_event(kEvent);
  EXPECT_TRUE(p.upper->unasked(1, 0x35));
  expect_device_id(p.upper->call(*p.si, kGetDeviceId));
}

// ---- as it was: one flag of the profile at a time; what only a schedule shows is in integration/scenarios ---------------

class Hook final : public rt::FaultHook {
 public:
  explicit Hook(std::function<bool(std::string_view)> f) : f_(std::move(f)) { rt::set_fault_hook(this); }
  ~Hook() override { rt::set_fault_hook(nullptr); }
  bool fires(std::string_view name) override { return f_(name); }

 private:
  std::function<bool(std::string_view)> f_;
};

struct OldPair : Pair {
  OldPair(std::string_view text, InterfaceKind kind, bool interrupt)
      : Pair(kind, interrupt), profile(state_machine::profile_with(text).value()) {
    options.profile = &profile;
    make();
  }
  ~OldPair() { si.reset(); }
  const state_machine::Profile profile;
};

// G-43.
TEST(AsItWas, ABmcThatIsStillStartingIsGivenUp) {
  for (const char* profile : {"hardened", "hardened+si_one_device_id_attempt"}) {
    OldPair p(profile, InterfaceKind::kKcs, false);
    rt::Atomic<int> asked{0};
    p.bmc->on_request([&asked](const Bytes& r) -> std::optional<Bytes> {
      if (r == kGetDeviceId && asked.fetch_add(1, std::memory_order_relaxed) == 0) return Bytes{0xd5};
      return std::nullopt;
    });
    EXPECT_EQ(p.si->bring_up().ok(), !p.profile.si_one_device_id_attempt);
  }
}

// E.13, window (2)-(3).
TEST(AsItWas, AMessageIsForAMomentHeldByNobody) {
  OldPair p("hardened+si_waiting_cleared_before_start", InterfaceKind::kBt, true);
  ASSERT_TRUE(p.up());
  rt::Atomic<int> held_by_nobody{0};
  {
    Hook hook([&](std::string_view name) {
      if (name == "si.start.taken" && !p.si->holds_message()) held_by_nobody.fetch_add(1, std::memory_order_relaxed);
      return false;
    });
    expect_device_id(p.upper->call(*p.si, kGetDeviceId));
  }
  EXPECT_EQ(held_by_nobody.load(std::memory_order_relaxed), 1);
}

// G-71.
TEST(AsItWas, AnEventWithoutDataIsAnEvent) {
  for (const char* profile : {"hardened", "hardened+si_takes_short_events"}) {
    OldPair p(profile, InterfaceKind::kBt, true);
    rt::Atomic<int> asked{0};
    p.bmc->on_request([&asked](const Bytes& r) -> std::optional<Bytes> {
      if (r[1] == 0x35 && asked.fetch_add(1, std::memory_order_relaxed) == 0) return Bytes{0};
      return std::nullopt;
    });
    ASSERT_TRUE(p.up());
    p.si->set_need_watch(7);
    p.bmc->post_event(kEvent);
    const Received r = p.upper->unasked_at(0);
    EXPECT_EQ(r.response.size(), p.profile.si_takes_short_events ? 3u : 19u);
  }
}

// G-72.
TEST(AsItWas, WithoutMemoryNothingIsSentAnyMore) {
  for (const char* profile : {"hardened", "hardened+si_stuck_without_memory"}) {
    OldPair p(profile, InterfaceKind::kBt, true);
    rt::Atomic<int> left{1};
    Hook hook([&left](std::string_view name) {
      return name == "system_interface.allocate_message" && left.fetch_sub(1, std::memory_order_acq_rel) == 1;
    });
    ASSERT_TRUE(p.up());
    const Instant deadline = soon();
    while (left.load(std::memory_order_acquire) > 0 && rt::now() < deadline) rt::sleep_for(milliseconds(1));
    SmiMessage m;
    ASSERT_TRUE(p.upper->send(*p.si, m, {0x18, 0x37}));
    if (!p.profile.si_stuck_without_memory) {
      EXPECT_FALSE(p.upper->answer(0).failed);
      continue;
    }
    for (int i = 0; i < 100; ++i) p.si->poll();
    EXPECT_FALSE(p.asked({0x18, 0x37}));
    p.si->shutdown();
    EXPECT_EQ(p.upper->answer(0).failure, ErrorCode::kShutdown);
  }
}

// G-63, and G-64 to have it soon: what comes during a probe is not answered when the probe fails.
TEST(AsItWas, AMessageThatComesDuringTheProbeIsForgotten) {
  OldPair p("hardened+si_hosed_forgets_waiting+si_hosed_backoff_overwritten", InterfaceKind::kKcs, false);
  ASSERT_TRUE(p.up());
  expect_device_id(p.upper->call(*p.si, kGetDeviceId));
  p.bmc->change([](auto& f) { f.error_state = true; });
  EXPECT_TRUE(p.upper->call(*p.si, kGetDeviceId).failed);
  const auto hosed = [&p] { return p.si->statistics()[static_cast<size_t>(SiStatistic::kHosedCount)]; };
  const Instant deadline = soon();
  SmiMessage m;
  while (!p.upper->send(*p.si, m, kGetDeviceId)) ASSERT_LT(rt::now(), deadline);
  const uint64_t then = hosed();
  while (hosed() < then + 3) {
    ASSERT_LT(rt::now(), deadline);
    rt::sleep_for(milliseconds(1));
  }
  EXPECT_EQ(p.upper->answers(), 2u);
  p.bmc->change([](auto& f) { f.error_state = false; });
  expect_device_id(p.upper->answer(2));
}

// D.11 W5.
TEST(AsItWas, AParkedMachineRefusesWithD5) {
  OldPair p("hardened+kcs_parks_in_error0-si_hosed_backoff-si_gate_on_machine", InterfaceKind::kKcs, false);
  ASSERT_TRUE(p.up());
  expect_device_id(p.upper->call(*p.si, kGetDeviceId));
  p.bmc->change([](auto& f) { f.error_state = true; });
  EXPECT_EQ(p.upper->call(*p.si, kGetDeviceId).failure, ErrorCode::kHosed);
  const Received r = p.upper->call(*p.si, kGetDeviceId);
  EXPECT_EQ(to_hex(r.response), "1c 01 d5");
  EXPECT_EQ(r.failure, ErrorCode::kBusy);
  p.bmc->change([](auto& f) { f.error_state = false; });
  const Instant deadline = soon();
  while (p.upper->call(*p.si, kGetDeviceId).failed) ASSERT_LT(rt::now(), deadline);
}

TEST(AsItWas, LaterKernelsCarryMessagesToo) {
  for (const char* profile : {"linux-6.12", "linux-6.18"}) {
    for (InterfaceKind kind : {InterfaceKind::kKcs, InterfaceKind::kBt}) {
      OldPair p(profile, kind, true);
      ASSERT_TRUE(p.up());
      for (int i = 0; i < 20; ++i) expect_device_id(p.upper->call(*p.si, kGetDeviceId));
    }
  }
}

// D.7: whichever step fails, the error says so, and the next bring-up meets nothing of it.
TEST(StartUp, FailsAtEachStepThatIsAskedFor) {
  for (InterfaceKind kind : {InterfaceKind::kKcs, InterfaceKind::kBt}) {
    for (int step : {1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 13}) {
      const std::string name = "si.start_up." + std::to_string(step);
      Pair p(kind);
      {
        Hook hook([&name](std::string_view at) { return at == name; });
        Status status = p.si->bring_up();
        if (status) status = p.si->start_processing(*p.upper);
        ASSERT_FALSE(status) << name;
        EXPECT_EQ(status.error().code, ErrorCode::kInternal);
        EXPECT_NE(status.error().message.find(name), std::string::npos) << status.error().message;
      }
      p.si->shutdown();
      p.make();
      ASSERT_TRUE(p.up()) << name;
      expect_device_id(p.upper->call(*p.si, kGetDeviceId));
    }
  }
}

// ---- run to completion -----------------------------------------------------------------------------------------------

// Nobody is stopped here as he is in a panic, so whoever drives the machine is respected, whatever the profile does (G-38).
struct WithWorkers : Pair {
  WithWorkers(InterfaceKind kind, bool interrupt, std::string_view profile) : Pair(kind, interrupt, profile) {
    own.si_panic_ignores_owner = false;
    options.profile = &own;
    make();
  }
  ~WithWorkers() { si.reset(); }
  state_machine::Profile own = *options.profile;
};

TEST_P(Kinds, RunToCompletionWithoutWorkers) {
  WithWorkers p(kind(), interrupt(), profile());
  ASSERT_TRUE(p.up());
  expect_device_id(p.upper->call(*p.si, kGetDeviceId));
  p.si->set_run_to_completion(true);
  for (int i = 0; i < 3; ++i) {
    SmiMessage m;
    ASSERT_TRUE(p.upper->send(*p.si, m, kGetDeviceId));
    EXPECT_TRUE(p.si->holds_message());
    p.si->flush_messages();
    EXPECT_FALSE(p.si->holds_message());
    expect_device_id(p.upper->answer(static_cast<size_t>(i) + 1));
  }
  SmiMessage m;
  ASSERT_TRUE(p.upper->send(*p.si, m, kGetDeviceId));
  for (int i = 0; i < 100000 && p.si->holds_message(); ++i) p.si->poll();
  EXPECT_FALSE(p.si->holds_message());
  p.si->set_run_to_completion(false);
  expect_device_id(p.upper->call(*p.si, kGetDeviceId));
}

TEST_P(Kinds, FinishInAPanicWhatWasInFlight) {
  WithWorkers p(kind(), interrupt(), profile());
  ASSERT_TRUE(p.up());
  p.bmc->change([](auto& f) { f.deaf = true; });
  SmiMessage m;
  ASSERT_TRUE(p.upper->send(*p.si, m, kGetDeviceId));
  p.si->set_run_to_completion(true);
  p.bmc->change([](auto& f) { f.deaf = false; });
  p.si->flush_messages();
  expect_device_id(p.upper->answer(0));
  p.si->set_run_to_completion(false);
}

// ---- many, and all at once -------------------------------------------------------------------------------------------

TEST(Many, AThousandInterfacesShareTheWorkers) {
  constexpr size_t kCount = 1000;
  std::vector<std::unique_ptr<Pair>> pairs;
  struct Done {
    rt::Mutex m;
    rt::WaitQueue changed;
    size_t good = 0, bad = 0;
  };
  auto done = std::make_shared<Done>();
  for (size_t i = 0; i < kCount; ++i) {
    pairs.push_back(std::make_unique<Pair>(i % 10 ? InterfaceKind::kBt : InterfaceKind::kKcs, i % 4 < 2));
    pairs.back()->si->start_bring_up([done](Status status) {
      rt::LockGuard lock(done->m);
      ++(status ? done->good : done->bad);
      done->changed.wake_all();
    });
  }
  {
    rt::UniqueLock lock(done->m);
    ASSERT_TRUE(done->changed.wait_until(lock, rt::now() + seconds(120),
                                         [&] { return done->good + done->bad == kCount; }));
    EXPECT_EQ(done->bad, 0u);
  }
  std::vector<SmiMessage> messages(kCount);
  for (size_t i = 0; i < kCount; ++i) {
    ASSERT_TRUE(pairs[i]->si->start_processing(*pairs[i]->upper));
    ASSERT_TRUE(pairs[i]->upper->send(*pairs[i]->si, messages[i], kGetDeviceId));
  }
  for (auto& p : pairs) expect_device_id(p->upper->answer(0));
  EXPECT_LE(rt::pool_statistics().workers_peak, rt::kWorkersMax);
  pairs.clear();
}

TEST(Idle, NobodyIsWoken) {
  std::vector<std::unique_ptr<Pair>> pairs;
  for (int i = 0; i < 4; ++i) {
    pairs.push_back(std::make_unique<Pair>(i % 2 ? InterfaceKind::kBt : InterfaceKind::kKcs, i < 2));
    ASSERT_TRUE(pairs.back()->up());
    expect_device_id(pairs.back()->upper->call(*pairs.back()->si, kGetDeviceId));
  }
  // Quiet comes by itself, and then it stays: a pass that finds nothing arms nothing.
  const Instant deadline = soon();
  uint64_t before = rt::pool_statistics().jobs_run;
  for (int quiet = 0; quiet < 4;) {
    ASSERT_LT(rt::now(), deadline);
    rt::sleep_for(milliseconds(300));  // longer than any period of an interface, but for a timer that a busy machine delays
    const uint64_t now = rt::pool_statistics().jobs_run;
    quiet = now == before ? quiet + 1 : 0;
    before = now;
  }
}

// Messages, events, enables, link and interrupts together: every message is answered, by the BMC or with a reason, and the
// invariant of D.11 (an abort in the interface) holds after every pass.
TEST_P(Kinds, SurviveEverythingAtOnce) {
  if (!hardened()) return;  // the old profiles are known not to
  Pair p(kind(), interrupt(), profile());
  ASSERT_TRUE(p.up());
  p.si->set_need_watch(7);
  rt::Atomic<bool> stop(false);
  rt::Thread noise;
  noise.start("noise", [&] {
    for (unsigned i = 0; !stop.load(std::memory_order_relaxed); ++i) {
      if (i % 3 == 0) p.bmc->post_event(kEvent);
      if (i % 5 == 0) p.si->request_events();
      if (i % 7 == 0) p.bmc->spurious_interrupt();
      if (i % 11 == 0) p.bmc->post_message({0x0f, 0x20, 0x18, 0xc8, 0x81, 0x04, 0x01, 0x7a});
      if (i % 81 == 80) {
        p.bmc->set_link(false);
        p.bmc->set_link(true);
      }
      rt::sleep_for(milliseconds(1));
    }
  });
  unsigned good = 0;
  while (good < 25) {
    const Received r = p.upper->call(*p.si, kGetDeviceId);
    if (!r.failed) {
      ++good;
      EXPECT_EQ(r.response.size(), 18u);
      EXPECT_EQ(r.response[2], 0);
    } else {
      EXPECT_TRUE(r.failure == ErrorCode::kUnavailable || r.failure == ErrorCode::kHosed) << to_string(r.failure);
      rt::sleep_for(milliseconds(1));
    }
  }
  stop.store(true, std::memory_order_relaxed);
  noise.join();
  ASSERT_TRUE(p.reaches(InterfaceState::kUp));
}

}  // namespace
}  // namespace bmcpair::host
