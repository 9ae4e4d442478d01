// Lets an unmodified program's own in and out instructions reach registers that are served on a unix socket. iopl and
// ioperm succeed; the general protection fault of an in or out, which a process without the privilege gets, becomes an
// access at the server. What no server answers reads 0xFF and swallows writes, as the bus of a PC does.
//
// Everything from the fault on runs in a signal handler: no allocation, no libc call that may lock, no symbol that
// another preloaded library may have put itself before. System calls are made directly.
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include <dlfcn.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <ucontext.h>
#include <unistd.h>

#include "host_driver/port_io/decoder.h"
#include "host_driver/port_io/names.h"
#include "host_driver/port_io/wire.h"

#ifndef __x86_64__
#error "in and out are instructions of x86"
#endif

#define BMCPAIR_EXPORT extern "C" __attribute__((visibility("default")))

extern "C" {
// What a faulting address has to say. Written by the code below.
struct BmcpairFault {
  uint64_t address;
  uint64_t code;
};
// The bytes that were not copied: 0, or *fault says why. The memory may be anything.
__attribute__((visibility("hidden"))) uint64_t bmcpair_ports_copy(void* to, const void* from, uint64_t bytes,
                                                                 BmcpairFault* fault);
// Whether the byte there can be written, which does not change it. 0, or *fault.
__attribute__((visibility("hidden"))) uint64_t bmcpair_ports_touch(void* at, BmcpairFault* fault);
extern __attribute__((visibility("hidden"))) const char bmcpair_ports_copy_at[];
extern __attribute__((visibility("hidden"))) const char bmcpair_ports_touch_at[];
extern __attribute__((visibility("hidden"))) const char bmcpair_ports_faulted[];
}

asm(R"(
.text
.hidden bmcpair_ports_copy
.globl bmcpair_ports_copy
.type bmcpair_ports_copy, @function
bmcpair_ports_copy:
  mov %rcx, %r9
  mov %rdx, %rcx
.hidden bmcpair_ports_copy_at
.globl bmcpair_ports_copy_at
bmcpair_ports_copy_at:
  rep movsb
  xor %eax, %eax
  ret
.size bmcpair_ports_copy, . - bmcpair_ports_copy
.hidden bmcpair_ports_touch
.globl bmcpair_ports_touch
.type bmcpair_ports_touch, @function
bmcpair_ports_touch:
  mov %rsi, %r9
  mov $1, %ecx
.hidden bmcpair_ports_touch_at
.globl bmcpair_ports_touch_at
bmcpair_ports_touch_at:
  lock orb $0, (%rdi)
  xor %eax, %eax
  ret
.hidden bmcpair_ports_faulted
.globl bmcpair_ports_faulted
bmcpair_ports_faulted:
  mov %rdx, (%r9)
  mov %r8, 8(%r9)
  mov %rcx, %rax
  ret
.size bmcpair_ports_touch, . - bmcpair_ports_touch
)");

namespace {

using bmcpair::port_io::Answer;
using bmcpair::port_io::CodeMode;
using bmcpair::port_io::Decoded;
using bmcpair::port_io::kDataBytesMax;
using bmcpair::port_io::kInstructionBytesMax;
using bmcpair::port_io::Operation;
using bmcpair::port_io::PortInstruction;
using bmcpair::port_io::Request;
using bmcpair::port_io::Segment;

constexpr unsigned kPorts = 65536;
constexpr uint64_t kPageBytes = 4096;
// So far from the descriptors that programs expect to get.
constexpr int kDescriptorFirst = 200;
// A server that takes longer is as good as none.
constexpr long kAnswerSeconds = 60;
// A long repetition lets signals in after so many elements, as a processor does after each.
constexpr uint64_t kElementsAtOnce = 16384;
constexpr unsigned kTrapPageFault = 14;
constexpr unsigned kTrapGeneralProtection = 13;
constexpr uint64_t kDirectionFlag = 0x400;
constexpr uint16_t kCodeSegment64 = 0x33;

// ---- system calls

long system_call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) {
  long result;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}
