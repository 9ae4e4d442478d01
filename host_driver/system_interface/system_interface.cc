#include "host_driver/system_interface/system_interface.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

namespace bmcpair::host::inline BMCPAIR_RT {

using registers::InterfaceKind;
using state_machine::Verdict;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

// App, LUN 0 (IPMI 2.0 appendix G).
constexpr uint8_t kApp = 0x18;
constexpr uint8_t kAppResponse = 0x1c;
constexpr uint8_t kGetDeviceId = 0x01;
constexpr uint8_t kSetEnables = 0x2e;
constexpr uint8_t kGetEnables = 0x2f;
constexpr uint8_t kClearFlags = 0x30;
constexpr uint8_t kGetFlags = 0x31;
constexpr uint8_t kGetMessage = 0x33;
constexpr uint8_t kReadEvent = 0x35;
constexpr uint8_t kGetBtCapabilities = 0x36;

// Get Message Flags (§22.4).
constexpr uint8_t kFlagMessage = 0x01;
constexpr uint8_t kFlagEvent = 0x02;
constexpr uint8_t kFlagPretimeout = 0x08;

// BMC Global Enables (§22.1).
constexpr uint8_t kEnableMessageIrq = 0x01;
constexpr uint8_t kEnableEventIrq = 0x02;
constexpr uint8_t kEnableEventBuffer = 0x04;
constexpr uint8_t kEnablesOurs = 0x07;

constexpr uint8_t kCcHosed = 0x82;
constexpr uint8_t kCcUnspecified = 0xff;

constexpr size_t kEventResponseBytes = 19;  // NetFn, Cmd, CC and the record (G-71)
constexpr size_t kDeviceIdBytesMin = 9;     // NetFn, Cmd, CC and 6 bytes

constexpr Duration kPollFirst = microseconds(50);
constexpr Duration kPollMax = milliseconds(5);
constexpr Duration kLongTimerMax = milliseconds(250);
constexpr Duration kTick = milliseconds(1);
constexpr Duration kWatchMessages = milliseconds(10);
constexpr Duration kWatchOthers = milliseconds(250);
constexpr Duration kAttentionPause = milliseconds(100);  // when there was no memory to fetch into
constexpr Duration kReprobeFirst = seconds(1);
constexpr Duration kReprobeMax = seconds(8);
constexpr Duration kPanicTakeMax = seconds(1);
constexpr Duration kFlushMax = seconds(5);
constexpr Duration kFlushStep = microseconds(250);
constexpr Duration kPollStep = microseconds(10);
// A profile without its own bound is a kernel that locks up (G-60, G-115); a process says so and goes on.
constexpr unsigned kLockupSteps = 1u << 20;

// Fault points: the steps of D.7, in its numbers.
constexpr std::string_view kStartUpSteps[] = {
    "si.start_up.1",   // select the machine
    "si.start_up.2",   // allocate
    "si.start_up.3",   // map the registers
    "si.start_up.4",   // detect
    "si.start_up.5",   // Get Device ID
    "si.start_up.6",   // OEM hooks: there are none here
    "si.start_up.7",   // can the receive interrupt be disabled
    "si.start_up.8",   // can it be enabled
    "si.start_up.9",   // event buffer
    "si.start_up.10",  // Clear Message Flags
    "si.start_up.11",  // interrupts wanted
    "si.start_up.12",  // attributes: there are none here
    "si.start_up.13",  // start_processing()
};

SmiMessage* closed() {
  static SmiMessage marker;
  return &marker;
}

[[noreturn]] void our_mistake(const char* what, std::string_view machine_state) {
  rt::fatal("system interface: " + std::string(what) + " (machine in " + std::string(machine_state) + ')');
}

// Nothing is formatted, and so nothing allocated, on the panic path.
class TraceGate final : public state_machine::Trace {
 public:
  TraceGate(std::shared_ptr<state_machine::Trace> to, const rt::Atomic<bool>& muted)
      : to_(std::move(to)), muted_(muted) {}
  bool wanted() const override { return open() && to_->wanted(); }
  void line(std::string text) override { to_->line(std::move(text)); }
  void request(ByteView message) override {
    if (open()) to_->request(message);
  }
  void response(ByteView message) override {
    if (open()) to_->response(message);
  }
  void no_response(ErrorCode why, uint8_t cc) override {
    if (open()) to_->no_response(why, cc);
  }

 private:
  bool open() const { return to_ && !muted_.peek(); }

  std::shared_ptr<state_machine::Trace> to_;
  const rt::Atomic<bool>& muted_;
};

Error start_up_error(size_t step) {
  return {ErrorCode::kInternal, "start-up failed as was asked for, at " + std::string(kStartUpSteps[step - 1])};
}

ErrorCode failure_of(uint8_t refusal) {
  switch (refusal) {
    case 0xc0: return ErrorCode::kUnavailable;
    case 0xc7:
    case 0xc8: return ErrorCode::kInvalidArgument;
    case 0xd5: return ErrorCode::kBusy;
    default: return ErrorCode::kProtocol;
  }
}

}  // namespace

std::string_view to_string(InterfaceState state) {
  switch (state) {
    case InterfaceState::kStarting: return "starting";
    case InterfaceState::kUp: return "up";
    case InterfaceState::kHosed: return "hosed";
    case InterfaceState::kLinkDown: return "link down";
    case InterfaceState::kStopped: return "stopped";
  }
  return "unknown";
}

std::string_view to_string(SiStatistic statistic) {
  static constexpr std::string_view kNames[kSiStatistics] = {
      "short_timeouts", "long_timeouts", "idles",  "interrupts",           "attentions",       "flag_fetches",
      "hosed_count",    "complete_transactions", "events", "watchdog_pretimeouts", "incoming_messages"};
  const auto i = static_cast<size_t>(statistic);
  return i < kSiStatistics ? kNames[i] : "unknown";
}

SystemInterface::SystemInterface(std::shared_ptr<registers::RegisterPort> port, SystemInterfaceOptions options)
    : port_(std::move(port)),
      options_(std::move(options)),
      profile_(options_.profile ? *options_.profile : state_machine::hardened()),
      waiting_(closed()),
      work_([this] { on_work(); }),
      timer_([this] { on_timer(); }) {
  trace_ = std::make_unique<TraceGate>(options_.trace, run_to_completion_);
}

SystemInterface::~SystemInterface() { shutdown(); }

// ---- the slot between sender() and the machine -------------------------------------------------------------------------

void SystemInterface::close_slot(ErrorCode why) {
  refusal_.store(why, std::memory_order_relaxed);
  SmiMessage* held = waiting_.exchange(closed(), std::memory_order_acq_rel);
  // G-63, G-66: whoever got in before the slot closed is answered, whoever comes after is refused.
  if (held && held != closed()) {
    answer(held, profile_.si_hosed_backoff && why != ErrorCode::kShutdown ? kCcHosed : kCcUnspecified, why);
  }
}

void SystemInterface::open_slot() {
  SmiMessage* expected = closed();
  waiting_.compare_exchange(expected, nullptr, std::memory_order_acq_rel, std::memory_order_relaxed);
}

