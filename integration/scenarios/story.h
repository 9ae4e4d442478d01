// A story: an experiment as a YAML file (README.md beside this says the format).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bmc_emu/faults/rule.h"
#include "integration/scenarios/registry.h"
#include "proto/base/result.h"
#include "proto/base/time.h"
#include "proto/registers/register_port.h"

namespace bmcpair::scenarios {

struct StoryText {
  std::string_view file;
  std::string_view text;
};
// Built in, by file name.
const std::vector<StoryText>& story_texts();

struct Step {
  enum class Kind : uint8_t {
    kBringUp,
    kUsers,
    kSend,
    kSettle,
    kParallel,
    kSleep,
    kFault,
    kClearFaults,
    kFaultPoint,
    kEvents,
    kGetsEvents,
    kExpectEvents,
    kIdentity,
    kUnregister,
    kEndUsers,
    kPanic,
    kReset,
    kUnplug,
    kPlugIn,
    kRecovers,
    kExpectGood,
    kReceiveCommands,
    kSendIpmb,
    kResetCommand,
    kCommands,
    kExpectCommands,
    kUpdateFirmware,
    kExpectChannel,
    kExpectWatch,
    kExpectAccesses,
    kAttentionServed,
    kCount,
  };
  Kind kind{};
  int user = -1;  // -1: all
  int64_t number = 0;
  bool flag = false;
  bool at_once = false;
  Duration duration{0};
  int64_t target = 0;  // a slave address, channels, a medium
  int retries = -1;
  std::string text;
  std::vector<faults::Rule> rules;
  std::vector<std::vector<Step>> branches;
};

struct StoryData {
  std::string name, title, source, was;
  registers::InterfaceKind interface = registers::InterfaceKind::kBt;
  bool interrupts = true;
  bool steady = false;
  bool tolerate_refusals = false;
  std::vector<faults::Rule> faults;
  std::optional<unsigned> bt_response_seconds, bt_retries;
  bool endless_events = false;
  std::optional<Duration> satellite_latency;  // null: there is no satellite
  std::vector<Step> steps;
  std::vector<Expectation> expectations;
  uint64_t budget = 2000;
  int prove_preemptions = -1;
  uint64_t steps_max = rt::WorldOptions{}.steps_max;
  Duration time_max = rt::WorldOptions{}.time_max;
};

// Errors: kInvalidArgument, with file, line and what was expected.
Result<StoryData> parse_story(std::string_view text, const std::string& file);
std::unique_ptr<Exhibit> make_exhibit(StoryData data);

}  // namespace bmcpair::scenarios
