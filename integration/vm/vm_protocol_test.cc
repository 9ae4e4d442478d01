// The daemon's end of the VM serial protocol, duty by duty, against a client that plays QEMU's.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "integration/system/process.h"
#include "integration/vm/vm_client.h"

namespace bmcpair::integration {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using vm_protocol::Control;
using vm_protocol::Frame;

// One's interface is at LISTEN. A threshold at 80; a self test that takes an hour; a device with 256 bytes.
constexpr const char* kConfig = R"(bmcs:
  - name: one
    identity: {device_id: 0x2a, product_id: 0x1234, manufacturer_id: 0x5678}
    reset: {cold_offline: 2s, warm_offline: 100ms}
    interfaces:
      - kind: bt
        vm: {listen: "LISTEN"}
        latency: {response: 1us, commands: [{netfn: app, cmd: 0x04, response: 60s}]}
    sensors:
      - {name: Temp, type: temperature, initial: 30, thresholds: {upper_critical: 80}}
    i2c_devices:
      - {address: 0x50, content: "CONTENT"}
)";

std::string replaced(std::string text, const std::string& what, const std::string& with) {
  return text.replace(text.find(what), what.size(), with);
}

class VmProtocol : public ::testing::TestWithParam<const char*> {
 protected:
  VmProtocol() {
    std::string content;
    for (int i = 0; i < 256; ++i) content += "a0";
    std::string config = replaced(replaced(kConfig, "LISTEN", GetParam()), "CONTENT", content);
    write_file(folder_ / "one.yaml", config);
    daemon_ = std::make_unique<Daemon>(folder_, folder_ / "one.yaml");
  }

