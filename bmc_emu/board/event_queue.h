// A board's events on their way to its subscriber.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "bmc_emu/board/board.h"

namespace bmcpair::board {

// Events leave in the order they happened, one at a time, with no lock of a board held. Whoever finds a delivery going
// on leaves its events to it.
class EventQueue {
 public:
  bool wanted() const { return wanted_.load(std::memory_order_relaxed); }

  void set(Board::EventFunction f) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (deliverer_ != std::this_thread::get_id()) {
      idle_.wait(lock, [this] { return deliverer_ == std::thread::id(); });
    }
    wanted_ = static_cast<bool>(f);
    function_ = std::make_shared<Board::EventFunction>(std::move(f));
    if (!wanted_) events_.clear();
  }

  void send(std::vector<BoardEvent> events) {
    if (events.empty()) return;
    std::unique_lock<std::mutex> lock(mutex_);
    if (!wanted()) return;
    for (BoardEvent& event : events) events_.push_back(std::move(event));
    if (deliverer_ != std::thread::id()) return;
    deliverer_ = std::this_thread::get_id();
    while (!events_.empty()) {
      BoardEvent event = std::move(events_.front());
      events_.pop_front();
      auto function = function_;
      lock.unlock();
      if (function && *function) (*function)(event);
      lock.lock();
    }
    deliverer_ = std::thread::id();
    idle_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable idle_;
  std::deque<BoardEvent> events_;
  std::thread::id deliverer_;
  std::shared_ptr<Board::EventFunction> function_;
  std::atomic<bool> wanted_{false};
};

}  // namespace bmcpair::board
