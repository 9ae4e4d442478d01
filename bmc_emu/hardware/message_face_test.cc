#include "bmc_emu/hardware/message_face.h"

#include <gtest/gtest.h>

#include "proto/ipmi/message.h"

namespace bmcpair::hardware {
namespace {

using namespace std::chrono_literals;

const Bytes kRequest{0x18, 0x01};
const Bytes kResponse{0x1c, 0x01, 0x00, 0x20};

struct Rig {
  explicit Rig(LatencyPlan plan = {}) : face(plan, 1, {254, 254}) {}
  Instant at(Duration d) { return Instant{} + d; }
  MessageFace face;
};

TEST(MessageFace, AnAnswerLeavesWithItsTagAfterTheResponseLatencyAndNotBefore) {
  LatencyPlan plan;
  plan.response = {Latency::Shape::kFixed, 700us, 700us};
  Rig rig(plan);
  EXPECT_FALSE(rig.face.open());
  EXPECT_EQ(rig.face.next_due(), kNever);
  auto taken = rig.face.take(9, kRequest, rig.at(1ms));
  ASSERT_TRUE(taken);
  EXPECT_EQ(taken->message, kRequest);
  EXPECT_TRUE(rig.face.open());
  EXPECT_EQ(rig.face.next_due(), kNever) << "nothing is due before the firmware has answered";
  ASSERT_TRUE(rig.face.respond(taken->token, kResponse, rig.at(1100us)));
  EXPECT_EQ(rig.face.next_due(), rig.at(1700us));
  EXPECT_FALSE(rig.face.step(rig.at(1700us) - Duration(1)));
  auto reply = rig.face.step(rig.at(1700us));
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->tag, 9u);
  EXPECT_EQ(reply->message, kResponse);
  EXPECT_FALSE(rig.face.open());
  EXPECT_FALSE(rig.face.step(rig.at(1h)));
}

TEST(MessageFace, ASlowFirmwareIsNotSlowedFurther) {
  Rig rig;
  auto taken = rig.face.take(1, kRequest, rig.at(0s));
  ASSERT_TRUE(rig.face.respond(taken->token, kResponse, rig.at(3s)));
  EXPECT_EQ(rig.face.next_due(), rig.at(3s));
}

TEST(MessageFace, ACommandMayHaveALatencyOfItsOwn) {
  LatencyPlan plan;
  plan.by_command[{0x06, 0x01}] = {Latency::Shape::kFixed, 2s, 2s};
  Rig rig(plan);
  auto taken = rig.face.take(1, kRequest, rig.at(0s));
  rig.face.respond(taken->token, kResponse, rig.at(0s));
  EXPECT_EQ(rig.face.next_due(), rig.at(2s));
  taken = rig.face.take(2, Bytes{0x18, 0x02}, rig.at(0s));
  rig.face.respond(taken->token, kResponse, rig.at(0s));
  EXPECT_EQ(rig.face.next_due(), rig.at(50us));
}

TEST(MessageFace, ANewerRequestMakesTheOlderStaleAnsweredOrNot) {
  Rig rig;
  auto first = rig.face.take(1, kRequest, rig.at(0s));
  auto second = rig.face.take(2, kRequest, rig.at(0s));
  EXPECT_NE(first->token, second->token);
  EXPECT_FALSE(rig.face.respond(first->token, kResponse, rig.at(0s)));
  ASSERT_TRUE(rig.face.respond(second->token, kResponse, rig.at(0s)));
  EXPECT_FALSE(rig.face.respond(second->token, kResponse, rig.at(0s))) << "answered once";
  auto third = rig.face.take(3, kRequest, rig.at(1us));
  EXPECT_EQ(rig.face.next_due(), kNever) << "the answer that was on its way is not given any more";
  ASSERT_TRUE(rig.face.respond(third->token, kResponse, rig.at(1us)));
  EXPECT_EQ(rig.face.step(rig.at(1s))->tag, 3u);
  EXPECT_FALSE(rig.face.respond(0, kResponse, rig.at(1s)));
}

TEST(MessageFace, AResponseAboveTheLimitIsCaAndOneWithoutACompletionCodeFf) {
  Rig rig;
  auto answered_with = [&](const Bytes& response) {
    auto taken = rig.face.take(1, Bytes{0x29, 0x43}, rig.at(0s));
    rig.face.respond(taken->token, response, rig.at(0s));
    return rig.face.step(rig.at(1s))->message;
  };
  Bytes most(254, 0x55);
  EXPECT_EQ(answered_with(most), most);
  EXPECT_EQ(answered_with(Bytes(255, 0x55)), (Bytes{0x2d, 0x43, 0xca}));
  EXPECT_EQ(answered_with(Bytes{0x2d, 0x43}), (Bytes{0x2d, 0x43, 0xff}));
}

TEST(MessageFace, ABmcThatIsAwayTakesNothingAndForgetsWhatItHad) {
  Rig rig;
  auto taken = rig.face.take(1, kRequest, rig.at(0s));
  ASSERT_TRUE(rig.face.respond(taken->token, kResponse, rig.at(0s)));
  rig.face.go_offline();
  EXPECT_FALSE(rig.face.online());
  EXPECT_EQ(rig.face.next_due(), kNever);
  EXPECT_FALSE(rig.face.step(rig.at(1h)));
  EXPECT_FALSE(rig.face.take(2, kRequest, rig.at(0s)));
  rig.face.come_online();
  EXPECT_FALSE(rig.face.respond(taken->token, kResponse, rig.at(0s)));
  EXPECT_TRUE(rig.face.take(3, kRequest, rig.at(0s)));
}

TEST(MessageFace, LessThanNetFnAndCmdIsNoRequest) {
  Rig rig;
  EXPECT_FALSE(rig.face.take(1, Bytes{}, rig.at(0s)));
  EXPECT_FALSE(rig.face.take(1, Bytes{0x18}, rig.at(0s)));
  EXPECT_FALSE(rig.face.open());
}

}  // namespace
}  // namespace bmcpair::hardware
