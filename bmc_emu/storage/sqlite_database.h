// What the BMCs of one daemon keep over a restart: one SQLite file in the state directory, one connection, a Store for
// each BMC. An acknowledged commit is on stable storage (WAL, full sync): a kill -9 at any instant loses none.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "bmc_emu/firmware/store.h"
#include "proto/base/result.h"

namespace bmcpair::storage {

// Thread safe. Commits that wait at the same time share one transaction and one sync; each returns only after the sync
// that covers it.
class SqliteDatabase {
 public:
  static constexpr int kSchemaVersion = 1;
  static constexpr std::string_view kFileName = "bmcpair.sqlite3";
  static constexpr std::string_view kLockName = "bmcpair.lock";

  // Errors, each naming the path: kNotFound (no such directory), kPermission (cannot be written), kBusy (another daemon
  // has it; its process id is in the message), kCorrupt (damaged, or not ours), kNotSupported (a newer schema), kIo.
  static Result<std::shared_ptr<SqliteDatabase>> open(const std::string& state_directory);
  virtual ~SqliteDatabase() = default;

  // The part of one BMC; a name never seen before has nothing in it. The database stays open as long as any of its
  // stores lives. Errors: kInvalidArgument (empty name).
  virtual Result<std::shared_ptr<firmware::Store>> open_store(std::string_view bmc_name) = 0;

  struct Statistics {
    uint64_t commits = 0;       // batches
    uint64_t transactions = 0;  // syncs they took
  };
  virtual Statistics statistics() const = 0;
};

}  // namespace bmcpair::storage
