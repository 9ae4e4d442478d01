// Memory of a run. While an Arena is active in a thread, operator new takes from it, and all of it goes at once when the run
// is over: a run that ends in the middle of everything leaves nothing behind, and a million runs do not
// fragment anything. What outlives a run is made under an Outside.
//
// A run must not depend on where its objects lie nor on what their memory held before. So layout and fill can be varied; runs with
// the same choices must then end alike.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bmcpair::lab {

struct ArenaLayout {
  size_t offset = 0;         // bytes left out at the beginning
  bool reuse = true;         // freed memory is used again within the run
  uint8_t fill = 0;          // new memory holds this (0: whatever it held), freed memory its complement
};

// The thread's arena, active until the end of the scope. Does not nest.
class ArenaScope {
 public:
  explicit ArenaScope(const ArenaLayout& layout = {});
  ~ArenaScope();
  ArenaScope(const ArenaScope&) = delete;
  ArenaScope& operator=(const ArenaScope&) = delete;
};

namespace detail {
extern constinit thread_local void* active_arena;
}

// The block that holds this object stays as it is when it is freed, until the run is over: whoever touches the object then
// finds that it has ended, whatever the layout. No effect outside of the arena (a stack).
void keep_in_arena(const void* object);

// Memory is the process's again, until the end of the scope. Nests.
class Outside {
 public:
  Outside() : before_(detail::active_arena) { detail::active_arena = nullptr; }
  ~Outside() { detail::active_arena = before_; }
  Outside(const Outside&) = delete;
  Outside& operator=(const Outside&) = delete;

 private:
  void* before_;
};

// For the thread's next runs, until it is set again: how a sampled run is repeated elsewhere in memory.
void set_arena_layout(const ArenaLayout& layout);
const ArenaLayout& arena_layout();

}  // namespace bmcpair::lab