  std::string address() {
    std::string out = daemon_->process().out();
    const std::string before = "VM protocol of one/bt on ";
    size_t at = out.find(before) + before.size();
    return out.substr(at, out.find('\n', at) - at);
  }
  // A host as QEMU is one, its greeting read.
  std::unique_ptr<VmClient> connect(uint8_t capabilities = 0x3f) {
    auto client = std::make_unique<VmClient>(address());
    client->hello(capabilities);
    EXPECT_EQ(client->ask("18 01"), kIdentity);
    client->controls();
    return client;
  }
  // A connection that the daemon takes: it may first have to notice that the one before has gone.
  std::unique_ptr<VmClient> connect_again() {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (std::chrono::steady_clock::now() < end) {
      auto client = std::make_unique<VmClient>(address());
      if (client->next()) return client;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    throw std::runtime_error("never accepted again");
  }
  std::string ctl(std::vector<std::string> arguments) {
    Finished done = daemon_->ctl(std::move(arguments));
    EXPECT_EQ(done.status, 0) << done.out << done.err;
    return done.out;
  }
  nlohmann::json statistics() { return nlohmann::json::parse(ctl({"--json", "stats"}))["interfaces"][0]; }

  static constexpr const char* kIdentity = "01 00 2a 81 01 00 02 bf 78 56 00 34 12 00 00 00 00";

  TemporaryFolder folder_;
  std::unique_ptr<Daemon> daemon_;
};

// What may differ between kinds of sockets.
class VmSockets : public VmProtocol {};

TEST_P(VmSockets, TheGreetingIsVersionThenInterruptsForbiddenThenAttention) {
  VmClient client(address());
  auto version = client.next();
  ASSERT_TRUE(version);
  EXPECT_EQ(version->control, 0xff);
  EXPECT_EQ(version->data, Bytes{1});
  client.next();
  client.next();
  EXPECT_EQ(client.controls(), "ff 06 00");
}

TEST_P(VmSockets, IdentityAndEverySequenceNumberComesBack) {
  auto client = connect();
  for (int i = 0; i < 300; ++i) ASSERT_EQ(client->ask("18 01"), kIdentity) << i;
  EXPECT_EQ(client->controls(), "") << "nothing but responses is said unasked";
}

TEST_P(VmProtocol, UnknownCommandsAndLunsAreAnsweredAsAtTheRegisters) {
  auto client = connect();
  EXPECT_EQ(client->ask("18 ee"), "ee c1");
  EXPECT_EQ(client->ask("19 01"), "01 c2");
  EXPECT_EQ(client->ask("1c 01"), "01 c1") << "an odd NetFn";
  EXPECT_EQ(client->ask("18 01 00"), "01 c7");
}

TEST_P(VmProtocol, InterruptsAreAllowedAndForbiddenBeforeTheResponseThatEnabledThem) {
  auto client = connect();
  auto set = [&](const std::string& enables) {
    client->send_request("18 2e " + enables);
    std::string order;
    for (;;) {
      auto frame = client->next();
      EXPECT_TRUE(frame);
      if (!frame || frame->kind == Frame::Kind::kMessage) return order + "response";
      order += to_hex(Bytes{frame->control}) + " ";
    }
  };
  EXPECT_EQ(set("08"), "response");
  EXPECT_EQ(set("09"), "05 response");
  EXPECT_EQ(set("0b"), "response");
  EXPECT_EQ(set("0a"), "response");
  EXPECT_EQ(set("0a"), "response");
  EXPECT_EQ(set("0c"), "06 response");
  EXPECT_EQ(set("0f"), "05 response");
  EXPECT_EQ(set("00"), "06 response");
}

TEST_P(VmProtocol, AHostThatCannotSwitchInterruptsOrAttentionIsNotTold) {
  auto client = connect(0x03);
  EXPECT_EQ(client->ask("18 2e 0f"), "2e 00");
  EXPECT_EQ(client->controls(), "");
  ctl({"sensor", "set", "one", "Temp", "90"});
  EXPECT_EQ(client->ask("18 31"), "31 00 02");
  EXPECT_EQ(client->controls(), "");
}

TEST_P(VmProtocol, AttentionFollowsTheMessageFlags) {
  auto client = connect();
  client->ask("18 2e 0c");  // event message buffer, without interrupts
  ctl({"sensor", "set", "one", "Temp", "90"});
  ASSERT_TRUE(client->wait_for(Control::kAttention));
  EXPECT_THAT(client->ask("18 35"), StartsWith("35 00"));
  EXPECT_EQ(client->controls(), "00");
  client->ask("18 2e 0f");
  client->controls();
  ctl({"sensor", "set", "one", "Temp", "20"});
  ASSERT_TRUE(client->wait_for(Control::kAttentionInterrupt));
  EXPECT_EQ(client->ask("18 30 02"), "30 00");
  EXPECT_EQ(client->controls(), "00");
  EXPECT_EQ(client->ask("18 31"), "31 00 00");
}

TEST_P(VmSockets, AttentionIsToldAgainAfterAReconnectAndInterruptsOnlyWhenAskedFor) {
  auto client = connect();
  client->ask("18 2e 0f");
  ctl({"sensor", "set", "one", "Temp", "90"});
  ASSERT_TRUE(client->wait_for(Control::kAttentionInterrupt));
  client->close();
  auto again = connect_again();
  again->hello();
  EXPECT_EQ(again->ask("18 31"), "31 00 02");
  EXPECT_EQ(again->controls(), "ff 02") << "a QEMU that only lost its connection still knows that interrupts are allowed";
  EXPECT_EQ(again->ask("18 2e 0f"), "2e 00");
  EXPECT_EQ(again->controls(), "05") << "and one that is new learns it when its software asks";
}

TEST_P(VmProtocol, PowerFromBmcctlReachesTheHost) {
  auto client = connect();
  const std::pair<const char*, Control> actions[] = {{"soft", Control::kGracefulShutdown}, {"diag", Control::kNmi},
                                                     {"reset", Control::kReset},           {"cycle", Control::kReset}};
  for (const auto& [action, control] : actions) {
    ctl({"power", "one", action});
    EXPECT_TRUE(client->wait_for(control)) << action;
    EXPECT_EQ(client->controls(), "") << action;
    ctl({"power", "one", "on"});
  }
  ctl({"power", "one", "off"});
  EXPECT_TRUE(client->wait_for(Control::kPowerOff));
  EXPECT_THAT(client->ask("00 01"), StartsWith("01 00 20")) << "off";
  ctl({"power", "one", "on"});
  EXPECT_THAT(client->ask("00 01"), StartsWith("01 00 21"));
  EXPECT_EQ(client->controls(), "") << "a machine that is off cannot be told to start";
}

TEST_P(VmProtocol, ChassisControlIsAnsweredBeforeItIsDone) {
  auto client = connect();
  const std::pair<const char*, Control> actions[] = {{"05", Control::kGracefulShutdown},
                                                     {"04", Control::kNmi},
                                                     {"03", Control::kReset},
                                                     {"00", Control::kPowerOff}};
  for (const auto& [action, control] : actions) {
    client->send_request(std::string("00 02 ") + action);
    EXPECT_EQ(client->response(), "02 00");
    EXPECT_EQ(client->controls(), "") << action;
    EXPECT_TRUE(client->wait_for(control)) << action;
  }
  EXPECT_THAT(client->ask("00 02 03"), "02 d5") << "no reset of a machine that is off";
}

TEST_P(VmProtocol, AHostIsToldOnlyWhatItSaidItCanDo) {
  auto client = connect(0x14);
  for (const char* action : {"soft", "diag", "reset", "cycle", "off"}) {
    ctl({"power", "one", action});
    ctl({"power", "one", "on"});
  }
  client->ask("18 01");
  EXPECT_EQ(client->controls(), "");
  client->close();
  auto mute = connect_again();  // that never says what it can do
  ctl({"power", "one", "off"});
  mute->ask("18 01");
  EXPECT_EQ(mute->controls(), "ff 06 00");
  EXPECT_TRUE(daemon_->process().wait_for_output("cannot do: graceful shutdown"));
}

TEST_P(VmProtocol, APowerCycleIsAPowerOffForAHostThatCannotReset) {
  auto client = connect(0x15);
  ctl({"power", "one", "cycle"});
  EXPECT_TRUE(client->wait_for(Control::kPowerOff));
}

TEST_P(VmProtocol, TheWatchdogsActionsReachTheHost) {
  auto client = connect();
  const std::pair<const char*, Control> actions[] = {
      {"01", Control::kReset}, {"02", Control::kPowerOff}, {"03", Control::kReset}};
  for (const auto& [action, control] : actions) {
    ctl({"power", "one", "on"});
    EXPECT_EQ(client->ask(std::string("18 24 04 ") + action + " 00 00 01 00"), "24 00");
    EXPECT_EQ(client->ask("18 22"), "22 00");
    EXPECT_TRUE(client->wait_for(control)) << action;
  }
  ctl({"power", "one", "on"});
  EXPECT_EQ(client->ask("18 24 04 20 01 00 0a 00"), "24 00") << "an NMI one second before, and that is now";
  client->controls();
  EXPECT_EQ(client->ask("18 22"), "22 00");
  EXPECT_TRUE(client->wait_for(Control::kNmi));
}

TEST_P(VmProtocol, APretimeoutByMessageIsAttention) {
  auto client = connect();
  EXPECT_EQ(client->ask("18 24 04 30 01 00 0a 00"), "24 00");
  EXPECT_EQ(client->ask("18 22"), "22 00");
  EXPECT_TRUE(client->wait_for(Control::kAttention));
  EXPECT_EQ(client->ask("18 31"), "31 00 08");
}

TEST_P(VmProtocol, AHostThatSaysItWasResetHasItsWatchdogStoppedAndItsEnablesTaken) {
  auto client = connect();
  EXPECT_EQ(client->ask("00 02 03"), "02 00");
  ASSERT_TRUE(client->wait_for(Control::kReset));
  EXPECT_EQ(client->ask("00 07"), "07 00 01 0f") << "by Chassis Control";
  client->send("04 a1");
  EXPECT_EQ(client->ask("00 07"), "07 00 01 0f") << "this was the reset that the BMC had asked for";
  EXPECT_EQ(client->ask("18 2e 0f"), "2e 00");
  EXPECT_EQ(client->ask("18 24 04 01 00 00 ff ff"), "24 00");
  EXPECT_EQ(client->ask("18 22"), "22 00");
  client->controls();
  client->send("04 a1");
  EXPECT_EQ(client->ask("00 07"), "07 00 00 00") << "restarted, the cause is not known";
  EXPECT_EQ(client->controls(), "06");
  EXPECT_EQ(client->ask("18 2f"), "2f 00 08");
  EXPECT_EQ(client->ask("18 22"), "22 80");
}

TEST_P(VmProtocol, AMachineThatConnectsHasPower) {
  auto client = connect();
  ctl({"power", "one", "off"});
  client->wait_for(Control::kPowerOff);
  client->close();
  auto again = connect_again();
  EXPECT_THAT(again->ask("00 01"), StartsWith("01 00 20")) << "whoever only connects may be anybody";
  again->hello();
  EXPECT_THAT(again->ask("00 01"), StartsWith("01 00 21"));
}

TEST_P(VmProtocol, WrongFramesAreCountedAndHurtNobody) {
  auto client = connect();
  uint64_t before = statistics()["vm_frames_bad"];
  const char* wrong[] = {
      "de ad be ef a0",         // checksum
      "00 18 a0",               // too short
      "00 18 01 e7 aa a0",      // ends in an escape
      "42 a1",                  // no control that there is
      "03 a1",                  // one that a host does not say
      "08 a1", "ff a1",         // without their byte
  };
  for (const char* frame : wrong) {
    client->send(std::string_view(frame));
    ASSERT_EQ(client->ask("18 01"), kIdentity) << frame;
  }
  client->send(Bytes(70'000, 0x55));
  client->send("a0");
  ASSERT_EQ(client->ask("18 01"), kIdentity);
  client->send("a0 a1 a0 a0");
  client->send("ff 02 a1");  // another version
  ASSERT_EQ(client->ask("18 01"), kIdentity);
  EXPECT_EQ(statistics()["vm_frames_bad"], before + 8);
  EXPECT_TRUE(daemon_->process().wait_for_output("wrong frame 1: a frame of 4 bytes: wrong checksum"));
  EXPECT_TRUE(daemon_->process().wait_for_output("protocol version 2"));
  EXPECT_THAT(ctl({"stats"}), HasSubstr(" 8 wrong"));
}

TEST_P(VmSockets, AFrameMayComeByteByByteAndHalfAFrameWaits) {
  auto client = connect();
  for (int round = 0; round < 3; ++round) {
    Bytes wire = vm_protocol::encode_message(client->send_request("18 01"), Bytes{0x18, 0x01});
    EXPECT_EQ(client->response(), kIdentity);
    for (uint8_t b : wire) client->send(Bytes{b});
    EXPECT_EQ(client->response(), kIdentity);
  }
  // Half of one; the daemon is alive to everybody meanwhile.
  Bytes wire = vm_protocol::encode_message(client->send_request("18 01"), Bytes{0x18, 0x01});
  EXPECT_EQ(client->response(), kIdentity);
  client->send(ByteView(wire).first(3));
  EXPECT_THAT(ctl({"list"}), HasSubstr("VM host"));
  client->send(ByteView(wire).subspan(3));
  EXPECT_EQ(client->response(), kIdentity);
}

TEST_P(VmProtocol, OnlyTheNewestOfSeveralRequestsIsAnsweredAndNeverWithAnothersSequence) {
  auto client = connect();
  Bytes burst;
  uint8_t sequence = client->send_request("18 01");
  EXPECT_EQ(client->response(), kIdentity);
  for (int i = 0; i < 40; ++i) {
    Bytes one = vm_protocol::encode_message(++sequence, Bytes{0x18, 0x01});
    burst.insert(burst.end(), one.begin(), one.end());
  }
  client->send(burst);
  uint8_t last = 0;
  int answers = 0;
  for (;;) {
    auto frame = client->next();
    ASSERT_TRUE(frame);
    if (frame->kind != Frame::Kind::kMessage) continue;
    ++answers;
    if (answers > 1) {
      EXPECT_LE(static_cast<uint8_t>(frame->sequence - last), 40) << "in order";
    }
    last = frame->sequence;
    if (last == sequence) break;
  }
  EXPECT_LE(answers, 40);
}

TEST_P(VmProtocol, ARequestMakesAnOlderOneStale) {
  auto client = connect();
  client->send_request("18 04");  // takes a minute
  EXPECT_EQ(client->ask("18 01"), kIdentity);
  EXPECT_EQ(client->ask("18 2f"), "2f 00 08");
}

TEST_P(VmProtocol, AResponseThatTheHostsRegistersCannotCarryIsCa) {
  auto client = connect();
  // 254 bytes with NetFn and Cmd: 251 after the completion code (QEMU's BT wraps its length byte above).
  std::string most = client->ask("18 52 00 50 fb 00");
  EXPECT_THAT(most, StartsWith("52 00 a0 a0"));
  EXPECT_EQ(most.size(), 3 * 253u - 1);
  EXPECT_EQ(client->ask("18 52 00 50 fc 00"), "52 ca");
  EXPECT_EQ(client->ask("18 52 00 50 ff 00"), "52 ca");
}

TEST_P(VmProtocol, ARequestAboveTheRegistersIsC8AndAboveTheProtocolDropped) {
  auto client = connect();
  std::string head = "18 01";
  auto with = [&](size_t bytes) {
    std::string text = head;
    for (size_t i = 2; i < bytes; ++i) text += " aa";
    return text;
  };
  EXPECT_EQ(client->ask(with(254)), "01 c7");
  EXPECT_EQ(client->ask(with(255)), "01 c8");
  EXPECT_EQ(client->ask(with(300)), "01 c8");
  client->send_request(with(301));
  EXPECT_EQ(client->ask("18 01"), kIdentity);
  EXPECT_EQ(statistics()["vm_frames_bad"], 1);
}

TEST_P(VmProtocol, ARebootingBmcAnswersItsResetAndThenNothingUntilItIsBack) {
  auto client = connect();
  client->ask("18 2e 0f");
  ASSERT_TRUE(client->wait_for(Control::kAllowInterrupts));
  EXPECT_EQ(client->ask("18 02"), "02 00");
  // Asked again and again, as a driver does with its time limit: D2 for the moment that its answer to the reset has,
  // nothing while it is away, and then as ever.
  int unanswered = 0;
  for (std::string answer = "01 d2"; answer == "01 d2";) {
    client->send_request("18 01");
    if (auto came = client->response_within(std::chrono::milliseconds(200))) {
      answer = *came;
      EXPECT_THAT(answer, ::testing::AnyOf("01 d2", kIdentity));
    } else {
      ++unanswered;
    }
  }
  EXPECT_GT(unanswered, 0);
  EXPECT_EQ(client->ask("18 2f"), "2f 00 08") << "a cold reset's enables";
  EXPECT_THAT(client->controls(), HasSubstr("06"));
}

TEST_P(VmSockets, ASecondHostIsClosedWithAReasonAndTheFirstNotesNothing) {
  auto first = connect();
  VmClient second(address());
  EXPECT_TRUE(second.wait_for_end());
  EXPECT_EQ(second.controls(), "") << "not even a greeting";
  EXPECT_EQ(first->ask("18 01"), kIdentity);
  EXPECT_TRUE(daemon_->process().wait_for_output("refused: interface one/bt is in use by VM host"));
  EXPECT_EQ(statistics()["vm_connections_refused"], 1);
  first->close();
  auto third = connect_again();
  EXPECT_EQ(third->ask("18 01"), kIdentity);
}

TEST_P(VmSockets, WhoeverIsThereFirstHasTheInterfaceRegistersOrMessages) {
  auto client = connect();
  Finished refused = host_driver({"--timeout", "5", "--bus", daemon_->bus("one/bt"), "raw", "6", "1"});
  EXPECT_NE(refused.status, 0);
  EXPECT_THAT(refused.err, HasSubstr("in use by VM host"));
  client->close();
  // The registers are as if nobody had been there.
  Process held({program("host_driver"), "--bus", daemon_->bus("one/bt"), "watch"});
  while (ctl({"endpoints"}).find("one") == std::string::npos) std::this_thread::yield();
  VmClient late(address());
  EXPECT_TRUE(late.wait_for_end());
  held.signal(SIGTERM);
  held.wait();
  auto again = connect_again();
  EXPECT_EQ(again->ask("18 01"), kIdentity);
}

TEST_P(VmSockets, AHostKilledInMidFrameLeavesNothingToTheNext) {
  for (bool hard : {false, true}) {
    auto client = hard ? connect_again() : connect();
    client->send_request("18 04");
    client->send("00 18 01 aa");
    client->close(hard);
    auto next = connect_again();
    EXPECT_EQ(next->ask("18 01"), kIdentity);
    next->close();
  }
}

TEST_P(VmSockets, ManyReconnectsLeaveNothingBehind) {
  for (int i = 0; i < 60; ++i) {
    auto client = connect_again();
    if (i % 3 == 0) client->send("00 18");
    if (i % 3 == 1) {
      ASSERT_EQ(client->ask("18 01"), kIdentity);
    }
    client->close(i % 2 == 1);
  }
  auto client = connect_again();
  EXPECT_EQ(client->ask("18 01"), kIdentity);
  EXPECT_THAT(ctl({"endpoints"}), HasSubstr("VM host"));
}

TEST_P(VmSockets, DetachingCutsTheHostOffAndItMayComeBack) {
  auto client = connect();
  auto endpoints = nlohmann::json::parse(ctl({"--json", "endpoints"}))["endpoints"];
  ASSERT_EQ(endpoints.size(), 1u);
  EXPECT_THAT(endpoints[0]["who"].get<std::string>(), StartsWith("VM host ("));
  ctl({"detach", std::to_string(endpoints[0]["id"].get<uint64_t>())});
  EXPECT_TRUE(client->wait_for_end());
  EXPECT_TRUE(daemon_->process().wait_for_output("is gone: by the operator"));
  auto again = connect_again();
  EXPECT_EQ(again->ask("18 01"), kIdentity);
}

TEST_P(VmProtocol, TheSelIsFilledThroughIt) {
  auto client = connect();
  EXPECT_EQ(client->ask("28 44 00 00 02 00 00 00 00 20 00 04 01 01 01 57 5a 50"), "44 00 01 00");
  EXPECT_THAT(ctl({"sel", "list"}), HasSubstr("upper non-critical going high, reading raw 90 (threshold raw 80)"));
  EXPECT_THAT(client->ask("28 43 00 00 00 00 00 ff"), HasSubstr("57 5a 50"));
}

TEST_P(VmSockets, InventoryTellsTheSocketAndWhoIsThere) {
  EXPECT_THAT(ctl({"list"}), HasSubstr("bt at " + address()));
  EXPECT_THAT(ctl({"describe", "one"}), HasSubstr("VM protocol on " + address() + ", free"));
  auto client = connect();
  EXPECT_THAT(ctl({"list"}), HasSubstr("bt at " + address() + " <- VM host ("));
  EXPECT_THAT(ctl({"describe", "one"}), HasSubstr("VM protocol on " + address() + ", held by VM host ("));
  EXPECT_THAT(ctl({"stats"}), HasSubstr("VM one/bt: 1 connections, 0 refused"));
}

TEST_P(VmSockets, ADaemonThatStopsClosesAndOneThatStartsAgainIsTheSameBmc) {
  auto client = connect();
  EXPECT_EQ(daemon_->stop(), 0);
  EXPECT_TRUE(client->wait_for_end());
  daemon_->start();
  auto again = connect();
  again->close();
  daemon_->process().signal(SIGKILL);
  daemon_->process().wait();
  daemon_->start();
  connect();
}

const auto kName = [](const auto& test) {
  return std::string(std::string_view(test.param).substr(0, std::string_view(test.param).find(':')));
};
INSTANTIATE_TEST_SUITE_P(Over, VmProtocol, ::testing::Values("unix:${RUN}/bt.vm"), kName);
INSTANTIATE_TEST_SUITE_P(Over, VmSockets, ::testing::Values("unix:${RUN}/bt.vm", "tcp:127.0.0.1:0"), kName);

}  // namespace
}  // namespace bmcpair::integration
