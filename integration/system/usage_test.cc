// Bad use of the programs: one line that says what was wrong and what to do, and the documented exit status.
#include <gtest/gtest.h>

#include <future>
#include <iterator>
#include <vector>

#include "integration/system/process.h"

namespace bmcpair::integration {
namespace {

struct Bad {
  std::vector<std::string> arguments;
  int status;
  std::string says;
};

}  // namespace

TEST(Usage, HostDriverSaysInOneLineWhatIsWrong) {
  const std::string bus = "in-process:" + source_file("configs/one-bt.yaml");
  const std::vector<Bad> cases = {
      {{"--bus", "nonsense", "info"}, 2, "forms:"},
      {{"--bus", "serial:/dev/ttyS0", "info"}, 2, "scheme 'serial' is unknown"},
      {{"--bus", bus, "raw", "6"}, 2, "NetFn and command"},
      {{"--bus", bus, "raw", "7", "1"}, 2, "odd"},
      {{"--bus", bus, "raw", "0x40", "1"}, 2, "0x40"},
      {{"--bus", bus, "raw", "6", "d5"}, 2, "'d5' is not a number"},
      {{"--bus", bus, "raw", "6", "1", "256"}, 2, "data byte 1"},
      {{"--bus", bus, "--profile", "linux-2.4", "info"}, 2, "linux-6.1"},
      {{"--bus", bus, "sel", "add", "01", "02"}, 2, "16 bytes"},
      {{"--bus", bus, "fru", "999"}, 2, "fru: id"},
      {{"--bus", bus, "--timeout", "0", "info"}, 2, "--timeout"},
      {{"--bus", "in-process:/nowhere/x.yaml", "--timeout", "10", "info"}, 3, "/nowhere/x.yaml"},
      {{"--bus", bus + "#other/bt", "--timeout", "10", "info"}, 3, "other"},
      {{"--bus", "grpc:unix:/nowhere/x.sock", "--timeout", "10", "info"}, 3, "/nowhere/x.sock"},
      {{"--bus", "vfio-user:/nowhere/x.sock", "--timeout", "10", "info"}, 3, "/nowhere/x.sock"},
      {{"--bus", "qtest:/nowhere/x.sock@0xe4", "--timeout", "10", "info"}, 3, "/nowhere/x.sock"},
  };
  // Side by side, for some are tried again until their time is over.
  std::vector<std::future<Finished>> results;
  for (const Bad& bad : cases) {
    results.push_back(std::async(std::launch::async, [&bad] { return host_driver(bad.arguments); }));
  }
  for (size_t i = 0; i < std::size(cases); ++i) {
    const Bad& bad = cases[i];
    const Finished result = results[i].get();
    std::string shown;
    for (const auto& a : bad.arguments) shown += a + " ";
    EXPECT_EQ(result.status, bad.status) << shown << "\n" << result.err;
    EXPECT_NE(result.err.find(bad.says), std::string::npos) << shown << "\n" << result.err;
    EXPECT_EQ(lines_of(result.err), 1) << shown << "\n" << result.err;
    EXPECT_EQ(result.out, "") << shown;
  }
}

TEST(Usage, RawShowsACompletionCodeAndSaysSoByItsStatus) {
  auto result = host_driver({"--bus", "in-process:" + source_file("configs/one-kcs.yaml"), "raw", "6", "0x7f"});
  EXPECT_EQ(result.status, 4) << result.err;
  EXPECT_EQ(result.out, "1c 7f c1\ncompletion code 0xc1: invalid command\n");
}

TEST(Usage, EveryProgramHasHelp) {
  for (std::string name : {"bmc_emu", "bmcctl", "host_driver", "vfio_bridge"}) {
    auto help = run({program(name), "--help"});
    EXPECT_EQ(help.status, 0) << name << help.err;
    EXPECT_NE(help.out.find("Exit "), std::string::npos) << name << " documents its exit statuses:\n" << help.out;
  }
}

TEST(Usage, ShippedConfigurationsAreAccepted) {
  for (std::string name : {"demo", "one-bt", "one-kcs", "rack"}) {
    auto check = run({program("bmc_emu"), "--check", source_file("configs/" + name + ".yaml")});
    EXPECT_EQ(check.status, 0) << name << ": " << check.err;
  }
}

}  // namespace bmcpair::integration
