// The host's side of a SMIC transaction (IPMI 2.0 §10.12, reference C.1).
#pragma once

#include <array>

#include "host_driver/state_machine/state_machine.h"
#include "proto/registers/smic.h"

namespace bmcpair::state_machine::smic {

enum class State : uint8_t {
  kIdle,
  kStartOp,
  kOpOk,
  kWriteStart,
  kWriteNext,
  kWriteEnd,
  kWriteToRead,
  kReadStart,
  kReadNext,
  kReadEnd,
  kHosed,
};

constexpr Duration kBudget = std::chrono::seconds(2);
constexpr unsigned kErrorRetriesMax = 3;

class SmicStateMachine final : public StateMachine {
 public:
  SmicStateMachine(registers::RegisterPort& port, const Profile& profile, Trace* trace);

  registers::InterfaceKind kind() const override { return registers::InterfaceKind::kSmic; }
  uint8_t start_transaction(ByteView request) override;
  size_t take_result(std::span<uint8_t, ipmi::kMessageBytesMax> out) override;
  std::optional<ErrorCode> result_failure() const override { return failure_; }
  Verdict event(Duration elapsed) override;
  bool detect() override;
  bool idle() const override { return state_ == State::kIdle || state_ == State::kHosed; }
  std::string_view state_name() const override;

  State state() const { return state_; }

 private:
  void initialise();
  void control(uint8_t code, uint8_t flags);
  void write_next(uint8_t flags);
  void read_next();
  Verdict error(std::string_view why);

  registers::RegisterPort& port_;
  const Profile& profile_;
  Trace* trace_;

  State state_ = State::kIdle;
  std::array<uint8_t, registers::smic::kMessageBytesMax> write_{};
  size_t request_size_ = 0;
  size_t write_pos_ = 0;
  std::array<uint8_t, registers::smic::kMessageBytesMax> read_{};
  size_t read_size_ = 0;
  bool truncated_ = false;
  unsigned error_retries_ = 0;
  Duration budget_ = kBudget;
  std::optional<ErrorCode> failure_;
};

}  // namespace bmcpair::state_machine::smic
