// What Linux's ipmi_si does: drives a state machine from interrupts, timers and senders; fetches flags, events and messages;
// keeps the BMC's enables as wanted; survives a BMC that does not answer (reference section D).
//
// Contexts. Everything that touches the machine runs in `work_` (interrupts, sends, requests) or `timer_`, both under lock_;
// sender() only fills a slot and schedules. In run-to-completion mode (panic) it runs in the caller of poll() and
// flush_messages(), without locks; the others then keep their hands off (G-38).
//
// Completion codes that are ours, not the BMC's, always with SmiMessage::failed set:
//   82  the interface is hosed, or its link is down (kHosed, kUnavailable)
//   C0  BT long busy (kUnavailable)     C3  the BMC did not answer in time (kTimeout)
//   C6, FF  its answer was no answer (kProtocol)     C7, C8  the request does not fit (kInvalidArgument)
//   FF  linux-6.1 and older when hosed (kHosed); shut down in flight (kShutdown)     D5  linux profiles only (D.11)
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "host_driver/message_handler/smi.h"
#include "host_driver/runtime/runtime.h"
#include "host_driver/state_machine/state_machine.h"
#include "proto/base/hex.h"
#include "proto/base/result.h"
#include "proto/base/time.h"
#include "proto/registers/register_port.h"

namespace bmcpair::host::inline BMCPAIR_RT {

// ---- bounds (D.5, D.9; G-60, G-70) ------------------------------------------------------------------------------------

constexpr Duration kHosedBackoff = std::chrono::seconds(1);
constexpr Duration kLongTimer = std::chrono::milliseconds(10);
constexpr unsigned kFetchesInARowMax = 10;
// One event call: a 272 byte message through KCS, with its abort, is below 1000 steps.
constexpr unsigned kStepsPerPassMax = 4096;
constexpr unsigned kDeviceIdAttemptsMax = 6;  // one, and five more
// Spurious interrupts in a row before the next ones wait for the timer.
constexpr unsigned kIdleInterruptsMax = 32;

struct SystemInterfaceOptions {
  const state_machine::Profile* profile = nullptr;  // nullptr: hardened
  std::string address_source = "bus";
  std::string description;
  uint8_t slave_address = 0x20;
  bool use_interrupt = true;  // false: polls even where the port has one
  std::shared_ptr<state_machine::Trace> trace;
  std::function<void(std::string)> log;  // optional, one line without its end; any thread
  // The whole of bring-up, from its first register access.
  Duration bring_up_limit = std::chrono::seconds(15);
  // What shutdown() waits at most for a message in flight.
  Duration shutdown_limit = std::chrono::seconds(5);
};

enum class InterfaceState : uint8_t { kStarting, kUp, kHosed, kLinkDown, kStopped };
std::string_view to_string(InterfaceState state);

struct InterfaceStatus {
  InterfaceState state = InterfaceState::kStarting;
  std::string reason;  // of a state that is not kUp
};

// D.2, in its order.
enum class SiStatistic : uint8_t {
  kShortTimeouts,
  kLongTimeouts,
  kIdles,
  kInterrupts,
  kAttentions,
  kFlagFetches,
  kHosedCount,
  kCompleteTransactions,
  kEvents,
  kWatchdogPretimeouts,
  kIncomingMessages,
  kCount,
};
constexpr size_t kSiStatistics = static_cast<size_t>(SiStatistic::kCount);
std::string_view to_string(SiStatistic statistic);
using SiStatistics = std::array<uint64_t, kSiStatistics>;

class SystemInterface final : public SmiHandlers {
 public:
  SystemInterface(std::shared_ptr<registers::RegisterPort> port, SystemInterfaceOptions options);
  ~SystemInterface() override;  // shuts down

  // D.7, up to "Clear Message Flags queued". done is called once, from a worker or from shutdown(), and may not
  // destroy this. Errors: kUnavailable (no hardware, link down, hosed), kTimeout, kProtocol (no device id), kShutdown.
  void start_bring_up(std::function<void(Status)> done);
  // The same, and waits for it.
  Status bring_up();

