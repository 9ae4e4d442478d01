#include "host_driver/runtime/modelled/fiber.h"

#include <sys/mman.h>

#include <boost/context/detail/fcontext.hpp>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "host_driver/runtime/modelled/instrumented.h"
#if BMCPAIR_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace bmcpair::rt::inline modelled {

namespace {

namespace context = boost::context::detail;

// The driver's frames are small; an instrumented build's are not.
constexpr size_t kStackBytes = BMCPAIR_ASAN ? 512 * 1024 : 128 * 1024;
constexpr size_t kGuardBytes = 4096;

// Stacks are as costly to make as hundreds of switches: a thread keeps its own. Free ones are linked through their first
// word, so that nothing here takes memory of whatever runs on them.
struct StackPool {
  ~StackPool() {
    while (free) {
      void* s = std::exchange(free, *static_cast<void**>(free));
      ::munmap(static_cast<char*>(s) - kGuardBytes, kStackBytes + kGuardBytes);
    }
  }
  void* take() {
    if (free) return std::exchange(free, *static_cast<void**>(free));
    void* p = ::mmap(nullptr, kStackBytes + kGuardBytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED || ::mprotect(p, kGuardBytes, PROT_NONE) != 0) {
      std::perror("bmcpair: no memory for a fiber's stack");
      std::abort();
    }
    return static_cast<char*>(p) + kGuardBytes;
  }
  void give(void* s) {
#if BMCPAIR_ASAN
    __asan_unpoison_memory_region(s, kStackBytes);
#endif
    *static_cast<void**>(s) = free;
    free = s;
  }
  void* free = nullptr;
};
StackPool& pool() {
  thread_local StackPool p;
  return p;
}

}  // namespace

Fiber::~Fiber() { discard(); }

void Fiber::create(Entry entry, void* argument) {
  discard();
  stack_ = pool().take();
  bottom_ = stack_;
  size_ = kStackBytes;
  entry_ = entry;
  argument_ = argument;
#if BMCPAIR_ASAN
  __asan_unpoison_memory_region(stack_, kStackBytes);
#endif
  context_ = context::make_fcontext(static_cast<char*>(stack_) + kStackBytes, kStackBytes, [](context::transfer_t t) {
    auto** pair = static_cast<Fiber**>(t.data);
    Fiber& from = *pair[0];
    Fiber& self = *pair[1];
#if BMCPAIR_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &from.bottom_, &from.size_);
#endif
    from.context_ = t.fctx;
    self.entry_(self.argument_);
    std::abort();
  });
}

void Fiber::switch_to(Fiber& from, Fiber& to) {
  Fiber* pair[2] = {&from, &to};
#if BMCPAIR_ASAN
  __sanitizer_start_switch_fiber(&from.fake_stack_, to.bottom_, to.size_);
#endif
  context::transfer_t t = context::jump_fcontext(to.context_, pair);
  auto** back = static_cast<Fiber**>(t.data);
#if BMCPAIR_ASAN
  __sanitizer_finish_switch_fiber(from.fake_stack_, &back[0]->bottom_, &back[0]->size_);
#endif
  back[0]->context_ = t.fctx;
}

void Fiber::discard() {
  if (!stack_) return;
  pool().give(stack_);
  stack_ = nullptr;
  context_ = nullptr;
}

}  // namespace bmcpair::rt::inline modelled
