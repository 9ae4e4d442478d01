// The firmware over the real store: what it acknowledged is there in its next life.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "bmc_emu/firmware/bmc.h"
#include "bmc_emu/storage/sqlite_database.h"

namespace bmcpair::storage {
namespace {

using firmware::Bmc;
using firmware::BmcConfig;

class BmcOverSqlite : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "bmcpair-bmc-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  static BmcConfig config() {
    BmcConfig c;
    c.frus.emplace_back();
    c.sel_entries_max = 4096;
    return c;
  }
  static std::unique_ptr<Bmc> boot(const std::string& directory) {
    auto database = SqliteDatabase::open(directory);
    if (!database) return nullptr;
    auto store = (*database)->open_store("bmc");
    if (!store) return nullptr;
    auto bmc = Bmc::create(config(), *store, nullptr, Instant{});
    return bmc ? std::move(*bmc) : nullptr;
  }
  static std::string ask(Bmc& bmc, std::string_view hex) {
    Bytes bytes = *from_hex(hex);
    auto response = bmc.execute({bytes[0], 0, bytes[1], Bytes(bytes.begin() + 2, bytes.end())}, {}, Instant{});
    Bytes out{static_cast<uint8_t>(response.cc)};
    out.insert(out.end(), response.data.begin(), response.data.end());
    return to_hex(out);
  }
  std::string directory_;
};

constexpr std::string_view kAddSel = "0a 44 00 00 02 00 00 00 00 41 00 04 01 30 01 57 55 50";

TEST_F(BmcOverSqlite, SelFruSdrAndClockSurvive) {
  {
    auto bmc = boot(directory_);
    ASSERT_NE(bmc, nullptr);
    EXPECT_EQ(ask(*bmc, kAddSel), "00 01 00");
    EXPECT_EQ(ask(*bmc, "0a 12 00 fe 00 aa bb cc dd"), "00 04");
    EXPECT_EQ(ask(*bmc, "0a 24 00 00 51 c0 02 01 02"), "00 00 40");
    EXPECT_EQ(ask(*bmc, "0a 49 01 02 03 60"), "00");
    EXPECT_EQ(ask(*bmc, "0a 5d 3c 00"), "00");
  }
  auto bmc = boot(directory_);
  ASSERT_NE(bmc, nullptr);
  EXPECT_EQ(bmc->sel(Instant{}).size(), 1u);
  EXPECT_EQ(ask(*bmc, "0a 11 00 fd 00 06"), "00 06 ff aa bb cc dd ff");
  EXPECT_EQ(ask(*bmc, "0a 23 00 00 00 40 00 ff"), "00 ff ff 00 40 51 c0 02 01 02");
  EXPECT_EQ(ask(*bmc, "0a 48"), "00 01 02 03 60");
  EXPECT_EQ(ask(*bmc, "0a 5c"), "00 3c 00");
}

TEST_F(BmcOverSqlite, KillNineLosesNoSelEntryThatGotACompletionCode) {
  size_t acknowledged = 0;
  for (int round = 0; round < 5; ++round) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ::close(ends[0]);
      auto bmc = boot(directory_);
      if (bmc == nullptr) ::_exit(2);
      for (;;) {
        if (ask(*bmc, kAddSel).substr(0, 2) != "00") ::_exit(3);
        if (::write(ends[1], "+", 1) != 1) ::_exit(4);
      }
    }
    ::close(ends[1]);
    char plus = 0;
    for (int i = 0; i < 7 + 5 * round && ::read(ends[0], &plus, 1) == 1; ++i) ++acknowledged;
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the child ended by itself, status " << WEXITSTATUS(status);
    while (::read(ends[0], &plus, 1) == 1) ++acknowledged;
    ::close(ends[0]);
    auto bmc = boot(directory_);
    ASSERT_NE(bmc, nullptr);
    size_t kept = bmc->sel(Instant{}).size();
    EXPECT_GE(kept, acknowledged);
    EXPECT_LE(kept, acknowledged + 1) << "the one in flight may be there";
    acknowledged = kept;
  }
}

}  // namespace
}  // namespace bmcpair::storage