template <class T>
long pointer(T* p) {
  return reinterpret_cast<long>(p);
}

// ---- state

struct Lock {
  uint32_t word;  // 0 free, 1 held, 2 held and waited for

  void lock() {
    uint32_t seen = 0;
    if (__atomic_compare_exchange_n(&word, &seen, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) return;
    while (__atomic_exchange_n(&word, 2, __ATOMIC_ACQUIRE) != 0) {
      system_call(SYS_futex, pointer(&word), FUTEX_WAIT_PRIVATE, 2);
    }
  }
  void unlock() {
    if (__atomic_exchange_n(&word, 0, __ATOMIC_RELEASE) == 2) system_call(SYS_futex, pointer(&word), FUTEX_WAKE_PRIVATE, 1);
  }
};

// Which file a descriptor is: a program that closes all it does not know may have made another of the number.
struct Identity {
  int fd;  // -1: none
  uint64_t device, inode;
};

// A page that a fork empties, so that a child finds its locks free and no connection of its parent's.
struct Page {
  Lock connection_lock;
  bool connected;
  Lock action_lock;
  uint8_t message[sizeof(Request) + kDataBytesMax];
};
static_assert(sizeof(Page) <= kPageBytes);

Page* page;  // null: no server was named, the library does nothing
sockaddr_un server_address;
Identity connection{-1, 0, 0};

uint32_t level;  // of iopl
uint8_t permitted[kPorts / 8];

bool handler_installed;  // ours; under the action lock
struct sigaction program_action;  // what the program wants of SIGSEGV, once ours is installed; under the action lock

int (*next_sigaction)(int, const struct sigaction*, struct sigaction*);
int (*next_sigmask)(int, const sigset_t*, sigset_t*);
int (*next_sigprocmask)(int, const sigset_t*, sigset_t*);
sighandler_t (*next_signal)(int, sighandler_t);
sighandler_t (*next_sysv_signal)(int, sighandler_t);
sighandler_t (*next_sigset)(int, sighandler_t);
int (*next_iopl)(int);
int (*next_ioperm)(unsigned long, unsigned long, int);

template <class F>
void find(F& function, const char* name) {
  if (!function) function = reinterpret_cast<F>(::dlsym(RTLD_NEXT, name));
}

void find_all() {
  find(next_sigaction, "sigaction");
  find(next_sigmask, "pthread_sigmask");
  find(next_sigprocmask, "sigprocmask");
  find(next_signal, "signal");
  find(next_sysv_signal, "__sysv_signal");
  find(next_sigset, "sigset");
  find(next_iopl, "iopl");
  find(next_ioperm, "ioperm");
}

// Nothing interrupts this thread while it lives.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    const uint64_t all = ~uint64_t{0};
    system_call(SYS_rt_sigprocmask, SIG_BLOCK, pointer(&all), pointer(&before_), sizeof before_);
  }
  ~SignalsBlocked() { system_call(SYS_rt_sigprocmask, SIG_SETMASK, pointer(&before_), 0, sizeof before_); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  uint64_t before_ = 0;
};

// ---- the connection; all under its lock

bool is_ours(const Identity& identity) {
  struct stat info;
  return identity.fd >= 0 && system_call(SYS_fstat, identity.fd, pointer(&info)) == 0 && info.st_dev == identity.device &&
         info.st_ino == identity.inode;
}

void disconnect() {
  if (is_ours(connection)) system_call(SYS_close, connection.fd);
  connection.fd = -1;
  page->connected = false;
}

bool send_message(size_t bytes) {
  for (;;) {
    const long sent = system_call(SYS_sendto, connection.fd, pointer(page->message), static_cast<long>(bytes), MSG_NOSIGNAL);
    if (sent == -EINTR) continue;
    return sent == static_cast<long>(bytes);
  }
}

