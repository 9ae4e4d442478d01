// Waveforms as GTKWave's own converters read them: VCD to FST and back, and only that is looked at.
#include "proto/trace/vcd.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "proto/registers/smic.h"
#include "proto/trace/testing.h"

namespace bmcpair::trace {
namespace {

using test::Story;
using Change = std::pair<uint64_t, std::string>;

struct Waveform {
  std::string timescale;
  std::map<std::string, std::vector<Change>> signals;  // "bmcpair.demo.bt.B_BUSY": what it became, and when
  bool ok = false;

  std::vector<Change> of(const std::string& path) const {
    auto it = signals.find(path);
    EXPECT_NE(it, signals.end()) << path;
    return it == signals.end() ? std::vector<Change>() : it->second;
  }
};

Waveform through_gtkwave(const std::string& vcd_text) {
  Waveform wave;
  test::Folder folder;
  const std::string vcd_path = folder.write("a.vcd", vcd_text);
  test::Ran to_fst = test::run("vcd2fst -v " + vcd_path + " -f " + (folder / "a.fst") + " 2>&1");
  EXPECT_EQ(to_fst.status, 0) << to_fst.out << "vcd2fst is of the package gtkwave";
  test::Ran back = test::run("fst2vcd -f " + (folder / "a.fst") + " 2>&1");
  EXPECT_EQ(back.status, 0) << back.out;
  std::vector<std::string> scopes;
  std::map<std::string, std::string> paths;  // by code
  uint64_t now = 0;
  const std::vector<std::string> lines = test::lines_of(back.out);
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string& line = lines[i];
    std::istringstream words(line);
    std::string word, type, width, code, name;
    words >> word;
    if (word == "$timescale") wave.timescale = lines[i + 1];
    if (word == "$scope") {
      words >> type >> name;
      scopes.push_back(name);
    } else if (word == "$upscope") {
      scopes.pop_back();
    } else if (word == "$var") {
      words >> type >> width >> code >> name;
      std::string path;
      for (const std::string& scope : scopes) path += scope + ".";
      paths[code] = path + name;
      wave.signals[path + name];
    } else if (word == "$enddefinitions") {
      wave.ok = true;
    } else if (wave.ok && line[0] == '#') {
      now = std::stoull(line.substr(1));
    } else if (wave.ok && (line[0] == 'b' || line[0] == 's')) {
      const size_t blank = line.rfind(' ');
      wave.signals[paths[line.substr(blank + 1)]].push_back({now, line.substr(1, blank - 1)});
    } else if (wave.ok && !line.empty() && line[0] != '$') {
      wave.signals[paths[line.substr(1)]].push_back({now, line.substr(0, 1)});
    }
  }
  wave.timescale.erase(0, wave.timescale.find_first_not_of(" \t"));
  return wave;
}

uint64_t number(const std::string& bits) { return std::stoull(bits, nullptr, 2); }

std::vector<Change> as_numbers(std::vector<Change> changes) {
  for (Change& change : changes) {
    if (change.second.find('x') == std::string::npos) change.second = std::to_string(number(change.second));
  }
  return changes;
}

}  // namespace

TEST(Vcd, EveryFlagOfBtChangesByItsNameWhenTheAccessDidIt) {
  const Waveform wave = through_gtkwave(vcd(test::two_interfaces().trace));
  EXPECT_EQ(wave.timescale, "1ns");
  EXPECT_EQ(wave.of("bmcpair.demo.bt.H2B_ATN"), (std::vector<Change>{{0, "x"}, {1, "0"}, {3000, "1"}, {11000, "0"}}));
  EXPECT_EQ(wave.of("bmcpair.demo.bt.B_BUSY"), (std::vector<Change>{{0, "x"}, {1, "0"}, {10000, "1"}, {20000, "0"}}));
  EXPECT_EQ(wave.of("bmcpair.demo.bt.B2H_ATN"), (std::vector<Change>{{0, "x"}, {1, "0"}, {20000, "1"}}));
  EXPECT_EQ(wave.of("bmcpair.demo.bt.IRQ"), (std::vector<Change>{{0, "x"}, {1, "0"}, {20000, "1"}}));
  EXPECT_EQ(wave.of("bmcpair.demo.bt.B2H_IRQ_EN"), (std::vector<Change>{{0, "x"}, {1, "1"}}));
  for (const char* flag : {"H_BUSY", "OEM0", "SMS_ATN"}) {
    EXPECT_EQ(wave.of(std::string("bmcpair.demo.bt.") + flag), (std::vector<Change>{{0, "x"}, {1, "0"}})) << flag;
  }
}

