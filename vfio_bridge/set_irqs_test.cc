// VFIO_USER_DEVICE_SET_IRQS against the bytes, and INTx's contract (reference vfio_user_qemu.md §4).
#include <cerrno>

#include "vfio_bridge/protocol_fixture.h"

namespace bmcpair::vfio_bridge::testing {
namespace {

constexpr uint32_t kEinval = EINVAL;
constexpr uint32_t kNone = 1, kBool = 2, kEventfd = 4, kMask = 8, kUnmask = 16, kTrigger = 32;

class SetIrqsTest : public ProtocolTest {
 protected:
  void enable(Client& c, const Event& e) {
    EXPECT_TRUE(c.ok(kSetIrqsCmd, Client::irqs(kEventfd | kTrigger, 0, 0, 1), {e.fd()}).empty());
  }
  void unmask(Client& c) { c.ok(kSetIrqsCmd, Client::irqs(kNone | kUnmask, 0, 0, 1)); }
  void mask(Client& c) { c.ok(kSetIrqsCmd, Client::irqs(kNone | kMask, 0, 0, 1)); }
  void disable(Client& c) { c.ok(kSetIrqsCmd, Client::irqs(kNone | kTrigger, 0, 0, 0)); }
};

TEST_F(SetIrqsTest, ARisingLineSignalsOnce) {
  start();
  Client c = greeted();
  Event e;
  enable(c, e);
  EXPECT_EQ(e.take(), 0u);
  registers().set_line(true);
  EXPECT_EQ(e.take(), 1u);
  registers().set_line(true);
  registers().set_line(false);
  EXPECT_EQ(e.take(), 0u) << "a line that stays or falls does not signal";
}

TEST_F(SetIrqsTest, TheInterruptIsMaskedFromItsSignalUntilUnmask) {
  start();
  Client c = greeted();
  Event e;
  enable(c, e);
  registers().set_line(true);
  EXPECT_EQ(e.take(), 1u);
  for (int i = 0; i < 3; ++i) {
    registers().set_line(false);
    registers().set_line(true);
  }
  EXPECT_EQ(e.take(), 0u) << "rises while masked do not signal";
}

TEST_F(SetIrqsTest, UnmaskWithTheLineStillHighSignalsAgain) {
  start();
  Client c = greeted();
  Event e;
  enable(c, e);
  registers().set_line(true);
  EXPECT_EQ(e.take(), 1u);
  unmask(c);
  EXPECT_EQ(e.take(), 1u);
  unmask(c);
  EXPECT_EQ(e.take(), 1u);
  EXPECT_EQ(server_->statistics().interrupts, 3u);
  EXPECT_EQ(server_->statistics().unmasks, 2u);
}

TEST_F(SetIrqsTest, UnmaskWithTheLineLowDoesNotSignalAndTheNextRiseDoes) {
  start();
  Client c = greeted();
  Event e;
  enable(c, e);
  registers().set_line(true);
  EXPECT_EQ(e.take(), 1u);
  registers().set_line(false);
  unmask(c);
  EXPECT_EQ(e.take(), 0u);
  registers().set_line(true);
  EXPECT_EQ(e.take(), 1u);
}

TEST_F(SetIrqsTest, MaskHoldsTheInterruptBackUntilUnmask) {
  start();
  Client c = greeted();
  Event e;
  enable(c, e);
  mask(c);
  registers().set_line(true);
  EXPECT_EQ(e.take(), 0u);
  unmask(c);
  EXPECT_EQ(e.take(), 1u);
}

TEST_F(SetIrqsTest, BooleansChooseWhetherTheActionIsDone) {
  start();
  Client c = greeted();
  Event e;
  enable(c, e);
  c.ok(kSetIrqsCmd, Client::irqs(kBool | kMask, 0, 0, 1, {0}));
  registers().set_line(true);
  EXPECT_EQ(e.take(), 1u) << "false: not masked";
  c.ok(kSetIrqsCmd, Client::irqs(kBool | kUnmask, 0, 0, 1, {0}));
  EXPECT_EQ(e.take(), 0u) << "false: not unmasked";
  c.ok(kSetIrqsCmd, Client::irqs(kBool | kUnmask, 0, 0, 1, {1}));
  EXPECT_EQ(e.take(), 1u);
  registers().set_line(false);
  c.ok(kSetIrqsCmd, Client::irqs(kBool | kTrigger, 0, 0, 1, {0}));
  EXPECT_EQ(e.take(), 0u);
  c.ok(kSetIrqsCmd, Client::irqs(kBool | kTrigger, 0, 0, 1, {1}));
  EXPECT_EQ(e.take(), 1u);
}

TEST_F(SetIrqsTest, AClientCanTriggerItsOwnInterrupt) {
  start();
  Client c = greeted();
  Event e;
  enable(c, e);
  c.ok(kSetIrqsCmd, Client::irqs(kNone | kTrigger, 0, 0, 1));
  EXPECT_EQ(e.take(), 1u);
}

TEST_F(SetIrqsTest, AReplacedEventfdIsClosedAndTheNewOneIsSignalled) {
  start();
  Client c = greeted();
  Event first;
  enable(c, first);
  Event second;
  size_t before = open_descriptors();
  enable(c, second);
  EXPECT_EQ(open_descriptors(), before);
  registers().set_line(true);
  EXPECT_EQ(first.take(), 0u);
  EXPECT_EQ(second.take(), 1u);
}

TEST_F(SetIrqsTest, AnEventfdGivenWhileTheLineIsHighIsSignalledAtOnce) {
  start();
  Client c = greeted();
  registers().set_line(true);
  Event e;
  enable(c, e);
  EXPECT_EQ(e.take(), 1u);
  Event other;
  enable(c, other);
  EXPECT_EQ(other.take(), 1u) << "who waits on the new one has seen nothing yet";
}

TEST_F(SetIrqsTest, DisablingClosesTheEventfdAndReenablingWorks) {
  start();
  Client c = greeted();
  c.expect_silence_then_alive();
  Event e;
  size_t before = open_descriptors();
  enable(c, e);
  EXPECT_EQ(open_descriptors(), before + 1);
  disable(c);
  EXPECT_EQ(open_descriptors(), before);
  registers().set_line(true);
  EXPECT_EQ(e.take(), 0u);
  disable(c);
  enable(c, e);
  EXPECT_EQ(e.take(), 1u);
}

TEST_F(SetIrqsTest, AnEventfdRequestWithoutDescriptorDeassigns) {
  start();
  Client c = greeted();
  Event e;
  enable(c, e);
  size_t before = open_descriptors();
  c.ok(kSetIrqsCmd, Client::irqs(kEventfd | kTrigger, 0, 0, 1));
  EXPECT_EQ(open_descriptors(), before - 1);
  registers().set_line(true);
  EXPECT_EQ(e.take(), 0u);
}

TEST_F(SetIrqsTest, UnmaskBeforeAnyEventfdIsHarmless) {
  start();
  Client c = greeted();
  registers().set_line(true);
  unmask(c);
  Event e;
  enable(c, e);
  EXPECT_EQ(e.take(), 1u);
}

TEST_F(SetIrqsTest, AFullEventfdDoesNotBlockThePort) {
  start();
  Client c = greeted();
  UniqueFd full(::eventfd(0, EFD_CLOEXEC));  // blocking, as a careless client's may be
  uint64_t most = UINT64_MAX - 1;
  ASSERT_EQ(::write(full.get(), &most, sizeof most), 8);
  c.ok(kSetIrqsCmd, Client::irqs(kEventfd | kTrigger, 0, 0, 1), {full.get()});
  registers().set_line(true);
  c.expect_silence_then_alive();
}

TEST_F(SetIrqsTest, AnUnmaskEventfdUnmasksAsTheMessageDoes) {
  start();
  Client c = greeted();
  Event e;
  Event resample;
  enable(c, e);
  c.ok(kSetIrqsCmd, Client::irqs(kEventfd | kUnmask, 0, 0, 1), {resample.fd()});
  registers().set_line(true);
  ASSERT_TRUE(e.wait());
  resample.signal();
  EXPECT_TRUE(e.wait()) << "the line is still high";
  c.expect_silence_then_alive();
  c.ok(kSetIrqsCmd, Client::irqs(kEventfd | kUnmask, 0, 0, 1));
  resample.signal();
  c.expect_silence_then_alive();
  EXPECT_EQ(e.take(), 0u) << "taken away";
}

TEST_F(SetIrqsTest, ErrTakesAnEventfdAndGivesItBack) {
  start();
  Client c = greeted();
  c.expect_silence_then_alive();
  Event e;
  size_t before = open_descriptors();
  c.ok(kSetIrqsCmd, Client::irqs(kEventfd | kTrigger, 3, 0, 1), {e.fd()});
  EXPECT_EQ(open_descriptors(), before + 1);
  c.ok(kSetIrqsCmd, Client::irqs(kEventfd | kTrigger, 3, 0, 1), {e.fd()});
  EXPECT_EQ(open_descriptors(), before + 1);
  c.ok(kSetIrqsCmd, Client::irqs(kNone | kTrigger, 3, 0, 0));
  EXPECT_EQ(open_descriptors(), before);
  EXPECT_EQ(e.take(), 0u);
}

TEST_F(SetIrqsTest, IntxDisableInTheCommandRegisterHoldsTheInterruptBack) {
  start();
  Client c = greeted();
  Event e;
  enable(c, e);
  c.write_region(7, 4, {0x01, 0x04});
  registers().set_line(true);
  EXPECT_EQ(e.take(), 0u);
  EXPECT_EQ(c.read_region(7, 6, 1)[0] & 0x08, 0x08) << "Status says that the line is asserted";
  c.write_region(7, 4, {0x01, 0x00});
  EXPECT_EQ(e.take(), 1u);
}

TEST_F(SetIrqsTest, BadIndexAndRangeAreRefused) {
  start();
  Client c = greeted();
  EXPECT_EQ(c.fails(kSetIrqsCmd, Client::irqs(kNone | kUnmask, 5, 0, 1)), kEinval);
  EXPECT_EQ(c.fails(kSetIrqsCmd, Client::irqs(kNone | kUnmask, 0xffffffff, 0, 1)), kEinval);
  EXPECT_EQ(c.fails(kSetIrqsCmd, Client::irqs(kNone | kUnmask, 0, 1, 1)), kEinval);
  EXPECT_EQ(c.fails(kSetIrqsCmd, Client::irqs(kNone | kUnmask, 0, 0, 2)), kEinval);
  EXPECT_EQ(c.fails(kSetIrqsCmd, Client::irqs(kNone | kUnmask, 0, 0xffffffff, 1)), kEinval);
  EXPECT_EQ(c.fails(kSetIrqsCmd, Client::irqs(kNone | kUnmask, 0, 0xffffffff, 2)), kEinval) << "wraps to 1";
  EXPECT_EQ(c.fails(kSetIrqsCmd, Client::irqs(kNone | kTrigger, 1, 0, 1)), kEinval) << "there is no MSI";
  EXPECT_EQ(c.fails(kSetIrqsCmd, Client::irqs(kNone | kMask, 3, 0, 1)), kEinval) << "ERR cannot be masked";
}

TEST_F(SetIrqsTest, ACountOfZeroIsForDisablingAlone) {
  start();
  Client c = greeted();
  for (uint32_t index = 0; index < 5; ++index) c.ok(kSetIrqsCmd, Client::irqs(kNone | kTrigger, index, 0, 0));
  EXPECT_EQ(c.fails(kSetIrqsCmd, Client::irqs(kNone | kMask, 0, 0, 0)), kEinval);
  EXPECT_EQ(c.fails(kSetIrqsCmd, Client::irqs(kNone | kTrigger, 0, 1, 0)), kEinval);
  EXPECT_EQ(c.fails(kSetIrqsCmd, Client::irqs(kEventfd | kTrigger, 0, 0, 0)), kEinval);
  EXPECT_EQ(c.fails(kSetIrqsCmd, Client::irqs(kBool | kTrigger, 0, 0, 0)), kEinval);
}

TEST_F(SetIrqsTest, EveryCombinationOfFlagsThatIsNotOneDataAndOneActionIsRefused) {
  start();
  Client c = greeted();
  for (uint32_t flags = 0; flags < 128; ++flags) {
    uint32_t data = flags & 7;
    uint32_t action = flags & 0x38;
    bool legal =
        (data == kNone || data == kBool) && (action == kMask || action == kUnmask || action == kTrigger) && flags < 64;
    if (data == kEventfd) continue;  // has tests of its own
    Bytes p = Client::irqs(flags, 0, 0, 1, (flags & kBool) ? Bytes{1} : Bytes{});
    if (legal) {
      c.ok(kSetIrqsCmd, p);
    } else {
      EXPECT_EQ(c.fails(kSetIrqsCmd, p), kEinval) << flags;
    }
  }
  EXPECT_EQ(c.fails(kSetIrqsCmd, Client::irqs(kNone | kUnmask | 0x80000000, 0, 0, 1)), kEinval);
}

TEST_F(SetIrqsTest, BadSizesAreRefused) {
  start();
  Client c = greeted();
  Bytes whole = Client::irqs(kNone | kUnmask, 0, 0, 1);
  for (size_t n : {0, 1, 4, 19, 21, 40}) {
    Bytes p = whole;
    p.resize(n);
    EXPECT_EQ(c.fails(kSetIrqsCmd, p), kEinval) << n;
  }
  EXPECT_EQ(c.fails(kSetIrqsCmd, Client::irqs(kNone | kUnmask, 0, 0, 1, {1})), kEinval) << "data where none belongs";
  EXPECT_EQ(c.fails(kSetIrqsCmd, Client::irqs(kBool | kUnmask, 0, 0, 1)), kEinval) << "no data";
  EXPECT_EQ(c.fails(kSetIrqsCmd, Client::irqs(kBool | kUnmask, 0, 0, 1, {1, 1})), kEinval) << "too much data";
  Bytes wrong_argsz = whole;
  wrong_argsz[0] = 24;
  EXPECT_EQ(c.fails(kSetIrqsCmd, wrong_argsz), kEinval);
}

TEST_F(SetIrqsTest, BadDescriptorsAreRefusedAndClosed) {
  start();
  Client c = greeted();
  c.expect_silence_then_alive();
  Event e;
  UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  size_t before = open_descriptors();
  EXPECT_EQ(c.fails(kSetIrqsCmd, Client::irqs(kEventfd | kTrigger, 0, 0, 1), {e.fd(), e.fd()}), kEinval)
      << "two for one";
  EXPECT_EQ(c.fails(kSetIrqsCmd, Client::irqs(kEventfd | kTrigger, 0, 0, 1), std::vector<int>(253, e.fd())), kEinval);
  EXPECT_EQ(c.fails(kSetIrqsCmd, Client::irqs(kEventfd | kTrigger, 0, 0, 1), {null.get()}), kEinval) << "no eventfd";
  EXPECT_EQ(c.fails(kSetIrqsCmd, Client::irqs(kNone | kUnmask, 0, 0, 1), {e.fd()}), kEinval) << "none expected";
  EXPECT_EQ(c.fails(kSetIrqsCmd, Client::irqs(kEventfd | kMask, 0, 0, 1), {e.fd()}), kEinval) << "not supported";
  EXPECT_EQ(open_descriptors(), before);
}

TEST_F(SetIrqsTest, EventfdsDoNotOutliveTheirClient) {
  start();
  Event e;
  size_t before = open_descriptors();
  {
    Client c = greeted();
    enable(c, e);
    c.ok(kSetIrqsCmd, Client::irqs(kEventfd | kTrigger, 3, 0, 1), {e.fd()});
    c.ok(kSetIrqsCmd, Client::irqs(kEventfd | kUnmask, 0, 0, 1), {e.fd()});
  }
  Client c = greeted();
  // The server's end of the old connection is closed when the client after it is served already.
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (open_descriptors() > before + 2 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  EXPECT_EQ(open_descriptors(), before + 2) << "the two ends of the new connection";
  registers().set_line(true);
  c.expect_silence_then_alive();
  EXPECT_EQ(e.take(), 0u);
}

TEST_F(SetIrqsTest, WithoutAPinIntxCannotBeSet) {
  options_.pci.intx = false;
  start();
  Client c = greeted();
  Event e;
  EXPECT_EQ(c.fails(kSetIrqsCmd, Client::irqs(kEventfd | kTrigger, 0, 0, 1), {e.fd()}), kEinval);
}

}  // namespace
}  // namespace bmcpair::vfio_bridge::testing
