// An unmodified Linux guest under a running ipmitool loop, while bmc_emu behind vfio_bridge, or behind QEMU's own devices,
// is killed, stalled, stopped and started again: the guest's CPU goes on, its driver recovers by itself, QEMU lives, and
// every request is accounted for.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>
#include <thread>

#include "integration/qemu/guest.h"

namespace bmcpair::integration {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Requests with a number of their own, one after the other, each written down with what came of it: Add SEL Entry
// (IPMI 2.0 rev 1.1 §31.6), whose answer names the record. Linux may repeat a request; ipmitool does not.
constexpr const char* kAsker = R"(#!/bin/sh
n=0
while [ ! -e /tmp/stop ]; do
  n=$((n+1))
  text=$(ipmitool raw 0x0a 0x44 0 0 0xdf 0 0 0 0 $(printf '0x%02x 0x%02x' $((n%256)) $((n/256))) 0xa2 0xa3 0xa4 0xa5 0xa6 0xa7 0xa8 2>&1)
  echo "$n $? $text" | tr '\n' ' ' >>/tmp/asked
  echo >>/tmp/asked
done
)";

// What ipmitool said of a failure, without the request: the stated code.
std::string code_of(const std::string& text) {
  if (size_t at = text.find("rsp=0x"); at != std::string::npos) return text.substr(at + 4, 4);
  if (text.find("no response") != std::string::npos || text.find("No data available") != std::string::npos) {
    return "no response";
  }
  return text.empty() ? "(nothing was said)" : text;
}

struct Account {
  int sent = 0;
  int answered = 0;
  std::map<std::string, int> failed;
  std::set<int> record_ids;
  std::map<int, int> records;  // number of the request, by its record
  int answered_twice = 0;
};

Account account_of(const std::string& log) {
  Account out;
  std::istringstream lines(log);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    int number = 0, status = 0;
    if (!(words >> number >> status)) continue;
    EXPECT_EQ(number, ++out.sent) << line;
    std::string text;
    std::getline(words, text);
    text.erase(0, text.find_first_not_of(' '));
    // ipmitool may complain of a request of its own first; the answer is at the end.
    unsigned low = 0, high = 0;
    const std::string end = text.substr(0, text.find_last_not_of(' ') + 1);
    if (status == 0 && end.size() >= 5 && std::sscanf(end.c_str() + end.size() - 5, "%x %x", &low, &high) == 2) {
      ++out.answered;
      int id = static_cast<int>(low | high << 8);
      if (!out.record_ids.insert(id).second) ++out.answered_twice;
      out.records[id] = number;
    } else {
      ++out.failed[code_of(text)];
    }
  }
  return out;
}

