#include "bmc_emu/daemon/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>

#include "bmc_emu/daemon/config_build.h"
#include "bmc_emu/daemon/config_keys.h"
#include "bmc_emu/daemon/config_reader.h"
#include "bmc_emu/daemon/sensor_scale.h"
#include "bmc_emu/daemon/yaml_tree.h"
#include "proto/ipmi/fru.h"

namespace bmcpair::daemon {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

const char* const kShipped[] = {"demo", "one-bt", "one-kcs", "rack"};

std::string shipped(const std::string& name) { return std::string(BMCPAIR_SOURCE_DIR) + "/configs/" + name + ".yaml"; }

std::string read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

DaemonConfig good(const std::string& text, const std::string& file = "t.yaml") {
  auto config = parse_config(text, file);
  EXPECT_TRUE(config) << config.error().message;
  return config ? std::move(*config) : DaemonConfig{};
}

std::string bad(const std::string& text, const std::string& file = "t.yaml") {
  auto config = parse_config(text, file);
  EXPECT_FALSE(config) << "accepted:\n" << text;
  if (config) return "";
  EXPECT_EQ(config.error().code, ErrorCode::kInvalidArgument);
  return config.error().message;
}

// One BMC, its body given.
std::string bmc(const std::string& body) { return "bmcs:\n  - name: a\n" + body; }

class Folder {
 public:
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "bmcpair-config.XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string file(const std::string& name, const std::string& content) const {
    std::ofstream(path_ + "/" + name, std::ios::binary) << content;
    return path_ + "/" + name;
  }
  std::string path(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

TEST(Config, EveryShippedFileIsAccepted) {
  for (const char* name : kShipped) {
    auto config = load_config(shipped(name));
    EXPECT_TRUE(config) << config.error().message;
  }
}

TEST(Config, TheDemoIsWhatItSays) {
  auto config = load_config(shipped("demo"));
  ASSERT_TRUE(config) << config.error().message;
  ASSERT_EQ(config->boards.size(), 2u);
  const board::BoardConfig& demo = config->boards[0];
  EXPECT_EQ(demo.firmware.name, "demo");
  ASSERT_EQ(demo.interfaces.size(), 2u);
  EXPECT_EQ(demo.interfaces[0].name, "bt");
  EXPECT_EQ(demo.interfaces[0].kind, registers::InterfaceKind::kBt);
  EXPECT_EQ(demo.interfaces[0].latency.response.shape, hardware::Latency::Shape::kLogUniform);
  EXPECT_EQ(demo.interfaces[0].latency.response.max, 500us);
  EXPECT_EQ(demo.interfaces[0].latency.by_command.at({0x0a, 0x43}).min, 1ms);
  EXPECT_EQ(demo.interfaces[1].name, "kcs");
  ASSERT_EQ(config->vfio_user.size(), 1u);
  EXPECT_EQ(config->vfio_user[0].bmc, "demo");
  EXPECT_EQ(config->vfio_user[0].interface, "kcs");
  EXPECT_EQ(expand_run_directory(config->vfio_user[0].socket, "/run/x"), "/run/x/demo-kcs.sock");
  EXPECT_EQ(demo.firmware.identity.firmware_minor_bcd, 0x02);
  EXPECT_EQ(demo.firmware.sensors.size(), 9u);
  EXPECT_EQ(demo.firmware.sensors[2].unit, 18);
  EXPECT_FALSE(demo.firmware.sensors[6].threshold);
  EXPECT_EQ(demo.firmware.sel_preload.size(), 4u);
  EXPECT_EQ(demo.firmware.satellites.size(), 2u);
  auto fru = ipmi::parse_fru(demo.firmware.frus[0].content);
  ASSERT_TRUE(fru) << fru.error().message;
  EXPECT_EQ(fru->product->asset_tag, "demo");
  EXPECT_EQ(ipmi::fru_date_text(fru->board->manufactured), "2024-05-01 12:00");
}

TEST(Config, ARackCountsNamesSerialsAndGuids) {
  auto config = load_config(shipped("rack"));
  ASSERT_TRUE(config) << config.error().message;
  ASSERT_EQ(config->boards.size(), 65u);
  EXPECT_EQ(config->boards[7].firmware.name, "node-07");
  auto fru = ipmi::parse_fru(config->boards[7].firmware.frus[0].content);
  ASSERT_TRUE(fru);
  EXPECT_EQ(fru->product->serial, "ND0007");
  EXPECT_EQ(fru->product->asset_tag, "node-07");
  std::set<firmware::Guid> guids;
  for (const auto& board : config->boards) {
    guids.insert(board.firmware.identity.device_guid);
    guids.insert(board.firmware.identity.system_guid);
  }
  EXPECT_EQ(guids.size(), 130u);
  EXPECT_EQ(config->boards[64].interfaces.size(), 1u);
  EXPECT_EQ(config->boards[64].firmware.sensors.size(), 4u);
}

TEST(Config, TheSameNameIsTheSameMachineOnEveryStart) {
  EXPECT_EQ(good(bmc("")).boards[0].firmware.identity.device_guid,
            good(bmc("")).boards[0].firmware.identity.device_guid);
}

TEST(Config, AGuidIsStoredLeastSignificantByteFirst) {
  auto config = good(bmc("    identity: {device_guid: 00112233-4455-6677-8899-aabbccddeeff}\n"));
  EXPECT_EQ(config.boards[0].firmware.identity.device_guid[0], 0xff);
  EXPECT_EQ(config.boards[0].firmware.identity.device_guid[15], 0x00);
}

TEST(Config, TenThousandBmcsAreAShortFile) {
  auto config = good("bmcs:\n  - {name: 'n{n}', count: 10000, interfaces: [{kind: bt}]}\n");
  ASSERT_EQ(config.boards.size(), 10000u);
  EXPECT_EQ(config.boards[9999].firmware.name, "n9999");
}

// ---- mistakes

TEST(ConfigMistake, IsToldWithFileLineColumnKeyAndWhatWasExpected) {
  std::string message =
      bad("bmcs:\n  - name: a\n    interfaces:\n      - kind: bt\n        interrupt: maybe\n", "dir/x.yaml");
  EXPECT_EQ(message, "dir/x.yaml:5:20: bmcs[0].interfaces[0].interrupt: expected true or false, found 'maybe'");
}

TEST(ConfigMistake, AnUnknownKeyIsOneAndANearOneIsSuggested) {
  std::string message = bad("bmcs:\n  - name: a\n    sensros: []\n");
  EXPECT_EQ(message, "t.yaml:3:5: bmcs[0].sensros: unknown key 'sensros' in a BMC; did you mean 'sensors'?");
  EXPECT_THAT(bad("bmcs: [{name: a, qqqqqqqq: 1}]\n"), Not(HasSubstr("did you mean")));
}

TEST(ConfigMistake, AllAreToldAtOnceInTheFilesOrder) {
  std::string message = bad(
      "bmcs:\n"
      "  - name: a\n"
      "    identity: {device_id: 300}\n"
      "    sensors:\n"
      "      - {name: T, type: temprature}\n"
      "      - {name: T, type: fan, number: 0}\n"
      "  - name: a\n");
  EXPECT_THAT(message,
              HasSubstr("t.yaml:3:27: bmcs[0].identity.device_id: expected an integer, 0 to 255, found '300'"));
  EXPECT_THAT(message, HasSubstr("did you mean 'temperature'?"));
  EXPECT_THAT(message, HasSubstr("number: expected an integer, 1 to 254"));
  EXPECT_THAT(message, HasSubstr("already a sensor named 'T'"));
  EXPECT_THAT(message, HasSubstr("already a BMC named 'a'"));
  EXPECT_LT(message.find(":3:27"), message.find("temprature"));
}

TEST(ConfigMistake, NotMoreThanTwentyAreTold) {
  std::string text = "bmcs:\n";
  for (int i = 0; i < 100; ++i) text += "  - {name: a" + std::to_string(i) + ", power_on: 7}\n";
  std::string message = bad(text);
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 20);
  EXPECT_THAT(message, HasSubstr("the first 20"));
}

struct Refused {
  const char* text;
  const char* part;
};

TEST(ConfigMistake, EveryKindIsRefusedAndSaysWhy) {
  const Refused all[] = {
      {"", "empty"},
      {"# nothing\n", "empty"},
      {"bmcs: []\n", "at least one BMC"},
      {"daemon: {threads: 2}\n", "needs the key 'bmcs'"},
      {"bmcs: 7\n", "expected a list"},
      {"bmcs: [7]\n", "expected a mapping"},
      {"- 1\n", "expected a mapping"},
      {"bmcs: [{}]\n", "needs the key 'name'"},
      {"bmcs: [{name: }]\n", "has no value"},
      {"bmcs: [{name: a/b}]\n", "expected a name"},
      {"bmcs: [{name: 'a b'}]\n", "expected a name"},
      {"bmcs: [{name: a, name: b}]\n", "a second time"},
      {"bmcs: [{name: a, count: 2}]\n", "must hold {n}"},
      {"bmcs: [{name: 'a{n}', count: 0}]\n", "1 to 20000"},
      {"bmcs: [{name: a, template: nope}]\n", "no template 'nope'"},
      {"templates: {node: {}}\nbmcs: [{name: a, template: nodes}]\n", "did you mean 'node'"},
      {"templates: {node: {name: x}}\nbmcs: [{name: a, template: node}]\n", "belongs to the BMC"},
      {"templates: {node: {sensors: 1}}\nbmcs: [{name: a}]\n", "templates.node.sensors: expected a list"},
      {"bmcs:\n  - name: a\n\tx: 1\n", "t.yaml:3"},
      {"bmcs: [{name: a}\n", "t.yaml:"},
      {"bmcs: [{name: a}]\n---\nbmcs: []\n", "second document"},
      {"bmcs: [{<<: {a: 1}, name: a}]\n", "merge keys"},
      {"bmcs: !!python/object [{name: a}]\n", "tags"},
      {"bmcs: &x [*x]\n", "alias"},
      {"bmcs: [*nowhere]\n", "t.yaml:1"},
      {"bmcs: [{? [a] : b}]\n", "plain word"},
      {"bmcs: [{name: 'a{n}', count: 2, identity: {device_guid: 00112233-4455-6677-8899-aabbccddeeff}}]\n",
       "would have this GUID"},
      {"bmcs: [{name: a, identity: {device_guid: 0011}}]\n", "expected a GUID"},
      {"bmcs: [{name: a, identity: {firmware: 1}}]\n", "MAJOR.MINOR"},
      {"bmcs: [{name: a, identity: {firmware: \"200.01\"}}]\n", "at most 127"},
      {"bmcs: [{name: a, identity: {firmware: \"1.1\"}}]\n", "two digits"},
      {"bmcs: [{name: a, identity: {ipmi_version: \"20.0\"}}]\n", "one digit"},
      {"bmcs: [{name: a, identity: {ipmb_address: 0x21}}]\n", "even"},
      {"bmcs: [{name: a, identity: {device_id: 010}}]\n", "leading zero"},
      {"bmcs: [{name: a, identity: {device_id: \"16\"}}]\n", "in quotes, which is text"},
      {"bmcs: [{name: a, identity: {aux_firmware: \"01 02\"}}]\n", "expected 4 bytes, found 2"},
      {"bmcs: [{name: a, identity: {aux_firmware: xyz}}]\n", "hexadecimal"},
      {"bmcs: [{name: a, power_on: yes}]\n", "true or false"},
      {"bmcs: [{name: a, interfaces: [{}]}]\n", "needs the key 'kind'"},
      {"bmcs: [{name: a, interfaces: [{kind: ssif}]}]\n", "expected one of: kcs, bt, smic"},
      {"bmcs: [{name: a, interfaces: [{kind: bt}, {kind: bt}]}]\n", "already an interface named 'bt'"},
      {"bmcs: [{name: a, interfaces: [{kind: bt, latency: {access: 5}}]}]\n", "duration with its unit"},
      {"bmcs: [{name: a, interfaces: [{kind: bt, latency: {access: 2min}}]}]\n", "0 to 60 s"},
      {"bmcs: [{name: a, interfaces: [{kind: bt, latency: {access: {uniform: [2us]}}}]}]\n", "[least, most]"},
      {"bmcs: [{name: a, interfaces: [{kind: bt, latency: {access: {uniform: [3us, 2us]}}}]}]\n", "greater first"},
      {"bmcs: [{name: a, interfaces: [{kind: bt, latency: {access: {log_uniform: [0us, 2us]}}}]}]\n", "above 0"},
      {"bmcs: [{name: a, interfaces: [{kind: bt, latency: {access: {}}}]}]\n", "one of fixed"},
      {"bmcs: [{name: a, interfaces: [{kind: bt, latency: {commands: [{netfn: 7, cmd: 1, response: 1us}]}}]}]\n",
       "even NetFns"},
      {"bmcs: [{name: a, interfaces: [{kind: bt, latency: {commands: [{netfn: app, cmd: 1, response: 1us}, {netfn: 6, "
       "cmd: 1, response: 2us}]}}]}]\n",
       "second time"},
      {"bmcs: [{name: a, interfaces: [{kind: bt, vfio_user: {socket: x.sock}}]}]\n", "must be absolute"},
      {"bmcs: [{name: a, interfaces: [{kind: bt, vfio_user: {socket: /x, spacing: 2}}]}]\n", "1, 4 or 16"},
      {"bmcs: [{name: a, interfaces: [{kind: bt, vfio_user: {socket: /x}}, {kind: kcs, vfio_user: {socket: /x}}]}]\n",
       "used twice"},
      {"bmcs: [{name: 'a{n}', count: 2, interfaces: [{kind: bt, vfio_user: {socket: /x}}]}]\n", "must hold {n}"},
      {"bmcs: [{name: a, interfaces: [{kind: bt, vm: {}}]}]\n", "a VM socket needs the key 'listen'"},
      {"bmcs: [{name: a, interfaces: [{kind: bt, vm: {listen: /x}}]}]\n", "expected unix:PATH or tcp:HOST:PORT"},
      {"bmcs: [{name: a, interfaces: [{kind: bt, vm: {listen: 'localhost:1'}}]}]\n", "expected unix:PATH or tcp:HOST:PORT"},
      {"bmcs: [{name: a, interfaces: [{kind: bt, vm: {listen: 'unix:x.vm'}}]}]\n", "must be absolute"},
      {"bmcs: [{name: a, interfaces: [{kind: bt, vm: {listen: 'tcp:localhost'}}]}]\n", "no port"},
      {"bmcs: [{name: a, interfaces: [{kind: bt, vm: {listen: 'tcp:localhost:70000'}}]}]\n", "0 to 65535"},
      {"bmcs: [{name: a, interfaces: [{kind: bt, vm: {listen: 'tcp:/x'}}]}]\n", "expected unix:PATH or tcp:HOST:PORT"},
      {"bmcs: [{name: a, interfaces: [{kind: bt, vm: {listen: 'unix:/x'}}, {kind: kcs, vm: {listen: 'unix:/x'}}]}]\n",
       "used twice"},
      {"bmcs: [{name: a, interfaces: [{kind: bt, vm: {listen: 'unix:/x'}}, {kind: kcs, vfio_user: {socket: /x}}]}]\n",
       "used twice"},
      {"bmcs: [{name: a, interfaces: [{kind: bt, vm: {listen: 'tcp:[::1]:5'}}, {kind: kcs, vm: {listen: 'tcp:[::1]:5'}}]}]\n",
       "used twice"},
      {"bmcs: [{name: 'a{n}', count: 2, interfaces: [{kind: bt, vm: {listen: 'unix:/x'}}]}]\n", "must hold {n}"},
      {"bmcs: [{name: 'a{n}', count: 9, interfaces: [{kind: bt, vm: {listen: 'tcp:h:6553{n}'}}]}]\n", "0 to 65535"},
      {"bmcs: [{name: a, sensors: [{name: 12345678901234567, type: fan}]}]\n", "1 to 16 characters"},
      {"bmcs: [{name: a, sensors: [{name: T, type: fan, number: 3}, {name: U, type: fan, number: 3}]}]\n",
       "already a sensor 3"},
      {"bmcs: [{name: a, sensors: [{name: T, type: fan, min: 0}]}]\n", "go together"},
      {"bmcs: [{name: a, sensors: [{name: T, type: fan, min: 5, max: 5}]}]\n", "above min"},
      {"bmcs: [{name: a, sensors: [{name: T, type: fan, min: 0, max: 5, m: 1}]}]\n", "either min and max"},
      {"bmcs: [{name: a, sensors: [{name: T, type: fan, m: 0}]}]\n", "same reading"},
      {"bmcs: [{name: a, sensors: [{name: T, type: fan, m: 1, initial: 300}]}]\n",
       "outside of what the sensor expresses, 0 to 255"},
      {"bmcs: [{name: a, sensors: [{name: T, type: fan, thresholds: {lower_critical: 5, lower_non_critical: 4}}]}]\n",
       "below lower_critical"},
      {"bmcs: [{name: a, sensors: [{name: T, type: fan, kind: discrete, min: 4}]}]\n", "is of threshold sensors"},
      {"bmcs: [{name: a, sensors: [{name: T, type: fan, kind: threshold, states: [1]}]}]\n", "is of discrete sensors"},
      {"bmcs: [{name: a, sensors: [{name: T, type: processor, states: [15]}]}]\n", "0 to 14"},
      {"bmcs: [{name: a, sensors: [{name: T, type: fan, initial: .nan}]}]\n", "expected a number"},
      {"bmcs: [{name: a, frus: [{file: nowhere.bin}]}]\n", "cannot read file 'nowhere.bin': No such file"},
      {"bmcs: [{name: a, frus: [{file: /}]}]\n", "not a regular file"},
      {"bmcs: [{name: a, frus: [{file: /dev/zero}]}]\n", "not a regular file"},
      {"bmcs: [{name: a, frus: [{id: 1}, {id: 1}]}]\n", "already a FRU 1"},
      {"bmcs: [{name: a, frus: [{size: 16, product: {name: a long name that does not fit}}]}]\n", "bmcs[0].frus[0]"},
      {"bmcs: [{name: a, frus: [{board: {manufactured: \"1980-01-01 00:00\"}}]}]\n", "from 1996"},
      {"bmcs: [{name: a, frus: [{board: {manufactured: \"2024-02-30 00:00\"}}]}]\n", "date and time"},
      {"bmcs: [{name: a, sdr: {file: nowhere.sdr}}]\n", "cannot read file"},
      {"bmcs: [{name: a, sel: {preload: [\"00 01\"]}}]\n", "16 bytes"},
      {"bmcs: [{name: a, sel: {preload: [{sensor: Nobody}]}}]\n", "no sensor 'Nobody'"},
      {"bmcs: [{name: a, sel: {preload: [{time: tomorrow}]}}]\n", "expected a time"},
      {"bmcs: [{name: a, sel: {entries_max: 1, preload: [{}, {}]}}]\n", "more than entries_max"},
      {"bmcs: [{name: a, satellites: [{address: 0x20}]}]\n", "already that of the BMC"},
      {"bmcs: [{name: a, satellites: [{address: 0x83}]}]\n", "even"},
      {"bmcs: [{name: a, i2c_devices: [{address: 0xa0}, {address: 0xa0}]}]\n", "already a device"},
      {"bmcs: [{name: a, users: [{id: 2}, {id: 2}]}]\n", "already a user 2"},
      {"bmcs: [{name: a, users: [{id: 1, name: x}]}]\n", "nameless"},
      {"bmcs: [{name: a, users: [{id: 2, privilege: admin}]}]\n", "administrator"},
      {"bmcs: [{name: a, channels: [{number: 12}]}]\n", "1 to 11"},
      {"bmcs: [{name: a, reset: {cold_offline: -1s}}]\n", "duration"},
      {"daemon: {listen: [nonsense]}\nbmcs: [{name: a}]\n", "unix:PATH or HOST:PORT"},
      {"daemon: {listen: [\"unix:x\"]}\nbmcs: [{name: a}]\n", "must be absolute"},
      {"daemon: {listen: [\":1\", \"127.0.0.1:1\"]}\nbmcs: [{name: a}]\n", "twice"},
      {"daemon: {state: here}\nbmcs: [{name: a}]\n", "absolute"},
      {"daemon: {tls: {key: nowhere.pem}}\nbmcs: [{name: a}]\n", "needs the key 'certificate'"},
      {"daemon: {log_level: loud}\nbmcs: [{name: a}]\n", "trace, debug"},
  };
  for (const Refused& one : all) {
    auto config = parse_config(one.text, "t.yaml");
    ASSERT_FALSE(config) << "accepted: " << one.text;
    EXPECT_THAT(config.error().message, HasSubstr(one.part)) << one.text;
    EXPECT_THAT(config.error().message, HasSubstr("t.yaml:")) << one.text;
  }
}

TEST(ConfigMistake, AFileThatIsNotThereIsSaidSo) {
  auto config = load_config("/nowhere/x.yaml");
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(config.error().message, HasSubstr("/nowhere/x.yaml"));
  EXPECT_EQ(load_config("/").error().code, ErrorCode::kIo);
}

// ---- hostile text

TEST(ConfigBound, AliasesThatExplodeAreRefusedAtOnce) {
  std::string text = "bmcs:\n  - &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 20; ++i) {
    text += "  - &a" + std::to_string(i) + " [";
    for (int j = 0; j < 10; ++j) text += (j ? ", *a" : "*a") + std::to_string(i - 1);
    text += "]\n";
  }
  EXPECT_THAT(bad(text), HasSubstr("aliases expanded"));
}

