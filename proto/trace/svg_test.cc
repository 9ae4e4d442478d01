// Ladders as python's XML parser reads them.
#include "proto/trace/svg.h"

#include <gtest/gtest.h>

#include "proto/trace/testing.h"

namespace bmcpair::trace {
namespace {

// What a python program prints of the root `r`; texts(): all texts with their place, from the top.
std::vector<std::string> python(const std::string& text, const std::string& program) {
  test::Folder folder;
  const std::string path = folder.write("a.svg", text);
  const std::string script = folder.write("a.py", R"(
import xml.etree.ElementTree as E
S = '{http://www.w3.org/2000/svg}'
r = E.parse(')" + path + R"(').getroot()
def texts(): return [(int(t.get('x')), int(t.get('y')), t.get('text-anchor'), t.text or '') for t in r.iter(S + 'text')]
def of_class(c): return [x for x in r.iter() if x.get('class') == c]
)" + program);
  test::Ran ran = test::run("PYTHONIOENCODING=utf-8 python3 " + script + " 2>&1");
  EXPECT_EQ(ran.status, 0) << ran.out;
  return test::lines_of(ran.out);
}

constexpr const char* kTexts = "for t in texts(): print(t[3])";

bool has(const std::vector<std::string>& lines, const std::string& line) {
  return std::find(lines.begin(), lines.end(), line) != lines.end();
}

}  // namespace

TEST(Svg, ThereAreTwoLifeLinesArrowsBetweenThemAndFaultMarks) {
  const auto lines = python(svg(test::two_interfaces().trace),
                            "print(r.tag == S + 'svg', len(of_class('life')), len(of_class('arrow')), len(of_class('fault')))");
  // Four writes of the host, the interrupt, two requests and two responses, KCS's command; a fault is a cross of two strokes.
  EXPECT_EQ(lines, (std::vector<std::string>{"True 2 10 2"}));
}

TEST(Svg, TheStoryCanBeReadFromTheTop) {
  const auto lines = python(svg(test::two_interfaces().trace), kTexts);
  for (const char* line :
       {"two interfaces <&> \"a story\"", "host", "BMC", "bt: W INTMASK 01 B2H_IRQ_EN", "bt: W HOST2BMC 03 18 00 01 (4 bytes)",
        "bt: W CTRL 04 H2B_ATN", "[H2B_ATN]", "bt: Get Device ID: 18 01", "bt: W CTRL 80 B_BUSY  [B_BUSY H2B_ATN]",
        "bt: R HOST2BMC 03 18 00 01 (4 bytes)", "bt: fault 7: answers completion code d5", "bt: interrupt rises",
        "bt: Get Device ID -> d5 (not supported in present", "after 18.000 us", "kcs: W COMMAND 61 WRITE_START",
        "timer: the timer goes on", "exactly-once: two answers", "3.000 us"}) {
    EXPECT_TRUE(has(lines, line)) << line;
  }
}

TEST(Svg, AHostThatPollsIsOneArrow) {
  test::Story story;
  const InterfaceId i = story.interface("kcs", registers::InterfaceKind::kKcs);
  for (int n = 0; n < 500; ++n) story.host(n, i, false, registers::kcs::kStatus, registers::kcs::kIbf, registers::kcs::kIbf);
  story.host(600, i, false, registers::kcs::kStatus, 0, 0);
  const auto lines = python(svg(story.trace), kTexts);
  EXPECT_TRUE(has(lines, "R STATUS 02 IDLE IBF \u00d7500")) << ::testing::PrintToString(lines);
  EXPECT_TRUE(has(lines, "R STATUS 00 IDLE"));
}

TEST(Svg, NothingComesFromElsewhereAndNothingIsAScript) {
  const auto lines = python(svg(test::two_interfaces().trace), R"(
print(sorted({x.tag.removeprefix(S) for x in r.iter()}))
print([a for x in r.iter() for a in x.attrib if 'href' in a or a.startswith('on') or 'url' in x.get(a)])
)");
  EXPECT_EQ(lines, (std::vector<std::string>{"['circle', 'g', 'line', 'polygon', 'rect', 'svg', 'text', 'title']", "[]"}));
}

TEST(Svg, NoTextLeavesItsColumn) {
  const std::string program = R"(
width, height = int(r.get('width')), int(r.get('height'))
life = sorted({int(x.get('x1')) for x in of_class('life')})
for x, y, anchor, text in texts():
  if y < 100: continue
  w = 7.2 * len(text)
  left, right = (x, x + w) if anchor == 'start' else (x - w, x) if anchor == 'end' else (x - w / 2, x + w / 2)
  column = [0, life[0]] if x < life[0] else [life[0], life[1]] if x < life[1] else [life[1], width]
  assert column[0] <= left and right <= column[1] and y <= height, (x, y, anchor, text)
print('fine')
)";
  auto traces = test::hard_traces();
  traces.emplace_back("two interfaces", test::two_interfaces().trace);
  for (const auto& [name, trace] : traces) {
    SCOPED_TRACE(name);
    EXPECT_EQ(python(svg(trace), program), (std::vector<std::string>{"fine"}));
  }
}

TEST(Svg, OfTooManyRowsTheLastAreDrawnAndTheRestIsSaid) {
  test::Story story;
  for (int n = 0; n < 30; ++n) story.add(n, kNoInterface, Text{Text::Kind::kNote, Side::kHost, "note " + std::to_string(n), 0});
  story.trace.left_out = 4;
  const auto lines = python(svg(story.trace, {.rows_max = 10}), kTexts);
  EXPECT_FALSE(has(lines, "note 19"));
  EXPECT_TRUE(has(lines, "note 20"));
  EXPECT_TRUE(has(lines, "note 29"));
  EXPECT_TRUE(has(lines, "0.000 us is 0 ns of the trace's clock. The recording's bound was met: 4 older events are missing. "
                         "20 earlier rows are not drawn."));
}

TEST(Svg, AnEmptyTraceSaysSo) { EXPECT_TRUE(has(python(svg(Trace{}), kTexts), "Nothing was recorded.")); }

}  // namespace bmcpair::trace
