#include "bmc_emu/board/stores.h"

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

class DatabaseStores final : public Stores {
 public:
  explicit DatabaseStores(std::shared_ptr<storage::SqliteDatabase> database) : database_(std::move(database)) {}
  Result<std::shared_ptr<firmware::Store>> open(const std::string& bmc) override { return database_->open_store(bmc); }

 private:
  std::shared_ptr<storage::SqliteDatabase> database_;
};

}  // namespace

Result<std::unique_ptr<Stores>> Stores::create(const std::string& state_directory) {
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
  return std::unique_ptr<Stores>(std::make_unique<DatabaseStores>(std::move(*database)));
}

}  // namespace bmcpair::board