Status SystemInterface::sender(SmiMessage* message) {
  if (message->data_size < 2 || message->data_size > ipmi::kMessageBytesMax) {
    return Error{ErrorCode::kInvalidArgument, "a message has 2 to 272 bytes, not " + std::to_string(message->data_size)};
  }
  // In the panic, of a machine that nobody got back: its slot may still be full.
  if (abandoned_.load(std::memory_order_relaxed)) return Error{ErrorCode::kHosed, {}};
  SmiMessage* expected = nullptr;
  if (profile_.si_tests_hosed_before_lock) {
    expected = waiting_.load(std::memory_order_acquire);
    rt::fault_point("si.sender.tested");
    if (!expected) waiting_.store(message, std::memory_order_release);
  } else {
    waiting_.compare_exchange(expected, message, std::memory_order_acq_rel, std::memory_order_acquire);
  }
  if (expected) {
    if (expected != closed()) our_mistake("a second message was sent while one waits", "any state");
    const ErrorCode why = refusal_.load(std::memory_order_relaxed);
    // A code without a text: this may be the panic path.
    return Error{why, {}};
  }
  rt::fault_point("si.sender.waiting");  // seed 1, (2)
  if (profile_.si_send_trusts_timer && timer_armed_.load(std::memory_order_relaxed)) return {};
  if (!run_to_completion_.load(std::memory_order_acquire)) work_.schedule();
  return {};
}

bool SystemInterface::holds_message() const {
  if (abandoned_.load(std::memory_order_relaxed)) return false;  // what it has, it will not answer any more
  SmiMessage* held = waiting_.load(std::memory_order_acquire);
  return (held && held != closed()) || current_.load(std::memory_order_acquire);
}

// ---- who drives ------------------------------------------------------------------------------------------------------

// Who drives is not stopped by a panic before it has let go, as a processor with its interrupts off is not: stopped in a
// register access it would keep the machine, and the panic could tell nobody (E.13).
bool SystemInterface::take_machine() {
  rt::disable_interrupts();
  bool expected = false;
  if (driving_.compare_exchange(expected, true, std::memory_order_acquire, std::memory_order_relaxed)) return true;
  rt::enable_interrupts();
  return false;
}

void SystemInterface::release_machine() {
  driving_.store(false, std::memory_order_release);
  rt::enable_interrupts();
}

bool SystemInterface::take_machine_in_panic() {
  if (abandoned_.load(std::memory_order_relaxed)) return false;
  if (profile_.si_panic_ignores_owner) {
    rt::disable_interrupts();
    driving_.store(true, std::memory_order_relaxed);
    return true;
  }
  const Instant deadline = rt::now() + kPanicTakeMax;
  while (!take_machine()) {
    if (rt::now() >= deadline) {
      // It never came back from a register access: two drivers would be worse than a lost message (G-38).
      abandoned_.store(true, std::memory_order_relaxed);
      return false;
    }
    rt::cpu_relax(kFlushStep);
  }
  return true;
}

void SystemInterface::on_work() {
  std::optional<BringUpReport> report;
  {
    rt::LockGuard lock(lock_);
    if (run_to_completion_.load(std::memory_order_acquire)) return;
    pass(Source::kWork, Duration::zero());
    report = take_report();
  }
  if (report) report->tell();
}

void SystemInterface::on_timer() {
  // G-08: whether to arm again is decided in here, and done after the lock.
  const bool later = profile_.si_arms_outside_lock;
  bool rest = false;
  Verdict verdict = Verdict::kIdle;
  std::optional<BringUpReport> report;
  {
    rt::LockGuard lock(lock_);
    if (run_to_completion_.load(std::memory_order_acquire)) return;
    if (ended_) our_mistake("the timer runs after the shutdown", "any state");
    if (!later) timer_is(false);
    // D.5: only the timer credits time, and all of it that passed (B.6-8, G-51).
    const Instant now = rt::now();
    const Duration credit = now - last_credit_;
    last_credit_ = now;
    count(credit < kLongTimer ? SiStatistic::kShortTimeouts : SiStatistic::kLongTimeouts);
    verdict = pass(Source::kTimer, credit);
    rest = rests(verdict);
    report = take_report();
  }
  if (later) {
    rt::fault_point("si.timer.decided");
    rt::LockGuard lock(lock_);
    timer_is(false);
    if (!rest) arm_after(verdict);
  }
  if (report) report->tell();
}

// From a context of the port's: only schedules.
void SystemInterface::on_interrupt(bool level) {
  if (!level) return;
  // Nothing older than the newest: an edge dropped as if nobody listened yet leaves the line up, and there is no second.
  Phase running = Phase::kRunning;
  if (!phase_.compare_exchange(running, Phase::kRunning, std::memory_order_acq_rel, std::memory_order_acquire)) return;
  interrupt_pending_.store(true, std::memory_order_seq_cst);
  // A line that keeps coming for nothing is looked at by the timer only.
  if (idle_interrupts_.load(std::memory_order_seq_cst) >= kIdleInterruptsMax) return;
  work_.schedule();
}

void SystemInterface::on_link() {
  const Phase phase = phase_.load(std::memory_order_acquire);
  if (phase == Phase::kBringingUp || phase == Phase::kRunning) work_.schedule();
}

Verdict SystemInterface::pass(Source source, Duration credit) {
  const Phase phase = phase_.load(std::memory_order_acquire);
  if (phase != Phase::kRunning && (phase != Phase::kBringingUp || source == Source::kPanic)) return Verdict::kIdle;
  if (!(source == Source::kPanic ? take_machine_in_panic() : take_machine())) return Verdict::kHosed;

  const auto progress = [this] {
    return transactions_ + counters_[static_cast<size_t>(SiStatistic::kCompleteTransactions)].value();
  };
  const uint64_t before = progress();
  const bool interrupted = interrupt_pending_.exchange(false, std::memory_order_seq_cst);
  if (interrupted) {
    count(SiStatistic::kInterrupts);
    if (machine_ && state_ != SiState::kLinkDown) machine_->acknowledge_interrupt();
  }
  pass_prologue(source, phase);
  if (!deliver()) return Verdict::kHosed;
  Verdict verdict = Verdict::kIdle;
  if (state_ != SiState::kHosed && state_ != SiState::kLinkDown && state_ != SiState::kStopped && !probe_waiting_) {
    const std::optional<Verdict> got = event_loop(source, credit);
    if (!got) return Verdict::kHosed;
    verdict = *got;
  }
  if (source == Source::kPanic) {
    release_machine();
    return verdict;
  }
  const unsigned idle_before = idle_interrupts_.peek();
  unsigned idle = idle_before;
  if (!interrupted || progress() != before) {
    idle = 0;
  } else if (verdict == Verdict::kIdle) {
    idle = std::min(idle + 1, kIdleInterruptsMax);
  }
  if (idle != idle_before) {
    idle_interrupts_.store(idle, std::memory_order_seq_cst);
    // One that came while they were too many for on_interrupt() to schedule anything.
    if (idle == 0 && interrupt_pending_.load(std::memory_order_seq_cst)) work_.schedule();
  }
  check_invariant();
  if (source != Source::kTimer || !profile_.si_arms_outside_lock) arm_after(verdict);
  InterfaceStatus next = status_now();
  release_machine();
  publish(std::move(next));
  return verdict;
}

// Where nothing is to be driven: the link, the back-off of a hosed interface, a probe to begin or to resume.
void SystemInterface::pass_prologue(Source source, Phase phase) {
  const Instant now = rt::now();
  if (phase == Phase::kBringingUp && state_ == SiState::kStopped) {
    begin_probe();
    return;
  }
  if (state_ != SiState::kLinkDown && !link_present()) {
    link_lost();
  }
  if (state_ == SiState::kLinkDown && source != Source::kPanic && port_->link().up && now >= reprobe_at_) begin_probe();
  if (state_ == SiState::kProbing) {
    if (now >= probe_deadline_) {
      probe_failed(Error{ErrorCode::kTimeout, "the BMC did not come up within " +
                                                  std::to_string(to_us(options_.bring_up_limit) / 1000) + " ms"});
    } else if (probe_waiting_ && now >= probe_resume_) {
      probe_waiting_ = false;
      probe(probe_step_);
    }
  }
  // D.9: left from the timer only, and not before its time (G-64).
  const bool due = now >= hosed_until_ || profile_.si_hosed_backoff_overwritten;
  if (state_ == SiState::kHosed && source == Source::kTimer && due) {
    if (profile_.si_hosed_forgets_waiting) open_slot();
    state_ = SiState::kNormal;
    start_get_flags();
    hosed_probe_ = state_ == SiState::kGettingFlags;
    if (!hosed_probe_) {
      state_ = SiState::kHosed;
      hosed_until_ = now + kHosedBackoff;
    }
  }
}

