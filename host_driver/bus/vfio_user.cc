#include "host_driver/bus/vfio_user.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <thread>

#include "host_driver/bus/unix_socket.h"
#include "proto/base/hex.h"
#include "proto/vfio_user/message.h"

namespace bmcpair::bus {
namespace {

using registers::InterfaceKind;
using registers::LinkState;
using vfio_user::Command;
using vfio_user::Header;
using vfio_user::RegionAccess;

constexpr size_t kInFlightMax = 256;  // messages of one burst
constexpr size_t kReplyBytesMax = 64 * 1024;

ErrorCode code_of(uint32_t error_no) {
  switch (error_no) {
    case EBUSY: return ErrorCode::kBusy;
    case ENODEV: return ErrorCode::kNotFound;
    case EHOSTUNREACH: return ErrorCode::kUnavailable;
    case ESHUTDOWN: return ErrorCode::kShutdown;
    case ETIMEDOUT: return ErrorCode::kTimeout;
    case EACCES: return ErrorCode::kPermission;
    default: return ErrorCode::kProtocol;
  }
}

std::string text_of(uint32_t error_no) {
  return error_no == 0 ? "an error without a number" : std::strerror(static_cast<int>(error_no));
}

// One connection, brought up; used by one thread at a time but for its two descriptors.
class Connection {
 public:
  Connection(Fd socket, Fd event, std::string path, std::chrono::milliseconds wait)
      : socket_(std::move(socket)),
        event_(std::move(event)),
        path_(std::move(path)),
        wait_(wait),
        in_(kReplyBytesMax) {}

  Status bring_up(unsigned spacing);

  int socket() const { return socket_.get(); }
  int event() const { return event_.get(); }
  InterfaceKind kind() const { return kind_; }
  bool has_interrupt() const { return has_interrupt_; }

  // The message is put behind what is there; flush sends it all.
  void put_read(uint16_t reg) {
    vfio_user::append_message(out_, Header{next_id_++, static_cast<uint16_t>(Command::kRegionRead), 0, 0, 0},
                              vfio_user::encode(access(reg)));
  }
  void put_writes(uint16_t reg, std::span<const uint8_t> values);
  void put_unmask() {
    vfio_user::IrqSet set{0, vfio_user::kIrqDataNone | vfio_user::kIrqActionUnmask, vfio_user::kIrqIntx, 0, 1, {}};
    put_posted(Command::kDeviceSetIrqs, vfio_user::encode_irq_set(set));
  }
  Status flush();
  uint16_t next_id() const { return next_id_; }
  // The reply to a read that was put with this id, of one register byte.
  Result<uint8_t> take_read(uint16_t id);

 private:
  RegionAccess access(uint16_t reg) const { return {static_cast<uint64_t>(reg) * spacing_, vfio_user::kRegionBar0, 1}; }
  void put_posted(Command command, ByteView payload, ByteView data = {}) {
    vfio_user::append_message(out_, Header{next_id_++, static_cast<uint16_t>(command), 0, vfio_user::kFlagNoReply, 0},
                              payload, data);
  }
  Error lost(const std::string& why, ErrorCode code = ErrorCode::kUnavailable) const {
    return Error{code, path_ + ": " + why};
  }
  // The next reply, which must be to this message. Its payload is good until the next call.
  Result<ByteView> take_reply(uint16_t id, Command command);
  Result<ByteView> call(Command command, ByteView payload, int descriptor = -1);
  Result<vfio_user::RegionInfo> region(uint32_t index);
  Result<Bytes> read_config(uint64_t offset, uint32_t count);

