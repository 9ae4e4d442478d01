// Identity and channels (reference E.10, B.9) against a BMC that is late, wrong, short, or silent.
#include <gtest/gtest.h>

#include "host_driver/message_handler/fake_smi.h"

namespace bmcpair::host::inline BMCPAIR_RT {
namespace {

using Held = std::optional<Bytes>;

// The usual BMC, but for one command of the application NetFn.
FakeSmi::Reply usual_but(uint8_t cmd, std::function<Held(ByteView)> f) {
  return [cmd, f](ByteView r) -> Held { return r[0] == 0x18 && r[1] == cmd ? f(r) : FakeSmi::usual(r); };
}

// Lets time pass until the registration's next Device ID request is out.
void tick_until_sent(MessageHandler& handler, FakeSmi& smi, uint8_t cmd, size_t n) {
  const Instant end = soon();
  while (smi.sent_matching(0x18, cmd) < n && rt::now() < end) {
    handler.tick(Duration::zero());
    rt::cpu_relax(std::chrono::microseconds(50));
  }
  ASSERT_GE(smi.sent_matching(0x18, cmd), n);
}

TEST(Identity, DeviceIdAndGuidArePublishedWithTheInterface) {
  MessageHandler handler(manual());
  auto smi = std::make_shared<FakeSmi>();
  smi->reply = usual_but(0x08, [](ByteView) {
    Bytes b(17, 0x5a);
    b[0] = 0;
    return b;
  });
  ASSERT_EQ(handler.register_smi(smi).value(), 0);
  EXPECT_EQ(smi->all_sent().at(0), (Bytes{0x18, 0x08}));
  EXPECT_EQ(smi->all_sent().at(1), (Bytes{0x18, 0x01}));
  EXPECT_EQ(smi->sent_matching(0x18, 0x42), 16u);
  auto identity = handler.identity(0);
  ASSERT_TRUE(identity);
  EXPECT_TRUE(identity->fresh);
  EXPECT_EQ(identity->id.device_id, 0x20);
  EXPECT_EQ(identity->id.firmware_major, 0x10);
  EXPECT_EQ(identity->id.ipmi_version, (IpmiVersion{2, 0}));
  EXPECT_EQ(identity->id.manufacturer_id, 0x2211u);
  EXPECT_EQ(identity->id.product_id, 1);
  EXPECT_EQ(identity->id.aux_firmware, (std::array<uint8_t, 4>{1, 2, 3, 4}));
  ASSERT_TRUE(identity->guid);
  EXPECT_EQ((*identity->guid)[15], 0x5a);
  auto channels = handler.channels(0).value();
  EXPECT_EQ(channels[0].medium, kMediumIpmb);
  EXPECT_EQ(channels[1].medium, kMediumLan);
  EXPECT_EQ(channels[3].medium, 0);
  // What is known and young is not asked again.
  EXPECT_EQ(smi->sent_count(), 18u);
  EXPECT_EQ(handler.identity(1).error().code, ErrorCode::kNotFound);
}

TEST(DeviceIdParser, TakesSevenToSixteenBytesAndRefusesLess) {
  const Bytes full = device_id_reply();
  for (size_t n = 0; n <= full.size(); ++n) {
    auto id = parse_device_id(ByteView(full.data(), n));
    EXPECT_EQ(id.ok(), n >= 7) << n;
    if (!id) continue;
    EXPECT_EQ(id->manufacturer_id != 0, n >= 12) << n;
    EXPECT_EQ(id->aux_firmware.has_value(), n >= 16) << n;
  }
}

// G-43, G-44, B.9: one D5 must not cost the interface.
TEST(Identity, AnyOtherCodeIsAskedAgainAtTheNextTick) {
  for (uint8_t cc : {0xd5, 0xc0, 0xd1, 0xd2, 0xff, 0x01}) {
    MessageHandler handler(manual());
    auto smi = std::make_shared<FakeSmi>();
    int asked = 0;
    smi->reply = usual_but(0x01, [&, cc](ByteView) { return asked++ < 2 ? Bytes{cc} : device_id_reply(); });
    Registering registering(handler, smi);
    tick_until_sent(handler, *smi, 0x01, 3);
    EXPECT_EQ(registering.wait().value(), 0) << int{cc};
    EXPECT_EQ(smi->sent_matching(0x18, 0x01), 3u);
    EXPECT_EQ(smi->shutdowns, 0);
  }
}

TEST(Identity, AShortAnswerIsAskedAgainToo) {
  MessageHandler handler(manual());
  auto smi = std::make_shared<FakeSmi>();
  int asked = 0;
  smi->reply = usual_but(0x01, [&](ByteView) { return asked++ == 0 ? Bytes{0, 1, 2} : device_id_reply(); });
  Registering registering(handler, smi);
  tick_until_sent(handler, *smi, 0x01, 2);
  EXPECT_TRUE(registering.wait());
}

// I.2 schedule (c), I2-1, I2-3.
TEST(Identity, FiveRetriesAreAllAndTheInterfaceCanComeBack) {
  MessageHandler handler(manual());
  auto smi = std::make_shared<FakeSmi>();
  smi->reply = usual_but(0x01, [](ByteView) { return Bytes{0xd5}; });
  {
    Registering registering(handler, smi);
    tick_until_sent(handler, *smi, 0x01, 6);
    auto result = registering.wait();
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ErrorCode::kIo);
    EXPECT_NE(result.error().message.find("0xd5"), std::string::npos) << result.error().message;
  }
  EXPECT_EQ(smi->sent_matching(0x18, 0x01), 6u);
  EXPECT_EQ(smi->shutdowns, 1);
  EXPECT_TRUE(handler.interfaces().empty());
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(handler.tick(kSecond));
  EXPECT_EQ(smi->calls_after_shutdown, 0);
  auto again = std::make_shared<FakeSmi>();
  EXPECT_EQ(handler.register_smi(again).value(), 0);
}

TEST(Identity, InTheOldProfileOneRefusalIsFinal) {
  auto options = manual();
  options.profile = hardened_but({&Flags::mh_retry_identity_on_any_cc});
  MessageHandler handler(options);
  auto smi = std::make_shared<FakeSmi>();
  smi->reply = usual_but(0x01, [](ByteView) { return Bytes{0xd5}; });
  EXPECT_EQ(handler.register_smi(smi).error().code, ErrorCode::kIo);
  EXPECT_EQ(smi->sent_matching(0x18, 0x01), 1u);
  EXPECT_EQ(smi->shutdowns, 1);
}

// G-42, I.2 schedule (d); G-41: the answer that comes after all meets nobody.
TEST(Identity, ABmcThatNeverAnswersIsGivenUpAfterAMinute) {
  for (uint8_t cmd : {0x08, 0x01, 0x42}) {
    MessageHandler handler(manual());
    auto smi = std::make_shared<FakeSmi>();
    smi->reply = usual_but(cmd, [](ByteView) -> Held { return std::nullopt; });
    Registering registering(handler, smi);
    ASSERT_TRUE(smi->wait_held(0x18, cmd));
    for (int i = 0; i < 59; ++i) EXPECT_TRUE(handler.tick(kSecond));
    EXPECT_TRUE(handler.interfaces().empty());
    handler.tick(kSecond);
    auto result = registering.wait();
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ErrorCode::kTimeout);
    EXPECT_EQ(smi->shutdowns, 1);  // which handed the message back
    EXPECT_FALSE(handler.tick(kSecond));
    EXPECT_EQ(smi->calls_after_shutdown, 0);
  }
}