// ---- one event pass (D.3) --------------------------------------------------------------------------------------------

bool SystemInterface::idle_and_normal() const {
  return state_ == SiState::kNormal && !current_.peek();
}

std::optional<Verdict> SystemInterface::event_loop(Source source, Duration credit) {
  unsigned steps = 0;
  bool progress = false;
  const unsigned steps_max = profile_.si_bounded_event_steps ? kStepsPerPassMax : kLockupSteps;

  // The kick of sender(): D.3. Old kernels asked only their own books, hardened asks the machine too (D.11 W1-W3).
  if (idle_and_normal()) {
    if (start_next() && !deliver()) return std::nullopt;
  }
  if (profile_.mh_panic_resends) {
    // The proposal takes the mark away here, so not from what the loop itself starts.
    if (SmiMessage* message = current_.peek()) message->resend_on_panic = false;
  }
  for (;;) {
    Verdict verdict;
    do {
      if (source != Source::kPanic && run_to_completion_.load(std::memory_order_acquire)) return Verdict::kHosed;
      verdict = machine_->event(credit);
      credit = Duration::zero();
      progress |= verdict == Verdict::kCallWithoutDelay;
      // What was read from a bus that is not there means nothing.
      if (!link_present()) {
        link_lost();
        return deliver() ? std::optional(Verdict::kIdle) : std::nullopt;
      }
      if (++steps >= steps_max) {
        // G-60, G-115: whatever the registers say, a pass ends.
        if (!profile_.si_bounded_event_steps) log("lockup: a million steps in one event call");
        if (verdict == Verdict::kTransactionComplete || verdict == Verdict::kHosed) break;
        return Verdict::kCallWithTickDelay;
      }
    } while (verdict == Verdict::kCallWithoutDelay);

    if (verdict == Verdict::kTransactionComplete) {
      count(SiStatistic::kCompleteTransactions);
      complete();
      if (!deliver()) return std::nullopt;
      if (state_ == SiState::kLinkDown || state_ == SiState::kStopped || probe_waiting_) return Verdict::kIdle;
      if (phase_.load(std::memory_order_relaxed) == Phase::kReady) return Verdict::kIdle;
      if (steps >= steps_max) return Verdict::kCallWithTickDelay;
      continue;
    }
    if (verdict == Verdict::kHosed) {
      hosed();
      if (!deliver()) return std::nullopt;
      if (state_ == SiState::kHosed || state_ == SiState::kLinkDown || state_ == SiState::kStopped) {
        return Verdict::kIdle;
      }
      if (steps >= steps_max) return Verdict::kCallWithTickDelay;
      continue;
    }

    SmiMessage* held = waiting_.load(std::memory_order_acquire);
    const bool waits = held && held != closed();
    // Attention before messages, messages before a second flag fetch in a row. BT's attention is only latched (its bit is
    // cleared when seen); Linux lets a message overtake it, and then takes the one's answer for the other's (W7).
    const bool message_next = last_was_flag_fetch_ && !profile_.si_attention_starves_messages;
    const bool attention_first = profile_.si_refused_start_keeps_state && got_attention_ && !message_next &&
                                 state_ == SiState::kNormal && rt::now() >= attention_not_before_;
    if ((verdict == Verdict::kIdle && !attention_first) || (verdict == Verdict::kAttention && waits && message_next)) {
      last_was_flag_fetch_ = false;
      count(SiStatistic::kIdles);
      if (verdict == Verdict::kAttention) got_attention_ = true;
      if (state_ == SiState::kNormal) {
        SmiMessage* current = current_.peek();
        if (current && !current_started_) {
          // E.13: stopped between taking a message and starting it.
          if (profile_.si_waiting_cleared_before_start) {
            current_.store(nullptr, std::memory_order_release);
          } else {
            start_current();
            SmiMessage* taken = current;
            if (profile_.si_waiting_cleared_after_start) {
              waiting_.compare_exchange(taken, nullptr, std::memory_order_acq_rel, std::memory_order_relaxed);
            }
          }
          if (!deliver()) return std::nullopt;
          continue;
        }
        if (!current && start_next()) {
          if (!deliver()) return std::nullopt;
          continue;
        }
      }
    }

    // During bring-up, and while an internal transaction runs, attention waits.
    if (verdict == Verdict::kAttention || got_attention_) {
      got_attention_ = true;
      const bool free =
          !profile_.si_refused_start_keeps_state || (machine_->idle() && !current_.peek());
      if (state_ == SiState::kNormal && free && rt::now() >= attention_not_before_) {
        got_attention_ = false;
        count(SiStatistic::kAttentions);
        start_get_flags();
        if (state_ == SiState::kGettingFlags) continue;
        got_attention_ = true;
      }
    }
    if (verdict == Verdict::kIdle && idle_and_normal() && request_events_.load(std::memory_order_relaxed)) {
      request_events_.store(false, std::memory_order_relaxed);
      if (supports_event_buffer_ || use_irq_) {
        start_check_enables();
      } else {
        start_fetch(SiState::kGettingEvents, kReadEvent);
      }
      if (state_ != SiState::kNormal) continue;
    }
    if (progress) busy_since_ = rt::now();
    return verdict;
  }
}

void SystemInterface::hosed() {
  count(SiStatistic::kHosedCount);
  drop_fetch();
  if (state_ == SiState::kProbing) {
    probe_failed(Error{ErrorCode::kHosed, "the interface failed while the BMC was being identified"});
    return;
  }
  if (!profile_.si_hosed_backoff) {
    state_ = SiState::kNormal;
    fail_held(kCcUnspecified, ErrorCode::kHosed);
    return;
  }
  state_ = SiState::kHosed;
  hosed_probe_ = false;
  got_attention_ = false;
  hosed_until_ = rt::now() + kHosedBackoff;
  fail_held(kCcHosed, ErrorCode::kHosed);
  if (profile_.si_hosed_forgets_waiting) {
    SmiMessage* none = nullptr;
    refusal_.store(ErrorCode::kHosed, std::memory_order_relaxed);
    waiting_.compare_exchange(none, closed(), std::memory_order_acq_rel, std::memory_order_relaxed);
  } else {
    close_slot(ErrorCode::kHosed);
  }
}

// ---- messages --------------------------------------------------------------------------------------------------------

bool SystemInterface::start_next() {
  SmiMessage* message = waiting_.load(std::memory_order_acquire);
  if (!message || message == closed()) return false;
  if (profile_.si_gate_on_machine && !machine_->idle() && !machine_->unavailable()) return false;
  current_started_ = false;
  if (profile_.si_waiting_cleared_before_start) {
    if (!waiting_.compare_exchange(message, nullptr, std::memory_order_acq_rel, std::memory_order_relaxed)) {
      return false;
    }
    rt::fault_point("si.start.taken");  // seed 1, (3)
    current_.store(message, std::memory_order_release);
    rt::fault_point("si.start.current");
    start_current();
    return true;
  }
  // Held by one or the other at every instant: a panic between the two finds it (E.13, window 2-3).
  current_.store(message, std::memory_order_release);
  if (profile_.si_waiting_cleared_after_start) {
    rt::fault_point("si.start.taken");
    start_current();
    waiting_.compare_exchange(message, nullptr, std::memory_order_acq_rel, std::memory_order_relaxed);
    return true;
  }
  if (!waiting_.compare_exchange(message, nullptr, std::memory_order_acq_rel, std::memory_order_relaxed)) {
    current_.store(nullptr, std::memory_order_release);  // the slot was closed meanwhile, and the message answered
    return false;
  }
  rt::fault_point("si.start.taken");  // seed 1, (3)
  start_current();
  return true;
}

