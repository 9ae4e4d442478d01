#include "host_driver/device_node/server.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "host_driver/device_node/packet_socket.h"
#include "host_driver/device_node/wire.h"
#include "host_driver/runtime/runtime.h"

namespace bmcpair::device_node {
namespace {

constexpr size_t kQueueMax = 256;      // messages of one file; the message handler stops at 100 itself
constexpr size_t kReceiversMax = 64;   // callers at once in RECEIVE of one file
constexpr size_t kPacketsAtOnce = 16;  // of one connection before others have their turn
constexpr unsigned kAttachersMax = 32;
constexpr Duration kHelloWait = std::chrono::seconds(10);
constexpr Duration kNoDescriptorsWait = std::chrono::milliseconds(100);

// epoll's data: a connection's id, twice; the lowest bit says whose descriptor it is.
constexpr uint64_t kListenerTag = 0;
constexpr uint64_t kWakeTag = 1;
uint64_t connection_tag(uint64_t id) { return id << 1; }
uint64_t verdict_tag(uint64_t id) { return id << 1 | 1; }

int errno_of(const Error& error) {
  switch (error.code) {
    case ErrorCode::kInvalidArgument: return EINVAL;
    case ErrorCode::kLimit: return EMSGSIZE;
    case ErrorCode::kBusy: return EBUSY;
    case ErrorCode::kUnavailable: return EAGAIN;
    case ErrorCode::kShutdown: return ENODEV;
    case ErrorCode::kNotSupported: return EAFNOSUPPORT;
    case ErrorCode::kNotFound: return ENOENT;
    case ErrorCode::kPermission: return EACCES;
    case ErrorCode::kTimeout: return ETIMEDOUT;
    default: return EIO;
  }
}

int open_errno_of(const Error& error) {
  switch (error.code) {
    case ErrorCode::kBusy: return EBUSY;
    case ErrorCode::kPermission: return EACCES;
    case ErrorCode::kLimit: return ENOMEM;
    default: return ENODEV;
  }
}

int errno_of(const Status& status) { return status ? 0 : errno_of(status.error()); }

// A caller that waits for a message.
struct Receiver {
  Fd reply;
  Fd connection;  // the library's end
};

// What a program has open: one user of the message handler.
struct OpenFile {
  Fd socket;
  std::atomic<uint64_t>* delivered = nullptr;
  std::atomic<uint64_t>* dropped = nullptr;

  rt::Mutex m;
  bool ready = false;      // the library knows that it is open
  bool announced = false;  // a byte lies in the library's end
  std::deque<host::RecvMessage> queue;

  // Of the loop alone.
  std::unique_ptr<host::User> user;
  int32_t retries = -1;
  uint32_t retry_time_ms = 0;
  std::optional<host::RecvMessage> handed;  // to the receiver below, until it says what became of it
  Receiver receiver;
  Instant verdict_until = kNever;
  std::deque<Receiver> receivers;  // those after it

  void deliver(host::RecvMessage message) {
    rt::LockGuard lock(m);
    if (queue.size() >= kQueueMax) {
      dropped->fetch_add(1, std::memory_order_relaxed);
      return;
    }
    queue.push_back(std::move(message));
    delivered->fetch_add(1, std::memory_order_relaxed);
    announce();
  }

  // Under m.
  void announce() {
    if (!ready || announced || queue.empty()) return;
    const uint8_t byte = 1;
    announced = send_packet(socket.get(), {&byte, 1});
  }