TEST(ConfigBound, DeepNestingIsRefused) {
  EXPECT_THAT(bad("bmcs: " + std::string(5000, '[')), HasSubstr("t.yaml:1"));
  EXPECT_THAT(bad("bmcs: " + std::string(100, '[') + std::string(100, ']')), HasSubstr("nested deeper"));
}

TEST(ConfigBound, ALongFileIsRefused) {
  ConfigLimits limits;
  limits.text_bytes_max = 100;
  auto config = parse_config(std::string(101, '#'), "t.yaml", limits);
  ASSERT_FALSE(config);
  EXPECT_THAT(config.error().message, HasSubstr("at most 100"));
}

TEST(ConfigBound, BinaryIsNotText) { EXPECT_THAT(bad(std::string("bmcs:\0 x", 8)), HasSubstr("not a text file")); }

TEST(ConfigBound, ControlCharactersDoNotReachTheTerminal) {
  std::string message = bad("bmcs: [{name: \"a\\e[31m\", \"k\\e[2J\": 1}]\n");
  EXPECT_EQ(message.find('\x1b'), std::string::npos);
}

TEST(ConfigBound, MoreBmcsThanTheLimitAreRefused) {
  EXPECT_THAT(bad("bmcs:\n  - {name: 'a{n}', count: 20000}\n  - {name: 'b{n}', count: 20000}\n"),
              HasSubstr("20000 BMCs"));
}