void SystemInterface::start_current() {
  SmiMessage* message = current_.peek();
  const uint8_t refusal = machine_->start_transaction(ByteView(message->data, message->data_size));
  if (refusal == 0) {
    current_started_ = true;
    trace_->request(ByteView(message->data, message->data_size));
    transaction_started();
    rt::fault_point("si.start.started");  // seed 1, (4)
    return;
  }
  if (refusal == 0xd5 && profile_.si_gate_on_machine) our_mistake("an idle machine refused a message", machine_->state_name());
  current_.store(nullptr, std::memory_order_release);
  answer(message, refusal, failure_of(refusal));
}

void SystemInterface::transaction_started() {
  ++transactions_;
  busy_since_ = last_credit_ = rt::now();
}

bool SystemInterface::start_internal(ByteView request, SiState state) {
  const bool gate = profile_.si_refused_start_keeps_state;
  if (gate && !machine_->idle()) return false;
  const uint8_t refusal = machine_->start_transaction(request);
  // D.11 W7: old kernels change their state even so, and take the running transaction's answer for this one's.
  if (refusal && gate) return false;
  state_ = state;
  if (!refusal) {
    trace_->request(request);
    transaction_started();
  }
  return true;
}

void SystemInterface::start_get_flags() {
  const uint8_t request[] = {kApp, kGetFlags};
  start_internal(request, SiState::kGettingFlags);
}

void SystemInterface::start_check_enables() {
  const uint8_t request[] = {kApp, kGetEnables};
  if (!start_internal(request, SiState::kCheckingEnables)) request_events_.store(true, std::memory_order_relaxed);
}

SmiMessage* SystemInterface::allocate_message(uint8_t cmd) {
  if (run_to_completion_.load(std::memory_order_relaxed) || rt::fault_point("system_interface.allocate_message")) {
    return nullptr;
  }
  auto* message = new (std::nothrow) SmiMessage;
  if (!message) return nullptr;
  message->data[0] = kApp;
  message->data[1] = cmd;
  message->data_size = 2;
  message->done = [](SmiMessage* m) { delete m; };
  return message;
}

void SystemInterface::drop_fetch() {
  if (SmiMessage* message = std::exchange(fetch_, nullptr)) message->done(message);
}

void SystemInterface::hand_up(SmiMessage* message) {
  message->next = nullptr;
  (up_last_ ? up_last_->next : up_first_) = message;
  up_last_ = message;
}

bool SystemInterface::deliver() {
  SmiMessage* list = std::exchange(up_first_, nullptr);
  up_last_ = nullptr;
  const bool pretimeout = std::exchange(pretimeout_due_, false);
  if (!list && !pretimeout) return true;
  SmiUpcalls* upcalls = upcalls_;
  // G-05; in a panic there is no lock to drop.
  const bool unlock = profile_.si_deliver_unlocked && !run_to_completion_.load(std::memory_order_relaxed);
  release_machine();
  if (unlock) {
    lock_.unlock();
    rt::fault_point("si.deliver.unlocked");
  }
  if (pretimeout && upcalls) upcalls->watchdog_pretimeout();
  while (list) {
    SmiMessage* message = list;
    list = list->next;
    message->next = nullptr;
    if (upcalls) {
      upcalls->message_received(message);
    } else if (message->done) {
      message->done(message);
    }
  }
  if (unlock) lock_.lock();
  return take_machine();
}

void SystemInterface::answer(SmiMessage* message, uint8_t cc, ErrorCode why) {
  message->rsp[0] = static_cast<uint8_t>(message->data[0] | 4);
  message->rsp[1] = message->data[1];
  message->rsp[2] = cc;
  message->rsp_size = 3;
  message->failed = true;
  message->failure = why;
  trace_->no_response(why, cc);
  hand_up(message);
}

void SystemInterface::fail_held(uint8_t cc, ErrorCode why) {
  if (SmiMessage* message = current_.exchange(nullptr, std::memory_order_acq_rel)) answer(message, cc, why);
}

// ---- completions (D.4) -----------------------------------------------------------------------------------------------

void SystemInterface::trace_result(ByteView rsp, std::optional<ErrorCode> ours) {
  if (ours) {
    trace_->no_response(*ours, rsp.size() > 2 ? rsp[2] : 0xff);
  } else {
    trace_->response(rsp);
  }
}

void SystemInterface::complete() {
  if (state_ == SiState::kNormal) {
    SmiMessage* message = current_.peek();
    if (!message) return;
    message->rsp_size =
        static_cast<uint16_t>(machine_->take_result(std::span<uint8_t, ipmi::kMessageBytesMax>(message->rsp)));
    const std::optional<ErrorCode> ours = machine_->result_failure();
    trace_result(ByteView(message->rsp).first(message->rsp_size), ours);
    message->failed = ours.has_value();
    if (ours) message->failure = *ours;
    current_.store(nullptr, std::memory_order_release);
    rt::fault_point("si.complete.done");  // seed 1, (5)
    hand_up(message);
    return;
  }
  const size_t size = machine_->take_result(rsp_);
  const ByteView rsp(rsp_.data(), size);
  trace_result(rsp, machine_->result_failure());
  const bool ours = machine_->result_failure().has_value();
  const uint8_t cc = rsp[2];
  switch (state_) {
    case SiState::kGettingFlags:
      count(SiStatistic::kFlagFetches);
      if (hosed_probe_) {
        // It answers again: D.9. It may have restarted, so what it is to enable is looked at.
        hosed_probe_ = false;
        if (supports_event_buffer_ || use_irq_) request_events_.store(true, std::memory_order_relaxed);
        open_slot();
        log("the BMC answers again");
      }
      if (cc != 0 || size < 4) {
        state_ = SiState::kNormal;
      } else {
        message_flags_ = rsp[3];
        last_was_flag_fetch_ = true;
        handle_flags();
        // Attention about nothing: once in a while is enough.
        const bool pause = profile_.si_bounded_fetches && !profile_.si_attention_starves_messages;
        if (state_ == SiState::kNormal && pause && attention_not_before_ <= rt::now()) {
          attention_not_before_ = rt::now() + kLongTimer;
        }
      }
      break;
    case SiState::kClearingFlags:
      if (cc != 0) log("clearing the message flags failed");
      state_ = SiState::kNormal;
      break;
    case SiState::kGettingEvents: finish_fetch(SiState::kGettingEvents, kFlagEvent, rsp, ours); break;
    case SiState::kGettingMessages: finish_fetch(SiState::kGettingMessages, kFlagMessage, rsp, ours); break;
    case SiState::kCheckingEnables: {
      if (cc != 0 || size < 4) {
        log("reading the BMC's global enables failed");
        state_ = SiState::kNormal;
        break;
      }
      const uint8_t wanted = wanted_enables();
      if (machine_->kind() == InterfaceKind::kBt) {
        machine_->set_interrupt_enable(wanted & (kEnableMessageIrq | kEnableEventIrq));
      }
      if ((rsp[3] & kEnablesOurs) != wanted) {
        const uint8_t request[] = {kApp, kSetEnables, static_cast<uint8_t>((rsp[3] & ~kEnablesOurs) | wanted)};
        if (!start_internal(request, SiState::kSettingEnables)) state_ = SiState::kNormal;
      } else {
        after_enables();
      }
      break;
    }
    case SiState::kSettingEnables:
      if (cc != 0) log("setting the BMC's global enables failed");
      after_enables();
      break;
    case SiState::kProbing: complete_probe(rsp, ours); break;
    case SiState::kNormal:
    case SiState::kHosed:
    case SiState::kLinkDown:
    case SiState::kStopped: break;
  }
}

