// FreeIPMI's bmc-watchdog on our BMC: what it sets, what it sees, and what the BMC does when nobody resets the timer.
#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "integration/clients/virtual_host.h"

namespace bmcpair::integration::clients {
namespace {

using nlohmann::json;


std::string value_of(const std::string& report, const std::string& label) {
  std::istringstream lines(report);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(label + ":")) continue;
    size_t at = line.find_first_not_of(' ', label.size() + 1);
    return at == std::string::npos ? "" : line.substr(at);
  }
  return "no line '" + label + "'";
}

// What a watcher has seen happen to the watchdog and to the chassis, in order.
std::vector<std::string> seen(const std::string& watched) {
  std::vector<std::string> out;
  std::istringstream lines(watched);
  for (std::string line; std::getline(lines, line);) {
    json event = json::parse(line, nullptr, false);
    if (event.is_discarded()) continue;  // the last one, not there in whole yet
    if (event.at("kind") == "watchdog") out.push_back(event.at("text"));
    if (event.at("kind") == "power") out.push_back("power");
  }
  return out;
}

const std::vector<std::string> kTool = {"bmc-watchdog", "-D", "OPENIPMI", "--no-logging"};
std::vector<std::string> tool(std::vector<std::string> more) {
  more.insert(more.begin(), kTool.begin(), kTool.end());
  return more;
}

}  // namespace

TEST(BmcWatchdog, WhatIsSetIsWhatIsGotByItAndByIpmitool) {
  VirtualHost host;
  auto set = host.run(tool({"--set", "-u", "4", "-p", "2", "-z", "30", "-a", "3", "-i", "600", "-L"}));
  ASSERT_EQ(set.status, 0) << set.out << set.err;
  auto get = host.run(tool({"--get"}));
  ASSERT_EQ(get.status, 0) << get.err;
  EXPECT_EQ(value_of(get.out, "Timer Use"), "SMS/OS");
  EXPECT_EQ(value_of(get.out, "Timer"), "Stopped");
  EXPECT_EQ(value_of(get.out, "Timeout Action"), "Power Cycle");
  EXPECT_EQ(value_of(get.out, "Pre-Timeout Interrupt"), "NMI / Diagnostic Interrupt");
  EXPECT_EQ(value_of(get.out, "Pre-Timeout Interval"), "30 seconds");
  EXPECT_EQ(value_of(get.out, "Initial Countdown"), "600 seconds");
  auto other = host.run({"ipmitool", "-I", "open", "mc", "watchdog", "get"});
  ASSERT_EQ(other.status, 0) << other.err;
  EXPECT_TRUE(has(other.out, "Power Cycle (0x23)")) << other.out;
  EXPECT_TRUE(has(other.out, "Initial Countdown:      600.0 sec")) << other.out;

  ASSERT_EQ(host.run(tool({"--start"})).status, 0);
  EXPECT_EQ(value_of(host.run(tool({"--get"})).out, "Timer"), "Running");
  ASSERT_EQ(host.run(tool({"--stop"})).status, 0);
  EXPECT_EQ(value_of(host.run(tool({"--get"})).out, "Timer"), "Stopped");
}

TEST(BmcWatchdog, ATimerThatIsNotResetResetsTheHostAndLeavesItsMark) {
  VirtualHost host;
  auto watcher = host.watch();
  ASSERT_EQ(host.run(tool({"--set", "-u", "4", "-a", "1", "-i", "8", "-S"})).status, 0);
  ASSERT_EQ(host.run(tool({"--start"})).status, 0);
  ASSERT_EQ(host.run(tool({"--reset"})).status, 0);
  ASSERT_TRUE(watcher->wait_for_output("\"power\"")) << watcher->out();
  // The last line may have come in two pieces.
  const auto end = std::chrono::steady_clock::now() + kPatience;
  auto events = seen(watcher->out());
  while ((events.empty() || events.back() != "power") && std::chrono::steady_clock::now() < end) {
    std::this_thread::yield();
    events = seen(watcher->out());
  }
  EXPECT_EQ(events, (std::vector<std::string>{"armed", "armed", "expired hard reset", "power"})) << watcher->out();

  auto get = host.run(tool({"--get"}));
  EXPECT_EQ(value_of(get.out, "Timer"), "Stopped") << get.out;
  EXPECT_EQ(value_of(get.out, "Timer Use BIOS SMS/OS Flag"), "Set") << get.out;
  auto sel = host.run({"ipmi-sel", "-D", "OPENIPMI", "--comma-separated-output", "--no-header-output", "--quiet-cache",
                       "--sdr-cache-directory=" + host.folder().path()});
  ASSERT_EQ(sel.status, 0) << sel.err;
  EXPECT_TRUE(has(sel.out, "Watchdog 2")) << sel.out;
  EXPECT_TRUE(has(sel.out, "Hard Reset ; Timer use at expiration = SMS/OS")) << sel.out;
  auto list = host.run({"ipmitool", "-I", "open", "sel", "elist"});
  EXPECT_TRUE(has(list.out, "Watchdog2 | Hard reset | Asserted")) << list.out;
}

TEST(BmcWatchdog, ARefusalIsAnErrorOnce) {
  VirtualHost host;
  // 80h: Reset Watchdog Timer before it was ever set (IPMI 2.0 §27.5).
  auto unset = host.run({"ipmi-raw", "-D", "OPENIPMI", "0", "6", "0x22"});
  EXPECT_TRUE(has(unset.out, "rcvd: 22 80")) << unset.out;
  // It reads the timer before it starts it, and does not look at that answer's code.
  ASSERT_EQ(host.ctl({"fault", "add", "one", "cc=c3", "cmd=get_watchdog_timer", "count=1"}).status, 0);
  auto get = host.run(tool({"--get"}));
  EXPECT_EQ(get.status, 1) << get.out;
  EXPECT_TRUE(has(get.err, "Get Watchdog Timer Error")) << get.err;
  EXPECT_EQ(host.run(tool({"--get"})).status, 0);
}

}  // namespace bmcpair::integration::clients
