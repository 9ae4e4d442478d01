// The state machines alone, driven by hand against the emulated registers: what is theirs, and shows without a driver.
#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bmc_emu/daemon/fault_rules.h"
#include "host_driver/state_machine/profile.h"
#include "host_driver/state_machine/state_machine.h"
#include "integration/lab/rig.h"
#include "integration/scenarios/registry.h"
#include "proto/base/hex.h"

namespace bmcpair::scenarios {

namespace {

using lab::LabBmc;
using registers::InterfaceKind;
using state_machine::Verdict;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

// A machine, its registers, and somebody who steps it as often as it asks for.
class Bench {
 public:
  Bench(Run& run, std::string_view profile, InterfaceKind kind)
      : run_(run), profile_(*state_machine::profile_with(profile)), bmc_(run, options(kind)), port_(bmc_.port()),
        trace_(run), machine_(state_machine::make_state_machine(*port_, profile_, &trace_)) {
    run.expect(machine_->detect(), "setup", "the machine does not see its BMC");
  }

  void fault(const char* rule) {
    auto rules = daemon::parse_faults(rule, "exhibit");
    run_.expect(rules.ok(), "setup", rule);
    for (faults::Rule& r : *rules) run_.expect(bmc_.add_fault(std::move(r)).ok(), "setup", rule);
  }
  LabBmc& bmc() { return bmc_; }

  void start(ByteView request) {
    const uint8_t refusal = machine_->start_transaction(request);
    run_.expect(refusal == 0, "refused", "an idle machine refuses a request with " + to_hex(Bytes{refusal}));
  }
  // One step, and the time until the next that the machine asks for.
  Verdict step(Duration pause) {
    const Verdict verdict = machine_->event(std::exchange(credit_, Duration(0)));
    if (verdict != Verdict::kCallWithoutDelay) {
      rt::sleep_for(pause);
      credit_ = pause;
    }
    return verdict;
  }
  // Until the machine has an end; beyond the limit the run fails.
  Verdict finish(Duration pause, Duration limit) {
    const Instant deadline = rt::now() + limit;
    for (;;) {
      const Verdict verdict = step(pause);
      if (verdict == Verdict::kTransactionComplete || verdict == Verdict::kHosed) return verdict;
      if (rt::now() >= deadline) {
        run_.fail("no-end", "after " + std::to_string(limit / seconds(1)) + " s the machine is in " +
                                std::string(machine_->state_name()) + ", and has said nothing");
      }
    }
  }
  void idle(Duration pause, Duration time) {
    for (const Instant end = rt::now() + time; rt::now() < end;) step(pause);
  }
  // An echo that comes back whole, or is refused for being too long.
  void good_or_refused(ByteView request, uint8_t refusal) {
    const uint8_t said = machine_->start_transaction(request);
    if (said == refusal) return;
    run_.expect(said == 0, "answers", "the request is refused");
    comes_back(request);
  }
  void comes_back(ByteView request) {
    run_.expect(finish(milliseconds(1), minutes(2)) == Verdict::kTransactionComplete, "answers", "the request comes to no end");
    const Bytes answer = machine_->get_result();
    run_.expect(answer.size() >= 2 && answer[0] == (request[0] | 4) && answer[1] == request[1], "own-answer",
                "the answer is to something else: " + to_hex(answer));
    const bool whole = answer.size() == request.size() + 1 && std::equal(request.begin() + 2, request.end(), answer.begin() + 3);
    run_.expect(whole, "own-answer", "the BMC has understood something else: " + std::to_string(answer.size()) +
                                         " bytes come back, " + std::to_string(request.size() + 1) + " are due");
  }
  // A request that must be answered well.
  void good(ByteView request, Duration pause = microseconds(250)) {
    start(request);
    const Verdict verdict = finish(pause, minutes(2));
    const Bytes answer = verdict == Verdict::kTransactionComplete ? machine_->get_result() : Bytes{};
    run_.expect(answer.size() >= 3 && answer[2] == 0 && !machine_->result_failure(), "answers",
                "a request that the BMC would answer well ends " +
                    (verdict == Verdict::kHosed ? std::string("hosed") : "with " + to_hex(answer)));
  }

 private:
  static lab::BmcOptions options(InterfaceKind kind) {
    lab::BmcOptions o;
    o.kind = kind;
    o.interrupt = false;
    o.steady = true;
    o.judge_host = true;
    return o;
  }
  class StoryTrace final : public state_machine::Trace {
   public:
    explicit StoryTrace(Run& run) : run_(run) {}
    bool wanted() const override { return run_.options.story; }
    void line(std::string text) override { run_.tell(std::move(text)); }

   private:
    Run& run_;
  };