uint8_t SystemInterface::wanted_enables() const {
  uint8_t wanted = 0;
  if (supports_event_buffer_) wanted |= kEnableEventBuffer;
  if ((irq_usable() || cannot_disable_irq_) && !irq_enable_broken_) wanted |= kEnableMessageIrq;
  if (supports_event_buffer_ && irq_usable() && !irq_enable_broken_) wanted |= kEnableEventIrq;
  return wanted;
}

void SystemInterface::after_enables() {
  state_ = SiState::kNormal;
  if (!supports_event_buffer_ || phase_.load(std::memory_order_relaxed) == Phase::kStopped) return;
  SmiMessage* message = allocate_message(kReadEvent);
  if (!message) {
    if (profile_.si_stuck_without_memory) state_ = SiState::kSettingEnables;  // G-72
    return;
  }
  fetches_in_a_row_ = 0;
  const uint8_t request[] = {kApp, kReadEvent};
  if (start_internal(request, SiState::kGettingEvents)) {
    fetch_ = message;
  } else {
    message->done(message);
    request_events_.store(true, std::memory_order_relaxed);
  }
}

void SystemInterface::handle_flags() {
  if (message_flags_ & kFlagPretimeout) {
    count(SiStatistic::kWatchdogPretimeouts);
    message_flags_ = static_cast<uint8_t>(message_flags_ & ~kFlagPretimeout);
    pretimeout_due_ = true;
    const uint8_t request[] = {kApp, kClearFlags, kFlagPretimeout};
    if (!start_internal(request, SiState::kClearingFlags)) state_ = SiState::kNormal;
  } else if (message_flags_ & kFlagMessage) {
    start_fetch(SiState::kGettingMessages, kGetMessage);
  } else if (message_flags_ & kFlagEvent) {
    start_fetch(SiState::kGettingEvents, kReadEvent);
  } else {
    state_ = SiState::kNormal;
  }
}

// D.6.
void SystemInterface::memory_pressure() {
  // Level-triggered attention would ask again at once, for the same nothing.
  attention_not_before_ = rt::now() + kAttentionPause;
  got_attention_ = true;
  state_ = SiState::kNormal;
  if (!irq_usable()) return;
  log("no memory for a message: interrupts off until there is some");
  interrupt_disabled_ = true;
  start_check_enables();
  // D.11 W4, G-116: old kernels call this NORMAL although the enables request is on the wire.
  if (!profile_.si_keeps_enables_state) state_ = SiState::kNormal;
}

void SystemInterface::start_fetch(SiState state, uint8_t cmd) {
  if (state_ != state) fetches_in_a_row_ = 0;
  SmiMessage* message = allocate_message(cmd);
  if (!message) {
    memory_pressure();
    return;
  }
  if (use_irq_ && interrupt_disabled_) {
    // There is memory again: interrupts first, and the fetch when attention comes next.
    message->done(message);
    interrupt_disabled_ = false;
    state_ = SiState::kNormal;
    start_check_enables();
    if (!profile_.si_keeps_enables_state) state_ = SiState::kNormal;
    got_attention_ = true;
    return;
  }
  const uint8_t request[] = {kApp, cmd};
  if (start_internal(request, state)) {
    fetch_ = message;
  } else {
    message->done(message);
    state_ = SiState::kNormal;
    got_attention_ = true;
  }
}

void SystemInterface::finish_fetch(SiState state, uint8_t flag, ByteView rsp, bool ours) {
  SmiMessage* message = std::exchange(fetch_, nullptr);
  const bool fits = state != SiState::kGettingEvents || rsp.size() == kEventResponseBytes ||
                    profile_.si_takes_short_events;
  const bool good = !ours && rsp[2] == 0 && fits;
  const auto drop_flag = [&] { message_flags_ = static_cast<uint8_t>(message_flags_ & ~flag); };
  if (!message || !good) {
    if (message) message->done(message);
    drop_flag();
    handle_flags();
    return;
  }
  std::memcpy(message->rsp, rsp.data(), rsp.size());
  message->rsp_size = static_cast<uint16_t>(rsp.size());
  count(state == SiState::kGettingEvents ? SiStatistic::kEvents : SiStatistic::kIncomingMessages);
  // G-70: a BMC that always has one more lets users wait for ever. The flag is asked for again after one of them.
  if (++fetches_in_a_row_ >= kFetchesInARowMax && profile_.si_bounded_fetches) drop_flag();
  handle_flags();
  hand_up(message);
}

// ---- bring-up (D.7) --------------------------------------------------------------------------------------------------

void SystemInterface::start_bring_up(std::function<void(Status)> done) {
  {
    rt::LockGuard lock(lock_);
    if (phase_.load(std::memory_order_relaxed) == Phase::kNew) {
      bring_up_done_ = std::move(done);
      phase_.store(Phase::kBringingUp, std::memory_order_release);
      may_arm_.store(true, std::memory_order_relaxed);
      // Before the first access, as the port wants it; interrupts count from start_processing() on.
      port_->set_interrupt_handler([this](bool level) { on_interrupt(level); });
      port_->set_link_handler([this](const registers::LinkState&) { on_link(); });
      work_.schedule();
      return;
    }
  }
  done(Error{ErrorCode::kShutdown, "this interface was brought up before"});
}

Status SystemInterface::bring_up() {
  struct Waiter {
    rt::Mutex m;
    rt::WaitQueue changed;
    std::optional<Status> status;
  };
  auto waiter = std::make_shared<Waiter>();
  start_bring_up([waiter](Status status) {
    rt::LockGuard lock(waiter->m);
    waiter->status = std::move(status);
    waiter->changed.wake_all();
  });
  rt::UniqueLock lock(waiter->m);
  waiter->changed.wait(lock, [&] { return waiter->status.has_value(); });
  return *waiter->status;
}

// Under lock_; told after it.
std::optional<SystemInterface::BringUpReport> SystemInterface::take_report() {
  if (!bring_up_result_) return std::nullopt;
  return BringUpReport{std::exchange(bring_up_done_, nullptr), *std::exchange(bring_up_result_, std::nullopt)};
}

// The whole of it again for whatever is behind a link that came back: another device, perhaps.
void SystemInterface::begin_probe() {
  const registers::LinkState link = port_->link();
  link_generation_ = link.generation;
  if (!link.up) {
    probe_failed(Error{ErrorCode::kUnavailable, link.reason.empty() ? "the link is down" : link.reason});
    return;
  }
  for (size_t n = 1; n <= 3; ++n) {
    if (start_up_fails(n)) return;
  }
  machine_ = state_machine::make_state_machine(*port_, profile_, trace_.get());
  use_irq_ = options_.use_interrupt && port_->has_interrupt();
  interrupt_disabled_ = true;
  cannot_disable_irq_ = irq_enable_broken_ = supports_event_buffer_ = false;
  got_attention_ = hosed_probe_ = last_was_flag_fetch_ = false;
  attention_not_before_ = {};
  message_flags_ = 0;
  device_id_attempts_ = 0;
  probe_deadline_ = rt::now() + options_.bring_up_limit;
  state_ = SiState::kProbing;
  const bool there = machine_->detect();
  if (!link_present()) {
    link_lost();
    return;
  }
  if (start_up_fails(4)) return;
  if (!there) {
    probe_failed(Error{ErrorCode::kUnavailable,
                       "no " + std::string(registers::to_string(port_->kind())) + " device: its registers read FF"});
    return;
  }
  probe(machine_->wants_capabilities() ? ProbeStep::kCapabilities : ProbeStep::kDeviceId);
}

