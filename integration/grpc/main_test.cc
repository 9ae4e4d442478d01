// The tests; or, as "client --attach ADDRESS PATH", a host that attaches, writes 77h to register 2 and stays.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <string_view>

#include "integration/grpc/testing.h"

int main(int argc, char** argv) {
  if (argc == 4 && std::string_view(argv[1]) == "--attach") {
    auto port = bmcpair::testing::open(argv[2], argv[3], "child");
    if (!port.ok()) {
      std::fprintf(stderr, "%s\n", port.error().message.c_str());
      return 1;
    }
    (*port)->write(2, 0x77);
    (*port)->read(0);
    ::pause();
    return 0;
  }
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
