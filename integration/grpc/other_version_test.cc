// A daemon of another version, or another daemon: what a host's user is told.
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "integration/grpc/testing.h"
#include "proto/rpc/control.grpc.pb.h"
#include "proto/rpc/register_bus.grpc.pb.h"

namespace bmcpair {
namespace {

// As a daemon that speaks a later protocol only (proto/rpc/register_bus.proto: how the stream ends).
class AnotherVersion final : public v1::RegisterBus::Service {
  grpc::Status Attach(grpc::ServerContext*, grpc::ServerReaderWriter<v1::AttachReply, v1::AttachRequest>* stream) override {
    v1::AttachRequest hello;
    stream->Read(&hello);
    return {grpc::StatusCode::UNIMPLEMENTED, "RegisterBus protocol version " +
                                                 std::to_string(hello.hello().protocol_version()) +
                                                 " is not spoken here, version 7 is"};
  }
};

class OtherVersion : public ::testing::Test {
 protected:
  std::string error_of(grpc::Service& service) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(socket_, grpc::InsecureServerCredentials());
    builder.RegisterService(&service);
    auto server = builder.BuildAndStart();
    auto port = testing::open(socket_, "one/bt");
    server->Shutdown(std::chrono::system_clock::now());
    EXPECT_FALSE(port.ok());
    if (port.ok()) return {};
    EXPECT_EQ(port.error().code, ErrorCode::kProtocol);
    return port.error().message;
  }
  testing::TemporaryDirectory directory_;
  const std::string socket_ = "unix:" + directory_.path() + "/s";
};

TEST_F(OtherVersion, OfADaemonIsSaidInOneLineWithWhatToDo) {
  AnotherVersion service;
  const std::string said = error_of(service);
  EXPECT_NE(said.find("version 1 is not spoken here, version 7 is; is that a bmc_emu of another version? Install the same of both"),
            std::string::npos)
      << said;
  EXPECT_EQ(said.find('\n'), std::string::npos) << said;
}

TEST_F(OtherVersion, AServerThatIsNoBmcEmuIsSaidToBeNone) {
  v1::Control::Service other;
  const std::string said = error_of(other);
  EXPECT_NE(said.find("does not know bmcpair's services; is that a bmc_emu of another version?"), std::string::npos) << said;
}

}  // namespace
}  // namespace bmcpair
