// The rules of reference H.2, one by one. What happens between them under every schedule: integration/scenarios/end_points.cc.
#include "bmc_emu/board/attachment.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "bmc_emu/board/std_sync.h"
#include "bmc_emu/board/testing.h"

namespace bmcpair::board {
namespace {

struct Nobody {};
using Manager = AttachmentManager<StdSync, Nobody>;
using Answer = Manager::Answer;

std::atomic<int> alive{0};
struct Counting {
  Counting() { ++alive; }
  Counting(Counting&&) { ++alive; }
  ~Counting() { --alive; }
};
using CountingManager = AttachmentManager<StdSync, Counting>;

template <class M>
Reference<M> make() {
  return Reference<M>::adopt(new M);
}
template <class M, class Host>
Reference<typename M::Endpoint> make_endpoint(Host host) {
  return Reference<typename M::Endpoint>::adopt(new typename M::Endpoint(std::move(host)));
}
const auto nothing = [](const auto&) {};

class AttachmentRules : public ::testing::Test {
 protected:
  // Who is still attached holds the interface, and the interface him.
  void TearDown() override { interface_->close("the end", nothing); }

  Reference<Manager> interface_ = make<Manager>();
  Manager::Ids ids_{1};
  Reference<Manager::Endpoint> first_ = make_endpoint<Manager>(Nobody{});
  Reference<Manager::Endpoint> second_ = make_endpoint<Manager>(Nobody{});
};

TEST_F(AttachmentRules, ASecondHostIsRefusedAndTakesNoId) {
  EXPECT_EQ(interface_->attach(*first_, ids_, nothing), Answer::kAttached);
  EXPECT_EQ(interface_->attach(*second_, ids_, nothing), Answer::kBusy);
  EXPECT_TRUE(interface_->detach(*first_, "gone", nothing));
  EXPECT_EQ(interface_->attach(*second_, ids_, nothing), Answer::kAttached);
  EXPECT_EQ(second_->id(), first_->id() + 1);
}

TEST_F(AttachmentRules, AnAttachmentEndsOnce) {
  int ended = 0;
  const auto count = [&](Manager::Endpoint&) { ++ended; };
  interface_->attach(*first_, ids_, nothing);
  EXPECT_TRUE(interface_->detach(first_->id(), "by force", count));
  EXPECT_FALSE(interface_->detach(*first_, "by itself", count));
  EXPECT_FALSE(interface_->close("everything goes", count));
  EXPECT_EQ(ended, 1);
  EXPECT_FALSE(first_->up());
  EXPECT_EQ(first_->reason(), "by force");
}

TEST_F(AttachmentRules, AnOldIdDetachesNobody) {
  interface_->attach(*first_, ids_, nothing);
  interface_->detach(*first_, "", nothing);
  interface_->attach(*second_, ids_, nothing);
  EXPECT_FALSE(interface_->detach(first_->id(), "late", nothing));
  EXPECT_TRUE(second_->up());
}

TEST_F(AttachmentRules, NothingIsAttachedToAnInterfaceThatIsGoingAway) {
  interface_->close("", nothing);
  EXPECT_EQ(interface_->attach(*first_, ids_, nothing), Answer::kGoing);
  EXPECT_EQ(interface_->attached(), nullptr);
  EXPECT_FALSE(first_->up());
}

TEST_F(AttachmentRules, WhatWasInFlightIsOfNoAccountAfterTheAttachmentsEnd) {
  interface_->attach(*first_, ids_, nothing);
  const auto a = interface_->begin();
  const auto b = interface_->begin();
  EXPECT_TRUE(interface_->finish(a));
  EXPECT_EQ(interface_->in_flight(), 1u);
  interface_->detach(*first_, "", nothing);
  EXPECT_EQ(interface_->in_flight(), 0u);
  interface_->attach(*second_, ids_, nothing);
  const auto c = interface_->begin();
  EXPECT_FALSE(interface_->finish(b));
  EXPECT_TRUE(interface_->finish(c));
}

TEST(AttachmentReferences, AnAttachmentKeepsItsInterfaceAndTheInterfaceItsEndpoint) {
  alive = 0;
  {
    CountingManager::Ids ids{1};
    CountingManager* raw = nullptr;
    uint64_t id = 0;
    {
      auto interface = make<CountingManager>();
      raw = interface.get();
      auto endpoint = make_endpoint<CountingManager>(Counting{});
      ASSERT_EQ(raw->attach(*endpoint, ids, nothing), CountingManager::Answer::kAttached);
      id = endpoint->id();
    }
    EXPECT_EQ(alive, 1);
    EXPECT_TRUE(raw->detach(id, "the last to hold either", nothing));
  }
  EXPECT_EQ(alive, 0);
}

TEST(AttachmentReferences, ARefusedAttachmentKeepsNothing) {
  alive = 0;
  auto interface = make<CountingManager>();
  CountingManager::Ids ids{1};
  interface->close("", nothing);
  {
    auto endpoint = make_endpoint<CountingManager>(Counting{});
    EXPECT_EQ(interface->attach(*endpoint, ids, nothing), CountingManager::Answer::kGoing);
  }
  EXPECT_EQ(alive, 0);
}

TEST_F(AttachmentRules, AHandlerIsRunByOneThreadAndOthersLeaveItsNewsToIt) {
  interface_->attach(*first_, ids_, nothing);
  Manager::LockGuard lock(interface_->mutex());
  EXPECT_TRUE(interface_->enter_handlers(*first_));
  EXPECT_FALSE(interface_->enter_handlers(*first_));
  interface_->leave_handlers(*first_);
  EXPECT_TRUE(interface_->enter_handlers(*first_));
  interface_->leave_handlers(*first_);
}

TEST_F(AttachmentRules, WhoeverWasTurnedAwayWhileHandlersChangedIsToldOf) {
  interface_->attach(*first_, ids_, nothing);
  for (bool somebody : {true, false}) {
    bool told = !somebody;
    interface_->host_is_quiet(
        *first_,
        [&] {
          if (!somebody) return;
          Manager::LockGuard lock(interface_->mutex());
          EXPECT_FALSE(interface_->enter_handlers(*first_));
        },
        [&](bool turned_away) { told = turned_away; });
    EXPECT_EQ(told, somebody);
  }
}

// H4-9, and H4-7: what a handler may do and what it may not.
TEST(AttachmentDeathTest, AHandlerThatDestroysItsOwnPortIsTold) {
  using namespace testing;
  EXPECT_DEATH(
      {
        Bench bench;
        auto port = bench.attach("bt");
        port->set_link_handler([&](const registers::LinkState&) { port.reset(); });
        (void)bench.board->detach(port->endpoint(), "by force");
      },
      "a host's handler changed its own port's handlers, or destroyed the port");
}

TEST(AttachmentOfABoard, AHandlerMayDetachItsOwnHostByForce) {
  using namespace testing;
  BoardConfig config = board_config();
  config.interfaces[0].latency.response = {hardware::Latency::Shape::kFixed, std::chrono::microseconds(1),
                                           std::chrono::microseconds(1)};
  Bench bench(config);
  auto port = bench.attach("bt");
  std::vector<std::string> told;
  port->set_link_handler([&](const registers::LinkState& link) { told.push_back(link.reason); });
  port->write(registers::bt::kIntMask, registers::bt::kB2hIrqEnable);
  port->set_interrupt_handler([&](bool level) {
    told.push_back(level ? "interrupt" : "none");
    if (level) {
      EXPECT_TRUE(bench.board->detach(port->endpoint(), "from its own handler"));
    }
  });
  bt_send(*port, kGetDeviceId);
  EXPECT_TRUE(bench.run_until([&] { return !port->link().up; }));
  EXPECT_EQ(told, (std::vector<std::string>{"interrupt", "none", "from its own handler"}));
}

TEST(AttachmentOfABoard, ADetachByForceDoesNotWaitForAHandlerThatRuns) {
  using namespace testing;
  Bench bench;
  auto port = bench.attach("bt");
  std::atomic<bool> inside{false}, go_on{false}, down{false};
  port->set_link_handler([&](const registers::LinkState&) { down = true; });
  port->write(registers::bt::kIntMask, registers::bt::kB2hIrqEnable);
  port->set_interrupt_handler([&](bool level) {
    if (!level) return;
    inside = true;
    while (!go_on) std::this_thread::yield();
  });
  bt_send(*port, kGetDeviceId);
  std::thread worker([&] { bench.run_until([&] { return inside.load(); }); });
  while (!inside) std::this_thread::yield();
  EXPECT_TRUE(bench.board->detach(port->endpoint(), "now"));
  EXPECT_FALSE(down) << "its handler was running";
  go_on = true;
  worker.join();
  EXPECT_TRUE(down) << "whoever ran the handler tells the end, too";
}

}  // namespace
}  // namespace bmcpair::board