// ---- values

TEST(Config, FilesAreFoundBesideTheConfiguration) {
  Folder folder;
  folder.file("fru.bin", std::string(64, '\x01'));
  std::string yaml = folder.file(
      "x.yaml", "bmcs: [{name: a, frus: [{file: fru.bin}], i2c_devices: [{address: 0xa0, file: fru.bin}]}]\n");
  auto config = load_config(yaml);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->boards[0].firmware.frus[0].content.size(), 64u);
  EXPECT_EQ(config->boards[0].firmware.frus[0].size, 64);
  EXPECT_EQ(config->boards[0].firmware.i2c_devices[0].content.size(), 64u);
}

TEST(Config, ABrokenSdrDumpIsRefused) {
  Folder folder;
  folder.file("bad.sdr", std::string("\x01\x00\x51\x01\x40short", 10));
  std::string yaml = folder.file("x.yaml", "bmcs: [{name: a, sdr: {file: bad.sdr}}]\n");
  auto config = load_config(yaml);
  ASSERT_FALSE(config);
  EXPECT_THAT(config.error().message, HasSubstr("not a dump of SDRs"));
}

TEST(Config, SensorNumbersThatAreLeftOutFillTheGaps) {
  auto config =
      good(bmc("    sensors: [{name: A, type: fan}, {name: B, type: fan, number: 1}, {name: C, type: fan}]\n"));
  EXPECT_EQ(config.boards[0].firmware.sensors[0].number, 2);
  EXPECT_EQ(config.boards[0].firmware.sensors[1].number, 1);
  EXPECT_EQ(config.boards[0].firmware.sensors[2].number, 3);
}