  Run& run_;
  const state_machine::Profile profile_;
  LabBmc bmc_;
  std::unique_ptr<registers::RegisterPort> port_;
  StoryTrace trace_;
  std::unique_ptr<state_machine::StateMachine> machine_;
  Duration credit_{};
};

constexpr std::array<uint8_t, 2> kGetDeviceId = {0x18, 0x01};

struct Piece {
  const char* name;
  const char* title;
  const char* source;
  const char* was;
  std::vector<Expectation> as_it_was;
  void (*body)(Run&, std::string_view profile);
};

// A byte that the BMC does not take.
void kcs_abort_on_a_full_buffer(Run& run, std::string_view profile) {
  Bench b(run, profile, InterfaceKind::kKcs);
  b.good(kGetDeviceId);
  b.fault("hold=ibf");
  b.start(kGetDeviceId);
  b.finish(milliseconds(10), minutes(5));
}

void kcs_reads_nothing(Run& run, std::string_view profile) {
  Bench b(run, profile, InterfaceKind::kKcs);
  b.fault("withhold=obf duration=100ms phase=write count=1");
  b.good(kGetDeviceId);
}

// The read phase uses up most of what there is for OBF; then the transfer fails, and the abort needs a little.
void kcs_stale_budget(Run& run, std::string_view profile) {
  Bench b(run, profile, InterfaceKind::kKcs);
  b.fault("withhold=obf duration=4900ms phase=read count=1");
  b.fault("withhold=obf duration=300ms phase=error count=1");
  b.start(kGetDeviceId);
  b.idle(milliseconds(1), milliseconds(4800));
  b.fault("bmc=error count=1");
  b.idle(milliseconds(1), milliseconds(50));
  run.expect(b.finish(milliseconds(1), minutes(2)) == Verdict::kTransactionComplete, "answers",
             "an abort that needs 300 ms is given up, for want of the time that an earlier phase had used");
}

void kcs_dummy_byte(Run& run, std::string_view profile) {
  Bench b(run, profile, InterfaceKind::kKcs);
  for (int i = 0; i < 3; ++i) {
    b.good(kGetDeviceId);
    b.idle(milliseconds(1), milliseconds(5));
  }
}

void bt_comes_to_look(Run& run, std::string_view profile) {
  Bench b(run, profile, InterfaceKind::kBt);
  b.good(kGetDeviceId);
}

void bt_dead_at_probe(Run& run, std::string_view profile) {
  Bench b(run, profile, InterfaceKind::kBt);
  b.fault("drop=request");
  b.start(kGetDeviceId);
  b.finish(milliseconds(10), minutes(5));
}

void bt_answer_stays(Run& run, std::string_view profile) {
  Bench b(run, profile, InterfaceKind::kBt);
  b.good(kGetDeviceId);
  b.fault("hold=b2h_atn");
  b.start(kGetDeviceId);
  b.finish(milliseconds(10), minutes(5));
}

void bt_long_request(Run& run, std::string_view profile) {
  Bench b(run, profile, InterfaceKind::kBt);
  Bytes request(260, 0xa5);
  request[0] = lab::kEchoNetFn << 2;
  request[1] = lab::kEchoCmd;
  b.good(kGetDeviceId);
  b.good_or_refused(request, 0xc8);
}

void bt_any_answer(Run& run, std::string_view profile) {
  Bench b(run, profile, InterfaceKind::kBt);
  b.fault("answer_cmd=2 netfn=0x30 count=1");
  const Bytes request{lab::kEchoNetFn << 2, lab::kEchoCmd, 1};
  b.start(request);
  b.comes_back(request);
}

void bt_register_reads(Run& run, std::string_view profile) {
  constexpr uint64_t kEnough = 35;
  Bench b(run, profile, InterfaceKind::kBt);
  b.good(kGetDeviceId);
  const uint64_t before = b.bmc().host_accesses();
  b.good(kGetDeviceId);
  const uint64_t accesses = b.bmc().host_accesses() - before;
  run.expect(accesses <= kEnough, "accesses", "Get Device ID takes " + std::to_string(accesses) + " register accesses");
}

void bt_remembers_free(Run& run, std::string_view profile) {
  Bench b(run, profile, InterfaceKind::kBt);
  b.good(kGetDeviceId);
  b.fault("hold=b_busy duration=300ms");
  b.good(kGetDeviceId);
}

void smic_long_steps(Run& run, std::string_view profile) {
  Bench b(run, profile, InterfaceKind::kSmic);
  b.good(kGetDeviceId);
  b.fault("hold=busy");
  b.start(kGetDeviceId);
  b.finish(milliseconds(2500), minutes(10));
}

}  // namespace

Exhibits machines() {
  const std::vector<Piece> all = {
      {"kcs-abort-on-a-full-buffer", "an input buffer that stays full is written over by the abort",
       "Reference A.6-3, from the source of 6.1",
       "When IBF had not gone away in time the machine began its abort at once: a command into a buffer that the BMC had not "
       "emptied. And where HOSED came in the middle of an abort, the next step of the abort wrote over it (A.6-1, A.6-2).",
       {{"hardened-kcs_stop_after_timeout", "registers", "(IBF)"}},
       &kcs_abort_on_a_full_buffer},
      {"kcs-reads-nothing", "a byte is read at the start of each write, whether or not there is one",
       "Reference A.6-4, from the source of 6.1",
       "The read clears OBF. It was made without a look whether OBF was set, and takes away what comes at that moment.",
       {{"hardened-kcs_check_obf_at_write_start", "registers", "(OBF)"}},
       &kcs_reads_nothing},
      {"kcs-stale-budget", "an abort runs on what the interrupted phase had left of its time",
       "\"ipmi: Reset the KCS timeout when starting in error recovery\", 2014; reference A.6-5, G-07",
       "OBF was late by nearly its five seconds when the transfer failed. The abort, which needed a third of a second, was given "
       "the rest, and given up.",
       {{"hardened-kcs_rearm_budget_in_recovery+kcs_error_retries_max=1", "answers", "an earlier phase"},
        {"hardened+kcs_error_retries_max=1", "", ""}},
       &kcs_stale_budget},
      {"kcs-dummy-byte", "the last byte of an answer stays in the register, and the next request begins on top of it",
       "edk2#12577", "After the answer's last byte the BMC puts one more, which only says that it is there. It was left.",
       {{"hardened+kcs_leaves_dummy_byte", "registers", "(OBF)"}},
       &kcs_dummy_byte},
      {"bt-comes-to-look", "a host that comes to look resets the BMC",
       "Reference B.4: detect() of 6.1 writes INTMASK 80h", "A bit in INTMASK asks the BMC for a hardware reset. It was written "
       "whenever a driver attached, and BMCs that implement it went away for a minute.",
       {{"hardened-bt_gentle_detect", "registers", "asked nothing yet"}},
       &bt_comes_to_look},
      {"bt-dead-at-probe", "a BMC that does not answer the first request is reset, again and again",
       "Reference B.6-6, G-83, from the source of 6.1",
       "Whether to reset was told by the sequence number, which does not move while one request is tried. At probe, where it is "
       "small, there is no end.",
       {{"hardened-bt_bounded_resets", "registers", "never had an answer"}},
       &bt_dead_at_probe},
      {"bt-answer-stays", "B2H_ATN that never goes away is drained for ever",
       "Reference B.5, B.6-1, B.6-2, from the source of 6.1",
       "A stale answer is drained before a request begins, with H_BUSY toggled blindly: where it was set it is clear while the "
       "buffer is read, and set afterwards. Where B2H_ATN stays the request never begins, and its time does not pass.",
       {{"hardened-bt_safe_drain", "registers", "H_BUSY"}},
       &bt_answer_stays},
      {"bt-long-request", "the length byte of a long request counts on from zero",
       "Reference B.2", "BT's length byte counts up to 255, and the driver takes messages of 272 bytes. The BMC read the first few "
       "and executed those.",
       {{"hardened-bt_frame_limit", "own-answer", "something else"}},
       &bt_long_request},
      {"bt-any-answer", "the answer to an earlier request is taken for this one's",
       "ipmitool#82, ipmitool#399; reference B.6-10",
       "NetFn, sequence number and command of an answer were not held against the request's. The answer to something else was "
       "handed to the caller.",
       {{"hardened+bt_accepts_any_answer", "own-answer", "something else"}},
       &bt_any_answer},
      {"bt-register-reads", "every state looks at CTRL for itself",
       "Reference B.3, from the source of 6.1; over a network each look is a round trip",
       "Three states in a row read the same register, of which nobody has changed anything in between.",
       {{"hardened-bt_carry_control", "accesses", "register accesses"}},
       &bt_register_reads},
      {"bt-remembers-free", "B_BUSY once seen clear is never looked at again",
       "op-build#207", "The flag that said \"free\" was kept from one request to the next. The second was written over a BMC that was "
       "still reading the first.",
       {{"hardened+bt_caches_b_busy", "registers", "is the BMC's"}},
       &bt_remembers_free},
      {"smic-long-steps", "a step of two seconds or more does not count",
       "Reference C.1, from the source of 6.1",
       "Time that seemed too long to be true was left out of account. Who is called rarely never times out.",
       {{"hardened-smic_count_long_steps", "no-end", "has said nothing"}},
       &smic_long_steps},
  };
  Exhibits out;
  for (const Piece& piece : all) {
    FunctionExhibit::Label label;
    label.name = piece.name;
    label.title = piece.title;
    label.source = piece.source;
    label.was = piece.was;
    label.expectations = piece.as_it_was;
    label.expectations.push_back({"hardened", "", ""});
    label.budget = 20;
    label.world.stalls = false;
    out.push_back(std::make_unique<FunctionExhibit>(std::move(label), piece.body));
  }
  return out;
}

}  // namespace bmcpair::scenarios
