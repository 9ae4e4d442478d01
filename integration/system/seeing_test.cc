// The traces of programs that run, as their readers see them: tshark, GTKWave's converters, python.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "integration/system/process.h"

namespace bmcpair::integration {
namespace {

std::string content_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) out.push_back(line);
  return out;
}

// Of each request: command, and completion code of the response that tshark finds to be its own.
struct Pair {
  std::string command;
  std::string completion;  // empty: unanswered
  bool operator==(const Pair&) const = default;
};

struct Capture {
  std::vector<Pair> pairs;
  std::vector<std::string> texts;
  size_t unmatched_responses = 0;
};

Capture tshark(const TemporaryFolder& folder, const std::string& path) {
  Finished run = integration::run({"tshark", "-2", "-o", "ipmi.dissect_bus_commands:TRUE", "-r", path, "-T", "json", "-e", "frame.number",
                                   "-e", "ipmi.trace.packet.type", "-e", "ipmi.header.netfn", "-e", "ipmi.header.command", "-e",
                                   "ipmi.header.completion", "-e", "ipmi.response_to", "-e", "_ws.col.Info"},
                                  {"WIRESHARK_CONFIG_DIR=" + (folder / "no-preferences"), "LC_ALL=C.UTF-8"});
  EXPECT_EQ(run.status, 0) << run.err << "tshark is a package of its own";
  Capture capture;
  std::map<std::string, size_t> by_frame;
  for (const auto& packet : nlohmann::json::parse(run.out)) {
    const auto& layers = packet["_source"]["layers"];
    auto field = [&](const char* name) { return layers.contains(name) ? layers[name][0].get<std::string>() : std::string(); };
    if (field("ipmi.trace.packet.type") == "2") capture.texts.push_back(field("_ws.col.Info"));
    if (field("ipmi.header.netfn").empty()) continue;
    if (std::stoi(field("ipmi.header.netfn"), nullptr, 16) % 2 == 0) {
      by_frame[field("frame.number")] = capture.pairs.size();
      capture.pairs.push_back({field("ipmi.header.command"), ""});
    } else if (by_frame.contains(field("ipmi.response_to"))) {
      capture.pairs[by_frame[field("ipmi.response_to")]].completion = field("ipmi.header.completion");
    } else {
      ++capture.unmatched_responses;
    }
  }
  return capture;
}

// How often each signal of a waveform changes, by its path.
std::map<std::string, size_t> changes_of(const TemporaryFolder& folder, const std::string& path) {
  const std::string fst = folder / "converted.fst";
  Finished there = run({"vcd2fst", "-v", path, "-f", fst});
  EXPECT_EQ(there.status, 0) << there.err << "vcd2fst is of the package gtkwave";
  Finished back = run({"fst2vcd", "-f", fst});
  EXPECT_EQ(back.status, 0) << back.err;
  std::map<std::string, size_t> changes;
  std::map<std::string, std::string> paths;
  std::vector<std::string> scopes;
  bool body = false;
  for (const std::string& line : lines_of(back.out)) {
    std::istringstream words(line);
    std::string word, type, width, code, name;
    words >> word >> type;
    if (word == "$scope") scopes.push_back((words >> name, name));
    if (word == "$upscope") scopes.pop_back();
    if (word == "$var") {
      words >> width >> code >> name;
      for (size_t i = scopes.size(); i-- > 0;) name = scopes[i] + "." + name;
      paths[code] = name;
      changes[name] = 0;
    }
    if (word == "$enddefinitions") body = true;
    if (!body || line.empty() || line[0] == '#' || line[0] == '$') continue;
    const bool wide = line[0] == 'b' || line[0] == 's';
    ++changes[paths[wide ? line.substr(line.rfind(' ') + 1) : line.substr(1)]];
  }
  return changes;
}

const char* kOneBmc = R"(
bmcs:
  - name: demo
    interfaces:
      - {name: bt, kind: bt}
      - {name: kcs, kind: kcs}
)";

class Seeing : public ::testing::Test {
 protected:
  void SetUp() override { write_file(config_, kOneBmc); }
  std::vector<std::string> driver(const std::string& bus, std::vector<std::string> more) const {
    std::vector<std::string> argv{program("host_driver"), "--bus", bus};
    argv.insert(argv.end(), more.begin(), more.end());
    return argv;
  }

  TemporaryFolder folder_;
  const std::string config_ = folder_ / "bmc.yaml";
};

