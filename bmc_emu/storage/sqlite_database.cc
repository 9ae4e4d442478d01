#include "bmc_emu/storage/sqlite_database.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

namespace bmcpair::storage {
namespace {

constexpr int kApplicationId = 0x424d4350;  // "BMCP"
constexpr size_t kGroupMax = 256;           // batches in one transaction

// Names of BMCs and tables are stored once: rows carry numbers. WITHOUT ROWID: a row is found and ordered by its key.
constexpr const char* kSchema =
    "CREATE TABLE bmc(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);"
    "CREATE TABLE kind(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);"
    "CREATE TABLE entry(bmc INTEGER NOT NULL, kind INTEGER NOT NULL, key INTEGER NOT NULL, value BLOB NOT NULL,"
    " PRIMARY KEY(bmc, kind, key)) WITHOUT ROWID;";

Error error_of(const std::string& path, int code, const char* what, const char* doing) {
  ErrorCode kind = ErrorCode::kIo;
  switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: kind = ErrorCode::kCorrupt; break;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH: kind = ErrorCode::kPermission; break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: kind = ErrorCode::kBusy; break;
    default: break;
  }
  std::string hint = (code & 0xff) == SQLITE_FULL ? " (is the disk full?)" : "";
  return Error{kind, path + ": " + doing + ": " + what + hint};
}

class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_ = -1;
};

// A prepared statement that is reset after every use.
class Statement {
 public:
  Statement() = default;
  Statement(Statement&& other) noexcept : stmt_(std::exchange(other.stmt_, nullptr)) {}
  Statement& operator=(Statement&& other) noexcept {
    std::swap(stmt_, other.stmt_);
    return *this;
  }
  ~Statement() { sqlite3_finalize(stmt_); }

  int prepare(sqlite3* db, const char* sql) {
    return sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt_, nullptr);
  }
  sqlite3_stmt* get() const { return stmt_; }
  // Runs to its end; rows are not wanted.
  int run() {
    int code = sqlite3_step(stmt_);
    while (code == SQLITE_ROW) code = sqlite3_step(stmt_);
    sqlite3_reset(stmt_);
    return code == SQLITE_DONE ? SQLITE_OK : code;
  }

 private:
  sqlite3_stmt* stmt_ = nullptr;
};

struct Connection {
  sqlite3* db = nullptr;
  ~Connection() { sqlite3_close_v2(db); }
};

class Database;

class BmcStore : public firmware::Store {
 public:
  BmcStore(std::shared_ptr<Database> database, std::string name) : database_(std::move(database)), name_(std::move(name)) {}
  Result<std::vector<std::pair<uint32_t, Bytes>>> load(std::string_view table) override;
  Status commit(const firmware::Batch& batch) override;

 private:
  friend class Database;
  std::shared_ptr<Database> database_;
  std::string name_;
  int64_t id_ = 0;  // row in table bmc, guarded by the database's mutex; 0 until something is committed
};

class Database : public SqliteDatabase, public std::enable_shared_from_this<Database> {
 public:
  explicit Database(std::string path) : path_(std::move(path)) {}

