// Historical behaviour as data, not as #if (design.md "Profiles"). Everybody in the driver may read it: nothing here
// knows a register or a lock.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proto/base/result.h"

namespace bmcpair::state_machine {

struct ProfileNumbers {
  unsigned kcs_error_retries_max = 3;  // 20 s for a dead BMC; Linux's 10 make it 55 s (A.2)
  unsigned kcs_budget_seconds = 5;     // of IBF and of OBF; 1 before 2012 (A.2, G-06)
};

// The values here are `hardened`.
struct ProfileFlags {
  // ---- cures: true is ours ----
  // KCS
  bool kcs_stop_after_timeout = true;        // A.6-1/2/3: a recorded error ends the step; HOSED is never lost
  bool kcs_check_obf_at_write_start = true;  // A.6-4
  bool kcs_rearm_budget_in_recovery = true;  // A.6-5, G-07
  bool kcs_idle_ibf_is_not_error = true;     // D.11 W3: IBF stuck while idle starts no abort behind the SI's back
  bool kcs_delay_after_error = true;         // G-60: at least one delay an error
  // BT
  bool bt_bounded_resets = true;         // B.6-6/7, G-83: probe resets are bounded; none at a sequence wrap
  bool bt_keep_capabilities = true;      // B.6-4, B.6-10: neither they nor the sequence start again after LONG_BUSY
  bool bt_safe_drain = true;             // B.6-1/2/9: H_BUSY read before toggled; a bad frame is drained
  bool bt_floor_timings = true;          // B.6-3: 0 s request-to-response is taken as the default; both are capped
  bool bt_keep_interrupt_enable = true;  // B.6-5: resetting the flags does not leave the interrupt disabled
  bool bt_gentle_detect = true;          // no BMC hardware reset (INTMASK 80h) merely because a host attaches
  bool bt_frame_limit = true;            // a request that a length byte cannot count is refused (B.2)
  bool bt_carry_control = true;          // a state that follows at once uses CTRL as it was sampled for the one before
  // SMIC
  bool smic_count_long_steps = true;  // the wart of C.1: a step of >= 2 s counts
  // System interface
  bool si_hosed_backoff = true;              // 6.18+: SI_HOSED, 0x82, one-second probe (D.9)
  bool si_gate_on_machine = true;            // D.11 W1-W3: whether a message may start is asked of the machine
  bool si_keeps_enables_state = true;        // D.11 W4, G-116: under memory pressure the state says what is on the wire
  bool si_refused_start_keeps_state = true;  // D.11 W7: an internal request that was refused is asked again later
  bool si_bounded_fetches = true;            // G-70
  bool si_bounded_event_steps = true;        // G-60, G-115
  // Message handler
  bool mh_retry_identity_on_any_cc = true;  // B.9 "remaining hole", G-44
  bool mh_bounded_identity_waits = true;    // G-42
  bool mh_clear_current_on_panic = true;    // E.13, G-11: a message that nobody holds does not block the panic's own

