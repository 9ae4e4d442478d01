// The fixture that people use, in both its places: in this process, and as a daemon.
#include <bmcpair/testing/matchers.h>
#include <bmcpair/testing/virtual_bmc.h>
#include <gtest/gtest-spi.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace bmcpair::testing {
namespace {

using ::testing::_;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Eq;
using ::testing::Field;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Property;
using ::testing::SizeIs;
using ::testing::StartsWith;
using ::testing::ThrowsMessage;
using Where = VirtualBmcOptions::Where;

std::string source(const std::string& path) { return std::string(BMCPAIR_SOURCE_DIR) + "/" + path; }

class VirtualBmcPlaces : public ::testing::TestWithParam<Where> {
 protected:
  VirtualBmcOptions options() const {
    VirtualBmcOptions out;
    out.where = GetParam();
    out.program = std::string(BMCPAIR_BIN_DIR) + "/bmc_emu";
    return out;
  }
};

INSTANTIATE_TEST_SUITE_P(Places, VirtualBmcPlaces, ::testing::Values(Where::kInProcess, Where::kDaemon),
                         [](const auto& p) { return p.param == Where::kInProcess ? "InProcess" : "Daemon"; });

TEST_P(VirtualBmcPlaces, ARequestOfTheDriverIsAnsweredAndSeenInTheTraffic) {
  VirtualBmc bmc(options());
  EXPECT_EQ(bmc.name(), "one");
  EXPECT_THAT(bmc.interfaces(), ElementsAre("kcs"));
  EXPECT_THAT(bmc.host().request(0x06, 0x01), Completed(0x00, SizeIs(Ge(11u))));
  EXPECT_THAT(bmc.traffic(), Contains(Request(0x06, 0x01).answered(0x00).on("kcs")));
  bmc.clear_traffic();
  EXPECT_THAT(bmc.traffic(), Not(Contains(Request(0x0a, 0x11))));
  EXPECT_THAT(bmc.host().request(0x0a, 0x11, {0, 0, 0, 4}), Completed(0x00, SizeIs(5)));
  EXPECT_THAT(bmc.host().request(0x0a, 0x7f), Completed(0xc1));
  EXPECT_THAT(bmc.traffic(), Contains(Request(0x0a, 0x11).with({0, 0, 0, 4}).answered(0x00, SizeIs(5))).Times(1));
  EXPECT_THAT(bmc.traffic(), Contains(Request(0x0a, 0x7f).with(IsEmpty()).answered(0xc1)));
  EXPECT_EQ(bmc.traffic_left_out(), 0u);
}

TEST_P(VirtualBmcPlaces, AFaultActsAndTellsHowOftenItFired) {
  VirtualBmc bmc(options());
  bmc.host();
  const auto ids = bmc.add_faults("faults:\n  - {name: refused, cc: d5, netfn: storage, cmd: 0x10, count: 2}\n");
  ASSERT_THAT(ids, SizeIs(1));
  EXPECT_EQ(bmc.fired("refused"), 0u);
  EXPECT_THAT(bmc.host().request(0x0a, 0x10, {0}), Completed(0xd5));
  EXPECT_THAT(bmc.host().request(0x0a, 0x10, {0}), Completed(0xd5));
  EXPECT_THAT(bmc.host().request(0x0a, 0x10, {0}), Completed(0x00));
  EXPECT_EQ(bmc.fired("refused"), 2u);
  EXPECT_EQ(bmc.fired(ids[0]), 2u);
  ASSERT_THAT(bmc.faults(), SizeIs(1));
  EXPECT_EQ(bmc.faults()[0].remaining, 0u);
  EXPECT_THAT(bmc.traffic(), Contains(Request(0x0a, 0x10).answered(0xd5).faulted(ids[0])).Times(2));
  EXPECT_THAT(bmc.traffic(), Contains(AllOf(Request(0x0a, 0x10).answered(0x00), Not(Request(0x0a, 0x10).faulted()))));
  bmc.clear_faults();
  EXPECT_THAT(bmc.faults(), IsEmpty());
}

TEST_P(VirtualBmcPlaces, ALostAnswerIsATimeoutForTheHostAndUnansweredInTheTraffic) {
  VirtualBmcOptions o = options();
  o.host.timeout = std::chrono::milliseconds(4500);  // in which it has to come up, too
  VirtualBmc bmc(o);
  bmc.host();
  bmc.add_faults("drop=answer netfn=storage cmd=0x10");
  EXPECT_THAT(bmc.host().request(0x0a, 0x10, {0}), Unanswered(Answer::Outcome::kTimeout));
  EXPECT_THAT(bmc.traffic(), Contains(Request(0x0a, 0x10).unanswered().faulted()));
  bmc.clear_fault(bmc.faults()[0].id);
  EXPECT_TRUE(bmc.wait_for([&] { return bmc.host().request(0x0a, 0x10, {0}).ok(); }, std::chrono::seconds(60)));
}

TEST_P(VirtualBmcPlaces, ASensorThatIsSetRaisesItsEventAtTheHostAndInTheSel) {
  VirtualBmc bmc(options());
  bmc.host();
  EXPECT_EQ(bmc.sensor("Temp").value, 30);
  EXPECT_THAT(bmc.sel(), IsEmpty());
  bmc.set_sensor("Temp", 75);
  EXPECT_EQ(bmc.sensor("Temp").value, 75);
  const auto event = bmc.host().wait_for_event(std::chrono::seconds(60));
  ASSERT_TRUE(event);
  ASSERT_THAT(*event, SizeIs(16));
  EXPECT_EQ((*event)[11], bmc.sensor("Temp").number);
  ASSERT_THAT(bmc.sel(), SizeIs(1));
  EXPECT_THAT(bmc.sel()[0].text, HasSubstr("upper non-critical going high"));
  bmc.release_sensor("Temp");
  EXPECT_EQ(bmc.sensor("Temp").value, 30);
  bmc.clear_sel();
  EXPECT_THAT(bmc.sel(), IsEmpty());
  const uint16_t id = bmc.add_sel({0, 0, 0xe0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13});
  ASSERT_THAT(bmc.sel(), SizeIs(1));
  EXPECT_EQ(bmc.sel()[0].id, id);
  EXPECT_THAT(bmc.sensors(), SizeIs(1));
}

TEST_P(VirtualBmcPlaces, PowerIsReadAndSwitchedFromBothSides) {
  VirtualBmc bmc(options());
  const bool before = bmc.power_on();
  bmc.power(before ? Power::kOff : Power::kOn);
  EXPECT_NE(bmc.power_on(), before);
  EXPECT_THAT(bmc.host().request(0x00, 0x02, {static_cast<uint8_t>(before ? 1 : 0)}), Completed(0x00));
  EXPECT_TRUE(bmc.wait_for([&] { return bmc.power_on() == before; }));
}

TEST_P(VirtualBmcPlaces, TheHostWorksAgainAfterTheBmcWasReset) {
  VirtualBmc bmc(options());
  bmc.host();
  bmc.reset(Reset::kWarm);
  EXPECT_TRUE(bmc.wait_for([&] { return bmc.host().request(0x06, 0x01).ok(); }, std::chrono::seconds(90)));
}

TEST_P(VirtualBmcPlaces, EachInterfaceHasAHostAndTheTrafficSaysWhichItWas) {
  VirtualBmc bmc = VirtualBmc::from_yaml(
      "bmcs:\n  - name: two\n    interfaces:\n      - {kind: bt, name: first}\n      - {kind: kcs, name: second}\n", options());
  Host second = bmc.connect("second");
  EXPECT_TRUE(second.request(0x06, 0x01).ok());
  EXPECT_TRUE(bmc.host().request(0x0a, 0x10, {0}).completion_code.has_value());
  EXPECT_THAT(bmc.traffic(), Contains(Request(0x06, 0x01).on("second")));
  EXPECT_THAT(bmc.traffic(), Contains(Request(0x0a, 0x10).on("first")));
  EXPECT_THAT(bmc.traffic(), Not(Contains(Request(0x0a, 0x10).on("second"))));
  HostOptions soon;
  soon.timeout = std::chrono::seconds(1);
  EXPECT_THAT([&] { bmc.connect("second", soon); }, ThrowsMessage<HostError>(HasSubstr("second")));
  bmc.disconnect();
  EXPECT_TRUE(bmc.connect("first").request(0x06, 0x01).ok());
}

TEST_P(VirtualBmcPlaces, AConfigurationFromAFileNamesItsBmcs) {
  VirtualBmcOptions o = options();
  o.bmc = "demo";
  VirtualBmc bmc = VirtualBmc::from_file(source("configs/demo.yaml"), o);
  EXPECT_EQ(bmc.name(), "demo");
  EXPECT_THAT(bmc.sensor("CPU Temp").name, "CPU Temp");
  o.bmc = "none";
  EXPECT_THAT([&] { VirtualBmc::from_file(source("configs/demo.yaml"), o); },
              ThrowsMessage<VirtualBmcError>(AllOf(HasSubstr("none"), HasSubstr("demo"))));
}

TEST_P(VirtualBmcPlaces, WhatAStateFolderKeepsIsThereInTheNextBmc) {
  std::string folder = ::testing::TempDir() + "bmcpair-state.XXXXXX";
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  VirtualBmcOptions o = options();
  o.state = folder;
  {
    VirtualBmc bmc(o);
    bmc.add_sel({0, 0, 0xe0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13});
  }
  {
    VirtualBmc bmc(o);
    EXPECT_THAT(bmc.sel(), SizeIs(1));
  }
  std::filesystem::remove_all(folder);
}

TEST_P(VirtualBmcPlaces, MistakesAreThrownInWordsThatNameThem) {
  EXPECT_THAT([&] { VirtualBmc::from_yaml("bmcs: [{name: x, interfaces: [{kind: ktx}]}]", options()); },
              ThrowsMessage<VirtualBmcError>(HasSubstr("ktx")));
  EXPECT_THAT([&] { VirtualBmc::from_file("/nowhere/bmc.yaml", options()); },
              ThrowsMessage<VirtualBmcError>(HasSubstr("/nowhere/bmc.yaml")));
  VirtualBmc bmc(options());
  EXPECT_THAT([&] { bmc.add_faults("cc=d5 cmd=get_devise_id"); },
              ThrowsMessage<VirtualBmcError>(HasSubstr("get_devise_id")));
  EXPECT_THAT([&] { bmc.add_faults_file("/nowhere/rules.yaml"); },
              ThrowsMessage<VirtualBmcError>(HasSubstr("/nowhere/rules.yaml")));
  EXPECT_THAT([&] { bmc.sensor("Tempo"); }, ThrowsMessage<VirtualBmcError>(HasSubstr("Tempo")));
  EXPECT_THAT([&] { bmc.fired("unknown"); }, ThrowsMessage<VirtualBmcError>(HasSubstr("unknown")));
  EXPECT_THAT([&] { bmc.clear_fault(77); }, ThrowsMessage<VirtualBmcError>(HasSubstr("77")));
  EXPECT_THAT([&] { bmc.bus("bt"); }, ThrowsMessage<VirtualBmcError>(HasSubstr("kcs")));
  EXPECT_THAT(bmc.host().request(0x07, 1), Unanswered(Answer::Outcome::kRefused));
}

TEST_P(VirtualBmcPlaces, ABmcThatIsMovedGoesOn) {
  VirtualBmc first(options());
  Host& host = first.host();
  VirtualBmc second = std::move(first);
  EXPECT_TRUE(host.request(0x06, 0x01).ok());
  EXPECT_EQ(&second.host(), &host);
}

TEST(VirtualBmc, OfTwoInOneProcessEachHasItsOwnState) {
  VirtualBmc a, b;
  a.set_sensor("Temp", 75);
  EXPECT_EQ(b.sensor("Temp").value, 30);
  EXPECT_NE(a.bus(), b.bus());
  EXPECT_EQ(a.address(), "");
}

TEST(VirtualBmc, WaitForSaysWhenItsTimeHasPassed) {
  VirtualBmc bmc;
  int asked = 0;
  EXPECT_FALSE(bmc.wait_for([&] { return ++asked < 0; }, std::chrono::milliseconds(20)));
  EXPECT_GT(asked, 0);
}

TEST(VirtualBmc, ADaemonThatIsNotThereIsSaidToBeMissing) {
  VirtualBmcOptions o;
  o.where = Where::kDaemon;
  o.program = "/nowhere/bmc_emu";
  EXPECT_THAT([&] { VirtualBmc bmc(o); }, ThrowsMessage<VirtualBmcError>(HasSubstr("/nowhere/bmc_emu")));
}

// The test, run once more as a program of its own, that is killed.
constexpr char kHold[] = "BMCPAIR_TEST_HOLDS_A_DAEMON";

[[noreturn]] void hold_a_daemon() {
  VirtualBmcOptions o;
  o.where = Where::kDaemon;
  o.program = std::string(BMCPAIR_BIN_DIR) + "/bmc_emu";
  VirtualBmc bmc(o);
  std::printf("socket=%s\n", bmc.address().substr(5).c_str());
  std::fflush(stdout);
  for (;;) ::pause();
}

TEST(VirtualBmc, ItsDaemonEndsWithATestThatIsKilled) {
  if (std::getenv(kHold)) hold_a_daemon();
  int address_pipe[2];
  ASSERT_EQ(::pipe(address_pipe), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::dup2(address_pipe[1], 1);
    ::close(address_pipe[0]);
    ::setenv(kHold, "1", 1);
    ::execl("/proc/self/exe", "test", "--gtest_filter=VirtualBmc.ItsDaemonEndsWithATestThatIsKilled",
            static_cast<char*>(nullptr));
    ::_exit(127);
  }
  ::close(address_pipe[1]);
  std::string said;
  char part[256];
  while (said.find("socket=") == std::string::npos || said.find('\n', said.find("socket=")) == std::string::npos) {
    const ssize_t n = ::read(address_pipe[0], part, sizeof part);
    ASSERT_GT(n, 0) << said;
    said.append(part, static_cast<size_t>(n));
  }
  ::close(address_pipe[0]);
  const size_t begin = said.find("socket=") + 7;
  const std::string socket = said.substr(begin, said.find('\n', begin) - begin);
  ASSERT_TRUE(std::filesystem::exists(socket)) << socket;
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  // A bmc_emu that stops as asked takes its socket away.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (std::filesystem::exists(socket) && std::chrono::steady_clock::now() < deadline) ::usleep(5000);
  EXPECT_FALSE(std::filesystem::exists(socket));
  std::filesystem::remove_all(std::filesystem::path(socket).parent_path());
}

class Fixture : public VirtualBmcTest {
 protected:
  VirtualBmc make_bmc() override {
    return VirtualBmc::from_yaml("bmcs: [{name: mine, interfaces: [{kind: bt}]}]");
  }
};

TEST_F(Fixture, HasABmcOfItsOwnKindAndAHost) {
  EXPECT_EQ(bmc().name(), "mine");
  EXPECT_THAT(host().request(0x06, 0x01), Completed(0x00));
}

TEST(Matchers, AMismatchSaysWhatWasWantedAndWhatThereWas) {
  Exchange e;
  e.interface = "kcs";
  e.netfn = 6;
  e.cmd = 1;
  e.completion_code = uint8_t{0xd5};
  EXPECT_EQ(::testing::PrintToString(e), "kcs: 18 01 -> d5");
  EXPECT_NONFATAL_FAILURE(EXPECT_THAT(e, Request(6, 1).answered(0x00)), "another completion code");
  EXPECT_NONFATAL_FAILURE(EXPECT_THAT(e, Request(6, 2)), "NetFn 0x06, command 0x02");
  EXPECT_NONFATAL_FAILURE(EXPECT_THAT(e, Request(6, 1).unanswered()), "kcs: 18 01 -> d5");
  Answer none;
  none.outcome = Answer::Outcome::kTimeout;
  none.failure = "nothing came";
  EXPECT_NONFATAL_FAILURE(EXPECT_THAT(none, Completed(0x00)), "no answer: nothing came");
}

}  // namespace
}  // namespace bmcpair::testing