  Status start_processing(SmiUpcalls& upcalls) override;
  SmiInfo info() const override;
  Status sender(SmiMessage* message) override;
  void request_events() override;
  void set_need_watch(unsigned mask) override;
  void set_maintenance_mode(bool enable) override;
  void set_run_to_completion(bool on) override;
  void poll() override;
  void flush_messages() override;
  bool holds_message() const override;
  void shutdown() override;

  InterfaceStatus status() const;
  // Waits until pred(status) holds; false at the deadline.
  bool wait_for_status(Instant deadline, const std::function<bool(const InterfaceStatus&)>& pred) const;
  SiStatistics statistics() const;

 private:
  enum class SiState : uint8_t {
    kNormal,
    kGettingFlags,
    kGettingEvents,
    kClearingFlags,
    kGettingMessages,
    kCheckingEnables,
    kSettingEnables,
    kProbing,   // a step of D.7, at the first time or after the link came back
    kHosed,     // 6.18+: nothing but the timer acts
    kLinkDown,  // until the link is there; with it, until the next attempt to probe
    kStopped,
  };
  enum class Phase : uint8_t { kNew, kBringingUp, kReady, kRunning, kStopped };
  enum class ProbeStep : uint8_t {
    kCapabilities,
    kDeviceId,
    kGetEnablesToClear,
    kSetEnablesCleared,
    kGetEnablesToSet,
    kSetEnablesSet,
    kGetEnablesForEvents,
    kSetEnablesForEvents,
    kClearFlags,
  };
  enum class Source : uint8_t { kWork, kTimer, kPanic };

  // Whoever drives the machine holds it; the panic context takes it within a bound or gives up.
  bool take_machine();
  void release_machine();
  bool take_machine_in_panic();

  void on_work();
  void on_timer();
  void on_interrupt(bool level);
  void on_link();
  state_machine::Verdict pass(Source source, Duration credit);
  void pass_prologue(Source source, Phase phase);
  // nullopt: the panic context took the machine over while something was handed up; nothing may be touched any more.
  std::optional<state_machine::Verdict> event_loop(Source source, Duration credit);
  void hosed();
  void trace_result(ByteView rsp, std::optional<ErrorCode> ours);
  void complete();
  void complete_probe(ByteView rsp, bool ours);
  void handle_flags();
  void after_enables();
  void start_fetch(SiState state, uint8_t cmd);
  void finish_fetch(SiState state, uint8_t flag, ByteView rsp, bool ours);
  bool start_next();
  void start_current();
  // False: not started now; hardened leaves the state as it is.
  bool start_internal(ByteView request, SiState state);
  void start_get_flags();
  void start_check_enables();
  uint8_t wanted_enables() const;
  void memory_pressure();

  void begin_probe();
  bool start_up_fails(size_t step);
  bool rests(state_machine::Verdict verdict) const;
  void probe(ProbeStep step);
  void probe_done();
  void probe_failed(Error error);
  struct BringUpReport {
    std::function<void(Status)> done;
    Status status;
    void tell() {
      if (done) done(std::move(status));
    }
  };
  std::optional<BringUpReport> take_report();

  bool link_present();
  void link_lost();
  void fail_held(uint8_t cc, ErrorCode why);
  void answer(SmiMessage* message, uint8_t cc, ErrorCode why);
  // What is on its way up goes up at the next point where everything is consistent.
  void hand_up(SmiMessage* message);
  // Gives the machine up meanwhile, so that a panic up there finds it free; false when it was taken over.
  bool deliver();
  void drop_fetch();
  SmiMessage* allocate_message(uint8_t cmd);

  void close_slot(ErrorCode why);
  void open_slot();
  SmiMessage* take_slot();