  // ---- as it was: true is the bug ----
  // KCS
  bool kcs_parks_in_error0 = false;    // D.11 W5, G-60: 6.2-6.17 stay in ERROR0 after HOSED
  bool kcs_ignores_timeouts = false;   // illumos-gate#26: IBF and OBF are waited for for ever
  bool kcs_leaves_dummy_byte = false;  // edk2#12577: OBF is left set for the next command
  // BT
  bool bt_hidden_capability_fetch = false;  // <= 4.18: the fetch runs inside the machine (B.9, G-20)
  bool bt_accepts_any_answer = false;       // ipmitool#82, #399: an answer is not held against its request
  bool bt_caches_b_busy = false;            // op-build#207: B_BUSY once seen clear is never looked at again
  // System interface
  bool si_one_device_id_attempt = false;         // G-43: before 2020 a BMC that says "starting" is given up
  bool si_waiting_cleared_before_start = false;  // E.13 window (2)-(4): in neither slot; the next idle pass drops it
  bool si_waiting_cleared_after_start = false;   // E.13, as proposed in 2015: for a moment in both slots, and started
  bool si_panic_ignores_owner = false;           // G-38: the panic context drives a machine that another stopped in
  bool si_deliver_unlocked = false;              // G-05: the lock is dropped to deliver, and another context goes on
  bool si_arms_outside_lock = false;             // G-08: the timer's handler decides after its lock whether to arm
  bool si_send_trusts_timer = false;             // G-09: a send relies on a timer that is just being switched off
  bool si_no_timer_for_internal = false;         // G-14: with interrupts, nothing times an internal request out
  bool si_irq_before_timer = false;              // G-15: interrupts come before the timer is set up
  bool si_shutdown_leaves_timer = false;         // G-18: cancelled first, and armed again by the pass that follows
  bool si_shutdown_trusts_flag = false;          // G-34: not cancelled when the flag does not say "armed" yet
  bool si_shutdown_credits_little = false;       // G-51: 10 us for each step of a tick, and no limit
  bool si_shutdown_waits_for_normal = false;     // G-65: HOSED does not end the wait, nor does a limit
  bool si_hosed_forgets_waiting = false;         // G-63: a message that comes during the probe is not answered with it
  bool si_hosed_backoff_overwritten = false;     // G-64: 10 ms instead of the second
  bool si_tests_hosed_before_lock = false;       // G-66: sender looks, and stores later
  bool si_attention_starves_messages = false;    // D.3 rule 4 without its exception (InfraSIM/openipmi#9)
  bool si_takes_short_events = false;            // G-71: an event answer of any length
  bool si_stuck_without_memory = false;          // G-72: no memory after the enables: the state stays theirs
  // Message handler
  bool mh_publish_number_first = false;              // G-02, I.1: the number before the contents
  bool mh_number_without_barriers = false;           // G-02, I.1: after them, but relaxed on either side
  bool mh_splice_to_private_head = false;            // G-01, I.1, as proposed in 2006: in the readers' way
  bool mh_splice_tests_destination = false;          // G-117, I.1: the helper looks whether the wrong list is empty
  bool mh_failed_registration_cleans_twice = false;  // G-21, I.2: both layers clean up after a failed registration
  bool mh_shutdown_marked_late = false;              // G-73: in_shutdown after the layer below has been shut down
  bool mh_unbounded_panic_waits = false;             // E.13: the panic spins until it is answered
  bool mh_panic_resends = false;                     // E.13, as proposed in 2015: what was not started is sent once more
  bool mh_panic_takes_locks = false;                 // G-04
  bool mh_panic_calls_users = false;                 // G-13
  bool mh_reuses_panic_message = false;              // G-80: written again while the layer below has it
  bool mh_classifies_in_upcall = false;              // G-33: with the lower layer's lock held, calls back into it
  bool mh_retry_time_underflows = false;             // G-17: unsigned remaining time
  bool mh_waits_though_send_failed = false;          // G-40: discovery waits for the answer to what was refused
  bool mh_takes_stale_identity = false;              // G-41: the answer to a request given up is the next one's
  bool mh_delivers_send_message_answer = false;      // G-49: the BMC's "taken" goes on as if it were the answer
  bool mh_event_rollback_twice = false;              // G-57
  bool mh_maintenance_without_tick = false;          // G-61: nobody lets the time of a reset pass
  bool mh_sender_error_keeps_current = false;        // G-67: a refused message stays current
  bool mh_channels_ready_early = false;              // G-68: ready after the first answer of a rescan
  bool mh_channels_never_rescanned = false;          // G-69: ready is never cleared
  bool mh_answers_dead_users = false;                // G-74, E.12: users end before the layer below and still hear
  bool mh_user_end_keeps_command_watch = false;      // G-82, E.8
  bool mh_user_end_skips_grace = false;              // smartos-live#228, G-26: gone while somebody walks over it
  bool mh_believes_any_answer = false;               // skiboot#6: NetFn and command of an answer are not looked at
};

// Profile{} is hardened.
struct Profile : ProfileNumbers, ProfileFlags {
  std::string name = "hardened";
};

inline const Profile kHardened{};
inline const Profile& hardened() { return kHardened; }

// hardened (the default), then the kernels, youngest first, and "proposed-2015": seed 1's patches on top of 4.2.
// nullptr when unknown.
const Profile* find_profile(std::string_view name);
std::vector<std::string_view> profile_names();

// A profile with flags and numbers changed, as stories and command lines write it: "linux-6.1",
// "linux-6.1+mh_publish_number_first", "hardened-si_gate_on_machine+kcs_budget_seconds=1". + sets, - clears; a number
// needs its value. The result's name is the text. kInvalidArgument says what is wrong and what there is.
Result<Profile> profile_with(std::string_view text);

struct ProfileFlag {
  std::string_view name;
  bool ProfileFlags::*member;
};
struct ProfileNumber {
  std::string_view name;
  unsigned ProfileNumbers::*member;
};
std::span<const ProfileFlag> profile_flags();
std::span<const ProfileNumber> profile_numbers();

}  // namespace bmcpair::state_machine
