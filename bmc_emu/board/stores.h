// Where a fleet's boards keep what must survive: a database in the state directory, or memory without one.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "bmc_emu/firmware/store.h"
#include "proto/base/result.h"

namespace bmcpair::board {

class Stores {
 public:
  virtual ~Stores() = default;
  virtual Result<std::shared_ptr<firmware::Store>> open(const std::string& bmc) = 0;

  // Empty directory: nothing survives. Errors: kIo, kCorrupt, kPermission, kBusy (another daemon uses it).
  // failed: may be empty; told when something cannot be kept, and again when it can (an empty text), on any thread.
  static Result<std::unique_ptr<Stores>> create(const std::string& state_directory,
                                                std::function<void(const std::string&)> failed = {});
};

}  // namespace bmcpair::board
