#include "host_driver/device_node/server.h"

#include <gtest/gtest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "host_driver/device_node/caller.h"
#include "host_driver/device_node/packet_socket.h"
#include "host_driver/device_node/preload/link.h"
#include "host_driver/device_node/wire.h"
#include "host_driver/message_handler/fake_smi.h"
#include "host_driver/message_handler/message_handler.h"

namespace bmcpair::device_node {
namespace {

using host::FakeSmi;
using N = IoctlOf<Abi64>;

// Generous: it only bounds how long a failing test takes.
constexpr int kPatienceMs = 60'000;

// An address of the BMC itself, as programs give it.
struct SystemAddress {
  int32_t type = 0x0c;
  int16_t channel = 15;
  uint8_t lun = 0;
  uint8_t padding = 0;
};

// What a program does with an open file.
class Program {
 public:
  explicit Program(int fd) : fd_(fd) {}
  int ioctl(uint32_t number, void* argument) {
    preload::OwnMemory memory;
    preload::Link link(fd_);
    Caller<Abi64, preload::OwnMemory, preload::Link> caller(memory, link);
    return caller.ioctl(number, reinterpret_cast<uintptr_t>(argument));
  }
  int send(int64_t msgid, uint8_t netfn, uint8_t cmd, Bytes bytes = {}) {
    SystemAddress to;
    RequestOf<Abi64> r{};
    r.addr = reinterpret_cast<uintptr_t>(&to);
    r.addr_len = sizeof to;
    r.msgid = msgid;
    r.msg.netfn = netfn;
    r.msg.cmd = cmd;
    r.msg.data = reinterpret_cast<uintptr_t>(bytes.data());
    r.msg.data_len = static_cast<uint16_t>(bytes.size());
    return ioctl(N::kSend, &r);
  }
  int receive(bool truncate = true, uint16_t room = 272) {
    got = {};
    got.addr = reinterpret_cast<uintptr_t>(address);
    got.addr_len = sizeof address;
    got.msg.data = reinterpret_cast<uintptr_t>(data);
    got.msg.data_len = room;
    return ioctl(truncate ? N::kReceiveTruncated : N::kReceive, &got);
  }
  bool wait_readable() {
    pollfd p{fd_, POLLIN, 0};
    return ::poll(&p, 1, kPatienceMs) == 1 && (p.revents & POLLIN);
  }
  short events() {
    pollfd p{fd_, POLLIN, 0};
    return ::poll(&p, 1, 0) == 1 ? p.revents : short{0};
  }
  Bytes received() const { return Bytes(data, data + got.msg.data_len); }

  ReceivedOf<Abi64> got{};
  uint8_t address[40] = {};
  uint8_t data[272] = {};

 private:
  int fd_;
};

class DeviceServer : public ::testing::Test {
 protected:
  DeviceServer() {
    char name[] = "/tmp/bmcpair-device-XXXXXX";
    if (!::mkdtemp(name)) throw std::runtime_error("mkdtemp");
    folder_ = name;
    path_ = folder_ + "/s";
  }
  ~DeviceServer() override {
    for (int fd : open_) ::close(fd);
    server_.reset();
    std::filesystem::remove_all(folder_);
  }

