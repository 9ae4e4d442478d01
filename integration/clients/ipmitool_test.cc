// Debian's ipmitool, -I open.
#include <gtest/gtest.h>

#include "integration/clients/demo.h"
#include "integration/clients/site.h"

namespace bmcpair::integration {
namespace {

TEST(Ipmitool, ShowsWhatTheConfigurationSays) {
  Site site(source_file("configs/demo.yaml"), {"demo/bt", "demo2"});
  auto ipmitool = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"ipmitool", "-I", "open"});
    Finished out = site.run(arguments);
    EXPECT_EQ(out.status, 0) << arguments.back() << ": " << out.out << out.err;
    return out;
  };
  auto info = fields(ipmitool({"mc", "info"}).out, ':');
  EXPECT_EQ(info["Device ID"], "32");
  EXPECT_EQ(info["Firmware Revision"], "1.02");
  EXPECT_EQ(info["IPMI Version"], "2.0");
  EXPECT_EQ(info["Manufacturer ID"], "11129");
  EXPECT_EQ(info["Product ID"], "2828 (0x0b0c)");

  const auto sdr = fields(ipmitool({"sdr"}).out, '|');
  for (const auto& reading : demo::kReadings) {
    ASSERT_TRUE(sdr.count(reading.name)) << reading.name;
    const auto value = number(sdr.at(reading.name));
    ASSERT_TRUE(value) << reading.name << ": " << sdr.at(reading.name);
    EXPECT_GE(*value, reading.low) << reading.name;
    EXPECT_LE(*value, reading.high) << reading.name;
  }
  for (const char* name : demo::kDiscrete) EXPECT_TRUE(sdr.count(name)) << name;
  EXPECT_EQ(sdr.size(), std::size(demo::kReadings) + std::size(demo::kDiscrete));

  const auto sel = lines(ipmitool({"sel", "list"}).out);
  ASSERT_GE(sel.size(), 3u);
  EXPECT_EQ(cells(sel[0]), (std::vector<std::string>{"1", "05/01/24", "12:00:00 UTC", "Power Supply #0x07", "Presence detected", "Asserted"}));
  EXPECT_EQ(cells(sel[1]).at(4), "Upper Non-critical going high");
  EXPECT_EQ(cells(sel[2]).at(5), "Deasserted");

  auto fru = fields(ipmitool({"fru", "print", "0"}).out, ':');
  EXPECT_EQ(fru["Chassis Serial"], "CH0001");
  EXPECT_EQ(fru["Board Mfg"], "Example Works");
  EXPECT_EQ(fru["Product Name"], "Demo Server");
  EXPECT_EQ(fru["Product Asset Tag"], "demo");
  EXPECT_EQ(fru["Product Extra"], "first further field");

  EXPECT_EQ(fields(ipmitool({"chassis", "status"}).out, ':')["System Power"], "on");
  EXPECT_EQ(ipmitool({"raw", "6", "1"}).out, " 20 81 01 02 02 bf 79 2b 00 0c 0b 00 00 00 07\n");
  // Over the IPMB, to the controller behind the BMC.
  info = fields(ipmitool({"-t", "0x82", "mc", "info"}).out, ':');
  EXPECT_EQ(info["Device ID"], "48");
  EXPECT_EQ(info["Firmware Revision"], "0.09");
  // The second device is another BMC.
  EXPECT_EQ(fields(ipmitool({"-d", "1", "sdr"}).out, '|').count("Board Temp"), 1u);
}

TEST(Ipmitool, SeesAFaultAsTheCodeThatWasAskedFor) {
  Site site(source_file("configs/demo.yaml"), {"demo/bt"});
  const Finished fault = site.daemon().ctl({"fault", "add", "demo", "cc=d5", "cmd=get_self_test_results"});
  ASSERT_EQ(fault.status, 0) << fault.err;
  const Finished raw = site.run({"ipmitool", "raw", "6", "4"});
  EXPECT_EQ(raw.status, 1);
  EXPECT_NE(raw.err.find("rsp=0xd5"), std::string::npos) << raw.err;
}