class GuestSurvival : public ::testing::TestWithParam<const char*> {
 protected:
  std::string kind() const { return GetParam(); }
  std::string config() const { return folder_ / "bmc.yaml"; }
  void write_config(const std::string& more) {
    write_file(config(), "bmcs:\n  - name: one\n    interfaces: [{kind: " + kind() + more + "}]\n");
  }
  void start_daemon() {
    if (daemon_) {
      daemon_->start();
    } else {
      daemon_.emplace(folder_, config(), std::vector<std::string>{"--state", folder_ / "state"});
    }
  }
  void start_bridge() {
    bridge_.emplace(std::vector<std::string>{program("vfio_bridge"), "--bus", "grpc:unix:" + (folder_ / "bmc_emu.sock"),
                                             "--socket", folder_ / "v.sock", "--kind", kind(), "--answer-ms", "250"});
    ASSERT_TRUE(bridge_->wait_for_output("serving ")) << bridge_->err();
  }
  void boot(const GuestDevice& device, const std::string& modules) {
    write_file(folder_ / "asker", kAsker);
    GuestOptions options;
    options.devices = {device};
    options.modules = modules;
    options.append = "ipmi_si.unload_when_empty=0";
    options.files = {{"/asker", folder_ / "asker"}};
    guest_ = std::make_unique<Guest>(folder_, options);
  }
  // Some host is attached to the daemon's interface.
  bool connected() {
    const auto deadline = std::chrono::steady_clock::now() + seconds(60);
    while (std::chrono::steady_clock::now() < deadline) {
      auto endpoints = nlohmann::json::parse(daemon_->ctl({"--json", "endpoints"}).out, nullptr, false);
      if (endpoints.is_object() && !endpoints["endpoints"].empty()) return true;
      std::this_thread::sleep_for(milliseconds(50));
    }
    return false;
  }
  void ask() { guest_->must_run("rm -f /tmp/stop; sh /asker >/dev/null 2>&1 &"); }
  int answered() {
    return std::stoi("0" + guest_->must_run("grep -c '^[0-9]* 0 ' /tmp/asked || true"));
  }
  // The driver's own recovery, and ipmitool's patience, take their time: BT 5 s a try, KCS up to 55 s.
  ::testing::AssertionResult answers_again(int more = 3) {
    const int before = answered();
    const auto deadline = std::chrono::steady_clock::now() + seconds(150);
    while (std::chrono::steady_clock::now() < deadline) {
      if (answered() >= before + more) return ::testing::AssertionSuccess();
      guest_->run("sleep 0.5");
    }
    return ::testing::AssertionFailure() << "no answers any more; " << guest_->must_run("tail -3 /tmp/asked") << guest_->dmesg()
                                         << guest_->logs() << (bridge_ ? bridge_->err() : "");
  }
  // The guest's CPU works while the daemon does not: were an access to wait for the daemon, this would not end.
  void expect_guest_lives(int for_s) {
    EXPECT_EQ(guest_->must_run("sleep " + std::to_string(for_s) + "; echo alive"), "alive\n");
    EXPECT_TRUE(guest_->qemu().running());
  }
  void disturb() {
    ASSERT_TRUE(answers_again());
    daemon_->process().signal(SIGKILL);
    ASSERT_EQ(daemon_->process().wait(), 128 + SIGKILL);
    expect_guest_lives(2);
    start_daemon();
    ASSERT_TRUE(answers_again());

    daemon_->process().signal(SIGSTOP);
    expect_guest_lives(10);
    daemon_->process().signal(SIGCONT);
    ASSERT_TRUE(answers_again());

    ASSERT_EQ(daemon_->stop(), 0);
    expect_guest_lives(1);
    start_daemon();
    ASSERT_TRUE(answers_again());

    // And back before anybody could look.
    daemon_->process().signal(SIGKILL);
    daemon_->process().wait();
    start_daemon();
    ASSERT_TRUE(answers_again());
  }
  void settle_accounts() {
    guest_->must_run("touch /tmp/stop; while pidof -s ipmitool >/dev/null || ps | grep -q '[/]asker'; do sleep 0.2; done",
                     seconds(100));
    const Account account = account_of(guest_->must_run("cat /tmp/asked"));
    auto sel = nlohmann::json::parse(daemon_->ctl({"--json", "sel", "list"}).out);
    std::map<int, int> number_of, times;
    for (const auto& record : sel["records"]) {
      const std::string hex = record["record"];
      auto byte = [&](size_t i) { return std::stoi(hex.substr(2 * i, 2), nullptr, 16); };
      if (hex.size() != 32 || byte(2) != 0xdf) continue;
      number_of[byte(0) | byte(1) << 8] = byte(7) | byte(8) << 8;
      ++times[byte(7) | byte(8) << 8];
    }
    int lost = 0, mismatched = 0, failed = 0, repeated = 0;
    for (const auto& [id, number] : account.records) {
      if (!number_of.count(id)) {
        ++lost;
      } else if (number_of[id] != number) {
        ++mismatched;
        ADD_FAILURE() << "request " << number << " was told record " << id << ", which is " << number_of[id] << "'s";
      }
    }
    for (const auto& [code, n] : account.failed) failed += n;
    for (const auto& [number, n] : times) repeated += n > 1;
    EXPECT_EQ(lost, 0);
    EXPECT_EQ(mismatched, 0);
    EXPECT_EQ(account.answered_twice, 0);
    EXPECT_EQ(account.sent, account.answered + failed);
    EXPECT_GE(account.answered, 3);
    auto counters = guest_->counters();
    std::printf("%s: %d sent, %d answered, %d failed, lost %d, duplicated %d, mismatched %d; executed again for the driver's own "
                "repeat %d; hosed %d, interrupts enabled %d\n",
                kind().c_str(), account.sent, account.answered, failed, lost, account.answered_twice, mismatched, repeated,
                static_cast<int>(counters["hosed_count"]), static_cast<int>(counters["interrupts_enabled"]));
    for (const auto& [code, n] : account.failed) std::printf("  %3d x %s\n", n, code.c_str());
  }
  void end_guest() {
    guest_->qmp("quit");
    EXPECT_EQ(guest_->wait_end(), 0);
  }