// Every step of D.7 that can fail, fails where the laboratory asks for it.
bool SystemInterface::start_up_fails(size_t step) {
  if (!rt::fault_point(kStartUpSteps[step - 1])) return false;
  probe_failed(start_up_error(step));
  return true;
}

void SystemInterface::probe(ProbeStep step) {
  probe_step_ = step;
  const auto step_of = [step]() -> size_t {
    switch (step) {
      case ProbeStep::kCapabilities: return 4;
      case ProbeStep::kDeviceId: return 5;
      case ProbeStep::kGetEnablesToClear:
      case ProbeStep::kSetEnablesCleared: return 7;
      case ProbeStep::kGetEnablesToSet:
      case ProbeStep::kSetEnablesSet: return 8;
      case ProbeStep::kGetEnablesForEvents:
      case ProbeStep::kSetEnablesForEvents: return 9;
      case ProbeStep::kClearFlags: return 10;
    }
    return 10;
  };
  if (step != ProbeStep::kCapabilities && start_up_fails(step_of())) return;
  uint8_t request[3] = {kApp, kGetEnables, 0};
  size_t size = 2;
  const auto set_enables = [&](unsigned enables) {
    request[1] = kSetEnables;
    request[2] = static_cast<uint8_t>(enables);
    size = 3;
  };
  switch (step) {
    case ProbeStep::kCapabilities: request[1] = kGetBtCapabilities; break;
    case ProbeStep::kDeviceId:
      request[1] = kGetDeviceId;
      ++device_id_attempts_;
      break;
    case ProbeStep::kGetEnablesToClear:
    case ProbeStep::kGetEnablesToSet:
    case ProbeStep::kGetEnablesForEvents: break;
    case ProbeStep::kSetEnablesCleared: set_enables(probed_enables_ & ~kEnableMessageIrq); break;
    case ProbeStep::kSetEnablesSet: set_enables(probed_enables_ | kEnableMessageIrq); break;
    case ProbeStep::kSetEnablesForEvents: set_enables(probed_enables_ | kEnableEventBuffer); break;
    case ProbeStep::kClearFlags:
      request[1] = kClearFlags;
      request[2] = kFlagPretimeout;
      size = 3;
      break;
  }
  if (!start_internal(ByteView(request, size),
                      step == ProbeStep::kClearFlags ? SiState::kClearingFlags : SiState::kProbing)) {
    probe_failed(Error{ErrorCode::kUnavailable,
                       "the interface cannot take a request: " + std::string(machine_->state_name())});
  } else if (step == ProbeStep::kClearFlags) {
    probe_done();
  }
}

void SystemInterface::complete_probe(ByteView rsp, bool ours) {
  const uint8_t cc = rsp[2];
  const bool good = !ours && cc == 0;
  const bool enables = good && rsp.size() >= 4;
  if (enables) probed_enables_ = rsp[3];
  switch (probe_step_) {
    case ProbeStep::kCapabilities:
      // BT-3: the defaults exactly when the answer is missing, short or an error.
      machine_->adopt_capabilities(ours ? ByteView() : rsp.subspan(2));
      probe(ProbeStep::kDeviceId);
      return;
    case ProbeStep::kDeviceId: {
      if (good && rsp[0] == kAppResponse && rsp[1] == kGetDeviceId && rsp.size() >= kDeviceIdBytesMin) {
        probe(ProbeStep::kGetEnablesToClear);
        return;
      }
      // G-43: D5, C0, D1 and D2 are what a BMC says that is still starting.
      const unsigned attempts_max = profile_.si_one_device_id_attempt ? 1 : kDeviceIdAttemptsMax;
      if (!ours && cc != 0 && device_id_attempts_ < attempts_max) {
        if (profile_.si_hosed_backoff) {
          probe_waiting_ = true;
          probe_resume_ = rt::now() + milliseconds(10) * (1u << device_id_attempts_);
        } else {
          probe(ProbeStep::kDeviceId);
        }
        return;
      }
      const std::string shown = to_hex(rsp.first(std::min<size_t>(rsp.size(), 16)));
      probe_failed(ours ? Error{ErrorCode::kTimeout, "the BMC did not answer Get Device ID"}
                        : Error{ErrorCode::kProtocol, "the BMC's answer to Get Device ID is no device id: " + shown});
      return;
    }
    case ProbeStep::kGetEnablesToClear:
      if (enables && probed_enables_ & kEnableMessageIrq) {
        probe(ProbeStep::kSetEnablesCleared);
        return;
      }
      break;
    case ProbeStep::kSetEnablesCleared:
      if (!good) cannot_disable_irq_ = true;  // G-10
      break;
    case ProbeStep::kGetEnablesToSet:
      if (enables) {
        probe(ProbeStep::kSetEnablesSet);
        return;
      }
      break;
    case ProbeStep::kSetEnablesSet:
      if (!good) cannot_disable_irq_ = irq_enable_broken_ = true;
      break;
    case ProbeStep::kGetEnablesForEvents:
      if (enables && !(probed_enables_ & kEnableEventBuffer)) {
        probe(ProbeStep::kSetEnablesForEvents);
        return;
      }
      supports_event_buffer_ = enables;
      break;
    case ProbeStep::kSetEnablesForEvents: supports_event_buffer_ = good; break;
    case ProbeStep::kClearFlags: return;
  }
  switch (probe_step_) {
    case ProbeStep::kGetEnablesToClear:
    case ProbeStep::kSetEnablesCleared:
      probe(use_irq_ ? ProbeStep::kGetEnablesToSet : ProbeStep::kGetEnablesForEvents);
      return;
    case ProbeStep::kGetEnablesToSet:
    case ProbeStep::kSetEnablesSet: probe(ProbeStep::kGetEnablesForEvents); return;
    default: probe(ProbeStep::kClearFlags); return;
  }
}

// Clear Message Flags is on its way, and nobody drives it before start_processing().
void SystemInterface::probe_done() {
  if (start_up_fails(11)) return;
  reprobe_backoff_ = {};
  down_reason_.clear();
  if (use_irq_) {
    interrupt_disabled_ = false;
    request_events_.store(true, std::memory_order_relaxed);
  }
  if (phase_.load(std::memory_order_relaxed) == Phase::kRunning) {
    if (use_irq_) machine_->set_interrupt_enable(true);
    open_slot();
    log("up again");
    return;
  }
  may_arm_.store(false, std::memory_order_relaxed);
  phase_.store(Phase::kReady, std::memory_order_release);
  bring_up_result_ = Status{};
}

void SystemInterface::probe_failed(Error error) {
  probe_waiting_ = false;
  if (phase_.load(std::memory_order_relaxed) == Phase::kBringingUp) {
    state_ = SiState::kStopped;
    may_arm_.store(false, std::memory_order_relaxed);
    phase_.store(Phase::kStopped, std::memory_order_release);
    bring_up_result_ = Status{std::move(error)};
    return;
  }
  state_ = SiState::kLinkDown;
  down_reason_ = std::move(error.message);
  reprobe_backoff_ = std::clamp(reprobe_backoff_ * 2, kReprobeFirst, kReprobeMax);
  reprobe_at_ = rt::now() + reprobe_backoff_;
}

