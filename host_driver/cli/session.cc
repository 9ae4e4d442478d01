#include "host_driver/cli/session.h"

#include <cstdio>

#include "host_driver/runtime/runtime.h"

namespace bmcpair::cli {

namespace {

// Lines of several interfaces must not mix.
void print_error_line(const std::string& line) { std::fputs((line + "\n").c_str(), stderr); }

class StderrTrace final : public state_machine::Trace {
 public:
  explicit StderrTrace(std::string prefix) : prefix_(std::move(prefix)) {}
  bool wanted() const override { return true; }
  void line(std::string text) override { print_error_line(prefix_ + text); }

 private:
  std::string prefix_;
};

// "demo/bt" where the bus spec says so much; distinct among the buses.
std::string recorded_name(const bus::BusSpec& spec, size_t index) {
  return (spec.path.empty() ? spec.scheme : spec.path) + (index == 0 ? "" : "#" + std::to_string(index + 1));
}

}  // namespace

Session::Session(std::vector<bus::BusSpec> specs, SessionOptions options) : options_(std::move(options)) {
  host::MessageHandlerOptions handler_options;
  handler_options.profile = options_.profile;
  if (options_.log) handler_options.log = [](std::string line) { print_error_line("message handler: " + line); };
  message_handler_ = std::make_unique<host::MessageHandler>(std::move(handler_options));
  driver_ = std::make_unique<host::Driver>(*message_handler_);
  const bool several = specs.size() > 1;
  for (bus::BusSpec& spec : specs) {
    host::SystemInterfaceOptions si;
    si.profile = options_.profile;
    si.address_source = spec.scheme;
    si.description = spec.text;
    si.use_interrupt = options_.use_interrupt;
    if (options_.trace) si.trace = std::make_shared<StderrTrace>(several ? spec.text + " " : "");
    const std::string name = recorded_name(spec, interfaces_.size());
    if (options_.recording) si.trace = options_.recording->record(name, std::move(si.trace));
    if (options_.log) si.log = [text = spec.text](std::string line) { print_error_line(text + ": " + line); };
    Interface interface;
    interface.spec = std::move(spec);
    interface.id = driver_->add_interface(
        host::Driver::OpenPort([spec = interface.spec, open = options_.open, recording = options_.recording,
                                name]() -> Result<std::unique_ptr<registers::RegisterPort>> {
          auto port = bus::open_bus(spec, open);
          if (!port.ok() || !recording) return port;
          return recording->record(name, *std::move(port));
        }),
        std::move(si));
    interfaces_.push_back(std::move(interface));
  }
}

Session::~Session() {
  for (Interface& interface : interfaces_) interface.user.reset();
  driver_.reset();
}

Status Session::open(size_t i, host::UserHandlers handlers) {
  Interface& interface = interfaces_[i];
  auto number = driver_->wait_until_up(interface.id, rt::now() + options_.timeout);
  if (!number.ok()) return number.error();
  auto user = message_handler_->create_user(*number, std::move(handlers));
  if (!user.ok()) return user.error();
  interface.number = *number;
  interface.user = std::move(*user);
  return {};
}

Result<int> Session::registered_number(size_t i, Instant deadline) {
  const int id = interfaces_[i].id;
  auto known = driver_->describe(id);
  if (known.ok() && known->number >= 0) return known->number;
  auto number = driver_->wait_until_up(id, deadline);
  if (number.ok()) return number;
  // It may be down again already.
  known = driver_->describe(id);
  if (known.ok() && known->number >= 0) return known->number;
  return number.error();
}

RequestFunction Session::request_function(size_t i) {
  return [this, user = interfaces_[i].user.get()](const ipmi::Request& request) -> Result<ipmi::Response> {
    host::Address address = options_.target;
    std::visit(
        [&](auto& a) {
          if constexpr (requires { a.lun; }) a.lun = request.lun;
        },
        address);
    auto message = host::call(*user, address, request, rt::now() + options_.timeout);
    if (!message.ok()) return message.error();
    if (message->data.empty()) return Error{ErrorCode::kProtocol, "an answer without a completion code"};
    return ipmi::Response{static_cast<ipmi::CompletionCode>(message->data[0]), Bytes(message->data.begin() + 1, message->data.end())};
  };
}

Result<host::DriverInterface> Session::describe(size_t i) const { return driver_->describe(interfaces_[i].id); }

}  // namespace bmcpair::cli
