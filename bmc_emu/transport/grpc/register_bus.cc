#include "bmc_emu/transport/grpc/register_bus.h"

#include <deque>
#include <mutex>
#include <optional>
#include <set>
#include <utility>

#include <grpcpp/grpcpp.h>

#include "bmc_emu/transport/grpc/ops.h"
#include "bmc_emu/transport/grpc/status.h"
#include "proto/rpc/register_bus.grpc.pb.h"

namespace bmcpair::transport {
namespace {

// Answers that wait for a client that does not read them; until there is room its next message is not read.
constexpr size_t kRepliesWaitingMax = 8;
constexpr size_t kStreamsMax = 65536;

using Message = grpc::SerializationTraits<v1::AttachRequest>;
using Reply = grpc::SerializationTraits<v1::AttachReply>;

v1::InterfaceKind kind_of(registers::InterfaceKind kind) {
  switch (kind) {
    case registers::InterfaceKind::kKcs: return v1::INTERFACE_KIND_KCS;
    case registers::InterfaceKind::kBt: return v1::INTERFACE_KIND_BT;
    case registers::InterfaceKind::kSmic: return v1::INTERFACE_KIND_SMIC;
  }
  return v1::INTERFACE_KIND_UNSPECIFIED;
}

class Attachment;

struct Shared {
  explicit Shared(registers::PortProvider& p, Counters& c) : ports(p), counters(c) {}
  registers::PortProvider& ports;
  Counters& counters;

  std::mutex mutex;
  std::set<std::shared_ptr<Attachment>> live;
  std::optional<std::string> stopping;
};

// The reactions come from gRPC's threads, the port's handlers from the board's. The port is used by one reaction at a
// time (reads are not overlapped), and let go outside the mutex: it waits for its own handlers, which take the mutex.
class Attachment : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                   public std::enable_shared_from_this<Attachment> {
 public:
  Attachment(std::shared_ptr<Shared> shared, std::string peer) : shared_(std::move(shared)), peer_(std::move(peer)) {}

  // Refused streams are never listed, and keep themselves.
  void begin(bool listed, const grpc::Status& refusal) {
    self_ = shared_from_this();
    listed_ = listed;
    if (!refusal.ok()) {
      end(refusal);
    } else {
      std::lock_guard lock(mutex_);
      if (!ended_) StartRead(&in_);
    }
  }

  void OnReadDone(bool ok) override {
    // The client has said its last word, or is gone: detached before it learns that the stream has ended.
    if (!ok) return end(grpc::Status::OK);
    // After the reaction before this one: gRPC sees to it, but ThreadSanitizer cannot see into gRPC.
    { std::lock_guard lock(mutex_); }
    v1::AttachRequest request;
    if (grpc::Status parsed = Message::Deserialize(&in_, &request); !parsed.ok())
      return end({grpc::StatusCode::INVALID_ARGUMENT, "message " + std::to_string(messages_) + " is no AttachRequest"});
    in_.Clear();
    if (Status status = take(request); !status.ok()) return end(to_grpc(status.error()));
    ++messages_;
    std::lock_guard lock(mutex_);
    if (ended_) return;
    if (replies_.size() >= kRepliesWaitingMax) {
      read_held_ = true;
    } else {
      StartRead(&in_);
    }
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard lock(mutex_);
    writing_ = false;
    if (!ok || ended_) return;  // OnReadDone or OnCancel tells the rest
    write_next();
    if (read_held_ && replies_.size() < kRepliesWaitingMax) {
      read_held_ = false;
      StartRead(&in_);
    }
  }

  void OnCancel() override { end(grpc::Status::CANCELLED); }

  void OnDone() override {
    release_port();
    if (listed_) {
      std::lock_guard lock(shared_->mutex);
      shared_->live.erase(self_);
      --shared_->counters.streams;
    }
    auto self = std::move(self_);  // the last reference may go here
  }

  // From any thread but a handler of the port's.
  void end(const grpc::Status& status) {
    release_port();
    finish(status);
  }

 private:
  Status take(const v1::AttachRequest& request) {
    switch (request.message_case()) {
      case v1::AttachRequest::kHello:
        if (messages_ != 0)
          return Error{ErrorCode::kInvalidArgument, "message " + std::to_string(messages_) + ": hello again"};
        return attach(request.hello());
      case v1::AttachRequest::kOps: {
        if (messages_ == 0) return Error{ErrorCode::kInvalidArgument, "ops before hello"};
        return execute(request.ops());
      }
      case v1::AttachRequest::MESSAGE_NOT_SET: break;
    }
    return Error{ErrorCode::kInvalidArgument,
                 "message " + std::to_string(messages_) + " is neither hello nor ops that are known here"};
  }

  Status attach(const v1::Hello& hello) {
    auto refused = [this](Error error) {
      ++shared_->counters.attaches_refused;
      return error;
    };
    if (Status s = check_hello(hello); !s.ok()) return refused(s.error());
    auto made = shared_->ports.attach(hello.path(), hello.who().empty() ? peer_ : hello.who());
    if (!made.ok()) return refused(made.error());
    ++shared_->counters.attaches;
    std::shared_ptr<registers::RegisterPort> port = *std::move(made);

    v1::AttachReply reply;
    v1::Attached* attached = reply.mutable_attached();
    attached->set_endpoint(port->endpoint());
    attached->set_kind(kind_of(port->kind()));
    attached->set_register_count(registers::register_count(port->kind()));
    attached->set_has_interrupt(port->has_interrupt());
    attached->set_protocol_version(kProtocolVersion);
    // Before the host knows that it is attached: no change that it could cause or await is missed. They wait for
    // `attached` to go first.
    std::weak_ptr<Attachment> weak = weak_from_this();
    port->set_interrupt_handler([weak](bool level) {
      if (auto self = weak.lock()) self->interrupt(level);
    });
    port->set_link_handler([weak](const registers::LinkState& link) {
      auto self = weak.lock();
      if (self && !link.up) self->finish({grpc::StatusCode::ABORTED, "detached: " + link.reason});
    });
    {
      std::lock_guard lock(mutex_);
      if (ended_) return {};
      port_ = port;
      announced_ = true;
      push(reply);
    }
    // What happened before the handler was there.
    if (registers::LinkState link = port->link(); !link.up)
      return Error{ErrorCode::kUnavailable, "detached: " + link.reason};
    return {};
  }

