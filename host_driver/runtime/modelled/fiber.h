// A fiber: a stack and where it stands on it. Below the scheduler of the modelled runtime.
#pragma once

#include <cstddef>

namespace bmcpair::rt::inline modelled {

class Fiber {
 public:
  using Entry = void (*)(void* argument);

  Fiber() = default;  // the thread's own stack
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // On a stack of the thread's pool. entry must not return.
  void create(Entry entry, void* argument);
  // Leaves `from`, which is what runs now, until somebody switches to it again.
  static void switch_to(Fiber& from, Fiber& to);
  // The stack goes back to the pool; whatever lives on it is forgotten. Not of the fiber that runs.
  void discard();

 private:

  void* context_ = nullptr;
  void* stack_ = nullptr;  // null: the thread's own
  Entry entry_ = nullptr;
  void* argument_ = nullptr;
  // Of AddressSanitizer.
  const void* bottom_ = nullptr;
  size_t size_ = 0;
  void* fake_stack_ = nullptr;
};

}  // namespace bmcpair::rt::inline modelled