TEST(Identity, WithoutTheBoundTheWaitLastsAsLongAsTheBmcIsSilent) {
  auto options = manual();
  options.profile = hardened_but({&Flags::mh_bounded_identity_waits});
  MessageHandler handler(options);
  auto smi = std::make_shared<FakeSmi>();
  smi->reply = usual_but(0x01, [](ByteView) -> Held { return std::nullopt; });
  Registering registering(handler, smi);
  ASSERT_TRUE(smi->wait_held(0x18, 0x01));
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(handler.tick(kSecond));
  smi->answer(device_id_reply());
  EXPECT_TRUE(registering.wait());
}

// G-40, I.2 schedules (b), (e): no wait for an answer that cannot come.
TEST(Identity, ARequestThatCannotBeSentEndsTheRegistrationAtOnce) {
  struct Case {
    uint8_t cmd;
    ErrorCode code;
    bool comes_up;
  };
  for (const Case& c : {Case{0x08, ErrorCode::kIo, true}, Case{0x01, ErrorCode::kIo, false},
                        Case{0x01, ErrorCode::kHosed, false}, Case{0x42, ErrorCode::kUnavailable, false}}) {
    MessageHandler handler(manual());
    auto smi = std::make_shared<FakeSmi>();
    smi->refuse = [&](ByteView r) { return r[1] == c.cmd ? Status(Error{c.code, "no"}) : Status(); };
    auto result = handler.register_smi(smi);
    EXPECT_EQ(result.ok(), c.comes_up);
    if (!result) {
      EXPECT_EQ(result.error().code, c.code);
    }
    EXPECT_EQ(smi->shutdowns, c.comes_up ? 0 : 1);
    EXPECT_LE(smi->sent_matching(0x18, c.cmd), 1u);
  }
}

