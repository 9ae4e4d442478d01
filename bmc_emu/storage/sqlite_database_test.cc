#include "bmc_emu/storage/sqlite_database.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

namespace bmcpair::storage {
namespace {

using firmware::Batch;
using firmware::Store;
using Rows = std::vector<std::pair<uint32_t, Bytes>>;
using testing::HasSubstr;

class SqliteDatabaseTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "bmcpair-storage-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string file() const { return directory_ + "/" + std::string(SqliteDatabase::kFileName); }

  std::shared_ptr<Store> open(const std::string& bmc) {
    auto database = SqliteDatabase::open(directory_);
    if (!database) {
      ADD_FAILURE() << database.error().to_string();
      return nullptr;
    }
    auto store = (*database)->open_store(bmc);
    if (!store) {
      ADD_FAILURE() << store.error().to_string();
      return nullptr;
    }
    return *store;
  }

  std::string directory_;
};

Batch put(const std::string& table, uint32_t key, Bytes value) {
  Batch batch;
  batch.put.push_back({table, key, std::move(value)});
  return batch;
}

Rows rows(Store& store, std::string_view table) {
  auto loaded = store.load(table);
  EXPECT_TRUE(loaded.ok()) << loaded.error().to_string();
  return loaded.ok() ? *loaded : Rows{};
}

TEST_F(SqliteDatabaseTest, WhatWasCommittedIsThereAfterReopening) {
  {
    auto store = open("a");
    ASSERT_TRUE(store->commit(put("sel", 7, {1, 2, 3})).ok());
    ASSERT_TRUE(store->commit(put("sel", 0xffffffff, {})).ok());
    ASSERT_TRUE(store->commit(put("sel", 2, {9})).ok());
    ASSERT_TRUE(store->commit(put("fru", 7, Bytes(2048, 0x5a))).ok());
  }
  auto store = open("a");
  EXPECT_EQ(rows(*store, "sel"), (Rows{{2, {9}}, {7, {1, 2, 3}}, {0xffffffff, {}}}));
  EXPECT_EQ(rows(*store, "fru"), (Rows{{7, Bytes(2048, 0x5a)}}));
  EXPECT_EQ(rows(*store, "never"), Rows{});
}

TEST_F(SqliteDatabaseTest, ABatchClearsThenErasesThenPuts) {
  auto store = open("a");
  Batch first;
  first.put = {{"t", 1, {1}}, {"t", 2, {2}}, {"u", 1, {3}}, {"u", 2, {4}}};
  ASSERT_TRUE(store->commit(first).ok());
  Batch second;
  second.clear_tables = {"t", "unknown"};
  second.erase = {{"u", 1}, {"u", 99}, {"unknown", 1}};
  second.put = {{"t", 1, {5}}, {"u", 2, {6}}};
  ASSERT_TRUE(store->commit(second).ok());
  EXPECT_EQ(rows(*store, "t"), (Rows{{1, {5}}}));
  EXPECT_EQ(rows(*store, "u"), (Rows{{2, {6}}}));
}

TEST_F(SqliteDatabaseTest, BmcsOfOneFileDoNotSeeEachOther) {
  auto database = SqliteDatabase::open(directory_);
  ASSERT_TRUE(database.ok());
  auto a = *(*database)->open_store("a");
  auto b = *(*database)->open_store("b");
  auto a_too = *(*database)->open_store("a");
  ASSERT_TRUE(a->commit(put("t", 1, {1})).ok());
  ASSERT_TRUE(b->commit(put("t", 1, {2})).ok());
  Batch clear;
  clear.clear_tables = {"t"};
  ASSERT_TRUE(b->commit(clear).ok());
  EXPECT_EQ(rows(*a, "t"), (Rows{{1, {1}}}));
  EXPECT_EQ(rows(*b, "t"), Rows{});
  ASSERT_TRUE(a_too->commit(put("t", 2, {3})).ok());
  EXPECT_EQ(rows(*a, "t"), (Rows{{1, {1}}, {2, {3}}}));
  EXPECT_EQ((*database)->open_store("").error().code, ErrorCode::kInvalidArgument);
}

TEST_F(SqliteDatabaseTest, TheFilesAreReadableByTheirOwnerOnly) {
  mode_t before = ::umask(0);
  auto store = open("a");
  ASSERT_TRUE(store->commit(put("t", 1, {1})).ok());
  ::umask(before);
  for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
    struct stat info {};
    ASSERT_EQ(::stat(entry.path().c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600u) << entry.path();
  }
}

TEST_F(SqliteDatabaseTest, ASecondOpenerIsToldWhoHasIt) {
  auto first = SqliteDatabase::open(directory_);
  ASSERT_TRUE(first.ok());
  auto second = SqliteDatabase::open(directory_);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, ErrorCode::kBusy);
  EXPECT_THAT(second.error().message, HasSubstr(directory_));
  EXPECT_THAT(second.error().message, HasSubstr("process " + std::to_string(::getpid())));
  first = Error{};
  EXPECT_TRUE(SqliteDatabase::open(directory_).ok());
}

