// Captures as tshark reads them.
#include "proto/trace/pcap.h"

#include <gtest/gtest.h>

#include "proto/trace/testing.h"

namespace bmcpair::trace {
namespace {

using test::Story;

// tshark's answer, a line each. In two passes: a request knows its response only in the second. Nobody's own preferences count; the KCS dissector shows bare bytes unless it is told to.
std::vector<std::string> tshark(const std::string& capture, const std::string& arguments) {
  test::Folder folder;
  const std::string path = folder.write("a.pcapng", capture);
  test::Ran ran = test::run("WIRESHARK_CONFIG_DIR=" + (folder / "none") +
                            " LC_ALL=C.UTF-8 TZ=UTC tshark -2 -o ipmi.dissect_bus_commands:TRUE -r " + path + " " + arguments +
                            " 2>" + (folder / "errors"));
  test::Ran errors = test::run("grep -v 'This could be dangerous' " + (folder / "errors"));
  EXPECT_EQ(ran.status, 0) << errors.out;
  EXPECT_EQ(errors.out, "");
  return test::lines_of(ran.out);
}

constexpr const char* kPairs =
    "-Y ipmi.header.netfn -T fields -E separator='|' -e frame.number -e frame.interface_name -e ipmi.header.netfn "
    "-e ipmi.header.command -e ipmi.header.completion -e ipmi.response_in -e ipmi.response_to";

}  // namespace

TEST(Pcap, TsharkShowsNetFnCommandCompletionCodeAndWhichRequestAResponseIsOf) {
  EXPECT_EQ(tshark(pcap(test::two_interfaces().trace), kPairs),
            (std::vector<std::string>{"1|demo/bt|0x06|0x01||3|", "3|demo/bt|0x07|0x01|0xd5||1", "4|demo/kcs|0x06|0x01||5|",
                                      "5|demo/kcs|0x07|0x01|0x00||4"}));
}

TEST(Pcap, TsharkTellsCommandsAndCompletionCodesByName) {
  const auto lines = tshark(pcap(test::two_interfaces().trace), "-T fields -e _ws.col.Info");
  ASSERT_EQ(lines.size(), 7u);
  EXPECT_EQ(lines[0], "Req, Get Device ID");
  EXPECT_EQ(lines[2], "Rsp, Get Device ID, Cannot execute command: command, or request parameter(s), not supported in present state (d5h)");
  EXPECT_EQ(lines[4], "Rsp, Get Device ID, Command Completed Normally (00h)");
}

TEST(Pcap, FaultsStepsAndErrorsAreAsciiBlocksInTheirPlace) {
  const auto lines = tshark(pcap(test::two_interfaces().trace),
                            "-Y 'ipmi.trace.packet.type == 2' -T fields -E separator='|' -e frame.number -e frame.interface_name "
                            "-e _ws.col.Info");
  EXPECT_EQ(lines, (std::vector<std::string>{"2|demo/bt|fault 7: answers completion code d5",
                                             "6|trace|step: timer: the timer goes on",
                                             "7|trace|ERROR: exactly-once: two answers"}));
}

TEST(Pcap, BlocksAreKcsMessagesWithDirectionLengthAndBothTimeStamps) {
  const auto lines = tshark(pcap(test::two_interfaces().trace),
                            "-Y 'ipmi.trace.packet.type == 0' -T fields -E separator='|' -e frame.time_epoch -e ipmi.trace.data.type "
                            "-e ipmi.trace.dir -e ipmi.trace.data.len -e ipmi.trace.chn.num -e ipmi.response_time");
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0], "0.000013000|0x05|1|2|15|");
  EXPECT_EQ(lines[1], "0.000031000|0x05|0|3|15|0.000018000");
  EXPECT_EQ(lines[2], "0.000040000|0x05|1|2|14|");
  EXPECT_EQ(lines[3], "0.000060000|0x05|0|14|14|0.000020000");
}

TEST(Pcap, TheDissectorUnderstandsTheDataOfAnAnswer) {
  EXPECT_EQ(tshark(pcap(test::two_interfaces().trace), "-V").empty(), false);
  Trace trace = test::two_interfaces().trace;
  std::string all;
  for (const std::string& line : tshark(pcap(trace), "-V -Y 'frame.number == 5'")) all += line + "\n";
  EXPECT_NE(all.find("Device ID: 0x20"), std::string::npos) << all;
  EXPECT_NE(all.find("Manufacturer ID: 7154"), std::string::npos) << all;
}

