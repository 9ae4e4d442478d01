// The real thing for attachment.h.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string_view>

namespace bmcpair::board {

struct StdSync {
  using Mutex = std::mutex;
  using LockGuard = std::lock_guard<std::mutex>;
  using UniqueLock = std::unique_lock<std::mutex>;
  template <class T>
  using Atomic = std::atomic<T>;

  class WaitQueue {
   public:
    template <class Predicate>
    void wait(UniqueLock& lock, Predicate predicate) {
      changed_.wait(lock, predicate);
    }
    void wake_all() { changed_.notify_all(); }

   private:
    std::condition_variable changed_;
  };

  class Tracked {
   public:
    explicit Tracked(std::string_view) {}
    void touch() const {}
  };
  template <class T>
  static void dispose(T* object) {
    delete object;
  }

  static uintptr_t this_thread() {
    thread_local char here = 0;
    return reinterpret_cast<uintptr_t>(&here);
  }
  [[noreturn]] static void fatal(std::string_view what) {
    std::fprintf(stderr, "bmcpair: board: %.*s\n", static_cast<int>(what.size()), what.data());
    std::abort();
  }
};

}  // namespace bmcpair::board