  Fd socket_;
  Fd event_;
  std::string path_;
  std::chrono::milliseconds wait_;
  vfio_user::MessageBuffer in_;
  Bytes out_;
  uint16_t next_id_ = 1;
  bool write_multiple_ = false;
  bool has_interrupt_ = false;
  unsigned spacing_ = 1;
  InterfaceKind kind_ = InterfaceKind::kKcs;
};

Status Connection::flush() {
  ByteView left(out_);
  while (!left.empty()) {
    ssize_t n = ::send(socket_.get(), left.data(), left.size(), MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EINTR) continue;
      int error = errno;
      out_.clear();
      return error == EAGAIN
                 ? lost("the server takes no requests in " + std::to_string(wait_.count()) + " ms", ErrorCode::kTimeout)
                 : lost(std::string("send: ") + std::strerror(error));
    }
    left = left.subspan(static_cast<size_t>(n));
  }
  out_.clear();
  return {};
}

Result<ByteView> Connection::take_reply(uint16_t id, Command command) {
  for (;;) {
    auto m = in_.next();
    if (!m) return lost("broken reply: " + m.error().message, ErrorCode::kProtocol);
    if (*m) {
      const Header& h = (*m)->header;
      if (!h.is_reply()) {
        // A command of the server's (DMA). We offered no memory, so there is none it could mean.
        return lost(
            "the server sent " + std::string(to_string(static_cast<Command>(h.command))) + " where a reply was due",
            ErrorCode::kProtocol);
      }
      if (h.id != id || h.command != static_cast<uint16_t>(command)) {
        return lost("the reply to message " + std::to_string(h.id) + " came where " + std::to_string(id) + " was due",
                    ErrorCode::kProtocol);
      }
      if (h.is_error()) {
        return lost(std::string(to_string(command)) + " is refused: " + text_of(h.error_no), code_of(h.error_no));
      }
      return (*m)->payload;
    }
    ssize_t n = ::recv(socket_.get(), in_.space(4096), 4096, 0);
    if (n > 0) {
      in_.commit(static_cast<size_t>(n));
    } else if (n == 0) {
      return lost("the server has closed the connection");
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return lost("no reply to " + std::string(to_string(command)) + " in " + std::to_string(wait_.count()) + " ms",
                  ErrorCode::kTimeout);
    } else if (errno != EINTR) {
      return lost(std::string("receive: ") + std::strerror(errno));
    }
  }
}

Result<ByteView> Connection::call(Command command, ByteView payload, int descriptor) {
  const uint16_t id = next_id_++;
  vfio_user::append_message(out_, Header{id, static_cast<uint16_t>(command), 0, 0, 0}, payload);
  if (descriptor >= 0) {
    // Small enough to go in one piece, and it must: the descriptor goes with its first byte.
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))]{};
    iovec iov{out_.data(), out_.size()};
    msghdr msg{};
    msg.msg_iov = &iov;
    msg.msg_iovlen = 1;
    msg.msg_control = control;
    msg.msg_controllen = sizeof control;
    cmsghdr* c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(c), &descriptor, sizeof descriptor);
    ssize_t n;
    do {
      n = ::sendmsg(socket_.get(), &msg, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0) return lost(std::string("send: ") + std::strerror(errno));
    out_.erase(out_.begin(), out_.begin() + n);
  }
  if (auto s = flush(); !s) return s.error();
  return take_reply(id, command);
}

Result<vfio_user::RegionInfo> Connection::region(uint32_t index) {
  vfio_user::RegionInfo ask;
  ask.index = index;
  auto reply = call(Command::kDeviceGetRegionInfo, vfio_user::encode(ask));
  if (!reply) return reply.error();
  auto info = vfio_user::decode_region_info_reply(*reply);
  if (!info) return lost(info.error().message, ErrorCode::kProtocol);
  if (info->index != index) return lost("region information about another region came", ErrorCode::kProtocol);
  return *info;
}

Result<Bytes> Connection::read_config(uint64_t offset, uint32_t count) {
  auto reply = call(Command::kRegionRead, vfio_user::encode(RegionAccess{offset, vfio_user::kRegionConfig, count}));
  if (!reply) return reply.error();
  auto data = vfio_user::decode_region_read_reply(*reply);
  if (!data) return lost(data.error().message, ErrorCode::kProtocol);
  if (data->data.size() != count) return lost("configuration space was read short", ErrorCode::kProtocol);
  return Bytes(data->data.begin(), data->data.end());
}