TEST_F(Seeing, ADriversCaptureHasEveryRequestOfItsBringUpWithItsResponse) {
  for (const char* interface : {"demo/bt", "demo/kcs"}) {
    SCOPED_TRACE(interface);
    const std::string capture = folder_ / "a.pcapng";
    Finished ran = run(driver("in-process:" + config_ + "#" + interface, {"--trace-pcap", capture, "raw", "6", "0x77"}));
    EXPECT_EQ(ran.status, 4) << ran.err;  // there is no such command
    const Capture seen = tshark(folder_, capture);
    ASSERT_GE(seen.pairs.size(), 8u);
    EXPECT_EQ(seen.unmatched_responses, 0u);
    auto has = [&](const Pair& pair) { return std::find(seen.pairs.begin(), seen.pairs.end(), pair) != seen.pairs.end(); };
    EXPECT_TRUE(has({"0x01", "0x00"}));  // Get Device ID
    EXPECT_TRUE(has({"0x2e", "0x00"}));  // Set BMC Global Enables
    EXPECT_TRUE(has({"0x77", "0xc1"}));
    // Whatever the driver began before it was told to end.
    for (size_t i = 0; i + 1 < seen.pairs.size(); ++i) EXPECT_NE(seen.pairs[i].completion, "") << seen.pairs[i].command;
    EXPECT_FALSE(seen.texts.empty()) << "the machine's steps";
  }
}

TEST_F(Seeing, ADriversWaveformTraceEventsAndLadderAreReadByTheirReaders) {
  const std::string vcd = folder_ / "a.vcd", json = folder_ / "a.json", svg = folder_ / "a.svg";
  Finished ran = run(driver("in-process:" + config_ + "#demo/bt,in-process:" + config_ + "#demo/kcs",
                            {"--trace-vcd", vcd, "--trace-json", json, "--trace-svg", svg, "info"}));
  ASSERT_EQ(ran.status, 0) << ran.err;
  auto changes = changes_of(folder_, vcd);
  for (const char* signal : {"bmcpair.demo.bt.B2H_ATN", "bmcpair.demo.bt.H_BUSY", "bmcpair.demo.bt.h2b_wr_ptr", "bmcpair.demo.bt.IRQ",
                             "bmcpair.demo.bt.b2h_rd_ptr", "bmcpair.demo.bt.B2H_IRQ_EN", "bmcpair.demo.bt.request",
                             "bmcpair.demo.kcs_2.OBF", "bmcpair.demo.kcs_2.state", "bmcpair.demo.kcs_2.response"}) {
    EXPECT_GE(changes[signal], 2u) << signal;
  }
  EXPECT_NE(content_of(json).find("Get Device ID -> 00"), std::string::npos);
  EXPECT_TRUE(nlohmann::json::accept(content_of(json)));
  Finished parsed = run({"python3", "-c", "import sys, xml.etree.ElementTree as E; print(E.parse(sys.argv[1]).getroot().tag)", svg});
  EXPECT_EQ(parsed.out, "{http://www.w3.org/2000/svg}svg\n") << parsed.err;
  EXPECT_NE(content_of(svg).find("Get Device ID -&gt; 00"), std::string::npos);
}

TEST_F(Seeing, WhatTheDaemonSavesHasBothFacesFaultsAndPairs) {
  Daemon daemon(folder_, config_);
  ASSERT_EQ(daemon.ctl({"trace", "on"}).status, 0);
  ASSERT_EQ(daemon.ctl({"fault", "add", "cc=d5 cmd=get_device_guid count=1 interface=bt"}).status, 0);
  Finished ran = run(driver(daemon.bus("demo/bt"), {"info"}));
  ASSERT_EQ(ran.status, 0) << ran.err;
  const std::string capture = folder_ / "d.pcapng", vcd = folder_ / "d.vcd";
  Finished saved = daemon.ctl({"trace", "save", "--pcap", capture, "--vcd", vcd});
  ASSERT_EQ(saved.status, 0) << saved.err;
  const Capture seen = tshark(folder_, capture);
  EXPECT_EQ(seen.unmatched_responses, 0u);
  size_t refused = 0;
  for (const Pair& pair : seen.pairs) {
    refused += pair == Pair{"0x08", "0xd5"} ? 1 : 0;
    EXPECT_NE(pair.completion, "") << pair.command;
  }
  EXPECT_EQ(refused, 1u);
  size_t faults = 0;
  for (const std::string& text : seen.texts) faults += text.starts_with("fault 1: ") ? 1 : 0;
  EXPECT_EQ(faults, 1u);
  auto changes = changes_of(folder_, vcd);
  for (const char* signal : {"bmcpair.demo.bt.B_BUSY", "bmcpair.demo.bt.H2B_ATN", "bmcpair.demo.bt.B2H_ATN", "bmcpair.demo.bt.IRQ",
                             "bmcpair.demo.bt.h2b_wr_ptr", "bmcpair.demo.bt.h2b_rd_ptr", "bmcpair.demo.bt.b2h_wr_ptr",
                             "bmcpair.demo.bt.b2h_rd_ptr", "bmcpair.demo.bt.bmc_strobe", "bmcpair.demo.bt.host_strobe"}) {
    EXPECT_GE(changes[signal], 4u) << signal;
  }
  EXPECT_EQ(changes["bmcpair.demo.bt.fault_strobe"], 1u);
}

