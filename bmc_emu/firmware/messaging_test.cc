#include "bmc_emu/firmware/messaging.h"

#include "bmc_emu/firmware/testing.h"

namespace bmcpair::firmware::testing {
namespace {

using ::testing::ElementsAre;

// One IPMB message with both checksums right: "82 18 20 08 01" is rsSA, NetFn/LUN, rqSA, Seq/LUN, Cmd, data.
std::string ipmb(std::string_view text) {
  Bytes in = *from_hex(text);
  Bytes out{in[0], in[1], ipmi::checksum(ByteView(in).first(2))};
  out.insert(out.end(), in.begin() + 2, in.end());
  out.push_back(ipmi::checksum(ByteView(in).subspan(2)));
  return to_hex(out);
}

class Messaging : public FirmwareTest {
 protected:
  BmcConfig config() const override {
    BmcConfig c;
    c.identity.device_id = 0x20;
    SatelliteConfig satellite;
    satellite.address = 0x82;
    satellite.identity.device_id = 0x55;
    satellite.identity.manufacturer_id = 0x000157;
    satellite.identity.device_guid[0] = 0x99;
    satellite.latency = milliseconds(5);
    c.satellites.push_back(satellite);
    satellite.address = 0x84;
    satellite.identity.device_id = 0x56;
    satellite.latency = milliseconds(2);
    c.satellites.push_back(satellite);
    satellite.address = 0x86;
    satellite.answers = false;
    c.satellites.push_back(satellite);
    c.channels.push_back({1, 4, 1, 4});
    return c;
  }
  std::string send(std::string_view message, std::string_view head = "00") {
    return ask("06 34 " + std::string(head) + " " + ipmb(message));
  }
  Bytes event(uint8_t n) const {
    Bytes record(16, 0);
    record[2] = 0x02;
    record[15] = n;
    return record;
  }
  MessagingPart& part() { return *bmc->state().messaging; }
};

TEST_F(Messaging, GlobalEnablesReadBackAndTheBoardIsTold) {
  EXPECT_EQ(ask("06 2f"), "00 08") << "logging is on at first";
  EXPECT_EQ(ask("06 2e 0f"), "00");
  EXPECT_EQ(ask("06 2f"), "00 0f");
  EXPECT_EQ(bmc->global_enables(), 0x0f);
  EXPECT_EQ(ask("06 2e ef"), "00");
  EXPECT_EQ(ask("06 2e ef"), "00");
  EXPECT_THAT(recorder.values(Change::Kind::kGlobalEnables), ElementsAre(0x0f, 0xef, 0xef))
      << "by each command, changed or not";
  EXPECT_EQ(ask("06 2e 10"), "cc");
  EXPECT_EQ(ask("06 2e"), "c7");
  EXPECT_EQ(ask("06 2e 00 00"), "c7");
  EXPECT_EQ(ask("06 2f 00"), "c7");
  bmc->host_was_reset(now);
  EXPECT_EQ(ask("06 2f"), "00 08") << "a host reset leaves logging as it was and takes the rest away";
}

TEST_F(Messaging, NothingIsWaitingAtFirst) {
  EXPECT_EQ(ask("06 31"), "00 00");
  EXPECT_EQ(ask("06 33"), "80");
  EXPECT_EQ(ask("06 35"), "80");
  EXPECT_FALSE(bmc->attention());
  for (std::string_view longer : {"06 31 00", "06 33 00", "06 35 00", "06 30 00 00"}) EXPECT_EQ(ask(longer), "c7");
  EXPECT_EQ(ask("06 30"), "c7");
  EXPECT_EQ(ask("06 30 04"), "cc");
  EXPECT_EQ(ask("06 30 10"), "cc");
}

TEST_F(Messaging, SendMessageReachesASatelliteAndItsAnswerComesAfterItsLatency) {
  // As Linux sends it: channel, rsSA, NetFn/LUN, checksum, rqSA, Seq/LUN 2, Cmd, checksum.
  EXPECT_EQ(ask("06 34 00 82 18 66 20 a6 01 39"), "00");
  EXPECT_EQ(ask("06 31"), "00 00");
  EXPECT_EQ(bmc->next_due(), now + milliseconds(5));
  pass(milliseconds(4));
  EXPECT_EQ(ask("06 33"), "80");
  pass(milliseconds(1));
  EXPECT_EQ(ask("06 31"), "00 01");
  EXPECT_THAT(recorder.values(Change::Kind::kAttention), ElementsAre(1));
  // Channel, NetFn/LUN 2, checksum over our own address too, rsSA, Seq/LUN 0, Cmd, completion code, data, checksum.
  std::string answer = ask("06 33");
  EXPECT_EQ(answer, "00 00 1e c2 82 a4 01 00 55 81 01 00 02 bf 57 01 00 00 00 00 00 00 00 e9");
  Bytes bytes = *from_hex(answer);
  Bytes first{0x20, bytes[2], bytes[3]};
  EXPECT_EQ(ipmi::checksum(first), 0) << "the first checksum covers the address";
  EXPECT_EQ(ipmi::checksum(ByteView(bytes).subspan(4)), 0) << "the second covers the rest";
  EXPECT_EQ(ask("06 31"), "00 00");
  EXPECT_THAT(recorder.values(Change::Kind::kAttention), ElementsAre(1, 0));
}

TEST_F(Messaging, AnswersComeInTheOrderTheyAreDueNotTheOrderAsked) {
  EXPECT_EQ(send("82 18 20 06 01"), "00");
  EXPECT_EQ(send("84 18 20 0a 01"), "00");
  pass(milliseconds(10));
  EXPECT_EQ(ask("06 33").substr(12, 5), "84 08");
  EXPECT_EQ(ask("06 33").substr(12, 5), "82 04");
}

TEST_F(Messaging, SatellitesAnswerWhatTheyKnow) {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {"82 18 20 06 04", "82 04 04 00 55 00"},                // Get Self Test Results
      {"82 18 20 06 02", "82 04 02 00"},                      // Cold Reset
      {"82 18 20 06 08", "82 04 08 00 99 00"},                // Get Device GUID
      {"82 18 20 06 55", "82 04 55 c1"},                      // unknown
      {"82 10 20 06 2d 01", "82 04 2d c1"},                   // another NetFn
      {"82 18 20 06 01 00", "82 04 01 c7"},                   // too long
      {"82 19 20 06 01", "82 05 01 c2"},                      // LUN 1
  };
  for (const auto& [request, answer] : cases) {
    EXPECT_EQ(send(request), "00") << request;
    pass(milliseconds(5));
    EXPECT_EQ(ask("06 33").substr(12, answer.size()), answer) << request;
  }
}

TEST_F(Messaging, AnAddressNobodyAnswersToIsANak) {
  EXPECT_EQ(send("90 18 20 06 01"), "83");
  EXPECT_EQ(send("86 18 20 06 01"), "83");
  EXPECT_EQ(bmc->next_due() == kNever || bmc->next_due() > now + seconds(30), true);
}

TEST_F(Messaging, ABadChecksumIsSentAndNeverAnswered) {
  EXPECT_EQ(ask("06 34 00 82 18 67 20 a6 01 39"), "00");
  EXPECT_EQ(ask("06 34 00 82 18 66 20 a6 01 38"), "00");
  pass(seconds(1));
  EXPECT_EQ(ask("06 33"), "80");
}

TEST_F(Messaging, ResponsesSentToASatelliteAreNotAnswered) {
  EXPECT_EQ(send("82 1c 20 06 01 00"), "00");
  pass(seconds(1));
  EXPECT_EQ(ask("06 33"), "80");
}

TEST_F(Messaging, AnAnswerForAnotherLunOrControllerIsNotSystemSoftwares) {
  EXPECT_EQ(send("82 18 20 04 01"), "00");  // LUN 0 of the BMC
  EXPECT_EQ(send("82 18 30 06 01"), "00");  // another requester
  pass(seconds(1));
  EXPECT_EQ(ask("06 33"), "80");
  EXPECT_EQ(send("82 18 20 04 01", "40"), "00") << "unless it is tracked";
  pass(seconds(1));
  EXPECT_EQ(ask("06 33").substr(0, 23), "00 00 1c c4 82 04 01 00");
}

TEST_F(Messaging, BroadcastIsForGetDeviceIdAlone) {
  EXPECT_EQ(ask("06 34 00 00 " + ipmb("82 18 20 06 01")), "00");
  EXPECT_EQ(ask("06 34 00 00 " + ipmb("82 18 20 06 04")), "00");
  EXPECT_EQ(ask("06 34 00 00 " + ipmb("90 18 20 06 01")), "00") << "everybody acknowledges a broadcast";
  pass(seconds(1));
  EXPECT_EQ(ask("06 33").substr(12, 14), "82 04 01 00 55");
  EXPECT_EQ(ask("06 33"), "80");
}

TEST_F(Messaging, TheBmcAnswersItsOwnAddress) {
  EXPECT_EQ(send("20 18 20 06 01"), "00");
  EXPECT_EQ(send("20 18 20 0a 0f"), "00");
  pass(milliseconds(1));
  EXPECT_EQ(ask("06 33").substr(0, 26), "00 00 1e c2 20 04 01 00 20");
  EXPECT_EQ(ask("06 33").substr(12, 11), "20 08 0f c1");
}

TEST_F(Messaging, AnEventSentOverTheIpmbIsLoggedWithItsSendersAddress) {
  EXPECT_EQ(send("20 10 84 05 02 04 01 30 6f a1 02 03"), "00");
  pass(milliseconds(1));
  ASSERT_EQ(bmc->sel(now).size(), 1u);
  EXPECT_EQ(to_hex(ByteView(bmc->sel(now)[0].record).subspan(7)), "84 01 04 01 30 6f a1 02 03");
  EXPECT_EQ(ask("06 33"), "80") << "the answer went to the sender";
}

TEST_F(Messaging, CommandsOfTheSystemInterfaceAreRefusedOverTheIpmb) {
  ask("06 2e 0f");
  for (std::string_view cmd : {"2e 00", "30 ff", "31", "32 00 00", "33", "35"}) {
    EXPECT_EQ(send("20 18 20 06 " + std::string(cmd)), "00");
    pass(milliseconds(1));
    EXPECT_EQ(ask("06 33").substr(21, 2), "d4") << cmd;
  }
  EXPECT_EQ(ask("06 2f"), "00 0f");
}

TEST_F(Messaging, AnAnswerLongerThanAnIpmbMessageIsCa) {
  EXPECT_EQ(send("20 18 20 06 08"), "00");
  pass(milliseconds(1));
  EXPECT_EQ(ask("06 33").substr(21, 2), "00");
  bmc->state().config.i2c_devices.push_back({0, 0xa0, Bytes(64, 7), true});
  EXPECT_EQ(send("20 18 20 06 52 00 a0 18 00"), "00");  // 24 bytes: exactly a whole message
  pass(milliseconds(1));
  EXPECT_EQ(from_hex(ask("06 33"))->size(), 2 + 31u);
  EXPECT_EQ(send("20 18 20 06 52 00 a0 19 00"), "00");
  pass(milliseconds(1));
  EXPECT_EQ(ask("06 33").substr(21, 2), "ca");
}

TEST_F(Messaging, AMessageToLunTwoOfTheBmcIsForSystemSoftware) {
  EXPECT_EQ(send("20 1a 84 10 01 aa"), "00");
  pass(milliseconds(1));
  EXPECT_EQ(ask("06 33"), "00 00 1a c6 84 10 01 aa c1");
}

TEST_F(Messaging, LoopbackComesBackOnChannelFAsSent) {
  EXPECT_EQ(ask("06 34 0f 01 02 03"), "00");
  EXPECT_TRUE(bmc->attention());
  EXPECT_EQ(ask("06 33"), "00 0f 01 02 03");
  EXPECT_EQ(ask("06 34 0f"), "c7");
}

TEST_F(Messaging, SendMessageRefusesWhatItCannotDo) {
  EXPECT_EQ(ask("06 34"), "c7");
  EXPECT_EQ(ask("06 34 00"), "c7");
  EXPECT_EQ(ask("06 34 00 82 18 66 20 a6 01"), "c7") << "shorter than any IPMB message";
  EXPECT_EQ(send("82 18 20 06 01", "80"), "cc") << "raw";
  EXPECT_EQ(send("82 18 20 06 01", "c0"), "cc") << "reserved";
  EXPECT_EQ(send("82 18 20 06 01", "10"), "cc") << "authentication";
  EXPECT_EQ(send("82 18 20 06 01", "05"), "cc") << "no such channel";
  EXPECT_EQ(send("82 18 20 06 01", "0e"), "cc");
  EXPECT_EQ(send("82 18 20 06 01", "01"), "d3") << "LAN without a session";
  Bytes big(26, 0x11);
  EXPECT_EQ(send("82 18 20 06 01 " + to_hex(big)), "c8");
  Bytes most(25, 0x11);
  EXPECT_EQ(send("82 18 20 06 01 " + to_hex(most)), "00");
}

TEST_F(Messaging, TheReceiveQueueIsBoundedAndKeepsTheOldest) {
  for (uint8_t i = 0; i < MessagingPart::kReceiveQueueMax; ++i) {
    EXPECT_EQ(ask("06 34 0f " + to_hex(Bytes{i})), "00");
  }
  EXPECT_EQ(ask("06 34 0f ee"), "c4");
  EXPECT_EQ(send("82 18 20 06 01"), "00");
  pass(seconds(1));
  for (uint8_t i = 0; i < MessagingPart::kReceiveQueueMax; ++i) {
    EXPECT_EQ(ask("06 33"), "00 0f " + to_hex(Bytes{i}));
  }
  EXPECT_EQ(ask("06 33"), "80");
}

TEST_F(Messaging, RequestsOnTheIpmbAreBounded) {
  for (size_t i = 0; i < MessagingPart::kInFlightMax; ++i) EXPECT_EQ(send("82 18 20 06 01"), "00");
  EXPECT_EQ(send("82 18 20 06 01"), "c0");
  pass(milliseconds(5));
  EXPECT_EQ(send("82 18 20 06 01"), "00");
}

TEST_F(Messaging, ClearingFlagsEmptiesWhatTheyStandFor) {
  ask("06 2e 0c");
  ask("06 34 0f 01");
  part().offer_event(bmc->state(), event(1));
  part().set_flag(bmc->state(), 0x48);
  EXPECT_EQ(ask("06 31"), "00 4b");
  EXPECT_EQ(ask("06 30 01"), "00");
  EXPECT_EQ(ask("06 33"), "80");
  EXPECT_EQ(ask("06 31"), "00 4a");
  EXPECT_EQ(ask("06 30 02"), "00");
  EXPECT_EQ(ask("06 35"), "80");
  EXPECT_EQ(ask("06 31"), "00 48");
  EXPECT_TRUE(bmc->attention());
  EXPECT_EQ(ask("06 30 e9"), "00");
  EXPECT_FALSE(bmc->attention());
  EXPECT_THAT(recorder.values(Change::Kind::kAttention), ElementsAre(1, 0)) << "told of changes only";
}

TEST_F(Messaging, TheEventBufferIsFilledOnlyWhenEnabledAndReadOldestFirst) {
  EXPECT_FALSE(part().offer_event(bmc->state(), event(1)));
  EXPECT_EQ(ask("06 31"), "00 00");
  ask("06 2e 0c");
  EXPECT_TRUE(part().offer_event(bmc->state(), event(2)));
  EXPECT_TRUE(part().offer_event(bmc->state(), event(3)));
  EXPECT_EQ(ask("06 31"), "00 02");
  EXPECT_EQ(ask("06 35"), "00 00 00 02 00 00 00 00 00 00 00 00 00 00 00 00 02");
  EXPECT_EQ(ask("06 31"), "00 02");
  EXPECT_EQ(ask("06 35").substr(48), "03");
  EXPECT_EQ(ask("06 31"), "00 00");
  EXPECT_TRUE(part().offer_event(bmc->state(), event(4)));
  ask("06 2e 08");
  EXPECT_EQ(ask("06 31"), "00 00") << "disabling it empties it";
  EXPECT_FALSE(bmc->attention());
}

TEST_F(Messaging, TheEventBufferIsBoundedAndRefusesRecordsOfAnotherSize) {
  ask("06 2e 0c");
  EXPECT_FALSE(part().offer_event(bmc->state(), Bytes(15, 0)));
  for (size_t i = 0; i < MessagingPart::kEventsMax; ++i) EXPECT_TRUE(part().offer_event(bmc->state(), event(7)));
  EXPECT_FALSE(part().offer_event(bmc->state(), event(8)));
}

TEST_F(Messaging, ReceivingFromAChannelCanBeSwitchedOff) {
  EXPECT_EQ(ask("06 32 00 02"), "00 00 01");
  EXPECT_EQ(ask("06 32 00 00"), "00 00 00");
  EXPECT_EQ(send("82 18 20 06 01"), "00");
  pass(seconds(1));
  EXPECT_EQ(ask("06 33"), "80");
  EXPECT_EQ(ask("06 32 00 01"), "00 00 01");
  EXPECT_EQ(send("82 18 20 06 01"), "00");
  pass(seconds(1));
  EXPECT_EQ(ask("06 33").substr(0, 2), "00");
  EXPECT_EQ(ask("06 32 0f 00"), "00 0f 00");
  EXPECT_EQ(ask("06 34 0f 01"), "d3");
  EXPECT_EQ(ask("06 32 0e 02"), "00 0f 00") << "Eh is the channel the request came on";
  EXPECT_EQ(ask("06 32 00 03"), "cc");
  EXPECT_EQ(ask("06 32 10 00"), "cc");
  EXPECT_EQ(ask("06 32 05 00"), "cc");
  EXPECT_EQ(ask("06 32 00"), "c7");
  EXPECT_EQ(ask("06 32 00 00 00"), "c7");
}

TEST_F(Messaging, ResetsForgetEverythingInFlight) {
  for (int how = 0; how < 3; ++how) {
    ask("06 2e 0c");
    send("82 18 20 06 01");
    ask("06 34 0f 01");
    part().offer_event(bmc->state(), event(1));
    EXPECT_TRUE(bmc->attention());
    if (how == 0) bmc->host_was_reset(now);
    if (how == 1) bmc->reset(false, now);
    if (how == 2) bmc->reset(true, now);
    EXPECT_FALSE(bmc->attention()) << how;
    pass(seconds(3));
    EXPECT_EQ(ask("06 33"), "80") << how;
    EXPECT_EQ(ask("06 35"), "80") << how;
  }
}

TEST_F(Messaging, ASendMessageInsideASendMessageToOneselfIsAnsweredNotNestedForEver) {
  std::string inner = ipmb("20 18 20 06 01");
  EXPECT_EQ(send("20 18 20 0a 34 00 " + inner), "00");
  pass(seconds(1));
  EXPECT_EQ(ask("06 33").substr(12, 11), "20 08 34 00");
  EXPECT_EQ(ask("06 33").substr(12, 14), "20 04 01 00 20");
  EXPECT_EQ(ask("06 33"), "80");
}

}  // namespace
}  // namespace bmcpair::firmware::testing
