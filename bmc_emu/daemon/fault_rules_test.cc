#include "bmc_emu/daemon/fault_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "bmc_emu/daemon/config_keys.h"

namespace bmcpair::daemon {
namespace {

using namespace std::chrono_literals;
using faults::ActionKind;
using ::testing::HasSubstr;

std::vector<faults::Rule> good(std::string_view text) {
  auto rules = parse_faults(text, "f.yaml");
  EXPECT_TRUE(rules) << text << "\n" << rules.error().message;
  return rules ? *rules : std::vector<faults::Rule>{};
}
faults::Rule one(std::string_view text) {
  auto rules = good(text);
  EXPECT_EQ(rules.size(), 1u) << text;
  return rules.empty() ? faults::Rule{} : rules[0];
}
std::string bad(std::string_view text) {
  auto rules = parse_faults(text, "f.yaml");
  EXPECT_FALSE(rules) << "accepted: " << text;
  if (rules) return "";
  EXPECT_EQ(rules.error().code, ErrorCode::kInvalidArgument);
  return rules.error().message;
}
std::string read(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

}  // namespace

TEST(FaultRules, AFileAListAMappingAndTheShortFormSayTheSame) {
  const faults::Rule rule = one("faults:\n  - cc: 0xd5\n    netfn: app\n    cmd: 0x01\n    count: 2\n");
  EXPECT_EQ(rule.action.kind, ActionKind::kCompletionCode);
  EXPECT_EQ(rule.action.value, 0xd5u);
  EXPECT_EQ(rule.trigger.netfn, 0x06);
  EXPECT_EQ(rule.trigger.cmd, 0x01);
  EXPECT_EQ(rule.count, 2u);
  for (const char* same : {"- {cc: d5, netfn: 6, cmd: 1, count: 2}\n", "cc: d5\ncmd: get_device_id\ncount: 2\n",
                           "cc=d5 netfn=6 cmd=1 count=2", "  # twice\ncc=D5 netfn=0x06 cmd=get_device_id count=2  # so\n"}) {
    EXPECT_EQ(one(same), rule) << same;
  }
  EXPECT_EQ(good("cc=d5\n\ncc=c0 count=1\r\n").size(), 2u) << "one a line";
}

TEST(FaultRules, ACommandsNameBringsItsNetFn) {
  EXPECT_EQ(one("cc=d5 cmd=get_sel_entry").trigger.netfn, 0x0a);
  EXPECT_EQ(one("cc=d5 cmd=0x43").trigger.netfn, std::nullopt);
  EXPECT_THAT(bad("cc=d5 netfn=app cmd=get_sel_entry"), HasSubstr("the command named is of NetFn 10"));
  EXPECT_THAT(bad("cc=d5 cmd=get_devise_id"), HasSubstr("did you mean 'get_device_id'?"));
  EXPECT_GT(command_names().size(), 60u);
}

TEST(FaultRules, EveryActionSaysTheSameInItsShortForm) {
  for (const char* text :
       {"cc=d5", "drop=request", "drop=answer", "delay=3s", "answer_at=1500us", "sequence=255", "answer_netfn=0x05",
        "answer_cmd=0x02", "truncate=2", "extend=4", "length_byte=0", "corrupt=3 xor=40", "bad_checksum=true",
        "duplicate=8", "previous_answer=true", "hold=b_busy", "hold=ibf duration=3s", "withhold=obf duration=250ms",
        "read_value=ff", "read_xor=80", "lose_write=true", "bmc=stall duration=7us",
        "bmc=error", "bmc=warm_reset", "bmc=cold_reset", "interrupt=lose", "interrupt=spurious", "interrupt=storm",
        "attention=storm duration=1s"}) {
    EXPECT_EQ(faults::to_text(one(text)), text);
  }
  const std::string all =
      "hold=b_busy duration=3s interface=bt netfn=0x06 netfn_mask=0x3e cmd=0x01 cmd_mask=0x0f access=write "
      "register=ctrl value=04 phase=execute skip=1 every=3 probability=0.25 from=1s until=90s count=5 name=everything";
  EXPECT_EQ(faults::to_text(one(all)), all);
  const std::string data = "cc=c1 data=00ff offset=2";
  EXPECT_THAT(bad(data), HasSubstr("do not apply"));
  for (const char* text : {"cc=c1 data=00ff", "interrupt=spurious period=10ms count=3", "read_value=00 offset=1 nth=4",
                           "cc=c1 probability=0.000001"}) {
    EXPECT_EQ(faults::to_text(one(text)), text);
  }
}

TEST(FaultRules, MistakesAreToldWithFileLineColumnKeyAndWhatWasExpected) {
  EXPECT_EQ(bad("faults:\n  - cc: d5\n    cuont: 2\n"),
            "f.yaml:3:5: faults[0].cuont: unknown key 'cuont' in a fault rule; did you mean 'count'?");
  EXPECT_EQ(bad("faults:\n  - cc: d55\n"),
            "f.yaml:2:9: faults[0].cc: expected hexadecimal bytes, as \"18 01 d5\", found 'd55'");
  EXPECT_EQ(bad("cc=d5 count=many"), "f.yaml:1:13: faults[0].count: expected an integer, 1 to 1e+09, found 'many'");
  EXPECT_EQ(bad("cc=d5\ncount"), "f.yaml:2:1: expected KEY=VALUE, found 'count'");
}

TEST(FaultRules, EveryMistakeIsRefusedAndSaysWhy) {
  const std::pair<const char*, const char*> kMistakes[] = {
      {"", "no rule is here"},
      {"# nothing\n", "no rule is here"},
      {"faults: []\n", "at least one rule"},
      {"faults: 7\n", "expected a list"},
      {"faults: [7]\n", "expected a mapping"},
      {"7\n", "expected a list"},
      {"faults: [{cc: d5}]\nbmcs: []\n", "unknown key 'bmcs'"},
      {"name: idle\n", "the rule does nothing: give it one of cc, drop, delay"},
      {"cc=d5 drop=answer", "the rule does 'cc' already"},
      {"cc=d5 xor=01", "belongs to 'corrupt'"},
      {"corrupt=1 xor=00", "changes nothing"},
      {"read_xor=00", "changes nothing"},
      {"cc=d5d5", "expected 1 bytes"},
      {"cc=d5 netfn=7", "a request's NetFn is even"},
      {"cc=d5 netfn_mask=1", "needs netfn"},
      {"cc=d5 cmd_mask=1", "needs cmd"},
      {"drop=everything", "expected one of: request, answer"},
      {"hold=b_bussy", "did you mean 'b_busy'"},
      {"hold=b_busy duration=0s", "expected a duration"},
      {"delay=3", "duration with its unit"},
      {"delay=3s duration=2s", "a delay has its length already"},
      {"cc=d5 duration=2s", "duration is for what lasts"},
      {"cc=d5 phase=read", "waits for its request"},
      {"cc=d5 nth=1 every=2", "contradict"},
      {"cc=d5 nth=1 count=2", "nth fires once"},
      {"cc=d5 probability=0", "expected a number"},
      {"cc=d5 probability=1.5", "expected a number"},
      {"cc=d5 from=2s until=1s", "the window is empty"},
      {"cc=d5 period=1s", "period is for"},
      {"interrupt=spurious count=2", "needs a period"},
      {"interrupt=storm count=2", "begins once"},
      {"hold=ibf access=read count=2", "without a duration"},
      {"lose_write=true access=read", "cannot be a lost write"},
      {"lose_write=false", "leave it out"},
      {"read_value=ff access=write", "no value to be read"},
      {"read_value=ff register=ctrl offset=0", "not both"},
      {"read_value=ff data=01", "only when the request is taken"},
      {"bmc=stall period=1us", "expected a duration"},
  };
  for (const auto& [text, why] : kMistakes) EXPECT_THAT(bad(text), HasSubstr(why)) << text;
}

TEST(FaultRules, ThereAreBounds) {
  std::string many;
  for (int i = 0; i < 300; ++i) many += "cc=d5\n";
  EXPECT_THAT(bad(many), HasSubstr("at most 256 entries"));
  ConfigLimits limits;
  limits.text_bytes_max = 100;
  EXPECT_FALSE(parse_faults(many, "f", limits));
  EXPECT_FALSE(parse_faults("faults:\n" + std::string(200, ' '), "f", limits));
}

TEST(FaultRules, OfAConfigurationTheyBelongToTheirBmc) {
  auto config = parse_config(
      "bmcs:\n  - name: a{n}\n    count: 2\n    interfaces: [{kind: bt}]\n    faults: [{cc: d5, cmd: get_device_id}]\n", "c");
  ASSERT_TRUE(config) << config.error().message;
  ASSERT_EQ(config->boards.size(), 2u);
  EXPECT_EQ(config->boards[1].faults.at(0).action.value, 0xd5u);
  config = parse_config("bmcs:\n  - name: a\n    interfaces: [{kind: bt}]\n    faults: [{hold: ibf}]\n", "c");
  ASSERT_FALSE(config);
  EXPECT_THAT(config.error().message, HasSubstr("no interface of this BMC can meet the rule"));
}

TEST(FaultRules, EveryShippedFileIsAccepted) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(std::string(BMCPAIR_SOURCE_DIR) + "/configs/faults")) {
    auto rules = load_faults(entry.path().string());
    EXPECT_TRUE(rules) << rules.error().message;
    ++files;
  }
  EXPECT_GE(files, 7);
  EXPECT_EQ(load_faults("/nowhere/rules.yaml").error().code, ErrorCode::kNotFound);
}

// What the page shows works, and it shows every action and every key.
TEST(FaultRules, ThePagesExamplesAreRulesAndLeaveNoKeyOut) {
  const std::string page = read(std::string(BMCPAIR_SOURCE_DIR) + "/docs/faults.md");
  size_t blocks = 0;
  size_t rules = 0;
  for (size_t at = 0; (at = page.find("```yaml\n", at)) != std::string::npos;) {
    at += 8;
    const size_t end = page.find("```", at);
    ASSERT_NE(end, std::string::npos);
    rules += good(page.substr(at, end - at)).size();
    ++blocks;
  }
  EXPECT_GE(blocks, 4u);
  EXPECT_GE(rules, 30u);
  for (const Key& key : fault_keys().keys) {
    EXPECT_NE(page.find("`" + std::string(key.name)), std::string::npos) << "the page does not know " << key.name;
  }
}

}  // namespace bmcpair::daemon
