// The driver against a BMC with faults, one fault at a time, every action on every interface: each request ends in bounded
// time with its own answer or the right failure, 0xD5 reaches a caller only if the BMC said it, and the interface works
// again when the fault has gone.
//
// The driver runs in real time and waits seconds for a BMC, so all the faults of one kind of interface run side by side:
// a BMC and an interface each, in one test.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "bmc_emu/board/fleet.h"
#include "bmc_emu/daemon/fault_rules.h"
#include "host_driver/message_handler/message_handler.h"
#include "host_driver/system_interface/driver.h"

namespace bmcpair::pair {
namespace {

using registers::InterfaceKind;

// What may come of the request that a fault meets.
enum Outcome : unsigned {
  kOwn = 1,            // its own answer
  kSaid = 2,           // the completion code that the fault made the BMC say
  kAltered = 4,        // its own answer, where the interface cannot know that bytes of it are wrong
  kTimeout = 8,
  kProtocol = 16,
  kUnavailable = 32,   // long busy
  kHosed = 64,
};

struct Case {
  const char* rule;
  unsigned allowed;
  uint8_t said = 0;
  int requests = 3;  // that are sent while the rule is in force; more where it has not fired by then
};

constexpr uint8_t kReadFru = 0x11;
constexpr uint8_t kBytesAsked = 6;
constexpr size_t kFruBytes = 1024;
// A request that does not end for so long is stuck.
constexpr Duration kBound = std::chrono::seconds(40);
constexpr int kRequestsMax = 1000;

// Which offset an answer is of can be told from its bytes.
uint8_t fru_byte(size_t i) { return static_cast<uint8_t>(i * 31 + i / 256 * 7 + 5); }

board::BoardConfig board_of(InterfaceKind kind, std::string name) {
  board::BoardConfig config;
  config.firmware.name = std::move(name);
  config.firmware.warm_reset_offline = std::chrono::milliseconds(100);
  config.firmware.cold_reset_offline = std::chrono::milliseconds(200);
  config.firmware.bt_response_seconds = 1;
  config.firmware.bt_retries = 2;
  Bytes content(kFruBytes);
  for (size_t i = 0; i < content.size(); ++i) content[i] = fru_byte(i);
  config.firmware.frus.push_back({0, "Board", static_cast<uint16_t>(kFruBytes), content});
  config.interfaces.push_back({"si", kind, {}, true, 1});
  return config;
}

// One fault against one interface, in a thread of its own. What is wrong is collected: the checks are the test's.
class Trial {
 public:
  Trial(const Case& tried, board::Fleet& fleet, const std::string& name, host::MessageHandler& handler,
        host::Driver& driver)
      : case_(tried), handler_(handler), driver_(driver), board_(*fleet.find(name)) {
    id_ = driver_.add_interface([&fleet, name] { return fleet.attach(name, "faults_test"); }, {});
  }
  void start() {
    thread_.start("trial", [this] { run(); });
  }
  void join() { thread_.join(); }
  const std::vector<std::string>& wrong() const { return wrong_; }

 private:
  void run() {
    auto number = driver_.wait_until_up(id_, rt::now() + kBound);
    if (!number.ok()) return say("does not come up: " + number.error().message);
    auto user = handler_.create_user(*number, {});
    if (!user.ok()) return say(user.error().message);
    user_ = std::move(*user);
    if (!own(ask(0))) return say("wrong before there is a fault");
    // The answer that previous_answer gives again is of another command.
    auto identity = host::call(*user_, host::SystemInterfaceAddress{}, {0x06, 0, 0x08, {}}, rt::now() + kBound);
    if (!identity.ok()) return say("Get Device GUID: " + identity.error().message);

    // This one makes the board note answers before the rule that repeats one is there.
    auto noting = board_->add_fault(parse("cc=c1 netfn=0x2e cmd=0xff"));
    identity = host::call(*user_, host::SystemInterfaceAddress{}, {0x06, 0, 0x08, {}}, rt::now() + kBound);
    if (!noting.ok() || !identity.ok()) return say("cannot make an earlier answer");
    auto rule = board_->add_fault(parse(case_.rule));
    if (!rule.ok()) return say(rule.error().message);
    auto fired = [&] {
      for (const board::FaultView& view : board_->faults()) {
        if (view.id == *rule && view.fired > 0) return true;
      }
      return false;
    };
    // A phase of the BMC may be over, on a busy machine, before the driver has looked at it once.
    for (int i = 1; i <= case_.requests || (!fired() && i <= kRequestsMax); ++i) judge(i, ask(i));
    if (!fired()) say("the fault never fired");
    if (!board_->clear_fault(*rule).ok() || !board_->clear_fault(*noting).ok()) say("the rule cannot be cleared");
    recover();
    user_.reset();
  }

