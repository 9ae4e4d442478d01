// The registers of a guest outlive the BMC: bmc_emu is killed, stopped and stalled behind vfio_bridge, at every point
// of a request, and each request is counted: answered, failed with a stated code, never lost, answered twice or by
// another's answer.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <thread>

#include "host_driver/bus/vfio_user.h"
#include "integration/system/process.h"
#include "proto/base/hex.h"
#include "proto/registers/away.h"

namespace bmcpair {
namespace {

using integration::Daemon;
using integration::Process;
using integration::TemporaryFolder;
using registers::InterfaceKind;
using registers::RegisterPort;
namespace bt = registers::bt;
namespace kcs = registers::kcs;
using std::chrono::milliseconds;
using std::chrono::seconds;
using SteadyClock = std::chrono::steady_clock;

template <class F>
bool eventually(F condition, milliseconds patience = seconds(60)) {
  const auto deadline = SteadyClock::now() + patience;
  while (!condition()) {
    if (SteadyClock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  return true;
}

// What became of a request: an answer (completion code, data), or the code that the host made of its failure.
struct Outcome {
  std::optional<Bytes> answer;
  std::string code;  // "C0", "C3", "FF" and what happened
};

// A host at the registers, by the book and without retries: what fails is said to have failed. Before each access that
// moves a request on, `disturb` is told its number.
class BookHost {
 public:
  BookHost(RegisterPort& port, std::function<void(int)> disturb) : port_(port), disturb_(std::move(disturb)) {}
  virtual ~BookHost() = default;

  Outcome request(const Bytes& netfn_cmd_data) {
    moved_ = 0;
    disturbed_ = in_a_hurry_;
    return transact(netfn_cmd_data);
  }
  // After this an answer that has not come soon is not coming.
  void has_been_disturbed() { disturbed_ = true; }
  // The same for all requests from here on.
  void hurry(bool on) { in_a_hurry_ = on; }
  int moves() const { return moved_; }
  int foreign() const { return foreign_; }

 protected:
  virtual Outcome transact(const Bytes& request) = 0;
  void move() { disturb_(moved_++); }
  uint8_t take(uint16_t offset) {
    move();
    return port_.read(offset);
  }
  void put(uint16_t offset, uint8_t value) {
    move();
    port_.write(offset, value);
  }
  template <class F>
  bool wait(F condition) {
    const auto start = SteadyClock::now();
    while (!condition()) {
      if (SteadyClock::now() - start > (disturbed_ ? milliseconds(300) : milliseconds(20'000))) return false;
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
    return true;
  }

  RegisterPort& port_;
  const std::function<void(int)> disturb_;
  int moved_ = 0;
  bool disturbed_ = false;
  bool in_a_hurry_ = false;
  int foreign_ = 0;  // answers that belong to no request of ours
};

// IPMI 2.0 rev 1.1 §11.4.
class BtHost : public BookHost {
 public:
  using BookHost::BookHost;

 private:
  Outcome transact(const Bytes& request) override {
    const uint8_t seq = ++seq_;
    given_up_.erase(seq);
    auto free = [&] { return (port_.read(bt::kCtrl) & (bt::kBBusy | bt::kH2bAtn)) == 0; };
    if (!wait(free)) return {{}, "C0: B_BUSY or H2B_ATN stays"};
    if ((port_.read(bt::kCtrl) & bt::kHBusy) != 0) port_.write(bt::kCtrl, bt::kHBusy);
    if ((port_.read(bt::kCtrl) & bt::kB2hAtn) != 0) receive();  // late: see there
    put(bt::kCtrl, bt::kClrWrPtr);
    put(bt::kBuffer, static_cast<uint8_t>(request.size() + 1));
    for (size_t i = 0; i < request.size(); ++i) {
      put(bt::kBuffer, request[i]);
      if (i == 0) put(bt::kBuffer, seq);
    }
    put(bt::kCtrl, bt::kH2bAtn);
    move();
    for (;;) {
      if (!wait([&] { return (port_.read(bt::kCtrl) & bt::kB2hAtn) != 0; })) {
        given_up_.insert(seq);
        return {{}, "C3: no answer"};
      }
      Bytes frame = receive();
      if (frame.size() >= 5 && frame[2] == seq && frame[1] == (request[0] | 4) && frame[3] == request[1])
        return {Bytes(frame.begin() + 4, frame.end()), {}};
      if (frame.size() < 5 || frame[0] == 0xff) {
        given_up_.insert(seq);
        return {{}, "FF: the answer went away"};
      }
    }
  }
  Bytes receive() {
    put(bt::kCtrl, bt::kHBusy);
    put(bt::kCtrl, bt::kB2hAtn);
    put(bt::kCtrl, bt::kClrRdPtr);
    Bytes frame{take(bt::kBuffer)};
    for (int n = frame[0]; n > 0; --n) frame.push_back(take(bt::kBuffer));
    put(bt::kCtrl, bt::kHBusy);
    // An answer that comes after its request was given up carries that one's number; a BMC that was lost meanwhile has
    // none to give.
    if (frame.size() >= 5 && frame[0] != 0xff && frame[2] != seq_ && given_up_.count(frame[2]) == 0) ++foreign_;
    return frame;
  }
  uint8_t seq_ = 0;
  std::set<uint8_t> given_up_;
};

// IPMI 2.0 rev 1.1 §9.15, figures 9-6 to 9-8.
class KcsHost : public BookHost {
 public:
  using BookHost::BookHost;

 private:
  uint8_t status() { return port_.read(kcs::kStatus); }
  bool taken() { return wait([&] { return (status() & kcs::kIbf) == 0; }); }
  kcs::State state() { return kcs::state_of(status()); }
  void drain() {
    if ((status() & kcs::kObf) != 0) port_.read(kcs::kData);
  }
  bool full() {
    return wait([&] { return (status() & kcs::kObf) != 0; });
  }
  bool abort() {
    return wait([&] {
      if ((status() & kcs::kIbf) != 0) return false;
      port_.write(kcs::kCommand, kcs::kGetStatusAbort);
      if (!taken()) return false;
      drain();
      port_.write(kcs::kData, 0);
      if (!taken() || state() != kcs::State::kRead || !full()) return false;
      port_.read(kcs::kData);
      port_.write(kcs::kData, kcs::kRead);
      if (!taken() || state() != kcs::State::kIdle || !full()) return false;
      port_.read(kcs::kData);
      return true;
    });
  }
  Outcome failed(const char* what) {
    abort();
    return {{}, std::string("FF: ") + what};
  }
  Outcome transact(const Bytes& request) override {
    if (!taken()) return {{}, "C3: IBF stays"};
    if (state() != kcs::State::kIdle && !abort()) return {{}, "FF: does not become idle"};
    drain();
    put(kcs::kCommand, kcs::kWriteStart);
    for (size_t i = 0; i < request.size(); ++i) {
      if (!taken()) return failed("IBF stays");
      if (state() != kcs::State::kWrite) return failed("no write state");
      drain();
      if (i + 1 == request.size()) {
        put(kcs::kCommand, kcs::kWriteEnd);
        if (!taken()) return failed("IBF stays");
        if (state() != kcs::State::kWrite) return failed("no write state");
        drain();
      }
      put(kcs::kData, request[i]);
    }
    move();
    Bytes message;
    for (;;) {
      if (!taken()) return failed("IBF stays");
      kcs::State now = state();
      if (now != kcs::State::kRead && now != kcs::State::kIdle) return failed("no read state");
      if (!full()) return failed("no byte");
      if (now == kcs::State::kIdle) break;
      // The byte is the state's that was seen with it.
      if (state() != kcs::State::kRead) return failed("no read state");
      message.push_back(take(kcs::kData));
      put(kcs::kData, kcs::kRead);
    }
    take(kcs::kData);
    if (message.size() < 3) return {{}, "FF: a short answer"};
    if (message[0] != (request[0] | 4) || message[1] != request[1]) ++foreign_;
    return {Bytes(message.begin() + 2, message.end()), {}};
  }
};

struct Counts {
  int sent = 0;
  int answered = 0;
  std::map<std::string, int> failed;  // by code
  int mismatched = 0;
  int unexplained = 0;  // failed with the BMC there all the time
  int failures() const {
    int n = 0;
    for (const auto& [code, times] : failed) n += times;
    return n;
  }
};

class SurvivalTest : public ::testing::TestWithParam<InterfaceKind> {
 protected:
  SurvivalTest() {
    integration::write_file(config(),
                            "bmcs:\n"
                            "  - name: one\n"
                            "    interfaces: [{kind: " + kind_text() + ", latency: {access: 20us, response: 3ms}}]\n");
  }
  std::string kind_text() const { return std::string(registers::to_string(GetParam())); }
  std::string config() const { return folder_ / "bmc.yaml"; }
  std::string socket() const { return folder_ / "v.sock"; }
  void start_daemon() {
    if (daemon_) {
      daemon_->start();
    } else {
      daemon_.emplace(folder_, config(), std::vector<std::string>{"--state", folder_ / "state"});
    }
  }
  void start_bridge(std::vector<std::string> more = {}, const std::string& answer_ms = "500") {
    std::vector<std::string> argv{integration::program("vfio_bridge"), "--bus", "grpc:unix:" + (folder_ / "bmc_emu.sock"),
                                  "--socket", socket(), "--answer-ms", answer_ms};
    argv.insert(argv.end(), more.begin(), more.end());
    bridge_.emplace(argv);
    ASSERT_TRUE(bridge_->wait_for_output("serving ")) << bridge_->err();
  }
  void open() {
    bus::VfioUserOptions patient;
    patient.reply_wait = seconds(60);  // a bridge that a busy machine holds up is not one that is away
    auto port = bus::connect_vfio_user(socket(), patient);
    ASSERT_TRUE(port.ok()) << port.error().to_string() << "\n" << bridge_->err();
    port_ = *std::move(port);
    auto disturb = [this](int move) {
      if (disturb_) disturb_(move);
    };
    if (GetParam() == InterfaceKind::kBt) {
      host_ = std::make_unique<BtHost>(*port_, disturb);
    } else {
      host_ = std::make_unique<KcsHost>(*port_, disturb);
    }
  }
  // How often the bridge has said so.
  int said(const std::string& what) {
    std::string text = bridge_->err();
    int n = 0;
    for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
    return n;
  }
  int losses() { return said("the BMC is gone"); }
  int arrivals() { return said("the BMC is there"); }
  bool wait_for_arrival(int before) {
    return eventually([&] { return arrivals() > before; });
  }
  bool wait_for_loss(int before) {
    return eventually([&] {
      port_->read(0);
      return losses() > before;
    });
  }

  // Add SEL Entry (§31.6), its record with a number that no other has; then Get SEL Entry (§31.5) of the record that the
  // answer names. An answer to any other request would not fit.
  std::optional<uint16_t> add(bool* ok = nullptr) {
    const uint32_t number = next_++;
    Bytes request{0x0a << 2, 0x44, 0, 0, 0xdf, 0, 0, 0, 0};
    for (int i = 0; i < 3; ++i) request.push_back(static_cast<uint8_t>(number >> (8 * i)));
    for (int i = 0; i < 6; ++i) request.push_back(static_cast<uint8_t>(0xa0 + i));
    auto answer = count(request);
    if (ok) *ok = answer.has_value();
    if (!answer) {
      unanswered_.insert(number);
      return {};
    }
    if (answer->size() != 3 || (*answer)[0] != 0) {
      ADD_FAILURE() << "Add SEL Entry answered " << to_hex(*answer);
      ++counts_.mismatched;
      return {};
    }
    auto id = static_cast<uint16_t>((*answer)[1] | (*answer)[2] << 8);
    if (!records_.emplace(id, number).second) {
      ADD_FAILURE() << "record " << id << " was answered twice";
      ++counts_.mismatched;
    }
    return id;
  }
  bool get(uint16_t id) {
    auto answer = count({0x0a << 2, 0x43, 0, 0, static_cast<uint8_t>(id), static_cast<uint8_t>(id >> 8), 0, 0xff});
    if (!answer) return false;
    if (answer->size() != 19 || number_of(*answer) != records_.at(id)) {
      ADD_FAILURE() << "record " << id << " is " << to_hex(*answer);
      ++counts_.mismatched;
    }
    return true;
  }
  static uint32_t number_of(const Bytes& entry) {
    return static_cast<uint32_t>(entry[10] | entry[11] << 8 | entry[12] << 16);
  }
  std::optional<Bytes> count(const Bytes& request) {
    int before = losses();
    ++counts_.sent;
    Outcome outcome = host_->request(request);
    if (outcome.answer) {
      ++counts_.answered;
      return outcome.answer;
    }
    ++counts_.failed[outcome.code];
    // On a starved machine the bridge may lose the BMC by itself; it has said so, and we read it some time later.
    if (!excused_ && !eventually([&] { return losses() > before; }, seconds(10))) {
      ++counts_.unexplained;
      ADD_FAILURE() << outcome.code << ", and the BMC was there\n" << bridge_->err();
    }
    return {};
  }
  // The BMC is there: whatever was before, requests are answered now.
  void expect_recovered() {
    disturb_ = nullptr;
    excused_ = false;
    // A machine that is starved may lose the BMC once more; count() sees to it that nothing else fails.
    for (int i = 0; i < 20; ++i) {
      if (auto id = add(); id && get(*id)) return;
    }
    FAIL() << "no answer any more\n" << bridge_->err();
  }
  // Every record that was answered is there once, and of those that were not none is there twice.
  void settle_accounts() {
    std::map<uint32_t, int> found;
    for (uint16_t id = 0; id != 0xffff;) {
      std::optional<Bytes> answer;
      for (int i = 0; i < 20 && !answer; ++i) {
        answer = count({0x0a << 2, 0x43, 0, 0, static_cast<uint8_t>(id), static_cast<uint8_t>(id >> 8), 0, 0xff});
      }
      ASSERT_TRUE(answer);
      ASSERT_EQ(answer->size(), 19u) << to_hex(*answer);
      if ((*answer)[5] == 0xdf) ++found[number_of(*answer)];
      id = static_cast<uint16_t>((*answer)[1] | (*answer)[2] << 8);
    }
    int lost = 0, twice = 0, executed = 0;
    for (const auto& [id, number] : records_) lost += found[number] == 0;
    for (const auto& [number, times] : found) twice += times > 1;
    for (uint32_t number : unanswered_) executed += found[number] > 0;
    EXPECT_EQ(lost, 0);
    EXPECT_EQ(twice, 0);
    EXPECT_EQ(counts_.mismatched, 0);
    EXPECT_EQ(counts_.unexplained, 0);
    EXPECT_EQ(host_->foreign(), 0);
    EXPECT_EQ(counts_.sent, counts_.answered + counts_.failures());
    std::printf("%s: %d sent, %d answered, %d failed (%d of them executed), lost %d, duplicated %d, mismatched %d\n",
                kind_text().c_str(), counts_.sent, counts_.answered, counts_.failures(), executed, lost, twice,
                counts_.mismatched + host_->foreign());
    for (const auto& [code, times] : counts_.failed) std::printf("  %3d x %s\n", times, code.c_str());
  }

  TemporaryFolder folder_;
  std::optional<Daemon> daemon_;
  std::optional<Process> bridge_;
  std::unique_ptr<RegisterPort> port_;
  std::unique_ptr<BookHost> host_;
  std::function<void(int)> disturb_;
  bool excused_ = false;
  uint32_t next_ = 1;
  std::map<uint16_t, uint32_t> records_;
  std::set<uint32_t> unanswered_;
  Counts counts_;
};

INSTANTIATE_TEST_SUITE_P(Kinds, SurvivalTest, ::testing::Values(InterfaceKind::kBt, InterfaceKind::kKcs),
                         [](const auto& kind) { return std::string(registers::to_string(kind.param)); });

enum class How { kKill, kStall, kStop };

TEST_P(SurvivalTest, ADaemonLostAtAnyPointOfARequestCostsThatRequestAtMost) {
  start_daemon();
  start_bridge();
  open();
  expect_recovered();
  for (int i = 0; i < 20 && !add(); ++i) {
  }
  const int points = host_->moves();
  ASSERT_GT(points, 25);
  int fired = 0;
  for (int point = 0; point < points; point += 2) {
    const How how = static_cast<How>(point / 2 % 3);
    // Whether the BMC is back before the host's next access, which is the harder one: what is left of the request goes
    // to somebody who has not seen its beginning.
    const bool back_at_once = point / 6 % 2 == 0;
    int arrivals_before = 0, losses_before = 0;
    auto come_back = [&] {
      if (how == How::kStall) {
        daemon_->process().signal(SIGCONT);
      } else {
        start_daemon();
      }
      ASSERT_TRUE(wait_for_arrival(arrivals_before)) << bridge_->err();
    };
    bool done = false;
    disturb_ = [&](int move) {
      if (move != point || done) return;
      done = excused_ = true;
      ++fired;
      arrivals_before = arrivals();
      losses_before = losses();
      host_->has_been_disturbed();
      switch (how) {
        case How::kKill:
          daemon_->process().signal(SIGKILL);
          ASSERT_EQ(daemon_->process().wait(), 128 + SIGKILL);
          break;
        case How::kStall: daemon_->process().signal(SIGSTOP); break;
        case How::kStop: ASSERT_EQ(daemon_->stop(), 0); break;
      }
      if (!back_at_once) return;
      ASSERT_TRUE(wait_for_loss(losses_before));
      come_back();
    };
    // On a starved machine the bridge may lose the BMC by itself before the request has come so far.
    for (int i = 0; i < 20 && !done; ++i) (void)add();
    ASSERT_TRUE(done) << "point " << point << " of " << points;
    disturb_ = nullptr;
    if (!back_at_once) {
      ASSERT_TRUE(wait_for_loss(losses_before));
      come_back();
    }
    ASSERT_NO_FATAL_FAILURE(expect_recovered()) << "after point " << point;
  }
  settle_accounts();
  EXPECT_GE(losses(), fired) << bridge_->err();
  port_.reset();
  bridge_->signal(SIGTERM);
  EXPECT_EQ(bridge_->wait(), 0);
}

// The daemon comes and goes as it likes, under a host that goes on asking.
TEST_P(SurvivalTest, AHostThatAsksOnWhileTheDaemonComesAndGoesGetsEachAnswerOnce) {
  start_daemon();
  start_bridge();
  open();
  std::atomic<bool> over{false};
  std::atomic<int> rounds_answered{0};
  excused_ = true;  // when the daemon goes is not the host's to know
  std::thread chaos([&] {
    for (int round = 0; round < 6; ++round) {
      const int before = arrivals();
      const int losses_before = losses();
      // So that some are answered in between, and never at the same instant of one.
      eventually([&] { return rounds_answered > 3; });
      std::this_thread::sleep_for(milliseconds(round));
      switch (static_cast<How>(round % 3)) {
        case How::kKill:
          daemon_->process().signal(SIGKILL);
          daemon_->process().wait();
          start_daemon();
          break;
        case How::kStall:
          daemon_->process().signal(SIGSTOP);
          eventually([&] { return losses() > losses_before; });
          std::this_thread::sleep_for(milliseconds(500));
          daemon_->process().signal(SIGCONT);
          break;
        case How::kStop:
          daemon_->stop();
          start_daemon();
          break;
      }
      EXPECT_TRUE(eventually([&] { return arrivals() > before; })) << bridge_->err();
      rounds_answered = 0;
    }
    over = true;
  });
  host_->hurry(true);
  while (!over) {
    bool ok = false;
    if (auto id = add(&ok)) get(*id);
    if (ok) ++rounds_answered;
    if (!ok) std::this_thread::sleep_for(milliseconds(5));
  }
  chaos.join();
  host_->hurry(false);
  ASSERT_NO_FATAL_FAILURE(expect_recovered());
  settle_accounts();
  EXPECT_GE(losses(), 6);
}

TEST_P(SurvivalTest, AStalledDaemonHoldsUpOneAccessAndNoOther) {
  start_daemon();
  start_bridge();
  open();
  expect_recovered();
  const registers::AwayRegisters away(GetParam());
  const uint16_t flags = registers::away(GetParam()).flags_offset;
  const int before = arrivals();
  const int losses_before = losses();
  daemon_->process().signal(SIGSTOP);
  // Each access that waited for the daemon would wait for ever: it is not continued before they are through.
  for (int i = 0; i < 5000; ++i) ASSERT_EQ(port_->read(flags), away.read(flags));
  EXPECT_TRUE(eventually([&] { return losses() > losses_before; })) << bridge_->err();
  daemon_->process().signal(SIGCONT);
  ASSERT_TRUE(wait_for_arrival(before));
  expect_recovered();
  settle_accounts();
}

TEST_P(SurvivalTest, TheNextClientOfAStalledDaemonIsServedToo) {
  start_daemon();
  // A goodbye that a stalled daemon does not answer is waited for as long as an answer is.
  start_bridge({}, "1500");
  open();
  expect_recovered();
  daemon_->process().signal(SIGSTOP);
  port_.reset();
  ASSERT_NO_FATAL_FAILURE(open());
  EXPECT_EQ(port_->read(registers::away(GetParam()).flags_offset), registers::away_flags(GetParam()));
  const int before = arrivals();
  daemon_->process().signal(SIGCONT);
  ASSERT_TRUE(wait_for_arrival(before)) << bridge_->err();
  expect_recovered();
  settle_accounts();
}

TEST_P(SurvivalTest, WithItsKindGivenTheBridgeServesABmcThatIsNotThereYet) {
  start_bridge({"--kind", kind_text()});
  open();
  EXPECT_EQ(port_->kind(), GetParam());
  for (uint16_t offset = 0; offset < registers::register_count(GetParam()); ++offset) {
    EXPECT_EQ(port_->read(offset), registers::AwayRegisters(GetParam()).read(offset));
  }
  start_daemon();
  ASSERT_TRUE(wait_for_arrival(0)) << bridge_->err();
  expect_recovered();
  // The next client gets registers at once, too, and so does one that comes while the daemon is down.
  ASSERT_EQ(daemon_->stop(), 0);
  port_.reset();
  ASSERT_NO_FATAL_FAILURE(open());
  EXPECT_EQ(port_->read(registers::away(GetParam()).flags_offset), registers::away_flags(GetParam()));
  int before = arrivals();
  start_daemon();
  ASSERT_TRUE(wait_for_arrival(before));
  expect_recovered();
  settle_accounts();
}

TEST_P(SurvivalTest, WithoutItAClientIsRefusedUntilTheBmcWasSeenOnce) {
  start_bridge();
  EXPECT_TRUE(bridge_->wait_for_output("with --kind"));
  auto refused = bus::connect_vfio_user(socket());
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kUnavailable) << refused.error().to_string();
  start_daemon();
  ASSERT_TRUE(eventually([&] { return bus::connect_vfio_user(socket()).ok(); }));
  ASSERT_EQ(daemon_->stop(), 0);
  ASSERT_NO_FATAL_FAILURE(open());
  EXPECT_EQ(port_->kind(), GetParam());
  EXPECT_EQ(port_->read(registers::away(GetParam()).flags_offset), registers::away_flags(GetParam()));
}

TEST_P(SurvivalTest, AKindThatIsNotTheBmcsIsRefusedAtTheStart) {
  start_daemon();
  Process wrong({integration::program("vfio_bridge"), "--bus", "grpc:unix:" + (folder_ / "bmc_emu.sock"), "--socket",
                 socket(), "--kind", GetParam() == InterfaceKind::kBt ? "kcs" : "bt"});
  EXPECT_EQ(wrong.wait(), 2);
  EXPECT_NE(wrong.err().find("is a " + kind_text() + " interface"), std::string::npos) << wrong.err();
}

// bmc_emu may serve the socket itself: then it goes with it, but in an orderly way, which QEMU takes (reference
// vfio_user_qemu.md §5): what was asked is answered, goodbye is said, the rest is read until the client has closed.
TEST_P(SurvivalTest, ADaemonThatServesTheSocketItselfSaysGoodbye) {
  integration::write_file(config(),
                          "bmcs:\n"
                          "  - name: one\n"
                          "    interfaces: [{kind: " + kind_text() + ", vfio_user: {socket: \"${RUN}/v.sock\"}}]\n");
  start_daemon();
  auto port = bus::connect_vfio_user(socket());
  ASSERT_TRUE(port.ok());
  std::atomic<bool> over{false};
  std::atomic<int> reads{0};
  std::thread guest([&] {
    while (!over) {
      (*port)->read(0);
      ++reads;
    }
  });
  EXPECT_TRUE(eventually([&] { return reads > 50; }));
  EXPECT_EQ(daemon_->stop(), 0);
  EXPECT_TRUE(eventually([&] { return !(*port)->link().up; }));
  over = true;
  guest.join();
  EXPECT_EQ((*port)->link().reason.find("reset"), std::string::npos) << (*port)->link().reason;
}

}  // namespace
}  // namespace bmcpair
