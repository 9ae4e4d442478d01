#include "host_driver/device_node/caller.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <deque>
#include <optional>
#include <string>
#include <vector>

namespace bmcpair::device_node {
namespace {

// A program's memory: what is not in it cannot be read, what is read-only cannot be written.
class FakeMemory {
 public:
  static constexpr uint64_t kBase = 0x10000;
  explicit FakeMemory(size_t size = 0x2000) : bytes_(size), writable_until_(size) {}

  bool copy_from(void* to, uint64_t from, size_t size) {
    if (size == 0) return true;
    if (!inside(from, size)) return false;
    std::memcpy(to, &bytes_[from - kBase], size);
    return true;
  }
  bool copy_to(uint64_t to, const void* from, size_t size) {
    if (size == 0) return true;
    if (!inside(to, size) || to - kBase + size > writable_until_) return false;
    std::memcpy(&bytes_[to - kBase], from, size);
    return true;
  }
  template <class T>
  void put(uint64_t at, const T& value) {
    ASSERT_TRUE(inside(at, sizeof value));
    std::memcpy(&bytes_[at - kBase], &value, sizeof value);
  }
  template <class T>
  T get(uint64_t at) {
    T value;
    EXPECT_TRUE(copy_from(&value, at, sizeof value));
    return value;
  }
  void fill(uint64_t at, size_t size, uint8_t value) { std::memset(&bytes_[at - kBase], value, size); }
  void writable_until(uint64_t end) { writable_until_ = end - kBase; }

 private:
  bool inside(uint64_t at, size_t size) const { return at >= kBase && at - kBase <= bytes_.size() && size <= bytes_.size() - (at - kBase); }
  std::vector<uint8_t> bytes_;
  size_t writable_until_;
};

class FakeLink {
 public:
  int transact(const Request& request, Reply& reply) {
    if (gone) return ENODEV;
    requests.push_back(request);
    reply = answer;
    return 0;
  }
  int receive(Reply& reply) {
    if (gone) return ENODEV;
    reply = Reply{};
    if (queue.empty()) {
      reply.error = EAGAIN;
      return 0;
    }
    reply = queue.front();
    return 0;
  }
  int finish(Verdict verdict) {
    verdicts.push_back(verdict);
    if (verdict == Verdict::kTaken) queue.pop_front();
    return finish_error;
  }
  bool gone = false;
  int finish_error = 0;
  std::vector<Request> requests;
  Reply answer;
  std::deque<Reply> queue;
  std::vector<Verdict> verdicts;
};

constexpr uint64_t kArgument = FakeMemory::kBase + 0x100;
constexpr uint64_t kAddressAt = FakeMemory::kBase + 0x200;
constexpr uint64_t kDataAt = FakeMemory::kBase + 0x400;
constexpr uint64_t kNowhere = 0x10;

template <class Abi>
class CallerTest : public ::testing::Test {
 protected:
  using N = IoctlOf<Abi>;
  int ioctl(uint32_t number, uint64_t argument = kArgument) {
    Caller<Abi, FakeMemory, FakeLink> caller(memory, link);
    return caller.ioctl(number, argument);
  }

  RequestOf<Abi> request() {
    RequestOf<Abi> r{};
    r.addr = static_cast<typename Abi::Pointer>(kAddressAt);
    r.addr_len = 8;
    r.msgid = -77;
    r.msg.netfn = 6;
    r.msg.cmd = 1;
    r.msg.data = static_cast<typename Abi::Pointer>(kDataAt);
    r.msg.data_len = 3;
    memory.fill(kAddressAt, 8, 0x0c);
    memory.fill(kDataAt, 3, 0xd5);
    return r;
  }

