// Trace events as python's json module reads them.
#include "proto/trace/trace_json.h"

#include <gtest/gtest.h>

#include "proto/trace/testing.h"

namespace bmcpair::trace {
namespace {

// What a python program prints of the document `d` and its events `e`.
std::vector<std::string> python(const std::string& text, const std::string& program) {
  test::Folder folder;
  const std::string path = folder.write("a.json", text);
  const std::string script = folder.write(
      "a.py", "import json\nd = json.load(open('" + path + "', encoding='utf-8'))\ne = d['traceEvents']\n" + program);
  test::Ran ran = test::run("python3 " + script + " 2>&1");
  EXPECT_EQ(ran.status, 0) << ran.out;
  return test::lines_of(ran.out);
}

// What viewers ask of every event.
constexpr const char* kCheck = R"(
for x in e:
  assert x['ph'] in 'MiXC', x
  assert isinstance(x['pid'], int) and isinstance(x['tid'], int), x
  if x['ph'] != 'M': assert x['ts'] >= 0, x
  if x['ph'] == 'X': assert x['dur'] >= 0, x
  if x['ph'] == 'C': assert all(isinstance(v, int) for v in x['args'].values()), x
named = {x['pid'] for x in e if x['name'] == 'process_name'}
assert {x['pid'] for x in e} == named
)";

}  // namespace

TEST(TraceJson, ARequestAndItsResponseAreOneSlice) {
  EXPECT_EQ(python(test::two_interfaces().trace.events.empty() ? "" : trace_json(test::two_interfaces().trace),
                   "for x in e:\n  if x['ph'] == 'X' and 'response' in x['args']: print(x['pid'], x['ts'], x['dur'], x['name'], "
                   "x['args']['request'], '|', x['args']['response'][:8])"),
            (std::vector<std::string>{"2 3.0 18.0 Get Device ID -> d5 18 01 | 1c 01 d5",
                                      "3 30.0 20.0 Get Device ID -> 00 18 01 | 1c 01 00"}));
}

TEST(TraceJson, EveryFlagAndTheInterruptAreCountersThatChangeWhenTheyDo) {
  const auto lines = python(trace_json(test::two_interfaces().trace),
                            "for x in e:\n  if x['ph'] == 'C' and x['pid'] == 2 and x['name'] in ('B_BUSY', 'IRQ'): "
                            "print(x['name'], x['ts'], x['args']['value'])");
  EXPECT_EQ(lines, (std::vector<std::string>{"B_BUSY 0.0 0", "IRQ 0.0 0", "B_BUSY 10.0 1", "B_BUSY 20.0 0", "IRQ 20.0 1"}));
}

TEST(TraceJson, ProcessesAndTracksAreNamed) {
  const auto lines = python(trace_json(test::two_interfaces().trace),
                            "for x in e:\n  if x['name'] in ('process_name', 'thread_name'): print(x['pid'], x['args']['name'])");
  EXPECT_EQ(lines, (std::vector<std::string>{"1 two interfaces <&> \"a story\"", "1 host", "1 BMC", "2 demo/bt (bt)",
                                             "2 host accesses", "2 BMC accesses", "2 messages", "3 demo/kcs (kcs)",
                                             "3 host accesses", "3 BMC accesses", "3 messages", "1 timer"}));
}

TEST(TraceJson, ATasksActivityIsASliceOnItsOwnTrack) {
  const auto lines = python(trace_json(test::two_interfaces().trace),
                            "t = [x['tid'] for x in e if x['name'] == 'thread_name' and x['args']['name'] == 'timer'][0]\n"
                            "for x in e:\n  if x['tid'] == t and x['ph'] != 'M': print(x['ph'], x['ts'], x.get('dur'), x['name'])");
  EXPECT_EQ(lines, (std::vector<std::string>{"i 51.0 None the timer goes on", "X 52.0 5.0 expires"}));
}

TEST(TraceJson, ARequestWithoutAnAnswerIsSaidToBeOne) {
  test::Story story;
  const InterfaceId i = story.interface("kcs", registers::InterfaceKind::kKcs);
  story.request(1, i, {0x18, 0x01}).request(2, i, {0x18, 0x08}).response(3, i, {0x1c, 0x08, 0x00});
  story.request(4, i, {0x18, 0x31});
  const auto lines = python(trace_json(story.trace), "for x in e:\n  if x['ph'] in 'iX': print(x['ph'], x['ts'], x['name'])");
  EXPECT_EQ(lines, (std::vector<std::string>{"i 0.0 Get Device ID (unanswered)", "X 1.0 Get Device GUID -> 00",
                                             "i 3.0 Get Message Flags (unanswered)"}));
}

TEST(TraceJson, HardTracesAreJsonOfTheFormatAllTheSame) {
  for (const auto& [name, trace] : test::hard_traces()) {
    SCOPED_TRACE(name);
    EXPECT_EQ(python(trace_json(trace), std::string(kCheck) + "print(d['otherData']['left_out'])"),
              (std::vector<std::string>{std::to_string(trace.left_out)}));
  }
  EXPECT_EQ(python(trace_json(test::two_interfaces().trace), std::string(kCheck) + "print('fine')"),
            (std::vector<std::string>{"fine"}));
}

}  // namespace bmcpair::trace
