// A program's own in and out instructions reach the BMC's registers: `host_driver run`'s port I/O.
#include <gtest/gtest.h>

#include <csignal>

#include "integration/system/process.h"

namespace bmcpair::integration {
namespace {

Finished run_with(std::vector<std::string> options, std::vector<std::string> program_and_arguments) {
  std::vector<std::string> argv{program("host_driver"), "run", "--timeout", "60"};
  argv.insert(argv.end(), options.begin(), options.end());
  argv.push_back("--");
  argv.insert(argv.end(), program_and_arguments.begin(), program_and_arguments.end());
  return integration::run(argv);
}

std::string port_client() { return program("port_client"); }


}  // namespace

TEST(Ports, StockIpmiutilReadsTheDeviceIdThroughItsOwnKcsDriver) {
  const Finished done = run_with({"--config", source_file("configs/demo.yaml")}, {"ipmiutil", "cmd", "-F", "kcs", "00", "20", "18", "01"});
  EXPECT_EQ(done.status, 0) << done.out << done.err;
  EXPECT_NE(done.out.find("respData"), std::string::npos) << done.out << done.err;
  EXPECT_NE(done.out.find("79 2b 00"), std::string::npos) << "the manufacturer's number: " << done.out;
}

TEST(Ports, AProgramOfOursTalksBtWithStringsOfBytes) {
  const Finished done = run_with({"--config", source_file("configs/demo.yaml")}, {port_client(), "bt", "18", "01"});
  EXPECT_EQ(done.status, 0) << done.err;
  EXPECT_EQ(done.out.substr(0, 12), "1c 42 01 00 ") << done.out;
  EXPECT_NE(done.out.find("79 2b 00"), std::string::npos) << done.out;
}

TEST(Ports, InAndOutWorkInEveryWidthStringHandlerThreadAndChild) {
  TemporaryFolder folder;
  const Finished done = run_with({"--config", source_file("configs/one-bt.yaml")}, {port_client(), "check", folder.path()});
  EXPECT_EQ(done.status, 0) << done.err;
  EXPECT_EQ(done.out, "checked\n");
  EXPECT_EQ(done.err, "");
}

TEST(Ports, WithoutIoplOrBeyondIopermAnAccessIsTheFaultThatItIsOnAPc) {
  const std::vector<std::string> config{"--config", source_file("configs/one-bt.yaml")};
  EXPECT_EQ(run_with(config, {port_client(), "unprivileged"}).status, 128 + SIGSEGV);
  const Finished some = run_with(config, {port_client(), "ioperm"});
  EXPECT_EQ(some.status, 128 + SIGSEGV);
  EXPECT_EQ(some.out, "00\n") << "what was permitted has been read before";
  EXPECT_EQ(run_with(config, {port_client(), "crash"}).status, 128 + SIGSEGV);
}

TEST(Ports, TwoProgramsAtOnceHaveTwoInterfaces) {
  const Finished done = run_with({"--config", source_file("configs/demo.yaml")},
                                 {"sh", "-c",
                                  "for i in 1 2 3; do \"$0\" bt 18 01 >/dev/null || exit 1; done & first=$!\n"
                                  "for i in 1 2 3; do ipmiutil cmd -F kcs 00 20 18 01 >/dev/null || exit 1; done\n"
                                  "wait $first && echo both",
                                  port_client()});
  EXPECT_EQ(done.status, 0) << done.err;
  EXPECT_EQ(done.out, "both\n") << done.err;
}

TEST(Ports, APortAndADeviceFileTakeTurnsOnOneInterface) {
  const Finished done = run_with({"--config", source_file("configs/one-bt.yaml")},
                                 {"sh", "-c", "ipmitool raw 6 1 && \"$0\" bt 18 01 && ipmitool raw 6 1 && \"$0\" bt 18 01", port_client()});
  EXPECT_EQ(done.status, 0) << done.out << done.err;
  EXPECT_EQ(done.err, "");
}

TEST(Ports, AnInterfaceThatAProgramHoldsByPortsIsBusyAsADeviceFileAndTheOtherWayRound) {
  TemporaryFolder folder;
  const Finished done = run_with({"--config", source_file("configs/one-bt.yaml")},
                                 {"sh", "-c",
                                  "mkfifo \"$1\"; \"$0\" hold >\"$1\" & read line <\"$1\"\n"
                                  "ipmitool raw 6 1; echo status $?; kill $!; wait $! 2>/dev/null\n"
                                  "until ipmitool raw 6 1 >/dev/null 2>&1; do :; done; echo again",
                                  port_client(), folder / "held"});
  EXPECT_EQ(done.status, 0) << done.err;
  EXPECT_EQ(done.out, "status 1\nagain\n") << done.err;
  EXPECT_NE(done.err.find("port I/O"), std::string::npos) << done.err;
}

TEST(Ports, AnInterfaceOfAnotherHostIsAnEmptyBusAndOneLineSaysWhoHasIt) {
  TemporaryFolder folder;
  Daemon daemon(folder, source_file("configs/one-bt.yaml"));
  Process holder({program("host_driver"), "--bus", daemon.bus(""), "--timeout", "60", "watch"});
  ASSERT_TRUE(holder.wait_for_output("watching")) << holder.err();
  const Finished done = run_with({"--bus", daemon.bus("")}, {port_client(), "hold-not", "x"});
  EXPECT_EQ(done.status, 2) << "nothing is attached to before it is used: " << done.err;
  Process busy({program("host_driver"), "run", "--bus", daemon.bus(""), "--", port_client(), "hold"});
  ASSERT_TRUE(busy.wait_for_output("24\n")) << busy.out() << busy.err();
  // On another stream, which may be read later.
  EXPECT_TRUE(busy.wait_for_output("ports of bt: ")) << busy.err();
  EXPECT_TRUE(busy.wait_for_output("host_driver[")) << "who holds it: " << busy.err();
  EXPECT_EQ(lines_of(busy.err()), 1) << busy.err();
}

TEST(Ports, OptionsPutAnInterfaceElsewhereOrNowhere) {
  const std::string config = source_file("configs/demo.yaml");
  const Finished moved = run_with({"--config", config, "--ports", "demo/bt=0xe4,demo2/kcs=0xca2"},
                                  {"ipmiutil", "cmd", "-F", "kcs", "00", "20", "18", "01"});
  EXPECT_EQ(moved.status, 0) << moved.out << moved.err;
  const Finished none = run_with({"--config", config, "--ports", "bt=0x1e4"}, {port_client(), "hold-not"});
  EXPECT_EQ(none.status, 2) << none.err;
  for (const char* wrong : {"kcs", "smic=0xca9", "demo3/kcs=0xca2"}) {
    const Finished refused = run_with({"--config", config, "--ports", wrong}, {"true"});
    EXPECT_EQ(refused.status, 125) << wrong;
    EXPECT_NE(refused.err.find("--ports: "), std::string::npos) << refused.err;
    EXPECT_EQ(lines_of(refused.err), 1) << refused.err;
  }
}

}  // namespace bmcpair::integration
