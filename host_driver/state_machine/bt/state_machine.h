// The host's side of a BT transaction (IPMI 2.0 §11.4, §11.5, reference B.2-B.6; B.9 for linux-4.18).
#pragma once

#include <array>

#include "host_driver/state_machine/state_machine.h"
#include "proto/registers/bt.h"

namespace bmcpair::state_machine::bt {

enum class State : uint8_t {
  kIdle,
  kXactionStart,
  kWriteBytes,
  kWriteConsume,
  kReadWait,
  kClearB2h,
  kReadBytes,
  kReset1,
  kReset2,
  kReset3,
  kRestart,
  // From here on no budget runs.
  kCapabilitiesBegin,
  kCapabilitiesEnd,
  kLongBusy,
};

constexpr Duration kDefaultBudget = std::chrono::seconds(5);  // request to response
constexpr unsigned kDefaultRetries = 2;
constexpr Duration kResetBudget = std::chrono::seconds(6);
constexpr Duration kBudgetMax = std::chrono::seconds(60);  // what a hardened host believes a BMC
constexpr unsigned kRetriesMax = 8;

class BtStateMachine final : public StateMachine {
 public:
  BtStateMachine(registers::RegisterPort& port, const Profile& profile, Trace* trace);

  registers::InterfaceKind kind() const override { return registers::InterfaceKind::kBt; }
  uint8_t start_transaction(ByteView request) override;
  size_t take_result(std::span<uint8_t, ipmi::kMessageBytesMax> out) override;
  std::optional<ErrorCode> result_failure() const override { return failure_; }
  Verdict event(Duration elapsed) override;
  bool detect() override;
  bool idle() const override { return state_ == State::kIdle; }
  bool unavailable() const override { return state_ == State::kLongBusy; }
  std::string_view state_name() const override;
  void set_interrupt_enable(bool on) override;
  bool wants_capabilities() const override { return !profile_.bt_hidden_capability_fetch; }
  bool adopt_capabilities(ByteView answer) override;
  void acknowledge_interrupt() override;

  State state() const { return state_; }
  Duration budget() const { return request_to_response_; }
  unsigned retries_max() const { return retries_max_; }

 private:
  void initialise();
  uint8_t control() { return port_.read(registers::bt::kCtrl); }
  void write_control(uint8_t bits) { port_.write(registers::bt::kCtrl, bits); }
  void reset_flags();
  void drain(uint8_t status);
  void write_frame(std::span<const uint8_t> frame);
  // True when the frame belongs to the request (or cannot be told from one that does).
  bool read_frame();
  bool frame_matches() const;
  void force_result(uint8_t cc, ErrorCode why);
  Verdict recover(uint8_t status, uint8_t cc);
  void adopt(uint8_t seconds, uint8_t retries);
  Verdict step(uint8_t status);
  void trace(uint8_t status, Duration elapsed) const;

  registers::RegisterPort& port_;
  const Profile& profile_;
  Trace* trace_;

  State state_ = State::kIdle;
  State complete_ = State::kIdle;  // where a finished transaction leads; CAP_END for the hidden fetch
  uint8_t seq_ = 0;                // the next request's
  std::array<uint8_t, registers::bt::kFrameBytesMax + 32> write_{};
  size_t write_size_ = 0;
  std::array<uint8_t, registers::bt::kFrameBytesMax> read_{};
  size_t read_size_ = 0;  // with the length byte
  bool truncated_ = false;
  unsigned error_retries_ = 0;
  unsigned resets_ = 0;          // since the last time a BMC answered
  bool answered_ = false;        // since initialisation
  uint8_t seen_status_ = 0;      // every CTRL bit seen in this attempt
  Duration budget_ = kDefaultBudget;
  Duration request_to_response_ = kDefaultBudget;
  unsigned retries_max_ = kDefaultRetries;
  unsigned outstanding_ = 0;     // linux-4.18: 0 asks for the hidden fetch
  bool interrupt_enable_ = false;
  bool seen_free_ = false;       // bt_caches_b_busy: whether the BMC has ever been seen not busy
  std::optional<ErrorCode> failure_;
};

}  // namespace bmcpair::state_machine::bt