  Status open_file(Descriptor lock) {
    lock_ = std::move(lock);
    int code = sqlite3_open_v2(path_.c_str(), &connection_.db,
                               SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
    if (code != SQLITE_OK) return failure(code, "opening it");
    sqlite3_extended_result_codes(connection_.db, 1);
    // Exclusive: one daemon, no shared memory file, and a stranger with the sqlite3 program is kept out while we write.
    // A bounded cache; the WAL is folded back every 1000 pages and never stays longer than 4 MiB.
    for (const char* pragma :
         {"PRAGMA busy_timeout=2000", "PRAGMA locking_mode=EXCLUSIVE", "PRAGMA cache_size=-1024",
          "PRAGMA temp_store=MEMORY", "PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL",
          "PRAGMA journal_size_limit=4194304", "PRAGMA trusted_schema=OFF"}) {
      if (auto done = execute(pragma, "opening it"); !done) return done;
    }
    auto mode = text_of("PRAGMA journal_mode");
    if (!mode) return mode.error();
    if (*mode != "wal") return Error{ErrorCode::kIo, path_ + ": the file system does not allow a write-ahead log"};
    auto check = text_of("PRAGMA quick_check(1)");
    if (!check) return check.error();
    if (*check != "ok") return Error{ErrorCode::kCorrupt, path_ + ": the file is damaged: " + *check};
    if (auto done = prepare_schema(); !done) return done;
    return prepare_statements();
  }

  Result<std::shared_ptr<firmware::Store>> open_store(std::string_view bmc_name) override {
    if (bmc_name.empty()) return Error{ErrorCode::kInvalidArgument, path_ + ": a BMC without a name keeps nothing"};
    auto store = std::make_shared<BmcStore>(shared_from_this(), std::string(bmc_name));
    std::lock_guard lock(mutex_);
    sqlite3_stmt* find = find_bmc_.get();
    sqlite3_bind_text(find, 1, store->name_.data(), static_cast<int>(store->name_.size()), SQLITE_STATIC);
    int code = sqlite3_step(find);
    if (code == SQLITE_ROW) store->id_ = sqlite3_column_int64(find, 0);
    sqlite3_reset(find);
    if (code != SQLITE_ROW && code != SQLITE_DONE) return failure(code, "looking a BMC up").error();
    return std::shared_ptr<firmware::Store>(std::move(store));
  }

  Statistics statistics() const override {
    std::lock_guard lock(queue_mutex_);
    return statistics_;
  }

  Result<std::vector<std::pair<uint32_t, Bytes>>> load(const BmcStore& store, std::string_view table) {
    std::vector<std::pair<uint32_t, Bytes>> rows;
    std::lock_guard lock(mutex_);
    auto kind = kinds_.find(table);
    if (store.id_ == 0 || kind == kinds_.end()) return rows;
    sqlite3_stmt* select = select_.get();
    sqlite3_bind_int64(select, 1, store.id_);
    sqlite3_bind_int64(select, 2, kind->second);
    int code;
    while ((code = sqlite3_step(select)) == SQLITE_ROW) {
      int64_t key = sqlite3_column_int64(select, 0);
      const auto* value = static_cast<const uint8_t*>(sqlite3_column_blob(select, 1));
      auto size = static_cast<size_t>(sqlite3_column_bytes(select, 1));
      if (key < 0 || key > 0xffffffff) {
        sqlite3_reset(select);
        return Error{ErrorCode::kCorrupt, path_ + ": " + store.name_ + ", table " + std::string(table) + ": key " +
                                              std::to_string(key) + " is not 32 bits"};
      }
      rows.emplace_back(static_cast<uint32_t>(key), size == 0 ? Bytes{} : Bytes(value, value + size));
    }
    sqlite3_reset(select);
    if (code != SQLITE_DONE) return failure(code, "reading").error();
    return rows;
  }

  // Who comes while nobody writes leads: it writes all that wait, itself among them, in one transaction. The others
  // wait until their batch is through, or until they lead.
  Status commit(BmcStore& store, const firmware::Batch& batch) {
    if (batch.empty()) return {};
    Waiting self{&store, &batch, {}, false};
    std::unique_lock queue_lock(queue_mutex_);
    queue_.push_back(&self);
    written_.wait(queue_lock, [&] { return self.done || !leading_; });
    if (!self.done) {
      leading_ = true;
      std::vector<Waiting*> group;
      // Oldest first; self is among them, or stays for the next group and leads again.
      while (!self.done) {
        size_t count = std::min(queue_.size(), kGroupMax);
        group.assign(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(count));
        queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(count));
        queue_lock.unlock();
        write_group(group);
        queue_lock.lock();
        statistics_.commits += group.size();
        ++statistics_.transactions;
        for (Waiting* waiting : group) waiting->done = true;
        written_.notify_all();
      }
      leading_ = false;
      written_.notify_all();
    }
    return std::move(self.result);
  }

