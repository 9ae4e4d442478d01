// A program that drives I/O ports by itself, as a DOS-minded tool or a userspace driver does. It knows nothing of bmcpair.
#include <fcntl.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr uint16_t kControl = 0xe4, kBuffer = 0xe5, kMask = 0xe6;  // BT (IPMI 2.0 ch. 11)
constexpr uint8_t kClearWrite = 0x01, kClearRead = 0x02, kToBmc = 0x04, kToHost = 0x08, kHostBusy = 0x40, kBmcBusy = 0x80;
constexpr uint16_t kNobody = 0x80;

#define CHECK(condition)                                                         \
  do {                                                                           \
    if (!(condition)) {                                                          \
      std::fprintf(stderr, "port_client: line %d: %s\n", __LINE__, #condition); \
      std::_Exit(1);                                                             \
    }                                                                            \
  } while (0)

// sys/io.h does not tell the compiler that memory changes.
void barrier() { asm volatile("" ::: "memory"); }
void insb_to(uint16_t port, void* to, size_t count) {
  insb(port, to, count);
  barrier();
}
void insl_to(uint16_t port, void* to, size_t count) {
  insl(port, to, count);
  barrier();
}
void outsb_from(uint16_t port, const void* from, size_t count) {
  barrier();
  outsb(port, from, count);
}

void wait_for(uint8_t bits, uint8_t value) {
  for (long i = 0; i < 5'000'000; ++i) {
    if ((inb(kControl) & bits) == value) return;
  }
  std::fprintf(stderr, "port_client: BT control stays %02x\n", inb(kControl));
  std::_Exit(1);
}

std::vector<uint8_t> bt(const std::vector<uint8_t>& request) {  // NetFn/LUN, command, data
  wait_for(kBmcBusy | kToBmc, 0);
  if (inb(kControl) & kHostBusy) outb(kHostBusy, kControl);
  outb(kClearWrite, kControl);
  std::vector<uint8_t> message{static_cast<uint8_t>(request.size() + 1), request[0], 0x42};
  message.insert(message.end(), request.begin() + 1, request.end());
  outsb_from(kBuffer, message.data(), message.size());
  outb(kToBmc, kControl);
  wait_for(kToHost, kToHost);
  outb(kHostBusy, kControl);
  outb(kToHost, kControl);
  outb(kClearRead, kControl);
  std::vector<uint8_t> answer(inb(kBuffer));
  insb_to(kBuffer, answer.data(), answer.size());
  outb(kHostBusy, kControl);
  return answer;
}

sigjmp_buf back;
void* volatile fault_address;
volatile int fault_code;
volatile int handled;
void on_fault(int, siginfo_t* info, void*) {
  fault_address = info->si_addr;
  fault_code = info->si_code;
  handled = handled + 1;
  siglongjmp(back, 1);
}
volatile int on_alarm_read = -1;
void on_alarm(int) { on_alarm_read = inb(kNobody); }

void catch_faults(int flags) {
  struct sigaction action {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | flags;
  CHECK(sigaction(SIGSEGV, &action, nullptr) == 0);
}

void widths() {
  CHECK(inb(kNobody) == 0xff && inw(kNobody) == 0xffff && inl(kNobody) == 0xffffffff);
  outb(1, kNobody);
  outw(1, kNobody);
  outl(1, kNobody);
  uint64_t accumulator = 0x1122334455667788;
  asm volatile("in $0x80, %%al" : "+a"(accumulator));
  CHECK(accumulator == 0x11223344556677ff);
  asm volatile("in $0x80, %%ax" : "+a"(accumulator));
  CHECK(accumulator == 0x112233445566ffff);
  asm volatile("in $0x80, %%eax" : "+a"(accumulator));
  CHECK(accumulator == 0xffffffff);
}

void strings() {
  const size_t page = 4096;
  auto* memory = static_cast<uint8_t*>(mmap(nullptr, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  CHECK(memory != MAP_FAILED);
  // Over a page's end, also in the middle of an element.
  insb_to(kNobody, memory + page - 5, 10);
  CHECK(memory[page - 6] == 0 && memory[page - 5] == 0xff && memory[page + 4] == 0xff && memory[page + 5] == 0);
  std::memset(memory, 0, 2 * page);
  insl_to(kNobody, memory + page - 2, 2);
  CHECK(memory[page - 3] == 0 && memory[page - 2] == 0xff && memory[page + 5] == 0xff && memory[page + 6] == 0);
  std::memset(memory, 0, 2 * page);
  // Downwards, and what the registers say afterwards.
  void* index = memory + 9;
  uint64_t count = 4;
  asm volatile("std; rep insb; cld" : "+D"(index), "+c"(count) : "d"(kNobody) : "memory");
  CHECK(index == memory + 5 && count == 0 && memory[9] == 0xff && memory[6] == 0xff && memory[5] == 0 && memory[10] == 0);
  std::memset(memory, 0, 2 * page);
  count = 0;
  index = nullptr;
  asm volatile("rep insb" : "+D"(index), "+c"(count) : "d"(kNobody) : "memory");
  CHECK(index == nullptr);
  // Far more than one message holds.
  std::vector<uint8_t> big(100'000);
  insb_to(kNobody, big.data(), big.size());
  CHECK(big.front() == 0xff && big.back() == 0xff);
  outsb_from(kNobody, big.data(), big.size());
  // Memory that is not there is a fault at its address, and what came before it is done.
  CHECK(mprotect(memory + page, page, PROT_READ) == 0);
  catch_faults(0);
  if (sigsetjmp(back, 1) == 0) {
    insb_to(kNobody, memory + page - 3, 10);
    CHECK(false);
  }
  CHECK(fault_address == memory + page && fault_code == SEGV_ACCERR && memory[page - 1] == 0xff && memory[page - 3] == 0xff);
  if (sigsetjmp(back, 1) == 0) {
    outsb_from(kNobody, nullptr, 1);
    CHECK(false);
  }
  CHECK(fault_address == nullptr && fault_code == SEGV_MAPERR);
  munmap(memory, 3 * page);
}

void signals() {
  struct sigaction seen {};
  handled = 0;
  catch_faults(0);
  CHECK(sigaction(SIGSEGV, nullptr, &seen) == 0 && seen.sa_sigaction == on_fault);
  CHECK(inb(kNobody) == 0xff && handled == 0);
  auto* volatile nowhere = reinterpret_cast<int*>(0x10);
  for (int round = 1; round <= 3; ++round) {
    if (sigsetjmp(back, 1) == 0) *nowhere = 1;
    CHECK(handled == round && fault_address == nowhere);
    CHECK(inb(kNobody) == 0xff);
  }
  // What no user program may do is no port access.
  if (sigsetjmp(back, 1) == 0) asm volatile("hlt");
  CHECK(handled == 4);
  catch_faults(static_cast<int>(SA_RESETHAND));
  if (sigsetjmp(back, 1) == 0) *nowhere = 1;
  CHECK(sigaction(SIGSEGV, nullptr, &seen) == 0 && seen.sa_handler == SIG_DFL);
  CHECK(signal(SIGSEGV, SIG_IGN) == SIG_DFL);
  raise(SIGSEGV);
  CHECK(inb(kNobody) == 0xff);
  CHECK(signal(SIGSEGV, SIG_DFL) == SIG_IGN);
  // In and out do not mind what is blocked, nor in which handler they are.
  sigset_t all, before;
  sigfillset(&all);
  CHECK(sigprocmask(SIG_SETMASK, &all, &before) == 0);
  CHECK(inb(kNobody) == 0xff);
  CHECK(sigprocmask(SIG_SETMASK, &before, nullptr) == 0);
  struct sigaction action {};
  action.sa_handler = on_alarm;
  sigfillset(&action.sa_mask);
  CHECK(sigaction(SIGALRM, &action, nullptr) == 0);
  raise(SIGALRM);
  CHECK(on_alarm_read == 0xff);
}

void processes() {
  CHECK(inb(kNobody) == 0xff);
  for (int i = 0; i < 3; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      for (int n = 0; n < 200; ++n) CHECK(inb(kNobody) == 0xff);
      _exit(7);
    }
    for (int n = 0; n < 200; ++n) CHECK(inb(kNobody) == 0xff);
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 7);
  }
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([] {
      for (int n = 0; n < 300; ++n) CHECK(inw(kNobody) == 0xffff);
    });
  }
  // Children are born while others hold what they hold.
  for (int i = 0; i < 20; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      CHECK(inb(kNobody) == 0xff);
      _exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
  }
  for (std::thread& thread : threads) thread.join();
}

// A program may close all that it does not know, and have files of its own under those numbers.
void descriptors(const char* folder) {
  CHECK(inb(kNobody) == 0xff);
  CHECK(close_range(3, ~0u, 0) == 0);
  const std::string path = std::string(folder) + "/mine";
  std::vector<int> files;
  for (int i = 0; i < 300; ++i) {
    const int fd = open(path.c_str(), O_RDWR | O_CREAT, 0600);
    CHECK(fd >= 0);
    files.push_back(fd);
  }
  CHECK(inb(kNobody) == 0xff);
  CHECK(lseek(files[0], 0, SEEK_END) == 0);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "unprivileged") {
    std::printf("%02x\n", inb(kNobody));
    return 0;
  }
  if (what == "ioperm") {
    CHECK(ioperm(0x10000, 1, 1) == -1 && ioperm(0, 0, 1) == -1 && iopl(4) == -1);
    CHECK(ioperm(kControl, 3, 1) == 0);
    std::printf("%02x\n", inb(kMask) & 0xfc);
    CHECK(ioperm(kControl, 3, 0) == 0);
    std::fflush(stdout);
    return inb(kMask);
  }
  if (iopl(3) != 0) {
    std::perror("port_client: iopl");
    return 1;
  }
  if (what == "check") {
    widths();
    strings();
    signals();
    processes();
    descriptors(argc > 2 ? argv[2] : "/tmp");
    std::printf("checked\n");
  } else if (what == "crash") {
    int* volatile nowhere = reinterpret_cast<int*>(0x10);
    *nowhere = inb(kNobody);
  } else if (what == "hold") {
    std::printf("%02x\n", inb(kControl) & 0x24);
    std::fflush(stdout);
    pause();
  } else if (what == "bt" && argc > 3) {
    std::vector<uint8_t> request;
    for (int i = 2; i < argc; ++i) request.push_back(static_cast<uint8_t>(std::strtoul(argv[i], nullptr, 16)));
    for (uint8_t byte : bt(request)) std::printf("%02x ", byte);
    std::printf("\n");
  } else {
    std::fprintf(stderr, "usage: port_client unprivileged | ioperm | check FOLDER | crash | hold | bt NETFN CMD DATA...\n");
    return 2;
  }
  return 0;
}