TEST_F(Seeing, AnInterruptedDriverHasWrittenItsFilesWhole) {
  Daemon daemon(folder_, config_);
  // The BMC answers nothing: bringing the interface up goes on and on.
  ASSERT_EQ(daemon.ctl({"fault", "add", "drop=answer interface=bt"}).status, 0);
  const std::string capture = folder_ / "i.pcapng", svg = folder_ / "i.svg";
  Process process(driver(daemon.bus("demo/bt"), {"--timeout", "600", "--trace", "--trace-pcap", capture, "--trace-svg", svg, "info"}));
  ASSERT_TRUE(process.wait_for_output("RD_WAIT")) << process.err();
  process.signal(SIGINT);
  EXPECT_EQ(process.wait(), 128 + SIGINT);
  EXPECT_NE(process.err().find("interrupted; what was recorded until now is written"), std::string::npos) << process.err();
  const Capture seen = tshark(folder_, capture);
  ASSERT_GE(seen.pairs.size(), 1u);
  EXPECT_EQ(seen.pairs.back().completion, "");
  EXPECT_TRUE(content_of(svg).ends_with("</svg>\n"));
}

TEST_F(Seeing, AnInterruptedWatchWritesItsFilesToo) {
  const std::string json = folder_ / "w.json";
  Process process(driver("in-process:" + config_ + "#demo/kcs", {"--trace-json", json, "watch"}));
  ASSERT_TRUE(process.wait_for_output("watching 1 interface")) << process.err();
  process.signal(SIGTERM);
  EXPECT_EQ(process.wait(), 0) << process.err();
  EXPECT_TRUE(nlohmann::json::accept(content_of(json)));
  EXPECT_NE(content_of(json).find("Get Device ID -> 00"), std::string::npos);
}

TEST_F(Seeing, ABoundThatWasMetIsSaid) {
  const std::string capture = folder_ / "b.pcapng";
  Finished ran = run(driver("in-process:" + config_ + "#demo/kcs", {"--trace-events", "50", "--trace-pcap", capture, "info"}));
  EXPECT_EQ(ran.status, 0);
  EXPECT_NE(ran.err.find("the trace's bound of 50 events was met: "), std::string::npos) << ran.err;
  const Capture seen = tshark(folder_, capture);
  ASSERT_FALSE(seen.texts.empty());
  EXPECT_TRUE(seen.texts[0].starts_with("the recording's bound was met: ")) << seen.texts[0];
}

TEST_F(Seeing, AFileThatCannotBeWrittenEndsTheCommandBeforeItBegins) {
  const std::string bus = "in-process:" + config_ + "#demo/kcs";
  Finished nowhere = run(driver(bus, {"--trace-vcd", "/nowhere/x.vcd", "info"}));
  EXPECT_EQ(nowhere.status, 1);
  EXPECT_EQ(nowhere.err, "host_driver: cannot write /nowhere/x.vcd: No such file or directory\n");
  EXPECT_EQ(nowhere.out, "");
  Finished twice = run(driver(bus, {"--trace-vcd", folder_ / "x", "--trace-svg", folder_ / "x", "info"}));
  EXPECT_EQ(twice.status, 2);
  EXPECT_NE(twice.err.find("the VCD and the SVG are one file"), std::string::npos) << twice.err;
  EXPECT_EQ(run(driver(bus, {"--trace-events", "0", "info"})).status, 2);
}

}  // namespace
}  // namespace bmcpair::integration
