// What a client can do wrong, byte by byte, and what it gets for it: its own stream ends, nobody else notices.
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <thread>

#include "integration/grpc/testing.h"
#include "proto/rpc/register_bus.grpc.pb.h"

namespace bmcpair {
namespace {

using grpc::StatusCode;
using testing::open;
using transport::GrpcServer;

class HostileClient : public ::testing::Test {
 protected:
  using Stream = grpc::ClientReaderWriter<v1::AttachRequest, v1::AttachReply>;

  HostileClient() {
    transport::GrpcServerOptions options;
    options.listen = {socket_};
    auto server = GrpcServer::start_register_bus(options, devices_);
    EXPECT_TRUE(server.ok());
    server_ = *std::move(server);
    channel_ = grpc::CreateChannel(socket_, grpc::InsecureChannelCredentials());
    stub_ = v1::RegisterBus::NewStub(channel_);
    context_.set_deadline(std::chrono::system_clock::now() + testing::kLong);
    stream_ = stub_->Attach(&context_);
  }
  ~HostileClient() override {
    context_.TryCancel();
    EXPECT_TRUE(bt_->wait_free());
    EXPECT_TRUE(open(socket_, "one/bt").ok()) << "the server has suffered";
  }

  v1::AttachRequest hello(uint32_t version = 1, const std::string& path = "one/bt", const std::string& who = "raw") {
    v1::AttachRequest m;
    m.mutable_hello()->set_protocol_version(version);
    m.mutable_hello()->set_path(path);
    m.mutable_hello()->set_who(who);
    return m;
  }
  void attach() {
    ASSERT_TRUE(stream_->Write(hello()));
    v1::AttachReply reply;
    ASSERT_TRUE(stream_->Read(&reply));
    ASSERT_TRUE(reply.has_attached());
  }
  // Sends and expects the stream to end with this.
  void ends(const v1::AttachRequest& message, StatusCode code, const std::string& words) {
    stream_->Write(message);
    v1::AttachReply reply;
    while (stream_->Read(&reply)) {
    }
    grpc::Status status = stream_->Finish();
    EXPECT_EQ(status.error_code(), code) << status.error_message();
    EXPECT_NE(status.error_message().find(words), std::string::npos) << status.error_message();
  }
  // Sends one op and returns its result.
  v1::Result one(const v1::Op& op) {
    v1::AttachRequest m;
    *m.mutable_ops()->add_ops() = op;
    EXPECT_TRUE(stream_->Write(m));
    v1::AttachReply reply;
    EXPECT_TRUE(stream_->Read(&reply));
    EXPECT_EQ(reply.results().results_size(), 1);
    return reply.results().results_size() ? reply.results().results(0) : v1::Result();
  }
  void refused(const v1::Op& op, v1::OpError::Code code, const std::string& words) {
    v1::Result result = one(op);
    EXPECT_EQ(result.id(), op.id());
    EXPECT_EQ(result.error().code(), code) << result.DebugString();
    EXPECT_NE(result.error().message().find(words), std::string::npos) << result.error().message();
    // And the stream goes on.
    v1::Op read;
    read.set_id(77);
    read.mutable_read()->set_offset(0);
    EXPECT_EQ(one(read).data().size(), 1u);
  }
  size_t accesses() {
    return bt_->condition.with([&] { return bt_->log.size(); });
  }

