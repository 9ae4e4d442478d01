// A user's own test: what is tested here is read_temperature(), which asks a BMC for a sensor's reading.
#include <bmcpair/host.h>
#include <bmcpair/testing/matchers.h>
#include <bmcpair/testing/virtual_bmc.h>
#include <gtest/gtest.h>

#include <optional>

namespace {

using bmcpair::testing::Request;
using bmcpair::testing::VirtualBmc;
using bmcpair::testing::VirtualBmcTest;
using ::testing::Contains;
using ::testing::Not;

// Get Sensor Reading (IPMI 2.0 section 35.14). Asks again when the BMC is busy.
std::optional<int> read_temperature(bmcpair::Host& host, uint8_t sensor) {
  for (int i = 0; i < 3; ++i) {
    const bmcpair::Answer answer = host.request(0x04, 0x2d, {sensor});
    if (answer.ok() && answer.data.size() >= 2 && !(answer.data[1] & 0x20)) return answer.data[0];
    if (answer.completion_code != uint8_t{0xc0}) return std::nullopt;
  }
  return std::nullopt;
}

class Temperature : public VirtualBmcTest {
 protected:
  // Raw readings of this sensor are degrees.
  VirtualBmc make_bmc() override {
    return VirtualBmc::from_yaml(R"(
bmcs:
  - name: board
    interfaces:
      - kind: kcs
    sensors:
      - {name: CPU, number: 0x30, type: temperature, initial: 42, min: 0, max: 255}
)");
  }
};

TEST_F(Temperature, IsWhatTheSensorSays) {
  EXPECT_EQ(read_temperature(host(), 0x30), 42);
  bmc().set_sensor("CPU", 77);
  EXPECT_EQ(read_temperature(host(), 0x30), 77);
}

TEST_F(Temperature, IsReadAgainWhenTheBmcIsBusy) {
  host();
  bmc().add_faults("name=busy cc=c0 cmd=get_sensor_reading count=2");
  bmc().clear_traffic();
  EXPECT_EQ(read_temperature(host(), 0x30), 42);
  EXPECT_EQ(bmc().fired("busy"), 2u);
  EXPECT_THAT(bmc().traffic(), Contains(Request(0x04, 0x2d).answered(0xc0)).Times(2));
  EXPECT_THAT(bmc().traffic(), Contains(Request(0x04, 0x2d).answered(0x00)));
}

TEST_F(Temperature, IsNothingWithoutSuchASensor) {
  EXPECT_EQ(read_temperature(host(), 0x99), std::nullopt);
  EXPECT_THAT(bmc().traffic(), Not(Contains(Request(0x04, 0x2d).answered(0x00))));
}

}  // namespace
