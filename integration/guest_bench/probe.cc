// Runs inside the guest, statically linked: what a register access and an IPMI transaction cost there.
//
//   probe ports PORT COUNT           in and out of an I/O port, ns each
//   probe memory FILE COUNT          the same through a PCI resource file (a memory BAR)
//   probe ipmi DEVICE COUNT          Get Device ID back to back through /dev/ipmi0
//
// One line of JSON on stdout; 1 with a sentence on stderr when something fails.
#include <fcntl.h>
#include <linux/ipmi.h>
#include <poll.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

constexpr long kCountMax = 1'000'000;
constexpr int kAnswerTimeout_ms = 15'000;

int64_t now_ns() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1'000'000'000LL + t.tv_nsec;
}

int fail(const char* what) {
  std::fprintf(stderr, "probe: %s: %s\n", what, std::strerror(errno));
  return 1;
}

// Prints count, seconds, and the distribution of the samples.
void print(const char* name, std::vector<int64_t>& samples, int64_t total_ns, bool last) {
  std::sort(samples.begin(), samples.end());
  auto at = [&](double q) { return samples[static_cast<size_t>(q * static_cast<double>(samples.size() - 1))]; };
  std::printf("\"%s\": {\"count\": %zu, \"mean_ns\": %lld, \"p50_ns\": %lld, \"p99_ns\": %lld, \"max_ns\": %lld}%s", name,
              samples.size(), static_cast<long long>(total_ns / static_cast<int64_t>(samples.size())),
              static_cast<long long>(at(0.5)), static_cast<long long>(at(0.99)), static_cast<long long>(samples.back()),
              last ? "" : ", ");
}

template <typename F>
void measure(const char* name, long count, bool last, F&& f) {
  std::vector<int64_t> samples;
  samples.reserve(static_cast<size_t>(count));
  int64_t begin = now_ns(), before = begin;
  for (long i = 0; i < count; ++i) {
    f();
    int64_t after = now_ns();
    samples.push_back(after - before);
    before = after;
  }
  print(name, samples, before - begin, last);
}

int ports(const char* port_text, long count) {
  auto port = static_cast<unsigned short>(std::strtoul(port_text, nullptr, 0));
  if (iopl(3) != 0) return fail("iopl");
  std::printf("{");
  measure("clock", count, false, [] {});
  measure("read", count, false, [&] { (void)inb(port); });
  // No driver is loaded: what the write starts in a BMC disturbs nobody.
  measure("write", count, true, [&] { outb(0, port); });
  std::printf("}\n");
  return 0;
}

int memory(const char* file, long count) {
  int fd = open(file, O_RDWR | O_SYNC | O_CLOEXEC);
  if (fd < 0) return fail(file);
  void* at = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) return fail("mmap");
  auto* registers = static_cast<volatile uint8_t*>(at);
  std::printf("{");
  measure("clock", count, false, [] {});
  measure("read", count, false, [&] { (void)registers[0]; });
  // Posted: the read behind it waits for both.
  measure("write_read", count, true, [&] {
    registers[0] = 0;
    (void)registers[0];
  });
  std::printf("}\n");
  return 0;
}

int ipmi(const char* device, long count) {
  int fd = open(device, O_RDWR | O_CLOEXEC);
  if (fd < 0) return fail(device);
  ipmi_system_interface_addr address{};
  address.addr_type = IPMI_SYSTEM_INTERFACE_ADDR_TYPE;
  address.channel = IPMI_BMC_CHANNEL;
  std::vector<int64_t> samples;
  samples.reserve(static_cast<size_t>(count));
  int64_t begin = now_ns(), before = begin;
  for (long i = 0; i < count; ++i) {
    ipmi_req request{};
    request.addr = reinterpret_cast<unsigned char*>(&address);
    request.addr_len = sizeof address;
    request.msgid = i;
    request.msg.netfn = 6;
    request.msg.cmd = 1;
    if (ioctl(fd, IPMICTL_SEND_COMMAND, &request) != 0) return fail("send");
    pollfd p{fd, POLLIN, 0};
    if (poll(&p, 1, kAnswerTimeout_ms) != 1) {
      errno = ETIMEDOUT;
      return fail("no answer");
    }
    unsigned char data[IPMI_MAX_MSG_LENGTH];
    ipmi_addr from{};
    ipmi_recv received{};
    received.addr = reinterpret_cast<unsigned char*>(&from);
    received.addr_len = sizeof from;
    received.msg.data = data;
    received.msg.data_len = sizeof data;
    if (ioctl(fd, IPMICTL_RECEIVE_MSG_TRUNC, &received) != 0) return fail("receive");
    if (received.msgid != i || received.msg.cmd != 1 || received.msg.data_len < 12 || data[0] != 0) {
      std::fprintf(stderr, "probe: request %ld: the answer is number %ld, command %02x, %u bytes, code %02x\n", i,
                   received.msgid, received.msg.cmd, received.msg.data_len, received.msg.data_len ? data[0] : 0);
      return 1;
    }
    int64_t after = now_ns();
    samples.push_back(after - before);
    before = after;
  }
  std::printf("{");
  print("transaction", samples, before - begin, true);
  std::printf("}\n");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 4) {
    long count = std::strtol(argv[3], nullptr, 10);
    if (count < 1 || count > kCountMax) {
      std::fprintf(stderr, "probe: '%s' is no count from 1 to %ld\n", argv[3], kCountMax);
      return 2;
    }
    if (std::strcmp(argv[1], "ports") == 0) return ports(argv[2], count);
    if (std::strcmp(argv[1], "memory") == 0) return memory(argv[2], count);
    if (std::strcmp(argv[1], "ipmi") == 0) return ipmi(argv[2], count);
  }
  std::fprintf(stderr, "usage: probe ports PORT COUNT | memory FILE COUNT | ipmi DEVICE COUNT\n");
  return 2;
}