// The answer's data is `bytes` long, and stands in page->message behind its head.
bool receive_message(size_t bytes) {
  for (;;) {
    const long got = system_call(SYS_recvfrom, connection.fd, pointer(page->message), sizeof page->message);
    if (got == -EINTR) continue;
    Answer answer;
    if (got != static_cast<long>(sizeof answer + bytes)) return false;
    std::memcpy(&answer, page->message, sizeof answer);
    return answer.done == bmcpair::port_io::kDone;
  }
}

bool connect_to_server() {
  disconnect();
  long fd = system_call(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  long high = system_call(SYS_fcntl, fd, F_DUPFD_CLOEXEC, kDescriptorFirst);
  if (high < 0 && fd <= STDERR_FILENO) high = system_call(SYS_fcntl, fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  if (high >= 0) {
    system_call(SYS_close, fd);
    fd = high;
  }
  struct stat info;
  const timeval wait{kAnswerSeconds, 0};
  long result = system_call(SYS_fstat, fd, pointer(&info));
  if (result == 0) result = system_call(SYS_setsockopt, fd, SOL_SOCKET, SO_RCVTIMEO, pointer(&wait), sizeof wait);
  if (result == 0) result = system_call(SYS_setsockopt, fd, SOL_SOCKET, SO_SNDTIMEO, pointer(&wait), sizeof wait);
  if (result == 0) {
    do {
      result = system_call(SYS_connect, fd, pointer(&server_address), sizeof server_address);
    } while (result == -EINTR);
  }
  if (result != 0) {
    system_call(SYS_close, fd);
    return false;
  }
  connection = {static_cast<int>(fd), info.st_dev, info.st_ino};
  page->connected = true;
  const Request hello{Operation::kHello, 0, 0, bmcpair::port_io::kWireVersion};
  std::memcpy(page->message, &hello, sizeof hello);
  if (send_message(sizeof hello) && receive_message(0)) return true;
  disconnect();
  return false;
}

// data: what is written, or where what is read goes. False: nobody is there.
bool exchange(const Request& request, uint8_t* data) {
  const size_t bytes = static_cast<size_t>(request.width) * request.count;
  const size_t sent = sizeof request + (request.operation == Operation::kOut ? bytes : 0);
  page->connection_lock.lock();
  bool done = false;
  for (int attempt = 0; attempt < 2 && !done; ++attempt) {
    // Verified each time, for nothing of ours may be written to a file of the program's.
    if ((!page->connected || !is_ours(connection)) && !connect_to_server()) break;
    std::memcpy(page->message, &request, sizeof request);
    if (request.operation == Operation::kOut) std::memcpy(page->message + sizeof request, data, bytes);
    // A server that is gone has done nothing, and there may be a new one.
    if (!send_message(sent)) {
      disconnect();
      continue;
    }
    done = receive_message(request.operation == Operation::kIn ? bytes : 0);
    if (done && request.operation == Operation::kIn) std::memcpy(data, page->message + sizeof(Answer), bytes);
    if (!done) {
      disconnect();
      break;
    }
  }
  page->connection_lock.unlock();
  if (!done && request.operation == Operation::kIn) std::memset(data, 0xff, bytes);
  return done;
}

// ---- instructions

bool allowed(uint16_t port, unsigned width) {
  if (__atomic_load_n(&level, __ATOMIC_RELAXED) == 3) return true;
  for (unsigned n = 0; n < width; ++n) {
    const unsigned at = port + n;
    if (at >= kPorts || !(__atomic_load_n(&permitted[at / 8], __ATOMIC_RELAXED) & 1u << at % 8)) return false;
  }
  return true;
}

// A register of which `bytes` are used: two leave the rest alone, four clear it.
uint64_t used(greg_t whole, unsigned bytes) {
  const auto value = static_cast<uint64_t>(whole);
  return bytes == 8 ? value : value & ((uint64_t{1} << bytes * 8) - 1);
}
void set_used(greg_t& whole, unsigned bytes, uint64_t value) {
  whole = static_cast<greg_t>(bytes == 2 ? (static_cast<uint64_t>(whole) & ~uint64_t{0xffff}) | (value & 0xffff)
                              : bytes == 4 ? value & 0xffffffff
                                           : value);
}

enum class Outcome : uint8_t { kDone, kNotOurs, kFault };

// The string forms. The registers say at any time what is still to do, as the processor's do.
Outcome move_string(const PortInstruction& instruction, uint16_t port, greg_t* registers, BmcpairFault* fault) {
  const unsigned address_bytes = instruction.address_bytes;
  uint64_t base = 0;
  if (instruction.segment == Segment::kFs || instruction.segment == Segment::kGs) {
    constexpr long kGetFs = 0x1003, kGetGs = 0x1004;
    if (address_bytes != 8 && static_cast<uint16_t>(registers[REG_CSGSFS]) != kCodeSegment64) return Outcome::kNotOurs;
    system_call(SYS_arch_prctl, instruction.segment == Segment::kFs ? kGetFs : kGetGs, pointer(&base));
  }
  greg_t& index_register = registers[instruction.write ? REG_RSI : REG_RDI];
  const bool down = (registers[REG_EFL] & static_cast<greg_t>(kDirectionFlag)) != 0;
  const unsigned width = instruction.width;
  uint64_t left = instruction.repeat ? used(registers[REG_RCX], address_bytes) : 1;
  uint64_t budget = kElementsAtOnce;
  uint8_t data[256];
  while (left > 0) {
    // The count register says what is left, and the instruction is not over: it is run again.
    if (budget == 0) return Outcome::kFault;
    const uint64_t index = used(index_register, address_bytes);
    auto* memory = reinterpret_cast<uint8_t*>(base + index);
    // As many elements as end in this page; one that does not is moved alone.
    uint64_t elements = (kPageBytes - (base + index) % kPageBytes) / width;
    if (elements == 0 || down) elements = 1;
    if (elements > left) elements = left;
    if (elements > budget) elements = budget;
    if (elements > sizeof data / width) elements = sizeof data / width;
    Request request{instruction.write ? Operation::kOut : Operation::kIn, static_cast<uint8_t>(width), port,
                    static_cast<uint32_t>(elements)};
    if (instruction.write) {
      const uint64_t missing = bmcpair_ports_copy(data, memory, elements * width, fault);
      elements = (elements * width - missing) / width;
      if (elements == 0) return Outcome::kFault;
      request.count = static_cast<uint32_t>(elements);
      fault->code = 0;
      exchange(request, data);
    } else {
      // What is read is gone at the device: first the certainty that there is a place for it.
      if (bmcpair_ports_touch(memory, fault) != 0 || bmcpair_ports_touch(memory + elements * width - 1, fault) != 0) {
        return Outcome::kFault;
      }
      exchange(request, data);
      if (bmcpair_ports_copy(memory, data, elements * width, fault) != 0) return Outcome::kFault;
    }
    const uint64_t step = elements * width;
    set_used(index_register, address_bytes, down ? index - step : index + step);
    left -= elements;
    budget -= elements;
    if (instruction.repeat) set_used(registers[REG_RCX], address_bytes, left);
  }
  return Outcome::kDone;
}

Outcome carry_out(greg_t* registers, BmcpairFault* fault) {
  const auto segment = static_cast<uint16_t>(registers[REG_CSGSFS]);
  const CodeMode mode = segment == kCodeSegment64 ? CodeMode::kBits64 : CodeMode::kBits32;
  const auto at = static_cast<uint64_t>(registers[REG_RIP]);
  uint8_t code[kInstructionBytesMax];
  // The next page is looked at only where the instruction reaches into it.
  const uint64_t in_page = kPageBytes - at % kPageBytes;
  const uint64_t first = in_page < sizeof code ? in_page : sizeof code;
  BmcpairFault ignored{};
  if (bmcpair_ports_copy(code, reinterpret_cast<const void*>(at), first, &ignored) != 0) return Outcome::kNotOurs;
  PortInstruction instruction;
  Decoded decoded = bmcpair::port_io::decode(code, first, mode, &instruction);
  if (decoded == Decoded::kTooShort && first < sizeof code) {
    if (bmcpair_ports_copy(code + first, reinterpret_cast<const void*>(at + first), sizeof code - first, &ignored) != 0) {
      return Outcome::kNotOurs;
    }
    decoded = bmcpair::port_io::decode(code, sizeof code, mode, &instruction);
  }
  if (decoded != Decoded::kPortInstruction) return Outcome::kNotOurs;
  const uint16_t port = instruction.immediate ? instruction.immediate_port : static_cast<uint16_t>(registers[REG_RDX]);
  if (!allowed(port, instruction.width)) return Outcome::kNotOurs;

  if (instruction.string) {
    const Outcome outcome = move_string(instruction, port, registers, fault);
    if (outcome != Outcome::kDone) return outcome;
  } else {
    const Request request{instruction.write ? Operation::kOut : Operation::kIn, instruction.width, port, 1};
    auto accumulator = static_cast<uint64_t>(registers[REG_RAX]);
    uint8_t data[4];
    std::memcpy(data, &accumulator, sizeof data);
    exchange(request, data);
    if (!instruction.write) {
      if (instruction.width == 4) accumulator = 0;
      std::memcpy(&accumulator, data, instruction.width);
      registers[REG_RAX] = static_cast<greg_t>(accumulator);
    }
  }
  registers[REG_RIP] += instruction.length;
  if (mode == CodeMode::kBits32) registers[REG_RIP] &= 0xffffffff;
  return Outcome::kDone;
}

// ---- signals

// What the kernel would have done, had it been the program's handler.
void to_program(int number, siginfo_t* info, void* context) {
  page->action_lock.lock();
  const struct sigaction action = program_action;
  if (action.sa_flags & SA_RESETHAND) {
    program_action.sa_handler = SIG_DFL;
    program_action.sa_flags &= ~SA_SIGINFO;
  }
  page->action_lock.unlock();
  const bool sent = info->si_code <= 0;  // by a process; else the processor says so
  const bool has_handler = (action.sa_flags & SA_SIGINFO) != 0 || (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN);
  if (!has_handler) {
    if (sent && action.sa_handler == SIG_IGN) return;
    struct sigaction standard {};
    standard.sa_handler = SIG_DFL;
    next_sigaction(number, &standard, nullptr);
    // The instruction runs once more, and nobody catches what comes of it. What was sent is sent once more.
    if (sent) system_call(SYS_rt_tgsigqueueinfo, system_call(SYS_getpid), system_call(SYS_gettid), number, pointer(info));
    return;
  }
  auto* user = static_cast<ucontext_t*>(context);
  uint64_t mask = 0, more = 0;
  std::memcpy(&mask, &user->uc_sigmask, sizeof mask);
  std::memcpy(&more, &action.sa_mask, sizeof more);
  mask |= more;
  if (!(action.sa_flags & SA_NODEFER)) mask |= uint64_t{1} << (number - 1);
  system_call(SYS_rt_sigprocmask, SIG_SETMASK, pointer(&mask), 0, sizeof mask);
  if (action.sa_flags & SA_SIGINFO) {
    action.sa_sigaction(number, info, context);
  } else {
    action.sa_handler(number);
  }
}

void on_segmentation_fault(int number, siginfo_t* info, void* context) {
  auto* user = static_cast<ucontext_t*>(context);
  greg_t* registers = user->uc_mcontext.gregs;
  const auto at = static_cast<uint64_t>(registers[REG_RIP]);
  const bool by_processor = info->si_code > 0;
  if (by_processor && (at == reinterpret_cast<uint64_t>(bmcpair_ports_copy_at) ||
                       at == reinterpret_cast<uint64_t>(bmcpair_ports_touch_at))) {
    registers[REG_RDX] = reinterpret_cast<greg_t>(info->si_addr);
    registers[REG_R8] = info->si_code;
    registers[REG_RIP] = reinterpret_cast<greg_t>(bmcpair_ports_faulted);
    return;
  }
  if (by_processor && (registers[REG_TRAPNO] == kTrapGeneralProtection || info->si_code == SI_KERNEL)) {
    BmcpairFault fault{0, 0};
    const Outcome outcome = carry_out(registers, &fault);
    if (outcome == Outcome::kDone) return;
    if (outcome == Outcome::kFault) {
      if (fault.code == 0) return;  // only interrupted
      info->si_code = static_cast<int>(fault.code);
      info->si_addr = reinterpret_cast<void*>(fault.address);
      registers[REG_TRAPNO] = kTrapPageFault;
      registers[REG_CR2] = static_cast<greg_t>(fault.address);
    }
  }
  to_program(number, info, context);
}

// The handler is there from the first iopl or ioperm on: a program that wants no ports keeps all its faults.
void install() {
  SignalsBlocked blocked;
  page->action_lock.lock();
  if (!handler_installed) {
    struct sigaction ours {};
    ours.sa_sigaction = on_segmentation_fault;
    // On the program's alternative stack where it has one: the fault may be an overflow that its own handler reports.
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART | SA_NODEFER;
    // All of them, also those that the C library keeps for itself: whoever holds the connection's lock is not interrupted.
    std::memset(&ours.sa_mask, 0xff, sizeof ours.sa_mask);
    sigdelset(&ours.sa_mask, SIGSEGV);
    handler_installed = next_sigaction(SIGSEGV, &ours, &program_action) == 0;
  }
  page->action_lock.unlock();
}

// Programs block all signals here and there; a blocked SIGSEGV could not be caught.
const sigset_t* without_segv(int how, const sigset_t* wanted, sigset_t* copy) {
  if (!page || !wanted || how == SIG_UNBLOCK) return wanted;
  *copy = *wanted;
  sigdelset(copy, SIGSEGV);
  return copy;
}

// True: it is about our SIGSEGV, and done.
bool take_action(int number, const struct sigaction* wanted, struct sigaction* before) {
  if (number != SIGSEGV || !page) return false;
  SignalsBlocked blocked;
  page->action_lock.lock();
  const bool ours = handler_installed;
  if (ours) {
    const struct sigaction seen = program_action;
    if (wanted) program_action = *wanted;
    if (before) *before = seen;
  }
  page->action_lock.unlock();
  return ours;
}

sighandler_t take_handler(int number, sighandler_t handler, int flags, bool* taken) {
  struct sigaction wanted {};
  struct sigaction before {};
  wanted.sa_handler = handler;
  wanted.sa_flags = flags;
  *taken = take_action(number, handler == SIG_ERR ? nullptr : &wanted, &before);
  if (handler != SIG_ERR) return before.sa_handler;
  errno = EINVAL;
  return SIG_ERR;
}

void in_child() {
  // The parent's connection is the parent's. The page is empty already, where the kernel can do that.
  if (!page) return;
  page->connection_lock.word = page->action_lock.word = 0;
  disconnect();
}

__attribute__((constructor)) void start() {
  find_all();
  const char* path = std::getenv(bmcpair::port_io::kSocketVariable);
  if (!path || !path[0] || std::strlen(path) >= sizeof server_address.sun_path) return;
  void* made = ::mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (made == MAP_FAILED) return;
  ::madvise(made, kPageBytes, MADV_WIPEONFORK);
  server_address.sun_family = AF_UNIX;
  std::strcpy(server_address.sun_path, path);
  page = static_cast<Page*>(made);
  ::pthread_atfork(nullptr, nullptr, in_child);
  // Whoever started us may have blocked it.
  sigset_t segv;
  sigemptyset(&segv);
  sigaddset(&segv, SIGSEGV);
  next_sigmask(SIG_UNBLOCK, &segv, nullptr);
}

}  // namespace

// ---- what the program calls

BMCPAIR_EXPORT int iopl(int wanted) noexcept {
  find(next_iopl, "iopl");
  if (!page) return next_iopl(wanted);
  if (wanted < 0 || wanted > 3) {
    errno = EINVAL;
    return -1;
  }
  __atomic_store_n(&level, static_cast<uint32_t>(wanted), __ATOMIC_RELAXED);
  install();
  return 0;
}

BMCPAIR_EXPORT int ioperm(unsigned long from, unsigned long count, int on) noexcept {
  find(next_ioperm, "ioperm");
  if (!page) return next_ioperm(from, count, on);
  if (from + count <= from || from + count > kPorts) {
    errno = EINVAL;
    return -1;
  }
  for (unsigned long at = from; at < from + count; ++at) {
    const auto bit = static_cast<uint8_t>(1u << at % 8);
    if (on) {
      __atomic_fetch_or(&permitted[at / 8], bit, __ATOMIC_RELAXED);
    } else {
      __atomic_fetch_and(&permitted[at / 8], static_cast<uint8_t>(~bit), __ATOMIC_RELAXED);
    }
  }
  install();
  return 0;
}

BMCPAIR_EXPORT int sigaction(int number, const struct sigaction* wanted, struct sigaction* before) noexcept {
  find(next_sigaction, "sigaction");
  if (take_action(number, wanted, before)) return 0;
  if (!page || !wanted) return next_sigaction(number, wanted, before);
  // In and out work in every handler.
  struct sigaction action = *wanted;
  if (number != SIGSEGV) sigdelset(&action.sa_mask, SIGSEGV);
  return next_sigaction(number, &action, before);
}

BMCPAIR_EXPORT sighandler_t signal(int number, sighandler_t handler) noexcept {
  find(next_signal, "signal");
  bool taken = false;
  const sighandler_t before = take_handler(number, handler, SA_RESTART, &taken);
  return taken ? before : next_signal(number, handler);
}

BMCPAIR_EXPORT sighandler_t __sysv_signal(int number, sighandler_t handler) noexcept {
  find(next_sysv_signal, "__sysv_signal");
  bool taken = false;
  const sighandler_t before = take_handler(number, handler, static_cast<int>(SA_RESETHAND | SA_NODEFER), &taken);
  return taken ? before : next_sysv_signal(number, handler);
}
BMCPAIR_EXPORT sighandler_t sysv_signal(int number, sighandler_t handler) noexcept { return __sysv_signal(number, handler); }

BMCPAIR_EXPORT int pthread_sigmask(int how, const sigset_t* wanted, sigset_t* before) noexcept {
  find(next_sigmask, "pthread_sigmask");
  sigset_t copy;
  return next_sigmask(how, without_segv(how, wanted, &copy), before);
}

BMCPAIR_EXPORT int sigprocmask(int how, const sigset_t* wanted, sigset_t* before) noexcept {
  find(next_sigprocmask, "sigprocmask");
  sigset_t copy;
  return next_sigprocmask(how, without_segv(how, wanted, &copy), before);
}

BMCPAIR_EXPORT sighandler_t sigset(int number, sighandler_t handler) noexcept {
  find(next_sigset, "sigset");
  if (handler == SIG_HOLD) return next_sigset(number, handler);
  bool taken = false;
  const sighandler_t before = take_handler(number, handler, 0, &taken);
  return taken ? before : next_sigset(number, handler);
}
