// Debian's ipmiutil, -F open.
#include <gtest/gtest.h>

#include "integration/clients/demo.h"
#include "integration/clients/site.h"

namespace bmcpair::integration {
namespace {

TEST(Ipmiutil, ShowsWhatTheConfigurationSays) {
  Site site(source_file("configs/demo.yaml"), {"demo/bt"});
  auto client = [&](std::vector<std::string> argv) {
    argv.insert(argv.begin(), "ipmiutil");
    argv.insert(argv.begin() + 2, {"-F", "open"});
    Finished out = site.run(argv);
    EXPECT_EQ(out.status, 0) << argv[1] << ": " << out.out << out.err;
    return out.out;
  };
  EXPECT_NE(client({"cmd", "00", "20", "18", "01"}).find("respData[len=15]: 20 81 01 02 02 bf 79 2b 00 0c 0b 00 00 00 07"),
            std::string::npos);
  const std::string sensors = client({"sensor"});
  for (const auto& reading : demo::kReadings) {
    const size_t at = sensors.find(std::string(reading.name) + " ");
    ASSERT_NE(at, std::string::npos) << reading.name;
    const std::string line = sensors.substr(at, sensors.find('\n', at) - at);
    const size_t ok = line.find(" OK ");
    ASSERT_NE(ok, std::string::npos) << line;
    const auto value = number(line.substr(ok + 4));
    ASSERT_TRUE(value) << line;
    EXPECT_GE(*value, reading.low) << line;
    EXPECT_LE(*value, reading.high) << line;
  }
  const std::string sel = client({"sel"});
  EXPECT_NE(sel.find("0001 05/01/24 12:00:00 INF BMC  Power Supply #07  Inserted"), std::string::npos) << sel;
  EXPECT_NE(sel.find("0002 05/01/24 12:00:05 MIN BMC  Temperature #01  Hi Noncrit"), std::string::npos) << sel;
}

}  // namespace
}  // namespace bmcpair::integration