TEST(Ipmitool, IsToldInOneLineWhatIsWrong) {
  TemporaryFolder folder;
  // Nobody serves.
  Finished out = run({"ipmitool", "mc", "info"}, Site::environment_of(folder / "none"));
  EXPECT_EQ(out.status, 1);
  auto said = lines(out.err);
  ASSERT_FALSE(said.empty());
  EXPECT_EQ(said[0].rfind("bmcpair: BMCPAIR_IPMI_SOCKET=" + (folder / "none") + ": ", 0), 0u) << out.err;
  EXPECT_NE(said[0].find("host_driver serve"), std::string::npos) << out.err;
  ASSERT_GE(said.size(), 2u);
  EXPECT_EQ(said[1].rfind("Could not open device", 0), 0u) << out.err << "once for all the names it tries";
  auto quiet = Site::environment_of(folder / "none");
  quiet.push_back("BMCPAIR_IPMI_QUIET=1");
  EXPECT_EQ(run({"ipmitool", "mc", "info"}, quiet).err.find("bmcpair:"), std::string::npos);

  // Somebody serves a BMC that is not there.
  Process serve({program("host_driver"), "--bus", "grpc:unix:" + (folder / "nowhere") + "#demo/bt", "--timeout", "1", "serve", "--socket",
                 folder / "s"});
  ASSERT_TRUE(serve.wait_for_output("serving\n")) << serve.err();
  out = run({"ipmitool", "mc", "info"}, Site::environment_of(folder / "s"));
  EXPECT_EQ(out.status, 1);
  EXPECT_EQ(out.err.rfind("bmcpair: /dev/ipmi0: grpc:unix:" + (folder / "nowhere") + "#demo/bt: not up: ", 0), 0u) << out.err;
  EXPECT_NE(out.err.find("No such device"), std::string::npos) << out.err;
  // A device that is not served is not there.
  out = run({"ipmitool", "-d", "5", "mc", "info"}, Site::environment_of(folder / "s"));
  EXPECT_EQ(out.err.rfind("Could not open device at /dev/ipmi5", 0), 0u) << out.err;
  EXPECT_NE(out.err.find("No such file or directory"), std::string::npos) << out.err;
  // The socket is taken.
  out = run({program("host_driver"), "--bus", "grpc:unix:" + (folder / "nowhere"), "serve", "--socket", folder / "s"});
  EXPECT_EQ(out.status, 1);
  EXPECT_NE(out.err.find("somebody serves this socket"), std::string::npos) << out.err;
  serve.signal(SIGTERM);
  EXPECT_EQ(serve.wait(), 0) << serve.err();
}

TEST(Ipmitool, ServeSaysWhatIsNotUpYetAndWhatIsUpSinceWhen) {
  TemporaryFolder folder;
  Process serve({program("host_driver"), "--bus", "grpc:unix:" + (folder / "bmc_emu.sock") + "#demo/bt", "--timeout", "60", "serve", "--socket",
                 folder / "s"});
  ASSERT_TRUE(serve.wait_for_output("serving\n")) << serve.err();
  ASSERT_TRUE(serve.wait_for_output("host_driver: /dev/ipmi0 is not up yet: ")) << serve.out() << serve.err();
  EXPECT_EQ(serve.out().find("is up"), std::string::npos) << serve.out();
  Daemon daemon(folder, source_file("configs/demo.yaml"));
  ASSERT_TRUE(serve.wait_for_output("/dev/ipmi0 is up\n")) << serve.out() << serve.err();
  EXPECT_EQ(lines(serve.err()).size(), 1u) << "said once: " << serve.err();
  const Finished out = run({"ipmitool", "mc", "info"}, Site::environment_of(folder / "s"));
  EXPECT_EQ(out.status, 0) << out.err;
  serve.signal(SIGTERM);
  EXPECT_EQ(serve.wait(), 0) << serve.err();
}

}  // namespace
}  // namespace bmcpair::integration
