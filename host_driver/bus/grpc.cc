#include "host_driver/bus/grpc.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <tuple>
#include <utility>
#include <vector>

#include <grpc/support/log.h>
#include <grpcpp/grpcpp.h>

#include "host_driver/bus/grpc_pump.h"
#include "host_driver/bus/tls_files.h"
#include "proto/base/address.h"
#include "proto/base/tls_advice.h"
#include "proto/rpc/control.grpc.pb.h"
#include "proto/rpc/register_bus.grpc.pb.h"

namespace bmcpair::bus {
namespace {

using registers::InterfaceKind;
using registers::LinkState;
using registers::RegisterPort;

constexpr uint32_t kProtocolVersion = 1;
constexpr Duration kDetachTimeout = std::chrono::seconds(5);
constexpr Duration kBackOffMin = std::chrono::milliseconds(10);
constexpr Duration kBackOffMax = std::chrono::seconds(1);
constexpr uint8_t kNobody = 0xff;
constexpr size_t kNamesShown = 400;  // bytes

ErrorCode code_of(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::INVALID_ARGUMENT: return ErrorCode::kInvalidArgument;
    case grpc::StatusCode::NOT_FOUND: return ErrorCode::kNotFound;
    case grpc::StatusCode::FAILED_PRECONDITION: return ErrorCode::kBusy;
    case grpc::StatusCode::UNIMPLEMENTED: return ErrorCode::kProtocol;
    case grpc::StatusCode::RESOURCE_EXHAUSTED: return ErrorCode::kLimit;
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::UNAUTHENTICATED: return ErrorCode::kPermission;
    case grpc::StatusCode::DEADLINE_EXCEEDED: return ErrorCode::kTimeout;
    default: return ErrorCode::kUnavailable;
  }
}

// With what to do about it, where that is known.
std::string what_was_said(const grpc::Status& status, const std::string& target, const OpenOptions& options) {
  const std::string& words = status.error_message();
  if (status.error_code() != grpc::StatusCode::UNIMPLEMENTED) {
    return words + tls_advice(words, canonical_address(target), {options.tls_ca, options.tls_certificate, options.tls_key});
  }
  // gRPC says nothing where a service is not known at all.
  return (words.empty() ? "who answers there does not know bmcpair's services" : words) +
         "; is that a bmc_emu of another version? Install the same of both";
}

std::string ms_text(Duration d) { return std::to_string(d / std::chrono::milliseconds(1)) + " ms"; }

// One channel, that is one connection, for all ports of one target and identity.
Result<std::shared_ptr<grpc::Channel>> channel_to(const std::string& target, const OpenOptions& options) {
  using Key = std::tuple<std::string, std::string, std::string, std::string>;
  struct Channels {
    std::mutex mutex;
    std::map<Key, std::weak_ptr<grpc::Channel>> by_target;
    // The last channel takes gRPC's event engine along, and whoever drops it waits until that one's idle threads have
    // looked up, half a second and more (gRPC 1.51). This one stays, and never connects.
    std::shared_ptr<grpc::Channel> keeps_engine = grpc::CreateChannel("unix:/", grpc::InsecureChannelCredentials());
  };
  static Channels& channels = *new Channels;

  std::lock_guard lock(channels.mutex);
  Key key(target, options.tls_ca, options.tls_certificate, options.tls_key);
  for (auto it = channels.by_target.begin(); it != channels.by_target.end();)
    it = it->second.expired() && it->first != key ? channels.by_target.erase(it) : std::next(it);
  auto& slot = channels.by_target[key];
  if (auto channel = slot.lock()) return channel;

  std::shared_ptr<grpc::ChannelCredentials> credentials;
  if (options.tls_ca.empty() && options.tls_certificate.empty() && options.tls_key.empty()) {
    credentials = grpc::InsecureChannelCredentials();
  } else {
    auto files = read_tls_files(options);
    if (!files.ok()) return files.error();
    grpc::SslCredentialsOptions ssl;
    ssl.pem_root_certs = std::move(files->ca);
    ssl.pem_cert_chain = std::move(files->certificate);
    ssl.pem_private_key = std::move(files->key);
    credentials = grpc::SslCredentials(ssl);
  }

  grpc::ChannelArguments arguments;
  // Nothing between a register access and the wire that a register bus does not need.
  arguments.SetInt(GRPC_ARG_MINIMAL_STACK, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  arguments.SetString("grpc.optimization_target", "latency");
  // Ports attach again by themselves, and should find a new connection being tried when they do.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  // This one is how long a connection may take to come up, on a machine that is busy too.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 8000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  // A daemon that vanished without a word is noticed while a stream is open.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 10000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 0);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  std::shared_ptr<grpc::Channel> channel = grpc::CreateCustomChannel(target, credentials, arguments);
  slot = channel;
  return channel;
}

class Core;

// One attachment: a stream and its tags. It keeps itself until gRPC has given back every tag.
class Stream : public std::enable_shared_from_this<Stream> {
 public:
  Stream(std::shared_ptr<Core> core, std::shared_ptr<grpc::Channel> channel)
      : core_(std::move(core)), stub_(std::move(channel)) {}

  void begin(const v1::AttachRequest& hello);

  // The rest with the core's mutex held.
  bool writing() const { return writing_; }
  void write(v1::AttachRequest& message) {  // takes its content
    out_.Clear();
    out_.Swap(&message);
    writing_ = true;
    ++pending_;
    rpc_->Write(out_, write_tag_.tag());
  }
  // No more requests; the server detaches and then ends the stream.
  void half_close() {
    if (done_writing_ || finishing_) return;
    done_writing_ = true;
    ++pending_;
    rpc_->WritesDone(done_tag_.tag());
  }
  void cancel() { context_.TryCancel(); }

 private:
  friend class Core;
  class Tag : public Pump::Event {
   public:
    Tag(Stream* s, void (Stream::*f)(bool)) : stream_(s), function_(f) {}
    void complete(bool ok) override {
      auto keep = stream_->shared_from_this();
      (stream_->*function_)(ok);
    }

   private:
    Stream* stream_;
    void (Stream::*function_)(bool);
  };

  void on_start(bool ok);
  void on_read(bool ok);
  void on_write(bool ok);
  void on_done(bool ok);
  void on_finish(bool ok);
  void given_back();

  const std::shared_ptr<Core> core_;
  std::shared_ptr<Stream> self_;
  v1::RegisterBus::Stub stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientAsyncReaderWriter<v1::AttachRequest, v1::AttachReply>> rpc_;
  v1::AttachRequest out_;
  v1::AttachReply in_;
  grpc::Status status_;
  int pending_ = 0;  // tags that gRPC has
  bool writing_ = false;
  bool done_writing_ = false;
  bool finishing_ = false;
  bool failed_ = false;  // by our own judgement
  Tag start_tag_{this, &Stream::on_start};
  Tag read_tag_{this, &Stream::on_read};
  Tag write_tag_{this, &Stream::on_write};
  Tag done_tag_{this, &Stream::on_done};
  Tag finish_tag_{this, &Stream::on_finish};
};

// A port's state; outlives the port by as long as gRPC needs.
class Core : public Pump::Flushable, public std::enable_shared_from_this<Core> {
 public:
  Core(std::string name, std::string target, std::shared_ptr<grpc::Channel> channel, v1::AttachRequest hello,
       const OpenOptions& options)
      : name_(std::move(name)),
        target_(std::move(target)),
        options_(options),
        channel_(std::move(channel)),
        hello_(std::move(hello)),
        attach_timeout_(options.attach_timeout),
        answer_timeout_(options.answer_timeout),
        one_attachment_(options.one_attachment),
        kind_is_known_(options.kind.has_value()),
        kind_(options.kind.value_or(InterfaceKind::kKcs)),
        has_interrupt_(kind_is_known_) {}

  Status open() {
    if (kind_is_known_) {
      connect();
      return {};
    }
    Pump::Waiter first;
    {
      std::lock_guard lock(mutex_);
      first_ = &first;
    }
    connect();
    bool answered = Pump::instance().wait(first, Pump::now() + attach_timeout_);
    std::unique_lock lock(mutex_);
    first_ = nullptr;
    if (answered && link_.up) return {};
    closed_ = true;
    if (stream_) stream_->cancel();
    if (answered) return first_error_;
    return Error{ErrorCode::kTimeout, name_ + ": no answer to the attachment in " + ms_text(attach_timeout_)};
  }

  void close() {
    Pump::Waiter gone;
    uint64_t timer = 0;
    std::shared_ptr<Stream> stream;
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
      timer = std::exchange(timer_, 0);
      send_now();
      stream = stream_;
      if (stream) {
        if (link_.up) {
          gone_ = &gone;
          // What is being written goes first; on_written() closes then.
          if (!stream->writing()) stream->half_close();
        } else {
          stream->cancel();
          stream = nullptr;
        }
      }
    }
    if (timer) Pump::instance().cancel(timer);
    // So that who attaches next, to whatever interface, finds this host gone. Not from the bus's own thread, which
    // would have to tell us.
    if (stream && !Pump::instance().on_background_thread())
      Pump::instance().wait(gone, Pump::now() + std::min(kDetachTimeout, answer_timeout_));
    std::lock_guard lock(mutex_);
    gone_ = nullptr;
    if (stream && stream_) stream_->cancel();
  }

  InterfaceKind kind() const { return kind_; }
  bool has_interrupt() const { return has_interrupt_; }

  uint64_t endpoint() {
    std::lock_guard lock(mutex_);
    return endpoint_;
  }

  LinkState link() {
    std::lock_guard lock(mutex_);
    return link_;
  }

  void post(uint16_t offset, std::span<const uint8_t> in, bool burst) {
    if (in.empty()) return;
    std::unique_lock lock(mutex_);
    while (!in.empty()) {
      size_t n = std::min<size_t>(in.size(), v1::LIMITS_BURST_BYTES);
      if (!make_room(lock, n)) return;
      v1::Op* op = next_.mutable_ops()->add_ops();
      if (burst) {
        op->mutable_burst_write()->set_offset(offset);
        op->mutable_burst_write()->set_data(in.data(), n);
      } else {
        op->mutable_write()->set_offset(offset);
        op->mutable_write()->set_value(in[0]);
      }
      next_bytes_ += n;
      in = in.subspan(n);
    }
    send_soon();
  }

  enum class ReadKind { kOne, kBurst, kCounted };

  // Bytes stored; 0 when nobody is there.
  size_t read(ReadKind kind, uint16_t offset, std::span<uint8_t> out) {
    Reader reader;
    reader.out = out;
    {
      std::unique_lock lock(mutex_);
      if (!make_room(lock, out.size())) return 0;
      v1::Op* op = next_.mutable_ops()->add_ops();
      reader.id = next_id_++;
      op->set_id(reader.id);
      switch (kind) {
        case ReadKind::kOne: op->mutable_read()->set_offset(offset); break;
        case ReadKind::kBurst:
          op->mutable_burst_read()->set_offset(offset);
          op->mutable_burst_read()->set_count(static_cast<uint32_t>(out.size()));
          break;
        case ReadKind::kCounted:
          op->mutable_counted_read()->set_offset(offset);
          op->mutable_counted_read()->set_max_bytes(static_cast<uint32_t>(out.size()));
          break;
      }
      next_bytes_ += out.size();
      readers_.push_back(&reader);
      wanted_ = true;
      send_now();
    }
    if (Pump::instance().wait(reader.waiter, Pump::now() + answer_timeout_)) return reader.stored;
    std::lock_guard lock(mutex_);
    std::erase(readers_, &reader);
    if (stream_ && link_.up && !reader.waiter.done()) {
      fail(ErrorCode::kTimeout, "no answer in " + ms_text(answer_timeout_));
    }
    return reader.waiter.done() ? reader.stored : 0;
  }

  void set_interrupt_handler(RegisterPort::InterruptHandler handler) {
    std::lock_guard handlers(handler_mutex_);
    interrupt_handler_ = std::move(handler);
    // A change that came before anybody listened.
    if (interrupt_handler_ && std::exchange(interrupt_missed_, false)) {
      std::lock_guard lock(mutex_);
      if (std::exchange(interrupt_told_, false)) call_interrupt_handler();
    }
  }
  void set_link_handler(RegisterPort::LinkHandler handler) {
    std::lock_guard handlers(handler_mutex_);
    link_handler_ = std::move(handler);
  }

  void flush() override {
    std::lock_guard lock(mutex_);
    send_now();
  }

  // From Stream, with mutex_ held.
  void on_attached(const v1::Attached& attached) {
    InterfaceKind kind;
    switch (attached.kind()) {
      case v1::INTERFACE_KIND_KCS: kind = InterfaceKind::kKcs; break;
      case v1::INTERFACE_KIND_BT: kind = InterfaceKind::kBt; break;
      case v1::INTERFACE_KIND_SMIC: kind = InterfaceKind::kSmic; break;
      default: return broken("an interface of a kind that is unknown here");
    }
    if (attached.register_count() != registers::register_count(kind))
      return broken("a " + std::string(to_string(kind)) + " interface with " +
                    std::to_string(attached.register_count()) + " registers");
    if (kind_is_known_ && kind != kind_)
      return broken("a " + std::string(to_string(kind)) + " interface where a " + std::string(to_string(kind_)) +
                    " one was to be");
    if (!kind_is_known_ && link_.generation > 0 && (kind != kind_ || attached.has_interrupt() != has_interrupt_))
      return broken("the interface has become another: " + std::string(to_string(kind)) +
                    (attached.has_interrupt() ? " with" : " without") + " interrupt");
    if (link_.generation == 0 && !kind_is_known_) {
      kind_ = kind;
      has_interrupt_ = attached.has_interrupt();
    }
    endpoint_ = attached.endpoint();
    link_.up = true;
    ++link_.generation;
    link_.reason.clear();
    back_off_ = kBackOffMin;
    if (first_) {
      Pump::instance().signal(*std::exchange(first_, nullptr));
    } else {
      tell_link();
    }
  }

  void on_result(const v1::Result& result) {
    auto it = std::find_if(readers_.begin(), readers_.end(), [&](Reader* r) { return r->id == result.id(); });
    if (result.has_error()) return broken("an op was refused: " + result.error().message());
    if (it == readers_.end()) return;  // its reader has given up
    Reader& reader = **it;
    if (result.data().size() > reader.out.size() || result.data().empty())
      return broken("a result of " + std::to_string(result.data().size()) + " bytes where at most " +
                    std::to_string(reader.out.size()) + " were asked for");
    std::copy(result.data().begin(), result.data().end(), reader.out.begin());
    reader.stored = result.data().size();
    readers_.erase(it);
    Pump::instance().signal(reader.waiter);
  }

  void on_interrupt(const v1::Interrupt& interrupt) {
    interrupt_level_ = interrupt.level();
    // Handlers have their own thread: this one may be the driver's, in the middle of a read and holding its locks. One
    // call that is waiting says the newest level, too.
    if (std::exchange(interrupt_told_, false)) call_interrupt_handler();
  }

  void on_written() {
    if (wanted_ || room_wanted_ || closed_) {
      send_now();
    } else {
      send_soon();
    }
    if (closed_ && !stream_->writing()) stream_->half_close();
    for (Pump::Waiter* w : std::exchange(room_waiters_, {})) Pump::instance().signal(*w);
  }

  void on_ended(const grpc::Status& status) {
    // What we have found wrong ourselves is not to be hidden by the cancellation that followed.
    bool known = stream_->failed_;
    stream_ = nullptr;
    if (!known) {
      std::string reason = status.ok() ? "the server has ended the stream"
                                       : what_was_said(status, target_, options_);
      down(status.ok() ? ErrorCode::kUnavailable : code_of(status.error_code()), reason);
    }
    if (gone_) Pump::instance().signal(*std::exchange(gone_, nullptr));
    if (closed_ || (one_attachment_ && link_.generation > 0)) return;
    timer_ = Pump::instance().at(Pump::now() + back_off_, [weak = weak_from_this()] {
      if (auto self = weak.lock()) self->connect();
    });
    back_off_ = std::min(back_off_ * 2, kBackOffMax);
  }

  std::mutex mutex_;

 private:
  friend class Stream;
  struct Reader {
    uint64_t id = 0;
    std::span<uint8_t> out;
    size_t stored = 0;
    Pump::Waiter waiter;
  };

  void connect() {
    std::shared_ptr<Stream> stream;
    {
      std::lock_guard lock(mutex_);
      timer_ = 0;
      if (closed_ || stream_) return;
      stream = stream_ = std::make_shared<Stream>(shared_from_this(), channel_);
      stream->begin(hello_);
    }
  }

  // With mutex_ held. The message grows until it is sent; while one is on its way the next one grows.
  void send_now() {
    if (!stream_ || !link_.up || stream_->writing() || next_.ops().ops().empty()) return;
    wanted_ = room_wanted_ = false;
    next_bytes_ = 0;
    stream_->write(next_);
  }

  // With mutex_ held: with the next read, or before long.
  void send_soon() {
    if (!stream_ || stream_->writing() || next_.ops().ops().empty()) return;
    if (!Pump::instance().cork(shared_from_this())) send_now();
  }

  // With the lock held: until the next op fits into the message. False: nobody is there.
  bool make_room(std::unique_lock<std::mutex>& lock, size_t bytes) {
    Instant until = Pump::now() + answer_timeout_;
    while (stream_ && link_.up) {
      if (next_.ops().ops_size() < v1::LIMITS_OPS_PER_MESSAGE && next_bytes_ + bytes <= v1::LIMITS_BYTES_PER_MESSAGE)
        return true;
      send_now();
      if (next_.ops().ops().empty()) continue;
      Pump::Waiter waiter;
      room_waiters_.push_back(&waiter);
      room_wanted_ = true;
      lock.unlock();
      bool done = Pump::instance().wait(waiter, until);
      lock.lock();
      if (done) continue;
      std::erase(room_waiters_, &waiter);
      if (stream_ && link_.up) {
        fail(ErrorCode::kTimeout, "writes are not taken");
      }
      return false;
    }
    return false;
  }

  // With mutex_ held. Everybody who waits is told at once.
  void down(ErrorCode code, const std::string& why) {
    bool tells = link_.up && link_.generation > 0;
    std::string reason = name_ + ": " + why;
    if (kind_is_known_) tells = tells || (link_.generation == 0 && link_.reason != reason);
    link_.up = false;
    link_.reason = std::move(reason);
    next_.Clear();
    next_bytes_ = 0;
    wanted_ = room_wanted_ = false;
    for (Reader* r : std::exchange(readers_, {})) Pump::instance().signal(r->waiter);
    for (Pump::Waiter* w : std::exchange(room_waiters_, {})) Pump::instance().signal(*w);
    if (first_) {
      first_error_ = {code, link_.reason};
      Pump::instance().signal(*std::exchange(first_, nullptr));
      closed_ = true;
    }
    if (tells) tell_link();
  }

  // With mutex_ held: the peer does not keep to the protocol.
  void broken(const std::string& what) { fail(ErrorCode::kProtocol, "protocol error: " + what); }

  // With mutex_ held and a stream: it is of no more use.
  void fail(ErrorCode code, const std::string& why) {
    down(code, why);
    stream_->failed_ = true;
    stream_->cancel();
  }

  // With mutex_ held.
  void tell_link() {
    if (closed_) return;
    Pump::instance().call([self = shared_from_this(), link = link_] {
      std::lock_guard handlers(self->handler_mutex_);
      if (self->link_handler_) self->link_handler_(link);
    });
  }

  // With mutex_ held.
  void call_interrupt_handler() {
    Pump::instance().call([self = shared_from_this()] {
      std::lock_guard handlers(self->handler_mutex_);
      bool level;
      {
        std::lock_guard lock(self->mutex_);
        self->interrupt_told_ = true;
        level = self->interrupt_level_;
      }
      if (self->interrupt_handler_) {
        self->interrupt_handler_(level);
      } else {
        self->interrupt_missed_ = true;
      }
    });
  }

  const std::string name_;
  const std::string target_;
  const OpenOptions options_;
  const std::shared_ptr<grpc::Channel> channel_;
  const v1::AttachRequest hello_;
  const Duration attach_timeout_;
  const Duration answer_timeout_;
  const bool one_attachment_;
  const bool kind_is_known_;
  InterfaceKind kind_;  // these two are written once, before open() returns
  bool has_interrupt_;

  std::shared_ptr<Stream> stream_;
  LinkState link_{false, 0, "not attached yet"};
  uint64_t endpoint_ = 0;
  Pump::Waiter* first_ = nullptr;
  Pump::Waiter* gone_ = nullptr;
  Error first_error_;
  bool closed_ = false;
  Duration back_off_ = kBackOffMin;
  uint64_t timer_ = 0;

  v1::AttachRequest next_;
  size_t next_bytes_ = 0;
  bool wanted_ = false;       // somebody waits for an answer to next_
  bool room_wanted_ = false;  // or for its going away
  uint64_t next_id_ = 1;
  std::vector<Reader*> readers_;
  std::vector<Pump::Waiter*> room_waiters_;

  bool interrupt_level_ = false;
  bool interrupt_told_ = true;

  std::mutex handler_mutex_;  // held while a handler runs; taken before mutex_
  RegisterPort::InterruptHandler interrupt_handler_;
  bool interrupt_missed_ = false;
  RegisterPort::LinkHandler link_handler_;
};

void Stream::begin(const v1::AttachRequest& hello) {
  self_ = shared_from_this();
  out_ = hello;
  rpc_ = stub_.PrepareAsyncAttach(&context_, Pump::instance().queue());
  ++pending_;
  rpc_->StartCall(start_tag_.tag());
}

void Stream::on_start(bool ok) {
  std::lock_guard lock(core_->mutex_);
  if (ok) {
    writing_ = true;
    ++pending_;
    rpc_->Write(out_, write_tag_.tag());
    ++pending_;
    rpc_->Read(&in_, read_tag_.tag());
  } else {
    finishing_ = true;
    ++pending_;
    rpc_->Finish(&status_, finish_tag_.tag());
  }
  given_back();
}

void Stream::on_read(bool ok) {
  std::lock_guard lock(core_->mutex_);
  if (!ok) {
    finishing_ = true;
    ++pending_;
    rpc_->Finish(&status_, finish_tag_.tag());
    return given_back();
  }
  if (core_->stream_.get() == this && !failed_) {
    switch (in_.message_case()) {
      case v1::AttachReply::kAttached:
        if (core_->link_.up) {
          core_->broken("attached again");
        } else {
          core_->on_attached(in_.attached());
        }
        break;
      case v1::AttachReply::kResults:
        for (const v1::Result& result : in_.results().results())
          if (!failed_) core_->on_result(result);
        break;
      case v1::AttachReply::kInterrupt: core_->on_interrupt(in_.interrupt()); break;
      case v1::AttachReply::MESSAGE_NOT_SET: core_->broken("a message that is unknown here"); break;
    }
  }
  ++pending_;
  rpc_->Read(&in_, read_tag_.tag());
  given_back();
}

void Stream::on_write(bool) {
  std::lock_guard lock(core_->mutex_);
  writing_ = false;
  if (core_->stream_.get() == this) core_->on_written();
  given_back();
}

void Stream::on_done(bool) {
  std::lock_guard lock(core_->mutex_);
  given_back();
}

void Stream::on_finish(bool) {
  std::lock_guard lock(core_->mutex_);
  if (core_->stream_.get() == this) core_->on_ended(status_);
  given_back();
}

// With the core's mutex held, which the caller of the tag outlives: complete() keeps the stream, and so the core.
void Stream::given_back() {
  if (--pending_ == 0) self_ = nullptr;
}

class Port : public RegisterPort {
 public:
  explicit Port(std::shared_ptr<Core> core) : core_(std::move(core)) {}
  ~Port() override {
    core_->set_interrupt_handler({});
    core_->set_link_handler({});
    core_->close();
  }