Status SystemInterface::start_processing(SmiUpcalls& upcalls) {
  rt::LockGuard once(shutdown_mutex_);
  rt::UniqueLock lock(lock_);
  if (phase_.load(std::memory_order_relaxed) != Phase::kReady) {
    return Error{shut_down_ ? ErrorCode::kShutdown : ErrorCode::kUnavailable, "the interface is not brought up"};
  }
  if (rt::fault_point(kStartUpSteps[12])) {
    return start_up_error(13);
  }
  if (!take_machine()) return Error{ErrorCode::kShutdown, "a panic is under way"};
  upcalls_ = &upcalls;
  // G-15: the timer before the interrupt.
  timer_set_up_ = !profile_.si_irq_before_timer;
  may_arm_.store(true, std::memory_order_relaxed);
  last_credit_ = busy_since_ = rt::now();
  if (timer_set_up_) arm(last_credit_ + kLongTimer);
  const bool early = !timer_set_up_;
  if (early) phase_.store(Phase::kRunning, std::memory_order_release);
  if (use_irq_) {
    machine_->set_interrupt_enable(true);
    // An edge that came before anybody listened.
    interrupt_pending_.store(true, std::memory_order_relaxed);
  }
  if (!early) phase_.store(Phase::kRunning, std::memory_order_release);
  open_slot();
  InterfaceStatus next = status_now();
  release_machine();
  publish(std::move(next));
  if (early) {
    // G-15: an interrupt comes now.
    lock.unlock();
    rt::fault_point("si.start.irq");
    lock.lock();
    timer_set_up_ = true;
    arm(rt::now() + kLongTimer);
  }
  work_.schedule();
  return {};
}

// ---- the link --------------------------------------------------------------------------------------------------------

bool SystemInterface::link_present() {
  return port_->is_up(link_generation_);
}

void SystemInterface::link_lost() {
  const registers::LinkState link = port_->link();
  drop_fetch();
  if (phase_.load(std::memory_order_relaxed) == Phase::kBringingUp) {
    probe_failed(Error{ErrorCode::kUnavailable, link.reason.empty() ? "the link went down" : link.reason});
    return;
  }
  state_ = SiState::kLinkDown;
  probe_waiting_ = false;
  down_reason_ = link.reason.empty() ? "the link went down" : link.reason;
  // The first attempt as soon as the link is there.
  reprobe_backoff_ = {};
  reprobe_at_ = {};
  got_attention_ = hosed_probe_ = false;
  fail_held(kCcHosed, ErrorCode::kUnavailable);
  close_slot(ErrorCode::kUnavailable);
}

// ---- time (D.5) ------------------------------------------------------------------------------------------------------

void SystemInterface::arm(Instant deadline) {
  if (!may_arm_.load(std::memory_order_relaxed) || run_to_completion_.load(std::memory_order_relaxed)) return;
  if (!timer_set_up_) our_mistake("the timer is armed before it is set up", "any state");
  if (timer_running_ && timer_deadline_ <= deadline) return;
  timer_deadline_ = deadline;
  if (profile_.si_shutdown_trusts_flag) {
    timer_.arm(deadline);
    rt::fault_point("si.timer.armed");
    timer_is(true);
    return;
  }
  timer_is(true);
  timer_.arm(deadline);
}

void SystemInterface::timer_is(bool running) {
  timer_running_ = running;
  if (profile_.si_send_trusts_timer || profile_.si_shutdown_trusts_flag) {
    timer_armed_.store(running, std::memory_order_relaxed);
  }
}

// Nothing runs, and nobody wants to be looked for.
bool SystemInterface::rests(Verdict verdict) const {
  const bool idle = verdict == Verdict::kIdle || verdict == Verdict::kAttention;
  const bool watched = need_watch_.load(std::memory_order_relaxed) && !irq_usable();
  return idle && idle_and_normal() && !got_attention_ && !watched &&
         idle_interrupts_.peek() < kIdleInterruptsMax;
}

void SystemInterface::arm_after(Verdict verdict) {
  if (state_ == SiState::kStopped) return;
  const Instant now = rt::now();
  if (state_ == SiState::kHosed) {
    // G-64: nothing shortens the back-off.
    timer_is(false);
    arm(profile_.si_hosed_backoff_overwritten ? now + kLongTimer : hosed_until_);
    return;
  }
  if (state_ == SiState::kLinkDown) {
    timer_.cancel_nowait();
    timer_is(false);
    // Without a link its handler wakes us; with one, and a BMC that does not come up, the back-off does.
    if (port_->link().up) arm(std::max(reprobe_at_, now));
    return;
  }
  if (state_ == SiState::kProbing && probe_waiting_) {
    arm(probe_resume_);
    return;
  }
  const bool idle = verdict == Verdict::kIdle || verdict == Verdict::kAttention;
  if (idle && idle_and_normal()) {
    const unsigned watch = need_watch_.load(std::memory_order_relaxed);
    if (got_attention_) {
      arm(std::max(attention_not_before_, now + kTick));
    } else if (idle_interrupts_.peek() >= kIdleInterruptsMax) {
      arm(now + kLongTimer);
    } else if (watch && !irq_usable()) {
      arm(now + (watch & 1 ? kWatchMessages : kWatchOthers));
    } else {
      timer_.cancel_nowait();
      timer_is(false);
    }
    return;
  }
  if (profile_.si_no_timer_for_internal && irq_usable() && machine_->kind() == InterfaceKind::kBt &&
      !current_.peek()) {
    timer_.cancel_nowait();
    timer_is(false);
    return;
  }
  // Something runs. The longer nothing has moved, the rarer it is looked at: what comes is noticed within an eighth of the
  // time it took. BT tells of its answers by interrupt; KCS and SMIC are not obliged to for each byte.
  const Duration age = now - busy_since_;
  Duration wait = std::clamp(age / 8, kPollFirst, kPollMax);
  if (maintenance_.load(std::memory_order_relaxed)) wait = std::min<Duration>(wait, kTick);
  if (irq_usable() && machine_->kind() == InterfaceKind::kBt) wait = std::clamp(age / 16, kLongTimer, kLongTimerMax);
  if (machine_->unavailable()) wait = kLongTimerMax;
  if (verdict == Verdict::kCallWithTickDelay) wait = std::max<Duration>(wait, kTick);
  arm(now + wait);
}

void SystemInterface::request_events() {
  request_events_.store(true, std::memory_order_relaxed);
  if (phase_.load(std::memory_order_acquire) == Phase::kRunning &&
      !run_to_completion_.load(std::memory_order_acquire)) {
    work_.schedule();
  }
}

void SystemInterface::set_need_watch(unsigned mask) {
  // G-33 needs a layer below that takes its lock here, as SSIF does.
  if (profile_.mh_classifies_in_upcall && !run_to_completion_.load(std::memory_order_acquire)) {
    rt::LockGuard lock(lock_);
  }
  need_watch_.store(mask, std::memory_order_relaxed);
  if (mask && phase_.load(std::memory_order_acquire) == Phase::kRunning &&
      !run_to_completion_.load(std::memory_order_acquire)) {
    work_.schedule();
  }
}

void SystemInterface::set_maintenance_mode(bool enable) {
  maintenance_.store(enable, std::memory_order_relaxed);
  if (!enable) request_events_.store(false, std::memory_order_relaxed);  // D.10
}

// ---- panic (E.13) ----------------------------------------------------------------------------------------------------

void SystemInterface::set_run_to_completion(bool on) {
  run_to_completion_.store(on, std::memory_order_seq_cst);
  if (!on) {
    abandoned_.store(false, std::memory_order_relaxed);
    if (phase_.load(std::memory_order_acquire) == Phase::kRunning) work_.schedule();
  }
}