  // Of another thread than the server's, never again than asked for.
  std::shared_ptr<FakeSmi> add_interface() {
    auto smi = std::make_shared<FakeSmi>();
    auto number = handler_.register_smi(smi);
    EXPECT_TRUE(number.ok());
    return smi;
  }
  ServerOptions options(unsigned devices = 1) {
    ServerOptions o;
    o.socket_path = path_;
    o.devices = devices;
    o.attach = [this](unsigned device, Instant) -> Result<Attached> {
      return Attached{&handler_, static_cast<int>(device)};
    };
    return o;
  }
  void serve(ServerOptions o) {
    auto server = Server::create(std::move(o));
    ASSERT_TRUE(server.ok()) << server.error().to_string();
    server_ = *std::move(server);
  }
  // A descriptor, or an errno below 0.
  int open(uint16_t device = 0, int flags = O_RDWR | O_CLOEXEC) {
    failure_ = {};
    const int fd = preload::open_device(path_.c_str(), device, flags, failure_);
    if (fd >= 0) open_.insert(fd);
    return fd;
  }
  void close(int fd) {
    open_.erase(fd);
    ::close(fd);
  }
  Fd raw_connection() {
    Fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path_.data(), path_.size());
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return fd;
  }
  // Waits until the number of open files is so.
  bool wait_open_now(unsigned wanted) {
    for (int n = 0; n < kPatienceMs; ++n) {
      if (server_->statistics().open_now == wanted) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
  }

  std::string folder_, path_;
  host::MessageHandler handler_{[] {
    host::MessageHandlerOptions o;
    o.own_timer = false;
    return o;
  }()};
  std::unique_ptr<Server> server_;
  preload::OpenFailure failure_;
  std::set<int> open_;
};

TEST_F(DeviceServer, AnswersComeWithMessageIdAddressAndCompletionCodeToTheirOpener) {
  add_interface();
  serve(options());
  Program a(open()), b(open());
  EXPECT_EQ(a.events(), 0);
  EXPECT_EQ(a.receive(), EAGAIN);
  ASSERT_EQ(a.send(0x123456789aLL, 6, 1), 0);
  ASSERT_TRUE(a.wait_readable());
  ASSERT_EQ(a.receive(), 0);
  EXPECT_EQ(a.got.recv_type, 1);
  EXPECT_EQ(a.got.msgid, 0x123456789aLL);
  EXPECT_EQ(a.got.msg.netfn, 7);
  EXPECT_EQ(a.got.msg.cmd, 1);
  EXPECT_EQ(a.got.addr_len, 8u);
  SystemAddress from;
  std::memcpy(&from, a.address, sizeof from);
  EXPECT_EQ(from.type, 0x0c);
  EXPECT_EQ(from.channel, 15);
  EXPECT_EQ(a.received(), host::device_id_reply());
  EXPECT_EQ(a.events(), 0);
  EXPECT_EQ(a.receive(), EAGAIN);
  EXPECT_EQ(b.events(), 0);
  EXPECT_EQ(b.receive(), EAGAIN);
}

TEST_F(DeviceServer, ADescriptorIsReadableExactlyWhileMessagesWait) {
  add_interface();
  serve(options());
  const int fd = open();
  Program p(fd);
  for (int round = 0; round < 50; ++round) {
    const int count = 1 + round % 3;
    for (int n = 0; n < count; ++n) ASSERT_EQ(p.send(n, 6, 1), 0);
    for (int n = 0; n < count; ++n) {
      ASSERT_TRUE(p.wait_readable());
      ASSERT_EQ(p.receive(), 0);
      EXPECT_EQ(p.got.msgid, n);
    }
    ASSERT_EQ(p.events(), 0) << round;
  }
  // Also after somebody has read from it, which takes nothing away on Linux.
  ASSERT_EQ(p.send(1, 6, 1), 0);
  ASSERT_TRUE(p.wait_readable());
  ASSERT_EQ(p.send(2, 6, 1), 0);
  char byte;
  ASSERT_EQ(::read(fd, &byte, 1), 1);
  while (p.receive(false, 0) == EAGAIN) std::this_thread::yield();
  EXPECT_TRUE(p.wait_readable());
}

TEST_F(DeviceServer, AMessageThatDoesNotFitStaysAtTheHeadAndOneThatFaultsToo) {
  add_interface();
  serve(options());
  Program p(open());
  ASSERT_EQ(p.send(1, 6, 1), 0);
  ASSERT_EQ(p.send(2, 6, 2), 0);
  ASSERT_TRUE(p.wait_readable());
  EXPECT_EQ(p.receive(false, 3), EMSGSIZE);
  ReceivedOf<Abi64> bad{};
  bad.addr_len = 40;
  EXPECT_EQ(p.ioctl(N::kReceive, &bad), EFAULT);
  EXPECT_EQ(p.ioctl(N::kReceive, nullptr), EFAULT);
  EXPECT_TRUE(p.events() & POLLIN);
  EXPECT_EQ(p.receive(true, 3), EMSGSIZE);
  EXPECT_EQ(p.got.msgid, 1);
  EXPECT_EQ(p.got.msg.data_len, 3);
  ASSERT_TRUE(p.wait_readable());
  EXPECT_EQ(p.receive(), 0);
  EXPECT_EQ(p.got.msgid, 2);
}

TEST_F(DeviceServer, WhoIsKilledBetweenTheAnswerAndItsCopyTakesNothing) {
  add_interface();
  serve(options());
  const int fd = open();
  Program p(fd);
  ASSERT_EQ(p.send(9, 6, 1), 0);
  ASSERT_TRUE(p.wait_readable());
  {
    preload::Link link(fd);
    Reply reply;
    ASSERT_EQ(link.receive(reply), 0);
    EXPECT_EQ(reply.error, 0);
    EXPECT_EQ(reply.msgid, 9);
  }
  EXPECT_EQ(p.receive(), 0);
  EXPECT_EQ(p.got.msgid, 9);
  EXPECT_EQ(p.events(), 0);
}

TEST_F(DeviceServer, WhoTakesTooLongOverAMessageHoldsUpNobodyForEverAndIsNotToldThatTheServerHasGone) {
  add_interface();
  ServerOptions o = options();
  o.verdict_wait = std::chrono::milliseconds(1);
  serve(o);
  const int fd = open();
  Program p(fd);
  ASSERT_EQ(p.send(9, 6, 1), 0);
  ASSERT_TRUE(p.wait_readable());
  for (Verdict verdict : {Verdict::kTaken, Verdict::kLeft}) {
    preload::Link slow(fd);
    Reply reply;
    ASSERT_EQ(slow.receive(reply), 0);
    ASSERT_EQ(reply.error, 0);
    // The next one waits for the first, and no longer than that: the message counts as taken.
    EXPECT_EQ(p.receive(), EAGAIN);
    EXPECT_EQ(slow.finish(verdict), 0);
    ASSERT_EQ(p.send(10, 6, 1), 0);
    ASSERT_TRUE(p.wait_readable());
  }
  while (p.receive() == EAGAIN) std::this_thread::yield();
  EXPECT_EQ(p.got.msgid, 10);
}

TEST_F(DeviceServer, ThreadsThatShareADescriptorNeverShareAMessage) {
  add_interface();
  serve(options());
  const int fd = open();
  constexpr int kThreads = 4, kEach = 50;
  std::mutex m;
  std::multiset<int64_t> seen;
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      Program p(fd);
      for (int n = 0; n < kEach; ++n) {
        int error;
        while ((error = p.send(t * 1000 + n, 6, 1)) == EBUSY) std::this_thread::yield();
        if (error) ++failures;
        for (;;) {
          if (!p.wait_readable()) {
            ++failures;
            break;
          }
          error = p.receive();
          if (error == EAGAIN) continue;
          if (error || p.received() != host::device_id_reply()) ++failures;
          std::lock_guard lock(m);
          seen.insert(p.got.msgid);
          break;
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  ASSERT_EQ(seen.size(), size_t{kThreads * kEach});
  for (int t = 0; t < kThreads; ++t) {
    for (int n = 0; n < kEach; ++n) EXPECT_EQ(seen.count(t * 1000 + n), 1u);
  }
}

TEST_F(DeviceServer, TheThirtyFirstOpenIsEbusyUntilOneCloses) {
  add_interface();
  serve(options());
  std::vector<int> fds;
  for (int n = 0; n < 30; ++n) {
    fds.push_back(open());
    ASSERT_GE(fds.back(), 0) << n << ": " << failure_.text;
  }
  EXPECT_EQ(open(), -EBUSY);
  close(fds[7]);
  ASSERT_TRUE(wait_open_now(29));
  EXPECT_GE(open(), 0);
}

TEST_F(DeviceServer, UnreadMessagesEndWithTheirFile) {
  auto smi = add_interface();
  serve(options());
  const int fd = open();
  Program p(fd);
  int sent = 0, error;
  while ((error = p.send(sent, 6, 1)) == 0) ++sent;
  EXPECT_EQ(error, EBUSY);
  EXPECT_EQ(sent, host::kMessagesPerUserMax);
  close(fd);
  ASSERT_TRUE(wait_open_now(0));
  EXPECT_EQ(handler_.describe(0)->users, 0);
  Program next(open());
  EXPECT_EQ(next.receive(), EAGAIN);
  EXPECT_EQ(next.send(1, 6, 1), 0);
  ASSERT_TRUE(next.wait_readable());
  EXPECT_EQ(next.receive(), 0);
  EXPECT_EQ(next.got.msgid, 1);
}

TEST_F(DeviceServer, SendSaysWhatLinuxSays) {
  add_interface();
  serve(options());
  Program p(open());
  EXPECT_EQ(p.send(1, 7, 1), EINVAL) << "an odd NetFn";
  EXPECT_EQ(p.send(1, 6, 0x34), EINVAL) << "Send Message is the driver's";
  EXPECT_EQ(p.send(1, 6, 1, Bytes(271)), EMSGSIZE);
  EXPECT_EQ(p.send(1, 6, 1, Bytes(273)), EMSGSIZE);
  SystemAddress address;
  RequestOf<Abi64> r{};
  r.addr = reinterpret_cast<uintptr_t>(&address);
  r.addr_len = 7;
  EXPECT_EQ(p.ioctl(N::kSend, &r), EINVAL);
  r.addr_len = 8;
  address.channel = 0;
  EXPECT_EQ(p.ioctl(N::kSend, &r), EINVAL);
  // The address before the data.
  r.msg.data = 1;
  r.msg.data_len = 300;
  EXPECT_EQ(p.ioctl(N::kSend, &r), EINVAL);
  address.channel = 15;
  EXPECT_EQ(p.ioctl(N::kSend, &r), EMSGSIZE);
  r.msg.data_len = 3;
  EXPECT_EQ(p.ioctl(N::kSend, &r), EFAULT);
  r.addr = 1;
  EXPECT_EQ(p.ioctl(N::kSend, &r), EFAULT);
  EXPECT_EQ(p.events(), 0);
}

TEST_F(DeviceServer, AddressesAreTheInterfacesAndTimingIsTheFiles) {
  add_interface();
  serve(options());
  Program a(open()), b(open());
  uint32_t value = 0x44;
  EXPECT_EQ(a.ioctl(N::kSetMyAddress, &value), 0);
  value = 0;
  EXPECT_EQ(b.ioctl(N::kGetMyAddress, &value), 0);
  EXPECT_EQ(value, 0x44u);
  value = 7;
  EXPECT_EQ(b.ioctl(N::kSetMyLun, &value), 0);
  EXPECT_EQ(a.ioctl(N::kGetMyLun, &value), 0);
  EXPECT_EQ(value, 3u);
  ChannelValue channel{5, 0x66, 0};
  EXPECT_EQ(a.ioctl(N::kSetMyChannelAddress, &channel), 0);
  channel.value = 0;
  EXPECT_EQ(b.ioctl(N::kGetMyChannelAddress, &channel), 0);
  EXPECT_EQ(channel.value, 0x66);
  channel = {16, 1, 0};
  EXPECT_EQ(a.ioctl(N::kSetMyChannelAddress, &channel), EINVAL);
  EXPECT_EQ(a.ioctl(N::kGetMyChannelLun, &channel), EINVAL);
  channel.channel = 0x100;
  EXPECT_EQ(a.ioctl(N::kSetMyChannelLun, &channel), EINVAL);

  TimingParameters timing{3, 4};
  EXPECT_EQ(b.ioctl(N::kGetTiming, &timing), 0);
  EXPECT_EQ(timing.retries, -1);
  EXPECT_EQ(timing.retry_time_ms, 0u);
  timing = {7, 9000};
  EXPECT_EQ(a.ioctl(N::kSetTiming, &timing), 0);
  TimingParameters other{};
  EXPECT_EQ(a.ioctl(N::kGetTiming, &other), 0);
  EXPECT_EQ(other.retries, 7);
  EXPECT_EQ(other.retry_time_ms, 9000u);
  EXPECT_EQ(b.ioctl(N::kGetTiming, &other), 0);
  EXPECT_EQ(other.retries, -1);
}

TEST_F(DeviceServer, CommandsGoToWhoRegisteredThem) {
  auto smi = add_interface();
  serve(options());
  Program a(open()), b(open());
  CommandSpec spec{0x2c, 0x01};
  EXPECT_EQ(a.ioctl(N::kRegister, &spec), 0);
  EXPECT_EQ(b.ioctl(N::kRegister, &spec), EBUSY);
  CommandSpecChannels some{0x2c, 0x02, 1u << 0};
  EXPECT_EQ(b.ioctl(N::kRegisterChannels, &some), 0);
  some.channels = 1u << 1;
  EXPECT_EQ(a.ioctl(N::kRegisterChannels, &some), 0);
  // From 0x22 on channel 0: NetFn 0x2c, sequence 5.
  smi->bring_message({0x00, 0xb0, 0x30, 0x22, 0x14, 0x01, 0xaa, 0x00});
  ASSERT_TRUE(a.wait_readable());
  ASSERT_EQ(a.receive(), 0);
  EXPECT_EQ(a.got.recv_type, 3);
  EXPECT_EQ(a.got.msgid, 5);
  EXPECT_EQ(a.got.msg.netfn, 0x2c);
  EXPECT_EQ(a.received(), Bytes{0xaa});
  EXPECT_EQ(a.address[6], 0x22);
  smi->bring_message({0x00, 0xb0, 0x30, 0x22, 0x18, 0x02, 0x00});
  ASSERT_TRUE(b.wait_readable());
  ASSERT_EQ(b.receive(), 0);
  EXPECT_EQ(b.got.msgid, 6);
  EXPECT_EQ(a.receive(), EAGAIN);
  EXPECT_EQ(a.ioctl(N::kUnregister, &spec), 0);
  EXPECT_EQ(a.ioctl(N::kUnregister, &spec), ENOENT);
}

TEST_F(DeviceServer, EventsGoToEveryoneWhoWantsThemAndThoseThatWaitedToTheFirst) {
  auto smi = add_interface();
  serve(options());
  Program a(open()), b(open());
  smi->bring_event(0x11);
  int32_t on = 5;
  EXPECT_EQ(a.ioctl(N::kSetGetsEvents, &on), 0);
  ASSERT_TRUE(a.wait_readable());
  ASSERT_EQ(a.receive(), 0);
  EXPECT_EQ(a.got.recv_type, 2);
  EXPECT_EQ(a.got.msg.netfn, 7);
  EXPECT_EQ(a.got.msg.cmd, 0x35);
  EXPECT_EQ(a.received(), Bytes(16, 0x11));
  EXPECT_EQ(b.ioctl(N::kSetGetsEvents, &on), 0);
  smi->bring_event(0x22);
  ASSERT_TRUE(a.wait_readable());
  ASSERT_TRUE(b.wait_readable());
  EXPECT_EQ(a.receive(), 0);
  EXPECT_EQ(b.receive(), 0);
  int32_t off = 0;
  EXPECT_EQ(a.ioctl(N::kSetGetsEvents, &off), 0);
  smi->bring_event(0x33);
  ASSERT_TRUE(b.wait_readable());
  EXPECT_EQ(a.receive(), EAGAIN);
}

TEST_F(DeviceServer, MaintenanceModeIsReadAndSet) {
  add_interface();
  serve(options());
  Program p(open());
  int32_t mode = 9;
  EXPECT_EQ(p.ioctl(N::kGetMaintenanceMode, &mode), 0);
  EXPECT_EQ(mode, 0);
  for (int32_t wanted : {2, 1, 0}) {
    EXPECT_EQ(p.ioctl(N::kSetMaintenanceMode, &wanted), 0);
    EXPECT_EQ(p.ioctl(N::kGetMaintenanceMode, &mode), 0);
    EXPECT_EQ(mode, wanted);
  }
  for (int32_t wrong : {3, -1, 256}) EXPECT_EQ(p.ioctl(N::kSetMaintenanceMode, &wrong), EINVAL);
}

TEST_F(DeviceServer, AnInterfaceThatGoesAwayIsEnodevAndWorksAgainAfterAReopen) {
  add_interface();
  serve(options());
  Program old(open());
  ASSERT_TRUE(handler_.unregister_smi(0).ok());
  EXPECT_EQ(old.send(1, 6, 1), ENODEV);
  uint32_t value = 0x20;
  EXPECT_EQ(old.ioctl(N::kSetMyAddress, &value), ENODEV);
  EXPECT_EQ(old.receive(), EAGAIN);
  int32_t mode = 0;
  EXPECT_EQ(old.ioctl(N::kGetMaintenanceMode, &mode), 0);
  EXPECT_EQ(mode, -ENODEV);
  EXPECT_EQ(open(), -ENODEV);
  EXPECT_TRUE(failure_.worth_saying);

  add_interface();
  Program fresh(open());
  EXPECT_EQ(old.send(1, 6, 1), ENODEV);
  EXPECT_EQ(fresh.send(1, 6, 1), 0);
  ASSERT_TRUE(fresh.wait_readable());
  EXPECT_EQ(fresh.receive(), 0);
}

TEST_F(DeviceServer, OpensAskForTheirInterfaceOnlyThenAndSayWhyThereIsNone) {
  std::atomic<int> asked{0};
  std::atomic<bool> there{false};
  ServerOptions o = options(2);
  o.attach = [&](unsigned device, Instant) -> Result<Attached> {
    ++asked;
    if (!there) return Error{ErrorCode::kTimeout, "demo/bt: nobody answers"};
    return Attached{&handler_, static_cast<int>(device)};
  };
  serve(std::move(o));
  EXPECT_EQ(asked, 0);
  EXPECT_EQ(open(0), -ENODEV);
  EXPECT_EQ(asked, 1);
  EXPECT_TRUE(failure_.worth_saying);
  EXPECT_NE(std::string(failure_.text).find("/dev/ipmi0: demo/bt: nobody answers"), std::string::npos) << failure_.text;
  EXPECT_EQ(open(2), -ENOENT);
  EXPECT_FALSE(failure_.worth_saying) << "programs count devices that way";
  EXPECT_EQ(asked, 1);
  there = true;
  add_interface();
  EXPECT_GE(open(0), 0);
}

TEST_F(DeviceServer, OneDeviceThatIsSlowToComeHoldsUpNoOther) {
  add_interface();
  add_interface();
  std::mutex m;
  std::condition_variable changed;
  bool go = false;
  ServerOptions o = options(2);
  o.attach = [&](unsigned device, Instant) -> Result<Attached> {
    std::unique_lock lock(m);
    if (device == 0) changed.wait(lock, [&] { return go; });
    return Attached{&handler_, static_cast<int>(device)};
  };
  serve(std::move(o));
  std::vector<std::thread> openers;
  std::atomic<int> opened{0};
  for (int n = 0; n < 5; ++n) {
    openers.emplace_back([&] {
      preload::OpenFailure failure;
      const int fd = preload::open_device(path_.c_str(), 0, O_RDWR, failure);
      if (fd >= 0) ++opened;
      ::close(fd);
    });
  }
  EXPECT_GE(open(1), 0);
  EXPECT_EQ(opened, 0);
  {
    std::lock_guard lock(m);
    go = true;
    changed.notify_all();
  }
  for (auto& thread : openers) thread.join();
  EXPECT_EQ(opened, 5);
}

TEST_F(DeviceServer, WhenTheServerEndsDescriptorsSaySo) {
  add_interface();
  serve(options());
  Program p(open());
  EXPECT_EQ(p.send(1, 6, 1), 0);
  ASSERT_TRUE(p.wait_readable());
  server_.reset();
  EXPECT_TRUE(p.events() & POLLHUP);
  EXPECT_EQ(p.send(2, 6, 1), ENODEV);
  EXPECT_EQ(p.receive(), ENODEV);
  EXPECT_EQ(open(), -ENXIO);
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(DeviceServer, DescriptorsKeepWhatOpenWasAskedFor) {
  add_interface();
  serve(options());
  int fd = open(0, O_RDWR);
  EXPECT_TRUE(preload::is_device(fd));
  EXPECT_EQ(::fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_EQ(::fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
  EXPECT_EQ(::fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
  fd = open(0, O_RDWR | O_CLOEXEC | O_NONBLOCK);
  EXPECT_NE(::fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_NE(::fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
  Program p(fd);
  EXPECT_EQ(p.send(1, 6, 1), 0);
  // A copy is the same file.
  const int copy = ::dup(fd);
  open_.insert(copy);
  close(fd);
  Program q(copy);
  EXPECT_TRUE(preload::is_device(copy));
  ASSERT_TRUE(q.wait_readable());
  EXPECT_EQ(q.receive(), 0);
  EXPECT_FALSE(preload::is_device(0));
  EXPECT_FALSE(preload::is_device(-1));
}

// ---- the socket --------------------------------------------------------------------------------------------------------

TEST_F(DeviceServer, TheSocketIsPrivateAndSoIsAFolderThatWasMissing) {
  path_ = folder_ + "/a/b/s";
  serve(options());
  struct stat seen;
  ASSERT_EQ(::stat(path_.c_str(), &seen), 0);
  EXPECT_EQ(seen.st_mode & 07777, 0600u);
  ASSERT_EQ(::stat((folder_ + "/a/b").c_str(), &seen), 0);
  EXPECT_EQ(seen.st_mode & 07777, 0700u);
}

TEST_F(DeviceServer, AStaleSocketIsReplacedALiveOneIsNot) {
  add_interface();
  serve(options());
  auto second = Server::create(options());
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, ErrorCode::kAlreadyExists);
  EXPECT_NE(second.error().message.find("somebody serves this socket"), std::string::npos) << second.error().message;
  EXPECT_GE(open(), 0);
  server_.reset();

  // What a killed server leaves.
  {
    Fd fd(::socket(AF_UNIX, SOCK_SEQPACKET, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path_.data(), path_.size());
    ASSERT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  serve(options());
  EXPECT_GE(open(), 0);
}

TEST_F(DeviceServer, WhatIsNoSocketIsLeftAlone) {
  Fd file(::open(path_.c_str(), O_CREAT | O_WRONLY, 0600));
  auto server = Server::create(options());
  ASSERT_FALSE(server.ok());
  EXPECT_EQ(server.error().code, ErrorCode::kAlreadyExists);
  EXPECT_TRUE(std::filesystem::is_regular_file(path_));
  for (const std::string& path : {std::string(), std::string(108, 'x')}) {
    ServerOptions o = options();
    o.socket_path = path;
    server = Server::create(std::move(o));
    ASSERT_FALSE(server.ok());
    EXPECT_EQ(server.error().code, ErrorCode::kInvalidArgument);
  }
}

// ---- others than our library -------------------------------------------------------------------------------------------

TEST_F(DeviceServer, ALibraryOfAnotherVersionIsToldSo) {
  add_interface();
  serve(options());
  Fd fd = raw_connection();
  uint8_t packet[kPacketMax];
  Hello hello;
  hello.version = kProtocolVersion + 1;
  ASSERT_TRUE(send_packet(fd.get(), {packet, encode(hello, packet)}));
  const ssize_t got = ::recv(fd.get(), packet, sizeof packet, 0);
  ASSERT_GT(got, 0);
  HelloReply reply;
  ASSERT_TRUE(decode({packet, static_cast<size_t>(got)}, reply));
  EXPECT_EQ(reply.version, kProtocolVersion);
  EXPECT_EQ(reply.error, EPROTO);
  EXPECT_EQ(::recv(fd.get(), packet, sizeof packet, 0), 0);
}

TEST_F(DeviceServer, AServerOfAnotherVersionAndOneThatIsNoneAreNamed) {
  auto listener = listen_on(path_, 0600);
  ASSERT_TRUE(listener.ok());
  for (bool sense : {true, false}) {
    std::thread other([&] {
      pollfd p{listener->fd.get(), POLLIN, 0};
      ASSERT_EQ(::poll(&p, 1, kPatienceMs), 1);
      Fd fd(::accept(listener->fd.get(), nullptr, nullptr));
      uint8_t packet[kPacketMax];
      ASSERT_GT(::recv(fd.get(), packet, sizeof packet, 0), 0);
      HelloReply reply;
      reply.version = kProtocolVersion + 4;
      if (sense) {
        send_packet(fd.get(), {packet, encode(reply, packet)});
      } else {
        send_packet(fd.get(), {packet, 3});
      }
    });
    EXPECT_EQ(open(), -ENXIO);
    other.join();
    EXPECT_TRUE(failure_.worth_saying);
    EXPECT_NE(std::string(failure_.text).find(sense ? "speaks protocol 5" : "not the socket of `host_driver serve`"), std::string::npos)
        << failure_.text;
  }
  listener->remove();
}

TEST_F(DeviceServer, NobodyThereIsSaidInOneLine) {
  EXPECT_EQ(open(), -ENXIO);
  EXPECT_NE(std::string(failure_.text).find(kSocketVariable), std::string::npos);
  EXPECT_NE(std::string(failure_.text).find("host_driver serve"), std::string::npos);
  EXPECT_EQ(std::string(failure_.text).find('\n'), std::string::npos);
}

TEST_F(DeviceServer, MoreFilesThanTheLimitAreRefusedAndOthersWorkOn) {
  add_interface();
  ServerOptions o = options();
  o.opens_max = 3;
  serve(std::move(o));
  Program p(open());
  open();
  open();
  EXPECT_EQ(open(), -ENFILE);
  EXPECT_EQ(p.send(1, 6, 1), 0);
}

TEST_F(DeviceServer, NonsenseEndsOnlyWhoSaidIt) {
  add_interface();
  serve(options());
  Program good(open());
  std::mt19937 random(3);
  for (int n = 0; n < 300; ++n) {
    Fd fd = raw_connection();
    uint8_t packet[kPacketMax * 2];
    if (n % 2) {
      ASSERT_TRUE(send_packet(fd.get(), {packet, encode(Hello{}, std::span<uint8_t, kPacketMax>(packet, kPacketMax))}));
      ASSERT_GT(::recv(fd.get(), packet, sizeof packet, 0), 0);
    }
    // Packets of any size and content, with descriptors or without.
    for (int k = 0; k < 3; ++k) {
      const size_t size = 1 + random() % sizeof packet;
      if (k == 2) {
        Request request;
        request.operation = static_cast<Operation>(1 + random() % 13);
        encode(request, std::span<uint8_t, kPacketMax>(packet, kPacketMax));
      } else {
        for (size_t i = 0; i < size; ++i) packet[i] = static_cast<uint8_t>(random());
        if (random() % 2) packet[0] = static_cast<uint8_t>(random() % 15);
      }
      int passed[3] = {STDERR_FILENO, fd.get(), STDERR_FILENO};
      const size_t count = random() % 4;
      alignas(cmsghdr) char control[CMSG_SPACE(sizeof passed)] = {};
      iovec iov{packet, size};
      msghdr message{};
      message.msg_iov = &iov;
      message.msg_iovlen = 1;
      if (count > 0) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        cmsghdr* c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(count * sizeof(int));
        std::memcpy(CMSG_DATA(c), passed, count * sizeof(int));
      }
      if (::sendmsg(fd.get(), &message, MSG_NOSIGNAL) < 0) break;  // it has had enough
    }
  }
  EXPECT_EQ(good.send(1, 6, 1), 0);
  ASSERT_TRUE(good.wait_readable());
  EXPECT_EQ(good.receive(), 0);
  EXPECT_GT(server_->statistics().protocol_errors, 100u);
  ASSERT_TRUE(wait_open_now(1));
}

TEST_F(DeviceServer, ItEndsWhileProgramsOpenSendAndReceive) {
  add_interface();
  for (int round = 0; round < 10; ++round) {
    serve(options());
    std::atomic<bool> stop{false};
    std::vector<std::thread> programs;
    for (int n = 0; n < 3; ++n) {
      programs.emplace_back([&] {
        while (!stop) {
          preload::OpenFailure failure;
          const int fd = preload::open_device(path_.c_str(), 0, O_RDWR, failure);
          if (fd < 0) continue;
          Program p(fd);
          while (!stop && p.send(1, 6, 1) == 0 && p.wait_readable() && p.receive() == 0) {
          }
          ::close(fd);
        }
      });
    }
    while (server_->statistics().messages_delivered < 30) std::this_thread::yield();
    server_.reset();
    stop = true;
    for (auto& thread : programs) thread.join();
  }
}

}  // namespace
}  // namespace bmcpair::device_node