  Status execute(const v1::Ops& ops) {
    std::shared_ptr<registers::RegisterPort> port;
    {
      std::lock_guard lock(mutex_);
      port = port_;
    }
    if (!port) return {};  // ended meanwhile
    v1::AttachReply reply;
    OpCounts counts;
    Status status = execute_ops(ops, *port, *reply.mutable_results(), counts);
    shared_->counters.messages.fetch_add(1, std::memory_order_relaxed);
    shared_->counters.ops.fetch_add(counts.executed, std::memory_order_relaxed);
    shared_->counters.ops_refused.fetch_add(counts.refused, std::memory_order_relaxed);
    if (!status.ok()) return status;
    if (reply.results().results().empty()) return {};
    std::lock_guard lock(mutex_);
    if (!ended_) push(reply);
    return {};
  }

  void interrupt(bool level) {
    std::lock_guard lock(mutex_);
    if (ended_) return;
    interrupt_level_ = level;
    ++interrupt_changes_;
    write_next();
  }

  // With mutex_ held.
  void push(const v1::AttachReply& reply) {
    grpc::ByteBuffer buffer;
    bool own = false;
    // Serializing a message into memory fails only when it is larger than 2 GiB; Limits keep it far below.
    if (!Reply::Serialize(reply, &buffer, &own).ok()) return;
    replies_.push_back(std::move(buffer));
    write_next();
  }

  // With mutex_ held. Answers go first: the host waits for them; an interrupt may have waited already.
  void write_next() {
    if (writing_ || ended_ || !announced_) return;
    if (!replies_.empty()) {
      out_ = std::move(replies_.front());
      replies_.pop_front();
    } else if (interrupt_changes_ > 0) {
      v1::AttachReply reply;
      reply.mutable_interrupt()->set_level(interrupt_level_);
      reply.mutable_interrupt()->set_changes(std::exchange(interrupt_changes_, 0));
      bool own = false;
      if (!Reply::Serialize(reply, &out_, &own).ok()) return;
      shared_->counters.interrupts_pushed.fetch_add(1, std::memory_order_relaxed);
    } else {
      return;
    }
    writing_ = true;
    StartWrite(&out_);
  }

  void release_port() {
    std::shared_ptr<registers::RegisterPort> port;
    {
      std::lock_guard lock(mutex_);
      port = std::move(port_);
    }
    if (!port) return;
    port->set_interrupt_handler({});
    port->set_link_handler({});
  }

  // Once only; nothing is written afterwards. Also from handlers of the port's: it stays until OnDone.
  void finish(const grpc::Status& status) {
    std::lock_guard lock(mutex_);
    if (std::exchange(ended_, true)) return;
    Finish(status);
  }

  const std::shared_ptr<Shared> shared_;
  const std::string peer_;
  std::shared_ptr<Attachment> self_;  // until OnDone
  bool listed_ = false;
  grpc::ByteBuffer in_;
  grpc::ByteBuffer out_;
  uint64_t messages_ = 0;  // of the reading reaction alone

  std::mutex mutex_;
  std::shared_ptr<registers::RegisterPort> port_;
  std::deque<grpc::ByteBuffer> replies_;
  uint64_t interrupt_changes_ = 0;
  bool interrupt_level_ = false;
  bool announced_ = false;
  bool writing_ = false;
  bool read_held_ = false;
  bool ended_ = false;
};

class Service : public RegisterBusService, v1::RegisterBus::WithRawCallbackMethod_Attach<v1::RegisterBus::Service> {
 public:
  Service(registers::PortProvider& ports, Counters& counters) : shared_(std::make_shared<Shared>(ports, counters)) {}

  grpc::Service& service() override { return *this; }

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Attach(grpc::CallbackServerContext* context) override {
    auto attachment = std::make_shared<Attachment>(shared_, context->peer());
    grpc::Status refusal;
    bool listed = false;
    {
      std::lock_guard lock(shared_->mutex);
      if (shared_->stopping) {
        refusal = {grpc::StatusCode::UNAVAILABLE, *shared_->stopping};
      } else if (shared_->live.size() >= kStreamsMax) {
        refusal = {grpc::StatusCode::RESOURCE_EXHAUSTED, "there are " + std::to_string(kStreamsMax) + " streams already"};
      } else {
        shared_->live.insert(attachment);
        ++shared_->counters.streams;
        listed = true;
      }
    }
    attachment->begin(listed, refusal);
    return attachment.get();
  }

  void stop(const std::string& why) override {
    std::set<std::shared_ptr<Attachment>> live;
    {
      std::lock_guard lock(shared_->mutex);
      shared_->stopping = why;
      live = shared_->live;
    }
    for (const auto& attachment : live) attachment->end({grpc::StatusCode::UNAVAILABLE, why});
  }

 private:
  std::shared_ptr<Shared> shared_;
};

}  // namespace

std::unique_ptr<RegisterBusService> RegisterBusService::create(registers::PortProvider& ports, Counters& counters) {
  return std::make_unique<Service>(ports, counters);
}

}  // namespace bmcpair::transport
