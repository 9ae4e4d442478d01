#include "host_driver/system_interface/driver.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "host_driver/state_machine/test_bmc.h"
#include "proto/registers/forwarding_port.h"

namespace bmcpair::host {
namespace {

using registers::InterfaceKind;
using state_machine::TestBmc;
using std::chrono::milliseconds;
using std::chrono::seconds;

Instant soon() { return rt::now() + seconds(60); }

// A port of its own on a device that the test keeps.
class SharedPort final : public registers::ForwardingPort {
 public:
  explicit SharedPort(std::shared_ptr<TestBmc> bmc) : ForwardingPort(std::move(bmc)) {}
};

std::shared_ptr<TestBmc> bmc(InterfaceKind kind, bool interrupt = true) {
  return std::make_shared<TestBmc>(kind, interrupt);
}
std::unique_ptr<SharedPort> port(const std::shared_ptr<TestBmc>& b) { return std::make_unique<SharedPort>(b); }

DriverOptions quick() {
  DriverOptions options;
  options.retry_first = milliseconds(5);
  options.retry_max = milliseconds(20);
  return options;
}

void expect_device_id(MessageHandler& mh, int number) {
  auto user = mh.create_user(number, {});
  ASSERT_TRUE(user) << user.error().to_string();
  auto answer = call(**user, SystemInterfaceAddress{}, {ipmi::kNetFnApp, 0, 1, {}}, soon());
  ASSERT_TRUE(answer) << answer.error().to_string();
  EXPECT_EQ(to_hex(answer->data), "00 20 01 02 03 02 bf 57 01 00 34 12 00 00 00 00");
}

TEST(Driver, BringsInterfacesUpAndTakesThemAway) {
  MessageHandler mh;
  Driver driver(mh);
  std::vector<int> ids;
  for (InterfaceKind kind : {InterfaceKind::kKcs, InterfaceKind::kBt}) {
    for (bool interrupt : {true, false}) ids.push_back(driver.add_interface(port(bmc(kind, interrupt))));
  }
  EXPECT_EQ(driver.interfaces(), ids);
  for (int id : ids) {
    auto number = driver.wait_until_up(id, soon());
    ASSERT_TRUE(number) << number.error().to_string();
    expect_device_id(mh, *number);
    auto described = driver.describe(id);
    ASSERT_TRUE(described);
    EXPECT_EQ(described->number, *number);
    EXPECT_EQ(described->status.state, InterfaceState::kUp);
    EXPECT_EQ(described->attempts, 1u);
    EXPECT_GT(described->statistics[static_cast<size_t>(SiStatistic::kCompleteTransactions)], 0u);
  }
  EXPECT_EQ(mh.interfaces().size(), 4u);
  for (int id : ids) EXPECT_TRUE(driver.remove(id));
  EXPECT_TRUE(mh.interfaces().empty());
  EXPECT_EQ(driver.remove(ids[0]).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(driver.describe(ids[0]).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(driver.wait_until_up(ids[0], soon()).error().code, ErrorCode::kNotFound);
}

// Why it is not up, as soon as the driver has tried and `part` is in it.
std::string reason_of_not_up(Driver& driver, int id, const std::string& part) {
  const Instant end = soon();
  for (;;) {
    auto number = driver.wait_until_up(id, rt::now() + milliseconds(10));
    EXPECT_FALSE(number);
    if (number) return "it is up";
    EXPECT_EQ(number.error().code, ErrorCode::kTimeout);
    if (number.error().message.find(part) != std::string::npos || rt::now() > end) return number.error().message;
  }
}

TEST(Driver, TriesADeviceThatIsNotThereUntilItIs) {
  for (InterfaceKind kind : {InterfaceKind::kKcs, InterfaceKind::kBt}) {
    MessageHandler mh;
    Driver driver(mh, quick());
    auto b = bmc(kind);
    b->change([](auto& f) { f.absent = true; });
    const int id = driver.add_interface(port(b));
    EXPECT_NE(reason_of_not_up(driver, id, "registers read FF").find("registers read FF"), std::string::npos);
    b->change([](auto& f) { f.absent = false; });
    auto number = driver.wait_until_up(id, soon());
    ASSERT_TRUE(number) << number.error().to_string();
    EXPECT_GT(driver.describe(id)->attempts, 1u);
    expect_device_id(mh, *number);
  }
}

// The end of seed 2's story: "leaves IPMI hosed until you reload modules".
TEST(Driver, TriesAgainAfterAFailedRegistration) {
  // The next refusal is final for that registration.
  const state_machine::Profile profile = state_machine::profile_with("hardened-mh_retry_identity_on_any_cc").value();
  MessageHandlerOptions options;
  options.profile = &profile;
  MessageHandler mh(options);
  Driver driver(mh, quick());
  auto b = bmc(InterfaceKind::kBt);
  auto asked = std::make_shared<int>(0);
  b->on_request([asked](const Bytes& r) -> std::optional<Bytes> {
    // The probe's question is answered, the message handler's is not, twice.
    if (r == Bytes{0x18, 0x01} && ++*asked <= 4 && *asked % 2 == 0) return Bytes{0xd5};
    return std::nullopt;
  });
  const int id = driver.add_interface(port(b));
  auto number = driver.wait_until_up(id, soon());
  ASSERT_TRUE(number) << number.error().to_string();
  EXPECT_EQ(driver.describe(id)->attempts, 3u);
  EXPECT_EQ(*number, 0);  // no leftovers (I2-3)
  expect_device_id(mh, *number);
}

TEST(Driver, OpensAPortAgainUntilItCan) {
  MessageHandler mh;
  Driver driver(mh, quick());
  auto b = bmc(InterfaceKind::kKcs);
  auto opened = std::make_shared<rt::Atomic<int>>(0);
  const int id = driver.add_interface([b, opened]() -> Result<std::unique_ptr<registers::RegisterPort>> {
    if (opened->fetch_add(1, std::memory_order_relaxed) < 3) {
      return Error{ErrorCode::kUnavailable, "nobody listens"};
    }
    return std::unique_ptr<registers::RegisterPort>(port(b));
  });
  auto number = driver.wait_until_up(id, soon());
  ASSERT_TRUE(number) << number.error().to_string();
  EXPECT_EQ(opened->load(std::memory_order_relaxed), 4);
}

TEST(Driver, SaysWhyAnInterfaceIsNotUp) {
  MessageHandler mh;
  Driver driver(mh, quick());
  const int id = driver.add_interface([]() -> Result<std::unique_ptr<registers::RegisterPort>> {
    return Error{ErrorCode::kUnavailable, "nobody listens"};
  });
  EXPECT_EQ(reason_of_not_up(driver, id, "nobody"), "not up: nobody listens");
}

TEST(Driver, AnInterfaceWhoseLinkBlinksKeepsItsNumber) {
  MessageHandler mh;
  Driver driver(mh, quick());
  auto b = bmc(InterfaceKind::kBt);
  const int id = driver.add_interface(port(b));
  auto number = driver.wait_until_up(id, soon());
  ASSERT_TRUE(number);
  b->set_link(false);
  while (driver.describe(id)->status.state != InterfaceState::kLinkDown) rt::sleep_for(milliseconds(1));
  auto down = driver.wait_until_up(id, rt::now());
  ASSERT_FALSE(down);
  EXPECT_EQ(down.error().message, "not up: link down: cable pulled");
  b->set_link(true);
  EXPECT_EQ(driver.wait_until_up(id, soon()).value_or(-1), *number);
  expect_device_id(mh, *number);
}

TEST(Driver, RemovesWhatIsStillComingUp) {
  MessageHandler mh;
  Driver driver(mh, quick());
  for (InterfaceKind kind : {InterfaceKind::kKcs, InterfaceKind::kBt}) {
    auto mute = bmc(kind);
    mute->change([](auto& f) { f.mute = true; });
    const int id = driver.add_interface(port(mute));
    // In the midst of its identification as well as before it.
    while (mute->requests().empty()) rt::sleep_for(milliseconds(1));
    EXPECT_TRUE(driver.remove(id));
    EXPECT_TRUE(driver.remove(driver.add_interface(port(bmc(kind)))));
  }
  EXPECT_TRUE(mh.interfaces().empty());
}

TEST(Driver, RemovesAnInterfaceWhileTheMessageHandlerAsksWhoItIs) {
  MessageHandler mh;
  Driver driver(mh, quick());
  auto b = bmc(InterfaceKind::kKcs);
  auto asked = std::make_shared<rt::Atomic<int>>(0);
  b->on_request([asked](const Bytes& r) -> std::optional<Bytes> {
    // The second Get Device ID, the message handler's, is never answered.
    if (r == Bytes{0x18, 0x01} && asked->fetch_add(1, std::memory_order_relaxed) > 0) return Bytes{};
    return std::nullopt;
  });
  SystemInterfaceOptions options;
  options.shutdown_limit = milliseconds(20);
  const int id = driver.add_interface(port(b), options);
  while (asked->load(std::memory_order_relaxed) < 2) rt::sleep_for(milliseconds(1));
  EXPECT_TRUE(driver.remove(id));
  EXPECT_TRUE(mh.interfaces().empty());
}

// Dead ones do not keep the living from coming up.
TEST(Driver, ComesUpBesideAHundredDeadDevices) {
  MessageHandler mh;
  Driver driver(mh, quick());
  for (int i = 0; i < 100; ++i) {
    auto dead = bmc(i % 2 ? InterfaceKind::kBt : InterfaceKind::kKcs);
    dead->change([](auto& f) { f.mute = true; });
    driver.add_interface(port(dead));
  }
  std::vector<int> living;
  for (int i = 0; i < 20; ++i) {
    living.push_back(driver.add_interface(port(bmc(i % 2 ? InterfaceKind::kBt : InterfaceKind::kKcs))));
  }
  for (int id : living) {
    auto number = driver.wait_until_up(id, soon());
    ASSERT_TRUE(number) << number.error().to_string();
  }
  EXPECT_EQ(mh.interfaces().size(), living.size());
}

}  // namespace
}  // namespace bmcpair::host
