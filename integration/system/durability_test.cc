// An acknowledged SEL entry is never lost, not by kill -9.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "integration/system/process.h"
#include "proto/base/hex.h"

namespace bmcpair::integration {

using nlohmann::json;

TEST(Durability, KillingTheDaemonInALoopLosesNoAcknowledgedSelEntry) {
  TemporaryFolder folder;
  write_file(folder / "one.yaml", "bmcs:\n  - name: one\n    interfaces: [{kind: bt}]\n    sel: {entries_max: 4096}\n");
  Daemon daemon(folder, folder / "one.yaml", {"--state", folder / "state"});
  std::set<std::string> acknowledged;
  for (int round = 0; round < 8; ++round) {
    // A host adds entries as fast as it can, through the registers, each with bytes of its own; the daemon dies under it.
    Process adder({program("sel_adder"), daemon.bus("one/bt"), std::to_string(round)});
    const std::string some = "acknowledged " + std::to_string(round) + " " + std::to_string(5 + round * 7);
    ASSERT_TRUE(adder.wait_for_output(some)) << adder.out() << adder.err() << daemon.process().out() << daemon.process().err();
    daemon.process().signal(SIGKILL);
    ASSERT_EQ(daemon.process().wait(), 128 + SIGKILL);
    ASSERT_NE(adder.wait(), -1) << "the driver hangs on a dead daemon";
    std::istringstream lines(adder.out());
    std::string word, r, n;
    while (lines >> word >> r >> n) {
      if (word == "acknowledged") acknowledged.insert(r + " " + n);
    }
    daemon.start();
    auto list = daemon.ctl({"--json", "sel", "list", "one"});
    ASSERT_EQ(list.status, 0) << list.err;
    std::set<std::string> kept;
    const json parsed = json::parse(list.out);
    for (const json& entry : parsed.at("records")) {
      // Bytes 13..15 of a record: the round and a little-endian number.
      auto record = from_hex(entry.at("record").get<std::string>());
      ASSERT_TRUE(record && record->size() == 16) << entry;
      kept.insert(std::to_string((*record)[13]) + " " + std::to_string((*record)[14] | (*record)[15] << 8));
    }
    for (const std::string& entry : acknowledged) EXPECT_TRUE(kept.count(entry)) << "lost: " << entry << " in round " << round;
  }
  EXPECT_GE(acknowledged.size(), 8u * 5u);
}

TEST(Durability, SettingsFruAndUsersSurviveARestart) {
  TemporaryFolder folder;
  write_file(folder / "one.yaml",
             "bmcs:\n  - name: one\n    interfaces: [{kind: kcs}]\n    frus: [{product: {manufacturer: A, name: B, serial: \"1\"}}]\n"
             "    users: [{id: 2, name: admin, password: secret, privilege: administrator}]\n");
  Daemon daemon(folder, folder / "one.yaml", {"--state", folder / "state"});
  auto ask = [&](std::vector<std::string> bytes) {
    std::vector<std::string> arguments{"--bus", daemon.bus("one/kcs"), "raw"};
    arguments.insert(arguments.end(), bytes.begin(), bytes.end());
    return host_driver(arguments);
  };
  // Write FRU Data at offset 1500; Set User Name 3 "eve"; Set Power Restore Policy always-on.
  ASSERT_EQ(ask({"0x0a", "0x12", "0", "0xdc", "0x05", "0xde", "0xad"}).status, 0);
  ASSERT_EQ(ask({"6", "0x45", "3", "0x65", "0x76", "0x65", "0", "0", "0", "0", "0", "0", "0", "0", "0", "0", "0", "0", "0"}).status, 0);
  ASSERT_EQ(ask({"0", "6", "2"}).status, 0);
  daemon.process().signal(SIGKILL);
  ASSERT_EQ(daemon.process().wait(), 128 + SIGKILL);
  daemon.start();
  EXPECT_EQ(ask({"0x0a", "0x11", "0", "0xdc", "0x05", "2"}).out, "2c 11 00 02 de ad\n");
  EXPECT_EQ(ask({"6", "0x46", "3"}).out.substr(0, 17), "1c 46 00 65 76 65");
  auto status = ask({"0", "1"});
  ASSERT_EQ(status.status, 0) << status.err;
  EXPECT_EQ(std::stoul(status.out.substr(9, 2), nullptr, 16) & 0x60u, 0x40u) << status.out;
}

TEST(Durability, ASecondDaemonOnTheSameStateFolderIsRefused) {
  TemporaryFolder folder, other;
  write_file(folder / "one.yaml", "bmcs:\n  - name: one\n    interfaces: [{kind: bt}]\n");
  Daemon daemon(folder, folder / "one.yaml", {"--state", folder / "state"});
  auto second = run({program("bmc_emu"), folder / "one.yaml", "--listen", "unix:" + (other / "s.sock"), "--run-dir", other.path(), "--state",
                     folder / "state"});
  EXPECT_NE(second.status, 0);
  EXPECT_NE(second.err.find(folder / "state"), std::string::npos) << second.err;
}

}  // namespace bmcpair::integration