  // Under m. The library's end holds a byte if and only if messages wait, also where somebody read it by mistake.
  void settle(int connection) {
    uint8_t byte;
    if (queue.empty()) {
      if (announced) (void)!::recv(connection, &byte, 1, MSG_DONTWAIT);
      announced = false;
    } else if (announced && ::recv(connection, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN) {
      announced = false;
      announce();
    }
  }
};

struct Connection {
  enum class State { kHello, kOpening, kOpen };
  State state = State::kHello;
  Instant hello_until = kNever;
  unsigned device = 0;
  pid_t pid = 0;
  std::shared_ptr<OpenFile> file;
};

struct Waiting {
  uint64_t id = 0;
  std::shared_ptr<OpenFile> file;
};

struct Opened {
  uint64_t id = 0;
  std::unique_ptr<host::User> user;  // null: error and text
  int error = 0;
  std::string text;
};

}  // namespace

struct Server::Core {
  explicit Core(ServerOptions o) : options(std::move(o)) {}
  ~Core() { stop(); }

  Status start();
  void stop();
  ServerStatistics statistics() const;

  // The loop.
  void run();
  int next_wait_ms(Instant now) const;
  void expire(Instant now);
  void accept_all();
  void refuse(const Fd& socket, int error, const std::string& text);
  void read_connection(uint64_t id);
  void read_verdict(uint64_t id);
  bool take_packet(uint64_t id, Connection& c, ReceivedPacket packet, ByteView bytes);
  void hello(uint64_t id, Connection& c, const Hello& hello);
  void finish_opens();
  void answer_request(Connection& c, const Request& request, Reply& reply);
  int send_request(OpenFile& file, const Request& request);
  void begin_receive(uint64_t id, OpenFile& file, Receiver receiver);
  bool hand_head(uint64_t id, OpenFile& file, Receiver& receiver);
  void end_receive(uint64_t id, OpenFile& file, Verdict verdict, bool answer);
  void close_connection(uint64_t id);
  void broken(uint64_t id, const std::string& why);
  bool watch(int fd, uint64_t tag);
  void unwatch(int fd) { ::epoll_ctl(epoll.get(), EPOLL_CTL_DEL, fd, nullptr); }
  void wake_up() {
    const uint64_t one = 1;
    (void)!::write(wake.get(), &one, sizeof one);
  }
  void log(const std::string& line) const {
    if (options.log) options.log(line);
  }

  // The attachers: threads that may block in attach().
  void want_open(unsigned device, Waiting waiting);
  void attacher();
  void open_all(unsigned device, std::deque<Waiting> waiting);

  ServerOptions options;
  Listener listener;
  Fd epoll, wake;
  std::thread loop;
  std::map<uint64_t, Connection> connections;
  uint64_t next_id = 1;
  unsigned timed = 0;  // an upper bound of how many connections have a deadline
  Instant accept_again = kNever;

  std::mutex m;
  std::condition_variable changed;
  bool stopping = false;
  std::deque<unsigned> devices_wanted;
  std::map<unsigned, std::deque<Waiting>> waiting;  // a device is here while it is wanted or being attached
  std::vector<std::thread> attachers;
  unsigned attachers_idle = 0;
  std::vector<Opened> opened;

