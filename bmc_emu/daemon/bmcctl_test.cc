// bmcctl and the Control service behind it, against a real fleet over a unix socket.
#include "bmc_emu/daemon/bmcctl.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <sstream>
#include <thread>

#include <grpcpp/grpcpp.h>
#include <nlohmann/json.hpp>

#include "bmc_emu/board/fleet.h"
#include "bmc_emu/daemon/fault_rules.h"
#include "bmc_emu/firmware/dispatcher.h"
#include "bmc_emu/transport/grpc/server.h"
#include "proto/registers/bt.h"
#include "proto/rpc/control.grpc.pb.h"
#include "proto/trace/names.h"

namespace bmcpair::daemon {
namespace {

using nlohmann::json;

constexpr auto kLong = std::chrono::seconds(60);

board::BoardConfig board_named(const std::string& name) {
  board::BoardConfig config;
  config.firmware.name = name;
  config.firmware.identity.firmware_major = 2;
  config.firmware.identity.firmware_minor_bcd = 0x15;
  config.firmware.identity.manufacturer_id = 7154;
  firmware::SensorConfig cpu;
  cpu.name = "CPU";
  cpu.number = 1;
  cpu.initial = 40;
  cpu.thresholds.upper_critical = 90;
  config.firmware.sensors.push_back(cpu);
  firmware::SensorConfig psu;
  psu.name = "PSU";
  psu.number = 2;
  psu.sensor_type = 0x08;
  psu.threshold = false;
  psu.initial_state = 1;
  config.firmware.sensors.push_back(psu);
  board::InterfaceConfig bt;
  bt.name = "bt";
  bt.kind = registers::InterfaceKind::kBt;
  config.interfaces.push_back(bt);
  board::InterfaceConfig kcs;
  kcs.name = "kcs";
  kcs.kind = registers::InterfaceKind::kKcs;
  kcs.interrupt = false;
  config.interfaces.push_back(kcs);
  return config;
}

struct Ran {
  int code = -1;
  std::string out;
  std::string err;
  json value() const { return json::parse(out); }
};

class Bmcctl : public ::testing::Test {
 protected:
  Bmcctl() {
    std::string name = "/tmp/bmcpair-test-XXXXXX";
    if (::mkdtemp(name.data())) directory_ = name;
    address_ = directory_ + "/s";
  }
  ~Bmcctl() override {
    server_.reset();
    fleet_.reset();
    std::filesystem::remove_all(directory_);
  }

  void start(std::vector<std::string> names) {
    std::vector<board::BoardConfig> boards;
    for (const auto& n : names) boards.push_back(board_named(n));
    auto fleet = board::Fleet::create(std::move(boards), {});
    ASSERT_TRUE(fleet.ok()) << fleet.error().message;
    fleet_ = *std::move(fleet);
    transport::GrpcServerOptions options;
    options.listen = {address_};
    options.version = "9.8.7";
    options.parse_faults = [](std::string_view text, const std::string& file) { return parse_faults(text, file); };
    auto server = transport::GrpcServer::start(options, *fleet_);
    ASSERT_TRUE(server.ok()) << server.error().message;
    server_ = *std::move(server);
  }

  Ran run(std::vector<std::string> words, bool terminal = false) {
    words.insert(words.begin(), {"bmcctl", "--address", address_});
    std::vector<const char*> argv;
    for (const auto& w : words) argv.push_back(w.c_str());
    std::ostringstream out, err;
    Ran ran;
    ran.code = run_bmcctl(static_cast<int>(argv.size()), argv.data(), out, err, terminal);
    ran.out = out.str();
    ran.err = err.str();
    if (ran.code != kBmcctlOk) {
      EXPECT_TRUE(ran.err.starts_with("bmcctl: ")) << ran.err;
      EXPECT_EQ(std::count(ran.err.begin(), ran.err.end(), '\n'), 1) << ran.err;
      EXPECT_EQ(ran.out, "");
    }
    return ran;
  }
  json ok(std::vector<std::string> words) {
    words.push_back("--json");
    Ran ran = run(words);
    EXPECT_EQ(ran.code, kBmcctlOk) << ran.err;
    return ran.code == kBmcctlOk ? ran.value() : json();
  }
  void fails(std::vector<std::string> words, int code, const std::string& part) {
    Ran ran = run(std::move(words));
    EXPECT_EQ(ran.code, code) << ran.out;
    EXPECT_NE(ran.err.find(part), std::string::npos) << ran.err;
  }

