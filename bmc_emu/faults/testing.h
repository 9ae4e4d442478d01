// What the tests of this room share.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bmc_emu/faults/plan.h"
#include "proto/base/chooser.h"

namespace bmcpair::faults {

// Gives what it was told to, then 0; and remembers what it was asked.
class ScriptedChooser : public Chooser {
 public:
  uint32_t pick(uint32_t n, std::string_view site) override {
    asked.emplace_back(n, std::string(site));
    if (script.empty()) return 0;
    uint32_t choice = script.front();
    script.pop_front();
    return choice;
  }
  std::deque<uint32_t> script;
  std::vector<std::pair<uint32_t, std::string>> asked;
};

inline std::shared_ptr<const Rule> share(Rule rule) { return std::make_shared<const Rule>(std::move(rule)); }

}  // namespace bmcpair::faults
