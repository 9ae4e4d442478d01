// A register port that counts what goes through it: what a driver asks of a bus, whichever bus it is.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "proto/registers/forwarding_port.h"

namespace bmcpair::pair {

struct AccessCounts {
  uint64_t reads = 0;        // calls that read, a burst being one
  uint64_t writes = 0;       // calls that write, likewise; they are posted and wait for nothing
  uint64_t round_trips = 0;  // what a caller waits for on a bus with a wire

  AccessCounts operator-(const AccessCounts& before) const {
    return {reads - before.reads, writes - before.writes, round_trips - before.round_trips};
  }
};

class AccessCounter {
 public:
  AccessCounts now() const {
    return {reads_.load(std::memory_order_relaxed), writes_.load(std::memory_order_relaxed),
            round_trips_.load(std::memory_order_relaxed)};
  }
  void read(uint64_t trips) {
    reads_.fetch_add(1, std::memory_order_relaxed);
    round_trips_.fetch_add(trips, std::memory_order_relaxed);
  }
  void write() { writes_.fetch_add(1, std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> reads_{0}, writes_{0}, round_trips_{0};
};

class CountingPort final : public registers::ForwardingPort {
 public:
  // counted_read_trips: 1 where the bus has a counted read of its own (gRPC), 2 where it is a read and then a burst.
  CountingPort(std::unique_ptr<registers::RegisterPort> port, std::shared_ptr<AccessCounter> counter,
               unsigned counted_read_trips = 1)
      : ForwardingPort(std::move(port)), counter_(std::move(counter)), counted_read_trips_(counted_read_trips) {}

  uint8_t read(uint16_t offset) override {
    counter_->read(1);
    return ForwardingPort::read(offset);
  }
  void write(uint16_t offset, uint8_t value) override {
    counter_->write();
    ForwardingPort::write(offset, value);
  }
  void read_burst(uint16_t offset, std::span<uint8_t> out) override {
    counter_->read(1);
    ForwardingPort::read_burst(offset, out);
  }
  void write_burst(uint16_t offset, std::span<const uint8_t> in) override {
    counter_->write();
    ForwardingPort::write_burst(offset, in);
  }
  size_t read_counted(uint16_t offset, std::span<uint8_t> out) override {
    counter_->read(counted_read_trips_);
    return ForwardingPort::read_counted(offset, out);
  }

 private:
  const std::shared_ptr<AccessCounter> counter_;
  const unsigned counted_read_trips_;
};

}  // namespace bmcpair::pair