TEST(Config, ASensorWithoutARangeGetsOneThatHoldsItsValues) {
  auto config =
      good(bmc("    sensors: [{name: A, type: fan, initial: 7000, thresholds: {lower_critical: 900}}, {name: B, type: "
               "temperature, initial: 30}]\n"));
  const auto& fan = config.boards[0].firmware.sensors[0];
  SensorScale scale{fan.m, fan.b, fan.b_exponent, fan.r_exponent, fan.is_signed};
  EXPECT_GE(scale.greatest(), 7000);
  EXPECT_LE(scale.step(), 60);
  EXPECT_EQ(config.boards[0].firmware.sensors[1].m, 1);
  EXPECT_EQ(config.boards[0].firmware.sensors[1].r_exponent, 0);
}

TEST(SensorScale, CoversEveryRangeAndWastesLittle) {
  const std::pair<double, double> ranges[] = {{0, 255},   {0, 127},   {0, 100},     {-20, 80},    {0, 15000},
                                              {0, 1020},  {0, 15.3},  {0, 1.5},     {-12.6, -11}, {3, 3.6},
                                              {0, 0.001}, {0, 1e6},   {-40, 215},   {1000, 1001}, {-1e5, 1e5},
                                              {0, 7},     {200, 300}, {-273.15, 0}, {0.9, 1.1},   {0, 65535.0}};
  for (auto [min, max] : ranges) {
    auto scale = choose_scale(min, max);
    ASSERT_TRUE(scale) << min << " to " << max;
    double slack = (max - min) * 1e-6;
    EXPECT_LE(scale->least(), min + slack) << min << " to " << max;
    EXPECT_GE(scale->greatest(), max - slack) << min << " to " << max;
    EXPECT_LE(scale->greatest() - scale->least(), (max - min) * 1.3) << min << " to " << max;
    EXPECT_LE(std::abs(scale->m), 511);
    EXPECT_LE(std::abs(scale->b), 512);
  }
  EXPECT_FALSE(choose_scale(1, 1));
  EXPECT_FALSE(choose_scale(2, 1));
  EXPECT_FALSE(choose_scale(0, 1e300));
}

