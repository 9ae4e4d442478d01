#include "bmc_emu/transport/vm_protocol/connection.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace bmcpair::transport {
namespace {

using board::HostSignal;
using firmware::PowerAction;
using vm_protocol::Control;
using vm_protocol::Frame;

constexpr size_t kReadBytes = 4096;
constexpr int kReadsMax = 16;  // at one go: others wait for the same thread
// What a host may leave unread. It asks one thing at a time, so this is far more than it can be owed.
constexpr size_t kUnreadBytesMax = 64 * 1024;
constexpr uint8_t kMessageInterrupts = 0x03;  // Set BMC Global Enables: receive message queue, event message buffer

constexpr bool is_power_of_two(uint64_t n) { return (n & (n - 1)) == 0; }

}  // namespace

VmConnection::VmConnection(FileDescriptor fd, std::unique_ptr<board::MessagePort> port,
                           std::shared_ptr<board::MessageService> service, std::shared_ptr<Reactor> reactor, Say say)
    : fd_(std::move(fd)),
      service_(std::move(service)),
      reactor_(std::move(reactor)),
      say_(std::move(say)),
      port_(std::move(port)) {}

VmConnection::~VmConnection() {
  port_.reset();
  reactor_->remove(id_);
}

bool VmConnection::begin(Reactor::Ready ready) {
  auto id = reactor_->add(fd_.get(), EPOLLIN | EPOLLRDHUP, std::move(ready));
  {
    std::lock_guard<std::mutex> lock(out_mutex_);
    if (!id) fail(id.error().message);
    if (failed_) return false;
    id_ = *id;
  }
  send(vm_protocol::encode_control(Control::kProtocolVersion, vm_protocol::kVersion));
  port_->set_signal_handler([this](const HostSignal& signal) { on_signal(signal); });
  return true;
}

bool VmConnection::read() {
  std::array<uint8_t, kReadBytes> buffer;
  for (int i = 0; i < kReadsMax; ++i) {
    ssize_t n = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
    if (n <= 0) {
      int error = errno;
      std::lock_guard<std::mutex> lock(out_mutex_);
      std::string why = n == 0 ? "it closed the connection" : std::strerror(error);
      if (decoder_.partial()) why += ", in the middle of a frame";
      fail(std::move(why));
      return false;
    }
    ByteView bytes(buffer.data(), static_cast<size_t>(n));
    while (auto frame = decoder_.next(bytes)) take(*frame);
    if (static_cast<size_t>(n) < buffer.size()) break;
  }
  std::lock_guard<std::mutex> lock(out_mutex_);
  return !failed_;
}

void VmConnection::take(const Frame& frame) {
  ++service_->frames_in;
  switch (frame.kind) {
    case Frame::Kind::kMessage: {
      uint32_t tag;
      {
        std::lock_guard<std::mutex> lock(out_mutex_);
        tag = ++tag_;
        sequence_ = frame.sequence;
      }
      port_->submit_and_run(tag, frame.data);
      break;
    }
    case Frame::Kind::kControl: take_control(frame); break;
    case Frame::Kind::kBad:
      count_bad("a frame of " + std::to_string(frame.body_bytes) + " bytes: " +
                std::string(vm_protocol::to_string(frame.fault)));
      break;
  }
}

void VmConnection::take_control(const Frame& frame) {
  auto control = static_cast<Control>(frame.control);
  std::string name = vm_protocol::is_known(frame.control) ? std::string(vm_protocol::to_string(control))
                                                          : "control " + to_hex(ByteView(&frame.control, 1));
  bool takes_byte = control == Control::kProtocolVersion || control == Control::kCapabilities;
  if (takes_byte && frame.data.empty()) {
    count_bad(name + " without its byte");
    return;
  }
  switch (control) {
    case Control::kProtocolVersion:
      if (frame.data[0] != vm_protocol::kVersion) {
        say_("protocol version " + std::to_string(frame.data[0]) + "; " + std::to_string(vm_protocol::kVersion) +
             " is spoken here");
      }
      break;
    case Control::kCapabilities: {
      int before = capabilities_.exchange(frame.data[0]);
      if (before != frame.data[0]) say_("can: " + vm_protocol::describe_capabilities(frame.data[0]));
      if (before < 0) port_->host_is_running();
      break;
    }
    case Control::kReset:
      // What we asked for has been accounted for, with its cause.
      if (!reset_sent_.exchange(false)) {
        say_("was reset");
        port_->host_was_reset();
      }
      break;
    default: count_bad(name + " is nothing that a host says"); break;
  }
}

void VmConnection::count_bad(const std::string& what) {
  ++service_->frames_bad;
  if (is_power_of_two(++bad_)) say_("wrong frame " + std::to_string(bad_) + ": " + what);
}

bool VmConnection::able(uint8_t capability) const {
  int said = capabilities_;
  return said >= 0 && (said & capability) != 0;
}