  std::string directory_;
  std::string address_;
  std::unique_ptr<board::Fleet> fleet_;
  std::unique_ptr<transport::GrpcServer> server_;
};

const char* const kRecord = "0000 02 00000000 2000 04 01 01 01 50 5a 5a";
std::string record() {
  std::string r = kRecord;
  r.erase(std::remove(r.begin(), r.end(), ' '), r.end());
  return r;
}

TEST_F(Bmcctl, ListsEveryBmcWithItsInterfacesAndWhoHoldsThem) {
  start({"one", "two"});
  auto port = *fleet_->attach("two/bt", "host[1]");
  json reply = ok({"list"});
  ASSERT_EQ(reply["bmcs"].size(), 2u);
  EXPECT_EQ(reply["bmcs"][0]["name"], "one");
  EXPECT_EQ(reply["bmcs"][0]["power_on"], true);
  EXPECT_EQ(reply["bmcs"][0]["sensors"], 2);
  EXPECT_EQ(reply["bmcs"][1]["interfaces"][0]["kind"], "bt");
  EXPECT_EQ(reply["bmcs"][1]["interfaces"][0]["held_by"], "host[1]");
  EXPECT_EQ(reply["bmcs"][1]["interfaces"][1]["has_interrupt"], false);
  Ran table = run({"list"});
  EXPECT_NE(table.out.find("two  on"), std::string::npos) << table.out;
  EXPECT_EQ(table.out.find('\033'), std::string::npos);
  EXPECT_NE(run({"list"}, true).out.find('\033'), std::string::npos);
}

TEST_F(Bmcctl, DescribesOneBmc) {
  start({"one"});
  json reply = ok({"describe"});
  EXPECT_EQ(reply["summary"]["name"], "one");
  EXPECT_EQ(reply["identity"]["firmware"], "2.15");
  EXPECT_EQ(reply["identity"]["ipmi_version"], "2.0");
  EXPECT_EQ(reply["identity"]["manufacturer_id"], 7154);
  EXPECT_NE(run({"describe", "one"}).out.find("7154"), std::string::npos);
}

TEST_F(Bmcctl, ABmcMustBeNamedWhereThereAreMoreAndAnUnknownOneIsRefusedWithTheNamesThereAre) {
  start({"one", "two"});
  fails({"describe"}, kBmcctlFailed, "one");
  fails({"describe", "three"}, kBmcctlFailed, "two");
  fails({"power", "three", "on"}, kBmcctlFailed, "three");
  fails({"watch", "three"}, kBmcctlFailed, "three");
}

TEST_F(Bmcctl, SwitchesPower) {
  start({"one"});
  EXPECT_EQ(ok({"power", "off"})["power_on"], false);
  EXPECT_EQ(ok({"list"})["bmcs"][0]["power_on"], false);
  EXPECT_EQ(run({"power", "one", "on"}).out, "power is on\n");
  fails({"power", "up"}, kBmcctlUsage, "'up'");
}

TEST_F(Bmcctl, LightsTheIdentifyLight) {
  start({"one"});
  EXPECT_EQ(ok({"identify"})["identify"], 1);
  EXPECT_EQ(ok({"identify", "one", "on"})["identify"], 2);
  EXPECT_EQ(ok({"identify", "off"})["identify"], 0);
  EXPECT_EQ(ok({"identify", "200"})["identify"], 1);
  fails({"identify", "256"}, kBmcctlUsage, "256");
}

TEST_F(Bmcctl, ReadsPinsAndReleasesSensors) {
  start({"one"});
  EXPECT_EQ(ok({"sensor", "list"})["sensors"].size(), 2u);
  json cpu = ok({"sensor", "get", "CPU"});
  EXPECT_EQ(cpu["number"], 1);
  EXPECT_EQ(cpu["value"], 40.0);
  EXPECT_EQ(ok({"sensor", "set", "one", "CPU", "95"})["value"], 95.0);
  EXPECT_EQ(ok({"sensor", "get", "1"})["value"], 95.0);
  EXPECT_EQ(run({"sensor", "set", "CPU", "-5"}).err.find("see bmcctl --help"), std::string::npos);
  EXPECT_EQ(ok({"sensor", "release", "CPU"})["value"], 40.0);
  EXPECT_EQ(ok({"sensor", "set", "PSU", "0x3", "--states"})["states"], 3);
  EXPECT_NE(run({"sensor", "list"}).out.find("40 degrees C"), std::string::npos);
  fails({"sensor", "get", "GPU"}, kBmcctlFailed, "GPU");
  fails({"sensor", "set", "CPU", "hot"}, kBmcctlUsage, "'hot'");
  fails({"sensor", "set", "CPU", "nan"}, kBmcctlUsage, "'nan'");
  fails({"sensor", "set", "PSU", "0x8000", "--states"}, kBmcctlUsage, "15 bits");
}

TEST_F(Bmcctl, AddsListsAndClearsTheSel) {
  start({"one"});
  EXPECT_EQ(ok({"sel", "list"})["records"].size(), 0u);
  EXPECT_EQ(ok({"sel", "add", record()})["id"], 1);
  EXPECT_EQ(ok({"sel", "add", "one", record()})["id"], 2);
  json records = ok({"sel", "list"})["records"];
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[1]["record"].get<std::string>().substr(0, 6), "020002");
  Ran list = run({"sel", "list"});
  EXPECT_EQ(std::count(list.out.begin(), list.out.end(), '\n'), 2) << list.out;
  EXPECT_EQ(run({"sel", "clear"}).code, kBmcctlOk);
  EXPECT_EQ(ok({"sel", "list"})["records"].size(), 0u);
  fails({"sel", "add", "0102"}, kBmcctlUsage, "16 bytes");
  fails({"sel", "add", "zz"}, kBmcctlUsage, "16 bytes");
}

TEST_F(Bmcctl, TracesAccesses) {
  start({"one"});
  EXPECT_EQ(run({"trace", "on"}).out, "trace is on\n");
  auto port = *fleet_->attach("one/bt", "host");
  port->read(0);
  json trace = ok({"trace", "show", "--interface", "bt"});
  ASSERT_GE(trace["accesses"].size(), 1u);
  EXPECT_EQ(trace["accesses"][0]["face"], "host");
  EXPECT_NE(run({"trace", "show"}).out.find("host R CTRL="), std::string::npos);
  fails({"trace", "show", "--interface", "smic"}, kBmcctlFailed, "it has: bt, kcs");
  EXPECT_EQ(run({"trace", "off"}).code, kBmcctlOk);
}

TEST_F(Bmcctl, SavesATraceAsFourPictures) {
  start({"one"});
  ok({"trace", "on"});
  ok({"fault", "add", "cc=d5 name=busy interface=bt"});
  namespace bt = registers::bt;
  {
    auto port = *fleet_->attach("one/bt", "host");
    port->write(bt::kCtrl, bt::kClrWrPtr);
    for (uint8_t byte : {0x03, 0x18, 0x07, 0x01}) port->write(bt::kBuffer, byte);
    port->write(bt::kCtrl, bt::kH2bAtn);
    while ((port->read(bt::kCtrl) & bt::kB2hAtn) == 0) std::this_thread::yield();
  }
  const std::string base = directory_ + "/t";
  json saved = ok({"trace", "save", "--vcd", base + ".vcd", "--pcap", base + ".pcapng", "--trace-json", base + ".json", "--svg",
                   base + ".svg"});
  EXPECT_GE(saved["accesses"], 10);
  EXPECT_EQ(saved["messages"], 1);
  EXPECT_EQ(saved["left_out"].is_number(), true);
  auto content = [&](const std::string& end) {
    std::ifstream in(base + end, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  EXPECT_NE(content(".vcd").find("H2B_ATN"), std::string::npos);
  EXPECT_NE(content(".vcd").find("$scope module one $end\n$scope module bt $end"), std::string::npos);
  const std::string capture = content(".pcapng");
  EXPECT_NE(capture.find(std::string("\x1c\x01\xd5", 3)), std::string::npos);
  const std::string rule = ok({"fault", "list"})["faults"][0]["rule"];
  EXPECT_NE(capture.find("fault 1: " + rule), std::string::npos) << rule;
  json events = json::parse(content(".json"));
  EXPECT_GE(events["traceEvents"].size(), 20u);
  EXPECT_NE(content(".svg").find("Get Device ID -&gt; d5"), std::string::npos);
  // Only what was asked for.
  EXPECT_EQ(ok({"trace", "save", "--interface", "kcs", "--pcap", base + ".pcapng"})["messages"], 0);
  EXPECT_EQ(content(".pcapng").find(std::string("\x1c\x01\xd5", 3)), std::string::npos);
}

TEST_F(Bmcctl, RefusesToSaveATraceNowhereOrTwiceInOnePlace) {
  start({"one"});
  fails({"trace", "save"}, kBmcctlUsage, "expected --vcd, --pcap, --trace-json or --svg");
  fails({"trace", "save", "--vcd", "/nowhere/x"}, kBmcctlFailed, "cannot write /nowhere/x: No such file or directory");
  fails({"trace", "save", "--svg", directory_}, kBmcctlFailed, "cannot write " + directory_ + ": Is a directory");
  fails({"trace", "save", "--svg", "x", "--vcd", "x"}, kBmcctlUsage, "the VCD and the SVG are one file, x");
  fails({"trace", "save", "--svg", directory_ + "/a", "--interface", "smic"}, kBmcctlFailed, "it has: bt, kcs");
}

TEST_F(Bmcctl, SaysThatATraceIsNotWhole) {
  start({"one"});
  ok({"trace", "on"});
  auto port = *fleet_->attach("one/bt", "host");
  for (int n = 0; n < 20000; ++n) port->read(0);
  json trace = ok({"trace", "show"});
  const uint64_t missing = std::stoull(trace["accesses_left_out"].dump());
  EXPECT_GE(missing, 1u);
  EXPECT_EQ(trace["accesses"].size() + missing, 20000u);
  Ran saved = run({"trace", "save", "--vcd", directory_ + "/t.vcd"});
  EXPECT_NE(saved.out.find("the trace's bounds were met: " + std::to_string(missing) + " older accesses"), std::string::npos)
      << saved.out;
  ok({"trace", "on"});
  EXPECT_EQ(ok({"trace", "show"})["accesses_left_out"], 0);
}

TEST_F(Bmcctl, EveryCommandOfTheFirmwareHasItsNameInTraces) {
  for (const firmware::Command& command : firmware::Dispatcher::instance().commands()) {
    EXPECT_EQ(trace::command_name(command.netfn, command.cmd), command.name);
  }
}

TEST_F(Bmcctl, ShowsAndDetachesEndpoints) {
  start({"one"});
  auto port = *fleet_->attach("one/bt", "host[5]");
  json endpoints = ok({"endpoints"})["endpoints"];
  ASSERT_EQ(endpoints.size(), 1u);
  EXPECT_EQ(endpoints[0]["who"], "host[5]");
  EXPECT_EQ(endpoints[0]["id"], port->endpoint());
  EXPECT_EQ(run({"detach", std::to_string(port->endpoint()), "--reason", "tidying"}).code, kBmcctlOk);
  EXPECT_FALSE(port->link().up);
  EXPECT_NE(port->link().reason.find("tidying"), std::string::npos) << port->link().reason;
  EXPECT_EQ(ok({"endpoints"})["endpoints"].size(), 0u);
  fails({"detach", "4711"}, kBmcctlFailed, "4711");
  fails({"detach", "0"}, kBmcctlUsage, "'0'");
}

TEST_F(Bmcctl, CountsAndSaysItsVersion) {
  start({"one"});
  auto port = *fleet_->attach("one/kcs", "host");
  port->read(1);
  json stats = ok({"stats"});
  EXPECT_EQ(stats["interfaces"][1]["host_reads"], 1);
  EXPECT_EQ(stats["server"]["watchers"], 0);
  EXPECT_EQ(ok({"version"})["version"], "9.8.7");
  EXPECT_EQ(run({"version"}).out.find("bmc_emu 9.8.7"), 0u);
}

TEST_F(Bmcctl, ResetsTheBmc) {
  start({"one"});
  EXPECT_EQ(run({"reset", "warm"}).code, kBmcctlOk);
  EXPECT_EQ(run({"reset", "one", "cold"}).code, kBmcctlOk);
  fails({"reset", "hot"}, kBmcctlUsage, "'hot'");
}

TEST_F(Bmcctl, HealthSaysWhetherADaemonAnswersAndWaitsForOneThatComes) {
  Ran none = run({"health"});
  EXPECT_EQ(none.code, kBmcctlUnreachable);
  Ran late = run({"health", "--wait", "0.2"});
  EXPECT_EQ(late.code, kBmcctlUnreachable);
  EXPECT_NE(late.err.find("nobody answers at"), std::string::npos) << late.err;
  Ran waited;
  std::thread waiter([&] { waited = run({"health", "--wait", "60"}); });
  start({"a", "b"});
  waiter.join();
  EXPECT_EQ(waited.code, kBmcctlOk) << waited.err;
  EXPECT_EQ(waited.out.rfind("ok: bmc_emu 9.8.7, 2 BMCs", 0), 0u) << waited.out;
}

TEST_F(Bmcctl, NobodyThereAndWrongWordsHaveTheirOwnExitCodes) {
  fails({"list"}, kBmcctlUnreachable, "start bmc_emu");
  fails({"dance"}, kBmcctlUsage, "dance");
  fails({}, kBmcctlUsage, "subcommand is required");
  fails({"power"}, kBmcctlUsage, "see bmcctl --help");
  fails({"list", "--tls-ca", "/nowhere"}, kBmcctlUsage, "/nowhere");
  fails({"list", "--timeout", "-1"}, kBmcctlUsage, "--timeout");
  Ran help = run({"--help"});
  EXPECT_EQ(help.code, kBmcctlOk);
  EXPECT_NE(help.out.find("Exit codes"), std::string::npos);
}

// Collects what is written to it, for who waits for a line.
class Lines : public std::stringbuf {
 public:
  int sync() override {
    std::lock_guard lock(mutex_);
    seen_ += str();
    str("");
    changed_.notify_all();
    return 0;
  }
  bool wait_for(const std::string& part) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kLong, [&] { return seen_.find(part) != std::string::npos; });
  }
  std::string seen() {
    std::lock_guard lock(mutex_);
    return seen_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string seen_;
};

TEST_F(Bmcctl, WatchesWhatChanges) {
  start({"one", "two"});
  Lines lines;
  std::ostream out(&lines);
  std::ostringstream err;
  int code = -1;
  std::thread watcher([&] {
    const char* argv[] = {"bmcctl", "--address", address_.c_str(), "--json", "watch", "one"};
    code = run_bmcctl(6, argv, out, err, false);
  });
  EXPECT_TRUE(lines.wait_for("\"watching\""));
  EXPECT_EQ(run({"power", "two", "off"}).code, kBmcctlOk);
  auto port = *fleet_->attach("one/bt", "host[9]");
  EXPECT_TRUE(lines.wait_for("\"attached\""));
  EXPECT_EQ(run({"sel", "add", "one", record()}).code, kBmcctlOk);
  EXPECT_TRUE(lines.wait_for("\"sel\""));
  EXPECT_EQ(run({"power", "one", "off"}).code, kBmcctlOk);
  EXPECT_TRUE(lines.wait_for("\"power\""));
  EXPECT_EQ(lines.seen().find("\"two\""), std::string::npos);
  server_->stop();
  watcher.join();
  EXPECT_EQ(code, kBmcctlUnreachable);
  EXPECT_NE(err.str().find("stopping"), std::string::npos) << err.str();
}

TEST_F(Bmcctl, AWatcherThatDoesNotReadIsToldHowMuchItMissed) {
  start({"one"});
  auto stub = v1::Control::NewStub(grpc::CreateChannel("unix:" + address_, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  auto reader = stub->Watch(&context, v1::WatchRequest());
  v1::WatchEvent event;
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_EQ(event.kind(), "watching");
  // Far more than the stream's window and the watcher's queue hold.
  std::string who(150, 'w');
  uint64_t made = 0;
  while (server_->statistics().events_dropped == 0) {
    ASSERT_LT(made, 1000000u) << "nothing is ever dropped";
    auto port = fleet_->attach("one/bt", who);
    ASSERT_TRUE(port.ok());
    made += 2;  // attached, detached
  }
  uint64_t read = 0, dropped = 0;
  while (read + dropped < made && reader->Read(&event)) {
    if (event.kind() == "dropped") {
      EXPECT_GT(event.dropped(), 0u);
      dropped += event.dropped();
    } else if (event.kind() == "attached" || event.kind() == "detached") {
      ++read;
    }
  }
  EXPECT_GT(dropped, 0u);
  EXPECT_EQ(read + dropped, made);
  context.TryCancel();
}

TEST_F(Bmcctl, MoreWatchersThanTheBoundAreRefused) {
  start({"one"});
  auto stub = v1::Control::NewStub(grpc::CreateChannel("unix:" + address_, grpc::InsecureChannelCredentials()));
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReader<v1::WatchEvent>>> readers;
  v1::WatchEvent event;
  for (int i = 0; i < 64; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    readers.push_back(stub->Watch(contexts.back().get(), v1::WatchRequest()));
    ASSERT_TRUE(readers.back()->Read(&event));
  }
  grpc::ClientContext context;
  auto reader = stub->Watch(&context, v1::WatchRequest());
  EXPECT_FALSE(reader->Read(&event));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  for (auto& c : contexts) c->TryCancel();
  for (auto& r : readers) EXPECT_EQ(r->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(Bmcctl, AddsFaultsInTheShortFormAndFromAFileListsAndClearsThem) {
  start({"one", "two"});
  json added = ok({"fault", "add", "one", "cc=d5 netfn=6 cmd=1 count=2"})["faults"];
  ASSERT_EQ(added.size(), 1u);
  EXPECT_EQ(added[0]["id"], 1);
  EXPECT_EQ(added[0]["rule"], "cc=d5 netfn=0x06 cmd=0x01 count=2");
  EXPECT_EQ(added[0]["interfaces"], (json{"bt", "kcs"}));
  EXPECT_EQ(added[0]["remaining"], 4) << "two on each interface";
  EXPECT_EQ(ok({"fault", "add", "one", "drop=answer", "cmd=get_device_guid", "name=lost"})["faults"][0]["id"], 2);
  EXPECT_EQ(ok({"fault", "add", "one", "cc=c0 count=1", "cc=c3 count=1"})["faults"].size(), 2u);
  const std::string file = directory_ + "/rules.yaml";
  std::ofstream(file) << "faults:\n  - hold: b_busy\n    duration: 3s\n    cmd: get_device_id\n";
  EXPECT_EQ(ok({"fault", "add", "two", file})["faults"][0]["rule"], "hold=b_busy duration=3s netfn=0x06 cmd=0x01");
  EXPECT_EQ(ok({"fault", "list"})["faults"].size(), 5u);
  EXPECT_EQ(ok({"fault", "list", "two"})["faults"].size(), 1u);
  Ran table = run({"fault", "list", "one"});
  EXPECT_NE(table.out.find("drop=answer netfn=0x06 cmd=0x08 name=lost"), std::string::npos) << table.out;
  EXPECT_EQ(ok({"fault", "clear", "one", "1", "3"})["cleared"], 2);
  fails({"fault", "clear", "one", "1"}, kBmcctlFailed, "BMC one has no fault rule 1");
  EXPECT_EQ(ok({"fault", "clear", "one"})["cleared"], 2);
  EXPECT_EQ(ok({"fault", "clear", "all"})["cleared"], 1) << "of every BMC";
  EXPECT_TRUE(ok({"fault", "list"})["faults"].empty());
}

TEST_F(Bmcctl, FaultsThatAreWrongAreRefusedAndNoneOfThemIsAdded) {
  start({"one"});
  fails({"fault", "add", "cc=zz"}, kBmcctlFailed, "rule:1:4: faults[0].cc: expected hexadecimal bytes");
  fails({"fault", "add", "one", "cc=d5 count=1", "bmc=error interface=bt"}, kBmcctlFailed,
        "no interface that can meet this rule");
  fails({"fault", "add", "three", "cc=d5"}, kBmcctlFailed, "three");
  fails({"fault", "add", "one", "two", "cc=d5"}, kBmcctlUsage, "expected KEY=VALUE");
  fails({"fault", "add", "/nowhere.yaml"}, kBmcctlUsage, "cannot read /nowhere.yaml");
  fails({"fault", "clear", "one", "x"}, kBmcctlUsage, "expected ids");
  EXPECT_TRUE(ok({"fault", "list"})["faults"].empty());
}

TEST_F(Bmcctl, AFaultThatFiredIsWatchedTracedAndCounted) {
  start({"one"});
  ok({"trace", "on"});
  ok({"fault", "add", "read_value=ff name=gone count=1 interface=bt"});
  json event;
  std::thread watcher([&] {
    Ran ran = run({"watch", "--json", "--count", "3"});  // attached, fault, detached
    std::istringstream lines(ran.out);
    for (std::string line; std::getline(lines, line);) {
      json each = json::parse(line);
      if (each["kind"] == "fault") event = each;
    }
  });
  while (ok({"stats"})["server"]["watchers"] == 0) std::this_thread::yield();
  {
    auto port = fleet_->attach("one/bt", "test");
    ASSERT_TRUE(port.ok());
    EXPECT_EQ((*port)->read(0), 0xff);
    EXPECT_EQ((*port)->read(0), 0x00);
  }
  watcher.join();
  ASSERT_FALSE(event.is_null());
  EXPECT_EQ(event["value"], 1);
  EXPECT_EQ(event["interface"], "bt");
  EXPECT_NE(event["text"].get<std::string>().find("gone: read_value=ff, at read of register 0"), std::string::npos);
  json trace = ok({"trace", "show"});
  EXPECT_EQ(trace["accesses"][0]["fault"], 1);
  EXPECT_EQ(trace["accesses"][0]["offset"], 0xffff);
  EXPECT_EQ(trace["accesses"][1]["fault"], 1);
  EXPECT_EQ(trace["accesses"][1]["value"], 0xff);
  Ran shown = run({"trace", "show"});
  EXPECT_NE(shown.out.find("fault 1 fires"), std::string::npos) << shown.out;
  EXPECT_EQ(ok({"stats"})["interfaces"][0]["faults"], 1);
  EXPECT_EQ(ok({"fault", "list"})["faults"][0]["fired"], 1);
  EXPECT_EQ(ok({"fault", "list"})["faults"][0]["over"], true);
}

}  // namespace
}  // namespace bmcpair::daemon
