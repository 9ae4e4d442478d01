// The host's side of a KCS transaction (IPMI 2.0 §9.15, reference A.2, A.3, A.6).
#pragma once

#include <array>

#include "host_driver/state_machine/state_machine.h"
#include "proto/registers/kcs.h"

namespace bmcpair::state_machine::kcs {

enum class State : uint8_t {
  kIdle,
  kStartOp,
  kWaitWriteStart,
  kWaitWrite,
  kWaitWriteEnd,
  kWaitRead,
  kError0,
  kError1,
  kError2,
  kError3,
  kHosed,
};

constexpr Duration kError0Budget = std::chrono::seconds(2);

class KcsStateMachine final : public StateMachine {
 public:
  KcsStateMachine(registers::RegisterPort& port, const Profile& profile, Trace* trace);

  registers::InterfaceKind kind() const override { return registers::InterfaceKind::kKcs; }
  uint8_t start_transaction(ByteView request) override;
  size_t take_result(std::span<uint8_t, ipmi::kMessageBytesMax> out) override;
  std::optional<ErrorCode> result_failure() const override { return failure_; }
  Verdict event(Duration elapsed) override;
  bool detect() override;
  bool idle() const override { return state_ == State::kIdle || state_ == State::kHosed; }
  std::string_view state_name() const override;

  State state() const { return state_; }
  unsigned error_retries() const { return error_retries_; }

 private:
  void initialise();
  void read_data();
  void drain(uint8_t status);
  void drain_rest(uint8_t status);
  Verdict give_up();
  void write_next_byte();
  void read_next_byte();
  void restart();
  // What IBF may stay set, and OBF clear (A.2).
  Duration io_budget() const { return std::chrono::seconds(profile_.kcs_budget_seconds); }
  // Records an error: ERROR0, or HOSED when there were too many. The verdict to return where the step ends with it.
  Verdict error(std::string_view why);
  // Whether the step may go on: the buffer is as it should be, or its budget just ran out (then an error was recorded).
  bool input_free(uint8_t status, Duration elapsed);
  bool output_there(uint8_t status, Duration elapsed);

  registers::RegisterPort& port_;
  const Profile& profile_;
  Trace* trace_;

  State state_ = State::kIdle;
  std::array<uint8_t, ipmi::kMessageBytesMax> write_{};
  size_t write_pos_ = 0;
  size_t write_left_ = 0;
  size_t request_size_ = 0;  // 0: no transaction is pending
  std::array<uint8_t, ipmi::kMessageBytesMax> read_{};
  size_t read_size_ = 0;
  bool truncated_ = false;
  bool timed_out_ = false;  // in this step
  unsigned error_retries_ = 0;
  Duration ibf_budget_{};
  Duration obf_budget_{};
  Duration error0_budget_ = kError0Budget;
  std::optional<ErrorCode> failure_;
};

}  // namespace bmcpair::state_machine::kcs