  static faults::Rule parse(const char* text) {
    auto rules = daemon::parse_faults(text, "case");
    EXPECT_TRUE(rules.ok()) << text << ": " << (rules.ok() ? "" : rules.error().message);
    return rules.ok() ? rules->front() : faults::Rule{};
  }

  struct Asked {
    size_t offset = 0;
    Result<Bytes> answer = Bytes();
    bool late = false;
  };
  Asked ask(int i) {
    Asked out;
    out.offset = static_cast<size_t>(i) * 37 % (kFruBytes - kBytesAsked);
    const Instant deadline = rt::now() + kBound;
    auto answer = host::call(*user_, host::SystemInterfaceAddress{},
                             {0x0a, 0, kReadFru,
                              {0, static_cast<uint8_t>(out.offset), static_cast<uint8_t>(out.offset >> 8), kBytesAsked}},
                             deadline);
    if (answer.ok()) out.answer = answer->data;
    else out.answer = answer.error();
    out.late = rt::now() >= deadline;
    return out;
  }
  static Bytes expected(size_t offset) {
    Bytes out{0x00, kBytesAsked};
    for (size_t i = 0; i < kBytesAsked; ++i) out.push_back(fru_byte(offset + i));
    return out;
  }
  static bool own(const Asked& asked) { return asked.answer.ok() && *asked.answer == expected(asked.offset); }

  void judge(int i, const Asked& asked) {
    const std::string which = "request " + std::to_string(i) + ": ";
    if (asked.late) return say(which + "no end within the bound");
    if (own(asked)) {
      if ((case_.allowed & kOwn) == 0 && i == 1) say(which + "its own answer, as if nothing were wrong");
      return;
    }
    if (!asked.answer.ok()) {
      const Error& error = asked.answer.error();
      unsigned outcome = 0;
      if (error.code == ErrorCode::kTimeout) outcome = kTimeout;
      if (error.code == ErrorCode::kProtocol) outcome = kProtocol;
      if (error.code == ErrorCode::kUnavailable) outcome = kUnavailable;
      if (error.code == ErrorCode::kHosed) outcome = kHosed;
      if ((case_.allowed & outcome) == 0) say(which + error.message + " (" + std::string(to_string(error.code)) + ")");
      return;
    }
    const Bytes& answer = *asked.answer;
    const Bytes wanted = expected(asked.offset);
    if (answer == Bytes{case_.said} && (case_.allowed & kSaid) != 0) return;
    // Wrong in one byte or at its end, and nobody's else.
    size_t differing = 0;
    for (size_t at = 0; at < std::min(answer.size(), wanted.size()); ++at) differing += answer[at] != wanted[at];
    if ((case_.allowed & kAltered) != 0 && differing <= 1 && answer.size() >= 2) return;
    say(which + "the answer " + to_hex(answer) + " instead of " + to_hex(wanted));
  }

  // It works again, and every answer is its request's.
  void recover() {
    const Instant deadline = rt::now() + kBound;
    int in_a_row = 0;
    for (int i = 100; in_a_row < 5; ++i) {
      Asked asked = ask(i);
      if (rt::now() >= deadline) return say("does not work again when the fault has gone");
      if (asked.answer.ok() && !own(asked)) {
        return say("afterwards: the answer " + to_hex(*asked.answer) + " instead of " + to_hex(expected(asked.offset)));
      }
      in_a_row = asked.answer.ok() ? in_a_row + 1 : 0;
    }
  }
  void say(std::string what) { wrong_.push_back(std::string(case_.rule) + ": " + std::move(what)); }