TEST(Vcd, EveryInterfaceIsAScopeOfItsBmcAndKcsHasItsState) {
  const Waveform wave = through_gtkwave(vcd(test::two_interfaces().trace));
  EXPECT_EQ(wave.of("bmcpair.demo.kcs.IBF"), (std::vector<Change>{{0, "x"}, {30001, "1"}, {31000, "0"}}));
  EXPECT_EQ(wave.of("bmcpair.demo.kcs.C_D"), (std::vector<Change>{{0, "x"}, {30001, "1"}, {31000, "0"}}));
  EXPECT_EQ(as_numbers(wave.of("bmcpair.demo.kcs.state")), (std::vector<Change>{{0, "xx"}, {30001, "0"}, {31000, "2"}}));
  EXPECT_EQ(wave.of("bmcpair.demo.kcs.state_name").back().second, "WRITE");
  for (const char* flag : {"OBF", "SMS_ATN", "OEM1", "OEM2"}) {
    EXPECT_EQ(wave.of(std::string("bmcpair.demo.kcs.") + flag).back().second, "0") << flag;
  }
}

TEST(Vcd, AllFlagsOfSmicHaveTheirNames) {
  namespace smic = registers::smic;
  const std::pair<uint8_t, const char*> flags[] = {{smic::kRxDataReady, "RX_DATA_RDY"}, {smic::kTxDataReady, "TX_DATA_RDY"},
                                                   {smic::kSmi, "SMI"},                 {smic::kEvtAtn, "EVT_ATN"},
                                                   {smic::kSmsAtn, "SMS_ATN"},          {smic::kBusy, "BUSY"}};
  Story story;
  const InterfaceId i = story.interface("smic", registers::InterfaceKind::kSmic);
  int64_t at = 0;
  for (const auto& [bit, name] : flags) story.host(++at, i, false, smic::kFlags, bit, bit);
  const Waveform wave = through_gtkwave(vcd(story.trace));
  for (const auto& [bit, name] : flags) {
    size_t ones = 0;
    for (const Change& change : wave.of(std::string("bmcpair.smic.") + name)) ones += change.second == "1" ? 1 : 0;
    EXPECT_EQ(ones, 1u) << name;
  }
}

TEST(Vcd, FifoPointersAreUnknownUntilTheirOwnerRewindsThem) {
  const Waveform wave = through_gtkwave(vcd(test::two_interfaces().trace));
  EXPECT_EQ(as_numbers(wave.of("bmcpair.demo.bt.h2b_wr_ptr")),
            (std::vector<Change>{{0, "xxxxxxxxx"}, {1000, "0"}, {2000, "1"}, {2001, "2"}, {2002, "3"}, {2003, "4"}}));
  EXPECT_EQ(as_numbers(wave.of("bmcpair.demo.bt.h2b_rd_ptr")),
            (std::vector<Change>{{0, "xxxxxxxxx"}, {11000, "0"}, {12000, "1"}, {12001, "2"}, {12002, "3"}, {12003, "4"}}));
  EXPECT_EQ(wave.of("bmcpair.demo.bt.b2h_wr_ptr"), (std::vector<Change>{{0, "xxxxxxxxx"}}));
  EXPECT_EQ(wave.of("bmcpair.demo.bt.b2h_rd_ptr"), (std::vector<Change>{{0, "xxxxxxxxx"}}));
}

TEST(Vcd, AReadPointerStopsAtTheWritePointerAndAWritePointerAtTheEndOfTheBuffer) {
  namespace bt = registers::bt;
  Story story;
  const InterfaceId i = story.interface("bt", registers::InterfaceKind::kBt);
  story.host(1, i, true, bt::kCtrl, bt::kClrWrPtr, 0).bmc(2, i, true, bt::kCtrl, bt::kClrRdPtr, 0);
  for (int n = 0; n < 300; ++n) story.host(3, i, true, bt::kBuffer, 0xaa, 0);
  for (int n = 0; n < 300; ++n) story.bmc(4, i, false, bt::kBuffer, 0xaa, 0);
  const Waveform wave = through_gtkwave(vcd(story.trace));
  EXPECT_EQ(number(wave.of("bmcpair.bt.h2b_wr_ptr").back().second), 256u);
  EXPECT_EQ(number(wave.of("bmcpair.bt.h2b_rd_ptr").back().second), 256u);
}

TEST(Vcd, APointerThatAFaultTouchedIsUnknownAgain) {
  namespace bt = registers::bt;
  Story story;
  const InterfaceId i = story.interface("bt", registers::InterfaceKind::kBt);
  story.host(1, i, true, bt::kCtrl, bt::kClrWrPtr, 0).host(2, i, true, bt::kBuffer, 1, 0);
  story.add(3, i, Access{Side::kHost, true, bt::kBuffer, 2, uint8_t{0}, false, 9});
  const Waveform wave = through_gtkwave(vcd(story.trace));
  EXPECT_EQ(as_numbers(wave.of("bmcpair.bt.h2b_wr_ptr")).back(), (Change{2000, "xxxxxxxxx"}));
  EXPECT_EQ(number(wave.of("bmcpair.bt.fault").back().second), 9u);
}