TEST_F(SqliteDatabaseTest, AMissingDirectoryIsNamed) {
  auto opened = SqliteDatabase::open(directory_ + "/nowhere");
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(opened.error().message, HasSubstr(directory_ + "/nowhere"));
  std::ofstream(directory_ + "/plain") << "x";
  EXPECT_THAT(SqliteDatabase::open(directory_ + "/plain").error().message, HasSubstr("not a directory"));
}

TEST_F(SqliteDatabaseTest, ADirectoryThatCannotBeWrittenIsNamed) {
  auto opened = SqliteDatabase::open("/proc");  // not even root writes there
  ASSERT_FALSE(opened.ok());
  EXPECT_THAT(opened.error().message, HasSubstr("/proc cannot be written"));
}

TEST_F(SqliteDatabaseTest, GarbageInPlaceOfTheFileIsRefused) {
  std::ofstream(file()) << std::string(5000, 'x');
  auto opened = SqliteDatabase::open(directory_);
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code, ErrorCode::kCorrupt) << opened.error().message;
  EXPECT_THAT(opened.error().message, HasSubstr(file()));
}

TEST_F(SqliteDatabaseTest, ADamagedFileIsRefused) {
  {
    auto store = open("a");
    Batch batch;
    for (uint32_t i = 0; i < 2000; ++i) batch.put.push_back({"t", i, Bytes(64, static_cast<uint8_t>(i))});
    ASSERT_TRUE(store->commit(batch).ok());
  }
  auto size = std::filesystem::file_size(file());
  ASSERT_GT(size, 32768u);
  {
    std::fstream damaged(file(), std::ios::in | std::ios::out | std::ios::binary);
    for (std::streamoff page = 4096 * 3; page < static_cast<std::streamoff>(size); page += 4096) {
      damaged.seekp(page);
      damaged << std::string(200, '\x55');
    }
  }
  auto opened = SqliteDatabase::open(directory_);
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code, ErrorCode::kCorrupt) << opened.error().message;
}

void run_sql(const std::string& path, const char* sql) {
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &db), SQLITE_OK);
  EXPECT_EQ(sqlite3_exec(db, sql, nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(db);
  sqlite3_close(db);
}

TEST_F(SqliteDatabaseTest, ANewerSchemaIsRefusedAndLeftAlone) {
  { ASSERT_TRUE(open("a")->commit(put("t", 1, {1})).ok()); }
  run_sql(file(), "PRAGMA user_version=2");
  auto opened = SqliteDatabase::open(directory_);
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code, ErrorCode::kNotSupported);
  EXPECT_THAT(opened.error().message, HasSubstr("schema 2"));
  run_sql(file(), "PRAGMA user_version=1");
  EXPECT_EQ(rows(*open("a"), "t"), (Rows{{1, {1}}}));
}

TEST_F(SqliteDatabaseTest, SomebodyElsesDatabaseIsRefused) {
  run_sql(file(), "CREATE TABLE diary(text)");
  auto opened = SqliteDatabase::open(directory_);
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code, ErrorCode::kCorrupt);
  EXPECT_THAT(opened.error().message, HasSubstr("not one of bmcpair"));
}

TEST_F(SqliteDatabaseTest, CommitsOfManyThreadsAreAllThereAndShareSyncs) {
  constexpr int kThreads = 8;
  constexpr uint32_t kEach = 40;
  {
    auto database = SqliteDatabase::open(directory_);
    ASSERT_TRUE(database.ok());
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        auto store = (*database)->open_store("bmc" + std::to_string(t % 4));
        ASSERT_TRUE(store.ok());
        for (uint32_t i = 0; i < kEach; ++i) {
          ASSERT_TRUE((*store)->commit(put("t" + std::to_string(t), i, {static_cast<uint8_t>(t)})).ok());
        }
      });
    }
    for (auto& thread : threads) thread.join();
    auto statistics = (*database)->statistics();
    EXPECT_EQ(statistics.commits, kThreads * kEach);
    EXPECT_LE(statistics.transactions, statistics.commits);
  }
  auto database = SqliteDatabase::open(directory_);
  ASSERT_TRUE(database.ok());
  for (int t = 0; t < kThreads; ++t) {
    auto store = *(*database)->open_store("bmc" + std::to_string(t % 4));
    EXPECT_EQ(rows(*store, "t" + std::to_string(t)).size(), kEach);
  }
}