  // A message of `size` data bytes at the head, and a structure with room for it.
  ReceivedOf<Abi> receive(size_t size, uint32_t address_room = 40, uint16_t data_room = 300) {
    Reply m;
    m.recv_type = 1;
    m.netfn = 7;
    m.cmd = 1;
    m.msgid = -5;
    m.address_size = 8;
    std::memset(m.address, 0x0c, 8);
    m.data_size = static_cast<uint16_t>(size);
    for (size_t i = 0; i < size; ++i) m.data[i] = static_cast<uint8_t>(i + 1);
    link.queue.push_back(m);
    ReceivedOf<Abi> out{};
    out.addr = static_cast<typename Abi::Pointer>(kAddressAt);
    out.addr_len = address_room;
    out.msg.data = static_cast<typename Abi::Pointer>(kDataAt);
    out.msg.data_len = data_room;
    memory.put(kArgument, out);
    memory.fill(kDataAt, 600, 0xee);
    return out;
  }
  ReceivedOf<Abi> received() { return memory.get<ReceivedOf<Abi>>(kArgument); }

  FakeMemory memory;
  FakeLink link;
};
using Abis = ::testing::Types<Abi64, Abi32>;
class AbiNames {
 public:
  template <class Abi>
  static std::string GetName(int) {
    return sizeof(typename Abi::Pointer) == 8 ? "64" : "32";
  }
};
TYPED_TEST_SUITE(CallerTest, Abis, AbiNames);

TYPED_TEST(CallerTest, SendCarriesAddressDataAndMessageId) {
  this->memory.put(kArgument, this->request());
  EXPECT_EQ(this->ioctl(TestFixture::N::kSend), 0);
  ASSERT_EQ(this->link.requests.size(), 1u);
  const Request& r = this->link.requests[0];
  EXPECT_EQ(r.operation, Operation::kSend);
  EXPECT_EQ(r.msgid, -77);
  EXPECT_EQ(r.netfn, 6);
  EXPECT_EQ(r.cmd, 1);
  EXPECT_EQ(r.address_size, 8);
  EXPECT_EQ(r.address[7], 0x0c);
  EXPECT_EQ(r.data_size, 3);
  EXPECT_EQ(r.data[2], 0xd5);
  EXPECT_EQ(r.data_state, DataState::kGood);
  EXPECT_FALSE(r.timed);
}

TYPED_TEST(CallerTest, TimedSendCarriesItsOwnTiming) {
  TimedRequestOf<TypeParam> timed{};
  timed.req = this->request();
  timed.retries = -3;
  timed.retry_time_ms = 4000;
  this->memory.put(kArgument, timed);
  EXPECT_EQ(this->ioctl(TestFixture::N::kSendTimed), 0);
  ASSERT_EQ(this->link.requests.size(), 1u);
  EXPECT_TRUE(this->link.requests[0].timed);
  EXPECT_EQ(this->link.requests[0].retries, -3);
  EXPECT_EQ(this->link.requests[0].retry_time_ms, 4000u);
}

TYPED_TEST(CallerTest, SendSaysWhatIsWrongInLinuxsOrder) {
  EXPECT_EQ(this->ioctl(TestFixture::N::kSend, kNowhere), EFAULT);
  auto r = this->request();
  r.addr_len = 41;
  r.addr = kNowhere;
  this->memory.put(kArgument, r);
  EXPECT_EQ(this->ioctl(TestFixture::N::kSend), EINVAL) << "the address's length comes before its place";
  r.addr_len = 40;
  this->memory.put(kArgument, r);
  EXPECT_EQ(this->ioctl(TestFixture::N::kSend), EFAULT);
  EXPECT_TRUE(this->link.requests.empty());

  // What is wrong with the data is said by who knows whether the address is good.
  r = this->request();
  r.msg.data_len = 273;
  this->memory.put(kArgument, r);
  EXPECT_EQ(this->ioctl(TestFixture::N::kSend), 0);
  r.msg.data_len = 272;
  r.msg.data = kNowhere;
  this->memory.put(kArgument, r);
  EXPECT_EQ(this->ioctl(TestFixture::N::kSend), 0);
  ASSERT_EQ(this->link.requests.size(), 2u);
  EXPECT_EQ(this->link.requests[0].data_state, DataState::kTooLong);
  EXPECT_EQ(this->link.requests[1].data_state, DataState::kFault);
}

TYPED_TEST(CallerTest, ANullDataPointerMeansNoDataWhateverTheLength) {
  auto r = this->request();
  r.msg.data = 0;
  r.msg.data_len = 0xffff;
  this->memory.put(kArgument, r);
  EXPECT_EQ(this->ioctl(TestFixture::N::kSend), 0);
  ASSERT_EQ(this->link.requests.size(), 1u);
  EXPECT_EQ(this->link.requests[0].data_size, 0);
  EXPECT_EQ(this->link.requests[0].data_state, DataState::kGood);
}

TYPED_TEST(CallerTest, ReceiveFillsTheStructureAndTakesTheMessage) {
  this->receive(20);
  EXPECT_EQ(this->ioctl(TestFixture::N::kReceive), 0);
  const auto out = this->received();
  EXPECT_EQ(out.recv_type, 1);
  EXPECT_EQ(out.addr_len, 8u);
  EXPECT_EQ(out.msgid, -5);
  EXPECT_EQ(out.msg.netfn, 7);
  EXPECT_EQ(out.msg.cmd, 1);
  EXPECT_EQ(out.msg.data_len, 20);
  EXPECT_EQ(this->memory.template get<uint8_t>(kDataAt + 19), 20);
  EXPECT_EQ(this->memory.template get<uint8_t>(kDataAt + 20), 0xee) << "nothing is written beyond the data";
  EXPECT_EQ(this->memory.template get<uint8_t>(kAddressAt + 7), 0x0c);
  EXPECT_TRUE(this->link.queue.empty());
}

TYPED_TEST(CallerTest, ReceiveFromAnEmptyQueueIsEagain) {
  this->receive(1);
  this->link.queue.clear();
  EXPECT_EQ(this->ioctl(TestFixture::N::kReceive), EAGAIN);
  EXPECT_EQ(this->ioctl(TestFixture::N::kReceiveTruncated), EAGAIN);
  EXPECT_TRUE(this->link.verdicts.empty());
}

TYPED_TEST(CallerTest, TooLittleRoomForTheAddressIsEinvalAndTheMessageStays) {
  this->receive(4, 7);
  for (uint32_t number : {TestFixture::N::kReceive, TestFixture::N::kReceiveTruncated}) EXPECT_EQ(this->ioctl(number), EINVAL);
  EXPECT_EQ(this->link.queue.size(), 1u);
  EXPECT_EQ(this->link.verdicts, (std::vector<Verdict>{Verdict::kLeft, Verdict::kLeft}));
}

TYPED_TEST(CallerTest, TooLittleRoomForTheDataIsEmsgsizeAndOnlyTruncTakesTheMessage) {
  this->receive(20, 40, 5);
  EXPECT_EQ(this->ioctl(TestFixture::N::kReceive), EMSGSIZE);
  EXPECT_EQ(this->link.queue.size(), 1u);
  EXPECT_EQ(this->memory.template get<uint8_t>(kDataAt), 0xee);

  EXPECT_EQ(this->ioctl(TestFixture::N::kReceiveTruncated), EMSGSIZE);
  EXPECT_TRUE(this->link.queue.empty());
  const auto out = this->received();
  EXPECT_EQ(out.msg.data_len, 5);
  EXPECT_EQ(out.recv_type, 1);
  EXPECT_EQ(out.addr_len, 8u);
  EXPECT_EQ(this->memory.template get<uint8_t>(kDataAt + 4), 5);
  EXPECT_EQ(this->memory.template get<uint8_t>(kDataAt + 5), 0xee);
}

TYPED_TEST(CallerTest, AFaultAnywhereIsEfaultAndTheMessageStays) {
  auto out = this->receive(20);
  EXPECT_EQ(this->ioctl(TestFixture::N::kReceive, kNowhere), EFAULT);
  EXPECT_TRUE(this->link.verdicts.empty());

  out.addr = kNowhere;
  this->memory.put(kArgument, out);
  EXPECT_EQ(this->ioctl(TestFixture::N::kReceive), EFAULT);

  out.addr = static_cast<typename TypeParam::Pointer>(kAddressAt);
  out.msg.data = kNowhere;
  this->memory.put(kArgument, out);
  EXPECT_EQ(this->ioctl(TestFixture::N::kReceiveTruncated), EFAULT);

  // The structure itself can be read, but not written.
  out.addr = static_cast<typename TypeParam::Pointer>(FakeMemory::kBase);
  out.msg.data = static_cast<typename TypeParam::Pointer>(FakeMemory::kBase + 0x40);
  this->memory.put(kArgument, out);
  this->memory.writable_until(kArgument);
  EXPECT_EQ(this->ioctl(TestFixture::N::kReceiveTruncated), EFAULT);
  EXPECT_EQ(this->link.queue.size(), 1u);
  EXPECT_EQ(this->link.verdicts, (std::vector<Verdict>(3, Verdict::kLeft)));
}

TYPED_TEST(CallerTest, NoDataNeedsNoPlaceForIt) {
  auto out = this->receive(0);
  out.msg.data = 0;
  out.msg.data_len = 0;
  this->memory.put(kArgument, out);
  EXPECT_EQ(this->ioctl(TestFixture::N::kReceive), 0);
  EXPECT_EQ(this->received().msg.data_len, 0);
}

TYPED_TEST(CallerTest, WhoHasTheMessageHasItAlsoWhenTheServerEndsThen) {
  this->receive(3);
  this->link.finish_error = ENODEV;
  EXPECT_EQ(this->ioctl(TestFixture::N::kReceive), 0);
  this->receive(3, 4);
  EXPECT_EQ(this->ioctl(TestFixture::N::kReceive), ENODEV);
}

TYPED_TEST(CallerTest, CommandsAreRegisteredForAllChannelsOrForSome) {
  this->memory.put(kArgument, CommandSpec{6, 1});
  EXPECT_EQ(this->ioctl(TestFixture::N::kRegister), 0);
  EXPECT_EQ(this->ioctl(TestFixture::N::kUnregister), 0);
  this->memory.put(kArgument, CommandSpecChannels{0x106, 0x201, 0x8001});
  EXPECT_EQ(this->ioctl(TestFixture::N::kRegisterChannels), 0);
  EXPECT_EQ(this->ioctl(TestFixture::N::kUnregisterChannels), 0);
  ASSERT_EQ(this->link.requests.size(), 4u);
  EXPECT_EQ(this->link.requests[0].operation, Operation::kRegister);
  EXPECT_EQ(this->link.requests[0].channels, 0xffffffff);
  EXPECT_EQ(this->link.requests[1].operation, Operation::kUnregister);
  EXPECT_EQ(this->link.requests[2].netfn, 6);
  EXPECT_EQ(this->link.requests[2].cmd, 1);
  EXPECT_EQ(this->link.requests[3].channels, 0x8001u);
}

TYPED_TEST(CallerTest, NumbersGoBothWays) {
  struct Row {
    uint32_t set, get;
    Operation set_operation, get_operation;
  };
  for (const Row& row :
       {Row{TestFixture::N::kSetMyAddress, TestFixture::N::kGetMyAddress, Operation::kSetMyAddress, Operation::kGetMyAddress},
        Row{TestFixture::N::kSetMyLun, TestFixture::N::kGetMyLun, Operation::kSetMyLun, Operation::kGetMyLun},
        Row{TestFixture::N::kSetMaintenanceMode, TestFixture::N::kGetMaintenanceMode, Operation::kSetMaintenanceMode,
            Operation::kGetMaintenanceMode}}) {
    this->link.requests.clear();
    this->memory.put(kArgument, uint32_t{0x80000002});
    EXPECT_EQ(this->ioctl(row.set), 0);
    this->link.answer.value = 0xffffffed;
    EXPECT_EQ(this->ioctl(row.get), 0);
    EXPECT_EQ(this->memory.template get<uint32_t>(kArgument), 0xffffffed);
    ASSERT_EQ(this->link.requests.size(), 2u);
    EXPECT_EQ(this->link.requests[0].operation, row.set_operation);
    EXPECT_EQ(this->link.requests[0].value, 0x80000002);
    EXPECT_EQ(this->link.requests[0].channel, 0);
    EXPECT_EQ(this->link.requests[1].operation, row.get_operation);
    EXPECT_EQ(this->ioctl(row.set, kNowhere), EFAULT);
    EXPECT_EQ(this->ioctl(row.get, kNowhere), EFAULT);
    this->link.answer.error = EINVAL;
    EXPECT_EQ(this->ioctl(row.get), EINVAL);
    this->link.answer = {};
  }
}

TYPED_TEST(CallerTest, ChannelNumbersGoBothWays) {
  this->memory.put(kArgument, ChannelValue{3, 0x42, 0x99});
  EXPECT_EQ(this->ioctl(TestFixture::N::kSetMyChannelAddress), 0);
  EXPECT_EQ(this->ioctl(TestFixture::N::kSetMyChannelLun), 0);
  this->link.answer.value = 0x21;
  EXPECT_EQ(this->ioctl(TestFixture::N::kGetMyChannelAddress), 0);
  const auto out = this->memory.template get<ChannelValue>(kArgument);
  EXPECT_EQ(out.channel, 3);
  EXPECT_EQ(out.value, 0x21);
  EXPECT_EQ(out.padding, 0x99);
  EXPECT_EQ(this->ioctl(TestFixture::N::kGetMyChannelLun), 0);
  ASSERT_EQ(this->link.requests.size(), 4u);
  EXPECT_EQ(this->link.requests[0].channel, 3);
  EXPECT_EQ(this->link.requests[0].value, 0x42u);
  EXPECT_EQ(this->link.requests[1].operation, Operation::kSetMyLun);
  EXPECT_EQ(this->link.requests[3].operation, Operation::kGetMyLun);
}

TYPED_TEST(CallerTest, TimingParametersGoBothWays) {
  this->memory.put(kArgument, TimingParameters{-1, 250});
  EXPECT_EQ(this->ioctl(TestFixture::N::kSetTiming), 0);
  EXPECT_EQ(this->link.requests.at(0).retries, -1);
  EXPECT_EQ(this->link.requests.at(0).retry_time_ms, 250u);
  this->link.answer.retries = 9;
  this->link.answer.retry_time_ms = 8;
  EXPECT_EQ(this->ioctl(TestFixture::N::kGetTiming), 0);
  EXPECT_EQ(this->memory.template get<TimingParameters>(kArgument).retries, 9);
  EXPECT_EQ(this->memory.template get<TimingParameters>(kArgument).retry_time_ms, 8u);
}

TYPED_TEST(CallerTest, WhatIsNoneOfTheseIsEnotty) {
  using Other = IoctlOf<std::conditional_t<sizeof(typename TypeParam::Pointer) == 8, Abi32, Abi64>>;
  for (uint32_t number : {uint32_t{0x6900}, ioctl_number(Direction::kRead, 32, 4), Other::kSend, Other::kReceive,
                          Other::kReceiveTruncated, Other::kSendTimed, TestFixture::N::kSend ^ 0xc0000000}) {
    EXPECT_EQ(this->ioctl(number), ENOTTY) << std::hex << number;
  }
  EXPECT_TRUE(this->link.requests.empty());
}

TYPED_TEST(CallerTest, WithoutAServerEveryCallIsEnodev) {
  this->memory.put(kArgument, this->request());
  this->link.gone = true;
  using I = IoctlOf<TypeParam>;
  for (uint32_t number : {I::kSend, I::kReceive, I::kReceiveTruncated, I::kSetGetsEvents, I::kGetMyAddress, I::kSetTiming,
                          I::kRegister, I::kGetMaintenanceMode}) {
    EXPECT_EQ(this->ioctl(number), ENODEV) << std::hex << number;
  }
}

}  // namespace
}  // namespace bmcpair::device_node