  testing::TemporaryDirectory directory_;
  std::string socket_ = "unix:" + directory_.path() + "/s";
  testing::Devices devices_;
  std::shared_ptr<testing::Device> bt_ = devices_.add("one/bt");
  std::unique_ptr<GrpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::RegisterBus::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<Stream> stream_;
};

TEST_F(HostileClient, AnotherProtocolVersionIsUnimplementedAndToldWhichIsSpoken) {
  ends(hello(2), StatusCode::UNIMPLEMENTED, "version 1 is");
}
TEST_F(HostileClient, NoProtocolVersionIsUnimplemented) { ends(hello(0), StatusCode::UNIMPLEMENTED, "version 0"); }
TEST_F(HostileClient, OpsBeforeHelloAreInvalid) {
  v1::AttachRequest m;
  m.mutable_ops()->add_ops()->mutable_read();
  ends(m, StatusCode::INVALID_ARGUMENT, "ops before hello");
}
TEST_F(HostileClient, AnEmptyMessageIsInvalid) {
  ends(v1::AttachRequest(), StatusCode::INVALID_ARGUMENT, "neither hello nor ops");
}
TEST_F(HostileClient, ASecondHelloIsInvalid) {
  attach();
  ends(hello(), StatusCode::INVALID_ARGUMENT, "hello again");
}
TEST_F(HostileClient, AnUnknownPathIsNotFound) { ends(hello(1, "two/bt"), StatusCode::NOT_FOUND, "two/bt"); }
TEST_F(HostileClient, APathThatIsTooLongIsExhausted) {
  ends(hello(1, std::string(257, 'x')), StatusCode::RESOURCE_EXHAUSTED, "hello.path has 257 bytes");
}
TEST_F(HostileClient, ANameWithControlCharactersIsInvalid) {
  ends(hello(1, "one/bt", "a\nb"), StatusCode::INVALID_ARGUMENT, "hello.who");
}
TEST_F(HostileClient, ABusyInterfaceIsAFailedPreconditionThatNamesItsHolder) {
  auto holder = *open(socket_, "one/bt", "holder[1]");
  ends(hello(), StatusCode::FAILED_PRECONDITION, "holder[1]");
}
TEST_F(HostileClient, NoOpsAreInvalid) {
  attach();
  v1::AttachRequest m;
  m.mutable_ops();
  ends(m, StatusCode::INVALID_ARGUMENT, "empty");
}
TEST_F(HostileClient, TooManyOpsAreExhaustedAndNoneIsExecuted) {
  attach();
  v1::AttachRequest m;
  for (int i = 0; i < 129; ++i) m.mutable_ops()->add_ops()->mutable_write();
  ends(m, StatusCode::RESOURCE_EXHAUSTED, "129 ops");
  EXPECT_EQ(accesses(), 0u);
}
TEST_F(HostileClient, TooManyOpsHiddenInABatchAreExhausted) {
  attach();
  v1::AttachRequest m;
  v1::Batch* batch = m.mutable_ops()->add_ops()->mutable_batch();
  for (int i = 0; i < 128; ++i) batch->add_ops()->mutable_write();
  ends(m, StatusCode::RESOURCE_EXHAUSTED, "129 ops");
}
TEST_F(HostileClient, TooManyBytesInOneMessageAreExhausted) {
  attach();
  v1::AttachRequest m;
  for (uint64_t i = 1; i <= 17; ++i) {
    v1::Op* op = m.mutable_ops()->add_ops();
    op->set_id(i);
    op->mutable_burst_read()->set_count(512);
  }
  ends(m, StatusCode::RESOURCE_EXHAUSTED, "8704 bytes");
  EXPECT_EQ(accesses(), 0u);
}
TEST_F(HostileClient, AMessageAboveTheSizeLimitEndsTheStream) {
  attach();
  v1::AttachRequest m;
  m.mutable_ops()->add_ops()->mutable_burst_write()->set_data(std::string(100000, 'x'));
  stream_->Write(m);
  v1::AttachReply reply;
  while (stream_->Read(&reply)) {
  }
  EXPECT_FALSE(stream_->Finish().ok());
  EXPECT_EQ(accesses(), 0u);
}

TEST_F(HostileClient, AnOffsetBeyondTheRegistersIsRefusedAlone) {
  attach();
  v1::Op op;
  op.set_id(5);
  op.mutable_read()->set_offset(3);
  refused(op, v1::OpError::CODE_OFFSET, "offset 3: there are 3 registers");
  op.mutable_write()->set_offset(0xffffffff);
  refused(op, v1::OpError::CODE_OFFSET, "offset 4294967295");
  op.mutable_burst_read()->set_offset(3);
  op.mutable_burst_read()->set_count(1);
  refused(op, v1::OpError::CODE_OFFSET, "offset 3");
  op.mutable_burst_write()->set_offset(65536);
  op.mutable_burst_write()->set_data("x");
  refused(op, v1::OpError::CODE_OFFSET, "offset 65536");
  op.mutable_counted_read()->set_offset(4);
  op.mutable_counted_read()->set_max_bytes(9);
  refused(op, v1::OpError::CODE_OFFSET, "offset 4");
}
TEST_F(HostileClient, AValueAboveAByteIsRefused) {
  attach();
  v1::Op op;
  op.set_id(5);
  op.mutable_write()->set_value(256);
  refused(op, v1::OpError::CODE_INVALID, "value 256");
}
TEST_F(HostileClient, BurstsOfNothingOrOfTooMuchAreRefused) {
  attach();
  v1::Op op;
  op.set_id(5);
  op.mutable_burst_read();
  refused(op, v1::OpError::CODE_INVALID, "count is 0");
  op.mutable_burst_read()->set_count(513);
  refused(op, v1::OpError::CODE_LIMIT, "count 513");
  op.mutable_burst_read()->set_count(0xffffffff);
  refused(op, v1::OpError::CODE_LIMIT, "count 4294967295");
  op.mutable_burst_write();
  refused(op, v1::OpError::CODE_INVALID, "data is 0");
  op.mutable_burst_write()->set_data(std::string(513, 'x'));
  refused(op, v1::OpError::CODE_LIMIT, "data 513");
  op.mutable_counted_read();
  refused(op, v1::OpError::CODE_INVALID, "max_bytes is 0");
  op.mutable_counted_read()->set_max_bytes(600);
  refused(op, v1::OpError::CODE_LIMIT, "max_bytes 600");
}
TEST_F(HostileClient, AnOpWithoutAnActionAndAReadWithoutAnIdAreRefused) {
  attach();
  v1::Op op;
  op.set_id(5);
  refused(op, v1::OpError::CODE_INVALID, "no action");
  op.set_id(0);
  op.mutable_read();
  refused(op, v1::OpError::CODE_INVALID, "a read has no id");
  op.mutable_counted_read()->set_max_bytes(2);
  refused(op, v1::OpError::CODE_INVALID, "a counted read has no id");
  op.mutable_batch()->add_ops()->mutable_read();
  refused(op, v1::OpError::CODE_INVALID, "a batch that reads has no id");
}
TEST_F(HostileClient, OneBadOpInABatchKeepsAllOfItFromBeingExecuted) {
  attach();
  v1::Op op;
  op.set_id(5);
  op.mutable_batch()->add_ops()->mutable_write()->set_value(1);
  op.mutable_batch()->add_ops()->mutable_write()->set_offset(9);
  EXPECT_EQ(one(op).error().code(), v1::OpError::CODE_OFFSET);
  EXPECT_EQ(accesses(), 0u);
  op.mutable_batch()->mutable_ops()->RemoveLast();
  op.mutable_batch()->add_ops()->mutable_batch()->add_ops()->mutable_write();
  refused(op, v1::OpError::CODE_INVALID, "op 1 of the batch: a batch inside a batch");
  op.mutable_batch()->clear_ops();
  refused(op, v1::OpError::CODE_INVALID, "an empty batch");
}
TEST_F(HostileClient, ABatchAnswersItsReadsInOrder) {
  attach();
  bt_->condition.change([&] { bt_->fifo = {2, 7, 8}; });
  v1::Op op;
  op.set_id(5);
  v1::Batch* batch = op.mutable_batch();
  batch->add_ops()->mutable_write()->set_value(0x21);
  batch->add_ops()->mutable_read();
  v1::Op* counted = batch->add_ops();
  counted->set_id(9);
  counted->mutable_counted_read()->set_offset(1);
  counted->mutable_counted_read()->set_max_bytes(256);
  v1::Result result = one(op);
  ASSERT_EQ(result.batch_size(), 2) << result.DebugString();
  EXPECT_EQ(result.batch(0).data(), "\x21");
  EXPECT_EQ(result.batch(1).id(), 9u);
  EXPECT_EQ(result.batch(1).data(), std::string("\x02\x07\x08"));
}
TEST_F(HostileClient, AWriteWithAnIdIsAcknowledged) {
  attach();
  v1::Op op;
  op.set_id(1);
  op.mutable_write()->set_value(3);
  v1::Result result = one(op);
  EXPECT_EQ(result.id(), 1u);
  EXPECT_FALSE(result.has_error());
  EXPECT_EQ(bt_->condition.with([&] { return bt_->value[0]; }), 3);
}
TEST_F(HostileClient, AClientThatNeverReadsItsAnswersIsNotServedWithoutBoundAndDoesNotHoldUpAStop) {
  attach();
  v1::AttachRequest m;
  for (uint64_t i = 1; i <= 16; ++i) {
    v1::Op* op = m.mutable_ops()->add_ops();
    op->set_id(i);
    op->mutable_burst_read()->set_count(512);
  }
  std::thread writer([&] {
    for (int i = 0; i < 2000; ++i)
      if (!stream_->Write(m)) return;
  });
  EXPECT_TRUE(bt_->condition.wait([&] { return bt_->log.size() > 8192; }));
  auto begin = std::chrono::steady_clock::now();
  server_->stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, testing::kLong);
  context_.TryCancel();
  writer.join();
  // Of the 16 MB that were asked for only what fits into the windows was read.
  EXPECT_LT(accesses(), 2000u * 8192u / 4u);
  transport::GrpcServerOptions options;
  options.listen = {socket_};
  server_ = *GrpcServer::start_register_bus(options, devices_);
}

// Bytes that are no message at all, through gRPC's untyped interface.
class RawBytes : public HostileClient {
 protected:
  grpc::Status send(const std::string& method, const std::string& bytes, std::string* reply = nullptr) {
    grpc::GenericStub generic(channel_);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + testing::kLong);
    grpc::CompletionQueue queue;
    auto call = generic.PrepareCall(&context, method, &queue);
    auto step = [&] {
      void* tag;
      bool ok = false;
      return queue.Next(&tag, &ok) && ok;
    };
    call->StartCall(nullptr);
    step();
    grpc::Slice slice(bytes);
    call->WriteLast(grpc::ByteBuffer(&slice, 1), grpc::WriteOptions(), nullptr);
    step();
    grpc::ByteBuffer in;
    call->Read(&in, nullptr);
    if (step() && reply) {
      std::vector<grpc::Slice> slices;
      if (in.Dump(&slices).ok())
        for (const auto& s : slices) reply->append(reinterpret_cast<const char*>(s.begin()), s.size());
      // Streams have more to come; what was asked is here.
      context.TryCancel();
    }
    grpc::Status status;
    call->Finish(&status, nullptr);
    step();
    queue.Shutdown();
    void* tag;
    bool ok;
    while (queue.Next(&tag, &ok)) {
    }
    return status;
  }
};

