// GoogleMock matchers for a VirtualBmc's traffic and a host's answers, and a GoogleTest fixture with a BMC in it.
//
//   EXPECT_THAT(bmc.traffic(), Contains(Request(0x06, 0x01).answered(0x00)));
//   EXPECT_THAT(bmc.traffic(), Not(Contains(Request(0x00, 0x02))));
//   EXPECT_THAT(bmc.host().request(0x06, 0x01), Completed(0x00, SizeIs(15)));
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <utility>

#include <bmcpair/testing/virtual_bmc.h>

namespace bmcpair::testing {

// Matches an Exchange; what is not asked for may be anything.
class RequestMatcher {
 public:
  using is_gtest_matcher = void;
  using ByteMatcher = ::testing::Matcher<const Bytes&>;
  using CodeMatcher = ::testing::Matcher<uint8_t>;

  RequestMatcher(std::optional<uint8_t> netfn, std::optional<uint8_t> cmd) : netfn_(netfn), cmd_(cmd) {}

  // The request's data, as bytes or as a matcher: with({0x00, 0x1c}), with(SizeIs(2)).
  RequestMatcher with(ByteMatcher data) const { return set(&RequestMatcher::data_, std::move(data)); }
  RequestMatcher with(Bytes data) const { return with(ByteMatcher(::testing::Eq(std::move(data)))); }
  // The interface that brought it.
  RequestMatcher on(std::string interface) const { return set(&RequestMatcher::interface_, std::move(interface)); }
  // Answered, with this completion code and this data.
  RequestMatcher answered() const { return answered(CodeMatcher(::testing::_)); }
  RequestMatcher answered(CodeMatcher completion_code) const {
    return set(&RequestMatcher::code_, std::move(completion_code));
  }
  RequestMatcher answered(CodeMatcher completion_code, ByteMatcher data) const {
    return answered(std::move(completion_code)).set(&RequestMatcher::answer_, std::move(data));
  }
  RequestMatcher unanswered() const { return set(&RequestMatcher::unanswered_, true); }
  // A fault rule fired for it; with an id: this one.
  RequestMatcher faulted() const { return set(&RequestMatcher::faulted_, true); }
  RequestMatcher faulted(uint32_t id) const { return faulted().set(&RequestMatcher::fault_, id); }

  bool MatchAndExplain(const Exchange& e, ::testing::MatchResultListener* listener) const {
    auto wrong = [&](const std::string& what) {
      *listener << "which " << what;
      return false;
    };
    if (netfn_ && *netfn_ != e.netfn) return wrong("has another NetFn");
    if (cmd_ && *cmd_ != e.cmd) return wrong("is another command");
    if (interface_ && *interface_ != e.interface) return wrong("came by " + e.interface);
    if (data_ && !data_->Matches(e.data)) return wrong("has other data");
    if (unanswered_ && e.completion_code) return wrong("was answered");
    if (code_ && !e.completion_code) return wrong("was not answered");
    if (code_ && !code_->Matches(*e.completion_code)) return wrong("has another completion code");
    if (answer_ && !answer_->Matches(e.answer)) return wrong("has another answer");
    if (faulted_ && e.faults.empty()) return wrong("met no fault");
    if (fault_ && !::testing::Matches(::testing::Contains(*fault_))(e.faults)) return wrong("met other faults");
    return true;
  }
  void DescribeTo(std::ostream* out) const { describe(out, "is a request"); }
  void DescribeNegationTo(std::ostream* out) const { describe(out, "is not a request"); }

 private:
  template <class T, class V>
  RequestMatcher set(T RequestMatcher::*member, V value) const {
    RequestMatcher out = *this;
    out.*member = std::move(value);
    return out;
  }
  void describe(std::ostream* out, const char* begin) const {
    static constexpr char kDigits[] = "0123456789abcdef";
    auto hex = [](uint8_t v) { return std::string("0x") + kDigits[v >> 4] + kDigits[v & 15]; };
    *out << begin;
    if (netfn_) *out << " of NetFn " << hex(*netfn_);
    if (cmd_) *out << ", command " << hex(*cmd_);
    if (interface_) *out << ", by " << *interface_;
    if (data_) *out << ", whose data " << ::testing::DescribeMatcher<const Bytes&>(*data_);
    if (unanswered_) *out << ", that was not answered";
    if (code_) *out << ", answered with a completion code that " << ::testing::DescribeMatcher<uint8_t>(*code_);
    if (answer_) *out << " and data that " << ::testing::DescribeMatcher<const Bytes&>(*answer_);
    if (fault_) *out << ", that met the fault " << *fault_;
    else if (faulted_) *out << ", that met a fault";
  }

  std::optional<uint8_t> netfn_, cmd_;
  std::optional<std::string> interface_;
  std::optional<ByteMatcher> data_, answer_;
  std::optional<CodeMatcher> code_;
  bool unanswered_ = false;
  bool faulted_ = false;
  std::optional<uint32_t> fault_;
};

inline RequestMatcher Request(uint8_t netfn, uint8_t cmd) { return {netfn, cmd}; }
inline RequestMatcher AnyRequest() { return {std::nullopt, std::nullopt}; }

// Match an Answer: by the BMC, with this completion code (and this data); or by nobody, and why.
inline ::testing::Matcher<const Answer&> Completed(::testing::Matcher<uint8_t> completion_code) {
  return ::testing::Field("completion_code", &Answer::completion_code, ::testing::Optional(std::move(completion_code)));
}
inline ::testing::Matcher<const Answer&> Completed(::testing::Matcher<uint8_t> completion_code,
                                                   ::testing::Matcher<const Bytes&> data) {
  return ::testing::AllOf(Completed(std::move(completion_code)), ::testing::Field("data", &Answer::data, std::move(data)));
}
inline ::testing::Matcher<const Answer&> Unanswered() {
  return ::testing::Field("completion_code", &Answer::completion_code, ::testing::Eq(std::nullopt));
}
inline ::testing::Matcher<const Answer&> Unanswered(Answer::Outcome outcome) {
  return ::testing::Field("outcome", &Answer::outcome, ::testing::Eq(outcome));
}

// A test with a BMC of its own. A failed one prints what the BMC was asked.
class VirtualBmcTest : public ::testing::Test {
 protected:
  // To be overridden; the built-in one unless it is.
  virtual VirtualBmc make_bmc() { return VirtualBmc(); }

  VirtualBmc& bmc() {
    if (!bmc_) bmc_ = std::make_unique<VirtualBmc>(make_bmc());
    return *bmc_;
  }
  Host& host() { return bmc().host(); }

  void SetUp() override { bmc(); }
  void TearDown() override {
    if (bmc_ && HasFailure()) print_traffic();
    bmc_.reset();
  }

 private:
  void print_traffic() {
    try {
      std::string all = "The BMC was asked:\n";
      for (const Exchange& exchange : bmc_->traffic()) all += "  " + to_string(exchange) + "\n";
      GTEST_LOG_(INFO) << all;
    } catch (const VirtualBmcError& error) {
      GTEST_LOG_(INFO) << "What the BMC was asked is lost: " << error.what();
    }
  }

  std::unique_ptr<VirtualBmc> bmc_;
};

}  // namespace bmcpair::testing
