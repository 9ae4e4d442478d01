// A host and its BMC on two machines: mutual TLS over a real (virtual) cable that is cut and healed.
#include "integration/clients/network.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "integration/clients/virtual_host.h"
#include "integration/system/certificates.h"

namespace bmcpair::integration::clients {
namespace {

std::string content(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

class TwoMachines : public testing::Test {
 protected:
  void SetUp() override {
    write_file(folder_ / "config.yaml", kConfig);
    const Finished made = make_certificates(folder_.path(), std::string("IP:") + Network::kBmcAddress);
    ASSERT_EQ(made.status, 0) << made.err;
    daemon_ = std::make_unique<Process>(network_.in(
        Network::kBmc,
        {program("bmc_emu"), folder_ / "config.yaml", "--listen", kAddress, "--listen",
         "unix:" + (folder_ / "bmc_emu.sock"), "--run-dir", folder_.path(), "--tls-cert", folder_ / "server.pem",
         "--tls-key", folder_ / "server.key", "--tls-client-ca", folder_ / "ca.pem"}));
    ASSERT_TRUE(daemon_->wait_for_output("ready")) << daemon_->err();
  }

  std::vector<std::string> tls(const std::string& ca, const std::string& certificate = "",
                               const std::string& key = "") {
    std::vector<std::string> out;
    if (!ca.empty()) out = {"--tls-ca", folder_ / (ca + ".pem")};
    if (!certificate.empty()) out.insert(out.end(), {"--tls-certificate", folder_ / (certificate + ".pem")});
    if (!key.empty()) out.insert(out.end(), {"--tls-key", folder_ / (key + ".key")});
    return out;
  }
  std::unique_ptr<Process> driver(const std::vector<std::string>& tls_arguments, const std::string& timeout) {
    std::vector<std::string> argv = {program("host_driver"), "--bus", kBus, "--timeout", timeout};
    argv.insert(argv.end(), tls_arguments.begin(), tls_arguments.end());
    argv.insert(argv.end(), {"raw", "6", "1"});
    return std::make_unique<Process>(network_.in(Network::kClient, argv));
  }
  void serve() {
    std::vector<std::string> arguments = tls("ca", "client", "client");
    arguments.push_back("--verbose");
    served_ =
        std::make_unique<Served>(ServeOptions{kBus, folder_ / "ipmi.sock", arguments, network_.in(Network::kClient)});
    environment_ = served_->environment();
    environment_.push_back("HOME=" + folder_.path());
  }
  Finished client(std::vector<std::string> argv) { return run(std::move(argv), environment_); }
  // bmcctl is on the BMC's machine, and does not need the cable.
  Finished ctl(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {program("bmcctl"), "--address", "unix:" + (folder_ / "bmc_emu.sock")});
    return run(arguments);
  }
  // A request is with the BMC, which takes its time, when this returns.
  std::unique_ptr<Process> in_flight() {
    EXPECT_EQ(ctl({"fault", "add", "one", "delay=60s", "cmd=get_chassis_status", "count=1"}).status, 0);
    Process watcher({program("bmcctl"), "--address", "unix:" + (folder_ / "bmc_emu.sock"), "--json", "watch", "one"});
    EXPECT_TRUE(watcher.wait_for_output("\"watching\"")) << watcher.err();
    auto asking =
        std::make_unique<Process>(std::vector<std::string>{"ipmitool", "-I", "open", "raw", "0", "1"}, environment_);
    EXPECT_TRUE(watcher.wait_for_output("\"fault\"")) << watcher.out() << asking->out() << asking->err();
    return asking;
  }
  // Until it works; how long a network takes to find out that it does is its own business.
  void works_again() {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    Finished last;
    do last = client({"ipmitool", "-I", "open", "raw", "6", "1"});
    while (last.status != 0 && std::chrono::steady_clock::now() < end);
    EXPECT_EQ(last.status, 0) << last.err << served_->process().err();
    EXPECT_TRUE(last.out.starts_with(" 2a 81 03 07")) << last.out;
    auto other = client({"bmc-info", "-D", "OPENIPMI", "--get-device-id"});
    EXPECT_EQ(other.status, 0) << other.err;
    EXPECT_TRUE(has(other.out, "Device ID             : 42")) << other.out;
  }
  // Of the lines between BEGIN and END of a key, none may be anywhere.
  void expect_no_secret_in(const std::string& text) {
    for (std::string name : {"server", "client", "stranger"}) {
      const std::string pem = content(folder_ / (name + ".key"));
      size_t begin = pem.find('\n') + 1;
      const std::string line = pem.substr(begin, pem.find('\n', begin) - begin);
      ASSERT_GT(line.size(), 20u) << name;
      EXPECT_FALSE(has(text, line)) << "the key of " << name << " is in a log";
    }
    EXPECT_FALSE(has(text, "PRIVATE KEY"));
  }

  static constexpr const char* kAddress = "10.77.0.1:7080";
  static constexpr const char* kBus = "grpc:10.77.0.1:7080#one/kcs";
  TemporaryFolder folder_;
  Network network_;
  std::unique_ptr<Process> daemon_;
  std::unique_ptr<Served> served_;
  std::vector<std::string> environment_;
};

}  // namespace

TEST_F(TwoMachines, OnlyAClientWithACertificateOfTheCaIsServedAndOthersAreToldWhatIsMissing) {
  EXPECT_TRUE(has(daemon_->out() + daemon_->err(), "gRPC on 10.77.0.1:7080 (TCP, mutual TLS)")) << daemon_->out();
  auto good = driver(tls("ca", "client", "client"), "60");
  EXPECT_EQ(good->wait(), 0) << good->err();
  EXPECT_TRUE(good->out().starts_with("1c 01 00 2a 81 03 07")) << good->out();

  struct Bad {
    const char* what;
    std::vector<std::string> arguments;
    std::vector<std::string> says;
    std::unique_ptr<Process> process = nullptr;
  };
  Bad refusals[] = {
      {"no certificate", tls("ca"), {"--tls-certificate", "--tls-key"}},
      {"a certificate of another CA", tls("ca", "stranger", "stranger"), {"stranger.pem", "--tls-client-ca"}},
      {"a server that is not trusted", tls("other", "client", "client"), {"--tls-ca", "other.pem"}},
      {"no TLS at all", {}, {"--tls-ca"}},
      {"somebody else's key", tls("ca", "client", "stranger"), {"client.pem", "stranger.key"}},
      {"half of a pair", tls("ca", "client"), {"--tls-key"}},
      {"a file that is not there", tls("nothing", "client", "client"), {"nothing.pem"}},
  };
  // Side by side, for each is tried again until the time is over.
  for (Bad& bad : refusals) bad.process = driver(bad.arguments, "15");
  std::string all;
  for (const Bad& bad : refusals) {
    EXPECT_EQ(bad.process->wait(), 3) << bad.what;
    const std::string error = bad.process->err();
    EXPECT_EQ(bad.process->out(), "") << bad.what;
    EXPECT_EQ(lines_of(error), 1) << bad.what << ": " << error;
    for (const std::string& says : bad.says) EXPECT_TRUE(has(error, says)) << bad.what << ": " << error;
    all += error;
  }
  expect_no_secret_in(all + daemon_->out() + daemon_->err());
}

TEST_F(TwoMachines, AClientInFlightIsToldThatTheCableWasCutAndTheNextWorksWhenItIsHealed) {
  serve();
  works_again();
  auto asking = in_flight();
  network_.unplug();
  EXPECT_EQ(asking->wait(), 1) << "an error, and in bounded time";
  EXPECT_TRUE(has(asking->err(), "Unable to send RAW command (channel=0x0 netfn=0x0 lun=0x0 cmd=0x1 rsp=0x"))
      << asking->err();
  // While it is cut nobody hangs, and nobody is told lies.
  auto meanwhile = client({"ipmi-raw", "-D", "OPENIPMI", "0", "6", "1"});
  EXPECT_FALSE(has(meanwhile.out, "rcvd: 01 00")) << meanwhile.out;
  network_.plug();
  works_again();
  EXPECT_TRUE(served_->process().running()) << "the same serve, all the time";
  EXPECT_EQ(served_->stop(), 0);
  expect_no_secret_in(served_->process().out() + served_->process().err() + daemon_->out() + daemon_->err());
}

TEST_F(TwoMachines, FramesThatAreSilentlyLostAreAnErrorInBoundedTimeToo) {
  serve();
  auto asking = in_flight();
  network_.swallow();
  EXPECT_EQ(asking->wait(), 1) << "an error, and in bounded time";
  EXPECT_TRUE(has(asking->err(), "Unable to send RAW command")) << asking->err();
  network_.pass();
  works_again();
  EXPECT_TRUE(served_->process().running());
  EXPECT_EQ(served_->stop(), 0);
}

}  // namespace bmcpair::integration::clients