  TemporaryFolder folder_;
  std::optional<Daemon> daemon_;
  std::optional<Process> bridge_;
  std::unique_ptr<Guest> guest_;
};

INSTANTIATE_TEST_SUITE_P(Kinds, GuestSurvival, ::testing::Values("bt", "kcs"), [](const auto& kind) { return std::string(kind.param); });

// The guest is there first: its driver finds the BMC away when it starts, and goes on when that has come.
TEST_P(GuestSurvival, OnTheBridgeTheDriverOutlivesItsBmc) {
  write_config("");
  start_bridge();
  boot(GuestDevice::vfio_user(folder_ / "v.sock"), "ipmi_msghandler,ipmi_devintf");
  guest_->must_run("modprobe ipmi_si >/tmp/modprobe 2>&1 &");
  expect_guest_lives(2);
  start_daemon();
  ASSERT_EQ(guest_->must_run("n=0; while [ ! -e /dev/ipmi0 ] && [ $n -lt 600 ]; do sleep 0.2; n=$((n+1)); done; "
                             "[ -e /dev/ipmi0 ] && echo found",
                             seconds(150)),
            "found\n")
      << guest_->dmesg() << bridge_->err();
  ask();
  ASSERT_NO_FATAL_FAILURE(disturb());
  settle_accounts();
  // The bridge's own stop, under the loop, is the end of the device and not of QEMU.
  ask();
  ASSERT_TRUE(answers_again(1));
  bridge_->signal(SIGTERM);
  EXPECT_EQ(bridge_->wait(), 0);
  end_guest();
}

TEST_P(GuestSurvival, OnTheVmProtocolTheDriverOutlivesItsBmc) {
  write_config(", vm: {listen: \"unix:${RUN}/vm.sock\"}");
  // The daemon comes after the guest, and QEMU to it.
  boot(GuestDevice::vm(kind(), folder_ / "vm.sock"), "ipmi_msghandler,ipmi_devintf");
  start_daemon();
  ASSERT_TRUE(connected());
  guest_->must_run("modprobe ipmi_si", seconds(120));
  ask();
  ASSERT_NO_FATAL_FAILURE(disturb());
  settle_accounts();
  end_guest();
}

// bmc_emu serves the socket itself: with it the device goes, but QEMU does not. (What the guest makes of a device that reads
// FF is its driver's affair: Linux's BT driver drains 255 bytes at every tick and leaves the CPU little time.)
TEST_P(GuestSurvival, ADaemonThatIsStoppedUnderItsGuestDoesNotTakeQemuAlong) {
  write_config(", vfio_user: {socket: \"${RUN}/v.sock\"}");
  start_daemon();
  GuestDevice device = GuestDevice::vfio_user(folder_ / "v.sock");
  device.id = "bmc0";
  boot(device, "ipmi_msghandler,ipmi_devintf,ipmi_si");
  ask();
  ASSERT_TRUE(answers_again(2));
  ASSERT_EQ(daemon_->stop(), 0);
  EXPECT_EQ(guest_->qmp("query-status")["status"], "running");
  if (kind() == "kcs") {
    guest_->must_run("touch /tmp/stop");
    guest_->remove_device(device.id);
    start_daemon();
    device.id = "bmc1";
    guest_->add_device(device);
    ASSERT_EQ(guest_->must_run("n=0; until ipmitool raw 6 1 >/dev/null 2>&1 || [ $n -ge 60 ]; do sleep 1; n=$((n+1)); done; "
                               "ipmitool raw 6 1 >/dev/null && echo there",
                               seconds(150)),
              "there\n")
        << guest_->dmesg();
  }
  end_guest();
}

}  // namespace
}  // namespace bmcpair::integration