TEST_F(RawBytes, WhatIsNoProtobufIsInvalidArgument) {
  for (const std::string& bytes :
       {std::string("\xff\xff\xff\xff"), std::string("\x0a\x7f"), std::string("\x0a\x03\x12\x01\xff", 5)}) {
    grpc::Status status = send("/bmcpair.v1.RegisterBus/Attach", bytes);
    EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT) << status.error_message();
    EXPECT_NE(status.error_message().find("no AttachRequest"), std::string::npos) << status.error_message();
  }
}
TEST_F(RawBytes, AnUnknownMethodIsUnimplemented) {
  EXPECT_EQ(send("/bmcpair.v1.RegisterBus/Nothing", "").error_code(), StatusCode::UNIMPLEMENTED);
}
TEST_F(RawBytes, HealthAnswersServing) {
  std::string reply;
  send("/grpc.health.v1.Health/Check", std::string("\x0a\x16") + "bmcpair.v1.RegisterBus", &reply);
  EXPECT_EQ(reply, std::string("\x08\x01"));  // status: SERVING
}
TEST_F(RawBytes, ReflectionListsTheServices) {
  std::string reply;
  send("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", std::string("\x3a\x00", 2), &reply);
  EXPECT_NE(reply.find("bmcpair.v1.RegisterBus"), std::string::npos);
  EXPECT_NE(reply.find("grpc.channelz.v1.Channelz"), std::string::npos);
}
TEST_F(RawBytes, ChannelzKnowsTheServer) {
  std::string reply;
  send("/grpc.channelz.v1.Channelz/GetServers", "", &reply);
  EXPECT_FALSE(reply.empty());
}

}  // namespace
}  // namespace bmcpair