  uint8_t read(uint16_t offset) override {
    uint8_t value = kNobody;
    if (offset < registers::register_count(kind())) core_->read(Core::ReadKind::kOne, offset, {&value, 1});
    return value;
  }

  void write(uint16_t offset, uint8_t value) override {
    if (offset < registers::register_count(kind())) core_->post(offset, {&value, 1}, false);
  }

  void read_burst(uint16_t offset, std::span<uint8_t> out) override {
    bool there = offset < registers::register_count(kind());
    while (!out.empty()) {
      auto part = out.first(std::min<size_t>(out.size(), v1::LIMITS_BURST_BYTES));
      size_t n = there ? core_->read(Core::ReadKind::kBurst, offset, part) : 0;
      // A part answered short is filled as a bus does that nobody drives.
      std::fill(part.begin() + static_cast<std::ptrdiff_t>(n), part.end(), kNobody);
      there = there && n == part.size();
      out = out.subspan(part.size());
    }
  }

  void write_burst(uint16_t offset, std::span<const uint8_t> in) override {
    if (offset < registers::register_count(kind())) core_->post(offset, in, true);
  }

  size_t read_counted(uint16_t offset, std::span<uint8_t> out) override {
    if (out.empty()) return 0;
    auto part = out.first(std::min<size_t>(out.size(), v1::LIMITS_BURST_BYTES));
    size_t n = offset < registers::register_count(kind()) ? core_->read(Core::ReadKind::kCounted, offset, part) : 0;
    // As the seam has it: the count byte first, then as many as it says or as fit.
    size_t said = n > 0 ? part[0] : kNobody;
    size_t whole = std::min(said + 1, part.size());
    if (n == 0) part[0] = kNobody;
    for (size_t i = std::max<size_t>(n, 1); i < whole; ++i) part[i] = kNobody;
    return whole;
  }

