#include "proto/trace/outputs.h"

#include <gtest/gtest.h>

#include <map>

#include "proto/trace/names.h"
#include "proto/trace/testing.h"
#include "proto/trace/text.h"

namespace bmcpair::trace {

TEST(Outputs, OnlyWhatIsWantedIsMadeEachWhole) {
  std::map<std::string, std::string> written;
  auto write = [&](const std::string& path, std::string_view content) {
    written[path] = content;
    return Status();
  };
  EXPECT_FALSE(Outputs{}.any());
  EXPECT_TRUE(write_outputs(test::two_interfaces().trace, {}, write).ok());
  EXPECT_TRUE(written.empty());
  EXPECT_TRUE(write_outputs(test::two_interfaces().trace, {.vcd = "a", .pcap = "b", .trace_json = "c", .svg = "d"}, write).ok());
  ASSERT_EQ(written.size(), 4u);
  EXPECT_EQ(written["a"].substr(0, 8), "$version");
  EXPECT_EQ(to_hex({reinterpret_cast<const uint8_t*>(written["b"].data()), 4}), "0a 0d 0d 0a");
  EXPECT_EQ(written["c"].substr(0, 1), "{");
  EXPECT_EQ(written["d"].substr(0, 5), "<?xml");
}

TEST(Outputs, AFileThatCannotBeWrittenDoesNotStopTheOthersAndIsReported) {
  std::vector<std::string> tried;
  auto write = [&](const std::string& path, std::string_view) -> Status {
    tried.push_back(path);
    if (path == "b") return Error{ErrorCode::kIo, "b: no room"};
    if (path == "c") return Error{ErrorCode::kIo, "c: no room"};
    return {};
  };
  Status done = write_outputs({}, {.vcd = "a", .pcap = "b", .trace_json = "c", .svg = "d"}, write);
  EXPECT_EQ(tried, (std::vector<std::string>{"a", "b", "c", "d"}));
  ASSERT_FALSE(done.ok());
  EXPECT_EQ(done.error().message, "b: no room");
}

TEST(Outputs, TwoOfThemMayNotBeOneFile) {
  EXPECT_TRUE(check({}).ok());
  EXPECT_TRUE(check({.vcd = "a", .pcap = "b", .trace_json = "c", .svg = "d"}).ok());
  Status same = check({.vcd = "a", .pcap = "b", .trace_json = "c", .svg = "a"});
  ASSERT_FALSE(same.ok());
  EXPECT_EQ(same.error().message, "the VCD and the SVG are one file, a");
}

TEST(Recorder, KeepsTheNewestEventsAndCountsTheOthers) {
  Recorder recorder(3);
  const InterfaceId i = recorder.add_interface("kcs", registers::InterfaceKind::kKcs);
  for (int n = 0; n < 10; ++n) recorder.add({test::at_us(n), i, "", InterruptLine{n % 2 == 1}});
  const Trace trace = recorder.trace("t", 5);
  EXPECT_EQ(trace.left_out, 7u);
  ASSERT_EQ(trace.events.size(), 3u);
  EXPECT_EQ(trace.events[0].at, test::at_us(7));
  EXPECT_EQ(trace.interfaces.size(), 1u);
  EXPECT_EQ(trace.unix_epoch_ns, 5);
}

TEST(Recorder, RefusesInterfacesBeyondItsBound) {
  Recorder recorder;
  for (size_t n = 0; n < kInterfacesMax; ++n) EXPECT_NE(recorder.add_interface("i", registers::InterfaceKind::kBt), kNoInterface);
  EXPECT_EQ(recorder.add_interface("one more", registers::InterfaceKind::kBt), kNoInterface);
}

TEST(Names, AreThoseOfTheSpecification) {
  EXPECT_EQ(command_name(0x06, 0x01), "Get Device ID");
  EXPECT_EQ(command_name(0x07, 0x01), "Get Device ID");
  EXPECT_EQ(command_name(0x00, 0x00), "Get Chassis Capabilities");
  EXPECT_EQ(command_name(0x0c, 0x04), "Get IP/UDP/RMCP Statistics");
  EXPECT_EQ(command_name(0x30, 0x05), "NetFn 30 Cmd 05");
  EXPECT_EQ(flags_text(registers::InterfaceKind::kKcs, 0x8b), "WRITE C/D IBF OBF");
  EXPECT_EQ(flags_text(registers::InterfaceKind::kBt, 0), "-");
  EXPECT_EQ(flags_text(registers::InterfaceKind::kBt, 0xfc), "B_BUSY H_BUSY OEM0 SMS_ATN B2H_ATN H2B_ATN");
  using registers::InterfaceKind;
  EXPECT_EQ(register_name(InterfaceKind::kKcs, {Side::kHost, true, 1, 0x61, {}, {}, 0}), "COMMAND");
  EXPECT_EQ(register_name(InterfaceKind::kKcs, {Side::kBmc, true, 1, 0x61, {}, {}, 0}), "STATUS");
  EXPECT_EQ(register_name(InterfaceKind::kBt, {Side::kBmc, false, 1, 0, {}, {}, 0}), "HOST2BMC");
  EXPECT_EQ(register_name(InterfaceKind::kBt, {Side::kHost, false, 1, 0, {}, {}, 0}), "BMC2HOST");
  EXPECT_EQ(register_name(InterfaceKind::kSmic, {Side::kHost, false, 1, 0, {}, {}, 0}), "STATUS");
  EXPECT_EQ(register_name(InterfaceKind::kSmic, {Side::kHost, true, 7, 0, {}, {}, 0}), "register 7");
  EXPECT_EQ(value_text(InterfaceKind::kSmic, {Side::kHost, true, 1, 0x41, {}, {}, 0}), "WR_START");
}

TEST(TraceText, OnlyWellFormedPrintableUtf8GoesThrough) {
  EXPECT_EQ(clean_utf8("a\u00e4\u20ac\U0001f41b"), "a\u00e4\u20ac\U0001f41b");
  EXPECT_EQ(clean_utf8("\xc0\xaf\xed\xa0\x80\xf5\x80\x80\x80\xe2\x82"), "???????" "????");
  EXPECT_EQ(clean_utf8("\x1b[31m\n\x7f"), "?[31m ?");
  EXPECT_EQ(clean_utf8("\xef\xbf\xbf\xc2\x85"), "?????");
  EXPECT_EQ(json_string("a\"\\\n"), "\"a\\\"\\\\ \"");
  EXPECT_EQ(xml_text("<&>\""), "&lt;&amp;&gt;&quot;");
  EXPECT_EQ(shortened("a\u00e4\u00e4\u00e4b", 5), "a\u00e4\u00e4\u00e4b");
  EXPECT_EQ(shortened("a\u00e4\u00e4\u00e4b", 3), "a\u00e4\u2026");
}

}  // namespace bmcpair::trace
