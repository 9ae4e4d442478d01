// A fault with a completion code is that code to whoever asks: to ipmitool, and to FreeIPMI.
#include <gtest/gtest.h>

#include <cctype>

#include "integration/clients/virtual_host.h"

namespace bmcpair::integration::clients {
namespace {

struct Code {
  const char* code;
  const char* ipmitool;  // its word for it
  const char* freeipmi;  // and FreeIPMI's, which has fewer
};
// IPMI 2.0 table 5-2.
constexpr Code kCodes[] = {
    {"c0", "Node busy", "BMC busy"},
    {"c1", "Invalid command", "command invalid or unsupported"},
    {"c3", "Timeout", "message timeout"},
    {"c9", "Parameter out of range", "command invalid or unsupported"},
    {"cb", "Requested sensor, data, or record not found", "bad completion code"},
    {"d4", "Insufficient privilege level", "privilege level insufficient"},
    {"d5", "Command not supported in present state", "bad completion code"},
    {"ff", "Unspecified error", "bad completion code"},
};

}  // namespace

TEST(FaultCodes, AClientSaysTheCodeThatWasAskedForAndIsServedAgainWhenTheFaultIsCleared) {
  VirtualHost host;
  for (const Code& code : kCodes) {
    SCOPED_TRACE(code.code);
    auto added = host.ctl({"fault", "add", "one", std::string("cc=") + code.code, "cmd=get_chassis_status"});
    ASSERT_EQ(added.status, 0) << added.err;

    auto raw = host.run({"ipmitool", "-I", "open", "raw", "0", "1"});
    EXPECT_EQ(raw.status, 1) << raw.out;
    EXPECT_TRUE(has(raw.err, std::string("cmd=0x1 rsp=0x") + code.code + "): " + code.ipmitool)) << raw.err;
    auto named = host.run({"ipmitool", "-I", "open", "chassis", "status"});
    EXPECT_NE(named.status, 0) << named.out;
    EXPECT_TRUE(has(named.err, code.ipmitool)) << named.err;

    std::string upper = code.code;
    for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    auto bytes = host.run({"ipmi-raw", "-D", "OPENIPMI", "0", "0", "1"});
    EXPECT_EQ(bytes.status, 0) << bytes.err;
    EXPECT_TRUE(has(bytes.out, "rcvd: 01 " + upper)) << bytes.out;
    auto chassis = host.run({"ipmi-chassis", "-D", "OPENIPMI", "--get-chassis-status"});
    EXPECT_EQ(chassis.status, 1) << chassis.out;
    EXPECT_TRUE(has(chassis.err, std::string("ipmi_cmd_get_chassis_status: ") + code.freeipmi)) << chassis.err;

    ASSERT_EQ(host.ctl({"fault", "clear", "one"}).status, 0);
    auto served = host.run({"ipmi-chassis", "-D", "OPENIPMI", "--get-chassis-status"});
    EXPECT_EQ(served.status, 0) << served.err;
    EXPECT_TRUE(has(served.out, "System Power                        : on")) << served.out;
  }
}

TEST(FaultCodes, AFaultThatStrikesOnceStrikesTheFirstWhoAsksOnly) {
  VirtualHost host;
  ASSERT_EQ(host.ctl({"fault", "add", "one", "cc=d5", "cmd=get_chassis_status", "count=1"}).status, 0);
  auto first = host.run({"ipmitool", "-I", "open", "raw", "0", "1"});
  EXPECT_EQ(first.status, 1) << first.out;
  EXPECT_TRUE(has(first.err, "rsp=0xd5")) << first.err;
  auto second = host.run({"ipmitool", "-I", "open", "raw", "0", "1"});
  EXPECT_EQ(second.status, 0) << second.err;
}

TEST(FaultCodes, AnAnswerThatIsCutShortIsAnErrorToTheClient) {
  VirtualHost host;
  ASSERT_EQ(host.ctl({"fault", "add", "one", "truncate=3", "cmd=get_chassis_status", "count=1"}).status, 0);
  auto cut = host.run({"ipmi-chassis", "-D", "OPENIPMI", "--get-chassis-status"});
  EXPECT_EQ(cut.status, 1) << cut.out;
  EXPECT_FALSE(cut.err.empty());
  auto after = host.run({"ipmitool", "-I", "open", "raw", "0", "1"});
  EXPECT_EQ(after.status, 0) << after.err;
}

}  // namespace bmcpair::integration::clients
