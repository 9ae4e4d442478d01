#include "host_driver/cli/program.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace bmcpair::cli {
namespace {

class FindProgram : public ::testing::Test {
 protected:
  FindProgram() {
    std::string pattern = "/tmp/bmcpair-program.XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
  }
  ~FindProgram() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  std::string make(const std::string& name, mode_t mode, const std::string& content = "#!/bin/sh\n") {
    const std::string path = folder_ + "/" + name;
    std::ofstream(path) << content;
    ::chmod(path.c_str(), mode);
    return path;
  }
  std::string folder_;
};

}  // namespace

TEST_F(FindProgram, LooksThroughPathAndTakesTheFirstThatCanBeExecuted) {
  std::filesystem::create_directories(folder_ + "/a/tool");
  std::filesystem::create_directories(folder_ + "/b");
  make("b/tool", 0755);
  make("tool", 0644);
  const std::string path = folder_ + ":" + folder_ + "/none:" + folder_ + "/a:" + folder_ + "/b";
  const Program found = find_program("tool", path.c_str(), false);
  EXPECT_EQ(found.exit_status, 0) << found.why;
  EXPECT_EQ(found.path, folder_ + "/b/tool");
  EXPECT_EQ(found.deaf, "");
}

TEST_F(FindProgram, WhatIsThereAndCannotBeExecutedIs126) {
  make("tool", 0644);
  const Program found = find_program("tool", folder_.c_str(), false);
  EXPECT_EQ(found.exit_status, 126);
  EXPECT_NE(found.why.find("not executable"), std::string::npos) << found.why;
  EXPECT_EQ(find_program(folder_, "", false).exit_status, 126);
}

TEST_F(FindProgram, WhatIsNowhereIs127) {
  EXPECT_EQ(find_program("tool", folder_.c_str(), false).exit_status, 127);
  EXPECT_EQ(find_program(folder_ + "/tool", "/bin", false).exit_status, 127);
  EXPECT_EQ(find_program("", "/bin", false).exit_status, 127);
}

TEST_F(FindProgram, ADynamicProgramIsNotDeaf) {
  const Program shell = find_program("sh", "/bin:/usr/bin", false);
  EXPECT_EQ(shell.exit_status, 0);
  EXPECT_EQ(shell.deaf, "");
}

TEST_F(FindProgram, ASetuidProgramOfSomebodyElseIsDeaf) {
  const std::string path = make("tool", 0755);
  struct stat info {};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  if (info.st_uid == 0 && ::chown(path.c_str(), 1, 1) == 0) {
    ASSERT_EQ(::chmod(path.c_str(), 04755), 0);
    EXPECT_NE(find_program(path, "", false).deaf.find("setuid"), std::string::npos);
  } else {
    // Ours with the bit gains nothing: the loader listens.
    ASSERT_EQ(::chmod(path.c_str(), 04755), 0);
    EXPECT_EQ(find_program(path, "", false).deaf, "");
  }
}

TEST_F(FindProgram, AnElfThatNamesNoLoaderIsDeafAndBytesThatAreNoneAreNot) {
  std::string header(64, '\0');
  header.replace(0, 7, "\x7f" "ELF\x02\x01\x01");
  header[54] = 56;  // e_phentsize, and no program header
  EXPECT_NE(find_program(make("static", 0755, header), "", false).deaf.find("statically linked"), std::string::npos);
  EXPECT_EQ(find_program(make("short", 0755, header.substr(0, 20)), "", false).deaf, "");
  EXPECT_EQ(find_program(make("empty", 0755, ""), "", false).deaf, "");
}

}  // namespace bmcpair::cli
