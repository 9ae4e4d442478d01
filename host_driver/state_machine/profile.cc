#include "host_driver/state_machine/profile.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <iterator>

namespace bmcpair::state_machine {

namespace {

#define FLAG(name) ProfileFlag{#name, &ProfileFlags::name}
constexpr ProfileFlag kFlags[] = {
    FLAG(kcs_stop_after_timeout), FLAG(kcs_check_obf_at_write_start), FLAG(kcs_rearm_budget_in_recovery),
    FLAG(kcs_idle_ibf_is_not_error), FLAG(kcs_delay_after_error), FLAG(bt_bounded_resets), FLAG(bt_keep_capabilities),
    FLAG(bt_safe_drain), FLAG(bt_floor_timings), FLAG(bt_keep_interrupt_enable), FLAG(bt_gentle_detect),
    FLAG(bt_frame_limit), FLAG(bt_carry_control), FLAG(smic_count_long_steps), FLAG(si_hosed_backoff),
    FLAG(si_gate_on_machine), FLAG(si_keeps_enables_state), FLAG(si_refused_start_keeps_state),
    FLAG(si_bounded_fetches), FLAG(si_bounded_event_steps), FLAG(mh_retry_identity_on_any_cc),
    FLAG(mh_bounded_identity_waits), FLAG(mh_clear_current_on_panic), FLAG(kcs_parks_in_error0),
    FLAG(kcs_ignores_timeouts), FLAG(kcs_leaves_dummy_byte), FLAG(bt_hidden_capability_fetch),
    FLAG(bt_accepts_any_answer), FLAG(bt_caches_b_busy), FLAG(si_one_device_id_attempt),
    FLAG(si_waiting_cleared_before_start), FLAG(si_waiting_cleared_after_start), FLAG(si_panic_ignores_owner),
    FLAG(si_deliver_unlocked), FLAG(si_arms_outside_lock), FLAG(si_send_trusts_timer), FLAG(si_no_timer_for_internal), FLAG(si_irq_before_timer),
    FLAG(si_shutdown_leaves_timer), FLAG(si_shutdown_trusts_flag), FLAG(si_shutdown_credits_little),
    FLAG(si_shutdown_waits_for_normal), FLAG(si_hosed_forgets_waiting), FLAG(si_hosed_backoff_overwritten),
    FLAG(si_tests_hosed_before_lock), FLAG(si_attention_starves_messages), FLAG(si_takes_short_events),
    FLAG(si_stuck_without_memory), FLAG(mh_publish_number_first), FLAG(mh_number_without_barriers),
    FLAG(mh_splice_to_private_head), FLAG(mh_splice_tests_destination), FLAG(mh_failed_registration_cleans_twice),
    FLAG(mh_shutdown_marked_late), FLAG(mh_unbounded_panic_waits), FLAG(mh_panic_resends), FLAG(mh_panic_takes_locks),
    FLAG(mh_panic_calls_users), FLAG(mh_reuses_panic_message), FLAG(mh_classifies_in_upcall),
    FLAG(mh_retry_time_underflows), FLAG(mh_waits_though_send_failed), FLAG(mh_takes_stale_identity),
    FLAG(mh_delivers_send_message_answer), FLAG(mh_event_rollback_twice), FLAG(mh_maintenance_without_tick),
    FLAG(mh_sender_error_keeps_current), FLAG(mh_channels_ready_early), FLAG(mh_channels_never_rescanned),
    FLAG(mh_answers_dead_users), FLAG(mh_user_end_keeps_command_watch), FLAG(mh_user_end_skips_grace),
    FLAG(mh_believes_any_answer),
};
#undef FLAG
// One that is missing here could be set by nobody.
static_assert(sizeof(ProfileFlags) == std::size(kFlags) * sizeof(bool));

constexpr ProfileNumber kNumbers[] = {
    {"kcs_error_retries_max", &ProfileNumbers::kcs_error_retries_max},
    {"kcs_budget_seconds", &ProfileNumbers::kcs_budget_seconds},
};
static_assert(sizeof(ProfileNumbers) == std::size(kNumbers) * sizeof(unsigned));
constexpr unsigned kNumberMax = 1000;

// The base of all that is not ours.
Profile linux_6_1() {
  Profile p;
  p.name = "linux-6.1";
  p.kcs_error_retries_max = 10;
  p.kcs_stop_after_timeout = false;
  p.kcs_check_obf_at_write_start = false;
  p.kcs_rearm_budget_in_recovery = false;
  p.kcs_idle_ibf_is_not_error = false;
  p.kcs_delay_after_error = false;
  p.bt_bounded_resets = false;
  p.bt_keep_capabilities = false;
  p.bt_safe_drain = false;
  p.bt_floor_timings = false;
  p.bt_keep_interrupt_enable = false;
  p.bt_gentle_detect = false;
  p.bt_frame_limit = false;
  p.bt_carry_control = false;
  p.smic_count_long_steps = false;
  p.si_hosed_backoff = false;
  p.si_gate_on_machine = false;
  p.si_keeps_enables_state = false;
  p.si_refused_start_keeps_state = false;
  p.si_bounded_fetches = true;  // backported to 6.1 (G-70)
  p.si_bounded_event_steps = false;
  p.si_waiting_cleared_before_start = true;
  p.si_panic_ignores_owner = true;
  p.mh_retry_identity_on_any_cc = false;
  p.mh_bounded_identity_waits = false;
  p.mh_clear_current_on_panic = false;
  p.mh_unbounded_panic_waits = true;
  p.mh_answers_dead_users = true;
  p.mh_user_end_keeps_command_watch = true;
  return p;
}

// SI_HOSED as it first came, with what 2026 repaired (G-62 to G-67). Users go after the layer below since 6.16.
Profile linux_6_18() {
  Profile p = linux_6_1();
  p.name = "linux-6.18";
  p.si_hosed_backoff = true;
  p.si_hosed_forgets_waiting = true;
  p.si_hosed_backoff_overwritten = true;
  p.si_shutdown_waits_for_normal = true;
  p.si_tests_hosed_before_lock = true;
  p.mh_sender_error_keeps_current = true;
  p.mh_answers_dead_users = false;
  return p;
}

// Mainline between the change of 2022 and its revert (G-50, G-60).
Profile linux_6_12() {
  Profile p = linux_6_1();
  p.name = "linux-6.12";
  p.kcs_parks_in_error0 = true;
  p.mh_channels_never_rescanned = true;
  return p;
}

Profile linux_4_18() {
  Profile p = linux_6_1();
  p.name = "linux-4.18";
  p.bt_hidden_capability_fetch = true;  // B.9
  p.si_bounded_fetches = false;
  p.si_one_device_id_attempt = true;
  p.si_shutdown_trusts_flag = true;
  p.si_takes_short_events = true;
  p.si_stuck_without_memory = true;
  p.mh_failed_registration_cleans_twice = true;
  p.mh_classifies_in_upcall = true;
  p.mh_waits_though_send_failed = true;
  p.mh_takes_stale_identity = true;
  return p;
}

Profile linux_4_2() {
  Profile p = linux_4_18();
  p.name = "linux-4.2";
  p.si_no_timer_for_internal = true;
  p.si_irq_before_timer = true;
  p.si_shutdown_leaves_timer = true;
  p.mh_retry_time_underflows = true;
  return p;
}

// E.13: the message stays in the waiting slot until it is started, and what was not is sent once more.
Profile proposed_2015() {
  Profile p = linux_4_2();
  p.name = "proposed-2015";
  p.si_waiting_cleared_before_start = false;
  p.si_waiting_cleared_after_start = true;
  p.mh_panic_resends = true;
  return p;
}

Profile linux_2_6_20() {
  Profile p = linux_4_2();
  p.name = "linux-2.6.20";
  p.kcs_budget_seconds = 1;
  p.si_deliver_unlocked = true;
  p.si_arms_outside_lock = true;
  p.mh_splice_tests_destination = true;
  p.mh_panic_takes_locks = true;
  p.mh_panic_calls_users = true;
  return p;
}

const auto& profiles() {
  static const std::array<Profile, 8> table = {Profile{},    linux_6_18(), linux_6_12(),    linux_6_1(),
                                               linux_4_18(), linux_4_2(),  proposed_2015(), linux_2_6_20()};
  return table;
}

template <class Table>
std::string names_of(const Table& table) {
  std::string out;
  for (const auto& row : table) out += (out.empty() ? "" : ", ") + std::string(row.name);
  return out;
}

Error wrong(std::string_view text, const std::string& what) {
  return Error{ErrorCode::kInvalidArgument, "profile \"" + std::string(text) + "\": " + what};
}

}  // namespace

const Profile* find_profile(std::string_view name) {
  if (name == kHardened.name) return &kHardened;
  for (const Profile& p : profiles()) {
    if (p.name == name) return &p;
  }
  return nullptr;
}

std::vector<std::string_view> profile_names() {
  std::vector<std::string_view> names;
  for (const Profile& p : profiles()) names.push_back(p.name);
  return names;
}

std::span<const ProfileFlag> profile_flags() { return kFlags; }
std::span<const ProfileNumber> profile_numbers() { return kNumbers; }

Result<Profile> profile_with(std::string_view text) {
  // A name may hold a '-' itself: the longest that fits is the base.
  const Profile* base = nullptr;
  for (const Profile& p : profiles()) {
    const bool fits = text.substr(0, p.name.size()) == p.name &&
                      (text.size() == p.name.size() || text[p.name.size()] == '+' || text[p.name.size()] == '-');
    if (fits && (!base || p.name.size() > base->name.size())) base = &p;
  }
  if (!base) return wrong(text, "it begins with none of " + names_of(profiles()));
  Profile out = *base;
  out.name = std::string(text);
  std::string_view rest = text.substr(base->name.size());
  while (!rest.empty()) {
    const bool set = rest.front() == '+';
    const size_t end = std::min(rest.find_first_of("+-", 1), rest.size());
    const std::string_view item = rest.substr(1, end - 1);
    rest.remove_prefix(end);
    const size_t equals = item.find('=');
    if (equals != std::string_view::npos) {
      const std::string_view name = item.substr(0, equals);
      const std::string_view value = item.substr(equals + 1);
      const auto* number =
          std::find_if(std::begin(kNumbers), std::end(kNumbers), [&](auto& n) { return n.name == name; });
      if (number == std::end(kNumbers)) {
        return wrong(text, "there is no number \"" + std::string(name) + "\"; there are " + names_of(kNumbers));
      }
      unsigned n = 0;
      const auto [stop, bad] = std::from_chars(value.data(), value.data() + value.size(), n);
      if (!set || bad != std::errc{} || stop != value.data() + value.size() || n > kNumberMax) {
        return wrong(text, std::string(name) + " is set by +" + std::string(name) + "=N, N from 0 to " +
                               std::to_string(kNumberMax));
      }
      out.*number->member = n;
      continue;
    }
    const auto* flag = std::find_if(std::begin(kFlags), std::end(kFlags), [&](auto& f) { return f.name == item; });
    if (flag == std::end(kFlags)) {
      return wrong(text, "there is no flag \"" + std::string(item) + "\"; there are " + names_of(kFlags) +
                             "; and the numbers " + names_of(kNumbers));
    }
    out.*flag->member = set;
  }
  return out;
}

}  // namespace bmcpair::state_machine
