#include "integration/lab/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "host_driver/runtime/modelled/instrumented.h"
#if BMCPAIR_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace bmcpair::lab {

constinit thread_local void* detail::active_arena = nullptr;

namespace {

constexpr size_t kArenaBytes = size_t{1} << 30;  // address space; what a run touches is what it costs
constexpr size_t kArenasMax = 64;
constexpr size_t kAlign = 16;
constexpr size_t kClasses = 65;  // free lists: blocks of up to 1 KiB, in steps of 16 bytes

constexpr unsigned kKeptMax = 64;

struct Header {
  size_t bytes;  // of the block, without this
  size_t unused;
};
static_assert(sizeof(Header) == kAlign);

struct FreeBlock {
  FreeBlock* next;
};

struct Arena {
  char* begin = nullptr;
  char* at = nullptr;
  char* high = nullptr;  // of all runs
  char* end = nullptr;
  ArenaLayout layout;
  FreeBlock* free[kClasses] = {};
  // Objects in blocks that stay. Few at a time: an object's block is freed soon after its end.
  const char* kept[kKeptMax] = {};
  unsigned kept_count = 0;
  const char* kept_low = nullptr;  // none lies outside of these
  const char* kept_high = nullptr;

  void* allocate(size_t bytes) {
    bytes = (bytes + kAlign - 1) & ~(kAlign - 1);
    const size_t c = bytes / kAlign;
    if (c < kClasses && free[c]) {
      FreeBlock* b = free[c];
      free[c] = b->next;
      if (layout.fill) std::memset(b, layout.fill, bytes);
      return b;
    }
    if (bytes > static_cast<size_t>(end - at) - sizeof(Header)) return nullptr;
    auto* h = reinterpret_cast<Header*>(at);
    char* p = at + sizeof(Header);
    at = p + bytes;
#if BMCPAIR_ASAN
    __asan_unpoison_memory_region(h, sizeof(Header) + bytes);
#endif
    h->bytes = bytes;
    if (layout.fill) std::memset(p, layout.fill, bytes);
    return p;
  }
  bool holds_kept(const char* p, size_t bytes) {
    bool found = false;
    for (unsigned i = 0; i < kept_count;) {
      if (kept[i] >= p && kept[i] < p + bytes) {
        found = true;
        kept[i] = kept[--kept_count];
      } else {
        ++i;
      }
    }
    return found;
  }
  void release(void* p) {
    auto* h = reinterpret_cast<Header*>(static_cast<char*>(p) - sizeof(Header));
    const size_t bytes = h->bytes;
    const char* from = static_cast<const char*>(p);
    if (kept_count != 0 && from <= kept_high && from + bytes > kept_low && holds_kept(from, bytes)) return;
    if (layout.fill) std::memset(p, static_cast<uint8_t>(~layout.fill), bytes);
#if BMCPAIR_ASAN
    __asan_poison_memory_region(p, bytes);
#else
    const size_t c = bytes / kAlign;
    if (!layout.reuse || c >= kClasses || bytes < sizeof(FreeBlock)) return;
    auto* b = static_cast<FreeBlock*>(p);
    b->next = free[c];
    free[c] = b;
#endif
  }
};

// One region for all threads, so that one comparison tells whose a pointer is.
char* region() {
  static char* const r = [] {
    void* p = ::mmap(nullptr, kArenaBytes * kArenasMax, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
      std::perror("bmcpair: no address space for the laboratory");
      std::abort();
    }
    return static_cast<char*>(p);
  }();
  return r;
}
std::atomic<char*> region_begin{nullptr};
std::atomic<uint64_t> arenas_taken{0};  // a bit each

struct ThreadArena {
  ThreadArena() {
    region_begin.store(region(), std::memory_order_relaxed);
    uint64_t taken = arenas_taken.load();
    do {
      if (taken == UINT64_MAX) {
        std::fputs("bmcpair: more than 64 threads run laboratories\n", stderr);
        std::abort();
      }
      index = static_cast<unsigned>(__builtin_ctzll(~taken));
    } while (!arenas_taken.compare_exchange_weak(taken, taken | uint64_t{1} << index));
    arena.begin = region() + index * kArenaBytes;
    arena.end = arena.begin + kArenaBytes;
  }
  ~ThreadArena() { arenas_taken.fetch_and(~(uint64_t{1} << index)); }
  Arena arena;
  unsigned index = 0;
};
Arena& mine() {
  thread_local ThreadArena t;
  return t.arena;
}

Arena* active() { return static_cast<Arena*>(detail::active_arena); }
thread_local ArenaLayout layout;

bool in_region(const void* p) {
  const char* begin = region_begin.load(std::memory_order_relaxed);
  return begin && p >= begin && p < begin + kArenaBytes * kArenasMax;
}

// nullptr: none is left.
void* take_or_not(size_t bytes) {
  if (Arena* arena = active()) {
    if (void* p = arena->allocate(bytes ? bytes : 1)) return p;
    std::fputs("bmcpair: a run of the laboratory takes more than 1 GiB\n", stderr);
    std::abort();
  }
  return std::malloc(bytes ? bytes : 1);
}

void* take(size_t bytes) {
  if (void* p = take_or_not(bytes)) return p;
  throw std::bad_alloc();
}

void give(void* p) noexcept {
  Arena* arena = active();
  if (arena && p >= arena->begin && p < arena->at) return arena->release(p);
  // Of a run that is over, or of another thread's: gone already.
  if (!in_region(p)) std::free(p);
}

}  // namespace

ArenaScope::ArenaScope(const ArenaLayout& wanted) {
  Arena& a = mine();
  a.layout = wanted;
  std::memset(a.free, 0, sizeof a.free);
  a.kept_count = 0;
  a.at = a.begin + ((wanted.offset + kAlign - 1) & ~(kAlign - 1));
  detail::active_arena = &a;
}

ArenaScope::~ArenaScope() { detail::active_arena = nullptr; }

void keep_in_arena(const void* object) {
  Arena* a = active();
  const char* at = static_cast<const char*>(object);
  if (!a || at < a->begin || at >= a->at) return;
  // The oldest gives way: its block was never freed, or is a part of one that lives on.
  if (a->kept_count == kKeptMax) std::memmove(a->kept, a->kept + 1, sizeof *a->kept * --a->kept_count);
  a->kept_low = a->kept_count == 0 ? at : std::min(a->kept_low, at);
  a->kept_high = a->kept_count == 0 ? at : std::max(a->kept_high, at);
  a->kept[a->kept_count++] = at;
}

void set_arena_layout(const ArenaLayout& wanted) { layout = wanted; }
const ArenaLayout& arena_layout() { return layout; }

}  // namespace bmcpair::lab

void* operator new(size_t bytes) { return bmcpair::lab::take(bytes); }
void* operator new[](size_t bytes) { return bmcpair::lab::take(bytes); }
void* operator new(size_t bytes, const std::nothrow_t&) noexcept { return bmcpair::lab::take_or_not(bytes); }
void* operator new[](size_t bytes, const std::nothrow_t&) noexcept { return bmcpair::lab::take_or_not(bytes); }
void operator delete(void* p, const std::nothrow_t&) noexcept { bmcpair::lab::give(p); }
void operator delete[](void* p, const std::nothrow_t&) noexcept { bmcpair::lab::give(p); }
void operator delete(void* p) noexcept { bmcpair::lab::give(p); }
void operator delete[](void* p) noexcept { bmcpair::lab::give(p); }
void operator delete(void* p, size_t) noexcept { bmcpair::lab::give(p); }
void operator delete[](void* p, size_t) noexcept { bmcpair::lab::give(p); }
