#include <bmcpair/host.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <ostream>
#include <utility>

#include "host_driver/bus/bus.h"
#include "host_driver/cli/session.h"
#include "host_driver/state_machine/profile.h"
#include "proto/base/hex.h"
#include "proto/ipmi/message.h"

namespace bmcpair {
namespace {

constexpr size_t kEventsMax = 256;

Answer::Outcome outcome_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kTimeout: return Answer::Outcome::kTimeout;
    case ErrorCode::kHosed: return Answer::Outcome::kHosed;
    case ErrorCode::kProtocol:
    case ErrorCode::kCorrupt: return Answer::Outcome::kProtocol;
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kLimit:
    case ErrorCode::kNotSupported:
    case ErrorCode::kPermission: return Answer::Outcome::kRefused;
    default: return Answer::Outcome::kUnavailable;
  }
}

}  // namespace

std::string to_string(const Answer& answer) {
  if (!answer.completion_code) return "no answer: " + answer.failure;
  const auto code = static_cast<ipmi::CompletionCode>(*answer.completion_code);
  return "completion code " + to_hex(ByteView(&*answer.completion_code, 1)) + " (" + std::string(ipmi::to_string(code)) +
         ")" + (answer.data.empty() ? "" : ", data " + to_hex(answer.data));
}

std::ostream& operator<<(std::ostream& out, const Answer& answer) { return out << to_string(answer); }

struct Host::Impl {
  // The profile must outlive the session.
  state_machine::Profile profile;
  std::mutex mutex;
  std::condition_variable arrived;
  std::deque<Bytes> events;
  std::unique_ptr<cli::Session> session;
  cli::RequestFunction request;

  ~Impl() {
    if (session) session->close(0);
  }

  void receive(const host::RecvMessage& message) {
    if (message.type != host::RecvType::kAsyncEvent) return;
    std::lock_guard<std::mutex> lock(mutex);
    if (events.size() >= kEventsMax) events.pop_front();
    events.push_back(message.data);
    arrived.notify_all();
  }
};

Host::Host(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Host::Host(Host&&) noexcept = default;
Host& Host::operator=(Host&&) noexcept = default;
Host::~Host() = default;

Host Host::connect(const std::string& bus, const HostOptions& options) {
  auto spec = bus::parse_bus_spec(bus);
  if (!spec) throw HostError(spec.error().to_string());
  auto profile = state_machine::profile_with(options.profile);
  if (!profile) throw HostError(profile.error().to_string());
  auto impl = std::make_unique<Impl>();
  impl->profile = *std::move(profile);
  cli::SessionOptions session;
  session.profile = &impl->profile;
  session.use_interrupt = options.use_interrupt;
  session.timeout = options.timeout;
  session.open.who = options.who;
  session.open.tls_ca = options.tls_ca;
  session.open.tls_certificate = options.tls_certificate;
  session.open.tls_key = options.tls_key;
  impl->session = std::make_unique<cli::Session>(std::vector<bus::BusSpec>{*std::move(spec)}, std::move(session));
  host::UserHandlers handlers;
  handlers.receive = [i = impl.get()](const host::RecvMessage& message) { i->receive(message); };
  if (Status up = impl->session->open(0, std::move(handlers)); !up) throw HostError(bus + ": " + up.error().to_string());
  if (Status events = impl->session->user(0).set_gets_events(true); !events) {
    throw HostError(bus + ": events: " + events.error().to_string());
  }
  impl->request = impl->session->request_function(0);
  return Host(std::move(impl));
}

Answer Host::request(uint8_t netfn, uint8_t cmd, const Bytes& data, uint8_t lun) {
  Answer out;
  if (netfn > 0x3e || netfn % 2 != 0 || lun > 3) {
    out.failure = "NetFn " + std::to_string(netfn) + ", LUN " + std::to_string(lun) +
                  ": a request has an even NetFn, 0 to 62, and a LUN of 0 to 3";
    return out;
  }
  auto response = impl_->request({netfn, lun, cmd, data});
  if (response.ok()) {
    out.outcome = Answer::Outcome::kAnswered;
    out.completion_code = static_cast<uint8_t>(response->cc);
    out.data = std::move(response->data);
  } else {
    out.outcome = outcome_of(response.error().code);
    out.failure = response.error().to_string();
  }
  return out;
}

std::optional<Bytes> Host::wait_for_event(std::chrono::milliseconds within) {
  std::unique_lock<std::mutex> lock(impl_->mutex);
  impl_->arrived.wait_for(lock, within, [&] { return !impl_->events.empty(); });
  if (impl_->events.empty()) return std::nullopt;
  Bytes event = std::move(impl_->events.front());
  impl_->events.pop_front();
  return event;
}

}  // namespace bmcpair
