// libbmcpair_ipmi.so: /dev/ipmiN for programs that know nothing of it. Of what a program calls, only the opens and ioctl
// are taken over, and of these only what concerns /dev/ipmiN, /dev/ipmi/N and /dev/ipmidev/N while BMCPAIR_IPMI_SOCKET is
// set; a descriptor is a real one, on which dup, fork, exec, close, fcntl, select, poll and epoll do what they always do.
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "host_driver/device_node/abi.h"
#include "host_driver/device_node/caller.h"
#include "host_driver/device_node/names.h"
#include "host_driver/device_node/preload/link.h"

namespace bmcpair::device_node::preload {
namespace {

using NativeAbi = std::conditional_t<sizeof(void*) == 8, Abi64, Abi32>;

// What the program would have called.
class Next {
 public:
  constexpr explicit Next(const char* name) : name_(name) {}
  void* get() {
    void* found = found_.load(std::memory_order_relaxed);
    if (!found) {
      found = ::dlsym(RTLD_NEXT, name_);
      found_.store(found, std::memory_order_relaxed);
    }
    return found;
  }

 private:
  const char* name_;
  std::atomic<void*> found_{nullptr};
};

Next next_open("open"), next_open64("open64"), next_openat("openat"), next_openat64("openat64");
Next next_open_2("__open_2"), next_open64_2("__open64_2"), next_openat_2("__openat_2"), next_openat64_2("__openat64_2");
Next next_ioctl("ioctl");
#if !defined(__LP64__)
Next next_ioctl_time64("__ioctl_time64");
#endif

// Once, before there can be a signal handler or a fork that would have to.
__attribute__((constructor)) void find_all() {
  for (Next* next : {&next_open, &next_open64, &next_openat, &next_openat64, &next_open_2, &next_open64_2, &next_openat_2,
                     &next_openat64_2, &next_ioctl}) {
    (void)next->get();
  }
}

// 0 and above: the N of /dev/ipmiN, /dev/ipmi/N, /dev/ipmidev/N.
int device_of(const char* path) {
  constexpr char kStart[] = "/dev/ipmi";
  if (!path || std::strncmp(path, kStart, sizeof kStart - 1) != 0) return -1;
  path += sizeof kStart - 1;
  if (std::strncmp(path, "dev/", 4) == 0) {
    path += 4;
  } else if (*path == '/') {
    ++path;
  }
  if (*path < '0' || *path > '9' || (*path == '0' && path[1])) return -1;
  int number = 0;
  for (; *path >= '0' && *path <= '9'; ++path) {
    number = number * 10 + (*path - '0');
    if (number > 0xfffe) return -1;
  }
  return *path ? -1 : number;
}

// A program that tries several names of one device, or tries again, is not told the same each time.
void say(const char* text) {
  static std::atomic<uint32_t> last{0};
  const char* quiet = ::secure_getenv(kQuietVariable);
  if (quiet && *quiet == '1') return;
  uint32_t hash = 2166136261u;
  for (const char* c = text; *c; ++c) hash = (hash ^ static_cast<uint8_t>(*c)) * 16777619u;
  if (last.exchange(hash, std::memory_order_relaxed) == hash) return;
  char line[sizeof(OpenFailure::text) + 16];
  size_t size = 0;
  for (const char* s : {"bmcpair: ", text, "\n"}) {
    const size_t n = std::strlen(s);
    std::memcpy(line + size, s, n);
    size += n;
  }
  (void)!::syscall(SYS_write, STDERR_FILENO, line, size);
}

// False: not ours, and errno is as it was.
bool opened_here(const char* path, int flags, int& result) {
  const int device = device_of(path);
  if (device < 0) return false;
  const char* socket_path = ::secure_getenv(kSocketVariable);
  if (!socket_path || !*socket_path) return false;
  const int before = errno;
  OpenFailure failure;
  result = open_device(socket_path, static_cast<uint16_t>(device), flags, failure);
  if (result >= 0) {
    errno = before;
    return true;
  }
  if (failure.worth_saying) say(failure.text);
  errno = -result;
  result = -1;
  return true;
}

bool takes_mode(int flags) { return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE; }

int pass_open(Next& next, const char* path, int flags, mode_t mode) {
  if (void* f = next.get()) return reinterpret_cast<int (*)(const char*, int, ...)>(f)(path, flags, mode);
  return static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path, flags, mode));
}

int pass_openat(Next& next, int folder, const char* path, int flags, mode_t mode) {
  if (void* f = next.get()) return reinterpret_cast<int (*)(int, const char*, int, ...)>(f)(folder, path, flags, mode);
  return static_cast<int>(::syscall(SYS_openat, folder, path, flags, mode));
}

