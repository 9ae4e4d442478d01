// The pair in a world: a virtual BMC of the real parts (hardware, firmware, fault rules) whose latencies are choices, the real
// driver on it, users who tag what they send, and the oracles that hold for all of it.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bmc_emu/board/interface_faults.h"
#include "bmc_emu/faults/rule.h"
#include "bmc_emu/firmware/bmc.h"
#include "bmc_emu/hardware/interface.h"
#include "host_driver/message_handler/message_handler.h"
#include "host_driver/message_handler/smi.h"
#include "host_driver/state_machine/state_machine.h"
#include "host_driver/system_interface/system_interface.h"
#include "integration/lab/register_judge.h"
#include "integration/lab/world.h"
#include "proto/registers/register_port.h"

namespace bmcpair::lab {

// ---- the BMC -------------------------------------------------------------------------------------------------------

// Answered by the rig itself: completion code 0 and the request's data.
constexpr uint8_t kEchoNetFn = 0x30;
constexpr uint8_t kEchoCmd = 0x01;

// What controllers on the IPMB ask system software for.
constexpr uint8_t kCommandNetFn = 0x2c;
constexpr uint8_t kCommandCmd = 0x01;
// A satellite's address, unless the story says otherwise, and the device id of all of them: it tells whose an answer is.
constexpr uint8_t kSatelliteAddress = 0x82;
constexpr uint8_t kSatelliteDeviceId = 0x55;

struct BmcOptions {
  registers::InterfaceKind kind = registers::InterfaceKind::kBt;
  bool interrupt = true;
  firmware::BmcConfig firmware;
  std::vector<faults::Rule> faults;
  bool steady = false;  // its latencies are as usual, always
  bool judge_host = false;  // whatever the profile; LabHost asks for it where it is hardened
  bool endless_events = false;  // Read Event Message Buffer always has one more
};

// How often each key came; they are few, and the same again and again.
class Tally {
 public:
  void add(uint64_t key) {
    for (auto& [known, times] : counts_) {
      if (known != key) continue;
      ++times;
      return;
    }
    counts_.emplace_back(key, 1);
  }
  unsigned of(uint64_t key) const {
    for (const auto& [known, times] : counts_) {
      if (known == key) return times;
    }
    return 0;
  }

 private:
  std::vector<std::pair<uint64_t, unsigned>> counts_;
};

class LabBmc final : private hardware::TraceSink, private firmware::Observer {
 public:
  LabBmc(Run& run, BmcOptions options);
  ~LabBmc() override;

  // One host at a time.
  std::unique_ptr<registers::RegisterPort> port();
  firmware::Bmc& firmware() { return *firmware_; }
  // As the BMC gave them: how many answers to (NetFn, Cmd) had this completion code.
  unsigned said(uint8_t netfn, uint8_t cmd, uint8_t cc) const;
  // How often the request with this tag (data of kEchoCmd) was executed.
  unsigned executed(uint64_t tag) const;
  unsigned executions(uint8_t netfn, uint8_t cmd) const;
  // Its firmware was changed from outside: attention, work that is due.
  void poke();
  // An event of its own, to the event message buffer and the SEL; `tag` is its last byte.
  void raise_event(uint8_t tag);
  // A controller on the IPMB sends a command for system software (kCommandNetFn, kCommandCmd); `tag` is its data.
  void raise_command(uint8_t tag);
  // New firmware: another version, and one more channel.
  void update_firmware(uint8_t channel, uint8_t medium);
  Status add_fault(faults::Rule rule);
  void clear_faults();
  uint64_t faults_fired() const;
  // The host's register accesses are looked at: oracle "registers".
  void judge_host() { judged_ = true; }
  // The driver says that it has let go of the registers: an access from here on is "after-shutdown".
  void host_let_go() { let_go_ = true; }
  uint64_t host_accesses() const { return host_accesses_; }
  bool wants_attention() const { return firmware_->attention(); }
  void unplug();  // the link goes down
  void plug_in();

 private:
  class Port;
  void work();
  void deliver_interrupts();
  void step(Instant now);
  void execute(hardware::TakenRequest taken);
  void settle(bool for_answer);
  void reset_if_faulty() {
    if (faults_) look_for_reset();
  }
  void look_for_reset();
  void note_line();
  void look_at_hardware();
  void go_on_in_one_go();
  Instant next_due() const;
  // The firmware was at work: what is due next may be something else.
  void look_at_firmware() { firmware_due_ = firmware_->next_due(); }
  void on_change(const firmware::Change& change) override;
  void on_access(const hardware::Access& access) override;
  void on_run(hardware::Access access, ByteView values, Duration apart) override;
  [[gnu::cold]] void judge(const hardware::Access& access);
  [[gnu::cold]] void show(const hardware::Access& access);

