// python3-pyipmi through ipmitool, through /dev/ipmi0: a stack of three on our BMC.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "integration/clients/virtual_host.h"

namespace bmcpair::integration::clients {
namespace {

using nlohmann::json;

constexpr const char* kScript = R"(import json
import pyipmi, pyipmi.interfaces

bmc = pyipmi.create_connection(pyipmi.interfaces.create_interface('ipmitool', interface_type='open'))
bmc.target = pyipmi.Target(ipmb_address=0x20)
bmc.session.set_session_type_rmcp('localhost')
bmc.session.establish()
out = {}
def name(record):
    text = record.device_id_string
    return text.decode() if isinstance(text, bytes) else text
device = bmc.get_device_id()
out['device'] = [device.device_id, device.manufacturer_id, device.product_id]
out['power'] = bmc.get_chassis_status().power_on
out['sensors'] = {}
for record in bmc.sdr_repository_entries():
    if record.type == 1:
        raw, _ = bmc.get_sensor_reading(record.number)
        out['sensors'][name(record)] = record.convert_sensor_raw_to_value(raw)
out['sel'] = [[entry.sensor_number, entry.event_data[1]] for entry in bmc.sel_entries()]
print(json.dumps(out))
)";

constexpr const char* kStatus = R"(import pyipmi, pyipmi.interfaces
bmc = pyipmi.create_connection(pyipmi.interfaces.create_interface('ipmitool', interface_type='open'))
bmc.target = pyipmi.Target(ipmb_address=0x20)
bmc.session.set_session_type_rmcp('localhost')
bmc.session.establish()
try:
    print('on' if bmc.get_chassis_status().power_on else 'off')
except pyipmi.errors.CompletionCodeError as error:
    print('code', hex(error.cc))
)";

}  // namespace

TEST(Pyipmi, ReadsWhatTheConfigurationSays) {
  VirtualHost host;
  auto read = host.run({"/usr/bin/python3", "-c", kScript});
  ASSERT_EQ(read.status, 0) << read.out << read.err;
  json out = json::parse(read.out);
  EXPECT_EQ(out.at("device"), json({0x2a, 0x2b79, 0x1234}));
  EXPECT_EQ(out.at("power"), true);
  EXPECT_EQ(out.at("sensors").at("CPU Temp"), 46);
  EXPECT_EQ(out.at("sensors").at("Fan 1"), 7200);
  EXPECT_EQ(out.at("sensors").at("12V"), 12);
  EXPECT_EQ(out.at("sensors").at("PSU 1 Power"), 240);
  EXPECT_EQ(out.at("sel"), json::parse("[[1, 86]]")) << "the event that was there from the start";
}

TEST(Pyipmi, ACompletionCodeIsItsException) {
  VirtualHost host;
  ASSERT_EQ(host.ctl({"fault", "add", "one", "cc=d5", "cmd=get_chassis_status", "count=1"}).status, 0);
  auto faulty = host.run({"/usr/bin/python3", "-c", kStatus});
  EXPECT_EQ(faulty.out, "code 0xd5\n") << faulty.err;
  auto after = host.run({"/usr/bin/python3", "-c", kStatus});
  EXPECT_EQ(after.out, "on\n") << after.err;
}

}  // namespace bmcpair::integration::clients
