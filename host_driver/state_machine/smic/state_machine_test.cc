#include "host_driver/state_machine/smic/state_machine.h"

#include <gtest/gtest.h>

#include "host_driver/state_machine/smic/trace.h"
#include "host_driver/state_machine/test_bmc.h"

namespace bmcpair::state_machine::smic {
namespace {

namespace reg = registers::smic;
using registers::InterfaceKind;
using std::chrono::milliseconds;
using std::chrono::seconds;

const Profile& linux61() { return *find_profile("linux-6.1"); }
const Bytes kRequest = {0x18, 0x01, 0x55};

// A SMIC device that takes its step when the flags are read (IPMI 2.0 §10.12).
class SmicDevice final : public registers::RegisterPort {
 public:
  uint8_t read(uint16_t offset) override {
    if (offset == reg::kFlags) {
      const uint8_t seen = flags_;
      if (flags_ & reg::kBusy && !deaf) step();
      return seen;
    }
    if (offset == reg::kStatus) return status_;
    return data_;
  }
  void write(uint16_t offset, uint8_t value) override {
    if (offset == reg::kFlags) flags_ = value;
    if (offset == reg::kControl) control_ = value;
    if (offset == reg::kData) data_ = value;
  }
  registers::InterfaceKind kind() const override { return InterfaceKind::kSmic; }
  bool has_interrupt() const override { return false; }
  void set_interrupt_handler(InterruptHandler) override {}

  bool deaf = false;
  int refuse = 0;  // so many writes end in an error code
  Bytes request;
  Bytes answer = {0x1c, 0x01, 0x00, 0x20};

 private:
  void step() {
    flags_ = reg::kTxDataReady;
    status_ = control_ | reg::kStatusBit;
    switch (control_) {
      case reg::kGetStatus: status_ = reg::kReady; break;
      case reg::kWriteStart:
        request = {data_};
        break;
      case reg::kWriteNext: request.push_back(data_); break;
      case reg::kWriteEnd:
        request.push_back(data_);
        data_ = refuse > 0 ? uint8_t{4} : uint8_t{0};
        if (refuse > 0) --refuse;
        flags_ |= reg::kRxDataReady;
        sent_ = 0;
        break;
      case reg::kReadStart:
      case reg::kReadNext:
        data_ = answer[sent_++];
        flags_ |= reg::kRxDataReady;
        if (sent_ == answer.size()) status_ = reg::kReadEnd | reg::kStatusBit;
        break;
      case reg::kReadEnd:
        data_ = 0;
        status_ = reg::kReady;
        break;
    }
  }
  uint8_t flags_ = 0, control_ = 0, status_ = reg::kReady, data_ = 0;
  size_t sent_ = 0;
};

TEST(Smic, CarriesRequestsAndTheirAnswers) {
  SmicDevice device;
  auto machine = make_state_machine(device, hardened(), nullptr);
  ASSERT_TRUE(machine->detect());
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(machine->start_transaction(kRequest), 0);
    EXPECT_EQ(machine->start_transaction(kRequest), 0xd5);
    ASSERT_EQ(drive(*machine), Verdict::kTransactionComplete);
    EXPECT_EQ(machine->get_result(), device.answer);
    EXPECT_EQ(device.request, kRequest);
  }
  EXPECT_EQ(machine->event({}), Verdict::kIdle);
}

TEST(Smic, RefusesWhatItCannotSend) {
  SmicDevice device;
  SmicStateMachine machine(device, hardened(), nullptr);
  EXPECT_EQ(machine.start_transaction(Bytes{0x18}), 0xc7);
  EXPECT_EQ(machine.start_transaction(Bytes(81)), 0xc8);
}

TEST(Smic, StartsAgainAfterAnErrorAndIsHosedAfterTheFourth) {
  SmicDevice device;
  SmicStateMachine machine(device, hardened(), nullptr);
  device.refuse = 3;
  ASSERT_EQ(machine.start_transaction(kRequest), 0);
  EXPECT_EQ(drive(machine), Verdict::kTransactionComplete);
  EXPECT_EQ(machine.get_result()[2], 0);
  device.refuse = 4;
  ASSERT_EQ(machine.start_transaction(kRequest), 0);
  EXPECT_EQ(drive(machine), Verdict::kHosed);
  EXPECT_TRUE(machine.idle());
}

// C.1: a host that looks every three seconds never times out in Linux.
TEST(SmicHazard, ALongStepCounts) {
  for (const Profile* profile : {&hardened(), &linux61()}) {
    SmicDevice device;
    device.deaf = true;
    SmicStateMachine machine(device, *profile, nullptr);
    ASSERT_EQ(machine.start_transaction(kRequest), 0);
    const Verdict v = drive(machine, seconds(3), seconds(600));
    EXPECT_EQ(v, profile == &hardened() ? Verdict::kHosed : Verdict::kCallWithDelay);
  }
}

TEST(Smic, DetectsNothingWhereFlagsReadFf) {
  ScriptPort port(InterfaceKind::kSmic);
  SmicStateMachine machine(port, hardened(), nullptr);
  port.now_reads(reg::kFlags, {0xff});
  EXPECT_FALSE(machine.detect());
}

TEST(SmicTrace, IsOneDenseLineAStep) {
  EXPECT_EQ(trace_line(State::kReadNext, reg::kRxDataReady | reg::kSmsAtn, 0xc5, seconds(2), milliseconds(4)),
            "SMIC: READ_NEXT [ RX SMS ] ST=c5 TO=2000000 - 4000");
}

}  // namespace
}  // namespace bmcpair::state_machine::smic