TEST(SensorScale, PlainCountsStayPlain) {
  auto scale = choose_scale(0, 255);
  ASSERT_TRUE(scale);
  EXPECT_EQ(scale->m, 1);
  EXPECT_EQ(scale->b, 0);
  EXPECT_EQ(scale->r_exponent, 0);
}

TEST(Duration, IsANumberWithItsUnit) {
  EXPECT_EQ(parse_duration("50us"), Duration(50us));
  EXPECT_EQ(parse_duration("1.5ms"), Duration(1500us));
  EXPECT_EQ(parse_duration("2min"), Duration(2min));
  EXPECT_EQ(parse_duration("1h"), Duration(1h));
  EXPECT_EQ(parse_duration("7ns"), Duration(7));
  for (const char* wrong :
       {"", "5", "us", ".5s", "5.s", "-1s", "1 s", "1sec", "1e3s", "1.2.3s", "99999999999999999999s"}) {
    EXPECT_EQ(parse_duration(wrong), std::nullopt) << wrong;
  }
}

TEST(Nearest, FindsWhatWasMeantAndNothingElse) {
  std::vector<std::string_view> words{"sensors", "satellites", "interfaces", "name"};
  EXPECT_EQ(nearest("sensor", words), "sensors");
  EXPECT_EQ(nearest("Interfaces", words), "interfaces");
  EXPECT_EQ(nearest("nmae", words), "name");
  EXPECT_EQ(nearest("zzz", words), "");
}