Status Connection::bring_up(unsigned spacing) {
  vfio_user::Version ours;
  // Numbers that fit what a register port ever asks; anything in the reply but write_multiple can be left unread.
  ours.json = R"({"capabilities":{"max_msg_fds":1,"max_data_xfer_size":4096,"write_multiple":true}})";
  auto reply = call(Command::kVersion, vfio_user::encode_version(ours));
  if (!reply) return reply.error();
  auto version = vfio_user::decode_version(*reply);
  if (!version) return lost(version.error().message, ErrorCode::kProtocol);
  if (version->major != ours.major || version->minor > ours.minor) {
    return lost(
        "the server answers VERSION with " + std::to_string(version->major) + "." + std::to_string(version->minor),
        ErrorCode::kProtocol);
  }
  if (version->json) {
    // One boolean of a machine's JSON, wherever blanks may stand in it. Without it bursts go as single writes, which is
    // right too.
    std::string packed;
    for (char c : *version->json) {
      if (c != ' ' && c != '\t' && c != '\n' && c != '\r') packed += c;
    }
    write_multiple_ = packed.find("\"write_multiple\":true") != std::string::npos;
  }

  auto info_reply = call(Command::kDeviceGetInfo, vfio_user::encode(vfio_user::DeviceInfo{}));
  if (!info_reply) return info_reply.error();
  auto info = vfio_user::decode_device_info(*info_reply);
  if (!info) return lost(info.error().message, ErrorCode::kProtocol);
  if (!(info->flags & vfio_user::kDeviceFlagPci) || info->num_regions <= vfio_user::kRegionConfig) {
    return lost("the device is no PCI device", ErrorCode::kProtocol);
  }
  auto bar = region(vfio_user::kRegionBar0);
  if (!bar) return bar.error();
  auto config_info = region(vfio_user::kRegionConfig);
  if (!config_info) return config_info.error();
  if (config_info->size < 64) return lost("configuration space has less than 64 bytes", ErrorCode::kProtocol);
  auto config = read_config(0, 64);
  if (!config) return config.error();
  const Bytes& c = *config;

  if (c[0x0b] != 0x0c || c[0x0a] != 0x07 || c[0x09] > 2) {
    return lost(
        "PCI class " + to_hex(Bytes{c[0x0b], c[0x0a], c[0x09]}, "") + " is no IPMI interface, 0c0700 to 0c0702 are",
        ErrorCode::kProtocol);
  }
  kind_ = c[0x09] == 0 ? InterfaceKind::kSmic : c[0x09] == 1 ? InterfaceKind::kKcs : InterfaceKind::kBt;
  const bool is_io = (c[0x10] & 1) != 0;
  spacing_ = spacing;
  if (spacing_ == 0) spacing_ = is_io && bar->size == 64 ? 16 : is_io && bar->size == 16 ? 4 : 1;
  const uint64_t needed = uint64_t{registers::register_count(kind_)} * spacing_ - (spacing_ - 1);
  constexpr uint32_t kBoth = vfio_user::kRegionFlagRead | vfio_user::kRegionFlagWrite;
  if (bar->size < needed || (bar->flags & kBoth) != kBoth) {
    return lost("BAR0 has " + std::to_string(bar->size) + " bytes, " + std::to_string(needed) +
                    " that can be read and written are needed",
                ErrorCode::kProtocol);
  }

  if (info->num_irqs > vfio_user::kIrqIntx && c[0x3d] != 0) {
    auto irq_reply =
        call(Command::kDeviceGetIrqInfo, vfio_user::encode(vfio_user::IrqInfo{16, 0, vfio_user::kIrqIntx, 0}));
    if (!irq_reply) return irq_reply.error();
    auto irq = vfio_user::decode_irq_info(*irq_reply);
    if (!irq) return lost(irq.error().message, ErrorCode::kProtocol);
    has_interrupt_ = irq->count == 1 && (irq->flags & vfio_user::kIrqInfoEventfd);
  }
  if (has_interrupt_) {
    vfio_user::IrqSet set{0, vfio_user::kIrqDataEventfd | vfio_user::kIrqActionTrigger, vfio_user::kIrqIntx, 0, 1, {}};
    if (auto r = call(Command::kDeviceSetIrqs, vfio_user::encode_irq_set(set), event_.get()); !r) return r.error();
  }
  // Command: the BAR's decoder on, INTx allowed.
  Bytes command{static_cast<uint8_t>(c[4] | (is_io ? 0x01 : 0x02)), static_cast<uint8_t>(c[5] & ~0x04)};
  Bytes write;
  auto head = vfio_user::encode(RegionAccess{4, vfio_user::kRegionConfig, 2});
  write.insert(write.end(), head.begin(), head.end());
  write.insert(write.end(), command.begin(), command.end());
  if (auto r = call(Command::kRegionWrite, write); !r) return r.error();
  return {};
}

