// Debian's OpenIPMI: ipmicmd and openipmish on their "smi" connection.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "integration/clients/site.h"

namespace bmcpair::integration {
namespace {

TEST(OpenIpmi, IpmicmdGetsTheSameBytes) {
  Site site(source_file("configs/demo.yaml"), {"demo/bt", "demo2"});
  Finished out = site.run({"ipmicmd", "-k", "0f 00 06 01", "smi", "0"});
  EXPECT_EQ(out.status, 0) << out.err;
  EXPECT_EQ(out.out, "0f 07 00 01 00 20 81 01 02 02 bf 79 2b 00 0c 0b 00 00 00 07 \n");
  out = site.run({"ipmicmd", "-k", "0f 00 06 7f", "smi", "1"});
  EXPECT_EQ(out.out, "0f 07 00 7f c1 \n") << out.err;
}

TEST(OpenIpmi, OpenipmishBringsADomainUpAndFindsItsSensors) {
  Site site(source_file("configs/demo.yaml"), {"demo/bt"});
  // It watches its standard input with epoll, so that is a pipe; commands come when what they need is there.
  const std::string fifo = site.folder() / "commands";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  const int commands = ::open(fifo.c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(commands, 0);
  auto shell = site.start({"sh", "-c", "exec openipmish <'" + fifo + "'"});
  auto command = [&](const std::string& line) {
    ASSERT_EQ(::write(commands, (line + "\n").data(), line.size() + 1), static_cast<ssize_t>(line.size() + 1));
  };
  command("domain open dom smi 0");
  EXPECT_TRUE(shell->wait_for_output("Any Connection Up: true")) << shell->out();
  EXPECT_TRUE(shell->wait_for_output("Name: dom(0.20)\n  Operation: Fully Up")) << shell->out();
  EXPECT_TRUE(shell->wait_for_output(".CPU Temp")) << shell->out();
  EXPECT_TRUE(shell->wait_for_output(".Chassis Intru")) << shell->out();
  command("mc info dom(0.20)");
  EXPECT_TRUE(shell->wait_for_output("manufacturer_id: 0x2b79")) << shell->out();
  EXPECT_TRUE(shell->wait_for_output("product_id: 0xb0c")) << shell->out();
  command("exit");
  EXPECT_EQ(shell->wait(), 0) << shell->err();
  ::close(commands);
}

}  // namespace
}  // namespace bmcpair::integration
