// An ordinary program of /dev/ipmiN, with Linux's own header and plain open, ioctl, poll: every row of reference F, as seen
// from outside. It knows nothing of bmcpair, and is built for 64 and for 32 bits.
//
//   device_client walk DEVICE      everything that needs one program
//   device_client busy DEVICE      opens until it may no more; says how many
//   device_client requests DEVICE N
//   device_client hold DEVICE      asks for ever, says when it has begun
//   device_client until-error DEVICE, then once more
//   device_client inherited FD     by walk, after exec
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ipmi.h>
#include <linux/ipmi_msgdefs.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <initializer_list>

namespace {

constexpr int kPatienceMs = 60000;
const char* self_path = nullptr;
const char* device = nullptr;

[[noreturn]] void fail(int line, const char* what) {
  fprintf(stderr, "device_client.cc:%d: %s (errno %d: %s)\n", line, what, errno, strerror(errno));
  exit(1);
}

#define CHECK(condition) \
  do { \
    if (!(condition)) fail(__LINE__, #condition); \
  } while (0)
#define CHECK_ERRNO(call, wanted) \
  do { \
    errno = 0; \
    if ((call) != -1 || errno != (wanted)) fail(__LINE__, #call " should be " #wanted); \
  } while (0)

int open_device() { return open(device, O_RDWR); }

ipmi_system_interface_addr bmc_address(unsigned char lun = 0) {
  ipmi_system_interface_addr address;
  memset(&address, 0, sizeof address);
  address.addr_type = IPMI_SYSTEM_INTERFACE_ADDR_TYPE;
  address.channel = IPMI_BMC_CHANNEL;
  address.lun = lun;
  return address;
}

int send_to(int fd, void* address, unsigned size, long msgid, unsigned char netfn, unsigned char cmd, const void* data,
            unsigned short data_size) {
  ipmi_req req;
  memset(&req, 0, sizeof req);
  req.addr = static_cast<unsigned char*>(address);
  req.addr_len = size;
  req.msgid = msgid;
  req.msg.netfn = netfn;
  req.msg.cmd = cmd;
  req.msg.data = static_cast<unsigned char*>(const_cast<void*>(data));
  req.msg.data_len = data_size;
  return ioctl(fd, IPMICTL_SEND_COMMAND, &req);
}

int send_bmc(int fd, long msgid, unsigned char netfn, unsigned char cmd, const void* data = nullptr, unsigned short size = 0) {
  ipmi_system_interface_addr address = bmc_address();
  return send_to(fd, &address, sizeof address, msgid, netfn, cmd, data, size);
}

bool readable(int fd, int wait_ms) {
  pollfd p = {fd, POLLIN, 0};
  int n;
  while ((n = poll(&p, 1, wait_ms)) < 0 && errno == EINTR) {
  }
  return n == 1 && (p.revents & POLLIN) && (p.revents & POLLRDNORM) == 0;
}

struct Received {
  ipmi_recv recv;
  ipmi_addr address;
  unsigned char data[IPMI_MAX_MSG_LENGTH];
};

int receive(int fd, Received& r, unsigned long how = IPMICTL_RECEIVE_MSG_TRUNC, unsigned short room = IPMI_MAX_MSG_LENGTH,
            unsigned address_room = sizeof(ipmi_addr)) {
  memset(&r, 0xee, sizeof r);
  r.recv.addr = reinterpret_cast<unsigned char*>(&r.address);
  r.recv.addr_len = address_room;
  r.recv.msg.data = r.data;
  r.recv.msg.data_len = room;
  return ioctl(fd, how, &r.recv);
}

void wait_and_receive(int fd, Received& r) {
  CHECK(readable(fd, kPatienceMs));
  CHECK(receive(fd, r) == 0);
}

void device_id(int fd, long msgid, int line = __builtin_LINE()) {
  Received r;
  if (send_bmc(fd, msgid, IPMI_NETFN_APP_REQUEST, IPMI_GET_DEVICE_ID_CMD) != 0) fail(line, "Get Device ID cannot be sent");
  if (!readable(fd, kPatienceMs)) fail(line, "Get Device ID is not answered");
  if (receive(fd, r) != 0) fail(line, "the answer to Get Device ID cannot be received");
  if (r.recv.msgid != msgid) fail(line, "somebody else's answer to Get Device ID");
  if (r.recv.msg.data_len != 16 || r.data[0] != 0 || r.data[1] != 0x20) fail(line, "a wrong answer to Get Device ID");
}

void opening() {
  // Three names of one device, and every way of calling open.
  char name[64];
  const char* number = device + strlen("/dev/ipmi");
  for (const char* form : {"/dev/ipmi%s", "/dev/ipmi/%s", "/dev/ipmidev/%s"}) {
    snprintf(name, sizeof name, form, number);
    int fd = open(name, O_RDWR);
    CHECK(fd >= 0);
    device_id(fd, 1);
    CHECK(close(fd) == 0);
  }
  int fd = openat(AT_FDCWD, device, O_RDWR | O_CLOEXEC);
  CHECK(fd >= 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC));
  device_id(fd, 2);
  close(fd);
  fd = open64(device, O_RDWR | O_NONBLOCK);
  CHECK(fd >= 0 && (fcntl(fd, F_GETFL) & O_NONBLOCK) && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR);
  CHECK(!(fcntl(fd, F_GETFD) & FD_CLOEXEC));
  device_id(fd, 3);
  close(fd);
  fd = openat64(AT_FDCWD, device, O_RDONLY);
  CHECK(fd >= 0);
  device_id(fd, 4);
  close(fd);
  volatile int flags = O_RDWR;  // the checked form, where the compiler cannot see the flags
  fd = open(device, flags);
  CHECK(fd >= 0);
  close(fd);

  for (const char* wrong : {"/dev/ipmi99", "/dev/ipmi/99", "/dev/ipmi", "/dev/ipmi01", "/dev/ipmi0x", "/dev/ipmidev/", "/dev/ipmi-1",
                            "/dev/ipmi99999999999999999999"}) {
    CHECK_ERRNO(open(wrong, O_RDWR), ENOENT);
  }
  // Other files are as they were.
  errno = 77;
  fd = open("/dev/null", O_RDWR);
  CHECK(fd >= 0 && errno == 77);
  CHECK_ERRNO(ioctl(fd, IPMICTL_GET_MY_ADDRESS_CMD, &flags), ENOTTY);
  close(fd);
  CHECK_ERRNO(ioctl(fd, IPMICTL_GET_MY_ADDRESS_CMD, &flags), EBADF);
  int pair[2];
  CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
  CHECK_ERRNO(ioctl(pair[0], IPMICTL_GET_MY_ADDRESS_CMD, &flags), ENOTTY);
  int waiting = -1;
  CHECK(ioctl(pair[0], FIONREAD, &waiting) == 0 && waiting == 0);
  close(pair[0]);
  close(pair[1]);
}

void sending_and_receiving() {
  int fd = open_device();
  CHECK(fd >= 0);
  Received r;
  CHECK_ERRNO(receive(fd, r), EAGAIN);
  CHECK_ERRNO(receive(fd, r, IPMICTL_RECEIVE_MSG), EAGAIN);
  CHECK(!readable(fd, 0));

  errno = 55;
  CHECK(send_bmc(fd, 0x7654321, IPMI_NETFN_APP_REQUEST, IPMI_GET_DEVICE_ID_CMD) == 0 && errno == 55);
  wait_and_receive(fd, r);
  CHECK(r.recv.recv_type == IPMI_RESPONSE_RECV_TYPE && r.recv.msgid == 0x7654321);
  CHECK(r.recv.msg.netfn == IPMI_NETFN_APP_RESPONSE && r.recv.msg.cmd == IPMI_GET_DEVICE_ID_CMD);
  CHECK(r.recv.addr_len == sizeof(ipmi_system_interface_addr));
  CHECK(r.address.addr_type == IPMI_SYSTEM_INTERFACE_ADDR_TYPE && r.address.channel == IPMI_BMC_CHANNEL);
  CHECK(r.recv.msg.data_len == 16 && r.data[16] == 0xee);
  CHECK(!readable(fd, 0));
  CHECK_ERRNO(receive(fd, r), EAGAIN);

  // A completion code is data.
  CHECK(send_bmc(fd, 2, IPMI_NETFN_APP_REQUEST, 0x7f) == 0);
  wait_and_receive(fd, r);
  CHECK(r.recv.msg.data_len == 1 && r.data[0] == 0xc1);
  // A negative message id is given back as it was.
  device_id(fd, -5);

  // Several: in order, and readable until the last.
  for (long n = 0; n < 5; ++n) CHECK(send_bmc(fd, n, IPMI_NETFN_APP_REQUEST, IPMI_GET_DEVICE_ID_CMD) == 0);
  for (long n = 0; n < 5; ++n) {
    wait_and_receive(fd, r);
    CHECK(r.recv.msgid == n);
  }
  CHECK(!readable(fd, 0));

  // What does not fit.
  CHECK(send_bmc(fd, 10, IPMI_NETFN_APP_REQUEST, IPMI_GET_DEVICE_ID_CMD) == 0);
  CHECK(readable(fd, kPatienceMs));
  CHECK_ERRNO(receive(fd, r, IPMICTL_RECEIVE_MSG, IPMI_MAX_MSG_LENGTH, 7), EINVAL);
  CHECK_ERRNO(receive(fd, r, IPMICTL_RECEIVE_MSG_TRUNC, IPMI_MAX_MSG_LENGTH, 7), EINVAL);
  CHECK_ERRNO(receive(fd, r, IPMICTL_RECEIVE_MSG, 3), EMSGSIZE);
  CHECK(readable(fd, 0));
  CHECK_ERRNO(receive(fd, r, IPMICTL_RECEIVE_MSG_TRUNC, 3), EMSGSIZE);
  CHECK(r.recv.msgid == 10 && r.recv.msg.data_len == 3 && r.data[1] == 0x20 && r.data[3] == 0xee);
  CHECK(r.recv.addr_len == sizeof(ipmi_system_interface_addr));
  CHECK(!readable(fd, 0));

  // What leads nowhere; the message stays.
  CHECK(send_bmc(fd, 11, IPMI_NETFN_APP_REQUEST, IPMI_GET_DEVICE_ID_CMD) == 0);
  CHECK(readable(fd, kPatienceMs));
  void* nowhere = mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  void* read_only = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(nowhere != MAP_FAILED && read_only != MAP_FAILED);
  CHECK_ERRNO(ioctl(fd, IPMICTL_RECEIVE_MSG, nowhere), EFAULT);
  CHECK_ERRNO(ioctl(fd, IPMICTL_RECEIVE_MSG, nullptr), EFAULT);
  ipmi_recv recv;
  ipmi_addr address;
  unsigned char data[64];
  for (int what = 0; what < 3; ++what) {
    memset(&recv, 0, sizeof recv);
    recv.addr = what == 0 ? static_cast<unsigned char*>(nowhere) : reinterpret_cast<unsigned char*>(&address);
    recv.addr_len = sizeof address;
    recv.msg.data = what == 1 ? static_cast<unsigned char*>(nowhere) : what == 2 ? static_cast<unsigned char*>(read_only) : data;
    recv.msg.data_len = sizeof data;
    CHECK_ERRNO(ioctl(fd, IPMICTL_RECEIVE_MSG_TRUNC, &recv), EFAULT);
  }
  wait_and_receive(fd, r);
  CHECK(r.recv.msgid == 11);

  // What cannot be sent.
  ipmi_system_interface_addr bmc = bmc_address();
  unsigned char big[300] = {};
  CHECK_ERRNO(ioctl(fd, IPMICTL_SEND_COMMAND, nowhere), EFAULT);
  CHECK_ERRNO(send_to(fd, nowhere, sizeof bmc, 1, 6, 1, nullptr, 0), EFAULT);
  CHECK_ERRNO(send_to(fd, &bmc, sizeof bmc, 1, 6, 1, nowhere, 4), EFAULT);
  CHECK_ERRNO(send_to(fd, &bmc, 41, 1, 6, 1, nullptr, 0), EINVAL);
  CHECK_ERRNO(send_to(fd, &bmc, 7, 1, 6, 1, nullptr, 0), EINVAL);
  CHECK_ERRNO(send_bmc(fd, 1, 7, 1), EINVAL);
  CHECK_ERRNO(send_bmc(fd, 1, 6, 0x34), EINVAL);
  CHECK_ERRNO(send_bmc(fd, 1, 6, 0x33), EINVAL);
  CHECK_ERRNO(send_bmc(fd, 1, 6, 0x35), EINVAL);
  CHECK_ERRNO(send_bmc(fd, 1, 6, 1, big, 273), EMSGSIZE);
  CHECK_ERRNO(send_bmc(fd, 1, 6, 1, big, 271), EMSGSIZE);
  bmc.channel = 3;
  CHECK_ERRNO(send_to(fd, &bmc, sizeof bmc, 1, 6, 1, big, 273), EINVAL);
  bmc = bmc_address(4);
  CHECK_ERRNO(send_to(fd, &bmc, sizeof bmc, 1, 6, 1, nullptr, 0), EINVAL);
  bmc = bmc_address();
  bmc.addr_type = 0x55;
  CHECK_ERRNO(send_to(fd, &bmc, sizeof bmc, 1, 6, 1, nullptr, 0), EINVAL);
  // A null pointer is no data, whatever the length.
  CHECK(send_bmc(fd, 12, 6, 1, nullptr, 100) == 0);
  wait_and_receive(fd, r);
  CHECK(r.recv.msgid == 12 && r.data[0] == 0);
  CHECK_ERRNO(ioctl(fd, _IO('i', 99), 0), ENOTTY);
  CHECK_ERRNO(ioctl(fd, TCGETS, big), ENOTTY);
  close(fd);
}

void over_ipmb() {
  int fd = open_device();
  ipmi_ipmb_addr to;
  memset(&to, 0, sizeof to);
  to.addr_type = IPMI_IPMB_ADDR_TYPE;
  to.slave_addr = 0x82;
  CHECK(send_to(fd, &to, sizeof to, 21, 6, 1, nullptr, 0) == 0);
  Received r;
  wait_and_receive(fd, r);
  CHECK(r.recv.recv_type == IPMI_RESPONSE_RECV_TYPE && r.recv.msgid == 21 && r.data[0] == 0 && r.data[1] == 0x30);
  CHECK(r.address.addr_type == IPMI_IPMB_ADDR_TYPE && r.recv.addr_len == sizeof(ipmi_ipmb_addr));
  ipmi_ipmb_addr from;
  memcpy(&from, &r.address, sizeof from);
  CHECK(from.slave_addr == 0x82 && from.channel == 0);
  to.addr_type = IPMI_IPMB_BROADCAST_ADDR_TYPE;
  CHECK(send_to(fd, &to, sizeof to, 22, 6, 1, nullptr, 0) == 0);
  wait_and_receive(fd, r);
  CHECK(r.recv.msgid == 22 && r.address.addr_type == IPMI_IPMB_ADDR_TYPE);
  // Nobody there: with its own timing the answer is a completion code. 0x84 is not plugged in.
  ipmi_req_settime timed;
  memset(&timed, 0, sizeof timed);
  to.addr_type = IPMI_IPMB_ADDR_TYPE;
  to.slave_addr = 0x84;
  timed.req.addr = reinterpret_cast<unsigned char*>(&to);
  timed.req.addr_len = sizeof to;
  timed.req.msgid = 23;
  timed.req.msg.netfn = 6;
  timed.req.msg.cmd = 1;
  timed.retries = 0;
  timed.retry_time_ms = 1000;
  CHECK(ioctl(fd, IPMICTL_SEND_COMMAND_SETTIME, &timed) == 0);
  wait_and_receive(fd, r);
  CHECK(r.recv.msgid == 23 && r.data[0] != 0 && r.recv.msg.data_len == 1);
  to.channel = 9;
  CHECK_ERRNO(send_to(fd, &to, sizeof to, 24, 6, 1, nullptr, 0), EINVAL);
  close(fd);
}

void settings() {
  int a = open_device(), b = open_device();
  unsigned value = 0x20;
  CHECK(ioctl(a, IPMICTL_SET_MY_ADDRESS_CMD, &value) == 0);
  value = 0;
  CHECK(ioctl(b, IPMICTL_GET_MY_ADDRESS_CMD, &value) == 0 && value == 0x20);
  value = 6;
  CHECK(ioctl(a, IPMICTL_SET_MY_LUN_CMD, &value) == 0);
  CHECK(ioctl(b, IPMICTL_GET_MY_LUN_CMD, &value) == 0 && value == 2);
  ipmi_channel_lun_address_set channel;
  memset(&channel, 0, sizeof channel);
  channel.channel = 4;
  channel.value = 0x66;
  CHECK(ioctl(a, IPMICTL_SET_MY_CHANNEL_ADDRESS_CMD, &channel) == 0);
  channel.value = 0;
  CHECK(ioctl(b, IPMICTL_GET_MY_CHANNEL_ADDRESS_CMD, &channel) == 0 && channel.value == 0x66);
  channel.value = 1;
  CHECK(ioctl(a, IPMICTL_SET_MY_CHANNEL_LUN_CMD, &channel) == 0);
  CHECK(ioctl(b, IPMICTL_GET_MY_CHANNEL_LUN_CMD, &channel) == 0 && channel.value == 1);
  channel.channel = 16;
  CHECK_ERRNO(ioctl(a, IPMICTL_SET_MY_CHANNEL_ADDRESS_CMD, &channel), EINVAL);
  CHECK_ERRNO(ioctl(a, IPMICTL_GET_MY_CHANNEL_LUN_CMD, &channel), EINVAL);

  ipmi_timing_parms timing;
  CHECK(ioctl(a, IPMICTL_GET_TIMING_PARMS_CMD, &timing) == 0 && timing.retries == -1 && timing.retry_time_ms == 0);
  timing.retries = 3;
  timing.retry_time_ms = 5000;
  CHECK(ioctl(a, IPMICTL_SET_TIMING_PARMS_CMD, &timing) == 0);
  memset(&timing, 0, sizeof timing);
  CHECK(ioctl(a, IPMICTL_GET_TIMING_PARMS_CMD, &timing) == 0 && timing.retries == 3 && timing.retry_time_ms == 5000);
  CHECK(ioctl(b, IPMICTL_GET_TIMING_PARMS_CMD, &timing) == 0 && timing.retries == -1);

  ipmi_cmdspec spec = {0x2c, 0x10};
  CHECK(ioctl(a, IPMICTL_REGISTER_FOR_CMD, &spec) == 0);
  CHECK_ERRNO(ioctl(b, IPMICTL_REGISTER_FOR_CMD, &spec), EBUSY);
  CHECK_ERRNO(ioctl(b, IPMICTL_UNREGISTER_FOR_CMD, &spec), ENOENT);
  CHECK(ioctl(a, IPMICTL_UNREGISTER_FOR_CMD, &spec) == 0);
  ipmi_cmdspec_chans chans = {0x2c, 0x10, 1};
  CHECK(ioctl(a, IPMICTL_REGISTER_FOR_CMD_CHANS, &chans) == 0);
  chans.chans = 2;
  CHECK(ioctl(b, IPMICTL_REGISTER_FOR_CMD_CHANS, &chans) == 0);
  CHECK_ERRNO(ioctl(a, IPMICTL_UNREGISTER_FOR_CMD_CHANS, &chans), ENOENT);
  // An opener's end takes its registrations away; the server hears of it in its own time.
  close(b);
  while (ioctl(a, IPMICTL_REGISTER_FOR_CMD_CHANS, &chans) != 0) CHECK(errno == EBUSY);

  int mode = 9;
  CHECK(ioctl(a, IPMICTL_GET_MAINTENANCE_MODE_CMD, &mode) == 0 && mode == IPMI_MAINTENANCE_MODE_AUTO);
  mode = IPMI_MAINTENANCE_MODE_OFF;
  CHECK(ioctl(a, IPMICTL_SET_MAINTENANCE_MODE_CMD, &mode) == 0);
  mode = 9;
  CHECK(ioctl(a, IPMICTL_GET_MAINTENANCE_MODE_CMD, &mode) == 0 && mode == IPMI_MAINTENANCE_MODE_OFF);
  mode = 3;
  CHECK_ERRNO(ioctl(a, IPMICTL_SET_MAINTENANCE_MODE_CMD, &mode), EINVAL);
  mode = IPMI_MAINTENANCE_MODE_AUTO;
  CHECK(ioctl(a, IPMICTL_SET_MAINTENANCE_MODE_CMD, &mode) == 0);
  // It is the interface's; answers from the IPMB come to 2.
  value = 2;
  CHECK(ioctl(a, IPMICTL_SET_MY_LUN_CMD, &value) == 0);
  close(a);
}

void events() {
  int a = open_device(), b = open_device();
  int on = 1;
  CHECK(ioctl(a, IPMICTL_SET_GETS_EVENTS_CMD, &on) == 0);
  CHECK(ioctl(b, IPMICTL_SET_GETS_EVENTS_CMD, &on) == 0);
  // Platform Event by the system software: generator 0x41, a temperature, upper critical going high.
  const unsigned char event[] = {0x41, 0x04, 0x01, 0x77, 0x01, 0x59, 0x60, 0x5f};
  CHECK(send_bmc(a, 31, 4, 2, event, sizeof event) == 0);
  bool answered = false, told = false;
  while (!answered || !told) {
    Received r;
    wait_and_receive(a, r);
    if (r.recv.recv_type == IPMI_ASYNC_EVENT_RECV_TYPE) {
      CHECK(r.recv.msg.netfn == 7 && r.recv.msg.cmd == 0x35 && r.recv.msg.data_len == 16);
      told = told || r.data[11] == 0x77;
    } else {
      CHECK(r.recv.msgid == 31 && r.data[0] == 0);
      answered = true;
    }
  }
  Received r;
  do {
    wait_and_receive(b, r);
    CHECK(r.recv.recv_type == IPMI_ASYNC_EVENT_RECV_TYPE);
  } while (r.data[11] != 0x77);
  on = 0;
  CHECK(ioctl(a, IPMICTL_SET_GETS_EVENTS_CMD, &on) == 0);
  close(a);
  close(b);
}

volatile sig_atomic_t signals_seen = 0;
void on_signal(int) { signals_seen = signals_seen + 1; }

void waiting() {
  int fd = open_device();
  Received r;
  // select
  fd_set set;
  FD_ZERO(&set);
  FD_SET(fd, &set);
  timeval now = {0, 0};
  CHECK(select(fd + 1, &set, nullptr, nullptr, &now) == 0);
  CHECK(send_bmc(fd, 1, 6, 1) == 0);
  FD_SET(fd, &set);
  timeval later = {kPatienceMs / 1000, 0};
  CHECK(select(fd + 1, &set, nullptr, nullptr, &later) == 1 && FD_ISSET(fd, &set));
  CHECK(receive(fd, r) == 0);
  // epoll, level and edge triggered
  for (unsigned edge : {0u, static_cast<unsigned>(EPOLLET)}) {
    int ep = epoll_create1(EPOLL_CLOEXEC);
    epoll_event event = {};
    event.events = EPOLLIN | edge;
    CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event) == 0);
    CHECK(epoll_wait(ep, &event, 1, 0) == 0);
    for (int n = 0; n < 3; ++n) {
      CHECK(send_bmc(fd, n, 6, 1) == 0);
      CHECK(epoll_wait(ep, &event, 1, kPatienceMs) == 1 && (event.events & EPOLLIN));
      CHECK(receive(fd, r) == 0);
      CHECK(epoll_wait(ep, &event, 1, 0) == 0);
    }
    close(ep);
  }
  // SIGIO: one when messages begin to wait
  sigset_t io;
  sigemptyset(&io);
  sigaddset(&io, SIGIO);
  CHECK(sigprocmask(SIG_BLOCK, &io, nullptr) == 0);
  CHECK(fcntl(fd, F_SETOWN, getpid()) == 0);
  CHECK(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_ASYNC) == 0);
  CHECK(send_bmc(fd, 1, 6, 1) == 0);
  timespec patience = {kPatienceMs / 1000, 0};
  CHECK(sigtimedwait(&io, nullptr, &patience) == SIGIO);
  CHECK(readable(fd, 0));
  CHECK(receive(fd, r) == 0);
  CHECK(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_ASYNC) == 0);
  close(fd);
}

