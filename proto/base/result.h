// Our own failures, kept apart from completion codes: a CompletionCode is data on the wire, an Error is
// ours, and neither turns silently into the other (design.md §4).
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace bmcpair {

enum class ErrorCode {
  kInvalidArgument,  // the caller's input is wrong; the message names what and where
  kNotFound,
  kAlreadyExists,
  kBusy,        // in use by somebody else; may be free later
  kUnavailable,  // the other side cannot be reached now
  kTimeout,
  kLimit,     // a stated bound was met
  kProtocol,  // a peer broke the protocol
  kCorrupt,   // stored or received data does not hold together
  kPermission,
  kShutdown,  // the object is going away
  kHosed,     // the interface has failed and is backing off (Linux's word)
  kIo,
  kNotSupported,
  kInternal,
};

constexpr std::string_view to_string(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument: return "invalid argument";
    case ErrorCode::kNotFound: return "not found";
    case ErrorCode::kAlreadyExists: return "already exists";
    case ErrorCode::kBusy: return "busy";
    case ErrorCode::kUnavailable: return "unavailable";
    case ErrorCode::kTimeout: return "timed out";
    case ErrorCode::kLimit: return "limit reached";
    case ErrorCode::kProtocol: return "protocol error";
    case ErrorCode::kCorrupt: return "corrupt data";
    case ErrorCode::kPermission: return "permission denied";
    case ErrorCode::kShutdown: return "shutting down";
    case ErrorCode::kHosed: return "interface hosed";
    case ErrorCode::kIo: return "I/O error";
    case ErrorCode::kNotSupported: return "not supported";
    case ErrorCode::kInternal: return "internal error";
  }
  return "unknown error";
}

struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;

  std::string to_string() const {
    return message.empty() ? std::string(bmcpair::to_string(code)) : message;
  }
  bool operator==(const Error&) const = default;
};

// A value or an Error. Reading the one that is not there throws std::bad_variant_access: our own mistake.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  T& value() & { return std::get<0>(state_); }
  const T& value() const& { return std::get<0>(state_); }
  T&& value() && { return std::get<0>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  const Error& error() const { return std::get<1>(state_); }
  T value_or(T other) const { return ok() ? value() : std::move(other); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)), ok_(false) {}
  bool ok() const { return ok_; }
  explicit operator bool() const { return ok_; }
  const Error& error() const { return error_; }

 private:
  Error error_{};
  bool ok_ = true;
};

using Status = Result<void>;

}  // namespace bmcpair
