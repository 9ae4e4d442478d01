#include "integration/qemu/testing.h"

#include <sstream>

namespace bmcpair::integration {
namespace {

using testing::HasSubstr;

constexpr const char* kBmc = R"(bmcs:
  - name: one
    identity:
      {device_id: 0x2a, device_revision: 3, firmware: "3.07", manufacturer_id: 11129, product_id: 0x1234,
       aux_firmware: "0a 0b 0c 0d"}
    sensors:
      - {name: Temp, type: temperature, entity: processor, min: 0, max: 127, initial: 31,
         thresholds: {upper_non_critical: 70, upper_critical: 80, hysteresis: 2}}
      - {name: Fan, type: fan, entity: fan, min: 0, max: 12750, initial: 7200, thresholds: {lower_critical: 1500}}
      - {name: 12V, type: voltage, entity: system board, m: 60, r_exponent: -3, initial: 12.06,
         thresholds: {lower_critical: 10.8, upper_critical: 13.2}}
      - {name: PSU 1, type: power supply, entity: power supply, states: [0]}
    frus:
      - name: Server
        chassis: {type: rack mount chassis, part_number: CH-2U-12, serial: "CH0042"}
        board: {manufactured: "2024-05-01 12:00", manufacturer: Example Works, product: Matrix Board, serial: "BD0042",
                part_number: MB-7}
        product: {manufacturer: Example Works, name: Matrix Server, part_number: MS-9, version: "1.1", serial: "DS0042",
                  asset_tag: cell}
    sel:
      preload:
        - {time: "2024-05-01 12:00:05", sensor: Temp, data: "59 51 50"}
        - {time: "2024-05-01 12:00:10", sensor: PSU 1, data: "00"}
    interfaces:
)";

}  // namespace

void GuestTest::start_bmc(const std::vector<std::string>& interfaces) {
  std::string config = kBmc;
  for (const std::string& item : interfaces) config += "      - " + item + "\n";
  write_file(folder_ / "one.yaml", config);
  daemon_.emplace(folder_, folder_ / "one.yaml");
}

Guest& GuestTest::boot(const GuestOptions& options) {
  guest_.reset();  // one guest a folder
  guest_ = std::make_unique<Guest>(folder_, options);
  return *guest_;
}

void GuestTest::ctl(const std::vector<std::string>& arguments) {
  Finished done = daemon_->ctl(arguments);
  ASSERT_EQ(done.status, 0) << "bmcctl: " << done.err;
}

void GuestTest::expect_identity(int number) {
  const std::string n = std::to_string(number);
  EXPECT_EQ(guest().must_run("ipmitool -d " + n + " raw 6 1"), " 2a 83 03 07 02 bf 79 2b 00 34 12 0a 0b 0c 0d\n")
      << "/dev/ipmi" << n;
}

