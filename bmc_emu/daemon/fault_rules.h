// Fault rules as people write them (docs/faults.md): the 'faults:' of a configuration, a file of rules, and the short
// form "cc=d5 cmd=get_device_id count=2". One parser for all of them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "bmc_emu/daemon/config.h"
#include "bmc_emu/faults/rule.h"
#include "proto/base/result.h"

namespace bmcpair::daemon {

class ObjectReader;

// A file: YAML with the list 'faults:', or that list by itself, or one rule; or rules in the short form, one a line.
// Errors: kInvalidArgument, one line a mistake as of a configuration.
Result<std::vector<faults::Rule>> parse_faults(std::string_view text, const std::string& file_name,
                                               const ConfigLimits& limits = {});
// Errors also: kNotFound, kIo.
Result<std::vector<faults::Rule>> load_faults(const std::string& path, const ConfigLimits& limits = {});

// One rule from its mapping; mistakes are noted in the reader's context.
faults::Rule read_fault(ObjectReader& in);

// Every command that the firmware has, as rules name it: "get_device_id".
struct CommandName {
  std::string name;
  uint8_t netfn;
  uint8_t cmd;
};
const std::vector<CommandName>& command_names();

}  // namespace bmcpair::daemon