// ---- the schema and the loader say the same

// YAML as an editor sees it: unquoted scalars by the core schema.
Json to_json(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull: return nullptr;
    case YamlNode::Kind::kList: {
      Json out = Json::array();
      for (const auto& item : node.items) out.push_back(to_json(*item));
      return out;
    }
    case YamlNode::Kind::kMap: {
      Json out = Json::object();
      for (const auto& member : node.members) out[member.key] = to_json(*member.value);
      return out;
    }
    case YamlNode::Kind::kScalar: break;
  }
  if (node.quoted) return node.scalar;
  if (node.scalar == "true" || node.scalar == "false") return node.scalar == "true";
  static const std::regex integer("[-+]?[0-9]+"), hexadecimal("0x[0-9a-fA-F]+"),
      real("[-+]?(\\.[0-9]+|[0-9]+(\\.[0-9]*)?)([eE][-+]?[0-9]+)?");
  if (std::regex_match(node.scalar, integer)) return std::stoll(node.scalar);
  if (std::regex_match(node.scalar, hexadecimal)) return std::stoll(node.scalar, nullptr, 16);
  if (std::regex_match(node.scalar, real)) return std::stod(node.scalar);
  return node.scalar;
}

// As much of JSON schema as ours uses; an unknown keyword fails the test.
class SchemaChecker {
 public:
  explicit SchemaChecker(const Json& root) : root_(root) {}
  bool valid(const Json& value, const Json& schema, const std::string& path, std::string* why) {
    for (const auto& [keyword, wanted] : schema.items()) {
      if (!holds(value, schema, keyword, wanted, path, why)) {
        if (why->empty()) *why = path + ": " + keyword + " " + wanted.dump() + " does not hold for " + value.dump();
        return false;
      }
    }
    return true;
  }