  InterfaceKind kind() const override { return core_->kind(); }
  bool has_interrupt() const override { return core_->has_interrupt(); }
  void set_interrupt_handler(InterruptHandler handler) override { core_->set_interrupt_handler(std::move(handler)); }
  LinkState link() const override { return core_->link(); }
  void set_link_handler(LinkHandler handler) override { core_->set_link_handler(std::move(handler)); }
  uint64_t endpoint() const override { return core_->endpoint(); }

 private:
  const std::shared_ptr<Core> core_;
};

}  // namespace

Result<std::unique_ptr<RegisterPort>> open_grpc(const BusSpec& spec, const OpenOptions& options) {
  if (!spec.options.empty())
    return Error{ErrorCode::kInvalidArgument,
                 "bus spec '" + spec.text + "': option '" + spec.options.front().first + "': grpc takes no options"};
  if (spec.path.size() > v1::LIMITS_NAME_BYTES || options.who.size() > v1::LIMITS_NAME_BYTES)
    return Error{ErrorCode::kInvalidArgument,
                 "bus spec '" + spec.text + "': path and host name have at most 256 bytes each"};
  // gRPC's own log is for who asks for it; what fails is in our errors.
  if (!std::getenv("GRPC_VERBOSITY")) gpr_set_log_verbosity(static_cast<gpr_log_severity>(GPR_LOG_SEVERITY_ERROR + 1));
  auto channel = channel_to(canonical_address(spec.target), options);
  if (!channel.ok()) return channel.error();

  v1::AttachRequest hello;
  hello.mutable_hello()->set_protocol_version(kProtocolVersion);
  hello.mutable_hello()->set_path(spec.path);
  hello.mutable_hello()->set_who(options.who);
  auto core = std::make_shared<Core>(spec.text.empty() ? "grpc:" + spec.target : spec.text, spec.target, *channel,
                                     std::move(hello), options);
  if (Status s = core->open(); !s.ok()) return s.error();
  return std::unique_ptr<RegisterPort>(std::make_unique<Port>(std::move(core)));
}