void VmConnection::on_signal(const HostSignal& signal) {
  int said = capabilities_;
  switch (signal.kind) {
    case HostSignal::Kind::kResponse: {
      std::lock_guard<std::mutex> lock(out_mutex_);
      // An answer to anything but the newest request would have a wrong sequence number, and that kills QEMU's BT.
      if (signal.value != tag_) break;
      // ... unless a fault asks for one.
      const auto sequence = static_cast<uint8_t>(sequence_ + signal.fault.sequence_add);
      const Bytes frame = vm_protocol::encode_message(sequence, signal.message, signal.fault.bad_checksum ? 1 : 0);
      for (int i = 0; i <= signal.fault.duplicates; ++i) write(frame);
      break;
    }
    case HostSignal::Kind::kAttention:
      if (said >= 0 && (said & vm_protocol::kCanAttention) == 0) break;
      send_control(signal.value == 0     ? Control::kClearAttention
                   : interrupts_wanted_ ? Control::kAttentionInterrupt
                                        : Control::kAttention);
      break;
    case HostSignal::Kind::kGlobalEnables: {
      interrupts_wanted_ = (signal.value & kMessageInterrupts) != 0;
      // A new host begins with interrupts forbidden, one that comes back has kept what it was told. Forbidding is right
      // for both when nobody has enabled them. Allowing waits until this host's software asks: unasked, it left a KCS
      // guest stuck.
      if (signal.initial && interrupts_wanted_) break;
      Interrupts wanted = interrupts_wanted_ ? Interrupts::kAllowed : Interrupts::kForbidden;
      if (wanted == interrupts_ || (said >= 0 && (said & vm_protocol::kCanInterrupt) == 0)) break;
      interrupts_ = wanted;
      send_control(interrupts_wanted_ ? Control::kAllowInterrupts : Control::kForbidInterrupts);
      break;
    }
    case HostSignal::Kind::kPower: on_power(static_cast<PowerAction>(signal.value)); break;
    case HostSignal::Kind::kLinkDown: {
      std::lock_guard<std::mutex> lock(out_mutex_);
      fail(signal.text);
      break;
    }
  }
}

void VmConnection::on_power(PowerAction action) {
  using namespace vm_protocol;
  Control control = Control::kPowerOff;
  uint8_t capability = kCanPowerOff;
  switch (action) {
    case PowerAction::kOff: break;
    case PowerAction::kOn: return;  // only somebody who can start machines could
    case PowerAction::kCycle:
      // A machine that is off is nobody's to start: a reset comes nearest.
      if (!able(kCanReset)) break;
      [[fallthrough]];
    case PowerAction::kHardReset:
      control = Control::kReset;
      capability = kCanReset;
      break;
    case PowerAction::kDiagnosticInterrupt:
      control = Control::kNmi;
      capability = kCanNmi;
      break;
    case PowerAction::kSoftShutdown:
      control = Control::kGracefulShutdown;
      capability = kCanGracefulShutdown;
      break;
  }
  if (!able(capability)) {
    say_("cannot do: " + std::string(to_string(control)));
    return;
  }
  if (control == Control::kReset) reset_sent_ = true;
  say_("is told: " + std::string(to_string(control)));
  send_control(control);
}

void VmConnection::send_control(Control control) { send(vm_protocol::encode_control(control)); }

void VmConnection::send(ByteView bytes) {
  std::lock_guard<std::mutex> lock(out_mutex_);
  write(bytes);
}

void VmConnection::write(ByteView bytes) {
  if (failed_) return;
  ++service_->frames_out;
  if (out_.empty()) {
    ssize_t n;
    do {
      n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK) return fail(std::strerror(errno));
    if (n > 0) bytes = bytes.subspan(static_cast<size_t>(n));
    if (bytes.empty()) return;
    reactor_->watch(id_, fd_.get(), EPOLLIN | EPOLLRDHUP | EPOLLOUT);
  }
  if (out_.size() + bytes.size() > kUnreadBytesMax) return fail("it leaves what it is told unread");
  out_.insert(out_.end(), bytes.begin(), bytes.end());
}

bool VmConnection::flush() {
  std::lock_guard<std::mutex> lock(out_mutex_);
  while (!failed_ && !out_.empty()) {
    ssize_t n = ::send(fd_.get(), out_.data(), out_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return true;
    if (n < 0) {
      fail(std::strerror(errno));
      break;
    }
    out_.erase(out_.begin(), out_.begin() + n);
  }
  if (out_.empty()) reactor_->watch(id_, fd_.get(), EPOLLIN | EPOLLRDHUP);
  return !failed_;
}

void VmConnection::fail(std::string why) {
  if (std::exchange(failed_, true)) return;
  end_ = std::move(why);
  // The reactor sees the end and closes.
  ::shutdown(fd_.get(), SHUT_RDWR);
}

std::string VmConnection::end() const {
  std::lock_guard<std::mutex> lock(out_mutex_);
  return failed_ ? end_ : "it was cut off";
}

}  // namespace bmcpair::transport