 private:
  struct Waiting {
    BmcStore* store;
    const firmware::Batch* batch;
    Status result;
    bool done;
  };

  Status failure(int code, const char* doing) const {
    const char* what = connection_.db != nullptr ? sqlite3_errmsg(connection_.db) : sqlite3_errstr(code);
    return error_of(path_, code, what, doing);
  }

  Status execute(const char* sql, const char* doing) {
    int code = sqlite3_exec(connection_.db, sql, nullptr, nullptr, nullptr);
    return code == SQLITE_OK ? Status{} : failure(code, doing);
  }

  // The first column of the first row.
  Result<std::string> text_of(const char* sql) {
    Statement statement;
    if (int code = statement.prepare(connection_.db, sql); code != SQLITE_OK) return failure(code, "opening it").error();
    int code = sqlite3_step(statement.get());
    if (code != SQLITE_ROW) return failure(code, "opening it").error();
    const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement.get(), 0));
    return std::string(text != nullptr ? text : "");
  }

  Status prepare_schema() {
    auto version_text = text_of("PRAGMA user_version");
    if (!version_text) return version_text.error();
    auto application = text_of("PRAGMA application_id");
    if (!application) return application.error();
    auto tables = text_of("SELECT count(*) FROM sqlite_master");
    if (!tables) return tables.error();
    if (*tables == "0" && *version_text == "0") {
      std::string sql = std::string("BEGIN IMMEDIATE;") + kSchema + "PRAGMA application_id=" +
                        std::to_string(kApplicationId) + ";PRAGMA user_version=" + std::to_string(kSchemaVersion) +
                        ";COMMIT;";
      return execute(sql.c_str(), "creating its tables");
    }
    if (*application != std::to_string(kApplicationId)) {
      return Error{ErrorCode::kCorrupt, path_ + ": a database, but not one of bmcpair"};
    }
    auto version = parse_number(*version_text, 0x7fffffff);
    if (!version || *version > static_cast<uint64_t>(kSchemaVersion)) {
      return Error{ErrorCode::kNotSupported, path_ + ": written by a newer bmcpair (schema " + *version_text +
                                                 ", this one knows " + std::to_string(kSchemaVersion) + ")"};
    }
    return {};
  }

  Status prepare_statements() {
    struct {
      Statement* statement;
      const char* sql;
    } const wanted[] = {
        {&begin_, "BEGIN IMMEDIATE"},
        {&commit_, "COMMIT"},
        {&rollback_, "ROLLBACK"},
        {&find_bmc_, "SELECT id FROM bmc WHERE name=?1"},
        {&add_bmc_, "INSERT INTO bmc(name) VALUES(?1)"},
        {&add_kind_, "INSERT INTO kind(name) VALUES(?1)"},
        {&select_, "SELECT key, value FROM entry WHERE bmc=?1 AND kind=?2 ORDER BY key"},
        {&put_, "INSERT INTO entry(bmc, kind, key, value) VALUES(?1, ?2, ?3, ?4)"
                " ON CONFLICT(bmc, kind, key) DO UPDATE SET value=excluded.value"},
        {&erase_, "DELETE FROM entry WHERE bmc=?1 AND kind=?2 AND key=?3"},
        {&clear_, "DELETE FROM entry WHERE bmc=?1 AND kind=?2"},
    };
    for (const auto& [statement, sql] : wanted) {
      if (int code = statement->prepare(connection_.db, sql); code != SQLITE_OK) {
        return failure(code, "preparing its statements");
      }
    }
    return load_kinds();
  }

  Status load_kinds() {
    kinds_.clear();
    Statement all;
    if (int code = all.prepare(connection_.db, "SELECT id, name FROM kind"); code != SQLITE_OK) {
      return failure(code, "reading its tables");
    }
    int code;
    while ((code = sqlite3_step(all.get())) == SQLITE_ROW) {
      const auto* name = reinterpret_cast<const char*>(sqlite3_column_text(all.get(), 1));
      if (name != nullptr) kinds_[name] = sqlite3_column_int64(all.get(), 0);
    }
    return code == SQLITE_DONE ? Status{} : failure(code, "reading its tables");
  }

  void write_group(const std::vector<Waiting*>& group) {
    std::lock_guard lock(mutex_);
    std::vector<BmcStore*> named;  // got their row in this transaction
    Status result = write_all(group, named);
    if (!result) {
      if (!sqlite3_get_autocommit(connection_.db)) (void)rollback_.run();
      for (BmcStore* store : named) store->id_ = 0;
      (void)load_kinds();
    }
    // One transaction: what stops one batch (disk, corruption) stops them all.
    for (Waiting* waiting : group) waiting->result = result;
  }

  Status write_all(const std::vector<Waiting*>& group, std::vector<BmcStore*>& named) {
    if (int code = begin_.run(); code != SQLITE_OK) return failure(code, "beginning a transaction");
    for (Waiting* waiting : group) {
      if (auto done = write_batch(*waiting->store, *waiting->batch, named); !done) return done;
    }
    if (int code = commit_.run(); code != SQLITE_OK) return failure(code, "committing");
    return {};
  }

  Status write_batch(BmcStore& store, const firmware::Batch& batch, std::vector<BmcStore*>& named) {
    if (store.id_ == 0) {
      if (auto done = name_bmc(store, named); !done) return done;
    }
    for (const std::string& table : batch.clear_tables) {
      auto kind = kinds_.find(table);
      if (kind == kinds_.end()) continue;
      sqlite3_bind_int64(clear_.get(), 1, store.id_);
      sqlite3_bind_int64(clear_.get(), 2, kind->second);
      if (int code = clear_.run(); code != SQLITE_OK) return failure(code, "clearing a table");
    }
    for (const auto& [table, key] : batch.erase) {
      auto kind = kinds_.find(table);
      if (kind == kinds_.end()) continue;
      sqlite3_bind_int64(erase_.get(), 1, store.id_);
      sqlite3_bind_int64(erase_.get(), 2, kind->second);
      sqlite3_bind_int64(erase_.get(), 3, key);
      if (int code = erase_.run(); code != SQLITE_OK) return failure(code, "erasing a row");
    }
    for (const auto& put : batch.put) {
      auto kind = kinds_.find(put.table);
      if (kind == kinds_.end()) {
        sqlite3_bind_text(add_kind_.get(), 1, put.table.data(), static_cast<int>(put.table.size()), SQLITE_STATIC);
        if (int code = add_kind_.run(); code != SQLITE_OK) return failure(code, "naming a table");
        kind = kinds_.emplace(put.table, sqlite3_last_insert_rowid(connection_.db)).first;
      }
      sqlite3_bind_int64(put_.get(), 1, store.id_);
      sqlite3_bind_int64(put_.get(), 2, kind->second);
      sqlite3_bind_int64(put_.get(), 3, put.key);
      // A null pointer would bind NULL, and an empty value is one.
      sqlite3_bind_blob(put_.get(), 4, put.value.empty() ? "" : reinterpret_cast<const char*>(put.value.data()),
                        static_cast<int>(put.value.size()), SQLITE_STATIC);
      int code = put_.run();
      sqlite3_bind_null(put_.get(), 4);
      if (code != SQLITE_OK) return failure(code, "writing a row");
    }
    return {};
  }

  Status name_bmc(BmcStore& store, std::vector<BmcStore*>& named) {
    // Two stores of one name may both have come before the first commit.
    sqlite3_bind_text(find_bmc_.get(), 1, store.name_.data(), static_cast<int>(store.name_.size()), SQLITE_STATIC);
    int code = sqlite3_step(find_bmc_.get());
    if (code == SQLITE_ROW) store.id_ = sqlite3_column_int64(find_bmc_.get(), 0);
    sqlite3_reset(find_bmc_.get());
    if (code != SQLITE_ROW) {
      if (code != SQLITE_DONE) return failure(code, "looking a BMC up");
      sqlite3_bind_text(add_bmc_.get(), 1, store.name_.data(), static_cast<int>(store.name_.size()), SQLITE_STATIC);
      if (code = add_bmc_.run(); code != SQLITE_OK) return failure(code, "naming a BMC");
      store.id_ = sqlite3_last_insert_rowid(connection_.db);
    }
    named.push_back(&store);
    return {};
  }

  std::string path_;
  Descriptor lock_;  // outlives the connection

  std::mutex mutex_;  // the connection, its statements, kinds_, and the ids of stores
  Connection connection_;
  Statement begin_, commit_, rollback_, find_bmc_, add_bmc_, add_kind_, select_, put_, erase_, clear_;
  std::map<std::string, int64_t, std::less<>> kinds_;

  mutable std::mutex queue_mutex_;
  std::condition_variable written_;
  std::vector<Waiting*> queue_;
  bool leading_ = false;
  Statistics statistics_;
};

