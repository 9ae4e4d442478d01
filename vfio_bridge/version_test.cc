// VFIO_USER_VERSION against the bytes.
#include <cerrno>
#include <nlohmann/json.hpp>

#include "vfio_bridge/protocol_fixture.h"

namespace bmcpair::vfio_bridge::testing {
namespace {

class VersionTest : public ProtocolTest {
 protected:
  // The server answers with an error, then ends the connection.
  void expect_refused(const Bytes& payload, uint32_t error, const std::string& what) {
    Client c = connect();
    EXPECT_EQ(c.fails(kVersionCmd, payload), error) << what;
    EXPECT_TRUE(c.ended()) << what;
  }
  nlohmann::json agreed(const std::string& json) {
    Client c = connect();
    Bytes p = c.ok(kVersionCmd, Client::version(json));
    EXPECT_EQ(at<uint16_t>(p, 0), 0);
    if (p.size() <= 4 || p.back() != 0) {
      ADD_FAILURE() << "no version data that ends with NUL";
      return {};
    }
    return nlohmann::json::parse(p.begin() + 4, p.end() - 1);
  }
};

TEST_F(VersionTest, QemusProposalIsAnsweredWithASubsetOfItsCapabilities) {
  start();
  auto j =
      agreed(R"({"capabilities":{"pgsizes":4096,"max_msg_fds":16,"max_dma_maps":65535,"max_data_xfer_size":1048576,)"
             R"("migration":{"max_bitmap_size":268435456,"pgsize":4096},"write_multiple":true}})");
  auto caps = j.at("capabilities");
  EXPECT_EQ(caps.at("write_multiple"), true);
  EXPECT_EQ(caps.at("pgsizes"), 4096);
  EXPECT_GT(caps.at("max_msg_fds").get<int>(), 0);
  EXPECT_LE(caps.at("max_data_xfer_size").get<int>(), 1048576);
  EXPECT_LE(caps.at("max_dma_maps").get<int>(), 65535);
  EXPECT_EQ(caps.size(), 5u) << "migration is not offered";
}

TEST_F(VersionTest, NothingIsOfferedThatWasNotProposed) {
  start();
  EXPECT_EQ(agreed("{}"), nlohmann::json::object());
  EXPECT_EQ(agreed(R"({"capabilities":{}})").at("capabilities"), nlohmann::json::object());
  EXPECT_EQ(agreed(R"({"capabilities":{"write_multiple":false}})").at("capabilities"), nlohmann::json::object());
}

TEST_F(VersionTest, TwinSocketIsNotAgreedTo) {
  start();
  auto j = agreed(R"({"capabilities":{"twin_socket":{"supported":true}}})");
  EXPECT_FALSE(j.at("capabilities").contains("twin_socket"));
}

TEST_F(VersionTest, ABareVersionIsAnsweredWithABareVersion) {
  start();
  Client c = connect();
  Bytes p = c.ok(kVersionCmd, Payload().u16(0).u16(0));
  EXPECT_EQ(p, (Bytes{0, 0, 0, 0}));
}

TEST_F(VersionTest, AHigherMinorVersionIsAnsweredWithOneThatIsNotHigher) {
  start();
  Client c = connect();
  Bytes p = c.ok(kVersionCmd, Payload().u16(0).u16(9));
  EXPECT_EQ(at<uint16_t>(p, 0), 0);
  EXPECT_LE(at<uint16_t>(p, 2), 9);
}

TEST_F(VersionTest, AnotherMajorVersionIsRefusedAndTheConnectionEnds) {
  start();
  expect_refused(Payload().u16(1).u16(0), ENOTSUP, "major 1");
  expect_refused(Payload().u16(0xffff).u16(0), ENOTSUP, "major 65535");
}

TEST_F(VersionTest, MalformedVersionDataIsRefusedAndTheConnectionEnds) {
  start();
  const std::pair<const char*, Bytes> cases[] = {
      {"too short", Bytes{0, 0, 0}},
      {"empty", Bytes{}},
      {"no NUL", Payload().u16(0).u16(0).text("{}")},
      {"NUL inside", Payload().u16(0).u16(0).text("{").u8(0).text("}").u8(0)},
      {"only a NUL", Client::version("")},
      {"not JSON", Client::version("{capabilities}")},
      {"cut JSON", Client::version(R"({"capabilities":{)")},
      {"two values", Client::version("{}{}")},
      {"an array", Client::version("[]")},
      {"bad UTF-8", Client::version("{\"\xff\xfe\":1}")},
      {"capabilities are a number", Client::version(R"({"capabilities":1})")},
      {"max_msg_fds is text", Client::version(R"({"capabilities":{"max_msg_fds":"8"}})")},
      {"max_msg_fds is negative", Client::version(R"({"capabilities":{"max_msg_fds":-1}})")},
      {"max_data_xfer_size is 0", Client::version(R"({"capabilities":{"max_data_xfer_size":0}})")},
      {"max_data_xfer_size is a fraction", Client::version(R"({"capabilities":{"max_data_xfer_size":1.5}})")},
      {"max_dma_maps is null", Client::version(R"({"capabilities":{"max_dma_maps":null}})")},
      {"pgsizes is a list", Client::version(R"({"capabilities":{"pgsizes":[4096]}})")},
      {"write_multiple is a number", Client::version(R"({"capabilities":{"write_multiple":1}})")},
      {"twin_socket is true", Client::version(R"({"capabilities":{"twin_socket":true}})")},
      {"twin_socket.supported is text", Client::version(R"({"capabilities":{"twin_socket":{"supported":"y"}}})")},
  };
  for (const auto& [what, payload] : cases) expect_refused(payload, EINVAL, what);
}

TEST_F(VersionTest, DeeplyNestedVersionDataDoesNoHarm) {
  start();
  Client c = connect();
  std::string deep(20'000, '[');
  EXPECT_EQ(c.fails(kVersionCmd, Client::version(deep + std::string(20'000, ']'))), static_cast<uint32_t>(EINVAL));
  EXPECT_TRUE(c.ended());
  Client d = connect();
  d.ok(kVersionCmd, Client::version(R"({"x":)" + deep + std::string(20'000, ']') + "}"));
}

TEST_F(VersionTest, AnyOtherFirstMessageIsRefusedAndTheConnectionEnds) {
  start();
  Client c = connect();
  EXPECT_EQ(c.fails(kGetInfoCmd, Payload().u32(16).u32(0).u32(0).u32(0)), static_cast<uint32_t>(EINVAL));
  EXPECT_TRUE(c.ended());
}

TEST_F(VersionTest, AReplyAsFirstMessageIsNotAnswered) {
  start();
  Client c = connect();
  ASSERT_TRUE(c.send_raw(Client::message(1, kVersionCmd, Client::version(), 1)));
  EXPECT_TRUE(c.ended());
}

TEST_F(VersionTest, DescriptorsWithVersionAreRefusedAndClosed) {
  start();
  Event e;
  size_t before = open_descriptors();
  {
    Client c = connect();
    EXPECT_EQ(c.fails(kVersionCmd, Client::version(), {e.fd()}), static_cast<uint32_t>(EINVAL));
    EXPECT_TRUE(c.ended());
  }
  server_->stop();
  EXPECT_LE(open_descriptors(), before);
}

TEST_F(VersionTest, ASecondVersionIsRefusedAndTheConnectionLives) {
  start();
  Client c = greeted();
  EXPECT_EQ(c.fails(kVersionCmd, Client::version()), static_cast<uint32_t>(EINVAL));
  c.expect_silence_then_alive();
}

TEST_F(VersionTest, WithoutTheVersionThePortIsNotTaken) {
  start();
  Client silent = connect();
  Client c = greeted();
  c.expect_silence_then_alive();
  EXPECT_EQ(provider_->last_path(), "bmc/interface");
}

TEST_F(VersionTest, AClientThatNeverSaysItsVersionIsClosed) {
  options_.client_wait = std::chrono::milliseconds(50);
  start();
  Client c = connect();
  EXPECT_TRUE(c.ended());
}

}  // namespace
}  // namespace bmcpair::vfio_bridge::testing
