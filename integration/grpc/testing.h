// A provider of plain registers that remember what was done to them, and a server of it on a unix socket.
#pragma once

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "bmc_emu/transport/grpc/server.h"
#include "host_driver/bus/bus.h"
#include "host_driver/bus/grpc.h"
#include "proto/registers/register_port.h"

namespace bmcpair::testing {

// Deadlines of tests are for what must never happen; they are long because machines can be slow.
constexpr auto kLong = std::chrono::seconds(60);

// Something that becomes true, and who waits for it.
class Condition {
 public:
  template <class F>
  void change(F f) {
    std::lock_guard lock(mutex_);
    f();
    changed_.notify_all();
  }
  template <class P>
  bool wait(P p) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kLong, p);
  }
  template <class F>
  auto with(F f) {
    std::lock_guard lock(mutex_);
    return f();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
};

// One interface: registers hold what was written; offset 1 read in a burst gives 0, 1, 2...
struct Device {
  explicit Device(registers::InterfaceKind k = registers::InterfaceKind::kBt) : kind(k) {}
  const registers::InterfaceKind kind;
  Condition condition;
  // Guarded by condition.
  std::vector<std::string> log;  // "w0=12", "r1", in order
  std::map<uint16_t, uint8_t> value;
  std::deque<uint8_t> fifo;      // what register 1 gives first
  std::string holder;            // empty: free
  uint64_t attaches = 0;
  uint64_t endpoint = 0;
  registers::RegisterPort::InterruptHandler on_interrupt;
  registers::RegisterPort::LinkHandler on_link;
  registers::LinkState link;
  bool raise_at_once = false;    // the line rises as soon as somebody listens; set before anybody attaches
  std::recursive_mutex handlers;  // held while one runs

  void raise(bool level) {
    std::lock_guard running(handlers);
    auto handler = condition.with([&] { return on_interrupt; });
    if (handler) handler(level);
  }
  void cut(const std::string& reason) {
    std::lock_guard running(handlers);
    auto handler = condition.with([&] {
      link = {false, link.generation, reason};
      return on_link;
    });
    if (handler) handler(link);
  }
  bool wait_free() {
    return condition.wait([&] { return holder.empty(); });
  }
  bool wait_held() {
    return condition.wait([&] { return !holder.empty(); });
  }
};

class DevicePort : public registers::RegisterPort {
 public:
  explicit DevicePort(std::shared_ptr<Device> d, uint64_t endpoint) : device_(std::move(d)), endpoint_(endpoint) {}
  ~DevicePort() override {
    device_->condition.change([&] { device_->holder.clear(); });
  }
  uint8_t read(uint16_t offset) override {
    uint8_t v = 0;
    device_->condition.change([&] {
      device_->log.push_back("r" + std::to_string(offset));
      if (offset == 1 && !device_->fifo.empty()) {
        v = device_->fifo.front();
        device_->fifo.pop_front();
      } else {
        v = device_->value[offset];
      }
    });
    return v;
  }
  void write(uint16_t offset, uint8_t value) override {
    device_->condition.change([&] {
      device_->log.push_back("w" + std::to_string(offset) + "=" + std::to_string(value));
      device_->value[offset] = value;
    });
  }
  registers::InterfaceKind kind() const override { return device_->kind; }
  bool has_interrupt() const override { return true; }
  void set_interrupt_handler(InterruptHandler handler) override {
    std::lock_guard running(device_->handlers);
    device_->condition.change([&] { device_->on_interrupt = std::move(handler); });
    if (device_->raise_at_once) device_->raise(true);
  }
  void set_link_handler(LinkHandler handler) override {
    std::lock_guard running(device_->handlers);
    device_->condition.change([&] { device_->on_link = std::move(handler); });
  }
  registers::LinkState link() const override {
    return device_->condition.with([&] { return device_->link; });
  }
  uint64_t endpoint() const override { return endpoint_; }

 private:
  const std::shared_ptr<Device> device_;
  const uint64_t endpoint_;
};

class Devices : public registers::PortProvider {
 public:
  std::shared_ptr<Device> add(const std::string& path,
                              registers::InterfaceKind kind = registers::InterfaceKind::kBt) {
    return devices_[path] = std::make_shared<Device>(kind);
  }
  Result<std::unique_ptr<registers::RegisterPort>> attach(std::string_view path, std::string_view who) override {
    auto it = devices_.find(path);
    if (path.empty() && devices_.size() == 1) it = devices_.begin();
    if (it == devices_.end())
      return Error{ErrorCode::kNotFound, "no interface '" + std::string(path) + "' here"};
    auto& device = it->second;
    Result<std::unique_ptr<registers::RegisterPort>> result = Error{};
    device->condition.change([&] {
      if (!device->holder.empty()) {
        result = Error{ErrorCode::kBusy, it->first + " is held by " + device->holder};
        return;
      }
      device->holder = who;
      device->link = {};
      ++device->attaches;
      device->endpoint = ++endpoints_;
      result = std::unique_ptr<registers::RegisterPort>(std::make_unique<DevicePort>(device, device->endpoint));
    });
    return result;
  }

 private:
  std::map<std::string, std::shared_ptr<Device>, std::less<>> devices_;
  std::atomic<uint64_t> endpoints_{0};
};

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = "/tmp/bmcpair-test-XXXXXX";
    if (::mkdtemp(name.data())) path_ = name;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline Result<std::unique_ptr<registers::RegisterPort>> open(const std::string& address, const std::string& path,
                                                             const std::string& who = "test",
                                                             bus::OpenOptions options = {}) {
  auto spec = bus::parse_bus_spec("grpc:" + address + "#" + path);
  if (!spec.ok()) return spec.error();
  options.who = who;
  return bus::open_bus(*spec, options);
}

}  // namespace bmcpair::testing