void GuestTest::expect_configured_values(int number) {
  const std::string n = std::to_string(number), tool = "ipmitool -d " + n + " ",
                    device = " -D OPENIPMI --driver-device=/dev/ipmi" + n;
  SCOPED_TRACE("/dev/ipmi" + n);
  expect_identity(number);
  std::string info = guest().must_run(tool + "mc info");
  for (const char* line :
       {"Device ID                 : 42\n", "Device Revision           : 3\n", "Firmware Revision         : 3.07\n",
        "IPMI Version              : 2.0\n", "Manufacturer ID           : 11129\n",
        "Product ID                : 4660 (0x1234)\n", "    0x0a\n    0x0b\n    0x0c\n    0x0d\n"}) {
    EXPECT_THAT(info, HasSubstr(line));
  }
  EXPECT_EQ(guest().must_run(tool + "sdr"),
            "Temp             | 30.94 degrees C   | ok\n"
            "Fan              | 7200 RPM          | ok\n"
            "12V              | 12.06 Volts       | ok\n"
            "PSU 1            | 0x01              | ok\n");
  EXPECT_EQ(guest().must_run(tool + "sensor"),
            "Temp             | 30.938     | degrees C  | ok    | na        | na        | na        | 69.860    | "
            "79.840    | na        \n"
            "Fan              | 7200.000   | RPM        | ok    | na        | 1500.000  | na        | na        | na   "
            "     | na        \n"
            "12V              | 12.060     | Volts      | ok    | na        | 10.800    | na        | na        | "
            "13.200    | na        \n"
            "PSU 1            | 0x1        | discrete   | 0x0180| na        | na        | na        | na        | na   "
            "     | na        \n");
  EXPECT_EQ(guest().must_run(tool + "sel elist | head -n 2"),
            "   1 | 05/01/24 | 12:00:05 UTC | Temperature Temp | Upper Critical going high | Asserted | Reading 40.42 "
            "> Threshold 39.92 degrees C\n"
            "   2 | 05/01/24 | 12:00:10 UTC | Power Supply PSU 1 | Presence detected | Asserted\n");
  EXPECT_EQ(guest().must_run(tool + "fru"),
            "FRU Device Description : Builtin FRU Device (ID 0)\n"
            " Chassis Type          : Rack Mount Chassis\n"
            " Chassis Part Number   : CH-2U-12\n"
            " Chassis Serial        : CH0042\n"
            " Board Mfg Date        : Wed May  1 12:00:00 2024 UTC\n"
            " Board Mfg             : Example Works\n"
            " Board Product         : Matrix Board\n"
            " Board Serial          : BD0042\n"
            " Board Part Number     : MB-7\n"
            " Product Manufacturer  : Example Works\n"
            " Product Name          : Matrix Server\n"
            " Product Part Number   : MS-9\n"
            " Product Version       : 1.1\n"
            " Product Serial        : DS0042\n"
            " Product Asset Tag     : cell\n\n");
  EXPECT_THAT(guest().must_run(tool + "chassis status"), HasSubstr("System Power         : on\n"));
  // FreeIPMI, which has a driver of its own for /dev/ipmiN.
  std::string bmc_info = guest().must_run("bmc-info" + device);
  for (const char* line : {"Device ID             : 42\n", "Device Revision       : 3\n",
                           "Firmware Revision     : 3.07\n", "IPMI Version          : 2.0\n", "(11129)\n",
                           "Product ID            : 4660\n", "Auxiliary Firmware Revision Information : 0D0C0B0Ah\n"}) {
    EXPECT_THAT(bmc_info, HasSubstr(line));
  }
  EXPECT_EQ(guest().must_run("ipmi-sensors --comma-separated-output" + device),
            "ID,Name,Type,Reading,Units,Event\n"
            "1,Temp,Temperature,30.94,C,'OK'\n"
            "2,Fan,Fan,7200.00,RPM,'OK'\n"
            "3,12V,Voltage,12.06,V,'OK'\n"
            "4,PSU 1,Power Supply,N/A,N/A,'Presence detected'\n");
}

void GuestTest::expect_sound_counters(bool interrupts, int number) {
  SCOPED_TRACE("/dev/ipmi" + std::to_string(number));
  constexpr int kRequests = 10;
  auto before = guest().counters(number);
  guest().must_run("for i in $(seq " + std::to_string(kRequests) + "); do ipmitool -d " + std::to_string(number) +
                   " raw 6 1 || exit 1; done");
  auto after = guest().counters(number);
  EXPECT_EQ(after.at("hosed_count"), 0);
  EXPECT_EQ(after.at("interrupts_enabled"), interrupts ? 1 : 0);
  int64_t transactions = after.at("complete_transactions") - before.at("complete_transactions");
  EXPECT_GE(transactions, kRequests);
  if (interrupts) {
    // About one a transaction: an answer that comes while the driver still polls for a flag costs none.
    EXPECT_GE(after.at("interrupts") - before.at("interrupts"), transactions / 2);
  } else {
    EXPECT_EQ(after.at("interrupts"), 0);
  }
}

void GuestTest::wait_in_guest(const std::string& what, const std::string& line, int tenths) {
  Ran ran = guest().run("for i in $(seq " + std::to_string(tenths) + "); do if " + line +
                            " >/tmp/wait 2>&1; then exit 0; fi; sleep 0.1; done; cat /tmp/wait; exit 1",
                        std::chrono::seconds(60 + tenths / 5));
  ASSERT_EQ(ran.status, 0) << "in the guest this did not happen: " << what << "\n" << ran.out;
}

void GuestTest::TearDown() {
  if (HasFailure() && guest_) {
    std::cerr << guest_->logs() << "\n";
    if (guest_->qemu().running()) {
      try {
        std::cerr << "--- dmesg:\n"
                  << guest_->run("dmesg | grep -iE 'ipmi|watchdog' | tail -n 60", std::chrono::seconds(10)).out;
      } catch (const std::exception& error) {
        std::cerr << error.what() << "\n";
      }
    }
  }
  guest_.reset();
  if (!daemon_) return;
  EXPECT_EQ(daemon_->stop(), 0);
  if (HasFailure()) std::cerr << "--- bmc_emu:\n" << daemon_->process().out() << daemon_->process().err() << "\n";
}

}  // namespace bmcpair::integration