void Connection::put_writes(uint16_t reg, std::span<const uint8_t> values) {
  if (write_multiple_ && values.size() > 1) {
    std::vector<vfio_user::MultiWrite> writes(values.size());
    for (size_t i = 0; i < values.size(); ++i) {
      writes[i].offset = access(reg).offset;
      writes[i].region = vfio_user::kRegionBar0;
      writes[i].count = 1;
      writes[i].data[0] = values[i];
    }
    return put_posted(Command::kRegionWriteMulti, vfio_user::encode_write_multi(writes));
  }
  const auto head = vfio_user::encode(access(reg));
  for (size_t i = 0; i < values.size(); ++i) put_posted(Command::kRegionWrite, head, values.subspan(i, 1));
}

Result<uint8_t> Connection::take_read(uint16_t id) {
  auto reply = take_reply(id, Command::kRegionRead);
  if (!reply) return reply.error();
  auto data = vfio_user::decode_region_read_reply(*reply);
  if (!data) return lost(data.error().message, ErrorCode::kProtocol);
  if (data->data.size() != 1)
    return lost("a register read came back with " + std::to_string(data->data.size()) + " bytes", ErrorCode::kProtocol);
  return data->data[0];
}

class VfioUserPort : public registers::RegisterPort {
 public:
  VfioUserPort(std::string path, VfioUserOptions options) : path_(std::move(path)), options_(options) {}

  Status start() {
    auto wake = make_eventfd();
    if (!wake) return wake.error();
    wake_ = *std::move(wake);
    auto made = establish();
    if (!made) return made.error();
    connection_ = *std::move(made);
    kind_ = connection_->kind();
    has_interrupt_ = connection_->has_interrupt();
    link_.generation = 1;
    worker_ = std::thread([this] { work(); });
    return {};
  }

  ~VfioUserPort() override {
    ending_ = true;
    if (worker_.joinable()) {
      {
        std::lock_guard lock(link_mutex_);
        if (establishing_ >= 0) ::shutdown(establishing_, SHUT_RDWR);
      }
      signal_eventfd(wake_.get());
      worker_.join();
    }
  }

  uint8_t read(uint16_t offset) override {
    uint8_t value = 0xff;
    read_burst(offset, {&value, 1});
    return value;
  }

  void read_burst(uint16_t offset, std::span<uint8_t> out) override {
    std::lock_guard lock(mutex_);
    while (!out.empty()) {
      auto part = out.first(std::min(out.size(), kInFlightMax));
      out = out.subspan(part.size());
      if (!connection_ || lost_ || !valid(offset)) {
        std::fill(part.begin(), part.end(), uint8_t{0xff});
        continue;
      }
      uint16_t id = connection_->next_id();
      for (size_t i = 0; i < part.size(); ++i) connection_->put_read(offset);
      if (!send()) {
        std::fill(part.begin(), part.end(), uint8_t{0xff});
        continue;
      }
      for (uint8_t& byte : part) {
        byte = 0xff;
        if (lost_) continue;
        auto value = connection_->take_read(id++);
        if (value) {
          byte = *value;
        } else {
          lose(value.error());
        }
      }
    }
  }

