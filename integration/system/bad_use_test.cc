// What goes wrong around the programs: a disk, a folder, a port, a certificate, another's daemon. Each is one line that says what
// to do, and a documented exit status (docs/bmc_emu.md, docs/host_driver.md).
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "integration/system/process.h"

namespace bmcpair::integration {
namespace {

constexpr int kExitStart = 4;

std::string config() { return source_file("configs/one-kcs.yaml"); }

void expect_refused(const Finished& done, int status, const std::string& says) {
  EXPECT_EQ(done.status, status) << done.out << done.err;
  EXPECT_NE(done.err.find(says), std::string::npos) << done.err;
  EXPECT_EQ(lines_of(done.err), 1) << done.err;
}

// A listening TCP port of ours.
class TakenPort {
 public:
  TakenPort() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (::bind(fd_, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(fd_, 1) != 0 ||
        ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      throw std::runtime_error("no TCP port");
    }
    port_ = ntohs(address.sin_port);
  }
  ~TakenPort() { ::close(fd_); }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

 private:
  const int fd_;
  uint16_t port_ = 0;
};

void make_certificate(const TemporaryFolder& folder, const std::string& name) {
  const Finished made = run({"openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", folder / (name + ".key"), "-out",
                             folder / (name + ".pem"), "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"});
  ASSERT_EQ(made.status, 0) << made.err;
}

}  // namespace

TEST(BadUse, APortInUseIsSaidToBe) {
  TakenPort port;
  expect_refused(run({program("bmc_emu"), config(), "--listen", port.address()}), kExitStart, "the port is in use");
}

TEST(BadUse, AKeyThatIsNotTheCertificatesIsNotTakenForAPortInUse) {
  TemporaryFolder folder;
  make_certificate(folder, "one");
  make_certificate(folder, "two");
  expect_refused(run({program("bmc_emu"), config(), "--listen", "127.0.0.1:0", "--tls-cert", folder / "one.pem", "--tls-key", folder / "two.key"}),
                 kExitStart, "does the key belong to the certificate?");
}

TEST(BadUse, ACertificateThatIsNoneIsNamedOnBothSides) {
  TemporaryFolder folder;
  write_file(folder / "junk.pem", "junk\n");
  expect_refused(run({program("bmc_emu"), config(), "--listen", "127.0.0.1:0", "--tls-cert", folder / "junk.pem", "--tls-key", folder / "junk.pem"}),
                 kExitStart, folder / "junk.pem");
  expect_refused(host_driver({"--bus", "grpc:localhost:1", "--tls-ca", folder / "junk.pem", "--timeout", "5", "info"}), 3, folder / "junk.pem");
  expect_refused(host_driver({"--bus", "grpc:localhost:1", "--tls-ca", folder / "none.pem", "--timeout", "5", "info"}), 3, folder / "none.pem");
}

TEST(BadUse, AStateFolderThatCannotBeWrittenIsNamed) {
  TemporaryFolder folder;
  write_file(folder / "file", "");
  for (const std::string& state : {folder / "file", std::string("/proc/bmcpair-state")}) {
    expect_refused(run({program("bmc_emu"), config(), "--listen", "unix:" + (folder / "s"), "--state", state}), kExitStart, state);
  }
}

TEST(BadUse, AFullDiskIsAnErrorOfTheWriteAndTheDaemonGoesOn) {
  TemporaryFolder folder;
  Process daemon({"sh", "-c", "ulimit -f 200; exec \"$@\"", "sh", program("bmc_emu"), config(), "--listen", "unix:" + (folder / "s"), "--state",
                  folder / "state"});
  ASSERT_TRUE(daemon.wait_for_output("ready")) << daemon.out() << daemon.err();
  const std::string bus = "grpc:unix:" + (folder / "s");
  // Adds until an entry is not acknowledged.
  const Finished added = run({program("sel_adder"), bus, "1"});
  EXPECT_EQ(added.status, 1) << added.err;
  EXPECT_NE(added.err.find("ffh"), std::string::npos) << "not a full SEL: " << added.err;
  EXPECT_TRUE(daemon.running()) << daemon.err();
  EXPECT_EQ(host_driver({"--bus", bus, "--timeout", "60", "info"}).status, 0) << daemon.err();
  EXPECT_TRUE(daemon.wait_for_output("state cannot be kept in " + (folder / "state"))) << daemon.err();
  EXPECT_EQ(lines_of(daemon.err()), 1) << daemon.err();
}

TEST(BadUse, NoSecretIsInALog) {
  TemporaryFolder folder;
  write_file(folder / "secret.yaml",
             "bmcs:\n  - name: a\n    interfaces: [{kind: kcs}]\n    users:\n      - {id: 2, name: admin, password: Sw0rdfish, privilege: administrator}\n");
  Daemon daemon(folder, folder / "secret.yaml", {"--log-level", "trace", "--state", folder / "state"});
  // Set User Password of user 2 to "Sw0rdfish", and a test of it (IPMI 2.0, 22.30).
  const std::vector<std::string> password{"0x53", "0x77", "0x30", "0x72", "0x64", "0x66", "0x69", "0x73", "0x68", "0", "0", "0", "0", "0", "0", "0"};
  for (const char* operation : {"2", "3"}) {
    std::vector<std::string> arguments{"--bus", daemon.bus(""), "--timeout", "60", "raw", "6", "0x47", "2", operation};
    arguments.insert(arguments.end(), password.begin(), password.end());
    const Finished done = host_driver(arguments);
    EXPECT_EQ(done.status, 0) << done.out << done.err;
  }
  daemon.stop();
  for (const std::string& text : {daemon.process().out(), daemon.process().err()}) {
    EXPECT_EQ(text.find("Sw0rdfish"), std::string::npos) << text;
    EXPECT_EQ(text.find("53 77 30 72"), std::string::npos) << text;
    EXPECT_EQ(text.find("53773072"), std::string::npos) << text;
  }
}

}  // namespace bmcpair::integration