void SystemInterface::poll() {
  rt::cpu_relax(kPollStep);
  if (run_to_completion_.load(std::memory_order_relaxed)) {
    pass(Source::kPanic, kPollStep);
    return;
  }
  rt::LockGuard lock(lock_);
  pass(Source::kWork, kPollStep);
}

void SystemInterface::flush_messages() {
  if (!run_to_completion_.load(std::memory_order_relaxed)) return;
  const Instant deadline = rt::now() + kFlushMax;
  Duration credit = Duration::zero();
  for (;;) {
    const Verdict verdict = pass(Source::kPanic, credit);
    if (abandoned_.load(std::memory_order_relaxed) || state_ == SiState::kHosed || state_ == SiState::kLinkDown ||
        state_ == SiState::kStopped) {
      return;
    }
    const bool idle = verdict == Verdict::kIdle || verdict == Verdict::kAttention;
    if ((idle && !holds_message()) || rt::now() >= deadline) return;
    rt::cpu_relax(kFlushStep);
    credit = kFlushStep;
  }
}

// ---- the end (D.8) ---------------------------------------------------------------------------------------------------

bool SystemInterface::drive_by_hand(Instant deadline) {
  Instant credited = rt::now();
  Duration wait = kPollFirst;
  const bool limited = !profile_.si_shutdown_credits_little && !profile_.si_shutdown_waits_for_normal;
  while (!idle_and_normal()) {
    // G-65: a BMC that is messed up does not hold anybody.
    const bool hosed = state_ == SiState::kHosed && !profile_.si_shutdown_waits_for_normal;
    if (hosed || state_ == SiState::kLinkDown || state_ == SiState::kProbing || state_ == SiState::kStopped) {
      return true;
    }
    const Instant now = rt::now();
    if ((now >= deadline && limited) || run_to_completion_.load(std::memory_order_acquire)) return true;
    // G-51: what passed is credited, not what a loop thinks passed.
    if (!event_loop(Source::kWork, profile_.si_shutdown_credits_little ? kPollStep : now - credited)) return false;
    credited = now;
    if (idle_and_normal()) return true;
    rt::sleep_for(wait);
    wait = std::min<Duration>(wait * 2, kTick);
  }
  return true;
}

// Linux means to do this and never gets to it (D.8).
bool SystemInterface::disable_bmc_interrupts(Instant deadline) {
  if (!profile_.si_hosed_backoff || !use_irq_ || cannot_disable_irq_) return true;
  if (!idle_and_normal() || !machine_->idle() || !link_present()) return true;
  request_events_.store(false, std::memory_order_relaxed);
  got_attention_ = false;
  start_check_enables();
  return drive_by_hand(deadline);
}

void SystemInterface::shutdown() {
  rt::LockGuard once(shutdown_mutex_);
  if (shut_down_) return;
  shut_down_ = true;
  std::optional<BringUpReport> report;
  if (profile_.si_shutdown_leaves_timer) {
    timer_.cancel();
    rt::fault_point("si.shutdown.cancelled");  // D.8: and waits for what is under way, a tick at a time
  }
  const Phase was = phase_.exchange(Phase::kStopped, std::memory_order_acq_rel);
  // Nothing new: no message, no interrupt, no arming (G-18), then what is armed or running (G-34).
  refusal_.store(ErrorCode::kShutdown, std::memory_order_relaxed);
  if (was != Phase::kNew) {
    port_->set_interrupt_handler({});
    port_->set_link_handler({});
  }
  may_arm_.store(false, std::memory_order_relaxed);
  work_.cancel_and_wait();
  const bool trust = profile_.si_shutdown_trusts_flag && !timer_armed_.load(std::memory_order_relaxed);
  if (!trust && !profile_.si_shutdown_leaves_timer) timer_.cancel();
  {
    rt::LockGuard lock(lock_);
    bool mine = take_machine();
    if (mine) {
      close_slot(ErrorCode::kShutdown);
      mine = deliver();
    }
    if (mine && was == Phase::kRunning && machine_) {
      const Instant deadline = rt::now() + options_.shutdown_limit;
      interrupt_disabled_ = true;
      if (use_irq_ && state_ != SiState::kLinkDown && link_present()) machine_->set_interrupt_enable(false);
      mine = drive_by_hand(deadline) && disable_bmc_interrupts(deadline);
    }
    if (mine) {
      fail_held(kCcUnspecified, ErrorCode::kShutdown);
      drop_fetch();
      state_ = SiState::kStopped;
      if (deliver()) release_machine();
    }
    upcalls_ = nullptr;
    ended_ = profile_.si_shutdown_leaves_timer || profile_.si_shutdown_trusts_flag;
    if (bring_up_done_ && !bring_up_result_) {
      bring_up_result_ = Status{Error{ErrorCode::kShutdown, "the interface was shut down"}};
    }
    publish(status_now());
    report = take_report();
  }
  if (report) report->tell();
}

// ---- what others see -------------------------------------------------------------------------------------------------

void SystemInterface::check_invariant() const {
  // D.11: otherwise the next message would meet a busy machine, and its sender D5.
  const bool sound = profile_.si_gate_on_machine && profile_.si_keeps_enables_state &&
                     profile_.si_refused_start_keeps_state && !profile_.kcs_parks_in_error0;
  if (sound && machine_ && idle_and_normal() && !machine_->idle() && !machine_->unavailable()) {
    our_mistake("nothing to do, and the machine is not idle", machine_->state_name());
  }
}

InterfaceStatus SystemInterface::status_now() const {
  const Phase phase = phase_.peek();
  if (phase == Phase::kStopped) return {InterfaceState::kStopped, {}};
  if (phase != Phase::kRunning) return {InterfaceState::kStarting, {}};
  if (state_ == SiState::kHosed || hosed_probe_) return {InterfaceState::kHosed, "the BMC does not answer"};
  if (state_ == SiState::kLinkDown) return {InterfaceState::kLinkDown, down_reason_};
  if (state_ == SiState::kProbing) return {InterfaceState::kStarting, "the link is back, the BMC is being identified"};
  return {InterfaceState::kUp, {}};
}

// Under lock_: nobody else writes it meanwhile.
void SystemInterface::publish(InterfaceStatus next) {
  if (next.state == status_.state && next.reason == status_.reason) return;
  rt::LockGuard lock(status_mutex_);
  status_ = std::move(next);
  status_changed_.wake_all();
}

InterfaceStatus SystemInterface::status() const {
  rt::LockGuard lock(status_mutex_);
  return status_;
}

bool SystemInterface::wait_for_status(Instant deadline, const std::function<bool(const InterfaceStatus&)>& pred) const {
  rt::UniqueLock lock(status_mutex_);
  return status_changed_.wait_until(lock, deadline, [&] { return pred(status_); });
}

SiStatistics SystemInterface::statistics() const {
  SiStatistics out{};
  for (size_t i = 0; i < kSiStatistics; ++i) out[i] = counters_[i].value();
  return out;
}

SmiInfo SystemInterface::info() const {
  SmiInfo info;
  info.address_source = options_.address_source;
  info.description = options_.description;
  info.kind = port_->kind();
  info.interrupts = options_.use_interrupt && port_->has_interrupt();
  info.slave_address = options_.slave_address;
  info.profile = std::string(profile_.name);
  return info;
}

void SystemInterface::log(std::string_view text) {
  if (options_.log && !run_to_completion_.load(std::memory_order_relaxed)) {
    options_.log((options_.description.empty() ? "interface" : options_.description) + ": " + std::string(text));
  }
}

}  // namespace bmcpair::host::inline BMCPAIR_RT
