#include <array>

#include "host_driver/state_machine/state_machine.h"

namespace bmcpair::state_machine {

namespace {

constexpr Profile kHardened = {
    .name = "hardened",
    .kcs_error_retries_max = 3,  // 20 s for a dead BMC; Linux's 10 make it 55 s (A.2)
    .kcs_stop_after_timeout = true,
    .kcs_check_obf_at_write_start = true,
    .kcs_rearm_budget_in_recovery = true,
    .kcs_idle_ibf_is_not_error = true,
    .kcs_delay_after_error = true,
    .bt_hidden_capability_fetch = false,
    .bt_bounded_resets = true,
    .bt_keep_capabilities = true,
    .bt_safe_drain = true,
    .bt_floor_timings = true,
    .bt_keep_interrupt_enable = true,
    .bt_gentle_detect = true,
    .bt_frame_limit = true,
    .bt_carry_control = true,
    .smic_count_long_steps = true,
    .si_hosed_backoff = true,
    .si_gate_on_machine = true,
    .si_bounded_fetches = true,
    .si_bounded_event_steps = true,
    .mh_retry_identity_on_any_cc = true,
    .mh_bounded_identity_waits = true,
    .mh_clear_current_on_panic = true,
};

constexpr Profile kLinux61 = {
    .name = "linux-6.1",
    .kcs_error_retries_max = 10,
    .kcs_stop_after_timeout = false,
    .kcs_check_obf_at_write_start = false,
    .kcs_rearm_budget_in_recovery = false,
    .kcs_idle_ibf_is_not_error = false,
    .kcs_delay_after_error = false,
    .bt_hidden_capability_fetch = false,
    .bt_bounded_resets = false,
    .bt_keep_capabilities = false,
    .bt_safe_drain = false,
    .bt_floor_timings = false,
    .bt_keep_interrupt_enable = false,
    .bt_gentle_detect = false,
    .bt_frame_limit = false,
    .bt_carry_control = false,
    .smic_count_long_steps = false,
    .si_hosed_backoff = false,
    .si_gate_on_machine = false,
    .si_bounded_fetches = true,  // backported to 6.1 (G-70)
    .si_bounded_event_steps = false,
    .mh_retry_identity_on_any_cc = false,
    .mh_bounded_identity_waits = false,
    .mh_clear_current_on_panic = false,
};

constexpr Profile linux_4_18() {
  Profile p = kLinux61;
  p.name = "linux-4.18";
  p.bt_hidden_capability_fetch = true;  // B.9
  p.si_bounded_fetches = false;
  return p;
}
constexpr Profile kLinux418 = linux_4_18();

constexpr std::array kProfiles = {&kHardened, &kLinux61, &kLinux418};

}  // namespace

const Profile* find_profile(std::string_view name) {
  for (const Profile* p : kProfiles) {
    if (p->name == name) return p;
  }
  return nullptr;
}

const Profile& hardened() { return kHardened; }

std::vector<std::string_view> profile_names() {
  std::vector<std::string_view> names;
  for (const Profile* p : kProfiles) names.push_back(p->name);
  return names;
}

}  // namespace bmcpair::state_machine
