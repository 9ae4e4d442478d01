#include "host_driver/message_handler/message_handler.h"

#include <gtest/gtest.h>

#include "host_driver/message_handler/fake_smi.h"

namespace bmcpair::host::inline BMCPAIR_RT {
namespace {

const Address kBmc = SystemInterfaceAddress{};
const Address kSatellite = IpmbAddress{0, 0x72, 0, false};
const Address kRemote = LanAddress{1, 4, 0x33, 0x81, 0x20, 0};

// The Send Message requests among what was sent.
std::vector<Bytes> routed(Rig& rig) {
  std::vector<Bytes> out;
  for (const Bytes& b : rig.sent()) {
    if (b[0] == 0x18 && b[1] == 0x34) out.push_back(b);
  }
  return out;
}

uint8_t sequence_of(const Bytes& ipmb_send) { return ipmb_send[7] >> 2; }

// As Get Message brings the satellite's answer.
Bytes ipmb_answer(const Bytes& send, uint8_t cc, uint8_t slave = 0x72) {
  return {0x00,
          static_cast<uint8_t>((send[4] | 4) & 0xfc),
          0x00,
          slave,
          static_cast<uint8_t>(send[7] & 0xfc),
          send[8],
          cc,
          0xaa,
          0x00};
}

// A round trip through call() that leaves nothing behind.
TEST(SystemInterfaceRequests, AnAnswerCarriesAddressNumberAndCompletionCodeFirst) {
  Rig rig;
  rig.smi->let_answer([](ByteView) { return Bytes{0x00, 0x11, 0x22}; });
  Inbox inbox;
  auto user = rig.open(inbox);
  ASSERT_TRUE(user->request(SystemInterfaceAddress{1}, 77, request_of(0x0a, 0x20, {5})));
  auto m = inbox.next();
  ASSERT_TRUE(m);
  EXPECT_EQ(rig.sent().front(), (Bytes{0x0a << 2 | 1, 0x20, 5}));
  EXPECT_EQ(m->type, RecvType::kResponse);
  EXPECT_EQ(m->address, Address(SystemInterfaceAddress{1}));
  EXPECT_EQ(m->msgid, 77);
  EXPECT_EQ(m->netfn, 0x0b);
  EXPECT_EQ(m->cmd, 0x20);
  EXPECT_EQ(m->data, (Bytes{0x00, 0x11, 0x22}));
  EXPECT_FALSE(m->failed);
  rig.settle();
  EXPECT_GE(rig.stat(Statistic::kHandledLocalResponses), 19u);  // discovery's 18, and this
}

TEST(SystemInterfaceRequests, ACompletionCodeIsAValueAndOurFailureIsAnError) {
  Rig rig;
  rig.smi->let_answer([](ByteView) { return Bytes{0xd5}; });
  Inbox inbox;
  auto user = rig.open(inbox);
  auto answered = call(*user, kBmc, request_of(6, 1), soon());
  ASSERT_TRUE(answered);
  EXPECT_EQ(answered->completion_code(), ipmi::CompletionCode::kNotSupportedInState);
  rig.smi->refuse = [](ByteView) { return Status(Error{ErrorCode::kHosed, "hosed"}); };
  auto failed = call(*user, kBmc, request_of(6, 1), soon());
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, ErrorCode::kHosed);
  EXPECT_EQ(inbox.received(), 0u);
  EXPECT_EQ(user->outstanding_messages(), 1);  // `answered` is still alive
}

TEST(SystemInterfaceRequests, WhatLinuxRefusesIsRefused) {
  Rig rig;
  Inbox inbox;
  auto user = rig.open(inbox);
  auto code = [&](const Address& a, ipmi::Request r) {
    Status s = user->request(a, 0, r);
    return s ? std::optional<ErrorCode>() : s.error().code;
  };
  EXPECT_EQ(code(kBmc, request_of(7, 1)), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code(SystemInterfaceAddress{4}, request_of(6, 1)), ErrorCode::kInvalidArgument);
  for (uint8_t cmd : {0x33, 0x34, 0x35}) EXPECT_EQ(code(kBmc, request_of(6, cmd)), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code(kBmc, request_of(6, 1, Bytes(271))), ErrorCode::kLimit);
  EXPECT_EQ(code(kBmc, request_of(64, 1)), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code(kBmc, ipmi::Request{6, 2, 1, {}}), ErrorCode::kInvalidArgument);  // contradicting LUNs
  EXPECT_EQ(code(IpmbAddress{15, 0x72, 0, false}, request_of(6, 1)), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code(IpmbAddress{16, 0x72, 0, false}, request_of(6, 1)), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code(IpmbAddress{1, 0x72, 0, false}, request_of(6, 1)), ErrorCode::kInvalidArgument);  // a LAN
  EXPECT_EQ(code(LanAddress{0, 0, 0, 0, 0, 0}, request_of(6, 1)), ErrorCode::kInvalidArgument);    // an IPMB
  EXPECT_EQ(code(kSatellite, request_of(6, 1, Bytes(263))), ErrorCode::kLimit);
  EXPECT_EQ(code(IpmbAddress{0, 0x72, 0, true}, request_of(6, 1, Bytes(262))), ErrorCode::kLimit);
  EXPECT_EQ(code(kRemote, request_of(6, 1, Bytes(261))), ErrorCode::kLimit);
  EXPECT_EQ(code(IpmbDirectAddress{0x72, 0, 0}, request_of(6, 1)), ErrorCode::kNotSupported);
  EXPECT_EQ(rig.stat(Statistic::kSentInvalidCommands), 16u);
  EXPECT_TRUE(rig.sent().empty());
  EXPECT_EQ(user->outstanding_messages(), 0);
  // The largest that fit.
  EXPECT_TRUE(user->request(kBmc, 0, request_of(6, 1, Bytes(270))));
  EXPECT_TRUE(user->request(kSatellite, 0, request_of(6, 1, Bytes(262))));
  EXPECT_TRUE(user->request(kRemote, 0, request_of(6, 1, Bytes(260))));
}

TEST(SystemInterfaceRequests, AnAnswerTooShortOrToAnotherCommandBecomesUnspecifiedError) {
  Rig rig;
  Inbox inbox;
  auto user = rig.open(inbox);
  struct Case {
    const char* what;
    Bytes rsp;
  };
  for (const Case& c : {Case{"empty", {}}, Case{"one byte", {0x1c}}, Case{"no completion code", {0x1c, 0x01}},
                        Case{"NetFn", {0x2c, 0x01, 0x00}}, Case{"command", {0x1c, 0x08, 0x00}}}) {
    SCOPED_TRACE(c.what);
    rig.smi->rewrite = [&](SmiMessage& m) {
      std::copy(c.rsp.begin(), c.rsp.end(), m.rsp);
      m.rsp_size = static_cast<uint16_t>(c.rsp.size());
    };
    ASSERT_TRUE(user->request(kBmc, 5, request_of(6, 1)));
    auto m = inbox.next();
    ASSERT_TRUE(m);
    EXPECT_EQ(m->data, Bytes{0xff});
    EXPECT_EQ(m->netfn, 7);
    EXPECT_EQ(m->cmd, 1);
    EXPECT_TRUE(m->failed);
    EXPECT_EQ(m->failure, ErrorCode::kProtocol);
  }
  EXPECT_EQ(rig.stat(Statistic::kMismatchedResponses), 2u);
}

TEST(SystemInterfaceRequests, AnAnswerThatClaimsMoreThanItsBufferIsMalformed) {
  Rig rig;
  Inbox inbox;
  auto user = rig.open(inbox);
  rig.smi->rewrite = [&](SmiMessage& m) { m.rsp_size = 500; };
  ASSERT_TRUE(user->request(kBmc, 5, request_of(6, 1)));
  auto m = inbox.next();
  ASSERT_TRUE(m);
  EXPECT_EQ(m->data, Bytes{0xff});
}

// G-78: a BMC that answers wrongly all the time does not fill the log.
TEST(SystemInterfaceRequests, MismatchesAreLoggedAtALowerAndLowerRate) {
  rt::Mutex m;
  int lines = 0;
  auto options = manual();
  options.log = [&](const std::string&) {
    rt::LockGuard lock(m);
    ++lines;
  };
  Rig rig(options);
  Inbox inbox;
  auto user = rig.open(inbox);
  rig.smi->rewrite = [&](SmiMessage& msg) { msg.rsp[1] = 0x77; };
  for (int i = 0; i < 64; ++i) EXPECT_FALSE(call(*user, kBmc, request_of(6, 1), soon()));
  rt::LockGuard lock(m);
  EXPECT_EQ(lines, 7);  // 1, 2, 4 .. 64
}

// G-05: what one user asked is answered in that order, whatever the priorities of others.
TEST(Queues, OneMessageIsBelowAndTheRestWaitsWithTheHighPriorityFirst) {
  Rig rig;
  rig.smi->let_answer([](ByteView) -> std::optional<Bytes> { return std::nullopt; });
  Inbox inbox;
  auto user = rig.open(inbox);
  RequestOptions high;
  high.priority = 1;
  ASSERT_TRUE(user->request(kBmc, 0, request_of(6, 0x50)));
  ASSERT_TRUE(user->request(kBmc, 1, request_of(6, 0x51)));
  ASSERT_TRUE(user->request(kBmc, 2, request_of(6, 0x52), high));
  ASSERT_TRUE(user->request(kBmc, 3, request_of(6, 0x53), high));
  EXPECT_EQ(rig.sent().size(), 1u);
  for (uint8_t cmd : {0x50, 0x52, 0x53, 0x51}) {
    ASSERT_TRUE(rig.smi->wait_held(0x18, cmd)) << int{cmd};
    rig.smi->answer({0});
  }
  for (int64_t id : {0, 2, 3, 1}) {
    auto m = inbox.next();
    ASSERT_TRUE(m);
    EXPECT_EQ(m->msgid, id);
  }
  EXPECT_EQ(rig.smi->double_sends, 0);
}

// G-05: the answer is here and the worker, busy elsewhere, has not yet picked the next.
TEST(Queues, ARequestDoesNotOvertakeThoseThatWaitForTheWorkersPick) {
  Rig rig;
  rig.smi->let_answer([](ByteView) -> std::optional<Bytes> { return std::nullopt; });
  Inbox inbox;
  auto user = rig.open(inbox);
  ASSERT_TRUE(user->register_for_cmd(0x2e, 0x60));
  rt::Mutex m;
  rt::WaitQueue changed;
  bool parked = false, go_on = false;
  TestHook hook([&](std::string_view name) {
    if (name != "mh.command.copy") return false;
    rt::UniqueLock lock(m);
    parked = true;
    changed.wake_all();
    changed.wait(lock, [&] { return go_on; });
    return false;
  });
  ASSERT_TRUE(user->request(kBmc, 1, request_of(6, 0x51)));
  ASSERT_TRUE(user->request(kBmc, 2, request_of(6, 0x52)));
  ASSERT_TRUE(rig.smi->wait_held(0x18, 0x51));
  rig.smi->bring_message({0x00, 0x2e << 2, 0, 0x72, 0, 0x60, 0});
  {
    rt::UniqueLock lock(m);
    ASSERT_TRUE(changed.wait_until(lock, soon(), [&] { return parked; }));
  }
  rig.smi->answer({0});
  ASSERT_TRUE(user->request(kBmc, 3, request_of(6, 0x53)));
  {
    rt::LockGuard lock(m);
    go_on = true;
    changed.wake_all();
  }
  for (uint8_t cmd : {0x52, 0x53}) {
    ASSERT_TRUE(rig.smi->wait_held(0x18, cmd));
    rig.smi->answer({0});
  }
  EXPECT_EQ(rig.sent().at(1)[1], 0x52);
  EXPECT_EQ(rig.sent().at(2)[1], 0x53);
}

// G-67, G-55: a refusal by the layer below answers once, frees once, and what is queued goes on.
TEST(Queues, ARefusedMessageIsAnsweredOnceAndTheNextGoesOut) {
  Rig rig;
  rig.smi->refuse = [](ByteView r) {
    return r[1] == 0x50   ? Status(Error{ErrorCode::kHosed, "hosed"})
           : r[1] == 0x51 ? Status(Error{ErrorCode::kIo, "gone"})
                          : Status();
  };
  Inbox inbox;
  auto user = rig.open(inbox);
  ASSERT_TRUE(user->request(kBmc, 0, request_of(6, 0x50)));
  ASSERT_TRUE(user->request(kBmc, 1, request_of(6, 0x51)));
  ASSERT_TRUE(user->request(kBmc, 2, request_of(6, 0x52)));
  const Bytes expected[] = {{0x82}, {0xff}, {0x00}};
  const bool failed[] = {true, true, false};
  for (int i = 0; i < 3; ++i) {
    auto m = inbox.next();
    ASSERT_TRUE(m);
    EXPECT_EQ(m->msgid, i);
    EXPECT_EQ(m->data, expected[i]);
    EXPECT_EQ(m->failed, failed[i]);
  }
  rig.settle();
  EXPECT_EQ(inbox.received(), 3u);
  EXPECT_EQ(user->outstanding_messages(), 0);
  EXPECT_EQ(rig.stat(Statistic::kFailedMessages), 2u);
}

// G-53
TEST(Limits, TheHundredAndFirstOutstandingMessageIsBusyAndCountsReturnToZero) {
  Rig rig;
  rig.smi->let_answer([](ByteView) -> std::optional<Bytes> { return std::nullopt; });
  Inbox inbox;
  auto user = rig.open(inbox);
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(user->request(kBmc, i, request_of(6, 0x50)));
  Status s = user->request(kBmc, 100, request_of(6, 0x50));
  ASSERT_FALSE(s);
  EXPECT_EQ(s.error().code, ErrorCode::kBusy);
  EXPECT_EQ(user->outstanding_messages(), 100);
  ASSERT_TRUE(rig.smi->wait_held(0x18, 0x50));
  rig.smi->let_answer(&FakeSmi::usual);
  rig.smi->answer({0});
  ASSERT_TRUE(inbox.wait_received(100));
  EXPECT_EQ(user->outstanding_messages(), 100);  // read, but not destroyed
  inbox.clear();
  EXPECT_EQ(user->outstanding_messages(), 0);
}

// G-53, G-54
TEST(Limits, TheThirtyFirstUserIsBusyAndAnInterfaceThatIsNotThereCountsNobody) {
  Rig rig;
  Inbox inbox;
  EXPECT_EQ(rig.handler.create_user(7, {}).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(rig.handler.create_user(-1, {}).error().code, ErrorCode::kNotFound);
  std::vector<std::unique_ptr<User>> users;
  for (int i = 0; i < 30; ++i) users.push_back(rig.open(inbox));
  EXPECT_EQ(rig.handler.create_user(0, {}).error().code, ErrorCode::kBusy);
  EXPECT_EQ(rig.handler.describe(0)->users, 30);
  users.pop_back();
  EXPECT_TRUE(rig.handler.create_user(0, {}));
  users.clear();
  EXPECT_EQ(rig.handler.describe(0)->users, 0);
}

// E.3: 18 34 chan rsSA netFn/LUN csum rqSA seq/LUN cmd data csum
TEST(Ipmb, ARequestHasTheFormOfTheSpecificationAndItsAnswerFindsItsOwner) {
  Rig rig;
  Inbox inbox;
  auto user = rig.open(inbox);
  ASSERT_TRUE(user->request(IpmbAddress{0, 0x72, 1, false}, 9, request_of(4, 0x2d, {0x30})));
  ASSERT_TRUE(rig.smi->wait_sent(rig.before + 1));
  const Bytes send = routed(rig).at(0);
  EXPECT_EQ(Bytes(send.begin(), send.begin() + 5), (Bytes{0x18, 0x34, 0x00, 0x72, 0x11}));
  EXPECT_EQ(static_cast<uint8_t>(send[3] + send[4] + send[5]), 0);
  EXPECT_EQ(send[6], 0x20);
  EXPECT_EQ(send[7] & 3, 2);  // our LUN
  EXPECT_EQ(send[8], 0x2d);
  EXPECT_EQ(send[9], 0x30);
  uint8_t sum = 0;
  for (size_t i = 6; i < send.size(); ++i) sum = static_cast<uint8_t>(sum + send[i]);
  EXPECT_EQ(sum, 0);
  EXPECT_EQ(send.size(), 11u);
  rig.settle();
  EXPECT_EQ(rig.smi->last_watch(), 1u);
  Bytes answer = ipmb_answer(send, 0x00);
  answer[4] |= 1;  // the responder's LUN
  rig.smi->bring_message(answer);
  auto m = inbox.next();
  ASSERT_TRUE(m);
  EXPECT_EQ(m->msgid, 9);
  EXPECT_EQ(m->address, Address(IpmbAddress{0, 0x72, 1, false}));
  EXPECT_EQ(m->netfn, 5);
  EXPECT_EQ(m->cmd, 0x2d);
  EXPECT_EQ(m->data, (Bytes{0x00, 0xaa}));
  rig.settle();
  EXPECT_EQ(rig.stat(Statistic::kHandledIpmbResponses), 1u);
  EXPECT_EQ(rig.smi->last_watch(), 0u);
}

TEST(Ipmb, ABroadcastHasALeadingZeroNoRetryAndAnAnswerFromThePlainAddress) {
  Rig rig;
  Inbox inbox;
  auto user = rig.open(inbox);
  RequestOptions many;
  many.retries = 9;
  ASSERT_TRUE(user->request(IpmbAddress{0, 0x72, 0, true}, 1, request_of(6, 1), many));
  rig.settle();
  const Bytes send = routed(rig).at(0);
  EXPECT_EQ(Bytes(send.begin(), send.begin() + 6), (Bytes{0x18, 0x34, 0x00, 0x00, 0x72, 0x18}));
  rig.handler.tick(kSecond);
  rig.handler.tick(kSecond);
  auto m = inbox.next();
  ASSERT_TRUE(m);
  EXPECT_EQ(m->data, Bytes{0xc3});
  EXPECT_EQ(m->address, kSatellite);
  EXPECT_EQ(routed(rig).size(), 1u);
  EXPECT_EQ(rig.stat(Statistic::kTimedOutIpmbBroadcasts), 1u);
}

TEST(Ipmb, AResponseToACommandCarriesTheRequestersNumberAndComesBackAsResponseResponse) {
  Rig rig;
  Inbox inbox;
  auto user = rig.open(inbox);
  ASSERT_TRUE(user->request(kSatellite, 0x155, request_of(7, 1, {0x00, 0x42})));
  auto m = inbox.next();
  ASSERT_TRUE(m);
  EXPECT_EQ(sequence_of(routed(rig).at(0)), 0x15);
  EXPECT_EQ(m->type, RecvType::kResponseResponse);
  EXPECT_EQ(m->data, Bytes{0x00});
  EXPECT_EQ(m->msgid, 0x155);
  EXPECT_EQ(rig.smi->last_watch(), 0u);  // no entry
  EXPECT_EQ(rig.stat(Statistic::kSentIpmbResponses), 1u);
}

TEST(Ipmb, OwnAddressAndLunAreTheInterfacesAndTheOptionsOverrideThem) {
  SmiInfo info;
  info.slave_address = 0x24;
  Rig rig(manual(), info);
  Inbox a, b;
  auto one = rig.open(a);
  auto two = rig.open(b);
  EXPECT_EQ(one->my_address(0).value(), 0x24);
  EXPECT_EQ(one->my_address(1).value(), 0x20);
  EXPECT_EQ(one->my_lun(0).value(), 2);
  ASSERT_TRUE(two->set_my_address(0, 0x30));
  ASSERT_TRUE(two->set_my_lun(0, 7));
  EXPECT_EQ(one->my_address(0).value(), 0x30);
  EXPECT_EQ(one->my_lun(0).value(), 3);
  EXPECT_EQ(one->set_my_address(16, 0).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(one->my_lun(16).error().code, ErrorCode::kInvalidArgument);
  ASSERT_TRUE(one->request(kSatellite, 0, request_of(6, 1)));
  RequestOptions other;
  other.source_address = 0x40;
  other.source_lun = 1;
  ASSERT_TRUE(one->request(kSatellite, 0, request_of(6, 1), other));
  rig.settle();
  EXPECT_EQ(routed(rig).at(0)[6], 0x30);
  EXPECT_EQ(routed(rig).at(0)[7] & 3, 3);
  EXPECT_EQ(routed(rig).at(1)[6], 0x40);
  EXPECT_EQ(routed(rig).at(1)[7] & 3, 1);
}

TEST(Sequences, TheSixtyFifthRequestIsUnavailableUntilOneIsAnswered) {
  Rig rig;
  Inbox inbox;
  auto user = rig.open(inbox);
  for (int i = 0; i < 64; ++i) ASSERT_TRUE(user->request(kSatellite, i, request_of(6, 1)));
  Status s = user->request(kSatellite, 64, request_of(6, 1));
  ASSERT_FALSE(s);
  EXPECT_EQ(s.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(user->outstanding_messages(), 64);
  rig.settle();
  rig.smi->bring_message(ipmb_answer(routed(rig).at(30), 0));
  auto m = inbox.next();
  ASSERT_TRUE(m);
  EXPECT_EQ(m->msgid, 30);
  EXPECT_TRUE(user->request(kSatellite, 65, request_of(6, 1)));
}

// E.4: 2000 ms and four retries unless asked otherwise, then C3 made by us.
TEST(Sequences, ARequestIsSentFiveTimesTwoSecondsApartAndThenTimesOut) {
  Rig rig;
  Inbox inbox;
  auto user = rig.open(inbox);
  ASSERT_TRUE(user->request(kSatellite, 3, request_of(6, 1)));
  rig.settle();
  for (size_t sends = 1; sends <= 5; ++sends) {
    EXPECT_EQ(routed(rig).size(), sends);
    EXPECT_TRUE(rig.handler.tick(kSecond));
    EXPECT_EQ(routed(rig).size(), sends);
    rig.handler.tick(kSecond);
    rig.settle();
  }
  auto m = inbox.next();
  ASSERT_TRUE(m);
  EXPECT_EQ(m->data, Bytes{0xc3});
  EXPECT_TRUE(m->failed);
  EXPECT_EQ(m->failure, ErrorCode::kTimeout);
  EXPECT_EQ(routed(rig).size(), 5u);
  for (const Bytes& b : routed(rig)) EXPECT_EQ(b, routed(rig).front());
  EXPECT_EQ(rig.stat(Statistic::kRetransmittedIpmbCommands), 4u);
  EXPECT_EQ(rig.stat(Statistic::kTimedOutIpmbCommands), 1u);
  EXPECT_FALSE(rig.handler.tick(kSecond));
  EXPECT_EQ(rig.smi->last_watch(), 0u);
  // The answer that comes now finds nobody.
  rig.smi->bring_message(ipmb_answer(routed(rig).front(), 0));
  rig.settle();
  EXPECT_EQ(rig.stat(Statistic::kUnhandledIpmbResponses), 1u);
  EXPECT_EQ(inbox.received(), 1u);
}

// G-17: less than a tick.
TEST(Sequences, ARetryTimeBelowTheTickExpiresAtTheNextTick) {
  Rig rig;
  Inbox inbox;
  auto user = rig.open(inbox);
  RequestOptions fast;
  fast.retries = 0;
  fast.retry_time = std::chrono::milliseconds(500);
  ASSERT_TRUE(user->request(kSatellite, 3, request_of(6, 1), fast));
  rig.settle();
  rig.handler.tick(kSecond);
  auto m = inbox.next();
  ASSERT_TRUE(m);
  EXPECT_EQ(m->data, Bytes{0xc3});
}

// E.4: until the BMC has taken the message the retry time does not run, but a minute does.
TEST(Sequences, TheRetryTimeStartsWhenTheBmcHasTakenTheMessage) {
  Rig rig;
  rig.smi->let_answer([](ByteView) -> std::optional<Bytes> { return std::nullopt; });
  Inbox inbox;
  auto user = rig.open(inbox);
  RequestOptions once;
  once.retries = 0;
  ASSERT_TRUE(user->request(kSatellite, 3, request_of(6, 1), once));
  ASSERT_TRUE(rig.smi->wait_held(0x18, 0x34));
  for (int i = 0; i < 59; ++i) rig.handler.tick(kSecond);
  EXPECT_EQ(inbox.received(), 0u);
  rig.handler.tick(kSecond);
  auto m = inbox.next();
  ASSERT_TRUE(m);
  EXPECT_EQ(m->data, Bytes{0xc3});
  // The BMC's acknowledgement comes late: a stale number, which starts nothing.
  rig.smi->let_answer(&FakeSmi::usual);
  rig.smi->answer({0});
  rig.settle();
  EXPECT_EQ(inbox.received(), 1u);
  EXPECT_FALSE(rig.handler.tick(kSecond));
}

TEST(Sequences, ARefusalByTheBmcIsFinalUnlessItMeansTryAgain) {
  Rig rig;
  Inbox inbox;
  auto user = rig.open(inbox);
  RequestOptions once;
  once.retries = 0;
  size_t before = 0;
  for (uint8_t cc : {0xc0, 0x81, 0x82, 0x83}) {
    rig.smi->let_answer([cc](ByteView r) { return r[1] == 0x34 ? Bytes{cc} : Bytes{0}; });
    ASSERT_TRUE(user->request(kSatellite, cc, request_of(6, 1), once));
    rig.settle();
    EXPECT_EQ(inbox.received(), before++);
    rig.handler.tick(2 * kSecond);
    auto m = inbox.next();
    ASSERT_TRUE(m);
    EXPECT_EQ(m->data, Bytes{0xc3});
  }
  rig.smi->let_answer([](ByteView r) { return r[1] == 0x34 ? Bytes{0xc9} : Bytes{0}; });
  ASSERT_TRUE(user->request(kSatellite, 1, request_of(6, 1)));
  auto m = inbox.next();
  ASSERT_TRUE(m);
  EXPECT_EQ(m->data, Bytes{0xc9});
  EXPECT_FALSE(m->failed);  // the BMC's own word
  rig.settle();
  EXPECT_EQ(rig.stat(Statistic::kSentIpmbCommandErrs), 1u);
  EXPECT_EQ(rig.smi->last_watch(), 0u);
}

// The hosed layer answers 82h, which from a BMC would mean "bus error, try again".
TEST(Sequences, AFailureMadeByTheDriverEndsTheRequestAtOnce) {
  Rig rig;
  Inbox inbox;
  auto user = rig.open(inbox);
  rig.smi->refuse = [](ByteView r) { return r[1] == 0x34 ? Status(Error{ErrorCode::kHosed, "hosed"}) : Status(); };
  ASSERT_TRUE(user->request(kSatellite, 1, request_of(6, 1)));
  auto m = inbox.next();
  ASSERT_TRUE(m);
  EXPECT_EQ(m->data, Bytes{0x82});
  EXPECT_TRUE(m->failed);
  EXPECT_EQ(m->failure, ErrorCode::kHosed);
}

TEST(Sequences, AnAnswerMustFitInEveryPart) {
  Rig rig;
  Inbox inbox;
  auto user = rig.open(inbox);
  ASSERT_TRUE(user->request(kSatellite, 1, request_of(6, 1)));
  rig.settle();
  const Bytes good = ipmb_answer(routed(rig).at(0), 0);
  struct Change {
    const char* what;
    size_t at;
    uint8_t to;
  };
  for (const Change& c :
       {Change{"NetFn", 1, 0x2c}, Change{"slave", 3, 0x74}, Change{"sequence", 4, static_cast<uint8_t>(good[4] ^ 0x80)},
        Change{"LUN", 4, static_cast<uint8_t>(good[4] | 1)}, Change{"command", 5, 2}}) {
    SCOPED_TRACE(c.what);
    Bytes bad = good;
    bad[c.at] = c.to;
    rig.smi->bring_message(bad);
  }
  rig.settle();
  EXPECT_EQ(inbox.received(), 0u);
  EXPECT_EQ(rig.stat(Statistic::kUnhandledIpmbResponses), 5u);
  rig.smi->bring_message(good);
  EXPECT_TRUE(inbox.next());
}

TEST(Sequences, ALostRetransmissionWaitsForItsNextExpiry) {
  Rig rig;
  Inbox inbox;
  auto user = rig.open(inbox);
  RequestOptions once;
  once.retries = 1;
  ASSERT_TRUE(user->request(kSatellite, 1, request_of(6, 1), once));
  rig.settle();
  {
    TestHook hook([](std::string_view name) { return name == "mh.retransmit"; });
    rig.handler.tick(2 * kSecond);
  }
  EXPECT_EQ(routed(rig).size(), 1u);
  EXPECT_EQ(rig.stat(Statistic::kDroppedRexmitIpmbCommands), 1u);
  rig.handler.tick(59 * kSecond);
  EXPECT_EQ(inbox.received(), 0u);
  rig.handler.tick(kSecond);
  EXPECT_TRUE(inbox.next());
}

TEST(Lan, ARequestHasTheFormOfTheSpecificationAndItsAnswerFindsItsOwner) {
  Rig rig;
  Inbox inbox;
  auto user = rig.open(inbox);
  ASSERT_TRUE(user->request(kRemote, 4, request_of(6, 1, {9})));
  rig.settle();
  const Bytes send = routed(rig).at(0);
  ASSERT_EQ(send.size(), 12u);
  EXPECT_EQ(Bytes(send.begin(), send.begin() + 6), (Bytes{0x18, 0x34, 0x01, 0x33, 0x81, 0x18}));
  EXPECT_EQ(static_cast<uint8_t>(send[4] + send[5] + send[6]), 0);
  EXPECT_EQ(send[7], 0x20);
  EXPECT_EQ(send[9], 1);
  uint8_t sum = 0;
  for (size_t i = 7; i < send.size(); ++i) sum = static_cast<uint8_t>(sum + send[i]);
  EXPECT_EQ(sum, 0);
  // Privilege is not compared.
  rig.smi->bring_message({0x31, 0x33, 0x20, 0x1c, 0, 0x81, static_cast<uint8_t>(send[8] & 0xfc), 1, 0x00, 0x55, 0});
  auto m = inbox.next();
  ASSERT_TRUE(m);
  EXPECT_EQ(m->msgid, 4);
  EXPECT_EQ(m->data, (Bytes{0x00, 0x55}));
  rig.settle();
  EXPECT_EQ(rig.stat(Statistic::kHandledLanResponses), 1u);
  EXPECT_EQ(rig.stat(Statistic::kSentLanCommands), 1u);
}

// E.5: C1 in the received buffer itself (G-16).
TEST(Commands, ACommandNobodyRegisteredForIsAnsweredInvalidCommand) {
  Rig rig;
  //                     chan  netfn csum  rsSA  seq   cmd  data csum
  rig.smi->bring_message({0x40, 0x2e << 2 | 1, 0, 0x72, 0x15 << 2 | 2, 0x60, 1, 0});
  ASSERT_TRUE(rig.smi->wait_sent(rig.before + 1));
  const Bytes send = routed(rig).at(0);
  ASSERT_EQ(send.size(), 11u);
  EXPECT_EQ(Bytes(send.begin(), send.begin() + 5), (Bytes{0x18, 0x34, 0x00, 0x72, 0x2f << 2 | 2}));
  EXPECT_EQ(send[6], 0x20);
  EXPECT_EQ(send[7], 0x15 << 2 | 1);
  EXPECT_EQ(send[8], 0x60);
  EXPECT_EQ(send[9], 0xc1);
  rig.smi->bring_message({0x31, 0x33, 0x20, 0x06 << 2, 0, 0x81, 0x21 << 2, 0x77});
  rig.settle();
  EXPECT_EQ(rig.stat(Statistic::kInvalidCommands), 1u);  // 11 bytes: too short for a LAN command
  rig.smi->bring_message({0x31, 0x33, 0x20, 0x06 << 2, 0, 0x81, 0x21 << 2, 0x77, 0});
  ASSERT_TRUE(rig.smi->wait_sent(rig.before + 3));  // settle()'s is between them
  const Bytes lan = routed(rig).at(1);
  EXPECT_EQ(Bytes(lan.begin(), lan.begin() + 6), (Bytes{0x18, 0x34, 0x01, 0x33, 0x81, 0x07 << 2}));
  EXPECT_EQ(lan[8] >> 2, 0x21);
  EXPECT_EQ(lan[10], 0xc1);
  rig.settle();
  EXPECT_EQ(rig.stat(Statistic::kUnhandledCommands), 2u);
}

TEST(Commands, ARegisteredReceiverGetsTheCommandWithItsNumber) {
  Rig rig;
  Inbox inbox, other_inbox;
  auto user = rig.open(inbox);
  auto other = rig.open(other_inbox);
  ASSERT_TRUE(user->register_for_cmd(0x2e, 0x60, 0x0003));
  EXPECT_EQ(rig.smi->last_watch(), 4u);
  EXPECT_EQ(other->register_for_cmd(0x2e, 0x60, 0x0002).error().code, ErrorCode::kBusy);
  EXPECT_TRUE(other->register_for_cmd(0x2e, 0x60, 0x0004));
  EXPECT_EQ(other->unregister_for_cmd(0x2e, 0x60, 0x0003).error().code, ErrorCode::kNotFound);
  rig.smi->bring_message({0x00, 0x2e << 2, 0, 0x72, 0x15 << 2 | 1, 0x60, 0xaa, 0xbb, 0});
  auto m = inbox.next();
  ASSERT_TRUE(m);
  EXPECT_EQ(m->type, RecvType::kCommand);
  EXPECT_EQ(m->msgid, 0x15);
  EXPECT_EQ(m->netfn, 0x2e);
  EXPECT_EQ(m->cmd, 0x60);
  EXPECT_EQ(m->address, Address(IpmbAddress{0, 0x72, 1, false}));
  EXPECT_EQ(m->data, (Bytes{0xaa, 0xbb}));
  // One channel less: there the command is unknown again.
  ASSERT_TRUE(user->unregister_for_cmd(0x2e, 0x60, 0x0001));
  rig.smi->bring_message({0x00, 0x2e << 2, 0, 0x72, 0x16 << 2, 0x60, 0});
  ASSERT_TRUE(rig.smi->wait_sent(rig.before + 1));
  EXPECT_EQ(routed(rig).at(0)[9], 0xc1);
  ASSERT_TRUE(user->unregister_for_cmd(0x2e, 0x60, 0x0002));
  EXPECT_EQ(user->unregister_for_cmd(0x2e, 0x60).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(rig.smi->last_watch(), 4u);  // the other's
  EXPECT_TRUE(other->unregister_for_cmd(0x2e, 0x60));
  EXPECT_EQ(rig.smi->last_watch(), 0u);
}

// G-82: 6.1 forgets the count when the user just goes.
TEST(Commands, AUserThatGoesGivesItsWatchBack) {
  Rig rig;
  for (int i = 0; i < 3; ++i) {
    Inbox inbox;
    auto h = inbox.handlers();
    h.watchdog_pretimeout = [] {};
    auto user = rig.handler.create_user(rig.number, h).value();
    EXPECT_EQ(rig.smi->last_watch(), 2u);
    ASSERT_TRUE(user->register_for_cmd(0x2e, 0x60));
    ASSERT_TRUE(user->register_for_cmd(0x2e, 0x61));
    ASSERT_TRUE(user->request(kSatellite, 0, request_of(6, 1)));
    EXPECT_EQ(rig.smi->last_watch(), 7u);
    user.reset();
    EXPECT_EQ(rig.smi->last_watch(), 0u);
  }
}

TEST(Commands, AReceiverThatDoesNotReadMakesTheRequesterHearBusyAndNobodyElseWait) {
  auto options = manual();
  options.messages_per_user_max = 2;
  Rig rig(options);
  Inbox inbox;
  auto user = rig.open(inbox);
  ASSERT_TRUE(user->register_for_cmd(0x2e, 0x60));
  for (int i = 0; i < 3; ++i) rig.smi->bring_message({0x00, 0x2e << 2, 0, 0x72, 0, 0x60, 0});
  ASSERT_TRUE(rig.smi->wait_sent(rig.before + 1));
  EXPECT_EQ(routed(rig).at(0)[9], 0xc0);
  rig.settle();
  EXPECT_EQ(inbox.received(), 2u);
}

TEST(Commands, WithoutMemoryForTheCopyACommandIsRetriedAtTheNextTickInOrder) {
  Rig rig;
  Inbox inbox;
  auto user = rig.open(inbox);
  ASSERT_TRUE(user->register_for_cmd(0x2e, 0x60));
  rt::Mutex m;
  rt::WaitQueue hit_changed;
  int hits = 0;
  {
    TestHook hook([&](std::string_view name) {
      if (name != "mh.command.copy") return false;
      rt::LockGuard lock(m);
      ++hits;
      hit_changed.wake_all();
      return true;
    });
    rig.smi->bring_message({0x00, 0x2e << 2, 0, 0x72, 1 << 2, 0x60, 0});
    rt::UniqueLock lock(m);
    ASSERT_TRUE(hit_changed.wait_until(lock, soon(), [&] { return hits > 0; }));
  }
  EXPECT_EQ(inbox.received(), 0u);
  // The work that put it back may still be on its way to say that it wants a tick.
  while (!rig.handler.tick_wanted()) rt::cpu_relax(std::chrono::microseconds(50));
  rig.handler.tick(kSecond);
  rig.smi->bring_message({0x00, 0x2e << 2, 0, 0x72, 2 << 2, 0x60, 0});
  for (int64_t id : {1, 2}) {
    auto got = inbox.next();
    ASSERT_TRUE(got);
    EXPECT_EQ(got->msgid, id);
  }
}

TEST(Commands, OemMessagesGoToTheirReceiver) {
  Rig rig;
  Inbox inbox;
  auto user = rig.open(inbox);
  ASSERT_TRUE(user->register_for_cmd(0x07, 0x33, 1u << 2));
  rig.smi->bring_message({0x02, 0xde, 0xad});
  auto m = inbox.next();
  ASSERT_TRUE(m);
  EXPECT_EQ(m->type, RecvType::kOem);
  EXPECT_EQ(m->data, (Bytes{0xde, 0xad}));
  EXPECT_EQ(m->address, kBmc);
}

TEST(Commands, ShortRefusedAndUnroutableMessagesAreDroppedAndCounted) {
  Rig rig;
  rig.smi->bring(0x33, {0x1c, 0x33, 0x80});                        // the queue was empty
  rig.smi->bring(0x33, {0x1c, 0x33, 0x00});                        // nothing behind the code
  rig.smi->bring(0x33, {0x1c});                                    // nothing
  rig.smi->bring(0x33, {0x1c, 0x34, 0x00, 0x00});                  // another command
  rig.smi->bring_message({0x00, 0x06 << 2, 0, 0x72, 0, 0x01});     // 9 bytes: an IPMB command has 10
  rig.smi->bring_message({0x00, 0x07 << 2, 0, 0x72, 0, 0x01, 0});  // 10 bytes: a response has 11
  rig.smi->bring_message({0x01, 0, 0, 0x07 << 2, 0, 0, 0, 0, 0});  // 12 bytes: a LAN response has 13
  rig.smi->bring_message({0x05, 1, 2, 3, 4, 5, 6, 7, 8, 9});       // a channel that is not there
  rig.smi->bring(0x35, {0x1c, 0x35, 0x00});                        // G-71
  rig.smi->bring(0x99, {0x1c, 0x99, 0x00});                        // asked by nobody
  rig.settle();
  EXPECT_EQ(rig.stat(Statistic::kInvalidCommands), 2u);
  EXPECT_EQ(rig.stat(Statistic::kInvalidIpmbResponses), 1u);
  EXPECT_EQ(rig.stat(Statistic::kInvalidLanResponses), 1u);
  EXPECT_EQ(rig.stat(Statistic::kInvalidEvents), 1u);
  EXPECT_EQ(rig.stat(Statistic::kUnhandledLocalResponses), 1u);
  EXPECT_EQ(rig.stat(Statistic::kUnhandledCommands), 0u);
  EXPECT_TRUE(routed(rig).empty());
}

struct DirectRig : Rig {
  static SmiInfo direct_info() {
    SmiInfo info;
    info.ipmb_direct = true;
    return info;
  }
  DirectRig() : Rig(manual(), direct_info()) {}
};

TEST(Direct, ARequestAndItsAnswerUseTheDirectForm) {
  DirectRig rig;
  rig.smi->rewrite = [](SmiMessage& m) {
    if (m.type != SmiMessageType::kIpmbDirect) return;
    const uint8_t rsp[] = {0x07 << 2 | 1, 0x72, 0x09 << 2 | 2, 0x01, 0x00, 0x33};
    std::copy(std::begin(rsp), std::end(rsp), m.rsp);
    m.rsp_size = sizeof rsp;
  };
  Inbox inbox;
  auto user = rig.open(inbox);
  ASSERT_TRUE(user->request(IpmbDirectAddress{0x72, 2, 1}, 9, request_of(6, 1, {0x44})));
  auto m = inbox.next();
  ASSERT_TRUE(m);
  EXPECT_EQ(rig.sent().at(0), (Bytes{0x06 << 2 | 2, 0x72, 0x09 << 2 | 1, 0x01, 0x44}));
  EXPECT_EQ(m->address, Address(IpmbDirectAddress{0x72, 2, 1}));
  EXPECT_EQ(m->data, (Bytes{0x00, 0x33}));
  EXPECT_EQ(m->netfn, 7);
  EXPECT_EQ(user->request(IpmbDirectAddress{0x73, 0, 0}, 0, request_of(6, 1)).error().code,
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(user->request(IpmbDirectAddress{0x72, 0, 0}, 0, request_of(7, 1)).error().code,
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(user->request(IpmbDirectAddress{0x72, 0, 0}, 0, request_of(6, 1, Bytes(269))).error().code,
            ErrorCode::kLimit);
}

// G-46, G-47
TEST(Direct, AnAnswerTooShortIsMadeWhole) {
  DirectRig rig;
  Inbox inbox;
  auto user = rig.open(inbox);
  for (uint16_t size : {0, 1, 3, 4}) {
    rig.smi->rewrite = [&](SmiMessage& m) { m.rsp_size = size; };
    ASSERT_TRUE(user->request(IpmbDirectAddress{0x72, 0, 0}, 9, request_of(6, 1)));
    auto m = inbox.next();
    ASSERT_TRUE(m);
    EXPECT_EQ(m->data, Bytes{0xff});
    EXPECT_EQ(m->cmd, 1);
    EXPECT_TRUE(m->failed);
  }
  EXPECT_EQ(rig.stat(Statistic::kInvalidIpmbResponses), 4u);
}

// G-48
TEST(Direct, ACommandNobodyRegisteredForIsAnsweredInDirectForm) {
  DirectRig rig;
  rig.smi->bring(0, {0x2e << 2 | 1, 0x72, 0x15 << 2 | 2, 0x60}, SmiMessageType::kIpmbDirect);
  ASSERT_TRUE(rig.smi->wait_sent(rig.before + 1));
  EXPECT_EQ(rig.sent().at(0), (Bytes{0x2f << 2 | 2, 0x72, 0x15 << 2 | 1, 0x60, 0xc1}));
  EXPECT_EQ(rig.smi->sent_types.back(), SmiMessageType::kIpmbDirect);
  rig.smi->bring(0, {0x2e << 2, 0x72, 0x15 << 2}, SmiMessageType::kIpmbDirect);
  rig.settle();
  EXPECT_EQ(rig.stat(Statistic::kInvalidCommands), 1u);
}

TEST(Direct, ACommandReachesItsReceiverAndTheResponseGoesBack) {
  DirectRig rig;
  Inbox inbox;
  auto user = rig.open(inbox);
  ASSERT_TRUE(user->register_for_cmd(0x2e, 0x60, 1));
  rig.smi->bring(0, {0x2e << 2 | 1, 0x72, 0x15 << 2 | 2, 0x60, 0x99}, SmiMessageType::kIpmbDirect);
  auto m = inbox.next();
  ASSERT_TRUE(m);
  EXPECT_EQ(m->type, RecvType::kCommand);
  EXPECT_EQ(m->data, Bytes{0x99});
  ASSERT_TRUE(user->request(m->address, m->msgid, request_of(0x2f, 0x60, {0x00, 0x01})));
  auto done = inbox.next();
  ASSERT_TRUE(done);
  EXPECT_EQ(rig.sent().at(0), (Bytes{0x2f << 2 | 2, 0x72, 0x15 << 2 | 1, 0x60, 0x00, 0x01}));
  EXPECT_EQ(done->type, RecvType::kResponseResponse);
}

TEST(Events, EveryoneWhoAskedGetsACopyAndTheFirstGetsTheQueue) {
  Rig rig;
  for (uint8_t i = 1; i <= 27; ++i) rig.smi->bring_event(i);
  rig.settle();
  EXPECT_EQ(rig.stat(Statistic::kDroppedEvents), 2u);
  EXPECT_EQ(rig.stat(Statistic::kEvents), 27u);
  Inbox a, b, c;
  auto one = rig.open(a);
  auto two = rig.open(b);
  auto three = rig.open(c);
  ASSERT_TRUE(one->set_gets_events(true));
  ASSERT_TRUE(two->set_gets_events(true));
  for (uint8_t i = 1; i <= 25; ++i) {
    auto m = a.next();
    ASSERT_TRUE(m);
    EXPECT_EQ(m->type, RecvType::kAsyncEvent);
    EXPECT_EQ(m->netfn, 7);
    EXPECT_EQ(m->cmd, 0x35);
    EXPECT_EQ(m->data, Bytes(16, i));
  }
  rig.smi->bring_event(99);
  EXPECT_EQ(a.next()->data, Bytes(16, 99));
  EXPECT_EQ(b.next()->data, Bytes(16, 99));
  rig.settle();
  EXPECT_EQ(a.received(), 26u);
  EXPECT_EQ(b.received(), 1u);
  EXPECT_EQ(c.received(), 0u);
}

TEST(Events, ThePollingLastsAsLongAsSomebodyListensAndPausesInMaintenance) {
  Rig rig;
  Inbox inbox;
  auto user = rig.open(inbox);
  EXPECT_FALSE(rig.handler.tick_wanted());
  ASSERT_TRUE(user->set_gets_events(true));
  EXPECT_TRUE(rig.handler.tick_wanted());
  EXPECT_TRUE(rig.handler.tick(kSecond));
  EXPECT_EQ(rig.smi->event_requests, 1);
  ASSERT_TRUE(user->set_maintenance_mode(MaintenanceMode::kOn));
  EXPECT_TRUE(rig.handler.tick(kSecond));
  EXPECT_EQ(rig.smi->event_requests, 1);
  ASSERT_TRUE(user->set_maintenance_mode(MaintenanceMode::kOff));
  ASSERT_TRUE(user->set_gets_events(false));
  EXPECT_FALSE(rig.handler.tick(kSecond));
  EXPECT_FALSE(rig.handler.tick_wanted());
}

// G-57, G-59: the second copy fails; nothing is delivered twice, counts and references come back exactly.
TEST(Events, AFailedCopyTakesAllCopiesBackAndTheEventComesAgainForAll) {
  Rig rig;
  Inbox a, b;
  auto one = rig.open(a);
  auto two = rig.open(b);
  ASSERT_TRUE(one->set_gets_events(true));
  ASSERT_TRUE(two->set_gets_events(true));
  const long references = one->state().use_count();
  rt::Mutex m;
  rt::WaitQueue changed;
  int copies = 0;
  {
    TestHook hook([&](std::string_view name) {
      if (name != "mh.event.copy") return false;
      rt::LockGuard lock(m);
      ++copies;
      changed.wake_all();
      return copies == 2;
    });
    rig.smi->bring_event(7);
    rt::UniqueLock lock(m);
    ASSERT_TRUE(changed.wait_until(lock, soon(), [&] { return copies >= 2; }));
    lock.unlock();
    rig.settle();  // what makes the retry
  }
  EXPECT_EQ(a.next()->data, Bytes(16, 7));
  EXPECT_EQ(b.next()->data, Bytes(16, 7));
  rig.handler.tick(kSecond);
  rig.settle();
  EXPECT_EQ(a.received(), 1u);
  EXPECT_EQ(b.received(), 1u);
  EXPECT_EQ(one->outstanding_messages(), 0);
  EXPECT_EQ(two->outstanding_messages(), 0);
  EXPECT_EQ(one->state().use_count(), references);
}

TEST(Events, AListenerThatDoesNotReadDoesNotStarveTheOthers) {
  auto options = manual();
  options.messages_per_user_max = 1;
  Rig rig(options);
  Inbox a, b;
  auto lazy = rig.open(a);
  auto keen = rig.open(b);
  ASSERT_TRUE(lazy->set_gets_events(true));
  ASSERT_TRUE(keen->set_gets_events(true));
  for (uint8_t i = 1; i <= 3; ++i) {
    rig.smi->bring_event(i);
    EXPECT_EQ(b.next()->data, Bytes(16, i));
  }
  EXPECT_EQ(a.received(), 1u);
  EXPECT_EQ(rig.stat(Statistic::kDroppedEvents), 2u);
}

TEST(Watchdog, ThePretimeoutReachesThoseWhoAskedForIt) {
  Rig rig;
  Inbox inbox;
  rt::Mutex m;
  rt::WaitQueue changed;
  int barks = 0;
  auto h = inbox.handlers();
  h.watchdog_pretimeout = [&] {
    rt::LockGuard lock(m);
    ++barks;
    changed.wake_all();
  };
  auto user = rig.handler.create_user(0, h).value();
  rig.smi->bark();
  rt::UniqueLock lock(m);
  EXPECT_TRUE(changed.wait_until(lock, soon(), [&] { return barks == 1; }));
}

// G-61: the reset that is sent refuses everything for 30 s, by a timer of its own.
TEST(Maintenance, AResetRefusesRequestsUntilItsTimeIsOver) {
  Rig rig;
  Inbox inbox;
  auto user = rig.open(inbox);
  ASSERT_TRUE(call(*user, kBmc, request_of(6, 2), soon()));
  EXPECT_TRUE(rig.handler.tick_wanted());
  EXPECT_EQ(rig.handler.describe(0)->maintenance, MaintenanceState::kReset);
  EXPECT_EQ(user->request(kBmc, 0, request_of(6, 1)).error().code, ErrorCode::kBusy);
  EXPECT_EQ(rig.smi->maintenance, std::vector<bool>{true});
  for (int i = 0; i < 29; ++i) EXPECT_TRUE(rig.handler.tick(kSecond));
  EXPECT_EQ(user->request(kBmc, 0, request_of(6, 1)).error().code, ErrorCode::kBusy);
  EXPECT_FALSE(rig.handler.tick(kSecond));
  EXPECT_TRUE(call(*user, kBmc, request_of(6, 1), soon()));
  EXPECT_EQ(rig.smi->maintenance, (std::vector<bool>{true, false}));
}

TEST(Maintenance, FirmwareCommandsKeepGoingAndOnlyEverLeadUpward) {
  Rig rig;
  Inbox inbox;
  auto user = rig.open(inbox);
  ASSERT_TRUE(call(*user, kBmc, request_of(8, 1), soon()));
  EXPECT_EQ(rig.handler.describe(0)->maintenance, MaintenanceState::kFirmware);
  for (int i = 0; i < 20; ++i) rig.handler.tick(kSecond);
  ASSERT_TRUE(call(*user, kBmc, request_of(8, 1), soon()));  // starts the time again
  for (int i = 0; i < 29; ++i) rig.handler.tick(kSecond);
  EXPECT_EQ(rig.handler.describe(0)->maintenance, MaintenanceState::kFirmware);
  ASSERT_TRUE(call(*user, kBmc, request_of(6, 3), soon()));
  EXPECT_EQ(rig.handler.describe(0)->maintenance, MaintenanceState::kReset);
  EXPECT_EQ(rig.smi->maintenance, std::vector<bool>{true});
}

TEST(Maintenance, TheUsersWordOverridesTheAutomatic) {
  Rig rig;
  Inbox inbox;
  auto user = rig.open(inbox);
  EXPECT_EQ(user->maintenance_mode().value(), MaintenanceMode::kAuto);
  EXPECT_EQ(user->set_maintenance_mode(static_cast<MaintenanceMode>(3)).error().code, ErrorCode::kInvalidArgument);
  ASSERT_TRUE(user->set_maintenance_mode(MaintenanceMode::kOff));
  ASSERT_TRUE(call(*user, kBmc, request_of(6, 2), soon()));
  EXPECT_EQ(rig.handler.describe(0)->maintenance, MaintenanceState::kOff);
  ASSERT_TRUE(user->set_maintenance_mode(MaintenanceMode::kOn));
  EXPECT_EQ(rig.handler.describe(0)->maintenance, MaintenanceState::kFirmware);
  rig.handler.tick(40 * kSecond);
  EXPECT_EQ(rig.handler.describe(0)->maintenance, MaintenanceState::kFirmware);
  ASSERT_TRUE(user->set_maintenance_mode(MaintenanceMode::kAuto));
  EXPECT_EQ(rig.handler.describe(0)->maintenance, MaintenanceState::kOff);
  EXPECT_EQ(user->maintenance_mode().value(), MaintenanceMode::kAuto);
}

TEST(Maintenance, IpmbRequestsRetryEveryThreeSecondsAfterAResetOverIpmb) {
  Rig rig;
  Inbox inbox;
  auto user = rig.open(inbox);
  RequestOptions once;
  once.retries = 0;
  ASSERT_TRUE(user->request(kSatellite, 0, request_of(6, 2), once));
  rig.settle();
  rig.handler.tick(2 * kSecond);
  EXPECT_EQ(inbox.received(), 0u);
  rig.handler.tick(kSecond);
  EXPECT_TRUE(inbox.next());
  rig.handler.tick(30 * kSecond);
  ASSERT_TRUE(user->request(kSatellite, 0, request_of(6, 1), once));
  rig.settle();
  rig.handler.tick(2 * kSecond);
  EXPECT_TRUE(inbox.next());
}

// G-09: idle means that nothing wakes up, and anything that needs time starts it.
TEST(Tick, TheTimerRunsOnlyWhileSomethingNeedsItAndDoesItsWork) {
  MessageHandlerOptions options;
  options.tick = std::chrono::milliseconds(5);
  Rig rig(options);
  Inbox inbox;
  auto user = rig.open(inbox);
  RequestOptions once;
  once.retries = 0;
  once.retry_time = std::chrono::milliseconds(8);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(user->request(kSatellite, i, request_of(6, 1), once));
    // Nothing else than the timer gives this answer, and it may have done so already.
    auto m = inbox.next();
    ASSERT_TRUE(m);
    EXPECT_EQ(m->data, Bytes{0xc3});
    while (rig.handler.tick_wanted()) rt::cpu_relax(std::chrono::microseconds(100));
  }
}

TEST(Call, ALateAnswerIsDroppedAndNeverGivenToTheNextCaller) {
  Rig rig;
  rig.smi->let_answer([](ByteView) -> std::optional<Bytes> { return std::nullopt; });
  Inbox inbox;
  auto user = rig.open(inbox);
  auto late = call(*user, kBmc, request_of(6, 0x50), rt::now());
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, ErrorCode::kTimeout);
  ASSERT_TRUE(rig.smi->wait_held(0x18, 0x50));
  rig.smi->let_answer([](ByteView) { return Bytes{0x00, 0x22}; });
  rig.smi->answer({0x00, 0x11});
  auto next = call(*user, kBmc, request_of(6, 0x50), soon());
  ASSERT_TRUE(next);
  EXPECT_EQ(next->data, (Bytes{0x00, 0x22}));
  EXPECT_EQ(user->outstanding_messages(), 1);
  EXPECT_EQ(inbox.received(), 0u);
}

TEST(StatisticNames, EachHasOneAndNoTwoAreTheSame) {
  std::vector<std::string_view> seen;
  for (size_t i = 0; i < kStatistics; ++i) {
    const auto name = to_string(static_cast<Statistic>(i));
    EXPECT_FALSE(name.empty());
    EXPECT_NE(name, "unknown");
    EXPECT_EQ(std::count(seen.begin(), seen.end(), name), 0) << name;
    seen.push_back(name);
  }
}

}  // namespace
}  // namespace bmcpair::host::inline BMCPAIR_RT