// I.2 schedule (f), G-73: the registration that is to be tried again must not go through an interface that is gone.
TEST(Identity, AFailedRegistrationOfTheBmcLeavesNothingThatSends) {
  MessageHandler handler(manual());
  auto smi = std::make_shared<FakeSmi>();
  {
    TestHook hook([](std::string_view name) { return name == "mh.bmc.register"; });
    EXPECT_EQ(handler.register_smi(smi).error().code, ErrorCode::kInternal);
    const size_t sent = smi->sent_count();
    for (int i = 0; i < 10; ++i) EXPECT_FALSE(handler.tick(kSecond));
    EXPECT_EQ(smi->sent_count(), sent);
  }
  EXPECT_EQ(smi->shutdowns, 1);
  EXPECT_EQ(smi->calls_after_shutdown, 0);
}

MessageHandlerOptions always_old() {
  auto o = manual();
  o.identity_max_age = Duration::zero();
  return o;
}

TEST(Refresh, AFailedOneGivesWhatWasKnownBefore) {
  Rig rig(always_old());
  ASSERT_TRUE(rig.handler.identity(0)->fresh);
  rig.smi->refuse = [](ByteView) { return Status(Error{ErrorCode::kHosed, "hosed"}); };
  auto old = rig.handler.identity(0);
  ASSERT_TRUE(old);
  EXPECT_FALSE(old->fresh);
  EXPECT_EQ(old->id.device_id, 0x20);
  rig.smi->refuse = nullptr;
  EXPECT_TRUE(rig.handler.identity(0)->fresh);
}

TEST(Refresh, IsRefusedInMaintenance) {
  Rig rig(always_old());
  Inbox inbox;
  auto user = rig.open(inbox);
  ASSERT_TRUE(user->set_maintenance_mode(MaintenanceMode::kOn));
  EXPECT_EQ(rig.handler.identity(0).error().code, ErrorCode::kBusy);
  EXPECT_EQ(user->version().error().code, ErrorCode::kBusy);
  ASSERT_TRUE(user->set_maintenance_mode(MaintenanceMode::kOff));
  EXPECT_EQ(user->version().value(), (IpmiVersion{2, 0}));
}

// G-68, G-69: after a firmware update the channels are scanned again, and until all are nothing is routed by them.
TEST(Refresh, NewFirmwareMeansANewScanThatIsReadyOnlyAtItsEnd) {
  Rig rig(always_old());
  rig.handler.identity(0).value();
  EXPECT_EQ(rig.smi->sent_matching(0x18, 0x42), 16u);  // the same device: no scan
  rig.smi->let_answer([](ByteView r) -> Held {
    if (r[1] == 0x01) return device_id_reply(0, 1, 0x11);
    if (r[1] == 0x42 && r[2] == 9) return std::nullopt;
    if (r[1] == 0x42 && r[2] == 6) return Bytes{0, 6, 1, 1};
    if (r[1] == 0x42) return Bytes{0xcc};
    return FakeSmi::usual(r);
  });
  rt::Thread reader;
  reader.start("identity", [&] { EXPECT_EQ(rig.handler.identity(0)->id.firmware_major, 0x11); });
  ASSERT_TRUE(rig.smi->wait_held(0x18, 0x42));
  const size_t sent = rig.smi->sent_count();
  rig.smi->bring_message({0x06, 0x2e << 2, 0, 0x72, 0, 0x60, 0});  // a command on channel 6
  rig.smi->bring_message({0x00, 0x2e << 2, 0, 0x72, 0, 0x60, 0});
  rig.smi->answer({0xcc});
  reader.join();
  EXPECT_EQ(rig.smi->sent_count(), sent + 6);  // channels 10..15 and no C1
  rig.smi->bring_message({0x06, 0x2e << 2, 0, 0x72, 0, 0x60, 0});
  ASSERT_TRUE(rig.smi->wait_sent(sent + 7));
  EXPECT_EQ(rig.smi->all_sent().back()[1], 0x34);
  auto channels = rig.handler.channels(0).value();
  EXPECT_EQ(channels[6].medium, kMediumIpmb);
  EXPECT_EQ(channels[0].medium, 0);
}

