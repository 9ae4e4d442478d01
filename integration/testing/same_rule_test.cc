// One file of fault rules, as it is, in the laboratory, in a daemon by bmcctl, and in a GoogleTest's BMC: the same fault acts.
#include <bmcpair/testing/matchers.h>
#include <bmcpair/testing/virtual_bmc.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

#include "integration/scenarios/story.h"
#include "integration/system/process.h"

namespace bmcpair::testing {
namespace {

using ::testing::Contains;

constexpr char kRules[] = "configs/faults/d5-during-probe.yaml";  // Get Device ID is refused twice with D5
constexpr unsigned kTimes = 2;

std::string text_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

class Tame final : public rt::Director {
 public:
  uint32_t choose(rt::Choice, uint32_t, const rt::Site&, std::span<const rt::TaskId>) override { return 0; }
};

TEST(SameRule, InTheLaboratoryTheBmcRefusesAsOftenAsTheFileSays) {
  // The file is the story's part 'faults:', byte by byte.
  const std::string story = "name: same-rule\ntitle: x\nsource: x\nwas: x\ninterface: kcs\ninterrupts: true\nsteady: true\n" +
                            text_of(integration::source_file(kRules)) +
                            "do:\n  - bring_up\n  - users: 1\n  - send\n  - settle\n  - expect_good: 1\n"
                            "profiles:\n  hardened: survives\n";
  auto data = scenarios::parse_story(story, kRules);
  ASSERT_TRUE(data) << data.error().message;
  const auto exhibit = scenarios::make_exhibit(*std::move(data));
  Tame director;
  lab::RunOptions options;
  options.story = true;
  const lab::Outcome outcome = exhibit->run("hardened", director, options);
  EXPECT_FALSE(outcome.violated()) << outcome.oracle << ": " << outcome.sentence;
  unsigned refused = 0;
  for (const lab::StoryLine& line : outcome.story) {
    if (line.text.find("answers 1c 01 d5") != std::string::npos) ++refused;
  }
  EXPECT_EQ(refused, kTimes);
}

TEST(SameRule, InADaemonTheBmcRefusesAsOftenAsTheFileSays) {
  integration::TemporaryFolder folder;
  integration::Daemon daemon(folder, integration::source_file("configs/one-kcs.yaml"));
  const auto added = daemon.ctl({"fault", "add", "one", integration::source_file(kRules)});
  ASSERT_EQ(added.status, 0) << added.err;
  const auto probe = integration::host_driver({"--bus", daemon.bus("one/kcs"), "--timeout", "60", "probe"});
  EXPECT_EQ(probe.status, 0) << probe.out << probe.err;
  const auto list = daemon.ctl({"--json", "fault", "list"});
  ASSERT_EQ(list.status, 0) << list.err;
  const auto faults = nlohmann::json::parse(list.out).at("faults");
  ASSERT_EQ(faults.size(), 1u);
  EXPECT_EQ(faults[0].at("name"), "d5-during-probe");
  EXPECT_EQ(faults[0].at("fired"), kTimes);
}

TEST(SameRule, InAGoogleTestTheBmcRefusesAsOftenAsTheFileSays) {
  VirtualBmc bmc;
  bmc.add_faults_file(integration::source_file(kRules));
  EXPECT_TRUE(bmc.host().request(0x06, 0x01).ok());
  EXPECT_EQ(bmc.fired("d5-during-probe"), kTimes);
  EXPECT_THAT(bmc.traffic(), Contains(Request(0x06, 0x01).answered(0xd5).faulted()).Times(kTimes));
}

}  // namespace
}  // namespace bmcpair::testing
