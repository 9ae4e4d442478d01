#include "integration/vm/vm_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace bmcpair::integration {

using vm_protocol::Control;
using vm_protocol::Frame;

VmClient::VmClient(const std::string& address) {
  sockaddr_storage storage{};
  socklen_t size = 0;
  if (address.rfind("unix:", 0) == 0) {
    auto& to = reinterpret_cast<sockaddr_un&>(storage);
    to.sun_family = AF_UNIX;
    std::string path = address.substr(5);
    if (path.size() >= sizeof to.sun_path) throw std::runtime_error("too long: " + address);
    std::memcpy(to.sun_path, path.c_str(), path.size() + 1);
    size = sizeof to;
  } else {
    auto& to = reinterpret_cast<sockaddr_in&>(storage);
    to.sin_family = AF_INET;
    size_t colon = address.rfind(':');
    to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(colon + 1))));
    if (::inet_pton(AF_INET, address.substr(4, colon - 4).c_str(), &to.sin_addr) != 1) {
      throw std::runtime_error("no address: " + address);
    }
    size = sizeof to;
  }
  fd_ = ::socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd_ < 0 || ::connect(fd_, reinterpret_cast<const sockaddr*>(&storage), size) != 0) {
    std::string why = std::strerror(errno);
    close();
    throw std::runtime_error(address + ": " + why);
  }
  const int on = 1;
  if (storage.ss_family == AF_INET) ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void VmClient::hello(uint8_t capabilities) {
  Bytes both = vm_protocol::encode_control(Control::kProtocolVersion, vm_protocol::kVersion);
  Bytes second = vm_protocol::encode_control(Control::kCapabilities, capabilities);
  both.insert(both.end(), second.begin(), second.end());
  send(both);
}

void VmClient::send(ByteView raw) {
  while (!raw.empty()) {
    ssize_t n = ::send(fd_, raw.data(), raw.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw std::runtime_error(std::string("send: ") + std::strerror(errno));
    raw = raw.subspan(static_cast<size_t>(n));
  }
}

void VmClient::send(std::string_view hex) {
  auto raw = from_hex(hex);
  if (!raw) throw std::runtime_error("not hexadecimal: " + std::string(hex));
  send(*raw);
}

uint8_t VmClient::send_request(std::string_view hex) {
  auto message = from_hex(hex);
  if (!message) throw std::runtime_error("not hexadecimal: " + std::string(hex));
  send(vm_protocol::encode_message(++sequence_, *message));
  return sequence_;
}

std::string VmClient::response() {
  for (;;) {
    auto frame = next();
    if (!frame) throw std::runtime_error("the connection ended instead of a response");
    if (frame->kind == Frame::Kind::kControl) continue;
    if (frame->kind == Frame::Kind::kBad) {
      throw std::runtime_error("a bad frame came: " + std::string(vm_protocol::to_string(frame->fault)));
    }
    if (frame->sequence != sequence_) {
      throw std::runtime_error("response with sequence " + std::to_string(frame->sequence) + " instead of " +
                               std::to_string(sequence_));
    }
    return to_hex(ByteView(frame->data).subspan(1));
  }
}

std::string VmClient::ask(std::string_view hex) {
  send_request(hex);
  return response();
}

std::optional<Frame> VmClient::next() {
  if (ahead_) return std::exchange(ahead_, std::nullopt);
  bool ended = false;
  auto frame = read_one(kPatience, ended);
  if (!frame && !ended) throw std::runtime_error("nothing came for a long time");
  return frame;
}

bool VmClient::message_within(std::chrono::milliseconds time) {
  bool ended = false;
  while (!ahead_) {
    auto frame = read_one(time, ended);
    if (!frame) return false;
    if (frame->kind != Frame::Kind::kControl) ahead_ = std::move(frame);
  }
  return true;
}

std::optional<std::string> VmClient::response_within(std::chrono::milliseconds time) {
  while (message_within(time)) {
    if (ahead_->kind == Frame::Kind::kBad || ahead_->sequence == sequence_) return response();
    ahead_.reset();
  }
  return std::nullopt;
}

std::optional<Frame> VmClient::read_one(std::chrono::milliseconds time, bool& ended) {
  for (;;) {
    ByteView bytes(buffer_);
    auto frame = decoder_.next(bytes);
    buffer_.erase(buffer_.begin(), buffer_.end() - static_cast<std::ptrdiff_t>(bytes.size()));
    if (frame) {
      if (frame->kind == Frame::Kind::kControl) controls_.push_back(frame->control);
      return frame;
    }
    pollfd p{fd_, POLLIN, 0};
    int ready = ::poll(&p, 1, static_cast<int>(time.count()));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return std::nullopt;
    std::array<uint8_t, 4096> some;
    ssize_t n = ::recv(fd_, some.data(), some.size(), 0);
    if (n <= 0) {
      ended = true;
      return std::nullopt;
    }
    buffer_.assign(some.begin(), some.begin() + n);
  }
}

bool VmClient::wait_for(Control control) {
  auto code = static_cast<uint8_t>(control);
  for (;;) {
    auto found = std::find(controls_.begin(), controls_.end(), code);
    if (found != controls_.end()) {
      controls_.erase(controls_.begin(), found + 1);
      return true;
    }
    if (!next()) return false;
  }
}

std::string VmClient::controls() {
  Bytes codes(controls_.begin(), controls_.end());
  controls_.clear();
  return to_hex(codes);
}

bool VmClient::wait_for_end() {
  while (next()) {
  }
  return true;
}

void VmClient::close(bool hard) {
  if (fd_ < 0) return;
  if (hard) {
    linger now{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  }
  ::close(fd_);
  fd_ = -1;
}

}  // namespace bmcpair::integration
