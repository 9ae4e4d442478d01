// What the tests with guests share: one BMC whose values are known, and what the guest's tools must print for them.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "integration/qemu/guest.h"
#include "integration/system/process.h"

namespace bmcpair::integration {

class GuestTest : public testing::Test {
 protected:
  // Starts bmc_emu with the BMC "one" and these items of its `interfaces`, one a line, e.g.
  // "{kind: bt, vfio_user: {socket: \"${RUN}/bt.sock\"}}".
  void start_bmc(const std::vector<std::string>& interfaces);
  std::string socket(const std::string& name) const { return folder_ / (name + ".sock"); }
  Guest& boot(const GuestOptions& options);
  Guest& guest() { return *guest_; }
  Daemon& daemon() { return *daemon_; }
  const TemporaryFolder& folder() const { return folder_; }
  void ctl(const std::vector<std::string>& arguments);

  // ipmitool and FreeIPMI on /dev/ipmiN print the configuration's values.
  void expect_configured_values(int number = 0);
  // The BMC's identity only.
  void expect_identity(int number = 0);
  // What ipmi_si says of its own work since it came up.
  void expect_sound_counters(bool interrupts, int number = 0);
  // Runs the line in the guest until its status is 0, or fails after so many tenths of a second.
  void wait_in_guest(const std::string& what, const std::string& line, int tenths = 300);

  void TearDown() override;

 private:
  TemporaryFolder folder_;
  std::optional<Daemon> daemon_;
  std::unique_ptr<Guest> guest_;
};

}  // namespace bmcpair::integration