// Commits rows 1, 2, 3... and tells each through the pipe once it is acknowledged, until killed.
[[noreturn]] void commit_until_killed(const std::string& directory, int pipe) {
  auto database = SqliteDatabase::open(directory);
  if (!database) ::_exit(2);
  auto store = (*database)->open_store("a");
  if (!store) ::_exit(3);
  auto loaded = (*store)->load("sel");
  if (!loaded) ::_exit(4);
  uint32_t next = loaded->empty() ? 1 : loaded->back().first + 1;
  for (;; ++next) {
    Batch batch = put("sel", next, Bytes(16, static_cast<uint8_t>(next)));
    batch.put.push_back({"sel_meta", 0, {static_cast<uint8_t>(next)}});
    if (!(*store)->commit(batch)) ::_exit(5);
    if (::write(pipe, &next, sizeof next) != sizeof next) ::_exit(6);
  }
}

TEST_F(SqliteDatabaseTest, KillNineAtAnyInstantLosesNothingThatWasAcknowledged) {
  uint32_t last = 0;
  for (int round = 0; round < 12; ++round) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ::close(ends[0]);
      commit_until_killed(directory_, ends[1]);
    }
    ::close(ends[1]);
    // Killed after another number of acknowledgements each time, always in the middle of the next commit or so.
    uint32_t id = 0;
    bool died = false;
    for (int i = 0; i < 5 + round * 7 && !died; ++i) {
      died = ::read(ends[0], &id, sizeof id) != sizeof id;
      if (!died) last = id;
    }
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the child ended by itself, status " << WEXITSTATUS(status);
    while (::read(ends[0], &id, sizeof id) == sizeof id) last = id;  // acknowledged before the kill
    ::close(ends[0]);

    auto kept = rows(*open("a"), "sel");
    std::set<uint32_t> ids;
    for (const auto& [key, value] : kept) {
      ids.insert(key);
      EXPECT_EQ(value, Bytes(16, static_cast<uint8_t>(key)));
    }
    for (uint32_t wanted = 1; wanted <= last; ++wanted) EXPECT_TRUE(ids.count(wanted)) << wanted << " was lost";
    EXPECT_LE(kept.size(), last + 1) << "at most the commit in flight is there without having been acknowledged";
    auto meta = rows(*open("a"), "sel_meta");
    ASSERT_EQ(meta.size(), 1u);
    EXPECT_EQ(meta[0].second, Bytes{static_cast<uint8_t>(kept.back().first)}) << "a batch is whole or not there";
  }
  EXPECT_GT(last, 100u);
}

TEST_F(SqliteDatabaseTest, ADiskThatTakesNoMoreIsAnErrorAndAfterwardsAllIsWell) {
  pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto database = SqliteDatabase::open(directory_);
    if (!database) ::_exit(1);
    auto store = *(*database)->open_store("a");
    if (!store->commit(put("t", 1, {1}))) ::_exit(2);
    ::signal(SIGXFSZ, SIG_IGN);
    rlimit limit{};
    ::getrlimit(RLIMIT_FSIZE, &limit);
    rlimit tight = limit;
    tight.rlim_cur = 128 * 1024;
    ::setrlimit(RLIMIT_FSIZE, &tight);
    Batch big;
    for (uint32_t i = 100; i < 164; ++i) big.put.push_back({"t", i, Bytes(8192, 7)});
    auto refused = store->commit(big);
    if (refused.ok()) ::_exit(3);
    if (refused.error().message.find(directory_) == std::string::npos) ::_exit(4);
    ::setrlimit(RLIMIT_FSIZE, &limit);
    if (!store->commit(put("t", 2, {2}))) ::_exit(5);
    auto loaded = store->load("t");
    if (!loaded || *loaded != Rows{{1, {1}}, {2, {2}}}) ::_exit(6);
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(rows(*open("a"), "t"), (Rows{{1, {1}}, {2, {2}}}));
}

}  // namespace
}  // namespace bmcpair::storage