  void arm_after(state_machine::Verdict verdict);
  void arm(Instant deadline);
  void timer_is(bool running);
  void transaction_started();
  bool irq_usable() const { return use_irq_ && !interrupt_disabled_; }
  bool idle_and_normal() const;
  void check_invariant() const;
  // False: the machine was taken over.
  bool drive_by_hand(Instant deadline);
  bool disable_bmc_interrupts(Instant deadline);
  InterfaceStatus status_now() const;
  void publish(InterfaceStatus next);
  [[gnu::cold]] void log(std::string_view text);
  void count(SiStatistic s) { counters_[static_cast<size_t>(s)].add(); }

  const std::shared_ptr<registers::RegisterPort> port_;
  const SystemInterfaceOptions options_;
  const state_machine::Profile& profile_;
  std::unique_ptr<state_machine::Trace> trace_;

  // The slot between sender() and the machine: empty, a message, or closed (then refusal_ says why).
  rt::Atomic<SmiMessage*> waiting_;
  rt::Atomic<ErrorCode> refusal_{ErrorCode::kUnavailable};
  rt::Atomic<SmiMessage*> current_{nullptr};  // written by who drives, who so has no need to load it
  rt::Atomic<bool> run_to_completion_{false};
  rt::Atomic<bool> driving_{false};
  rt::Atomic<bool> abandoned_{false};  // the panic context could not get the machine
  rt::Atomic<bool> request_events_{false};
  rt::Atomic<unsigned> need_watch_{0};
  rt::Atomic<bool> maintenance_{false};
  rt::Atomic<bool> interrupt_pending_{false};
  rt::Atomic<unsigned> idle_interrupts_{0};
  rt::Atomic<Phase> phase_{Phase::kNew};
  rt::Atomic<bool> may_arm_{false};  // timer_can_start
  rt::Atomic<bool> timer_armed_{false};  // what others see of timer_running_, in profiles that look
  std::array<rt::Counter, kSiStatistics> counters_;

  // Under lock_, or in the panic context.
  mutable rt::Mutex lock_;
  std::unique_ptr<state_machine::StateMachine> machine_;
  SmiUpcalls* upcalls_ = nullptr;
  SiState state_ = SiState::kStopped;
  bool current_started_ = false;
  SmiMessage* fetch_ = nullptr;
  SmiMessage* up_first_ = nullptr;
  SmiMessage* up_last_ = nullptr;
  bool pretimeout_due_ = false;
  uint64_t transactions_ = 0;
  uint8_t message_flags_ = 0;
  unsigned fetches_in_a_row_ = 0;
  bool last_was_flag_fetch_ = false;
  bool got_attention_ = false;
  Instant attention_not_before_{};
  bool use_irq_ = false;
  bool interrupt_disabled_ = true;
  bool cannot_disable_irq_ = false;
  bool irq_enable_broken_ = false;
  bool supports_event_buffer_ = false;
  bool hosed_probe_ = false;
  Instant hosed_until_{};
  uint64_t link_generation_ = 0;
  std::string down_reason_;
  Duration reprobe_backoff_{};
  Instant reprobe_at_{};
  ProbeStep probe_step_ = ProbeStep::kDeviceId;
  unsigned device_id_attempts_ = 0;
  bool probe_waiting_ = false;
  Instant probe_resume_{};
  uint8_t probed_enables_ = 0;
  Instant probe_deadline_{};
  Instant last_credit_{};
  Instant busy_since_{};  // when the machine last moved
  bool timer_running_ = false;
  bool timer_set_up_ = true;
  bool ended_ = false;  // of profiles whose timer may outlive shutdown()
  Instant timer_deadline_{};
  std::array<uint8_t, ipmi::kMessageBytesMax> rsp_{};

  std::function<void(Status)> bring_up_done_;
  std::optional<Status> bring_up_result_;
  mutable rt::Mutex status_mutex_;
  mutable rt::WaitQueue status_changed_;
  InterfaceStatus status_;
  rt::Mutex shutdown_mutex_;
  bool shut_down_ = false;

  // Last: destroyed first.
  rt::Work work_;
  rt::Timer timer_;
};

}  // namespace bmcpair::host::inline BMCPAIR_RT