  uint8_t host_read(uint16_t offset);
  void host_write(uint16_t offset, uint8_t value);
  void host_read_burst(uint16_t offset, std::span<uint8_t> out);
  void host_write_burst(uint16_t offset, std::span<const uint8_t> in);
  template <class Make>
  bool host_accesses(size_t n, Make make);
  // Faults change flags without an access.
  void look_at_flags() {
    if (faults_) flags_before_ = hardware_->peek_flags();
  }

  Run& run_;
  const BmcOptions options_;
  RegisterJudge judge_;
  bool judged_;
  uint8_t flags_before_ = 0;  // the next access
  bool noticed_ = false;      // a flag or the line changed
  bool line_ = false;         // of the interrupt, as the last access left it; with faults only the hardware knows
  bool let_go_ = false;
  uint64_t host_accesses_ = 0;
  std::unique_ptr<hardware::Interface> hardware_;
  std::unique_ptr<firmware::Bmc> firmware_;
  std::shared_ptr<Chooser> chooser_;
  std::unique_ptr<board::InterfaceFaults> faults_;
  uint32_t fault_ids_ = 0;
  std::deque<hardware::TakenRequest> taken_;
  std::optional<Duration> reset_away_;
  Instant offline_at_ = kNever;
  Instant online_at_ = kNever;
  Instant firmware_due_ = kNever;
  Instant hardware_due_ = kNever;
  bool in_burst_ = false;    // of accesses to the buffer
  bool in_one_go_ = false;   // the burst
  Instant slow_until_{};   // the BMC is at something else
  bool drawn_ = false;     // for what is due now
  rt::Task* work_task_ = nullptr;
  rt::Task* interrupt_task_ = nullptr;
  bool ended_ = false;
  Tally said_;        // by command_key()
  Tally executions_;  // by command_key()
  Tally executed_;    // by tag
  trace::Recorder* recorder_ = nullptr;
  uint16_t recorder_id_ = 0;

  // The line and the link.
  registers::RegisterPort::InterruptHandler handler_;
  registers::RegisterPort::LinkHandler link_handler_;
  bool level_ = false;
  bool delivered_ = false;
  bool rose_ = false;  // since it was last delivered
  bool delivering_ = false;
  registers::LinkState link_;
  bool link_changed_ = false;
};

// ---- the host ------------------------------------------------------------------------------------------------------

// Between the message handler and a system interface: the oracles of their seam. Each message comes back exactly once, with
// its own answer; D5 comes only where the BMC said it; nothing comes after shutdown.
class WatchedSmi final : public host::SmiHandlers, private host::SmiUpcalls {
 public:
  WatchedSmi(Run& run, std::shared_ptr<host::SmiHandlers> smi, LabBmc* bmc)
      : run_(run), smi_(std::move(smi)), kind_(smi_->info().kind), bmc_(bmc) {}

  Status start_processing(host::SmiUpcalls& upcalls) override;
  host::SmiInfo info() const override { return smi_->info(); }
  Status sender(host::SmiMessage* message) override;
  void request_events() override { smi_->request_events(); }
  void set_need_watch(unsigned mask) override {
    watched_for_ = mask;
    smi_->set_need_watch(mask);
  }
  void set_maintenance_mode(bool enable) override { smi_->set_maintenance_mode(enable); }
  void set_run_to_completion(bool on) override { smi_->set_run_to_completion(on); }
  void poll() override { smi_->poll(); }
  void flush_messages() override { smi_->flush_messages(); }
  bool holds_message() const override { return smi_->holds_message(); }
  void shutdown() override;

  // D5 that the BMC never said is counted instead of ending the run.
  void tolerate_refusals() { tolerate_refusals_ = true; }
  unsigned refusals() const { return refusals_; }
  // What the message handler last wanted it to watch for (E.9).
  unsigned watched_for() const { return watched_for_; }

 private:
  void message_received(host::SmiMessage* message) override;
  void watchdog_pretimeout() override { up_->watchdog_pretimeout(); }