TEST(Vcd, NoChangeOfOneInstantHidesAnother) {
  namespace bt = registers::bt;
  Story story;
  const InterfaceId i = story.interface("bt", registers::InterfaceKind::kBt);
  for (int n = 0; n < 50; ++n) story.bmc(7, i, true, bt::kCtrl, bt::kBBusy, n % 2 == 0 ? bt::kBBusy : 0, n % 2 == 0);
  for (bool microseconds : {false, true}) {
    const Waveform wave = through_gtkwave(vcd(story.trace, {microseconds}));
    EXPECT_EQ(wave.of("bmcpair.bt.B_BUSY").size(), 51u);
    EXPECT_EQ(wave.of("bmcpair.bt.IRQ").size(), 51u);
    EXPECT_EQ(wave.of("bmcpair.bt.bmc_strobe").size(), 50u);
  }
}

TEST(Vcd, TheTimeScaleMayBeMicroseconds) {
  const Waveform wave = through_gtkwave(vcd(test::two_interfaces().trace, {.microseconds = true}));
  EXPECT_EQ(wave.timescale, "1us");
  EXPECT_EQ(wave.of("bmcpair.demo.bt.B2H_ATN").back(), (Change{20, "1"}));
}

TEST(Vcd, EventsComeInTheOrderOfTimeWhateverTheOrderOfTheList) {
  Story story = test::two_interfaces();
  const std::string sorted = vcd(story.trace);
  std::stable_partition(story.trace.events.begin(), story.trace.events.end(),
                        [](const Event& e) { return std::holds_alternative<Message>(e.what); });
  // A message and an access of one instant keep the list's order; the waveforms agree on everything else.
  EXPECT_EQ(through_gtkwave(vcd(story.trace)).of("bmcpair.demo.bt.B2H_ATN"), through_gtkwave(sorted).of("bmcpair.demo.bt.B2H_ATN"));
}

TEST(Vcd, MessagesFaultsNotesAndTasksAreThere) {
  const Waveform wave = through_gtkwave(vcd(test::two_interfaces().trace));
  EXPECT_EQ(wave.of("bmcpair.demo.bt.request").back(), (Change{3001, "Get\\040Device\\040ID:\\04018\\04001"}));
  EXPECT_EQ(wave.of("bmcpair.demo.bt.response").back().second, "Get\\040Device\\040ID\\040->\\040d5:\\0401c\\04001\\040d5");
  EXPECT_EQ(number(wave.of("bmcpair.demo.bt.fault").back().second), 7u);
  EXPECT_EQ(wave.of("bmcpair.demo.bt.fault_strobe").size(), 1u);
  EXPECT_EQ(wave.of("bmcpair.tasks.timer"), (std::vector<Change>{{0, "x"}, {52000, "1"}, {57000, "0"}}));
  EXPECT_EQ(wave.of("bmcpair.story.step").back().second, "timer:\\040the\\040timer\\040goes\\040on");
  EXPECT_EQ(wave.of("bmcpair.story.error").back().second, "exactly-once:\\040two\\040answers");
}

TEST(Vcd, GlobalEnablesAreWhatTheBmcHasAcceptedOrSaid) {
  Story story;
  const InterfaceId i = story.interface("kcs", registers::InterfaceKind::kKcs);
  story.request(1, i, {0x18, 0x2e, 0x0f}).response(2, i, {0x1c, 0x2e, 0xcc});
  story.request(3, i, {0x18, 0x2e, 0x0b}).response(4, i, {0x1c, 0x2e, 0x00});
  story.request(5, i, {0x18, 0x2f}).response(6, i, {0x1c, 0x2f, 0x00, 0x09});
  const Waveform wave = through_gtkwave(vcd(story.trace));
  EXPECT_EQ(as_numbers(wave.of("bmcpair.kcs.global_enables")),
            (std::vector<Change>{{0, "xxxxxxxx"}, {3000, "11"}, {5000, "9"}}));
}

TEST(Vcd, TheInterruptLineMayBeSeenApartFromAccesses) {
  Story story;
  const InterfaceId i = story.interface("kcs", registers::InterfaceKind::kKcs);
  story.add(1, i, InterruptLine{false}).add(2, i, InterruptLine{true}).add(3, i, InterruptLine{false});
  EXPECT_EQ(through_gtkwave(vcd(story.trace)).of("bmcpair.kcs.IRQ"),
            (std::vector<Change>{{0, "x"}, {1, "0"}, {1000, "1"}, {2000, "0"}}));
}

TEST(Vcd, HardTracesAreWaveformsAllTheSame) {
  for (const auto& [name, trace] : test::hard_traces()) {
    SCOPED_TRACE(name);
    const std::string text = vcd(trace);
    EXPECT_TRUE(through_gtkwave(text).ok);
    EXPECT_EQ(text.find("older events are missing") != std::string::npos, trace.left_out > 0);
    uint64_t last = 0;
    for (const std::string& line : test::lines_of(text)) {
      if (line.empty() || line[0] != '#') continue;
      const uint64_t time = std::stoull(line.substr(1));
      EXPECT_GE(time, last);
      last = time;
    }
  }
}

}  // namespace bmcpair::trace
