#include "bmc_emu/board/stores.h"

#include <atomic>
#include <filesystem>
#include <system_error>
#include <utility>

#include "bmc_emu/storage/sqlite_database.h"

namespace bmcpair::board {
namespace {

class MemoryStores final : public Stores {
 public:
  Result<std::shared_ptr<firmware::Store>> open(const std::string&) override {
    return std::shared_ptr<firmware::Store>(std::make_shared<firmware::MemoryStore>());
  }
};

// Says once that the disk does not take what it must keep, and once that it does again: a BMC that refuses commands has its
// reason elsewhere than in the commands.
class Telling {
 public:
  explicit Telling(std::function<void(const std::string&)> failed) : failed_(std::move(failed)) {}
  void about(const Status& status) {
    if (said_.exchange(!status.ok()) != !status.ok() && failed_) failed_(status.ok() ? "" : status.error().message);
  }

 private:
  const std::function<void(const std::string&)> failed_;
  std::atomic<bool> said_{false};
};

class TellingStore final : public firmware::Store {
 public:
  TellingStore(std::shared_ptr<firmware::Store> store, std::shared_ptr<Telling> telling)
      : store_(std::move(store)), telling_(std::move(telling)) {}
  Result<std::vector<std::pair<uint32_t, Bytes>>> load(std::string_view table) override { return store_->load(table); }
  Status commit(const firmware::Batch& batch) override {
    Status status = store_->commit(batch);
    telling_->about(status);
    return status;
  }

 private:
  const std::shared_ptr<firmware::Store> store_;
  const std::shared_ptr<Telling> telling_;
};

class DatabaseStores final : public Stores {
 public:
  DatabaseStores(std::shared_ptr<storage::SqliteDatabase> database, std::function<void(const std::string&)> failed)
      : database_(std::move(database)), telling_(std::make_shared<Telling>(std::move(failed))) {}
  Result<std::shared_ptr<firmware::Store>> open(const std::string& bmc) override {
    auto store = database_->open_store(bmc);
    if (!store) return store;
    return std::shared_ptr<firmware::Store>(std::make_shared<TellingStore>(std::move(*store), telling_));
  }

 private:
  const std::shared_ptr<storage::SqliteDatabase> database_;
  const std::shared_ptr<Telling> telling_;
};

}  // namespace

Result<std::unique_ptr<Stores>> Stores::create(const std::string& state_directory, std::function<void(const std::string&)> failed) {
  if (state_directory.empty()) return std::unique_ptr<Stores>(std::make_unique<MemoryStores>());
  // Passwords are in it: for its owner only.
  std::error_code error;
  if (std::filesystem::create_directories(state_directory, error)) {
    std::filesystem::permissions(state_directory, std::filesystem::perms::owner_all, error);
  }
  if (error) {
    return Error{ErrorCode::kIo, "cannot make the state directory " + state_directory + ": " + error.message()};
  }
  auto database = storage::SqliteDatabase::open(state_directory);
  if (!database) return database.error();
  return std::unique_ptr<Stores>(std::make_unique<DatabaseStores>(std::move(*database), std::move(failed)));
}

}  // namespace bmcpair::board