 private:
  static bool is_type(const Json& value, const std::string& type) {
    if (type == "object") return value.is_object();
    if (type == "array") return value.is_array();
    if (type == "string") return value.is_string();
    if (type == "boolean") return value.is_boolean();
    if (type == "integer") return value.is_number_integer();
    if (type == "number") return value.is_number();
    ADD_FAILURE() << "unknown type " << type;
    return false;
  }
  bool holds(const Json& value, const Json& schema, const std::string& keyword, const Json& wanted,
             const std::string& path, std::string* why) {
    if (keyword == "$schema" || keyword == "title" || keyword == "description" || keyword == "$defs") return true;
    if (keyword == "$ref") {
      std::string name = wanted.get<std::string>().substr(std::string("#/$defs/").size());
      return valid(value, root_.at("$defs").at(name), path, why);
    }
    if (keyword == "type") {
      if (wanted.is_string()) return is_type(value, wanted);
      return std::any_of(wanted.begin(), wanted.end(), [&](const Json& type) { return is_type(value, type); });
    }
    if (keyword == "properties") {
      for (const auto& [key, sub] : wanted.items()) {
        if (value.is_object() && value.contains(key) && !valid(value[key], sub, path + "." + key, why)) return false;
      }
      return true;
    }
    if (keyword == "additionalProperties") {
      if (!value.is_object()) return true;
      for (const auto& [key, member] : value.items()) {
        if (schema.contains("properties") && schema["properties"].contains(key)) continue;
        if (wanted.is_boolean()) {
          *why = path + ": unknown key " + key;
          return false;
        }
        if (!valid(member, wanted, path + "." + key, why)) return false;
      }
      return true;
    }
    if (keyword == "required") {
      return std::all_of(wanted.begin(), wanted.end(),
                         [&](const Json& key) { return value.contains(key.get<std::string>()); });
    }
    if (keyword == "items") {
      for (size_t i = 0; value.is_array() && i < value.size(); ++i) {
        if (!valid(value[i], wanted, path + "[" + std::to_string(i) + "]", why)) return false;
      }
      return true;
    }
    if (keyword == "anyOf") {
      std::string last;
      for (const Json& one : wanted) {
        last.clear();
        if (valid(value, one, path, &last)) return true;
      }
      *why = last;
      return false;
    }
    if (keyword == "enum") return std::find(wanted.begin(), wanted.end(), value) != wanted.end();
    if (keyword == "minimum") return !value.is_number() || value.get<double>() >= wanted.get<double>();
    if (keyword == "maximum") return !value.is_number() || value.get<double>() <= wanted.get<double>();
    if (keyword == "maxItems") return !value.is_array() || value.size() <= wanted.get<size_t>();
    if (keyword == "maxProperties") return !value.is_object() || value.size() <= wanted.get<size_t>();
    if (keyword == "minLength") return !value.is_string() || value.get<std::string>().size() >= wanted.get<size_t>();
    if (keyword == "maxLength") return !value.is_string() || value.get<std::string>().size() <= wanted.get<size_t>();
    if (keyword == "pattern")
      return !value.is_string() || std::regex_search(value.get<std::string>(), std::regex(wanted.get<std::string>()));
    ADD_FAILURE() << "the schema has a keyword that this test does not know: " << keyword;
    return false;
  }
  const Json& root_;
};

bool schema_accepts(const std::string& text, std::string* why) {
  YamlMistake mistake;
  auto tree = parse_yaml(text, {}, &mistake);
  if (!tree) {
    *why = mistake.what;
    return false;
  }
  Json schema = Json::parse(config_schema_json());
  return SchemaChecker(schema).valid(to_json(*tree), schema, "", why);
}

// Every key there is, once.
const char* const kEverything = R"(
daemon:
  listen: [unix:/x/y.sock, "127.0.0.1:5000"]
  tls: {certificate: FILE, key: FILE, client_ca: FILE}
  state: ${RUN}/state
  threads: 3
  log_level: debug
templates:
  t: {power_on: false}