  const Case& case_;
  host::MessageHandler& handler_;
  host::Driver& driver_;
  std::shared_ptr<board::Board> board_;
  std::unique_ptr<host::User> user_;
  rt::Thread thread_;
  std::vector<std::string> wrong_;
  int id_ = 0;
};

void run_all(InterfaceKind kind, const std::vector<Case>& cases) {
  std::vector<board::BoardConfig> boards;
  for (size_t i = 0; i < cases.size(); ++i) boards.push_back(board_of(kind, "b" + std::to_string(i)));
  for (size_t i = 0; i < cases.size(); ++i) boards[i].firmware.identity.device_guid[0] = static_cast<uint8_t>(i + 1);
  auto fleet = board::Fleet::create(std::move(boards), {});
  ASSERT_TRUE(fleet.ok()) << fleet.error().message;
  host::MessageHandler handler;
  host::Driver driver(handler);
  std::vector<std::unique_ptr<Trial>> trials;
  for (size_t i = 0; i < cases.size(); ++i) {
    trials.push_back(std::make_unique<Trial>(cases[i], **fleet, "b" + std::to_string(i), handler, driver));
  }
  for (auto& trial : trials) trial->start();
  for (auto& trial : trials) {
    trial->join();
    for (const std::string& what : trial->wrong()) ADD_FAILURE() << what;
  }
}

// What any interface meets. Read FRU Data is 0x0a 0x11.
#define FRU "cmd=read_fru_data "
const std::vector<Case> kMessageCases = {
    {FRU "cc=d5 count=1", kSaid, 0xd5},
    {FRU "cc=c0 count=1", kSaid, 0xc0},
    {FRU "cc=c3 count=1", kSaid, 0xc3},
    {FRU "cc=d1 count=1", kSaid, 0xd1},
    {FRU "cc=d2 count=1", kSaid, 0xd2},
    {FRU "cc=ff count=1", kSaid, 0xff},
    {FRU "delay=300ms count=1", kOwn},
    {FRU "answer_at=0s count=1", kOwn},
    {FRU "extend=5 count=1", kAltered},
    {FRU "corrupt=4 xor=10 count=1", kAltered},
    {FRU "truncate=3 count=1", kAltered | kSaid, 0x00},
    {FRU "duplicate=3 count=1", kOwn},
    // A byte of the request may be what is lost: then the BMC says so.
    {"lose_write=true access=write nth=4", kOwn | kSaid | kTimeout | kProtocol, 0xc7},
    {"read_value=ff until=2s", kOwn | kTimeout | kProtocol | kUnavailable | kHosed},
    {"bmc=stall duration=400ms " FRU, kOwn},
    {"bmc=warm_reset phase=read", kOwn | kTimeout | kProtocol | kUnavailable | kHosed},
    {"bmc=warm_reset " FRU, kOwn | kTimeout | kProtocol | kUnavailable | kHosed},
    {"bmc=cold_reset phase=read", kOwn | kTimeout | kProtocol | kUnavailable | kHosed},
    {"interrupt=lose count=3", kOwn},
    {"interrupt=spurious period=10ms count=5", kOwn, 0, 20},
    {"interrupt=storm duration=300ms period=1ms", kOwn, 0, 20},
    {"attention=storm duration=300ms period=1ms", kOwn, 0, 20},
};

std::vector<Case> with(std::vector<Case> more) {
  std::vector<Case> all = kMessageCases;
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

}  // namespace

TEST(DriverAgainstFaults, BtEndsEveryRequestAndWorksAgain) {
  run_all(InterfaceKind::kBt, with({
      // Lost or not its own: the retry has it.
      {FRU "drop=request count=1", kOwn},
      {FRU "drop=answer count=1", kOwn},
      {FRU "sequence=1 count=1", kOwn},
      {FRU "answer_netfn=0x05 count=1", kOwn},
      {FRU "answer_cmd=0x12 count=1", kOwn},
      {FRU "corrupt=1 count=1", kOwn},
      {FRU "previous_answer=true count=1", kOwn},
      // Lost for good.
      {FRU "drop=answer", kTimeout, 0, 1},
      {FRU "sequence=1", kTimeout, 0, 1},
      {FRU "delay=3s count=1", kOwn | kTimeout},
      // Not a frame.
      {FRU "truncate=2 count=1", kProtocol},
      {FRU "length_byte=3 count=1", kProtocol},
      {FRU "length_byte=0 count=1", kProtocol},
      {FRU "length_byte=200 count=1", kAltered},
      {"hold=b_busy duration=400ms", kOwn},
      {"hold=b_busy duration=4s", kUnavailable | kTimeout},
      {"hold=h2b_atn duration=400ms", kOwn},
      {"hold=h2b_atn duration=3s", kTimeout | kUnavailable},
      {"hold=h_busy duration=400ms", kOwn},
      {"withhold=b2h_atn duration=400ms", kOwn},
      {"withhold=b2h_atn duration=3s", kTimeout},
      {"lose_write=true register=ctrl value=04 count=1", kOwn},
      {"lose_write=true register=buffer nth=2", kOwn},
      {"read_value=ff register=ctrl nth=4", kOwn | kTimeout | kProtocol},
      {"read_xor=08 register=ctrl access=read every=5 count=4", kOwn | kTimeout | kProtocol},
  }));
}

TEST(DriverAgainstFaults, KcsEndsEveryRequestAndWorksAgain) {
  run_all(InterfaceKind::kKcs, with({
      // Five seconds until the driver gives up an attempt; then it aborts and sends again.
      {FRU "drop=request count=1", kOwn, 0, 1},
      {FRU "drop=answer count=1", kOwn, 0, 1},
      {FRU "delay=6s count=1", kOwn, 0, 1},
      {FRU "answer_netfn=0x05 count=1", kProtocol},
      {FRU "answer_cmd=0x12 count=1", kProtocol},
      {FRU "corrupt=1 count=1", kProtocol},
      {FRU "previous_answer=true count=1", kProtocol},
      {FRU "truncate=2 count=1", kProtocol},
      {FRU "truncate=1 count=1", kProtocol},
      {"hold=ibf duration=400ms", kOwn},
      {"withhold=obf duration=400ms", kOwn},
      {"bmc=error phase=write", kOwn},
      {"bmc=error phase=execute", kOwn},
      {"bmc=error phase=read", kOwn},
      {"lose_write=true register=command value=61 count=1", kOwn, 0, 1},
      {"lose_write=true register=command value=62 count=1", kOwn, 0, 1},
      {"read_xor=c0 register=status count=2 every=3", kOwn | kProtocol},
      {"read_value=ff register=status nth=4", kOwn},
  }));
}

TEST(DriverAgainstFaults, SmicEndsEveryRequestAndWorksAgain) {
  run_all(InterfaceKind::kSmic, with({
      {FRU "drop=request count=1", kOwn, 0, 1},
      {FRU "drop=answer count=1", kOwn, 0, 1},
      {FRU "answer_netfn=0x05 count=1", kProtocol},
      {FRU "answer_cmd=0x12 count=1", kProtocol},
      {FRU "previous_answer=true count=1", kProtocol},
      {FRU "truncate=2 count=1", kProtocol},
      {"hold=busy duration=400ms", kOwn},
      {"withhold=rx_data_rdy duration=400ms", kOwn},
      {"withhold=tx_data_rdy duration=400ms", kOwn},
      {"bmc=error phase=write", kOwn | kProtocol},
      {"bmc=error phase=read", kOwn | kProtocol},
      {"read_value=ff register=flags nth=4", kOwn},
  }));
}
#undef FRU

// The 2018 report's answers, given by the BMC itself (reference B.9, G-43).
TEST(DriverAgainstFaults, D5DuringTheProbeIsAskedAgainAndComesUpAsSoonAsTheBmcAnswers) {
  for (InterfaceKind kind : {InterfaceKind::kBt, InterfaceKind::kKcs}) {
    std::vector<board::BoardConfig> boards;
    for (const char* rule : {"cc=d5 cmd=get_device_id count=2", "cc=d5 cmd=get_device_id"}) {
      boards.push_back(board_of(kind, "b" + std::to_string(boards.size())));
      boards.back().faults = *daemon::parse_faults(rule, "probe");
      boards.back().firmware.identity.device_guid[0] = static_cast<uint8_t>(boards.size());
    }
    auto fleet = board::Fleet::create(std::move(boards), {});
    ASSERT_TRUE(fleet.ok()) << fleet.error().message;
    host::MessageHandler handler;
    host::Driver driver(handler);
    const int twice = driver.add_interface([&] { return (*fleet)->attach("b0", "t"); }, {});
    const int always = driver.add_interface([&] { return (*fleet)->attach("b1", "t"); }, {});
    auto up = driver.wait_until_up(twice, rt::now() + kBound);
    EXPECT_TRUE(up.ok()) << up.error().message;
    auto refusing = (*fleet)->find("b1").value();
    while (refusing->faults().at(0).fired < 8) {
      auto not_up = driver.wait_until_up(always, rt::now() + std::chrono::milliseconds(20));
      ASSERT_FALSE(not_up.ok()) << "without an identity";
    }
    EXPECT_EQ(refusing->clear_faults(), 1u);
    up = driver.wait_until_up(always, rt::now() + kBound);
    EXPECT_TRUE(up.ok()) << up.error().message;
  }
}

}  // namespace bmcpair::pair