  std::atomic<uint64_t> opens{0}, opens_failed{0}, requests{0}, delivered{0}, dropped{0}, protocol_errors{0};
  std::atomic<unsigned> open_now{0};
};

// ---- start and end -----------------------------------------------------------------------------------------------------

Status Server::Core::start() {
  auto listening = listen_on(options.socket_path, options.socket_mode);
  if (!listening) return listening.error();
  listener = *std::move(listening);
  epoll.reset(::epoll_create1(EPOLL_CLOEXEC));
  wake.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!epoll || !wake || !watch(listener.fd.get(), kListenerTag) || !watch(wake.get(), kWakeTag)) {
    return Error{ErrorCode::kIo, options.socket_path + ": epoll: " + std::strerror(errno)};
  }
  loop = std::thread([this] { run(); });
  return {};
}

void Server::Core::stop() {
  listener.remove();
  {
    std::lock_guard lock(m);
    stopping = true;
    changed.notify_all();
  }
  if (loop.joinable()) {
    wake_up();
    loop.join();
  }
  for (std::thread& thread : attachers) thread.join();
  attachers.clear();
  opened.clear();
  while (!connections.empty()) close_connection(connections.begin()->first);
}

ServerStatistics Server::Core::statistics() const {
  ServerStatistics out;
  out.opens = opens.load(std::memory_order_relaxed);
  out.opens_failed = opens_failed.load(std::memory_order_relaxed);
  out.requests = requests.load(std::memory_order_relaxed);
  out.messages_delivered = delivered.load(std::memory_order_relaxed);
  out.messages_dropped = dropped.load(std::memory_order_relaxed);
  out.protocol_errors = protocol_errors.load(std::memory_order_relaxed);
  out.open_now = open_now.load(std::memory_order_relaxed);
  return out;
}

// ---- the loop ----------------------------------------------------------------------------------------------------------

bool Server::Core::watch(int fd, uint64_t tag) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = tag;
  return ::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

int Server::Core::next_wait_ms(Instant now) const {
  Instant next = accept_again;
  if (timed > 0) {
    for (const auto& [id, c] : connections) next = std::min({next, c.hello_until, c.file->verdict_until});
  }
  if (next == kNever) return -1;
  if (next <= now) return 0;
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(next - now).count() + 1;
  return static_cast<int>(std::min<int64_t>(ms, 60'000));
}

void Server::Core::run() {
  epoll_event events[64];
  for (;;) {
    const int count = ::epoll_wait(epoll.get(), events, std::size(events), next_wait_ms(rt::now()));
    {
      std::lock_guard lock(m);
      if (stopping) return;
    }
    if (count < 0 && errno != EINTR) {
      log(std::string("the server ends: epoll_wait: ") + std::strerror(errno));
      return;
    }
    for (int i = 0; i < count; ++i) {
      const uint64_t tag = events[i].data.u64;
      if (tag == kListenerTag) {
        accept_all();
      } else if (tag == kWakeTag) {
        uint64_t ignored;
        (void)!::read(wake.get(), &ignored, sizeof ignored);
        finish_opens();
      } else if (tag & 1) {
        read_verdict(tag >> 1);
      } else {
        read_connection(tag >> 1);
      }
    }
    expire(rt::now());
  }
}

void Server::Core::expire(Instant now) {
  if (now >= accept_again) {
    accept_again = kNever;
    (void)watch(listener.fd.get(), kListenerTag);
  }
  if (timed == 0) return;
  std::vector<uint64_t> silent, slow;
  unsigned left = 0;
  for (const auto& [id, c] : connections) {
    if (now >= c.hello_until) silent.push_back(id);
    else if (now >= c.file->verdict_until) slow.push_back(id);
    else if (c.hello_until != kNever || c.file->verdict_until != kNever) ++left;
  }
  timed = left;
  // What has come counts, however late it is looked at: on a busy machine it may be this thread that was kept waiting.
  for (uint64_t id : silent) {
    read_connection(id);
    if (auto it = connections.find(id); it != connections.end() && now >= it->second.hello_until) broken(id, "said nothing");
  }
  for (uint64_t id : slow) {
    read_verdict(id);
    auto it = connections.find(id);
    if (it == connections.end() || now < it->second.file->verdict_until) continue;
    log("process " + std::to_string(it->second.pid) + ": has not said what became of a message; it counts as taken");
    // Whoever was handed the message goes on with it when it can: it is not given to a second one.
    end_receive(id, *it->second.file, Verdict::kTaken, true);
  }
}

void Server::Core::accept_all() {
  for (size_t n = 0; n < kPacketsAtOnce; ++n) {
    Fd socket(::accept4(listener.fd.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
        log(std::string("cannot accept: ") + std::strerror(errno));
        unwatch(listener.fd.get());
        accept_again = rt::now() + kNoDescriptorsWait;
      }
      return;
    }
    if (connections.size() >= options.opens_max) {
      refuse(socket, ENFILE, "the server has " + std::to_string(options.opens_max) + " files open, its limit");
      continue;
    }
    const uint64_t id = next_id++;
    Connection c;
    ucred peer{};
    socklen_t size = sizeof peer;
    if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0) c.pid = peer.pid;
    if (!watch(socket.get(), connection_tag(id))) {
      refuse(socket, ENOMEM, std::string("epoll: ") + std::strerror(errno));
      continue;
    }
    c.file = std::make_shared<OpenFile>();
    c.file->socket = std::move(socket);
    c.file->delivered = &delivered;
    c.file->dropped = &dropped;
    c.hello_until = rt::now() + kHelloWait;
    ++timed;
    connections.emplace(id, std::move(c));
  }
}

void Server::Core::refuse(const Fd& socket, int error, const std::string& text) {
  opens_failed.fetch_add(1, std::memory_order_relaxed);
  HelloReply reply;
  reply.error = static_cast<uint16_t>(error);
  reply.set_text(text.data(), text.size());
  uint8_t packet[kPacketMax];
  (void)send_packet(socket.get(), {packet, encode(reply, packet)});
}

void Server::Core::close_connection(uint64_t id) {
  auto it = connections.find(id);
  if (it == connections.end()) return;
  Connection c = std::move(it->second);
  connections.erase(it);
  OpenFile& file = *c.file;
  unwatch(file.socket.get());
  if (file.handed) unwatch(file.receiver.reply.get());
  if (c.state == Connection::State::kOpen) {
    open_now.fetch_sub(1, std::memory_order_relaxed);
    log("ipmi" + std::to_string(c.device) + ": closed by process " + std::to_string(c.pid));
  }
  // Its callbacks have ended when this returns.
  file.user.reset();
  std::deque<host::RecvMessage> unread;
  {
    rt::LockGuard lock(file.m);
    unread.swap(file.queue);
  }
}

void Server::Core::broken(uint64_t id, const std::string& why) {
  protocol_errors.fetch_add(1, std::memory_order_relaxed);
  auto it = connections.find(id);
  if (it == connections.end()) return;
  log("process " + std::to_string(it->second.pid) + ": " + why + "; its file is closed");
  close_connection(id);
}

void Server::Core::read_connection(uint64_t id) {
  for (size_t n = 0; n < kPacketsAtOnce; ++n) {
    auto it = connections.find(id);
    if (it == connections.end()) return;
    uint8_t bytes[kPacketMax];
    ReceivedPacket packet = receive_packet(it->second.file->socket.get(), bytes);
    if (packet.size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (packet.size <= 0) {
      close_connection(id);
      return;
    }
    const auto size = static_cast<size_t>(packet.size);
    if (!take_packet(id, it->second, std::move(packet), {bytes, size})) {
      broken(id, "a packet that is none of this protocol");
      return;
    }
  }
}

// False: not of the protocol.
bool Server::Core::take_packet(uint64_t id, Connection& c, ReceivedPacket packet, ByteView bytes) {
  if (!packet.whole) return false;
  if (c.state != Connection::State::kOpen) {
    Hello said;
    if (c.state != Connection::State::kHello || !decode(bytes, said)) return false;
    hello(id, c, said);
    return true;
  }
  Request request;
  if (!decode(bytes, request)) return false;
  requests.fetch_add(1, std::memory_order_relaxed);
  const bool receive = request.operation == Operation::kReceive;
  if (!packet.fds[0] || static_cast<bool>(packet.fds[1]) != receive) return false;
  if (receive) {
    begin_receive(id, *c.file, {std::move(packet.fds[0]), std::move(packet.fds[1])});
    return true;
  }
  Reply reply;
  answer_request(c, request, reply);
  uint8_t out[kPacketMax];
  (void)send_packet(packet.fds[0].get(), {out, encode(reply, out)});
  return true;
}

// ---- open --------------------------------------------------------------------------------------------------------------

void Server::Core::hello(uint64_t id, Connection& c, const Hello& hello) {
  c.hello_until = kNever;
  const std::string name = "/dev/ipmi" + std::to_string(hello.device);
  if (hello.version != kProtocolVersion) {
    refuse(c.file->socket, EPROTO,
           "the server speaks protocol " + std::to_string(kProtocolVersion) + ", the library " + std::to_string(hello.version));
    broken(id, "its library speaks protocol " + std::to_string(hello.version) + ", this server " + std::to_string(kProtocolVersion));
    return;
  }
  if (hello.device >= options.devices) {
    refuse(c.file->socket, ENOENT,
           name + ": not served; " + (options.devices == 1 ? "only /dev/ipmi0 is" : "/dev/ipmi0 to /dev/ipmi" +
                                                                                       std::to_string(options.devices - 1) + " are"));
    close_connection(id);
    return;
  }
  c.device = hello.device;
  c.state = Connection::State::kOpening;
  want_open(c.device, {id, c.file});
}

void Server::Core::want_open(unsigned device, Waiting who) {
  std::lock_guard lock(m);
  auto [it, first] = waiting.try_emplace(device);
  it->second.push_back(std::move(who));
  if (!first) return;
  devices_wanted.push_back(device);
  if (devices_wanted.size() > attachers_idle && attachers.size() < kAttachersMax) attachers.emplace_back([this] { attacher(); });
  changed.notify_one();
}

void Server::Core::attacher() {
  std::unique_lock lock(m);
  for (;;) {
    ++attachers_idle;
    changed.wait(lock, [&] { return stopping || !devices_wanted.empty(); });
    --attachers_idle;
    if (stopping) return;
    const unsigned device = devices_wanted.front();
    devices_wanted.pop_front();
    for (;;) {
      std::deque<Waiting> who = std::exchange(waiting[device], {});
      if (who.empty() || stopping) {
        waiting.erase(device);
        break;
      }
      lock.unlock();
      open_all(device, std::move(who));
      lock.lock();
    }
  }
}

// Without the lock.
void Server::Core::open_all(unsigned device, std::deque<Waiting> who) {
  const Result<Attached> attached = options.attach(device, rt::now() + options.open_wait);
  std::vector<Opened> done;
  for (Waiting& w : who) {
    Opened o;
    o.id = w.id;
    if (!attached) {
      o.error = open_errno_of(attached.error());
      o.text = attached.error().to_string();
    } else {
      host::UserHandlers handlers;
      handlers.receive = [weak = std::weak_ptr<OpenFile>(w.file)](host::RecvMessage message) {
        if (auto file = weak.lock()) file->deliver(std::move(message));
      };
      auto user = attached->message_handler->create_user(attached->number, std::move(handlers));
      if (user) {
        o.user = *std::move(user);
      } else {
        o.error = open_errno_of(user.error());
        o.text = user.error().to_string();
      }
    }
    done.push_back(std::move(o));
  }
  {
    std::lock_guard lock(m);
    for (Opened& o : done) opened.push_back(std::move(o));
  }
  wake_up();
}

void Server::Core::finish_opens() {
  std::vector<Opened> done;
  {
    std::lock_guard lock(m);
    done.swap(opened);
  }
  for (Opened& o : done) {
    auto it = connections.find(o.id);
    if (it == connections.end()) continue;  // it has not waited
    Connection& c = it->second;
    const std::string name = "/dev/ipmi" + std::to_string(c.device);
    if (!o.user) {
      log(name + ": open by process " + std::to_string(c.pid) + " failed: " + o.text);
      refuse(c.file->socket, o.error, name + ": " + o.text);
      close_connection(o.id);
      continue;
    }
    OpenFile& file = *c.file;
    file.user = std::move(o.user);
    c.state = Connection::State::kOpen;
    opens.fetch_add(1, std::memory_order_relaxed);
    open_now.fetch_add(1, std::memory_order_relaxed);
    log("ipmi" + std::to_string(c.device) + ": opened by process " + std::to_string(c.pid));
    uint8_t packet[kPacketMax];
    rt::LockGuard lock(file.m);
    (void)send_packet(file.socket.get(), {packet, encode(HelloReply{}, packet)});
    file.ready = true;
    file.announce();
  }
}

// ---- ioctl -------------------------------------------------------------------------------------------------------------

void Server::Core::answer_request(Connection& c, const Request& request, Reply& reply) {
  OpenFile& file = *c.file;
  host::User& user = *file.user;
  int error = 0;
  // Out of range is not what it would be with fewer bits.
  const auto channel = static_cast<uint8_t>(std::min<uint16_t>(request.channel, 0xff));
  auto get = [&](const Result<uint8_t>& value) {
    if (value) reply.value = *value;
    return value ? 0 : errno_of(value.error());
  };
  switch (request.operation) {
    case Operation::kSend: error = send_request(file, request); break;
    case Operation::kRegister: error = errno_of(user.register_for_cmd(request.netfn, request.cmd, request.channels)); break;
    case Operation::kUnregister: error = errno_of(user.unregister_for_cmd(request.netfn, request.cmd, request.channels)); break;
    case Operation::kSetGetsEvents: error = errno_of(user.set_gets_events(request.value != 0)); break;
    case Operation::kSetMyAddress: error = errno_of(user.set_my_address(channel, static_cast<uint8_t>(request.value))); break;
    case Operation::kGetMyAddress: error = get(user.my_address(channel)); break;
    case Operation::kSetMyLun: error = errno_of(user.set_my_lun(channel, static_cast<uint8_t>(request.value & 3))); break;
    case Operation::kGetMyLun: error = get(user.my_lun(channel)); break;
    case Operation::kSetTiming:
      file.retries = request.retries;
      file.retry_time_ms = request.retry_time_ms;
      break;
    case Operation::kGetTiming:
      reply.retries = file.retries;
      reply.retry_time_ms = file.retry_time_ms;
      break;
    case Operation::kSetMaintenanceMode:
      error = errno_of(user.set_maintenance_mode(static_cast<host::MaintenanceMode>(request.value > 2 ? 0xff : request.value)));
      break;
    case Operation::kGetMaintenanceMode:
      if (auto mode = user.maintenance_mode()) {
        reply.value = static_cast<uint32_t>(*mode);
      } else {
        // Linux stores the error where the mode would be, and the call succeeds (F.4).
        reply.value = static_cast<uint32_t>(-errno_of(mode.error()));
      }
      break;
    case Operation::kReceive: error = EIO; break;  // begin_receive
  }
  reply.error = static_cast<uint16_t>(error);
}

int Server::Core::send_request(OpenFile& file, const Request& r) {
  const auto address = host::decode_linux_address({r.address, r.address_size});
  if (!address) return EINVAL;
  if (r.data_state == DataState::kTooLong) return EMSGSIZE;
  if (r.data_state == DataState::kFault) return EFAULT;
  ipmi::Request request;
  request.netfn = r.netfn;
  request.cmd = r.cmd;
  request.data.assign(r.data, r.data + r.data_size);
  host::RequestOptions how;
  how.retries = r.timed ? r.retries : file.retries;
  how.retry_time = std::chrono::milliseconds(r.timed ? r.retry_time_ms : file.retry_time_ms);
  return errno_of(file.user->request(*address, r.msgid, request, how));
}

void Server::Core::begin_receive(uint64_t id, OpenFile& file, Receiver receiver) {
  if (file.handed) {
    if (file.receivers.size() < kReceiversMax) {
      file.receivers.push_back(std::move(receiver));
    } else {
      Reply reply;
      reply.error = EAGAIN;
      uint8_t out[kPacketMax];
      (void)send_packet(receiver.reply.get(), {out, encode(reply, out)});
    }
    return;
  }
  (void)hand_head(id, file, receiver);
}

// Gives the receiver the message at the head, or says that there is none. True: it has it, and is to say what became of it.
bool Server::Core::hand_head(uint64_t id, OpenFile& file, Receiver& receiver) {
  uint8_t out[kPacketMax];
  Reply reply;
  std::optional<host::RecvMessage> message;
  {
    rt::LockGuard lock(file.m);
    if (file.queue.empty()) {
      file.settle(receiver.connection.get());
    } else {
      message = std::move(file.queue.front());
      file.queue.pop_front();
    }
  }
  if (!message) {
    reply.error = EAGAIN;
    (void)send_packet(receiver.reply.get(), {out, encode(reply, out)});
    return false;
  }
  reply.recv_type = static_cast<uint8_t>(message->type);
  reply.netfn = message->netfn;
  reply.cmd = message->cmd;
  reply.msgid = message->msgid;
  const Bytes address = host::encode_linux_address(message->address);
  reply.address_size = static_cast<uint16_t>(std::min(address.size(), kAddressMax));
  std::copy_n(address.begin(), reply.address_size, reply.address);
  reply.data_size = static_cast<uint16_t>(std::min(message->data.size(), kMessageDataMax));
  std::copy_n(message->data.begin(), reply.data_size, reply.data);
  file.handed = std::move(message);
  file.receiver = std::move(receiver);
  file.verdict_until = rt::now() + options.verdict_wait;
  ++timed;
  if (!watch(file.receiver.reply.get(), verdict_tag(id)) ||
      !send_packet(file.receiver.reply.get(), {out, encode(reply, out)})) {
    // It has gone, or is none that could be asked.
    end_receive(id, file, Verdict::kLeft, false);
    return false;
  }
  return true;
}

void Server::Core::read_verdict(uint64_t id) {
  auto it = connections.find(id);
  if (it == connections.end() || !it->second.file->handed) return;
  OpenFile& file = *it->second.file;
  uint8_t bytes[kPacketMax];
  ReceivedPacket packet = receive_packet(file.receiver.reply.get(), bytes);
  if (packet.size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
  Verdict verdict = Verdict::kLeft;
  const bool said = packet.size > 0 && packet.whole && decode({bytes, static_cast<size_t>(packet.size)}, verdict);
  if (!said) verdict = Verdict::kLeft;  // killed while it copied
  end_receive(id, file, verdict, said);
}

// Settles the message that was handed out, and goes on with those who wait after it.
void Server::Core::end_receive(uint64_t id, OpenFile& file, Verdict verdict, bool answer) {
  unwatch(file.receiver.reply.get());
  Receiver receiver = std::move(file.receiver);
  file.verdict_until = kNever;
  {
    std::optional<host::RecvMessage> message = std::exchange(file.handed, std::nullopt);
    rt::LockGuard lock(file.m);
    if (verdict == Verdict::kLeft) file.queue.push_front(*std::move(message));
    file.settle(receiver.connection.get());
  }
  if (answer) {
    uint8_t out[kPacketMax];
    (void)send_packet(receiver.reply.get(), {out, encode(Reply{}, out)});
  }
  while (!file.handed && !file.receivers.empty()) {
    Receiver next = std::move(file.receivers.front());
    file.receivers.pop_front();
    (void)hand_head(id, file, next);
  }
}

// ---- the outside -------------------------------------------------------------------------------------------------------

Result<std::unique_ptr<Server>> Server::create(ServerOptions options) {
  if (!options.attach) return Error{ErrorCode::kInvalidArgument, "device node server: no attach function"};
  if (options.devices == 0 || options.devices > 0xffff) {
    return Error{ErrorCode::kInvalidArgument, "device node server: " + std::to_string(options.devices) + " devices, 1 to 65535 expected"};
  }
  auto core = std::make_unique<Core>(std::move(options));
  if (Status started = core->start(); !started) return started.error();
  return std::unique_ptr<Server>(new Server(std::move(core)));
}

Server::Server(std::unique_ptr<Core> core) : core_(std::move(core)) {}
Server::~Server() = default;

const std::string& Server::socket_path() const { return core_->options.socket_path; }
ServerStatistics Server::statistics() const { return core_->statistics(); }

}  // namespace bmcpair::device_node