Result<std::vector<std::pair<uint32_t, Bytes>>> BmcStore::load(std::string_view table) {
  return database_->load(*this, table);
}

Status BmcStore::commit(const firmware::Batch& batch) { return database_->commit(*this, batch); }

}  // namespace

Result<std::shared_ptr<SqliteDatabase>> SqliteDatabase::open(const std::string& directory) {
  struct stat info {};
  if (::stat(directory.c_str(), &info) != 0) {
    int why = errno;
    return Error{why == ENOENT ? ErrorCode::kNotFound : why == EACCES ? ErrorCode::kPermission : ErrorCode::kIo,
                 "state directory " + directory + ": " + std::strerror(why)};
  }
  if (!S_ISDIR(info.st_mode)) return Error{ErrorCode::kNotFound, "state directory " + directory + ": not a directory"};

  std::string lock_path = directory + "/" + std::string(kLockName);
  // SEL entries and password hashes are nobody else's business: 0600, whatever the umask.
  Descriptor lock(::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (lock.get() < 0) {
    int why = errno;
    bool denied = why == EACCES || why == EPERM || why == EROFS;
    return Error{denied ? ErrorCode::kPermission : ErrorCode::kIo,
                 "state directory " + directory + " cannot be written: " + std::strerror(why)};
  }
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    int why = errno;
    if (why != EWOULDBLOCK) return Error{ErrorCode::kIo, lock_path + ": " + std::strerror(why)};
    char owner[32] = {};
    ssize_t size = ::pread(lock.get(), owner, sizeof owner - 1, 0);
    std::string pid(owner, size > 0 ? static_cast<size_t>(size) : 0);
    while (!pid.empty() && (pid.back() < '0' || pid.back() > '9')) pid.pop_back();
    return Error{ErrorCode::kBusy, "state directory " + directory + " is in use by another daemon" +
                                       (pid.empty() ? "" : " (process " + pid + ")")};
  }
  std::string pid = std::to_string(::getpid()) + "\n";
  // For the message above only: the lock is what counts.
  if (::ftruncate(lock.get(), 0) != 0 || ::pwrite(lock.get(), pid.data(), pid.size(), 0) < 0) {
    return Error{ErrorCode::kIo, lock_path + ": " + std::strerror(errno)};
  }

  std::string path = directory + "/" + std::string(kFileName);
  // Made here so that it has the right mode from the first instant; SQLite gives -wal the same.
  Descriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (file.get() < 0) {
    int why = errno;
    bool denied = why == EACCES || why == EPERM || why == EROFS;
    return Error{denied ? ErrorCode::kPermission : ErrorCode::kIo, path + ": " + std::strerror(why)};
  }
  file = Descriptor();  // closed before SQLite takes its POSIX locks on the file: closing later would drop them
  auto database = std::make_shared<Database>(path);
  if (auto done = database->open_file(std::move(lock)); !done) return done.error();
  return std::shared_ptr<SqliteDatabase>(std::move(database));
}

}  // namespace bmcpair::storage