// The checked forms have no mode; they end a program that would need one, which is theirs to do.
int pass_open_2(Next& next, const char* path, int flags) {
  if (void* f = next.get()) return reinterpret_cast<int (*)(const char*, int)>(f)(path, flags);
  return static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path, flags, 0));
}

int pass_openat_2(Next& next, int folder, const char* path, int flags) {
  if (void* f = next.get()) return reinterpret_cast<int (*)(int, const char*, int)>(f)(folder, path, flags);
  return static_cast<int>(::syscall(SYS_openat, folder, path, flags, 0));
}

int ioctl_of(Next& next, int fd, unsigned long request, void* argument) {
  if (maybe_ipmi(request)) {
    const int before = errno;
    if (is_device(fd)) {
      OwnMemory memory;
      int error;
      {
        Link link(fd);
        Caller<NativeAbi, OwnMemory, Link> caller(memory, link);
        error = caller.ioctl(static_cast<uint32_t>(request), reinterpret_cast<uintptr_t>(argument));
      }
      errno = error ? error : before;
      return error ? -1 : 0;
    }
    errno = before;
  }
  if (void* f = next.get()) return reinterpret_cast<int (*)(int, unsigned long, ...)>(f)(fd, request, argument);
  return static_cast<int>(::syscall(SYS_ioctl, fd, request, argument));
}

}  // namespace
}  // namespace bmcpair::device_node::preload

#define BMCPAIR_HOOK extern "C" __attribute__((visibility("default")))

namespace preload = bmcpair::device_node::preload;

#define BMCPAIR_MODE_OF(last)             \
  mode_t mode = 0;                        \
  if (preload::takes_mode(flags)) {       \
    va_list rest;                         \
    va_start(rest, last);                 \
    mode = va_arg(rest, mode_t);          \
    va_end(rest);                         \
  }

BMCPAIR_HOOK int open(const char* path, int flags, ...) {
  BMCPAIR_MODE_OF(flags)
  int fd;
  return preload::opened_here(path, flags, fd) ? fd : preload::pass_open(preload::next_open, path, flags, mode);
}

BMCPAIR_HOOK int open64(const char* path, int flags, ...) {
  BMCPAIR_MODE_OF(flags)
  int fd;
  return preload::opened_here(path, flags, fd) ? fd : preload::pass_open(preload::next_open64, path, flags, mode);
}

// A full path is one whatever the folder.
BMCPAIR_HOOK int openat(int folder, const char* path, int flags, ...) {
  BMCPAIR_MODE_OF(flags)
  int fd;
  return preload::opened_here(path, flags, fd) ? fd : preload::pass_openat(preload::next_openat, folder, path, flags, mode);
}

BMCPAIR_HOOK int openat64(int folder, const char* path, int flags, ...) {
  BMCPAIR_MODE_OF(flags)
  int fd;
  return preload::opened_here(path, flags, fd) ? fd : preload::pass_openat(preload::next_openat64, folder, path, flags, mode);
}

BMCPAIR_HOOK int __open_2(const char* path, int flags) {
  int fd;
  return preload::opened_here(path, flags, fd) ? fd : preload::pass_open_2(preload::next_open_2, path, flags);
}

BMCPAIR_HOOK int __open64_2(const char* path, int flags) {
  int fd;
  return preload::opened_here(path, flags, fd) ? fd : preload::pass_open_2(preload::next_open64_2, path, flags);
}

BMCPAIR_HOOK int __openat_2(int folder, const char* path, int flags) {
  int fd;
  return preload::opened_here(path, flags, fd) ? fd : preload::pass_openat_2(preload::next_openat_2, folder, path, flags);
}

BMCPAIR_HOOK int __openat64_2(int folder, const char* path, int flags) {
  int fd;
  return preload::opened_here(path, flags, fd) ? fd : preload::pass_openat_2(preload::next_openat64_2, folder, path, flags);
}

BMCPAIR_HOOK int ioctl(int fd, unsigned long request, ...) noexcept {
  va_list rest;
  va_start(rest, request);
  void* argument = va_arg(rest, void*);
  va_end(rest);
  return preload::ioctl_of(preload::next_ioctl, fd, request, argument);
}

#if !defined(__LP64__)
// What a 32 bit program with 64 bit time calls.
BMCPAIR_HOOK int __ioctl_time64(int fd, unsigned long request, ...) noexcept {
  va_list rest;
  va_start(rest, request);
  void* argument = va_arg(rest, void*);
  va_end(rest);
  return preload::ioctl_of(preload::next_ioctl_time64, fd, request, argument);
}
#endif
