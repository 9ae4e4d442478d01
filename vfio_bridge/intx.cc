#include "vfio_bridge/intx.h"

#include <cstdint>

namespace bmcpair::vfio_bridge {
namespace {

// The descriptor is non-blocking (Session sees to it). EAGAIN means a counter at its top: the client has a signal to
// read.
void signal(int fd) {
  const uint64_t one = 1;
  [[maybe_unused]] ssize_t n = ::write(fd, &one, sizeof one);
}

}  // namespace

void Intx::fire_if_due() {
  if (!level_ || disabled_ || masked_by_client_ || masked_by_firing_ || !trigger_) return;
  masked_by_firing_ = true;
  ++counts_.fired;
  signal(trigger_.get());
}

void Intx::set_level(bool level) {
  std::lock_guard lock(mutex_);
  level = level && !quiet_;
  bool rose = level && !level_;
  level_ = level;
  if (rose) fire_if_due();
}

bool Intx::level() const {
  std::lock_guard lock(mutex_);
  return level_;
}

void Intx::set_disabled(bool disabled) {
  std::lock_guard lock(mutex_);
  bool rose = disabled_ && !disabled;
  disabled_ = disabled;
  if (rose) fire_if_due();
}

void Intx::assign(UniqueFd trigger) {
  std::lock_guard lock(mutex_);
  trigger_ = std::move(trigger);
  masked_by_firing_ = false;
  fire_if_due();
}

void Intx::mask() {
  std::lock_guard lock(mutex_);
  masked_by_client_ = true;
}

void Intx::unmask() {
  std::lock_guard lock(mutex_);
  ++counts_.unmasked;
  masked_by_client_ = false;
  masked_by_firing_ = false;
  fire_if_due();
}

void Intx::trigger() {
  std::lock_guard lock(mutex_);
  if (!trigger_) return;
  ++counts_.fired;
  signal(trigger_.get());
}

void Intx::disable() {
  std::lock_guard lock(mutex_);
  trigger_.reset();
  unmask_fd_.reset();
  masked_by_client_ = false;
  masked_by_firing_ = false;
}

void Intx::quiet() {
  std::lock_guard lock(mutex_);
  quiet_ = true;
  level_ = false;
}

bool Intx::pending() const {
  std::lock_guard lock(mutex_);
  return masked_by_firing_ && trigger_;
}

Intx::Counts Intx::counts() const {
  std::lock_guard lock(mutex_);
  return counts_;
}

}  // namespace bmcpair::vfio_bridge
