// PEM files that are wrong, and a daemon that wants other ones: said at once, in a line that names the file and what to do.
#include <gtest/gtest.h>

#include "integration/system/certificates.h"

namespace bmcpair::integration {
namespace {

class TlsFiles : public testing::Test {
 protected:
  void SetUp() override {
    const Finished made = make_certificates(folder_.path(), "IP:127.0.0.1,DNS:localhost");
    ASSERT_EQ(made.status, 0) << made.err;
  }
  std::string file(const std::string& name) const { return folder_ / name; }

  TemporaryFolder folder_;
};

TEST_F(TlsFiles, WrongOnesAreSaidBeforeAnythingIsTried) {
  write_file(file("junk.pem"), "-----BEGIN CERTIFICATE-----\njunk\n-----END CERTIFICATE-----\n");
  const struct {
    std::vector<std::string> options;
    std::vector<std::string> says;
  } cases[] = {
      {{"--tls-ca", file("none.pem")}, {"--tls-ca " + file("none.pem"), "cannot be read"}},
      {{"--tls-ca", file("san")}, {"--tls-ca " + file("san"), "no PEM file"}},
      {{"--tls-ca", file("junk.pem")}, {"--tls-ca " + file("junk.pem"), "no certificate"}},
      {{"--tls-ca", file("client.key")}, {"--tls-ca " + file("client.key"), "no certificate"}},
      {{"--tls-certificate", file("client.pem")}, {"--tls-key is missing"}},
      {{"--tls-key", file("client.key")}, {"--tls-certificate is missing"}},
      {{"--tls-certificate", file("client.pem"), "--tls-key", file("client.pem")}, {"--tls-key " + file("client.pem"), "no private key"}},
      {{"--tls-certificate", file("client.pem"), "--tls-key", file("ca.key")}, {file("client.pem"), file("ca.key"), "not a pair"}},
  };
  auto expect_refused = [&](const std::vector<std::string>& options, const std::vector<std::string>& says, const std::vector<std::string>& command,
                            int status) {
    // Nobody is there either; who tried all the same would be at it for a day.
    std::vector<std::string> argv{program("host_driver"), "--bus", "grpc:localhost:1", "--timeout", "86400"};
    argv.insert(argv.end(), options.begin(), options.end());
    argv.insert(argv.end(), command.begin(), command.end());
    const Finished done = run(argv);
    EXPECT_EQ(done.status, status) << command[0] << ": " << done.err;
    EXPECT_EQ(done.out, "") << command[0];
    EXPECT_EQ(lines_of(done.err), 1) << command[0] << ": " << done.err;
    for (const std::string& part : says) EXPECT_TRUE(has(done.err, part)) << command[0] << ": " << done.err;
  };
  for (const auto& wrong : cases) expect_refused(wrong.options, wrong.says, {"info"}, 3);
  // Whatever is to be done with them.
  expect_refused(cases[0].options, cases[0].says, {"watch"}, 3);
  expect_refused(cases[0].options, cases[0].says, {"serve", "--socket", file("s")}, 3);
  expect_refused(cases[0].options, cases[0].says, {"run", "--", "true"}, 125);
}

TEST_F(TlsFiles, BmcctlSaysWhatADaemonWithTlsWants) {
  Daemon daemon(folder_, source_file("configs/one-kcs.yaml"),
                {"--listen", "127.0.0.1:0", "--tls-cert", file("server.pem"), "--tls-key", file("server.key"), "--tls-client-ca", file("ca.pem")});
  const std::string out = daemon.process().out();
  const size_t at = out.find("127.0.0.1:");
  ASSERT_NE(at, std::string::npos) << out;
  const std::string address = out.substr(at, out.find_first_of(" \n", at) - at);
  auto list = [&](std::vector<std::string> options) {
    std::vector<std::string> argv{program("bmcctl"), "--timeout", "60", "--address", address};
    argv.insert(argv.end(), options.begin(), options.end());
    argv.push_back("list");
    return run(argv);
  };
  const Finished good = list({"--tls-ca", file("ca.pem"), "--tls-cert", file("client.pem"), "--tls-key", file("client.key")});
  EXPECT_EQ(good.status, 0) << good.err;
  const struct {
    std::vector<std::string> options;
    std::string says;
  } cases[] = {
      {{}, "reached with --tls-ca FILE"},
      {{"--tls-ca", file("other.pem")}, "not signed by --tls-ca " + file("other.pem")},
      {{"--tls-ca", file("ca.pem")}, "give --tls-cert FILE and --tls-key FILE"},
      {{"--tls-ca", file("ca.pem"), "--tls-cert", file("client.pem"), "--tls-key", file("ca.key")}, "not a pair"},
  };
  for (const auto& wrong : cases) {
    const Finished done = list(wrong.options);
    EXPECT_EQ(done.status, 3) << done.err;
    EXPECT_EQ(lines_of(done.err), 1) << done.err;
    EXPECT_TRUE(has(done.err, wrong.says)) << done.err;
  }
}

}  // namespace
}  // namespace bmcpair::integration
