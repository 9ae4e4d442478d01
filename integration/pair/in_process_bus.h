// The bus "in-process": a BMC and a driver in one process, with no daemon and no socket between them.
#pragma once

#include <memory>
#include <string>

#include "bmc_emu/board/fleet.h"
#include "proto/base/result.h"

namespace bmcpair::pair {

// in-process:CONFIG.yaml#bmc/interface
// All buses of one process that name the same file share its BMCs, as long as one of them is open; nothing survives.
// Idempotent.
void register_in_process_bus();

// The BMCs behind such a bus, for whoever also wants the other side of it. Errors: as load_config and Fleet::create.
Result<std::shared_ptr<board::Fleet>> in_process_fleet(const std::string& config_path);

// Makes a fleet reachable as in-process:NAME#..., for as long as somebody holds it.
void share_fleet(const std::string& name, const std::shared_ptr<board::Fleet>& fleet);

}  // namespace bmcpair::pair