TEST(Refresh, AScanThatFailsLeavesTheOldMapAndIsDoneAgain) {
  Rig rig(always_old());
  rig.smi->let_answer(usual_but(0x01, [](ByteView) { return device_id_reply(0, 1, 0x11); }));
  rig.smi->refuse = [](ByteView r) {
    return r[1] == 0x42 ? Status(Error{ErrorCode::kUnavailable, "the bus is down"}) : Status();
  };
  EXPECT_FALSE(rig.handler.identity(0)->fresh);
  EXPECT_EQ(rig.handler.channels(0).value()[0].medium, kMediumIpmb);
  rig.smi->refuse = nullptr;
  EXPECT_TRUE(rig.handler.tick_wanted());
  const size_t scans = rig.smi->sent_matching(0x18, 0x42);
  rig.handler.tick(kSecond);
  tick_until_sent(rig.handler, *rig.smi, 0x42, scans + 16);
}

TEST(Channels, WithoutTheCommandThereIsOneIpmbAndOldBmcsAreNotAsked) {
  for (bool old : {false, true}) {
    MessageHandler handler(manual());
    auto smi = std::make_shared<FakeSmi>();
    smi->reply = [old](ByteView r) -> Held {
      if (r[1] == 0x42) return Bytes{0xc1};
      if (r[1] == 0x01) return device_id_reply(0, 1, 0x10, 0xbf, old ? 0x01 : 0x51);
      return FakeSmi::usual(r);
    };
    ASSERT_TRUE(handler.register_smi(smi));
    EXPECT_EQ(smi->sent_matching(0x18, 0x42), old ? 0u : 1u);
    EXPECT_EQ(handler.channels(0).value()[0].medium, kMediumIpmb);
    EXPECT_EQ(handler.channels(0).value()[1].medium, 0);
  }
}

TEST(SharedBmc, InterfacesOfOneBmcAreRecognisedByGuidOrByProduct) {
  MessageHandler handler(always_old());
  auto with = [](uint8_t guid, uint8_t product) {
    auto smi = std::make_shared<FakeSmi>();
    smi->reply = [guid, product](ByteView r) -> Held {
      if (r[1] == 0x08 && guid) {
        Bytes b(17, guid);
        b[0] = 0;
        return b;
      }
      if (r[0] == 0x18 && r[1] == 0x01) return device_id_reply(0, product);
      return FakeSmi::usual(r);
    };
    return smi;
  };
  std::vector<std::shared_ptr<FakeSmi>> smis = {with(1, 7), with(1, 8), with(2, 7), with(0, 7), with(0, 7), with(0, 9)};
  for (auto& s : smis) ASSERT_TRUE(handler.register_smi(s));
  std::vector<int> bmcs;
  for (int i = 0; i < 6; ++i) bmcs.push_back(handler.identity(i)->bmc);
  EXPECT_EQ(bmcs, (std::vector<int>{0, 0, 1, 2, 2, 3}));
  // Its GUID changes: another BMC. The first number is free when its last interface has gone.
  ASSERT_TRUE(handler.unregister_smi(1));
  ASSERT_TRUE(handler.unregister_smi(0));
  smis[2]->let_answer(with(5, 7)->reply);
  EXPECT_EQ(handler.identity(2)->bmc, 0);
}

TEST(SharedBmc, ABmcThatCannotBeRegisteredNowIsTriedAtEachTick) {
  Rig rig(always_old());
  rig.smi->let_answer(usual_but(0x01, [](ByteView) { return device_id_reply(0, 42); }));
  const size_t asked = rig.smi->sent_matching(0x18, 0x01);
  {
    TestHook hook([](std::string_view name) { return name == "mh.bmc.register"; });
    auto old = rig.handler.identity(0);
    ASSERT_TRUE(old);
    EXPECT_EQ(old->id.product_id, 1);
    rig.handler.tick(kSecond);
    tick_until_sent(rig.handler, *rig.smi, 0x01, asked + 2);
    while (!rig.handler.tick_wanted()) rt::cpu_relax(std::chrono::microseconds(50));
  }
  const Instant end = soon();
  while (rig.handler.tick(kSecond) && rt::now() < end) rt::cpu_relax(std::chrono::microseconds(200));
  EXPECT_EQ(rig.handler.identity(0)->id.product_id, 42);
}

}  // namespace
}  // namespace bmcpair::host::inline BMCPAIR_RT