  void write(uint16_t offset, uint8_t value) override { write_burst(offset, {&value, 1}); }

  void write_burst(uint16_t offset, std::span<const uint8_t> in) override {
    std::lock_guard lock(mutex_);
    while (!in.empty()) {
      auto part = in.first(std::min(in.size(), kInFlightMax));
      in = in.subspan(part.size());
      if (!connection_ || lost_ || !valid(offset)) return;
      connection_->put_writes(offset, part);
      if (!send()) return;
    }
  }

  InterfaceKind kind() const override { return kind_; }
  bool has_interrupt() const override { return has_interrupt_; }

  void set_interrupt_handler(InterruptHandler handler) override {
    {
      std::lock_guard lock(handler_mutex_);
      handler_ = std::move(handler);
      reported_ = false;
    }
    signal_eventfd(wake_.get());  // a line that is high is told to the new one
  }
  LinkState link() const override {
    std::lock_guard lock(link_mutex_);
    return link_;
  }
  void set_link_handler(LinkHandler handler) override {
    std::lock_guard lock(handler_mutex_);
    link_handler_ = std::move(handler);
  }

 private:
  bool valid(uint16_t offset) const { return offset < registers::register_count(kind_); }

  // mutex_ held. Sends what was put, with the unmask behind it that an interrupt asks for.
  bool send() {
    if (asserted_.exchange(false)) {
      // The worker must know before the server can signal again.
      deasserted_ = true;
      signal_eventfd(wake_.get());
      connection_->put_unmask();
    }
    if (auto s = connection_->flush(); !s) {
      lose(s.error());
      return false;
    }
    return true;
  }

  // mutex_ held. The worker closes the socket: it may be waiting on it.
  void lose(const Error& why) {
    if (lost_) return;
    lost_ = true;
    ::shutdown(connection_->socket(), SHUT_RDWR);
    {
      std::lock_guard lock(link_mutex_);
      link_.up = false;
      link_.reason = why.to_string();
    }
    signal_eventfd(wake_.get());
  }

  Result<std::unique_ptr<Connection>> establish() {
    auto socket = connect_unix(path_, options_.reply_wait);
    if (!socket) return socket.error();
    auto event = make_eventfd();
    if (!event) return event.error();
    auto c = std::make_unique<Connection>(*std::move(socket), *std::move(event), path_, options_.reply_wait);
    {
      std::lock_guard lock(link_mutex_);
      if (ending_) return Error{ErrorCode::kShutdown, path_ + ": the port is going away"};
      establishing_ = c->socket();
    }
    Status s = c->bring_up(options_.spacing);
    {
      std::lock_guard lock(link_mutex_);
      establishing_ = -1;
    }
    if (!s) return s.error();
    return c;
  }

  void report(bool level) {
    std::lock_guard lock(handler_mutex_);
    if (reported_ == level) return;
    reported_ = level;
    if (handler_) handler_(level);
  }

  void report_link() {
    std::lock_guard lock(handler_mutex_);
    if (link_handler_) link_handler_(link());
  }