int wait_for(pid_t pid) {
  int status = -1;
  CHECK(waitpid(pid, &status, 0) == pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

void copies() {
  int fd = open_device();
  Received r;
  // dup: one file, two numbers.
  int copy = dup(fd);
  CHECK(send_bmc(fd, 1, 6, 1) == 0);
  CHECK(readable(copy, kPatienceMs) && readable(fd, 0));
  CHECK(receive(copy, r) == 0 && r.recv.msgid == 1);
  CHECK_ERRNO(receive(fd, r), EAGAIN);
  close(fd);
  device_id(copy, 2);
  fd = fcntl(copy, F_DUPFD_CLOEXEC, 50);
  CHECK(fd >= 50);
  CHECK(dup2(fd, 60) == 60);
  close(copy);
  device_id(60, 3);
  close(60);

  // fork: what one sends the other may receive.
  CHECK(send_bmc(fd, 4, 6, 1) == 0);
  pid_t child = fork();
  if (child == 0) {
    if (!readable(fd, kPatienceMs) || receive(fd, r) != 0 || r.recv.msgid != 4) _exit(1);
    if (send_bmc(fd, 5, 6, 1) != 0) _exit(2);
    _exit(0);
  }
  CHECK(wait_for(child) == 0);
  wait_and_receive(fd, r);
  CHECK(r.recv.msgid == 5);
  CHECK(!readable(fd, 0));
  // Both at once, each takes only what is there.
  child = fork();
  if (child == 0) {
    for (int n = 0; n < 50; ++n) {
      if (send_bmc(fd, n, 6, 1) != 0 || !readable(fd, kPatienceMs)) _exit(1);
      while (receive(fd, r) != 0) {
        if (errno != EAGAIN) _exit(2);
        if (!readable(fd, kPatienceMs)) _exit(3);
      }
    }
    _exit(0);
  }
  for (int n = 0; n < 50; ++n) {
    CHECK(send_bmc(fd, n, 6, 1) == 0);
    CHECK(readable(fd, kPatienceMs));
    while (receive(fd, r) != 0) {
      CHECK(errno == EAGAIN);
      CHECK(readable(fd, kPatienceMs));
    }
  }
  CHECK(wait_for(child) == 0);
  CHECK_ERRNO(receive(fd, r), EAGAIN);
  CHECK(!readable(fd, 0));

  // exec: inherited unless marked.
  for (bool keep : {true, false}) {
    CHECK(fcntl(fd, F_SETFD, keep ? 0 : FD_CLOEXEC) == 0);
    child = fork();
    if (child == 0) {
      char number[16];
      snprintf(number, sizeof number, "%d", fd);
      execl(self_path, self_path, "inherited", number, nullptr);
      _exit(99);
    }
    CHECK(wait_for(child) == (keep ? 0 : 3));
  }
  device_id(fd, 6);
  close(fd);
}

void* ask_often(void*) {
  int fd = open_device();
  CHECK(fd >= 0);
  for (long n = 0; n < 100; ++n) device_id(fd, n);
  close(fd);
  return nullptr;
}

void threads_and_signals() {
  // Calls go through though signals come all the time.
  struct sigaction action = {};
  action.sa_handler = on_signal;
  CHECK(sigaction(SIGALRM, &action, nullptr) == 0);
  itimerspec often = {};
  often.it_value.tv_nsec = often.it_interval.tv_nsec = 500000;
  timer_t timer;
  CHECK(timer_create(CLOCK_MONOTONIC, nullptr, &timer) == 0);
  CHECK(timer_settime(timer, 0, &often, nullptr) == 0);
  pthread_t threads[4];
  for (pthread_t& t : threads) CHECK(pthread_create(&t, nullptr, ask_often, nullptr) == 0);
  for (pthread_t& t : threads) CHECK(pthread_join(t, nullptr) == 0);
  CHECK(timer_delete(timer) == 0);
}

int count_descriptors() {
  int count = 0;
  DIR* folder = opendir("/proc/self/fd");
  CHECK(folder);
  while (readdir(folder)) ++count;
  closedir(folder);
  return count;
}

int walk() {
  const int before = count_descriptors();
  opening();
  sending_and_receiving();
  over_ipmb();
  settings();
  events();
  waiting();
  copies();
  threads_and_signals();
  CHECK(count_descriptors() == before);
  printf("walked\n");
  return 0;
}

int busy() {
  int opened = 0;
  while (open_device() >= 0) {
    CHECK(++opened < 1000);
  }
  CHECK(errno == EBUSY);
  printf("%d opens, then EBUSY\n", opened);
  return 0;
}

int until_error() {
  int fd = open_device();
  CHECK(fd >= 0);
  printf("begun\n");
  fflush(stdout);
  Received r;
  for (;;) {
    if (send_bmc(fd, 1, 6, 1) != 0) break;
    if (!readable(fd, kPatienceMs)) break;
    if (receive(fd, r) != 0) break;
    if (r.data[0] != 0) {
      printf("completion code %02x\n", r.data[0]);
      return 0;
    }
  }
  printf("%s\n", strerrorname_np(errno));
  pollfd p = {fd, POLLIN, 0};
  CHECK(poll(&p, 1, kPatienceMs) == 1 && (p.revents & POLLHUP));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  self_path = argv[0];
  device = argv[2];
  if (!strcmp(argv[1], "walk")) return walk();
  if (!strcmp(argv[1], "busy")) return busy();
  if (!strcmp(argv[1], "until-error")) return until_error();
  if (!strcmp(argv[1], "requests")) {
    int fd = open_device();
    CHECK(fd >= 0);
    const int count = argc > 3 ? atoi(argv[3]) : 1;
    for (int n = 0; n < count; ++n) device_id(fd, n);
    printf("%d answers\n", count);
    return 0;
  }
  if (!strcmp(argv[1], "hold")) {
    int fd = open_device();
    CHECK(fd >= 0);
    device_id(fd, 0);
    printf("begun\n");
    fflush(stdout);
    for (long n = 0;; ++n) device_id(fd, n);
  }
  if (!strcmp(argv[1], "inherited")) {
    int fd = atoi(argv[2]);
    if (fcntl(fd, F_GETFD) < 0) return 3;
    device_id(fd, 7);
    return 0;
  }
  return 2;
}