TEST(Pcap, WithAWallClockTimeStampsAreThoseOfTheDay) {
  Trace trace = test::two_interfaces().trace;
  trace.unix_epoch_ns = 1'528'288'496'000'000'000;
  const auto lines = tshark(pcap(trace), "-Y 'frame.number == 1' -T fields -E separator='|' -e frame.time_epoch -e ipmi.trace.stamp.sec -e ipmi.trace.stamp.msec");
  EXPECT_EQ(lines, (std::vector<std::string>{"1528288496.000013000|1528288496|0"}));
}

TEST(Pcap, OneInterfacesResponsesAreNotTakenForAnothers) {
  Story story;
  std::vector<std::string> expected;
  for (int n = 0; n < 5; ++n) story.interface("bmc" + std::to_string(n) + "/bt", registers::InterfaceKind::kBt);
  for (InterfaceId i = 0; i < 5; ++i) story.request(i, i, {0x18, 0x01});
  for (InterfaceId i = 5; i-- > 0;) story.response(20 - i, i, {0x1c, 0x01, static_cast<uint8_t>(i)});
  const auto lines = tshark(pcap(story.trace), "-Y ipmi.response_to -T fields -E separator='|' -e frame.number -e ipmi.response_to -e ipmi.header.completion");
  EXPECT_EQ(lines, (std::vector<std::string>{"6|5|0x04", "7|4|0x03", "8|3|0x02", "9|2|0x01", "10|1|0x00"}));
}

TEST(Pcap, AMessageLongerThanABlockIsCutAndItsLengthIsKept) {
  Story story;
  const InterfaceId i = story.interface("kcs", registers::InterfaceKind::kKcs);
  Bytes longest(272, 0x55);
  longest[0] = 0x28;
  longest[1] = 0x12;
  story.request(1, i, longest);
  EXPECT_EQ(tshark(pcap(story.trace), "-T fields -E separator='|' -e frame.len -e frame.cap_len -e ipmi.trace.data.len"),
            (std::vector<std::string>{"283|266|255"}));
}

TEST(Pcap, ALongTextGoesOnInTheNextBlock) {
  Story story;
  const InterfaceId i = story.interface("kcs", registers::InterfaceKind::kKcs);
  story.add(1, i, Text{Text::Kind::kNote, Side::kHost, std::string(300, 'a') + std::string(300, 'b'), 0});
  std::string all;
  for (const std::string& line : tshark(pcap(story.trace), "-T fields -e _ws.col.Info")) all += line;
  EXPECT_EQ(all, std::string(300, 'a') + std::string(300, 'b'));
}

TEST(Pcap, AnAccessThatAFaultChangedIsTold) {
  Story story;
  const InterfaceId i = story.interface("kcs", registers::InterfaceKind::kKcs);
  story.add(1, i, Access{Side::kHost, false, registers::kcs::kStatus, 0xff, uint8_t{0xff}, false, 4});
  EXPECT_EQ(tshark(pcap(story.trace), "-T fields -e _ws.col.Info"),
            (std::vector<std::string>{"fault 4 changed: host R STATUS ff"}));
}

TEST(Pcap, ABoundThatWasMetIsTheFirstThingSaid) {
  Story story = test::two_interfaces();
  story.trace.left_out = 12;
  const auto lines = tshark(pcap(story.trace), "-Y 'frame.number == 1' -T fields -e _ws.col.Info");
  EXPECT_EQ(lines, (std::vector<std::string>{"the recording's bound was met: 12 older events are missing"}));
}

TEST(Pcap, HardTracesAreReadToTheirEnd) {
  for (const auto& [name, trace] : test::hard_traces()) {
    SCOPED_TRACE(name);
    size_t messages = 0;
    for (const Event& event : trace.events) messages += std::holds_alternative<Message>(event.what) ? 1 : 0;
    EXPECT_EQ(tshark(pcap(trace), "-Y 'ipmi.trace.packet.type == 0' -T fields -e frame.number").size(), messages);
  }
}

}  // namespace bmcpair::trace
