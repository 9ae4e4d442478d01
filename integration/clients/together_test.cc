// Many programs, many interfaces, and ends in the middle.
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>

#include "integration/clients/site.h"

namespace bmcpair::integration {
namespace {

TEST(Together, TenProgramsOfFourKindsAtOnceOnOneDevice) {
  Site site(source_file("configs/demo.yaml"), {"demo/bt"});
  std::vector<std::unique_ptr<Process>> programs;
  for (int n = 0; n < 4; ++n) programs.push_back(site.start({program("device_client"), "requests", "/dev/ipmi0", "100"}));
  for (int n = 0; n < 2; ++n) programs.push_back(site.start({"ipmitool", "mc", "info"}));
  for (int n = 0; n < 2; ++n) programs.push_back(site.start({"bmc-info", "-D", "OPENIPMI"}));
  for (int n = 0; n < 2; ++n) programs.push_back(site.start({"ipmicmd", "-k", "0f 00 06 01", "smi", "0"}));
  for (size_t n = 0; n < programs.size(); ++n) {
    EXPECT_EQ(programs[n]->wait(), 0) << n << ": " << programs[n]->err();
    const std::string wanted = n < 4 ? "100 answers\n" : n < 6 ? "2828 (0x0b0c)" : n < 8 ? "2828" : "0f 07 00 01 00 20 81";
    EXPECT_NE(programs[n]->out().find(wanted), std::string::npos) << n << ": " << programs[n]->out();
  }
}

TEST(Together, TenInterfacesAtOnceEachAnswersForItsOwnBmc) {
  TemporaryFolder folder;
  std::string config = "bmcs:\n";
  std::vector<std::string> paths;
  for (int n = 0; n < 10; ++n) {
    const std::string name = "bmc" + std::to_string(n);
    config += "  - {name: " + name + ", identity: {product_id: " + std::to_string(1000 + n) + "}, interfaces: [{kind: " +
              (n % 3 == 0 ? "bt" : n % 3 == 1 ? "kcs" : "smic") + "}]}\n";
    paths.push_back(name);
  }
  write_file(folder / "ten.yaml", config);
  Site site(folder / "ten.yaml", paths);
  std::vector<std::unique_ptr<Process>> programs;
  for (int n = 0; n < 10; ++n) programs.push_back(site.start({"ipmitool", "-d", std::to_string(n), "mc", "info"}));
  for (int n = 0; n < 10; ++n) {
    EXPECT_EQ(programs[static_cast<size_t>(n)]->wait(), 0) << n << ": " << programs[static_cast<size_t>(n)]->err();
    const std::string product = fields(programs[static_cast<size_t>(n)]->out(), ':')["Product ID"];
    EXPECT_EQ(product.rfind(std::to_string(1000 + n) + " ", 0), 0u) << n << ": " << product;
  }
}

TEST(Together, AClientKilledInTheMiddleLeavesNothingBehind) {
  Site site(source_file("configs/one-kcs.yaml"), {""});
  for (int round = 0; round < 3; ++round) {
    std::vector<std::unique_ptr<Process>> programs;
    for (int n = 0; n < 5; ++n) programs.push_back(site.start({program("device_client"), "hold", "/dev/ipmi0"}));
    for (auto& p : programs) ASSERT_TRUE(p->wait_for_output("begun\n")) << p->err();
    for (auto& p : programs) p->signal(SIGKILL);
    for (auto& p : programs) EXPECT_EQ(p->wait(), 128 + SIGKILL);
    EXPECT_EQ(site.run({program("device_client"), "requests", "/dev/ipmi0", "10"}).out, "10 answers\n");
  }
  EXPECT_EQ(site.run({program("device_client"), "busy", "/dev/ipmi0"}).out, "30 opens, then EBUSY\n");
}

// Asks until it is answered: the driver finds its BMC again in its own time.
void expect_works_again(const Site& site) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  Finished out{};
  do {
    out = site.run({program("device_client"), "requests", "/dev/ipmi0", "10"});
  } while (out.status != 0 && std::chrono::steady_clock::now() < end);
  EXPECT_EQ(out.out, "10 answers\n") << out.err;
}

TEST(Together, TheDaemonKilledInTheMiddleIsACompletionCodeAndItWorksAgain) {
  Site site(source_file("configs/one-kcs.yaml"), {""});
  auto client = site.start({program("device_client"), "until-error", "/dev/ipmi0"});
  ASSERT_TRUE(client->wait_for_output("begun\n")) << client->err();
  site.daemon().process().signal(SIGKILL);
  site.daemon().process().wait();
  EXPECT_EQ(client->wait(), 0) << client->err();
  EXPECT_EQ(client->out().rfind("begun\ncompletion code ", 0), 0u) << client->out();
  const Finished told = site.run({"ipmitool", "raw", "6", "1"});
  EXPECT_EQ(told.status, 1);
  EXPECT_NE(told.err, "");
  site.daemon().start();
  expect_works_again(site);
}

TEST(Together, TheServerKilledInTheMiddleIsEnodevAndItWorksAgainAtTheNextOpen) {
  Site site(source_file("configs/one-kcs.yaml"), {""});
  auto client = site.start({program("device_client"), "until-error", "/dev/ipmi0"});
  ASSERT_TRUE(client->wait_for_output("begun\n")) << client->err();
  site.server().signal(SIGKILL);
  EXPECT_EQ(client->wait(), 0) << client->err();
  EXPECT_EQ(client->out(), "begun\nENODEV\n");
  const Finished told = site.run({"ipmitool", "raw", "6", "1"});
  EXPECT_EQ(told.status, 1);
  EXPECT_NE(told.err.find("nobody serves this socket any more"), std::string::npos) << told.err;
  // What the killed one left is replaced.
  site.serve();
  expect_works_again(site);
}

}  // namespace
}  // namespace bmcpair::integration