  Run& run_;
  const std::shared_ptr<host::SmiHandlers> smi_;
  const registers::InterfaceKind kind_;
  LabBmc* const bmc_;
  host::SmiUpcalls* up_ = nullptr;
  struct Below {
    host::SmiMessage* message;
    uint8_t netfn_lun, cmd;
    Instant since;
  };
  std::vector<Below> below_;
  unsigned watched_for_ = 0;
  bool down_ = false;
  bool tolerate_refusals_ = false;
  unsigned refusals_ = 0;
  std::map<std::pair<uint8_t, uint8_t>, unsigned> refused_;
};

// All flags are; old state machines break rules that are watched here, and their stories are about what comes of it.
bool is_hardened(const state_machine::Profile& profile);

// The numbers of interfaces: unique, and the lowest that is free (I0-5).
class NumberBook {
 public:
  explicit NumberBook(Run& run) : run_(run) {}
  // Around a registration: a number that was free throughout is told from one that became so meanwhile.
  uint64_t begin() const { return changes_; }
  void given(int number, uint64_t begun);
  // Before it is given back.
  void going(int number);

 private:
  Run& run_;
  uint64_t changes_ = 0;
  std::map<int, uint64_t> free_since_;  // of numbers that were given before
  std::vector<int> taken_;
};

struct HostOptions {
  const state_machine::Profile* profile = nullptr;
  // Something between the system interface and who watches it: a defect that an oracle must see.
  std::function<std::shared_ptr<host::SmiHandlers>(std::shared_ptr<host::SmiHandlers>)> tamper;
  host::MessageHandlerOptions handler;
  host::SystemInterfaceOptions interface;
  bool tolerate_refusals = false;  // WatchedSmi's
};

class LabHost {
 public:
  LabHost(Run& run, HostOptions options);

  host::MessageHandler& handler() { return handler_; }
  // Brings the BMC's interface up and registers it; the message handler's number.
  Result<int> bring_up(LabBmc& bmc);
  Status unregister(int number);
  host::SystemInterface* system_interface() { return system_interface_.get(); }
  WatchedSmi* smi() { return watched_.get(); }
  // What the log said.
  const std::vector<std::string>& log() const { return log_; }
  bool logged(std::string_view part) const;

 private:
  Run& run_;
  HostOptions options_;
  std::vector<std::string> log_;
  std::shared_ptr<host::SystemInterface> system_interface_;
  std::shared_ptr<WatchedSmi> watched_;
  NumberBook numbers_;
  host::MessageHandler handler_;
};

// A user who sends echoes with tags of its own and keeps account: each is answered exactly once, with its own tag or a code that
// the oracle allows. Requests to satellites and resets are kept account of, too.
class LabUser {
 public:
  LabUser(Run& run, LabHost& host, LabBmc* bmc, int number, uint32_t name);
  ~LabUser();
  bool ok() const { return static_cast<bool>(user_); }
  host::User& user() { return *user_; }

  // False: refused at once, with an error.
  bool send(size_t bytes = 8);  // of data, the tag first
  // Get Device ID, by Send Message.
  bool send_ipmb(uint8_t slave, const host::RequestOptions& options);
  // Cold Reset or Warm Reset, as a request to the BMC.
  bool send_reset(bool cold);
  // Commands of kCommandNetFn, kCommandCmd that come on these channels.
  Status receive_commands(uint32_t channels);
  // Until all that was sent has been answered; beyond `limit` of virtual time the run fails ("unanswered").
  void settle(Duration limit = std::chrono::minutes(10));
  unsigned answered() const { return answered_; }
  unsigned good() const { return good_; }  // answered with completion code 0 and their own data
  unsigned failed() const { return answered_ - good_; }
  // Waits for so many events; one that comes twice, or never, ends the run.
  void expect_events(unsigned n);
  // The same of commands.
  void expect_commands(unsigned n);
  // What counts against the user's limit was given back, neither more nor less (G-53, G-57).
  void check_charges();
  // After a panic: the BMC executed each request at most once.
  void check_executed_once();

 private:
  void receive(host::RecvMessage message);
  Run& run_;
  LabBmc* const bmc_;
  const uint32_t name_;
  rt::Mutex mutex_;
  rt::WaitQueue changed_;
  enum class Kind : uint8_t { kEcho, kIpmb, kReset };
  struct Sent {
    Kind kind = Kind::kEcho;
    uint8_t netfn = 0, cmd = 0;
    bool answered = false;
  };
  bool submit(Kind kind, const host::Address& to, ipmi::Request request, const host::RequestOptions& options);
  int64_t next_id(Kind kind, const ipmi::Request& request);
  void check_alive(const char* what);
  std::map<int64_t, Sent> sent_;
  int64_t ids_ = 0;
  unsigned answered_ = 0;
  unsigned good_ = 0;
  std::map<uint8_t, unsigned> events_;  // by their last byte
  std::map<uint8_t, unsigned> commands_;
  bool told_of_the_end_ = false;
  std::unique_ptr<host::User> user_;
};

}  // namespace bmcpair::lab