  void work() {
    bool line = false;
    auto backoff = options_.backoff_first;
    while (!ending_) {
      if (connection_) {  // only this thread makes and ends it
        pollfd p[3] = {
            {wake_.get(), POLLIN, 0}, {connection_->event(), POLLIN, 0}, {connection_->socket(), POLLRDHUP, 0}};
        if (::poll(p, 3, -1) < 0 && errno != EINTR) continue;
        if (p[0].revents) drain_eventfd(wake_.get());
        // In this order: a signal that is here now came after every unmask that is noted by now.
        bool fired = drain_eventfd(connection_->event());
        if (deasserted_.exchange(false)) report(line = false);
        if (fired) {
          line = true;
          asserted_ = true;
        }
        report(line);
        bool gone = false;
        {
          std::lock_guard lock(mutex_);
          if (p[2].revents) lose(Error{ErrorCode::kUnavailable, path_ + ": the server has closed the connection"});
          if (lost_) {
            connection_.reset();
            lost_ = false;
            gone = true;
          }
        }
        if (gone) {
          asserted_ = false;
          deasserted_ = false;
          report(line = false);
          report_link();
          backoff = options_.backoff_first;
        }
        continue;
      }
      pollfd p{wake_.get(), POLLIN, 0};
      ::poll(&p, 1, static_cast<int>(backoff.count()));
      if (ending_) return;
      if (p.revents) {
        drain_eventfd(wake_.get());
        report(line);
      }
      backoff = std::min(backoff * 2, options_.backoff_most);
      auto made = establish();
      if (made && (*made)->kind() != kind_) {
        made = Error{ErrorCode::kProtocol, path_ + ": the device is " + std::string(to_string((*made)->kind())) +
                                               " now, it was " + std::string(to_string(kind_))};
      }
      if (!made) {
        std::lock_guard lock(link_mutex_);
        link_.reason = made.error().to_string();
        continue;
      }
      {
        std::lock_guard lock(mutex_);
        connection_ = *std::move(made);
        std::lock_guard link_lock(link_mutex_);
        link_.up = true;
        ++link_.generation;
        link_.reason.clear();
      }
      report_link();
    }
  }

  const std::string path_;
  const VfioUserOptions options_;
  InterfaceKind kind_ = InterfaceKind::kKcs;
  bool has_interrupt_ = false;
  Fd wake_;
  std::atomic<bool> ending_{false};

  std::mutex mutex_;  // accesses
  std::unique_ptr<Connection> connection_;
  bool lost_ = false;

  std::atomic<bool> asserted_{false};    // the device signalled and has not been unmasked
  std::atomic<bool> deasserted_{false};  // it has been since the worker last looked

  std::mutex handler_mutex_;
  InterruptHandler handler_;
  bool reported_ = false;
  LinkHandler link_handler_;

  mutable std::mutex link_mutex_;
  LinkState link_;
  int establishing_ = -1;

  std::thread worker_;
};

}  // namespace

Result<std::unique_ptr<registers::RegisterPort>> connect_vfio_user(const std::string& socket,
                                                                   const VfioUserOptions& options) {
  if (options.spacing != 0 && options.spacing != 1 && options.spacing != 4 && options.spacing != 16) {
    return Error{ErrorCode::kInvalidArgument,
                 "register spacing " + std::to_string(options.spacing) + " is not one of 1, 4, 16"};
  }
  auto port = std::make_unique<VfioUserPort>(socket, options);
  if (auto s = port->start(); !s) return s.error();
  return std::unique_ptr<registers::RegisterPort>(std::move(port));
}

Result<std::unique_ptr<registers::RegisterPort>> open_vfio_user(const BusSpec& spec, const OpenOptions&) {
  VfioUserOptions options;
  for (const auto& [name, value] : spec.options) {
    if (name != "spacing") {
      return Error{ErrorCode::kInvalidArgument, spec.text + ": unknown option '" + name + "', vfio-user has: spacing"};
    }
    auto n = parse_number(value, 16);
    if (!n || (*n != 1 && *n != 4 && *n != 16)) {
      return Error{ErrorCode::kInvalidArgument, spec.text + ": spacing '" + value + "' is not one of 1, 4, 16"};
    }
    options.spacing = static_cast<unsigned>(*n);
  }
  return connect_vfio_user(spec.target, options);
}

}  // namespace bmcpair::bus
