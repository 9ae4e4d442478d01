#include "integration/bench/floors.h"

#include <grpcpp/grpcpp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <thread>

#include "integration/bench/echo.grpc.pb.h"

namespace bmcpair::bench {
namespace {

[[noreturn]] void fatal(const char* what) {
  std::perror(what);
  std::abort();
}

class EchoService final : public rpc::Echo::CallbackService {
 public:
  grpc::ServerBidiReactor<rpc::EchoMessage, rpc::EchoMessage>* Stream(grpc::CallbackServerContext*) override {
    class Reactor final : public grpc::ServerBidiReactor<rpc::EchoMessage, rpc::EchoMessage> {
     public:
      Reactor() { StartRead(&message_); }
      void OnReadDone(bool ok) override {
        if (ok) {
          StartWrite(&message_);
        } else {
          Finish(grpc::Status::OK);
        }
      }
      void OnWriteDone(bool ok) override {
        if (ok) StartRead(&message_);
      }
      void OnDone() override { delete this; }

     private:
      rpc::EchoMessage message_;
    };
    return new Reactor;
  }
};

// The plainest client there is: a synchronous stream.
class GrpcEcho final : public Echo {
 public:
  explicit GrpcEcho(const std::string& path) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("unix:" + path, grpc::InsecureServerCredentials());
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    if (!server_) fatal("echo server");
    stub_ = rpc::Echo::NewStub(grpc::CreateChannel("unix:" + path, grpc::InsecureChannelCredentials()));
    stream_ = stub_->Stream(&context_);
  }
  ~GrpcEcho() override {
    stream_->WritesDone();
    stream_->Finish();
    server_->Shutdown();
  }
  void round_trip(const Bytes& payload) override {
    message_.set_payload(payload.data(), payload.size());
    if (!stream_->Write(message_) || !stream_->Read(&message_)) fatal("echo stream");
  }

 private:
  EchoService service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<rpc::Echo::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<rpc::EchoMessage, rpc::EchoMessage>> stream_;
  rpc::EchoMessage message_;
};

void read_exactly(int fd, uint8_t* data, size_t size, bool* closed) {
  while (size > 0) {
    ssize_t n = ::read(fd, data, size);
    if (n <= 0) {
      *closed = true;
      return;
    }
    data += n;
    size -= static_cast<size_t>(n);
  }
}

class SocketEcho final : public Echo {
 public:
  SocketEcho(size_t there, size_t back) : buffer_(back) {
    if (::socketpair(AF_UNIX, SOCK_STREAM, 0, fd_) != 0) fatal("socketpair");
    thread_ = std::thread([fd = fd_[1], there, back] {
      Bytes buffer(there), answer(back);
      for (bool closed = false;;) {
        read_exactly(fd, buffer.data(), buffer.size(), &closed);
        if (closed) return;
        if (::write(fd, answer.data(), answer.size()) < 0) return;
      }
    });
  }
  ~SocketEcho() override {
    ::shutdown(fd_[0], SHUT_RDWR);
    thread_.join();
    ::close(fd_[0]);
    ::close(fd_[1]);
  }
  void round_trip(const Bytes& payload) override {
    bool closed = false;
    if (::write(fd_[0], payload.data(), payload.size()) < 0) fatal("write");
    read_exactly(fd_[0], buffer_.data(), buffer_.size(), &closed);
    if (closed) fatal("echo socket closed");
  }

 private:
  int fd_[2];
  Bytes buffer_;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Echo> make_grpc_echo(const std::string& path) { return std::make_unique<GrpcEcho>(path); }
std::unique_ptr<Echo> make_socket_echo(size_t there, size_t back) { return std::make_unique<SocketEcho>(there, back); }

}  // namespace bmcpair::bench