bmcs:
  - name: "all-{n:02}"
    count: 2
    first: 5
    template: t
    power_on: true
    identity: {device_id: 0x21, device_revision: 2, provides_device_sdrs: false, firmware: "3.45", ipmi_version: "2.0",
      additional_device_support: 0xbf, manufacturer_id: 1, product_id: 2, aux_firmware: "01 02 03 04", ipmb_address: 0x22}
    interfaces:
      - kind: bt
        name: bt0
        interrupt: false
        seed: 9
        latency:
          access: {fixed: 1us}
          response: {uniform: [1us, 2us]}
          commands: [{netfn: app, cmd: 1, response: {log_uniform: [1us, 1ms]}}]
        vfio_user: {socket: "/x/{name}.sock", bar: memory, spacing: 4}
        vm: {listen: "tcp:localhost:90{n:02}"}
    sensors:
      - {name: A, number: 9, lun: 1, type: temperature, kind: threshold, entity: processor, entity_instance: 2, settable: false,
         unit: degrees C, min: -10, max: 90, initial: 20, nominal: 21, wave: {shape: sine, amplitude: 1, period: 5s},
         thresholds: {lower_non_recoverable: 1, lower_critical: 2, lower_non_critical: 3, upper_non_critical: 60, upper_critical: 70,
           upper_non_recoverable: 80, hysteresis: 1, positive_hysteresis: 2, negative_hysteresis: 3}}
      - {name: B, type: voltage, m: 2, b: 1, b_exponent: 1, r_exponent: -1, signed: true}
      - {name: C, type: processor, reading_type: sensor specific, events: [1, 2], states: [7]}
    frus:
      - {id: 3, name: F, size: 512, chassis: {type: blade, part_number: a, serial: "{n}", extra: [x]},
         board: {manufactured: "2024-05-01 12:00", manufacturer: a, product: b, serial: c, part_number: d, fru_file_id: e, extra: [x]},
         product: {manufacturer: a, name: b, part_number: c, version: d, serial: e, asset_tag: f, fru_file_id: g, extra: [x]}}
      - {file: FILE}
    sdr: {file: EMPTY, size_max: 4096}
    sel: {entries_max: 10, preload: ["00 00 02 00 00 00 00 20 00 04 10 09 6f 02 ff ff",
      {time: "2024-05-01 12:00:00", generator: 0x20, sensor: A, sensor_type: temperature, event_type: 1, deasserted: true, data: "57"}]}
    satellites: [{address: 0x82, identity: {device_id: 1}, answers: false, latency: 1ms}]
    i2c_devices: [{bus: 1, address: 0xa0, content: "00 ff", writable: false}, {address: 0xa2, file: FILE}]
    users: [{id: 2, name: u, password: p, privilege: operator, enabled: false}]
    channels: [{number: 1, medium: lan, protocol: ipmb, privilege_limit: user}]
    reset: {cold_offline: 1s, warm_offline: 1ms}
    bt: {requests_outstanding: 2, response_seconds: 3, retries: 1}
    faults: [{name: f, cc: d5, cmd: get_device_id, netfn_mask: 0x3f, cmd_mask: 0xff, data: 00 01, probability: 0.5}]
  - name: other
    identity: {device_guid: 00112233-4455-6677-8899-aabbccddeeff, system_guid: 00112233-4455-6677-8899-aabbccddeefe}
)";

void walk_keys(const KeyObject& object, std::set<const Key*>& all) {
  for (const Key& key : object.keys) {
    if (!all.insert(&key).second) continue;
    if (key.object) walk_keys(*key.object, all);
    if (key.type == KeyType::kLatency) walk_keys(latency_keys(), all);
  }
}

std::string everything(const Folder& folder) {
  folder.file("file.bin", std::string(16, '\x01'));
  folder.file("empty.sdr", "");
  std::string text = kEverything;
  for (auto [from, to] : {std::pair("FILE", "file.bin"), std::pair("EMPTY", "empty.sdr")}) {
    for (size_t at; (at = text.find(from)) != std::string::npos;) text.replace(at, std::string(from).size(), to);
  }
  return text;
}

TEST(ConfigSchema, EveryKeyOfTheTableIsReadByTheLoader) {
  Folder folder;
  std::string text = everything(folder);
  std::set<const Key*> asked;
  auto config = parse_config_asking(text, folder.path("x.yaml"), {}, &asked);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->boards.size(), 3u);
  EXPECT_EQ(config->boards[1].firmware.name, "all-06");
  ASSERT_EQ(config->vm.size(), 2u);
  EXPECT_EQ(config->vm[1].bmc, "all-06");
  EXPECT_EQ(config->vm[1].interface, "bt0");
  EXPECT_EQ(config->vm[1].listen, "tcp:localhost:9006");
  std::set<const Key*> all;
  walk_keys(file_keys(), all);
  EXPECT_GT(all.size(), 120u);
  for (const Key* key : all) EXPECT_TRUE(asked.count(key)) << "nobody reads the key " << key->name;
}

TEST(ConfigSchema, AcceptsAFileWithEveryKeyThereIs) {
  Folder folder;
  std::string why;
  EXPECT_TRUE(schema_accepts(everything(folder), &why)) << why;
}

TEST(ConfigSchema, AcceptsEveryShippedFile) {
  for (const char* name : kShipped) {
    std::string why;
    EXPECT_TRUE(schema_accepts(read(shipped(name)), &why)) << name << why;
  }
}

TEST(ConfigSchema, IsTheOneShipped) {
  EXPECT_EQ(read(std::string(BMCPAIR_SOURCE_DIR) + "/configs/bmcpair.schema.json"), config_schema_json())
      << "write it again: bmc_emu --schema > configs/bmcpair.schema.json";
}

TEST(ConfigSchema, RefusesWhatTheLoaderRefusesForItsShape) {
  for (const char* text :
       {"bmcs: [{name: a, sensros: []}]\n", "bmcs: [{name: a, power_on: maybe}]\n", "bmcs: 7\n", "daemon: {}\n",
        "bmcs: [{name: a, interfaces: [{kind: ssif}]}]\n", "bmcs: [{name: a, identity: {device_id: 300}}]\n",
        "bmcs: [{name: a, sensors: [{name: T, type: temprature}]}]\n", "bmcs: [{name: a, reset: {cold_offline: 7}}]\n",
        "bmcs: [{name: a, sensors: [{name: T}]}]\n", "bmcs: [{name: 'a b'}]\n"}) {
    std::string why;
    EXPECT_FALSE(schema_accepts(text, &why)) << text;
    bad(text);
  }
}

}  // namespace
}  // namespace bmcpair::daemon
