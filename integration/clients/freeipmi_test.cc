// Debian's FreeIPMI, -D OPENIPMI.
#include <gtest/gtest.h>

#include "integration/clients/demo.h"
#include "integration/clients/site.h"

namespace bmcpair::integration {
namespace {

TEST(FreeIpmi, ShowsWhatTheConfigurationSays) {
  Site site(source_file("configs/demo.yaml"), {"demo/bt"});
  auto client = [&](std::vector<std::string> argv) {
    argv.insert(argv.begin() + 1, {"-D", "OPENIPMI"});
    Finished out = site.run(argv);
    EXPECT_EQ(out.status, 0) << argv[0] << ": " << out.out << out.err;
    return out.out;
  };
  const std::string cache = "--sdr-cache-directory=" + site.folder().path();

  auto info = fields(client({"bmc-info"}), ':');
  EXPECT_EQ(info["Device ID"], "32");
  EXPECT_EQ(info["Firmware Revision"], "1.02");
  EXPECT_EQ(info["Manufacturer ID"], "Google, Inc. (11129)");
  EXPECT_EQ(info["Product ID"], "2828");
  EXPECT_EQ(info["Auxiliary Firmware Revision Information"], "07000000h");

  std::map<std::string, std::vector<std::string>> sensors;
  for (const std::string& line : lines(client({"ipmi-sensors", cache, "--quiet-cache"}))) {
    const auto row = cells(line);
    if (row.size() == 6) sensors[row[1]] = row;
  }
  for (const auto& reading : demo::kReadings) {
    ASSERT_TRUE(sensors.count(reading.name)) << reading.name;
    const auto value = number(sensors[reading.name][3]);
    ASSERT_TRUE(value) << reading.name;
    EXPECT_GE(*value, reading.low) << reading.name;
    EXPECT_LE(*value, reading.high) << reading.name;
    EXPECT_EQ(sensors[reading.name][5], "'OK'") << reading.name;
  }
  EXPECT_EQ(sensors["PSU 1"].at(5), "'Presence detected'");

  const auto sel = lines(client({"ipmi-sel", cache, "--quiet-cache"}));
  ASSERT_GE(sel.size(), 4u);
  EXPECT_EQ(cells(sel[1]), (std::vector<std::string>{"1", "May-01-2024", "12:00:00", "PSU 1", "Power Supply", "Presence detected"}));

  auto fru = fields(client({"ipmi-fru", cache, "--quiet-cache"}), ':');
  EXPECT_EQ(fru["FRU Chassis Serial Number"], "CH0001");
  EXPECT_EQ(fru["FRU Product Name"], "Demo Server");
  EXPECT_EQ(fru["FRU Board Product Name"], "Demo Board");

  EXPECT_EQ(fields(client({"ipmi-chassis", "--get-chassis-status"}), ':')["System Power"], "on");
  EXPECT_NE(client({"ipmi-raw", "0", "6", "1"}).find("rcvd: 01 00 20 81 01 02 02"), std::string::npos);
}

}  // namespace
}  // namespace bmcpair::integration