Result<std::vector<RemoteInterface>> list_grpc(const BusSpec& spec, const OpenOptions& options, Duration wait) {
  if (!std::getenv("GRPC_VERBOSITY")) gpr_set_log_verbosity(static_cast<gpr_log_severity>(GPR_LOG_SEVERITY_ERROR + 1));
  auto channel = channel_to(canonical_address(spec.target), options);
  if (!channel.ok()) return channel.error();
  auto stub = v1::Control::NewStub(*channel);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  v1::ListReply reply;
  grpc::Status status;
  auto call = stub->AsyncList(&context, {}, &queue);
  call->Finish(&reply, &status, nullptr);
  void* tag;
  bool ok;
  // The channel is made for registers and has no deadlines of its own.
  const bool answered = queue.AsyncNext(&tag, &ok, std::chrono::system_clock::now() + wait) == grpc::CompletionQueue::GOT_EVENT;
  if (!answered) {
    context.TryCancel();
    queue.Next(&tag, &ok);
  }
  queue.Shutdown();
  if (!answered) return Error{ErrorCode::kTimeout, "bus '" + spec.text + "': no answer in " + ms_text(wait)};
  if (!status.ok()) return Error{code_of(status.error_code()), "bus '" + spec.text + "': " + what_was_said(status, spec.target, options)};

  const size_t slash = spec.path.find('/');
  const std::string bmc = spec.path.substr(0, slash);
  std::vector<RemoteInterface> out;
  std::string there;
  for (const v1::BmcSummary& summary : reply.bmcs()) {
    for (const v1::InterfaceSummary& interface : summary.interfaces()) {
      RemoteInterface one{summary.name() + "/" + interface.name(), InterfaceKind::kKcs};
      switch (interface.kind()) {
        case v1::INTERFACE_KIND_KCS: break;
        case v1::INTERFACE_KIND_BT: one.kind = InterfaceKind::kBt; break;
        case v1::INTERFACE_KIND_SMIC: one.kind = InterfaceKind::kSmic; break;
        default: continue;  // of a newer daemon
      }
      if (there.size() < kNamesShown) there += (there.empty() ? "" : ", ") + one.path;
      const bool wanted = spec.path.empty() || (slash == std::string::npos ? summary.name() == bmc : one.path == spec.path);
      if (wanted) out.push_back(std::move(one));
    }
  }
  if (out.empty()) {
    return Error{ErrorCode::kNotFound, "bus '" + spec.text + "': there is no such interface; there are: " +
                                           (there.empty() ? "none" : there)};
  }
  return out;
}

}  // namespace bmcpair::bus
